"""``oms decode``: telegrams to text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol, cast

import msgspec
import typer

from openmetering.errors import Fault, InputError, OmsError
from openmetering.interfaces.cli.inputs import INPUTS, receptions
from openmetering.interfaces.cli.octets import Whole
from openmetering.interfaces.cli.outcome import Outcome
from openmetering.interfaces.cli.text import telegram_text
from openmetering.security import KeyRing, parse_key
from openmetering.telegram import STRICT, TOLERANT, Answer, Decoder, Telegram, answer_json
from openmetering.transport.reception import BadLine, Reception

__all__ = ["OutputFormat", "make_decoder", "register", "ring_of", "write_telegrams"]

EPILOG = """\b
Examples
  oms decode 2E4493157856341233037A...  --key 0102030405060708090A0B0C0D0E0F11
  oms decode telegrams.txt --keys keys.csv --format csv > values.csv
  rtl_wmbus < samples.cu8 | oms decode - --keys keys.csv --format jsonl
"""


class OutputFormat(StrEnum):
    """What is written per telegram."""

    text = "text"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def ring_of(key: str | None, keys: Path | None) -> KeyRing:
    """The key ring of the options --key and --keys. Raises InputError."""
    ring = KeyRing()
    if keys is not None:
        from openmetering.interfaces.cli.keyfiles import load_keyring

        ring = load_keyring(keys)
    if key is not None:
        ring.add("*", parse_key(key), key_id=None)
    return ring


def make_decoder(key: str | None, keys: Path | None, strict: bool, formats: Path | None = None) -> Decoder:
    """A decoder from the options that several commands share. Raises InputError."""
    store = None
    if formats is not None:
        from openmetering.interfaces.cli.formats import load_formats

        store = load_formats(formats)
    return Decoder(ring_of(key, keys), policy=STRICT if strict else TOLERANT, formats=store)


class _TelegramOnly(msgspec.Struct):
    telegram: str


_decode_telegram = msgspec.json.Decoder(_TelegramOnly).decode


def _bad(line: BadLine) -> bytes:
    """The answer for a line that is no telegram; of a JSON line only its telegram is shown, as it may hold a key."""
    fault = Fault(line.error.code, "input", None, line.error.message)
    text = line.line.strip()
    if text.startswith("{"):
        try:
            text = _decode_telegram(text).telegram
        except msgspec.DecodeError:
            text = ""
    return msgspec.json.encode(Answer(False, fault, telegram=text))


def _examine(decoder: Decoder, item: Reception) -> Telegram | InputError:
    try:
        key = None if item.key is None else parse_key(item.key)
    except InputError as error:
        return error
    return decoder.examine(item.frame, key, now=item.received_at)


_Item = tuple[Reception | BadLine, Telegram | None, OmsError | None]


def _decoded(decoder: Decoder, items: Iterable[Reception | BadLine], outcome: Outcome) -> Iterator[_Item]:
    for item in items:
        if isinstance(item, BadLine):
            outcome.count(item.error.code)
            yield item, None, item.error
            continue
        telegram = _examine(decoder, item)
        if isinstance(telegram, InputError):
            outcome.count(telegram.code)
            yield BadLine(0, item.frame.hex().upper(), telegram), None, telegram
            continue
        outcome.count(None if telegram.error is None else telegram.error.code)
        yield item, telegram, None


def _jsonl(items: Iterator[_Item]) -> None:
    out = Whole(sys.stdout.buffer)
    for item, telegram, _ in items:
        out.write((answer_json(telegram) if telegram is not None else _bad_item(item)) + b"\n")
    out.flush()


def _bad_item(item: Reception | BadLine) -> bytes:
    assert isinstance(item, BadLine)
    return _bad(item)


def _json(items: Iterator[_Item]) -> None:
    texts = [answer_json(telegram) if telegram is not None else _bad_item(item) for item, telegram, _ in items]
    sys.stdout.write(msgspec.json.format(b"[" + b",".join(texts) + b"]", indent=2).decode() + "\n")


def _text(items: Iterator[_Item]) -> None:
    for item, telegram, error in items:
        if telegram is None:
            typer.secho(f"not a telegram: {error.message if error else item}", err=True, fg="red")
        else:
            typer.echo(telegram_text(telegram))


COLUMNS = (
    "address",
    "medium",
    "message",
    "quantity",
    "value",
    "unit",
    "function",
    "storage",
    "tariff",
    "subunit",
    "qualifiers",
    "obis",
    "tag",
    "error",
)


def _csv(items: Iterator[_Item]) -> None:
    out = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item, telegram, error in items:
        if telegram is None:
            writer.writerow((*("",) * (len(COLUMNS) - 1), error.code if error else ""))
            typer.secho(f"not a telegram: {error.message if error else item}", err=True, fg="red")
            continue
        for row in csv_rows(telegram):
            writer.writerow(row)
    out.detach()


def csv_rows(telegram: Telegram) -> Iterator[tuple[object, ...]]:
    """One row per record; one row with the fault where nothing could be read."""
    parsed = msgspec.json.decode(answer_json(telegram), type=Answer)
    address = "" if telegram.address is None else str(telegram.address)
    medium = "" if telegram.address is None else telegram.address.medium
    head = (address, medium, telegram.link.message if telegram.link is not None else "")
    for record in parsed.records:
        value = bytes(record.value).decode()
        value = "" if value == "null" else msgspec.json.decode(value, type=str) if value.startswith('"') else value
        yield (
            *head, record.quantity, value, record.unit, record.function, record.storage, record.tariff, record.subunit,
            "; ".join(record.qualifiers), record.obis or "", record.tag or "", record.error or "",
        )  # fmt: skip
    if parsed.error is not None:
        yield (*head, *("",) * 10, parsed.error.code)


_WRITERS: dict[OutputFormat, Callable[[Iterator[_Item]], None]] = {
    OutputFormat.text: _text,
    OutputFormat.json: _json,
    OutputFormat.jsonl: _jsonl,
    OutputFormat.csv: _csv,
}


def write_telegrams(decoder: Decoder, items: Iterable[Reception | BadLine], format: OutputFormat, outcome: Outcome) -> None:
    """Decode and print; ``outcome`` counts what became of them."""
    _WRITERS[format](_decoded(decoder, items, outcome))


# -- the fast way: JSON lines in, JSON lines out ------------------------------------------------


class _Line(msgspec.Struct):
    telegram: str
    key: str | None = None
    received_at: float | None = None


class _Source(Protocol):
    def read1(self, size: int, /) -> bytes: ...


_decode_line = msgspec.json.Decoder(_Line).decode
_CHUNK = 1 << 12  #: some twenty telegrams: memory for their answers is used again and again, not asked of the system
_KEPT_KEYS = 65536
_LONGEST = 1 << 16  #: octets of a line


def _lines(stream: _Source) -> Iterator[list[bytes]]:
    """Whole lines as they come in, a list for each read: a live source is answered at once, a file in large steps."""
    rest = b""
    while chunk := stream.read1(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST:  # no telegram: it is answered as a bad line instead of filling the memory
            lines, rest = [*lines, rest], b""
        yield lines
    yield [rest] if rest else []


def _stream_jsonl(decoder: Decoder, stream: _Source, outcome: Outcome) -> None:
    """JSON lines from a byte stream, one answer a line; anything odd goes through the general reader."""
    answer, fromhex, keys, out = decoder.answer, bytes.fromhex, dict[str, bytes](), Whole(sys.stdout.buffer)
    for lines in _lines(stream):
        answers: list[bytes] = []
        decoded = 0
        for line in lines:
            try:
                row = _decode_line(line)
                frame, key, octets = fromhex(row.telegram), row.key, None
                if key:
                    octets = keys.get(key)
                    if octets is None:
                        octets = keys[key] = parse_key(key)
            except (ValueError, InputError):  # msgspec's errors are ValueErrors
                _odd_line(decoder, line, answers, outcome)
                continue
            text, fault = answer(frame, octets, now=row.received_at or 0.0)
            if fault is None:
                decoded += 1
            else:
                outcome.count(fault.code)
            answers.append(text)
        outcome.decoded += decoded
        if len(keys) > _KEPT_KEYS:
            keys.clear()
        if answers:
            out.write(b"\n".join(answers) + b"\n")
            out.flush()


def _odd_line(decoder: Decoder, line: bytes, pending: list[bytes], outcome: Outcome) -> None:
    from openmetering.transport.lines import parse_lines

    items = parse_lines([line.decode("utf-8", "replace")], "jsonl")
    for item, telegram, _ in _decoded(decoder, items, outcome):
        pending.append(answer_json(telegram) if telegram is not None else _bad_item(item))


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG)
    def decode(
        telegrams: Annotated[
            list[str] | None,
            typer.Argument(help="Telegrams in hexadecimal, files, or - for standard input.", metavar="[HEX | FILE | -]..."),
        ] = None,
        input: Annotated[str, typer.Option("--input", "-i", help="Format of the lines: " + ", ".join(INPUTS) + ".")] = "auto",
        key: Annotated[str | None, typer.Option("--key", "-k", help="Key for all telegrams, 32 hexadecimal digits.")] = None,
        keys: Annotated[
            Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)
        ] = None,
        format: Annotated[OutputFormat, typer.Option("--format", "-f", help="What is written.")] = OutputFormat.text,
        strict: Annotated[
            bool, typer.Option("--strict", help="Refuse what does not follow the standard instead of warning.")
        ] = False,
        formats: Annotated[
            Path | None, typer.Option("--formats", help="File of known compact-frame formats (see oms formats).")
        ] = None,
    ) -> None:
        """Decode telegrams: every layer opened, every value exact.

        Exit code 0 if all telegrams were decoded, 3 if some could not be, 4 if only keys or
        authentication were missing.
        """
        sources = telegrams or ["-"]
        if input not in INPUTS:
            raise InputError(f"{input!r} is no input format; choose one of {', '.join(INPUTS)}")
        decoder = make_decoder(key, keys, strict, formats)
        outcome = Outcome()
        if sources == ["-"] and input == "jsonl" and format is OutputFormat.jsonl:
            _stream_jsonl(decoder, cast(_Source, sys.stdin.buffer), outcome)
        else:
            write_telegrams(decoder, receptions(sources, input), format, outcome)
        raise typer.Exit(outcome.exit_code)
