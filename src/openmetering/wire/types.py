"""Data types A to M of EN 13757-3, octets to values and back.

Integers stay integers; dates become ``MeterTime`` (naive, with the flags of the meter's
clock); an invalid pattern is ``None`` and never a number. Little endian throughout.
Source: EN 13757-3, Annex A (data types, clause to confirm); OMS Volume 2 Annex N for type M.
"""

from __future__ import annotations

import datetime as dt
import struct
from array import array
from decimal import Decimal
from functools import cache, lru_cache

import msgspec

from openmetering.errors import NotRepresentable, OutOfRange

__all__ = [
    "MeterTime",
    "bcd_digits",
    "decode_bcd",
    "decode_date",
    "decode_real32",
    "encode_bcd",
    "encode_date",
    "encode_integer",
    "encode_real32",
]

#: Two-digit years up to this one belong to 2000.., later ones to 1900.. (compatibility rule of types F, G, I).
LAST_YEAR_OF_2000 = 80
EVERY = -1  #: a field of a periodic date ("every day", "every month", ...)
RELATIVE_SECONDS = 0x30  #: the only published control octet of data type M
_SMALLEST_NORMAL = 2.0**-126  #: singles below have fewer than six significant digits


# -- type A: BCD ---------------------------------------------------------------------------


@cache
def bcd_words() -> array[int]:
    """Value of two BCD octets (four digits) by their little-endian word; -1 where a digit is above 9."""
    table = array("h", [-1]) * 65536
    for value in range(10000):
        table[int(str(value), 16)] = value
    return table


def bcd_digits(raw: bytes) -> str:
    """The digits as transmitted, most significant first, hexadecimal where not decimal."""
    return raw[::-1].hex().upper()


def decode_bcd(raw: bytes) -> int | None:
    """Type A: BCD, least significant pair first.

    An F in the most significant digit is a minus sign; any other digit above 9 marks an
    error and gives None (EN 13757-3:2018; the older ten's complement coding is not guessed).
    """
    digits = raw[::-1].hex()
    if digits.isdecimal():
        return int(digits)
    if digits[:1] == "f" and digits[1:].isdecimal():
        return -int(digits[1:])
    return None


def encode_bcd(value: int, size: int) -> bytes:
    """Octets of a BCD number of ``size`` octets. Raises OutOfRange."""
    digits = str(abs(value)).rjust(2 * size, "0")
    if value < 0:
        if len(digits) > 2 * size or digits[0] != "0":
            raise OutOfRange(f"{value} does not fit {2 * size} BCD digits with sign", field="value", value=value)
        digits = "f" + digits[1:]
    if len(digits) > 2 * size:
        raise OutOfRange(f"{value} does not fit {2 * size} BCD digits", field="value", value=value)
    return bytes.fromhex(digits)[::-1]


# -- types B and C: integers ---------------------------------------------------------------


def encode_integer(value: int, size: int, *, signed: bool = True) -> bytes:
    """Octets of a binary integer (type B signed, type C unsigned). Raises OutOfRange."""
    try:
        return value.to_bytes(size, "little", signed=signed)
    except OverflowError:
        raise OutOfRange(f"{value} does not fit {size} octets", field="value", value=value) from None


# -- type H: real --------------------------------------------------------------------------


def decode_real32(raw: bytes) -> Decimal | None:
    """Type H: IEEE 754 single, as the shortest decimal that gives the same single; NaN and infinity are None."""
    number = struct.unpack("<f", raw)[0]
    if number != number or number in (float("inf"), float("-inf")):
        return None
    for digits in range(1 if abs(number) < _SMALLEST_NORMAL else 6, 9):  # %g drops trailing zeros, so 6 covers shorter ones
        text = f"{number:.{digits}g}"
        if struct.pack("<f", float(text)) == raw:
            return Decimal(text)
    return Decimal(f"{number:.9g}")  # nine digits always tell singles apart


def encode_real32(value: Decimal) -> bytes:
    """Octets of a single; NaN and infinity would read as invalid. Raises OutOfRange."""
    try:
        number = float(value)
        if number - number != 0:
            raise OverflowError
        return struct.pack("<f", number)
    except (OverflowError, ValueError):
        raise OutOfRange(f"{value} does not fit a 32-bit real", field="value", value=value) from None


# -- types F, G, I, J, M: dates and times --------------------------------------------------


