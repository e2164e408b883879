"""What the head-end must not forget while it carries out jobs, in the database and together with the job itself.

    procedure writes its journal  ->  Draft keeps it
    before an order leaves        ->  one transaction: journal, first words of the job
    at the end                    ->  one transaction: journal, result of the job, audit trail

So a journal never says that a command is closed while the job does not say what came of it: after a power cut the
command is still open, and its outcome is found out instead of being executed again.

Each runner has a number, one more than the last one. One that finds a higher number has been replaced and stops
before anything leaves: two would count with the same counters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.protocol.operator.journal import Journal
from openmetering.storage import protocol_rows
from openmetering.storage.database import Database

__all__ = ["OWNER", "REPLACED", "Draft", "Ledger"]

OWNER: Final = "head-end"
REPLACED: Final = "jobs.replaced"  #: code of the error of a runner that another one has replaced
_PART, _NAME = "runner", "generation"


class Draft:
    """The journal of a device as the procedure wrote it last; ``pending`` if the database has an older one."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: Journal | None = None

    def save(self, journal: Journal) -> None:
        """Called by the head-end of the protocol; nothing leaves before ``write``."""
        self._pending = journal

    @property
    def pending(self) -> bool:
        """True if something is not written yet."""
        return self._pending is not None

    def write(self, connection: Connection, now: datetime) -> None:
        """Write it; it counts when the transaction ends."""
        if self._pending is not None:
            protocol_rows.save_journal(connection, OWNER, self._pending, now)

    def written(self) -> None:
        """The transaction has ended well."""
        self._pending = None


class Ledger:
    """The database as a runner uses it: transactions that end with an error once another runner has begun."""

    __slots__ = ("database", "generation")

    def __init__(self, database: Database) -> None:
        self.database = database
        self.generation = 0

    def begin(self, now: datetime) -> None:
        """Take the next number. Raises TransportError (``storage.failed``)"""
        with self.database.transaction() as connection:
            self.generation = _generation(connection) + 1
            protocol_rows.save_memory(connection, OWNER, _PART, {_NAME: str(self.generation)}, now)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything or nothing. Raises InputError (``jobs.replaced``), TransportError (``storage.failed``)"""
        with self.database.transaction() as connection:
            self._check(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """For questions. Raises InputError (``jobs.replaced``), TransportError (``storage.failed``)"""
        with self.database.reading() as connection:
            self._check(connection)
            yield connection

    def _check(self, connection: Connection) -> None:
        if _generation(connection) != self.generation:
            raise InputError("another head-end carries out the jobs now", code=REPLACED, layer="head-end")

    def journal(self, device: Address) -> Journal:
        """The journal of a device as it is stored."""
        with self.database.reading() as connection:
            return protocol_rows.journal_of(connection, OWNER, device)


def _generation(connection: Connection) -> int:
    return int(protocol_rows.memory(connection, OWNER, _PART).get(_NAME, "0"))
