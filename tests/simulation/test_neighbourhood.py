"""Collisions of frames that nobody co-ordinates: formula, channel and published limits."""

from __future__ import annotations

import math

import pytest

from openmetering.simulation.airtime import air_interface, airtime
from openmetering.simulation.neighbourhood import (
    PUBLISHED,
    Trial,
    Watch,
    aloha,
    exact_failure,
    frames_in_window,
    limit,
    measure,
    published_failure,
)

S1_20 = airtime(air_interface("S1"), 20)
T_47 = airtime(air_interface("T"), 47)


def test_the_frame_of_the_published_limits_is_20_octets_of_s1() -> None:
    assert abs(S1_20 - 0.0295) < 5e-5


def test_closed_formula_at_known_points() -> None:
    """Numbers computed for 47 octets of mode T: P = exp(-2 G)."""
    for meters, interval, published in ((100, 16, 0.917), (500, 16, 0.65), (500, 120, 0.944), (1000, 900, 0.985)):
        assert aloha(meters, interval, 0.00716) == pytest.approx(published, abs=0.012)
    assert aloha(1) == 1.0
    assert aloha(10_000, 90, 0.0295) == pytest.approx(math.exp(-2 * 9999 * 0.0295 / 90), rel=1e-2)


@pytest.mark.parametrize(("meters", "rounds"), [(30, 400), (150, 120), (600, 40)])
def test_the_channel_agrees_with_the_closed_formula(meters: int, rounds: int) -> None:
    trial = measure(meters, rounds=rounds, seed=meters)
    assert trial.frames == pytest.approx(meters * rounds, rel=0.02)
    expected = 1.0 - aloha(meters, 90.0, S1_20)
    assert trial.agrees(expected), (trial, expected)
    assert trial.error < 0.25 * expected


def test_mode_t_every_16_seconds() -> None:
    trial = measure(100, rounds=300, seed=5, mode="T", size=47, interval=16.0)
    assert trial.agrees(1.0 - aloha(100, 16.0, T_47))
    assert trial.agrees(1.0 - 0.917, 4.0)


def test_a_wrong_formula_is_noticed() -> None:
    trial = measure(300, rounds=100, seed=9)
    half = 1.0 - math.exp(-299 * S1_20 / 90.0)  # as if only frames that began earlier did harm
    assert not trial.agrees(half)


@pytest.mark.parametrize(("hours", "profile"), PUBLISHED)
def test_published_limits_follow_from_their_rule(hours: float, profile: bool) -> None:
    found = limit(frames_in_window(hours, profile=profile), published_failure)
    assert found == pytest.approx(PUBLISHED[hours, profile], rel=0.002, abs=0.7)


@pytest.mark.parametrize(("hours", "profile"), PUBLISHED)
def test_the_exact_rule_allows_more(hours: float, profile: bool) -> None:
    assert limit(frames_in_window(hours, profile=profile), exact_failure) > PUBLISHED[hours, profile]


def test_frames_that_carry_a_reading() -> None:
    assert frames_in_window(2, profile=False) == pytest.approx(1.6)
    assert frames_in_window(0.25, profile=True) == pytest.approx(3.2)
    assert frames_in_window(24, profile=False) == frames_in_window(4, profile=False) == pytest.approx(3.2)


def test_without_a_profile_an_hour_is_too_short() -> None:
    assert limit(frames_in_window(1, profile=False), exact_failure) == 0.0


def test_rules_at_whole_numbers_of_frames_are_the_same() -> None:
    for frames in (1.0, 2.0, 3.0):
        assert exact_failure(0.2, frames) == pytest.approx(0.2**frames)
        assert published_failure(0.2, frames) == pytest.approx(0.2**frames)


def test_the_limit_is_where_the_failure_is_one_percent() -> None:
    meters = limit(2.4, exact_failure)
    loss = 1.0 - math.exp(-2 * meters * 0.0295 / 90)
    assert exact_failure(loss, 2.4) == pytest.approx(0.01)


def test_the_channel_confirms_the_exact_rule() -> None:
    trial = measure(175, rounds=250, seed=2, watch=Watch(216.0, 60_000))
    loss = 1.0 - aloha(175, 90.0, S1_20)
    missed = trial.missed / trial.readings
    assert missed == pytest.approx(exact_failure(loss, 2.4), abs=0.0012)
    assert missed < published_failure(loss, 2.4) - 0.001


def test_the_same_seed_gives_the_same_trial() -> None:
    watch = Watch(100.0, 100)
    assert measure(20, rounds=20, seed=4, watch=watch) == measure(20, rounds=20, seed=4, watch=watch)
    assert measure(20, rounds=20, seed=4) != measure(20, rounds=20, seed=5)


def test_a_trial_agrees_within_its_standard_errors() -> None:
    trial = Trial(1000, 100, 0.1, 0.01)
    assert trial.agrees(0.129)
    assert not trial.agrees(0.131)
    assert not trial.agrees(0.115, 1.0)
