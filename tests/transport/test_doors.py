"""Doors with real files, sockets and pseudo-terminals, and with links that are played."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openmetering.codec.link.wired import unframe
from openmetering.errors import TransportError
from openmetering.transport.links import BlockingReader, Link, open_serial, open_tcp
from openmetering.transport.reception import BadLine, Item, Notice, Reception
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import parse_source
from openmetering.transport.sources import open_source
from openmetering.transport.sticks import STICKS, Step
from openmetering.transport.sticks.amb8465 import Amb8465
from openmetering.transport.sticks.base import crc16_ccitt
from openmetering.transport.stream_doors import FileDoor, StdinDoor, TcpClientDoor, TcpServerDoor, UdpDoor, file_mark
from openmetering.transport.wired_door import WiredDoor
from tests.fleet import bare_wired, radio, wired

FRAMES = [radio(value, access_number=value) for value in range(1, 6)]
LINES = "".join(f"{frame.hex()}\n" for frame in FRAMES).encode()


class Heap:
    """Collects what a door delivers; ``wait`` for a number of receptions."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    async def emit(self, item: Item) -> None:
        self.items.append(item)

    @property
    def frames(self) -> list[bytes]:
        return [item.frame for item in self.items if isinstance(item, Reception)]

    @property
    def notices(self) -> list[str]:
        return [item.message for item in self.items if isinstance(item, Notice)]

    async def wait(self, test: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not test():
                await asyncio.sleep(0.005)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def play(work: Callable[[Heap], Awaitable[None]]) -> Heap:
    heap = Heap()
    asyncio.run(asyncio.wait_for(work(heap), 20))  # type: ignore[arg-type]
    return heap


# -- standard input and files ---------------------------------------------------------------------


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)

        async def work(heap: Heap) -> None:
            door = StdinDoor(parse_source("-"), clock=lambda: 5.0)
            task = asyncio.ensure_future(door.run(heap.emit))
            os.write(writing, LINES[:100])
            await asyncio.sleep(0.02)
            os.write(writing, LINES[100:-1])
            os.close(writing)
            await task

        heap = play(work)
    assert heap.frames == FRAMES
    assert {item.received_at for item in heap.items if isinstance(item, Reception)} == {5.0}


def test_a_file_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"# head\n" + LINES + b"broken\n")
    door = FileDoor(parse_source(str(path)))
    heap = play(lambda heap: door.run(heap.emit))
    assert heap.frames == FRAMES
    (bad,) = [item for item in heap.items if isinstance(item, BadLine)]
    assert (bad.number, bad.position) == (7, path.stat().st_size)


def test_a_file_of_raw_octets_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "bus.bin"
    path.write_bytes(wired(1) + b"\x00" + wired(2))
    heap = play(lambda heap: FileDoor(parse_source(str(path))).run(heap.emit))
    assert heap.frames == [wired(1), wired(2)]


def test_a_missing_file(tmp_path: Path) -> None:
    door = FileDoor(parse_source(str(tmp_path / "none")))
    with pytest.raises(TransportError) as info:
        play(lambda heap: door.run(heap.emit))
    assert info.value.code == "transport.open"
    with pytest.raises(TransportError):
        door.mark()
    assert door.resume(5, "1:00") is False


def test_a_file_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(LINES)
    first = FileDoor(parse_source(str(path)))
    mark = first.mark()
    heap = play(lambda heap: first.run(heap.emit))
    position = next(item.position for item in heap.items if isinstance(item, Reception) and item.frame == FRAMES[2])
    assert position is not None
    with path.open("ab") as file:
        file.write(b"wrong\n")
    second = FileDoor(parse_source(str(path)))
    assert second.resume(position, mark)
    heap = play(lambda heap: second.run(heap.emit))
    assert heap.frames == FRAMES[3:]
    assert [item.number for item in heap.items if isinstance(item, BadLine)] == [6]


def test_another_file_of_the_same_name_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(LINES)
    mark = file_mark(str(path))
    path.write_bytes(b"# other\n" + LINES)
    door = FileDoor(parse_source(str(path)))
    assert not door.resume(100, mark)
    path.write_bytes(LINES[:50])
    assert not door.resume(100, mark)
    assert not FileDoor(parse_source(f"{path}?from=start")).resume(10, file_mark(str(path)))
    assert not door.resume(10, "nonsense")


