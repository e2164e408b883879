"""Closed months in Parquet: readings that left the database, and are still there for every question. Needs the extra ``archive``.

    FOLDER/readings/year=2025/month=03/part-0.parquet     sorted by series and time; zstd
    FOLDER/months.json                                    which months are closed, rows and SHA-256 of each file

    close_month(database, folder, 2025, 3)       database --> Parquet, checked, then deleted there; again: nothing
    Archive(folder).values(series_id, ...)       the same answers as ``telemetry_rows`` gives of the database

A month that is written is read back before a row is deleted, and counts from the moment it stands in ``months.json``. Wherever
the process dies, each reading is in one of both places (then it is in both, and questions take it once) or the month is
begun again. SCHEMA is the layout of the files; quality and source stand in every row.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, select

from openmetering.errors import InputError
from openmetering.storage.database import Database
from openmetering.storage.evidence_rows import SampleRow
from openmetering.storage.tables import addresses, frames, readings, series, sources
from openmetering.storage.telemetry_rows import ValueRow

__all__ = ["SCHEMA", "Archive", "Closed", "close_month", "erase_from", "schema"]

#: column, Arrow type, what it is
SCHEMA: Final = (
    ("series_id", "int64", "number of the series in the database it came from"),
    ("address", "string", "of the device, as ELS-12345678-33-03"),
    ("medium", "string", "of the device"),
    ("quantity", "string", "as the decoder names it"),
    ("unit", "string", "of the value"),
    ("function", "string", "instantaneous, minimum, maximum, error"),
    ("storage", "int64", "storage number"),
    ("tariff", "int64", "tariff"),
    ("subunit", "int64", "sub-unit"),
    ("qualifiers", "string", "from orthogonal VIFEs"),
    ("obis", "string", "OBIS code, empty without one"),
    ("tag", "string", "data point of OMS Volume 2 Annex B, empty without one"),
    ("received_at", "timestamp[us, tz=UTC]", "when the telegram was received"),
    ("received_seconds", "double", "the same in seconds since 1970, as the database has it: versions refer to it"),
    ("frame_id", "int64", "number of the frame in the database"),
    ("position", "int32", "of the value in the telegram"),
    ("value", "string", "exact digits, a time in ISO 8601, text"),
    ("mantissa", "int64", "of a number: value = mantissa x 10 ** exponent"),
    ("exponent", "int32", "see mantissa"),
    ("time", "string", "of the device: when the value held"),
    ("error", "string", "of the record, null without one"),
    ("quality", "string", "measured; decisions about it are versions"),
    ("source", "string", "gateway or file that reported it"),
)
_MANIFEST: Final = "months.json"
_PORTION: Final = 50_000
_TIME: Final = 12  #: column of the time of reception
_NEWEST_OF_SLOT: Final = "PARTITION BY floor(epoch(received_at) / ?) ORDER BY received_at DESC, frame_id DESC, position DESC"
_GROUP: Final = 100_000


class Closed(msgspec.Struct, frozen=True):
    """A closed month: ``month`` as ``2025-03``, rows and SHA-256 of its file."""

    month: str
    rows: int
    sha256: str


def _missing(name: str) -> InputError:
    return InputError(f"{name} is not installed; pip install 'openmetering[archive]'", code="input.extra")


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise _missing("pyarrow") from None
    return pyarrow, pyarrow.parquet


def schema() -> Any:
    """SCHEMA as a ``pyarrow.Schema``. Raises InputError (``input.extra``)"""
    pa, _ = _arrow()
    kinds = {
        "int64": pa.int64(),
        "int32": pa.int32(),
        "double": pa.float64(),
        "string": pa.string(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([pa.field(name, kinds[kind], metadata={"description": about}) for name, kind, about in SCHEMA])


def _span(year: int, month: int) -> tuple[float, float]:
    begin = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return begin.timestamp(), end.timestamp()


def _manifest(folder: Path) -> dict[str, Closed]:
    path = folder / _MANIFEST
    if not path.is_file():
        return {}
    return {item["month"]: Closed(**item) for item in json.loads(path.read_text("utf-8"))}


def _write_manifest(folder: Path, months: dict[str, Closed]) -> None:
    path = folder / _MANIFEST
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump([msgspec.structs.asdict(months[name]) for name in sorted(months)], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _path(folder: Path, month: str) -> Path:
    year, _, number = month.partition("-")
    return folder / "readings" / f"year={year}" / f"month={number}" / "part-0.parquet"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(connection: Connection, since: float, until: float) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The readings of a time, by series and time, in portions."""
    columns = [
        series.c.id, addresses.c.address, addresses.c.medium, *(series.c[name] for name in (
            "quantity", "unit", "function", "storage", "tariff", "subunit", "qualifiers", "obis", "tag")),
        readings.c.received_at, readings.c.frame_id, readings.c.position, readings.c.value, readings.c.mantissa,
        readings.c.exponent, readings.c.time, readings.c.error, sources.c.name,
    ]  # fmt: skip
    query = (
        select(*columns)
        .join_from(readings, series, series.c.id == readings.c.series_id)
        .join(addresses, addresses.c.id == series.c.address_id)
        .join(frames, frames.c.id == readings.c.frame_id)
        .join(sources, sources.c.id == frames.c.source_id)
        .where(readings.c.received_at >= since, readings.c.received_at < until)
        .order_by(readings.c.series_id, readings.c.received_at, readings.c.frame_id, readings.c.position)
    )
    result = connection.execution_options(yield_per=_PORTION).execute(query)
    for part in result.partitions(_PORTION):
        yield [tuple(row) for row in part]


