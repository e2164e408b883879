"""The tables of MSCONS: which segments stand where, what their elements hold, what the codes say.

tables/mscons_segments.csv    segments of each group       tables/mscons_elements.csv   elements and their formats
tables/mscons_quality.csv     quality -> codes             tables/mscons_codes.csv      codes of others -> quality
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from importlib import resources
from typing import Final

import msgspec

from openmetering.mdm.mscons.edifact import Segment
from openmetering.mdm.quality import Quality

__all__ = ["MAXIMUM", "METHODS", "QUALIFIERS", "STATUS", "TAGS", "Element", "Status", "agrees", "fault", "method_of"]


class Status(msgspec.Struct, frozen=True):
    """How a quality is written: qualifier of QTY, method of STS Z32 (electricity, gas; empty: none), our own code."""

    qualifier: str
    method: str
    method_gas: str
    own: str


class Element(msgspec.Struct, frozen=True):
    """A component: its number in the directory, what it is, whether it must be there, and its format (``an..35``)."""

    code: str
    name: str
    mandatory: bool
    letters: str
    length: int
    exact: bool

    def takes(self, text: str) -> bool:
        """Whether a text has the format. The sign and the decimal mark of a number do not count."""
        if self.letters == "n":
            if not re.fullmatch(r"-?[0-9]*(?:[.,][0-9]+)?", text, re.ASCII):
                return False
            text = re.sub("[-.,]", "", text)
        elif self.letters == "a" and not text.isalpha():
            return False
        return len(text) == self.length if self.exact else len(text) <= self.length


def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("openmetering.tables") / f"{name}.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _elements() -> dict[str, dict[tuple[int, int], Element]]:
    found: defaultdict[str, dict[tuple[int, int], Element]] = defaultdict(dict)
    for row in _rows("mscons_elements"):
        letters, dots, length = re.fullmatch(r"(an?|n)(\.\.)?(\d+)", row["format"]).groups()  # type: ignore[union-attr]
        place = int(row["element"]) - 1, int(row["component"]) - 1
        found[row["segment"]][place] = Element(row["code"], row["name"], row["status"] == "M", letters, int(length), not dots)
    return dict(found)


def _tags() -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in _rows("mscons_segments"):
        found[row["group"]].add(row["segment"])
    return {group: frozenset(tags) for group, tags in found.items()}


_ELEMENTS: Final = _elements()
_SYNTAX_4: Final = Element("0017", "Date CCYYMMDD", True, "n", 8, True)
#: group -> segments that may stand in it
TAGS: Final = _tags()
#: how often a value may stand in an item
MAXIMUM: Final = int(next(row["repeat"] for row in _rows("mscons_segments") if row["segment"] == "QTY"))
#: quality -> how it is written
STATUS: Final = {
    Quality(row["quality"]): Status(row["qualifier"], row["method"], row["method_gas"], row["status"])
    for row in _rows("mscons_quality")
}
#: qualifier of QTY -> quality
QUALIFIERS: Final = {row["code"]: Quality(row["quality"]) for row in _rows("mscons_codes") if row["element"] == "6063"}
#: method of STS Z32 -> quality
METHODS: Final = {row["code"]: Quality(row["quality"]) for row in _rows("mscons_codes") if row["element"] == "Z32"}


def agrees(quality: Quality, qualifier: str) -> bool:
    """Whether a value of this quality may stand under a qualifier."""
    return qualifier == STATUS[quality].qualifier or QUALIFIERS.get(qualifier) is quality


def method_of(obis: str, quality: Quality) -> str:
    """The method that is written for a quality: gas (OBIS 7) has others than electricity. Empty: none."""
    status = STATUS[quality]
    return status.method_gas if obis.startswith("7") else status.method


def fault(segment: Segment, syntax: int = 3) -> str | None:
    """What is wrong with the elements of a segment, in words; None if nothing is. What the table does not list is not judged."""
    for (element, component), rule in _ELEMENTS.get(segment.tag, {}).items():
        text = segment.get(element, component)
        if segment.tag == "UNB" and rule.code == "0017" and syntax == 4:
            rule = _SYNTAX_4  # noqa: PLW2901
        if not text:
            if rule.mandatory:
                return f"{segment.tag} lacks element {rule.code} ({rule.name})"
        elif not rule.takes(text):
            form = f"{rule.letters}{'' if rule.exact else '..'}{rule.length}"
            return f"{segment.tag} has {text!r} in element {rule.code} ({form})"
    return None
