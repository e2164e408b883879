"""Routes for tenants, the tree of nodes and metering points, assignments, occupancies, gateways, the overview."""

from __future__ import annotations

import msgspec
from litestar.params import JSONBody

from openmetering.interfaces.web.api.common import (
    ApiRequest,
    Cursor,
    Id,
    Limit,
    Line,
    Listing,
    Name,
    Number,
    OptionalId,
    Session,
    Time,
    change,
    create,
    listing,
    maybe_utc,
    perform,
    read,
    remove,
    utc,
    whole,
)
from openmetering.services.headend.model import (
    Assignment,
    GatewayDevice,
    GatewayInfo,
    MeteringPoint,
    Node,
    Occupancy,
    Overview,
    Tenant,
)
from openmetering.storage.model import NodeKind

__all__ = ["ROUTES", "AddAssignment", "AddNode", "AddOccupancy", "AddPoint", "AddTenant", "End", "Rename"]


class AddTenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new tenant."""

    name: Name


class AddNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new node below ``parent_id``, or a new root of a tenant (by default the own one)."""

    kind: NodeKind
    name: Name
    parent_id: Number | None = None
    tenant_id: Number | None = None


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another name."""

    name: Name


class AddPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new metering point in a node."""

    node_id: Number
    name: Name
    medium: Line = ""


class AddAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``valid_from`` on the device measures the point, until ``valid_to`` (excluded) if that is known."""

    device_id: Number
    point_id: Number
    valid_from: Time
    valid_to: Time | None = None


class AddOccupancy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``valid_from`` on the node is the consumer's."""

    user_id: Number
    node_id: Number
    valid_from: Time
    valid_to: Time | None = None


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Until when (excluded) something counts."""

    valid_to: Time


# -- tenants -----------------------------------------------------------------------------------------


@read("/tenants", "read:tenants", tag="tenants")
def list_tenants(session: Session) -> Listing[Tenant]:
    """The tenants that the user has to do with."""
    return whole(session.tenants())


@create("/tenants", "write:tenants", tag="tenants")
def add_tenant(session: Session, data: JSONBody[AddTenant]) -> Tenant:
    """Add a tenant."""
    return session.add_tenant(data.name)


# -- the tree ----------------------------------------------------------------------------------------


@read("/overview", "read:nodes", tag="places")
def overview(session: Session) -> Overview:
    """The tree with what is the matter in it: devices by state and open alarms by severity."""
    return session.overview()


@read("/nodes", "read:nodes", tag="places")
def list_nodes(session: Session) -> Listing[Node]:
    """Sites, buildings, units and rooms, parents before children."""
    return whole(session.nodes())


@create("/nodes", "write:nodes", tag="places")
def add_node(session: Session, data: JSONBody[AddNode]) -> Node:
    """Add a node."""
    return session.add_node(data.kind, data.name, data.parent_id, data.tenant_id)


@change("/nodes/{node_id:int}", "write:nodes", tag="places")
def rename_node(session: Session, node_id: Id, data: JSONBody[Rename]) -> Node:
    """Give a node another name."""
    return session.rename_node(node_id, data.name)


@remove("/nodes/{node_id:int}", "write:nodes", tag="places")
def remove_node(session: Session, node_id: Id) -> None:
    """Remove a node that nothing hangs on."""
    session.remove_node(node_id)


@read("/points", "read:nodes", tag="places")
def list_points(
    request: ApiRequest, session: Session, node_id: OptionalId = None, cursor: Cursor = None, limit: Limit = 100
) -> Listing[MeteringPoint]:
    """Metering points, of one node or of all."""
    return listing(request, session.points(node_id, cursor or 0, limit))


@create("/points", "write:nodes", tag="places")
def add_point(session: Session, data: JSONBody[AddPoint]) -> MeteringPoint:
    """Add a metering point."""
    return session.add_point(data.node_id, data.name, data.medium)


@remove("/points/{point_id:int}", "write:nodes", tag="places")
def remove_point(session: Session, point_id: Id) -> None:
    """Remove a metering point that was never assigned."""
    session.remove_point(point_id)


# -- who measured what, who lives where --------------------------------------------------------------


@read("/assignments", "read:nodes", tag="places")
def list_assignments(session: Session, device_id: OptionalId = None, point_id: OptionalId = None) -> Listing[Assignment]:
    """Assignments of a device or of a point, the oldest first.

    One of both must be named.
    """
    return whole(session.assignments(device_id, point_id))


@create("/assignments", "write:nodes", tag="places")
def assign(session: Session, data: JSONBody[AddAssignment]) -> Assignment:
    """Say that a device measures a point; assignments of a device or of a point may not overlap."""
    return session.assign(data.device_id, data.point_id, utc(data.valid_from), maybe_utc(data.valid_to))


@perform("/assignments/{assignment_id:int}/end", "write:nodes", tag="places")
def end_assignment(session: Session, assignment_id: Id, data: JSONBody[End]) -> Assignment:
    """End an assignment."""
    return session.end_assignment(assignment_id, utc(data.valid_to))


@read("/occupancies", "read:occupancies", tag="places")
def list_occupancies(session: Session, user_id: OptionalId = None, node_id: OptionalId = None) -> Listing[Occupancy]:
    """Which nodes are which consumer's, and since when.

    Reading it is noted in the audit trail.
    """
    return whole(session.occupancies(user_id, node_id))


@create("/occupancies", "write:occupancies", tag="places")
def add_occupancy(session: Session, data: JSONBody[AddOccupancy]) -> Occupancy:
    """Say that a node and all below it is a consumer's."""
    return session.add_occupancy(data.user_id, data.node_id, utc(data.valid_from), maybe_utc(data.valid_to))


@perform("/occupancies/{occupancy_id:int}/end", "write:occupancies", tag="places")
def end_occupancy(session: Session, occupancy_id: Id, data: JSONBody[End]) -> Occupancy:
    """End an occupancy."""
    return session.end_occupancy(occupancy_id, utc(data.valid_to))


# -- gateways ----------------------------------------------------------------------------------------


@read("/gateways", "read:gateways", tag="gateways")
def list_gateways(session: Session) -> Listing[GatewayInfo]:
    """All gateways and when they were last heard of."""
    return whole(session.gateways())


@read("/gateways/{gateway_id:int}/devices", "read:gateways", tag="gateways")
def heard_by(session: Session, gateway_id: Id) -> Listing[GatewayDevice]:
    """Which devices a gateway hears, and how well."""
    return whole(session.heard_by(gateway_id))


ROUTES = (
    list_tenants, add_tenant, overview, list_nodes, add_node, rename_node, remove_node, list_points, add_point,
    remove_point, list_assignments, assign, end_assignment, list_occupancies, add_occupancy, end_occupancy,
    list_gateways, heard_by,
)  # fmt: skip
