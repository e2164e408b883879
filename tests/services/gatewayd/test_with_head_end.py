"""The daemon and the real head-end in one process: readings with their gateway, a kill between them, once each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from openmetering.errors import TransportError
from openmetering.services.gatewayd.messages import Reply, Report
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.uplink import DirectUplink
from openmetering.storage.database import Database
from tests.services.gatewayd.test_daemon import Bench, Played, configuration, heard
from tests.services.headend.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Database.open(str(tmp_path / "head-end.db")) as database:
        made = Desk(database)
        yield made
        made.close()


def test_from_a_source_to_a_reading(tmp_path: Path, desk: Desk) -> None:
    receiver = Receiver(lambda batch, gateway: desk.head_end.ingest(batch, gateway=gateway))
    forgetful = [True]

    def handle(report: Report) -> Reply:
        reply = receiver.handle(report)
        if report.batch is not None and forgetful:
            forgetful.pop()
            raise TransportError("killed behind the commit", code="transport.lost", layer="transport")
        return reply

    async def go() -> None:
        doors = {"a": Played([heard(n) for n in range(40)], wait=True), "b": Played([heard(3, rssi=-20.0)])}
        text = '[[source]]\nat = "-"\nname = "a"\n[[source]]\nat = "-"\nname = "b"\n'
        bench = Bench(configuration(tmp_path, "", text), doors, DirectUplink(handle))
        running = asyncio.ensure_future(bench.daemon.run())
        while bench.daemon.state().waiting or not bench.daemon.state().reported_at:
            await asyncio.sleep(0.01)
        bench.daemon.stop()
        await running
        assert "killed behind the commit" in bench.texts()

    asyncio.run(asyncio.wait_for(go(), 20))
    counts = desk.head_end.store.counts()
    assert (counts.frames, counts.readings, counts.pending) == (40, 40, 0)
    assert {row.value for row in desk.head_end.store.readings()} == {heard_value(n) for n in range(40)}


def heard_value(value: int) -> str:
    return f"{value / 100:.2f}"