class MeterTime(msgspec.Struct, frozen=True):
    """A date or time of a meter's clock: naive local time with the flags of its data type.

    ``EVERY`` (-1) stands for "every" in a periodic date; None for a part the type does not
    carry or does not specify. ``raw`` keeps the octets, so that nothing is lost.
    """

    type: str
    year: int | None = None
    month: int | None = None
    day: int | None = None
    hour: int | None = None
    minute: int | None = None
    second: int | None = None
    summer_time: bool = False
    leap_year: bool = False
    day_of_week: int | None = None
    week: int | None = None
    dst_deviation: int = 0
    relative: int | None = None
    raw: bytes = b""

    def isoformat(self) -> str:
        """ISO 8601 text; ``*`` for "every", ``PTnS`` for a relative time of type M."""
        if self.relative is not None:
            return f"PT{self.relative}S"
        date = ""
        if self.type != "J":
            date = f"{_part(self.year, 4)}-{_part(self.month, 2)}-{_part(self.day, 2)}"
        if self.hour is None:
            return date
        time = f"{_part(self.hour, 2)}:{_part(self.minute, 2)}"
        if self.second is not None:
            time += f":{_part(self.second, 2)}"
        return f"{date}T{time}" if date else time

    def datetime(self) -> dt.datetime | None:
        """A naive datetime, or None for periodic, relative and time-only values."""
        if self.year is None or self.month is None or self.day is None or self.hour is None:
            return None
        try:
            return dt.datetime(self.year, self.month, self.day, self.hour, self.minute or 0, self.second or 0)
        except ValueError:
            return None

    def date(self) -> dt.date | None:
        """The calendar date, or None for periodic, relative and time-only values."""
        if self.year is None or self.month is None or self.day is None:
            return None
        try:
            return dt.date(self.year, self.month, self.day)
        except ValueError:
            return None


def _part(value: int | None, width: int) -> str:
    return "*" if value is None or value == EVERY else f"{value:0{width}d}"


def _year(value: int, hundreds: int = 0) -> int | None:
    """Year of a 7-bit field: 127 is every year; 0..80 belong to 2000.. unless a hundred is given."""
    if value == 127:
        return EVERY
    if value > 99:
        return None
    if hundreds:
        return 1900 + 100 * hundreds + value
    return (2000 if value <= LAST_YEAR_OF_2000 else 1900) + value


def _day_month(low: int, high: int) -> tuple[int, int, int]:
    """Day, month and 7-bit year of the two octets that types F, G and I share."""
    return low & 0x1F, high & 0x0F, (low >> 5) | (high >> 4) << 3


@lru_cache(maxsize=4096)
def _calendar(low: int, high: int, hundreds: int = 0) -> tuple[int, int, int] | None:
    """Year, month, day with EVERY marks; None if it is no date."""
    day, month, short = _day_month(low, high)
    year = _year(short, hundreds)
    if year is None or (low == 0 and high == 0):
        return None
    day = EVERY if day == 0 else day
    if month == 15:
        month = EVERY
    elif not 1 <= month <= 12:
        return None
    if day != EVERY and month != EVERY:
        try:
            dt.date(year if year != EVERY else 2000, month, day)
        except ValueError:
            return None
    return year, month, day


def _type_g(raw: bytes) -> MeterTime | None:
    """Type G, 2 octets: day, month, year. FFFFh and impossible dates are invalid."""
    if raw == b"\xff\xff":
        return None
    calendar = _calendar(raw[0], raw[1])
    return calendar and MeterTime("G", *calendar, raw=raw)


def _type_f(raw: bytes) -> MeterTime | None:
    """Type F, 4 octets: minute (IV bit 7), hour (SU bit 7, hundreds bits 6..5), day, month, year."""
    if raw[0] & 0x80 or raw == b"\xff\xff\xff\xff":
        return None
    minute, hour = raw[0] & 0x3F, raw[1] & 0x1F
    calendar = _calendar(raw[2], raw[3], raw[1] >> 5 & 3)
    if calendar is None or 59 < minute < 63 or 23 < hour < 31:
        return None
    minute = EVERY if minute == 63 else minute
    hour = EVERY if hour == 31 else hour
    return MeterTime("F", *calendar, hour, minute, summer_time=bool(raw[1] & 0x80), raw=raw)


def _type_i(raw: bytes) -> MeterTime | None:
    """Type I, 6 octets: second, minute (IV bit 7), hour and day of week, day, month, year, week and DST deviation."""
    if raw[1] & 0x80 or raw == b"\xff" * 6:
        return None
    second, minute, hour = raw[0] & 0x3F, raw[1] & 0x3F, raw[2] & 0x1F
    day, month, short = _day_month(raw[3], raw[4])
    if 59 < second < 63 or 59 < minute < 63 or 23 < hour < 31 or month > 12:
        return None
    year = None if short == 127 else _year(short)
    if short != 127 and year is None:
        return None
    if month and day:
        try:
            dt.date(2000 if year is None else year, month, day)
        except ValueError:
            return None
    if not month and not day and short in (0, 127) and not any(raw[:3]):
        return None
    deviation = raw[5] >> 6
    return MeterTime(
        "I",
        year,
        month or None,
        day or None,
        EVERY if hour == 31 else hour,
        EVERY if minute == 63 else minute,
        EVERY if second == 63 else second,
        summer_time=bool(raw[0] & 0x40),
        leap_year=bool(raw[0] & 0x80),
        day_of_week=raw[2] >> 5 or None,
        week=raw[5] & 0x3F or None,
        dst_deviation=deviation if raw[1] & 0x40 else -deviation,
        raw=raw,
    )


