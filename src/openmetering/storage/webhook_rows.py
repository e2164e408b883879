"""Rows of webhooks and of the posts that wait for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete

from openmetering.storage import tables
from openmetering.storage.model import Page, Webhook
from openmetering.storage.rows import Rows

__all__ = ["Delivery", "deliveries_page", "delivered", "due", "failed", "purge_delivered", "queue", "webhooks"]


class Delivery(msgspec.Struct, frozen=True):
    """One event to post. ``due`` says when to try (again), ``delivered_at`` when it arrived."""

    id: int
    webhook_id: int
    event: str
    payload: str
    attempts: int
    due: datetime
    delivered_at: datetime | None = None
    error: str | None = None


webhooks = Rows(tables.webhooks, Webhook)
_deliveries = Rows(tables.webhook_deliveries, Delivery)


def reseal(connection: Connection, again: Callable[[str], str]) -> None:
    """Seal every secret anew."""
    for webhook in webhooks.all(connection):
        webhooks.change(connection, webhook.id, secret=again(webhook.secret))


def queue(connection: Connection, webhook_id: int, event: str, payload: str, now: datetime) -> Delivery:
    """An event to post as soon as possible."""
    return _deliveries.add(connection, Delivery(0, webhook_id, event, payload, 0, now), now)


def due(connection: Connection, now: datetime, limit: int = 100) -> list[Delivery]:
    """What is to be posted now, the oldest first."""
    table = tables.webhook_deliveries
    return list(_deliveries.page(connection, table.c.delivered_at.is_(None), table.c.due <= now, limit=limit).items)


def delivered(connection: Connection, number: int, at: datetime) -> Delivery | None:
    """It arrived."""
    table = tables.webhook_deliveries
    return _deliveries.change(connection, number, delivered_at=at, attempts=table.c.attempts + 1, error=None)


def failed(connection: Connection, number: int, error: str, again: datetime) -> Delivery | None:
    """It did not arrive; try again then."""
    return _deliveries.change(connection, number, attempts=tables.webhook_deliveries.c.attempts + 1, error=error, due=again)


def deliveries_page(connection: Connection, webhook_id: int, *, after: int | None = None, limit: int = 100) -> Page[Delivery]:
    """The posts of a webhook, the newest first."""
    where = tables.webhook_deliveries.c.webhook_id == webhook_id
    return _deliveries.page(connection, where, after=after, limit=limit, newest=True)


def purge_delivered(connection: Connection, before: datetime) -> int:
    """Forget what arrived long ago; returns how many."""
    table = tables.webhook_deliveries
    return connection.execute(delete(table).where(table.c.delivered_at < before)).rowcount
