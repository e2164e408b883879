"""MSCONS (UN/EDIFACT D.04B) written.

    UNB  sender, recipient, time, reference         UNH  MSCONS:D:04B:UN:VERSION
    BGM  kind of document and its number             DTM  137 made at
    RFF  Z13 number of the check                     NAD  MS sender, MR recipient
    UNS  D                                           NAD  DP  place of delivery
    LOC  172 location            DTM  163, 164       RFF  MG number of the device
    LIN  number of the item                          PIA  5 OBIS
    QTY  qualifier by quality, number, unit          DTM  7 of a reading, or 163 to 164 of a slot
    STS  Z32 method of a substitute value            STS  ZZZ exact quality and source (ours)
    UNT, UNZ  counts and references

Source: EDI@Energy MSCONS message guide 2.4c (26.07.2024), in ``tables/mscons_*.csv``. The guide has no place for the source of a
value nor for all of our qualities; STS ZZZ is our addition in places that D.04B has for it (9013 our code, 9012 the source, both
with "mutually agreed" as agency). ``extension=False`` leaves it out for partners that take nothing but the guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from openmetering.mdm.mscons.codes import MAXIMUM, STATUS, TAGS, agrees, fault, method_of
from openmetering.mdm.mscons.edifact import Segment, refused, text_of
from openmetering.mdm.mscons.model import Interchange, Item, Location, Message, Party, Value
from openmetering.mdm.quality import Quality

__all__ = ["AGENCIES", "CATEGORY", "CHARACTERS", "FORMAT", "METHOD", "OBIS", "PLACE", "TYPE", "write"]

TYPE: Final = ("MSCONS", "D", "04B", "UN")
CHARACTERS: Final = ("UNOC", "UNOA", "UNOB")  #: the first is written, all are read
FORMAT: Final = "303"  #: CCYYMMDDHHMMZZZ: hours of the zone behind a sign
PLACE: Final = "172"
OBIS: Final = "SRW"
METHOD: Final = "Z32"
CATEGORY: Final = "ZZZ"  #: of our status, and "mutually agreed" as agency of its codes
#: agency of a party in NAD -> qualifier in UNB
AGENCIES: Final = {"293": "500", "332": "502", "9": "14"}


def write(interchange: Interchange, *, extension: bool = True) -> bytes:
    """The file. Raises NotRepresentable for what it cannot hold

    ``extension``  writes quality and source of each value into a status of ours. Without it the source is lost, and of the
                   quality what qualifier and method cannot tell.
    """
    segments = list(_file(interchange, extension))
    for segment in segments:
        if (wrong := fault(segment, interchange.syntax)) is not None:
            raise refused(wrong, segment.tag, segment.elements)
    return text_of(segments)


def _segment(tag: str, *elements: str | tuple[str, ...]) -> Segment:
    return Segment(tag, tuple((one,) if isinstance(one, str) else one for one in elements))


def _file(made: Interchange, extension: bool) -> Iterator[Segment]:
    if made.syntax not in (3, 4):
        raise refused(f"syntax {made.syntax} is not known here: 3 or 4", "syntax", made.syntax)
    at = _utc(made.made_at)
    day = f"{at:%y%m%d}" if made.syntax == 3 else f"{at:%Y%m%d}"
    yield _segment(
        "UNB", (CHARACTERS[0], str(made.syntax)), _partner(made.sender), _partner(made.recipient), (day, f"{at:%H%M}"),
        made.reference, "", made.application, "", "", "", "1" if made.test else "",
    )  # fmt: skip
    for message in made.messages:
        body = list(_message(message, made, extension))
        yield _segment("UNH", message.reference, (*TYPE, message.version))
        yield from body
        yield _segment("UNT", str(len(body) + 2), message.reference)
    yield _segment("UNZ", str(len(made.messages)), made.reference)


def _partner(party: Party) -> tuple[str, str]:
    qualifier = AGENCIES.get(party.agency)
    if qualifier is None:
        raise refused(f"agency {party.agency!r} is not known: {', '.join(AGENCIES)}", "agency", party.agency)
    return party.number, qualifier


def _message(message: Message, made: Interchange, extension: bool) -> Iterator[Segment]:
    _allowed("message", message.others)
    yield _segment("BGM", message.kind, message.number, message.function)
    yield _moment("137", message.made_at)
    if message.check:
        yield _segment("RFF", ("Z13", message.check))
    yield from message.others
    for qualifier, party in (("MS", message.sender or made.sender), ("MR", message.recipient or made.recipient)):
        _allowed("party", party.others)
        yield _segment("NAD", qualifier, (party.number, "", party.agency))
        yield from party.others
    yield _segment("UNS", "D")
    for location in message.locations:
        yield from _location(location, extension)


def _allowed(group: str, others: Iterable[Segment]) -> None:
    """Other segments must be of the group, or the file could not be read again."""
    for one in others:
        if one.tag not in TAGS[group]:
            raise refused(f"{one.tag} does not stand in the group {group}", "others", one.tag)


def _others(others: Iterable[Segment], *tags: str) -> list[Segment]:
    return [one for one in others if one.tag in tags]


def _location(location: Location, extension: bool) -> Iterator[Segment]:
    others = location.others
    _allowed("place", others)
    yield from _others(others, "NAD")[:1] or [_segment("NAD", "DP")]
    yield from _others(others, "LOC")[:1] or [_segment("LOC", PLACE, location.identifier)]
    if location.period is not None:
        yield _moment("163", location.period[0])
        yield _moment("164", location.period[1])
    yield from _others(others, "DTM")
    if location.device:
        yield _segment("RFF", ("MG", location.device))
    yield from _others(others, "RFF")
    yield from _others(others, "CCI")
    for number, item in enumerate(location.items, 1):
        if not 1 <= len(item.values) <= MAXIMUM:
            raise refused(f"an item has 1 to {MAXIMUM} values, {item.obis} {len(item.values)}", "values", len(item.values))
        _allowed("item", item.others)
        yield _segment("LIN", str(number))
        yield from _others(item.others, "PIA") or [_segment("PIA", "5", (item.obis, OBIS))]
        for value in item.values:
            yield from _value(item, value, extension)


def _value(item: Item, value: Value, extension: bool) -> Iterator[Segment]:
    if (value.value is None) != (value.quality is Quality.MISSING):
        raise refused("a value that is not there is missing, and only that", "quality", value.quality)
    if value.value is not None and not value.value.is_finite():
        raise refused(f"{value.value} is no number of a meter", "value", value.value)
    if value.qualifier and not agrees(value.quality, value.qualifier):
        raise refused(f"QTY {value.qualifier} does not stand for {value.quality.value}", "qualifier", value.qualifier)
    _allowed("value", value.others)
    status = STATUS[value.quality]
    number = "0" if value.value is None else f"{value.value:f}"
    yield _segment("QTY", (value.qualifier or status.qualifier, number, item.unit))
    yield from _times(value)
    yield from _others(value.others, "DTM")
    statuses = _others(value.others, "STS")
    method = method_of(item.obis, value.quality)
    # a qualifier of others comes with their method or with none; ours must not be made up for it
    if method and not value.qualifier and not any(one.get(0) == METHOD for one in statuses):
        yield _segment("STS", METHOD, "", method)
    yield from statuses
    if extension:
        yield _segment("STS", (CATEGORY, "", CATEGORY), "", (status.own, "", CATEGORY, value.source))


def _times(value: Value) -> Iterator[Segment]:
    if value.ends is None:
        if value.at is not None:
            yield _moment("7", value.at)
        elif not _others(value.others, "DTM"):
            raise refused("a value needs a time", "at", value.at)
    else:
        if value.at is None:
            raise refused("a slot needs its begin", "at", value.at)
        yield _moment("163", value.at)
        yield _moment("164", value.ends)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise refused("a time needs its zone", "at", at)
    if at.second or at.microsecond:
        raise refused("a time has whole minutes here", "at", at)
    return at.astimezone(UTC)


def _moment(qualifier: str, at: datetime) -> Segment:
    return _segment("DTM", (qualifier, f"{_utc(at):%Y%m%d%H%M}+00", FORMAT))
