"""Jobs in PostgreSQL: the same runner, and two of which only one may go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openmetering.errors import InputError
from tests.services.headend.jobs.bench import Bench
from tests.storage.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

pytestmark = pytest.mark.services


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Iterator[Bench]:
    made = Bench(tmp_path, url=postgres_url)
    yield made
    made.database.close()


def test_jobs_run_and_survive(house: Bench) -> None:
    assert house.database.dialect == "postgresql"
    job = house.ask("disconnector", state="disconnected")
    house.runner.look()
    house.run(lambda: bool(house.sent))
    old = house.runner
    house.start()
    old.look()
    for act in (lambda: old.step(house.now), lambda: old.cancel(job.id, house.now)):
        with pytest.raises(InputError) as caught:
            act()
        assert caught.value.code == "jobs.replaced"
    assert house.finish(job).state == "done"
    assert house.valve() == [0]
    assert len(house.executed) == 1
    _, outcome = house.do("keys", action="renew", key_id=0x20)
    assert outcome.values["new"] == 1
    _, outcome = house.do("firmware", identifier="V2", image=bytes(380), poll=5.0)
    assert outcome.values["sent"] == 2
