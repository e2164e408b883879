"""Profiles of Annex R unfolded: the published example, and a month of quarters of a simulated meter with telegrams lost."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

import openmetering as om
from openmetering import Decoder
from openmetering.codec.apl.profile import ProfileSeries
from openmetering.codec.apl.records import read_header
from openmetering.mdm.slots import QUARTER, Slot, SlotValue, fill, gaps, obis_of, unfold
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.post import DevicePost
from openmetering.simulation.world import World

SPEC = Path(__file__).parents[2] / "vectors" / "spec"
VECTOR = tomllib.loads((SPEC / "annex_r_taf7_values.toml").read_text("utf-8"))
PLAN = """
[world]
seed = "quarters"
start = 2026-03-01
[[building]]
name = "A"
floors = 1
flats = 1
[[gateway]]
name = "gw"
building = "A"
modes = ["C"]
[[meters]]
medium = "electricity"
per = "building"
profile = "A"
taf7 = true
"""
#: worlds begin in March, by the local time that has its day of 23 hours
BEGIN = int(datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
END = int(datetime(2026, 4, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
EVERY = 120.0
#: of what is lost
SEED = 4
REACH = 101 * 6


def published() -> tuple[om.Telegram, tuple[ProfileSeries, ...]]:
    vector = tomllib.loads((SPEC / VECTOR["frame"]).read_text("utf-8"))
    telegram = om.decode(bytes.fromhex(vector["hex"]), bytes.fromhex(vector["key"]))
    return telegram, telegram.profiles


def test_the_published_example_gives_its_47_values() -> None:
    imported, exported = (unfold(profile, 1000.0, status=4, proven=True) for profile in published()[1])
    assert (len(imported), len(exported)) == (47, 47)
    for found, expected in ((imported, VECTOR["expected"]["import"]), (exported, VECTOR["expected"]["export"])):
        assert [one.value for one in found] == expected
        assert [one.at for one in found] == [1000.0 - VECTOR["age"] - VECTOR["spacing"] * number for number in range(47)]
    assert {(one.received_at, one.status, one.proven, one.meter_time) for one in imported} == {(1000.0, 4, True, None)}


def test_the_values_have_the_obis_codes_of_annex_a() -> None:
    _, profiles = published()
    assert [obis_of(profile.header, 0x02) for profile in profiles] == ["1-0:1.8.0*255", "1-0:2.8.0*255"]
    assert obis_of(profiles[0].header, 0x07) == ""


def test_a_clock_of_the_meter_is_noted_and_not_relied_on() -> None:
    profile = published()[1][0]
    values = unfold(profile, 1000.0, meter_time=5000.0)
    assert [(one.at, one.meter_time) for one in values[:3]] == [(997.0, 5000.0), (989.0, 4992.0), (981.0, 4984.0)]


def changed(profile: ProfileSeries, **fields: object) -> ProfileSeries:
    return msgspec.structs.replace(profile, **fields)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda profile: changed(profile, kind="forward"),
        lambda profile: changed(profile, reference="base"),
        lambda profile: changed(profile, base_value=None),
        lambda profile: changed(profile, header=read_header(bytes.fromhex("CD 04 83 13"), 0)[0]),
    ],
)
def test_other_profiles_and_those_without_a_base_value_give_nothing(spoil: Callable[[ProfileSeries], ProfileSeries]) -> None:
    assert unfold(spoil(published()[1][0]), 1000.0) == ()


def test_an_invalid_element_ends_the_profile() -> None:
    profile = published()[1][0]
    points = list(profile.points)
    points[4] = msgspec.structs.replace(points[4], value=None)
    assert len(unfold(changed(profile, points=tuple(points)), 1000.0)) == 5


def meter() -> tuple[World, DevicePost]:
    made = World(parse_plan(PLAN))
    (post,) = made.devices.values()
    assert isinstance(post, DevicePost)
    return made, post


def moments(end: float, lost: float, burst: int, seed: int = SEED) -> Iterator[tuple[float, int]]:
    """When telegrams are sent that are heard; ``lost`` is the share that is not, in runs of ``burst``."""
    dice = random.Random(seed)
    at, number, silent = -700.0, 0, 0
    while at < end:
        at += EVERY + dice.uniform(-3.0, 3.0)
        number += 1
        if silent:
            silent -= 1
        elif dice.random() < lost / burst:
            silent = burst - 1
        else:
            yield at, number


def heard(post: DevicePost, end: float, lost: float, burst: int) -> tuple[list[float], list[SlotValue]]:
    """Frames of the simulated meter through the decoder; when they were received, and the values unfolded."""
    decoder = Decoder(post.spec.description.keys[0].octets)
    times, values = [], []
    for at, number in moments(end, lost, burst):
        telegram = decoder.examine(post.said(at, number))
        assert telegram.error is None
        times.append(BEGIN + at)
        for profile in telegram.profiles:
            values += unfold(profile, BEGIN + at, proven=True)
    return times, values


def checked(post: DevicePost, slots: tuple[Slot, ...]) -> None:
    """Each value is what the register showed at the time that the gateway made, to the last digit."""
    for slot in slots:
        if slot.value is None or slot.held_at is None:
            continue
        assert abs(slot.held_at - slot.at) <= 9
        assert slot.valid
        # the meter samples at full seconds; the age that it tells is rounded to one
        assert slot.value == int(post.metrology.register(round(slot.held_at - BEGIN)))


def test_a_month_of_quarters_with_a_twentieth_lost_has_no_gap() -> None:
    """A slot that lost its own telegram is filled by one of the next four."""
    _, post = meter()
    times, values = heard(post, END - BEGIN + 700.0, 0.05, 1)
    assert 0.94 < len(times) / ((END - BEGIN + 1400) / EVERY) < 0.96
    slots = fill(values, BEGIN, END, QUARTER, "1-0:1.8.0*255", nominal=EVERY + 6.0)
    # March has the day of 23 hours
    assert len(slots) == 31 * 96 - 4
    assert list(gaps(slots)) == []
    checked(post, slots)
    late = sum(slot.late for slot in slots)
    assert 0.03 < late / len(slots) < 0.07


def months_with_gaps(reach: float, months: int) -> int:
    """Of so many, those in which some quarter is reached by no telegram that was heard; a twentieth is lost by chance."""
    found = 0
    for seed in range(months):
        times = [at for at, _ in moments(END - BEGIN + 700.0, 0.05, 1, seed)]
        reached = {int(at // QUARTER) for at in times if at % QUARTER <= reach}
        found += not reached.issuperset(range((END - BEGIN) // QUARTER))
    return found


def test_it_is_not_the_luck_of_one_month() -> None:
    """Five intervals leave a gap in a month of a thousand; the three that Annex R demands would in three of ten."""
    assert months_with_gaps(REACH, 100) <= 1
    assert months_with_gaps(61 * 6, 100) > 15


@pytest.mark.parametrize(("lost", "burst"), [(0.0, 1), (0.05, 2), (0.3, 6)])
def test_only_what_no_telegram_reaches_is_empty(lost: float, burst: int) -> None:
    """Telegrams lost in runs: a slot is empty if, and only if, none that was heard reaches back to its window."""
    _, post = meter()
    end = 2 * 86_400
    times, values = heard(post, end + 700.0, lost, burst)
    slots = fill(values, BEGIN, BEGIN + end)
    for slot in slots:
        ages = [at - slot.at for at in times]
        surely = any(0.0 <= age <= REACH for age in ages)
        perhaps = any(-9.0 <= age <= REACH + 6 + 9.5 for age in ages)
        assert surely <= (slot.value is not None) <= perhaps
    assert bool(list(gaps(slots))) == (lost > 0.1)
    checked(post, slots)


def test_a_world_fills_the_grid_of_a_gateway_over_the_air() -> None:
    made, post = meter()
    values: list[SlotValue] = []
    made.gateways["gw"].telegrams.append(
        lambda event, now: [values.extend(unfold(profile, BEGIN + now)) for profile in event.telegram.profiles]
    )
    made.run(3 * 3600.0)
    slots = fill(values, BEGIN + QUARTER, BEGIN + 3 * 3600)
    assert len(slots) == 11
    assert list(gaps(slots)) == []
    checked(post, slots)
