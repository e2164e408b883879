"""Memory over an hour: a simulated building replayed 20 times as fast as it lives, through gateways and head-end into the store.

    soak.py                        60 minutes into SQLite (``make soak``)
    soak.py --minutes 10           shorter; the first sixth, in which caches fill, is not judged
    soak.py --demand 5             percent that memory may grow at most between the first and the last third of the rest

The program is ``oms up``, as people run it: page, alarms, jobs and webhooks are all there, and /health is asked all the time.
What is printed is the resident memory of the process (VmRSS of Linux), the frames in the database, and open files.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from openmetering.storage import Store  # noqa: E402

__all__ = ["Look", "grown", "main", "soak"]

OMS = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()"]


class Look(NamedTuple):
    """What a look at the process saw."""

    seconds: float
    megabytes: float
    files: int
    frames: int


@contextmanager
def _running(folder: Path, speed: float) -> Iterator[tuple[subprocess.Popen[str], str]]:
    arguments = ["up", "--demo", "--speed", str(speed), "--days", "30", "--port", "0", "--data", str(folder / "data")]
    process = subprocess.Popen([*OMS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        said = ""
        while (page := re.search(r"^page +(\S+)", said, re.M)) is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"oms up ended: {said}")
            said += line
        yield process, page[1]
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise SystemExit(f"oms up ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _look(process: subprocess.Popen[str], begun: float, url: str) -> Look:
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    with Store.open(url, create=False) as store:
        frames = store.counts().frames
    return Look(time.monotonic() - begun, kilobytes / 1024, files, frames)


def soak(seconds: float, every: float, *, speed: float = 20.0) -> list[Look]:
    """Let it run; a look each ``every`` seconds, printed as it comes."""
    looks: list[Look] = []
    with tempfile.TemporaryDirectory(prefix="openmetering-soak-") as name, _running(Path(name), speed) as (process, page):
        url = f"sqlite:///{name}/data/headend.db"
        begun = time.monotonic()
        print(f"{'minutes':>8} {'MB':>8} {'files':>6} {'frames':>10}")
        while (now := time.monotonic() - begun) < seconds:
            time.sleep(min(every, max(0.0, seconds - now)))
            if process.poll() is not None:
                raise SystemExit(f"oms up ended by itself with {process.returncode}")
            with urllib.request.urlopen(f"{page}/health", timeout=30) as answer:
                answer.read()
            looks.append(_look(process, begun, url))
            last = looks[-1]
            print(f"{last.seconds / 60:8.1f} {last.megabytes:8.1f} {last.files:6} {last.frames:10}", flush=True)
    return looks


def grown(looks: Sequence[Look]) -> float:
    """Percent of growth between the first and the last third, without the first sixth."""
    judged = [look.megabytes for look in looks[len(looks) // 6 :]]
    third = max(1, len(judged) // 3)
    return (median(judged[-third:]) / median(judged[:third]) - 1) * 100


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--demand", type=float, default=5.0)
    options = parser.parse_args()
    looks = soak(options.minutes * 60, max(2.0, min(60.0, options.minutes * 2)), speed=options.speed)
    percent = grown(looks)
    heard = looks[-1].frames - looks[0].frames
    print(f"{heard} telegrams; memory grew by {percent:+.1f} %, {options.demand:g} % are allowed")
    return 0 if heard > 0 and percent <= options.demand else 1


if __name__ == "__main__":
    sys.exit(main())
