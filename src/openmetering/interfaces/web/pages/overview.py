"""The building at one glance: places, what is measured there, and what is the matter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from litestar import get

from openmetering.interfaces.web.i18n import Words
from openmetering.interfaces.web.pages.looks import device_icon, device_tone, main_readings, shown, state_tone
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting
from openmetering.services.headend.board import BoardRow
from openmetering.services.headend.model import Node, Overview, OverviewNode

__all__ = ["overview"]

_MOST_DEVICES = 500  #: with more of them places show numbers only
_HEALTH_TONES = {"good": "good", "warning": "warn", "critical": "bad", "empty": "idle"}


class Tile(msgspec.Struct, frozen=True):
    """A number on top of the page."""

    name: str
    value: str
    tone: str = ""
    link: str = ""


class Row(msgspec.Struct, frozen=True):
    """A device."""

    id: int
    icon: str
    name: str
    detail: str
    value: str
    unit: str
    tone: str
    state: str


class Group(msgspec.Struct, frozen=True):
    """The devices of a room; no name for those of the unit itself."""

    name: str
    rows: tuple[Row, ...]


class Card(msgspec.Struct, frozen=True):
    """A unit with its rooms; ``counts`` instead of the devices where there are many, or their values may not be seen."""

    id: str
    name: str
    health: str
    tone: str
    groups: tuple[Group, ...] = ()
    counts: tuple[tuple[str, str, int], ...] = ()
    link: str = ""


class Place(msgspec.Struct, frozen=True):
    """A building or site with its units."""

    id: str
    kind: str
    name: str
    health: str
    tone: str
    cards: tuple[Card, ...]


class View(msgspec.Struct, frozen=True):
    """The page."""

    tiles: tuple[Tile, ...]
    places: tuple[Place, ...]


@get("/", sync_to_thread=True, name="overview")
def overview(visit: Visiting) -> Html:
    """The whole page."""
    return visit.render("overview.html", make_view(visit))


@get("/overview", sync_to_thread=True)
def overview_part(visit: Visiting) -> Html:
    """The part of it that lives."""
    return visit.render("overview_live.html" if visit.is_part else "overview.html", make_view(visit))


def make_view(visit: Visit) -> View:
    """All that the page shows."""
    guarded = visit.session
    found = guarded.overview()
    in_detail = visit.can("read", "readings") and sum(found.devices.values()) <= _MOST_DEVICES
    rows = guarded.board() if in_detail else None
    return View(tuple(_tiles(visit, found)), _Builder(visit.t, found.nodes, rows).places())


def _tiles(visit: Visit, found: Overview) -> Iterator[Tile]:
    number = visit.number
    total = sum(found.devices.values())
    critical, warning = found.alarms.get("critical", 0), found.alarms.get("warning", 0)
    yield Tile("meters", number(total), link="/meters")
    yield Tile("critical", number(critical), "bad" if critical else "good", "/alarms")
    yield Tile("warnings", number(warning), "warn" if warning else "good", "/alarms")
    if visit.can("read", "gateways"):
        online = sum(gateway.state == "online" for gateway in found.gateways)
        tone = "good" if online == len(found.gateways) else "bad"
        yield Tile("gateways", f"{online} / {len(found.gateways)}", tone, "/gateways")
    if found.devices.get("announced"):
        yield Tile("announced", number(found.devices["announced"]), "", "/meters?state=announced")


class _Builder:
    """Puts devices into rooms, rooms into units, units into buildings."""

    def __init__(self, words: Words, nodes: Sequence[OverviewNode], rows: Sequence[BoardRow] | None) -> None:
        self.words = words
        self.in_detail = rows is not None
        self.nodes = {one.node.id: one for one in nodes}
        self.children: Mapping[int | None, list[Node]] = defaultdict(list)
        for one in nodes:
            parent = one.node.parent_id
            self.children[parent if parent in self.nodes else None].append(one.node)
        self.rows: Mapping[int | None, list[BoardRow]] = defaultdict(list)
        for row in rows or ():
            self.rows[None if row.point is None else row.point.node_id].append(row)

    def places(self) -> tuple[Place, ...]:
        found = [place for root in self.children[None] for place in self._walk(root, ())]
        if loose := self.rows[None]:
            card = Card("loose", self.words("overview.loose"), "empty", "idle", (Group("", self._rows(loose)),))
            found.append(Place("loose", "meter", self.words("overview.unplaced"), "empty", "idle", (card,)))
        return tuple(found)

    def _walk(self, node: Node, above: tuple[str, ...]) -> Iterator[Place]:
        """A place for every node that has units, or devices of its own."""
        names = (*above, node.name)
        below = self.children[node.id]
        if node.kind in ("unit", "room"):
            yield self._place(node, above, [self._card(node)])
            return
        cards = [self._card(child) for child in below if child.kind in ("unit", "room")]
        if self.rows[node.id]:
            cards.append(self._common(node))
        if not cards and not self.in_detail and not below:
            cards.append(self._counted(node))
        if cards:
            yield self._place(node, above, cards)
        for child in below:
            if child.kind not in ("unit", "room"):
                yield from self._walk(child, names)

    def _place(self, node: Node, above: tuple[str, ...], cards: list[Card]) -> Place:
        health = self.nodes[node.id].health
        name = " · ".join((*above, node.name))
        return Place(str(node.id), node.kind, name, health, _HEALTH_TONES.get(health, "idle"), tuple(cards))

    def _common(self, node: Node) -> Card:
        rows = self._rows(self.rows[node.id])
        tones = {row.tone for row in rows}
        tone = next((tone for tone in ("bad", "warn", "good") if tone in tones), "idle")
        health = next(name for name, one in _HEALTH_TONES.items() if one == tone)
        return Card(f"{node.id}-common", self.words("overview.common"), health, tone, (Group("", rows),))

    def _card(self, node: Node) -> Card:
        health = self.nodes[node.id].health
        if not self.in_detail:
            return self._counted(node)
        groups = [Group("", self._rows(self.rows[node.id]))] if self.rows[node.id] else []
        groups += [Group(name, rows) for name, rows in self._rooms(node)]
        return Card(str(node.id), node.name, health, _HEALTH_TONES.get(health, "idle"), tuple(groups))

    def _counted(self, node: Node) -> Card:
        one = self.nodes[node.id]
        counts = [(self.words.name("device", state), state_tone(state), number) for state, number in sorted(one.devices.items())]
        tone = _HEALTH_TONES.get(one.health, "idle")
        return Card(str(node.id), node.name, one.health, tone, counts=tuple(counts), link=f"/meters?node={node.id}")

    def _rooms(self, node: Node) -> Iterator[tuple[str, tuple[Row, ...]]]:
        for child in self.children[node.id]:
            if self.rows[child.id]:
                yield child.name, self._rows(self.rows[child.id])
            yield from self._rooms(child)

    def _rows(self, rows: Sequence[BoardRow]) -> tuple[Row, ...]:
        return tuple(self._row(row) for row in rows)

    def _row(self, row: BoardRow) -> Row:
        device, words = row.device, self.words
        main = main_readings(device.medium, row.readings, 1)
        medium = words.term(device.medium)
        name = (row.point.name if row.point else "") or device.label or medium or device.address
        name = name[:1].upper() + name[1:]
        value = shown(main[0], words) if main else None
        return Row(
            device.id,
            device_icon(device),
            name,
            medium if medium.casefold() != name.casefold() else "",
            value.value if value else "",
            value.unit if value else "",
            device_tone(device, row.alarm),
            words.name("alarm-kind", row.alarm_kind) if row.alarm_kind else words.name("device", device.state),
        )
