"""What is known of people, and how it ends: retention, erasure at a change of tenant, subject access, pseudonyms.

    raw         frames as they were received           90 days, if their months are closed (Parquet) by then
    readings    values, in the database and closed     3 years

Erasing a unit in a time takes raw frames, values, alarms, findings, versions and results of jobs of its devices in that time, in
database and closed months; what the building consumed by months stays as a sum over the units that were erased. The account
of the person loses its name, and the database gives the space back, so that no file holds what was deleted. Meters that nobody
registered or has a key for are foreign: their telegrams are dropped by ``drop_foreign`` after some weeks, in which they may be
registered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from openmetering.errors import InputError
from openmetering.mdm.local_time import local_date, months_of, next_month
from openmetering.services.mdm.amounts import Amounts
from openmetering.services.mdm.evidence import EvidenceLoader, Place
from openmetering.storage import evidence_rows, mdm_rows, privacy_rows
from openmetering.storage.archive import close_month, erase_from
from openmetering.storage.database import Database
from openmetering.storage.mdm_rows import KeptTotal

__all__ = ["PURPOSES", "Erased", "Privacy", "Retained"]

#: days that things are kept where a tenant has not said otherwise
PURPOSES: Final = {"raw": 90, "readings": 3 * 366}
_FEWEST: Final = 1


class Erased(msgspec.Struct, frozen=True):
    """What an erasure took away; ``kept`` totals of the building that it left."""

    frames: int
    archived: int
    alarms: int
    versions: int
    kept: int


class Retained(msgspec.Struct, frozen=True):
    """What the end of a retention took away; ``closed`` months."""

    closed: tuple[str, ...]
    frames: int
    archived: int


class Privacy:
    """For one database; ``archive`` is the folder of closed months, if there is one."""

    def __init__(
        self, database: Database, loader: EvidenceLoader, amounts: Amounts, clock: Callable[[], datetime], archive: Path | None
    ) -> None:
        self._database = database
        self._loader = loader
        self._amounts = amounts
        self._clock = clock
        self._archive = archive

    # -- retention --------------------------------------------------------------------------------

    def retention(self, tenant_id: int) -> dict[str, int]:
        """Days by purpose."""
        with self._database.reading() as connection:
            return PURPOSES | mdm_rows.retention(connection, tenant_id)

    def set_retention(self, tenant_id: int, purpose: str, days: int) -> None:
        """Keep something longer or shorter. Raises InputError (``input.option``)"""
        if purpose not in PURPOSES or days < _FEWEST:
            raise InputError(f"what is kept is {', '.join(PURPOSES)}, for at least a day", code="input.option")
        with self._database.transaction() as connection:
            mdm_rows.put_retention(connection, tenant_id, purpose, days, self._clock())

    def enforce(self, tenant_id: int) -> Retained:
        """Close the months that are over, and end what was kept long enough. Raises InputError, TransportError"""
        now = self._clock()
        days = self.retention(tenant_id)
        raw_before = now - timedelta(days=days["raw"])
        readings_before = (now - timedelta(days=days["readings"])).timestamp()
        closed: list[str] = []
        if self._archive is not None:
            with self._database.reading() as connection:
                first = evidence_rows.first_reading(connection)
            month = None if first is None else datetime.fromtimestamp(first, UTC).date().replace(day=1)
            while month is not None and next_month(month) <= raw_before.date():
                closed.append(close_month(self._database, self._archive, month.year, month.month).month)
                month = next_month(month)
        names = {stay.device for place in self._loader.places(tenant_id) for stay in place.stays}
        with self._database.transaction() as connection:
            frames = privacy_rows.drop_frames(connection, names, 0.0, readings_before)
            frames += privacy_rows.spent_frames(connection, tenant_id, raw_before.timestamp())
        archived = 0 if self._archive is None else erase_from(self._archive, names, 0.0, readings_before)
        return Retained(tuple(closed), frames, archived)

    def drop_foreign(self, before: datetime) -> int:
        """Telegrams of foreign meters; returns how many. Raises TransportError"""
        until = before.timestamp()
        with self._database.reading() as connection:
            names = privacy_rows.foreign(connection)
        with self._database.transaction() as connection:
            return privacy_rows.drop_frames(connection, names, 0.0, until)

    # -- erasure ----------------------------------------------------------------------------------

    def erase(
        self, tenant_id: int, nodes: Collection[int], since: datetime, until: datetime, user_id: int | None = None
    ) -> Erased:
        """Everything about the units ``nodes`` from ``since`` until ``until``, and the name of the person, if one is given.

        Backups that were made before still have it. Raises InputError, TransportError
        """
        begin, end = since.timestamp(), until.timestamp()
        places = [place for place in self._loader.places(tenant_id) if place.node_id in nodes]
        stays = ((stay.device, *stay.within(begin, end)) for place in places for stay in place.stays)
        spans = [(name, first, last) for name, first, last in stays if last > first]
        kept = self._keep_totals(tenant_id, places, begin, end)
        with self._database.reading() as connection:
            numbers = evidence_rows.device_numbers(connection, {name for name, *_ in spans})
        frames = archived = alarms = 0
        with self._database.transaction() as connection:
            for total in kept:
                mdm_rows.keep_total(connection, total, self._clock())
            for name, first, last in spans:
                device = [numbers[name]] if name in numbers else []
                frames += privacy_rows.drop_frames(connection, [name], first, last)
                frames += privacy_rows.redact(connection, [name], *self._days(first, last))
                alarms += privacy_rows.drop_alarms(connection, device, first, last)
                privacy_rows.forget_jobs(connection, device, first, last)
            points = [place.point_id for place in places]
            versions = privacy_rows.drop_versions(connection, points, begin, end)
            privacy_rows.drop_findings(connection, points, begin, end)
            if user_id is not None:
                privacy_rows.forget_user(connection, user_id)
        if self._archive is not None:
            for name, first, last in spans:
                archived += erase_from(self._archive, [name], first, last, self._days(first, last))
        privacy_rows.compact(self._database)
        return Erased(frames, archived, alarms, versions, len(kept))

    def _days(self, begin: float, end: float) -> tuple[str, str]:
        """The days whose end lies within a time: values that meters stored for them tell of it, too. The end itself is the first
        value of whoever comes next."""
        first, last = (local_date(at, self._loader.zone) for at in (begin, end))
        return first.isoformat(), (last - timedelta(days=1)).isoformat()

    def _keep_totals(self, tenant_id: int, places: Sequence[Place], begin: float, end: float) -> list[KeptTotal]:
        """What the points consumed by building, medium and month: sums only, no single unit."""
        building = self._loader.buildings(tenant_id)
        wanted = {place.point_id for place in places}
        sums: dict[tuple[int, str, str, str], tuple[Decimal, int]] = {}
        for month, first, last in self._months(begin, end):
            for one in self._amounts.of(tenant_id, first, last, wanted=lambda place: place.point_id in wanted):
                if one.amount.value is None:
                    continue
                key = (building[one.place.node_id], one.place.medium, one.amount.unit, month)
                total, count = sums.get(key, (Decimal(0), 0))
                sums[key] = total + one.amount.value, count + 1
        return [KeptTotal(0, *key, str(total), count) for key, (total, count) in sums.items()]

    def _months(self, begin: float, end: float) -> list[tuple[str, float, float]]:
        """The months of a time, cut to it: name, begin, end; local time."""
        months = months_of(begin, end, self._loader.zone)
        return [(f"{day:%Y-%m}", max(begin, first), min(end, last)) for day, first, last in months]

    def totals(self, tenant_id: int, node_id: int, begin: datetime, end: datetime) -> dict[tuple[str, str], Decimal]:
        """What a building consumed in whole months, by medium and unit: of the units that are there, and of those erased."""
        building = self._loader.buildings(tenant_id)
        found: dict[tuple[str, str], Decimal] = {}

        def add(medium: str, unit: str, value: Decimal) -> None:
            found[medium, unit] = found.get((medium, unit), Decimal(0)) + value

        spans = self._months(begin.timestamp(), end.timestamp())
        for _, first, last in spans:
            for one in self._amounts.of(
                tenant_id, first, last, wanted=lambda place: building[place.node_id] == node_id and place.data.part != "main"
            ):
                # what was erased is in what was kept: here only what lies between values that are there
                add(one.place.medium, one.amount.unit, one.counted)
        months = {name for name, *_ in spans}
        with self._database.reading() as connection:
            for kept in mdm_rows.kept_totals.all(connection):
                if kept.node_id == node_id and kept.month in months:
                    add(kept.medium, kept.unit, Decimal(kept.amount))
        return found
