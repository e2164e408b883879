"""UC-08, key management: Annex M release C Tables M.28 to M.30, Appendix M.A; release A with its third step."""

from __future__ import annotations

from typing import Any

import pytest

from openmetering.codec.apl.security_transfer import IMMEDIATE, INVALID_TIME, Activation, CombinedActivation, KeyTransfer
from openmetering.errors import NotRepresentable, Refused
from openmetering.protocol.gateway.events import Alarm
from openmetering.protocol.operator import disconnector, keys, supervision
from openmetering.security import BlockCipher, KeyRing, asp01_wrap
from tests.protocol.operator.scripted import (
    APPLICATION_KEY,
    DEVICE,
    MASTER_KEY,
    NEW_APPLICATION_KEY,
    NEW_MASTER_KEY,
    WRAPPER_KEY,
    ring,
)
from tests.usecases.bench import LINK_FAULTS, POWER_CUTS, WAYS, Bench, Fault, PowerCut
from tests.usecases.cases import Case, one_fault, refused, replayed, risks, succeed
from tests.usecases.raw import block

NEW_WRAPPER = bytes.fromhex("5A" * 16)


def active(bench: Bench, key_id: int) -> tuple[int, bytes]:
    slot = bench.memory.key(key_id)
    assert slot is not None
    return slot.version, slot.octets


def old_keys(bench: Bench) -> bool:
    return (active(bench, 0), active(bench, 0x20)) == ((0, MASTER_KEY), (0, APPLICATION_KEY))


def commands_go_on(bench: Bench) -> None:
    """Behind a renewal everything works: something read, something secured, and the counters of both sides agree."""
    bench.persist(lambda h: supervision.read_status())  # a slave that lost its power is not selected any more
    bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected", issue=bench.way.issue))
    assert bench.memory.breaker == 0
    bench.settle()
    bench.agree()


MASTER = Case(
    "master key",
    lambda h, i: keys.renew_key(h, DEVICE, 0x00, 1, issue=i),
    lambda b: active(b, 0x00) == (1, NEW_MASTER_KEY),
    old_keys,
    after=commands_go_on,
)
APPLICATION = Case(
    "application key",
    lambda h, i: keys.renew_key(h, DEVICE, 0x20, 1, issue=i),
    lambda b: active(b, 0x20) == (1, NEW_APPLICATION_KEY),
    old_keys,
)
LIST = Case("list", lambda h, i: keys.key_list(h, DEVICE, counters=True, issue=i), old_keys)


@pytest.mark.parametrize("case", [MASTER, APPLICATION], ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_renewal(way, case):
    result = succeed(case, way)
    assert (result.old, result.new, result.resumed) == (0, 1, False)


@pytest.mark.parametrize("way", WAYS)
def test_commands_under_a_new_application_key(way):
    bench = APPLICATION.bench(way)
    bench.run(APPLICATION.on(bench))
    commands_go_on(bench)


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.protected])
def test_the_master_key_resets_the_message_counter(way):
    """CM, CGW and C''M start again under the new key; both keys keep their own."""
    bench = MASTER.bench(way)
    for _ in range(4):
        bench.run(lambda h: supervision.read_status())
    before = bench.memory.key(0, 0).counter
    assert before > 128
    bench.run(MASTER.on(bench))
    assert bench.memory.key(0).counter < 10
    bench.run(lambda h: supervision.read_status())
    assert bench.memory.key(0).counter < 10 + 128
    assert bench.memory.key(0, 0).counter >= before
    assert Alarm(DEVICE, "key") in bench.told


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_activation_is_answered_under_the_new_key(way):
    """The command names the old KeyVersion, its answer the new one (AFL.KI, or the V bit of mode 10)."""
    bench = MASTER.bench(way)
    bench.run(MASTER.on(bench))
    ups = [frame for direction, frame in bench.frames if direction == "up" and len(frame) > 30]
    from openmetering.telegram import examine

    wrong, right = KeyRing(), KeyRing()
    wrong.add(DEVICE.link_octets(), MASTER_KEY, 0, 0)
    right.add(DEVICE.link_octets(), NEW_MASTER_KEY, 0, 1)
    assert examine(ups[-1], right).security.state == "decrypted"
    assert examine(ups[-1], wrong).security.state != "decrypted"
    assert examine(ups[-1], right).security.key_version == 1


