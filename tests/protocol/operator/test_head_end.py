"""The head-end: keys by version, counters that never go back, journals saved first, answers verified."""

from __future__ import annotations

import msgspec
import pytest

from openmetering.codec.apl.security_transfer import IMMEDIATE, INVALID_TIME, SecuredData, SitpBlock, StatusResponse
from openmetering.errors import (
    AuthenticationFailed,
    DecodeError,
    ExchangeFailed,
    KeyNotFound,
    NotRepresentable,
    Refused,
    Replayed,
    SecurityError,
)
from openmetering.protocol.exchange import Answered, Command
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order, read_key_list, wrapper_of
from openmetering.protocol.operator.journal import ImageEntry, Journal, OpenCommand, RenewalEntry
from openmetering.protocol.operator.steps import Ask
from openmetering.security import AddressPattern, KeyRing
from tests.protocol.operator.scripted import (
    APPLICATION_KEY,
    DEVICE,
    OTHER,
    Store,
    error,
    head_end,
    records,
    ring,
    secured,
    sitp,
    status,
)

ORDER = Order(0x20, 1, bytes.fromhex("01FD1F00"), meaning="disconnect")


def answer(reply, container) -> Answered:
    return reply(Ask(Command("sitp", container.payload)))


# -- journal ---------------------------------------------------------------------------------------


def test_the_journal_is_saved_before_the_container_is_there():
    store = Store()
    office = head_end(store)
    container = office.secure(DEVICE, ORDER)
    (saved,) = store.load()
    assert saved.counter(0x20, 0) == container.command.counter == 1
    assert saved.commands == (OpenCommand(0x20, 0, 1, ORDER.digest, "disconnect"),)


def test_a_disk_that_fails_changes_nothing():
    store = Store()
    office = head_end(store)
    store.broken = True
    with pytest.raises(OSError, match="disk full"):
        office.secure(DEVICE, ORDER)
    assert office.journal(DEVICE) == Journal(DEVICE)
    store.broken = False
    assert office.secure(DEVICE, ORDER).command.counter == 1


def test_counters_go_on_after_a_power_cut():
    store = Store()
    used = [head_end(store).secure(DEVICE, ORDER).command.counter for _ in range(5)]
    assert used == [1, 2, 3, 4, 5]


def test_counters_belong_to_device_key_and_version():
    office = head_end()
    office.secure(DEVICE, ORDER)
    other = KeyRing()
    other.add(AddressPattern.everything(), APPLICATION_KEY, None)
    wide = HeadEnd(other, journals=[office.journal(DEVICE)])
    assert wide.secure(DEVICE, msgspec.structs.replace(ORDER, key_id=0x21)).command.counter == 1
    assert wide.secure(OTHER, ORDER).command.counter == 1
    assert wide.secure(DEVICE, ORDER).command.counter == 2


def test_a_counter_is_never_lowered():
    office = head_end()
    office.raise_counter(DEVICE, 0x20, 0, 100)
    office.raise_counter(DEVICE, 0x20, 0, 7)
    assert office.secure(DEVICE, ORDER).command.counter == 101


def test_a_counter_ends():
    office = head_end()
    office.raise_counter(DEVICE, 0x20, 0, 0xFFFFFFFF)
    with pytest.raises(SecurityError) as caught:
        office.secure(DEVICE, ORDER)
    assert caught.value.code == "counter.exhausted"


def test_a_rehearsal_uses_no_counter():
    store = Store()
    office = head_end(store)
    assert office.rehearsal().secure(DEVICE, ORDER).command.counter == 1
    assert not store.history
    assert office.secure(DEVICE, ORDER).command.counter == 1


def test_the_journal_moves_with_the_address():
    store = Store()
    office = head_end(store)
    office.secure(DEVICE, ORDER)
    office.move(DEVICE, OTHER)
    assert office.journal(OTHER).counter(0x20, 0) == 1
    assert office.journal(DEVICE) == Journal(DEVICE)
    assert {journal.address: len(journal.counters) for journal in store.load()} == {DEVICE: 0, OTHER: 1}


