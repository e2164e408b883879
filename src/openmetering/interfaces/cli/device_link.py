"""From ``--via`` to somebody who carries out use cases: a real link, or a simulated world in virtual time."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Final, TypeVar, cast

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.link.wired import SELECTED, WiredFrame
from openmetering.interfaces.cli.simulate import needs_numpy
from openmetering.protocol.exchange import Command, Exchange
from openmetering.protocol.gateway.access import AccessNumbers
from openmetering.protocol.gateway.events import GatewayConfig
from openmetering.protocol.gateway.partner_security import COMMANDS, PartnerSecurity
from openmetering.protocol.gateway.session_order import DatagramMaker, Order
from openmetering.protocol.operator.describe import PlannedCommand, dry_run
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.wired.orders import ReadPrimary
from openmetering.services.operation import Performer, Setup, communication_keys, device_link, open_operation, slave_link
from openmetering.services.operator_state import OperatorState
from openmetering.services.wired import find_place
from openmetering.transport.source_address import SourceAddress, parse_source

__all__ = ["Planned", "Rehearsal", "open_performer", "rehearsal"]

R = TypeVar("R")
_SLICE = 60.0  #: virtual seconds between two chances for others
_SND_UD: Final = 0x73  #: with FCV and FCB, as the first command of a session
_REQ_UD2: Final = 0x7B


@contextlib.asynccontextmanager
async def open_performer(via: str, setup: Setup, state: OperatorState, notice: Callable[[str], None]) -> AsyncIterator[Performer]:
    """Somebody who reaches the device while the block runs. Raises InputError, TransportError."""
    address = parse_source(via)
    if address.scheme != "world":
        async with open_operation(via, setup, state, notice) as operation:
            yield operation
        return
    worlds = _worlds()
    world, after = worlds.load_world(address)
    setup = worlds.world_setup(world, setup)
    head_end = HeadEnd(setup.keys, journals=state.journals, save=state.keep_journal)
    world.run(after)
    yield worlds.WorldPerformer(world, head_end, setup.patience)


def _worlds() -> ModuleType:
    """What carries out use cases in worlds; it needs numpy. Raises InputError (``input.extra``)."""
    try:
        return importlib.import_module("openmetering.interfaces.cli.device_world")
    except ImportError as error:
        raise needs_numpy(error) from None


# -- dry runs ----------------------------------------------------------------------------------------


class Planned(msgspec.Struct, frozen=True):
    """A command: its CI and octets behind the transport header (hexadecimal), and the frames that carry it."""

    meaning: str
    ci: str
    octets: str
    frames: tuple[str, ...]


class Rehearsal(msgspec.Struct, frozen=True):
    """The commands with their frames; ``complete`` if there are no more when all goes well."""

    rows: tuple[Planned, ...]
    complete: bool
    stopped: str


Framer = Callable[[Exchange], list[bytes]]
_PACE = 2.0  #: seconds between two commands of a dry run: access numbers come again after 300 s


def rehearsal(via: str, setup: Setup, state: OperatorState, make: Callable[[HeadEnd], Procedure[R]]) -> Rehearsal:
    """What a procedure would send; nothing is opened, sent or written.

    Raises InputError, and what the procedure raises before its first command
    """
    address = parse_source(via)
    if address.scheme == "world":
        worlds = _worlds()
        setup = worlds.world_setup(worlds.load_world(address)[0], setup)
    head_end = HeadEnd(setup.keys, journals=state.journals)
    run = dry_run(cast("Callable[[HeadEnd], Procedure[object]]", make), head_end, setup.device)
    wired = address.scheme.startswith("mbus")
    framer = (_wired_framer if wired else _radio_framer)(address, setup, state, head_end)
    rows = tuple(_row(command, wired, setup.device, framer) for command in run.commands)
    return Rehearsal(rows, run.complete, run.stopped)


def _row(planned: PlannedCommand, wired: bool, device: Address, framer: Framer) -> Planned:
    command = None
    if planned.radio_ci is not None:
        protocol = next(name for name, codes in COMMANDS.items() if codes[0] == planned.radio_ci)
        command = Command(protocol, planned.octets)
    frames = framer(Exchange(device, command, planned.answer))
    ci = planned.wired_ci if wired else planned.radio_ci
    code = "" if ci is None else f"{ci:02X}"
    return Planned(planned.meaning, code, planned.octets.hex().upper(), tuple(frame.hex().upper() for frame in frames))


def _radio_framer(address: SourceAddress, setup: Setup, state: OperatorState, head_end: HeadEnd) -> Framer:
    """Frames as a gateway would send them next, from the L field on, without CRCs."""
    memory, config = state.radio_memory(), GatewayConfig(setup.gateway, idis=setup.idis)
    link = device_link(setup, head_end, address.options.get("mode", "c"))
    security = PartnerSecurity(communication_keys(setup.keys), step=config.counter_step, memory=memory.security)
    security.enrol(link.address, link.profile, link.key_id, link.key_version)
    maker = DatagramMaker(link, config, security, AccessNumbers(random.random))
    clock = itertools.count()

    def frames(exchange: Exchange) -> list[bytes]:
        order = Order(None, exchange, maker.first_phase(exchange, snd_ud2=link.snd_ud2))
        made: list[bytes] = []
        while (datagram := maker.build(order, next(clock) * _PACE, 0)) is not None:
            made.append(datagram.frame)
            if datagram.last:
                break
            order.part += 1
        return made

    return frames


def _wired_framer(address: SourceAddress, setup: Setup, state: OperatorState, head_end: HeadEnd) -> Framer:
    """Frames as a master would send them next; a slave that was selected has address 253."""
    memory, target = state.wired_memory(), find_place(address.text).target
    link = slave_link(setup, head_end, target)
    security = PartnerSecurity(communication_keys(setup.keys), memory=memory.security)
    security.enrol(link.address, link.profile, link.key_id, link.key_version)
    numbers = AccessNumbers(random.random)
    primary = target.address if isinstance(target, ReadPrimary) else SELECTED
    clock = itertools.count()

    def frames(exchange: Exchange) -> list[bytes]:
        if exchange.command is None:
            return [WiredFrame.short(_REQ_UD2, primary).encode()]
        number = numbers.take(link.address.link_octets(), next(clock) * _PACE) or 0
        parts = security.seal(link.address, exchange.command, number, wired=True, largest=link.largest)
        return [WiredFrame.long(_SND_UD, primary, part).encode() for part in parts]

    return frames
