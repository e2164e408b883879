"""RecordFormat: the sequence of record headers of a telegram, as one thing.

A format has a signature (EN 13757-3), expands compact frames, encodes rows of values and
is the schema key in storage. A ``Plan`` is one octet layout of a format: it proves with one
comparison of integers that the headers of a telegram are the known ones, then reads all
values with one ``struct`` call. The general parser (``records.parse``) is the definition;
tests compare the plan with it record by record.
Source: EN 13757-3 (format frames, clause to confirm; vector G.5).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from types import MappingProxyType

import msgspec

from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import ParsedRecords, Record, make, read_header
from openmetering.codec.apl.values import decode_identification, lvar_content, lvar_length
from openmetering.errors import BadChecksum, DecodeError, InputError, MalformedRecord, OmsError, OutOfRange, Truncated
from openmetering.wire.crc import crc16
from openmetering.wire.types import MeterTime, bcd_words, decode_bcd, decode_date, decode_real32

__all__ = ["CompactFrame", "FormatStore", "Plan", "PlanSource", "RecordFormat", "StoredFormat", "full_frame_crc", "signature"]

_LAYER = "apl"
STORE_LIMIT = 20000  #: formats a store holds; noise must not fill the memory


def signature(headers: bytes) -> int:
    """Format signature: CRC over all DIBs and VIBs in order, sent least significant octet first."""
    return crc16(headers)


def full_frame_crc(records: bytes) -> int:
    """Full-frame CRC: CRC over the octets of all records, sent least significant octet first."""
    return crc16(records)


class RecordFormat:
    """The record headers of a message, in order; equal formats have equal ``octets``."""

    __slots__ = ("headers", "octets", "signature")

    signature: int

    def __init__(self, headers: Sequence[RecordHeader]) -> None:
        self.headers = tuple(headers)
        self.octets = b"".join([header.octets for header in self.headers])

    def __getattr__(self, name: str) -> int:
        """Called by Python only while the slot is empty: the signature is computed when it is asked for."""
        if name != "signature":
            raise AttributeError(f"RecordFormat has no attribute {name!r}")
        self.signature = made = signature(self.octets)
        return made

    @classmethod
    def parse(cls, octets: bytes, *, uplink: bool = True) -> RecordFormat:
        """Read DIBs and VIBs without data (format frame, stored format).

        Raises MalformedRecord or Truncated if the octets are not whole headers.
        """
        headers: list[RecordHeader] = []
        at = 0
        try:
            while at < len(octets):
                header, at = read_header(octets, at, uplink=uplink)
                headers.append(header)
        except IndexError:
            raise Truncated(
                "the format ends inside a header", layer=_LAYER, offset=at, octets=octets, code="compact.format"
            ) from None
        return cls(headers)

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordFormat:
        """The format of parsed records."""
        return cls([record.header for record in records])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordFormat) and other.octets == self.octets

    def __hash__(self) -> int:
        return hash(self.octets)

    def expand(self, data: bytes) -> bytes:
        """Records of a compact frame: headers of this format, data octets from the frame.

        The LVAR octet of a record of variable length stands in the data. Raises Truncated or
        MalformedRecord if the data do not fill the format exactly.
        """
        parts: list[bytes] = []
        at = 0
        for header in self.headers:
            start, length = at, header.length
            if length is None:
                if at >= len(data):
                    raise Truncated(
                        "the data end before the format does", layer=_LAYER, offset=at, octets=data, code="compact.length"
                    )
                length = lvar_length(data[at])
                if length is None:
                    raise MalformedRecord("reserved LVAR", layer=_LAYER, offset=at, octets=data, code="record.lvar")
                at += 1
            at += length
            if at > len(data):
                raise Truncated(
                    "the data end before the format does", layer=_LAYER, offset=start, octets=data, code="compact.length"
                )
            parts += (header.octets, data[start:at])
        if data[at:].strip(b"\x2f"):
            raise MalformedRecord(
                f"{len(data) - at} data octets are left behind the format",
                layer=_LAYER,
                offset=at,
                octets=data,
                code="compact.length",
            )
        return b"".join(parts)

    def compact(self, records: Sequence[Record]) -> bytes:
        """Data part of a compact frame for records of this format."""
        return b"".join(record.octets()[len(record.header.octets) :] for record in records)

    def encode(self, values: Sequence[Decimal | int | MeterTime | str | bytes | None]) -> bytes:
        """Record octets for one row of values. Raises EncodeError."""
        return b"".join(make(header, value).octets() for header, value in zip(self.headers, values, strict=True))

    def __repr__(self) -> str:
        return f"RecordFormat({self.signature:04X}h, {len(self.headers)} records)"


# -- compact and format frames ---------------------------------------------------------------


class CompactFrame(msgspec.Struct, frozen=True):
    """A compact frame: SIG(2) FFCRC(2) data, both CRCs least significant octet first."""

    signature: int
    full_frame_crc: int
    data: bytes

    @classmethod
    def decode(cls, octets: bytes) -> CompactFrame:
        """Read the octets behind CI 73, 79 or 7B and their transport header. Raises Truncated."""
        if len(octets) < 4:
            raise Truncated("a compact frame needs signature and full-frame CRC", layer=_LAYER, offset=0, octets=octets)
        return cls(octets[0] | octets[1] << 8, octets[2] | octets[3] << 8, octets[4:])

    @classmethod
    def of(cls, records: Sequence[Record]) -> CompactFrame:
        """The compact frame of records."""
        record_format = RecordFormat.of(records)
        octets = b"".join(record.octets() for record in records)
        return cls(record_format.signature, full_frame_crc(octets), record_format.compact(records))

    def encode(self) -> bytes:
        """The octets behind CI and transport header."""
        return self.signature.to_bytes(2, "little") + self.full_frame_crc.to_bytes(2, "little") + self.data

    def expand(self, record_format: RecordFormat) -> bytes:
        """The octets of the full frame's records. Raises BadChecksum (compact.crc) if the full-frame CRC differs."""
        octets = record_format.expand(self.data)
        if full_frame_crc(octets) != self.full_frame_crc:
            raise BadChecksum(
                f"full-frame CRC {self.full_frame_crc:04X}h, computed {full_frame_crc(octets):04X}h",
                layer=_LAYER,
                offset=2,
                octets=self.data,
                code="compact.crc",
            )
        return octets


