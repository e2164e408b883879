"""A simulated segment behind a pseudo-terminal and TCP, asked by our own wired door and by hand."""

from __future__ import annotations

import asyncio
import os
import termios
import time
from collections.abc import Callable

import pytest

from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.protocol.wired.slave import SlaveConfig
from openmetering.simulation.doors.outlets import Outlet, TcpListener
from openmetering.simulation.doors.pacer import AT_ONCE, ON_REQUEST, Pacer
from openmetering.simulation.doors.pseudo_terminal import PseudoTerminal
from openmetering.simulation.doors.wired_pty import RequestGate, WiredSegmentDoor
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.wired_bus import WiredBus
from openmetering.transport.reception import Item, Notice, Reception
from openmetering.transport.source_address import parse_source
from openmetering.transport.wired_door import WiredDoor
from tests.simulation.doors.open_doors import play, until
from tests.simulation.wired_meters import HEAT, wired_meter

ASK = WiredFrame.short(0x5B, 1).encode()
NKE = WiredFrame.short(0x40, 1).encode()


class Heap:
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


def segment() -> WiredBus:
    bus = WiredBus(Kernel())
    bus.attach(wired_meter(11111111, 1))
    bus.attach(wired_meter(22222222, 2, HEAT, device_type=0x04))
    bus.attach(wired_meter(33333333, 3, config=SlaveConfig(bauds=(300, 2400, 9600))))
    return bus


def doors(bus: WiredBus, outlet: Outlet) -> Callable[[Pacer], tuple[WiredSegmentDoor, ...]]:
    return lambda pacer: (WiredSegmentDoor(bus, pacer, outlet),)


def answer_of(octets: bytes) -> str:
    """Identification number of a wired answer."""
    return unframe(octets)[0].data[1:5][::-1].hex()


# -- the gate -----------------------------------------------------------------------------------------


def test_the_gate_lets_whole_frames_through() -> None:
    frame = WiredFrame.long(0x53, 253, bytes(9)).encode()
    gate = RequestGate()
    for at in range(len(frame) - 1):
        assert gate.feed(frame[at : at + 1]) == b""
    assert gate.holding
    assert gate.feed(frame[-1:] + ASK + ASK[:2]) == frame + ASK
    assert gate.feed(ASK[2:]) == ASK
    assert not gate.holding


def test_the_gate_holds_what_is_no_frame_until_it_is_flushed() -> None:
    gate = RequestGate()
    assert gate.feed(bytes.fromhex("68 03 04 68 55 55")) == b""
    assert gate.flush() == bytes.fromhex("68 03 04 68 55 55")
    assert (gate.flush(), gate.holding) == (b"", False)


# -- our own master -----------------------------------------------------------------------------------


@pytest.mark.services
@pytest.mark.parametrize("speed", [ON_REQUEST, 20.0, AT_ONCE])
@pytest.mark.parametrize("way", ["pty", "tcp"])
def test_our_own_door_reads_by_both_addresses(way: str, speed: float) -> None:
    pytest.importorskip("serial")
    bus = segment()
    outlet = PseudoTerminal() if way == "pty" else TcpListener()

    async def work(door: WiredSegmentDoor) -> None:
        if speed == 20.0:
            await until(lambda: bus.kernel.now > 3.0)
        source = f"mbus:{outlet.name}" if way == "pty" else f"mbus+tcp://{outlet.name}"
        for _ in range(2):  # programs in turn
            heap = Heap()
            await WiredDoor(parse_source(f"{source}?address=1,2&secondary=33333333&attempts=1")).run(heap.emit)
            assert [answer_of(frame) for frame in heap.frames] == ["11111111", "22222222", "33333333"]
            assert heap.notices == []

    play(lambda: Pacer(bus.kernel, speed), doors(bus, outlet), work)


@pytest.mark.services
def test_who_is_not_there_and_who_is_there_twice() -> None:
    pytest.importorskip("serial")
    bus = segment()
    bus.attach(wired_meter(44444444, 1))
    outlet = PseudoTerminal()

    async def work(door: WiredSegmentDoor) -> None:
        heap = Heap()
        await WiredDoor(parse_source(f"mbus:{outlet.name}?address=1,9&attempts=1")).run(heap.emit)
        assert heap.frames == []
        assert [notice.split(" answers ")[0] for notice in heap.notices] == [
            "primary address 1",
            "primary address 9 does not answer",
        ]

    play(lambda: Pacer(bus.kernel, ON_REQUEST), doors(bus, outlet), work)
    assert bus.account.collisions == 1


