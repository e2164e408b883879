"""Reports of a tenant or of a place in it, as data: due dates, monthly information, consumption, findings, alarms, reception.

    due-dates     value of every register at the end of a day, how complete
    monthly       consumption of a month for each unit, against the month before, the same month a year before, and the average
                  user of its kind (HeizkostenV section 6a (1); Directive (EU) 2018/2002 Annex VIIa)
    consumption   of any time, with uncertainty and what the value rests on
    findings      of validation: gaps, exchanges, leaks and all others
    alarms        that were open in a time
    radio         how well each device is heard
    slots         the grid of quarters of an hour or hours, with status words (TAF 7)
    tariff        selections over that grid: ends of months, tariff zones, moments (TAF 1, 2, 6)

Energy is told in kWh; units of heat cost allocators become kWh by the factor of the device and the energy that a unit
stands for in the building, where that was agreed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from openmetering.mdm.consumption import Amount
from openmetering.mdm.due_dates import due_moment
from openmetering.mdm.estimation import share
from openmetering.mdm.local_time import midnight, next_month
from openmetering.mdm.quality import Quality
from openmetering.services.headend.model import moment
from openmetering.services.headend.problems import invalid
from openmetering.services.mdm.amounts import Amounts, PointAmount
from openmetering.services.mdm.due_list import Completeness, DueList
from openmetering.services.mdm.evidence import EvidenceLoader, Place
from openmetering.services.mdm.report import Cell, Column, Note, Plot, Report, columns, rounded
from openmetering.services.mdm.slot_reports import TariffRules, slot_table, tariff_table
from openmetering.services.mdm.slots import PointSlots, Slots
from openmetering.storage import evidence_rows, mdm_rows
from openmetering.storage.database import Database

__all__ = ["REPORTS", "Reports", "Scope", "in_kwh", "month_span"]

#: reports that can be asked for; those that need one day, one month, or a span
REPORTS: Final = {
    "due-dates": "day", "monthly": "month", "consumption": "span", "findings": "span", "alarms": "span", "radio": "span",
    "slots": "span", "tariff": "span",
}  # fmt: skip
_MOST_SLOTS: Final = 366 * 96 + 1
_HEATING: Final = "heat cost allocator"
_THOUSAND: Final = Decimal(1000)


class Scope(msgspec.Struct, frozen=True):
    """Whose report: a tenant, and of it only what lies in some nodes (None: all); ``name`` for the title."""

    tenant_id: int
    name: str
    nodes: frozenset[int] | None = None

    def wants(self, place: Place) -> bool:
        """True for points that belong to it."""
        return self.nodes is None or place.node_id in self.nodes


class _Line(msgspec.Struct, frozen=True):
    """An amount in the unit that people are told."""

    value: Decimal | None
    unit: str
    uncertainty: Decimal
    quality: Quality


def month_span(month: date, zone: ZoneInfo) -> tuple[float, float]:
    """Begin and end of the month of a day, local time, seconds UTC."""
    first = month.replace(day=1)
    return midnight(first, zone), midnight(next_month(first), zone)


def in_kwh(amount: Amount, place: Place, kwh_per_unit: Decimal | None) -> _Line:
    """Energy in kWh; volumes and what cannot be rated as they are."""
    value, unit, doubt = amount.value, amount.unit, amount.uncertainty
    factor = Decimal(1)
    if unit == "Wh":
        factor, unit = 1 / _THOUSAND, "kWh"
    elif place.medium == _HEATING and kwh_per_unit is not None:
        factor, unit = Decimal(place.data.factor or "1") * kwh_per_unit, "kWh"
    return _Line(None if value is None else value * factor, unit, doubt * factor, amount.quality)


class Reports:
    """Makes them for one database; who may have them is judged elsewhere."""

    def __init__(
        self,
        database: Database,
        loader: EvidenceLoader,
        due_list: DueList,
        amounts: Amounts,
        slots: Slots,
        tariff: TariffRules,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._loader = loader
        self._due_list = due_list
        self._amounts = amounts
        self._slots = slots
        self._tariff = tariff
        self._clock = clock

    def of_day(self, kind: str, scope: Scope, day: date) -> Report:
        """A report of a day (``due-dates``) or of the month of a day; see REPORTS."""
        return self.due_dates(scope, day) if kind == "due-dates" else self.monthly(scope, day)

    def of_span(self, kind: str, scope: Scope, since: datetime, until: datetime) -> Report:
        """A report of any time; see REPORTS."""
        makers = {
            "consumption": self.consumption, "findings": self.findings, "alarms": self.alarms, "radio": self.radio,
            "slots": self.slots, "tariff": self.tariff,
        }  # fmt: skip
        return makers[kind](scope, since, until)

    # -- due dates --------------------------------------------------------------------------------

    def due_dates(self, scope: Scope, day: date) -> Report:
        """Values at the end of a day."""
        lines = self._due_list.of(scope.tenant_id, day, wanted=scope.wants)
        names = self._names(scope.tenant_id)
        complete = Completeness.of(lines)
        at = due_moment(day, self._loader.zone)
        rows = tuple(
            (
                names.get(line.place.node_id, ""), line.place.name, line.place.medium, line.value.device, line.value.value,
                line.value.unit, rounded(2 * line.value.uncertainty), line.value.quality.value, line.value.source,
                line.value.reason,
            )
            for line in lines
        )  # fmt: skip
        notes = (
            Note("report.note.complete", {"share": f"{complete.share:.1%}", "points": str(complete.points)}),
            *(
                Note("report.note.quality", {"quality": quality.value, "count": str(count)})
                for quality, count in sorted(complete.by_quality.items(), key=lambda item: item[0].value)
            ),
        )
        shown = columns(
            "place", "point", ("medium", "term"), "device", ("value", "number"), "unit", ("plus-minus", "number"),
            ("quality", "quality"), "source", "reason",
        )  # fmt: skip
        return self._report("due-dates", scope, moment(at - 86_400), moment(at), shown, rows, notes)

    # -- consumption --------------------------------------------------------------------------------

    def consumption(self, scope: Scope, since: datetime, until: datetime) -> Report:
        """What was consumed in a time."""
        begin, end = since.timestamp(), until.timestamp()
        found = self._amounts.of(scope.tenant_id, begin, end, wanted=scope.wants)
        names, rates = self._names(scope.tenant_id), self._rates(scope.tenant_id)
        rows: list[tuple[Cell, ...]] = []
        for one in found:
            line = in_kwh(one.amount, one.place, rates.get(one.place.node_id))
            rows.append(
                (
                    names.get(one.place.node_id, ""), one.place.name, one.place.medium, rounded(line.value), line.unit,
                    rounded(2 * line.uncertainty), line.quality.value, _source(line.quality), one.amount.reason,
                )
            )  # fmt: skip
        shown = columns(
            "place", "point", ("medium", "term"), ("consumption", "number"), "unit", ("plus-minus", "number"),
            ("quality", "quality"), "source", "reason",
        )  # fmt: skip
        notes = self._share_note(found)
        return self._report("consumption", scope, since, until, shown, tuple(rows), notes)

    def _share_note(self, found: Sequence[PointAmount]) -> tuple[Note, ...]:
        """How much of the area is estimated (HeizkostenV section 9a (2))."""
        with self._database.reading() as connection:
            areas = mdm_rows.areas(connection)
        estimated: dict[int, bool] = {}
        for one in found:
            if areas.get(one.place.node_id) and one.place.data.part != "main":
                guess = one.amount.quality in (Quality.HISTORY, Quality.PEERS, Quality.AREA)
                estimated[one.place.node_id] = estimated.get(one.place.node_id, False) or guess
        if not estimated:
            return ()
        told = share((areas[number] or 0.0, guess) for number, guess in estimated.items())
        key = "report.note.share-exceeded" if told.exceeded else "report.note.share"
        return (Note(key, {"share": f"{told.part:.1%}"}),)

    # -- monthly information ------------------------------------------------------------------------

    def monthly(self, scope: Scope, month: date) -> Report:
        """Consumption of the month of a day, compared."""
        zone = self._loader.zone
        first = month.replace(day=1)
        before = (first - timedelta(days=1)).replace(day=1)
        year_before = first.replace(year=first.year - 1)
        spans = [month_span(one, zone) for one in (first, before, year_before)]
        every = [{one.place.point_id: one for one in self._amounts.of(scope.tenant_id, begin, end)} for begin, end in spans]
        names, rates = self._names(scope.tenant_id), self._rates(scope.tenant_id)
        with self._database.reading() as connection:
            areas = mdm_rows.areas(connection)
        average = self._averages(every[0].values(), rates, areas)
        rows: list[tuple[Cell, ...]] = []
        for number, one in every[0].items():
            place = one.place
            if not scope.wants(place) or place.data.part == "main":
                continue
            lines = [in_kwh(found[number].amount, place, rates.get(place.node_id)) for found in every]
            mean, area = average.get((place.medium, lines[0].unit)), areas.get(place.node_id)
            usual = None if mean is None or not area else mean * Decimal(str(area))
            rows.append(
                (
                    names.get(place.node_id, ""), place.name, place.medium, lines[0].unit,
                    *(rounded(line.value) for line in lines), rounded(usual), lines[0].quality.value,
                    _source(lines[0].quality), one.amount.reason,
                )
            )  # fmt: skip
        shown = columns(
            "place", "point", ("medium", "term"), "unit", ("month", "number"), ("month-before", "number"),
            ("year-before", "number"), ("average", "number"), ("quality", "quality"), "source", "reason",
        )  # fmt: skip
        plots = tuple(_plot(medium, unit, rows) for medium, unit in dict.fromkeys((str(row[2]), str(row[3])) for row in rows))
        begin, end = spans[0]
        return self._report("monthly", scope, moment(begin), moment(end), shown, tuple(rows), (), plots)

    def _averages(
        self, found: Iterable[PointAmount], rates: Mapping[int, Decimal], areas: Mapping[int, float | None]
    ) -> dict[tuple[str, str], Decimal]:
        """Mean consumption for each m2, by medium and unit."""
        sums: dict[tuple[str, str], list[Decimal]] = {}
        for one in found:
            area = areas.get(one.place.node_id)
            line = in_kwh(one.amount, one.place, rates.get(one.place.node_id))
            if area and line.value is not None and one.place.data.part != "main":
                total = sums.setdefault((one.place.medium, line.unit), [Decimal(0), Decimal(0)])
                total[0] += line.value
                total[1] += Decimal(str(area))
        return {key: total[0] / total[1] for key, total in sums.items()}

    # -- what went wrong ----------------------------------------------------------------------------

    def findings(self, scope: Scope, since: datetime, until: datetime, rules: Sequence[str] = ()) -> Report:
        """What validation found; of several runs each once."""
        places = {place.point_id: place for place in self._loader.places(scope.tenant_id) if scope.wants(place)}
        names = self._names(scope.tenant_id)
        with self._database.reading() as connection:
            wanted = tuple(rules) or None
            found = mdm_rows.findings_of(connection, list(places), wanted, since, until)
        seen = {(one.point_id, one.rule, one.since, one.until): one for one in found}
        rows = tuple(
            (
                names.get(places[one.point_id].node_id, ""), places[one.point_id].name, one.rule, one.severity, one.since,
                one.until, one.device, one.reason,
            )
            for one in sorted(seen.values(), key=lambda one: (one.since, one.point_id))
        )  # fmt: skip
        shown = columns("place", "point", "rule", "severity", ("since", "moment"), ("until", "moment"), "device", "reason")
        counts: dict[str, int] = {}
        for one in seen.values():
            counts[one.rule] = counts.get(one.rule, 0) + 1
        notes = tuple(Note("report.note.rule", {"rule": rule, "count": str(count)}) for rule, count in sorted(counts.items()))
        return self._report("findings", scope, since, until, shown, rows, notes)

    def alarms(self, scope: Scope, since: datetime, until: datetime) -> Report:
        """Alarms that were open in a time."""
        devices = self._devices(scope)
        with self._database.reading() as connection:
            found = evidence_rows.alarms_of(connection, list(devices), since.timestamp(), until.timestamp())
        rows = tuple(
            (
                devices[address][0],
                devices[address][1],
                address,
                kind,
                severity,
                moment(raised),
                None if cleared is None else moment(cleared),
                text,
            )
            for address, kind, severity, raised, cleared, text in found
        )
        shown = columns("place", "point", "device", "kind", "severity", ("since", "moment"), ("until", "moment"), "text")
        return self._report("alarms", scope, since, until, shown, rows)

    def radio(self, scope: Scope, since: datetime, until: datetime) -> Report:
        """Telegrams of each device, the best and the mean level, and by how many gateways it is heard."""
        devices = self._devices(scope)
        with self._database.reading() as connection:
            found = evidence_rows.reception_of(connection, list(devices), since.timestamp(), until.timestamp())
        rows = tuple(
            (
                devices[address][0], devices[address][1], address, Decimal(telegrams), Decimal(gateways),
                None if best is None else Decimal(str(round(best, 1))), None if mean is None else Decimal(str(round(mean, 1))),
                moment(last),
            )
            for address, telegrams, gateways, best, mean, last in found
        )  # fmt: skip
        shown = columns(
            "place", "point", "device", ("telegrams", "number"), ("gateways", "number"), ("best-level", "number"),
            ("mean-level", "number"), ("last-heard", "moment"),
        )  # fmt: skip
        return self._report("radio", scope, since, until, shown, rows)

    # -- the grid of a gateway ----------------------------------------------------------------------

    def slots(self, scope: Scope, since: datetime, until: datetime) -> Report:
        """The slots of every register that has some. Raises InputError (``access.invalid``) for more than a year of quarters"""
        begin, end = since.timestamp(), until.timestamp()
        places = sum(scope.wants(place) for place in self._loader.places(scope.tenant_id))
        found: list[PointSlots] = []
        count = 0
        for one in self._slots.of(scope.tenant_id, begin, end, wanted=scope.wants):
            found.append(one)
            count += len(one.slots)
            if count > _MOST_SLOTS:
                raise invalid(f"more than {_MOST_SLOTS} slots: ask for one place, or for a shorter time")
        return self._report("slots", scope, since, until, *slot_table(found, self._names(scope.tenant_id), places))

    def tariff(self, scope: Scope, since: datetime, until: datetime) -> Report:
        """Ends of months, tariff zones, and the register at the beginning and the end of the time."""
        begin, end = since.timestamp(), until.timestamp()
        found = self._slots.of(scope.tenant_id, begin, end, wanted=scope.wants)
        names, zone = self._names(scope.tenant_id), self._loader.zone
        return self._report("tariff", scope, since, until, *tariff_table(found, names, self._tariff, zone, begin, end))

    # -- names --------------------------------------------------------------------------------------

    def _devices(self, scope: Scope) -> dict[str, tuple[str, str]]:
        names = self._names(scope.tenant_id)
        return {
            stay.device: (names.get(place.node_id, ""), place.name)
            for place in self._loader.places(scope.tenant_id)
            if scope.wants(place)
            for stay in place.stays
        }

    def _names(self, tenant_id: int) -> dict[int, str]:
        with self._database.reading() as connection:
            return evidence_rows.node_names(connection, tenant_id)

    def _rates(self, tenant_id: int) -> dict[int, Decimal]:
        """Energy of a unit of heat cost allocators, by node: that of its building."""
        with self._database.reading() as connection:
            data = mdm_rows.node_data(connection)
        found = {}
        for node, building in self._loader.buildings(tenant_id).items():
            rate = next((data[one].kwh_per_unit for one in (node, building) if one in data and data[one].kwh_per_unit), None)
            if rate is not None:
                found[node] = Decimal(rate)
        return found

    def _report(
        self,
        kind: str,
        scope: Scope,
        since: datetime,
        until: datetime,
        columns: tuple[Column, ...],
        rows: tuple[tuple[Cell, ...], ...],
        notes: tuple[Note, ...] = (),
        plots: tuple[Plot, ...] = (),
    ) -> Report:
        return Report(kind, scope.name, since, until, self._clock(), columns, rows, notes, plots, self._loader.zone.key)


def _plot(medium: str, unit: str, rows: Sequence[tuple[Cell, ...]]) -> Plot:
    """The units of a medium beside each other, now and a year before."""
    mine = [row for row in rows if row[2] == medium and row[3] == unit]
    values = tuple(row[4] if isinstance(row[4], Decimal) else None for row in mine)
    before = tuple(row[6] if isinstance(row[6], Decimal) else None for row in mine)
    return Plot(medium, unit, tuple(str(row[0]) for row in mine), values, before if any(before) else ())


def _source(quality: Quality) -> str:
    """Who says so, in a word."""
    if quality.estimated:
        return "estimate" if quality is not Quality.INTERPOLATED else "interpolation"
    return {Quality.EDITED: "person", Quality.MISSING: ""}.get(quality, "meter")
