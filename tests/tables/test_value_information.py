"""VIF and VIFE against the printed tables, written out by hand."""

from __future__ import annotations

import pytest

from openmetering.tables import (
    ACTIONS,
    RECORD_ERRORS,
    UNITS,
    VIF_FB,
    VIF_FB_LEGACY,
    VIF_FD,
    VIF_FDFD,
    VIF_MAIN,
    VIFE,
    VIFE_FC,
    ValueInformation,
    ValueInformationExtension,
)

ALL = {"main": VIF_MAIN, "FB": VIF_FB, "FB legacy": VIF_FB_LEGACY, "FD": VIF_FD, "FDFD": VIF_FDFD}
TIMES = ["s", "min", "h", "d"]

# first code, last code, quantity, unit, exponent of the first, exponent of the last code
MAIN = [
    (0x00, 0x07, "energy", "Wh", -3, 4),
    (0x08, 0x0F, "energy", "J", 0, 7),
    (0x10, 0x17, "volume", "m3", -6, 1),
    (0x18, 0x1F, "mass", "kg", -3, 4),
    (0x28, 0x2F, "power", "W", -3, 4),
    (0x30, 0x37, "power", "J/h", 0, 7),
    (0x38, 0x3F, "volume flow", "m3/h", -6, 1),
    (0x40, 0x47, "volume flow", "m3/min", -7, 0),
    (0x48, 0x4F, "volume flow", "m3/s", -9, -2),
    (0x50, 0x57, "mass flow", "kg/h", -3, 4),
    (0x58, 0x5B, "flow temperature", "°C", -3, 0),
    (0x5C, 0x5F, "return temperature", "°C", -3, 0),
    (0x60, 0x63, "temperature difference", "K", -3, 0),
    (0x64, 0x67, "external temperature", "°C", -3, 0),
    (0x68, 0x6B, "pressure", "bar", -3, 0),
]
FB = [
    (0x00, 0x01, "energy", "MWh", -1, 0),
    (0x02, 0x03, "reactive energy", "kvarh", 0, 1),
    (0x04, 0x05, "apparent energy", "kVAh", 0, 1),
    (0x06, 0x06, "coefficient of performance", "", -1, -1),
    (0x08, 0x09, "energy", "GJ", -1, 0),
    (0x0C, 0x0F, "energy", "Mcal", -1, 2),
    (0x10, 0x11, "volume", "m3", 2, 3),
    (0x14, 0x17, "reactive power", "kvar", -3, 0),
    (0x18, 0x19, "mass", "t", 2, 3),
    (0x1A, 0x1B, "relative humidity", "%", -1, 0),
    (0x20, 0x20, "volume", "ft3", 0, 0),
    (0x21, 0x21, "volume", "ft3", -1, -1),
    (0x28, 0x29, "power", "MW", -1, 0),
    (0x2A, 0x2A, "phase U-U", "deg", -1, -1),
    (0x2B, 0x2B, "phase U-I", "deg", -1, -1),
    (0x2C, 0x2F, "frequency", "Hz", -3, 0),
    (0x30, 0x31, "power", "GJ/h", -1, 0),
    (0x34, 0x37, "apparent power", "kVA", -3, 0),
    (0x58, 0x5B, "flow temperature", "°F", -3, 0),
    (0x64, 0x67, "external temperature", "°F", -3, 0),
    (0x74, 0x77, "temperature limit", "°C", -3, 0),
    (0x78, 0x7F, "cumulative max power", "W", -3, 4),
]
FD = [
    (0x00, 0x03, "credit", "currency", -3, 0),
    (0x04, 0x07, "debit", "currency", -3, 0),
    (0x40, 0x4F, "voltage", "V", -9, 6),
    (0x50, 0x5F, "current", "A", -12, 3),
    (0x71, 0x71, "RF level", "dBm", 0, 0),
    (0x74, 0x74, "remaining battery", "d", 0, 0),
]
FDFD = [
    (0x10, 0x11, "CO2", "ppm", 0, 1),
    (0x12, 0x13, "CO", "ppm", 0, 1),
    (0x14, 0x15, "VOC", "ppb", 0, 1),
    (0x1B, 0x1B, "particles unspecific", "1/m3", 5, 5),
    (0x27, 0x27, "pH", "pH", -1, -1),
    (0x3A, 0x3B, "distance", "mm", 0, 1),
]


@pytest.mark.parametrize(
    ("table", "row"),
    [(name, row) for name, printed in (("main", MAIN), ("FB", FB), ("FD", FD), ("FDFD", FDFD)) for row in printed],
)
def test_printed_ranges(table: str, row: tuple[int, int, str, str, int, int]) -> None:
    first, last, quantity, unit, low, high = row
    values = [ALL[table][code] for code in range(first, last + 1)]
    assert [value.exponent for value in values if value] == list(range(low, high + 1))
    for code, value in enumerate(values, first):
        assert value is not None
        assert (value.code, value.quantity, value.unit) == (code, quantity, unit)


