"""Checks of the values of a register: medium, unit, backward flow, roll-over, rate, exchange, gaps, days of summer time."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from datetime import date
from decimal import Decimal
from statistics import median

from openmetering.mdm.consumption import rolled_over, step
from openmetering.mdm.local_time import local_date, midnight, next_day
from openmetering.mdm.series import Sample, Series
from openmetering.mdm.validation.context import DAY, Context
from openmetering.mdm.validation.rules import Rule

__all__ = ["check_backward", "check_day_length", "check_exchange", "check_gaps", "check_medium", "check_rate", "check_unit"]

_FEED_IN = "feed-in"  #: measured by electricity meters
_LEAST_JUMP = 20  #: mantissa below which a power of ten may be chance


def check_medium(context: Context) -> None:
    """``medium``: another one than was agreed. ``heat`` is agreed for every kind of heat meter."""
    rule, wanted = context.rule("medium"), context.evidence.medium
    if rule is None or not wanted:
        return
    for series in context.evidence.registers:
        medium = series.register.medium
        if medium and not (medium == wanted or medium.startswith(wanted) or wanted.startswith(medium) or wanted == _FEED_IN):
            first, last = series.samples[0].at, series.samples[-1].at
            context.tell(rule, series.register.device, first, last, f"device measures {medium}, agreed is {wanted}")


def check_unit(context: Context) -> None:
    """``unit``: another one than was agreed, or a value that is a power of ten off from those around it."""
    if (rule := context.rule("unit")) is None:
        return
    wanted = context.evidence.unit
    for series in context.evidence.registers:
        register = series.register
        if wanted and register.unit != wanted:
            times = [one.at for one in series.samples]
            words = f"{len(times)} values in {register.unit}, agreed is {wanted}"
            context.tell(rule, register.device, times[0], times[-1], words, times)
            continue
        _powers(context, rule, series)


def _powers(context: Context, rule: Rule, series: Series) -> None:
    """A register that jumps by a power of ten, for as long as it stays there."""
    factor: int | None = None
    off: list[float] = []
    last: Sample | None = None
    power = 0
    for sample in context.good(series):
        if last is not None:
            jump = _power(last.mantissa, sample.mantissa, rule)
            if jump:
                power += jump
                factor = power or factor
        if power:
            off.append(sample.at)
        last = sample
    if off and factor is not None:
        words = f"{len(off)} values are 10^{factor} times those around them, from {context.day(off[0])} on"
        context.tell(rule, series.register.device, off[0], off[-1], words, off)


def _power(before: int, after: int, rule: Rule) -> int:
    """The power of ten that lies between two values; 0 for none."""
    if before < _LEAST_JUMP or after < _LEAST_JUMP:
        return 0
    ratio = after / before
    power = round(math.log10(ratio))
    if power == 0 or 10 ** abs(power) < rule["factor"]:
        return 0
    return power if abs(ratio / 10**power - 1) <= rule["accuracy"] else 0


def check_backward(context: Context) -> None:
    """``backward`` and ``roll-over``: a register that falls."""
    backward, over = context.rule("backward"), context.rule("roll-over")
    for series in context.evidence.registers:
        capacity = series.register.capacity
        device = series.register.device
        highest: Sample | None = None
        falls: list[float] = []
        first: tuple[Sample, Sample] | None = None
        for sample in context.good(series):
            if highest is None:
                highest = sample
            elif rolled_over(highest.mantissa, sample.mantissa, capacity):
                if over is not None:
                    words = f"from {series.value(highest):f} to {series.value(sample):f}, the register holds {capacity}"
                    context.tell(over, device, highest.at, sample.at, words)
                highest = sample
            elif backward is not None and sample.mantissa < highest.mantissa - backward["tolerance"]:
                first = first or (highest, sample)
                falls.append(sample.at)
            elif sample.mantissa >= highest.mantissa:
                highest = sample
        if falls and first is not None and backward is not None:
            before, after = first
            words = (
                f"from {series.value(before):f} to {series.value(after):f} on {context.day(after.at)}; {len(falls)} values below"
            )
            context.tell(backward, device, before.at, falls[-1], words, falls)


def check_rate(context: Context) -> None:
    """``rate``: more than the size of the meter allows. A value that is followed by the old level is itself wrong."""
    rule, most = context.rule("rate"), context.evidence.maximum
    if rule is None or most is None:
        return
    for series in context.evidence.registers:
        if context.evidence.unit and series.register.unit != context.evidence.unit:
            continue
        limit = float(most) * rule["factor"] / 10.0**series.exponent / 3600.0
        _jumps(context, rule, series, limit, most)


def _jumps(context: Context, rule: Rule, series: Series, limit: float, most: Decimal) -> None:
    """Values that cannot have been reached from the last good one, until one can."""
    capacity = series.register.capacity
    good: Sample | None = None
    wrong: list[Sample] = []
    for sample in context.good(series):
        if good is not None:
            gone = step(good.mantissa, sample.mantissa, capacity)
            if gone > limit * (sample.at - good.at) + rule["digits"]:
                wrong.append(sample)
                continue
            _tell_jump(context, rule, series, good, wrong, most)
            wrong = []
        good = sample
    if good is not None:
        _tell_jump(context, rule, series, good, wrong, most)


def _tell_jump(context: Context, rule: Rule, series: Series, good: Sample, wrong: list[Sample], most: Decimal) -> None:
    if wrong:
        hours = (wrong[0].at - good.at) / 3600
        words = (
            f"{series.value(good):f} to {series.value(wrong[0]):f} {series.register.unit} in {hours:.2f} h, {most} an hour are "
            f"allowed; {len(wrong)} values"
        )
        context.tell(rule, series.register.device, good.at, wrong[-1].at, words, [one.at for one in wrong])


def check_exchange(context: Context) -> None:
    """``exchange``: another device at the point."""
    if (rule := context.rule("exchange")) is None:
        return
    evidence = context.evidence
    for old, new in zip(evidence.stays, evidence.stays[1:], strict=False):
        if not evidence.begin <= new.begin < evidence.end:
            continue
        last, first = _edge(context, old.device, last=True), _edge(context, new.device, last=False)
        words = f"{old.device} ended at {last}, {new.device} begins at {first}"
        context.tell(rule, new.device, new.begin if old.end is None else old.end, new.begin, words)


def _edge(context: Context, device: str, *, last: bool) -> str:
    for series in context.evidence.registers:
        if series.register.device == device:
            good = context.good(series)
            if good:
                return f"{series.value(good[-1 if last else 0]):f} {series.register.unit}"
    return "no value"


def check_gaps(context: Context) -> None:
    """``gap``: no value for too long while a device was there, also before the first and after the last one."""
    if (rule := context.rule("gap")) is None:
        return
    evidence = context.evidence
    for stay in evidence.stays:
        begin, end = stay.within(evidence.begin, evidence.end)
        times = sorted(one.at for series in evidence.registers if series.register.device == stay.device for one in series.samples)
        if end <= begin:
            continue
        usual = evidence.interval or (median(_steps(times)) if len(times) > 2 else 0.0)
        allowed = max(rule["days"] * DAY, rule["intervals"] * usual)
        edges = [begin, *times, end]
        for early, late in itertools.pairwise(edges):
            if late - early > allowed:
                words = f"no value for {(late - early) / DAY:.1f} days ({context.day(early)} to {context.day(late)})"
                context.tell(rule, stay.device, early, late, words)


def _steps(times: list[float]) -> list[float]:
    return [late - early for early, late in itertools.pairwise(times)]


def check_day_length(context: Context) -> None:
    """``day-length``: hourly values on the days on which summer time begins and ends."""
    if (rule := context.rule("day-length")) is None:
        return
    hour = rule["hour"]
    for series in context.evidence.registers:
        times = [one.at for one in context.good(series)]
        steps = _steps(times)
        if len(steps) < 48 or not 0.8 * hour <= median(steps) <= 1.2 * hour:
            continue
        for day, hours in _odd_days(context, times[0], times[-1]):
            begin = midnight(day, context.zone)
            end = begin + hours * hour
            count = bisect_left(times, end) - bisect_left(times, begin)
            around = [_count(times, begin - n * DAY, hour) for n in (1, 2)] + [_count(times, end + n * DAY, hour) for n in (0, 1)]
            if all(one == 24 for one in around) and count != hours:
                words = f"{day} has {hours} hours and {count} hourly values"
                context.tell(rule, series.register.device, begin, end, words)


def _count(times: list[float], begin: float, hour: float) -> int:
    return bisect_left(times, begin + 24 * hour) - bisect_left(times, begin)


def _odd_days(context: Context, begin: float, end: float) -> list[tuple[date, int]]:
    """Local days of 23 or 25 hours."""
    found: list[tuple[date, int]] = []
    day = next_day(local_date(begin, context.zone))
    while True:
        start = midnight(day, context.zone)
        after = next_day(day)
        stop = midnight(after, context.zone)
        if stop > end:
            return found
        if (hours := round((stop - start) / 3600)) != 24:
            found.append((day, hours))
        day = after
