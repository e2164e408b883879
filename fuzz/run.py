"""Mutated telegrams by the million: nothing but our errors, no hang, no growth.

    make fuzz                                one million telegrams
    python fuzz/run.py --count 20000         fewer
    python fuzz/run.py --seconds 600         by time
    python fuzz/run.py --seed 7              another series; the same seed gives the same telegrams

Seeds are the project's own vectors, the demo building and, where it is there, the shared vectors
(``OPENMETERING_CORPUS``). Half of the mutants get their check sums and encryption lengths mended, so
that the layers behind them are reached. A failure is printed with the octets that cause it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import sys
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from openmetering.codec.apl.format import FormatStore, RecordFormat
from openmetering.codec.apl.protocols import PROTOCOLS
from openmetering.codec.link.wireless import frame as with_crc
from openmetering.errors import OmsError
from openmetering.interfaces.demo.building import record_day
from openmetering.interfaces.demo.plan import read_building
from openmetering.security import CounterLedger, KeyRing
from openmetering.telegram import STRICT, TOLERANT, Decoder, Telegram, answer_json
from openmetering.telegram.anatomy import anatomy
from openmetering.wire import checksum

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 0.25  #: one telegram on a busy machine; the usual time is a thousandth of it
MOST_GROWTH = 96 * 1024  #: kB of memory beyond what the caches hold after the warm-up
WARM_UP = 0.2  #: share of the run after which memory must stay flat
_PROTOCOL_NAMES = sorted(PROTOCOLS)

Seed = tuple[bytes, bytes | None]


# -- seeds ---------------------------------------------------------------------------------------


def _strings(value: object) -> Iterator[str]:
    """All texts in a nested structure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _octets(text: str) -> bytes | None:
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        return None
    return octets if 1 <= len(octets) <= 300 else None


def _tables(path: Path) -> Iterator[object]:
    if path.suffix == ".toml":
        yield tomllib.loads(path.read_text(encoding="utf-8"))
    else:
        yield json.loads(path.read_text(encoding="utf-8"))


def _of_file(path: Path) -> Iterator[Seed]:
    """Every text that is hexadecimal; keys are found by their name."""
    for table in _tables(path):
        entries = table.get("vectors", [table]) if isinstance(table, dict) else [table]
        for entry in entries if isinstance(entries, list) else [entries]:
            key = _octets(entry.get("key") or "") if isinstance(entry, dict) and isinstance(entry.get("key"), str) else None
            for text in _strings(entry):
                octets = _octets(text)
                if octets is not None:
                    yield octets, key if key is not None and len(key) in (8, 16) else None


