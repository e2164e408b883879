"""Users and rights, and the own account with its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.i18n import LOCALES
from openmetering.interfaces.web.pages.entry import renew_session
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import After, Id
from openmetering.interfaces.web.pages.lists import Part, part
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import ROLES, Node, Occupancy, Tenant, Token, User
from openmetering.services.headend.problems import unknown
from openmetering.services.headend.rights import PERMISSIONS

__all__ = ["account", "add_token", "add_user", "change_password", "change_user", "revoke_token", "rights", "user", "users"]

_PAGE: Final = 100
_DAYS: Final = (30, 90, 365)


class View(msgspec.Struct, frozen=True):
    """Users, and the form for a new one."""

    rows: tuple[User, ...]
    tenants: dict[int, str]
    roles: tuple[str, ...]
    locales: tuple[str, ...]
    entered: Mapping[str, str]
    part: Part
    fault: str = ""


class Home(msgspec.Struct, frozen=True):
    """A unit of a consumer."""

    occupancy: Occupancy
    name: str


class UserView(msgspec.Struct, frozen=True):
    """One user."""

    user: User
    tenants: dict[int, str]
    roles: tuple[str, ...]
    locales: tuple[str, ...]
    homes: tuple[Home, ...]
    nodes: tuple[Node, ...]
    own: bool
    fault: str = ""


class RightsRow(msgspec.Struct, frozen=True):
    """A permission and its scope for each role, empty where there is none."""

    verb: str
    resource: str
    scopes: tuple[str, ...]


class RightsView(msgspec.Struct, frozen=True):
    """The whole table."""

    roles: tuple[str, ...]
    rows: tuple[RightsRow, ...]


class AccountView(msgspec.Struct, frozen=True):
    """The own account. ``fresh`` is the text of a token that was made now, shown this once."""

    tokens: tuple[Token, ...]
    permissions: tuple[str, ...]
    days: tuple[int, ...]
    fresh: str = ""
    fault: str = ""


# -- users ----------------------------------------------------------------------------------------


@get("/users", sync_to_thread=True)
def users(visit: Visiting, after: After = 0) -> Html:
    """All users."""
    return visit.render("users.html", _users(visit, after, {}))


def _users(visit: Visit, after: int, entered: Mapping[str, str], fault: str = "") -> View:
    page = visit.session.users(after=after, limit=_PAGE)
    return View(
        page.items,
        _tenants(visit),
        ROLES,
        LOCALES,
        entered,
        part("/users", {}, after, page.after, name="after"),
        fault,
    )


def _tenants(visit: Visit) -> dict[int, str]:
    found: tuple[Tenant, ...] = visit.session.tenants() if visit.can("read", "tenants") else ()
    return {one.id: one.name for one in found}


@post("/users", sync_to_thread=True)
def add_user(visit: Visiting, data: Posted) -> Html:
    """A new user; of what was typed the password is not kept."""
    form = Form(data)
    try:
        made = visit.session.add_user(
            form.text("name", longest=100), form.secret("password"), form.text("role"), form.number("tenant"), form.text("locale")
        )
    except InputError as error:
        entered = {name: value for name, value in data.items() if name != "password"}
        return visit.render("users.html", _users(visit, 0, entered, visit.fault_text(error)), status=400)
    return redirect(f"/users/{made.id}", done="user-added")


@get("/users/{user_id:int}", sync_to_thread=True)
def user(visit: Visiting, user_id: Id) -> Html:
    """One user."""
    return visit.render("user.html", _user(visit, user_id))


def _find(visit: Visit, user_id: int) -> User:
    """A user; users come in the order of their numbers. Raises InputError (``access.unknown``)"""
    found = visit.session.users(after=user_id - 1, limit=1).items
    if not found or found[0].id != user_id:
        raise unknown("user", user_id)
    return found[0]


def _user(visit: Visit, user_id: int, fault: str = "") -> UserView:
    session = visit.session
    found = _find(visit, user_id)
    consumer = found.role == "consumer"
    nodes = session.nodes() if consumer and visit.can("read", "nodes") else ()
    names = {node.id: node.name for node in nodes}
    homes = session.occupancies(user_id=user_id) if consumer and visit.can("read", "occupancies") else ()
    return UserView(
        found,
        _tenants(visit),
        ROLES,
        LOCALES,
        tuple(Home(one, names.get(one.node_id, f"#{one.node_id}")) for one in homes),
        tuple(node for node in nodes if node.kind == "unit" and node.tenant_id == found.tenant_id),
        found.id == visit.user.id,
        fault,
    )


@post("/users/{user_id:int}", sync_to_thread=True)
def change_user(visit: Visiting, user_id: Id, data: Posted) -> Html:
    """Another role, tenant, language or password; or an end to the account."""
    form, session = Form(data), visit.session
    try:
        if form.text("what") == "password":
            session.set_password(user_id, form.secret("password"))
        elif form.text("what") == "home":
            node = form.number("node")
            if node is not None:
                session.add_occupancy(user_id, node, form.moment("since") or visit.now)
        elif form.text("what") == "leave":
            session.end_occupancy(form.number("occupancy") or 0, visit.now)
        elif form.text("what") == "access":
            session.change_user(user_id, disabled=form.text("disabled") == "yes")
        else:
            session.change_user(user_id, form.optional("role"), form.number("tenant"), form.optional("locale"))
    except InputError as error:
        return visit.render("user.html", _user(visit, user_id, visit.fault_text(error)), status=400)
    return redirect(f"/users/{user_id}", done="changed")


@get("/users/rights", sync_to_thread=True)
def rights(visit: Visiting) -> Html:
    """Who may do what: the one table, as it is."""
    visit.session.require("read", "users", "rights")
    rows = tuple(
        RightsRow(one.verb, one.resource, tuple(scopes.get(role, "") for role in ROLES)) for one, scopes in PERMISSIONS.items()
    )
    return visit.render("rights.html", RightsView(ROLES, rows))


# -- the own account ------------------------------------------------------------------------------


@get("/account", sync_to_thread=True)
def account(visit: Visiting) -> Html:
    """Password and tokens."""
    return visit.render("account.html", _account(visit))


def _account(visit: Visit, fresh: str = "", fault: str = "") -> AccountView:
    tokens = visit.session.tokens() if visit.can("read", "tokens") else ()
    return AccountView(tokens, tuple(str(one) for one in visit.session.rights.permissions()), _DAYS, fresh, fault)


@post("/account/password", sync_to_thread=True)
def change_password(visit: Visiting, data: Posted) -> Html:
    """A new password; all sessions end, this one begins anew."""
    form = Form(data)
    try:
        visit.session.change_own_password(form.secret("old"), form.secret("new"))
    except InputError as error:
        return visit.render("account.html", _account(visit, fault=visit.fault_text(error)), status=400)
    return renew_session(visit, redirect("/account", done="password"))


@post("/account/tokens", sync_to_thread=True)
def add_token(visit: Visiting, data: Posted) -> Html:
    """A new token; its text stands on this page and on none after it."""
    form = Form(data)
    try:
        days = form.number("days")
        if days not in _DAYS:
            days = _DAYS[0]
        scopes = tuple(form.text("scopes").replace(",", " ").split())
        _, text = visit.session.add_token(scopes, visit.now + timedelta(days=days), form.text("label", longest=100))
    except InputError as error:
        return visit.render("account.html", _account(visit, fault=visit.fault_text(error)), status=400)
    return visit.render("account.html", _account(visit, fresh=text))


@post("/account/tokens/{token_id:int}/revoke", sync_to_thread=True)
def revoke_token(visit: Visiting, token_id: Id) -> Html:
    """End a token."""
    visit.session.revoke_token(token_id)
    return redirect("/account", done="token-revoked")
