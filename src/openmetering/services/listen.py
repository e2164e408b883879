"""The ingest pipeline: doors -> store raw -> decode -> store readings -> subscribers.

    door  \
    door   >- queue -> batch -> append (on the disk) -> decode -> record -> on_heard
    door  /

What ``on_heard`` is told is on the disk: that is the acknowledgement. One worker thread
owns store and decoder, so that the doors go on reading while the disk writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from openmetering.errors import InputError, TransportError
from openmetering.security import CounterLedger, parse_key
from openmetering.services.signals import stopped_by_signals
from openmetering.storage import Decoded, Place, Store, Stored
from openmetering.telegram import Decoder, Telegram
from openmetering.transport.doors import Door
from openmetering.transport.reception import BadLine, Item, Notice, Reception

__all__ = ["Heard", "Listener", "Resumable", "Totals"]

_T = TypeVar("_T")


class Heard(msgspec.Struct, frozen=True):
    """One stored reception; ``telegram`` is None for another copy of a frame that is stored already."""

    reception: Reception
    stored: Stored
    telegram: Telegram | None


class Totals(msgspec.Struct):
    """What a listener did so far. ``errors`` counts telegrams by fault code."""

    receptions: int = 0
    frames: int = 0
    decoded: int = 0
    failed: int = 0
    readings: int = 0
    bad_lines: int = 0
    caught_up: int = 0
    errors: dict[str, int] = {}
    failed_doors: list[str] = []

    @property
    def duplicates(self) -> int:
        """Receptions of frames that were there already."""
        return self.receptions - self.frames


@runtime_checkable
class Resumable(Protocol):
    """A door that can go on where it was left (files)."""

    name: str

    def mark(self) -> str:
        """What tells this file from another one of the same name."""

    def resume(self, position: int, mark: str) -> bool:
        """Go on at a position, if it is still the same file."""


def _nothing(_: object) -> None:
    """Nobody listens."""


class _End:
    """The last door is closed."""


class Listener:
    """Runs doors into a store.

    ``on_heard``, ``on_notice`` and ``on_bad_line`` are called in the event loop. ``ledger`` is the
    one the decoder checks counters with, if it does; it is kept in the store. ``batch`` receptions
    at most are stored together, and none waits longer than ``linger`` seconds for others.
    """

    def __init__(
        self,
        store: Store,
        decoder: Decoder,
        doors: Sequence[Door],
        *,
        on_heard: Callable[[Sequence[Heard]], None] = _nothing,
        on_notice: Callable[[Notice], None] = _nothing,
        on_bad_line: Callable[[BadLine], None] = _nothing,
        ledger: CounterLedger | None = None,
        batch: int = 500,
        linger: float = 0.02,
        retry: float = 5.0,
    ) -> None:
        self.store = store
        self.decoder = decoder
        self.doors = tuple(doors)
        self.totals = Totals(errors={}, failed_doors=[])
        self.retry = retry
        self._on_heard = on_heard
        self._on_notice = on_notice
        self._on_bad_line = on_bad_line
        self._ledger = ledger
        self._batch = batch
        self._linger = linger
        self._marks: dict[str, str] = {}
        self._stopping = asyncio.Event()
        self._dead = False
        self._worker = ThreadPoolExecutor(1, "openmetering-store")

    def stop(self) -> None:
        """End in order: close the doors, store and decode what they gave. Safe to call twice."""
        self._stopping.set()

    async def run(self, seconds: float | None = None) -> Totals:
        """Listen until all doors end, ``stop`` is called, or for some seconds.

        Raises TransportError if the store fails while stopping, or if no door could be opened
        """
        queue: asyncio.Queue[Item | _End] = asyncio.Queue(maxsize=4 * self._batch)
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.stop)
        doors = asyncio.ensure_future(self._run_doors(queue))
        try:
            self.totals.caught_up = await self._in_worker(self._catch_up)
            await self._consume(queue)
        finally:
            self._dead = True
            if timer is not None:
                timer.cancel()
            doors.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await doors
            self._worker.shutdown()
        if self.doors and len(self.totals.failed_doors) == len(self.doors):
            raise TransportError("; ".join(self.totals.failed_doors), layer="transport")
        return self.totals

    async def run_until_signal(self, seconds: float | None = None) -> Totals:
        """``run``; SIGTERM and SIGINT call ``stop``, a second one ends at once."""
        with stopped_by_signals(self.stop):
            return await self.run(seconds)

    # -- doors -----------------------------------------------------------------------------

    async def _run_doors(self, queue: asyncio.Queue[Item | _End]) -> None:
        tasks = [asyncio.ensure_future(self._run_door(door, queue)) for door in self.doors]
        stopped = asyncio.ensure_future(self._stopping.wait())
        everything = asyncio.gather(*tasks)
        try:
            await asyncio.wait((everything, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self._dead:
                await queue.put(_End())
        everything.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await everything

    async def _run_door(self, door: Door, queue: asyncio.Queue[Item | _End]) -> None:
        try:
            if isinstance(door, Resumable):
                await self._resume(door, queue)
            await door.run(queue.put)
        except TransportError as error:
            self.totals.failed_doors.append(error.message)
            await queue.put(Notice(door.name, error.message, "error", error.code))

    async def _resume(self, door: Resumable, queue: asyncio.Queue[Item | _End]) -> None:
        self._marks[door.name] = door.mark()
        place = await self._in_worker(lambda: self.store.place(door.name))
        if place is not None and door.resume(place.position, place.mark):
            text = f"goes on behind octet {place.position}, where it was left; add ?from=start to read everything again"
            await queue.put(Notice(door.name, text))

    # -- batches ---------------------------------------------------------------------------

    async def _consume(self, queue: asyncio.Queue[Item | _End]) -> None:
        ended = False
        while not ended:
            batch = [await queue.get()]
            if self._linger and queue.empty():
                await asyncio.sleep(self._linger)
            while len(batch) < self._batch and not queue.empty():
                batch.append(queue.get_nowait())
            ended = any(isinstance(item, _End) for item in batch)
            await self._process([item for item in batch if not isinstance(item, _End)])

    async def _process(self, batch: list[Item]) -> None:
        receptions = [item for item in batch if isinstance(item, Reception)]
        places = self._places(batch)
        if receptions or places:
            stored = await self._patiently(lambda: self.store.append(receptions, places=places), "stored")
            heard = await self._patiently(lambda: self._decode(receptions, stored), "decoded")
            self._count(heard)
            if heard:
                self._on_heard(heard)
        for item in batch:
            if isinstance(item, BadLine):
                self.totals.bad_lines += 1
                self._on_bad_line(item)
            elif isinstance(item, Notice):
                self._on_notice(item)

    def _places(self, batch: list[Item]) -> dict[str, Place]:
        """How far the file doors are with this batch, lines that were none included."""
        found: dict[str, Place] = {}
        for item in batch:
            if not isinstance(item, Notice) and item.position is not None:
                mark = self._marks.get(item.source)
                if mark is not None:
                    found[item.source] = Place(item.position, mark)
        return found

    def _decode(self, receptions: list[Reception], stored: list[Stored]) -> list[Heard]:
        """Worker thread: decode the new frames and store what they say."""
        decoder = self.decoder
        heard: list[Heard] = []
        results: list[Decoded] = []
        for reception, place in zip(receptions, stored, strict=True):
            telegram, key = None, _line_key(reception)
            if place.new or key is not None:
                telegram = decoder.examine(reception.frame, key, now=reception.received_at)
                if place.new or telegram.error is None:  # a copy that brings the key may open what the first one could not
                    results.append(Decoded(place.frame_id, reception.received_at, reception.source, telegram))
            if not place.new:
                telegram = None
            heard.append(Heard(reception, place, telegram))
        if results:
            self.totals.readings += self.store.record(results)
        if decoder.formats.changed:
            self.store.learn(decoder.formats)
        if self._ledger is not None:
            self.store.save_counters(self._ledger.snapshot())
        return heard

    def _catch_up(self) -> int:
        return self.store.catch_up(self.decoder)

    def _count(self, heard: list[Heard]) -> None:
        totals = self.totals
        totals.receptions += len(heard)
        for item in heard:
            if item.telegram is None:
                continue
            totals.frames += 1
            error = item.telegram.error
            if error is None:
                totals.decoded += 1
            else:
                totals.failed += 1
                totals.errors[error.code] = totals.errors.get(error.code, 0) + 1

    async def _in_worker(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def _patiently(self, work: Callable[[], _T], what: str) -> _T:
        """Do it; a store that fails (disk full, locked) is tried again until it works or the listener stops.

        Every work is safe to repeat: the same reception is stored once, the same result replaces itself.
        """
        while True:
            try:
                return await self._in_worker(work)
            except TransportError as error:
                if self._stopping.is_set():
                    raise
                text = f"{error.message}; nothing more is {what} until it works again, next attempt in {self.retry:g} s"
                self._on_notice(Notice("store", text, "error", error.code))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self.retry)


def _line_key(reception: Reception) -> bytes | None:
    """The key of the line; a key that is none counts as missing."""
    if reception.key is None:
        return None
    try:
        return parse_key(reception.key)
    except InputError:
        return None
