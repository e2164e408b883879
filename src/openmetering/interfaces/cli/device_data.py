"""``oms device`` for data: registration, state, data selection, due dates, ownership, adapters, conformance test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import typer

from openmetering.errors import InputError
from openmetering.interfaces.cli import device_show as show
from openmetering.interfaces.cli.device_call import Call, Report, read_address
from openmetering.protocol.operator.adapter import Change, change_index, read_index, set_meter_address
from openmetering.protocol.operator.billing import (
    read_due_dates,
    read_ownership_number,
    set_next_due_date,
    set_ownership_number,
)
from openmetering.protocol.operator.conformance import FUNCTIONS, conformance_test
from openmetering.protocol.operator.consumer import read_consumer_information
from openmetering.protocol.operator.registration import Found, decide, first_reading, read_for_registration
from openmetering.protocol.operator.selection import select_data
from openmetering.protocol.operator.supervision import clear_all_flags, clear_flags, read_status
from openmetering.services.operation import Performer
from openmetering.transport.reception import hex_octets

__all__ = ["COMMANDS"]

REGISTER_EPILOG = """\b
Examples
  oms device register ELS-12345678-33-03 --via mbus:/dev/ttyUSB1
  oms device register ELS-12345678-33-03 --via "serial:/dev/ttyUSB0?stick=im871a&mode=c" --keys keys.csv
  oms device register ELS-12345678-33-03 --button --patience 10m --via "serial:/dev/ttyUSB0?stick=im871a&mode=c"
"""
STATUS_EPILOG = """\b
Examples
  oms device status ELS-12345678-33-03 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device status ELS-12345678-33-03 --via world:house.toml --format jsonl
"""
CLEAR_EPILOG = """\b
Examples
  oms device clear-status ELS-12345678-33-03 --via mbus:/dev/ttyUSB1 --keys keys.csv            all flags
  oms device clear-status ELS-12345678-33-03 0x0004 --via mbus:/dev/ttyUSB1 --keys keys.csv     one of MM3!
  oms device clear-status ELS-12345678-33-03 0x01 --maker --size 1 --via ...                    one of MM2!
"""
SELECT_EPILOG = """\b
Examples
  oms device select ELS-12345678-33-03 0 --add DP3! --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device select ELS-12345678-33-03 7 1 --remove EW1! --via mbus:/dev/ttyUSB1 --keys keys.csv
"""
TEST_EPILOG = """\b
Examples
  oms device test ELS-12345678-33-03 --via mbus:/dev/ttyUSB1
  oms device test ELS-12345678-33-03 --secured --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device test ELS-12345678-33-03 --function 0x32 --via mbus:/dev/ttyUSB1
"""
DUE_EPILOG = """\b
Examples
  oms device due-date ELS-12345678-33-03 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device due-date ELS-12345678-33-03 2027-01-01 --via mbus:/dev/ttyUSB1 --keys keys.csv
"""
OWNER_EPILOG = """\b
Examples
  oms device ownership ELS-12345678-33-03 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device ownership ELS-12345678-33-03 123456 --via mbus:/dev/ttyUSB1 --keys keys.csv
"""
INDEX_EPILOG = """\b
Examples
  oms device index ELS-12345678-33-07 read VM1! 13 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device index ELS-12345678-33-07 add VM1! 0A13 0.367 --via mbus:/dev/ttyUSB1 --keys keys.csv    367 l
  oms device index ELS-12345678-33-02 set EW1! 0406 120000 --via mbus:/dev/ttyUSB1 --keys keys.csv   120 kWh, in Wh
"""
MOVE_EPILOG = """\b
Examples
  oms device meter-address ELS-12345678-33-07 ELS-87654321-33-07 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device meter-address ELS-12345678-33-07 FFFF-87654321-FF-FF --delay 60 --via ...                number only
"""
CONSUMER_EPILOG = """\b
Examples
  oms device consumer ELS-12345678-33-02 C3 --via mbus:/dev/ttyUSB1 --keys keys.csv
