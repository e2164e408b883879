"""The door of wired buses: a converter on a serial line or behind TCP, its slaves polled in turn."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

from openmetering.codec.address import Address, Selection
from openmetering.errors import InputError, TransportError
from openmetering.protocol.wired.master import (
    AnswerReceived,
    LineTiming,
    Octets,
    OutEvent,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    Transmit,
    WiredMaster,
)
from openmetering.security.patterns import AddressPattern
from openmetering.transport.doors import BackOff, Clock, Emit, keep_connected
from openmetering.transport.links import Link, open_serial, open_tcp
from openmetering.transport.reception import Notice, Reception
from openmetering.transport.source_address import Options, SourceAddress, wrong

__all__ = ["WiredDoor", "primary_addresses", "secondary_selection"]

Target = ReadPrimary | ReadSecondary
Opener = Callable[[], Awaitable[Link]]
_REASONS = {
    "no-answer": "does not answer",
    "disturbed": "answers with a disturbed frame (several slaves at once, or noise)",
    "not-selected": "is not on the bus (no slave took the selection)",
    "endless": "never says that it has no more telegrams",
    "aborted": "was given up",
}


def primary_addresses(text: str) -> list[int]:
    """Addresses of ``1,2,10-20``. Raises InputError (``input.source``)."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise wrong(f"address={text} is no list of primary addresses; write 1,2,10-20")
        first = int(match[1])
        last = int(match[2] or first)
        if last > 254 or first > last or 251 <= last <= 253 or last == 254 != first:
            raise wrong(f"address={part.strip()}: primary addresses are 0..250 (254 asks the only slave of a bus)")
        found += range(first, last + 1)
    return found


def secondary_selection(text: str) -> Selection:
    """A selection of eight digits (F as wildcard), of sixteen (as sent), or of a pattern like ELS-12345678-33-03.

    Raises InputError (``input.source``)
    """
    text = text.strip().upper()
    try:
        if re.fullmatch(r"[0-9A-F]{8}", text):
            return Selection(Address(0xFFFF, text, 0xFF, 0xFF))
        if re.fullmatch(r"[0-9A-F]{16}", text):
            # number as read, then maker, version and medium as sent (the form of libmbus)
            return Selection(Address.from_transport(bytes.fromhex(text[:8])[::-1] + bytes.fromhex(text[8:])))
        pattern = AddressPattern.parse(text)
    except InputError as error:
        raise wrong(f"secondary={text}: {error.message}") from None
    # 7Fh: the soft address bit of the maker never counts in a pattern, but a slave compares it
    fills = (0x00 if mask == 0x7F else 0xFF ^ mask for mask in pattern.mask)
    return Selection(Address.from_link(bytes(octet | fill for octet, fill in zip(pattern.octets, fills, strict=True))))


class WiredDoor:
    """Polls its targets every ``every`` seconds, or once.

    ``name`` stands in the receptions; the target is their address hint.
    """

    def __init__(
        self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time, opener: Opener | None = None
    ) -> None:
        options = Options(address)
        self.name = address.name
        tcp = address.scheme == "mbus+tcp"
        baud = options.number("baud", 2400)
        latency = options.seconds("latency", 0.5 if tcp else 0.1) or 0.0
        self.timing = LineTiming(baud, latency)
        self.every = options.seconds("every")
        self.attempts = max(1, options.number("attempts", 3))
        self.targets = _targets(options.text("address"), options.text("secondary"))
        options.done()
        self.back_off = BackOff()
        self._clock = clock
        self._opener = opener or (
            (lambda: open_tcp(address.target, address.port or 0))
            if tcp
            else (lambda: open_serial(address.target, baud, parity="E"))
        )

    async def run(self, emit: Emit) -> None:
        """Poll; without ``every`` once."""
        await keep_connected(
            self.name,
            self._opener,
            lambda link: self._serve(link, emit),
            emit,
            reconnect=self.every is not None,
            back_off=self.back_off,
        )

    async def _serve(self, link: Link, emit: Emit) -> None:
        master = WiredMaster(self.timing, attempts=self.attempts)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for target in self.targets:
                await self._read(master, target, link, emit)
            if self.every is None:
                return
            due = max(due + self.every, loop.time())
            while (left := due - loop.time()) > 0:
                try:
                    if not await asyncio.wait_for(link.read(), left):
                        raise TransportError(f"{self.name} is gone", code="transport.lost", layer="transport")
                except TimeoutError:
                    break

    async def _read(self, master: WiredMaster, target: Target, link: Link, emit: Emit) -> None:
        """One readout: drive the machine with the clock and the line."""
        loop = asyncio.get_running_loop()
        await self._act(master.receive(target, loop.time()), target, link, emit)
        while master.deadline is not None:
            try:
                octets = await asyncio.wait_for(link.read(), max(0.0, master.deadline - loop.time()))
            except TimeoutError:
                await self._act(master.timeout(loop.time()), target, link, emit)
                continue
            if not octets:
                raise TransportError(f"{self.name} is gone", code="transport.lost", layer="transport")
            await self._act(master.receive(Octets(octets), loop.time()), target, link, emit)

    async def _act(self, events: list[OutEvent], target: Target, link: Link, emit: Emit) -> None:
        for event in events:
            if isinstance(event, Transmit):
                pause = event.not_before - asyncio.get_running_loop().time()
                if pause > 0:
                    await asyncio.sleep(pause)
                await link.write(event.frame)
            elif isinstance(event, AnswerReceived):
                await emit(
                    Reception(event.frame, self._clock(), self.name, mode="wired", crc=True, address_hint=target_text(target))
                )
            elif isinstance(event, ReadoutFailed):
                await emit(Notice(self.name, f"{target_text(target)} {_REASONS[event.reason]}", "warning", "transport.readout"))


def target_text(target: Target) -> str:
    """A target for people."""
    if isinstance(target, ReadPrimary):
        return f"primary address {target.address}"
    return f"secondary address {target.selection.pattern.identification}"


def _targets(primary: str, secondary: str) -> list[Target]:
    targets: list[Target] = [ReadPrimary(number) for number in primary_addresses(primary)] if primary else []
    targets += [ReadSecondary(secondary_selection(part)) for part in secondary.split(",") if part.strip()]
    if not targets:
        raise wrong("a wired source needs slaves to ask: add ?address=1,2 or ?secondary=12345678")
    return targets
