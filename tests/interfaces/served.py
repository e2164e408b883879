"""Simulated segments and sticks behind doors, served by a thread, while the test calls a program of ours."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from openmetering.codec.address import Address, flag_value
from openmetering.codec.apl.records import parse
from openmetering.protocol.device.build import DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import EndpointConfig
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import WiredSlave
from openmetering.security import KeyRing
from openmetering.simulation.doors.im871a import SimulatedIm871a
from openmetering.simulation.doors.outlets import Outlet, open_outlet
from openmetering.simulation.doors.pacer import ON_REQUEST, Pacer
from openmetering.simulation.doors.radio_door import RadioDoor
from openmetering.simulation.doors.wired_pty import WiredSegmentDoor
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.wired_bus import WiredBus
from openmetering.simulation.world import World
from tests.simulation.wired_meters import WATER

METER = Address(flag_value("ELS"), "12345678", 0x33, 0x07)
FUNCTIONS = ("primary-address", "conformance", "disconnector", "clock", "supervision", "keys", "firmware")
#: KeyID -> key of the secured meter
KEYS = {key_id: bytes((key_id,)) * 15 + b"\x01" for key_id in (0x00, 0x10, 0x12, 0x14, 0x18, 0x1F, *range(0x20, 0x28))}
NEW_KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
Door = WiredSegmentDoor | RadioDoor


def secured_meter(primary: int = 5, *, memory: DeviceMemory | None = None, profile: str = "B", subunit: int = 0) -> WiredSlave:
    """A wired water meter with a valve (inside of it: ``subunit`` 1), a clock and keys."""
    memory = memory or DeviceMemory(primary_address=primary)
    description = DeviceDescription(
        EndpointConfig(METER, wired=True, profile=profile),
        {
            **{name: {} for name in FUNCTIONS},
            "disconnector": {"subunit": subunit},
            "adapter": {"indexes": {"VM1!": "0413"}},
        },
        tuple(GivenKey(key_id, octets) for key_id, octets in KEYS.items()),
    )
    endpoint = make_device(description, memory, FixedReadings({0: parse(bytes.fromhex(WATER)).records}), lambda: 0.5)
    return WiredSlave([LogicalSlave(endpoint, memory)])


def key_ring(*, new_version: int | None = None) -> KeyRing:
    """The keys of the secured meter, and a new one for the link."""
    ring = KeyRing()
    for key_id, octets in KEYS.items():
        ring.add(METER.link_octets(), octets, key_id, 0)
    if new_version is not None:
        ring.add(METER.link_octets(), NEW_KEY, 0, new_version)
    return ring


def key_file(path: Path, **changed: bytes) -> Path:
    """The same as a file."""
    rows = [f"{METER},{octets.hex()},0x{key_id:02X},0" for key_id, octets in KEYS.items()]
    path.write_text("address,key,key_id,version\n" + "\n".join(rows) + "\n")
    return path


class _Server:
    """Runs coroutines in the loop of a thread until it is told to end."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


async def _serve(make: Callable[[], tuple[Pacer, Door]]) -> list[asyncio.Task[None]]:
    pacer, door = make()
    tasks = [asyncio.ensure_future(door.run()), asyncio.ensure_future(pacer.run())]
    ready = asyncio.ensure_future(door.ready.wait())
    await asyncio.wait([*tasks, ready], return_when=asyncio.FIRST_COMPLETED, timeout=10)
    return tasks


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


@contextlib.contextmanager
def _served(make: Callable[[], tuple[Pacer, Door]]) -> Iterator[None]:
    server = _Server()
    tasks = asyncio.run_coroutine_threadsafe(_serve(make), server.loop).result(20)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_end(tasks), server.loop).result(20)
        server.close()


@contextlib.contextmanager
def served_bus(slaves: Sequence[WiredSlave], *, tcp: bool = True, baud: int = 2400) -> Iterator[str]:
    """The link of a segment with slaves; answers come at once."""
    outlet: Outlet = open_outlet("tcp:0" if tcp else "pty", baud=baud)

    def make() -> tuple[Pacer, Door]:
        bus = WiredBus(Kernel(), baud=baud)
        for slave in slaves:
            bus.attach(slave)
        pacer = Pacer(bus.kernel, ON_REQUEST)
        return pacer, WiredSegmentDoor(bus, pacer, outlet)

    with _served(make):
        scheme = "mbus+tcp://" if tcp else "mbus:"
        yield f"{scheme}{outlet.name}?latency=20ms"


RADIO_WORLD = """
[world]
seed = "stick"
[[building]]
name = "house"
floors = 1
flats = 1
[[gateway]]
name = "stairs"
building = "house"
[[meters]]
medium = "cold water"
interval = 10.0
bidirectional = true
functions = ["disconnector", "supervision"]
"""


@contextlib.contextmanager
def served_stick(speed: float = 20.0) -> Iterator[tuple[str, World]]:
    """The link of a simulated iM871A, and the world in which it stands."""
    world = World(parse_plan(RADIO_WORLD))
    outlet = open_outlet("tcp:0")

    def make() -> tuple[Pacer, Door]:
        pacer = Pacer(world.kernel, speed)
        return pacer, RadioDoor(world.receiver("stick", "stairs", ("C",)), pacer, outlet, SimulatedIm871a())

    with _served(make):
        yield f"tcp://{outlet.name}?stick=im871a&mode=c", world
