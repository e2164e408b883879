"""Checks of what was heard: keys, status, flags, clock, hops, duplicates, replay, lost telegrams."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

from openmetering.mdm.evidence import Heard
from openmetering.mdm.validation.context import DAY, Context
from openmetering.mdm.validation.rules import Rule

__all__ = ["check_clock", "check_duplicates", "check_hops", "check_key", "check_lost", "check_replay", "check_status"]

_HOUR = 3600.0
_APART = 10 * DAY  #: telegrams that are further apart tell two things
_BITS = {0x04: "power low", 0x08: "permanent error", 0x10: "temporary error"}


def check_key(context: Context) -> None:
    """``key``: telegrams that their key did not open."""
    if (rule := context.rule("key")) is None:
        return
    for device, heard in context.telegrams.items():
        closed = [one.at for one in heard if one.opened is False]
        for begin, end, moments in context.runs(closed, _APART):
            if len(moments) >= rule["least"]:
                context.tell(rule, device, begin, end, f"{len(moments)} telegrams could not be opened", moments)


def check_status(context: Context) -> None:
    """``status`` and ``flags``: what the device says about itself."""
    if (rule := context.rule("status")) is not None:
        mask = int(rule["mask"])
        for device, heard in context.telegrams.items():
            raised = [one for one in heard if one.status is not None and one.status & mask and not _alarm(one.status)]
            seen = {one.at: one.status or 0 for one in raised}
            for begin, end, moments in context.runs(sorted(seen), _APART):
                if len(moments) >= rule["least"]:
                    bits = 0
                    for moment in moments:
                        bits |= seen[moment] & mask
                    words = ", ".join(word for bit, word in _BITS.items() if bits & bit)
                    context.tell(rule, device, begin, end, f"{words} in {len(moments)} telegrams")
    if (rule := context.rule("flags")) is not None:
        for device, heard in context.telegrams.items():
            by_flag: dict[str, list[float]] = defaultdict(list)
            for one in heard:
                for flag in one.flags:
                    by_flag[flag].append(one.at)
            for flag, times in by_flag.items():
                for begin, end, moments in context.runs(times, _APART):
                    if len(moments) >= rule["least"]:
                        context.tell(rule, device, begin, end, f"{flag} in {len(moments)} telegrams")


def _alarm(status: int) -> bool:
    """All five bits at once are no state of a meter."""
    return status & 0x1F == 0x1F


def check_clock(context: Context) -> None:
    """``clock``: the clock of the meter against the time of reception; whole hours (summer time) do not count."""
    if (rule := context.rule("clock")) is None:
        return
    for device, heard in context.telegrams.items():
        off: dict[float, float] = {}
        for one in heard:
            if one.meter_time is not None:
                off.setdefault(one.at, clock_deviation(one.meter_time - one.at))
        late = [at for at, value in off.items() if abs(value) > rule["limit"]]
        for begin, end, moments in context.runs(late, _APART):
            if len(moments) >= rule["least"]:
                worst = max((off[moment] for moment in moments), key=abs)
                context.tell(rule, device, begin, end, f"clock up to {worst:+.0f} s off, {rule['limit']:.0f} s are allowed")


def clock_deviation(seconds: float) -> float:
    """Deviation without whole hours, up to two: standard time the whole year, summer time, or UTC."""
    hours = round(seconds / _HOUR)
    return seconds - hours * _HOUR if abs(hours) <= 2 else seconds


def check_hops(context: Context) -> None:
    """``hops``: copies over repeaters."""
    if (rule := context.rule("hops")) is None:
        return
    for device, heard in context.telegrams.items():
        times = [one.at for one in heard if one.repeats > rule["allowed"]]
        if len(times) >= rule["least"]:
            most = max(one.repeats for one in heard)
            context.tell(rule, device, times[0], times[-1], f"{len(times)} telegrams came over up to {most} repeaters")


def check_duplicates(context: Context) -> None:
    """``duplicates``: the same telegram at different times from different gateways. The later copies do not count.

    Nothing is said about copies within the seconds in which receivers of one telegram are merged already.
    """
    if (rule := context.rule("duplicates")) is None:
        return
    for device, heard in context.telegrams.items():
        seen: dict[int, Heard] = {}
        copies: list[Heard] = []
        firsts: set[float] = set()
        for one in heard:
            if one.access_number is None:
                continue
            first = seen.get(one.access_number)
            if first is not None and one.at - first.at <= rule["apart"] and one.gateway != first.gateway:
                if one.at - first.at > rule["merged"]:
                    copies.append(one)
            else:
                seen[one.access_number] = one
                firsts.add(one.at)
        others = [one.at for one in copies]
        if len(others) >= rule["least"] and len(others) >= rule["share"] * len(firsts & _span(firsts, others)):
            gateways = ", ".join(sorted({one.gateway for one in copies}))
            words = f"{len(others)} telegrams came again from {gateways}; each counts once"
            context.tell(rule, device, others[0], others[-1], words, sorted(set(others) - firsts), spoil=True)


def _span(times: set[float], within: Sequence[float]) -> set[float]:
    return {at for at in times if within[0] - DAY <= at <= within[-1] + DAY}


def check_replay(context: Context) -> None:
    """``replay``: an access number with the value that it had before, after a greater value; an old message counter."""
    if (rule := context.rule("replay")) is None:
        return
    for device, heard in context.telegrams.items():
        refused = sorted({one.at for one in heard if one.replayed})
        if refused:
            words = f"{len(refused)} telegrams whose message counter did not advance, first {context.day(refused[0])}"
            context.tell(rule, device, refused[0], refused[-1], words, refused)
    within = int(rule["within"])
    for series in context.evidence.registers:
        device = series.register.device
        values = {sample.at: sample.mantissa for sample in context.good(series)}
        past: list[tuple[int, int]] = []
        most: int | None = None
        again: list[float] = []
        for number, at in _numbers(context.telegrams.get(device, ())):
            value = values.get(at)
            if value is None:
                continue
            if most is not None and value < most and (number, value) in past[-within:]:
                again.append(at)
                continue
            past.append((number, value))
            most = value
        if again:
            words = f"{len(again)} telegrams with access number and value of earlier ones, first {context.day(again[0])}"
            context.tell(rule, device, again[0], again[-1], words, again)


def _numbers(heard: Sequence[Heard]) -> list[tuple[int, float]]:
    """Access number and time of each telegram, once however many gateways heard it."""
    found: dict[float, int] = {}
    for one in heard:
        if one.access_number is not None:
            found.setdefault(one.at, one.access_number)
    return [(number, at) for at, number in found.items()]


def check_lost(context: Context) -> None:
    """``lost``: telegrams that the usual distance lets expect, in each span of ``days``."""
    if (rule := context.rule("lost")) is None:
        return
    for stay in context.evidence.stays:
        heard = context.telegrams.get(stay.device, ())
        times = sorted({one.at for one in heard})
        if len(times) > rule["least"]:
            _lost(context, rule, stay.device, times)


def _lost(context: Context, rule: Rule, device: str, times: Sequence[float]) -> None:
    usual = _usual(times)
    span = rule["days"] * DAY
    worst: tuple[float, float, int, int] | None = None
    begin = times[0]
    while begin < times[-1]:
        inside = [at for at in times if begin <= at < begin + span]
        # a long silence is a gap, not a share
        steps = [round((late - early) / usual) for early, late in itertools.pairwise(inside)]
        steps = [min(step, 3) for step in steps if step <= 12]
        due = sum(max(step, 1) for step in steps)
        missed = due - len(steps)
        if due >= rule["least"] and (worst is None or missed / due > worst[2] / worst[3]):
            worst = (begin, begin + span, missed, due)
        begin += span
    if worst is not None and worst[2] / worst[3] > rule["share"]:
        begin, end, missed, due = worst
        words = f"{missed} of {due} telegrams from {context.day(begin)} on were not heard (one each {usual / 60:.0f} min)"
        context.tell(rule, device, begin, min(end, times[-1]), words)


def _usual(times: Sequence[float]) -> float:
    """The distance that most telegrams have: the shortest of the common ones, so that losses do not hide it."""
    steps = [late - early for early, late in itertools.pairwise(times) if late - early > 1.0]
    if not steps:
        return DAY
    middle = median(steps)
    rounded = Counter(round(step / middle * 4) for step in steps)
    common = [count for count in rounded if rounded[count] >= 0.2 * len(steps)]
    return middle * min(common, default=4) / 4 if min(common, default=4) > 0 else middle
