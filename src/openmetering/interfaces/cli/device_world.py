"""A simulated world as the link of ``oms device``: use cases in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import ExchangeFailed, InputError
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import Installed
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.operator import Aborted, Finished, Operator, OperatorOutput, Start
from openmetering.protocol.operator.registration import Found
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.radio.events import ButtonPressed
from openmetering.security import KeyRing
from openmetering.services.keyfiles import read_keys
from openmetering.services.keyfiles import ring as ring_of_entries
from openmetering.services.operation import Setup, found_device
from openmetering.simulation.wired_post import SlavePost
from openmetering.simulation.world import World
from openmetering.transport.source_address import Options, SourceAddress

__all__ = ["WorldPerformer", "load_world", "world_setup"]

R = TypeVar("R")
_INSTALLATION = 600.0  #: virtual seconds in which a device has sent all its SND-IR
_SLICE = 60.0  #: virtual seconds between two chances for others


class WorldPerformer:
    """A simulated world: time passes as fast as the machine can."""

    def __init__(self, world: World, head_end: HeadEnd, patience: float) -> None:
        self.world = world
        self.head_end = head_end
        self._patience = patience
        self._operators = 0

    async def perform(self, device: Address, procedure: Procedure[R], tell: Callable[[object], None]) -> R:
        """Carry a procedure through, in virtual time."""
        world, partner = self.world, self.world.partner_of(device)
        kernel = world.kernel
        operator = Operator.numbered(device, self._operators)
        self._operators += 1
        ends: list[Finished | Aborted] = []

        def done(event: Answered | Failed) -> None:
            take(operator.receive(event, kernel.now))

        def take(events: list[OperatorOutput]) -> None:
            for event in events:
                if isinstance(event, Submit):
                    partner.submit(event.token, event.exchange, done)
                elif isinstance(event, Withdraw | GiveKey):
                    partner.tell(event)
                elif isinstance(event, Finished | Aborted):
                    ends.append(event)
                else:
                    tell(event)

        take(operator.receive(Start(cast("Procedure[object]", procedure)), kernel.now))
        quiet_since = kernel.now
        while not ends:
            until = kernel.now + _SLICE
            if operator.deadline is not None:
                until, quiet_since = min(until, operator.deadline), kernel.now
            await self._pass(until, lambda: bool(ends))
            take(operator.timeout(kernel.now))
            if not ends and kernel.now - quiet_since > 7 * self._patience:
                raise ExchangeFailed(f"{device}: no result within {kernel.now - quiet_since:.0f} s", reason="no-answer")
        end = ends[0]
        if isinstance(end, Aborted):
            raise end.error
        return cast(R, end.result)

    async def installation(self, device: Address, tell: Callable[[object], None]) -> Found:
        """Somebody presses the button of the device now."""
        post = self.world.device(device)
        gateways = self.world.gateways.values()
        if isinstance(post, SlavePost):
            raise InputError("on a wire nobody presses a button: leave --button out")
        found: list[Installed] = []

        def hear(event: object, now: float) -> None:
            if isinstance(event, Installed) and event.address == device and event.registered:
                found.append(event)

        for gateway in gateways:
            gateway.events.append(hear)
        post.post(ButtonPressed())
        await self._pass(self.world.now + _INSTALLATION, lambda: bool(found))
        for gateway in gateways:
            gateway.events.remove(hear)
        if not found:
            raise ExchangeFailed(f"{device}: no gateway heard its installation", reason="no-access", delivered=False)
        return found_device(found[0])

    async def _pass(self, until: float, over: Callable[[], bool]) -> None:
        """Let time pass event by event, so that it stops where something has ended."""
        kernel = self.world.kernel
        await asyncio.sleep(0)
        while not over() and (due := kernel.next_time) is not None and due <= until:
            kernel.run(due)
        if not over():
            kernel.run(until)


def load_world(address: SourceAddress) -> tuple[World, float]:
    """The world of a link, and how long it runs before anything is asked of it."""
    options = Options(address)
    after = options.seconds("after", 0.0) or 0.0
    options.done()
    return World.load(Path(address.target)), after


def world_setup(world: World, setup: Setup) -> Setup:
    """The keys of the caller, and behind them those of the world."""
    ring = KeyRing()
    for source in (ring_of_entries(read_keys(world.key_file(head_end=True).encode(), source="world").entries), setup.keys):
        for pattern, key in source:
            ring.add(pattern, key.octets, key.key_id, key.version, key.label)
    spec = world.device(setup.device).spec
    return msgspec.structs.replace(setup, keys=ring, profile=setup.profile or spec.group.profile)
