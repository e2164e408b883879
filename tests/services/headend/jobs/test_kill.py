"""The head-end is killed before and after every write and every order, and begins again: nothing is executed twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from openmetering.protocol.exchange import Submit
from openmetering.services.headend.jobs.carriers import CarriedOrder
from openmetering.services.headend.jobs.journal import Ledger
from openmetering.storage import audit_rows
from tests.services.headend.jobs.bench import WATER, Bench


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Counts the moments at which a power cut makes a difference, and makes one at a chosen moment."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.moments = 0

    def moment(self) -> None:
        self.moments += 1
        if self.moments == self.at:
            raise Killed


def armed(bench: Bench, killer: Killer, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Ledger.transaction

    @contextmanager
    def transaction(ledger: Ledger) -> Iterator[Connection]:
        with genuine(ledger) as connection:
            yield connection
            killer.moment()  # rolls back
        killer.moment()

    monkeypatch.setattr(Ledger, "transaction", transaction)
    hand_over = bench._hand_over

    def handed(order: CarriedOrder) -> None:
        hand_over(order)
        killer.moment()

    monkeypatch.setattr(bench, "_hand_over", handed)
    bench.start()


def carried_through(bench: Bench, job_id: int) -> str:
    """Let a job come to its end, however often the head-end begins again."""
    over = ("done", "failed", "refused", "unknown", "cancelled")

    def ended() -> bool:
        found = bench.desk.find(job_id)
        return found is not None and found.state in over

    while True:
        try:
            bench.runner.look()
            bench.run(ended)
        except Killed:
            bench.start()
            continue
        found = bench.desk.find(job_id)
        assert found is not None
        return found.state


def trail(bench: Bench, job_id: int) -> list[str]:
    with bench.database.reading() as connection:
        return [entry.action for entry in audit_rows.page(connection, object=f"job {job_id}").items]


CASES: dict[str, tuple[str, dict[str, object], int]] = {
    "valve": ("disconnector", {"state": "disconnected"}, 1),
    "clock": ("clock", {"action": "adjust", "seconds": 30}, 1),
    "flags": ("supervision", {"action": "clear"}, 1),
    "owner": ("ownership", {"digits": "1234"}, 1),
    "key 20": ("keys", {"action": "renew", "key_id": 0x20}, 0),
    "key 00": ("keys", {"action": "renew", "key_id": 0}, 0),
    "key 14": ("keys", {"action": "renew", "key_id": 0x14}, 0),
    "firmware": ("firmware", {"identifier": "V2", "image": bytes(380), "poll": 5.0}, 2),
}


def run_case(name: str, folder: Path, killer: Killer) -> tuple[str, Bench, int]:
    kind, parameters, _ = CASES[name]
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = Bench(folder)
        job = bench.ask(kind, **parameters)
        armed(bench, killer, monkeypatch)
        return carried_through(bench, job.id), bench, job.id


def check_valve(bench: Bench) -> None:
    assert bench.valve() == [0]


def check_key(key_id: int) -> Callable[[Bench], None]:
    def check(bench: Bench) -> None:
        used = [event for event in bench.events if event.name == "key"]
        assert used
        infos = [info for info in bench.vault.keys(pattern=str(bench.address())).items if info.key_id == key_id]
        assert [info.version for info in infos] == [0, 1]  # one new key, however often it was begun
        assert infos[-1].state == "active"
        assert bench.journal().renewals == ()
        assert bench.journal().version(key_id) == 1

    return check


CHECKS: dict[str, Callable[[Bench], None]] = {
    "valve": check_valve,
    "key 20": check_key(0x20),
    "key 00": check_key(0),
    "key 14": check_key(0x14),
}


@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_moment(name: str, tmp_path: Path) -> None:
    quiet = Killer()
    state, bench, _ = run_case(name, tmp_path / "quiet", quiet)
    assert state == "done"
    bench.database.close()
    assert quiet.moments >= 7
    for at in range(1, quiet.moments + 1):
        state, bench, job_id = run_case(name, tmp_path / f"{at}", Killer(at))
        where = (name, at, bench.steps(bench.job(bench.desk.find(job_id))))  # type: ignore[arg-type]
        assert state == "done", where
        assert len(bench.executed) == CASES[name][2], where
        assert len(set(bench.executed)) == len(bench.executed), where
        CHECKS.get(name, lambda bench: None)(bench)
        assert bench.journal().commands == (), where
        assert trail(bench, job_id) == ["job done"], where
        bench.database.close()


def test_killed_again_and_again(tmp_path: Path) -> None:
    dice = random.Random(8)

    class Often(Killer):
        def moment(self) -> None:
            self.moments += 1
            if dice.random() < 0.1:
                raise Killed

    state, bench, job_id = run_case("firmware", tmp_path / "often", Often())
    assert state == "done"
    assert len(bench.executed) == 2
    found = bench.desk.find(job_id)
    assert found is not None
    assert found.attempts == 1  # a restart is no attempt of its own
    assert trail(bench, job_id) == ["job done"]
    bench.database.close()


def test_an_order_of_an_earlier_life_is_answered_and_nobody_minds(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.ask("disconnector", state="disconnected")
    bench.runner.look()
    bench.run(lambda: any(isinstance(order, Submit) for order in bench.sent))
    first = [order.token for order in bench.sent if isinstance(order, Submit)]
    bench.start()
    assert bench.finish(job).state == "done"
    tokens = [order.token for order in bench.sent if isinstance(order, Submit)]
    assert len(set(tokens)) == len(tokens)
    assert tokens[: len(first)] == first
    assert bench.valve() == [0]
    assert bench.world.devices[WATER].spec.address == bench.address()
    bench.database.close()
