"""A procedure and the gateway that carries it, as one machine.

Start, Stop --> operator --Submit, Withdraw, GiveKey--> gateway --Transmit, Persist, ...--> out
                operator <-----Answered, Failed-------- gateway <--what the link brings-----
                operator --Progress, Waiting, Finished, Aborted--> out
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.machine import SansIO
from openmetering.protocol.operator.operator import Operator, Start, Stop

__all__ = ["Dialogue"]

Came = TypeVar("Came")
Out = TypeVar("Out")


class Dialogue(Generic[Came, Out]):
    """One operator on one gateway. The order in which things come out is the order in which they happen."""

    __slots__ = ("gateway", "operator")

    def __init__(self, gateway: SansIO[Came | Submit | Withdraw | GiveKey, Out], operator: Operator) -> None:
        self.gateway = gateway
        self.operator = operator

    @property
    def deadline(self) -> float | None:
        """The next one of both."""
        times = [when for when in (self.gateway.deadline, self.operator.deadline) if when is not None]
        return min(times, default=None)

    def receive(self, event: Came | Start | Stop, now: float) -> list[object]:
        """Begin or give up a procedure, or something of the link. Raises what both raise."""
        if isinstance(event, Start | Stop):
            return self._settle(self.operator.receive(event, now), now)
        return self._settle(self.gateway.receive(event, now), now)

    def timeout(self, now: float) -> list[object]:
        """Time has passed; does nothing before the deadline."""
        return self._settle([*self.gateway.timeout(now), *self.operator.timeout(now)], now)

    def _settle(self, events: Iterable[object], now: float) -> list[object]:
        """Let both talk until neither has anything to say to the other."""
        out: list[object] = []
        waiting = deque(events)
        while waiting:
            event = waiting.popleft()
            if isinstance(event, Submit | Withdraw | GiveKey):
                waiting.extendleft(reversed(self.gateway.receive(event, now)))
            elif isinstance(event, Answered | Failed):
                waiting.extendleft(reversed(self.operator.receive(event, now)))
            else:
                out.append(event)
        return out
