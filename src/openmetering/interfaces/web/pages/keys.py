"""The key vault: fingerprints, adding a key, importing a file of keys with a preview. Octets of keys go in and never out."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted, PostedFile
from openmetering.interfaces.web.pages.inputs import After, Id, Text
from openmetering.interfaces.web.pages.lists import Part, part
from openmetering.interfaces.web.pages.staging import Staged
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import KeyInfo, Tenant
from openmetering.services.headend.vault import KeyImport

__all__ = ["add_key", "apply_keys", "import_keys", "keys", "preview_keys", "retire_key", "rotate_master"]

_PAGE: Final = 100
_KIND: Final = "keys"


class View(msgspec.Struct, frozen=True):
    """The list, and the form for one key; of what was typed there the key itself is not kept."""

    rows: tuple[KeyInfo, ...]
    search: str
    part: Part
    tenants: tuple[Tenant, ...]
    entered: dict[str, str]
    may_rotate: bool
    fault: str = ""


class ImportView(msgspec.Struct, frozen=True):
    """The import: the form, then the preview."""

    tenants: tuple[Tenant, ...]
    tenant: int | None = None
    preview: KeyImport | None = None
    staged: str = ""
    fault: str = ""


@get("/keys", sync_to_thread=True)
def keys(visit: Visiting, q: Text = "", after: After = 0) -> Html:
    """Keys by their fingerprints."""
    return visit.render("keys.html", _view(visit, q.strip()[:60], after))


def _view(visit: Visit, search: str = "", after: int = 0, entered: dict[str, str] | None = None, fault: str = "") -> View:
    page = visit.session.keys(after=after, limit=_PAGE, pattern=search or None)
    return View(
        page.items,
        search,
        part("/keys", {"q": search}, after, page.after, name="after"),
        _tenants(visit),
        entered or ({"address_pattern": search} if search and not page.items else {}),
        _may_rotate(visit),
        fault,
    )


def _may_rotate(visit: Visit) -> bool:
    scope = visit.session.rights.scope("write", "keys")
    return scope is not None and scope.kind == "all"


def _tenants(visit: Visit) -> tuple[Tenant, ...]:
    return visit.session.tenants() if visit.can("read", "tenants") else ()


@post("/keys", sync_to_thread=True)
def add_key(visit: Visiting, data: Posted) -> Html:
    """Add one key. What was typed comes back where it is wrong, but for the key."""
    form = Form(data)
    try:
        key_id = form.text("key_id", longest=8)
        visit.session.add_key(
            form.text("address_pattern", longest=60),
            form.secret("key").strip(),
            int(key_id, 16) if key_id else None,
            form.number("version"),
            form.text("label", longest=100),
            form.number("tenant"),
        )
    except ValueError:
        return _again(visit, data, visit.t("keys.key-id-wrong"))
    except InputError as error:
        return _again(visit, data, visit.fault_text(error))
    return redirect("/keys", done="key-added")


def _again(visit: Visit, data: dict[str, str], fault: str) -> Html:
    entered = {name: value for name, value in data.items() if name != "key"}
    return visit.render("keys.html", _view(visit, entered=entered, fault=fault), status=400)


@post("/keys/{key_id:int}/retire", sync_to_thread=True)
def retire_key(visit: Visiting, key_id: Id) -> Html:
    """No longer use a key."""
    visit.session.retire_key(key_id)
    return redirect("/keys", done="key-retired")


@post("/keys/rotate", sync_to_thread=True)
def rotate_master(visit: Visiting) -> Html:
    """Wrap every key again under a fresh master key."""
    try:
        visit.session.rotate_master()
    except InputError as error:
        return visit.render("keys.html", _view(visit, fault=visit.fault_text(error)), status=400)
    return redirect("/keys", done="rotated")


# -- a file of keys -------------------------------------------------------------------------------


def _import_form(visit: Visit, tenant: int | None, fault: str) -> Html:
    return visit.render("import_keys.html", ImportView(_tenants(visit), tenant, fault=fault), status=400)


@get("/import/keys", sync_to_thread=True)
def import_keys(visit: Visiting) -> Html:
    """The form."""
    visit.session.require("write", "keys", "import_keys")
    return visit.render("import_keys.html", ImportView(_tenants(visit)))


@post("/import/keys/preview", sync_to_thread=True)
def preview_keys(visit: Visiting, staging: Staged, data: PostedFile) -> Html:
    """What the file would add; the file waits on the server."""
    form = Form(data)
    tenant = form.number("tenant")
    octets = form.file("file")
    try:
        if not octets:
            return _import_form(visit, tenant, visit.t("import.no-file"))
        preview = visit.session.preview_keys(octets, tenant, password=form.secret("password") or None)
    except InputError as error:
        return _import_form(visit, tenant, visit.fault_text(error))
    packed = msgspec.msgpack.encode((octets, form.secret("password")))
    staged = staging.put(visit.user.id, _KIND, packed, visit.now)
    return visit.render("import_keys.html", ImportView(_tenants(visit), tenant, preview, staged))


@post("/import/keys", sync_to_thread=True)
def apply_keys(visit: Visiting, staging: Staged, data: Posted) -> Html:
    """Add them."""
    form = Form(data)
    try:
        packed = staging.take(form.text("staged"), visit.user.id, _KIND, visit.now)
        octets, password = msgspec.msgpack.decode(packed, type=tuple[bytes, str])
        replace = form.flag("replace")
        visit.session.import_keys(octets, form.number("tenant"), password=password or None, replace=replace)
    except InputError as error:
        return _import_form(visit, None, visit.fault_text(error))
    return redirect("/keys", done="keys-imported")
