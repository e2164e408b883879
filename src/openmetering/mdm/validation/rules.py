"""The rules of validation as data: ``tables/validation_rules.csv``, and what users put in their place.

    id, medium, size, severity, parameters, says, source, confidence

``medium`` and ``size`` are patterns (``*``, ``heat*``); of several rows of one id the last that fits counts, so that a special
row stands behind the general one, and the rows of a user behind ours. ``severity`` is ``warn``, ``fail`` (its values
are not billed) or ``off``. ``parameters`` are ``name=number`` with blanks between them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from openmetering.errors import InputError

__all__ = ["RULE_IDS", "Rule", "Rules", "load_rules"]

_FILE: Final = "validation_rules.csv"
_COLUMNS: Final = ("id", "medium", "size", "severity", "parameters", "says", "source", "confidence")
_SEVERITIES: Final = ("warn", "fail", "off")


class Rule(msgspec.Struct, frozen=True):
    """One row of the table."""

    id: str
    medium: str
    size: str
    severity: str
    parameters: dict[str, float]
    says: str
    source: str
    confidence: str

    def __getitem__(self, name: str) -> float:
        """A parameter. Raises InputError (``input.option``) if the row leaves it out"""
        try:
            return self.parameters[name]
        except KeyError:
            raise InputError(f"rule {self.id} needs the parameter {name}", code="input.option") from None

    def fits(self, medium: str, size: str) -> bool:
        """True if it is meant for such a meter."""
        return fnmatchcase(medium, self.medium) and fnmatchcase(size, self.size)


class Rules(msgspec.Struct, frozen=True):
    """All rows, those that count more behind."""

    rows: tuple[Rule, ...]

    def of(self, medium: str, size: str = "") -> dict[str, Rule]:
        """The rules that count for such a meter, by id; those that are off left out."""
        found = {rule.id: rule for rule in self.rows if rule.fits(medium, size)}
        return {name: rule for name, rule in found.items() if rule.severity != "off"}


def load_rules(path: str | Path | None = None) -> Rules:
    """Our rules, and behind them those of a file of the same columns. Raises InputError (``input.file``) with its line"""
    text = (resources.files("openmetering.tables") / _FILE).read_text("utf-8")
    rows = list(_read(text.splitlines(), _FILE))
    if path is not None:
        try:
            lines = Path(path).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the rules {path} cannot be read: {error}", code="input.file") from None
        rows += _read(lines, str(path))
    return Rules(tuple(rows))


def _read(lines: Iterable[str], name: str) -> Iterable[Rule]:
    reader = csv.DictReader(lines)
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(f"{name}: the first line must be {','.join(_COLUMNS)}", code="input.file")
    for row in reader:
        yield _rule(row, f"{name}, line {reader.line_num}")


def _rule(row: Mapping[str, str | None], where: str) -> Rule:
    cells = {column: (row.get(column) or "").strip() for column in _COLUMNS}
    if cells["severity"] not in _SEVERITIES:
        raise InputError(f"{where}: severity {cells['severity']!r} is none of {', '.join(_SEVERITIES)}", code="input.file")
    parameters: dict[str, float] = {}
    for word in cells["parameters"].split():
        key, _, value = word.partition("=")
        try:
            parameters[key] = float(int(value, 16)) if value.startswith("0x") else float(value)
        except ValueError:
            raise InputError(f"{where}: {word!r} is no name=number", code="input.file") from None
    return Rule(
        cells["id"], cells["medium"] or "*", cells["size"] or "*", cells["severity"], parameters, cells["says"], cells["source"],
        cells["confidence"],
    )  # fmt: skip


#: what there is, in the order of the table
RULE_IDS: Final = tuple(dict.fromkeys(rule.id for rule in load_rules().rows))
