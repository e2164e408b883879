"""Steps of the calendar from a base time."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.intervals import Interval, stepped
from openmetering.wire.types import EVERY, MeterTime

MONTH, HALF_MONTH, QUARTER, HALF_YEAR = (
    Interval(half_months=2),
    Interval(half_months=1),
    Interval(half_months=6),
    Interval(half_months=12),
)
HOUR, DAY = Interval(seconds=3600), Interval(seconds=86400)


def day(text):
    year, month, date = map(int, text.split("-"))
    return MeterTime("G", year, month, date)


@pytest.mark.parametrize(
    ("base", "interval", "dates"),
    [
        ("2008-01-31", MONTH, ["2008-02-29", "2008-03-31", "2008-04-30", "2008-05-31"]),
        ("2009-04-30", MONTH, ["2009-05-31", "2009-06-30"]),  # the end of a month stays the end
        ("2009-02-28", MONTH, ["2009-03-31"]),
        ("2008-02-28", MONTH, ["2008-03-28"]),  # not the end in a leap year
        ("2009-01-30", MONTH, ["2009-02-28", "2009-03-30"]),  # no end of a month: only cut where the month is shorter
        ("2012-11-01", MONTH, ["2012-12-01", "2013-01-01"]),
        ("2012-12-31", QUARTER, ["2013-03-31", "2013-06-30"]),
        ("2012-06-30", HALF_YEAR, ["2012-12-31", "2013-06-30"]),
        ("2013-01-01", HALF_MONTH, ["2013-01-16", "2013-02-01", "2013-02-16", "2013-03-01"]),
        ("2013-01-15", HALF_MONTH, ["2013-01-31", "2013-02-15", "2013-02-28", "2013-03-15"]),
        ("2013-01-31", HALF_MONTH, ["2013-02-15", "2013-02-28", "2013-03-15"]),
        ("2013-01-16", HALF_MONTH, ["2013-02-01", "2013-02-16"]),
        ("2013-01-14", HALF_MONTH, ["2013-01-29", "2013-02-14", "2013-02-28", "2013-03-14", "2013-03-29"]),
        ("2013-01-29", DAY, ["2013-01-30", "2013-01-31", "2013-02-01"]),
        ("2013-12-25", Interval(seconds=7 * 86400), ["2014-01-01"]),
    ],
)
def test_dates(base, interval, dates):
    start = day(base)
    assert stepped(start, interval, 0) == base
    assert [stepped(start, interval, count) for count in range(1, len(dates) + 1)] == dates


@pytest.mark.parametrize(
    ("base", "interval", "count", "date"),
    [
        ("2008-05-31", MONTH, -3, "2008-02-29"),
        ("2008-01-31", MONTH, -1, "2007-12-31"),
        ("2013-01-01", HALF_MONTH, -1, "2012-12-16"),
        ("2013-01-15", HALF_MONTH, -1, "2012-12-31"),
        ("2012-03-01", DAY, -1, "2012-02-29"),
    ],
)
def test_backwards(base, interval, count, date):
    assert stepped(day(base), interval, count) == date


def test_a_time_keeps_the_resolution_of_its_base():
    minute = MeterTime("F", 2010, 1, 1, 0, 0)
    second = MeterTime("I", 2010, 1, 1, 23, 59, 30)
    assert stepped(minute, HOUR, 25) == "2010-01-02T01:00"
    assert stepped(minute, Interval(seconds=90), 1) == "2010-01-01T00:01:30"
    assert stepped(second, Interval(seconds=60), 1) == "2010-01-02T00:00:30"
    assert stepped(minute, MONTH, 1) == "2010-02-01T00:00"
    assert stepped(MeterTime("F", 2010, 1, 31, 12, 30), MONTH, 1) == "2010-02-28T12:30"


def test_a_date_has_no_hours():
    assert stepped(day("2010-01-01"), HOUR, 1) is None
    assert stepped(day("2010-01-01"), Interval(seconds=24 * 3600), 2) == "2010-01-03"


def test_a_time_of_day_wraps():
    base = MeterTime("J", hour=23, minute=30, second=5)
    assert stepped(base, HOUR, 1) == "00:30:05"
    assert stepped(base, HOUR, -24) == "23:30:05"
    assert stepped(base, MONTH, 1) == "23:30:05"


@pytest.mark.parametrize(
    "base",
    [
        MeterTime("M", relative=3),
        MeterTime("G", EVERY, 1, 1),
        MeterTime("F", 2010, 1, EVERY, 0, 0),
        MeterTime("F", 2010, 1, 1, EVERY, 0),
        MeterTime("I", None, None, None, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("interval", [DAY, MONTH, HOUR])
def test_no_base_no_time(base, interval):
    assert stepped(base, interval, 1) is None


def test_outside_the_calendar():
    assert stepped(MeterTime("F", 9999, 12, 31, 0, 0), MONTH, 1) is None
    assert stepped(day("2000-01-01"), MONTH, -12 * 2000) is None
    assert stepped(MeterTime("F", 2000, 1, 1, 0, 0), Interval(seconds=250 * 86400), 10**9) is None
    assert stepped(day("2000-01-01"), DAY, 10**9) is None


def test_text():
    assert (str(MONTH), str(HALF_MONTH), str(HOUR)) == ("1 months", "1 half months", "3600 s")


@given(st.dates(dt.date(1990, 1, 1), dt.date(2080, 12, 31)), st.integers(-40, 40))
def test_two_half_months_are_a_month(date, count):
    base = MeterTime("G", date.year, date.month, date.day)
    assert stepped(base, HALF_MONTH, 2 * count) == stepped(base, MONTH, count)


@given(
    st.dates(dt.date(1990, 1, 1), dt.date(2080, 12, 31)), st.sampled_from([DAY, HALF_MONTH, MONTH, QUARTER]), st.integers(-40, 40)
)
def test_time_runs_forward(date, interval, count):
    base = MeterTime("G", date.year, date.month, date.day)
    assert stepped(base, interval, count) < stepped(base, interval, count + 1)
