"""An ordered end: what SIGTERM and SIGINT do to a running service.

    with stopped_by_signals(stop):          in an event loop: calls ``stop``
    with Ending() as ending:                in the main thread of a program without one
        prepare()                           broken off by a signal, in order
        ending.awaited()                    from here on a signal only makes ``wanted`` true
        ending.wait()

A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

__all__ = ["Ending", "stopped_by_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first signal; a second one ends the process as if nobody listened.

    Where the loop takes no signals (Windows, other threads) nothing changes.
    """
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        stop()

    for number in _SIGNALS:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(number)


class Ending:
    """SIGTERM and SIGINT of a program while it is entered. Before ``awaited`` they raise SystemExit (128 + number)."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._awaited = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._first) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def wanted(self) -> bool:
        """Whether a signal came."""
        return self._wanted.is_set()

    def awaited(self) -> None:
        """From here on the program looks for the end itself."""
        self._awaited = True

    def wait(self) -> None:
        """Until a signal comes."""
        while not self._wanted.wait(1.0):
            pass

    def _first(self, number: int, frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, _at_once)
        self._wanted.set()
        if not self._awaited:
            raise SystemExit(128 + number)


def _at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
