"""What ``oms simulate`` does: lets the time of a world pass, opens doors, records, sums up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, Self

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from openmetering.errors import InputError
from openmetering.interfaces.cli.keyfiles import save_private
from openmetering.interfaces.cli.octets import write_stdout
from openmetering.interfaces.cli.simulate import StickKind, Written
from openmetering.services.signals import Ending, stopped_by_signals
from openmetering.simulation.doors.im871a import SimulatedIm871a
from openmetering.simulation.doors.outlets import Outlet, open_outlet
from openmetering.simulation.doors.pacer import AT_ONCE, ON_REQUEST, Pacer
from openmetering.simulation.doors.port import Dialect
from openmetering.simulation.doors.radio_door import RadioDoor
from openmetering.simulation.doors.rtl_wmbus import RtlWmbusLines
from openmetering.simulation.doors.wired_pty import WiredSegmentDoor
from openmetering.simulation.outlook import Recorder
from openmetering.simulation.summary import Summary
from openmetering.simulation.world import World

__all__ = ["run_world"]

_DAY = 86_400.0
_STEP = 600.0  #: virtual seconds between two looks at the clock on the wall


Door = RadioDoor | WiredSegmentDoor


# -- doors -------------------------------------------------------------------------------------------


def _speed(text: str | None, doors: bool) -> float:
    """Virtual seconds for a real one. Raises InputError."""
    if text is None:
        return 1.0 if doors else AT_ONCE
    if text == "max":
        return AT_ONCE
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < AT_ONCE:
        raise InputError(f"--speed {text}: write max, or how many virtual seconds pass in a second")
    return speed


def _named(text: str, names: list[str], what: str) -> tuple[str, str]:
    """``NAME=OUTLET`` or an outlet for the first (and only) one. Raises InputError."""
    name, found, outlet = text.rpartition("=")
    known = ", ".join(names) or "none"
    if found:
        if name not in names:
            raise InputError(f"there is no {what} {name!r} in this world; there is {known}")
        return name, outlet
    if len(names) != 1:
        raise InputError(f"which {what}? write NAME={text}; there is {known}")
    return names[0], text


def _wired_door(world: World, text: str, pacer: Pacer) -> tuple[str, Door]:
    name, outlet = _named(text, list(world.segments), "segment")
    bus = world.segments[name].bus
    return f"segment {name}", WiredSegmentDoor(bus, pacer, open_outlet(outlet, baud=bus.master.baud))


def _stick_door(world: World, text: str, kind: StickKind, pacer: Pacer) -> tuple[str, Door]:
    name, place = _named(text, list(world.gateways), "gateway")
    dialect: Dialect = SimulatedIm871a()
    modes: tuple[str, ...] = ("S", "T", "C")
    if kind is StickKind.rtl_wmbus:
        dialect = RtlWmbusLines(world.plan.world.start.timestamp())
    outlet: Outlet = open_outlet(place, baud=_STICK_BAUD, largest=1 if kind is StickKind.im871a else 8)
    port = world.receiver(f"{kind.value} beside {name}", name, modes)
    return f"{kind.value} beside {name}", RadioDoor(port, pacer, outlet, dialect)


_STICK_BAUD: Final = 57_600


async def _open(doors: list[tuple[str, Door]], pacer: Pacer, until: float | None, say: Callable[[str], None]) -> None:
    """Keep the doors open until the time is over or a signal comes. Raises TransportError."""
    stopping = asyncio.Event()
    with stopped_by_signals(stopping.set):
        await _open_until(doors, pacer, until, stopping, say)


async def _open_until(
    doors: list[tuple[str, Door]], pacer: Pacer, until: float | None, stopping: asyncio.Event, say: Callable[[str], None]
) -> None:
    tasks = [asyncio.ensure_future(door.run()) for _, door in doors]
    try:
        for (what, door), task in zip(doors, tasks, strict=True):
            ready = asyncio.ensure_future(door.ready.wait())
            await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if task.done():
                task.result()
            say(f"{what}: {_place(door)}")
        running = asyncio.ensure_future(pacer.run(until))
        stopped = asyncio.ensure_future(stopping.wait())
        done, _ = await asyncio.wait((*tasks, running, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for one in done:
            if one is not stopped:
                one.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _place(door: Door) -> str:
    """Where a program plugs in."""
    name = door.outlet.name
    return name if name.startswith("/") else f"tcp://{name}"


# -- running without doors -------------------------------------------------------------------------------


def _run(world: World, until: float, step: Callable[[float], None]) -> None:
    """As fast as it goes, up to a virtual time or a signal."""
    with Ending() as ending:
        ending.awaited()
        while world.now < until and not ending.wanted:
            world.run(min(until, world.now + _STEP))
            step(world.now)


class _Bar:
    """Progress in virtual time; only on a terminal."""

    def __init__(self, world: World, until: float | None) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._world = world
        self._until = until

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task(self._world.plan.world.name or "simulating", total=self._until, words="")
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, now: float) -> None:
        """Virtual time has passed."""
        days, seconds = divmod(int(now), int(_DAY))
        words = f"day {days} {seconds // 3600:02}:{seconds // 60 % 60:02}, {self._world.channel.transmissions} telegrams"
        self._bar.update(self._task, completed=now, words=words)

    def say(self, text: str) -> None:
        """A line for people."""
        if self._bar.disable:
            typer.echo(text, err=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)


async def _watched(world: World, doors: list[tuple[str, Door]], pacer: Pacer, until: float | None, bar: _Bar) -> None:
    """``_open`` with a bar that moves."""

    async def move() -> None:
        while True:
            await asyncio.sleep(0.5)
            bar.step(world.now)

    moving = asyncio.ensure_future(move())
    try:
        await _open(doors, pacer, until, bar.say)
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)


# -- what is written ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _recording(world: World, path: Path | None) -> Iterator[Recorder | None]:
    """Record what all gateways hear. Raises InputError."""
    if path is None:
        yield None
        return
    try:
        file: IO[str] = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    with file:
        kind = "jsonl" if path.suffix in (".jsonl", ".json") else "rtl_wmbus"
        recorder = Recorder(lambda line: file.write(line + "\n"), world.plan.world.start, kind)  # type: ignore[arg-type]
        for gateway in world.gateways.values():
            recorder.attach(gateway.station)
        yield recorder


class _Row(msgspec.Struct, frozen=True):
    """One line of JSON: a gateway and a medium."""

    gateway: str
    medium: str
    received: int
    lost: dict[str, int]


class _Total(msgspec.Struct, frozen=True):
    """The last line of JSON."""

    seconds: float
    events: int
    transmissions: int
    sent: dict[str, int]
    verdicts: dict[str, dict[str, int]]


def _report(summary: Summary, written: Written) -> None:
    """Telegrams sent, received, lost by cause, per gateway and medium."""
    if written is Written.jsonl:
        rows: list[object] = [
            _Row(gateway, medium, number, {cause: lost for cause, lost in summary.lost[gateway, medium].items() if lost})
            for (gateway, medium), number in sorted(summary.received.items())
        ]
        rows.append(_Total(summary.seconds, summary.events, summary.transmissions, summary.sent, summary.verdicts))
        write_stdout(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        return
    typer.echo(f"{_span(summary.seconds)}, {summary.transmissions} telegrams on air, {summary.events} events")
    for (gateway, medium), number in sorted(summary.received.items()):
        lost = {cause: count for cause, count in summary.lost[gateway, medium].items() if count}
        words = ", ".join(f"{cause} {count}" for cause, count in lost.items()) or "none"
        typer.echo(f"  {gateway:14} {medium:22} {number:8} received; lost: {words}")
    for gateway, verdicts in sorted(summary.verdicts.items()):
        words = ", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts.items()))
        typer.echo(f"  {gateway:14} read: {words or 'nothing'}")


def _span(seconds: float) -> str:
    return (
        f"{seconds / _DAY:g} days"
        if seconds >= 2 * _DAY
        else f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds:.0f} s"
    )


def run_world(
    path: Path,
    *,
    days: float | None,
    speed: str | None,
    wired: Sequence[str],
    sticks: Sequence[str],
    kind: StickKind,
    record: Path | None,
    keys_out: Path | None,
    written: Written,
) -> None:
    """Run a world and print its summary. Raises InputError, TransportError."""
    made = World.load(path)
    if keys_out is not None:
        save_private(keys_out, made.key_file(head_end=True))
    doors = bool(wired or sticks)
    pace = _speed(speed, doors)
    until = days * _DAY if days is not None else None if doors else _DAY
    with _Bar(made, until) as bar, _recording(made, record):
        if doors or pace != AT_ONCE:
            asyncio.run(_with_doors(made, wired, sticks, kind, pace, until, bar))
        else:
            _run(made, until or 0.0, bar.step)
    _report(made.summary(), written)


async def _with_doors(
    world: World, wired: Sequence[str], sticks: Sequence[str], kind: StickKind, pace: float, until: float | None, bar: _Bar
) -> None:
    """Open doors and let time pass."""
    only_wired = bool(wired) and not sticks
    pacer = Pacer(world.kernel, ON_REQUEST if pace == AT_ONCE and only_wired else pace)
    doors = [_wired_door(world, text, pacer) for text in wired]
    doors += [_stick_door(world, text, kind, pacer) for text in sticks]
    await _watched(world, doors, pacer, until, bar)
