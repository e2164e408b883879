"""All rows of a database in one file that either kind of database can take up: a zip archive, written and read as a stream.

    manifest.json            what is in it: versions, time, and of every table its columns, rows and SHA-256
    tables/NAME              blocks, each 4 octets length (big endian) and a MessagePack list of rows

Rows are what the database holds: times as seconds, keys wrapped. One state of the database is written, however long it
takes; receiving goes on meanwhile. Memory does not grow with the database.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import Boolean, Float, Integer

from openmetering.errors import InputError, TransportError
from openmetering.storage import tables
from openmetering.storage.dialects import Cell
from openmetering.storage.migrations import VERSION

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from openmetering.storage.database import Database

__all__ = ["Manifest", "Progress", "TableNote", "read_manifest", "restore", "write"]

Progress = Callable[[str, int], None]  #: name of a table, rows so far
_FORMAT: Final = 1
_BLOCK: Final = 1000
_MANIFEST: Final = "manifest.json"
_LARGEST_BLOCK: Final = 256 * 1024 * 1024


class TableNote(msgspec.Struct, frozen=True):
    """A table of an archive."""

    columns: tuple[str, ...]
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an archive says of itself; ``made_at`` in seconds since 1970."""

    format: int
    schema: int
    made_by: str
    made_at: float
    tables: dict[str, TableNote]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())


def _wrong(message: str) -> InputError:
    return InputError(message, code="storage.archive", layer="storage")


def _kept() -> list[Table]:
    """Tables in an order in which rows refer to earlier ones; the list of migrations belongs to the file, not to its content."""
    return [table for table in tables.metadata.sorted_tables if table.name != "migrations"]


# -- writing ------------------------------------------------------------------------------------------


def write(database: Database, path: Path, *, now: float, made_by: str, progress: Progress | None = None) -> Manifest:
    """Write all rows to a new file; it appears under its name when it is complete.

    Raises InputError (``storage.archive``) if the file is there, TransportError (``storage.failed``)
    """
    if path.exists():
        raise _wrong(f"{path} is there already; name a file that is not")
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive, database.reading() as connection:
                notes = {str(table.name): _write_table(connection, table, archive, progress) for table in _kept()}
                manifest = Manifest(_FORMAT, VERSION, made_by, now, notes)
                archive.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise TransportError(f"{path}: {error}", code="storage.failed", layer="storage") from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return manifest


def _write_table(connection: Connection, table: Table, archive: zipfile.ZipFile, progress: Progress | None) -> TableNote:
    count, digest, encode = 0, hashlib.sha256(), msgspec.msgpack.Encoder().encode
    converters = [_cell_of(column.type) for column in table.columns]
    with archive.open(f"tables/{table.name}", "w", force_zip64=True) as entry:
        for rows in _rows(connection, table):
            block = encode([[convert(cell) for convert, cell in zip(converters, row, strict=True)] for row in rows])
            for octets in (len(block).to_bytes(4, "big"), block):
                entry.write(octets)
                digest.update(octets)
            count += len(rows)
            if progress is not None:
                progress(table.name, count)
    return TableNote(tuple(str(column.name) for column in table.columns), count, digest.hexdigest())


