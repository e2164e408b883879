"""UC-20: the address of the meter behind an adapter, its index, and the addresses of wired devices (P-11, P-12)."""

from __future__ import annotations

import pytest

from openmetering.codec.address import Address
from openmetering.codec.apl.security_transfer import INVALID_TIME, target_time
from openmetering.protocol.device.adapter import LONGEST_DELAY, SESSION_END, merged
from openmetering.protocol.device.build import GivenKey
from openmetering.protocol.device.endpoint import DeviceEndpoint
from tests.protocol.device.partner import DEVICE, KEYS, MASTER, Partner, device, reborn, secured

ADAPTER = {"adapter": {"indexes": {"VM1!": "04 13", "EW1!": "04 03"}}}
FULL = "07 F9 00 78 56 34 12 3A 63 0A 07"
ONLY_IDENT = "07 F9 00 78 56 34 12 FF FF FF FF"
MIXED = "07 F9 00 FF FF 34 12 3A 63 FF FF"
NEW = Address.parse("XYZ-12345678-0A-07")
WAYS = [("A", False), ("B", False), ("D", False), ("none", True), ("B", True)]


def partner(way: tuple[str, bool] = ("B", False), *, issue: str = "5.0.1", **config: object) -> Partner:
    return Partner(device(*way, functions=ADAPTER, long_header=True, oms_issue=issue, **config))


def address_of(one: Partner) -> str:
    return str(one.endpoint.address)


# -- 20a ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_set_address_after_45_seconds(way: tuple[str, bool]) -> None:
    """The computed block with its delay; the session goes on under the old address."""
    block = bytes.fromhex(
        "23 00 00 20 00 32 27 00 01 00 00 00 2D 00 00 00 30 01 07 F9 00 78 56 34 12 3A 63 0A 07 EE 3D F9 D3 0E D3 60 35"
    )
    assert secured(0x27, 1, FULL, time=target_time(45)) == block
    one = partner(way)
    taken = one.send("sitp", block)
    assert (taken.status, [event.name for event in taken.events]) == (0, ["executed"])
    assert one.status() == 0x01
    assert one.endpoint.address == DEVICE
    due = one.now + 45
    assert one.endpoint.deadline == due
    assert one.endpoint.application.contents.features[0].timeout(due - 1) == []
    assert [(event.name, event.detail) for event in one.endpoint.timeout(due)] == [("address", str(NEW))]
    assert one.endpoint.address == NEW
    one.now = due
    telegram = one.read()
    assert telegram.error is None
    assert telegram.address == NEW
    assert one.send("application-reset", b"\x70").status == 0


def test_set_address_at_once_means_after_the_session() -> None:
    one = partner()
    one.secured(0x27, 1, FULL)
    assert one.apdu() == bytes.fromhex("07 79 78 56 34 12 3A 63 0A 07")
    assert one.endpoint.address == DEVICE
    assert one.endpoint.deadline == one.now + SESSION_END
    one.endpoint.timeout(one.now + SESSION_END)
    assert one.endpoint.address == NEW


def test_a_short_delay_waits_for_the_session_too() -> None:
    one = partner()
    one.secured(0x27, 1, FULL, time=target_time(1))
    assert one.status() == 0x01
    assert one.endpoint.deadline == one.now + SESSION_END


@pytest.mark.parametrize("seconds", [121, 3600])
def test_more_than_120_seconds_are_status_23(seconds: int) -> None:
    one = partner()
    taken = one.secured(0x27, 1, FULL, time=target_time(seconds))
    assert taken.status == 2
    assert one.status() == 0x23
    assert one.endpoint.memory.pending == []
    one.secured(0x27, 1, FULL, time=INVALID_TIME)
    assert one.status() == 0x23
    one.secured(0x27, 1, FULL, time=target_time(int(LONGEST_DELAY)))
    assert one.status() == 0x01


def test_an_address_survives_power_cuts_before_and_after() -> None:
    one = partner()
    one.secured(0x27, 1, FULL, time=target_time(45))
    two = reborn(one, ADAPTER, long_header=True)
    assert two.endpoint.address == DEVICE
    two.endpoint.timeout(one.now + 45)
    three = reborn(two, ADAPTER, long_header=True)
    assert three.endpoint.address == NEW
    assert three.endpoint.deadline is None
    three.secured(0x27, 1, FULL)
    assert three.error() == 0x20


@pytest.mark.parametrize(
    ("command", "expected"),
    [(FULL, "XYZ-12345678-0A-07"), (ONLY_IDENT, "XYZ-12345678-55-20"), (MIXED, "XYZ-12345678-55-20")],
)
def test_printed_forms(command: str, expected: str) -> None:
    one = partner()
    one.secured(0x27, 1, command)
    one.endpoint.timeout(one.now + SESSION_END)
    assert address_of(one) == expected


