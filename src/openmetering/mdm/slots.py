"""Register slots of a BSI-type gateway: the value of a register at each quarter of an hour or hour, and how good it is.

    unfold    a compact profile (Annex R) becomes values with times that the gateway makes: reception - age - i x spacing
    fill      values become slots; each slot takes the value that is nearest to it within the window
    Slot      at, value, reception, time and status of the meter, status word, OBIS

The window is 1 % of the length of a slot (9 s of 15 min, 36 s of an hour). The bits of the status word stand in
``tables/register_status.csv``: the layout of the word in BSI TR-03109-1 is not public, so these are ours.
Source: OMS Volume 2 Annex R issue A 1.0.1 (TAF 7); BSI TR-03109-1 for what a register has.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from importlib import resources
from typing import Final

import msgspec

from openmetering.codec.apl.profile import ProfileSeries
from openmetering.errors import InputError

__all__ = ["HOUR", "QUARTER", "STATUS_BITS", "Slot", "SlotValue", "fill", "gaps", "status_names", "unfold", "window_of"]

QUARTER: Final = 900
HOUR: Final = 3600
_SHARE: Final = 0.01
_METER: Final = ((0x08, "meter-error"), (0x10, "meter-temporary"), (0x04, "meter-power"))


def _bits() -> dict[str, int]:
    text = (resources.files("openmetering.tables") / "register_status.csv").read_text("utf-8")
    return {row["name"]: 1 << int(row["bit"]) for row in csv.DictReader(text.splitlines())}


#: name -> value of the bit
STATUS_BITS: Final = _bits()


class SlotValue(msgspec.Struct, frozen=True):
    """A value that may fill a slot. ``at`` is when it held, by the clock of the gateway.

    ``meter_time``  as the meter said it, seconds UTC       ``status``  status octet of its transport layer
    ``proven``      True, False, or None if not protected   ``unfolded`` out of a profile of a later telegram
    """

    at: float
    value: Decimal
    received_at: float
    meter_time: float | None = None
    status: int = 0
    proven: bool | None = None
    unfolded: bool = False


class Slot(msgspec.Struct, frozen=True):
    """One slot of a register; ``value`` None if it is empty. ``word`` is its status word."""

    at: int
    value: Decimal | None
    received_at: float | None
    meter_time: float | None
    meter_status: int | None
    word: int
    obis: str

    @property
    def valid(self) -> bool:
        """Technically correct."""
        return bool(self.word & STATUS_BITS["valid"])


def window_of(length: int) -> float:
    """Seconds that a value may be away from its slot: 1 % of its length. Raises InputError (``input.option``)"""
    if length not in (QUARTER, HOUR):
        raise InputError(f"slots have 900 or 3600 seconds, not {length}", code="input.option")
    return length * _SHARE


def unfold(profile: ProfileSeries, received_at: float, *, status: int = 0, proven: bool | None = None) -> tuple[SlotValue, ...]:
    """The values of an inverse compact profile with storage 3, the base value first, then back in time.

    An invalid element ends it, an invalid base value makes it useless. Empty for other profiles.
    """
    if profile.kind != "inverse" or profile.reference != "reception" or profile.base_value is None:
        return ()
    pairs = [(profile.base_offset, profile.base_value)]
    for point in profile.points:
        if point.value is None or point.offset is None:
            break
        pairs.append((point.offset, point.value))
    return tuple(
        SlotValue(received_at + offset, value, received_at, None, status, proven, unfolded=True) for offset, value in pairs
    )


def fill(values: Iterable[SlotValue], begin: int, end: int, length: int = QUARTER, obis: str = "") -> tuple[Slot, ...]:
    """The slots from ``begin`` until ``end`` (excluded), seconds UTC; both are moved on to the next slot.

    Of several values in the window the nearest counts, of equally near ones that which was received first.
    Raises InputError (``input.option``)
    """
    window = window_of(length)
    ordered = sorted(values, key=lambda one: (one.at, one.received_at))
    times = [one.at for one in ordered]
    slots: list[Slot] = []
    before: Decimal | None = None
    for at in range(-(-begin // length) * length, end, length):
        inside = ordered[bisect_left(times, at - window) : bisect_left(times, at + window + 1e-9)]
        best = min(inside, key=lambda one: (abs(one.at - at), one.received_at), default=None)
        slots.append(_slot(at, best, before, window, obis))
        if best is not None:
            before = best.value
    return tuple(slots)


def _slot(at: int, best: SlotValue | None, before: Decimal | None, window: float, obis: str) -> Slot:
    bits = STATUS_BITS
    if best is None:
        return Slot(at, None, None, None, None, bits["missing"], obis)
    word = 0
    if best.unfolded and best.received_at > at + window:
        word |= bits["late"]
    if best.proven is False:
        word |= bits["no-proof"]
    for mask, name in _METER:
        if best.status & mask:
            word |= bits[name]
    if before is not None and best.value < before:
        word |= bits["backward"]
    if best.meter_time is not None and abs(best.meter_time - best.at) > window:
        word |= bits["clock"]
    wrong = bits["no-proof"] | bits["meter-error"] | bits["backward"]
    if not word & wrong:
        word |= bits["valid"]
    return Slot(at, best.value, best.received_at, best.meter_time, best.status, word, obis)


def gaps(slots: Sequence[Slot]) -> Iterator[tuple[int, int]]:
    """Runs of empty slots: first and last."""
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


def status_names(word: int) -> tuple[str, ...]:
    """The bits of a status word by name."""
    return tuple(name for name, bit in STATUS_BITS.items() if word & bit)