def _rows(connection: Connection, table: Table) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows in portions, with cells as the driver gives them."""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns) or columns
    statement = f'SELECT {columns} FROM "{table.name}" ORDER BY {keys}'
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"DECLARE portable NO SCROLL CURSOR FOR {statement}")
        while rows := connection.exec_driver_sql(f"FETCH {_BLOCK} FROM portable").fetchall():
            yield rows
        connection.exec_driver_sql("CLOSE portable")
        return
    cursor = connection.connection.cursor()
    cursor.execute(statement)
    while rows := cursor.fetchmany(_BLOCK):
        yield rows
    cursor.close()


def _cell_of(kind: object) -> Callable[[Any], Cell]:
    """The same cell from either driver."""
    if isinstance(kind, Boolean):
        return lambda cell: None if cell is None else bool(cell)
    if isinstance(getattr(kind, "impl", kind), Float) and not isinstance(kind, Integer):
        return lambda cell: None if cell is None else float(cell)
    return lambda cell: cell


# -- reading ------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> Manifest:
    """What an archive says of itself. Raises InputError (``storage.archive``)"""
    try:
        with zipfile.ZipFile(path) as archive:
            return _manifest(archive, path)
    except (OSError, zipfile.BadZipFile) as error:
        raise _wrong(f"{path} cannot be read as a backup: {error}") from error


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(archive.read(_MANIFEST), type=Manifest)
    except (KeyError, msgspec.MsgspecError, zipfile.BadZipFile) as error:
        raise _wrong(f"{path} is no backup of openmetering: {error}") from error
    if (manifest.format, manifest.schema) != (_FORMAT, VERSION):
        raise _wrong(
            f"{path} was made by {manifest.made_by} (archive format {manifest.format}, schema {manifest.schema}); this program "
            f"takes format {_FORMAT}, schema {VERSION}. Restore it with that version, open the database once with this one"
        )
    expected = {table.name: tuple(column.name for column in table.columns) for table in _kept()}
    if {name: note.columns for name, note in manifest.tables.items()} != expected:
        raise _wrong(f"{path} has other tables or columns than schema {VERSION}")
    return manifest


def restore(database: Database, path: Path, *, progress: Progress | None = None) -> Manifest:
    """Fill an empty database with an archive: all of it or nothing.

    Raises InputError (``storage.archive``) if the archive is damaged or the database is not empty, TransportError
    (``storage.failed``)
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive, path)
            with database.transaction() as connection:
                _must_be_empty(connection, database)
                if database.dialect == "sqlite":
                    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
                for table in _kept():
                    _restore_table(database, connection, table, archive, manifest.tables[table.name], progress)
                if database.dialect == "postgresql":
                    _go_on_counting(connection)
    except (OSError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise _wrong(f"{path} is damaged: {error}") from error
    return manifest


def _must_be_empty(connection: Connection, database: Database) -> None:
    for table in _kept():
        if connection.exec_driver_sql(f'SELECT 1 FROM "{table.name}" LIMIT 1').first() is not None:
            raise _wrong(f"{database.name} is not empty (table {table.name}); restore into a new database")


def _restore_table(
    database: Database,
    connection: Connection,
    table: Table,
    archive: zipfile.ZipFile,
    note: TableNote,
    progress: Progress | None,
) -> None:
    count, digest = 0, hashlib.sha256()
    with archive.open(f"tables/{table.name}") as entry:
        blocks = _blocks(entry, digest)
        for rows in _parents_first(table, blocks):
            database.copy(connection, table, note.columns, rows)
            count += len(rows)
            if progress is not None:
                progress(table.name, count)
    stored = connection.exec_driver_sql(f'SELECT count(*) FROM "{table.name}"').scalar_one()
    if digest.hexdigest() != note.sha256 or not count == stored == note.rows:
        raise _wrong(
            f"the archive is damaged: table {table.name} has {stored} rows of {note.rows}, or other content than written"
        )


def _blocks(entry: IO[bytes], digest: hashlib._Hash) -> Iterator[list[list[Cell]]]:
    decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
    while head := entry.read(4):
        length = int.from_bytes(head, "big")
        if length > _LARGEST_BLOCK:
            raise EOFError(f"a block of {length} octets")
        block = entry.read(length)
        if len(head) != 4 or len(block) != length:
            raise EOFError("it ends too early")
        digest.update(head)
        digest.update(block)
        yield decode(block)


def _parents_first(table: Table, blocks: Iterator[list[list[Cell]]]) -> Iterator[list[list[Cell]]]:
    """Rows of a tree in an order in which parents come first; rows of other tables as they are."""
    columns = list(table.columns)
    links = [
        place
        for place, column in enumerate(columns)
        if any(key.column.table is table for key in column.foreign_keys) and not column.primary_key
    ]
    if not links:
        yield from blocks
        return
    own = next(place for place, column in enumerate(columns) if column.primary_key)
    waiting, written = [row for block in blocks for row in block], set[Cell]()
    while waiting:
        ready: list[list[Cell]] = []
        later: list[list[Cell]] = []
        for row in waiting:
            (ready if all(row[link] is None or row[link] in written for link in links) else later).append(row)
        if not ready:
            raise EOFError(f"rows of {table.name} refer to rows that are not there")
        waiting = later
        written.update(row[own] for row in ready)
        yield ready


def _go_on_counting(connection: Connection) -> None:
    """New rows get numbers behind those that came with the archive."""
    for table in _kept():
        if "id" in table.columns and isinstance(table.columns["id"].type, Integer):
            name = table.name
            sequence = connection.exec_driver_sql(f"SELECT pg_get_serial_sequence('{name}', 'id')").scalar_one()
            if sequence is not None:
                connection.exec_driver_sql(
                    f"SELECT setval('{sequence}', greatest((SELECT coalesce(max(id), 0) FROM \"{name}\"), 1), "
                    f'EXISTS (SELECT 1 FROM "{name}"))'
                )