def test_digits_f_keep_the_old_digits() -> None:
    old = Address.parse("ELS-87654321-33-03")
    assert str(merged(bytes.fromhex("FF FF 34 12 3A 63 FF FF"), old)) == "XYZ-12344321-33-03"
    assert str(merged(bytes.fromhex("F1 FF FF FF FF FF FF 07"), old)) == "ELS-87654321-33-07"
    assert merged(bytes.fromhex("A1 FF FF FF FF FF FF 07"), old) is None


def test_a_second_address_builds_on_the_first() -> None:
    one = partner()
    one.secured(0x27, 1, FULL)
    one.endpoint.timeout(one.now + SESSION_END)
    one.secured(0x27, 2, "07 F9 00 FF FF 99 99 FF FF FF FF")
    one.endpoint.timeout(one.now + SESSION_END)
    assert address_of(one) == "XYZ-99995678-0A-07"


@pytest.mark.parametrize("way", WAYS)
def test_the_key_is_27(way: tuple[str, bool]) -> None:
    one = partner(way)
    for command in (FULL, "04 86 00 78 00 00 00", "0A 93 01 67 03"):
        assert one.send("m-bus", command).status == 2
        assert one.error() == 0x22
        one.secured(0x26, 1, command)
        assert one.error() == 0x22


def test_several_commands_in_one_message_are_not_known() -> None:
    one = partner()
    one.secured(0x27, 1, FULL + FULL)
    assert one.error() == 0x11


def test_a_number_that_is_none() -> None:
    one = partner()
    one.secured(0x27, 1, "07 F9 00 7A 56 34 12 3A 63 0A 07")
    assert one.error() == 0x15


@pytest.mark.parametrize(
    "command", ["01 FD FD 80 0F 07", "0C F9 00 78 56 34 12", "07 F9 0F 78 56 34 12 3A 63 0A 07", "07 79 78 56 34 12 3A 63 0A 07"]
)
def test_other_identifications_are_outside(command: str) -> None:
    one = partner()
    one.secured(0x27, 1, command)
    assert one.error() == 0x11


# -- 20b ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_set_and_get_an_index(way: tuple[str, bool]) -> None:
    """setEW1! 120 kWh as printed; the index counts Wh."""
    one = partner(way)
    taken = one.secured(0x27, 1, "04 86 00 78 00 00 00")
    assert next((event.name, event.detail, event.value) for event in taken.events) == ("index", "EW1!", 120000)
    assert one.apdu() == bytes.fromhex("04 03 C0 D4 01 00")
    assert one.send("m-bus", "00 83 0F").status == 0
    assert one.octets(one.read()) == bytes.fromhex("04 03 C0 D4 01 00")
    one.send("application-reset", b"")
    assert one.octets(one.read()).endswith(bytes.fromhex("04 13 00 00 00 00 04 03 C0 D4 01 00"))


@pytest.mark.parametrize("way", WAYS)
def test_add_and_subtract(way: tuple[str, bool]) -> None:
    """The computed block: add 367 l."""
    block = bytes.fromhex("1D 00 00 20 00 32 27 00 02 00 00 00 00 00 00 00 30 01 0A 93 01 67 03 D7 A6 7B B4 91 C8 76 D7")
    assert secured(0x27, 2, "0A 93 01 67 03") == block
    one = partner(way)
    one.endpoint.memory.indexes["VM1!"] = 1000
    one.send("sitp", block)
    assert one.apdu() == bytes.fromhex("04 13 57 05 00 00")
    one.secured(0x27, 3, "0A 93 02 67 03")
    assert one.apdu() == bytes.fromhex("04 13 E8 03 00 00")
    one.send("sitp", block)
    assert one.error() == 0x20
    assert one.endpoint.memory.indexes["VM1!"] == 1000


@pytest.mark.parametrize(
    "command",
    [
        "0A 93 02 67 03",  # below zero
        "04 93 01 FF FF FF 7F",  # does not fit
        "04 93 00 FF FF FF FF",  # negative
        "0A 92 00 67 03",  # finer than the index
        "0A 93 01 A7 03",  # no number
        "04 97 00 00 00 00 7F",  # much too large
    ],
)
def test_out_of_range_is_error_15_and_unchanged(command: str) -> None:
    one = partner()
    one.endpoint.memory.indexes["VM1!"] = 100
    one.secured(0x27, 1, command)
    assert one.error() == 0x15
    assert one.endpoint.memory.indexes["VM1!"] == 100


def test_an_index_has_no_delay() -> None:
    one = partner()
    one.secured(0x27, 1, "0A 93 01 67 03", time=target_time(5))
    assert one.status() == 0x23


