"""Rows of jobs and of their steps. A change of state names the states that it may come from, so that two cannot both do it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, or_, select

from openmetering.storage import tables
from openmetering.storage.model import Job, JobStep, Page
from openmetering.storage.rows import Rows

__all__ = ["add_step", "claim", "jobs", "jobs_page", "move", "steps_page"]

jobs = Rows(tables.jobs, Job)
_CLAIM_LOCK = 0x4F4D5333  #: of PostgreSQL; in SQLite there is one writer anyway
_steps = Rows(tables.job_steps, JobStep)


def move(connection: Connection, number: int, before: Iterable[str], state: str, **values: object) -> Job | None:
    """Another state, with other columns of the job; None if the job is in none of the states ``before`` (any more)."""
    return jobs.change(connection, number, tables.jobs.c.state.in_(list(before)), state=state, **values)


def claim(connection: Connection, now: datetime, *, kinds: Iterable[str] | None = None) -> Job | None:
    """Take the oldest queued job that is due: it is running, its attempts are one more, and nobody else gets it.

    A device has one running job at a time; others for it wait.
    """
    table = tables.jobs
    other = table.alias("other")
    busy = select(other.c.device_id).where(other.c.state == "running", other.c.device_id.is_not(None))
    query = select(table.c.id).where(
        table.c.state == "queued", or_(table.c.not_before.is_(None), table.c.not_before <= now), table.c.device_id.not_in(busy)
    )
    if kinds is not None:
        query = query.where(table.c.kind.in_(list(kinds)))
    query = query.order_by(table.c.id).limit(1)
    if connection.dialect.name == "postgresql":
        # two runners that look at the same moment: the second one waits, and sees what the first one took
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CLAIM_LOCK})")
    number = connection.execute(query).scalar_one_or_none()
    return None if number is None else move(connection, number, ("queued",), "running", attempts=table.c.attempts + 1)


def jobs_page(
    connection: Connection,
    *,
    states: Iterable[str] | None = None,
    device_ids: Iterable[int] | None = None,
    kinds: Iterable[str] | None = None,
    tenant_id: int | None = None,
    after: int | None = None,
    limit: int = 100,
) -> Page[Job]:
    """Jobs, the newest first; ``tenant_id`` those for its devices."""
    table = tables.jobs
    where: list[ColumnElement[bool]] = []
    for column, values in ((table.c.state, states), (table.c.device_id, device_ids), (table.c.kind, kinds)):
        if values is not None:
            where.append(column.in_(list(values)))
    if tenant_id is not None:
        where.append(table.c.device_id.in_(select(tables.devices.c.id).where(tables.devices.c.tenant_id == tenant_id)))
    return jobs.page(connection, *where, after=after, limit=limit, newest=True)


def add_step(connection: Connection, job_id: int, at: datetime, text: str) -> JobStep:
    """A line of what happened."""
    return _steps.add(connection, JobStep(0, job_id, at, text), at)


def steps_page(connection: Connection, job_id: int, *, after: int | None = None, limit: int = 100) -> Page[JobStep]:
    """What happened to a job, in order."""
    return _steps.page(connection, tables.job_steps.c.job_id == job_id, after=after, limit=limit)
