"""Message counters: new, copy, replay; own counters; persistence."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import OutOfRange, Replayed, SecurityError
from openmetering.security import CounterLedger, LedgerSnapshot, PeerCounter, message_digest
from openmetering.security.counters import COUNTER_END, SERVICE_CONDITION

METER = bytes.fromhex("9315785634123303")
OTHER = bytes.fromhex("9344443322115537")
ONE, TWO = message_digest(b"one message"), message_digest(b"another message")


def test_digest():
    assert len(ONE) == 16
    assert ONE == message_digest(b"one message") != TWO


# -- accept -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1, 2739, COUNTER_END])
def test_a_gateway_takes_the_first_counter_as_it_is(first):
    ledger = CounterLedger()
    assert ledger.accept(METER, 0, None, first, ONE) == "new"
    assert ledger.entry(METER) == PeerCounter(METER, 0, None, first, first, ONE)


def test_higher_is_new_equal_is_a_copy_lower_is_a_replay():
    ledger = CounterLedger()
    ledger.accept(METER, 0, None, 10, ONE)
    assert ledger.accept(METER, 0, None, 10, ONE) == "duplicate"
    assert ledger.accept(METER, 0, None, 11, TWO) == "new"
    with pytest.raises(Replayed) as caught:
        ledger.accept(METER, 0, None, 10, ONE)
    assert (caught.value.code, caught.value.address) == ("counter.replayed", "ELS-12345678-33-03")
    assert ledger.accept(METER, 0, None, 5000, ONE) == "new", "there is no upper window"


def test_the_last_counter_with_other_octets_is_a_replay():
    ledger = CounterLedger()
    ledger.accept(METER, 0, None, 10, ONE)
    with pytest.raises(Replayed, match="another message"):
        ledger.accept(METER, 0, None, 10, TWO)
    assert ledger.accept(METER, 0, None, 10, ONE) == "duplicate", "nothing was changed by the refusal"


def test_peers_keys_and_versions_have_their_own_counters():
    ledger = CounterLedger()
    for address, key_id, version in ((METER, 0, None), (OTHER, 0, None), (METER, 1, None), (METER, 0, 1), (METER, 0, 2)):
        assert ledger.accept(address, key_id, version, 10, ONE) == "new"
    assert len(ledger) == 5
    for number in range(11, 200):
        ledger.accept(METER, 0, None, number, ONE)
    assert len(ledger) == 5, "one entry a peer, not a message"


def test_a_message_under_the_old_key_is_still_held_against_its_counter():
    ledger = CounterLedger()
    ledger.accept(METER, 0, 1, 900, ONE)
    ledger.accept(METER, 0, 2, 1, ONE)
    with pytest.raises(Replayed):
        ledger.accept(METER, 0, 1, 899, TWO)


def test_a_device_wants_more_than_its_own_counter():
    device = CounterLedger("device")
    with pytest.raises(Replayed):
        device.accept(METER, 0, None, 0, ONE)
    for _ in range(5):
        device.reserve(METER)
    for late in (4, 5):
        with pytest.raises(Replayed, match="not above 5"):
            device.accept(METER, 0, None, late, ONE)
    assert device.accept(METER, 0, None, 6, ONE) == "new"
    assert device.reserve(METER) == 7
    assert device.accept(METER, 0, None, 6, ONE) == "duplicate", "the answer is repeated"
    with pytest.raises(Replayed):
        device.accept(METER, 0, None, 7, TWO)


@pytest.mark.parametrize("counter", [-1, 1 << 32])
def test_a_counter_has_32_bits(counter):
    with pytest.raises(OutOfRange):
        CounterLedger().accept(METER, 0, None, counter, ONE)


@given(st.lists(st.integers(0, 60), max_size=60))
def test_no_counter_is_ever_new_twice(counters):
    ledger = CounterLedger()
    accepted = []
    for counter in counters:
        try:
            verdict = ledger.accept(METER, 0, None, counter, ONE)
        except Replayed:
            assert counter < accepted[-1]
            continue
        if verdict == "new":
            accepted.append(counter)
        else:
            assert counter == accepted[-1]
    assert accepted == sorted(set(accepted))


# -- own counters -----------------------------------------------------------------------------


def test_command_and_answer_of_a_published_example():
    """Annex N, N.12: the gateway sends 2800, the device answers with 2801."""
    gateway, device = CounterLedger("gateway"), CounterLedger("device")
    gateway.accept(METER, 0, None, 2799, ONE)
    command = gateway.reserve(METER)
    assert command == 2800
    device.accept(METER, 0, None, command, ONE)
    answer = device.reserve(METER)
    assert answer == 2801
    assert gateway.accept(METER, 0, None, answer, TWO) == "new"
    assert gateway.reserve(METER) == 2802


def test_the_larger_counter_is_taken_over():
    gateway = CounterLedger()
    assert [gateway.reserve(METER, step=step) for step in (1, 100, 50)] == [1, 101, 151]
    gateway.accept(METER, 0, None, 20, ONE)
    assert gateway.reserve(METER) == 152, "a smaller counter is not taken over"
    gateway.accept(METER, 0, None, 1000, ONE)
    assert gateway.reserve(METER) == 1001


@pytest.mark.parametrize(("role", "step"), [("gateway", 0), ("gateway", 101), ("gateway", -1), ("device", 2), ("device", 0)])
def test_steps(role, step):
    with pytest.raises(OutOfRange) as caught:
        CounterLedger(role).reserve(METER, step=step)
    assert caught.value.value == step


def test_the_counter_never_wraps():
    ledger = CounterLedger()
    ledger.accept(METER, 0, None, COUNTER_END - 1, ONE)
    assert ledger.reserve(METER) == COUNTER_END
    for step in (1, 100):
        with pytest.raises(SecurityError) as caught:
            ledger.reserve(METER, step=step)
        assert (caught.value.code, caught.value.address) == ("counter.exhausted", "ELS-12345678-33-03")
    assert ledger.entry(METER).own == COUNTER_END


def test_a_step_across_the_end_is_refused_whole():
    ledger = CounterLedger()
    ledger.accept(METER, 0, None, COUNTER_END - 50, ONE)
    with pytest.raises(SecurityError):
        ledger.reserve(METER, step=100)
    assert ledger.reserve(METER, step=50) == COUNTER_END


def test_service_condition():
    ledger = CounterLedger()
    assert not ledger.needs_service(METER)
    ledger.accept(METER, 0, None, SERVICE_CONDITION - 1, ONE)
    assert not ledger.needs_service(METER)
    ledger.reserve(METER)
    assert ledger.needs_service(METER)
    fresh = CounterLedger()
    fresh.reserve(METER)
    assert not fresh.needs_service(METER), "nothing heard yet"


def test_reset_after_a_key_change():
    ledger = CounterLedger()
    ledger.accept(METER, 0, 1, 900, ONE)
    ledger.accept(METER, 0, 2, 900, ONE)
    ledger.reset(METER, 0, 1)
    ledger.reset(OTHER)
    assert ledger.entry(METER, 0, 1) is None
    assert ledger.entry(METER, 0, 2).peer == 900
    assert ledger.accept(METER, 0, 1, 1, ONE) == "new"


# -- persistence ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["gateway", "device"])
def test_snapshot_round_trip_through_json(role):
    ledger = CounterLedger(role)
    ledger.accept(METER, 0, None, 10, ONE)
    ledger.accept(METER, 0, 3, 11, TWO)
    ledger.reserve(OTHER, 1)
    stored = msgspec.json.encode(ledger.snapshot())
    again = CounterLedger.restore(msgspec.json.decode(stored, type=LedgerSnapshot))
    assert again.snapshot() == ledger.snapshot()
    assert again.accept(METER, 0, None, 10, ONE) == "duplicate"
    assert again.reserve(OTHER, 1) == 2
    with pytest.raises(Replayed):
        again.accept(METER, 0, 3, 10, ONE)


def test_a_peer_that_stands_twice_keeps_its_highest_counters():
    older = PeerCounter(METER, 0, None, own=50, peer=10, digest=ONE)
    newer = PeerCounter(METER, 0, None, own=20, peer=20, digest=TWO)
    unheard = PeerCounter(METER, 0, None, own=60)
    for entries in ((older, newer, unheard), (unheard, newer, older), (newer, older, unheard)):
        ledger = CounterLedger.restore(LedgerSnapshot("gateway", entries))
        assert ledger.entry(METER) == PeerCounter(METER, 0, None, 60, 20, TWO)
        assert len(ledger) == 1


def test_repr_names_role_and_size():
    assert repr(CounterLedger("device")) == "<CounterLedger of a device, 0 peers>"
