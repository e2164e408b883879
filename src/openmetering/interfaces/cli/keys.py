"""``oms keys``: import key files of every kind, list them without their keys, check which key fits."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openmetering.errors import InputError
from openmetering.interfaces.cli.inputs import INPUTS, receptions
from openmetering.interfaces.cli.keyfiles import PASSWORD_VARIABLE, load_keyfile, private, read_octets, save_private
from openmetering.security import ROW_COLUMNS, parse_key
from openmetering.services.keycheck import KeyCheck, Verdict
from openmetering.services.keyfiles import (
    COLUMN_TARGETS,
    KeyEntry,
    KeyFile,
    Merge,
    appended,
    merge,
    new_file,
    parse_columns,
    read_keys,
    ring,
)
from openmetering.transport.reception import BadLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final

    from openmetering.transport.reception import Reception

__all__ = ["register"]

_UNDECODABLE, _KEYLESS = 3, 4
_HEX: Final = frozenset("0123456789abcdefABCDEFoOlI")  # and what is taken for 0 and 1
_KEY_LENGTH: Final = 16  # digits of the shortest key, DES
_WIDTH: Final = 160  # columns where the output is no terminal

_IMPORT_EXAMPLES: Final = """\b
Examples
  oms keys import delivery.csv -o keys.csv
  oms keys import list.csv -o keys.csv --map address=Serial,key=AES
  oms keys import 20260405_DownloadMeters.zip.kem2 -o keys.csv
  oms keys import *.kem own.txt -o keys.toml --dry-run
"""
_LIST_EXAMPLES: Final = """\b
Examples
  oms keys list keys.csv
  oms keys list delivery.zip.kem2 --format jsonl
  oms keys list keys.csv --format csv --show-keys
"""
_CHECK_EXAMPLES: Final = """\b
Examples
  oms keys check keys.csv --telegrams capture.txt
  oms keys check candidates.txt --all --telegrams 2E44931578563412330...
  rtl_wmbus | oms keys check delivery.zip.kem2 --telegrams - --format jsonl
"""

keys_app = typer.Typer(help="Import, list and check the keys of meters.", no_args_is_help=True)


class Form(StrEnum):
    """Forms of the output of list and check."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"


class CheckForm(StrEnum):
    """Forms of the output of check."""

    TEXT = "text"
    JSONL = "jsonl"


_Password = Annotated[
    str | None,
    typer.Option(
        "--password",
        envvar=PASSWORD_VARIABLE,
        show_default=False,
        help="Password of KEM and KEM2 files. Other users of the machine can see options: better set the variable, "
        "or leave it out and be asked.",
    ),
]
_Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=COLUMN,...",
        show_default=False,
        help=f"Columns of a CSV file, by name or by number from 1. Names: {', '.join(COLUMN_TARGETS)}.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the main application."""
    app.add_typer(keys_app, name="keys")


# -- import -------------------------------------------------------------------------------


@keys_app.command("import", epilog=_IMPORT_EXAMPLES)
def import_keys(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Key files of any kind, told apart by content.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Key file to add to, made if absent; .toml makes TOML.")],
    columns: _Map = None,
    password: _Password = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added, write nothing.")] = False,
) -> None:
    """Add the keys of other files to a key file of openmetering (mode 0600).

    Reads CSV with any columns, lists of address;key, Kamstrup KEM and KEM2, and its own files.
    A second key for the same address, KeyID and version is a conflict: nothing is written then.
    """
    mapping = parse_columns(columns or ())
    held = load_keyfile(output) if output.exists() else None
    read = [load_keyfile(path, columns=mapping or None, password=password) for path in files]
    _print_notes(files, read)
    more = [entry for file in read for entry in file.entries]
    result = merge(held.entries if held else (), more)
    if result.conflicts:
        raise _conflicting(result)
    text = _merged(output, held, result)
    if not dry_run and text is not None:
        save_private(output, text)
    verb = "would be added" if dry_run else "added"
    typer.echo(f"{output}: {len(result.added)} {verb}, {result.known} already known, no conflicts ({_count(read)})")


def _merged(output: Path, held: KeyFile | None, result: Merge) -> str | None:
    """The new text of the key file, read once more for safety; None if nothing changes. Raises InputError."""
    if not result.added:
        return None
    kind = "toml" if output.suffix.lower() == ".toml" else "csv"
    text = new_file(result.added, kind) if held is None else appended(read_octets(output), result.added)
    again = read_keys(text.encode(), source=output.name)
    if len(again.entries) != len(result.added) + (0 if held is None else len(held.entries)):
        raise InputError(
            f"{output} cannot be extended; name another output and import this file, too", code="keyfile.format", layer="input"
        )
    return text


