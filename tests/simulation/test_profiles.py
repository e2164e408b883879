"""Registers never go back, follow season, week and hour, and cost little."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pytest

from openmetering.simulation.profiles import (
    DAY,
    KINDS,
    Calendar,
    Consumption,
    air_temperature,
    door_open,
    humidity,
    meter_seed,
    next_door_change,
)

START = Calendar(dt.datetime(2026, 1, 1))
YEAR = 365 * DAY


@pytest.mark.parametrize("kind", KINDS)
def test_a_register_never_goes_back(kind: str) -> None:
    for meter in range(3):
        supply = Consumption(kind, meter_seed(1, f"{kind}{meter}"), START)
        fine = [supply.value(second * 17.0) for second in range(20_000)]
        coarse = [supply.value(hour * 3600.0) for hour in range(-24 * 400, 24 * 800, 5)]
        assert all(a <= b for a, b in pairwise(fine))
        assert all(a <= b for a, b in pairwise(coarse))
        assert int(fine[-1]) >= int(fine[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_year_brings_the_yearly_consumption(kind: str) -> None:
    supply = Consumption(kind, 7, START)
    for year in (-1, 0, 1, 4):
        gained = supply.value((year + 1) * YEAR) - supply.value(year * YEAR)
        assert gained == pytest.approx(supply.yearly, rel=0.02)


def test_media_follow_the_season() -> None:
    def month(kind: str, number: int) -> float:
        supply = Consumption(kind, 3, START, yearly=1000.0)
        first = START.seconds(dt.datetime(2026, number, 1))
        return supply.value(first + 28 * DAY) - supply.value(first)

    assert month("heat", 1) > 10 * month("heat", 7)
    assert month("heat cost allocator", 1) > 10 * month("heat cost allocator", 7)
    assert month("cooling", 7) > 10 * month("cooling", 1)
    assert month("feed-in", 6) > 3 * month("feed-in", 12)
    assert month("cold water", 2) == pytest.approx(month("cold water", 10), rel=0.05)


def test_media_follow_the_hour() -> None:
    supply = Consumption("feed-in", 3, START)
    midsummer = START.seconds(dt.datetime(2026, 6, 21))
    night = [supply.rate(midsummer + day * DAY + 900.0) for day in range(30)]
    noon = [supply.rate(midsummer + day * DAY + 12.5 * 3600) for day in range(30)]
    assert np.mean(noon) > 20 * max(1e-9, float(np.mean(night)))


def test_households_differ_around_the_median() -> None:
    yearly = np.array([Consumption("electricity", meter_seed("x", str(number)), START).yearly for number in range(2000)])
    assert np.median(yearly) == pytest.approx(KINDS["electricity"].median, rel=0.05)
    assert np.log(yearly).std() == pytest.approx(KINDS["electricity"].sigma, rel=0.06)


def test_given_values_are_taken() -> None:
    supply = Consumption("cold water", 1, START, yearly=36_500.0, start=1_000_000.0)
    assert supply.yearly == 36_500.0
    assert 1_000_000.0 < supply.value(0.0) < 1_060_000.0


def test_the_same_meter_is_the_same_in_every_run() -> None:
    seed = meter_seed("city", "EXA-00000001")
    one, two = Consumption("gas", seed, START), Consumption("gas", seed, START)
    assert [one.value(at) for at in (0.0, 1e5, 1e7)] == [two.value(at) for at in (1e7, 1e5, 0.0)][::-1]
    assert meter_seed("city", "EXA-00000002") != seed != meter_seed("town", "EXA-00000001")


def test_calendar() -> None:
    assert START.at(90_061.7) == dt.datetime(2026, 1, 2, 1, 1, 1)
    assert START.seconds(dt.datetime(2025, 12, 31, 23, 0)) == -3600.0
    assert START.end_of(dt.date(2025, 12, 31)) == 0.0


def test_air_stays_in_a_dwelling() -> None:
    values = [air_temperature(3, START, hour * 3600.0) for hour in range(0, 8760, 7)]
    assert 14 < min(values) < max(values) < 28
    summer = np.mean([air_temperature(3, START, (190 + day) * DAY) for day in range(20)])
    winter = np.mean([air_temperature(3, START, day * DAY) for day in range(20)])
    assert summer > winter + 3
    moist = [humidity(3, START, hour * 3600.0) for hour in range(0, 8760, 7)]
    assert 20 <= min(moist) < max(moist) <= 95


def test_doors_open_and_close_when_they_say() -> None:
    now, changes = 0.0, []
    for _ in range(40):
        now = next_door_change(8, now)
        changes.append(now)
        assert door_open(8, now - 0.001) != door_open(8, now)
    assert changes == sorted(changes)
    assert door_open(8, changes[0]) is True
    assert changes[-1] < 14 * DAY
    for begin, end in pairwise([0.0, *changes]):
        middle = (begin + end) / 2
        assert door_open(8, middle) == door_open(8, end - 0.001)
