"""``oms demo``: the bundled building streams through the pipeline of ``oms listen`` into a store."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.interfaces.cli.listen import load_ring
from openmetering.interfaces.cli.live import LiveTable, View
from openmetering.interfaces.demo.plan import Building, read_building
from openmetering.interfaces.demo.replay import Replay, bundled
from openmetering.security import CounterLedger, KeyRing
from openmetering.services.listen import Heard, Listener, Totals
from openmetering.storage import ReadingFilter, RedecodeReport, Store
from openmetering.storage.migrations import APPLICATION_ID, database_path
from openmetering.storage.reading_rows import device_address
from openmetering.tables import FAULTS, status_flags
from openmetering.telegram import Decoder, Telegram
from openmetering.transport.reception import BadLine, Notice

__all__ = ["DEFAULT_STORE", "choose_store", "register"]

DEFAULT_STORE = "openmetering-demo.db"
_SECONDS = 24.0  #: what the day takes on a terminal
_STEP = 2 * 3600  #: recorded seconds between two lines of progress
_LEAKING = "EXW-41000004-0A-16"  #: the meter that is worth a closer look
_NAMES_SHOWN = 3
_HEAD = 72  #: octets of a database file up to its application id

EPILOG = """\b
Examples
  oms demo                          a day in 24 seconds, with a live table
  oms demo --seconds 60             slower
  oms demo --speed max --no-live    as fast as it goes, a line every two hours
  oms demo --store day.db --force   into this file, again
