"""Time of a city: 10 000 meters, 40 gateways, 24 virtual hours on one core, and its memory hour by hour.

python -m benchmarks.city [METERS [GATEWAYS [HOURS]]]
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable

import msgspec

from openmetering.simulation.city import city
from openmetering.simulation.world import World

__all__ = ["CityRun", "main", "run_city"]


class CityRun(msgspec.Struct, frozen=True):
    """What a run took: processor seconds, and megabytes at most up to the first hour and up to the end."""

    built: float
    spent: float
    events: int
    telegrams: int
    received: int
    lost: str
    balanced: bool
    first_hour: float
    at_the_end: float


def resident() -> float:
    """Megabytes in use by this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def run_city(meters: int, gateways: int, hours: int, say: Callable[[str], None]) -> CityRun:
    """Build a city and let time pass."""
    begun = time.process_time()
    world = World(city(meters, gateways))
    gc.collect()
    gc.freeze()  # what was built stays; the collector need not look at it again
    built = time.process_time()
    first_hour = 0.0
    for hour in range(1, hours + 1):
        world.run(hour * 3600.0)
        if hour == 1:
            first_hour = resident()
        if hour in (1, 2, hours) or hour % 6 == 0:
            say(f"{hour:3} h {time.process_time() - built:8.1f} s {resident():8.0f} MB")
    spent = time.process_time() - built
    gc.unfreeze()
    summary = world.summary()
    world.channel.settle()
    lost = ", ".join(f"{cause} {number}" for cause, number in summary.total_lost().items() if number)
    return CityRun(
        built - begun,
        spent,
        summary.events,
        summary.transmissions,
        summary.total_received(),
        lost,
        world.channel.account.balanced,
        first_hour,
        resident(),
    )


def main(meters: int = 10_000, gateways: int = 40, hours: int = 24) -> None:
    """Run a city and print what it took."""
    run = run_city(meters, gateways, hours, lambda line: print(f"  {line}", flush=True))
    print(f"{meters} meters, {gateways} gateways: built in {run.built:.1f} s, {hours} h in {run.spent:.1f} s")
    print(f"{run.events / run.spent:.0f} events/s, {run.telegrams / run.spent:.0f} telegrams/s, {run.telegrams} telegrams")
    print(f"received {run.received}, lost: {run.lost}; account balanced: {run.balanced}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
