"""Jobs: use cases asked for, let through by a second person, followed to their end."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages import formats, job_forms
from openmetering.interfaces.web.pages.forms import Form, PostedFile
from openmetering.interfaces.web.pages.inputs import Before, Id, OptionalId, State, Text
from openmetering.interfaces.web.pages.lists import Part, chosen, part
from openmetering.interfaces.web.pages.looks import job_tone
from openmetering.interfaces.web.pages.names import Names
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.jobs.kinds import resource
from openmetering.services.headend.model import Device, Job, JobStep

__all__ = ["approve", "cancel", "create", "job", "jobs", "new_job"]

_TABS: Final[dict[str, tuple[str, ...]]] = {
    "open": ("draft", "awaiting-approval", "queued", "running"),
    "approval": ("awaiting-approval",),
    "over": ("done", "failed", "refused", "unknown", "cancelled"),
    "all": (),
}
_WAITING: Final = ("draft", "awaiting-approval", "queued", "running")
_PAGE: Final = 50
_FEW: Final = 3  #: parameters in a line of the list
_MOST_DEVICES: Final = 500


class Row(msgspec.Struct, frozen=True):
    """A job in the list."""

    job: Job
    title: str
    detail: str
    tone: str
    device: str
    by: str
    percent: str


class View(msgspec.Struct, frozen=True):
    """The list."""

    rows: tuple[Row, ...]
    tabs: tuple[str, ...]
    state: str
    part: Part


class Result(msgspec.Struct, frozen=True):
    """What came of a job."""

    words: tuple[str, ...] = ()
    values: dict[str, msgspec.Raw] = {}
    good: bool = True


class JobView(msgspec.Struct, frozen=True):
    """One job."""

    row: Row
    approver: str
    steps: tuple[JobStep, ...]
    parameters: tuple[tuple[str, str], ...]
    result: Result | None
    may_approve: bool
    own: bool
    may_cancel: bool


class Option(msgspec.Struct, frozen=True):
    """A device to choose from."""

    id: int
    name: str


class FormView(msgspec.Struct, frozen=True):
    """The form of a new job: first the device and the kind, then what the kind needs."""

    device: Device | None
    devices: tuple[Option, ...]
    kinds: tuple[str, ...]
    kind: str
    fields: tuple[job_forms.Field, ...]
    entered: dict[str, str]
    fault: str = ""


# -- the list -------------------------------------------------------------------------------------


@get("/jobs", sync_to_thread=True)
def jobs(visit: Visiting, which: State = "open", before: Before = None) -> Html:
    """Jobs, the newest first."""
    state = chosen(_TABS, which)
    page = visit.session.jobs(states=_TABS[state], before=before, limit=_PAGE)
    names = Names(visit)
    view = View(
        tuple(_row(visit, names, one) for one in page.items),
        tuple(_TABS),
        state,
        part("/jobs", {"state": state}, before, page.after),
    )
    return visit.render("jobs_live.html" if visit.is_part else "jobs.html", view)


def _row(visit: Visit, names: Names, one: Job) -> Row:
    return Row(
        one,
        visit.t.name("job-kind", one.kind),
        _detail(visit, one),
        job_tone(one.state),
        names.device(one.device_id),
        names.user(one.created_by),
        formats.percent(one.progress, visit.locale),
    )


def _detail(visit: Visit, one: Job) -> str:
    """What was asked for, in the words of the form."""
    words = visit.t
    shown = _shown_parameters(one.parameters)[:_FEW]
    return ", ".join(f"{words.name('job-field', name)}: {words.name('job-choice', value)}" for name, value in shown)


# -- one job --------------------------------------------------------------------------------------


@get("/jobs/{job_id:int}", sync_to_thread=True)
def job(visit: Visiting, job_id: Id) -> Html:
    """One job with its steps."""
    found = visit.session.job(job_id)
    names = Names(visit)
    own = found.created_by == visit.user.id
    resource_name = _resource(found)
    view = JobView(
        _row(visit, names, found),
        names.user(found.approved_by),
        visit.session.job_steps(job_id),
        _shown_parameters(found.parameters),
        None if found.result is None else msgspec.json.decode(found.result, type=Result),
        found.state == "awaiting-approval" and not own and visit.can("approve", resource_name),
        own,
        found.state in _WAITING and visit.can("write", "jobs") and visit.can("execute", resource_name),
    )
    return visit.render("job_live.html" if visit.is_part else "job.html", view)


def _resource(found: Job) -> str:
    try:
        return resource(found.kind, found.parameters)
    except InputError:
        return ""


def _shown_parameters(text: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a job; long ones (images) by their length."""
    found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    values = ((name, bytes(value).decode().strip('"')) for name, value in found.items())
    return tuple((name, value if len(value) <= 120 else f"{len(value)} …") for name, value in values)


@post("/jobs/{job_id:int}/approve", sync_to_thread=True)
def approve(visit: Visiting, job_id: Id) -> Html:
    """Let a job of somebody else run."""
    visit.session.approve_job(job_id)
    return redirect(f"/jobs/{job_id}", done="approved")


@post("/jobs/{job_id:int}/cancel", sync_to_thread=True)
def cancel(visit: Visiting, job_id: Id) -> Html:
    """Take a job back."""
    visit.session.cancel_job(job_id)
    return redirect(f"/jobs/{job_id}", done="cancelled")


# -- a new job ------------------------------------------------------------------------------------


@get("/jobs/new", sync_to_thread=True)
def new_job(visit: Visiting, device: OptionalId = None, kind: Text = "") -> Html:
    """The form: device and kind first, what the kind needs then."""
    return visit.render("job_new.html", _form_view(visit, device, kind, {}))


def _form_view(visit: Visit, device_id: int | None, kind: str, entered: dict[str, str], fault: str = "") -> FormView:
    session = visit.session
    kinds = session.job_kinds()
    chosen = None if device_id is None else session.device(device_id)
    kind = kind if kind in kinds else ""
    options: tuple[Option, ...] = ()
    if chosen is None or not kind:
        found = session.devices(limit=_MOST_DEVICES).items
        options = tuple(
            Option(one.id, f"{one.label} ({one.address})" if one.label else one.address)
            for one in found
            if one.state not in ("announced", "retired")
        )
    return FormView(chosen, options, kinds, kind, job_forms.fields(kind) if kind and chosen else (), entered, fault)


@post("/jobs", sync_to_thread=True)
def create(visit: Visiting, data: PostedFile) -> Html:
    """Ask for a job; what it refuses is told above the form, which keeps what was entered."""
    form = Form(data)
    kind, device_id = form.text("kind"), form.number("device")
    try:
        if device_id is None:
            return redirect("/jobs/new", kind=kind)
        made = visit.session.create_job(device_id, kind, job_forms.parameters(kind, form), form.moment("not_before"))
    except InputError as error:
        entered = {name: value for name, value in data.items() if isinstance(value, str)}
        return visit.render("job_new.html", _form_view(visit, device_id, kind, entered, visit.fault_text(error)), status=400)
    return redirect(f"/jobs/{made.id}", done="asked" if made.state == "awaiting-approval" else "queued")
