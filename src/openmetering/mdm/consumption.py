"""Consumption of a metering point: the sum of what its registers advanced, through roll-over and exchange of devices.

    register of device A   ... 9998  9999 | 0003  0010            roll-over: +4, not -9996
    register of device B                          0000  0005      exchange: goes on from where A was left
    advance                ... 0     1    | 5     12    12  17

A register that falls without a roll-over took something back (backward flow), and so does the advance. Whole numbers of one
exponent; a moment at the share x between two values is interpolated. Its standard uncertainty is (later - earlier) x
sqrt(x (1 - x)): as if all of it had been consumed at one moment, which may be any.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import msgspec

from openmetering.errors import InputError
from openmetering.mdm.quality import Quality, ranks
from openmetering.mdm.series import Sample, Series

__all__ = ["Advance", "Amount", "Reading", "advance_of", "resolution_of", "rolled_over", "step", "worst"]

#: seconds from a wanted moment within which a measured value counts as that of the moment
WINDOW: Final = 900.0
_ROLL_OVER: Final = 0.1  #: share of the capacity that a register may be below its end before, and above its start after
_SQRT_12: Final = Decimal("3.4641016151")
_DIGITS: Final = 12


class Reading(msgspec.Struct, frozen=True):
    """The advance at a moment. ``uncertainty`` is a standard one, in the unit; ``apart`` seconds to the nearest true value."""

    at: float
    value: Decimal | None
    quality: Quality
    uncertainty: Decimal
    apart: float


class Amount(msgspec.Struct, frozen=True):
    """What was consumed from ``begin`` to ``end``; ``value`` None if it is not known. ``uncertainty`` is a standard one."""

    begin: float
    end: float
    value: Decimal | None
    unit: str
    quality: Quality
    uncertainty: Decimal
    reason: str

    @property
    def expanded(self) -> Decimal:
        """Twice the standard uncertainty: what reports print behind the sign for plus and minus."""
        return 2 * self.uncertainty


class Advance(msgspec.Struct, frozen=True):
    """Running sum of the increments of a point: ``totals[i]`` x 10 ** ``exponent`` ``unit`` at ``times[i]``, from 0 at the first.

    ``devices`` whose value it is; ``doubts``: the standard uncertainty that the sum has gathered at exchanges.
    """

    unit: str
    exponent: int
    times: tuple[float, ...]
    totals: tuple[int, ...]
    qualities: tuple[Quality, ...]
    doubts: tuple[Decimal, ...]
    devices: tuple[str, ...]

    def reading(self, moment: float, window: float = WINDOW, edge: float | None = None) -> Reading:
        """The sum at a moment: measured within ``window`` seconds, else interpolated.

        MISSING further than ``edge`` seconds (None: ``window``) before the first and behind the last value.
        """
        times = self.times
        after = bisect_left(times, moment)
        if not times:
            return Reading(moment, None, Quality.MISSING, Decimal(0), 0.0)
        if after < len(times) and times[after] == moment:
            return self._at(after, moment, window)
        if after in (0, len(times)):
            return self._edge(max(0, after - 1), moment, window, window if edge is None else edge)
        return self._between(after - 1, after, moment, window)

    def amount(self, begin: float, end: float, window: float = WINDOW, edge: float | None = None) -> Amount:
        """What was consumed between two moments; see ``reading``."""
        first, last = self.reading(begin, window, edge), self.reading(end, window, edge)
        quality = worst((first.quality, last.quality))
        if first.value is None or last.value is None:
            where = "at the beginning" if first.value is None else "at the end"
            return Amount(begin, end, None, self.unit, Quality.MISSING, Decimal(0), f"no value {where} of the time")
        inside = [self.qualities[place] for place in range(bisect_left(self.times, begin), bisect_right(self.times, end))]
        if Quality.EDITED in inside:
            quality = worst((quality, Quality.EDITED))
        doubt = self._doubt(end) - self._doubt(begin)
        uncertainty = (first.uncertainty**2 + last.uncertainty**2 + doubt**2).sqrt()
        return Amount(begin, end, last.value - first.value, self.unit, quality, uncertainty, _reason(first, last))

    def counted(self, begin: float, end: float, apart: float = 3 * 86_400.0) -> Decimal:
        """What was counted within a time, between values that are no more than ``apart`` seconds from each other."""
        total = Decimal(0)
        first = max(0, bisect_right(self.times, begin) - 1)
        for place in range(first, min(len(self.times) - 1, bisect_left(self.times, end))):
            early, late = self.times[place], self.times[place + 1]
            inside = min(late, end) - max(early, begin)
            if late - early <= apart and inside > 0:
                total += (self.totals[place + 1] - self.totals[place]) * Decimal(inside) / Decimal(late - early)
        return self._value(total)

    def _doubt(self, moment: float) -> Decimal:
        place = bisect_right(self.times, moment) - 1
        return self.doubts[place] if place >= 0 else Decimal(0)

    def _value(self, total: int | Decimal) -> Decimal:
        return Decimal(total).scaleb(self.exponent)

    @property
    def resolution(self) -> Decimal:
        """Standard uncertainty of one value by its last digit."""
        return resolution_of(self.exponent)

    def _at(self, place: int, moment: float, window: float) -> Reading:
        apart = abs(self.times[place] - moment)
        quality = self.qualities[place] if apart <= window else Quality.INTERPOLATED
        return Reading(moment, self._value(self.totals[place]), quality, self.resolution, apart)

    def _edge(self, place: int, moment: float, window: float, edge: float) -> Reading:
        """Before the first or after the last value: that one if it is near enough."""
        apart = abs(self.times[place] - moment)
        if apart > edge:
            return Reading(moment, None, Quality.MISSING, Decimal(0), apart)
        at = self._at(place, moment, window)
        doubt = self._usual(place) * Decimal(apart)
        return msgspec.structs.replace(at, uncertainty=(at.uncertainty**2 + doubt**2).sqrt())

    def _usual(self, place: int) -> Decimal:
        """What is consumed in a second around the first or last value."""
        other = min(1, len(self.times) - 1) if place == 0 else place - 1
        span = abs(self.times[other] - self.times[place])
        return abs(self._value(self.totals[other] - self.totals[place])) / Decimal(span) if span else Decimal(0)

    def _between(self, before: int, after: int, moment: float, window: float) -> Reading:
        early, late = self.times[before], self.times[after]
        share = Decimal(moment - early) / Decimal(late - early)
        span = self.totals[after] - self.totals[before]
        value = (Decimal(self.totals[before]) + span * share).quantize(Decimal(1).scaleb(-_DIGITS), ROUND_HALF_EVEN)
        apart = min(moment - early, late - moment)
        near = before if moment - early <= late - moment else after
        quality = self.qualities[near] if apart <= window else Quality.INTERPOLATED
        spread = abs(self._value(span)) * (share * (1 - share)).sqrt()
        uncertainty = (spread**2 + self.resolution**2).sqrt()
        return Reading(moment, self._value(value).normalize(), quality, uncertainty, apart)


def resolution_of(exponent: int) -> Decimal:
    """Standard uncertainty of a value by its last digit, 10 ** ``exponent``: evenly spread over one step of it."""
    return Decimal(1).scaleb(exponent) / _SQRT_12


def worst(qualities: Iterable[Quality]) -> Quality:
    """The quality of a result that was made of several values; MISSING of none."""
    return max(qualities, key=ranks.index, default=Quality.MISSING)


def rolled_over(before: int, after: int, capacity: int | None) -> bool:
    """True if a register that fell from one value to the other has begun again at zero."""
    if capacity is None or after >= before:
        return False
    return before >= capacity * (1 - _ROLL_OVER) and after <= capacity * _ROLL_OVER


def step(before: int, after: int, capacity: int | None) -> int:
    """What a register advanced between two values."""
    return after - before + (capacity or 0) if rolled_over(before, after, capacity) else after - before


def advance_of(
    registers: Sequence[Series],
    left_out: Mapping[str, Collection[float]] | None = None,
    begins: Mapping[str, float] | None = None,
) -> Advance:
    """The advance of a point over its devices, the oldest first. Registers must have one unit.

    ``left_out``  moments of values that do not count, by device
    ``begins``    when a device was put in: one that begins near zero is counted from zero on

    What an exchange hides is the uncertainty of the sum behind it.

    Raises InputError (``input.option``) for registers of different units
    """
    registers = [series for series in registers if series.samples]
    units = {series.register.unit for series in registers}
    if len(units) > 1:
        raise InputError(f"registers of different units cannot be added: {', '.join(sorted(units))}", code="input.option")
    if not registers:
        return Advance("", 0, (), (), (), (), ())
    exponent = min(series.exponent for series in registers)
    sums = _Sums()
    for series in sorted(registers, key=lambda one: one.samples[0].at):
        bad = frozenset((left_out or {}).get(series.register.device, ()))
        samples = [one for one in series.samples if one.at not in bad and one.quality is not Quality.INVALID]
        sums.add(series, samples, 10 ** (series.exponent - exponent), exponent, (begins or {}).get(series.register.device))
    return Advance(
        units.pop(), exponent, tuple(sums.times), tuple(sums.totals), tuple(sums.qualities), tuple(sums.doubts),
        tuple(sums.devices),
    )  # fmt: skip


class _Sums:
    """The columns of an advance as they grow."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.totals: list[int] = []
        self.qualities: list[Quality] = []
        self.doubts: list[Decimal] = []
        self.devices: list[str] = []

    def add(self, series: Series, samples: Sequence[Sample], factor: int, exponent: int, begin: float | None) -> None:
        """The values of one more device."""
        samples = [one for one in samples if not self.times or one.at > self.times[-1]]
        if not samples:
            return
        capacity = series.register.capacity
        total, doubt = (self.totals[-1], self.doubts[-1]) if self.times else (0, Decimal(0))
        if self.times:
            hidden, doubt_more = self._exchange(samples, factor, exponent, begin)
            total += hidden
            doubt += doubt_more
        last = samples[0].mantissa
        for sample in samples:
            total += step(last, sample.mantissa, capacity) * factor
            last = sample.mantissa
            self.times.append(sample.at)
            self.totals.append(total)
            self.qualities.append(sample.quality)
            self.doubts.append(doubt)
            self.devices.append(series.register.device)

    def _exchange(self, samples: Sequence[Sample], factor: int, exponent: int, begin: float | None) -> tuple[int, Decimal]:
        """What went by while no register was read: the first value of a new one that began at zero, and its uncertainty."""
        gap = samples[0].at - self.times[-1]
        whole = self.times[-1] - self.times[0]
        rate = abs(self.totals[-1] - self.totals[0]) / whole if whole > 0 else 0.0
        first = samples[0].mantissa * factor
        since = samples[0].at - (self.times[-1] if begin is None else begin)
        fresh = 0 <= first <= max(10 * factor, 10 * rate * max(since, 0.0))
        hidden = first if fresh else 0
        usual = Decimal(rate * gap)
        return hidden, (max(usual, Decimal(factor)) / _SQRT_12).scaleb(exponent)


def _reason(first: Reading, last: Reading) -> str:
    words = []
    for name, one in (("beginning", first), ("end", last)):
        if one.quality is Quality.INTERPOLATED:
            words.append(f"{name} interpolated, nearest true value {one.apart / 3600:.1f} h away")
    return "; ".join(words) or "true values at both ends"
