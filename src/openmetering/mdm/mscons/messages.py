"""MSCONS (UN/EDIFACT D.04B): meter readings and load profiles between market partners, written and read.

    UNB  sender, recipient, time, reference        UNH  MSCONS:D:04B:UN:VERSION
    BGM  kind of document and its number            DTM  137 made at
    RFF  Z13 number of the check                    NAD  MS sender, MR recipient
    UNS  D                                          NAD  DP  place of delivery
    LOC  172 metering location                      RFF  MG number of the device
    LIN  number of the item                         PIA  5 OBIS
    QTY  qualifier by quality, value, unit          DTM  7 of a reading, or 163 to 164 of a slot
    STS  Z34 quality and source (ours: code list ZZZ)
    UNT, UNZ  counts and references, checked

Qualifiers by quality stand in ``tables/mscons_quality.csv``. ``version`` is the version of the message guide (2.4c);
its rules differ in what must be there, not in the segments below. What is between partners only (number of the
check, kind of document) is given by the caller. Confidence [S]: public message guides of BDEW, in our own words.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Final

import msgspec

from openmetering.errors import NotRepresentable
from openmetering.mdm.mscons.edifact import Segment, broken, segments_of, text_of
from openmetering.mdm.quality import Quality

__all__ = ["QUALIFIERS", "Interchange", "Item", "Location", "Message", "Value", "read", "write"]

_TYPE: Final = ("MSCONS", "D", "04B", "UN")
_FORMAT: Final = "303"  #: CCYYMMDDHHMMZZZ: hours of the zone behind a sign
_AGENCY: Final = "293"  #: BDEW, of the numbers of market partners
_LAYER: Final = "edifact"


def _qualifiers() -> dict[Quality, str]:
    text = (resources.files("openmetering.tables") / "mscons_quality.csv").read_text("utf-8")
    return {Quality(row["quality"]): row["qualifier"] for row in csv.DictReader(text.splitlines())}


#: quality -> qualifier of QTY
QUALIFIERS: Final = _qualifiers()


class Value(msgspec.Struct, frozen=True):
    """A value in the unit of its item: a reading ``at``, or the amount of a slot that ``ends`` then. None: missing."""

    at: datetime
    value: Decimal | None
    quality: Quality
    source: str = ""
    ends: datetime | None = None


class Item(msgspec.Struct, frozen=True):
    """A register: its OBIS code without the medium's star part (``1-0:1.8.0``), unit (``KWH``, ``MTQ``), values in order."""

    obis: str
    unit: str
    values: tuple[Value, ...]


class Location(msgspec.Struct, frozen=True):
    """A metering location (market identifier) and the device that stands there."""

    identifier: str
    device: str
    items: tuple[Item, ...]


class Message(msgspec.Struct, frozen=True):
    """One message: ``kind`` of document (7 process data), its number, the number of the check (Z13), locations."""

    reference: str
    number: str
    made_at: datetime
    locations: tuple[Location, ...]
    kind: str = "7"
    check: str = ""
    version: str = "2.4c"


class Interchange(msgspec.Struct, frozen=True):
    """A file: messages from one partner to another (13-digit numbers)."""

    sender: str
    recipient: str
    reference: str
    made_at: datetime
    messages: tuple[Message, ...]


# -- writing ---------------------------------------------------------------------------------------------


def write(interchange: Interchange) -> bytes:
    """The file. Raises NotRepresentable for what it cannot hold"""
    return text_of(_file(interchange))


def _segment(tag: str, *elements: str | tuple[str, ...]) -> Segment:
    return Segment(tag, tuple((one,) if isinstance(one, str) else one for one in elements))


def _file(made: Interchange) -> Iterator[Segment]:
    at = made.made_at.astimezone(UTC)
    yield _segment(
        "UNB", ("UNOC", "3"), (made.sender, "500"), (made.recipient, "500"), (f"{at:%y%m%d}", f"{at:%H%M}"), made.reference
    )
    for message in made.messages:
        body = list(_message(message, made))
        yield _segment("UNH", message.reference, (*_TYPE, message.version))
        yield from body
        yield _segment("UNT", str(len(body) + 2), message.reference)
    yield _segment("UNZ", str(len(made.messages)), made.reference)


