"""Secured commands: executed once, whatever is lost."""

from __future__ import annotations

import pytest

from openmetering.errors import AuthenticationFailed, DecodeError, ExchangeFailed, ProtocolError, Refused
from openmetering.protocol.operator import answers
from openmetering.protocol.operator.head_end import Confirmation, Order
from openmetering.protocol.operator.secured import ATTEMPTS, Settled, execute, key_list, settle, synchronise_counters
from tests.protocol.operator.scripted import (
    DEVICE,
    Store,
    active,
    again,
    counters,
    error,
    head_end,
    lost,
    names,
    records,
    result,
    run,
    secured,
    status,
)

ORDER = Order(0x27, 1, bytes.fromhex("0A93016703"), meaning="add 367 l")
OTHER_ORDER = Order(0x27, 1, bytes.fromhex("0A93016803"))
ANSWER = "0A136703"
DONE = Confirmation("answer", bytes.fromhex(ANSWER))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def office(store):
    return head_end(store)


def containers(done) -> list[bytes]:
    """The commands with a container, without requests and lists."""
    return [octets for octets in done.commands if octets is not None and octets[3] == 0x20]


def is_list(octets: bytes | None) -> bool:
    return octets == bytes.fromhex("060000090000FFFF")


def test_success_closes_the_journal(office):
    assert result(execute(office, DEVICE, ORDER), [secured(ANSWER)]) == DONE
    assert office.journal(DEVICE).commands == ()
    assert office.journal(DEVICE).counter(0x27, 0) == 1


@pytest.mark.parametrize("refusal", [error(0x15), status(0x19), error(0x20)])
def test_a_refusal_closes_the_journal(office, refusal):
    done = run(execute(office, DEVICE, ORDER), [refusal])
    assert isinstance(done.error, Refused)
    assert office.journal(DEVICE).commands == ()


def test_what_never_left_is_closed(office):
    done = run(execute(office, DEVICE, ORDER), [lost(False, "no-access")])
    assert isinstance(done.error, ExchangeFailed)
    assert done.error.delivered is False
    assert office.journal(DEVICE).commands == ()
    assert result(execute(office, DEVICE, ORDER), [secured(ANSWER)]) == DONE
    assert office.journal(DEVICE).counter(0x27, 0) == 2


def test_a_lost_answer_is_fetched(office):
    """REQ-UD2 brings the answer, which names the key counter of the command."""
    sent = []

    def lose(ask):
        sent.append(ask.command.payload)
        return lost(None)

    done = run(execute(office, DEVICE, ORDER), [lose, lambda ask: again(sent[0], ANSWER)])
    assert done.result == DONE
    assert names(done.steps) == ["sitp", "-"]
    assert office.journal(DEVICE).commands == ()


@pytest.mark.parametrize(
    "other",
    [records("2F"), lost(), error(0x15)],
    ids=["standard response", "lost again", "an error that may be an older one"],
)
def test_the_key_counter_tells_that_it_was_taken(office, other):
    done = run(execute(office, DEVICE, ORDER), [lost(None), other, counters((0x27, 0, 1))])
    assert done.result == Confirmation("counter")
    assert is_list(done.commands[-1])
    assert len(containers(done)) == 1
    assert office.journal(DEVICE).commands == ()


def test_the_same_container_goes_out_again_if_it_was_not_taken(office):
    done = run(execute(office, DEVICE, ORDER), [lost(None), records("2F"), counters((0x20, 0, 9), (0x27, 0, 0)), secured(ANSWER)])
    assert done.result == DONE
    first, second = containers(done)
    assert first == second
    assert office.journal(DEVICE).counter(0x27, 0) == 1


def test_it_goes_out_three_times_at_most(office):
    done = run(execute(office, DEVICE, ORDER), [lost(None), lost(), counters((0x27, 0, 0))] * ATTEMPTS)
    assert isinstance(done.error, ExchangeFailed)
    assert len(set(containers(done))) == 1
    assert len(containers(done)) == ATTEMPTS
    assert office.journal(DEVICE).command(0x27) is not None


