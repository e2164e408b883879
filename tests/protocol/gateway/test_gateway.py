"""The gateway on the bench: exchanges over windows, faults of the radio, installation, demands, power cuts."""

from __future__ import annotations

import msgspec
import pytest

from openmetering import Address, KeyRing
from openmetering.errors import InputError, NotRepresentable, ProtocolError
from openmetering.protocol.events import Heard, Octets, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import (
    Alarm,
    Demanded,
    DeviceLink,
    Forget,
    GatewayConfig,
    GatewayMemory,
    Installed,
    OpenOrder,
    Persist,
    Received,
    Register,
)
from openmetering.protocol.gateway.gateway import TRANSITIONS, Gateway, State
from tests.protocol.gateway_bench import (
    ADAPTER,
    ALWAYS,
    GATEWAY,
    KEY,
    METER,
    NEVER,
    NEW_KEY,
    NOT_NOW,
    OTHER_GATEWAY,
    SECOND,
    Bench,
    Device,
    control,
    dice,
    keys,
    none,
    only,
    opened,
    relinked,
    repeated,
    sent,
)

SET = Command("m-bus", b"\x01\xfd\x1f\x00")
SITP = Command("sitp", bytes.fromhex("1C000020003220000F00000000000000300101FD1F00FA41E2812D449B4D"))
ADD = Command("clock", bytes.fromhex("011E000000000000000000002F2F2F2F"))
PLAIN = DeviceLink(METER)


def link(profile: str = "none", **options: object) -> DeviceLink:
    return DeviceLink(METER, profile, **options)  # type: ignore[arg-type]


# -- the good way ----------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_command_and_its_answer(profile: str) -> None:
    """SND-NR with a window, SND-UD2 in it, RSP-UD, SND-NKE in the window behind the answer."""
    bench, device = Bench(link(profile)), Device(profile=profile)
    assert none(bench.submit(7, SET), Transmit)
    out = bench.hear(device.spontaneous(), after=10.0)
    assert only(out, Received).verdict == "new"
    transmit = only(out, Transmit)
    assert transmit.downlink
    assert transmit.not_before == pytest.approx(bench.now + 0.9995)
    assert transmit.not_after == pytest.approx(bench.now + 1.0005)
    command = opened(transmit.frame)
    assert transmit.frame[1] == 0x43
    assert command.security.profile == profile
    assert command.transport is not None
    assert command.transport.address == METER
    assert command.transport.status == 0x17  # -84 dBm
    out = bench.hear(device.answer(transmit.frame), after=2.0)
    answered = only(out, Answered)
    assert (answered.token, answered.status, answered.protocol) == (7, 0, "m-bus")
    assert answered.payload.startswith(b"\x04\x13\x09\x00\x00\x00")
    assert answered.security.profile == profile
    assert not answered.error
    out = bench.wait(0.6)
    reset = only(out, Transmit)
    assert reset.frame[1] == 0x40
    assert reset.not_before == pytest.approx(bench.now - 0.6 + 0.9995)
    assert opened(reset.frame).transport is not None
    bench.wait(60.0)
    assert bench.gateway.deadline is None


def test_a_command_without_answer_is_confirmed_by_ack() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, SET, answer=False)
    frame = sent(bench.hear(device.spontaneous()))
    assert control(frame) == 0x53
    out = bench.hear(device.acknowledge(frame, status=2), after=2.0)
    assert only(out, Answered) == Answered(1, 2)
    assert only(out, Answered).error


def test_a_request_without_command() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, None)
    frame = sent(bench.hear(device.access()))
    assert frame[1] == 0x7B
    assert frame[10:13] == bytes((0x8C, 0x84, frame[12]))
    assert frame[13] == 0x80
    assert only(bench.hear(device.answer(frame), after=2.0), Answered).security.proof == "mac"


def test_the_next_command_uses_the_window_behind_the_answer() -> None:
    """No SND-NKE between two commands; FCB toggles, access numbers differ."""
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    first = sent(bench.hear(device.spontaneous()))
    out = bench.hear(device.answer(first), after=2.0)
    only(out, Answered)
    out = bench.submit(2, None, after=0.2)
    second = only(out, Transmit)
    assert second.not_before == pytest.approx(bench.now - 0.2 + 0.9995)
    assert (first[1], second.frame[1]) == (0x7B, 0x5B)
    assert first[12] != second.frame[12]
    only(bench.hear(device.answer(second.frame), after=2.0), Answered)
    assert sent(bench.wait(1.0))[1] == 0x40
    bench.submit(3, None)
    assert sent(bench.hear(device.spontaneous(), after=100.0))[1] == 0x7B  # FCB is 1 again


def test_queued_commands_go_out_one_after_the_other() -> None:
    bench, device = Bench(PLAIN), Device()
    for token in (1, 2, 3):
        bench.submit(token, SET)
    frame = sent(bench.hear(device.spontaneous()))
    for token in (1, 2, 3):
        out = bench.hear(device.answer(frame), after=2.0)
        assert only(out, Answered).token == token
        frame = sent(out) if token < 3 else b""
    assert sent(bench.wait(1.0))[1] == 0x40


def test_linger_keeps_the_session_open() -> None:
    bench, device = Bench(PLAIN, config=GatewayConfig(GATEWAY, linger=10.0)), Device()
    bench.submit(1, None)
    first = sent(bench.hear(device.spontaneous()))
    answer = device.answer(first)
    bench.hear(answer, after=2.0)
    assert none(bench.hear(answer, after=5.0), Transmit)
    assert none(bench.wait(6.0), Transmit)  # the window is over: the next one will do
    assert sent(bench.hear(answer, after=0.1))[1] == 0x40


@pytest.mark.parametrize("mode", ["S", "T", "C"])
def test_windows_of_all_modes(mode: str) -> None:
    bench, device = Bench(link(mode=mode)), Device()
    bench.submit(1, None)
    out = bench.hear(device.spontaneous())
    transmit = only(out, Transmit)
    opens, closes = {"S": (0.003, 0.05), "T": (0.002, 0.003), "C": (0.9995, 1.0005)}[mode]
    assert transmit.not_before == pytest.approx(bench.now + opens)
    assert transmit.not_after == pytest.approx(bench.now + closes)
    out = bench.hear(device.answer(transmit.frame), after=2.0)
    only(out, Answered)
    assert sent(bench.wait(0.5))[1] == 0x40


def test_fast_response_of_mode_c() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    out = bench.hear(device.spontaneous(cc=0xC0))
    assert only(out, Transmit).not_before == pytest.approx(bench.now + 0.0995)


