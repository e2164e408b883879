"""Recordings of what stations hear, and ports for foreign programs."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from openmetering.errors import InputError
from openmetering.protocol.radio.datagram import datagram, read
from openmetering.simulation.doors.port import AirFrame, RadioPort
from openmetering.simulation.outlook import Format, Recorder
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.world import World
from openmetering.transport.lines import parse_lines
from openmetering.transport.reception import Reception

TEXT = """
[world]
seed = "outlook"
start = 2026-03-02T10:00:00
[[building]]
name = "A"
floors = 1
flats = 1
[[gateway]]
name = "gw"
building = "A"
[[meters]]
medium = "gas"
interval = 60
bidirectional = true
mode = "{mode}"
access = "{access}"
"""


def world(mode: str = "C", access: str = "short") -> World:
    return World(parse_plan(TEXT.replace("{mode}", mode).replace("{access}", access)))


@pytest.mark.parametrize("format", ["rtl_wmbus", "jsonl"])
def test_recordings_can_be_read_back(format: Format) -> None:
    made, lines = world(), list[str]()
    recorder = Recorder(lines.append, made.plan.world.start, format)
    frames: list[bytes] = []
    made.on_heard("gw", lambda heard, air: frames.append(heard.frame))
    stop = recorder.attach(made.gateways["gw"].station)
    made.run(300.0)
    stop()
    made.run(600.0)
    assert recorder.lines == len(lines) > 3
    found = [item for item in parse_lines(lines) if isinstance(item, Reception)]
    assert [item.frame for item in found] == frames[: len(lines)]
    assert all(item.received_at is not None for item in found)


def test_json_lines_carry_station_level_and_time() -> None:
    made, lines = world("T"), list[str]()
    Recorder(lines.append, made.plan.world.start, "jsonl").attach(made.gateways["gw"].station)
    made.run(120.0)
    row = json.loads(lines[0])
    assert row["station"] == "gw"
    assert row["mode"] == "T"
    assert -90 < row["rssi"] < -10
    assert dt.datetime.fromisoformat(row["received_at"]) >= dt.datetime(2026, 3, 2, 10, 0)


def request(made: World) -> bytes:
    """REQ-UD2 of a foreign gateway to the meter, without security: octets of a long header."""
    device = made.device("gas A/0.1")
    own = made.gateways["gw"].address.link_octets()
    octets = device.spec.address.link_octets()
    body = b"\x80" + octets[2:6] + octets[:2] + octets[6:] + b"\x55\x00\x00\x00"
    return datagram(0x5B, own, body, 0x80, 0x55, octets)


@pytest.mark.parametrize("mode", ["C", "T", "S"])
def test_a_frame_waits_for_the_window_of_its_addressee(mode: str) -> None:
    made = world(mode)
    port: RadioPort = made.receiver("stick", "gw", modes=(mode,))
    heard: list[AirFrame] = []
    stop = port.on_heard(heard.append)
    made.run(5.0)
    port.transmit(request(made), mode)
    made.run(200.0)
    answers = [frame for frame in heard if read(frame.frame).message == "RSP-UD"]
    assert answers
    assert answers[0].mode == mode
    assert answers[0].rssi is not None
    stop()
    count = len(heard)
    made.run(400.0)
    assert len(heard) == count


def test_a_device_that_always_listens_gets_it_at_once() -> None:
    made = world(access="permanent")
    port = made.receiver("stick", "gw", modes=("C",))
    heard: list[AirFrame] = []
    port.on_heard(heard.append)
    made.run(130.0)
    begun = made.now
    port.transmit(request(made), "C")
    made.run(begun + 3.0)
    assert any(read(frame.frame).message == "RSP-UD" for frame in heard)


def test_frames_for_nobody_go_out_at_once() -> None:
    made = world()
    port = made.receiver("stick", "gw", modes=("C",))
    port.transmit(b"\x09\x40" + bytes(8), "C")
    made.run(1.0)
    assert made.channel.account.on_air["foreign"] == 1


def test_only_the_last_frames_wait() -> None:
    made = world()
    port = made.receiver("stick", "gw", modes=("C",))
    made.run(1.0)
    for _ in range(10):
        port.transmit(request(made), "C")
    made.run(1200.0)
    assert made.channel.account.on_air["foreign"] == 4


def test_receivers_stand_beside_something() -> None:
    made = world()
    assert made.receiver("one", "gw").station.place.x == made.gateways["gw"].station.place.x + 1.0
    assert made.receiver("two").station.place.x == 1.0
    with pytest.raises(InputError, match="nothing on the radio is named 'nobody'"):
        made.receiver("three", "nobody")


def test_the_port_does_not_disturb_the_run() -> None:
    with_port, without = world(), world()
    with_port.receiver("stick", "gw")
    frames: list[list[bytes]] = [[], []]
    for made, into in zip((with_port, without), frames, strict=True):
        made.on_heard("gw", lambda heard, air, into=into: into.append(heard.frame))
        made.run(900.0)
    assert frames[0] == frames[1]
