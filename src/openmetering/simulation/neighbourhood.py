"""How many meters a neighbourhood bears: collisions of frames that nobody co-ordinates.

    one frame      arrives with P = (1 - 2 t / T)^(N - 1), about exp(-2 (N - 1) t / T):
                   N meters, a frame of t seconds every T seconds each, any overlap loses both
    one reading    needs one frame of those that carry it. A frame carries the reading of an instant if it is sent
                   inside the acceptance window (1 % of the registration period, before and after), or, with a
                   compact profile, up to three intervals later:
                       x = 2 * 1 % * period / T  (+ 3 with the profile)       frames on average
                   k = floor(x) frames are certain, one more comes with probability f = x - k

    exact          failure = (1 - f) q^k + f q^(k+1)                q = 1 - P
    published      failure = (k q^k + f q^(k+1)) / x

The published limits for 99 % (interval 90 s, frames of 29.5 ms) follow from the second rule to within one meter
for the lowest and 0.2 % for the others: it weighs a frame more or less by its share of the frames, not by how
often the window holds it. Read as probabilities the first rule is right, and it allows more meters. On the channel,
with individual intervals and clock errors, 25, 175 and 377 meters miss about 0.6, 0.8 and 1.0 % of the readings of
2, 3 and 4 h (first rule 0.64, 0.75, 0.88 %; second 0.99 %): meters with nearly equal intervals that have met once meet
again, which makes losses of successive frames dependent, the more the more meters there are. So the published limits are
on the safe side for short periods and have no reserve left at 4 h. That a period above 4 h does not widen the window
("4 h or more") is taken from the publication [?].

Sources: N. Abramson, The ALOHA system (1970); OMS Volume 2 Annex R release A: window of 1 %, n = 3 T / spacing + 2
values in a profile; the limits of meters: as makers of electricity meters print them for PTB-A 50.8, 11.1.3 (99 % of the
telegrams), clause to confirm.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

import msgspec

from openmetering.protocol.events import Heard, Transmit
from openmetering.protocol.radio.schedule import individual_interval
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.chance import Stream
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.propagation import Environment, Place
from openmetering.simulation.radio import Antenna, RadioChannel, Station

__all__ = [
    "PUBLISHED",
    "Trial",
    "Watch",
    "aloha",
    "exact_failure",
    "frames_in_window",
    "limit",
    "measure",
    "published_failure",
]

INTERVAL, AIRTIME, TARGET = 90.0, 0.0295, 0.99
_HOUR = 3600.0
_SHARE = 0.01  #: acceptance window: part of the registration period, on either side
_PROFILE = 3  #: intervals a compact profile reaches back
_LONGEST = 4.0  #: hours; longer periods do not widen the window [?]
#: (hours, with compact profile) -> meters at 99 %, interval 90 s, 29.5 ms
PUBLISHED: dict[tuple[float, bool], int] = {
    (2.0, False): 25, (3.0, False): 175, (4.0, False): 377,
    (0.25, True): 377, (0.5, True): 384, (1.0, True): 396, (2.0, True): 596, (3.0, True): 783, (4.0, True): 954,
}  # fmt: skip

Failure = Callable[[float, float], float]


def aloha(meters: int, interval: float = INTERVAL, seconds: float = AIRTIME) -> float:
    """Probability that a frame meets no other: each of the others begins within 2 t of it with 2 t / T."""
    return float((1.0 - 2.0 * seconds / interval) ** (meters - 1))


def frames_in_window(hours: float, *, profile: bool, interval: float = INTERVAL) -> float:
    """Frames on average that carry a reading of a registration period of so many hours."""
    window = 2.0 * _SHARE * min(hours, _LONGEST) * _HOUR / interval
    return window + (_PROFILE if profile else 0)


def exact_failure(loss: float, frames: float) -> float:
    """Probability that all frames with a reading are lost; ``frames`` on average, evenly spaced."""
    certain = math.floor(frames + 1e-9)
    more = frames - certain
    return float((1.0 - more) * loss**certain + more * loss ** (certain + 1))


def published_failure(loss: float, frames: float) -> float:
    """The rule behind the published limits: both cases weighed by their share of the frames."""
    certain = math.floor(frames + 1e-9)
    more = frames - certain
    return float((certain * loss**certain + more * loss ** (certain + 1)) / frames)


def limit(
    frames: float, failure: Failure, *, interval: float = INTERVAL, seconds: float = AIRTIME, target: float = TARGET
) -> float:
    """Meters up to which a reading arrives with the target probability; 0 if a window may hold no frame at all."""
    if frames < 1.0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if failure(middle, frames) <= 1.0 - target else (low, middle)
    return -math.log1p(-low) / (2.0 * seconds / interval)


# -- the same on the channel ------------------------------------------------------------------


class Trial(msgspec.Struct, frozen=True):
    """What a run on the channel gave. ``rate`` of lost frames, ``error`` its standard error from batches of frames;
    ``missed`` of the readings that were looked at in windows of ``width`` seconds."""

    frames: int
    lost: int
    rate: float
    error: float
    readings: int = 0
    missed: int = 0

    def agrees(self, expected: float, deviations: float = 3.0) -> bool:
        """True if the expected rate lies inside so many standard errors."""
        return abs(self.rate - expected) <= deviations * self.error


class Watch(msgspec.Struct, frozen=True):
    """Look at one meter: is there a frame inside ``width`` seconds from instants at random?"""

    width: float
    readings: int = 2000


class _Beacon:
    """A meter that does nothing but send at its individual intervals, clock off by up to 100 ppm."""

    __slots__ = ("_frame", "_interval", "_number", "_station")

    def __init__(self, station: Station, frame: bytes, interval: float, dice: Stream) -> None:
        self._station, self._frame = station, frame
        self._interval = interval * (1.0 + (dice() - 0.5) * 200e-6)
        self._number = int(dice() * 256)
        kernel = station.channel.kernel
        kernel.call_at(dice() * interval, self._send)

    def _send(self, now: float) -> None:
        self._number = (self._number + 1) & 0xFF
        self._station.channel.kernel.call_at(now + individual_interval(self._interval, self._number), self._send)
        self._station.transmit(Transmit(self._frame, now))


def _cell(meters: int, seed: int, mode: str, size: int, interval: float) -> tuple[Kernel, RadioChannel, Station]:
    """One gateway in the middle, meters around it at equal power: nobody is captured."""
    kernel = Kernel()
    channel = RadioChannel(kernel, seed, Environment(model="free-space", sigma=0.0, fading=0.0), enforce_duty=False)
    gateway = channel.attach("gateway", Place(), Antenna(hears=(mode,), uplink=True), "gateway")
    antenna = Antenna(mode=mode)
    dice = Stream("cell", seed)
    for number in range(meters):
        turn = 2.0 * math.pi * number / meters
        place = Place(x=20.0 * math.cos(turn), y=20.0 * math.sin(turn))
        frame = bytes((size - 1, 0x44)) + number.to_bytes(4, "little") + bytes(size - 6)
        _Beacon(channel.attach(f"meter {number}", place, antenna, "meter"), frame, interval, dice)
    return kernel, channel, gateway


def measure(
    meters: int,
    *,
    rounds: int = 200,
    seed: int = 0,
    mode: str = "S1",
    size: int = 20,
    interval: float = INTERVAL,
    watch: Watch | None = None,
) -> Trial:
    """Run a cell of meters for so many intervals and count. S1 with 20 octets lasts 29.5 ms."""
    kernel, channel, gateway = _cell(meters, seed, mode, size, interval)
    times: list[list[float]] = [[] for _ in range(meters)]

    def note(heard: Heard, air: AirInterface) -> None:
        times[int.from_bytes(heard.frame[2:6], "little")].append(heard.started)

    gateway.deliver = note
    sent, lost = [], []
    batches = 20
    for batch in range(1, batches + 1):
        kernel.run(batch * rounds * interval / batches)
        line = channel.account.total("gateway")
        sent.append(line.total)
        lost.append(line.lost("collision"))
    rates = [(b - a) / (d - c) for a, b, c, d in zip([0, *lost], lost, [0, *sent], sent, strict=False)]
    mean = sum(rates) / batches
    error = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (batches - 1) / batches)
    readings, missed = _readings(times, rounds * interval, watch, seed) if watch else (0, 0)
    return Trial(sent[-1], lost[-1], lost[-1] / sent[-1], error, readings, missed)


def _readings(times: list[list[float]], end: float, watch: Watch, seed: int) -> tuple[int, int]:
    """Windows at random instants of random meters without any frame in them."""
    dice = Stream("readings", seed)
    missed = 0
    for _ in range(watch.readings):
        own = times[int(dice() * len(times))]
        start = dice() * (end - watch.width)
        at = bisect_left(own, start)
        missed += at == len(own) or own[at] >= start + watch.width
    return watch.readings, missed
