"""Numbers that look random and hang on names alone: the same seed, the same world, in any order of asking.

    uniform(seed, a, b, ...)      float in [0, 1) from 64 mixed bits
    normal(seed, a, b, ...)       standard normal, Box-Muller from two of them
    pair_normals(seed, a, bs)     the same for arrays, symmetric in a and b

The mixer is SplitMix64 (Steele, Lea, Flood 2014): an invertible finaliser of 64 bits.
"""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream", "normal", "pair_normals", "pair_uniforms", "seed_of", "uniform"]

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_SCALE = 2.0**-53


def seed_of(*names: object) -> int:
    """64 bits that hang on the names."""
    text = "/".join(map(str, names))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ value >> 30) * 0xBF58_476D_1CE4_E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D0_49BB_1331_11EB) & _MASK
    return value ^ value >> 31


def _bits(seed: int, keys: tuple[int, ...]) -> int:
    for key in keys:
        seed = _mix(seed ^ (key & _MASK))
    return _mix(seed)


def uniform(seed: int, *keys: int) -> float:
    """A number in [0, 1) for integer keys."""
    return (_bits(seed, keys) >> 11) * _SCALE


def normal(seed: int, *keys: int) -> float:
    """A standard normal number for integer keys."""
    first, second = uniform(seed, *keys, 1), uniform(seed, *keys, 2)
    return math.sqrt(-2.0 * math.log(1.0 - first)) * math.cos(2.0 * math.pi * second)


class Stream:
    """Dice for one machine: the n-th number hangs on the seed and n alone. Sixteen octets of state, not 2.5 k."""

    __slots__ = ("_state",)

    def __init__(self, *names: object) -> None:
        self._state = seed_of(*names)

    def __call__(self) -> float:
        self._state = (self._state + _GOLDEN) & _MASK
        return (_mix(self._state) >> 11) * _SCALE


def _mix_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(_GOLDEN)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D0_49BB_1331_11EB)
    return values ^ values >> np.uint64(31)


def pair_uniforms(seed: int, one: int, others: NDArray[np.uint64], salt: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) for the pairs of ``one`` with each of ``others``; the order of a pair does not matter."""
    first = np.uint64(one)
    low, high = np.minimum(others, first), np.maximum(others, first)
    state = _mix_array(np.uint64(seed ^ salt) ^ low)
    state = _mix_array(_mix_array(state ^ high))
    return (state >> np.uint64(11)).astype(np.float64) * _SCALE


def pair_normals(seed: int, one: int, others: NDArray[np.uint64], salt: int) -> NDArray[np.float64]:
    """Standard normal numbers for the pairs of ``one`` with each of ``others``, symmetric."""
    first = pair_uniforms(seed, one, others, 2 * salt)
    second = pair_uniforms(seed, one, others, 2 * salt + 1)
    return np.sqrt(-2.0 * np.log(1.0 - first)) * np.cos(2.0 * np.pi * second)
