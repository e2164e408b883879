"""Use cases in real time: a head-end, a gateway machine, and the link to a device.

    procedure --steps--> Dialogue(operator, gateway) --frames--> port

    mbus:DEVICE, mbus+tcp://HOST:PORT     a wired bus
    serial:DEVICE, tcp://HOST:PORT        a radio stick that can send

What must not be forgotten (journals, counters, access numbers) is in the state file before a frame that needs it
leaves. The gateway holds the keys for the link only, the head-end all others.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol, TypeVar, cast

import msgspec

from openmetering.codec.address import Address, flag_value
from openmetering.errors import ExchangeFailed, InputError, OmsError
from openmetering.protocol.events import Heard, Octets
from openmetering.protocol.exchange import GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig, Installed, Persist, Register
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.gateway.wired_gateway import PersistWired, RegisterSlave, SlaveLink, WiredGateway
from openmetering.protocol.machine import SansIO
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.operator import Aborted, Finished, Operator, Start, Stop
from openmetering.protocol.operator.registration import Found
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.radio.datagram import Mode
from openmetering.protocol.wired.orders import ReadPrimary, ReadSecondary
from openmetering.security import KeyRing
from openmetering.services.dialogue import Dialogue
from openmetering.services.operator_state import OperatorState
from openmetering.services.pump import LinePort, LoopClock, Port, drive, keep
from openmetering.services.radio_port import StickPort, radio_place
from openmetering.services.wired import find_place, open_link
from openmetering.transport.source_address import SourceAddress, parse_source, wrong

__all__ = [
    "DEFAULT_GATEWAY",
    "Operation",
    "Performer",
    "Setup",
    "communication_keys",
    "found_device",
    "device_link",
    "open_operation",
    "slave_link",
]

R = TypeVar("R")
Came = TypeVar("Came", Heard, Octets)
Out = TypeVar("Out")
Tell = Callable[[object], None]

_LAST_COMMUNICATION: Final = 0x0F
_LINGER = 1.5  #: seconds in which a session may end in order (SND-NKE) when the work is done
#: a radio converter that has no address of its own; the soft bit says that it is unique in this installation only
DEFAULT_GATEWAY: Final = Address(0x8000 | flag_value("OMS"), "00000001", 1, 0x31)


class Setup(msgspec.Struct, frozen=True):
    """A device and how it is reached.

    ``keys``      all keys there are; each side takes those it may have
    ``profile``   none, A, B or D; empty: B where there is a key for the link, else none
    ``adapter``   the radio adapter in front of the device; ``fabrication`` number for enhanced selection
    ``patience``  seconds to wait for a window of the device
    ``largest``   L field that it can receive: 155, or 255 where it takes firmware over the radio
    """

    device: Address
    keys: KeyRing
    profile: str = ""
    adapter: Address | None = None
    fabrication: str | None = None
    patience: float = 14_400.0
    gateway: Address = DEFAULT_GATEWAY
    largest: int = 155
    idis: bool = False

    @property
    def used_profile(self) -> str:
        """The profile, with the default filled in."""
        return self.profile or ("B" if self.keys.find(self.device.link_octets()) else "none")


class Performer(Protocol):
    """Somewhere procedures are carried out."""

    head_end: HeadEnd

    async def perform(self, device: Address, procedure: Procedure[R], tell: Tell) -> R:
        """Carry a procedure through; ``tell`` gets Progress, Waiting and what the link says.

        Raises Refused, ExchangeFailed and what else the procedure raises; TransportError if the link fails
        """
        ...

    async def installation(self, device: Address, tell: Tell) -> Found:
        """Wait until somebody starts the installation of a device by hand (SND-IR); it was confirmed with CNF-IR then.

        Raises ExchangeFailed if nobody does, InputError where there is no such thing (wired)
        """
        ...


def communication_keys(keys: KeyRing) -> KeyRing:
    """The keys that a gateway may hold: KeyIDs 00..0F, and keys for every KeyID."""
    ring = KeyRing()
    for pattern, key in keys:
        if key.key_id is None or key.key_id <= _LAST_COMMUNICATION:
            ring.add(pattern, key.octets, key.key_id, key.version, key.label)
    return ring


def _version(setup: Setup, head_end: HeadEnd) -> int | None:
    """The version of the link key in use; None where the keys name no versions."""
    keys = setup.keys.find(setup.device.link_octets())
    if head_end.journal(setup.device).version(0) is None and any(key.version is None for key in keys):
        return None
    return head_end.version(setup.device, 0) if keys else None


def device_link(setup: Setup, head_end: HeadEnd, mode: str) -> DeviceLink:
    """The device as a gateway wants it described."""
    return DeviceLink(
        setup.device,
        setup.used_profile,
        setup.adapter,
        mode=cast(Mode, mode.upper()[:1]),
        largest=setup.largest,
        key_version=_version(setup, head_end),
    )


def slave_link(setup: Setup, head_end: HeadEnd, target: ReadPrimary | ReadSecondary | None) -> SlaveLink:
    """The device as a wired gateway wants it described."""
    primary = target.address if isinstance(target, ReadPrimary) else None
    return SlaveLink(setup.device, primary, setup.fabrication, setup.used_profile, key_version=_version(setup, head_end))


class Operation:
    """A gateway machine at a port, and the head-end above it."""

    __slots__ = ("_clock", "_gateway", "_patience", "_port", "_state", "head_end")

    def __init__(
        self,
        gateway: SansIO[Came | Submit | Withdraw | GiveKey, Out],
        port: Port[Came],
        head_end: HeadEnd,
        state: OperatorState,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self.head_end = head_end
        self._gateway = cast("SansIO[object, object]", gateway)
        self._port = cast("Port[object]", port)
        self._state = state
        self._clock = clock
        self._patience = patience

    async def perform(self, device: Address, procedure: Procedure[R], tell: Tell) -> R:
        """Carry a procedure through."""
        dialogue: Dialogue[object, object] = Dialogue(self._gateway, Operator(device))
        ends: list[Finished | Aborted] = []

        def hear(event: object) -> None:
            if isinstance(event, Finished | Aborted):
                ends.append(event)
            else:
                self._keep(event, tell)

        try:
            await drive(dialogue, self._port, Start(procedure), hear, clock=self._clock, until=lambda: bool(ends))
        except BaseException:
            with contextlib.suppress(OmsError):
                dialogue.receive(Stop(), self._clock())
            raise
        return cast(R, result_of(ends[0]))

    async def installation(self, device: Address, tell: Tell) -> Found:
        """Wait for SND-IR of a device, as long as the setup is patient."""
        if not isinstance(self._port, StickPort):
            raise InputError("on a wire nobody presses a button: leave --button out")
        found: list[Installed] = []

        def hear(event: object) -> None:
            if isinstance(event, Installed) and event.address == device:
                found.append(event)
            else:
                self._keep(event, tell)

        end = self._clock() + self._patience
        await keep(self._gateway, self._port, hear, clock=self._clock, until=lambda: bool(found), end=end)
        if not found:
            raise ExchangeFailed(f"{device}: nobody started its installation", reason="no-access", delivered=False)
        return found_device(found[0])

    async def tell_gateway(self, event: object) -> None:
        """Something for the gateway that needs no answer."""
        await drive(self._gateway, self._port, event, self._quiet, clock=self._clock, until=lambda: True)

    async def settle(self) -> None:
        """Let the session end in order, if the device gives a chance soon."""
        await keep(self._gateway, self._port, self._quiet, clock=self._clock, end=self._clock() + _LINGER)

    async def close(self) -> None:
        """Give the link back."""
        await self._port.close()

    def _keep(self, event: object, tell: Tell) -> None:
        if isinstance(event, Persist | PersistWired):
            self._state.keep_memory(event.memory)
        else:
            tell(event)

    def _quiet(self, event: object) -> None:
        self._keep(event, lambda event: None)


def found_device(installed: Installed) -> Found:
    """What SND-IR tells about a device."""
    telegram = installed.telegram
    if telegram is None:
        return Found(installed.address, installed.adapter)
    return Found(installed.address, installed.adapter, security=telegram.security, records=tuple(telegram.records))


def result_of(end: Finished | Aborted) -> object:
    """The result of a procedure. Raises its error."""
    if isinstance(end, Aborted):
        raise end.error
    return end.result


@contextlib.asynccontextmanager
async def open_operation(
    place: str, setup: Setup, state: OperatorState, notice: Callable[[str], None]
) -> AsyncIterator[Operation]:
    """Open a link for one device while the block runs; ``notice`` gets news of the door.

    Raises InputError (``input.source``), TransportError
    """
    address = parse_source(place)
    opener = _OPENERS.get(address.scheme)
    if opener is None:
        raise wrong(
            f"{place!r} is no link to a device; write mbus:DEVICE, mbus+tcp://HOST:PORT, serial:DEVICE?stick=... or tcp://HOST:PORT?stick=..."
        )
    head_end = HeadEnd(setup.keys, journals=state.journals, save=state.keep_journal)
    operation = await opener(address, setup, state, head_end, notice)
    try:
        yield operation
        await operation.settle()
    finally:
        await operation.close()


async def _wired(
    address: SourceAddress, setup: Setup, state: OperatorState, head_end: HeadEnd, notice: Callable[[str], None]
) -> Operation:
    place = find_place(address.text)
    config = GatewayConfig(setup.gateway, access_timeout=setup.patience, idis=setup.idis)
    gateway = WiredGateway(config, random.random, communication_keys(setup.keys), state.wired_memory(), timing=place.timing)
    gateway.master.attempts = place.attempts
    port = LinePort(place.name, await open_link(place))
    operation = Operation(gateway, port, head_end, state, LoopClock(), setup.patience)
    await operation.tell_gateway(RegisterSlave(slave_link(setup, head_end, place.target)))
    return operation


async def _radio(
    address: SourceAddress, setup: Setup, state: OperatorState, head_end: HeadEnd, notice: Callable[[str], None]
) -> Operation:
    clock = LoopClock()
    place = radio_place(address, clock)
    link = device_link(setup, head_end, place.mode)
    config = GatewayConfig(setup.gateway, access_timeout=setup.patience, idis=setup.idis, mode=link.mode, read="registered")
    gateway = Gateway(config, random.random, communication_keys(setup.keys), state.radio_memory())
    port = StickPort(place, lambda item: None if item.level == "debug" else notice(item.message))
    await port.open()
    operation = Operation(gateway, port, head_end, state, clock, setup.patience)
    await operation.tell_gateway(Register(link))
    return operation


_OPENERS = {"mbus": _wired, "mbus+tcp": _wired, "serial": _radio, "tcp": _radio}
