"""Copies of one telegram become one: from several receivers, and from repeaters.

    first copy --> held for ``hold`` seconds --> released: the best copy, with the number of the others
    copy within the window of the first --> counted, never released

Best is: not through a repeater, then the strongest level, then the first. Which frames are copies decides
``storage.identity`` as in the store of a head-end; windows count between times of reception, ``hold`` in the time
of the gateway, so that a file of last year is merged like a live source.

What was released is remembered for ten minutes of the gateway's time, and for a number of telegrams at most, without its
octets. A copy that comes even later is told like a telegram of its own; the store of the head-end knows it again.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

import msgspec

from openmetering.services.gatewayd.entries import Entry
from openmetering.storage.identity import identity

__all__ = ["Merger", "Numbered"]

_SEEN_LIMIT = 50_000
_REMEMBERED = 600.0  #: seconds from the arrival of the first copy


class Numbered(msgspec.Struct, frozen=True):
    """An entry and its number in the spool. ``copies`` more were heard."""

    number: int
    entry: Entry
    copies: int = 0


class _Group:
    """Copies of one telegram; ``best`` None: it is released. ``number`` and ``received_at`` are those of the first."""

    __slots__ = ("arrived_at", "best", "copies", "number", "rank", "received_at", "release_at")

    def __init__(self, first: Numbered, rank: tuple[bool, float], release_at: float) -> None:
        self.best: Numbered | None = first
        self.number = first.number
        self.received_at = first.entry.received_at
        self.arrived_at = first.entry.arrived_at
        self.rank = rank
        self.copies = 0
        self.release_at = release_at


class Merger:
    """``window`` seconds for copies of receivers, ``repeater_window`` for those of repeaters (up to 25 s late)."""

    __slots__ = ("_groups", "_waiting", "hold", "merged", "repeater_window", "window")

    def __init__(self, hold: float = 2.0, window: float = 2.0, repeater_window: float = 30.0) -> None:
        self.hold = hold
        self.window = window
        self.repeater_window = repeater_window
        self.merged = 0
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        self._waiting: deque[_Group] = deque()

    @property
    def oldest(self) -> int | None:
        """The smallest number that is held."""
        return self._waiting[0].number if self._waiting else None

    @property
    def deadline(self) -> float | None:
        """When the next telegram is released."""
        return self._waiting[0].release_at if self._waiting else None

    def push(self, number: int, entry: Entry) -> None:
        """A reception."""
        name, repeated = identity(entry.frame, crc_removed=entry.crc is True and entry.frame_format is None)
        group = self._groups.get(name)
        rank = (not repeated, -math.inf if entry.rssi_dbm is None else entry.rssi_dbm)
        if group is not None and abs(entry.received_at - group.received_at) <= self._reach(repeated, group):
            self.merged += 1
            group.copies += 1
            if group.best is not None and rank > group.rank:
                group.best, group.rank = Numbered(number, entry), rank
            return
        fresh = _Group(Numbered(number, entry), rank, entry.arrived_at + self.hold)
        self._groups.pop(name, None)
        self._groups[name] = fresh
        self._waiting.append(fresh)
        self._forget(entry.arrived_at)

    def _reach(self, repeated: bool, group: _Group) -> float:
        """A copy of a repeater comes late; so does the original when the copy was heard first from a file."""
        return self.repeater_window if repeated or not group.rank[0] else self.window

    def _forget(self, now: float) -> None:
        """The oldest go; what is held stays, and all behind it."""
        while self._groups:
            name, oldest = next(iter(self._groups.items()))
            old = len(self._groups) > _SEEN_LIMIT or oldest.arrived_at < now - _REMEMBERED
            if oldest.best is not None or not old:
                return
            del self._groups[name]

    def release(self, now: float) -> list[Numbered]:
        """Telegrams whose time is over, in the order in which they came."""
        found: list[Numbered] = []
        while self._waiting and self._waiting[0].release_at <= now:
            group = self._waiting.popleft()
            best, group.best = group.best, None
            if best is not None:
                found.append(Numbered(best.number, best.entry, group.copies))
        return found