@pytest.mark.parametrize(
    ("table", "first", "quantity", "units"),
    [
        ("main", 0x20, "on time", TIMES),
        ("main", 0x24, "operating time", TIMES),
        ("main", 0x70, "averaging duration", TIMES),
        ("main", 0x74, "actuality duration", TIMES),
        ("FD", 0x24, "storage interval", [*TIMES, "month", "year"]),
        ("FD", 0x2C, "duration since last readout", TIMES),
        ("FD", 0x31, "duration of tariff", ["min", "h", "d"]),
        ("FD", 0x34, "period of tariff", [*TIMES, "month", "year"]),
        ("FD", 0x3C, "nominal transmission period", TIMES),
        ("FD", 0x68, "duration since last cumulation", ["h", "d", "month", "year"]),
        ("FD", 0x6C, "operating time battery", ["h", "d", "month", "year"]),
        ("FDFD", 0x02, "remaining battery", ["month", "year"]),
    ],
)
def test_units_that_change_with_the_code(table: str, first: int, quantity: str, units: list[str]) -> None:
    for code, unit in enumerate(units, first):
        value = ALL[table][code]
        assert value is not None
        assert (value.quantity, value.unit, value.exponent) == (quantity, unit, 0)


def codes_of(table: str, data_type: str) -> set[int]:
    return {value.code for value in ALL[table] if value is not None and value.data_type == data_type}


def test_unsigned_codes() -> None:
    fd = {*range(0x08, 0x17), 0x1C, 0x1D, *range(0x20, 0x24), *range(0x2B, 0x30), *range(0x31, 0x3A), *range(0x3C, 0x40)}
    fd |= {*range(0x62, 0x65), *range(0x66, 0x70), 0x74, 0x75}
    assert codes_of("FD", "C") == fd
    assert codes_of("FB", "C") == {*range(0x18, 0x1C), *range(0x68, 0x6F)}
    assert codes_of("main", "C") == {0x78, 0x79, 0x7A}


def test_bit_arrays_dates_and_raw_octets() -> None:
    assert codes_of("FD", "D") == {0x17, 0x18, 0x1A, 0x1B, 0x1F}
    assert codes_of("FDFD", "D") == {0x40, 0x41, 0x42, 0x43, 0x44}
    assert codes_of("main", "date") == {0x6C, 0x6D}
    assert codes_of("FD", "date") == {0x30, 0x70}
    assert codes_of("FD", "raw") == {0x19, 0x3B, 0x76}
    assert codes_of("FD", "K") == {0x72}
    assert codes_of("FD", "L") == {0x73}


def test_reserved_codes_are_none() -> None:
    reserved = {name: {code for code, value in enumerate(table) if value is None} for name, table in ALL.items()}
    assert reserved["main"] == {0x6F, 0x7B, 0x7D}
    assert reserved["FD"] == {*range(0x77, 0x80)}
    assert reserved["FB"] == {
        0x07, 0x0A, 0x0B, 0x12, 0x13, *range(0x1C, 0x20), 0x27, 0x32, 0x33, *range(0x38, 0x58), 0x6F
    }  # fmt: skip
    assert reserved["FDFD"] >= {0x04, 0x26, 0x28, 0x35, 0x3C, 0x3D, 0x3F, *range(0x45, 0x80)}


@pytest.mark.parametrize("table", sorted(ALL))
def test_every_table_has_128_codes_and_known_units(table: str) -> None:
    assert len(ALL[table]) == 128
    for code, value in enumerate(ALL[table]):
        if value is not None:
            assert value.code == code
            assert value.quantity
            assert value.unit == "" or value.unit in UNITS


@pytest.mark.parametrize("code", [0x68, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E])
def test_heat_cost_allocator_factors_are_binary(code: int) -> None:
    value = VIF_FB[code]
    assert value is not None
    assert (value.scale2, value.exponent, value.data_type) == (-12, 0, "C")


def test_only_the_factors_have_a_binary_exponent() -> None:
    scaled = {value.code for table in ALL.values() for value in table if value is not None and value.scale2}
    assert scaled == {0x68, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E}
    kq = VIF_FB[0x69]
    assert kq is not None
    assert (kq.unit, kq.scale2, kq.confidence) == ("W", 0, "?")


def test_editions_of_the_code_23() -> None:
    newer, older = VIF_FB[0x23], VIF_FB_LEGACY[0x23]
    assert newer is not None
    assert older is not None
    assert (newer.quantity, newer.unit, newer.exponent, newer.edition) == ("phase U-I", "deg", -1, "2018+")
    assert (older.quantity, older.unit, older.exponent, older.edition) == ("volume", "US gal", 0, "2004")


