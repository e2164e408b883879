"""Windows, one transmitter, and access numbers that are not used again within 300 s."""

from __future__ import annotations

import pytest

from openmetering.protocol.gateway.access import REUSE, AccessMemory, AccessNumbers, Transmitter, Window, airtime, window_after
from tests.protocol.gateway_bench import dice

ONE, TWO = b"\x01" * 8, b"\x02" * 8


@pytest.mark.parametrize(
    ("mode", "fast", "opens", "closes"),
    [
        ("T", False, 0.002, 0.003),
        ("T", True, 0.002, 0.003),
        ("S", False, 0.003, 0.050),
        ("C", False, 0.9995, 1.0005),
        ("C", True, 0.0995, 0.1005),
    ],
)
def test_windows_count_from_the_end_of_the_datagram(mode: str, fast: bool, opens: float, closes: float) -> None:
    window = window_after(mode, 50.0, fast=fast)  # type: ignore[arg-type]
    assert window.opens == pytest.approx(50.0 + opens, abs=1e-9)
    assert window.closes == pytest.approx(50.0 + closes, abs=1e-9)


@pytest.mark.parametrize(
    ("mode", "size", "seconds"), [("T", 20, 0.0134), ("S", 100, 0.0574), ("C", 20, 0.0051), ("C", 256, 0.0477)]
)
def test_airtime_of_the_downlink(mode: str, size: int, seconds: float) -> None:
    """Reference values: 13.4 ms and 57.4 ms of S short / T2 down; C2 down runs at half the rate of C1 A."""
    assert airtime(mode, bytes(size)) == pytest.approx(seconds, rel=0.02)  # type: ignore[arg-type]


def test_transmissions_do_not_overlap() -> None:
    radio = Transmitter()
    first = Window(10.0, 10.001)
    assert radio.free(first, 0.01)
    radio.plan(first, 0.01, 9.0)
    assert not radio.free(first, 0.01)
    assert not radio.free(Window(10.005, 10.006), 0.01)
    assert not radio.free(Window(9.99, 9.995), 0.01)
    assert radio.free(Window(9.98, 9.981), 0.01)
    assert radio.free(Window(10.011, 10.012), 0.01)


def test_what_really_happened_takes_the_place_of_the_plan() -> None:
    radio = Transmitter()
    radio.plan(Window(10.0, 11.0), 0.01, 9.0)
    assert not radio.free(Window(10.5, 10.5), 0.01)
    radio.sent(10.2, 10.21)
    assert radio.free(Window(10.5, 10.5), 0.01)
    assert not radio.free(Window(10.205, 10.206), 0.01)
    radio.plan(Window(20.0, 20.1), 0.01, 19.0)
    assert radio.free(Window(10.205, 10.206), 0.01)  # the past is forgotten


def test_numbers_count_up_from_a_random_start() -> None:
    numbers = AccessNumbers(dice(0.5, 0.999))
    assert [numbers.take(ONE, 0.0) for _ in range(3)] == [128, 129, 130]
    assert [numbers.take(TWO, 0.0) for _ in range(3)] == [255, 0, 1]
    assert numbers.take(ONE, 0.0) == 131


def test_a_number_comes_again_after_300_seconds_only() -> None:
    numbers = AccessNumbers(dice(0.0))
    taken = [numbers.take(ONE, at * 0.1) for at in range(256)]
    assert sorted(number for number in taken if number is not None) == list(range(256))
    assert numbers.take(ONE, 30.0) is None
    assert numbers.take(ONE, REUSE) is None
    assert numbers.take(ONE, REUSE + 0.01) == 0
    assert numbers.take(ONE, REUSE + 0.02) is None
    assert numbers.take(TWO, REUSE + 0.02) == 0


def test_after_a_power_cut_the_row_goes_on_above_all_that_was_used() -> None:
    numbers = AccessNumbers(dice(0.0))
    stored = numbers.snapshot(0.0)
    for used in range(1, 60):
        number = numbers.take(ONE, 10.0)
        if numbers.unsaved:
            stored, numbers.unsaved = numbers.snapshot(10.0), False
        after = AccessNumbers(dice(0.7), stored)
        following = after.take(ONE, 20.0)
        assert number == used - 1
        assert following is not None
        assert used - 1 < following < used + 17


def test_uses_are_remembered_for_300_seconds() -> None:
    numbers = AccessNumbers(dice(0.0))
    for at in range(4):
        numbers.take(ONE, at * 100.0)
    assert numbers.snapshot(350.0) == (AccessMemory(ONE, 16, ((1, 100.0), (2, 200.0), (3, 300.0))),)
    after = AccessNumbers(dice(0.0), (AccessMemory(ONE, 1, ((1, 100.0),)),))
    assert after.take(ONE, 350.0) is None
    assert after.take(ONE, 401.0) == 1
