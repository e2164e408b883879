"""Steps of a meter's calendar: from the base time of a series to the time of its n-th point.

A series is spaced by seconds (up to days) or by half months (up to years). The result keeps
the resolution of the base time; where the base time cannot carry the step, there is no time.
Source: EN 13757-3 Annex F as used by OMS Volume 2 Annex G (clauses to confirm).
"""

from __future__ import annotations

import calendar
import datetime as dt

import msgspec

from openmetering.wire.types import MeterTime

__all__ = ["Interval", "stepped"]

_DAY = 86400


class Interval(msgspec.Struct, frozen=True):
    """The distance of two points: ``seconds`` or ``half_months``, the other one is 0."""

    seconds: int = 0
    half_months: int = 0

    def __str__(self) -> str:
        if self.half_months:
            return f"{self.half_months // 2} months" if self.half_months % 2 == 0 else f"{self.half_months} half months"
        return f"{self.seconds} s"


def _month(index: int) -> tuple[int, int]:
    """Year and month of a running month number."""
    return index // 12, index % 12 + 1


def _last_day(year: int, month: int) -> int:
    if not dt.MINYEAR <= year <= dt.MAXYEAR:
        raise OverflowError
    return calendar.monthrange(year, month)[1]


def _half_months(day: dt.date, count: int) -> dt.date:
    """The date ``count`` half months later.

    A base at the end of a month stays at ends of months. Half a month lies between day d and
    day d + 15; days 15 and the last of the month alternate. How EN 13757-3 splits months for
    other base days is not public: this function is the one place to change.
    """
    months = day.year * 12 + day.month - 1
    at_end = day.day == _last_day(day.year, day.month)
    if at_end or day.day == 15:
        index = 2 * months + at_end + count
        year, month = _month(index >> 1)
        return dt.date(year, month, _last_day(year, month) if index & 1 else 15)
    index = 2 * months + (day.day > 15) + count
    year, month = _month(index >> 1)
    low = day.day - 15 if day.day > 15 else day.day
    return dt.date(year, month, min(low + 15 * (index & 1), _last_day(year, month)))


def _moved_date(day: dt.date, interval: Interval, count: int) -> dt.date:
    if interval.half_months:
        return _half_months(day, interval.half_months * count)
    return day + dt.timedelta(days=interval.seconds * count // _DAY)


def _date_only(base: MeterTime, interval: Interval, count: int) -> str | None:
    day = base.date()
    if day is None or interval.seconds % _DAY:
        return None
    return _moved_date(day, interval, count).isoformat()


def _date_time(base: MeterTime, interval: Interval, count: int) -> str | None:
    moment = base.datetime()
    if moment is None:
        return None
    if interval.half_months:
        moment = dt.datetime.combine(_half_months(moment.date(), interval.half_months * count), moment.time())
    else:
        moment += dt.timedelta(seconds=interval.seconds * count)
    fine = base.type == "I" or interval.seconds % 60 != 0
    return moment.isoformat(timespec="seconds" if fine else "minutes")


def _time_of_day(base: MeterTime, interval: Interval, count: int) -> str | None:
    start = (base.hour or 0) * 3600 + (base.minute or 0) * 60 + (base.second or 0)
    second = (start + interval.seconds * count) % _DAY
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


_BY_TYPE = {"G": _date_only, "F": _date_time, "I": _date_time, "J": _time_of_day}


def stepped(base: MeterTime, interval: Interval, count: int) -> str | None:
    """ISO 8601 text of the moment ``count`` intervals after ``base`` (before it, if negative).

    Type G gives dates, types F and I naive local times, type J times of the day. None for
    periodic and relative base times, for steps within the day from a date without a time
    (the hour it stands for is not known) and for dates outside the calendar.
    """
    step = _BY_TYPE.get(base.type)
    if step is None:
        return None
    try:
        return step(base, interval, count)
    except (OverflowError, ValueError):
        return None
