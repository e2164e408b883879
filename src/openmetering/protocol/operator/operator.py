"""The machine that carries a procedure to a gateway or a wired master, step by step.

    state      event      what happens                                              next
    IDLE       Start      the procedure begins                                      RUNNING
    RUNNING    Ask        Submit goes out, under the next token                     ASKING
    RUNNING    Pause      Waiting goes out, the deadline is set                     PAUSED
    RUNNING    Provide    GiveKey goes out                                          RUNNING
    RUNNING    Progress   is passed on                                              RUNNING
    RUNNING    Finished   the result goes out                                       IDLE
    RUNNING    Aborted    the error goes out                                        IDLE
    ASKING     Answered   the procedure goes on with the answer                     RUNNING
    ASKING     Failed     it goes on with ExchangeFailed                            RUNNING
    ASKING     Stop       the exchange is withdrawn, the procedure closed, Aborted  IDLE
    PAUSED     Elapsed    the pause is over                                         RUNNING
    PAUSED     Stop       the procedure is closed, Aborted                          IDLE

What the procedure yields, its end and the end of a pause are events of the machine's own; it never stays
in RUNNING. Many operators may use one gateway: each has its range of tokens. An answer under an older token
of its own belongs to an exchange that was withdrawn, and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import ExchangeFailed, OmsError
from openmetering.protocol.exchange import Answered, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.machine import Machine
from openmetering.protocol.operator.steps import Ask, Pause, Procedure, Progress, Provide

__all__ = [
    "Aborted",
    "Elapsed",
    "Finished",
    "Operator",
    "OperatorInput",
    "OperatorOutput",
    "OperatorState",
    "Start",
    "Stop",
    "Waiting",
]

TOKENS = 1 << 16  #: size of the range of an operator that is numbered


class Start(msgspec.Struct, frozen=True):
    """Into the operator: carry out a procedure."""

    procedure: Procedure[object]


class Stop(msgspec.Struct, frozen=True):
    """Into the operator: give the procedure up. What the journal holds of it stays open."""


class Elapsed(msgspec.Struct, frozen=True):
    """A pause is over; the machine tells itself."""


class Waiting(msgspec.Struct, frozen=True):
    """Out of the operator: nothing happens before ``until``, in seconds."""

    until: float


class Finished(msgspec.Struct, frozen=True):
    """Out of the operator: the procedure is done."""

    result: object


class Aborted(msgspec.Struct, frozen=True):
    """Out of the operator: the procedure ended with an error: refused, failed, or what it cannot send."""

    error: OmsError


class OperatorState(Enum):
    """``RUNNING`` is never seen from outside."""

    IDLE = "idle"
    RUNNING = "running"
    ASKING = "asking"
    PAUSED = "paused"


OperatorInput = Start | Stop | Answered | Failed
OperatorOutput = Submit | Withdraw | GiveKey | Waiting | Progress | Finished | Aborted

_Row = tuple[Callable[..., list[object]], Enum]

#: reason -> words
_REASONS = {
    "no-answer": "the device did not answer",
    "no-access": "the device never opened a window",
    "refused-link": "the device refused it at the link (NACK)",
    "busy": "the device was busy to the end",
    "security": "the answer could not be opened, or its proof or counter is wrong",
    "withdrawn": "the exchange was withdrawn",
    "not-selected": "there is no slave under this secondary address",
    "disturbed": "there are answers, but none that can be read",
    "power": "the gateway lost its power meanwhile",
}


class Operator(Machine[OperatorState]):
    """Drives one procedure at a time for one device.

    ``tokens`` the range of its exchanges; they are used in turn and begin anew at the end.
    """

    __slots__ = ("_next", "_procedure", "_token", "_tokens", "device")

    def __init__(self, device: Address, tokens: range = range(TOKENS)) -> None:
        super().__init__(OperatorState.IDLE)
        self.device = device
        self._tokens = tokens
        self._next = 0
        self._token: int | None = None
        self._procedure: Procedure[object] | None = None

    @classmethod
    def numbered(cls, device: Address, number: int) -> Operator:
        """The operator with the ``number``-th range of tokens, for several on one gateway."""
        return cls(device, range(number * TOKENS, (number + 1) * TOKENS))

    def receive(self, event: OperatorInput, now: float) -> list[OperatorOutput]:
        """Something happened. Raises ProtocolError if the state does not allow it."""
        if isinstance(event, Answered | Failed) and event.token != self._token and event.token in self._tokens:
            return []
        return self._checked(self._step(event, now))

    def timeout(self, now: float) -> list[OperatorOutput]:
        """Time has passed; does nothing before the deadline."""
        if self.deadline is None or now < self.deadline:
            return []
        return self._checked(self._step(Elapsed(), now))

    @staticmethod
    def _checked(events: list[object]) -> list[OperatorOutput]:
        return [event for event in events if isinstance(event, OperatorOutput)]

    # -- actions ------------------------------------------------------------------------------

    def _start(self, event: Start, now: float) -> list[object]:
        self._procedure = event.procedure
        return self._resume(lambda: event.procedure.send(None), now)

    def _answered(self, event: Answered, now: float) -> list[object]:
        self._token = None
        return self._go_on(event, now)

    def _failed(self, event: Failed, now: float) -> list[object]:
        self._token = None
        procedure = self._running()
        words = _REASONS.get(event.reason, event.reason)
        error = ExchangeFailed(f"{self.device}: {words}", reason=event.reason, delivered=event.delivered)
        return self._resume(lambda: procedure.throw(error), now)

    def _elapsed(self, event: Elapsed, now: float) -> list[object]:
        self.deadline = None
        return self._go_on(None, now)

    def _ask(self, event: Ask, now: float) -> list[object]:
        token = self._tokens[self._next % len(self._tokens)]
        self._next += 1
        self._token = token
        return [Submit(token, Exchange(self.device, event.command, event.answer))]

    def _pause(self, event: Pause, now: float) -> list[object]:
        self.deadline = now + event.seconds
        return [Waiting(self.deadline)]

    def _provide(self, event: Provide, now: float) -> list[object]:
        return [GiveKey(self.device, event.key, event.key_id, event.version), *self._go_on(None, now)]

    def _progress(self, event: Progress, now: float) -> list[object]:
        return [event, *self._go_on(None, now)]

    def _end(self, event: Finished | Aborted, now: float) -> list[object]:
        self._procedure = None
        return [event]

    def _stop(self, event: Stop, now: float) -> list[object]:
        self._running().close()
        self._procedure = None
        self.deadline = None
        withdrawn = [] if self._token is None else [Withdraw(self._token)]
        self._token = None
        error = ExchangeFailed(f"{self.device}: the procedure was stopped", reason="withdrawn", delivered=None)
        return [*withdrawn, Aborted(error)]

    # -- the procedure ------------------------------------------------------------------------

    def _running(self) -> Procedure[object]:
        assert self._procedure is not None  # every state but IDLE has one
        return self._procedure

    def _go_on(self, value: Answered | None, now: float) -> list[object]:
        procedure = self._running()
        return self._resume(lambda: procedure.send(value), now)

    def _resume(self, move: Callable[[], object], now: float) -> list[object]:
        """Let the procedure go on to its next step; what it yields, or its end, is the next event."""
        event: object
        try:
            event = move()
        except StopIteration as end:
            event = Finished(end.value)
        except OmsError as error:
            event = Aborted(error)
        return self._step(event, now)

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], _Row]] = {
        (OperatorState.IDLE, Start): (_start, OperatorState.RUNNING),
        (OperatorState.RUNNING, Ask): (_ask, OperatorState.ASKING),
        (OperatorState.RUNNING, Pause): (_pause, OperatorState.PAUSED),
        (OperatorState.RUNNING, Provide): (_provide, OperatorState.RUNNING),
        (OperatorState.RUNNING, Progress): (_progress, OperatorState.RUNNING),
        (OperatorState.RUNNING, Finished): (_end, OperatorState.IDLE),
        (OperatorState.RUNNING, Aborted): (_end, OperatorState.IDLE),
        (OperatorState.ASKING, Answered): (_answered, OperatorState.RUNNING),
        (OperatorState.ASKING, Failed): (_failed, OperatorState.RUNNING),
        (OperatorState.ASKING, Stop): (_stop, OperatorState.IDLE),
        (OperatorState.PAUSED, Elapsed): (_elapsed, OperatorState.RUNNING),
        (OperatorState.PAUSED, Stop): (_stop, OperatorState.IDLE),
    }
