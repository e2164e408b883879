"""The wired master: readouts, sequences of Annex M, selection and rates of slaves on one line.

    IDLE          --any order-->         ORDERED        decides what must come first
    ORDERED       --NeedsReset-->        RESETTING      SND-NKE to the address
    ORDERED       --NeedsDeselection-->  DESELECTING    SND-NKE to 253; every outcome goes on
    ORDERED       --NeedsSelection-->    SELECTING      SND-UD to 253, CI 52 and the selection
    ORDERED       --ForAll-->            BROADCASTING   one frame to 255, no answer
    ORDERED, RESETTING, SELECTING -->    REACHED        the slave is there and the frame count bits are known
    REACHED       --ToSend-->            SENDING        SND-UD; E5 leads back to REACHED
    REACHED       --ToExchange-->        EXCHANGING     SND-UD2
    REACHED       --ToAsk-->             REQUESTING     REQ-UD2, the other FCB after every answer
    REACHED       --ToAlarm-->           ALARMING       REQ-UD1
    REACHED       --ToProbe-->           PROBING        REQ-UD2: does the plain selection separate?
    REACHED       --ToSwitch-->          SWITCHING      control frame with CI B8..BF at the old rate
    SWITCHING     -->                    VERIFYING      REQ-UD2 at the new rate, else RESTORING at the old one
    REACHED, ... --Complete-->           ENDING         result, or LEAVING with SND-NKE to 253 before it

ORDERED, REACHED and ENDING are passed in no time. A request that gets no answer, or a disturbed one, goes out again
with the same FCB: three attempts in all. REQ and SND have their own frame count bit for every address; an address
that is new, or that did not answer, is reset first. Times count in bits of the line.
Source: EN 13757-2 and EN 60870-5-2, clauses to confirm; The M-Bus: A Documentation, Rev. 4.8; OMS Volume 2 Annex M
release C Table M.1, Annex P release C (P-15 to P-20).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, cast

from openmetering.codec.link.wired import SELECTED, TEST, WiredFrame
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.wired import steps as on
from openmetering.protocol.wired.actions import MasterActions
from openmetering.protocol.wired.frames import more_follows
from openmetering.protocol.wired.line import Answer
from openmetering.protocol.wired.orders import (
    Abort,
    AnswerReceived,
    BaudSet,
    Deselect,
    InEvent,
    OutEvent,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    SelectSecondary,
    SetBaud,
    Target,
    Transact,
    TransactionDone,
    TransactionFailed,
    Unsolicited,
    UseBaud,
)
from openmetering.protocol.wired.plan import check
from openmetering.protocol.wired.steps import State
from openmetering.protocol.wired.timing import LineRate, LineTiming

__all__ = ["TRANSITIONS", "Abort", "AnswerReceived", "BaudSet", "Deselect", "InEvent", "LineRate", "LineTiming", "Octets",
           "OutEvent", "ReadPrimary", "ReadSecondary", "ReadoutDone", "ReadoutFailed", "SelectSecondary", "SetBaud", "State",
           "Target", "Transact", "TransactionDone", "TransactionFailed", "Transmit", "Unsolicited", "UseBaud", "WiredMaster",
           "more_follows"]  # fmt: skip


class WiredMaster(MasterActions):
    """One order at a time; knows the frame count bits of every address and which slave is selected.

    ``more`` decides from an answer whether to ask again; ``attempts`` counts the first one;
    ``limit`` ends a readout of a slave that never stops saying more.
    """

    __slots__ = ()

    TRANSITIONS: ClassVar[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {}

    # -- the interface -----------------------------------------------------------------------

    def receive(self, event: InEvent, now: float) -> list[OutEvent]:
        """An order, or octets of the line.

        Raises   ProtocolError if the state does not allow the order or it makes no sense; OutOfRange or
                 NotRepresentable if it does not fit a frame
        """
        if isinstance(event, Octets):
            return self._octets(event, now)
        if self.state is State.IDLE and not isinstance(event, UseBaud | Abort):
            check(event)
        return cast("list[OutEvent]", self._step(event, now))

    def timeout(self, now: float) -> list[OutEvent]:
        """The deadline is reached: the answer is complete, disturbed, or did not come."""
        if self.deadline is None or now < self.deadline:
            return []
        found = self._name(self._line.final()) or self._nothing()
        return cast("list[OutEvent]", self._step(found, now))

    def fcb(self, address: int, *, send: bool = False) -> bool:
        """The FCB of the next REQ (or SND) to an address; True after SND-NKE."""
        count = self._counts.get(address)
        return True if count is None else count.send if send else count.request

    # -- what came -----------------------------------------------------------------------------

    def _octets(self, event: Octets, now: float) -> list[OutEvent]:
        if self.state is State.IDLE:
            return [Unsolicited(event.octets)] if event.octets else []
        if not self._line.hear(event, now):
            return []
        answer = self._line.complete()
        found = None if answer is None else self._name([answer])
        if found is not None:
            return cast("list[OutEvent]", self._step(found, now))
        self.deadline = self._line.deadline
        return []

    def _name(self, answers: list[Answer]) -> object | None:
        """The event of the answers that were found; None if none of them is one in this state."""
        if self._separating and not (len(answers) == 1 and answers[0].alone):
            return None
        for answer in answers:
            if answer.acknowledged:
                return on.Acknowledged() if self.state is not State.BROADCASTING else None
            if self.state in _TAKES_FRAMES and self._fits(answer.frame):
                if not self._more(answer.octets):
                    return on.AnswerLast(answer.octets)
                enough = len(self._frames) + 1 >= self.limit and self.state in _COLLECTS
                return on.AnswerEndless(answer.octets) if enough else on.AnswerMore(answer.octets)
        return None

    def _nothing(self) -> object:
        if self.state is State.BROADCASTING:
            return on.Elapsed()
        disturbed = self._line.touched
        if disturbed and self._separating:
            return on.PlainFails()
        quick = isinstance(self._order, Transact) and self._order.quick
        return (on.AttemptLost if self._attempt < self.attempts and not quick else on.AttemptsLost)(disturbed)

    def _fits(self, frame: WiredFrame) -> bool:
        """True for an RSP-UD of the slave that was asked; 253 and 254 answer with their own address."""
        asked = self._address
        return bool(frame.control & 0x4F == 0x08) and (asked in (SELECTED, TEST) or frame.address == asked)


_ORDERS = (ReadPrimary, ReadSecondary, Transact, SelectSecondary, Deselect, SetBaud)
_TAKES_FRAMES = frozenset((State.EXCHANGING, State.REQUESTING, State.ALARMING, State.PROBING, State.VERIFYING, State.RESTORING))
_COLLECTS = frozenset((State.EXCHANGING, State.REQUESTING))
_WAITS = (State.RESETTING, State.DESELECTING, State.SELECTING, State.BROADCASTING, State.SENDING, State.EXCHANGING,
          State.REQUESTING, State.ALARMING, State.PROBING, State.SWITCHING, State.VERIFYING, State.RESTORING,
          State.LEAVING)  # fmt: skip
_REPEATS = tuple(state for state in _WAITS if state not in (State.DESELECTING, State.BROADCASTING))
_M = WiredMaster

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]] = {
    **{(State.IDLE, order): (_M._accept, State.ORDERED) for order in _ORDERS},
    (State.IDLE, UseBaud): (_M._use_baud, State.IDLE),
    **{(state, on.AttemptLost): (_M._repeat, state) for state in _REPEATS},
    **{(state, on.AttemptsLost): (_M._lose, State.IDLE) for state in _REPEATS},
    **{(state, Abort): (_M._abort, State.IDLE) for state in _WAITS},
    (State.ORDERED, on.NeedsReset): (_M._reset, State.RESETTING),
    (State.ORDERED, on.NeedsDeselection): (_M._deselect, State.DESELECTING),
    (State.ORDERED, on.NeedsSelection): (_M._select, State.SELECTING),
    (State.ORDERED, on.ForAll): (_M._tell_all, State.BROADCASTING),
    (State.ORDERED, on.Addressed): (_M._reached, State.REACHED),
    (State.RESETTING, on.Acknowledged): (_M._reached, State.REACHED),
    # nobody answers SND-NKE to 253 unless a slave was selected: every outcome goes on
    (State.DESELECTING, on.Acknowledged): (_M._select, State.SELECTING),
    (State.DESELECTING, on.AttemptLost): (_M._select, State.SELECTING),
    (State.DESELECTING, on.AttemptsLost): (_M._select, State.SELECTING),
    (State.SELECTING, on.Acknowledged): (_M._reached, State.REACHED),
    (State.SELECTING, on.PlainFails): (_M._enhance, State.SELECTING),
    (State.BROADCASTING, on.Elapsed): (_M._told, State.REACHED),
    (State.REACHED, on.ToSend): (_M._send, State.SENDING),
    (State.REACHED, on.ToExchange): (_M._exchange, State.EXCHANGING),
    (State.REACHED, on.ToAsk): (_M._ask, State.REQUESTING),
    (State.REACHED, on.ToAlarm): (_M._alarm, State.ALARMING),
    (State.REACHED, on.ToProbe): (_M._probe, State.PROBING),
    (State.REACHED, on.ToSwitch): (_M._switch, State.SWITCHING),
    (State.REACHED, on.Complete): (_M._end, State.ENDING),
    (State.SENDING, on.Acknowledged): (_M._delivered_now, State.REACHED),
    (State.EXCHANGING, on.Acknowledged): (_M._acknowledged_only, State.REACHED),
    (State.EXCHANGING, on.AnswerMore): (_M._next, State.REQUESTING),
    (State.EXCHANGING, on.AnswerLast): (_M._last, State.REACHED),
    (State.EXCHANGING, on.AnswerEndless): (_M._endless, State.IDLE),
    (State.REQUESTING, on.Acknowledged): (_M._no_data, State.REACHED),
    (State.REQUESTING, on.AnswerMore): (_M._next, State.REQUESTING),
    (State.REQUESTING, on.AnswerLast): (_M._last, State.REACHED),
    (State.REQUESTING, on.AnswerEndless): (_M._endless, State.IDLE),
    (State.ALARMING, on.Acknowledged): (_M._no_data, State.REACHED),
    (State.ALARMING, on.AnswerMore): (_M._last, State.REACHED),
    (State.ALARMING, on.AnswerLast): (_M._last, State.REACHED),
    (State.PROBING, on.Acknowledged): (_M._verified, State.REACHED),
    (State.PROBING, on.AnswerMore): (_M._verified, State.REACHED),
    (State.PROBING, on.AnswerLast): (_M._verified, State.REACHED),
    (State.PROBING, on.PlainFails): (_M._enhance, State.SELECTING),
    (State.SWITCHING, on.Acknowledged): (_M._switched, State.VERIFYING),
    (State.SWITCHING, on.AttemptsLost): (_M._switched, State.VERIFYING),
    (State.VERIFYING, on.Acknowledged): (_M._verified, State.REACHED),
    (State.VERIFYING, on.AnswerMore): (_M._verified, State.REACHED),
    (State.VERIFYING, on.AnswerLast): (_M._verified, State.REACHED),
    (State.VERIFYING, on.AttemptsLost): (_M._restore, State.RESTORING),
    (State.RESTORING, on.Acknowledged): (_M._rate_refused, State.IDLE),
    (State.RESTORING, on.AnswerMore): (_M._rate_refused, State.IDLE),
    (State.RESTORING, on.AnswerLast): (_M._rate_refused, State.IDLE),
    (State.ENDING, on.ToLeave): (_M._leave, State.LEAVING),
    (State.ENDING, on.Settled): (_M._settle, State.IDLE),
    (State.LEAVING, on.Acknowledged): (_M._left, State.IDLE),
    (State.LEAVING, on.AttemptsLost): (_M._left, State.IDLE),
}
WiredMaster.TRANSITIONS = TRANSITIONS
