"""How a CSV file of this package becomes rows. Nothing outside ``tables`` uses it.

The files are read through the loader of the package (``pkgutil``), so they may lie in a zip.
``importlib.resources`` would do the same, but it imports ``tempfile`` and with it 17 ms of
modules; all tables together load in less.

Codes stand as in the printed tables: ``00-07`` is a range of eight codes, ``n`` in a formula
counts from the first of them.
"""

from __future__ import annotations

import csv
import pkgutil
import re

__all__ = ["Row", "affine", "decimals", "flag", "hexadecimal", "numbers", "optional", "rows"]

Row = dict[str, str]

_AFFINE = re.compile(r"(?:(?P<factor>\d*)n)?(?P<constant>[+-]?\d+)?")


def rows(name: str) -> list[Row]:
    """All rows of one table, header as keys, in the order of the file."""
    octets = pkgutil.get_data(__package__, name)
    if octets is None:
        raise FileNotFoundError(name)
    header, *body = csv.reader(octets.decode("utf-8").splitlines())
    return [dict(zip(header, line, strict=True)) for line in body]


def hexadecimal(text: str) -> range:
    """``"6C"`` or ``"00-07"``: the codes of a row, hexadecimal."""
    first, _, last = text.partition("-")
    return range(int(first, 16), int(last or first, 16) + 1)


def decimals(text: str) -> range:
    """``"5"`` or ``"16-31"``: the codes of a row, decimal."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def numbers(text: str) -> tuple[int, ...]:
    """``"10 11 5A"``: several hexadecimal codes in one cell."""
    return tuple(int(part, 16) for part in text.split())


def affine(text: str, n: int) -> int:
    """A formula such as ``n-3``, ``4n+16``, ``n`` or ``-1`` for the n-th code of a range."""
    match = _AFFINE.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text!r} is no formula of n")
    factor, constant = match["factor"], int(match["constant"] or 0)
    return constant if factor is None else int(factor or 1) * n + constant


def optional(text: str) -> int | None:
    """An empty cell is no number."""
    return int(text) if text else None


def flag(text: str) -> bool:
    """``yes`` or ``no``; anything else is a slip in the file."""
    return {"yes": True, "no": False}[text]
