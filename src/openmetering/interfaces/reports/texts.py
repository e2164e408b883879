"""Reports as text: CSV (RFC 4180, headings are the keys of the columns) and JSON lines. Numbers have all their digits."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from decimal import Decimal

import msgspec

from openmetering.services.csv_cells import guarded
from openmetering.services.mdm.report import Cell, Report

__all__ = ["csv_of", "jsonl_of", "plain"]


def csv_of(report: Report) -> bytes:
    """UTF-8, a line for each row."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(column.name for column in report.columns)
    for row in report.rows:
        writer.writerow([_guarded(cell) for cell in row])
    return target.getvalue().encode()


def jsonl_of(report: Report) -> bytes:
    """An object for each row; numbers are texts, so that no digit is lost."""
    names = [column.name for column in report.columns]
    return b"".join(
        msgspec.json.encode({name: plain(cell) for name, cell in zip(names, row, strict=True)}) + b"\n" for row in report.rows
    )


def plain(cell: Cell) -> str | None:
    """A cell as programs read it: all digits of a number, times in ISO 8601."""
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return cell


def _guarded(cell: Cell) -> str:
    return guarded(cell) if isinstance(cell, str) else plain(cell) or ""
