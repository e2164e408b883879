"""The simulated property: deterministic, readable with its keys, true to its own account."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice, pairwise

import pytest

from openmetering import Decoder
from openmetering.errors import InputError
from openmetering.security import KeyRing
from openmetering.simulation.property import FAULT_KINDS, PropertyYear
from openmetering.transport.reception import Reception

DAY = 86_400.0


def first(year: PropertyYear, count: int) -> list[Reception]:
    return list(islice((one for batch in year.receptions() for one in batch), count))


def test_the_same_seed_lives_the_same_year() -> None:
    one, same, other = (first(PropertyYear(2025, meters=40, seed=seed), 3000) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert all(early.received_at <= late.received_at for early, late in pairwise(one))
    assert {item.source for item in one} == {"east", "west"}


def test_every_telegram_opens_and_says_the_truth() -> None:
    year = PropertyYear(2025, meters=40)
    ring = KeyRing()
    for point in year.points.values():
        for device in point.devices:
            ring.add(str(device.address), device.key)
    decoder = Decoder(ring)
    by_address = {str(device.address): point for point in year.points.values() for device in point.devices}
    start: dict[str, Decimal] = {}
    for reception in first(year, 4000):
        telegram = decoder.examine(reception.frame)
        assert telegram.error is None
        name = str(telegram.address)
        point, value = by_address[name], telegram.records[0].value
        assert isinstance(value, Decimal)
        offset = start.setdefault(name, value - point.truth(reception.received_at))
        assert abs(value - offset - point.truth(reception.received_at)) <= 2 * Decimal(1).scaleb(point.medium.exponent)


def test_a_fault_touches_its_point_only() -> None:
    quiet = PropertyYear(2025, meters=83)
    faulty = PropertyYear(2025, meters=83, faults=FAULT_KINDS)
    assert {one.kind for one in faulty.injected} == set(FAULT_KINDS)
    assert quiet.injected == []
    touched = {one.label for one in faulty.injected}
    at = quiet.begin + 300 * DAY
    for label, point in quiet.points.items():
        if label not in touched and not label.startswith("Main"):
            assert faulty.points[label].truth(at) == point.truth(at), label


def test_strange_faults_and_small_houses_are_refused() -> None:
    with pytest.raises(InputError):
        PropertyYear(2025, faults=("flood",))
    with pytest.raises(InputError):
        PropertyYear(2025, meters=10)
