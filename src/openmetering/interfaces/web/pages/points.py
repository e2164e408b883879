"""A metering point: which meters measured it when, the exchange of a meter, the end of an assignment."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import Id
from openmetering.interfaces.web.pages.names import Names
from openmetering.interfaces.web.pages.tree import crumbs, find_point, way
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import Assignment, Device, MeteringPoint, holds
from openmetering.services.headend.problems import invalid
from openmetering.services.headend.registry import DeviceFilter
from openmetering.storage.mdm_rows import PointData

__all__ = ["agree_point", "end_assignment", "exchange", "point", "remove_point"]

_MOST_DEVICES = 500


class Period(msgspec.Struct, frozen=True):
    """A meter and its time at the point."""

    assignment: Assignment
    device: str
    current: bool


class View(msgspec.Struct, frozen=True):
    """The page. ``devices`` are offered for the exchange; ``agreed`` is what counts for the bill."""

    point: MeteringPoint
    medium: str
    crumbs: tuple[tuple[str, str], ...]
    periods: tuple[Period, ...]
    current: Period | None
    devices: tuple[Device, ...]
    agreed: PointData
    entered: Mapping[str, str]
    fault: str = ""


@get("/points/{point_id:int}", sync_to_thread=True)
def point(visit: Visiting, point_id: Id) -> Html:
    """One metering point."""
    return visit.render("point.html", _view(visit, point_id, {}))


def _view(visit: Visit, point_id: int, entered: Mapping[str, str], fault: str = "") -> View:
    session, names = visit.session, Names(visit)
    found = find_point(visit, point_id)
    nodes = {one.id: one for one in session.nodes()}
    periods = tuple(
        Period(one, names.device(one.device_id), holds(one, visit.now))
        for one in reversed(session.assignments(point_id=point_id))
    )
    current = next((one for one in periods if one.current), None)
    node = nodes.get(found.node_id)
    return View(
        found,
        visit.t.term(found.medium),
        (*(() if node is None else crumbs(way(node, nodes))), (found.name, "")),
        periods,
        current,
        _offered(visit, None if node is None else node.tenant_id, current) if visit.can("write", "nodes") else (),
        session.point_data(point_id),
        entered,
        fault,
    )


def _offered(visit: Visit, tenant_id: int | None, current: Period | None) -> tuple[Device, ...]:
    """Meters of the tenant that could measure there; those of the wanted medium are not told from others."""
    here = None if current is None else current.assignment.device_id
    return tuple(
        one
        for one in visit.session.devices(DeviceFilter(), limit=_MOST_DEVICES).items
        if one.tenant_id == tenant_id and one.state not in ("announced", "retired") and one.id != here
    )


@post("/points/{point_id:int}/agreed", sync_to_thread=True)
def agree_point(visit: Visiting, point_id: Id, data: Posted) -> Html:
    """What counts for the bill from now on."""
    form = Form(data)
    find_point(visit, point_id)
    try:
        grid = form.number("grid")
        agreed = PointData(
            0, point_id, form.text("size", longest=60), form.decimal("maximum"), form.optional("unit"), form.decimal("factor"),
            form.text("part", longest=10), None if grid is None else float(grid), form.text("identifier", longest=60),
        )  # fmt: skip
        visit.session.set_point_data(agreed)
    except InputError as error:
        return visit.render("point.html", _view(visit, point_id, data, visit.fault_text(error)), status=400)
    return redirect(f"/points/{point_id}", done="changed")


@post("/points/{point_id:int}/exchange", sync_to_thread=True)
def exchange(visit: Visiting, point_id: Id, data: Posted) -> Html:
    """From then on another meter measures there; the one before may be retired at once."""
    form, session = Form(data), visit.session
    find_point(visit, point_id)
    try:
        since = form.moment("since") or visit.now
        before = [one.device_id for one in session.assignments(point_id=point_id) if one.valid_to is None]
        device = _named(visit, form.text("meter", longest=60))
        session.move_device(device.id, point_id, since, replace=True)
        for one in before:
            if form.flag("retire") and one != device.id:
                session.step_device(one, "retire")
    except InputError as error:
        return visit.render("point.html", _view(visit, point_id, data, visit.fault_text(error)), status=400)
    return redirect(f"/points/{point_id}", done="exchanged" if before else "placed")


def _named(visit: Visit, address: str) -> Device:
    """A meter by its address. Raises InputError (``access.invalid``) if there is none that the user sees"""
    try:
        return visit.session.device_by_address(address)
    except InputError as error:
        raise invalid(visit.t("point.no-such-meter", address=address)) from error


@post("/points/{point_id:int}/assignments/{assignment_id:int}/end", sync_to_thread=True)
def end_assignment(visit: Visiting, point_id: Id, assignment_id: Id, data: Posted) -> Html:
    """Nothing measures there any longer."""
    find_point(visit, point_id)
    try:
        visit.session.end_assignment(assignment_id, Form(data).moment("until") or visit.now)
    except InputError as error:
        return visit.render("point.html", _view(visit, point_id, {}, visit.fault_text(error)), status=400)
    return redirect(f"/points/{point_id}", done="assignment-ended")


@post("/points/{point_id:int}/remove", sync_to_thread=True)
def remove_point(visit: Visiting, point_id: Id) -> Html:
    """Take a point away that nothing ever measured."""
    node_id = find_point(visit, point_id).node_id
    try:
        visit.session.remove_point(point_id)
    except InputError as error:
        return visit.render("point.html", _view(visit, point_id, {}, visit.fault_text(error)), status=400)
    return redirect(f"/places/{node_id}", done="point-removed")
