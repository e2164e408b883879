"""UC-06: flags told and cleared, causes that stay, status octet, battery, the withdrawn names of issue 4.3.3."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.protocol.device.supervision import POWER_LOW_DAYS
from tests.protocol.device.partner import WAYS, Partner, device, reborn, secured

Way = tuple[str, bool]
NOT_MM2, NOT_MM3, CLEAR = "02 FD 97 06 00 04", "02 FD 97 9D 06 00 04", "00 FD 97 9D 07"


def partner(way: Way = ("B", False), *, issue: str = "5.0.1", **options: bool) -> Partner:
    return Partner(device(*way, functions={"supervision": options}, oms_issue=issue))


@pytest.mark.parametrize("way", WAYS)
def test_flags_stand_in_the_standard_response(way: Way) -> None:
    one = partner(way, maker_flags=True)
    memory = one.endpoint.memory
    memory.error_flags, memory.permanent_flags = 0x0400, 0x0001
    memory.device_flags, memory.permanent_device_flags = 0x8000, 0x0002
    assert one.octets(one.read()).endswith(bytes.fromhex("02 FD 97 1D 01 04 02 FD 17 02 80"))
    one.send("application-reset", b"\x70")
    assert b"\xfd\x17" not in one.octets(one.read())


@pytest.mark.parametrize("way", WAYS)
def test_clear_one_bit(way: Way) -> None:
    """The computed block of notMM3!."""
    block = bytes.fromhex("1F 00 00 20 00 32 24 00 01 00 00 00 00 00 00 00 30 01 02 FD 97 9D 06 00 04 C5 F0 0E B5 06 10 8D A9")
    assert secured(0x24, 1, NOT_MM3) == block
    one = partner(way)
    one.endpoint.memory.error_flags = 0x0403
    taken = one.send("sitp", block)
    assert [(event.name, event.value) for event in taken.events] == [("status-cleared", 3), ("executed", 1)]
    assert one.apdu() == bytes.fromhex("02 FD 97 1D 03 00")
    assert one.endpoint.memory.error_flags == 3


@pytest.mark.parametrize("way", WAYS)
def test_clear_all(way: Way) -> None:
    """The computed block of clrMM3!; manufacturer flags go too."""
    block = bytes.fromhex("1D 00 00 20 00 32 24 00 02 00 00 00 00 00 00 00 30 01 00 FD 97 9D 07 EC 29 1B A2 CF 2B 3D 2C")
    assert secured(0x24, 2, CLEAR) == block
    one = partner(way, maker_flags=True)
    memory = one.endpoint.memory
    memory.error_flags, memory.device_flags = 0xFFFF, 0xFFFF
    one.send("sitp", block)
    assert one.apdu() == bytes.fromhex("02 FD 97 1D 00 00 02 FD 17 00 00")
    assert (memory.error_flags, memory.device_flags) == (0, 0)


def test_clear_all_of_a_device_without_maker_flags() -> None:
    one = partner()
    one.endpoint.memory.error_flags = 7
    one.secured(0x24, 1, CLEAR)
    assert one.apdu() == bytes.fromhex("02 FD 97 1D 00 00")


def test_maker_flags() -> None:
    one = partner(maker_flags=True)
    one.endpoint.memory.device_flags = 0x0C00
    one.secured(0x24, 1, NOT_MM2)
    assert one.apdu() == bytes.fromhex("02 FD 17 00 08")


def test_maker_flags_that_are_not_there() -> None:
    one = partner()
    one.secured(0x24, 1, NOT_MM2)
    assert one.error() == 0x11


def test_causes_that_last_stay() -> None:
    one = partner()
    memory = one.endpoint.memory
    memory.error_flags, memory.permanent_flags = 0x0400, 0x0400
    one.secured(0x24, 1, CLEAR)
    assert one.apdu() == bytes.fromhex("02 FD 97 1D 00 04")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", [NOT_MM2, NOT_MM3, CLEAR])
def test_plain_or_with_another_key(way: Way, command: str) -> None:
    one = partner(way, maker_flags=True)
    one.endpoint.memory.error_flags = 0x0400
    assert one.send("m-bus", command).status & 3 == 2
    assert one.error() == 0x22
    one.secured(0x20, 1, command)
    assert one.error() == 0x22
    assert one.endpoint.memory.error_flags == 0x0400


def test_only_at_once_and_only_with_a_mask() -> None:
    one = partner()
    one.secured(0x24, 1, NOT_MM3, time=target_time(1))
    assert one.status() == 0x23
    one.secured(0x24, 1, "00 FD 97 9D 06")
    assert one.error() == 0x15


@pytest.mark.parametrize("command", ["02 FD 97 02 00 04", "02 FD 97 9D 05 00 04", "01 FD 97 1D 00"])
def test_other_commands_to_flags(command: str) -> None:
    one = partner()
    one.secured(0x24, 1, command)
    assert one.error() == 0x11


def test_clearing_changes_the_status_octet() -> None:
    one = partner()
    one.endpoint.memory.error_flags = 0x0400
    assert one.endpoint.acknowledge(1, 0.0)[2] == 0x10
    assert one.secured(0x24, 1, CLEAR).status == 0
    assert one.endpoint.acknowledge(1, 0.0)[2] == 0
    one.endpoint.memory.permanent_flags = 1
    assert one.endpoint.acknowledge(1, 0.0)[2] == 0x08
    one.endpoint.memory.error_flags = 3
    assert one.endpoint.acknowledge(1, 0.0)[2] == 0x18
    assert one.secured(0x24, 2, CLEAR).status == 0x08


@pytest.mark.parametrize(
    ("days", "octets", "status"),
    [(5000, "88 13", 0), (POWER_LOW_DAYS, "C8 01", 0), (POWER_LOW_DAYS - 1, "C7 01", 4), (0, "00 00", 4), (-3, "00 00", 4)],
)
def test_battery(days: int, octets: str, status: int) -> None:
    one = partner()
    one.endpoint.memory.battery_days = days
    telegram = one.read()
    assert one.octets(telegram).endswith(bytes.fromhex("02 FD 74 " + octets))
    assert telegram.transport is not None
    assert telegram.transport.status == status


def test_the_withdrawn_names_of_4_3_3_use_the_same_octets_or_none() -> None:
    one = partner(issue="4.3.3")
    one.secured(0x24, 1, CLEAR)
    assert one.apdu() == bytes.fromhex("02 FD 97 1D 00 00")
    other = partner(issue="4.3.3", same_octets=False)
    other.secured(0x24, 1, CLEAR)
    assert other.error() == 0x11


def test_flags_are_persistent_and_cleared_once() -> None:
    one = partner()
    one.endpoint.memory.error_flags = 0x0400
    one.secured(0x24, 5, CLEAR)
    two = reborn(one, {"supervision": {}})
    two.endpoint.memory.error_flags = 0x0400  # it has happened again
    two.secured(0x24, 5, CLEAR)
    assert two.error() == 0x20
    assert two.endpoint.memory.error_flags == 0x0400
