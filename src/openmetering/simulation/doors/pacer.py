"""How fast virtual time passes while doors are open.

    speed 1         a virtual second takes a second (2: half a second, ...)
    AT_ONCE         as fast as it can; doors may hold it up (no listener yet, a slow reader)
    ON_REQUEST      time stands still until a door allows it to pass, then it jumps: a master gets its
                    answer at once, and the world is never ahead of who watches it

The kernel runs in the task of ``run`` only.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable

from openmetering.simulation.kernel import Kernel

__all__ = ["AT_ONCE", "ON_REQUEST", "Pacer"]

AT_ONCE = math.inf
ON_REQUEST = 0.0
_SLICE = 0.005  #: real seconds of work before others get their turn
_REST = 0.25  #: real seconds after which a paced world is looked after, even if nothing is due

Gate = Callable[[], Awaitable[None]]


class Pacer:
    """Lets the time of a kernel pass: ``speed`` virtual seconds for a real one, AT_ONCE, or ON_REQUEST."""

    def __init__(self, kernel: Kernel, speed: float = 1.0) -> None:
        if speed < 0 or math.isnan(speed):
            raise ValueError(f"time does not go back: speed {speed:g}")
        self.kernel = kernel
        self.speed = speed
        self._gates: list[Gate] = []
        self._poked = asyncio.Event()
        self._allowed = kernel.now
        self._actions: list[Callable[[], None]] = []

    # -- for doors -----------------------------------------------------------------------------

    def do(self, action: Callable[[], None]) -> None:
        """Something from outside happens now: ``action`` runs in the task of the pacer, when time has come up to now."""
        self._actions.append(action)
        self._poked.set()

    def allow(self, until: float) -> None:
        """Time may pass up to a virtual time (ON_REQUEST)."""
        self._allowed = max(self._allowed, until)
        self._poked.set()

    def hold(self, gate: Gate) -> Callable[[], None]:
        """AT_ONCE: wait for ``gate`` before time goes on; returns how to take the gate away."""
        self._gates.append(gate)
        return lambda: self._gates.remove(gate)

    # -- the task ------------------------------------------------------------------------------

    async def run(self, until: float | None = None) -> None:
        """Let time pass up to a virtual time, or until cancelled. Raises what the machines in the world raise."""
        end = math.inf if until is None else until
        await {AT_ONCE: self._at_once, ON_REQUEST: self._on_request}.get(self.speed, self._paced)(end)

    def _act(self) -> None:
        actions, self._actions = self._actions, []
        for action in actions:
            action()

    async def _wait(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._poked.wait(), seconds)
        self._poked.clear()

    async def _paced(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        real, virtual = loop.time(), self.kernel.now
        while True:
            self.kernel.run(min(end, virtual + (loop.time() - real) * self.speed))
            self._act()
            if self.kernel.now >= end:
                return
            due = self.kernel.next_time
            target = min(end, math.inf if due is None else due)
            pause = real + (target - virtual) / self.speed - loop.time()
            await self._wait(max(0.0, min(pause, _REST)))

    async def _at_once(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for gate in tuple(self._gates):
                await gate()
            self._act()
            stop = loop.time() + _SLICE
            while (due := self.kernel.next_time) is not None and due <= end and loop.time() < stop:
                self.kernel.run(due)
            due = self.kernel.next_time
            if due is not None and due <= end:
                await asyncio.sleep(0)
            elif end < math.inf:
                self.kernel.run(end)
                return
            else:
                await self._wait(None)

    async def _on_request(self, end: float) -> None:
        while True:
            self._act()
            while self.kernel.now < (target := min(self._allowed, end)):
                self.kernel.run(target)
            if self.kernel.now >= end:
                return
            await self._wait(None)
