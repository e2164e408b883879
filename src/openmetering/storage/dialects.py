"""Where SQLite and PostgreSQL differ, in one place: a ``Link`` is a connection of the telemetry store to either.

Statements are written once, with ``?`` for values and with what both speak (``ON CONFLICT``, ``RETURNING``, ``FILTER``).
A link adds what they do not share: transactions and how durable they are, lists of values, patterns, bulk inserts
(``executemany`` or ``COPY``) and new numbers of rows.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from openmetering.errors import InputError, TransportError
from openmetering.storage.parts import parts

if TYPE_CHECKING:
    from pg8000.dbapi import Connection as PostgresConnection

__all__ = [
    "Cell",
    "Link",
    "PostgresLink",
    "Row",
    "SqliteLink",
    "Turn",
    "copy_plain",
    "copy_statement",
    "copy_text",
    "postgres_reason",
]

Cell: TypeAlias = "str | bytes | int | float | None"
Row: TypeAlias = "tuple[Any, ...]"  #: what a statement gives; which column has which type is known to the statement only
Turn: TypeAlias = Literal["frames", "results"]
#: one process at a time stores frames, and one results: two could not see what the other one is about to store
_LOCKS: Mapping[Turn, int] = {"frames": 0x4F4D5331, "results": 0x4F4D5334}
_MOST_VALUES = 2000


class Link(Protocol):
    """A connection that a store works with; one thread at a time."""

    kind: Literal["sqlite", "postgresql"]

    def rows(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """All rows that a statement gives."""

    def stream(self, statement: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The rows one by one."""

    def run(self, statement: str, values: Sequence[object] = ()) -> None:
        """A statement that gives no rows."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Many new rows, none of which is there yet."""

    def add_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Rows, leaving out those that are there."""

    def replace(self, table: str, columns: Sequence[str], keys: int, rows: Sequence[Sequence[Cell]]) -> None:
        """Rows, in the place of those with the same first ``keys`` columns; each key once."""

    def numbers(self, table: str, count: int) -> Sequence[int]:
        """Numbers for new rows of a table; inside a transaction."""

    def among(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, Sequence[object]]:
        """The condition that a column has one of the values."""

    def fits(self, column: str, pattern: str) -> tuple[str, str]:
        """The condition that a column fits a pattern with ``*`` and ``?``, and the value for it."""

    def transaction(self, turn: Turn, *, durable: bool) -> AbstractContextManager[None]:
        """Everything or nothing, by one writer at a time; ``durable`` ones are on the disk when they end.

        With PostgreSQL frames and results are written side by side.
        """

    def failure(self, error: BaseException, what: str) -> TransportError | None:
        """What an exception of the driver means; None if it is none of the driver's."""

    def close(self) -> None:
        """Close the connection."""


def _failed(what: str, reason: object) -> TransportError:
    return TransportError(f"{what}: {reason}", code="storage.failed", layer="storage")


