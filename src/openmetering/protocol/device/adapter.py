"""UC-20, adapter management: the address of the meter behind an adapter (a), its index (b).

    setID2!    07 F9 00 ID(4) M(2) Ver Type    key 27h; digits F and octets FF keep the old part
    getVM1!    00 93 0F                        plain
    setEW1!    04 86 00 78 00 00 00            key 27h, 120 kWh
    addVM1!    0A 93 01 67 03                  key 27h, 367 l;  subVM1! the same with action 02

A new address becomes active after the session: at the target time, which may be 120 s away at most
(status 23h), never before the session of the command is over. A command with a delay is answered
with status 01h, one without with ID2!. An index is never negative; a result that does not fit
is refused (15h) and changes nothing.
Source: OMS Volume 2 Annex M release C, M.2.12; Annex B release G B.2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from openmetering.codec.address import Address
from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record, make
from openmetering.codec.apl.values import unscaled
from openmetering.errors import EncodeError
from openmetering.protocol.device.function import (
    STANDARD_APPLICATIONS,
    Function,
    Pending,
    demand_key,
    demand_now,
    record_of,
    same_place,
    single,
)
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Notice, Outcome
from openmetering.protocol.device.refusals import PARAMETER_ERROR, STATUS_SCHEDULED, STATUS_TARGET_TIME

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["ADAPTER_KEY", "LONGEST_DELAY", "SESSION_END", "AdapterFeature", "merged"]

ADAPTER_KEY: Final = 0x27
LONGEST_DELAY: Final = 120.0  #: seconds a target time may be away
SESSION_END: Final = 30.0  #: seconds after which a session without a word is over (typical t_TO)

_IDENTIFICATION = b"\x79"
_ADDRESS_DIB = b"\x07"
_ADDRESS_FIELD = 7
_ALL = b"\xff"
_MARK = b"A"


def merged(wanted: bytes, old: Address) -> Address | None:
    """The address of a command; F digits of the number and fields of FF keep what was there. None if it is none.

    Octets   0..3 identification number, 4..5 manufacturer, 6 version, 7 device type (transport order)
    Source   OMS Volume 2 Annex M release C, M.2.12.2
    """
    before = old.transport_octets()
    number = "".join(
        kept if digit == "F" else digit
        for digit, kept in zip(wanted[3::-1].hex().upper(), before[3::-1].hex().upper(), strict=True)
    )
    if not number.isdecimal():
        return None
    parts = [before[at:end] if wanted[at:end] == _ALL * (end - at) else wanted[at:end] for at, end in ((4, 6), (6, 7), (7, 8))]
    return Address.from_transport(bytes.fromhex(number)[::-1] + b"".join(parts))


class AdapterFeature(Function):
    """Settings of an adapter. ``address`` is that of the factory; ``indexes`` names each index by its tag and gives its header.

    ``indexes`` in the memory are integers in the resolution of these headers; the adapter counts there.
    """

    __slots__ = ("_address", "_indexes", "_memory", "_pending")

    def __init__(self, memory: DeviceMemory, *, address: Address, indexes: Mapping[str, RecordHeader]) -> None:
        self._memory = memory
        self._address = address
        self._indexes = dict(indexes)
        self._pending = Pending(memory, _MARK)
        for tag in self._indexes:
            memory.indexes.setdefault(tag, 0)

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """setID2! or a command to an index."""
        record = single(instruction)
        if record is None:
            return None
        header = record.header
        if (header.vib_before_action, header.action, header.data_field) == (_IDENTIFICATION, "set", _ADDRESS_FIELD):
            return self._set_address(record, instruction, now)
        action = _ACTIONS.get(header.action or "")
        tag = self._tag(header) if action is not None else None
        if action is None or tag is None:
            return None
        return self._get(tag) if header.action == "get" else self._put(tag, action, record, instruction, now)

    # -- address --------------------------------------------------------------------------------------

    def _set_address(self, record: Record, instruction: Instruction, now: float) -> Outcome:
        refusal = demand_key(instruction, ADAPTER_KEY)
        if refusal is not None:
            return refusal
        if instruction.at > now + LONGEST_DELAY:
            return Outcome(status=STATUS_TARGET_TIME)
        old = Address.from_link(self._memory.address) if self._memory.address else self._address
        address = merged(record.raw, old)
        if address is None:
            return Outcome(error=PARAMETER_ERROR)
        if not instruction.rehearse:
            self._pending.put(max(instruction.at, now + SESSION_END), address.link_octets())
        if instruction.at > now:
            return Outcome(status=STATUS_SCHEDULED)
        return Outcome(payload=record_of(_ADDRESS_DIB, _IDENTIFICATION, address.transport_octets()).octets())

    @property
    def deadline(self) -> float | None:
        """When a new address becomes active."""
        return self._pending.deadline

    def timeout(self, now: float) -> list[Notice]:
        """A new address becomes active."""
        octets = self._pending.take(now)
        if octets is None:
            return []
        self._memory.address = octets
        return [Notice(Outcome(events=(DeviceEvent("address", str(Address.from_link(octets))),)))]

    # -- index ----------------------------------------------------------------------------------------

    def _tag(self, wanted: RecordHeader) -> str | None:
        """The index that a command means: the same quantity in the same unit, whatever the scale."""
        for tag, header in self._indexes.items():
            alike = (header.quantity, header.unit, header.qualifiers) == (wanted.quantity, wanted.unit, wanted.qualifiers)
            if alike and same_place(header, wanted):
                return tag
        return None

    def _record(self, tag: str) -> Record:
        header = self._indexes[tag]
        return make(header, Decimal(self._memory.indexes[tag]).scaleb(header.exponent))

    def _get(self, tag: str) -> Outcome:
        return Outcome(payload=self._record(tag).octets())

    def _put(self, tag: str, action: Callable[[int, int], int], record: Record, instruction: Instruction, now: float) -> Outcome:
        refusal = demand_key(instruction, ADAPTER_KEY) or demand_now(instruction, now)
        if refusal is not None:
            return refusal
        number = self._number(tag, record)
        if number is None or number < 0:
            return Outcome(error=PARAMETER_ERROR)
        result = action(self._memory.indexes[tag], number)
        if result < 0 or not self._fits(tag, result):
            return Outcome(error=PARAMETER_ERROR)
        if instruction.rehearse:
            return Outcome()
        self._memory.indexes[tag] = result
        return Outcome(payload=self._record(tag).octets(), events=(DeviceEvent("index", tag, result),))

    def _number(self, tag: str, record: Record) -> int | None:
        """The value of a command in the resolution of the index; None if there is none or it is finer than that."""
        value = record.value
        if not isinstance(value, Decimal):
            return None
        try:
            number = unscaled(self._indexes[tag], value)
        except EncodeError:
            return None
        return number if isinstance(number, int) else None

    def _fits(self, tag: str, number: int) -> bool:
        header = self._indexes[tag]
        try:
            make(header, Decimal(number).scaleb(header.exponent))
        except EncodeError:
            return False
        return True

    def records(self, application: int, now: float) -> list[Record]:
        """Every index in the standard response and in each SND-NR that is not static."""
        return [self._record(tag) for tag in self._indexes] if application in STANDARD_APPLICATIONS else []


def _set(old: int, number: int) -> int:
    return number


def _add(old: int, number: int) -> int:
    return old + number


def _subtract(old: int, number: int) -> int:
    return old - number


#: action -> new index; get changes nothing
_ACTIONS: dict[str, Callable[[int, int], int]] = {"get": _set, "set": _set, "add": _add, "sub": _subtract}
