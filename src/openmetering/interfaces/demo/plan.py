"""The plan of the building: ``building.toml`` as values.

A device belongs to a model; a model has lists of records. A row of a list is an array:

    [DIB and VIB, source, arguments...]        for example ["4C 13", "counter", 1, "due"]

The sources stand in ``values``, the messages in ``telegrams``, the incidents in ``building``.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from functools import cached_property
from importlib import resources

import msgspec

from openmetering.codec.address import Address

__all__ = ["Building", "Device", "Incident", "Model", "Row", "read_building", "seconds", "timeline_at"]

Cell = str | int | float
Row = list[Cell]
Timeline = list[tuple[str, int]]  #: time of day, value from then on


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What devices of a kind send: ``shape`` is the load curve, the rest are lists of records.

    ``fixed`` are medium and the two unit codes of a fixed data structure.
    """

    shape: str = "constant"
    records: list[Row] = []
    static: list[Row] = []
    history: list[Row] = []
    more: list[Row] = []
    fixed: tuple[int, int, int] | None = None

    def rows(self, name: str) -> list[Row]:
        """A list of records by name."""
        return {"records": self.records, "static": self.static, "history": self.history, "more": self.more}[name]


class Leak(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Consumption that starts at a time and does not stop, in units of the main counter."""

    since: str
    per_hour: float


class Device(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """One device.

    ``start`` is the main counter at midnight, ``per_day`` what the day adds. ``security`` is none, A,
    B, D (OMS profiles) or ELL (encryption of the extended link layer). ``every`` are minutes between
    two ``message`` telegrams from ``since`` on; ``plan`` adds others at their times.
    ``control`` is the communication control field of an ELL. ``primary`` makes the device wired,
    ``adapter`` puts a radio adapter in front of it. ``key``: known, late (not in the key file) or wrong.
    ``repeat`` n: a repeater passes on every n-th telegram.
    """

    label: str
    address: str
    model: str
    start: float = 0
    per_day: float = 0
    security: str = "none"
    since: str = "00:00"
    every: int = 0
    message: str = "data"
    plan: list[tuple[str, str]] = []
    mode: str = "T"
    rssi: int = -80
    control: int | None = None
    adapter: str | None = None
    primary: int | None = None
    key: str = "known"
    repeat: int = 0
    status: Timeline = []
    timelines: dict[str, Timeline] = {}
    leak: Leak | None = None

    @cached_property
    def meter(self) -> Address:
        """The address as a value."""
        return Address.parse(self.address)

    @cached_property
    def name(self) -> str:
        """What a store calls the device."""
        if self.primary is not None and self.message in ("busy", "fixed"):
            return f"wired#{self.primary}"
        return self.address


class Incident(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that goes wrong at a time: see the table in ``building``."""

    at: str
    kind: str
    device: str
    of: str = ""


class Building(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole plan. ``shapes`` are load curves, a weight for each hour of the day."""

    name: str
    day: dt.date
    due: dt.date
    seed: str
    gateway: str
    shapes: dict[str, list[int]]
    model: dict[str, Model]
    device: list[Device]
    incident: list[Incident]

    def find(self, label: str) -> Device:
        """A device by its label."""
        return next(device for device in self.device if device.label == label)


def seconds(clock: str) -> int:
    """Seconds since midnight of ``HH:MM`` or ``HH:MM:SS``."""
    parts = [int(part) for part in clock.split(":")]
    return parts[0] * 3600 + parts[1] * 60 + (parts[2] if len(parts) == 3 else 0)


def timeline_at(timeline: Timeline, now: int, default: int) -> int:
    """The value of a timeline at a time."""
    found = default
    for since, value in timeline:
        if seconds(since) <= now:
            found = value
    return found


def read_building() -> Building:
    """The bundled plan."""
    text = resources.files(__package__).joinpath("building.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Building)
