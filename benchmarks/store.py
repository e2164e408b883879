"""From a gateway to the store: telegrams per second, raw and readings, durable, and where the time goes.

Measured twice with each database: the store alone, and the whole head-end (devices, keys of the vault, alarms, counters,
liveness, who heard whom), whose rest beside the store is shown as ``rest``. The head-end gets 10 000 telegrams at a time, as from
gateways that are behind (``batch = 10000`` in their [uplink]): with the 500 of the default it takes 8 000 to 9 000 a second.

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
from collections.abc import Callable, Iterator
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
    rest: float = 0.0
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


class Keyed(Heard, frozen=True, array_like=True):
    """As the head-end takes it."""

    key: str | None = None


def run_head_end(url: str, part: Fleet, scale: Scale) -> Spent:
    """One run through a head-end with an empty database; keys are imported first, devices are known when the clock starts."""
    from openmetering.services.headend.headend import HeadEnd, now_utc
    from openmetering.services.headend.vault import Vault
    from openmetering.storage.database import Database

    unpack = msgspec.msgpack.Decoder(list[Keyed]).decode
    clock, spent = time.perf_counter, Spent()
    first, frames = part.frames[: scale.meters * 2], part.frames[scale.meters * 2 :]
    with Database.open(url) as database:
        vault = Vault(database, bytes(16), now_utc)
        lines = "".join(f"{pattern},{key.octets.hex()}\n" for pattern, key in part.ring)
        vault.import_file(f"address,key\n{lines}".encode(), None)
        with HeadEnd(database, vault, now_utc) as head_end:
            head_end.ingest([Keyed(frame, START - 3600 + place * APART) for place, frame in enumerate(first)], gateway="bench")
            with _timed("append", "record") as times, _handed_over(frames, scale.batch * scale.together) as pipe:
                begin, busy = clock(), time.process_time()
                while True:
                    now = clock()
                    octets = pipe.recv_bytes()
                    heard = unpack(octets) if octets else []
                    spent.queue += clock() - now
                    if not heard:
                        break
                    report = head_end.ingest(heard, gateway="bench")
                    spent.telegrams += report.decoded
                    spent.readings += report.readings
                head_end.ingestor.flush()
                spent.wall, spent.processor = clock() - begin, time.process_time() - busy
            counts = head_end.store.counts()
    if (counts.pending, spent.telegrams, counts.telegrams) != (0, len(frames), {"decoded": len(first) + len(frames)}):
        raise SystemExit(f"not everything is there: {counts}")
    decoder, now = Decoder(part.ring), clock()
    for frame in frames:
        decoder.examine(frame)
    spent.decode = clock() - now
    spent.raw, spent.store = times["append"], times["record"]
    spent.rest = spent.wall - spent.queue - spent.raw - spent.decode - spent.store
    return spent


@contextlib.contextmanager
def _timed(*names: str) -> Iterator[dict[str, float]]:
    """The seconds that are spent in methods of stores meanwhile."""
    total = dict.fromkeys(names, 0.0)
    methods = {name: getattr(Store, name) for name in names}

    def timer(name: str) -> Callable[..., object]:
        def timed(*arguments: object) -> object:
            now = time.perf_counter()
            try:
                return methods[name](*arguments)
            finally:
                total[name] += time.perf_counter() - now

        return timed

    for name in names:
        setattr(Store, name, timer(name))
    try:
        yield total
    finally:
        for name, method in methods.items():
            setattr(Store, name, method)


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
    for part in ("queue", "raw", "decode", "store", "rest"):
        seconds: float = getattr(spent, part)
        if not seconds:
            continue
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
        rates["SQLite"] = report("SQLite, store alone", run(str(Path(folder, "bench.db")), part, scale))
        rates["SQLite head-end"] = report("SQLite, head-end", run_head_end(str(Path(folder, "headend.db")), part, scale))
    try:
        from tests.storage.postgres import cluster
    except ImportError as error:
        print(f"PostgreSQL is left out: {error}")
    else:
        try:
            with cluster(durable=True, settings=("max_wal_size=4GB", "shared_buffers=512MB")) as server:
                with server.database() as url:
                    rates["PostgreSQL"] = report("PostgreSQL, store alone", run(url, part, scale))
                with server.database() as url:
                    rates["PostgreSQL head-end"] = report("PostgreSQL, head-end", run_head_end(url, part, scale))
        except FileNotFoundError as error:
            print(f"PostgreSQL is left out: {error}")
    slow = [name for name, rate in rates.items() if rate < chosen.demand]
    if slow:
        print(f"below {chosen.demand:,.0f} telegrams/s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
