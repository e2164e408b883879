"""Routes from readings to the bill: validation, versions, what is agreed, reports, exports, retention, erasure."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from litestar import Response
from litestar.params import JSONBody, QueryParameter

from openmetering.interfaces.reports.delivery import FORMATS, content, file_name
from openmetering.interfaces.reports.records import record_octets
from openmetering.interfaces.reports.texts import plain
from openmetering.interfaces.web.api.common import (
    LINE,
    ApiRequest,
    Cursor,
    Id,
    Limit,
    Line,
    Listing,
    Moment,
    Number,
    OptionalId,
    Session,
    Time,
    change,
    create,
    listing,
    perform,
    read,
    remove,
    utc,
    whole,
)
from openmetering.interfaces.web.i18n import Words
from openmetering.mdm.findings import Version
from openmetering.services.headend.problems import invalid
from openmetering.services.mdm.exchange import ExchangeFile, Partners
from openmetering.services.mdm.privacy import Erased
from openmetering.services.mdm.report import Report
from openmetering.services.mdm.subject import SubjectFile
from openmetering.storage.mdm_rows import FindingRow, NodeData, PointData, Schedule, ValidationRun

__all__ = [
    "ROUTES", "AddSchedule", "AddVersion", "Agreed", "AgreedPlace", "Erase", "FindingView", "ReportView", "RetentionView",
    "SetRetention", "Validate", "VersionView",
]  # fmt: skip

Digits = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,12})?$")]
Short = Annotated[str, msgspec.Meta(max_length=60, pattern=LINE)]
Rule = Annotated[str | None, QueryParameter(max_length=40, pattern=LINE, required=False)]
Day = Annotated[date | None, QueryParameter(required=False, description="The due date, or any day of the month")]
Form = Annotated[
    Literal["json", "csv", "jsonl", "pdf"], QueryParameter(required=False, description="What the report is wanted as")
]
Table = Annotated[Literal["csv", "jsonl", "parquet"], QueryParameter(required=False, description="What the file is to be")]
By = Annotated[Literal["value", "hour", "day", "month"], QueryParameter(required=False, description="Single values or sums")]
Kind = Annotated[
    Literal["due-dates", "monthly", "consumption", "findings", "alarms", "radio", "slots", "tariff"],
    QueryParameter(description="Which report"),
]
DueDay = Annotated[date | None, QueryParameter(required=False, description="The due date")]
Partner = Annotated[str, QueryParameter(pattern=r"^[0-9]{13}$", description="Number of a market partner")]
Agency = Annotated[
    Literal["293", "332", "9"], QueryParameter(required=False, description="Who gave the numbers: 293 BDEW, 332 DVGW, 9 GS1")
]
Customer = Annotated[str, QueryParameter(pattern=r"^[0-9]{10}$", description="Customer number at the metering company")]
Company = Annotated[str, QueryParameter(required=False, pattern=r"^[A-Za-z0-9]{0,2}$", description="Key of the metering company")]
Hidden = Annotated[bool, QueryParameter(required=False, description="Pseudonyms in place of names and addresses")]


class Validate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time whose values are to be checked."""

    since: Time
    until: Time
    tenant_id: Number | None = None


class FindingView(msgspec.Struct, frozen=True):
    """What a rule found; ``samples`` are the times of the values it is about, seconds since 1970."""

    id: int
    run_id: int
    point_id: int
    rule: str
    severity: str
    device: str
    since: datetime
    until: datetime
    reason: str
    samples: tuple[float, ...]

    @classmethod
    def of(cls, row: FindingRow) -> FindingView:
        """The row with its samples."""
        samples = msgspec.json.decode(row.samples, type=tuple[float, ...])
        return cls(
            row.id, row.run_id, row.point_id, row.rule, row.severity, row.device, row.since, row.until, row.reason, samples
        )


class VersionView(msgspec.Struct, frozen=True):
    """A value of a point as a rule or a person says it is; the greatest ``number`` of a time counts."""

    at: datetime
    number: int
    value: str | None
    unit: str
    quality: str
    uncertainty: str
    rule: str
    reason: str
    by: str
    made_at: datetime

    @classmethod
    def of(cls, one: Version) -> VersionView:
        """As JSON."""
        return cls(
            datetime.fromtimestamp(one.at, UTC), one.number, None if one.value is None else f"{one.value:f}", one.unit,
            one.quality.value, f"{one.uncertainty:f}", one.rule, one.reason, one.by, datetime.fromtimestamp(one.made_at, UTC),
        )  # fmt: skip


class AddVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that a person enters, in the unit that was agreed for the point."""

    at: Time
    value: Digits
    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=400, pattern=LINE)]


class Agreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is agreed about a metering point: size class, greatest consumption an hour, unit, factor of its heat cost allocator,
    ``part`` main or sub, ``grid`` seconds between two values, ``identifier`` of the metering or market location."""

    size: Short = ""
    maximum: Digits | None = None
    unit: Short | None = None
    factor: Digits | None = None
    part: Literal["", "main", "sub"] = ""
    grid: Annotated[float, msgspec.Meta(ge=60, le=31_622_400)] | None = None
    identifier: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{0,35}$")] = ""


class AgreedPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is agreed about a place: area in m2, use, energy that a unit of its heat cost allocators stands for, ``identifier`` of
    the property manager: nine digits of the property, four of the unit."""

    area: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    usage: Short = ""
    kwh_per_unit: Digits | None = None
    identifier: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{13})?$")] = ""


class ReportView(msgspec.Struct, frozen=True):
    """A report as a table; every cell is a text."""

    kind: str
    place: str
    since: datetime
    until: datetime
    made_at: datetime
    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


class AddSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report that is sent on a day of each month to a mail address or a webhook."""

    report: Literal["due-dates", "monthly", "consumption", "findings", "alarms", "radio"]
    format: Literal["pdf", "csv", "jsonl"]
    channel: Literal["mail", "webhook"]
    target: Line
    day: Annotated[int, msgspec.Meta(ge=1, le=28)] = 1
    node_id: Number | None = None
    tenant_id: Number | None = None
    locale: Literal["en", "de"] = "en"


class RetentionView(msgspec.Struct, frozen=True):
    """How many days what is kept."""

    days: dict[str, int]


class SetRetention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keep raw telegrams or readings for so many days."""

    purpose: Literal["raw", "readings"]
    days: Annotated[int, msgspec.Meta(ge=1, le=36_600)]
    tenant_id: Number | None = None


class Erase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit and a time to be erased, and who lived there."""

    node_id: Number
    since: Time
    until: Time
    user_id: Number | None = None


# -- validation --------------------------------------------------------------------------------------


@create("/validation/runs", "write:validation", tag="validation")
def validate(session: Session, data: JSONBody[Validate]) -> ValidationRun:
    """Check the values of a tenant in a time."""
    return session.validate(utc(data.since), utc(data.until), data.tenant_id)


@read("/validation/runs", "read:validation", tag="validation")
def list_runs(request: ApiRequest, session: Session, cursor: Cursor = None, limit: Limit = 50) -> Listing[ValidationRun]:
    """Runs of validation, the newest first."""
    return listing(request, session.validation_runs(cursor, limit))