def test_a_followed_file_that_grows_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(LINES[:30])

    async def work(heap: Heap) -> None:
        task = asyncio.ensure_future(FileDoor(parse_source(f"file:{path}?follow=yes")).run(heap.emit))
        await asyncio.sleep(0.05)
        with path.open("ab") as file:
            file.write(LINES[30:])
        await heap.wait(lambda: len(heap.frames) == 5)
        path.rename(tmp_path / "log.1")
        await asyncio.sleep(0.3)
        path.write_bytes(LINES)
        await heap.wait(lambda: len(heap.frames) == 10)
        path.write_bytes(LINES[: len(LINES) // 5])
        await heap.wait(lambda: len(heap.frames) == 11)
        await ended(task)

    heap = play(work)
    assert heap.frames == FRAMES + FRAMES + FRAMES[:1]
    assert len(heap.notices) == 2


def test_simulation_lines_with_a_start_time(tmp_path: Path) -> None:
    path = tmp_path / "simulation.txt"
    path.write_text(f"telegram=|{FRAMES[0].hex()}|+5\n")
    heap = play(lambda heap: FileDoor(parse_source(f"file:{path}?start=2025-01-01T00:00:00Z")).run(heap.emit))
    (item,) = heap.items
    assert isinstance(item, Reception)
    assert item.received_at == 1_735_689_605.0


# -- sockets --------------------------------------------------------------------------------------


@pytest.mark.services
def test_tcp_client_reconnects() -> None:
    async def work(heap: Heap) -> None:
        connections = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            writer.write(LINES if connections == 1 else LINES[: len(LINES) // 5])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        door = TcpClientDoor(parse_source(f"tcp://127.0.0.1:{port}"))
        door.back_off.first = door.back_off._next = 0.01
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: len(heap.frames) >= 6)
        await ended(task)
        server.close()

    heap = play(work)
    assert heap.frames[:6] == FRAMES + FRAMES[:1]
    assert "closed the connection; next attempt in 0.01 s" in heap.notices[0]
    assert "connected again" in heap.notices


@pytest.mark.services
def test_tcp_client_once() -> None:
    async def work(heap: Heap) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(LINES[:-1])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await TcpClientDoor(parse_source(f"tcp://127.0.0.1:{port}?reconnect=no")).run(heap.emit)
        server.close()

    assert play(work).frames == FRAMES


@pytest.mark.services
def test_tcp_client_without_server() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TransportError) as info:
        play(lambda heap: TcpClientDoor(parse_source(f"tcp://127.0.0.1:{port}")).run(heap.emit))
    assert info.value.code == "transport.open"
    assert str(port) in info.value.message


@pytest.mark.services
def test_tcp_server_takes_lines_and_raw_octets_from_many_senders() -> None:
    async def work(heap: Heap) -> None:
        door = TcpServerDoor(parse_source("tcp-listen://127.0.0.1:0"))
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: bool(heap.notices))
        for octets in (LINES[: len(LINES) // 5], FRAMES[1], f"T1;1;1;2024-01-01 00:00:00Z;-65;;;0x{FRAMES[2].hex()}".encode()):
            link = await open_tcp("127.0.0.1", door.port)
            await link.write(octets)
            await link.close()
        await heap.wait(lambda: len(heap.frames) == 3)
        await ended(task)

    assert sorted(play(work).frames) == sorted(FRAMES[:3])


@pytest.mark.services
def test_tcp_server_ends_although_a_sender_stays_connected() -> None:
    async def work(heap: Heap) -> None:
        door = TcpServerDoor(parse_source("tcp-listen://127.0.0.1:0"))
        door.LARGEST = 1  # type: ignore[misc]
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: bool(heap.notices))
        link = await open_tcp("127.0.0.1", door.port)
        await link.write(LINES[:-1])  # the last line has no end
        await heap.wait(lambda: len(heap.frames) == 4)
        other = await open_tcp("127.0.0.1", door.port)
        assert await other.read() == b""
        await asyncio.wait_for(ended(task), 2)
        assert await link.read() == b""
        await link.close()
        await other.close()

    heap = play(work)
    assert heap.frames == FRAMES
    assert any("one more was refused" in text for text in heap.notices)


@pytest.mark.services
def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        datagrams.bind(("127.0.0.1", 0))
        ports = taken.getsockname()[1], datagrams.getsockname()[1]
        for text in (f"tcp-listen://127.0.0.1:{ports[0]}", f"udp://127.0.0.1:{ports[1]}"):
            door = open_source(text)
            with pytest.raises(TransportError, match="cannot listen"):
                play(lambda heap, door=door: door.run(heap.emit))


@pytest.mark.services
def test_udp_datagrams() -> None:
    async def work(heap: Heap) -> None:
        door = UdpDoor(parse_source("udp://127.0.0.1:0"))
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: bool(heap.notices))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for octets in (FRAMES[0], FRAMES[1].hex().encode(), LINES, b"nonsense"):
                sender.sendto(octets, ("127.0.0.1", door.port))
        await heap.wait(lambda: len(heap.frames) == 7 and any(isinstance(item, BadLine) for item in heap.items))
        await ended(task)

    heap = play(work)
    assert heap.frames == FRAMES[:2] + FRAMES


# -- links ----------------------------------------------------------------------------------------


def test_blocking_reader_passes_errors_and_stays_at_the_end() -> None:
    async def work(heap: Heap) -> None:
        source = io.BytesIO(b"abcdef")
        reader = BlockingReader(lambda: source.read(4), "test")
        assert [await reader.read() for _ in range(4)] == [b"abcd", b"ef", b"", b""]

        def broken() -> bytes:
            raise OSError("pulled out")

        failing = BlockingReader(broken, "test")
        for _ in range(2):
            with pytest.raises(OSError, match="pulled out"):
                await failing.read()
        reader.stop()
        failing.stop()

    play(work)


@pytest.mark.services
@pytest.mark.parametrize("threaded", [True, False])
def test_serial_line_over_a_pseudo_terminal(threaded: bool) -> None:
    pytest.importorskip("serial")
    master, slave = os.openpty()
    name = os.ttyname(slave)

    async def work(heap: Heap) -> None:
        link = await open_serial(name, 9600, threaded=threaded)
        await link.write(b"question")
        assert await asyncio.to_thread(os.read, master, 100) == b"question"
        os.write(master, b"answer")
        got = b""
        while len(got) < 6:
            got += await link.read()
        assert got == b"answer"
        await link.close()

    play(work)
    os.close(master)
    os.close(slave)


def test_a_serial_line_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("serial")
    for threaded in (True, False):
        with pytest.raises(TransportError) as info:
            asyncio.run(open_serial(str(tmp_path / "none"), 9600, threaded=threaded))
        assert info.value.code == "transport.open"


# -- sticks ---------------------------------------------------------------------------------------


class PlayedLink:
    """A line whose other end is a function from what is written to what comes back."""

    def __init__(self, answer: Callable[[bytes], list[bytes]], first: bytes = b"") -> None:
        self._answer = answer
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.written: list[bytes] = []
        self.closed = False
        if first:
            self.incoming.put_nowait(first)

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, octets: bytes) -> None:
        self.written.append(octets)
        for answer in self._answer(octets):
            self.incoming.put_nowait(answer)

    async def close(self) -> None:
        self.closed = True


