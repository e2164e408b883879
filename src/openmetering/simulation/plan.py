"""The description of a world in TOML, as values: strict, with the place of every mistake.

    [world]        seed, start, oms_issue, [world.environment]
    [[building]]   name, position, floors, flats, basement ...
    [[meters]]     a group of devices: medium, where, mode, profile, interval, functions ...
    [[gateway]]    a receiver of the operator with its place and modes
    [[repeater]]   passes on uplink telegrams; [[display]] reads consumer information
    [[segment]]    a wired bus; groups with ``segment`` hang on it
    [[fault]]      something that goes wrong at a time

What the fields mean stands at each class; unknown fields and wrong types are refused with file and key path.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from openmetering.errors import InputError
from openmetering.simulation.metrology import MEDIA
from openmetering.simulation.propagation import LOSSES, MODELS, Environment

__all__ = [
    "BuildingPlan",
    "DisplayPlan",
    "FaultPlan",
    "GatewayPlan",
    "Head",
    "MeterGroup",
    "RepeaterPlan",
    "SegmentPlan",
    "WorldPlan",
    "parse_plan",
    "read_plan",
    "seconds_of",
]

Mode = Literal["S", "T", "C"]
Profile = Literal["none", "A", "B", "D"]
Spot = Literal["flat", "staircase", "basement", "pit", "outdoors", "roof"]
Positive = Annotated[float, Meta(gt=0)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Option = bool | int | float | str | dict[str, str]
_FLAG = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
_KEY = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{32}$")]
_OCTETS = Annotated[str, Meta(pattern="^([0-9A-Fa-f]{2})+$")]
_TIME = re.compile(r"(?:(\d+)d\s*)?(?:(\d{1,4}):(\d{2})(?::(\d{2}(?:\.\d+)?))?)?")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The world as a whole.

    ``seed``         everything at random hangs on it
    ``start``        date, or date and time, of second 0; standard time
    ``oms_issue``    edition the devices follow
    ``clock_error``  ppm by which transmitters may be off, drawn for each
    ``duty_cycle``   False: stations may send more than their share of the hour
    """

    seed: str = "world"
    name: str = ""
    start: dt.datetime = dt.datetime(2026, 1, 14)
    oms_issue: Literal["4.3.3", "5.0.1"] = "5.0.1"
    environment: Environment = Environment()
    clock_error: float = 50.0
    duty_cycle: bool = True


class BuildingPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A building: ``floors`` storeys above ground with ``flats`` in a row on each. Lengths in metres.

    ``walls`` is what its outer walls are made of; stronger than the environment's, the difference is added.
    """

    name: str
    position: tuple[float, float] = (0.0, 0.0)
    floors: Annotated[int, Meta(ge=1)] = 4
    flats: Annotated[int, Meta(ge=1)] = 2
    floor_height: Positive = 2.8
    flat_width: Positive = 9.0
    depth: Positive = 10.0
    walls: str = "brick"


class MeterGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Devices of a kind.

    ``building``      name or names; empty: all
    ``per``           one for each flat, floor or building, or ``count`` in all; ``count`` multiplies
    ``where``         in the flat, staircase, basement, a pit in front, outdoors, on the roof
    ``cabinet``       in a metal cabinet
    ``mode``, ``profile``, ``interval`` (seconds, None: the longest OMS allows), ``ratio`` ACC-NR for each SND-NR
    ``bidirectional`` opens windows; ``access`` short or permanent
    ``functions``     functions of the device by name, with options: a list or a table
    ``codings``       parameter of an application select (hexadecimal) -> message application, where it is above 15
    ``history``       end-of-month values in every message; ``consumer`` consumer information (UC-07b)
    ``taf7``          the register of the last intervals in every message (Annex R); it sets an ``interval`` of its own
    ``reach``         how many intervals that is: Annex R demands three at least
    ``yearly``        consumption in the unit of the medium, None: drawn for each
    ``key``           communication key of all devices of the group; None: derived from the seed
    ``segment``       name of a wired bus the devices hang on, with primary addresses from ``primary`` on (0: unconfigured)
    ``adapter``       the meters are wired, each behind a radio adapter (37h) of its own
    """

    medium: str
    label: str = ""
    building: str | list[str] = ""
    per: Literal["flat", "floor", "building", "world"] = "flat"
    count: Annotated[int, Meta(ge=1)] = 1
    where: Spot = "flat"
    cabinet: bool = False
    manufacturer: _FLAG = "EXS"
    version: Annotated[int, Meta(ge=0, le=255)] = 1
    mode: Mode = "C"
    frame_format: Literal["A", "B"] = "A"
    profile: Profile = "B"
    interval: Positive | None = None
    ratio: Annotated[int, Meta(ge=0, le=15)] = 0
    static_per_day: Annotated[int, Meta(ge=0, le=5)] = 0
    bidirectional: bool = False
    access: Literal["short", "permanent"] = "short"
    functions: list[str] | dict[str, dict[str, Option]] = []
    codings: dict[_OCTETS, int] = {}
    history: bool = False
    taf7: bool = False
    reach: Annotated[int, msgspec.Meta(ge=3, le=8)] = 5
    consumer: bool = False
    yearly: Positive | None = None
    power: float = 10.0
    key: _KEY | None = None
    segment: str | None = None
    primary: Annotated[int, Meta(ge=0, le=250)] = 0
    baud: int = 2400
    adapter: bool = False

    @property
    def options(self) -> dict[str, dict[str, Option]]:
        """Functions with their options."""
        return self.functions if isinstance(self.functions, dict) else {name: {} for name in self.functions}


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where something stands: in a building, or free at ``position`` (x, y, height in metres)."""

    building: str = ""
    where: Spot = "staircase"
    floor: int = 0
    position: tuple[float, float, float] | None = None


class GatewayPlan(Standing, frozen=True, forbid_unknown_fields=True):
    """A gateway. It serves the devices that it hears best, or those of the named buildings.

    ``read``     "registered": it opens the telegrams of its own devices only
    ``receiver`` soft, chip or rtl_wmbus
    """

    name: str = ""
    manufacturer: _FLAG = "EXG"
    modes: tuple[Mode, ...] = ("T", "C")
    receiver: Literal["soft", "chip", "rtl_wmbus"] = "soft"
    power: float = 14.0
    gain: float = 0.0
    serves: list[str] | None = None
    read: Literal["all", "registered"] = "registered"


class RepeaterPlan(Standing, frozen=True, forbid_unknown_fields=True):
    """A unidirectional or bidirectional single-hop repeater."""

    name: str = ""
    manufacturer: _FLAG = "EXR"
    mode: Mode = "C"
    bidirectional: bool = False
    power: float = 14.0


class DisplayPlan(Standing, frozen=True, forbid_unknown_fields=True):
    """A consumer display; ``meters`` labels of the devices it reads (their group has ``consumer``)."""

    name: str = ""
    meters: list[str] = []
    mode: Mode = "C"


class SegmentPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wired bus: ``baud`` of its master, ``noise`` probability of a wrong bit."""

    name: str
    baud: int = 2400
    noise: Probability = 0.0


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that goes wrong.

    ``at``       time from the start: ``90``, ``10:30``, ``2d 06:00:30``; ``until`` when it ends
    ``kind``     see ``faults.FAULTS``
    ``target``   label or address of a device, name of a gateway or repeater
    ``value``    probability, ppm, seconds, units per hour: by kind
    """

    at: str | float
    kind: str
    target: str
    until: str | float | None = None
    value: float | None = None


class WorldPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole world."""

    world: Head = Head()
    building: list[BuildingPlan] = []
    meters: list[MeterGroup] = []
    gateway: list[GatewayPlan] = []
    repeater: list[RepeaterPlan] = []
    display: list[DisplayPlan] = []
    segment: list[SegmentPlan] = []
    fault: list[FaultPlan] = []


