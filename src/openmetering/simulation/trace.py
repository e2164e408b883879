"""A record of the messages of a run: who said what to whom, when, in words, and whether it arrived.

    trace = Trace(kernel, keys)              communication keys open what is protected; without them its words are few
    trace.name(address, "meter")             devices and gateways by their address
    trace.follow_radio(channel)              every frame that went on air and should have been heard
    trace.follow_wire(bus, {port: "meter"})  every burst of a segment
    trace.note(...)                          or message by message, for whoever has an ether of his own
    print(trace)

    time of the first bit | sender -> receiver | name by the C field | content in words | octets | what became of it

Application keys are never needed: what an ASP10 container holds is readable, wrapped keys stay wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl import application_error, image_transfer, records, security_transfer
from openmetering.codec.apl.security_transfer import KeyList, SecuredData, SitpBlock, StatusResponse
from openmetering.codec.link.wired import ACK, SELECTED, WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.errors import DecodeError
from openmetering.protocol.events import Heard, Sent
from openmetering.protocol.exchange import Command
from openmetering.protocol.gateway.partner_security import application_octets, protocol_of
from openmetering.protocol.operator.describe import meaning
from openmetering.protocol.radio.datagram import read
from openmetering.security import KeyRing
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.radio import RadioChannel, Station
from openmetering.simulation.wired_bus import Passage, SlavePort, WiredBus
from openmetering.telegram.decoder import Decoder
from openmetering.telegram.model import Telegram

__all__ = ["Message", "Trace", "words_of"]

RECEIVED: Final = "received"
LOST: Final = "lost"
_SPONTANEOUS: Final = frozenset(("SND-NR", "SND-IR", "ACC-NR", "ACC-DMD"))
_SELECT_CI: Final = 0x52
_ALL: Final = "all"
_FILLER: Final = b"\x2f"  #: security mode 5 fills its last block, and an application select has no other end


class Message(msgspec.Struct, frozen=True):
    """One frame on its way.

    ``time``  seconds, first chip or bit; ``receiver`` whom it is for, "all" where it names nobody
    ``name``  by its C field, as in the standard; ``words`` its content
    ``octets`` radio: from the L field on, without CRCs; wire: the whole frame
    ``fate``  "received", or why it was not
    """

    number: int
    time: float
    sender: str
    receiver: str
    name: str
    words: str
    octets: bytes
    fate: str = RECEIVED

    @property
    def lost(self) -> bool:
        """True if it did not arrive."""
        return self.fate != RECEIVED

    @property
    def spontaneous(self) -> bool:
        """True if a device said it by itself."""
        return self.name in _SPONTANEOUS

    def __str__(self) -> str:
        words = f" [{self.words}]" if self.words else ""
        fate = f"  x {self.fate}" if self.lost else ""
        return f"{self.time:12.4f}  {self.sender} -> {self.receiver}  {self.name}{words}{fate}"


class Trace:
    """The messages of a run in the order of their ends. ``keys`` are communication keys (KeyID 00..0F)."""

    def __init__(self, kernel: Kernel, keys: KeyRing | None = None) -> None:
        self.messages: list[Message] = []
        self._kernel = kernel
        self._keys = KeyRing()
        self._decoder = Decoder(self._keys)
        self._names: dict[bytes, str] = {}
        self._asked: dict[str, str] = {}  #: device -> who spoke to it last
        self._selected = _ALL
        if keys is not None:
            self.know(keys)

    def know(self, keys: KeyRing) -> None:
        """More keys, for example those of a renewal."""
        for pattern, key in keys:
            self._keys.add(pattern, key.octets, key.key_id, key.version, key.label)
        self._decoder.forget()

    def name(self, address: Address, name: str) -> None:
        """What a device or gateway is called."""
        self._names[address.link_octets()] = name

    # -- one message -----------------------------------------------------------------------------

    def note(self, sender: str, receiver: str, frame: bytes, started: float, fate: str = RECEIVED) -> Message:
        """Write down a message that has ended now."""
        name, words = self._read(frame)
        message = Message(len(self.messages), started, sender, receiver, name, words, frame, fate)
        self.messages.append(message)
        return message

    def _read(self, frame: bytes) -> tuple[str, str]:
        if frame == ACK:
            return "ACK", ""
        telegram = self._decoder.examine(frame, now=self._kernel.now)
        if not isinstance(telegram.link, WiredFrame | WirelessFrame):
            return "unreadable", ""
        return telegram.link.message, words_of(telegram)

    def _arrived(self, number: int) -> None:
        self.messages[number] = msgspec.structs.replace(self.messages[number], fate=RECEIVED)

    # -- radio -----------------------------------------------------------------------------------

    def follow_radio(self, channel: RadioChannel) -> None:
        """Follow every station that is on the channel now; call it when their machines are in place."""
        for station in channel.stations:
            before = station.sent
            station.sent = partial(self._sent, station, before)
            station.taps.append(partial(self._heard, station))

    def _sent(self, station: Station, before: Callable[[Sent], None] | None, event: Sent) -> None:
        """A frame has left; who heard it is told next."""
        self.note(station.name, self._receiver(station, event.frame), event.frame, event.started, LOST)
        if before is not None:
            before(event)

    def _receiver(self, station: Station, frame: bytes) -> str:
        """Whom a wireless frame is for: the destination it names, or whoever spoke to this device last."""
        try:
            heard = read(frame)
        except DecodeError:
            return _ALL
        named = heard.destination or (None if station.antenna.downlink else heard.application)
        if named is not None:
            name = self._names.get(named.link_octets(), str(named))
            if not station.antenna.downlink:
                self._asked[name] = station.name
            return name
        return _ALL if heard.message in _SPONTANEOUS else self._asked.get(station.name, _ALL)

    def _heard(self, station: Station, heard: Heard, air: AirInterface) -> None:
        """A station heard a frame: it arrived if the station is whom it was for."""
        for message in reversed(self.messages):
            if message.time < heard.started:
                return
            if message.time == heard.started and message.octets == heard.frame and message.receiver in (station.name, _ALL):
                self._arrived(message.number)
                return

    # -- wire ------------------------------------------------------------------------------------

    def follow_wire(
        self, bus: WiredBus, slaves: Mapping[SlavePort, str], primaries: Mapping[int, str], master: str = "master"
    ) -> None:
        """Follow a segment: its slaves by name, and their primary addresses."""
        bus.taps.append(partial(self._passed, dict(slaves), dict(primaries), master))

    def _passed(self, slaves: dict[SlavePort, str], primaries: dict[int, str], master: str, passage: Passage) -> None:
        fate = RECEIVED if passage.whole else "disturbed"
        if passage.port is not None:
            sender = slaves.get(passage.port, "slave")
            if passage.octets == ACK and self.messages and _selects(self.messages[-1].octets):
                self._selected = sender
            self.note(sender, master, passage.octets, passage.start, fate)
            return
        address = passage.octets[5 if passage.octets[:1] == b"\x68" else 2] if len(passage.octets) > 2 else SELECTED
        selected = _ALL if _selects(passage.octets) else self._selected
        self.note(master, selected if address == SELECTED else primaries.get(address, _ALL), passage.octets, passage.start, fate)

    # -- looking at it -----------------------------------------------------------------------------

    def conversation(self, *, since: float = 0.0) -> tuple[Message, ...]:
        """The messages from a time on that somebody asked for or was asked for: everything but SND-NR and its like."""
        return tuple(message for message in self.messages if message.time >= since and not message.spontaneous)

    def __str__(self) -> str:
        return "\n".join(map(str, self.messages))


def _selects(octets: bytes) -> bool:
    return octets[:1] == b"\x68" and octets[5:7] == bytes((SELECTED, _SELECT_CI))


# -- content in words ----------------------------------------------------------------------------


def words_of(telegram: Telegram) -> str:
    """The content of a telegram in words; empty where it has none (requests, acknowledgements)."""
    if telegram.transport is None:
        return "fragment" if telegram.fragment else "" if telegram.error is None else telegram.error.message
    protocol = protocol_of(telegram)
    if protocol == "none":
        return _STATES.get(telegram.transport.status & 3, "") if telegram.uplink else ""
    if telegram.payload is None:
        return f"{protocol}, not opened"
    octets = application_octets(telegram)
    if not telegram.uplink:
        return meaning(Command(protocol, octets.rstrip(_FILLER) if protocol == "application-reset" else octets))
    reader = _ANSWERS.get(protocol)
    try:
        return reader(octets) if reader is not None else f"{protocol}: {octets.hex().upper()}"
    except DecodeError as fault:
        return f"{protocol}: {fault.message}"


def _of_records(octets: bytes) -> str:
    found = records.parse(octets).records
    return "; ".join(str(record) for record in found) or "no records"


def _of_error(octets: bytes) -> str:
    error = application_error.decode(octets)
    return f"application error {error.code:02X}h, {error.name}"


def _of_image(octets: bytes) -> str:
    message = image_transfer.decode(octets)
    state = "" if message.state is None else f", state {message.state} {message.state_name}"
    lost = "" if message.lost_total is None else f", {message.lost_total} blocks missing"
    return f"image transfer: {message.name}{lost}{state}"


def _of_block(block: SitpBlock) -> str:
    inner = block.read()
    head = f"{block.service or 'service'} (BCF {block.control:02X}h)"
    if isinstance(inner, StatusResponse):
        return f"{head}: status {inner.status:02X}h, {inner.name}"
    if isinstance(inner, SecuredData):
        reader = _ANSWERS.get(inner.protocol, bytes.hex)
        return f"{head} under key {block.key_id:02X}h, key counter {inner.counter}: {reader(inner.apdu)}"
    if isinstance(inner, KeyList):
        keys = (
            f"{entry.key_id:02X}h version {entry.key_version}" + ("" if entry.counter is None else f" counter {entry.counter}")
            for entry in inner.entries
        )
        return f"{head}: {', '.join(keys)}"
    return head


def _of_sitp(octets: bytes) -> str:
    return "; ".join(_of_block(block) for block in security_transfer.decode(octets).blocks)


_ANSWERS: dict[str, Callable[[bytes], str]] = {
    "m-bus": _of_records,
    "application-error": _of_error,
    "image": _of_image,
    "sitp": _of_sitp,
}
#: bits 1..0 of the status octet in an acknowledgement
_STATES: Final = {1: "busy", 2: "application error"}
