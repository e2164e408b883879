"""UC-06, supervision: error flags and battery life, and how to clear flags.

    get     Seq_SND-UDx [App-Reset, MBus-Data]   MM2! or MM3!, optional MM8!; the status octet is always there
    clear   ASP10 with key 24h, PID 01           notMM2! DIF FD 97 06 mask, notMM3! DIF FD 97 9D 06 mask: the bits of
                                                 the mask; clrMM3! 00 FD 97 9D 07: all, those of the manufacturer too

What is permanent, or whose cause is still there, stays set; the answer tells. Clearing a flag may change the
status octet, which cannot be cleared itself.
Source: OMS Volume 2 Annex M release C M.2.7 (clause to confirm); release A Tables M.23, M.24; Annex B B.2.4.
"""

from __future__ import annotations

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.header import encode_dib
from openmetering.codec.apl.records import Record
from openmetering.errors import DecodeError, OutOfRange
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import ask, payload, read_records
from openmetering.protocol.operator.differences import differences
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order
from openmetering.protocol.operator.secured import execute_then
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.tags import NO_DATA, find

__all__ = ["ClearedFlags", "Supervision", "clear_all_flags", "clear_flags", "read_status"]

_SUPERVISION_KEY = 0x24
_PID = 1
#: octets of a mask -> data field
_DATA_FIELD = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 8: 7}
_BATTERY_LOW, _PERMANENT, _TEMPORARY = 0x04, 0x08, 0x10


class Supervision(msgspec.Struct, frozen=True):
    """What a device says about itself.

    ``status`` octet of the transport layer; ``flags`` MM2! and ``standard_flags`` MM3! as integers, None where the
    device does not send them; ``battery`` MM8! as a record with its unit.
    """

    status: int
    flags: int | None
    standard_flags: int | None
    battery: Record | None = None

    @property
    def power_low(self) -> bool:
        """Status bit 2."""
        return bool(self.status & _BATTERY_LOW)

    @property
    def permanent_error(self) -> bool:
        """Status bit 3."""
        return bool(self.status & _PERMANENT)

    @property
    def temporary_error(self) -> bool:
        """Status bit 4."""
        return bool(self.status & _TEMPORARY)


class ClearedFlags(msgspec.Struct, frozen=True):
    """What is still set after clearing; ``proof`` as in ``Confirmation``."""

    flags: int | None
    standard_flags: int | None
    proof: str


def _number(records: tuple[Record, ...], tag: str) -> int | None:
    record = find(records, tag)
    return None if record is None else int.from_bytes(record.raw, "little")


def read_status() -> Procedure[Supervision]:
    """UC-06, get: error flags, battery life and status octet.

    Source   OMS Volume 2 Annex M release A Table M.23 (release C: number to confirm)
    Raises   Refused, ExchangeFailed; DecodeError (``answer.data``) if neither MM2! nor MM3! is there
    """
    answered = yield from ask(Command("application-reset", b""))
    records = read_records(payload(answered, "m-bus"))
    found = Supervision(answered.status, _number(records, "MM2!"), _number(records, "MM3!"), find(records, "MM8!"))
    if found.flags is None and found.standard_flags is None:
        raise DecodeError("the answer holds neither MM2! nor MM3!", layer="apl", octets=answered.payload, code="answer.data")
    return found


def _clear(head_end: HeadEnd, device: Address, apdu: bytes, meaning: str, issue: str) -> Procedure[ClearedFlags]:
    order = Order(_SUPERVISION_KEY, _PID, apdu, meaning=meaning)

    def look(confirmation: Confirmation) -> Procedure[ClearedFlags]:
        records = read_records(confirmation.apdu)
        flags, standard = _number(records, "MM2!"), _number(records, "MM3!")
        if flags is None and standard is None:  # the answer was lost, or is a bare status: read what is left
            now = yield from read_status()
            flags, standard = now.flags, now.standard_flags
        return ClearedFlags(flags, standard, confirmation.proof)

    return (yield from execute_then(head_end, device, order, look, issue=issue))


def clear_flags(
    head_end: HeadEnd, device: Address, mask: int, *, standard: bool = True, size: int = 2, issue: str = "5.0.1"
) -> Procedure[ClearedFlags]:
    """UC-06, clear bit by bit: the bits of ``mask`` in MM3! (``standard``) or MM2!, ``size`` octets long.

    Source   OMS Volume 2 Annex M release A Table M.24 (release C: number to confirm); Annex B B.2.4
    Raises   OutOfRange before anything is sent; Refused, ExchangeFailed, KeyNotFound
    """
    row = differences(issue)
    field = _DATA_FIELD.get(size)
    if field is None or not 0 < mask < 1 << 8 * size:
        raise OutOfRange(f"{mask:#x} is no mask of {size} octets", field="mask", value=mask, layer="apl")
    vib = row.clear_mm3 if standard else row.clear_mm2
    apdu = encode_dib(field) + vib + mask.to_bytes(size, "little")
    tag = "MM3!" if standard else "MM2!"
    return (yield from _clear(head_end, device, apdu, f"clear bits {mask:X}h of {tag}", issue))


def clear_all_flags(head_end: HeadEnd, device: Address, *, issue: str = "5.0.1") -> Procedure[ClearedFlags]:
    """UC-06, clear all flags that can be cleared, those of the manufacturer too.

    Source   OMS Volume 2 Annex M release A Table M.24 (release C: number to confirm); Annex B B.2.4
    Raises   Refused, ExchangeFailed, KeyNotFound
    """
    apdu = encode_dib(NO_DATA) + differences(issue).clear_all
    return (yield from _clear(head_end, device, apdu, "clear all error flags", issue))
