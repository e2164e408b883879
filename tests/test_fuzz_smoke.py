"""A short run of the fuzzer: the promises hold, and the fuzzer itself finds what is planted."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_run", Path(__file__).parent.parent / "fuzz" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_nothing_but_our_errors(fuzz: ModuleType) -> None:
    report = fuzz.run(20_000, None, seed=20261121)
    assert [failure.reason for failure in report.failures] == []
    assert report.telegrams == 20_000


def test_mutants_repeat_with_their_seed(fuzz: ModuleType) -> None:
    pool = fuzz.seeds()
    assert len(pool) > 300
    first, second = fuzz.mutants(random.Random(1), pool), fuzz.mutants(random.Random(1), pool)
    assert [next(first) for _ in range(200)] == [next(second) for _ in range(200)]


def test_a_planted_fault_is_found(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(telegram: object) -> bytes:
        raise RuntimeError("planted")

    monkeypatch.setattr(fuzz, "answer_json", broken)
    report = fuzz.run(50, None, seed=1)
    assert len(report.failures) == 10
    assert "planted" in report.failures[0].reason
