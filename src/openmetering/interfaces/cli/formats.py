"""``oms formats``: the known formats of compact frames, as a file that can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from openmetering.codec.apl.format import FormatStore, StoredFormat
from openmetering.codec.apl.known_formats import known_formats
from openmetering.errors import InputError
from openmetering.interfaces.cli.inputs import INPUTS, receptions
from openmetering.security import parse_key
from openmetering.telegram import Decoder
from openmetering.transport.reception import BadLine

__all__ = ["load_formats", "register", "save_formats"]

EPILOG = """\b
Examples
  oms formats list
  oms formats learn telegrams.txt --keys keys.csv -o formats.json
  oms decode telegrams.txt --keys keys.csv --formats formats.json
"""


def load_formats(path: Path) -> FormatStore:
    """The bundled formats and those of a file. Raises InputError."""
    try:
        rows = msgspec.json.decode(path.read_bytes(), type=list[StoredFormat])
    except (msgspec.DecodeError, OSError) as error:
        raise InputError(f"{path} is no file of formats: {error}") from None
    store = known_formats()
    for extra in FormatStore(rows):
        store.add(extra, next((row.source for row in rows if row.headers == extra.octets.hex().upper()), ""))
    store.changed = False
    return store


def save_formats(store: FormatStore, path: Path) -> None:
    """Write all formats of a store."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(store.stored()), indent=2) + b"\n")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    formats = typer.Typer(name="formats", help="Known formats of compact frames (CI 73, 79, 7B).", no_args_is_help=True)
    app.add_typer(formats)

    @formats.command("list", epilog=EPILOG)
    def show(file: Annotated[Path | None, typer.Argument(help="File of formats; without it the bundled ones.")] = None) -> None:
        """List known formats: signature, headers, who sends them."""
        store = known_formats() if file is None else load_formats(file)
        for row in store.stored():
            typer.echo(f"{row.signature}  {row.source or '-'}\n      {row.headers}")

    @formats.command("learn", epilog=EPILOG)
    def learn(
        telegrams: Annotated[list[str], typer.Argument(help="Full and format frames: hexadecimal, files, or -.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="File to write; an existing one is extended.")] = Path(
            "formats.json"
        ),
        input: Annotated[str, typer.Option("--input", "-i", help="Format of the lines: " + ", ".join(INPUTS) + ".")] = "auto",
        keys: Annotated[
            Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)
        ] = None,
    ) -> None:
        """Learn formats from full and format frames and write them to a file."""
        from openmetering.interfaces.cli.decode import ring_of

        store = load_formats(output) if output.exists() else known_formats()
        before = len(store)
        decoder = Decoder(ring_of(None, keys), formats=store)
        for item in receptions(telegrams, input):
            if not isinstance(item, BadLine):
                decoder.examine(item.frame, None if item.key is None else parse_key(item.key))
        save_formats(store, output)
        learned = len(store) - before
        typer.echo(f"{learned} format{'' if learned == 1 else 's'} learned, {len(store)} in {output}")
