"""Text inputs: one pure reader per line format, and detection per line.

    hex           4493...                       plain hexadecimal, pipes and underscores allowed
    jsonl         {"telegram": HEX, "key": HEX|null}
    rtl-wmbus     T1;1;1;2024-01-01 12:00:00.000;97;148;12345678;0x4493...
    rtl433        {"model": "Wireless-MBus", "data": HEX, ...}
    wmbusmeters   telegram=|4493...|+12         (logs and simulation files)
    cul           b4493...LQI RSSI, bY4493...   (frames with CRCs)
    esphome       rtl-wmbus with empty fields, or plain hexadecimal

A line is a reception, a ``BadLine`` that says what is wrong, or talk of the tool that
carries no telegram (counted in ``LineReader.skipped``). Empty lines and lines that start
with ``#`` are comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import msgspec

from openmetering.errors import InputError
from openmetering.transport.reception import BadLine, Reception, hex_octets, size_a

__all__ = ["FORMATS", "LineReader", "detect", "parse_lines", "read_cul"]

_EARLIEST = 946_684_800.0  # 2000-01-01; clocks of receivers that were never set show 1970


class _Context(msgspec.Struct, frozen=True):
    source: str
    now: float
    replay_start: float | None = None


_Reader = Callable[[str, _Context], Reception | None]


def _wrong(message: str, code: str = "input.line") -> InputError:
    return InputError(message, code=code, layer="input")


def _moment(text: str, now: float) -> float:
    """Seconds of a time stamp; without zone it is local time. ``now`` if it cannot be read or is before 2000."""
    try:
        seconds = datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        return now
    return seconds if seconds >= _EARLIEST else now


# -- the formats --------------------------------------------------------------------------


def _read_hex(text: str, context: _Context) -> Reception:
    return Reception(hex_octets(text), context.now, context.source, line=text)


class _JsonLine(msgspec.Struct):
    telegram: str
    key: str | None = None
    received_at: float | str | None = None
    rssi_dbm: float | None = None
    mode: str | None = None


_decode_json_line = msgspec.json.Decoder(_JsonLine).decode


def _read_jsonl(text: str, context: _Context) -> Reception:
    try:
        row = _decode_json_line(text)
    except msgspec.DecodeError as error:
        raise _wrong(f"no JSON object with a text in 'telegram': {error}") from None
    stamp, at = row.received_at, context.now
    if isinstance(stamp, str):
        at = _moment(stamp, at)
    elif stamp is not None:
        at = stamp
    key = row.key if row.key and row.key.upper() != "NOKEY" else None
    return Reception(hex_octets(row.telegram), at, context.source, rssi_dbm=row.rssi_dbm, mode=row.mode, key=key, line=text)


def _read_rtl_wmbus(text: str, context: _Context) -> Reception:
    """``MODE;CRC_OK;3OF6_OK;TIME;RSSI;RSSI;ID;0xHEX``; octets without CRCs; with -v a decoder name stands in front.

    A positive level counts magnitude and is no dBm; a negative one (ESPHome receivers) is dBm.
    """
    fields = [field.strip() for field in text.rstrip().rstrip(";").split(";")]
    if len(fields) > 1 and fields[1][:1].isalpha():
        del fields[0]
    if len(fields) < 4:
        raise _wrong(f"an rtl_wmbus line has 8 fields between semicolons, this one has {len(fields)}")
    if fields[1] != "1":
        raise _wrong("the receiver says that the CRC is wrong", "input.crc")
    if fields[2] == "0":
        raise _wrong("the receiver says that the line coding (3 out of 6) is wrong", "input.crc")
    levels = [int(field) for field in fields[4:6] if field.lstrip("+-").isdigit()]
    level = levels[0] if levels else None
    return Reception(
        hex_octets(fields[-1]),
        _moment(fields[3], context.now),
        context.source,
        rssi_dbm=float(level) if level is not None and level < 0 else None,
        rssi_raw=level,
        mode=fields[0][:1].upper() or None,
        crc=True,
        line=text,
        address_hint=fields[6] if len(fields) > 7 and fields[6] else None,
    )


class _Rtl433Line(msgspec.Struct):
    model: str = ""
    mode: str | None = None
    time: str | float | None = None
    data: str | None = None
    mic: str | None = None
    rssi: float | None = None
    id: int | str | None = None


_decode_rtl433 = msgspec.json.Decoder(_Rtl433Line).decode


def restore_rtl433(data: bytes) -> bytes:
    """The frame without CRCs of rtl_433's ``data``: it ends with the last CRC and its L is two too small.

    Data that are consistent already (L counts what follows) are given back as they are.
    Raises InputError (``input.line``)
    """
    if len(data) < 12:
        raise _wrong(f"{len(data)} octets are no frame of rtl_433")
    if data[0] == len(data) - 1:
        return data
    return bytes((len(data) - 3,)) + data[1:-2]


def _read_rtl433(text: str, context: _Context) -> Reception | None:
    try:
        row = _decode_rtl433(text)
    except msgspec.DecodeError as error:
        raise _wrong(f"no JSON object of rtl_433: {error}") from None
    if row.model and "mbus" not in row.model.lower():
        return None
    if row.data is None:
        raise _wrong("the object of rtl_433 has no 'data'")
    at = context.now
    if isinstance(row.time, str):
        at = _moment(row.time, at)
    elif row.time is not None:
        at = row.time
    return Reception(
        restore_rtl433(hex_octets(row.data)),
        at,
        context.source,
        mode=row.mode[:1].upper() if row.mode else None,
        crc=True if row.mic == "CRC" else None,
        line=text,
        address_hint=None if row.id is None else str(row.id),
    )


_TELEGRAM = re.compile(r"telegram=\|?\s*([^|+\s]*)\s*\|?\s*(?:\+(\d+(?:\.\d+)?))?")


def _read_wmbusmeters(text: str, context: _Context) -> Reception | None:
    """``telegram=|HEX|+n``; n are seconds since the start of the log, used only for a replay with a start time."""
    found = _TELEGRAM.search(text)
    if found is None:
        if text.lstrip().startswith("|"):
            return _read_hex(text.split("+", maxsplit=1)[0], context)
        return None
    digits, delay = found.groups()
    at = context.now
    if delay and context.replay_start is not None:
        at = context.replay_start + float(delay)
    return Reception(hex_octets(digits), at, context.source, line=text)


def read_cul(text: str, source: str, now: float) -> Reception:
    """A line of a CUL: ``b`` (format A) or ``bY`` (format B), CRCs in place, then LQI and RSSI if reporting is on.

    Octets   0..n-1   frame with CRCs, length by L and format
             n        LQI in bits 7..1 (optional)
             n+1      RSSI, signed: level = value / 2 - 74 dBm (optional)
    Source   a-culfw, rf_mbus; CC1101 data sheet
    Raises   InputError (``input.line``) if the line is cut
    """
    digits = text.strip().removeprefix("b")
    frame_format = "B" if digits[:1] in ("Y", "y") else "A"
    octets = hex_octets(digits[1:] if frame_format == "B" else digits)
    size = octets[0] + 1 if frame_format == "B" else size_a(octets[0])
    raw = None
    if len(octets) == size + 2:
        raw = octets[-1]
        octets = octets[:size]
    if len(octets) != size:
        raise _wrong(f"L asks for {size} octets with CRCs, the line has {len(octets)}; some firmware cuts long telegrams")
    level = None if raw is None else (raw - 256 if raw > 127 else raw) / 2 - 74
    return Reception(octets, now, source, rssi_dbm=level, rssi_raw=raw, mode="C" if frame_format == "B" else None,
                     frame_format=frame_format, line=text)  # fmt: skip


_CUL_TALK = re.compile(r"^(V |[STC]MODE|OFF|\? |LOVF|EOB)")


def _read_cul_line(text: str, context: _Context) -> Reception | None:
    if not text.lstrip().startswith("b"):
        if _CUL_TALK.match(text):
            return None
        raise _wrong("a line of a CUL starts with b or bY")
    return read_cul(text, context.source, context.now)


def _read_esphome(text: str, context: _Context) -> Reception | None:
    return _read_rtl_wmbus(text, context) if ";" in text else _read_hex(text, context)


_READERS: dict[str, _Reader] = {
    "hex": _read_hex,
    "jsonl": _read_jsonl,
    "rtl-wmbus": _read_rtl_wmbus,
    "rtl433": _read_rtl433,
    "wmbusmeters": _read_wmbusmeters,
    "cul": _read_cul_line,
    "esphome": _read_esphome,
}

#: names for ``--input`` and ``format=``; raw-serial is no line format but goes the same ways
FORMATS = ("auto", *_READERS, "raw-serial")

_HEX = re.compile(r"^\s*\|?(0x)?[0-9A-Fa-f_\s|:]+$")
# talk of the known tools: wmbusmeters' "(wmbus) ...", CUL answers, rtl_433 and rtl_wmbus banners
_TALK = re.compile(r"^(\(\w[\w -]*\) |Started |rtl_|V \d|[STC]MODE\s*$|OFF\s*$)")


def _json_format(text: str) -> str:
    return "jsonl" if '"telegram"' in text else "rtl433"


_DETECT: tuple[tuple[Callable[[str], object], Callable[[str], str]], ...] = (
    (lambda text: text.startswith("{"), _json_format),
    (lambda text: "telegram=" in text, lambda text: "wmbusmeters"),
    (lambda text: ";" in text, lambda text: "rtl-wmbus"),
    (re.compile(r"^bY?[0-9A-Fa-f]+$").match, lambda text: "cul" if len(text) % 2 or text[1] == "Y" else "hex"),
    (lambda text: text.startswith("|") and "+" in text, lambda text: "wmbusmeters"),
    (_HEX.match, lambda text: "hex"),
)


def detect(text: str) -> str | None:
    """Name of the format of one line, None if it is of none."""
    text = text.strip()
    return next((name(text) for test, name in _DETECT if test(text)), None)


def _read_auto(text: str, context: _Context) -> Reception | None:
    name = detect(text)
    if name is None:
        if _TALK.match(text):
            return None
        raise _wrong("no telegram in any known format; name the format with --input if there should be one")
    return _READERS[name](text, context)


_READERS["auto"] = _read_auto


# -- streams of lines ---------------------------------------------------------------------


class LineReader:
    """Turns lines, or octets that hold lines, into receptions; keeps the line number.

    ``replay_start`` gives the ``+n`` of wmbusmeters lines a time. ``skipped`` counts lines of
    tools that carry no telegram.
    """

    __slots__ = ("_buffer", "_read", "format", "number", "position", "replay_start", "skipped", "source")

    MAX_LINE = 65_536  #: octets; what is longer is no line

    def __init__(self, fmt: str = "auto", source: str = "-", *, replay_start: float | None = None, position: int = 0) -> None:
        reader = _READERS.get(fmt)
        if reader is None:
            raise InputError(
                f"{fmt!r} is no input format; choose one of {', '.join(FORMATS)}", code="input.format", layer="input"
            )
        self._read = reader
        self._buffer = b""
        self.format = fmt
        self.source = source
        self.number = 0
        self.position = position
        self.replay_start = replay_start
        self.skipped = 0

    def line(self, text: str, now: float, position: int | None = None) -> Reception | BadLine | None:
        """One line; None for comments and talk."""
        self.number += 1
        text = text.strip("\r\n\x00 \t\ufeff")
        if not text or text.startswith("#"):
            return None
        try:
            found = self._read(text, _Context(self.source, now, self.replay_start))
        except InputError as error:
            named = InputError(f"line {self.number}: {error.message}", code=error.code, layer="input")
            return BadLine(self.number, text, named, self.source, position)
        if found is None:
            self.skipped += 1
            return None
        if not found.frame:
            return BadLine(self.number, text, _wrong(f"line {self.number}: no octets"), self.source, position)
        return found if position is None else msgspec.structs.replace(found, position=position)

    def feed(self, octets: bytes, now: float) -> list[Reception | BadLine]:
        """Octets of a stream; the start of an unfinished line is kept for the next call."""
        found: list[Reception | BadLine] = []
        *whole, rest = (self._buffer + octets).split(b"\n")
        for raw in whole:
            self._take(raw, len(raw) + 1, now, found)
        self._buffer = rest
        if len(rest) > self.MAX_LINE:
            self._buffer = b""
            self._take(rest, len(rest), now, found)
        return found

    def close(self, now: float) -> list[Reception | BadLine]:
        """The end of the stream: a last line without line end."""
        found: list[Reception | BadLine] = []
        rest, self._buffer = self._buffer, b""
        if rest:
            self._take(rest, len(rest), now, found)
        return found

    def _take(self, raw: bytes, size: int, now: float, found: list[Reception | BadLine]) -> None:
        self.position += size
        item = self.line(raw.decode("utf-8", "replace"), now, self.position)
        if item is not None:
            found.append(item)


def parse_lines(
    lines: Iterable[str], fmt: str = "auto", *, source: str = "-", received_at: float = 0.0
) -> Iterator[Reception | BadLine]:
    """Receptions and bad lines of text lines, in order. ``received_at`` counts where a line has no time.

    Raises InputError (``input.format``) for a format that is no line format
    """
    reader = LineReader(fmt, source)
    for text in lines:
        item = reader.line(text, received_at)
        if item is not None:
            yield item
