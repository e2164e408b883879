"""The consumer display: what it shows, and everything that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.address import Address
from openmetering.codec.ell import CommunicationControl
from openmetering.errors import InputError, ProtocolError
from openmetering.protocol.events import Heard, PowerUp
from openmetering.protocol.radio.display import (
    CONSUMER_KEY,
    ConsumerDisplay,
    ConsumerHeard,
    DisplayState,
    Forget,
    Register,
    Shown,
)
from openmetering.protocol.radio.events import Ignored
from openmetering.protocol.radio.steps import Stray
from openmetering.security import KeyRing
from openmetering.telegram import Meter, Telegram, compose, encode
from tests.fleet import KEY, address, radio, volume

METER = address()
OTHER = address(87654321)
CONSUMER = bytes(range(16, 32))


def keys(key: bytes = CONSUMER, key_id: int | None = CONSUMER_KEY, pattern: str = "*") -> KeyRing:
    ring = KeyRing()
    ring.add(pattern, key, key_id)
    return ring


def consumer(
    value: int = 1234,
    *,
    meter: Address = METER,
    profile: str = "B",
    counter: int = 1,
    key: bytes = CONSUMER,
    key_id: int = CONSUMER_KEY,
    content: int = 0,
    index: int = 3,
    control: int = 0x44,
    status: int = 0,
) -> bytes:
    """A telegram of UC-07b."""
    sender = Meter(meter, profile, communication_control=CommunicationControl(0x20), key_id=key_id)
    telegram = compose(
        sender, volume(value), access_number=counter & 0xFF, status=status, counter=counter, control=control, content=content,
        content_index=index,
    )  # fmt: skip
    return encode(telegram, keys(key, key_id))


def display(*registered: Address) -> ConsumerDisplay:
    machine = ConsumerDisplay()
    machine.receive(PowerUp(), 0.0)
    for meter in registered or (METER,):
        assert machine.receive(Register(meter, keys()), 0.0) == []
    return machine


def values(machine: ConsumerDisplay, meter: Address = METER) -> list[str]:
    return [str(record.value) for record in machine.latest[meter].records]


@pytest.mark.parametrize("profile", ["B", "D"])
def test_consumer_information_is_shown(profile: str) -> None:
    machine = display()
    (shown,) = machine.receive(Heard(consumer(4711, profile=profile, status=4), 9.9), 10.0)
    assert isinstance(shown, Shown)
    assert (shown.address, shown.status, shown.at) == (METER, 4, 10.0)
    assert values(machine) == ["47.11"]
    machine.receive(Heard(consumer(4712, profile=profile, counter=2), 19.9), 20.0)
    assert values(machine) == ["47.12"]
    assert machine.latest[METER].at == 20.0


def test_meters_do_not_mix() -> None:
    machine = display(METER, OTHER)
    machine.receive(Heard(consumer(1), 0.0), 1.0)
    machine.receive(Heard(consumer(2, meter=OTHER), 0.0), 2.0)
    assert (values(machine), values(machine, OTHER)) == (["0.01"], ["0.02"])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (consumer(meter=OTHER), "not-registered"),
        (consumer(key_id=0), "not-consumer"),
        (consumer(index=2), "not-consumer"),
        (consumer(content=2), "not-consumer"),
        (radio(), "not-consumer"),
        (radio(profile="A"), "not-consumer"),
        (radio(profile="B", counter=1), "not-consumer"),
        (consumer(key=KEY), "security"),
        (consumer()[:-1] + b"\x00", "security"),
        (consumer(control=0x08), "message"),
        (consumer(control=0x46), "message"),
        (b"", "message"),
        (b"\x44", "message"),
        (b"\x02\x44\x00", "unreadable"),
        (radio()[:10], "unreadable"),
    ],
)
def test_everything_else_is_ignored(frame: bytes, reason: str) -> None:
    machine = display()
    assert machine.receive(Heard(frame, 0.0), 1.0) == [Ignored(reason, frame)]  # type: ignore[arg-type]
    assert machine.latest == {}


def test_copies_and_replays() -> None:
    machine = display()
    frame = consumer(5, counter=7)
    machine.receive(Heard(frame, 0.0), 1.0)
    copy = frame[:11] + bytes((frame[11] | 0x10,)) + frame[12:]
    assert machine.receive(Heard(copy, 0.0), 16.0) == [Ignored("copy", copy)]
    old = consumer(4, counter=6)
    assert machine.receive(Heard(old, 0.0), 17.0) == [Ignored("security", old)]
    assert values(machine) == ["0.05"]


@pytest.mark.parametrize("ring", [keys(key_id=0), keys(key_id=None), KeyRing(), keys(key_id=0x18)])
def test_keys_that_are_not_the_consumers(ring: KeyRing) -> None:
    machine = display()
    with pytest.raises(InputError):
        machine.receive(Register(OTHER, ring), 0.0)
    assert machine.receive(Heard(consumer(meter=OTHER), 0.0), 0.0) == [Ignored("not-registered", consumer(meter=OTHER))]


def test_a_key_of_one_meter_opens_no_other() -> None:
    machine = display()
    machine.receive(Register(OTHER, keys(KEY)), 0.0)
    frame = consumer(meter=OTHER)
    assert machine.receive(Heard(frame, 0.0), 0.0) == [Ignored("security", frame)]


def test_a_forgotten_meter() -> None:
    machine = display(METER, OTHER)
    machine.receive(Heard(consumer(), 0.0), 1.0)
    machine.receive(Forget(METER), 2.0)
    machine.receive(Forget(address(5)), 2.0)
    assert machine.latest == {}
    assert machine.receive(Heard(consumer(counter=2), 0.0), 3.0) == [Ignored("not-registered", consumer(counter=2))]
    assert machine.receive(Heard(consumer(meter=OTHER), 0.0), 3.0)


def test_values_survive_a_power_cut_and_nothing_is_ever_due() -> None:
    machine = display()
    machine.receive(Heard(consumer(), 0.0), 1.0)
    assert machine.receive(PowerUp(), 2.0) == []
    assert METER in machine.latest
    assert machine.deadline is None
    assert machine.timeout(1e9) == []
    assert machine.listening(3.0)


EVENTS: dict[type, object] = {
    PowerUp: PowerUp(),
    Register: Register(METER, keys()),
    Forget: Forget(METER),
    Stray: Stray("message", b""),
}


@pytest.mark.parametrize("state", DisplayState)
@pytest.mark.parametrize("kind", [*EVENTS, ConsumerHeard])
def test_every_pair_of_state_and_event(state: DisplayState, kind: type) -> None:
    machine = display()
    machine.state = state
    telegram = compose(Meter(METER), volume(1), access_number=1)
    telegram.read_records = ()
    event = EVENTS.get(kind) or ConsumerHeard(telegram)
    row = ConsumerDisplay.TRANSITIONS.get((state, kind))
    if row is None:
        with pytest.raises(ProtocolError) as caught:
            machine._step(event, 1.0)
        assert caught.value.state == state.name
    else:
        machine._step(event, 1.0)
        assert machine.state is row[1]


def test_without_power_nothing_is_heard() -> None:
    machine = ConsumerDisplay()
    assert not machine.listening(0.0)
    with pytest.raises(ProtocolError):
        machine.receive(Heard(consumer(), 0.0), 0.0)
    assert {event for _, event in ConsumerDisplay.TRANSITIONS} == {*EVENTS, ConsumerHeard}


@given(st.binary(max_size=60))
def test_whatever_is_heard(octets: bytes) -> None:
    machine = display()
    frame = bytes((9 + len(octets), 0x44)) + METER.link_octets() + octets
    (out,) = machine.receive(Heard(frame, 0.0), 0.0)
    assert isinstance(out, Ignored)
    assert isinstance(compose(Meter(METER), b""), Telegram)
