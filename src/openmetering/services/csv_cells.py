"""Cells of CSV that spreadsheets open: what looks like a formula gets an apostrophe in front, and loses it when it is read."""

from __future__ import annotations

from typing import Final

__all__ = ["guarded", "unguarded"]

_RISKY: Final = ("=", "+", "-", "@", "\t", "\r")  #: what a spreadsheet would take for a formula


def guarded(cell: str) -> str:
    """The cell as it is written."""
    return f"'{cell}" if cell.startswith(_RISKY) else cell


def unguarded(cell: str) -> str:
    """The cell as it was meant."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_RISKY) else cell
