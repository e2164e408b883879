"""Rows that tell of people: taken away for good. Only ``services.mdm.privacy`` may ask for this.

Frames go with all that hangs on them (receptions, telegrams, readings, what is pending); alarms and results of jobs of a device
in a time; findings and versions of a point; the name of an account.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, delete, select, type_coerce, update
from sqlalchemy.types import Double

from openmetering.storage.database import Database
from openmetering.storage.tables import (
    addresses,
    alarms,
    assignments,
    devices,
    findings,
    frames,
    jobs,
    occupancies,
    readings,
    sessions,
    telegrams,
    tokens,
    users,
    versions,
)

__all__ = [
    "compact",
    "drop_alarms",
    "drop_findings",
    "drop_frames",
    "drop_versions",
    "forget_jobs",
    "forget_user",
    "spent_frames",
]

_PART = 500


def drop_frames(connection: Connection, names: Collection[str], since: float, until: float) -> int:
    """Frames of devices in a time, with their receptions, telegrams and readings; returns how many frames."""
    gone = 0
    for part in _parts(sorted(names)):
        inner = (
            select(telegrams.c.frame_id)
            .join(addresses, addresses.c.id == telegrams.c.address_id)
            .where(addresses.c.address.in_(part), telegrams.c.received_at >= since, telegrams.c.received_at < until)
        )
        gone += connection.execute(delete(frames).where(frames.c.id.in_(inner))).rowcount
    return gone


def spent_frames(connection: Connection, tenant_id: int, before: float) -> int:
    """Raw frames of the devices of a tenant that are older, and whose readings are in no table any more; returns how many."""
    mine = (
        select(addresses.c.id)
        .join(devices, devices.c.address == addresses.c.address)
        .join(assignments, assignments.c.device_id == devices.c.id)
        .where(devices.c.tenant_id == tenant_id)
    )
    inner = select(telegrams.c.frame_id).where(
        telegrams.c.address_id.in_(mine),
        telegrams.c.received_at < before,
        ~select(readings.c.frame_id).where(readings.c.frame_id == telegrams.c.frame_id).exists(),
    )
    return connection.execute(delete(frames).where(frames.c.id.in_(inner))).rowcount


def drop_alarms(connection: Connection, device_ids: Collection[int], since: float, until: float) -> int:
    """Alarms of devices that were raised in a time."""
    raised = type_coerce(alarms.c.raised_at, Double)
    query = delete(alarms).where(alarms.c.device_id.in_(list(device_ids)), raised >= since, raised < until)
    return connection.execute(query).rowcount


def forget_jobs(connection: Connection, device_ids: Collection[int], since: float, until: float) -> int:
    """What jobs of devices in a time brought back; that they were done stays."""
    made = type_coerce(jobs.c.created_at, Double)
    query = update(jobs).where(jobs.c.device_id.in_(list(device_ids)), made >= since, made < until, jobs.c.result.is_not(None))
    return connection.execute(query.values(result='"erased"')).rowcount


def drop_findings(connection: Connection, point_ids: Collection[int], since: float, until: float) -> int:
    """Findings about points that touch a time."""
    first, last = type_coerce(findings.c.since, Double), type_coerce(findings.c.until, Double)
    query = delete(findings).where(findings.c.point_id.in_(list(point_ids)), first < until, last >= since)
    return connection.execute(query).rowcount


def drop_versions(connection: Connection, point_ids: Collection[int], since: float, until: float) -> int:
    """Versions of points in a time."""
    query = delete(versions).where(versions.c.point_id.in_(list(point_ids)), versions.c.at >= since, versions.c.at < until)
    return connection.execute(query).rowcount


def forget_user(connection: Connection, user_id: int) -> None:
    """An account without name, password, sessions, tokens and places; its number stays for the trail."""
    for table in (sessions, tokens, occupancies):
        connection.execute(delete(table).where(table.c.user_id == user_id))
    connection.execute(
        update(users).where(users.c.id == user_id).values(name=f"erased-{user_id}", password_hash="", disabled=True)
    )


def compact(database: Database) -> None:
    """Have the database give back what was deleted, so that no file holds it any more. Raises TransportError"""
    if database.dialect == "postgresql":
        names = [table.name for table in (readings, telegrams, frames, alarms, jobs, findings, versions, users)]
        statements = [f"VACUUM FULL {name}" for name in (*names, "receptions", "pending")]
    else:
        statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
    database.alone(statements)


def _parts(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + _PART] for start in range(0, len(items), _PART))
