"""Carries jobs out: claims what is due, drives one operator machine per device, writes down what came of it.

    queued --claim--> Running --Submit--> carrier ... --Answered, Failed--> Running --> result, steps, audit trail
                         |                                                     |
                         +-- nobody serves the device: back to the queue       +-- no answer: again later, still running

Plain code with the time given: ``step`` when time has passed, ``receive`` for what carriers bring, ``cancel`` for what
somebody takes back. One thread calls them (``worker``). Orders leave after the journal of the device is written; the
result is written together with the last journal. Jobs that were running when the program ended are taken up by
``begin``: their procedures settle what they find open.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection

from openmetering.codec.address import Address
from openmetering.errors import ExchangeFailed, OmsError, TransportError
from openmetering.protocol.exchange import Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.operator.operator import Aborted, Finished, OperatorInput, OperatorOutput, Start, Stop
from openmetering.protocol.operator.steps import Procedure, Progress
from openmetering.services.headend.bus import Bus, JobChanged
from openmetering.services.headend.jobs.carriers import CarriedResult, Carriers
from openmetering.services.headend.jobs.desk import BEGUN, CANCEL, SETTLED, all_steps
from openmetering.services.headend.jobs.journal import OWNER, REPLACED, Ledger
from openmetering.services.headend.jobs.kinds import kind_of, read_parameters
from openmetering.services.headend.jobs.life import Ending, Event, Retries, ending, next_state, unsettled
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.services.headend.jobs.task import JobKeys, Running, TakenBack
from openmetering.services.headend.model import Job, moment
from openmetering.storage import audit_rows, job_rows, protocol_rows, registry_rows, tables
from openmetering.storage.database import Database

__all__ = ["Runner", "RunnerSettings"]

_log = logging.getLogger(__name__)
_SERIAL, _TOKENS = 15, 16  #: bits of a token for the operators of a runner, and for the exchanges of an operator
_NEARLY: Final = 0.99  #: progress of what is not over
_AT_ONCE: Final = 16  #: jobs that are begun, or found to have no way, before anything else gets its turn


class RunnerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Habits of a runner; times in seconds.

    ``parallel``  jobs under way at a time;  ``poll``  how often new jobs are looked for
    ``patience``  for one exchange, longer than a gateway waits for a window (4 h)
    ``detour``    until a job is tried again that nobody could carry, or whose result could not be written
    ``telling``   between two notes of progress of a job
    """

    retries: Retries = Retries()
    parallel: int = 64
    poll: float = 1.0
    patience: float = 21_600.0
    detour: float = 60.0
    telling: float = 1.0


