"""The telemetry of many devices at once, as meter data management wants it: registers, their values, who heard what. In bulk.

Everything goes by the keys of the tables: a series and a time for readings, an address and a time for telegrams.
Times are seconds since 1970; ``until`` is excluded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Double, distinct, func, or_, select, type_coerce
from sqlalchemy.sql import Select

from openmetering.storage.identity import identity
from openmetering.storage.parts import parts
from openmetering.storage.tables import (
    addresses,
    alarms,
    assignments,
    devices,
    frames,
    nodes,
    points,
    readings,
    receptions,
    series,
    sources,
    telegrams,
)

__all__ = [
    "NO_MARK",
    "HeardRow",
    "Mark",
    "PlacedRow",
    "RegisterRow",
    "SampleRow",
    "SeriesHead",
    "alarms_of",
    "device_numbers",
    "first_reading",
    "node_names",
    "reception_of",
    "heads_of",
    "marks_of",
    "heard_of",
    "placed",
    "registers_of",
    "samples_of",
    "texts_of",
    "strangers",
    "tree",
]


class PlacedRow(msgspec.Struct, frozen=True):
    """A metering point and a device that measured it from when until when; without a device the last four are None."""

    point_id: int
    node_id: int
    name: str
    medium: str
    address: str | None
    interval: float | None
    valid_from: float | None
    valid_to: float | None


class RegisterRow(msgspec.Struct, frozen=True):
    """A series of a device; ``dib`` in hexadecimal tells how wide its field is."""

    series_id: int
    address: str
    medium: str
    quantity: str
    unit: str
    storage: int
    obis: str
    tag: str
    dib: str


class SampleRow(msgspec.Struct, frozen=True):
    """A value: ``mantissa`` x 10 ** ``exponent``; ``time`` is that of the device, for stored values the day they stand for."""

    series_id: int
    received_at: float
    mantissa: int
    exponent: int
    time: str | None


class SeriesHead(msgspec.Struct, frozen=True):
    """A series as its records say it: DIB and VIB in hexadecimal."""

    series_id: int
    address: str
    quantity: str
    unit: str
    qualifiers: str
    obis: str
    dib: str
    vib: str


class Mark(msgspec.Struct, frozen=True):
    """What a telegram was: status octet, security state, proof."""

    status: int
    security: str
    proof: str | None


#: of a telegram whose raw octets are no longer kept
NO_MARK: Final = Mark(0, "plain", None)


class HeardRow(msgspec.Struct, frozen=True):
    """A telegram as one gateway heard it; ``repeated`` if this copy came over a repeater."""

    address: str
    received_at: float
    source: str
    access_number: int | None
    status: int | None
    state: str
    error: str | None
    security: str
    proof: str | None
    repeated: bool
    frame_id: int


def placed(connection: Connection, tenant_id: int | None) -> list[PlacedRow]:
    """The metering points of a tenant (None: of all) with their devices, by point and time."""
    query = (
        select(
            points.c.id, points.c.node_id, points.c.name, points.c.medium, devices.c.address, devices.c.interval_learned,
            type_coerce(assignments.c.valid_from, Double), type_coerce(assignments.c.valid_to, Double),
        )
        .join_from(points, nodes, nodes.c.id == points.c.node_id)
        .outerjoin(assignments, assignments.c.point_id == points.c.id)
        .outerjoin(devices, devices.c.id == assignments.c.device_id)
        .order_by(points.c.id, assignments.c.valid_from)
    )  # fmt: skip
    if tenant_id is not None:
        query = query.where(nodes.c.tenant_id == tenant_id)
    return [PlacedRow(*row) for row in connection.execute(query)]


def tree(connection: Connection, tenant_id: int) -> dict[int, tuple[int | None, str]]:
    """Parent and kind of every node of a tenant."""
    query = select(nodes.c.id, nodes.c.parent_id, nodes.c.kind).where(nodes.c.tenant_id == tenant_id)
    return {int(number): (parent, str(kind)) for number, parent, kind in connection.execute(query)}


def first_reading(connection: Connection) -> float | None:
    """The time of the oldest reading in the database."""
    found = connection.execute(select(func.min(readings.c.received_at))).scalar_one_or_none()
    return None if found is None else float(found)


def device_numbers(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """The numbers of registered devices by address."""
    found: dict[str, int] = {}
    for part in parts(sorted(names)):
        query = select(devices.c.address, devices.c.id).where(devices.c.address.in_(part))
        found.update((str(address), int(number)) for address, number in connection.execute(query))
    return found


def node_names(connection: Connection, tenant_id: int) -> dict[int, str]:
    """The names of the nodes of a tenant, with the building in front of units and rooms."""
    query = select(nodes.c.id, nodes.c.parent_id, nodes.c.kind, nodes.c.name).where(nodes.c.tenant_id == tenant_id)
    rows = {int(number): (parent, str(kind), str(name)) for number, parent, kind, name in connection.execute(query)}

    def named(number: int) -> str:
        parent, kind, name = rows[number]
        return f"{named(parent)}, {name}" if kind in ("unit", "room") and parent in rows else name

    return {number: named(number) for number in rows}


def alarms_of(
    connection: Connection, names: Collection[str], since: float, until: float
) -> list[tuple[str, str, str, float, float | None, str]]:
    """Alarms of devices that were open in a time: address, kind, severity, raised, cleared, text."""
    raised, cleared = type_coerce(alarms.c.raised_at, Double), type_coerce(alarms.c.cleared_at, Double)
    found: list[tuple[str, str, str, float, float | None, str]] = []
    for part in parts(sorted(names)):
        query: Select[Any] = (
            select(devices.c.address, alarms.c.kind, alarms.c.severity, raised, cleared, alarms.c.text)
            .join(devices, devices.c.id == alarms.c.device_id)
            .where(devices.c.address.in_(part), raised < until, or_(cleared.is_(None), cleared >= since))
            .order_by(raised, alarms.c.id)
        )
        found += (tuple(row) for row in connection.execute(query))
    return found


def reception_of(
    connection: Connection, names: Collection[str], since: float, until: float
) -> list[tuple[str, int, int, float | None, float | None, float]]:
    """How devices are heard in a time: address, telegrams, gateways, best and mean level (dBm), when last."""
    found: list[tuple[str, int, int, float | None, float | None, float]] = []
    level = receptions.c.rssi_dbm
    for part in parts(sorted(names)):
        query: Select[Any] = (
            select(
                addresses.c.address,
                func.count(distinct(telegrams.c.frame_id)),
                func.count(distinct(receptions.c.source_id)),
                func.max(level),
                func.avg(level),
                func.max(telegrams.c.received_at),
            )
            .join_from(telegrams, addresses, addresses.c.id == telegrams.c.address_id)
            .join(receptions, receptions.c.frame_id == telegrams.c.frame_id)
            .where(addresses.c.address.in_(part), telegrams.c.received_at >= since, telegrams.c.received_at < until)
            .group_by(addresses.c.id, addresses.c.address)
            .order_by(addresses.c.address)
        )
        found += (tuple(row) for row in connection.execute(query))
    return found


def strangers(connection: Connection, since: float, until: float) -> list[tuple[str, str, float, float]]:
    """Devices that have no point, with medium and the first and last time they were heard in a time."""
    first, last = func.min(telegrams.c.received_at), func.max(telegrams.c.received_at)
    placed_ones = select(devices.c.address).join(assignments, assignments.c.device_id == devices.c.id)
    query = (
        select(addresses.c.address, addresses.c.medium, first, last)
        .join(telegrams, telegrams.c.address_id == addresses.c.id)
        .where(telegrams.c.received_at >= since, telegrams.c.received_at < until, addresses.c.address.not_in(placed_ones))
        .group_by(addresses.c.id, addresses.c.address, addresses.c.medium)
    )
    return [
        (str(address), str(medium or ""), float(one), float(other)) for address, medium, one, other in connection.execute(query)
    ]


def registers_of(connection: Connection, names: Collection[str], tags: Collection[str]) -> list[RegisterRow]:
    """The series with one of the tags (Annex B) of these devices."""
    found: list[RegisterRow] = []
    columns = (
        series.c.id, addresses.c.address, addresses.c.medium, series.c.quantity, series.c.unit, series.c.storage, series.c.obis,
        series.c.tag, series.c.dib,
    )  # fmt: skip
    for part in parts(sorted(names)):
        query = select(*columns).join(addresses, addresses.c.id == series.c.address_id)
        query = query.where(addresses.c.address.in_(part), series.c.tag.in_(sorted(tags)))
        query = query.where(series.c.function == "instantaneous", series.c.tariff == 0, series.c.subunit == 0)
        found += (RegisterRow(*row) for row in connection.execute(query.order_by(series.c.id)))
    return found


def samples_of(connection: Connection, series_ids: Collection[int], since: float, until: float) -> Iterator[SampleRow]:
    """Numbers of many series, by series and time."""
    columns = (readings.c.series_id, readings.c.received_at, readings.c.mantissa, readings.c.exponent, readings.c.time)
    for part in parts(sorted(series_ids)):
        query = select(*columns).where(
            readings.c.series_id.in_(part),
            readings.c.received_at >= since,
            readings.c.received_at < until,
            readings.c.mantissa.is_not(None),
            readings.c.error.is_(None),
        )
        for row in connection.execute(query.order_by(readings.c.series_id, readings.c.received_at, readings.c.position)):
            yield SampleRow(*row)


def heads_of(connection: Connection, names: Iterable[str], storage: int) -> list[SeriesHead]:
    """The series of a storage number of these devices."""
    found: list[SeriesHead] = []
    columns = (
        series.c.id, addresses.c.address, series.c.quantity, series.c.unit, series.c.qualifiers, series.c.obis, series.c.dib,
        series.c.vib,
    )  # fmt: skip
    for part in parts(sorted(names)):
        query = select(*columns).join(addresses, addresses.c.id == series.c.address_id)
        query = query.where(addresses.c.address.in_(part), series.c.storage == storage).order_by(series.c.id)
        found += (SeriesHead(*row) for row in connection.execute(query))
    return found


def marks_of(connection: Connection, names: Iterable[str], since: float, until: float) -> dict[str, dict[float, Mark]]:
    """What the telegrams of devices were, by device and time of reception."""
    found: dict[str, dict[float, Mark]] = {}
    columns = (addresses.c.address, telegrams.c.received_at, telegrams.c.status, telegrams.c.security, telegrams.c.proof)
    for part in parts(sorted(names)):
        query = select(*columns).join(addresses, addresses.c.id == telegrams.c.address_id)
        query = query.where(addresses.c.address.in_(part), telegrams.c.received_at >= since, telegrams.c.received_at < until)
        for address, at, status, security, proof in connection.execute(query):
            found.setdefault(address, {})[at] = Mark(status or 0, security, proof)
    return found


def texts_of(connection: Connection, series_ids: Collection[int], since: float, until: float) -> Iterator[tuple[int, float, str]]:
    """Values of many series as they are written: series, time of reception, exact digits or ISO 8601 or text."""
    for part in parts(sorted(series_ids)):
        query = select(readings.c.series_id, readings.c.received_at, readings.c.value).where(
            readings.c.series_id.in_(part),
            readings.c.received_at >= since,
            readings.c.received_at < until,
            readings.c.value.is_not(None),
            readings.c.error.is_(None),
        )
        yield from ((number, at, text) for number, at, text in connection.execute(query))


def heard_of(connection: Connection, names: Collection[str], since: float, until: float) -> Iterator[HeardRow]:
    """Every reception of the telegrams of many devices, by device and time of the telegram."""
    columns: tuple[ColumnElement[Any], ...] = (
        addresses.c.address, receptions.c.received_at, sources.c.name, telegrams.c.access_number, telegrams.c.status,
        telegrams.c.state, telegrams.c.error, telegrams.c.security, telegrams.c.proof, receptions.c.octets, frames.c.octets,
        telegrams.c.frame_id,
    )  # fmt: skip
    for part in parts(sorted(names)):
        query: Select[Any] = (
            select(*columns)
            .join_from(telegrams, addresses, addresses.c.id == telegrams.c.address_id)
            .join(frames, frames.c.id == telegrams.c.frame_id)
            .join(receptions, receptions.c.frame_id == telegrams.c.frame_id)
            .join(sources, sources.c.id == receptions.c.source_id)
            .where(addresses.c.address.in_(part), telegrams.c.received_at >= since, telegrams.c.received_at < until)
            .order_by(addresses.c.address, telegrams.c.received_at, receptions.c.received_at)
        )
        for row in connection.execute(query):
            other, octets, frame_id = row[-3:]
            _, repeated = identity(bytes(octets if other is None else other))
            yield HeardRow(*(*row[:-3], repeated, frame_id))
