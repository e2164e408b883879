"""The tables on the pages of MSCONS and bved are those of the code, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from openmetering.mdm.arge import load_layout
from openmetering.tables import _load

PAGES = Path(__file__).parents[2] / "docs" / "reference"


def table(page: str, header: str) -> list[list[str]]:
    """The rows of the table of a page that has this header."""
    lines = (PAGES / page).read_text("utf-8").splitlines()
    begin = lines.index(header) + 2
    found = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


@pytest.mark.parametrize(
    ("page", "header", "name", "columns"),
    [
        (
            "mscons.md", "| quality | QTY | method (electricity) | method (gas) | our status | confidence |",
            "mscons_quality.csv",
            ("quality", "qualifier", "method", "method_gas", "status", "confidence"),
        ),
        (
            "mscons.md", "| element | code | quality | confidence |", "mscons_codes.csv",
            ("element", "code", "quality", "confidence"),
        ),
        (
            "mscons.md", "| group | segment | which | use | repeat |", "mscons_segments.csv",
            ("group", "segment", "qualifier", "use", "repeat"),
        ),
    ],
)  # fmt: skip
def test_a_table_of_the_page_is_that_of_the_code(page: str, header: str, name: str, columns: tuple[str, ...]) -> None:
    assert table(page, header) == [[row[column] for column in columns] for row in _load.rows(name)]


def test_the_keys_of_readings() -> None:
    rows = [row for row in _load.rows("arge_keys.csv") if row["table"] == "S"]
    assert table("arge.md", "| key | quality | direction | confidence |") == [
        [row["key"], row["value"], row["direction"], row["confidence"]] for row in rows
    ]


def test_the_kinds_of_records() -> None:
    layout = load_layout()
    assert table("arge.md", "| record | what it is | signs | fields | confidence |") == [
        [name, fields[0].meaning, str(layout.length(name)), str(sum(field.carries for field in fields)), fields[0].confidence]
        for name, fields in layout.records.items()
    ]


@pytest.mark.parametrize("name", ["mscons_quality", "mscons_codes", "mscons_segments", "mscons_elements", "arge_keys"])
def test_every_row_has_source_and_confidence(name: str) -> None:
    for row in _load.rows(f"{name}.csv"):
        assert row["source"]
        assert row["confidence"] in {"V", "O", "S", "K", "?"}
