"""The grid: windows, which value a slot gets, the technical check, gaps; a year of it is cheap."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from openmetering.errors import InputError
from openmetering.mdm.slots import HOUR, QUARTER, Check, Level, SlotValue, fill, gaps, window_of

BEGIN = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())


def at(seconds: float, value: int, received: float | None = None) -> SlotValue:
    return SlotValue(BEGIN + seconds, Decimal(value), BEGIN + (seconds if received is None else received))


def test_the_window_is_a_hundredth_of_the_slot() -> None:
    assert (window_of(QUARTER), window_of(HOUR)) == (9.0, 36.0)
    with pytest.raises(InputError):
        window_of(600)


@pytest.mark.parametrize(("length", "window"), [(QUARTER, 9), (HOUR, 36)])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_window_has_both_its_ends(length: int, window: int, side: int) -> None:
    for apart, filled in ((window, True), (window + 0.001, False)):
        (slot,) = fill([at(length + side * apart, 7)], BEGIN + 1, BEGIN + length + 1, length)
        assert (slot.value is not None) is filled
        assert slot.at == BEGIN + length


def test_begin_and_end_are_moved_on_to_the_next_slot() -> None:
    assert [slot.at - BEGIN for slot in fill([], BEGIN + 1, BEGIN + 1801)] == [900, 1800]
    assert [slot.at - BEGIN for slot in fill([], BEGIN, BEGIN + 1800)] == [0, 900]
    assert fill([], BEGIN, BEGIN - 5000) == ()
    # values outside of the time are left alone
    assert fill([at(-900, 1), at(1800, 2)], BEGIN, BEGIN + 1800) == fill([], BEGIN, BEGIN + 1800)


def test_the_nearest_value_counts_then_the_first_received_but_a_proven_one_before_all() -> None:
    nearest = [at(905, 3), at(898, 1), at(903, 2)]
    assert fill(nearest, BEGIN + 900, BEGIN + 901)[0].value == 1
    first = [at(898, 5, 950), at(902, 6, 940)]
    assert fill(first, BEGIN + 900, BEGIN + 901)[0].value == 6
    unproven = SlotValue(BEGIN + 900.0, Decimal(9), BEGIN + 900.0, proven=False)
    assert fill([unproven, at(907, 4)], BEGIN + 900, BEGIN + 901)[0].value == 4
    assert fill([unproven], BEGIN + 900, BEGIN + 901)[0].checks == Check.UNPROVEN


def test_a_slot_keeps_what_its_value_came_with() -> None:
    value = SlotValue(BEGIN + 897.0, Decimal("12.5"), BEGIN + 960.0, BEGIN + 899.0, 0x04, True)
    (slot,) = fill([value], BEGIN + 900, BEGIN + 901, obis="1-0:1.8.0*255")
    assert (slot.value, slot.obis) == (Decimal("12.5"), "1-0:1.8.0*255")
    assert (slot.held_at, slot.received_at, slot.meter_time) == (BEGIN + 897.0, BEGIN + 960.0, BEGIN + 899.0)
    assert (slot.meter_status, slot.checks, slot.level) == (0x04, Check.METER_POWER, Level.WARNING)


def test_late_is_a_slot_whose_first_value_came_with_a_later_telegram() -> None:
    early, second = at(903, 5, 960), at(899, 4, 1090)
    for values in ([second, early], [early, second]):
        assert not fill(values, BEGIN + 900, BEGIN + 901, nominal=120.0)[0].late
    (slot,) = fill([second], BEGIN + 900, BEGIN + 901, nominal=120.0)
    assert slot.late
    assert slot.valid


BEFORE = at(900, 3)


@pytest.mark.parametrize(
    ("value", "checks", "level"),
    [
        (at(1800, 5), Check(0), Level.NO_ERROR),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, proven=True), Check(0), Level.NO_ERROR),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, proven=False), Check.UNPROVEN, Level.CRITICAL),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, status=0x08), Check.METER_PERMANENT, Level.FATAL),
        (
            SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, status=0x14), Check.METER_POWER | Check.METER_TEMPORARY,
            Level.TEMPORARY,
        ),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, status=0x03), Check(0), Level.NO_ERROR),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, BEGIN + 1809.0), Check(0), Level.NO_ERROR),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, BEGIN + 1810.0), Check.METER_CLOCK, Level.WARNING),
        (SlotValue(BEGIN + 1800.0, Decimal(5), BEGIN + 1800.0, synchronised=False), Check.GATEWAY_CLOCK, Level.CRITICAL),
        (at(1800, 2), Check.BACKWARD, Level.TEMPORARY),
        (at(1800, 3), Check(0), Level.NO_ERROR),
    ],
)  # fmt: skip
def test_the_technical_check(value: SlotValue, checks: Check, level: Level) -> None:
    slots = fill([BEFORE, value], BEGIN + 1, BEGIN + 2000)
    assert slots[0].valid
    assert (slots[1].checks, slots[1].level) == (checks, level)
    assert slots[1].valid == (level <= Level.WARNING)


def test_a_value_is_judged_against_the_last_valid_one() -> None:
    jump = SlotValue(BEGIN + 1800.0, Decimal(900), BEGIN + 1800.0, proven=False)
    slots = fill([BEFORE, jump, at(2700, 4), at(3600, 3), at(4500, 4)], BEGIN + 1, BEGIN + 4501)
    assert [slot.valid for slot in slots] == [True, False, True, False, True]
    assert slots[3].checks == Check.BACKWARD


def test_a_register_that_rolls_over_does_not_go_backward() -> None:
    values = [at(900, 9_999_990), at(1800, 12), at(2700, 8)]
    assert [slot.valid for slot in fill(values, BEGIN + 1, BEGIN + 2701, capacity=Decimal(10_000_000))] == [True, True, False]
    assert [slot.valid for slot in fill(values, BEGIN + 1, BEGIN + 2701)] == [True, False, False]


def test_gaps_are_told_as_runs() -> None:
    values = [at(900 * number, number) for number in (1, 4, 5, 7)]
    found = gaps(fill(values, BEGIN, BEGIN + 9 * 900))
    assert [(first - BEGIN, last - BEGIN) for first, last in found] == [(0, 0), (1800, 2700), (5400, 5400), (7200, 7200)]


def test_a_year_is_cheap() -> None:
    """35 040 slots in less than 100 ms on an idle core; the best of some runs, with room for a busy one."""
    values = [at(900 * number, number) for number in range(35_040)]
    spent = []
    for _ in range(4):
        begin = time.process_time()
        slots = fill(values, BEGIN, BEGIN + 365 * 86_400)
        spent.append(time.process_time() - begin)
    assert len(slots) == 35_040
    assert all(slot.valid for slot in slots)
    assert min(spent) < 0.3