def decode_format_frame(octets: bytes) -> RecordFormat:
    """Read the octets behind CI 69, 6A or 6B: LEN(1) SIG(2) headers.

    Raises Truncated, BadChecksum (compact.signature) or MalformedRecord.
    """
    if len(octets) < 3 or octets[0] < 2 or len(octets) < 1 + octets[0]:
        raise Truncated("the format frame is shorter than it says", layer=_LAYER, offset=0, octets=octets)
    stated = octets[1] | octets[2] << 8
    headers = octets[3 : 1 + octets[0]]
    if signature(headers) != stated:
        raise BadChecksum(
            f"format signature {stated:04X}h, computed {signature(headers):04X}h",
            layer=_LAYER,
            offset=1,
            octets=octets,
            code="compact.signature",
        )
    return RecordFormat.parse(headers)


def encode_format_frame(record_format: RecordFormat) -> bytes:
    """The octets behind the CI field of a format frame. Raises OutOfRange."""
    if len(record_format.octets) > 253:
        raise OutOfRange("a format frame holds 253 octets of headers", field="headers", value=len(record_format.octets))
    return bytes((len(record_format.octets) + 2,)) + record_format.signature.to_bytes(2, "little") + record_format.octets


class StoredFormat(msgspec.Struct, frozen=True):
    """A known format as it stands in a file: signature and headers in hexadecimal, who taught it."""

    signature: str
    headers: str
    source: str = ""


