"""What a gateway and a head-end tell each other: one report up, one reply down, whatever carries them.

    gateway  --Report: batch of telegrams, results of commands, news-->  head-end
    gateway  <--Reply: what is stored, which results arrived, commands--  head-end

    in-process   a function call
    MQTT         PREFIX/GATEWAY/up, PREFIX/GATEWAY/down, PREFIX/GATEWAY/state (retained)
    HTTPS        POST of the report; the reply is the answer

Both are JSON; octets are base64. A report is repeated until a reply settles it: who takes reports must store the same
telegram once and carry out the same command once. Batches carry the name of the spool (``stream``) and numbers in it, so
that a repetition can be told without looking at the telegrams.

Commands are finished exchanges: their application security was made by the head-end, the gateway adds that of the link.
The form of these messages is our own.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, Failure
from openmetering.telegram.model import SecurityReport
from openmetering.transport.reception import Reception

__all__ = [
    "FORMAT",
    "Batch",
    "Carry",
    "Dismiss",
    "Enrol",
    "Item",
    "LinkKey",
    "News",
    "Order",
    "Recall",
    "Reply",
    "Report",
    "Result",
    "read_reply",
    "read_report",
    "receptions_of",
    "written",
]

FORMAT = 1

# -- up ----------------------------------------------------------------------------------------


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One telegram: what the best receiver heard. ``copies`` more were heard by others, or of a repeater.

    Fields as in ``transport.Reception``; ``number`` is that of its record in the spool.
    """

    number: int
    frame: bytes
    received_at: float
    source: str
    rssi_dbm: float | None = None
    rssi_raw: int | None = None
    mode: str | None = None
    frame_format: str | None = None
    crc: bool | None = None
    address_hint: str | None = None
    copies: int = 0


class Batch(msgspec.Struct, frozen=True):
    """Telegrams of the spool ``stream``. With it everything up to ``last`` is told that is to be told."""

    stream: str
    last: int
    items: tuple[Item, ...] = ()


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an order. It is told until the head-end says that it knows.

    ``outcome``    answered: ``status``, ``protocol``, ``payload``, ``security`` as in ``protocol.exchange.Answered``;
                   failed: ``reason`` and ``delivered`` as in ``Failed``; refused: the gateway will not, ``text`` says why;
                   done: an order that has no answer was handed on
    """

    id: str
    outcome: Literal["answered", "failed", "refused", "done"]
    status: int = 0
    protocol: str = ""
    payload: bytes = b""
    security: SecurityReport | None = None
    reason: Failure | None = None
    delivered: bool | None = None
    text: str = ""

    @classmethod
    def of(cls, name: str, event: Answered | Failed) -> Result:
        """The result of an exchange."""
        if isinstance(event, Answered):
            return cls(name, "answered", event.status, event.protocol, event.payload, event.security)
        return cls(name, "failed", reason=event.reason, delivered=event.delivered)

    def event(self, token: int) -> Answered | Failed | None:
        """The event an operator waits for; None for results that no exchange has."""
        if self.outcome == "answered":
            security = self.security or SecurityReport()
            return Answered(token, self.status, self.protocol, self.payload, security)
        if self.outcome == "failed":
            return Failed(token, self.reason or "no-answer", self.delivered)
        return Failed(token, "no-access", delivered=False) if self.outcome == "refused" else None


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened: installed, demanded, alarm (of a device) or notice (of a source).

    News may be lost when a gateway ends; what they tell is in the telegrams as well.
    """

    at: float
    kind: Literal["installed", "demanded", "alarm", "notice"]
    text: str
    address: str = ""
    source: str = ""


class Report(msgspec.Struct, frozen=True):
    """Everything a gateway has to tell. The reply repeats ``id``."""

    gateway: str
    id: str = ""
    batch: Batch | None = None
    results: tuple[Result, ...] = ()
    news: tuple[News, ...] = ()
    format: int = FORMAT


# -- down ----------------------------------------------------------------------------------------


