"""Rows that tell of people: taken away for good. Only ``services.mdm.privacy`` may ask for this.

Frames go with all that hangs on them (receptions, telegrams, readings, what is pending); alarms and results of jobs of a device
in a time; findings and versions of a point; the name of an account.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, delete, insert, literal, or_, select, type_coerce, update
from sqlalchemy.types import Double

from openmetering.storage.database import Database
from openmetering.storage.parts import parts
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
    receptions,
    series,
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
    "foreign",
    "forget_jobs",
    "forget_user",
    "redact",
    "spent_frames",
]


def drop_frames(connection: Connection, names: Collection[str], since: float, until: float) -> int:
    """Frames of devices in a time, with their receptions, telegrams and readings; returns how many frames."""
    gone = 0
    for part in parts(sorted(names)):
        inner = (
            select(telegrams.c.frame_id)
            .join(addresses, addresses.c.id == telegrams.c.address_id)
            .where(addresses.c.address.in_(part), telegrams.c.received_at >= since, telegrams.c.received_at < until)
        )
        gone += connection.execute(delete(frames).where(frames.c.id.in_(inner))).rowcount
    return gone


def foreign(connection: Connection) -> list[str]:
    """Addresses of devices that were heard, that nobody registered, and of which no telegram was opened by a key of ours."""
    mine = select(devices.c.address).where(or_(devices.c.state != "announced", devices.c.tenant_id.is_not(None)))
    opened = select(telegrams.c.address_id).where(telegrams.c.security == "decrypted", telegrams.c.address_id.is_not(None))
    query = select(addresses.c.address).where(addresses.c.address.not_in(mine), addresses.c.id.not_in(opened))
    return [str(address) for (address,) in connection.execute(query)]


def redact(connection: Connection, names: Collection[str], first: str, last: str) -> int:
    """Take stored values that name a day from ``first`` until ``last`` (excluded, ISO 8601) out of telegrams of devices.

    Whenever those were received; their raw octets say the same and go as well. The other values stay, with a frame that has
    no octets.
    Returns how many telegrams that were.
    """
    changed = 0
    for part in parts(sorted(names)):
        mine = select(series.c.id).join(addresses, addresses.c.id == series.c.address_id).where(addresses.c.address.in_(part))
        hit = and_(
            readings.c.series_id.in_(mine.where(series.c.storage > 0)),
            or_(and_(readings.c.time >= first, readings.c.time < last), and_(readings.c.value >= first, readings.c.value < last)),
        )
        touched = [int(row[0]) for row in connection.execute(select(readings.c.frame_id).where(hit).distinct())]
        connection.execute(delete(readings).where(hit))
        for some in parts(touched):
            changed += _without_octets(connection, some, part)
    return changed


def _without_octets(connection: Connection, numbers: Sequence[int], names: Sequence[str]) -> int:
    """Frames in the place of others, without their octets; receptions, telegrams and readings go over."""
    old = frames.alias("old")
    copy = select(old.c.id, old.c.received_at, old.c.source_id, old.c.mode, literal(b"")).where(old.c.id.in_(numbers))
    # the identity of a frame without octets is the number of the one that it stands for
    made = connection.execute(
        insert(frames).from_select(["identity", "received_at", "source_id", "mode", "octets"], copy)
    ).rowcount
    mine = select(series.c.id).join(addresses, addresses.c.id == series.c.address_id).where(addresses.c.address.in_(names))
    for table, more in ((receptions, {"octets": None}), (telegrams, {"message": None, "answer": None}), (readings, {})):
        stands = select(frames.c.id).where(frames.c.identity == table.c.frame_id, frames.c.octets == b"").scalar_subquery()
        query = update(table).where(table.c.frame_id.in_(numbers))
        if table is readings:
            query = query.where(readings.c.series_id.in_(mine))
        connection.execute(query.values({"frame_id": stands, **more}))
    connection.execute(delete(frames).where(frames.c.id.in_(numbers)))
    return made


def spent_frames(connection: Connection, tenant_id: int, before: float) -> int:
    """Raw frames of the devices of a tenant that are older, and whose readings are in no table any more; returns how many."""
    mine = (
        select(addresses.c.id)
        .join(devices, devices.c.address == addresses.c.address)
        .join(assignments, assignments.c.device_id == devices.c.id)
        .where(devices.c.tenant_id == tenant_id)
    )
    kept = (
        select(readings.c.frame_id)
        .join(series, series.c.id == readings.c.series_id)
        .where(
            series.c.address_id == telegrams.c.address_id,
            readings.c.received_at == telegrams.c.received_at,
            readings.c.frame_id == telegrams.c.frame_id,
        )
        .correlate(telegrams)
    )
    inner = select(telegrams.c.frame_id).where(telegrams.c.address_id.in_(mine), telegrams.c.received_at < before, ~kept.exists())
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
