"""Application errors, message applications, variable length, image transfer, fixed frames."""

from __future__ import annotations

import pytest

from openmetering.tables import (
    APPLICATION_ERRORS,
    APPLICATIONS,
    FIXED_MEDIA,
    FIXED_UNITS,
    IMAGE_FUNCTIONS,
    IMAGE_STATES,
    LVAR,
)


def test_application_errors() -> None:
    names = {code: row.name for code, row in APPLICATION_ERRORS.items()}
    assert set(names) == {*range(0x0A), 0x10, 0x11, 0x12, 0x15, 0x17, 0x20, 0x21, 0x22, 0xF0}
    assert names[0x01] == "unimplemented CI field"
    assert names[0x05] == "more than 10 DIFE"
    assert names[0x11] == "function not implemented"
    assert names[0x15] == "parameter error"
    assert names[0x20] == "security error"
    assert all(row.code == code for code, row in APPLICATION_ERRORS.items())


def test_message_applications() -> None:
    assert set(APPLICATIONS) == {*range(19), *range(26, 30), *range(46, 50), *range(54, 58)}
    assert {number for number, row in APPLICATIONS.items() if row.selectable} == set(range(16))


@pytest.mark.parametrize(
    ("number", "content", "content_index"),
    [
        (7, "10", "0000"),
        (16, "00", "0001"),
        (17, "00", "0010"),
        (18, "00", "0011"),
        (26, "00", "0100"),
        (29, "00", "0111"),
        (46, "01", "0000"),
        (49, "01", "0011"),
        (54, "01", "1000"),
        (57, "01", "1011"),
    ],
)
def test_content_of_the_oms_applications(number: int, content: str, content_index: str) -> None:
    assert (APPLICATIONS[number].content, APPLICATIONS[number].content_index) == (content, content_index)


@pytest.mark.parametrize(
    ("code", "kind", "length"),
    [
        (0x00, "text", 0),
        (0xBF, "text", 0xBF),
        (0xC0, "positive BCD", 0),
        (0xC9, "positive BCD", 9),
        (0xCA, "reserved", None),
        (0xD4, "negative BCD", 4),
        (0xDF, "reserved", None),
        (0xE2, "binary", 2),
        (0xEB, "binary", 11),
        (0xEF, "binary", 15),
        (0xF0, "binary", 16),
        (0xF1, "binary", 20),
        (0xF4, "binary", 32),
        (0xF5, "binary", 48),
        (0xF6, "binary", 64),
        (0xF7, "reserved", None),
        (0xFF, "reserved", None),
    ],
)
def test_variable_length(code: int, kind: str, length: int | None) -> None:
    assert (LVAR[code].kind, LVAR[code].length) == (kind, length)


def test_variable_length_is_complete() -> None:
    assert [row.code for row in LVAR] == list(range(256))


def test_image_functions_and_states() -> None:
    names = ["prepare", "synchronise", "transfer", "completion", "state", "validate", "activate", "terminate"]
    assert [row.name for row in IMAGE_FUNCTIONS.values()] == names
    assert set(IMAGE_STATES) == set(range(2, 16))
    assert IMAGE_STATES[5] == "transfer successful"
    assert IMAGE_STATES[15] == "idle"


@pytest.mark.parametrize(
    ("code", "allowed", "following"),
    [
        (0x00, None, (2,)),
        (0x02, (2, 3, 4, 6), (3,)),
        (0x03, (2, 3), (5, 6)),
        (0x04, None, ()),
        (0x05, (5, 10), (7, 8, 9, 10)),
        (0x06, (9,), (11, 12, 13, 15)),
        (0x07, None, (4, 14)),
    ],
)
def test_image_transitions(code: int, allowed: tuple[int, ...] | None, following: tuple[int, ...]) -> None:
    row = IMAGE_FUNCTIONS[code]
    assert (row.code, row.allowed, row.next) == (code, allowed, following)
    assert {*(allowed or ()), *following} <= set(IMAGE_STATES)


@pytest.mark.parametrize(
    ("code", "quantity", "unit", "exponent"),
    [
        (0x02, "energy", "Wh", 0),
        (0x04, "energy", "Wh", 2),
        (0x05, "energy", "Wh", 3),
        (0x0A, "energy", "Wh", 8),
        (0x0B, "energy", "J", 3),
        (0x13, "energy", "J", 11),
        (0x14, "power", "W", 0),
        (0x1C, "power", "W", 8),
        (0x1D, "power", "J/h", 3),
        (0x25, "power", "J/h", 11),
        (0x26, "volume", "m3", -6),
        (0x29, "volume", "m3", -3),
        (0x2E, "volume", "m3", 2),
        (0x2F, "volume flow", "m3/h", -6),
        (0x34, "volume flow", "m3/h", -1),
        (0x37, "volume flow", "m3/h", 2),
        (0x38, "temperature", "°C", -3),
        (0x39, "HCA units", "", 0),
        (0x3F, "dimensionless", "", 0),
    ],
)
def test_fixed_units(code: int, quantity: str, unit: str, exponent: int) -> None:
    row = FIXED_UNITS[code]
    assert row is not None
    assert (row.code, row.quantity, row.unit, row.exponent) == (code, quantity, unit, exponent)


def test_fixed_tables_are_complete() -> None:
    assert len(FIXED_UNITS) == 64
    assert [code for code, row in enumerate(FIXED_UNITS) if row is None] == [0x3A, 0x3B, 0x3C, 0x3D]
    assert len(FIXED_MEDIA) == 16
    assert [code for code, row in enumerate(FIXED_MEDIA) if row is None] == [9, 15]
    assert {row.code for row in FIXED_MEDIA if row is not None and row.msb_first} == set(range(10, 15))
    water = FIXED_MEDIA[7]
    assert water is not None
    assert water.name == "water"
