"""Every procedure against the real device, in every profile, with everything that can go wrong at every step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from openmetering.codec.address import Address
from openmetering.errors import ExchangeFailed, Refused
from openmetering.protocol.exchange import Answered, GiveKey, Submit
from openmetering.protocol.operator import (
    adapter,
    billing,
    clock,
    conformance,
    consumer,
    disconnector,
    firmware,
    keys,
    selection,
    supervision,
)
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.operator import Operator, Start
from openmetering.protocol.operator.secured import synchronise_counters
from openmetering.protocol.operator.steps import Ask
from openmetering.security import KeyRing
from openmetering.wire.types import MeterTime
from tests.protocol.operator.loopback import FAULTS, FUNCTIONS, LINKS, PowerCut, World
from tests.protocol.operator.scripted import DEVICE, NEW_APPLICATION_KEY, NEW_MASTER_KEY, ring

IMAGE = firmware.FirmwareImage(b"V2", bytes(number % 253 for number in range(700)))
QUICK = firmware.UpdateOptions(poll=5.0)


class Case(msgspec.Struct, frozen=True):
    """A procedure and what must be true of the device when it is done."""

    name: str
    make: Callable[[HeadEnd], Any]
    holds: Callable[[World], object]
    untouched: Callable[[World], object] = lambda world: True


def active(world: World, key_id: int) -> tuple[int, bytes]:
    slot = world.memory.key(key_id)
    assert slot is not None
    return slot.version, slot.octets


CASES = [
    Case("UC-00 plain", lambda h: conformance.conformance_test(), lambda w: True),
    Case("UC-00 secured", lambda h: conformance.conformance_test(h, DEVICE), lambda w: True),
    Case("UC-03 get", lambda h: disconnector.read_disconnector(), lambda w: w.memory.breaker == 1),
    Case(
        "UC-03 set",
        lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected"),
        lambda w: (w.memory.breaker, w.memory.output) == (0, 0),
        lambda w: w.memory.breaker == 1,
    ),
    Case("UC-04 read", lambda h: clock.read_clock(), lambda w: True),
    Case(
        "UC-04 adjust",
        lambda h: clock.adjust_clock(h, DEVICE, 30),
        lambda w: w.memory.clock_adjustment == 30,
        lambda w: w.memory.clock_adjustment == 0,
    ),
    Case(
        "UC-04 set",
        lambda h: clock.set_clock(h, DEVICE, clock.type_i(dt.datetime(2025, 5, 5, 12, 0))),
        lambda w: w.memory.clock_offset > 1e7,
        lambda w: w.memory.clock_offset == 0,
    ),
    Case(
        "UC-05",
        lambda h: firmware.update_firmware(h, DEVICE, IMAGE, options=QUICK),
        lambda w: w.installations == [IMAGE.octets],
        lambda w: w.installations == [],
    ),
    Case("UC-06 get", lambda h: supervision.read_status(), lambda w: True),
    Case(
        "UC-06 clear bits",
        lambda h: supervision.clear_flags(h, DEVICE, 0x0400),
        lambda w: w.memory.error_flags == 5,
        lambda w: w.memory.error_flags == 0x405,
    ),
    Case(
        "UC-06 clear all",
        lambda h: supervision.clear_all_flags(h, DEVICE),
        lambda w: w.memory.error_flags == 0,
        lambda w: w.memory.error_flags == 0x405,
    ),
    Case(
        "UC-08 master key",
        lambda h: keys.renew_key(h, DEVICE, 0x00, 1),
        lambda w: active(w, 0x00) == (1, NEW_MASTER_KEY),
    ),
    Case(
        "UC-08 application key",
        lambda h: keys.renew_key(h, DEVICE, 0x20, 1),
        lambda w: active(w, 0x20) == (1, NEW_APPLICATION_KEY),
    ),
    Case("UC-08 list", lambda h: keys.key_list(h, DEVICE, counters=True), lambda w: True),
    Case(
        "UC-12a set",
        lambda h: billing.set_next_due_date(h, DEVICE, dt.date(2026, 12, 31), today=dt.date(2024, 1, 1)),
        lambda w: w.memory.due_date_next == bytes.fromhex("5F3C"),
        lambda w: w.memory.due_date_next == b"",
    ),
    Case(
        "UC-12b set",
        lambda h: billing.set_ownership_number(h, DEVICE, "123456"),
        lambda w: w.memory.ownership != "",
        lambda w: w.memory.ownership == "",
    ),
    Case(
        "UC-14",
        lambda h: selection.select_data(h, DEVICE, 7, add=["MM3!"]),
        lambda w: w.memory.lists != {},
        lambda w: w.memory.lists == {},
    ),
    Case(
        "UC-20a",
        lambda h: adapter.set_meter_address(h, DEVICE, Address.parse("XYZ-11223344-55-20"), delay=100),
        lambda w: w.memory.pending != [],
        lambda w: w.memory.pending == [],
    ),
    Case(
        "UC-20b add",
        lambda h: adapter.change_index(h, DEVICE, "VM1!", b"\x0c\x13", "add", Decimal("0.367")),
        lambda w: w.memory.indexes["VM1!"] == 1367,
        lambda w: w.memory.indexes["VM1!"] == 1000,
    ),
]
BY_NAME = {case.name: case for case in CASES}
#: exchanges that each takes when all goes well
LENGTH = {
    "UC-00 plain": 5,
    "UC-00 secured": 5,
    "UC-05": 10,
    "UC-08 master key": 2,
    "UC-08 application key": 2,
}
links = pytest.mark.parametrize("link", LINKS)
PAIRS = [pytest.param(link, case, id=f"{case.name}-{link}") for case in CASES for link in LINKS]


def again_until_done(world: World, case: Case, error: Exception | None) -> None:
    """What the caller does who was told that it failed, or who lost his power: he asks for the same again."""
    if error is not None:
        world.run(case.make)


@pytest.mark.parametrize(("link", "case"), PAIRS)
def test_success(link, case):
    world = World(link)
    result = world.run(case.make)
    assert case.holds(world)
    assert world.exchanges == LENGTH.get(case.name, 1)
    if isinstance(result, conformance.ConformanceReport):
        assert result.passed, [check.words for check in result.checks]
    assert getattr(result, "proof", "answer") == "answer"
    world.agree()


def numbers(case: Case) -> range:
    return range(LENGTH.get(case.name, 1))


FAULTY = [
    pytest.param(link, case, number, fault, id=f"{case.name}-{number}-{fault}-{link}")
    for case in CASES
    for link in LINKS
    for number in numbers(case)
    for fault in FAULTS
]


@pytest.mark.parametrize(("link", "case", "number", "fault"), FAULTY)
def test_one_fault_at_every_step(link, case, number, fault):
    """It ends well by itself, or the caller is told and asks again; the device has executed it once."""
    world = World(link)
    error: Exception | None = None
    try:
        world.run(case.make, faults={number: fault})
    except ExchangeFailed as failure:
        error = failure
    again_until_done(world, case, error)
    assert case.holds(world)
    world.agree()


CUT = [
    pytest.param(link, case, number, executed, id=f"{case.name}-{number}-{'after' if executed else 'before'}-{link}")
    for case in CASES
    for link in LINKS
    for number in numbers(case)
    for executed in (False, True)
]


@pytest.mark.parametrize(("link", "case", "number", "executed"), CUT)
def test_a_power_cut_of_the_operator_at_every_step(link, case, number, executed):
    world = World(link)
    with pytest.raises(PowerCut):
        world.run(case.make, stop=(number, executed))
    world.run(case.make)
    assert case.holds(world)
    world.agree()


TWICE = ["UC-03 set", "UC-04 adjust", "UC-08 master key", "UC-08 application key", "UC-20b add", "UC-05"]


@pytest.mark.parametrize("second", ["request", "answer", "ack", "device-after"])
@pytest.mark.parametrize("first", ["request", "answer", "ack", "device-after"])
@pytest.mark.parametrize(("link", "name"), [(link, name) for name in TWICE for link in LINKS])
def test_two_faults_in_a_row(link, name, first, second):
    """The first exchange and the one that wants to find out what became of it."""
    world, case = World(link), BY_NAME[name]
    error: Exception | None = None
    at = 1 if name.startswith("UC-08") else 0
    try:
        world.run(case.make, faults={at: first, at + 1: second})
    except ExchangeFailed as failure:
        error = failure
    again_until_done(world, case, error)
    assert case.holds(world)
    world.agree()


@pytest.mark.parametrize("name", TWICE)
def test_a_cut_of_both(name):
    """Operator and device lose their power at the same exchange."""
    for number in numbers(BY_NAME[name]):
        world, case = World(), BY_NAME[name]
        with pytest.raises(PowerCut):
            world.run(case.make, stop=(number, True))
        world.cut_device()
        world.cut_gateway()
        world.run(case.make)
        assert case.holds(world)
        world.agree()


# -- wrong keys ------------------------------------------------------------------------------------------------


def other_keys() -> KeyRing:
    wrong = KeyRing()
    for pattern, key in ring():
        secret = key.octets if key.key_id == 0 else bytes(15) + bytes((1 + (key.version or 0),))
        wrong.add(pattern, secret, key.key_id, key.version)
    return wrong


SECURED = [case for case in CASES if case.name not in ("UC-00 plain", "UC-03 get", "UC-04 read", "UC-06 get", "UC-08 list")]


@links
@pytest.mark.parametrize("case", SECURED, ids=lambda case: case.name)
def test_a_head_end_with_wrong_keys(link, case):
    world = World(link)
    before = {(slot.key_id, slot.version): slot.counter for slot in world.memory.keys if slot.key_id >= 0x10}
    if case.name == "UC-00 secured":
        report = world.run(case.make, keys=other_keys())
        assert not report.passed
    else:
        with pytest.raises(Refused) as caught:
            world.run(case.make, keys=other_keys())
        assert caught.value.error == 0x20 or caught.value.status == 0x19
    assert case.untouched(world)
    assert world.executed == []
    after = {(slot.key_id, slot.version): slot.counter for slot in world.memory.keys if slot.key_id >= 0x10}
    assert after == before
    assert world.office().journal(DEVICE).commands == ()


@pytest.mark.parametrize("case", SECURED, ids=lambda case: case.name)
def test_a_version_the_device_does_not_have(case):
    world = World()
    newer = KeyRing()
    for pattern, key in ring():
        newer.add(pattern, key.octets, key.key_id, None if key.version == 0 else key.version)
    office = world.office(newer)
    for key_id in range(0x10, 0x28):
        office.adopt(DEVICE, key_id, 9)
    if case.name in ("UC-00 secured", "UC-05", "UC-08 application key"):
        return
    with pytest.raises(Refused) as caught:
        world.run(case.make, keys=newer)
    assert caught.value.status == 0x19
    assert "KeyVersion" in caught.value.message
    assert case.untouched(world)


@links
def test_a_device_without_application_keys(link):
    world = World(link, application_keys=())
    with pytest.raises(Refused) as caught:
        world.run(BY_NAME["UC-03 set"].make)
    assert caught.value.status == 0x19


# -- refusals of the use cases -----------------------------------------------------------------------------------

BEYOND = [
    ("UC-04 adjust above 60 s", lambda h: clock.adjust_clock(h, DEVICE, 61, beyond_limit=True), {"error": 0x15}),
    ("UC-04a adjust above 60 s", lambda h: clock.adjust_by_gateway(110, beyond_limit=True), {"error": 0x15}),
    (
        "UC-20a delay above 120 s",
        lambda h: adapter.set_meter_address(h, DEVICE, Address.parse("XYZ-11223344-55-20"), delay=121, beyond_limit=True),
        {"status": 0x23},
    ),
    (
        "UC-20b index below 0",
        lambda h: adapter.change_index(h, DEVICE, "VM1!", b"\x0c\x13", "sub", Decimal(2)),
        {"error": 0x15},
    ),
    (
        "UC-05 terminate the transfer in state 15",
        lambda h: firmware.terminate_image(h, DEVICE, b"V2", everything=False),
        {"error": 0x10},
    ),
]


@links
@pytest.mark.parametrize(("name", "make", "expected"), BEYOND, ids=[row[0] for row in BEYOND])
def test_refusals(link, name, make, expected):
    world = World(link)
    with pytest.raises(Refused) as caught:
        world.run(make)
    assert {key: getattr(caught.value, key) for key in expected} == expected
    assert world.office().journal(DEVICE).commands == ()
    assert world.executed == []


@links
def test_a_second_adjustment_while_one_runs(link):
    world = World(link)
    world.run(lambda h: clock.adjust_clock(h, DEVICE, 30))
    for make in (lambda h: clock.adjust_clock(h, DEVICE, 31), lambda h: clock.adjust_by_gateway(5)):
        with pytest.raises(Refused) as caught:
            world.run(make)
        assert caught.value.error == 0x10
    assert world.memory.clock_adjustment == 30
    world.run(lambda h: clock.set_clock(h, DEVICE, clock.type_i(dt.datetime(2025, 5, 5))))
    assert world.memory.clock_adjusted_until is None


@links
def test_adjustment_in_steps_reaches_the_time(link):
    world = World(link)
    assert world.run(lambda h: clock.adjust_in_steps(h, DEVICE, 150)) == 3
    world.wait(12 * 3600)
    assert world.memory.clock_offset == 150


@links
@pytest.mark.parametrize(("variant", "allowed"), [("a", (True, False)), ("b", (True, True)), ("c", (False, True))])
def test_clock_variants(link, variant, allowed):
    for make, may in zip(
        (lambda h: clock.adjust_by_gateway(9), lambda h: clock.adjust_clock(h, DEVICE, 9)), allowed, strict=True
    ):
        world = World(link, functions={"clock": {"variant": variant}, "keys": {}})
        if may:
            world.run(make)
            assert world.memory.clock_adjustment == 9
        else:
            with pytest.raises(Refused):
                world.run(make)
            assert world.memory.clock_adjustment == 0


@links
@pytest.mark.parametrize("fault", ["request", "ack", "answer", "device-after"])
def test_a_gateway_adjustment_is_sent_once(link, fault):
    world = World(link)
    with pytest.raises(ExchangeFailed):
        world.run(lambda h: clock.adjust_by_gateway(30), faults={0: fault})
    assert world.exchanges == 1
    assert world.memory.clock_adjustment == (0 if fault == "request" else 30)


def test_a_correction_applies_sixty_seconds_at_most():
    world = World()
    world.run(lambda h: clock.correct_clock(h, DEVICE, MeterTime("J", hour=3, minute=0, second=0)))
    assert abs(world.memory.clock_adjustment) == 60


@pytest.mark.parametrize("case", [BY_NAME[name] for name in ("UC-03 set", "UC-06 clear all", "UC-20b add")], ids=lambda c: c.name)
def test_use_cases_that_are_not_there(case):
    world = World(functions={"keys": {}})
    with pytest.raises(Refused) as caught:
        world.run(case.make)
    assert caught.value.error == 0x11


def test_a_device_without_the_key_list():
    """Nobody can settle: nothing goes out twice, and the caller is told."""
    world = World(functions={name: options for name, options in FUNCTIONS.items() if name != "keys"})
    case = BY_NAME["UC-20b add"]
    for fault in ("request", "ack"):
        world.memory.indexes = {"VM1!": 1000}
        with pytest.raises(ExchangeFailed) as caught:
            world.run(case.make, faults={0: fault, 1: "answer"})
        assert caught.value.delivered is None
        with pytest.raises(ExchangeFailed):
            world.run(case.make)
        assert world.memory.indexes["VM1!"] == (1000 if fault == "request" else 1367)
        world.office().close(DEVICE, 0x27)


def test_delays():
    world = World()
    result = world.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected", delay=60))
    assert result.scheduled
    assert world.memory.breaker == 1
    world.wait(61)
    assert world.memory.breaker == 0


def test_the_address_changes_after_the_delay():
    world = World()
    new = Address.parse("XYZ-11223344-55-20")
    world.run(lambda h: adapter.set_meter_address(h, DEVICE, new, delay=60))
    world.wait(130)
    assert world.endpoint.address == new


# -- firmware -------------------------------------------------------------------------------------------------------


@links
@pytest.mark.parametrize("issue", ["5.0.1", "4.3.3"])
def test_firmware_in_both_issues(link, issue):
    world = World(link, issue=issue)
    result = world.run(lambda h: firmware.update_firmware(h, DEVICE, IMAGE, options=QUICK, issue=issue))
    assert result.state == 12
    assert world.installations == [IMAGE.octets]


def test_firmware_for_idis():
    world = World("wired")
    options = firmware.UpdateOptions(poll=5.0, secured=False, confirmed=True)
    image = firmware.FirmwareImage(b"V2", IMAGE.octets, 200)
    world.run(lambda h: firmware.update_firmware(h, DEVICE, image, options=options))
    assert world.installations == [IMAGE.octets]


@links
def test_firmware_with_many_lost_blocks(link):
    world = World(link)
    image = firmware.FirmwareImage(b"V2", bytes(range(256)) * 16, 190)
    faults = dict.fromkeys(range(2, 20, 2), "request")
    result = world.run(lambda h: firmware.update_firmware(h, DEVICE, image, options=QUICK), faults=faults)
    assert world.installations == [image.octets]
    assert result.sent == image.block_count


def test_firmware_with_a_wrong_mac():
    """The head-end's key 18h is another one: prepare is accepted, validation fails."""
    world = World()
    wrong = KeyRing()
    for pattern, key in ring():
        wrong.add(pattern, bytes(16) if key.key_id == 0x18 else key.octets, key.key_id, key.version)
    with pytest.raises(Refused, match="not valid"):
        world.run(BY_NAME["UC-05"].make, keys=wrong)
    assert world.memory.image.state == 10
    assert world.installations == []
    world.run(BY_NAME["UC-05"].make)
    assert world.installations == [IMAGE.octets]


