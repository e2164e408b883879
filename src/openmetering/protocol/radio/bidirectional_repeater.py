"""The bidirectional repeater: a unidirectional one that carries commands down and their answers up.

    READY    --Repeatable-->   READY      as the unidirectional repeater
    SENDING  --CopySent-->     READY      behind a copy with B, A = 10 or 11: a window for the gateway, as the meter's own
    READY    --DownHeard-->    READY      a datagram to that meter in this window: kept until the meter is heard
    READY    --Deliverable-->  SENDING    the meter opens its window: the datagram goes into it, with H = 1
    READY    --AnswerHeard-->  READY      the answer to what was delivered: once more, soon, with H = 1

The octets of a repeated datagram stay as they are but for bit H, so access numbers, security and the sender's address
reach the other side; the gateway may send its next datagram into the window behind the repeated answer, while the meter
repeats its answer in its frequent access cycle. Datagrams that the meter hears directly are not kept: their window is
that of the meter, not that of a copy.

The rules of OMS for bidirectional repeaters stand in a volume that is not public: this is our own reading [?].
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, Final

import msgspec

from openmetering.errors import DecodeError
from openmetering.protocol.events import Heard
from openmetering.protocol.radio.datagram import BIDIRECTIONAL, FAST, HOP, WINDOWS, Datagram, read
from openmetering.protocol.radio.repeater import (
    CopySent,
    Repeatable,
    RepeaterState,
    UnidirectionalRepeater,
    Waiting,
    link_bits,
    marked,
)
from openmetering.protocol.radio.steps import Action, Stray

__all__ = ["ANSWER_DELAY", "KEPT", "LINKS", "AnswerHeard", "BidirectionalRepeater", "Deliverable", "DownHeard"]

LINKS: Final = 128  #: addresses that are remembered
KEPT: Final = 3600.0  #: seconds that a datagram waits for its meter at most
#: seconds until an answer is repeated: at least, and a random share of; over before the slow window of the meter opens
ANSWER_DELAY: Final = (0.05, 0.35)
_TOLERANCE: Final = 0.0005
_ANSWERS: Final = frozenset(("ACK", "NACK", "RSP-UD"))
_DOWN: Final = frozenset(("SND-NKE", "SND-UD", "SND-UD2", "REQ-UD1", "REQ-UD2", "CNF-IR", "ACK"))


class Link:
    """What is known about one meter: the window behind the last copy, a datagram kept for it, and what was delivered."""

    __slots__ = ("close", "delivered", "kept", "open", "until")

    def __init__(self) -> None:
        self.open = self.close = float("-inf")
        self.kept: bytes | None = None
        self.until = 0.0
        self.delivered: int | None = None  # link access number of a datagram whose answer was not repeated yet


class DownHeard(msgspec.Struct, frozen=True):
    """A datagram of a gateway in the window behind a copy."""

    frame: bytes
    link: Link


class Deliverable(msgspec.Struct, frozen=True):
    """A meter with a window, for which a datagram is kept."""

    heard: Datagram
    link: Link


class AnswerHeard(msgspec.Struct, frozen=True):
    """The answer to a delivered datagram."""

    repeatable: Repeatable
    link: Link


class BidirectionalRepeater(UnidirectionalRepeater):
    """A repeater for both directions (device type 33h); arguments as those of ``UnidirectionalRepeater``."""

    __slots__ = ("_links",)

    def _clear(self) -> None:
        super()._clear()
        self._links: dict[bytes, Link] = {}  # by LLA and by ALA, the most recently heard last

    # -- frames -------------------------------------------------------------------------------------------

    def _heard(self, event: Heard, now: float) -> list[object]:
        try:
            heard = read(event.frame)
        except DecodeError:
            return super()._heard(event, now)
        link = self._down_link(heard, event.started)
        if link is not None:
            return self._step(DownHeard(event.frame, link), now)
        out = self._answer_heard(event, heard, now) if heard.message in _ANSWERS else super()._heard(event, now)
        link = self._links.get(heard.sender.link_octets())
        if link is not None and self._deliverable(heard, link, now):
            out += self._step(Deliverable(heard, link), now)
        return out

    def _answer_heard(self, event: Heard, heard: Datagram, now: float) -> list[object]:
        """An answer is repeated once for each datagram that was delivered."""
        bits, link = link_bits(event.frame), self._links.get(heard.sender.link_octets())
        if bits is None or link is None or link.delivered != heard.access_number:
            return self._step(Stray("message", event.frame), now)
        if event.frame[bits.offset] & (bits.hop | bits.repeated):
            return self._step(Stray("repeated", event.frame), now)
        return self._step(AnswerHeard(Repeatable(event.frame, bits, event.rssi), link), now)

    def _deliverable(self, heard: Datagram, link: Link, now: float) -> bool:
        """True if the meter itself has just opened a window, and something is kept for it."""
        if link.kept is not None and now > link.until:
            link.kept = None
        ready = self.state is RepeaterState.READY and not heard.control & HOP
        return ready and link.kept is not None and bool(heard.control & BIDIRECTIONAL)

    @staticmethod
    def _names(heard: Datagram) -> tuple[bytes, ...]:
        addresses = (heard.sender, heard.application)
        return tuple(address.link_octets() for address in addresses if address is not None)

    def _down_link(self, heard: Datagram, started: float) -> Link | None:
        """The link whose window a gateway's datagram uses; None if it is no such datagram."""
        if heard.message not in _DOWN:
            return None
        for address in (heard.destination, heard.application):
            link = None if address is None else self._links.get(address.link_octets())
            if link is not None and link.open - _TOLERANCE <= started <= link.close + _TOLERANCE:
                return link
        return None

    # -- actions --------------------------------------------------------------------------------------------

    def _keep_down(self, event: DownHeard, now: float) -> list[object]:
        link = event.link
        link.kept, link.until = event.frame, now + KEPT
        link.open = link.close = float("-inf")
        return []

    def _deliver(self, event: Deliverable, now: float) -> list[object]:
        link, frame = event.link, event.link.kept or b""
        bits, link.kept = link_bits(frame), None
        link.delivered = read(frame).access_number
        window = WINDOWS[self.config.mode, bool(event.heard.control & FAST)]
        item = Waiting(now + window.earliest, frame if bits is None else marked(frame, bits), downlink=True)
        return self._send(item, now, now + window.latest)

    def _keep_answer(self, event: AnswerHeard, now: float) -> list[object]:
        event.link.delivered = None
        return self._enqueue(event.repeatable, now, ANSWER_DELAY, None)

    def _open_window(self, event: CopySent, now: float) -> list[object]:
        """Behind a copy: the gateway takes the promise of the meter for that of the copy."""
        item = self._current
        out = self._finish(event, now)
        if item is None or item.downlink:
            return out
        try:
            heard = read(item.frame)
        except DecodeError:  # its link bits could be changed, but nobody could answer it
            return out
        if heard.control & BIDIRECTIONAL:
            window = WINDOWS[self.config.mode, bool(heard.control & FAST)]
            link = self._remember(heard)
            link.open, link.close = now + window.earliest, now + window.latest
        return out

    def _remember(self, heard: Datagram) -> Link:
        """The link of a meter under all its addresses; the one that was silent for longest gives way."""
        names = self._names(heard)
        link = next((self._links[name] for name in names if name in self._links), None) or Link()
        for name in names:
            self._links.pop(name, None)
            self._links[name] = link
        while len(self._links) > LINKS:
            del self._links[next(iter(self._links))]
        return link

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[Action, Enum]]] = {
        **UnidirectionalRepeater.TRANSITIONS,
        (RepeaterState.SENDING, CopySent): (_open_window, RepeaterState.READY),
        (RepeaterState.READY, DownHeard): (_keep_down, RepeaterState.READY),
        (RepeaterState.SENDING, DownHeard): (_keep_down, RepeaterState.SENDING),
        (RepeaterState.READY, AnswerHeard): (_keep_answer, RepeaterState.READY),
        (RepeaterState.SENDING, AnswerHeard): (_keep_answer, RepeaterState.SENDING),
        (RepeaterState.READY, Deliverable): (_deliver, RepeaterState.SENDING),
    }
