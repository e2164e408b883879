"""Meters: the list, taking one over, its particulars and its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import After, Id, OptionalId, State, Text
from openmetering.interfaces.web.pages.lists import Part, part
from openmetering.interfaces.web.pages.looks import device_icon, device_tone
from openmetering.interfaces.web.pages.tree import points_of, way, way_text
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import DEVICE_STATES, Device, MeteringPoint, Node, Tenant
from openmetering.services.headend.problems import unknown
from openmetering.services.headend.registry import DeviceChange, DeviceFilter

__all__ = ["assign", "change", "edit", "meters", "new_meter", "register", "step"]

_PAGE: Final = 100
_STEPS: Final = ("retire", "reinstate")


class Row(msgspec.Struct, frozen=True):
    """A meter in the list."""

    device: Device
    icon: str
    tone: str
    state: str


class View(msgspec.Struct, frozen=True):
    """The list."""

    rows: tuple[Row, ...]
    search: str
    state: str
    states: tuple[str, ...]
    node: int | None
    place: str
    profiles: bool
    part: Part


class Spot(msgspec.Struct, frozen=True):
    """A metering point with the way to it."""

    id: int
    name: str


class EditView(msgspec.Struct, frozen=True):
    """The form; ``device`` None for a new one. ``entered`` is what was typed where something was wrong."""

    device: Device | None
    entered: Mapping[str, str]
    tenants: tuple[Tenant, ...]
    spots: tuple[Spot, ...] = ()
    spot: int | None = None
    nodes: tuple[Spot, ...] = ()
    fault: str = ""


@get("/meters", sync_to_thread=True)
def meters(visit: Visiting, q: Text = "", which: State = "", node: OptionalId = None, after: After = 0) -> Html:
    """The list, filtered."""
    state = which if which in DEVICE_STATES else ""
    wanted = DeviceFilter(state=state or None, text=q.strip()[:100] or None, node_id=node)
    page = visit.session.devices(wanted, after=after, limit=_PAGE)
    rows = [Row(one, device_icon(one), device_tone(one), visit.t.name("device", one.state)) for one in page.items]
    view = View(
        tuple(rows),
        q.strip(),
        state,
        DEVICE_STATES,
        node,
        _node_name(visit, node),
        any(one.profile for one in page.items),
        part("/meters", {"q": q.strip(), "state": state, "node": node}, after, page.after, name="after"),
    )
    return visit.render("meters.html", view)


def _node_name(visit: Visit, node_id: int | None) -> str:
    """The place that the list is limited to. Raises InputError (``access.unknown``)"""
    if node_id is None:
        return ""
    nodes = {one.id: one for one in visit.session.nodes()}
    if node_id not in nodes:
        raise unknown("node", node_id)
    return way_text(way(nodes[node_id], nodes))


# -- taking one over ------------------------------------------------------------------------------


@get("/meters/new", sync_to_thread=True)
def new_meter(visit: Visiting, address: Text = "") -> Html:
    """The form for a meter that is to be taken over."""
    visit.session.require("write", "devices", "new_meter")
    return visit.render("meter_edit.html", EditView(None, {"address": address[:40]}, _tenants(visit)))


@post("/meters", sync_to_thread=True)
def register(visit: Visiting, data: Posted) -> Html:
    """Take it over."""
    form = Form(data)
    try:
        made = visit.session.register_device(form.text("address"), _change(form), form.number("tenant"))
    except InputError as error:
        view = EditView(None, data, _tenants(visit), fault=visit.fault_text(error))
        return visit.render("meter_edit.html", view, status=400)
    return redirect(f"/meters/{made.id}/edit", done="registered")


# -- its particulars ------------------------------------------------------------------------------


@get("/meters/{device_id:int}/edit", sync_to_thread=True)
def edit(visit: Visiting, device_id: Id) -> Html:
    """The form for a meter that is known."""
    visit.session.require("write", "devices", "edit")
    return visit.render("meter_edit.html", _edit_view(visit, device_id, {}))


@post("/meters/{device_id:int}/edit", sync_to_thread=True)
def change(visit: Visiting, device_id: Id, data: Posted) -> Html:
    """Change them."""
    try:
        visit.session.change_device(device_id, _change(Form(data)))
    except InputError as error:
        return visit.render("meter_edit.html", _edit_view(visit, device_id, data, visit.fault_text(error)), status=400)
    return redirect(f"/meters/{device_id}/edit", done="changed")


@post("/meters/{device_id:int}/step", sync_to_thread=True)
def step(visit: Visiting, device_id: Id, data: Posted) -> Html:
    """Retire it, or take it back."""
    wanted = Form(data).text("step")
    visit.session.step_device(device_id, wanted if wanted in _STEPS else "")
    return redirect(f"/meters/{device_id}/edit", done="changed")


@post("/meters/{device_id:int}/place", sync_to_thread=True)
def assign(visit: Visiting, device_id: Id, data: Posted) -> Html:
    """From now on (or the time that was given) it measures there; a point of that name is made if it is missing."""
    form, session = Form(data), visit.session
    since = form.moment("since") or visit.now
    try:
        node, name = form.number("node"), form.text("point_name")
        point = form.number("point")
        if point is None and node is not None and name:
            point = session.add_point(node, name, session.device(device_id).medium).id
        session.move_device(device_id, point, since)
    except InputError as error:
        return visit.render("meter_edit.html", _edit_view(visit, device_id, {}, visit.fault_text(error)), status=400)
    return redirect(f"/meters/{device_id}/edit", done="placed")


def _change(form: Form) -> DeviceChange:
    return DeviceChange(
        label=form.text("label", longest=200),
        adapter=form.text("adapter", longest=40),
        mode=form.text("mode", longest=20),
        profile=form.text("profile", longest=20),
        bidirectional=form.flag("bidirectional"),
        wired_primary=form.number("wired_primary"),
    )


def _tenants(visit: Visit) -> tuple[Tenant, ...]:
    return visit.session.tenants() if visit.can("read", "tenants") else ()


def _edit_view(visit: Visit, device_id: int, entered: Mapping[str, str], fault: str = "") -> EditView:
    session = visit.session
    device = session.device(device_id)
    may_place = visit.can("write", "nodes")
    nodes = {node.id: node for node in session.nodes()} if may_place else {}
    spots = tuple(_spots(points_of(visit), nodes)) if may_place else ()
    point = session.place(device_id).point if may_place else None
    return EditView(
        device,
        entered,
        (),
        tuple(sorted(spots, key=lambda one: one.name)),
        None if point is None else point.id,
        tuple(sorted((Spot(one.id, way_text(way(one, nodes))) for one in nodes.values()), key=lambda one: one.name)),
        fault,
    )


def _spots(points: Iterator[MeteringPoint], nodes: Mapping[int, Node]) -> Iterator[Spot]:
    for point in points:
        node = nodes.get(point.node_id)
        if node is not None:
            yield Spot(point.id, f"{way_text(way(node, nodes))} · {point.name}")
