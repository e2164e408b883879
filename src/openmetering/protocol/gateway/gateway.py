"""The gateway: many devices on one radio, commands down, telegrams up.

    Heard --> copy of a repeater, repetition?  --> Received(duplicate)
          --> open, judge                      --> Received, Alarm
          --> SND-IR                           --> CNF-IR in the window, Installed; SND-NKE 5 to 25 s later
          --> ACC-DMD                          --> ACK in the window, Demanded; then REQ-UD1, REQ-UD2
          --> session of the device            --> Transmit, Answered, Failed

    RUNNING  --every event of the table--> RUNNING

The gateway has one state; what happens to an exchange stands in ``session``. Everything that must survive a power
cut is handed out as ``Persist`` in front of what depends on it. A new gateway around that memory goes on; the first
``PowerUp`` tells which exchanges were lost.

Source: OMS Volume 2 5.0.1 clauses 3.1.3, 5, 7 and 9, Annex I; Annex M release C, UC-01; Annex N.7, N.10, N.11.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import NotRepresentable
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway import frames
from openmetering.protocol.gateway.access import AT_ONCE, AccessNumbers, Transmitter, Window, airtime, window_after
from openmetering.protocol.gateway.events import (
    Alarm,
    Demanded,
    DeviceLink,
    Forget,
    GatewayConfig,
    GatewayInput,
    GatewayMemory,
    GatewayOutput,
    Installed,
    OpenOrder,
    Persist,
    Received,
    Register,
)
from openmetering.protocol.gateway.frames import Glance, glance, without_hop
from openmetering.protocol.gateway.partner_security import COMMANDS, Opened, PartnerSecurity
from openmetering.protocol.gateway.session import Session
from openmetering.protocol.machine import Dice, Machine
from openmetering.protocol.radio.datagram import ACC_DMD, HOP, SND_IR, Mode
from openmetering.security import KeyRing

__all__ = ["TRANSITIONS", "Gateway", "State"]

_COPIES_KEPT: Final = 300.0  #: seconds in which the same octets are a copy; an access number comes again much later
_COPIES_LIMIT: Final = 20_000
_GREETING: Final = (5.0, 25.0)  #: seconds from SND-IR to SND-NKE


class State(Enum):
    """A gateway runs."""

    RUNNING = "running"


class _Greeting(msgspec.Struct, frozen=True):
    """SND-NKE that is due behind an SND-IR: "I can hear you"."""

    due: float
    device: bytes
    frame: bytes
    mode: Mode


class Gateway(Machine[State]):
    """The operator's end of the radio link.

    ``keys`` are communication keys (KeyID 00..0F); ``memory`` is that of the gateway that was here before.
    Raises InputError (``key.invalid``) for a ring with application keys.
    """

    __slots__ = ("_active", "_busy", "_by_sender", "_config", "_copies", "_dice", "_greetings", "_lost", "_numbers", "_octets",
                 "_persisted", "_served", "_sessions", "_tokens", "_transmitter", "_unsaved", "security")  # fmt: skip

    def __init__(
        self, config: GatewayConfig, dice: Dice, keys: KeyRing | None = None, memory: GatewayMemory | None = None
    ) -> None:
        super().__init__(State.RUNNING)
        memory = memory or GatewayMemory()
        self.security = PartnerSecurity(keys, step=config.counter_step, reserve=config.counter_reserve, memory=memory.security)
        self._config = config
        self._octets = config.address.link_octets()
        self._dice = dice
        self._numbers = AccessNumbers(dice, memory.access)
        self._transmitter = Transmitter()
        self._sessions: dict[bytes, Session] = {}
        self._by_sender: dict[bytes, list[Session]] = {}
        self._active: set[bytes] = set()  #: devices whose session has a deadline
        self._tokens: dict[int, bytes] = {}
        self._lost = {order.token: order.sent for order in memory.orders}
        self._copies: dict[bytes, float] = {}
        self._greetings: list[_Greeting] = []
        self._served: set[bytes] = set()  #: devices whose counter alarm was raised
        self._unsaved = False
        self._persisted = float("-inf")
        for link in memory.links:
            self._attach(link)
        for address in memory.without_snd_ud2:
            session = self._sessions.get(address.link_octets())
            if session is not None:
                session.snd_ud2 = False

    # -- the interface -------------------------------------------------------------------------

    def receive(self, event: GatewayInput, now: float) -> list[GatewayOutput]:
        """Something happened. Raises ProtocolError for an unknown event, EncodeError for a command nothing can carry."""
        return self._finish(self._step(event, now), now)

    def timeout(self, now: float) -> list[GatewayOutput]:
        """Time has passed; does nothing before the deadline."""
        if self.deadline is None or now < self.deadline:
            return []
        out: list[object] = []
        for octets in [name for name in self._active if (self._sessions[name].deadline or now) <= now]:
            out += self._sessions[octets].timeout(now)
            self._look_after(octets)
        due = [greeting for greeting in self._greetings if greeting.due <= now]
        self._greetings = [greeting for greeting in self._greetings if greeting.due > now]
        for greeting in due:
            out += self._own_frame(greeting.frame, Window(now, now + AT_ONCE), greeting.mode, now)
        return self._finish(out, now)

    def memory(self, now: float) -> GatewayMemory:
        """What must survive, as it is now."""
        sessions = self._sessions.values()
        lost = [OpenOrder(token, sent) for token, sent in self._lost.items()]
        return GatewayMemory(
            self.security.snapshot(),
            tuple(session.link for session in sessions),
            self._numbers.snapshot(now),
            (*lost, *(OpenOrder(token, sent) for session in sessions for token, sent in session.orders)),
            tuple(session.link.address for session in sessions if session.link.snd_ud2 and not session.snd_ud2),
        )

    @property
    def links(self) -> tuple[DeviceLink, ...]:
        """The devices that are registered."""
        return tuple(session.link for session in self._sessions.values())

    def _finish(self, out: list[object], now: float) -> list[GatewayOutput]:
        """Put ``Persist`` in front where something must be stored; look after the deadline."""
        for event in out:
            if isinstance(event, Answered | Failed):
                self._tokens.pop(event.token, None)
        unsaved = self._unsaved or self.security.unsaved or self._numbers.unsaved
        every = self._config.persist_every
        if unsaved or (every is not None and now - self._persisted >= every and self._sessions):
            self._unsaved = self.security.unsaved = self._numbers.unsaved = False
            self._persisted = now
            out = [Persist(self.memory(now)), *out]
        times = [greeting.due for greeting in self._greetings]
        times += [deadline for name in self._active if (deadline := self._sessions[name].deadline) is not None]
        self.deadline = min(times, default=None)
        return out  # type: ignore[return-value]

    def _look_after(self, octets: bytes) -> None:
        """Keep account of a session that was touched."""
        session = self._sessions[octets]
        self._unsaved |= session.unsaved
        session.unsaved = False
        (self._active.discard if session.deadline is None else self._active.add)(octets)

    # -- devices -------------------------------------------------------------------------------

    def _attach(self, link: DeviceLink) -> None:
        self.security.enrol(link.address, link.profile, link.key_id, link.key_version)
        session = Session(link, self._config, self.security, self._numbers, self._transmitter, self._dice)
        self._sessions[link.address.link_octets()] = session
        self._by_sender.setdefault(link.sender.link_octets(), []).append(session)

    def _detach(self, octets: bytes) -> list[object]:
        session = self._sessions.pop(octets)
        self._active.discard(octets)
        sender = session.link.sender.link_octets()
        self._by_sender[sender].remove(session)
        if not self._by_sender[sender]:
            del self._by_sender[sender]
        return [Failed(token, "withdrawn", None if sent else False) for token, sent in session.orders]

    def _register(self, event: Register, now: float) -> list[object]:
        octets = event.link.address.link_octets()
        present = self._sessions.get(octets)
        if present is not None and present.link == event.link:
            return []
        out = [] if present is None else self._detach(octets)
        self._attach(event.link)
        self._unsaved = True
        return out

    def _forget(self, event: Forget, now: float) -> list[object]:
        octets = event.address.link_octets()
        if octets not in self._sessions:
            return []
        out = self._detach(octets)
        self.security.dismiss(event.address)
        self._unsaved = True
        return out

    def _give_key(self, event: GiveKey, now: float) -> list[object]:
        self.security.give_key(event.address, event.key, event.key_id, event.version)
        return []

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        """Exchanges of the time before are over; what became of those that were sent, nobody knows."""
        lost = dict(self._lost)
        for session in self._sessions.values():
            lost.update(session.orders)
        links, known = self.links, {session.link.address: session.snd_ud2 for session in self._sessions.values()}
        self._sessions, self._by_sender, self._active = {}, {}, set()
        self._tokens, self._copies, self._greetings, self._lost = {}, {}, [], {}
        for link in links:
            self._attach(link)
            self._sessions[link.address.link_octets()].snd_ud2 = known[link.address]
        self._unsaved |= bool(lost)
        return [Failed(token, "power", None if sent else False) for token, sent in lost.items()]

    # -- exchanges -----------------------------------------------------------------------------

    def _submit(self, event: Submit, now: float) -> list[object]:
        exchange = event.exchange
        if exchange.command is not None and exchange.command.protocol not in COMMANDS:
            protocol = exchange.command.protocol
            raise NotRepresentable(f"no command has protocol {protocol}", field="protocol", value=protocol)
        octets = exchange.address.link_octets()
        session = self._sessions.get(octets)
        if session is None or not session.link.bidirectional:
            return [Failed(event.token, "no-access", delivered=False)]
        self._tokens[event.token] = octets
        out = session.submit(event.token, exchange, now)
        self._look_after(octets)
        return list(out)

    def _withdraw(self, event: Withdraw, now: float) -> list[object]:
        octets = self._tokens.get(event.token)
        if octets is None:
            return []
        out = self._sessions[octets].withdraw(event.token, now)
        self._look_after(octets)
        return list(out or ())

    # -- radio ---------------------------------------------------------------------------------

    def _sent(self, event: Sent, now: float) -> list[object]:
        self._transmitter.sent(event.started, now)
        return []

    def _heard(self, event: Heard, now: float) -> list[object]:
        frame = event.frame
        heard = glance(frame)
        if heard is None:
            return [Received(None, frame, event.rssi, "unreadable")]
        sessions = self._by_sender.get(heard.sender, ())
        opened, out = self._read(event, bool(sessions), now)
        if opened is not None and opened.verdict == "replayed" and not any(session.awaits(heard) for session in sessions):
            return out  # an answer that is waited for may have been overtaken by SND-NR: it is asked for once more
        if heard.control == SND_IR:
            out += self._install(event, heard, opened, now)
        if heard.control == ACC_DMD and sessions:
            out += self._demand(event, heard, opened, now)
        if sessions and heard.uplink:
            for session in sorted(sessions, key=lambda one: not one.awaits(heard)):
                out += session.heard(heard, opened, event.rssi, now)
                self._look_after(session.link.address.link_octets())
        return out

    def _read(self, event: Heard, registered: bool, now: float) -> tuple[Opened | None, list[object]]:
        """Open a frame unless it is a copy of one that came before; tell about it."""
        frame = event.frame
        name = without_hop(frame)
        last = self._copies.get(name)
        if last is not None and now - last <= _COPIES_KEPT:
            return None, [Received(None, frame, event.rssi, "duplicate")]
        if not registered and self._config.read == "registered":
            self._remember(name, now)
            return None, [Received(None, frame, event.rssi, "unread")]
        opened = self.security.open(frame, now)
        if opened.verdict != "unreadable":  # it may be readable next time, with another key
            self._remember(name, now)
        out: list[object] = [Received(opened.telegram, frame, event.rssi, opened.verdict)]
        address = opened.telegram.address
        if registered and address is not None:
            out += self._alarms(address, opened)
        return opened, out

    def _remember(self, name: bytes, now: float) -> None:
        copies = self._copies
        copies.pop(name, None)
        copies[name] = now
        if len(copies) >= _COPIES_LIMIT or now - copies[next(iter(copies))] > 2 * _COPIES_KEPT:
            recent = {frame: at for frame, at in copies.items() if now - at <= _COPIES_KEPT}
            self._copies = recent if len(recent) < _COPIES_LIMIT else {name: now}

    def _alarms(self, address: Address, opened: Opened) -> list[object]:
        out: list[object] = []
        octets = address.link_octets()
        if opened.verdict == "replayed":
            out.append(Alarm(address, "replayed"))
        if opened.switched:
            self._served.discard(octets)
            out.append(Alarm(address, "key"))
        if opened.service and octets not in self._served:
            self._served.add(octets)
            out.append(Alarm(address, "counter"))
        complete = opened.verdict == "new" and not opened.telegram.fragment
        if complete and not opened.protected and octets in self._sessions:
            out.append(Alarm(address, "unprotected"))
        return out

    def _own_frame(self, frame: bytes, window: Window, mode: Mode, now: float) -> list[object]:
        """Send something that belongs to no session, if the transmitter is free."""
        seconds = airtime(mode, frame)
        if not self._transmitter.free(window, seconds):
            return []
        self._transmitter.plan(window, seconds, now)
        return [Transmit(frame, window.opens, window.closes, downlink=True)]

    def _demand(self, event: Heard, heard: Glance, opened: Opened | None, now: float) -> list[object]:
        """ACC-DMD: acknowledge with the numbers of the device, then ask it."""
        octets = heard.application or heard.sender
        session = self._sessions.get(octets)
        if session is None or heard.cc & HOP:
            return []
        link = session.link
        out: list[object] = [] if opened is None else [Demanded(link.address)]
        if heard.window:
            window = window_after(link.mode, now, fast=heard.fast)
            ack = frames.acknowledge(self._octets, octets, heard, frames.level(event.rssi), destination=self._ella(octets, heard))
            out += self._own_frame(ack, window, link.mode, now)
            session.quiet(window.closes)
        if opened is not None:
            out += session.demand(now)
        return out

    def _ella(self, device: bytes, heard: Glance) -> bytes:
        """The ELLA of an answer to a datagram nobody asked for: the adapter, where there is one."""
        adapter = device != heard.sender and not self._config.idis and heard.link_access is not None
        return heard.sender if adapter else b""

    def _install(self, event: Heard, heard: Glance, opened: Opened | None, now: float) -> list[object]:
        """SND-IR: confirm if the device is ours, and let the installer know that we can hear it."""
        if heard.cc & HOP:
            return []
        octets = heard.application or heard.sender
        session = self._sessions.get(octets)
        mode = self._config.mode if session is None else session.link.mode
        ella, status = self._ella(octets, heard), frames.level(event.rssi)
        out: list[object] = []
        if (session is not None or self._config.accepting) and heard.window:
            window = window_after(mode, now, fast=heard.fast)
            out += self._own_frame(frames.confirm(self._octets, octets, heard, status, destination=ella), window, mode, now)
            if session is not None:
                session.quiet(window.closes)
        if self._config.greeting and all(greeting.device != octets for greeting in self._greetings):
            shortest, longest = _GREETING
            number = self._numbers.take(octets, now) or 0
            link_number = None if heard.link_access is None else number
            frame = frames.pure(frames.SND_NKE, self._octets, octets, link_number, number, status, destination=ella)
            self._greetings.append(_Greeting(now + shortest + (longest - shortest) * self._dice(), octets, frame, mode))
        if opened is not None:
            adapter = None if octets == heard.sender else Address.from_link(heard.sender)
            out.append(Installed(Address.from_link(octets), adapter, session is not None, bool(out), opened.telegram))
        return out


#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: Final[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {
    (State.RUNNING, PowerUp): (Gateway._power_up, State.RUNNING),
    (State.RUNNING, Heard): (Gateway._heard, State.RUNNING),
    (State.RUNNING, Sent): (Gateway._sent, State.RUNNING),
    (State.RUNNING, Submit): (Gateway._submit, State.RUNNING),
    (State.RUNNING, Withdraw): (Gateway._withdraw, State.RUNNING),
    (State.RUNNING, GiveKey): (Gateway._give_key, State.RUNNING),
    (State.RUNNING, Register): (Gateway._register, State.RUNNING),
    (State.RUNNING, Forget): (Gateway._forget, State.RUNNING),
}
Gateway.TRANSITIONS = TRANSITIONS
