"""What the wired master does in each row of its table: the frames it sends, what it remembers, what it tells.

The table itself and the naming of what comes over the line stand in ``wired_master``.
Source: as there.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from openmetering.codec.address import Selection
from openmetering.codec.link.wired import BROADCAST, SELECTED, WiredFrame
from openmetering.protocol.machine import Machine
from openmetering.protocol.wired import steps as on
from openmetering.protocol.wired.frames import RATES, REQ_UD1, REQ_UD2, SELECT, SND_NKE, SND_UD, SND_UD2, FrameCount, more_follows
from openmetering.protocol.wired.line import Line
from openmetering.protocol.wired.orders import (
    AnswerReceived,
    BaudSet,
    Deselect,
    Order,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    Reason,
    SelectSecondary,
    SetBaud,
    Target,
    Transact,
    TransactionDone,
    TransactionFailed,
    UseBaud,
)
from openmetering.protocol.wired.plan import leaves, names_one, primary_address, target_of
from openmetering.protocol.wired.steps import State
from openmetering.protocol.wired.timing import LineRate, LineTiming

__all__ = ["MasterActions"]


class MasterActions(Machine[State]):
    """The memory of a master and its actions: frame count bits of every address, which slave is selected, one order."""

    __slots__ = ("_attempt", "_counts", "_delivered", "_frames", "_held", "_line", "_more", "_nobody", "_old_baud",
                 "_order", "_repeated", "_selection", "_step_name", "attempts", "limit")  # fmt: skip

    def __init__(
        self,
        timing: LineTiming | None = None,
        *,
        attempts: int = 3,
        limit: int = 64,
        more: Callable[[bytes], bool] = more_follows,
    ) -> None:
        super().__init__(State.IDLE)
        self.attempts = attempts
        self.limit = limit
        self._line = Line(timing or LineTiming())
        self._more = more
        self._counts: dict[int, FrameCount] = {}
        self._held: Selection | None = None
        self._nobody = False
        self._order: Order = Deselect()
        self._selection: Selection | None = None
        self._frames: list[bytes] = []
        self._delivered: bool | None = False
        self._attempt = 0
        self._repeated = False
        self._step_name = ""
        self._old_baud = self._line.timing.baud

    @property
    def timing(self) -> LineTiming:
        """The times of the line at its present rate."""
        return self._line.timing

    @property
    def baud(self) -> int:
        """The present rate of the line, bit/s."""
        return self._line.timing.baud

    # -- the table's machinery -----------------------------------------------------------------

    @property
    def _target(self) -> Target:
        return target_of(self._order)

    @property
    def _address(self) -> int:
        return primary_address(self._order)

    @property
    def _reading(self) -> bool:
        return isinstance(self._order, ReadPrimary | ReadSecondary)

    @property
    def _enhanced(self) -> Selection | None:
        """The selection with the fabrication number, if the order has one that was not used yet."""
        order = self._order
        return order.selection if isinstance(order, SelectSecondary) and self._selection != order.selection else None

    @property
    def _separating(self) -> bool:
        """True while a plain selection is tried first: a second slave may answer behind the first one."""
        return self._enhanced is not None and self.state in _SEPARATES

    @property
    def _count(self) -> FrameCount:
        return self._counts.setdefault(self._address, FrameCount())

    def _step(self, event: object, now: float) -> list[object]:
        out = super()._step(event, now)
        if self.state is State.IDLE:
            self._line.close()
        self.deadline = self._line.deadline
        return out

    def _ask_line(self, frame: WiredFrame, now: float, step: str, *, wait: float | None = None) -> list[object]:
        self._attempt, self._step_name = 1, step
        return [self._line.send(frame.encode(), now, wait=wait, hold=self._separating)]

    # -- actions: what must come first -----------------------------------------------------------

    def _accept(self, order: Order, now: float) -> list[object]:
        self._order, self._frames, self._delivered, self._repeated = order, [], False, False
        target = self._target
        self._selection = target.selection if isinstance(target, ReadSecondary) else None
        if isinstance(order, SelectSecondary) and names_one(order.selection):
            self._selection = Selection(order.selection.pattern, None, order.selection.more)
        return self._step(self._first_need(), now)

    def _first_need(self) -> object:
        address = self._address
        if address == BROADCAST:
            return on.ForAll()
        if address != SELECTED:
            reset = self._reading or (isinstance(self._order, Transact) and self._order.kind == "SND-NKE")
            return on.NeedsReset() if reset or address not in self._counts else on.Addressed()
        if leaves(self._order) and not self._reading:
            return on.Addressed()
        if not self._reading and self._held is not None and self._held == self._selection:
            return on.Addressed()
        return on.NeedsSelection() if self._nobody else on.NeedsDeselection()

    def _reset(self, event: object, now: float) -> list[object]:
        self._counts[self._address] = FrameCount()
        return self._ask_line(WiredFrame.short(SND_NKE, self._address), now, "reset")

    def _deselect(self, event: object, now: float) -> list[object]:
        self._held = None
        return self._ask_line(WiredFrame.short(SND_NKE, SELECTED), now, "select")

    def _select(self, event: object, now: float) -> list[object]:
        assert self._selection is not None
        self._held, self._nobody = None, False
        self._counts[SELECTED] = FrameCount()
        return self._ask_line(WiredFrame.long(SND_UD, SELECTED, bytes((SELECT,)) + self._selection.encode()), now, "select")

    def _enhance(self, event: object, now: float) -> list[object]:
        self._selection = self._enhanced
        self._line.rest(now)
        return self._select(event, now)

    def _tell_all(self, event: object, now: float) -> list[object]:
        """One frame to 255: nobody answers, so it is sent once and has no frame count."""
        order = self._order
        frame = WiredFrame.short(SND_NKE, BROADCAST)
        if isinstance(order, SetBaud):
            frame = WiredFrame.long(SND_UD, BROADCAST, bytes((RATES[order.baud],)))
        elif isinstance(order, Transact) and order.data is not None:
            count = self._count
            frame = WiredFrame.long(count.sending(SND_UD), BROADCAST, order.data)
            count.sent()
            self._delivered = None
        else:
            self._counts.clear()
        return self._ask_line(frame, now, "send")

    def _told(self, event: object, now: float) -> list[object]:
        order = self._order
        changed: list[object] = self._change_rate(order.baud, now) if isinstance(order, SetBaud) else []
        return changed + self._step(on.Complete(), now)

    # -- actions: the slave is reached ------------------------------------------------------------

    def _reached(self, event: object, now: float) -> list[object]:
        if self._address == SELECTED and self._selection is not None:
            self._held, self._nobody = self._selection, False
        return self._step(self._next_need(), now)

    def _next_need(self) -> object:
        order = self._order
        if isinstance(order, Transact):
            return _FIRST[order.kind]()
        if isinstance(order, SelectSecondary):
            return on.ToProbe() if self._enhanced is not None else on.Complete()
        return {SetBaud: on.ToSwitch, Deselect: on.Complete}.get(type(order), on.ToAsk)()

    def _command(self, control: int, now: float) -> list[object]:
        assert isinstance(self._order, Transact)
        assert self._order.data is not None
        self._delivered = None
        return self._ask_line(WiredFrame.long(control, self._address, self._order.data), now, "send")

    def _send(self, event: object, now: float) -> list[object]:
        return self._command(self._count.sending(SND_UD), now)

    def _exchange(self, event: object, now: float) -> list[object]:
        return self._command(SND_UD2, now)

    def _request(self, now: float, step: str) -> list[object]:
        control = self._count.requesting(REQ_UD2)
        data = self._order.data if isinstance(self._order, Transact) and self._order.kind == "REQ-UD2" else None
        short = data is None
        frame = WiredFrame.short(control, self._address) if short else WiredFrame.long(control, self._address, data or b"")
        return self._ask_line(frame, now, step)

    def _ask(self, event: object, now: float) -> list[object]:
        return self._request(now, "request")

    def _probe(self, event: object, now: float) -> list[object]:
        return self._request(now, "request")

    def _alarm(self, event: object, now: float) -> list[object]:
        assert isinstance(self._order, Transact)
        wait = self.timing.quick if self._order.quick else None
        return self._ask_line(WiredFrame.short(self._count.requesting(REQ_UD1), self._address), now, "alarm", wait=wait)

    def _delivered_now(self, event: object, now: float) -> list[object]:
        self._count.sent()
        self._delivered = True
        assert isinstance(self._order, Transact)
        return self._step(on.ToAsk() if self._order.answer else on.Complete(), now)

    def _acknowledged_only(self, event: object, now: float) -> list[object]:
        """SND-UD2 that was acknowledged: the message is not known, or was carried out as SND-UD."""
        self._delivered = True
        return self._step(on.Complete(), now)

    def _no_data(self, event: object, now: float) -> list[object]:
        self._count.requested()
        return self._step(on.Complete(), now)

    # -- actions: answers ---------------------------------------------------------------------------

    def _deliver(self, frame: bytes, *, last: bool) -> list[object]:
        self._frames.append(frame)
        if self._delivered is None:
            self._delivered = True  # SND-UD2 has no frame count
        else:
            self._count.requested()
        return [AnswerReceived(self._target, frame, len(self._frames) - 1, last)] if self._reading else []

    def _next(self, event: on.AnswerMore, now: float) -> list[object]:
        return [*self._deliver(event.frame, last=False), *self._ask(event, now)]

    def _last(self, event: on.AnswerLast, now: float) -> list[object]:
        return [*self._deliver(event.frame, last=True), *self._step(on.Complete(), now)]

    def _endless(self, event: on.AnswerEndless, now: float) -> list[object]:
        return [*self._deliver(event.frame, last=False), self._failure("endless", "request")]

    # -- actions: rates --------------------------------------------------------------------------------

    def _change_rate(self, baud: int, now: float) -> list[object]:
        self._line.timing = msgspec.structs.replace(self._line.timing, baud=baud)
        self._line.rest(now)
        return [LineRate(baud)]

    def _use_baud(self, event: UseBaud, now: float) -> list[object]:
        return self._change_rate(event.baud, now)

    def _switch(self, event: object, now: float) -> list[object]:
        assert isinstance(self._order, SetBaud)
        self._old_baud, self._delivered = self.baud, None
        data = bytes((RATES[self._order.baud],))
        return self._ask_line(WiredFrame.long(self._count.sending(SND_UD), self._address, data), now, "rate")

    def _switched(self, event: object, now: float) -> list[object]:
        """E5, or none: then it may have been lost and only the new rate can tell."""
        assert isinstance(self._order, SetBaud)
        self._count.sent()
        self._delivered = True if isinstance(event, on.Acknowledged) else None
        return [*self._change_rate(self._order.baud, now), *self._request(now, "rate")]

    def _verified(self, event: object, now: float) -> list[object]:
        self._count.requested()
        return self._step(on.Complete(), now)

    def _restore(self, event: object, now: float) -> list[object]:
        return [*self._change_rate(self._old_baud, now), *self._request(now, "rate")]

    def _rate_refused(self, event: object, now: float) -> list[object]:
        self._forget()
        return [self._failure("rate-refused", "rate")]

    # -- actions: repetition and end ------------------------------------------------------------------

    def _repeat(self, event: on.AttemptLost, now: float) -> list[object]:
        self._attempt += 1
        self._repeated |= self._step_name == "send"
        self._line.rest(now)
        return [self._line.send(self._line.request, now, hold=self._separating)]

    def _lose(self, event: on.AttemptsLost, now: float) -> list[object]:
        self._line.rest(now)
        reason: Reason = "not-selected" if self._step_name == "select" else "no-answer"
        failure = self._failure("disturbed" if event.disturbed else reason, self._step_name)
        self._forget()
        return [failure]

    def _abort(self, event: object, now: float) -> list[object]:
        self._line.rest(now, self.timing.silence)
        failure = self._failure("aborted", "abort")
        self._forget()
        return [failure]

    def _forget(self) -> None:
        """What the slave has understood is not known: it is reset or selected anew before the next order."""
        self._counts.pop(self._address, None)
        if self._address == SELECTED:
            self._held, self._nobody = None, False

    def _failure(self, reason: Reason, step: str) -> object:
        if self._reading:
            return ReadoutFailed(self._target, reason, step, len(self._frames))
        return TransactionFailed(self._target, reason, step, self._delivered)

    def _end(self, event: object, now: float) -> list[object]:
        return self._step(on.ToLeave() if leaves(self._order) else on.Settled(), now)

    def _leave(self, event: object, now: float) -> list[object]:
        self._held, self._nobody = None, False
        return self._ask_line(WiredFrame.short(SND_NKE, SELECTED), now, "leave")

    def _left(self, event: object, now: float) -> list[object]:
        """E5, or silence after all attempts: then nobody was selected, as far as can be told."""
        self._nobody = isinstance(event, on.Acknowledged)
        if not self._nobody:
            self._line.rest(now)
        return self._settle(event, now)

    def _settle(self, event: object, now: float) -> list[object]:
        if self._reading:
            return [ReadoutDone(self._target, len(self._frames))]
        if isinstance(self._order, SetBaud):
            return [BaudSet(self._target, self._order.baud)]
        selection = self._selection if self._held is not None else None
        return [TransactionDone(self._target, tuple(self._frames), selection, self._repeated)]


_FIRST: dict[str, type] = {
    "SND-UD": on.ToSend, "SND-UD2": on.ToExchange, "REQ-UD2": on.ToAsk, "REQ-UD1": on.ToAlarm, "SND-NKE": on.Complete,
}  # fmt: skip
_SEPARATES = frozenset((State.SELECTING, State.PROBING))
