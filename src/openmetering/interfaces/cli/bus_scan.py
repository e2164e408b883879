"""What ``oms bus scan`` does and shows: a line of progress, and what was found as a table or as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from openmetering.codec.address import Address, Selection
from openmetering.interfaces.cli.octets import write_stdout
from openmetering.protocol.wired.scan import PrimaryScan, PrimarySeen
from openmetering.protocol.wired.search import Found, SearchDone, SecondarySearch, Start, Unresolvable
from openmetering.protocol.wired.search import Progress as Step
from openmetering.services.wired import WiredLine

__all__ = ["ScanView", "Slave", "scan_line"]

_WIDTH = 120  #: columns where the output is no terminal
_DIGITS = 8
_TROUBLES = {
    "duplicates": "several slaves with this one address",
    "no-answer": "takes the selection, but has no data",
    "hidden": "somebody answers whose digits are none of 0 to 9",
    "noise": "more collisions than slaves can make",
    "mute": "acknowledges, but has no data",
    "several": "answers that cannot be read: several slaves at once, or noise",
}


class Slave(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row: a slave, or a place where somebody answers that could not be read (``trouble``)."""

    baud: int
    primary: int | None = None
    address: str = ""
    medium: str = ""
    selection: str = ""
    fabrication: str = ""
    trouble: str = ""
    frame: str = ""


class Summary(msgspec.Struct, frozen=True):
    """The last line: how many requests it took."""

    requests: int
    found: int
    complete: bool


class ScanView:
    """Shows progress while it is entered, and collects rows for ``report``."""

    def __init__(self, *, jsonl: bool, console: Console | None = None) -> None:
        self.rows: list[Slave] = []
        self.requests = 0
        self.complete = True
        self._jsonl = jsonl
        errors = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):  # what was found is worth showing
            self.complete = False
            self.report()

    def begin(self, title: str) -> None:
        """A search begins."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=1.0, words="")

    def step(self, done: float, words: str) -> None:
        """How far it is, 0 to 1."""
        if self._task is not None:
            self._bar.update(self._task, completed=done, words=words)

    def add(self, row: Slave) -> None:
        """Something was found: shown at once as a JSON line, else in the table at the end."""
        self.rows.append(row)
        if self._jsonl:
            write_stdout(msgspec.json.encode(row) + b"\n")

    def end(self, done: SearchDone) -> None:
        """A search has ended."""
        self.requests += done.requests
        self.complete &= done.complete

    def report(self) -> None:
        """The table, or the summary line."""
        slaves = [row for row in self.rows if not row.trouble]
        if self._jsonl:
            write_stdout(msgspec.json.encode(Summary(self.requests, len(slaves), self.complete)) + b"\n")
            return
        if self.rows:
            console = Console()
            if not console.is_terminal:
                console = Console(width=_WIDTH)
            console.print(self.table())
        many = "1 slave" if len(slaves) == 1 else f"{len(slaves)} slaves"
        ended = "" if self.complete else "; the search was not completed"
        typer.echo(f"{many} found with {self.requests} requests{ended}")

    def table(self) -> Table:
        """All rows."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("address", "medium", "primary", "baud", "note"):
            table.add_column(name, justify="right" if name in ("primary", "baud") else "left")
        for row in self.rows:
            note = row.trouble or (f"fabrication number {row.fabrication}" if row.fabrication else "")
            primary = "" if row.primary is None else str(row.primary)
            table.add_row(row.address or row.selection, row.medium, primary, str(row.baud), note)
        return table


async def scan_line(
    line: WiredLine,
    view: ScanView,
    addresses: Sequence[int] | None,
    *,
    root: Address | None = None,
    thorough: bool = False,
    limit: int = 1_000_000,
) -> None:
    """Scan primary ``addresses``, or with None search secondary ones below ``root``. Raises TransportError."""
    baud, timing, attempts = line.master.baud, line.master.timing, line.place.attempts
    view.begin(f"{line.place.name} at {baud} bit/s")

    def tell(event: object) -> None:
        if isinstance(event, Found):
            view.add(_found(event, baud))
        elif isinstance(event, Unresolvable):
            view.add(Slave(baud, selection=_text(event.selection), trouble=_TROUBLES[event.reason]))
        elif isinstance(event, PrimarySeen):
            view.add(_seen(event, baud))
        elif isinstance(event, Step):
            share = _share(event.position) if addresses is None else _place(event.position, addresses)
            view.step(share, f"{event.requests} requests, {event.found} found, at {event.position}")
        elif isinstance(event, SearchDone):
            view.end(event)

    if addresses is None:
        search = SecondarySearch(timing, attempts=attempts, limit=limit, thorough=thorough, root=root)
        await line.run(search, Start(), tell)
    else:
        await line.run(PrimaryScan(timing, attempts=attempts, addresses=addresses), Start(), tell)


def _found(event: Found, baud: int) -> Slave:
    address = event.address or event.selection.pattern
    return Slave(
        baud,
        event.primary,
        str(address) if event.address is not None else "",
        address.medium if event.address is not None else "",
        _text(event.selection),
        event.selection.fabrication or "",
        frame=event.frame.hex().upper(),
    )


def _seen(event: PrimarySeen, baud: int) -> Slave:
    address, trouble = event.address, "" if event.kind == "slave" else _TROUBLES[event.kind]
    name, medium = ("", "") if address is None else (str(address), address.medium)
    return Slave(baud, event.primary, name, medium, trouble=trouble, frame=event.frame.hex().upper())


def _text(selection: Selection) -> str:
    """A selection with its wildcards."""
    pattern = selection.pattern
    return f"{pattern.identification}-{pattern.manufacturer:04X}-{pattern.version:02X}-{pattern.device_type:02X}"


def _share(position: str) -> float:
    """How much of the numbers lies before a branch: its digits as a decimal fraction."""
    known = "".join(digit if digit.isdecimal() else "0" for digit in position[:_DIGITS])
    return float(f"0.{known}")


def _place(position: str, addresses: Sequence[int]) -> float:
    return addresses.index(int(position)) / len(addresses)
