"""Mutations that keep enough of a telegram alive to get past its first checks.

A case is a seed with one to a few changes. Some changes are made to the octets as they are; then
length and check sums are often mended, so that the fault sits behind them. Others are made to the
application octets in the clear, which are sealed again, so that they reach the record parser.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from fuzz.seeds import Case
from openmetering import Decoder, OmsError, Telegram, encode
from openmetering.codec.link.wireless import frame as with_crc

__all__ = ["Mutator"]

_EDGES = (
    0x00,
    0x01,
    0x0D,
    0x0F,
    0x1F,
    0x2F,
    0x68,
    0x7C,
    0x7F,
    0x80,
    0x84,
    0x8D,
    0xBF,
    0xC0,
    0xE1,
    0xF6,
    0xFB,
    0xFC,
    0xFD,
    0xFE,
    0xFF,
)
#: CI fields with a layer behind them, and record starts that lead somewhere
_CI = bytes.fromhex(
    "5051525354555A5B5C606164656667686A6B6C6D6E6F70717273747576777879787A7B7C7D7E7F8081838687888A8B8C8D8E8F909EA0B8C0C1C2C3C4C5"
)
_RECORDS = tuple(
    bytes.fromhex(text)
    for text in (
        "0C13", "046D", "426C", "0DFD11", "0D7C", "8D04931F", "8D04931E", "8D049313", "0F", "1F", "7F", "04FC",
        "0CFC03484823", "8C8010", "02FDC8FC01", "0DFD3B", "05FF", "07FD3A", "0DF9", "06ED00", "036D",
        "8B8080808080808080808000", "0DC5", "0DD4", "0DE8", "0DF5", "0DEF30",
    )
)  # fmt: skip
_LONG = 16384
_MAX_CHANGES = 6
_Change = Callable[[random.Random, bytearray, Sequence[Case]], None]


def _flip(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)


def _edge(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    octets[dice.randrange(len(octets))] = dice.choice(_EDGES)


def _any(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    octets[dice.randrange(len(octets))] = dice.randrange(256)


def _insert(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    at = dice.randrange(len(octets) + 1)
    octets[at:at] = dice.randbytes(dice.randrange(1, 9))


def _delete(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    at = dice.randrange(len(octets))
    del octets[at : at + dice.randrange(1, 9)]


def _cut(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    del octets[dice.randrange(len(octets)) :]


def _repeat(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    at = dice.randrange(len(octets))
    part = octets[at : at + dice.randrange(1, 33)]
    octets[at:at] = part * dice.randrange(1, 5)


def _splice(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    other = dice.choice(pool).octets
    octets[dice.randrange(len(octets)) :] = other[dice.randrange(len(other)) :]


def _control(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    """Another CI field, where one probably stands."""
    at = dice.choice((6, 10, 13, 21))
    if at < len(octets):
        octets[at] = dice.choice(_CI)


def _record(dice: random.Random, octets: bytearray, pool: Sequence[Case]) -> None:
    """The start of a record that leads somewhere."""
    at, start = dice.randrange(len(octets)), dice.choice(_RECORDS)
    octets[at : at + dice.choice((0, len(start)))] = start


_CHANGES: tuple[_Change, ...] = (
    _flip,
    _flip,
    _edge,
    _edge,
    _any,
    _insert,
    _delete,
    _cut,
    _repeat,
    _splice,
    _control,
    _record,
    _record,
)


def _mended(dice: random.Random, octets: bytes) -> bytes:
    """Length and check sums made right, of the kind of frame that it looks like."""
    if octets[:1] == b"\x68" and len(octets) >= 9 and len(octets) - 6 < 256:
        body = octets[4:-2]
        return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))
    if len(octets) < 11 or len(octets) > 256:
        return octets
    plain = bytes((len(octets) - 1,)) + octets[1:]
    kind = dice.choice((None, None, "A", "B"))
    try:
        return plain if kind is None else with_crc(plain, kind)
    except OmsError:
        return plain


class Mutator:
    """An endless stream of cases out of seeds; the same seed number gives the same stream."""

    def __init__(self, pool: Sequence[Case], seed: int) -> None:
        self.pool = pool
        self.dice = random.Random(seed)
        self._opened = [(telegram, key) for telegram, key in map(_open, pool) if telegram is not None]

    def change(self, octets: bytes, *, most: int = _MAX_CHANGES) -> bytes:
        """One to a few changes."""
        changed = bytearray(octets)
        for _ in range(min(self.dice.randrange(1, most + 1), self.dice.randrange(1, most + 1))):
            if not changed:
                return self.dice.randbytes(self.dice.randrange(1, 20))
            self.dice.choice(_CHANGES)(self.dice, changed, self.pool)
        return bytes(changed)

    def next(self) -> Case:
        """The next case."""
        chance = self.dice.random()
        if chance < 0.002:
            return self._long()
        if chance < 0.3 and self._opened:
            sealed = self._sealed()
            if sealed is not None:
                return sealed
        seed = self.dice.choice(self.pool)
        octets = self.change(seed.octets)
        if self.dice.random() < 0.5:
            octets = _mended(self.dice, octets)
        return Case(octets, seed.key if self.dice.random() < 0.9 else self.dice.randbytes(16))

    def _sealed(self) -> Case | None:
        """Changed application octets under a valid protection; None where they cannot be sealed."""
        telegram, key = self.dice.choice(self._opened)
        payload = telegram.payload or b""
        front = payload[:2] if telegram.security.mode in (2, 4, 5, 7) and payload[:2] == b"\x2f\x2f" else b""
        changed = self.change(payload[len(front) :], most=4)
        size = len(payload) - len(front)
        if self.dice.random() < 0.8:  # the length that the configuration field announces
            changed = changed[:size].ljust(size, b"\x2f")
        try:
            return Case(encode(msgspec.structs.replace(telegram, payload=front + changed), key), key)
        except OmsError:
            return None

    def _long(self) -> Case:
        """Far more octets than a frame can have."""
        octets, size = b"", self.dice.randrange(300, _LONG)
        while len(octets) < size:
            octets += self.change(self.dice.choice(self.pool).octets)
        return Case(octets[:size], None)


def _open(case: Case) -> tuple[Telegram | None, bytes | None]:
    telegram = Decoder().examine(case.octets, case.key)
    usable = telegram.error is None and telegram.payload and telegram.application is None and not telegram.fragment
    return (telegram if usable else None), case.key
