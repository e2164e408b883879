"""Rows of meter data management: what is agreed about points and places, runs and findings, versions, totals, reports, retention.

A version is never changed: a newer one of the same moment is put beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Connection, and_, delete, func, insert, select
from sqlalchemy.sql import Select

from openmetering.mdm.findings import Version
from openmetering.mdm.quality import Quality
from openmetering.storage import tables
from openmetering.storage.model import Page
from openmetering.storage.parts import parts
from openmetering.storage.rows import Rows

__all__ = [
    "FindingRow",
    "KeptTotal",
    "NodeData",
    "PointData",
    "Retention",
    "Schedule",
    "ZERO",
    "ValidationRun",
    "add_findings",
    "add_versions",
    "areas",
    "findings",
    "findings_of",
    "findings_page",
    "keep_total",
    "kept_totals",
    "newest_versions",
    "node_data",
    "point_data",
    "put_node_data",
    "put_point_data",
    "put_retention",
    "retention",
    "runs",
    "schedules",
    "version_chain",
]

ZERO = Decimal(0)


class PointData(msgspec.Struct, frozen=True):
    """What is agreed about a metering point.

    ``size``      size class, by which rules are chosen (``Q3 2.5``)     ``maximum``  greatest consumption per hour, in ``unit``
    ``factor``    by which the units of a heat cost allocator are rated   ``part``     ``main``, ``sub`` or nothing
    ``grid``      seconds between two values that are asked for
    ``identifier``  number of the metering or market location in exchange with market partners (MSCONS)
    """

    id: int
    point_id: int
    size: str = ""
    maximum: str | None = None
    unit: str | None = None
    factor: str | None = None
    part: str = ""
    grid: float | None = None
    identifier: str = ""


class NodeData(msgspec.Struct, frozen=True):
    """What is agreed about a place: ``area`` in m2, ``usage`` (flat, shop), ``kwh_per_unit`` of its heat cost allocators.

    ``identifier``  number of the property (9 digits) and of the unit (4) in exchange with the property manager (bved)
    """

    id: int
    node_id: int
    area: float | None = None
    usage: str = ""
    kwh_per_unit: str | None = None
    identifier: str = ""


class ValidationRun(msgspec.Struct, frozen=True):
    """One check of the values of a tenant in a time."""

    id: int
    tenant_id: int
    since: datetime
    until: datetime
    author: int | None = None
    points: int = 0
    values_seen: int = 0
    findings: int = 0
    created_at: datetime | None = None


class FindingRow(msgspec.Struct, frozen=True):
    """What a rule found; see ``mdm.findings.Finding``. ``samples`` are the moments in JSON."""

    id: int
    run_id: int
    point_id: int
    rule: str
    severity: str
    device: str
    since: datetime
    until: datetime
    reason: str
    samples: str = "[]"


class KeptTotal(msgspec.Struct, frozen=True):
    """Consumption of a building in a month (``2026-03``) whose units' values were erased; ``points`` of them."""

    id: int
    node_id: int
    medium: str
    unit: str
    month: str
    amount: str
    points: int


class Schedule(msgspec.Struct, frozen=True):
    """A report that is sent by itself on a ``day`` of each month; ``channel`` mail or webhook, ``target`` where to."""

    id: int
    tenant_id: int
    node_id: int | None
    report: str
    format: str
    day: int
    channel: str
    target: str
    locale: str
    next_at: datetime
    last_at: datetime | None = None
    error: str | None = None


class Retention(msgspec.Struct, frozen=True):
    """How many days what is kept for a purpose."""

    id: int
    tenant_id: int
    purpose: str
    days: int


runs = Rows(tables.validation_runs, ValidationRun)
findings = Rows(tables.findings, FindingRow)
schedules = Rows(tables.schedules, Schedule)
kept_totals = Rows(tables.kept_totals, KeptTotal)
_points = Rows(tables.point_data, PointData)
_nodes = Rows(tables.node_data, NodeData)
_retention = Rows(tables.retention, Retention)


# -- what is agreed --------------------------------------------------------------------------------------


def point_data(connection: Connection, point_ids: Collection[int] | None = None) -> dict[int, PointData]:
    """What is agreed about points, by point; None for all."""
    if point_ids is None:
        return {item.point_id: item for item in _points.all(connection)}
    found: dict[int, PointData] = {}
    for part in parts(sorted(point_ids)):
        found |= {item.point_id: item for item in _points.all(connection, tables.point_data.c.point_id.in_(part))}
    return found


def put_point_data(connection: Connection, item: PointData, now: datetime) -> PointData:
    """Agree on something else about a point."""
    connection.execute(delete(tables.point_data).where(tables.point_data.c.point_id == item.point_id))
    return _points.add(connection, item, now)


def node_data(connection: Connection) -> dict[int, NodeData]:
    """What is agreed about places, by node."""
    return {item.node_id: item for item in _nodes.all(connection)}


def areas(connection: Connection) -> dict[int, float | None]:
    """The area of places in m2, by node."""
    return {number: item.area for number, item in node_data(connection).items()}


def put_node_data(connection: Connection, item: NodeData, now: datetime) -> NodeData:
    """Agree on something else about a place."""
    connection.execute(delete(tables.node_data).where(tables.node_data.c.node_id == item.node_id))
    return _nodes.add(connection, item, now)


# -- findings --------------------------------------------------------------------------------------------


def add_findings(connection: Connection, items: Iterable[FindingRow], now: datetime) -> int:
    """Many findings of a run; their own numbers do not matter."""
    rows = [{**msgspec.structs.asdict(item), "created_at": now} for item in items]
    for row in rows:
        del row["id"]
    if rows:
        connection.execute(insert(tables.findings), rows)
    return len(rows)


