"""The operator's end of a wired line: exchanges, transport security and keys on top of the wired master.

    IDLE          --Queued-->       TRANSACTING   the first sequence of the order
    TRANSACTING   --PartTaken-->    TRANSACTING   SND-UD with the next fragment
    TRANSACTING   --Acknowledged--> TRANSACTING   E5 to SND-UD2: REQ-UD2 reads the answer
    TRANSACTING   --Doubted-->      TRANSACTING   an answer that is not proven: REQ-UD2 again
    TRANSACTING   --BusyCame-->     PAUSING       the device has not finished
    PAUSING       --Elapsed-->      TRANSACTING   REQ-UD2
    TRANSACTING   --Finished-->     IDLE          Answered or Failed; the next order, if there is one

    order                          sequence of the master
    command, answer wanted         SND-UD, E5, REQ-UD2, RSP-UD; SND-UD2, RSP-UD where the slave knows it
    command alone                  SND-UD, E5
    no command                     REQ-UD2, RSP-UD

A slave may give its answer in several frames: fragments of the AFL, or telegrams that end with DIF 1Fh. All of them
are one answer. Repetitions, frame count bits and selection are the master's.

Source: OMS Volume 2 Annex M release C Tables M.1 and M.2, M.1.4, M.1.5; Annex P release C; 5.0.1 clause 9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, cast

from openmetering.codec.address import Address
from openmetering.errors import EncodeError, NotRepresentable, ProtocolError, SecurityError
from openmetering.protocol.events import Octets, PowerUp
from openmetering.protocol.exchange import Answered, Failed, Failure, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.access import AccessNumbers
from openmetering.protocol.gateway.events import Alarm, Forget, GatewayConfig, OpenOrder
from openmetering.protocol.gateway.partner_security import (
    COMMANDS,
    Opened,
    PartnerSecurity,
    application_octets,
    protocol_of,
)
from openmetering.protocol.gateway.session_order import Order
from openmetering.protocol.gateway.wired_events import (
    Acknowledged,
    BusyCame,
    Doubted,
    Elapsed,
    Finished,
    PartTaken,
    PersistWired,
    Queued,
    RegisterSlave,
    SlaveLink,
    State,
    WiredInput,
    WiredMemory,
    WiredOutput,
)
from openmetering.protocol.machine import Dice, Machine
from openmetering.protocol.wired.master import WiredMaster
from openmetering.protocol.wired.orders import (
    Abort,
    Kind,
    Reason,
    Transact,
    TransactionDone,
    TransactionFailed,
)
from openmetering.protocol.wired.timing import LineTiming
from openmetering.security import KeyRing

__all__ = [
    "TRANSITIONS",
    "PersistWired",
    "RegisterSlave",
    "SlaveLink",
    "State",
    "WiredGateway",
    "WiredInput",
    "WiredMemory",
    "WiredOutput",
]

_DOUBTS: Final = 3  #: answers that are not proven, before the exchange fails
_BUSY: Final = 1

_REASONS: Final[dict[Reason, Failure]] = {
    "no-answer": "no-answer",
    "disturbed": "disturbed",
    "not-selected": "not-selected",
    "endless": "disturbed",
    "rate-refused": "no-answer",
    "aborted": "withdrawn",
}


class WiredGateway(Machine[State]):
    """One order at a time on one line.

    ``keys`` are communication keys (KeyID 00..0F); ``memory`` is that of the gateway that was here before. Events of
    the line go through to ``master``, whose deadline is kept as well.
    Raises InputError (``key.invalid``) for a ring with application keys.
    """

    __slots__ = (
        "_alarms",
        "_config",
        "_links",
        "_lost",
        "_now",
        "_numbers",
        "_opened",
        "_order",
        "_queue",
        "_resume_at",
        "_unsaved",
        "master",
        "security",
    )

    def __init__(
        self,
        config: GatewayConfig,
        dice: Dice,
        keys: KeyRing | None = None,
        memory: WiredMemory | None = None,
        *,
        timing: LineTiming | None = None,
    ) -> None:
        super().__init__(State.IDLE)
        memory = memory or WiredMemory()
        self.master = WiredMaster(timing, more=self._more)
        self.security = PartnerSecurity(
            keys, step=config.counter_step, reserve=config.counter_reserve, memory=memory.security
        )  # a step leaves room for answers that were sent and never came
        self._config = config
        self._numbers = AccessNumbers(dice, memory.access)
        self._links: dict[Address, SlaveLink] = {}
        self._queue: deque[Order] = deque()
        self._order: Order | None = None
        self._opened: list[Opened] = []  #: frames of the answer that is coming
        self._alarms: list[Alarm] = []
        self._now = 0.0
        self._resume_at: float | None = None
        self._lost = {order.token: order.sent for order in memory.orders}
        self._unsaved = False
        for link in memory.links:
            self._attach(link)

    # -- the interface -------------------------------------------------------------------------

    def receive(self, event: WiredInput, now: float) -> list[WiredOutput]:
        """Something happened. Raises ProtocolError for an unknown event, EncodeError for a command nothing can carry."""
        self._now = now
        handler = _INPUTS.get(type(event))
        if handler is None:
            raise ProtocolError(self.state.name, type(event).__name__)
        return self._finish(self._digest(handler(self, event, now), now), now)

    def timeout(self, now: float) -> list[WiredOutput]:
        """Time has passed; does nothing before the deadline."""
        if self.deadline is None or now < self.deadline:
            return []
        self._now = now
        out: list[object] = list(self.master.timeout(now))
        if self._resume_at is not None and self._resume_at <= now:
            out += self._step(Elapsed(), now)
        return self._finish(self._digest(out, now), now)

    def memory(self, now: float) -> WiredMemory:
        """What must survive, as it is now."""
        orders = [*([] if self._order is None else [self._order]), *self._queue]
        lost = [OpenOrder(token, sent) for token, sent in self._lost.items()]
        return WiredMemory(
            self.security.snapshot(),
            tuple(self._links.values()),
            self._numbers.snapshot(now),
            (*lost, *(OpenOrder(order.token or 0, order.sent) for order in orders)),
        )

    def _digest(self, out: list[object], now: float) -> list[object]:
        """Results of the master become events; everything else goes out."""
        told: list[object] = []
        while out:
            event = out.pop(0)
            if isinstance(event, TransactionDone | TransactionFailed):
                out = [*self._step(self._name(event, now), now), *out]
            else:
                told.append(event)
        return told

    def _finish(self, out: list[object], now: float) -> list[WiredOutput]:
        out, self._alarms = [*out, *self._alarms], []
        if self._unsaved or self.security.unsaved or self._numbers.unsaved:
            self._unsaved = self.security.unsaved = self._numbers.unsaved = False
            out = [PersistWired(self.memory(now)), *out]
        times = [when for when in (self.master.deadline, self._resume_at) if when is not None]
        self.deadline = min(times, default=None)
        return cast("list[WiredOutput]", out)

    def _octets(self, event: Octets, now: float) -> list[object]:
        return list(self.master.receive(event, now))

    # -- slaves and keys -----------------------------------------------------------------------

    def _attach(self, link: SlaveLink) -> None:
        self.security.enrol(link.address, link.profile, link.key_id, link.key_version)
        self._links[link.address] = link

    def _register(self, event: RegisterSlave, now: float) -> list[object]:
        self._attach(event.link)
        self._unsaved = True
        return []

    def _forget(self, event: Forget, now: float) -> list[object]:
        if self._links.pop(event.address, None) is None:
            return []
        out: list[object] = []
        for order in [one for one in self._queue if one.exchange.address == event.address]:
            self._queue.remove(order)
            out.append(Failed(order.token or 0, "withdrawn", delivered=False))
        current = self._order
        if current is not None and current.exchange.address == event.address:
            out += self._cancel(current, now)
        self.security.dismiss(event.address)
        self._unsaved = True
        return out

    def _give_key(self, event: GiveKey, now: float) -> list[object]:
        self.security.give_key(event.address, event.key, event.key_id, event.version)
        return []

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        """Exchanges of the time before are over; what became of those that were sent, nobody knows."""
        lost = dict(self._lost)
        lost.update((order.token or 0, order.sent) for order in (*([] if self._order is None else [self._order]), *self._queue))
        self.state, self._order, self._resume_at, self._lost = State.IDLE, None, None, {}
        self._queue.clear()
        self._opened.clear()
        self.master = WiredMaster(self.master.timing, more=self._more)
        self._unsaved |= bool(lost)
        return [Failed(token, "power", None if sent else False) for token, sent in lost.items()]

    # -- orders --------------------------------------------------------------------------------

    def _submit(self, event: Submit, now: float) -> list[object]:
        command = event.exchange.command
        if command is not None and command.protocol not in COMMANDS:
            raise NotRepresentable(f"no command has protocol {command.protocol}", field="protocol", value=command.protocol)
        if event.exchange.address not in self._links:
            return [Failed(event.token, "no-access", delivered=False)]
        self._queue.append(Order(event.token, event.exchange, "request" if command is None else "command"))
        self._unsaved = True
        return self._step(Queued(), now) if self.state is State.IDLE else []

    def _withdraw(self, event: Withdraw, now: float) -> list[object]:
        for order in self._queue:
            if order.token == event.token:
                self._queue.remove(order)
                self._unsaved = True
                return [Failed(event.token, "withdrawn", delivered=False)]
        if self._order is not None and self._order.token == event.token:
            return self._cancel(self._order, now)
        return []

    def _cancel(self, order: Order, now: float) -> list[object]:
        """Stop the master, or the pause; both lead to the end of the order."""
        if self.state is State.PAUSING:
            return self._step(Finished(Failed(order.token or 0, "withdrawn", order.delivered)), now)
        return list(self.master.receive(Abort(), now))

    def _begin(self, event: Queued, now: float) -> list[object]:
        self._order = self._queue.popleft()
        return self._send(now)

    def _send(self, now: float) -> list[object]:
        """The next part of the command, or the request."""
        order = self._order
        assert order is not None
        link = self._links[order.exchange.address]
        if order.phase == "request":
            return self._transact(None, "REQ-UD2", True, now)
        try:
            parts = self._sealed(order, link, now)
        except SecurityError:
            return self._step(Finished(Failed(order.token or 0, "security", delivered=False)), now)
        except EncodeError:
            return self._step(Finished(Failed(order.token or 0, "refused-link", delivered=False)), now)
        last = order.part == len(parts) - 1
        if len(parts) == 1 and order.exchange.answer and link.snd_ud2:
            order.phase = "whole"
            return self._transact(parts[0], "SND-UD2", True, now)
        return self._transact(parts[order.part], "SND-UD", last and order.exchange.answer, now)

    def _sealed(self, order: Order, link: SlaveLink, now: float) -> tuple[bytes, ...]:
        """The command for the line. Raises SecurityError, NotRepresentable while no access number is free."""
        if order.sealed is None:
            command = order.exchange.command
            assert command is not None
            number = self._numbers.take(link.address.link_octets(), now)
            if number is None:
                raise NotRepresentable("all access numbers were used within 300 s", field="access_number", value=None)
            order.sealed = self.security.seal_command(link.address, command, number, wired=True, largest=link.largest)
        return order.sealed.parts

    def _transact(self, data: bytes | None, kind: Kind, answer: bool, now: float) -> list[object]:
        order = self._order
        assert order is not None
        self._opened.clear()
        if data is not None:
            self._unsaved |= not order.sent
            order.sent = True
        return list(self.master.receive(Transact(self._links[order.exchange.address].target, data, kind, answer), now))

    # -- answers -------------------------------------------------------------------------------

    def _more(self, frame: bytes) -> bool:
        """Asked by the master: does another frame belong to this answer? Opens it, once."""
        opened = self.security.open(frame, self._now)
        self._opened.append(opened)
        order = self._order
        if order is not None and (opened.switched or opened.verdict == "replayed"):
            self._alarms.append(Alarm(order.exchange.address, "key" if opened.switched else "replayed"))
        return opened.telegram.fragment or opened.telegram.more_follows

    def _name(self, event: TransactionDone | TransactionFailed, now: float) -> object:
        """What a result of the master means for the order."""
        order = self._order
        assert order is not None
        token = order.token or 0
        if isinstance(event, TransactionFailed):
            delivered = True if order.acknowledged else None if order.part and event.delivered is False else event.delivered
            return Finished(Failed(token, _REASONS[event.reason], delivered))
        order.revived |= event.repeated and order.phase in ("whole", "command")
        if order.phase == "command":
            assert order.sealed is not None
            if order.part < len(order.sealed.parts) - 1:
                return PartTaken()
            order.acknowledged = True
            if not order.exchange.answer:
                return Finished(Answered(token, 0))
        if not event.frames:
            return Acknowledged() if order.phase == "whole" else Finished(Failed(token, "no-answer", order.delivered))
        return self._judge(order, now)

    def _judge(self, order: Order, now: float) -> object:
        token, last = order.token or 0, self._opened[-1]
        link = self._links.get(order.exchange.address)
        address = last.telegram.address
        proven = all(opened.verdict == "new" for opened in self._opened) and not last.telegram.fragment
        protected = last.protected or (link is not None and link.profile == "none")
        if not proven or not protected or address not in (None, order.exchange.address) or last.telegram.transport is None:
            order.doubts += 1
            if proven and not protected:
                self._alarms.append(Alarm(order.exchange.address, "unprotected"))
            return Finished(Failed(token, "security", order.delivered)) if order.doubts >= _DOUBTS else Doubted()
        if order.revived and protocol_of(last.telegram) == "application-error" and order.ambiguous(_joined(self._opened)):
            return Finished(Failed(token, "no-answer", None))  # it may have carried out the first one and refuses the second
        order.acknowledged = True
        status = last.telegram.transport.status
        if status & 3 == _BUSY:
            order.busy_since = now if order.busy_since is None else order.busy_since
            over = now - order.busy_since >= order.busy_limit(self._config)
            return Finished(Failed(token, "busy", delivered=True)) if over else BusyCame()
        return Finished(Answered(token, status, protocol_of(last.telegram), _joined(self._opened), last.telegram.security))

    # -- actions -------------------------------------------------------------------------------

    def _next_part(self, event: PartTaken, now: float) -> list[object]:
        assert self._order is not None
        self._order.part += 1
        return self._send(now)

    def _ask(self, event: Acknowledged | Doubted | Elapsed, now: float) -> list[object]:
        assert self._order is not None
        self._order.acknowledged |= isinstance(event, Acknowledged)
        self._order.ask()
        self._resume_at = None
        return self._send(now)

    def _pause(self, event: BusyCame, now: float) -> list[object]:
        self._resume_at = now + self._config.busy_delay
        return []

    def _end(self, event: Finished, now: float) -> list[object]:
        self._order, self._resume_at = None, None
        self._unsaved = True
        out: list[object] = [event.result]
        return out + (self._step(Queued(), now) if self._queue else [])


def _joined(opened: Sequence[Opened]) -> bytes:
    """The application octets of an answer; records of several telegrams one behind the other."""
    whole = [one.telegram for one in opened if not one.telegram.fragment]
    if len(whole) == 1:
        return application_octets(whole[0])
    octets = b"".join(record.octets() for telegram in whole for record in telegram.records)
    data = whole[-1].manufacturer_data
    return octets if data is None else octets + b"\x0f" + data


_INPUTS: Final[dict[type, Callable[..., list[object]]]] = {
    Octets: WiredGateway._octets,
    PowerUp: WiredGateway._power_up,
    Submit: WiredGateway._submit,
    Withdraw: WiredGateway._withdraw,
    GiveKey: WiredGateway._give_key,
    RegisterSlave: WiredGateway._register,
    Forget: WiredGateway._forget,
}

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: Final[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {
    (State.IDLE, Queued): (WiredGateway._begin, State.TRANSACTING),
    (State.TRANSACTING, PartTaken): (WiredGateway._next_part, State.TRANSACTING),
    (State.TRANSACTING, Acknowledged): (WiredGateway._ask, State.TRANSACTING),
    (State.TRANSACTING, Doubted): (WiredGateway._ask, State.TRANSACTING),
    (State.TRANSACTING, BusyCame): (WiredGateway._pause, State.PAUSING),
    (State.TRANSACTING, Finished): (WiredGateway._end, State.IDLE),
    (State.PAUSING, Elapsed): (WiredGateway._ask, State.TRANSACTING),
    (State.PAUSING, Finished): (WiredGateway._end, State.IDLE),
}
WiredGateway.TRANSITIONS = TRANSITIONS