def test_a_journal_is_a_value_that_can_be_written_down():
    journal = (
        Journal(DEVICE)
        .with_version(0x20, 3)
        .with_version(0, 1)
        .with_counter(0x20, 3, 5)
        .with_command(OpenCommand(0x20, 3, 5, b"d" * 16))
        .with_command(OpenCommand(0x20, 3, 6, b"e" * 16))
        .with_renewal(RenewalEntry(0, 0, 1, "transferring"))
        .with_renewal(RenewalEntry(0, 0, 1, "activating"))
    )
    journal = msgspec.structs.replace(journal, image=ImageEntry(b"V1", b"x" * 16, 190, "transferring"))
    assert msgspec.json.decode(msgspec.json.encode(journal), type=Journal) == journal
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(journal), type=Journal) == journal
    assert journal.active == ((0, 1), (0x20, 3))
    assert [entry.counter for entry in journal.commands] == [6]
    assert [entry.stage for entry in journal.renewals] == ["activating"]
    assert journal.without_command(0x20).commands == ()
    assert journal.without_renewal(0).renewals == ()
    assert journal.renewal(0x20) is None
    assert journal.command(0x21) is None
    assert APPLICATION_KEY.hex() not in repr(journal)


# -- keys -----------------------------------------------------------------------------------------


def test_the_version_the_device_came_with_is_the_lowest_until_told_otherwise():
    office = head_end()
    assert office.version(DEVICE, 0) == 0
    office.adopt(DEVICE, 0, 1)
    assert office.version(DEVICE, 0) == 1
    assert HeadEnd(KeyRing()).version(DEVICE, 0x20) == 0


def test_the_container_names_the_version():
    office = head_end()
    office.adopt(DEVICE, 0x20, 1)
    assert office.secure(DEVICE, ORDER).block.header == b"\x20\x01"


def test_keys_show_nowhere():
    office = head_end()
    secrets = [key.octets.hex() for _, key in ring()]
    for text in (repr(office), repr(office.key(DEVICE, 0x20)), repr(office.hand_out(DEVICE, 0, 1)), str(office.journal(DEVICE))):
        assert not any(secret in text.lower() for secret in secrets)


def test_a_missing_key_is_told_before_a_counter_is_used():
    store = Store()
    office = HeadEnd(KeyRing(), save=store.save)
    with pytest.raises(KeyNotFound):
        office.secure(DEVICE, ORDER)
    assert not store.history


def test_only_keys_for_the_link_are_handed_out():
    office = head_end()
    ((pattern, key),) = office.hand_out(DEVICE, 0, 1)
    assert (key.key_id, key.version) == (0, 1)
    assert pattern == AddressPattern.exact(DEVICE.link_octets())
    for key_id in (0x10, 0x12, 0x20):
        with pytest.raises(NotRepresentable, match="not for the link"):
            office.hand_out(DEVICE, key_id, 0)


@pytest.mark.parametrize(
    ("key_id", "wrapper"), [(0x00, 0x12), (0x08, 0x12), (0x10, 0x10), (0x12, 0x10), (0x14, 0x10), (0x18, 0x14), (0x27, 0x14)]
)
def test_wrapper_of(key_id, wrapper):
    assert wrapper_of(key_id) == wrapper


def test_some_keys_have_no_wrapper():
    with pytest.raises(NotRepresentable, match="no wrapper key"):
        wrapper_of(0x30)


def test_no_version_ff():
    with pytest.raises(NotRepresentable, match="no version"):
        head_end().transfer_block(DEVICE, 0, 0xFF)


def test_a_key_without_version_is_no_new_key():
    """It may be the one in use; sent as version 1 it would renew nothing."""
    keys = ring()
    keys.add(DEVICE.link_octets(), bytes(range(0x50, 0x60)), 0x21, None)
    with pytest.raises(KeyNotFound, match="KeyVersion is 01h"):
        HeadEnd(keys).transfer_block(DEVICE, 0x21, 1)


def test_the_active_key_is_not_destroyed():
    office = head_end()
    with pytest.raises(NotRepresentable, match="must not be destroyed"):
        office.destruction_block(DEVICE, 0x20, 0)
    block = office.destruction_block(DEVICE, 0x20, 1)
    assert (block.control, block.structure, block.header, len(block.content)) == (0x03, 0x02, b"\x14\x00", 16)


def test_counters_go_on_with_a_new_version():
    """A device should reset its key counter and need not: going on is right in both cases."""
    office = head_end()
    office.raise_counter(DEVICE, 0x20, 0, 41)
    office.finish_renewal(DEVICE, RenewalEntry(0x20, 0, 1, "activating"))
    container = office.secure(DEVICE, ORDER)
    assert (container.command.version, container.command.counter) == (1, 42)


def test_a_counter_near_its_end_starts_again_with_a_new_version():
    office = head_end()
    office.raise_counter(DEVICE, 0x20, 0, 0xFFFF0000)
    office.finish_renewal(DEVICE, RenewalEntry(0x20, 0, 1, "activating"))
    assert office.secure(DEVICE, ORDER).command.counter == 1


