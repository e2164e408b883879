"""Tariff use cases (TAF) of a BSI-type gateway as selections over its register slots.

    TAF 1   the register at the end of each billing month                 ``monthly``
    TAF 2   consumption by tariff zone, switched at times of the day       ``time_of_use``
    TAF 6   the register at a moment (due date, on demand)                 ``at_moment``
    TAF 7   the slots themselves                                          ``series``

Zones are given by weekday, or holiday, and local time of the day; days of 23 and 25 hours have the slots they have.
Source: BSI TR-03109-1 (use cases), in our own words.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from openmetering.errors import InputError
from openmetering.mdm.quality import Quality
from openmetering.mdm.slots import Slot

__all__ = ["MonthValue", "Switch", "Tariff", "ZoneAmount", "at_moment", "monthly", "series", "time_of_use"]

_HOLIDAY = 7


class Switch(msgspec.Struct, frozen=True):
    """From ``at`` on, on these days (0 Monday to 6 Sunday, 7 a holiday), ``zone`` counts until the next switch of the day."""

    days: frozenset[int]
    at: time
    zone: str


class Tariff(msgspec.Struct, frozen=True):
    """When which zone counts; ``other`` before the first switch of a day and on days without one."""

    switches: tuple[Switch, ...]
    other: str = "HT"
    holidays: frozenset[date] = frozenset()
    zone: str = "Europe/Berlin"

    def zone_at(self, moment: float) -> str:
        """The zone that counts at a moment."""
        local = datetime.fromtimestamp(moment, ZoneInfo(self.zone))
        day = _HOLIDAY if local.date() in self.holidays else local.weekday()
        passed = [one for one in self.switches if day in one.days and one.at <= local.time()]
        return max(passed, key=lambda one: one.at).zone if passed else self.other


class ZoneAmount(msgspec.Struct, frozen=True):
    """Consumption in a zone. What lies over empty slots of several zones is in ``open`` of the first of them."""

    zone: str
    value: Decimal
    open: Decimal
    quality: Quality
    slots: int


class MonthValue(msgspec.Struct, frozen=True):
    """The register at the end of a month; ``value`` None if the slot is empty."""

    month: str
    at: int
    value: Decimal | None
    quality: Quality


def series(slots: Sequence[Slot], begin: int, end: int) -> tuple[Slot, ...]:
    """TAF 7: the slots of a time."""
    return tuple(slot for slot in slots if begin <= slot.at < end)


def at_moment(slots: Sequence[Slot], moment: int) -> Slot | None:
    """TAF 6: the newest slot with a value that is not behind the moment; None without one."""
    found = [slot for slot in slots if slot.at <= moment and slot.value is not None]
    return found[-1] if found else None


def monthly(slots: Sequence[Slot], zone: str = "Europe/Berlin") -> tuple[MonthValue, ...]:
    """TAF 1: the register at the local midnight that ends each month within the slots."""
    if not slots:
        return ()
    place = ZoneInfo(zone)
    by_time = {slot.at: slot for slot in slots}
    day = datetime.fromtimestamp(slots[0].at, place).date().replace(day=1)
    found: list[MonthValue] = []
    while True:
        after = (day + timedelta(days=32)).replace(day=1)
        at = int(datetime(after.year, after.month, 1, tzinfo=place).timestamp())
        if at > slots[-1].at:
            return tuple(found)
        slot = by_time.get(at)
        value = None if slot is None or not slot.valid else slot.value
        found.append(MonthValue(f"{day:%Y-%m}", at, value, Quality.MISSING if value is None else Quality.MEASURED))
        day = after


def time_of_use(slots: Sequence[Slot], tariff: Tariff, zones: Collection[str] = ()) -> tuple[ZoneAmount, ...]:
    """TAF 2: consumption by zone. A step between two filled slots counts for the zone at its beginning.

    Over empty slots the step is shared by their time, and the zones' quality is INTERPOLATED; ``open`` says how much that is.
    Raises InputError (``input.option``) for slots that are not in order
    """
    sums: dict[str, list[Decimal]] = {name: [Decimal(0), Decimal(0)] for name in zones}
    counts: dict[str, int] = {}
    filled = [slot for slot in slots if slot.value is not None]
    if any(late.at <= early.at for early, late in itertools.pairwise(filled)):
        raise InputError("slots must be in order of time, each once", code="input.option")
    length = min((late.at - early.at for early, late in itertools.pairwise(slots)), default=1)
    for early, late in itertools.pairwise(filled):
        assert early.value is not None
        assert late.value is not None
        parts = range(early.at, late.at, length)
        whole = late.value - early.value
        for at in parts:
            total = sums.setdefault(tariff.zone_at(at), [Decimal(0), Decimal(0)])
            total[0] += whole / len(parts)
            total[1] += whole / len(parts) if len(parts) > 1 else Decimal(0)
            counts[tariff.zone_at(at)] = counts.get(tariff.zone_at(at), 0) + 1
    return tuple(
        ZoneAmount(name, total, open_, Quality.INTERPOLATED if open_ else Quality.MEASURED, counts.get(name, 0))
        for name, (total, open_) in sorted(sums.items())
    )
