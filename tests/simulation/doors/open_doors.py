"""Running doors in tests: a world, its pacer, its doors, and the work of a foreign program."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

from openmetering.simulation.doors.pacer import Pacer
from openmetering.simulation.doors.port import AirFrame


class Door(Protocol):
    ready: asyncio.Event

    def run(self) -> Coroutine[None, None, None]: ...


class Station:
    """A station of the radio world that a test plays."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str]] = []
        self._ears: list[Callable[[AirFrame], None]] = []

    def on_heard(self, heard: Callable[[AirFrame], None]) -> Callable[[], None]:
        self._ears.append(heard)
        return lambda: self._ears.remove(heard)

    def transmit(self, frame: bytes, mode: str) -> None:
        self.sent.append((frame, mode))

    def hear(self, frame: bytes, mode: str = "T", rssi: float | None = -70.0, time: float = 0.0) -> None:
        for ear in tuple(self._ears):
            ear(AirFrame(frame, rssi, mode, time))

    @property
    def listened_to(self) -> bool:
        return bool(self._ears)


async def until(test: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that another task does."""
    async with asyncio.timeout(seconds):
        while not test():
            await asyncio.sleep(0.002)


async def _with_doors(pacer: Pacer, doors: tuple[Door, ...], work: Callable[[], Awaitable[None]]) -> None:
    tasks = [asyncio.ensure_future(door.run()) for door in doors]
    tasks.append(asyncio.ensure_future(pacer.run()))
    working = asyncio.ensure_future(work())
    try:
        done, _ = await asyncio.wait([*tasks, working], return_when=asyncio.FIRST_COMPLETED, timeout=120)
        for task in done:
            task.result()
        assert working.done(), "the work of the test did not end"
    finally:
        working.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(working, *tasks, return_exceptions=True)


def play(pacer: Callable[[], Pacer], doors: Callable[[Pacer], tuple[Door, ...]], work: Callable[..., Awaitable[None]]) -> None:
    """Open doors, do the work, close them; what a task raises is raised here."""

    async def all_of_it() -> None:
        made = pacer()
        opened = doors(made)

        async def working() -> None:
            for door in opened:
                await door.ready.wait()
            await work(*opened)

        await _with_doors(made, opened, working)

    asyncio.run(all_of_it())
