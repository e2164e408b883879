"""What a runner does when things go wrong: no answer, no gateway, no database, somebody who takes a job back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from openmetering.errors import InputError, TransportError
from openmetering.protocol.exchange import Answered, Failed, Submit, Withdraw
from openmetering.protocol.operator.journal import OpenCommand
from openmetering.services.headend.jobs import task
from openmetering.services.headend.jobs.carriers import CarriedOrder, CarriedResult
from openmetering.services.headend.jobs.journal import OWNER, Ledger
from openmetering.services.headend.jobs.runner import RunnerSettings
from openmetering.services.headend.model import Job
from openmetering.storage import job_rows, protocol_rows, tables
from tests.services.headend.jobs.bench import ANNA, BERT, START, WARM, WATER, Bench

IMPATIENT = RunnerSettings(poll=600.0, patience=300.0)


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, settings=IMPATIENT)
    yield made
    made.database.close()


def is_container(order: CarriedOrder) -> bool:
    command = order.exchange.command if isinstance(order, Submit) else None
    return command is not None and command.protocol == "sitp"


def until_sent(bench: Bench, job: Job) -> None:
    """Until the command of a job is on its way."""
    bench.runner.look()
    bench.run(lambda: any(is_container(order) for order in bench.sent) and bench.job(job).state == "running")


# -- no answer -------------------------------------------------------------------------------------------


def test_a_lost_answer_is_settled_by_the_key_counter(impatient: Bench) -> None:
    bench = impatient
    lost: list[CarriedResult] = []

    def first_answer(result: CarriedResult) -> bool:
        if isinstance(result, Answered) and not lost:
            lost.append(result)
            return True
        return False

    bench.deaf = first_answer
    job, outcome = bench.do("disconnector", state="disconnected")
    assert len(lost) == 1
    assert bench.valve() == [0]
    assert len(bench.executed) == 1
    assert job.attempts == 1
    assert outcome.values["control"] == "disconnected"
    assert any(isinstance(order, Withdraw) for order in bench.sent)


def test_a_device_that_never_answers_is_tried_again_with_growing_pauses(impatient: Bench) -> None:
    bench = impatient
    bench.jammed = lambda order: True
    job = bench.finish(bench.ask("read"))
    assert (job.state, job.attempts) == ("failed", 5)
    assert job.error == "the device did not answer"
    begun = [step.at.timestamp() - START.timestamp() for step in bench.desk.steps(job.id) if step.text.startswith("attempt")]
    pauses = [round(after - before - 300.0) for before, after in itertools.pairwise(begun)]
    assert pauses == [60, 300, 1800, 7200]
    assert sum("again in" in text for text in bench.steps(job)) == 4


def test_a_command_of_which_nobody_knows_is_unknown_and_can_be_taken_up(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: True
    job = bench.finish(bench.ask("disconnector", state="disconnected"))
    assert job.state == "unknown"
    assert any("what became of it is found out first" in text for text in bench.steps(job))
    assert bench.valve() == [0]
    assert bench.journal().command(0x20) is not None
    bench.deaf = lambda result: False
    bench.desk.resume(job.id)
    again = bench.finish(job)
    assert again.state == "done", again.error
    assert bench.outcome(again).values["proof"] == "counter"
    assert len(bench.executed) == 1
    assert bench.journal().commands == ()


def test_a_command_that_never_left_is_sent_when_the_way_is_free(impatient: Bench) -> None:
    bench = impatient
    bench.jammed = lambda order: is_container(order) or bench.world.now < 4000.0
    job = bench.ask("disconnector", state="disconnected")
    bench.runner.look()
    bench.run(lambda: bench.world.now > 5000.0)
    assert bench.job(job).state == "running"
    bench.jammed = lambda order: False
    done = bench.finish(job)
    assert done.state == "done"
    assert bench.valve() == [0]
    assert len(bench.executed) == 1


def test_another_command_settles_what_was_open_and_the_old_job_cannot_be_taken_up(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: True
    old = bench.finish(bench.ask("disconnector", state="disconnected"))
    bench.deaf = lambda result: False
    new = bench.finish(bench.ask("disconnector", state="disconnected"))
    assert new.state == "done"
    assert bench.outcome(new).values["proof"] == "answer"  # a command of its own, not the old one once more
    assert len(bench.executed) == 2
    assert bench.steps(old)[-1] == f"settled by job {new.id}: disconnector: disconnected: the device had taken it"
    with pytest.raises(InputError, match="another job has commanded"):
        bench.desk.resume(old.id)
    # the third one finds nothing open, and the old job hears nothing more
    bench.do("disconnector", state="connected")
    assert sum(text.startswith("settled by") for text in bench.steps(old)) == 1


def test_where_a_device_tells_nothing_a_new_job_commands_it_anew(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: True
    old = bench.finish(bench.ask("disconnector", WARM, state="disconnected"))  # a device without lists of key counters
    assert old.state == "unknown"
    bench.deaf = lambda result: False
    bench.desk.resume(old.id)
    assert bench.finish(old).state == "unknown"
    assert len(bench.executed) == 1
    job, outcome = bench.do("disconnector", WARM, state="disconnected")
    assert outcome.values["proof"] == "answer"
    assert bench.steps(old)[-1] == f"settled by job {job.id}: disconnector: disconnected: the device does not tell"
    assert bench.executed == [1, 2]


def test_a_job_whose_attempts_wait_keeps_others_from_the_device(impatient: Bench) -> None:
    bench = impatient
    bench.jammed = lambda order: bench.world.now < 1000.0
    first = bench.ask("disconnector", state="disconnected")
    second = bench.ask("disconnector", state="connected")
    bench.runner.look()
    bench.run(lambda: bench.job(first).error is not None)
    assert bench.job(second).state == "queued"
    assert bench.finish(second).state == "done"
    assert bench.job(first).state == "done"
    assert bench.valve() == [0, 1]


def test_what_the_gateway_sent_once_is_not_repeated(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: True
    job = bench.finish(bench.ask("clock", action="adjust", seconds=30, by_gateway=True))
    assert (job.state, job.attempts) == ("unknown", 1)
    assert sum(isinstance(order, Submit) for order in bench.sent) == 1


def test_killed_behind_a_command_by_the_gateway_it_is_unknown(bench: Bench) -> None:
    job = bench.ask("clock", action="adjust", seconds=30, by_gateway=True)
    bench.runner.look()
    bench.run(lambda: any(isinstance(order, Submit) for order in bench.sent))
    bench.start()
    done = bench.finish(job)
    assert done.state == "unknown"
    assert "adjust the clock by 30 s, by the gateway" in (done.error or "")
    assert sum(isinstance(order, Submit) for order in bench.sent) == 1


def test_attempts_go_on_behind_a_restart(impatient: Bench) -> None:
    bench = impatient
    bench.jammed = lambda order: True
    job = bench.ask("read")
    bench.runner.look()
    bench.run(lambda: bench.job(job).attempts == 2 and bench.job(job).error is not None)
    waits = bench.job(job).not_before
    assert waits is not None
    bench.start()
    bench.run(lambda: bench.job(job).attempts == 3)
    assert bench.clock() >= waits
    assert bench.finish(job).attempts == 5


def test_answers_that_belong_to_nobody_are_left_out(bench: Bench) -> None:
    job = bench.ask("disconnector", state="disconnected")
    until_sent(bench, job)
    bench.runner.receive(Failed(1, "no-answer"), bench.now)
    assert bench.finish(job).state == "done"
    token = next(order.token for order in bench.sent if isinstance(order, Submit))
    bench.runner.receive(Answered(token, 0), bench.now)
    assert bench.job(job).state == "done"


# -- no gateway ------------------------------------------------------------------------------------------


def test_a_device_that_no_gateway_reaches_waits(bench: Bench) -> None:
    bench.reached = False
    job = bench.ask("disconnector", state="disconnected")
    bench.runner.look()
    bench.run(lambda: bench.world.now > 3000.0)
    waiting = bench.job(job)
    assert (waiting.state, waiting.attempts) == ("queued", 0)
    assert bench.steps(job)[-1] == "no gateway reaches the device; it waits"
    assert sum("no gateway" in text for text in bench.steps(job)) == 1
    bench.reached = True
    assert bench.finish(job).attempts == 1


def test_a_job_that_has_begun_waits_for_its_gateway_too(bench: Bench) -> None:
    job = bench.ask("disconnector", state="disconnected")
    until_sent(bench, job)
    bench.reached = False
    bench.start()
    bench.run(lambda: bench.world.now > 600.0)
    assert bench.job(job).state == "running"
    bench.reached = True
    assert bench.finish(job).state == "done"
    assert len(bench.executed) == 1


def test_a_carrier_that_cannot_take_an_order_is_tried_again(bench: Bench) -> None:
    broken = True
    hand_over = bench._hand_over

    def refuse(order: CarriedOrder) -> None:
        if broken and isinstance(order, Submit):
            raise TransportError("the broker is gone", code="transport.lost", layer="transport")
        hand_over(order)

    bench._hand_over = refuse  # type: ignore[method-assign]
    bench.start()
    job = bench.ask("disconnector", state="disconnected")
    bench.runner.look()
    bench.run(lambda: bench.job(job).error is not None)
    assert bench.journal().commands == ()
    broken = False
    done = bench.finish(job)
    assert (done.state, done.attempts) == ("done", 2)
    assert len(bench.executed) == 1


# -- time ------------------------------------------------------------------------------------------------


def test_a_job_does_not_begin_before_its_time(bench: Bench) -> None:
    due = bench.clock().replace(hour=3)
    job = bench.desk.create(bench.devices[WATER], "read", "{}", ANNA, due)
    bench.finish(job)
    begins = next(step.at for step in bench.desk.steps(job.id) if step.text.startswith("attempt"))
    assert 0.0 <= (begins - due).total_seconds() <= 601.0


def test_only_so_many_at_a_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings=RunnerSettings(poll=600.0, parallel=1))
    jobs = [bench.ask("read", name) for name in (WATER, WARM)]
    bench.runner.look()
    bench.runner.step(bench.now)
    assert [bench.job(job).state for job in jobs] == ["running", "queued"]
    assert not bench.runner.idle
    bench.finish(jobs[1])
    bench.finish(jobs[0])
    assert bench.runner.idle
    bench.database.close()


# -- taking back -----------------------------------------------------------------------------------------


def take_back(bench: Bench, job: Job) -> Job:
    bench.desk.cancelled = lambda job_id: bench.runner.cancel(job_id, bench.now)
    bench.desk.cancel(job.id, BERT)
    return bench.finish(job)


def test_a_queued_job_is_taken_back(bench: Bench) -> None:
    job = bench.ask("disconnector", state="disconnected")
    assert bench.desk.cancel(job.id).state == "cancelled"
    bench.runner.look()
    bench.run(lambda: bench.world.now > 300.0)
    assert bench.sent == []
    with pytest.raises(InputError, match="the job is cancelled: it cannot be cancelled"):
        bench.desk.cancel(job.id)


def test_a_command_on_its_way_is_taken_back(impatient: Bench) -> None:
    bench = impatient
    bench.jammed = lambda order: is_container(order) and len(bench.sent) == 1
    job = bench.ask("disconnector", state="disconnected")
    until_sent(bench, job)
    done = take_back(bench, job)
    assert (done.state, done.error) == ("cancelled", "taken back; the device has not taken the command")
    assert bench.valve() == []
    assert bench.journal().commands == ()


def test_a_command_that_was_taken_cannot_be_taken_back(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: bench.valve() == [0] and bench.world.now < 200.0
    job = bench.ask("disconnector", state="disconnected")
    until_sent(bench, job)
    bench.run(lambda: bench.valve() == [0])
    bench.deaf = lambda result: False
    done = take_back(bench, job)
    assert done.state == "done"
    assert bench.steps(done)[-1] == "done: the device had taken the command before it was taken back"
    assert len(bench.executed) == 1


def test_taken_back_and_nobody_knows(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: True
    job = bench.ask("disconnector", state="disconnected")
    until_sent(bench, job)
    done = take_back(bench, job)
    assert done.state == "unknown"
    assert bench.journal().command(0x20) is not None
    take = bench.runner
    take.cancel(job.id, bench.now)  # nothing is under way any more
    assert bench.job(job).state == "unknown"


def test_a_reading_is_taken_back_at_once(bench: Bench) -> None:
    job = bench.ask("read")
    bench.runner.look()
    bench.run(lambda: bool(bench.sent))
    done = take_back(bench, job)
    assert (done.state, done.error) == ("cancelled", "taken back; nothing of it is open")
    assert isinstance(bench.sent[-1], Withdraw)


def test_a_command_by_the_gateway_that_was_taken_back_is_unknown(bench: Bench) -> None:
    job = bench.ask("clock", action="adjust", seconds=30, by_gateway=True)
    bench.runner.look()
    bench.run(lambda: bool(bench.sent))
    assert take_back(bench, job).state == "unknown"


def test_firmware_is_taken_back_and_goes_on_later(bench: Bench) -> None:
    image = {"identifier": "V2", "image": bytes(1900), "poll": 5.0}
    job = bench.ask("firmware", **image)
    bench.runner.look()
    bench.run(lambda: bench.job(job).progress > 0.3)
    assert take_back(bench, job).state == "cancelled"
    assert bench.journal().image is not None
    _, outcome = bench.do("firmware", **image)
    assert outcome.values["resumed"] is True
    assert int(str(outcome.values["sent"])) < 10


def test_a_key_that_is_not_active_yet_is_taken_back(bench: Bench) -> None:
    bench.jammed = is_container
    job = bench.ask("keys", action="renew", key_id=0x20)
    until_sent(bench, job)
    bench.jammed = lambda order: False
    assert take_back(bench, job).state == "cancelled"
    assert bench.journal().renewals == ()
    _, outcome = bench.do("keys", action="renew", key_id=0x20)
    assert outcome.values["new"] == 1  # the key that was made before


def test_a_key_that_may_be_active_is_left_to_the_next_renewal(impatient: Bench) -> None:
    bench = impatient
    bench.deaf = lambda result: any(renewal.stage == "activating" for renewal in bench.journal().renewals)
    job = bench.ask("keys", action="renew", key_id=0x20)
    bench.runner.look()
    bench.run(lambda: any(renewal.stage == "activating" for renewal in bench.journal().renewals))
    bench.desk.cancelled = lambda job_id: bench.runner.cancel(job_id, bench.now)
    bench.desk.cancel(job.id)
    bench.deaf = lambda result: False
    assert bench.finish(job).state == "unknown"
    _, outcome = bench.do("keys", action="renew", key_id=0x20)
    assert outcome.values["new"] == 1


@pytest.mark.parametrize("begun", [False, True])
def test_taken_back_while_no_head_end_runs(bench: Bench, begun: bool) -> None:
    job = bench.ask("disconnector", state="disconnected")
    if begun:
        bench.jammed = is_container
        until_sent(bench, job)
        bench.jammed = lambda order: False
    else:
        bench.runner.look()
        with bench.database.transaction() as connection:
            assert job_rows.claim(connection, bench.clock()) is not None
    bench.desk.cancel(job.id)  # nobody is told
    bench.start()
    done = bench.finish(job)
    assert done.state == "cancelled"
    words = "the device has not taken the command" if begun else "before anything was sent"
    assert words in (done.error or "")
    assert bench.executed == []


def test_a_job_between_two_attempts_is_taken_back(impatient: Bench) -> None:
    bench = impatient
    bench.jammed = lambda order: True
    job = bench.ask("read")
    bench.runner.look()
    bench.run(lambda: bench.job(job).error is not None)
    at = bench.world.now
    assert take_back(bench, job).state == "cancelled"
    assert bench.world.now - at < 1.0


# -- faults of the head-end ------------------------------------------------------------------------------


def test_nothing_leaves_when_the_database_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Ledger.transaction
    broken = False

    @contextmanager
    def transaction(ledger: Ledger) -> Iterator[Connection]:
        if broken:
            raise TransportError("the disk is full", code="storage.failed", layer="storage")
        with genuine(ledger) as connection:
            yield connection

    monkeypatch.setattr(Ledger, "transaction", transaction)
    prepare = bench.runner._prepare
    job = bench.ask("disconnector", state="disconnected")

    def fails(claimed: Job) -> task.Running | None:
        nonlocal broken
        made = prepare(claimed)
        broken = True
        return made

    monkeypatch.setattr(bench.runner, "_prepare", fails)
    bench.runner.look()
    with pytest.raises(TransportError, match="disk is full"):  # looking for another job
        bench.runner.step(bench.now)
    assert bench.sent == []
    assert bench.job(job).state == "running"
    broken = False
    monkeypatch.setattr(bench.runner, "_prepare", prepare)
    assert bench.finish(job).state == "done"
    assert len(bench.executed) == 1


def test_a_result_that_cannot_be_written_is_found_out_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = job_rows.move
    fails = True

    def move(*arguments: object, **values: object) -> Job | None:
        nonlocal fails
        if fails and "done" in arguments:
            fails = False
            raise TransportError("the disk is full", code="storage.failed", layer="storage")
        return genuine(*arguments, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(job_rows, "move", move)
    job, outcome = bench.do("disconnector", state="disconnected")
    assert outcome.values["proof"] == "counter"
    assert len(bench.executed) == 1
    assert not fails
    assert job.attempts == 1


def test_a_database_that_fails_before_a_job_begins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Ledger.journal
    calls = []

    def journal(ledger: Ledger, device: object) -> object:
        calls.append(device)
        if len(calls) == 1:
            raise TransportError("locked", code="storage.failed", layer="storage")
        return genuine(ledger, device)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "journal", journal)
    assert bench.finish(bench.ask("read")).state == "done"
    assert len(calls) == 2


def test_a_runner_that_was_replaced_stops_before_anything_leaves(bench: Bench) -> None:
    old = bench.runner
    job = bench.ask("disconnector", state="disconnected")
    bench.start()
    old.look()
    with pytest.raises(InputError) as caught:
        old.step(bench.now)
    assert caught.value.code == "jobs.replaced"
    assert bench.sent == []
    assert bench.finish(job).state == "done"


def test_a_fault_of_ours_ends_one_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> object:
        raise ZeroDivisionError

    broken = bench.ask("read")
    worse = bench.ask("disconnector", state="disconnected")
    monkeypatch.setattr("openmetering.services.headend.jobs.outcomes.readings", fails)
    assert bench.finish(broken).state == "failed"
    assert bench.job(broken).error == "the head-end failed: ZeroDivisionError"
    monkeypatch.setattr("openmetering.services.headend.jobs.outcomes.disconnector_set", fails)
    assert bench.finish(worse).state == "unknown"
    assert bench.do("supervision")[0].state == "done"


def test_parameters_and_devices_that_are_no_good_any_more(bench: Bench) -> None:
    job = bench.ask("read")
    with bench.database.transaction() as connection:
        job_rows.jobs.change(connection, job.id, parameters='{"nonsense": 1}')
    assert bench.finish(job).state == "failed"
    job = bench.ask("read", WARM)
    with bench.database.transaction() as connection:
        connection.execute(tables.devices.update().where(tables.devices.c.id == job.device_id).values(address="meter 5"))
    done = bench.finish(job)
    assert done.state == "failed"


def test_an_end_that_cannot_be_written_is_written_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Ledger.transaction
    fails = 0

    @contextmanager
    def transaction(ledger: Ledger) -> Iterator[Connection]:
        nonlocal fails
        fails += 1
        if fails == 2:  # the first one claims the job
            raise TransportError("locked", code="storage.failed", layer="storage")
        with genuine(ledger) as connection:
            yield connection

    job = bench.ask("read")
    with bench.database.transaction() as connection:
        job_rows.jobs.change(connection, job.id, parameters="[]")
    monkeypatch.setattr(Ledger, "transaction", transaction)
    assert bench.finish(job).state == "failed"
    assert fails >= 3


def test_many_jobs_are_taken_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    page = job_rows.jobs_page
    monkeypatch.setattr(
        job_rows,
        "jobs_page",
        lambda connection, **named: page(connection, **{**named, "limit": 1}),  # type: ignore[arg-type]
    )
    jobs = [bench.ask("read", name) for name in (WATER, WARM)]
    with bench.database.transaction() as connection:
        for _ in jobs:
            assert job_rows.claim(connection, bench.clock()) is not None
    bench.start()
    for job in jobs:
        assert bench.finish(job).state == "done"


def test_a_missing_key_is_said(bench: Bench) -> None:
    for info in bench.vault.keys(pattern=str(bench.address())).items:
        if info.key_id == 0x20:
            bench.vault.retire(info.id)
    bench.start()
    job = bench.finish(bench.ask("disconnector", state="disconnected"))
    assert (job.state, job.attempts) == ("failed", 1)
    assert "no key" in (job.error or "")
    assert bench.journal().commands == ()


def test_a_command_of_another_kind_that_is_open_says_nothing_about_this_one(impatient: Bench) -> None:
    bench = impatient
    with bench.database.transaction() as connection:
        journal = bench.journal().with_command(OpenCommand(0x26, 0, 7, bytes(16), "due date"))
        protocol_rows.save_journal(connection, OWNER, journal, bench.clock())
    bench.jammed = lambda order: True
    job = bench.finish(bench.ask("supervision", action="clear"))
    assert job.state == "failed"  # it never began: the older one could not be settled
    assert bench.journal().command(0x26) is not None
