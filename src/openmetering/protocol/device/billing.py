"""UC-12, application management: the due date (a) and the ownership number (b).

    getDT2!D   40 EC 0F              DT2!D   42 6C date
    getDT2!N   40 EC FE 0F           DT2!N   42 EC 7E date
    setDT2!N   42 EC FE 00 date      DT2!N, key 26h: a date of the calendar that is still to come
    getID4!    00 FD 91 0F           ID4!    0B FD 11 number
    setID4!    0B FD 91 00 number    ID4!, key 26h

Dates are type G. When the next due date has come it is the last one, and the next is a year later.
Source: OMS Volume 2 Annex M release C, M.2.10 (UC-12); Annex B release G B.1.4 and B.2.4 (get commands by rule).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from openmetering.codec.apl.header import header_of
from openmetering.codec.apl.records import Record, make
from openmetering.errors import EncodeError
from openmetering.protocol.device.function import Function, demand_key, demand_now, record_of, single
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Notice, Outcome
from openmetering.protocol.device.refusals import DATA_ERROR, PARAMETER_ERROR
from openmetering.wire.types import EVERY, MeterTime, decode_date, encode_date

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["MANAGEMENT_KEY", "BillingFeature"]

MANAGEMENT_KEY: Final = 0x26

_DATE, _NEXT, _OWNER = b"\x6c", b"\xec\x7e", b"\xfd\x11"
_DUE_DIB = b"\x42"  # storage 1, two octets
_DUE_STORAGE = 1
_DIGITS: tuple[tuple[int, bytes], ...] = ((6, b"\x0b"), (8, b"\x0c"), (12, b"\x0e"))  # BCD of 6, 8, 12 digits

_STEPS = 5  # each step leaves a 600th of the error that a running adjustment makes

Clock = Callable[[float], dt.datetime]


class BillingFeature(Function):
    """Due date and ownership number. ``clock`` gives what the clock of the device shows at a time."""

    __slots__ = ("_clock", "_due", "_known", "_memory")

    def __init__(self, memory: DeviceMemory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._due: float | None = None
        self._known: tuple[bytes, float, float | None] = (b"", 0.0, None)

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """One of the five commands."""
        record = single(instruction)
        if record is None:
            return None
        header = record.header
        command = _COMMANDS.get((header.storage, header.vib_before_action, header.action))
        return None if command is None else command(self, record, instruction, now)

    # -- due date -------------------------------------------------------------------------------------

    def _get_last(self, record: Record, instruction: Instruction, now: float) -> Outcome:
        return _told(self._memory.due_date_last, _DATE)

    def _get_next(self, record: Record, instruction: Instruction, now: float) -> Outcome:
        return _told(self._memory.due_date_next, _NEXT)

    def _set_next(self, record: Record, instruction: Instruction, now: float) -> Outcome:
        refusal = demand_key(instruction, MANAGEMENT_KEY) or demand_now(instruction, now)
        if refusal is not None:
            return refusal
        wanted = record.content
        date = wanted.date() if isinstance(wanted, MeterTime) and _certain(wanted) else None
        if date is None or len(record.raw) != 2 or date <= self._clock(now).date():
            return Outcome(error=PARAMETER_ERROR)
        if instruction.rehearse:
            return Outcome()
        self._memory.due_date_next = record.raw
        event = DeviceEvent("due-date", date.isoformat(), date.toordinal())
        return Outcome(payload=record_of(_DUE_DIB, _NEXT, record.raw).octets(), events=(event,))

    @property
    def deadline(self) -> float | None:
        """When the day of the next due date begins, in seconds; None without one."""
        memory = self._memory
        state = (memory.due_date_next, memory.clock_offset, memory.clock_adjusted_until)
        if state != self._known:
            self._known = state
            self._due = self._begin()
        return self._due

    def _begin(self) -> float | None:
        """Seconds at which the clock shows midnight of the due date, found in steps: the clock may drift meanwhile."""
        date = _date_of(self._memory.due_date_next)
        if date is None:
            return None
        midnight, at = dt.datetime.combine(date, dt.time()), 0.0
        for _ in range(_STEPS):
            at += (midnight - self._clock(at)).total_seconds()
        return at

    def timeout(self, now: float) -> list[Notice]:
        """The due date has come."""
        due, memory = self.deadline, self._memory
        date = _date_of(memory.due_date_next)
        if due is None or date is None or now < due:
            return []
        memory.due_date_last = memory.due_date_next
        memory.due_date_next = _a_year_later(date)
        return [Notice(Outcome(events=(DeviceEvent("due-date", f"{date.isoformat()} has come", date.toordinal()),)))]

    # -- ownership number -------------------------------------------------------------------------------

    def _get_owner(self, record: Record, instruction: Instruction, now: float) -> Outcome:
        number = self._memory.ownership
        return Outcome(payload=_ownership(number)) if number else Outcome(error=DATA_ERROR)

    def _set_owner(self, record: Record, instruction: Instruction, now: float) -> Outcome:
        refusal = demand_key(instruction, MANAGEMENT_KEY) or demand_now(instruction, now)
        if refusal is not None:
            return refusal
        number = _number(record)
        if number is None:
            return Outcome(error=PARAMETER_ERROR)
        if instruction.rehearse:
            return Outcome()
        self._memory.ownership = number
        return Outcome(payload=_ownership(number), events=(DeviceEvent("ownership", number),))


def _date_of(octets: bytes) -> dt.date | None:
    moment = decode_date(octets)
    return None if moment is None else moment.date()


def _told(date: bytes, vib: bytes) -> Outcome:
    return Outcome(payload=record_of(_DUE_DIB, vib, date).octets()) if date else Outcome(error=DATA_ERROR)


def _certain(moment: MeterTime) -> bool:
    return EVERY not in (moment.year, moment.month, moment.day)


def _a_year_later(date: dt.date) -> bytes:
    """Type G of the same day a year later; 29 February becomes 28. Empty where type G ends."""
    day = 28 if (date.month, date.day) == (2, 29) else date.day
    try:
        return encode_date(MeterTime("G", date.year + 1, date.month, day))
    except EncodeError:
        return b""


def _number(record: Record) -> str | None:
    """The ownership number of a record: digits of BCD and binary numbers, text of variable length."""
    content = record.content
    if isinstance(content, str):
        return content or None
    return str(content) if isinstance(content, int) and content >= 0 else None


def _ownership(number: str) -> bytes:
    """ID4!: BCD where the number has digits only, else text."""
    dib = next((dib for digits, dib in _DIGITS if len(number) <= digits), None) if number.isdecimal() else None
    if dib is None:
        return make(header_of(b"\x0d", _OWNER), number).octets()
    return make(header_of(dib, _OWNER), int(number)).octets()


_Command = Callable[[BillingFeature, Record, Instruction, float], Outcome]
#: storage number, VIB, action -> command
_COMMANDS: dict[tuple[int, bytes, str | None], _Command] = {
    (_DUE_STORAGE, _DATE, "get"): BillingFeature._get_last,
    (_DUE_STORAGE, _NEXT, "get"): BillingFeature._get_next,
    (_DUE_STORAGE, _NEXT, "set"): BillingFeature._set_next,
    (0, _OWNER, "get"): BillingFeature._get_owner,
    (0, _OWNER, "set"): BillingFeature._set_owner,
}
