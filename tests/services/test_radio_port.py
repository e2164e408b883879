"""A stick as the port of a gateway: what it hears, when it is given frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from openmetering.codec.link.wireless import frame as with_crc
from openmetering.errors import InputError, TransportError
from openmetering.protocol.events import Heard, Transmit
from openmetering.services import radio_port
from openmetering.services.radio_port import StickPort, radio_place
from openmetering.transport.doors import Emit
from openmetering.transport.reception import BadLine, Notice, Reception
from openmetering.transport.source_address import parse_source
from openmetering.transport.sticks import STICKS
from tests.fleet import radio

FRAME = radio(1234)


class Door:
    """A door that delivers what a test gives it."""

    def __init__(self, items: list[object], fails: TransportError | None = None) -> None:
        self.items, self.fails = items, fails
        self.stick: object | None = None
        self.sent: list[tuple[float, bytes, str]] = []
        self.stuck = False

    async def run(self, emit: Emit) -> None:
        if self.fails is not None:
            raise self.fails
        self.stick = STICKS["im871a"]("x")
        for item in self.items:
            await emit(item)  # type: ignore[arg-type]
        await asyncio.Event().wait()

    async def send(self, frame: bytes, mode: str) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append((asyncio.get_running_loop().time(), frame, mode))


def on_port(door: Door, work: Callable[[StickPort], object], source: str = "serial:/dev/x?stick=im871a&mode=c") -> list[Notice]:
    notices: list[Notice] = []

    async def run() -> None:
        place = radio_place(parse_source(source), lambda: 0.0)
        place.door = door  # type: ignore[assignment]
        port = StickPort(place, notices.append)
        await port.open()
        try:
            await work(port)  # type: ignore[misc]
        finally:
            await port.close()

    asyncio.run(run())
    return notices


def reception(frame: bytes, **fields: object) -> Reception:
    return Reception(frame, 5.0, "x", rssi_dbm=-70.0, **fields)  # type: ignore[arg-type]


def test_frames_are_handed_on_without_crcs() -> None:
    broken = bytearray(with_crc(FRAME))
    broken[-1] ^= 1
    items = [
        reception(FRAME, crc=True),
        reception(with_crc(FRAME, "A"), frame_format="A"),
        reception(bytes(broken), frame_format="A"),
        BadLine(1, "x", InputError("no telegram")),
        Notice("x", "found a stick"),
    ]

    async def work(port: StickPort) -> None:
        assert await port.wait(1.0) == [Heard(FRAME, 5.0, -70.0)] * 2
        assert await port.wait(0.01) == []
        await port.retune(9600)  # means nothing here

    notices = on_port(Door(list(items)), work)
    assert [notice.message for notice in notices] == ["found a stick"]


def test_a_stick_gets_its_frames_at_once_and_none_that_is_late() -> None:
    door = Door([])

    async def work(port: StickPort) -> None:
        await port.send(Transmit(b"early", 100.0, 100.001), 99.0)
        await port.send(Transmit(b"late", 100.0, 100.001), 100.01)
        await port.send(Transmit(b"any time", 100.0), 200.0)

    on_port(door, work)
    assert [(frame, mode) for _, frame, mode in door.sent] == [(b"early", "c"), (b"any time", "c")]


def test_a_host_that_keeps_windows_holds_frames_back() -> None:
    door = Door([])

    async def work(port: StickPort) -> None:
        started = asyncio.get_running_loop().time()
        await port.send(Transmit(b"held", 100.05, 100.051), 100.0)
        await port.send(Transmit(b"now", 99.0, 100.1), 100.0)
        assert 0.035 <= door.sent[0][0] - started < 0.5

    on_port(door, work, "serial:/dev/x?stick=im871a&window=host&lead=10ms")
    assert [frame for _, frame, _ in door.sent] == [b"held", b"now"]


def test_a_stick_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radio_port, "_READY", 0.05)
    door = Door([])
    door.stuck = True

    async def work(port: StickPort) -> None:
        with pytest.raises(TransportError, match="does not take a frame") as info:
            await port.send(Transmit(b"x", 0.0), 0.0)
        assert info.value.code == "transport.send"

    on_port(door, work)


def test_a_door_that_cannot_be_opened_says_why() -> None:
    async def work(port: StickPort) -> None:
        raise AssertionError("opened")

    with pytest.raises(TransportError, match="no such stick"):
        on_port(Door([], TransportError("no such stick")), work)


def test_serial_and_tcp_sticks_open_their_line(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, ...]] = []

    async def serial(device: str, baud: int) -> str:
        opened.append((device, baud))
        return "serial"

    async def tcp(host: str, port: int) -> str:
        opened.append((host, port))
        return "tcp"

    monkeypatch.setattr(radio_port, "open_serial", serial)
    monkeypatch.setattr(radio_port, "open_tcp", tcp)

    async def both() -> None:
        for text in ("serial:/dev/x?stick=im871a", "tcp://192.0.2.1:7?stick=im871a"):
            await radio_place(parse_source(text), lambda: 0.0).door._opener("/dev/x", 57_600)

    asyncio.run(both())
    assert opened == [("/dev/x", 57_600), ("192.0.2.1", 7)]
