"""From the spool to batches for the head-end: merged, thinned, settled when they arrived.

    spool --reader--> merger --released--> thinner --kept--> ready --> batch --settled--> cursor of the spool

A batch is the same until it is settled. The cursor stands in front of the oldest record that merger or thinner still hold,
so that nothing is lost with the memory of the process; what was told from behind it is told once more after a restart, and
the head-end knows it. A new outbox reads some records in front of the cursor to know copies and states, and tells
none of them again.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from openmetering.errors import InputError
from openmetering.services.gatewayd.entries import Entry, read_entry
from openmetering.services.gatewayd.merge import Merger, Numbered
from openmetering.services.gatewayd.messages import Batch, Item
from openmetering.services.gatewayd.spool import Record, Spool
from openmetering.services.gatewayd.thinning import Thinner

__all__ = ["Outbox"]

_WARM: Final = 5_000  #: records in front of the cursor that are looked at
_CHUNK: Final = 1_000


class Outbox:
    """One way up. In the thread of the spool only."""

    __slots__ = ("_batch", "_merger", "_reader", "_ready", "_spool", "_thinner", "unread")

    def __init__(self, spool: Spool, merger: Merger, thinner: Thinner) -> None:
        self._spool = spool
        self._merger = merger
        self._thinner = thinner
        self._ready: deque[Numbered] = deque()
        self._batch: Batch | None = None
        self.unread = 0  #: records that are no receptions
        self._reader = spool.reader(max(spool.first, spool.settled + 1 - _WARM))
        self._warm_up()

    def _warm_up(self) -> None:
        """Know the copies and states of what was told before, and tell nothing of it: all up to the cursor is decided."""
        settled = self._spool.settled
        while self._reader.next <= settled:
            records = self._reader.read(min(_CHUNK, settled + 1 - self._reader.next))
            if not records:
                break
            self._take(records)
        self._drain(math.inf)
        self._ready.clear()
        self._merger.merged = self._thinner.left_out = 0

    def _take(self, records: list[Record]) -> None:
        for record in records:
            entry = self._entry(record.content)
            if entry is not None:
                self._merger.push(record.number, entry)
                self._drain(entry.arrived_at)

    def _entry(self, content: bytes) -> Entry | None:
        try:
            return read_entry(content)
        except InputError:
            self.unread += 1
            return None

    def _drain(self, now: float) -> None:
        for item in self._merger.release(now):
            self._ready.extend(self._thinner.push(item))
        self._ready.extend(self._thinner.release(now))

    # -- the interface -----------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When something that is held gets ready, in the time of the gateway."""
        times = [when for when in (self._merger.deadline, self._thinner.deadline) if when is not None]
        return min(times, default=None)

    @property
    def backlog(self) -> int:
        """Records that were not looked at yet."""
        return max(0, self._spool.end - self._reader.next)

    @property
    def busy(self) -> bool:
        """True if there is something to tell now or within the time that copies are waited for. From any thread."""
        return self.backlog > 0 or bool(self._ready) or self._batch is not None or self._merger.oldest is not None

    def batch(self, limit: int, now: float) -> Batch | None:
        """What is to be told next; the same until it is settled. None if there is nothing to tell or to settle.

        Raises TransportError (``storage.failed``)
        """
        if self._batch is not None:
            return self._batch
        while len(self._ready) < limit:
            records = self._reader.read(_CHUNK)
            self._take(records)
            if not records:
                self._drain(now)
                break
        items = tuple(_item(self._ready.popleft()) for _ in range(min(limit, len(self._ready))))
        last = self._decided()
        if not items and last <= self._spool.settled:
            return None
        self._batch = Batch(self._spool.stream, last, items)
        return self._batch

    def _decided(self) -> int:
        """Up to this number everything was told, is told now, or is not to be told."""
        held = [number for number in (self._merger.oldest, self._thinner.oldest) if number is not None]
        held += [item.number for item in self._ready]
        return min(held, default=self._reader.next) - 1

    def settle(self, stream: str, number: int, now: float) -> bool:
        """The head-end has stored up to a number; tells whether that settled the batch. Raises TransportError."""
        batch = self._batch
        if batch is None or stream != batch.stream or number < batch.last:
            return False
        self._spool.settle(batch.last, now)
        self._batch = None
        return True


def _item(numbered: Numbered) -> Item:
    entry = numbered.entry
    return Item(
        numbered.number,
        entry.frame,
        entry.received_at,
        entry.source,
        entry.rssi_dbm,
        entry.rssi_raw,
        entry.mode,
        entry.frame_format,
        entry.crc,
        entry.address_hint,
        numbered.copies,
    )
