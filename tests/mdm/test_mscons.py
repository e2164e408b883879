"""MSCONS both ways, as an independent parser sees it, and as partners write it."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydifact.segmentcollection import Interchange as Foreign

from openmetering.errors import DecodeError, NotRepresentable
from openmetering.mdm.mscons import (
    METHODS,
    QUALIFIERS,
    STATUS,
    Interchange,
    Item,
    Location,
    Message,
    Party,
    Segment,
    Value,
    read,
    write,
)
from openmetering.mdm.mscons.codes import MAXIMUM
from openmetering.mdm.mscons.edifact import Signs, segments_of, text_of
from openmetering.mdm.quality import Quality

pytestmark = pytest.mark.filterwarnings("ignore:segments.xml not found")

AT = datetime(2025, 12, 31, 23, 0, tzinfo=UTC)
SLOT = timedelta(minutes=15)
READING = Value(AT, Decimal("12345.678"), Quality.MEASURED, "meter")
PROFILE = tuple(
    Value(AT + n * SLOT, Decimal(n), Quality.INTERPOLATED, "rule: it's +1", AT + (n + 1) * SLOT) for n in range(4)
)  # fmt: skip
SENDER, RECIPIENT = Party("9900123000007"), Party("9900456000004")
FILE = Interchange(
    SENDER, RECIPIENT, "REF1", AT,
    (
        Message(
            "1", "DOC-7", AT,
            (
                Location("DE0001234567890123456789012345678", "ELS-30010001", (Item("1-0:1.8.0", "KWH", (READING,)),)),
                Location(
                    "DE00099", "",
                    (Item("1-0:1.29.0", "KWH", PROFILE), Item("7-0:3.0.0", "", (READING,))), (AT, AT + 4 * SLOT),
                ),
            ),
            check="13018",
        ),
        Message("2", "DOC-8", AT, (), function="1", others=(Segment("RFF", (("ACW", "DOC-6"),)),)),
    ),
    application="TL",
)  # fmt: skip


def single(value: Value, *, obis: str = "1-0:1.8.0", unit: str = "KWH", device: str = "") -> Interchange:
    """An interchange with one value."""
    item = Item(obis, unit, (value,))
    return Interchange(SENDER, RECIPIENT, "R", AT, (Message("1", "D", AT, (Location("L", device, (item,)),)),))


def recounted(text: str) -> bytes:
    """A file that was changed, its messages counted anew."""

    def counted(found: re.Match[str]) -> str:
        count = sum(1 for _ in segments_of(found.group(1).encode("latin-1"))) + 1
        return f"{found.group(1)}UNT+{count}+"

    return re.sub(r"(?s)(UNH\+.*?)UNT\+\d+\+", counted, text).encode("latin-1")


def only(octets: bytes) -> Value:
    """The one value of a file."""
    return read(octets).messages[0].locations[0].items[0].values[0]


def test_round_trip() -> None:
    assert read(write(FILE)) == FILE
    assert write(read(write(FILE))) == write(FILE)


def test_the_octets_of_a_reading() -> None:
    text = write(FILE).decode("latin-1")
    assert text.startswith(
        "UNA:+.? 'UNB+UNOC:3+9900123000007:500+9900456000004:500+251231:2300+REF1++TL'UNH+1+MSCONS:D:04B:UN:2.4c'"
        "BGM+7+DOC-7+9'DTM+137:202512312300?+00:303'RFF+Z13:13018'NAD+MS+9900123000007::293'NAD+MR+9900456000004::293'UNS+D'"
    )
    assert "LOC+172+DE0001234567890123456789012345678'RFF+MG:ELS-30010001'LIN+1'PIA+5+1-0?:1.8.0:SRW'" in text
    assert "QTY+220:12345.678:KWH'DTM+7:202512312300?+00:303'STS+ZZZ::ZZZ++MEA::ZZZ:meter'" in text
    assert "LOC+172+DE00099'DTM+163:202512312300?+00:303'DTM+164:202601010000?+00:303'LIN+1'" in text
    assert "DTM+164:202512312315?+00:303'STS+Z32++Z92'STS+ZZZ::ZZZ++INT::ZZZ:rule?: it?'s ?+1'" in text
    assert "BGM+7+DOC-8+1'DTM+137:202512312300?+00:303'RFF+ACW:DOC-6'" in text
    assert text.endswith("UNT+8+2'UNZ+2+REF1'")


def test_syntax_and_message_version_are_parameters() -> None:
    """Syntax 4 has years of four digits; the version of the guide is whatever the partners agreed on."""
    made = msgspec.structs.replace(
        FILE, syntax=4, test=True, messages=tuple(msgspec.structs.replace(one, version="2.5") for one in FILE.messages)
    )
    octets = write(made)
    assert b"UNB+UNOC:4+9900123000007:500+9900456000004:500+20251231:2300+REF1++TL++++1'" in octets
    assert octets.count(b"MSCONS:D:04B:UN:2.5'") == 2
    assert read(octets) == made


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
    assert [one.elements[2][3] for one in first.segments if one.tag == "STS" and one.elements[0] != "Z32"][-2] == "rule: it's +1"
    ours = [one for one in segments_of(write(FILE)) if one.tag not in ("UNB", "UNZ", "UNH", "UNT")]
    theirs = [one.tag for message in messages for one in message.segments]
    assert [one.tag for one in ours] == theirs


def test_what_an_independent_writer_makes_is_read() -> None:
    """Through pydifact and back: its own serialiser escapes and counts."""
    parsed = Foreign.from_str(write(FILE).decode("latin-1"))
    assert read(parsed.serialize().encode("latin-1")) == FILE


# -- quality and source -----------------------------------------------------------------------------------


@pytest.mark.parametrize("obis", ["1-0:1.8.0", "7-0:3.0.0", "8-0:1.0.0"])
@pytest.mark.parametrize("quality", Quality)
def test_every_quality_survives(quality: Quality, obis: str) -> None:
    value = None if quality is Quality.MISSING else Decimal("1.5")
    made = single(Value(AT, value, quality, f"{quality.value}: Zähler"), obis=obis)
    assert read(write(made)) == made


@pytest.mark.parametrize("quality", Quality)
def test_without_our_status_the_codes_of_the_guide_remain(quality: Quality) -> None:
    """What a partner sees who takes nothing but the guide: no status of ours, and never a better quality than it was."""
    value = None if quality is Quality.MISSING else Decimal("1.5")
    octets = write(single(Value(AT, value, quality, "meter")), extension=False)
    assert b"ZZZ" not in octets
    assert b"meter" not in octets
    found = only(octets)
    assert (found.source, found.value) == ("", value)
    assert found.quality.billable == quality.billable
    told = {Quality.MEASURED, Quality.INTERPOLATED, Quality.PEERS, Quality.INVALID, Quality.MISSING}
    assert (found.quality is quality) == (quality in told)
    assert write(read(octets), extension=False) == octets


def test_tables_cover_every_quality_and_agree() -> None:
    assert set(STATUS) == set(Quality)
    assert len({one.own for one in STATUS.values()}) == len(Quality)
    for quality, status in STATUS.items():
        assert QUALIFIERS[status.qualifier].billable == quality.billable
        assert {status.method, status.method_gas} - {""} <= set(METHODS)


@pytest.mark.parametrize("qualifier", sorted(QUALIFIERS))
def test_qualifiers_of_others_are_kept(qualifier: str) -> None:
    """A forecast stays a forecast, and no method is made up for a substitute value that came without one."""
    octets = write(single(READING), extension=False).replace(b"QTY+220", f"QTY+{qualifier}".encode())
    found = only(octets)
    assert found.quality is QUALIFIERS[qualifier]
    again = write(read(octets), extension=False)
    if qualifier != "Z30":
        assert again == octets
    else:
        assert found.value is None
        assert b"QTY+Z30:0:KWH'" in again
    assert only(write(read(octets))) == found


@pytest.mark.parametrize("method", sorted(METHODS))
def test_methods_of_others_are_kept(method: str) -> None:
    text = write(single(READING), extension=False).decode("latin-1").replace("QTY+220", "QTY+67")
    octets = recounted(text.replace("UNT+", f"STS+Z32++{method}'STS+Z40++Z75'UNT+"))
    found = only(octets)
    assert found.quality is METHODS[method]
    assert Segment("STS", (("Z40",), ("",), ("Z75",))) in found.others
    assert write(read(octets), extension=False) == octets


# -- files of partners ------------------------------------------------------------------------------------

PARTNER = (
    "UNA:+,? '\r\nUNB+UNOC:3+9900123000007:500+4012345000009:14+260105:0415+F1++EM'\r\n"
    "UNH+M1+MSCONS:D:04B:UN:2.4b'\r\nBGM+Z28+B1+9'\r\nDTM+137:202601050415?+00:303'\r\nRFF+AGI:4711'\r\nRFF+Z13:13019'\r\n"
    "NAD+MS+9900789000001::293'\r\nCTA+IC+:M. Smith'\r\nCOM+m.smith@example.org:EM'\r\nNAD+MR+4012345000009::9'\r\nUNS+D'\r\n"
    "NAD+DP'\r\nLOC+172+51238696012'\r\nDTM+492:202512:610'\r\nRFF+MG:1EMH0001'\r\nRFF+AGK:K7'\r\n"
    "LIN+1'\r\nPIA+5+1-1?:1.9.0:Z02'\r\n"
    "QTY+67:1223,5'\r\nDTM+163:202511302300?+00:303'\r\nDTM+164:202601010000?+01:303'\r\nDTM+7:202512312300?+00:303'\r\n"
    "STS+Z33++Z84'\r\nSTS+10+Z36'\r\n"
    "LIN+2'\r\nPIA+5+1-1?:1.6.0:SRW'\r\nQTY+79:-4,987'\r\nDTM+306:202512:610'\r\n"
    "UNT+28+M1'\r\nUNZ+1+F1'\r\n"
)  # fmt: skip


def test_a_file_of_a_partner_is_read_and_nothing_is_lost() -> None:
    """A comma, another sender than that of the file, contacts, months, references, statuses, two kinds of time."""
    found = read(PARTNER.encode("latin-1"))
    assert (found.recipient, found.application) == (Party("4012345000009", "9"), "EM")
    message = found.messages[0]
    assert message.sender is not None
    assert (message.sender.number, len(message.sender.others), message.recipient) == ("9900789000001", 2, None)
    assert (message.version, message.check, message.kind) == ("2.4b", "13019", "Z28")
    location = message.locations[0]
    assert (location.device, [one.tag for one in location.others]) == ("1EMH0001", ["DTM", "RFF"])
    first, second = location.items
    assert first.others == (Segment("PIA", (("5",), ("1-1:1.9.0", "Z02"))),)
    assert (first.values[0].at, first.values[0].ends) == (datetime(2025, 11, 30, 23, tzinfo=UTC), AT)
    assert first.values[0].value == Decimal("1223.5")
    assert [one.tag for one in first.values[0].others] == ["DTM", "STS", "STS"]
    assert (second.values[0].at, second.values[0].value, second.values[0].qualifier) == (None, Decimal("-4.987"), "79")
    canonical = PARTNER.replace("202601010000?+01", "202512312300?+00").replace("1223,5", "1223.5").replace("4,987", "4.987")
    ours, theirs = (
        sorted((one.tag, one.elements) for one in segments_of(octets))
        for octets in (write(found, extension=False), canonical.encode("latin-1"))
    )
    assert ours == theirs
    assert read(write(found)) == found


def test_a_place_with_more_in_it_is_written_as_it_came() -> None:
    text = PARTNER.replace("NAD+DP'", "NAD+Z15'").replace("LOC+172+51238696012'", "LOC+107+11YR1'")
    text = text.replace("RFF+AGK:K7'", "RFF+AGK:K7'CCI+15++BI1'").replace("DTM+492:202512:610'", "")
    found = read(text.encode("latin-1"))
    assert found.messages[0].locations[0].identifier == "11YR1"
    octets = write(found)
    assert b"NAD+Z15'LOC+107+11YR1'RFF+MG:1EMH0001'RFF+AGK:K7'CCI+15++BI1'LIN+1'" in octets
    assert read(octets) == found


def test_an_item_with_two_products_keeps_both() -> None:
    text = write(FILE).decode("latin-1").replace("PIA+5+1-0?:1.8.0:SRW'", "PIA+5+1-0?:1.8.0:SRW'PIA+1+X7'")
    found = read(recounted(text))
    assert [one.tag for one in found.messages[0].locations[0].items[0].others] == ["PIA", "PIA"]
    assert write(found) == recounted(text)


def test_two_places_of_one_delivery() -> None:
    text = write(FILE).decode("latin-1").replace("NAD+DP'LOC+172+DE00099'", "LOC+172+DE00099'")
    assert read(recounted(text)) == FILE


def test_times_without_a_zone_need_one() -> None:
    octets = write(FILE).replace(b"DTM+7:202512312300?+00:303", b"DTM+7:202601010000:203")
    with pytest.raises(DecodeError, match="has no zone"):
        read(octets)
    assert read(octets, timezone(timedelta(hours=1))) == FILE
    assert read(octets.replace(b"202601010000:203", b"20260101:102"), timezone(timedelta(hours=1))) == FILE


# -- segments ---------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=20).map(str.strip)
ROWS = st.lists(st.tuples(st.sampled_from(("QTY", "FTX", "AB1")), st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=4)))


@given(ROWS)
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


@pytest.mark.parametrize("text", [b"UNB+" + b"a" * 100_000, b"UNB+" + b"?a" * 50_000, b"a" * 100_000 + b"?"])
def test_a_long_file_without_an_end_is_told_at_once(text: bytes) -> None:
    """A pattern that tries every way to cut the text would not come back from this."""
    with pytest.raises(DecodeError):
        list(segments_of(text))


def test_other_signs() -> None:
    made = text_of([Segment("QTY", (("1", "a*b"), ("c",)))], Signs("*", "/", ",", "!", "~"))
    assert made == b"UNA*/,! ~QTY/1*a!*b/c~"
    assert list(segments_of(made)) == [Segment("QTY", (("1", "a*b"), ("c",)), 9)]
    assert list(segments_of(b"UNA:+.  'QTY+a?:b'")) == [Segment("QTY", (("a?", "b"),), 9)]


@pytest.mark.parametrize("una", [b"UNA:+.?", b"UNA::.? '", b"UNA:+.A '", b"UNA:+.: '"])
def test_signs_that_cannot_be(una: bytes) -> None:
    with pytest.raises(DecodeError, match="UNA"):
        list(segments_of(una))


VALUES = st.builds(
    Value,
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)).map(lambda at: at.replace(second=0, microsecond=0, tzinfo=UTC)),
    st.decimals(-(10**12), 10**12, places=3),
    st.sampled_from([one for one in Quality if one is not Quality.MISSING]),
    TEXT,
)
LOCATIONS = st.lists(
    st.builds(
        Location, st.text("DE0123456789", min_size=1, max_size=33), TEXT,
        st.lists(
            st.builds(Item, st.sampled_from(("1-0:1.8.0", "7-0:3.0.0", "8-0:1.0.0")), st.sampled_from(("", "KWH", "MTQ")),
                      st.lists(VALUES, min_size=1, max_size=3).map(tuple)), max_size=2).map(tuple),
    ), max_size=3,
).map(tuple)  # fmt: skip


@given(LOCATIONS)
def test_any_file_comes_back(locations: tuple[Location, ...]) -> None:
    made = msgspec.structs.replace(FILE, messages=(Message("1", "D", AT, locations),))
    octets = write(made)
    assert read(octets) == made
    assert [one.tag for one in Foreign.from_str(octets.decode("latin-1")).segments if one.tag == "QTY"] == [
        "QTY" for place in locations for item in place.items for _ in item.values
    ]


# -- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("UNT+8+2'", "UNT+9+2'", "mscons.syntax", "counts 9 segments, 8 are there"),
        ("UNT+8+2'", "UNT+8+3'", "mscons.syntax", "UNT names '3', UNH '2'"),
        ("UNT+8+2'", "", "mscons.syntax", "a message without UNT"),
        ("UNT+8+2'", "UNT+8+2'UNT+8+2'", "mscons.syntax", "UNT without UNH"),
        ("UNS+D'", "UNH+3+MSCONS:D:04B:UN:2.4c'", "mscons.syntax", "UNH within a message"),
        ("UNH+2+MSCONS:D:04B:UN:2.4c'", "", "mscons.syntax", "outside of a message"),
        ("UNS+D'", "UNS+1'", "mscons.content", "UNS has '1' in element 0081 (a1)"),
        ("UNZ+2+REF1'", "UNZ+3+REF1'", "mscons.syntax", "counts 3 messages"),
        ("UNZ+2+REF1'", "UNZ+2+REF2'", "mscons.syntax", "UNZ names 'REF2'"),
        ("UNZ+2+REF1'", "", "mscons.syntax", "ends with UNZ"),
        ("UNZ+2+REF1'", "UNZ+2+REF1", "mscons.syntax", "ends within a segment"),
        ("UNZ+2+REF1'", "UNZ+2+REF1?", "mscons.syntax", "behind a release sign"),
        ("UNB+", "BNU+", "mscons.syntax", "begins with UNB"),
        ("UNOC:3", "UNOD:3", "mscons.content", "are not read here"),
        ("9900123000007:500", "9900123000007:ZZ", "mscons.content", "qualifier 'ZZ'"),
        ("251231:2300", "251331:2300", "mscons.content", "is no time"),
        ("MSCONS:D:04B", "UTILMD:D:04B", "mscons.content", "is no MSCONS of D.04B"),
        ("UN:2.4c'", "UN:2.4c+LIST+1:C'", "mscons.content", "split over several messages"),
        ("NAD+MS", "NAD+MR", "mscons.content", "NAD MS is missing, NAD MR is there"),
        ("UNS+D'", "UNG+D'", "mscons.content", "UNS is missing, UNG is there"),
        ("QTY+220:12345.678", "QTY+221:12345.678", "mscons.content", "QTY 221 is not known"),
        ("QTY+220:12345.678", "QTY+220:twelve", "mscons.content", "QTY has 'twelve' in element 6060 (n..35)"),
        ("QTY+220:12345.678", "QTY+220:.678", "mscons.content", "'.678' is no number"),
        ("QTY+220:12345.678", "QTY+220:", "mscons.content", "QTY lacks element 6060"),
        ("QTY+67:1:KWH", "QTY+67:1:KWT", "mscons.content", "'KWT' within an item of 'KWH'"),
        ("DTM+7:202512312300", "DTM+7:202513312300", "mscons.content", "is no time"),
        ("DTM+7:202512312300", "DTM+7:20251231230", "mscons.content", "is no time"),
        ("DTM+7:202512312300?+00", "DTM+7:000101010000?+14", "mscons.content", "is no time"),
        ("DTM+7:202512312300?+00:303", "DTM+7:202512:610", "mscons.content", "is no time of 7"),
        ("DTM+137", "DTM+138", "mscons.content", "is no time of 137"),
        ("DTM+7:", "DTM+7:202512312300?+00:303'DTM+7:", "mscons.content", "DTM 7 twice"),
        ("DTM+7:202512312300?+00:303'", "", "mscons.content", "without its time"),
        ("++MEA::ZZZ", "++XYZ::ZZZ", "mscons.content", "'XYZ' is no quality"),
        ("++MEA::ZZZ", "++EDI::ZZZ", "mscons.content", "contradicts the qualifier"),
        ("PIA+5+1-0?:1.8.0:SRW'", "", "mscons.content", "PIA is missing, QTY is there"),
        ("RFF+MG:ELS-30010001'", "FTX+AAI'", "mscons.content", "UNT is missing, FTX is there"),
        ("LOC+172+DE00099'", "LOC+172+" + "9" * 36 + "'", "mscons.content", "in element 3225 (an..35)"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_its_place(old: str, new: str, code: str, words: str) -> None:
    text = write(FILE).decode("latin-1")
    assert old in text
    changed = text.replace(old, new, 1)
    with pytest.raises(DecodeError) as caught:
        read(changed.encode("latin-1") if code == "mscons.syntax" else recounted(changed))
    assert caught.value.code == code
    assert words in caught.value.message
    assert 0 <= (caught.value.offset or 0) <= len(changed)


def test_the_offset_is_that_of_the_segment() -> None:
    octets = write(FILE).replace(b"QTY+220:12345.678", b"QTY+221:12345.678", 1)
    with pytest.raises(DecodeError) as caught:
        read(octets)
    assert octets[caught.value.offset :].startswith(b"QTY+221")


@pytest.mark.parametrize(
    "bad",
    [
        single(Value(AT, None, Quality.MEASURED)),
        single(Value(AT, Decimal(1), Quality.MISSING)),
        single(Value(AT, Decimal("NaN"), Quality.MEASURED)),
        single(Value(AT.replace(tzinfo=None), Decimal(1), Quality.MEASURED)),
        single(Value(AT.replace(second=1), Decimal(1), Quality.MEASURED)),
        single(Value(None, Decimal(1), Quality.MEASURED)),
        single(Value(None, Decimal(1), Quality.MEASURED, ends=AT)),
        single(Value(AT, Decimal(1), Quality.MEASURED, qualifier="67")),
        single(Value(AT, Decimal(1), Quality.MEASURED, "x" * 257)),
        single(Value(AT, Decimal(1), Quality.MEASURED, others=(Segment("LOC", (("172",),)),))),
        single(READING, device="Ω"),
        single(READING, device="a\nb"),
        single(READING, device="x" * 71),
        single(READING, unit="KILOWATTS"),
        msgspec.structs.replace(FILE, syntax=2),
        msgspec.structs.replace(FILE, sender=Party("1", "7")),
        msgspec.structs.replace(FILE, reference="x" * 15),
        msgspec.structs.replace(FILE, reference=""),
    ],
)
def test_what_cannot_be_written_is_refused(bad: Interchange) -> None:
    with pytest.raises(NotRepresentable):
        write(bad)


def test_an_item_has_a_first_and_a_last_value() -> None:
    for count in (0, MAXIMUM + 1):
        item = Item("1-0:1.29.0", "", (READING,) * count)
        made = msgspec.structs.replace(FILE, messages=(Message("1", "D", AT, (Location("L", "", (item,)),)),))
        with pytest.raises(NotRepresentable, match="has 1 to 9999 values"):
            write(made)


@given(st.binary(max_size=200))
def test_any_octets_give_our_own_errors(octets: bytes) -> None:
    for text in (octets, b"UNB+UNOC:3+1:500+2:500+250101:0000+R'" + octets, write(FILE)[:-20] + octets):
        with suppress(DecodeError):
            read(text)
