"""Which of the values of a device is the one that is billed, and how wide its register is.

    medium                     tag     quantity, unit
    heat, cooling              EW1!    energy, Wh
    electricity                EW1!    energy, Wh (import); EW2! where a meter counts export only
    gas                        VM2!    volume uncorrected, m3; VM1! where a meter sends that
    water, warm water          VM1!    volume, m3
    heat cost allocator        HC1!    HCA units

What the meter stored has the same tag with D (due date) or P (end of a month). Source: OMS Volume 2 5.0.1 Annex B.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from openmetering.mdm.series import Register
from openmetering.storage.evidence_rows import RegisterRow

__all__ = ["CLOCK", "FLAGS", "TAGS", "Billed", "billed", "capacity_of", "field_width", "is_billed", "register"]

CLOCK: Final = "DT1!"
FLAGS: Final = "MM3!"
#: the better ones first
_BILLED: Final = ("EW1!", "VM1!", "VM2!", "HC1!", "EW2!")
_MEDIA: Final = ("water", "heat", "cooling", "electricity", "gas", "feed-in")
_STORED: Final = {"D": "due", "P": "month"}
TAGS: Final = frozenset((*_BILLED, *(tag + kind for tag in _BILLED for kind in _STORED), CLOCK, FLAGS))

#: low four bits of the DIF: data field -> (bits, decimal digits)
_WIDTH: Final[dict[int, tuple[int | None, int | None]]] = {
    0x1: (8, None), 0x2: (16, None), 0x3: (24, None), 0x4: (32, None), 0x6: (48, None), 0x7: (64, None),
    0x9: (None, 2), 0xA: (None, 4), 0xB: (None, 6), 0xC: (None, 8), 0xE: (None, 12),
}  # fmt: skip


class Billed(msgspec.Struct, frozen=True):
    """The series of a device that count: its register (several if it changed its unit or the width of its field), what it
    stored by kind, its clock, its error flags."""

    rows: tuple[RegisterRow, ...]
    stored: tuple[tuple[str, RegisterRow], ...]
    clock: RegisterRow | None
    flags: RegisterRow | None


def register(row: RegisterRow) -> Register:
    """A series as meter data management sees it."""
    bits, digits = field_width(row.dib)
    return Register(row.address, row.tag, row.medium, row.quantity, row.unit, row.obis or None, digits, bits)


def is_billed(medium: str) -> bool:
    """True for points of a medium that is billed, or of none that was said."""
    return not medium or any(word in medium for word in _MEDIA)


def capacity_of(dib: str, exponent: int) -> Decimal | None:
    """Where a register with this DIB begins again at zero; None if its field does not tell."""
    bits, digits = field_width(dib)
    if digits is not None:
        return Decimal(10) ** (digits + exponent)
    return None if bits is None else Decimal(1 << bits).scaleb(exponent)


def field_width(dib: str) -> tuple[int | None, int | None]:
    """Bits of a binary field or digits of a BCD field, of a DIB in hexadecimal; None, None for others."""
    return _WIDTH.get(int(dib[:2], 16) & 0x0F, (None, None)) if dib else (None, None)


def billed(rows: Iterable[RegisterRow]) -> dict[str, Billed]:
    """By address, for those devices that have a register to bill."""
    by_address: dict[str, list[RegisterRow]] = {}
    for row in rows:
        by_address.setdefault(row.address, []).append(row)
    found: dict[str, Billed] = {}
    for address, series in by_address.items():
        now = [row for row in series if row.tag in _BILLED and row.storage == 0]
        if not now:
            continue
        first = min(now, key=lambda row: (_BILLED.index(row.tag), row.series_id))
        stored = tuple(
            (_STORED[row.tag[-1]], row)
            for row in series
            if row.tag[:-1] == first.tag and row.tag[-1] in _STORED and row.storage > 0
        )
        clock = next((row for row in series if row.tag == CLOCK and row.storage == 0), None)
        flags = next((row for row in series if row.tag == FLAGS and row.storage == 0), None)
        found[address] = Billed(tuple(row for row in now if row.tag == first.tag), stored, clock, flags)
    return found
