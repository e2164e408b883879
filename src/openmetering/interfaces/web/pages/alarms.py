"""Alarms: what somebody should look at, and that somebody has."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get, post

from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import Before, Id, State
from openmetering.interfaces.web.pages.lists import Part, chosen, part
from openmetering.interfaces.web.pages.looks import alarm_detail, alarm_title, severity_tone
from openmetering.interfaces.web.pages.names import Names
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, own_path, redirect
from openmetering.services.headend.model import Alarm

__all__ = ["acknowledge", "alarms"]

_TABS: Final[dict[str, tuple[str, ...]]] = {
    "open": ("raised", "acknowledged"),
    "raised": ("raised",),
    "cleared": ("cleared",),
    "all": (),
}
_PAGE: Final = 50


class Row(msgspec.Struct, frozen=True):
    """An alarm with the names of things."""

    alarm: Alarm
    title: str
    detail: str
    tone: str
    device: str
    by: str


class View(msgspec.Struct, frozen=True):
    """The page."""

    rows: tuple[Row, ...]
    tabs: tuple[str, ...]
    state: str
    part: Part


@get("/alarms", sync_to_thread=True)
def alarms(visit: Visiting, which: State = "open", before: Before = None) -> Html:
    """Alarms, the newest first."""
    state = chosen(_TABS, which)
    page = visit.session.alarms(states=_TABS[state], before=before, limit=_PAGE)
    names = Names(visit)
    view = View(
        tuple(_row(visit, names, one) for one in page.items),
        tuple(_TABS),
        state,
        part("/alarms", {"state": state}, before, page.after),
    )
    return visit.render("alarms_live.html" if visit.is_part else "alarms.html", view)


def _row(visit: Visit, names: Names, one: Alarm) -> Row:
    tone = "idle" if one.state == "cleared" else severity_tone(one.severity)
    return Row(
        one,
        alarm_title(one.kind, visit.t),
        alarm_detail(one, visit.t),
        tone,
        names.device(one.device_id),
        names.user(one.acknowledged_by),
    )


@post("/alarms/{alarm_id:int}/acknowledge", sync_to_thread=True)
def acknowledge(visit: Visiting, alarm_id: Id, data: Posted) -> Html:
    """Say that the alarm was seen."""
    visit.session.acknowledge_alarm(alarm_id)
    return redirect(own_path(Form(data).text("back"), "/alarms"), done="acknowledged")