def close_month(
    database: Database, folder: str | Path, year: int, month: int, progress: Callable[[int], None] | None = None
) -> Closed:
    """Move the readings of a month (UTC) from the database into Parquet; what is closed already and came late is added.

    ``progress`` is told the rows so far. Raises InputError (``input.extra``, ``input.file``), TransportError (``storage.failed``)
    """
    pa, parquet = _arrow()
    root = Path(folder)
    name = f"{year:04d}-{month:02d}"
    since, until = _span(year, month)
    target = _path(root, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    months = _manifest(root)
    layout = schema()
    new = target.with_suffix(".new")
    rows = late = added = 0
    closed = months.get(name)
    seen = _keys(root, closed)
    with parquet.ParquetWriter(new, layout, compression="zstd") as writer, database.reading() as connection:
        for table in _known_rows(root, closed):
            writer.write_table(table, row_group_size=_GROUP)
            rows += table.num_rows
        for part in _rows(connection, since, until):
            late += len(part)
            fresh = [row for row in part if (row[0], row[13], row[14]) not in seen] if seen else part
            if fresh:
                writer.write_table(_table(pa, layout, fresh), row_group_size=_GROUP)
                added += len(fresh)
                rows += len(fresh)
            if progress is not None:
                progress(rows)
    _synced(new)
    if parquet.read_metadata(new).num_rows != rows:
        raise InputError(f"{new} has not the rows that were written; look at the disk", code="input.file")
    if added or closed is None:
        os.replace(new, target)
        months[name] = Closed(name, rows, _digest(target))
        _write_manifest(root, months)
    else:
        new.unlink()
    with database.transaction() as connection:
        gone = connection.execute(
            delete(readings).where(readings.c.received_at >= since, readings.c.received_at < until)
        ).rowcount
        if gone != late:
            raise InputError(
                f"readings of {name} came while it was closed; they stay in the database, close it again", code="input.file"
            )
    return months[name]


def _keys(root: Path, closed: Closed | None) -> frozenset[tuple[int, int, int]]:
    """Series, frame and position of what is in a closed month already: the database may still have it after a crash."""
    if closed is None:
        return frozenset()
    _, parquet = _arrow()
    columns = ["series_id", "frame_id", "position"]
    table = parquet.read_table(_path(root, closed.month), columns=columns, partitioning=None)
    return frozenset(zip(*(table[name].to_pylist() for name in columns), strict=True))


def _known_rows(root: Path, closed: Closed | None) -> Iterator[Any]:
    """What a closed month has already, checked."""
    if closed is None:
        return
    _, parquet = _arrow()
    path = _path(root, closed.month)
    if _digest(path) != closed.sha256:
        raise InputError(f"{path} is not the file that was closed: it was damaged or changed", code="input.file")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_PORTION):
            yield _arrow()[0].Table.from_batches([batch])


def _synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _table(pa: Any, layout: Any, part: Sequence[tuple[Any, ...]]) -> Any:
    *columns, source = zip(*part, strict=True)
    times = [round(at * 1_000_000) for at in columns[_TIME]]
    columns.insert(_TIME, columns[_TIME])
    arrays = [
        pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")) if number == _TIME else pa.array(column, field.type)
        for number, (column, field) in enumerate(zip(columns, layout, strict=False))
    ]
    arrays += [pa.array(["measured"] * len(part), pa.string()), pa.array(source, pa.string())]
    return pa.Table.from_arrays(arrays, schema=layout)


