"""Units: UCUM codes and the way to SI."""

from __future__ import annotations

from decimal import Decimal

import pytest

from openmetering.tables import FIXED_UNITS, UNITS, vib_type_rows

D = Decimal


@pytest.mark.parametrize(
    ("unit", "value", "si", "result"),
    [
        ("Wh", D(1), "J", D(3600)),
        ("MWh", D("0.5"), "J", D("1.8E9")),
        ("GJ", D(2), "J", D("2E9")),
        ("Mcal", D(1), "J", D(4186800)),
        ("kvarh", D(1), "var.s", D("3.6E6")),
        ("m3/h", D(3600), "m3/s", D(1)),
        ("m3/min", D(60), "m3/s", D(1)),
        ("J/h", D(7200), "W", D(2)),
        ("GJ/h", D("3.6"), "W", D(1000000)),
        ("°C", D("20.5"), "K", D("293.65")),
        ("°F", D(32), "K", D("273.15")),
        ("°F", D(212), "K", D("373.15")),
        ("bar", D("1.5"), "Pa", D(150000)),
        ("d", D(2), "s", D(172800)),
        ("US gal", D(1000), "m3", D("3.785411784")),
        ("ft3", D(1), "m3", D("0.028316846592")),
        ("%", D(50), "1", D("0.5")),
        ("l/m2", D(1), "m", D("0.001")),
    ],
)
def test_to_si(unit: str, value: Decimal, si: str, result: Decimal) -> None:
    row = UNITS[unit]
    assert row.si == si
    assert row.to_si(value) == result


@pytest.mark.parametrize("unit", ["month", "year", "dBm", "dBA", "FNU", "pH", "currency"])
def test_units_without_a_fixed_factor(unit: str) -> None:
    row = UNITS[unit]
    assert row.factor is None
    assert row.si == ""
    assert row.to_si(D(1)) is None


def test_ucum_codes() -> None:
    codes = {unit: UNITS[unit].code for unit in ("Wh", "°C", "m3", "min", "month", "year", "deg", "%")}
    expected = {"Wh": "W.h", "°C": "Cel", "m3": "m3", "min": "min", "month": "mo", "year": "a", "deg": "deg", "%": "%"}
    assert codes == expected


def test_every_unit_of_the_other_tables_is_here() -> None:
    fixed = {row.unit for row in FIXED_UNITS if row is not None}
    types = {unit for row in vib_type_rows().values() for unit in ([row.unit] if row.unit in UNITS else row.unit.split())}
    assert (fixed | types) - {""} <= set(UNITS)