@pytest.mark.parametrize(
    ("code", "quantity", "unit", "exponent"),
    [
        (0x22, "volume", "US gal", -1),
        (0x24, "volume flow", "US gal/min", -3),
        (0x25, "volume flow", "US gal/min", 0),
        (0x26, "volume flow", "US gal/h", 0),
        (0x5D, "return temperature", "°F", -2),
        (0x60, "temperature difference", "°F", -3),
        (0x73, "temperature limit", "°F", 0),
    ],
)
def test_legacy_codes_are_decoded_in_both_tables(code: int, quantity: str, unit: str, exponent: int) -> None:
    for table in (VIF_FB, VIF_FB_LEGACY):
        value = table[code]
        assert value is not None
        assert (value.quantity, value.unit, value.exponent, value.edition) == (quantity, unit, exponent, "2004")
        assert value.confidence == "S"


def test_the_legacy_table_differs_only_where_editions_do() -> None:
    assert [code for code in range(128) if VIF_FB[code] != VIF_FB_LEGACY[code]] == [0x23]


def test_single_codes_read_as_in_the_standard() -> None:
    names = {
        "main": {0x6C: "date", 0x6D: "date time", 0x6E: "HCA units", 0x78: "fabrication no", 0x79: "enhanced identification",
                 0x7A: "address", 0x7C: "plain text", 0x7E: "any VIF", 0x7F: "manufacturer"},
        "FD": {0x08: "unique message id/access number", 0x0C: "model/version", 0x0E: "metrology (firmware) version",
               0x17: "error flags", 0x1A: "digital output", 0x1F: "remote control", 0x2A: "operator specific",
               0x3A: "dimensionless", 0x60: "reset counter", 0x61: "cumulation counter", 0x67: "special supplier info"},
        "FDFD": {0x00: "selected application", 0x01: "sub device types", 0x2C: "dismount counter", 0x34: "sounder defect counter",
                 0x38: "battery status", 0x3E: "moisture", 0x40: "status pressure sensor", 0x44: "status door/window"},
    }  # fmt: skip
    for table, expected in names.items():
        found = {code: value.quantity for code in expected if (value := ALL[table][code]) is not None}
        assert found == expected


# --- VIFE -------------------------------------------------------------------------------------


def vife(code: int) -> ValueInformationExtension:
    row = VIFE[code]
    assert row is not None
    assert row.code == code
    return row


def test_actions_towards_the_meter() -> None:
    assert ACTIONS == (
        "set", "add", "sub", "bor", "and", "xor", "not", "clr", "add-entry", "delete-entry", "delayed", "freeze", "arl", "drl",
        None, "get",
    )  # fmt: skip


def test_record_errors_from_the_meter() -> None:
    assert len(RECORD_ERRORS) == 0x1D
    assert RECORD_ERRORS[0x00] == "none"
    assert RECORD_ERRORS[0x01] == "too many DIFE"
    assert RECORD_ERRORS[0x07] == "data size not implemented"
    assert RECORD_ERRORS[0x0B] == "too many VIFE"
    assert RECORD_ERRORS[0x0E] == "VIF/DIF mismatch"
    assert RECORD_ERRORS[0x15] == "no data available"
    assert RECORD_ERRORS[0x1C] == "premature end of record"
    defined = {*range(0x08), *range(0x0B, 0x10), *range(0x15, 0x19), 0x1C}
    assert {code for code, name in enumerate(RECORD_ERRORS) if name is not None} == defined
    assert {row.code for row in VIFE if row is not None and row.kind == "error"} == defined - {0}


def test_kinds_of_the_first_codes() -> None:
    assert {code for code in range(0x20) if vife_kind(code) == "action"} == {0x00, 0x08, 0x09, 0x0A}
    assert {code for code in range(0x20) if vife_kind(code) == "profile"} == {0x13, 0x1E, 0x1F}
    assert vife_kind(0x1D) == "standard"
    assert vife_kind(0x12) == vife_kind(0x14) == "qualifier"
    assert {code for code in range(0x20) if vife_kind(code) is None} == {0x10, 0x11, 0x19, 0x1A, 0x1B}


def vife_kind(code: int) -> str | None:
    row = VIFE[code]
    return None if row is None else row.kind


def test_scale_and_offset() -> None:
    assert [vife(code).exponent for code in range(0x70, 0x78)] == [-6, -5, -4, -3, -2, -1, 0, 1]
    assert {vife_kind(code) for code in [*range(0x70, 0x78), 0x7D]} == {"scale"}
    assert vife(0x7D).exponent == 3
    assert [vife(code).exponent for code in range(0x78, 0x7C)] == [-3, -2, -1, 0]
    assert {vife_kind(code) for code in range(0x78, 0x7C)} == {"offset"}


