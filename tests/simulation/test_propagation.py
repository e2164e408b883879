"""Path loss: known points of each model, obstacles, shadowing and slow fading."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from openmetering.simulation.propagation import (
    LOSSES,
    Environment,
    Place,
    Places,
    fade,
    free_space,
    itu_p1238,
    log_distance,
    path_loss,
    phases,
)

CALM = Environment(sigma=0.0)
F = 868.95


def loss(here: Place, there: Place, environment: Environment = CALM) -> float:
    return float(log_distance(environment, F, here, Places([there], [1]))[0])


def test_free_space_at_known_distances() -> None:
    assert float(free_space(868.95, 1.0)) == pytest.approx(31.2, abs=0.05)
    assert float(free_space(169.0, 1.0)) == pytest.approx(17.0, abs=0.05)
    assert float(free_space(868.95, 400.0)) == pytest.approx(31.2 + 52.04, abs=0.05)


@pytest.mark.parametrize(("floors", "extra"), [(0, 0), (1, 9), (-1, 9), (2, 19), (3, 24), (7, 24)])
def test_p1238_at_10_m(floors: int, extra: int) -> None:
    expected = 20 * math.log10(868.95) + 33.0 - 28.0 + extra
    assert float(itu_p1238(868.95, 10.0, floors)) == pytest.approx(expected)


def test_ten_times_the_distance_costs_ten_times_the_exponent() -> None:
    near = loss(Place(x=1), Place(x=3))
    far = loss(Place(x=1), Place(x=21))
    assert far - near == pytest.approx(10 * CALM.outside)


def test_nearer_than_a_metre_counts_as_a_metre() -> None:
    assert loss(Place(), Place()) == pytest.approx(float(free_space(F, 1.0)))


def test_walls_and_ceilings_of_a_building() -> None:
    here = Place(building=1, floor=0, flat=1)
    same = loss(here, Place(x=3, building=1, floor=0, flat=1))
    next_flat = loss(here, Place(x=3, building=1, floor=0, flat=2))
    two_up = loss(here, Place(x=3, building=1, floor=2, flat=1))
    assert next_flat - same == pytest.approx(LOSSES["brick"])
    assert two_up - same == pytest.approx(2 * LOSSES["ceiling"])


def test_inner_walls_count_every_room_up_to_three() -> None:
    here = Place(building=1, flat=1)
    one = loss(here, Place(x=5, building=1, flat=1)) - 10 * CALM.exponent * math.log10(5)
    many = loss(here, Place(x=50, building=1, flat=1)) - 10 * CALM.exponent * math.log10(50)
    assert many - one == pytest.approx(2 * LOSSES["plaster"])


def test_outer_walls_of_both_buildings_and_the_basement() -> None:
    street = loss(Place(), Place(x=10))
    one = loss(Place(), Place(x=10, building=1))
    two = loss(Place(building=2), Place(x=10, building=1))
    cellar = loss(Place(), Place(x=10, building=1, floor=-1))
    assert one - street == pytest.approx(LOSSES["brick"])
    assert two - one == pytest.approx(LOSSES["brick"])
    assert cellar - one == pytest.approx(LOSSES["basement"])


def test_a_path_costs_the_same_both_ways() -> None:
    environment = Environment()
    places = [
        Place(x=index * 3.0, building=1 + index % 2, floor=index % 4, flat=index % 3, extra=index % 2) for index in range(12)
    ]
    table = Places(places, list(range(12)))
    matrix = np.array([path_loss(environment, 4, F, index, place, table) for index, place in enumerate(places)])
    assert np.allclose(matrix, matrix.T)


def test_shadowing_is_log_normal_and_differs_by_channel() -> None:
    environment, many = Environment(sigma=6.0), 20_000
    table = Places([Place(x=10)] * many, list(range(1, many + 1)))
    drawn = path_loss(environment, 4, F, 0, Place(), table) - log_distance(environment, F, Place(), table)
    assert abs(float(drawn.std()) - 6.0) < 0.1
    assert abs(float(drawn.mean())) < 0.15
    other = path_loss(environment, 4, 868.3, 0, Place(), table)
    assert abs(float(np.corrcoef(drawn, other)[0, 1])) < 0.03


def test_surroundings_of_both_ends_count() -> None:
    table = Places([Place(x=10, extra=15.0)], [1])
    with_pit = path_loss(CALM, 1, F, 0, Place(extra=2.0), table)
    without = path_loss(CALM, 1, F, 0, Place(), Places([Place(x=10)], [1]))
    assert float(with_pit[0] - without[0]) == pytest.approx(17.0)


@pytest.mark.parametrize("model", ["free-space", "log-distance", "P.1238"])
def test_every_model_grows_with_distance(model: str) -> None:
    environment = Environment(model=model, sigma=0.0)
    table = Places([Place(x=distance) for distance in (2.0, 5.0, 20.0, 100.0)], [1, 2, 3, 4])
    losses = path_loss(environment, 1, F, 0, Place(), table)
    assert list(losses) == sorted(losses)
    assert losses[0] > 30


def test_fading_stays_inside_its_peak_and_changes_slowly() -> None:
    values = [fade(3.0, (1.0, 2.0), second) for second in range(0, 90_000, 7)]
    assert max(map(abs, values)) <= 3.0
    assert max(values) > 2.0
    assert min(values) < -2.0
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.3


def test_phases_belong_to_the_pair() -> None:
    table = Places([Place(), Place(), Place()], [0, 1, 2])
    assert phases(3, 1, table)[0][2] == phases(3, 2, table)[0][1]
    assert phases(3, 1, table)[1][2] != phases(3, 1, table)[0][2]