class FormatStore:
    """Known formats by signature; learned from full and format frames, shared as a JSON file.

    Several formats may share a signature; the full-frame CRC of a compact frame tells which.
    """

    __slots__ = ("_formats", "_sources", "changed")

    def __init__(self, formats: Sequence[StoredFormat] = ()) -> None:
        self._formats: dict[int, list[RecordFormat]] = {}
        self._sources: dict[bytes, str] = {}
        self.changed = False
        for stored in formats:
            self.add(RecordFormat.parse(_unhex(stored.headers)), stored.source)
        self.changed = False

    def add(self, record_format: RecordFormat, source: str = "") -> bool:
        """Learn a format; True if it was new. A full store (``STORE_LIMIT``) learns nothing more."""
        if record_format.octets in self._sources or len(self._sources) >= STORE_LIMIT:
            return False
        self._formats.setdefault(record_format.signature, []).append(record_format)
        self._sources[record_format.octets] = source
        self.changed = True
        return True

    def find(self, signature: int) -> tuple[RecordFormat, ...]:
        """All known formats of a signature."""
        return tuple(self._formats.get(signature, ()))

    def expand(self, frame: CompactFrame) -> bytes:
        """Records of a compact frame.

        Raises MalformedRecord (compact.unknown_format) if no format with this signature is
        known, BadChecksum (compact.crc) if none of the known ones fits.
        """
        known = self._formats.get(frame.signature)
        if not known:
            raise MalformedRecord(
                f"no format with signature {frame.signature:04X}h is known; a full or format frame of this meter teaches it",
                layer=_LAYER,
                offset=0,
                octets=frame.data,
                code="compact.unknown_format",
            )
        fault: OmsError | None = None
        for record_format in known:
            try:
                return frame.expand(record_format)
            except DecodeError as error:
                fault = error
        assert fault is not None
        raise fault

    def __iter__(self) -> Iterator[RecordFormat]:
        for known in self._formats.values():
            yield from known

    def __len__(self) -> int:
        return sum(len(known) for known in self._formats.values())

    def stored(self) -> tuple[StoredFormat, ...]:
        """All formats as rows of a file."""
        rows = [
            StoredFormat(f"{item.signature:04X}", item.octets.hex().upper(), self._sources.get(item.octets, "")) for item in self
        ]
        return tuple(sorted(rows, key=lambda row: (row.signature, row.headers)))


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"{text!r} is not hexadecimal", code="input.hex") from None


# -- plans ------------------------------------------------------------------------------------

#: (kind, octets) -> ``struct`` codes of the words and the expression that makes the content of them
_WORDS: dict[tuple[str, int], tuple[str, str]] = {
    ("signed", 1): ("b", "{0}"),
    ("signed", 2): ("h", "{0}"),
    ("signed", 3): ("Hb", "{0} + ({1} << 16)"),
    ("signed", 4): ("i", "{0}"),
    ("signed", 6): ("Ih", "{0} + ({1} << 32)"),
    ("signed", 8): ("q", "{0}"),
    ("unsigned", 1): ("B", "{0}"),
    ("unsigned", 2): ("H", "{0}"),
    ("unsigned", 3): ("HB", "{0} + ({1} << 16)"),
    ("unsigned", 4): ("I", "{0}"),
    ("unsigned", 6): ("IH", "{0} + ({1} << 32)"),
    ("unsigned", 8): ("Q", "{0}"),
    ("bcd", 1): ("B", "(a if (a := BCD[{0}]) >= 0 else bcd({raw}))"),
    ("bcd", 2): ("H", "(a if (a := BCD[{0}]) >= 0 else bcd({raw}))"),
    ("bcd", 3): ("HB", "(a + 10000 * b if (a := BCD[{0}]) >= 0 <= (b := BCD[{1}]) else bcd({raw}))"),
    ("bcd", 4): ("HH", "(a + 10000 * b if (a := BCD[{0}]) >= 0 <= (b := BCD[{1}]) else bcd({raw}))"),
    ("bcd", 6): (
        "HHH",
        "(a + 10000 * b + 100000000 * c if (a := BCD[{0}]) >= 0 <= (b := BCD[{1}]) and (c := BCD[{2}]) >= 0 else bcd({raw}))",
    ),
}
_BY_OCTETS = {"address": "address({raw})", "date": "date({raw})", "none": "None", "real": "real({raw})"}
_from_bytes = int.from_bytes