def hci(endpoint: int, message: int, payload: bytes = b"", rssi: int | None = None) -> bytes:
    body = bytes(((0x80 if rssi is None else 0xC0) | endpoint, message, len(payload))) + payload
    body += b"" if rssi is None else bytes((rssi,))
    return b"\xa5" + body + crc16_ccitt(body).to_bytes(2, "little")


def im871a(octets: bytes) -> list[bytes]:
    """The other end of an iM871A."""
    answers = {(1, 1): b"", (1, 3): b"\x00", (1, 0x0F): bytes.fromhex("3300130278563412"), (2, 1): b"\x00"}
    payload = answers.get((octets[1], octets[2])) if octets[:1] == b"\xa5" else None
    return [] if payload is None else [hci(octets[1], octets[2] + 1, payload)]


def serial_door(text: str, links: list[PlayedLink]) -> tuple[SerialDoor, list[tuple[str, int]]]:
    opened: list[tuple[str, int]] = []
    waiting = iter(links)

    async def opener(device: str, baud: int) -> Link:
        opened.append((device, baud))
        link = next(waiting, None)
        if link is None:
            raise TransportError("no such device", code="transport.open")
        return link

    return SerialDoor(parse_source(text), opener=opener, clock=lambda: 42.0), opened


def test_a_named_stick_is_set_up_and_heard() -> None:
    async def work(heap: Heap) -> None:
        link = PlayedLink(im871a, first=hci(2, 3, FRAMES[0][1:], 95))
        door, opened = serial_door("serial:/dev/x?stick=im871a&mode=t", [link])
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: len(heap.frames) == 1)
        link.incoming.put_nowait(b"\x00" + hci(2, 3, FRAMES[1][1:], 95))
        await heap.wait(lambda: len(heap.frames) == 2)
        await ended(task)
        assert opened == [("/dev/x", 57_600)]
        assert link.closed

    heap = play(work)
    items = [item for item in heap.items if isinstance(item, Reception)]
    assert [(item.frame, item.rssi_dbm, item.mode, item.received_at) for item in items] == [
        (FRAMES[0], -75.0, "T", 42.0), (FRAMES[1], -75.0, "T", 42.0),
    ]  # fmt: skip
    assert "iM871A, firmware 13h, number 12345678" in heap.notices
    assert any("1 octets skipped" in text for text in heap.notices)


