"""Link layer and radio: C field, baud rates, radio modes.

Source   EN 60870-5-2 and EN 13757-2, EN 13757-4 (clauses to confirm); OMS Volume 2 issue 5.0.1,
         Tables 15, 16 and 28
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import numbers, rows

__all__ = ["BAUD_RATES", "C_FIELD", "RADIO_MODES", "ControlField", "RadioMode", "c_field"]


class ControlField(msgspec.Struct, frozen=True):
    """One value of the C field in one direction on one medium (``wired``, ``wireless``, ``both``)."""

    code: int
    name: str
    medium: str
    direction: str
    prm: bool
    answer: str
    meaning: str


class RadioMode(msgspec.Struct, frozen=True):
    """One radio mode in one direction: MHz, chips per second, bit/s, kHz; sync words in hex."""

    mode: str
    direction: str
    frequency_mhz: float
    chip_rate: int
    data_rate: int
    modulation: str
    deviation_khz: float
    coding: str
    frame_formats: tuple[str, ...]
    sync_a: str
    sync_b: str
    remark: str
    confidence: str


def _c_fields() -> tuple[ControlField, ...]:
    return tuple(
        ControlField(code, row["name"], row["medium"], row["direction"], row["prm"] == "1", row["answer"], row["meaning"])
        for row in rows("c_field.csv")
        for code in numbers(row["codes"])
    )


def _by_code(table: tuple[ControlField, ...]) -> dict[tuple[int, bool, bool], ControlField]:
    return {
        (row.code, row.direction == "up", wired): row
        for row in table
        for wired in (False, True)
        if row.medium in {"both", "wired" if wired else "wireless"}
    }


C_FIELD: tuple[ControlField, ...] = _c_fields()
_BY_CODE = _by_code(C_FIELD)

#: CI -> baud
BAUD_RATES: dict[int, int] = {int(row["code"], 16): int(row["baud"]) for row in rows("baud_rates.csv")}

RADIO_MODES: tuple[RadioMode, ...] = tuple(
    RadioMode(
        row["mode"],
        row["direction"],
        float(row["frequency_mhz"]),
        int(row["chip_rate"]),
        int(row["data_rate"]),
        row["modulation"],
        float(row["deviation_khz"]),
        row["coding"],
        tuple(row["frame_formats"].split()),
        row["sync_a"],
        row["sync_b"],
        row["remark"],
        row["confidence"],
    )
    for row in rows("radio_modes.csv")
)


def c_field(code: int, uplink: bool, *, wired: bool = False) -> ControlField | None:
    """What a C field means in one direction; None if no message has this code there.

    Octets   0  bit 6 PRM, 5 FCB or ACD, 4 FCV or DFC, 3-0 function
    Source   OMS Volume 2 issue 5.0.1, Tables 15 and 16
    Units    none
    Raises   nothing
    """
    return _BY_CODE.get((code, uplink, wired))
