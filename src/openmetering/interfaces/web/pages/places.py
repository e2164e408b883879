"""The tree of places: sites, buildings, units and rooms, what is in them, and who lives there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import msgspec
from litestar import get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.i18n import Words
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import Id
from openmetering.interfaces.web.pages.names import Names, users_of
from openmetering.interfaces.web.pages.tree import crumbs, points_of, way
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting, redirect
from openmetering.services.headend.model import NODE_KINDS, Assignment, MeteringPoint, Node, Occupancy, Tenant, holds
from openmetering.services.headend.problems import unknown
from openmetering.storage.mdm_rows import NodeData
from openmetering.tables import DEVICE_TYPES

__all__ = [
    "add_node",
    "agree_place",
    "add_occupancy",
    "add_point",
    "end_occupancy",
    "place",
    "places",
    "remove_node",
    "rename_node",
]


class Branch(msgspec.Struct, frozen=True):
    """A node with what is below it."""

    node: Node
    points: int
    below: tuple[Branch, ...] = ()


class View(msgspec.Struct, frozen=True):
    """The whole tree, by tenant where the user sees several."""

    trees: tuple[tuple[str, tuple[Branch, ...]], ...]
    tenants: tuple[Tenant, ...]
    kinds: tuple[str, ...]
    entered: Mapping[str, str]
    fault: str = ""


class PointRow(msgspec.Struct, frozen=True):
    """A metering point with what measures it now."""

    point: MeteringPoint
    medium: str
    assignment: Assignment | None
    device: str


class Home(msgspec.Struct, frozen=True):
    """Who lives there."""

    occupancy: Occupancy
    name: str


class NodeView(msgspec.Struct, frozen=True):
    """One node. ``people`` are consumers to choose from, None where the user may not see accounts."""

    node: Node
    crumbs: tuple[tuple[str, str], ...]
    below: tuple[Node, ...]
    points: tuple[PointRow, ...]
    homes: tuple[Home, ...]
    people: tuple[tuple[int, str], ...] | None
    kinds: tuple[str, ...]
    media: tuple[tuple[str, str], ...]
    agreed: NodeData
    entered: Mapping[str, str]
    fault: str = ""


# -- the tree -------------------------------------------------------------------------------------


@get("/places", sync_to_thread=True)
def places(visit: Visiting) -> Html:
    """All places."""
    return visit.render("places.html", _view(visit, {}))


def _view(visit: Visit, entered: Mapping[str, str], fault: str = "") -> View:
    session = visit.session
    nodes = session.nodes()
    counts = Counter(one.node_id for one in points_of(visit))
    tenants = session.tenants() if visit.can("read", "tenants") else ()
    names = {one.id: one.name for one in tenants}
    trees: Mapping[str, list[Branch]] = defaultdict(list)
    for root in _branches(nodes, counts):
        trees[names.get(root.node.tenant_id, "") if len(tenants) > 1 else ""].append(root)
    return View(tuple((name, tuple(roots)) for name, roots in sorted(trees.items())), tenants, NODE_KINDS, entered, fault)


def _branches(nodes: tuple[Node, ...], counts: Mapping[int, int]) -> Iterator[Branch]:
    known = {one.id for one in nodes}
    children: Mapping[int | None, list[Node]] = defaultdict(list)
    for one in nodes:
        children[one.parent_id if one.parent_id in known else None].append(one)

    def grow(parent: int | None) -> Iterator[Branch]:
        for one in children[parent]:
            yield Branch(one, counts.get(one.id, 0), tuple(grow(one.id)))

    return grow(None)


@post("/places", sync_to_thread=True)
def add_node(visit: Visiting, data: Posted) -> Html:
    """A new place, below another one or on top."""
    form = Form(data)
    parent = form.number("parent")
    try:
        made = visit.session.add_node(form.text("kind"), form.text("name", longest=200), parent, form.number("tenant"))
    except InputError as error:
        if parent is not None:
            return visit.render("place.html", _node_view(visit, parent, data, visit.fault_text(error)), status=400)
        return visit.render("places.html", _view(visit, data, visit.fault_text(error)), status=400)
    return redirect(f"/places/{made.id}", done="place-added")


# -- one place ------------------------------------------------------------------------------------


@get("/places/{node_id:int}", sync_to_thread=True)
def place(visit: Visiting, node_id: Id) -> Html:
    """One place."""
    return visit.render("place.html", _node_view(visit, node_id, {}))


def _node_view(visit: Visit, node_id: int, entered: Mapping[str, str], fault: str = "") -> NodeView:
    nodes = {one.id: one for one in visit.session.nodes()}
    if node_id not in nodes:
        raise unknown("node", node_id)
    node = nodes[node_id]
    names = Names(visit)
    homes = visit.session.occupancies(node_id=node_id) if visit.can("read", "occupancies") else ()
    return NodeView(
        node,
        (*crumbs(way(node, nodes)[:-1]), (node.name, "")),
        tuple(one for one in nodes.values() if one.parent_id == node_id),
        tuple(_point_rows(visit, names, node_id)),
        tuple(Home(one, names.user(one.user_id)) for one in reversed(homes)),
        tuple(_consumers(visit, node.tenant_id)) if visit.can("read", "users") else None,
        NODE_KINDS[NODE_KINDS.index(node.kind) + 1 :],
        _media(visit.t),
        visit.session.node_data(node_id),
        entered,
        fault,
    )


def _media(words: Words) -> tuple[tuple[str, str], ...]:
    """What may be measured: the term of the standard, and how people call it."""
    known = {one.name for one in DEVICE_TYPES if one.group in ("end-device", "known")}
    return ("", "–"), *sorted(((term, words.term(term)) for term in known), key=lambda pair: pair[1].casefold())


def _point_rows(visit: Visit, names: Names, node_id: int) -> Iterator[PointRow]:
    for point in points_of(visit, node_id):
        current = next((one for one in visit.session.assignments(point_id=point.id) if holds(one, visit.now)), None)
        yield PointRow(point, visit.t.term(point.medium), current, names.device(current.device_id) if current else "")


def _consumers(visit: Visit, tenant_id: int) -> Iterator[tuple[int, str]]:
    for one in users_of(visit):
        if one.role == "consumer" and one.tenant_id == tenant_id and not one.disabled:
            yield one.id, one.name


@post("/places/{node_id:int}/rename", sync_to_thread=True)
def rename_node(visit: Visiting, node_id: Id, data: Posted) -> Html:
    """Another name."""
    try:
        visit.session.rename_node(node_id, Form(data).text("name", longest=200))
    except InputError as error:
        return _wrong(visit, node_id, {}, error)
    return redirect(f"/places/{node_id}", done="changed")


@post("/places/{node_id:int}/agreed", sync_to_thread=True)
def agree_place(visit: Visiting, node_id: Id, data: Posted) -> Html:
    """What counts for the bill from now on."""
    form = Form(data)
    try:
        area = form.decimal("area")
        agreed = NodeData(
            0, node_id, None if area is None else float(area), form.text("usage", longest=60), form.decimal("kwh_per_unit"),
            form.text("identifier", longest=60),
        )  # fmt: skip
        visit.session.set_node_data(agreed)
    except InputError as error:
        return _wrong(visit, node_id, data, error)
    return redirect(f"/places/{node_id}", done="changed")


@post("/places/{node_id:int}/remove", sync_to_thread=True)
def remove_node(visit: Visiting, node_id: Id) -> Html:
    """Take an empty place away."""
    try:
        visit.session.remove_node(node_id)
    except InputError as error:
        return _wrong(visit, node_id, {}, error)
    return redirect("/places", done="place-removed")


@post("/places/{node_id:int}/points", sync_to_thread=True)
def add_point(visit: Visiting, node_id: Id, data: Posted) -> Html:
    """A new metering point there."""
    form = Form(data)
    try:
        made = visit.session.add_point(node_id, form.text("point_name", longest=200), form.text("medium", longest=100))
    except InputError as error:
        return _wrong(visit, node_id, data, error)
    return redirect(f"/points/{made.id}", done="point-added")


# -- who lives there ------------------------------------------------------------------------------


@post("/places/{node_id:int}/occupancies", sync_to_thread=True)
def add_occupancy(visit: Visiting, node_id: Id, data: Posted) -> Html:
    """Somebody moves in, now or at the time that was given."""
    form = Form(data)
    try:
        since = form.moment("since") or visit.now
        visit.session.add_occupancy(form.number("user") or 0, node_id, since, form.moment("until"))
    except InputError as error:
        return _wrong(visit, node_id, data, error)
    return redirect(f"/places/{node_id}", done="moved-in")


@post("/places/{node_id:int}/occupancies/{occupancy_id:int}/end", sync_to_thread=True)
def end_occupancy(visit: Visiting, node_id: Id, occupancy_id: Id, data: Posted) -> Html:
    """Somebody moves out."""
    try:
        visit.session.end_occupancy(occupancy_id, Form(data).moment("until") or visit.now)
    except InputError as error:
        return _wrong(visit, node_id, {}, error)
    return redirect(f"/places/{node_id}", done="moved-out")


def _wrong(visit: Visit, node_id: int, entered: Mapping[str, str], error: InputError) -> Html:
    return visit.render("place.html", _node_view(visit, node_id, entered, visit.fault_text(error)), status=400)
