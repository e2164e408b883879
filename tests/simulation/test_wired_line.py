"""Bits on the wire: bursts, superposition, receivers with their own clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.simulation.wired_line import BITS, Burst, Character, bit_errors, characters, superpose

BIT = 1 / 2400


def received(bursts: list[Burst], bit: float = BIT, threshold: float = 9.0) -> list[Character]:
    spaces, _ = superpose(bursts, threshold)
    return characters(spaces, 0.0, 1e9, bit)[0]


def octets_of(found: list[Character]) -> bytes:
    return bytes(character.octet for character in found)


def test_bits_of_a_character() -> None:
    """E5 = 11100101: start 0, then 1 0 1 0 0 1 1 1 from the least significant bit on, parity 1 (five ones), stop 1."""
    burst = Burst(b"\xe5", 10.0, 1.0, 15.0)
    assert burst.end == 21.0
    assert burst.spaces() == [(10.0, 11.0), (12.0, 13.0), (14.0, 16.0)]


def test_parity_is_even() -> None:
    """01 has one bit set, so the parity bit is 1; 03 has two, so it is 0."""
    assert Burst(b"\x01", 0.0, 1.0).spaces() == [(0.0, 1.0), (2.0, 9.0)]
    assert Burst(b"\x03", 0.0, 1.0).spaces() == [(0.0, 1.0), (3.0, 10.0)]


@given(st.binary(min_size=1, max_size=40), st.sampled_from([300, 2400, 9600, 38400]), st.floats(0, 1e6))
def test_what_is_sent_is_received(octets: bytes, baud: int, start: float) -> None:
    found = received([Burst(octets, start, 1 / baud, 15.0)], 1 / baud)
    assert octets_of(found) == octets
    assert not any(character.disturbed for character in found)
    assert found[-1].ended == pytest.approx(start + len(octets) * BITS / baud)


@given(st.binary(min_size=1, max_size=20), st.floats(-0.03, 0.03))
def test_a_clock_may_be_off_by_three_percent(octets: bytes, error: float) -> None:
    assert octets_of(received([Burst(octets, 0.0, BIT * (1 + error), 15.0)])) == octets


@given(st.binary(min_size=1, max_size=10), st.binary(min_size=1, max_size=10))
def test_equal_starts_are_the_and_of_the_bits(left: bytes, right: bytes) -> None:
    """As long as both talk, without start bits moved, the octets are the bitwise AND."""
    found = received([Burst(left, 0.0, BIT, 15.0), Burst(right, 0.0, BIT, 15.0)])
    length = min(len(left), len(right))
    wanted = bytes(a & b for a, b in zip(left, right, strict=False))
    assert octets_of(found)[:length] == wanted


def test_the_longer_of_two_shows_its_rest() -> None:
    found = received([Burst(b"\xe5", 0.0, BIT, 15.0), Burst(b"\xe5\x10\x20", 0.0, BIT, 15.0)])
    assert octets_of(found) == b"\xe5\x10\x20"


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.45])
def test_e5_of_two_within_half_a_bit_reads_as_one(shift: float) -> None:
    found = received([Burst(b"\xe5", 0.0, BIT, 15.0), Burst(b"\xe5", shift * BIT, BIT, 15.0)])
    assert [(character.octet, character.disturbed) for character in found] == [(0xE5, False)]


@pytest.mark.parametrize("shift", [1.0, 2.3, 3.0, 4.6, 6.0, 7.0, 8.0, 9.0, 9.8])
def test_e5_of_two_shifted_by_bits_is_no_e5(shift: float) -> None:
    found = received([Burst(b"\xe5", 0.0, BIT, 15.0), Burst(b"\xe5", shift * BIT, BIT, 15.0)])
    assert found[0].octet != 0xE5 or found[0].disturbed


def test_e5_of_two_one_after_the_other_are_two() -> None:
    found = received([Burst(b"\xe5", 0.0, BIT, 15.0), Burst(b"\xe5", 15 * BIT, BIT, 15.0)])
    assert octets_of(found) == b"\xe5\xe5"


def test_a_weak_space_is_not_seen() -> None:
    assert received([Burst(b"\xe5", 0.0, BIT, 5.0)]) == []
    both = [Burst(b"\xe5", 0.0, BIT, 5.0), Burst(b"\xe5", 0.0, BIT, 5.0)]
    assert octets_of(received(both)) == b"\xe5"


def test_a_collision_shows_by_its_current() -> None:
    two = [Burst(b"\xe5", 1.0, BIT, 15.0), Burst(b"\xe5", 1.0 + 0.2 * BIT, BIT, 15.0)]
    assert superpose(two, 9.0, 25.0, 0.5 * BIT)[1] == pytest.approx(1.0 + 0.7 * BIT)
    assert superpose(two, 9.0, 50.0, 0.5 * BIT)[1] is None  # 30 mA
    assert superpose(two[:1], 9.0, 25.0, 0.5 * BIT)[1] is None
    # spaces that never lie over each other add no current
    apart = [Burst(b"\xe5", 0.0, BIT, 15.0), Burst(b"\xe5", 6.0 * BIT, BIT, 15.0)]
    assert superpose(apart, 9.0, 25.0, 0.5 * BIT)[1] is None


def test_a_receiver_that_is_too_slow_reads_garbage_or_nothing() -> None:
    """300 Bd looks every 3.33 ms: a frame at 2400 Bd is a few characters at most, and none of them is right."""
    frame = bytes.fromhex("105BFE5916")
    found = received([Burst(frame, 0.0, 1 / 2400, 15.0)], 1 / 300)
    assert len(found) < len(frame)
    assert octets_of(found) != frame[: len(found)]


def test_a_receiver_that_is_too_fast_reads_disturbed_characters() -> None:
    found = received([Burst(bytes.fromhex("105BFE5916"), 0.0, 1 / 300, 15.0)], 1 / 2400)
    assert any(character.disturbed for character in found)


def test_a_break_is_one_disturbed_zero() -> None:
    found, resume = characters([(0.0, 22 * BIT)], 0.0, 1.0, BIT)
    assert [(character.octet, character.disturbed) for character in found] == [(0, True)]
    assert characters([(0.0, 22 * BIT)], resume, 1.0, BIT)[0] == []


def test_a_glitch_is_no_start_bit() -> None:
    assert characters([(0.0, 0.3 * BIT)], 0.0, 1.0, BIT)[0] == []


def test_characters_come_as_time_passes() -> None:
    octets = bytes(range(1, 30))
    spaces, _ = superpose([Burst(octets, 0.0, BIT, 15.0)], 9.0)
    resume, got, now = 0.0, b"", 0.0
    while now < 29 * BITS * BIT:
        found, resume = characters(spaces, resume, now, BIT)
        got += octets_of(found)
        assert len(got) in (int(now / (BITS * BIT)), int(now / (BITS * BIT) + 0.5 / BITS + 1e-9))
        now += 3 * BIT
    assert got + octets_of(characters(spaces, resume, 1.0, BIT)[0]) == octets


def test_one_wrong_bit_is_one_disturbed_character() -> None:
    for number in range(1, 10):  # data and parity
        found = received([Burst(b"\x10\x55\xe5", 0.0, BIT, 15.0, frozenset((BITS + number,)))])
        assert [character.disturbed for character in found] == [False, True, False], number


def test_wrong_bits_of_start_and_stop() -> None:
    lost_start = received([Burst(b"\xff", 0.0, BIT, 15.0, frozenset((0,)))])
    assert [character.disturbed for character in lost_start] == [True]  # the parity bit was taken for a start bit
    long_space = received([Burst(b"\x00", 0.0, BIT, 15.0, frozenset((10,)))])
    assert [(character.octet, character.disturbed) for character in long_space] == [(0, True)]


def test_bit_errors() -> None:
    never = random.Random(1).random
    assert bit_errors(1000, 0.0, never) == frozenset()
    assert bit_errors(5, 1.0, never) == frozenset(range(5))
    dice = random.Random(7).random
    count = sum(len(bit_errors(1000, 0.01, dice)) for _ in range(1000))
    assert 9_600 < count < 10_400  # 10 000 +- 4 standard deviations of 100
    assert bit_errors(1000, 0.01, random.Random(3).random) == bit_errors(1000, 0.01, random.Random(3).random)