def _message(message: Message, made: Interchange) -> Iterator[Segment]:
    yield _segment("BGM", message.kind, message.number, "9")
    yield _moment("137", message.made_at)
    if message.check:
        yield _segment("RFF", ("Z13", message.check))
    yield _segment("NAD", "MS", (made.sender, "", _AGENCY))
    yield _segment("NAD", "MR", (made.recipient, "", _AGENCY))
    yield _segment("UNS", "D")
    for location in message.locations:
        yield _segment("NAD", "DP")
        yield _segment("LOC", "172", location.identifier)
        if location.device:
            yield _segment("RFF", ("MG", location.device))
        for number, item in enumerate(location.items, 1):
            yield _segment("LIN", str(number))
            yield _segment("PIA", "5", (item.obis, "SRW"))
            for value in item.values:
                yield from _value(item, value)


def _value(item: Item, value: Value) -> Iterator[Segment]:
    if value.value is None and value.quality is not Quality.MISSING:
        raise NotRepresentable("a value that is not there is missing", field="quality", value=value.quality, layer=_LAYER)
    number = "0" if value.value is None else f"{value.value:f}"
    yield _segment("QTY", (QUALIFIERS[value.quality], number, item.unit))
    if value.ends is None:
        yield _moment("7", value.at)
    else:
        yield _moment("163", value.at)
        yield _moment("164", value.ends)
    yield _segment("STS", "Z34", "", (value.quality.value, "", "ZZZ", value.source))


def _moment(qualifier: str, at: datetime) -> Segment:
    if at.tzinfo is None:
        raise NotRepresentable("a time needs its zone", field="at", value=at, layer=_LAYER)
    if at.second or at.microsecond:
        raise NotRepresentable("a time has whole minutes here", field="at", value=at, layer=_LAYER)
    return _segment("DTM", (qualifier, f"{at.astimezone(UTC):%Y%m%d%H%M}+00", _FORMAT))


# -- reading ---------------------------------------------------------------------------------------------


