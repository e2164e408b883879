"""Validation of the values of a tenant: evidence of every point, findings, and versions of the values that do not count.

    run = Validation(database, loader, clock).run(tenant_id, since, until)      one pass; findings and versions are stored with it

Points are checked building by building, as peers and main meters are found there: peers are points of the same medium in
the same building. A value that a failing rule is about becomes a version with the quality INVALID beside the raw one; a second
run over the same time adds nothing that is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from openmetering.mdm.evidence import Balance, Evidence, Stay
from openmetering.mdm.findings import Finding, Version
from openmetering.mdm.quality import Quality
from openmetering.mdm.series import Series
from openmetering.mdm.validation import Rules, load_rules, validate, validate_balance
from openmetering.services.mdm.evidence import EvidenceLoader, Place, spread
from openmetering.services.mdm.registers import is_billed
from openmetering.services.mdm.strangers import Stranger, suspects
from openmetering.storage import evidence_rows, mdm_rows
from openmetering.storage.database import Database
from openmetering.storage.mdm_rows import FindingRow, ValidationRun
from openmetering.storage.model import moment
from openmetering.storage.parts import parts

__all__ = ["Checked", "Validation"]

_PEERS: Final = 8  #: comparable registers that a point is held against
_LARGEST: Final = 600  #: points of a building that are in memory at once


class Checked(msgspec.Struct, frozen=True):
    """What a run found, before it is stored."""

    places: Mapping[int, Place]
    findings: tuple[Finding, ...]
    values: int


class Validation:
    """Runs of validation; ``rules`` None: ours."""

    def __init__(
        self, database: Database, loader: EvidenceLoader, clock: Callable[[], datetime], rules: Rules | None = None
    ) -> None:
        self._database = database
        self._loader = loader
        self._clock = clock
        self.rules = rules or load_rules()

    def run(
        self,
        tenant_id: int,
        since: datetime,
        until: datetime,
        author: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> ValidationRun:
        """Check everything that a tenant has; what is found is stored. Raises TransportError"""
        checked = self.check(tenant_id, since.timestamp(), until.timestamp(), progress)
        now = self._clock()
        with self._database.transaction() as connection:
            run = ValidationRun(
                0, tenant_id, since, until, author, len(checked.places), checked.values, len(checked.findings), now
            )
            run = mdm_rows.runs.add(connection, run, now)
            mdm_rows.add_findings(connection, (_row(run.id, one) for one in checked.findings), now)
            known = mdm_rows.newest_versions(connection, checked.places, since.timestamp(), until.timestamp())
            mdm_rows.add_versions(connection, list(_invalid(checked, known, now.timestamp())))
        return run

    def check(self, tenant_id: int, since: float, until: float, progress: Callable[[float], None] | None = None) -> Checked:
        """What the rules find, without storing it."""
        places = [place for place in self._loader.places(tenant_id) if is_billed(place.medium)]
        groups = self._groups(places, tenant_id)
        found: list[Finding] = []
        values = done = 0
        for group in groups:
            evidence = list(self._loader.load(group, since, until))
            values += sum(len(series.samples) for one in evidence for series in one.registers)
            found += self._judge(group, evidence, since, until)
            done += len(group)
            if progress is not None and places:
                progress(done / len(places))
        found.sort(key=lambda one: (int(one.point), one.begin, one.rule))
        return Checked({place.point_id: place for place in places}, tuple(found), values)

    def _judge(self, places: Sequence[Place], evidence: Sequence[Evidence], since: float, until: float) -> Iterator[Finding]:
        by_medium: dict[str, list[tuple[str, Series]]] = {}
        for place, one in zip(places, evidence, strict=True):
            if place.data.part != "main" and one.registers:
                longest = max(one.registers, key=lambda series: len(series.samples))
                by_medium.setdefault(place.medium, []).append((one.point, longest))
        for place, one in zip(places, evidence, strict=True):
            peers = [series for point, series in by_medium.get(place.medium, ()) if point != one.point]
            yield from validate(msgspec.structs.replace(one, peers=tuple(spread(peers, _PEERS))), self.rules)
        yield from self._balances(places, evidence, since, until)
        yield from self._unregistered(places, evidence, since, until)

    def _balances(self, places: Sequence[Place], evidence: Sequence[Evidence], since: float, until: float) -> Iterator[Finding]:
        for place, main in zip(places, evidence, strict=True):
            if place.data.part != "main" or not main.registers:
                continue
            parts = tuple(
                one.registers
                for other, one in zip(places, evidence, strict=True)
                if other.data.part == "sub" and other.medium == place.medium and one.registers
            )
            begin = max(since, main.registers[0].samples[0].at)
            end = min(until, main.registers[-1].samples[-1].at)
            if len(parts) > 1 and end > begin:
                yield from validate_balance(Balance(main.point, begin, end, main.registers, parts), self.rules, place.medium)

    def _unregistered(
        self, places: Sequence[Place], evidence: Sequence[Evidence], since: float, until: float
    ) -> Iterator[Finding]:
        rules = {place.point_id: self.rules.of(place.medium, place.data.size).get("address") for place in places}
        silent = [
            (place, one)
            for place, one in zip(places, evidence, strict=True)
            if rules[place.point_id] is not None and _open_stay(place.stays) is not None
        ]
        if not silent:
            return
        with self._database.reading() as connection:
            strangers = [Stranger(*row) for row in evidence_rows.strangers(connection, since, until)]
        for place, one in silent:
            rule = rules[place.point_id]
            stay = _open_stay(place.stays)
            last = max((heard.at for heard in one.heard), default=None)
            if rule is not None and stay is not None and last is not None:
                yield from suspects(rule, one.point, stay.device, place.medium, last, until, strangers)

    def _groups(self, places: Sequence[Place], tenant_id: int) -> list[Sequence[Place]]:
        """Points by building; those of a large one in parts."""
        building = self._loader.buildings(tenant_id)
        groups: dict[int, list[Place]] = {}
        for place in places:
            groups.setdefault(building[place.node_id], []).append(place)
        return [part for group in groups.values() for part in parts(group, _LARGEST)]


def _open_stay(stays: Sequence[Stay]) -> Stay | None:
    return stays[-1] if stays and stays[-1].end is None else None


def _row(run_id: int, one: Finding) -> FindingRow:
    samples = msgspec.json.encode(one.samples).decode()
    return FindingRow(
        0, run_id, int(one.point), one.rule, one.severity, one.device, moment(one.begin), moment(one.end), one.reason, samples
    )


def _invalid(checked: Checked, known: Mapping[int, Sequence[Version]], now: float) -> Iterator[tuple[int, Version]]:
    """Versions of values that do not count, without those that are there already or that a person has decided."""
    seen = {(point, version.at): version.quality for point, versions in known.items() for version in versions}
    for one in checked.findings:
        if one.severity != "fail":
            continue
        point = int(one.point)
        unit = checked.places[point].data.unit or ""
        for at in one.samples:
            if seen.get((point, at)) in (Quality.INVALID, Quality.EDITED):
                continue
            seen[point, at] = Quality.INVALID
            yield (
                point,
                Version(one.point, at, 0, None, unit, Quality.INVALID, mdm_rows.ZERO, one.rule, one.reason, "openmetering", now),
            )
