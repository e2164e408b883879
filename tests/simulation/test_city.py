"""A city runs on one core with flat memory; small here, the full size is measured by the benchmark."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from openmetering.simulation.city import city
from openmetering.simulation.world import World


def test_a_small_city_adds_up() -> None:
    made = World(city(400, 4))
    made.run(3600.0)
    summary = made.summary()
    assert len(made.devices) == 400
    assert made.channel.account.balanced
    assert sum(summary.verdicts[name].get("new", 0) for name in made.gateways) > 0.8 * summary.transmissions
    assert sum(len(gateway.links) for gateway in made.gateways.values()) == 400


@pytest.mark.slow
def test_memory_does_not_grow_with_time() -> None:
    tracemalloc.start()
    try:
        made = World(city(81, 1))
        sizes = []
        for hour in (10, 15, 20):
            made.run(hour * 3600.0)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes) - min(sizes) < 0.03 * sizes[0], sizes
    assert len(made.kernel) < 1000
