"""UC-04, the clock of a device: read, adjusted by the gateway or the head-end, set by the head-end.

    variant    adjust by gateway    adjust, set by head-end (keys 21h, 22h)
    a          x                    -
    b          x                    x
    c          refused (22h)        x

    TC 01, 02  add, subtract        above 60 s: error 15h, nothing changes
    TC 03      correct to a time    at most 60 s of the way, no error
    TC 00      set                  at once; ends an adjustment that runs
    TC 05, 06  set with type M      5.0.1; refused (15h), for no absolute format of type M is published

A second adjustment while one runs is refused with error 10h. An adjustment is done as a slow drift:
one second in 600 s, so 60 s take ten of the twelve hours that are allowed, and no second is left
out or told twice. The radio timing knows nothing of this clock.
Source: OMS Volume 2 Annex M release C Tables M.11 to M.14; Annex N N.8.2.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from openmetering.codec.apl import clock
from openmetering.codec.apl.clock import LARGEST_SHIFT, ClockSynchronisation
from openmetering.codec.apl.header import header_of
from openmetering.codec.apl.records import Record, make
from openmetering.errors import DecodeError
from openmetering.protocol.device.function import STANDARD_APPLICATIONS, Function, demand_now
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Notice, Outcome
from openmetering.protocol.device.refusals import (
    INADEQUATE_SECURITY,
    NO_FUNCTION,
    NOT_NOW,
    PARAMETER_ERROR,
    STATUS_SUCCESS,
)
from openmetering.wire.types import EVERY, MeterTime

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["ADJUST_KEY", "SECONDS_PER_SECOND", "SET_KEY", "ClockFeature"]

ADJUST_KEY: Final = 0x21
SET_KEY: Final = 0x22
SECONDS_PER_SECOND: Final = 600.0  #: an adjustment moves the clock by one second in this time

_DAY = 86400
_ADJUSTMENTS = frozenset((1, 2, 3))
_SETTINGS = frozenset((0, 5, 6))
_ISSUE_501 = frozenset((5, 6))
_VARIANTS: dict[str, tuple[bool, bool]] = {"a": (True, False), "b": (True, True), "c": (False, True)}


class ClockFeature(Function):
    """The clock. ``epoch`` is what it shows at ``now`` = 0 without any offset; ``record_type`` F or I is how DT1! is told.

    ``type_m``: TC 05 and 06 are known (issue 5.0.1).
    """

    __slots__ = ("_by_gateway", "_by_head_end", "_epoch", "_header", "_known", "_memory", "_type")

    def __init__(
        self,
        memory: DeviceMemory,
        *,
        epoch: dt.datetime,
        variant: str = "b",
        record_type: str = "F",
        type_m: bool = True,
    ) -> None:
        self._memory = memory
        self._epoch = epoch
        self._by_gateway, self._by_head_end = _VARIANTS[variant]
        self._type = record_type
        self._header = header_of(b"\x04" if record_type == "F" else b"\x06", b"\x6d")
        self._known = _ADJUSTMENTS | (_SETTINGS if type_m else _SETTINGS - _ISSUE_501)

    # -- reading -------------------------------------------------------------------------------------

    def offset(self, now: float) -> float:
        """Seconds the clock is ahead of ``now``, the part of an adjustment that is done included."""
        memory = self._memory
        until = memory.clock_adjusted_until
        if until is None:
            return memory.clock_offset
        left = min(max(until - now, 0.0) / SECONDS_PER_SECOND, abs(memory.clock_adjustment))
        done = abs(memory.clock_adjustment) - left
        return memory.clock_offset + (done if memory.clock_adjustment > 0 else -done)

    def moment(self, now: float) -> dt.datetime:
        """What the clock shows, naive local time."""
        return self._epoch + dt.timedelta(seconds=now + self.offset(now))

    def records(self, application: int, now: float) -> list[Record]:
        """DT1! in the standard response and in each SND-NR that is not static."""
        if application not in STANDARD_APPLICATIONS:
            return []
        return [make(self._header, _meter_time(self.moment(now), self._type))]

    # -- adjusting -------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When an adjustment is complete."""
        return self._memory.clock_adjusted_until

    def timeout(self, now: float) -> list[Notice]:
        """An adjustment is complete."""
        memory = self._memory
        if memory.clock_adjusted_until is None or now < memory.clock_adjusted_until:
            return []
        shift = memory.clock_adjustment
        self._put(memory.clock_offset + shift)
        return [Notice(Outcome(events=(DeviceEvent("clock", "adjusted", int(shift)),)))]

    def _put(self, offset: float) -> None:
        """A new offset; no adjustment runs."""
        memory = self._memory
        memory.clock_offset = offset
        memory.clock_adjustment = 0.0
        memory.clock_adjusted_until = None

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """A clock command (CI 62, 6C, 6D, or PID 04 in SITP).

        Octets   as ``codec.apl.clock.decode``
        Source   OMS Volume 2 Annex M release C, M.2.4
        """
        if instruction.protocol != "clock":
            return None
        try:
            command = clock.decode(instruction.payload)
        except DecodeError:
            return Outcome(error=PARAMETER_ERROR)
        refusal = self._refused(command, instruction, now)
        if refusal is not None:
            return refusal
        if command.function in _ADJUSTMENTS:
            outcome = self._adjust(command, instruction, now)
        else:
            outcome = self._set(command, instruction, now)
        return outcome

    def _refused(self, command: ClockSynchronisation, instruction: Instruction, now: float) -> Outcome | None:
        """Who may do this, and with which key."""
        if command.function not in self._known:
            return Outcome(error=NO_FUNCTION)
        adjusts = command.function in _ADJUSTMENTS
        if instruction.key_id is None:
            return None if adjusts and self._by_gateway else Outcome(error=INADEQUATE_SECURITY)
        if not self._by_head_end:
            return Outcome(error=NO_FUNCTION)
        if instruction.key_id != (ADJUST_KEY if adjusts else SET_KEY):
            return Outcome(error=INADEQUATE_SECURITY)
        return demand_now(instruction, now)

    def _adjust(self, command: ClockSynchronisation, instruction: Instruction, now: float) -> Outcome:
        shift = self._shift(command, now)
        if shift is None or command.too_large:
            return Outcome(error=PARAMETER_ERROR)
        memory = self._memory
        until = memory.clock_adjusted_until
        if until is not None and now < until:
            return Outcome(error=NOT_NOW)
        if not instruction.rehearse and shift:
            self._put(self.offset(now))
            memory.clock_adjustment = float(shift)
            memory.clock_adjusted_until = now + abs(shift) * SECONDS_PER_SECOND
        events = (DeviceEvent("clock", "adjustment", shift),)
        return _answer(instruction, events)

    def _shift(self, command: ClockSynchronisation, now: float) -> int | None:
        """Seconds by which the clock is to move, at most 60 for TC 03; None for a time that is none."""
        seconds = command.seconds
        if seconds is not None:
            return seconds
        target = command.moment
        if target is None or target.hour is None or target.minute is None or target.second is None:
            return None
        shown = self.moment(now)
        wanted = target.hour * 3600 + target.minute * 60 + target.second
        difference = (wanted - (shown.hour * 3600 + shown.minute * 60 + shown.second) + _DAY // 2) % _DAY - _DAY // 2
        return max(-LARGEST_SHIFT, min(LARGEST_SHIFT, difference))

    def _set(self, command: ClockSynchronisation, instruction: Instruction, now: float) -> Outcome:
        wanted = _whole(command.moment)
        if wanted is None:
            return Outcome(error=PARAMETER_ERROR)
        if not instruction.rehearse:
            self._put((wanted - self._epoch).total_seconds() - now)
        return _answer(instruction, (DeviceEvent("clock", "set", None),))


def _answer(instruction: Instruction, events: tuple[DeviceEvent, ...]) -> Outcome:
    """The head-end gets a status (DSI 22), the gateway an unspecific answer."""
    return Outcome(status=None if instruction.key_id is None else STATUS_SUCCESS, events=() if instruction.rehearse else events)


def _whole(moment: MeterTime | None) -> dt.datetime | None:
    """A moment to which a clock can be set: no part of it is open. Type M has no published absolute format [?]."""
    if moment is None or EVERY in (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second):
        return None
    return moment.datetime()


def _meter_time(moment: dt.datetime, kind: str) -> MeterTime:
    """The moment as type F (to the minute) or type I, without flags for summer time, week and day of week."""
    second = moment.second if kind == "I" else None
    return MeterTime(kind, moment.year, moment.month, moment.day, moment.hour, moment.minute, second)
