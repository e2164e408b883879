"""Who sends: device types, manufacturers, the status octet, error flags.

Source   OMS Volume 2 issue 5.0.1, Tables 2 to 4 (device types), 7.2.3 Table 17 (status),
         4.3.2.3 Table 9 (sub device types)
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import flag, hexadecimal, rows

__all__ = [
    "DEVICE_TYPES",
    "ERROR_FLAGS",
    "MANUFACTURERS",
    "STATUS",
    "SUB_DEVICE_TYPES",
    "DeviceType",
    "ErrorFlag",
    "StatusBit",
    "device_type_of_category",
    "error_flags",
    "status_flags",
]


class DeviceType(msgspec.Struct, frozen=True):
    """One device type; ``category`` is the first character of the DIN address and of OBIS.

    ``group``: ``end-device`` (certifiable), ``system``, ``known``, ``reserved``, ``wildcard``.
    """

    code: int
    name: str
    category: str
    group: str
    certifiable: bool
    confidence: str


class StatusBit(msgspec.Struct, frozen=True):
    """One reading of the status octet: it applies if ``status & mask == value``."""

    mask: int
    value: int
    name: str
    meaning: str


class ErrorFlag(msgspec.Struct, frozen=True):
    """One code of a flag or state field; ``set`` names the field, ``tag`` its data point."""

    set: str
    code: str
    name: str
    meaning: str
    manufacturer: str
    device_types: tuple[int, ...]
    tag: str


def _device_types() -> tuple[DeviceType, ...]:
    return tuple(
        DeviceType(code, row["name"], row["category"], row["group"], flag(row["certifiable"]), row["confidence"])
        for row in rows("device_types.csv")
        for code in hexadecimal(row["code"])
    )


#: indexed by the octet; every code has an entry
DEVICE_TYPES: tuple[DeviceType, ...] = _device_types()

#: FLAG code -> name, public knowledge only
MANUFACTURERS: dict[str, str] = {row["code"]: row["name"] for row in rows("manufacturers.csv")}

STATUS: tuple[StatusBit, ...] = tuple(
    StatusBit(int(row["mask"], 16), int(row["value"], 16), row["name"], row["meaning"]) for row in rows("status.csv")
)

ERROR_FLAGS: tuple[ErrorFlag, ...] = tuple(
    ErrorFlag(
        row["set"],
        row["code"],
        row["name"],
        row["meaning"],
        row["manufacturer"],
        tuple(int(code, 16) for code in row["device_types"].split()),
        row["tag"],
    )
    for row in rows("error_flags.csv")
)

#: number of ID11! -> name
SUB_DEVICE_TYPES: dict[int, str] = {int(row.code): row.name for row in ERROR_FLAGS if row.set == "sub device type"}

# the category of a DIN address does not name one device type: these are the defaults
_DEFAULT_OF_CATEGORY = {
    "1": 0x02,
    "4": 0x08,
    "5": 0x0A,
    "6": 0x04,
    "7": 0x03,
    "8": 0x07,
    "9": 0x06,
    "E": 0x0E,
    "F": 0x0F,
}


def device_type_of_category(category: str) -> int | None:
    """The default device type of a category of the DIN 43863-5 address; None if there is none."""
    return _DEFAULT_OF_CATEGORY.get(category.upper())


def status_flags(status: int) -> tuple[str, ...]:
    """Names of what the status octet of a meter says, lowest bit first.

    Octets   0  bits 1-0 application state, 2 power low, 3 permanent error, 4 temporary error,
                7-5 manufacturer
    Source   OMS Volume 2 issue 5.0.1, 7.2.3 Table 17
    Units    none
    Raises   nothing
    """
    return tuple(bit.name for bit in STATUS if status & bit.mask == bit.value)


def error_flags(value: int, *, manufacturer: str = "", device_type: int | None = None) -> tuple[str, ...]:
    """Names of the set bits of the standard error flags (MM3!), lowest bit first.

    Octets   little endian bit array of any length
    Source   OMS Volume 2 issue 5.0.1, 4.3.2.3 Table 9 for bit 10; the other bits of
             EN 13757-3 Annex E.1 are not public and read "bit n". The bits of one manufacturer
             are used if manufacturer and device type are given and known.
    Units    none
    Raises   nothing
    """
    names = {
        row.code: row.name
        for row in ERROR_FLAGS
        if row.set == "standard" or (row.set == "vendor" and row.manufacturer == manufacturer and device_type in row.device_types)
    }
    bits = (f"bit {n}" for n in range(value.bit_length()) if value >> n & 1)
    return tuple(names.get(bit, bit) for bit in bits)
