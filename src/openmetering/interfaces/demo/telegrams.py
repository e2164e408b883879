"""From a device and a moment to frames: messages, security and link layer, with our own encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.application_error import ApplicationError
from openmetering.codec.apl.fixed import FixedCounter, FixedData, FixedStatus
from openmetering.codec.apl.format import CompactFrame, RecordFormat, encode_format_frame
from openmetering.codec.apl.records import Record, encode
from openmetering.codec.ell import CommunicationControl, ExtendedLink, SessionNumber
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import ConfigurationA, TransportHeader
from openmetering.interfaces.demo.plan import Building, Device, timeline_at
from openmetering.interfaces.demo.values import Fact, Scene, dice
from openmetering.security import KeyRing
from openmetering.telegram import Meter, SecurityReport, Telegram, compose, encode_fragments
from openmetering.telegram import encode as seal

__all__ = ["MESSAGES", "Frame", "Message", "Sender", "demo_key"]

_T = TypeVar("_T")

_SND_IR, _ACC_NR, _RSP_UD, _SND_NR = 0x46, 0x47, 0x08, 0x44
_STATIC = 2  #: content class of a static message
_MORE_FOLLOWS = b"\x1f"
_BUSY = ApplicationError(0x08)  #: too busy for a readout
_SESSION_START = 4_000_000  #: minutes on the clock of the extended link layer at midnight
_FRAGMENT = 90  #: octets of a message in a fragment
#: CI by form of the payload: without header, with short and with long header
_CI = {"full": (0x78, 0x7A, 0x72), "format": (0x69, 0x6A, 0x6B), "compact": (0x79, 0x7B, 0x73)}


class Message(msgspec.Struct, frozen=True):
    """A kind of message: the list of records it carries, and how."""

    maker: str
    records: str = "records"
    form: str = "full"
    control: int = _SND_NR
    content: int = 0


class Frame(msgspec.Struct, frozen=True):
    """Octets to send, and what they state once they (and the fragments before them) are read."""

    octets: bytes
    facts: list[Fact] = []


MESSAGES: dict[str, Message] = {
    "data": Message("single"),
    "compact": Message("single", form="compact"),
    "format": Message("single", form="format"),
    "history": Message("single", "history"),
    "static": Message("single", "static", content=_STATIC),
    "install": Message("single", "static", control=_SND_IR, content=_STATIC),
    "fragments": Message("fragments", "history", control=_RSP_UD),
    "access": Message("access", control=_ACC_NR),
    "pages": Message("pages"),
    "fixed": Message("fixed"),
    "busy": Message("busy"),
}


def demo_key(seed: str, address: Address) -> bytes:
    """The key of a device of the recording: a digest of its address. Never do so with a real device."""
    return blake2b(f"{seed}/key/{address}".encode(), digest_size=16).digest()


class Sender:
    """A device that sends: keeps its access number and message counter."""

    __slots__ = ("_building", "_device", "_gateway", "_keys", "_meter", "access", "counter")

    def __init__(self, building: Building, device: Device) -> None:
        self._building, self._device = building, device
        self._gateway = Address.parse(building.gateway)
        self._keys = KeyRing()
        self._keys.add(device.meter.link_octets(), demo_key(building.seed, device.meter))
        self.access = dice(building.seed, device.address, "access") % 256
        self.counter = 1 + dice(building.seed, device.address, "counter") % 90_000
        adapter = None if device.adapter is None else Address.parse(device.adapter)
        control = None if device.control is None else CommunicationControl(device.control)
        profile = "none" if device.security == "ELL" else device.security
        self._meter = Meter(device.meter, profile, adapter, device.primary, control)

    def interval(self) -> int:
        """Seconds to the next telegram: the plan's interval, scattered by the access number.

        Source   OMS Volume 2 5.0.1, synchronous transmission: (1 + (|n - 128| - 64) / 2048) * nominal interval
        """
        nominal = self._device.every * 60
        return nominal + nominal * (abs(self.access - 128) - 64) // 2048

    def send(self, name: str, now: int) -> list[Frame]:
        """The frames of a message."""
        message = MESSAGES[name]
        self.access = self.access + 1 & 0xFF
        self.counter += 1
        scene = Scene(self._building, self._device, now)
        return _MAKERS[message.maker](self, message, scene)

    def _content(self, scene: Scene, name: str) -> tuple[list[Record], list[Fact]]:
        return scene.records(self._building.model[self._device.model].rows(name))

    # -- makers of frames ---------------------------------------------------------------------

    def _single(self, message: Message, scene: Scene) -> list[Frame]:
        records, facts = self._content(scene, message.records)
        payload = _PAYLOADS[message.form](records)
        if self._device.security == "ELL":
            telegram = self._session(_CI[message.form][0], payload, scene.now)
        else:
            telegram = self._compose(message, payload, scene)
        return [Frame(seal(telegram, self._keys), [] if message.form == "format" else facts)]

    def _compose(self, message: Message, payload: bytes, scene: Scene) -> Telegram:
        long = self._device.primary is not None or self._device.adapter is not None
        return compose(
            self._meter,
            payload,
            access_number=self.access,
            status=timeline_at(self._device.status, scene.now, 0),
            counter=self.counter,
            control=_RSP_UD if self._device.primary is not None else message.control,
            ci=_CI[message.form][2 if long else 1],
            content=message.content,
        )

    def _session(self, ci: int, payload: bytes, now: int) -> Telegram:
        """A telegram whose security is the encryption of the extended link layer (CI 8D)."""
        minutes, session = _SESSION_START + now // 60, self.access & 0x0F
        number = SessionNumber.build(session=session, minutes=minutes, encryption=1)
        ell = ExtendedLink(0x8D, CommunicationControl(self._device.control or 0x20), self.access, None, number, 0)
        link = WirelessFrame(ControlField(_SND_NR), self._device.meter, b"")
        report = SecurityReport("ELL", None, "decrypted")
        return Telegram(b"", link, ell, transport=TransportHeader(ci), security=report, payload=payload)

    def _fragments(self, message: Message, scene: Scene) -> list[Frame]:
        """A long answer to a gateway, in fragments; the extended link layer names the gateway."""
        records, facts = self._content(scene, message.records)
        telegram = self._compose(message, encode(records), scene)
        ell = ExtendedLink(0x8E, CommunicationControl(self._device.control or 0x80), self.access, self._gateway)
        frames = encode_fragments(msgspec.structs.replace(telegram, ell=ell), self._keys, _FRAGMENT)
        self.access = self.access + len(frames) - 1 & 0xFF
        return [*(Frame(octets) for octets in frames[:-1]), Frame(frames[-1], facts)]

    def _access(self, message: Message, scene: Scene) -> list[Frame]:
        """No data, only the sign that the access window opens."""
        device = self._device
        status = timeline_at(device.status, scene.now, 0)
        header = TransportHeader(0x8A, "short", None, self.access, status, ConfigurationA.build(synchronous=1))
        ell = None if device.control is None else ExtendedLink(0x8C, CommunicationControl(device.control), self.access)
        link = WirelessFrame(ControlField(message.control), device.meter, b"")
        return [Frame(seal(Telegram(b"", link, ell, transport=header, payload=b"")))]

    def _pages(self, message: Message, scene: Scene) -> list[Frame]:
        """A readout of two telegrams: the first ends with DIF 1F, more follows."""
        (records, facts), (more, rest) = self._content(scene, "records"), self._content(scene, "more")
        first = seal(self._compose(message, encode(records) + _MORE_FOLLOWS, scene), self._keys)
        self.access = self.access + 1 & 0xFF
        return [Frame(first, facts), Frame(seal(self._compose(message, encode(more), scene), self._keys), rest)]

    def _fixed(self, message: Message, scene: Scene) -> list[Frame]:
        """The fixed data structure (CI 73) of meters before 1997: no maker, no type, two counters."""
        records, facts = self._content(scene, "records")
        medium, first, second = _needed(self._building.model[self._device.model].fixed)
        counters = [
            FixedCounter(None, "", 0, "", False, False, record.raw, code)
            for record, code in zip(records, (first, second), strict=True)
        ]
        data = FixedData(self._device.meter.identification, self.access, FixedStatus(0), medium, (counters[0], counters[1]))
        frame = WiredFrame.long(_RSP_UD, _needed(self._device.primary), b"\x73" + data.encode())
        return [Frame(frame.encode(), facts)]

    def _busy(self, message: Message, scene: Scene) -> list[Frame]:
        """An application error (CI 70)."""
        return [Frame(WiredFrame.long(_RSP_UD, _needed(self._device.primary), b"\x70" + _BUSY.encode()).encode())]


def _needed(value: _T | None) -> _T:
    assert value is not None
    return value


def _compact(records: Sequence[Record]) -> bytes:
    return CompactFrame.of(records).encode()


def _format(records: Sequence[Record]) -> bytes:
    return encode_format_frame(RecordFormat.of(records))


_PAYLOADS: dict[str, Callable[[list[Record]], bytes]] = {"full": encode, "compact": _compact, "format": _format}

_MAKERS: dict[str, Callable[[Sender, Message, Scene], list[Frame]]] = {
    "single": Sender._single,
    "fragments": Sender._fragments,
    "access": Sender._access,
    "pages": Sender._pages,
    "fixed": Sender._fixed,
    "busy": Sender._busy,
}