def test_a_device_without_ell() -> None:
    """Link bits in the configuration field, access number of the transport layer."""
    bench = Bench(link(ell=False, mode="T"))
    bench.submit(1, None)
    telegram = bytes.fromhex("1144") + METER.link_octets() + bytes.fromhex("7A05000080 0413") + bytes(1)
    frame = bytes((len(telegram) - 1,)) + telegram[1:]
    out = bench.hear(frame)
    request = sent(out)
    assert request[10] == 0x80
    number = request[19]
    answer = bytes((0, 0x08)) + METER.link_octets() + bytes((0x7A, number, 0, 0, 0x80)) + bytes.fromhex("041301000000")
    out = bench.hear(bytes((len(answer) - 1,)) + answer[1:], after=1.0)
    assert only(out, Answered).payload == bytes.fromhex("041301000000")


# -- windows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cc", [NEVER, NOT_NOW])
def test_no_window_nothing_is_sent(cc: int) -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    assert none(bench.hear(device.spontaneous(cc=cc)), Transmit)
    assert not none(bench.hear(device.spontaneous(), after=5.0), Transmit)


def test_no_window_for_too_long_is_no_access() -> None:
    bench, device = Bench(PLAIN, config=GatewayConfig(GATEWAY, access_timeout=3600.0)), Device()
    bench.submit(1, None)
    bench.hear(device.spontaneous(cc=NOT_NOW), after=10.0)
    assert none(bench.wait(3589.0), Failed)
    assert only(bench.wait(2.0), Failed) == Failed(1, "no-access", delivered=False)
    assert none(bench.wait(100.0), Transmit)
    assert bench.gateway.deadline is None


def test_a_device_that_was_never_heard_again_gives_no_answer() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, SET)
    bench.hear(device.spontaneous())
    assert only(bench.wait(20_000.0), Failed) == Failed(1, "no-answer", delivered=None)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_unknown_and_unidirectional_devices_are_refused_at_once(bidirectional: bool) -> None:
    bench = Bench(link(bidirectional=bidirectional))
    address = SECOND if bidirectional else METER
    assert only(bench.submit(1, None, address=address), Failed) == Failed(1, "no-access", delivered=False)


def test_a_device_that_always_listens_gets_its_command_at_once_and_again() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.hear(device.spontaneous(cc=ALWAYS))
    out = bench.submit(1, None, after=60.0)
    transmit = only(out, Transmit)
    assert (transmit.not_before, transmit.not_after) == (bench.now, bench.now + 0.5)
    again = [event for event in bench.wait(4.0) if isinstance(event, Transmit)]
    assert [event.frame for event in again] == [transmit.frame]  # try 2
    out = bench.hear(device.answer(transmit.frame, cc=ALWAYS), after=1.0)
    only(out, Answered)
    assert sent(bench.wait(0.6))[1] == 0x40


def test_a_device_that_always_listens_and_is_gone_is_given_up_after_eleven_tries() -> None:
    bench, device = Bench(PLAIN, rolls=(0.0,)), Device()
    bench.hear(device.spontaneous(cc=ALWAYS))
    bench.submit(1, None, after=60.0)
    bench.wait(100.0)
    assert only(bench.log_events(), Failed) == Failed(1, "no-answer", delivered=None)
    frames = [event.frame for event in bench.all(Transmit)]
    assert len(frames) == 12  # eleven requests and SND-NKE
    assert len(set(frames[:11])) == 1
    assert frames[11][1] == 0x40


def test_one_transmitter_serves_one_window() -> None:
    bench, first, second = Bench(PLAIN, DeviceLink(SECOND)), Device(), Device(SECOND)
    bench.submit(1, None)
    bench.submit(2, None, address=SECOND)
    transmit = only(bench.hear(first.spontaneous()), Transmit)
    assert none(bench.hear(second.spontaneous(), after=0.003), Transmit)
    out = bench.hear(second.spontaneous(), after=0.1)
    assert only(out, Transmit).not_before > transmit.not_before


def test_a_frame_that_left_frees_the_rest_of_its_plan() -> None:
    bench, first, second = Bench(PLAIN, DeviceLink(SECOND)), Device(), Device(SECOND)
    bench.hear(first.spontaneous(cc=ALWAYS))
    bench.hear(second.spontaneous(cc=ALWAYS))
    frame = sent(bench.submit(1, None, after=10.0))
    assert none(bench.submit(2, None, address=SECOND, after=0.1), Transmit)
    bench.do(
        Sent(
            frame,
            bench.now,
        ),
        after=0.01,
    )
    assert not none(bench.wait(6.0), Transmit)


# -- lost, repeated, foreign -----------------------------------------------------------------


def test_a_lost_request_goes_out_again_by_annex_i() -> None:
    bench, device = Bench(PLAIN, rolls=(0.0, 0.9)), Device()
    bench.submit(1, None)
    frames = []
    for _ in range(4):
        out = bench.hear(device.spontaneous(), after=16.0)
        frames.append([event.frame for event in out if isinstance(event, Transmit)])
    assert frames[0] == frames[1] == frames[3]
    assert frames[2] == []  # try 3 leaves the first of two windows out
    assert len(frames[0]) == 1


def test_eleven_tries_and_no_answer() -> None:
    bench, device = Bench(PLAIN, rolls=(0.9,)), Device()
    bench.submit(1, None)
    out: list[object] = []
    for _ in range(21):
        out += bench.hear(device.spontaneous(), after=16.0)
    assert len([event for event in out if isinstance(event, Transmit)]) == 11
    assert [event for event in out if isinstance(event, Failed)] == [Failed(1, "no-answer", delivered=None)]


def test_key_renewal_is_tried_three_times() -> None:
    """Annex F Figure F.C.4: up to three attempts."""
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, Command("sitp", bytes.fromhex("260000000001120000")))
    out: list[object] = []
    for _ in range(6):
        out += bench.hear(device.spontaneous(), after=16.0)
    assert len([event for event in out if isinstance(event, Transmit) and event.frame[1] == 0x43]) == 3
    assert [event for event in out if isinstance(event, Failed)] == [Failed(1, "no-answer", delivered=None)]


def test_an_answer_to_another_gateway_changes_nothing() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    frame = sent(bench.hear(device.spontaneous()))
    foreign = device.answer(frame, to=OTHER_GATEWAY)
    for _ in range(30):
        foreign = relinked(foreign, bytes(12) + bytes((foreign[12] + 1 & 0xFF,)))
        assert none(bench.hear(foreign, after=2.0), Transmit)
    assert sent(bench.hear(device.spontaneous(), after=16.0)) == frame  # still try 2


def test_an_older_answer_shows_that_the_command_was_not_received() -> None:
    """In the frequent access cycle the device repeats its last answer: that is a window, and proof of the loss."""
    bench, device = Bench(link("A")), Device(profile="A")
    bench.submit(1, ADD)
    bench.submit(2, ADD)
    first = sent(bench.hear(device.spontaneous()))
    answer = device.answer(first)
    second = sent(bench.hear(answer, after=2.0))
    for _ in range(2):
        out = bench.hear(answer, after=30.0)  # longer than the device would keep an access number
        assert only(out, Received).verdict == "duplicate"
        assert sent(out) == second
    assert only(bench.hear(device.answer(second), after=2.0), Answered).token == 2


