"""The bidirectional repeater between a meter and a gateway that do not hear each other."""

from __future__ import annotations

import pytest

from openmetering.codec.address import Address, flag_value
from openmetering.errors import ProtocolError
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.radio.bidirectional_repeater import (
    KEPT,
    LINKS,
    AnswerHeard,
    BidirectionalRepeater,
    Deliverable,
    DownHeard,
    Link,
)
from openmetering.protocol.radio.datagram import HOP, WINDOWS, datagram, read
from openmetering.protocol.radio.events import Ignored
from openmetering.protocol.radio.repeater import (
    CopySent,
    LinkBits,
    Repeatable,
    RepeaterConfig,
    RepeaterState,
    UnidirectionalRepeater,
)
from openmetering.simulation.kernel import Kernel, Node
from tests.protocol.fake_endpoint import GATEWAY, METER, OTHER_GATEWAY, STRANGER
from tests.protocol.radio_bench import REQ_UD2, SND_NKE, SND_UD, Bench, device, dice, down

REPEATER = Address(flag_value("XYZ"), "00000033", 0x01, 0x33)
DATA = datagram(0x44, METER.link_octets(), b"\x7a" + bytes(10), 0xA0, 5)
CLOSED = datagram(0x44, METER.link_octets(), b"\x7a" + bytes(10), 0x24, 6)
SLOW = WINDOWS["C", False]


def bench(*numbers: float) -> tuple[Bench, BidirectionalRepeater]:
    machine = BidirectionalRepeater(RepeaterConfig(), REPEATER, dice(0.5, *numbers))
    made = Bench(machine)  # type: ignore[arg-type]
    made.post(PowerUp())
    return made, machine


def with_hop(frame: bytes) -> bytes:
    return frame[:11] + bytes((frame[11] | HOP,)) + frame[12:]


def copied(made: Bench, frame: bytes = DATA) -> float:
    """Let the repeater repeat a frame; the time at which its copy ended."""
    made.post(Heard(frame, made.now))
    assert made.next_frame() == with_hop(frame)
    return made.ended


def test_a_command_goes_down_in_the_next_window_and_its_answer_comes_up() -> None:
    made, machine = bench()
    copied(made)
    command = down(SND_UD, 0x51, ci=0x5B)
    assert made.hear(command) == []
    made.run(made.now + 100.0)
    # the meter is heard again
    made.post(Heard(DATA, made.now))
    sent = made.transmits[-1]
    assert sent == Transmit(with_hop(command), made.now + SLOW.earliest, made.now + SLOW.latest, downlink=True)
    assert machine.state is RepeaterState.SENDING
    assert machine.listening(made.now + 0.5)
    assert not machine.listening(made.now + 0.9996)
    made.next_frame()
    # its answer
    answer = datagram(0x00, METER.link_octets(), b"\x8a\x01\x00\x00\x00", 0x80, 0x51)
    assert made.post(Heard(answer, made.now)) == []
    heard = made.now
    assert made.next_frame() == with_hop(answer)
    assert 0.05 <= made.frames[-1][0] - heard <= 0.4
    # it is repeated by the meter, but not by us
    assert made.post(Heard(answer, made.now)) == [Ignored("message", answer)]
    # the window behind the repeated answer is for the gateway
    request = down(REQ_UD2, 0x52)
    made.hear(request)
    made.post(Heard(answer, made.now))
    assert made.transmits[-1].frame == with_hop(request)


def test_the_sender_stays_the_gateway() -> None:
    made, _ = bench()
    copied(made)
    made.hear(down(SND_UD, 1, ella=METER))
    made.post(Heard(DATA, made.now))
    found = read(made.transmits[-1].frame)
    assert (found.sender, found.destination, found.control & HOP) == (GATEWAY, METER, HOP)


@pytest.mark.parametrize("delay", [0.5, 0.9989, 1.0011, 3.0])
def test_a_datagram_outside_the_window_is_not_kept(delay: float) -> None:
    made, _ = bench()
    copied(made)
    command = down(SND_UD, 1)
    assert made.hear(command, delay=delay) == [Ignored("message", command)]
    made.post(Heard(DATA, made.now))
    assert len(made.transmits) == 1


def test_a_datagram_to_another_meter_is_not_kept() -> None:
    made, _ = bench()
    copied(made)
    command = down(SND_UD, 1, ala=STRANGER)
    assert made.hear(command) == [Ignored("message", command)]


