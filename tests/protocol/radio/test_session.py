"""Which datagrams are meant for a device, and which answer each of them gets."""

from __future__ import annotations

import pytest

from openmetering.codec.address import Address
from openmetering.protocol.device.interface import DeviceEvent, Taken
from openmetering.protocol.radio.datagram import read
from openmetering.protocol.radio.events import RadioConfig, Reason
from openmetering.protocol.radio.session import ANSWERED, Reaction, Session, StoredAnswer
from tests.protocol.fake_endpoint import GATEWAY, METER, OTHER_GATEWAY, STRANGER, FakeEndpoint
from tests.protocol.radio_bench import ACK, CNF_IR, REQ_UD1, REQ_UD2, SND_NKE, SND_UD, SND_UD2, down

GATEWAY_OCTETS = GATEWAY.link_octets()


def session(**options: object) -> tuple[Session, FakeEndpoint]:
    endpoint = FakeEndpoint()
    return Session(RadioConfig(access="short", **options), endpoint), endpoint  # type: ignore[arg-type]


def react(machine: Session, frame: bytes, now: float = 0.0) -> Reaction:
    return machine.react(frame, read(frame), now)


# -- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ala", "ella", "reason"),
    [
        (METER, None, None),
        (METER, METER, None),
        (None, METER, None),
        (None, None, "address"),
        (STRANGER, None, "address"),
        (STRANGER, METER, "address"),
        (METER, STRANGER, "address"),
        (None, STRANGER, "address"),
    ],
)
def test_both_addresses_must_be_right(ala: Address | None, ella: Address | None, reason: Reason | None) -> None:
    machine, _ = session()
    assert machine.refusal(read(down(REQ_UD2, 1, ala=ala, ella=ella)), METER) == reason


@pytest.mark.parametrize(("ella", "reason"), [(STRANGER, None), (METER, "address"), (None, None)])
def test_behind_an_adapter_the_link_has_its_own_address(ella: Address | None, reason: Reason | None) -> None:
    machine, _ = session()
    assert machine.refusal(read(down(REQ_UD2, 1, ella=ella)), STRANGER) == reason


@pytest.mark.parametrize("c_field", [0x44, 0x46, 0x47, 0x48, 0x08, 0x18, 0x01, 0x31])
def test_frames_of_other_devices(c_field: int) -> None:
    machine, _ = session()
    assert machine.refusal(read(down(c_field, 1)), METER) == "uplink"


@pytest.mark.parametrize("c_field", [SND_NKE, SND_UD2, SND_UD, REQ_UD1, REQ_UD2, ACK, CNF_IR, 0x45, 0x7B])
def test_frames_of_partners(c_field: int) -> None:
    machine, _ = session()
    assert machine.refusal(read(down(c_field, 1)), METER) is None


def test_mode_c_needs_the_extended_link_layer() -> None:
    frame = down(REQ_UD2, 1)
    bare = bytes((frame[0] - 3,)) + frame[1:10] + frame[13:]
    assert session()[0].refusal(read(bare), METER) == "no-ell"
    assert session(mode="S")[0].refusal(read(bare), METER) is None
    machine, endpoint = session(mode="T")
    assert react(machine, bare).answer == StoredAnswer("RSP-UD", 0x08, 1, b"\x72answer")
    assert endpoint.names("respond") == [("respond", (1, 235))]


# -- answers ----------------------------------------------------------------------------------------------


def test_a_command_is_acknowledged() -> None:
    machine, endpoint = session()
    frame = down(SND_UD, 5, transport=9, ci=0x5B, payload=b"\x01\x02")
    reaction = react(machine, frame)
    assert reaction == Reaction(
        StoredAnswer("ACK", 0x00, 5, bytes((0x8A, 9, 0, 0, 0))), events=(DeviceEvent("executed", value=7),)
    )
    assert endpoint.names("take") == [("take", frame)]


