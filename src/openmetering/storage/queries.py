"""Questions to the store: devices, readings, open frames, counts."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from openmetering.storage.parts import parts
from openmetering.telegram.reassembly import FRAGMENT_TIMEOUT

if TYPE_CHECKING:
    from openmetering.storage.dialects import Link

__all__ = ["Counts", "DeviceRow", "OpenFrame", "ReadingFilter", "ReadingRow"]

_DIN = re.compile(r"[0-9A-F]([A-Z]{3})([0-9A-F]{2})(\d{8})")

#: faults that a key or a format that comes later can mend
REOPENABLE = "(error = 'key.missing' OR error LIKE 'key.mismatch%' OR error = 'compact.unknown_format')"


class ReadingFilter(msgspec.Struct, frozen=True):
    """Which readings are wanted.

    ``device`` is a part of an address, a pattern with ``*`` and ``?``, or a DIN 43863-5 number;
    ``quantity`` the same for the quantity; ``since`` and ``until`` are seconds (until excluded);
    ``latest`` asks for the newest reading of every series only.
    """

    device: str | None = None
    quantity: str | None = None
    since: float | None = None
    until: float | None = None
    latest: bool = False


class ReadingRow(msgspec.Struct, frozen=True):
    """One reading with everything that says what it is; ``exponent`` is None where it is no number."""

    address: str
    medium: str | None
    received_at: float
    quantity: str
    value: str | None
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: str
    obis: str
    tag: str
    mantissa: int | None
    exponent: int | None
    time: str | None
    error: str | None
    frame_id: int


class DeviceRow(msgspec.Struct, frozen=True):
    """A device and what is stored of it."""

    address: str
    medium: str | None
    telegrams: int
    failed: int
    first_heard: float | None
    last_heard: float | None


class OpenFrame(msgspec.Struct, frozen=True):
    """A frame to decode; ``error`` is what stopped the last attempt."""

    frame_id: int
    octets: bytes
    received_at: float
    source: str
    error: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """How much is stored; ``errors`` counts telegrams by fault code."""

    frames: int
    receptions: int
    pending: int
    telegrams: dict[str, int]
    errors: dict[str, int]
    readings: int
    devices: int


def glob(text: str) -> str:
    """An SQLite GLOB of what a user typed: parts match anywhere."""
    pattern = text.strip().replace("[", "[[]")
    return pattern if "*" in pattern or "?" in pattern else f"*{pattern}*"


def device_glob(text: str) -> str:
    """The same for addresses; a DIN 43863-5 number becomes the address it stands for."""
    text = text.strip()
    found = _DIN.fullmatch(text.upper())
    return f"{found[1]}-{found[3]}-{found[2]}-*" if found else glob(text.upper())


_COLUMNS = (
    "a.address, a.medium, r.received_at, s.quantity, r.value, s.unit, s.function, s.storage, s.tariff, s.subunit, "
    "s.qualifiers, s.obis, s.tag, r.mantissa, r.exponent, r.time, r.error, r.frame_id"
)
_NEWEST = "r.received_at = (SELECT max(n.received_at) FROM readings n WHERE n.series_id = s.id{window})"


def readings_query(link: Link, wanted: ReadingFilter) -> tuple[str, list[str | float]]:
    """The statement and its parameters."""
    where: list[str] = []
    values: list[str | float] = []
    window = ""
    window_values: list[float] = []
    for column, limit in ((">=", wanted.since), ("<", wanted.until)):
        if limit is not None:
            where.append(f"r.received_at {column} ?")
            values.append(limit)
            window += f" AND n.received_at {column} ?"
            window_values.append(limit)
    for column, pattern in (
        ("upper(a.address)", device_glob(wanted.device) if wanted.device else None),
        ("lower(s.quantity)", glob(wanted.quantity.lower()) if wanted.quantity else None),
    ):
        if pattern is not None:
            condition, value = link.fits(column, pattern)
            where.append(condition)
            values.append(value)
    if wanted.latest:
        where.append(_NEWEST.format(window=window))
        values += window_values
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    order = "a.address, s.storage, s.id, r.frame_id, r.position" if wanted.latest else "r.received_at, r.frame_id, r.position"
    return (
        f"SELECT {_COLUMNS} FROM series s JOIN addresses a ON a.id = s.address_id JOIN readings r ON r.series_id = s.id"
        f"{condition} ORDER BY {order}",
        values,
    )


def read_readings(link: Link, wanted: ReadingFilter) -> Iterator[ReadingRow]:
    """The wanted readings in order of time (``latest``: by device)."""
    statement, values = readings_query(link, wanted)
    for row in link.stream(statement, values):
        yield ReadingRow(*row)


def read_devices(link: Link, device: str | None) -> list[DeviceRow]:
    """Devices by address."""
    statement = "SELECT address, medium, telegrams, coalesce(failed, 0), first_heard, last_heard FROM devices"
    values: tuple[str, ...] = ()
    if device:
        condition, value = link.fits("upper(address)", device_glob(device))
        statement, values = f"{statement} WHERE {condition}", (value,)
    return [DeviceRow(*row) for row in link.rows(statement + " ORDER BY address", values)]


def read_counts(link: Link) -> Counts:
    """How much is stored."""

    def one(table: str) -> int:
        return int(link.rows(f"SELECT count(*) FROM {table}")[0][0])

    return Counts(
        one("frames"),
        one("receptions"),
        one("pending"),
        dict(link.rows("SELECT state, count(*) FROM telegrams GROUP BY state")),
        dict(link.rows("SELECT error, count(*) FROM telegrams WHERE error IS NOT NULL GROUP BY error ORDER BY 2 DESC, 1")),
        one("readings"),
        one("addresses"),
    )


_FRAME = "SELECT f.id, f.octets, f.received_at, n.name, t.error FROM frames f JOIN sources n ON n.id = f.source_id"


def read_pending(link: Link, limit: int) -> list[OpenFrame]:
    """Frames that were stored but never decoded, the oldest first."""
    rows = link.rows(
        f"{_FRAME} LEFT JOIN telegrams t ON t.frame_id = f.id"
        " WHERE f.id IN (SELECT frame_id FROM pending ORDER BY frame_id LIMIT ?) ORDER BY f.id",
        (limit,),
    )
    return [OpenFrame(*row) for row in rows]


def read_frames(link: Link, ids: list[int]) -> list[OpenFrame]:
    """Frames by id, in that order."""
    found: list[OpenFrame] = []
    for part in parts(ids):
        condition, values = link.among("f.id", part)
        rows = link.rows(f"{_FRAME} LEFT JOIN telegrams t ON t.frame_id = f.id WHERE {condition} ORDER BY f.id", values)
        found += [OpenFrame(*row) for row in rows]
    return found


def reopenable_ids(link: Link) -> list[int]:
    """Frames that a later key or format may open, and the fragments shortly before them that may be parts of them."""
    waiting = link.rows(f"SELECT received_at, frame_id FROM telegrams WHERE {REOPENABLE} ORDER BY 1")
    ids = {frame_id for _, frame_id in waiting}
    moments = [moment for moment, _ in waiting]
    for moment, frame_id in link.rows("SELECT received_at, frame_id FROM telegrams WHERE state = 'fragment'"):
        at = bisect_left(moments, moment)
        if at < len(moments) and moments[at] - moment <= FRAGMENT_TIMEOUT:
            ids.add(frame_id)
    return sorted(ids)


def waits_for_format(link: Link) -> bool:
    """True if there are compact frames whose format is not known."""
    return link.rows("SELECT 1 FROM telegrams WHERE error = 'compact.unknown_format' LIMIT 1") != []


def count_reopenable(link: Link) -> int:
    """How many telegrams wait for a key or a format."""
    return int(link.rows(f"SELECT count(*) FROM telegrams WHERE {REOPENABLE}")[0][0])
