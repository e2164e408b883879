"""``oms doctor``: from the device to the value, where does it stop and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from openmetering.errors import InputError, TransportError
from openmetering.services.gatewayd.diagnosis import Diagnosis, Stage
from openmetering.transport.doors import Door
from openmetering.transport.lines import FORMATS
from openmetering.transport.links import Link, open_serial, open_tcp
from openmetering.transport.reception import Item
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import SourceAddress, duration, parse_source
from openmetering.transport.sources import open_source
from openmetering.transport.wired_door import WiredDoor

__all__ = ["register"]

EPILOG = """\b
Examples
  oms doctor                                          which devices are there
  oms doctor /dev/ttyUSB0                             is the stick heard, does it hear meters
  oms doctor "serial:/dev/ttyUSB0?stick=im871a&mode=ct" --keys keys.csv --for 5m
  oms doctor "mbus:/dev/ttyUSB1?address=1"            a wired line
  rtl_wmbus < samples.cu8 | oms doctor -
"""

_MARKS = {"good": ("ok", "green"), "stops": ("STOPS HERE", "red"), "open": ("-", "bright_black")}
_PLACES = ("/dev/serial/by-id/*", "/dev/ttyUSB*", "/dev/ttyACM*", "/dev/ttyAMA*")


class _CountingLink:
    """A link that tells how many octets came."""

    def __init__(self, link: Link, heard: Callable[[int], None]) -> None:
        self._link = link
        self._heard = heard

    async def read(self) -> bytes:
        octets = await self._link.read()
        if octets:
            self._heard(len(octets))
        return octets

    async def write(self, octets: bytes) -> None:
        await self._link.write(octets)

    async def retune(self, baud: int) -> None:
        await self._link.retune(baud)

    async def close(self) -> None:
        await self._link.close()


class Examination(msgspec.Struct):
    """A door, its kind for the remedies, and what is seen."""

    door: Door
    diagnosis: Diagnosis


def _counted(diagnosis: Diagnosis, opening: Callable[[], Awaitable[Link]]) -> Callable[[], Awaitable[Link]]:
    async def opened() -> Link:
        link = await opening()
        diagnosis.opened()
        return _CountingLink(link, diagnosis.heard)

    return opened


def _serial(address: SourceAddress, fmt: str, diagnosis: Diagnosis) -> Door:
    async def opener(device: str, baud: int) -> Link:
        return await _counted(diagnosis, lambda: open_serial(device, baud))()

    return SerialDoor(address, fmt, opener=opener)


def _wired(address: SourceAddress, fmt: str, diagnosis: Diagnosis) -> Door:
    baud = int(address.options.get("baud", "2400")) if address.options.get("baud", "2400").isdecimal() else 2400

    async def opening() -> Link:
        if address.scheme == "mbus+tcp":
            return await open_tcp(address.target, address.port or 0)
        return await open_serial(address.target, baud, parity="E")

    return WiredDoor(address, fmt, opener=_counted(diagnosis, opening))


_KINDS: dict[str, tuple[str, Callable[[SourceAddress, str, Diagnosis], Door]]] = {
    "serial": ("serial", _serial),
    "mbus": ("wired", _wired),
    "mbus+tcp": ("wired", _wired),
}


def _examine(source: str, fmt: str, keys: Path | None) -> Examination:
    """Raises InputError."""
    ring = None
    if keys is not None:
        from openmetering.interfaces.cli.keyfiles import load_keyring

        ring = load_keyring(keys)
    address = parse_source(source)
    kind = _KINDS.get(address.scheme)
    diagnosis = Diagnosis(address.scheme if kind is None else kind[0], ring)
    return Examination(open_source(source, fmt) if kind is None else kind[1](address, fmt, diagnosis), diagnosis)


async def _listen(examination: Examination, seconds: float) -> None:
    """Until every stage is good, the source ends, or the time is over."""
    diagnosis = examination.diagnosis
    ready = asyncio.Event()

    async def emit(item: Item) -> None:
        diagnosis.item(item)
        if diagnosis.complete:
            ready.set()

    async def run() -> None:
        try:
            await examination.door.run(emit)
        except TransportError as error:
            diagnosis.failed(error)
        else:
            diagnosis.opened()

    tasks = [asyncio.ensure_future(run()), asyncio.ensure_future(ready.wait())]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        diagnosis.waited()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _show(stages: tuple[Stage, ...]) -> None:
    width = max(len(stage.name) for stage in stages)
    for number, stage in enumerate(stages, 1):
        mark, colour = _MARKS[stage.state]
        text = f"  {stage.text}" if stage.text else ""
        typer.echo(f"{number} {stage.name:<{width}}  " + typer.style(mark, fg=colour) + text)
        if stage.remedy:
            typer.secho(f"  {'':<{width}}  -> {stage.remedy}", fg="yellow")


def _devices() -> list[str]:
    """Serial devices of this machine, each once; stable names first."""
    found: dict[Path, str] = {}
    for pattern in _PLACES:
        folder = Path(pattern).parent
        with contextlib.suppress(OSError):
            for path in sorted(folder.glob(Path(pattern).name)):
                found.setdefault(path.resolve(), str(path))
    return list(found.values())


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG)
    def doctor(
        source: Annotated[str | None, typer.Argument(help="A source as of oms listen.", metavar="[SOURCE]")] = None,
        keys: Annotated[
            Path | None, typer.Option("--keys", "-K", help="Key file: your meters.", exists=True, dir_okay=False)
        ] = None,
        for_: Annotated[str, typer.Option("--for", help="Look at most so long: 90, 5m.", metavar="TIME")] = "60s",
        input: Annotated[str, typer.Option("--input", "-i", help="Format of the lines: " + ", ".join(FORMATS) + ".")] = "auto",
    ) -> None:
        """Say why no values come: device, octets, sync, CRC-good frames, known meter, key, decoded.

        Looks until a value was read, or for a time, and says at which stage it stops and what to do. Without a source
        it lists the serial devices of this machine. Exit code 0 if all is well, 1 if it stops somewhere.
        """
        if input not in FORMATS:
            raise InputError(f"{input!r} is no input format; choose one of {', '.join(FORMATS)}", code="input.format")
        if source is None:
            devices = _devices()
            for device in devices:
                typer.echo(f"oms doctor {device}")
            if not devices:
                typer.echo("no serial device is there: plug in a stick or a converter, or name a source (oms doctor --help)")
            raise typer.Exit(0 if devices else 1)
        seconds = duration(for_)
        examination = _examine(source, input, keys)
        started = time.monotonic()
        asyncio.run(_listen(examination, seconds))
        typer.echo(f"{examination.door.name}, looked at for {time.monotonic() - started:.0f} s")
        _show(examination.diagnosis.stages())
        raise typer.Exit(0 if examination.diagnosis.complete else 1)
