"""A property of some two hundred meters over twelve months, heard by two gateways; the past of a head-end made in seconds.

    year = PropertyYear(2025, faults=FAULT_KINDS)
    for batch in year.receptions():  head_end.ingest(batch)
    year.points, year.injected                        what is there, and what went wrong where
    year.points["Flat 3 cold water"].truth(at)        what was consumed since the beginning

Flats have cold and warm water, electricity, and heat meters or heat cost allocators; the building has main meters for cold
water, heat and electricity, whose consumption is the sum of their parts and two per cent. Two per cent of all telegrams
are lost. Everything follows from the seed: the twin without faults lives the same year.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.security.aes import BlockCipher
from openmetering.simulation.chance import seed_of
from openmetering.simulation.profiles import Calendar
from openmetering.simulation.property.faults import FAULT_KINDS, Injected
from openmetering.simulation.property.meters import (
    MEDIA,
    PropertyDevice,
    PropertyPoint,
    clock_octets,
    consumption,
    date_octets,
    mantissa,
    month_end,
    number,
    stored_head,
    telegram,
)
from openmetering.transport.reception import Reception

__all__ = ["PropertyYear"]

DAY: Final = 86_400.0
_HOUR: Final = 3600.0
_LOST: Final = 0.02
_BATCH: Final = 2000
_LOSSES: Final = 1.02  #: of a main meter over its parts
_MAKER: Final = 0x1593  #: ELS as the others of the simulation
_AREAS: Final = (48.0, 56.5, 62.0, 71.0, 84.5, 96.0)

Change = Callable[[float], float]


class PropertyYear:
    """One year; the first second is the beginning of 1 January in local time."""

    def __init__(
        self, year: int = 2025, *, meters: int = 203, seed: int = 1, faults: Collection[str] = (), zone: str = "Europe/Berlin"
    ) -> None:
        """Raises InputError for a fault of another name, or for less than forty meters"""
        strange = sorted(set(faults) - set(FAULT_KINDS))
        if strange or meters < 40:
            raise InputError(f"faults are {', '.join(FAULT_KINDS)}; a property has at least 40 meters")
        self.zone = ZoneInfo(zone)
        self.begin = datetime(year, 1, 1, tzinfo=self.zone).timestamp()
        self.end = datetime(year + 1, 1, 1, tzinfo=self.zone).timestamp()
        self.name = "Elm Court"
        self.seed = seed
        self.year = year
        self.points: dict[str, PropertyPoint] = {}
        self.injected: list[Injected] = []
        self.strangers: list[PropertyPoint] = []
        self._number = 30_000_000 + seed % 1000 * 10_000
        self._ciphers: dict[bytes, BlockCipher] = {}
        self._silent: dict[str, list[tuple[float, float]]] = {}
        self._status: dict[str, tuple[float, float, int]] = {}
        self._flags: dict[str, tuple[float, float, int]] = {}
        self._slow: dict[str, float] = {}
        self._times: dict[str, tuple[float, float, float]] = {}
        self._spikes: dict[str, tuple[float, float, int]] = {}
        self._wrong_stored: dict[str, tuple[str, float]] = {}
        self._other_key: dict[str, tuple[float, float]] = {}
        self._loss: dict[str, float] = {}
        self._again: list[tuple[str, float, float, float]] = []
        self._third: dict[str, float] = {}
        self._hops: dict[str, tuple[float, float]] = {}
        self._build(meters)
        for kind in FAULT_KINDS:
            if kind in faults:
                getattr(self, f"_put_{kind.replace('-', '_')}")()

    # -- the building -----------------------------------------------------------------------------------------

    def _build(self, meters: int) -> None:
        civil = Calendar(datetime(self.year, 1, 1))
        flats = (meters - 3) // 4
        parts: dict[str, list[PropertyPoint]] = {"cold water": [], "heat": [], "electricity": []}
        for flat in range(flats):
            heating = "heat" if flat % 3 else "heat cost allocator"
            for name in ("cold water", "warm water", "electricity", heating):
                seed = seed_of(self.seed, flat, len(name))
                flow = consumption(MEDIA[name].kind, seed, civil, self.begin)
                made = self._point(f"Flat {flat + 1} {name}", name, f"Flat {flat + 1}", _AREAS[flat % len(_AREAS)], flow)
                if name in parts:
                    parts[name].append(made)
        for name, below in parts.items():
            flow = _sum_of(below)
            made = self._point(f"Main {name}", name, "", 0.0, flow, main=True)
            made.offset = 0.0
        for place in (0, 1):
            # two flats are read each hour, as for a tariff that counts by the hour
            self.points[f"Flat {place + 2} electricity"].every = _HOUR
            self._loss[f"Flat {place + 2} electricity"] = 0.0

    def _point(
        self, label: str, medium: str, unit: str, area: float, flow: Callable[[float], float], *, main: bool = False
    ) -> PropertyPoint:
        dice = random.Random(seed_of(self.seed, label, 1))
        device = self._device(medium, self.begin - 900 * DAY, register=0 if main else dice.randrange(1000, 400_000))
        if medium == "heat":
            device = self._device(medium, self.begin - 900 * DAY, register=dice.randrange(100, 30_000))
        if medium == "electricity":
            device = self._device(medium, self.begin - 900 * DAY, register=dice.randrange(10_000, 30_000_000))
        gateways: tuple[str, ...] = ("east",) if dice.random() < 0.5 else ("west",)
        if dice.random() < 0.3:
            gateways = ("east", "west")
        made = PropertyPoint(
            label, MEDIA[medium], unit, area, main, flow, [device], 6 * _HOUR, dice.random() * 5 * _HOUR, gateways, [], []
        )
        self.points[label] = made
        return made

    def _device(self, medium: str, begin: float, *, register: int = 0, registered: bool = True) -> PropertyDevice:
        self._number += 1
        address = Address(_MAKER, f"{self._number:08d}", 0x33, MEDIA[medium].device_type)
        key = random.Random(seed_of(self.seed, self._number, 2)).randbytes(16)
        return PropertyDevice(address, key, begin, None, register, registered)

    # -- faults -----------------------------------------------------------------------------------------------

    def day(self, day: float) -> float:
        """A moment so many days after the beginning."""
        return self.begin + day * DAY

    def _tell(self, kind: str, label: str, first: float, last: float, what: str) -> None:
        self.injected.append(Injected(kind, label, self.day(first), self.day(last), what))

    def _shape(self, label: str, change: Change) -> None:
        self.points[label].extra.append(change)

    def _put_gap(self) -> None:
        self._silent.setdefault("Flat 1 cold water", []).append((self.day(60), self.day(72)))
        self._tell("gap", "Flat 1 cold water", 60, 72, "no telegrams for twelve days")

    def _put_exchange(self) -> None:
        self._exchange("Flat 2 cold water", 140.4, registered=True)
        self._tell("exchange", "Flat 2 cold water", 140.4, 140.4, "another device, registered")

    def _put_unregistered(self) -> None:
        self._exchange("Flat 3 cold water", 200.6, registered=False)
        self._tell("unregistered", "Flat 3 cold water", 200.6, 365, "another device that nobody registered")

    def _exchange(self, label: str, day: float, *, registered: bool) -> None:
        point = self.points[label]
        old = point.devices[-1]
        at = self.day(day)
        point.devices[-1] = PropertyDevice(old.address, old.key, old.begin, at, old.register, old.registered)
        point.devices.append(self._device(point.medium.name, at, registered=registered))

    def _put_roll_over(self) -> None:
        point = self.points["Flat 4 warm water"]
        old = point.devices[0]
        gone = point.counted(self.day(170)) - point.counted(old.begin)
        first = point.medium.capacity - int(gone * point.medium.factor)
        point.devices[0] = PropertyDevice(old.address, old.key, old.begin, None, first, True)
        self._tell("roll-over", point.label, 170, 171, "the register begins again at zero")

    def _put_backward(self) -> None:
        begin, end = self.day(100), self.day(103)

        def back(at: float) -> float:
            return -900.0 * min(1.0, max(0.0, (at - begin) / (end - begin)))

        self._shape("Flat 5 cold water", back)
        self._tell("backward", "Flat 5 cold water", 100, 110, "900 litres flow back within three days")

    def _put_clock(self) -> None:
        self._slow["Flat 5 heat"] = 20.0
        self._tell("clock", "Flat 5 heat", 6, 365, "20 s a day too slow")

    def _put_leak(self) -> None:
        begin, end = self.day(210), self.day(232)
        self._shape("Flat 6 cold water", lambda at: 14.0 * (min(max(at, begin), end) - begin) / _HOUR)
        self._tell("leak", "Flat 6 cold water", 210, 232, "14 litres an hour, day and night")

    def _put_frozen(self) -> None:
        begin = self.day(30)
        point = self.points["Flat 8 heat"]
        flow = point.flow
        self._stands(point, begin, self.day(110), flow)
        self._tell("frozen", point.label, 30, 110, "the register stands for eighty days")

    def _stands(self, point: PropertyPoint, begin: float, end: float, flow: Callable[[float], float]) -> None:
        """What went through meanwhile was not counted, and is lost: the register shows less for ever."""

        point.missed.append(lambda at: flow(min(max(at, begin), end)) - flow(begin))

    def _put_unit(self) -> None:
        self._times["Flat 9 heat"] = (self.day(150), self.day(158), 1000.0)
        self._tell("unit", "Flat 9 heat", 150, 158, "values a thousand times too large")

    def _put_replay(self) -> None:
        self._again.append(("Flat 10 cold water", self.day(240), self.day(243), self.day(261)))
        self._tell("replay", "Flat 10 cold water", 261, 264, "telegrams of three days are heard again three weeks later")

    def _put_duplicates(self) -> None:
        self._third["Flat 11 cold water"] = 31.0
        self._tell("duplicates", "Flat 11 cold water", 0, 365, "a third gateway reports each telegram 31 s later")

    def _put_dst(self) -> None:
        last = datetime(self.year, 10, 31, tzinfo=UTC)
        sunday = last - timedelta(days=(last.weekday() + 1) % 7)
        change = sunday.replace(hour=1).timestamp()
        self._silent.setdefault("Flat 2 electricity", []).append((change, change + _HOUR))
        day = (change - self.begin) / DAY
        self._tell("dst", "Flat 2 electricity", day, day + 1 / 24, "24 hourly values on the day of 25 hours")

    def _put_key(self) -> None:
        self._other_key["Flat 12 cold water"] = (self.day(80), self.day(82))
        self._tell("key", "Flat 12 cold water", 80, 82, "another key for two days")

    def _put_status(self) -> None:
        self._status["Flat 13 warm water"] = (self.day(120), self.day(126), 0x08)
        self._tell("status", "Flat 13 warm water", 120, 126, "permanent error")

    def _put_flags(self) -> None:
        self._flags["Flat 14 warm water"] = (self.day(130), self.day(133), 1 << 10)
        self._tell("flags", "Flat 14 warm water", 130, 133, "error flag water leakage")

    def _put_hops(self) -> None:
        self._hops["Flat 15 cold water"] = (self.day(90), self.day(100))
        self._tell("hops", "Flat 15 cold water", 90, 100, "copies over two repeaters")

    def _put_rate(self) -> None:
        self._spikes["Flat 16 cold water"] = (self.day(160), self.day(161), 5_000_000)
        self._tell("rate", "Flat 16 cold water", 160, 161, "5000 cubic metres more for a day")

    def _put_neighbour(self) -> None:
        civil = Calendar(datetime(self.year, 1, 1))
        flow = consumption("cold water", seed_of(self.seed, "next door"), civil, self.begin)
        device = self._device("cold water", self.begin - DAY, registered=False)
        self.strangers.append(
            PropertyPoint("next door", MEDIA["cold water"], "", 0.0, False, flow, [device], 6 * _HOUR, 100.0, ("east",), [], [])
        )
        self._tell("neighbour", "", 0, 365, str(device.address))

    def _put_lost(self) -> None:
        self._loss["Flat 17 cold water"] = 0.4
        self._tell("lost", "Flat 17 cold water", 0, 365, "four of ten telegrams are not heard")

    def _put_month(self) -> None:
        self._wrong_stored["Flat 18 cold water"] = ("month", self.day(150))
        self._tell("month", "Flat 18 cold water", 150, 180, "the value stored for a month is a third too large")

    def _put_due_date(self) -> None:
        self._wrong_stored["Flat 19 cold water"] = ("due", self.end)
        self._tell("due-date", "Flat 19 cold water", 364, 366, "the value stored for the due date is a third too large")

    def _put_bypass(self) -> None:
        main = self.points["Main cold water"]
        flow = main.flow
        main.flow = lambda at: flow(at) * 1.25
        self._tell("bypass", "Main cold water", 0, 365, "a quarter more than all flats")

    # -- what is heard ----------------------------------------------------------------------------------------

    def receptions(self, extra_days: float = 8.0) -> Iterator[list[Reception]]:
        """Everything that the gateways hear from a day before the beginning until some days after the end, in order of time."""
        begin, end = self.begin - DAY, self.end + extra_days * DAY
        moments: list[tuple[float, int, PropertyPoint]] = []
        points = [*self.points.values(), *self.strangers]
        for place, point in enumerate(points):
            dice = random.Random(seed_of(self.seed, point.label, 3))
            at = begin + point.offset % point.every
            while at < end:
                moments.append((at + dice.random() * 20.0, place, point))
                at += point.every
        moments.sort(key=lambda one: (one[0], one[1]))
        numbers: dict[str, int] = {}
        chance = {point.label: random.Random(seed_of(self.seed, point.label, 4)) for point in points}
        waiting: list[Reception] = []
        batch: list[Reception] = []
        kept: dict[str, list[tuple[float, Reception]]] = {}
        for at, _, point in moments:
            waiting += self._told(point, at, numbers, chance[point.label], kept)
            if len(waiting) >= _BATCH:
                # copies come late, so what is handed out is older than all that may still come
                waiting.sort(key=lambda one: one.received_at)
                ready = [one for one in waiting if one.received_at < at - 120.0]
                waiting = waiting[len(ready) :]
                batch += ready
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        rest = batch + sorted(waiting, key=lambda one: one.received_at)
        if rest:
            yield rest

    def _told(
        self,
        point: PropertyPoint,
        at: float,
        numbers: dict[str, int],
        dice: random.Random,
        kept: dict[str, list[tuple[float, Reception]]],
    ) -> Iterator[Reception]:
        device = point.device(at)
        if device is None:
            return
        name = device.address.identification
        numbers[name] = access = numbers.get(name, dice.randrange(256)) + 1
        chance, late = dice.random(), dice.random() * 0.3
        if chance < self._loss.get(point.label, _LOST) or any(
            begin <= at < end for begin, end in self._silent.get(point.label, ())
        ):
            return
        frame = self._frame(point, device, at, access, hop=False)
        for place, gateway in enumerate(point.gateways):
            yield Reception(frame, at + place * late, gateway, rssi_dbm=-70.0 - 12.0 * place, crc=True)
        if point.label in self._third:
            yield Reception(frame, at + self._third[point.label], "north", rssi_dbm=-88.0, crc=True)
        hops = self._hops.get(point.label)
        if hops is not None and hops[0] <= at < hops[1]:
            copy = self._frame(point, device, at, access, hop=True)
            for delay in (6.0, 13.0):
                yield Reception(copy, at + delay, point.gateways[0], rssi_dbm=-60.0, crc=True)
        yield from self._replayed(point.label, at, frame, kept)

    def _replayed(
        self, label: str, at: float, frame: bytes, kept: dict[str, list[tuple[float, Reception]]]
    ) -> Iterator[Reception]:
        for which, begin, end, again in self._again:
            if which != label:
                continue
            if begin <= at < end:
                kept.setdefault(label, []).append((at + again - begin + 700.0, Reception(frame, at, "east", crc=True)))
            elif at >= again:
                for when, old in kept.pop(label, ()):
                    yield Reception(old.frame, when, "east", rssi_dbm=-50.0, crc=True)

    def _frame(self, point: PropertyPoint, device: PropertyDevice, at: float, access: int, *, hop: bool) -> bytes:
        status = 0
        told = self._status.get(point.label)
        if told is not None and told[0] <= at < told[1]:
            status = told[2]
        key = device.key
        other = self._other_key.get(point.label)
        if other is not None and other[0] <= at < other[1]:
            key = bytes(reversed(key))
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = BlockCipher(key)
        return telegram(device, point.medium, access, status, self._records(point, device, at), cipher, hop=hop)

    def _records(self, point: PropertyPoint, device: PropertyDevice, at: float) -> bytes:
        medium = point.medium
        parts = [number(medium, medium.head, self._shown(point, device, at))]
        if medium.stored:
            day, moment = month_end(at, self.zone)
            year_day = datetime.fromtimestamp(at, self.zone).date().replace(month=1, day=1) - timedelta(days=1)
            due = datetime(year_day.year + 1, 1, 1, tzinfo=self.zone).timestamp()
            parts += (
                number(medium, stored_head(medium, 1), self._stored(point, device, "due", due)),
                bytes.fromhex("426C") + date_octets(year_day),
                number(medium, stored_head(medium, 8), self._stored(point, device, "month", moment)),
                bytes.fromhex("82046C") + date_octets(day),
            )
        if medium.clock:
            late = self._slow.get(point.label, 0.0) * max(0.0, at - self.begin) / DAY
            parts.append(bytes.fromhex("046D") + clock_octets(datetime.fromtimestamp(at - late, self.zone)))
        flags = self._flags.get(point.label)
        raised = flags[2] if flags is not None and flags[0] <= at < flags[1] else 0
        parts.append(bytes.fromhex("02FD971D") + raised.to_bytes(2, "little"))
        return b"".join(parts)

    def _shown(self, point: PropertyPoint, device: PropertyDevice, at: float) -> int:
        value = mantissa(point, device, at)
        times = self._times.get(point.label)
        if times is not None and times[0] <= at < times[1]:
            value = int(value * times[2])
        spike = self._spikes.get(point.label)
        if spike is not None and spike[0] <= at < spike[1]:
            value += spike[2]
        return value

    def _stored(self, point: PropertyPoint, device: PropertyDevice, kind: str, moment: float) -> int:
        """What the meter stored at a moment; a device that was not there yet has its first value."""
        value = mantissa(point, device, moment) if moment >= device.begin else device.register
        wrong = self._wrong_stored.get(point.label)
        if wrong is not None and wrong[0] == kind and abs(moment - wrong[1]) < 20 * DAY:
            value = value * 4 // 3
        return value


def _sum_of(points: list[PropertyPoint]) -> Callable[[float], float]:
    return lambda at: _LOSSES * sum(point.consumed(at) for point in points)
