"""``oms readings``: what is stored, printed or exported; ``oms redecode``: the past again with new keys."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from openmetering.errors import InputError
from openmetering.interfaces.cli.listen import DEFAULT_STORE, load_ring
from openmetering.interfaces.cli.octets import Whole
from openmetering.storage import ReadingFilter, ReadingRow, RedecodeReport, Store
from openmetering.telegram import Decoder
from openmetering.transport.source_address import duration

if TYPE_CHECKING:
    import pyarrow

__all__ = ["ReadingFormat", "moment", "register"]

READINGS_EPILOG = """\b
Examples
  oms readings --latest                                    the newest value of everything
  oms readings --device 12345678 --since 7d                one meter, the last week
  oms readings --device "ELS-*" --quantity volume --format csv -o water.csv
  oms readings --since 2025-01-01 --until 2025-02-01 --format parquet -o january.parquet
"""
REDECODE_EPILOG = """\b
Examples
  oms redecode --keys keys.csv          open what waited for its keys
  oms redecode --keys keys.csv --all    decode everything again (after an update of openmetering)
"""

_BLOCK = 10_000


class ReadingFormat(StrEnum):
    """How readings are written."""

    text = "text"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def moment(text: str, now: datetime | None = None) -> float:
    """Seconds of ``2025-01-31``, ``2025-01-31T12:00``, ``today``, ``yesterday``, or so long ago as ``7d``.

    Times without zone are local. Raises InputError (``input.time``)
    """
    here = (now or datetime.now()).astimezone()
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": here, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    word = words.get(text.strip().lower())
    if word is not None:
        return word.timestamp()
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        pass
    try:
        return here.timestamp() - duration(text)
    except InputError:
        raise InputError(
            f"{text!r} is no time; write 2025-01-31, 2025-01-31T12:00, today, or how long ago: 12h, 7d", code="input.time"
        ) from None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# -- formats ------------------------------------------------------------------------------------


def _place(row: ReadingRow) -> str:
    words = [] if row.function == "instantaneous" else [row.function]
    words += [
        f"{name} {number}"
        for name, number in (("storage", row.storage), ("tariff", row.tariff), ("subunit", row.subunit))
        if number
    ]
    if row.qualifiers:
        words.append(row.qualifiers)
    return ", ".join(words)


def _text_line(row: ReadingRow, colours: bool) -> str:
    value = f"{row.value} {row.unit}".rstrip() if row.value is not None else row.error or "no value"
    name = row.address
    if colours:
        name = typer.style(name, bold=True)
        value = typer.style(value, fg="red") if row.value is None else value
    parts = [_local(row.received_at), name, row.medium or "", row.quantity, value, _place(row)]
    if row.time:
        parts.append(f"at {row.time}")
    return "  ".join(part for part in parts if part)


def _write_text(rows: Iterator[ReadingRow], out: Whole) -> int:
    count = 0
    colours = out.isatty()
    for row in rows:
        out.write(_text_line(row, colours).encode() + b"\n")
        count += 1
    return count


COLUMNS = ("address", "medium", "received_at", "quantity", "value", "unit", "function", "storage", "tariff", "subunit",
           "qualifiers", "obis", "tag", "time", "error")  # fmt: skip


def _cells(row: ReadingRow) -> tuple[object, ...]:
    return tuple(_iso(row.received_at) if name == "received_at" else getattr(row, name) for name in COLUMNS)


class _TextOut:
    """Text over octets, for ``csv``."""

    def __init__(self, out: Whole) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write(text.encode())


def _write_csv(rows: Iterator[ReadingRow], out: Whole) -> int:
    writer = csv.writer(_TextOut(out))
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        writer.writerow(["" if cell is None else cell for cell in _cells(row)])
        count += 1
    return count


def _write_jsonl(rows: Iterator[ReadingRow], out: Whole) -> int:
    encode = msgspec.json.Encoder().encode
    count = 0
    for row in rows:
        record = dict(zip(COLUMNS, _cells(row), strict=True))
        if row.exponent is not None and row.value is not None:
            record["value"] = msgspec.Raw(row.value.encode())  # exactly the digits of the telegram
        out.write(encode(record) + b"\n")
        count += 1
    return count


def _write_parquet(rows: Iterator[ReadingRow], out: Whole) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "Parquet needs the package pyarrow: pip install 'openmetering[parquet]', or choose --format csv", code="input.extra"
        ) from None
    schema = _schema(pyarrow)
    count = 0
    with pyarrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        while block := list(islice(rows, _BLOCK)):
            columns = {name: [getattr(row, name) for row in block] for name in schema.names if name != "number"}
            columns["received_at"] = [datetime.fromtimestamp(row.received_at, UTC) for row in block]
            columns["number"] = [None if row.exponent is None or row.value is None else float(row.value) for row in block]
            writer.write_table(pyarrow.table(columns, schema=schema))
            count += len(block)
    return count


def _schema(arrow: pyarrow) -> pyarrow.Schema:
    """Exact values as text and as mantissa and exponent; ``number`` is the nearest float for quick plots."""
    text, small, large = arrow.string(), arrow.int32(), arrow.int64()
    kinds = {"received_at": arrow.timestamp("us", tz="UTC"), "storage": large, "tariff": large, "subunit": large}
    fields = [(name, kinds.get(name, text)) for name in COLUMNS]
    return arrow.schema([*fields, ("mantissa", large), ("exponent", small), ("number", arrow.float64())])


_WRITERS: dict[ReadingFormat, Callable[[Iterator[ReadingRow], Whole], int]] = {
    ReadingFormat.text: _write_text,
    ReadingFormat.csv: _write_csv,
    ReadingFormat.jsonl: _write_jsonl,
    ReadingFormat.parquet: _write_parquet,
}


@contextmanager
def _output(path: Path | None) -> Iterator[Whole]:
    """Standard output, or a file that takes its name when it is complete."""
    if path is None:
        out = Whole(sys.stdout.buffer)
        yield out
        out.flush()
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield Whole(file)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}", code="input.output") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# -- the commands -------------------------------------------------------------------------------


def _readings(
    store: Annotated[str, typer.Option("--store", "-s", help="Database: a file or sqlite:///file.db.")] = DEFAULT_STORE,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Part of an address, a pattern with * and ?, or a DIN number.")
    ] = None,
    quantity: Annotated[
        str | None, typer.Option("--quantity", "-q", help="Part of the name of the quantity, or a pattern.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this time on: 2025-01-31, today, 7d (ago).")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Up to this time.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest value of every series.")] = False,
    format: Annotated[ReadingFormat, typer.Option("--format", "-f", help="How readings are written.")] = ReadingFormat.text,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of standard output.")] = None,
) -> None:
    """Print, filter and export stored readings.

    Values carry exactly the digits of the telegram. Exit code 0, also if nothing fits; 2 for wrong usage.
    """
    if format is ReadingFormat.parquet and output is None and sys.stdout.isatty():
        raise InputError("Parquet is no text: name a file with -o readings.parquet", code="input.output")
    wanted = ReadingFilter(
        device, quantity, None if since is None else moment(since), None if until is None else moment(until), latest
    )
    with Store.open(store, create=False) as opened:
        with _output(output) as out:
            count = _WRITERS[format](opened.readings(wanted), out)
        if count == 0:
            typer.secho(_nothing(opened, store, wanted), err=True, fg="yellow")
        elif output is not None:
            typer.echo(f"{count} readings written to {output}", err=True)


def _nothing(store: Store, name: str, wanted: ReadingFilter) -> str:
    """Why there is nothing, and what to do."""
    counts = store.counts()
    if not counts.frames:
        return f"{name} is empty; oms listen SOURCE fills it"
    closed = sum(number for code, number in counts.errors.items() if code.startswith("key."))
    if not counts.readings and closed:
        return f"{closed} telegrams in {name} wait for their keys: oms redecode --store {name} --keys FILE"
    if wanted.device and not store.devices(wanted.device):
        known = ", ".join(row.address for row in store.devices()[:5])
        return f"no device fits {wanted.device!r}; {name} knows {known or 'none'}{' ...' if counts.devices > 5 else ''}"
    return f"no reading fits; {name} holds {counts.readings} readings of {counts.devices} devices"


def _redecode(
    store: Annotated[str, typer.Option("--store", "-s", help="Database: a file or sqlite:///file.db.")] = DEFAULT_STORE,
    keys: Annotated[
        Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)
    ] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="Key for all meters, 32 hexadecimal digits.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Decode all frames again, not only those that wait for keys.")
    ] = False,
) -> None:
    """Decode the past again: telegrams that waited for a key or for a compact-frame format.

    Doing it twice changes nothing more. Exit code 0 if all are open now, 4 if some still wait for their keys.
    """
    with Store.open(store, create=False) as opened:
        decoder = Decoder(load_ring(keys, key), formats=opened.formats())
        report = _with_bar(opened, decoder, everything)
        waiting = {code: number for code, number in opened.counts().errors.items() if code.startswith("key.")}
    typer.echo(f"{report.frames} telegrams looked at, {report.opened} opened, {report.readings} readings gained")
    for code, number in waiting.items():
        typer.echo(f"  {number} x {code}")
    if waiting and keys is None and key is None:
        typer.echo("name the key file with --keys FILE")
    raise typer.Exit(4 if waiting else 0)


def _with_bar(store: Store, decoder: Decoder, everything: bool) -> RedecodeReport:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=None)
        return store.redecode(
            decoder, everything=everything, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("readings", epilog=READINGS_EPILOG)(_readings)
    app.command("redecode", epilog=REDECODE_EPILOG)(_redecode)
