"""Checks that every machine's table gets: rows that a scenario visits, pairs that are not in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from openmetering.errors import ProtocolError
from openmetering.protocol.machine import Machine


class _Seen(dict[Any, Any]):
    """A table that notes which rows are looked up."""

    def __init__(self, table: Mapping[Any, Any]) -> None:
        super().__init__(table)
        self.rows: set[Any] = set()

    def get(self, key: Any, default: Any = None) -> Any:
        if key in self:
            self.rows.add(key)
        return super().get(key, default)


@contextmanager
def every_row(kind: type[Machine[Any]]) -> Iterator[set[Any]]:
    """Fail unless what runs inside visits every row of a machine's table."""
    table = kind.TRANSITIONS
    seen = _Seen(table)
    kind.TRANSITIONS = seen
    try:
        yield seen.rows
    finally:
        kind.TRANSITIONS = table
    missing = [f"{state.name} {event.__name__}" for state, event in table if (state, event) not in seen.rows]
    assert not missing


def assert_nothing_else(machine: Machine[Any], states: type[Any], events: Mapping[type, object]) -> None:
    """Every pair that is not in the table is a ProtocolError that names state and event, and changes nothing."""
    assert {event for _, event in machine.TRANSITIONS} == set(events)
    for state in states:
        for kind, event in events.items():
            if (state, kind) in machine.TRANSITIONS:
                continue
            machine.state = state
            with pytest.raises(ProtocolError) as info:
                machine._step(event, 1.0)
            assert (info.value.state, info.value.event) == (state.name, kind.__name__)
            assert machine.state is state
