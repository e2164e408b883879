"""The general record parser and its way back, against vectors and for any octets."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.apl.header import LVAR, MAX_EXTENSIONS, header_of
from openmetering.codec.apl.records import (
    ParsedRecords,
    Record,
    encode,
    is_number,
    make,
    parse,
    read_header,
)
from openmetering.codec.apl.values import number_text, scaled
from openmetering.errors import DecodeError, EncodeError, MalformedRecord, NotRepresentable, OutOfRange, Truncated
from openmetering.tables import FAULTS
from openmetering.wire.types import MeterTime
from tests.codec.apl.record_texts import said, stated
from tests.strategies import chain, contents, dibs, messages, record_headers, record_octets, vibs
from tests.vector_files import assert_ours, octets, own

VOLUME = header_of(b"\x04", b"\x13")


def one(text, *, uplink=True):
    """The only record of octets without a fault."""
    parsed = parse(bytes.fromhex(text), uplink=uplink)
    assert parsed.fault is None
    (record,) = parsed.records
    return record


# -- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/apl_records.toml", "record"))
def test_both_directions(vector):
    data = octets(vector["hex"])
    uplink = not vector.get("down", False)
    parsed = parse(data, uplink=uplink)
    assert (parsed.fault, parsed.rest, parsed.offsets, parsed.manufacturer_data) == (None, b"", [0], None)
    assert [fault.code for fault in parsed.warnings] == ([vector["warning"]] if "warning" in vector else [])
    record = parsed.records[0]
    assert said(record) == stated(vector)
    assert record.octets() == encode(parsed.records) == data
    if vector.get("canonical", True):
        assert make(record.header, record.value).octets() == data
    elif record.value is not None:
        remade = make(record.header, record.value)
        assert parse(remade.octets(), uplink=uplink).records[0].value == record.value


@pytest.mark.parametrize("vector", own("spec/apl_records.toml", "record"))
def test_one_octet_shorter_each_time(vector):
    data = octets(vector["hex"])
    uplink = not vector.get("down", False)
    for end in range(1, len(data)):
        parsed = parse(data[:end], uplink=uplink)
        assert parsed.records == []
        assert parsed.rest == data[:end]
        assert_ours(parsed.fault, "apl", data[:end])
        assert parsed.fault.code == "record.truncated"
        assert isinstance(parsed.fault, Truncated)


@pytest.mark.parametrize("vector", own("malformed/apl_records.toml", "message"))
def test_malformed(vector):
    data = octets(vector["hex"])
    parsed = parse(data)
    fault = parsed.fault
    assert_ours(fault, "apl", data)
    assert (fault.code, fault.offset) == (vector["code"], vector["offset"])
    assert fault.code in FAULTS
    assert (len(parsed.records), parsed.rest) == (vector["records"], octets(vector["rest"]))
    assert encode(parsed.records) + parsed.rest == data
    assert parsed.manufacturer_data is None


# -- structure ---------------------------------------------------------------------------------


@given(messages())
def test_messages_come_apart_and_together(message):
    parts, block = message
    data = b"".join(parts) + block
    parsed = parse(data)
    assert parsed.fault is None
    assert parsed.rest == b""
    texts = [part for part in parts if part[0] != 0x2F]
    assert [record.octets() for record in parsed.records] == texts
    assert encode(parsed.records) == b"".join(texts)
    at, places = 0, []
    for part in parts:
        if part[0] != 0x2F:
            places.append(at)
        at += len(part)
    assert parsed.offsets == places
    assert parsed.manufacturer_data == (block[1:] if block else None)
    assert parsed.more_follows is block.startswith(b"\x1f")


@given(messages(), st.integers(0, 20))
def test_parsing_may_start_anywhere(message, before):
    parts, block = message
    data = b"\xee" * before + b"".join(parts) + block
    here, there = parse(data, before), parse(data[before:])
    assert here.records == there.records
    assert [offset - before for offset in here.offsets] == there.offsets


@given(st.binary(max_size=60), st.booleans())
def test_any_octets_lose_nothing_and_never_raise(data, uplink):
    parsed = parse(data, uplink=uplink)
    if parsed.fault is None:
        assert parsed.rest == b""
    else:
        assert_ours(parsed.fault, "apl", data)
        assert data.endswith(parsed.rest)
        assert parsed.fault.offset >= len(data) - len(parsed.rest)
    for offset, record in zip(parsed.offsets, parsed.records, strict=True):
        text = record.octets()
        assert data[offset : offset + len(text)] == text
        assert (record.value is None) or record.error is None
        assert str(record)


@given(st.lists(record_octets(), min_size=1, max_size=5), st.data())
def test_a_cut_message_keeps_its_whole_records(parts, draws):
    data = b"".join(parts)
    end = draws.draw(st.integers(0, len(data)))
    parsed = parse(data[:end])
    whole, at = 0, 0
    for part in parts:
        at += len(part)
        whole += at <= end
    assert [record.octets() for record in parsed.records[:whole]] == parts[:whole]
    if end < len(data) and parsed.fault is not None:
        assert_ours(parsed.fault, "apl", data[:end])


def test_values_behind_an_unknown_record_are_kept():
    """Other decoders stop at the first code they do not know."""
    parsed = parse(octets("016F05 02FDFC012A00 0413E8030000 01FB0701 426CFF0C"))
    assert parsed.fault is None
    assert [record.header.known for record in parsed.records] == [False, False, True, False, True]
    assert parsed.records[2].value == Decimal("1")
    assert parsed.records[4].value.isoformat() == "2007-12-31"
    assert parsed.records[0].raw == b"\x05"


def test_a_record_error_does_not_touch_its_neighbours():
    parsed = parse(octets("01931605 01135A"))
    assert [record.error for record in parsed.records] == ["record.error.data-overflow", None]
    assert parsed.records[1].value == Decimal("0.090")


def test_fillers_stand_anywhere_between_records():
    parsed = parse(octets("2F2F 011305 2F 011306 2F2F2F"))
    assert [record.value for record in parsed.records] == [Decimal("0.005"), Decimal("0.006")]
    assert parsed.offsets == [2, 6]


@pytest.mark.parametrize(
    ("text", "data", "more"),
    [
        ("0113050F010203", "010203", False),
        ("0113051F", "", True),
        ("0F", "", False),
        ("0F0C13FF", "0C13FF", False),
        ("2F1F2F2F", "2F2F", True),
    ],
)
def test_manufacturer_blocks(text, data, more):
    parsed = parse(bytes.fromhex(text))
    assert (parsed.manufacturer_data, parsed.more_follows, parsed.fault) == (bytes.fromhex(data), more, None)
    assert len(parsed.records) == text.startswith("011305")


def test_global_readout_request():
    parsed = parse(b"\x7f", uplink=False)
    assert (parsed.global_readout, parsed.records, parsed.fault) == (True, [], None)
    parsed = parse(octets("011305 7F 011306"))
    assert parsed.global_readout
    assert len(parsed.records) == 2
    assert not parse(b"").global_readout


@pytest.mark.parametrize("dif", [0x3F, 0x4F, 0x5F, 0x6F, 0x8F, 0x9F, 0xAF, 0xFF])
def test_reserved_special_functions_end_the_parse(dif):
    parsed = parse(octets("011305") + bytes((dif,)) + octets("011306"))
    assert (parsed.fault.code, parsed.fault.offset) == ("record.reserved_dif", 3)
    assert len(parsed.records) == 1
    assert parsed.rest == bytes((dif,)) + octets("011306")


def test_nothing_is_no_record():
    assert parse(b"") == ParsedRecords([], [], warnings=[])
    assert parse(b"\x2f" * 16).records == []


@pytest.mark.parametrize("count", range(14))
def test_ten_dife_and_no_more(count):
    data = chain(0x01, *[0] * count) + b"\x13\x05"
    parsed = parse(data)
    if count <= MAX_EXTENSIONS:
        assert parsed.fault is None
        assert parsed.records[0].value == Decimal("0.005")
        assert parsed.records[0].header.final_dife is (count > 0)
    else:
        assert (parsed.fault.code, parsed.fault.offset) == ("record.too_many_extensions", 11)
        assert isinstance(parsed.fault, MalformedRecord)


@pytest.mark.parametrize("count", range(14))
def test_ten_vife_and_no_more(count):
    data = b"\x01" + chain(0x13, *[0x3B] * count) + b"\x05"
    parsed = parse(data)
    if count <= MAX_EXTENSIONS:
        assert parsed.records[0].qualifiers == ("forward",) * count
    else:
        assert (parsed.fault.code, parsed.fault.offset) == ("record.too_many_extensions", 12)


@pytest.mark.parametrize(
    ("lvar", "size"),
    [
        *[(code, code) for code in range(0xC0)],
        *[(0xC0 + n, n) for n in range(10)],
        *[(0xD0 + n, n) for n in range(10)],
        *[(0xE0 + n, n) for n in range(16)],
        *[(0xF0 + n, 16 + 4 * n) for n in range(5)],
        (0xF5, 48),
        (0xF6, 64),
    ],
)
def test_records_of_any_length(lvar, size):
    data = octets("0D13") + bytes((lvar,)) + bytes(at + 1 & 0x7F for at in range(size))
    parsed = parse(data + octets("011305"))
    assert parsed.fault is None
    record, behind = parsed.records
    assert (record.lvar, len(record.raw)) == (lvar, size)
    assert record.octets() == data
    assert behind.value == Decimal("0.005")
    if lvar >= 0xE0:
        assert record.content == int.from_bytes(record.raw, "little", signed=True)
        assert Decimal(record.number_text()) == scaled(record.header, record.content)
    elif lvar < 0xC0:
        assert record.content == record.raw[::-1].decode("latin-1")


@pytest.mark.parametrize("lvar", [*range(0xCA, 0xD0), *range(0xDA, 0xE0), *range(0xF7, 0x100)])
def test_reserved_lvar(lvar):
    parsed = parse(octets("0D13") + bytes((lvar,)) + bytes(70))
    assert (parsed.fault.code, parsed.fault.offset, parsed.records) == ("record.lvar", 2, [])


@given(st.integers(0, 0xBF))
def test_text_is_as_long_as_its_octet_says(size):
    text = "".join(chr(0x41 + at % 26) for at in range(size))
    record = make(header_of(b"\x0d", b"\xfd\x11"), text)
    assert record.lvar == size
    assert parse(record.octets()).records[0].value == text


# -- headers alone -----------------------------------------------------------------------------


@given(dibs(), vibs(), st.binary(max_size=5))
def test_a_header_alone(dib, vib, behind):
    data = b"\xee" + dib + vib[0]
    header, end = read_header(data + behind, 1)
    assert end == len(data)
    assert (header.dib, header.vib, header.text) == (dib, vib[0], vib[1])
    assert header.octets == dib + vib[0]


@pytest.mark.parametrize("dif", range(0x0F, 0x100, 0x10))
def test_special_functions_are_no_headers(dif):
    with pytest.raises(MalformedRecord) as caught:
        read_header(bytes((dif, 0x13, 0x05)), 0)
    assert (caught.value.code, caught.value.offset) == ("record.reserved_dif", 0)


@pytest.mark.parametrize("text", ["", "04", "84", "0493", "04FD"])
def test_a_header_cut_short(text):
    with pytest.raises(IndexError):
        read_header(bytes.fromhex(text), 0)


# -- plain text --------------------------------------------------------------------------------


@given(
    st.text(alphabet="ABCabc%/#°²", min_size=1, max_size=10),
    st.lists(st.integers(0, 0x7F).filter(lambda code: code not in (0x7C, 0x7F)), max_size=3),
    st.binary(min_size=2, max_size=2),
)
def test_plain_text_in_both_orders(text, extensions, data):
    """EN 13757-3 puts the text behind the extensions, some makers put it in front of them."""
    tail = bytes((len(text),)) + text.encode("latin-1")[::-1]
    standard = b"\x02" + chain(0x7C, *extensions) + tail + data
    parsed = parse(standard)
    assert (parsed.fault, parsed.warnings) == (None, [])
    assert parsed.records[0].header.text == text
    if not extensions:
        return
    in_front = b"\x02\xfc" + tail + chain(*extensions) + data
    quirk = parse(in_front)
    assert quirk.fault is None
    assert [(fault.code, fault.layer, fault.offset) for fault in quirk.warnings] == [("record.text_before_extension", "apl", 1)]
    assert quirk.records[0].header.text == text
    assert quirk.records[0].octets() == in_front
    assert said(quirk.records[0]) == said(parsed.records[0])


def test_standard_order_wins_where_both_would_do():
    data = octets("02FC1F20") + b" " * 0x20 + octets("0500")
    parsed = parse(data)
    assert parsed.warnings == []
    assert parsed.records[0].header.text == " " * 0x20
    assert parsed.records[0].octets() == data


# -- making records ----------------------------------------------------------------------------


@given(st.data(), st.booleans())
def test_what_is_made_reads_back(draws, uplink):
    header = draws.draw(record_headers(uplink=uplink))
    content = draws.draw(contents(header))
    value = scaled(header, content) if isinstance(content, int | Decimal) else content
    record = make(header, value)
    parsed = parse(record.octets(), uplink=uplink)
    assert (parsed.fault, len(parsed.records)) == (None, 1)
    again = parsed.records[0]
    assert (again.header.octets, again.raw, again.lvar) == (header.octets, record.raw, record.lvar)
    if isinstance(content, MeterTime):
        assert replace(again.content, raw=b"") == replace(content, raw=b"")
    else:
        assert again.content == content
    assert again.octets() == record.octets()


@given(record_octets())
def test_a_value_read_and_made_again_is_the_same_value(data):
    record = parse(data).records[0]
    if record.error is not None or record.value is None:
        return
    wide = isinstance(record.content, int) and record.lvar is not None and len(record.raw) > 14
    try:
        remade = make(record.header, record.value)
    except EncodeError:
        if wide or isinstance(record.content, MeterTime):  # more than 15 octets; a year without two-digit coding
            return
        raise
    again = parse(remade.octets()).records[0]
    if isinstance(record.content, MeterTime):
        assert again.value.isoformat() == record.value.isoformat()
    else:
        assert again.value == record.value
        assert again.number_text() == record.number_text() or isinstance(record.content, Decimal)


@given(st.data())
def test_no_value_becomes_the_invalid_mark(draws):
    header = draws.draw(record_headers(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14])))
    if header.kind in ("address", "unsigned"):  # every octet of these is a value
        return
    record = make(header, None)
    again = parse(record.octets()).records[0]
    assert again.value is None
    assert again.error is not None
    assert again.number_text() is None


@pytest.mark.parametrize(
    ("dib", "vib", "value", "error"),
    [
        ("04", "13", Decimal("0.0001"), NotRepresentable),
        ("01", "13", Decimal("0.128"), OutOfRange),
        ("01", "FD17", 256, OutOfRange),
        ("01", "FD17", -1, OutOfRange),
        ("09", "13", Decimal("0.1"), OutOfRange),
        ("0A", "13", Decimal("-1"), OutOfRange),
        ("05", "13", Decimal("1E+40"), OutOfRange),
        ("05", "13", Decimal("NaN"), OutOfRange),
        ("04", "13", Decimal("NaN"), OutOfRange),
        ("04", "13", Decimal("Infinity"), OutOfRange),
        ("04", "13", Decimal("1E+999999"), OutOfRange),
        ("04", "13", Decimal("1E-999999"), OutOfRange),
        ("04", "13", "text", NotRepresentable),
        ("04", "13", b"octets", NotRepresentable),
        ("05", "13", "text", NotRepresentable),
        ("00", "13", 0, NotRepresentable),
        ("02", "6C", 5, NotRepresentable),
        ("02", "6C", MeterTime("F", 2024, 1, 1, 0, 0), NotRepresentable),
        ("02", "6C", MeterTime("G", 2100, 1, 1), OutOfRange),
        ("07", "79", "no address", NotRepresentable),
        ("0D", "13", None, NotRepresentable),
        ("0D", "13", 1 << 130, OutOfRange),
        ("0D", "FD11", "\u20ac", NotRepresentable),
        ("0D", "FD11", "x" * 192, OutOfRange),
        ("0D", "FD3B", bytes(192), OutOfRange),
    ],
)
def test_values_that_do_not_fit(dib, vib, value, error):
    with pytest.raises(EncodeError) as caught:
        make(header_of(bytes.fromhex(dib), bytes.fromhex(vib)), value)
    assert type(caught.value) is error
    assert caught.value.field


def test_numbers_beyond_the_digits_of_a_decimal_context_stay_exact():
    """Neither the 28 digits of the default context nor a context of the caller may change a value."""
    text = "1" + "0" * 27 + ".001"
    wide = make(header_of(b"\x0d", b"\x13"), Decimal(text))
    assert (wide.content, wide.number_text()) == (10**30 + 1, text)
    factor = "07FB68FFFFFFFFFFFFFF7F"
    with localcontext() as context:
        context.prec = 3
        record = one("0E13563412907856")
        assert str(record.value) == "567890123.456"
        assert make(record.header, record.value).octets() == record.octets()
        assert one("05FD49CDCC6643").number_text() == "230.8"
        value = one(factor).value
        remade = make(one(factor).header, value)
    assert remade.octets() == bytes.fromhex(factor)
    assert str(value) == "2251799813685247.999755859375"


# -- what a record shows -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0C1427048502", "volume: 28504.27 m3"),
        ("426CFF0C", "date: 2007-12-31"),
        ("0DFD1103434241", "customer: ABC"),
        ("0DFD3B03010203", "wireless M-Bus container: 010203"),
        ("01931605", "volume: record.error.data-overflow m3"),
        ("0A5A23C1", "flow temperature: value.invalid °C"),
        ("8006FD21", "last storage: -"),
        ("0DFD1100", "customer: -"),
        ("02FB680018", "HCA rating factor K: 1.5"),
        ("0DFD11C101", "customer: 1"),
    ],
)
def test_one_line_of_text(text, shown):
    assert str(one(text)) == shown


def test_numbers_have_exactly_the_digits_sent():
    assert one("0C1400000000").number_text() == "0.00"
    assert one("0C1300010000").number_text() == "0.100"
    assert one("0C0600010000").number_text() == "100000"
    assert one("0413FFFFFFFF").number_text() == "-0.001"
    assert one("426CFF0C").number_text() is None
    assert one("041300000080").number_text() is None
    assert one("0DFD1103434241").number_text() is None


@given(st.integers(-(10**20), 10**20), st.integers(-12, 9))
def test_number_text_is_the_number(mantissa, exponent):
    text = number_text(mantissa, exponent)
    assert Decimal(text) == Decimal(mantissa).scaleb(exponent)
    assert "E" not in text
    if exponent < 0:
        assert len(text.partition(".")[2]) == -exponent


@given(record_octets())
def test_every_number_is_shown_as_it_is(data):
    record = parse(data).records[0]
    text = record.number_text()
    if text is None:
        assert not isinstance(record.value, Decimal)
    else:
        assert Decimal(text) == record.value
        assert "E" not in text


@pytest.mark.parametrize(
    ("dib", "number"),
    [(0, False), (1, True), (5, True), (8, False), (9, True), (12, True), (13, False), (14, True)],
)
def test_is_number(dib, number):
    assert is_number(header_of(bytes((dib,)), b"\x13")) is number


def test_dates_are_no_numbers():
    assert not is_number(header_of(b"\x02", b"\x6c"))
    assert is_number(header_of(b"\x01", b"\x6c"))


def test_records_are_values():
    first, second = one("0C1427048502"), one("0C1427048502")
    assert first == second
    assert first.header is second.header
    assert Record(VOLUME, b"\x00\x00\x00\x00", 0) != Record(VOLUME, b"\x01\x00\x00\x00", 1)


# -- fixed lengths against the general rule ----------------------------------------------------


@given(st.integers(0, 14).filter(lambda field: field != LVAR), st.binary(max_size=9))
def test_data_fields_have_their_length(data_field, data):
    sizes = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
    size = sizes[data_field]
    parsed = parse(bytes((data_field, 0x13)) + data)
    if len(data) < size:
        assert isinstance(parsed.fault, DecodeError)
        assert parsed.records == []
    else:
        assert parsed.records[0].raw == data[:size]
