"""Where telegrams of a command come from: arguments in hexadecimal, files, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from openmetering.errors import InputError
from openmetering.transport.lines import FORMATS, parse_lines
from openmetering.transport.raw import RawReader
from openmetering.transport.reception import BadLine, Reception

__all__ = ["INPUTS", "receptions"]

INPUTS = FORMATS
_HEX = set("0123456789abcdefABCDEF _|:xX")


def receptions(sources: Iterable[str], fmt: str) -> Iterator[Reception | BadLine]:
    """All telegrams of the sources, in order; lines that are none as BadLine.

    A source is ``-`` (standard input), the name of a file, or a telegram in hexadecimal.
    Raises InputError for a source that is nothing of this.
    """
    for source in sources:
        if source == "-":
            yield from _stream(sys.stdin.buffer.read() if fmt == "raw-serial" else sys.stdin, fmt, "-")
        elif _is_file(source):
            yield from _file(Path(source), fmt)
        elif set(source) <= _HEX:
            yield from _stream([source], "hex", "argument")
        else:
            raise InputError(f"{source!r} is neither a file nor a telegram in hexadecimal; write - for standard input")


def _is_file(source: str) -> bool:
    """True for the name of a file; a long telegram is no name at all."""
    try:
        return Path(source).is_file()
    except OSError:
        return False


def _file(path: Path, fmt: str) -> Iterator[Reception | BadLine]:
    if fmt == "raw-serial":
        yield from _stream(path.read_bytes(), fmt, str(path))
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from _stream(lines, fmt, str(path))


def _stream(content: Iterable[str] | bytes, fmt: str, source: str) -> Iterator[Reception | BadLine]:
    if isinstance(content, bytes):
        reader = RawReader(source)
        items: Iterable[Reception | BadLine] = [*reader.feed(content, 0.0), *reader.close(0.0)]
    else:
        items = parse_lines(content, fmt, source=source)
    yield from items
