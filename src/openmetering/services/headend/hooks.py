"""Where events are posted to: the list. What is posted, when and how is the business of ``webhooks``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from openmetering.services.headend.model import Webhook
from openmetering.services.headend.problems import invalid
from openmetering.storage import tables, webhook_rows
from openmetering.storage.database import Database

__all__ = ["EVENTS", "Webhooks"]

#: what may be posted
EVENTS: Final = ("reading", "alarm", "job", "device", "gateway")
_SHORTEST_SECRET: Final = 16
_LONGEST: Final = 2000


class Webhooks:
    """Addresses with the events they want and the secret that signs what is posted."""

    __slots__ = ("_clock", "_database", "_seal")

    def __init__(self, database: Database, clock: Callable[[], datetime], seal: Callable[[str], str]) -> None:
        """``seal`` makes of a secret what the database keeps of it."""
        self._database = database
        self._clock = clock
        self._seal = seal

    def all(self, tenant_id: int | None = None) -> tuple[Webhook, ...]:
        """Those of a tenant, or all."""
        where = [] if tenant_id is None else [tables.webhooks.c.tenant_id == tenant_id]
        with self._database.reading() as connection:
            return tuple(webhook_rows.webhooks.all(connection, *where))

    def find(self, webhook_id: int) -> Webhook | None:
        """One by number."""
        with self._database.reading() as connection:
            return webhook_rows.webhooks.get(connection, webhook_id)

    def add(self, url: str, events: tuple[str, ...], secret: str, tenant_id: int | None = None) -> Webhook:
        """A new one. Raises InputError (``access.invalid``)"""
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise invalid("this is no address for a webhook") from None
        if parts.scheme not in ("https", "http") or not host or len(url) > _LONGEST or not url.isprintable():
            raise invalid("a webhook is an address that begins with https:// or http://")
        if parts.username is not None or parts.password is not None:
            raise invalid("names and passwords do not belong into the address; the secret signs what is posted")
        strange = [event for event in events if event not in EVENTS]
        if strange or not events:
            raise invalid(f"events of a webhook are {', '.join(EVENTS)}")
        if len(secret) < _SHORTEST_SECRET:
            raise invalid(f"the secret has at least {_SHORTEST_SECRET} characters")
        with self._database.transaction() as connection:
            made = Webhook(0, url, tuple(dict.fromkeys(events)), self._seal(secret), tenant_id)
            return webhook_rows.webhooks.add(connection, made, self._clock())

    def remove(self, webhook_id: int) -> None:
        """Take one away, with what waits for it."""
        with self._database.transaction() as connection:
            webhook_rows.webhooks.remove(connection, webhook_id)
