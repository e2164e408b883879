"""An event loop in a thread of its own, for what is asynchronous beside everything that is not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

__all__ = ["Background"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Background:
    """Runs coroutines. ``start`` before anything else; ``stop`` cancels what has not ended."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, name: str, work: Callable[[], Coroutine[Any, Any, _T]]) -> Future[_T]:
        """Run something from now on; a fault it ends with is logged."""

        async def begin() -> _T:
            return await work()

        future = asyncio.run_coroutine_threadsafe(begin(), self._loop)
        future.add_done_callback(lambda ended: _look(name, ended))
        return future

    def call(self, action: Callable[[], object]) -> None:
        """Call something in the loop."""
        self._loop.call_soon_threadsafe(action)

    def stop(self, seconds: float = 10.0) -> None:
        """End what runs. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(seconds)


def _look(name: str, ended: Future[Any]) -> None:
    try:
        error = ended.exception()
    except CancelledError:
        return
    if error is not None:
        _log.error("%s has ended: %s", name, error, exc_info=error)