def test_two_gateways_share_a_device() -> None:
    """Both want the first window; the one that is not answered waits, then gets its turn in the other's cycle."""
    device = Device()
    one, two = Bench(PLAIN), Bench(PLAIN, config=GatewayConfig(OTHER_GATEWAY), rolls=(0.3,))
    for bench in (one, two):
        bench.submit(1, None)
    heard = device.spontaneous()
    first, second = sent(one.hear(heard)), sent(two.hear(heard))
    heard = device.spontaneous()  # both were lost in the collision
    assert (sent(one.hear(heard, after=16.0)), sent(two.hear(heard, after=16.0))) == (first, second)
    answer = device.answer(first, to=GATEWAY)  # the first was stronger
    only(one.hear(answer, after=2.0), Answered)
    assert none(two.hear(answer, after=2.0), Transmit)
    assert sent(one.wait(1.0))[1] == 0x40
    two.now = one.now
    assert sent(two.hear(device.spontaneous(), after=16.0)) == second
    only(two.hear(device.answer(second, to=OTHER_GATEWAY), after=2.0), Answered)


# -- nothing twice ---------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["none", "A"])
def test_a_command_without_counter_is_not_sent_to_a_device_that_may_have_forgotten_it(profile: str) -> None:
    """Within t_TO the access number protects; later only the operator can find out what happened."""
    bench, device = Bench(link(profile)), Device(profile=profile)
    bench.submit(1, ADD)
    frame = sent(bench.hear(device.spontaneous()))
    assert sent(bench.hear(device.spontaneous(), after=20.0)) == frame
    assert only(bench.hear(device.spontaneous(), after=20.0), Failed) == Failed(1, "no-answer", delivered=None)


@pytest.mark.parametrize("command", [SITP, Command("image", b"\x02\x00\x00"), Command("application-reset", b"")])
def test_commands_that_may_come_twice_are_sent_again(command: Command) -> None:
    bench, device = Bench(link("A")), Device(profile="A")
    bench.submit(1, command)
    frame = sent(bench.hear(device.spontaneous()))
    assert sent(bench.hear(device.spontaneous(), after=900.0)) == frame


@pytest.mark.parametrize("profile", ["B", "D"])
def test_a_message_counter_shows_whether_the_command_came(profile: str) -> None:
    bench, device = Bench(link(profile)), Device(profile=profile)
    bench.submit(1, ADD)
    frame = sent(bench.hear(device.spontaneous()))
    counter = opened(frame).security.counter
    assert counter == device.counter + 64
    for _ in range(5):  # the device counts on below: it did not get it
        assert sent(bench.hear(device.spontaneous(), after=900.0)) == frame
        bench.gateway._sessions[METER.link_octets()]._avoidance.restart()
    device.counter = counter  # it took the counter over: executed, and the answer was lost
    assert only(bench.hear(device.spontaneous(), after=900.0), Failed) == Failed(1, "no-answer", delivered=None)


def test_a_refusal_of_the_repetition_says_nothing_about_the_first() -> None:
    """ACC-NR shows no counter: the repeated command meets a device that has carried out the first (error 20h)."""
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, ADD)
    bench.hear(device.spontaneous())
    frame = sent(bench.hear(device.access(), after=900.0))
    error = device.answer(frame, b"\x20", ci=0x6E, status=2, profile="none")
    assert only(bench.hear(error, after=2.0), Failed) == Failed(1, "no-answer", delivered=None)


def test_an_error_behind_the_first_transmission_is_an_answer() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, ADD)
    frame = sent(bench.hear(device.spontaneous()))
    error = device.answer(frame, b"\x20", ci=0x6E, status=2, profile="none")
    answered = only(bench.hear(error, after=2.0), Answered)
    assert (answered.protocol, answered.payload, answered.status) == ("application-error", b"\x20", 2)
    assert answered.error


def test_a_command_waiting_for_its_window_is_sealed_above_all_that_was_heard() -> None:
    bench, device = Bench(link("B"), config=GatewayConfig(GATEWAY, counter_step=1)), Device(profile="B")
    other = Device(SECOND)
    bench.do(Register(DeviceLink(SECOND)))
    bench.submit(2, None, address=SECOND)
    bench.submit(1, SET)
    bench.hear(other.spontaneous())
    bench.hear(device.spontaneous(), after=0.002)  # sealed, but the transmitter is taken
    frame = sent(bench.hear(device.spontaneous(), after=16.0))
    assert opened(frame).security.counter == device.counter + 1


def test_the_answer_of_a_command_is_not_kept_for_ever() -> None:
    """255 s after the command the device is back at its standard answer."""
    bench, device = Bench(link(snd_ud2=False)), Device()
    bench.submit(1, SET)
    frame = sent(bench.hear(device.spontaneous()))
    request = sent(bench.hear(device.acknowledge(frame), after=2.0))
    assert sent(bench.hear(device.spontaneous(), after=200.0)) == request
    assert only(bench.hear(device.spontaneous(), after=100.0), Failed) == Failed(1, "no-answer", delivered=True)


# -- SND-UD, ACK, NACK, busy -----------------------------------------------------------------


def test_an_ack_to_snd_ud2_falls_back_to_snd_ud_and_is_remembered() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, SET)
    first = sent(bench.hear(device.spontaneous()))
    assert first[1] == 0x43
    out = bench.hear(device.acknowledge(first), after=2.0)
    second = sent(out)
    assert control(second) == 0x53
    assert opened(second).security.counter != opened(first).security.counter
    assert only(out, Persist).memory.without_snd_ud2 == (METER,)
    request = sent(bench.hear(device.acknowledge(second), after=2.0))
    assert control(request) == 0x5B
    only(bench.hear(device.answer(request), after=2.0), Answered)
    bench.submit(2, SET)
    third = sent(bench.wait(0.0) + bench.hear(device.spontaneous(), after=100.0))
    assert control(third) == 0x53
    memory = bench.gateway.memory(bench.now)
    after = Bench(memory=memory)
    after.submit(3, SET)
    assert control(sent(after.hear(device.spontaneous()))) == 0x53


@pytest.mark.parametrize("snd_ud2", [True, False])
def test_nack_is_a_refusal_of_the_link(snd_ud2: bool) -> None:
    bench, device = Bench(link(snd_ud2=snd_ud2)), Device()
    bench.submit(1, SET)
    frame = sent(bench.hear(device.spontaneous()))
    out = bench.hear(device.acknowledge(frame, control=0x01), after=2.0)
    assert only(out, Failed) == Failed(1, "refused-link", delivered=False)