@read("/validation/findings", "read:validation", tag="validation")
def list_findings(
    request: ApiRequest,
    session: Session,
    run_id: OptionalId = None,
    point_id: OptionalId = None,
    rule: Rule = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Listing[FindingView]:
    """Findings of a run or of a point, the newest first."""
    found = listing(request, session.findings(run_id, point_id, rule, cursor, limit))
    return Listing(tuple(FindingView.of(one) for one in found.items), found.cursor, found.next)


@read("/points/{point_id:int}/versions", "read:validation", tag="validation")
def list_versions(session: Session, point_id: Id, since: Moment = None, until: Moment = None) -> Listing[VersionView]:
    """What rules and people decided about the values of a point in a time."""
    begin, end = _span(since, until)
    return whole(VersionView.of(one) for one in session.versions(point_id, begin, end))


@create("/points/{point_id:int}/versions", "write:validation", tag="validation")
def edit_value(session: Session, point_id: Id, data: JSONBody[AddVersion]) -> VersionView:
    """Enter a value; the raw one stays."""
    return VersionView.of(session.edit_value(point_id, utc(data.at), Decimal(data.value), data.reason))


@read("/points/{point_id:int}/agreed", "read:nodes", tag="places")
def get_point_data(session: Session, point_id: Id) -> PointData:
    """What is agreed about a metering point."""
    return session.point_data(point_id)


@change("/points/{point_id:int}/agreed", "write:nodes", tag="places")
def set_point_data(session: Session, point_id: Id, data: JSONBody[Agreed]) -> PointData:
    """Agree on something else; what is left out is no longer agreed."""
    return session.set_point_data(
        PointData(0, point_id, data.size, data.maximum, data.unit, data.factor, data.part, data.grid, data.identifier)
    )


@read("/nodes/{node_id:int}/agreed", "read:nodes", tag="places")
def get_node_data(session: Session, node_id: Id) -> NodeData:
    """What is agreed about a place."""
    return session.node_data(node_id)


@change("/nodes/{node_id:int}/agreed", "write:nodes", tag="places")
def set_node_data(session: Session, node_id: Id, data: JSONBody[AgreedPlace]) -> NodeData:
    """Agree on something else; what is left out is no longer agreed."""
    return session.set_node_data(NodeData(0, node_id, data.area, data.usage, data.kwh_per_unit, data.identifier))


# -- reports and exports -----------------------------------------------------------------------------


@read("/reports", "read:reports", tag="reports")
def get_report(
    session: Session,
    kind: Kind,
    node_id: OptionalId = None,
    day: Day = None,
    since: Moment = None,
    until: Moment = None,
    tenant_id: OptionalId = None,
    form: Form = "json",
) -> Response[ReportView | bytes]:
    """A report of a tenant or a place.

    Due dates and monthly information take `day`, the others `since` and `until`.
    """
    begin, end = (None, None) if since is None or until is None else (utc(since), utc(until))
    found = session.report(kind, node_id, day, begin, end, tenant_id)
    if form == "json":
        return Response(_view(found), media_type="application/json")
    octets = content(found, form, Words(session.user.locale))
    headers = {"content-disposition": f'attachment; filename="{file_name(found, form)}"'}
    return Response(octets, media_type=FORMATS[form][0], headers=headers)


@read("/exports/values", "read:exports", tag="reports")
def export_values(
    session: Session,
    since: Moment = None,
    until: Moment = None,
    every: By = "value",
    pseudonymous: Hidden = False,
    node_id: OptionalId = None,
    tenant_id: OptionalId = None,
    form: Table = "csv",
) -> Response[bytes]:
    """Values with quality and source, as CSV, JSON lines or Parquet."""
    begin, end = _span(since, until)
    octets, kind = record_octets(session.export_values(begin, end, every, pseudonymous, tenant_id, node_id), form)
    return Response(octets, media_type=kind, headers={"content-disposition": f'attachment; filename="values.{form}"'})


@read("/exports/mscons", "read:exports", tag="reports")
def export_mscons(
    session: Session,
    sender: Partner,
    recipient: Partner,
    agency: Agency = "293",
    day: DueDay = None,
    since: Moment = None,
    until: Moment = None,
    node_id: OptionalId = None,
    tenant_id: OptionalId = None,
) -> Response[bytes]:
    """Readings for a market partner, as MSCONS: those of a due date (`day`), or the register slots of a time.

    Points without an identifier of the market are left out; `X-Left-Out` tells how many.
    """
    partners = Partners(sender, recipient, agency)
    if day is not None:
        found = session.export_due_dates(day, partners, node_id, tenant_id)
    else:
        found = session.export_slots(*_span(since, until), partners, node_id, tenant_id)
    return _file(found, "application/edifact", "readings.edi")


@read("/exports/bved", "read:exports", tag="reports")
def export_bved(
    session: Session,
    customer: Customer,
    company: Company = "",
    since: Moment = None,
    until: Moment = None,
    node_id: OptionalId = None,
    tenant_id: OptionalId = None,
) -> Response[bytes]:
    """Consumption of units for their property manager, as records D of the bved exchange, without costs.

    Points below a place without an identifier of the property manager are left out; `X-Left-Out` tells how many.
    """
    found = session.export_results(*_span(since, until), customer, company, node_id, tenant_id)
    return _file(found, "text/plain; charset=iso-8859-15", "results.dat")


def _file(found: ExchangeFile, kind: str, name: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "x-left-out": str(found.left_out)}
    return Response(found.octets, media_type=kind, headers=headers)


@read("/report-schedules", "read:schedules", tag="reports")
def list_schedules(session: Session) -> Listing[Schedule]:
    """Reports that go out by themselves."""
    return whole(session.report_schedules())


@create("/report-schedules", "write:schedules", tag="reports")
def add_schedule(session: Session, data: JSONBody[AddSchedule]) -> Schedule:
    """Send a report on a day of each month."""
    return session.add_report_schedule(
        data.report, data.format, data.day, data.channel, data.target, data.node_id, data.locale, data.tenant_id
    )


@remove("/report-schedules/{schedule_id:int}", "write:schedules", tag="reports")
def remove_schedule(session: Session, schedule_id: Id) -> None:
    """No longer send it."""
    session.remove_report_schedule(schedule_id)


# -- privacy -----------------------------------------------------------------------------------------


@read("/retention", "read:privacy", tag="privacy")
def get_retention(session: Session, tenant_id: OptionalId = None) -> RetentionView:
    """How many days what is kept."""
    return RetentionView(session.retention(tenant_id))


@change("/retention", "write:privacy", tag="privacy")
def set_retention(session: Session, data: JSONBody[SetRetention]) -> RetentionView:
    """Keep something longer or shorter."""
    return RetentionView(session.set_retention(data.purpose, data.days, data.tenant_id))


@perform("/erasures", "write:privacy", tag="privacy")
def erase(session: Session, data: JSONBody[Erase]) -> Erased:
    """Erase what is known of a unit in a time; it cannot be taken back."""
    return session.erase(data.node_id, utc(data.since), utc(data.until), data.user_id)


@read("/subjects/{user_id:int}", "read:subjects", tag="privacy")
def subject_access(session: Session, user_id: Id) -> SubjectFile:
    """Everything that is known of a consumer."""
    return session.subject_access(user_id)


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    if since is None or until is None:
        raise invalid("since and until are needed")
    return utc(since), utc(until)


def _view(found: Report) -> ReportView:
    rows = tuple(tuple(plain(cell) for cell in row) for row in found.rows)
    return ReportView(
        found.kind, found.place, found.since, found.until, found.made_at, tuple(one.name for one in found.columns), rows
    )


ROUTES = (
    validate, list_runs, list_findings, list_versions, edit_value, get_point_data, set_point_data, get_node_data, set_node_data,
    get_report, export_values, export_mscons, export_bved, list_schedules, add_schedule, remove_schedule, get_retention,
    set_retention, erase, subject_access,
)  # fmt: skip