def test_firmware_with_a_block_that_is_too_large():
    world = World()
    image = firmware.FirmwareImage(b"V2", IMAGE.octets, 230)
    with pytest.raises(Refused) as caught:
        world.run(lambda h: firmware.update_firmware(h, DEVICE, image, options=QUICK))
    assert caught.value.error == 0x15


def test_terminate():
    world = World()
    with pytest.raises(PowerCut):
        world.run(BY_NAME["UC-05"].make, stop=(3, True))
    assert world.run(lambda h: firmware.terminate_image(h, DEVICE, b"V2", everything=False)) == 4
    assert world.run(lambda h: firmware.terminate_image(h, DEVICE, b"V2")) == 14
    assert world.office().journal(DEVICE).image is None


# -- keys ---------------------------------------------------------------------------------------------------------------


@links
def test_commands_after_the_renewal_of_every_key(link):
    world = World(link)
    world.run(BY_NAME["UC-03 set"].make)
    world.run(BY_NAME["UC-08 master key"].make)
    world.run(BY_NAME["UC-08 application key"].make)
    world.run(lambda h: disconnector.set_disconnector(h, DEVICE, "connected"))
    assert world.memory.breaker == 1
    world.agree()


def test_the_message_counter_starts_again_with_a_new_master_key():
    world = World("radio B")
    for _ in range(5):
        world.run(BY_NAME["UC-03 get"].make)
    world.run(BY_NAME["UC-08 master key"].make)
    old, new = world.memory.key(0, 0), world.memory.key(0, 1)
    assert old is not None
    assert new is not None
    assert old.counter >= 10
    assert new.counter < 5


