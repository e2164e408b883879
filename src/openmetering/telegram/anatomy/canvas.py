"""Canvas: octets on their way to segments. It reads forward and gives every octet away once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openmetering.errors import Fault, OmsError
from openmetering.telegram.anatomy.model import Bit, Part, Section, Segment

__all__ = ["Canvas", "Gap"]


class Gap(msgspec.Struct, frozen=True):
    """Octets of the link layer that stand between those of the layers above: a CRC."""

    offset: int
    size: int
    octets: str
    field: str
    meaning: str


class Canvas:
    """One part while it is being explained.

    ``octets`` are those without gaps; ``at`` and ``end`` count in them. A field that runs across a
    gap becomes two segments. ``sealed`` is the offset up to which plaintext was encrypted.
    """

    __slots__ = ("_gaps", "_open", "_sections", "_shift", "at", "end", "octets", "sealed", "title", "where")

    def __init__(self, where: str, title: str, octets: bytes, gaps: Sequence[Gap] = (), sealed: int = 0) -> None:
        for gap in reversed(gaps):
            octets = octets[: gap.offset] + octets[gap.offset + gap.size :]
        self.where = where
        self.title = title
        self.octets = octets
        self.at = 0
        self.end = len(octets)
        self.sealed = sealed
        self._gaps = list(gaps)
        self._shift = 0
        self._sections: list[Section] = []
        self._open: list[Segment] = []

    # -- reading --------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Octets up to ``end`` that no segment has yet."""
        return self.end - self.at

    @property
    def rest(self) -> bytes:
        """The octets up to ``end`` that no segment has yet."""
        return self.octets[self.at : self.end]

    def peek(self, size: int = 1) -> bytes:
        """The next octets; fewer at the end."""
        return self.octets[self.at : min(self.at + size, self.end)]

    # -- writing --------------------------------------------------------------------------------

    def section(self, layer: str, title: str, summary: str = "", *, secret: bool = False) -> None:
        """Begin a section; what follows stands in it. A gap that is reached belongs to the section before."""
        if self._sections:
            self._fill_gaps()
        self._close()
        self._sections.append(Section(layer, title, summary, secret))

    def take(
        self,
        size: int,
        field: str,
        value: str = "",
        meaning: str = "",
        *,
        bits: tuple[Bit, ...] = (),
        encrypted: bool = False,
        secret: str = "",
        fault: str | None = None,
    ) -> bytes:
        """Give the next octets away as one field; fewer than ``size`` at the end, nothing if none is left."""
        start, stop = self.at, min(self.at + size, self.end)
        name = field
        while self.at < stop:
            self._fill_gaps()
            offset = self.at + self._shift
            until = min(stop, self._gaps[0].offset - self._shift) if self._gaps else stop
            part = self.octets[self.at : until]
            self._open.append(
                Segment(
                    self.where, offset, len(part), part.hex().upper(), self._layer, name, value, meaning,
                    encrypted or self.at < self.sealed, fault, secret, False, bits,
                )
            )  # fmt: skip
            self.at = until
            name, value, meaning, bits = f"{field}, continued", "", "", ()
        return self.octets[start:stop]

    def take_rest(self, field: str, meaning: str = "", *, secret: str = "content", encrypted: bool = False) -> None:
        """Give everything up to ``end`` away as it is."""
        self.take(self.left, field, _count(self.left), meaning, secret=secret, encrypted=encrypted)

    def broken(self, fault: Fault | OmsError | None, offset: int | None = None) -> None:
        """Give everything up to ``end`` away: up to ``offset`` unread, from there on with the fault."""
        if offset is not None and self.at < offset < self.end:
            self.take(offset - self.at, "not read", _count(offset - self.at), "stands in front of the fault", secret="content")
        code = "frame.invalid" if fault is None else fault.code
        text = "" if fault is None else fault.message
        self.take(self.left, "not decoded", _count(self.left), text, secret="content", fault=code)

    def part(self, note: str = "") -> Part:
        """The finished part; what nobody took stands at its end."""
        self.end = len(self.octets)
        if self.left:
            self.section("link", "Not explained")
            self.take_rest("octets")
        self._fill_gaps()
        self._close()
        size = len(self.octets) + self._shift
        return Part(self.where, self.title, note, size, tuple(section for section in self._sections if section.segments))

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _layer(self) -> str:
        return self._sections[-1].layer

    def _fill_gaps(self) -> None:
        while self._gaps and self._gaps[0].offset == self.at + self._shift:
            gap = self._gaps.pop(0)
            words = (gap.field, f"{gap.octets}h", gap.meaning)
            self._open.append(Segment(self.where, gap.offset, gap.size, gap.octets, "link", *words, secret="check"))
            self._shift += gap.size

    def _close(self) -> None:
        if self._sections and self._open:
            self._sections[-1] = msgspec.structs.replace(self._sections[-1], segments=tuple(self._open))
            self._open = []


def _count(size: int) -> str:
    return "1 octet" if size == 1 else f"{size} octets"
