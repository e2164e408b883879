"""Master, slave and real applications on one bus: readouts in telegrams and fragments, commands, addresses, alarms."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import pytest

from openmetering.codec.address import Selection
from openmetering.codec.apl.records import parse
from openmetering.codec.link.wired import unframe
from openmetering.protocol.device.build import DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import EndpointConfig
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.master import (
    AnswerReceived,
    LineTiming,
    ReadoutDone,
    ReadPrimary,
    ReadSecondary,
    Transact,
    TransactionDone,
    WiredMaster,
)
from openmetering.protocol.wired.search import Found, SecondarySearch, Start
from openmetering.protocol.wired.slave import WiredSlave
from openmetering.security import KeyRing
from openmetering.telegram import Decoder, decode
from tests.protocol.wired_bus import Bus, address

KEY = bytes(range(16))
TIMING = LineTiming(2400, 0.0, 0.0)
VOLUME = "0C 14 78563412"
LONG = " ".join(f"8C{at:02X}14785634{at:02d}" for at in range(1, 10)) * 8


def meter(
    number: int = 12345678,
    primary: int = 5,
    *,
    profile: Literal["none", "A", "B", "D"] = "none",
    records: str = VOLUME,
    fragments: bool | None = None,
    memory: DeviceMemory | None = None,
) -> WiredSlave:
    """A wired device around a real application."""
    memory = memory or DeviceMemory(primary_address=primary)
    config = EndpointConfig(address(number), profile=profile, wired=True, fragments=fragments)
    description = DeviceDescription(
        config, functions={"primary-address": {}, "conformance": {}}, keys=(GivenKey(0, KEY),) if profile != "none" else ()
    )
    readings = FixedReadings({0: parse(bytes.fromhex(records)).records})
    endpoint = make_device(description, memory, readings, lambda: 0.25)
    return WiredSlave([LogicalSlave(endpoint, memory)])


def ring() -> KeyRing:
    keys = KeyRing()
    keys.add("*", KEY, key_id=0)
    return keys


def frames(told: list[Any]) -> list[bytes]:
    return [event.frame for event in told if isinstance(event, AnswerReceived)]


def controls(bus: Bus) -> str:
    return " ".join(f"{unframe(frame)[0].control:02X}" for frame in bus.sent)


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("target", [ReadPrimary(5), ReadPrimary(254), ReadSecondary(Selection(address(12345678)))])
def test_a_readout(profile: Any, target: Any) -> None:
    told = Bus([meter(profile=profile)]).run(WiredMaster(TIMING), target)
    assert told[-1] == ReadoutDone(target, 1)
    telegram = decode(frames(told)[0], ring())
    assert telegram.records[0].value == Decimal("123456.78")


def test_a_readout_in_several_telegrams() -> None:
    bus = Bus([meter(records=LONG)])
    told = bus.run(WiredMaster(TIMING), ReadPrimary(5))
    assert controls(bus) == "40 7B 5B 7B"
    telegrams = [decode(frame) for frame in frames(told)]
    assert sum(len(telegram.records) for telegram in telegrams) == 72
    told = bus.run(WiredMaster(TIMING), ReadPrimary(5))
    assert len(frames(told)) == 3


def test_a_readout_in_fragments_as_in_annex_n_4() -> None:
    bus = Bus([meter(profile="B", records=LONG, fragments=True)])
    told = bus.run(WiredMaster(TIMING), ReadPrimary(5))
    assert controls(bus) == "40 7B 5B 7B"
    decoder = Decoder(ring())
    telegrams = [decoder.decode(frame) for frame in frames(told)]
    assert [len(telegram.records) for telegram in telegrams] == [0, 0, 72]
    assert [unframe(frame)[0].data[2] for frame in frames(told)] == [1, 2, 3]


def test_damaged_fragments_come_again() -> None:
    bus = Bus([meter(profile="B", records=LONG, fragments=True)])
    bus.spoil = lambda index, answers: (
        [(when, octets[:-2] + b"\x00\x16") for when, octets in answers] if index in (2, 4) else answers
    )
    told = bus.run(WiredMaster(TIMING), ReadPrimary(5))
    assert controls(bus) == "40 7B 5B 5B 7B 7B"
    assert [unframe(frame)[0].data[2] for frame in frames(told)] == [1, 2, 3]


@pytest.mark.parametrize("lost", [None, "request", "answer"])
def test_a_new_primary_address_p_11(lost: str | None) -> None:
    device = meter()
    bus = Bus([device])
    bus.lost = {1} if lost == "request" else set()
    bus.spoil = lambda index, answers: [] if lost == "answer" and index == 1 else answers
    master = WiredMaster(TIMING)
    told = bus.run(master, Transact(ReadPrimary(5), bytes.fromhex("51017A09"), "SND-UD", answer=False))
    assert told == [TransactionDone(ReadPrimary(5), repeated=lost is not None)]
    assert device.slaves[0].memory.primary_address == 9
    assert bus.run(master, ReadPrimary(9))[-1] == ReadoutDone(ReadPrimary(9), 1)
    assert [event.name for event in bus.device_events] == ["primary-address"]


def test_a_new_primary_address_by_secondary_address_p_11() -> None:
    devices = [meter(10000000 + number, 0) for number in range(3)]
    bus, master = Bus(devices), WiredMaster(TIMING)
    for number, device in enumerate(devices):
        target = ReadSecondary(Selection(address(10000000 + number)))
        (done,) = bus.run(master, Transact(target, bytes((0x51, 0x01, 0x7A, number + 1)), "SND-UD"))
        assert unframe(done.frames[0])[0].address == number + 1 == device.slaves[0].memory.primary_address


@pytest.mark.parametrize("kind", ["SND-UD", "SND-UD2"])
def test_a_command_is_carried_out_once_whatever_is_lost(kind: Any) -> None:
    header = b"\x5b" + address(12345678).transport_octets() + bytes((0x33, 0, 0, 0))
    command = header + bytes.fromhex("02FD9F1D4032")
    for lost in (1, 2):
        bus = Bus([meter()])
        bus.spoil = lambda index, answers, lost=lost: [] if index == lost else answers  # type: ignore[misc]
        (done,) = bus.run(WiredMaster(TIMING), Transact(ReadPrimary(5), command, kind))
        assert bytes.fromhex("04FD9F1D40324242") in done.frames[-1]


def test_an_alarm() -> None:
    memory = DeviceMemory(primary_address=5, alarm=0x04)
    bus, master = Bus([meter(memory=memory)]), WiredMaster(TIMING)
    poll = Transact(ReadPrimary(5), None, "REQ-UD1")
    first, second = bus.run(master, poll)[0], bus.run(master, poll)[0]
    assert unframe(first.frames[0])[0].data[0] in (0x71, 0x75)
    assert second == TransactionDone(ReadPrimary(5))


def test_a_search_among_real_devices() -> None:
    bus = Bus([meter(12340000 + 13 * number, 0, profile="B") for number in range(12)])
    told = bus.run(SecondarySearch(TIMING), Start())
    assert {event.address for event in told if isinstance(event, Found)} == {
        address(12340000 + 13 * number) for number in range(12)
    }
