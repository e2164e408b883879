"""Opening a database file and bringing it to the newest schema. Every ``schema_vN.sql`` is kept."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Literal

from openmetering.errors import InputError, TransportError

__all__ = ["APPLICATION_ID", "VERSION", "connect", "database_path", "failed", "schemas", "transaction"]

APPLICATION_ID = 0x4F4D5331  #: in the header of the file: tells our databases from those of others
_NAME = re.compile(r"schema_v(\d+)\.sql")
_BUSY = 30.0  #: seconds to wait for another process that writes


def schemas() -> list[tuple[int, str]]:
    """Version and file name of every schema step, in order."""
    names = [item.name for item in resources.files("openmetering.storage").iterdir()]
    return sorted((int(found[1]), name) for name in names if (found := _NAME.fullmatch(name)))


VERSION = schemas()[-1][0]


def wrong(message: str, code: str = "storage.open") -> InputError:
    """The error of a store that cannot be used as it is."""
    return InputError(message, code=code, layer="storage")


def failed(error: sqlite3.Error, what: str) -> TransportError:
    """The error of a store that fails at work (disk full, lock, damage)."""
    return TransportError(f"{what}: {error}", code="storage.failed", layer="storage")


def database_path(url: str) -> str:
    """The file of ``sqlite:///path`` or of a bare path; ``:memory:`` is allowed. Raises InputError (``storage.open``)."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    if scheme != "sqlite":
        raise wrong(f"stores of the kind {scheme}:// are not known; write a file name or sqlite:///file.db")
    path = rest.removeprefix("/")
    if not path:
        raise wrong("sqlite:// needs a file name: sqlite:///file.db, or sqlite:////absolute/file.db")
    return path


def connect(url: str, *, create: bool = True) -> sqlite3.Connection:
    """Open a database in WAL mode with the newest schema.

    Raises InputError (``storage.open``, ``storage.version``), TransportError (``storage.failed``)
    """
    path = database_path(url)
    if path != ":memory:":
        if not create and not Path(path).is_file():
            raise wrong(f"there is no store {path}; oms listen makes one, or name another with --store")
        if not Path(path).resolve().parent.is_dir():
            raise wrong(f"the folder of {path} does not exist")
    try:
        connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise wrong(f"{path} cannot be opened: {error}") from None
    try:
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise wrong(f"{path} is no store of openmetering, or it is damaged: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    _check_owner(connection, path)
    # counts for new files only; readings of many series change many pages, and each is written whole
    connection.execute("PRAGMA page_size = 4096")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 16384")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if _number(connection, "user_version") < VERSION:
        _migrate(connection)


def _number(connection: sqlite3.Connection, name: Literal["user_version", "application_id"]) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _check_owner(connection: sqlite3.Connection, path: str) -> None:
    owner, version = _number(connection, "application_id"), _number(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (owner or tables):
        raise wrong(f"{path} is a database of another program; name another file with --store")
    if version > VERSION:
        raise wrong(
            f"{path} has schema version {version}, this openmetering knows up to {VERSION}; install a newer one",
            "storage.version",
        )


def _migrate(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        # another process may have been faster
        for version, name in schemas():
            if version > _number(connection, "user_version"):
                text = (resources.files("openmetering.storage") / name).read_text("utf-8")
                for statement in statements(text):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (version, name, time.time()))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version}")


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one (``executescript`` would commit in between)."""
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if sqlite3.complete_statement(buffer):
            yield buffer
            buffer = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
