"""Consumption over the year: what a register shows at a time, from seed and meter alone.

    register(t) = start + yearly * (C(t') - C(commissioning))

    C(t')    the medium's curve, summed up: a share of the year for each month (between the months a straight
             line), times a share of the week for each day, times a share of the day for each hour
    t'       the time as this household lives it: shifted by up to two hours, hurried and slowed by a wave of
             3.3 days (never backwards)
    yearly   log-normal around the median of the medium

The sums over days are made once for a medium and shared by all its meters; a register costs one look-up and a
few multiplications, and never goes back. Sensors: temperature and humidity follow the season and the hour, doors
open at times that hang on the seed.

Medians and shapes are round figures of German households (standard load profiles and statistics of utilities in
broad outline) [K]; they are there to be plausible, not to settle a bill.
"""

from __future__ import annotations

import datetime as dt
import math
from array import array
from functools import lru_cache

import msgspec

from openmetering.simulation.chance import normal, seed_of, uniform

__all__ = [
    "KINDS",
    "Calendar",
    "Consumption",
    "Kind",
    "air_temperature",
    "door_open",
    "humidity",
    "meter_seed",
    "next_door_change",
]

DAY = 86_400.0
_HOUR = 3600.0
_BEFORE = 3  #: years of the tables before the start of the world
_YEARS = 12  #: years of the tables in all
_WAVE = 3.3 * DAY
_HURRY = 5.0 * _HOUR  #: amplitude; times 2 pi / wave stays below 1, so time never runs backwards


class Kind(msgspec.Struct, frozen=True):
    """How a medium is used.

    ``median``   of a year, in ``unit``; ``sigma`` of its logarithm
    ``months``   shares of January to December; ``week`` of Monday to Sunday; ``hours`` of the day
    ``unit``     of the register: Wh, l (litres) or units
    """

    median: float
    sigma: float
    months: tuple[float, ...]
    hours: tuple[float, ...]
    week: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.05, 1.0)
    unit: str = "Wh"


_FLAT = (1.0,) * 12
_HEATING = (17.5, 14.6, 13.0, 8.0, 3.2, 1.0, 0.6, 0.7, 2.6, 8.0, 13.0, 17.8)
_HEATING_AND_WATER = (16.0, 13.5, 12.3, 8.2, 4.2, 2.3, 1.9, 2.0, 3.7, 8.2, 12.2, 15.5)
_COOLING = (0.1, 0.1, 0.5, 2.0, 8.0, 20.0, 28.0, 25.0, 12.0, 3.5, 0.6, 0.2)
_SUN = (2.6, 4.4, 8.2, 11.3, 13.4, 13.8, 13.9, 12.2, 9.3, 6.1, 2.9, 1.9)
_HOUSEHOLD = (2, 1.4, 1.2, 1.1, 1.2, 2, 4, 6, 6, 5, 5, 5.5, 6.5, 5.5, 5, 5, 5.5, 7, 9, 9.5, 8.5, 7, 5, 3)
_WATER = (0.6, 0.3, 0.2, 0.2, 0.5, 3, 9, 11, 8, 6, 5, 5, 5, 4.5, 4, 4, 4.5, 6, 7.5, 7, 6, 5, 3, 1.5)
_WARMTH = (3, 2.8, 2.8, 3, 3.5, 5, 6.5, 6.5, 5.5, 5, 4.5, 4, 4, 3.8, 3.8, 4, 4.5, 5, 5.2, 5, 4.6, 4.2, 3.8, 3)
_NOON = (0, 0, 0, 0, 0, 0.2, 1, 3, 6, 8.5, 10.5, 12, 12.5, 12, 10.5, 8.5, 6, 3.5, 1.5, 0.4, 0, 0, 0, 0)
_AFTERNOON = (2, 1.5, 1.2, 1, 1, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 8.5, 8.5, 8, 7.5, 6.5, 5.5, 4.5, 3.8, 3, 2.5)

#: media with a register
KINDS: dict[str, Kind] = {
    "electricity": Kind(2_900_000, 0.45, (10.2, 9.0, 9.0, 8.1, 7.6, 7.2, 7.1, 7.1, 7.4, 8.5, 9.2, 9.6), _HOUSEHOLD),
    "feed-in": Kind(7_800_000, 0.30, _SUN, _NOON, (1.0,) * 7),
    "gas": Kind(1_450_000, 0.40, _HEATING_AND_WATER, _WARMTH, unit="l"),
    "heat": Kind(8_500_000, 0.40, _HEATING, _WARMTH),
    "cooling": Kind(1_800_000, 0.40, _COOLING, _AFTERNOON),
    "cold water": Kind(42_000, 0.45, _FLAT, _WATER, unit="l"),
    "warm water": Kind(17_000, 0.50, (9.5, 8.7, 9.1, 8.4, 8.2, 7.6, 7.2, 7.2, 7.8, 8.5, 8.7, 9.1), _WATER, unit="l"),
    "heat cost allocator": Kind(1_100, 0.70, _HEATING, _WARMTH, unit="units"),
}


class Calendar(msgspec.Struct, frozen=True):
    """Virtual seconds and civil time: second 0 of the world is ``start`` (naive, standard time all year)."""

    start: dt.datetime

    def at(self, now: float) -> dt.datetime:
        """Civil time at a virtual time, whole seconds."""
        return self.start + dt.timedelta(seconds=math.floor(now))

    def seconds(self, moment: dt.datetime) -> float:
        """Virtual time of a civil time."""
        return (moment - self.start).total_seconds()

    def end_of(self, day: dt.date) -> float:
        """Virtual time at which a date is over."""
        return self.seconds(dt.datetime.combine(day, dt.time()) + dt.timedelta(days=1))


