"""Credits, pauses, the longest closed time, airtime and duty cycle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import OutOfRange
from openmetering.protocol.radio.credits import (
    DUTY_CYCLE,
    RECEIVE_COSTS,
    SEND_COSTS,
    CreditRule,
    CreditStore,
    DutyCycle,
    airtime,
)
from openmetering.protocol.radio.datagram import Mode

HOUR = 3600.0


def test_costs_of_the_table() -> None:
    assert RECEIVE_COSTS == {
        "SND-UD": 2, "SND-UD2": 2, "unknown": 2, "REQ-UD1": 1, "REQ-UD2": 1, "SND-NKE": 1, "CNF-IR": 1, "ACK": 0,
    }  # fmt: skip
    assert SEND_COSTS == {"RSP-UD": 5, "ACK": 1, "NACK": 1, "SND-NR": 0, "SND-IR": 0, "ACC-NR": 0, "ACC-DMD": 0}


def test_credits_are_spent_and_come_back() -> None:
    store = CreditStore(CreditRule(pause=None), 100.0, 0.0)
    store.charge(30, 0.0)
    assert store.level == 70.0
    store.charge(0, 2 * HOUR)
    assert store.level == pytest.approx(80.0)
    assert store.open(3 * HOUR)
    assert store.level == pytest.approx(85.0)


def test_the_store_is_full_at_its_capacity() -> None:
    store = CreditStore(CreditRule(), 9999.0, 0.0)
    assert store.level == 4000.0
    assert store.open(1e6)
    assert store.level == 4000.0


def test_an_empty_store_opens_again_with_enough_credits() -> None:
    store = CreditStore(CreditRule(pause=None), 5.0, 0.0)
    store.charge(7, 0.0)
    assert store.level == 0.0
    assert not store.open(1.0)
    assert not store.open(1.9 * HOUR)
    assert store.open(2 * HOUR)
    assert store.open(2 * HOUR + 1)


def test_closed_for_twelve_hours_at_most() -> None:
    store = CreditStore(CreditRule(pause=None, reopen=1000.0), 3.0, 0.0)
    store.charge(3, 0.0)
    assert not store.open(11.9 * HOUR)
    assert store.open(12 * HOUR)


def test_pause_after_240_credits_in_twelve_hours() -> None:
    store = CreditStore(CreditRule(), 4000.0, 0.0)
    for number in range(34):
        store.charge(7, number * 60.0)
    assert store.open(34 * 60.0)
    store.charge(2, 34 * 60.0)
    assert not store.open(34 * 60.0)
    assert not store.open(11.9 * HOUR)
    assert store.open(12 * HOUR + 1.0)


def test_no_pause_where_the_device_never_closes() -> None:
    store = CreditStore(CreditRule(pause=None), 4000.0, 0.0)
    for _ in range(100):
        store.charge(7, 0.0)
    assert store.open(0.0)


@given(st.lists(st.tuples(st.floats(0, 5000), st.sampled_from([1, 2, 5])), max_size=300))
def test_never_closed_longer_than_twelve_hours(steps: list[tuple[float, int]]) -> None:
    store = CreditStore(CreditRule(), 200.0, 0.0)
    now, closed = 0.0, None
    for pause, cost in steps:
        now += pause
        if store.open(now):
            closed = None
            store.charge(cost, now)
            assert 0.0 <= store.level <= 4000.0
        else:
            closed = now if closed is None else closed
            assert now - closed <= 12 * HOUR


@pytest.mark.parametrize(
    ("field", "value"),
    [("capacity", 3999.0), ("refill", 9.0), ("reopen", 0.5), ("pause", 239.0), ("longest", 12.1 * HOUR), ("longest", 0.0)],
)
def test_rules_below_the_least(field: str, value: float) -> None:
    with pytest.raises(OutOfRange) as caught:
        CreditRule(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("mode", "octets", "milliseconds"),
    [
        ("T", 20, 3.44), ("T", 47, 7.16), ("T", 100, 14.2), ("T", 156, 21.9), ("T", 256, 35.4),
        ("C", 20, 2.56), ("C", 47, 5.04), ("C", 100, 9.76), ("C", 156, 14.9), ("C", 256, 23.8),
        ("S", 20, 29.5), ("S", 47, 44.7), ("S", 100, 73.5), ("S", 156, 105), ("S", 256, 159),
    ],
)  # fmt: skip
def test_airtime(mode: Mode, octets: int, milliseconds: float) -> None:
    assert airtime(mode, octets) * 1000 == pytest.approx(milliseconds, rel=0.005)


def test_airtime_of_a_frame_without_data() -> None:
    assert airtime("C", 10) == pytest.approx((64 + 8 * 12) / 100_000)


def test_duty_cycle_of_a_sliding_hour() -> None:
    account = DutyCycle(DUTY_CYCLE["C"])
    assert account.left(0.0) == pytest.approx(3.6)
    account.note(10.0, 1.5)
    account.note(1000.0, 2.0)
    assert account.left(1000.0) == pytest.approx(0.1)
    assert account.left(3609.9) == pytest.approx(0.1)
    assert account.left(3610.0) == pytest.approx(1.6)
    assert account.left(4600.0) == pytest.approx(3.6)


def test_bands_allow_different_shares() -> None:
    assert DUTY_CYCLE == {"T": 0.001, "C": 0.001, "S": 0.01}


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(OutOfRange):
        DutyCycle(share)
