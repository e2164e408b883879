"""The guarded head-end: tenants, the tree of nodes and points, devices, assignments, occupancies, gateways, import."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from openmetering.errors import InputError
from openmetering.services.headend.access import Guard, Window, needs
from openmetering.services.headend.csv_import import ImportPlan, ImportReport, export_rows
from openmetering.services.headend.model import (
    Assignment,
    Device,
    GatewayDevice,
    GatewayInfo,
    MeteringPoint,
    Node,
    Occupancy,
    Page,
    Tenant,
    holds,
)
from openmetering.services.headend.problems import denied, unknown
from openmetering.services.headend.registry import DeviceChange, DeviceFilter
from openmetering.services.headend.rights import Scope

__all__ = ["Place", "Places"]


class Place(msgspec.Struct, frozen=True):
    """Where a device measures: site, building, unit, room from the outside in, the point, and since when. Empty: nowhere."""

    nodes: tuple[Node, ...] = ()
    point: MeteringPoint | None = None
    assignment: Assignment | None = None


class Places(Guard):
    """Where things are, and whose."""

    # -- tenants --------------------------------------------------------------------------------

    @needs("read", "tenants")
    def tenants(self, scope: Scope) -> tuple[Tenant, ...]:
        """The tenants that the user has to do with."""
        return tuple(one for one in self._head.registry.tenants() if scope.covers(one.id))

    @needs("write", "tenants")
    def add_tenant(self, _scope: Scope, name: str) -> Tenant:
        """A new tenant. Raises InputError (``access.conflict``) for a name that is taken"""
        with self._head.writing():
            made = self._head.registry.add_tenant(name)
            self.note("add tenant", f"tenant {made.id}", name)
        return made

    # -- the tree -------------------------------------------------------------------------------

    @needs("read", "nodes")
    def nodes(self, scope: Scope) -> tuple[Node, ...]:
        """Sites, buildings, units, rooms; parents before children."""
        found = self._head.registry.nodes(self.tenant_filter(scope) if scope.kind != "own" else None)
        if scope.kind != "own":
            return found
        own = self._head.registry.nodes_of(scope.user_id)
        return tuple(node for node in found if node.id in own)

    @needs("write", "nodes")
    def add_node(self, scope: Scope, kind: str, name: str, parent_id: int | None = None, tenant_id: int | None = None) -> Node:
        """A new node below another, or a new root. Raises InputError (``access.unknown``, ``access.invalid``)"""
        parent = None if parent_id is None else self.seen_node(scope, parent_id)
        tenant = self.tenant_of(scope, tenant_id) if parent is None else parent.tenant_id
        with self._head.writing():
            made = self._head.registry.add_node(tenant, parent_id, kind, name)
            self.note("add node", f"node {made.id}", f"{kind} {name}")
        return made

    @needs("write", "nodes")
    def rename_node(self, scope: Scope, node_id: int, name: str) -> Node:
        """Another name for a node."""
        node = self.seen_node(scope, node_id)
        with self._head.writing():
            made = self._head.registry.rename_node(node, name)
            self.note("rename node", f"node {node_id}", name)
        return made

    @needs("write", "nodes")
    def remove_node(self, scope: Scope, node_id: int) -> None:
        """Remove a node that nothing hangs on. Raises InputError (``access.conflict``)"""
        node = self.seen_node(scope, node_id)
        with self._head.writing():
            self._head.registry.remove_node(node)
            self.note("remove node", f"node {node_id}", node.name)

    @needs("read", "nodes")
    def points(self, scope: Scope, node_id: int | None = None, after: int = 0, limit: int = 100) -> Page[MeteringPoint]:
        """Metering points, of one node or of all."""
        if node_id is not None:
            self.seen_node(scope, node_id)
            return self._head.registry.points([node_id], after=after, limit=limit)
        if scope.kind == "all":
            return self._head.registry.points(None, after=after, limit=limit)
        if scope.kind == "own":
            nodes = self._head.registry.nodes_of(scope.user_id)
        else:
            nodes = frozenset(node.id for node in self._head.registry.nodes(self.tenant_filter(scope)))
        return self._head.registry.points(sorted(nodes), after=after, limit=limit)

    @needs("write", "nodes")
    def add_point(self, scope: Scope, node_id: int, name: str, medium: str = "") -> MeteringPoint:
        """A new metering point in a node."""
        self.seen_node(scope, node_id)
        with self._head.writing():
            made = self._head.registry.add_point(node_id, name, medium)
            self.note("add point", f"point {made.id}", name)
        return made

    @needs("write", "nodes")
    def remove_point(self, scope: Scope, point_id: int) -> None:
        """Remove a point that was never assigned. Raises InputError (``access.conflict``)"""
        point = self._seen_point(scope, point_id)
        with self._head.writing():
            self._head.registry.remove_point(point)
            self.note("remove point", f"point {point_id}", point.name)

    # -- devices --------------------------------------------------------------------------------

    @needs("read", "devices")
    def devices(self, scope: Scope, wanted: DeviceFilter | None = None, after: int = 0, limit: int = 100) -> Page[Device]:
        """Devices by number."""
        windows = self.windows(scope)
        ids = None if windows is None else sorted({one.device_id for one in windows})
        tenant = None if windows is not None else self.tenant_filter(scope)
        page = self._head.registry.devices(wanted or DeviceFilter(), tenant_id=tenant, ids=ids, after=after, limit=limit)
        if windows is None:
            return page
        own = (self.own_view(one, tuple(w for w in windows if w.device_id == one.id)) for one in page.items)
        return Page(tuple(own), page.after)

    @needs("read", "devices")
    def device(self, scope: Scope, device_id: int) -> Device:
        """One device. Raises InputError (``access.unknown``)"""
        return self.seen_device(scope, device_id)

    @needs("read", "devices")
    def device_by_address(self, scope: Scope, address: str) -> Device:
        """One device by its address. Raises InputError (``access.unknown``)"""
        found = self._head.registry.by_address(address)
        if found is None:
            raise unknown("device", address)
        return self.seen_device(scope, found.id)

    @needs("write", "devices")
    def register_device(
        self, scope: Scope, address: str, change: DeviceChange | None = None, tenant_id: int | None = None
    ) -> Device:
        """Take a device over: one that was heard and is nobody's, or one that will be heard.

        Raises InputError (``address.invalid``, ``access.conflict``) if it is somebody's already
        """
        tenant = self.tenant_of(scope, tenant_id)
        with self._head.writing():
            made = self._head.registry.register(address, tenant, change or DeviceChange())
            self.note("register device", f"device {made.id}", made.address)
        self._head.tell_device(made)
        return made

    @needs("write", "devices")
    def change_device(self, scope: Scope, device_id: int, change: DeviceChange) -> Device:
        """Other particulars of a device (label, adapter, mode ...)."""
        device = self.seen_device(scope, device_id)
        with self._head.writing():
            made = self._head.registry.change(device, change)
            self.note("change device", f"device {device_id}", change.words())
        self._head.tell_device(made)
        return made

    @needs("write", "devices")
    def step_device(self, scope: Scope, device_id: int, step: str) -> Device:
        """Further in the life cycle: ``retire`` or ``reinstate``. Raises InputError (``access.conflict``)"""
        device = self.seen_device(scope, device_id)
        with self._head.writing():
            made = self._head.registry.step(device, step, by_hand=True)
            self.note(f"{step} device", f"device {device_id}", device.address)
        self._head.tell_device(made)
        return made

    @needs("read", "nodes")
    def place(self, scope: Scope, device_id: int) -> Place:
        """Where a device measures now."""
        self.seen_device(scope, device_id)
        now = self._head.now()
        if not self.has_now(scope, device_id):
            return Place()
        nodes = {node.id: node for node in self.nodes()}
        for one in self._head.registry.assignments(device_id=device_id):
            if holds(one, now):
                point = self._head.registry.find_point(one.point_id)
                if point is not None and point.node_id in nodes:
                    return Place(_way(nodes, point.node_id), point, one)
        return Place()

    # -- who measured what ------------------------------------------------------------------------

    @needs("read", "nodes")
    def assignments(self, scope: Scope, device_id: int | None = None, point_id: int | None = None) -> tuple[Assignment, ...]:
        """Assignments of a device or of a point, the oldest first; a consumer sees those of the own time."""
        if device_id is None and point_id is None:
            raise unknown("assignment", "without device and point")
        if device_id is not None:
            self.seen_device(scope, device_id)
        if point_id is not None:
            self._seen_point(scope, point_id)
        found = self._head.registry.assignments(device_id=device_id, point_id=point_id)
        windows = self.windows(scope)
        if windows is None:
            visible = {one.device_id: self._head.registry.find_device(one.device_id) for one in found}
            return tuple(one for one in found if (device := visible[one.device_id]) and scope.covers(device.tenant_id))
        return tuple(own for one in found if (own := _own_part(one, windows)) is not None)

    @needs("write", "nodes")
    def assign(
        self, scope: Scope, device_id: int, point_id: int, valid_from: datetime, valid_to: datetime | None = None
    ) -> Assignment:
        """From then on the device measures the point. Raises InputError (``access.conflict``) for overlaps"""
        device, point = self.seen_device(scope, device_id), self._seen_point(scope, point_id)
        with self._head.writing():
            made = self._head.registry.assign(device, point, valid_from, valid_to)
            self.note("assign device", f"device {device_id}", f"point {point_id} from {valid_from.isoformat()}")
        return made

    @needs("write", "nodes")
    def end_assignment(self, scope: Scope, assignment_id: int, valid_to: datetime) -> Assignment:
        """The device measures the point until then."""
        found = self._head.registry.find_assignment(assignment_id)
        if found is None:
            raise unknown("assignment", assignment_id)
        try:
            self.seen_device(scope, found.device_id)
        except InputError:
            raise unknown("assignment", assignment_id) from None
        with self._head.writing():
            made = self._head.registry.end_assignment(found, valid_to)
            self.note("end assignment", f"assignment {assignment_id}", valid_to.isoformat())
        return made

    @needs("write", "nodes")
    def move_device(self, scope: Scope, device_id: int, point_id: int | None, since: datetime, *, replace: bool = False) -> None:
        """From then on the device measures another point (None: none); with ``replace`` in the place of the meter there.

        What was measured until then ends, all or nothing. Raises InputError (``access.unknown``, ``access.invalid``,
        ``access.conflict``)
        """
        device, registry = self.seen_device(scope, device_id), self._head.registry
        point = None if point_id is None else self._seen_point(scope, point_id)
        with self._head.writing():
            ending = {one.id: one for one in registry.assignments(device_id=device_id)}
            if replace and point is not None:
                ending |= {one.id: one for one in registry.assignments(point_id=point.id)}
            for one in ending.values():
                if holds(one, since):
                    registry.end_assignment(one, since)
            if point is not None:
                registry.assign(device, point, since)
            where = "no point" if point is None else f"point {point.id}"
            self.note("move device", f"device {device_id}", f"{where} from {since.isoformat()}{' replacing' if replace else ''}")

    @needs("read", "occupancies", personal=True)
    def occupancies(self, scope: Scope, user_id: int | None = None, node_id: int | None = None) -> tuple[Occupancy, ...]:
        """Who lives where and since when, of a user or of a node."""
        if scope.kind == "own":
            user_id = scope.user_id
        found = self._head.registry.occupancies(user_id=user_id, node_id=node_id)
        if scope.kind == "tenant":
            nodes = {node.id for node in self._head.registry.nodes(self.tenant_filter(scope))}
            found = tuple(one for one in found if one.node_id in nodes)
        self.note("read occupancies", f"user {user_id or 'all'}", f"node {node_id or 'all'}", personal=True)
        return found

    @needs("write", "occupancies", personal=True)
    def add_occupancy(
        self, scope: Scope, user_id: int, node_id: int, valid_from: datetime, valid_to: datetime | None = None
    ) -> Occupancy:
        """From then on the node is the consumer's. Raises InputError (``access.unknown``, ``access.invalid``)"""
        node = self.seen_node(scope, node_id)
        user = self._head.accounts.find(user_id)
        if user is None or not (scope.kind == "all" or user.tenant_id == node.tenant_id):
            raise unknown("user", user_id)
        with self._head.writing():
            made = self._head.registry.add_occupancy(user, node, valid_from, valid_to)
            self.note("add occupancy", f"user {user_id}", f"node {node_id} from {valid_from.isoformat()}", personal=True)
        return made

    @needs("write", "occupancies", personal=True)
    def end_occupancy(self, scope: Scope, occupancy_id: int, valid_to: datetime) -> Occupancy:
        """The node is the consumer's until then."""
        found = self._head.registry.find_occupancy(occupancy_id)
        node = None if found is None else self._head.registry.find_node(found.node_id)
        if found is None or node is None or not scope.covers(node.tenant_id):
            raise unknown("occupancy", occupancy_id)
        with self._head.writing():
            made = self._head.registry.end_occupancy(found, valid_to)
            self.note("end occupancy", f"user {found.user_id}", valid_to.isoformat(), personal=True)
        return made

    # -- gateways -------------------------------------------------------------------------------

    @needs("read", "gateways")
    def gateways(self, _scope: Scope) -> tuple[GatewayInfo, ...]:
        """All gateways; they are infrastructure and belong to no tenant."""
        return self._head.registry.gateways()

    @needs("read", "devices")
    def receivers(self, scope: Scope, device_id: int) -> tuple[GatewayDevice, ...]:
        """Which gateways hear a device, and how well."""
        self.seen_device(scope, device_id)
        return self._head.registry.receivers(device_id) if self.has_now(scope, device_id) else ()

    @needs("read", "gateways")
    def heard_by(self, scope: Scope, gateway_id: int) -> tuple[GatewayDevice, ...]:
        """Which devices a gateway hears; those of other tenants are left out."""
        if self._head.registry.find_gateway(gateway_id) is None:
            raise unknown("gateway", gateway_id)
        if not self.can("read", "devices"):
            raise denied("read", "devices")
        devices = self.rights.require("read", "devices")
        found = self._head.registry.hears(gateway_id)
        if scope.kind == "all" and devices.kind == "all":
            return found
        own = self._head.registry.device_ids(self.tenant_filter(devices))
        return tuple(one for one in found if one.device_id in own)

    # -- import and export ------------------------------------------------------------------------

    @needs("write", "devices")
    def preview_import(self, scope: Scope, data: bytes, tenant_id: int | None = None) -> ImportPlan:
        """What a CSV file of devices would do: rows that are new, changed, the same, refused with the reason."""
        return self._head.importer.preview(data, self.tenant_of(scope, tenant_id))

    @needs("write", "devices")
    def apply_import(self, scope: Scope, data: bytes, tenant_id: int | None = None, *, partly: bool = False) -> ImportReport:
        """Do it, in one transaction; with ``partly`` in spite of refused rows, which are left out.

        Raises InputError (``access.conflict``) for refused rows without ``partly``
        """
        tenant = self.tenant_of(scope, tenant_id)
        with self._head.writing():
            report = self._head.importer.apply(data, tenant, partly=partly)
            self.note("import devices", f"tenant {tenant}", report.words())
        for device in report.devices:
            self._head.tell_device(device)
        return report

    @needs("read", "devices")
    def export_devices(self, scope: Scope) -> str:
        """The devices of the user as the CSV file that the import reads; for a consumer those of now."""
        now = self._head.now()
        if scope.kind == "own":
            ids = frozenset(one.device_id for one in self._head.registry.windows(scope.user_id, now))
            return export_rows(self._head.registry, None, now, ids=ids, within=self._head.registry.nodes_of(scope.user_id))
        return export_rows(self._head.registry, self.tenant_filter(scope), now)


def _way(nodes: Mapping[int, Node], node_id: int) -> tuple[Node, ...]:
    way: list[Node] = []
    node = nodes.get(node_id)
    while node is not None:
        way.insert(0, node)
        node = None if node.parent_id is None else nodes.get(node.parent_id)
    return tuple(way)


def _own_part(assignment: Assignment, windows: tuple[Window, ...]) -> Assignment | None:
    """The part of an assignment that lies in windows of its device; None if none does."""
    ends = [one for one in windows if one.device_id == assignment.device_id]
    times = [
        (max(one.since, assignment.valid_from), _earlier(one.until, assignment.valid_to))
        for one in ends
        if (one.until is None or one.until > assignment.valid_from)
        and (assignment.valid_to is None or assignment.valid_to > one.since)
    ]
    if not times:
        return None
    start = min(since for since, _ in times)
    end = None if any(until is None for _, until in times) else max(until for _, until in times if until is not None)
    return Assignment(assignment.id, assignment.device_id, assignment.point_id, start, end)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    known = [moment for moment in (one, other) if moment is not None]
    return min(known) if known else None