class Archive:
    """Questions to the closed months of a folder, through DuckDB; by any thread. A folder without months has no rows."""

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError (``input.extra``)"""
        try:
            import duckdb
        except ImportError:
            raise _missing("duckdb") from None
        self.folder = Path(folder)
        self._link = duckdb.connect(":memory:")
        self._link.execute("SET TimeZone = 'UTC'; SET threads = 2")
        self._seen: tuple[tuple[str, str], ...] = ()
        self._lock = threading.Lock()

    def close(self) -> None:
        """No more questions."""
        self._link.close()

    @property
    def months(self) -> dict[str, Closed]:
        """The closed months by name."""
        return _manifest(self.folder)

    def view(self) -> bool:
        """Have the view ``readings`` over all closed months; False if there is none."""
        months = self.months
        now = tuple((name, months[name].sha256) for name in sorted(months))
        if now != self._seen:
            files = ", ".join("'" + str(_path(self.folder, name)).replace("'", "''") + "'" for name, _ in now)
            if files:
                self._link.execute(
                    f"CREATE OR REPLACE VIEW readings AS SELECT * FROM read_parquet([{files}], hive_partitioning = true)"
                )
            self._seen = now
        return bool(now)

    def sql(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a question in SQL gives (the view is ``readings``)."""
        with self._lock:
            return self._link.execute(query, values).fetchall() if self.view() else []

    def samples(self, series_ids: Collection[int], since: float, until: float) -> Iterator[SampleRow]:
        """As ``evidence_rows.samples_of``."""
        if not series_ids or not self._covers(since, until):
            return
        rows = self.sql(
            "SELECT series_id, received_seconds, mantissa, exponent, time FROM readings"
            " WHERE series_id IN (SELECT unnest(?::BIGINT[])) AND received_at >= to_timestamp(?)"
            " AND received_at < to_timestamp(?) AND mantissa IS NOT NULL AND error IS NULL"
            " ORDER BY series_id, received_at, position",
            (sorted(series_ids), since, until),
        )
        for row in rows:
            yield SampleRow(*row)

    def texts(self, series_ids: Collection[int], since: float, until: float) -> Iterator[tuple[int, float, str]]:
        """As ``evidence_rows.texts_of``."""
        if not series_ids or not self._covers(since, until):
            return
        rows = self.sql(
            "SELECT series_id, received_seconds, value FROM readings WHERE series_id IN (SELECT unnest(?::BIGINT[]))"
            " AND received_at >= to_timestamp(?) AND received_at < to_timestamp(?) AND value IS NOT NULL AND error IS NULL",
            (sorted(series_ids), since, until),
        )
        yield from ((number, at, text) for number, at, text in rows)

    def values(
        self, series_id: int, since: float | None, until: float | None, resolution: float | None, limit: int
    ) -> list[ValueRow]:
        """As ``telemetry_rows.series_values``."""
        begin, end = since if since is not None else 0.0, until if until is not None else 4e9
        if not self._covers(begin, end):
            return []
        where = "series_id = ? AND received_at >= to_timestamp(?) AND received_at < to_timestamp(?)"
        last = "" if resolution is None else f" QUALIFY row_number() OVER ({_NEWEST_OF_SLOT}) = 1"
        rows = self.sql(
            f"SELECT received_seconds, value, time, error, frame_id FROM readings WHERE {where}{last}"
            " ORDER BY received_at, frame_id, position LIMIT ?",
            (series_id, begin, end, *(() if resolution is None else (resolution,)), limit),
        )
        return [ValueRow(*row) for row in rows]

    def edges(self, address: str, since: float | None, until: float | None) -> dict[int, tuple[float, float]]:
        """First and last time of each series of a device."""
        rows = self.sql(
            "SELECT series_id, min(received_seconds), max(received_seconds) FROM readings"
            " WHERE address = ? AND received_at >= to_timestamp(?) AND received_at < to_timestamp(?) GROUP BY series_id",
            (address, since or 0.0, 4e9 if until is None else until),
        )
        return {number: (first, last) for number, first, last in rows}

    def _covers(self, since: float, until: float) -> bool:
        """True if a closed month touches the time."""
        for name in self.months:
            begin, end = _span(int(name[:4]), int(name[5:]))
            if begin < until and since < end:
                return True
        return False


def erase_from(
    folder: str | Path, addresses_of: Collection[str], since: float, until: float, days: tuple[str, str] | None = None
) -> int:
    """Take the readings of devices in a time out of every closed month; returns how many.

    Those that name a day from the first of ``days`` until the last (excluded) go as well, whenever they were received.
    Raises InputError (``input.extra``, ``input.file``)
    """
    pa, parquet = _arrow()
    import pyarrow.compute as pc

    root = Path(folder)
    months = _manifest(root)
    gone = 0
    names = pa.array(sorted(addresses_of), pa.string())
    first, last = (pa.scalar(round(at * 1e6), pa.int64()).cast(pa.timestamp("us", tz="UTC")) for at in (since, until))
    for name in sorted(months):
        begin, end = _span(int(name[:4]), int(name[5:]))
        if days is None and not (begin < until and since < end):
            continue
        path = _path(root, name)
        table = parquet.read_table(path, schema=schema(), partitioning=None)
        hit = pc.and_(pc.greater_equal(table["received_at"], first), pc.less(table["received_at"], last))
        for column in ("time", "value") if days is not None else ():
            assert days is not None
            named = pc.and_(pc.greater_equal(table[column], days[0]), pc.less(table[column], days[1]))
            stored = pc.and_(pc.fill_null(named, False), pc.greater(table["storage"], 0))
            hit = pc.or_(hit, stored)
        hit = pc.and_(pc.is_in(table["address"], value_set=names), hit)
        kept = table.filter(pc.invert(hit))
        if kept.num_rows == table.num_rows:
            continue
        gone += table.num_rows - kept.num_rows
        new = path.with_suffix(".new")
        parquet.write_table(kept, new, compression="zstd", row_group_size=_GROUP)
        _synced(new)
        os.replace(new, path)
        months[name] = Closed(name, kept.num_rows, _digest(path))
        _write_manifest(root, months)
    return gone
