"""Virtual time: a heap of things to do, and nodes that carry machines through it.

    kernel.call_at(when, action)      action(now) runs at that time
    node.post(event)                  the machine receives an event now; what comes out is routed;
                                      its deadline is looked after
    kernel.run(until)                 time passes

Things due at the same time run in the order in which they were asked for, so a run with the same
seed is the same run. Nothing here knows what the machines are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

from openmetering.protocol.machine import SansIO

__all__ = ["Kernel", "Node"]

In = TypeVar("In")
Out = TypeVar("Out")

Action = Callable[[float], None]


class Kernel:
    """The clock of a simulated world. ``now`` counts seconds; ``events`` counts what was done."""

    __slots__ = ("_heap", "_number", "events", "now")

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self.events = 0
        self._heap: list[tuple[float, int, Action]] = []
        self._number = 0

    def call_at(self, when: float, action: Action) -> None:
        """Run an action at a time; a time that has passed means now, behind what is due already."""
        self._number += 1
        heapq.heappush(self._heap, (max(when, self.now), self._number, action))

    @property
    def next_time(self) -> float | None:
        """When the next thing is due; None if nothing is."""
        return self._heap[0][0] if self._heap else None

    def run(self, until: float) -> None:
        """Let time pass up to and including ``until``."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, action = pop(heap)
            self.events += 1
            action(self.now)
        self.now = max(self.now, until)

    def __len__(self) -> int:
        return len(self._heap)


class Node(Generic[In, Out]):
    """A machine in the world: events in by ``post``, events out to ``route``, deadlines kept.

    One heap entry at most is alive for a node; when it comes up too early (the deadline has moved
    back meanwhile) it is put in again.
    """

    __slots__ = ("_kernel", "_wake", "machine", "route")

    def __init__(self, kernel: Kernel, machine: SansIO[In, Out], route: Callable[[Out, float], None]) -> None:
        self._kernel = kernel
        self.machine = machine
        self.route = route
        self._wake: float | None = None
        self._watch()

    def post(self, event: In) -> None:
        """The machine receives an event now."""
        now = self._kernel.now
        for out in self.machine.receive(event, now):
            self.route(out, now)
        self._watch()

    def replace(self, machine: SansIO[In, Out]) -> None:
        """Another machine takes the place (a power cut: a new one around the old memory)."""
        self.machine = machine
        self._watch()

    def _watch(self) -> None:
        deadline = self.machine.deadline
        if deadline is not None and (self._wake is None or deadline < self._wake):
            self._wake = deadline
            self._kernel.call_at(deadline, self._alarm)

    def _alarm(self, now: float) -> None:
        if self._wake is None or now < self._wake:
            return  # an older entry; a nearer one was put in later and has been served
        self._wake = None
        deadline = self.machine.deadline
        if deadline is not None and deadline <= now:
            for out in self.machine.timeout(now):
                self.route(out, now)
        self._watch()
