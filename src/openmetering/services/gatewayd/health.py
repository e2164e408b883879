"""How the sources of a gateway are: what they deliver, how well, and since when they are silent.

    starting --first item or notice--> open --failure--> failed --again--> open

A source that is open and delivers nothing is the usual trouble; ``silent`` says for how long, and what came instead
(noise, wrong CRCs, lines that are none) says where to look.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

import msgspec

from openmetering.codec.link.wired import looks_wired
from openmetering.codec.link.wireless import HEADER, unframe
from openmetering.errors import DecodeError
from openmetering.transport.reception import BadLine, Item, Notice, Reception

__all__ = ["Counts", "SourceHealth", "SourceState", "State", "crc_of", "mode_of"]

State = Literal["starting", "open", "failed", "ended"]
_RATE: Final = 600.0  #: seconds over which the rate is told
_RATE_LIMIT: Final = 100_000
_LEVEL_WEIGHT: Final = 0.05


class Counts(msgspec.Struct):
    """What came so far."""

    receptions: int = 0
    crc_good: int = 0
    crc_bad: int = 0
    bad_lines: int = 0
    noise: int = 0
    failures: int = 0
    by_mode: dict[str, int] = {}


class SourceState(msgspec.Struct, frozen=True):
    """The health of a source at a moment, as it is shown and published. Times count seconds since 1970."""

    name: str
    at: str
    state: State
    since: float
    last_heard: float | None = None
    silent: float | None = None
    per_minute: float = 0.0
    level_dbm: float | None = None
    trouble: str = ""
    counts: Counts = msgspec.field(default_factory=Counts)


def crc_of(item: Reception) -> bool:
    """Whether the frame is whole: the receiver said so, or its CRCs or checksum are right, or it has none and its length fits."""
    if item.crc is not None and item.frame_format is None:
        return item.crc
    frame = item.frame
    if looks_wired(frame):
        return frame[-1:] == b"\x16"
    if item.frame_format is None and len(frame) > HEADER and frame[:1] == bytes(((len(frame) - 1) & 0xFF,)):
        return True
    try:
        unframe(frame, item.frame_format)
    except DecodeError:
        return False
    return True


def mode_of(item: Reception) -> str:
    """Name of the mode for counting; unknown where the receiver does not tell."""
    return item.mode or ("wired" if looks_wired(item.frame) else "unknown")


class SourceHealth:
    """Keeps account of one source. Not shared between threads."""

    __slots__ = ("_at", "_heard", "_last", "_level", "_name", "_since", "_state", "_trouble", "counts")

    def __init__(self, name: str, at: str, now: float) -> None:
        self._name = name
        self._at = at
        self._state: State = "starting"
        self._since = now
        self._last: float | None = None
        self._level: float | None = None
        self._trouble = ""
        self._heard: deque[float] = deque(maxlen=_RATE_LIMIT)
        self.counts = Counts(by_mode={})

    def item(self, item: Item, now: float) -> None:
        """Something came out of the door."""
        if isinstance(item, Reception):
            self._change("open", now)
            self._reception(item, now)
        elif isinstance(item, BadLine):
            self._change("open", now)
            self.counts.bad_lines += 1
            self.counts.crc_bad += item.error.code == "input.crc"
            self._trouble = item.error.message
        else:
            self._notice(item, now)

    def _reception(self, item: Reception, now: float) -> None:
        counts = self.counts
        counts.receptions += 1
        good = crc_of(item)
        counts.crc_good += good
        counts.crc_bad += not good
        mode = mode_of(item)
        counts.by_mode[mode] = counts.by_mode.get(mode, 0) + 1
        if item.rssi_dbm is not None:
            before = self._level
            self._level = item.rssi_dbm if before is None else before + _LEVEL_WEIGHT * (item.rssi_dbm - before)
        self._last = now
        self._heard.append(now)

    def _notice(self, item: Notice, now: float) -> None:
        if item.code == "input.noise":
            self.counts.noise += 1
        elif item.code == "transport.lost":
            self.failed(item.message, now)
        elif item.level in ("warning", "error"):
            self._trouble = item.message
        else:
            self._change("open", now)

    def failed(self, message: str, now: float) -> None:
        """The door failed; it is tried again."""
        self.counts.failures += 1
        self._trouble = message
        self._change("failed", now)

    def opened(self, now: float) -> None:
        """The door is open."""
        self._change("open", now)

    def ended(self, now: float) -> None:
        """The source is at its end (a file)."""
        self._change("ended", now)

    def _change(self, state: State, now: float) -> None:
        if state != self._state:
            self._state, self._since = state, now

    def snapshot(self, now: float) -> SourceState:
        """The health now."""
        while self._heard and now - self._heard[0] > _RATE:
            self._heard.popleft()
        span = max(60.0, min(_RATE, now - self._since))
        return SourceState(
            self._name,
            self._at,
            self._state,
            self._since,
            self._last,
            None if self._state != "open" else now - (self._since if self._last is None else self._last),
            len(self._heard) * 60.0 / span,
            None if self._level is None else round(self._level, 1),
            self._trouble,
            msgspec.structs.replace(self.counts, by_mode=dict(self.counts.by_mode)),
        )