class Carry(msgspec.Struct, frozen=True, tag="carry"):
    """Carry out an exchange with a device. Without ``protocol`` the device is only asked (REQ-UD2).

    ``id`` is the head-end's name for it: the same id is carried out once, however often it comes.
    ``expires`` seconds since 1970: later than that it is refused instead of begun.
    """

    id: str
    address: str
    protocol: str = ""
    payload: bytes = b""
    answer: bool = True
    expires: float | None = None

    def exchange(self) -> Exchange:
        """As the machines want it. Raises NotRepresentable for an address that is none."""
        command = Command(self.protocol, self.payload) if self.protocol else None
        return Exchange(Address.parse(self.address), command, self.answer)

    @classmethod
    def of(cls, name: str, exchange: Exchange, expires: float | None = None) -> Carry:
        """The order of an exchange."""
        command = exchange.command
        protocol, payload = ("", b"") if command is None else (command.protocol, command.payload)
        return cls(name, str(exchange.address), protocol, payload, exchange.answer, expires)


class Recall(msgspec.Struct, frozen=True, tag="recall"):
    """Forget an exchange that is not finished: ``order`` is the id of its Carry."""

    id: str
    order: str


class Enrol(msgspec.Struct, frozen=True, tag="enrol"):
    """A device belongs to this gateway, from now on and after restarts.

    ``source``   name of the source that reaches it; empty: the only one that can send
    ``adapter``  the radio adapter in front of it; other fields as in ``DeviceLink`` and ``SlaveLink``
    """

    id: str
    address: str
    source: str = ""
    profile: str = "none"
    adapter: str = ""
    mode: Literal["S", "T", "C"] = "C"
    bidirectional: bool = True
    largest: int | None = None
    repeated: bool = False
    primary: int | None = None
    fabrication: str | None = None
    snd_ud2: bool | None = None
    key_id: int = 0
    key_version: int | None = None


class Dismiss(msgspec.Struct, frozen=True, tag="dismiss"):
    """A device does not belong to this gateway any more."""

    id: str
    address: str


class LinkKey(msgspec.Struct, frozen=True, tag="key"):
    """A communication key of a device, for example after its renewal: wrapped as in ``headend.jobs.remote``, under the
    secret that gateway and head-end share. Who carries the message cannot read it."""

    id: str
    address: str
    key_id: int
    version: int
    wrapped: bytes


Order = Carry | Recall | Enrol | Dismiss | LinkKey


class Reply(msgspec.Struct, frozen=True):
    """What a head-end says.

    ``answers``  id of the report; empty where nobody asked
    ``stored``   last number of the batch of ``stream`` that is stored; None: nothing is
    ``results``  ids of results that arrived
    ``orders``   what the gateway shall do
    """

    answers: str = ""
    stream: str = ""
    stored: int | None = None
    results: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    format: int = FORMAT


_encoder = msgspec.json.Encoder()
_reports = msgspec.json.Decoder(Report)
_replies = msgspec.json.Decoder(Reply)


def written(message: Report | Reply) -> bytes:
    """A message as JSON."""
    return _encoder.encode(message)


def read_report(octets: bytes) -> Report:
    """A report. Raises InputError (``input.line``)."""
    try:
        report = _reports.decode(octets)
    except msgspec.MsgspecError as error:
        raise InputError(f"no report of a gateway: {error}", code="input.line", layer="input") from None
    if report.format != FORMAT:
        raise InputError(f"a report of format {report.format}; this program knows {FORMAT}", code="input.line", layer="input")
    return report


def read_reply(octets: bytes) -> Reply:
    """A reply. Raises InputError (``input.line``)."""
    try:
        reply = _replies.decode(octets)
    except msgspec.MsgspecError as error:
        raise InputError(f"no reply of a head-end: {error}", code="input.line", layer="input") from None
    if reply.format != FORMAT:
        raise InputError(f"a reply of format {reply.format}; this program knows {FORMAT}", code="input.line", layer="input")
    return reply


def receptions_of(report: Report) -> list[Reception]:
    """The telegrams of a report as a head-end stores them; sources are named GATEWAY/SOURCE."""
    if report.batch is None:
        return []
    return [
        Reception(
            item.frame,
            item.received_at,
            f"{report.gateway}/{item.source}",
            item.rssi_dbm,
            item.rssi_raw,
            item.mode,
            item.frame_format,
            item.crc,
            address_hint=item.address_hint,
        )
        for item in report.batch.items
    ]
