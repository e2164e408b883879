"""Tariff use cases over register slots."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from openmetering.errors import InputError
from openmetering.mdm.quality import Quality
from openmetering.mdm.slots import QUARTER, Slot, SlotValue, fill
from openmetering.mdm.tariff import Switch, Tariff, at_moment, monthly, series, time_of_use

ZONE = ZoneInfo("Europe/Berlin")
WEEK = frozenset(range(5))
TARIFF = Tariff((Switch(WEEK, time(6), "HT"), Switch(WEEK, time(22), "NT")), other="NT", holidays=frozenset((date(2025, 3, 5),)))


def day_of(day: date, skip: tuple[int, ...] = ()) -> tuple[Slot, ...]:
    """A local day and the midnight behind it, one unit each quarter."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp())
    after = datetime(day.year, day.month, day.day + 1, tzinfo=ZONE).timestamp()
    values = [
        SlotValue(float(at), Decimal((at - begin) // QUARTER), float(at))
        for at in range(begin, int(after) + 1, QUARTER)
        if (at - begin) // QUARTER not in skip
    ]
    return fill(values, begin, int(after) + 1)


def amounts(slots: tuple[Slot, ...]) -> dict[str, Decimal]:
    return {one.zone: one.value for one in time_of_use(slots, TARIFF)}


def test_a_working_day_a_holiday_and_the_day_of_23_hours() -> None:
    assert amounts(day_of(date(2025, 3, 4))) == {"HT": 64, "NT": 32}
    assert amounts(day_of(date(2025, 3, 5))) == {"NT": 96}
    assert amounts(day_of(date(2025, 3, 30))) == {"NT": 92}


def test_a_hole_over_the_switch_is_shared_and_said_so() -> None:
    slots = day_of(date(2025, 3, 4), skip=(23, 24, 25))
    found = {one.zone: one for one in time_of_use(slots, TARIFF)}
    assert (found["HT"].value, found["NT"].value) == (64, 32)
    assert (found["HT"].open, found["NT"].open) == (2, 2)
    assert found["HT"].quality is Quality.INTERPOLATED
    whole = time_of_use(day_of(date(2025, 3, 4)), TARIFF, ("HT", "NT", "ST"))
    assert [(one.zone, one.value, one.quality) for one in whole][2] == ("ST", 0, Quality.MEASURED)


def test_slots_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(InputError):
        time_of_use(tuple(reversed(day_of(date(2025, 3, 4)))), TARIFF)


def test_months_moments_and_series() -> None:
    begin = int(datetime(2025, 1, 1, tzinfo=ZONE).timestamp())
    end = int(datetime(2025, 4, 1, 1, tzinfo=ZONE).timestamp())
    slots = fill([SlotValue(float(at), Decimal(at), float(at)) for at in range(begin, end, QUARTER)], begin, end)
    found = monthly(slots)
    assert [one.month for one in found] == ["2025-01", "2025-02", "2025-03"]
    assert found[1].value == Decimal(datetime(2025, 2, 28, 23, tzinfo=UTC).timestamp())
    at = int(datetime(2025, 2, 3, 4, 5, tzinfo=ZONE).timestamp())
    slot = at_moment(slots, at)
    assert slot is not None
    assert slot.at == at - 5 * 60
    assert at_moment(slots, begin - 1) is None
    assert len(series(slots, begin, begin + 86_400)) == 96
    holed = fill([], begin, end)
    assert {one.quality for one in monthly(holed)} == {Quality.MISSING}