@pytest.mark.parametrize(
    ("code", "upper", "last", "end"),
    [
        (0x42, 0, 0, 0),
        (0x43, 0, 0, 1),
        (0x46, 0, 1, 0),
        (0x47, 0, 1, 1),
        (0x4A, 1, 0, 0),
        (0x4B, 1, 0, 1),
        (0x4E, 1, 1, 0),
        (0x4F, 1, 1, 1),
    ],
)
def test_dates_of_a_limit_exceed_follow_their_bits(code: int, upper: int, last: int, end: int) -> None:
    """E100 u f 1 b."""
    assert code == 0x42 | upper << 3 | last << 2 | end
    row = vife(code)
    assert row.kind == "date"
    assert (
        row.name
        == f"{'end' if end else 'begin'} of {'last' if last else 'first'} exceed of {'upper' if upper else 'lower'} limit"
    )


@pytest.mark.parametrize("code", range(0x50, 0x60))
def test_durations_of_a_limit_exceed_follow_their_bits(code: int) -> None:
    """E101 u f nn."""
    row = vife(code)
    which = f"{'last' if code & 4 else 'first'} exceed of {'upper' if code & 8 else 'lower'} limit"
    assert (row.kind, row.unit, row.name) == ("duration", TIMES[code & 3], f"duration of {which}")


@pytest.mark.parametrize("code", [*range(0x60, 0x68), 0x6A, 0x6B, 0x6E, 0x6F])
def test_durations_and_dates_of_first_and_last(code: int) -> None:
    """E110 0 f nn and E110 1 f 1 b."""
    row = vife(code)
    which = "last" if code & 4 else "first"
    if code & 8:
        assert (row.kind, row.unit, row.name) == ("date", "", f"{'end' if code & 1 else 'begin'} of {which}")
    else:
        assert (row.kind, row.unit, row.name) == ("duration", TIMES[code & 3], f"duration of {which}")


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (0x20, "qualifier", "per s"),
        (0x26, "qualifier", "per year"),
        (0x27, "qualifier", "per revolution"),
        (0x29, "qualifier", "per input pulse, channel 1"),
        (0x2A, "qualifier", "per output pulse, channel 0"),
        (0x33, "qualifier", "per K*l"),
        (0x36, "qualifier", "times s"),
        (0x39, "date", "start of"),
        (0x3A, "qualifier", "uncorrected"),
        (0x3B, "qualifier", "forward"),
        (0x3C, "qualifier", "backward"),
        (0x3E, "qualifier", "base conditions"),
        (0x3F, "obis", "OBIS declaration"),
        (0x40, "limit", "lower limit"),
        (0x41, "count", "exceeds of lower limit"),
        (0x48, "limit", "upper limit"),
        (0x49, "count", "exceeds of upper limit"),
        (0x68, "qualifier", "value during lower limit exceed"),
        (0x69, "qualifier", "leakage"),
        (0x6D, "qualifier", "overflow"),
        (0x7C, "extension", "next VIFE from the second table"),
        (0x7E, "future", "future value"),
        (0x7F, "manufacturer", "manufacturer specific"),
    ],
)
def test_single_extension_codes(code: int, kind: str, name: str) -> None:
    row = vife(code)
    assert (row.kind, row.name) == (kind, name)


def test_reserved_extension_codes() -> None:
    assert {code for code, row in enumerate(VIFE) if row is None} == {0x10, 0x11, 0x19, 0x1A, 0x1B, 0x44, 0x45, 0x4C, 0x4D}


def test_second_extension_table() -> None:
    assert len(VIFE_FC) == 128
    assert {code for code, row in enumerate(VIFE_FC) if row is not None} == set(range(0x01, 0x16))
    names = {row.code: (row.kind, row.name) for row in VIFE_FC if row is not None}
    assert names[0x01] == ("qualifier", "phase L1")
    assert names[0x04] == ("qualifier", "neutral")
    assert names[0x07] == ("qualifier", "between L3 and L1")
    assert names[0x08] == ("qualifier", "quadrant Q1")
    assert names[0x0C] == ("qualifier", "delta import/export")
    assert names[0x10] == ("qualifier", "absolute sum")
    assert names[0x11] == ("type", "unsigned")
    assert names[0x12] == ("type", "bit array")
    assert names[0x13] == ("date", "end of")


def test_rows_are_frozen() -> None:
    row = ValueInformation(0, "energy", "Wh", -3)
    assert (row.scale2, row.data_type) == (0, "B")
    with pytest.raises(AttributeError):
        row.unit = "J"  # type: ignore[misc]
