"""From a gateway to the store: telegrams per second, raw and readings, durable, and where the time goes.

    store.py                   SQLite and PostgreSQL (a cluster of its own), some minutes
    store.py --quick           about 20 seconds
    store.py --demand 10000    fail below this many telegrams per second

A gateway process hands over batches of encrypted telegrams of the mixed fleet (own keys, sixteen formats); this process
stores them raw (on the disk before it goes on), decodes them with the keys, and stores telegrams and readings. So two cores
are busy with SQLite (gateway; store) and with PostgreSQL (this process; the server). Series, addresses and plans are known
before the clock starts, as in a head-end that runs.

    queue    taking a batch from the gateway and unpacking it
    raw      Store.append: identity, copies, one durable transaction
    decode   Decoder.examine
    store    BackgroundRecorder: readings and telegrams, one transaction for several batches; with PostgreSQL a thread
             of its own writes them, and what is shown is how long the other one had to wait for it
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.fleet import Fleet, mixed  # noqa: E402
from openmetering import Decoder  # noqa: E402
from openmetering.storage import Decoded, Store  # noqa: E402
from openmetering.storage.background import BackgroundRecorder  # noqa: E402

START = 1_750_000_000.0
APART = 0.0001  #: seconds between telegrams


class Scale(NamedTuple):
    """How much is measured."""

    meters: int
    per_meter: int
    batch: int = 2000  #: receptions that are stored raw together
    together: int = 5  #: batches whose results are stored together


FULL, QUICK = Scale(1024, 256), Scale(512, 48)


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """A reception as the gateway hands it over; the receiver took the CRCs away."""

    frame: bytes
    received_at: float
    source: str = "gateway:bench"
    rssi_dbm: float | None = -71.5
    rssi_raw: int | None = None
    mode: str | None = "T"
    frame_format: str | None = None
    crc: bool | None = True
    address_hint: str | None = None


class Spent(msgspec.Struct):
    """Seconds of one run, by the clock on the wall and by the processor."""

    queue: float = 0.0
    raw: float = 0.0
    decode: float = 0.0
    store: float = 0.0
    wall: float = 0.0
    processor: float = 0.0
    telegrams: int = 0
    readings: int = 0


def gateway(pipe: Connection, frames: list[bytes], batch: int) -> None:
    """The other process: batches of receptions, as fast as they are taken."""
    pack = msgspec.msgpack.Encoder().encode
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        pipe.send_bytes(pack([Heard(frame, START + (start + place) * APART) for place, frame in enumerate(part)]))
    pipe.send_bytes(b"")
    pipe.close()


@contextlib.contextmanager
def _handed_over(frames: list[bytes], batch: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=gateway, args=(theirs, frames, batch), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(10)


def run(url: str, part: Fleet, scale: Scale) -> Spent:
    """One run into an empty database."""
    unpack = msgspec.msgpack.Decoder(list[Heard]).decode
    decoder, clock, spent = Decoder(part.ring), time.perf_counter, Spent()
    first, frames = part.frames[: scale.meters * 2], part.frames[scale.meters * 2 :]
    with (
        Store.open(url, answers=False) as store,
        Store.open(url, answers=False) as results,
        BackgroundRecorder(results) as recorder,
    ):
        _take(store, results, decoder, [Heard(frame, START - 3600 + place * APART) for place, frame in enumerate(first)])
        waiting: list[Decoded] = []
        with _handed_over(frames, scale.batch) as pipe:
            begin, busy = clock(), time.process_time()
            while True:
                now = clock()
                octets = pipe.recv_bytes()
                heard = unpack(octets) if octets else []
                spent.queue += clock() - now
                if heard:
                    now = clock()
                    places = store.append(heard)
                    then = clock()
                    spent.raw += then - now
                    waiting += [
                        Decoded(place.frame_id, item.received_at, item.source, decoder.examine(item.frame, now=item.received_at))
                        for item, place in zip(heard, places, strict=True)
                    ]
                    spent.decode += clock() - then
                if len(waiting) >= scale.batch * scale.together or not heard:
                    now = clock()
                    recorder.record(waiting)
                    spent.store += clock() - now
                    spent.telegrams += len(waiting)
                    waiting.clear()
                if not heard:
                    break
            now = clock()
            spent.readings = recorder.wait()
            spent.store += clock() - now
            spent.wall, spent.processor = clock() - begin, time.process_time() - busy
        counts = store.counts()
    whole = len(first) + len(frames)
    if (counts.frames, counts.receptions, counts.pending, counts.telegrams) != (whole, whole, 0, {"decoded": whole}):
        raise SystemExit(f"not everything is there: {counts}")
    return spent


def _take(store: Store, results: Store, decoder: Decoder, heard: list[Heard]) -> None:
    places = store.append(heard)
    results.record(
        [
            Decoded(place.frame_id, item.received_at, item.source, decoder.examine(item.frame))
            for item, place in zip(heard, places, strict=True)
        ]
    )


def report(name: str, spent: Spent) -> float:
    """Print a run; returns telegrams per second."""
    rate = spent.telegrams / spent.wall
    print(f"{name}: {rate:,.0f} telegrams/s, {spent.readings / spent.wall:,.0f} readings/s ({spent.telegrams:,} telegrams)")
    for part in ("queue", "raw", "decode", "store"):
        seconds: float = getattr(spent, part)
        print(f"    {part:<8}{seconds / spent.wall:6.1%}  {seconds / spent.telegrams * 1e6:7.1f} us per telegram")
    print(f"    this process was busy for {spent.processor / spent.wall:.0%} of the time")
    return rate


def main() -> int:
    """Measure both databases."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a smaller fleet, a shorter run")
    options.add_argument("--demand", type=float, default=0.0, help="telegrams per second that must be reached")
    options.add_argument("--folder", type=Path, help="where the databases stand (the disk that is measured)")
    chosen = options.parse_args()
    scale = QUICK if chosen.quick else FULL
    part = mixed(scale.meters, scale.per_meter + 2)
    print(f"{scale.meters} meters, {len(part.samples):,} telegrams, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    rates = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        rates["SQLite"] = report("SQLite", run(str(Path(folder, "bench.db")), part, scale))
    try:
        from tests.storage.postgres import cluster
    except ImportError as error:
        print(f"PostgreSQL is left out: {error}")
    else:
        try:
            with cluster(durable=True, settings=("max_wal_size=4GB", "shared_buffers=512MB")) as server, server.database() as url:
                rates["PostgreSQL"] = report("PostgreSQL", run(url, part, scale))
        except FileNotFoundError as error:
            print(f"PostgreSQL is left out: {error}")
    slow = [name for name, rate in rates.items() if rate < chosen.demand]
    if slow:
        print(f"below {chosen.demand:,.0f} telegrams/s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