@pytest.mark.parametrize(
    "answer",
    [error(0x11), status(0x11), lost(), counters((0x20, 0, 7)), counters((0x27, 1, 7)), records("2F")],
    ids=["no SITP", "no list", "lost", "not in the list", "another version", "another protocol"],
)
def test_nobody_knows(office, answer):
    """Without a key counter nothing is sent again, and the journal keeps the command open."""
    done = run(execute(office, DEVICE, ORDER), [lost(None), records("2F"), answer])
    assert isinstance(done.error, ExchangeFailed)
    assert done.error.delivered is None
    assert "add 367 l" in done.error.message
    assert len(containers(done)) == 1
    assert office.journal(DEVICE).command(0x27).counter == 1


def test_an_acknowledged_refusal_counts(office):
    """The command was acknowledged, so the error that REQ-UD2 brings is the answer to it."""
    done = run(execute(office, DEVICE, ORDER), [lost(True), error(0x15)])
    assert isinstance(done.error, Refused)
    assert office.journal(DEVICE).commands == ()


def test_an_acknowledged_status_counts(office):
    sent = []

    def lose(ask):
        sent.append(ask)
        return lost(True)

    done = run(execute(office, DEVICE, ORDER), [lose, lambda ask: status(1)(sent[0])])
    assert done.result == Confirmation("answer", status=1)


def test_a_status_without_acknowledgement_does_not_count(office):
    """DSI 22 names no key counter: it may be the answer to an older command."""
    sent = []

    def lose(ask):
        sent.append(ask)
        return lost(None)

    done = run(execute(office, DEVICE, ORDER), [lose, lambda ask: status(0)(sent[0]), counters((0x27, 0, 1))])
    assert done.result == Confirmation("counter")


def test_a_forged_answer_is_no_answer(office):
    forged = secured(ANSWER, key=bytes(16))
    done = run(execute(office, DEVICE, ORDER), [forged, records("2F"), counters((0x27, 0, 1))])
    assert done.result == Confirmation("counter")
    done = run(execute(office, DEVICE, ORDER), [forged, records("2F"), error(0x11)])
    assert isinstance(done.error, ExchangeFailed)
    assert isinstance(done.error.__cause__, AuthenticationFailed)


def test_a_forged_answer_to_every_attempt(office):
    forged = secured(ANSWER, key=bytes(16))
    done = run(execute(office, DEVICE, ORDER), [forged, lost(), counters((0x27, 0, 0))] * ATTEMPTS)
    assert isinstance(done.error, AuthenticationFailed)


def test_an_older_answer_is_no_answer(office):
    office.raise_counter(DEVICE, 0x27, 0, 7)
    done = run(execute(office, DEVICE, ORDER), [secured(ANSWER, counter=7), secured_again(8)])
    assert done.result == DONE


def secured_again(counter):
    def reply(ask):
        assert ask.command is None
        office = head_end()
        office.raise_counter(DEVICE, 0x27, 0, counter - 1)
        return again(office.secure(DEVICE, ORDER).payload, ANSWER)

    return reply


# -- after a power cut of the operator ------------------------------------------------------------------


def interrupted(store: Store) -> None:
    """The command has been handed over when the power fails."""
    procedure = execute(head_end(store), DEVICE, ORDER)
    procedure.send(None)


def test_a_command_that_was_taken_is_not_sent_again(store):
    interrupted(store)
    done = run(execute(head_end(store), DEVICE, ORDER), [counters((0x27, 0, 1))])
    assert done.result == Confirmation("counter")
    assert containers(done) == []


def test_a_command_that_was_not_taken_goes_out_again(store):
    interrupted(store)
    done = run(execute(head_end(store), DEVICE, ORDER), [counters((0x27, 0, 0)), secured(ANSWER)])
    assert done.result == DONE
    assert head_end(store).journal(DEVICE).counter(0x27, 0) == 1


@pytest.mark.parametrize("answer", [lost(), error(0x11)])
def test_a_command_of_which_nobody_knows_is_not_sent_again(store, answer):
    interrupted(store)
    done = run(execute(head_end(store), DEVICE, ORDER), [answer])
    assert isinstance(done.error, ExchangeFailed)
    assert "not sent again" in done.error.message
    assert containers(done) == []
    assert head_end(store).journal(DEVICE).command(0x27) is not None


