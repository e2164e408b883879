"""A simulated radio receiver for a foreign program: a station of the radio world, a host interface, an outlet.

radio world --AirFrame--> dialect --octets--> program
radio world <--transmit-- dialect <--octets-- program
"""

from __future__ import annotations

import asyncio
from functools import partial

from openmetering.simulation.doors.outlets import Outlet
from openmetering.simulation.doors.pacer import Pacer
from openmetering.simulation.doors.port import AirFrame, AirOrder, Dialect, RadioPort

__all__ = ["RadioDoor"]


class RadioDoor:
    """Ties a station to an outlet while ``run`` is under way.

    Where time passes as fast as it can (AT_ONCE), it waits from now on for the first program, and for programs that
    read slowly, until ``run`` ends.
    """

    def __init__(self, port: RadioPort, pacer: Pacer, outlet: Outlet, dialect: Dialect) -> None:
        self.port = port
        self.pacer = pacer
        self.outlet = outlet
        self.dialect = dialect
        self.ready = asyncio.Event()
        self._came = asyncio.Event()
        self._release = pacer.hold(self._gate)

    async def run(self) -> None:
        """Serve until cancelled. ``ready`` is set when ``outlet.name`` can be told. Raises TransportError."""
        await self.outlet.open(self._receive, self._changed)
        silence = self.port.on_heard(self._heard)
        self.ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            silence()
            self._release()
            self.ready.clear()
            await self.outlet.close()

    async def _gate(self) -> None:
        await self._came.wait()
        await self.outlet.drained()

    def _heard(self, frame: AirFrame) -> None:
        octets = self.dialect.heard(frame)
        if octets and self.outlet.present:
            self.outlet.write(octets)

    def _receive(self, octets: bytes) -> None:
        for item in self.dialect.feed(octets):
            if isinstance(item, AirOrder):
                self.pacer.do(partial(self.port.transmit, item.frame, item.mode))
            else:
                self.outlet.write(item)

    def _changed(self, present: bool) -> None:
        if present:
            self._came.set()
        else:
            self.dialect.reset()
