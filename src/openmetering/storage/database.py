"""The database of a head-end: one address, SQLite or PostgreSQL. Needs the extra ``headend``.

    database = Database.open("sqlite:///headend.db")          or postgresql://user:password@host/name
    with database.transaction() as connection:                rows of the registry, jobs, accounts ... (``*_rows``)
        ...
    store = database.store()                                  the telemetry, on a connection of its own

``transaction`` is everything or nothing and on the disk when it ends; ``reading`` sees one state of the database. Both may
be used by any thread. A ``transaction`` inside another one of the same thread is a savepoint: what it did is taken back
alone if it fails. A store writes in transactions of its own: never use it inside ``transaction``, it would wait for you.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from openmetering.errors import InputError, TransportError
from openmetering.storage import migrations, postgresql
from openmetering.storage.dialects import Link, PostgresLink, SqliteLink, copy_statement, copy_text, postgres_reason
from openmetering.storage.repository import Store

try:
    from sqlalchemy import Connection, Engine, create_engine, event
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError
    from sqlalchemy.pool import QueuePool
except ImportError:
    raise migrations.wrong("a head-end needs more packages: pip install 'openmetering[headend]'") from None

if TYPE_CHECKING:
    from sqlalchemy import Table

    from openmetering.storage.dialects import Cell

__all__ = ["Database"]

_READ_ONLY = "openmetering_read_only"
#: what the triggers of the schema say
_RULES = {
    "assignments.overlap": "the device is assigned to a metering point in that time already",
    "audit.append_only": "the audit trail only grows",
    "job_steps.append_only": "the steps of a job only grow",
    "frames.immutable": "frames stay as they were received",
}
_POOL, _OVERFLOW = 8, 24


class Database:
    """Connections to one database, whose schema is the newest one."""

    __slots__ = ("_folder", "_local", "_target", "dialect", "engine", "name")

    def __init__(self, engine: Engine, target: str, name: str, folder: tempfile.TemporaryDirectory[str] | None = None) -> None:
        self.engine = engine
        self.dialect: Literal["sqlite", "postgresql"] = "postgresql" if engine.dialect.name == "postgresql" else "sqlite"
        self.name = name  #: for people, without password
        self._target = target
        self._folder = folder
        self._local = threading.local()

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Self:
        """Open a database and bring its schema to the newest version; ``:memory:`` is one that is gone when closed.

        Raises InputError (``storage.open``, ``storage.version``), TransportError (``storage.failed``)
        """
        if postgresql.is_postgresql(url):
            postgresql.connect(url).close()
            return cls(_postgresql_engine(url), url, str(postgresql.Target.parse(url)))
        path, folder = migrations.database_path(url), None
        if path == ":memory:":
            # every connection must see the same rows: a file that nobody keeps
            folder = tempfile.TemporaryDirectory(prefix="openmetering-")
            path = str(Path(folder.name, "memory.db"))
        migrations.connect(path, create=create).close()
        return cls(_sqlite_engine(path), path, path if folder is None else ":memory:", folder)

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.engine.dispose()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database {self.name}>"

    def store(self, *, merge_window: float = 2.0, repeat_window: float = 30.0, answers: bool = False) -> Store:
        """A telemetry store in this database; close it before the database.

        ``answers`` keeps the JSON answer of every telegram as well: it can be made again from the frame, and costs more
        than all readings of the telegram.
        """
        return Store.open(self._target, merge_window=merge_window, repeat_window=repeat_window, answers=answers)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything or nothing; on the disk when it ends. In SQLite one writer at a time.

        Raises InputError (``storage.conflict``) where a rule of the schema is broken, TransportError (``storage.failed``)
        """
        outer: Connection | None = getattr(self._local, "connection", None)
        try:
            if outer is not None:
                with outer.begin_nested():
                    yield outer
                return
            with self.engine.begin() as connection:
                self._local.connection = connection
                try:
                    yield connection
                finally:
                    self._local.connection = None
        except SQLAlchemyError as error:
            raise _explained(error, self.name) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One state of the database, for questions; inside a transaction of this thread, what that one sees.

        Raises TransportError (``storage.failed``)
        """
        outer: Connection | None = getattr(self._local, "connection", None)
        try:
            if outer is not None:
                yield outer
                return
            with self.engine.connect().execution_options(**{_READ_ONLY: True}) as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            raise _explained(error, self.name) from error

    def alone(self, statements: Sequence[str]) -> None:
        """Statements that stand in no transaction (VACUUM). Raises TransportError (``storage.failed``)"""
        link: Link
        if self.dialect == "postgresql":
            link = PostgresLink(lambda: postgresql.connect(self._target, migrate=False))
        else:
            link = SqliteLink(migrations.connect(self._target, create=False))
        try:
            for statement in statements:
                link.rows(statement)
        except Exception as error:
            failure = link.failure(error, f"{self.name}: {statements[0].split()[0]} failed")
            if failure is None:
                raise
            raise failure from error
        finally:
            link.close()

    def copy(self, connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Many new rows at once: COPY with PostgreSQL. Cells as the database has them (times as seconds, lists as JSON)."""
        if not rows:
            return
        if self.dialect == "postgresql":
            raw = connection.connection.cursor()
            raw.execute(copy_statement(table.name, columns), stream=copy_text(rows))  # type: ignore[call-arg]
            return
        marks = ", ".join("?" * len(columns))
        connection.connection.cursor().executemany(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", rows)


def _sqlite_engine(path: str) -> Engine:
    def connect() -> sqlite3.Connection:
        return migrations.connect(path, create=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=_POOL, max_overflow=_OVERFLOW)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a transaction that only becomes a writer later would fail when another one was faster
        read_only = connection.get_execution_options().get(_READ_ONLY)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: str) -> Engine:
    engine = create_engine(
        "postgresql+pg8000://",
        creator=lambda: postgresql.connect(url, migrate=False),
        pool_size=_POOL,
        max_overflow=_OVERFLOW,
        pool_pre_ping=True,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_READ_ONLY):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    return engine


def _explained(error: SQLAlchemyError, name: str) -> InputError | TransportError:
    """A rule of the schema that was broken is the caller's fault, everything else the database's."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        said, conflict = str(cause), isinstance(cause, sqlite3.IntegrityError)
    elif cause is not None and cause.args and isinstance(cause.args[0], dict):
        fields = cause.args[0]
        said, conflict = postgres_reason(cause), str(fields.get("C", "")).startswith("23")
    else:
        said, conflict = str(cause or error), False
    if not conflict:
        return TransportError(f"{name}: {said}", code="storage.failed", layer="storage")
    rule = _RULES.get(said)
    return InputError(rule or f"this contradicts what is stored: {said}", code="storage.conflict", layer="storage")
