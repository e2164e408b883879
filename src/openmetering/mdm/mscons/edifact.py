"""EDIFACT segments: octets to segments and back (ISO 9735), with the place of each in the file.

UNA:+.? '            signs of this file: component, element, decimal, release, blank, end (those of the standard without it)
TAG+a:b+c'           a segment of elements, each of components; ? takes the meaning from the sign behind it

Octets are taken as ISO 8859-1 (UNOC), of which UNOA and UNOB are parts. A blank in place of the release sign: there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from openmetering.errors import DecodeError, NotRepresentable

__all__ = ["Segment", "Signs", "broken", "refused", "segments_of", "text_of"]

_LAYER: Final = "edifact"
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


class Signs(msgspec.Struct, frozen=True):
    """The signs of a file; ``release`` may be empty."""

    component: str = ":"
    element: str = "+"
    decimal: str = "."
    release: str = "?"
    end: str = "'"

    def una(self) -> str:
        """The service string advice."""
        return f"UNA{self.component}{self.element}{self.decimal}{self.release or ' '} {self.end}"


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


def refused(message: str, field: str, value: object) -> NotRepresentable:
    """What cannot be written."""
    return NotRepresentable(message, field=field, value=value, layer=_LAYER)


def segments_of(octets: bytes) -> Iterator[Segment]:
    """The segments of a file, without UNA. Raises DecodeError (``mscons.syntax``)"""
    text = octets.decode("latin-1")
    signs, at = Signs(), 0
    if text.startswith("UNA"):
        signs, at = _announced(text), 9
    release = re.escape(signs.release)
    special = "".join(re.escape(one) for one in (signs.component, signs.element, signs.end)) + release
    # possessive: what was taken is never given back, so a file without an end costs no more than its length
    step = re.compile(f"(?s)((?:[^{special}]++{f'|{release}.' if release else ''})*+)([{special}])")
    taken = re.compile(f"(?s){release}(.)")
    blank = re.compile(r"[\r\n ]*")
    while (at := _behind(blank, text, at)) < len(text):
        start = at
        elements: list[tuple[str, ...]] = []
        components: list[str] = []
        sign = ""
        while sign != signs.end:
            found = step.match(text, at)
            if found is None:
                raise broken("the file ends within a segment", start)
            part, sign = found.groups()
            if sign == signs.release:
                raise broken("the file ends behind a release sign", found.end() - 1)
            components.append(taken.sub(r"\1", part) if release and signs.release in part else part)
            if sign != signs.component:
                elements.append(tuple(components))
                components = []
            at = found.end()
        tag = elements[0][0]
        if len(elements[0]) != 1 or len(tag) != 3 or not (tag.isascii() and tag.isalnum()):
            raise broken(f"{tag!r} is no tag of a segment", start)
        yield Segment(tag, tuple(elements[1:]), start)


def _behind(blank: re.Pattern[str], text: str, at: int) -> int:
    """Behind line ends and blanks."""
    found = blank.match(text, at)
    return found.end() if found else at


def _announced(text: str) -> Signs:
    """The signs that UNA announces."""
    if len(text) < 9:
        raise broken("UNA is cut short", 0)
    signs = Signs(text[3], text[4], text[5], text[6].strip(" "), text[8])
    special = [signs.component, signs.element, signs.end, *signs.release]
    if len(set(special)) != len(special) or any(one.isalnum() or one.isspace() for one in special):
        raise broken("UNA announces the same sign twice, or letters, digits or blanks as signs", 3)
    return signs


def text_of(segments: Iterable[Segment], signs: Signs | None = None) -> bytes:
    """A file with UNA; empty components and elements at the end are left out.

    Raises NotRepresentable for signs that ISO 8859-1 (UNOC) does not have
    """
    signs = signs or Signs()
    special = {ord(one): signs.release + one for one in (signs.component, signs.element, signs.end, *signs.release)}
    lines = [signs.una()]
    for segment in segments:
        elements = [[one.translate(special) for one in element] for element in segment.elements]
        for element in elements:
            while element and not element[-1]:
                element.pop()
        while elements and not elements[-1]:
            elements.pop()
        lines.append(signs.element.join([segment.tag, *map(signs.component.join, elements)]) + signs.end)
    text = "".join(lines)
    if (control := _CONTROL.search(text)) is not None:
        raise refused(f"the control sign {control.group()!r} is not in the character set UNOC", "text", control.group())
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise refused(f"{text[error.start]!r} is not in the character set UNOC", "text", text[error.start]) from None
