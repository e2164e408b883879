"""From a telegram to rows: what each series is, and its values with exact digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import lru_cache

import msgspec

from openmetering.codec.apl.header import FUNCTIONS, RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.values import number_text
from openmetering.codec.link.wired import WiredFrame
from openmetering.telegram import Telegram
from openmetering.telegram.answer import describe
from openmetering.wire.types import MeterTime

__all__ = [
    "LARGEST",
    "TIMES",
    "Reading",
    "SeriesKey",
    "cells_of",
    "device_address",
    "gives_time",
    "is_averaging",
    "readings_of",
    "series_key",
    "time_text",
]

_GAS = 0x03
LARGEST = 2**63  #: integers of the database end before it
TIMES = frozenset(("date", "date time"))


class SeriesKey(msgspec.Struct, frozen=True):
    """What a reading is, but for its device."""

    quantity: str
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: str
    obis: str
    tag: str
    dib: str
    vib: str


class Reading(msgspec.Struct, frozen=True):
    """One value: see table ``readings``."""

    series: SeriesKey
    value: str | None
    mantissa: int | None
    exponent: int | None
    time: str | None
    error: str | None


_KEYS: dict[tuple[RecordHeader, int | None, bool], SeriesKey] = {}
_KEY_LIMIT = 32_768


def series_key(header: RecordHeader, device_type: int | None, averaging: bool) -> SeriesKey:
    """What the readings of a record are."""
    name = (header, device_type, averaging)
    key = _KEYS.get(name)
    if key is None:
        if len(_KEYS) >= _KEY_LIMIT:
            _KEYS.clear()
        tag, codes = describe(header, device_type, averaging=averaging)
        key = _KEYS[name] = SeriesKey(
            header.quantity,
            header.unit,
            FUNCTIONS[header.function],
            header.storage,
            header.tariff,
            header.subunit,
            "; ".join(header.qualifiers),
            " ".join(codes),
            tag or "",
            header.dib.hex().upper(),
            header.vib.hex().upper(),
        )
    return key


def device_address(telegram: Telegram, source: str) -> str | None:
    """The name of the sending device: its address, or ``source#primary`` for a wired frame that names no more.

    Frames to a device (requests, commands) name nobody: what they say is not the device's word.
    """
    if not telegram.uplink:
        return None
    address = telegram.address
    if address is not None:
        return str(address)
    link = telegram.link
    if isinstance(link, WiredFrame) and link.kind != "single" and not telegram.fragment:
        return f"{source}#{link.address}"
    return None


@lru_cache(maxsize=16_384)
def time_text(moment: MeterTime) -> str:
    """A time of a device in ISO 8601."""
    return moment.isoformat()


def gives_time(header: RecordHeader) -> bool:
    """True for a date that says of when the values of its storage are."""
    return header.quantity in TIMES and not header.qualifiers and header.function == 0


def is_averaging(headers: Iterable[RecordHeader], device_type: int | None) -> bool:
    """True if the telegram of a gas meter carries an averaging duration (VIF 70..73)."""
    return device_type == _GAS and any(header.vib[0] & 0x7C == 0x70 and len(header.vib) == 1 for header in headers)


def _times(records: tuple[Record, ...]) -> dict[int, str]:
    """Storage number -> time point of the device for that storage, where it is the only one."""
    found: dict[int, str] = {}
    several: set[int] = set()
    for record in records:
        content = record.content
        header = record.header
        if isinstance(content, MeterTime) and gives_time(header):
            text = time_text(content)
            if found.setdefault(header.storage, text) != text:
                several.add(header.storage)
    return {storage: text for storage, text in found.items() if storage not in several}


def _value(record: Record) -> tuple[str | None, int | None, int | None]:
    """Text, mantissa, exponent."""
    value = record.value
    if value is None:
        return None, None, None
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None, None, None
        sign, digits, exponent = value.as_tuple()
        mantissa = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
        assert isinstance(exponent, int)
        return f"{value:f}", mantissa if abs(mantissa) < LARGEST else None, exponent
    if isinstance(value, MeterTime):
        return time_text(value), None, None
    return (value.hex().upper() if isinstance(value, bytes) else value), None, None


def cells_of(record: Record) -> tuple[str | None, int | None, int | None, str | None]:
    """Value, mantissa, exponent and error of a record."""
    error = record.error
    content, header = record.content, record.header
    if error is None and isinstance(content, int) and not header.scale2 and header.addend is None:
        small = content if -LARGEST <= content < LARGEST else None
        return number_text(content, header.exponent), small, header.exponent, None
    return *_value(record), error


def _reading(record: Record, key: SeriesKey, time: str | None) -> Reading:
    value, mantissa, exponent, error = cells_of(record)
    return Reading(key, value, mantissa, exponent, time, error)


def readings_of(telegram: Telegram) -> Iterator[Reading]:
    """The readings of a telegram: its records, then the points of compact profiles with their times.

    Profiles whose points count from the reception (Annex R, a hundred points in each telegram) stay in one piece: the record with
    its octets and the base value beside it say all of them, and ``services.mdm.slots`` unfolds them.
    """
    address = telegram.address
    device_type = None if address is None else address.device_type
    records = telegram.records
    averaging = is_averaging((record.header for record in records), device_type)
    times = _times(records)
    for record in records:
        key = series_key(record.header, device_type, averaging)
        time = times.get(key.storage) if times and key.quantity not in TIMES else None
        yield _reading(record, key, time)
    for series in telegram.profiles:
        for point in series.points if series.reference == "base" else ():
            if point.record is not None:
                yield _reading(point.record, series_key(point.record.header, device_type, averaging), point.time)
