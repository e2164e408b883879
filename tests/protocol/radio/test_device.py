"""The radio device against lists of (time, event): transmissions, windows, sessions, installation, demand, limits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.codec.address import Address
from openmetering.errors import OutOfRange, ProtocolError
from openmetering.protocol.device.interface import DeviceEvent, Taken
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.radio.datagram import read
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import (
    ButtonPressed,
    Demand,
    DemandEnded,
    Ignored,
    InstallationEnded,
    Omitted,
    RadioConfig,
    Trigger,
)
from openmetering.protocol.radio.schedule import SlotPlan, individual_interval
from openmetering.protocol.radio.steps import (
    Acknowledged,
    Answerable,
    AsynchronousDue,
    Confirmed,
    DemandOver,
    FrameLost,
    InstallationOver,
    LinkReset,
    RepetitionDue,
    SentClosed,
    SentOpen,
    SentPermanent,
    SessionExpired,
    SlotDue,
    State,
    Stray,
    WindowClosed,
    Withheld,
    Yielded,
)
from tests.protocol.fake_endpoint import BODIES, GATEWAY, METER, OTHER_GATEWAY, STRANGER
from tests.protocol.radio_bench import (
    ACK,
    CNF_IR,
    REQ_UD1,
    REQ_UD2,
    SND_NKE,
    SND_UD,
    SND_UD2,
    device,
    down,
)

OWN = METER.link_octets()


def up(c_field: int, control: int, access_number: int, body: bytes, ella: Address | None = None) -> bytes:
    """An uplink frame, octet for octet."""
    destination = b"" if ella is None else ella.link_octets()
    head = bytes((0x8C if ella is None else 0x8E, control, access_number)) + destination
    return bytes((9 + len(head) + len(body), c_field)) + OWN + head + body


def acknowledge(transport: int = 1, status: int = 0) -> bytes:
    return bytes((0x8A, transport, status, 0, 0))


# -- synchronous transmissions ------------------------------------------------------------------------------


def test_a_unidirectional_meter() -> None:
    memory = DeviceMemory()
    bench, machine, endpoint = device(access="none", memory=memory)
    assert machine.deadline == 200.0
    assert endpoint.calls == [("power_up", 0.0)]
    bench.run(1300.0)
    assert [frame for _, frame in bench.frames] == [up(0x44, 0x20, number, BODIES["data"]) for number in (129, 130, 131)]
    times = [time for time, _ in bench.frames]
    assert times == pytest.approx([200.0, 200.0 + 400 * (1 - 63 / 2048), 200.0 + 400 * (2 - 125 / 2048)])
    assert bench.transmits[0].not_before == 200.0
    assert bench.transmits[0].not_after == pytest.approx(200.05)
    assert not bench.transmits[0].downlink
    assert memory.access_number == 131
    assert machine.state is State.IDLE
    assert not machine.listening(bench.now)


def test_a_unidirectional_meter_without_extended_link_layer() -> None:
    bench, _, endpoint = device(access="none", ell=False)
    assert bench.next_frame() == bytes((9 + 5, 0x44)) + OWN + BODIES["data"]
    assert endpoint.calls[-1] == ("data", (129, False))


def test_access_messages_between_the_data() -> None:
    bench, _, _ = device(plan=SlotPlan(nominal=100.0, ratio=2))
    bench.run(400.0)
    assert [(frame[1], frame[11]) for _, frame in bench.frames] == [(0x44, 0xA0), (0x47, 0xA0), (0x47, 0xA0), (0x44, 0xA0)]


def test_static_and_consumer_messages() -> None:
    bench, _, _ = device(access="none", plan=SlotPlan(nominal=3600.0, static_per_day=5, consumer=True))
    bench.run(86400.0)
    bodies = [frame[13:] for _, frame in bench.frames]
    assert {body: bodies.count(body) for body in set(bodies)} == {BODIES["data"]: 8, BODIES["consumer"]: 12, BODIES["static"]: 5}


@pytest.mark.parametrize(
    ("options", "control"),
    [
        ({"access": "none"}, 0x20),
        ({"access": "short"}, 0xA0),
        ({"access": "short", "fast_response": True}, 0xE0),
        ({"access": "permanent"}, 0xA4),
        ({"access": "permanent", "fast_response": True}, 0xE4),
    ],
)
def test_link_bits(options: dict[str, object], control: int) -> None:
    bench, _, _ = device(**options)
    assert bench.next_frame()[11] == control


def test_a_window_behind_every_third_transmission() -> None:
    bench, _, _ = device(window_every=3, nominal=100.0)
    bench.run(700.0)
    assert [frame[11] for _, frame in bench.frames] == [0xA0, 0x24, 0x24, 0xA0, 0x24, 0x24, 0xA0]


def test_power_comes_back_with_another_number_at_another_time() -> None:
    bench, machine, endpoint = device(0.5, 0.5, 0.25, 0.1)
    bench.next_frame()
    bench.post(PowerUp(), 1000.0)
    assert machine.schedule.access_number == 64
    assert machine.deadline == 1040.0
    assert endpoint.calls[-1] == ("power_up", 1000.0)
    assert bench.next_frame()[12] == 65


def test_an_adapter_sends_under_its_own_address_and_a_meter_follows_its_endpoint() -> None:
    bench, machine, _ = device(link_address=STRANGER)
    assert bench.next_frame()[2:10] == STRANGER.link_octets()
    assert machine.link_address == STRANGER
    bench, machine, endpoint = device()
    assert bench.next_frame()[2:10] == OWN
    endpoint.address = OTHER_GATEWAY
    assert bench.next_frame()[2:10] == OTHER_GATEWAY.link_octets()
    assert machine.link_address == OTHER_GATEWAY


def test_deadlines_of_the_application() -> None:
    bench, machine, endpoint = device()
    endpoint.deadline = 50.0
    bench.post(Trigger(), 10.0)
    bench.run(49.0)
    assert machine.deadline == 50.0
    bench.run(60.0)
    assert (50.0, DeviceEvent("valve", value=1)) in bench.out
    assert machine.timeout(60.0) == []


# -- windows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "fast", "earliest", "latest"),
    [("S", False, 0.003, 0.05), ("T", False, 0.002, 0.003), ("C", False, 0.9995, 1.0005), ("C", True, 0.0995, 0.1005)],
)
def test_windows_by_mode(mode: str, fast: bool, earliest: float, latest: float) -> None:
    bench, machine, _ = device(mode=mode, fast_response=fast)
    bench.next_frame()
    end = bench.ended
    assert machine.state is State.LISTENING
    for offset, on in [(earliest - 0.0007, False), (earliest - 0.0004, True), (latest + 0.0004, True), (latest + 0.0007, False)]:
        assert machine.listening(end + offset) is on
    for offset, accepted in [(earliest - 0.0007, False), (latest + 0.0007, False), (earliest, True)]:
        bench.run(end + offset)
        out = machine.receive(Heard(down(SND_NKE, 1), end + offset), end + offset + 0.001)
        assert out == ([] if accepted else [Ignored("window", down(SND_NKE, 1))])


def test_a_window_closes() -> None:
    bench, machine, _ = device()
    bench.next_frame()
    bench.run(bench.ended + 1.05)
    assert machine.state is State.LISTENING
    bench.run(bench.ended + 1.1)
    assert machine.state is State.IDLE
    assert bench.hear(down(REQ_UD2, 1)) == [Ignored("window", down(REQ_UD2, 1))]


@pytest.mark.parametrize(("control", "window"), [(0x84, (0.9995, 1.0005)), (0xC4, (0.0995, 0.1005))])
def test_the_partner_says_how_fast_it_wants_its_answer(control: int, window: tuple[float, float]) -> None:
    bench, _, _ = device()
    bench.next_frame()
    (sent,) = bench.hear(down(REQ_UD2, 1, control=control))
    assert isinstance(sent, Transmit)
    assert (sent.not_before, sent.not_after) == pytest.approx((bench.now + window[0], bench.now + window[1]))


def test_a_device_that_always_listens() -> None:
    bench, machine, _ = device(access="permanent", credits=None)
    assert machine.listening(1.0)
    assert bench.hear(down(REQ_UD2, 1), delay=50.0)
    assert machine.state is State.ANSWERING
    assert not machine.listening(bench.now)
    assert bench.next_frame() == up(0x08, 0x84, 1, b"\x72answer")
    assert machine.state is State.PAUSING
    assert machine.listening(bench.now)
    bench.hear(down(REQ_UD2, 2), delay=0.3)
    assert bench.next_frame()[12] == 2
    bench.hear(down(SND_NKE, 3), delay=0.3)
    assert machine.state is State.IDLE
    assert bench.next_frame()[11] == 0xA4
    assert machine.state is State.IDLE
    assert machine.listening(bench.now)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (down(REQ_UD2, 1, ala=STRANGER), "address"),
        (down(REQ_UD2, 1, ella=STRANGER), "address"),
        (down(REQ_UD2, 1, ala=None), "address"),
        (down(0x44, 1), "uplink"),
        (b"\x05\x53\x00\x00\x00\x00", "unreadable"),
        (down(REQ_UD2, 1)[:-3], "unreadable"),
        (down(ACK, 129), "unexpected"),
        (down(CNF_IR, 129), "unexpected"),
    ],
)
def test_what_is_ignored(frame: bytes, reason: str) -> None:
    memory = DeviceMemory()
    bench, machine, endpoint = device(memory=memory)
    bench.next_frame()
    assert bench.hear(frame) == [Ignored(reason, frame)]  # type: ignore[arg-type]
    assert machine.state is State.LISTENING
    assert not endpoint.names("take", "respond", "end_session")


def test_frames_while_sending_are_ignored() -> None:
    bench, machine, _ = device()
    bench.machine.timeout(200.0)
    assert machine.state is State.SENDING
    frame = down(REQ_UD2, 1)
    assert machine.receive(Heard(frame, 200.0), 200.001) == [Ignored("sending", frame)]
    assert not machine.listening(200.001)


def test_a_command_that_is_not_taken_leaves_the_window_open() -> None:
    bench, machine, endpoint = device()
    endpoint.taken = Taken(False)
    bench.next_frame()
    frame = down(SND_UD, 1)
    assert bench.hear(frame) == [Ignored("not-mine", frame)]
    assert machine.state is State.LISTENING


# -- sessions -----------------------------------------------------------------------------------------------


def test_a_session_of_command_request_and_reset() -> None:
    bench, machine, endpoint = device()
    bench.next_frame()
    executed, sent = bench.hear(down(SND_UD, 0x51, transport=9))
    assert executed == DeviceEvent("executed", value=7)
    assert isinstance(sent, Transmit)
    assert bench.next_frame() == up(0x00, 0x80, 0x51, acknowledge(9))
    assert machine.state is State.ATTENTIVE
    bench.hear(down(REQ_UD2, 0x52, transport=10))
    assert bench.next_frame() == up(0x08, 0x80, 0x52, b"\x72answer")
    assert bench.hear(down(SND_NKE, 0x53)) == []
    assert machine.state is State.LISTENING
    assert endpoint.names("end_session") == [("end_session", bench.now)]
    bench.run(bench.now + 60.0)
    assert len(bench.frames) == 3


def test_a_command_with_answer() -> None:
    bench, _, endpoint = device()
    bench.next_frame()
    bench.hear(down(SND_UD2, 1, transport=33))
    assert bench.next_frame() == up(0x08, 0x80, 1, b"\x72answer")
    assert endpoint.names("respond") == [("respond", (33, 235))]


@pytest.mark.parametrize("repetition", [2, 3, 5])
def test_the_last_answer_is_repeated_until_time_is_out(repetition: int) -> None:
    bench, machine, endpoint = device(repetition=repetition)
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    heard = bench.now
    bench.run(heard + 60.0)
    answers = [(time, frame) for time, frame in bench.frames if frame[1] == 0x08]
    assert [frame for _, frame in answers] == [up(0x08, 0x80, 1, b"\x72answer")] * len(answers)
    assert all(later - sooner == pytest.approx(repetition) for (sooner, _), (later, _) in pairwise(answers))
    assert len(answers) == 30 // repetition
    assert answers[-1][0] < heard + 30.0
    assert endpoint.names("end_session") == [("end_session", heard + 30.0)]
    assert len(endpoint.names("respond")) == 1
    assert machine.state is State.IDLE


def test_every_repetition_has_a_window_and_a_valid_datagram_starts_the_time_anew() -> None:
    bench, machine, endpoint = device(repetition=2)
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    for _ in range(5):
        bench.next_frame()
        assert machine.state is State.ATTENTIVE
    bench.hear(down(REQ_UD2, 1))
    again = bench.now
    assert bench.next_frame() == up(0x08, 0x80, 1, b"\x72answer")
    bench.run(again + 29.0)
    assert not endpoint.names("end_session")
    bench.run(again + 31.0)
    assert endpoint.names("end_session") == [("end_session", again + 30.0)]
    assert len(endpoint.names("respond")) == 1


def test_a_repeated_command_is_not_executed_again() -> None:
    bench, _, endpoint = device()
    bench.next_frame()
    bench.hear(down(SND_UD, 7))
    first = bench.next_frame()
    bench.hear(down(SND_UD, 7))
    assert bench.next_frame() == first
    assert len(endpoint.names("take")) == 1


def test_after_the_reset_the_same_number_is_new() -> None:
    bench, _, endpoint = device()
    bench.next_frame()
    bench.hear(down(SND_UD, 7))
    bench.next_frame()
    bench.hear(down(SND_NKE, 8))
    bench.run(bench.now + 10)
    bench.next_frame()
    bench.hear(down(SND_UD, 7))
    assert len(endpoint.names("take")) == 2


def test_fragments_name_the_partner() -> None:
    bench, _, endpoint = device()
    endpoint.fragments = (b"\x90one", b"\x90two")
    bench.next_frame()
    bench.hear(down(REQ_UD2, 0x11))
    assert bench.next_frame() == up(0x08, 0x80, 0x11, b"\x90one", GATEWAY)
    bench.hear(down(REQ_UD2, 0x12, ala=None, ella=METER))
    assert bench.next_frame() == up(0x08, 0x80, 0x12, b"\x90two", GATEWAY)
    assert bench.next_frame() == up(0x08, 0x80, 0x12, b"\x90two", GATEWAY)


def test_alarm_request() -> None:
    bench, _, endpoint = device()
    endpoint.alarms = [b"\x74alarm"]
    bench.next_frame()
    bench.hear(down(REQ_UD1, 1))
    assert bench.next_frame() == up(0x08, 0x80, 1, b"\x74alarm")
    bench.hear(down(REQ_UD1, 2, transport=5))
    assert bench.next_frame() == up(0x00, 0x80, 2, acknowledge(5))


def test_unknown_c_field() -> None:
    bench, _, _ = device()
    bench.next_frame()
    bench.hear(down(0x45, 1))
    assert bench.next_frame() == up(0x01, 0x80, 1, acknowledge())


def test_the_grid_stands_still_for_nobody() -> None:
    """Sessions, installations, demands and triggers move no synchronous transmission."""
    times: list[list[float]] = []
    for busy in (False, True):
        bench, _, _ = device(nominal=20.0, repetition=2, credits=None)
        number = 0
        while bench.now < 2000.0:
            frame = bench.next_frame()
            if busy and frame[11] & 0x80:
                number += 1
                bench.hear(down(REQ_UD2, number % 256))
            if busy and number % 10 == 0:
                bench.post(ButtonPressed())
                bench.post(Trigger())
                bench.post(Demand())
        bench.run(2100.0)
        times.append([time for time, frame in bench.frames if frame[11] & 0x20])
        if busy:
            assert not bench.of(Omitted)
            assert sum(1 for _, frame in bench.frames if not frame[11] & 0x20) > 150
    count = min(map(len, times))
    assert times[0][:count] == pytest.approx(times[1][:count])
    assert count > 95


def test_an_answer_yields_to_the_grid() -> None:
    bench, machine, _ = device(nominal=20.0)
    bench.next_frame()
    bench.post(Trigger(), machine.schedule.due - 1.6)  # type: ignore[operator]
    bench.run(bench.now + 0.1)
    due = machine.schedule.due
    assert due is not None
    assert bench.hear(down(REQ_UD2, 1)) == []
    assert machine.state is State.PAUSING
    bench.next_frame()
    assert bench.frames[-1][0] == due
    assert bench.frames[-1][1][1] == 0x44
    assert machine.state is State.ATTENTIVE
    assert bench.next_frame() == up(0x08, 0x80, 1, b"\x72answer")
    assert bench.frames[-1][0] > due + 1.0


def test_a_slot_inside_a_session_has_a_window_for_the_next_command() -> None:
    bench, machine, _ = device(nominal=20.0, repetition=5)
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    while bench.next_frame()[1] != 0x44:
        pass
    assert machine.state is State.ATTENTIVE
    bench.hear(down(REQ_UD2, 2))
    assert bench.next_frame()[12] == 2


# -- lost and late frames --------------------------------------------------------------------------------------


def test_a_frame_that_never_left() -> None:
    bench, machine, _ = device()
    bench.lose = True
    bench.run(201.0)
    assert machine.state is State.SENDING
    bench.run(201.1)
    assert machine.state is State.IDLE
    late = bench.transmits[0].frame
    assert bench.post(Sent(late, 201.1)) == []
    assert machine.state is State.IDLE


def test_an_answer_that_never_left_is_repeated() -> None:
    bench, machine, _ = device(repetition=3)
    bench.next_frame()
    bench.lose = True
    bench.hear(down(REQ_UD2, 1))
    heard = bench.now
    bench.run(heard + 2.1)
    assert machine.state is State.PAUSING
    bench.lose = False
    assert bench.next_frame()[1] == 0x08
    assert bench.frames[-1][0] == pytest.approx(heard + 1.0005 + 1.0 + 3.0)


def test_a_slot_lost_in_a_session_leaves_the_repetition_alone() -> None:
    bench, machine, _ = device(nominal=20.0, repetition=5)
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    bench.next_frame()
    due = machine.schedule.due
    assert due is not None
    bench.run(due - 0.01)
    bench.lose = True
    bench.run(due + 0.5)
    assert machine.state is State.ANSWERING
    bench.lose = False
    assert bench.next_frame()[1] == 0x08


def test_a_device_that_always_listens_does_so_after_a_lost_frame() -> None:
    bench, machine, _ = device(access="permanent", credits=None)
    bench.lose = True
    bench.run(201.1)
    assert machine.state is State.IDLE
    assert machine.listening(bench.now)


def test_a_slot_while_the_transmitter_is_on_passes_with_its_number() -> None:
    bench, machine, _ = device(nominal=30.0)
    bench.lose = True
    bench.run(15.0)
    assert machine.state is State.SENDING
    machine._lost_at = 1e9  # a transmitter that is stuck
    bench.run(46.0)
    assert bench.of(Omitted) == [Omitted("SND-NR", "sending")]
    assert machine.schedule.access_number == 130


# -- installation ------------------------------------------------------------------------------------------------


def test_installation_six_requests_within_the_times() -> None:
    bench, _, _ = device(0.5, 0.5, 0.9, 0.0, 0.5, 0.99, 0.2, 0.3, access="none", nominal=100000.0)
    bench.post(ButtonPressed(), 10.0)
    bench.run(1000.0)
    times = [time for time, _ in bench.frames]
    assert times == pytest.approx([64.0, 94.0, 139.0, 198.7, 234.7, 273.7])
    assert {frame for _, frame in bench.frames} == {up(0x46, 0x00, 128, BODIES["install"])}
    assert bench.of(InstallationEnded) == [InstallationEnded(False)]


def test_installation_ends_with_its_confirmation() -> None:
    bench, machine, _ = device(nominal=100000.0)
    bench.post(ButtonPressed())
    assert bench.next_frame() == up(0x46, 0x80, 128, BODIES["install"])
    assert bench.hear(down(CNF_IR, 127)) == [Ignored("unexpected", down(CNF_IR, 127))]
    assert bench.hear(down(CNF_IR, 128, ala=STRANGER)) == [Ignored("address", down(CNF_IR, 128, ala=STRANGER))]
    bench.next_frame()
    assert bench.hear(down(CNF_IR, 128)) == [InstallationEnded(True)]
    assert machine.state is State.LISTENING
    bench.run(1000.0)
    assert len(bench.frames) == 2


def test_installation_does_not_stop_for_the_link_reset_of_a_repeater() -> None:
    bench, _, _ = device(access="permanent", credits=None, nominal=100000.0)
    bench.post(ButtonPressed())
    bench.next_frame()
    bench.hear(down(SND_NKE, 3), delay=12.0)
    bench.run(1000.0)
    assert len(bench.frames) == 6


def test_the_button_starts_again() -> None:
    bench, _, _ = device(access="none", nominal=100000.0)
    bench.post(ButtonPressed())
    bench.run(100.0)
    assert len(bench.frames) == 2
    bench.post(ButtonPressed())
    bench.run(1000.0)
    assert len(bench.frames) == 8


def test_asynchronous_transmissions_wait_for_the_grid() -> None:
    bench, machine, _ = device()
    bench.post(Trigger(), 199.0)
    bench.run(202.5)
    assert [(time, frame[11]) for time, frame in bench.frames] == [(200.0, 0xA0), (pytest.approx(201.064, abs=0.01), 0x80)]
    assert bench.frames[1][1] == up(0x44, 0x80, 129, BODIES["data"])
    assert machine.schedule.access_number == 129


# -- demand and triggers -----------------------------------------------------------------------------------------


def test_a_trigger_is_sent_at_once_with_the_last_number() -> None:
    bench, _, _ = device(access="none")
    bench.post(Trigger(), 30.0)
    bench.post(Trigger("static"), 40.0)
    bench.run(41.0)
    assert bench.frames == [
        (30.0, up(0x44, 0x00, 128, BODIES["data"])),
        (40.0, up(0x44, 0x00, 128, BODIES["static"])),
    ]


def test_a_demand_goes_on_until_it_is_acknowledged() -> None:
    bench, machine, _ = device(nominal=100000.0, demand_interval=60.0)
    bench.post(Demand(), 10.0)
    assert bench.frames == []
    bench.run(10.1)
    assert bench.frames == [(10.0, up(0x48, 0x80, 128, BODIES["demand"]))]
    assert bench.next_frame() == up(0x48, 0x80, 128, BODIES["demand"])
    assert bench.frames[-1][0] == pytest.approx(70.0)
    assert bench.hear(down(ACK, 127)) == [Ignored("unexpected", down(ACK, 127))]
    bench.next_frame()
    assert bench.hear(down(ACK, 128)) == [DemandEnded(True)]
    assert machine.state is State.LISTENING
    bench.run(2000.0)
    assert len(bench.frames) == 3


def test_a_demand_takes_the_slots_of_access_messages() -> None:
    """As printed in Annex N.10: ACC-DMD with bit S."""
    bench, _, _ = device(plan=SlotPlan(nominal=100.0, ratio=1), demand_interval=1e6)
    bench.post(Demand(), 10.0)
    bench.run(300.0)
    assert [(frame[1], frame[11], frame[12]) for _, frame in bench.frames] == [
        (0x48, 0x80, 128),
        (0x44, 0xA0, 129),
        (0x48, 0xA0, 130),
        (0x44, 0xA0, 131),
    ]
    while bench.next_frame()[1] != 0x48:
        pass
    assert bench.hear(down(ACK, 132)) == [DemandEnded(True)]
    bench.next_frame()
    assert bench.next_frame()[1] == 0x47


def test_a_demand_that_nobody_hears_ends() -> None:
    bench, _, _ = device(nominal=100000.0, demand_interval=60.0, demand_limit=4)
    bench.post(Demand())
    bench.run(1000.0)
    assert len(bench.frames) == 4
    assert bench.of(DemandEnded) == [DemandEnded(False)]


def test_a_demand_inside_a_session() -> None:
    bench, machine, _ = device()
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    bench.next_frame()
    bench.post(Demand())
    assert bench.next_frame()[1] == 0x48
    assert machine.state is State.ATTENTIVE
    assert bench.hear(down(ACK, 129)) == [DemandEnded(True)]
    assert bench.next_frame()[1] == 0x08


# -- credits and duty cycle ----------------------------------------------------------------------------------------


def test_credits_are_charged_and_kept_in_the_memory() -> None:
    memory = DeviceMemory(credits=100.0)
    bench, _, _ = device(memory=memory, nominal=100000.0)
    bench.post(Trigger())
    bench.next_frame()
    assert memory.credits == pytest.approx(100.0, abs=0.1)
    bench.hear(down(SND_UD, 1))
    bench.next_frame()
    assert memory.credits == pytest.approx(97.0, abs=0.1)
    bench.hear(down(REQ_UD2, 2))
    bench.next_frame()
    assert memory.credits == pytest.approx(91.0, abs=0.1)
    bench.hear(down(SND_NKE, 3))
    assert memory.credits == pytest.approx(90.0, abs=0.1)
    bench.post(Trigger())
    bench.next_frame()
    bench.hear(down(0x45, 4))
    bench.next_frame()
    assert memory.credits == pytest.approx(87.0, abs=0.1)


def test_used_up_credits_close_the_device_with_its_last_datagram() -> None:
    memory = DeviceMemory(credits=6.0)
    bench, machine, endpoint = device(memory=memory)
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    assert bench.next_frame() == up(0x08, 0x04, 1, b"\x72answer")
    assert machine.state is State.IDLE
    assert endpoint.names("end_session")
    assert bench.hear(down(REQ_UD2, 2)) == [Ignored("window", down(REQ_UD2, 2))]
    assert bench.next_frame()[11] == 0x24
    bench.run(bench.now + 7300.0)
    assert bench.next_frame()[11] == 0xA0


def test_a_running_firmware_transfer_is_not_interrupted() -> None:
    memory = DeviceMemory(credits=2.0)
    memory.image.state = 3
    bench, _, _ = device(memory=memory)
    bench.next_frame()
    for number in range(50):
        bench.hear(down(SND_UD, number))
        assert bench.next_frame() == up(0x00, 0x80, number, acknowledge())
    memory.image.state = 9
    bench.hear(down(SND_UD, 50))
    assert bench.next_frame() == up(0x00, 0x04, 50, acknowledge())


def test_a_permanent_receiver_without_credits_is_closed() -> None:
    memory = DeviceMemory(credits=6.0)
    bench, machine, _ = device(memory=memory, access="permanent")
    bench.hear(down(REQ_UD2, 1), delay=10.0)
    assert bench.next_frame()[11] == 0x04
    assert machine.state is State.IDLE
    assert not machine.listening(bench.now)


def test_mains_have_no_credits() -> None:
    memory = DeviceMemory(credits=0.0)
    bench, _, _ = device(memory=memory, credits=None)
    bench.next_frame()
    for number in range(300):
        bench.hear(down(REQ_UD2, number % 256))
        assert bench.next_frame()[11] in (0x80, 0xA0)
    assert memory.credits == 0.0


def test_the_duty_cycle_closes_windows_then_silences() -> None:
    share = 0.1 / 3600  # 100 ms an hour
    bench, _, _ = device(share=share, nominal=4.0, access="short")
    bench.run(300.0)
    controls = [frame[11] for _, frame in bench.frames]
    assert controls == sorted(controls, reverse=True)
    assert {0xA0, 0x24} == set(controls)
    assert bench.of(Omitted)[0] == Omitted("SND-NR", "duty-cycle")
    assert len(bench.frames) + len(bench.of(Omitted)) == pytest.approx(300 / 4, abs=3)
    assert bench.machine.state is State.IDLE  # type: ignore[attr-defined]
    numbers = [frame[12] for _, frame in bench.frames]
    bench.run(3700.0)
    later = next(frame[12] for time, frame in bench.frames if time > 3000)
    assert later != (numbers[-1] + 1) % 256


def test_withheld_answers_pause() -> None:
    bench, machine, endpoint = device(nominal=100000.0, repetition=2)
    bench.post(Trigger())
    bench.next_frame()
    machine._duty.note(bench.now, 3.595)
    endpoint.fragments = (b"\x72" + bytes(230),)
    assert bench.hear(down(REQ_UD2, 1)) == [Omitted("RSP-UD", "duty-cycle")]
    assert machine.state is State.PAUSING
    bench.run(bench.now + 40.0)
    assert len(bench.of(Omitted)) == 15
    assert machine.state is State.IDLE


def test_a_withheld_slot_in_a_session_leaves_the_repetition_alone() -> None:
    bench, machine, _ = device(nominal=20.0, repetition=5)
    bench.next_frame()
    bench.hear(down(REQ_UD2, 1))
    bench.next_frame()
    machine._duty.note(bench.now, 3.7)
    due = machine.schedule.due
    assert due is not None
    bench.run(due)
    assert machine.state is State.PAUSING
    assert bench.of(Omitted)[-1] == Omitted("SND-NR", "duty-cycle")


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("ell", {"ell": False, "access": "short"}),
        ("plan", {"plan": SlotPlan(nominal=3.9), "access": "short"}),
        ("window_every", {"window_every": 0}),
        ("repetition", {"repetition": 4}),
        ("receive_limit", {"receive_limit": 154}),
        ("receive_limit", {"receive_limit": 256}),
        ("send_limit", {"send_limit": 63}),
        ("tolerance", {"tolerance": -1.0}),
        ("demand_limit", {"demand_limit": 0}),
    ],
)
def test_settings_outside_the_limits(field: str, options: dict[str, object]) -> None:
    with pytest.raises(OutOfRange) as caught:
        RadioConfig(**options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_duty_cycle_by_mode() -> None:
    assert [RadioConfig(mode=mode).duty_cycle for mode in ("S", "T", "C")] == [0.01, 0.001, 0.001]
    assert RadioConfig(share=0.0002).duty_cycle == 0.0002


# -- the table ---------------------------------------------------------------------------------------------------

SENT = Sent(b"\x00", 0.0)
EVENTS: dict[type, object] = {
    PowerUp: PowerUp(), ButtonPressed: ButtonPressed(), Demand: Demand(), Trigger: Trigger(), Stray: Stray("window", b""),
    SlotDue: SlotDue(), AsynchronousDue: AsynchronousDue("data"), InstallationOver: InstallationOver(),
    DemandOver: DemandOver(), RepetitionDue: RepetitionDue(), Withheld: Withheld(), Yielded: Yielded(),
    FrameLost: FrameLost(), SentOpen: SentOpen(SENT), SentPermanent: SentPermanent(SENT), SentClosed: SentClosed(SENT),
    WindowClosed: WindowClosed(), Answerable: Answerable(False), LinkReset: LinkReset(), Confirmed: Confirmed(),
    Acknowledged: Acknowledged(), SessionExpired: SessionExpired(),
}  # fmt: skip


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", EVENTS)
def test_every_pair_of_state_and_event(state: State, kind: type) -> None:
    _, machine, _ = device()
    machine._session.react(down(REQ_UD2, 1), read(down(REQ_UD2, 1)), 0.0)
    machine._asynchronous["data"] = 0.0
    machine.state = state
    row = RadioDevice.TRANSITIONS.get((state, kind))
    if row is None:
        with pytest.raises(ProtocolError) as caught:
            machine._step(EVENTS[kind], 1.0)
        assert (caught.value.state, caught.value.event) == (state.name, kind.__name__)
        assert machine.state is state
    else:
        machine._step(EVENTS[kind], 1.0)
        assert machine.state is row[1]


def test_the_table_names_known_events_only() -> None:
    assert {event for _, event in RadioDevice.TRANSITIONS} == set(EVENTS)
    assert len(RadioDevice.TRANSITIONS) == 80


@pytest.mark.parametrize("event", [ButtonPressed(), Demand(), Trigger(), Heard(down(SND_NKE, 1), 0.0), Sent(b"\x00", 0.0)])
def test_nothing_happens_without_power(event: object) -> None:
    _, machine, _ = device(power=False)
    assert machine.deadline is None
    assert machine.timeout(1e9) == []
    with pytest.raises(ProtocolError):
        machine.receive(event, 0.0)  # type: ignore[arg-type]


# -- whatever comes -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 20.0),
            st.one_of(
                st.sampled_from([PowerUp(), ButtonPressed(), Demand(), Trigger()]),
                st.builds(
                    down,
                    st.sampled_from([SND_NKE, SND_UD, SND_UD2, REQ_UD1, REQ_UD2, ACK, CNF_IR, 0x45]),
                    st.integers(0, 3),
                    ella=st.sampled_from([None, METER, STRANGER]),
                ),
                st.binary(max_size=30),
            ),
        ),
        max_size=40,
    ),
    st.sampled_from(["short", "permanent"]),
)
def test_whatever_comes_the_machine_goes_on(steps: list[tuple[float, object]], access: str) -> None:
    bench, machine, endpoint = device(access=access, nominal=15.0, repetition=2)
    endpoint.fragments = (b"one", b"two")
    for pause, event in steps:
        bench.run(bench.now + pause)
        if isinstance(event, bytes):
            started = machine._open if machine.state in (State.LISTENING, State.ATTENTIVE) else bench.now
            bench.post(Heard(event, started))
        else:
            bench.post(event)
        assert machine.deadline is not None
    bench.run(bench.now + 200.0)
    assert machine.state in (State.IDLE, State.LISTENING, State.SENDING, State.ANSWERING, State.ATTENTIVE, State.PAUSING)
    assert any(time > bench.now - 40 for time, _ in bench.frames)


def test_kinds_of_the_interface_are_all_known() -> None:
    bench, _, endpoint = device(plan=SlotPlan(nominal=100.0, ratio=2), demand_limit=2)
    for kind in ("data", "static", "consumer"):
        bench.post(Trigger(kind))
        bench.next_frame()
    bench.post(ButtonPressed())
    bench.post(Demand())
    bench.run(600.0)
    assert {call[0] for call in endpoint.calls} == {"power_up", *BODIES}


def test_interval_helper_agrees_with_the_device() -> None:
    bench, _, _ = device(access="none", nominal=60.0)
    bench.run(600.0)
    for (first, frame), (second, _) in pairwise(bench.frames):
        assert second - first == pytest.approx(individual_interval(60.0, frame[12]))
