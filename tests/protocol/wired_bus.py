"""A wired bus for tests of machines, at frame level and deterministic; and applications that answer on it.

Octets of slaves that talk at the same time lie over each other: where two octets fall together the bits are joined by
AND, and what comes is handed on with ``disturbed``. Equal octets at the same time read as one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from openmetering.codec.address import Address, flag_value
from openmetering.codec.link.wired import ACK, WiredFrame, unframe
from openmetering.protocol.device.interface import DeviceEvent, Taken
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Octets, PowerUp, Transmit
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import SlaveConfig, WiredSlave

ELS = flag_value("ELS")


def address(number: int = 12345678, maker: str = "ELS", version: int = 0x33, device_type: int = 0x03) -> Address:
    return Address(flag_value(maker), f"{number:08d}", version, device_type)


class Application:
    """Implements ``Endpoint``: telegrams that it tells in turn, commands that it remembers."""

    def __init__(self, own: Address, telegrams: Iterable[bytes] = (b"\x01\x13\x05",), *, fragments: int = 1) -> None:
        self.address = own
        self.telegrams = list(telegrams)
        self.fragments = fragments
        self.deadline: float | None = None
        self.commands: list[bytes] = []
        self.calls: list[str] = []
        self.events: tuple[DeviceEvent, ...] = ()
        self.mine = self.complete = True
        self.alarms: list[bytes] = []
        self.numbers: list[int] = []
        self.place = 0

    def timeout(self, now: float) -> list[DeviceEvent]:
        self.deadline = None
        return [DeviceEvent("valve", value=1)]

    def power_up(self, now: float) -> None:
        self.calls.append("power_up")
        self.place = 0

    def take(self, frame: bytes, now: float) -> Taken:
        self.commands.append(unframe(frame)[0].data)
        return Taken(self.mine, self.complete, events=self.events)

    def acknowledge(self, access_number: int, now: float) -> bytes:
        raise AssertionError("the wire has no transport header in its ACK")

    def respond(self, access_number: int, now: float, largest: int) -> tuple[bytes, ...]:
        self.calls.append("respond")
        self.numbers.append(access_number)
        if not self.telegrams:
            return ()
        head = b"\x72" + self.address.transport_octets() + bytes((access_number, 0, 0, 0))
        body = head + self.telegrams[self.place]
        if self.fragments == 1:
            return (body + (b"\x1f" if self.more() else b""),)
        step = -(-len(body) // self.fragments)
        parts = [body[at : at + step] for at in range(0, len(body), step)]
        return tuple(
            bytes((0x90, 0x02, number + 1, 0x40 * (number + 1 < len(parts)))) + part for number, part in enumerate(parts)
        )

    def more(self) -> bool:
        return self.place + 1 < len(self.telegrams)

    def advance(self) -> None:
        self.calls.append("advance")
        self.place = self.place + 1 if self.more() else 0

    def end_session(self, now: float) -> None:
        self.calls.append("end_session")
        self.place = 0

    def spontaneous(self, kind: Any, access_number: int, now: float, *, ell: bool) -> bytes:
        raise AssertionError("a wired slave says nothing by itself")

    def alarm(self, now: float, access_number: int | None = None) -> bytes | None:
        return self.alarms.pop(0) if self.alarms else None


def slave(
    number: int = 12345678,
    primary: int = 0,
    *,
    telegrams: Iterable[bytes] = (b"\x01\x13\x05",),
    fragments: int = 1,
    fabrication: str | None = None,
    config: SlaveConfig | None = None,
    own: Address | None = None,
) -> WiredSlave:
    """A wired device with one logical slave."""
    application = Application(own or address(number), telegrams, fragments=fragments)
    logical = LogicalSlave(application, DeviceMemory(primary_address=primary), fabrication=fabrication)
    return WiredSlave([logical], config)


def application(device: WiredSlave, number: int = 0) -> Application:
    found = device.slaves[number].endpoint
    assert isinstance(found, Application)
    return found


class Meters:
    """Many simple slaves in one object, fast: selection by masks, one telegram each."""

    def __init__(
        self, meters: Iterable[tuple[Address, str | None]], *, delay_bits: Callable[[int], int] = lambda index: 22
    ) -> None:
        self.meters = list(meters)
        self.values = [_value(own, fabrication) for own, fabrication in self.meters]
        self.enhanced = [fabrication is not None for _, fabrication in self.meters]
        self.selected: list[int] = []
        self.delay_bits = delay_bits
        self.mute: set[int] = set()
        self.numbers = [index * 37 & 0xFF for index in range(len(self.meters))]

    def hear(self, octets: bytes) -> list[tuple[int, bytes]]:
        """The (delay in bits, answer) of each that answers."""
        frame, _ = unframe(octets)
        if frame.address != 253:
            return []
        if frame.control & 0x0F == 0x03:
            value, mask = _pattern(frame.data[1:])
            enhanced = len(frame.data) > 9
            self.selected = [
                index
                for index, own in enumerate(self.values)
                if not (own ^ value) & mask and (not enhanced or self.enhanced[index])
            ]
            return [(self.delay_bits(index), ACK) for index in self.selected]
        if frame.control == 0x40:
            selected, self.selected = self.selected, []
            return [(self.delay_bits(index), ACK) for index in selected]
        return [(self.delay_bits(index), self.answer(index)) for index in self.selected if index not in self.mute]

    def answer(self, index: int) -> bytes:
        """RSP-UD with an access number that counts."""
        own, number = self.meters[index][0], self.numbers[index]
        self.numbers[index] = (number + 1) & 0xFF
        return WiredFrame.long(0x08, 0, b"\x72" + own.transport_octets() + bytes((number, 0, 0, 0, 0x01, 0x13, 5))).encode()


def _value(own: Address, fabrication: str | None) -> int:
    return int.from_bytes(own.transport_octets() + bytes.fromhex(fabrication or "00000000")[::-1], "big")


def _pattern(data: bytes) -> tuple[int, int]:
    octets = data[:8] + (data[10:14] if len(data) > 8 else b"\xff" * 4)
    mask = bytes((0x0F if octet & 0x0F != 0x0F else 0) | (0xF0 if octet & 0xF0 != 0xF0 else 0) for octet in octets[:4])
    mask += (b"\x00\x00" if octets[4:6] == b"\xff\xff" else b"\xff\xff") + bytes(
        0 if octet == 0xFF else 0xFF for octet in octets[6:8]
    )
    mask += bytes((0x0F if octet & 0x0F != 0x0F else 0) | (0xF0 if octet & 0xF0 != 0xF0 else 0) for octet in octets[8:])
    return int.from_bytes(octets, "big"), int.from_bytes(mask, "big")


class Bus:
    """A master machine and its slaves. ``run`` lets time pass until the master has nothing due any more.

    ``spoil(index, frame)`` may change or drop (None) what slaves answer to request number ``index``; ``flagged`` False:
    the receiver does not tell parity errors. ``lost`` numbers of requests that nobody hears.
    """

    def __init__(self, slaves: Iterable[WiredSlave] = (), meters: Meters | None = None, *, baud: int = 2400) -> None:
        self.slaves = list(slaves)
        self.meters = meters
        self.baud = baud
        self.now = 0.0
        self.sent: list[bytes] = []
        self.times: list[float] = []
        self.told: list[Any] = []
        self.device_events: list[Any] = []
        self.lost: set[int] = set()
        self.spoil: Callable[[int, list[tuple[float, bytes]]], list[tuple[float, bytes]]] = lambda index, answers: answers
        self.flagged = True
        self._due: list[tuple[float, int, Octets]] = []
        self._number = 0
        for device in self.slaves:
            device.receive(PowerUp(), -10.0)
            device.timeout(-1.0)

    def run(self, machine: Any, order: object | None = None, *, until: float = 1e9) -> list[Any]:
        """What the master tells, but its requests."""
        first = len(self.told)
        if order is not None:
            self._route(machine.receive(order, self.now))
        while True:
            due = machine.deadline
            if self._due and (due is None or self._due[0][0] <= due):
                self.now, _, octets = heapq.heappop(self._due)
                self._route(machine.receive(octets, self.now))
            elif due is not None and due <= until:
                self.now = max(self.now, due)
                self._route(machine.timeout(self.now))
            else:
                return self.told[first:]

    def _route(self, events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                self._transmit(event)
            else:
                if type(event).__name__ == "LineRate":
                    self.baud = event.baud  # type: ignore[attr-defined]
                self.told.append(event)

    def _transmit(self, event: Transmit) -> None:
        index = len(self.sent)
        self.sent.append(event.frame)
        start = max(self.now, event.not_before)
        self.times.append(start)
        end = start + len(event.frame) * 11 / self.baud
        if index in self.lost:
            return
        answers: list[tuple[float, bytes]] = []
        for device in self.slaves:
            if device.deadline is not None and device.deadline <= end:
                self._collect(device.timeout(end), answers)
            if device.tune(self.baud):
                self._collect(device.receive(Octets(event.frame), end), answers)
        if self.meters is not None:
            answers += [(end + bits / self.baud, octets) for bits, octets in self.meters.hear(event.frame)]
        for when, octets in self._join(self.spoil(index, answers)):
            self._number += 1
            heapq.heappush(self._due, (when, self._number, octets))

    def _collect(self, events: Iterable[object], answers: list[tuple[float, bytes]]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                answers.append((event.not_before, event.frame))
            else:
                self.device_events.append(event)

    def _join(self, answers: list[tuple[float, bytes]]) -> list[tuple[float, Octets]]:
        """(end, octet) of every character, of one talker or of several in a stretch without pause."""
        character = 11 / self.baud
        stretches: list[list[tuple[float, bytes]]] = []
        end = float("-inf")
        for start, octets in sorted(answers):
            if start >= end:
                stretches.append([])
            stretches[-1].append((start, octets))
            end = max(end, start + len(octets) * character)
        out: list[tuple[float, Octets]] = []
        for stretch in stretches:
            whole = self._overlaid(stretch)
            first = stretch[0][0] + character
            out += [
                (first + at * character, Octets(whole.octets[at : at + 1], whole.disturbed)) for at in range(len(whole.octets))
            ]
        return out

    def _overlaid(self, stretch: list[tuple[float, bytes]]) -> Octets:
        first = stretch[0][0]
        if len({(start, octets) for start, octets in stretch}) == 1:
            return Octets(stretch[0][1])
        joined: dict[int, int] = {}
        for start, octets in stretch:
            shift = round((start - first) * self.baud / 11)
            for at, octet in enumerate(octets):
                joined[shift + at] = joined.get(shift + at, 0xFF) & octet
        return Octets(bytes(joined[at] for at in sorted(joined)), self.flagged)
