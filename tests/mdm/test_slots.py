"""Register slots: the published profile of Annex N, a month of quarters with a twentieth of the telegrams lost, status words."""

from __future__ import annotations

import random
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import openmetering as om
from openmetering import Decoder
from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.mdm.slots import HOUR, QUARTER, STATUS_BITS, SlotValue, fill, gaps, status_names, unfold, window_of
from openmetering.simulation.property.profiles import CompactProfileMeter

VECTOR = Path(__file__).parents[1] / "vectors" / "spec" / "annex_n_13_load_profile.toml"
BEGIN = int(datetime(2025, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
END = int(datetime(2025, 4, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
KEY = bytes(range(16))


def test_the_published_example_gives_its_47_values() -> None:
    """OMS Volume 2 Annex N 13 and Annex R: 1995 Wh three seconds ago, then each eight seconds back."""
    vector = tomllib.loads(VECTOR.read_text("utf-8"))
    telegram = om.decode(bytes.fromhex(vector["hex"]), bytes.fromhex(vector["key"]))
    imported, exported = (unfold(profile, 1000.0) for profile in telegram.profiles)
    assert (len(imported), len(exported)) == (47, 47)
    assert [round(one.at - 1000.0) for one in imported] == [-3 - 8 * number for number in range(47)]
    expected = [1995, 1994, 1991, 1986, 1979, 1970, 1962, 1956, 1952, 1950, 1950, 1950]
    assert [one.value for one in imported[:12]] == [Decimal(value) for value in expected]
    assert [one.value for one in exported[9:16]] == [Decimal(value) for value in (305, 305, 304, 301, 296, 289, 280)]
    assert (imported[-1].value, exported[-1].value) == (Decimal(1872), Decimal(215))


@pytest.mark.parametrize(("lost", "burst", "days", "empty"), [(0.05, 1, 31, 0), (0.0, 1, 2, 0), (0.05, 2, 6, 2)])
def test_a_month_of_quarters_has_no_gap(lost: float, burst: int, days: int, empty: int) -> None:
    """Real frames through the real decoder. That all three telegrams of a slot are lost has a chance of 0.05 ** 3 each; losses in
    runs of two or more are not what Annex R is made for."""
    end = END if days == 31 else BEGIN + days * 86_400
    dice = random.Random(5)
    rates = [dice.randrange(0, 3) for _ in range((END - BEGIN) // 600 + 20)]
    sums = [0]
    for rate in rates:
        sums.append(sums[-1] + rate * 50)

    def register(at: float) -> int:
        place, rest = divmod(at - BEGIN + 3600.0, 600.0)
        number = int(place)
        return 1_000_000 + sums[number] + int(rates[number] * 50 * rest / 600.0)

    meter = CompactProfileMeter(Address.parse("ELS-12345678-01-02"), KEY, register)
    assert meter.values == 62
    decoder = Decoder(KEY)
    values: list[SlotValue] = []
    heard = 0
    for reception in meter.receptions(BEGIN - 300.0, end + 400.0, lost=lost, seed=1, burst=burst):
        telegram = decoder.examine(reception.frame)
        assert telegram.error is None
        heard += 1
        for profile in telegram.profiles:
            values += unfold(profile, reception.received_at, proven=True)
    assert heard < (end - BEGIN + 700) / 120 * (1.01 - lost * 0.8)
    slots = fill(values, BEGIN, end, QUARTER, "1-0:1.8.0*255")
    # March has the day of 23 hours
    assert len(slots) == days * 96 - 4 * (days == 31)
    assert len(list(gaps(slots))) <= empty
    for slot in slots:
        assert slot.obis == "1-0:1.8.0*255"
        if slot.value is None:
            continue
        assert slot.valid
        # a value is at most 9 s from its slot, and not more than 15 Wh are counted in that time
        assert abs(slot.value - register(slot.at)) <= 15
    assert any("late" in status_names(slot.word) for slot in slots)


def test_the_window_is_a_hundredth_of_the_slot() -> None:
    assert (window_of(QUARTER), window_of(HOUR)) == (9.0, 36.0)
    with pytest.raises(InputError):
        window_of(600)
    values = [SlotValue(900.0 + apart, Decimal(apart), 900.0 + apart) for apart in (-9.5, 9.0, 9.5)]
    (slot,) = fill(values, 1, 1000)
    assert slot.value == 9
    assert fill(values[:1], 1, 1000)[0].word == STATUS_BITS["missing"]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (SlotValue(1800.0, Decimal(5), 1800.0), ("valid",)),
        (SlotValue(1800.0, Decimal(5), 1900.0, unfolded=True), ("valid", "late")),
        (SlotValue(1800.0, Decimal(5), 1800.0, proven=False), ("no-proof",)),
        (SlotValue(1800.0, Decimal(5), 1800.0, status=0x08), ("meter-error",)),
        (SlotValue(1800.0, Decimal(5), 1800.0, status=0x14), ("valid", "meter-temporary", "meter-power")),
        (SlotValue(1800.0, Decimal(2), 1800.0), ("backward",)),
        (SlotValue(1800.0, Decimal(5), 1800.0, meter_time=1850.0), ("valid", "clock")),
    ],
)
def test_the_status_word(value: SlotValue, names: tuple[str, ...]) -> None:
    slots = fill([SlotValue(900.0, Decimal(3), 900.0), value], 1, 2000)
    assert status_names(slots[1].word) == names
    assert slots[1].valid == ("valid" in names)


def test_gaps_are_told_as_runs() -> None:
    values = [SlotValue(900.0 * number, Decimal(number), 900.0 * number) for number in (1, 4, 5, 7)]
    assert list(gaps(fill(values, 0, 9 * 900))) == [(0, 0), (1800, 2700), (5400, 5400), (7200, 7200)]


def test_a_year_is_cheap() -> None:
    begin = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    values = [SlotValue(begin + 900.0 * number, Decimal(number), begin + 900.0 * number) for number in range(35_040)]
    assert len(fill(values, begin, begin + 365 * 86_400)) == 35_040
