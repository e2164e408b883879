"""Sources that also send: a stick with a gateway machine, a wired line with a gateway machine and a plan.

    door --receptions--> spool                        what is heard goes there like that of any source
    door --Heard, Octets--> machine --Transmit--> door
                            machine --Persist--> file  before the frames that depend on it leave
    daemon --post: Submit, Withdraw, GiveKey, Register, Forget--> machine --Answered, Failed, Alarm, ...--> ``tell``

A station is a door: ``run`` opens the line and serves until it is lost. Its machine outlives that; the memory of
the machine outlives the process. That memory holds communication keys that were renewed (never others): the file has mode
0600, and belongs on a disk that is as safe as the key file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar, cast

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import InputError, OmsError, TransportError
from openmetering.protocol.events import Heard, Octets, PowerUp, Transmit
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import (
    Alarm,
    Demanded,
    Forget,
    GatewayConfig,
    GatewayMemory,
    Installed,
    Persist,
    Register,
)
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.gateway.wired_gateway import PersistWired, RegisterSlave, WiredGateway, WiredMemory
from openmetering.protocol.machine import SansIO
from openmetering.protocol.wired.orders import AnswerReceived, ReadoutFailed
from openmetering.security import KeyRing
from openmetering.services.gatewayd.files import save
from openmetering.services.gatewayd.polling import PolledLine, PollPlan, Schedule
from openmetering.services.pump import Inbox, LinePort, LoopClock, Port, keep
from openmetering.services.radio_port import StickPort, radio_place
from openmetering.services.wired import find_place, open_link
from openmetering.transport.doors import Emit
from openmetering.transport.reception import Item, Notice, Reception
from openmetering.transport.serial_door import SerialDoor
from openmetering.transport.source_address import parse_source
from openmetering.transport.wired_door import target_text

__all__ = ["Posted", "RadioStation", "Station", "StationEvent", "WiredStation", "memory_path", "read_memory"]

Posted = Submit | Withdraw | GiveKey | Register | RegisterSlave | Forget
StationEvent = Answered | Failed | Alarm | Installed | Demanded
Tell = Callable[[str, StationEvent], None]
Memory = TypeVar("Memory", GatewayMemory, WiredMemory)
Came = TypeVar("Came", Heard, Octets)
_TOLD: Final = (Answered, Failed, Alarm, Installed, Demanded)


def memory_path(folder: Path, source: str) -> Path:
    """The file for the memory of a source; its name stays readable, and different for different sources."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", source).strip("-")[:40]
    return folder / f"machine-{plain}-{hashlib.sha256(source.encode()).hexdigest()[:8]}.json"


