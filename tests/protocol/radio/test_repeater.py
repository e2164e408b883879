"""The unidirectional repeater: what it repeats, when, how marked; its own SND-NKE and data; its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.address import Address, flag_value
from openmetering.codec.link.wireless import strip_crc
from openmetering.errors import ProtocolError
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.radio.credits import airtime
from openmetering.protocol.radio.datagram import SND_IR, SND_NR, datagram, read
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import ButtonPressed, Ignored, Omitted, RadioConfig
from openmetering.protocol.radio.repeater import (
    QUEUE,
    CopyDue,
    CopyLost,
    CopySent,
    LinkBits,
    Repeatable,
    RepeaterConfig,
    RepeaterState,
    ResetDue,
    UnidirectionalRepeater,
    Waiting,
    link_bits,
    marked,
)
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.protocol.radio.steps import Stray, Withheld
from openmetering.telegram import decode
from tests.fleet import KEY, radio, ring
from tests.protocol.fake_endpoint import BODIES, METER, FakeEndpoint
from tests.protocol.radio_bench import Bench, dice

REPEATER = Address(flag_value("XYZ"), "00000032", 0x01, 0x32)
OWN = REPEATER.link_octets()


def bench(*numbers: float, own: bool = False, **options: object) -> tuple[Bench, UnidirectionalRepeater]:
    """A repeater with power; without own data unless asked for (first at 50 s, every 100 s)."""
    config = RepeaterConfig(**options)  # type: ignore[arg-type]
    duty = UnidirectionalRepeater.shared_duty(config)
    device = None
    if own:
        device = RadioDevice(RadioConfig(plan=SlotPlan(nominal=100.0)), FakeEndpoint(REPEATER), DeviceMemory(), dice(), duty=duty)
    machine = UnidirectionalRepeater(config, REPEATER, dice(*numbers), own=device, duty=duty)
    made = Bench(machine, mode=config.mode)  # type: ignore[arg-type]
    made.post(PowerUp())
    return made, machine


def heard(frame: bytes, rssi: float | None = None) -> Heard:
    return Heard(frame, 0.0, rssi)


# -- the link bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "bits"),
    [
        (radio(ell=0x20), LinkBits(11, 0x10, 0x02)),
        (radio(), LinkBits(13, 0x01, 0x02)),
        (radio(profile="A"), LinkBits(13, 0x01, 0x02)),
        (radio(profile="B", counter=1), None),
        (radio(profile="B", counter=1, ell=0x20), LinkBits(11, 0x10, 0x02)),
        (radio(profile="D", counter=1), None),
        (datagram(SND_NR, OWN, b"\x72" + METER.transport_octets() + bytes(4)), LinkBits(21, 0x01, 0x02)),
        (datagram(SND_NR, OWN, b"\x78" + bytes(20)), None),
        (datagram(SND_NR, OWN, b"\xfe" + bytes(20)), None),
        (datagram(SND_NR, OWN, b"\x7a\x00\x00\x00"), None),
        (datagram(SND_NR, OWN, b""), None),
    ],
)
def test_place_of_the_link_bits(frame: bytes, bits: LinkBits | None) -> None:
    assert link_bits(frame) == bits


@pytest.mark.parametrize("options", [{"ell": 0x20}, {}, {"profile": "A"}, {"profile": "B", "counter": 7, "ell": 0xA0}])
def test_a_copy_opens_with_the_same_key(options: dict[str, object]) -> None:
    frame = radio(**options)  # type: ignore[arg-type]
    bits = link_bits(frame)
    assert bits is not None
    copy = marked(frame, bits)
    assert sum(one != other for one, other in zip(frame, copy, strict=True)) == 1
    one, other = decode(frame, ring(KEY)), decode(copy, ring(KEY))
    assert one.payload == other.payload
    assert one.security == other.security


# -- what is repeated ------------------------------------------------------------------------------------------


def test_a_datagram_is_repeated_once_between_5_and_25_seconds_later() -> None:
    for number, delay in ((0.0, 5.0), (0.5, 15.0), (0.999, 24.98)):
        made, machine = bench(0.5, number)
        frame = radio(ell=0xA0)
        assert made.post(heard(frame), 100.0) == []
        assert machine.deadline == pytest.approx(100.0 + delay)
        made.run(1000.0)
        assert made.frames == [(pytest.approx(100.0 + delay), frame[:11] + b"\xb0" + frame[12:])]
        assert made.transmits[0].downlink is False
        assert machine.state is RepeaterState.READY
        assert machine.deadline is None


def test_copies_leave_in_the_order_of_their_times() -> None:
    made, _ = bench(0.5, 0.9, 0.1, 0.5)
    for value in (1, 2, 3):
        made.post(heard(radio(value, ell=0x20)))
    made.run(100.0)
    assert [frame[-4:-2] for _, frame in made.frames] == [radio(value, ell=0x20)[-4:-2] for value in (2, 3, 1)]
    assert [time for time, _ in made.frames] == pytest.approx([7.0, 15.0, 23.0])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (radio(ell=0x30), "repeated"),
        (radio(ell=0x22), "repeated"),
        (radio(hop=True), "repeated"),
        (radio(profile="B", counter=1), "no-link-bits"),
        (datagram(0x47, OWN, b"\x7a", 0x20, 1), "message"),
        (datagram(0x48, OWN, b"\x7a", 0x20, 1), "message"),
        (datagram(0x08, OWN, b"\x7a", 0x20, 1), "message"),
        (datagram(0x53, OWN, b"\x5b", 0x20, 1), "message"),
        (radio(ell=0x20)[:-1], "unreadable"),
        (b"\x02\x44\x00", "unreadable"),
    ],
)
def test_what_is_not_repeated(frame: bytes, reason: str) -> None:
    made, machine = bench()
    assert made.post(heard(frame)) == [Ignored(reason, frame)]  # type: ignore[arg-type]
    assert machine.deadline is None


def test_a_copy_is_never_repeated_again() -> None:
    made, _ = bench()
    made.post(heard(radio(ell=0x20)))
    copy = made.next_frame()
    assert made.post(heard(copy)) == [Ignored("repeated", copy)]


def test_only_some_manufacturers() -> None:
    made, _ = bench(manufacturers=(flag_value("ABC"),))
    other = radio(ell=0x20)
    assert made.post(heard(other)) == [Ignored("filtered", other)]
    mine = other[:2] + flag_value("ABC").to_bytes(2, "little") + other[4:]
    made.post(heard(mine))
    assert made.next_frame()[:10] == mine[:10]


def test_the_queue_holds_fifteen() -> None:
    made, _ = bench()
    for value in range(QUEUE):
        assert made.post(heard(radio(value, ell=0x20))) == []
    assert made.post(heard(radio(99, ell=0x20))) == [Omitted("SND-NR", "queue-full")]
    made.run(100.0)
    assert len(made.frames) == QUEUE
    assert made.post(heard(radio(99, ell=0x20))) == []


def test_the_duty_cycle_drops_copies() -> None:
    made, machine = bench(share=0.02 / 3600)
    for value in range(10):
        made.post(heard(radio(value, ell=0x20)))
    made.run(100.0)
    dropped = made.of(Omitted)
    assert set(dropped) == {Omitted("SND-NR", "duty-cycle")}
    assert 0 < len(made.frames) < 10
    assert len(made.frames) + len(dropped) == 10
    assert machine.state is RepeaterState.READY


def test_a_copy_that_never_left() -> None:
    made, machine = bench()
    made.lose = True
    made.post(heard(radio(ell=0x20)))
    made.run(15.0)
    assert machine.state is RepeaterState.SENDING
    assert not machine.listening(made.now)
    made.run(16.1)
    assert machine.state is RepeaterState.READY
    assert made.post(Sent(b"late", 16.0)) == []
    assert machine.listening(made.now)


def test_early_timeouts_do_nothing() -> None:
    _, machine = bench()
    assert machine.timeout(1e9) == []
    machine.receive(heard(radio(ell=0x20)), 0.0)
    assert machine.timeout(1.0) == []


# -- installation ------------------------------------------------------------------------------------------------

INSTALLATION = strip_crc(
    bytes.fromhex(
        "51469315785634123303EFB58C80457A01004805D2B70B3FBC1A1580C85ED79B92CAA1D95341B609EF603AD36294853A72B2067D26BD2B5F"
        "DDC2374D29D0CD08AB4858C5614E8B56E6C2175962DB0F01AA2A62E1A7B12EE4B5F63F440569"
    ),
    "A",
)


def test_behind_a_repeated_installation_request_comes_a_link_reset() -> None:
    """The request of Annex N.7, heard at -80 dBm."""
    made, _ = bench(0.5, 0.0, 0.5)
    made.post(heard(INSTALLATION, -80.4), 10.0)
    made.run(100.0)
    (first, copy), (second, reset) = made.frames
    assert first == 15.0
    assert copy == INSTALLATION[:11] + b"\x90" + INSTALLATION[12:]
    assert second == pytest.approx(15.0 + 3.5, abs=0.02)
    assert reset == bytes.fromhex("1940") + OWN + bytes.fromhex("8C0081 80 78563412 9315 33 03 81 19 0000".replace(" ", ""))
    assert made.transmits[1].downlink is True
    found = read(reset)
    assert (found.message, found.application, found.status) == ("SND-NKE", METER, 0x19)


@pytest.mark.parametrize(("number", "delay"), [(0.0, 2.0), (0.999, 5.0)])
def test_delay_of_the_link_reset(number: float, delay: float) -> None:
    made, _ = bench(0.5, 0.0, number)
    made.post(heard(INSTALLATION))
    made.run(60.0)
    assert made.frames[1][0] - made.frames[0][0] == pytest.approx(delay, abs=0.02)
    assert made.frames[1][1][-3] == 0


def test_a_repeated_request_behind_an_adapter_resets_the_meter() -> None:
    made, _ = bench()
    frame = datagram(SND_IR, OWN, b"\x72" + METER.transport_octets() + bytes(4), 0x80, 7)
    made.post(heard(frame))
    made.run(100.0)
    assert read(made.frames[1][1]).application == METER


def test_no_link_reset_where_the_headers_cannot_be_read() -> None:
    made, _ = bench()
    made.post(heard(datagram(SND_IR, OWN, b"\x8d\x20\x01" + bytes(8))))
    made.run(100.0)
    assert len(made.frames) == 1


# -- data about itself ---------------------------------------------------------------------------------------------


def test_own_data_between_the_copies() -> None:
    made, machine = bench(0.5, 0.0, own=True)
    made.post(heard(radio(ell=0x20)), 40.0)
    made.run(300.0)
    kinds = [frame[2:10] == OWN for _, frame in made.frames]
    assert kinds == [False, True, True, True]
    assert made.frames[1][0] == 50.0
    assert made.frames[1][1] == datagram(SND_NR, OWN, BODIES["data"], 0x20, 129)
    assert machine.state is RepeaterState.READY


def test_copies_keep_away_from_the_own_grid() -> None:
    made, machine = bench(0.5, 0.2, own=True)
    made.post(heard(radio(ell=0x20)), 40.7)
    made.run(49.6)
    assert not made.frames
    made.run(60.0)
    assert [time for time, _ in made.frames] == [50.0, 50.5]
    assert machine.listening(60.0)


def test_not_listening_while_own_data_leave() -> None:
    _, machine = bench(own=True)
    machine.timeout(50.0)
    assert not machine.listening(50.001)
    machine.receive(Sent(datagram(SND_NR, OWN, BODIES["data"], 0x20, 129), 50.0), 50.004)
    assert machine.listening(50.1)


def test_the_button_of_the_repeater() -> None:
    made, _ = bench(own=True)
    made.post(ButtonPressed())
    made.run(31.0)
    assert made.frames[0][1] == datagram(SND_IR, OWN, BODIES["install"], 0, 128)
    made, _ = bench()
    assert made.post(ButtonPressed()) == []


def test_own_data_share_the_duty_cycle() -> None:
    made, _ = bench(own=True, share=0.02 / 3600)
    for value in range(12):
        made.post(heard(radio(value, ell=0x20)))
    made.run(60.0)
    assert Omitted("SND-NR", "duty-cycle") in made.of(Omitted)
    assert sum(airtime("C", len(frame)) for _, frame in made.frames) <= 0.02


# -- the table -------------------------------------------------------------------------------------------------------

FRAME = radio(ell=0x20)
EVENTS: dict[type, object] = {
    PowerUp: PowerUp(), ButtonPressed: ButtonPressed(), Stray: Stray("message", b""), CopyDue: CopyDue(), ResetDue: ResetDue(),
    Repeatable: Repeatable(FRAME, LinkBits(11, 0x10, 2), None), CopySent: CopySent(Sent(FRAME, 0.0)), CopyLost: CopyLost(),
    Withheld: Withheld(),
}  # fmt: skip


@pytest.mark.parametrize("state", RepeaterState)
@pytest.mark.parametrize("kind", EVENTS)
def test_every_pair_of_state_and_event(state: RepeaterState, kind: type) -> None:
    _, machine = bench()
    machine._copies.append(Waiting(0.0, FRAME))
    machine._resets.append(Waiting(0.0, FRAME))
    machine.state = state
    row = UnidirectionalRepeater.TRANSITIONS.get((state, kind))
    if row is None:
        with pytest.raises(ProtocolError) as caught:
            machine._step(EVENTS[kind], 1.0)
        assert (caught.value.state, caught.value.event) == (state.name, kind.__name__)
    else:
        machine._step(EVENTS[kind], 1.0)
        assert machine.state is row[1]


def test_the_table_has_known_events_only() -> None:
    assert {event for _, event in UnidirectionalRepeater.TRANSITIONS} == set(EVENTS)


def test_without_power() -> None:
    machine = UnidirectionalRepeater(RepeaterConfig(), REPEATER, dice())
    for event in (heard(FRAME), Sent(FRAME, 0.0), ButtonPressed()):
        with pytest.raises(ProtocolError):
            machine.receive(event, 0.0)
    assert not machine.listening(0.0)


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_whatever_is_heard(frames: list[bytes]) -> None:
    made, machine = bench()
    for octets in frames:
        made.post(heard(octets))
        made.post(heard(bytes((1 + len(octets), 0x44)) + octets))
    made.run(100.0)
    assert machine.state is RepeaterState.READY
    assert all(isinstance(event, (Ignored, Transmit, Omitted)) for _, event in made)