class Runner:
    """The jobs of one database. ``idle`` if nothing is under way."""

    def __init__(
        self,
        database: Database,
        keys: JobKeys,
        carriers: Carriers,
        *,
        bus: Bus | None = None,
        settings: RunnerSettings | None = None,
    ) -> None:
        self.carriers = carriers
        self.settings = settings or RunnerSettings()
        self._keys = keys
        self._bus = bus
        self._ledger = Ledger(database)
        self._active: dict[int, Running] = {}
        self._waiting: dict[int, float] = {}  #: running jobs between attempts, and when they go on
        self._cancelled: set[int] = set()
        self._missed: set[int] = set()  #: jobs whose device nobody serves, told already
        self._serial = 0
        self._looked_at = float("-inf")
        self._now = 0.0

    # -- driven by the worker ----------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Take over: what an earlier runner had under way goes on. Raises TransportError (``storage.failed``)"""
        self._now = now
        self._ledger.begin(self._moment())
        with self._ledger.database.reading() as connection:
            after: int | None = None
            while True:
                page = job_rows.jobs_page(connection, states=("running",), after=after, limit=1000)
                for job in page.items:
                    self._waiting[job.id] = now if job.not_before is None else job.not_before.timestamp()
                if page.after is None:
                    return
                after = page.after

    @property
    def deadline(self) -> float:
        """When ``step`` wants to be called next, at the latest."""
        times = [self._looked_at + self.settings.poll, *self._waiting.values()]
        for running in self._active.values():
            if running.operator.deadline is not None:
                times.append(running.operator.deadline)
            if running.token is not None:
                times.append(running.asked_at + self.settings.patience)
        return min(times)

    @property
    def idle(self) -> bool:
        """True if no job is under way and none waits for its next attempt."""
        return not self._active and not self._waiting

    def step(self, now: float) -> None:
        """Time has passed. Raises InputError (``jobs.replaced``), TransportError (``storage.failed``)"""
        self._now = now
        for running in tuple(self._active.values()):
            if running.operator.deadline is not None and running.operator.deadline <= now:
                self._feed(running, None)
            elif running.token is not None and running.asked_at + self.settings.patience <= now:
                self._give_up(running)
        for job_id in [number for number, due in self._waiting.items() if due <= now]:
            self._again(job_id)
        if now >= self._looked_at + self.settings.poll:
            self._looked_at = now
            self._look()

    def receive(self, result: CarriedResult, now: float) -> None:
        """A carrier brings something; what nobody waits for is left out. Raises what ``step`` raises."""
        self._now = now
        for running in tuple(self._active.values()):
            if running.token == result.token:
                running.token = None
                self._feed(running, result)
                return

    def cancel(self, job_id: int, now: float) -> None:
        """Somebody takes a job back that is under way. Raises what ``step`` raises."""
        self._now = now
        running = self._active.get(job_id)
        if running is not None:
            self._stop(running)
        elif job_id in self._waiting:
            self._cancelled.add(job_id)
            self._again(job_id)

    def look(self) -> None:
        """Look for new jobs with the next ``step``: somebody says that there are some."""
        self._looked_at = float("-inf")

    # -- beginning -----------------------------------------------------------------------------------

    def _moment(self) -> datetime:
        return moment(self._now)

    def _look(self) -> None:
        """Claim what is due, some at a time: others want to write as well. An empty queue costs no write."""
        with self._ledger.reading() as connection:
            if not job_rows.jobs.count(connection, tables.jobs.c.state == "queued"):
                return
        for _ in range(_AT_ONCE):
            if len(self._active) >= self.settings.parallel:
                return
            with self._ledger.transaction() as connection:
                job = job_rows.claim(connection, self._moment())
            if job is None:
                return
            self._open(job)
        self.look()

    def _again(self, job_id: int) -> None:
        """The next attempt of a job, or its first one after a restart."""
        with self._ledger.transaction() as connection:
            job = job_rows.jobs.get(connection, job_id)
            if job is not None and job.error is not None:  # it failed before; after a restart the attempt is the same one
                job = job_rows.jobs.change(connection, job_id, attempts=job.attempts + 1, error=None)
        del self._waiting[job_id]
        if job is not None and job.state == "running":
            self._open(job)

    def _open(self, job: Job) -> None:
        """Put together what the job needs and let its procedure begin, or go on."""
        try:
            running = self._prepare(job)
        except TransportError as error:
            _log.error("job %d: %s", job.id, error.message)
            self._waiting[job.id] = self._now + self.settings.detour
        except OmsError as error:
            if error.code == REPLACED:
                raise
            self._close(job, "failed", error.message)
        else:
            if running is not None:
                self._start(running)

    def _prepare(self, job: Job) -> Running | None:
        """None if the job is over or has to wait.

        Raises InputError, KeyNotFound: it can never be carried out; TransportError (``storage.failed``)
        """
        with self._ledger.database.reading() as connection:
            row = registry_rows.devices.get(connection, job.device_id)
            steps = all_steps(connection, job.id)
        begun = any(step.text.startswith(BEGUN) for step in steps)
        cancelling = job.id in self._cancelled or any(step.text == CANCEL for step in steps)
        if cancelling and not begun:
            self._close(job, "cancelled", "taken back before anything was sent")
            return None
        kind, wanted = kind_of(job.kind), read_parameters(job.kind, job.parameters)
        address = Address.parse("" if row is None else row.address)
        carrier = self.carriers.find(address)
        if carrier is None:
            self._detour(job, begun=begun)
            return None
        journal = self._ledger.journal(address)
        running = Running(job, kind, wanted, address, carrier, journal, self._keys, self._tokens(), lambda: self._now)
        running.begun, running.cancelling = begun, cancelling
        return running

    def _start(self, running: Running) -> None:
        job, effect = running.job, running.plan.effect
        if running.begun and effect == "once":
            self._close(job, "unknown", f"nobody knows whether the device executed it: {running.plan.meaning}")
            return
        if running.cancelling and effect == "none":
            self._close(job, "cancelled", "cancelled")
            return
        self._missed.discard(job.id)
        self._active[job.id] = running
        if running.cancelling:
            self._run(running, running.take_back())
        else:
            running.words.append(f"attempt {job.attempts} by {running.carrier.name}")
            self._run(running, running.whole(BEGUN))

    def _run(self, running: Running, procedure: Procedure[Outcome] | Procedure[TakenBack]) -> None:
        self._feed(running, Start(procedure))

    def _tokens(self) -> range:
        """A range that no other operator has, of this runner or an earlier one."""
        number = (self._ledger.generation << _SERIAL) | self._serial
        self._serial = (self._serial + 1) % (1 << _SERIAL)
        return range(number << _TOKENS, (number + 1) << _TOKENS)

    def _detour(self, job: Job, *, begun: bool) -> None:
        """Nobody serves the device now."""
        later = self._now + self.settings.detour
        told = job.id in self._missed
        self._missed.add(job.id)
        if begun:
            self._waiting[job.id] = later
        with self._ledger.transaction() as connection:
            if not told:
                job_rows.add_step(connection, job.id, self._moment(), "no gateway reaches the device; it waits")
            if not begun:
                state = next_state(job.state, "wait")
                values = {"not_before": moment(later), "attempts": max(0, job.attempts - 1)}
                job = job_rows.move(connection, job.id, (job.state,), state, **values) or job
        if not told:
            self._tell(job)

    # -- carrying ------------------------------------------------------------------------------------

    def _feed(self, running: Running, event: OperatorInput | None) -> None:
        """Let the operator machine go on, with None because of the time."""
        operator, now = running.operator, self._now
        try:
            events = operator.timeout(now) if event is None else operator.receive(event, now)
        except Exception as error:  # a fault of ours: the other jobs go on
            _log.exception("job %d stopped", running.job.id)
            harmless = running.plan.effect == "none" or not running.begun
            words = f"the head-end failed: {type(error).__name__}"
            self._finish(running, "failed" if harmless else "unknown", words)
            return
        self._carry(running, events)

    def _carry(self, running: Running, events: Sequence[OperatorOutput]) -> None:
        """What the operator says: progress is noted, orders leave behind the journal, an end is written down."""
        orders: list[Submit | Withdraw | GiveKey] = []
        end: Finished | Aborted | None = None
        for event in events:
            if isinstance(event, Progress):
                self._progress(running, event)
            elif isinstance(event, Finished | Aborted):
                end = event
            elif isinstance(event, Submit | Withdraw | GiveKey):
                orders.append(event)
        if orders:
            try:
                self._write(running)
            except TransportError as error:
                self._strand(running, error)
                return
        for order in orders:
            self._send(running, order)
        if end is not None:
            self._end(running, end)

    def _send(self, running: Running, order: Submit | Withdraw | GiveKey) -> None:
        if isinstance(order, Submit):
            running.token, running.asked_at = order.token, self._now
        try:
            running.carrier.send(order)
        except TransportError as error:
            _log.warning("job %d: %s", running.job.id, error.message)
            if isinstance(order, Submit):
                self.receive(Failed(order.token, "no-access", delivered=False), self._now)

    def _progress(self, running: Running, event: Progress) -> None:
        running.told = min(event.done / event.total if event.total else 0.0, _NEARLY)
        if event.done == 0 or event.done == event.total:
            running.words.append(event.text)

    def _write(self, running: Running) -> None:
        """Journal, steps and progress, before something leaves. Raises InputError, TransportError."""
        progress = running.told if self._now - running.told_at >= self.settings.telling else running.job.progress
        changed = progress != running.job.progress
        if not (running.draft.pending or running.words or changed):
            with self._ledger.reading():  # another runner may have taken over
                return
        with self._ledger.transaction() as connection:
            running.draft.write(connection, self._moment())
            for words in running.words:
                job_rows.add_step(connection, running.job.id, self._moment(), words)
            if running.begun and running.settled is not None:
                self._tell_settled(connection, running)
            job = running.job
            if changed:
                job = job_rows.jobs.change(connection, job.id, progress=progress) or job
        told = bool(running.words) or changed
        running.draft.written()
        running.words.clear()
        if running.begun:
            running.settled = None
        running.job = job
        if changed:
            running.told_at = self._now
        if told:
            self._tell(job)

    def _tell_settled(self, connection: Connection, running: Running) -> None:
        """Earlier jobs for the device whose outcome is unknown learn that this one commands it now, and what it found."""
        settled = running.settled or ()
        found = (
            ", ".join(f"{one.command.meaning or 'a command'}: {_VERDICTS[one.taken]}" for one in settled) or "nothing was open"
        )
        page = job_rows.jobs_page(connection, states=("unknown",), device_ids=(running.job.device_id,), limit=1000)
        for job in page.items:
            if not any(step.text.startswith(SETTLED) for step in all_steps(connection, job.id)):
                job_rows.add_step(connection, job.id, self._moment(), f"{SETTLED}{running.job.id}: {found}")

    def _give_up(self, running: Running) -> None:
        """Nobody has answered, not even the gateway."""
        token, running.token = running.token, None
        if token is not None:
            self._send(running, Withdraw(token))
            self._feed(running, Failed(token, "no-answer", delivered=None))

    def _strand(self, running: Running, error: OmsError) -> None:
        """The database fails: nothing leaves, the job goes on later from what is stored."""
        _log.error("job %d: %s", running.job.id, error.message)
        self._active.pop(running.job.id, None)
        self._waiting[running.job.id] = self._now + self.settings.detour

    # -- taking back ----------------------------------------------------------------------------------

    def _stop(self, running: Running) -> None:
        if running.cancelling:
            return
        running.cancelling = True
        running.token = None
        for event in running.operator.receive(Stop(), self._now):
            if isinstance(event, Withdraw):
                self._send(running, event)
        effect = running.plan.effect
        if running.begun and effect == "once":
            self._finish(running, "unknown", "taken back, but the device may have executed it")
        elif running.begun and effect == "journal" and self._unsettled(running):
            self._run(running, running.take_back())
        else:
            self._finish(running, "cancelled", "taken back; nothing of it is open")

    @staticmethod
    def _unsettled(running: Running) -> bool:
        return unsettled(running.head_end.journal(running.device), running.plan.key_id)

    # -- ending ----------------------------------------------------------------------------------------

    def _end(self, running: Running, end: Finished | Aborted) -> None:
        running.token = None
        if isinstance(end, Aborted):
            self._failed(running, end.error)
        elif isinstance(end.result, TakenBack):
            self._finish(running, *_TAKEN_BACK[end.result.taken])
        else:
            outcome = end.result
            assert isinstance(outcome, Outcome)  # the procedure of a job ends in nothing else
            self._finish(running, "done" if outcome.good else "failed", outcome.words[0], outcome)

    def _failed(self, running: Running, error: OmsError) -> None:
        job = running.job
        delay = self.settings.retries.delay(job.attempts)
        found: Ending = ending(error, running.plan, running.head_end.journal(running.device), last=delay is None)
        words = found.words.removeprefix(f"{running.device}: ")
        if found.event != "retry" or delay is None:
            self._finish(running, found.event, words)
            return
        if isinstance(error, ExchangeFailed) and error.delivered is not False and running.plan.effect == "journal":
            words += "; what became of it is found out first"
        running.words.append(f"{words}; again in {delay:.0f} s")
        self._finish(running, "retry", words, later=self._now + delay)

    def _finish(
        self, running: Running, event: Event, words: str, outcome: Outcome | None = None, later: float | None = None
    ) -> None:
        """Journal, result, last step and audit trail in one transaction."""
        try:
            with self._ledger.transaction() as connection:
                running.draft.write(connection, self._moment())
                for line in running.words:
                    job_rows.add_step(connection, running.job.id, self._moment(), line)
                if running.begun and running.settled is not None:
                    self._tell_settled(connection, running)
                if event == "done":
                    for key_id, version in running.renewals:
                        self._keys.in_use(running.device, key_id, version)
                if event in ("done", "unknown"):
                    self._move(connection, running)
                if later is None:
                    job = self._over(connection, running.job, event, words, outcome)
                else:
                    values = {"not_before": moment(later), "error": words}
                    job = job_rows.move(connection, running.job.id, ("running",), "running", **values) or running.job
        except OmsError as error:
            if error.code == REPLACED:
                raise
            self._strand(running, error)
            return
        self._active.pop(running.job.id, None)
        self._cancelled.discard(running.job.id)
        if later is not None:
            self._waiting[running.job.id] = later
        self._tell(job)

    def _move(self, connection: Connection, running: Running) -> None:
        """Other addresses that the device may have now: keys and journal count for them, too, so that no key counter is
        used twice; a new device of that address belongs to the same tenant. The old one stays: it has the past."""
        old = registry_rows.devices.get(connection, running.job.device_id)
        for address in running.moves:
            there = registry_rows.device_of_address(connection, str(address))
            if old is None or (there is not None and there.tenant_id not in (None, old.tenant_id)):
                continue  # somebody else's: neither keys nor counters of theirs are touched
            self._keys.moved(running.device, address)
            journal = msgspec.structs.replace(running.head_end.journal(running.device), address=address)
            for entry in protocol_rows.journal_of(connection, OWNER, address).counters:
                journal = journal.with_counter(entry.key_id, entry.version, entry.last)
            protocol_rows.save_journal(connection, OWNER, journal, self._moment())
            if there is None:
                new = msgspec.structs.replace(
                    old, address=str(address), medium=address.medium, state="registered",
                    first_heard=None, last_heard=None, interval_learned=None,
                )  # fmt: skip
                registry_rows.devices.add(connection, new, self._moment())

    def _close(self, job: Job, event: Event, words: str) -> None:
        """A job ends before its procedure has begun."""
        try:
            with self._ledger.transaction() as connection:
                job = self._over(connection, job, event, words, None)
        except TransportError as error:
            _log.error("job %d: %s", job.id, error.message)
            self._waiting[job.id] = self._now + self.settings.detour
            return
        self._cancelled.discard(job.id)
        self._missed.discard(job.id)
        self._tell(job)

    def _over(self, connection: Connection, job: Job, event: Event, words: str, outcome: Outcome | None) -> Job:
        state = next_state(job.state, event)
        result = None if outcome is None else msgspec.json.encode(outcome).decode()
        values: dict[str, object] = {"result": result, "error": None if event == "done" else words, "not_before": None}
        if event == "done":
            values["progress"] = 1.0
        job_rows.add_step(connection, job.id, self._moment(), f"{state}: {words}")
        audit_rows.append(connection, self._moment(), None, f"job {state}", f"job {job.id}", f"device {job.device_id} {job.kind}")
        return job_rows.move(connection, job.id, (job.state,), state, **values) or job

    def _tell(self, job: Job) -> None:
        if self._bus is not None:
            self._bus.publish(JobChanged(job))


_VERDICTS: Final[dict[bool | None, str]] = {
    True: "the device had taken it",
    False: "the device had not taken it",
    None: "the device does not tell",
}
#: what a job was that was taken back
_TAKEN_BACK: Final[dict[bool | None, tuple[Event, str]]] = {
    True: ("done", "the device had taken the command before it was taken back"),
    False: ("cancelled", "taken back; the device has not taken the command"),
    None: ("unknown", "taken back; nobody knows whether the device has taken the command"),
}
