"""Pseudo-terminals and TCP ports that programs open and leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import termios
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openmetering.errors import InputError, TransportError
from openmetering.simulation.doors.outlets import TcpListener, open_outlet
from openmetering.simulation.doors.pseudo_terminal import PseudoTerminal
from tests.simulation.doors.open_doors import until

pytestmark = pytest.mark.services


class Notes:
    def __init__(self) -> None:
        self.octets = b""
        self.changes: list[bool] = []

    def receive(self, octets: bytes) -> None:
        self.octets += octets

    def changed(self, present: bool) -> None:
        self.changes.append(present)


def serve(outlet: PseudoTerminal | TcpListener, work: Callable[[Notes], Awaitable[None]]) -> Notes:
    notes = Notes()

    async def all_of_it() -> None:
        await outlet.open(notes.receive, notes.changed)
        try:
            async with asyncio.timeout(20):
                await work(notes)
        finally:
            await outlet.close()

    asyncio.run(all_of_it())
    return notes


def opened(path: str) -> int:
    """Open like a serial program does: raw, and what was there is thrown away."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd)
    return fd


async def read(fd: int, count: int) -> bytes:
    got = b""

    def more() -> bool:
        nonlocal got
        with contextlib.suppress(BlockingIOError):
            got += os.read(fd, count - len(got))
        return len(got) >= count

    await until(more)
    return got


# -- pseudo-terminal --------------------------------------------------------------------------------


def test_octets_both_ways_unchanged() -> None:
    every = bytes(range(256))
    outlet = PseudoTerminal()

    async def work(notes: Notes) -> None:
        assert (outlet.present, outlet.baud) == (False, 2400)
        fd = opened(outlet.name)
        os.write(fd, every)
        await until(lambda: notes.octets == every)
        assert outlet.present
        outlet.write(every)
        assert await read(fd, 256) == every
        await outlet.drained()
        os.close(fd)
        await until(lambda: not outlet.present)

    assert serve(outlet, work).changes == [True, False]
    assert (outlet.lost, outlet.baud, outlet.present) == (0, None, False)


def test_programs_in_turn() -> None:
    """Who comes later gets nothing of what was meant for who was there, and finds the first settings."""
    outlet = PseudoTerminal(baud=9600)

    async def work(notes: Notes) -> None:
        outlet.write(b"nobody")
        assert outlet.lost == 6
        for number in range(3):
            fd = opened(outlet.name)
            os.write(fd, b"%d" % number)
            await until(lambda n=number: notes.octets.endswith(b"%d" % n))  # type: ignore[misc]
            assert outlet.baud == 9600
            attributes = termios.tcgetattr(fd)
            attributes[4] = attributes[5] = termios.B300
            attributes[3] |= termios.ICANON
            termios.tcsetattr(fd, termios.TCSANOW, attributes)
            assert outlet.baud == 300
            outlet.write(b"left behind\n")
            await asyncio.sleep(0.01)
            os.close(fd)
            await until(lambda: not outlet.present)
        fd = opened(outlet.name)
        await until(lambda: outlet.present)
        outlet.write(b"new")
        assert await read(fd, 3) == b"new"
        os.close(fd)

    assert serve(outlet, work).octets == b"012"


def test_a_rate_without_a_name() -> None:
    outlet = PseudoTerminal()

    async def work(notes: Notes) -> None:
        fd = opened(outlet.name)
        attributes = termios.tcgetattr(fd)
        attributes[4] = attributes[5] = termios.B50
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        assert outlet.baud is None
        os.close(fd)

    serve(outlet, work)


def test_who_does_not_read_loses_octets() -> None:
    outlet = PseudoTerminal()

    async def work(notes: Notes) -> None:
        fd = opened(outlet.name)
        await until(lambda: outlet.present)
        for _ in range(30):
            outlet.write(bytes(10_000))
        assert outlet.lost > 0
        lost = outlet.lost
        wait = asyncio.ensure_future(outlet.drained())
        got = len(await read(fd, 300_000 - lost))
        await wait
        assert got + lost == 300_000
        os.close(fd)

    serve(outlet, work)


def test_a_program_that_leaves_with_octets_waiting() -> None:
    outlet = PseudoTerminal()

    async def work(notes: Notes) -> None:
        fd = opened(outlet.name)
        await until(lambda: outlet.present)
        outlet.write(bytes(60_000))
        os.close(fd)
        await until(lambda: not outlet.present)
        await outlet.drained()
        assert outlet.lost > 0

    serve(outlet, work)


