"""The whole at one glance: the tree with what is the matter in it, and every device with its newest readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from openmetering.services.headend.access import Window
from openmetering.services.headend.alarms import Alarms
from openmetering.services.headend.model import Alarm, Device, MeteringPoint, Overview, OverviewNode, every, holds
from openmetering.services.headend.readings import Readings
from openmetering.services.headend.registry import LIVING, Registry
from openmetering.storage import ReadingRow

__all__ = ["Board", "BoardRow"]

_RANK: Final = {"": 0, "information": 1, "warning": 2, "critical": 3}
_POINTS: Final = 1000


class BoardRow(msgspec.Struct, frozen=True):
    """A device, where it measures now, the severity and kind of its worst open alarm, and its newest readings."""

    device: Device
    point: MeteringPoint | None
    alarm: str | None
    alarm_kind: str | None
    readings: tuple[ReadingRow, ...]


class Board:
    """Made anew for every question: a few rows per device."""

    __slots__ = ("_alarms", "_readings", "_registry")

    def __init__(self, registry: Registry, alarms: Alarms, readings: Readings) -> None:
        self._registry = registry
        self._alarms = alarms
        self._readings = readings

    def rows(self, tenant_id: int | None, windows: Collection[Window] | None, at: datetime) -> tuple[BoardRow, ...]:
        """Devices of a tenant (None: of all, without those that are nobody's), or those of windows with their times."""
        since = None if windows is None else {one.device_id: one.since for one in windows}
        places = self._places(at)
        found = []
        for device in self._registry.all_devices(tenant_id):
            if (device.tenant_id is None or device.state == "retired") if since is None else device.id not in since:
                continue
            worst = _worst(self._alarms.open_of(device.id), None if since is None else since[device.id])
            latest = self._readings.latest(device.address, None if since is None else since[device.id])
            found.append(
                BoardRow(
                    device,
                    places.get(device.id),
                    None if worst is None else worst.severity,
                    None if worst is None else worst.kind,
                    tuple(latest),
                )
            )
        return tuple(found)

    def _places(self, at: datetime) -> dict[int, MeteringPoint]:
        points = {one.id: one for one in every(lambda after: self._registry.points(None, after=after, limit=_POINTS))}
        return {
            one.device_id: points[one.point_id]
            for one in self._registry.assignments()
            if holds(one, at) and one.point_id in points
        }

    def overview(
        self, tenant_id: int | None, at: datetime, *, nodes: frozenset[int] | None, devices: frozenset[int] | None, gateways: bool
    ) -> Overview:
        """The tree of a tenant (None: of all), or only some nodes and devices."""
        tree = [node for node in self._registry.nodes(tenant_id) if nodes is None or node.id in nodes]
        known = [one for one in self._registry.all_devices(tenant_id) if devices is None or one.id in devices]
        places = {device_id: point.node_id for device_id, point in self._places(at).items()}
        parents = {node.id: node.parent_id for node in tree}
        states: dict[int, Counter[str]] = {node.id: Counter() for node in tree}
        alarms: dict[int, Counter[str]] = {node.id: Counter() for node in tree}
        everything: Counter[str] = Counter()
        severities: Counter[str] = Counter()
        unplaced = 0
        for device in known:
            everything[device.state] += 1
            open_ones = Counter(alarm.severity for alarm in self._alarms.open_of(device.id))
            severities += open_ones
            place = places.get(device.id)
            unplaced += place is None and device.state in LIVING
            for node_id in _upwards(place, parents):
                states[node_id][device.state] += 1
                alarms[node_id] += open_ones
        rows = tuple(
            OverviewNode(node, dict(states[node.id]), dict(alarms[node.id]), _health(states[node.id], alarms[node.id]))
            for node in tree
        )
        shown = self._registry.gateways() if gateways else ()
        return Overview(rows, dict(everything), dict(severities), unplaced, shown)


def _upwards(node_id: int | None, parents: Mapping[int, int | None]) -> Iterable[int]:
    while node_id is not None and node_id in parents:
        yield node_id
        node_id = parents[node_id]


def _health(states: Mapping[str, int], alarms: Mapping[str, int]) -> str:
    if alarms.get("critical") or states.get("faulty"):
        return "critical" if alarms.get("critical") else "warning"
    if alarms.get("warning"):
        return "warning"
    return "good" if any(states.get(state) for state in LIVING) else "empty"


def _worst(alarms: Sequence[Alarm], since: datetime | None) -> Alarm | None:
    own = [alarm for alarm in alarms if since is None or alarm.raised_at >= since]
    return max(own, key=lambda alarm: (_RANK.get(alarm.severity, 0), alarm.raised_at), default=None)
