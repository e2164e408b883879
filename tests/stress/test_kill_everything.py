"""kill -9 of gateway and head-end at random moments, and a broker that goes away: nothing is lost, nothing is doubled.

    file that grows --> oms gateway --spool, MQTT--> Mosquitto --> oms headend --> SQLite or PostgreSQL
                                                    jobs by REST --^

Every line of the file is one telegram; the parent notes which jobs the head-end has acknowledged. In the end everything
must be there, once. The short form runs with the tests; the whole one is ``make stress``:

    OPENMETERING_STRESS_KILLS       kills for each database (6)
    OPENMETERING_STRESS_TELEGRAMS   telegrams in all (6000)
    OPENMETERING_STRESS_OUTAGE      seconds without a broker (2)
    OPENMETERING_STRESS_SEED        of the moments (drawn, and printed)

That a command is carried out once is tested with kills at every single moment in ``tests/services/headend/jobs/test_kill.py``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from openmetering.services.gatewayd.spool import Spool
from openmetering.services.headend.headend import HeadEnd, now_utc
from openmetering.services.headend.masterkey import read_master_key
from openmetering.services.headend.vault import Vault
from openmetering.storage import Store
from openmetering.storage.database import Database
from tests.fleet import radio
from tests.services.broker import Broker, free_port, running_broker
from tests.storage.conftest import postgres_server, shared_database, url

__all__ = ["postgres_server", "shared_database", "url"]

pytestmark = [pytest.mark.services, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]

KILLS = int(os.environ.get("OPENMETERING_STRESS_KILLS", "6"))
TELEGRAMS = int(os.environ.get("OPENMETERING_STRESS_TELEGRAMS", "4000"))
OUTAGE = float(os.environ.get("OPENMETERING_STRESS_OUTAGE", "2"))
SEED = int(os.environ.get("OPENMETERING_STRESS_SEED", str(random.SystemRandom().randrange(10**6))))
DEVICES = 400
OMS = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()"]


def frame(value: int) -> bytes:
    """A telegram that is like no other one."""
    return radio(value, number=10_000_000 + value % DEVICES, access_number=value // DEVICES % 256)


class Plant:
    """Gateway, broker and head-end, each a process that may be killed; and what was asked of them."""

    def __init__(self, folder: Path, database: str, broker: Broker) -> None:
        self.folder, self.database, self.broker = folder, database, broker
        self.port = free_port()
        self.log = folder / "telegrams.txt"
        self.log.touch()
        self.file = self.log.open("ab")
        self.written = 0
        self.acknowledged: list[int] = []
        self.lives: Counter[str] = Counter()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "headend.toml").write_text(
            f'[headend]\ndatabase = "{database}"\nmaster_key = "file:{folder}/master.key"\ntick = 0.5\n'
            f'[web]\nport = {self.port}\n[receive]\nto = "mqtt://127.0.0.1:{broker.port}"\nlongest = 1\n'
        )
        (folder / "gateway.toml").write_text(
            f'[gateway]\nname = "cellar"\nstate = "state"\n[spool]\nsegment = "256KiB"\n[merge]\nhold = 0\n'
            f'[uplink]\nto = "mqtt://127.0.0.1:{broker.port}"\nbatch = 200\nlinger = 0.02\nevery = 1\ntimeout = 3\nlongest = 1\n'
            f'[[source]]\nat = "file:{self.log}?follow=yes"\nname = "file"\n'
        )
        self.device, self.token = self._prepare()

    def _prepare(self) -> tuple[int, str]:
        """A device that jobs are for, and a token to ask for them."""
        with Database.open(self.database) as database:
            vault = Vault(database, read_master_key(f"file:{self.folder}/master.key", create=True), now_utc)
            with HeadEnd(database, vault, now_utc) as head_end:
                administrator = head_end.accounts.add("admin", "correct horse battery", "admin")
                session = head_end.as_user(administrator)
                tenant = session.add_tenant("Elm Street")
                report = session.apply_import(b"address,label\nELS-99999999-33-03,far away\n", tenant.id)
                made = session.add_token(("read:jobs", "write:jobs", "execute:key:00"), label="stress")
                return report.devices[0].id, made[1]

    # -- processes ------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Begin another life."""
        self.lives[name] += 1
        errors = (self.folder / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            [*OMS, name, f"{name}.toml"], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=errors
        )
        errors.close()

    def kill(self, name: str) -> None:
        """End it at once; it must have been alive."""
        process = self._processes[name]
        assert process.poll() is None, f"{name} ended by itself: {(self.folder / f'{name}.log').read_text()[-2000:]}"
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL

    def stop(self) -> None:
        """End both in order."""
        for name in ("gateway", "headend"):
            self._processes[name].send_signal(signal.SIGTERM)
            assert self._processes[name].wait(30) == 0, (self.folder / f"{name}.log").read_text()[-2000:]

    def end(self) -> None:
        """Leave nothing behind."""
        for process in self._processes.values():
            process.kill()
            process.wait(10)
        self.file.close()

    # -- work -----------------------------------------------------------------------------------------------

    def feed(self, until: float, target: int) -> None:
        """Telegrams come in, and jobs are asked for, until a time."""
        while (left := until - time.monotonic()) > 0:
            self.write(self.written + max(1, int((target - self.written) * min(1.0, 0.05 / left))))
            self.ask()
            time.sleep(0.05)
        self.write(target)

    def write(self, last: int) -> None:
        """Telegrams up to a number are heard."""
        last = min(TELEGRAMS, last)
        self.file.write(b"".join(frame(value).hex().encode() + b"\n" for value in range(self.written, last)))
        self.file.flush()
        self.written = max(self.written, last)

    def ask(self) -> None:
        """Ask for a job; what the answer says is acknowledged."""
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{self.port}/api/v1/jobs",
                headers={"Authorization": f"Bearer {self.token}"},
                json={"device_id": self.device, "kind": "read", "parameters": {}},
                timeout=2.0,
            )
        except httpx.HTTPError:
            return
        if answer.status_code == 201:
            self.acknowledged.append(answer.json()["id"])

    def stored(self) -> int:
        """How many frames the database has, decoded."""
        with Store.open(self.database, answers=False) as store:
            counts = store.counts()
        return 0 if counts.pending else counts.telegrams.get("decoded", 0)


