"""Data types A to M: octets to values and back, invalid patterns, limits of the encoders."""

from __future__ import annotations

import datetime as dt
import struct
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.errors import EncodeError, NotRepresentable, OutOfRange
from openmetering.wire import types
from openmetering.wire.types import (
    EVERY,
    MeterTime,
    bcd_digits,
    bcd_words,
    decode_bcd,
    decode_date,
    decode_real32,
    decode_type_m,
    encode_bcd,
    encode_date,
    encode_integer,
    encode_real32,
)
from tests.strategies import meter_times, singles
from tests.vector_files import octets, own, shared

SIZES = {"G": 2, "J": 3, "F": 4, "I": 6}
FLAGS = {"summer_time": False, "leap_year": False, "day_of_week": None, "week": None, "dst_deviation": 0}

# -- type A ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/wire.toml", "bcd"))
def test_bcd(vector):
    raw = octets(vector["hex"])
    assert decode_bcd(raw) == vector["value"]
    assert encode_bcd(vector["value"], len(raw)) == raw


@pytest.mark.parametrize("vector", own("spec/wire.toml", "no_bcd"))
def test_digits_that_are_error_marks_are_no_number(vector):
    raw = octets(vector["hex"])
    assert decode_bcd(raw) is None
    assert bcd_digits(raw) == raw[::-1].hex().upper()


def test_no_digits_are_no_number():
    assert decode_bcd(b"") is None