class _Table:
    """The curve of a medium in sums: years consumed up to each day, and to each hour of a day."""

    __slots__ = ("days", "hours", "origin")

    def __init__(self, kind: Kind, start: dt.datetime) -> None:
        first = dt.date(start.year - _BEFORE, 1, 1)
        self.origin = (dt.datetime.combine(first, dt.time()) - start).total_seconds()
        sums, total = array("d", (0.0,)), 0.0
        scale = sum(kind.months) / 12.0 * sum(kind.week) / 7.0 * 365.25
        for index in range(int(_YEARS * 365.25)):
            day = first + dt.timedelta(days=index)
            total += _season(kind.months, day) * kind.week[day.weekday()] / scale
            sums.append(total)
        self.days = sums
        share, hours = 0.0, array("d", (0.0,))
        for hour in kind.hours:
            share += hour / sum(kind.hours)
            hours.append(share)
        hours.append(share)
        self.hours = hours

    def years(self, now: float) -> float:
        """Years consumed from the beginning of the table to a virtual time."""
        day, second = divmod(now - self.origin, DAY)
        index = int(day)
        hour, rest = divmod(second, _HOUR)
        at = int(hour)
        share = self.hours[at] + (self.hours[at + 1] - self.hours[at]) * rest / _HOUR
        begun = self.days[index]
        return begun + (self.days[index + 1] - begun) * share


def _season(months: tuple[float, ...], day: dt.date) -> float:
    """Weight of a day: straight lines between the middles of the months."""
    place = day.month - 1 + (day.day - 15.5) / 30.5
    low = math.floor(place)
    return months[low % 12] + (months[(low + 1) % 12] - months[low % 12]) * (place - low)


@lru_cache(maxsize=64)
def _table(name: str, start: dt.datetime) -> _Table:
    return _Table(KINDS[name], start)


class Consumption:
    """The register of one meter: ``value(now)`` in the unit of its kind, ``rate(now)`` per hour.

    Tables reach from three years before the start of the world to nine years after it.
    """

    __slots__ = ("_begin", "_phase", "_shift", "_table", "start", "yearly")

    def __init__(
        self, kind: str, seed: int, calendar: Calendar, *, yearly: float | None = None, start: float | None = None
    ) -> None:
        shape = KINDS[kind]
        self._table = _table(kind, calendar.start)
        self.yearly = yearly if yearly is not None else shape.median * math.exp(shape.sigma * normal(seed, 1))
        self._shift = (uniform(seed, 2) - 0.5) * 4.0 * _HOUR
        self._phase = 2.0 * math.pi * uniform(seed, 3)
        self._begin = self._table.years(self._lived(-400.0 * DAY))
        self.start = start if start is not None else self.yearly * 6.0 * uniform(seed, 4)

    def _lived(self, now: float) -> float:
        return now + self._shift + _HURRY * math.sin(now * (2.0 * math.pi / _WAVE) + self._phase)

    def value(self, now: float) -> float:
        """What the register shows. Never less than at an earlier time."""
        return self.start + self.yearly * (self._table.years(self._lived(now)) - self._begin)

    def rate(self, now: float, span: float = 900.0) -> float:
        """Gain per hour over the last quarter of an hour."""
        return (self.value(now) - self.value(now - span)) * _HOUR / span


# -- sensors ----------------------------------------------------------------------------------


def air_temperature(seed: int, calendar: Calendar, now: float) -> float:
    """Room temperature in degrees C: season, hour, and a whim of the hour."""
    moment = calendar.at(now)
    season = math.cos(2.0 * math.pi * (moment.timetuple().tm_yday - 200) / 365.25)
    hour = math.sin(2.0 * math.pi * (now % DAY) / DAY + 2.0 * math.pi * uniform(seed, 6))
    return 20.5 + 2.5 * season + 0.8 * hour + 0.6 * (uniform(seed, 7, int(now // _HOUR)) - 0.5) + 2.0 * (uniform(seed, 8) - 0.5)


def humidity(seed: int, calendar: Calendar, now: float) -> float:
    """Relative humidity in per cent, opposite to the temperature of the air, with showers in the morning."""
    dry = air_temperature(seed, calendar, now) - 20.5
    shower = 9.0 * uniform(seed, 9, int(now // DAY)) * math.exp(-(((now % DAY) - 7.2 * _HOUR) ** 2) / (2 * 2700.0**2))
    return max(20.0, min(95.0, 48.0 - 1.8 * dry + shower + 3.0 * (uniform(seed, 10, int(now // _HOUR)) - 0.5)))


def _opening(seed: int, slot: int) -> tuple[float, float] | None:
    """When a door opens and closes in an hour, virtual seconds; None if it stays shut."""
    hour = slot % 24
    if uniform(seed, 11, slot) >= (0.25 if 6 <= hour < 23 else 0.01):
        return None
    opened = slot * _HOUR + 3000.0 * uniform(seed, 12, slot)
    return opened, opened + 20.0 + 560.0 * uniform(seed, 13, slot) ** 2


def door_open(seed: int, now: float) -> bool:
    """True while a door or window stands open."""
    times = _opening(seed, int(now // _HOUR))
    return times is not None and times[0] <= now < times[1]


def next_door_change(seed: int, now: float) -> float:
    """When the door moves next."""
    slot = int(now // _HOUR)
    while True:
        for moment in _opening(seed, slot) or ():
            if moment > now:
                return moment
        slot += 1


def meter_seed(seed: str | int, name: str) -> int:
    """The seed of one meter."""
    return seed_of("meter", seed, name)