def test_a_window_is_used_once() -> None:
    made, machine = bench()
    end = copied(made)
    first, second = down(SND_UD, 1), down(SND_UD, 2, sender=OTHER_GATEWAY)
    made.run(end + 1.01)
    assert machine.receive(Heard(first, end + 1.0), made.now) == []
    assert machine.receive(Heard(second, end + 1.0), made.now) == [Ignored("message", second)]


def test_no_window_behind_a_copy_that_promises_none() -> None:
    made, _ = bench()
    copied(made, CLOSED)
    command = down(SND_UD, 1)
    assert made.hear(command) == [Ignored("message", command)]


def test_a_closed_meter_gets_its_command_later() -> None:
    made, _ = bench()
    copied(made)
    made.hear(down(SND_UD, 1))
    made.post(Heard(CLOSED, made.now))
    made.post(Heard(with_hop(DATA), made.now))
    assert not made.transmits[-1].downlink
    made.post(Heard(DATA, made.now))
    assert made.transmits[-1].downlink


def test_access_messages_open_windows_too() -> None:
    made, _ = bench()
    copied(made)
    made.hear(down(SND_UD, 1))
    access = datagram(0x47, METER.link_octets(), b"\x8a\x05\x00\x00\x00", 0xA0, 6)
    out = made.post(Heard(access, made.now))
    assert out[0] == Ignored("message", access)
    assert made.transmits[-1].frame == with_hop(down(SND_UD, 1))


def test_while_sending_there_is_no_delivery() -> None:
    made, machine = bench(0.0, 0.0)
    copied(made)
    made.hear(down(SND_UD, 1))
    made.post(Heard(DATA, made.now))
    assert machine.state is RepeaterState.SENDING
    assert made.hear(down(SND_UD, 2)) == [Ignored("message", down(SND_UD, 2))]
    before = len(made.transmits)
    made.post(Heard(DATA, made.now))
    assert len(made.transmits) == before


def test_a_datagram_is_kept_for_an_hour() -> None:
    made, _ = bench()
    copied(made)
    made.hear(down(SND_UD, 1))
    made.run(made.now + KEPT + 1)
    made.post(Heard(DATA, made.now))
    assert len(made.transmits) == 1


def test_answers_of_meters_that_were_not_asked() -> None:
    made, _ = bench()
    answer = datagram(0x08, METER.link_octets(), b"\x7a" + bytes(4), 0x80, 1)
    assert made.post(Heard(answer, made.now)) == [Ignored("message", answer)]
    copied(made)
    assert made.post(Heard(answer, made.now)) == [Ignored("message", answer)]


def test_answers_that_were_repeated_by_another() -> None:
    made, _ = bench()
    copied(made)
    made.hear(down(SND_UD, 1))
    made.post(Heard(DATA, made.now))
    made.run(made.now + 1.1)
    answer = with_hop(datagram(0x00, METER.link_octets(), b"\x8a\x01\x00\x00\x00", 0x80, 1))
    assert made.post(Heard(answer, made.now)) == [Ignored("repeated", answer)]


def test_frames_without_readable_headers_are_repeated_like_others() -> None:
    made, _ = bench()
    frame = datagram(0x44, METER.link_octets(), b"\x8d\xa0\x01" + bytes(10))
    made.post(Heard(frame, made.now))
    assert made.next_frame() == with_hop(frame)
    assert made.hear(down(SND_UD, 1), delay=1.0) == [Ignored("message", down(SND_UD, 1))]
    assert made.post(Heard(b"\x01", made.now)) == [Ignored("unreadable", b"\x01")]


def test_a_downlink_datagram_without_extended_link_layer_keeps_its_octets_but_for_h() -> None:
    made, _ = bench()
    copied(made)
    command = datagram(SND_UD, GATEWAY.link_octets(), b"\x5b" + METER.transport_octets() + bytes((1, 0, 0, 0)) + b"x")
    made.hear(command)
    made.post(Heard(DATA, made.now))
    assert made.transmits[-1].frame == command[:21] + b"\x01" + command[22:]
    encrypted = datagram(SND_UD, GATEWAY.link_octets(), b"\x5b" + METER.transport_octets() + bytes((1, 0, 0, 7, 0)) + b"x")
    made, _ = bench()
    copied(made)
    made.hear(encrypted)
    made.post(Heard(DATA, made.now))
    assert made.transmits[-1].frame == encrypted


