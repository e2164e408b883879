"""Tenants: whose installations these are, and what each of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.names import users_of
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import Node, Tenant

__all__ = ["add_tenant", "tenants"]


class Row(msgspec.Struct, frozen=True):
    """A tenant with the places on top of its tree; ``users`` None where accounts may not be seen."""

    tenant: Tenant
    roots: tuple[Node, ...]
    users: int | None


class View(msgspec.Struct, frozen=True):
    """The page."""

    rows: tuple[Row, ...]
    entered: Mapping[str, str]
    fault: str = ""


@get("/tenants", sync_to_thread=True)
def tenants(visit: Visiting) -> Html:
    """All tenants that the user has to do with."""
    return visit.render("tenants.html", _view(visit, {}))


def _view(visit: Visit, entered: Mapping[str, str], fault: str = "") -> View:
    found = visit.session.tenants()
    roots = [one for one in visit.session.nodes() if one.parent_id is None] if visit.can("read", "nodes") else []
    users = _users(visit) if visit.can("read", "users") else None
    rows = tuple(
        Row(one, tuple(root for root in roots if root.tenant_id == one.id), None if users is None else users[one.id])
        for one in found
    )
    return View(rows, entered, fault)


def _users(visit: Visit) -> Counter[int]:
    return Counter(one.tenant_id for one in users_of(visit) if one.tenant_id is not None)


@post("/tenants", sync_to_thread=True)
def add_tenant(visit: Visiting, data: Posted) -> Html:
    """A new tenant."""
    try:
        visit.session.add_tenant(Form(data).text("name", longest=200))
    except InputError as error:
        return visit.render("tenants.html", _view(visit, data, visit.fault_text(error)), status=400)
    return redirect("/tenants", done="tenant-added")
