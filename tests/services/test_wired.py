"""A wired line as a service: source strings, orders, searches, rates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from openmetering.errors import InputError, ProtocolError, TransportError
from openmetering.protocol.wired.orders import (
    AnswerReceived,
    BaudSet,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    SetBaud,
    Transact,
    TransactionDone,
    TransactionFailed,
)
from openmetering.protocol.wired.scan import PrimaryScan, PrimarySeen
from openmetering.protocol.wired.search import SearchDone, Start
from openmetering.services.wired import WiredLine, find_place, open_line
from openmetering.transport.wired_door import secondary_selection
from tests.interfaces.served import served_bus
from tests.simulation.wired_meters import HEAT, wired_meter


@pytest.mark.parametrize(
    ("text", "device", "host", "port", "baud", "latency"),
    [
        ("mbus:/dev/ttyUSB1", "/dev/ttyUSB1", "", 0, 2400, 0.1),
        ("/dev/ttyUSB1", "/dev/ttyUSB1", "", 0, 2400, 0.1),
        ("mbus:/dev/ttyUSB1?baud=9600&latency=1s", "/dev/ttyUSB1", "", 0, 9600, 1.0),
        ("mbus+tcp://192.0.2.8:10001", "", "192.0.2.8", 10001, 2400, 0.5),
    ],
)
def test_places(text: str, device: str, host: str, port: int, baud: int, latency: float) -> None:
    place = find_place(text)
    assert (place.device, place.host, place.port, place.baud, place.latency) == (device, host, port, baud, latency)
    assert place.timing.baud == baud
    assert place.attempts == 3
    assert place.target is None


def test_slaves_in_places() -> None:
    assert find_place("mbus:/dev/x?address=7").target == ReadPrimary(7)
    assert find_place("mbus:/dev/x?secondary=12345678").target == ReadSecondary(secondary_selection("12345678"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tcp://192.0.2.8:1", "no wired bus"),
        ("file.txt", "no wired bus"),
        ("mbus:/dev/x?address=1&secondary=12345678", "not both"),
        ("mbus:/dev/x?address=1-3", "names several"),
        ("mbus:/dev/x?baud=0", "no rate"),
        ("mbus:/dev/x?colour=blue", "no option 'colour'"),
    ],
)
def test_places_that_are_none(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_place(text)


def on_line(link: str, work: Callable[[WiredLine], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_line(find_place(link)) as line:
            await work(line)

    asyncio.run(run())


@pytest.mark.services
def test_orders_one_after_the_other() -> None:
    async def work(line: WiredLine) -> None:
        told: list[object] = []
        assert await line.order(ReadPrimary(1), told.append) == ReadoutDone(ReadPrimary(1), 1)
        assert isinstance(told[0], AnswerReceived)
        failed = await line.order(ReadPrimary(9))
        assert isinstance(failed, ReadoutFailed)
        assert failed.reason == "no-answer"
        selected = ReadSecondary(secondary_selection("12345678"))
        done = await line.order(Transact(selected, None, "REQ-UD2"))
        assert isinstance(done, TransactionDone)
        assert len(done.frames) == 1
        with pytest.raises(ProtocolError):
            await line.order(ReadPrimary(253))

    with served_bus([wired_meter(12345678, 1, HEAT)]) as link:
        on_line(link, work)


@pytest.mark.services
def test_a_scan_tells_what_it_finds() -> None:
    async def work(line: WiredLine) -> None:
        told: list[object] = []
        await line.run(PrimaryScan(line.master.timing, attempts=1, addresses=(1, 2, 3)), Start(), told.append)
        seen = [event for event in told if isinstance(event, PrimarySeen)]
        assert [(one.primary, one.kind) for one in seen] == [(1, "slave"), (3, "slave")]
        assert told[-1] == SearchDone(5, 2, complete=True)

    with served_bus([wired_meter(12345678, 1), wired_meter(12345679, 3)]) as link:
        on_line(link, work)


@pytest.mark.services
def test_rates_on_a_pseudo_terminal() -> None:
    pytest.importorskip("serial")

    async def work(line: WiredLine) -> None:
        assert await line.order(SetBaud(ReadPrimary(1), 300)) == BaudSet(ReadPrimary(1), 300)
        assert line.master.baud == 300
        await line.use_baud(2400)
        assert line.master.baud == 2400
        assert await line.order(ReadPrimary(1)) == ReadoutDone(ReadPrimary(1), 1)
        failed = await line.order(SetBaud(ReadPrimary(1), 9600))  # the slave knows 300 and 2400
        assert isinstance(failed, TransactionFailed)
        assert line.master.baud == 2400

    with served_bus([wired_meter(12345678, 1)], tcp=False) as link:
        on_line(link, work)


@pytest.mark.services
def test_a_line_that_is_not_there() -> None:
    async def work(line: WiredLine) -> None:
        raise AssertionError("opened")

    with pytest.raises(TransportError, match="cannot be opened"):
        on_line("mbus:/dev/no-such-line", work)
    with pytest.raises(TransportError, match="cannot be reached"):
        on_line("mbus+tcp://127.0.0.1:1", work)
