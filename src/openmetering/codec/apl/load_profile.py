"""Standard load profile: values in consecutive storage numbers, dated by one of them.

    FD 20 / FD 21   first (oldest) and last (newest) storage number, in the DIB or as data
    FD 22           size of the storage block, in the DIB of the oldest value
    FD 24..29       storage interval: s, min, h, d, month, year; 0 means no relation in time
    6C or 6D        the date of one end

Source: EN 13757-3 Annex F (standard load profile, clause to confirm); OMS Volume 2 issue 5.0.1
Annex G Table G.2 and Annex K (storage descriptors).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from openmetering.codec.apl.intervals import Interval, stepped
from openmetering.codec.apl.records import Record
from openmetering.wire.types import MeterTime

__all__ = ["LoadPoint", "LoadProfile", "standard_load_profile"]

_FIRST, _LAST, _SIZE = 0x20, 0x21, 0x22
_INTERVALS = {0x24: (1, 0), 0x25: (60, 0), 0x26: (3600, 0), 0x27: (86400, 0), 0x28: (0, 2), 0x29: (0, 24)}
_DESCRIPTORS = frozenset((_FIRST, _LAST, _SIZE, *_INTERVALS))


class LoadPoint(msgspec.Struct, frozen=True):
    """One value of a load profile with its own date; ``time`` is None where no date is known."""

    storage: int
    time: str | None
    record: Record


class LoadProfile(msgspec.Struct, frozen=True):
    """A block of storage numbers with one interval; ``oldest`` may be the higher number."""

    oldest: int
    newest: int
    interval: Interval | None
    base_storage: int | None
    base_time: MeterTime | None
    points: tuple[LoadPoint, ...]


def _descriptor(record: Record) -> int | None:
    vib = record.header.vib
    return vib[1] if len(vib) == 2 and vib[0] == 0xFD and vib[1] in _DESCRIPTORS else None


def _number(record: Record) -> int:
    """A storage number: as data, or without data in the DIB."""
    return record.content if isinstance(record.content, int) else record.header.storage


class _Message:
    """What the load profiles of a message are made of, by storage number."""

    __slots__ = ("date_storages", "dates", "first", "last", "sizes", "starts", "storages", "values")

    def __init__(self, records: Sequence[Record]) -> None:
        self.dates: dict[int, MeterTime] = {}
        self.sizes: dict[int, int] = {}
        self.starts: dict[int, tuple[int, Record]] = {}
        self.first: list[int] = []
        self.last: list[int] = []
        self.values: list[Record] = []
        for record in records:
            self._sort_in(record)
        self.last.sort()
        self.values.sort(key=lambda record: record.header.storage)
        self.storages = [record.header.storage for record in self.values]
        self.date_storages = sorted(self.dates)

    def _sort_in(self, record: Record) -> None:
        storage, content, code = record.header.storage, record.content, _descriptor(record)
        if code == _SIZE:
            if isinstance(content, int) and content > 0:
                self.sizes.setdefault(storage, content)
        elif code == _FIRST:
            self.first.append(_number(record))
        elif code == _LAST:
            self.last.append(_number(record))
        elif code is not None:
            self.starts.setdefault(storage, (code, record))
        elif record.header.vib in (b"\x6c", b"\x6d"):
            if isinstance(content, MeterTime) and content.relative is None:
                self.dates.setdefault(storage, content)
        elif record.header.profile is None:
            self.values.append(record)

    def ends(self, start: int, following: int | None) -> tuple[int, int]:
        """Oldest and newest storage number of the block described at ``start``; it ends in front of the next one."""
        if len(self.first) == len(self.last) == 1 and self.first[0] > self.last[0]:
            return self.first[0], self.last[0]
        highest = max(self.storages[-1] if self.storages else 0, start)
        if start in self.sizes:
            highest = start + self.sizes[start] - 1
        else:
            at = bisect_left(self.last, start)
            if at < len(self.last):
                highest = self.last[at]
        return start, highest if following is None else min(highest, following - 1)

    def between(self, low: int, high: int) -> list[Record]:
        """The values of a run of storage numbers, lowest first."""
        return self.values[bisect_left(self.storages, low) : bisect_right(self.storages, high)]

    def anchor(self, oldest: int, newest: int) -> int | None:
        """The storage number whose date dates the block: one of the ends before any other."""
        for storage in (oldest, newest):
            if storage in self.dates:
                return storage
        at = bisect_left(self.date_storages, min(oldest, newest))
        inside = at < len(self.date_storages) and self.date_storages[at] <= max(oldest, newest)
        return self.date_storages[at] if inside else None


def standard_load_profile(records: Sequence[Record]) -> tuple[LoadProfile, ...]:
    """Find the load profiles of a message and date their values.

    A block starts at the storage number of its interval record and reaches as far as FD 22 or
    FD 21 say, else to the next block. Storage numbers count from the oldest to the newest
    value; only a message with one FD 20 above its one FD 21 counts down. A storage number that
    has its own date keeps it. Points stand in the order of their storage numbers.

    Source   EN 13757-3 Annex F (clause to confirm); OMS Volume 2 issue 5.0.1 Table G.2
    Units    times are naive ISO 8601 text in the resolution of the date
    Raises   nothing
    """
    message = _Message(records)
    order = sorted(message.starts)
    blocks = {message.ends(start, following): start for start, following in zip(order, [*order, None][1:], strict=True)}
    return tuple(_profile(message, ends, *message.starts[start]) for ends, start in blocks.items())


def _interval(code: int, record: Record) -> Interval | None:
    count = record.content
    if not isinstance(count, int) or count <= 0:
        return None
    seconds, half_months = _INTERVALS[code]
    return Interval(seconds * count, half_months * count)


def _profile(message: _Message, ends: tuple[int, int], code: int, descriptor: Record) -> LoadProfile:
    oldest, newest = ends
    dates, interval, base_storage = message.dates, _interval(code, descriptor), message.anchor(oldest, newest)
    way = 1 if newest >= oldest else -1
    points = []
    for record in message.between(min(ends), max(ends)):
        storage = record.header.storage
        time = None
        if storage in dates:
            time = dates[storage].isoformat()
        elif interval is not None and base_storage is not None:
            time = stepped(dates[base_storage], interval, way * (storage - base_storage))
        points.append(LoadPoint(storage, time, record))
    base_time = None if base_storage is None else dates[base_storage]
    return LoadProfile(oldest, newest, interval, base_storage, base_time, tuple(points))
