"""Time of a city: 10 000 meters, 40 gateways, 24 virtual hours on one core, and its memory hour by hour.

python -m benchmarks.city [METERS [GATEWAYS [HOURS]]]
"""

from __future__ import annotations

import gc
import resource
import sys
import time

from openmetering.simulation.city import city
from openmetering.simulation.world import World


def resident() -> float:
    """Megabytes in use by this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main(meters: int = 10_000, gateways: int = 40, hours: int = 24) -> None:
    begun = time.process_time()
    world = World(city(meters, gateways))
    gc.collect()
    gc.freeze()  # what was built stays; the collector need not look at it again
    built = time.process_time()
    print(f"{meters} meters, {gateways} gateways: built in {built - begun:.1f} s, {resident():.0f} MB")
    for hour in range(1, hours + 1):
        world.run(hour * 3600.0)
        if hour in (1, 2, hours) or hour % 6 == 0:
            print(f"  {hour:3} h {time.process_time() - built:8.1f} s {resident():8.0f} MB")
    spent = time.process_time() - built
    summary = world.summary()
    lost = ", ".join(f"{cause} {number}" for cause, number in summary.total_lost().items() if number)
    speed = f"{summary.events / spent:.0f} events/s, {summary.transmissions / spent:.0f} telegrams/s"
    print(f"{speed}, {summary.transmissions} telegrams")
    print(f"received {summary.total_received()}, lost: {lost}; account balanced: {world.channel.account.balanced}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
