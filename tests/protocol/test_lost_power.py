"""What a gateway may believe when a device lost its power behind a command, and answers that were overtaken.

A device that forgot a command carries out, or refuses, its repetition: an error then says nothing about the first one.
"""

from __future__ import annotations

import pytest

from openmetering.protocol.events import Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, Submit
from openmetering.protocol.gateway.events import Alarm, DeviceLink
from openmetering.protocol.wired.orders import ReadPrimary, Transact, TransactionDone
from tests.protocol.gateway.test_with_devices import ADD_30, DEVICE, PATTERN, told, wired_world
from tests.protocol.gateway_bench import METER, Bench, Device, control, only, sent

CLOCK = Command("clock", bytes.fromhex("011E0000"))
SITP = Command("sitp", bytes.fromhex("060000090000FFFF"))


def repeated(command: Command, profile: str = "B") -> tuple[Bench, Device, bytes]:
    """The command went out twice, within the frequent access cycle."""
    bench, device = Bench(DeviceLink(METER, profile)), Device(profile=profile)
    bench.hear(device.spontaneous())
    bench.submit(1, command)
    first = sent(bench.hear(device.spontaneous(), after=30.0))
    again = sent(bench.hear(device.spontaneous(), after=10.0))
    assert first == again
    return bench, device, again


@pytest.mark.parametrize(("command", "error"), [(CLOCK, 0x20), (CLOCK, 0x10), (SITP, 0x20)])
def test_an_error_to_a_repetition_may_mean_that_it_was_done(command: Command, error: int) -> None:
    bench, device, frame = repeated(command)
    out = bench.hear(device.answer(frame, bytes((error,)), ci=0x6E, status=2, profile="none"), after=1.5)
    assert only(out, Failed) == Failed(1, "no-answer", delivered=None)


@pytest.mark.parametrize(("command", "error"), [(CLOCK, 0x15), (SITP, 0x10), (SITP, 0x11)])
def test_other_errors_mean_what_they_say(command: Command, error: int) -> None:
    bench, device, frame = repeated(command)
    out = bench.hear(device.answer(frame, bytes((error,)), ci=0x6E, status=2, profile="none"), after=1.5)
    assert only(out, Answered).payload == bytes((error,))


def test_an_error_to_the_first_transmission_is_a_refusal() -> None:
    bench, device = Bench(DeviceLink(METER, "B")), Device(profile="B")
    bench.hear(device.spontaneous())
    frame = sent(bench.submit(1, CLOCK))
    out = bench.hear(device.answer(frame, b"\x20", ci=0x6E, status=2, profile="none"), after=1.5)
    assert only(out, Answered).payload == b"\x20"


def test_an_error_behind_snd_ud_is_not_believed_either() -> None:
    """SND-UD went out twice and was acknowledged; the answer to REQ-UD2 is the error."""
    bench, device = Bench(DeviceLink(METER, "B", snd_ud2=False)), Device(profile="B")
    bench.hear(device.spontaneous())
    bench.submit(1, CLOCK)
    bench.hear(device.spontaneous(), after=30.0)
    frame = sent(bench.hear(device.spontaneous(), after=10.0))
    request = sent(bench.hear(device.acknowledge(frame, status=2), after=1.5))
    assert control(request) == 0x5B
    out = bench.hear(device.answer(request, b"\x20", ci=0x6E, status=2, profile="none"), after=1.5)
    assert only(out, Failed) == Failed(1, "no-answer", delivered=None)


@pytest.mark.parametrize("profile", ["B", "D"])
def test_an_answer_that_snd_nr_has_overtaken_is_asked_for_once_more(profile: str) -> None:
    """It was made first, under a lower message counter, and comes later."""
    bench, device = Bench(DeviceLink(METER, profile)), Device(profile=profile)
    bench.hear(device.spontaneous())
    bench.submit(1, SITP)
    frame = sent(bench.hear(device.spontaneous(), after=30.0))
    late = device.answer(frame)
    bench.hear(device.spontaneous(cc=0x04), after=1.5)
    request = sent(bench.hear(late, after=4.0))
    assert control(request) == 0x5B
    assert only(bench.log_events(), Alarm) == Alarm(METER, "replayed")  # type: ignore[arg-type]
    out = bench.hear(device.answer(request), after=1.5)
    assert only(out, Answered).token == 1


# -- wire ------------------------------------------------------------------------------------------------------


def test_the_master_tells_that_a_command_went_out_twice() -> None:
    bus, gateway, memory = wired_world("none", primary=True, snd_ud2=True)
    bus.lost = {1}
    order = Transact(ReadPrimary(memory.primary_address), bytes.fromhex("5102FD9F1D4032"), "SND-UD2")
    master = gateway.master
    done = [event for event in bus.run(master, order) if isinstance(event, TransactionDone)]
    assert [event.repeated for event in done] == [True]
    done = [event for event in bus.run(master, order) if isinstance(event, TransactionDone)]
    assert [event.repeated for event in done] == [False]


@pytest.mark.parametrize("profile", ["B", "D"])
def test_answers_that_never_came_leave_room_in_the_message_counter(profile: str) -> None:
    """The device counted them; the next command is above all of them."""
    bus, gateway, memory = wired_world(profile, primary=True)
    spoiled = bus.spoil
    bus.spoil = lambda number, answers: [] if number else answers
    bus.run(gateway, Submit(1, Exchange(DEVICE, ADD_30)))
    assert [type(event) for event in told(bus, Failed)] == [Failed]
    bus.spoil = spoiled
    bus.run(gateway, Submit(2, Exchange(DEVICE, PATTERN)))
    answered = told(bus, Answered)[-1]
    assert answered.protocol == "m-bus"  # type: ignore[attr-defined]
    assert memory.keys[0].counter > 64
    assert not [event for event in bus.told if isinstance(event, Transmit)]
