"""Rows of what the two ends of the link must not forget. They are on the disk before anything that depends on them leaves.

    journals   of the operator's end, one per device
    memories   of gateways and other machines, in parts that are saved alone (a counter, an access number, an order)
    spools     how far the spool of a gateway is stored

``owner`` names whose it is (``head-end``, ``gateway:roof``): several may share a database. No key stands in any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Table, and_, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from openmetering.codec.address import Address
from openmetering.protocol.operator.journal import Journal
from openmetering.storage import tables

__all__ = [
    "SpoolPlace",
    "forget",
    "journal_of",
    "journals",
    "memory",
    "save_journal",
    "save_memory",
    "save_spool",
    "spool",
    "spools",
]


class SpoolPlace(msgspec.Struct, frozen=True):
    """How far a spool is stored: segment, octet in it, running number of the last entry."""

    name: str
    segment: int
    position: int
    sequence: int


def _save(connection: Connection, table: Table, rows: list[dict[str, object]], now: datetime) -> None:
    """Rows in place of those with the same primary key."""
    if not rows:
        return
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = make(table)
    keys = list(table.primary_key.columns)
    changed = {name: new.excluded[name] for name in rows[0] if name not in table.primary_key.columns}
    statement = new.on_conflict_do_update(index_elements=keys, set_=changed | {"updated_at": new.excluded.updated_at})
    connection.execute(statement, [row | {"updated_at": now, "created_at": now} for row in rows])


# -- journals -------------------------------------------------------------------------------------


def save_journal(connection: Connection, owner: str, journal: Journal, now: datetime) -> None:
    """Write the journal of a device; an empty one is taken away."""
    address = str(journal.address)
    table = tables.journals
    if journal == Journal(journal.address):
        connection.execute(delete(table).where(table.c.owner == owner, table.c.address == address))
        return
    text = msgspec.json.encode(journal).decode()
    _save(connection, table, [{"owner": owner, "address": address, "journal": text}], now)


def journal_of(connection: Connection, owner: str, address: Address) -> Journal:
    """The journal of a device; an empty one if nothing is known."""
    table = tables.journals
    query = select(table.c.journal).where(table.c.owner == owner, table.c.address == str(address))
    text = connection.execute(query).scalar_one_or_none()
    return Journal(address) if text is None else msgspec.json.decode(text, type=Journal)


def journals(connection: Connection, owner: str) -> tuple[Journal, ...]:
    """All journals of an owner, by address."""
    table = tables.journals
    query = select(table.c.journal).where(table.c.owner == owner).order_by(table.c.address)
    return tuple(msgspec.json.decode(text, type=Journal) for (text,) in connection.execute(query))


# -- memories -------------------------------------------------------------------------------------


def save_memory(connection: Connection, owner: str, part: str, values: Mapping[str, str], now: datetime) -> None:
    """Write values (JSON) by name; others of the same part stay."""
    rows: list[dict[str, object]] = [
        {"owner": owner, "part": part, "name": name, "value": value} for name, value in sorted(values.items())
    ]
    _save(connection, tables.memories, rows, now)


def memory(connection: Connection, owner: str, part: str) -> dict[str, str]:
    """The values of a part by name."""
    table = tables.memories
    query = select(table.c.name, table.c.value).where(table.c.owner == owner, table.c.part == part).order_by(table.c.name)
    return {str(name): str(value) for name, value in connection.execute(query)}


def forget(connection: Connection, owner: str, part: str, names: Iterable[str] | None = None) -> None:
    """Take values away, or with ``names`` None the whole part."""
    table = tables.memories
    where = [table.c.owner == owner, table.c.part == part]
    if names is not None:
        where.append(table.c.name.in_(list(names)))
    connection.execute(delete(table).where(*where))


# -- spools ---------------------------------------------------------------------------------------


def save_spool(connection: Connection, place: SpoolPlace, now: datetime) -> bool:
    """Move the place of a spool forward; False (and nothing changed) if it is there or further already."""
    table = tables.spools
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = make(table).values(
        name=place.name,
        segment=place.segment,
        position=place.position,
        sequence=place.sequence,
        updated_at=now,
        created_at=now,
    )
    further = or_(
        table.c.segment < new.excluded.segment,
        and_(table.c.segment == new.excluded.segment, table.c.position < new.excluded.position),
    )
    moved = new.on_conflict_do_update(
        index_elements=[table.c.name],
        set_={name: new.excluded[name] for name in ("segment", "position", "sequence", "updated_at")},
        where=further,
    )
    return connection.execute(moved.returning(table.c.name)).first() is not None


def spool(connection: Connection, name: str) -> SpoolPlace | None:
    """How far a spool is stored; None if nothing of it is."""
    table = tables.spools
    query = select(table.c.name, table.c.segment, table.c.position, table.c.sequence).where(table.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else SpoolPlace(*row)


def spools(connection: Connection) -> list[SpoolPlace]:
    """All spools by name."""
    table = tables.spools
    query = select(table.c.name, table.c.segment, table.c.position, table.c.sequence).order_by(table.c.name)
    return [SpoolPlace(*row) for row in connection.execute(query)]