def test_the_meters_that_were_heard_last_are_remembered() -> None:
    made, machine = bench()
    for number in range(LINKS + 20):
        address = Address(METER.manufacturer, f"{number:08d}", 1, 7)
        machine._current = None
        frame = datagram(0x44, address.link_octets(), b"\x7a" + bytes(10), 0xA0, 5)
        made.post(Heard(frame, made.now))
        made.run(made.now + 30.0)
    assert len(machine._links) == LINKS
    assert Address(METER.manufacturer, f"{LINKS + 19:08d}", 1, 7).link_octets() in machine._links


def test_power_up_forgets_the_meters() -> None:
    made, machine = bench()
    copied(made)
    made.post(PowerUp())
    assert not machine._links
    assert made.hear(down(SND_UD, 1)) == [Ignored("message", down(SND_UD, 1))]


def test_with_a_real_meter() -> None:
    """Meter - repeater - gateway: SND-UD, ACK, REQ-UD2, RSP-UD, SND-NKE, all through the repeater."""
    kernel = Kernel()
    _, meter, endpoint = device(0.5, 0.2, nominal=60.0, power=False)
    endpoint.fragments = (b"\x7a\x01\x00\x00\x00answer",)
    repeater = BidirectionalRepeater(RepeaterConfig(), REPEATER, dice())
    script = {0x44: down(SND_UD, 0x51, ci=0x5B), 0x00: down(REQ_UD2, 0x52), 0x08: down(SND_NKE, 0x53)}
    answers: list[bytes] = []

    def pass_on(node: Node[object, object], event: Heard) -> None:
        if node.machine.listening(event.started):  # type: ignore[attr-defined]
            kernel.call_at(kernel.now + 0.004, lambda _: node.post(event))

    def gateway(frame: bytes) -> None:
        """Answers what it hears for the first time, in the window behind it."""
        if frame[1] in (0x00, 0x08):
            answers.append(frame)
        reply = script.pop(frame[1], None)
        if reply is not None:
            start = kernel.now + 1.0
            kernel.call_at(start, lambda _: pass_on(nodes[1], Heard(reply, start)))

    def leave(index: int, event: Transmit) -> None:
        node, other = nodes[index], nodes[1 - index]
        started = kernel.now
        pass_on(other, Heard(event.frame, started))

        def left(now: float) -> None:
            node.post(Sent(event.frame, started))
            if index == 1 and not event.downlink:
                gateway(event.frame)

        kernel.call_at(started + 0.003, left)

    def route(index: int, event: object) -> None:
        if isinstance(event, Transmit):
            kernel.call_at(event.not_before, lambda _: leave(index, event))

    nodes: list[Node[object, object]] = [
        Node(kernel, meter, lambda event, _: route(0, event)),  # type: ignore[arg-type]
        Node(kernel, repeater, lambda event, _: route(1, event)),  # type: ignore[arg-type]
    ]
    for node in nodes:
        node.post(PowerUp())
    kernel.run(400.0)
    assert [frame[1] for frame in answers] == [0x00, 0x08]
    assert all(frame[11] & HOP for frame in answers)
    assert [frame[12] for frame in answers] == [0x51, 0x52]
    assert [name for name, _ in endpoint.names("take", "respond", "end_session")] == ["take", "respond", "end_session"]
    assert not script


# -- the table -------------------------------------------------------------------------------------------------------


def events() -> dict[type, object]:
    link = Link()
    link.kept = down(SND_UD, 1)
    return {
        DownHeard: DownHeard(down(SND_UD, 1), link),
        AnswerHeard: AnswerHeard(Repeatable(DATA, LinkBits(11, 0x10, 2), None), link),
        Deliverable: Deliverable(read(DATA), link),
        CopySent: CopySent(Sent(DATA, 0.0)),
    }


@pytest.mark.parametrize("state", RepeaterState)
@pytest.mark.parametrize("kind", events())
def test_every_pair_of_state_and_event(state: RepeaterState, kind: type) -> None:
    _, machine = bench()
    machine.state = state
    row = BidirectionalRepeater.TRANSITIONS.get((state, kind))
    if row is None:
        with pytest.raises(ProtocolError):
            machine._step(events()[kind], 1.0)
    else:
        machine._step(events()[kind], 1.0)
        assert machine.state is row[1]


def test_the_table_adds_to_that_of_the_unidirectional_repeater() -> None:
    assert set(BidirectionalRepeater.TRANSITIONS) > set(UnidirectionalRepeater.TRANSITIONS)
    assert {event for _, event in BidirectionalRepeater.TRANSITIONS} - {
        event for _, event in UnidirectionalRepeater.TRANSITIONS
    } == {DownHeard, AnswerHeard, Deliverable}
