"""Record headers: places of the DIB, meaning of the VIB, the shortest DIB for given numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl import header as headers
from openmetering.codec.apl.header import (
    DATA_LENGTH,
    FUNCTIONS,
    LVAR,
    MAX_EXTENSIONS,
    RecordHeader,
    cached_header,
    encode_dib,
    header_of,
)
from openmetering.errors import NotRepresentable
from openmetering.tables import ACTIONS, RECORD_ERRORS, VIF_FB, VIF_FD, VIF_FDFD, VIF_MAIN, VIFE, VIFE_FC
from tests.strategies import chain, dibs, vibs
from tests.vector_files import shared


def header(text, *, dib="04", uplink=True, plain=None):
    return header_of(bytes.fromhex(dib), bytes.fromhex(text), plain, uplink=uplink)


# -- DIB ---------------------------------------------------------------------------------------


@given(dibs())
def test_places_by_the_rule(dib):
    """Function bits 5..4 of the DIF; storage 1 + 4n, tariff 2n, subunit n bits from DIFE n on."""
    found = header_of(dib, b"\x13")
    dif, extensions = dib[0], dib[1:]
    assert (found.data_field, found.function) == (dif % 16, dif // 16 % 4)
    storage = (dif // 64) % 2 + sum((octet % 16) * 2 * 16**n for n, octet in enumerate(extensions))
    tariff = sum((octet // 16 % 4) * 4**n for n, octet in enumerate(extensions))
    subunit = sum((octet // 64 % 2) * 2**n for n, octet in enumerate(extensions))
    assert (found.storage, found.tariff, found.subunit) == (storage, tariff, subunit)
    assert found.final_dife is (len(dib) > 1 and dib[-1] == 0)
    assert found.length == DATA_LENGTH[dif % 16]


@pytest.mark.parametrize(
    ("dib", "function", "storage", "tariff", "subunit"),
    [
        ("04", "instantaneous", 0, 0, 0),
        ("44", "instantaneous", 1, 0, 0),
        ("14", "maximum", 0, 0, 0),
        ("24", "minimum", 0, 0, 0),
        ("34", "error", 0, 0, 0),
        ("8410", "instantaneous", 0, 1, 0),
        ("8440", "instantaneous", 0, 0, 1),
        ("848040", "instantaneous", 0, 0, 2),
        ("8B60", "instantaneous", 0, 2, 1),
        ("CC8001", "instantaneous", 33, 0, 0),
        ("8404", "instantaneous", 8, 0, 0),
        ("C406", "instantaneous", 13, 0, 0),
        ("849001", "instantaneous", 32, 1, 0),
        ("848110", "instantaneous", 2, 4, 0),
    ],
)
def test_places(dib, function, storage, tariff, subunit):
    found = header("13", dib=dib)
    assert (FUNCTIONS[found.function], found.storage, found.tariff, found.subunit) == (function, storage, tariff, subunit)


@given(
    st.integers(0, 14),
    st.integers(0, 3),
    st.integers(0, 2**41 - 1) | st.integers(0, 40),
    st.integers(0, 2**20 - 1) | st.integers(0, 3),
    st.integers(0, 2**10 - 1) | st.integers(0, 3),
)
def test_shortest_dib(data_field, function, storage, tariff, subunit):
    dib = encode_dib(data_field, function=function, storage=storage, tariff=tariff, subunit=subunit)
    found = header_of(dib, b"\x13")
    assert (found.data_field, found.function) == (data_field, function)
    assert (found.storage, found.tariff, found.subunit) == (storage, tariff, subunit)
    assert not found.final_dife
    assert len(dib) <= 1 + MAX_EXTENSIONS
    assert len(dib) == 1 or dib[-1] != 0
    if len(dib) <= MAX_EXTENSIONS:
        register = encode_dib(data_field, function=function, storage=storage, tariff=tariff, subunit=subunit, final_dife=True)
        again = header_of(register, b"\x13")
        assert again.final_dife
        assert (again.storage, again.tariff, again.subunit) == (storage, tariff, subunit)
        assert len(register) == len(dib) + 1


@given(dibs())
def test_the_shortest_dib_is_not_longer(dib):
    found = header_of(dib, b"\x13")
    short = encode_dib(
        found.data_field, function=found.function, storage=found.storage, tariff=found.tariff, subunit=found.subunit
    )
    assert len(short) <= len(dib)


@pytest.mark.parametrize(
    "numbers",
    [
        {"data_field": 15},
        {"data_field": 16},
        {"data_field": -1},
        {"function": 4},
        {"function": -1},
        {"storage": -1},
        {"tariff": -1},
        {"subunit": -1},
        {"storage": 1 << 41},
        {"tariff": 1 << 20},
        {"subunit": 1 << 10},
        {"storage": (1 << 41) - 1, "final_dife": True},
    ],
    ids=str,
)
def test_numbers_that_no_dib_holds(numbers):
    with pytest.raises(NotRepresentable) as caught:
        encode_dib(**{"data_field": 4, **numbers})
    assert caught.value.field == "dib"


# -- true VIF ----------------------------------------------------------------------------------


def matches(found, entry):
    assert found.known
    assert (found.quantity, found.unit, found.exponent) == (entry.quantity, entry.unit, entry.exponent)
    assert (found.scale2, found.data_type) == (entry.scale2, entry.data_type)


@pytest.mark.parametrize("code", [code for code in range(0x80) if code not in (0x7B, 0x7C, 0x7D, 0x7F)])
def test_primary_codes(code):
    found, entry = header_of(b"\x04", bytes((code,))), VIF_MAIN[code]
    if entry is None:
        assert (found.quantity, found.known) == ("unknown", False)
    else:
        matches(found, entry)


@pytest.mark.parametrize(
    ("prefix", "table"), [(b"\xfb", VIF_FB), (b"\xfd", VIF_FD), (b"\xfd\xfd", VIF_FDFD)], ids=["FB", "FD", "FDFD"]
)
def test_extended_codes(prefix, table):
    for code in range(0x80):
        if prefix == b"\xfd" and code == 0x7D:
            continue
        found, entry = header_of(b"\x04", prefix + bytes((code,))), table[code]
        if entry is None:
            assert (found.quantity, found.known) == ("unknown", False)
        else:
            matches(found, entry)
        with_extension = header_of(b"\x04", prefix + bytes((code | 0x80, 0x3B)))
        assert with_extension.quantity == found.quantity
        assert with_extension.qualifiers == ("forward",)


@pytest.mark.parametrize("code", [0x7B, 0x7D])
def test_a_prefix_without_code_is_unknown(code):
    assert not header_of(b"\x04", bytes((code,))).known


# EN 13757-3 (clause to confirm): code, quantity, unit, power of ten
SCALES = [
    ("00", "energy", "Wh", -3),
    ("07", "energy", "Wh", 4),
    ("08", "energy", "J", 0),
    ("0F", "energy", "J", 7),
    ("10", "volume", "m3", -6),
    ("17", "volume", "m3", 1),
    ("18", "mass", "kg", -3),
    ("28", "power", "W", -3),
    ("37", "power", "J/h", 7),
    ("3F", "volume flow", "m3/h", 1),
    ("40", "volume flow", "m3/min", -7),
    ("48", "volume flow", "m3/s", -9),
    ("50", "mass flow", "kg/h", -3),
    ("58", "flow temperature", "°C", -3),
    ("5F", "return temperature", "°C", 0),
    ("60", "temperature difference", "K", -3),
    ("67", "external temperature", "°C", 0),
    ("68", "pressure", "bar", -3),
    ("FB00", "energy", "MWh", -1),
    ("FB09", "energy", "GJ", 0),
    ("FB1A", "relative humidity", "%", -1),
    ("FB1B", "relative humidity", "%", 0),
    ("FB2C", "frequency", "Hz", -3),
    ("FB2F", "frequency", "Hz", 0),
    ("FD40", "voltage", "V", -9),
    ("FD4F", "voltage", "V", 6),
    ("FD50", "current", "A", -12),
    ("FD5F", "current", "A", 3),
]


@pytest.mark.parametrize(("vib", "quantity", "unit", "exponent"), SCALES, ids=[row[0] for row in SCALES])
def test_scales(vib, quantity, unit, exponent):
    found = header(vib)
    assert (found.quantity, found.unit, found.exponent) == (quantity, unit, exponent)


def scale_range(row):
    return "vib_first" in row and not row.get("text")


@pytest.mark.parametrize("row", shared("application.json", scale_range, "vib_types"))
def test_shared_vib_types(row):
    """The bytes of every VIB type of OMS Annex B give its printed unit and scale."""
    for vib, exponent in ((row["vib_first"], row["exp_first"]), (row["vib_last"], row["exp_last"])):
        found = header(vib)
        assert found.known
        assert found.exponent == exponent


@pytest.mark.parametrize("row", shared("application.json", lambda row: row.get("text"), "vib_types"))
def test_shared_plain_text_types(row):
    found = header_of(b"\x04", bytes.fromhex(row["vib_first"]), row["text"])
    assert (found.quantity, found.unit, found.text) == ("plain text", row["text"], row["text"])


@pytest.mark.parametrize("row", shared("application.json", lambda row: row["hex"], "vib_types_jmbus"))
def test_shared_independent_scales(row):
    data = bytes.fromhex(row["hex"])
    size = len(bytes.fromhex(row["vib"]))
    found = header_of(data[:1], data[1 : 1 + size])
    # the list counts in Wh, W and J, the VIF table in MWh, MW and GJ
    assert found.exponent + {"MWh": 6, "MW": 6, "GJ": 9, "GJ/h": 9}.get(found.unit, 0) == row["exponent"]
    assert found.known


# -- extensions --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in range(0x20, 0x7C) if code not in range(0x70, 0x7C)])
def test_qualifying_extensions(code):
    found, entry = header_of(b"\x04", bytes((0x93, code))), VIFE[code]
    if entry is None:
        assert (found.known, found.qualifiers) == (False, (f"VIFE {code:02X}",))
        return
    assert found.known
    assert found.qualifiers == (entry.name,)
    assert found.quantity == "volume"
    unit = {"date": "", "count": "", "obis": "", "duration": entry.unit}.get(entry.kind, "m3" + entry.unit)
    assert found.unit == unit
    assert found.exponent == (0 if entry.kind in ("date", "count", "duration", "obis") else -3)
    assert (found.kind == "date") is (entry.kind == "date")
    assert (found.kind == "unsigned") is (entry.kind == "obis")


@pytest.mark.parametrize("code", range(0x80))
def test_second_table_of_extensions(code):
    found, entry = header_of(b"\x04", bytes((0x93, 0xFC, code))), VIFE_FC[code]
    if entry is None:
        assert (found.known, found.qualifiers) == (False, (f"VIFE FC {code:02X}",))
    elif entry.kind == "type":
        assert (found.kind, found.qualifiers) == ("unsigned", ())
    else:
        assert found.qualifiers == (entry.name,)


@pytest.mark.parametrize("place", range(8))
def test_multiplying_extensions(place):
    assert header_of(b"\x04", bytes((0x93, 0x70 + place))).exponent == -3 + place - 6
    assert header_of(b"\x04", bytes((0x93, 0xFD, 0x70 + place))).exponent == -3 + 3 + place - 6


@pytest.mark.parametrize("place", range(4))
def test_offsetting_extensions(place):
    found = header_of(b"\x04", bytes((0xDB, 0x78 + place)))
    assert found.addend == Decimal(1).scaleb(place - 3)
    assert header_of(b"\x04", bytes((0xDB, 0x78 + place + 0x80, 0x7B))).addend == found.addend + 1
    assert header_of(b"\x04", b"\x5b").addend is None


def test_a_next_table_without_its_code():
    """A last VIFE of 7Ch announces a code that is not there."""
    assert header_of(b"\x04", b"\x93\x7c").qualifiers == ("next VIFE from the second table",)


@pytest.mark.parametrize(
    ("vib", "qualifiers"),
    [
        ("7F", ()),
        ("FF21", ("manufacturer 21",)),
        ("FFA021", ("manufacturer A021",)),
        ("93FF21", ("manufacturer 21",)),
        ("93BBFF8105", ("forward", "manufacturer 8105")),
        ("93FF00", ("manufacturer 00",)),
    ],
)
def test_makers_extensions(vib, qualifiers):
    found = header(vib)
    assert found.qualifiers == qualifiers
    assert found.error is None
    assert found.known


@pytest.mark.parametrize("code", range(0x20))
def test_codes_of_answers(code):
    found = header_of(b"\x04", bytes((0x93, code)), uplink=True)
    assert found.action is None
    if code in (0x12, 0x13, 0x14, 0x1D, 0x1E, 0x1F):
        assert (found.error, found.qualifiers) == (None, (VIFE[code].name,))
    elif code == 0:
        assert (found.error, found.qualifiers) == (None, ())
    else:
        named = RECORD_ERRORS[code] if code < len(RECORD_ERRORS) else None
        assert found.error == (named or f"reserved error {code:02X}")
        assert found.qualifiers == ()


@pytest.mark.parametrize("code", range(0x20))
def test_codes_of_commands(code):
    found = header_of(b"\x04", bytes((0x93, code)), uplink=False)
    assert found.error is None
    if code in (0x12, 0x13, 0x14, 0x1D, 0x1E, 0x1F):
        assert (found.action, found.vib_before_action) == (None, b"\x93" + bytes((code,)))
    else:
        named = ACTIONS[code] if code < len(ACTIONS) else None
        assert found.action == (named or f"action {code:02X}")
        assert found.vib_before_action == b"\x13"


@pytest.mark.parametrize(("code", "profile"), [(0x1F, "forward"), (0x13, "inverse"), (0x1E, "registers")])
def test_compact_profiles(code, profile):
    assert header_of(b"\x0d", bytes((0x93, code))).profile == profile
    assert header_of(b"\x0d", bytes((0x93, 0x8C, code)), uplink=False).profile == profile
    assert header_of(b"\x04", b"\xfd\x1f").profile is None


@pytest.mark.parametrize(
    ("vib", "plain", "before"),
    [
        ("910F", None, "11"),
        ("FD910F", None, "FD11"),
        ("ECFE0F", None, "EC7E"),
        ("FC000141", "A", "7C0141"),
        ("FCF4000141", "A", "FC740141"),
        ("FC0141F400", "A", "FC014174"),
        ("FC014100", "A", "7C0141"),
        ("938C1F", None, "938C1F"),
    ],
)
def test_the_vib_without_its_action(vib, plain, before):
    assert header(vib, uplink=False, plain=plain).vib_before_action == bytes.fromhex(before)


# -- kinds of data -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dib", "vib", "kind"),
    [
        ("00", "13", "none"),
        ("08", "13", "none"),
        ("01", "13", "signed"),
        ("07", "13", "signed"),
        ("05", "13", "real"),
        ("05", "6D", "real"),
        ("09", "13", "bcd"),
        ("0E", "13", "bcd"),
        ("0C", "6D", "bcd"),
        ("0D", "13", "variable"),
        ("02", "6C", "date"),
        ("03", "6D", "date"),
        ("04", "6D", "date"),
        ("06", "6D", "date"),
        ("01", "6D", "signed"),
        ("07", "6D", "signed"),
        ("01", "FD17", "unsigned"),
        ("04", "FD23", "unsigned"),
        ("01", "FD71", "signed"),
        ("04", "78", "unsigned"),
        ("01", "7A", "unsigned"),
        ("04", "79", "unsigned"),
        ("07", "79", "address"),
        ("02", "FB1A", "unsigned"),
        ("04", "933F", "unsigned"),
        ("02", "ED39", "date"),
        ("02", "93FC13", "date"),
    ],
)
def test_kinds(dib, vib, kind):
    assert header(vib, dib=dib).kind == kind


@pytest.mark.parametrize(("dib", "mark"), [("01", -128), ("02", -(1 << 15)), ("03", -(1 << 23)), ("07", -(1 << 63))])
def test_the_most_negative_number_is_the_invalid_mark(dib, mark):
    assert header("13", dib=dib).invalid == mark
    assert header("FD17", dib=dib).invalid is None


def test_all_ones_of_an_unsigned_number_are_a_value_unless_told_otherwise(monkeypatch):
    assert RecordHeader(b"\x01", b"\xfd\x08").invalid is None
    monkeypatch.setattr(headers, "UNSIGNED_ALL_ONES_IS_INVALID", True)
    assert RecordHeader(b"\x02", b"\xfd\x08").invalid == 0xFFFF
    assert RecordHeader(b"\x02", b"\xfd\x17").invalid is None
    assert RecordHeader(b"\x0a", b"\xfd\x08").invalid is None


# -- sharing -----------------------------------------------------------------------------------


@given(dibs(), vibs(), st.booleans())
def test_headers_are_shared(dib, vib, uplink):
    first = header_of(dib, *vib, uplink=uplink)
    assert header_of(dib, *vib, uplink=uplink) is first
    assert cached_header(dib + vib[0], uplink) is first
    assert first.octets == dib + vib[0]
    assert repr(first).startswith(f"RecordHeader({first.octets.hex().upper()}: {first.quantity} [")


def test_commands_and_answers_do_not_share():
    answer, command = header("930F", dib="00"), header("930F", dib="00", uplink=False)
    assert (answer.error, answer.action) == ("unimplemented action", None)
    assert (command.error, command.action) == (None, "get")


def test_the_memory_of_headers_is_bounded(monkeypatch):
    caches = ({}, {})
    monkeypatch.setattr(headers, "_headers", caches)
    monkeypatch.setattr(headers, "_CACHE_LIMIT", 5)
    for code in range(20):
        header_of(b"\x04", bytes((code,)))
        assert len(caches[True]) <= 5
    assert caches[False] == {}
    assert cached_header(b"\x04\x00", True) is None
    assert cached_header(b"\x04\x13", True) is not None


def test_repr_says_what_and_where():
    shown = repr(header("13", dib="8B60"))
    assert shown == "RecordHeader(8B6013: volume [m3], instantaneous, storage 0, tariff 2, subunit 1)"


def test_every_data_field_has_a_length():
    assert len(DATA_LENGTH) == 16
    assert DATA_LENGTH[LVAR] is None
    assert [DATA_LENGTH[field] for field in (1, 2, 3, 4, 5, 6, 7)] == [1, 2, 3, 4, 4, 6, 8]
    assert [DATA_LENGTH[field] for field in (9, 10, 11, 12, 14)] == [1, 2, 3, 4, 6]


@given(vibs())
def test_any_vib_compiles_in_both_directions(vib):
    for uplink in (True, False):
        found = RecordHeader(b"\x04", *vib, uplink=uplink)
        assert found.unit is not None
        assert found.action is None or not uplink
        assert found.error is None or uplink
        assert -200 < found.exponent < 200


@pytest.mark.parametrize("codes", [(0x13,), (0x7B, 0x1A), (0x7D, 0x7D, 0x3E)])
def test_chains_of_the_tests(codes):
    vib = chain(*codes)
    assert [octet >> 7 for octet in vib] == [1] * (len(codes) - 1) + [0]
