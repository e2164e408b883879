"""Virtual time: order, deadlines that move, nodes that change their machine."""

from __future__ import annotations

import pytest

from openmetering.simulation.kernel import Kernel, Node


class Clockwork:
    """Wakes at the times it is told, says when it woke."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    @property
    def deadline(self) -> float | None:
        return min(self.times, default=None)

    def receive(self, event: float, now: float) -> list[str]:
        self.times.append(event)
        return [f"told {event:g} at {now:g}"]

    def timeout(self, now: float) -> list[str]:
        due = [time for time in self.times if time <= now]
        self.times = [time for time in self.times if time > now]
        return [f"woke for {time:g} at {now:g}" for time in due]


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(10.0)


def test_actions_run_in_order_of_time_then_of_asking(kernel: Kernel) -> None:
    seen: list[tuple[str, float]] = []
    kernel.call_at(12.0, lambda now: seen.append(("b", now)))
    kernel.call_at(11.0, lambda now: seen.append(("a", now)))
    kernel.call_at(12.0, lambda now: seen.append(("c", now)))
    kernel.call_at(3.0, lambda now: seen.append(("past", now)))
    kernel.call_at(12.5, lambda now: seen.append(("later", now)))
    kernel.run(12.0)
    assert seen == [("past", 10.0), ("a", 11.0), ("b", 12.0), ("c", 12.0)]
    assert (kernel.now, kernel.events, len(kernel), kernel.next_time) == (12.0, 4, 1, 12.5)
    kernel.run(20.0)
    assert seen[-1] == ("later", 12.5)
    assert (kernel.now, kernel.next_time) == (20.0, None)


def test_an_action_may_ask_for_another_at_the_same_time(kernel: Kernel) -> None:
    seen: list[float] = []
    kernel.call_at(11.0, lambda now: kernel.call_at(now, seen.append))
    kernel.run(11.0)
    assert seen == [11.0]


def test_a_node_wakes_its_machine_at_its_deadline_and_not_before(kernel: Kernel) -> None:
    out: list[str] = []
    node = Node(kernel, Clockwork(15.0), lambda event, now: out.append(event))
    kernel.run(14.9)
    assert out == []
    node.post(12.0 + 3.5)
    kernel.run(30.0)
    assert out == ["told 15.5 at 14.9", "woke for 15 at 15", "woke for 15.5 at 15.5"]


def test_a_deadline_that_comes_nearer_is_kept(kernel: Kernel) -> None:
    out: list[str] = []
    node = Node(kernel, Clockwork(20.0), lambda event, now: out.append(event))
    node.post(11.0)
    kernel.run(25.0)
    assert out == ["told 11 at 10", "woke for 11 at 11", "woke for 20 at 20"]


def test_a_deadline_that_moves_back_wakes_nobody(kernel: Kernel) -> None:
    out: list[str] = []
    machine = Clockwork(12.0)
    Node(kernel, machine, lambda event, now: out.append(event))
    machine.times = [18.0]
    kernel.run(17.0)
    assert out == []
    kernel.run(18.0)
    assert out == ["woke for 18 at 18"]


def test_another_machine_takes_the_place_after_a_power_cut(kernel: Kernel) -> None:
    out: list[str] = []
    node = Node(kernel, Clockwork(12.0), lambda event, now: out.append(event))
    node.replace(Clockwork(14.0))
    kernel.run(20.0)
    assert out == ["woke for 14 at 14"]