def read(octets: bytes) -> Interchange:
    """The interchange of a file. Raises DecodeError (``mscons.syntax``, ``mscons.content``) with the offset"""
    segments = list(segments_of(octets))
    if not segments or segments[0].tag != "UNB":
        raise broken("a file begins with UNB", segments[0].offset if segments else 0)
    head, last = segments[0], segments[-1]
    if last.tag != "UNZ":
        raise broken("a file ends with UNZ", last.offset)
    if last.get(1) != head.get(4):
        raise broken(f"UNZ names {last.get(1)!r}, UNB {head.get(4)!r}", last.offset)
    messages = tuple(_messages(segments[1:-1]))
    if last.get(0) != str(len(messages)):
        raise broken(f"UNZ counts {last.get(0)} messages, {len(messages)} are there", last.offset)
    try:
        made = datetime.strptime(head.get(3) + head.get(3, 1), "%y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise broken(f"{head.get(3)}:{head.get(3, 1)} is no time", head.offset, "mscons.content") from None
    return Interchange(head.get(1), head.get(2), head.get(4), made, messages)


def _messages(segments: Sequence[Segment]) -> Iterator[Message]:
    begin: int | None = None
    for place, segment in enumerate(segments):
        if segment.tag == "UNH":
            if begin is not None:
                raise broken("UNH within a message", segment.offset)
            begin = place
        elif segment.tag == "UNT":
            if begin is None:
                raise broken("UNT without UNH", segment.offset)
            count = place - begin + 1
            head = segments[begin]
            if segment.get(0) != str(count):
                raise broken(f"UNT counts {segment.get(0)} segments, {count} are there", segment.offset)
            if segment.get(1) != head.get(0):
                raise broken(f"UNT names {segment.get(1)!r}, UNH {head.get(0)!r}", segment.offset)
            yield _Reader(segments[begin : place + 1]).message()
            begin = None
        elif begin is None:
            raise broken(f"{segment.tag} outside of a message", segment.offset)
    if begin is not None:
        raise broken("a message without UNT", segments[begin].offset)


class _Reader:
    """One message, segment by segment."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._at = 0

    def _next(self, tag: str) -> Segment | None:
        """The next segment if it has this tag."""
        if self._at < len(self._segments) and self._segments[self._at].tag == tag:
            self._at += 1
            return self._segments[self._at - 1]
        return None

    def _must(self, tag: str) -> Segment:
        found = self._next(tag)
        if found is None:
            here = self._segments[min(self._at, len(self._segments) - 1)]
            raise broken(f"{tag} is missing, {here.tag} is there", here.offset, "mscons.content")
        return found

    def message(self) -> Message:
        head = self._must("UNH")
        if tuple(head.get(1, number) for number in range(4)) != _TYPE:
            raise broken(f"{':'.join(head.elements[1])} is no MSCONS of D.04B", head.offset, "mscons.content")
        document = self._must("BGM")
        made = _time(self._must("DTM"), "137")
        check = ""
        while (reference := self._next("RFF")) is not None:
            check = reference.get(0, 1) if reference.get(0) == "Z13" else check
        while self._next("NAD") is not None or self._next("CTA") is not None or self._next("COM") is not None:
            continue
        self._must("UNS")
        locations = []
        while self._next("NAD") is not None:
            locations.append(self._location())
        self._must("UNT")
        return Message(head.get(0), document.get(1), made, tuple(locations), document.get(0), check, head.get(1, 4))

    def _location(self) -> Location:
        place = self._must("LOC")
        device = ""
        while (reference := self._next("RFF")) is not None:
            device = reference.get(0, 1) if reference.get(0) == "MG" else device
        items = []
        while self._next("LIN") is not None:
            items.append(self._item())
        return Location(place.get(1), device, tuple(items))

    def _item(self) -> Item:
        obis = self._must("PIA").get(1)
        unit = ""
        values = []
        while (quantity := self._next("QTY")) is not None:
            unit = quantity.get(0, 2) or unit
            values.append(self._value(quantity))
        return Item(obis, unit, tuple(values))

    def _value(self, quantity: Segment) -> Value:
        times = {}
        while (moment := self._next("DTM")) is not None:
            times[moment.get(0)] = _time(moment, moment.get(0))
        at = times.get("7") or times.get("163")
        if at is None:
            raise broken("a value without its time", quantity.offset, "mscons.content")
        quality, source = _by_qualifier(quantity), ""
        while (status := self._next("STS")) is not None:
            if status.get(0) == "Z34" and status.get(2, 2) == "ZZZ":
                quality, source = _quality(status, quality), status.get(2, 3)
        try:
            value = Decimal(quantity.get(0, 1))
        except InvalidOperation:
            raise broken(f"{quantity.get(0, 1)!r} is no number", quantity.offset, "mscons.content") from None
        return Value(at, None if quality is Quality.MISSING else value, quality, source, times.get("164"))


def _by_qualifier(quantity: Segment) -> Quality:
    """The quality that a qualifier alone tells; of several with the same the first in the table."""
    for quality, qualifier in QUALIFIERS.items():
        if qualifier == quantity.get(0):
            return quality
    raise broken(f"QTY {quantity.get(0)} is not known", quantity.offset, "mscons.content")


def _quality(status: Segment, known: Quality) -> Quality:
    try:
        found = Quality(status.get(2))
    except ValueError:
        raise broken(f"{status.get(2)!r} is no quality", status.offset, "mscons.content") from None
    if QUALIFIERS[found] != QUALIFIERS[known]:
        raise broken(f"{found.value} contradicts the qualifier {QUALIFIERS[known]}", status.offset, "mscons.content")
    return found


def _time(segment: Segment, qualifier: str) -> datetime:
    text, form = segment.get(0, 1), segment.get(0, 2)
    try:
        if segment.get(0) != qualifier or form != _FORMAT or text[12:13] not in ("+", "-"):
            raise ValueError
        return datetime.strptime(text[:12] + text[12:] + "00", "%Y%m%d%H%M%z").astimezone(UTC)
    except ValueError:
        raise broken(f"DTM {segment.get(0)}:{text}:{form} is no time of {qualifier}", segment.offset, "mscons.content") from None
