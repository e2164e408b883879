"""MSCONS (UN/EDIFACT D.04B) read; see ``writer`` for the segments.

What the model has no field for is kept as it came (``others``). The quality of a value is what our own status says, else what the
method of a substitute value says (STS Z32), else what the qualifier says (``tables/mscons_codes.csv``).
A decimal mark is a point or a comma, whatever UNA announces: files of both kinds are about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Final

from openmetering.mdm.mscons.codes import METHODS, QUALIFIERS, STATUS, TAGS, agrees, fault, method_of
from openmetering.mdm.mscons.edifact import Segment, broken, segments_of
from openmetering.mdm.mscons.model import Interchange, Item, Location, Message, Party, Value
from openmetering.mdm.mscons.writer import AGENCIES, CATEGORY, CHARACTERS, METHOD, OBIS, PLACE, TYPE
from openmetering.mdm.quality import Quality

__all__ = ["read"]

_CONTENT: Final = "mscons.content"
_AGENCY: Final = {qualifier: agency for agency, qualifier in AGENCIES.items()}
_OWN: Final = {status.own: quality for quality, status in STATUS.items()}
_NUMBER: Final = re.compile(r"-?[0-9]+(?:[.,][0-9]+)?")
#: format of DTM -> its pattern and its length; the first two have a zone, hours behind a sign
_FORMATS: Final = {
    "303": ("%Y%m%d%H%M%z", 15),
    "304": ("%Y%m%d%H%M%S%z", 17),
    "203": ("%Y%m%d%H%M", 12),
    "102": ("%Y%m%d", 8),
}


def read(octets: bytes, zone: tzinfo | None = None) -> Interchange:
    """The interchange of a file. Raises DecodeError (``mscons.syntax``, ``mscons.content``) with the offset

    ``zone``  of times that have none (formats 102 and 203 of older files); None: such times are refused
    """
    segments = list(segments_of(octets))
    if not segments or segments[0].tag != "UNB":
        raise broken("a file begins with UNB", segments[0].offset if segments else 0)
    head, last = segments[0], segments[-1]
    if head.get(0) not in CHARACTERS or head.get(0, 1) not in ("3", "4"):
        raise broken(f"characters {head.get(0)}:{head.get(0, 1)} are not read here: UNOC:3 or UNOC:4", head.offset, _CONTENT)
    syntax = int(head.get(0, 1))
    for segment in segments:
        if (wrong := fault(segment, syntax)) is not None:
            raise broken(wrong, segment.offset, _CONTENT)
    if last.tag != "UNZ":
        raise broken("a file ends with UNZ", last.offset)
    if last.get(1) != head.get(4):
        raise broken(f"UNZ names {last.get(1)!r}, UNB {head.get(4)!r}", last.offset)
    messages = tuple(_messages(segments[1:-1], zone))
    if last.get(0) != str(len(messages)):
        raise broken(f"UNZ counts {last.get(0)} messages, {len(messages)} are there", last.offset)
    sender, recipient = _partner(head, 1), _partner(head, 2)
    return Interchange(
        sender, recipient, head.get(4), _made(head, syntax), tuple(_inherited(one, sender, recipient) for one in messages),
        head.get(6), head.get(10) == "1", syntax,
    )  # fmt: skip


def _partner(head: Segment, element: int) -> Party:
    agency = _AGENCY.get(head.get(element, 1))
    if agency is None:
        raise broken(f"the qualifier {head.get(element, 1)!r} of a partner is not known", head.offset, _CONTENT)
    return Party(head.get(element), agency)


def _made(head: Segment, syntax: int) -> datetime:
    text = head.get(3) + head.get(3, 1)
    try:
        return datetime.strptime(text, "%y%m%d%H%M" if syntax == 3 else "%Y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise broken(f"{head.get(3)}:{head.get(3, 1)} is no time", head.offset, _CONTENT) from None


def _inherited(message: Message, sender: Party, recipient: Party) -> Message:
    """Parties that are those of the interchange are not said twice."""
    return Message(
        message.reference, message.number, message.made_at, message.locations, message.kind, message.check, message.version,
        message.function, None if message.sender == sender else message.sender,
        None if message.recipient == recipient else message.recipient, message.others,
    )  # fmt: skip


def _messages(segments: Sequence[Segment], zone: tzinfo | None) -> Iterator[Message]:
    begin: int | None = None
    for place, segment in enumerate(segments):
        if segment.tag == "UNH":
            if begin is not None:
                raise broken("UNH within a message", segment.offset)
            begin = place
        elif segment.tag == "UNT":
            if begin is None:
                raise broken("UNT without UNH", segment.offset)
            count, head = place - begin + 1, segments[begin]
            if segment.get(0) != str(count):
                raise broken(f"UNT counts {segment.get(0)} segments, {count} are there", segment.offset)
            if segment.get(1) != head.get(0):
                raise broken(f"UNT names {segment.get(1)!r}, UNH {head.get(0)!r}", segment.offset)
            yield _Reader(segments[begin : place + 1], zone).message()
            begin = None
        elif begin is None:
            raise broken(f"{segment.tag} outside of a message", segment.offset)
    if begin is not None:
        raise broken("a message without UNT", segments[begin].offset)


class _Reader:
    """One message, segment by segment."""

    def __init__(self, segments: Sequence[Segment], zone: tzinfo | None) -> None:
        self._segments = segments
        self._zone = zone
        self._at = 0

    def _next(self, *tags: str) -> Segment | None:
        """The next segment if it has one of these tags."""
        here = self._segments[min(self._at, len(self._segments) - 1)]
        if here.tag not in tags:
            return None
        self._at += 1
        return here

    def _must(self, tag: str) -> Segment:
        found = self._next(tag)
        if found is None:
            here = self._segments[min(self._at, len(self._segments) - 1)]
            raise broken(f"{tag} is missing, {here.tag} is there", here.offset, _CONTENT)
        return found

    def message(self) -> Message:
        head = self._must("UNH")
        if tuple(head.get(1, number) for number in range(4)) != TYPE:
            raise broken(f"{':'.join(head.elements[1])} is no MSCONS of D.04B", head.offset, _CONTENT)
        if len(head.elements) > 2:
            raise broken("a list that is split over several messages is not read here", head.offset, _CONTENT)
        document = self._must("BGM")
        made = self._time(self._must("DTM"), "137")
        check, others = "", []
        while (one := self._next(*TAGS["message"] - {"UNS", "UNT"})) is not None:
            if one.tag == "RFF" and one.get(0) == "Z13" and not check:
                check = one.get(0, 1)
            else:
                others.append(_kept(one))
        parties = {"MS": self._party("MS"), "MR": self._party("MR")}
        self._must("UNS")
        locations = []
        while (place := self._next("NAD")) is not None:
            locations.append(self._location(place))
            while self._segments[self._at].tag == "LOC":
                locations.append(self._location(place))
        self._must("UNT")
        return Message(
            head.get(0), document.get(1), made, tuple(locations), document.get(0), check, head.get(1, 4), document.get(2),
            parties["MS"], parties["MR"], tuple(others),
        )  # fmt: skip

    def _party(self, qualifier: str) -> Party:
        found = self._must("NAD")
        if found.get(0) != qualifier:
            raise broken(f"NAD {qualifier} is missing, NAD {found.get(0)} is there", found.offset, _CONTENT)
        others = []
        while (one := self._next("CTA", "COM")) is not None:
            others.append(_kept(one))
        return Party(found.get(1), found.get(1, 2), tuple(others))

    def _location(self, delivery: Segment) -> Location:
        place = self._must("LOC")
        others = [
            _kept(one) for one, usual in ((delivery, (("DP",),)), (place, ((PLACE,), (place.get(1),)))) if one.elements != usual
        ]
        device, begin, end = "", None, None
        while (one := self._next("DTM", "RFF", "CCI")) is not None:
            if one.tag == "RFF" and one.get(0) == "MG" and not device:
                device = one.get(0, 1)
            elif one.tag == "DTM" and one.get(0) == "163" and begin is None:
                begin = one
            elif one.tag == "DTM" and one.get(0) == "164" and end is None:
                end = one
            else:
                others.append(_kept(one))
        period = None
        if begin is not None and end is not None:
            period = self._time(begin, "163"), self._time(end, "164")
        else:
            others.extend(_kept(one) for one in (begin, end) if one is not None)
        items = []
        while self._next("LIN") is not None:
            items.append(self._item())
        return Location(place.get(1), device, tuple(items), period, tuple(others))

    def _item(self) -> Item:
        product = self._must("PIA")
        obis = product.get(1)
        others = [] if product.elements == (("5",), (obis, OBIS)) else [_kept(product)]
        while (one := self._next("PIA")) is not None:
            others = [*(others or [_kept(product)]), _kept(one)]
        first = self._must("QTY")
        values = [self._value(first, obis)]
        while (quantity := self._next("QTY")) is not None:
            if quantity.get(0, 2) != first.get(0, 2):
                raise broken(f"{quantity.get(0, 2)!r} within an item of {first.get(0, 2)!r}", quantity.offset, _CONTENT)
            values.append(self._value(quantity, obis))
        return Item(obis, first.get(0, 2), tuple(values), tuple(others))

    def _value(self, quantity: Segment, obis: str) -> Value:
        times: dict[str, Segment] = {}
        others: list[Segment] = []
        while (moment := self._next("DTM")) is not None:
            if moment.get(0) in times:
                raise broken(f"DTM {moment.get(0)} twice", moment.offset, _CONTENT)
            times[moment.get(0)] = moment
        statuses: list[Segment] = []
        while (status := self._next("STS")) is not None:
            statuses.append(status)
        at, ends = self._when(times)
        others.extend(_kept(one) for one in times.values())
        if at is None and not times:
            raise broken("a value without its time", quantity.offset, _CONTENT)
        quality, source, qualifier, kept = _judged(quantity, statuses, obis)
        others.extend(_kept(one) for one in kept)
        if _NUMBER.fullmatch(quantity.get(0, 1)) is None:
            raise broken(f"{quantity.get(0, 1)!r} is no number", quantity.offset, _CONTENT)
        value = None if quality is Quality.MISSING else Decimal(quantity.get(0, 1).replace(",", "."))
        return Value(at, value, quality, source, ends, qualifier, tuple(others))

    def _when(self, times: dict[str, Segment]) -> tuple[datetime | None, datetime | None]:
        """Begin and end of a slot, or the moment of a reading; what was used is taken out of ``times``."""
        if "163" in times and "164" in times:
            return self._time(times.pop("163"), "163"), self._time(times.pop("164"), "164")
        return (self._time(times.pop("7"), "7"), None) if "7" in times else (None, None)

    def _time(self, segment: Segment, qualifier: str) -> datetime:
        text, form = segment.get(0, 1), segment.get(0, 2)
        wrong = broken(f"DTM {segment.get(0)}:{text}:{form} is no time of {qualifier}", segment.offset, _CONTENT)
        pattern, length = _FORMATS.get(form, ("", 0))
        if segment.get(0) != qualifier or not length or len(text) != length:
            raise wrong
        zoned = pattern.endswith("%z")
        if not zoned and self._zone is None:
            raise broken(f"DTM {segment.get(0)}:{text}:{form} has no zone; name one", segment.offset, _CONTENT)
        try:
            found = datetime.strptime(f"{text}00" if zoned else text, pattern)
            return (found if zoned else found.replace(tzinfo=self._zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise wrong from None


def _kept(segment: Segment) -> Segment:
    """As a value of its own: where it stood does not belong to it."""
    return Segment(segment.tag, segment.elements)


def _judged(quantity: Segment, statuses: Sequence[Segment], obis: str) -> tuple[Quality, str, str, list[Segment]]:
    """Quality, source and (if the quality does not tell it) qualifier of a value, and the statuses that these do not tell."""
    qualifier = quantity.get(0)
    quality = QUALIFIERS.get(qualifier)
    if quality is None:
        raise broken(f"QTY {qualifier} is not known", quantity.offset, _CONTENT)
    own = next((one for one in statuses if one.get(0) == CATEGORY and one.get(0, 2) == CATEGORY), None)
    method = next((one for one in statuses if one.get(0) == METHOD), None)
    source = ""
    if own is not None:
        quality, source = _own(own, qualifier), own.get(2, 3)
    elif method is not None and qualifier == STATUS[quality].qualifier and quality.estimated:
        quality = METHODS.get(method.get(2), quality)
    usual = method_of(obis, quality)
    if qualifier == STATUS[quality].qualifier and (method is not None or not usual):
        qualifier = ""
    told = Segment("STS", ((METHOD,), ("",), (usual,)))
    kept = [one for one in statuses if one is not own and not (one is method and _kept(one) == told)]
    return quality, source, qualifier, kept


def _own(status: Segment, qualifier: str) -> Quality:
    """The quality that our own status tells; it must not say other than the qualifier."""
    found = _OWN.get(status.get(2))
    if found is None:
        raise broken(f"{status.get(2)!r} is no quality", status.offset, _CONTENT)
    if not agrees(found, qualifier):
        raise broken(f"{found.value} contradicts the qualifier {qualifier}", status.offset, _CONTENT)
    return found