def test_nack_to_the_request_behind_a_command() -> None:
    bench, device = Bench(link(snd_ud2=False)), Device()
    bench.submit(1, SET)
    request = sent(bench.hear(device.acknowledge(sent(bench.hear(device.spontaneous()))), after=2.0))
    out = bench.hear(device.acknowledge(request, control=0x01), after=2.0)
    assert only(out, Failed) == Failed(1, "refused-link", delivered=True)


def test_an_ack_to_a_request_means_nothing() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    out = bench.hear(device.acknowledge(request), after=2.0)
    assert none(out, Transmit)
    assert none(out, Failed)


def test_a_busy_device_is_asked_again_with_a_new_access_number() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, SET)
    request = sent(bench.hear(device.spontaneous()))
    busy = device.answer(request, status=1)
    assert none(bench.hear(busy, after=2.0), Transmit)
    numbers = {request[12]}
    for _ in range(5):
        assert none(bench.hear(busy, after=5.0), Transmit)  # repeated in the cycle; not asked yet
        request = sent(bench.hear(busy, after=6.0))
        assert control(request) == 0x5B
        assert request[12] not in numbers
        numbers.add(request[12])
        busy = device.answer(request, status=1)
        bench.hear(busy, after=2.0)
    bench.hear(busy, after=5.0)
    request = sent(bench.hear(busy, after=6.0))
    answered = only(bench.hear(device.answer(request, status=0), after=2.0), Answered)
    assert (answered.status, answered.busy) == (0, False)


def test_an_ack_with_busy_waits_before_the_request() -> None:
    bench, device = Bench(link(snd_ud2=False)), Device()
    bench.submit(1, SET)
    ack = device.acknowledge(sent(bench.hear(device.spontaneous())), status=1)
    assert none(bench.hear(ack, after=2.0), Transmit)
    request = sent(bench.hear(ack, after=11.0))
    only(bench.hear(device.answer(request), after=2.0), Answered)


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (SET, 120.0),
        (Command("image", b"\x05\x00"), 300.0),
        (Command("image", b"\x06\x00"), 600.0),
        (Command("sitp", bytes.fromhex("1C00002000322300 0F000000 8000000030 06 06 00".replace(" ", "")) + bytes(8)), 600.0),
        (Command("sitp", bytes.fromhex("1C00002000322300 0F000000 8000000030 01 06 00".replace(" ", "")) + bytes(8)), 120.0),
    ],
)
def test_a_device_that_stays_busy(command: Command, limit: float) -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, command)
    request = sent(bench.hear(device.spontaneous()))
    start = bench.now + 2.0
    while True:
        busy = device.answer(request, status=1)
        out = bench.hear(busy, after=2.0)
        if not none(out, Failed):
            break
        request = sent(bench.hear(busy, after=11.0))
    assert only(out, Failed) == Failed(1, "busy", delivered=True)
    assert limit <= bench.now - start < limit + 14


# -- fragments -------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_fragmented_answer(profile: str) -> None:
    """Annex N.3: REQ-UD2 for each fragment with a new link access number, ELLA and toggled FCB."""
    bench, device = Bench(link(profile)), Device(profile=profile)
    payload = b"\x04\x13\x01\x02\x03\x04" * 20
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    parts = device.fragments(request, payload, 40)
    controls, links = [request[1]], [request[12]]
    for at, part in enumerate(parts):
        out = bench.hear(relinked(part, request), after=2.0)
        if at < len(parts) - 1:
            request = sent(out)
            assert request[10] == 0x8E
            assert request[13:] == METER.link_octets()
            controls.append(request[1])
            links.append(request[12])
    answered = only(out, Answered)
    assert answered.payload.startswith(payload)
    assert controls == [0x7B, 0x5B] * (len(parts) // 2) + [0x7B] * (len(parts) % 2)
    assert len(set(links)) == len(parts)


def test_a_fragment_that_is_lost_is_asked_for_again() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    parts = device.fragments(request, b"\x04\x13\x01\x02\x03\x04" * 12, 40)
    first = relinked(parts[0], request)
    second = sent(bench.hear(first, after=2.0))
    assert sent(bench.hear(first, after=2.0)) == second  # the device repeats the fragment before
    third = sent(bench.hear(relinked(parts[1], second), after=2.0))
    only(bench.hear(relinked(parts[2], third), after=2.0), Answered)


def test_a_fragmented_answer_begins_anew_when_the_device_was_away() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    parts = device.fragments(request, b"\x04\x13\x01\x02\x03\x04" * 12, 40)
    bench.hear(relinked(parts[0], request), after=2.0)
    request = sent(bench.hear(device.spontaneous(), after=900.0))
    assert request[13] == 0x80  # a whole REQ-UD2
    parts = device.fragments(request, b"\x04\x13\x05\x06\x07\x08" * 12, 40)
    for part in parts[:-1]:
        request, current = sent(bench.hear(relinked(part, request), after=2.0)), request
        assert request[12] != current[12]
    assert only(bench.hear(relinked(parts[-1], request), after=2.0), Answered).payload.startswith(b"\x04\x13\x05")


def test_a_fragmented_command() -> None:
    """Each fragment in a SND-UD of its own with ELLA, acknowledged by itself; the message is sealed once."""
    bench, device = Bench(link("B")), Device(profile="B")
    command = Command("image", b"\x02" + bytes(250))
    bench.submit(1, command)
    frame = sent(bench.hear(device.spontaneous()))
    seen = []
    while control(frame) == 0x53:
        assert frame[10] == 0x8E
        assert frame[13:21] == METER.link_octets()
        assert len(frame) <= 156
        seen.append(frame)
        frame = sent(bench.hear(device.acknowledge(frame, to=GATEWAY), after=2.0))
    assert len(seen) == 3
    assert [frame[1] for frame in seen] == [0x73, 0x53, 0x73]
    assert control(frame) == 0x5B
    from openmetering import Decoder

    decoder = Decoder(KEY)
    whole = [decoder.examine(part) for part in seen][-1]
    assert whole.payload is not None
    assert whole.payload[2:].startswith(command.payload)
    only(bench.hear(device.answer(frame), after=2.0), Answered)


def test_a_fragmented_command_begins_anew_when_the_device_was_away() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, Command("image", b"\x02" + bytes(250)))
    first = sent(bench.hear(device.spontaneous()))
    second = sent(bench.hear(device.acknowledge(first, to=GATEWAY), after=2.0))
    assert sent(bench.hear(device.spontaneous(), after=16.0)) == second
    again = sent(bench.hear(device.spontaneous(), after=900.0))
    assert again[21:25] == first[21:25]  # fragment 1
    assert again[25:] != first[25:]  # sealed anew


