"""Formats, compact frames and the store of formats."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl import format as formats
from openmetering.codec.apl.format import (
    CompactFrame,
    FormatStore,
    RecordFormat,
    StoredFormat,
    decode_format_frame,
    encode_format_frame,
    full_frame_crc,
    signature,
)
from openmetering.codec.apl.records import encode, parse
from openmetering.errors import BadChecksum, DecodeError, InputError, MalformedRecord, OmsError, OutOfRange, Truncated
from openmetering.wire.types import MeterTime
from tests.codec.apl.record_texts import value_text
from tests.strategies import record_octets
from tests.vector_files import assert_ours, assert_prefixes_raise, octets, own, shared

records_only = st.lists(record_octets(), max_size=6).map(b"".join)


def format_of(text):
    return RecordFormat.parse(bytes.fromhex(text))


# -- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/apl_formats.toml", "frames"))
def test_full_format_and_compact_frame(vector):
    full, headers, compact = octets(vector["full"]), octets(vector["headers"]), octets(vector["compact"])
    records = parse(full).records
    assert [value_text(record) for record in records] == vector["values"]
    record_format = RecordFormat.parse(headers)
    assert record_format == RecordFormat.of(records)
    assert record_format.octets == headers
    assert record_format.signature == signature(headers) == vector["signature"]
    assert full_frame_crc(full) == vector["full_frame_crc"]

    frame = CompactFrame.decode(compact)
    assert frame == CompactFrame.of(records)
    assert (frame.signature, frame.full_frame_crc) == (vector["signature"], vector["full_frame_crc"])
    assert frame.encode() == compact
    assert frame.expand(record_format) == full
    assert record_format.expand(frame.data) == full
    assert record_format.compact(records) == frame.data

    if "format" in vector:
        format_frame = octets(vector["format"])
        assert decode_format_frame(format_frame) == record_format
        assert encode_format_frame(record_format) == format_frame
        assert_prefixes_raise(decode_format_frame, format_frame, "apl")


@pytest.mark.parametrize("vector", own("spec/apl_formats.toml", "frames"))
def test_values_make_the_frame_again(vector):
    records = parse(octets(vector["full"])).records
    record_format = RecordFormat.of(records)
    assert record_format.encode([record.value for record in records]) == octets(vector["full"])


@pytest.mark.parametrize("vector", shared("application.json", lambda row: row["kind"] == "frame-set"))
def test_shared_frame_sets(vector):
    expected = vector["expected"]
    full = octets(expected["full_frame"])[1:]
    records = parse(full).records
    record_format = RecordFormat.of(records)
    assert f"{record_format.signature:04X}" == expected["format_signature"]
    frame = CompactFrame.decode(octets(expected["compact_frame"])[1:])
    assert frame.signature == record_format.signature
    expanded = frame.expand(record_format)
    assert expanded == octets(expected["expanded"] if "expanded" in expected else expected["full_frame"][2:])
    crc = expected["full_frame_crc"] if "full_frame_crc" in expected else expected["compact_full_frame_crc"]
    assert f"{frame.full_frame_crc:04X}" == crc
    rows = expected["compact_records"] if "compact_records" in expected else expected["records"]
    for record, row in zip(parse(expanded).records, rows, strict=True):
        assert (record.header.dib + record.header.vib, record.raw) == (octets(row["dib"] + row["vib"]), octets(row["raw"]))
        found = record.value
        assert found.isoformat() == row["value"] if isinstance(found, MeterTime) else found == Decimal(row["value"])
    if "format_frame" in expected:
        format_frame = octets(expected["format_frame"])[1:]
        assert decode_format_frame(format_frame) == record_format
        assert encode_format_frame(record_format) == format_frame


# -- formats -----------------------------------------------------------------------------------


@given(records_only)
def test_a_format_is_the_sequence_of_headers(data):
    records = parse(data).records
    record_format = RecordFormat.of(records)
    assert RecordFormat.parse(record_format.octets) == record_format
    assert [header.octets for header in record_format.headers] == [record.header.octets for record in records]
    assert record_format.signature == signature(record_format.octets)


@given(records_only)
def test_compact_frames_round_trip(data):
    records = parse(data).records
    frame = CompactFrame.of(records)
    assert CompactFrame.decode(frame.encode()) == frame
    record_format = RecordFormat.of(records)
    assert frame.expand(record_format) == data == encode(records)
    store = FormatStore()
    assert store.add(record_format)
    assert store.expand(frame) == data


@given(records_only, st.integers(0, 6))
def test_fillers_behind_the_data_are_dropped(data, count):
    record_format = RecordFormat.of(parse(data).records)
    compact = record_format.compact(parse(data).records)
    assert record_format.expand(compact + b"\x2f" * count) == data


@given(records_only, st.binary(max_size=30))
def test_any_data_raise_only_our_errors(data, compact):
    record_format = RecordFormat.of(parse(data).records)
    try:
        full = record_format.expand(compact)
    except DecodeError as error:
        assert_ours(error, "apl", compact, "compact.length", "record.lvar")
    else:
        assert RecordFormat.of(parse(full).records).octets == record_format.octets
        assert compact.startswith(record_format.compact(parse(full).records))


@given(st.binary(max_size=30))
def test_any_headers_raise_only_our_errors(data):
    try:
        record_format = RecordFormat.parse(data)
    except DecodeError as error:
        assert_ours(error, "apl", data)
    else:
        assert record_format.octets == data


def test_formats_are_values():
    first, second = format_of("04130406"), format_of("04130406")
    assert first == second
    assert hash(first) == hash(second)
    assert first != format_of("04060413")
    assert first != "04130406"
    assert repr(first) == f"RecordFormat({first.signature:04X}h, 2 records)"
    assert first.signature == signature(first.octets)
    with pytest.raises(AttributeError, match="RecordFormat has no attribute 'colour'"):
        first.colour  # noqa: B018


def test_headers_of_commands_mean_something_else():
    assert RecordFormat.parse(octets("00930F")).headers[0].error == "unimplemented action"
    assert RecordFormat.parse(octets("00930F"), uplink=False).headers[0].action == "get"


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        ("04", "compact.format", Truncated),
        ("0413 84", "compact.format", Truncated),
        ("0413 0493", "compact.format", Truncated),
        ("0413 027C0343", "record.truncated", Truncated),
        ("0F", "record.reserved_dif", MalformedRecord),
        ("0413 2F", "record.reserved_dif", MalformedRecord),
        ("81808080808080808080800013", "record.too_many_extensions", MalformedRecord),
    ],
)
def test_octets_that_are_no_headers(text, code, error):
    data = octets(text)
    with pytest.raises(DecodeError) as caught:
        RecordFormat.parse(data)
    assert (type(caught.value), caught.value.code) == (error, code)
    assert_ours(caught.value, "apl", data)


@pytest.mark.parametrize(
    ("headers", "data", "code", "offset"),
    [
        ("0413", "", "compact.length", 0),
        ("0413", "010203", "compact.length", 0),
        ("04130413", "0102030405", "compact.length", 4),
        ("0413", "0102030405", "compact.length", 4),
        ("0DFD11", "", "compact.length", 0),
        ("0DFD11", "0341", "compact.length", 0),
        ("04130DFD11", "01020304", "compact.length", 4),
        ("0DFD11", "CA", "record.lvar", 0),
        ("04130DFD11", "01020304FF", "record.lvar", 4),
    ],
)
def test_data_that_do_not_fill_the_format(headers, data, code, offset):
    with pytest.raises(DecodeError) as caught:
        format_of(headers).expand(bytes.fromhex(data))
    assert (caught.value.code, caught.value.offset, caught.value.layer) == (code, offset, "apl")


def test_a_row_has_as_many_values_as_the_format():
    with pytest.raises(ValueError, match="zip"):
        format_of("04130406").encode([Decimal(1)])


# -- frames ------------------------------------------------------------------------------------


def test_a_compact_frame_needs_both_crcs():
    assert_prefixes_raise(CompactFrame.decode, octets("313B42A6"), "apl")
    assert CompactFrame.decode(octets("313B42A6")).data == b""


def test_the_full_frame_crc_guards_the_expansion():
    frame = CompactFrame.decode(octets("313B42A6D2042E163424"))
    with pytest.raises(BadChecksum) as caught:
        frame.expand(format_of("02020215022A"))
    assert (caught.value.code, caught.value.layer, caught.value.offset) == ("compact.crc", "apl", 2)


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("", "frame.truncated", 0),
        ("08313B", "frame.truncated", 0),
        ("08313B02020215022A"[:-2], "frame.truncated", 0),
        ("00FFFF", "frame.truncated", 0),
        ("01FFFF", "frame.truncated", 0),
        ("08303B02020215022A", "compact.signature", 1),
        ("08313B02020215022B", "compact.signature", 1),
    ],
)
def test_format_frames_that_are_none(text, code, offset):
    with pytest.raises(DecodeError) as caught:
        decode_format_frame(bytes.fromhex(text))
    assert (caught.value.code, caught.value.offset, caught.value.layer) == (code, offset, "apl")


@given(records_only)
def test_format_frames_round_trip(data):
    record_format = RecordFormat.of(parse(data).records)
    if len(record_format.octets) <= 253:
        assert decode_format_frame(encode_format_frame(record_format)) == record_format


def test_a_format_frame_holds_253_octets_of_headers():
    assert decode_format_frame(encode_format_frame(RecordFormat.parse(octets("0413") * 126))).signature
    with pytest.raises(OutOfRange) as caught:
        encode_format_frame(RecordFormat.parse(octets("0413") * 127))
    assert caught.value.value == 254


def test_an_empty_format_frame():
    empty = RecordFormat([])
    assert decode_format_frame(encode_format_frame(empty)) == empty
    assert empty.expand(b"") == b""


# -- the store ---------------------------------------------------------------------------------


def test_the_store_learns_once():
    store = FormatStore()
    record_format = format_of("02020215022A")
    assert (len(store), store.changed, store.find(0x3B31)) == (0, False, ())
    assert store.add(record_format, "a full frame") is True
    assert store.add(format_of("02020215022A"), "another one") is False
    assert (len(store), store.changed, store.find(0x3B31)) == (1, True, (record_format,))
    assert list(store) == [record_format]
    assert store.stored() == (StoredFormat("3B31", "02020215022A", "a full frame"),)


def test_a_store_of_stored_formats_is_unchanged():
    store = FormatStore([StoredFormat("3B31", "02020215022A", "a file"), StoredFormat("", "0413")])
    assert (len(store), store.changed) == (2, False)
    again = FormatStore(store.stored())
    assert again.stored() == store.stored()
    assert store.expand(CompactFrame.decode(octets("313B42A6D2042E163423"))) == octets("0202D20402152E16022A3423")


@pytest.mark.parametrize(
    ("headers", "error"), [("xyz", InputError), ("0", InputError), ("04", Truncated), ("2F", MalformedRecord)]
)
def test_a_file_with_wrong_headers(headers, error):
    with pytest.raises(OmsError) as caught:
        FormatStore([StoredFormat("0000", headers)])
    assert type(caught.value) is error
    assert caught.value.code in ("input.hex", "compact.format", "record.reserved_dif")


def test_an_unknown_signature():
    with pytest.raises(MalformedRecord) as caught:
        FormatStore().expand(CompactFrame.decode(octets("313B42A6D2042E163423")))
    assert (caught.value.code, caught.value.layer, caught.value.offset) == ("compact.unknown_format", "apl", 0)
    assert "3B31h" in caught.value.message


def test_formats_that_share_a_signature_are_told_apart_by_the_full_frame_crc(monkeypatch):
    monkeypatch.setattr(formats, "signature", lambda headers: 0x1234)
    volumes, energies = format_of("04130413"), format_of("04030403")
    store = FormatStore()
    assert store.add(volumes)
    assert store.add(energies)
    assert store.find(0x1234) == (volumes, energies)
    records = parse(octets("040301000000 040302000000")).records
    frame = CompactFrame.of(records)
    assert store.expand(frame) == encode(records)
    strange = CompactFrame(0x1234, frame.full_frame_crc ^ 1, frame.data)
    with pytest.raises(BadChecksum) as caught:
        store.expand(strange)
    assert caught.value.code == "compact.crc"


def test_a_full_store_learns_nothing_more(monkeypatch):
    monkeypatch.setattr(formats, "STORE_LIMIT", 2)
    store = FormatStore()
    assert [store.add(format_of(text)) for text in ("0413", "0403", "042B")] == [True, True, False]
    assert len(store) == 2
    assert store.find(format_of("042B").signature) == ()


@given(st.lists(records_only, max_size=5))
def test_a_store_survives_its_file(messages):
    store = FormatStore()
    for data in messages:
        store.add(RecordFormat.of(parse(data).records), "test")
    again = FormatStore(store.stored())
    assert sorted(item.octets for item in again) == sorted(item.octets for item in store)
    for data in messages:
        frame = CompactFrame.of(parse(data).records)
        full = again.expand(frame)  # two messages of zero octets only have the same CRCs
        assert full == data or CompactFrame.of(parse(full).records).full_frame_crc == frame.full_frame_crc
        assert full == data or not data.strip(b"\x00")