def test_the_kind_of_stick_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def cul(octets: bytes) -> list[bytes]:
        if octets == b"V\r\n":
            return [b"V 1.67 nano", b"CUL868\r\n"]
        return [b"CMODE\r\n"] if octets == b"brc\r\n" else []

    async def work(heap: Heap) -> None:
        links = [PlayedLink(lambda octets: []), PlayedLink(lambda octets: []), PlayedLink(cul)]
        for name in ("im871a", "iu891a"):
            monkeypatch.setattr(STICKS[name], "probe", lambda self: Step(b"question", "answer", "probe", 0.02, 2))
        door, opened = serial_door("/dev/x?mode=ct", links)
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: door.stick is not None)
        await ended(task)
        assert [baud for _, baud in opened] == [57_600, 115_200, 38_400]
        assert [link.closed for link in links] == [True, True, True]
        assert len(links[0].written) == 2
        assert links[2].written == [b"V\r\n", b"V\r\n", b"brc\r\n", b"X21\r\n"]

    assert "found a stick cul" in play(work).notices


def test_a_stick_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    link = PlayedLink(lambda octets: [b"\x00"])
    door, _ = serial_door("serial:/dev/x?stick=amb8465", [link])
    monkeypatch.setattr(Amb8465, "setup", lambda self, mode: [Step(b"question", "8A", "read the parameters", 0.01, 2)])
    with pytest.raises(TransportError, match=r"does not answer \(read the parameters\)") as info:
        play(lambda heap: door.run(heap.emit))
    assert info.value.code == "transport.setup"
    assert link.written == [b"question"] * 2
    assert link.closed


def test_no_stick_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: SerialDoor, *args: object) -> bool:
        return False

    monkeypatch.setattr(SerialDoor, "_perform", never)
    links = [PlayedLink(lambda octets: []) for _ in range(5)]
    door, _ = serial_door("serial:/dev/x", links)
    with pytest.raises(TransportError, match="no known stick answers"):
        play(lambda heap: door.run(heap.emit))
    assert all(link.closed for link in links)


def test_a_stick_that_is_pulled_out_and_comes_back() -> None:
    async def work(heap: Heap) -> None:
        first, second = PlayedLink(im871a), PlayedLink(im871a)
        door, _ = serial_door("serial:/dev/x?stick=im871a", [first, second])
        door.back_off.first = door.back_off._next = 0.01
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: len(first.written) == 3)
        first.incoming.put_nowait(b"")
        await heap.wait(lambda: "connected again" in heap.notices)
        second.incoming.put_nowait(hci(2, 3, FRAMES[0][1:], 95))
        await heap.wait(lambda: len(heap.frames) == 1)
        await ended(task)

    assert any("is gone; next attempt" in text for text in play(work).notices)


def test_sending_while_listening() -> None:
    async def work(heap: Heap) -> None:
        link = PlayedLink(im871a)
        door, _ = serial_door("serial:/dev/x?stick=im871a&mode=ct", [link])
        with pytest.raises(TransportError, match="not open"):
            await door.send(FRAMES[0], "t")
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: door.stick is not None)
        await door.send(FRAMES[0], "t")
        assert link.written[-2] == b"\xa5\x02\x01" + FRAMES[0]
        link.incoming.put_nowait(hci(2, 3, FRAMES[1][1:], 95))
        await heap.wait(lambda: heap.frames == [FRAMES[1]])
        assert door.stick is not None
        door.stick.send = lambda frame, mode: [Step(b"x", "never", "wait", 0.01, 1)]  # type: ignore[method-assign]
        with pytest.raises(TransportError, match="did not confirm: wait"):
            await door.send(FRAMES[0], "t")
        await ended(task)

    play(work)


# -- wired converters -----------------------------------------------------------------------------


