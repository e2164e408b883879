"""Dry runs: the very octets that a real run would send, in words, and what cannot be told."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from openmetering.errors import KeyNotFound, NotRepresentable
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator import (
    adapter,
    billing,
    clock,
    conformance,
    consumer,
    disconnector,
    firmware,
    keys,
    registration,
    selection,
    supervision,
)
from openmetering.protocol.operator.describe import dry_run, meaning
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Pause
from openmetering.security import KeyRing
from openmetering.wire.types import MeterTime
from tests.protocol.operator.scripted import DEVICE, OTHER, Store, first, head_end

IMAGE = firmware.FirmwareImage(b"V1", bytes(400))


def plan(make, store: Store | None = None):
    return dry_run(make, head_end(store), DEVICE)


def test_it_shows_what_a_real_run_sends_and_uses_nothing_up():
    store = Store()
    office = head_end(store)
    office.raise_counter(DEVICE, 0x20, 0, 14)
    saved = len(store.history)
    found = dry_run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected"), office, DEVICE)
    assert len(store.history) == saved
    assert found.complete
    (command,) = found.commands
    assert command.octets == first(disconnector.set_disconnector(office, DEVICE, "disconnected"))
    assert (command.radio_ci, command.wired_ci, command.answer) == (0xC3, 0xC3, True)
    assert command.meaning == (
        "end-to-end secured application data (BCF 20h) under key 20h version 0, key counter 15, at once: write remote control: 0"
    )


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda h: conformance.conformance_test(), 5),
        (lambda h: conformance.conformance_test(h, DEVICE), 5),
        (lambda h: registration.read_for_registration(registration.Found(DEVICE)), 1),
        (lambda h: disconnector.read_disconnector(), 1),
        (lambda h: disconnector.set_disconnector(h, DEVICE, "connected", delay=9), 1),
        (lambda h: clock.adjust_by_gateway(30), 1),
        (lambda h: clock.adjust_clock(h, DEVICE, 30), 1),
        (lambda h: clock.adjust_in_steps(h, DEVICE, 150), 3),
        (lambda h: clock.set_clock(h, DEVICE, clock.type_i(dt.datetime(2024, 1, 1))), 1),
        (lambda h: supervision.clear_flags(h, DEVICE, 4), 1),
        (lambda h: supervision.clear_all_flags(h, DEVICE), 1),
        (lambda h: consumer.read_consumer_information(b"\x12"), 1),
        (lambda h: keys.renew_key(h, DEVICE, 0, 1), 2),
        (lambda h: keys.key_list(h, DEVICE), 1),
        (lambda h: keys.key_list(h, DEVICE, counters=True), 1),
        (lambda h: billing.read_due_dates(), 2),
        (lambda h: billing.set_next_due_date(h, DEVICE, dt.date(2030, 1, 1), today=dt.date(2029, 1, 1)), 1),
        (lambda h: billing.set_ownership_number(h, DEVICE, "1234"), 1),
        (lambda h: selection.select_data(h, DEVICE, 7, add=["DP3!"]), 1),
        (lambda h: adapter.set_meter_address(h, DEVICE, OTHER), 1),
        (lambda h: adapter.read_index("VM1!", b"\x13"), 1),
        (lambda h: adapter.change_index(h, DEVICE, "VM1!", b"\x0a\x13", "add", Decimal("0.367")), 1),
        (lambda h: firmware.terminate_image(h, DEVICE, b"V1"), 2),
        (lambda h: firmware.update_firmware(h, DEVICE, IMAGE), 9),
        (lambda h: firmware.update_firmware(h, DEVICE, IMAGE, options=firmware.UpdateOptions(secured=False, confirmed=True)), 9),
    ],
)
def test_all_that_goes_well(make, number):
    found = plan(make)
    assert found.complete, found.stopped
    assert len(found.commands) == number
    assert all(command.meaning for command in found.commands)
    assert found.stopped == ""


@pytest.mark.parametrize("make", [lambda h: clock.read_clock(), lambda h: supervision.read_status()])
def test_what_depends_on_the_device(make):
    found = plan(make)
    assert not found.complete
    assert len(found.commands) == 1
    assert "depends on the answer" in found.stopped


def test_what_cannot_be_sent_is_told_at_once():
    with pytest.raises(NotRepresentable):
        plan(lambda h: disconnector.set_disconnector(h, DEVICE, "half"))
    with pytest.raises(KeyNotFound):
        dry_run(lambda h: supervision.clear_all_flags(h, DEVICE), HeadEnd(KeyRing()), DEVICE)


def test_a_procedure_without_end():
    def endless(office):
        while True:
            yield Pause(1.0)

    assert "first 100000 steps" in plan(endless).stopped


def test_words():
    words = [command.meaning for command in plan(lambda h: firmware.update_firmware(h, DEVICE, IMAGE)).commands]
    assert words[0].endswith("image transfer: prepare")
    assert words[1] == "image transfer: transfer block 0, 190 octets"
    assert words[4] == "image transfer: completion"
    assert words[5] == "image transfer: validate"
    assert "at its own time: image transfer: activate" in words[7]
    words = [command.meaning for command in plan(lambda h: keys.renew_key(h, DEVICE, 0, 1)).commands]
    assert words[0] == "transfer security information (BCF 00h) under key 12h version 0"
    (delayed,) = plan(lambda h: disconnector.set_disconnector(h, DEVICE, "connected", delay=9)).commands
    assert "after 9 s" in delayed.meaning
    (corrected,) = plan(lambda h: clock.correct_by_gateway(MeterTime("J", hour=1, minute=2, second=3))).commands
    assert corrected.meaning == "clock: correct 01:02:03"
    assert corrected.radio_ci == 0x6C


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (None, "request the answer (REQ-UD2)"),
        (Command("application-reset", b""), "application reset: standard response"),
        (Command("application-reset", b"\x70"), "select application, sub code 70"),
        (Command("m-bus", b"\x2f"), "no records"),
        (Command("m-bus", bytes.fromhex("00930F")), "get volume: - m3"),
        (Command("clock", bytes.fromhex("011E0000")), "clock: add 30 s"),
        (Command("clock", bytes.fromhex("0501020304")), "clock: set 01020304"),
        (Command("clock", b""), "clock:  (a clock synchronisation has at least a TC field)"),
        (Command("other", b"\x01"), "other: 01"),
    ],
)
def test_meanings(command, words):
    assert meaning(command) == words


def test_keys_do_not_show():
    found = plan(lambda h: keys.renew_key(h, DEVICE, 0, 1))
    assert "f0e1d2c3" not in repr(found).lower().replace("\\x", "")


def test_a_procedure_that_asks_for_another_protocol():
    from openmetering.protocol.operator.answers import ask

    def strange(office):
        answered = yield from ask(Command("alarm", b""))
        return answered.payload

    found = plan(strange)
    assert (found.complete, found.commands[0].radio_ci) == (True, None)
