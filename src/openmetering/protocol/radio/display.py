"""The consumer display (device type 25h): shows what a meter tells its consumer, and sends nothing.

    OFF  --PowerUp-->        ON
    ON   --Register-->       ON    a meter and its key for consumer information (KeyID 08)
    ON   --ConsumerHeard-->  ON    SND-NR, content index 3 under KeyID 08, proven and new: the values are shown
    ON   --Stray-->          ON    everything else

The display has no other key, so all that a meter says for its operator stays closed to it.
Source: OMS Volume 2 Annex M release C, UC-07 (07b); 5.0.1 Tables 26, 27 and 45.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, Final, cast

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record
from openmetering.errors import InputError, Replayed
from openmetering.protocol.events import Heard, PowerUp
from openmetering.protocol.machine import Machine
from openmetering.protocol.radio.datagram import SND_NR
from openmetering.protocol.radio.events import Ignored, Reason
from openmetering.protocol.radio.steps import Action, Stray
from openmetering.security import CounterLedger, KeyRing, message_digest
from openmetering.telegram import Decoder, Telegram

__all__ = ["CONSUMER_KEY", "ConsumerDisplay", "ConsumerHeard", "DisplayState", "Forget", "Register", "Shown"]

CONSUMER_KEY: Final = 0x08
_CONSUMER_INDEX: Final = 3  #: content index 0011 with content class 00


class DisplayState(Enum):
    """Whether it has power."""

    OFF = "off"
    ON = "on"


class Register(msgspec.Struct, frozen=True):
    """Show a meter. ``keys`` holds its key with KeyID 08 and no other; the ring keeps it out of logs."""

    address: Address
    keys: KeyRing


class Forget(msgspec.Struct, frozen=True):
    """Show a meter no more."""

    address: Address


class ConsumerHeard(msgspec.Struct, frozen=True):
    """Consumer information of a registered meter, proven and new."""

    telegram: Telegram


class Shown(msgspec.Struct, frozen=True):
    """The values of a meter, as they are shown. ``at`` seconds when they came; ``status`` octet of the transport layer."""

    address: Address
    records: tuple[Record, ...]
    status: int
    at: float


DisplayIn = PowerUp | Heard | Register | Forget
DisplayOut = Shown | Ignored


class ConsumerDisplay(Machine[DisplayState]):
    """A display. ``latest`` holds the last values of every meter; registrations and values survive a power cut."""

    __slots__ = ("_counters", "_decoder", "_rings", "latest")

    def __init__(self) -> None:
        super().__init__(DisplayState.OFF)
        self.latest: dict[Address, Shown] = {}
        self._rings: dict[Address, KeyRing] = {}
        self._counters = CounterLedger("gateway")
        self._decoder = Decoder(KeyRing(), crc=False)

    # -- the interface ----------------------------------------------------------------------------------

    def receive(self, event: DisplayIn, now: float) -> list[DisplayOut]:
        """Something happened. Raises ProtocolError without power; InputError for a key that is not the consumer's."""
        on = self.state is DisplayState.ON
        inner: object = self._judged(event) if on and isinstance(event, Heard) else event
        return cast("list[DisplayOut]", self._step(inner, now))

    def timeout(self, now: float) -> list[DisplayOut]:
        """Nothing is ever due."""
        return []

    def listening(self, when: float) -> bool:
        """True with power."""
        return self.state is DisplayState.ON

    # -- telegrams ---------------------------------------------------------------------------------------

    def _judged(self, event: Heard) -> ConsumerHeard | Stray:
        frame = event.frame
        if len(frame) < 2 or frame[1] != SND_NR:
            return Stray("message", frame)
        telegram = self._decoder.examine(frame)
        for judge in _JUDGES:
            reason = judge(self, telegram)
            if reason is not None:
                return Stray(reason, frame)
        return ConsumerHeard(telegram)

    def _unknown(self, telegram: Telegram) -> Reason | None:
        if telegram.address is None or telegram.transport is None:
            return "unreadable"
        return None if telegram.address in self._rings else "not-registered"

    def _other(self, telegram: Telegram) -> Reason | None:
        transport = telegram.transport
        assert transport is not None
        consumer = transport.key_id == CONSUMER_KEY and transport.content == 0 and transport.content_index == _CONSUMER_INDEX
        return None if consumer else "not-consumer"

    def _closed(self, telegram: Telegram) -> Reason | None:
        return None if telegram.ok and telegram.security.authenticated else "security"

    def _old(self, telegram: Telegram) -> Reason | None:
        """Copies of repeaters and replays, by the message counter."""
        security, address = telegram.security, telegram.address
        assert address is not None
        try:
            verdict = self._counters.accept(
                address.link_octets(),
                CONSUMER_KEY,
                security.key_version,
                security.counter or 0,
                message_digest(telegram.payload or b""),
            )
        except Replayed:
            return "security"
        return "copy" if verdict == "duplicate" else None

    # -- actions -----------------------------------------------------------------------------------------

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        return []

    def _register(self, event: Register, now: float) -> list[object]:
        if not len(event.keys) or any(key.key_id != CONSUMER_KEY for _, key in event.keys):
            raise InputError("a display takes the key with KeyID 08h and no other", code="key.invalid", layer="protocol")
        self._rings[event.address] = event.keys
        self._rebuild()
        return []

    def _forget(self, event: Forget, now: float) -> list[object]:
        self._rings.pop(event.address, None)
        self.latest.pop(event.address, None)
        self._rebuild()
        return []

    def _rebuild(self) -> None:
        """One ring of all meters: a key of one meter never opens another's telegrams."""
        ring = KeyRing()
        for address, keys in self._rings.items():
            for _, key in keys:
                ring.add(address.link_octets(), key.octets, key.key_id, key.version)
        self._decoder = Decoder(ring, crc=False)

    def _show(self, event: ConsumerHeard, now: float) -> list[object]:
        telegram = event.telegram
        address, transport = telegram.address, telegram.transport
        assert address is not None
        assert transport is not None
        shown = self.latest[address] = Shown(address, telegram.records, transport.status, now)
        return [shown]

    def _ignore(self, event: Stray, now: float) -> list[object]:
        return [Ignored(event.reason, event.frame)]

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[Action, Enum]]] = {
        (DisplayState.OFF, PowerUp): (_power_up, DisplayState.ON),
        (DisplayState.ON, PowerUp): (_power_up, DisplayState.ON),
        (DisplayState.ON, Register): (_register, DisplayState.ON),
        (DisplayState.ON, Forget): (_forget, DisplayState.ON),
        (DisplayState.ON, ConsumerHeard): (_show, DisplayState.ON),
        (DisplayState.ON, Stray): (_ignore, DisplayState.ON),
    }


#: asked in order; the first reason counts
_JUDGES: Final[tuple[Callable[[ConsumerDisplay, Telegram], Reason | None], ...]] = (
    ConsumerDisplay._unknown,
    ConsumerDisplay._other,
    ConsumerDisplay._closed,
    ConsumerDisplay._old,
)
