"""Synchronous transmission: when a radio device speaks by itself, and what it says then.

    time      t0        t0+t(n)     ...            t(n) = (1 + (|n - 128| - 64) / 2048) * nominal
    number    n         n+1         n+2            access number, one more each time, 255 -> 0
    slot      data      access      access  data   one SND-NR, then ``ratio`` ACC-NR, again and again

The grid follows the clock of the transmitter alone: what is sent asynchronously in between, and a
clock that is set, move nothing. A slot that cannot be used passes with its number, so that the
following ones stay where receivers expect them.

Source: OMS Volume 2 5.0.1 clause 4.3.2 and Tables 8 and 9; EN 13757-4 (individual interval, clause to confirm).
"""

from __future__ import annotations

from typing import Final

import msgspec

from openmetering.errors import OutOfRange
from openmetering.protocol.device.interface import SpontaneousKind
from openmetering.protocol.machine import Dice

__all__ = [
    "CLOCK_TOLERANCE",
    "LARGEST_RATIO",
    "SENSOR_UPDATE",
    "STATIC_PER_DAY",
    "UPDATE_TOLERANCE",
    "UPDATE_INTERVALS",
    "Slot",
    "SlotPlan",
    "SynchronousSchedule",
    "individual_interval",
    "maximum_update",
]

CLOCK_TOLERANCE: Final = 250.0  #: ppm that the clock of a transmitter may be wrong
#: share by which an update interval may be exceeded: scatter and clock. 1/32 and 250 ppm would be 3.15 % [?]
UPDATE_TOLERANCE: Final = 0.031258
LARGEST_RATIO: Final = 15
STATIC_PER_DAY: Final = 5  #: static messages a day at most
_DAY: Final = 86400.0
_MINUTE: Final = 60.0

#: device type -> minutes between two messages with data in mode C, at most
UPDATE_INTERVALS: Final[dict[int, float]] = {
    0x02: 7.5,  # electricity
    0x03: 30.0,  # gas
    **dict.fromkeys((0x04, 0x0C, 0x0D, 0x0A, 0x0B), 30.0),  # heat and cooling of a district
    **dict.fromkeys((0x06, 0x07, 0x15, 0x16, 0x28), 240.0),  # water; waste water is treated like water
    0x08: 240.0,  # heat cost allocator
    0x18: 30.0,  # pressure
    **dict.fromkeys((0x1A, 0x1D, 0x1E), 120.0),  # smoke, carbon monoxide, heat alarm
    0x20: 7.5,  # breaker: as the meters of its medium
    0x21: 30.0,  # valve, gas or water: the shorter of both
    **dict.fromkeys((0x32, 0x33), 240.0),  # data of a repeater about itself
}
#: sub device type (ID11!) of a sensor -> minutes
SENSOR_UPDATE: Final[dict[int, float]] = {
    **dict.fromkeys((1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14, 15, 21), 30.0),
    **dict.fromkeys((10, 11), 360.0),
    **dict.fromkeys((18, 19, 20), 120.0),
}
_SUB_METERING: Final = 240.0
_THERMAL: Final = frozenset((0x04, 0x0A, 0x0B, 0x0C, 0x0D))
_SENSOR: Final = 0x1F

#: factor of the individual interval by access number
_FACTORS: Final = tuple(1.0 + (abs(number - 128) - 64) / 2048 for number in range(256))


def individual_interval(nominal: float, access_number: int) -> float:
    """Seconds from the transmission with this access number to the next one.

    The factor lies between 1 - 1/32 (number 128) and 1 + 1/32 (number 0); two devices that met once part again.
    Source   EN 13757-4 (synchronous transmission, clause to confirm); scatter: OMS Volume 2 5.0.1 Table 8
    Units    seconds
    """
    return nominal * _FACTORS[access_number & 0xFF]


def maximum_update(device_type: int, *, sub_metering: bool = False, sensor: int | None = None) -> float | None:
    """Longest time between two messages with data in seconds, without the tolerance; None where the tables name none.

    ``sub_metering``: heat and cooling behind a central meter; ``sensor``: sub device type of a sensor (type 1Fh).
    Source   OMS Volume 2 5.0.1 Tables 8 and 9 (mode C)
    """
    if device_type == _SENSOR:
        minutes = None if sensor is None else SENSOR_UPDATE.get(sensor)
    elif sub_metering and device_type in _THERMAL:
        minutes = _SUB_METERING
    else:
        minutes = UPDATE_INTERVALS.get(device_type)
    return None if minutes is None else minutes * _MINUTE