class SqliteLink:
    """SQLite through the standard library."""

    __slots__ = ("connection", "kind")

    kind: Literal["sqlite", "postgresql"]

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.kind = "sqlite"
        self.connection = connection

    def rows(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        return self.connection.execute(statement, values).fetchall()

    def stream(self, statement: str, values: Sequence[object] = ()) -> Iterator[Row]:
        return iter(self.connection.execute(statement, values))

    def run(self, statement: str, values: Sequence[object] = ()) -> None:
        self.connection.execute(statement, values)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        self.connection.executemany(_insert(table, tuple(columns)), rows)

    def add_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        self.connection.executemany(f"{_insert(table, tuple(columns))} ON CONFLICT DO NOTHING", rows)

    def replace(self, table: str, columns: Sequence[str], keys: int, rows: Sequence[Sequence[Cell]]) -> None:
        self.connection.executemany(f"{_insert(table, tuple(columns))} {_in_place(columns, keys)}", rows)

    def numbers(self, table: str, count: int) -> Sequence[int]:
        (last,) = self.connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        return range(last + 1, last + 1 + count)

    def among(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, Sequence[object]]:
        return f"{column} IN ({','.join('?' * len(values))})", values

    def fits(self, column: str, pattern: str) -> tuple[str, str]:
        return f"{column} GLOB ?", pattern

    @contextmanager
    def transaction(self, turn: Turn, *, durable: bool) -> Iterator[None]:
        """WAL without a sync at the end (``NORMAL``) may lose the last transactions of a power cut, never their order."""
        connection = self.connection
        connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def failure(self, error: BaseException, what: str) -> TransportError | None:
        return _failed(what, error) if isinstance(error, sqlite3.Error) else None

    def close(self) -> None:
        self.connection.close()


@lru_cache(maxsize=64)
def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _in_place(columns: Sequence[str], keys: int) -> str:
    """What an insert does where a row with the same first columns is there."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    return f"ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {changes}"


class PostgresLink:
    """PostgreSQL through pg8000, in autocommit but inside ``transaction``. A connection that broke is made anew."""

    __slots__ = ("_broken", "_connect", "_cursors", "connection", "kind")

    kind: Literal["sqlite", "postgresql"]

    def __init__(self, connect: Callable[[], PostgresConnection]) -> None:
        self.kind = "postgresql"
        self._connect = connect
        self._cursors = 0
        self._open()

    def _open(self) -> None:
        self.connection = self._connect()
        self.connection.autocommit = True
        self._broken = False

    def _execute(self, statement: str, values: Sequence[object] = (), stream: Iterable[bytes] | None = None) -> list[Row]:
        if self._broken:
            self._open()
        cursor = self.connection.cursor()
        try:
            if values:
                cursor.execute(_marks(statement), tuple(map(_clean, values)))
            elif stream is not None:
                cursor.execute(statement, stream=stream)
            else:
                cursor.execute(statement)
        except Exception as error:
            # a server that refuses a statement says so in fields; everything else is the end of the connection
            self._broken = not (error.args and isinstance(error.args[0], dict))
            raise
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def rows(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        return self._execute(statement, values)

    def stream(self, statement: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """In portions through a cursor of the server, so that a long answer does not fill the memory."""
        self._cursors += 1
        name = f"portions_{self._cursors}"
        self._execute(f"DECLARE {name} NO SCROLL CURSOR WITH HOLD FOR {statement}", values)
        try:
            while part := self._execute(f"FETCH {_PORTION} FROM {name}"):
                yield from part
        finally:
            if not self._broken:
                self._execute(f"CLOSE {name}")

    def run(self, statement: str, values: Sequence[object] = ()) -> None:
        self._execute(statement, values)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        if rows:
            self._execute(copy_statement(table, columns), (), copy_plain(rows) if table in _PLAIN else copy_text(rows))

    def add_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        self._insert(table, columns, rows, "ON CONFLICT DO NOTHING")

    def replace(self, table: str, columns: Sequence[str], keys: int, rows: Sequence[Sequence[Cell]]) -> None:
        self._insert(table, columns, rows, _in_place(columns, keys))

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], otherwise: str) -> None:
        names, marks = ", ".join(columns), f"({', '.join('?' * len(columns))})"
        step = max(1, _MOST_VALUES // len(columns))
        for some in parts(rows, step):
            statement = f"INSERT INTO {table} ({names}) VALUES {', '.join([marks] * len(some))} {otherwise}"
            self._execute(statement, [cell for row in some for cell in row])

    def numbers(self, table: str, count: int) -> Sequence[int]:
        statement = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, {count:d})"
        return [int(row[0]) for row in self._execute(statement)]

    def among(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, Sequence[object]]:
        return f"{column} = ANY(?)", (list(values),)

    def fits(self, column: str, pattern: str) -> tuple[str, str]:
        return f"{column} LIKE ?", _like(pattern)

    @contextmanager
    def transaction(self, turn: Turn, *, durable: bool) -> Iterator[None]:
        """Without ``durable`` the last transactions before a crash may be lost, never their order."""
        wait = "on" if durable else "off"
        try:
            # one message: every answer that is waited for costs
            self._execute(f"BEGIN; SET LOCAL synchronous_commit = {wait}; SELECT pg_advisory_xact_lock({_LOCKS[turn]})")
            yield
            self._execute("COMMIT")
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Take back what was done; where the connection is gone, the transaction is gone with it."""
        if not self._broken:
            try:
                self._execute("ROLLBACK")
            except Exception as error:
                if self.failure(error, "rollback") is None:
                    raise
                self._broken = True

    def failure(self, error: BaseException, what: str) -> TransportError | None:
        from pg8000.dbapi import Error

        if isinstance(error, InputError):  # the connection that was to be made anew
            return _failed(what, error.message)
        return _failed(what, postgres_reason(error)) if isinstance(error, Error | OSError) else None

    def close(self) -> None:
        if not self._broken:
            try:
                self.connection.close()
            except Exception as error:
                if self.failure(error, "close") is None:
                    raise


def postgres_reason(error: Exception) -> str:
    """What the server said, in one line."""
    said = error.args[0] if error.args else ""
    return str(said.get("M", "")) if isinstance(said, dict) else str(said)


@lru_cache(maxsize=1024)
def _marks(statement: str) -> str:
    """The marks of pg8000 in place of ours."""
    return statement.replace("%", "%%").replace("?", "%s")


def _clean(value: object) -> object:
    return value.replace("\0", _NUL) if isinstance(value, str) else value


def _like(pattern: str) -> str:
    """The pattern of LIKE for one of GLOB without sets (``[[]`` stands for the bracket)."""
    text = pattern.replace("[[]", "[").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return text.replace("*", "%").replace("?", "_")


# -- COPY -----------------------------------------------------------------------------------------

_NUL = "\u2400"  #: text of PostgreSQL has no NUL; this sign stands for it
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": _NUL})
_PORTION = 4096


_special = re.compile(r"[\\\t\n\r\0]").search


def _text(value: str) -> str:
    if value == _NULL:
        return "\\x4eone"
    return value if _special(value) is None else value.translate(_ESCAPES)


_NULL = "None"  #: what stands for NULL: what Python writes for None
_PLAIN = frozenset(("readings", "telegrams", "pending"))  #: tables of numbers and texts: none of their columns holds octets
_WRITERS: Mapping[type, Callable[..., str]] = {
    str: _text,
    int: int.__repr__,
    float: float.__repr__,
    bool: lambda value: "t" if value else "f",
    bytes: lambda value: f"\\\\x{value.hex()}",
    type(None): lambda _: _NULL,
}


def copy_statement(table: str, columns: Iterable[str]) -> str:
    """The statement that reads what ``copy_text`` and ``copy_plain`` give."""
    return f"COPY {table} ({', '.join(columns)}) FROM STDIN (NULL '{_NULL}')"


def copy_text(rows: Sequence[Sequence[Cell]]) -> Iterator[bytes]:
    """Rows in the text format of COPY, some thousand at a time."""
    for part in parts(rows, _PORTION):
        yield _one_by_one(part)


def copy_plain(rows: Sequence[Sequence[Cell]]) -> Iterator[bytes]:
    """The same for rows without octets, formatted by one call: three times as fast.

    A portion is written cell by cell after all if a text in it has a sign that COPY reads in its own way, or says "None".
    """
    width = len(rows[0])
    line = "\t".join(["%s"] * width) + "\n"
    for part in parts(rows, _PORTION):
        text = line * len(part) % tuple(chain.from_iterable(part))
        fits = (
            "\\" not in text
            and "\r" not in text
            and "\0" not in text
            and text.count("\t") == len(part) * (width - 1)
            and text.count("\n") == len(part)
            and text.count(_NULL) == sum([row.count(None) for row in part])
        )
        yield text.encode() if fits else _one_by_one(part)


def _one_by_one(rows: Sequence[Sequence[Cell]]) -> bytes:
    writers = _WRITERS
    lines = ["\t".join([writers[type(cell)](cell) for cell in row]) for row in rows]
    lines.append("")
    return "\n".join(lines).encode()
