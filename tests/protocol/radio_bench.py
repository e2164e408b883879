"""A bench for radio devices: runs their deadlines, tells them when their frames left, sends datagrams into their windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from openmetering.codec.address import Address
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.machine import SansIO
from openmetering.protocol.radio.credits import airtime
from openmetering.protocol.radio.datagram import WINDOWS, datagram
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import RadioConfig
from openmetering.protocol.radio.schedule import SlotPlan
from tests.protocol.fake_endpoint import GATEWAY, METER, FakeEndpoint

#: downlink C fields
SND_NKE, SND_UD2, SND_UD, REQ_UD1, REQ_UD2, ACK, CNF_IR = 0x40, 0x43, 0x53, 0x5A, 0x5B, 0x00, 0x06
AIRTIME = 0.005  #: seconds of a downlink frame


def dice(*numbers: float) -> Callable[[], float]:
    """The given numbers, then 0.5 for ever."""
    left = list(numbers)
    return lambda: left.pop(0) if left else 0.5


def down(
    c_field: int,
    access_number: int,
    *,
    sender: Address = GATEWAY,
    ala: Address | None = METER,
    ella: Address | None = None,
    transport: int = 1,
    control: int = 0x84,
    ci: int = 0x80,
    payload: bytes = b"",
) -> bytes:
    """A datagram of a gateway: ELL, then a long header, unless ``ala`` is None."""
    body = b"" if ala is None else bytes((ci,)) + ala.transport_octets() + bytes((transport, 0, 0, 0)) + payload
    return datagram(c_field, sender.link_octets(), body, control, access_number, b"" if ella is None else ella.link_octets())


class Bench:
    """``out`` collects (time, event); ``frames`` the frames that left with the time of their first chip."""

    def __init__(self, machine: SansIO[object, object], *, mode: str = "C", lose: bool = False) -> None:
        self.machine = machine
        self.mode = mode
        self.lose = lose
        self.now = 0.0
        self.out: list[tuple[float, object]] = []
        self.frames: list[tuple[float, bytes]] = []
        self.transmits: list[Transmit] = []
        self.ended = 0.0
        self._air: list[tuple[float, Sent]] = []

    def post(self, event: object, now: float | None = None) -> list[object]:
        """The machine receives an event."""
        if now is not None:
            self.run(now)
        return self._take(self.machine.receive(event, self.now))

    def run(self, until: float) -> None:
        """Time passes."""
        while True:
            ends = min((time for time, _ in self._air), default=float("inf"))
            wakes = self.machine.deadline
            next_time = min(ends, float("inf") if wakes is None else max(wakes, self.now))
            if next_time > until:
                break
            self.now = next_time
            if ends == next_time:
                ((_, sent),) = [pair for pair in self._air if pair[0] == ends]
                self._air = [pair for pair in self._air if pair[0] != ends]
                self.ended = ends
                self.frames.append((sent.started, sent.frame))
                self._take(self.machine.receive(sent, ends))
            else:
                self._take(self.machine.timeout(next_time))
        self.now = max(self.now, until)

    def next_frame(self, limit: float = 1e6) -> bytes:
        """Run until the next own frame has left."""
        count = len(self.frames)
        end = self.now + limit
        while len(self.frames) == count:
            times = [time for time, _ in self._air] + ([] if self.machine.deadline is None else [self.machine.deadline])
            assert min(times) <= end, "no frame came"
            self.run(max(min(times), self.now))
        return self.frames[-1][1]

    def hear(self, frame: bytes, delay: float | None = None, length: float = AIRTIME) -> list[object]:
        """A datagram whose first chip comes ``delay`` seconds after the end of the last own frame (middle of the window)."""
        if delay is None:
            fast = bool(self.frames[-1][1][11] & 0x40)
            window = WINDOWS[self.mode, fast]  # type: ignore[index]
            delay = (window.earliest + window.latest) / 2
        started = self.ended + delay
        self.run(started + length)
        return self._take(self.machine.receive(Heard(frame, started), self.now))

    def _take(self, events: list[object]) -> list[object]:
        for event in events:
            self.out.append((self.now, event))
            if isinstance(event, Transmit):
                self.transmits.append(event)
                if not self.lose:
                    start = max(event.not_before, self.now)
                    assert event.not_after is None or start <= event.not_after
                    seconds = airtime(self.mode, len(event.frame))  # type: ignore[arg-type]
                    self._air.append((start + seconds, Sent(event.frame, start)))
        return events

    def of(self, kind: type) -> list[object]:
        """The events of a kind that came out."""
        return [event for _, event in self.out if isinstance(event, kind)]

    def __iter__(self) -> Iterator[tuple[float, object]]:
        return iter(self.out)


def device(
    *numbers: float,
    endpoint: FakeEndpoint | None = None,
    memory: DeviceMemory | None = None,
    nominal: float = 400.0,
    power: bool = True,
    **options: object,
) -> tuple[Bench, RadioDevice, FakeEndpoint]:
    """A bidirectional mode C meter on a bench; power is on, access number 128, first transmission after 200 s."""
    options.setdefault("access", "short")
    options.setdefault("plan", SlotPlan(nominal=nominal))
    endpoint = endpoint or FakeEndpoint()
    config = RadioConfig(**options)  # type: ignore[arg-type]
    machine = RadioDevice(config, endpoint, memory or DeviceMemory(), dice(*numbers))
    bench = Bench(machine, mode=config.mode)  # type: ignore[arg-type]
    if power:
        bench.post(PowerUp())
    return bench, machine, endpoint
