"""Machines in real time: events in, frames out, deadlines kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from openmetering.errors import TransportError
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.wired.timing import LineRate
from openmetering.services.pump import Inbox, LinePort, LoopClock, drive, keep


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Port:
    """Events by plan: ``wait`` lets the clock run to the time of the next one, or for as long as it was told."""

    name = "port"

    def __init__(self, clock: Clock, plan: Sequence[tuple[float, str]] = ()) -> None:
        self.clock = clock
        self.plan = list(plan)
        self.sent: list[tuple[float, bytes]] = []
        self.bauds: list[int] = []
        self.waits: list[float | None] = []

    async def wait(self, seconds: float | None) -> Sequence[str]:
        self.waits.append(seconds)
        end = None if seconds is None else self.clock.now + seconds
        if self.plan and (end is None or self.plan[0][0] <= end):
            self.clock.now, event = self.plan.pop(0)
            return [event]
        assert end is not None, "waits for ever"
        self.clock.now = end
        return []

    async def send(self, transmit: Transmit, now: float) -> None:
        self.sent.append((now, transmit.frame))

    async def retune(self, baud: int) -> None:
        self.bauds.append(baud)

    async def close(self) -> None:
        pass


class Counter:
    """A machine that asks, and again after 2 s, until something comes."""

    def __init__(self, attempts: int = 3) -> None:
        self.deadline: float | None = None
        self.attempts = attempts

    def receive(self, event: str, now: float) -> list[object]:
        if event == "start":
            return self._ask(now)
        self.deadline = None
        return [LineRate(300), f"heard {event}"]

    def timeout(self, now: float) -> list[object]:
        if self.deadline is None or now < self.deadline:
            return []
        if self.attempts:
            return self._ask(now)
        self.deadline = None
        return ["nothing"]

    def _ask(self, now: float) -> list[object]:
        self.attempts -= 1
        self.deadline = now + 2.0
        return [Transmit(b"?", now)]


def run(plan: Sequence[tuple[float, str]]) -> tuple[Port, list[object], float]:
    clock = Clock()
    port, told = Port(clock, plan), list[object]()
    asyncio.run(drive(Counter(), port, "start", told.append, clock=clock))
    return port, told, clock.now


def test_deadlines_are_kept_until_there_is_none() -> None:
    port, told, now = run([])
    assert port.sent == [(100.0, b"?"), (102.0, b"?"), (104.0, b"?")]
    assert told == ["nothing"]
    assert now == 106.0


def test_events_come_in_and_rates_go_to_the_port() -> None:
    port, told, now = run([(103.5, "answer")])
    assert [at for at, _ in port.sent] == [100.0, 102.0]
    assert told == ["heard answer"]
    assert port.bauds == [300]
    assert now == 103.5


def test_until_ends_it_before_the_deadline() -> None:
    clock = Clock()
    port, told = Port(clock, [(101.0, "answer")]), list[object]()
    asyncio.run(drive(Counter(), port, "start", told.append, clock=clock, until=lambda: bool(told)))
    assert told == ["heard answer"]


def test_until_waits_where_there_is_no_deadline() -> None:
    clock = Clock()
    machine, told = Counter(), list[object]()
    port = Port(clock, [(5000.0, "late")])
    asyncio.run(keep(machine, port, told.append, clock=clock, until=lambda: bool(told)))
    assert port.waits == [None]
    assert clock.now == 5000.0


def test_keep_leaves_it_at_its_end() -> None:
    clock = Clock()
    machine, told = Counter(100), list[object]()
    machine.receive("start", clock.now)
    asyncio.run(keep(machine, Port(clock), told.append, clock=clock, end=105.0))
    assert clock.now == 105.0
    assert machine.deadline == 106.0


def test_the_inbox_keeps_what_came_and_then_fails() -> None:
    async def work() -> None:
        inbox: Inbox[int] = Inbox()
        assert await inbox.take(0.0) == []
        inbox.put(1)
        inbox.put(2)
        assert await inbox.take(None) == [1, 2]
        waiting = asyncio.ensure_future(inbox.take(None))
        await asyncio.sleep(0)
        inbox.put(3)
        inbox.fail(TransportError("gone"))
        assert await waiting == [3]
        for _ in range(2):
            with pytest.raises(TransportError, match="gone"):
                await inbox.take(None)

    asyncio.run(work())


def test_the_clock_counts_seconds_since_1970_and_goes_on() -> None:
    async def work() -> None:
        clock = LoopClock()
        first = clock()
        assert abs(first - time.time()) < 1.0
        await asyncio.sleep(0)
        assert clock() >= first

    asyncio.run(work())


class Link:
    """A link that says what a test wants."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | TransportError] = asyncio.Queue()
        self.written: list[bytes] = []
        self.baud = 0
        self.closed = False

    async def read(self) -> bytes:
        item = await self.incoming.get()
        if isinstance(item, TransportError):
            raise item
        return item

    async def write(self, octets: bytes) -> None:
        self.written.append(octets)

    async def retune(self, baud: int) -> None:
        self.baud = baud

    async def close(self) -> None:
        self.closed = True


def test_a_line_reads_writes_and_ends() -> None:
    async def work() -> None:
        link = Link()
        port = LinePort("line", link)
        link.incoming.put_nowait(b"\xe5")
        assert await port.wait(None) == [Octets(b"\xe5")]
        loop = asyncio.get_running_loop()
        started = loop.time()
        await port.send(Transmit(b"\x10", 100.02), 100.0)
        assert loop.time() - started >= 0.019
        await port.send(Transmit(b"\x68", 99.0), 100.0)
        assert link.written == [b"\x10", b"\x68"]
        await port.retune(9600)
        assert link.baud == 9600
        link.incoming.put_nowait(b"")
        with pytest.raises(TransportError, match="line is gone") as info:
            await port.wait(None)
        assert info.value.code == "transport.lost"
        await port.close()
        assert link.closed

    asyncio.run(work())


def test_a_line_that_breaks_says_why_and_closing_does_not_wait() -> None:
    async def work() -> None:
        link = Link()
        port = LinePort("line", link)
        link.incoming.put_nowait(TransportError("pulled out"))
        with pytest.raises(TransportError, match="pulled out"):
            await port.wait(None)
        await port.close()
        quiet = LinePort("line", Link())
        await quiet.close()

    asyncio.run(work())
