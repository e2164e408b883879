"""UC-12: due dates and ownership number; what is refused; how a year passes."""

from __future__ import annotations

import datetime as dt

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.protocol.device.billing import BillingFeature
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.wire.types import MeterTime, encode_date
from tests.protocol.device.partner import WAYS, Partner, device, reborn, secured

Way = tuple[str, bool]
GET_LAST, GET_NEXT, GET_OWNER = "40 EC 0F", "40 EC FE 0F", "00 FD 91 0F"
SET_NEXT, SET_OWNER = "42 EC FE 00 5F 3C", "0B FD 91 00 56 34 12"
DAY = 86400.0


def partner(way: Way = ("B", False), *, issue: str = "5.0.1") -> Partner:
    return Partner(device(*way, functions={"billing": {}, "clock": {}}, oms_issue=issue))


def date(year: int, month: int, day: int) -> bytes:
    return encode_date(MeterTime("G", year, month, day))


@pytest.mark.parametrize("way", WAYS)
def test_set_and_get_the_next_due_date(way: Way) -> None:
    """The computed block for 2026-12-31."""
    block = bytes.fromhex("1E 00 00 20 00 32 26 00 01 00 00 00 00 00 00 00 30 01 42 EC FE 00 5F 3C BC CC E3 AF CD 1F BD 0D")
    assert secured(0x26, 1, SET_NEXT) == block
    one = partner(way)
    taken = one.send("sitp", block)
    assert [(event.name, event.detail) for event in taken.events] == [("due-date", "2026-12-31"), ("executed", "key 26h")]
    assert one.apdu() == bytes.fromhex("42 EC 7E 5F 3C")
    assert one.send("m-bus", GET_NEXT).status == 0
    assert one.octets(one.read()) == bytes.fromhex("42 EC 7E 5F 3C")
    two = reborn(one, {"billing": {}})
    two.send("m-bus", GET_NEXT)
    assert two.octets(two.read()) == bytes.fromhex("42 EC 7E 5F 3C")


@pytest.mark.parametrize("way", WAYS)
def test_get_the_last_due_date(way: Way) -> None:
    one = partner(way)
    one.endpoint.memory.due_date_last = date(2023, 12, 31)
    one.send("m-bus", GET_LAST)
    (record,) = one.read().records
    assert record.header.octets == b"\x42\x6c"
    assert str(record) == "date: 2023-12-31"


@pytest.mark.parametrize("command", [GET_LAST, GET_NEXT, GET_OWNER])
def test_what_is_not_there_is_error_12(command: str) -> None:
    one = partner()
    one.send("m-bus", command)
    assert one.error() == 0x12


@pytest.mark.parametrize(
    "octets",
    [
        date(2024, 1, 1).hex(),  # today
        date(2023, 12, 31).hex(),
        "FF FF",
        "00 00",
        "E0 FC",  # every day of every month
        (date(2030, 5, 1)[0] & 0xE0).to_bytes(1, "little").hex() + date(2030, 5, 1)[1:].hex(),  # every day
        "1F FC",  # every year
        "5E 32",  # 30 February
    ],
)
def test_a_due_date_is_one_day_to_come(octets: str) -> None:
    one = partner()
    one.secured(0x26, 1, "42 EC FE 00 " + octets)
    assert one.error() == 0x15
    assert one.endpoint.memory.due_date_next == b""


def test_a_due_date_has_two_octets() -> None:
    one = partner()
    one.secured(0x26, 1, "44 EC FE 00 00 00 5F 3C")
    assert one.error() == 0x15


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", [SET_NEXT, SET_OWNER])
def test_setting_needs_its_key(way: Way, command: str) -> None:
    one = partner(way)
    assert one.send("m-bus", command).status == 2
    assert one.error() == 0x22
    one.secured(0x27, 1, command)
    assert one.error() == 0x22
    one.secured(0x26, 1, command, time=target_time(5))
    assert one.status() == 0x23


