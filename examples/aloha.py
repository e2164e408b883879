"""How many meters one gateway bears: the closed formula, the simulated channel, and the published limits.

    python examples/aloha.py [ROUNDS]

The first table runs cells of meters that send every 90 s for 29.5 ms and compares lost frames with the formula.
The second one works out the published limits of meters for 99 % of readings; the third checks on the channel
which of the two rules (see ``openmetering.simulation.neighbourhood``) describes what happens.
"""

from __future__ import annotations

import sys

from openmetering.simulation.neighbourhood import (
    INTERVAL,
    PUBLISHED,
    Watch,
    aloha,
    exact_failure,
    frames_in_window,
    limit,
    measure,
    published_failure,
)


def main(rounds: int = 200) -> None:
    print("meters   lost by formula   lost on the channel (3 standard errors)   agrees")
    for meters in (25, 175, 377, 954):
        trial = measure(meters, rounds=rounds, seed=1)
        expected = 1.0 - aloha(meters)
        spread = 300 * trial.error
        print(f"{meters:6} {expected:17.2%} {trial.rate:21.2%} ± {spread:.2f} points {trial.agrees(expected)!s:>20}")

    print("\nperiod   profile   published   rule of the publication   exact rule")
    for (hours, profile), published in PUBLISHED.items():
        frames = frames_in_window(hours, profile=profile)
        by_rule, exact = (limit(frames, rule) for rule in (published_failure, exact_failure))
        print(f"{hours:4} h {'yes' if profile else 'no':>10} {published:11} {by_rule:25.1f} {exact:12.1f}")

    print("\nmeters   window   missed on the channel   exact rule   rule of the publication")
    for meters, hours in ((25, 2.0), (175, 3.0), (377, 4.0)):
        frames = frames_in_window(hours, profile=False)
        trial = measure(meters, rounds=rounds, seed=2, watch=Watch(frames * INTERVAL, 50_000))
        loss = 1.0 - aloha(meters)
        both = f"{exact_failure(loss, frames):12.2%} {published_failure(loss, frames):25.2%}"
        print(f"{meters:6} {frames * INTERVAL:6.0f} s {trial.missed / trial.readings:23.2%} {both}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