"""


# -- where to ------------------------------------------------------------------------------------


def choose_store(wanted: str | None, force: bool) -> tuple[Path, str | None]:
    """The file to write, and what to say about it. An existing file is kept unless ``force`` is set.

    Raises InputError (``storage.open``)
    """
    folder = Path() if os.access(Path(), os.W_OK) else Path(tempfile.gettempdir())
    path = folder / DEFAULT_STORE if wanted is None else Path(database_path(wanted))
    if force:
        _remove(path)
        return path, None
    if not path.exists():
        return path, None
    if wanted is not None:
        raise InputError(f"{path} exists and is kept; name another file or write over it with --force", code="storage.open")
    number = 2
    while (other := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return other, f"{path} of an earlier run is kept (--force writes over it)"


def _remove(path: Path) -> None:
    """Delete a store; a file of another kind is never touched. Raises InputError."""
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head and int.from_bytes(head[_HEAD - 4 :], "big") != APPLICATION_ID:
            raise InputError(f"{path} is no store of openmetering and is kept", code="storage.open")
        for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be replaced: {error.strerror or error}", code="storage.open") from None


def _speed(text: str | None, seconds: float | None, length: float, terminal: bool) -> float | None:
    """Recorded seconds per second; None is as fast as possible. Raises InputError (``input.time``)."""
    if text is not None and seconds is not None:
        raise InputError("give --speed or --seconds, not both", code="input.time")
    if text == "max":
        return None
    try:
        speed = float(text) if text is not None else None if seconds is None else length / seconds
    except (ValueError, ZeroDivisionError):
        speed = 0.0
    if speed is None:
        return length / _SECONDS if terminal else None
    if not speed > 0:
        raise InputError("a speed is a number above 0, or max; --seconds takes a number above 0", code="input.time")
    return speed


# -- watching ------------------------------------------------------------------------------------


class _Progress:
    """A line now and then, where no terminal can show a table."""

    def __init__(self, title: str, start: float) -> None:
        self._title, self._next = title, start + _STEP
        self._telegrams = self._failed = 0
        self._meters: set[str] = set()

    def open(self) -> None:
        """Start showing."""
        typer.echo(self._title)

    def heard(self, items: Sequence[Heard]) -> None:
        """Receptions that are stored."""
        for item in items:
            while item.reception.received_at >= self._next:
                self._line()
                self._next += _STEP
            telegram = item.telegram
            if telegram is not None:
                self._telegrams += 1
                self._failed += telegram.error is not None
                self._meters.add(device_address(telegram, item.reception.source) or "")

    def _line(self) -> None:
        clock = datetime.fromtimestamp(self._next)
        meters = len(self._meters - {""})
        typer.echo(f"  {clock:%H:%M}  {self._telegrams:5} telegrams of {meters} devices, {self._failed} not readable")

    def notice(self, notice: Notice) -> None:
        """News of a door."""
        typer.echo(f"  {notice.source}: {notice.message}", err=True)

    def bad_line(self, line: BadLine) -> None:
        """Told in the summary."""

    def close(self, totals: Totals) -> None:
        """The last line."""
        self._line()


class _Watch:
    """Passes everything on to a view and remembers what the summary tells."""

    def __init__(self, view: View, title: str) -> None:
        self._view, self._title = view, title
        self.faults: dict[str, dict[str, int]] = {}
        self.flags: dict[str, tuple[str, ...]] = {}
        self.until = 0.0
        self.bad_lines: dict[str, int] = {}

    def open(self) -> None:
        """Start showing."""
        self._view.open()

    def heard(self, items: Sequence[Heard]) -> None:
        """Receptions that are stored."""
        for item in items:
            if item.telegram is not None:
                self._note(item.telegram, device_address(item.telegram, item.reception.source) or "")
        self.until = items[-1].reception.received_at
        if isinstance(self._view, LiveTable):
            self._view.title = f"{self._title}, {datetime.fromtimestamp(self.until):%H:%M}"
        self._view.heard(items)

    def _note(self, telegram: Telegram, name: str) -> None:
        transport = telegram.transport
        if transport is not None and transport.header != "none" and telegram.uplink:
            self.flags[name] = status_flags(transport.status)
        if telegram.error is not None:
            names = self.faults.setdefault(telegram.error.code, {})
            names[name] = names.get(name, 0) + 1

    def notice(self, notice: Notice) -> None:
        """News of a door."""
        self._view.notice(notice)

    def bad_line(self, line: BadLine) -> None:
        """Input that is no telegram."""
        self.bad_lines[line.error.code] = self.bad_lines.get(line.error.code, 0) + 1
        self._view.bad_line(line)

    def close(self, totals: Totals) -> None:
        """Stop showing."""
        self._view.close(totals)


# -- the summary -----------------------------------------------------------------------------------


class _Summary:
    """What was heard and stored, what is wrong, what to try next."""

    def __init__(self, building: Building, store: Store, path: Path, watch: _Watch) -> None:
        self._store, self._path, self._watch = store, path, watch
        self._labels = {device.name: device.label for device in building.device}
        self._building = building

    def lines(self, totals: Totals, report: RedecodeReport, ring: KeyRing, head: str) -> list[str]:
        """The text, line by line."""
        counts = self._store.counts()
        total = totals.receptions + totals.bad_lines
        size = self._path.stat().st_size / 1e6
        lines = [
            "",
            _head(head),
            f"  {total} receptions by radio and wire, {totals.duplicates} of them copies of the repeater, merged",
            f"  {counts.frames} telegrams of {counts.devices} devices stored raw, then decoded: {counts.readings} readings",
        ]
        if report.opened:
            lines.append(f"  {report.opened} compact frames came before their format was known; they were opened afterwards")
        lines.append(f"  all in {self._path} (SQLite, {size:.1f} MB)")
        lines.append("     tables frames, receptions, telegrams, series, readings; views devices, meter_readings")
        return [*lines, *self._attention(), *self._faults(counts.errors), *self._next(ring)]

    def _names(self, names: Sequence[str]) -> str:
        known = sorted(self._labels.get(name, name) or "sender unknown" for name in names)
        more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
        return "; ".join(known[:_NAMES_SHOWN]) + more

    def _attention(self) -> list[str]:
        """Devices that ask for attention, by the status they sent last."""
        asking = {name: flags for name, flags in self._watch.flags.items() if flags}
        if not asking:
            return []
        lines = ["", _head("Devices that ask for attention")]
        return lines + [f"  {', '.join(flags):35} {self._names([name])}" for name, flags in sorted(asking.items())]

    def _faults(self, errors: dict[str, int]) -> list[str]:
        """Faults by code in words, with those who sent them."""
        found = {code: (count, self._names(list(self._watch.faults.get(code, {})))) for code, count in errors.items()}
        found |= {code: (count, "never stored: it is no telegram") for code, count in self._watch.bad_lines.items()}
        if not found:
            return ["", "No faults."]
        lines = ["", _head("Faults")]
        for code, (count, names) in sorted(found.items(), key=lambda pair: -pair[1][0]):
            text = FAULTS[code]
            lines.append(f"  {count:3} x {typer.style(code, fg='red')}: {text.meaning[0].lower()}{text.meaning[1:]}")
            lines.append(f"        {names}. {text.remedy}.")
        return lines

    def _next(self, ring: KeyRing) -> list[str]:
        store = shlex.quote(str(self._path))
        log, keys, complete = (shlex.quote(str(bundled(name))) for name in ("building.log", "keys.csv", "keys-complete.csv"))
        return [
            "",
            _head("Try next"),
            *_offer("the values of a meter that leaks", f"oms readings --store {store} --latest --device {_LEAKING}"),
            *_offer(
                "the missing and the wrong key came: the past opens (but for the forged telegram)",
                f"oms redecode --store {store} --keys {complete}",
            ),
            *self._explain(ring),
            *_offer("the same recording without a store", f"oms decode {log} --keys {keys} --format jsonl"),
            "",
            _head("And with your own"),
            *_offer("a radio stick", "oms listen /dev/ttyUSB0 --keys keys.csv"),
            *_offer("what a receiver prints, or a file of it", "rtl_wmbus < samples.cu8 | oms listen - --keys keys.csv"),
            *_offer("networks, wired buses, all options", "oms listen --help"),
        ]

    def _explain(self, ring: KeyRing) -> list[str]:
        """``oms explain`` with a telegram of the recording and its key."""
        address = Address.parse(_LEAKING).link_octets()
        ids = [row.frame_id for row in self._store.readings(ReadingFilter(device=_LEAKING, latest=True))]
        if not ids:
            return []
        octets, key = self._store.frames([max(ids)])[0].octets, ring.find(address)[0].octets
        return _offer("every octet of its last telegram", f"oms explain {octets.hex().upper()} --key {key.hex().upper()}")


def _program() -> str:
    """How this program is called from here: ``oms``, or where it stands if the shell would not find it."""
    if shutil.which("oms") is not None or Path(sys.argv[0]).name != "oms":
        return "oms"
    place = Path(sys.argv[0]).absolute()
    return shlex.quote(str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place))


def _offer(what: str, command: str) -> list[str]:
    program = _program()
    if program != "oms":
        command = re.sub(r"(^|\| )oms ", rf"\g<1>{program} ", command)
    return [typer.style(f"  # {what}", dim=True), f"  {command}"]


def _head(text: str) -> str:
    return typer.style(text, bold=True)


def _heading(building: Building, replay: Replay, totals: Totals, watch: _Watch, seconds: float) -> str:
    """What was played; a replay that was stopped says so."""
    if totals.receptions + totals.bad_lines < len(replay.items):
        return f"{building.name} up to {datetime.fromtimestamp(watch.until):%H:%M}, stopped before the end of the day"
    return f"A day of {building.name} in {seconds:.0f} s" if seconds >= 1 else f"A day of {building.name}"


# -- the command -------------------------------------------------------------------------------------


async def _play(store: Store, ring: KeyRing, replay: Replay, watch: _Watch) -> Totals:
    ledger = CounterLedger.restore(store.counters())
    decoder = Decoder(ring, formats=store.formats(), counters=ledger)
    listener = Listener(
        store, decoder, [replay], on_heard=watch.heard, on_notice=watch.notice, on_bad_line=watch.bad_line, ledger=ledger
    )
    watch.open()
    try:
        return await listener.run_until_signal()
    finally:
        watch.close(listener.totals)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG)
    def demo(
        speed: Annotated[
            str | None, typer.Option("--speed", help="How many times faster than the day was: a number, or max.", metavar="X|max")
        ] = None,
        store: Annotated[
            str | None, typer.Option("--store", "-s", help=f"Database to make; {DEFAULT_STORE} if left out.", metavar="PATH")
        ] = None,
        live: Annotated[
            bool | None, typer.Option("--live/--no-live", help="A table that changes in place; default on a terminal.")
        ] = None,
        seconds: Annotated[float | None, typer.Option("--seconds", help="How long the day takes, instead of --speed.")] = None,
        force: Annotated[bool, typer.Option("--force", help="Write over the store of an earlier run.")] = False,
    ) -> None:
        """Show the main job: a recorded building streams into a store.

        58 made-up devices, one day, radio and wire, with every kind of protection and things that go
        wrong. What comes in goes the way of oms listen: raw on the disk first, then decoded. Nothing
        leaves this machine.
        """
        building = read_building()
        terminal = sys.stdout.isatty()
        replay = Replay()
        replay.speed = _speed(speed, seconds, replay.length, terminal)
        path, remark = choose_store(store, force)
        if remark:
            typer.echo(remark)
        title = f"{building.name}, {building.day}"
        shown = terminal if live is None else live
        view: View = LiveTable(title) if shown else _Progress(f"{title}: {len(building.device)} devices", replay.start)
        ring = load_ring(bundled("keys.csv"))
        begun = time.monotonic()
        watch = _Watch(view, title)
        with Store.open(str(path)) as opened:
            totals = asyncio.run(_play(opened, ring, replay, watch))
            report = opened.redecode(Decoder(ring, formats=opened.formats()))
        with Store.open(str(path)) as opened:
            summary = _Summary(building, opened, path, watch)
            for line in summary.lines(totals, report, ring, _heading(building, replay, totals, watch, time.monotonic() - begun)):
                typer.echo(line)
