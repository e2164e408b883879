"""Rows of alarms: raised, acknowledged, cleared. Of a kind at most one per device is open."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select

from openmetering.storage import tables
from openmetering.storage.model import Alarm, Page
from openmetering.storage.rows import Rows

__all__ = ["acknowledge", "alarms", "alarms_page", "clear", "open_alarms", "open_counts", "raise_alarm", "update_alarm"]

alarms = Rows(tables.alarms, Alarm)
_OPEN = tables.alarms.c.state != "cleared"


def _of(device_id: int | None) -> ColumnElement[bool]:
    column = tables.alarms.c.device_id
    return column.is_(None) if device_id is None else column == device_id


def raise_alarm(connection: Connection, alarm: Alarm, now: datetime) -> tuple[Alarm, bool]:
    """The alarm, and whether it is new: one of its kind that is open for the device is given back as it is.

    An alarm of the system (no device) is told from others by its text as well.
    """
    table = tables.alarms
    where = [_of(alarm.device_id), table.c.kind == alarm.kind, _OPEN]
    if alarm.device_id is None:
        where.append(table.c.text == alarm.text)
    known = alarms.find(connection, *where)
    return (known, False) if known is not None else (alarms.add(connection, alarm, now), True)


def update_alarm(connection: Connection, number: int, *, text: str, value: str, severity: str) -> Alarm | None:
    """An open alarm says something newer."""
    return alarms.change(connection, number, _OPEN, text=text, value=value, severity=severity)


def acknowledge(connection: Connection, number: int, user_id: int | None, at: datetime) -> Alarm | None:
    """Somebody looks at it. None if it is not raised (any more)."""
    where = tables.alarms.c.state == "raised"
    return alarms.change(connection, number, where, state="acknowledged", acknowledged_by=user_id, acknowledged_at=at)


def clear(connection: Connection, number: int, at: datetime) -> Alarm | None:
    """It is over. None if it was cleared before."""
    return alarms.change(connection, number, _OPEN, state="cleared", cleared_at=at)


def open_alarms(connection: Connection, device_id: int | None = None, kind: str | None = None) -> list[Alarm]:
    """Alarms that are not cleared, of one device or of all."""
    where = [_OPEN]
    if device_id is not None:
        where.append(_of(device_id))
    if kind is not None:
        where.append(tables.alarms.c.kind == kind)
    return alarms.all(connection, *where)


def open_counts(connection: Connection) -> dict[int, dict[str, int]]:
    """How many alarms are open, by device and severity."""
    table = tables.alarms
    query = select(table.c.device_id, table.c.severity, func.count()).where(_OPEN, table.c.device_id.is_not(None))
    found: dict[int, dict[str, int]] = {}
    for device, severity, count in connection.execute(query.group_by(table.c.device_id, table.c.severity)):
        found.setdefault(device, {})[severity] = count
    return found


def alarms_page(
    connection: Connection,
    *,
    states: Iterable[str] | None = None,
    device_ids: Iterable[int] | None = None,
    after: int | None = None,
    limit: int = 100,
) -> Page[Alarm]:
    """Alarms, the newest first."""
    table = tables.alarms
    where: list[ColumnElement[bool]] = []
    if states is not None:
        where.append(table.c.state.in_(list(states)))
    if device_ids is not None:
        where.append(table.c.device_id.in_(list(device_ids)))
    return alarms.page(connection, *where, after=after, limit=limit, newest=True)