def test_fragments_need_an_ell() -> None:
    bench = Bench(link(ell=False, mode="T"))
    bench.submit(1, Command("image", b"\x02" + bytes(250)))
    telegram = bytes.fromhex("0044") + METER.link_octets() + bytes.fromhex("7A0500008004130000")
    out = bench.hear(bytes((len(telegram) - 1,)) + telegram[1:])
    assert only(out, Failed) == Failed(1, "refused-link", delivered=False)


# -- security --------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_answers_under_a_wrong_key_fail_in_the_end(profile: str) -> None:
    bench, device = Bench(link(profile)), Device(profile=profile)
    forger = Device(profile=profile, key=NEW_KEY, counter=5000)
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    for _ in range(2):
        out = bench.hear(forger.answer(request), after=2.0)
        assert only(out, Received).verdict == "unreadable"
        request = sent(out)
    assert only(bench.hear(forger.answer(request), after=2.0), Failed) == Failed(1, "security", delivered=None)


def test_an_answer_without_protection_is_not_believed() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    out = bench.hear(device.answer(request, profile="none"), after=2.0)
    assert only(out, Alarm) == Alarm(METER, "unprotected")
    request = sent(out)
    assert only(bench.hear(device.answer(request), after=2.0), Answered).security.proof == "mac"


def test_a_replayed_answer_is_not_believed_and_gives_no_window() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    old = device.spontaneous()
    bench.hear(old)
    bench.hear(device.spontaneous(), after=16.0)
    bench.submit(1, None)
    out = bench.hear(old, after=400.0)
    assert only(out, Received).verdict == "replayed"
    assert only(out, Alarm) == Alarm(METER, "replayed")
    assert none(out, Transmit)


def test_an_answer_with_another_transport_access_number_is_doubted() -> None:
    """A reassembled message whose request was another one."""
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    parts = device.fragments(request, b"\x04\x13\x01\x02\x03\x04" * 12, 40)
    request = sent(bench.hear(relinked(parts[0], request), after=2.0))
    request = sent(bench.hear(relinked(parts[2], request), after=2.0))  # one is missing
    assert request[13] == 0x80  # all of it again


def test_a_device_without_key_cannot_be_commanded() -> None:
    bench, device = Bench(link("B"), ring=KeyRing()), Device(profile="B")
    bench.submit(1, SET)
    assert only(bench.hear(device.spontaneous()), Failed) == Failed(1, "security", delivered=False)
    assert none(bench.wait(100.0), Transmit)


def test_an_application_key_is_refused() -> None:
    with pytest.raises(InputError):
        Gateway(GatewayConfig(GATEWAY), dice(), keys((METER, KEY, 0x20, 0)))


def test_a_key_is_changed_by_the_answer_of_the_device() -> None:
    """UC-08: the activation goes out under the old key with AFL.KI, the answer comes under the new one."""
    bench = Bench(link("B", key_version=0), ring=keys((METER, KEY, 0, 0)))
    device = Device(profile="B")
    bench.hear(device.spontaneous())
    bench.do(GiveKey(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1))
    bench.submit(1, Command("sitp", bytes.fromhex("1E0000040003120000")))
    frame = sent(bench.hear(device.spontaneous(), after=16.0))
    command = opened(frame, KEY)
    assert command.security.proof == "mac"
    assert command.afl is not None
    assert command.afl.key_information is not None
    renewed = Device(profile="B", key=NEW_KEY, counter=0)
    answer = renewed_answer(renewed, frame)
    out = bench.hear(answer, after=2.0)
    assert only(out, Answered).security.key_version == 1
    assert only(out, Alarm) == Alarm(METER, "key")
    assert only(out, Persist).memory.security.partners[0].version == 1
    bench.submit(2, SET)
    frame = sent(bench.wait(0.3) or bench.hear(renewed.spontaneous(), after=100.0))
    assert opened(frame, NEW_KEY).security.counter == 1 + 64
    assert opened(frame, NEW_KEY).afl is not None


def renewed_answer(device: Device, request: bytes) -> bytes:
    """RSP-UD under a new key that names its version."""
    asked = opened(request, KEY)
    assert asked.transport is not None
    status, number = bytes.fromhex("070000840022120000"), asked.transport.access_number
    return device.frame(0x08, status, ci=0xC4, number=number, link=request[12], key_version=1)


def test_a_message_counter_near_its_end_is_told_once() -> None:
    bench, device = Bench(link("B")), Device(profile="B", counter=0xFFFF0000)
    assert only(bench.hear(device.spontaneous()), Alarm) == Alarm(METER, "counter")
    assert none(bench.hear(device.spontaneous(), after=16.0), Alarm)


# -- what is heard ---------------------------------------------------------------------------


def test_copies_of_repeaters_are_dropped_and_give_no_window() -> None:
    bench, device = Bench(link("A")), Device(profile="A")
    frame = device.spontaneous()
    assert only(bench.hear(frame), Received).verdict == "new"
    bench.submit(1, None)
    out = bench.hear(repeated(frame), after=10.0)
    assert only(out, Received) == Received(None, repeated(frame), -84.0, "duplicate")
    assert none(out, Transmit)
    first = device.spontaneous()
    assert only(bench.hear(repeated(first), after=16.0), Received).verdict == "new"  # the copy came alone
    assert not none(bench.hear(first, after=1.0), Transmit)  # but the original has the window


def test_the_same_octets_are_new_again_after_a_long_time() -> None:
    bench, device = Bench(PLAIN), Device()
    frame = device.spontaneous()
    bench.hear(frame)
    assert only(bench.hear(frame, after=299.0), Received).verdict == "duplicate"
    assert only(bench.hear(frame, after=301.0), Received).verdict == "new"
    bench.hear(device.spontaneous(), after=700.0)
    assert len(bench.gateway._copies) == 1


def test_a_frame_that_could_not_be_read_is_tried_again() -> None:
    bench = Bench(link("B"), ring=KeyRing())
    frame = Device(profile="B", key=NEW_KEY).spontaneous()
    assert only(bench.hear(frame), Received).verdict == "unreadable"
    bench.do(GiveKey(METER, keys((METER, NEW_KEY, 0, 1)), 0, 1))
    assert only(bench.hear(frame, after=5.0), Received).verdict == "new"


def test_noise() -> None:
    bench = Bench(PLAIN)
    assert only(bench.hear(b"\x01\x02"), Received) == Received(None, b"\x01\x02", -84.0, "unreadable")


def test_telegrams_of_others_are_opened_or_not() -> None:
    frame = Device(SECOND).spontaneous()
    assert only(Bench(PLAIN).hear(frame), Received).telegram is not None
    bench = Bench(PLAIN, config=GatewayConfig(GATEWAY, read="registered"))
    assert only(bench.hear(frame), Received) == Received(None, frame, -84.0, "unread")
    assert only(bench.hear(frame, after=1.0), Received).verdict == "duplicate"
    assert only(bench.hear(Device().spontaneous(), after=1.0), Received).verdict == "new"