@pytest.mark.parametrize("way", WAYS)
def test_lists(way):
    bench = LIST.bench(way)
    listed = bench.run(LIST.on(bench))
    assert [entry.key_id for entry in listed.entries] == [0, 0x10, 0x12, 0x14, *range(0x18, 0x28)]
    assert all(entry.key_version == 0 for entry in listed.entries)
    bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected", issue=bench.way.issue))
    counters = {entry.key_id: entry.counter for entry in bench.run(LIST.on(bench)).entries}
    assert counters[0x20] == 1
    assert counters[0x21] == 0
    plain = bench.run(lambda h: keys.key_list(h, DEVICE, issue=bench.way.issue))
    assert all(entry.counter is None for entry in plain.entries)


@pytest.mark.parametrize("key_id", [0x10, 0x12, 0x14])
@pytest.mark.parametrize("way", ["wire none", "wire B", "C A 4.3.3", "C D"])
def test_wrapper_keys(way, key_id):
    """A wrapper is wrapped by the root wrapper; what it wraps is renewed under its new version then."""
    bench = Bench(way, office_keys=ring((NEW_WRAPPER, key_id, 1)))
    issue = bench.way.issue
    bench.run(lambda h: keys.renew_key(h, DEVICE, key_id, 1, issue=issue))
    assert active(bench, key_id) == (1, NEW_WRAPPER)
    bench.run(APPLICATION.on(bench))
    assert active(bench, 0x20) == (1, NEW_APPLICATION_KEY)
    bench.agree()


@pytest.mark.parametrize("way", ["wire none 4.3.3", "C B 4.3.3", "C A 4.3.3", "S A 4.3.3"])
def test_destroy(way):
    """Step 3 of release A; release C has none."""
    bench = APPLICATION.bench(way)
    bench.run(APPLICATION.on(bench))
    bench.run(lambda h: keys.destroy_key(h, DEVICE, 0x20, 0))
    assert bench.memory.key(0x20, 0) is None
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: keys.destroy_key(h, DEVICE, 0x20, 1))
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: keys.destroy_key(h, DEVICE, 0x20, 0, issue="5.0.1"))
    bench.agree()


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(MASTER, APPLICATION))
def test_one_fault_at_every_frame(way, case, kind):
    assert one_fault(case, way, kind) >= 4


@pytest.mark.parametrize("second", ["lost", "after-device", "after-gateway"])
@pytest.mark.parametrize("way", ["wire A", "wire D", "C A", "C B", "C D", "C A 4.3.3"])
def test_the_last_answer_is_lost_and_more(way, second):
    """The answer to the activation never comes, and the attempt to find out meets the next fault."""
    bench = MASTER.bench(way)
    bench.run(MASTER.on(bench))
    last = bench.count - 1
    for number in range(last + 1, last + 6):
        bench = MASTER.bench(way)
        whole, gone = bench._pass, []

        def lossy(direction, frame, started, bench=bench, whole=whole, gone=gone):
            frames = whole(direction, frame, started)
            if direction == "up" and bench.count == last + 1 and not gone:
                gone.append(frame)
                return ()
            return frames

        bench._pass = lossy
        bench.persist(MASTER.on(bench), Fault(second, number))
        bench.settle()
        MASTER.check(bench)
        commands_go_on(bench)


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_changes_nothing(way):
    """Recorded transfers and activations of a key that was replaced meanwhile, and the commands under it."""
    for case in (MASTER, APPLICATION):
        bench = case.bench(way)
        bench.run(case.on(bench))
        bench.settle()
        counters = {(slot.key_id, slot.version): slot.counter for slot in bench.memory.keys if slot.key_id}
        bench.replay_all()
        case.check(bench)
        assert {(slot.key_id, slot.version): slot.counter for slot in bench.memory.keys if slot.key_id} == counters
        commands_go_on(bench)


@pytest.mark.parametrize("way", WAYS)
def test_a_replayed_renewal_does_not_bring_an_old_key_back(way):
    """Version 1, then version 2; the recorded renewal to version 1 comes again."""
    newer = bytes.fromhex("77" * 16)
    bench = APPLICATION.bench(way, office_keys=ring((newer, 0x20, 2)))
    bench.run(APPLICATION.on(bench))
    recorded = list(bench.frames)
    bench.run(lambda h: keys.renew_key(h, DEVICE, 0x20, 2, issue=bench.way.issue))
    bench.settle()
    bench.frames[:] = recorded
    bench.replay_all()
    assert active(bench, 0x20) == (2, newer)
    commands_go_on(bench)


