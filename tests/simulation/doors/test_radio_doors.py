"""Simulated receivers read by our own drivers: an iM871A stick and lines of rtl_wmbus, through real pseudo-terminals and TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from openmetering.simulation.doors.im871a import SimulatedIm871a
from openmetering.simulation.doors.outlets import Outlet, TcpListener
from openmetering.simulation.doors.pacer import AT_ONCE, Pacer
from openmetering.simulation.doors.port import AirFrame, AirOrder
from openmetering.simulation.doors.pseudo_terminal import PseudoTerminal
from openmetering.simulation.doors.radio_door import RadioDoor
from openmetering.simulation.doors.rtl_wmbus import RtlWmbusLines, line, magnitude
from openmetering.simulation.kernel import Kernel
from openmetering.transport.lines import parse_lines
from openmetering.transport.reception import Item, Notice, Reception
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import parse_source
from openmetering.transport.sticks import Answer
from openmetering.transport.sticks.base import crc16_ccitt
from openmetering.transport.sticks.im871a import Im871a
from openmetering.transport.stream_doors import TcpClientDoor
from tests.fleet import radio
from tests.simulation.doors.open_doors import Station, play, until

FRAMES = [radio(value, access_number=value) for value in range(1, 6)]


class Heap:
    def __init__(self) -> None:
        self.items: list[Item] = []

    async def emit(self, item: Item) -> None:
        self.items.append(item)

    @property
    def receptions(self) -> list[Reception]:
        return [item for item in self.items if isinstance(item, Reception)]


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- the host interface of the stick ----------------------------------------------------------------


def command(endpoint: int, message: int, payload: bytes = b"") -> bytes:
    return bytes((0xA5, endpoint, message, len(payload))) + payload


def answer(endpoint: int, message: int, payload: bytes = b"") -> bytes:
    body = bytes((endpoint | 0x80, message, len(payload))) + payload
    return b"\xa5" + body + crc16_ccitt(body).to_bytes(2, "little")


def test_the_printed_ping() -> None:
    assert SimulatedIm871a().feed(bytes.fromhex("A5010100")) == [bytes.fromhex("A58102004CA3")]


def test_the_driver_understands_what_the_stick_is() -> None:
    stick, driver = SimulatedIm871a(0x0A0B0C0D), Im871a()
    kinds, remarks = [], []
    for step in driver.setup("t"):
        (octets,) = stick.feed(step.send)
        assert isinstance(octets, bytes)
        (event,) = driver.feed(octets, 0.0)
        assert isinstance(event, Answer)
        assert event.kind == step.expect
        kinds.append(event.kind)
        remarks.append(event.remark)
    assert kinds == ["01.02", "01.10", "01.04"]
    assert remarks[1] == "iM871A, firmware 14h, number 0A0B0C0D"
    assert stick.hears == "T"


def test_configuration_is_read_back_and_stored_on_demand() -> None:
    stick = SimulatedIm871a(0x12345678)
    before = stick.feed(command(1, 0x05))[0]
    assert isinstance(before, bytes)
    fields = before[4:-2]
    assert fields == bytes.fromhex("FF 00 03 44 B325 78563412 00 31 00 FF 00 00 00 00 00 00 00 00")
    # the same octets behind the store flag set the same configuration
    assert stick.feed(command(1, 0x03, b"\x00" + fields)) == [answer(1, 0x04, b"\x00")]
    assert stick.feed(command(1, 0x05)) == [before]
    # not stored: gone with a restart; stored: stays; factory settings: as delivered
    assert stick.feed(command(1, 0x03, bytes.fromhex("00 02 06 00"))) == [answer(1, 0x04, b"\x00")]
    assert stick.hears == "C"
    assert stick.feed(command(1, 0x07)) == [answer(1, 0x08, b"\x00")]
    assert stick.hears == "T"
    stick.feed(command(1, 0x03, bytes.fromhex("01 02 00 00")))
    stick.feed(command(1, 0x07))
    assert stick.hears == "S"
    assert stick.feed(command(1, 0x09)) == [answer(1, 0x0A, b"\x00")]
    assert stick.hears == "T"


@pytest.mark.parametrize("payload", ["", "00", "00 02 06", "00 02 0B 00", "00 10 1122 00", "00 00 00 55"])
def test_configuration_that_is_wrong_is_refused_as_a_whole(payload: str) -> None:
    stick = SimulatedIm871a()
    before = stick.feed(command(1, 0x05))
    assert stick.feed(command(1, 0x03, bytes.fromhex(payload))) == [answer(1, 0x04, b"\x01")]
    assert stick.feed(command(1, 0x05)) == before


def test_operation_mode() -> None:
    stick = SimulatedIm871a()
    assert stick.feed(command(1, 0x0D, b"\x01")) == [answer(1, 0x0E, b"\x00")]
    assert stick.feed(command(1, 0x0B)) == [answer(1, 0x0C, b"\x01")]
    assert stick.feed(command(1, 0x0D)) == [answer(1, 0x0E, b"\x01")]


def test_a_frame_as_the_host_sees_it() -> None:
    """Time stamp and RSSI only where they are switched on; the driver rebuilds the frame."""
    stick, driver = SimulatedIm871a(), Im871a()
    bare = stick.heard(AirFrame(FRAMES[0], -70.0, "T", 5.9))
    assert bare == answer(2, 0x03, FRAMES[0][1:])
    stick.feed(command(1, 0x03, bytes.fromhex("00 00 30 01 01")))
    full = stick.heard(AirFrame(FRAMES[0], -70.0, "T", 5.9))
    assert full[1] == 0xE2
    assert full[-7:-2] == (5).to_bytes(4, "little") + bytes((105,))  # 45 + 2 * 30
    (event,) = driver.feed(full, 1.0)
    assert isinstance(event, Reception)
    assert (event.frame, event.rssi_dbm, event.rssi_raw) == (FRAMES[0], -70.0, 105)


@pytest.mark.parametrize(("level", "raw"), [(None, 0), (-200.0, 0), (-122.5, 0), (-100.0, 45), (-8.0, 229), (10.0, 229)])
def test_levels(level: float | None, raw: int) -> None:
    stick = SimulatedIm871a()
    stick.feed(command(1, 0x03, bytes.fromhex("00 00 10 01")))
    assert stick.heard(AirFrame(FRAMES[0], level, "T", 0.0))[-3] == raw


@pytest.mark.parametrize(
    ("mode", "hears"), [(0, "S"), (2, "S"), (3, "T"), (4, "T"), (5, "R"), (6, "C"), (7, "C"), (9, "C"), (10, "CT")]
)
def test_link_modes(mode: int, hears: str) -> None:
    stick = SimulatedIm871a()
    stick.feed(command(1, 0x03, bytes((0, 0x02, mode, 0))))
    for letter in "STCR":
        assert bool(stick.heard(AirFrame(FRAMES[0], None, letter, 0.0))) == (letter in hears)


def test_sending_from_the_c_field() -> None:
    stick = SimulatedIm871a()
    stick.feed(command(1, 0x03, bytes((0, 0x02, 9, 0))))
    assert stick.feed(command(2, 0x01, FRAMES[1][1:])) == [AirOrder(FRAMES[1], "C"), answer(2, 0x02, b"\x00")]


def test_sending_data_with_the_address_of_the_stick() -> None:
    stick = SimulatedIm871a(0x12345678)
    header = bytes.fromhex("44 B325 78563412 00 31")
    sent = bytes((len(header) + 3,)) + header + b"\x78\x01\x02"
    assert stick.feed(command(2, 0x04, b"\x78\x01\x02")) == [AirOrder(sent, "T"), answer(2, 0x05, b"\x00")]


@pytest.mark.parametrize("content", [bytes(9), bytes(251)])
def test_frames_that_cannot_be_sent(content: bytes) -> None:
    assert SimulatedIm871a().feed(command(2, 0x01, content)) == [answer(2, 0x02, b"\x01")]


def test_a_stick_that_listens_to_c_and_t_does_not_send() -> None:
    stick = SimulatedIm871a()
    stick.feed(command(1, 0x03, bytes((0, 0x02, 10, 0))))
    assert stick.feed(command(2, 0x01, FRAMES[0][1:])) == [answer(2, 0x02, b"\x01")]


def test_the_stick_finds_its_place_again() -> None:
    stick = SimulatedIm871a()
    ping = command(1, 0x01)
    with_crc = answer(1, 0x01)
    broken = with_crc[:-1] + bytes((with_crc[-1] ^ 1,))
    octets = b"\x00junk\xa5\x90\xa5\x00\x01\x00" + ping + broken + with_crc + command(1, 0x7F) + ping
    got: list[bytes | AirOrder] = []
    for at in range(len(octets)):
        got += stick.feed(octets[at : at + 1])
    assert got == [answer(1, 0x02)] * 3
    stick.feed(ping[:3])
    stick.reset()
    assert stick.feed(ping) == [answer(1, 0x02)]


# -- lines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["T", "C", "S"])
def test_a_line_is_read_back(mode: str) -> None:
    epoch = 1_700_000_000.0
    text = line(AirFrame(FRAMES[2], -60.0, mode, 12.345), epoch)
    assert text.startswith(f"{mode}1;1;1;20")
    assert text.split(";")[6] == "12345678"
    (found,) = parse_lines([text], "rtl-wmbus")
    assert isinstance(found, Reception)
    assert (found.frame, found.mode, found.crc, found.address_hint) == (FRAMES[2], mode, True, "12345678")
    assert found.received_at == pytest.approx(epoch + 12.345, abs=0.001)
    assert found.rssi_raw == magnitude(-60.0)


def test_levels_of_lines() -> None:
    assert [magnitude(level) for level in (-200.0, -110.0, -90.0, -50.0, -30.0, 0.0)] == [1, 1, 1, 18, 181, 181]
    assert ";;;" in line(AirFrame(FRAMES[0], None, "T", 0.0), 0.0)


def test_modes_that_the_receiver_does_not_hear() -> None:
    lines = RtlWmbusLines(0.0, "TC")
    assert lines.heard(AirFrame(FRAMES[0], -50.0, "S", 0.0)) == b""
    assert lines.heard(AirFrame(FRAMES[0], -50.0, "C", 0.0)).endswith(b"\n")
    assert lines.feed(b"hello") == []


# -- through pseudo-terminals and TCP ---------------------------------------------------------------


def stick_doors(station: Station, stick: SimulatedIm871a, outlet: Outlet) -> Callable[[Pacer], tuple[RadioDoor, ...]]:
    return lambda pacer: (RadioDoor(station, pacer, outlet, stick),)


@pytest.mark.services
@pytest.mark.parametrize("options", ["stick=im871a&mode=t", "stick=auto&mode=t"])
def test_our_own_driver_works_with_the_simulated_stick(options: str) -> None:
    """Found, set up, receives with level, sends; and all that again for the next program."""
    pytest.importorskip("serial")
    station, stick, outlet = Station(), SimulatedIm871a(), PseudoTerminal(baud=57_600)
    if "auto" in options:  # the search begins with other sticks: their questions must not confuse this one
        options += "&baud=57600"

    async def work(door: RadioDoor) -> None:
        for _ in range(2):
            heap = Heap()
            driver = SerialDoor(parse_source(f"serial:{outlet.name}?{options}"), clock=lambda: 7.0)
            task = asyncio.ensure_future(driver.run(heap.emit))
            await until(lambda d=driver: d.stick is not None, 20)  # type: ignore[misc]
            station.hear(FRAMES[0], "T", -71.5)
            station.hear(FRAMES[1], "C", -71.5)  # not in this mode
            await until(lambda h=heap: h.receptions)  # type: ignore[misc]
            assert [(item.frame, item.rssi_dbm, item.mode) for item in heap.receptions] == [(FRAMES[0], -71.5, "T")]
            assert any("iM871A" in item.message for item in heap.items if isinstance(item, Notice))
            await driver.send(FRAMES[3], "c2")
            await until(lambda: station.sent)
            assert station.sent == [(FRAMES[3], "C")]
            station.sent.clear()
            assert stick.hears == "T"  # the driver has set it back
            await ended(task)
            await until(lambda: not outlet.present)

    play(lambda: Pacer(Kernel(), 1.0), stick_doors(station, stick, outlet), work)
    assert not station.listened_to


@pytest.mark.services
def test_the_stick_behind_tcp() -> None:
    station, outlet = Station(), TcpListener()

    async def work(door: RadioDoor) -> None:
        station.hear(FRAMES[0], "T")  # nobody is there
        reader, writer = await asyncio.open_connection(outlet.host, outlet.port)
        writer.write(bytes.fromhex("A5010100"))
        assert await reader.readexactly(6) == bytes.fromhex("A58102004CA3")
        writer.close()

    play(lambda: Pacer(Kernel(), 1.0), stick_doors(station, SimulatedIm871a(), outlet), work)


@pytest.mark.services
def test_lines_behind_tcp_for_several_programs() -> None:
    station, outlet = Station(), TcpListener(largest=5)

    async def work(door: RadioDoor) -> None:
        heaps = [Heap(), Heap()]
        source = f"tcp://{outlet.host}:{outlet.port}?format=rtl-wmbus"
        tasks = [asyncio.ensure_future(TcpClientDoor(parse_source(source)).run(heap.emit)) for heap in heaps]
        await until(lambda: len(outlet._writers) == 2)
        for number, frame in enumerate(FRAMES):
            station.hear(frame, "C", -80.0, float(number))
        await until(lambda: all(len(heap.receptions) == 5 for heap in heaps))
        for heap in heaps:
            assert [item.frame for item in heap.receptions] == FRAMES
            assert [item.received_at for item in heap.receptions] == [1.7e9 + second for second in range(5)]
        for task in tasks:
            await ended(task)

    play(lambda: Pacer(Kernel(), 1.0), lambda pacer: (RadioDoor(station, pacer, outlet, RtlWmbusLines(1.7e9)),), work)


@pytest.mark.services
def test_lines_behind_a_pseudo_terminal() -> None:
    station, outlet = Station(), PseudoTerminal()

    async def work(door: RadioDoor) -> None:
        with open(outlet.name, "rb", buffering=0) as program:
            await until(lambda: outlet.present)
            station.hear(FRAMES[0], "T", -80.0, 1.0)
            text = await asyncio.to_thread(program.read, 4096)
        (found,) = parse_lines(text.decode().splitlines())
        assert isinstance(found, Reception)
        assert found.frame == FRAMES[0]

    play(lambda: Pacer(Kernel(), 1.0), lambda pacer: (RadioDoor(station, pacer, outlet, RtlWmbusLines(0.0)),), work)


@pytest.mark.services
def test_a_world_that_runs_at_once_waits_for_its_reader() -> None:
    """20 000 telegrams in no time: the first one is not sent before somebody listens, none is lost by a slow reader."""
    station, outlet, kernel = Station(), TcpListener(), Kernel()

    def send(now: float) -> None:
        station.hear(FRAMES[int(now) % 5], "T", -60.0, now)
        if now < 20_000:
            kernel.call_at(now + 1.0, send)

    kernel.call_at(1.0, send)

    async def work(door: RadioDoor) -> None:
        await asyncio.sleep(0.05)
        assert kernel.now == 0.0
        reader, writer = await asyncio.open_connection(outlet.host, outlet.port, limit=4096)
        count = 0
        while count < 20_000:
            await reader.readuntil(b"\n")
            count += 1
        assert outlet.lost == 0
        writer.close()

    play(lambda: Pacer(kernel, AT_ONCE), lambda pacer: (RadioDoor(station, pacer, outlet, RtlWmbusLines(0.0)),), work)