def test_datagrams_of_another_gateway_are_told_and_change_nothing() -> None:
    one, two, device = Bench(PLAIN), Bench(PLAIN, config=GatewayConfig(OTHER_GATEWAY)), Device()
    one.submit(1, None)
    request = sent(one.hear(device.spontaneous()))
    assert [type(event) for event in two.hear(request)] == [Received]


# -- addresses -------------------------------------------------------------------------------


def behind_adapter(**options: object) -> DeviceLink:
    return DeviceLink(METER, "B", adapter=ADAPTER, **options)  # type: ignore[arg-type]


def test_an_adapter_is_named_by_the_ella() -> None:
    """Annex N.2.4: LLA gateway, ELLA adapter, ALA meter."""
    bench, device = Bench(behind_adapter()), Device(profile="B", adapter=ADAPTER)
    bench.submit(1, SET)
    frame = sent(bench.hear(device.spontaneous()))
    assert frame[2:10] == GATEWAY.link_octets()
    assert frame[10:11] + frame[13:21] == b"\x8e" + ADAPTER.link_octets()
    assert opened(frame).address == METER
    only(bench.hear(device.answer(frame, to=GATEWAY), after=2.0), Answered)


def test_idis_does_not_name_the_adapter() -> None:
    """Annex E, E.2.3."""
    bench = Bench(behind_adapter(), config=GatewayConfig(GATEWAY, idis=True))
    device = Device(profile="B", adapter=ADAPTER)
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    assert request[10] == 0x8C
    parts = device.fragments(request, b"\x04\x13\x01\x02\x03\x04" * 12, 40)
    following = sent(bench.hear(relinked(parts[0], request), after=2.0))
    assert following[10] == 0x8C
    assert following[13] == 0x80
    assert following[22] == request[22]  # transport access number of the message


def test_a_service_tool_names_itself() -> None:
    """Volume 2 5.0.1, 3.1.3.3: not the allocated gateway, so ELLA both ways."""
    bench, device = Bench(PLAIN, config=GatewayConfig(GATEWAY, service_tool=True)), Device()
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    assert request[10] == 0x8E
    assert none(bench.hear(device.answer(request), after=2.0), Answered)
    only(bench.hear(device.answer(request, to=GATEWAY), after=2.0), Answered)


def test_two_meters_behind_one_adapter() -> None:
    second = DeviceLink(SECOND, "B", adapter=ADAPTER)
    bench = Bench(behind_adapter(), second)
    one, two = Device(profile="B", adapter=ADAPTER), Device(SECOND, "B", adapter=ADAPTER)
    bench.submit(1, None)
    bench.submit(2, None, address=SECOND)
    first = sent(bench.hear(one.spontaneous()))  # the window belongs to the adapter
    assert opened(first).address == METER
    out = bench.hear(one.answer(first, to=GATEWAY), after=2.0)
    assert only(out, Answered).token == 1
    assert opened(sent(out)).address == SECOND
    assert only(bench.hear(two.answer(sent(out), to=GATEWAY), after=2.0), Answered).token == 2


@pytest.mark.parametrize("wrong", ["ala", "link", "transport"])
def test_an_answer_must_fit_in_everything(wrong: str) -> None:
    bench = Bench(DeviceLink(METER, adapter=ADAPTER))
    device = Device(adapter=ADAPTER)
    bench.submit(1, None)
    request = sent(bench.hear(device.spontaneous()))
    answer = bytearray(device.answer(request))
    answer[{"ala": 14, "link": 12, "transport": 22}[wrong]] ^= 1
    assert none(bench.hear(bytes(answer), after=2.0), Answered)


# -- installation and demand -----------------------------------------------------------------


@pytest.mark.parametrize(("registered", "accepting"), [(True, False), (False, True), (False, False)])
def test_installation(registered: bool, accepting: bool) -> None:
    """UC-01: CNF-IR at once for our own devices, SND-NKE at random 5 to 25 s later by every gateway that heard it."""
    config = GatewayConfig(GATEWAY, accepting=accepting)
    bench = Bench(*([PLAIN] if registered else []), config=config, rolls=(0.5,))
    device = Device()
    frame = device.spontaneous(control=0x46)
    out = bench.hear(frame, rssi=-80.0)
    installed = only(out, Installed)
    assert (installed.address, installed.adapter) == (METER, None)
    assert (installed.registered, installed.confirmed) == (registered, registered or accepting)
    if registered or accepting:
        confirmation = only(out, Transmit)
        assert confirmation.frame[1] == 0x06
        assert confirmation.frame[12] == frame[12]
        assert confirmation.frame[22:24] == bytes((device.number, 0x19))
        assert confirmation.not_before == pytest.approx(bench.now + 0.9995)
    else:
        assert none(out, Transmit)
    start = bench.now
    assert none(bench.wait(14.9), Transmit)
    reset = only(bench.wait(0.2), Transmit)
    assert reset.frame[1] == 0x40
    assert reset.not_before - start == pytest.approx(15.0)
    assert bench.gateway.deadline is None


def test_a_repeated_installation_is_confirmed_again_and_told_once() -> None:
    bench, device = Bench(PLAIN), Device()
    frame = device.spontaneous(control=0x46)
    bench.hear(frame)
    out = bench.hear(frame, after=2.0)
    assert none(out, Installed)
    assert sent(out)[1] == 0x06
    assert none(bench.hear(repeated(frame), after=2.0), Transmit)
    assert len([event for event in bench.wait(30.0) if isinstance(event, Transmit)]) <= 1


def test_installation_without_greeting_or_window() -> None:
    bench, device = Bench(PLAIN, config=GatewayConfig(GATEWAY, greeting=False)), Device()
    out = bench.hear(device.spontaneous(control=0x46, cc=NEVER))
    assert not only(out, Installed).confirmed
    assert none(out, Transmit)
    assert bench.gateway.deadline is None


def test_installation_of_an_adapter_names_both() -> None:
    bench, device = Bench(behind_adapter()), Device(profile="B", adapter=ADAPTER)
    out = bench.hear(device.spontaneous(control=0x46))
    installed = only(out, Installed)
    assert (installed.address, installed.adapter) == (METER, ADAPTER)
    assert sent(out)[10] == 0x8E
    assert sent(out)[13:21] == ADAPTER.link_octets()


def test_a_command_waits_while_the_window_is_used_by_the_confirmation() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    assert sent(bench.hear(device.spontaneous(control=0x46)))[1] == 0x06
    bench.wait(30.0)  # SND-NKE comes in between
    assert control(sent(bench.hear(device.spontaneous()))) == 0x5B


