"""UC-20, adapter management: the address and the index of the meter behind an adapter.

    20a  setID2!   07 F9 00 ident(4) manufacturer(2) version type    F digits and FF octets keep the old part
                   delayed, so that the session ends under the old address: at most 120 s
    20b  getVM1! 00 93 0F   setEW1! 04 86 00 ..   addVM1! 0A 93 01 ..   subVM1! .. 02 ..

set, add and sub: ASP10 with key 27h, PID 01. An index out of range is refused with 15h and stays.
Source: OMS Volume 2 Annex M release C M.2.12, Table M.42; the format of the delay is inferred, see ``target_time``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.header import header_of
from openmetering.codec.apl.records import Record, make
from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import NotRepresentable, OutOfRange
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import exchange, read_records
from openmetering.protocol.operator.differences import require_use_case
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order
from openmetering.protocol.operator.secured import execute, execute_then
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.tags import action_vib, command_header, find, require

__all__ = ["LONGEST_DELAY", "IndexChange", "change_index", "read_index", "set_meter_address"]

LONGEST_DELAY: Final = 120  #: s, a device refuses more with status 23h
_ADAPTER_KEY = 0x27
_PID = 1
_EIGHT_OCTETS = 7

Change = Literal["set", "add", "sub"]


class IndexChange(msgspec.Struct, frozen=True):
    """The index as it is now; ``proof`` as in ``Confirmation``."""

    index: Record
    proof: str


def set_meter_address(
    head_end: HeadEnd, device: Address, address: Address, *, delay: int = 45, beyond_limit: bool = False, issue: str = "5.0.1"
) -> Procedure[Confirmation]:
    """UC-20a: give the meter behind an adapter another address, after ``delay`` seconds.

    ``device`` is the address it has now; wildcards in ``address`` (digits F, FFFFh, FFh) keep the old part. When the
    new address counts, ``HeadEnd.move`` takes the journal along. ``beyond_limit`` sends what must be refused.
    Source   OMS Volume 2 Annex M release C, M.2.12.2
    Raises   OutOfRange, NotRepresentable before anything is sent; Refused, ExchangeFailed, KeyNotFound
    """
    require_use_case(issue, "UC-20")
    if delay > LONGEST_DELAY and not beyond_limit:
        raise OutOfRange(f"an address changes within {LONGEST_DELAY} s", field="delay", value=delay, layer="apl")
    apdu = command_header("ID2!", "set", _EIGHT_OCTETS) + address.transport_octets()
    order = Order(_ADAPTER_KEY, _PID, apdu, target_time(delay), f"address of the meter: {address}")
    return (yield from execute(head_end, device, order, issue=issue))


def read_index(tag: str, vib: bytes, *, issue: str = "5.0.1") -> Procedure[Record]:
    """UC-20b, get: an index such as VM1!; ``vib`` the value information of the device, e.g. 13h for litres.

    Source   OMS Volume 2 Annex M release C, Table M.42
    Raises   NotRepresentable for issue 4.3.3; Refused, ExchangeFailed, DecodeError
    """
    require_use_case(issue, "UC-20")
    octets = yield from exchange(Command("m-bus", b"\x00" + action_vib(vib, "get")))
    return require(read_records(octets), tag)


def change_index(
    head_end: HeadEnd, device: Address, tag: str, header: bytes, change: Change, value: Decimal, *, issue: str = "5.0.1"
) -> Procedure[IndexChange]:
    """UC-20b, set, add or sub: ``header`` is DIB and VIB of the index, e.g. ``0A 13`` for litres in four digits.

    ``value`` is in the unit of the header (a volume in m3, an energy in Wh) and never negative. If the answer is lost
    and the key counter shows that the device took the command, the index is read; nothing is added twice.
    Source   OMS Volume 2 Annex M release C, Table M.42: 04 86 00 78 00 00 00 sets 120 kWh, 0A 93 01 67 03 adds 367 l
    Raises   OutOfRange, NotRepresentable before anything is sent; Refused (15h out of range), ExchangeFailed, DecodeError
    """
    require_use_case(issue, "UC-20")
    if value < 0:
        raise OutOfRange("an index is changed by a number that is not negative", field="value", value=str(value), layer="apl")
    if len(header) < 2 or header[0] & 0x80 or not header[0] & 0x0F:
        raise NotRepresentable("a header is a DIF with data and a VIB", field="header", value=header.hex(), layer="apl")
    dib, vib = header[:1], header[1:]
    record = make(header_of(dib, vib), value)
    apdu = dib + action_vib(vib, change) + record.octets()[len(header) :]
    order = Order(_ADAPTER_KEY, _PID, apdu, meaning=f"{change}{tag} {value}")

    def look(confirmation: Confirmation) -> Procedure[IndexChange]:
        index = find(read_records(confirmation.apdu), tag)
        if index is None:
            index = yield from read_index(tag, vib, issue=issue)
        return IndexChange(index, confirmation.proof)

    return (yield from execute_then(head_end, device, order, look, issue=issue))
