"""The audit trail: who did what, and who read personal data."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get

from openmetering.interfaces.web.pages.inputs import Before, OptionalId, Text
from openmetering.interfaces.web.pages.lists import Part, part
from openmetering.interfaces.web.pages.names import Names
from openmetering.interfaces.web.pages.visit import Html, Visiting
from openmetering.services.headend.model import AuditEntry

__all__ = ["audit"]

_PAGE: Final = 100


class Row(msgspec.Struct, frozen=True):
    """An entry with the name of the user."""

    entry: AuditEntry
    by: str


class View(msgspec.Struct, frozen=True):
    """The page."""

    rows: tuple[Row, ...]
    user: int | None
    thing: str
    part: Part


@get("/audit", sync_to_thread=True)
def audit(visit: Visiting, before: Before = None, user: OptionalId = None, thing: Text = "") -> Html:
    """The newest first, of everybody or of one, of everything or of one thing."""
    thing = thing.strip()[:80]
    page = visit.session.audit(before=before, limit=_PAGE, user_id=user, thing=thing or None)
    names = Names(visit)
    view = View(
        tuple(Row(one, names.user(one.user_id)) for one in page.items),
        user,
        thing,
        part("/audit", {"user": user, "thing": thing}, before, page.after),
    )
    return visit.render("audit.html", view)
