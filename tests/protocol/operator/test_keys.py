"""UC-08 from the operator's side: transfer, activation, recovery, destruction."""

from __future__ import annotations

import pytest

from openmetering.codec.apl import security_transfer
from openmetering.codec.apl.security_transfer import CombinedActivation, KeyTransfer
from openmetering.errors import ExchangeFailed, KeyNotFound, NotRepresentable, Refused
from openmetering.protocol.exchange import Answered
from openmetering.protocol.operator import keys
from openmetering.protocol.operator.head_end import HeadEnd, Order
from openmetering.protocol.operator.journal import RenewalEntry
from openmetering.security import BlockCipher, KeyRing, asp01_unwrap
from openmetering.telegram.model import SecurityReport
from tests.protocol.operator.scripted import (
    DEVICE,
    NEW_APPLICATION_KEY,
    NEW_MASTER_KEY,
    WRAPPER_KEY,
    Store,
    active,
    counters,
    error,
    head_end,
    lost,
    result,
    run,
    status,
)

OK = status(0)
#: the request that goes before the question which key is active, unanswered
SILENT = lost(None)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def office(store):
    return head_end(store)


def services(done) -> list[int]:
    """BCF of the blocks that were sent."""
    return [security_transfer.decode(octets).blocks[0].control for octets in done.commands if octets]


def unwrapped(octets: bytes, reader):
    (block,) = security_transfer.decode(octets).blocks
    return block.header, reader(asp01_unwrap(BlockCipher(WRAPPER_KEY), block.content))


def test_master_key_renewal(office):
    """Appendix M.A: transfer, key to the gateway, activation with counter reset."""
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [OK, OK])
    assert done.result == keys.Renewed(0, 0, 1, False)
    assert services(done) == [0x00, 0x04]
    header, transfer = unwrapped(done.commands[0], KeyTransfer.decode)
    assert (header, transfer.key, transfer.key_id, transfer.key_version) == (b"\x12\x00", NEW_MASTER_KEY, 0, 1)
    assert transfer.target_time == bytes.fromhex("0000008030")
    header, change = unwrapped(done.commands[1], CombinedActivation.decode)
    assert (header, change) == (b"\x12\x00", CombinedActivation(bytes.fromhex("0000000030"), 0, 1, 0, 0, 1))
    (provided,) = done.provided
    assert (provided.key_id, provided.version) == (0, 1)
    assert provided.key.require(DEVICE.link_octets(), key_id=0, version=1)[0].octets == NEW_MASTER_KEY
    order = [type(step).__name__ for step in done.steps]
    assert order == ["Progress", "Ask", "Progress", "Provide", "Ask"]
    assert office.version(DEVICE, 0) == 1
    assert office.journal(DEVICE).renewals == ()


def test_application_key_renewal(office):
    """No key for the gateway; the next command is secured under the new version."""
    done = run(keys.renew_key(office, DEVICE, 0x20, 1), [OK, OK])
    assert done.provided == []
    header, transfer = unwrapped(done.commands[0], KeyTransfer.decode)
    assert (header, transfer.key) == (b"\x14\x00", NEW_APPLICATION_KEY)
    assert office.secure(DEVICE, Order(0x20, 1, b"")).block.header == b"\x20\x01"


def test_every_step_is_in_the_journal_before_it_is_taken(office, store):
    procedure = keys.renew_key(office, DEVICE, 0x00, 1)
    stages = []
    answer = None
    try:
        while True:
            step = procedure.send(answer)
            saved = store.load()
            stages.append((type(step).__name__, saved[0].renewal(0).stage))
            answer = OK(step) if type(step).__name__ == "Ask" else None
    except StopIteration:
        pass
    assert stages == [
        ("Progress", "transferring"),
        ("Ask", "transferring"),
        ("Progress", "transferred"),
        ("Provide", "transferred"),
        ("Ask", "activating"),
    ]


def test_a_lost_transfer_is_repeated(office):
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [lost(None), lost(True), OK, OK])
    assert services(done) == [0x00, 0x00, 0x00, 0x04]


@pytest.mark.parametrize("script", [[lost(None)] * 3, [lost(False)]], ids=["three times", "never left"])
def test_a_transfer_that_fails_is_taken_up_later(store, script):
    done = run(keys.renew_key(head_end(store), DEVICE, 0x00, 1), script)
    assert isinstance(done.error, ExchangeFailed)
    assert head_end(store).journal(DEVICE).renewal(0).stage == "transferring"
    done = run(keys.renew_key(head_end(store), DEVICE, 0x00, 1), [OK, OK])
    assert done.result.resumed
    assert services(done) == [0x00, 0x04]


@pytest.mark.parametrize("refusal", [status(0x19), status(0x21), status(0x23), status(0x11), error(0x01), error(0x20)])
def test_a_refused_transfer_ends_the_renewal(office, refusal):
    assert isinstance(run(keys.renew_key(office, DEVICE, 0x00, 1), [refusal]).error, Refused)
    assert office.journal(DEVICE).renewals == ()
    assert office.version(DEVICE, 0) == 0


def test_a_refused_activation_can_be_tried_again(office):
    assert isinstance(run(keys.renew_key(office, DEVICE, 0x00, 1), [OK, status(0x21)]).error, Refused)
    assert office.journal(DEVICE).renewal(0).stage == "transferred"
    assert office.version(DEVICE, 0) == 0
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [OK])
    assert services(done) == [0x04]
    assert office.version(DEVICE, 0) == 1


