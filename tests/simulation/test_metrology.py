"""What meters say: the points OMS demands, values that follow the state, and both methods alike."""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal
from importlib import resources
from itertools import pairwise

import pytest

from openmetering.codec.apl.profile import expand
from openmetering.codec.apl.records import encode, parse
from openmetering.simulation.metrology import CONSUMER, MEDIA, STANDARD, STATIC, Metrology
from openmetering.simulation.profiles import DAY, Calendar, Consumption, door_open
from openmetering.tables.data_points import data_point, vib_type
from openmetering.wire.types import MeterTime

START = Calendar(dt.datetime(2026, 1, 14))
HOUR = 3600.0


def meter(medium: str, **changes: object) -> Metrology:
    return Metrology("7EXA0012345678", medium, "test", START, **changes)  # type: ignore[arg-type]


def tags(metrology: Metrology, application: int = STANDARD) -> list[str]:
    """The OMS names of what is said."""
    found = []
    for record in metrology.records(application, 0, 0.0):
        header = record.header
        tag = data_point(
            metrology.medium.device_type,
            vib_type=vib_type(header.vib) or "",
            function=header.function,
            storage=header.storage,
            tariff=header.tariff,
            subunit=header.subunit,
            final_dife=header.final_dife,
            data_field=header.data_field,
        )
        found.append(tag or "?")
    return found


@pytest.mark.parametrize("medium", MEDIA)
def test_points_carry_the_tags_they_claim(medium: str) -> None:
    claimed = [point.tag for point in MEDIA[medium].standard]
    assert tags(meter(medium)) == claimed


@pytest.mark.parametrize(("medium", "demanded"), [
    ("electricity", {"EW1!"}), ("feed-in", {"EW2!"}), ("gas", {"VM2!"}), ("heat", {"EW1!"}), ("cooling", {"EW1!"}),
    ("cold water", {"VM1!"}), ("warm water", {"VM1!"}), ("heat cost allocator", {"HC1!", "HC1!D", "DT2!D"}),
    ("smoke", {"MM15!", "DP5!"}), ("carbon monoxide", {"CC1!", "MM14!", "DP5!"}), ("humidity", {"RH1!", "MM3!", "ID11!"}),
    ("temperature", {"TC4!", "MM3!", "ID11!"}), ("leak", {"MM3!", "ID11!"}), ("contact", {"MM16!", "MM3!", "ID11!"}),
])  # fmt: skip
def test_obligatory_points_are_there(medium: str, demanded: set[str]) -> None:
    assert demanded <= set(tags(meter(medium)))


@pytest.mark.parametrize(("medium", "demanded"), [
    ("electricity", {"EW1!"}), ("feed-in", {"EW1!", "EW2!"}), ("heat", {"EW1!", "EW1!D", "DT2!D", "TC1!", "TC2!"}),
    ("cold water", {"VM1!", "VM1!D", "DT2!D"}), ("warm water", {"VM1!", "VM1!D", "DT2!D"}),
    ("heat cost allocator", {"HC1!", "HC1!D", "DT2!D"}), ("gas", {"VM2!"}),
])  # fmt: skip
def test_consumer_information_of_uc_07(medium: str, demanded: set[str]) -> None:
    assert demanded <= set(tags(meter(medium), CONSUMER))


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("application", [STANDARD, STATIC, CONSUMER])
def test_both_methods_say_the_same(medium: str, application: int) -> None:
    one, two = meter(medium, history=True), meter(medium, history=True)
    octets = one.octets(application, 0, 5 * DAY)
    parsed = parse(octets)
    assert parsed.fault is None
    assert not parsed.warnings
    assert encode(list(two.records(application, 0, 5 * DAY))) == octets
    assert all(record.error is None for record in parsed.records)


