"""MSCONS both ways, and as an independent parser sees it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydifact.segmentcollection import Interchange as Foreign

from openmetering.errors import DecodeError, NotRepresentable
from openmetering.mdm.mscons import QUALIFIERS, Interchange, Item, Location, Message, Value, read, write
from openmetering.mdm.mscons.edifact import Segment, Signs, segments_of, text_of
from openmetering.mdm.quality import Quality

AT = datetime(2025, 12, 31, 23, 0, tzinfo=UTC)
READING = Value(AT, Decimal("12345.678"), Quality.MEASURED, "meter")
PROFILE = tuple(
    Value(AT + timedelta(minutes=15 * n), Decimal(n), Quality.INTERPOLATED, "rule: it's +1", AT + timedelta(minutes=15 * n + 15))
    for n in range(4)
)
FILE = Interchange(
    "9900123000007", "9900456000004", "REF1", AT,
    (
        Message(
            "1", "DOC-7", AT,
            (
                Location("DE0001234567890123456789012345678", "ELS-30010001", (Item("1-0:1.8.0", "KWH", (READING,)),)),
                Location("DE00099", "", (Item("1-0:1.29.0", "KWH", PROFILE), Item("7-0:3.0.0", "MTQ", (READING,))),)
            ),
            check="13002",
        ),
        Message("2", "DOC-8", AT, ()),
    ),
)  # fmt: skip


def test_round_trip() -> None:
    assert read(write(FILE)) == FILE


def test_the_octets_of_a_reading() -> None:
    text = write(FILE).decode("latin-1")
    assert text.startswith("UNA:+.? 'UNB+UNOC:3+9900123000007:500+9900456000004:500+251231:2300+REF1'UNH+1+MSCONS:D:04B:UN:2.4c'")
    assert "LOC+172+DE0001234567890123456789012345678'RFF+MG:ELS-30010001'LIN+1'PIA+5+1-0?:1.8.0:SRW'" in text
    assert "QTY+220:12345.678:KWH'DTM+7:202512312300?+00:303'STS+Z34++measured::ZZZ:meter'" in text
    assert text.endswith("UNT+7+2'UNZ+2+REF1'")
    assert "rule?: it?'s ?+1" in text


def test_an_independent_parser_sees_the_same() -> None:
    """pydifact reads the segments, counts them and finds the same values."""
    found = Foreign.from_str(write(FILE).decode("latin-1"))
    assert (found.sender[0], found.recipient[0], found.control_reference) == ("9900123000007", "9900456000004", "REF1")
    messages = list(found.get_messages())
    first = messages[0]
    assert first.type == "MSCONS"
    quantities = [one.elements[0] for one in first.segments if one.tag == "QTY"]
    assert quantities[0] == ["220", "12345.678", "KWH"]
    assert [one[1] for one in quantities[1:]] == ["0", "1", "2", "3", "12345.678"]
    assert [one.elements[2][3] for one in first.segments if one.tag == "STS"][-2] == "rule: it's +1"
    ours = [one for one in segments_of(write(FILE)) if one.tag not in ("UNB", "UNZ", "UNH", "UNT")]
    theirs = [one.tag for message in messages for one in message.segments]
    assert [one.tag for one in ours] == theirs


def test_every_quality_survives() -> None:
    assert set(QUALIFIERS) == set(Quality)
    values = tuple(
        Value(AT, None if quality is Quality.MISSING else Decimal("1.5"), quality, quality.value) for quality in Quality
    )
    made = Interchange("1", "2", "R", AT, (Message("1", "D", AT, (Location("L", "", (Item("1-0:1.8.0", "KWH", values),)),)),))
    assert read(write(made)) == made


TEXT = st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=20).map(str.strip)


@given(st.lists(st.tuples(st.sampled_from(("QTY", "FTX", "AB1")), st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=4))))
def test_any_text_comes_back(rows: list[tuple[str, list[list[str]]]]) -> None:
    def trimmed(elements: list[list[str]]) -> tuple[tuple[str, ...], ...]:
        found = []
        for element in elements:
            kept = list(element)
            while len(kept) > 1 and not kept[-1]:
                kept.pop()
            found.append(tuple(kept))
        while found and found[-1] == ("",):
            found.pop()
        return tuple(found)

    made = [Segment(tag, tuple(tuple(one) for one in elements)) for tag, elements in rows]
    back = list(segments_of(text_of(made)))
    assert [(one.tag, one.elements) for one in back] == [(tag, trimmed(elements)) for tag, elements in rows]


def test_other_signs() -> None:
    made = text_of([Segment("QTY", (("1", "a*b"), ("c",)))], Signs("*", "/", ",", "!", "~"))
    assert made == b"UNA*/,! ~QTY/1*a!*b/c~"
    assert list(segments_of(made)) == [Segment("QTY", (("1", "a*b"), ("c",)), 9)]


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("UNT+7+2'", "UNT+8+2'", "mscons.syntax", "counts 8 segments, 7 are there"),
        ("UNT+7+2'", "UNT+7+3'", "mscons.syntax", "UNT names '3', UNH '2'"),
        ("UNZ+2+REF1'", "UNZ+3+REF1'", "mscons.syntax", "counts 3 messages"),
        ("UNZ+2+REF1'", "UNZ+2+REF2'", "mscons.syntax", "UNZ names 'REF2'"),
        ("UNZ+2+REF1'", "UNZ+2+REF1", "mscons.syntax", "ends within a segment"),
        ("UNB+", "BNU+", "mscons.syntax", "begins with UNB"),
        ("MSCONS:D:04B", "UTILMD:D:04B", "mscons.content", "is no MSCONS of D.04B"),
        ("QTY+220:12345.678", "QTY+221:12345.678", "mscons.content", "QTY 221 is not known"),
        ("QTY+220:12345.678", "QTY+220:twelve", "mscons.content", "'twelve' is no number"),
        ("DTM+7:202512312300", "DTM+7:202513312300", "mscons.content", "is no time"),
        ("++measured::ZZZ", "++guessed::ZZZ", "mscons.content", "'guessed' is no quality"),
        ("++measured::ZZZ", "++edited::ZZZ", "mscons.content", "contradicts the qualifier"),
        ("PIA+5+1-0?:1.8.0:SRW'", "", "mscons.syntax", "UNT counts"),
    ],
)
def test_a_bad_file_is_told_with_its_place(old: str, new: str, code: str, words: str) -> None:
    text = write(FILE).decode("latin-1")
    assert old in text
    with pytest.raises(DecodeError) as caught:
        read(text.replace(old, new, 1).encode("latin-1"))
    assert caught.value.code == code
    assert words in caught.value.message
    assert 0 <= caught.value.offset <= len(text)


def test_what_cannot_be_written_is_refused() -> None:
    def one(value: Value, device: str = "") -> Interchange:
        return Interchange("1", "2", "R", AT, (Message("1", "D", AT, (Location("L", device, (Item("o", "KWH", (value,)),)),)),))

    for bad in (
        one(Value(AT, None, Quality.MEASURED)),
        one(Value(AT.replace(tzinfo=None), Decimal(1), Quality.MEASURED)),
        one(Value(AT.replace(second=1), Decimal(1), Quality.MEASURED)),
        one(READING, "Ω"),
    ):
        with pytest.raises(NotRepresentable):
            write(bad)


@given(st.binary(max_size=200))
def test_any_octets_give_our_own_errors(octets: bytes) -> None:
    for text in (octets, b"UNB+UNOC:3+1+2+250101:0000+R'" + octets, write(FILE)[:-20] + octets):
        with suppress(DecodeError):
            read(text)
