"""Chips, channels and durations: how long a frame is on the air, and where.

    on air   preamble and sync | octets with CRCs, line coded | postamble

    mode            chips/s   header   chips/octet   tail   channel
    T up            100 000   48       12            8      868.95 MHz
    C up            100 000   64       8             0      868.95 MHz (the same as T up: they collide)
    C down           50 000   64       8             0      869.525 MHz
    S, T down        32 768   48       16            8      868.3 MHz
    S1 long header   32 768   576      16            8      868.3 MHz
    N (4.8 kcps)      4 800   32       8             0      169.40625 MHz
    R2                4 800   96       16            8      868.33 MHz

Source: EN 13757-4:2019, radio modes (clause to confirm); minimum preamble, 8 chips of postamble for coded modes.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from openmetering.errors import NotRepresentable

__all__ = ["AIR", "BANDS", "AirInterface", "Band", "air_interface", "airtime", "band_of", "octets_on_air"]

_FIRST_BLOCK = 10
_BLOCK = 16
_FIRST_B = 126  #: octets of format B that share the first CRC


class AirInterface(msgspec.Struct, frozen=True):
    """How frames of a mode and direction are sent.

    ``channel``    centre frequency in MHz; equal channels collide
    ``chip_rate``  chips per second
    ``header``     chips of preamble and sync word
    ``coding``     chips an octet takes on air (T 12, Manchester 16, NRZ 8)
    ``tail``       chips of postamble
    ``detector``   row of the receiver tables (T, C, C-down, S, N)
    """

    mode: str
    downlink: bool
    channel: float
    chip_rate: float
    header: int
    coding: int
    tail: int
    detector: str
    frame_format: str = "A"


class Band(msgspec.Struct, frozen=True):
    """A sub-band with its limits: ``share`` of an hour a station may send, ``power`` in dBm ERP."""

    low: float
    high: float
    share: float
    power: float


#: sub-bands of short range devices (ERC/REC 70-03, EN 300 220-2; clause to confirm) [K]
BANDS: tuple[Band, ...] = (
    Band(868.0, 868.6, 0.01, 14.0),
    Band(868.7, 869.2, 0.001, 14.0),
    Band(869.4, 869.65, 0.1, 27.0),
    Band(169.4, 169.475, 0.1, 27.0),
)

_ROWS: tuple[tuple[str, bool, float, float, int, int, int, str], ...] = (
    ("T", False, 868.95, 100_000.0, 48, 12, 8, "T"),
    ("T", True, 868.3, 32_768.0, 48, 16, 8, "S"),
    ("C", False, 868.95, 100_000.0, 64, 8, 0, "C"),
    ("C", True, 869.525, 50_000.0, 64, 8, 0, "C-down"),
    ("S", False, 868.3, 32_768.0, 48, 16, 8, "S"),
    ("S", True, 868.3, 32_768.0, 48, 16, 8, "S"),
    ("S1", False, 868.3, 32_768.0, 576, 16, 8, "S"),
    ("N", False, 169.40625, 4_800.0, 32, 8, 0, "N"),
    ("N", True, 169.40625, 4_800.0, 32, 8, 0, "N"),
    ("R2", False, 868.33, 4_800.0, 96, 16, 8, "S"),
    ("R2", True, 868.33, 4_800.0, 96, 16, 8, "S"),
)
#: (mode, downlink, frame format) -> air interface
AIR: dict[tuple[str, bool, str], AirInterface] = {
    (row[0], row[1], frame_format): AirInterface(*row, frame_format=frame_format)
    for row in _ROWS
    for frame_format in (("A", "B") if row[0] in ("C", "N") else ("A",))
}


def air_interface(mode: str, *, downlink: bool = False, frame_format: str = "A") -> AirInterface:
    """The air interface of a mode. Raises NotRepresentable for one that is not modelled."""
    found = AIR.get((mode, downlink, frame_format))
    if found is None:
        way = "down" if downlink else "up"
        raise NotRepresentable(f"no air interface {mode} {way} with frame format {frame_format}", field="mode", value=mode)
    return found


def octets_on_air(size: int, frame_format: str = "A") -> int:
    """Octets with CRCs of a frame of ``size`` octets (L field included) without.

    Format A: 10 octets and a CRC, then blocks of up to 16 octets and a CRC each; format B: a CRC behind
    the first 126 octets at most, a second one behind the rest. Source: EN 13757-4 (frame formats, clause to confirm).
    """
    if frame_format == "B":
        return size + (2 if size <= _FIRST_B else 4)
    return size + 2 * (1 + -(-max(0, size - _FIRST_BLOCK) // _BLOCK))


@lru_cache(maxsize=8192)
def airtime(air: AirInterface, size: int) -> float:
    """Seconds that a frame of ``size`` octets (without CRCs, L field included) is on the air."""
    return (air.header + air.coding * octets_on_air(size, air.frame_format) + air.tail) / air.chip_rate


@lru_cache(maxsize=64)
def band_of(channel: float) -> Band | None:
    """The sub-band a channel (MHz) lies in; None where no limit is known here."""
    return next((band for band in BANDS if band.low <= channel <= band.high), None)
