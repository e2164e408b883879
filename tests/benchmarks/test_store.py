"""The benchmark of the store runs from end to end with tiny numbers, notices what is missing, and says where the time goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import store
from benchmarks.fleet import mixed
from openmetering.storage import Store
from tests.storage.postgres import Server, postgres_server

__all__ = ["postgres_server"]

TINY = store.Scale(meters=16, per_meter=4, batch=16, together=2)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Two empty databases."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield [str(tmp_path / "one.db"), str(tmp_path / "two.db")]
        else:
            server: Server = request.getfixturevalue("postgres_server")
            yield [stack.enter_context(server.database()) for _ in range(2)]


def test_store_and_head_end_take_the_same_telegrams(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    part = mixed(TINY.meters, TINY.per_meter + 2)
    measured = TINY.meters * TINY.per_meter
    alone, whole = store.run(urls[0], part, TINY), store.run_head_end(urls[1], part, TINY)
    for spent in (alone, whole):
        assert spent.telegrams == measured
        assert spent.readings >= 5 * measured
        assert min(spent.wall, spent.raw, spent.decode, spent.store) > 0
    assert alone.readings == whole.readings
    assert (alone.rest, whole.rest > 0) == (0.0, True)
    assert store.report("head-end", whole) == whole.telegrams / whole.wall
    said = capsys.readouterr().out
    assert f"({measured} telegrams)" in said
    assert all(f"    {name} " in said for name in ("queue", "raw", "decode", "store", "rest"))


def test_telegrams_that_are_missing_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that leaves one out is not fast."""
    part, record = mixed(TINY.meters, TINY.per_meter + 2), Store.record
    monkeypatch.setattr(Store, "record", lambda self, items: record(self, list(items)[1:]))
    for measure in (store.run, store.run_head_end):
        with pytest.raises(SystemExit, match="not everything is there"):
            measure(str(tmp_path / f"{measure.__name__}.db"), part, TINY)


def test_a_demand_that_is_missed_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "QUICK", TINY)
    monkeypatch.setitem(sys.modules, "tests.storage.postgres", None)
    for demand, code in (("1", 0), ("1e9", 1)):
        monkeypatch.setattr(sys, "argv", ["store.py", "--quick", "--demand", demand, "--folder", str(tmp_path)])
        assert store.main() == code
    said = capsys.readouterr().out
    assert "PostgreSQL is left out" in said
    assert "below 1,000,000,000 telegrams/s: SQLite, SQLite head-end" in said
