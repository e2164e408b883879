"""Tariff use cases over register slots: zones, holidays, days of 23 and 25 hours, and what empty slots leave open."""

from __future__ import annotations

import time as clock
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from openmetering.errors import InputError
from openmetering.mdm.quality import Quality
from openmetering.mdm.slots import HOUR, QUARTER, Slot, SlotValue, fill
from openmetering.mdm.tariff import Switch, Tariff, ZoneAmount, at_moment, local_day, monthly, newest, series, time_of_use

ZONE = ZoneInfo("Europe/Berlin")
WEEK = frozenset(range(5))
TARIFF = Tariff((Switch(WEEK, time(6), "HT"), Switch(WEEK, time(22), "NT")), other="NT", holidays=frozenset((date(2025, 3, 5),)))
#: days of 24, 23 and 25 hours
NORMAL, SPRING, AUTUMN = date(2025, 3, 4), date(2025, 3, 30), date(2025, 10, 26)
TOLERANCE = Decimal("0.001")


def moment(day: date, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE).timestamp())


def grid(begin: int, end: int, skip: Collection[int] = (), late: float = 0.0, length: int = QUARTER) -> tuple[Slot, ...]:
    """One unit for each interval, but for those skipped."""
    values = [
        SlotValue(float(at), Decimal((at - begin) // length), at + late)
        for at in range(begin, end, length)
        if (at - begin) // length not in skip
    ]
    return fill(values, begin, end, length)


def day_of(day: date, skip: Collection[int] = ()) -> tuple[Slot, ...]:
    """The slots of a local day and the midnight behind it."""
    return grid(moment(day), moment(day + timedelta(days=1)) + 1, skip)


def zones(found: tuple[ZoneAmount, ...]) -> dict[str, ZoneAmount]:
    return {one.zone: one for one in found}


def amounts(slots: tuple[Slot, ...], tariff: Tariff = TARIFF) -> dict[str, Decimal]:
    return {one.zone: one.value for one in time_of_use(slots, tariff)}


# -- TAF 2 --------------------------------------------------------------------------------------


def test_a_working_day_a_holiday_a_sunday_and_the_days_of_23_and_25_hours() -> None:
    assert amounts(day_of(NORMAL)) == {"HT": 64, "NT": 32}
    assert amounts(day_of(date(2025, 3, 5))) == {"NT": 96}
    assert amounts(day_of(SPRING)) == {"NT": 92}
    assert amounts(day_of(AUTUMN)) == {"NT": 100}


@pytest.mark.parametrize(
    ("day", "at", "low"),
    [
        # the hour from 2 to 3 is missing: the switch takes place at 3, which is 8 quarters after midnight
        (SPRING, time(2, 30), 8),
        (SPRING, time(3, 30), 10),
        # the hour from 2 to 3 comes twice: the switch takes place in the first one, and not back again
        (AUTUMN, time(2, 30), 10),
        (AUTUMN, time(3, 30), 18),
        (NORMAL, time(2, 30), 10),
        (NORMAL, time(0), 0),
    ],
)
def test_a_switch_when_the_clock_is_put(day: date, at: time, low: int) -> None:
    tariff = Tariff((Switch(frozenset(range(7)), at, "HT"),), other="NT")
    slots = day_of(day)
    assert tariff.zones(slots[0].at, slots[-1].at, QUARTER) == ["NT"] * low + ["HT"] * (len(slots) - 1 - low)


def test_a_time_that_begins_within_the_second_of_two_hours_knows_the_switch_in_the_first() -> None:
    tariff = Tariff((Switch(frozenset(range(7)), time(2, 30), "HT"),), other="NT")
    assert tariff.zones(moment(AUTUMN) + 12 * 900, moment(AUTUMN) + 14 * 900, QUARTER) == ["HT", "HT"]


def test_a_holiday_may_have_switches_of_its_own() -> None:
    tariff = Tariff((Switch(frozenset((7,)), time(12), "HT"),), other="NT", holidays=frozenset((NORMAL,)))
    assert amounts(day_of(NORMAL), tariff) == {"NT": 48, "HT": 48}
    assert amounts(day_of(date(2025, 3, 6)), tariff) == {"NT": 96}


def test_a_hole_within_a_zone_leaves_nothing_open() -> None:
    found = zones(time_of_use(day_of(NORMAL, skip=range(40, 60)), TARIFF))
    assert (found["HT"].value, found["HT"].uncertainty, found["HT"].quality) == (64, 0, Quality.MEASURED)
    assert (found["HT"].slots, found["NT"].slots) == (64, 32)


def test_a_hole_over_the_switch_is_shared_by_time_and_said_so() -> None:
    """Four units over four quarters, two before the switch at 6:00: the standard uncertainty is 4 x sqrt(1/2 x 1/2)."""
    found = zones(time_of_use(day_of(NORMAL, skip=(23, 24, 25)), TARIFF))
    assert (found["HT"].value, found["NT"].value) == (64, 32)
    assert (found["HT"].uncertainty, found["NT"].uncertainty) == (2, 2)
    assert {one.quality for one in found.values()} == {Quality.INTERPOLATED}


def test_rounding_loses_nothing() -> None:
    """One unit over two quarters, one of them before the switch: one zone gets it."""
    begin = moment(NORMAL, 5, 45)
    slots = fill([SlotValue(float(begin), Decimal(7), begin), SlotValue(begin + 1800.0, Decimal(8), begin)], begin, begin + 1801)
    found = zones(time_of_use(slots, TARIFF))
    assert sorted((found["NT"].value, found["HT"].value)) == [0, 1]
    assert (found["NT"].uncertainty, found["HT"].uncertainty) == (Decimal("0.5"), Decimal("0.5"))


def test_invalid_slots_do_not_count() -> None:
    """A wrong value at the switch: the step over it is shared, what it says is not used."""
    slots = list(day_of(NORMAL, skip=(24,)))
    begin = slots[0].at
    wrong = SlotValue(begin + 24 * 900.0, Decimal(5000), begin + 24 * 900.0, status=0x08)
    (slots[24],) = fill([wrong], begin + 24 * 900, begin + 24 * 900 + 1)
    assert slots[24].value == 5000
    assert amounts(tuple(slots)) == {"HT": 64, "NT": 32}


def test_what_is_missing_at_the_ends_makes_a_zone_missing() -> None:
    found = zones(time_of_use(day_of(NORMAL, skip=(0, 1, 95, 96)), TARIFF))
    assert (found["NT"].value, found["NT"].uncounted, found["NT"].slots) == (28, 4, 28)
    assert found["NT"].quality is Quality.MISSING
    assert found["HT"].quality is Quality.MEASURED
    nothing = zones(time_of_use(fill([], moment(NORMAL), moment(NORMAL, 12)), TARIFF))
    assert (nothing["NT"].value, nothing["NT"].uncounted, nothing["HT"].uncounted) == (0, 24, 23)


def test_late_values_and_zones_that_must_appear() -> None:
    slots = grid(moment(NORMAL), moment(NORMAL, 5), late=500.0)
    found = time_of_use(slots, TARIFF, ("ST", "NT"))
    assert [(one.zone, one.value, one.quality) for one in found] == [
        ("NT", 19, Quality.LATE), ("ST", 0, Quality.MEASURED),
    ]  # fmt: skip
    assert [one.value for one in time_of_use((), TARIFF, ("NT",))] == [0]


def test_a_register_may_roll_over() -> None:
    begin = moment(NORMAL)
    readings = (9990, 9995, 3, 9)
    values = [SlotValue(begin + 900.0 * number, Decimal(value), begin) for number, value in enumerate(readings)]
    slots = fill(values, begin, begin + 2701, capacity=Decimal(10_000))
    assert [one.value for one in time_of_use(slots, TARIFF, capacity=Decimal(10_000))] == [19]


def test_slots_that_are_no_grid_are_refused() -> None:
    for slots in (tuple(reversed(day_of(NORMAL))), day_of(NORMAL)[:3] + day_of(NORMAL)[4:]):
        with pytest.raises(InputError):
            time_of_use(slots, TARIFF)


# -- TAF 1, 6, 7 --------------------------------------------------------------------------------


def test_the_register_at_the_ends_of_months() -> None:
    begin = moment(date(2025, 1, 1))
    slots = grid(begin, moment(date(2025, 4, 1), 1))
    found = monthly(slots)
    assert [one.month for one in found] == ["2025-01", "2025-02", "2025-03"]
    assert [one.reading.at for one in found] == [moment(date(2025, month, 1)) for month in (2, 3, 4)]
    # January to March have 90 days, one of them of 23 hours
    assert found[2].reading.value == 90 * 96 - 4
    assert {one.reading.quality for one in found} == {Quality.MEASURED}
    assert {one.reading.quality for one in monthly(fill([], begin, begin + 40 * 86_400))} == {Quality.MISSING}
    assert monthly(()) == ()


def test_a_month_that_ends_in_a_hole_is_interpolated_with_its_uncertainty() -> None:
    begin, end = moment(date(2025, 1, 31), 23), moment(date(2025, 2, 1), 1)
    (january,) = monthly(grid(begin, end, skip=(3, 4, 5)))
    reading = january.reading
    assert (reading.value, reading.quality, reading.apart) == (4, Quality.INTERPOLATED, 1800.0)
    # four units, half of the time: 4 x 1/2, and one digit of the register / sqrt(12)
    assert abs(reading.uncertainty - (4 + Decimal(1) / 12).sqrt()) < TOLERANCE


def test_a_due_date_and_a_value_on_demand() -> None:
    slots = day_of(NORMAL, skip=(20,))
    begin = slots[0].at
    exact = at_moment(slots, begin + 19 * 900)
    assert (exact.value, exact.quality, exact.apart) == (19, Quality.MEASURED, 0.0)
    between = at_moment(slots, begin + 20 * 900)
    assert (between.value, between.quality) == (20, Quality.INTERPOLATED)
    slot = newest(slots, begin + 20 * 900 + 300)
    assert slot is not None
    assert slot.value == 19
    assert newest(slots, begin - 1) is None
    for outside in (begin - 900, slots[-1].at + 900):
        assert at_moment(slots, outside).quality is Quality.MISSING
    assert at_moment((), begin).quality is Quality.MISSING


def test_a_due_date_across_a_roll_over() -> None:
    begin = moment(NORMAL)
    slots = fill(
        [SlotValue(float(begin), Decimal(9996), begin), SlotValue(begin + 3600.0, Decimal(4), begin)], begin, begin + 3601,
        capacity=Decimal(10_000),
    )  # fmt: skip
    found = [at_moment(slots, begin + 900 * number, Decimal(10_000)).value for number in range(5)]
    assert found == [9996, 9998, 0, 2, 4]


@pytest.mark.parametrize(("day", "quarters"), [(NORMAL, 96), (SPRING, 92), (AUTUMN, 100)])
def test_a_local_day_has_the_slots_it_has(day: date, quarters: int) -> None:
    begin = moment(day - timedelta(days=1))
    assert len(local_day(grid(begin, begin + 4 * 86_400), day)) == quarters
    hours = local_day(grid(begin, begin + 4 * 86_400, length=HOUR), day)
    assert (len(hours), hours[0].at) == (quarters // 4, moment(day))


def test_a_series_has_its_beginning_and_not_its_end() -> None:
    slots = day_of(NORMAL)
    found = series(slots, slots[4].at, slots[8].at)
    assert [slot.at for slot in found] == [slot.at for slot in slots[4:8]]


def test_a_year_of_quarters_is_selected_in_no_time() -> None:
    """Each use case over 35 040 slots in less than 100 ms on an idle core; the best of some runs, with room for a busy one."""
    begin = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    slots = grid(begin, begin + 365 * 86_400 + 1)
    selections = [
        lambda: monthly(slots),
        lambda: time_of_use(slots, TARIFF),
        lambda: at_moment(slots, begin + 200 * 86_400),
        lambda: series(slots, begin, begin + 365 * 86_400),
    ]
    for select in selections:
        spent = []
        for _ in range(4):
            before = clock.process_time()
            select()
            spent.append(clock.process_time() - before)
        assert min(spent) < 0.3
