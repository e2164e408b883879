"""``oms bus``: find, read and set the slaves of a wired segment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from openmetering.codec.address import Selection
from openmetering.codec.apl.application_select import ApplicationReset
from openmetering.errors import ExchangeFailed, InputError
from openmetering.interfaces.cli.bus_scan import ScanView, scan_line
from openmetering.interfaces.cli.decode import OutputFormat, make_decoder, write_telegrams
from openmetering.interfaces.cli.outcome import Outcome
from openmetering.protocol.wired.frames import RATES
from openmetering.protocol.wired.orders import (
    AnswerReceived,
    BaudSet,
    Kind,
    Order,
    OutEvent,
    ReadoutDone,
    ReadPrimary,
    ReadSecondary,
    SetBaud,
    Target,
    Transact,
    TransactionDone,
    TransactionFailed,
)
from openmetering.services.wired import WiredLine, WiredPlace, find_place, open_line
from openmetering.telegram import Decoder
from openmetering.transport.reception import Reception, hex_octets
from openmetering.transport.wired_door import primary_addresses, secondary_selection, target_text

__all__ = ["register"]

_R = TypeVar("_R")
_BROADCAST = 255
_SET_ADDRESS = bytes.fromhex("51017A")  #: CI 51, one octet, VIF 7A: the primary address (EN 13757-3, clause to confirm)
_SELECT = 0x50

SCAN_EPILOG = """\b
Examples
  oms bus scan mbus:/dev/ttyUSB1                            all secondary addresses, with their primary ones
  oms bus scan mbus+tcp://192.0.2.8:10001 --primary         addresses 0 to 250
  oms bus scan mbus:/dev/ttyUSB1 --primary --addresses 1-20
  oms bus scan mbus:/dev/ttyUSB1 --baud 2400,300            one search at each rate
  oms bus scan mbus:/dev/ttyUSB1 --below 4FFFFFFF -f jsonl  only numbers that begin with 4
"""
READ_EPILOG = """\b
Examples
  oms bus read mbus:/dev/ttyUSB1 5                          primary address 5, all its telegrams
  oms bus read mbus:/dev/ttyUSB1 12345678 --keys keys.csv   secondary address
  oms bus read mbus:/dev/ttyUSB1 ELS-12345678-33-03 -f csv
  oms bus read mbus:/dev/ttyUSB1 1 2 3 -f jsonl
"""
REQUEST_EPILOG = """\b
Examples
  oms bus request mbus:/dev/ttyUSB1 5 REQ-UD2
  oms bus request mbus:/dev/ttyUSB1 5 SND-UD 50             application reset, and the answer
  oms bus request mbus:/dev/ttyUSB1 5 SND-UD 51017A07 --no-answer
  oms bus request mbus:/dev/ttyUSB1 12345678 REQ-UD1        is there an alarm?
  oms bus request mbus:/dev/ttyUSB1 255 SND-NKE             reset of all links, nobody answers
"""
ADDRESS_EPILOG = """\b
Examples
  oms bus set-address mbus:/dev/ttyUSB1 12345678 7
  oms bus set-address mbus:/dev/ttyUSB1 0 7                 the one slave that has no address yet
"""
BAUD_EPILOG = """\b
Examples
  oms bus set-baud mbus:/dev/ttyUSB1 5 9600
  oms bus set-baud "mbus:/dev/ttyUSB1?baud=9600" 5 2400     and back again
"""
SELECT_EPILOG = """\b
Examples
  oms bus select mbus:/dev/ttyUSB1 5 7                      application 7, all blocks
  oms bus select mbus:/dev/ttyUSB1 5 7 2                    its second block
  oms bus select mbus:/dev/ttyUSB1 5                        back to the standard response
