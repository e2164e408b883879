"""The wired master: reads slaves by primary or secondary address.

    IDLE          --ReadPrimary-->    RESETTING      SND-NKE to the address
    IDLE          --ReadSecondary-->  DESELECTING    SND-NKE to 253
    RESETTING     --Acknowledged-->   REQUESTING     REQ-UD2
    DESELECTING   --any outcome-->    SELECTING      SND-UD to 253, CI 52 and the selection
    SELECTING     --Acknowledged-->   REQUESTING     REQ-UD2 to 253
    REQUESTING    --AnswerMore-->     REQUESTING     REQ-UD2 with the other FCB
    REQUESTING    --AnswerLast-->     IDLE           ReadoutDone

A request that gets no answer, or a disturbed one, goes out again with the same FCB: three
attempts in all. Times count in bits of the line. The machine has no clock and no line:
``receive(event, now)``, ``timeout(now)`` and ``deadline`` are its whole interface.
Source: EN 13757-2 and EN 60870-5-2; The M-Bus: A Documentation, Rev. 4.8; OMS Volume 2 Annex P.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal

import msgspec

from openmetering.codec import afl
from openmetering.codec.address import Selection
from openmetering.codec.apl import records
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import BROADCAST, SELECTED, TEST, WiredFrame, unframe
from openmetering.errors import DecodeError, ProtocolError

__all__ = [
    "TRANSITIONS",
    "Abort",
    "AnswerReceived",
    "LineTiming",
    "Octets",
    "ReadPrimary",
    "ReadSecondary",
    "ReadoutDone",
    "ReadoutFailed",
    "State",
    "Transmit",
    "Unsolicited",
    "WiredMaster",
    "more_follows",
]

SND_NKE, SND_UD, REQ_UD2 = 0x40, 0x53, 0x5B
_FCB = 0x20
_SELECT = 0x52
_BITS = 11  #: bits of a character: start, 8 data, parity, stop


class State(Enum):
    """Where a readout stands."""

    IDLE = "idle"
    RESETTING = "resetting"
    DESELECTING = "deselecting"
    SELECTING = "selecting"
    REQUESTING = "requesting"


# -- events in --------------------------------------------------------------------------------


class ReadPrimary(msgspec.Struct, frozen=True):
    """Read the slave at a primary address (0..250, or 254 on a bus with one slave)."""

    address: int


class ReadSecondary(msgspec.Struct, frozen=True):
    """Read the slave that a selection fits."""

    selection: Selection


class Octets(msgspec.Struct, frozen=True):
    """Octets from the line, as they come."""

    octets: bytes


class Abort(msgspec.Struct, frozen=True):
    """Give up the readout."""


# events that the machine makes of octets and deadlines
class Acknowledged(msgspec.Struct, frozen=True):
    """E5 came."""


class AnswerMore(msgspec.Struct, frozen=True):
    """A long frame came and the slave has more."""

    frame: bytes


class AnswerLast(msgspec.Struct, frozen=True):
    """A long frame came and it is the last."""

    frame: bytes


class AttemptLost(msgspec.Struct, frozen=True):
    """No answer, or a disturbed one; attempts are left."""

    disturbed: bool


class AttemptsLost(msgspec.Struct, frozen=True):
    """No answer, or a disturbed one, for the last time."""

    disturbed: bool


# -- events out -------------------------------------------------------------------------------


class Transmit(msgspec.Struct, frozen=True):
    """Send octets, not before a time."""

    frame: bytes
    not_before: float


class AnswerReceived(msgspec.Struct, frozen=True):
    """One frame of a readout; ``number`` counts from 0."""

    target: ReadPrimary | ReadSecondary
    frame: bytes
    number: int
    last: bool


class ReadoutDone(msgspec.Struct, frozen=True):
    """The readout ended; ``frames`` is 0 if the slave acknowledged but has no data."""

    target: ReadPrimary | ReadSecondary
    frames: int


class ReadoutFailed(msgspec.Struct, frozen=True):
    """The readout ended without (all) data. ``disturbed`` tells noise or a collision from silence."""

    target: ReadPrimary | ReadSecondary
    reason: Literal["no-answer", "disturbed", "not-selected", "endless", "aborted"]
    step: str
    frames: int

    @property
    def disturbed(self) -> bool:
        """True if something answered that could not be read."""
        return self.reason == "disturbed"


class Unsolicited(msgspec.Struct, frozen=True):
    """Octets that nobody asked for."""

    octets: bytes


InEvent = ReadPrimary | ReadSecondary | Octets | Abort
OutEvent = Transmit | AnswerReceived | ReadoutDone | ReadoutFailed | Unsolicited
_Step = Acknowledged | AnswerMore | AnswerLast | AttemptLost | AttemptsLost | ReadPrimary | ReadSecondary | Abort


class LineTiming(msgspec.Struct, frozen=True):
    """The times of a line in seconds.

    ``latency`` is what converter and network add to an answer, ``gap`` the longest pause
    inside a frame that is still one frame (octets come in lumps through converters).
    """

    baud: int = 2400
    latency: float = 0.1
    gap: float = 0.1

    def bits(self, count: int) -> float:
        """Time of a number of bits."""
        return count / self.baud

    def airtime(self, octets: int) -> float:
        """Time that octets take on the line."""
        return self.bits(octets * _BITS)

    @property
    def answer(self) -> float:
        """Longest time to the first octet of an answer: 330 bits, 50 ms, the latency.

        Source   EN 13757-2; OMS Volume 2 Annex P
        """
        return self.bits(330) + 0.05 + self.latency

    @property
    def silence(self) -> float:
        """Pause that ends a frame: 22 bits at least."""
        return max(self.bits(22), self.gap) + self.latency

    @property
    def idle(self) -> float:
        """Pause after a failure: 33 bits."""
        return self.bits(33)


def more_follows(frame: bytes) -> bool:
    """True if the answer says that more telegrams follow: DIF 1Fh at the end of clear records, or AFL fragments.

    Encrypted records cannot be looked into here; whoever holds the key passes another
    function to the machine.
    Source   EN 13757-3 (DIF 1F, clause to confirm); EN 13757-7 (AFL)
    """
    try:
        data = unframe(frame)[0].data
    except DecodeError:
        return False
    if not data:
        return False
    if data[0] == afl.CI:
        return len(data) > 3 and bool(data[3] & 0x40)
    header = _HEADERS.get(data[0])
    if header is None:
        return False
    size, configuration = header
    if configuration is not None and len(data) > configuration and data[configuration] & 0x1F:
        return False
    return records.parse(data, size).more_follows


#: CI with records -> offset of the records, offset of the octet with the security mode
_HEADERS: dict[int, tuple[int, int | None]] = {0x72: (13, 12), 0x7A: (5, 4), 0x78: (1, None)}


class WiredMaster:
    """One readout at a time; keeps the FCB of every address.

    ``more`` decides from an answer whether to ask again; ``attempts`` counts the first one;
    ``limit`` ends a readout of a slave that never stops saying more.
    """

    __slots__ = ("_attempt", "_buffer", "_echo", "_fcb", "_frames", "_more", "_quiet_until", "_request", "_selection_frame",
                 "_target", "attempts", "deadline", "limit", "state", "timing")  # fmt: skip

    def __init__(
        self,
        timing: LineTiming | None = None,
        *,
        attempts: int = 3,
        limit: int = 64,
        more: Callable[[bytes], bool] = more_follows,
    ) -> None:
        self.timing = timing or LineTiming()
        self.attempts = attempts
        self.limit = limit
        self.state = State.IDLE
        self.deadline: float | None = None
        self._more = more
        self._fcb: dict[int, bool] = {}
        self._target: ReadPrimary | ReadSecondary = ReadPrimary(TEST)
        self._request = b""
        self._selection_frame = b""
        self._echo = b""
        self._buffer = b""
        self._attempt = 0
        self._frames = 0
        self._quiet_until = 0.0

    # -- the interface -----------------------------------------------------------------------

    def receive(self, event: InEvent, now: float) -> list[OutEvent]:
        """An order, or octets of the line. Raises ProtocolError if the state does not allow the order."""
        if isinstance(event, Octets):
            return self._octets(event.octets, now)
        return self._step(event, now)

    def timeout(self, now: float) -> list[OutEvent]:
        """The deadline is reached: the answer is complete, disturbed, or did not come."""
        if self.deadline is None or now < self.deadline:
            return []
        found = self._classify(final=True)
        if found is None:
            lost = AttemptLost if self._attempt < self.attempts else AttemptsLost
            found = lost(bool(self._buffer))
        return self._step(found, now)

    def fcb(self, address: int) -> bool:
        """The FCB of the next request to an address; True after SND-NKE."""
        return self._fcb.get(address, True)

    # -- octets ------------------------------------------------------------------------------

    def _octets(self, octets: bytes, now: float) -> list[OutEvent]:
        if self.state is State.IDLE:
            return [Unsolicited(octets)] if octets else []
        self._buffer += octets
        self._strip_echo()
        if not self._buffer:
            return []
        found = self._classify(final=False)
        if found is not None:
            return self._step(found, now)
        self.deadline = now + self.timing.silence
        return []

    def _strip_echo(self) -> None:
        """Simple converters give back what was sent. No answer starts like a request, as bit PRM differs."""
        echo, buffer = self._echo, self._buffer
        if echo and buffer.startswith(echo):
            self._buffer, self._echo = buffer[len(echo) :], b""
        elif echo and not echo.startswith(buffer):
            self._echo = b""

    def _classify(self, *, final: bool) -> _Step | None:
        """The event of the buffer; None while it is incomplete or (``final``) no answer at all."""
        buffer = self._buffer
        if self._echo and self._echo.startswith(buffer):
            return None
        starts = [at for at, octet in enumerate(buffer) if octet in (0xE5, 0x68)] if final else [0]
        for at in starts:
            try:
                frame, rest = unframe(buffer[at:])
            except DecodeError:
                continue
            if rest and not final:
                continue
            if frame.kind == "single":
                if len(buffer) == 1:
                    return Acknowledged()
                continue
            if self.state is State.REQUESTING and self._fits(frame):
                octets = buffer[at : len(buffer) - len(rest)]
                return AnswerMore(octets) if self._more(octets) else AnswerLast(octets)
        return None

    def _fits(self, frame: WiredFrame) -> bool:
        """True for an RSP-UD of the slave that was asked; 253 and 254 answer with their own address."""
        asked = self._address
        return bool(frame.control & 0x4F == 0x08) and (asked in (SELECTED, TEST) or frame.address == asked)

    # -- the table's machinery -----------------------------------------------------------------

    @property
    def _address(self) -> int:
        return self._target.address if isinstance(self._target, ReadPrimary) else SELECTED

    def _step(self, event: _Step, now: float) -> list[OutEvent]:
        row = TRANSITIONS.get((self.state, type(event)))
        if row is None:
            raise ProtocolError(self.state.name, type(event).__name__)
        action, self.state = row
        out = action(self, event, now)
        if self.state is State.IDLE:
            self.deadline, self._buffer, self._echo = None, b"", b""
        return out

    def _transmit(self, frame: bytes, now: float) -> list[OutEvent]:
        start = max(now, self._quiet_until)
        self._request = self._echo = frame
        self._buffer = b""
        self.deadline = start + self.timing.airtime(len(frame)) + self.timing.answer
        return [Transmit(frame, start)]

    def _first(self, frame: bytes, now: float) -> list[OutEvent]:
        self._attempt = 1
        return self._transmit(frame, now)

    # -- actions -------------------------------------------------------------------------------

    def _start(self, event: _Step, now: float) -> list[OutEvent]:
        assert isinstance(event, ReadPrimary | ReadSecondary)
        if isinstance(event, ReadPrimary) and (event.address in (SELECTED, BROADCAST) or not 0 <= event.address <= 255):
            self.state = State.IDLE
            raise ProtocolError(State.IDLE.name, f"ReadPrimary({event.address})")
        self._target, self._frames = event, 0
        address = self._address
        self._fcb[address] = True
        if isinstance(event, ReadSecondary):
            self._selection_frame = WiredFrame.long(SND_UD, SELECTED, bytes((_SELECT,)) + event.selection.encode()).encode()
        return self._first(WiredFrame.short(SND_NKE, address).encode(), now)

    def _select(self, event: _Step, now: float) -> list[OutEvent]:
        return self._first(self._selection_frame, now)

    def _ask(self, event: _Step, now: float) -> list[OutEvent]:
        address = self._address
        control = ControlField(REQ_UD2 | (_FCB if self.fcb(address) else 0))
        return self._first(WiredFrame.short(control, address).encode(), now)

    def _repeat(self, event: _Step, now: float) -> list[OutEvent]:
        assert isinstance(event, AttemptLost)
        self._attempt += 1
        self._quiet_until = now + self.timing.idle
        return self._transmit(self._request, now)

    def _deliver(self, frame: bytes, *, last: bool) -> AnswerReceived:
        address = self._address
        self._fcb[address] = not self.fcb(address)
        self._frames += 1
        return AnswerReceived(self._target, frame, self._frames - 1, last)

    def _next(self, event: _Step, now: float) -> list[OutEvent]:
        assert isinstance(event, AnswerMore)
        delivered = self._deliver(event.frame, last=False)
        if self._frames >= self.limit:
            self.state = State.IDLE
            return [delivered, ReadoutFailed(self._target, "endless", "request", self._frames)]
        return [delivered, *self._ask(event, now)]

    def _last(self, event: _Step, now: float) -> list[OutEvent]:
        assert isinstance(event, AnswerLast)
        return [self._deliver(event.frame, last=True), ReadoutDone(self._target, self._frames)]

    def _empty(self, event: _Step, now: float) -> list[OutEvent]:
        return [ReadoutDone(self._target, self._frames)]

    def _lose(self, step: str, reason: Literal["no-answer", "not-selected"], event: _Step, now: float) -> list[OutEvent]:
        assert isinstance(event, AttemptsLost)
        self._quiet_until = now + self.timing.idle
        return [ReadoutFailed(self._target, "disturbed" if event.disturbed else reason, step, self._frames)]

    def _lose_reset(self, event: _Step, now: float) -> list[OutEvent]:
        return self._lose("reset", "no-answer", event, now)

    def _lose_select(self, event: _Step, now: float) -> list[OutEvent]:
        return self._lose("select", "not-selected", event, now)

    def _lose_request(self, event: _Step, now: float) -> list[OutEvent]:
        return self._lose("request", "no-answer", event, now)

    def _abort(self, event: _Step, now: float) -> list[OutEvent]:
        self._quiet_until = now + self.timing.silence
        return [ReadoutFailed(self._target, "aborted", "abort", self._frames)]


_Action = Callable[[WiredMaster, _Step, float], list[OutEvent]]

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: dict[tuple[State, type[_Step]], tuple[_Action, State]] = {
    (State.IDLE, ReadPrimary): (WiredMaster._start, State.RESETTING),
    (State.IDLE, ReadSecondary): (WiredMaster._start, State.DESELECTING),
    (State.RESETTING, Acknowledged): (WiredMaster._ask, State.REQUESTING),
    (State.RESETTING, AttemptLost): (WiredMaster._repeat, State.RESETTING),
    (State.RESETTING, AttemptsLost): (WiredMaster._lose_reset, State.IDLE),
    (State.RESETTING, Abort): (WiredMaster._abort, State.IDLE),
    # nobody answers SND-NKE to 253 unless a slave was selected: every outcome goes on
    (State.DESELECTING, Acknowledged): (WiredMaster._select, State.SELECTING),
    (State.DESELECTING, AttemptLost): (WiredMaster._select, State.SELECTING),
    (State.DESELECTING, AttemptsLost): (WiredMaster._select, State.SELECTING),
    (State.DESELECTING, Abort): (WiredMaster._abort, State.IDLE),
    (State.SELECTING, Acknowledged): (WiredMaster._ask, State.REQUESTING),
    (State.SELECTING, AttemptLost): (WiredMaster._repeat, State.SELECTING),
    (State.SELECTING, AttemptsLost): (WiredMaster._lose_select, State.IDLE),
    (State.SELECTING, Abort): (WiredMaster._abort, State.IDLE),
    (State.REQUESTING, Acknowledged): (WiredMaster._empty, State.IDLE),
    (State.REQUESTING, AnswerMore): (WiredMaster._next, State.REQUESTING),
    (State.REQUESTING, AnswerLast): (WiredMaster._last, State.IDLE),
    (State.REQUESTING, AttemptLost): (WiredMaster._repeat, State.REQUESTING),
    (State.REQUESTING, AttemptsLost): (WiredMaster._lose_request, State.IDLE),
    (State.REQUESTING, Abort): (WiredMaster._abort, State.IDLE),
}
