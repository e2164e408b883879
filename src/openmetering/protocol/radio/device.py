"""The radio device: meter, actuator or sensor on the wireless link, unidirectional or bidirectional.

    OFF         --PowerUp-->            IDLE        first transmission at a random time
    IDLE        --SlotDue-->            SENDING     SND-NR or ACC-NR, synchronous
    IDLE        --AsynchronousDue-->    SENDING     SND-IR, ACC-DMD, SND-NR of a sensor
    SENDING     --SentOpen-->           LISTENING   B, A = 10: a short window, t_RO behind the datagram
    SENDING     --SentClosed-->         IDLE        B, A = 00 or 01: no window
    SENDING     --SentPermanent-->      IDLE        B, A = 11: listens until it sends again
    LISTENING   --WindowClosed-->       IDLE        nothing came
    LISTENING   --Answerable-->         ANSWERING   a command or request: its answer after t_RM; the frequent
                                                    access cycle begins
    ANSWERING   --SentOpen-->           ATTENTIVE   a window behind every answer
    ATTENTIVE   --WindowClosed-->       PAUSING     no new datagram
    PAUSING     --RepetitionDue-->      ANSWERING   the last answer again, every t_TxD
    ATTENTIVE   --Answerable-->         ANSWERING   a new datagram, or the same one again
    ATTENTIVE   --LinkReset-->          LISTENING   SND-NKE: the session ends, no answer
    PAUSING     --SessionExpired-->     IDLE        t_TO after the last valid datagram

    (LISTENING, Answerable) and the like hold in IDLE and PAUSING as well, for devices that always listen.

Synchronous transmissions keep their grid whatever happens: an answer that would come too near to one
waits for its repetition (``Yielded``), asynchronous transmissions wait until it is over. While credits or
airtime are used up, datagrams carry B, A = 01 and nothing is answered.

Source: OMS Volume 2 5.0.1 clauses 4.3 and 5; EN 13757-4 (timing of modes S, T, C, clause to confirm); Annex N.7 to N.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import ClassVar, Final, cast

from openmetering.codec.address import Address
from openmetering.errors import DecodeError
from openmetering.protocol.device.interface import Endpoint, SpontaneousKind
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.machine import Dice, Machine
from openmetering.protocol.radio.credits import RECEIVE_COSTS, SEND_COSTS, CreditStore, DutyCycle, airtime
from openmetering.protocol.radio.datagram import (
    ACC_DMD,
    ACC_NR,
    ACCESSIBLE,
    BIDIRECTIONAL,
    FAST,
    SND_IR,
    SND_NR,
    SYNCHRONOUS,
    WINDOWS,
    Datagram,
    datagram,
    read,
)
from openmetering.protocol.radio.events import (
    FREQUENT_ACCESS_TIMEOUT,
    INSTALLATION_REQUESTS,
    ButtonPressed,
    Demand,
    DemandEnded,
    Ignored,
    InstallationEnded,
    Omitted,
    RadioConfig,
    RadioIn,
    RadioOut,
    Reason,
    Trigger,
)
from openmetering.protocol.radio.schedule import SynchronousSchedule
from openmetering.protocol.radio.session import Session
from openmetering.protocol.radio.steps import (
    Acknowledged,
    Action,
    Answerable,
    AsynchronousDue,
    Confirmed,
    DemandOver,
    FrameLost,
    InstallationOver,
    LinkReset,
    RepetitionDue,
    SentClosed,
    SentOpen,
    SentPermanent,
    SessionExpired,
    SlotDue,
    State,
    Stray,
    WindowClosed,
    Withheld,
    Yielded,
)

__all__ = ["RadioDevice", "State"]

_NEVER: Final = float("inf")
_LARGEST: Final = 256  #: octets of the longest frame
_HEADER, _WITH_ELL, _WITH_ELLA = 10, 13, 21  #: octets in front of the body
#: seconds around a synchronous transmission that nothing else may touch
_GUARD: Final = 0.5
#: seconds that a synchronous transmission may be late; a driver drops it then
_SLOT_LATEST: Final = 0.05
#: seconds after the latest start until a frame of which nobody says that it left counts as lost
_LOST: Final = 1.0
#: seconds that a window stays open for a frame that began in it: the longest downlink frame
_LONGEST_DOWN: Final = {"S": 0.2, "T": 0.2, "C": 0.06}
#: transfer active, successful, failed: a firmware transfer runs until it is validated or terminated (Annex M Figure M.2)
_TRANSFERRING: Final = frozenset((3, 5, 6))
_APPLICATION_KEYS: Final = 0x10  #: KeyIDs from here on are not for the link
_FIRST_REQUEST: Final = 60.0  #: SND-IR within so many seconds of the button
_REQUEST_PAUSE: Final = 30.0  #: then every 30 to 60 s

#: what a device says by itself: C field and name
_SPONTANEOUS: Final[dict[SpontaneousKind, tuple[int, str]]] = {
    "data": (SND_NR, "SND-NR"),
    "static": (SND_NR, "SND-NR"),
    "consumer": (SND_NR, "SND-NR"),
    "install": (SND_IR, "SND-IR"),
    "access": (ACC_NR, "ACC-NR"),
    "demand": (ACC_DMD, "ACC-DMD"),
}


_ON_AIR: Final = (State.SENDING, State.ANSWERING)
_WINDOW: Final = (State.LISTENING, State.ATTENTIVE)
_FREE: Final = (State.IDLE, State.PAUSING)
_HEARING: Final = (*_FREE, *_WINDOW)
_POWERED: Final = (*_HEARING, *_ON_AIR)

_SLOT_DUE, _REPETITION, _CLOSED, _EXPIRED, _LOST_EVENT = SlotDue(), RepetitionDue(), WindowClosed(), SessionExpired(), FrameLost()

_Row = tuple[tuple[Enum, type], tuple[Action, Enum]]


def _same(states: Iterable[State], event: type, action: Action) -> list[_Row]:
    """Rows that leave the state as it is."""
    return [((state, event), (action, state)) for state in states]


def _to(states: Iterable[State], event: type, action: Action, following: State) -> list[_Row]:
    """Rows of several states with the same next state."""
    return [((state, event), (action, following)) for state in states]


class RadioDevice(Machine[State]):
    """One device on the radio.

    ``endpoint`` its application; ``memory`` keeps credits and access number; ``dice`` randomness; ``duty`` the account
    of a transmitter that others use as well. ``schedule`` can be read.
    """

    __slots__ = ("_access_sent", "_address", "_answering", "_asynchronous", "_close", "_counters", "_credits", "_demands_left",
                 "_dice", "_duty", "_lost_at", "_memory", "_open", "_promise", "_reach", "_receiving", "_repeat_at",
                 "_requests_left", "_sender", "_session", "_session_until", "_until", "_windows", "config", "endpoint",
                 "schedule")  # fmt: skip

    def __init__(
        self, config: RadioConfig, endpoint: Endpoint, memory: DeviceMemory, dice: Dice, *, duty: DutyCycle | None = None
    ) -> None:
        super().__init__(State.OFF)
        self.config = config
        self.endpoint = endpoint
        self.schedule = SynchronousSchedule(config.plan)
        self._memory = memory
        self._dice = dice
        self._session = Session(config, endpoint)
        self._duty = DutyCycle(config.duty_cycle) if duty is None else duty
        window = WINDOWS[config.mode, config.fast_response]
        #: seconds after an own transmission in which an answer may start
        self._reach = window.latest if config.access == "short" else 0.0
        self._address: Address | None = None
        self._sender = b""
        self._clear()

    def _clear(self) -> None:
        """Volatile state as after power-up."""
        self._credits: CreditStore | None = None
        self._asynchronous: dict[SpontaneousKind, float] = {}
        self._access_sent: dict[SpontaneousKind, int] = {}
        self._requests_left = self._demands_left = 0
        self._receiving = False
        self._answering = False
        self._promise: type[SentOpen | SentClosed | SentPermanent] = SentClosed
        self._open = self._close = 0.0
        self._until = self._lost_at = self._repeat_at = self._session_until = _NEVER
        self._windows = 0
        self._counters: tuple[int, ...] = ()

    # -- the interface --------------------------------------------------------------------------------

    def receive(self, event: RadioIn, now: float) -> list[RadioOut]:
        """Something happened. Raises ProtocolError if the state does not allow it."""
        if isinstance(event, Sent):
            out = self._sent(event, now)
        elif isinstance(event, Heard):
            out = self._heard(event, now)
        else:
            out = self._step(event, now)
        self._arm()
        return cast("list[RadioOut]", out)

    def timeout(self, now: float) -> list[RadioOut]:
        """The deadline is reached: a transmission, a window or a session is due."""
        if self.deadline is None or now < self.deadline:
            return []
        out: list[object] = []
        due = self.endpoint.deadline
        if due is not None and due <= now:
            out += self.endpoint.timeout(now)
        while (event := self._due(now)) is not None:
            out += self._step(event, now)
        self._arm()
        return cast("list[RadioOut]", out)

    def listening(self, when: float) -> bool:
        """True if the receiver would take a frame whose first chip comes at ``when``."""
        return self._closed(when) is None

    @property
    def link_address(self) -> Address:
        """LLA: what the device sends as sender."""
        return self.config.link_address or self.endpoint.address

    # -- deadlines ------------------------------------------------------------------------------------

    def _due(self, now: float) -> object | None:
        """What is due first, None if nothing is."""
        state = self.state
        if state in _ON_AIR:
            if self._lost_at <= now:
                return _LOST_EVENT
        elif state in _WINDOW and self._until <= now:
            return _CLOSED
        slot = self.schedule.due
        if slot is not None and slot <= now:
            return _SLOT_DUE
        if self._session_until <= now:
            return _EXPIRED
        if state is State.PAUSING and self._repeat_at <= now:
            return _REPETITION
        return self._asynchronous_due(now) if self._asynchronous and state in _FREE else None

    def _asynchronous_due(self, now: float) -> object | None:
        for kind, time in tuple(self._asynchronous.items()):
            if time > now:
                continue
            if self.schedule.near(now, now + self._reach, _GUARD):
                self._asynchronous[kind] = (self.schedule.due or now) + _GUARD
                continue
            if kind == "install" and not self._requests_left:
                return InstallationOver()
            if kind == "demand" and not self._demands_left:
                return DemandOver()
            return AsynchronousDue(kind)
        return None

    def _arm(self) -> None:
        state = self.state
        times = [self.schedule.due or _NEVER, self._session_until]
        if state in _ON_AIR:
            times.append(self._lost_at)
        elif state in _WINDOW:
            times.append(self._until)
        elif state is State.PAUSING:
            times.append(self._repeat_at)
        if self._asynchronous and state in _FREE:
            times.extend(self._asynchronous.values())
        due = self.endpoint.deadline
        self.deadline = min(times) if due is None else min(due, *times)

    def _clear_of_slots(self, when: float) -> float:
        """The first time from ``when`` on, in steps of t_TxD, that is not near a synchronous transmission."""
        while self.schedule.near(when, when, _GUARD):
            when += self.config.repetition
        return when

    # -- frames that come ---------------------------------------------------------------------------------

    def _closed(self, started: float) -> Reason | None:
        """Why the receiver was off when a frame started; None if it was on."""
        if self.state in _ON_AIR:
            return "sending"
        if self._receiving:
            return None
        tolerance = self.config.tolerance
        if self.state in _WINDOW and self._open - tolerance <= started <= self._close + tolerance:
            return None
        return "window"

    def _heard(self, event: Heard, now: float) -> list[object]:
        frame = event.frame
        reason = self._closed(event.started)
        if reason is not None:
            return self._step(Stray(reason, frame), now)
        try:
            heard = read(frame)
        except DecodeError:
            return self._step(Stray("unreadable", frame), now)
        reason = self._session.refusal(heard, self.link_address)
        if reason is not None:
            return self._step(Stray(reason, frame), now)
        self._charge(RECEIVE_COSTS.get(heard.message, RECEIVE_COSTS["unknown"]), now)
        return _HEARD.get(heard.message, RadioDevice._exchange)(self, frame, heard, now)

    def _exchange(self, frame: bytes, heard: Datagram, now: float) -> list[object]:
        before = self._session.answer
        reaction = self._session.react(frame, heard, now)
        if self._session.answer is not before:
            self._counters = self._message_counters()
        if reaction.answer is None:
            return [*reaction.events, *self._step(Stray(reaction.reason, frame), now)]
        return [*reaction.events, *self._step(Answerable(bool(heard.control & FAST)), now)]

    def _reset(self, frame: bytes, heard: Datagram, now: float) -> list[object]:
        return self._step(LinkReset(), now)

    def _confirmation(self, frame: bytes, heard: Datagram, now: float) -> list[object]:
        expected = self._access_sent.get("install")
        return self._step(Confirmed() if heard.access_number == expected else Stray("unexpected", frame), now)

    def _acknowledgement(self, frame: bytes, heard: Datagram, now: float) -> list[object]:
        expected = self._access_sent.get("demand")
        return self._step(Acknowledged() if heard.access_number == expected else Stray("unexpected", frame), now)

    def _sent(self, event: Sent, now: float) -> list[object]:
        self._duty.note(now, now - event.started)
        promise, self._promise = self._promise, SentClosed
        return self._step(promise(event), now)

    # -- frames that go -------------------------------------------------------------------------------------

    def _charge(self, cost: int, now: float) -> None:
        if self._credits is not None:
            self._credits.charge(cost, now)
            self._memory.credits = self._credits.level

    def _affordable(self, now: float, airtime_left: float) -> bool:
        """True if the device can offer a window: credits, and airtime for the longest answer."""
        if airtime_left < airtime(self.config.mode, _LARGEST):
            return False
        return self._credits is None or self._credits.open(now) or self._memory.image.state in _TRANSFERRING

    def _control(self, bits: int, now: float, airtime_left: float) -> int:
        """CC of the next datagram; notes what it promises."""
        config = self.config
        if config.access == "none":
            return bits
        if config.fast_response:
            bits |= FAST
        offered = self.state is State.ANSWERING or not bits & SYNCHRONOUS or self._windows == 0
        if not offered or not self._affordable(now, airtime_left):
            return bits | ACCESSIBLE
        if config.access == "permanent":
            self._promise = SentPermanent
            return bits | BIDIRECTIONAL | ACCESSIBLE
        self._promise = SentOpen
        return bits | BIDIRECTIONAL

    def _send(self, message: str, c_field: int, access_number: int, body: bytes, now: float, start: float,
              latest: float | None, *, bits: int = 0, destination: bytes = b"") -> list[object]:  # fmt: skip
        """Hand a frame out, or leave it out if the band is used up. The state is SENDING or ANSWERING."""
        address = self.config.link_address or self.endpoint.address
        if address is not self._address:
            self._address, self._sender = address, address.link_octets()
        ell = access_number if self.config.ell else None
        size = len(body) + (_HEADER if ell is None else _WITH_ELLA if destination else _WITH_ELL)
        left = self._duty.left(now) - airtime(self.config.mode, size)
        if left < 0:
            return [Omitted(message, "duty-cycle"), *self._step(Withheld(), now)]
        if self._credits is not None:
            self._charge(SEND_COSTS[message], now)
        self._receiving = False
        self._promise = SentClosed
        frame = datagram(c_field, self._sender, body, self._control(bits, now, left), ell, destination)
        self._lost_at = (start if latest is None else latest) + _LOST
        return [Transmit(frame, start, latest)]

    # -- actions ----------------------------------------------------------------------------------------------

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        self._clear()
        self.endpoint.power_up(now)
        self._session.forget()
        self.schedule.start(now, self._dice)
        self._memory.access_number = self.schedule.access_number
        config = self.config
        if config.access != "none" and config.credits is not None:
            self._credits = CreditStore(config.credits, self._memory.credits, now)
        self._receiving = config.access == "permanent"
        return []

    def _slot(self, event: SlotDue, now: float) -> list[object]:
        slot = self.schedule.take()
        kind, number = slot.kind, slot.access_number
        self._memory.access_number = number
        if kind == "access" and "demand" in self._asynchronous and self._demands_left:
            kind = "demand"
            self._demands_left -= 1
            self._access_sent["demand"] = number
        body = self.endpoint.spontaneous(kind, number, now, ell=self.config.ell)
        c_field, message = _SPONTANEOUS[kind]
        self._answering = False
        latest = slot.due + _SLOT_LATEST
        out = self._send(message, c_field, number, body, now, slot.due, max(latest, now), bits=SYNCHRONOUS)
        self._windows = (self._windows + 1) % self.config.window_every
        return out

    def _miss_slot(self, event: SlotDue, now: float) -> list[object]:
        slot = self.schedule.take()
        self._memory.access_number = slot.access_number
        return [Omitted(_SPONTANEOUS[slot.kind][1], "sending")]

    def _send_asynchronous(self, event: AsynchronousDue, now: float) -> list[object]:
        kind, number = event.kind, self.schedule.access_number
        del self._asynchronous[kind]
        self._access_sent[kind] = number
        follow = _FOLLOW.get(kind)
        if follow is not None:
            follow(self, now)
        body = self.endpoint.spontaneous(kind, number, now, ell=self.config.ell)
        c_field, message = _SPONTANEOUS[kind]
        self._answering = False
        return self._send(message, c_field, number, body, now, now, None)

    def _follow_request(self, now: float) -> None:
        self._requests_left -= 1
        self._asynchronous["install"] = now + _REQUEST_PAUSE * (1.0 + self._dice())

    def _follow_demand(self, now: float) -> None:
        self._demands_left -= 1
        self._asynchronous["demand"] = now + self.config.demand_interval

    def _press(self, event: ButtonPressed, now: float) -> list[object]:
        self._requests_left = INSTALLATION_REQUESTS
        self._asynchronous["install"] = now + _FIRST_REQUEST * self._dice()
        return []

    def _demand(self, event: Demand, now: float) -> list[object]:
        self._demands_left = self.config.demand_limit
        self._asynchronous["demand"] = now
        return []

    def _trigger(self, event: Trigger, now: float) -> list[object]:
        self._asynchronous[event.kind] = now
        return []

    def _end_installation(self, event: Confirmed | InstallationOver, now: float) -> list[object]:
        self._asynchronous.pop("install", None)
        self._access_sent.pop("install", None)
        return [InstallationEnded(isinstance(event, Confirmed))]

    def _end_demand(self, event: Acknowledged | DemandOver, now: float) -> list[object]:
        self._asynchronous.pop("demand", None)
        self._access_sent.pop("demand", None)
        return [DemandEnded(isinstance(event, Acknowledged))]

    def _open_window(self, event: SentOpen, now: float) -> list[object]:
        config = self.config
        window = WINDOWS[config.mode, config.fast_response]
        self._open, self._close = now + window.earliest, now + window.latest
        self._until = self._close + config.tolerance + _LONGEST_DOWN[config.mode]
        return self._arm_repetition(event, now)

    def _always_on(self, event: SentPermanent, now: float) -> list[object]:
        self._receiving = True
        return self._arm_repetition(event, now)

    def _arm_repetition(self, event: SentOpen | SentPermanent, now: float) -> list[object]:
        if self._answering:
            self._repeat_at = self._clear_of_slots(event.sent.started + self.config.repetition)
        return []

    def _answer(self, event: Answerable, now: float) -> list[object]:
        self._session_until = now + FREQUENT_ACCESS_TIMEOUT
        self._answering = True
        window = WINDOWS[self.config.mode, event.fast]
        start, latest = now + window.earliest, now + window.latest
        if self.schedule.near(now, latest, _GUARD):
            return self._step(Yielded(), now)
        return self._send_answer(now, start, latest)

    def _repeat(self, event: RepetitionDue, now: float) -> list[object]:
        self._answering = True
        return self._send_answer(now, now, None)

    def _message_counters(self) -> tuple[int, ...]:
        """The message counters of the keys for the link."""
        return tuple(slot.counter for slot in self._memory.keys if slot.key_id < _APPLICATION_KEYS)

    def _send_answer(self, now: float, start: float, latest: float | None) -> list[object]:
        """The stored answer, with the link bits of today; made anew if SND-NR has used a higher counter meanwhile."""
        if self._counters != self._message_counters():
            self._session.renew(now)
            self._counters = self._message_counters()
        answer = self._session.answer
        assert answer is not None  # a session begins with an answer
        return self._send(answer.message, answer.c_field, answer.access_number, answer.body, now, start, latest,
                          destination=answer.destination)  # fmt: skip

    def _wait(self, event: Yielded | Withheld, now: float) -> list[object]:
        """The answer cannot leave: once more after t_TxD."""
        if self._answering:
            self._repeat_at = self._clear_of_slots(now + self.config.repetition)
        return []

    def _lose(self, event: FrameLost, now: float) -> list[object]:
        """Nobody said that the frame left: go on as if it had not."""
        self._promise = SentClosed
        self._receiving = self.config.access == "permanent"
        if self._answering:
            self._repeat_at = self._clear_of_slots(now + self.config.repetition)
        return []

    def _end_session(self, event: object, now: float) -> list[object]:
        self._session.forget()
        self.endpoint.end_session(now)
        self._session_until = self._repeat_at = _NEVER
        self._answering = False
        return []

    def _ignore(self, event: Stray, now: float) -> list[object]:
        return [Ignored(event.reason, event.frame)]

    def _nothing(self, event: object, now: float) -> list[object]:
        return []

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[Action, Enum]]] = dict(
        [
            *_to(State, PowerUp, _power_up, State.IDLE),
            *_same(_POWERED, ButtonPressed, _press),
            *_same(_POWERED, Demand, _demand),
            *_same(_POWERED, Trigger, _trigger),
            *_same(_POWERED, Stray, _ignore),
            # own transmissions
            *_to((State.IDLE, State.LISTENING), SlotDue, _slot, State.SENDING),
            *_to((State.ATTENTIVE, State.PAUSING), SlotDue, _slot, State.ANSWERING),
            *_same(_ON_AIR, SlotDue, _miss_slot),
            ((State.IDLE, AsynchronousDue), (_send_asynchronous, State.SENDING)),
            ((State.PAUSING, AsynchronousDue), (_send_asynchronous, State.ANSWERING)),
            *_same(_FREE, InstallationOver, _end_installation),
            *_same(_FREE, DemandOver, _end_demand),
            ((State.PAUSING, RepetitionDue), (_repeat, State.ANSWERING)),
            ((State.SENDING, Withheld), (_nothing, State.IDLE)),
            ((State.ANSWERING, Withheld), (_wait, State.PAUSING)),
            ((State.ANSWERING, Yielded), (_wait, State.PAUSING)),
            ((State.SENDING, FrameLost), (_lose, State.IDLE)),
            ((State.ANSWERING, FrameLost), (_lose, State.PAUSING)),
            # what a transmission promised
            ((State.SENDING, SentOpen), (_open_window, State.LISTENING)),
            ((State.SENDING, SentPermanent), (_always_on, State.IDLE)),
            ((State.SENDING, SentClosed), (_nothing, State.IDLE)),
            ((State.ANSWERING, SentOpen), (_open_window, State.ATTENTIVE)),
            ((State.ANSWERING, SentPermanent), (_always_on, State.PAUSING)),
            ((State.ANSWERING, SentClosed), (_end_session, State.IDLE)),
            *_same(_HEARING, SentClosed, _nothing),  # a frame that counted as lost
            ((State.LISTENING, WindowClosed), (_nothing, State.IDLE)),
            ((State.ATTENTIVE, WindowClosed), (_nothing, State.PAUSING)),
            # datagrams of a partner; in IDLE and PAUSING for devices that always listen
            *_to(_HEARING, Answerable, _answer, State.ANSWERING),
            *_same((State.IDLE, State.LISTENING), LinkReset, _end_session),
            ((State.ATTENTIVE, LinkReset), (_end_session, State.LISTENING)),
            ((State.PAUSING, LinkReset), (_end_session, State.IDLE)),
            *_same(_HEARING, Confirmed, _end_installation),
            *_same(_HEARING, Acknowledged, _end_demand),
            # t_TO
            ((State.ANSWERING, SessionExpired), (_end_session, State.SENDING)),
            ((State.ATTENTIVE, SessionExpired), (_end_session, State.LISTENING)),
            ((State.PAUSING, SessionExpired), (_end_session, State.IDLE)),
        ]
    )


#: what follows an asynchronous transmission of a kind
_FOLLOW: Final[dict[SpontaneousKind, Callable[[RadioDevice, float], None]]] = {
    "install": RadioDevice._follow_request,
    "demand": RadioDevice._follow_demand,
}
#: message -> what it is; all others ask for an answer
_HEARD: Final[dict[str, Callable[[RadioDevice, bytes, Datagram, float], list[object]]]] = {
    "SND-NKE": RadioDevice._reset,
    "CNF-IR": RadioDevice._confirmation,
    "ACK": RadioDevice._acknowledgement,
}