def _count(read: Sequence[KeyFile]) -> str:
    kinds = Counter(file.kind for file in read)
    return ", ".join(f"{count} {kind} file{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items()))


def _print_notes(names: Iterable[Path | str], read: Iterable[KeyFile]) -> None:
    for name, file in zip(names, read, strict=True):
        for note in file.notes:
            typer.echo(f"note: {Path(name).name}: {note}", err=True)


def _conflicting(result: Merge) -> InputError:
    """The error that names both lines of every conflict, by the fingerprints of their keys."""
    count = len(result.conflicts)
    lines = [
        f"\n  {first.pattern.text} {_slot(first)}: {first.where} has key {first.key.fingerprint}, "
        f"{second.where} has key {second.key.fingerprint}"
        for first, second in result.conflicts
    ]
    return InputError(
        f"{count} conflict{'s' if count > 1 else ''}, nothing written; delete the line that is wrong, "
        f"or give the newer key its KeyVersion (column version):{''.join(lines)}",
        code="keyfile.conflict",
        layer="input",
    )


def _slot(entry: KeyEntry) -> str:
    version = "" if entry.key.version is None else f" version {entry.key.version:02X}h"
    return f"KeyID {_octet(entry.key.key_id, '*')}{version}"


# -- list ---------------------------------------------------------------------------------


class _Listed(msgspec.Struct):
    address: str
    key_id: int | None
    version: int | None
    label: str | None
    fingerprint: str
    purpose: str
    key: str | msgspec.UnsetType = msgspec.UNSET


@keys_app.command("list", epilog=_LIST_EXAMPLES)
def list_keys(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Key file of any kind.")],
    *,
    columns: _Map = None,
    password: _Password = None,
    form: Annotated[Form, typer.Option("--format", help="Form of the output.")] = Form.TEXT,
    show_keys: Annotated[bool, typer.Option("--show-keys", help="Print the keys themselves, too.")] = False,
) -> None:
    """Show addresses, KeyIDs, versions, labels and fingerprints of a key file, never the keys.

    The fingerprint is the start of the SHA-256 of the key: equal keys have equal fingerprints.
    """
    read = load_keyfile(file, columns=parse_columns(columns or ()) or None, password=password)
    _print_notes([file], [read])
    if not private(file):
        typer.echo(f"note: other users may read {file}; chmod 600 {file}", err=True)
    _LISTS[form](read.entries, show_keys)


def _list_text(entries: Sequence[KeyEntry], show_keys: bool) -> None:
    names = ["address", "KeyID", "version", "label", "fingerprint", "purpose"]
    rows = [
        [
            entry.pattern.text,
            _octet(entry.key.key_id, "*"),
            _octet(entry.key.version, ""),
            entry.key.label or "",
            entry.key.fingerprint,
            entry.key.purpose,
            *([entry.key.octets.hex().upper()] if show_keys else []),
        ]
        for entry in entries
    ]
    _print_table([*names, *(["key"] if show_keys else [])], rows)
    typer.echo(f"{len(entries)} key{'' if len(entries) == 1 else 's'}")


def _list_jsonl(entries: Sequence[KeyEntry], show_keys: bool) -> None:
    for entry in entries:
        key = entry.key
        shown = key.octets.hex().upper() if show_keys else msgspec.UNSET
        row = _Listed(entry.pattern.text, key.key_id, key.version, key.label, key.fingerprint, key.purpose, shown)
        typer.echo(msgspec.json.encode(row))


def _list_csv(entries: Sequence[KeyEntry], show_keys: bool) -> None:
    names = list(ROW_COLUMNS) if show_keys else [*(name for name in ROW_COLUMNS if name != "key"), "fingerprint"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for entry in entries:
        row = ring([entry]).to_rows()[0]
        writer.writerow(row if show_keys else [row[0], *row[2:], entry.key.fingerprint])


_LISTS = {Form.TEXT: _list_text, Form.JSONL: _list_jsonl, Form.CSV: _list_csv}


# -- check --------------------------------------------------------------------------------


@keys_app.command("check", epilog=_CHECK_EXAMPLES)
def check_keys(
    keys: Annotated[list[str], typer.Argument(metavar="KEYS...", help="Key files of any kind, or a key in hexadecimal.")],
    *,
    telegrams: Annotated[
        list[str],
        typer.Option("--telegrams", "-t", metavar="FILE|HEX|-", help="Telegrams: a file, hexadecimal, - for standard input."),
    ],
    input_format: Annotated[str, typer.Option("--input", help=f"Format of the telegrams: {', '.join(INPUTS)}.")] = "auto",
    every: Annotated[bool, typer.Option("--all", help="Try every key against every telegram, whatever its address.")] = False,
    columns: _Map = None,
    password: _Password = None,
    form: Annotated[CheckForm, typer.Option("--format", help="Form of the output.")] = CheckForm.TEXT,
) -> None:
    """Try keys against telegrams and say which one fits and what proves it.

    Proofs: mac and tag authenticate the telegram. ell-crc and 2f2f have sixteen bits and only show
    that the key fits; among thousands of keys one fits by chance now and then.

    \b
    Exit codes: 0 every encrypted telegram has a key, 4 some have none, 3 some input cannot be decoded, 2 usage.
    """
    mapping = parse_columns(columns or ()) or None
    read = [_keys_of(text, mapping, password) for text in keys]
    _print_notes(keys, read)
    check = KeyCheck((entry for file in read for entry in file.entries), every=every)
    try:
        verdicts = [_judge(check, item) for item in receptions(telegrams, input_format)]
    except OSError as error:
        raise InputError(f"the telegrams cannot be read: {error}", layer="input") from None
    if not verdicts:
        raise InputError("there is no telegram in the input", layer="input")
    _REPORTS[form](verdicts)
    raise typer.Exit(_exit_code(verdicts))


def _keys_of(text: str, mapping: dict[str, str] | None, password: str | None) -> KeyFile:
    """A key file, or the one key that the argument is. Raises InputError."""
    if Path(text).exists() or not _looks_like_key(text):
        return load_keyfile(text, columns=mapping, password=password)
    entries = read_keys(parse_key(text).hex().encode(), source="given key").entries
    return KeyFile("list", entries)  # without notes: they would be printed with the argument as a name


def _looks_like_key(text: str) -> bool:
    """True for a key and for a mistyped one: no message may repeat it as the name of a file."""
    digits = [sign for sign in text if sign not in " :-"]
    return len(digits) >= _KEY_LENGTH and not set(text) & set("./\\") and sum(map(_HEX.__contains__, digits)) > 0.75 * len(digits)


def _judge(check: KeyCheck, item: Reception | BadLine) -> Verdict:
    if isinstance(item, BadLine):
        return Verdict("", None, None, None, "undecodable", error=item.error.fault)
    return check.check(item.frame)


def _exit_code(verdicts: Sequence[Verdict]) -> int:
    if any(verdict.state == "undecodable" for verdict in verdicts):
        return _UNDECODABLE
    return _KEYLESS if any(verdict.keyless for verdict in verdicts) else 0


_WORDS: Final = {
    "fits": "fits",
    "no-fit": "no key fits",
    "no-candidate": "no key for this address",
    "unsupported": "mode cannot be opened",
    "plain": "not encrypted",
    "already-plain": "decrypted before",
    "fragment": "part of a message",
    "undecodable": "not decodable",
}


def _check_text(verdicts: Sequence[Verdict]) -> None:
    rows: list[list[str]] = []
    for number, verdict in enumerate(verdicts, 1):
        mode = "" if verdict.mode is None else str(verdict.mode)
        head = [str(number), verdict.address or "", mode or (verdict.profile or "").replace("none", "")]
        for fit in verdict.fits:
            key = [fit.fingerprint, fit.address, _octet(fit.key_id, "*"), _octet(fit.version, ""), fit.label or ""]
            rows.append([*head, "fits", *key, fit.proof])
        if not verdict.fits:
            rows.append([*head, _remark(verdict), "", "", "", "", "", ""])
    _print_table(["#", "meter", "mode", "result", "fingerprint", "key for", "KeyID", "version", "label", "proof"], rows)
    typer.echo(_summary(verdicts))
    for line in _advice(verdicts):
        typer.echo(line)


def _remark(verdict: Verdict) -> str:
    words = _WORDS[verdict.state]
    if verdict.state == "no-fit":
        return f"{words} ({verdict.tried} tried)"
    return f"{words}: {verdict.error.code}" if verdict.state == "undecodable" and verdict.error else words


def _summary(verdicts: Sequence[Verdict]) -> str:
    fitting = sum(verdict.state == "fits" for verdict in verdicts)
    encrypted = fitting + sum(verdict.keyless for verdict in verdicts)
    if not encrypted:
        text = "no telegram is encrypted"
    else:
        plural, verb = "s" if encrypted > 1 else "", "has" if fitting == 1 else "have"
        text = f"{fitting} of {encrypted} encrypted telegram{plural} {verb} a fitting key"
    others = Counter(_WORDS[v.state] for v in verdicts if v.state != "fits" and not v.keyless)
    return "; ".join([text, *(f"{count} {words}" for words, count in sorted(others.items()))])


def _advice(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What the reader should know about these results."""
    if any(verdict.state == "no-candidate" for verdict in verdicts):
        yield "no key is filed under some addresses; --all tries the keys of other addresses, too"
    if any(len({fit.fingerprint for fit in verdict.fits}) > 1 for verdict in verdicts):
        yield "several keys fit by a weak proof; check them against more telegrams of the same meter"
    for verdict in verdicts:
        for fit in verdict.fits:
            if verdict.key_id is not None and fit.key_id not in (None, verdict.key_id):
                yield (
                    f"{verdict.address}: the telegram asks for KeyID {verdict.key_id:02X}h, "
                    f"key {fit.fingerprint} is filed as {fit.key_id:02X}h"
                )


def _check_jsonl(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        typer.echo(msgspec.json.encode(verdict))


_REPORTS = {CheckForm.TEXT: _check_text, CheckForm.JSONL: _check_jsonl}


# -- output -------------------------------------------------------------------------------


def _octet(value: int | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:02X}"


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; labels are text and no markup. Empty columns are left out."""
    kept = [index for index, _ in enumerate(names) if not rows or any(row[index] for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index in kept:
        table.add_column(names[index], overflow="fold", no_wrap=names[index] in ("#", "KeyID", "fingerprint"))
    for row in rows:
        table.add_row(*(Text(row[index]) for index in kept))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)