"""


class IndexAction(StrEnum):
    """What can be done with an index."""

    read = "read"
    set = "set"
    add = "add"
    sub = "sub"


_CHANGES: dict[str, Change] = {"set": "set", "add": "add", "sub": "sub"}


def _mask(text: str) -> int:
    """Raises InputError."""
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(f"{text!r} is no mask; write 0x0004") from None


def register(
    call: Call,
    button: Annotated[bool, typer.Option("--button", help="Radio: wait until somebody starts the installation by hand.")] = False,
) -> None:
    """Register a device and take its first reading (UC-01).

    On a wire it is asked; on the radio it is asked as soon as it opens a window. With --button its installation telegram
    (SND-IR) is waited for and confirmed. What it takes to reach it (profile, adapter) is given with every command.
    """
    if button:

        async def wait(performer: Performer, tell: Callable[[object], None]) -> Report:
            found = await performer.installation(call.device, tell)
            decision = decide(found, keys=call.ring if len(call.ring) else None)
            told = show.registration(first_reading(found))
            return (
                Report(told.lines, told.values)
                if decision.confirm
                else Report((decision.words,), {"reason": decision.words}, False)
            )

        call.do(wait, meaning="register")
        return
    call.run(lambda head_end: read_for_registration(Found(call.device)), show.registration, meaning="register")


def status(call: Call) -> None:
    """See what a device says about itself: status, error flags, battery (UC-06)."""
    kind = call.device.device_type
    call.run(lambda head_end: read_status(), lambda found: show.supervision(found, kind), meaning="status")


def clear_status(
    call: Call,
    mask: Annotated[str | None, typer.Argument(help="Bits to clear, e.g. 0x0004; none: all flags.", metavar="[MASK]")] = None,
    maker: Annotated[bool, typer.Option("--maker", help="The mask is one of MM2! (manufacturer), not of MM3!.")] = False,
    size: Annotated[int, typer.Option("--size", min=1, max=8, help="Octets of the mask.")] = 2,
) -> None:
    """Clear error flags (UC-06). What is permanent or still there stays."""
    kind, bits = call.device.device_type, None if mask is None else _mask(mask)
    call.run(
        lambda head_end: (
            clear_all_flags(head_end, call.device, issue=call.issue)
            if bits is None
            else clear_flags(head_end, call.device, bits, standard=not maker, size=size, issue=call.issue)
        ),
        lambda found: show.cleared(found, kind),
        meaning="clear-status",
    )


def select(
    call: Call,
    application: Annotated[int, typer.Argument(help="Message application, 0 to 15.", min=0)],
    block: Annotated[int, typer.Argument(help="Block, 0 to 15.", min=0, max=15)] = 0,
    add: Annotated[list[str] | None, typer.Option("--add", help="Tag to add, e.g. DP3!.", metavar="TAG")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Tag to take out.", metavar="TAG")] = None,
    raw: Annotated[str | None, typer.Option("--raw", help="Coding of an application above 15.", metavar="HEX")] = None,
) -> None:
    """Choose which data points a message application holds (UC-14)."""
    code = None if raw is None else hex_octets(raw)
    call.run(
        lambda head_end: select_data(
            head_end, call.device, application, block, add=add or (), remove=remove or (), raw=code, issue=call.issue
        ),
        show.selected,
        meaning=f"select {application} {block}",
    )


def conformance(
    call: Call,
    secured: Annotated[bool, typer.Option("--secured", help="Under key 1F; a device may demand that.")] = False,
    function: Annotated[
        list[str] | None, typer.Option("--function", help="Only this one, 0x30 to 0x34.", metavar="NUMBER")
    ] = None,
) -> None:
    """Conformance test: does the device answer as Annex M demands (UC-00)?

    Exit code 5 if it does not.
    """
    wanted = FUNCTIONS if not function else tuple(_mask(one) for one in function)
    call.run(
        lambda head_end: conformance_test(
            head_end if secured else None, call.device if secured else None, functions=wanted, issue=call.issue
        ),
        show.conformance,
        meaning="test",
    )


def due_date(
    call: Call,
    date: Annotated[str | None, typer.Argument(help="Next due date, 2027-01-01; none: read.", metavar="[DATE]")] = None,
) -> None:
    """Read the due dates, or set the next one (UC-12a)."""
    if date is None:
        call.run(lambda head_end: read_due_dates(issue=call.issue), show.due_dates, meaning="due-date")
        return
    try:
        wanted = dt.date.fromisoformat(date)
    except ValueError:
        raise InputError(f"{date!r} is no date; write 2027-01-01") from None
    call.run(
        lambda head_end: set_next_due_date(head_end, call.device, wanted, today=dt.date.today(), issue=call.issue),
        lambda found: show.done(f"next due date {found.isoformat()}"),
        meaning=f"due-date {date}",
    )


def ownership(
    call: Call,
    digits: Annotated[str | None, typer.Argument(help="2, 4, 6, 8 or 12 digits; none: read.", metavar="[NUMBER]")] = None,
) -> None:
    """Read or set the ownership number (UC-12b)."""
    call.run(
        lambda head_end: (
            read_ownership_number(issue=call.issue)
            if digits is None
            else set_ownership_number(head_end, call.device, digits, issue=call.issue)
        ),
        show.number,
        meaning="ownership",
    )


def index(
    call: Call,
    action: Annotated[IndexAction, typer.Argument(help="What to do.")],
    tag: Annotated[str, typer.Argument(help="Tag of the index: VM1!, EW1!.", metavar="TAG")],
    header: Annotated[str, typer.Argument(help="read: VIB of the index; else DIB and VIB, hexadecimal.", metavar="HEADER")],
    value: Annotated[str | None, typer.Argument(help="In the unit of the header: m3, Wh.", metavar="[VALUE]")] = None,
) -> None:
    """Read or change the index of the meter behind an adapter (UC-20b)."""
    octets = hex_octets(header)
    if action is IndexAction.read:
        call.run(lambda head_end: read_index(tag, octets, issue=call.issue), show.index, meaning=f"index read {tag}")
        return
    try:
        number = Decimal(value or "")
    except InvalidOperation:
        raise InputError(f"which value? {value!r} is no number") from None
    change = _CHANGES[action.value]
    call.run(
        lambda head_end: change_index(head_end, call.device, tag, octets, change, number, issue=call.issue),
        show.index_change,
        meaning=f"index {action.value} {tag} {number}",
        danger=f"{call.device}: {action.value} {number} to the index {tag} of the meter.",
    )


def meter_address(
    call: Call,
    new: Annotated[str, typer.Argument(help="New address; digits F, FFFF, FF and FF keep the old part.", metavar="NEW")],
    delay: Annotated[int, typer.Option("--delay", min=0, max=120, help="Seconds until it counts.")] = 45,
) -> None:
    """Give the meter behind an adapter another address (UC-20a)."""
    wanted = read_address(new)
    call.run(
        lambda head_end: set_meter_address(head_end, call.device, wanted, delay=delay, issue=call.issue),
        lambda found: show.confirmed(found, "executed"),
        meaning=f"meter-address {new}",
        danger=f"{call.device}: the meter will have the address {wanted}.",
    )


def consumer(
    call: Call,
    raw: Annotated[str, typer.Argument(help="Coding of message application 18, hexadecimal (it is not public).", metavar="HEX")],
) -> None:
    """Read what a consumer display would show (UC-07)."""
    octets = hex_octets(raw)
    call.run(lambda head_end: read_consumer_information(octets, issue=call.issue), show.records, meaning="consumer")


COMMANDS = (
    ("register", register, REGISTER_EPILOG),
    ("status", status, STATUS_EPILOG),
    ("clear-status", clear_status, CLEAR_EPILOG),
    ("select", select, SELECT_EPILOG),
    ("test", conformance, TEST_EPILOG),
    ("due-date", due_date, DUE_EPILOG),
    ("ownership", ownership, OWNER_EPILOG),
    ("index", index, INDEX_EPILOG),
    ("meter-address", meter_address, MOVE_EPILOG),
    ("consumer", consumer, CONSUMER_EPILOG),
)