# -- containers and answers ------------------------------------------------------------------------


def test_the_same_container_again():
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    assert office.again(DEVICE, container.command, ORDER) == container
    with pytest.raises(NotRepresentable, match="another one"):
        office.again(DEVICE, container.command, msgspec.structs.replace(ORDER, apdu=b"\x01\xfd\x1f\x01"))


@pytest.mark.parametrize(
    "changed", [{"key_id": 0x21}, {"pid": 4}, {"apdu": b""}, {"target_time": INVALID_TIME}], ids=lambda change: next(iter(change))
)
def test_the_digest_stands_for_the_order(changed):
    assert msgspec.structs.replace(ORDER, **changed).digest != ORDER.digest
    assert msgspec.structs.replace(ORDER, meaning="").digest == ORDER.digest


def test_an_answer_is_verified():
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    assert office.verify(DEVICE, container, answer(secured("01FD1F00"), container)) == Confirmation(
        "answer", bytes.fromhex("01FD1F00")
    )
    assert office.verify(DEVICE, container, answer(status(0), container)) == Confirmation("answer", status=0)
    scheduled = office.verify(DEVICE, container, answer(status(1), container))
    assert scheduled.scheduled


def test_a_wrong_mac():
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    with pytest.raises(AuthenticationFailed):
        office.verify(DEVICE, container, answer(secured("01FD1F00", key=bytes(16)), container))


def test_the_answer_to_an_older_command():
    office = head_end()
    office.raise_counter(DEVICE, 0x20, 0, 4)
    container = office.secure(DEVICE, ORDER)
    with pytest.raises(Replayed, match="key counter 4, not 5"):
        office.verify(DEVICE, container, answer(secured("01FD1F00", counter=4), container))


@pytest.mark.parametrize("header", [b"\x21\x00", b"\x20\x01", b"\xff\xff"])
def test_an_answer_under_another_key(header):
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    data = container.block.read()
    assert isinstance(data, SecuredData)
    block = msgspec.structs.replace(container.block.answer(0x32, data.encode()), header=header)
    with pytest.raises(AuthenticationFailed, match="another key"):
        office.verify(DEVICE, container, sitp(block))


def test_an_answer_of_another_structure():
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    with pytest.raises(DecodeError, match="structure 30h"):
        office.verify(DEVICE, container, sitp(container.block.answer(0x30, bytes(24))))


def test_an_answer_to_another_block():
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    other = SitpBlock(1, 0xA0, 0x22, b"\x20\x00", b"\x00")
    with pytest.raises(DecodeError, match="no block answers"):
        office.verify(DEVICE, container, sitp(other))
    assert office.verify(DEVICE, container, sitp(other, container.block.answer(0x22, b"\x00"))).status == 0


def test_refusals_are_told_in_words():
    office = head_end()
    container = office.secure(DEVICE, ORDER)
    with pytest.raises(Refused, match=r"unknown or invalid KeyID or KeyVersion \(SITP status 19h\)") as caught:
        office.verify(DEVICE, container, answer(status(0x19), container))
    assert (caught.value.status, caught.value.error) == (0x19, None)
    with pytest.raises(Refused, match=r"security error.*application error 20h") as caught:
        office.verify(DEVICE, container, error(0x20))
    assert (caught.value.status, caught.value.error) == (None, 0x20)
    with pytest.raises(DecodeError, match="image"):
        office.verify(DEVICE, container, Answered(0, 0, "image", b"\x84"))
    with pytest.raises(ExchangeFailed, match="standard response"):  # it lost its power and has forgotten the command
        office.verify(DEVICE, container, records("2F"))


def test_key_lists():
    block = SitpBlock(0, 0x88, 0x21, b"\xff\xff", bytes.fromhex("00012000"))
    assert [(entry.key_id, entry.key_version) for entry in read_key_list(block).entries] == [(0, 1), (0x20, 0)]
    with pytest.raises(DecodeError, match="no list of keys"):
        read_key_list(SitpBlock(0, 0x88, 0x22, b"\xff\xff", StatusResponse(0).encode()))


def test_a_renewal_can_be_given_up():
    office = head_end()
    office.note_renewal(DEVICE, RenewalEntry(0, 0, 1, "transferred"))
    office.give_up_renewal(DEVICE, 0)
    assert office.journal(DEVICE).renewals == ()


def test_immediate_is_the_default():
    assert ORDER.target_time == IMMEDIATE