def findings_page(
    connection: Connection,
    *,
    run_id: int | None = None,
    point_ids: Collection[int] | None = None,
    rule: str | None = None,
    after: int | None = None,
    limit: int = 100,
) -> Page[FindingRow]:
    """Findings, the newest first."""
    table = tables.findings
    where = []
    if run_id is not None:
        where.append(table.c.run_id == run_id)
    if point_ids is not None:
        where.append(table.c.point_id.in_(list(point_ids)))
    if rule is not None:
        where.append(table.c.rule == rule)
    return findings.page(connection, *where, after=after, limit=limit, newest=True)


def findings_of(
    connection: Connection, point_ids: Collection[int], rules: Collection[str] | None, since: datetime, until: datetime
) -> list[FindingRow]:
    """Findings of some rules (None: of all) about some points that touch a time."""
    table = tables.findings
    found: list[FindingRow] = []
    for part in parts(sorted(point_ids)):
        where = [table.c.point_id.in_(part), table.c.since < until, table.c.until >= since]
        if rules is not None:
            where.append(table.c.rule.in_(sorted(rules)))
        found += findings.all(connection, *where)
    return found


# -- versions --------------------------------------------------------------------------------------------


def add_versions(connection: Connection, items: Sequence[tuple[int, Version]]) -> int:
    """Versions of points, each behind those that its moment has: the numbers of the items count on from there."""
    if not items:
        return 0
    table = tables.versions
    known = _numbers(connection, {point_id for point_id, _ in items})
    rows = []
    for point_id, item in items:
        number = known.get((point_id, item.at), 0) + 1
        known[point_id, item.at] = number
        value = None if item.value is None else str(item.value)
        rows.append(
            {
                "point_id": point_id, "at": item.at, "number": number, "value": value, "unit": item.unit,
                "quality": item.quality.value, "uncertainty": str(item.uncertainty), "rule": item.rule, "reason": item.reason,
                "author": item.by, "made_at": item.made_at,
            }
        )  # fmt: skip
    connection.execute(insert(table), rows)
    return len(rows)


def _numbers(connection: Connection, point_ids: Collection[int]) -> dict[tuple[int, float], int]:
    table = tables.versions
    found: dict[tuple[int, float], int] = {}
    for part in parts(sorted(point_ids)):
        query = select(table.c.point_id, table.c.at, func.max(table.c.number)).where(table.c.point_id.in_(part))
        for point_id, at, number in connection.execute(query.group_by(table.c.point_id, table.c.at)):
            found[int(point_id), float(at)] = int(number)
    return found


def newest_versions(connection: Connection, point_ids: Collection[int], since: float, until: float) -> dict[int, list[Version]]:
    """The version that counts of each moment (``since <= at < until``), by point, in order of time."""
    table = tables.versions
    newest = (
        select(table.c.point_id, table.c.at, func.max(table.c.number).label("number"))
        .where(table.c.at >= since, table.c.at < until)
        .group_by(table.c.point_id, table.c.at)
        .subquery()
    )
    same = and_(table.c.point_id == newest.c.point_id, table.c.at == newest.c.at, table.c.number == newest.c.number)
    found: dict[int, list[Version]] = {}
    for part in parts(sorted(point_ids)):
        query = select(table).join(newest, same).where(table.c.point_id.in_(part)).order_by(table.c.point_id, table.c.at)
        for point_id, item in _versions(connection, query):
            found.setdefault(point_id, []).append(item)
    return found


def version_chain(connection: Connection, point_id: int, since: float, until: float) -> list[Version]:
    """All versions of a point, the older ones of a moment first."""
    table = tables.versions
    query = select(table).where(table.c.point_id == point_id, table.c.at >= since, table.c.at < until)
    return [item for _, item in _versions(connection, query.order_by(table.c.at, table.c.number))]


def _versions(connection: Connection, query: Select[tuple[object, ...]]) -> Iterable[tuple[int, Version]]:
    for row in connection.execute(query).mappings():
        value = None if row["value"] is None else Decimal(row["value"])
        yield (
            int(row["point_id"]),
            Version(
                str(row["point_id"]), float(row["at"]), int(row["number"]), value, row["unit"], Quality(row["quality"]),
                Decimal(row["uncertainty"]), row["rule"], row["reason"], row["author"], float(row["made_at"]),
            ),
        )  # fmt: skip


# -- totals and retention --------------------------------------------------------------------------------


def keep_total(connection: Connection, item: KeptTotal, now: datetime) -> KeptTotal:
    """Add to what is kept of a building and month."""
    table = tables.kept_totals
    same = (
        table.c.node_id == item.node_id,
        table.c.medium == item.medium,
        table.c.unit == item.unit,
        table.c.month == item.month,
    )
    known = kept_totals.find(connection, *same)
    if known is None:
        return kept_totals.add(connection, item, now)
    amount = str(Decimal(known.amount) + Decimal(item.amount))
    changed = kept_totals.change(connection, known.id, amount=amount, points=known.points + item.points)
    return known if changed is None else changed


def retention(connection: Connection, tenant_id: int) -> dict[str, int]:
    """Days by purpose."""
    return {item.purpose: item.days for item in _retention.all(connection, tables.retention.c.tenant_id == tenant_id)}


def put_retention(connection: Connection, tenant_id: int, purpose: str, days: int, now: datetime) -> Retention:
    """Keep something longer or shorter."""
    table = tables.retention
    connection.execute(delete(table).where(table.c.tenant_id == tenant_id, table.c.purpose == purpose))
    return _retention.add(connection, Retention(0, tenant_id, purpose, days), now)
