"""Questions of a head-end to the telemetry: series, values, telegrams of one device, within a time. Needs the extra ``headend``.

Times are seconds since 1970; ``until`` is excluded. Everything is found by the keys of the tables: a series and a time
for readings, an address and a time for telegrams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Integer, RowMapping, and_, cast, func, literal, or_, select
from sqlalchemy.sql import Select

from openmetering.storage.queries import ReadingRow
from openmetering.storage.tables import addresses, frames, readings, receptions, series, sources, telegrams

__all__ = [
    "FrameRow",
    "SeriesRow",
    "TelegramRow",
    "ValueRow",
    "address_of_series",
    "device_readings",
    "device_series",
    "device_telegrams",
    "frame_of",
    "latest_readings",
    "series_values",
    "with_edges",
]


class SeriesRow(msgspec.Struct, frozen=True):
    """A kind of value of a device, with the first and last time within what was asked for."""

    id: int
    address: str
    quantity: str
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: str
    obis: str
    tag: str
    first_at: float
    last_at: float


class ValueRow(msgspec.Struct, frozen=True):
    """One value of a series."""

    received_at: float
    value: str | None
    time: str | None
    error: str | None
    frame_id: int


class TelegramRow(msgspec.Struct, frozen=True):
    """A telegram of a device; ``rssi`` in dBm of the receiver that heard it best."""

    frame_id: int
    received_at: float
    source: str
    mode: str | None
    state: str
    error: str | None
    access_number: int | None
    status: int | None
    security: str
    proof: str | None
    readings: int
    rssi: float | None


class FrameRow(msgspec.Struct, frozen=True):
    """The raw octets of a frame and whose it is."""

    frame_id: int
    octets: bytes
    received_at: float
    source: str
    address: str | None


_SERIES = [getattr(series.c, name) for name in SeriesRow.__struct_fields__[2:11]]
_READING = [
    addresses.c.address, addresses.c.medium, readings.c.received_at, series.c.quantity, readings.c.value, series.c.unit,
    series.c.function, series.c.storage, series.c.tariff, series.c.subunit, series.c.qualifiers, series.c.obis, series.c.tag,
    readings.c.mantissa, readings.c.exponent, readings.c.time, readings.c.error, readings.c.frame_id,
]  # fmt: skip


def _within(column: ColumnElement[float], since: float | None, until: float | None) -> ColumnElement[bool]:
    limits: list[ColumnElement[bool]] = [literal(True)]
    if since is not None:
        limits.append(column >= since)
    if until is not None:
        limits.append(column < until)
    return and_(*limits)


def _cells(connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
    """The rows of a question whose columns are the fields of a struct."""
    return [tuple(row) for row in connection.execute(query)]


def _edge(first: bool, since: float | None, until: float | None) -> ColumnElement[float]:
    """The first or last time of a series: one look at the key each, however many values there are."""
    inner = readings.alias("edge")
    column = inner.c.received_at
    query = select(column).where(inner.c.series_id == series.c.id, _within(column, since, until))
    return query.order_by(column if first else column.desc()).limit(1).scalar_subquery()


def device_series(connection: Connection, address: str, since: float | None, until: float | None) -> list[SeriesRow]:
    """The series of a device that have a value in the time."""
    first, last = _edge(True, since, until), _edge(False, since, until)
    query = select(series.c.id, addresses.c.address, *_SERIES, first.label("first_at"), last.label("last_at"))
    query = query.join(addresses, addresses.c.id == series.c.address_id).where(addresses.c.address == address)
    rows = _cells(connection, query.order_by(series.c.storage, series.c.id))
    return [SeriesRow(*row) for row in rows if row[-1] is not None]


def with_edges(
    connection: Connection, address: str, rows: Sequence[SeriesRow], edges: Mapping[int, tuple[float, float]]
) -> list[SeriesRow]:
    """Series with the first and last times that closed months have for them; those that are there only are added."""
    known = {row.id: row for row in rows}
    query = select(series.c.id, addresses.c.address, *_SERIES).join(addresses, addresses.c.id == series.c.address_id)
    for cells in connection.execute(query.where(addresses.c.address == address, series.c.id.in_(list(edges)))):
        first, last = edges[cells[0]]
        row = known.get(cells[0])
        first, last = (first, last) if row is None else (min(first, row.first_at), max(last, row.last_at))
        known[cells[0]] = SeriesRow(*(*cells, first, last))
    return sorted(known.values(), key=lambda row: (row.storage, row.id))


def address_of_series(connection: Connection, series_id: int) -> str | None:
    """The device that a series belongs to."""
    query = select(addresses.c.address).join(series, series.c.address_id == addresses.c.id).where(series.c.id == series_id)
    return connection.execute(query).scalar_one_or_none()


def series_values(
    connection: Connection, series_id: int, since: float | None, until: float | None, resolution: float | None, limit: int
) -> list[ValueRow]:
    """The values of a series in order of time; with ``resolution`` (seconds) the last one of each slot of that length."""
    columns = [getattr(readings.c, name) for name in ValueRow.__struct_fields__]
    where = and_(readings.c.series_id == series_id, _within(readings.c.received_at, since, until))
    order = (readings.c.received_at, readings.c.frame_id, readings.c.position)
    if resolution is None:
        return [ValueRow(*row) for row in _cells(connection, select(*columns).where(where).order_by(*order).limit(limit))]
    slot = _slot(connection, readings.c.received_at, resolution)
    place = func.row_number().over(partition_by=slot, order_by=[column.desc() for column in order]).label("place")
    inner = select(*columns, place).where(where).subquery()
    query = select(*(inner.c[column.name] for column in columns)).where(inner.c.place == 1).order_by(inner.c.received_at)
    return [ValueRow(*row) for row in _cells(connection, query.limit(limit))]


def _slot(connection: Connection, column: ColumnElement[float], resolution: float) -> ColumnElement[int]:
    """The number of the slot: SQLite cuts when it casts and may lack floor, PostgreSQL rounds when it casts."""
    share = column / literal(float(resolution))
    return func.floor(share) if connection.dialect.name == "postgresql" else cast(share, Integer)


def _readings_of(address: str) -> Select[Any]:
    query = select(*_READING).select_from(
        series.join(addresses, addresses.c.id == series.c.address_id).join(readings, readings.c.series_id == series.c.id)
    )
    return query.where(addresses.c.address == address)


def latest_readings(connection: Connection, address: str, since: float | None, until: float | None) -> list[ReadingRow]:
    """The newest reading of each series of a device in the time."""
    query = _readings_of(address).where(readings.c.received_at == _edge(False, since, until))
    rows = _cells(connection, query.order_by(series.c.storage, series.c.id, readings.c.frame_id, readings.c.position))
    return [ReadingRow(*row) for row in rows]


def device_readings(
    connection: Connection, address: str, since: float | None, until: float | None, quantity: str | None, limit: int
) -> list[ReadingRow]:
    """Readings of a device in order of time."""
    query = _readings_of(address).where(_within(readings.c.received_at, since, until))
    if quantity is not None:
        query = query.where(series.c.quantity == quantity)
    order = (readings.c.received_at, readings.c.frame_id, readings.c.position)
    return [ReadingRow(*row) for row in _cells(connection, query.order_by(*order).limit(limit))]


def device_telegrams(connection: Connection, address: str, before: int | None, limit: int) -> list[TelegramRow]:
    """Telegrams of a device, the newest first; ``before`` is the frame behind which to go on."""
    best = select(func.max(receptions.c.rssi_dbm)).where(receptions.c.frame_id == telegrams.c.frame_id).scalar_subquery()
    query = (
        select(
            telegrams.c.frame_id, telegrams.c.received_at, sources.c.name, frames.c.mode, telegrams.c.state, telegrams.c.error,
            telegrams.c.access_number, telegrams.c.status, telegrams.c.security, telegrams.c.proof, telegrams.c.readings, best,
        )
        .join(frames, frames.c.id == telegrams.c.frame_id)
        .join(sources, sources.c.id == frames.c.source_id)
        .join(addresses, addresses.c.id == telegrams.c.address_id)
        .where(addresses.c.address == address)
    )  # fmt: skip
    if before is not None:
        mark = connection.execute(select(telegrams.c.received_at).where(telegrams.c.frame_id == before)).scalar_one_or_none()
        if mark is None:
            return []
        at = telegrams.c.received_at
        query = query.where(or_(at < mark, and_(at == mark, telegrams.c.frame_id < before)))
    query = query.order_by(telegrams.c.received_at.desc(), telegrams.c.frame_id.desc()).limit(limit)
    return [TelegramRow(*row) for row in _cells(connection, query)]


def frame_of(connection: Connection, frame_id: int) -> FrameRow | None:
    """The raw octets of a frame."""
    query = (
        select(frames.c.id, frames.c.octets, frames.c.received_at, sources.c.name, addresses.c.address)
        .join(sources, sources.c.id == frames.c.source_id)
        .outerjoin(telegrams, telegrams.c.frame_id == frames.c.id)
        .outerjoin(addresses, addresses.c.id == telegrams.c.address_id)
        .where(frames.c.id == frame_id)
    )
    row: RowMapping | None = connection.execute(query).mappings().first()
    return None if row is None else FrameRow(row["id"], bytes(row["octets"]), row["received_at"], row["name"], row["address"])
