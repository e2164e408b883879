"""A report as data: what is in it, not how it looks. Pages, PDF and CSV are made from the same one.

Report    kind (``due-dates``, ``monthly``, ``consumption``, ...), columns, rows, notes, plots
Column    key of its heading, and what its cells are
Cell      text as it is, a decimal, a time, or nothing

Every report with values has the columns ``quality`` and ``source``.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["Cell", "CellKind", "Column", "Note", "Plot", "Report", "columns", "rounded"]

#: ``term``: a word of the tables (medium, quality); ``key``: a word of the catalogue
CellKind: TypeAlias = Literal["text", "number", "day", "moment", "term", "quality", "share"]
Cell: TypeAlias = str | Decimal | date | datetime | None


_THOUSANDTH: Final = Decimal("0.001")


class Column(msgspec.Struct, frozen=True):
    """One column; ``name`` is the key of its heading and the heading in CSV."""

    name: str
    kind: CellKind = "text"


class Plot(msgspec.Struct, frozen=True):
    """Bars: one value per label; None where nothing is known. ``before`` are those of the year before, if known."""

    title: str
    unit: str
    labels: tuple[str, ...]
    values: tuple[Decimal | None, ...]
    before: tuple[Decimal | None, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """A sentence: the key of the catalogue and what is filled in."""

    key: str
    values: dict[str, str] = {}


class Report(msgspec.Struct, frozen=True):
    """``place`` whose it is, ``since`` and ``until`` (excluded) the time it is about."""

    kind: str
    place: str
    since: datetime
    until: datetime
    made_at: datetime
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[Note, ...] = ()
    plots: tuple[Plot, ...] = ()
    zone: str = "Europe/Berlin"


def columns(*items: str | tuple[str, CellKind]) -> tuple[Column, ...]:
    """Columns by name, or by name and kind."""
    return tuple(Column(item) if isinstance(item, str) else Column(*item) for item in items)


def rounded(value: Decimal | None) -> Decimal | None:
    """To three decimals."""
    return None if value is None else value.quantize(_THOUSANDTH)
