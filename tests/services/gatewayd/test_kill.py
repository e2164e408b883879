"""kill -9 of the daemon at random moments: what was on the disk arrives, once for each that was heard.

A child runs the daemon over a growing file; the parent is its head-end by HTTP and kills it again and again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.spool import Spool
from openmetering.transport.reception import Reception
from tests.fleet import radio
from tests.services.gatewayd.test_ways import web

pytestmark = [pytest.mark.services, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]

ROUNDS = 8
TELEGRAMS = 6_000
PROGRAM = """
import typer
from openmetering.interfaces.cli import gateway
app = typer.Typer(pretty_exceptions_enable=False)
gateway.register(app)
app()
"""


def frame(value: int) -> bytes:
    return radio(value, number=10_000_000 + value, access_number=value % 256)


def start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(config)], stderr=subprocess.PIPE)


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    stored: list[Reception] = []
    dice = random.Random(7)
    log = tmp_path / "log.txt"
    log.touch()
    with web(Receiver(lambda batch, gateway: stored.extend(batch))) as (_, url):
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'[gateway]\nname = "cellar"\nstate = "state"\n[spool]\nsegment = "64KiB"\n[merge]\nhold = 0\n'
            f'[uplink]\nto = "{url}"\nbatch = 50\nlinger = 0\nevery = 0.2\n'
            f'[[source]]\nat = "file:{log}?follow=yes"\nname = "file"\n'
        )
        written = 0
        with log.open("ab") as file:
            for _ in range(ROUNDS):
                process = start(config)
                end = time.monotonic() + dice.uniform(0.4, 1.0)
                while time.monotonic() < end:
                    for value in range(written, min(TELEGRAMS, written + 25)):
                        file.write(frame(value).hex().encode() + b"\n")
                    written = min(TELEGRAMS, written + 25)
                    file.flush()
                    time.sleep(0.02)
                process.send_signal(signal.SIGKILL)
                assert process.wait(10) == -signal.SIGKILL
        process = start(config)
        deadline = time.monotonic() + 60
        while len({item.frame for item in stored}) < written and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.stderr and process.stderr.read().decode()
    assert written > 500
    expected = [frame(value) for value in range(written)]
    assert {item.frame for item in stored} == set(expected)
    # the same reception may be told twice, but it is the same to the microsecond: a store keeps it once
    assert len({(item.source, item.received_at, item.frame) for item in stored}) == written
    spool = Spool(tmp_path / "state" / "spool")
    assert (spool.waiting, spool.lost, spool.damaged) == (0, 0, 0)
    numbers = spool.end - 1
    assert numbers == written