@pytest.mark.parametrize("way", ["wire none", "wire B", "C B", "C A 4.3.3"])
def test_the_operator_loses_his_power_and_takes_up_the_renewal(way):
    for number in (0, 2, 4):
        bench = MASTER.bench(way)
        with pytest.raises(PowerCut):
            bench.run(MASTER.on(bench), Fault("after-operator", min(number, 2 if not bench.way.wired else number)))
        bench.wait(4.0)
        renewal = bench.head_end.journal(DEVICE).renewal(0)
        if renewal is not None:
            with pytest.raises(NotRepresentable):  # another version must wait
                bench.run(lambda h: keys.renew_key(h, DEVICE, 0, 5))
        bench.persist(MASTER.on(bench))
        MASTER.check(bench)


# -- refusals ----------------------------------------------------------------------------------------------


def wrapped(control: int, structure: int, content: bytes, key_id: int = 0x14, version: int = 0, key: bytes = WRAPPER_KEY) -> Any:
    """A block whose content is wrapped."""
    return block(control, structure, bytes((key_id, version)), asp01_wrap(BlockCipher(key), content))


def transfer(key_id: int = 0x20, version: int = 1, time: bytes = INVALID_TIME, key: bytes = NEW_APPLICATION_KEY) -> bytes:
    return KeyTransfer(time, key, key_id, version).encode()


def change(new: int, old: int, key_id: int = 0x20, other: int | None = None, option: int = 1, time: bytes = IMMEDIATE) -> bytes:
    return CombinedActivation(time, key_id, new, key_id if other is None else other, old, option).encode()


TRANSFERS: dict[str, tuple[Any, int]] = {
    "a wrapper that wraps nothing": (lambda: wrapped(0, 1, transfer(), key_id=0x11), 0x19),
    "another version of the wrapper": (lambda: wrapped(0, 1, transfer(), version=3), 0x19),
    "another wrapper key": (lambda: wrapped(0, 1, transfer(), key=bytes(16)), 0x19),
    "a wrapper of another class": (lambda: wrapped(0, 1, transfer(), key_id=0x12), 0x21),
    "the master key under the wrapper of applications": (lambda: wrapped(0, 1, transfer(0x00, key=NEW_MASTER_KEY)), 0x21),
    "version FFh": (lambda: wrapped(0, 1, transfer(version=0xFF)), 0x21),
    "the active version": (lambda: wrapped(0, 1, transfer(version=0)), 0x21),
    "a KeyID that does not exist": (lambda: wrapped(0, 1, transfer(0x60)), 0x21),
    "a target time that starts it": (lambda: wrapped(0, 1, transfer(time=IMMEDIATE)), 0x23),
    "no structure": (lambda: wrapped(0, 1, bytes(24)), 0x21),
    "the structure of another command": (lambda: wrapped(0, 3, transfer()), 0x11),
    "a service that does not exist": (lambda: block(0x1F, 0, b"\xff\xff", b""), 0x11),
}


@pytest.mark.parametrize("name", TRANSFERS)
@pytest.mark.parametrize("way", ["wire none", "wire B", "C A", "C B", "C D", "C A 4.3.3", "T B 4.3.3"])
def test_transfers_that_are_refused(way, name):
    make, status = TRANSFERS[name]
    bench = refused(Case(name, lambda h, i: make(), old_keys, old_keys), way, status=status)
    assert len(bench.memory.keys) == 4 + 16