def read_memory(path: Path, kind: type[Memory]) -> Memory | None:
    """What a machine must not forget; None for a new one. Raises InputError (``state.unreadable``)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} cannot be used: {error}", code="state.unreadable", layer="storage") from None


class Station(Protocol):
    """A source that carries commands."""

    name: str

    async def run(self, emit: Emit) -> None:
        """Serve until the line is lost. Raises TransportError."""
        ...

    def post(self, event: Posted) -> None:
        """Something for the machine; it waits while the line is down."""
        ...

    def serves(self, address: Address) -> bool:
        """True if the device belongs to this station."""
        ...

    def open_tokens(self) -> frozenset[int]:
        """Exchanges of the process before, whose end the machine tells."""
        ...


class _OpenPort(Generic[Came]):
    """A port into which the daemon can put events as well."""

    __slots__ = ("_forward", "_inbox", "_port", "name")

    def __init__(self, port: Port[Came], inbox: Inbox[object]) -> None:
        self.name = port.name
        self._port: Port[Came] = port
        self._inbox = inbox
        self._forward = asyncio.ensure_future(self._move())

    async def _move(self) -> None:
        try:
            while True:
                for event in await self._port.wait(None):
                    self._inbox.put(event)
        except TransportError as error:
            self._inbox.fail(error)

    async def wait(self, seconds: float | None) -> Sequence[object]:
        """What came from either side."""
        return await self._inbox.take(seconds)

    async def send(self, transmit: Transmit, now: float) -> None:
        """To the line."""
        await self._port.send(transmit, now)

    async def retune(self, baud: int) -> None:
        """Of the line."""
        await self._port.retune(baud)

    async def close(self) -> None:
        """Close the line."""
        self._forward.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._forward
        await self._port.close()


class _Patient:
    """A machine that a wrong order does not stop: what it refuses by an error becomes a failed exchange or a notice."""

    __slots__ = ("_machine", "_notice")

    def __init__(self, machine: SansIO[object, object], notice: Callable[[str], None]) -> None:
        self._machine = machine
        self._notice = notice

    @property
    def deadline(self) -> float | None:
        """Of the machine."""
        return self._machine.deadline

    def receive(self, event: object, now: float) -> list[object]:
        """Something for the machine."""
        if not isinstance(event, Submit | Withdraw | GiveKey | Register | RegisterSlave | Forget):
            return self._machine.receive(event, now)
        try:
            return self._machine.receive(event, now)
        except OmsError as error:
            self._notice(f"{type(event).__name__} was refused: {error.message}")
            return [Failed(event.token, "refused-link", delivered=False)] if isinstance(event, Submit) else []

    def timeout(self, now: float) -> list[object]:
        """Time has passed."""
        return self._machine.timeout(now)


class _Served(ABC, Generic[Came]):
    """What both kinds of stations share: the machine, its memory, events from the daemon."""

    def __init__(self, name: str, machine: SansIO[object, object], path: Path, tell: Tell) -> None:
        self.name = name
        self._machine = _Patient(machine, self._say)
        self._path = path
        self._tell = tell
        self._clock: LoopClock | None = None
        self._inbox: Inbox[object] | None = None
        self._backlog: deque[object] = deque((PowerUp(),))
        self._out: asyncio.Queue[Item] = asyncio.Queue()
        self._enrolled: dict[Address, bool] = {}  #: what was posted and may not have reached the machine

    @abstractmethod
    def _links(self) -> Iterable[Address]:
        """The devices that the machine knows."""

    def serves(self, address: Address) -> bool:
        """True if the device belongs to this station."""
        posted = self._enrolled.get(address)
        return any(known == address for known in self._links()) if posted is None else posted

    def post(self, event: Posted) -> None:
        """Something for the machine; it waits while the line is down."""
        if isinstance(event, Register | RegisterSlave):
            self._enrolled[event.link.address] = True
        elif isinstance(event, Forget):
            self._enrolled[event.address] = False
        if self._inbox is None:
            self._backlog.append(event)
        else:
            self._inbox.put(event)

    def _say(self, message: str) -> None:
        self._out.put_nowait(Notice(self.name, message, "warning"))

    def _take(self, event: object) -> None:
        """What the machine puts out, frames excepted."""
        if isinstance(event, Persist | PersistWired):
            save(self._path, msgspec.json.encode(event.memory))
        elif isinstance(event, _TOLD):
            self._tell(self.name, event)
        else:
            self._heard(event)

    def _heard(self, event: object) -> None:
        """Something else that the machine says."""

    def _now(self) -> float:
        if self._clock is None:
            self._clock = LoopClock()
        return self._clock()

    async def _serve(self, port: Port[Came], emit: Emit) -> None:
        inbox: Inbox[object] = Inbox()
        while self._backlog:
            inbox.put(self._backlog.popleft())
        opened = _OpenPort(port, inbox)
        self._inbox = inbox
        forward = asyncio.ensure_future(self._forward(emit))
        try:
            await keep(self._machine, opened, self._take, clock=self._now, until=lambda: False)
        finally:
            self._inbox = None
            forward.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await forward
            await opened.close()

    async def _forward(self, emit: Emit) -> None:
        while True:
            await emit(await self._out.get())


def _link_keys(keys: KeyRing | None) -> KeyRing:
    return KeyRing() if keys is None else keys


class _Tap:
    """A door whose items go two ways: to the machine first, which may have to answer within milliseconds."""

    def __init__(self, door: SerialDoor, emit: Emit) -> None:
        self.name = door.name
        self._door = door
        self._emit = emit

    @property
    def stick(self) -> object:
        """The stick, when it has answered."""
        return self._door.stick

    async def run(self, emit: Emit) -> None:
        """As the door does."""

        async def both(item: Item) -> None:
            await emit(item)
            await self._emit(item)

        await self._door.run(both)

    def send(self, frame: bytes, mode: str) -> Awaitable[None]:
        """As the door does."""
        return self._door.send(frame, mode)


class RadioStation(_Served[Heard]):
    """A stick that sends. ``tell`` gets what the machine says about exchanges and devices.

    Raises InputError for a source that is no stick, keys that are no communication keys, a memory that is none
    """

    def __init__(self, name: str, at: str, config: GatewayConfig, keys: KeyRing | None, folder: Path, tell: Tell) -> None:
        self._address = parse_source(at)
        place = radio_place(self._address, self._now)
        mode = place.mode.upper()[:1]
        path = memory_path(folder, name)
        self.gateway = Gateway(
            msgspec.structs.replace(config, mode=mode, read="registered"),
            random.random,
            _link_keys(keys),
            read_memory(path, GatewayMemory),
        )
        super().__init__(name, cast("SansIO[object, object]", self.gateway), path, tell)

    def _links(self) -> Iterable[Address]:
        return (link.address for link in self.gateway.links)

    def open_tokens(self) -> frozenset[int]:
        """Exchanges that were under way when the process before ended; the machine tells their end."""
        return frozenset(order.token for order in self.gateway.memory(0.0).orders)

    async def run(self, emit: Emit) -> None:
        """Open the stick and serve."""
        place = radio_place(self._address, self._now)
        place.door = cast("SerialDoor", _Tap(place.door, emit))
        port = StickPort(place, _nothing)
        await port.open()
        await emit(Notice(self.name, "the stick answers; commands can be sent"))
        await self._serve(port, emit)


class WiredStation(_Served[Octets]):
    """A wired line with a plan. Raises InputError as ``RadioStation`` does."""

    def __init__(
        self,
        name: str,
        at: str,
        config: GatewayConfig,
        keys: KeyRing | None,
        folder: Path,
        tell: Tell,
        plans: Sequence[PollPlan],
        now: float,
    ) -> None:
        self._place = find_place(at)
        path = memory_path(folder, name)
        self.gateway = WiredGateway(
            config, random.random, _link_keys(keys), read_memory(path, WiredMemory), timing=self._place.timing
        )
        self.gateway.master.attempts = self._place.attempts
        self.line = PolledLine(self.gateway, Schedule(plans, now))
        super().__init__(name, cast("SansIO[object, object]", self.line), path, tell)

    def _links(self) -> Iterable[Address]:
        return (link.address for link in self.gateway.memory(0.0).links)

    def open_tokens(self) -> frozenset[int]:
        """Exchanges that were under way when the process before ended; the machine tells their end."""
        return frozenset(order.token for order in self.gateway.memory(0.0).orders)

    def _heard(self, event: object) -> None:
        if isinstance(event, AnswerReceived):
            hint = target_text(event.target)
            reception = Reception(event.frame, self._now(), self.name, mode="wired", crc=True, address_hint=hint)
            self._out.put_nowait(reception)
        elif isinstance(event, ReadoutFailed):
            self._out.put_nowait(
                Notice(self.name, f"{target_text(event.target)}: {event.reason}", "warning", "transport.readout")
            )

    async def run(self, emit: Emit) -> None:
        """Open the line and serve."""
        port = LinePort(self.name, await open_link(self._place))
        await emit(Notice(self.name, "the line is open"))
        try:
            await self._serve(port, emit)
        finally:
            self.line.line_lost(self._now())


def _nothing(_: Notice) -> None:
    """Notices of the door come through the tap."""