"""

#: words for the reasons of the master
_REASONS = {
    "no-answer": "does not answer",
    "disturbed": "answers with disturbed octets (several slaves at once, or noise)",
    "not-selected": "is not on the bus (no slave took the selection)",
    "endless": "never says that it has no more telegrams",
    "rate-refused": "does not answer at the new rate, but at the old one",
    "aborted": "was given up",
}


class Request(StrEnum):
    """What is sent."""

    SND_UD = "SND-UD"
    SND_UD2 = "SND-UD2"
    REQ_UD1 = "REQ-UD1"
    REQ_UD2 = "REQ-UD2"
    SND_NKE = "SND-NKE"


class RowFormat(StrEnum):
    """What is written."""

    text = "text"
    jsonl = "jsonl"


Link = Annotated[str, typer.Argument(help="The bus: mbus:DEVICE or mbus+tcp://HOST:PORT, options behind ?.", metavar="LINK")]
SlaveText = Annotated[
    str, typer.Argument(help="Primary address 0..254, number of eight digits, or ELS-12345678-33-03.", metavar="SLAVE")
]
Enhanced = Annotated[
    str | None, typer.Option("--enhanced", help="Fabrication number for the enhanced selection, eight digits.", metavar="NUMBER")
]
Keys = Annotated[Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)]
OneKey = Annotated[str | None, typer.Option("--key", "-k", help="Key for all meters, 32 hexadecimal digits.")]
Written = Annotated[OutputFormat, typer.Option("--format", "-f", help="What is written per telegram.")]


def _slave(text: str, enhanced: str | None = None) -> Target:
    """The slave that a text names. Raises InputError."""
    if text.isdecimal() and len(text) <= 3:
        number = int(text)
        return ReadPrimary(number if number == _BROADCAST else primary_addresses(text)[0])
    selection = secondary_selection(text)
    if enhanced is not None:
        if len(enhanced) != 8 or not enhanced.isalnum():
            raise InputError("a fabrication number has eight digits, F is a wildcard")
        selection = Selection(selection.pattern, enhanced.upper())
    return ReadSecondary(selection)


def _on_line(link: str, work: Callable[[WiredLine], Awaitable[_R]]) -> _R:
    """Open the line, do the work, close it. Raises InputError, TransportError."""
    return _on_place(find_place(link), work)


def _on_place(place: WiredPlace, work: Callable[[WiredLine], Awaitable[_R]]) -> _R:
    async def run() -> _R:
        async with open_line(place) as line:
            return await work(line)

    return asyncio.run(run())


async def _ask(line: WiredLine, order: Order, tell: Callable[[OutEvent], None] = lambda event: None) -> OutEvent:
    """Carry out an order. Raises ExchangeFailed in words if it fails."""
    last = await line.order(order, tell)
    if isinstance(last, TransactionDone | BaudSet | ReadoutDone):
        return last
    reason = getattr(last, "reason", "no-answer")
    target = getattr(last, "target", None)
    name = "the slave" if target is None else target_text(target)
    delivered = last.delivered if isinstance(last, TransactionFailed) else None
    raise ExchangeFailed(f"{line.place.name}: {name} {_REASONS.get(reason, reason)}", reason=reason, delivered=delivered)


# -- commands --------------------------------------------------------------------------------------


def _scan(
    link: Link,
    primary: Annotated[bool, typer.Option("--primary", help="Ask the primary addresses one after the other.")] = False,
    secondary: Annotated[bool, typer.Option("--secondary", help="Search by secondary address (default).")] = False,
    addresses: Annotated[str, typer.Option("--addresses", help="Primary addresses to ask.", metavar="LIST")] = "0-250",
    below: Annotated[
        str | None, typer.Option("--below", help="Search only below this selection, F is a wildcard.", metavar="PATTERN")
    ] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="See through slaves that always cover others; slow.")] = False,
    baud: Annotated[str | None, typer.Option("--baud", "-b", help="Rates to search at, in bit/s.", metavar="LIST")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="End the search after this many requests.")] = 1_000_000,
    format: Annotated[RowFormat, typer.Option("--format", "-f", help="What is written.")] = RowFormat.text,
) -> None:
    """Find the slaves of a bus.

    By secondary address all slaves are found, also those that share a primary address or have none; by primary
    address it is quicker where few are used. Exit code 0 also if there are none, 1 if the bus cannot be opened.
    """
    place = find_place(link)
    rates = _rates(baud, place.baud)
    numbers = primary_addresses(addresses)
    root = None if below is None else secondary_selection(below).pattern
    view = ScanView(jsonl=format is RowFormat.jsonl)

    async def work(line: WiredLine) -> None:
        for rate in rates:
            if rate != line.master.baud:
                await line.use_baud(rate)
            if primary:
                await scan_line(line, view, numbers)
            if secondary or not primary:
                await scan_line(line, view, None, root=root, thorough=thorough, limit=limit)

    with view:
        _on_place(place, work)
    view.report()


def _rates(text: str | None, default: int) -> list[int]:
    """The rates to search at; those of the standard. Raises InputError."""
    if text is None:
        return [default]
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) in RATES for part in parts):
        raise InputError(f"--baud {text}: rates are {', '.join(map(str, RATES))}")
    return [int(part) for part in parts]


def _read(
    link: Link,
    slaves: Annotated[list[str], typer.Argument(help="Primary addresses, numbers or addresses.", metavar="SLAVE...")],
    enhanced: Enhanced = None,
    key: OneKey = None,
    keys: Keys = None,
    format: Written = OutputFormat.text,
) -> None:
    """Read slaves: all telegrams that they have, decoded.

    Exit code 0 if all could be read and decoded, 3 and 4 as of oms decode, 6 if a slave does not answer.
    """
    targets = [_slave(text, enhanced) for text in slaves]
    decoder = make_decoder(key, keys, strict=False)
    heard: list[Reception] = []
    silent: list[str] = []

    async def work(line: WiredLine) -> None:
        for target in targets:
            try:
                await _ask(line, target, lambda event: _keep(event, heard, line.place.name))
            except ExchangeFailed as failure:
                silent.append(failure.message)

    _on_line(link, work)
    _finish(decoder, heard, silent, format)


def _keep(event: OutEvent, heard: list[Reception], source: str) -> None:
    if isinstance(event, AnswerReceived):
        heard.append(Reception(event.frame, time.time(), source, mode="wired", crc=True))


def _finish(decoder: Decoder, heard: list[Reception], silent: list[str], format: OutputFormat) -> None:
    """Print telegrams and who was silent; end with the exit code that says so."""
    outcome = Outcome()
    write_telegrams(decoder, heard, format, outcome)
    for message in silent:
        typer.secho(message, err=True, fg="red")
    raise typer.Exit(6 if silent else outcome.exit_code)


def _request(
    link: Link,
    slave: SlaveText,
    request: Annotated[Request, typer.Argument(help="What is sent.", case_sensitive=False)],
    payload: Annotated[str | None, typer.Argument(help="Octets from the CI field on, hexadecimal.", metavar="[HEX]")] = None,
    enhanced: Enhanced = None,
    answer: Annotated[bool, typer.Option("--answer/--no-answer", help="SND-UD: ask for the answer as well.")] = True,
    key: OneKey = None,
    keys: Keys = None,
    format: Written = OutputFormat.text,
) -> None:
    """Send a request as it stands and show the answers.

    Selection, resets of the link, frame count bits and repetitions are looked after. Exit code as of oms bus read.
    """
    target = _slave(slave, enhanced)
    data = None if payload is None else hex_octets(payload)
    kind: Kind = request.value
    if (data is not None) != (request in (Request.SND_UD, Request.SND_UD2)):
        need = "needs octets from the CI field on" if data is None else "has no octets of its own"
        raise InputError(f"{kind} {need}")
    wanted = answer and target != ReadPrimary(_BROADCAST)
    _transact(link, Transact(target, data, kind, answer=wanted), make_decoder(key, keys, strict=False), format)


def _transact(link: str, order: Transact, decoder: Decoder, format: OutputFormat) -> None:
    """One sequence, its answers printed."""
    heard: list[Reception] = []
    silent: list[str] = []

    async def work(line: WiredLine) -> None:
        try:
            done = await _ask(line, order)
        except ExchangeFailed as failure:
            silent.append(failure.message)
            return
        frames = done.frames if isinstance(done, TransactionDone) else ()
        heard.extend(Reception(frame, time.time(), line.place.name, mode="wired", crc=True) for frame in frames)

    _on_line(link, work)
    if not heard and not silent:
        said = "sent, nobody answers to that" if order.target == ReadPrimary(_BROADCAST) else "acknowledged (E5)"
        typer.echo(said, err=format is not OutputFormat.text)
    _finish(decoder, heard, silent, format)


def _set_address(
    link: Link,
    slave: SlaveText,
    new: Annotated[int, typer.Argument(help="New primary address.", min=0, max=250)],
    enhanced: Enhanced = None,
    force: Annotated[bool, typer.Option("--force", help="Also if somebody answers at the new address already.")] = False,
) -> None:
    """Give a slave another primary address, and see whether it answers there.

    Exit code 0 if it answers at the new address, 2 if another one does already, 6 if it does not answer.
    """
    target = _slave(slave, enhanced)

    async def work(line: WiredLine) -> None:
        if not force and await _answers(line, new):
            raise InputError(f"somebody answers at primary address {new} already; --force sets it all the same")
        await _ask(line, Transact(target, _SET_ADDRESS + bytes((new,)), "SND-UD", answer=False))
        await _ask(line, Transact(ReadPrimary(new), None, "SND-NKE"))

    _guarded(lambda: _on_line(link, work))
    typer.echo(f"{target_text(target)} answers at primary address {new}")


async def _answers(line: WiredLine, primary: int) -> bool:
    """Whether anybody answers at a primary address; a disturbed answer is one."""
    last = await line.order(Transact(ReadPrimary(primary), None, "SND-NKE"))
    return not (isinstance(last, TransactionFailed) and last.reason == "no-answer")


def _set_baud(
    link: Link,
    slave: SlaveText,
    baud: Annotated[int, typer.Argument(help="New rate in bit/s: " + ", ".join(map(str, RATES)) + ".")],
    enhanced: Enhanced = None,
) -> None:
    """Let a slave talk at another rate; it is kept only if the slave answers at it.

    A converter behind TCP has its rate set elsewhere: there the slave is told, and not asked at the new rate.
    Exit code 0 if it answers at the new rate (TCP: if it acknowledges), 6 if it does not answer.
    """
    target = _slave(slave, enhanced)
    _rates(str(baud), baud)
    place = find_place(link)
    order: Order = SetBaud(target, baud)
    said = f"{target_text(target)} talks at {baud} bit/s; write ?baud={baud} behind the link from now on"
    if place.host:
        order = Transact(target, bytes((RATES[baud],)), "SND-UD", answer=False)
        said = f"{target_text(target)} took {baud} bit/s; set the converter to it, then see whether it answers"

    async def work(line: WiredLine) -> None:
        await _ask(line, order)

    _guarded(lambda: _on_place(place, work))
    typer.echo(said)


def _select(
    link: Link,
    slave: SlaveText,
    application: Annotated[int | None, typer.Argument(help="Application 0..15; none: the standard response.")] = None,
    block: Annotated[int, typer.Argument(help="Block 0..15; 0: all.")] = 0,
    enhanced: Enhanced = None,
    key: OneKey = None,
    keys: Keys = None,
    format: Written = OutputFormat.text,
) -> None:
    """Select an application of a slave, and show what it answers now.

    Exit code as of oms bus read.
    """
    chosen = ApplicationReset() if application is None else ApplicationReset.select(application, block)
    order = Transact(_slave(slave, enhanced), bytes((_SELECT,)) + chosen.encode(), "SND-UD")
    _transact(link, order, make_decoder(key, keys, strict=False), format)


def _guarded(work: Callable[[], None]) -> None:
    """An exchange that fails is a line on the error output and exit code 6."""
    try:
        work()
    except ExchangeFailed as failure:
        typer.secho(failure.message, err=True, fg="red")
        raise typer.Exit(6) from None


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    bus = typer.Typer(no_args_is_help=True, help="Find, read and set the meters of a wired bus.")
    bus.command("scan", epilog=SCAN_EPILOG, no_args_is_help=True)(_scan)
    bus.command("read", epilog=READ_EPILOG, no_args_is_help=True)(_read)
    bus.command("request", epilog=REQUEST_EPILOG, no_args_is_help=True)(_request)
    bus.command("set-address", epilog=ADDRESS_EPILOG, no_args_is_help=True)(_set_address)
    bus.command("set-baud", epilog=BAUD_EPILOG, no_args_is_help=True)(_set_baud)
    bus.command("select", epilog=SELECT_EPILOG, no_args_is_help=True)(_select)
    app.add_typer(bus, name="bus")
