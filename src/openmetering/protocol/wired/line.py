"""One request on a wired line and what comes back: the part that every master machine needs.

    send     the request, and until when its answer must have begun
    hear     octets as they come; echo of the request taken off
    what     the answer so far: an ``Answer`` or None

Several answers at once, octets with wrong parity and noise leave octets that are no single frame: then ``touched``
is True and ``what`` finds nothing, or an answer that is not ``alone``. No clock, no line: times are arguments.
Source: EN 13757-2 and EN 60870-5-2 (FT1.2), clauses to confirm; OMS Volume 2 Annex P release C.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.link.wired import ACK, WiredFrame, unframe
from openmetering.errors import DecodeError
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.wired.timing import LineTiming

__all__ = ["Answer", "Line"]

_STARTS = (0xE5, 0x68)


class Answer(msgspec.Struct, frozen=True):
    """A valid answer. ``octets`` of the frame; ``alone`` False: other octets came with it."""

    frame: WiredFrame
    octets: bytes
    alone: bool

    @property
    def acknowledged(self) -> bool:
        """True for E5."""
        return self.frame.kind == "single"


class Line:
    """A request under way. ``deadline`` is when its answer is complete or did not come; None while nothing is asked."""

    __slots__ = ("_buffer", "_disturbed", "_echo", "_hold", "_opens_until", "deadline", "quiet_until", "request", "timing")

    def __init__(self, timing: LineTiming) -> None:
        self.timing = timing
        self.deadline: float | None = None
        self.quiet_until = 0.0
        self.request = b""
        self._echo = b""
        self._buffer = b""
        self._disturbed = False
        self._hold = False
        self._opens_until = 0.0

    def send(self, frame: bytes, now: float, *, wait: float | None = None, hold: bool = False) -> Transmit:
        """Ask. ``wait`` seconds for the first octet instead of the longest answer time.

        ``hold`` True: listen until the answer time is over, even when an answer is there, because another slave may
        still begin.
        """
        start = max(now, self.quiet_until)
        self.request = self._echo = frame
        self._buffer, self._disturbed, self._hold = b"", False, hold
        self._opens_until = start + self.timing.airtime(len(frame)) + (self.timing.answer if wait is None else wait)
        self.deadline = self._opens_until
        return Transmit(frame, start)

    def hear(self, event: Octets, now: float) -> bool:
        """Octets from the line. True if there is something new to look at."""
        self._buffer += event.octets
        self._disturbed |= event.disturbed
        self._strip_echo()
        if not self._buffer:
            return False
        end = now + self.timing.silence
        self.deadline = max(end, self._opens_until) if self._hold else end
        return True

    def close(self) -> None:
        """The request is over."""
        self.deadline, self._buffer, self._echo, self._disturbed = None, b"", b"", False

    def rest(self, now: float, pause: float | None = None) -> None:
        """Keep quiet before the next request: 33 bits, or a pause."""
        self.quiet_until = max(self.quiet_until, now + (self.timing.idle if pause is None else pause))

    @property
    def touched(self) -> bool:
        """True if anything came but the echo."""
        return bool(self._buffer) or self._disturbed

    def complete(self) -> Answer | None:
        """The answer if it is there, whole, and nothing else is."""
        if self._hold or self._disturbed or self._echoing:
            return None
        found = _at(self._buffer, 0)
        return found if found is not None and found.alone else None

    def final(self) -> list[Answer]:
        """The answers that stand in what came, when nothing more will: every place where a valid frame begins.

        E5 counts only where it is all there is: inside other octets it is one octet of noise.
        """
        if self._disturbed or self._echoing:
            return []
        found = (_at(self._buffer, at) for at, octet in enumerate(self._buffer) if octet in _STARTS)
        return [answer for answer in found if answer is not None and (answer.alone or not answer.acknowledged)]

    @property
    def _echoing(self) -> bool:
        return bool(self._echo) and self._echo.startswith(self._buffer)

    def _strip_echo(self) -> None:
        """Simple converters give back what was sent. No answer starts like a request, as bit PRM differs."""
        echo, buffer = self._echo, self._buffer
        if echo and buffer.startswith(echo):
            self._buffer, self._echo = buffer[len(echo) :], b""
        elif echo and not echo.startswith(buffer):
            self._echo = b""


def _at(buffer: bytes, at: int) -> Answer | None:
    try:
        frame, rest = unframe(buffer[at:])
    except DecodeError:
        return None
    octets = ACK if frame.kind == "single" else buffer[at : len(buffer) - len(rest)]
    return Answer(frame, octets, at == 0 and not rest)
