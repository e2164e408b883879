"""The guarded head-end: validation, versions, reports, exports, retention, erasure and subject access."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from openmetering.errors import InputError, NotRepresentable
from openmetering.mdm.findings import Version
from openmetering.mdm.local_time import next_month
from openmetering.services.headend.access import Guard, needs
from openmetering.services.headend.model import Page, holds
from openmetering.services.headend.problems import denied, invalid, unknown
from openmetering.services.headend.rights import Scope as Rights
from openmetering.services.mdm.exchange import ExchangeFile, Partners
from openmetering.services.mdm.exports import Every, Record
from openmetering.services.mdm.privacy import Erased
from openmetering.services.mdm.report import Report
from openmetering.services.mdm.reports import REPORTS, Scope
from openmetering.services.mdm.subject import SubjectFile, subject_file
from openmetering.storage.mdm_rows import FindingRow, NodeData, PointData, Schedule, ValidationRun

__all__ = ["CHANNELS", "Billing", "next_due"]

#: how a report may be delivered
CHANNELS: Final = ("mail", "webhook")
_FORMATS: Final = ("pdf", "csv", "jsonl")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9]{1,35}", re.ASCII)
_UNIT: Final = re.compile(r"[0-9]{13}", re.ASCII)
_MONTH: Final = 31
_LAST_DAY: Final = 28  #: of a month, on which a report may be due


class Billing(Guard):
    """From readings to the bill."""

    # -- validation -------------------------------------------------------------------------------

    @needs("write", "validation")
    def validate(self, scope: Rights, since: datetime, until: datetime, tenant_id: int | None = None) -> ValidationRun:
        """Check the values of a tenant in a time. Raises InputError (``access.unknown``, ``access.invalid``)"""
        _check_span(since, until)
        tenant = self.tenant_of(scope, tenant_id)
        run = self._head.mdm.validation.run(tenant, since, until, self.user.id)
        self.note("validate", f"tenant {tenant}", f"run {run.id}, {run.findings} findings")
        return run

    @needs("read", "validation")
    def validation_runs(self, scope: Rights, before: int | None = None, limit: int = 50) -> Page[ValidationRun]:
        """Runs of validation, the newest first."""
        return self._head.mdm.runs(self.tenant_filter(scope), before, limit)

    @needs("read", "validation", personal=True)
    def findings(
        self,
        scope: Rights,
        run_id: int | None = None,
        point_id: int | None = None,
        rule: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page[FindingRow]:
        """Findings of a run or of a point, the newest first; one of both must be named."""
        if run_id is None and point_id is None:
            raise invalid("name a run or a point")
        if run_id is not None:
            run = self._head.mdm.find_run(run_id)
            if run is None or not scope.covers(run.tenant_id):
                raise unknown("run", run_id)
        if point_id is not None:
            self._seen_point(scope, point_id)
        self.note("read findings", f"point {point_id}" if run_id is None else f"run {run_id}", personal=True)
        return self._head.mdm.findings(run_id, point_id, rule, before, limit)

    @needs("read", "validation", personal=True)
    def versions(self, scope: Rights, point_id: int, since: datetime, until: datetime) -> tuple[Version, ...]:
        """What rules and people decided about the values of a point."""
        _check_span(since, until)
        self._seen_point(scope, point_id)
        self.note("read versions", f"point {point_id}", personal=True)
        return tuple(self._head.mdm.versions(point_id, since, until))

    @needs("write", "validation")
    def edit_value(self, scope: Rights, point_id: int, at: datetime, value: Decimal, reason: str) -> Version:
        """Enter a value in the unit that was agreed for the point; the raw one stays. Raises InputError (``access.invalid``)"""
        self._seen_point(scope, point_id)
        data = self._head.mdm.point_data(point_id)
        with self._head.writing():
            try:
                made = self._head.mdm.edit(point_id, at, value, data.unit or "", reason, f"user {self.user.id}")
            except InputError as error:
                raise invalid(error.message) from None
            self.note("edit value", f"point {point_id}", f"{at.isoformat()}: {reason}", personal=True)
        return made

    # -- what is agreed ---------------------------------------------------------------------------

    @needs("read", "nodes")
    def point_data(self, scope: Rights, point_id: int) -> PointData:
        """What is agreed about a metering point."""
        self._seen_point(scope, point_id)
        return self._head.mdm.point_data(point_id)

    @needs("write", "nodes")
    def set_point_data(self, scope: Rights, data: PointData) -> PointData:
        """Agree on something else about a metering point. Raises InputError (``access.invalid``)"""
        self._seen_point(scope, data.point_id)
        for name in ("maximum", "factor"):
            _check_number(name, getattr(data, name))
        if data.part not in ("", "main", "sub"):
            raise invalid("a meter is main, sub or neither")
        if data.grid is not None and not 60 <= data.grid <= 366 * 86_400:
            raise invalid("a grid is between a minute and a year")
        if data.identifier and not _IDENTIFIER.fullmatch(data.identifier):
            raise invalid("the identifier of a point is that of a metering or market location: letters and digits, at most 35")
        with self._head.writing():
            made = self._head.mdm.put_point_data(data)
            self.note(
                "set agreed", f"point {data.point_id}", f"{data.size} {data.maximum or ''} {data.unit or ''} {data.part}".strip()
            )
        return made

    @needs("read", "nodes")
    def node_data(self, scope: Rights, node_id: int) -> NodeData:
        """What is agreed about a place."""
        self.seen_node(scope, node_id)
        return self._head.mdm.node_data(node_id)

    @needs("write", "nodes")
    def set_node_data(self, scope: Rights, data: NodeData) -> NodeData:
        """Agree on something else about a place. Raises InputError (``access.invalid``)"""
        self.seen_node(scope, data.node_id)
        _check_number("kwh_per_unit", data.kwh_per_unit)
        if data.area is not None and not 0 < data.area <= 1_000_000:
            raise invalid("an area is more than 0 and at most 1000000 m2")
        if data.identifier and not _UNIT.fullmatch(data.identifier):
            raise invalid("the identifier of a place has 13 digits: nine of the property, four of the unit")
        with self._head.writing():
            made = self._head.mdm.put_node_data(data)
            self.note("set agreed", f"node {data.node_id}", f"{data.area or ''} {data.usage}".strip())
        return made

    # -- reports ----------------------------------------------------------------------------------

    @needs("read", "reports", personal=True)
    def report(
        self,
        scope: Rights,
        kind: str,
        node_id: int | None = None,
        day: date | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tenant_id: int | None = None,
    ) -> Report:
        """A report of a tenant or of a place with all below it. ``day``: the due date, or any day of the month.

        A consumer has the monthly information of the own units, from the month in which the own time began.
        Raises InputError (``access.unknown``, ``access.invalid``)
        """
        if kind not in REPORTS:
            raise invalid(f"reports are {', '.join(REPORTS)}")
        whose = self._scope_of(scope, node_id, tenant_id, kind, day)
        self.note("read report", f"tenant {whose.tenant_id}", f"{kind} {whose.name}", personal=True)
        reports = self._head.mdm.reports
        if REPORTS[kind] == "span":
            if since is None or until is None:
                raise invalid(f"the report {kind} needs since and until")
            _check_span(since, until)
            return reports.of_span(kind, whose, since, until)
        if day is None or not 1980 <= day.year <= 2100:
            raise invalid(f"the report {kind} needs a day between 1980 and 2100")
        return reports.of_day(kind, whose, day)

    def _scope_of(self, scope: Rights, node_id: int | None, tenant_id: int | None, kind: str, day: date | None) -> Scope:
        registry = self._head.registry
        if scope.kind == "own":
            if kind != "monthly" or day is None:
                raise denied("read", f"reports:{kind}")
            month = datetime(day.year, day.month, 1, tzinfo=self._head.mdm.loader.zone)
            mine = [one for one in registry.occupancies(user_id=scope.user_id) if holds(one, month)]
            nodes = registry.nodes_below(one.node_id for one in mine)
            if not mine or (node_id is not None and node_id not in nodes):
                raise unknown("place", node_id or "")
            first = registry.find_node(mine[0].node_id if node_id is None else node_id)
            assert first is not None
            return Scope(first.tenant_id, first.name, nodes if node_id is None else registry.nodes_below([node_id]))
        if node_id is None:
            tenant = self.tenant_of(scope, tenant_id)
            name = next(one.name for one in registry.tenants() if one.id == tenant)
            return Scope(tenant, name)
        node = self.seen_node(scope, node_id)
        return Scope(node.tenant_id, node.name, registry.nodes_below([node_id]))

    @needs("read", "exports", personal=True)
    def export_values(
        self,
        scope: Rights,
        since: datetime,
        until: datetime,
        every: Every = "value",
        pseudonymous: bool = False,
        tenant_id: int | None = None,
        node_id: int | None = None,
    ) -> Iterator[Record]:
        """The values of a tenant or of a place as records. Raises InputError (``access.unknown``, ``access.invalid``)"""
        _check_span(since, until)
        whose = self._exported(scope, node_id, tenant_id, f"by {every}{' under pseudonyms' * pseudonymous}")
        records = self._head.mdm.exports.records
        return records(whose.tenant_id, since, until, every=every, pseudonymous=pseudonymous, wanted=whose.wants)

    @needs("read", "exports", personal=True)
    def export_due_dates(
        self, scope: Rights, day: date, partners: Partners, node_id: int | None = None, tenant_id: int | None = None
    ) -> ExchangeFile:
        """MSCONS: the readings at the end of a day. Raises InputError (``access.unknown``, ``access.invalid``)"""
        whose = self._exported(scope, node_id, tenant_id, f"readings of {day} to {partners.recipient}")
        return _written(lambda: self._head.mdm.exchange.due_dates(whose.tenant_id, day, partners, wanted=whose.wants))

    @needs("read", "exports", personal=True)
    def export_slots(
        self,
        scope: Rights,
        since: datetime,
        until: datetime,
        partners: Partners,
        node_id: int | None = None,
        tenant_id: int | None = None,
    ) -> ExchangeFile:
        """MSCONS: the register slots of a time. Raises InputError (``access.unknown``, ``access.invalid``)"""
        _check_span(since, until)
        if (until - since).days > _MONTH:
            raise invalid("slots go out by months: ask for no more than 31 days")
        whose = self._exported(scope, node_id, tenant_id, f"slots to {partners.recipient}")
        return _written(lambda: self._head.mdm.exchange.series(whose.tenant_id, since, until, partners, wanted=whose.wants))

    @needs("read", "exports", personal=True)
    def export_results(
        self,
        scope: Rights,
        since: datetime,
        until: datetime,
        customer: str,
        company: str = "",
        node_id: int | None = None,
        tenant_id: int | None = None,
    ) -> ExchangeFile:
        """bved: the consumption of units. Raises InputError (``access.unknown``, ``access.invalid``)"""
        _check_span(since, until)
        whose = self._exported(scope, node_id, tenant_id, f"consumption to customer {customer}")
        results = self._head.mdm.exchange.results
        return _written(lambda: results(whose.tenant_id, since, until, customer, company, wanted=whose.wants))

    def _exported(self, scope: Rights, node_id: int | None, tenant_id: int | None, what: str) -> Scope:
        whose = self._scope_of(scope, node_id, tenant_id, "consumption", None)
        self.note("export values", f"tenant {whose.tenant_id}", f"{what}: {whose.name}", personal=True)
        return whose

    # -- reports that go out by themselves ----------------------------------------------------------

    @needs("read", "schedules")
    def report_schedules(self, scope: Rights) -> tuple[Schedule, ...]:
        """Reports that go out by themselves."""
        return tuple(self._head.mdm.schedules(self.tenant_filter(scope)))

    @needs("write", "schedules")
    def add_report_schedule(
        self,
        scope: Rights,
        report: str,
        format: str,
        day: int,
        channel: str,
        target: str,
        node_id: int | None = None,
        locale: str = "en",
        tenant_id: int | None = None,
    ) -> Schedule:
        """Send a report on a day of each month. Raises InputError (``access.unknown``, ``access.invalid``)"""
        if report not in REPORTS or format not in _FORMATS or channel not in CHANNELS:
            raise invalid(f"reports are {', '.join(REPORTS)}; formats {', '.join(_FORMATS)}; channels {', '.join(CHANNELS)}")
        if not 1 <= day <= _LAST_DAY:
            raise invalid(f"a day of the month is 1 to {_LAST_DAY}")
        good = target.startswith(("https://", "http://")) if channel == "webhook" else "@" in target[1:-1] and " " not in target
        if not good or not target.isprintable():
            raise invalid("the target is a mail address, or an address that begins with https://")
        tenant = self.tenant_of(scope, tenant_id) if node_id is None else self.seen_node(scope, node_id).tenant_id
        next_at = next_due(self._head.now(), day)
        item = Schedule(0, tenant, node_id, report, format, day, channel, target, locale, next_at)
        with self._head.writing():
            made = self._head.mdm.add_schedule(item)
            self.note("schedule report", f"schedule {made.id}", f"{report} on day {day} by {channel}")
        return made

    @needs("write", "schedules")
    def remove_report_schedule(self, scope: Rights, schedule_id: int) -> None:
        """No longer send it. Raises InputError (``access.unknown``)"""
        found = self._head.mdm.find_schedule(schedule_id)
        if found is None or not scope.covers(found.tenant_id):
            raise unknown("schedule", schedule_id)
        with self._head.writing():
            self._head.mdm.remove_schedule(schedule_id)
            self.note("remove schedule", f"schedule {schedule_id}", found.report)

    # -- privacy ----------------------------------------------------------------------------------

    @needs("read", "privacy")
    def retention(self, scope: Rights, tenant_id: int | None = None) -> dict[str, int]:
        """How many days what is kept."""
        return self._head.mdm.privacy.retention(self.tenant_of(scope, tenant_id))

    @needs("write", "privacy")
    def set_retention(self, scope: Rights, purpose: str, days: int, tenant_id: int | None = None) -> dict[str, int]:
        """Keep something longer or shorter. Raises InputError (``access.invalid``)"""
        tenant = self.tenant_of(scope, tenant_id)
        with self._head.writing():
            try:
                self._head.mdm.privacy.set_retention(tenant, purpose, days)
            except InputError as error:
                raise invalid(error.message) from None
            self.note("set retention", f"tenant {tenant}", f"{purpose} {days} days")
        return self._head.mdm.privacy.retention(tenant)

    @needs("write", "privacy")
    def erase(self, scope: Rights, node_id: int, since: datetime, until: datetime, user_id: int | None = None) -> Erased:
        """Erase what is known of a unit in a time and, with ``user_id``, who lived there. It cannot be taken back.

        Raises InputError (``access.unknown``, ``access.invalid``, ``access.conflict``)
        """
        _check_span(since, until)
        node = self.seen_node(scope, node_id)
        if user_id is not None:
            places = {one.node_id for one in self._head.registry.occupancies(user_id=user_id)}
            if not places & self._head.registry.nodes_below([node_id]):
                raise unknown("user", user_id)
        nodes = self._head.registry.nodes_below([node_id])
        self.note("erase", f"node {node_id}", f"{since.isoformat()}..{until.isoformat()}", personal=True)
        found = self._head.mdm.privacy.erase(node.tenant_id, nodes, since, until, user_id)
        self._head.registry.forget()
        self._head.registry.forget_windows()
        self._head.alarms.reload()
        return found

    @needs("read", "subjects", personal=True)
    def subject_access(self, scope: Rights, user_id: int) -> SubjectFile:
        """Everything that is known of a consumer, as one file. Raises InputError (``access.unknown``)"""
        found = self._head.accounts.find(user_id)
        if found is None or found.role != "consumer" or (scope.kind == "own" and user_id != scope.user_id):
            raise unknown("user", user_id)
        if scope.kind != "own" and not scope.covers(found.tenant_id):
            raise unknown("user", user_id)
        self.note("subject access", f"user {user_id}", personal=True)
        return subject_file(self._head, found)

    @property
    def zone(self) -> ZoneInfo:
        """The local time in which days, months and due dates begin."""
        return self._head.mdm.loader.zone

    def point_names(self, numbers: Collection[int]) -> dict[int, str]:
        """The names of points of findings that were told."""
        found = {number: self._head.registry.find_point(number) for number in numbers}
        return {number: point.name for number, point in found.items() if point is not None}


def next_due(now: datetime, day: int) -> datetime:
    """The next time that a day of the month begins (UTC, four in the morning: then values of midnight are there)."""
    at = now.replace(day=day, hour=4, minute=0, second=0, microsecond=0)
    if at > now:
        return at
    after = next_month(now.date())
    return at.replace(year=after.year, month=after.month)


def _written(made: Callable[[], ExchangeFile]) -> ExchangeFile:
    """A file; what does not fit into it is a value that cannot be used."""
    try:
        return made()
    except NotRepresentable as error:
        raise invalid(error.message) from None


def _check_span(since: datetime, until: datetime) -> None:
    if not since < until or (until - since).days > 3700:
        raise invalid("a time ends after it begins, and is no longer than ten years")


def _check_number(name: str, text: str | None) -> None:
    if text is None:
        return
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise invalid(f"{name} is no number") from None
    if not value.is_finite() or not 0 < value < 10**12:
        raise invalid(f"{name} is a number greater than 0")
