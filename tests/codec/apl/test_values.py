"""Contents of data fields: octets to contents and back, by kind of data."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.apl.header import LVAR, header_of
from openmetering.codec.apl.records import parse
from openmetering.codec.apl.values import (
    converter,
    encode_content,
    kind_of,
    lvar_content,
    lvar_length,
    number_text,
    scaled,
    unscaled,
)
from openmetering.errors import EncodeError, NotRepresentable
from openmetering.tables import LVAR as LVAR_TABLE
from openmetering.wire.types import MeterTime
from tests.codec.apl.record_texts import value_text
from tests.strategies import contents, record_headers
from tests.vector_files import octets, shared

FIXED = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14])


def plain(content):
    """A content without the octets a date keeps."""
    return replace(content, raw=b"") if isinstance(content, MeterTime) else content


@given(st.data())
def test_fixed_contents_round_trip(draws):
    header = draws.draw(record_headers(FIXED))
    content = draws.draw(contents(header))
    lvar, raw = encode_content(header, content)
    assert lvar is None
    assert len(raw) == header.length
    assert plain(converter(header)(raw)) == plain(content)


@given(st.data())
def test_variable_contents_round_trip(draws):
    header = draws.draw(record_headers(st.just(LVAR)))
    content = draws.draw(contents(header))
    lvar, raw = encode_content(header, content)
    assert lvar_length(lvar) == len(raw)
    assert plain(lvar_content(header, lvar, raw)) == plain(content)


@given(st.data())
def test_octets_give_a_content_and_back(draws):
    """Whatever the octets, the content read from them encodes to octets that give the same content."""
    header = draws.draw(record_headers(FIXED))
    size = header.length or 0
    raw = draws.draw(st.binary(min_size=size, max_size=size))
    content = converter(header)(raw)
    if content is None:
        return
    try:
        _, again = encode_content(header, content)
    except EncodeError:
        assert isinstance(content, MeterTime)
        return
    assert plain(converter(header)(again)) == plain(content)
    if header.kind in ("signed", "unsigned", "real", "address"):
        assert again == raw
    if header.kind == "bcd" and content != 0:
        assert again == raw


@pytest.mark.parametrize(
    ("dib", "vib", "kind"), [(4, 0x13, "signed"), (4, 0x6D, "date"), (12, 0x13, "bcd"), (13, 0x13, "variable"), (5, 0x13, "real")]
)
def test_kind_of(dib, vib, kind):
    assert kind_of(header_of(bytes((dib,)), bytes((vib,)))) == kind


# -- LVAR --------------------------------------------------------------------------------------


def test_lengths_agree_with_the_table():
    for code in range(256):
        row = LVAR_TABLE[code]
        assert lvar_length(code) == row.length, f"LVAR {code:02X}"
        assert (lvar_length(code) is None) == (row.kind == "reserved")


VOLUME = header_of(b"\x0d", b"\x13")
UNSIGNED = header_of(b"\x0d", b"\xfd\x08")
DATE = header_of(b"\x0d", b"\x6d")
FLAGS = header_of(b"\x0d", b"\xfd\x17")
CONTAINER = header_of(b"\x0d", b"\xfd\x3b")
WINDOW = header_of(b"\x0d", b"\xfd\x73")
PROFILE = header_of(b"\x0d", b"\x93\x1f")
MAKER = header_of(b"\x0d", b"\x7f")


@pytest.mark.parametrize(
    ("header", "lvar", "raw", "content"),
    [
        (VOLUME, 3, "434241", "ABC"),
        (VOLUME, 0, "", ""),
        (VOLUME, 2, "B0FC", "ü°"),
        (VOLUME, 0xC3, "563412", 123456),
        (VOLUME, 0xC0, "", 0),
        (VOLUME, 0xC9, "785634129078563412", 123456789012345678),
        (VOLUME, 0xD3, "563412", -123456),
        (VOLUME, 0xC1, "F5", None),
        (VOLUME, 0xD1, "F5", None),
        (VOLUME, 0xC1, "1A", None),
        (VOLUME, 0xE1, "FF", -1),
        (VOLUME, 0xE0, "", 0),
        (VOLUME, 0xE3, "FFFF7F", 0x7FFFFF),
        (UNSIGNED, 0xE1, "FF", 255),
        (FLAGS, 0xE2, "FFFF", 65535),
        (FLAGS, 2, "4142", b"AB"),
        (CONTAINER, 3, "434241", b"CBA"),
        (WINDOW, 0xEB, "0102030405060708090A0B", bytes(range(1, 12))),
        (PROFILE, 3, "434241", b"CBA"),
        (MAKER, 3, "434241", "ABC"),
        (MAKER, 3, "030201", b"\x03\x02\x01"),
        (DATE, 0xE2, "0330", MeterTime("M", relative=3, raw=b"\x03\x30")),
        (DATE, 0xE2, "0340", None),
        (DATE, 3, "434241", "ABC"),
    ],
)
def test_variable_contents(header, lvar, raw, content):
    assert lvar_content(header, lvar, bytes.fromhex(raw)) == content


@pytest.mark.parametrize(
    ("header", "content", "lvar", "raw"),
    [
        (VOLUME, 0, 0xE1, "00"),
        (VOLUME, -1, 0xE1, "FF"),
        (VOLUME, 127, 0xE1, "7F"),
        (VOLUME, 128, 0xE2, "8000"),
        (VOLUME, 123456, 0xE3, "40E201"),
        (UNSIGNED, 0, 0xE1, "00"),
        (UNSIGNED, 255, 0xE1, "FF"),
        (UNSIGNED, 256, 0xE2, "0001"),
        (VOLUME, "ABC", 3, "434241"),
        (CONTAINER, b"CBA", 3, "434241"),
        (DATE, MeterTime("M", relative=3), 0xE2, "0330"),
    ],
)
def test_encoding_of_variable_contents(header, content, lvar, raw):
    assert encode_content(header, content) == (lvar, bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("dib", "vib", "raw"),
    [
        ("01", "13", "80"),
        ("02", "13", "0080"),
        ("03", "13", "000080"),
        ("04", "13", "00000080"),
        ("06", "13", "000000000080"),
        ("07", "13", "0000000000000080"),
        ("05", "13", "0000C07F"),
        ("0C", "13", "FFFFFFFF"),
        ("02", "6C", "FFFF"),
        ("03", "6D", "FFFFFF"),
        ("04", "6D", "80000000"),
        ("06", "6D", "008000000000"),
        ("02", "FD17", "FFFF"),
    ],
)
def test_invalid_marks(dib, vib, raw):
    """Data type C has all ones as its mark, which the decoder nevertheless reads as a value."""
    assert encode_content(header_of(bytes.fromhex(dib), bytes.fromhex(vib)), None) == (None, bytes.fromhex(raw))


# -- scaling -----------------------------------------------------------------------------------


@given(record_headers(), st.integers(-(1 << 127), 1 << 127))
def test_scaling_is_exact_and_turns_back(header, content):
    value = scaled(header, content)
    assert unscaled(header, value) == content
    if not header.scale2 and header.addend is None:
        assert value == Decimal(number_text(content, header.exponent))


@given(record_headers(st.just(5)), st.decimals(-(10**9), 10**9, places=3))
def test_scaling_of_reals(header, content):
    assert unscaled(header, scaled(header, content)) == content


@pytest.mark.parametrize(("vib", "value"), [("13", "0.0005"), ("06", "1500"), ("DB7B", "0.5"), ("FB68", "0.0001")])
def test_a_value_finer_than_the_record(vib, value):
    with pytest.raises(NotRepresentable) as caught:
        unscaled(header_of(b"\x04", bytes.fromhex(vib)), Decimal(value))
    assert caught.value.field == "value"


@pytest.mark.parametrize(
    ("mantissa", "exponent", "text"),
    [
        (2850427, -2, "28504.27"),
        (0, -2, "0.00"),
        (0, 3, "0"),
        (5, 3, "5000"),
        (-5, 3, "-5000"),
        (5, -3, "0.005"),
        (-5, -3, "-0.005"),
        (-12345, -3, "-12.345"),
        (123, -3, "0.123"),
        (1, -12, "0.000000000001"),
        (7, 0, "7"),
    ],
)
def test_number_text(mantissa, exponent, text):
    assert number_text(mantissa, exponent) == text


# -- shared data types -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector", shared("application.json", lambda row: "LVAR" in row["name"] or "type" in row["name"], "data_types")
)
def test_shared_data_types(vector):
    parsed = parse(octets(vector["record_hex"]))
    assert parsed.fault is None
    (record,) = parsed.records
    expected = vector["value"]
    if expected is None:
        assert (record.value, record.error) == (None, "value.invalid")
    elif isinstance(expected, dict) and "seconds" in expected:
        assert record.value.relative == expected["seconds"]
        assert record.raw[-1] == int(expected["control"], 16)
    elif isinstance(expected, dict):
        assert record.value.isoformat() == expected["t"]
    elif isinstance(record.value, MeterTime):
        assert record.value.isoformat().removesuffix("T00:00") == expected.removesuffix("T00:00")
    else:
        assert value_text(record) == expected
