"""What every protocol machine is: a table, a state, a deadline; no clock, no line, no dice.

    TRANSITIONS = {(State.IDLE, Submit): (Session._store, State.PENDING), ...}

``receive(event, now)`` and ``timeout(now)`` return the events that come out; ``deadline`` is the
next time at which ``timeout`` wants to be called, None while nothing is due. ``now`` counts
seconds and never goes back. What an action decides is not the next state but the next event: a
machine first names what happened (an answer was the last one, an attempt was lost) and then looks
up the row, so that the table tells the whole story.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, Generic, Protocol, TypeVar

from openmetering.errors import ProtocolError

__all__ = ["Dice", "Machine", "SansIO"]

S = TypeVar("S", bound=Enum)
Input_contra = TypeVar("Input_contra", contravariant=True)
Output = TypeVar("Output")

#: a source of uniform numbers in [0, 1), given by the caller: the same numbers, the same behaviour
Dice = Callable[[], float]


class SansIO(Protocol[Input_contra, Output]):
    """The whole interface of a machine, as drivers see it."""

    @property
    def deadline(self) -> float | None:
        """When ``timeout`` is due next, in seconds; None for never."""
        ...

    def receive(self, event: Input_contra, now: float) -> list[Output]:
        """Something happened. Raises ProtocolError if the state does not allow it."""
        ...

    def timeout(self, now: float) -> list[Output]:
        """Time has passed; does nothing before the deadline."""
        ...


class Machine(Generic[S]):
    """Base of the machines with a transition table: looks up the row, changes the state, runs the action."""

    __slots__ = ("deadline", "state")

    #: (state, type of event) -> (action, next state); what is not here is a ProtocolError
    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {}

    state: S
    deadline: float | None

    def __init__(self, start: S) -> None:
        self.state = start
        self.deadline = None

    def _step(self, event: object, now: float) -> list[object]:
        """One row of the table. The state has changed before the action runs."""
        row = self.TRANSITIONS.get((self.state, type(event)))
        if row is None:
            raise ProtocolError(self.state.name, type(event).__name__)
        action, self.state = row  # type: ignore[assignment]
        return action(self, event, now)
