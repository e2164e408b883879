"""What all doors share: the interface, the choice of a reader, reconnecting with back-off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from openmetering.errors import TransportError
from openmetering.transport.lines import FORMATS, LineReader
from openmetering.transport.links import Link
from openmetering.transport.raw import RawReader
from openmetering.transport.reception import BadLine, Item, Notice, Reception
from openmetering.transport.source_address import wrong

__all__ = ["BackOff", "Clock", "Door", "Emit", "StreamReader", "check_format", "keep_connected"]

Emit = Callable[[Item], Awaitable[None]]
Clock = Callable[[], float]


class Door(Protocol):
    """A source of receptions.

    ``run`` gives every item to ``emit`` and waits for it, which slows a fast source down to
    what the receiver can take; it returns at the end of the source and raises TransportError
    if the source cannot be opened.
    """

    name: str

    async def run(self, emit: Emit) -> None:
        """Deliver until the end or until cancelled."""


def check_format(fmt: str) -> str:
    """The format, if it is one. Raises InputError (``input.source``)."""
    if fmt not in FORMATS:
        raise wrong(f"{fmt!r} is no input format; choose one of {', '.join(FORMATS)}")
    return fmt


_TEXT = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D, 0xEF, 0xBB, 0xBF}


class StreamReader:
    """Lines or raw octets, by format; ``auto`` decides with the first octets."""

    __slots__ = ("_reader", "format", "lines_before", "position", "replay_start", "source")

    def __init__(
        self, fmt: str, source: str, *, position: int = 0, lines_before: int = 0, replay_start: float | None = None
    ) -> None:
        self.format = fmt
        self.source = source
        self.position = position
        self.lines_before = lines_before
        self.replay_start = replay_start
        self._reader: LineReader | RawReader | None = None

    def _choose(self, octets: bytes) -> LineReader | RawReader:
        raw = self.format == "raw-serial" or (self.format == "auto" and not _TEXT.issuperset(octets[:64]))
        if raw:
            reader = RawReader(self.source)
            reader.position = self.position
            return reader
        lines = LineReader(self.format, self.source, replay_start=self.replay_start, position=self.position)
        lines.number = self.lines_before
        return lines

    @property
    def skipped(self) -> int:
        """Lines of tools without a telegram."""
        return self._reader.skipped if isinstance(self._reader, LineReader) else 0

    def feed(self, octets: bytes, now: float) -> list[Reception | BadLine]:
        """Octets as they come."""
        if self._reader is None and octets:
            self._reader = self._choose(octets)
        return self._reader.feed(octets, now) if self._reader else []

    def close(self, now: float) -> list[Reception | BadLine]:
        """The end of the stream."""
        return self._reader.close(now) if self._reader else []


class BackOff:
    """Growing pauses between attempts to connect; ``good`` starts over after a connection that lasted."""

    __slots__ = ("_next", "first", "largest")

    def __init__(self, first: float = 1.0, largest: float = 60.0) -> None:
        self.first = first
        self.largest = largest
        self._next = first

    def pause(self) -> float:
        """The next pause in seconds."""
        pause = self._next
        self._next = min(self._next * 2, self.largest)
        return pause

    def good(self) -> None:
        """The connection worked."""
        self._next = self.first


async def keep_connected(
    name: str,
    connect: Callable[[], Awaitable[Link]],
    serve: Callable[[Link], Awaitable[None]],
    emit: Emit,
    *,
    reconnect: bool = True,
    back_off: BackOff | None = None,
) -> None:
    """Connect, serve, and connect again after a loss. Raises TransportError if the first attempt fails."""
    pauses = back_off or BackOff()
    link = await connect()
    while True:
        started = time.monotonic()
        try:
            try:
                await serve(link)
                reason = f"{name} closed the connection"
            finally:
                await link.close()
        except TransportError as error:
            reason = error.message
        if not reconnect:
            return
        if time.monotonic() - started > pauses.largest / 2:
            pauses.good()
        link = await _again(name, reason, connect, emit, pauses)


async def _again(name: str, reason: str, connect: Callable[[], Awaitable[Link]], emit: Emit, pauses: BackOff) -> Link:
    while True:
        pause = pauses.pause()
        await emit(Notice(name, f"{reason}; next attempt in {pause:g} s", "warning", "transport.lost"))
        await asyncio.sleep(pause)
        try:
            link = await connect()
        except TransportError as error:
            reason = error.message
            continue
        await emit(Notice(name, "connected again"))
        return link
