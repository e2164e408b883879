"""What an MSCONS file holds: interchange, messages, locations, items, values.

``others`` of each hold segments that are not read here (contacts, further references, times and statuses) as they came; they are
written again in their place. A segment of ours that has more in it than we read stands there as well, and is written instead.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from openmetering.mdm.mscons.edifact import Segment
from openmetering.mdm.quality import Quality

__all__ = ["Interchange", "Item", "Location", "Message", "Party", "Value"]


class Value(msgspec.Struct, frozen=True):
    """A value in the unit of its item: a reading ``at``, or the amount of the slot from ``at`` to ``ends``.

    ``value``      None if it is missing
    ``source``     who says so: a gateway, a file, a rule, a person; at most 256 signs
    ``qualifier``  code of QTY where it is not the one of the quality (a forecast, a sum); empty otherwise
    """

    at: datetime | None
    value: Decimal | None
    quality: Quality
    source: str = ""
    ends: datetime | None = None
    qualifier: str = ""
    others: tuple[Segment, ...] = ()


class Item(msgspec.Struct, frozen=True):
    """A register or profile: its OBIS code without the star part (``1-0:1.8.0``), its values in order.

    ``unit``  code of the unit (``KWH``); empty where the OBIS code tells it, as the guide has it for most messages
    """

    obis: str
    unit: str
    values: tuple[Value, ...]
    others: tuple[Segment, ...] = ()


class Location(msgspec.Struct, frozen=True):
    """A metering or market location, the device that stands there, and the time in which all of its values lie."""

    identifier: str
    device: str
    items: tuple[Item, ...]
    period: tuple[datetime, datetime] | None = None
    others: tuple[Segment, ...] = ()


class Party(msgspec.Struct, frozen=True):
    """A market partner: its number and who gave it (293 BDEW, 332 DVGW, 9 GS1); ``others``: contacts."""

    number: str
    agency: str = "293"
    others: tuple[Segment, ...] = ()


class Message(msgspec.Struct, frozen=True):
    """One message.

    ``kind``      of document: 7 process data, Z48 load profile of a market location, ...
    ``check``     number of the check (RFF Z13): 13017 readings of electricity, 13018 load profile of a metering location, ...
    ``function``  9 original, 1 cancellation
    ``sender`` and ``recipient``: None if they are those of the interchange
    """

    reference: str
    number: str
    made_at: datetime
    locations: tuple[Location, ...]
    kind: str = "7"
    check: str = ""
    version: str = "2.4c"
    function: str = "9"
    sender: Party | None = None
    recipient: Party | None = None
    others: tuple[Segment, ...] = ()


class Interchange(msgspec.Struct, frozen=True):
    """A file from one partner to another.

    ``made_at``      to the minute; the file has no zone, UTC is meant
    ``application``  VL readings, TL load profile, EM amounts       ``test``  True for a file that is a test
    ``syntax``       version of ISO 9735: 3, or 4 with years of four digits
    """

    sender: Party
    recipient: Party
    reference: str
    made_at: datetime
    messages: tuple[Message, ...]
    application: str = ""
    test: bool = False
    syntax: int = 3
