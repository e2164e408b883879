"""A session of a gateway with one device: windows, commands, answers, and the end.

    IDLE       nothing to do, the device goes its own way
    WAITING    something is to be sent; waits for a window of the device
    ASKED      it was sent; waits for the answer, and for windows to send it again
    PAUSING    the device is busy; it will be asked again
    LINGERING  nothing more to send; the session is still open
    CLOSING    SND-NKE was sent; if the device goes on repeating its answer, it is sent again

    IDLE ---Queued---> WAITING ---Chance---> ASKED ---Confirmed, WholeCame---> LINGERING ---Elapsed---> CLOSING
                          ^                    |  \\__Chance (again)__/             |                       |
                          +---PartTaken, Accepted, Unsupported, PartCame, Doubted   +---Queued---> WAITING  +-> IDLE

What is heard of the device becomes the event of a row: the session says what it means (``_name``) and looks the
row up. A datagram is repeated by the rules of Annex I (``collision``) as long as the device cannot carry it out
twice: within its frequent access cycle it knows the access number; later a message counter it has not reached
yet shows that it did not get the command. Where neither holds, the exchange ends as "nobody knows".

Source: OMS Volume 2 5.0.1 clauses 5 and 7, Annex I; Annex M release C Table M.1, M.1.4, M.1.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from openmetering.errors import EncodeError, SecurityError
from openmetering.protocol.events import Transmit
from openmetering.protocol.exchange import Answered, Exchange, Failed, Failure
from openmetering.protocol.gateway.access import AT_ONCE, AccessNumbers, Transmitter, Window, airtime, window_after
from openmetering.protocol.gateway.collision import Advice, Avoidance, Incident
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig
from openmetering.protocol.gateway.frames import Glance, level
from openmetering.protocol.gateway.partner_security import Opened, PartnerSecurity, application_octets, protocol_of
from openmetering.protocol.gateway.session_events import (
    Accepted,
    AcceptedBusy,
    Cancelled,
    Chance,
    Confirmed,
    Doubted,
    Elapsed,
    Event,
    GivenUp,
    PartCame,
    PartTaken,
    Queued,
    Quiet,
    Refused,
    Repeated,
    State,
    Unsupported,
    WholeCame,
)
from openmetering.protocol.gateway.session_order import ALIVE, ANSWER_KEPT, Datagram, DatagramMaker, Order
from openmetering.protocol.machine import Dice, Machine
from openmetering.protocol.radio.datagram import ACK, HOP, NACK, RSP_UD

__all__ = ["TRANSITIONS", "Session", "SessionOutput", "State"]

SessionOutput = Transmit | Answered | Failed

_DOUBTS: Final = 3  #: answers that cannot be proven, before the exchange fails
_RETRY: Final = 3.0  #: seconds until a device that listens all the time is asked again; up to two thirds more at random
_OVER: Final = 35.0  #: seconds of silence after which the frequent access cycle is over: longest t_TO (clause to confirm)
_BUSY = 1
_STATUS: Final = 3


class Session(Machine[State]):
    """One device, one order at a time.

    ``snd_ud2`` is False once the device has shown that it does not know SND-UD2. ``unsaved`` turns True when an
    order came, left or was sent for the first time.
    """

    __slots__ = ("_avoidance", "_config", "_datagram", "_dice", "_expires", "_gateway", "_maker", "_numbers", "_open", "_order",
                 "_queue", "_quiet_until", "_retry_at", "_security", "_status", "_transmitter", "_window", "link", "listening",
                 "snd_ud2", "unsaved")  # fmt: skip

    def __init__(
        self,
        link: DeviceLink,
        config: GatewayConfig,
        security: PartnerSecurity,
        numbers: AccessNumbers,
        transmitter: Transmitter,
        dice: Dice,
    ) -> None:
        super().__init__(State.IDLE)
        self.link = link
        self.listening = False  #: B,A = 11 in the last datagram
        self.snd_ud2 = link.snd_ud2
        self.unsaved = False
        self._config = config
        self._gateway = config.address.link_octets()
        self._security = security
        self._numbers = numbers
        self._transmitter = transmitter
        self._dice = dice
        self._maker = DatagramMaker(link, config, security, numbers)
        self._avoidance = Avoidance(dice, config.tries)
        self._queue: deque[Order] = deque()
        self._order: Order | None = None
        self._datagram: Datagram | None = None
        self._window: Window | None = None  #: behind the datagram heard last
        self._status = 0  #: reception level for the next datagram
        self._open = False  #: something was sent since the last SND-NKE
        self._expires = 0.0
        self._retry_at = 0.0
        self._quiet_until = 0.0

    # -- orders --------------------------------------------------------------------------------

    def submit(self, token: int, exchange: Exchange, now: float) -> list[SessionOutput]:
        """Queue an exchange; it begins at once if nothing else is under way."""
        return self._enqueue(Order(token, exchange, self._maker.first_phase(exchange, snd_ud2=self.snd_ud2)), now)

    def demand(self, now: float) -> list[SessionOutput]:
        """The device demanded access: ask for its alarm, and for its data if there is none. Once is enough."""
        if any(order.token is None for order in self._orders):
            return []
        return self._enqueue(Order(None, Exchange(self.link.address, None), "alarm"), now)

    def withdraw(self, token: int, now: float) -> list[SessionOutput] | None:
        """Forget an order; None if there is none of this token."""
        if self._order is not None and self._order.token == token:
            return self._step(Cancelled(), now)  # type: ignore[return-value]
        for order in self._queue:
            if order.token == token:
                self._queue.remove(order)
                self.unsaved = True
                return [Failed(token, "withdrawn", delivered=False)]
        return None

    @property
    def orders(self) -> list[tuple[int, bool]]:
        """Tokens of the orders that are not finished, and whether something of them was sent."""
        return [(order.token, order.sent) for order in self._orders if order.token is not None]

    @property
    def _orders(self) -> list[Order]:
        return [*([] if self._order is None else [self._order]), *self._queue]

    def _enqueue(self, order: Order, now: float) -> list[SessionOutput]:
        self._queue.append(order)
        self.unsaved = True
        return self._step(Queued(), now)  # type: ignore[return-value]

    def quiet(self, until: float) -> None:
        """The window at hand is used by something else (ACK to ACC-DMD, CNF-IR)."""
        self._window = None
        self._quiet_until = until

    # -- hearing -------------------------------------------------------------------------------

    def awaits(self, heard: Glance) -> bool:
        """True if a frame answers the datagram under way: addresses are right and the access numbers are its copies.

        Source   OMS Volume 2 5.0.1, 3.1.3.3 (ELLA) and clause 7; Annex M release C, M.1.4 (ALA and access number)
        """
        datagram = self._datagram
        if self.state is not State.ASKED or datagram is None or not heard.answer or not self._for_us(heard):
            return False
        if heard.application not in (None, self.link.address.link_octets()):
            return False
        pairs = ((heard.link_access, datagram.link_access), (heard.transport_access, datagram.transport_access))
        known = [copy == own for copy, own in pairs if copy is not None and own is not None]
        return bool(known) and all(known)

    def _copied(self, heard: Glance) -> bool:
        """True for a repeater's copy that leaves no window: the device listens behind its own datagram only."""
        return bool(heard.cc & HOP) and not self.link.repeated

    def _for_us(self, heard: Glance) -> bool:
        """The allocated gateway takes answers without ELLA as well; a service tool must not."""
        if heard.destination is None:
            return not self._config.service_tool
        return heard.destination == self._gateway

    def heard(self, heard: Glance, opened: Opened | None, rssi: float | None, now: float) -> list[SessionOutput]:
        """A datagram of the device (or of its adapter) ended; ``opened`` is None for a copy that came before."""
        if not self._copied(heard):
            self.listening = heard.bits == 3 and not heard.cc & HOP
            window = heard.bits in (2, 3)
            self._window = window_after(self.link.mode, now, fast=heard.fast) if window else None
            self._status = level(rssi)
        event = self._name(heard, opened, now)
        return [] if event is None else self._step(event, now)  # type: ignore[return-value]

    def _name(self, heard: Glance, opened: Opened | None, now: float) -> Event | None:
        """What a datagram means in the present state; None if nothing."""
        if self.awaits(heard):
            event = self._answered(heard, opened, now)
            if event is not None:
                self._avoidance.note(Incident.ANSWER)
            return event
        if heard.answer and not self._for_us(heard):
            self._avoidance.note(Incident.FOREIGN)
            return None
        if self._copied(heard):
            return None
        if self.state is State.CLOSING:
            return Repeated() if self._window is not None and (heard.answer or self._open) else None
        if heard.answer and not self.link.repeated:  # a repeater may not have delivered it yet
            self._older_answer(heard, now)
        return None if self._window is None else self._opportunity(self._window, now)

    def _older_answer(self, heard: Glance, now: float) -> None:
        """The device repeats the answer to something before: it did not get the datagram under way."""
        datagram, own = self._datagram, self.link.address.link_octets()
        if (
            datagram is not None
            and datagram.since is not None
            and datagram.since < now
            and own in (heard.application, heard.sender)
        ):
            datagram.since = None

    def _answered(self, heard: Glance, opened: Opened | None, now: float) -> Event | None:
        order, datagram = self._order, self._datagram
        assert order is not None
        assert datagram is not None
        namer = _ANSWERS.get((heard.function, datagram.phase))
        return None if namer is None else namer(self, heard, opened, now)

    def _name_refused(self, heard: Glance, opened: Opened | None, now: float) -> Event:
        return Refused()

    def _name_unsupported(self, heard: Glance, opened: Opened | None, now: float) -> Event:
        return Unsupported()

    def _name_no_alarm(self, heard: Glance, opened: Opened | None, now: float) -> Event:
        return Accepted()

    def _name_accepted(self, heard: Glance, opened: Opened | None, now: float) -> Event:
        order, datagram = self._order, self._datagram
        assert order is not None
        assert datagram is not None
        if not datagram.last:
            return PartTaken()
        order.acknowledged, order.answered_at = True, now
        if not order.exchange.answer:
            return Confirmed(heard.status)
        return AcceptedBusy() if heard.status & _STATUS == _BUSY else Accepted()

    def _name_response(self, heard: Glance, opened: Opened | None, now: float) -> Event | None:
        order = self._order
        assert order is not None
        if opened is None or opened.verdict == "duplicate":
            return None
        telegram = opened.telegram
        if opened.verdict == "new" and telegram.fragment:
            return PartCame()
        transport = telegram.transport
        if opened.verdict != "new" or not opened.protected or transport is None or transport.access_number != order.access:
            order.doubts += 1
            return GivenUp("security") if order.doubts >= _DOUBTS else Doubted()
        if order.revived and protocol_of(telegram) == "application-error" and order.ambiguous(telegram.payload or b""):
            order.acknowledged = False
            return GivenUp("no-answer")  # it may have carried out the first transmission and refuses the second
        order.acknowledged = True
        if transport.status & _STATUS == _BUSY:
            since = now if order.busy_since is None else order.busy_since
            return GivenUp("busy") if now - since >= order.busy_limit(self._config) else AcceptedBusy()
        return WholeCame(opened, transport.status)

    # -- windows -------------------------------------------------------------------------------

    def _opportunity(self, window: Window, now: float) -> Event | None:
        """A window: may it be used? Only in states in which something is to be sent."""
        order = self._order
        if order is None or self.state not in (State.WAITING, State.ASKED):
            return None
        self._expires = now + self._config.access_timeout
        event = self._outdated(order, now)
        if event is not None:
            return event
        try:
            datagram = self._datagram or self._maker.build(order, now, self._status)
        except SecurityError:
            return GivenUp("security")
        except EncodeError:
            return GivenUp("refused-link")
        self._datagram = datagram
        if datagram is None or not self._transmitter.free(window, airtime(self.link.mode, datagram.frame)):
            return None
        advice = self._avoidance.note(Incident.WINDOW)
        if advice is Advice.GIVE_UP:
            return GivenUp("security" if order.doubts else "no-answer")
        return Chance(window) if advice is Advice.TRANSMIT else None

    def _outdated(self, order: Order, now: float) -> Event | None:
        """Drop a datagram that must not go out (again); the end of the order if that leaves no way on."""
        datagram = self._datagram
        if datagram is None:
            return self._too_late(order, now)
        passed = datagram.counter is not None and (self._security.verified(self.link.address) or 0) >= datagram.counter
        if datagram.since is None:
            if passed:
                order.restart()
                self._datagram = None
            return None
        kept = self.link.repeated and datagram.last and datagram.phase in ("whole", "command")
        if now - datagram.since <= ALIVE and not kept:  # a repeater delivers a command nobody knows when
            return None
        if datagram.phase in ("request", "alarm"):
            if order.fragments:
                order.ask()
                self._datagram = None
            return self._too_late(order, now)
        if not datagram.last:
            order.restart()
            self._datagram = None
            return None
        if passed or (datagram.counter is None and not order.repeatable):
            return GivenUp("no-answer")
        return None

    def _too_late(self, order: Order, now: float) -> Event | None:
        """The answer to a command is gone when the device has returned to its standard answer."""
        accepted = order.answered_at
        if order.phase != "request" or accepted is None or order.busy_since is not None:
            return None
        return GivenUp("no-answer") if now - accepted > ANSWER_KEPT else None

    def _try(self, now: float) -> list[object]:
        """Use the window at hand; a device that listens all the time needs none."""
        window = self._window if self._window is not None and self._window.opens >= now else None
        if window is None and self.listening and now >= self._quiet_until:
            window = Window(now, now + AT_ONCE)
        event = None if window is None else self._opportunity(window, now)
        out = [] if event is None else self._step(event, now)
        if self.listening and self.state in (State.WAITING, State.ASKED):
            self._retry_at = now + _RETRY + 2 * self._dice()
        self._watch()
        return out

    def _watch(self) -> None:
        """The deadline while something is to be sent."""
        if self.state in (State.WAITING, State.ASKED):
            self.deadline = min(self._expires, self._retry_at) if self.listening else self._expires

    # -- time ----------------------------------------------------------------------------------

    def timeout(self, now: float) -> list[SessionOutput]:
        """Time has passed; does nothing before the deadline."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.state not in (State.WAITING, State.ASKED):
            return self._step(Elapsed(), now)  # type: ignore[return-value]
        if now < self._expires:
            return self._try(now)  # type: ignore[return-value]
        order = self._order
        assert order is not None
        reason: Failure = "security" if order.doubts else "no-answer" if order.sent else "no-access"
        return self._step(GivenUp(reason), now)  # type: ignore[return-value]

    # -- actions -------------------------------------------------------------------------------

    def _begin(self, event: Queued, now: float) -> list[object]:
        order = self._order = self._queue.popleft()
        if order.phase == "whole" and not self.snd_ud2:
            order.phase = "command"
        self._avoidance = Avoidance(self._dice, self._config.renewal_tries if order.renewal else self._config.tries)
        self._datagram = None
        self._expires = now + self._config.access_timeout
        return self._try(now)

    def _keep(self, event: Queued, now: float) -> list[object]:
        return []

    def _transmit(self, event: Chance, now: float) -> list[object]:
        order, datagram, window = self._order, self._datagram, event.window
        assert order is not None
        assert datagram is not None
        self._transmitter.plan(window, airtime(self.link.mode, datagram.frame), now)
        self._window = None
        if datagram.since is None:
            datagram.since = window.opens
        else:
            order.revived |= datagram.phase in ("whole", "command")
        self.unsaved |= not order.sent
        self._open = order.sent = True
        if self.listening:
            self._retry_at = window.opens + _RETRY + 2 * self._dice()
        self._watch()
        return [Transmit(datagram.frame, window.opens, window.closes, downlink=True)]

    def _go_on(self, now: float) -> list[object]:
        """The next datagram of the order, in the window behind the answer if there is one."""
        self._datagram = None
        self._expires = now + self._config.access_timeout
        return self._try(now)

    def _next_part(self, event: PartTaken, now: float) -> list[object]:
        assert self._order is not None
        self._order.part += 1
        return self._go_on(now)

    def _ask(self, event: Accepted | Doubted | Elapsed, now: float) -> list[object]:
        assert self._order is not None
        self._order.ask()
        return self._go_on(now)

    def _ask_part(self, event: PartCame, now: float) -> list[object]:
        assert self._order is not None
        self._order.fragments += 1
        self._order.phase = "request"
        return self._go_on(now)

    def _fall_back(self, event: Unsupported, now: float) -> list[object]:
        assert self._order is not None
        self.snd_ud2 = False
        self.unsaved = True
        self._order.restart()
        self._order.phase = "command"
        return self._go_on(now)

    def _pause(self, event: AcceptedBusy, now: float) -> list[object]:
        assert self._order is not None
        if self._order.busy_since is None:
            self._order.busy_since = now
        self.deadline = now + self._config.busy_delay
        return []

    def _confirm(self, event: Confirmed, now: float) -> list[object]:
        return self._finish(lambda token: Answered(token, event.status), now)

    def _answer(self, event: WholeCame, now: float) -> list[object]:
        telegram = event.opened.telegram
        return self._finish(
            lambda token: Answered(token, event.status, protocol_of(telegram), application_octets(telegram), telegram.security),
            now,
        )

    def _refuse(self, event: Refused, now: float) -> list[object]:
        order = self._order
        assert order is not None
        delivered = order.acknowledged
        return self._finish(lambda token: Failed(token, "refused-link", delivered=delivered), now)

    def _fail(self, event: GivenUp, now: float) -> list[object]:
        return self._failed(event.reason, now)

    def _cancel(self, event: Cancelled, now: float) -> list[object]:
        return self._failed("withdrawn", now)

    def _failed(self, reason: Failure, now: float) -> list[object]:
        order = self._order
        assert order is not None
        delivered = order.delivered
        return self._finish(lambda token: Failed(token, reason, delivered=delivered), now)

    def _finish(self, result: Callable[[int], Answered | Failed], now: float) -> list[object]:
        """The order is over: tell, then go on with the next one, or wait a little and end the session."""
        order = self._order
        assert order is not None
        self._order = self._datagram = None
        self.unsaved = True
        out: list[object] = [] if order.token is None else [result(order.token)]
        if self._queue:
            return out + self._step(Queued(), now)
        if not self._open:
            return out + self._step(Quiet(), now)
        window = self._window
        lead = 0.0 if window is None else max((window.opens - now) / 2, 0.0)  # a command that follows may still use it
        self.deadline = now + max(lead, self._config.linger)
        return out

    def _close(self, event: Elapsed | Repeated, now: float) -> list[object]:
        self.deadline = now + _OVER
        window = self._window if self._window is not None and self._window.opens >= now else None
        if window is None and self.listening and now >= self._quiet_until:
            window = Window(now, now + AT_ONCE)
        frame = None if window is None else self._maker.reset(now, self._status)
        if frame is None or window is None or not self._transmitter.free(window, airtime(self.link.mode, frame)):
            return []
        self._transmitter.plan(window, airtime(self.link.mode, frame), now)
        self._window, self._open = None, False
        return [Transmit(frame, window.opens, window.closes, downlink=True)]

    def _rest(self, event: Elapsed | Quiet, now: float) -> list[object]:
        self.deadline = None
        self._open = False
        return []


_Namer = Callable[[Session, Glance, Opened | None, float], Event | None]

#: (function of the C field, phase) -> what the answer means
_ANSWERS: Final[dict[tuple[int, str], _Namer]] = {
    **{(NACK, phase): Session._name_refused for phase in ("whole", "command", "request", "alarm")},
    (ACK, "whole"): Session._name_unsupported,
    (ACK, "command"): Session._name_accepted,
    (ACK, "alarm"): Session._name_no_alarm,
    **{(RSP_UD, phase): Session._name_response for phase in ("whole", "request", "alarm")},
}

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: Final[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {
    (State.IDLE, Queued): (Session._begin, State.WAITING),
    (State.WAITING, Queued): (Session._keep, State.WAITING),
    (State.WAITING, Chance): (Session._transmit, State.ASKED),
    (State.WAITING, GivenUp): (Session._fail, State.LINGERING),
    (State.WAITING, Cancelled): (Session._cancel, State.LINGERING),
    (State.ASKED, Queued): (Session._keep, State.ASKED),
    (State.ASKED, Chance): (Session._transmit, State.ASKED),
    (State.ASKED, GivenUp): (Session._fail, State.LINGERING),
    (State.ASKED, Cancelled): (Session._cancel, State.LINGERING),
    (State.ASKED, PartTaken): (Session._next_part, State.WAITING),
    (State.ASKED, Accepted): (Session._ask, State.WAITING),
    (State.ASKED, AcceptedBusy): (Session._pause, State.PAUSING),
    (State.ASKED, Confirmed): (Session._confirm, State.LINGERING),
    (State.ASKED, Unsupported): (Session._fall_back, State.WAITING),
    (State.ASKED, Refused): (Session._refuse, State.LINGERING),
    (State.ASKED, PartCame): (Session._ask_part, State.WAITING),
    (State.ASKED, WholeCame): (Session._answer, State.LINGERING),
    (State.ASKED, Doubted): (Session._ask, State.WAITING),
    (State.PAUSING, Queued): (Session._keep, State.PAUSING),
    (State.PAUSING, Elapsed): (Session._ask, State.WAITING),
    (State.PAUSING, Cancelled): (Session._cancel, State.LINGERING),
    (State.LINGERING, Queued): (Session._begin, State.WAITING),
    (State.LINGERING, Elapsed): (Session._close, State.CLOSING),
    (State.LINGERING, Quiet): (Session._rest, State.IDLE),
    (State.CLOSING, Queued): (Session._begin, State.WAITING),
    (State.CLOSING, Repeated): (Session._close, State.CLOSING),
    (State.CLOSING, Elapsed): (Session._rest, State.IDLE),
}
Session.TRANSITIONS = TRANSITIONS