@pytest.fixture
def plant(tmp_path: Path, url: str) -> Iterator[Plant]:
    """Everything, not yet started."""
    address = url if "://" in url else f"sqlite:///{url}"
    for broker in running_broker(tmp_path / "broker"):
        made = Plant(tmp_path, address, broker)
        try:
            yield made
        finally:
            made.end()


def test_nothing_is_lost_and_nothing_doubled(plant: Plant) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    for name in ("gateway", "headend"):
        plant.start(name)
    begun = time.monotonic()
    for number in range(KILLS):
        if number == KILLS // 2:
            plant.broker.stop()
            plant.feed(time.monotonic() + OUTAGE, plant.written + TELEGRAMS // (2 * KILLS))
            plant.broker.start()
        victim = dice.choice(("gateway", "headend"))
        share = TELEGRAMS * (number + 1) // KILLS
        plant.feed(time.monotonic() + dice.uniform(0.2, 2.2), share)
        plant.kill(victim)
        plant.start(victim)
    plant.feed(time.monotonic() + 0.3, TELEGRAMS)
    deadline = time.monotonic() + 60 + TELEGRAMS / 1000
    while plant.stored() < TELEGRAMS and time.monotonic() < deadline:
        plant.ask()
        time.sleep(0.5)
    plant.stop()
    print(f"{KILLS} kills, {plant.lives}, {len(plant.acknowledged)} jobs in {time.monotonic() - begun:.0f} s")
    check_telegrams(plant)
    check_jobs(plant)


def check_telegrams(plant: Plant) -> None:
    """Every telegram once: raw, as a reception, as a reading."""
    with Store.open(plant.database, answers=False) as store:
        counts = store.counts()
        assert (counts.frames, counts.receptions, counts.pending, counts.readings) == (TELEGRAMS, TELEGRAMS, 0, TELEGRAMS), (
            unread(plant)
        )
        octets: Counter[bytes] = Counter()
        with Database.open(plant.database) as database, database.reading() as connection:
            for (row,) in connection.exec_driver_sql("SELECT octets FROM frames"):
                octets[bytes(row)] += 1
    assert octets == Counter(frame(value) for value in range(TELEGRAMS))
    spool = Spool(plant.folder / "state" / "spool")
    assert (spool.waiting, spool.lost, spool.damaged) == (0, 0, 0)


def unread(plant: Plant) -> list[tuple[object, ...]]:
    """What is known of frames that have not one reading each."""
    with Database.open(plant.database) as database, database.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT f.id, f.received_at, f.octets, t.state, t.error, t.readings, t.received_at, t.decoded_at, count(r.frame_id)"
            " FROM frames f LEFT JOIN telegrams t ON t.frame_id = f.id LEFT JOIN readings r ON r.frame_id = f.id"
            " GROUP BY f.id, f.received_at, f.octets, t.state, t.error, t.readings, t.received_at, t.decoded_at"
            " HAVING count(r.frame_id) <> 1"
        )
        return [tuple(row) for row in rows]


def check_jobs(plant: Plant) -> None:
    """Every job that was acknowledged is there, with one line in the audit trail; no job has none."""
    assert plant.acknowledged
    with Database.open(plant.database) as database, database.reading() as connection:
        jobs = [int(row[0]) for row in connection.exec_driver_sql("SELECT id FROM jobs")]
        made = connection.exec_driver_sql("SELECT detail FROM audit WHERE action = 'create job'")
        trail = Counter(int(str(row[0]).split()[1]) for row in made)
        steps = Counter(
            (int(row[0]), str(row[1])) for row in connection.exec_driver_sql("SELECT job_id, text FROM job_steps")
            if "asked for" in str(row[1])
        )  # fmt: skip
    assert set(plant.acknowledged) <= set(jobs)
    assert len(jobs) == len(set(jobs))
    assert trail == Counter(jobs)
    assert all(count == 1 for count in steps.values())
