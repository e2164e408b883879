"""kill -9 and SIGTERM against a real process: what was acknowledged is in the store, whatever the moment."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from openmetering.storage import Store
from openmetering.telegram import Decoder
from tests.fleet import radio

pytestmark = [pytest.mark.services, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]

PROGRAM = """
import typer
from openmetering.interfaces.cli import listen, readings
app = typer.Typer(pretty_exceptions_enable=False)
listen.register(app)
readings.register(app)
app()
"""
ROUNDS = 6


class Run:
    """``oms listen -`` with lines coming in as fast as it takes them; collects the telegrams it acknowledged."""

    def __init__(self, store: Path, first: int, unbuffered: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "listen", "-", "--store", str(store), "--format", "jsonl"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
        self.acknowledged: list[str] = []
        self.sent = 0
        self._writer = threading.Thread(target=self._write, args=(first,), daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._writer.start()
        self._reader.start()

    def _write(self, first: int) -> None:
        assert self.process.stdin is not None
        try:
            for value in range(first, first + 100_000):
                frame = radio(value % 1_000_000, number=10_000_000 + value % 50, access_number=value % 256)
                self.process.stdin.write(frame.hex().encode() + b"\n")
                self.sent += 1
                if value % 50 == 0:
                    self.process.stdin.flush()
                    time.sleep(0.001)
        except (OSError, ValueError):
            return

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.acknowledged.append(json.loads(line)["telegram"])

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 30
        while len(self.acknowledged) < count:
            assert time.monotonic() < end, "nothing was acknowledged"
            assert self.process.poll() is None
            time.sleep(0.005)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(10)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return code


def stored(path: Path) -> list[str]:
    with Store.open(str(path)) as store:
        return [row[0].hex().upper() for row in store._link.rows("SELECT octets FROM frames ORDER BY id")]


def test_kill_9_loses_no_acknowledged_frame(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    dice = random.Random(5)
    acknowledged: list[str] = []
    first = 0
    for _ in range(ROUNDS):
        run = Run(path, first)
        run.wait_for(1)
        time.sleep(dice.uniform(0.0, 0.3))
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
        acknowledged += run.acknowledged
        first += run.sent
        frames = stored(path)
        assert len(acknowledged) <= len(frames)
        assert set(acknowledged) <= set(frames)
        assert len(set(frames)) == len(frames)
    with Store.open(str(path)) as store:
        store.catch_up(Decoder())
        counts = store.counts()
    assert counts.pending == 0
    assert counts.readings == counts.frames == sum(counts.telegrams.values())


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_sigterm_ends_in_order(tmp_path: Path, unbuffered: str) -> None:
    path = tmp_path / "store.db"
    run = Run(path, 0, unbuffered)
    run.wait_for(200)
    assert run.end(signal.SIGTERM) == 0
    frames = stored(path)
    assert frames == run.acknowledged
    with Store.open(str(path)) as store:
        counts = store.counts()
    assert (counts.pending, counts.readings) == (0, len(frames))
