"""What access costs a device: credits for its battery, airtime for its radio band.

    credits    spent by what is received and sent, come back slowly, are stored up to 4000
    pause      a device may close after 240 credits within 12 hours
    closed     never longer than 12 hours
    airtime    share of an hour that a sub-band allows

While credits or airtime are used up the device sends B, A = 01: bidirectional, no window now. A running
firmware transfer is never interrupted by credits.

Source: OMS Volume 2 5.0.1 clause 4.3.4, Tables 11 to 13; sub-bands: EN 300 220-2 (clause to confirm).
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from openmetering.errors import OutOfRange
from openmetering.protocol.radio.datagram import Mode

__all__ = [
    "COST_RSP_UD",
    "DUTY_CYCLE",
    "DUTY_CYCLE_RECOMMENDED",
    "RECEIVE_COSTS",
    "SEND_COSTS",
    "CreditRule",
    "CreditStore",
    "DutyCycle",
    "airtime",
]

#: credits of a transmitted RSP-UD; read from a table whose columns were flattened [?]
COST_RSP_UD: Final = 5
#: credits by message; a C field that is not known costs as much as a command
RECEIVE_COSTS: Final[dict[str, int]] = {
    "SND-UD": 2,
    "SND-UD2": 2,
    "REQ-UD1": 1,
    "REQ-UD2": 1,
    "SND-NKE": 1,
    "CNF-IR": 1,
    "ACK": 0,
    "unknown": 2,
}
SEND_COSTS: Final[dict[str, int]] = {
    "RSP-UD": COST_RSP_UD,
    "ACK": 1,
    "NACK": 1,
    "SND-NR": 0,
    "SND-IR": 0,
    "ACC-NR": 0,
    "ACC-DMD": 0,
}

_HOUR: Final = 3600.0
#: share of an hour by the mode of the uplink: 868.7 to 869.2 MHz for T and C, 868.0 to 868.6 MHz for S
DUTY_CYCLE: Final[dict[Mode, float]] = {"T": 0.001, "C": 0.001, "S": 0.01}
#: average that OMS recommends for mode C
DUTY_CYCLE_RECOMMENDED: Final = 0.0002

#: chips of preamble, synchronisation and postamble; chips of an octet; chips a second
_CHIPS: Final[dict[Mode, tuple[int, int, int]]] = {"T": (56, 12, 100_000), "C": (64, 8, 100_000), "S": (584, 16, 32_768)}


def airtime(mode: Mode, octets: int) -> float:
    """Seconds that an uplink frame of so many octets (L field to end, without CRCs) is on air, frame format A.

    S counts with the long preamble, so that the account errs on the safe side.
    Source   EN 13757-4, frame format A (clause to confirm): 2 octets CRC behind 10, then behind each 16
    Units    seconds
    """
    fixed, each, rate = _CHIPS[mode]
    blocks = 1 + max(0, octets - 10 + 15) // 16
    return (fixed + each * (octets + 2 * blocks)) / rate


class CreditRule(msgspec.Struct, frozen=True):
    """The account of a device. The defaults are the least that a mode C device must offer.

    ``capacity``   credits that can be stored, at least 4000
    ``refill``     credits that come back in 2 hours, at least 10
    ``pause``      credits within 12 hours after which the device closes; None: it never does
    ``reopen``     credits that must have come back before an empty account opens again
    ``longest``    seconds that it may stay closed, at most 12 hours
    """

    capacity: float = 4000.0
    refill: float = 10.0
    pause: float | None = 240.0
    reopen: float = 10.0
    longest: float = 12 * _HOUR

    def __post_init__(self) -> None:
        least = (("capacity", 4000.0), ("refill", 10.0), ("reopen", 1.0))
        for field, limit in least:
            if getattr(self, field) < limit:
                raise OutOfRange(f"{field} of credits is at least {limit:g}", field=field, value=getattr(self, field))
        if self.pause is not None and self.pause < 240:
            raise OutOfRange("a device may close after 240 credits, not before", field="pause", value=self.pause)
        if not 0 < self.longest <= 12 * _HOUR:
            raise OutOfRange("a device is closed for 12 hours at most", field="longest", value=self.longest)


class CreditStore:
    """The credits of one device. ``level`` is what it has; it survives a power cut if the caller keeps it."""

    __slots__ = ("_closed_at", "_filled_at", "_recent", "_spent", "level", "rule")

    def __init__(self, rule: CreditRule, level: float, now: float) -> None:
        self.rule = rule
        self.level = min(level, rule.capacity)
        self._filled_at = now
        self._closed_at: float | None = None
        self._recent: deque[tuple[float, float]] = deque()  # time, cost: of the last 12 hours
        self._spent = 0.0

    def charge(self, cost: float, now: float) -> None:
        """Spend credits. The account does not go below zero: what was accepted is served."""
        self._fill(now)
        if not cost:
            return
        self.level = max(0.0, self.level - cost)
        self._recent.append((now, cost))
        self._spent += cost
        if self.level < 1.0 and self._closed_at is None:
            self._closed_at = now

    def open(self, now: float) -> bool:
        """True if the device can offer a window."""
        self._fill(now)
        if self._closed_at is not None:
            if self.level < self.rule.reopen and now - self._closed_at < self.rule.longest:
                return False
            self._closed_at = None
            self.level = max(self.level, 1.0)
        return self.rule.pause is None or self._spent < self.rule.pause

    def _fill(self, now: float) -> None:
        rule = self.rule
        self.level = min(rule.capacity, self.level + (now - self._filled_at) * rule.refill / (2 * _HOUR))
        self._filled_at = now
        recent, oldest = self._recent, now - rule.longest
        while recent and recent[0][0] <= oldest:
            self._spent -= recent.popleft()[1]


class DutyCycle:
    """The airtime account of one transmitter over a sliding hour.

    ``share`` of the hour that may be used, for example ``DUTY_CYCLE["C"]``.
    """

    __slots__ = ("_budget", "_sent", "_used")

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise OutOfRange("a duty cycle is a share of the hour, above 0 and at most 1", field="share", value=share)
        self._budget = share * _HOUR
        self._sent: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def note(self, now: float, seconds: float) -> None:
        """A frame of so many seconds ended now."""
        self._sent.append((now, seconds))
        self._used += seconds

    def left(self, now: float) -> float:
        """Seconds that may still be sent in the hour that ends now."""
        sent, oldest = self._sent, now - _HOUR
        while sent and sent[0][0] <= oldest:
            self._used -= sent.popleft()[1]
        if not sent:
            self._used = 0.0
        return self._budget - self._used
