"""UC-06, device supervision: error flags, how they are cleared, remaining battery life.

    MM2!       02 FD 17 ..             flags of the maker
    MM3!       02 FD 97 1D ..          standard flags
    MM8!       02 FD 74 ..             days the battery still lasts
    notMM2!    02 FD 97 06 mask        clear the flags of the mask
    notMM3!    02 FD 97 9D 06 mask
    clrMM3!    00 FD 97 9D 07          clear all flags, also those of the maker

A flag whose cause lasts is set again at once: it stays, and the answer tells what remains. Issues up
to 4.4.2 call the commands XMM2!, XMM3! and XMM4!; their octets are printed nowhere [?], so the same
ones are taken, or none.
Source: OMS Volume 2 Annex M release C, M.2.7; Annex B release G B.2.4; 5.0.1 Table 17 (status octet);
Annex P P.3.1.1.4 (battery).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from openmetering.codec.apl.records import Record
from openmetering.protocol.device.function import (
    STANDARD_APPLICATIONS,
    Function,
    demand_key,
    demand_now,
    record_of,
    single,
)
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Outcome
from openmetering.protocol.device.refusals import PARAMETER_ERROR

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["POWER_LOW_DAYS", "SUPERVISION_KEY", "SupervisionFeature"]

SUPERVISION_KEY: Final = 0x24
POWER_LOW_DAYS: Final = 456  #: fifteen months: below it the status octet says "power low"

_MM2 = b"\xfd\x17"
_MM3 = b"\xfd\x97\x1d"
_MM8 = b"\xfd\x74"
_FLAGS = 0xFFFF
_POWER_LOW, _PERMANENT, _TEMPORARY = 0x04, 0x08, 0x10  # bits of the status octet
_LONGEST_LIFE = 0x7FFF


class SupervisionFeature(Function):
    """Error flags and battery. ``maker_flags`` MM2! is told as well; ``same_octets`` False: the commands are not known.

    [K] The status octet says "permanent error" while a permanent flag is set and "temporary error"
    while another one is.
    """

    __slots__ = ("_maker_flags", "_memory", "_same_octets")

    def __init__(self, memory: DeviceMemory, *, maker_flags: bool = False, same_octets: bool = True) -> None:
        self._memory = memory
        self._maker_flags = maker_flags
        self._same_octets = same_octets

    @property
    def _standard(self) -> int:
        return (self._memory.error_flags | self._memory.permanent_flags) & _FLAGS

    @property
    def _maker(self) -> int:
        return (self._memory.device_flags | self._memory.permanent_device_flags) & _FLAGS

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """notMM2!, notMM3!, clrMM3!. Source: OMS Volume 2 Annex M release C, M.2.7."""
        record = single(instruction)
        if record is None or not self._same_octets:
            return None
        header = record.header
        name = (header.vib_before_action, header.action)
        clears = _COMMANDS.get(name)
        if clears is None or (name[0] == _MM2 and not self._maker_flags):
            return None
        refusal = demand_key(instruction, SUPERVISION_KEY) or demand_now(instruction, now)
        if refusal is not None:
            return refusal
        content = _FLAGS if header.action == "clr" else record.content
        if not isinstance(content, int):
            return Outcome(error=PARAMETER_ERROR)
        if instruction.rehearse:
            return Outcome()
        for field in clears:
            setattr(self._memory, field, getattr(self._memory, field) & ~content & _FLAGS)
        remain = [self._mm2()] if name[0] == _MM2 else [self._mm3()]
        if header.action == "clr" and self._maker_flags:
            remain.append(self._mm2())
        left = self._standard | self._maker << 16
        return Outcome(
            payload=b"".join(one.octets() for one in remain),
            events=(DeviceEvent("status-cleared", f"flags {content & _FLAGS:04X}h", left),),
        )

    def _mm2(self) -> Record:
        return record_of(b"\x02", _MM2, self._maker.to_bytes(2, "little"))

    def _mm3(self) -> Record:
        return record_of(b"\x02", _MM3, self._standard.to_bytes(2, "little"))

    def records(self, application: int, now: float) -> list[Record]:
        """MM3!, MM2! and MM8! in the standard response and in each SND-NR that is not static."""
        if application not in STANDARD_APPLICATIONS:
            return []
        found = [self._mm3()]
        if self._maker_flags:
            found.append(self._mm2())
        days = self._memory.battery_days
        if days is not None:
            found.append(record_of(b"\x02", _MM8, max(0, min(days, _LONGEST_LIFE)).to_bytes(2, "little")))
        return found

    def status(self, now: float) -> int:
        """Power low, permanent error, temporary error."""
        memory = self._memory
        days = memory.battery_days
        status = _POWER_LOW if days is not None and days < POWER_LOW_DAYS else 0
        if memory.permanent_flags or memory.permanent_device_flags:
            status |= _PERMANENT
        if memory.error_flags & ~memory.permanent_flags or memory.device_flags & ~memory.permanent_device_flags:
            status |= _TEMPORARY
        return status


#: VIB and action -> fields of the memory whose bits are cleared
_COMMANDS: dict[tuple[bytes, str | None], tuple[str, ...]] = {
    (_MM2, "not"): ("device_flags",),
    (_MM3, "not"): ("error_flags",),
    (_MM3, "clr"): ("error_flags", "device_flags"),
}
