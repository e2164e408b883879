"""Rows of the registry: tenants, the tree of nodes, metering points, devices, assignments, gateways.

with database.transaction() as connection:
    tenant = tenants.add(connection, Tenant(0, "Elm Street 1"), now)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from openmetering.storage import tables
from openmetering.storage.model import (
    Assignment,
    Device,
    GatewayDevice,
    GatewayInfo,
    MeteringPoint,
    Node,
    Occupancy,
    Page,
    Tenant,
)
from openmetering.storage.parts import parts
from openmetering.storage.rows import TOGETHER, Rows, change_many

__all__ = [
    "HeardDevice",
    "assign",
    "assignment_at",
    "assignments",
    "device_of_address",
    "devices",
    "devices_by_address",
    "devices_page",
    "end_assignment",
    "gateway_devices",
    "gateway_hears",
    "gateway_seen",
    "gateways",
    "gateways_silent",
    "heard",
    "learned",
    "nodes",
    "nodes_below",
    "occupancies",
    "points",
    "points_below",
    "still_heard",
    "tenants",
    "valid_at",
    "valid_within",
]

tenants = Rows(tables.tenants, Tenant)
nodes = Rows(tables.nodes, Node)
points = Rows(tables.points, MeteringPoint)
devices = Rows(tables.devices, Device)
assignments = Rows(tables.assignments, Assignment)
occupancies = Rows(tables.occupancies, Occupancy)
gateways = Rows(tables.gateways, GatewayInfo)

_PART = 1000


class HeardDevice(msgspec.Struct, frozen=True):
    """What a batch of telegrams says about a device: who, what, and the first and last time in it."""

    address: str
    first_at: datetime
    last_at: datetime
    medium: str = ""


def nodes_below(connection: Connection, numbers: Iterable[int]) -> set[int]:
    """The nodes themselves and all nodes below them."""
    start = list(numbers)
    if not start:
        return set()
    table = tables.nodes
    tree = select(table.c.id).where(table.c.id.in_(start)).cte("tree", recursive=True)
    # UNION, not UNION ALL: a circle in the tree would never end
    tree = tree.union(select(table.c.id).where(table.c.parent_id == tree.c.id))
    return {int(number) for (number,) in connection.execute(select(tree.c.id))}


def points_below(connection: Connection, numbers: Iterable[int]) -> list[MeteringPoint]:
    """The metering points in nodes and below them."""
    below = nodes_below(connection, numbers)
    return [point for part in parts(sorted(below), _PART) for point in points.all(connection, tables.points.c.node_id.in_(part))]


# -- devices --------------------------------------------------------------------------------------


def device_of_address(connection: Connection, address: str) -> Device | None:
    """The device with this address (``ELS-12345678-33-03``)."""
    return devices.find(connection, tables.devices.c.address == address)


def devices_by_address(connection: Connection, addresses: Iterable[str]) -> dict[str, Device]:
    """Those of the devices that are known."""
    wanted = sorted(set(addresses))
    found: dict[str, Device] = {}
    for part in parts(wanted, _PART):
        found |= {device.address: device for device in devices.all(connection, tables.devices.c.address.in_(part))}
    return found


def devices_page(
    connection: Connection,
    *,
    tenant_id: int | None = None,
    state: str | None = None,
    medium: str | None = None,
    text: str | None = None,
    among: Iterable[int] | None = None,
    after: int | None = None,
    limit: int = 100,
) -> Page[Device]:
    """Devices by number; ``text`` is a part of the address or the label, ``among`` are the only ones to choose from."""
    table = tables.devices
    where: list[ColumnElement[bool]] = []
    for column, value in ((table.c.tenant_id, tenant_id), (table.c.state, state), (table.c.medium, medium)):
        if value is not None:
            where.append(column == value)
    if text:
        where.append(or_(*(column.icontains(text.strip(), autoescape=True) for column in (table.c.address, table.c.label))))
    if among is not None:
        where.append(table.c.id.in_(list(among)))
    return devices.page(connection, *where, after=after, limit=limit)


def heard(connection: Connection, batch: Sequence[HeardDevice], now: datetime) -> list[Device]:
    """Devices that telegrams came from: unknown ones are announced, the times of the others move. All of them are returned.

    A device that was registered before it was ever heard keeps what the registry says of its medium.
    """
    if not batch:
        return []
    table = tables.devices
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for item in sorted(batch, key=lambda one: one.address):  # one order for all writers: no deadlock
        new = make(table).values(
            address=item.address, medium=item.medium, first_heard=item.first_at, last_heard=item.last_at, created_at=now
        )
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[table.c.address],
                set_={
                    "first_heard": _least(table.c.first_heard, new.excluded.first_heard),
                    "last_heard": _greatest(table.c.last_heard, new.excluded.last_heard),
                    "medium": case((table.c.medium == "", new.excluded.medium), else_=table.c.medium),
                },
            )
        )
    found = devices_by_address(connection, [item.address for item in batch])
    return [found[item.address] for item in batch]


def still_heard(connection: Connection, times: Iterable[tuple[int, datetime]]) -> None:
    """Devices that are known by number were heard again: their last time moves, never back."""
    table = tables.devices
    rows = sorted(times)
    if rows:
        change_many(
            connection, table, {"at": tables.Moment()}, rows, lambda new: {"last_heard": _greatest(table.c.last_heard, new["at"])}
        )


def learned(connection: Connection, intervals: Mapping[int, float]) -> None:
    """The intervals that devices keep: number and seconds."""
    rows = sorted(intervals.items())
    if rows:
        change_many(
            connection, tables.devices, {"interval": tables.Number()}, rows, lambda new: {"interval_learned": new["interval"]}
        )


def _least(known: ColumnElement[datetime], new: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return case((or_(known.is_(None), known > new), new), else_=known)


def _greatest(known: ColumnElement[datetime], new: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return case((or_(known.is_(None), known < new), new), else_=known)


# -- assignments ----------------------------------------------------------------------------------


def valid_at(table: Table, at: datetime) -> ColumnElement[bool]:
    """The condition that a period (``valid_from`` .. ``valid_to``) holds at a time."""
    moment = literal(at, tables.Moment)
    return and_(table.c.valid_from <= moment, or_(table.c.valid_to.is_(None), table.c.valid_to > moment))


def valid_within(table: Table, since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """The condition that a period touches another one."""
    where: list[ColumnElement[bool]] = []
    if since is not None:
        where.append(or_(table.c.valid_to.is_(None), table.c.valid_to > literal(since, tables.Moment)))
    if until is not None:
        where.append(table.c.valid_from < literal(until, tables.Moment))
    return and_(literal(True), *where)


def assign(
    connection: Connection, device_id: int, point_id: int, valid_from: datetime, now: datetime, valid_to: datetime | None = None
) -> Assignment:
    """A device measures a point. The schema refuses periods of one device that overlap (``storage.conflict``)."""
    return assignments.add(connection, Assignment(0, device_id, point_id, valid_from, valid_to), now)


def end_assignment(connection: Connection, number: int, valid_to: datetime) -> Assignment | None:
    """The device was taken away at that time."""
    return assignments.change(connection, number, valid_to=valid_to)


def assignment_at(connection: Connection, device_id: int, at: datetime) -> Assignment | None:
    """Where a device measured at a time."""
    table = tables.assignments
    return assignments.find(connection, table.c.device_id == device_id, valid_at(table, at))


# -- gateways -------------------------------------------------------------------------------------


def gateway_seen(
    connection: Connection, name: str, at: datetime, *, address: str | None = None, version: str = "", state: str = "online"
) -> GatewayInfo:
    """A gateway reported; one that is not known is added. The time never goes back."""
    table = tables.gateways
    known = gateways.find(connection, table.c.name == name)
    if known is None:
        return gateways.add(connection, GatewayInfo(0, name, address, state, at, version), at)
    changed = gateways.change(
        connection,
        known.id,
        address=address or known.address,
        version=version or known.version,
        state=state,
        last_seen=max(at, known.last_seen or at),
    )
    return changed or known


def gateway_hears(
    connection: Connection, gateway_id: int, levels: Iterable[tuple[int, float | None, datetime]], now: datetime
) -> None:
    """How well a gateway hears devices: (number of the device, dBm or None, when)."""
    rows = [
        {"gateway_id": gateway_id, "device_id": device_id, "rssi": rssi, "last_heard": at, "created_at": now}
        for device_id, rssi, at in sorted(levels, key=lambda level: level[0])
    ]
    if not rows:
        return
    for part in parts(rows, TOGETHER):
        _hear(connection, part)


def _hear(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """One statement for all: a message each would cost as much as the work itself."""
    table = tables.gateway_devices
    new = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table).values(rows)
    merged = new.on_conflict_do_update(
        index_elements=[table.c.gateway_id, table.c.device_id],
        set_={
            "rssi": func.coalesce(new.excluded.rssi, table.c.rssi),
            "last_heard": _greatest(table.c.last_heard, new.excluded.last_heard),
        },
    )
    connection.execute(merged)


def gateway_devices(
    connection: Connection, *, gateway_id: int | None = None, device_id: int | None = None
) -> list[GatewayDevice]:
    """Which gateway hears which device; for a device the best one first."""
    table = tables.gateway_devices
    query = select(table.c.gateway_id, table.c.device_id, table.c.rssi, table.c.last_heard)
    if gateway_id is not None:
        query = query.where(table.c.gateway_id == gateway_id)
    if device_id is not None:
        query = query.where(table.c.device_id == device_id)
    query = query.order_by(table.c.device_id, table.c.rssi.desc().nulls_last(), table.c.gateway_id)
    return [GatewayDevice(*row) for row in connection.execute(query)]


def gateways_silent(connection: Connection, since: datetime) -> list[GatewayInfo]:
    """Gateways that are online and did not report since then; they are offline from now on."""
    table = tables.gateways
    silent = update(table).where(table.c.state == "online", table.c.last_seen < since).values(state="offline")
    numbers = [int(number) for (number,) in connection.execute(silent.returning(table.c.id))]
    return list(gateways.by_numbers(connection, numbers).values())
