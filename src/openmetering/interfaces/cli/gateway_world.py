"""A simulated world as a source of a gateway: ``world:FILE?speed=60&receiver=stairs``.

What a gateway of the world hears comes in as from a stick that stands in its place; virtual time passes ``speed`` times
as fast as real time, and times of reception are virtual. Commands do not go this way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from openmetering.errors import InputError
from openmetering.protocol.gateway.events import Received
from openmetering.simulation.doors.pacer import Pacer
from openmetering.simulation.world import World
from openmetering.transport.doors import Clock, Emit
from openmetering.transport.reception import Notice, Reception
from openmetering.transport.source_address import Options, SourceAddress, wrong

__all__ = ["WorldDoor"]


class WorldDoor:
    """The door of a world. Raises InputError for a world that cannot be read, or has no such gateway."""

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        self.name = address.name
        speed = options.text("speed", "1")
        receiver = options.text("receiver")
        options.done()
        try:
            self._speed = float(speed)
        except ValueError:
            self._speed = 0.0
        if not 0 < self._speed < 1e6:
            raise wrong(f"speed={speed}: write how many virtual seconds pass in a second")
        self._world = World.load(Path(address.target))
        gateways = list(self._world.gateways)
        if not gateways or (receiver and receiver not in gateways):
            raise InputError(f"{address.target}: receiver={receiver}; this world has {', '.join(gateways) or 'no gateway'}")
        self._gateway = self._world.gateways[receiver or gateways[0]]
        self._start = self._world.plan.world.start.timestamp()

    async def run(self, emit: Emit) -> None:
        """Let time pass until cancelled."""
        heard: asyncio.Queue[Reception] = asyncio.Queue()

        def hear(event: Received, now: float) -> None:
            heard.put_nowait(Reception(event.frame, self._start + now, self.name, rssi_dbm=event.rssi, crc=True))

        self._gateway.telegrams.append(hear)
        pacing = asyncio.ensure_future(Pacer(self._world.kernel, self._speed).run())
        await emit(Notice(self.name, f"the world runs {self._speed:g} times as fast as real time"))
        try:
            while not pacing.done():
                with contextlib.suppress(TimeoutError):
                    await emit(await asyncio.wait_for(heard.get(), 1.0))
            pacing.result()
        finally:
            self._gateway.telegrams.remove(hear)
            pacing.cancel()
            await asyncio.gather(pacing, return_exceptions=True)
