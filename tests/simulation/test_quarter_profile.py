"""Profiles for TAF 7: what the meters of a world send is what Annex R says, with the true values."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal

import pytest

from openmetering.codec.apl.profile import ProfileSeries, expand
from openmetering.codec.apl.records import parse
from openmetering.errors import InputError
from openmetering.simulation.building import devices_of
from openmetering.simulation.metrology import MEDIA, Metrology
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.post import metrology_of
from openmetering.simulation.profiles import Calendar
from openmetering.simulation.quarter_profile import QuarterProfile, nominal_interval

CALENDAR = Calendar(dt.datetime(2026, 1, 1))
COUNTED = sorted(name for name, medium in MEDIA.items() if medium.kind is not None)
NOW = 5_000_000.4


def profile_in(octets: bytes) -> ProfileSeries:
    (found,) = expand(parse(octets).records)
    return found


@pytest.mark.parametrize("medium", COUNTED)
def test_the_profile_has_the_shape_of_annex_r_and_the_values_of_the_register(medium: str) -> None:
    device_type = MEDIA[medium].device_type
    interval = nominal_interval(device_type)
    meter = Metrology("12345678", medium, 7, CALENDAR, taf7=interval, reach=3)
    found = profile_in(meter.octets(0, 0, NOW))
    assert found.fault is None
    assert found.spacing is not None
    assert found.spacing.interval is not None
    spacing = 6 if device_type == 0x02 else 24
    assert (found.kind, found.reference, found.header.storage) == ("inverse", "reception", 3)
    assert (found.spacing.mode_name, found.spacing.interval.seconds, len(found.points) + 1) == ("increments", spacing, 62)
    assert 0 <= -found.base_offset <= spacing
    point = MEDIA[medium].standard[0]
    factor = float(point.arguments[0])
    sampled = round(NOW + found.base_offset)
    assert abs(sampled - (NOW + found.base_offset)) <= 0.5
    values = [found.base_value, *(one.value for one in found.points)]
    exponent = found.header.exponent
    expected = [Decimal(int(meter.register(sampled - spacing * back) * factor)).scaleb(exponent) for back in range(62)]
    assert values == expected


def test_the_values_move() -> None:
    meter = Metrology("12345678", "feed-in", 7, CALENDAR, taf7=120.0)
    noon = 180 * 86_400.0 + 12 * 3600.0
    found = profile_in(meter.octets(0, 0, noon))
    assert found.base_value is not None
    assert found.points[-1].value is not None
    assert found.base_value - found.points[-1].value > 10


def test_two_telegrams_tell_the_same_of_the_same_moment() -> None:
    meter = Metrology("12345678", "electricity", 7, CALENDAR, taf7=120.0, reach=3)
    told: dict[int, set[Decimal | None]] = {}
    for now in (NOW, NOW + 121.3, NOW + 240.9):
        found = profile_in(meter.octets(0, 0, now))
        for offset, value in [(found.base_offset, found.base_value), *((one.offset, one.value) for one in found.points)]:
            assert offset is not None
            told.setdefault(round(now + offset), set()).add(value)
    assert all(len(values) == 1 for values in told.values())
    assert sum(len(values) for values in told.values()) == 62 + 40
    assert {late - early for early, late in itertools.pairwise(sorted(told))} == {6}


def test_the_register_may_roll_over_within_a_profile() -> None:
    """The increment would be negative: this element and the older ones are invalid, the length stays."""
    made = QuarterProfile(
        bytes.fromhex("0C 03"), lambda at: 99_999_900 + int(at), device_type=0x02, interval=120.0, capacity=10**8, reach=3
    )
    octets = made.octets(150.0)
    found = profile_in(octets)
    assert (found.base_value, found.invalid_at) == (50, 8)
    assert [one.value for one in found.points] == [44, 38, 32, 26, 20, 14, 8, 2]
    (record,) = (one for one in parse(octets).records if one.header.profile is not None)
    assert record.raw[2:] == bytes([6] * 8 + [0xFF] * 53)


@pytest.mark.parametrize(("device_type", "interval"), [(0x02, 112.4), (0x02, 225.1), (0x03, 120.0), (0x16, 901.0)])
def test_an_interval_outside_of_annex_r_is_refused(device_type: int, interval: float) -> None:
    with pytest.raises(InputError, match="TAF 7"):
        QuarterProfile(bytes.fromhex("04 03"), int, device_type=device_type, interval=interval, capacity=1 << 31)


@pytest.mark.parametrize("interval", [112.5, 150.0, 225.0])
@pytest.mark.parametrize("reach", [3, 4, 5])
def test_the_profile_reaches_back_as_far_as_planned(interval: float, reach: int) -> None:
    made = QuarterProfile(bytes.fromhex("04 03"), int, device_type=0x02, interval=interval, capacity=1 << 31, reach=reach)
    wanted = min(reach * interval, max(3 * interval, 126 * made.spacing))
    assert (made.values - 2) * made.spacing >= wanted
    assert (made.values - 3) * made.spacing < wanted


@pytest.mark.parametrize(("rate", "reach"), [(1, 5), (42, 5), (43, 3), (10_000, 3)])
def test_wide_increments_leave_room_for_three_intervals(rate: int, reach: int) -> None:
    made = QuarterProfile(
        bytes.fromhex("04 03"), lambda at: int(at) * rate, device_type=0x02, interval=120.0, capacity=1 << 31, reach=5
    )
    found = profile_in(made.octets(50_000.0))
    assert len(found.points) + 1 == reach * 20 + 2
    assert found.base_value is not None
    assert [one.value for one in found.points] == [found.base_value - 6 * rate * back for back in range(1, reach * 20 + 2)]


def test_less_than_annex_r_demands_is_refused() -> None:
    with pytest.raises(InputError, match="three intervals"):
        QuarterProfile(bytes.fromhex("04 03"), int, device_type=0x02, interval=120.0, capacity=1 << 31, reach=2)


def test_a_sensor_has_no_register() -> None:
    with pytest.raises(InputError, match="register"):
        Metrology("12345678", "smoke", 7, CALENDAR, taf7=120.0)


def test_a_plan_asks_for_it_and_gets_the_interval_of_its_medium() -> None:
    plan = parse_plan(
        '[world]\n[[building]]\nname = "A"\n'
        '[[meters]]\nmedium = "electricity"\nper = "building"\ntaf7 = true\n'
        '[[meters]]\nmedium = "gas"\nper = "building"\ntaf7 = true\nratio = 1\n'
        '[[meters]]\nmedium = "electricity"\nlabel = "slow"\nper = "building"\ntaf7 = true\ninterval = 200\nreach = 3\n'
    )
    specs = devices_of(plan)
    assert [spec.interval for spec in specs] == [120.0, 240.0, 200.0]
    counts = [len(profile_in(metrology_of(spec, "x", CALENDAR).octets(0, 0, NOW)).points) + 1 for spec in specs]
    assert counts == [102, 102, 102]
