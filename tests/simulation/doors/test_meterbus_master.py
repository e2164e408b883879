"""pyMeterBus from PyPI, unmodified, as master of our simulated segment.

Linux pseudo-terminals have no parity, and the C library refuses to set one: pyserial must be opened 8N1 there.
The scan that pyMeterBus comes with is a tool; version 0.8.5 was published without its tools, so ``make dev`` puts
0.8.4 beside it and that tool is run over TCP with the settings it insists on. The same search is done with the
functions of the installed library.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openmetering.simulation.doors.outlets import Outlet, TcpListener
from openmetering.simulation.doors.pacer import ON_REQUEST, Pacer
from openmetering.simulation.doors.pseudo_terminal import PseudoTerminal
from openmetering.simulation.doors.wired_pty import WiredSegmentDoor
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.wired_bus import WiredBus
from tests.simulation.doors.open_doors import play
from tests.simulation.wired_meters import HEAT, WATER, wired_meter

if TYPE_CHECKING:
    from serial import Serial

meterbus = pytest.importorskip("meterbus")
serial = pytest.importorskip("serial")

pytestmark = pytest.mark.services

#: the last version that was published with its tools; ``make dev`` installs it
TOOLS = Path(sys.prefix) / "pymeterbus-0.8.4"

#: three times ten that differ in the second digit, and ten that differ in the fifth
NUMBERS = [int(f"{first}{second}7{second}0815") for first in (0, 4, 9) for second in range(10)]
NUMBERS += [int(f"6173{digit}442") for digit in range(10)]


def opened(path: str) -> Serial:
    return serial.Serial(path, 2400, 8, "N", 1, timeout=0.25)


def through_a_pseudo_terminal(bus: WiredBus, work: Callable[[Serial], None]) -> None:
    """Let a blocking program work with the segment."""
    outlet = PseudoTerminal()

    def program() -> None:
        with opened(outlet.name) as line:
            work(line)

    async def working(door: WiredSegmentDoor) -> None:
        await asyncio.to_thread(program)

    play(lambda: Pacer(bus.kernel, ON_REQUEST), doors(bus, outlet), working)


def doors(bus: WiredBus, outlet: Outlet) -> Callable[[Pacer], tuple[WiredSegmentDoor, ...]]:
    return lambda pacer: (WiredSegmentDoor(bus, pacer, outlet),)


def acknowledged(line: Serial) -> bool | None:
    """What comes after a selection: True E5, None nothing, False something else (a collision)."""
    octets = meterbus.recv_frame(line, 1)
    if not octets:
        return None if octets is None else False
    return isinstance(meterbus.load(octets), meterbus.TelegramACK)


def probe(line: Serial, mask: str) -> str | bool | None:
    """The secondary address of the only slave under a mask, False for a collision, None for nobody."""
    meterbus.send_select_frame(line, mask)
    answer = acknowledged(line)
    if not answer:
        return answer
    meterbus.send_request_frame(line, meterbus.ADDRESS_NETWORK_LAYER)
    octets = meterbus.recv_frame(line, 1)
    return meterbus.load(octets).secondary_address if octets else False


def search(line: Serial, prefix: str = "") -> list[str]:
    """The wildcard search digit by digit, with nothing but functions of pyMeterBus."""
    found: list[str] = []
    for digit in "0123456789":
        mask = prefix + digit
        answer = probe(line, mask.ljust(16, "F"))
        if isinstance(answer, str):
            found.append(answer)
        elif answer is False and len(mask) < 8:
            found += search(line, mask)
    return found


# -- reading ------------------------------------------------------------------------------------------


def readings(octets: bytes) -> list[tuple[float | str, str]]:
    """Values and units as pyMeterBus gives them (it computes with floats)."""
    found = json.loads(meterbus.load(octets).to_JSON())
    return [(record["value"], record["unit"]) for record in found["body"]["records"]]


def test_reading_by_primary_address() -> None:
    bus = WiredBus(Kernel())
    bus.attach(wired_meter(11111111, 7, HEAT, device_type=0x04))
    bus.attach(wired_meter(22222222, 8, WATER))

    def work(line: Serial) -> None:
        for address in (7, 8, 9):
            meterbus.send_ping_frame(line, address)
            assert acknowledged(line) == (True if address < 9 else None)
        meterbus.send_request_frame(line, 7)
        octets = meterbus.recv_frame(line, 1)
        assert meterbus.load(octets).secondary_address == "1111111193153304"
        heat = readings(octets)
        assert heat[0] == (1_234_000, "MeasureUnit.WH")
        assert heat[1] == (100_000, "MeasureUnit.M3")
        assert [value for value, _ in heat[2:4]] == [84, 35]
        meterbus.send_request_frame(line, 8)
        water = readings(meterbus.recv_frame(line, 1))
        assert water[0] == (pytest.approx(123456.78), "MeasureUnit.M3")

    through_a_pseudo_terminal(bus, work)


def test_reading_by_secondary_address() -> None:
    bus = WiredBus(Kernel())
    for number in (11111111, 22222222, 33333333):
        bus.attach(wired_meter(number, 0, WATER))

    def work(line: Serial) -> None:
        for number in ("22222222", "11111111"):
            meterbus.send_select_frame(line, f"{number}93153307")
            assert acknowledged(line) is True
            meterbus.send_request_frame(line, meterbus.ADDRESS_NETWORK_LAYER)
            octets = meterbus.recv_frame(line, 1)
            assert meterbus.load(octets).secondary_address == f"{number}93153307"
            assert readings(octets)[0][0] == pytest.approx(123456.78)
        meterbus.send_select_frame(line, "4444444493153307")
        assert acknowledged(line) is None
        meterbus.send_select_frame(line, "FFFFFFFFFFFFFFFF")
        assert acknowledged(line) is False  # all of them

    through_a_pseudo_terminal(bus, work)


# -- searching ----------------------------------------------------------------------------------------


def segment_of(numbers: list[int]) -> WiredBus:
    bus = WiredBus(Kernel())
    for number in numbers:
        bus.attach(wired_meter(number, 0, WATER))
    return bus


def test_the_search_finds_all_of_forty_meters() -> None:
    bus = segment_of(NUMBERS)
    found: list[str] = []
    through_a_pseudo_terminal(bus, lambda line: found.extend(search(line)))
    assert sorted(found) == sorted(f"{number:08d}93153307" for number in NUMBERS)
    assert bus.account.collisions > 0


@pytest.mark.slow
def test_the_scan_tool_finds_all_of_forty_meters() -> None:
    """Time-outs of a second and pauses of half a second are those of the tool: about 35 s with these numbers."""
    numbers = [int(f"{first}{second}7{second}0815") for first in (0, 3, 6, 9) for second in range(10)]
    if not TOOLS.is_dir():
        if os.environ.get("OPENMETERING_REQUIRE_SERVICES"):
            pytest.fail("pyMeterBus 0.8.4 is not there; make dev installs it")
        pytest.skip("pyMeterBus 0.8.4 is not there; make dev installs it")
    bus, outlet = segment_of(numbers), TcpListener()
    command = "from meterbus.tools import serial_scan_secondary; serial_scan_secondary()"
    said: list[str] = []

    async def work(door: WiredSegmentDoor) -> None:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            command,
            f"socket://{outlet.name}",
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(TOOLS)},
        )
        out, _ = await program.communicate()
        assert program.returncode == 0
        said.extend(out.decode().splitlines())

    play(lambda: Pacer(bus.kernel, ON_REQUEST), doors(bus, outlet), work)
    found = {text.split()[4] for text in said if text.startswith("Device found with id")}
    assert found == {f"{number:08d}93153307" for number in numbers}
