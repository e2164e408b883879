"""Points and devices of a property: what a register shows at a time, and the telegram that says so.

    register = offset + consumption since the beginning + what faults add        in the last digit of the field

Telegrams are SND-NR with a short header, security profile A (mode 5), records by medium:

    water                   0C 13 register, 4C 13 due date value, 42 6C its date, 8C 04 13 month, 82 04 6C its date
    heat                    0C 06, 4C 06, 42 6C, 8C 04 06, 82 04 6C, 04 6D clock
    electricity             04 03, 04 6D clock
    heat cost allocator     03 6E, 43 6E, 42 6C, 83 04 6E, 82 04 6C
    all                     02 FD 97 1D error flags
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from openmetering.codec.address import Address
from openmetering.mdm.local_time import local_date, midnight
from openmetering.security.aes import BlockCipher
from openmetering.security.modes import fill, seal_cbc
from openmetering.simulation.profiles import Calendar, Consumption
from openmetering.wire.types import encode_bcd, encode_integer

__all__ = [
    "MEDIA",
    "MeterMedium",
    "PropertyDevice",
    "PropertyPoint",
    "clock_octets",
    "consumption",
    "date_octets",
    "mantissa",
    "month_end",
    "number",
    "stored_head",
    "telegram",
]

_SND_NR: Final = 0x44
_SHORT_HEADER: Final = 0x7A
_BLOCK: Final = 16


class MeterMedium(msgspec.Struct, frozen=True):
    """How a medium is sent. ``head`` of the register (DIF, VIF), ``size`` in octets, ``factor`` from the unit of the consumption
    (l, Wh, units) to the last digit, ``exponent`` and ``unit`` of the value; ``maximum`` an hour in ``unit``."""

    name: str
    device_type: int
    kind: str
    head: str
    size: int
    bcd: bool
    factor: float
    exponent: int
    unit: str
    stored: bool
    clock: bool
    size_class: str
    maximum: str

    @property
    def capacity(self) -> int:
        """Where the register begins again."""
        return 10 ** (2 * self.size) if self.bcd else 1 << (8 * self.size)


MEDIA: Final[dict[str, MeterMedium]] = {
    one.name: one
    for one in (
        MeterMedium("cold water", 0x16, "cold water", "0C13", 4, True, 1.0, -3, "m3", True, False, "Q3 2.5", "3.125"),
        MeterMedium("warm water", 0x06, "warm water", "0C13", 4, True, 1.0, -3, "m3", True, False, "Q3 2.5", "3.125"),
        MeterMedium("heat", 0x04, "heat", "0C06", 4, True, 0.001, 3, "Wh", True, True, "15 kW", "15000"),
        MeterMedium("electricity", 0x02, "electricity", "0403", 4, False, 1.0, 0, "Wh", False, True, "35 A", "24150"),
        MeterMedium("heat cost allocator", 0x08, "heat cost allocator", "036E", 3, False, 1.0, 0, "", True, False, "", "50"),
    )
}


class PropertyDevice(msgspec.Struct, frozen=True):
    """A device and its time at a point. ``begin`` and ``end`` in seconds of 1970; ``register`` its first value."""

    address: Address
    key: bytes
    begin: float
    end: float | None = None
    register: int = 0
    registered: bool = True


class PropertyPoint(msgspec.Struct):
    """A metering point. ``flow`` gives what was consumed since the beginning of the year, in the unit of its consumption;
    ``extra`` what went through besides (a leak, backward flow), ``missed`` what a register did not count of it."""

    label: str
    medium: MeterMedium
    unit_name: str
    area: float
    main: bool
    flow: Callable[[float], float]
    devices: list[PropertyDevice]
    every: float
    offset: float
    gateways: tuple[str, ...]
    extra: list[Callable[[float], float]] = []
    missed: list[Callable[[float], float]] = []

    def consumed(self, at: float) -> float:
        """What went through since the beginning; what is to be billed."""
        return self.flow(at) + sum(one(at) for one in self.extra) if self.extra else self.flow(at)

    def counted(self, at: float) -> float:
        """What the register counted of it."""
        return self.consumed(at) - sum(one(at) for one in self.missed) if self.missed else self.consumed(at)

    def device(self, at: float) -> PropertyDevice | None:
        """Who measured at a time."""
        return next((one for one in self.devices if one.begin <= at and (one.end is None or at < one.end)), None)

    def truth(self, at: float) -> Decimal:
        """Consumption since the beginning of the year, in the unit of the register."""
        return Decimal(str(self.consumed(at) * self.medium.factor)).scaleb(self.medium.exponent)


def consumption(kind: str, seed: int, civil: Calendar, begin: float) -> Callable[[float], float]:
    """A year of a household, from 0 at the beginning."""
    supply = Consumption(kind, seed, civil)
    first = supply.value(0.0)
    return lambda at: supply.value(at - begin) - first


def mantissa(point: PropertyPoint, device: PropertyDevice, at: float) -> int:
    """What the register of a device shows, before roll-over."""
    medium = point.medium
    return device.register + int(point.counted(at) * medium.factor) - int(point.counted(device.begin) * medium.factor)


def telegram(
    device: PropertyDevice,
    medium: MeterMedium,
    access_number: int,
    status: int,
    records: bytes,
    cipher: BlockCipher,
    *,
    hop: bool,
) -> bytes:
    """A frame without CRCs, encrypted in mode 5."""
    address = device.address.link_octets()
    plain = fill(b"\x2f\x2f" + records)
    sealed = seal_cbc(5, cipher, address, access_number & 0xFF, plain)
    configuration = bytes((len(sealed) // _BLOCK << 4 | hop, 0x05))
    body = bytes((_SND_NR,)) + address + bytes((_SHORT_HEADER, access_number & 0xFF, status)) + configuration + sealed
    return bytes((len(body),)) + body


def number(medium: MeterMedium, head: str, value: int) -> bytes:
    """A record of the register, whatever its storage."""
    packed = value % medium.capacity
    return bytes.fromhex(head) + (
        encode_bcd(packed, medium.size) if medium.bcd else encode_integer(packed, medium.size, signed=False)
    )


def stored_head(medium: MeterMedium, storage: int) -> str:
    """The header of the same value with storage 1 or 8."""
    dif, vif = int(medium.head[:2], 16), medium.head[2:]
    return f"{dif | 0x40:02X}{vif}" if storage == 1 else f"{dif | 0x80:02X}04{vif}"


def date_octets(day: date) -> bytes:
    """Type G."""
    year = day.year - 2000
    return bytes((day.day | (year & 0x07) << 5, day.month | (year & 0x78) << 1))


def clock_octets(moment: datetime) -> bytes:
    """Type F, with the bit for summer time."""
    year = moment.year - 2000
    summer = 0x80 if moment.dst() else 0
    return bytes((moment.minute, moment.hour | summer, moment.day | (year & 0x07) << 5, moment.month | (year & 0x78) << 1))


def month_end(at: float, zone: ZoneInfo) -> tuple[date, float]:
    """The last day of the month that ended last, and when it ended."""
    first = local_date(at, zone).replace(day=1)
    return first - timedelta(days=1), midnight(first, zone)
