"""UC-04, the clock of a device.

                        04a   04b   04c
    read DT1!            x     x     x     App-Reset, MBus-Data
    adjust by gateway    x     x     -     Clock-Sync, protected by the link only
    adjust by head-end   -     x     x     ASP10 with key 21h
    set by head-end      -     x     x     ASP10 with key 22h

    TC 01, 02   add, subtract: 60 s at most, the device works it off within 12 h; more is refused (15h)
    TC 03       correct towards a time of the day: of a larger difference 60 s are applied, without an error
    TC 00       set, at once; TC 05 with a relative type M (issue 5.0.1)

A second adjustment while one runs is refused (10h). A larger difference takes several adjustments,
twelve hours apart (``adjust_in_steps``), or setting the clock.
Source: OMS Volume 2 Annex M release C M.2.5 and release A M.2.6, Tables M.11 to M.15; Annex N release E N.8.2.
"""

from __future__ import annotations

import calendar
import datetime as dt
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.clock import LARGEST_SHIFT, ClockSynchronisation
from openmetering.errors import DecodeError, ExchangeFailed, NotRepresentable, OutOfRange
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import ask, error_refusal, exchange, read_records
from openmetering.protocol.operator.differences import differences
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order
from openmetering.protocol.operator.secured import execute
from openmetering.protocol.operator.steps import Pause, Procedure, Progress
from openmetering.protocol.operator.tags import require
from openmetering.wire.types import MeterTime

__all__ = [
    "ADJUSTMENT_TIME",
    "adjust_by_gateway",
    "adjust_clock",
    "adjust_in_steps",
    "correct_by_gateway",
    "correct_clock",
    "plan_adjustments",
    "read_clock",
    "set_clock",
    "type_i",
]

ADJUSTMENT_TIME: Final = 12 * 3600  #: s, within which a device has worked off an adjustment
_ADJUST_KEY, _SET_KEY = 0x21, 0x22
_PID = 4


class ClockOrder(msgspec.Struct, frozen=True):
    """A clock command in words and octets."""

    meaning: str
    apdu: bytes


def read_clock() -> Procedure[MeterTime]:
    """UC-04, read: DT1! of the standard response, naive local time of the device.

    Source   OMS Volume 2 Annex M release C, Table M.12
    Raises   Refused, ExchangeFailed; DecodeError (``answer.data``) if it is missing or marked invalid
    """
    octets = yield from exchange(Command("application-reset", b""))
    value = require(read_records(octets), "DT1!").value
    if not isinstance(value, MeterTime):
        raise DecodeError("the device marks its own time as invalid", layer="apl", octets=octets, code="answer.data")
    return value


def type_i(moment: dt.datetime, *, summer_time: bool = False) -> MeterTime:
    """A moment of local time as type I, with leap year, day of the week and week of the year (ISO 8601).

    Source   EN 13757-3, Annex A, data type I (clause to confirm)
    """
    _, week, day = moment.isocalendar()
    return MeterTime(
        "I",
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        summer_time=summer_time,
        leap_year=calendar.isleap(moment.year),
        day_of_week=day,
        week=week,
    )


def _shift(seconds: int, *, full: bool, beyond_limit: bool) -> ClockOrder:
    """TC 01 or 02. Raises OutOfRange above 60 s: a device must refuse that with application error 15h."""
    if abs(seconds) > LARGEST_SHIFT and not beyond_limit:
        raise OutOfRange(
            f"a clock is adjusted by {LARGEST_SHIFT} s at most, asked for {seconds} s: set it, or adjust in steps",
            field="seconds",
            value=seconds,
            layer="apl",
        )
    return ClockOrder(f"clock: adjust by {seconds} s", ClockSynchronisation.adjust(seconds, full=full).encode())


def _correction(moment: MeterTime, *, full: bool) -> ClockOrder:
    """TC 03. Raises NotRepresentable, OutOfRange."""
    return ClockOrder(f"clock: correct to {moment.isoformat()}", ClockSynchronisation.correct(moment, full=full).encode())


def _by_gateway(order: ClockOrder) -> Procedure[None]:
    """Clock-Sync under link security: nothing tells later whether it was executed, so it is sent once.

    A device that does not know shows an error in the status of the acknowledgement or in its answer.
    """
    try:
        answered = yield from ask(Command("clock", order.apdu))
    except ExchangeFailed as failure:
        if failure.delivered is False:
            raise
        raise ExchangeFailed(
            f"nobody knows whether the device executed it: {order.meaning}; read the clock after 12 hours",
            reason=failure.reason,
            delivered=failure.delivered,
        ) from failure
    if answered.protocol == "application-error":
        raise error_refusal(answered.payload)


