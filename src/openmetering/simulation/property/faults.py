"""What goes wrong in a property over a year: one case of each kind, at a known point and time.

gap            no telegrams for twelve days            exchange        another device from a day on, registered
unregistered   another device, and nobody said so      roll-over       the register begins again at zero
backward       some of it flows back                   clock           the clock of the meter runs off, 20 s a day
leak           it runs on, day and night               frozen          the register stands still
unit           values a thousand times too large       replay          old telegrams are heard again
duplicates     a third gateway, half a minute late     dst             24 hourly values on the day of 25 hours
key            the device has another key for a time   status          permanent error
flags          an error flag                           hops            copies over two repeaters
rate           a value that cannot be                  neighbour       a device that belongs to nobody here
lost           four of ten telegrams                   month           a stored month value that is wrong
due-date       a stored due date value that is wrong   bypass          the main meter counts a quarter more than its parts
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["FAULT_KINDS", "RULE_OF", "Injected"]

#: which rule of validation is meant to find it; None: what must not become a finding
RULE_OF: Final[dict[str, str | None]] = {
    "gap": "gap",
    "exchange": "exchange",
    "unregistered": "address",
    "roll-over": "roll-over",
    "backward": "backward",
    "clock": "clock",
    "leak": "leak",
    "frozen": "frozen",
    "unit": "unit",
    "replay": "replay",
    "duplicates": "duplicates",
    "dst": "day-length",
    "key": "key",
    "status": "status",
    "flags": "flags",
    "hops": "hops",
    "rate": "rate",
    "neighbour": None,
    "lost": "lost",
    "month": "months",
    "due-date": "due-date",
    "bypass": "balance",
}
FAULT_KINDS: Final = tuple(RULE_OF)


class Injected(msgspec.Struct, frozen=True):
    """A fault that was put in: ``label`` of the point (empty: of none), from ``begin`` to ``end``."""

    kind: str
    label: str
    begin: float
    end: float
    what: str

    @property
    def rule(self) -> str | None:
        """The rule of validation that is meant for it."""
        return RULE_OF[self.kind]
