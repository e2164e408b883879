"""Telegrams of every simulated medium, and of single records, for the tests of what is published."""

from __future__ import annotations

import datetime as dt

from openmetering.codec.address import Address, flag_value
from openmetering.security import KeyRing
from openmetering.simulation.metrology import MEDIA, Metrology
from openmetering.simulation.profiles import Calendar
from openmetering.telegram import Meter, Telegram, compose, decode, encode

__all__ = ["NOON", "WATER", "frame_of", "medium_telegram", "meter_address", "record_telegram"]

NOON = 1_768_392_000.0  # 2026-01-14T12:00:00Z
WATER = 0x07
_START = dt.datetime(2026, 1, 14)


def meter_address(device_type: int, number: int = 12345678, maker: str = "EXS", version: int = 1) -> Address:
    return Address(flag_value(maker), f"{number:08d}", version, device_type)


def frame_of(address: Address, records: bytes, *, status: int = 0, access_number: int = 1, profile: str = "none",
             keys: KeyRing | None = None, counter: int | None = None) -> bytes:  # fmt: skip
    telegram = compose(Meter(address, profile), records, access_number=access_number, status=status, counter=counter)
    return encode(telegram, keys or KeyRing())


def medium_telegram(medium: str, *, now: float = 86_400.0, history: bool = True, number: int = 12345678) -> Telegram:
    """What a simulated meter of the medium sends, decoded."""
    metrology = Metrology(f"EXS-{number}", medium, 1, Calendar(_START), history=history)
    return decode(frame_of(meter_address(MEDIA[medium].device_type, number), metrology.octets(0, 0, now)))


def record_telegram(records: str, device_type: int = WATER, *, status: int = 0, maker: str = "EXS") -> Telegram:
    """A telegram with these records (hexadecimal)."""
    return decode(frame_of(meter_address(device_type, maker=maker), bytes.fromhex(records), status=status))