def test_the_same_number_repeats_the_answer_and_executes_nothing() -> None:
    machine, endpoint = session()
    first = react(machine, down(SND_UD, 5))
    endpoint.taken = Taken(True, status=2)
    again = react(machine, down(SND_UD, 5))
    assert again.answer == first.answer == machine.answer
    assert again.events == ()
    assert len(endpoint.names("take")) == 1
    assert react(machine, down(SND_UD, 6)).answer == StoredAnswer("ACK", 0x00, 6, bytes((0x8A, 1, 2, 0, 0)))
    assert react(machine, down(SND_UD, 5)).answer is not None
    assert len(endpoint.names("take")) == 3


def test_the_same_number_of_another_partner_is_new() -> None:
    machine, endpoint = session()
    react(machine, down(SND_UD, 5))
    react(machine, down(SND_UD, 5, sender=OTHER_GATEWAY))
    assert len(endpoint.names("take")) == 2


def test_a_forgotten_number_is_new() -> None:
    machine, endpoint = session()
    react(machine, down(SND_UD, 5))
    machine.forget()
    assert machine.answer is None
    react(machine, down(SND_UD, 5))
    assert len(endpoint.names("take")) == 2


def test_a_command_that_the_application_does_not_take() -> None:
    machine, endpoint = session()
    endpoint.taken = Taken(False, events=(DeviceEvent("application"),))
    for _ in range(2):
        assert react(machine, down(SND_UD, 5)) == Reaction(None, "not-mine", (DeviceEvent("application"),))
    assert react(machine, down(SND_UD2, 5)).answer is None
    assert len(endpoint.names("take")) == 3
    assert not endpoint.names("respond")


def test_a_command_with_an_answer() -> None:
    machine, endpoint = session()
    reaction = react(machine, down(SND_UD2, 7, transport=3))
    assert reaction.answer == StoredAnswer("RSP-UD", 0x08, 7, b"\x72answer")
    assert reaction.events == (DeviceEvent("executed", value=7),)
    assert endpoint.names("take", "respond") == [("take", down(SND_UD2, 7, transport=3)), ("respond", (3, 235))]


def test_a_command_with_an_answer_that_is_not_supported_is_acknowledged_and_not_executed() -> None:
    """The partner sends it again with SND-UD: whatever is executed here would be executed twice."""
    machine, endpoint = session(command_answer=False)
    reaction = react(machine, down(SND_UD2, 7))
    assert reaction.answer is not None
    assert reaction.answer.message == "ACK"
    assert not endpoint.calls
    react(machine, down(SND_UD, 8))
    assert len(endpoint.names("take")) == 1


def test_a_fragment_of_a_command_with_answer_is_acknowledged() -> None:
    machine, endpoint = session()
    endpoint.taken = Taken(True, complete=False)
    answer = react(machine, down(SND_UD2, 7)).answer
    assert answer is not None
    assert answer.message == "ACK"


def test_fragments_of_a_command_copy_the_transport_number_of_the_first() -> None:
    machine, endpoint = session()
    endpoint.taken = Taken(True, complete=False)
    react(machine, down(SND_UD, 5, transport=77, ella=METER))
    later = react(machine, down(SND_UD, 6, ala=None, ella=METER)).answer
    assert later == StoredAnswer("ACK", 0x00, 6, bytes((0x8A, 77, 0, 0, 0)), GATEWAY_OCTETS)


def test_a_request_is_answered() -> None:
    machine, _ = session(send_limit=155)
    assert react(machine, down(REQ_UD2, 8, transport=4)).answer == StoredAnswer("RSP-UD", 0x08, 8, b"\x72answer")


def test_a_request_with_a_link_address_gets_one() -> None:
    machine, _ = session()
    answer = react(machine, down(REQ_UD2, 8, ella=METER)).answer
    assert answer == StoredAnswer("RSP-UD", 0x08, 8, b"\x72answer", GATEWAY_OCTETS)


def test_every_new_request_is_answered_afresh() -> None:
    machine, endpoint = session()
    react(machine, down(REQ_UD2, 8, transport=4))
    react(machine, down(REQ_UD2, 9, transport=4))
    react(machine, down(REQ_UD2, 10, transport=5))
    assert [call[1] for call in endpoint.names("respond")] == [(4, 235), (4, 235), (5, 235)]