def seconds_of(text: str | float) -> float:
    """Seconds of ``90``, ``10:30``, ``10:30:05``, ``2d``, ``2d 06:00``. Raises InputError."""
    if isinstance(text, int | float):
        return float(text)
    found = _TIME.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise InputError(f"{text!r} is no time; write 90, 10:30, 10:30:05 or 2d 06:00")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return days * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds


def read_plan(path: Path) -> WorldPlan:
    """Read a world from a file. Raises InputError that names file and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return parse_plan(text, str(path))


def parse_plan(text: str, source: str = "world") -> WorldPlan:
    """Read a world from TOML text. Raises InputError that names ``source`` and key."""
    try:
        raw = tomllib.loads(text)
        head = raw.get("world")
        if isinstance(head, dict) and type(head.get("start")) is dt.date:
            head["start"] = dt.datetime.combine(head["start"], dt.time())
        plan = msgspec.convert(raw, WorldPlan)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: no TOML, {error}") from None
    except msgspec.ValidationError as error:
        raise InputError(f"{source}: {_place(str(error))}") from None
    _check(plan, source)
    return plan


def _place(message: str) -> str:
    """The message of the decoder with the key path in front: ``meters[2].mode: ...``."""
    reason, _, path = message.partition(" - at `$")
    return f"{path.rstrip('`').lstrip('.')}: {reason}" if path else reason


def _check(plan: WorldPlan, source: str) -> None:
    """What types cannot tell: names that must exist, names that must be unique."""
    buildings = [one.name for one in plan.building]
    segments = {one.name for one in plan.segment}
    for name in {name for name in buildings if buildings.count(name) > 1}:
        raise InputError(f"{source}: building: two are named {name!r}")
    model = plan.world.environment.model
    if model not in MODELS:
        raise InputError(f"{source}: world.environment.model: {model!r} is none of {', '.join(MODELS)}")
    for index, building in enumerate(plan.building):
        _known(building.walls, LOSSES, f"{source}: building[{index}].walls")
    for index, group in enumerate(plan.meters):
        where = f"{source}: meters[{index}]"
        _known(group.medium, MEDIA, f"{where}.medium")
        for name in names(group.building):
            _known(name, buildings, f"{where}.building")
        if group.segment is not None:
            _known(group.segment, segments, f"{where}.segment")
        if group.per != "world" and not plan.building:
            raise InputError(f'{where}.per: there is no building; write per = "world"')
    standing: list[tuple[str, list[Standing]]] = [
        ("gateway", list(plan.gateway)),
        ("repeater", list(plan.repeater)),
        ("display", list(plan.display)),
    ]
    for kind, list_ in standing:
        for index, one in enumerate(list_):
            if one.building:
                _known(one.building, buildings, f"{source}: {kind}[{index}].building")
            elif one.position is None:
                raise InputError(f"{source}: {kind}[{index}]: needs a building or a position")


def names(text: str | list[str]) -> list[str]:
    """One name or several."""
    return [text] if isinstance(text, str) and text else [] if isinstance(text, str) else text


def _known(name: str, known: object, where: str) -> None:
    choices = list(known)  # type: ignore[call-overload]
    if name not in choices:
        raise InputError(f"{where}: {name!r} is none of {', '.join(map(str, choices)) or 'none'}")