@pytest.mark.parametrize("answer", [counters((0x27, 0, 1)), counters((0x27, 0, 0)), error(0x11)])
def test_another_command_makes_the_old_one_void(store, answer):
    """Its key counter is higher: the old container can never be executed behind it."""
    interrupted(store)
    office = head_end(store)
    done = run(execute(office, DEVICE, OTHER_ORDER), [answer, secured(ANSWER)])
    assert done.result == DONE
    assert office.journal(DEVICE).counter(0x27, 0) == 2
    assert office.journal(DEVICE).commands == ()


def test_an_unnamed_command_of_which_nobody_knows(store):
    procedure = execute(head_end(store), DEVICE, OTHER_ORDER)
    procedure.send(None)
    done = run(execute(head_end(store), DEVICE, OTHER_ORDER), [lost()])
    assert "key 27h" in str(done.error)


# -- settle -----------------------------------------------------------------------------------------------


def test_nothing_open_nothing_asked(office):
    assert run(settle(office, DEVICE)).steps == []


def test_settle_closes_what_was_taken(office):
    for key_id in (0x20, 0x21, 0x24):
        office.secure(DEVICE, Order(key_id, 1, b"\x2f"))
    settled = result(settle(office, DEVICE), [counters((0x20, 0, 1), (0x21, 0, 0))])
    assert [(one.command.key_id, one.taken) for one in settled] == [(0x20, True), (0x21, False), (0x24, None)]
    assert isinstance(settled[0], Settled)
    assert [command.key_id for command in office.journal(DEVICE).commands] == [0x21, 0x24]


def test_settle_under_issue_433_names_the_wrapper(office):
    office.secure(DEVICE, ORDER)
    done = run(settle(office, DEVICE, issue="4.3.3"), [counters((0x27, 0, 1))])
    assert done.commands == [bytes.fromhex("0600000900001400")]


def test_a_device_without_versions_lists_ff(office):
    office.secure(DEVICE, ORDER)
    assert result(settle(office, DEVICE), [counters((0x27, 0xFF, 1))])[0].taken


def test_a_list_without_counters_tells_nothing(office):
    office.secure(DEVICE, ORDER)
    assert result(settle(office, DEVICE), [active((0x27, 0))])[0].taken is None


def test_key_lists(office):
    done = run(key_list(office, DEVICE), [active((0, 1), (0x20, 3))])
    assert done.commands == [bytes.fromhex("060000080000FFFF")]
    assert [(entry.key_id, entry.key_version) for entry in done.result.entries] == [(0, 1), (0x20, 3)]


def test_counters_are_taken_over(office):
    """A head-end that lost its journal learns versions and counters from the device."""
    office.raise_counter(DEVICE, 0x21, 0, 50)
    result(synchronise_counters(office, DEVICE), [counters((0x20, 1, 41), (0x21, 0, 7), (0x27, 0xFF, 3))])
    journal = office.journal(DEVICE)
    assert office.version(DEVICE, 0x20) == 1
    assert journal.counter(0x20, 1) == 41
    assert journal.counter(0x21, 0) == 50
    assert journal.counter(0x27, 0) == 3
    assert journal.version(0x27) is None


# -- answers ------------------------------------------------------------------------------------------------


def test_a_driver_must_resume_with_an_answer():
    procedure = answers.ask(None)
    procedure.send(None)
    with pytest.raises(ProtocolError):
        procedure.send(None)


def test_an_error_that_is_not_named():
    with pytest.raises(Refused, match="does not say which"):
        answers.payload(records("2F", status=2), "m-bus")


def test_records_that_break():
    with pytest.raises(DecodeError):
        answers.read_records(bytes.fromhex("04FD"))


def test_the_error_of_annex_n_9():
    """N.9: the device does not know the CI field."""
    refusal = answers.error_refusal(b"\x01")
    assert (
        refusal.message
        == "the device refuses: unimplemented CI field: the device does not know this CI field (application error 01h)"
    )
    assert answers.error_refusal(b"").error == 0
    assert "reserved" in answers.error_refusal(b"\x99").message
    assert answers.status_refusal(0x23).message == "the device refuses: content error, TargetTime error (SITP status 23h)"
