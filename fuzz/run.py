"""Mutated telegrams against every reader of openmetering (``make fuzz``).

    run.py                               one million telegrams
    run.py --count 20000 --seed 7        another stream, shorter
    run.py --seconds 600                 ten minutes
    run.py --reproduce HEX [--key HEX]   one telegram, the exception with its traceback

What must hold: nothing is raised by ``examine``, and nothing but errors of openmetering by the
decoders; time is bounded per octet; the same telegrams again cost no memory. A failure is made
short and printed with the line that reproduces it; then the exit status is 1.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fuzz.mutate import Mutator  # noqa: E402
from fuzz.seeds import Case, seeds  # noqa: E402
from fuzz.targets import Targets  # noqa: E402

COUNT = 1_000_000
BASE_SECONDS, OCTET_SECONDS = 0.05, 20e-6  #: a call may take this long, and this much more for each octet
RENEW = 50_000  #: telegrams after which the decoders start afresh, as a service does that is restarted
REPLAYED = 250  #: telegrams that are run again and again to see whether memory grows
ALLOWED_GROWTH = 200  #: octets for each replayed telegram: noise of the allocator, no leak
_SHRINK_STEPS = 400
_WITHOUT_ERROR = ("slow", "grows")


@dataclass
class Failure:
    """What went wrong with which octets."""

    target: str
    reason: str
    case: Case
    times: int = 1

    def __str__(self) -> str:
        key = "" if self.case.key is None else f" --key {self.case.key.hex().upper()}"
        return f"{self.target}: {self.reason}\n  python fuzz/run.py --reproduce {self.case.octets.hex().upper()}{key}"


@dataclass
class Report:
    """The outcome of a campaign."""

    telegrams: int = 0
    octets: int = 0
    seconds: float = 0.0
    slowest: float = 0.0  #: microseconds for an octet, of whole calls of more than 200 octets
    growth: float = 0.0  #: octets of memory for a telegram that was seen before
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.telegrams / self.seconds if self.seconds else 0.0
        lines = [
            f"{self.telegrams} telegrams, {self.octets} octets in {self.seconds:.0f} s ({rate:.0f}/s)",
            f"slowest call {self.slowest:.1f} us per octet; memory {self.growth:+.0f} octets for a telegram seen before",
        ]
        lines += [f"\nFAILED {failure.times} times\n{failure}" for failure in self.failures]
        lines.append(f"\n{len(self.failures)} different failures" if self.failures else "no failure")
        return "\n".join(lines)


def _reason(error: BaseException) -> str:
    """Type, text and the innermost line of our own code: what makes two failures the same."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "openmetering" in frame.filename or "fuzz" in frame.filename
    ]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    said = str(error).splitlines()[0][:120] if str(error) else ""
    return f"{type(error).__name__} at {place}: {said}"