class Bus:
    """Slaves behind a converter: primary addresses to telegrams, one selectable number; with or without echo."""

    def __init__(self, slaves: dict[int, list[bytes]], *, number: str = "12345678", echo: bool = False) -> None:
        self.slaves = slaves
        self.number = number
        self.echo = echo
        self.selected: int | None = None
        self.place: dict[int, tuple[int, int]] = {}

    def __call__(self, octets: bytes) -> list[bytes]:
        frame, _ = unframe(octets)
        answer = self.answer(frame.control, frame.address, frame.data)
        return ([octets] if self.echo else []) + (
            [] if answer is None else [answer[:3], answer[3:]] if len(answer) > 3 else [answer]
        )

    def answer(self, control: int, address: int, data: bytes) -> bytes | None:
        if address == 253 and control == 0x53:
            self.selected = next(iter(self.slaves)) if data[1:5] == bytes.fromhex(self.number)[::-1] else None
            return b"\xe5" if self.selected is not None else None
        if address == 253 and control == 0x40:
            was, self.selected = self.selected, None
            return b"\xe5" if was is not None else None
        slave = self.selected if address == 253 else address
        if slave not in self.slaves:
            return None
        if control == 0x40:
            self.place.pop(slave, None)
            return b"\xe5"
        bit = control >> 5 & 1
        last_bit, index = self.place.get(slave, (1 - bit, -1))
        index += bit != last_bit
        self.place[slave] = (bit, index)
        return self.slaves[slave][min(index, len(self.slaves[slave]) - 1)]


def wired_door(text: str, links: list[PlayedLink]) -> WiredDoor:
    waiting = iter(links)

    async def opener() -> Link:
        return next(waiting)

    return WiredDoor(parse_source(text), opener=opener, clock=lambda: 7.0)


@pytest.mark.parametrize("echo", [False, True])
def test_poll_by_primary_address(echo: bool) -> None:
    bus = Bus({1: [wired(1, primary=1)], 2: [wired(2, primary=2, more=True), bare_wired(3, 2)]}, echo=echo)
    door = wired_door("mbus:/dev/x?address=1,2,3&latency=5ms&attempts=1&baud=38400", [PlayedLink(bus)])
    heap = play(lambda heap: door.run(heap.emit))
    assert heap.frames == [wired(1, primary=1), wired(2, primary=2, more=True), bare_wired(3, 2)]
    items = [item for item in heap.items if isinstance(item, Reception)]
    assert {(item.mode, item.crc, item.received_at, item.source) for item in items} == {("wired", True, 7.0, "mbus:/dev/x")}
    assert [item.address_hint for item in items] == ["primary address 1", "primary address 2", "primary address 2"]
    assert heap.notices == ["primary address 3 does not answer"]


def test_poll_by_secondary_address() -> None:
    bus = Bus({9: [wired(1, primary=9)]})
    door = wired_door("mbus:/dev/x?secondary=12345678,87654321&latency=5ms&attempts=1&baud=38400", [PlayedLink(bus)])
    heap = play(lambda heap: door.run(heap.emit))
    assert heap.frames == [wired(1, primary=9)]
    assert heap.notices == ["secondary address 87654321 is not on the bus (no slave took the selection)"]


def test_poll_again_and_again_and_after_a_loss() -> None:
    async def work(heap: Heap) -> None:
        bus = Bus({1: [wired(1, primary=1)]})
        first, second = PlayedLink(bus), PlayedLink(bus)
        door = wired_door("mbus:/dev/x?address=1&every=20ms&latency=5ms&baud=38400", [first, second])
        door.back_off.first = door.back_off._next = 0.01
        task = asyncio.ensure_future(door.run(heap.emit))
        await heap.wait(lambda: len(heap.frames) >= 3)
        first.incoming.put_nowait(b"\x55")  # noise between two polls does not disturb
        first.incoming.put_nowait(b"")
        await heap.wait(lambda: "connected again" in heap.notices)
        number = len(heap.frames)
        await heap.wait(lambda: len(heap.frames) > number)
        await ended(task)

    heap = play(work)
    assert any("is gone" in text for text in heap.notices)


@pytest.mark.services
def test_a_converter_behind_tcp() -> None:
    async def work(heap: Heap) -> None:
        bus = Bus({1: [wired(1, primary=1)]})

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while octets := await reader.read(300):
                for answer in bus(octets):
                    writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await open_source(f"mbus+tcp://127.0.0.1:{port}?address=1").run(heap.emit)
        server.close()

    assert play(work).frames == [wired(1, primary=1)]
