"""``oms explain``: every octet of a telegram with its layer, field, value and meaning."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from openmetering.errors import Fault, InputError
from openmetering.interfaces.cli.decode import make_decoder
from openmetering.interfaces.cli.inputs import INPUTS, receptions
from openmetering.interfaces.cli.outcome import Outcome
from openmetering.security import parse_key
from openmetering.telegram import Decoder, Telegram
from openmetering.telegram.anatomy import NOTE, Anatomy, Bit, Part, Section, Segment, anatomy, redact
from openmetering.transport.reception import BadLine, Reception

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

__all__ = ["Form", "anatomy_text", "register"]

EPILOG = """\b
Examples
  oms explain 2E4493157856341233037A...  --key 0102030405060708090A0B0C0D0E0F11
  oms explain telegram.txt --keys keys.csv --format html -o telegram.html
  oms explain 2E4493157856341233037A...  --redact --format html -o to-share.html
"""

_WIDTH = 100
_LINE = 8  #: octets in a line
_OFFSET, _HEX, _FIELD = 5, 3 * _LINE, 22
_INDENT = _OFFSET + 1 + _HEX


class Form(StrEnum):
    """What is written."""

    text = "text"
    json = "json"
    html = "html"


# -- text -------------------------------------------------------------------------------------------


def anatomy_text(item: Anatomy) -> str:
    """The anatomy as text for people, at most 100 columns wide, with colours."""
    lines = [typer.style(item.title, bold=True)]
    if item.redacted:
        lines += [typer.style(line, fg="yellow") for line in textwrap.wrap(NOTE, _WIDTH)]
    width = max((len(fact.name) for fact in item.facts), default=0)
    for fact in item.facts:
        lines += _wrapped(f"  {fact.name:<{width}}  ", fact.value)
    lines += [line for fault in item.warnings for line in _fault("warning", fault, "yellow")]
    if item.error is not None:
        lines += _fault("error", item.error, "red")
    for part in item.parts:
        lines += ["", *_part(part)]
    return "\n".join(lines) + "\n"


def _wrapped(head: str, text: str) -> list[str]:
    """Text behind a head, its further lines indented to the same column."""
    rows = textwrap.wrap(text, _WIDTH - len(head)) or [""]
    return [f"{head if not number else ' ' * len(head)}{row}".rstrip() for number, row in enumerate(rows)]


def _fault(word: str, fault: Fault, colour: str) -> list[str]:
    return [typer.style(line, fg=colour) for line in _wrapped(f"  {word}  ", f"{fault.message} ({fault.code})")]


def _part(part: Part) -> Iterator[str]:
    yield typer.style(part.title, bold=True, underline=True)
    yield from textwrap.wrap(part.note, _WIDTH)
    head = f"{'off':>{_OFFSET}} {'octets':<{_HEX}}{'field':<{_FIELD}}value and meaning"
    yield typer.style(head, dim=True)
    for section in part.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    text = section.title + (f" - {section.summary}" if section.summary else "")
    for line in textwrap.wrap(text, _WIDTH - 2, subsequent_indent="  "):
        yield typer.style(f"- {line}" if not line.startswith("  ") else f"  {line[2:]}", fg="cyan", bold=True)
    for segment in section.segments:
        yield from _segment(segment)


def _cells(segment: Segment) -> tuple[list[str], list[str], list[str]]:
    """The lines of octets, of the field, and of value, meaning and bits."""
    pairs = [segment.octets[at : at + 2] for at in range(0, len(segment.octets), 2)]
    octets = [" ".join(pairs[at : at + _LINE]) for at in range(0, len(pairs), _LINE)]
    room = _WIDTH - _INDENT - _FIELD
    text = "  ".join(filter(None, (segment.value, segment.meaning, f"[{segment.fault}]" if segment.fault else "")))
    words = textwrap.wrap(text, room)
    if segment.value and words and words[0].startswith(segment.value):
        words[0] = typer.style(segment.value, bold=True) + words[0][len(segment.value) :]
    words += [line for bit in segment.bits for line in _bit(bit, room)]
    return octets, textwrap.wrap(segment.field, _FIELD - 1), words


def _bit(bit: Bit, room: int) -> list[str]:
    place = ("bit " if bit.place.isdecimal() else "bits ") + bit.place
    text = f"{bit.name} = {bit.value}" + (f": {bit.meaning}" if bit.meaning else "")
    return textwrap.wrap(text, room, initial_indent=f"  {place:<12}", subsequent_indent=" " * 14)


def _segment(segment: Segment) -> Iterator[str]:
    colour = "red" if segment.fault else "magenta" if segment.encrypted and segment.where == "frame" else "green"
    rows = zip_longest(*_cells(segment), fillvalue="")
    for number, (octets, field, words) in enumerate(rows):
        offset = str(segment.offset) if not number else ""
        beside = f"{field:<{_FIELD}}{words}".rstrip()
        padding = " " * (_HEX - len(octets)) if beside else ""
        yield f"{offset:>{_OFFSET}} {typer.style(octets, fg=colour, dim=segment.redacted) if octets else ''}{padding}{beside}"


# -- the forms ----------------------------------------------------------------------------------------


def _text(items: Sequence[Anatomy]) -> str:
    return "\n".join(anatomy_text(item) for item in items)


def _json(items: Sequence[Anatomy]) -> str:
    return msgspec.json.format(msgspec.json.encode(items), indent=2).decode() + "\n"


def _html(items: Sequence[Anatomy]) -> str:
    from openmetering.interfaces.web.explain_page import explain_page

    return explain_page(items)


_WRITERS: dict[Form, Callable[[Sequence[Anatomy]], str]] = {Form.text: _text, Form.json: _json, Form.html: _html}


def _examine(decoder: Decoder, item: Reception | BadLine) -> Telegram | InputError:
    if isinstance(item, BadLine):
        return item.error
    try:
        key = None if item.key is None else parse_key(item.key)
    except InputError as error:
        return error
    return decoder.examine(item.frame, key, now=item.received_at)


def _anatomies(decoder: Decoder, sources: list[str], fmt: str, redacted: bool, outcome: Outcome) -> Iterator[Anatomy]:
    """The anatomies of all telegrams of the sources; lines that are none are named on standard error."""
    for item in receptions(sources, fmt):
        telegram = _examine(decoder, item)
        if isinstance(telegram, InputError):
            outcome.count(telegram.code)
            typer.secho(f"not a telegram: {telegram.message}", err=True, fg="red")
            continue
        outcome.count(None if telegram.error is None else telegram.error.code)
        found = anatomy(telegram)
        yield redact(found) if redacted else found


def _write(text: str, form: Form, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)  # takes the colours away where nobody sees them
        return
    try:
        output.write_text(_COLOUR.sub("", text) if form is Form.text else text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}", code="input.output", layer="input") from None


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG)
    def explain(
        telegrams: Annotated[
            list[str] | None,
            typer.Argument(help="Telegrams in hexadecimal, files, or - for standard input.", metavar="[HEX | FILE | -]..."),
        ] = None,
        input: Annotated[str, typer.Option("--input", "-i", help="Format of the lines: " + ", ".join(INPUTS) + ".")] = "auto",
        key: Annotated[str | None, typer.Option("--key", "-k", help="Key for all telegrams, 32 hexadecimal digits.")] = None,
        keys: Annotated[
            Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)
        ] = None,
        format: Annotated[Form, typer.Option("--format", "-f", help="What is written; html is one file to share.")] = Form.text,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of standard output.")] = None,
        redact: Annotated[
            bool, typer.Option("--redact", help="Take identity and key material away, to share the result.")
        ] = False,
        strict: Annotated[
            bool, typer.Option("--strict", help="Refuse what does not follow the standard instead of warning.")
        ] = False,
        formats: Annotated[
            Path | None, typer.Option("--formats", help="File of known compact-frame formats (see oms formats).")
        ] = None,
    ) -> None:
        """Explain telegrams: every octet with offset, layer, field, value and meaning.

        Encrypted parts are opened if a key is given, fragments are joined. A frame with a fault is explained up to it.

        \b
        Exit codes: 0 everything was decoded, 3 some of it could not be, 4 only keys or authentication were missing, 2 usage.
        """
        if input not in INPUTS:
            raise InputError(f"{input!r} is no input format; choose one of {', '.join(INPUTS)}")
        outcome = Outcome()
        decoder = make_decoder(key, keys, strict, formats)
        items = list(_anatomies(decoder, telegrams or ["-"], input, redact, outcome))
        if not items and not outcome.exit_code:
            raise InputError("there is no telegram in the input")
        if items:
            _write(_WRITERS[format](items), format, output)
        sys.stdout.flush()
        raise typer.Exit(outcome.exit_code)
