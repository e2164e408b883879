"""The due-date list (German: Stichtagsliste): the value of every register of a tenant at the end of a day.

What the meter stored for the day counts first; so only the values around the day and what was stored and read soon after it
are loaded: some rows for each meter, from database and closed months alike. Points without any are looked at again over a
longer time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from openmetering.mdm.due_dates import DueRules, DueValue, due_moment, due_value
from openmetering.mdm.evidence import Stored
from openmetering.mdm.findings import Version
from openmetering.mdm.quality import Quality
from openmetering.mdm.series import Series
from openmetering.mdm.versions import overlaid
from openmetering.services.mdm.evidence import EvidenceLoader, Place, series_of, stored_moment
from openmetering.services.mdm.registers import TAGS, Billed, billed, is_billed, register
from openmetering.storage import evidence_rows, mdm_rows
from openmetering.storage.database import Database
from openmetering.storage.evidence_rows import SampleRow
from openmetering.storage.parts import parts

__all__ = ["DueLine", "DueList", "Completeness"]

_DAY: Final = 86_400.0
_NEAR: Final = 2 * _DAY
_WIDE: Final = 32 * _DAY
_PART: Final = 2000


class DueLine(msgspec.Struct, frozen=True):
    """A point with the value of its register."""

    place: Place
    value: DueValue


class Completeness(msgspec.Struct, frozen=True):
    """How complete a list is: points, and how many have a value of each quality."""

    points: int
    by_quality: Mapping[Quality, int]

    @classmethod
    def of(cls, lines: Iterable[DueLine]) -> Completeness:
        """Count them."""
        counts: dict[Quality, int] = {}
        for line in lines:
            counts[line.value.quality] = counts.get(line.value.quality, 0) + 1
        return cls(sum(counts.values()), counts)

    @property
    def share(self) -> float:
        """Points with a value that may be billed, 0 to 1."""
        good = sum(count for quality, count in self.by_quality.items() if quality.billable)
        return good / self.points if self.points else 1.0


class DueList:
    """Lists of one database."""

    def __init__(self, database: Database, loader: EvidenceLoader, rules: DueRules | None = None) -> None:
        self._database = database
        self._loader = loader
        self._rules = rules or DueRules()

    def of(
        self,
        tenant_id: int,
        day: date,
        *,
        wanted: Callable[[Place], bool] = lambda _: True,
        progress: Callable[[float], None] | None = None,
    ) -> list[DueLine]:
        """The values at the end of ``day``, by point. Raises TransportError"""
        zone = self._loader.zone
        moment = due_moment(day, zone)
        places = [place for place in self._loader.places(tenant_id) if is_billed(place.medium) and wanted(place)]
        found: list[DueLine] = []
        for part in parts(places, _PART):
            lines = self._lines(part, moment, _NEAR, zone)
            again = [line.place for line in lines if line.value.quality is Quality.MISSING]
            wide = {line.place.point_id: line for line in self._lines(again, moment, _WIDE, zone)} if again else {}
            found += (wide.get(line.place.point_id, line) for line in lines)
            if progress is not None:
                progress(len(found) / len(places))
        return found

    def _lines(self, places: Sequence[Place], moment: float, around: float, zone: ZoneInfo) -> list[DueLine]:
        names = {stay.device for place in places for stay in place.stays}
        with self._database.reading() as connection:
            billed_ones = billed(evidence_rows.registers_of(connection, names, TAGS))
            wanted = [row.series_id for item in billed_ones.values() for row in item.rows]
            wanted += [row.series_id for item in billed_ones.values() for _, row in item.stored]
            samples = self._loader.samples(connection, wanted, moment - around, moment + around)
            versions = mdm_rows.newest_versions(
                connection, [place.point_id for place in places], moment - around, moment + around
            )
        return [
            DueLine(place, self._value(place, moment, around, billed_ones, samples, versions.get(place.point_id, ()), zone))
            for place in places
        ]

    def _value(
        self,
        place: Place,
        moment: float,
        around: float,
        found: Mapping[str, Billed],
        samples: Mapping[int, Sequence[SampleRow]],
        decided: Sequence[Version],
        zone: ZoneInfo,
    ) -> DueValue:
        registers: list[Series] = []
        stored: list[Stored] = []
        for stay in place.stays:
            item = found.get(stay.device)
            if item is None or stay.begin > moment + around or (stay.end is not None and stay.end < moment - around):
                continue
            begin, end = stay.begin, float("inf") if stay.end is None else stay.end
            for row in item.rows:
                inside = [one for one in samples.get(row.series_id, ()) if begin <= one.received_at < end]
                if inside:
                    registers.append(overlaid(series_of(register(row), inside), decided))
            for kind, row in item.stored:
                for one in samples.get(row.series_id, ()):
                    if one.time is not None and stored_moment(one.time, zone) == moment and begin <= one.received_at < end:
                        stored.append(Stored(kind, row.address, moment, one.mantissa, one.exponent, one.received_at))
                        break
        wrong = {one.at for one in decided if one.quality is Quality.INVALID}
        stored = [] if moment in wrong else stored
        return due_value(str(place.point_id), moment, registers, stored, place.stays, decided, None, self._rules)
