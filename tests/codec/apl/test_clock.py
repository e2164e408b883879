"""Clock synchronisation: vectors both ways, builders, limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.clock import ClockSynchronisation, decode
from openmetering.errors import NotRepresentable, OutOfRange, Truncated
from openmetering.wire.types import MeterTime
from tests.codec.apl.protocol_vectors import assert_prefixes, octets_of, of_kind, own, shared


@pytest.mark.parametrize("vector", own("apl_protocols.toml", "clock"))
def test_own_vectors(vector):
    octets = octets_of(vector)
    clock = decode(octets)
    assert clock.function == vector["function"]
    assert clock.name == vector["verb"]
    assert clock.seconds == vector.get("seconds")
    assert clock.too_large == vector.get("too_large", False)
    moment = clock.moment
    assert (moment.isoformat() if moment is not None else None) == vector.get("moment")
    assert clock.encode() == octets
    assert_prefixes(decode, octets)


@pytest.mark.parametrize("vector", shared("application.json", of_kind("clock-sync-apdu")))
def test_shared_vectors(vector):
    octets, expected = octets_of(vector), vector["expected"]
    clock = decode(octets)
    assert clock.function == int(expected["tc"], 16)
    if "time" in expected:
        assert clock.moment.isoformat() == expected["time"]
        assert clock.moment.day_of_week == expected.get("dow", clock.moment.day_of_week)
        assert (clock.moment.week or 0) == expected.get("week", clock.moment.week or 0)
        assert clock.moment.leap_year == bool(expected.get("leap", clock.moment.leap_year))
    elif clock.function == 3:
        assert clock.moment.isoformat() == expected["type_j"]
    else:
        hours, minutes, seconds = map(int, expected["type_j"].split(":"))
        assert abs(clock.seconds) == 3600 * hours + 60 * minutes + seconds
        assert clock.too_large == ("result" in expected)
    assert clock.encode() == octets


@pytest.mark.parametrize("vector", shared("annex_n_extra.json", lambda v: v["name"] == "N.8.2 clock adjustment APDU"))
def test_annex_n_message(vector):
    expected = vector["expected"]
    octets = bytes.fromhex(expected["plaintext"]).removeprefix(b"\x2f\x2f")
    clock = decode(octets)
    assert clock.seconds == expected["seconds"]
    assert clock.time == bytes.fromhex(expected["time_type_J"])
    assert clock.trailer == bytes.fromhex(expected["reserved"] + expected["command_verification"])
    assert clock.full
    assert clock == ClockSynchronisation.adjust(110)


def test_the_canonical_form_has_fourteen_octets():
    assert ClockSynchronisation.adjust(30).encode().hex() == "011e0000" + "00" * 6 + "2f" * 4
    moment = MeterTime("I", 2013, 7, 16, 13, 0, 0, day_of_week=2)
    assert ClockSynchronisation.set(moment).encode().hex() == "0000004db01700" + "00" * 3 + "2f" * 4
    noon = MeterTime("J", hour=12, minute=0, second=1)
    assert ClockSynchronisation.correct(noon).encode().hex() == "0301000c" + "00" * 6 + "2f" * 4


def test_the_short_form_ends_behind_the_time():
    assert ClockSynchronisation.adjust(-3661, full=False).encode().hex() == "02010101"
    assert not ClockSynchronisation.adjust(1, full=False).full


@pytest.mark.parametrize("seconds", [0, 1, -1, 59, 60, -60, 61, 86399, -86399])
def test_adjustments_round_trip(seconds):
    clock = decode(ClockSynchronisation.adjust(seconds).encode())
    assert clock.seconds == seconds
    assert clock.too_large == (abs(seconds) > 60)
    assert clock.moment is None


def test_a_relative_time_sets_with_type_m():
    clock = ClockSynchronisation.set(MeterTime("M", relative=3))
    assert clock.encode().hex() == "050330"
    assert decode(clock.encode() + b"\x2f\x2f").moment.relative == 3
    assert decode(clock.encode() + b"\x2f\x2f").trailer == b"\x2f\x2f"


def test_other_functions_are_kept():
    clock = decode(bytes.fromhex("04AABB2F"))
    assert (clock.name, clock.moment, clock.seconds, clock.time, clock.trailer) == ("reserved", None, None, b"\xaa\xbb", b"\x2f")
    assert clock.encode().hex() == "04aabb2f"


def test_an_invalid_time_is_no_moment():
    assert decode(bytes.fromhex("00FFFFFFFFFFFF")).moment is None
    assert decode(bytes.fromhex("03FFFFFF")).moment is None


def test_what_cannot_be_sent():
    with pytest.raises(OutOfRange):
        ClockSynchronisation.adjust(86400)
    with pytest.raises(NotRepresentable):
        ClockSynchronisation.set(MeterTime("F", 2024, 1, 1, 0, 0))
    with pytest.raises(NotRepresentable):
        ClockSynchronisation.correct(MeterTime("G", 2024, 1, 1))
    with pytest.raises(OutOfRange):
        ClockSynchronisation(0, b"\x00").encode()
    with pytest.raises(OutOfRange):
        ClockSynchronisation(256, b"").encode()


def test_faults_name_the_offset():
    with pytest.raises(Truncated) as empty:
        decode(b"")
    assert (empty.value.layer, empty.value.offset, empty.value.code) == ("apl", 0, "frame.truncated")
    with pytest.raises(Truncated) as short:
        decode(b"\x00\x01")
    assert short.value.offset == 1


@given(st.binary(min_size=7, max_size=40))
def test_octets_survive(octets):
    assert decode(octets).encode() == octets
