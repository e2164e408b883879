"""Which devices have fallen silent: each is held against the interval that it was heard to keep.

The interval is learned as the smaller of many gaps: the median of the last gaps, which a lost telegram here and there
does not disturb. A device is silent when it was not heard for five such intervals and not for an hour, or for two
days where nothing is learned yet; all three are ours to choose and can be set. Times are seconds, given by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

import msgspec

__all__ = ["Liveness", "LivenessRules"]

_GAPS: Final = 15  #: remembered of each device
_ENOUGH: Final = 5  #: gaps before anything is learned, and before it is looked at again
_NEW: Final = 0.2  #: share by which the learned interval must differ to be told again


class LivenessRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a device counts as silent: after ``intervals`` of its own and ``least`` seconds; ``unlearned`` without interval.

    ``together`` seconds within which telegrams are one sending (copies, answers): they teach no gap.
    """

    intervals: float = 5.0
    least: float = 3600.0
    unlearned: float = 172_800.0
    together: float = 1.5


class _Pulse:
    """One device."""

    __slots__ = ("count", "gaps", "interval", "last", "told")

    def __init__(self, last: float, interval: float | None) -> None:
        self.last = last
        self.interval = interval
        self.told = interval
        self.gaps: list[float] = []
        self.count = 0


class Liveness:
    """Learns intervals and finds the silent; keeps fifteen gaps of each device and nothing else."""

    __slots__ = ("_pulses", "rules")

    def __init__(self, rules: LivenessRules | None = None) -> None:
        self.rules = rules or LivenessRules()
        self._pulses: dict[int, _Pulse] = {}

    def know(self, device_id: int, last_heard: float | None, interval: float | None) -> None:
        """Begin with what was stored about a device."""
        if last_heard is not None:
            self._pulses[device_id] = _Pulse(last_heard, interval)

    def forget(self, device_id: int) -> None:
        """A device that is retired is not waited for."""
        self._pulses.pop(device_id, None)

    def heard(self, device_id: int, at: float) -> float | None:
        """Note a telegram; returns the interval if it is learned now or clearly another one than before."""
        pulse = self._pulses.get(device_id)
        if pulse is None:
            self._pulses[device_id] = _Pulse(at, None)
            return None
        gap = at - pulse.last
        if gap <= self.rules.together:
            pulse.last = max(at, pulse.last)
            return None
        pulse.last = at
        gaps = pulse.gaps
        gaps.append(gap)
        if len(gaps) > _GAPS:
            del gaps[0]
        pulse.count += 1
        if pulse.count % _ENOUGH:
            return None
        pulse.interval = interval = round(median(gaps), 3)
        if pulse.told is not None and abs(interval - pulse.told) <= _NEW * pulse.told:
            return None
        pulse.told = interval
        return interval

    def limit(self, device_id: int) -> float | None:
        """Seconds of silence that a device may keep; None for one that was never heard."""
        pulse = self._pulses.get(device_id)
        return None if pulse is None else self._limit(pulse)

    def _limit(self, pulse: _Pulse) -> float:
        rules = self.rules
        return rules.unlearned if pulse.interval is None else max(rules.least, rules.intervals * pulse.interval)

    def silent(self, now: float) -> Iterator[tuple[int, float, float]]:
        """Devices that are silent: number, time when they were heard last, and their limit."""
        for device_id, pulse in tuple(self._pulses.items()):
            limit = self._limit(pulse)
            if now - pulse.last > limit:
                yield device_id, pulse.last, limit

    def last_heard(self, device_id: int) -> float | None:
        """When a device was heard last."""
        pulse = self._pulses.get(device_id)
        return None if pulse is None else pulse.last

    def __len__(self) -> int:
        return len(self._pulses)
