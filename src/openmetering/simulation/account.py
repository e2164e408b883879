"""The channel's own account: every transmission ends with exactly one entry for every intended receiver.

    intended receivers   of an uplink frame: all stations that hear uplink (gateways, repeaters, displays, sticks);
                         of a downlink frame: all stations that hear downlink (bidirectional devices)
    a row                receiver (a gateway by name; devices together) x sender's medium, one counter for each fate

Counters only: the account does not grow with time.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["CAUSES", "FATES", "Account", "Line"]

#: what becomes of a transmission at a receiver; all but the first are losses
FATES = (
    "received",
    "out-of-reach",  # too weak to be anything but noise, always
    "noise",  # heard of, but chip errors
    "collision",  # another frame was too strong
    "half-duplex",  # the receiver was sending itself
    "receiver-mode",  # the receiver does not listen to this mode or channel
    "receiver-off",  # no power, or no window open
    "duty-cycle",  # the sender had used up its share of the hour: never on air
    "late",  # the sender could not keep the latest start: never on air
    "injected",  # a fault of the scenario took it
)
CAUSES = FATES[1:]
RECEIVED, OUT_OF_REACH, NOISE, COLLISION, HALF_DUPLEX, RECEIVER_MODE, RECEIVER_OFF, DUTY_CYCLE, LATE, INJECTED = range(len(FATES))


class Line(msgspec.Struct, frozen=True):
    """A row of the account: how often which fate."""

    receiver: str
    medium: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """All entries."""
        return sum(self.counts)

    @property
    def received(self) -> int:
        """Frames that arrived."""
        return self.counts[RECEIVED]

    def lost(self, cause: str) -> int:
        """Frames lost for one of CAUSES."""
        return self.counts[FATES.index(cause)]


class Account:
    """Rows of counters. ``expected`` counts transmissions x intended receivers independently of the rows."""

    __slots__ = ("_rows", "expected", "on_air", "seconds")

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[int]] = {}
        self.expected = 0
        self.on_air: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def row(self, receiver: str, medium: str) -> list[int]:
        """The counters of a row, to be counted up in place."""
        row = self._rows.get((receiver, medium))
        if row is None:
            row = self._rows[receiver, medium] = [0] * len(FATES)
        return row

    def sent(self, medium: str, seconds: float) -> None:
        """A transmission went on air."""
        self.on_air[medium] = self.on_air.get(medium, 0) + 1
        self.seconds[medium] = self.seconds.get(medium, 0.0) + seconds

    def lines(self) -> Iterator[Line]:
        """All rows, by receiver and medium."""
        for (receiver, medium), counts in sorted(self._rows.items()):
            yield Line(receiver, medium, tuple(counts))

    def total(self, receiver: str | None = None, medium: str | None = None) -> Line:
        """Rows added up: of a receiver, of a medium, or all."""
        counts = [0] * len(FATES)
        for (name, kind), row in self._rows.items():
            if receiver in (None, name) and medium in (None, kind):
                counts = [a + b for a, b in zip(counts, row, strict=True)]
        return Line(receiver or "", medium or "", tuple(counts))

    @property
    def balanced(self) -> bool:
        """True if every transmission has one entry for each intended receiver."""
        return self.total().total == self.expected
