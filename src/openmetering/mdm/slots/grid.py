"""The grid: slots of 15 or 60 minutes in UTC, and which value each of them gets.

    values -> nearest slot, if it is within the window -> the best value of each slot -> technical check -> Slot

The window is 1 % of the registration period (9 s of 15 min, 36 s of an hour). Slots are moments of UTC: a local day has 92, 96 or
100 quarters. Source: OMS Volume 2 Annex R issue A 1.0.1 (acceptance window dtAW = 1 % of dtRP).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from openmetering.errors import InputError
from openmetering.mdm.consumption import rolled_over
from openmetering.mdm.slots.status import Check, Level, outcome

__all__ = ["HOUR", "QUARTER", "Slot", "SlotValue", "advanced", "fill", "gaps", "window_of"]

QUARTER: Final = 900
HOUR: Final = 3600
_PARTS: Final = 100
#: bits of the status octet, OMS Volume 2 issue 5.0.1 clause 7.2.3 Table 17
_OCTET: Final = ((0x04, Check.METER_POWER), (0x08, Check.METER_PERMANENT), (0x10, Check.METER_TEMPORARY))
_OCTET_MASK: Final = 0x1C


class SlotValue(msgspec.Struct, frozen=True):
    """A value that may fill a slot. Times are seconds since 1970, UTC.

    ``at``            when it held, by the clock of the gateway     ``received_at``  when its telegram came
    ``meter_time``    when it held, by the clock of the meter       ``status``       status octet of the telegram
    ``proven``        True, False, or None if it was not protected
    ``synchronised``  whether the gateway's clock was in order
    """

    at: float
    value: Decimal
    received_at: float
    meter_time: float | None = None
    status: int = 0
    proven: bool | None = None
    synchronised: bool = True


class Slot(msgspec.Struct, frozen=True):
    """One slot of a register; ``value`` None if it is empty.

    ``held_at``  time of the value as the gateway made it, within the window around ``at``
    ``late``     the telegram of that moment was lost, a later one brought the value
    ``checks``   what the technical check found; ``word`` the status word and ``level`` how bad that is
    """

    at: int
    value: Decimal | None
    held_at: float | None
    received_at: float | None
    meter_time: float | None
    meter_status: int | None
    late: bool
    checks: Check
    word: int
    level: Level
    obis: str

    @property
    def valid(self) -> bool:
        """Technically correct: there, and nothing worse than a warning."""
        return self.value is not None and self.level <= Level.WARNING


def window_of(length: int) -> float:
    """Seconds that a value may be away from its slot: 1 % of its length. Raises InputError (``input.option``)"""
    if length not in (QUARTER, HOUR):
        raise InputError(f"slots have 900 or 3600 seconds, not {length}", code="input.option")
    return length / _PARTS


def advanced(early: Decimal, late: Decimal, capacity: Decimal | None) -> Decimal:
    """What a register advanced between two values; ``capacity`` is where it begins again at zero, None if that is not known."""
    if late < early and capacity is not None and rolled_over(int(early), int(late), int(capacity)):
        return late - early + capacity
    return late - early


def fill(
    values: Iterable[SlotValue],
    begin: int,
    end: int,
    length: int = QUARTER,
    obis: str = "",
    *,
    nominal: float = 0.0,
    capacity: Decimal | None = None,
) -> tuple[Slot, ...]:
    """The slots from ``begin`` until ``end`` (excluded), seconds UTC; both are moved on to the next slot.

    Values may come in any order. Of several in a window one whose proof failed counts last, then the nearest counts, then the one
    that was received first. ``nominal`` is the interval of the telegrams: a slot is late if the first of its values came more
    than that and the window behind it. ``capacity`` allows for roll-over.

    Raises InputError (``input.option``) for a length that is neither 900 nor 3600
    """
    window = window_of(length)
    first = -(-begin // length)
    chosen: list[SlotValue | None] = [None] * max(0, -(-end // length) - first)
    heard = [math.inf] * len(chosen)
    for one in values:
        number = round(one.at / length)
        place = number - first
        if abs(one.at - number * length) <= window and 0 <= place < len(chosen):
            known = chosen[place]
            if known is None or _rank(one, number * length) < _rank(known, number * length):
                chosen[place] = one
            heard[place] = min(heard[place], one.received_at)
    late = [one > (first + place) * length + window + nominal for place, one in enumerate(heard)]
    return tuple(_judged(chosen, late, first * length, length, obis, capacity))


def _rank(one: SlotValue, at: int) -> tuple[bool, float, float]:
    return one.proven is False, abs(one.at - at), one.received_at


def _judged(
    chosen: Sequence[SlotValue | None], late: Sequence[bool], at: int, length: int, obis: str, capacity: Decimal | None
) -> Iterator[Slot]:
    """The technical check, in order of time: a value is judged against the last valid one."""
    window = length / _PARTS
    missing = outcome(Check.MISSING)
    before: Decimal | None = None
    for one, behind in zip(chosen, late, strict=True):
        if one is None:
            yield Slot(at, None, None, None, None, None, False, missing.checks, missing.word, missing.level, obis)
            at += length
            continue
        value = one.value
        found = _checks(one, window)
        if before is not None and value < before and advanced(before, value, capacity) < 0:
            found |= Check.BACKWARD
        result = outcome(found)
        if result.level <= Level.WARNING:
            before = value
        checks, word, level = result.checks, result.word, result.level
        yield Slot(at, value, one.at, one.received_at, one.meter_time, one.status, behind, checks, word, level, obis)
        at += length


def _checks(one: SlotValue, window: float) -> int:
    """What can be said of a value by itself."""
    found = 0
    if one.status & _OCTET_MASK:
        for mask, check in _OCTET:
            if one.status & mask:
                found |= check
    if one.proven is False:
        found |= Check.UNPROVEN
    if not one.synchronised:
        found |= Check.GATEWAY_CLOCK
    if one.meter_time is not None and abs(one.meter_time - one.at) > window:
        found |= Check.METER_CLOCK
    return found


def gaps(slots: Sequence[Slot]) -> Iterator[tuple[int, int]]:
    """Runs of empty slots: the moments of the first and the last."""
    first = last = None
    for slot in slots:
        if slot.value is None:
            first = slot.at if first is None else first
            last = slot.at
        elif first is not None and last is not None:
            yield first, last
            first = last = None
    if first is not None and last is not None:
        yield first, last
