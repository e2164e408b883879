"""From consumption to records: what the meters of each medium say.

    medium -> device type, lists of points            ``MEDIA``: tag, DIB and VIB, data field, where the value comes from
    list   -> octets                                   headers are fixed, values are packed between them
    octets -> records                                  by the parser: both methods say the same

Message applications: 0 the standard response, 7 static data, 18 consumer information (UC-07); the points are those
that OMS demands for the device and some it allows.

Source: OMS Volume 2 Annex B release G, B.2.2 and B.2.3 (obligatory points); application numbers: 5.0.1 Table 41.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from openmetering.codec.apl.profile import Spacing, pack
from openmetering.codec.apl.records import Record, make, parse, read_header
from openmetering.errors import InputError
from openmetering.simulation.profiles import Calendar, Consumption, air_temperature, door_open, humidity, meter_seed
from openmetering.simulation.quarter_profile import REACH, QuarterProfile
from openmetering.wire.types import MeterTime, encode_bcd, encode_date, encode_integer

__all__ = ["MEDIA", "Medium", "MeterState", "Metrology", "Point"]

STANDARD, STATIC, CONSUMER = 0, 7, 18
_HOUR = 3600.0
_MONTHS = 12
_BCD = frozenset((9, 10, 11, 12, 14))
_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
_Value = int | bytes
_Source = Callable[..., _Value]


class Point(msgspec.Struct, frozen=True):
    """One record of a medium: ``header`` DIB and VIB in hexadecimal, ``source`` a name of SOURCES with its arguments."""

    tag: str
    header: str
    source: str
    arguments: tuple[float | str, ...] = ()


class Medium(msgspec.Struct, frozen=True):
    """What devices of a medium are and say.

    ``device_type``  octet of the address; ``kind`` of KINDS, None for sensors
    ``sub_type``     sub device type of a sensor (ID11!)
    ``main``         the points a reading is judged by; they come first in ``standard``
    ``history``      header of the periodic value that a compact profile of months follows
    """

    device_type: int
    kind: str | None
    standard: tuple[Point, ...]
    consumer: tuple[Point, ...] = ()
    main: int = 1
    history: str | None = None
    sub_type: int | None = None


def _points(*rows: tuple[str, str, str] | tuple[str, str, str, tuple[float | str, ...]]) -> tuple[Point, ...]:
    return tuple(Point(*row) for row in rows)


_DUE = ("DT2!D", "42 6C", "due date")
_ERRORS = ("MM3!", "02 FD 97 1D", "flags")
_BATTERY = ("MM8!", "02 FD 74", "battery")
_WATER = (("VM1!", "0C 13", "register", (1.0,)), ("VM1!D", "4C 13", "due", (1.0,)), _DUE)
_FLOW = ("VF1!", "02 3B", "rate", (1.0,))
_COUNTED = (("EW1!", "04 04", "register", (0.1,)), ("VM1!", "04 14", "register", (0.0000215 * 100,)))


def _thermal(kind: str, device_type: int, high: float, low: float, *, swing: float) -> Medium:
    """A heat or cooling meter: energy in Wh, water volume by the spread of about 40 K (or 6 K)."""
    litres = 0.0215 if swing > 0 else 0.143
    return Medium(
        device_type,
        kind,
        _points(
            ("EW1!", "0C 06", "register", (0.001,)),
            ("VM1!", "0C 14", "register", (litres / 10.0,)),
            ("VF1!", "0B 3B", "rate", (litres,)),
            ("PW1!", "0B 2B", "rate", (1.0,)),
            ("TC1!", "0A 5A", "warmth", (high, swing, 10.0)),
            ("TC2!", "0A 5E", "warmth", (low, swing / 3.0, 10.0)),
            ("EW1!D", "4C 06", "due", (0.001,)),
            _DUE,
        ),
        _points(
            ("EW1!", "0C 06", "register", (0.001,)),
            ("EW1!D", "4C 06", "due", (0.001,)),
            _DUE,
            ("TC1!", "0A 5A", "warmth", (high, swing, 10.0)),
            ("TC2!", "0A 5E", "warmth", (low, swing / 3.0, 10.0)),
        ),
        history="8C 04 06",
    )


def _sensor(
    sub_type: int, *rows: tuple[str, str, str] | tuple[str, str, str, tuple[float | str, ...]], device_type: int = 0x1F
) -> Medium:
    tail = () if device_type != 0x1F else (("ID11!", "0D FD FD 01", "sub type"),)
    return Medium(device_type, None, _points(*rows, _ERRORS, *tail), main=len(rows), sub_type=sub_type)


#: every medium of the simulated world
MEDIA: dict[str, Medium] = {
    "electricity": Medium(
        0x02,
        "electricity",
        _points(("EW1!", "04 03", "register", (1.0,)), ("PW1!", "04 2B", "rate", (1.0,)), ("CA1!", "03 FD D9 FC 01", "current")),
        _points(("EW1!", "04 03", "register", (1.0,))),
        history="84 04 03",
    ),
    "feed-in": Medium(
        0x02,
        "feed-in",
        _points(
            ("EW2!", "04 83 3C", "register", (1.0,)),
            ("EW1!", "04 03", "register", (0.013,)),
            ("PW3!", "04 AB 3C", "rate", (1.0,)),
        ),
        _points(("EW1!", "04 03", "register", (0.013,)), ("EW2!", "04 83 3C", "register", (1.0,))),
        history="84 04 83 3C",
    ),
    "gas": Medium(
        0x03,
        "gas",
        _points(("VM2!", "0C 93 3A", "register", (1.0,)), ("VF2!", "0B BB 3A", "rate", (1.0,))),
        _points(("VM2!", "0C 93 3A", "register", (1.0,))),
        history="8C 04 93 3A",
    ),
    "heat": _thermal("heat", 0x04, 52.0, 33.0, swing=9.0),
    "cooling": _thermal("cooling", 0x0A, 7.0, 13.0, swing=-1.5),
    "cold water": Medium(0x16, "cold water", _points(*_WATER, _FLOW), _points(*_WATER), history="8C 04 13"),
    "warm water": Medium(0x06, "warm water", _points(*_WATER, _FLOW), _points(*_WATER), history="8C 04 13"),
    "heat cost allocator": Medium(
        0x08,
        "heat cost allocator",
        _points(
            ("HC1!", "03 6E", "register", (1.0,)),
            ("HC1!D", "43 6E", "due", (1.0,)),
            _DUE,
            ("TC1!", "0A 5A", "warmth", (24.0, 22.0, 10.0)),
            ("TC4!", "0A 66", "air", (10.0,)),
        ),
        _points(("HC1!", "03 6E", "register", (1.0,)), ("HC1!D", "43 6E", "due", (1.0,)), _DUE),
        history="83 04 6E",
    ),
    "smoke": _sensor(19, ("MM15!", "02 FD FD 41", "alarm"), ("DP5!", "03 27", "operating"), _BATTERY, device_type=0x1A),
    "carbon monoxide": _sensor(
        18,
        ("MM14!", "02 FD FD 42", "alarm"),
        ("CC1!", "02 FD FD 12", "monoxide"),
        ("DP5!", "03 27", "operating"),
        device_type=0x1D,
    ),
    "humidity": _sensor(1, ("RH1!", "02 FB 1A", "humidity", (10.0,)), ("TC4!", "02 65", "air", (100.0,))),
    "temperature": _sensor(3, ("TC4!", "02 65", "air", (100.0,))),
    "leak": _sensor(12),
    "contact": _sensor(10, ("MM16!", "01 FD FD 44", "door")),
}


class MeterState(msgspec.Struct):
    """What happens to a meter beside consumption; faults of a scenario write here.

    ``stops``    (from, to): the register did not move; ``causes`` why it does not now (frozen, closed)
    ``leaks``    (since, units per hour)
    ``flags``    standard error flags (MM3!); ``alarm`` status bits of an alarm device
    ``battery``  day of the world at which the battery ends
    """

    stops: list[tuple[float, float]] = []
    causes: set[str] = set()
    leaks: list[tuple[float, float]] = []
    flags: int = 0
    alarm: int = 0
    battery: int = 3650


class _Row(msgspec.Struct, frozen=True):
    """A compiled point: octets of the header and how the value is packed (size 0: octets as they come)."""

    head: bytes
    size: int
    bcd: bool
    source: _Source
    arguments: tuple[float | str, ...]


@lru_cache(maxsize=512)
def _compiled(point: Point) -> _Row:
    head = bytes.fromhex(point.header)
    header, _ = read_header(head, 0)
    source = SOURCES[point.source]
    size = 0 if point.source in _RAW else _SIZES[header.data_field]
    return _Row(head, size, header.data_field in _BCD, source, point.arguments)


class Metrology:
    """The readings of one device: ``records`` and ``octets`` of a message application at a time.

    ``without``  tags that somebody else provides (the functions of the device: MM3!, DT1!)
    ``history``  appends the periodic value of the last month's end and a profile of twelve months before it
    ``taf7``     seconds between two telegrams: appends the profile for TAF 7 of what was measured in ``reach`` of them
    """

    __slots__ = (
        "_due",
        "_due_from",
        "_due_until",
        "_gain",
        "_lists",
        "_months",
        "_quarters",
        "_static",
        "calendar",
        "due_day",
        "medium",
        "name",
        "seed",
        "state",
        "supply",
    )

    def __init__(
        self,
        name: str,
        medium: str,
        seed: str | int,
        calendar: Calendar,
        *,
        supply: Consumption | None = None,
        history: bool = False,
        taf7: float | None = None,
        reach: int = REACH,
        without: frozenset[str] = frozenset(),
        due_day: tuple[int, int] = (12, 31),
    ) -> None:
        self.name, self.medium, self.calendar, self.due_day = name, MEDIA[medium], calendar, due_day
        self.seed = meter_seed(seed, name)
        kind = self.medium.kind
        self.supply = supply or (None if kind is None else Consumption(kind, self.seed, calendar))
        self.state = MeterState()
        keep = tuple(point for point in self.medium.standard if point.tag not in without)
        self._lists = {
            STANDARD: tuple(_compiled(point) for point in keep),
            CONSUMER: tuple(_compiled(point) for point in self.medium.consumer),
        }
        self._months: tuple[tuple[int, int], bytes] | None = ((0, 0), b"") if history and self.medium.history else None
        self._quarters = None if taf7 is None else self._quarter_profile(taf7, reach)
        self._static = b""
        self._gain = (math.nan, 0.0)
        self._due = (dt.date.min, 0.0)
        self._due_from = self._due_until = math.inf

    # -- the register -------------------------------------------------------------------------

    def register(self, now: float) -> float:
        """Main register in the unit of the kind, faults and a closed supply included, now or in the past. Never goes back."""
        if self.supply is None:
            return 0.0
        value = self._flow(now)
        for since, until in self.state.stops:
            if now > since:
                value -= self._flow(min(now, until)) - self._flow(since)
        return value

    def _flow(self, now: float) -> float:
        """What was consumed, had the register never stopped."""
        value = self.supply.value(now) if self.supply is not None else 0.0
        for since, rate in self.state.leaks:
            if now > since:
                value += (now - since) * rate / _HOUR
        return value

    def stop(self, cause: str, now: float) -> None:
        """The register does not move from now on: "closed" supply, or "frozen"."""
        state = self.state
        if not state.causes:
            state.stops.append((now, math.inf))
        state.causes.add(cause)

    def resume(self, cause: str, now: float) -> None:
        """A cause is gone. What was missed is not made up for."""
        state = self.state
        if cause in state.causes:
            state.causes.remove(cause)
            if not state.causes:
                state.stops[-1] = (state.stops[-1][0], now)
            self._gain = (math.nan, 0.0)

    def close(self, now: float) -> None:
        """The supply is shut: nothing is consumed."""
        self.stop("closed", now)

    def open(self, now: float) -> None:
        """The supply is open again."""
        self.resume("closed", now)

    def freeze(self, now: float) -> None:
        """The register stands still."""
        self.stop("frozen", now)

    def thaw(self, now: float) -> None:
        """The register moves again."""
        self.resume("frozen", now)

    def gain(self, now: float) -> float:
        """What the register gained per hour over the last quarter of an hour."""
        if self._gain[0] != now:
            self._gain = (now, max(0.0, self.register(now) - self.register(now - 900.0)) * 4.0)
        return self._gain[1]

    def due(self, now: float) -> tuple[dt.date, float]:
        """The last due date and the register at its end."""
        if not self._due_from <= now < self._due_until:
            last = self.last_due(now)
            self._due_from = self.calendar.end_of(last)
            self._due_until = self.calendar.end_of(last.replace(year=last.year + 1))
            self._due = (last, self.register(self._due_from))
        return self._due

    def last_due(self, now: float) -> dt.date:
        """The due date that has passed last: its day is over."""
        month, day = self.due_day
        today = self.calendar.at(now).date()
        this_year = dt.date(today.year, month, day)
        return this_year if this_year < today else dt.date(today.year - 1, month, day)

    # -- Readings -------------------------------------------------------------------------------

    def octets(self, application: int, block: int, now: float) -> bytes:
        """Application octets of a message; empty for what the device does not have."""
        if application == STATIC:
            return self._static_octets() if block <= 1 else b""
        rows = self._lists.get(application)
        if rows is None or block > 1:
            return b""
        parts = []
        for row in rows:
            value = row.source(self, now, *row.arguments)
            parts.append(row.head)
            if isinstance(value, bytes):
                parts.append(value)
            elif row.bcd:
                parts.append(encode_bcd(value % 10 ** (2 * row.size), row.size))
            else:
                parts.append(encode_integer(value, row.size))
        if self._months is not None and application == STANDARD:
            parts.append(self._month_octets(now))
        if self._quarters is not None and application == STANDARD:
            parts.append(self._quarters.octets(now))
        return b"".join(parts)

    def records(self, application: int, block: int, now: float) -> Sequence[Record]:
        """The same as records."""
        return parse(self.octets(application, block, now)).records

    def truth(self, now: float) -> dict[str, Decimal]:
        """Values of the main points by tag, as the device states them at this time."""
        points = [point for point in self.medium.standard[: self.medium.main] if SOURCES[point.source] not in _NOT_NUMBERS]
        found = {}
        records = {record.header.octets: record for record in self.records(STANDARD, 0, now)}
        for point in points:
            record = records.get(bytes.fromhex(point.header))
            if record is not None and isinstance(record.value, Decimal):
                found[point.tag] = record.value
        return found

    def _static_octets(self) -> bytes:
        """Fabrication number and version of the metrology firmware: they never change."""
        if not self._static:
            number, _ = read_header(bytes.fromhex("0D 78"), 0)
            version, _ = read_header(bytes.fromhex("02 FD 0E"), 0)
            records = (make(number, self.name), make(version, 100 + self.seed % 300))
            self._static = b"".join(record.octets() for record in records)
        return self._static

    def _quarter_profile(self, interval: float, reach: int) -> QuarterProfile:
        """The profile of the main register. Raises InputError (``input.option``) without one, or for an interval"""
        point = self.medium.standard[0]
        if point.source != "register":
            raise InputError("a sensor has no register for TAF 7", code="input.option")
        row, factor = _compiled(point), float(point.arguments[0])
        return QuarterProfile(
            row.head,
            lambda at: int(self.register(at) * factor),
            device_type=self.medium.device_type,
            interval=interval,
            capacity=10 ** (2 * row.size) if row.bcd else 1 << (8 * row.size - 1),
            phase=self.seed,
            reach=reach,
        )

    def _month_octets(self, now: float) -> bytes:
        """Value at the end of the last month, its date, and twelve months before as a compact profile."""
        today = self.calendar.at(now)
        month = (today.year, today.month)
        if self._months is None or self._months[0] == month:
            return b"" if self._months is None else self._months[1]
        ends = [_month_end(today, back) for back in range(_MONTHS + 1)]
        header, _ = read_header(bytes.fromhex(self.medium.history or ""), 0)
        point = next(one for one in self.medium.standard if bytes.fromhex(one.header)[1:] == header.vib)
        factor = float(point.arguments[0])
        values = [Decimal(int(self.register(self.calendar.end_of(end)) * factor)).scaleb(header.exponent) for end in ends]
        base = make(header, values[0])
        date, _ = read_header(bytes.fromhex("82 04 6C"), 0)
        day = make(date, MeterTime("G", ends[0].year, ends[0].month, ends[0].day))
        profile = pack(base, values[1:], spacing=Spacing.of(1, "month"), kind="inverse")
        self._months = (month, base.octets() + day.octets() + profile.octets())
        return self._months[1]


def _month_end(moment: dt.datetime, back: int) -> dt.date:
    """The last day of the month that ended ``back`` months before the last one ended."""
    months = moment.year * 12 + moment.month - 1 - back
    return dt.date(months // 12, months % 12 + 1, 1) - dt.timedelta(days=1)


# -- where values come from -------------------------------------------------------------------


def _register(meter: Metrology, now: float, factor: float) -> int:
    return int(meter.register(now) * factor)


def _due(meter: Metrology, now: float, factor: float) -> int:
    return int(meter.due(now)[1] * factor)


def _rate(meter: Metrology, now: float, factor: float) -> int:
    """Gain per hour over the last quarter of an hour."""
    return int(meter.gain(now) * factor)


def _due_date(meter: Metrology, now: float) -> bytes:
    day = meter.due(now)[0]
    return _date_octets(day.year, day.month, day.day)


@lru_cache(maxsize=512)
def _date_octets(year: int, month: int, day: int) -> bytes:
    return encode_date(MeterTime("G", year, month, day))


def _load(meter: Metrology, now: float) -> float:
    """Rate now against the mean of the year, 0 to 3."""
    supply = meter.supply
    if supply is None:
        return 0.0
    return min(3.0, meter.gain(now) * 8766.0 / supply.yearly)


def _warmth(meter: Metrology, now: float, base: float, swing: float, factor: float) -> int:
    """A temperature that follows the load."""
    return int((base + swing * _load(meter, now) / 2.0) * factor)


def _air(meter: Metrology, now: float, factor: float) -> int:
    return int(air_temperature(meter.seed, meter.calendar, now) * factor)


def _humidity(meter: Metrology, now: float, factor: float) -> int:
    return int(humidity(meter.seed, meter.calendar, now) * factor)


def _current(meter: Metrology, now: float) -> int:
    """Milliamperes at 230 V; BCD is not used, the field has three octets."""
    return int(meter.gain(now) / 0.23)


def _flags(meter: Metrology, now: float) -> int:
    return meter.state.flags


def _alarm(meter: Metrology, now: float) -> int:
    return meter.state.alarm


def _battery(meter: Metrology, now: float) -> int:
    return max(0, meter.state.battery - int(now // 86_400.0))


def _operating(meter: Metrology, now: float) -> int:
    """Days in operation."""
    return 200 + meter.seed % 1500 + int(now // 86_400.0)


def _monoxide(meter: Metrology, now: float) -> int:
    return 85 if meter.state.alarm & 1 else 0


def _door(meter: Metrology, now: float) -> int:
    return int(door_open(meter.seed, now))


def _sub_type(meter: Metrology, now: float) -> bytes:
    """ID11!: one octet of variable length, binary (LVAR E1h)."""
    return bytes((0xE1, meter.medium.sub_type or 0))


SOURCES: dict[str, _Source] = {
    "register": _register,
    "due": _due,
    "rate": _rate,
    "due date": _due_date,
    "warmth": _warmth,
    "air": _air,
    "humidity": _humidity,
    "current": _current,
    "flags": _flags,
    "alarm": _alarm,
    "battery": _battery,
    "operating": _operating,
    "monoxide": _monoxide,
    "door": _door,
    "sub type": _sub_type,
}
_RAW = frozenset(("due date", "sub type"))
_NOT_NUMBERS = frozenset((_due_date, _sub_type))
