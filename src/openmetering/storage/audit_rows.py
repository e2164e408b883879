"""Rows of the audit trail. They are added and read; the schema of both databases refuses to change or delete them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, literal

from openmetering.storage import tables
from openmetering.storage.model import AuditEntry, Page
from openmetering.storage.parts import parts
from openmetering.storage.rows import Rows

__all__ = ["about", "append", "page"]

_entries = Rows(tables.audit, AuditEntry)


def append(
    connection: Connection,
    at: datetime,
    user_id: int | None,
    action: str,
    object: str,
    detail: str = "",
    *,
    personal: bool = False,
) -> AuditEntry:
    """Write down who did what."""
    return _entries.add(connection, AuditEntry(0, at, user_id, action, object, detail, personal), at)


def about(connection: Connection, things: Sequence[str]) -> list[AuditEntry]:
    """Every entry about some things, the oldest first."""
    found: list[AuditEntry] = []
    for part in parts(things):
        found += _entries.all(connection, tables.audit.c.object.in_(part))
    return sorted(found, key=lambda entry: entry.id)


def page(
    connection: Connection,
    *,
    user_id: int | None = None,
    object: str | None = None,
    action: str | None = None,
    personal: bool | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int | None = None,
    limit: int = 100,
) -> Page[AuditEntry]:
    """Entries, the newest first."""
    table = tables.audit
    where: list[ColumnElement[bool]] = []
    for column, value in (
        (table.c.user_id, user_id),
        (table.c.object, object),
        (table.c.action, action),
        (table.c.personal, personal),
    ):
        if value is not None:
            where.append(column == value)
    if since is not None:
        where.append(table.c.at >= literal(since, tables.Moment))
    if until is not None:
        where.append(table.c.at < literal(until, tables.Moment))
    return _entries.page(connection, *where, after=after, limit=limit, newest=True)
