"""The units of the tables, their UCUM codes and the way to SI.

SI value = (value + offset) * factor / divisor. Calendar, logarithmic and arbitrary units have
no factor.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from openmetering.tables._load import rows

__all__ = ["UNITS", "Unit"]


class Unit(msgspec.Struct, frozen=True):
    """One unit as the VIF tables write it; ``code`` is UCUM, ``si`` the target of ``to_si``."""

    text: str
    quantity: str
    code: str
    si: str
    factor: Decimal | None
    divisor: Decimal
    offset: Decimal

    def to_si(self, value: Decimal) -> Decimal | None:
        """The value in ``si``; None where the unit has no fixed factor."""
        return None if self.factor is None else (value + self.offset) * self.factor / self.divisor


UNITS: dict[str, Unit] = {
    row["unit"]: Unit(
        row["unit"],
        row["quantity"],
        row["code"],
        row["si"],
        Decimal(row["factor"]) if row["factor"] else None,
        Decimal(row["divisor"] or 1),
        Decimal(row["offset"] or 0),
    )
    for row in rows("units.csv")
}
