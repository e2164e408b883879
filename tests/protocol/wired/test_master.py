"""Readouts of the wired master against lists of (time, event). Sequences and the table: ``test_wired_transactions``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.codec.address import Address, Selection, flag_value
from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.errors import ProtocolError
from openmetering.protocol.wired.master import (
    Abort,
    AnswerReceived,
    LineTiming,
    Octets,
    OutEvent,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    State,
    Transmit,
    Unsolicited,
    WiredMaster,
    more_follows,
)
from tests.fleet import bare_wired, wired

TIMING = LineTiming(2400, latency=0.0, gap=0.0)
SELECTION = Selection(Address(0xFFFF, "12345678", 0xFF, 0xFF))
E5 = b"\xe5"


def sent(events: list[OutEvent]) -> list[bytes]:
    return [event.frame for event in events if isinstance(event, Transmit)]


def master(**options: int) -> WiredMaster:
    return WiredMaster(TIMING, **options)


def expire(machine: WiredMaster) -> list[OutEvent]:
    """Let the deadline pass."""
    assert machine.deadline is not None
    return machine.timeout(machine.deadline)


# -- the plain readout ----------------------------------------------------------------------------


def test_primary_readout() -> None:
    machine = master()
    target = ReadPrimary(5)
    (first,) = machine.receive(target, 10.0)
    assert first == Transmit(bytes.fromhex("1040054516"), 10.0)
    (request,) = machine.receive(Octets(E5), 10.1)
    assert request == Transmit(bytes.fromhex("107B058016"), 10.1)
    answer, done = machine.receive(Octets(wired()), 10.3)
    assert answer == AnswerReceived(target, wired(), 0, True)
    assert done == ReadoutDone(target, 1)
    assert machine.state is State.IDLE
    assert machine.deadline is None


def test_secondary_readout() -> None:
    machine = master()
    assert sent(machine.receive(ReadSecondary(SELECTION), 0.0)) == [bytes.fromhex("1040FD3D16")]
    # nobody is selected, so nobody answers
    (select,) = sent(expire(machine))
    frame, _ = unframe(select)
    assert (frame.control, frame.address, frame.data) == (0x53, 253, b"\x52" + bytes.fromhex("78563412FFFFFFFF"))
    (request,) = sent(machine.receive(Octets(E5), 1.0))
    assert request == WiredFrame.short(0x7B, 253).encode()
    # the slave answers with its own primary address, and is deselected explicitly
    answer, leave = machine.receive(Octets(wired(primary=0)), 1.2)
    assert isinstance(answer, AnswerReceived)
    assert leave == Transmit(bytes.fromhex("1040FD3D16"), 1.2)
    assert machine.receive(Octets(E5), 1.3) == [ReadoutDone(ReadSecondary(SELECTION), 1)]


def test_after_an_explicit_deselection_the_next_selection_goes_out_at_once() -> None:
    machine = master()
    machine.receive(ReadSecondary(SELECTION), 0.0)
    expire(machine)
    machine.receive(Octets(E5), 1.0)
    machine.receive(Octets(wired(primary=0)), 1.2)
    machine.receive(Octets(E5), 1.3)
    (select,) = sent(machine.receive(ReadSecondary(SELECTION), 2.0))
    assert unframe(select)[0].data[:1] == b"\x52"


def test_a_deselection_without_answer_is_repeated_twice_and_does_not_spoil_the_readout() -> None:
    machine = master()
    machine.receive(ReadSecondary(SELECTION), 0.0)
    expire(machine)
    machine.receive(Octets(E5), 1.0)
    machine.receive(Octets(wired(primary=0)), 1.2)
    assert sent(expire(machine)) == sent(expire(machine)) == [bytes.fromhex("1040FD3D16")]
    assert expire(machine) == [ReadoutDone(ReadSecondary(SELECTION), 1)]
    assert sent(machine.receive(ReadSecondary(SELECTION), 9.0)) == [bytes.fromhex("1040FD3D16")]


def test_a_selected_slave_acknowledges_its_deselection() -> None:
    machine = master()
    machine.receive(ReadSecondary(SELECTION), 0.0)
    assert unframe(sent(machine.receive(Octets(E5), 0.1))[0])[0].data[:1] == b"\x52"


def test_several_telegrams_toggle_the_frame_count_bit() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    requests = sent(machine.receive(Octets(E5), 0.1))
    parts = [wired(1, more=True), wired(2, more=True), wired(3)]
    numbers = []
    for part in parts:
        events = machine.receive(Octets(part), 1.0)
        requests += sent(events)
        numbers += [(event.number, event.last) for event in events if isinstance(event, AnswerReceived)]
    assert [request[1] for request in requests] == [0x7B, 0x5B, 0x7B]
    assert numbers == [(0, False), (1, False), (2, True)]
    assert machine.state is State.IDLE


def test_the_next_readout_starts_with_the_bit_set_again() -> None:
    machine = master()
    for _ in range(2):
        machine.receive(ReadPrimary(5), 0.0)
        assert sent(machine.receive(Octets(E5), 0.1))[0][1] == 0x7B
        machine.receive(Octets(wired()), 0.2)
        assert machine.fcb(5) is False
    assert machine.fcb(6) is True


def test_a_slave_that_never_ends() -> None:
    machine = master(limit=3)
    machine.receive(ReadPrimary(5), 0.0)
    machine.receive(Octets(E5), 0.1)
    for _ in range(2):
        machine.receive(Octets(wired(more=True)), 0.2)
    answer, failed = machine.receive(Octets(wired(more=True)), 0.3)
    assert isinstance(answer, AnswerReceived)
    assert failed == ReadoutFailed(ReadPrimary(5), "endless", "request", 3)
    assert machine.state is State.IDLE
    assert machine.deadline is None


def test_a_slave_without_data() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    machine.receive(Octets(E5), 0.1)
    assert machine.receive(Octets(E5), 0.2) == [ReadoutDone(ReadPrimary(5), 0)]


# -- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("baud", "answer"), [(300, 1.150), (2400, 0.1875), (9600, 0.0844), (19200, 0.0672), (38400, 0.0586)])
def test_longest_answer_time(baud: int, answer: float) -> None:
    assert LineTiming(baud, latency=0.0).answer == pytest.approx(answer, abs=1e-4)


@pytest.mark.parametrize(("baud", "pause"), [(300, 0.0733), (2400, 0.00917), (9600, 0.00229)])
def test_pause_that_ends_a_frame(baud: int, pause: float) -> None:
    assert LineTiming(baud, latency=0.0, gap=0.0).silence == pytest.approx(pause, abs=1e-4)


def test_deadline_counts_from_the_end_of_the_request() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 100.0)
    assert machine.deadline == pytest.approx(100.0 + 55 / 2400 + 330 / 2400 + 0.05)


def test_an_early_timeout_does_nothing() -> None:
    machine = master()
    assert machine.timeout(5.0) == []
    machine.receive(ReadPrimary(5), 0.0)
    assert machine.timeout(0.01) == []
    assert machine.state is State.RESETTING


def test_three_attempts_then_failure_with_a_pause() -> None:
    machine = master()
    target = ReadPrimary(5)
    (first,) = machine.receive(target, 0.0)
    assert isinstance(first, Transmit)
    repeats = []
    for _ in range(2):
        lost_at = machine.deadline
        assert lost_at is not None
        (again,) = expire(machine)
        assert isinstance(again, Transmit)
        assert again.frame == first.frame
        assert again.not_before == pytest.approx(lost_at + 33 / 2400)
        repeats.append(again)
    lost_at = machine.deadline
    assert lost_at is not None
    assert expire(machine) == [ReadoutFailed(target, "no-answer", "reset", 0)]
    (following,) = machine.receive(target, lost_at)
    assert isinstance(following, Transmit)
    assert following.not_before == pytest.approx(lost_at + 33 / 2400)


def test_a_lost_answer_repeats_the_same_frame_count_bit() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    first = sent(machine.receive(Octets(E5), 0.1))
    assert sent(expire(machine)) == first
    assert isinstance(machine.receive(Octets(wired()), 9.0)[-1], ReadoutDone)


@pytest.mark.parametrize(
    ("before", "step", "reason"),
    [([], "reset", "no-answer"), ([E5], "request", "no-answer")],
)
def test_silence_at_every_step(before: list[bytes], step: str, reason: str) -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    for octets in before:
        machine.receive(Octets(octets), 0.1)
    out = [expire(machine) for _ in range(3)]
    assert out[-1] == [ReadoutFailed(ReadPrimary(5), reason, step, 0)]  # type: ignore[arg-type]


def test_nobody_takes_the_selection() -> None:
    machine = master()
    target = ReadSecondary(SELECTION)
    machine.receive(target, 0.0)
    out = [expire(machine) for _ in range(4)]
    assert out[-1] == [ReadoutFailed(target, "not-selected", "select", 0)]


# -- what comes over the line -------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8, 30])
def test_an_answer_in_pieces(size: int) -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    machine.receive(Octets(E5), 0.1)
    answer, now = wired(), 0.2
    events: list[OutEvent] = []
    for at in range(0, len(answer), size):
        now += 0.001
        events += machine.receive(Octets(answer[at : at + size]), now)
    assert [event.frame for event in events if isinstance(event, AnswerReceived)] == [answer]


@pytest.mark.parametrize("whole", [True, False])
def test_an_echo_of_the_request_is_stripped(whole: bool) -> None:
    machine = master()
    (reset,) = sent(machine.receive(ReadPrimary(5), 0.0))
    if whole:
        (request,) = sent(machine.receive(Octets(reset + E5), 0.1))
    else:
        assert machine.receive(Octets(reset[:2]), 0.05) == []
        assert machine.receive(Octets(reset[2:]), 0.06) == []
        (request,) = sent(machine.receive(Octets(E5), 0.1))
    (answer, _) = machine.receive(Octets(request + wired()), 0.2)
    assert isinstance(answer, AnswerReceived)
    assert answer.frame == wired()


def test_an_echo_alone_is_silence() -> None:
    machine = master(attempts=1)
    (reset,) = sent(machine.receive(ReadPrimary(5), 0.0))
    machine.receive(Octets(reset), 0.02)
    (failed,) = expire(machine)
    assert failed == ReadoutFailed(ReadPrimary(5), "no-answer", "reset", 0)
    assert not failed.disturbed
    machine.receive(ReadPrimary(5), 1.0)
    machine.receive(Octets(reset[:3]), 1.01)
    (cut,) = expire(machine)
    assert isinstance(cut, ReadoutFailed)


def test_noise_in_front_and_behind_an_answer() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    machine.receive(Octets(E5), 0.1)
    assert machine.receive(Octets(b"\x00\xff" + wired() + b"\x55"), 0.2) == []
    answer, done = expire(machine)
    assert isinstance(answer, AnswerReceived)
    assert answer.frame == wired()
    assert isinstance(done, ReadoutDone)


def test_a_collision_is_told_from_silence() -> None:
    machine = master(attempts=2)
    machine.receive(ReadPrimary(5), 0.0)
    machine.receive(Octets(E5), 0.1)
    damaged = wired()[:-2] + b"\x00\x16"
    machine.receive(Octets(damaged), 0.2)
    assert sent(expire(machine))
    machine.receive(Octets(damaged), 0.5)
    (failed,) = expire(machine)
    assert failed == ReadoutFailed(ReadPrimary(5), "disturbed", "request", 0)
    assert failed.disturbed


def test_several_acknowledgements_at_once_are_a_disturbance() -> None:
    machine = master(attempts=1)
    machine.receive(ReadPrimary(254), 0.0)
    machine.receive(Octets(b"\xe5\xe5"), 0.1)
    (failed,) = expire(machine)
    assert isinstance(failed, ReadoutFailed)
    assert failed.reason == "disturbed"


@pytest.mark.parametrize(("asked", "answers", "taken"), [(5, 5, True), (5, 6, False), (254, 6, True)])
def test_the_answer_must_be_of_the_slave_that_was_asked(asked: int, answers: int, taken: bool) -> None:
    machine = master()
    machine.receive(ReadPrimary(asked), 0.0)
    machine.receive(Octets(E5), 0.1)
    events = machine.receive(Octets(wired(primary=answers)), 0.2)
    assert bool(events) is taken


def test_a_request_of_another_master_is_no_answer() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    machine.receive(Octets(E5), 0.1)
    assert machine.receive(Octets(WiredFrame.long(0x53, 5, b"\x51\x01").encode()), 0.2) == []


def test_octets_while_idle() -> None:
    machine = master()
    assert machine.receive(Octets(b"\x01"), 0.0) == [Unsolicited(b"\x01")]
    assert machine.receive(Octets(b""), 0.0) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=12))
def test_whatever_comes_the_readout_ends(parts: list[bytes]) -> None:
    machine = master(limit=4)
    machine.receive(ReadPrimary(5), 0.0)
    now, turns = 0.0, 0
    while machine.state is not State.IDLE:
        turns += 1
        assert turns < 60
        if parts:
            now += 0.001
            machine.receive(Octets(parts.pop()), now)
        else:
            now = machine.deadline or now
            machine.timeout(now)


# -- more telegrams -------------------------------------------------------------------------------


def fragment(more: int) -> bytes:
    return WiredFrame.long(0x08, 5, bytes((0x90, 0x02, 0x01, more << 6)) + bytes(4)).encode()


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [
        (wired(), False),
        (wired(more=True), True),
        (bare_wired(), False),
        (WiredFrame.long(0x08, 5, bytes.fromhex("780C14341200001F")).encode(), True),
        (WiredFrame.long(0x08, 5, bytes.fromhex("7A010000000C14341200001F")).encode(), True),
        (WiredFrame.long(0x08, 5, bytes.fromhex("7A010000050C14341200001F")).encode(), False),
        (WiredFrame.long(0x08, 5, bytes.fromhex("7201000000")).encode(), False),
        (fragment(1), True),
        (fragment(0), False),
        (WiredFrame.long(0x08, 5, b"\x6f\x1f").encode(), False),
        (WiredFrame.short(0x08, 5).encode(), False),
        (b"\xe5", False),
        (b"\x68\x00", False),
    ],
)
def test_more_follows(frame: bytes, wanted: bool) -> None:
    assert more_follows(frame) is wanted


@pytest.mark.parametrize("address", [253, 255, 256, -1])
def test_addresses_that_cannot_be_read(address: int) -> None:
    machine = master()
    with pytest.raises(ProtocolError):
        machine.receive(ReadPrimary(address), 0.0)
    assert machine.state is State.IDLE
    assert machine.receive(ReadPrimary(5), 0.0)


def test_abort_waits_before_the_next_request() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    assert machine.receive(Abort(), 1.0) == [ReadoutFailed(ReadPrimary(5), "aborted", "abort", 0)]
    (following,) = machine.receive(ReadPrimary(6), 1.0)
    assert isinstance(following, Transmit)
    assert following.not_before > 1.0


def test_an_enhanced_selection_carries_the_fabrication_number() -> None:
    machine = master()
    selection = Selection(Address(flag_value("ELS"), "FFFFFFFF", 0x33, 0x03), "87654321")
    machine.receive(ReadSecondary(selection), 0.0)
    (select,) = sent(expire(machine))
    assert unframe(select)[0].data == b"\x52" + bytes.fromhex("FFFFFFFF93153303" + "0C7821436587")
