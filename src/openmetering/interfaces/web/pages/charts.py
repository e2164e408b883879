"""From values to plots: times and numbers, or what was used between them. Pure; times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Final

import msgspec

from openmetering.services.headend.model import SeriesPoint

__all__ = ["SPANS", "Chart", "Span", "consumption", "numbers"]


class Span(msgspec.Struct, frozen=True):
    """A time that can be shown: how long, and the slots (seconds) it is divided into, for lines and for bars."""

    length: timedelta
    slot: float
    bar: float


_HOUR, _DAY = 3600.0, 86_400.0

#: the spans on offer; a year has as many slots as a screen has room
SPANS: Final[dict[str, Span]] = {
    "day": Span(timedelta(days=1), 300.0, _HOUR),
    "week": Span(timedelta(days=7), _HOUR / 2, _DAY),
    "month": Span(timedelta(days=31), 3 * _HOUR, _DAY),
    "quarter": Span(timedelta(days=92), 6 * _HOUR, 7 * _DAY),
    "year": Span(timedelta(days=366), _DAY, 28 * _DAY),
}


class Words(msgspec.Struct, frozen=True):
    """Words of the legend."""

    time: str


class Chart(msgspec.Struct, frozen=True):
    """What the script draws: ``form`` is ``line`` or ``bars``, ``digits`` behind the decimal sign, ``slot`` in seconds."""

    label: str
    unit: str
    form: str
    digits: int
    slot: float
    times: list[float]
    values: list[float | None]
    words: Words


def numbers(points: Sequence[SeriesPoint]) -> list[tuple[datetime, Decimal]]:
    """The points that are numbers, one for each time, in order."""
    found: dict[datetime, Decimal] = {}
    for point in points:
        if point.value is None:
            continue
        try:
            value = Decimal(point.value)
        except InvalidOperation:
            continue
        if value.is_finite():
            found[point.received_at] = value
    return sorted(found.items())


def consumption(points: Sequence[tuple[datetime, Decimal]], slot: float) -> list[tuple[datetime, Decimal]]:
    """What a counter went on by in each slot, at the beginning of the slot.

    The count at a border is interpolated between its neighbours, so that slots without a reading share what was
    used in them. A counter that falls (a new meter, a reset) begins anew; nothing is counted for that step.
    """
    if len(points) < 2:
        return []
    start = points[0][0].timestamp()
    zone = points[0][0].tzinfo
    first = int(start // slot)
    used: dict[int, Decimal] = {}
    for (before, low), (after, high) in pairwise(points):
        if high < low:
            continue
        begin, end = before.timestamp(), after.timestamp()
        length = Decimal(str(end - begin))
        for number in range(int(begin // slot), int(-(-end // slot))):
            part = Decimal(str(min(end, (number + 1) * slot) - max(begin, number * slot)))
            used[number] = used.get(number, Decimal(0)) + (high - low) * part / length
    last = max(used, default=first - 1)
    return [(datetime.fromtimestamp(number * slot, zone), used.get(number, Decimal(0))) for number in range(first, last + 1)]
