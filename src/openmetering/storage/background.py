"""Results written by a thread of its own, while the next batch is received, stored raw and decoded.

Raw frames are safe already, so nobody has to wait for the results: what was not written when a process ends is still
``pending`` in the store. It pays where the database is another process (PostgreSQL): both work at the same time.
In SQLite there is one writer at a time, and results are written at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from openmetering.storage.repository import Store
from openmetering.storage.results import Decoded

__all__ = ["BackgroundRecorder"]


class BackgroundRecorder:
    """Writes results into ``store``, which nobody else may use meanwhile: open another one for the frames.

    At most ``depth`` batches wait; ``record`` then waits for the oldest. An error of a batch is raised by the next
    ``record`` or by ``wait``; its frames stay pending, and ``Store.catch_up`` takes them up again.
    """

    __slots__ = ("_depth", "_readings", "_store", "_waiting", "_worker")

    def __init__(self, store: Store, depth: int = 2) -> None:
        self._store = store
        self._depth = depth
        self._worker = ThreadPoolExecutor(1, "openmetering-results") if store.kind == "postgresql" else None
        self._waiting: deque[Future[int]] = deque()
        self._readings = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def record(self, results: Sequence[Decoded]) -> None:
        """Write results soon. Raises TransportError (``storage.failed``), that of an earlier batch included"""
        if self._worker is None:
            self._readings += self._store.record(results)
            return
        while len(self._waiting) >= self._depth:
            self._readings += self._waiting.popleft().result()
        self._waiting.append(self._worker.submit(self._store.record, list(results)))

    def wait(self) -> int:
        """Wait until everything is written; returns how many readings so far. Raises TransportError (``storage.failed``)"""
        while self._waiting:
            self._readings += self._waiting.popleft().result()
        return self._readings

    def close(self) -> None:
        """Write what waits and end the thread; the store stays open."""
        try:
            self.wait()
        finally:
            if self._worker is not None:
                self._worker.shutdown()
