"""``oms listen``: collect telegrams from any source into a store."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from openmetering.errors import InputError
from openmetering.interfaces.cli.live import JsonLines, LiveTable, TextLines, View
from openmetering.security import CounterLedger, KeyRing, parse_key
from openmetering.services.listen import Listener, Totals
from openmetering.storage import Store
from openmetering.telegram import Decoder
from openmetering.transport.lines import FORMATS
from openmetering.transport.source_address import duration
from openmetering.transport.sources import open_source

__all__ = ["DEFAULT_STORE", "ListenFormat", "load_ring", "register", "summary"]

DEFAULT_STORE = "openmetering.db"

EPILOG = """\b
Examples
  rtl_wmbus < samples.cu8 | oms listen -            lines of any receiver on standard input
  oms listen telegrams.log                          a file; a second run goes on where the first ended
  oms listen "file:wmbus.log?follow=yes"            a file that grows
  oms listen /dev/ttyUSB0                           a radio stick, found out by itself
  oms listen "serial:/dev/ttyUSB0?stick=im871a&mode=ct" --keys keys.csv
  oms listen "tcp://192.0.2.7:10001?format=rtl-wmbus" udp://:9000
  oms listen "mbus:/dev/ttyUSB1?baud=2400&address=1-5&every=15m"
  oms listen "mbus+tcp://192.0.2.8:10001?secondary=12345678"

\b
Sources
  -  file:PATH  tcp://HOST:PORT  tcp-listen://:PORT  udp://:PORT  serial:DEVICE  mbus:DEVICE  mbus+tcp://HOST:PORT
  options behind ?: format, follow, from, reconnect, stick (im871a, amb8465, cul, rc1180, iu891a, rtlwmbus, rawtty), mode,
  baud, address, secondary, every, attempts, latency
"""


class ListenFormat(StrEnum):
    """What is written per telegram."""

    text = "text"
    jsonl = "jsonl"


def load_ring(keys: Path | None, key: str | None = None) -> KeyRing:
    """The keys of a file and one for every meter. Raises InputError."""
    ring = KeyRing()
    if keys is not None:
        from openmetering.interfaces.cli.keyfiles import load_keyring

        ring = load_keyring(keys)
    if key is not None:
        ring.add("*", parse_key(key), key_id=None)
    return ring


def summary(totals: Totals, store: str) -> str:
    """What was done, and what to try next."""
    lines = [f"{totals.frames} telegrams stored in {store} ({totals.duplicates} more copies merged), {totals.readings} readings"]
    if totals.caught_up:
        lines.append(f"{totals.caught_up} telegrams of an earlier run were decoded first")
    if totals.bad_lines:
        lines.append("1 line was no telegram" if totals.bad_lines == 1 else f"{totals.bad_lines} lines were no telegrams")
    lines += [f"  {count} x {code}" for code, count in sorted(totals.errors.items(), key=lambda item: -item[1])]
    if any(code.startswith("key.") for code in totals.errors):
        lines.append(f"keys are missing or wrong: oms redecode --store {store} --keys FILE opens the past once they are there")
    if totals.readings:
        lines.append(f"oms readings --store {store} --latest shows the values")
    return "\n".join(lines)


async def _listen(listener: Listener, view: View, seconds: float | None) -> Totals:
    view.open()
    try:
        return await listener.run_until_signal(seconds)
    finally:
        view.close(listener.totals)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG, no_args_is_help=True)
    def listen(
        sources: Annotated[list[str], typer.Argument(help="Where telegrams come from, see below.", metavar="SOURCE...")],
        store: Annotated[str, typer.Option("--store", "-s", help="Database: a file or sqlite:///file.db.")] = DEFAULT_STORE,
        keys: Annotated[
            Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)
        ] = None,
        key: Annotated[str | None, typer.Option("--key", "-k", help="Key for all meters, 32 hexadecimal digits.")] = None,
        format: Annotated[ListenFormat, typer.Option("--format", "-f", help="What is written per telegram.")] = ListenFormat.text,
        input: Annotated[str, typer.Option("--input", "-i", help="Format of the lines: " + ", ".join(FORMATS) + ".")] = "auto",
        live: Annotated[
            bool | None, typer.Option("--live/--no-live", help="A table that changes in place; default on a terminal.")
        ] = None,
        for_: Annotated[str | None, typer.Option("--for", help="End after this time: 90, 15m, 1h30m.", metavar="TIME")] = None,
        refuse_replays: Annotated[
            bool, typer.Option("--refuse-replays", help="Refuse telegrams whose message counter does not advance (live sources).")
        ] = False,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell skipped octets of sticks as well.")] = False,
    ) -> None:
        """Collect telegrams from sticks, files, networks and wired buses into a store.

        Every frame is stored raw before it is decoded; a telegram that is shown is on the disk. What
        cannot be decoded stays stored: oms redecode opens it when the key is there. Ends with its
        sources, or with Ctrl-C; exit code 0 then, 1 if no source could be opened, 2 for wrong usage.
        """
        if input not in FORMATS:
            raise InputError(f"{input!r} is no input format; choose one of {', '.join(FORMATS)}", code="input.format")
        seconds = None if for_ is None else duration(for_)
        doors = [open_source(source, input) for source in sources]
        ring = load_ring(keys, key)
        with Store.open(store) as opened:
            ledger = CounterLedger.restore(opened.counters()) if refuse_replays else None
            decoder = Decoder(ring, formats=opened.formats(), counters=ledger)
            view = _view(format, live, ", ".join(door.name for door in doors), verbose)

            async def run() -> Totals:
                listener = Listener(
                    opened,
                    decoder,
                    doors,
                    on_heard=view.heard,
                    on_notice=view.notice,
                    on_bad_line=view.bad_line,
                    ledger=ledger,
                )
                return await _listen(listener, view, seconds)

            totals = asyncio.run(run())
        typer.echo(summary(totals, store), err=format is ListenFormat.jsonl)


def _view(kind: ListenFormat, live: bool | None, title: str, verbose: bool) -> View:
    if kind is ListenFormat.jsonl:
        return JsonLines(verbose)
    if live or (live is None and sys.stdout.isatty()):
        return LiveTable(title)
    return TextLines(verbose)
