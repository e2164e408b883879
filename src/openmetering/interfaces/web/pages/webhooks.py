"""Webhooks: where events are posted to. A secret that is made here is shown once and on no page after it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Final

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import Id
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import Tenant, Webhook
from openmetering.services.headend.webhooks import EVENTS

__all__ = ["add_webhook", "remove_webhook", "webhooks"]

_SECRET: Final = 32  #: octets of a secret that is made here


class View(msgspec.Struct, frozen=True):
    """The page; ``fresh`` is the secret of the webhook that was made now."""

    rows: tuple[Webhook, ...]
    names: dict[int, str]
    tenants: tuple[Tenant, ...]
    events: tuple[str, ...]
    everywhere: bool
    choices: tuple[tuple[int | str, str], ...]
    entered: Mapping[str, str]
    wanted: tuple[str, ...]
    fresh: str = ""
    fault: str = ""

    def __repr__(self) -> str:
        return f"<View of {len(self.rows)} webhooks>"


@get("/webhooks", sync_to_thread=True)
def webhooks(visit: Visiting) -> Html:
    """All webhooks that the user sees."""
    return visit.render("webhooks.html", _view(visit, {}, ("alarm",)))


def _view(visit: Visit, entered: Mapping[str, str], wanted: tuple[str, ...], *, fresh: str = "", fault: str = "") -> View:
    tenants = visit.session.tenants() if visit.can("read", "tenants") else ()
    scope = visit.session.rights.scope("write", "webhooks")
    return View(
        visit.session.webhooks(),
        {one.id: one.name for one in tenants},
        tenants,
        tuple(EVENTS),
        scope is not None and scope.kind == "all",
        (("", visit.t("page.all")), *((one.id, one.name) for one in tenants)),
        entered,
        wanted,
        fresh,
        fault,
    )


@post("/webhooks", sync_to_thread=True)
def add_webhook(visit: Visiting, data: Posted) -> Html:
    """Post events to an address from now on; without a secret one is made."""
    form = Form(data)
    wanted = tuple(name for name in EVENTS if form.flag(f"event-{name}"))
    given = form.secret("secret").strip()
    secret = given or "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET)).decode()
    try:
        visit.session.add_webhook(form.text("url", longest=500), wanted, secret, form.number("tenant"))
    except InputError as error:
        entered = {name: value for name, value in data.items() if name != "secret"}
        return visit.render("webhooks.html", _view(visit, entered, wanted, fault=visit.fault_text(error)), status=400)
    if given:
        return redirect("/webhooks", done="webhook-added")
    return visit.render("webhooks.html", _view(visit, {}, ("alarm",), fresh=secret))


@post("/webhooks/{webhook_id:int}/remove", sync_to_thread=True)
def remove_webhook(visit: Visiting, webhook_id: Id) -> Html:
    """Stop posting."""
    visit.session.remove_webhook(webhook_id)
    return redirect("/webhooks", done="webhook-removed")
