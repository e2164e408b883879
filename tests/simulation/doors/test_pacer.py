"""Virtual time against real time."""

from __future__ import annotations

import asyncio
import time

import pytest

from openmetering.errors import ProtocolError
from openmetering.simulation.doors.pacer import AT_ONCE, ON_REQUEST, Pacer
from openmetering.simulation.kernel import Kernel


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_time_does_not_go_back() -> None:
    for speed in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="does not go back"):
            Pacer(Kernel(), speed)


def test_ten_virtual_seconds_in_a_fifth_of_a_second() -> None:
    kernel = Kernel()
    seen: list[float] = []
    for at in range(1, 11):
        kernel.call_at(float(at), seen.append)
    started = time.monotonic()
    asyncio.run(Pacer(kernel, 50.0).run(10.0))
    assert seen == [float(at) for at in range(1, 11)]
    assert kernel.now == 10.0
    assert 0.19 < time.monotonic() - started < 2.0


def test_at_once_to_an_end() -> None:
    kernel = Kernel()
    seen: list[float] = []

    def again(now: float) -> None:
        seen.append(now)
        kernel.call_at(now + 1.0, again)

    kernel.call_at(1.0, again)
    asyncio.run(Pacer(kernel, AT_ONCE).run(20_000.0))
    assert len(seen) == 20_000
    assert kernel.now == 20_000.0


def test_at_once_waits_for_gates_and_for_something_to_do() -> None:
    async def work() -> None:
        kernel = Kernel()
        seen: list[float] = []
        kernel.call_at(5.0, seen.append)
        pacer = Pacer(kernel, AT_ONCE)
        opened = asyncio.Event()

        async def gate() -> None:
            await opened.wait()

        release = pacer.hold(gate)
        task = asyncio.ensure_future(pacer.run())
        await asyncio.sleep(0.02)
        assert seen == []
        opened.set()
        while not seen:
            await asyncio.sleep(0)
        release()
        pacer.do(lambda: kernel.call_at(7.0, seen.append))
        while len(seen) < 2:
            await asyncio.sleep(0)
        assert seen == [5.0, 7.0]
        await cancelled(task)

    asyncio.run(work())


def test_on_request_time_stands_still() -> None:
    async def work() -> None:
        kernel = Kernel()
        seen: list[float] = []
        for at in range(1, 11):
            kernel.call_at(float(at), seen.append)
        pacer = Pacer(kernel, ON_REQUEST)
        task = asyncio.ensure_future(pacer.run(9.0))
        await asyncio.sleep(0.02)
        assert (seen, kernel.now) == ([], 0.0)
        pacer.allow(3.5)
        await asyncio.sleep(0.01)
        assert (seen, kernel.now) == ([1.0, 2.0, 3.0], 3.5)
        pacer.allow(2.0)  # no way back
        kernel.call_at(4.0, lambda now: pacer.allow(6.0))  # what happens may allow more
        pacer.allow(4.0)
        await asyncio.sleep(0.01)
        assert (len(seen), kernel.now) == (6, 6.0)
        pacer.allow(100.0)
        await task
        assert kernel.now == 9.0

    asyncio.run(work())


def test_an_action_from_outside_happens_at_the_time_that_has_come() -> None:
    async def work() -> None:
        kernel = Kernel()
        pacer = Pacer(kernel, 100.0)
        task = asyncio.ensure_future(pacer.run())
        await asyncio.sleep(0.05)
        seen: list[float] = []
        pacer.do(lambda: seen.append(kernel.now))
        await asyncio.sleep(0.01)
        assert len(seen) == 1
        assert seen[0] >= 4.9
        await cancelled(task)

    asyncio.run(work())


@pytest.mark.parametrize("speed", [ON_REQUEST, 1000.0, AT_ONCE])
def test_errors_of_machines_end_the_run(speed: float) -> None:
    kernel = Kernel()

    def fail(now: float) -> None:
        raise ProtocolError("IDLE", "Octets")

    kernel.call_at(0.5, fail)
    pacer = Pacer(kernel, speed)
    pacer.allow(1.0)
    with pytest.raises(ProtocolError):
        asyncio.run(pacer.run(1.0))
