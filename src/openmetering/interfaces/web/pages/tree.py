"""The tree of places for pages: the way to a node, metering points by number, and texts for both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from openmetering.interfaces.web.pages.visit import Visit
from openmetering.services.headend.model import MeteringPoint, Node, every
from openmetering.services.headend.problems import unknown

__all__ = ["crumbs", "find_point", "points_of", "way", "way_text"]

_PART = 500


def way(node: Node, nodes: Mapping[int, Node]) -> tuple[Node, ...]:
    """From the outermost node to this one, as far as the user may see."""
    found = [node]
    while (parent := found[-1].parent_id) is not None and parent in nodes:
        found.append(nodes[parent])
    return tuple(reversed(found))


def way_text(nodes: Iterable[Node]) -> str:
    """The names of a way in a line."""
    return " · ".join(one.name for one in nodes)


def crumbs(nodes: Iterable[Node]) -> tuple[tuple[str, str], ...]:
    """A way with the addresses of its places."""
    return tuple((one.name, f"/places/{one.id}") for one in nodes)


def points_of(visit: Visit, node_id: int | None = None) -> Iterator[MeteringPoint]:
    """The points of a node, or all that the user sees. Raises InputError (``access.unknown``)"""
    return every(lambda after: visit.session.points(node_id, after=after, limit=_PART))


def find_point(visit: Visit, point_id: int) -> MeteringPoint:
    """A point: they come in the order of their numbers. Raises InputError (``access.unknown``)"""
    found = visit.session.points(after=point_id - 1, limit=1).items
    if not found or found[0].id != point_id:
        raise unknown("point", point_id)
    return found[0]
