"""What the devices measure, from the plan: exact numbers, the same on every machine.

A device has one main counter; everything else follows from it or from fixed curves. Only
integers and fractions are used, and the dice are digests of the seed, so that a recording is
the same octet for octet wherever it is made.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b

import msgspec

from openmetering.codec.apl.header import RecordHeader, encode_dib
from openmetering.codec.apl.profile import Spacing, pack
from openmetering.codec.apl.records import Record, make, read_header
from openmetering.interfaces.demo.plan import Building, Cell, Device, Row, seconds, timeline_at
from openmetering.wire.types import MeterTime

__all__ = ["Fact", "Scene", "dice"]

_HOUR = 3600
_DAY = 86_400


class Fact(msgspec.Struct, frozen=True):
    """A value that a telegram states, as the store should hold it; ``time`` for points of a profile."""

    dib: str
    vib: str
    value: str
    time: str | None = None


def dice(seed: str, *names: object) -> int:
    """A number of 32 bits that hangs on the names alone."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


@lru_cache(maxsize=4096)
def _day_curve(seed: str, name: str, shape: tuple[int, ...], day: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Weights of the hours of a day with its own whims, and their running sum."""
    weights = tuple(weight * (160 + dice(seed, name, day, hour) % 192) for hour, weight in enumerate(shape))
    sums = [0]
    for weight in weights:
        sums.append(sums[-1] + weight)
    return weights, tuple(sums)


def _exact(number: Cell) -> Fraction:
    return Fraction(str(number))


def _rounded(value: Fraction, header: RecordHeader) -> Decimal:
    """The value as the record can carry it, rounded down."""
    step = Fraction(10) ** header.exponent
    return Decimal(f"{value // step}E{header.exponent}")


def _number_text(value: Decimal) -> str:
    return f"{value:f}"


class Scene(msgspec.Struct, frozen=True):
    """One device at one moment: ``now`` are seconds since midnight of the recorded day."""

    building: Building
    device: Device
    now: int

    # -- the main counter -------------------------------------------------------------------

    def main(self, at: int) -> Fraction:
        """The main counter at a time; days before are like the recorded one."""
        device, building = self.device, self.building
        day, second = divmod(at, _DAY)
        shape = tuple(building.shapes[building.model[device.model].shape])
        weights, sums = _day_curve(building.seed, device.address, shape, day)
        hour, rest = divmod(second, _HOUR)
        share = Fraction(sums[hour] * _HOUR + weights[hour] * rest, sums[-1] * _HOUR)
        value = _exact(device.start) + _exact(device.per_day) * (day + share)
        if device.leak is not None:
            value += _exact(device.leak.per_hour) * max(0, at - seconds(device.leak.since)) / _HOUR
        return value

    # -- moments -------------------------------------------------------------------------------

    def moment(self, name: str) -> int:
        """A moment by its name, in seconds since midnight. ``due`` is the end of the due date."""
        return _MOMENTS[name](self)

    def date(self, name: str) -> dt.date:
        """The date of a moment."""
        return self.building.due if name == "due" else self.clock(self.moment(name)).date()

    def clock(self, at: int) -> dt.datetime:
        """Seconds since midnight as date and time."""
        return dt.datetime.combine(self.building.day, dt.time()) + dt.timedelta(seconds=at)

    # -- records ---------------------------------------------------------------------------------

    def records(self, rows: list[Row]) -> tuple[list[Record], list[Fact]]:
        """The records of a list, and what they state."""
        records: list[Record] = []
        facts: list[Fact] = []
        for head, source, *arguments in rows:
            if source == "profile":
                record, points = self._profile(next(one for one in reversed(records) if one.header.kind != "date"), arguments)
                records.append(record)
                facts += points
                continue
            header, _ = read_header(bytes.fromhex(str(head)), 0)
            value, text = _SOURCES[str(source)](self, header, *arguments)
            records.append(make(header, value))
            facts.append(Fact(header.dib.hex().upper(), header.vib.hex().upper(), text))
        return records, facts

    def _profile(self, base: Record, arguments: list[Cell]) -> tuple[Record, list[Fact]]:
        """A compact profile on the counter before it; the arguments stand in ``building.toml``."""
        factor, moment, count, every, unit, mode, kind = arguments
        start, header = self.moment(str(moment)), base.header
        way = -1 if kind == "inverse" else 1
        values: list[Decimal | int | None] = []
        facts: list[Fact] = []
        for number in range(1, int(count) + 1):
            at, time = self._step(str(moment), start, int(every), str(unit), way * number)
            value = _rounded(self.main(at) * _exact(factor), header)
            values.append(value)
            dib = encode_dib(header.data_field, storage=header.storage + number, tariff=header.tariff, subunit=header.subunit)
            facts.append(Fact(dib.hex().upper(), header.vib.hex().upper(), _number_text(value), time))
        record = pack(base, values, spacing=Spacing.of(int(every), str(unit), mode=str(mode)), kind=str(kind))
        return record, facts

    def _step(self, moment: str, start: int, every: int, unit: str, count: int) -> tuple[int, str]:
        """The moment that lies ``count`` spacings from the start, and its time as text."""
        if unit != "month":
            at = start + count * every * {"min": 60, "h": _HOUR}[unit]
            return at, self.clock(at).isoformat(timespec="minutes")
        months = self.building.due.year * 12 + self.building.due.month - 1 + count
        year, month = months // 12, months % 12 + 1
        day = dt.date(year, month, calendar.monthrange(year, month)[1])
        return ((day - self.building.day).days + 1) * _DAY, day.isoformat()


_MOMENTS: dict[str, Callable[[Scene], int]] = {
    "now": lambda scene: scene.now,
    "quarter": lambda scene: scene.now - scene.now % 900,
    "hour": lambda scene: scene.now - scene.now % _HOUR,
    "midnight": lambda scene: 0,
    "yesterday": lambda scene: -_DAY,
    "due": lambda scene: ((scene.building.due - scene.building.day).days + 1) * _DAY,
}

_Value = Decimal | int | MeterTime | str | bytes | None
_Result = tuple[_Value, str]


def _counter(scene: Scene, header: RecordHeader, factor: Cell = 1, moment: Cell = "now") -> _Result:
    """The main counter times a factor at a moment."""
    value = _rounded(scene.main(scene.moment(str(moment))) * _exact(factor), header)
    return value, _number_text(value)


def _rate(scene: Scene, header: RecordHeader, factor: Cell = 1) -> _Result:
    """What the main counter gained in the last quarter of an hour, per hour."""
    gained = scene.main(scene.now) - scene.main(scene.now - 900)
    value = _rounded(gained * 4 * _exact(factor), header)
    return value, _number_text(value)


def _gauge(scene: Scene, header: RecordHeader, base: Cell, swing: Cell = 0, noise: Cell = 0) -> _Result:
    """A measured value: base, plus the load curve of the device, plus noise."""
    building, device = scene.building, scene.device
    shape = building.shapes[building.model[device.model].shape]
    load = Fraction(shape[scene.now // _HOUR % 24], max(shape))
    whim = Fraction(dice(building.seed, device.address, header.octets.hex(), scene.now // 900) % 2001 - 1000, 1000)
    value = _rounded(_exact(base) + _exact(swing) * load + _exact(noise) * whim, header)
    return value, _number_text(value)


def _timeline(scene: Scene, header: RecordHeader, name: Cell, default: Cell = 0) -> _Result:
    """A value that changes at times the device names."""
    value = Decimal(timeline_at(scene.device.timelines.get(str(name), []), scene.now, int(default)))
    return value, _number_text(value)


def _number(scene: Scene, header: RecordHeader, number: Cell) -> _Result:
    """Always the same number."""
    value = _rounded(_exact(number), header)
    return value, _number_text(value)


def _date(scene: Scene, header: RecordHeader, moment: Cell = "now") -> _Result:
    """A date (type G) or a date and time (type F), by the data field."""
    if header.length == 2:
        day = scene.date(str(moment))
        return MeterTime("G", day.year, day.month, day.day), day.isoformat()
    clock = scene.clock(scene.moment(str(moment)))
    time = MeterTime("F", clock.year, clock.month, clock.day, clock.hour, clock.minute)
    return time, clock.isoformat(timespec="minutes")


def _text(scene: Scene, header: RecordHeader, text: Cell) -> _Result:
    """Plain text; ``{ident}`` stands for the identification number."""
    written = str(text).format(ident=scene.device.meter.identification)
    return written, written


def _octets(scene: Scene, header: RecordHeader, digits: Cell) -> _Result:
    """Octets as they are."""
    octets = bytes.fromhex(str(digits))
    return octets, octets.hex().upper()


_SOURCES: dict[str, Callable[..., _Result]] = {
    "counter": _counter,
    "rate": _rate,
    "gauge": _gauge,
    "timeline": _timeline,
    "number": _number,
    "date": _date,
    "text": _text,
    "octets": _octets,
}