def _type_j(raw: bytes) -> MeterTime | None:
    """Type J, 3 octets: second, minute, hour. FFFFFFh is invalid."""
    second, minute, hour = raw[0] & 0x3F, raw[1] & 0x3F, raw[2] & 0x1F
    if raw == b"\xff\xff\xff" or second > 59 or minute > 59 or hour > 23:
        return None
    return MeterTime("J", hour=hour, minute=minute, second=second, raw=raw)


def decode_type_m(raw: bytes) -> MeterTime | None:
    """Type M, variable length: value least significant octet first, then the control octet.

    Only control 30h (relative seconds) is published; other formats give None and stay raw.
    Source: OMS Volume 2 Annex N rel. E, N.13; Annex M Table M.21.
    """
    if len(raw) < 2 or raw[-1] != RELATIVE_SECONDS:
        return None
    value = int.from_bytes(raw[:-1], "little")
    if len(raw) == 5 and value >> 31:
        return None
    return MeterTime("M", relative=value, raw=raw)


_BY_SIZE = {2: _type_g, 3: _type_j, 4: _type_f, 6: _type_i}
_MEMO: dict[bytes, MeterTime | None] = {}
_MEMO_LIMIT = 65536


def decode_date(raw: bytes) -> MeterTime | None:
    """Types G, J, F, I by their size of 2, 3, 4, 6 octets; None if invalid. Results are shared."""
    try:
        return _MEMO[raw]
    except KeyError:
        pass
    reader = _BY_SIZE.get(len(raw))
    value = reader(raw) if reader else None
    if len(_MEMO) >= _MEMO_LIMIT:
        _MEMO.clear()
    _MEMO[raw] = value
    return value


def _field(value: int | None, every: int, unset: int, last: int) -> int:
    if value is None:
        return unset
    if value == EVERY:
        return every
    if not 0 <= value <= last:
        raise OutOfRange(f"{value} is no part of a date or time, the last one is {last}", field="value", value=value)
    return value


def _short_year(year: int | None) -> int:
    if year is None or year == EVERY:
        return 127
    if not 1981 <= year <= 2080:
        raise OutOfRange(f"year {year} has no two-digit coding", field="year", value=year)
    return year % 100


def _date_octets(time: MeterTime, *, month_every: int = 15) -> bytes:
    year = _short_year(time.year)
    low = _field(time.day, 0, 0, 31) | (year & 7) << 5
    return bytes((low, _field(time.month, month_every, 0, 12) | (year >> 3) << 4))


def encode_date(time: MeterTime) -> bytes:
    """Octets of types F, G, I, J or M. Raises NotRepresentable or OutOfRange.

    Type F always sends its hundreds bits; types G and I reach from 1981 to 2080. What would read
    back as invalid (30 February, day 31 of every month of every year in type G) is refused.
    """
    raw = _time_octets(time)
    if time.type != "M" and decode_date(raw) is None:
        raise OutOfRange(f"{time.isoformat()} is no date of type {time.type}", field="value", value=time.isoformat())
    return raw


def _time_octets(time: MeterTime) -> bytes:
    if time.type == "G":
        return _date_octets(time)
    if time.type == "J":
        return bytes((_field(time.second, 0, 0, 59), _field(time.minute, 0, 0, 59), _field(time.hour, 0, 0, 23)))
    if time.type == "F":
        hour = _field(time.hour, 31, 0, 23) | (0x80 if time.summer_time else 0)
        year, hundreds = time.year, 0
        if year is not None and year >= 2000:
            if year > 2299:
                raise OutOfRange(f"year {year} has no coding in type F", field="year", value=year)
            hundreds = (year - 1900) // 100
            time = msgspec.structs.replace(time, year=(2000 if year % 100 <= LAST_YEAR_OF_2000 else 1900) + year % 100)
        return bytes((_field(time.minute, 63, 0, 59), hour | hundreds << 5)) + _date_octets(time)
    if time.type == "I":
        first = _field(time.second, 63, 0, 59) | (0x40 if time.summer_time else 0) | (0x80 if time.leap_year else 0)
        second = _field(time.minute, 63, 0, 59) | (0x40 if time.dst_deviation > 0 else 0)
        third = _field(time.hour, 31, 0, 23) | _field(time.day_of_week, 0, 0, 7) << 5
        last = _field(time.week, 0, 0, 63) | _field(abs(time.dst_deviation), 0, 0, 3) << 6
        return bytes((first, second, third)) + _date_octets(time, month_every=0) + bytes((last,))
    if time.type == "M" and time.relative is not None:
        size = max(1, (time.relative.bit_length() + 7) // 8)
        if not 0 <= time.relative < 1 << 112:
            raise OutOfRange(f"{time.relative} s do not fit data type M", field="relative", value=time.relative)
        if size == 4 and time.relative >> 31:  # bit 31 of four octets is the invalid mark
            size = 5
        return time.relative.to_bytes(size, "little") + bytes((RELATIVE_SECONDS,))
    raise NotRepresentable(f"data type {time.type} cannot be encoded", field="type", value=time.type)
