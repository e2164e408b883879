"""The audit trail: who did what, and who looked at personal data. It only grows; the schema refuses everything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from openmetering.services.headend.model import AuditEntry, Page
from openmetering.storage import audit_rows
from openmetering.storage.database import Database

__all__ = ["Audit"]

_ONE_LOOK: Final = timedelta(minutes=1)
_LOOKS: Final = 10_000


class Audit:
    """Writes and reads the trail. An entry written inside a transaction stands or falls with what it tells of."""

    __slots__ = ("_clock", "_database", "_lock", "_looks")

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: dict[tuple[int, str, str, str], datetime] = {}

    def note(self, user_id: int | None, action: str, thing: str, detail: str = "", *, personal: bool = False) -> AuditEntry:
        """Write down what was done; ``user_id`` None is the system itself. Raises TransportError (``storage.failed``)"""
        with self._database.transaction() as connection:
            return audit_rows.append(connection, self._clock(), user_id, action, thing, detail, personal=personal)

    def look(self, user_id: int, action: str, thing: str, detail: str) -> None:
        """Note that personal data were looked at; the same look again within a minute is part of the first one."""
        now, name = self._clock(), (user_id, action, thing, detail)
        with self._lock:
            last = self._looks.get(name)
            if last is not None and abs(now - last) < _ONE_LOOK:
                return
            if len(self._looks) >= _LOOKS:
                self._looks.clear()
        self.note(user_id, action, thing, detail, personal=True)
        with self._lock:
            self._looks[name] = now

    def about(self, things: Sequence[str]) -> list[AuditEntry]:
        """Every entry about some things, the oldest first."""
        with self._database.reading() as connection:
            return audit_rows.about(connection, things)

    def page(
        self,
        *,
        before: int | None = None,
        limit: int = 100,
        user_id: int | None = None,
        thing: str | None = None,
        action: str | None = None,
        personal: bool | None = None,
    ) -> Page[AuditEntry]:
        """Entries, the newest first."""
        with self._database.reading() as connection:
            return audit_rows.page(
                connection, user_id=user_id, object=thing, action=action, personal=personal, after=before, limit=limit
            )
