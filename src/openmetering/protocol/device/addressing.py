"""Addresses of wired devices: the primary address, and the secondary address of adapters.

    XID3!      01 7A aa                        primary address, 0..250 (P-11)
    XID2!      07 79 ID(4) M(2) Ver Type       secondary address of an adapter (P-12); setID2! 07 F9 00 ..
    XID11!     0C 79 ID(4)                     its identification number alone; setID11! 0C F9 00 ..

Manufacturer and version are fixed, the device type may change; F digits and octets FF keep the old
part. An adapter that has the key of UC-20 (27h) demands it.
Source: OMS Volume 2 Annex P release C, P.2.3.1 and P.2.3.2; Annex B release G B.2.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record
from openmetering.protocol.device.adapter import ADAPTER_KEY, merged
from openmetering.protocol.device.function import Function, demand_now, single
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Outcome
from openmetering.protocol.device.refusals import INADEQUATE_SECURITY, PARAMETER_ERROR

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["LARGEST_PRIMARY", "PrimaryAddressFeature", "WiredAdapterFeature"]

LARGEST_PRIMARY: Final = 250  #: primary addresses are 0 (not configured) to 250

_PRIMARY, _IDENTIFICATION = b"\x7a", b"\x79"
_ONE_OCTET, _EIGHT_DIGITS, _ADDRESS = 1, 0x0C, 7  # data fields
_KEPT = b"\xff\xff\xff\xff"
_ACTIONS = (None, "set")


class PrimaryAddressFeature(Function):
    """The primary address. The answer to the command is unspecific."""

    __slots__ = ("_memory",)

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """XID3!. Source: OMS Volume 2 Annex P release C (P-11)."""
        record = single(instruction)
        if record is None or (record.header.vib, record.header.data_field) != (_PRIMARY, _ONE_OCTET):
            return None
        address = record.raw[0]
        if address > LARGEST_PRIMARY:
            return Outcome(error=PARAMETER_ERROR)
        if instruction.rehearse:
            return Outcome()
        self._memory.primary_address = address
        return Outcome(events=(DeviceEvent("primary-address", "", address),))


class WiredAdapterFeature(Function):
    """The secondary address of a wired adapter. ``address`` is that of the factory."""

    __slots__ = ("_address", "_memory")

    def __init__(self, memory: DeviceMemory, *, address: Address) -> None:
        self._memory = memory
        self._address = address

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """XID2! or XID11!, with or without the action "set". Source: OMS Volume 2 Annex P release C (P-12)."""
        record = single(instruction)
        if record is None or record.header.vib_before_action != _IDENTIFICATION or record.header.action not in _ACTIONS:
            return None
        wanted = _wanted(record)
        if wanted is None:
            return None
        if instruction.key_id != self._demanded():
            return Outcome(error=INADEQUATE_SECURITY)
        refusal = demand_now(instruction, now)
        if refusal is not None:
            return refusal
        old = Address.from_link(self._memory.address) if self._memory.address else self._address
        address = merged(wanted, old)
        if address is None or (address.manufacturer, address.version) != (old.manufacturer, old.version):
            return Outcome(error=PARAMETER_ERROR)
        if instruction.rehearse:
            return Outcome()
        self._memory.address = address.link_octets()
        return Outcome(events=(DeviceEvent("address", str(address)),))

    def _demanded(self) -> int | None:
        """The key that proves the command: none where the adapter has none."""
        return None if self._memory.key(ADAPTER_KEY) is None else ADAPTER_KEY


def _wanted(record: Record) -> bytes | None:
    """The address pattern of a command in transport order; None for another data field."""
    if record.header.data_field == _ADDRESS:
        return record.raw
    return record.raw + _KEPT if record.header.data_field == _EIGHT_DIGITS else None
