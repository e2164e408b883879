"""The grid of synchronous transmissions: formula, numbers, slots, limits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import OutOfRange
from openmetering.protocol.radio.schedule import (
    SENSOR_UPDATE,
    UPDATE_INTERVALS,
    Slot,
    SlotPlan,
    SynchronousSchedule,
    individual_interval,
    maximum_update,
)
from tests.protocol.radio_bench import dice


def slots(plan: SlotPlan, count: int, *numbers: float) -> list[Slot]:
    schedule = SynchronousSchedule(plan)
    schedule.start(0.0, dice(*numbers))
    return [schedule.take() for _ in range(count)]


@pytest.mark.parametrize(
    ("number", "factor"), [(0, 1 + 1 / 32), (64, 1.0), (128, 1 - 1 / 32), (192, 1.0), (255, 1 + 63 / 2048), (256, 1 + 1 / 32)]
)
def test_individual_interval(number: int, factor: float) -> None:
    assert individual_interval(1000.0, number) == pytest.approx(1000.0 * factor)


def test_mean_of_all_intervals_is_almost_nominal() -> None:
    assert sum(individual_interval(1.0, number) for number in range(256)) / 256 == pytest.approx(1.0, abs=1e-3)


@given(st.integers(0, 255))
def test_scatter_stays_within_one_part_in_32(number: int) -> None:
    assert abs(individual_interval(1.0, number) - 1.0) <= 1 / 32


def test_start_is_random_in_number_and_time() -> None:
    schedule = SynchronousSchedule(SlotPlan(nominal=100.0))
    assert schedule.due is None
    schedule.start(5000.0, dice(0.75, 0.25))
    assert schedule.access_number == 192
    assert schedule.due == 5025.0


def test_numbers_rise_by_one_and_wrap() -> None:
    made = slots(SlotPlan(nominal=10.0), 600, 0.99)
    numbers = [slot.access_number for slot in made]
    assert numbers[0] == (int(0.99 * 256) + 1) % 256
    assert all((second - first) % 256 == 1 for first, second in pairwise(numbers))


def test_times_follow_the_number_of_the_last_transmission() -> None:
    made = slots(SlotPlan(nominal=450.0), 300)
    for first, second in pairwise(made):
        assert second.due - first.due == pytest.approx(individual_interval(450.0, first.access_number))


def test_error_of_the_own_clock() -> None:
    exact, slow = slots(SlotPlan(nominal=1000.0), 1000), slots(SlotPlan(nominal=1000.0, clock_error=200.0), 1000)
    assert slow[-1].due / exact[-1].due == pytest.approx(1.0002, rel=1e-6)


def test_ratio_puts_access_messages_behind_data() -> None:
    kinds = [slot.kind for slot in slots(SlotPlan(ratio=2), 7)]
    assert kinds == ["data", "access", "access", "data", "access", "access", "data"]
    assert [slot.kind for slot in slots(SlotPlan(ratio=15), 17)].count("access") == 15
    assert {slot.kind for slot in slots(SlotPlan(), 9)} == {"data"}


def test_consumer_information_takes_every_second_message_with_data() -> None:
    assert [slot.kind for slot in slots(SlotPlan(consumer=True), 4)] == ["data", "consumer", "data", "consumer"]
    assert SlotPlan(consumer=True, ratio=1).cycle == ("data", "access", "consumer", "access")


def test_static_messages_take_the_slots_of_access_messages() -> None:
    plan = SlotPlan(nominal=900.0, ratio=3, static_per_day=5)
    made = [slot for slot in slots(plan, 96 * 10) if slot.kind == "static"]
    assert len(made) == pytest.approx(50, abs=1)
    assert all(second.due - first.due > 86400 / 5 - 4 * 930 for first, second in pairwise(made))
    kinds = [slot.kind for slot in slots(plan, 96 * 10)]
    assert kinds.count("data") == 240


def test_static_messages_take_the_slots_of_data_where_there_is_nothing_else() -> None:
    made = [slot.kind for slot in slots(SlotPlan(nominal=900.0, static_per_day=2), 960)]
    assert made.count("static") == pytest.approx(20, abs=1)
    assert made.count("data") + made.count("static") == 960


def test_rare_slots_do_not_pile_up_static_messages() -> None:
    kinds = [slot.kind for slot in slots(SlotPlan(nominal=43200.0, static_per_day=5, ratio=1), 20)]
    assert kinds.count("static") <= 10


def test_near() -> None:
    schedule = SynchronousSchedule(SlotPlan(nominal=100.0))
    assert not schedule.near(0.0, 100.0, 1.0)
    schedule.start(0.0, dice(0.0, 0.5))
    assert schedule.near(49.0, 49.4, 1.0)
    assert schedule.near(50.5, 60.0, 1.0)
    assert not schedule.near(40.0, 48.9, 1.0)
    assert not schedule.near(51.1, 60.0, 1.0)


def test_a_schedule_that_was_not_started_has_no_slots() -> None:
    schedule = SynchronousSchedule(SlotPlan())
    with pytest.raises(OutOfRange):
        schedule.take()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nominal", 0.0), ("nominal", -1.0), ("ratio", 16), ("ratio", -1), ("static_per_day", 6), ("static_per_day", -1),
        ("clock_error", 251.0), ("clock_error", -251.0),
    ],
)  # fmt: skip
def test_plans_outside_the_limits(field: str, value: float) -> None:
    with pytest.raises(OutOfRange) as caught:
        SlotPlan(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("device_type", "minutes"),
    [(0x02, 7.5), (0x03, 30), (0x04, 30), (0x0C, 30), (0x06, 240), (0x07, 240), (0x08, 240), (0x32, 240), (0x1A, 120)],
)
def test_longest_update_interval_by_medium(device_type: int, minutes: float) -> None:
    assert maximum_update(device_type) == minutes * 60


def test_longest_update_interval_of_sub_meters_and_sensors() -> None:
    assert maximum_update(0x04, sub_metering=True) == 240 * 60
    assert maximum_update(0x02, sub_metering=True) == 450
    assert maximum_update(0x1F, sensor=10) == 360 * 60
    assert maximum_update(0x1F, sensor=1) == 30 * 60
    assert maximum_update(0x1F) is None
    assert maximum_update(0x1F, sensor=99) is None
    assert maximum_update(0x31) is None
    assert set(SENSOR_UPDATE) == set(range(1, 22)) - {4, 16, 17}
    assert min(UPDATE_INTERVALS.values()) == 7.5


def test_a_plan_keeps_the_limit_with_its_tolerance() -> None:
    limit = maximum_update(0x02)
    assert SlotPlan(nominal=450.0).fits(limit)
    assert not SlotPlan(nominal=465.0).fits(limit)
    assert SlotPlan(nominal=112.0, ratio=3).fits(limit)
    assert not SlotPlan(nominal=450.0, ratio=1).fits(limit)
    assert not SlotPlan(nominal=450.0, static_per_day=1).fits(limit)
    assert SlotPlan(nominal=225.0, static_per_day=1).fits(limit)
    assert SlotPlan(nominal=225.0, ratio=1, static_per_day=1).update_interval == 450.0
    assert SlotPlan(nominal=9999.0).fits(None)
