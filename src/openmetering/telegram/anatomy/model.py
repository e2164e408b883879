"""What an anatomy is: parts of octets, sections of fields, one segment for every run of octets."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from openmetering.errors import Fault

__all__ = ["FRAME", "PLAINTEXT", "Anatomy", "Bit", "Fact", "Part", "Section", "Segment"]

FRAME = "frame"
PLAINTEXT = "plaintext"


class Bit(msgspec.Struct, frozen=True):
    """A named run of bits of a field: ``place`` is ``7`` or ``5..4``, counted from the lowest bit of the field."""

    place: str
    name: str
    value: int
    meaning: str = ""


class Segment(msgspec.Struct, frozen=True):
    """A run of octets that is one field.

    ``where`` is ``frame`` or ``plaintext``, ``offset`` counts from the start of the part it stands in.
    ``octets`` are hexadecimal, two digits each; ``xx`` where they were redacted. ``encrypted`` octets
    are, or were, encrypted on their way. ``fault`` is the code of what is wrong with them.
    ``secret`` says what a redaction takes away: identity, content, cipher, proof, check or key.
    """

    where: str
    offset: int
    size: int
    octets: str
    layer: str
    field: str
    value: str = ""
    meaning: str = ""
    encrypted: bool = False
    fault: str | None = None
    secret: str = ""
    redacted: bool = False
    bits: tuple[Bit, ...] = ()


class Section(msgspec.Struct, frozen=True):
    """Fields that belong together: a layer, a record, a block. ``secret`` marks a summary that tells an identity."""

    layer: str
    title: str
    summary: str = ""
    secret: bool = False
    segments: tuple[Segment, ...] = ()


class Part(msgspec.Struct, frozen=True):
    """A run of octets that is covered from its first to its last octet: the frame, or what was opened of it."""

    where: str
    title: str
    note: str
    size: int
    sections: tuple[Section, ...] = ()

    @property
    def segments(self) -> Iterator[Segment]:
        """All segments in the order of their octets."""
        for section in self.sections:
            yield from section.segments


class Fact(msgspec.Struct, frozen=True):
    """One line about the whole telegram."""

    name: str
    value: str
    secret: bool = False


class Anatomy(msgspec.Struct, frozen=True):
    """A telegram, octet by octet.

    ``parts`` begin with the frame; behind it stand the octets that decryption or the joining of
    fragments gave. ``error`` is what stopped the decoding. ``redacted`` says that identity and
    key material are gone from all parts.
    """

    title: str
    facts: tuple[Fact, ...]
    parts: tuple[Part, ...]
    error: Fault | None = None
    warnings: tuple[Fault, ...] = ()
    redacted: bool = False

    @property
    def segments(self) -> Iterator[Segment]:
        """All segments of all parts."""
        for part in self.parts:
            yield from part.segments