@pytest.mark.parametrize("key_id", [0x10, 0x12, 0x14])
def test_wrapper_keys(key_id):
    world = World()
    extra = ring((NEW_APPLICATION_KEY, key_id, 1))
    world.run(lambda h: keys.renew_key(h, DEVICE, key_id, 1), keys=extra)
    assert active(world, key_id) == (1, NEW_APPLICATION_KEY)
    world.run(BY_NAME["UC-08 application key"].make, keys=extra)
    assert active(world, 0x20) == (1, NEW_APPLICATION_KEY)


def test_destroy_in_433():
    world = World(issue="4.3.3")
    world.run(lambda h: keys.renew_key(h, DEVICE, 0x20, 1, issue="4.3.3"))
    world.run(lambda h: keys.destroy_key(h, DEVICE, 0x20, 0))
    assert world.memory.key(0x20, 0) is None


def test_an_older_version_is_refused():
    world = World()
    world.run(BY_NAME["UC-08 application key"].make)
    with pytest.raises(Refused) as caught:
        world.run(lambda h: keys.renew_key(h, DEVICE, 0x20, 0))
    assert caught.value.status == 0x21
    assert world.office().journal(DEVICE).renewals == ()


def test_a_lost_journal_is_learnt_from_the_device():
    world = World()
    for state in ("disconnected", "connected") * 3:
        world.run(lambda h, state=state: disconnector.set_disconnector(h, DEVICE, state))
    world.store.disk.clear()
    with pytest.raises(Refused) as caught:
        world.run(BY_NAME["UC-03 set"].make)
    assert caught.value.error == 0x20
    world.run(lambda h: synchronise_counters(h, DEVICE))
    world.run(BY_NAME["UC-03 set"].make)
    assert world.memory.breaker == 0


