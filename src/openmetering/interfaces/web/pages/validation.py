"""Validation: check the values of a time, and see what the rules found."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted, beginning, day_of
from openmetering.interfaces.web.pages.inputs import Before, OptionalId
from openmetering.interfaces.web.pages.lists import Part, part
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.mdm.validation import load_rules
from openmetering.services.headend.model import Tenant
from openmetering.storage.mdm_rows import FindingRow, ValidationRun

__all__ = ["validate", "validation"]

_PAGE: Final = 50
_TONES: Final = {"fail": "bad", "warn": "warn"}
_SAYS: Final = {rule.id: rule.says for rule in load_rules().rows}


class Row(msgspec.Struct, frozen=True):
    """A finding with the name of its point, and what its rule says."""

    finding: FindingRow
    point: str
    says: str
    tone: str


class View(msgspec.Struct, frozen=True):
    """The page: runs, and the findings of one of them."""

    runs: tuple[ValidationRun, ...]
    run: ValidationRun | None
    rows: tuple[Row, ...]
    part: Part | None
    tenants: tuple[Tenant, ...]
    since: str
    until: str
    fault: str = ""


@get("/validation", sync_to_thread=True)
def validation(visit: Visiting, run: OptionalId = None, before: Before = None) -> Html:
    """The runs, the newest first, with the findings of one of them."""
    return visit.render("validation.html", _view(visit, run, before))


@post("/validation", sync_to_thread=True)
def validate(visit: Visiting, data: Posted) -> Html:
    """Check the values of a time."""
    form = Form(data)
    try:
        zone = visit.session.zone
        since, until = (beginning(day_of(form.text(name)), zone) for name in ("since", "until"))
        made = visit.session.validate(since, until, form.number("tenant"))
    except InputError as error:
        return visit.render("validation.html", _view(visit, None, None, fault=visit.fault_text(error)), status=400)
    return redirect(f"/validation?run={made.id}", done="validated")


def _view(visit: Visit, number: int | None, before: int | None, *, fault: str = "") -> View:
    runs = visit.session.validation_runs(limit=20).items
    chosen = next((one for one in runs if one.id == number), None) if number is not None else next(iter(runs), None)
    rows: tuple[Row, ...] = ()
    pages = None
    if chosen is not None:
        page = visit.session.findings(run_id=chosen.id, before=before, limit=_PAGE)
        names = visit.session.point_names({one.point_id for one in page.items})
        rows = tuple(
            Row(
                one,
                names.get(one.point_id, f"#{one.point_id}"),
                _SAYS.get(one.rule, ""),
                "bad" if one.severity == "fail" else "warn",
            )
            for one in page.items
        )
        pages = part("/validation", {"run": str(chosen.id)}, before, page.after)
    today = visit.now.date()
    tenants = visit.session.tenants() if visit.can("read", "tenants") else ()
    return View(runs, chosen, rows, pages, tenants, (today - timedelta(days=365)).isoformat(), today.isoformat(), fault)
