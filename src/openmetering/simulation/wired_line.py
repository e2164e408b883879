"""The wire between bits and characters: what talkers put on it, what a receiver makes of it.

    octets --> Burst (start bit, 8 data bits LSB first, even parity, stop bit; 11 bits a character)
           --> spaces: the times at which the line is not at rest
           --> characters: falling edge, then a look into the middle of each of the ten bits that follow

The line rests at mark (1); a space (0) is what a talker adds. Several talkers at once: a space of any
of them is a space of the line (wired AND of the bits), their currents add up.

Units: seconds, milliamperes. Source: EN 13757-2 (characters 8E1, slave space current 11..20 mA above
mark, decision of the master from 9 mA, collision from 25 mA (may) and 50 mA (must), clauses to confirm);
The M-Bus: A Documentation, Rev. 4.8.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from openmetering.protocol.machine import Dice

__all__ = ["BITS", "Burst", "Character", "Spaces", "bit_errors", "characters", "superpose"]

BITS = 11  #: bits of a character: start, 8 data, parity, stop

#: times at which the line is at space: (from, to), in order, not touching
Spaces = list[tuple[float, float]]


class Burst:
    """Octets that one talker sends without a gap.

    ``start``    seconds, begin of the first start bit
    ``bit``      seconds of a bit
    ``current``  mA that its space adds to the line
    ``flipped``  numbers of bits (0 = first start bit) that noise turned over
    ``end``      seconds, end of the last stop bit
    ``cut``      True: the talker was silenced before that
    ``alone``    False: somebody else talked at the same time
    """

    __slots__ = ("alone", "bit", "cut", "current", "end", "flipped", "octets", "start")

    def __init__(
        self, octets: bytes, start: float, bit: float, current: float = 0.0, flipped: frozenset[int] = frozenset()
    ) -> None:
        self.octets = octets
        self.start = start
        self.bit = bit
        self.current = current
        self.flipped = flipped
        self.end = start + len(octets) * BITS * bit
        self.cut = False
        self.alone = True

    def spaces(self) -> Spaces:
        """The times at which it holds the line at space."""
        found: Spaces = []
        number, since = 0, -1
        for octet in self.octets:
            for level in (0, *(octet >> at & 1 for at in range(8)), octet.bit_count() & 1, 1):
                space = bool(level) == (number in self.flipped)
                if space and since < 0:
                    since = number
                elif not space and since >= 0:
                    found.append((self.start + since * self.bit, self.start + number * self.bit))
                    since = -1
                number += 1
        if since >= 0:  # a stop bit that noise turned over
            found.append((self.start + since * self.bit, self.start + number * self.bit))
        return found


class Character(msgspec.Struct, frozen=True):
    """A character as a receiver took it: ``ended`` is the end of its stop bit; ``disturbed`` by parity or stop bit."""

    octet: int
    ended: float
    disturbed: bool


def bit_errors(bits: int, probability: float, dice: Dice) -> frozenset[int]:
    """The numbers of the bits that noise turns over: independent errors, drawn as gaps between them.

    The gap before the next error is geometric: floor(ln(1 - u) / ln(1 - p)).
    """
    if probability <= 0.0:
        return frozenset()
    if probability >= 1.0:
        return frozenset(range(bits))
    scale = math.log1p(-probability)
    found = []
    at = int(math.log1p(-dice()) / scale)
    while at < bits:
        found.append(at)
        at += 1 + int(math.log1p(-dice()) / scale)
    return frozenset(found)


def superpose(
    bursts: Iterable[Burst], threshold: float = 0.0, limit: float | None = None, patience: float = 0.0
) -> tuple[Spaces, float | None]:
    """The spaces of a line with several talkers, and when a collision shows by its current.

    A space is seen where the currents of those at space add up to ``threshold`` mA at least. A collision shows
    when more than ``limit`` mA have flowed for ``patience`` seconds; None if that never happens.
    """
    edges: list[tuple[float, float]] = []
    for burst in bursts:
        for since, until in burst.spaces():
            edges.append((since, burst.current))
            edges.append((until, -burst.current))
    edges.sort()
    floor = max(threshold, 1e-6) - 1e-9
    spaces: Spaces = []
    collision: float | None = None
    current, since, above = 0.0, math.nan, math.nan
    for at, step in edges:
        before, current = current, current + step
        if before <= floor < current:
            since = at
        elif current <= floor < before:
            _add(spaces, since, at)
        if limit is None or collision is not None:
            continue
        if before <= limit + 1e-9 < current:
            above = at
        elif current <= limit + 1e-9 < before and at - above >= patience:
            collision = above + patience
    return spaces, collision


def _add(spaces: Spaces, since: float, until: float) -> None:
    if spaces and since <= spaces[-1][1]:
        spaces[-1] = (spaces[-1][0], max(until, spaces[-1][1]))
    elif until > since:
        spaces.append((since, until))


def characters(spaces: Sequence[tuple[float, float]], resume: float, until: float, bit: float) -> tuple[list[Character], float]:
    """What a receiver with its own bit time makes of a line from ``resume`` on, as far as it is sure at ``until``.

    A character begins with a falling edge; its bits are looked at in their middles. A start bit that is gone at
    its middle was none. After a space instead of a stop bit the receiver waits for mark. Returns the characters
    and the time to go on from.
    """
    starts = [since for since, _ in spaces]

    def space(at: float) -> bool:
        index = bisect_right(starts, at) - 1
        return index >= 0 and at < spaces[index][1]

    found: list[Character] = []
    while True:
        index = bisect_right(starts, resume)
        if index and starts[index - 1] == resume:
            index -= 1
        if index >= len(starts):
            return found, resume
        edge = starts[index]
        if edge + 10.5 * bit > until:
            return found, resume
        if not space(edge + 0.5 * bit):
            resume = edge + 0.5 * bit
            continue
        levels = [not space(edge + (number + 1.5) * bit) for number in range(10)]
        octet = sum(1 << at for at in range(8) if levels[at])
        parity, stop = levels[8], levels[9]
        found.append(Character(octet, edge + BITS * bit, bool(octet.bit_count() & 1) != parity or not stop))
        resume = edge + 10.5 * bit
