"""Tariff use cases (TAF) of a BSI-type gateway as selections over its register slots.

    TAF 1   the register at the end of each billing month                 ``monthly``
    TAF 2   consumption by tariff zone, switched at times of the day      ``time_of_use``
    TAF 6   the register at a due date, or the newest one on demand       ``at_moment``, ``newest``
    TAF 7   the slots themselves, of a time or of a local day             ``series``, ``local_day``

Only valid slots count. What lies between two of them is interpolated and says so; its standard uncertainty is
step x sqrt(x (1 - x)) for a moment at the share x, as in ``mdm.consumption``.
Source: BSI TR-03109-1 (use cases), in our own words.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from openmetering.errors import InputError
from openmetering.mdm.consumption import Reading, resolution_of, worst
from openmetering.mdm.due_dates import due_moment
from openmetering.mdm.local_time import local_date, midnight, next_day, next_month
from openmetering.mdm.quality import Quality
from openmetering.mdm.slots import Slot
from openmetering.mdm.slots.grid import advanced

__all__ = [
    "HOLIDAY",
    "MonthValue",
    "Switch",
    "Tariff",
    "ZoneAmount",
    "at_moment",
    "local_day",
    "monthly",
    "newest",
    "series",
    "time_of_use",
]

#: the day of the week that a holiday counts as
HOLIDAY: Final = 7
_ZONE: Final = "Europe/Berlin"
_DAY: Final = timedelta(days=1)


class Switch(msgspec.Struct, frozen=True):
    """From ``at`` on, on these days (0 Monday to 6 Sunday, 7 a holiday), ``zone`` counts until the next switch of the day."""

    days: frozenset[int]
    at: time
    zone: str


class Tariff(msgspec.Struct, frozen=True):
    """When which zone counts, in local time; ``other`` before the first switch of a day and on days without one.

    When the clock is put forward a switch in the missing hour takes place at once; when it is put back none takes place twice.
    """

    switches: tuple[Switch, ...]
    other: str = "HT"
    holidays: frozenset[date] = frozenset()
    zone: str = _ZONE

    def zones(self, begin: int, end: int, length: int) -> list[str]:
        """The zone at each step from ``begin`` until ``end`` (excluded), seconds UTC."""
        place = ZoneInfo(self.zone)
        midnight = due_moment(datetime.fromtimestamp(begin, place).date() - _DAY, place)
        lead = -(-(begin - int(midnight)) // length)
        found: list[str] = []
        day, latest = date.min, time.min
        times: list[time] = []
        names: list[str] = []
        for at in range(begin - lead * length, end, length):
            local = datetime.fromtimestamp(at, place)
            wall = local.time()
            if local.date() != day:
                day, latest = local.date(), time.min
                switches = self.of_day(day)
                times, names = [one.at for one in switches], [self.other, *(one.zone for one in switches)]
            latest = max(latest, wall)
            found.append(names[bisect_right(times, latest)])
        return found[lead:]

    def of_day(self, day: date) -> list[Switch]:
        """The switches of a day in order."""
        kind = HOLIDAY if day in self.holidays else day.weekday()
        return sorted((one for one in self.switches if kind in one.days), key=lambda one: one.at)


class ZoneAmount(msgspec.Struct, frozen=True):
    """Consumption in a zone. ``uncertainty`` is a standard one: what empty slots over a switch leave open.

    ``slots``      intervals that were counted       ``uncounted``  those before the first and behind the last valid slot; with
    any of them the quality is MISSING, for consumption may be missing
    """

    zone: str
    value: Decimal
    uncertainty: Decimal
    quality: Quality
    slots: int
    uncounted: int


class MonthValue(msgspec.Struct, frozen=True):
    """The register at the local midnight that ends a month (``2025-02``)."""

    month: str
    reading: Reading


def _by_time(slot: Slot) -> int:
    return slot.at


def series(slots: Sequence[Slot], begin: int, end: int) -> Sequence[Slot]:
    """TAF 7: the slots with ``begin <= at < end``."""
    return slots[bisect_left(slots, begin, key=_by_time) : bisect_left(slots, end, key=_by_time)]


def local_day(slots: Sequence[Slot], day: date, zone: str = _ZONE) -> Sequence[Slot]:
    """TAF 7: the slots of a local day, the midnight at its beginning included: 92, 96 or 100 quarters."""
    place = ZoneInfo(zone)
    return series(slots, int(midnight(day, place)), int(midnight(next_day(day), place)))


def newest(slots: Sequence[Slot], moment: int) -> Slot | None:
    """TAF 6, on demand: the newest valid slot that is not behind a moment; None without one."""
    behind = bisect_right(slots, moment, key=_by_time)
    return next((slots[place] for place in range(behind - 1, -1, -1) if slots[place].valid), None)


def at_moment(slots: Sequence[Slot], moment: int, capacity: Decimal | None = None) -> Reading:
    """TAF 6, due date: the register at a moment, interpolated if its slot is not valid; MISSING if one side of it is empty."""
    behind = bisect_right(slots, moment, key=_by_time)
    early = next((slots[place] for place in range(behind - 1, -1, -1) if slots[place].valid), None)
    late = next((slots[place] for place in range(behind, len(slots)) if slots[place].valid), None)
    if early is not None and early.value is not None and early.held_at is not None and early.at == moment:
        return Reading(moment, early.value, _quality(early), _resolution(early.value), abs(early.held_at - moment))
    if early is None or late is None or early.value is None or late.value is None:
        apart = min((abs(one.at - moment) for one in (early, late) if one is not None), default=0)
        return Reading(moment, None, Quality.MISSING, Decimal(0), float(apart))
    step = advanced(early.value, late.value, capacity)
    share = Decimal(moment - early.at) / Decimal(late.at - early.at)
    value = early.value + _rounded(step * share, step)
    if capacity is not None and value >= capacity:
        value -= capacity
    uncertainty = (step**2 * share * (1 - share) + _resolution(step) ** 2).sqrt()
    return Reading(moment, value, Quality.INTERPOLATED, uncertainty, float(min(moment - early.at, late.at - moment)))


def monthly(slots: Sequence[Slot], zone: str = _ZONE, capacity: Decimal | None = None) -> tuple[MonthValue, ...]:
    """TAF 1: the register at the local midnight that ends each month within the slots."""
    if not slots:
        return ()
    place = ZoneInfo(zone)
    first = local_date(slots[0].at, place).replace(day=1)
    found: list[MonthValue] = []
    while True:
        following = next_month(first)
        at = int(midnight(following, place))
        if at > slots[-1].at:
            return tuple(found)
        found.append(MonthValue(f"{first:%Y-%m}", at_moment(slots, at, capacity)))
        first = following


def time_of_use(
    slots: Sequence[Slot], tariff: Tariff, zones: Collection[str] = (), capacity: Decimal | None = None
) -> tuple[ZoneAmount, ...]:
    """TAF 2: consumption by zone, by name; a step between two slots counts for the zone at its beginning.

    Over slots that are not valid the step is known as a whole. If a switch lies within, it is shared by time: the quality of
    these zones is INTERPOLATED and they have an uncertainty. The sum over all zones stays exact. ``zones`` names some that must
    appear.

    Raises InputError (``input.option``) for slots that are no complete grid in order of time, as ``fill`` makes it
    """
    length = slots[1].at - slots[0].at if len(slots) > 1 else 0
    if length < 0 or any(late.at - early.at != length for early, late in itertools.pairwise(slots)):
        raise InputError("slots must be a grid in order of time", code="input.option")
    sums = _Sums(zones)
    if not length:
        return sums.amounts()
    names = tariff.zones(slots[0].at, slots[-1].at, length)
    valid = [place for place, slot in enumerate(slots) if slot.valid]
    for early, late in itertools.pairwise(valid):
        sums.add(names[early:late], slots[early], slots[late], capacity)
    sums.leave(names[: valid[0]] + names[valid[-1] :] if valid else names)
    return sums.amounts()


class _Zone:
    """What has come together in a zone."""

    __slots__ = ("qualities", "slots", "total", "uncounted", "variance")

    def __init__(self) -> None:
        self.total = self.variance = Decimal(0)
        self.slots = self.uncounted = 0
        self.qualities = {Quality.MEASURED}


class _Sums:
    """The zones of a tariff as they fill up."""

    def __init__(self, zones: Collection[str]) -> None:
        self._zones = {name: _Zone() for name in zones}

    def _zone(self, name: str) -> _Zone:
        found = self._zones.get(name)
        if found is None:
            found = self._zones[name] = _Zone()
        return found

    def add(self, names: Sequence[str], early: Slot, late: Slot, capacity: Decimal | None) -> None:
        """The step between two valid slots, over one interval or more."""
        assert early.value is not None
        assert late.value is not None
        step = advanced(early.value, late.value, capacity)
        if late.late:
            self._zone(names[-1]).qualities.add(Quality.LATE)
        counts = Counter(names) if len(names) > 1 else {names[0]: 1}
        rest = step
        for number, (name, count) in enumerate(counts.items(), 1):
            zone = self._zone(name)
            zone.slots += count
            if len(counts) == 1:
                zone.total += step
                return
            share = Decimal(count) / len(names)
            # the last zone takes what rounding leaves, so that nothing is lost
            part = rest if number == len(counts) else _rounded(step * share, step)
            rest -= part
            zone.total += part
            zone.variance += step**2 * share * (1 - share)
            zone.qualities.add(Quality.INTERPOLATED)

    def leave(self, names: Sequence[str]) -> None:
        """Intervals without a value on one side."""
        for name, count in Counter(names).items():
            zone = self._zone(name)
            zone.uncounted += count
            zone.qualities.add(Quality.MISSING)

    def amounts(self) -> tuple[ZoneAmount, ...]:
        """The zones by name."""
        return tuple(
            ZoneAmount(name, zone.total, zone.variance.sqrt(), worst(zone.qualities), zone.slots, zone.uncounted)
            for name, zone in sorted(self._zones.items())
        )


def _quality(slot: Slot) -> Quality:
    return Quality.LATE if slot.late else Quality.MEASURED


def _exponent(value: Decimal) -> int:
    return int(value.as_tuple().exponent)


def _resolution(value: Decimal) -> Decimal:
    """Standard uncertainty of a value by its last digit."""
    return resolution_of(_exponent(value))


def _rounded(value: Decimal, like: Decimal) -> Decimal:
    """To the last digit of the register."""
    return value.quantize(Decimal(1).scaleb(_exponent(like)))
