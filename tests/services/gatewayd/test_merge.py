"""Copies: several receivers, repeaters, windows, the best one."""

from __future__ import annotations

import pytest

from openmetering.services.gatewayd import merge
from openmetering.services.gatewayd.merge import Merger
from tests.services.gatewayd.tools import NOW, entry


def released(merger: Merger, at: float) -> list[tuple[int, int]]:
    return [(item.number, item.copies) for item in merger.release(NOW + at)]


def test_one_telegram_waits_for_better_copies() -> None:
    merger = Merger(hold=2.0)
    assert merger.oldest is None
    assert merger.deadline is None
    merger.push(1, entry(1, rssi=-90))
    assert (merger.oldest, merger.deadline) == (1, NOW + 2)
    merger.push(2, entry(1, 0.5, source="b", rssi=-60))
    merger.push(3, entry(1, 0.6, source="c", rssi=-75))
    merger.push(4, entry(2, 0.7))
    assert released(merger, 1.9) == []
    assert released(merger, 2.0) == [(2, 2)]
    assert merger.oldest == 4
    assert released(merger, 9.0) == [(4, 0)]
    assert merger.merged == 2


def test_copies_that_come_after_the_release_are_dropped() -> None:
    merger = Merger(hold=0.0, window=2.0)
    merger.push(1, entry(1))
    assert released(merger, 0) == [(1, 0)]
    merger.push(2, entry(1, 1.5, rssi=-10))
    assert released(merger, 99) == []
    merger.push(3, entry(1, 2.5))  # the same octets much later are another telegram
    assert released(merger, 99) == [(3, 0)]


def test_an_original_is_better_than_a_copy_of_a_repeater() -> None:
    merger = Merger(hold=2.0)
    merger.push(1, entry(1, hop=True, profile="A", rssi=-40))
    merger.push(2, entry(1, 1.0, profile="A", rssi=-95))
    assert released(merger, 9) == [(2, 1)]


@pytest.mark.parametrize(("late", "number"), [(20.0, 1), (31.0, 2)])
def test_a_repeater_may_be_late(late: float, number: int) -> None:
    merger = Merger(hold=2.0, repeater_window=30.0)
    merger.push(1, entry(1, profile="A"))
    assert released(merger, 5) == [(1, 0)]
    merger.push(2, entry(1, late, profile="A", hop=True))
    assert len(released(merger, 99)) == number - 1


def test_the_original_behind_a_copy_in_a_file() -> None:
    merger = Merger(hold=0.0)
    merger.push(1, entry(1, profile="A", hop=True))
    released(merger, 0)
    merger.push(2, entry(1, -20, profile="A"))
    assert released(merger, 99) == []


def test_a_level_that_is_not_told_is_the_worst() -> None:
    merger = Merger()
    merger.push(1, entry(1, rssi=None))
    merger.push(2, entry(1, 0.1, rssi=-110))
    assert released(merger, 9) == [(2, 1)]


def test_the_time_of_files_and_the_time_of_the_gateway() -> None:
    merger = Merger(hold=2.0)
    merger.push(1, entry(1, -1_000_000, arrived=0.0))
    merger.push(2, entry(1, -900_000, arrived=0.1))
    assert released(merger, 1) == []
    assert released(merger, 2.2) == [(1, 0), (2, 0)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "_SEEN_LIMIT", 50)
    merger = Merger(hold=1.0)
    for number in range(1, 201):
        merger.push(number, entry(number, number, access_number=number % 256))
        merger.release(NOW + number)
    assert len(merger._groups) <= 60
    assert released(merger, 999)[-1] == (200, 0)


def test_what_was_released_is_forgotten_after_a_while() -> None:
    merger = Merger(hold=1.0, window=2.0)
    for number in range(1, 2001):
        merger.push(number, entry(number, float(number), access_number=number % 256))
        merger.release(NOW + number)
    assert 600 <= len(merger._groups) <= 602
    assert sum(group.best is not None for group in merger._groups.values()) <= 2
    merger.push(2001, entry(1950, 1950.5, arrived=2000.5, access_number=1950 % 256))  # late, and known
    merger.push(2002, entry(1, 1.5, arrived=2000.5, access_number=1))  # so late that the head-end has to know it
    assert [number for number, _ in released(merger, 9999)] == [2000, 2002]
    assert merger.merged == 1