def test_unknown_applications_and_blocks_are_empty() -> None:
    water = meter("cold water")
    assert water.octets(42, 0, 0.0) == b""
    assert water.octets(STANDARD, 2, 0.0) == b""
    assert water.octets(STATIC, 2, 0.0) == b""
    assert water.records(42, 0, 0.0) == []
    assert water.octets(STANDARD, 1, 0.0) == water.octets(STANDARD, 0, 0.0)


def test_static_data_name_the_device() -> None:
    records = meter("gas").records(STATIC, 0, 0.0)
    assert records[0].value == "7EXA0012345678"
    assert records[0].quantity == "fabrication no"
    assert meter("gas").octets(STATIC, 0, 0.0) == meter("gas").octets(STATIC, 0, 9e6)


@pytest.mark.parametrize("medium", [name for name, one in MEDIA.items() if one.kind])
def test_stated_registers_are_integers_that_never_go_back(medium: str) -> None:
    metrology = meter(medium)
    values = [metrology.truth(hour * HOUR) for hour in range(0, 24 * 40, 3)]
    tag = MEDIA[medium].standard[0].tag
    assert all(a[tag] <= b[tag] for a, b in pairwise(values))


def test_the_truth_is_what_is_stated() -> None:
    water = meter("cold water", supply=Consumption("cold water", 1, START, yearly=40_000.0, start=12_345_678.0))
    truth = water.truth(1000.0)
    assert truth == {"VM1!": Decimal(int(water.register(1000.0))).scaleb(-3)}
    assert truth["VM1!"] == water.records(STANDARD, 0, 1000.0)[0].value


def test_due_date_and_value_change_with_the_due_date() -> None:
    allocator = meter("heat cost allocator", due_day=(1, 31))
    before, after = 17.99 * DAY, 18.01 * DAY
    first = {
        record.header.storage: record.value for record in allocator.records(STANDARD, 0, before) if record.quantity == "HCA units"
    }
    second = {
        record.header.storage: record.value for record in allocator.records(STANDARD, 0, after) if record.quantity == "HCA units"
    }
    assert first[1] == int(allocator.register(START.seconds(dt.datetime(2025, 2, 1))))
    assert second[1] == int(allocator.register(18 * DAY))
    date = next(
        record.value
        for record in allocator.records(STANDARD, 0, after)
        if record.header.storage == 1 and record.quantity == "date"
    )
    assert isinstance(date, MeterTime)
    assert date.isoformat() == "2026-01-31"
    back = next(
        record.value
        for record in allocator.records(STANDARD, 0, before)
        if record.header.storage == 1 and record.quantity == "date"
    )
    assert isinstance(back, MeterTime)
    assert back.isoformat() == "2025-01-31"


def test_months_are_a_profile_on_the_periodic_value() -> None:
    water = meter("warm water", history=True)
    parsed = parse(water.octets(STANDARD, 0, 3 * DAY))
    base = next(
        record for record in parsed.records if record.header.storage == 8 and record.quantity == "volume" and record.lvar is None
    )
    assert base.value == Decimal(int(water.register(START.seconds(dt.datetime(2026, 1, 1))))).scaleb(-3)
    (series,) = expand(parsed.records)
    assert series.fault is None
    values = [point.value for point in series.points]
    assert series.points[0].time == "2025-11-30"
    months = [water.register(START.seconds(dt.datetime(2025, month, 1))) for month in range(12, 0, -1)]
    assert values == [Decimal(int(value)).scaleb(-3) for value in months]
    assert water.octets(STANDARD, 0, 3 * DAY)[-40:] == water.octets(STANDARD, 0, 4 * DAY)[-40:]
    assert water.octets(STANDARD, 0, 20 * DAY)[-40:] != water.octets(STANDARD, 0, 4 * DAY)[-40:]


# -- state -----------------------------------------------------------------------------------


def test_a_frozen_meter_stands_still_and_goes_on() -> None:
    heat, sound = meter("heat"), meter("heat")
    heat.freeze(DAY)
    assert heat.register(2 * DAY) == heat.register(DAY) > heat.register(DAY / 2)
    assert heat.gain(3 * DAY) == 0.0
    heat.thaw(3 * DAY)
    assert heat.register(2 * DAY) == pytest.approx(sound.register(DAY))
    missing = sound.register(3 * DAY) - sound.register(DAY)
    assert heat.register(4 * DAY) == pytest.approx(sound.register(4 * DAY) - missing)


