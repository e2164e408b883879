"""UC-14: lists of points: added, removed, unknown, too many; what they change and what they do not."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.protocol.device.contents import FixedReadings
from tests.protocol.device.partner import WAYS, Partner, device, reborn, records, secured

Way = tuple[str, bool]
VM1 = "0C 13 78 56 34 12"
VM1_D = "4C 13 00 00 34 12"
DP3 = "02 FD 3C 84 03"
MM8 = "02 FD 74 88 13"
FABRICATION = "0C 78 78 56 34 12"
SELECT_7, SELECT_0 = "01 FD FD 80 00 70", "01 FD FD 80 00 00"
ADD_DP3, REMOVE_MM8, ADD_MM4 = "00 FD BC 0C", "00 FD F4 0D", "00 FD AA 0C"


def partner(way: Way = ("B", False), *, issue: str = "5.0.1", **config: object) -> Partner:
    readings = FixedReadings({0: records(VM1 + MM8 + DP3), 7: records(FABRICATION + VM1_D)})
    return Partner(device(*way, functions={"selection": {}}, readings=readings, oms_issue=issue, **config))


def octets(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


@pytest.mark.parametrize("way", WAYS)
def test_add_a_point(way: Way) -> None:
    """The computed block: application 7 block 0, add DP3!."""
    block = bytes.fromhex(
        "22 00 00 20 00 32 25 00 01 00 00 00 00 00 00 00 30 01 01 FD FD 80 00 70 00 FD BC 0C C6 A1 A3 0C 77 EF 83 A6"
    )
    assert secured(0x25, 1, SELECT_7 + ADD_DP3) == block
    one = partner(way)
    taken = one.send("sitp", block)
    assert [event.name for event in taken.events] == ["selection", "executed"]
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION, VM1_D, DP3)


@pytest.mark.parametrize("way", WAYS)
def test_lists_are_kept_and_selections_are_not(way: Way) -> None:
    one = partner(way)
    one.secured(0x25, 1, SELECT_0 + REMOVE_MM8 + "40 93 0C")
    assert one.apdu() == octets("01 FD FD 00 00", VM1, DP3, VM1_D)
    one.send("application-reset", b"")
    assert one.octets(one.read()) == octets(VM1, DP3, VM1_D)
    two = reborn(one, {"selection": {}})
    assert two.endpoint.memory.lists == one.endpoint.memory.lists
    one.endpoint.timeout(one.now + 1000)
    spontaneous = one.open((one.endpoint.spontaneous("data", 1, 0.0, ell=True),), 0x44) if not way[1] else one.read()
    assert one.octets(spontaneous) == octets(VM1, DP3, VM1_D)
    one.send("application-reset", b"\x70")
    assert one.octets(one.read()) == octets(FABRICATION, VM1_D)


def test_after_the_answer_the_standard_response_is_back() -> None:
    one = partner()
    one.secured(0x25, 1, SELECT_7)
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION, VM1_D)
    assert one.endpoint.memory.lists == {}
    one.endpoint.timeout(one.now + 255)
    assert one.octets(one.read()) == octets(VM1, MM8, DP3)


def test_unknown_points_are_ignored() -> None:
    one = partner()
    one.secured(0x25, 1, SELECT_7 + ADD_MM4 + ADD_DP3 + REMOVE_MM8)
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION, VM1_D, DP3)


def test_a_point_is_added_once() -> None:
    one = partner()
    one.secured(0x25, 1, SELECT_0 + ADD_DP3 + ADD_DP3)
    assert one.apdu() == octets("01 FD FD 00 00", VM1, MM8, DP3)
    assert one.endpoint.memory.lists == {}


def test_a_point_by_the_first_vib_of_its_tag() -> None:
    """``40 90 0C``: VIB type with all n bits 0, for the device's 13h."""
    one = partner()
    one.secured(0x25, 1, SELECT_7 + "40 90 0D")
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION)
    one.secured(0x25, 2, SELECT_7 + "40 90 0C")
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION, VM1_D)


def test_a_removed_point_comes_back_from_another_application() -> None:
    one = partner()
    one.secured(0x25, 1, SELECT_7 + "00 90 0C")
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION, VM1_D, VM1)


def test_storage_counts() -> None:
    one = partner()
    one.secured(0x25, 1, SELECT_7 + "00 93 0D")
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION, VM1_D)


def test_an_application_that_does_not_exist_means_the_standard_response() -> None:
    one = partner()
    one.secured(0x25, 1, "01 FD FD 80 00 30")
    assert one.apdu() == octets("01 FD FD 00 00", VM1, MM8, DP3)


def test_too_much_is_error_03_and_changes_nothing() -> None:
    one = partner(largest_item=17 + 6 + 48)
    one.secured(0x25, 1, SELECT_7 + ADD_DP3)
    assert one.error() == 0x03
    assert one.endpoint.memory.lists == {}
    assert one.endpoint.memory.executed == 0


@pytest.mark.parametrize("way", WAYS)
def test_the_key_is_25(way: Way) -> None:
    one = partner(way)
    assert one.send("m-bus", SELECT_7 + ADD_DP3).status == 2
    assert one.error() == 0x22
    one.send("m-bus", ADD_DP3)
    assert one.error() == 0x22
    one.secured(0x24, 1, SELECT_7 + ADD_DP3)
    assert one.error() == 0x22
    one.secured(0x25, 1, SELECT_7 + ADD_DP3, time=target_time(3))
    assert one.status() == 0x23
    assert one.endpoint.memory.lists == {}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (ADD_DP3, 0x15),
        (ADD_DP3 + SELECT_7, 0x15),
        ("00 FD FD 80 00", 0x15),
        (SELECT_7 + SELECT_7, 0x11),
        (SELECT_7 + "01 FD 1F 00", 0x11),
        ("01 FD FD 80 0F 70", 0x11),
    ],
)
def test_wrong_commands(command: str, code: int) -> None:
    one = partner()
    one.secured(0x25, 1, command)
    assert one.error() == code


def test_points_without_a_tag_are_found_by_their_octets() -> None:
    readings = FixedReadings({0: records(VM1), 7: records("01 FF 05 01")})
    one = Partner(device("B", functions={"selection": {}}, readings=readings))
    one.secured(0x25, 1, SELECT_7 + "00 93 0C")
    assert one.apdu() == octets("01 FD FD 00 70 01 FF 05 01", VM1)


def test_a_vib_without_a_tag_is_found_by_its_octets_alone() -> None:
    readings = FixedReadings({0: records(VM1), 7: records("01 FD 7F 05" + FABRICATION)})
    one = Partner(device("B", functions={"selection": {}}, readings=readings))
    one.secured(0x25, 1, SELECT_7 + "00 FD FE 0D" + "00 FD FF 0D")
    assert one.apdu() == octets("01 FD FD 00 70", FABRICATION)


def test_other_protocols_are_not_meant() -> None:
    one = partner()
    one.send("clock", "01 00 00 00")
    assert one.error() == 0x11


def test_in_4_3_3_the_use_case_does_not_exist() -> None:
    one = partner(issue="4.3.3")
    one.secured(0x25, 1, SELECT_7 + ADD_DP3)
    assert one.error() == 0x11
