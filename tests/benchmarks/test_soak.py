"""The measurements themselves: that they run, and that they would notice."""

from __future__ import annotations

import sys

import pytest

from benchmarks.soak import Look, grown, soak

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def looks(*megabytes: float) -> list[Look]:
    return [Look(60.0 * number, value, 10, number) for number, value in enumerate(megabytes)]


def test_growth_is_noticed_and_warming_up_is_not() -> None:
    assert grown(looks(50, 90, *[100] * 10)) == 0
    assert grown(looks(*range(100, 160))) > 20


def test_a_building_can_be_replayed_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    found = soak(6.0, 2.0, speed=100.0)
    assert len(found) == 3
    assert found[-1].frames > found[0].frames
    assert 30 < found[-1].megabytes < 1000
    assert "frames" in capsys.readouterr().out