def test_the_end_of_an_outlet_is_a_hang_up() -> None:
    outlet = PseudoTerminal()
    fds: list[int] = []

    async def work(notes: Notes) -> None:
        fds.append(opened(outlet.name))
        await until(lambda: outlet.present)

    serve(outlet, work)
    poll = select.poll()
    poll.register(fds[0], select.POLLIN)
    assert poll.poll(0)[0][1] & select.POLLHUP
    os.close(fds[0])


def test_a_link_to_the_pseudo_terminal(tmp_path: Path) -> None:
    path = tmp_path / "meters"
    path.symlink_to(tmp_path / "old")  # left behind by a run that was killed
    outlet = PseudoTerminal(str(path))

    async def work(notes: Notes) -> None:
        assert outlet.name == str(path)
        fd = opened(str(path))
        os.write(fd, b"x")
        await until(lambda: notes.octets == b"x")
        os.close(fd)

    serve(outlet, work)
    assert not path.is_symlink()


def test_a_link_where_something_is_already(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    outlet = PseudoTerminal(str(path))

    async def work(notes: Notes) -> None:
        raise AssertionError("it must not open")

    with pytest.raises(TransportError) as info:
        serve(outlet, work)
    assert info.value.code == "transport.open"
    assert path.read_text() == "precious"


# -- TCP --------------------------------------------------------------------------------------------


def test_a_connection() -> None:
    outlet = TcpListener()

    async def work(notes: Notes) -> None:
        outlet.write(b"nobody")
        assert (outlet.lost, outlet.present, outlet.baud) == (6, False, None)
        for number in (b"1", b"2"):
            reader, writer = await asyncio.open_connection(outlet.host, outlet.port)
            writer.write(number)
            await until(lambda n=number: notes.octets.endswith(n))  # type: ignore[misc]
            outlet.write(b"to " + number)
            await outlet.drained()
            assert await reader.readexactly(4) == b"to " + number
            writer.close()
            await until(lambda: not outlet.present)

    assert serve(outlet, work).changes == [True, False, True, False]


def test_one_more_is_turned_away() -> None:
    outlet = TcpListener(largest=2)

    async def work(notes: Notes) -> None:
        links = [await asyncio.open_connection(outlet.host, outlet.port) for _ in range(2)]
        await until(lambda: len(outlet._writers) == 2)
        reader, writer = await asyncio.open_connection(outlet.host, outlet.port)
        assert await reader.read() == b""
        writer.close()
        outlet.write(b"all")
        for reader, writer in links:
            assert await reader.readexactly(3) == b"all"
            writer.close()
        await until(lambda: not outlet.present)

    assert serve(outlet, work).changes == [True, False]


def test_who_does_not_read_from_tcp_loses_octets() -> None:
    outlet = TcpListener()

    async def work(notes: Notes) -> None:
        link = socket.create_connection((outlet.host, outlet.port))
        await until(lambda: outlet.present)
        for _ in range(3000):
            outlet.write(bytes(10_000))
        assert outlet.lost > 0
        link.close()
        await until(lambda: not outlet.present)

    serve(outlet, work)


def test_the_end_of_a_listener_lets_its_program_go() -> None:
    outlet = TcpListener()
    links: list[asyncio.StreamReader] = []

    async def work(notes: Notes) -> None:
        reader, _ = await asyncio.open_connection(outlet.host, outlet.port)
        await until(lambda: outlet.present)
        outlet.write(b"last words")
        await outlet.close()
        assert await reader.read() == b"last words"
        links.append(reader)

    serve(outlet, work)
    assert links


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outlet = TcpListener(port=taken.getsockname()[1])

        async def work(notes: Notes) -> None:
            raise AssertionError("it must not open")

        with pytest.raises(TransportError) as info:
            serve(outlet, work)
    assert info.value.code == "transport.open"


# -- names ------------------------------------------------------------------------------------------


def test_names_of_outlets() -> None:
    assert isinstance(open_outlet("pty"), PseudoTerminal)
    assert open_outlet("pty:bus").name == "bus"
    listener = open_outlet("tcp:0.0.0.0:4001", largest=3)
    assert isinstance(listener, TcpListener)
    assert (listener.host, listener.port, listener.largest) == ("0.0.0.0", 4001, 3)
    assert open_outlet("tcp://127.0.0.1:0").name == "127.0.0.1:0"
    assert open_outlet("tcp:[::1]:99").name == "::1:99"
    assert open_outlet("tcp:4001").name == "127.0.0.1:4001"


@pytest.mark.parametrize("text", ["", "udp:1", "tcp:", "tcp:host:", "tcp:host:99999", "serial:/dev/x"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(InputError) as info:
        open_outlet(text)
    assert info.value.code == "input.outlet"


def test_a_rate_that_no_line_has() -> None:
    with pytest.raises(InputError):
        open_outlet("pty", baud=1234)