class SlotPlan(msgspec.Struct, frozen=True):
    """What a device sends synchronously.

    ``nominal``        seconds between two synchronous transmissions (of any kind)
    ``ratio``          ACC-NR after each SND-NR, 0..15, fixed after installation
    ``static_per_day`` static messages a day, 0..5; each takes the slot of an ACC-NR, or of data where there is no ACC-NR
    ``consumer``       every second SND-NR carries consumer information (UC-07)
    ``clock_error``    ppm by which the own clock is slow (its intervals too long); at most 250
    """

    nominal: float = 450.0
    ratio: int = 0
    static_per_day: int = 0
    consumer: bool = False
    clock_error: float = 0.0

    def __post_init__(self) -> None:
        checks: tuple[tuple[str, float, bool], ...] = (
            ("nominal", self.nominal, self.nominal > 0),
            ("ratio", self.ratio, 0 <= self.ratio <= LARGEST_RATIO),
            ("static_per_day", self.static_per_day, 0 <= self.static_per_day <= STATIC_PER_DAY),
            ("clock_error", self.clock_error, abs(self.clock_error) <= CLOCK_TOLERANCE),
        )
        for field, value, fits in checks:
            if not fits:
                raise OutOfRange(f"{field} of a synchronous plan cannot be {value:g}", field=field, value=value)

    @property
    def cycle(self) -> tuple[SpontaneousKind, ...]:
        """The slots in order, repeated for ever."""
        pause: list[SpontaneousKind] = ["access"] * self.ratio
        if self.consumer:
            return ("data", *pause, "consumer", *pause)
        return ("data", *pause)

    @property
    def update_interval(self) -> float:
        """Longest time between two messages with data, in seconds, without the tolerance of clock and scatter."""
        slots = len(self.cycle)
        if self.static_per_day and not self.ratio:
            slots *= 2  # one of them gives its place to a static message
        return self.nominal * slots

    def fits(self, limit: float | None) -> bool:
        """True if the update interval keeps a limit of ``maximum_update``, tolerance included."""
        return limit is None or self.update_interval <= limit * (1.0 + UPDATE_TOLERANCE)


class Slot(msgspec.Struct, frozen=True):
    """One synchronous transmission: what, with which access number, and when it was due in seconds."""

    kind: SpontaneousKind
    access_number: int
    due: float


class SynchronousSchedule:
    """The grid of one device. ``access_number`` is that of the last synchronous transmission, ``due`` the next time."""

    __slots__ = ("_cycle", "_position", "_scale", "_static_every", "_static_next", "_swap", "access_number", "due", "plan")

    def __init__(self, plan: SlotPlan) -> None:
        self.plan = plan
        self.access_number = 0
        self.due: float | None = None
        self._cycle = plan.cycle
        self._swap: SpontaneousKind = "access" if plan.ratio else "data"
        self._scale = plan.nominal * (1.0 + plan.clock_error * 1e-6)
        self._static_every = _DAY / plan.static_per_day if plan.static_per_day else 0.0
        self._static_next = float("inf")
        self._position = 0

    def start(self, now: float, dice: Dice) -> None:
        """Power came: a random access number, and a first transmission at a random time within one interval.

        Neither may be bound to an event that many devices share. Source: OMS Volume 2 5.0.1 clause 4.3.2.
        """
        self.access_number = int(dice() * 256) & 0xFF
        self.due = now + dice() * self._scale
        self._position = 0
        if self._static_every:
            self._static_next = now + dice() * self._static_every

    def take(self) -> Slot:
        """The slot that is due: counts the access number and sets the next time. Raises OutOfRange before ``start``."""
        due = self.due
        if due is None:
            raise OutOfRange("the schedule has not been started", field="due", value=None)
        self.access_number = number = (self.access_number + 1) & 0xFF
        self.due = due + self._scale * _FACTORS[number]
        kind = self._cycle[self._position]
        self._position = (self._position + 1) % len(self._cycle)
        if due >= self._static_next and kind == self._swap:
            kind = "static"
            while self._static_next <= due:
                self._static_next += self._static_every
        return Slot(kind, number, due)

    def near(self, start: float, end: float, guard: float) -> bool:
        """True if the next slot lies between ``start`` and ``end`` or within ``guard`` seconds of them."""
        return self.due is not None and start - guard < self.due < end + guard
