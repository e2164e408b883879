"""The radio channel at frame level: who hears what, and why not.

    station.transmit(Transmit) -> wait for not_before -> on air -> Sent to the sender
                                                               -> Heard to every receiver that gets it

    on air      chips of the mode (``airtime``); a station is half duplex; its share of an hour is kept (a bucket
                that leaks with the allowed share: at most one hour's allowance at once)
    reach       path loss and shadowing of a pair are worked out once, for a sender and all receivers together
    noise       Ec/N0 -> packet error rate (``reception``), slow fading included
    collision   all other frames on the same channel while the frame is on air, their powers added; channels are
                600 kHz and more apart and do not disturb each other (a channel filter takes 20 to 30 dB and more)
    downlink    goes to the stations that hear downlink, if their window is open when the frame begins

Each transmission ends with one entry of the account for each intended receiver. Random numbers come from one
stream in the order of events: same seed, same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from operator import mul
from random import Random

import msgspec
import numpy as np

from openmetering.protocol.events import Heard, Sent, Transmit
from openmetering.simulation.account import (
    COLLISION,
    DUTY_CYCLE,
    HALF_DUPLEX,
    INJECTED,
    LATE,
    NOISE,
    OUT_OF_REACH,
    RECEIVED,
    RECEIVER_MODE,
    RECEIVER_OFF,
    Account,
)
from openmetering.simulation.airtime import AirInterface, air_interface, airtime, band_of, octets_on_air
from openmetering.simulation.chance import seed_of
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.propagation import Environment, Place, Places, path_loss, phases, swing, weights
from openmetering.simulation.reception import RECEIVERS, Receiver, capture_error, constants, deaf_below, quiet_above

__all__ = ["Antenna", "RadioChannel", "Station"]

_HOUR = 3600.0
_ANY = RECEIVERS["soft"].thresholds["T"]  #: stands for frames a receiver has no detector for
_MARGIN = 1e-9  #: seconds; a start that is later than allowed by rounding is not late
Deliver = Callable[[Heard, AirInterface], None]


class Antenna(msgspec.Struct, frozen=True):
    """Radio side of a station.

    ``power``     dBm ERP of the transmitter; ``gain`` dB of antenna and mounting, both directions
    ``mode``      in which it sends; ``hears`` the modes it receives
    ``uplink``, ``downlink``  which frames are meant for it
    ``receiver``  a name of RECEIVERS
    """

    power: float = 10.0
    gain: float = -3.0
    mode: str = "C"
    hears: tuple[str, ...] = ()
    uplink: bool = False
    downlink: bool = False
    receiver: str = "soft"
    frame_format: str = "A"


class Station:
    """A place on the channel. ``loss`` and ``corrupt`` are probabilities of injected faults; ``on`` is power.

    ``deliver``    is called with what it hears, ``sent`` with what it has sent
    ``listening``  tells whether its receiver is on at a time; None: always
    ``mode_of``    the mode for a frame, for stations that send in several
    """

    __slots__ = (
        "_loss",
        "account_name",
        "antenna",
        "bucket",
        "channel",
        "corrupt",
        "deliver",
        "epoch",
        "listening",
        "medium",
        "mode_of",
        "name",
        "number",
        "on",
        "place",
        "receiver",
        "sent",
        "tables",
        "taps",
        "tx_end",
    )

    def __init__(self, channel: RadioChannel, number: int, name: str, place: Place, antenna: Antenna, medium: str) -> None:
        self.channel, self.number, self.name = channel, number, name
        self.place, self.antenna, self.medium = place, antenna, medium
        self.receiver = RECEIVERS[antenna.receiver]
        self.account_name = name
        self.deliver: Deliver | None = None
        self.sent: Callable[[Sent], None] | None = None
        self.listening: Callable[[float], bool] | None = None
        self.mode_of: Callable[[Transmit], str] | None = None
        self.taps: list[Deliver] = []
        self.tables: dict[AirInterface, LinkTable] = {}
        self.bucket: dict[float, tuple[float, float]] = {}
        self.tx_end = -math.inf
        self.epoch = 0
        self.on = True
        self.corrupt = 0.0
        self._loss = 0.0

    @property
    def loss(self) -> float:
        """Probability that a fault takes a frame it sends or should hear."""
        return self._loss

    @loss.setter
    def loss(self, probability: float) -> None:
        self._loss = probability
        self.channel.watch_faults()

    def transmit(self, event: Transmit) -> None:
        """Send a frame within its limits of time."""
        self.channel.transmit(self, event)

    def switch(self, on: bool) -> None:
        """Power on or off. Off forgets what was waiting to be sent."""
        self.on = on
        self.epoch += 1


class Link(msgspec.Struct, frozen=True, gc=False):
    """From a sender to one receiver in reach, on one air interface.

    ``power`` mean dBm, ``floor`` noise dBm, ``fading`` weights of the slow waves, ``needed`` Ec/N0 in dB of the receiver.
    """

    receiver: Station
    power: float
    floor: float
    fading: tuple[float, float, float, float]
    needed: float
    fits: bool


#: a link as the loop over receivers wants it: receiver, counters, power, four weights of fading, and for receivers
#: that fit: Ec/N0 from which on noise does not matter minus floor, up to which nothing arrives, a and b of the error rate
_Row = tuple[Link, Station, list[int], float, float, float, float, float, float, float, float]


class LinkTable:
    """All receivers of a sender on one air interface. ``sent`` counts what those out of reach never hear."""

    __slots__ = ("by_number", "far", "receivers", "rows", "sent")

    def __init__(self, rows: list[_Row], far: list[tuple[list[int], int]], receivers: int) -> None:
        self.rows, self.far, self.receivers = rows, far, receivers
        self.by_number = {row[1].number: row[0] for row in rows}
        self.sent = 0

    def settle(self) -> None:
        """Write the account of the receivers out of reach."""
        for counts, number in self.far:
            counts[OUT_OF_REACH] += number * self.sent
        self.sent = 0

    def fail(self, cause: int) -> None:
        """A frame that never went on air: the same cause for all."""
        for row in self.rows:
            row[2][cause] += 1
        for counts, number in self.far:
            counts[cause] += number


class Transmission:
    """One frame on air. ``others`` are the frames that overlap it, ``off`` receivers without an open window."""

    __slots__ = ("air", "end", "frame", "off", "others", "sender", "start", "table")

    def __init__(self, sender: Station, frame: bytes, air: AirInterface, table: LinkTable, start: float, end: float) -> None:
        self.sender, self.frame, self.air, self.table, self.start, self.end = sender, frame, air, table, start, end
        self.others: list[Transmission] = []
        self.off: frozenset[int] = frozenset()


class RadioChannel:
    """All stations and everything on air. ``enforce_duty`` keeps the share of the hour of each sub-band."""

    def __init__(
        self, kernel: Kernel, seed: str | int = 0, environment: Environment | None = None, *, enforce_duty: bool = True
    ) -> None:
        self.kernel = kernel
        self.environment = environment or Environment()
        self.account = Account()
        self.enforce_duty = enforce_duty
        self.stations: list[Station] = []
        self.transmissions = 0
        self._seed = seed_of("radio", seed)
        self._random = Random(seed_of("radio dice", seed)).random
        self._faulty = False  #: some receiver has a fault injected
        self._active: dict[float, list[Transmission]] = {}
        self._receivers: dict[bool, tuple[list[Station], Places] | None] = {}

    def attach(self, name: str, place: Place, antenna: Antenna, medium: str, *, account_name: str | None = None) -> Station:
        """A new station. ``account_name`` groups receivers in one row (by default each has its own)."""
        station = Station(self, len(self.stations), name, place, antenna, medium)
        station.account_name = account_name or name
        self.stations.append(station)
        if antenna.uplink or antenna.downlink:
            self._forget_links()
        return station

    def settle(self) -> None:
        """Bring the account up to date; call before reading it."""
        for station in self.stations:
            for table in station.tables.values():
                table.settle()

    def watch_faults(self) -> None:
        """Look whether any station has a fault injected."""
        self._faulty = any(station.loss for station in self.stations)

    def _forget_links(self) -> None:
        self.settle()
        self._receivers.clear()
        for station in self.stations:
            station.tables.clear()

    def levels(self, sender: Station) -> dict[int, float]:
        """Mean power in dBm at the stations in reach of a sender (uplink, its own mode), by station number."""
        antenna = sender.antenna
        table = self._table(sender, air_interface(antenna.mode, frame_format=antenna.frame_format))
        return {number: link.power for number, link in table.by_number.items() if link.fits}

    # -- sending ------------------------------------------------------------------------------

    def transmit(self, station: Station, event: Transmit) -> None:
        """Start a frame now or later; too late, it is dropped and stands in the account."""
        now = self.kernel.now
        start = max(event.not_before, now, station.tx_end)
        if event.not_after is not None and start > event.not_after + _MARGIN:
            self._never(station, event, LATE)
        elif start > now:
            self.kernel.call_at(start, partial(self._due, station, event, station.epoch))
        else:
            self._begin(station, event, now)

    def _due(self, station: Station, event: Transmit, epoch: int, now: float) -> None:
        if station.epoch != epoch:
            return  # the power was cut meanwhile
        if station.tx_end > now:
            self.transmit(station, event)  # it is sending something else
        else:
            self._begin(station, event, now)

    def air_of(self, station: Station, event: Transmit) -> AirInterface:
        """How a station sends a frame."""
        antenna = station.antenna
        mode = antenna.mode if station.mode_of is None else station.mode_of(event)
        return air_interface(mode, downlink=event.downlink, frame_format=antenna.frame_format)

    def _never(self, station: Station, event: Transmit, cause: int) -> None:
        table = self._table(station, self.air_of(station, event))
        self.account.expected += table.receivers
        table.fail(cause)

    def _begin(self, station: Station, event: Transmit, now: float) -> None:
        if not station.on:
            return
        air = self.air_of(station, event)
        seconds = airtime(air, len(event.frame))
        if self.enforce_duty and not self._afford(station, air.channel, seconds, now):
            self._never(station, event, DUTY_CYCLE)
            return
        table = station.tables.get(air) or self._table(station, air)
        transmission = Transmission(station, event.frame, air, table, now, now + seconds)
        station.tx_end = transmission.end
        active = self._active.get(air.channel)
        if active is None:
            active = self._active[air.channel] = []
        for other in active:
            other.others.append(transmission)
            transmission.others.append(other)
        active.append(transmission)
        if event.downlink:
            receivers = [row[1] for row in table.rows]
            transmission.off = frozenset(one.number for one in receivers if one.listening is not None and not one.listening(now))
        self.transmissions += 1
        self.account.sent(station.medium, seconds)
        self.kernel.call_at(transmission.end, partial(self._finish, transmission))

    def _afford(self, station: Station, channel: float, seconds: float, now: float) -> bool:
        band = band_of(channel)
        if band is None:
            return True
        used, then = station.bucket.get(channel, (0.0, now))
        used = max(0.0, used - (now - then) * band.share) + seconds
        if used > band.share * _HOUR:
            return False
        station.bucket[channel] = (used, now)
        return True

    # -- receiving ----------------------------------------------------------------------------

    def _finish(self, transmission: Transmission, now: float) -> None:
        self._active[transmission.air.channel].remove(transmission)
        sender, table, frame, start = transmission.sender, transmission.table, transmission.frame, transmission.start
        if table is not sender.tables.get(transmission.air):  # stations came meanwhile
            table = transmission.table = self._table(sender, transmission.air)
        self.account.expected += table.receivers
        table.sent += 1
        others, off, random = transmission.others, transmission.off, self._random
        octets = octets_on_air(len(frame), transmission.air.frame_format)
        waves = swing(now)
        fast_sine, fast_cosine, slow_sine, slow_cosine = waves
        faulty = self._faulty
        heard: list[tuple[Station, float]] = []
        for link, receiver, counts, power, a, b, c, d, quiet, scale, slope in table.rows:
            level = power + a * fast_sine + b * fast_cosine + c * slow_sine + d * slow_cosine
            if not link.fits:
                fate = RECEIVER_MODE
            elif not receiver.on or receiver.number in off:
                fate = RECEIVER_OFF
            elif receiver.tx_end > start:
                fate = HALF_DUPLEX
            else:
                fate = RECEIVED
                if level < quiet:
                    error = scale * math.exp(-slope * 10.0 ** ((level - link.floor) / 10.0))
                    if error >= 1.0 or random() > (1.0 - error) ** octets:
                        fate = NOISE
                if others and fate == RECEIVED:
                    fate = self._collision(transmission, link, level, waves)
                if faulty and fate == RECEIVED and random() < max(sender.loss, receiver.loss):
                    fate = INJECTED
                if fate == RECEIVED:
                    heard.append((receiver, level))
            counts[fate] += 1
        transmission.others = []  # lets go of finished frames
        if sender.sent is not None and sender.on:
            sender.sent(Sent(frame, start))
        for receiver, power in heard:
            self._deliver(transmission, receiver, power)

    def _collision(self, transmission: Transmission, link: Link, power: float, waves: tuple[float, float, float, float]) -> int:
        """The frames that overlap, at this receiver. Those out of reach are part of the noise."""
        number, total, first = link.receiver.number, 0.0, True
        for other in transmission.others:
            rival = other.table.by_number.get(number)
            if rival is not None:
                strength = rival.power + sum(map(mul, rival.fading, waves))
                if other.start < transmission.start and strength - rival.floor > rival.needed:
                    first = False
            elif other.air.downlink != transmission.air.downlink:
                strength = self._stray(other, link.receiver)
            else:
                continue
            total += 10.0 ** (strength / 10.0)
        if not total:
            return RECEIVED
        ratio = power - 10.0 * math.log10(total)
        error = capture_error(transmission.air.detector, ratio, first=first, resync=link.receiver.receiver.resync)
        return COLLISION if error and self._random() < error else RECEIVED

    def _stray(self, other: Transmission, receiver: Station) -> float:
        """Power in dBm of a frame of the other direction on the same channel (modes S, T down)."""
        sender = other.sender
        there = Places([receiver.place], [receiver.number])
        loss = path_loss(self.environment, self._seed, other.air.channel, sender.number, sender.place, there)
        return sender.antenna.power + sender.antenna.gain + receiver.antenna.gain - float(loss[0])

    def _deliver(self, transmission: Transmission, receiver: Station, power: float) -> None:
        frame = transmission.frame
        corrupt = max(transmission.sender.corrupt, receiver.corrupt)
        if corrupt and self._random() < corrupt:
            at, bit = int(self._random() * (len(frame) - 1)) + 1, int(self._random() * 8)
            frame = frame[:at] + bytes((frame[at] ^ 1 << bit,)) + frame[at + 1 :]
        heard = Heard(frame, transmission.start, round(power * 2.0) / 2.0)
        for tap in receiver.taps:
            tap(heard, transmission.air)
        if receiver.deliver is not None:
            receiver.deliver(heard, transmission.air)

    # -- who hears whom ------------------------------------------------------------------------

    def _hearing(self, downlink: bool) -> tuple[list[Station], Places]:
        found = self._receivers.get(downlink)
        if found is None:
            stations = [one for one in self.stations if (one.antenna.downlink if downlink else one.antenna.uplink)]
            found = stations, Places([one.place for one in stations], [one.number for one in stations])
            self._receivers[downlink] = found
        return found

    def _table(self, sender: Station, air: AirInterface) -> LinkTable:
        """The links of a sender, worked out on its first frame."""
        table = sender.tables.get(air)
        if table is None:
            table = sender.tables[air] = self._work_out(sender, air)
        return table

    def _work_out(self, sender: Station, air: AirInterface) -> LinkTable:
        stations, places = self._hearing(air.downlink)
        if not stations:
            return LinkTable([], [], 0)
        environment = self.environment
        gains = np.array([one.antenna.gain for one in stations])
        loss = path_loss(environment, self._seed, air.channel, sender.number, sender.place, places)
        powers = (sender.antenna.power + sender.antenna.gain + gains - loss).tolist()
        fast, slow = (each.tolist() for each in phases(self._seed, sender.number, places))
        rows: list[_Row] = []
        far: dict[int, tuple[list[int], int]] = {}
        medium = sender.name if air.downlink else sender.medium
        for receiver, power, *angles in zip(stations, powers, fast, slow, strict=True):
            if receiver is sender:
                continue
            counts = self.account.row(receiver.account_name, medium)
            model: Receiver = receiver.receiver
            fits = air.mode in receiver.antenna.hears and model.hears(air.detector)
            points = model.thresholds.get(air.detector, _ANY)
            floor = model.floor(air.chip_rate)
            if power + environment.fading - floor <= deaf_below(points):
                far[id(counts)] = (counts, far.get(id(counts), (counts, 0))[1] + 1)
                continue
            fading = weights(environment.fading, (angles[0], angles[1]))
            link = Link(receiver, power, floor, fading, points[0], fits)
            rows.append((link, receiver, counts, power, *fading, floor + quiet_above(points), *constants(*points)))
        return LinkTable(rows, list(far.values()), len(rows) + sum(number for _, number in far.values()))
