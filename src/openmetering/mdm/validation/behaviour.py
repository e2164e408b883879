"""Checks that need time or neighbours: a register that stands, one that never does, stored values, the sum of sub-meters."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal

from openmetering.mdm.consumption import Advance, advance_of, step
from openmetering.mdm.evidence import Balance, Stored
from openmetering.mdm.findings import Finding
from openmetering.mdm.series import Sample, Series
from openmetering.mdm.validation.context import DAY, Context
from openmetering.mdm.validation.rules import Rule

__all__ = ["check_balance", "check_frozen", "check_leak", "check_stored"]

_LONGEST = 9 * 3600.0  #: seconds between two values that still tell whether there was a pause


def check_frozen(context: Context) -> None:
    """``frozen``: no step for ``days`` while at least ``share`` of ``peers`` comparable registers go on."""
    if (rule := context.rule("frozen")) is None:
        return
    for series in context.evidence.registers:
        good = context.good(series)
        for begin, end in _standstills(good, rule["days"] * DAY):
            moved = [_moved(peer, begin, end) for peer in context.evidence.peers]
            known = [count for count in moved if count is not None]
            if len(known) < rule["peers"]:
                continue
            going = sum(count >= rule["least"] for count in known)
            if going >= rule["share"] * len(known):
                words = (
                    f"stands at {series.value(good[-1]):f} {series.register.unit} for {(end - begin) / DAY:.0f} days "
                    f"while {going} of {len(known)} comparable ones go on"
                )
                context.tell(rule, series.register.device, begin, end, words)


def _standstills(samples: Sequence[Sample], least: float) -> list[tuple[float, float]]:
    found = []
    first = 0
    for place, sample in enumerate(samples):
        if sample.mantissa != samples[first].mantissa:
            if samples[place - 1].at - samples[first].at >= least:
                found.append((samples[first].at, samples[place - 1].at))
            first = place
    if samples and samples[-1].at - samples[first].at >= least:
        found.append((samples[first].at, samples[-1].at))
    return found


def _moved(series: Series, begin: float, end: float) -> int | None:
    early, late = series.at(begin), series.at(end)
    return None if early is None or late is None else step(early.mantissa, late.mantissa, series.register.capacity)


def check_leak(context: Context) -> None:
    """``leak``: for ``days`` no interval in which less than ``rate`` units an hour were counted."""
    if (rule := context.rule("leak")) is None:
        return
    for series in context.evidence.registers:
        good = context.good(series)
        least = rule["rate"] / 10.0**series.exponent / 3600.0
        begin: float | None = None
        end = 0.0
        steps = 0
        lowest = float("inf")
        for early, late in itertools.pairwise(good):
            gone = step(early.mantissa, late.mantissa, series.register.capacity)
            rate = gone / (late.at - early.at)
            if late.at - early.at <= _LONGEST and rate >= least:
                begin = early.at if begin is None else begin
                end, steps, lowest = late.at, steps + 1, min(lowest, rate)
            else:
                _leak(context, rule, series, begin, end, steps, lowest)
                begin, steps, lowest = None, 0, float("inf")
        _leak(context, rule, series, begin, end, steps, lowest)


def _leak(context: Context, rule: Rule, series: Series, begin: float | None, end: float, steps: int, lowest: float) -> None:
    if begin is None or end - begin < rule["days"] * DAY or steps < rule["least"]:
        return
    rate = lowest * 3600.0 * 10.0**series.exponent
    words = f"never less than {rate:.3f} {series.register.unit}/h for {(end - begin) / DAY:.0f} days"
    context.tell(rule, series.register.device, begin, end, words)


def check_stored(context: Context) -> None:
    """``due-date`` and ``months``: what the meter stored against what was received around that moment."""
    for kind, name in (("due", "due-date"), ("month", "months")):
        if (rule := context.rule(name)) is None:
            continue
        for series in context.evidence.registers:
            device = series.register.device
            samples = [*(one for other in context.evidence.previous if other.register.device == device
                         and other.exponent == series.exponent for one in other.samples), *context.shown(series)]  # fmt: skip
            mine = [one for one in context.evidence.stored if one.kind == kind and one.device == device]
            for one in mine:
                _stored(context, rule, series, samples, one)
            if kind == "month":
                _neighbours(context, rule, series, mine)


def _mantissa(one: Stored, series: Series) -> int:
    return int(one.value.scaleb(-series.exponent))


def _stored(context: Context, rule: Rule, series: Series, samples: Sequence[Sample], one: Stored) -> None:
    place = bisect_right(samples, one.at, key=lambda sample: sample.at)
    if not 0 < place < len(samples):
        return
    early, late = samples[place - 1], samples[place]
    capacity = series.register.capacity
    tolerance = rule["tolerance"]
    above = step(early.mantissa, _mantissa(one, series), capacity)
    below = step(_mantissa(one, series), late.mantissa, capacity)
    if above < -tolerance or below < -tolerance:
        words = (
            f"stored {one.value:f} for {context.day(one.at)}, received {series.value(early):f} before and "
            f"{series.value(late):f} after"
        )
        context.tell(rule, one.device, early.at, late.at, words, (one.at,))


def _neighbours(context: Context, rule: Rule, series: Series, stored: Sequence[Stored]) -> None:
    newest: dict[float, Stored] = {}
    for one in stored:
        known = newest.get(one.at)
        if known is not None and known.value != one.value:
            words = f"stored {known.value:f}, later {one.value:f} for {context.day(one.at)}"
            context.tell(rule, one.device, one.at, one.read_at, words, (one.at,))
        newest[one.at] = one
    told = {moment for finding in context.found if finding.rule == rule.id for moment in finding.samples}
    ordered = [newest[at] for at in sorted(newest) if at not in told]
    for early, late in itertools.pairwise(ordered):
        gone = step(_mantissa(early, series), _mantissa(late, series), series.register.capacity)
        if gone < -rule["tolerance"]:
            words = f"{late.value:f} stored for {context.day(late.at)} after {early.value:f} for {context.day(early.at)}"
            context.tell(rule, late.device, early.at, late.at, words, (late.at,))


def check_balance(balance: Balance, rule: Rule) -> Finding | None:
    """``balance``: what a main meter counted against the sum of those below it."""
    main = advance_of(balance.main).amount(balance.begin, balance.end, edge=DAY)
    if main.value is None or not balance.parts:
        return None
    parts = [advance_of(part) for part in balance.parts]
    total, doubt = Decimal(0), main.uncertainty**2
    for part in parts:
        value, uncertainty = _part(part, balance.begin, balance.end)
        total += value
        doubt += uncertainty**2
    losses = max(balance.losses, Decimal(str(rule["losses"])))
    digits = Decimal(str(rule["digits"])) * _unit_of(parts)
    missing = main.value - total
    slack = 2 * doubt.sqrt() + digits
    if -slack <= missing <= main.value * losses + slack:
        return None
    words = (
        f"main meter {main.value:.3f} {main.unit}, sum of {len(parts)} sub-meters {total:.3f}: "
        f"{missing:+.3f}, {losses:.0%} may be missing"
    )
    return Finding(rule.id, rule.severity, balance.point, "", balance.begin, balance.end, words)


def _part(part: Advance, begin: float, end: float) -> tuple[Decimal, Decimal]:
    """What a sub-meter counted; a time in which it was not read at its usual rate, which is then in doubt as a whole."""
    amount = part.amount(begin, end, edge=DAY)
    if amount.value is not None:
        return amount.value, amount.uncertainty
    first, last = max(begin, part.times[0]), min(end, part.times[-1])
    known = part.amount(first, last, DAY)
    if known.value is None or last <= first:
        return Decimal(0), Decimal(0)
    missing = known.value * (Decimal(end - begin) / Decimal(last - first) - 1)
    return known.value + missing, abs(missing)


def _unit_of(parts: Sequence[Advance]) -> Decimal:
    return max((Decimal(1).scaleb(part.exponent) for part in parts), default=Decimal(0))
