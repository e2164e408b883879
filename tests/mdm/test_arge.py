"""Records of property managers: by table, both ways, with another table in its place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import DecodeError, InputError, NotRepresentable
from openmetering.mdm.arge import (
    CODE_PAGES,
    UNIT_KEYS,
    Cell,
    Field,
    Line,
    load_layout,
    quality_of,
    read,
    reading_key,
    write,
)
from openmetering.mdm.quality import Quality

LAYOUT = load_layout()
DAY = date(2025, 12, 31)
HEAD: dict[str, Cell] = {"version": "03.10", "customer": "0000004711", "company": "30"}


def full(record: str, **values: Cell) -> Line:
    """A line as it is read: every field, those that are not given are None."""
    names = [field.field for field in LAYOUT.records[record] if field.carries]
    assert set(values) <= set(names)
    return Line(record, {name: values.get(name, HEAD.get(name)) for name in names})


LINES = [
    full("A", property_unit="0000123450003", own_reference="OBJ-7"),
    full(
        "L", property_unit="0000123450000", vat="3", street="Elm Court 1", country="D", town="Köln",
        begin=date(2025, 1, 1), end=DAY, area=Decimal("1062.50"), co2_owner_percent="050",
    ),
    full(
        "M", property_unit="0000123450003", own_reference="OBJ-7", user_name_1="Müller", begin=date(2025, 4, 1),
        heating_share=Decimal("62.50"), heating_key="010", vacant="0",
    ),
    full(
        "D", property_unit="0000123450003", end=DAY, balance_gross=Decimal("-12.34"), cost="231",
        consumption=Decimal("123.456"), unit=UNIT_KEYS["kWh"], reading=reading_key(Quality.INTERPOLATED),
    ),
    full("E898", property_user="000012345000300301", path="bills/0003.pdf", page="001", end=DAY, document="HKA"),
]  # fmt: skip


def test_round_trip() -> None:
    octets = write(LINES, LAYOUT)
    assert [len(line) for line in octets.decode("iso8859-15").splitlines()] == [128, 2048, 2048, 1024, 120]
    assert list(read(octets, LAYOUT)) == LINES
    assert write(read(octets, LAYOUT), LAYOUT) == octets


@pytest.mark.parametrize("encoding", CODE_PAGES)
def test_code_pages(encoding: str) -> None:
    assert list(read(write(LINES, LAYOUT, encoding), LAYOUT, encoding)) == LINES
    assert ("Müller".encode(encoding)) in write(LINES, LAYOUT, encoding)
    for bad in ("utf-8", "utf-16", "nonsense"):
        with pytest.raises(InputError):
            write(LINES, LAYOUT, bad)
        with pytest.raises(InputError):
            list(read(b"", LAYOUT, bad))


def test_the_octets_of_a_result() -> None:
    line = write([LINES[3]], LAYOUT).decode()
    assert line.startswith("D03.10000000471130" + "0000123450003" + " " * 20 + "311225")
    assert line[127:137] == "-000001234"
    assert line[147:165] == "231" + "000123456" + "005" + "013"
    assert line.endswith(" D\r\n")


def test_the_published_exchange() -> None:
    """Kinds and lengths, and the places of fields that are on either side of long runs of others."""
    assert {name: LAYOUT.length(name) for name in LAYOUT.records} == {
        "A": 128, "L": 2048, "M": 2048, "B": 1024, "K": 1024, "D": 1024, "E835": 133, "E898": 120, "P": 95,
    }  # fmt: skip
    places = {
        (field.record, field.field): (field.position, field.length, field.type)
        for fields in LAYOUT.records.values() for field in fields
    }  # fmt: skip
    assert places["L", "connected_after_2023"] == (165, 1, "key")
    assert places["M", "begin"] == (499, 6, "date")
    assert places["M", "hot_water_key"] == (1172, 3, "key")
    assert places["B", "meter"] == (225, 20, "text")
    assert places["K", "energy_6_factor"] == (230, 9, "decimal3")
    assert places["D", "reading"] == (163, 3, "key")
    assert places["E835", "end"] == (128, 6, "date")


def test_what_is_uncertain_is_marked() -> None:
    marks = {(field.record, field.confidence) for fields in LAYOUT.records.values() for field in fields}
    assert {confidence for _, confidence in marks} == {"V", "S", "?"}
    assert [field.field for field in LAYOUT.records["D"] if field.confidence == "?"] == ["co2_user_gross", "co2_user_net"]


def test_quality_has_a_key_where_the_exchange_has_one() -> None:
    for quality in Quality:
        key = reading_key(quality)
        assert (key is None) == (quality in (Quality.EDITED, Quality.INVALID, Quality.MISSING))
        if key is not None:
            assert quality_of(key) is (Quality.MEASURED if quality is Quality.LATE else quality)
    assert quality_of("099") is None


def cells(field: Field) -> st.SearchStrategy[Cell]:
    """Any value of a field, in its exact form."""
    if field.type == "date":
        return st.none() | st.dates(date(1970, 1, 1), date(2069, 12, 31))
    if field.type == "key":
        return st.none() | st.text("0123456789", min_size=field.length, max_size=field.length)
    if field.type.startswith("decimal"):
        most = 10 ** (field.length - 1) - 1
        return st.none() | st.integers(-most if field.length > 1 else 0, most).map(
            lambda one: Decimal(one).scaleb(-field.decimals)
        )
    texts = st.text("abcXYZ äß€-09 ", max_size=field.length).map(str.strip).map(lambda one: one or None)
    return texts.map(lambda one: one or field.default or None)


@given(st.data(), st.sampled_from([name for name in LAYOUT.records if name != "M"]))
def test_any_record_that_fits_comes_back(data: st.DataObject, record: str) -> None:
    line = Line(record, {field.field: data.draw(cells(field)) for field in LAYOUT.records[record] if field.carries})
    octets = write([line], LAYOUT)
    assert list(read(octets, LAYOUT)) == [line]
    assert len(octets) == LAYOUT.length(record) + 2


@pytest.mark.parametrize(
    "bad",
    [
        Line("X", {}),
        Line("D", {"colour": "blue"}),
        Line("D", {"filler": "x"}),
        Line("D", {"consumption": Decimal("0.0001")}),
        Line("D", {"consumption": Decimal("1e6")}),
        Line("D", {"consumption": Decimal("-100000")}),
        Line("D", {"consumption": Decimal("NaN")}),
        Line("D", {"consumption": "12"}),
        Line("D", {"end": "311225"}),
        Line("D", {"end": date(1969, 12, 31)}),
        Line("D", {"end": date(2070, 1, 1)}),
        Line("D", {"name": date(2025, 1, 1)}),
        Line("D", {"name": Decimal(1)}),
        Line("D", {"name": "x" * 36}),
        Line("D", {"name": " x"}),
        Line("D", {"name": "a\nb"}),
        Line("D", {"name": "Ω"}),
        Line("D", {"cost": "23"}),
        Line("D", {"cost": "2a1"}),
        Line("D", {"cost": "２３１"}),
    ],
)
def test_what_does_not_fit_is_refused(bad: Line) -> None:
    with pytest.raises(NotRepresentable):
        write([bad], LAYOUT)


@pytest.mark.parametrize(
    ("change", "words", "offset"),
    [
        (lambda text: text[:-2], "a record D has 1024 signs, this line 1022", 0),
        (lambda text: "Z" + text[1:], "begins with 'Z'", 0),
        (lambda text: text[:-1] + "M", "stands at its end once more", 1023),
        (lambda text: text[:51] + "321225" + text[57:], "is no date", 51),
        (lambda text: text[:51] + " 31225" + text[57:], "is no date", 51),
        (lambda text: text[:147] + " 31" + text[150:], "is no key", 147),
        (lambda text: text[:150] + "00001234x" + text[159:], "is no decimal3", 150),
        (lambda text: text[:150] + "0000-1234" + text[159:], "is no decimal3", 150),
    ],
)
def test_a_bad_line_is_told_with_its_place(change: Callable[[str], str], words: str, offset: int) -> None:
    first = write(LINES[:1], LAYOUT)
    text = write([LINES[3]], LAYOUT).decode("iso8859-15").rstrip("\r\n")
    with pytest.raises(DecodeError) as caught:
        list(read(first + change(text).encode("iso8859-15"), LAYOUT))
    assert caught.value.code == "arge.line"
    assert words in caught.value.message
    assert caught.value.offset == len(first) + offset


def test_an_octet_of_no_sign_is_told_with_its_place() -> None:
    octets = write([LINES[3]], LAYOUT)
    with pytest.raises(DecodeError) as caught:
        list(read(octets[:170] + b"\x81" + octets[171:], LAYOUT, "cp1252"))
    assert caught.value.offset == 170


def test_a_date_of_zeros_and_blank_lines() -> None:
    octets = write([LINES[3]], LAYOUT)
    assert next(iter(read(b"\r\n" + octets.replace(b"311225", b"000000") + b"\n", LAYOUT))).values["end"] is None


HEADER = "record,field,position,length,type,meaning,confidence\n"


def test_another_table_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text(HEADER + "E,record,1,1,const,x,V\nE,amount,2,5,decimal2,x,V\nE,day,7,8,date,x,V\nE,by,15,3,text=me,x,V\n")
    layout = load_layout(path)
    octets = write([Line("E", {"amount": Decimal("1.25"), "day": date(1969, 7, 20)})], layout)
    assert octets == b"E0012520071969me \r\n"
    assert list(read(octets, layout)) == [Line("E", {"amount": Decimal("1.25"), "day": date(1969, 7, 20), "by": "me"})]


@pytest.mark.parametrize(
    "bad",
    [
        "E,record,1,1,const,x,V\nE,amount,3,5,decimal2,x,V\n",
        "E,record,1,1,const,x,V\nE,amount,2,5,decimal6,x,V\n",
        "E,record,1,1,const,x,V\nE,a,2,5,text,x,V\nE,a,7,5,text,x,V\n",
        "E,record,1,1,const,x,V\nE,day,2,7,date,x,V\n",
        "E,record,1,1,const,x,V\nE,a,2,1,text=me,x,V\n",
        "E,record,1,x,const,x,V\n",
        "E,record,1,1,number,x,V\n",
        "E835,record,1,1,const,x,V\n",
        "E,amount,1,5,text,x,V\n",
        "E,record\n",
        "",
    ],
)
def test_a_layout_that_cannot_be(bad: str, tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text(HEADER + bad)
    with pytest.raises(InputError):
        load_layout(path)


def test_a_file_that_is_no_layout(tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text("a,b\n")
    for bad in (path, tmp_path / "nothing.csv"):
        with pytest.raises(InputError):
            load_layout(bad)


@given(st.binary(max_size=300))
def test_any_octets_give_our_own_errors(octets: bytes) -> None:
    good = write([LINES[0]], LAYOUT)
    for text in (octets, good[:-60] + octets, good[:18] + octets[:110].ljust(110) + good[-2:]):
        with suppress(DecodeError):
            list(read(text, LAYOUT))
