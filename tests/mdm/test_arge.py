"""Records of property managers: by table, both ways, with another table in its place."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import DecodeError, InputError, NotRepresentable
from openmetering.mdm.arge import Line, load_layout, read, write

LAYOUT = load_layout()
DAY = date(2025, 12, 31)
LINES = [
    Line("L", {"supplier": "4711", "customer": "Elm Court", "begin": date(2025, 1, 1), "end": DAY}),
    Line(
        "M",
        {
            "supplier": "4711", "unit": "3", "customer": "Müller", "begin": date(2025, 4, 1), "end": None,
            "area": Decimal("62.5"),
        },
    ),
    Line(
        "D",
        {
            "supplier": "4711", "unit": "3", "device": "ELS-30010001", "medium": "KW", "day": DAY, "value": Decimal("123.456"),
            "measure": "m3", "quality": "estimated-interpolation", "source": "meter",
        },
    ),
]  # fmt: skip


def test_round_trip() -> None:
    octets = write(LINES, LAYOUT)
    assert {len(line) for line in octets.decode("cp1252").splitlines()} == {LAYOUT.length} == {128}
    assert list(read(octets, LAYOUT)) == LINES
    assert write(read(octets, LAYOUT), LAYOUT) == octets
    assert list(read(write(LINES, LAYOUT, "cp850"), LAYOUT, "cp850")) == LINES


def test_every_field_of_ours_is_marked_as_unknown() -> None:
    assert {field.confidence for fields in LAYOUT.records.values() for field in fields} == {"?"}


@given(st.decimals(0, 999_999_999, places=3), st.text("abcXYZ 09", max_size=16).map(str.strip), st.dates(date(1950, 1, 1), DAY))
def test_any_value_that_fits_comes_back(value: Decimal, device: str, day: date) -> None:
    line = Line("D", LINES[2].values | {"value": value, "device": device or None, "day": day})
    assert list(read(write([line], LAYOUT), LAYOUT)) == [line]


@pytest.mark.parametrize(
    "bad",
    [
        Line("X", {}),
        Line("D", {"colour": "blue"}),
        Line("D", {"value": Decimal("-1")}),
        Line("D", {"value": Decimal("0.0001")}),
        Line("D", {"value": Decimal("1e12")}),
        Line("D", {"value": "12"}),
        Line("D", {"day": "31122025"}),
        Line("D", {"device": "x" * 17}),
        Line("D", {"device": "a\nb"}),
        Line("D", {"device": "Ω"}),
    ],
)
def test_what_does_not_fit_is_refused(bad: Line) -> None:
    with pytest.raises(NotRepresentable):
        write([bad], LAYOUT)


@pytest.mark.parametrize(
    ("change", "words", "offset"),
    [
        (lambda text: text[:-2], "this line 126", 0),
        (lambda text: "Z" + text[1:], "begins with 'Z'", 0),
        (lambda text: text[:37] + "32122025" + text[45:], "is no date", 37),
        (lambda text: text[:45] + "00000012345x" + text[57:], "is no number", 45),
    ],
)
def test_a_bad_line_is_told_with_its_place(change: object, words: str, offset: int) -> None:
    first = write(LINES[:1], LAYOUT)
    text = write(LINES[2:], LAYOUT).decode("cp1252").rstrip("\r\n")
    with pytest.raises(DecodeError) as caught:
        list(read(first + change(text).encode("cp1252"), LAYOUT))  # type: ignore[operator]
    assert words in caught.value.message
    assert caught.value.offset == len(first) + offset


def test_another_table_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    head = "record,field,position,length,type,meaning,confidence\n"
    path.write_text(head + "E,record,1,1,const,x,V\nE,amount,2,5,decimal2,x,V\n")
    layout = load_layout(path)
    assert write([Line("E", {"amount": Decimal("1.25")})], layout) == b"E00125\r\n"
    for bad in (
        "E,record,1,1,const,x,V\nE,amount,3,5,decimal2,x,V\n", "E,record,1,x,const,x,V\n", "E,record,1,1,number,x,V\n",
        "E,record,1,1,const,x,V\nF,record,1,2,const,x,V\n",
    ):  # fmt: skip
        path.write_text(head + bad)
        with pytest.raises(InputError):
            load_layout(path)
    path.write_text("a,b\n")
    with pytest.raises(InputError):
        load_layout(path)
    with pytest.raises(InputError):
        load_layout(tmp_path / "nothing.csv")