@pytest.mark.parametrize("way", WAYS)
def test_ownership_number(way: Way) -> None:
    """The computed block for 123456."""
    block = bytes.fromhex("1F 00 00 20 00 32 26 00 02 00 00 00 00 00 00 00 30 01 0B FD 91 00 56 34 12 C9 EF 68 6C 28 12 72 E1")
    assert secured(0x26, 2, SET_OWNER) == block
    one = partner(way)
    taken = one.send("sitp", block)
    assert next((event.name, event.detail) for event in taken.events) == ("ownership", "123456")
    assert one.apdu() == bytes.fromhex("0B FD 11 56 34 12")
    one.send("m-bus", GET_OWNER)
    assert one.octets(one.read()) == bytes.fromhex("0B FD 11 56 34 12")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("04 FD 91 00 40 E2 01 00", "0B FD 11 56 34 12"),
        ("0C FD 91 00 78 56 34 12", "0C FD 11 78 56 34 12"),
        ("0E FD 91 00 12 90 78 56 34 12", "0E FD 11 12 90 78 56 34 12"),
        ("0D FD 91 00 03 43 42 41", "0D FD 11 03 43 42 41"),
    ],
)
def test_forms_of_the_ownership_number(command: str, answer: str) -> None:
    one = partner()
    one.secured(0x26, 1, command)
    assert one.apdu() == bytes.fromhex(answer)


@pytest.mark.parametrize("command", ["0D FD 91 00 00", "0B FD 91 00 56 34 F2", "0B FD 91 00 56 34 AA"])
def test_what_is_no_ownership_number(command: str) -> None:
    one = partner()
    one.secured(0x26, 1, command)
    assert one.error() == 0x15


def test_in_4_3_3_the_use_case_does_not_exist() -> None:
    one = partner(issue="4.3.3")
    for command in (GET_LAST, GET_NEXT, GET_OWNER):
        one.send("m-bus", command)
        assert one.error() == 0x11
    one.secured(0x26, 1, SET_NEXT)
    assert one.error() == 0x11


@pytest.mark.parametrize("command", ["00 EC 0F", "42 EC 00 5F 3C", "40 EC FE 07", "00 FD 91 07", GET_LAST + GET_NEXT])
def test_other_commands(command: str) -> None:
    one = partner()
    one.send("m-bus", command)
    assert one.error() == 0x11


# -- how a year passes -------------------------------------------------------------------------------------------


def test_the_due_date_comes() -> None:
    one = partner()
    one.now = 0.0
    one.endpoint.memory.due_date_next = date(2024, 2, 29)
    due = 59 * DAY
    assert one.endpoint.deadline == pytest.approx(due)
    assert one.endpoint.timeout(due - 1) == []
    (event,) = one.endpoint.timeout(one.endpoint.deadline or 0.0)
    assert (event.name, event.detail) == ("due-date", "2024-02-29 has come")
    memory = one.endpoint.memory
    assert (memory.due_date_last, memory.due_date_next) == (date(2024, 2, 29), date(2025, 2, 28))
    assert one.endpoint.deadline == pytest.approx(due + 365 * DAY)


def test_the_due_date_follows_the_clock() -> None:
    one = partner()
    one.endpoint.memory.due_date_next = date(2024, 1, 2)
    assert one.endpoint.deadline == pytest.approx(DAY)
    one.now = DAY - 7200
    one.send("clock", "01 3C 00 00")
    due = one.endpoint.application.contents.features[0].deadline
    assert due is not None
    clock = one.endpoint.application.contents.features[1]
    assert clock.moment(due) == dt.datetime(2024, 1, 2)  # type: ignore[attr-defined]
    assert due == pytest.approx(DAY - 12, abs=0.1)


def test_a_due_date_that_is_no_day_is_never_due() -> None:
    memory = DeviceMemory(due_date_next=b"\xff\xff")
    feature = BillingFeature(memory, lambda now: dt.datetime(2024, 1, 1) + dt.timedelta(seconds=now))
    assert feature.deadline is None
    assert feature.timeout(1e12) == []


def test_where_type_g_ends_there_is_no_next_due_date() -> None:
    memory = DeviceMemory(due_date_next=date(2080, 6, 1))
    feature = BillingFeature(memory, lambda now: dt.datetime(2080, 1, 1) + dt.timedelta(seconds=now))
    assert feature.deadline is not None
    assert len(feature.timeout(feature.deadline)) == 1
    assert memory.due_date_next == b""
    assert feature.deadline is None
