"""Propagation: from two places to a path loss in dB.

    free-space     PL = 20 log10(f) + 20 log10(d) - 27.55                       f in MHz, d in m
    log-distance   PL = PL(1 m) + 10 n log10(d) + walls + floors + X             n and losses by environment
    P.1238         PL = 20 log10(f) + 33 log10(d) + Lf(floors) - 28              one building, 900 MHz band

    X          log-normal shadowing with sigma dB: one draw for each pair of stations and channel, the same in
               both directions, from the seed by a hash (nothing is stored, nothing hangs on the order)
    fading     slow changes by people and doors: two sines of minutes and hours with phases of the pair,
               2 to 4 dB peak; the small-scale part that does not move is in X

Sources: Friis (free space); ITU-R P.1238 at 900 MHz, power loss coefficient 33, floor losses 9, 19, 24 dB;
losses of walls and ceilings as usual in planning for 868 MHz [K]; exponents 1.6 .. 3.3 indoors [K].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from openmetering.simulation.chance import pair_normals, pair_uniforms

__all__ = [
    "LOSSES",
    "Environment",
    "Place",
    "Places",
    "fade",
    "free_space",
    "itu_p1238",
    "log_distance",
    "path_loss",
    "phases",
    "swing",
    "weights",
]

_SHADOW, _PHASE_FAST, _PHASE_SLOW = 11, 23, 37

#: dB that one crossing costs, middle of the usual range [K]
LOSSES: dict[str, float] = {
    "plaster": 3.5,
    "brick": 7.0,
    "concrete": 14.0,
    "ceiling": 16.0,
    "basement": 22.0,
    "cabinet": 15.0,
    "pit": 15.0,
    "glass": 2.0,
    "none": 0.0,
}
_FLOOR_P1238 = (0.0, 9.0, 19.0, 24.0)
_FAST, _SLOW = 66.8, 3037.0  #: seconds for a radian of the waves
_ROOM = 4.5  #: metres between two inner walls of a flat


class Place(msgspec.Struct, frozen=True):
    """Where a station stands.

    ``x``, ``y``, ``z``  metres
    ``building``         number of the building, 0 outdoors
    ``floor``            storey, -1 is the basement
    ``flat``             number of the flat on its storey, 0 staircase and common rooms
    ``extra``            dB that its own surroundings cost (metal cabinet, pit)
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 1.0
    building: int = 0
    floor: int = 0
    flat: int = 0
    extra: float = 0.0


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How waves travel: the model and what walls are made of (names of LOSSES).

    ``exponent``      path loss exponent inside a building, ``outside`` between buildings and outdoors
    ``sigma``         dB, shadowing; ``fading`` dB, peak of the slow changes
    """

    model: str = "log-distance"
    exponent: float = 2.8
    outside: float = 3.0
    sigma: float = 6.0
    fading: float = 3.0
    inner_wall: str = "plaster"
    party_wall: str = "brick"
    outer_wall: str = "brick"
    ceiling: str = "ceiling"
    basement: str = "basement"


class Places:
    """Places of many stations as arrays (metres, storeys, dB); ``number`` are their numbers in the world."""

    __slots__ = ("building", "extra", "flat", "floor", "number", "x", "y", "z")

    def __init__(self, places: list[Place], numbers: list[int]) -> None:
        self.x = np.array([place.x for place in places], np.float64)
        self.y = np.array([place.y for place in places], np.float64)
        self.z = np.array([place.z for place in places], np.float64)
        self.building = np.array([place.building for place in places], np.int64)
        self.floor = np.array([place.floor for place in places], np.int64)
        self.flat = np.array([place.flat for place in places], np.int64)
        self.extra = np.array([place.extra for place in places], np.float64)
        self.number = np.array(numbers, np.uint64)


Losses = NDArray[np.float64]


def free_space(frequency: float, distance: Losses | float) -> Losses:
    """Free space loss in dB; ``frequency`` in MHz, ``distance`` in m (31.2 dB at 1 m and 868.95 MHz)."""
    return 20.0 * math.log10(frequency) + 20.0 * np.log10(distance) - 27.55


def itu_p1238(frequency: float, distance: Losses | float, floors: NDArray[np.int64] | int) -> Losses:
    """Indoor loss in dB after ITU-R P.1238, 900 MHz band; three storeys and more cost 24 dB."""
    steps = np.minimum(np.abs(floors), len(_FLOOR_P1238) - 1)
    loss = 20.0 * math.log10(frequency) + 33.0 * np.log10(distance) - 28.0 + np.array(_FLOOR_P1238)[steps]
    return np.asarray(loss, np.float64)


def _obstacles(environment: Environment, here: Place, there: Places, across: Losses) -> Losses:
    """dB of the walls and ceilings between."""
    loss = LOSSES
    same = (there.building == here.building) & (here.building != 0)
    steps = np.abs(there.floor - here.floor)
    ceilings = np.where(same, steps, 0) * loss[environment.ceiling]
    flats = np.where(same & (there.flat != here.flat), np.maximum(1, np.abs(there.flat - here.flat)), 0)
    inner = np.where(same, np.minimum(np.floor(across / _ROOM), 3.0), 0.0) * loss[environment.inner_wall]
    walls = np.where(same, flats * loss[environment.party_wall], 0.0) + inner
    outer = ((there.building != 0) & ~same).astype(np.float64) + (0.0 if here.building == 0 else 1.0) * (~same)
    below = (there.floor < 0).astype(np.int64) + (1 if here.floor < 0 else 0)
    cellar = np.where(same, 0, below) * loss[environment.basement]
    return np.asarray(ceilings + walls + outer * loss[environment.outer_wall] + cellar, np.float64)


def log_distance(environment: Environment, frequency: float, here: Place, there: Places) -> Losses:
    """Mean loss in dB: the distance law and the obstacles, without shadowing."""
    across, distance = _distances(here, there)
    same = (there.building == here.building) & (here.building != 0)
    exponent = np.where(same, environment.exponent, environment.outside)
    first = free_space(frequency, 1.0)
    return np.asarray(first + 10.0 * exponent * np.log10(distance) + _obstacles(environment, here, there, across), np.float64)


def _free(environment: Environment, frequency: float, here: Place, there: Places) -> Losses:
    return free_space(frequency, _distances(here, there)[1])


def _p1238(environment: Environment, frequency: float, here: Place, there: Places) -> Losses:
    return itu_p1238(frequency, _distances(here, there)[1], there.floor - here.floor)


def _distances(here: Place, there: Places) -> tuple[Losses, Losses]:
    across = np.hypot(there.x - here.x, there.y - here.y)
    return across, np.maximum(np.hypot(across, there.z - here.z), 1.0)


#: mean loss by the name of the model
MODELS: dict[str, Callable[[Environment, float, Place, Places], Losses]] = {
    "free-space": _free,
    "log-distance": log_distance,
    "P.1238": _p1238,
}


def path_loss(environment: Environment, seed: int, frequency: float, number: int, here: Place, there: Places) -> Losses:
    """Loss in dB from a station to many, shadowing and surroundings included; the same both ways."""
    mean = MODELS[environment.model](environment, frequency, here, there)
    channel = round(frequency * 1000)
    shadow = environment.sigma * pair_normals(seed ^ channel, number, there.number, _SHADOW)
    return mean + shadow + here.extra + there.extra


def swing(now: float) -> tuple[float, float, float, float]:
    """Sine and cosine of the fast (7 min) and the slow (5.3 h) wave at a time: the same for all links."""
    fast, slow = now / _FAST, now / _SLOW
    return math.sin(fast), math.cos(fast), math.sin(slow), math.cos(slow)


def weights(amplitude: float, phases: tuple[float, float]) -> tuple[float, float, float, float]:
    """What a link makes of ``swing``: fading in dB is their scalar product, ``amplitude`` at most."""
    fast, slow = phases
    strong, weak = amplitude * 2.0 / 3.0, amplitude / 3.0
    return strong * math.cos(fast), strong * math.sin(fast), weak * math.cos(slow), weak * math.sin(slow)


def fade(amplitude: float, phases: tuple[float, float], now: float) -> float:
    """Slow change of a link in dB at a time: sines of 7 minutes and 5.3 hours, two to one, ``amplitude`` peak."""
    return sum(a * b for a, b in zip(weights(amplitude, phases), swing(now), strict=True))


def phases(seed: int, number: int, there: Places) -> tuple[Losses, Losses]:
    """Phases of ``fade`` for the links from a station to many, symmetric."""
    turn = 2.0 * math.pi
    return turn * pair_uniforms(seed, number, there.number, _PHASE_FAST), turn * pair_uniforms(
        seed, number, there.number, _PHASE_SLOW
    )