class Campaign:
    """Runs cases through all targets and keeps the first failure of each kind."""

    def __init__(self) -> None:
        self.targets = Targets()
        self.report = Report()
        self._kinds: dict[tuple[str, str], Failure] = {}
        self._last: deque[Case] = deque(maxlen=REPLAYED)

    def run(self, mutator: Mutator, more: Callable[[int], bool]) -> Report:
        """Cases as long as ``more(number)`` says so; then the look at memory."""
        start = time.perf_counter()
        while more(self.report.telegrams):
            self.one(mutator.next())
            if self.report.telegrams % RENEW == 0:
                self.targets.renew()
        self.report.seconds = time.perf_counter() - start
        self._memory()
        return self.report

    def one(self, case: Case) -> None:
        """One case through all targets."""
        self.report.telegrams += 1
        self.report.octets += len(case.octets)
        self._last.append(case)
        limit = BASE_SECONDS + OCTET_SECONDS * len(case.octets)
        for name, target in self.targets.turn(self.report.telegrams):
            start = time.thread_time()
            try:
                target(case)
            except Exception as error:
                self._failed(name, _reason(error), case)
                continue
            spent = time.thread_time() - start
            if len(case.octets) > 200:
                self.report.slowest = max(self.report.slowest, spent / len(case.octets) * 1e6)
            if spent > limit and (again := self._again(name, case)) > limit:
                self._failed(name, "slow", case, f"{again:.2f} s for {len(case.octets)} octets")

    @staticmethod
    def _again(name: str, case: Case) -> float:
        """The least processor time of three more calls, each by new decoders: a slow moment of the machine is no failure."""
        times = []
        for _ in range(3):
            target = getattr(Targets(), name)
            start = time.thread_time()
            target(case)
            times.append(time.thread_time() - start)
        return min(times)

    def _failed(self, target: str, reason: str, case: Case, more: str = "") -> None:
        kind = reason.partition(": ")[0]
        known = self._kinds.get((target, kind))
        if known is not None:
            known.times += 1
            return
        if kind not in _WITHOUT_ERROR:
            case = self._shortened(target, kind, case)
        failure = self._kinds[target, kind] = Failure(target, f"{reason} {more}".strip(), case)
        self.report.failures.append(failure)
        print(f"\nFAILED {failure}", file=sys.stderr, flush=True)  # a run that is stopped has told it already

    def _shortened(self, target: str, reason: str, case: Case) -> Case:
        """Octets left away as long as the same failure stays."""
        size, steps = max(len(case.octets) // 2, 1), 0
        while steps < _SHRINK_STEPS:
            for at in range(0, len(case.octets), size):
                steps += 1
                shorter = Case(case.octets[:at] + case.octets[at + size :], case.key)
                if self._fails(target, reason, shorter):
                    case = shorter
                    break
            else:
                if size == 1:
                    return case
                size //= 2
        return case

    @staticmethod
    def _fails(target: str, reason: str, case: Case) -> bool:
        targets = Targets()
        for _ in range(2):  # the second time a shortcut may be used
            try:
                getattr(targets, target)(case)
            except Exception as error:
                return _reason(error).partition(": ")[0] == reason
        return False

    def _memory(self) -> None:
        """The last cases again, four times: from the second to the fourth, memory must not grow."""
        self.targets.renew()
        cases, held = list(self._last), []
        if not cases:
            return
        tracemalloc.start()
        try:
            for _ in range(4):
                for case in cases:
                    for _, target in self.targets.all():
                        _quietly(target, case)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        self.report.growth = (held[3] - held[1]) / (2 * len(cases))
        if self.report.growth > ALLOWED_GROWTH:
            self._failed("memory", "grows", cases[-1], f"{self.report.growth:.0f} octets for each telegram that was seen before")


def _quietly(target: Callable[[Case], None], case: Case) -> None:
    """A call whose failure was reported before."""
    try:
        target(case)
    except Exception:
        return


def run(
    count: int | None = COUNT, seconds: float | None = None, seed: int = 0, progress: Callable[[int], None] | None = None
) -> Report:
    """Run ``count`` mutated telegrams, or as many as fit into ``seconds``; ``progress`` is told the number now and then."""
    end = None if seconds is None else time.monotonic() + seconds

    def more(number: int) -> bool:
        if progress is not None and number % 500 == 0:
            progress(number)
        return (count is None or number < count) and (end is None or time.monotonic() < end)

    return Campaign().run(Mutator(seeds(), seed), more)


def _bar(count: int | None) -> Callable[[int], None]:
    """A line that is written over, or now and then a line where the output is no terminal."""
    start, shown = time.monotonic(), [0.0]

    def show(number: int) -> None:
        now = time.monotonic()
        if now - shown[0] < (0.2 if sys.stderr.isatty() else 30.0):
            return
        shown[0] = now
        rate = number / max(now - start, 1e-9)
        part = "" if not count else f"[{'#' * (30 * number // count):<30}] {100 * number // count:3d} % "
        line = f"{part}{number} telegrams, {rate:.0f}/s"
        print(
            f"\r{line}   " if sys.stderr.isatty() else line, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True
        )

    return show


def _reproduce(octets: bytes, key: bytes | None) -> int:
    failed = 0
    for name, target in Targets().all():
        for _ in range(2):
            try:
                target(Case(octets, key))
            except Exception:
                failed = 1
                print(f"--- {name}")
                traceback.print_exc()
                break
    print("reproduced" if failed else "no failure")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign and print its report; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help=f"telegrams (default {COUNT} unless --seconds is given)")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="number of the stream of mutations")
    parser.add_argument("--reproduce", type=bytes.fromhex, metavar="HEX", help="run one telegram and show the exception")
    parser.add_argument("--key", type=bytes.fromhex, metavar="HEX", help="key for --reproduce")
    options = parser.parse_args(arguments)
    if options.reproduce is not None:
        return _reproduce(options.reproduce, options.key)
    count = options.count if options.count or options.seconds else COUNT
    report = run(count, options.seconds, options.seed, _bar(count))
    print(f"\n{report}" if sys.stderr.isatty() else report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
