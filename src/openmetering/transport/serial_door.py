"""The door of radio sticks: finds out which one it is, sets it up, delivers, sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from openmetering.errors import TransportError
from openmetering.transport.doors import BackOff, Clock, Emit, check_format, keep_connected
from openmetering.transport.links import Link, open_serial
from openmetering.transport.reception import Notice, Reception
from openmetering.transport.source_address import Options, SourceAddress, wrong
from openmetering.transport.sticks import PROBE_ORDER, STICKS, Answer, Noise, Step, Stick, StickEvent

__all__ = ["SerialDoor"]

Opener = Callable[[str, int], Awaitable[Link]]
_Order = tuple[list[Step], "asyncio.Future[None]"]


async def _open(device: str, baud: int) -> Link:
    return await open_serial(device, baud)


class SerialDoor:
    """A serial line with a stick; ``stick=auto`` asks every known one.

    ``opener`` opens the line; tests and the simulator give their own.
    """

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time, opener: Opener = _open) -> None:
        options = Options(address)
        self.name = address.name
        self.device = address.target
        self.stick_name = options.text("stick", "auto" if fmt == "auto" else "rawtty" if fmt == "raw-serial" else "rtlwmbus")
        self.mode = options.text("mode") or None
        self.baud = options.number("baud", 0)
        check_format(options.text("format", fmt))
        options.done()
        if self.stick_name != "auto":
            kind = STICKS.get(self.stick_name)
            if kind is None:
                raise wrong(f"stick={self.stick_name} is unknown; choose auto, {', '.join(STICKS)}")
            kind(self.name).mode_name(self.mode)
        self.back_off = BackOff()
        self.stick: Stick | None = None
        self._clock = clock
        self._opener = opener
        self._orders: asyncio.Queue[_Order] = asyncio.Queue()
        self._heard: list[StickEvent] = []

    # -- running -------------------------------------------------------------------------

    async def run(self, emit: Emit) -> None:
        """Open, set up, deliver; after a loss (stick pulled out) wait for it to come back."""
        await keep_connected(
            self.name, lambda: self._connect(emit), lambda link: self._serve(link, emit), emit, back_off=self.back_off
        )

    async def send(self, frame: bytes, mode: str) -> None:
        """Send a frame without CRCs in a mode while ``run`` is under way. Raises TransportError."""
        if self.stick is None:
            raise TransportError(f"{self.name} is not open", code="transport.send", layer="transport")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._orders.put((self.stick.send(frame, mode), done))
        await done

    async def _connect(self, emit: Emit) -> Link:
        if self.stick_name == "auto":
            return await self._find(emit)
        stick = STICKS[self.stick_name](self.name)
        link = await self._opener(self.device, self.baud or stick.baud)
        try:
            await self._set_up(stick, link, emit)
        except BaseException:
            await link.close()
            raise
        return link

    async def _find(self, emit: Emit) -> Link:
        """Try the known sticks one after the other, each at its own speed."""
        for name in PROBE_ORDER:
            stick = STICKS[name](self.name)
            link = await self._opener(self.device, self.baud or stick.baud)
            try:
                if await self._perform(stick, link, stick.probe()):
                    await emit(Notice(self.name, f"found a stick {name}"))
                    await self._set_up(stick, link, emit)
                    return link
            except BaseException:
                await link.close()
                raise
            await link.close()
        raise TransportError(
            f"no known stick answers at {self.device}; name it with ?stick= ({', '.join(STICKS)})",
            code="transport.setup",
            layer="transport",
        )

    async def _set_up(self, stick: Stick, link: Link, emit: Emit) -> None:
        for step in stick.setup(self.mode):
            if not await self._perform(stick, link, step):
                raise TransportError(
                    f"the stick {stick.name} at {self.device} does not answer ({step.meaning})",
                    code="transport.setup",
                    layer="transport",
                )
        self.stick = stick
        for event in self._heard:
            if isinstance(event, Answer) and event.remark:
                await emit(Notice(self.name, event.remark))
        await self._deliver(emit)

    async def _serve(self, link: Link, emit: Emit) -> None:
        stick = self.stick
        assert stick is not None
        order = asyncio.ensure_future(self._orders.get())
        reading = asyncio.ensure_future(link.read())
        try:
            while True:
                await asyncio.wait((order, reading), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    octets = reading.result()
                    if not octets:
                        raise TransportError(f"{self.name} is gone", code="transport.lost", layer="transport")
                    self._heard += stick.feed(octets, self._clock())
                    await self._deliver(emit)
                    reading = asyncio.ensure_future(link.read())
                if order.done():
                    reading.cancel()
                    await asyncio.wait((reading,))
                    await self._obey(stick, link, order.result())
                    await self._deliver(emit)
                    order = asyncio.ensure_future(self._orders.get())
                    reading = asyncio.ensure_future(link.read())
        finally:
            order.cancel()
            reading.cancel()

    async def _obey(self, stick: Stick, link: Link, order: _Order) -> None:
        steps, done = order
        for step in steps:
            if not await self._perform(stick, link, step):
                if not done.done():
                    done.set_exception(
                        TransportError(f"the stick did not confirm: {step.meaning}", code="transport.send", layer="transport")
                    )
                return
        if not done.done():
            done.set_result(None)

    async def _perform(self, stick: Stick, link: Link, step: Step) -> bool:
        """Send a step until its answer comes; what is heard meanwhile is kept. False without an answer."""
        for _ in range(step.attempts):
            stick.begin(step)
            await link.write(step.send)
            if step.expect is None:
                return True
            loop = asyncio.get_running_loop()
            end = loop.time() + step.timeout
            while (left := end - loop.time()) > 0:
                try:
                    octets = await asyncio.wait_for(link.read(), left)
                except TimeoutError:
                    break
                if not octets:
                    raise TransportError(f"{self.name} is gone", code="transport.lost", layer="transport")
                events = stick.feed(octets, self._clock())
                self._heard += events
                if any(isinstance(event, Answer) and event.kind == step.expect for event in events):
                    return True
        return False

    async def _deliver(self, emit: Emit) -> None:
        events, self._heard = self._heard, []
        for event in events:
            if isinstance(event, Reception):
                await emit(event)
            elif isinstance(event, Noise):
                await emit(Notice(self.name, f"{len(event.octets)} octets skipped: {event.reason}", "debug", "input.noise"))