@given(st.integers(1, 9).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, 10 ** (2 * size) - 1))))
def test_bcd_round_trip(case):
    size, value = case
    assert decode_bcd(encode_bcd(value, size)) == value
    negative = -(value // 10)
    assert decode_bcd(encode_bcd(negative, size)) == negative


@given(st.binary(min_size=1, max_size=6))
def test_bcd_never_turns_letters_into_digits(raw):
    value = decode_bcd(raw)
    digits = bcd_digits(raw)
    sign = digits[0] == "F"
    if set(digits[sign:]) & set("ABCDEF") or digits == "F":
        assert value is None
    else:
        assert value == (-1 if sign else 1) * int(digits[sign:])
        if value:
            assert encode_bcd(value, len(raw)) == raw


@pytest.mark.parametrize(("value", "size"), [(100, 1), (-10, 1), (10**8, 4), (-(10**7), 4), (0, 0), (1, 0)])
def test_bcd_too_wide(value, size):
    with pytest.raises(OutOfRange) as caught:
        encode_bcd(value, size)
    assert caught.value.value == value


def test_bcd_words_know_four_digits():
    table = bcd_words()
    assert len(table) == 65536
    assert (table[0x1234], table[0x0009], table[0x9999], table[0]) == (1234, 9, 9999, 0)
    assert sum(1 for value in table if value >= 0) == 10000
    assert table[0x000A] == table[0xA000] == table[0xF123] == -1


# -- types B and C -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
def test_integer_limits(size):
    limit = 1 << 8 * size
    for value in (-limit // 2, -1, 0, 1, limit // 2 - 1):
        assert int.from_bytes(encode_integer(value, size), "little", signed=True) == value
    for value in (0, limit - 1):
        assert int.from_bytes(encode_integer(value, size, signed=False), "little") == value
    for value in (-limit // 2 - 1, limit // 2):
        with pytest.raises(OutOfRange):
            encode_integer(value, size)
    for value in (-1, limit):
        with pytest.raises(OutOfRange) as caught:
            encode_integer(value, size, signed=False)
        assert caught.value.value == value


# -- type H ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/wire.toml", "real"))
def test_real(vector):
    raw = octets(vector["hex"])
    value = decode_real32(raw)
    assert str(value) == vector["text"]
    assert encode_real32(value) == raw


@pytest.mark.parametrize("vector", own("spec/wire.toml", "no_real"))
def test_nan_and_infinity_are_no_number(vector):
    assert decode_real32(octets(vector["hex"])) is None


@given(st.binary(min_size=4, max_size=4))
def test_every_real_comes_back_octet_for_octet(raw):
    value = decode_real32(raw)
    number = struct.unpack("<f", raw)[0]
    if value is None:
        assert number != number or abs(number) == float("inf")
    else:
        assert encode_real32(value) == raw


@given(singles())
def test_a_real_is_written_with_as_few_digits_as_tell_it_apart(value):
    raw = encode_real32(value)
    digits = len(value.normalize().as_tuple().digits)
    assert digits <= 9
    if digits > 1:
        shorter = Decimal(f"{value:.{digits - 2}e}")
        try:
            assert encode_real32(shorter) != raw
        except OutOfRange:  # the greatest reals round up to no real
            assert digits > 7


@pytest.mark.parametrize("text", ["3.5E+38", "-3.5E+38", "1E+400", "Infinity", "-Infinity", "NaN", "sNaN"])
def test_a_number_that_is_no_single(text):
    with pytest.raises(OutOfRange):
        encode_real32(Decimal(text))


# -- types F, G, I, J --------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/wire.toml", "date"))
def test_date(vector):
    raw = octets(vector["hex"])
    time = decode_date(raw)
    assert time is not None
    assert (time.type, time.isoformat(), time.raw) == (vector["type"], vector["iso"], raw)
    assert {name: getattr(time, name) for name in FLAGS} == {name: vector.get(name, unset) for name, unset in FLAGS.items()}
    assert len(raw) == SIZES[time.type]
    canonical = octets(vector.get("canonical", vector["hex"]))
    if not (vector["type"] == "F" and time.year not in (None, EVERY) and time.year >= 2000):
        assert encode_date(time) == canonical
    assert decode_date(encode_date(time)) == replace(time, raw=encode_date(time))


@pytest.mark.parametrize("vector", own("spec/wire.toml", "no_date"))
def test_no_date(vector):
    assert decode_date(octets(vector["hex"])) is None


@pytest.mark.parametrize("raw", [b"", b"\x01", bytes(5), bytes(7), bytes(8)], ids=len)
def test_sizes_without_a_date_type(raw):
    assert decode_date(raw) is None


def _is_fixed_date(row):
    return row["name"].startswith(("type F", "type G", "type I", "type J"))


@pytest.mark.parametrize("vector", shared("application.json", _is_fixed_date, "data_types"))
def test_shared_dates(vector):
    record, value = octets(vector["record_hex"]), vector["value"]
    time = decode_date(record[2:])
    if value is None:
        assert time is None
    elif isinstance(value, dict):
        assert time.isoformat() == value["t"]
        flags = (time.summer_time, time.leap_year, time.day_of_week or 0, time.week or 0, time.dst_deviation)
        assert flags == (value["dst"], value["leap"], value["dow"], value["week"], value["dev"])
    else:
        assert time.isoformat().removesuffix("T00:00") == value.removesuffix("T00:00")


@pytest.mark.parametrize("kind", ["F", "G", "I", "J"])
@given(data=st.data())
def test_dates_round_trip(kind, data):
    time = data.draw(meter_times(kind))
    raw = encode_date(time)
    assert len(raw) == SIZES[kind]
    assert decode_date(raw) == replace(time, raw=raw)


@given(st.sampled_from([2, 3, 4, 6]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_any_octets_are_a_calendar_date_or_nothing(raw):
    time = decode_date(raw)
    assert decode_date(raw) is time
    if time is None:
        return
    assert time.raw == raw
    assert time.isoformat()
    if EVERY not in (time.year, time.month, time.day) and None not in (time.year, time.month, time.day):
        assert time.date() == dt.date(time.year, time.month, time.day)
    parts = (time.hour, time.minute, time.second)
    assert all(part is None or EVERY <= part <= 59 for part in parts)
    again = encode_date(time) if time.year in (None, EVERY) or 1981 <= time.year <= 2080 or time.type == "F" else raw
    assert decode_date(again) == replace(time, raw=again)


@pytest.mark.parametrize(
    ("raw", "date", "moment"),
    [
        ("FF0C", dt.date(2007, 12, 31), None),
        ("32371F15", dt.date(2008, 5, 31), dt.datetime(2008, 5, 31, 23, 50)),
        ("0B0C8D59130C", dt.date(2010, 3, 25), dt.datetime(2010, 3, 25, 13, 12, 11)),
        ("E1F1", None, None),
        ("1F1F", None, None),
        ("0000E1F1", None, None),
        ("3F3F1F15", dt.date(2008, 5, 31), None),
        ("3B300B", None, None),
        ("1E2D0D003000", None, None),
    ],
)
def test_python_dates(raw, date, moment):
    time = decode_date(bytes.fromhex(raw))
    assert (time.date(), time.datetime()) == (date, moment)


def test_relative_times_are_no_dates():
    time = MeterTime("M", relative=5)
    assert (time.date(), time.datetime(), time.isoformat()) == (None, None, "PT5S")


def test_the_memo_of_dates_is_bounded(monkeypatch):
    monkeypatch.setattr(types, "_MEMO", {})
    monkeypatch.setattr(types, "_MEMO_LIMIT", 3)
    for minute in range(10):
        raw = bytes((minute, 0x37, 0x1F, 0x15))
        assert decode_date(raw) == decode_date(raw)
        assert len(types._MEMO) <= 3


TIME = MeterTime("F", 2024, 2, 29, 12, 30)
MOMENT = MeterTime("I", 2024, 2, 29, 12, 30, 15)


@pytest.mark.parametrize(
    "time",
    [
        MeterTime("G", 1980, 1, 1),
        MeterTime("G", 2081, 1, 1),
        MeterTime("G", 2024, 13, 1),
        MeterTime("G", 2024, 1, 32),
        MeterTime("G", 2024, 1, -2),
        MeterTime("G", 2023, 2, 29),
        MeterTime("G", EVERY, 4, 31),
        MeterTime("G", EVERY, EVERY, 31),
        MeterTime("G", 2024, None, 5),
        MeterTime("F", 2024, 2, 30, 0, 0),
        MeterTime("I", 2024, 2, 30, 0, 0, 0),
        MeterTime("F", 1980, 1, 1, 0, 0),
        MeterTime("F", 2300, 1, 1, 0, 0),
        replace(TIME, minute=60),
        replace(TIME, hour=24),
        replace(TIME, minute=300),
        replace(MOMENT, second=60),
        replace(MOMENT, minute=60),
        replace(MOMENT, hour=24),
        replace(MOMENT, month=13),
        replace(MOMENT, day_of_week=8),
        replace(MOMENT, week=64),
        replace(MOMENT, dst_deviation=4),
        replace(MOMENT, year=2081),
        MeterTime("J", hour=24, minute=0, second=0),
        MeterTime("J", hour=0, minute=60, second=0),
        MeterTime("J", hour=0, minute=0, second=300),
        MeterTime("M", relative=-1),
        MeterTime("M", relative=1 << 112),
    ],
    ids=str,
)
def test_parts_out_of_range_are_not_sent(time):
    with pytest.raises(OutOfRange):
        encode_date(time)


@pytest.mark.parametrize("time", [MeterTime("K"), MeterTime("M"), MeterTime("")], ids=lambda time: time.type)
def test_types_without_coding(time):
    with pytest.raises(NotRepresentable) as caught:
        encode_date(time)
    assert caught.value.field == "type"


_PART = st.none() | st.integers(-3, 400) | st.just(EVERY)


@given(
    st.builds(
        MeterTime,
        st.sampled_from(["F", "G", "I", "J", "M", "X"]),
        _PART | st.integers(1900, 2400),
        _PART,
        _PART,
        _PART,
        _PART,
        _PART,
        st.booleans(),
        st.booleans(),
        _PART,
        _PART,
        st.integers(-9, 9),
        st.none() | st.integers(-2, 1 << 120),
    )
)
def test_encoding_any_parts_raises_only_our_errors(time):
    with suppress(EncodeError):
        assert 2 <= len(encode_date(time)) <= 15


# -- type M ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/wire.toml", "relative"))
def test_relative_time(vector):
    raw = octets(vector["hex"])
    time = decode_type_m(raw)
    assert time == MeterTime("M", relative=vector["seconds"], raw=raw)
    assert time.isoformat() == f"PT{vector['seconds']}S"
    assert encode_date(time) == octets(vector.get("canonical", vector["hex"]))


@pytest.mark.parametrize(
    "text", ["", "30", "0331", "0330FF", "0000008030", "FFFFFFFF30", "0300"], ids=lambda text: text or "nothing"
)
def test_other_formats_of_type_m_stay_raw(text):
    assert decode_type_m(bytes.fromhex(text)) is None


@given(meter_times("M"))
def test_relative_times_round_trip(time):
    raw = encode_date(time)
    assert decode_type_m(raw) == replace(time, raw=raw)


@given(st.binary(max_size=18))
def test_any_octets_of_type_m(raw):
    time = decode_type_m(raw)
    if time is not None and time.relative < 1 << 112:
        again = encode_date(time)
        assert decode_type_m(again).relative == time.relative
