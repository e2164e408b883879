"""The description of a world: read strictly, with the place of every mistake."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.simulation.city import city
from openmetering.simulation.plan import WorldPlan, parse_plan, read_plan, seconds_of

HOUSE = '[[building]]\nname = "A"\n'
EXAMPLE = Path(__file__).parents[2] / "examples" / "worlds" / "building.toml"


def test_the_example_is_a_world() -> None:
    plan = read_plan(EXAMPLE)
    assert plan.world.start == dt.datetime(2026, 1, 14)
    assert [one.name for one in plan.gateway] == ["gateway north", "gateway south"]
    assert plan.meters[0].history
    assert plan.world.environment.outer_wall == "concrete"


def test_defaults() -> None:
    assert parse_plan("") == WorldPlan()
    group = parse_plan(HOUSE + '[[meters]]\nmedium = "gas"').meters[0]
    assert (group.mode, group.profile, group.interval, group.bidirectional) == ("C", "B", None, False)


def test_functions_are_a_list_or_a_table() -> None:
    text = (
        HOUSE
        + '[[meters]]\nmedium = "gas"\nfunctions = ["clock"]\n[[meters]]\nmedium = "gas"\nfunctions = {clock = {variant = "c"}}'
    )
    first, second = parse_plan(text).meters
    assert first.options == {"clock": {}}
    assert second.options == {"clock": {"variant": "c"}}


@pytest.mark.parametrize(("start", "expected"), [
    ("2026-05-01", dt.datetime(2026, 5, 1)), ("2026-05-01T06:30:00", dt.datetime(2026, 5, 1, 6, 30)),
])  # fmt: skip
def test_start_is_a_date_or_a_time(start: str, expected: dt.datetime) -> None:
    assert parse_plan(f"[world]\nstart = {start}").world.start == expected


@pytest.mark.parametrize(("text", "message"), [
    ("[world", "town.toml: no TOML"),
    ("[world]\nspeed = 3", r"town.toml: world: Object contains unknown field `speed`"),
    ("[world]\noms_issue = '4.1'", r"town.toml: world.oms_issue: Invalid enum value '4.1'"),
    ("[world.environment]\nmodel = 'magic'", r"world.environment.model: 'magic' is none of free-space, log-distance, P.1238"),
    (HOUSE + "[[meters]]\nmedium = 'steam'", r"meters\[0\].medium: 'steam' is none of electricity"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\nmode = 'X'", r"meters\[0\].mode: Invalid enum value 'X'"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\nratio = 16", r"meters\[0\].ratio: Expected `int` <= 15"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\nkey = '12'", r"meters\[0\].key: Expected `str` matching regex"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\ncodings = {X = 18}", r"meters\[0\].codings"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\nbuilding = 'B'", r"meters\[0\].building: 'B' is none of A"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\nbuilding = ['A', 'C']", r"meters\[0\].building: 'C' is none of A"),
    (HOUSE + "[[meters]]\nmedium = 'gas'\nsegment = 'bus'", r"meters\[0\].segment: 'bus' is none of none"),
    ("[[meters]]\nmedium = 'gas'", r"meters\[0\].per: there is no building"),
    (HOUSE + HOUSE, "building: two are named 'A'"),
    (HOUSE + "walls = 'straw'", r"building\[0\].walls: 'straw' is none of"),
    ("[[gateway]]\nname = 'g'", r"gateway\[0\]: needs a building or a position"),
    ("[[repeater]]\nname = 'r'\nbuilding = 'Z'", r"repeater\[0\].building: 'Z' is none of none"),
])  # fmt: skip
def test_mistakes_name_file_and_key(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_plan(text, "town.toml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.toml: cannot be read"):
        read_plan(tmp_path / "nowhere.toml")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bad.toml: cannot be read"):
        read_plan(bad)


@pytest.mark.parametrize(("text", "seconds"), [
    (90, 90.0), ("10:30", 37_800.0), ("10:30:05", 37_805.0), ("00:00:00.5", 0.5), ("2d", 172_800.0), ("1d 06:00", 108_000.0),
    ("36:00", 129_600.0),
])  # fmt: skip
def test_times(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10", "10:3", "d"])
def test_no_times(text: str) -> None:
    with pytest.raises(InputError, match="is no time"):
        seconds_of(text)


def test_a_city_has_what_was_ordered() -> None:
    plan = city(1000, 5)
    assert len(plan.gateway) == 5
    assert len({one.position for one in plan.gateway}) == 5
    assert plan.meters[-1].count == 1000 % 81
    assert len(plan.building) == 12
    small = city(10, 1)
    assert small.building == []
    assert small.meters[0].count == 10
    assert city(810, 2).meters[-1].medium == "heat"
    assert all(group.interval is None for group in city(900, 2, interval=None).meters)
