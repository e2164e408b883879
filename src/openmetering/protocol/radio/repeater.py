"""The unidirectional repeater: what a meter says is said once more, later and marked.

    OFF      --PowerUp-->     READY
    READY    --Repeatable-->  READY      SND-NR or SND-IR with H = 0 and R = 0: kept for 5..25 s
    READY    --CopyDue-->     SENDING    the same datagram with H = 1
    SENDING  --CopySent-->    READY      behind a SND-IR: an own SND-NKE 2..5 s later
    READY    --ResetDue-->    SENDING    SND-NKE: who installs the meter sees that the path exists
    SENDING  --Withheld-->    READY      the band is used up, the copy is dropped

A copy is never repeated again (single hop). Nothing but bit H changes, so encryption and MAC survive: the
extended link layer and the link bits of modes 0 and 5 are covered by neither.
The repeater's data about itself (device type 32h, at least every 240 min) come from a ``RadioDevice`` of its own
that shares the transmitter and its duty cycle.

Source: OMS Volume 2 5.0.1, unidirectional repeater (clause to confirm); EN 13757-5 (single-hop repeater).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, Final, cast

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.link.control import message_name
from openmetering.codec.tpl import rssi_status
from openmetering.errors import DecodeError
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.machine import Dice, Machine
from openmetering.protocol.radio.credits import DUTY_CYCLE, DutyCycle, airtime
from openmetering.protocol.radio.datagram import HOP, REPEATED, SND_IR, SND_NR, Mode, datagram, read
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import (
    ButtonPressed,
    Ignored,
    Omitted,
    RadioOut,
    Reason,
)
from openmetering.protocol.radio.steps import Action, State, Stray, Withheld
from openmetering.tables import CONTROL_INFORMATION

__all__ = [
    "QUEUE",
    "CopyDue",
    "CopyLost",
    "CopySent",
    "LinkBits",
    "Repeatable",
    "RepeaterConfig",
    "RepeaterState",
    "ResetDue",
    "UnidirectionalRepeater",
    "link_bits",
    "marked",
]

QUEUE: Final = 15  #: datagrams that wait at most
_NEVER: Final = float("inf")
_DELAY: Final = (5.0, 20.0)  #: seconds until a copy: at least, and a random share of
_RESET_DELAY: Final = (2.0, 3.0)  #: seconds from a copy of SND-IR to the own SND-NKE, in the same way
_GUARD: Final = 0.5  #: seconds around own synchronous transmissions without copies
_LOST: Final = 1.0
_SND_NKE: Final = 0x40
_PURE_DOWN: Final = 0x80
_ELL: Final = frozenset((0x8C, 0x8D, 0x8E, 0x8F))
_REPEATED_MESSAGES: Final = (SND_NR, SND_IR)


class LinkBits(msgspec.Struct, frozen=True):
    """Where the link bits of a frame stand: offset of the octet, masks of H and R."""

    offset: int
    hop: int
    repeated: int


#: header kind -> offset of the configuration field in a frame without extended link layer
_CONFIGURATION: Final = {"short": 13, "long": 21}


def link_bits(frame: bytes) -> LinkBits | None:
    """The place of bits H and R: CC of an extended link layer, else the configuration field of modes 0 and 5.

    Octets   10     CI; 11 CC (ELL)
             13..14 configuration field of a short header, 21..22 of a long one
    Source   OMS Volume 2 5.0.1 Table 14; configuration field: clause to confirm
    """
    ci = frame[10] if len(frame) > 11 else 0
    if ci in _ELL:
        return LinkBits(11, HOP, REPEATED)
    info = CONTROL_INFORMATION[ci]
    at = None if info is None else _CONFIGURATION.get(info.header)
    if at is None or len(frame) < at + 2 or frame[at + 1] & 0x1F not in (0, 5):
        return None
    return LinkBits(at, 0x01, 0x02)


def marked(frame: bytes, bits: LinkBits) -> bytes:
    """The frame with H = 1."""
    at = bits.offset
    return frame[:at] + bytes((frame[at] | bits.hop,)) + frame[at + 1 :]


class RepeaterConfig(msgspec.Struct, frozen=True):
    """How a repeater is set.

    ``mode``           S, T or C
    ``manufacturers``  repeat only meters of these (manufacturer field); empty: all
    ``queue``          datagrams that wait at most
    ``share``          duty cycle; None: that of the sub-band
    """

    mode: Mode = "C"
    manufacturers: tuple[int, ...] = ()
    queue: int = QUEUE
    share: float | None = None


class RepeaterState(Enum):
    """Whether a copy is on its way."""

    OFF = "off"
    READY = "ready"
    SENDING = "sending"


class Repeatable(msgspec.Struct, frozen=True):
    """A datagram to repeat."""

    frame: bytes
    bits: LinkBits
    rssi: float | None


class CopyDue(msgspec.Struct, frozen=True):
    """The delay of a copy is over."""


class ResetDue(msgspec.Struct, frozen=True):
    """The delay of an own SND-NKE is over."""


class CopySent(msgspec.Struct, frozen=True):
    """A copy or an own SND-NKE left."""

    sent: Sent


class CopyLost(msgspec.Struct, frozen=True):
    """Nobody said that it left."""


class Waiting(msgspec.Struct, frozen=True):
    """A frame that is to be sent; ``downlink`` as in ``Transmit``; ``rssi`` of a SND-IR, to report it."""

    due: float
    frame: bytes
    downlink: bool = False
    rssi: float | None = None


RepeaterIn = PowerUp | Heard | Sent | ButtonPressed


class UnidirectionalRepeater(Machine[RepeaterState]):
    """A repeater. ``address`` is its own (device type 32h); ``own`` sends its data about itself, under ``duty``.

    ``UnidirectionalRepeater.shared_duty(config)`` makes the account that ``own`` needs.
    """

    __slots__ = ("_address", "_copies", "_current", "_dice", "_duty", "_lost_at", "_number", "_own",
                 "_own_frame", "_resets", "_start",
                 "config")  # fmt: skip

    def __init__(
        self,
        config: RepeaterConfig,
        address: Address,
        dice: Dice,
        *,
        own: RadioDevice | None = None,
        duty: DutyCycle | None = None,
    ) -> None:
        super().__init__(RepeaterState.OFF)
        self.config = config
        self._address = address
        self._dice = dice
        self._own = own
        self._duty = self.shared_duty(config) if duty is None else duty
        self._clear()

    @staticmethod
    def shared_duty(config: RepeaterConfig) -> DutyCycle:
        """The airtime account of the transmitter, to be given to the repeater and to its own device."""
        return DutyCycle(DUTY_CYCLE[config.mode] if config.share is None else config.share)

    def _clear(self) -> None:
        self._copies: list[Waiting] = []
        self._resets: list[Waiting] = []
        self._current: Waiting | None = None
        self._own_frame = b""
        self._lost_at = _NEVER
        self._start = 0.0
        self._number = 0

    # -- the interface ------------------------------------------------------------------------------------

    def receive(self, event: RepeaterIn, now: float) -> list[RadioOut]:
        """Something happened. Raises ProtocolError if the state does not allow it."""
        if isinstance(event, Heard):
            out = self._heard(event, now)
        elif isinstance(event, Sent):
            out = self._sent(event, now)
        else:
            out = self._step(event, now)
        self._arm()
        return cast("list[RadioOut]", out)

    def timeout(self, now: float) -> list[RadioOut]:
        """The deadline is reached."""
        if self.deadline is None or now < self.deadline:
            return []
        out = [] if self._own is None else self._from_own(self._own.timeout(now))
        while (event := self._due(now)) is not None:
            out += self._step(event, now)
        self._arm()
        return cast("list[RadioOut]", out)

    def listening(self, when: float) -> bool:
        """True if the receiver is on: always, but for own transmissions."""
        own_on_air = self._own is not None and self._own.state is State.SENDING
        return (self.state is RepeaterState.READY or when < self._start) and not own_on_air

    # -- deadlines ----------------------------------------------------------------------------------------

    def _due(self, now: float) -> object | None:
        if self.state is RepeaterState.SENDING:
            return CopyLost() if self._lost_at <= now else None
        for queue, event in ((self._resets, ResetDue()), (self._copies, CopyDue())):
            if queue and queue[0].due <= now:
                if self._own is None or not self._own.schedule.near(now, now, _GUARD):
                    return event
                later = (self._own.schedule.due or now) + _GUARD
                queue[0] = msgspec.structs.replace(queue[0], due=later)
                queue.sort(key=lambda item: item.due)
        return None

    def _arm(self) -> None:
        if self.state is RepeaterState.SENDING:
            times = [self._lost_at]
        else:
            times = [queue[0].due for queue in (self._resets, self._copies) if queue]
        if self._own is not None and self._own.deadline is not None:
            times.append(self._own.deadline)
        self.deadline = min(times, default=None)

    # -- frames -------------------------------------------------------------------------------------------

    def _heard(self, event: Heard, now: float) -> list[object]:
        frame = event.frame
        bits = link_bits(frame)
        reason = self._refusal(frame, bits)
        if reason is not None or bits is None:
            return self._step(Stray(reason or "no-link-bits", frame), now)
        return self._step(Repeatable(frame, bits, event.rssi), now)

    def _refusal(self, frame: bytes, bits: LinkBits | None) -> Reason | None:
        """Why a frame is not repeated."""
        if len(frame) < 12 or frame[0] != len(frame) - 1:
            return "unreadable"
        if frame[1] not in _REPEATED_MESSAGES:
            return "message"
        if bits is None:
            return "no-link-bits"
        if frame[bits.offset] & (bits.hop | bits.repeated):
            return "repeated"
        wanted = self.config.manufacturers
        return "filtered" if wanted and frame[2] | frame[3] << 8 not in wanted else None

    def _sent(self, event: Sent, now: float) -> list[object]:
        if self._own is not None and event.frame == self._own_frame:
            self._own_frame = b""
            return self._from_own(self._own.receive(event, now))
        self._duty.note(now, now - event.started)
        return self._step(CopySent(event), now)

    def _from_own(self, events: list[RadioOut]) -> list[object]:
        """What the own device gives out goes through; its frame is noted, so that its end can be told from a copy's."""
        for event in events:
            if isinstance(event, Transmit):
                self._own_frame = event.frame
        return list(events)

    # -- actions --------------------------------------------------------------------------------------------

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        self._clear()
        self._number = int(self._dice() * 256) & 0xFF
        return [] if self._own is None else self._from_own(self._own.receive(event, now))

    def _press(self, event: ButtonPressed, now: float) -> list[object]:
        return [] if self._own is None else self._from_own(self._own.receive(event, now))

    def _keep(self, event: Repeatable, now: float) -> list[object]:
        rssi = event.rssi if event.frame[1] == SND_IR else None
        return self._enqueue(event, now, _DELAY, rssi)

    def _enqueue(self, event: Repeatable, now: float, delay: tuple[float, float], rssi: float | None) -> list[object]:
        if len(self._copies) >= self.config.queue:
            return [Omitted(message_name(event.frame[1]), "queue-full")]
        due = now + delay[0] + delay[1] * self._dice()
        self._copies.append(Waiting(due, marked(event.frame, event.bits), rssi=rssi))
        self._copies.sort(key=lambda item: item.due)
        return []

    def _copy(self, event: CopyDue, now: float) -> list[object]:
        return self._send(self._copies.pop(0), now)

    def _reset(self, event: ResetDue, now: float) -> list[object]:
        return self._send(self._resets.pop(0), now)

    def _send(self, item: Waiting, now: float, latest: float | None = None) -> list[object]:
        if self._duty.left(now) < airtime(self.config.mode, len(item.frame)):
            return [Omitted(message_name(item.frame[1]), "duty-cycle"), *self._step(Withheld(), now)]
        self._current = item
        start = max(now, item.due)
        self._start = start
        self._lost_at = (start if latest is None else latest) + _LOST
        return [Transmit(item.frame, start, latest, item.downlink)]

    def _finish(self, event: CopySent, now: float) -> list[object]:
        item, self._current = self._current, None
        if item is not None and item.frame[1] == SND_IR:
            self._plan_reset(item, now)
        return []

    def _plan_reset(self, item: Waiting, now: float) -> None:
        """An own SND-NKE to the meter of a repeated SND-IR, with the level at which it was heard."""
        try:
            heard = read(item.frame)
        except DecodeError:  # link bits, but headers that nobody reads: the copy was all there is to do
            return
        meter = heard.application or heard.sender
        self._number = number = (self._number + 1) & 0xFF
        status = rssi_status(None if item.rssi is None else round(item.rssi))
        body = bytes((_PURE_DOWN,)) + meter.transport_octets() + bytes((number, status, 0, 0))
        frame = datagram(_SND_NKE, self._address.link_octets(), body, 0, number)
        due = now + _RESET_DELAY[0] + _RESET_DELAY[1] * self._dice()
        self._resets.append(Waiting(due, frame, downlink=True))
        self._resets.sort(key=lambda one: one.due)

    def _ignore(self, event: Stray, now: float) -> list[object]:
        return [Ignored(event.reason, event.frame)]

    def _nothing(self, event: object, now: float) -> list[object]:
        self._current = None
        return []

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[Action, Enum]]] = {
        (RepeaterState.OFF, PowerUp): (_power_up, RepeaterState.READY),
        (RepeaterState.READY, PowerUp): (_power_up, RepeaterState.READY),
        (RepeaterState.SENDING, PowerUp): (_power_up, RepeaterState.READY),
        (RepeaterState.READY, ButtonPressed): (_press, RepeaterState.READY),
        (RepeaterState.SENDING, ButtonPressed): (_press, RepeaterState.SENDING),
        (RepeaterState.READY, Stray): (_ignore, RepeaterState.READY),
        (RepeaterState.SENDING, Stray): (_ignore, RepeaterState.SENDING),
        (RepeaterState.READY, Repeatable): (_keep, RepeaterState.READY),
        (RepeaterState.SENDING, Repeatable): (_keep, RepeaterState.SENDING),
        (RepeaterState.READY, CopyDue): (_copy, RepeaterState.SENDING),
        (RepeaterState.READY, ResetDue): (_reset, RepeaterState.SENDING),
        (RepeaterState.SENDING, CopySent): (_finish, RepeaterState.READY),
        (RepeaterState.READY, CopySent): (_nothing, RepeaterState.READY),  # a copy that counted as lost
        (RepeaterState.SENDING, CopyLost): (_nothing, RepeaterState.READY),
        (RepeaterState.SENDING, Withheld): (_nothing, RepeaterState.READY),
    }
