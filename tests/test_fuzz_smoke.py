"""A short run of the fuzzer: the promises hold, and the fuzzer itself finds what is planted."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fuzz.mutate import Mutator
from fuzz.run import ALLOWED_GROWTH, Campaign, main, run
from fuzz.seeds import Case, seeds
from fuzz.targets import TARGETS, Targets
from openmetering import Decoder
from openmetering.telegram import Telegram


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short look at memory, for tests that are about something else."""
    monkeypatch.setattr("fuzz.run.REPLAYED", 5)


@pytest.fixture(scope="module")
def pool() -> tuple[Case, ...]:
    return seeds()


def test_nothing_but_our_errors() -> None:
    report = run(20_000, seed=20261121)
    assert [str(failure) for failure in report.failures] == []
    assert report.telegrams == 20_000
    assert report.growth < ALLOWED_GROWTH


def test_seeds_come_from_everywhere(pool: tuple[Case, ...]) -> None:
    assert len(pool) > 500
    assert len(pool) == len(set(pool))
    assert seeds.__wrapped__() == pool
    decoder = Decoder()
    states = {decoder.examine(case.octets, case.key).security.state for case in pool}
    assert {"plain", "decrypted", "key-missing"} <= states


def test_mutants_repeat_with_their_seed(pool: tuple[Case, ...]) -> None:
    first, second, other = Mutator(pool, 1), Mutator(pool, 1), Mutator(pool, 2)
    series = [first.next() for _ in range(200)]
    assert series == [second.next() for _ in range(200)]
    assert series != [other.next() for _ in range(200)]


def test_mutants_get_behind_the_first_checks(pool: tuple[Case, ...]) -> None:
    """Many mutants are read to their end, many are refused by each layer."""
    mutator, decoder = Mutator(pool, 3), Decoder()
    telegrams = [decoder.examine(case.octets, case.key) for case in (mutator.next() for _ in range(1500))]
    errors = [telegram.error for telegram in telegrams if telegram.error is not None]
    assert 300 < len(errors) < 1200
    assert {"link", "tpl", "apl"} <= {error.layer for error in errors}
    assert sum(telegram.security.state == "decrypted" for telegram in telegrams) > 60


def test_every_target_has_its_turn() -> None:
    targets = Targets()
    names = [name for number in range(len(TARGETS)) for name, _ in targets.turn(number)]
    assert set(names) == {"with_key", *TARGETS}
    assert [name for name, _ in targets.all()] == ["with_key", *TARGETS]


def planted(monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., object]) -> None:
    monkeypatch.setattr(f"fuzz.targets.{name}", broken)


@pytest.mark.usefixtures("short")
def test_a_planted_error_is_found_and_made_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(telegram: Telegram) -> bytes:
        if b"\x0c\x13" in telegram.frame:
            raise RuntimeError("planted")
        return b""

    planted(monkeypatch, "answer", broken)
    report = run(600, seed=1)
    assert [failure.target for failure in report.failures] == ["what_came_out"]
    failure = report.failures[0]
    assert "RuntimeError" in failure.reason
    assert "planted" in failure.reason
    assert failure.times > 1
    assert failure.case.octets == b"\x0c\x13"
    assert "--reproduce 0C13" in str(failure)


def test_a_planted_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(octets: bytes, *, uplink: bool) -> None:
        sum(range(6_000_000))
        raise AssertionError("too late")

    monkeypatch.setattr("fuzz.run.BASE_SECONDS", 0.0)
    monkeypatch.setattr("fuzz.run.OCTET_SECONDS", 0.0)
    campaign = Campaign()
    campaign.one(Case(bytes.fromhex("0C1300000000"), None))
    assert {failure.reason.split()[0] for failure in campaign.report.failures} == {"slow"}


def test_a_planted_leak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []

    def hoarding(telegram: Telegram) -> None:
        kept.append(bytes(4000))

    planted(monkeypatch, "answer", hoarding)
    report = run(60, seed=2)
    assert [failure.target for failure in report.failures] == ["memory"]
    assert report.growth > ALLOWED_GROWTH


@pytest.mark.usefixtures("short")
def test_a_planted_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is compared with the definition."""
    original, dice = Telegram.records.fget, random.Random(1)  # type: ignore[attr-defined]

    def wrong(telegram: Telegram) -> object:
        records = original(telegram)
        return records[:-1] if telegram.plan is not None and records and dice.random() < 0.9 else records

    monkeypatch.setattr(Telegram, "records", property(wrong))
    report = run(600, seed=4)
    assert any("plan and general reader differ" in failure.reason for failure in report.failures)


@pytest.mark.usefixtures("short")
def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--count", "60", "--seed", "9"]) == 0
    assert "60 telegrams" in capsys.readouterr().out
    assert main(["--seconds", "0.2"]) == 0
    assert main(["--reproduce", "0F44AE0C7856341201074447780B13436587"]) == 0

    def broken(telegram: Telegram) -> None:
        raise RuntimeError("planted")

    planted(monkeypatch, "answer", broken)
    assert main(["--reproduce", "0C13", "--key", "00" * 16]) == 1
    assert main(["--count", "20"]) == 1
    assert "planted" in capsys.readouterr().out