def test_a_demand_is_acknowledged_and_followed_by_requests() -> None:
    """ACC-DMD: ACK with both numbers of the device (N.10), then REQ-UD1; without an alarm REQ-UD2."""
    bench, device = Bench(PLAIN), Device()
    frame = device.access(control=0x48)
    out = bench.hear(frame)
    assert only(out, Demanded) == Demanded(METER)
    ack = sent(out)
    assert ack[1] == 0x00
    assert (ack[11], ack[12], ack[22], ack[23]) == (0x80, device.number, device.number, 0x17)
    out = bench.hear(frame, after=2.0)  # the ACK was lost
    assert none(out, Demanded)
    assert sent(out)[1] == 0x00
    request = sent(bench.hear(device.spontaneous(), after=16.0))
    assert control(request) == 0x5A
    request = sent(bench.hear(device.acknowledge(request), after=2.0))
    assert control(request) == 0x5B
    out = bench.hear(device.answer(request), after=2.0)
    assert only(out, Received).verdict == "new"
    assert none(out, Answered)
    assert sent(bench.wait(1.0))[1] == 0x40


def test_a_demand_with_an_alarm() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.hear(device.access(control=0x48))
    bench.hear(device.access(control=0x48), after=16.0)  # another demand while one is under way: once is enough
    request = sent(bench.hear(device.spontaneous(), after=16.0))
    out = bench.hear(device.answer(request, b"\x01", ci=0x74), after=2.0)
    assert only(out, Received).telegram is not None
    assert sent(bench.wait(1.0))[1] == 0x40
    bench.wait(60.0)
    assert bench.gateway.deadline is None


def test_a_demand_of_a_device_that_always_listens_is_acknowledged_first() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.hear(device.spontaneous(cc=ALWAYS))
    out = bench.hear(device.access(control=0x48, cc=ALWAYS), after=16.0)
    assert sent(out)[1] == 0x00
    out = bench.wait(4.0)
    assert control(only(out, Transmit).frame) == 0x5A


def test_demands_of_others_without_window_and_of_repeaters() -> None:
    bench, device = Bench(PLAIN), Device()
    assert none(bench.hear(Device(SECOND).access(control=0x48)), Transmit)
    assert none(bench.hear(repeated(device.access(control=0x48))), Transmit)
    out = bench.hear(device.access(control=0x48, cc=NOT_NOW), after=5.0)
    assert only(out, Demanded) == Demanded(METER)
    assert none(out, Transmit)
    adapter = Bench(behind_adapter())
    assert none(adapter.hear(Device(SECOND, adapter=ADAPTER).access(control=0x48)), Demanded)


# -- withdrawal, registration ----------------------------------------------------------------


def test_withdrawal() -> None:
    bench, device = Bench(PLAIN), Device()
    for token in (1, 2, 3):
        bench.submit(token, SET)
    assert only(bench.do(Withdraw(2)), Failed) == Failed(2, "withdrawn", delivered=False)
    frame = sent(bench.hear(device.spontaneous()))
    out = bench.do(Withdraw(1), after=0.1)
    assert only(out, Failed) == Failed(1, "withdrawn", delivered=None)
    assert none(bench.do(Withdraw(1)), Failed)
    out = bench.hear(device.answer(frame), after=2.0)  # comes too late for anybody
    assert none(out, Answered)
    assert sent(out)[1] == 0x43  # the third has its turn
    assert none(bench.do(Withdraw(99)), Failed)


def test_a_withdrawn_order_that_was_never_sent_leaves_nothing_to_close() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, SET)
    assert only(bench.do(Withdraw(1)), Failed) == Failed(1, "withdrawn", delivered=False)
    assert bench.gateway.deadline is None
    assert none(bench.hear(device.spontaneous(), after=5.0), Transmit)


def test_a_busy_order_is_withdrawn() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, SET)
    busy = device.answer(sent(bench.hear(device.spontaneous())), status=1)
    bench.hear(busy, after=2.0)
    bench.submit(2, SET)
    out = bench.do(Withdraw(1), after=3.0)
    assert only(out, Failed) == Failed(1, "withdrawn", delivered=True)
    assert sent(bench.hear(busy, after=1.0))[1] == 0x43


def test_forgetting_a_device() -> None:
    bench, device = Bench(PLAIN, DeviceLink(SECOND, adapter=ADAPTER)), Device()
    bench.submit(1, SET)
    bench.hear(device.spontaneous())
    bench.submit(2, SET)
    out = bench.do(Forget(METER), after=1.0)
    assert [event for event in out if isinstance(event, Failed)] == [
        Failed(1, "withdrawn", delivered=None),
        Failed(2, "withdrawn", delivered=False),
    ]
    assert bench.do(Forget(METER)) == []
    assert bench.gateway.links == (DeviceLink(SECOND, adapter=ADAPTER),)
    assert only(bench.submit(3, SET), Failed).reason == "no-access"


def test_another_description_of_a_device() -> None:
    bench, device = Bench(PLAIN), Device()
    assert bench.do(Register(PLAIN)) == []
    bench.submit(1, SET)
    out = bench.do(Register(link("A")))
    assert only(out, Failed) == Failed(1, "withdrawn", delivered=False)
    bench.submit(2, SET)
    assert opened(sent(bench.hear(device.spontaneous()))).security.profile == "A"


def test_a_command_that_nothing_can_carry() -> None:
    with pytest.raises(NotRepresentable, match="dlms"):
        Bench(PLAIN).submit(1, Command("dlms", b""))


# -- the end of a session --------------------------------------------------------------------


def test_snd_nke_is_repeated_while_the_device_goes_on() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    answer = device.answer(sent(bench.hear(device.spontaneous())))
    bench.hear(answer, after=2.0)
    assert sent(bench.wait(1.0))[1] == 0x40
    again = bench.hear(answer, after=2.0)  # it did not hear it
    assert sent(again)[1] == 0x40
    assert none(bench.hear(device.spontaneous(), after=10.0), Transmit)
    bench.wait(36.0)
    assert none(bench.hear(answer, after=1.0), Transmit)


def test_snd_nke_waits_for_a_window() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    frame = sent(bench.hear(device.spontaneous()))
    bench.hear(device.answer(frame, cc=NOT_NOW), after=2.0)
    assert none(bench.wait(5.0), Transmit)
    assert sent(bench.hear(device.spontaneous(), after=5.0))[1] == 0x40


def test_a_command_behind_snd_nke_begins_a_new_session() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, None)
    answer = device.answer(sent(bench.hear(device.spontaneous())))
    bench.hear(answer, after=2.0)
    bench.wait(1.0)
    assert none(bench.submit(2, None, after=1.0), Transmit)
    assert control(sent(bench.hear(answer, after=1.0))) == 0x5B


# -- power cuts ------------------------------------------------------------------------------


def last_memory(bench: Bench) -> GatewayMemory:
    """What a driver has stored: the last ``Persist``."""
    return bench.all(Persist)[-1].memory


