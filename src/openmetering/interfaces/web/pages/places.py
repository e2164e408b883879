"""Where a meter measures now: its point and the way to it through the tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from openmetering.interfaces.web.pages.visit import Visit
from openmetering.services.headend.model import Assignment, MeteringPoint, Node

__all__ = ["Place", "place_of", "points_of", "way"]

_PART = 500


class Place(msgspec.Struct, frozen=True):
    """The assignment that holds now, its point, and the nodes from the outermost to that of the point."""

    assignment: Assignment | None = None
    point: MeteringPoint | None = None
    nodes: tuple[Node, ...] = ()


def way(node: Node, nodes: Mapping[int, Node]) -> tuple[Node, ...]:
    """From the outermost node to this one, as far as the user may see."""
    found = [node]
    while (parent := found[-1].parent_id) is not None and parent in nodes:
        found.append(nodes[parent])
    return tuple(reversed(found))


def place_of(visit: Visit, device_id: int) -> Place:
    """Where a device measures now; empty where it measures nothing, or the user may not see places."""
    if not visit.can("read", "nodes"):
        return Place()
    session, now = visit.session, visit.now
    current = [
        one
        for one in session.assignments(device_id=device_id)
        if one.valid_from <= now and (one.valid_to is None or now < one.valid_to)
    ]
    if not current:
        return Place()
    assignment = current[-1]
    # points come in the order of their numbers: the first one behind the number before is it
    found = session.points(after=assignment.point_id - 1, limit=1).items
    if not found or found[0].id != assignment.point_id:
        return Place(assignment)
    point = found[0]
    nodes = {node.id: node for node in session.nodes()}
    return Place(assignment, point, way(nodes[point.node_id], nodes) if point.node_id in nodes else ())


def points_of(visit: Visit) -> Iterator[MeteringPoint]:
    """All points that the user sees."""
    after: int | None = 0
    while after is not None:
        page = visit.session.points(after=after, limit=_PART)
        yield from page.items
        after = page.after
