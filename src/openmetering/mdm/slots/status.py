"""The status word of a register slot: 64 bits, the upper half from the gateway, the lower one from the meter.

    Check    what the technical check of a value found       our own names
    word     the bits that this sets                         ``tables/register_status.csv``, column ``checks``
    Level    0 no error to 4 fatal: the worst of its bits    ``tables/register_status.csv``, column ``level``

As text each half is written in hexadecimal with its lowest bit first: a word without any fault is ``A000000020000000``.

Source   the layout as TRuDI (the display software of PTB and VDE FNN) reads it. VDE-AR-N 4400, which says what an OMS meter sets,
         is not public: which check sets which bit is our choice and stands in the table alone.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from enum import IntEnum, IntFlag
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from openmetering.errors import InputError

__all__ = ["Check", "Level", "Outcome", "level_of", "outcome", "status_names", "status_text", "status_word"]

_HALF: Final = 32
_MASK: Final = (1 << _HALF) - 1
_SHIFT: Final = {"gateway": _HALF, "meter": 0}
_IDENTIFICATION: Final = "identification"


class Check(IntFlag):
    """What the technical check of a value found; 0 if nothing.

    ``MISSING``          no value came in the window of the slot
    ``UNPROVEN``         the telegram was protected and its proof did not hold
    ``METER_PERMANENT``, ``METER_TEMPORARY`` and ``METER_POWER``  the status octet says so
    ``METER_CLOCK``      the meter has a clock and it deviates by more than the window
    ``GATEWAY_CLOCK``    the gateway's clock was not synchronised
    ``BACKWARD``         less than the last valid value, and no roll-over
    """

    MISSING = 1
    UNPROVEN = 2
    METER_PERMANENT = 4
    METER_TEMPORARY = 8
    METER_POWER = 16
    METER_CLOCK = 32
    GATEWAY_CLOCK = 64
    BACKWARD = 128


class Level(IntEnum):
    """How far a value may be used. Up to WARNING it is valid."""

    NO_ERROR = 0
    WARNING = 1
    TEMPORARY = 2
    CRITICAL = 3
    FATAL = 4


class Outcome(msgspec.Struct, frozen=True):
    """A set of checks with its status word and level."""

    checks: Check
    word: int
    level: Level


class _Bit(msgspec.Struct, frozen=True):
    name: str
    mask: int
    level: Level


@cache
def _table() -> tuple[tuple[_Bit, ...], dict[Check, int]]:
    """The bits, the lowest first, and what each check sets."""
    text = (resources.files("openmetering.tables") / "register_status.csv").read_text("utf-8")
    bits: list[_Bit] = []
    sets: dict[Check, int] = defaultdict(int)
    for row in csv.DictReader(text.splitlines()):
        mask = 1 << _SHIFT[row["part"]] + int(row["bit"])
        bits.append(_Bit(f"{row['part']} {row['name']}", mask, Level(int(row["level"]))))
        for name in filter(None, row["checks"].split("; ")):
            sets[Check[name.upper().replace(" ", "_")]] |= mask
    return tuple(sorted(bits, key=lambda one: one.mask)), dict(sets)


@cache
def outcome(checks: int) -> Outcome:
    """The status word of a set of checks, identification bits included."""
    bits, sets = _table()
    word = sum(one.mask for one in bits if _IDENTIFICATION in one.name)
    for check, mask in sets.items():
        if checks & check:
            word |= mask
    return Outcome(Check(checks), word, level_of(word))


def level_of(word: int) -> Level:
    """The worst level among the bits of a word."""
    return max((one.level for one in _table()[0] if word & one.mask), default=Level.NO_ERROR)


def status_names(word: int) -> tuple[str, ...]:
    """The set bits by name, without those that only identify the word: ``gateway warning``, ``meter fatal error``."""
    return tuple(one.name for one in _table()[0] if word & one.mask and _IDENTIFICATION not in one.name)


def _reversed(half: int) -> int:
    return int(f"{half:032b}"[::-1], 2)


def status_text(word: int) -> str:
    """A word as 16 hexadecimal digits: the gateway's half, then the meter's, each with its lowest bit first."""
    return f"{_reversed(word >> _HALF & _MASK):08X}{_reversed(word & _MASK):08X}"


def status_word(text: str) -> int:
    """The word of a text. Raises InputError (``input.option``) if it is none or does not identify itself"""
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        octets = b""
    if len(octets) != 2 * _HALF // 8:
        raise InputError(f"a status word has 16 hexadecimal digits, not {text!r}", code="input.option")
    word = _reversed(int.from_bytes(octets[:4])) << _HALF | _reversed(int.from_bytes(octets[4:]))
    own = outcome(0).word
    if word & own != own:
        raise InputError(f"{text} lacks the bits that say it is a status word", code="input.option")
    return word