@pytest.mark.parametrize(
    "command",
    ["4A 93 01 67 03", "8A 10 93 01 67 03", "0A 93 BC 01 67 03", "0A 93 07 67 03", "0A AB 00 67 03", "00 93 0F 00 83 0F"],
)
def test_what_is_no_index_here(command: str) -> None:
    one = partner()
    one.secured(0x27, 1, command)
    assert one.error() == 0x11


def test_indexes_are_persistent() -> None:
    one = partner()
    one.secured(0x27, 1, "0A 93 01 67 03")
    two = reborn(one, ADAPTER, long_header=True)
    two.send("m-bus", "00 93 0F")
    assert two.octets(two.read()) == bytes.fromhex("04 13 6F 01 00 00")


def test_static_messages_have_no_index() -> None:
    one = partner()
    one.send("application-reset", b"\x70")
    assert len(one.read().records) == 1


def test_in_4_3_3_the_use_case_does_not_exist() -> None:
    one = partner(issue="4.3.3")
    one.secured(0x27, 1, FULL)
    assert one.error() == 0x11
    one.send("m-bus", "00 93 0F")
    assert one.error() == 0x11


# -- wired addresses ---------------------------------------------------------------------------------------------------


def wired(keys: tuple[GivenKey, ...] = (GivenKey(0, MASTER),), profile: str = "none") -> Partner:
    return Partner(device(profile, True, functions={"primary-address": {}, "wired-adapter": {}}, keys=keys))


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("address", [1, 250, 0])
def test_p_11_primary_address(profile: str, address: int) -> None:
    one = wired(profile=profile)
    one.endpoint.memory.primary_address = 7
    taken = one.send("m-bus", f"01 7A {address:02X}")
    assert [(event.name, event.value) for event in taken.events] == [("primary-address", address)]
    assert one.endpoint.memory.primary_address == address
    assert one.read().records[0].quantity == "volume"


@pytest.mark.parametrize("address", [251, 253, 254, 255])
def test_p_11_primary_addresses_that_are_none(address: int) -> None:
    one = wired()
    assert one.send("m-bus", f"01 7A {address:02X}").status == 2
    assert one.error() == 0x15
    assert one.endpoint.memory.primary_address == 0


@pytest.mark.parametrize("command", ["02 7A 05 00", "00 FA 0F"])
def test_p_11_other_forms(command: str) -> None:
    one = wired()
    one.send("m-bus", command)
    assert one.error() == 0x11


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("07 79 99 99 99 99 3A 63 55 07", "XYZ-99999999-55-07"),
        ("07 F9 00 99 99 FF FF FF FF FF FF", "XYZ-12349999-55-20"),
        ("0C 79 21 43 65 87", "XYZ-87654321-55-20"),
        ("0C F9 00 21 43 65 87", "XYZ-87654321-55-20"),
    ],
)
def test_p_12_secondary_address_of_an_adapter(command: str, expected: str) -> None:
    one = wired()
    taken = one.send("m-bus", command)
    assert [(event.name, event.detail) for event in taken.events] == [("address", expected)]
    assert address_of(one) == expected
    assert one.read().address == one.endpoint.address


@pytest.mark.parametrize("command", ["07 79 99 99 99 99 93 15 55 07", "07 79 99 99 99 99 3A 63 56 07", "0C 79 A1 43 65 87"])
def test_p_12_manufacturer_and_version_are_fixed(command: str) -> None:
    one = wired()
    one.send("m-bus", command)
    assert one.error() == 0x15
    assert one.endpoint.address == DEVICE


def test_p_12_an_adapter_with_the_key_demands_it() -> None:
    one = wired(KEYS)
    one.send("m-bus", "0C 79 21 43 65 87")
    assert one.error() == 0x22
    one.secured(0x27, 1, "0C 79 21 43 65 87", time=target_time(3))
    assert one.status() == 0x23
    one.secured(0x27, 1, "0C 79 21 43 65 87")
    assert one.status() == 0
    assert address_of(one) == "XYZ-87654321-55-20"
    one.secured(0x27, 2, "0C 79 55 55 55 55")
    assert address_of(one) == "XYZ-55555555-55-20"


@pytest.mark.parametrize("command", ["0A 79 21 43", "0C F9 0F 21 43 65 87"])
def test_p_12_other_forms(command: str) -> None:
    one = wired()
    one.send("m-bus", command)
    assert one.error() == 0x11


def test_secured_primary_address_is_rehearsed() -> None:
    one = wired(KEYS)
    one.secured(0x27, 1, "01 7A 05")
    assert one.endpoint.memory.primary_address == 5
    assert one.status() == 0
    assert isinstance(one.endpoint, DeviceEndpoint)
