"""Numbers from names: the same every time, symmetric for pairs, spread as they should be."""

from __future__ import annotations

import numpy as np

from openmetering.simulation.chance import Stream, normal, pair_normals, pair_uniforms, seed_of, uniform

SEED = 0x54F31BC5208764AD
FIRST = 0.33848451429432036


def test_the_same_names_give_the_same_number() -> None:
    assert seed_of("a", 1) == seed_of("a", 1) != seed_of("a", 2)
    assert uniform(7, 1, 2) == uniform(7, 1, 2) != uniform(7, 2, 1)
    assert normal(7, 1) == normal(7, 1) != normal(8, 1)


def test_known_values_hold_on_every_machine() -> None:
    assert seed_of("openmetering") == SEED
    assert uniform(SEED, 1, 2, 3) == FIRST
    stream = Stream("a")
    again = Stream("a")
    assert [stream() for _ in range(5)] == [again() for _ in range(5)]


def test_uniform_numbers_fill_the_interval() -> None:
    numbers = [uniform(3, index) for index in range(20_000)]
    assert 0.0 <= min(numbers) < max(numbers) < 1.0
    counts, _ = np.histogram(numbers, bins=20, range=(0.0, 1.0))
    assert counts.min() > 850
    assert counts.max() < 1150


def test_a_stream_is_uniform_and_uncorrelated() -> None:
    stream = Stream("stream")
    numbers = np.array([stream() for _ in range(20_000)])
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03


def test_normal_numbers_have_mean_0_and_deviation_1() -> None:
    numbers = np.array([normal(5, index) for index in range(20_000)])
    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.std() - 1.0) < 0.03


def test_pairs_are_symmetric_and_independent_of_order() -> None:
    others = np.arange(200, dtype=np.uint64)
    row = pair_normals(9, 17, others, 3)
    for index in (0, 3, 16, 18, 199):
        back = pair_normals(9, index, np.array([17], np.uint64), 3)
        assert back[0] == row[index]
    assert len(set(row.tolist())) == 200
    assert not np.allclose(row, pair_normals(9, 17, others, 4))


def test_pair_numbers_are_spread_as_they_should_be() -> None:
    others = np.arange(50_000, dtype=np.uint64)
    numbers = pair_uniforms(1, 99_999, others, 5)
    assert abs(numbers.mean() - 0.5) < 0.01
    normals = pair_normals(1, 99_999, others, 5)
    assert abs(normals.std() - 1.0) < 0.02
    assert abs(normals.mean()) < 0.02
