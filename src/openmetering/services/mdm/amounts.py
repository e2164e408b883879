"""What each point of a tenant is billed for in a time: measured, and estimated where it was not.

Values that a rule or a person decided on (versions) count in place of the raw ones; a register that stood still (rule ``frozen``)
is a hole that is estimated. Peers are the other points of the same medium in the same building.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from sqlalchemy import Connection

from openmetering.mdm.consumption import Advance, Amount, advance_of
from openmetering.mdm.estimation import Hole, Material, billed
from openmetering.mdm.findings import Version
from openmetering.mdm.series import Series
from openmetering.mdm.versions import overlaid
from openmetering.services.mdm.evidence import EvidenceLoader, Place, spread
from openmetering.services.mdm.registers import is_billed
from openmetering.storage import mdm_rows
from openmetering.storage.database import Database
from openmetering.storage.model import moment

__all__ = ["Amounts", "PointAmount", "billed_unit", "point_advance"]

_DAY: Final = 86_400.0
_AROUND: Final = 9 * _DAY  #: values before and behind the time that are looked at
_PEERS: Final = 12
_HOLES: Final = frozenset(("frozen",))


class PointAmount(msgspec.Struct, frozen=True):
    """A point and what it is billed for; ``parts`` the same by parts of the time if they were asked for; ``values`` how many true
    values lie within, ``counted`` what was counted between values that are no more than three days apart."""

    place: Place
    amount: Amount
    parts: tuple[Amount, ...] = ()
    values: int = 0
    counted: Decimal = Decimal(0)


def billed_unit(place: Place, registers: Sequence[Series]) -> str:
    """The unit that was agreed for a point, or that of its first register."""
    return place.data.unit or next((series.register.unit for series in registers), "")


def point_advance(place: Place, registers: Sequence[Series], versions: Sequence[Version]) -> Advance:
    """What a point counted in the unit it is billed in, with versions in place of the values that they are about."""
    unit = billed_unit(place, registers)
    counting = [overlaid(series, versions) for series in registers if series.register.unit == unit]
    return advance_of(counting, begins={stay.device: stay.begin for stay in place.stays})


class Amounts:
    """Answers for one database."""

    def __init__(self, database: Database, loader: EvidenceLoader) -> None:
        self._database = database
        self._loader = loader

    def of(
        self,
        tenant_id: int,
        begin: float,
        end: float,
        *,
        parts: Sequence[tuple[float, float]] = (),
        wanted: Callable[[Place], bool] = lambda _: True,
        progress: Callable[[float], None] | None = None,
    ) -> list[PointAmount]:
        """Amounts of all points that are ``wanted``; ``parts`` are times within that are told one by one."""
        places = [place for place in self._loader.places(tenant_id) if is_billed(place.medium)]
        with self._database.reading() as connection:
            areas = mdm_rows.areas(connection)
        building = self._loader.buildings(tenant_id)
        groups: dict[tuple[int, str], list[Place]] = {}
        for place in places:
            groups.setdefault((building.get(place.node_id, place.node_id), place.medium), []).append(place)
        found: list[PointAmount] = []
        for number, group in enumerate(groups.values()):
            if any(wanted(place) for place in group):
                found += self._group(group, begin, end, parts, wanted, areas)
            if progress is not None:
                progress((number + 1) / len(groups))
        return sorted(found, key=lambda one: one.place.point_id)

    def _group(
        self,
        places: Sequence[Place],
        begin: float,
        end: float,
        parts: Sequence[tuple[float, float]],
        wanted: Callable[[Place], bool],
        areas: Mapping[int, float | None],
    ) -> list[PointAmount]:
        advances: dict[int, Advance] = {}
        numbers = [place.point_id for place in places]
        with self._database.reading() as connection:
            versions = mdm_rows.newest_versions(connection, numbers, begin - _AROUND, end + _AROUND)
            holes = _holes(connection, numbers, begin, end)
        for place, evidence in zip(places, self._loader.values(places, begin - _AROUND, end + _AROUND), strict=True):
            advances[place.point_id] = point_advance(place, evidence, versions.get(place.point_id, ()))
        found = []
        for place in places:
            if wanted(place):
                material = self._material(place, places, advances, areas)
                mine = holes.get(place.point_id, ())
                amount = billed(material, begin, end, mine)
                times = material.own.times
                values = bisect_left(times, end) - bisect_left(times, begin)
                cut = tuple(billed(material, one, other, mine) for one, other in parts)
                found.append(PointAmount(place, amount, cut, values, material.own.counted(begin, end)))
        return found

    def _material(
        self, place: Place, places: Sequence[Place], advances: Mapping[int, Advance], areas: Mapping[int, float | None]
    ) -> Material:
        others: Sequence[Place] = [
            one for one in places if one.point_id != place.point_id and one.data.part != "main" and advances[one.point_id].times
        ]
        others = spread(others, _PEERS)
        return Material(
            advances[place.point_id],
            tuple(advances[one.point_id] for one in others),
            tuple(areas.get(one.node_id) for one in others),
            areas.get(place.node_id),
        )


def _holes(connection: Connection, numbers: Sequence[int], begin: float, end: float) -> dict[int, tuple[Hole, ...]]:
    """Times in which rules found that nothing was counted, by point; of several runs each once."""
    found: dict[int, dict[tuple[float, float], Hole]] = {}
    for row in mdm_rows.findings_of(connection, numbers, _HOLES, moment(begin), moment(end)):
        first, last = row.since.timestamp(), row.until.timestamp()
        found.setdefault(row.point_id, {})[first, last] = Hole(first, last, "the register stood still")
    return {number: _apart(sorted(holes.values(), key=lambda one: one.begin)) for number, holes in found.items()}


def _apart(holes: Sequence[Hole]) -> tuple[Hole, ...]:
    """Holes that overlap are one."""
    found: list[Hole] = []
    for one in holes:
        if found and one.begin <= found[-1].end:
            found[-1] = Hole(found[-1].begin, max(found[-1].end, one.end), found[-1].why)
        else:
            found.append(one)
    return tuple(found)
