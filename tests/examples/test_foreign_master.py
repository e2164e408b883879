"""The master of ``examples/foreign_master.py`` as a program of its own, on the bus of the simulated house."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from openmetering import decode
from openmetering.simulation.doors.outlets import TcpListener
from openmetering.simulation.doors.pacer import ON_REQUEST, Pacer
from openmetering.simulation.doors.wired_pty import WiredSegmentDoor
from openmetering.simulation.world import World
from tests.simulation.doors.open_doors import play

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "examples" / "worlds" / "house.toml"

pytestmark = pytest.mark.services


def run(world: World, addresses: list[str]) -> tuple[list[str], str]:
    """Lines and complaints of the program."""
    outlet = TcpListener()
    said: list[bytes] = []

    async def work(door: WiredSegmentDoor) -> None:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "foreign_master.py"),
            *(outlet.host, str(outlet.port), *addresses),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said.extend(await program.communicate())
        assert program.returncode == 0

    bus = world.segments["bus"].bus
    play(lambda: Pacer(world.kernel, ON_REQUEST), lambda pacer: (WiredSegmentDoor(bus, pacer, outlet),), work)
    return said[0].decode().split(), said[1].decode()


def test_the_foreign_master_reads_what_the_meter_states() -> None:
    world = World.load(HOUSE)
    (line,), complaints = run(world, ["1"])
    telegram = decode(bytes.fromhex(line))
    meter = world.device("wired electricity house/0.1")
    assert complaints == ""
    assert telegram.address == meter.address
    assert telegram.records[0].value == world.truth(meter.address)["EW1!"]


def test_it_says_who_does_not_answer() -> None:
    lines, complaints = run(World.load(HOUSE), ["9"])
    assert lines == []
    assert complaints.strip() == "address 9 does not answer"


def test_the_house_of_the_pages_has_every_device_they_name() -> None:
    world = World.load(HOUSE)
    assert {label.removesuffix(" house/0.1") for label in world.devices} == {
        "gas",
        "warm water",
        "electricity",
        "cold water",
        "wired electricity",
        "wired heat",
    }
    assert list(world.gateways) == ["gateway"]
    assert list(world.displays) == ["display"]
    world.run(3600.0)
    assert sum(world.summary().verdicts["gateway"].values()) > 100
