"""Exported values as files: CSV, JSON lines, Parquet. The Arrow schema is RECORD_SCHEMA; all carry quality and source."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from openmetering.errors import InputError
from openmetering.services.csv_cells import guarded
from openmetering.services.mdm.exports import COLUMNS, Record

__all__ = ["FILES", "RECORD_SCHEMA", "record_octets", "record_schema"]

#: column, Arrow type
RECORD_SCHEMA: Final = (
    ("point", "string"), ("place", "string"), ("device", "string"), ("medium", "string"), ("quantity", "string"),
    ("unit", "string"), ("obis", "string"), ("at", "timestamp[us, tz=UTC]"), ("value", "decimal128(28, 9)"),
    ("quality", "string"), ("source", "string"),
)  # fmt: skip
FILES: Final = ("csv", "jsonl", "parquet")
_PORTION: Final = 20_000


def record_schema() -> Any:
    """RECORD_SCHEMA as a ``pyarrow.Schema``. Raises InputError (``input.extra``)"""
    try:
        import pyarrow as pa
    except ImportError:
        raise InputError("pyarrow is not installed; pip install 'openmetering[archive]'", code="input.extra") from None
    kinds = {
        "string": pa.string(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
        "decimal128(28, 9)": pa.decimal128(28, 9),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in RECORD_SCHEMA])


def record_octets(records: Iterable[Record], form: str) -> tuple[bytes, str]:
    """A file and its media type. Raises InputError (``input.option``, ``input.extra``)"""
    if form == "csv":
        return _csv(records), "text/csv"
    if form == "jsonl":
        return b"".join(msgspec.json.encode(_plain(one)) + b"\n" for one in records), "application/x-ndjson"
    if form == "parquet":
        return _parquet(records), "application/vnd.apache.parquet"
    raise InputError(f"{form} is none of {', '.join(FILES)}", code="input.option")


def _plain(one: Record) -> dict[str, str | None]:
    found = {name: getattr(one, name) for name in COLUMNS}
    return found | {"at": one.at.isoformat(), "value": None if one.value is None else f"{one.value:f}"}


def _csv(records: Iterable[Record]) -> bytes:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in records:
        cells = _plain(one)
        writer.writerow((cell or "") if name in ("value", "at") else guarded(cell or "") for name, cell in cells.items())
    return target.getvalue().encode()


def _parquet(records: Iterable[Record]) -> bytes:
    layout = record_schema()
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = io.BytesIO()
    nine = layout.field("value").type.scale
    with pq.ParquetWriter(target, layout, compression="zstd") as writer:
        for part in _portions(iter(records)):
            columns = {name: [getattr(one, name) for one in part] for name in COLUMNS}
            columns["value"] = [None if one is None else round(one, nine) for one in columns["value"]]
            writer.write_table(pa.table(columns, schema=layout))
    return target.getvalue()


def _portions(records: Iterator[Record]) -> Iterator[list[Record]]:
    while part := list(islice(records, _PORTION)):
        yield part