# -- the older issue, consumer data, a gateway with a wrong key ----------------------------------------------------------


@links
@pytest.mark.parametrize("fault", FAULTS)
def test_issue_433_settles_too(link, fault):
    """There the list of key counters names a wrapper key."""
    world = World(link, issue="4.3.3")

    def make(office):
        return disconnector.set_disconnector(office, DEVICE, "disconnected", issue="4.3.3")

    world.run(make, faults={0: fault})
    assert world.memory.breaker == 0
    world.agree()


@links
def test_the_application_select_of_consumer_data(link):
    world = World(link, codings={"1200": 18})
    assert world.run(lambda h: consumer.read_consumer_information(b"\x12\x00")) is not None


@pytest.mark.parametrize("link", ["radio A", "radio B", "radio D"])
@pytest.mark.parametrize("name", ["UC-03 set", "UC-03 get", "UC-08 master key", "UC-20b add"])
def test_a_gateway_with_a_wrong_key(link, name):
    """The device refuses everything with a plain error; nothing is executed, nothing stays open."""
    world, case = World(link, gateway_key=bytes(16)), BY_NAME[name]
    with pytest.raises(Refused) as caught:
        world.run(case.make)
    assert caught.value.error == 0x20
    assert case.untouched(world)
    assert world.executed == []
    assert world.office().journal(DEVICE).commands == ()


def test_driven_by_the_machine():
    """The same through the Operator: exchanges by token, keys to the gateway, progress to whoever looks."""
    world, operator = World(), Operator.numbered(DEVICE, 2)
    inbox: list[Any] = operator.receive(Start(BY_NAME["UC-08 master key"].make(world.office())), world.now)
    seen: list[str] = []
    while inbox:
        event = inbox.pop(0)
        seen.append(type(event).__name__)
        if isinstance(event, Submit):
            reply = world.exchange(Ask(event.exchange.command, event.exchange.answer), None)
            assert isinstance(reply, Answered)
            inbox += operator.receive(msgspec.structs.replace(reply, token=event.token), world.now)
        elif isinstance(event, GiveKey):
            world.security.give_key(event.address, event.key, event.key_id, event.version)
    assert seen == ["Progress", "Submit", "Progress", "GiveKey", "Submit", "Finished"]
    assert active(world, 0) == (1, NEW_MASTER_KEY)
