"""The benchmark runs from end to end, counts what agrees, and fails where a ratio is missed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal

import pytest

from benchmarks import others, run
from benchmarks.fleet import Sample, mixed
from benchmarks.measure import Contender, Result, Table, child_seconds, measure
from openmetering import Decoder, Record

TINY = run.Scale(rounds=1, per_meter=3, compared=96, slow=64, side_meters=16, passes=1, city=(40, 2, 2))


def test_the_whole_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "QUICK", TINY)
    monkeypatch.setattr(run, "METERS", 32)
    assert run.main(["--quick"]) in (0, 1), "so few telegrams may miss a ratio"
    said = capsys.readouterr().out
    for row in (
        "reference: dataclass per part",
        "plan, all records",
        "end to end",
        "with CRC",
        "profile D",
        "mode 5",
        "word table",
        "simulated city: 40 meters",
        "the account of the channel is balanced",
    ):
        assert row in said
    for name in run.FORBIDDEN:
        assert f"reached  import openmetering does not load {name}" in said


def test_packages_that_are_not_installed_leave_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pymbusparser", None)
    assert others.load("pymbusparser", "pymbusparser") is None
    assert "pymbusparser is not installed: its rows are left out" in capsys.readouterr().out
    part = mixed(16, 2)
    run.decoding(Table(), part, TINY, None)
    said = capsys.readouterr().out
    assert "pymbusparser" not in said
    assert "x reference" in said


def test_a_missed_demand_fails(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.demand("fast enough", 10.0, 10)
    assert table.close() == 0
    table.demand("much faster", 9.9, 10)
    table.demand_that("the sky is green", False)
    assert table.close() == 1
    assert table.missed == ["much faster: 9.9 x, at least 10 x", "the sky is green"]
    said = capsys.readouterr()
    assert "reached  fast enough" in said.out
    assert "MISSED   much faster" in said.out
    assert "2 demands missed" in said.err


def test_the_best_round_counts() -> None:
    loops = iter((200_000, 1, 400_000))
    best = measure([Contender("loop", 1, lambda: sum(range(next(loops))))], 3)
    assert best["loop"].microseconds < 2000
    assert Table().versus(Result("a", 2.0), Result("b", 5.0)) == "2.5 x b"


def test_children_are_counted() -> None:
    assert child_seconds([sys.executable, "-c", "sum(range(3_000_000))"]) > child_seconds([sys.executable, "-c", "pass"])


def values_of(records: Sequence[Record]) -> list[object]:
    return [record.value if isinstance(record.value, Decimal | str) else record.value.isoformat() for record in records]  # type: ignore[union-attr]


def test_only_telegrams_that_agree_are_compared() -> None:
    part, decoder = mixed(16, 3), Decoder()
    refused, short, wrong = part.samples[1], part.samples[4], part.samples[9]

    def package(sample: Sample) -> list[object]:
        if sample is refused:
            raise KeyError("unknown")
        values = values_of(decoder.examine(sample.frame, sample.key).records)
        if sample is wrong:
            values[0] = "no number"
        return values[:-1] if sample is short else values

    found = others.agree(part.samples, decoder, package)
    assert len(found.samples) == 45
    assert not {refused, short, wrong} & set(found.samples)
    assert found.left_out["not decoded (KeyError)"] == 1
    assert found.left_out["with other records"] == 1
    assert found.left_out.total() == 3
    assert found.values == sum(len(decoder.examine(frame, key).records) for frame, key in found.samples)
    assert "45 telegrams agree; 3 telegrams left out for all" in str(found)
    everything = others.agree(part.samples, decoder, lambda sample: values_of(decoder.examine(sample.frame, sample.key).records))
    assert "left out" not in str(everything)
