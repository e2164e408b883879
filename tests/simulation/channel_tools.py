"""Small helpers for tests of the channel: stations that only send, and machines that only listen."""

from __future__ import annotations

from openmetering.protocol.events import Heard, Sent, Transmit
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.propagation import Environment, Place
from openmetering.simulation.radio import AirInterface, Antenna, RadioChannel, Station

#: no shadowing, no fading: powers follow from distance alone
CALM = Environment(model="free-space", sigma=0.0, fading=0.0)


def frame_of(size: int, mark: int = 0) -> bytes:
    """A frame of so many octets; the channel does not look inside."""
    return bytes((size - 1, 0x44)) + bytes((mark,)) * (size - 2)


class Ear:
    """Collects what a station hears and has sent."""

    def __init__(self, station: Station) -> None:
        self.heard: list[tuple[float, Heard]] = []
        self.airs: list[AirInterface] = []
        self.sent: list[tuple[float, Sent]] = []
        self.station = station
        station.deliver = self._deliver
        station.sent = self._sent

    def _deliver(self, heard: Heard, air: AirInterface) -> None:
        self.heard.append((self.station.channel.kernel.now, heard))
        self.airs.append(air)

    def _sent(self, event: Sent) -> None:
        self.sent.append((self.station.channel.kernel.now, event))

    @property
    def frames(self) -> list[bytes]:
        return [heard.frame for _, heard in self.heard]


class Yard:
    """A channel on an open field: one kernel, a gateway at 0 m, meters where the test wants them."""

    def __init__(self, environment: Environment = CALM, *, seed: int = 1, duty: bool = True) -> None:
        self.kernel = Kernel()
        self.channel = RadioChannel(self.kernel, seed, environment, enforce_duty=duty)

    def gateway(self, name: str = "gateway", x: float = 0.0, **changes: object) -> Ear:
        settings = {"hears": ("T", "C", "S"), "uplink": True, "gain": 0.0, "power": 14.0, **changes}
        return Ear(self.channel.attach(name, Place(x=x), Antenna(**settings), "gateway"))  # type: ignore[arg-type]

    def meter(self, x: float = 10.0, medium: str = "water", **changes: object) -> Ear:
        settings = {"gain": 0.0, **changes}
        return Ear(self.channel.attach(f"meter {x}", Place(x=x), Antenna(**settings), medium))  # type: ignore[arg-type]

    def send(self, ear: Ear, at: float, size: int = 47, *, mark: int = 0, downlink: bool = False) -> None:
        event = Transmit(frame_of(size, mark), at, None, downlink)
        self.kernel.call_at(at, lambda now: ear.station.transmit(event))

    def run(self, until: float = 3600.0) -> None:
        self.kernel.run(until)
        self.channel.settle()