# -- by hand ------------------------------------------------------------------------------------------


async def talk(fd: int, octets: bytes, count: int) -> tuple[bytes, float]:
    """Write, and read until a number of octets has come; the answer and the time it took."""
    started = time.monotonic()
    os.write(fd, octets)
    got = b""

    def more() -> bool:
        nonlocal got
        try:
            got += os.read(fd, count - len(got))
        except BlockingIOError:
            return False
        return len(got) >= count

    await until(more)
    return got, time.monotonic() - started


def serial(path: str, rate: int = termios.B2400) -> int:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    attributes = termios.tcgetattr(fd)
    attributes[4] = attributes[5] = rate
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    return fd


@pytest.mark.services
def test_real_time_is_line_pace() -> None:
    """SND-NKE (5 characters), 22 bits, E5: 75 ms at 2400 Bd; not earlier, and not much later."""
    bus, outlet = segment(), PseudoTerminal()
    bus.kernel.run(3.0)

    async def work(door: WiredSegmentDoor) -> None:
        fd = serial(outlet.name)
        await until(lambda: outlet.present)
        got, took = await talk(fd, NKE, 1)
        assert got == b"\xe5"
        assert 0.036 <= took < 0.5  # 66 + 22 bits at 2400 Bd: 36.7 ms
        got, took = await talk(fd, ASK, 6)
        assert 55 / 2400 + 22 / 2400 < took < 0.6
        os.close(fd)

    play(lambda: Pacer(bus.kernel, 1.0), doors(bus, outlet), work)


@pytest.mark.services
def test_a_request_in_pieces_is_one_on_the_wire() -> None:
    bus, outlet = segment(), PseudoTerminal()

    async def work(door: WiredSegmentDoor) -> None:
        fd = serial(outlet.name)
        for octet in NKE[:-1]:
            os.write(fd, bytes((octet,)))
            await asyncio.sleep(0.005)
        assert (await talk(fd, NKE[-1:], 1))[0] == b"\xe5"
        os.close(fd)

    play(lambda: Pacer(bus.kernel, ON_REQUEST), doors(bus, outlet), work)
    assert bus.account.requests == 1


@pytest.mark.services
def test_noise_of_the_master_goes_onto_the_wire_after_a_while() -> None:
    bus, outlet = segment(), PseudoTerminal()

    async def work(door: WiredSegmentDoor) -> None:
        fd = serial(outlet.name)
        os.write(fd, b"\x55" * 20)
        await until(lambda: bus.account.octets_down == 20)
        os.write(fd, b"\x10\x40")
        os.close(fd)  # gone before its request was whole: nothing of that reaches the wire
        await until(lambda: not outlet.present)
        fd = serial(outlet.name)
        assert (await talk(fd, NKE, 1))[0] == b"\xe5"
        os.close(fd)

    play(lambda: Pacer(bus.kernel, ON_REQUEST), doors(bus, outlet), work)
    assert bus.account.octets_down == 25


@pytest.mark.services
def test_the_rate_of_the_pseudo_terminal_is_the_rate_on_the_wire() -> None:
    bus, outlet = segment(), PseudoTerminal()
    nke3 = WiredFrame.short(0x40, 3).encode()

    async def work(door: WiredSegmentDoor) -> None:
        fd = serial(outlet.name, termios.B9600)
        assert (await talk(fd, nke3, 1))[0] == b"\xe5"  # supports 9600 and detects it
        assert bus.master.baud == 9600
        os.write(fd, NKE)  # 300 and 2400 only
        before = bus.account.answers
        await until(lambda: bus.account.requests == 2)
        await asyncio.sleep(0.05)
        assert bus.account.answers == before
        attributes = termios.tcgetattr(fd)
        attributes[4] = attributes[5] = termios.B300
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        assert (await talk(fd, NKE, 1))[0] == b"\xe5"
        assert bus.master.baud == 300
        os.close(fd)

    play(lambda: Pacer(bus.kernel, ON_REQUEST), doors(bus, outlet), work)
    assert bus.master.lump == 0.05  # as before the door was opened