def test_two_causes_stop_a_register_once() -> None:
    water, sound = meter("cold water"), meter("cold water")
    water.state.leaks.append((0.0, 5.0))
    sound.state.leaks.append((0.0, 5.0))
    water.close(DAY)
    water.freeze(2 * DAY)
    water.open(3 * DAY)
    assert water.register(3.5 * DAY) == pytest.approx(sound.register(DAY))
    water.thaw(4 * DAY)
    water.thaw(4.5 * DAY)
    missing = sound.register(4 * DAY) - sound.register(DAY)
    assert water.register(6 * DAY) == pytest.approx(sound.register(6 * DAY) - missing)
    assert water.state.stops == [(DAY, 4 * DAY)]


def test_a_leak_adds_its_rate() -> None:
    water, sound = meter("cold water"), meter("cold water")
    water.state.leaks.append((DAY, 30.0))
    assert water.register(DAY) == sound.register(DAY)
    assert water.register(2 * DAY) - sound.register(2 * DAY) == pytest.approx(720.0)


def test_a_closed_valve_stops_consumption_and_the_past_stays() -> None:
    water, sound = meter("cold water"), meter("cold water")
    water.open(0.5 * DAY)  # nothing to open
    water.close(DAY)
    water.close(1.5 * DAY)  # already closed
    assert water.register(2 * DAY) == sound.register(DAY)
    water.open(3 * DAY)
    missing = sound.register(3 * DAY) - sound.register(DAY)
    assert water.register(0.9 * DAY) == sound.register(0.9 * DAY)
    assert water.register(3 * DAY) == pytest.approx(sound.register(DAY))
    assert water.register(5 * DAY) == pytest.approx(sound.register(5 * DAY) - missing)
    values = [water.register(hour * HOUR) for hour in range(72, 200)]
    assert values == sorted(values)


def test_flags_alarms_and_battery() -> None:
    smoke = meter("smoke")
    smoke.state.flags, smoke.state.alarm, smoke.state.battery = 0x0400, 1, 10
    records = {record.quantity: record.value for record in smoke.records(STANDARD, 0, 3 * DAY + 5)}
    assert records["error flags"] == 0x0400
    assert records["status smoke alarm"] == 1
    assert records["remaining battery"] == 7
    assert meter("carbon monoxide").truth(0.0)["CC1!"] == 0
    gas = meter("carbon monoxide")
    gas.state.alarm = 1
    assert gas.truth(0.0)["CC1!"] == 85


def test_a_contact_follows_its_door() -> None:
    contact = meter("contact")
    now = next(at for at in range(0, 100_000, 10) if door_open(contact.seed, at))
    assert contact.truth(float(now)) == {"MM16!": Decimal(1)}
    assert contact.truth(0.0) == {"MM16!": Decimal(0)}
    assert contact.register(0.0) == 0.0


def test_what_functions_provide_can_be_left_out() -> None:
    assert "MM3!" not in tags(meter("humidity", without=frozenset(("MM3!",))))


def test_warmth_follows_the_load() -> None:
    heat = meter("heat")
    winter, summer = (
        next(r.value for r in heat.records(0, 0, at) if r.quantity == "flow temperature") for at in (HOUR * 7, 180 * DAY)
    )
    assert isinstance(winter, Decimal)
    assert isinstance(summer, Decimal)
    assert winter > summer + 3


def test_device_types_are_those_of_the_table() -> None:
    text = resources.files("openmetering.tables").joinpath("device_types.csv").read_text(encoding="utf-8")
    known = {row["code"].removesuffix("h"): row for row in csv.DictReader(text.splitlines())}
    assert all(f"{medium.device_type:02X}" in known for medium in MEDIA.values())
