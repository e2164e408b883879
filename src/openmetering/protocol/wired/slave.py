"""The wired slave: a transceiver with one or several logical slaves behind it.

    OFF         --PowerUp-->       STARTING    volatile state is lost; from every state
    STARTING    --Ready-->         LISTENING   less than 3 s later
    LISTENING   --Incomplete-->    LISTENING   a frame has begun
    LISTENING   --Damaged-->       DISTURBED   parity, checksum, start, length or stop are wrong: no answer
    DISTURBED   --Pause-->         LISTENING   22 bits idle end a disturbed frame
    LISTENING   --FrameRead-->     LISTENING   for the logical slaves
    LISTENING   --AnswerDue-->     ANSWERING   11 bits to 330 bits + 50 ms later
    ANSWERING   --Sent-->          LISTENING   deaf while it talks
    LISTENING   --Overdrawn-->     EXHAUSTED   battery device that has used up its budget: error 09h, then silence
    EXHAUSTED   --Refilled-->      LISTENING
    LISTENING   --RateDue-->       LISTENING   the other rate, when E5 is out
    LISTENING   --FallBack-->      LISTENING   nothing valid came at the new rate: the old one again

Several logical slaves that would answer to one frame let the master see a collision (A5, or several E5); 254 is
answered by the first of them, 255 is carried out by all, the rate is that of the device.
Source: EN 13757-2, clauses to confirm; OMS Volume 2 Annex P release C (P-06, P-10 to P-17, communication budget
informative); The M-Bus: A Documentation, Rev. 4.8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import ClassVar, Literal, cast

import msgspec

from openmetering.codec.link.wired import ACK, TEST, WiredFrame, unframe
from openmetering.errors import DecodeError, OutOfRange, Truncated
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.events import Octets, PowerUp, Transmit
from openmetering.protocol.machine import Machine
from openmetering.protocol.wired.logical import LogicalSlave, RateChange, Reply
from openmetering.protocol.wired.timing import (
    ANSWER_BITS,
    ANSWER_SECONDS,
    CHARACTER,
    SHORTEST_BITS,
    SILENCE_BITS,
    LineRate,
)

__all__ = ["TRANSITIONS", "Budget", "SlaveConfig", "SlaveState", "WiredSlave"]

_NO_BUDGET = 0x09  #: application error before a battery device falls silent
_COLLISION = b"\xa5"


class Budget(msgspec.Struct, frozen=True):
    """The communication budget of a battery device. Units: octets, both directions; octets per minute for ``refill``.

    ``floor`` below it the next question gets error 09h; ``release`` at which it talks again.
    Source   OMS Volume 2 Annex P release C, informative example (depot 30 000, 50 octets a minute, release at 300);
             ``floor``, and that requests and answers both count, are our reading
    """

    depot: int = 30_000
    refill: float = 50.0
    release: int = 300
    floor: int = 100


class SlaveConfig(msgspec.Struct, frozen=True):
    """A wired transceiver.

    ``bauds``          rates it supports; OMS demands 300 and 2400, and for higher ones all lower OMS rates
    ``detects``        True: it finds out the rate of a request by itself (mandatory in OMS)
    ``delay_bits``     11..330, and ``delay`` seconds 0..0.05: from the end of a request to the begin of the answer
    ``ready``          seconds after power-up, less than 3
    ``longest``        largest L field it can receive
    ``collision``      what several logical slaves send together: A5 once, or E5 by each of them
    ``fall_back``      seconds after which it gives up a rate at which nothing valid came; only without ``detects``
    ``budget``         of a battery device
    """

    bauds: tuple[int, ...] = (300, 2400)
    detects: bool = True
    delay_bits: int = 22
    delay: float = 0.0
    ready: float = 1.0
    longest: int = 255
    collision: Literal["A5", "E5"] = "A5"
    fall_back: float = 180.0
    budget: Budget | None = None


class SlaveState(Enum):
    """What the transceiver does."""

    OFF = "off"
    STARTING = "starting"
    LISTENING = "listening"
    DISTURBED = "disturbed"
    ANSWERING = "answering"
    EXHAUSTED = "exhausted"


# events that the machine makes of characters and deadlines


class Ready(msgspec.Struct, frozen=True):
    """The time after power-up is over."""


class Characters(msgspec.Struct, frozen=True):
    """Octets that are not looked at."""


class Pause(msgspec.Struct, frozen=True):
    """22 bits idle."""


class Incomplete(msgspec.Struct, frozen=True):
    """The begin of a frame."""


class Damaged(msgspec.Struct, frozen=True):
    """Octets that are no frame."""


class FrameRead(msgspec.Struct, frozen=True):
    """A valid frame."""

    frame: WiredFrame
    octets: bytes


class AnswerDue(msgspec.Struct, frozen=True):
    """There is an answer."""

    octets: bytes


class Sent(msgspec.Struct, frozen=True):
    """The answer is out."""


class Overdrawn(msgspec.Struct, frozen=True):
    """A question that the budget does not cover; ``octets`` of the error, empty where nothing is answered."""

    octets: bytes


class Refilled(msgspec.Struct, frozen=True):
    """There is budget again."""


class RateDue(msgspec.Struct, frozen=True):
    """The rate changes now."""


class FallBack(msgspec.Struct, frozen=True):
    """Nothing valid came at the new rate."""


class WiredSlave(Machine[SlaveState]):
    """A wired device. Into it ``PowerUp`` and ``Octets`` (``now``: end of the last character), out of it ``Transmit``,
    ``LineRate`` and what its logical slaves tell (``DeviceEvent``).

    Whoever hands octets to it asks ``tune`` first whether it hears the rate they come with.
    """

    __slots__ = ("_buffer", "_busy_until", "_fall_back_at", "_fall_back_to", "_last", "_level", "_level_at", "_next_baud",
                 "_rate_at", "_ready_at", "baud", "config", "slaves")  # fmt: skip

    TRANSITIONS: ClassVar[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {}

    def __init__(self, slaves: Sequence[LogicalSlave], config: SlaveConfig | None = None) -> None:
        super().__init__(SlaveState.OFF)
        self.config = config or SlaveConfig()
        _check(self.config)
        self.slaves = tuple(slaves)
        memory = self.slaves[0].memory
        #: present rate, bit/s
        self.baud = memory.baud if memory.baud in self.config.bauds else self.config.bauds[0]
        for slave in self.slaves:
            slave.bauds = self.config.bauds
        self._buffer = b""
        self._last = float("-inf")
        self._busy_until = float("-inf")
        self._ready_at: float | None = None
        self._rate_at: float | None = None
        self._next_baud = self.baud
        self._fall_back_at: float | None = None
        self._fall_back_to = self.baud
        self._level = float(self.config.budget.depot) if self.config.budget is not None else 0.0
        self._level_at = 0.0

    # -- the interface -----------------------------------------------------------------------

    def tune(self, baud: int) -> bool:
        """Characters come at a rate: True if the device hears them; with detection it takes over a rate it supports."""
        if baud != self.baud and self.config.detects and baud in self.config.bauds:
            self.baud = baud
        return baud == self.baud

    def receive(self, event: PowerUp | Octets, now: float) -> list[Transmit | DeviceEvent | LineRate]:
        """Power came, or characters of the master."""
        out = self._due(now)
        out += self._octets(event, now) if isinstance(event, Octets) else self._step(event, now)
        return self._finish(out)

    def timeout(self, now: float) -> list[Transmit | DeviceEvent | LineRate]:
        """A deadline of the transceiver or of an application is reached."""
        if self.deadline is None or now < self.deadline:
            return []
        return self._finish(self._due(now))

    def _finish(self, out: list[object]) -> list[Transmit | DeviceEvent | LineRate]:
        own = (self._ready_at, self._rate_at, self._fall_back_at)
        dues = [due for due in (*own, *(slave.endpoint.deadline for slave in self.slaves)) if due is not None]
        self.deadline = min(dues) if dues and self.state is not SlaveState.OFF else None
        return cast("list[Transmit | DeviceEvent | LineRate]", out)

    def _due(self, now: float) -> list[object]:
        """What time has brought until now."""
        out: list[object] = []
        if self.state is SlaveState.OFF:
            return out
        if self._ready_at is not None and now >= self._ready_at:
            out += self._step(Ready(), now)
        if self.state is SlaveState.ANSWERING and now >= self._busy_until - self._bits(CHARACTER / 2):
            out += self._step(Sent(), now)
        if self._rate_at is not None and now >= self._rate_at:
            out += self._step(RateDue(), now)
        if self._fall_back_at is not None and now >= self._fall_back_at:
            out += self._step(FallBack(), now)
        for slave in self.slaves:
            due = slave.endpoint.deadline
            if due is not None and now >= due:
                out += slave.applied(tuple(slave.endpoint.timeout(now)))
        return out

    # -- characters ----------------------------------------------------------------------------

    def _bits(self, count: float) -> float:
        return count / self.baud

    def _octets(self, event: Octets, now: float) -> list[object]:
        started = now - self._bits(len(event.octets) * CHARACTER)
        idle = started - self._last >= self._bits(SILENCE_BITS) * (1 - 1e-9)
        deaf = started < self._busy_until - self._bits(CHARACTER / 2)
        self._last = now
        out: list[object] = []
        if self.state is SlaveState.EXHAUSTED and self._fill(now) >= cast("Budget", self.config.budget).release:
            out += self._step(Refilled(), now)
        if idle and (self.state is SlaveState.DISTURBED or self._buffer):
            out += self._step(Pause(), now)
        return out + self._step(Characters() if deaf or self.state is not SlaveState.LISTENING else self._name(event), now)

    def _name(self, event: Octets) -> object:
        self._buffer = buffer = self._buffer + event.octets
        if event.disturbed:
            return Damaged()
        try:
            frame, rest = unframe(buffer)
        except Truncated:
            return Incomplete()
        except DecodeError:
            return Damaged()
        too_long = len(buffer) > self.config.longest + 6
        return Damaged() if rest or too_long else FrameRead(frame, buffer)

    # -- budget ----------------------------------------------------------------------------------

    def _fill(self, now: float) -> float:
        """Octets in the depot now."""
        budget = cast("Budget", self.config.budget)
        self._level = min(float(budget.depot), self._level + (now - self._level_at) * budget.refill / 60.0)
        self._level_at = now
        return self._level

    def _refused(self, event: FrameRead, now: float) -> Overdrawn | None:
        """What happens to a frame that the budget does not cover; None if it does, or if it needs no application."""
        budget = self.config.budget
        if budget is None or self._fill(now) >= budget.floor:
            return None
        for slave in self._listeners(event.frame):
            needs = slave.needs_application(event.frame, event.octets)
            if needs is not None:
                return Overdrawn(slave.error(_NO_BUDGET) if needs else b"")
        return None

    # -- actions ---------------------------------------------------------------------------------

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        if self._rate_at is not None:
            self._rate_at, self._next_baud = None, self.baud
        self._buffer, self._fall_back_at, self._busy_until = b"", None, float("-inf")
        self._ready_at = now + self.config.ready
        for slave in self.slaves:
            slave.power_up(now)
        return []

    def _ready(self, event: Ready, now: float) -> list[object]:
        self._ready_at = None
        return []

    def _nothing(self, event: object, now: float) -> list[object]:
        return []

    def _drop(self, event: object, now: float) -> list[object]:
        self._buffer = b""
        return []

    def _listeners(self, frame: WiredFrame) -> tuple[LogicalSlave, ...]:
        return self.slaves[:1] if frame.address == TEST else self.slaves

    def _frame(self, event: FrameRead, now: float) -> list[object]:
        self._buffer, self._fall_back_at = b"", None
        refused = self._refused(event, now)
        if refused is not None:
            return self._step(refused, now)
        replies: list[bytes] = []
        out: list[object] = []
        change: RateChange | None = None
        for slave in self._listeners(event.frame):
            for item in slave.hear(event.frame, event.octets, now):
                if isinstance(item, Reply):
                    replies.append(item.octets)
                elif isinstance(item, RateChange):
                    change = item
                else:
                    out.append(item)
        if replies:
            answer = replies[0] if len(replies) == 1 else self._together(len(replies))
            if self.config.budget is not None:
                self._level -= len(event.octets) + len(answer)
            out = [*self._step(AnswerDue(answer), now), *out]
        if change is not None:
            self._next_baud = change.baud
            self._rate_at = self._busy_until if change.answered else now
            if not change.answered:
                out += self._step(RateDue(), now)
        return out

    def _together(self, count: int) -> bytes:
        """Several logical slaves answer: the master shall take it for a collision (P-14)."""
        return _COLLISION if self.config.collision == "A5" else ACK * count

    def _answer(self, event: AnswerDue, now: float) -> list[object]:
        start = now + self._bits(self.config.delay_bits) + self.config.delay
        self._busy_until = start + self._bits(len(event.octets) * CHARACTER)
        return [Transmit(event.octets, start, now + self._bits(ANSWER_BITS) + ANSWER_SECONDS)]

    def _overdraw(self, event: Overdrawn, now: float) -> list[object]:
        for slave in self.slaves:
            slave.forget()
        return self._answer(AnswerDue(event.octets), now) if event.octets else []

    def _change_rate(self, event: RateDue, now: float) -> list[object]:
        """The commanded rate is kept over power cuts; a device without detection has a way back."""
        if not self.config.detects:
            self._fall_back_at, self._fall_back_to = now + self.config.fall_back, self.baud
        return self._go_on_with(self._next_baud)

    def _fall_back(self, event: FallBack, now: float) -> list[object]:
        self._fall_back_at = None
        return self._go_on_with(self._fall_back_to)

    def _go_on_with(self, baud: int) -> list[object]:
        self._rate_at = None
        self.baud = baud
        for slave in self.slaves:
            slave.memory.baud = baud
        return [LineRate(baud)]


def _check(config: SlaveConfig) -> None:
    """Raise OutOfRange if a configuration breaks the times of the standard."""
    limits = (
        ("bauds", len(config.bauds), 1, 8),
        ("delay_bits", config.delay_bits, SHORTEST_BITS, ANSWER_BITS),
        ("delay", config.delay, 0.0, ANSWER_SECONDS),
        ("ready", config.ready, 0.0, 3.0),
        ("longest", config.longest, 3, 255),
    )
    for field, value, lowest, highest in limits:
        if not lowest <= value <= highest:
            raise OutOfRange(f"{field} must lie in {lowest}..{highest}, got {value}", field=field, value=value)


_S = SlaveState
_AWAKE = (_S.LISTENING, _S.DISTURBED, _S.ANSWERING, _S.EXHAUSTED)

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]] = {
    **{(state, PowerUp): (WiredSlave._power_up, _S.STARTING) for state in SlaveState},
    **{(state, Characters): (WiredSlave._nothing, state) for state in SlaveState},
    **{(state, FallBack): (WiredSlave._fall_back, state) for state in _AWAKE},
    (_S.STARTING, Ready): (WiredSlave._ready, _S.LISTENING),
    (_S.LISTENING, Incomplete): (WiredSlave._nothing, _S.LISTENING),
    (_S.LISTENING, Pause): (WiredSlave._drop, _S.LISTENING),
    (_S.LISTENING, Damaged): (WiredSlave._drop, _S.DISTURBED),
    (_S.DISTURBED, Pause): (WiredSlave._drop, _S.LISTENING),
    (_S.LISTENING, FrameRead): (WiredSlave._frame, _S.LISTENING),
    (_S.LISTENING, AnswerDue): (WiredSlave._answer, _S.ANSWERING),
    (_S.LISTENING, RateDue): (WiredSlave._change_rate, _S.LISTENING),
    (_S.ANSWERING, Sent): (WiredSlave._nothing, _S.LISTENING),
    (_S.LISTENING, Overdrawn): (WiredSlave._overdraw, _S.EXHAUSTED),
    (_S.EXHAUSTED, Refilled): (WiredSlave._nothing, _S.LISTENING),
}
WiredSlave.TRANSITIONS = TRANSITIONS
