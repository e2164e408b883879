"""Timing for the benchmarks: processor time, best of several rounds, contenders by turns.

Processor time (not the clock on the wall) is counted, so that what else the machine does
disturbs less; contenders of one table take turns within each round, so that a slow moment
meets them all.
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Contender", "Result", "Table", "child_seconds", "measure"]


class Contender(NamedTuple):
    """A row: what it is called, how often the unit of work is done in a call, and the call."""

    name: str
    count: int
    run: Callable[[], object]


class Result(NamedTuple):
    """The best round of a contender, in microseconds for a unit of work."""

    name: str
    microseconds: float


def measure(contenders: Sequence[Contender], rounds: int) -> dict[str, Result]:
    """The best round of each contender."""
    best = dict.fromkeys((contender.name for contender in contenders), float("inf"))
    for _ in range(rounds):
        for name, count, run in contenders:
            gc.collect()
            start = time.process_time()
            run()
            best[name] = min(best[name], (time.process_time() - start) / count * 1e6)
    return {name: Result(name, value) for name, value in best.items()}


def child_seconds(command: Sequence[str], source: str | None = None) -> float:
    """Processor time of a child process, its start included; its output is thrown away."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(source or os.devnull, "rb") as stdin:
        subprocess.run(command, stdin=stdin, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


class Table:
    """The one table that is printed, and the ratios that must hold."""

    _WIDTH = 58

    def __init__(self) -> None:
        self.missed: list[str] = []

    def head(self, title: str, unit: str = "telegram") -> None:
        """A new part of the table."""
        print(f"\n{title:<{self._WIDTH}} {'us/' + unit:>14} {'per second':>12}  ratio")

    def row(self, result: Result, ratio: str = "") -> None:
        """One line."""
        rate = f"{1e6 / result.microseconds:,.0f}".replace(",", " ")
        print(f"  {result.name:<{self._WIDTH - 2}} {result.microseconds:>14.2f} {rate:>12}  {ratio}".rstrip(), flush=True)

    def note(self, text: str) -> None:
        """A line of words."""
        print(f"  {text}", flush=True)

    def versus(self, ours: Result, other: Result) -> str:
        """How many times faster we are."""
        return f"{other.microseconds / ours.microseconds:.1f} x {other.name}"

    def demand(self, what: str, ratio: float, least: float) -> None:
        """A ratio that must be reached."""
        self.demand_that(f"{what}: {ratio:.1f} x, at least {least:.0f} x", ratio >= least)

    def demand_that(self, what: str, holds: bool) -> None:
        """Something that must hold."""
        print(f"  {'reached' if holds else 'MISSED '}  {what}")
        if not holds:
            self.missed.append(what)

    def close(self) -> int:
        """The exit status: 1 if a demand was missed."""
        if self.missed:
            print(f"\n{len(self.missed)} demands missed", file=sys.stderr)
        return 1 if self.missed else 0
