"""The status word: its bits, its text, its level, and what each check sets."""

from __future__ import annotations

import csv
from functools import reduce
from importlib import resources
from operator import or_
from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.mdm.slots import Check, Level, level_of, status_names, status_text, status_word
from openmetering.mdm.slots.status import outcome

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "register-slots.md"


def rows() -> list[dict[str, str]]:
    text = (resources.files("openmetering.tables") / "register_status.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(
    ("checks", "text", "level", "names"),
    [
        (Check(0), "A000000020000000", Level.NO_ERROR, ()),
        (Check.METER_POWER, "A008000020000000", Level.WARNING, ("gateway warning",)),
        (Check.METER_CLOCK, "A008000020000000", Level.WARNING, ("gateway warning",)),
        (Check.BACKWARD, "A004000020000000", Level.TEMPORARY, ("gateway temporary error",)),
        (Check.METER_TEMPORARY, "A004000020000000", Level.TEMPORARY, ("gateway temporary error",)),
        (Check.MISSING, "A002000020000000", Level.CRITICAL, ("gateway critical temporary error",)),
        (Check.UNPROVEN, "A002000020000000", Level.CRITICAL, ("gateway critical temporary error",)),
        (Check.GATEWAY_CLOCK, "A040000020000000", Level.CRITICAL, ("gateway system time invalid",)),
        (Check.METER_PERMANENT, "A000000020004000", Level.FATAL, ("meter fatal error",)),
        (
            Check.METER_PERMANENT | Check.METER_POWER, "A008000020004000", Level.FATAL,
            ("meter fatal error", "gateway warning"),
        ),
    ],
)  # fmt: skip
def test_each_check_sets_its_bits(checks: Check, text: str, level: Level, names: tuple[str, ...]) -> None:
    found = outcome(checks)
    assert (status_text(found.word), found.level, status_names(found.word)) == (text, level, names)
    assert status_word(text) == found.word


def test_the_halves_are_gateway_and_meter_with_the_lowest_bit_first() -> None:
    """Fatal error of the gateway is bit 8, its warning bit 12; rotating field bit 15 of the meter: of no consequence."""
    word = 0x1105 << 32 | 0x8004
    assert status_text(word) == "A088000020010000"
    assert status_word("a088000020010000") == word
    assert level_of(word) is Level.FATAL
    assert level_of(0x8004) is Level.NO_ERROR
    assert status_names(0x8004) == ("meter rotating field not L1 L2 L3",)


@pytest.mark.parametrize(
    "text", ["", "A0000000", "A00000002000000", "A000000020000000 0", "0000000020000000", "A000000000000000"]
)
def test_what_is_no_status_word_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        status_word(text)


def test_every_check_sets_a_bit_and_every_bit_stands_once() -> None:
    quiet = outcome(0).word
    assert all(outcome(check).word != quiet for check in Check)
    assert outcome(reduce(or_, Check)).level is Level.FATAL
    assert len({(row["part"], row["bit"]) for row in rows()}) == len(rows())
    assert {row["confidence"] for row in rows()} <= {"V", "O", "S", "K", "?"}


def test_the_page_has_the_bits_of_the_table() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    begin = lines.index("| part | bit | name | level | set by the check | confidence |") + 2
    shown = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        shown.append([cell.strip() for cell in line.strip("|").split("|")])
    assert shown == [[row[name] for name in ("part", "bit", "name", "level", "checks", "confidence")] for row in rows()]
