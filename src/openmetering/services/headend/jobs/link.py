"""A gateway machine at a link of this process as a carrier: orders and what the link brings go through one inbox.

    runner --send--> inbox --\\
    port ---events---------->  gateway machine --Transmit--> port
                                               --Answered, Failed--> runner
                                               --anything else-----> tell (what must be kept is kept there)

``run`` is a coroutine: it carries until it is cancelled, or raises TransportError when the link is gone. Orders that come
while nothing runs are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from openmetering.codec.address import Address
from openmetering.errors import TransportError
from openmetering.protocol.events import Transmit
from openmetering.protocol.exchange import Answered, Failed
from openmetering.protocol.machine import SansIO
from openmetering.services.headend.jobs.carriers import CarriedOrder, Deliver
from openmetering.services.pump import Inbox, Port, keep

__all__ = ["LinkCarrier"]

Came = TypeVar("Came")


class _Both(Generic[Came]):
    """A port with a second way in."""

    def __init__(self, port: Port[Came]) -> None:
        self.name = port.name
        self._port = port
        self.inbox: Inbox[Came | CarriedOrder] = Inbox()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while True:
                for came in await self._port.wait(None):
                    self.inbox.put(came)
        except TransportError as error:
            self.inbox.fail(error)

    async def wait(self, seconds: float | None) -> Sequence[Came | CarriedOrder]:
        """Whatever came first."""
        return await self.inbox.take(seconds)

    async def send(self, transmit: Transmit, now: float) -> None:
        """Let a frame leave."""
        await self._port.send(transmit, now)

    async def retune(self, baud: int) -> None:
        """Another rate."""
        await self._port.retune(baud)

    async def close(self) -> None:
        """Stop reading; the port itself stays as it is."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader


class LinkCarrier(Generic[Came]):
    """Serves the devices that ``serves`` names, with one gateway machine at one port.

    ``tell`` gets everything but frames and results, in order: Persist must be kept before it returns.
    """

    def __init__(
        self,
        name: str,
        gateway: SansIO[Came | CarriedOrder, object],
        serves: Callable[[Address], bool],
        tell: Callable[[object], None],
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._gateway = gateway
        self._serves = serves
        self._tell = tell
        self._clock = clock
        self._deliver: Deliver | None = None
        self._place: tuple[asyncio.AbstractEventLoop, Inbox[Came | CarriedOrder]] | None = None

    def serves(self, device: Address) -> bool:
        """True if the gateway serves the device and is running."""
        return self._place is not None and self._serves(device)

    def listen(self, deliver: Deliver) -> None:
        """Where results go."""
        self._deliver = deliver

    def send(self, order: CarriedOrder) -> None:
        """Take an order, from any thread. Raises TransportError (``transport.lost``) while the link is not open"""
        place = self._place
        if place is None:
            raise TransportError(f"{self.name} is not open", code="transport.lost", layer="transport")
        loop, inbox = place
        try:
            loop.call_soon_threadsafe(inbox.put, order)
        except RuntimeError:  # the loop has been closed
            raise TransportError(f"{self.name} is not open", code="transport.lost", layer="transport") from None

    async def run(self, port: Port[Came]) -> None:
        """Carry until cancelled. Raises TransportError if the link is gone, and what the machine raises"""
        both = _Both(port)
        self._place = (asyncio.get_running_loop(), both.inbox)
        try:
            machine = cast("SansIO[object, object]", self._gateway)
            await keep(machine, cast("Port[object]", both), self._hear, clock=self._clock, until=lambda: False)
        finally:
            self._place = None
            await both.close()

    def _hear(self, event: object) -> None:
        if isinstance(event, Answered | Failed):
            if self._deliver is not None:
                self._deliver(event)
            return
        self._tell(event)