ACTIVATIONS: dict[str, tuple[Any, int]] = {
    "a key that is not there": (lambda: wrapped(4, 3, change(2, 0)), 0x21),
    "two KeyIDs": (lambda: wrapped(4, 3, change(1, 0, other=0x21)), 0x21),
    "another version in use": (lambda: wrapped(4, 3, change(1, 5)), 0x21),
    "the same version": (lambda: wrapped(4, 3, change(1, 1)), 0x21),
    "version FFh": (lambda: wrapped(4, 3, change(0xFF, 0)), 0x21),
    "an option that does not exist": (lambda: wrapped(4, 3, change(1, 0, option=2)), 0x21),
    "a delay": (lambda: wrapped(4, 3, change(1, 0, time=INVALID_TIME)), 0x23),
    "another wrapper key": (lambda: wrapped(4, 3, change(1, 0), key=bytes(16)), 0x19),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("way", ["wire none", "wire D", "C A", "C B", "C D", "C A 4.3.3", "T B 4.3.3"])
def test_activations_that_are_refused(way, name):
    make, status = ACTIVATIONS[name]
    bench = Bench(way)
    bench.run(lambda h: wrapped(0, 1, transfer()))
    with pytest.raises(Refused) as caught:
        bench.run(lambda h: make())
    assert (caught.value.status, caught.value.error) == (status, None)
    assert old_keys(bench)
    bench.agree()


@pytest.mark.parametrize("way", WAYS)
def test_the_master_key_demands_the_reset_of_its_counter(way):
    bench = Bench(way)
    bench.run(lambda h: wrapped(0, 1, transfer(0, key=NEW_MASTER_KEY), key_id=0x12))
    with pytest.raises(Refused) as caught:
        bench.run(lambda h: wrapped(4, 3, change(1, 0, key_id=0, option=0), key_id=0x12))
    assert caught.value.status == 0x21
    assert old_keys(bench)


@pytest.mark.parametrize("way", WAYS)
def test_an_older_version(way):
    bench = APPLICATION.bench(way)
    bench.run(APPLICATION.on(bench))
    with pytest.raises(Refused) as caught:
        bench.run(lambda h: wrapped(0, 1, transfer(version=0, key=APPLICATION_KEY)))
    assert caught.value.status == 0x21
    assert active(bench, 0x20) == (1, NEW_APPLICATION_KEY)


@pytest.mark.parametrize("way", WAYS)
def test_destroying(way):
    """Release C knows no such service; in release A active keys and the first master key stay."""
    issue = WAYS[way].issue
    bench = Bench(way)
    for key_id, wrapper, version in ((0x20, 0x14, 0), (0x00, 0x12, 0), (0x20, 0x14, 9)):
        content = Activation(IMMEDIATE, key_id, version).encode()
        with pytest.raises(Refused) as caught:
            bench.run(lambda h, content=content, wrapper=wrapper: wrapped(3, 2, content, key_id=wrapper))
        assert caught.value.status == (0x11 if issue == "5.0.1" else 0x21)
    assert old_keys(bench)


@pytest.mark.parametrize("way", ["wire none 4.3.3", "C A 4.3.3", "T B 4.3.3"])
def test_lists_name_a_wrapper_in_release_a(way):
    refused(Case("list", lambda h, i: block(0x08, 0, b"\xff\xff", b""), old_keys, old_keys), way, status=0x19)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_key_management(way):
    refused(MASTER, way, status=0x11, functions={"conformance": {}})


def wrong_wrappers() -> KeyRing:
    wrong = KeyRing()
    for pattern, key in ring():
        wrong.add(pattern, bytes(16) if key.key_id in (0x10, 0x12, 0x14) else key.octets, key.key_id, key.version)
    return wrong


@pytest.mark.parametrize("case", [MASTER, APPLICATION], ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_wrong_keys(way, case):
    """The renewal is given up; the operator and the device keep the old version, and commands go on."""
    bench = refused(case, way, status=0x19, office_keys=wrong_wrappers())
    assert bench.head_end.journal(DEVICE).renewals == ()
    commands_go_on(bench)


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(MASTER, way, error=0x20, gateway_key=bytes(16))


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_the_old_key_is_dead_afterwards(way):
    """A gateway with the old key alone is refused by the device."""
    bench = MASTER.bench(way)
    bench.run(MASTER.on(bench))
    bench.settle()
    other = Bench(way)
    bench.stored = other.stored
    bench._message_numbers.clear()  # it counts from the start
    bench.gateway.replace(bench._gateway())
    with pytest.raises(Refused) as caught:
        bench.run(lambda h: supervision.read_status())
    assert caught.value.error == 0x20


@pytest.mark.parametrize("way", ["wire B", "C B"])
def test_replayed_use_of_lists(way):
    replayed(LIST, way)
