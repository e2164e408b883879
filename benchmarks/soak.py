"""Memory over an hour: a simulated building replayed 20 times as fast as it lives, through gateway and head-end into the store.

    soak.py                        60 minutes into SQLite, then 60 into PostgreSQL (``make soak``)
    soak.py --minutes 10           shorter; the first sixth, in which caches fill, is not judged
    soak.py --only sqlite          or postgresql
    soak.py --demand 5             percent that memory may grow at most between the first and the last third of the rest

The programs are those that people run, with page, alarms, jobs and webhooks, and /health and /metrics are asked all the time:

    sqlite       oms up: gateway and head-end in one process
    postgresql   oms gateway --HTTP--> oms headend --> a cluster of its own

What is printed for each process is its resident memory (VmRSS of Linux), its threads and open files, and behind that what
waits: telegrams in the store that are not read yet, and the queues of /metrics; then the telegrams in the database.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from openmetering.services.headend.headend import now_utc  # noqa: E402
from openmetering.services.headend.masterkey import read_master_key  # noqa: E402
from openmetering.services.headend.vault import Vault  # noqa: E402
from openmetering.simulation.world import World  # noqa: E402
from openmetering.storage import Store  # noqa: E402
from openmetering.storage.database import Database  # noqa: E402

__all__ = ["KINDS", "Look", "System", "grown", "judge", "main", "soak"]

WORLD = ROOT / "src/openmetering/interfaces/assembly/demo_world.toml"
OMS = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()"]
_QUEUE = re.compile(r"^openmetering_queue_length\{[^}]*\} ([0-9.e+]+)$", re.M)
_HEAD_END = """
[headend]
database = "{url}"
master_key = "file:master.key"
[web]
port = 0
[[gateway]]
name = "stairs"
token_file = "token"
"""
_GATEWAY = """
[gateway]
name = "stairs"
state = "gateway"
[uplink]
to = "{page}/gateways/stairs/reports"
token_file = "token"
[[source]]
at = "world:{world}?speed={speed:g}"
"""


class Look(NamedTuple):
    """What a look at the processes saw: three numbers for each, in the same order."""

    seconds: float
    megabytes: tuple[float, ...]
    threads: tuple[int, ...]
    files: tuple[int, ...]
    waiting: int
    frames: int


class System(NamedTuple):
    """What runs: its processes, its page, its database."""

    processes: tuple[subprocess.Popen[str], ...]
    page: str
    url: str


@contextmanager
def _program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command; ended in order. Raises SystemExit if it ends otherwise."""
    process = subprocess.Popen([*OMS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise SystemExit(f"oms {arguments[0]} ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _page(process: subprocess.Popen[str]) -> str:
    """The address of the page, as soon as it is told."""
    assert process.stdout is not None
    said = ""
    while (page := re.search(r"^page +(\S+)", said, re.M)) is None:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the program ended: {said}")
        said += line
    return page[1]


@contextmanager
def sqlite(folder: Path, speed: float, days: int) -> Iterator[System]:
    """Everything in one process, with a past: what SQLite keeps of its file in memory, up to 64 MiB, is there from the start."""
    options = ("--speed", str(speed), "--days", str(days), "--port", "0", "--data", str(folder))
    with _program("up", "--demo", *options) as process:
        yield System((process,), _page(process), f"sqlite:///{folder}/headend.db")


@contextmanager
def postgresql(folder: Path, speed: float, days: int) -> Iterator[System]:
    """Gateway and head-end in processes of their own, without a past."""
    from tests.storage.postgres import cluster

    with cluster(durable=True) as server, server.database() as url, ExitStack() as stack:
        with Database.open(url) as database:
            vault = Vault(database, read_master_key(f"file:{folder}/master.key", create=True), now_utc)
            vault.import_file(World.load(WORLD).key_file(head_end=True).encode(), None)
        (folder / "token").write_text("token of the gateway on the stairs")
        (folder / "headend.toml").write_text(_HEAD_END.format(url=url))
        head_end = stack.enter_context(_program("headend", str(folder / "headend.toml")))
        page = _page(head_end)
        (folder / "gateway.toml").write_text(_GATEWAY.format(page=page, world=WORLD, speed=speed))
        gateway = stack.enter_context(_program("gateway", str(folder / "gateway.toml")))
        yield System((head_end, gateway), page, url)


#: name -> what runs with this kind of database
KINDS: dict[str, Callable[[Path, float, int], AbstractContextManager[System]]] = {"sqlite": sqlite, "postgresql": postgresql}


def _ask(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        octets: bytes = answer.read()
    return octets.decode()


def _memory(process: subprocess.Popen[str]) -> tuple[float, int]:
    """Megabytes and threads of a process."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["Threads"])


def _look(system: System, begun: float) -> Look:
    for process in system.processes:
        if process.poll() is not None:
            raise SystemExit(f"a program ended by itself with {process.returncode}")
    _ask(f"{system.page}/health")
    queues = sum(float(length) for length in _QUEUE.findall(_ask(f"{system.page}/metrics")))
    with Store.open(system.url, create=False) as store:
        counts = store.counts()
    memory = [_memory(process) for process in system.processes]
    files = tuple(len(list(Path(f"/proc/{process.pid}/fd").iterdir())) for process in system.processes)
    megabytes, threads = tuple(one for one, _ in memory), tuple(one for _, one in memory)
    return Look(time.monotonic() - begun, megabytes, threads, files, counts.pending + int(queues), counts.frames)


def soak(kind: str, seconds: float, every: float, *, speed: float = 20.0, days: int = 365) -> list[Look]:
    """Let it run; a look each ``every`` seconds, printed as it comes. ``days`` of history come before it, where there is one."""
    looks: list[Look] = []
    with tempfile.TemporaryDirectory(prefix="openmetering-soak-") as name, KINDS[kind](Path(name), speed, days) as system:
        begun = time.monotonic()
        print(f"{kind}: {speed:g} times real time")
        print(f"{'minutes':>8} {'waiting':>8} {'telegrams':>10}   MB, threads, open files of each process")
        while (now := time.monotonic() - begun) < seconds:
            time.sleep(min(every, max(0.0, seconds - now)))
            looks.append(last := _look(system, begun))
            each = zip(last.megabytes, last.threads, last.files, strict=True)
            told = "   ".join(f"{megabytes:7.1f} {threads:4} {files:4}" for megabytes, threads, files in each)
            print(f"{last.seconds / 60:8.1f} {last.waiting:8} {last.frames:10}   {told}", flush=True)
    return looks


def grown(megabytes: Sequence[float]) -> float:
    """Percent of growth between the first and the last third, without the first sixth."""
    judged = megabytes[len(megabytes) // 6 :]
    third = max(1, len(judged) // 3)
    return (median(judged[-third:]) / median(judged[:third]) - 1) * 100


def judge(looks: Sequence[Look], demand: float) -> bool:
    """Tell what came of it. False if a process grew too much, nothing was heard, or more and more waits."""
    heard = looks[-1].frames - looks[0].frames
    percent = [grown(column) for column in zip(*(look.megabytes for look in looks), strict=True)]
    told = ", ".join(f"{one:+.1f} %" for one in percent)
    print(f"{heard} telegrams; memory grew by {told}, {demand:g} % are allowed; {looks[-1].waiting} wait in the end")
    return heard > 0 and max(percent) <= demand and looks[-1].waiting <= max(heard // 100, 500)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for each kind of database")
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--demand", type=float, default=5.0)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    flat = True
    for kind in KINDS if options.only is None else (options.only,):
        looks = soak(kind, options.minutes * 60, max(2.0, min(60.0, options.minutes * 2)), speed=options.speed)
        flat = judge(looks, options.demand) and flat
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