@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("step", ["queued", "sent", "answered"])
def test_a_power_cut_at_every_step(profile: str, step: str) -> None:
    """A new gateway around what was stored: it tells what was lost and uses no counter and no number twice."""
    bench, device = Bench(link(profile)), Device(profile=profile)
    bench.submit(1, SITP)
    lost = Failed(1, "power", delivered=False)
    frame = b""
    if step != "queued":
        frame = sent(bench.hear(device.spontaneous()))
        lost = Failed(1, "power", delivered=None)
    if step == "answered":
        bench.hear(device.answer(frame), after=2.0)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(last_memory(bench)), type=GatewayMemory)
    after = Bench(memory=stored, rolls=(0.6,))
    after.now = bench.now + 5.0
    out = after.do(PowerUp())
    assert [event for event in out if isinstance(event, Failed)] == ([] if step == "answered" else [lost])
    assert after.gateway.links == (link(profile),)
    assert after.gateway.memory(after.now).orders == ()
    after.submit(2, SITP)
    again = sent(after.hear(device.spontaneous(), after=16.0))
    if frame:
        assert again[12] != frame[12]
        if profile != "A":
            assert opened(again).security.counter > (opened(frame).security.counter or 0)
    only(after.hear(device.answer(again), after=2.0), Answered)


def test_what_must_survive_is_stored_before_it_is_sent() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    out = bench.submit(1, SET)
    assert only(out, Persist).memory.orders == (OpenOrder(1, sent=False),)
    out = bench.hear(device.spontaneous())
    assert isinstance(out[0], Persist)
    memory = out[0].memory
    assert memory.orders == (OpenOrder(1, sent=True),)
    counter = opened(sent(out)).security.counter
    assert counter is not None
    assert memory.security.counters.entries[0].own >= counter
    assert memory.access[0].address == METER.link_octets()
    out = bench.hear(device.answer(sent(out)), after=2.0)
    assert only(out, Persist).memory.orders == ()


def test_the_same_gateway_comes_back() -> None:
    bench, device = Bench(link("B")), Device(profile="B")
    bench.submit(1, SET)
    bench.submit(2, SET)
    first = sent(bench.hear(device.spontaneous()))
    out = bench.do(PowerUp(), after=1.0)
    assert [event for event in out if isinstance(event, Failed)] == [
        Failed(1, "power", delivered=None),
        Failed(2, "power", delivered=False),
    ]
    assert bench.gateway.deadline is None
    assert [event for event in bench.do(PowerUp()) if isinstance(event, Failed)] == []
    bench.submit(3, SET)
    second = sent(bench.hear(device.spontaneous(), after=16.0))
    assert (opened(second).security.counter or 0) > (opened(first).security.counter or 0)


def test_counters_of_devices_are_written_down_now_and_then() -> None:
    bench, device = Bench(link("B"), config=GatewayConfig(GATEWAY, persist_every=100.0)), Device(profile="B")
    bench.hear(device.spontaneous(), after=50.0)
    assert bench.all(Persist) == []
    bench.hear(device.spontaneous(), after=60.0)
    assert last_memory(bench).security.counters.entries[0].peer == device.counter
    quiet = Bench(link("B"), config=GatewayConfig(GATEWAY, persist_every=None))
    quiet.hear(device.spontaneous(), after=5000.0)
    assert quiet.all(Persist) == []


# -- the table -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        PowerUp(),
        Heard(b"", 0.0),
        Sent(b"", 0.0),
        Submit(1, Exchange(METER, None)),
        Withdraw(1),
        GiveKey(METER, KeyRing.single(KEY), 0, 0),
        Register(PLAIN),
        Forget(SECOND),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_row(event: object) -> None:
    assert (State.RUNNING, type(event)) in TRANSITIONS
    bench = Bench(PLAIN)
    bench.do(event)
    assert bench.gateway.state is State.RUNNING
    assert len(TRANSITIONS) == 8


@pytest.mark.parametrize("event", [Octets(b""), Persist(GatewayMemory()), Address.parse("XYZ-12345678-01-07")])
def test_other_events_are_errors(event: object) -> None:
    with pytest.raises(ProtocolError):
        Bench(PLAIN).do(event)


# -- corners ---------------------------------------------------------------------------------


def test_orders_behind_the_first_learn_from_its_fall_back() -> None:
    bench, device = Bench(PLAIN), Device()
    bench.submit(1, SET)
    bench.submit(2, SET)
    first = sent(bench.hear(device.spontaneous()))
    second = sent(bench.hear(device.acknowledge(first), after=2.0))
    request = sent(bench.hear(device.acknowledge(second), after=2.0))
    assert control(sent(bench.hear(device.answer(request), after=2.0))) == 0x53


def test_a_memory_may_name_devices_that_are_gone() -> None:
    memory = GatewayMemory(links=(PLAIN,), without_snd_ud2=(SECOND,))
    assert Bench(memory=memory).gateway.links == (PLAIN,)


def test_a_confirmation_gives_way_to_a_transmission_that_is_planned() -> None:
    bench, device, second = Bench(PLAIN, DeviceLink(SECOND)), Device(), Device(SECOND)
    bench.submit(1, None)
    bench.hear(device.spontaneous())
    out = bench.hear(second.spontaneous(control=0x46), after=0.001)
    assert none(out, Transmit)
    assert not only(out, Installed).confirmed


def test_a_power_cut_is_told_once_and_by_power_up_only() -> None:
    memory = GatewayMemory(links=(PLAIN,), orders=(OpenOrder(4, sent=True), OpenOrder(5)))
    bench = Bench(memory=memory)
    assert bench.gateway.memory(bench.now).orders == memory.orders
    assert bench.do(PowerUp())[1:] == [Failed(4, "power", delivered=None), Failed(5, "power", delivered=False)]
    assert bench.do(PowerUp()) == []


def test_a_device_behind_a_bidirectional_repeater() -> None:
    """Windows behind copies count; a command goes out again only if the message counter shows that it did not come."""
    bench, device = Bench(link("B", repeated=True)), Device(profile="B")
    bench.submit(1, ADD)
    frame = sent(bench.hear(repeated(device.spontaneous())))
    assert sent(bench.hear(repeated(device.spontaneous()), after=16.0)) == frame
    out = bench.hear(repeated(device.answer(frame)), after=20.0)
    only(out, Answered)
    assert sent(bench.wait(1.0))[1] == 0x40
    plain = Bench(link("A", repeated=True))
    device = Device(profile="A")
    plain.submit(1, ADD)
    frame = sent(plain.hear(repeated(device.spontaneous(cc=ALWAYS))))
    older = device.frame(0x08, number=99)
    assert only(plain.hear(repeated(older), after=5.0), Failed) == Failed(1, "no-answer", delivered=None)
