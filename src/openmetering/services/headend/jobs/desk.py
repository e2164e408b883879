"""Where jobs are asked for, approved, taken back and looked at. Rights are judged by whoever stands in front of it.

Who asks for a job that may do harm does not approve it: another person does. Every change is a step of the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from openmetering.services.headend.jobs import kinds
from openmetering.services.headend.jobs.life import Event, next_state
from openmetering.services.headend.model import Device, Job, JobStep, Page, every
from openmetering.services.headend.problems import conflict, denied, unknown
from openmetering.storage import job_rows
from openmetering.storage.database import Database

__all__ = ["BEGUN", "CANCEL", "SETTLED", "JobDesk", "all_steps"]

BEGUN: Final = "begins: "  #: first words of the step behind which the device may have heard something
CANCEL: Final = "to be cancelled"  #: the step of somebody who takes back a job that is under way
SETTLED: Final = "settled by job "  #: first words of the step of an unknown job when another one commands the device
_ENOUGH: Final = 1000


def all_steps(connection: Connection, job_id: int) -> tuple[JobStep, ...]:
    """What happened to a job, all of it."""
    return tuple(every(lambda after: job_rows.steps_page(connection, job_id, after=after, limit=_ENOUGH)))


class JobDesk:
    """Jobs of one database. ``cancelled`` is called with the number of a job that somebody takes back while it runs."""

    __slots__ = ("_clock", "_database", "cancelled")

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.cancelled: Callable[[int], None] = _nobody

    # -- kinds --------------------------------------------------------------------------------------

    def kinds(self) -> tuple[str, ...]:
        """The names of all kinds."""
        return tuple(kinds.KINDS)

    def resource(self, kind: str, parameters: str | None = None) -> str:
        """What must be executable (and for its approval approvable), e.g. ``key:20``; see ``kinds.resource``."""
        return kinds.resource(kind, parameters)

    def needs_approval(self, kind: str, parameters: str) -> bool:
        """True if a second person is needed. Raises InputError (``access.invalid``)"""
        return kinds.plan_of(kind, parameters).approval

    # -- asking and deciding ---------------------------------------------------------------------------

    def create(
        self,
        device: Device,
        kind: str,
        parameters: str = "{}",
        user_id: int | None = None,
        not_before: datetime | None = None,
        *,
        draft: bool = False,
    ) -> Job:
        """Ask for a job; a draft waits until it is submitted.

        Raises InputError: ``access.invalid`` for parameters that cannot be used, ``access.conflict`` for a device that
        is retired
        """
        plan = kinds.plan_of(kind, parameters)
        if device.state == "retired":
            raise conflict(f"{device.address} is retired")
        state = "draft" if draft else next_state("draft", _submission(plan))
        now = self._clock()
        with self._database.transaction() as connection:
            wanted = Job(0, device.id, kind, parameters, state, user_id, now, not_before=not_before)
            made = job_rows.jobs.add(connection, wanted, now)
            self._step(connection, made.id, f"asked for: {plan.meaning}")
            if state == "awaiting-approval":
                self._step(connection, made.id, "a second person has to approve it")
        return made

    def submit(self, job_id: int) -> Job:
        """A draft is finished. Raises InputError (``access.unknown``, ``access.conflict``)"""
        job = self._known(job_id)
        event = _submission(kinds.plan_of(job.kind, job.parameters))
        return self._move(job, next_state(job.state, event), "submitted")

    def approve(self, job_id: int, user_id: int) -> Job:
        """A second person agrees.

        Raises InputError: ``access.unknown``, ``access.conflict`` if nothing waits for approval, ``access.denied`` for
        the own job
        """
        job = self._known(job_id)
        state = next_state(job.state, "approve")
        if job.created_by == user_id:
            raise denied("approve", "a job of your own")
        return self._move(job, state, "approved", approved_by=user_id)

    def cancel(self, job_id: int, user_id: int | None = None) -> Job:
        """Take a job back. One that is under way is stopped by its runner, which then says what the device had done.

        Raises InputError (``access.unknown``; ``access.conflict`` if it is over)
        """
        job = self._known(job_id)
        if job.state != "running":
            return self._move(job, next_state(job.state, "cancel"), "cancelled")
        with self._database.transaction() as connection:
            self._step(connection, job_id, CANCEL)
        self.cancelled(job_id)
        return job

    def resume(self, job_id: int) -> Job:
        """Find out what became of a job whose outcome is unknown.

        Raises InputError (``access.unknown``, ``access.conflict`` also if another job has commanded the device since:
        it has settled what it found open)
        """
        job = self._known(job_id)
        state = next_state(job.state, "resume")
        if any(step.text.startswith(SETTLED) for step in self.steps(job_id)):
            raise conflict("another job has commanded the device since: ask for a new one")
        return self._move(job, state, "taken up again", error=None, not_before=None, attempts=0)

    # -- looking -------------------------------------------------------------------------------------

    def find(self, job_id: int) -> Job | None:
        """A job by its number."""
        with self._database.reading() as connection:
            return job_rows.jobs.get(connection, job_id)

    def steps(self, job_id: int) -> tuple[JobStep, ...]:
        """What happened to a job, in order."""
        with self._database.reading() as connection:
            return all_steps(connection, job_id)

    def page(
        self,
        *,
        states: Iterable[str] = (),
        device_id: int | None = None,
        tenant_id: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """Jobs, the newest first; no states: all."""
        wanted = tuple(states)
        with self._database.reading() as connection:
            return job_rows.jobs_page(
                connection,
                states=wanted or None,
                device_ids=None if device_id is None else (device_id,),
                tenant_id=tenant_id,
                after=before,
                limit=limit,
            )

    # -- inside ---------------------------------------------------------------------------------------

    def _known(self, job_id: int) -> Job:
        found = self.find(job_id)
        if found is None:
            raise unknown("job", job_id)
        return found

    def _move(self, job: Job, state: str, words: str, **values: object) -> Job:
        """Raises InputError (``access.conflict``) if somebody was faster."""
        with self._database.transaction() as connection:
            made = job_rows.move(connection, job.id, (job.state,), state, **values)
            if made is None:
                raise conflict("the job has changed meanwhile")
            self._step(connection, job.id, words)
        return made

    def _step(self, connection: Connection, job_id: int, text: str) -> None:
        job_rows.add_step(connection, job_id, self._clock(), text)


def _submission(plan: kinds.Plan) -> Event:
    return "ask" if plan.approval else "submit"


def _nobody(job_id: int) -> None:
    """No runner in this process: the one that carries the job out reads the step."""
