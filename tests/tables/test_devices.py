"""Device types, manufacturers, status octet, error flags."""

from __future__ import annotations

import pytest

from openmetering.tables import (
    DEVICE_TYPES,
    ERROR_FLAGS,
    MANUFACTURERS,
    STATUS,
    SUB_DEVICE_TYPES,
    device_type_of_category,
    error_flags,
    status_flags,
)

CERTIFIABLE = {
    0x00, 0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x0A, 0x0B, 0x0C, 0x0D, 0x15, 0x16, 0x18, 0x1A, 0x1D, 0x1E, 0x1F, 0x20, 0x21, 0x28,
}  # fmt: skip
SYSTEM = {0x25, 0x31, 0x32, 0x33, 0x36, 0x37, 0x38}


def test_every_code_has_an_entry() -> None:
    assert [row.code for row in DEVICE_TYPES] == list(range(256))
    assert all(row.name for row in DEVICE_TYPES)


def test_certifiable_and_system_devices() -> None:
    assert {row.code for row in DEVICE_TYPES if row.certifiable} == CERTIFIABLE
    assert {row.code for row in DEVICE_TYPES if row.group == "end-device"} == CERTIFIABLE
    assert {row.code for row in DEVICE_TYPES if row.group == "system"} == SYSTEM


@pytest.mark.parametrize(
    ("code", "name", "category"),
    [
        (0x02, "electricity", "1"),
        (0x03, "gas", "7"),
        (0x04, "heat, volume at return", "6"),
        (0x06, "warm water", "9"),
        (0x07, "water", "8"),
        (0x08, "heat cost allocator", "4"),
        (0x0A, "cooling, volume at return", "5"),
        (0x0B, "cooling, volume at flow", "5"),
        (0x0D, "combined heat and cooling", "6"),
        (0x0E, "bus or system component", "E"),
        (0x15, "hot water", "9"),
        (0x16, "cold water", "8"),
        (0x1A, "smoke alarm device", "F"),
        (0x20, "breaker, electricity", "F"),
        (0x25, "customer unit, display", "E"),
        (0x37, "radio converter, meter side", "E"),
        (0x7F, "reserved", "F"),
        (0xFF, "wildcard", ""),
    ],
)
def test_single_device_types(code: int, name: str, category: str) -> None:
    assert (DEVICE_TYPES[code].name, DEVICE_TYPES[code].category) == (name, category)


@pytest.mark.parametrize(
    ("category", "code"),
    [("1", 0x02), ("4", 0x08), ("5", 0x0A), ("6", 0x04), ("7", 0x03), ("8", 0x07), ("9", 0x06), ("E", 0x0E), ("f", 0x0F)],
)
def test_default_device_type_of_a_category(category: str, code: int) -> None:
    assert device_type_of_category(category) == code
    assert DEVICE_TYPES[code].category == category.upper()


@pytest.mark.parametrize("category", ["2", "3", "A", "B", "C", "D", "", "00"])
def test_categories_without_a_device_type(category: str) -> None:
    assert device_type_of_category(category) is None


def test_manufacturers() -> None:
    assert MANUFACTURERS["KAM"] == "Kamstrup"
    assert MANUFACTURERS["ELS"] == "Elster"
    assert MANUFACTURERS["TCH"] == "Techem"
    assert MANUFACTURERS["QDS"] == "Qundis"
    assert len(MANUFACTURERS) >= 60
    assert all(len(code) == 3 and code.isascii() and code.isalpha() and code.isupper() for code in MANUFACTURERS)


@pytest.mark.parametrize(
    ("status", "flags"),
    [
        (0x00, ()),
        (0x01, ("application busy",)),
        (0x02, ("application error",)),
        (0x03, ("abnormal condition",)),
        (0x04, ("power low",)),
        (0x08, ("permanent error",)),
        (0x10, ("temporary error",)),
        (0x1C, ("power low", "permanent error", "temporary error")),
        (0xE2, ("application error", "manufacturer bit 5", "manufacturer bit 6", "manufacturer bit 7")),
    ],
)
def test_status_flags(status: int, flags: tuple[str, ...]) -> None:
    assert status_flags(status) == flags


def test_every_status_has_one_reading_of_the_application_bits() -> None:
    application = {row.name for row in STATUS if row.mask == 0x03}
    for status in range(256):
        names = status_flags(status)
        assert len(application & set(names)) == (0 if status & 3 == 0 else 1)
        assert len(names) == (status & 3 > 0) + (status >> 2).bit_count()


def test_standard_error_flags() -> None:
    assert error_flags(0) == ()
    assert error_flags(1 << 10) == ("water leakage",)
    assert error_flags(0x8001) == ("bit 0", "bit 15")
    assert error_flags(1 << 33) == ("bit 33",)


def test_error_flags_of_one_manufacturer() -> None:
    assert error_flags(0x0004, manufacturer="LAS", device_type=0x1A) == ("smoke",)
    assert error_flags(0x0102, manufacturer="LAS", device_type=0x1A) == ("low battery", "end of life of smoke sensor")
    assert error_flags(0x0404, manufacturer="LAS", device_type=0x1A) == ("smoke", "water leakage")
    assert error_flags(0x0004, manufacturer="LAS", device_type=0x07) == ("bit 2",)
    assert error_flags(0x0004, manufacturer="KAM", device_type=0x1A) == ("bit 2",)
    assert error_flags(0x0004, manufacturer="LAS") == ("bit 2",)


def test_sub_device_types() -> None:
    assert SUB_DEVICE_TYPES[1] == "humidity sensor"
    assert SUB_DEVICE_TYPES[12] == "water leakage detector"
    assert SUB_DEVICE_TYPES[21] == "pressure device"
    assert set(SUB_DEVICE_TYPES) == {*range(1, 4), *range(5, 16), *range(18, 22)}


def test_disconnector_and_conformance_sets() -> None:
    states = {row.code: row.name for row in ERROR_FLAGS if row.set == "disconnector"}
    assert states == {"0": "closed", "1": "open", "2": "released"}
    assert [row.code for row in ERROR_FLAGS if row.set == "conformance test"] == ["0", "1", "2", "3", "4"]