def adjust_by_gateway(seconds: int, *, full: bool = True, beyond_limit: bool = False) -> Procedure[None]:
    """UC-04a/b, adjust by gateway: add or subtract up to 60 s. A device of UC-04c must refuse it.

    ``full`` sends the optional reserved and verification octets; ``beyond_limit`` sends what must be refused.
    Source   OMS Volume 2 Annex M release C, Table M.13; octets as in Annex N release E, N.8.2
    Raises   OutOfRange before anything is sent; Refused, ExchangeFailed
    """
    order = _shift(seconds, full=full, beyond_limit=beyond_limit)
    yield from _by_gateway(order)


def correct_by_gateway(moment: MeterTime, *, full: bool = True) -> Procedure[None]:
    """UC-04a/b, correct by gateway towards a time of the day (type J).

    Source   OMS Volume 2 Annex M release C, Table M.13
    Raises   NotRepresentable, OutOfRange before anything is sent; Refused, ExchangeFailed
    """
    yield from _by_gateway(_correction(moment, full=full))


def _by_head_end(head_end: HeadEnd, device: Address, key_id: int, order: ClockOrder, issue: str) -> Procedure[Confirmation]:
    secured = Order(key_id, _PID, order.apdu, meaning=order.meaning)
    return (yield from execute(head_end, device, secured, issue=issue))


def adjust_clock(
    head_end: HeadEnd, device: Address, seconds: int, *, beyond_limit: bool = False, issue: str = "5.0.1"
) -> Procedure[Confirmation]:
    """UC-04b/c, adjust by head-end: add or subtract up to 60 s, key 21h, answered with a status.

    Source   OMS Volume 2 Annex M release C, Table M.14
    Raises   OutOfRange before anything is sent; Refused, ExchangeFailed, KeyNotFound
    """
    order = _shift(seconds, full=False, beyond_limit=beyond_limit)
    return (yield from _by_head_end(head_end, device, _ADJUST_KEY, order, issue))


def correct_clock(head_end: HeadEnd, device: Address, moment: MeterTime, *, issue: str = "5.0.1") -> Procedure[Confirmation]:
    """UC-04b/c, correct by head-end towards a time of the day (type J), key 21h.

    Source   OMS Volume 2 Annex M release C, Table M.14
    Raises   NotRepresentable, OutOfRange before anything is sent; Refused, ExchangeFailed, KeyNotFound
    """
    order = _correction(moment, full=False)
    return (yield from _by_head_end(head_end, device, _ADJUST_KEY, order, issue))


def set_clock(head_end: HeadEnd, device: Address, moment: MeterTime, *, issue: str = "5.0.1") -> Procedure[Confirmation]:
    """UC-04b/c, set date and time: type I, in issue 5.0.1 also a type M; key 22h. It stops a running adjustment.

    Source   OMS Volume 2 Annex M release C, Table M.15
    Raises   NotRepresentable, OutOfRange before anything is sent; Refused, ExchangeFailed, KeyNotFound
    """
    if moment.type == "M" and not differences(issue).clock_type_m:
        raise NotRepresentable(f"issue {issue} does not set a clock with type M", field="moment", value="M", layer="apl")
    order = ClockOrder(f"clock: set to {moment.isoformat()}", ClockSynchronisation.set(moment, full=False).encode())
    return (yield from _by_head_end(head_end, device, _SET_KEY, order, issue))


def plan_adjustments(seconds: int) -> tuple[int, ...]:
    """The adjustments that make up a difference, none above 60 s."""
    sign = 1 if seconds >= 0 else -1
    whole, rest = divmod(abs(seconds), LARGEST_SHIFT)
    return (sign * LARGEST_SHIFT,) * whole + ((sign * rest,) if rest else ())


def adjust_in_steps(
    head_end: HeadEnd, device: Address, seconds: int, *, wait: float = ADJUSTMENT_TIME, issue: str = "5.0.1"
) -> Procedure[int]:
    """A difference above 60 s without a leap: several adjustments, each ``wait`` seconds after the one before.

    Returns the number of adjustments. One that fails ends it; what was executed before stays.
    Source   OMS Volume 2 Annex M release C, M.2.5 (clause to confirm)
    Raises   Refused, ExchangeFailed, KeyNotFound
    """
    steps = plan_adjustments(seconds)
    for number, step in enumerate(steps):
        yield Progress(number, len(steps), f"adjust by {step} s")
        if number:
            yield Pause(wait)
        yield from adjust_clock(head_end, device, step, issue=issue)
    return len(steps)
