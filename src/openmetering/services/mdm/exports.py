"""Values of points as records for other programs: single, or summed up by hours, days or months; with names or pseudonyms.

    point  place  device  medium  quantity  unit  obis  at  value  quality  source

Every record carries quality and source. With ``every`` the records are consumptions of whole slots of local time: people are
told apart less by them. Pseudonyms stand for point, place and device; the same ones as long as the master key is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, get_args

import msgspec

from openmetering.mdm.findings import Version
from openmetering.mdm.local_time import local_date, midnight, next_day, next_month
from openmetering.mdm.quality import Quality
from openmetering.mdm.series import Series
from openmetering.mdm.versions import newest
from openmetering.services.headend.model import moment
from openmetering.services.mdm.amounts import billed_unit, point_advance
from openmetering.services.mdm.evidence import EvidenceLoader, Place
from openmetering.storage import evidence_rows, mdm_rows
from openmetering.storage.database import Database
from openmetering.storage.parts import parts

__all__ = ["COLUMNS", "EVERY", "Every", "Exports", "Record"]

Every = Literal["value", "hour", "day", "month"]
EVERY: Final[tuple[Every, ...]] = get_args(Every)
_PART: Final = 100
_DAY: Final = 86_400.0


class Record(msgspec.Struct, frozen=True):
    """One value of a register, or with ``every`` what was consumed in the slot that begins ``at``."""

    point: str
    place: str
    device: str
    medium: str
    quantity: str
    unit: str
    obis: str
    at: datetime
    value: Decimal | None
    quality: str
    source: str


COLUMNS: Final = Record.__struct_fields__


class Exports:
    """Records of one database; ``pseudonym`` makes a name of a name."""

    def __init__(self, database: Database, loader: EvidenceLoader, pseudonym: Callable[[str], str]) -> None:
        self._database = database
        self._loader = loader
        self._pseudonym = pseudonym

    def records(
        self,
        tenant_id: int,
        since: datetime,
        until: datetime,
        *,
        every: Every = "value",
        pseudonymous: bool = False,
        wanted: Callable[[Place], bool] = lambda _: True,
    ) -> Iterator[Record]:
        """The records of a tenant, by point and time. Raises TransportError"""
        begin, end = since.timestamp(), until.timestamp()
        places = [place for place in self._loader.places(tenant_id) if wanted(place)]
        with self._database.reading() as connection:
            names = evidence_rows.node_names(connection, tenant_id)
        around = 0.0 if every == "value" else 2 * _DAY
        slots = [] if every == "value" else list(self._slots(begin, end, every))
        for part in parts(places, _PART):
            with self._database.reading() as connection:
                versions = mdm_rows.newest_versions(connection, [place.point_id for place in part], begin - around, end + around)
            for place, registers in zip(part, self._loader.values(part, begin - around, end + around), strict=True):
                decided = versions.get(place.point_id, ())
                name = names.get(place.node_id, "")
                made = (
                    self._single(place, name, registers, decided)
                    if every == "value"
                    else self._summed(place, name, registers, decided, slots)
                )
                yield from (self._hidden(one) if pseudonymous else one for one in made)

    def _single(self, place: Place, name: str, registers: Sequence[Series], versions: Sequence[Version]) -> Iterator[Record]:
        counting = newest(versions)
        for series in registers:
            what = series.register
            for sample in series.samples:
                decided = counting.get(sample.at)
                value: Decimal | None = series.value(sample)
                quality, source = sample.quality, "meter"
                if decided is not None:
                    value, quality, source = decided.value, decided.quality, decided.by
                    if quality is Quality.INVALID:
                        value, source = series.value(sample), decided.rule
                yield Record(
                    place.name, name, what.device, what.medium, what.quantity, what.unit, what.obis or "", moment(sample.at),
                    value, quality.value, source,
                )  # fmt: skip

    def _summed(
        self,
        place: Place,
        name: str,
        registers: Sequence[Series],
        versions: Sequence[Version],
        slots: Sequence[tuple[float, float]],
    ) -> Iterator[Record]:
        unit = billed_unit(place, registers)
        advance = point_advance(place, registers, versions)
        what = next((one.register for one in reversed(registers) if one.register.unit == unit), None)
        for begin, end in slots:
            amount = advance.amount(begin, end, edge=_DAY)
            source = "interpolation" if amount.quality is Quality.INTERPOLATED else "meter"
            yield Record(
                place.name, name, "" if what is None else what.device, place.medium, "" if what is None else what.quantity, unit,
                "" if what is None else what.obis or "", moment(begin), amount.value, amount.quality.value,
                source if amount.value is not None else "",
            )  # fmt: skip

    def _slots(self, begin: float, end: float, every: Every) -> Iterator[tuple[float, float]]:
        """Whole slots of local time."""
        zone = self._loader.zone
        if every == "hour":
            at = begin + (-begin) % 3600.0
            while at + 3600.0 <= end:
                yield at, at + 3600.0
                at += 3600.0
            return
        day = local_date(begin, zone)
        day, following = (day.replace(day=1), next_month) if every == "month" else (day, next_day)
        while (first := midnight(day, zone)) < end:
            day = following(day)
            if first >= begin and (last := midnight(day, zone)) <= end:
                yield first, last

    def _hidden(self, one: Record) -> Record:
        hide = self._pseudonym
        return msgspec.structs.replace(
            one,
            point=hide(f"point {one.place} {one.point}"),
            place=hide(f"place {one.place}"),
            device=hide(f"device {one.device}"),
        )
