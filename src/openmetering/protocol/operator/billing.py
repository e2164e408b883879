"""UC-12, application management: due dates and the ownership number.

    12a  get last due date      40 EC 0F               DT2!D  42 6C dd dd
         get next due date      40 EC FE 0F            DT2!N  42 EC 7E dd dd
         set next due date      42 EC FE 00 dd dd      ASP10 with key 26h
    12b  get ownership number   00 FD 91 0F            ID4!   0B FD 11 56 34 12
         set ownership number   0B FD 91 00 56 34 12   ASP10 with key 26h

Source: OMS Volume 2 Annex M release C M.2.10 (clause to confirm); get commands from the rule of Annex B B.1.4.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record
from openmetering.errors import DecodeError, OutOfRange
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import exchange, read_records
from openmetering.protocol.operator.differences import require_use_case
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order
from openmetering.protocol.operator.secured import execute_then
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.tags import command_header, find, require
from openmetering.wire.types import MeterTime, bcd_digits, encode_bcd, encode_date

__all__ = ["DueDates", "read_due_dates", "read_ownership_number", "set_next_due_date", "set_ownership_number"]

_MANAGEMENT_KEY = 0x26
_PID = 1
_TYPE_G = 2
#: BCD digits -> data field
_BCD_FIELD = {2: 0x09, 4: 0x0A, 6: 0x0B, 8: 0x0C, 12: 0x0E}


class DueDates(msgspec.Struct, frozen=True):
    """Last and next due date; None where the device has none."""

    last: dt.date | None
    next: dt.date | None


def _date(record: Record) -> dt.date | None:
    value = record.value
    return value.date() if isinstance(value, MeterTime) else None


def _read(tag: str, issue: str) -> Procedure[Record]:
    require_use_case(issue, "UC-12")
    octets = yield from exchange(Command("m-bus", command_header(tag, "get")))
    return require(read_records(octets), tag)


def _set(head_end: HeadEnd, device: Address, order: Order, tag: str, issue: str) -> Procedure[Record]:
    """What the device has after a command: from its answer, else read."""

    def look(confirmation: Confirmation) -> Procedure[Record]:
        record = find(read_records(confirmation.apdu), tag)
        if record is None:
            record = yield from _read(tag, issue)
        return record

    return (yield from execute_then(head_end, device, order, look, issue=issue))


def read_due_dates(*, issue: str = "5.0.1") -> Procedure[DueDates]:
    """UC-12a, get: last due date, then next due date.

    Source   OMS Volume 2 Annex M release C M.2.10 (clause to confirm)
    Raises   NotRepresentable for issue 4.3.3; Refused, ExchangeFailed, DecodeError
    """
    last = yield from _read("DT2!D", issue)
    following = yield from _read("DT2!N", issue)
    return DueDates(_date(last), _date(following))


def set_next_due_date(
    head_end: HeadEnd, device: Address, date: dt.date, *, today: dt.date, issue: str = "5.0.1"
) -> Procedure[dt.date]:
    """UC-12a, set: the next due date, a valid date after ``today`` without wildcards. Returns what the device has now.

    Source   OMS Volume 2 Annex M release C M.2.10 (clause to confirm)
    Raises   OutOfRange, NotRepresentable before anything is sent; Refused, ExchangeFailed, KeyNotFound, DecodeError
    """
    require_use_case(issue, "UC-12")
    if date <= today:
        raise OutOfRange(f"the next due date lies in the future, got {date}", field="date", value=date.isoformat(), layer="apl")
    moment = MeterTime("G", date.year, date.month, date.day)
    apdu = command_header("DT2!N", "set", _TYPE_G) + encode_date(moment)
    order = Order(_MANAGEMENT_KEY, _PID, apdu, meaning=f"next due date {date}")
    record = yield from _set(head_end, device, order, "DT2!N", issue)
    found = _date(record)
    if found is None:
        raise DecodeError("the device answers with an invalid date", layer="apl", octets=record.raw, code="answer.data")
    return found


def read_ownership_number(*, issue: str = "5.0.1") -> Procedure[str]:
    """UC-12b, get: the digits of the ownership number.

    Source   OMS Volume 2 Annex M release C M.2.10 (clause to confirm)
    Raises   NotRepresentable for issue 4.3.3; Refused, ExchangeFailed, DecodeError
    """
    record = yield from _read("ID4!", issue)
    return _digits(record)


def _digits(record: Record) -> str:
    value = record.value
    if isinstance(value, str) or record.header.kind != "bcd":
        return str(value)
    return bcd_digits(record.raw)


def set_ownership_number(head_end: HeadEnd, device: Address, digits: str, *, issue: str = "5.0.1") -> Procedure[str]:
    """UC-12b, set: 2, 4, 6, 8 or 12 decimal digits. Returns what the device has now.

    Source   OMS Volume 2 Annex M release C M.2.10 (clause to confirm)
    Raises   OutOfRange, NotRepresentable before anything is sent; Refused, ExchangeFailed, KeyNotFound, DecodeError
    """
    require_use_case(issue, "UC-12")
    field = _BCD_FIELD.get(len(digits))
    if field is None or not (digits.isascii() and digits.isdecimal()):
        raise OutOfRange("an ownership number has 2, 4, 6, 8 or 12 digits", field="digits", value=digits, layer="apl")
    apdu = command_header("ID4!", "set", field) + encode_bcd(int(digits), len(digits) // 2)
    order = Order(_MANAGEMENT_KEY, _PID, apdu, meaning=f"ownership number {digits}")
    record = yield from _set(head_end, device, order, "ID4!", issue)
    return _digits(record)
