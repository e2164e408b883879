"""Error rates go through the measured points; capture follows the measured curves."""

from __future__ import annotations

import pytest

from openmetering.errors import NotRepresentable
from openmetering.simulation.airtime import octets_on_air
from openmetering.simulation.reception import (
    RECEIVERS,
    capture_error,
    deaf_below,
    octet_error,
    packet_error,
    quiet_above,
)

ROWS = [(receiver, detector) for receiver in RECEIVERS.values() for detector in receiver.thresholds]


@pytest.mark.parametrize(("receiver", "detector"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_the_curve_goes_through_both_measured_points(receiver: object, detector: str) -> None:
    points = receiver.thresholds[detector]  # type: ignore[attr-defined]
    assert packet_error(points, points[0], octets_on_air(20)) == pytest.approx(0.2)
    assert packet_error(points, points[1], octets_on_air(47)) == pytest.approx(0.1)


@pytest.mark.parametrize(("receiver", "detector"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_better_signals_lose_less_and_long_frames_more(receiver: object, detector: str) -> None:
    points = receiver.thresholds[detector]  # type: ignore[attr-defined]
    rates = [packet_error(points, ecn0 / 2, 55) for ecn0 in range(-10, 50)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0
    assert rates[-1] < 1e-6
    middle = (points[0] + points[1]) / 2
    assert packet_error(points, middle, 24) < packet_error(points, middle, 55) < packet_error(points, middle, 290)


def test_sensitivities_in_dbm_agree_with_radio_chips() -> None:
    """Chip figures (20 octets, PER 20 %): T -106, S -110, C -110, C down -113; the model within 3.5 dB."""
    chip = RECEIVERS["chip"]
    rates = {"T": 100_000, "S": 32_768, "C": 100_000, "C-down": 50_000}
    quiet_place = 3.0  # the figures of a chip stand without man-made noise
    found = {name: chip.floor(rate) - quiet_place + chip.thresholds[name][0] for name, rate in rates.items()}
    published = {"T": -106, "S": -110, "C": -110, "C-down": -113}
    for name, figure in published.items():
        assert found[name] == pytest.approx(figure, abs=3.5), name


def test_soft_receivers_gain_what_was_measured_over_rtl_wmbus() -> None:
    soft, rtl = RECEIVERS["soft"].thresholds, RECEIVERS["rtl_wmbus"].thresholds
    gains = {name: rtl[name][0] - soft[name][0] for name in rtl}
    assert gains == pytest.approx({"T": 3.9, "C": 1.9, "S": 9.6})


def test_limits_of_the_table() -> None:
    points = RECEIVERS["soft"].thresholds["T"]
    assert octet_error(points, deaf_below(points) - 0.01) == 1.0
    assert octet_error(points, deaf_below(points) + 0.1) < 1.0
    assert octet_error(points, quiet_above(points) + 0.01) < 1e-9
    with pytest.raises(NotRepresentable):
        deaf_below((20.0, 20.1 + 40))


def test_rtl_wmbus_has_no_detector_for_c_down() -> None:
    assert not RECEIVERS["rtl_wmbus"].hears("C-down")
    assert RECEIVERS["chip"].hears("C-down")


@pytest.mark.parametrize(
    ("ratio", "strong_first", "weak_first", "mode_s"),
    [(-3, 1.0, 1.0, 1.0), (2, 0.91, 0.97, 0.99), (3, 0.36, 0.96, 0.98), (4, 0.20, 0.89, 0.735), (5, 0.05, 0.86, 0.125),
     (6, 0.01, 0.88, 0.005), (8, 0.0, 0.88, 0.0), (10, 0.0, 0.81, 0.0), (20, 0.0, 0.81, 0.0)],
)  # fmt: skip
def test_capture_follows_the_measured_curves(ratio: float, strong_first: float, weak_first: float, mode_s: float) -> None:
    assert capture_error("T", ratio, first=True, resync=False) == pytest.approx(strong_first)
    assert capture_error("C", ratio, first=True, resync=True) == pytest.approx(strong_first)
    assert capture_error("T", ratio, first=False, resync=True) == pytest.approx(strong_first)
    assert capture_error("T", ratio, first=False, resync=False) == pytest.approx(weak_first)
    for first in (True, False):
        assert capture_error("S", ratio, first=first, resync=False) == pytest.approx(mode_s)