def test_fragments_one_a_request() -> None:
    """Annex N.3: link numbers 11h, 12h, 13h; transport number 05h; ELLA in every fragment."""
    machine, endpoint = session()
    endpoint.fragments = (b"one", b"two", b"three")
    bodies = []
    for number, ala in ((0x11, METER), (0x12, None), (0x12, None), (0x13, None), (0x13, None)):
        answer = react(machine, down(REQ_UD2, number, ala=ala, ella=METER if ala is None else None, transport=5)).answer
        assert answer is not None
        assert (answer.destination, answer.access_number) == (GATEWAY_OCTETS, number)
        bodies.append(answer.body)
    assert bodies == [b"one", b"two", b"two", b"three", b"three"]
    assert endpoint.names("respond") == [("respond", (5, 235))]


def test_behind_the_last_fragment_the_answer_begins_anew() -> None:
    machine, endpoint = session()
    endpoint.fragments = (b"one", b"two")
    for number in (1, 2, 3):
        answer = react(machine, down(REQ_UD2, number, transport=5)).answer
    assert answer is not None
    assert answer.body == b"one"
    assert endpoint.names("respond") == [("respond", (5, 235))] * 2


def test_another_transport_number_is_another_request() -> None:
    machine, endpoint = session()
    endpoint.fragments = (b"one", b"two")
    react(machine, down(REQ_UD2, 1, transport=5))
    answer = react(machine, down(REQ_UD2, 2, transport=6)).answer
    assert answer is not None
    assert answer.body == b"one"


def test_a_command_ends_a_fragmented_answer() -> None:
    machine, endpoint = session()
    endpoint.fragments = (b"one", b"two")
    react(machine, down(REQ_UD2, 1, transport=5))
    react(machine, down(SND_UD, 2, transport=5))
    answer = react(machine, down(REQ_UD2, 3, transport=5)).answer
    assert answer is not None
    assert answer.body == b"one"


def test_an_empty_answer_is_none() -> None:
    machine, endpoint = session()
    endpoint.fragments = ()
    assert react(machine, down(REQ_UD2, 1)) == Reaction(None, "no-answer")
    assert react(machine, down(SND_UD2, 2)) == Reaction(None, "no-answer", (DeviceEvent("executed", value=7),))


def test_alarms() -> None:
    machine, endpoint = session()
    endpoint.alarms = [b"\x75alarm", None]
    assert react(machine, down(REQ_UD1, 1)).answer == StoredAnswer("RSP-UD", 0x08, 1, b"\x75alarm")
    assert react(machine, down(REQ_UD1, 2, transport=6)).answer == StoredAnswer("ACK", 0x00, 2, bytes((0x8A, 6, 0, 0, 0)))


@pytest.mark.parametrize("c_field", [0x45, 0x42, 0x4F, 0xC0])
def test_an_unknown_c_field_is_refused(c_field: int) -> None:
    machine, endpoint = session()
    answer = react(machine, down(c_field, 3, transport=2)).answer
    assert answer == StoredAnswer("NACK", 0x01, 3, bytes((0x8A, 2, 0, 0, 0)))
    assert not endpoint.calls


@pytest.mark.parametrize("c_field", [SND_UD, SND_UD2])
def test_a_command_that_does_not_fit_the_buffer_is_refused(c_field: int) -> None:
    machine, endpoint = session()
    size = 155 - 9 - 3 - 13
    assert react(machine, down(c_field, 3, payload=bytes(size + 1))).answer == StoredAnswer(
        "NACK", 0x01, 3, bytes((0x8A, 1, 0, 0, 0))
    )
    assert not endpoint.calls
    answer = react(machine, down(c_field, 4, payload=bytes(size))).answer
    assert answer is not None
    assert answer.message != "NACK"
    machine, _ = session(receive_limit=255)
    answer = react(machine, down(c_field, 3, payload=bytes(size + 1))).answer
    assert answer is not None
    assert answer.message != "NACK"


def test_every_answered_message_is_in_the_table() -> None:
    assert set(ANSWERED) == {"SND-UD", "SND-UD2", "REQ-UD1", "REQ-UD2"}
