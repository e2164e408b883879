"""Receptions in: which of them are copies of a frame that is there, and the rows of those that are new.

A whole batch is looked up with one question and stored with one insert per table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from openmetering.storage.identity import identity
from openmetering.storage.parts import parts

if TYPE_CHECKING:
    from openmetering.storage.dialects import Cell, Link

__all__ = ["Observation", "Stored", "store_receptions"]

_FRAMES = ("id", "identity", "received_at", "source_id", "mode", "octets")
_RECEPTIONS = ("frame_id", "source_id", "received_at", "rssi_dbm", "rssi_raw", "mode", "address_hint", "octets")


class Observation(Protocol):
    """What the store keeps of a reception (``transport.Reception`` is one)."""

    @property
    def frame(self) -> bytes: ...
    @property
    def received_at(self) -> float: ...
    @property
    def source(self) -> str: ...
    @property
    def rssi_dbm(self) -> float | None: ...
    @property
    def rssi_raw(self) -> int | None: ...
    @property
    def mode(self) -> str | None: ...
    @property
    def frame_format(self) -> str | None: ...
    @property
    def crc(self) -> bool | None: ...
    @property
    def address_hint(self) -> str | None: ...


class Stored(msgspec.Struct, frozen=True):
    """Where a reception went: its frame, and whether the frame is new."""

    frame_id: int
    new: bool


class _Known:
    """A frame that copies may belong to; ``number`` is 0 until a new one has its number."""

    __slots__ = ("number", "octets", "received_at")

    def __init__(self, received_at: float, octets: bytes, number: int = 0) -> None:
        self.received_at = received_at
        self.octets = octets
        self.number = number


def _known(link: Link, numbers: Sequence[int], low: float, high: float) -> dict[int, list[_Known]]:
    """Frames with these identities in a span of time."""
    found: dict[int, list[_Known]] = {}
    for part in parts(numbers):
        condition, values = link.among("identity", part)
        rows = link.rows(
            f"SELECT identity, received_at, octets, id FROM frames WHERE {condition} AND received_at BETWEEN ? AND ?",
            (*values, low, high),
        )
        for number, received_at, octets, frame_id in rows:
            found.setdefault(number, []).append(_Known(received_at, octets, frame_id))
    return found


def _heard(link: Link, known: Mapping[int, Sequence[_Known]]) -> dict[tuple[int, int, float], _Known]:
    """Which frame the receptions of these frames belong to, by identity, source and time."""
    frames = {frame.number: (number, frame) for number, alike in known.items() for frame in alike}
    found: dict[tuple[int, int, float], _Known] = {}
    ids = list(frames)
    for part in parts(ids):
        condition, values = link.among("frame_id", part)
        for frame_id, source_id, at in link.rows(
            f"SELECT frame_id, source_id, received_at FROM receptions WHERE {condition}", values
        ):
            number, frame = frames[frame_id]
            found[number, source_id, at] = frame
    return found


def store_receptions(
    link: Link, receptions: Sequence[Observation], sources: Mapping[str, int], merge_window: float, repeat_window: float
) -> list[Stored]:
    """Store receptions inside a transaction; the very same one (source, time, frame) is stored once."""
    identities = [identity(item.frame, crc_removed=item.crc is True and item.frame_format is None) for item in receptions]
    times = [item.received_at for item in receptions]
    widest = max(merge_window, repeat_window)
    known = _known(link, list({number for number, _ in identities}), min(times) - widest, max(times) + widest)
    heard = _heard(link, known)
    placed: list[tuple[_Known, bool]] = []
    fresh: list[tuple[_Known, int, Observation]] = []
    for item, (number, repeated) in zip(receptions, identities, strict=True):
        alike = known.get(number)
        # the very same reception belongs where it is, also when a frame that is nearer has come since
        same = (number, sources[item.source], item.received_at)
        frame = heard.get(same)
        if frame is None and alike is not None:
            frame = _nearest(alike, item.received_at, repeat_window if repeated else merge_window)
        new = frame is None
        if frame is None:
            frame = _Known(item.received_at, item.frame)
            fresh.append((frame, number, item))
            if alike is None:
                known[number] = [frame]
            else:
                alike.append(frame)
        heard[same] = frame
        placed.append((frame, new))
    if fresh:
        _insert_frames(link, fresh, sources)
    _insert_receptions(link, receptions, placed, sources)
    return [Stored(frame.number, new) for frame, new in placed]


def _nearest(alike: Sequence[_Known], received_at: float, window: float) -> _Known | None:
    best: _Known | None = None
    for frame in alike:
        apart = abs(frame.received_at - received_at)
        # the same sums as the question to the database, so that the edge of the window is the same
        inside = received_at - window <= frame.received_at <= received_at + window
        if inside and (best is None or apart < abs(best.received_at - received_at)):
            best = frame
    return best


def _insert_frames(link: Link, fresh: Sequence[tuple[_Known, int, Observation]], sources: Mapping[str, int]) -> None:
    rows: list[tuple[Cell, ...]] = []
    for frame_id, (frame, number, item) in zip(link.numbers("frames", len(fresh)), fresh, strict=True):
        frame.number = frame_id
        rows.append((frame_id, number, item.received_at, sources[item.source], item.mode, item.frame))
    link.insert("frames", _FRAMES, rows)
    link.insert("pending", ("frame_id",), [(row[0],) for row in rows])


def _insert_receptions(
    link: Link, receptions: Sequence[Observation], placed: Sequence[tuple[_Known, bool]], sources: Mapping[str, int]
) -> None:
    first: list[tuple[Cell, ...]] = []
    more: list[tuple[Cell, ...]] = []
    for item, (frame, new) in zip(receptions, placed, strict=True):
        octets = item.frame
        other = None if new or octets == frame.octets else octets
        row = (frame.number, sources[item.source], item.received_at, item.rssi_dbm, item.rssi_raw, item.mode, item.address_hint)
        (first if new else more).append((*row, other))
    # the first reception of a new frame cannot be there yet
    link.insert("receptions", _RECEPTIONS, first)
    link.add_new("receptions", _RECEPTIONS, more)
