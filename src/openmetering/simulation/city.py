"""A city: blocks of flats on a grid, every flat full of meters, gateways on the roofs.

    city(meters=10_000, gateways=40)  -> WorldPlan

A block has five storeys with two flats each. A flat has cold and warm water, four heat cost allocators, an
electricity meter and a smoke alarm; a block has one heat meter. What is left to the wanted number are gas meters
spread over the town. Intervals are those of products for fixed networks; at the intervals that OMS allows at
most (``interval=None``) a city sends about a third of that.
"""

from __future__ import annotations

import math

from openmetering.simulation.plan import BuildingPlan, GatewayPlan, Head, MeterGroup, WorldPlan
from openmetering.simulation.propagation import Environment

__all__ = ["city"]

_FLOORS, _FLATS = 5, 2
_ALLOCATORS = 4
_BLOCK = _FLOORS * _FLATS * (4 + _ALLOCATORS) + 1  #: meters of a block
_ACROSS, _ALONG = 60.0, 45.0  #: metres from block to block


def city(meters: int = 10_000, gateways: int = 40, *, seed: str = "city", interval: float | None = 900.0) -> WorldPlan:
    """The plan of a city. ``interval`` seconds of the battery devices; electricity and heat send every 450 s."""
    blocks = meters // _BLOCK
    row = max(1, math.ceil(math.sqrt(blocks)))
    buildings = [
        BuildingPlan(f"block {index}", (_ACROSS * (index % row), _ALONG * (index // row)), _FLOORS, _FLATS, flat_width=11.0)
        for index in range(blocks)
    ]
    faster = None if interval is None else 450.0
    groups = [
        MeterGroup("cold water", interval=interval),
        MeterGroup("warm water", interval=interval),
        MeterGroup("heat cost allocator", count=_ALLOCATORS, profile="A", interval=interval),
        MeterGroup("electricity", where="basement", interval=faster),
        MeterGroup("smoke", profile="A", interval=interval),
        MeterGroup("heat", per="building", where="basement", mode="T", interval=faster),
    ]
    rest = meters - blocks * _BLOCK
    if rest:
        groups.append(MeterGroup("gas", per="world", count=rest, where="basement", interval=interval))
    return WorldPlan(
        Head(seed, f"city of {meters}", environment=Environment(outside=3.8)),
        buildings,
        groups if blocks else groups[-1:],
        [_gateway(index, gateways, buildings) for index in range(gateways)],
    )


def _gateway(index: int, gateways: int, buildings: list[BuildingPlan]) -> GatewayPlan:
    """On the roof of every so many-th block, or on a mast where there are no blocks."""
    if not buildings:
        return GatewayPlan(name=f"gateway {index}", position=(15.0 * index, 0.0, 8.0))
    chosen = buildings[index * len(buildings) // gateways]
    x, y = chosen.position
    return GatewayPlan(name=f"gateway {index}", position=(x + 11.0, y + 5.0 + index % 3, _FLOORS * chosen.floor_height + 2.0))
