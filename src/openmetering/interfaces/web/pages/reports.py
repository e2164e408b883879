"""Reports of a place: on the page with bars, and as files; those that go out by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter

from openmetering.errors import InputError
from openmetering.interfaces.reports.delivery import FORMATS, content, file_name
from openmetering.interfaces.reports.pdf import shown, told
from openmetering.interfaces.reports.records import FILES
from openmetering.interfaces.web.pages.formats import number
from openmetering.interfaces.web.pages.forms import Form, Posted, beginning, day_of
from openmetering.interfaces.web.pages.inputs import Id, OptionalId, Text
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.problems import invalid
from openmetering.services.mdm.exports import EVERY
from openmetering.services.mdm.report import Plot, Report
from openmetering.services.mdm.reports import REPORTS
from openmetering.storage.mdm_rows import Schedule

__all__ = ["add_schedule", "remove_schedule", "report_file", "reports", "usual_times"]

_NOT_HIS: Final = ("access.denied", "access.unknown")
_SHOWN: Final = 500  #: rows on the page; files have all of them
_BARS: Final = 60
_KINDS: Final = ("building", "site", "unit")
Form_ = Annotated[str, QueryParameter(name="form", max_length=8)]


class Cell(msgspec.Struct, frozen=True):
    """A cell as it is shown; ``kind`` of its column."""

    text: str
    kind: str


class Bar(msgspec.Struct, frozen=True):
    """A bar: percent of the longest one, now and a year before."""

    label: str
    text: str
    now: float
    before: float | None


class View(msgspec.Struct, frozen=True):
    """The page; ``query`` leads to the same report as a file."""

    kinds: tuple[tuple[str, str], ...]
    places: tuple[tuple[int | str, str], ...]
    entered: Mapping[str, str]
    heads: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    left_out: int = 0
    notes: tuple[str, ...] = ()
    plots: tuple[tuple[str, tuple[Bar, ...]], ...] = ()
    title: str = ""
    span: str = ""
    query: str = ""
    schedules: tuple[Schedule, ...] = ()
    formats: tuple[str, ...] = ()
    every: tuple[str, ...] = EVERY
    files: tuple[str, ...] = FILES
    fault: str = ""


@get("/reports", sync_to_thread=True)
def reports(
    visit: Visiting, kind: Text = "", node: OptionalId = None, day: Text = "", since: Text = "", until: Text = ""
) -> Html:
    """A report, if one was asked for. What belongs to others or to another time is said so, and the page stays."""
    visit.session.require("read", "reports", "reports")
    entered = _entered(visit, kind, node, day, since, until)
    try:
        found = _made(visit, entered) if kind else None
    except InputError as error:
        if error.code in _NOT_HIS:
            return visit.render("reports.html", _view(visit, entered, None, fault=visit.t("reports.not-yours")))
        return visit.render("reports.html", _view(visit, entered, None, fault=visit.fault_text(error)), status=400)
    return visit.render("reports.html", _view(visit, entered, found))


@get("/reports/file", sync_to_thread=True)
def report_file(
    visit: Visiting, kind: Text = "", node: OptionalId = None, day: Text = "", since: Text = "", until: Text = "",
    form: Form_ = "pdf",
) -> Response[bytes]:  # fmt: skip
    """The same as a file."""
    if form not in FORMATS:
        raise invalid(f"a report comes as {', '.join(FORMATS)}")
    found = _made(visit, _entered(visit, kind or "monthly", node, day, since, until))
    headers = {"content-disposition": f'attachment; filename="{file_name(found, form)}"'}
    return Response(content(found, form, visit.t), media_type=FORMATS[form][0], headers=headers)


@post("/reports/schedules", sync_to_thread=True)
def add_schedule(visit: Visiting, data: Posted) -> Html:
    """Send a report on a day of each month."""
    form = Form(data)
    kind, node = form.text("kind"), form.number("node")
    try:
        visit.session.add_report_schedule(
            kind, form.text("format"), form.number("day") or 1, form.text("channel"), form.text("target", longest=400), node,
            visit.t.locale,
        )  # fmt: skip
    except InputError as error:
        entered = _entered(visit, "", node, "", "", "")
        return visit.render("reports.html", _view(visit, entered, None, fault=visit.fault_text(error)), status=400)
    return redirect("/reports", done="schedule-added")


@post("/reports/schedules/{schedule_id:int}/remove", sync_to_thread=True)
def remove_schedule(visit: Visiting, schedule_id: Id) -> Html:
    """No longer send it."""
    visit.session.remove_report_schedule(schedule_id)
    return redirect("/reports", done="schedule-removed")


def usual_times(visit: Visit) -> dict[str, str]:
    """The end of the last month, and the last 30 days."""
    today = visit.now.date()
    return {
        "day": (today.replace(day=1) - timedelta(days=1)).isoformat(),
        "since": (today - timedelta(days=30)).isoformat(),
        "until": today.isoformat(),
    }


def _entered(visit: Visit, kind: str, node: int | None, day: str, since: str, until: str) -> dict[str, str]:
    """What was asked for, with what is usual in the place of what was not: the last month, the last due date, 30 days."""
    usual = usual_times(visit)
    if node is None and (places := _places(visit)):
        node = int(places[0][0])
    return {
        "kind": kind or "monthly",
        "node": "" if node is None else str(node),
        "day": day or usual["day"],
        "since": since or usual["since"],
        "until": until or usual["until"],
    }


def _places(visit: Visit) -> tuple[tuple[int | str, str], ...]:
    nodes = [one for one in visit.session.nodes() if one.kind in _KINDS]
    nodes.sort(key=lambda one: (_KINDS.index(one.kind), one.name))
    return tuple((one.id, f"{one.name} ({visit.t.name('node', one.kind)})") for one in nodes)


def _made(visit: Visit, entered: Mapping[str, str]) -> Report:
    node = int(entered["node"]) if entered["node"] else None
    zone = visit.session.zone
    since, until = (beginning(day_of(entered[name]), zone) for name in ("since", "until"))
    return visit.session.report(entered["kind"], node, day_of(entered["day"]), since, until)


def _view(visit: Visit, entered: Mapping[str, str], found: Report | None, *, fault: str = "") -> View:
    t = visit.t
    kinds = tuple((kind, t(f"report.title.{kind}")) for kind in REPORTS)
    schedules = visit.session.report_schedules() if visit.can("read", "schedules") else ()
    view = View(kinds, _places(visit), entered, schedules=schedules, formats=tuple(FORMATS), fault=fault)
    if found is None:
        return view
    zone = visit.session.zone
    rows = tuple(
        tuple(Cell(shown(cell, column, t, zone), column.kind) for cell, column in zip(row, found.columns, strict=True))
        for row in found.rows[:_SHOWN]
    )
    return msgspec.structs.replace(
        view,
        heads=tuple((t(f"report.column.{column.name}"), column.kind) for column in found.columns),
        rows=rows,
        left_out=max(0, len(found.rows) - _SHOWN),
        notes=tuple(told(note, t) for note in found.notes),
        plots=tuple(
            (f"{t.term(plot.title)} ({plot.unit})" if plot.unit else t.term(plot.title), _bars(plot, t.locale))
            for plot in found.plots
        ),
        title=f"{t(f'report.title.{found.kind}')}: {found.place}",
        span=f"{found.since.astimezone(zone):%Y-%m-%d} – {(found.until - timedelta(seconds=1)).astimezone(zone):%Y-%m-%d}",
        query=urlencode(entered),
    )


def _bars(plot: Plot, locale: str) -> tuple[Bar, ...]:
    longest = max([float(one) for one in (*plot.values, *plot.before) if one is not None], default=0.0) or 1.0
    bars = []
    for place, (label, value) in enumerate(zip(plot.labels, plot.values, strict=True)):
        before = plot.before[place] if plot.before else None
        bars.append(
            Bar(
                label.rpartition(", ")[2], "–" if value is None else number(f"{value:f}", locale),
                round(100 * float(value or 0) / longest, 1), None if before is None else round(100 * float(before) / longest, 1),
            )
        )  # fmt: skip
    return tuple(bars[:_BARS])