def test_a_lost_activation_answer_and_the_device_uses_the_new_key(office):
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [OK, lost(None, "security"), SILENT, lost(None), SILENT, active((0, 1))])
    assert services(done) == [0x00, 0x04, 0x08, 0x08]
    assert office.version(DEVICE, 0) == 1


def test_a_lost_activation_and_the_device_uses_the_old_key(office):
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [OK, lost(None), SILENT, active((0, 0)), OK])
    assert services(done) == [0x00, 0x04, 0x08, 0x04]
    assert office.version(DEVICE, 0) == 1


def test_activation_is_tried_three_times(office):
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [OK] + [lost(None), SILENT, active((0, 0))] * 3)
    assert isinstance(done.error, ExchangeFailed)
    assert services(done).count(0x04) == 3
    assert office.journal(DEVICE).renewal(0).stage == "activating"


def test_activation_that_never_left(office):
    done = run(keys.renew_key(office, DEVICE, 0x00, 1), [OK, lost(False, "no-access")])
    assert done.error.delivered is False
    assert office.journal(DEVICE).renewal(0).stage == "transferred"


@pytest.mark.parametrize(
    "script",
    [[SILENT, lost(None)] * 4, [SILENT, active((0x20, 0))], [SILENT, active((0, 7))]],
    ids=["no answer", "not in the list", "a third version"],
)
def test_nobody_knows_which_key(store, script):
    """The journal keeps the renewal; later the device is probed before anything is sent."""
    done = run(keys.renew_key(head_end(store), DEVICE, 0x00, 1), [OK, lost(None), *script])
    assert isinstance(done.error, ExchangeFailed)
    done = run(keys.renew_key(head_end(store), DEVICE, 0x00, 1), [SILENT, active((0, 1))])
    assert services(done) == [0x08]
    assert done.result == keys.Renewed(0, 0, 1, True)
    assert head_end(store).version(DEVICE, 0) == 1


def test_resumed_with_the_old_key_active(store):
    run(keys.renew_key(head_end(store), DEVICE, 0x00, 1), [OK, lost(None), *[SILENT, lost(None)] * 4])
    done = run(keys.renew_key(head_end(store), DEVICE, 0x00, 1), [SILENT, active((0, 0)), OK])
    assert services(done) == [0x08, 0x04]
    assert len(done.provided) == 1


def _standard(report: SecurityReport) -> Answered:
    return Answered(0, 0, "m-bus", b"\x2f", report)


@pytest.mark.parametrize(
    ("report", "version"),
    [
        (SecurityReport("B", 7, "decrypted", "mac", 0, 1), 1),
        (SecurityReport("D", 10, "decrypted", "tag", None, 0), 0),
        (SecurityReport("A", 5, "decrypted", "2f2f", None, 1), None),
        (SecurityReport("B", 7, "decrypted", "mac", 8, 1), None),
    ],
    ids=["new", "old", "not authenticated", "another key"],
)
def test_the_link_shows_the_version_where_there_is_no_list(office, report, version):
    assert result(keys.active_version(office, DEVICE, 0), [_standard(report), error(0x11)]) == version


def test_a_security_error_hides_the_answer_for_255_seconds(office):
    """The gateway used the old key: the device refuses, and shows its new key only when that error is over."""
    shown = _standard(SecurityReport("B", 7, "decrypted", "mac", 0, 1))
    done = run(keys.active_version(office, DEVICE, 0), [error(0x20), error(0x20), shown, active((0, 1))])
    assert done.result == 1
    assert done.pauses == [260.0]
    done = run(keys.active_version(office, DEVICE, 0), [error(0x20)] * 8)
    assert isinstance(done.error, ExchangeFailed)
    assert done.error.reason == "security"


def test_the_link_shows_no_application_key(office):
    assert result(keys.active_version(office, DEVICE, 0x20), [status(0x11)]) is None


def test_open_commands_are_settled_before_their_counter_is_reset(office):
    office.secure(DEVICE, Order(0x20, 1, b"\x01"))
    done = run(keys.renew_key(office, DEVICE, 0x20, 1), [OK, counters((0x20, 0, 1)), OK])
    assert services(done) == [0x00, 0x09, 0x04]
    assert office.journal(DEVICE).commands == ()


def test_wrong_orders_are_not_sent(office):
    assert isinstance(run(keys.renew_key(office, DEVICE, 0x00, 0)).error, NotRepresentable)
    assert isinstance(run(keys.renew_key(office, DEVICE, 0x00, 0xFF)).error, NotRepresentable)
    assert isinstance(run(keys.renew_key(office, DEVICE, 0x00, 9)).error, KeyNotFound)
    assert isinstance(run(keys.renew_key(HeadEnd(KeyRing()), DEVICE, 0x00, 1)).error, KeyNotFound)
    assert office.journal(DEVICE).renewals == ()


def test_one_renewal_at_a_time(office):
    office.note_renewal(DEVICE, RenewalEntry(0, 0, 2, "transferring"))
    assert isinstance(run(keys.renew_key(office, DEVICE, 0x00, 1)).error, NotRepresentable)


def test_destroy_exists_in_release_a(office):
    office.adopt(DEVICE, 0, 1)
    done = run(keys.destroy_key(office, DEVICE, 0, 0), [OK])
    assert services(done) == [0x03]
    assert isinstance(run(keys.destroy_key(office, DEVICE, 0, 0), [status(0x21)]).error, Refused)
    assert isinstance(run(keys.destroy_key(office, DEVICE, 0, 1)).error, NotRepresentable)
    assert isinstance(run(keys.destroy_key(office, DEVICE, 0, 0, issue="5.0.1")).error, NotRepresentable)
