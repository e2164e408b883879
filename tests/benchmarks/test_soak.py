"""The measurements themselves: that they run, and that they would notice."""

from __future__ import annotations

import sys

import pytest

from benchmarks.soak import Look, grown, judge, soak
from tests.storage.postgres import postgres_server

__all__ = ["postgres_server"]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def looks(*megabytes: float, waiting: int = 0, heard: int = 1000) -> list[Look]:
    return [Look(60.0 * at, (50.0, value), (1, 1), (9, 9), waiting, at * heard) for at, value in enumerate(megabytes)]


def test_growth_is_noticed_and_warming_up_is_not() -> None:
    assert grown([50, 90, *[100] * 10]) == 0
    assert grown(range(100, 160)) > 20


def test_any_process_may_grow_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(looks(50, 90, *[100] * 10), 5.0)
    assert not judge(looks(*range(100, 160)), 5.0)
    assert not judge(looks(*[100] * 10, waiting=600), 5.0)
    assert not judge(looks(*[100] * 10, heard=0), 5.0)
    assert "memory grew by +0.0 %, +0.0 %" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def test_a_building_can_be_replayed_for_a_while(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "postgresql":
        request.getfixturevalue("postgres_server")  # skips or fails where there is none
    found = soak(kind, 6.0, 2.0, speed=100.0, days=10)
    assert len(found) == 3
    assert found[-1].frames > found[0].frames
    assert len(found[-1].megabytes) == (1 if kind == "sqlite" else 2)
    assert all(30 < megabytes < 1000 for look in found for megabytes in look.megabytes)
    assert f"{kind}: 100 times" in capsys.readouterr().out
