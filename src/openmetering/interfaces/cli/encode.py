"""``oms encode``: the JSON of ``oms decode`` back into telegrams."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from openmetering.codec.link.wireless import WirelessFrame
from openmetering.errors import InputError
from openmetering.interfaces.cli.decode import ring_of
from openmetering.telegram import Answer, Telegram, encode, encode_fragments
from openmetering.telegram.recompose import telegram_of

__all__ = ["register"]

EPILOG = """\b
Examples
  oms decode 2E44... --key 0102... --format json > telegram.json
  oms encode telegram.json --key 0102...                  the same octets again
  oms encode telegram.json --key 0102... --crc --frame-format B
  oms encode telegram.json --key 0102... --fragment-size 33
"""


class FrameFormat(StrEnum):
    """Wireless frame formats."""

    A = "A"
    B = "B"


def _answers(source: str) -> Iterator[Answer]:
    text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    decoder = msgspec.json.Decoder(Answer)
    try:
        if text.lstrip().startswith(b"["):
            yield from msgspec.json.decode(text, type=list[Answer])
        elif b"\n{" in text.strip():
            yield from decoder.decode_lines(text)
        else:
            yield decoder.decode(text)
    except msgspec.DecodeError as error:
        raise InputError(f"{source} is no answer of oms decode: {error}") from None


def _framed(telegram: Telegram, crc: bool | None, frame_format: FrameFormat | None) -> Telegram:
    link = telegram.link
    if not isinstance(link, WirelessFrame) or (crc is None and frame_format is None):
        return telegram
    wanted = link.crc or frame_format is not None if crc is None else crc
    name = frame_format.value if frame_format is not None else link.frame_format or "A"
    return msgspec.structs.replace(telegram, link=msgspec.structs.replace(link, crc=wanted, frame_format=name))


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(epilog=EPILOG, name="encode")
    def command(
        source: Annotated[
            str, typer.Argument(help="File with the JSON of oms decode (one object, a list, or lines), or -.", metavar="FILE | -")
        ] = "-",
        key: Annotated[str | None, typer.Option("--key", "-k", help="Key for all telegrams, 32 hexadecimal digits.")] = None,
        keys: Annotated[
            Path | None, typer.Option("--keys", "-K", help="Key file (see oms keys).", exists=True, dir_okay=False)
        ] = None,
        crc: Annotated[
            bool | None, typer.Option("--crc/--no-crc", help="With or without link-layer CRCs (default: as decoded).")
        ] = None,
        frame_format: Annotated[
            FrameFormat | None, typer.Option("--frame-format", help="Wireless frame format of the CRCs.")
        ] = None,
        fragment_size: Annotated[
            int | None, typer.Option("--fragment-size", min=1, help="Send the message in fragments of this many octets.")
        ] = None,
    ) -> None:
        """Encode telegrams: CRCs, encryption, MAC and fragments are computed.

        Values that were edited in the JSON are encoded anew; everything else comes back octet for octet.
        """
        ring = ring_of(key, keys)
        for answer in _answers(source):
            telegram = _framed(telegram_of(answer), crc, frame_format)
            frames = [encode(telegram, ring)] if fragment_size is None else encode_fragments(telegram, ring, fragment_size)
            for frame in frames:
                typer.echo(frame.hex().upper())
