"""The base of machines: the row decides, the state changes before the action, what is missing is an error."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import pytest

from openmetering.errors import ProtocolError
from openmetering.protocol.machine import Machine


class Light(Enum):
    RED = "red"
    GREEN = "green"


class Go:
    pass


class Stop:
    pass


class Lamp(Machine[Light]):
    def __init__(self) -> None:
        super().__init__(Light.RED)
        self.seen: list[Light] = []

    def _change(self, event: object, now: float) -> list[object]:
        self.seen.append(self.state)
        return [now]

    TRANSITIONS: ClassVar = {(Light.RED, Go): (_change, Light.GREEN), (Light.GREEN, Stop): (_change, Light.RED)}


def test_a_row_changes_the_state_before_its_action_runs() -> None:
    lamp = Lamp()
    assert lamp.deadline is None
    assert lamp._step(Go(), 1.5) == [1.5]
    assert lamp._step(Stop(), 2.0) == [2.0]
    assert lamp.seen == [Light.GREEN, Light.RED]


def test_a_pair_without_a_row_names_state_and_event() -> None:
    lamp = Lamp()
    with pytest.raises(ProtocolError) as caught:
        lamp._step(Stop(), 0.0)
    assert (caught.value.state, caught.value.event) == ("RED", "Stop")
    assert lamp.state is Light.RED
