"""Devices from a CSV file: first what it would do, row by row, then done in one transaction; and back into a file."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Response, get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted, PostedFile
from openmetering.interfaces.web.pages.staging import Staged
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.csv_import import COLUMNS, ImportPlan, ImportRow
from openmetering.services.headend.model import Tenant

__all__ = ["apply_devices", "export_devices", "import_devices", "preview_devices"]

_KIND: Final = "devices"
_MOST_ROWS: Final = 500  #: shown of a preview; refused ones first
_ORDER: Final = ("refused", "new", "changed", "same")


class View(msgspec.Struct, frozen=True):
    """The form, then the preview."""

    tenants: tuple[Tenant, ...]
    tenant: int | None = None
    plan: ImportPlan | None = None
    rows: tuple[ImportRow, ...] = ()
    staged: str = ""
    fault: str = ""
    columns: str = ",".join(COLUMNS)


def _tenants(visit: Visit) -> tuple[Tenant, ...]:
    return visit.session.tenants() if visit.can("read", "tenants") else ()


def _form(visit: Visit, tenant: int | None, fault: str) -> Html:
    return visit.render("import_devices.html", View(_tenants(visit), tenant, fault=fault), status=400)


@get("/import/devices", sync_to_thread=True)
def import_devices(visit: Visiting) -> Html:
    """The form."""
    visit.session.require("write", "devices", "import_devices")
    return visit.render("import_devices.html", View(_tenants(visit)))


@post("/import/devices/preview", sync_to_thread=True)
def preview_devices(visit: Visiting, staging: Staged, data: PostedFile) -> Html:
    """What the file would do; it waits on the server."""
    form = Form(data)
    tenant, octets = form.number("tenant"), form.file("file")
    if not octets:
        return _form(visit, tenant, visit.t("import.no-file"))
    try:
        plan = visit.session.preview_import(octets, tenant)
    except InputError as error:
        return _form(visit, tenant, visit.fault_text(error))
    staged = staging.put(visit.user.id, _KIND, octets, visit.now)
    rank = {action: place for place, action in enumerate(_ORDER)}
    rows = sorted(plan.rows, key=lambda row: (rank.get(row.action, len(rank)), row.line))[:_MOST_ROWS]
    return visit.render("import_devices.html", View(_tenants(visit), tenant, plan, tuple(rows), staged))


@post("/import/devices", sync_to_thread=True)
def apply_devices(visit: Visiting, staging: Staged, data: Posted) -> Html:
    """Do it."""
    form = Form(data)
    tenant = form.number("tenant")
    try:
        octets = staging.take(form.text("staged"), visit.user.id, _KIND, visit.now)
        visit.session.apply_import(octets, tenant, partly=form.flag("partly"))
    except InputError as error:
        return _form(visit, tenant, visit.fault_text(error))
    return redirect("/meters", done="devices-imported")


@get("/export/devices.csv", sync_to_thread=True)
def export_devices(visit: Visiting) -> Response[str]:
    """The devices as the file that the import reads."""
    text = visit.session.export_devices()
    headers = {"Content-Disposition": 'attachment; filename="devices.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
