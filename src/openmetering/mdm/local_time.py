"""Days and months of local time, in which due dates, months and slots begin: some days have 23 or 25 hours.

Moments are seconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = ["local_date", "midnight", "months_of", "next_day", "next_month"]


def midnight(day: date, zone: ZoneInfo) -> float:
    """When a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def local_date(moment: float, zone: ZoneInfo) -> date:
    """The day of a moment."""
    return datetime.fromtimestamp(moment, zone).date()


def next_day(day: date) -> date:
    """The day after."""
    return day + timedelta(days=1)


def next_month(day: date) -> date:
    """The first day of the month after that of a day."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def months_of(begin: float, end: float, zone: ZoneInfo) -> Iterator[tuple[date, float, float]]:
    """The months that a time touches: first day, begin and end of the whole month."""
    first = local_date(begin, zone).replace(day=1)
    while midnight(first, zone) < end:
        after = next_month(first)
        yield first, midnight(first, zone), midnight(after, zone)
        first = after