def seeds() -> list[Seed]:
    """All seeds, without repetitions, in a fixed order."""
    shared = Path(os.environ.get("OPENMETERING_CORPUS") or ROOT.parent / "shared") / "vectors"
    files = sorted((ROOT / "tests" / "vectors").rglob("*.toml")) + sorted(shared.glob("*.json"))
    found: dict[Seed, None] = {}
    for path in files:
        found.update(dict.fromkeys(_of_file(path)))
    day = [sent.octets for sent in record_day(read_building())]
    found.update(dict.fromkeys((octets, None) for octets in day[:: max(1, len(day) // 400)]))
    return [_framed(octets, key) for octets, key in found]


def _framed(octets: bytes, key: bytes | None) -> Seed:
    """Octets that are no frame (records, application data) inside one, behind CI 78 or their own CI."""
    error = Decoder().examine(octets).error
    if error is None or not error.code.startswith("frame."):
        return octets, key
    body = octets[:200] if octets[0] in range(0x50, 0x94) else b"\x78" + octets[:200]
    return bytes((9 + len(body), 0x44)) + bytes.fromhex("9315785634123303") + body, key


# -- mutants ---------------------------------------------------------------------------------------


def _flip(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    octets[rng.randrange(len(octets))] = rng.choice(
        (0x00, 0xFF, 0x7F, 0x80, 0x0F, 0x1F, 0x2F, 0x0D, 0xFD, 0xFC, rng.randrange(256))
    )


def _cut(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    del octets[rng.randrange(len(octets)) :]


def _drop(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    at = rng.randrange(len(octets))
    del octets[at : at + rng.randrange(1, 9)]


def _insert(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    at = rng.randrange(len(octets) + 1)
    octets[at:at] = rng.randbytes(rng.randrange(1, 9))


def _repeat(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    at = rng.randrange(len(octets))
    part = octets[at : at + rng.randrange(1, 17)]
    octets[at:at] = part * rng.randrange(1, 5)


def _cross(rng: random.Random, octets: bytearray, pool: list[Seed]) -> None:
    other = pool[rng.randrange(len(pool))][0]
    octets[rng.randrange(len(octets)) :] = other[rng.randrange(len(other)) :]


_Change = Callable[[random.Random, bytearray, list[Seed]], None]
_CHANGES: tuple[_Change, ...] = (_flip, _flip, _set, _set, _cut, _drop, _insert, _repeat, _cross)


def _mend(rng: random.Random, octets: bytearray) -> bytes:
    """Make L and the check sums fit, so that the mutation reaches the upper layers."""
    if octets[0] == 0x68 and len(octets) > 8:
        body = bytes(octets[4:-2])[:255]
        return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((checksum(body), 0x16))
    if len(octets) < 12:
        return bytes(octets)
    plain = bytes((min(len(octets) - 1, 255),)) + bytes(octets[1:256])
    choice = rng.randrange(4)
    if choice < 2 or len(plain) > 240:
        return plain
    return with_crc(plain, "A" if choice == 2 else "B")


def mutants(rng: random.Random, pool: list[Seed]) -> Iterator[tuple[bytes, bytes | None]]:
    """An endless series of mutated telegrams with a key to try."""
    while True:
        octets, key = pool[rng.randrange(len(pool))]
        changed = bytearray(octets)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            if changed:
                rng.choice(_CHANGES)(rng, changed, pool)
        del changed[400:]
        yield _mend(rng, changed) if changed and rng.random() < 0.5 else bytes(changed), key


# -- checks ------------------------------------------------------------------------------------------


class Checks:
    """Everything that reads octets, with the state that streams of telegrams build up."""

    def __init__(self) -> None:
        ring = KeyRing()
        ring.add("*", bytes(range(16)), key_id=None)
        self._decoders = [
            Decoder(ring, policy=TOLERANT),
            Decoder(ring, policy=STRICT, counters=CounterLedger()),
            Decoder(None, policy=TOLERANT),
        ]
        self._formats = FormatStore()
        self.codes: Counter[str] = Counter()

    def __call__(self, octets: bytes, key: bytes | None, number: int) -> None:
        """Read the octets in every way; raises whatever is not ours."""
        decoder = self._decoders[number % 3]
        telegram = decoder.examine(octets, key if number & 1 else None, now=float(number))
        self.codes["decoded" if telegram.error is None else telegram.error.code] += 1
        msgspec.json.decode(answer_json(telegram))
        if number % 7 == 0:
            self._raising(decoder, octets, telegram)
        if number % 5 == 0:
            anatomy(telegram)
        if number % 11 == 0:
            self._parts(octets, number)

    @staticmethod
    def _raising(decoder: Decoder, octets: bytes, telegram: Telegram) -> None:
        try:
            decoder.decode(octets)
        except OmsError as error:
            if not (error.code and error.message):
                raise AssertionError("an error without code or message") from error
        _ = [record.value for record in telegram.records], telegram.profiles

    def _parts(self, octets: bytes, number: int) -> None:
        for read in (RecordFormat.parse, PROTOCOLS[_PROTOCOL_NAMES[number % len(_PROTOCOL_NAMES)]]):
            try:
                read(octets)
            except OmsError:
                self.codes["part refused"] += 1


class Failure(msgspec.Struct):
    """Octets that break a promise, and which."""

    octets: str
    key: str | None
    reason: str


class Report(msgspec.Struct):
    """What a run found."""

    telegrams: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    growth: int = 0
    failures: list[Failure] = msgspec.field(default_factory=list)


def _again(octets: bytes, key: bytes | None, number: int) -> float:
    """Seconds for one telegram, with new decoders."""
    checks = Checks()
    began = time.perf_counter()
    with contextlib.suppress(Exception):  # what it raises is reported already
        checks(octets, key, number)
    return time.perf_counter() - began


def _memory() -> int:
    """Resident memory in kB: now where the system tells, else the highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize() // 1024


def run(count: int, seconds: float | None, seed: int, progress: Callable[[int, int], None] = lambda done, total: None) -> Report:
    """Check ``count`` mutants, or for some seconds; stops at ten failures."""
    checks, rng, pool, report = Checks(), random.Random(seed), seeds(), Report()
    start = time.perf_counter()
    base = 0
    for number, (octets, key) in enumerate(mutants(rng, pool)):
        began = time.perf_counter()
        if number >= count or (seconds is not None and began - start > seconds) or len(report.failures) >= 10:
            break
        try:
            checks(octets, key, number)
        except Exception:  # whatever is raised is a finding
            report.failures.append(Failure(octets.hex().upper(), key.hex() if key else None, traceback.format_exc(limit=-4)))
        took = time.perf_counter() - began
        report.slowest = max(report.slowest, took)
        if took > MOST_SECONDS:
            took = min(_again(octets, key, number) for _ in range(3))  # another program may have had the processor
        if took > MOST_SECONDS:
            report.failures.append(Failure(octets.hex().upper(), key.hex() if key else None, f"took {took:.3f} s"))
        report.telegrams = number + 1
        if not base and (number > count * WARM_UP or (seconds is not None and began - start > seconds * WARM_UP)):
            base = _memory()
        if number % 2000 == 0:
            progress(number, count)
    report.seconds = time.perf_counter() - start
    report.growth = _memory() - base if base else 0
    if report.growth > MOST_GROWTH:
        report.failures.append(Failure("", None, f"memory grew by {report.growth} kB"))
    for code, number in checks.codes.most_common(12):
        print(f"  {number:>9}  {code}")
    return report


def _bar(done: int, total: int) -> None:
    if sys.stderr.isatty():
        width = 40 * done // max(total, 1)
        print(f"\r[{'#' * width:<40}] {done:>9} of {total}", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="telegrams (default one million)")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    options = parser.parse_args()
    report = run(options.count, options.seconds, options.seed, _bar)
    print(
        f"{report.telegrams} telegrams in {report.seconds:.0f} s, the slowest took {report.slowest * 1e3:.1f} ms, "
        f"memory grew by {report.growth} kB after the warm-up, {len(report.failures)} failures"
    )
    for failure in report.failures:
        print(f"\n{failure.octets}  key {failure.key}\n{failure.reason}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
