"""The daemon: sources into the spool, the spool to the head-end, orders to the stations. Wiring only.

    doors, stations --queue--> batch --append--> spool (on the disk)      one worker thread owns spool and outbox
    spool --outbox--> report --uplink--> reply --settle--> spool, desk
                                               --orders--> desk --> stations

A source that fails is tried again with growing pauses, and does not disturb the others. A disk that fails holds the sources
up until it works again: what was not stored is not lost where a source can wait. A head-end that cannot be reached costs
space in the spool and nothing else.

``stop`` (SIGTERM): sources end, what they gave is stored, what can be told within ``farewell`` seconds is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from openmetering.errors import InputError, OmsError, TransportError
from openmetering.services.gatewayd.commands import CommandBook
from openmetering.services.gatewayd.config import Config, octets_of, seconds_of
from openmetering.services.gatewayd.desk import Desk
from openmetering.services.gatewayd.entries import entry_of, read_entry, write_entry
from openmetering.services.gatewayd.files import save
from openmetering.services.gatewayd.health import SourceHealth, SourceState
from openmetering.services.gatewayd.merge import Merger
from openmetering.services.gatewayd.messages import Batch, Enrol, Order, Reply, Report
from openmetering.services.gatewayd.outbox import Outbox
from openmetering.services.gatewayd.spool import Spool
from openmetering.services.gatewayd.stations import Station, StationEvent
from openmetering.services.gatewayd.thinning import Thinner
from openmetering.services.gatewayd.uplink import Uplink
from openmetering.services.listen import Resumable
from openmetering.services.signals import stopped_by_signals
from openmetering.transport.doors import BackOff, Door
from openmetering.transport.reception import BadLine, Item, Notice, Reception

__all__ = ["GatewayDaemon", "GatewayState", "Sources"]

_T = TypeVar("_T")
_BATCH: Final = 500
_LINGER: Final = 0.02
_HOUSEKEEPING: Final = 30.0
_LEAST_WAIT: Final = 0.05


class Sources(msgspec.Struct, frozen=True):
    """What the daemon runs, made by ``build``: doors by name, and which of them carry commands."""

    doors: Mapping[str, Door]
    stations: Mapping[str, Station]


class GatewayState(msgspec.Struct, frozen=True):
    """The health of a gateway at a moment; also what is published."""

    online: bool
    gateway: str
    at: float
    sources: tuple[SourceState, ...]
    waiting: int
    spool_octets: int
    lost: int
    damaged: int
    merged: int
    left_out: int
    uplink: str
    uplink_trouble: str = ""
    reported_at: float | None = None


class _Place(msgspec.Struct, frozen=True):
    position: int
    mark: str


class _Places(msgspec.Struct, frozen=True):
    """How far files are read, with all records up to ``number``."""

    number: int = 0
    places: dict[str, _Place] = {}


class _End:
    """The last source ended."""


async def _ended(tasks: Sequence[asyncio.Future[Any]]) -> list[object]:
    """Cancel tasks until they have ended; their results or exceptions.

    Once is not enough: ``asyncio.wait_for`` of Python 3.11 loses a cancellation that meets the end of what it waits for.
    """
    waiting = [task for task in tasks if not task.done()]
    while waiting:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=0.5)
        waiting = [task for task in waiting if not task.done()]
    return list(await asyncio.gather(*tasks, return_exceptions=True))


def _ignore(_: object) -> None:
    """Nobody listens."""


Build = Callable[[Callable[[str, StationEvent], None]], Sources]


class GatewayDaemon:
    """A gateway around a configuration. Who makes it owns the folder (``files.owned``).

    ``build`` makes doors and stations, which tell events to the function they are given. ``uplink`` None: everything stays
    in the spool. ``on_notice`` gets news of sources and of the daemon, ``clock`` seconds since 1970; ``secret`` as in
    ``Desk``. In the event loop only.
    Raises InputError for a state that cannot be used, TransportError for a disk that fails
    """

    def __init__(
        self,
        config: Config,
        build: Build,
        *,
        uplink: Uplink | None,
        clock: Callable[[], float],
        on_notice: Callable[[Notice], None] = _ignore,
        secret: bytes | None = None,
        retry: float = 5.0,
        farewell: float = 10.0,
    ) -> None:
        folder = Path(config.gateway.state)
        self.name = config.gateway.name
        self.retry = retry
        self.farewell = farewell
        self._config = config
        self._clock = clock
        self._uplink = uplink
        self._on_notice = on_notice
        self._trouble = ""
        self._reported_at: float | None = None
        self._ready_at: float | None = None  #: when something that is held gets ready
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._asked_at: float | None = None  #: when ``stop`` was called
        self._worker = ThreadPoolExecutor(1, "openmetering-spool")
        spool, merge = config.spool, config.merge
        self._spool = Spool(
            folder / "spool", segment=octets_of(spool.segment), limit=octets_of(spool.limit), keep=seconds_of(spool.keep)
        )
        self._merger = Merger(seconds_of(merge.hold), seconds_of(merge.window), seconds_of(merge.repeater_window))
        self._thinner = Thinner([rule.rule() for rule in config.thinning])
        self._outbox = Outbox(self._spool, self._merger, self._thinner)
        if uplink is None:
            self._spool.keep = self._spool.keep or math.inf
        self._marks: dict[str, str] = {}
        self._sources = build(self._hear)
        self._places_path = folder / "places.json"
        self._places = self._read_places()
        self.health = {name: SourceHealth(name, door.name, clock()) for name, door in self._sources.doors.items()}
        book = CommandBook(folder / "commands.json")
        self.desk = Desk(book, self._sources.stations, self._changed.set, clock, secret)
        for device in config.device:
            refusal = self.desk.enrol(Enrol("", **msgspec.structs.asdict(device)))
            if refusal:
                raise InputError(f"{device.address}: {refusal}", code="input.file", layer="input")
        self.desk.started()

    # -- the interface -----------------------------------------------------------------------------

    def stop(self) -> None:
        """End in order. Safe to call twice."""
        self._asked_at = self._clock() if self._asked_at is None else self._asked_at
        self._stopping.set()
        self._changed.set()

    def order(self, orders: Sequence[Order]) -> None:
        """Orders of a head-end in this process. Raises TransportError."""
        self.desk.take(tuple(orders))

    def state(self) -> GatewayState:
        """The health now."""
        now = self._clock()
        spool = self._spool
        return GatewayState(
            True,
            self.name,
            now,
            tuple(health.snapshot(now) for health in self.health.values()),
            spool.waiting,
            spool.size,
            spool.lost,
            spool.damaged + self._outbox.unread,
            self._merger.merged,
            self._thinner.left_out,
            "" if self._uplink is None else self._uplink.name,
            self._trouble,
            self._reported_at,
        )

    async def run(self) -> None:
        """Until all sources are at their end, or ``stop``. Raises TransportError if the disk fails while stopping."""
        queue: asyncio.Queue[tuple[str, Item] | _End] = asyncio.Queue(maxsize=4 * _BATCH)
        sources = asyncio.ensure_future(self._run_sources(queue))
        upward = asyncio.ensure_future(self._upward())
        house = asyncio.ensure_future(self._keep_house())
        for task in (upward, house):  # they end only by a fault, which must not stay hidden
            task.add_done_callback(lambda _: self.stop())
        try:
            await self._store(queue)
            await sources
            await self._say_farewell((upward, house))
        finally:
            await _ended((sources, upward, house))
            await self._in_worker(self._close)
            self._worker.shutdown()

    async def run_until_signal(self) -> None:
        """``run``; SIGTERM and SIGINT call ``stop``, a second one ends at once."""
        with stopped_by_signals(self.stop):
            await self.run()

    # -- sources -------------------------------------------------------------------------------------

    async def _run_sources(self, queue: asyncio.Queue[tuple[str, Item] | _End]) -> None:
        tasks = [asyncio.ensure_future(self._run_source(name, door, queue)) for name, door in self._sources.doors.items()]
        ended = asyncio.ensure_future(asyncio.wait(tasks))
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            results = await _ended((*tasks, ended, stopped))
            await queue.put(_End())
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _run_source(self, name: str, door: Door, queue: asyncio.Queue[tuple[str, Item] | _End]) -> None:
        pauses = BackOff(1.0, 60.0)
        health = self.health[name]

        async def emit(item: Item) -> None:
            health.item(item, self._clock())
            await queue.put((name, item))

        while True:
            started = self._clock()
            try:
                if isinstance(door, Resumable):
                    self._resume(name, door)
                await door.run(emit)
            except OmsError as error:
                if self._clock() - started > pauses.largest:
                    pauses.good()
                health.failed(error.message, self._clock())
                pause = pauses.pause()
                self._on_notice(Notice(name, f"{error.message}; next attempt in {pause:g} s", "warning", error.code))
                await asyncio.sleep(pause)
            else:
                health.ended(self._clock())
                return

    def _resume(self, name: str, door: Resumable) -> None:
        self._marks[name] = door.mark()
        place = self._places.places.get(name)
        if place is not None and door.resume(place.position, place.mark):
            self._on_notice(Notice(name, f"goes on behind octet {place.position}, where it was left"))

    # -- storing -------------------------------------------------------------------------------------

    async def _store(self, queue: asyncio.Queue[tuple[str, Item] | _End]) -> None:
        """Until the end of the sources."""
        ended = False
        while not ended:
            batch = [await queue.get()]
            if queue.empty():
                await asyncio.sleep(_LINGER)
            while len(batch) < _BATCH and not queue.empty():
                batch.append(queue.get_nowait())
            ended = any(isinstance(item, _End) for item in batch)
            await self._keep([item for item in batch if not isinstance(item, _End)])

    async def _keep(self, batch: list[tuple[str, Item]]) -> None:
        now = self._clock()
        entries = [entry_of(item, name, now, self._marks.get(name, "")) for name, item in batch if isinstance(item, Reception)]
        if entries:
            contents = [write_entry(entry) for entry in entries]
            number = await self._patiently(lambda: self._spool.append(contents, now))
            places = {one.source: _Place(one.position, one.mark) for one in entries if one.position is not None}
            if places:
                last = number + len(contents) - 1
                self._places = _Places(last, {**self._places.places, **places})
            self._changed.set()
        for name, item in batch:
            if isinstance(item, Notice):
                self._on_notice(msgspec.structs.replace(item, source=name))
            elif isinstance(item, BadLine):
                self._on_notice(Notice(name, f"no telegram: {item.error.message}", "debug", item.error.code))

    async def _patiently(self, work: Callable[[], _T]) -> _T:
        """Do it until the disk does; every work here may be done again."""
        while True:
            try:
                return await self._in_worker(work)
            except TransportError as error:
                if self._stopping.is_set():
                    raise
                text = f"{error.message}; nothing more is stored until it works again, next attempt in {self.retry:g} s"
                self._on_notice(Notice("spool", text, "error", error.code))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self.retry)

    async def _in_worker(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _read_places(self) -> _Places:
        """How far files were read: the last note of it, and the records behind that."""
        try:
            places = msgspec.json.decode(self._places_path.read_bytes(), type=_Places)
        except (OSError, msgspec.MsgspecError):
            places = _Places()
        found = dict(places.places)
        if not any(isinstance(door, Resumable) for door in self._sources.doors.values()):
            return places
        reader = self._spool.reader(max(self._spool.first, places.number + 1))
        while records := reader.read(_BATCH):
            for record in records:
                with contextlib.suppress(InputError):
                    entry = read_entry(record.content)
                    if entry.position is not None:
                        found[entry.source] = _Place(entry.position, entry.mark)
        return _Places(self._spool.end - 1, found)

    def _close(self) -> None:
        if self._places.places:
            save(self._places_path, msgspec.json.encode(self._places))
        self._spool.close()

    # -- up --------------------------------------------------------------------------------------------

    def _hear(self, source: str, event: StationEvent) -> None:
        self.desk.hear(source, event)

    async def _upward(self) -> None:
        if self._uplink is None:
            await asyncio.Event().wait()
        else:
            await asyncio.gather(self._uplink.run(self._late), self._reports(self._uplink))

    async def _reports(self, uplink: Uplink) -> None:
        pauses = BackOff(1.0, seconds_of(self._config.uplink.longest))
        while True:
            report = await self._report()
            if report is None:
                await self._wait()
                continue
            try:
                failure = await self._tell(uplink, report)
            except TransportError as error:
                failure = error.message
            if not failure:
                self._trouble, self._reported_at = "", self._clock()
                pauses.good()
                continue
            self.desk.news.extendleft(reversed(report.news))
            await self._fail(failure, pauses.pause())

    async def _fail(self, failure: str, pause: float) -> None:
        if failure != self._trouble:
            self._trouble = failure
            text = f"{failure}; {self._spool.waiting} receptions wait, next attempt in {pause:g} s"
            self._on_notice(Notice("uplink", text, "warning", "transport.send"))
        if self._stopping.is_set():
            await asyncio.sleep(_LEAST_WAIT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)

    async def _report(self) -> Report | None:
        """What is to be told now; None if there is nothing, and the time for an empty report has not come."""
        limit, now = self._config.uplink.batch, self._clock()

        def ask() -> tuple[Batch | None, float | None]:
            return self._outbox.batch(limit, now), self._outbox.deadline

        self._changed.clear()
        batch, self._ready_at = await self._patiently(ask)
        news, results = tuple(self.desk.news), self.desk.results
        if batch is None and not news and not results and now < self._due():
            return None
        self.desk.news.clear()
        return Report(self.name, uuid.uuid4().hex, batch, results, news)

    def _due(self) -> float:
        """When a report goes up even with nothing in it."""
        if self._stopping.is_set():
            return math.inf
        return -math.inf if self._reported_at is None else self._reported_at + seconds_of(self._config.uplink.every)

    async def _wait(self) -> None:
        """Until something changed (and a moment more, for others to join), is ready, or a report is due."""
        if self._stopping.is_set():
            await asyncio.sleep(_LEAST_WAIT)
            return
        times = [self._due(), *([] if self._ready_at is None else [self._ready_at])]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(_LEAST_WAIT, min(times) - self._clock()))
            if self._outbox.backlog < self._config.uplink.batch:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), seconds_of(self._config.uplink.linger))

    async def _tell(self, uplink: Uplink, report: Report) -> str:
        """Tell a report; the empty text if all of it has arrived, else what is wrong. Raises TransportError."""
        reply = await uplink.exchange(report)
        stored, now = reply.stored, self._clock()
        settled = report.batch is None
        if stored is not None and not settled:
            settled = await self._patiently(lambda: self._outbox.settle(reply.stream, stored, now))
        self._late(reply)
        return "" if settled else f"{uplink.name} has not stored the batch"

    def _late(self, reply: Reply) -> None:
        """Orders, and results that arrived. A batch that is settled too late for its report is told once more."""
        self.desk.told(reply.results)
        self.desk.take(reply.orders)

    async def _keep_house(self) -> None:
        """Now and then: publish the health, note how far files are read, remove what is not needed."""
        while True:
            if self._uplink is not None:
                with contextlib.suppress(TransportError):
                    await self._uplink.state(msgspec.json.encode(self.state()))
            await asyncio.sleep(_HOUSEKEEPING)
            places, now = self._places, self._clock()

            def work(places: _Places = places, now: float = now) -> None:
                if places.places:
                    save(self._places_path, msgspec.json.encode(places))
                if self._uplink is None:
                    self._spool.settle(self._spool.end - 1, now)
                self._spool.trim(now)

            await self._patiently(work)

    async def _say_farewell(self, tasks: Sequence[asyncio.Future[None]]) -> None:
        """Let the way up tell what is ready: all of it where the sources ended by themselves, else what some seconds allow.

        Raises what ended one of the tasks before
        """
        self._stopping.set()
        self._changed.set()
        begun = self._clock()
        while self._uplink is not None and not any(task.done() for task in tasks):
            asked = self._asked_at
            # a way that fails is not waited for when somebody asked to stop; else it may only just be opening
            patience = 0.0 if asked is not None else self.farewell
            given_up = bool(self._trouble) and self._clock() >= begun + patience
            late = asked is not None and self._clock() > asked + self.farewell
            if late or given_up or not (self._outbox.busy or self.desk.results):
                break
            await asyncio.sleep(_LEAST_WAIT)
        for task in tasks:
            if task.done():
                task.result()
        if self._uplink is not None:
            with contextlib.suppress(TransportError, TimeoutError):
                gone = msgspec.structs.replace(self.state(), online=False)
                await asyncio.wait_for(self._uplink.state(msgspec.json.encode(gone)), 2.0)
