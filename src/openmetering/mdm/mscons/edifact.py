"""EDIFACT segments: octets to segments and back (ISO 9735 syntax 3), with the place of each in the file.

UNA:+.? '            signs of this file: component, element, decimal, release, blank, end (those of the standard without it)
TAG+a:b+c'           a segment of elements, each of components; ? takes the meaning from the sign behind it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from openmetering.errors import DecodeError, NotRepresentable

__all__ = ["Segment", "Signs", "broken", "segments_of", "text_of"]

_LAYER: Final = "edifact"


class Signs(msgspec.Struct, frozen=True):
    """The signs of a file."""

    component: str = ":"
    element: str = "+"
    decimal: str = "."
    release: str = "?"
    end: str = "'"

    def una(self) -> str:
        """The service string advice."""
        return f"UNA{self.component}{self.element}{self.decimal}{self.release} {self.end}"


class Segment(msgspec.Struct, frozen=True):
    """``elements[i][j]`` is component j of element i; ``offset`` where it begins in the file, octets."""

    tag: str
    elements: tuple[tuple[str, ...], ...]
    offset: int = 0

    def get(self, element: int, component: int = 0) -> str:
        """A component; empty if it was left out."""
        if element >= len(self.elements) or component >= len(self.elements[element]):
            return ""
        return self.elements[element][component]


def broken(message: str, offset: int, code: str = "mscons.syntax") -> DecodeError:
    """A file that cannot be read, with the place."""
    return DecodeError(message, layer=_LAYER, offset=offset, octets=b"", code=code)


def segments_of(octets: bytes) -> Iterator[Segment]:
    """The segments of a file, without UNA. Raises DecodeError (``mscons.syntax``)"""
    text = octets.decode("latin-1")
    signs, at = Signs(), 0
    if text.startswith("UNA"):
        if len(text) < 9:
            raise broken("UNA is cut short", 0)
        signs, at = Signs(text[3], text[4], text[5], text[6], text[8]), 9
    elements: list[tuple[str, ...]] = []
    components: list[str] = []
    part: list[str] = []
    start: int | None = None
    while at < len(text):
        sign = text[at]
        if start is None:
            if sign in "\r\n ":
                at += 1
                continue
            start = at
        if sign == signs.release:
            if at + 1 >= len(text):
                raise broken("the file ends behind a release sign", at)
            part.append(text[at + 1])
            at += 2
            continue
        if sign in (signs.component, signs.element, signs.end):
            components.append("".join(part))
            part.clear()
            if sign != signs.component:
                elements.append(tuple(components))
                components.clear()
            if sign == signs.end:
                tag = elements[0][0] if elements else ""
                if len(tag) != 3 or not tag.isalnum():
                    raise broken(f"{tag!r} is no tag of a segment", start)
                yield Segment(tag, tuple(elements[1:]), start)
                elements.clear()
                start = None
        else:
            part.append(sign)
        at += 1
    if start is not None:
        raise broken("the file ends within a segment", start)


def text_of(segments: Iterable[Segment], signs: Signs | None = None) -> bytes:
    """A file with UNA. Raises NotRepresentable for signs that ISO 8859-1 (UNOC) does not have"""
    signs = signs or Signs()
    special = (signs.release, signs.component, signs.element, signs.end)

    def escaped(text: str) -> str:
        return "".join(f"{signs.release}{sign}" if sign in special else sign for sign in text)

    lines = [signs.una()]
    for segment in segments:
        elements = [signs.component.join(escaped(one) for one in element).rstrip(signs.component) for element in segment.elements]
        while elements and not elements[-1]:
            elements.pop()
        lines.append(signs.element.join([segment.tag, *elements]) + signs.end)
    try:
        return "".join(lines).encode("latin-1")
    except UnicodeEncodeError as error:
        raise NotRepresentable(
            f"{error.object[error.start]!r} is not in the character set UNOC", field="text", value=error.object, layer=_LAYER
        ) from None