class PlanSource:
    """A plan as Python source: one ``struct`` call for the numbers, one expression for each content.

    ``words`` are the names that ``values(octets)`` fills, ``parts`` those of each record; ``expressions``
    give the contents, with the octets of their record standing as ``{raw}``; ``names`` is what the
    source refers to. ``more`` adds words for other kinds of records, as ``_WORDS`` has them.
    Generated because the same as a loop over converters takes half as long again.
    """

    __slots__ = ("expressions", "names", "parts", "words")

    def __init__(self, plan: Plan, more: Mapping[tuple[str, int], tuple[str, str]] = MappingProxyType({})) -> None:
        codes, position, known = ["<"], 0, {**_WORDS, **more}
        self.words: list[str] = []
        self.parts: list[list[str]] = []
        self.expressions: list[str] = []
        self.names: dict[str, object] = {"BCD": bcd_words(), "bcd": decode_bcd, "date": decode_date, "real": decode_real32}
        self.names["address"] = decode_identification
        for index, (header, lvar, (start, end)) in enumerate(zip(plan.headers, plan.lvars, plan.spans, strict=True)):
            if lvar is not None:
                self.names[f"text{index}"] = partial(lvar_content, header, lvar)
                self.expressions.append(f"text{index}({{raw}})")
                self.parts.append([])
                continue
            letters, expression = known.get((header.kind, end - start), ("", _BY_OCTETS.get(header.kind, "")))
            words = [f"v{index}_{place}" for place in range(len(letters))]
            self.words += words
            self.parts.append(words)
            self.expressions.append(expression.format(*words, raw="{raw}"))
            if letters:
                codes.append(f"{start - position}x{letters}")
                position = end
        self.names["values"] = struct.Struct("".join(codes)).unpack_from

    def compile(self, name: str, lines: Sequence[str]) -> Callable[..., object]:
        """The function ``name(octets, ...)`` whose lines may use words and names."""
        unpack = [f"    {', '.join(self.words)}, = values(octets)"] if self.words else []
        scope = dict(self.names)
        exec(compile("\n".join((lines[0], *unpack, *lines[1:])), f"<plan {name}>", "exec"), scope)
        made: Callable[..., object] = scope[name]  # type: ignore[assignment]
        return made


class Plan:
    """One octet layout of a format: fixed positions of all headers, fillers and data.

    ``matches`` compares every header, LVAR and filler octet with one integer operation; the
    general parser would take the same path for any octets that pass. ``read`` gives all records
    of octets that match; it is compiled when first used. ``spans`` are the positions of the data
    octets, ``lvars`` the length octets of records of variable length, ``profiles`` says that compact
    profiles are among the records.
    """

    __slots__ = (
        "format",
        "headers",
        "length",
        "lvars",
        "manufacturer_at",
        "mask",
        "more_follows",
        "profiles",
        "read",
        "spans",
        "template",
    )

    read: Callable[[bytes], tuple[Record, ...]]

    def __init__(self, octets: bytes, parsed: ParsedRecords) -> None:
        """Note the layout of ``octets`` that ``parsed`` came from (no fault, all of it)."""
        self.format = RecordFormat.of(parsed.records)
        self.headers = self.format.headers
        self.profiles = any(header.profile for header in self.headers)
        self.length = len(octets)
        self.more_follows = parsed.more_follows
        block = parsed.manufacturer_data
        self.manufacturer_at = None if block is None else self.length - len(block)
        mask = bytearray(b"\xff" * self.length)
        spans = []
        for offset, record in zip(parsed.offsets, parsed.records, strict=True):
            start = offset + len(record.header.octets) + (record.lvar is not None)
            end = start + len(record.raw)
            mask[start:end] = bytes(end - start)
            spans.append((start, end))
        if self.manufacturer_at is not None:
            mask[self.manufacturer_at :] = bytes(self.length - self.manufacturer_at)
        self.mask = _from_bytes(mask, "big")
        self.template = _from_bytes(octets, "big") & self.mask
        self.spans = tuple(spans)
        self.lvars = tuple(record.lvar for record in parsed.records)

    def __getattr__(self, name: str) -> object:
        """Called by Python only while the slot is empty: compile ``read`` and keep it."""
        if name != "read":
            raise AttributeError(f"Plan has no attribute {name!r}")
        self.read = made = self._reader()
        return made

    def _reader(self) -> Callable[[bytes], tuple[Record, ...]]:
        source = PlanSource(self)
        source.names |= {"Record": Record} | {f"h{index}": header for index, header in enumerate(self.headers)}
        records, slices, position = [], ["<"], 0
        for index, (expression, lvar, (start, end)) in enumerate(zip(source.expressions, self.lvars, self.spans, strict=True)):
            records.append(f"Record(h{index}, r{index}, {expression.format(raw=f'r{index}')}, {lvar})")
            slices.append(f"{start - position}x{end - start}s")
            position = end
        source.names["raws"] = struct.Struct("".join(slices)).unpack_from
        raws = [f"    {', '.join(f'r{index}' for index in range(len(records)))}, = raws(octets)"] if records else []
        lines = ("def read(octets):", *raws, f"    return ({', '.join(records)}{',' if records else ''})")
        made: Callable[[bytes], tuple[Record, ...]] = source.compile("read", lines)  # type: ignore[assignment]
        return made

    def matches(self, octets: bytes) -> bool:
        """True if the octets have this layout."""
        return len(octets) == self.length and _from_bytes(octets, "big") & self.mask == self.template
