"""The registry: tenants, the tree of places, metering points, devices with their life, who measured what and when.

Life of a device:

    heard for the first time        announced    somebody's, but nobody's here
    announced  --register-->        registered   belongs to a tenant, nothing read yet
    registered --hear-->            active       a telegram was read
    active     --fail-->            faulty       silent, or a permanent error
    faulty     --recover-->         active
    any        --retire-->          retired      taken out; its past stays
    retired    --reinstate-->       registered
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import select

from openmetering.codec.address import Address
from openmetering.errors import EncodeError, InputError
from openmetering.services.headend.access import Window
from openmetering.services.headend.model import (
    NODE_KINDS,
    Assignment,
    Device,
    GatewayDevice,
    GatewayInfo,
    MeteringPoint,
    Node,
    Occupancy,
    Page,
    Tenant,
    User,
    moment,
)
from openmetering.services.headend.problems import conflict, invalid, unknown
from openmetering.storage import registry_rows, tables
from openmetering.storage.database import Database

__all__ = ["LIVING", "TRANSITIONS", "DeviceChange", "DeviceFilter", "Registry", "canonical_address"]

#: (state, step) -> state
TRANSITIONS: Final = {
    ("announced", "register"): "registered",
    ("registered", "hear"): "active",
    ("registered", "fail"): "faulty",
    ("active", "fail"): "faulty",
    ("faulty", "recover"): "active",
    ("announced", "retire"): "retired",
    ("registered", "retire"): "retired",
    ("active", "retire"): "retired",
    ("faulty", "retire"): "retired",
    ("retired", "reinstate"): "registered",
}
BY_HAND: Final = frozenset(("retire", "reinstate"))
LIVING: Final = frozenset(("registered", "active", "faulty"))  #: devices that somebody cares for
_LONGEST: Final = 200
_CACHE: Final = 500_000


class DeviceChange(msgspec.Struct, frozen=True):
    """New particulars of a device; None leaves a thing as it is, an empty text takes it away."""

    label: str | None = None
    medium: str | None = None
    adapter: str | None = None
    profile: str | None = None
    mode: str | None = None
    bidirectional: bool | None = None
    wired_primary: int | None = None

    def values(self) -> dict[str, object]:
        """What changes, as columns."""
        found = {name: getattr(self, name) for name in self.__struct_fields__ if getattr(self, name) is not None}
        for name in ("adapter", "profile", "mode"):
            if found.get(name) == "":
                found[name] = None
        return found

    def words(self) -> str:
        """In words, for the audit trail."""
        return ", ".join(f"{name} {value}" for name, value in self.values().items())


class DeviceFilter(msgspec.Struct, frozen=True):
    """Which devices are wanted: ``text`` is a part of address or label, ``node_id`` a place with all below it."""

    state: str | None = None
    medium: str | None = None
    text: str | None = None
    node_id: int | None = None


def canonical_address(text: str) -> str:
    """An address as the registry writes it; also of a DIN 43863-5 number. Raises InputError (``address.invalid``)"""
    text = text.strip()
    try:
        return str(Address.parse(text) if "-" in text else Address.from_din(text))
    except EncodeError as error:
        raise InputError(error.message, code="address.invalid", layer="address") from None


class Registry:
    """All of it; one for a database. Devices and windows are kept in memory until they change here."""

    __slots__ = ("_clock", "_database", "_devices", "_lock", "_version", "_windows")

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.RLock()
        self._devices: dict[str, Device] = {}
        self._windows: dict[int, tuple[Window, ...]] = {}
        self._version = 0

    def forget(self) -> None:
        """Drop what is kept in memory: another process may have changed it."""
        with self._lock:
            self._devices.clear()
            self._windows.clear()

    def forget_windows(self) -> None:
        """Work the times of consumers out again when they are needed next."""
        with self._lock:
            self._windows.clear()

    # -- tenants ----------------------------------------------------------------------------------

    def tenants(self) -> tuple[Tenant, ...]:
        """All tenants by number."""
        with self._database.reading() as connection:
            return tuple(registry_rows.tenants.all(connection))

    def has_tenant(self, tenant_id: int) -> bool:
        """True if there is such a tenant."""
        with self._database.reading() as connection:
            return registry_rows.tenants.get(connection, tenant_id) is not None

    def add_tenant(self, name: str) -> Tenant:
        """A new tenant. Raises InputError (``access.invalid``, ``access.conflict``)"""
        name = _name(name)
        with self._database.transaction() as connection:
            if registry_rows.tenants.find(connection, tables.tenants.c.name == name) is not None:
                raise conflict(f"there is a tenant {name} already")
            return registry_rows.tenants.add(connection, Tenant(0, name), self._clock())

    # -- the tree ---------------------------------------------------------------------------------

    def nodes(self, tenant_id: int | None = None) -> tuple[Node, ...]:
        """Nodes, parents before children, by name."""
        where = [] if tenant_id is None else [tables.nodes.c.tenant_id == tenant_id]
        with self._database.reading() as connection:
            found = registry_rows.nodes.all(connection, *where)
        children: dict[int | None, list[Node]] = {}
        for node in sorted(found, key=lambda one: (one.name, one.id)):
            children.setdefault(node.parent_id, []).append(node)
        ordered: list[Node] = []
        waiting = list(reversed(children.get(None, [])))
        while waiting:
            node = waiting.pop()
            ordered.append(node)
            waiting += reversed(children.get(node.id, []))
        return tuple(ordered)

    def find_node(self, node_id: int) -> Node | None:
        """A node by number."""
        with self._database.reading() as connection:
            return registry_rows.nodes.get(connection, node_id)

    def add_node(self, tenant_id: int, parent_id: int | None, kind: str, name: str) -> Node:
        """A new node; a kind hangs below a larger one. Raises InputError (``access.invalid``, ``access.unknown``)"""
        if kind not in NODE_KINDS:
            raise invalid(f"there is no kind of node {kind}; kinds are {', '.join(NODE_KINDS)}")
        with self._database.transaction() as connection:
            if parent_id is not None:
                parent = registry_rows.nodes.get(connection, parent_id)
                if parent is None or parent.tenant_id != tenant_id:
                    raise unknown("node", parent_id)
                if _rank(parent.kind) >= _rank(kind):
                    raise invalid(f"a {kind} cannot be in a {parent.kind}")
            return registry_rows.nodes.add(connection, Node(0, parent_id, tenant_id, kind, _name(name)), self._clock())

    def rename_node(self, node: Node, name: str) -> Node:
        """Another name."""
        with self._database.transaction() as connection:
            return registry_rows.nodes.change(connection, node.id, name=_name(name)) or node

    def remove_node(self, node: Node) -> None:
        """Take away a node without anything in it. Raises InputError (``access.conflict``)"""
        with self._database.transaction() as connection:
            used = (
                registry_rows.nodes.count(connection, tables.nodes.c.parent_id == node.id)
                + registry_rows.points.count(connection, tables.points.c.node_id == node.id)
                + registry_rows.occupancies.count(connection, tables.occupancies.c.node_id == node.id)
            )
            if used:
                raise conflict(f"{node.kind} {node.name} is not empty")
            registry_rows.nodes.remove(connection, node.id)

    def nodes_below(self, node_ids: Iterable[int]) -> frozenset[int]:
        """The nodes and all below them."""
        with self._database.reading() as connection:
            return frozenset(registry_rows.nodes_below(connection, node_ids))

    # -- points -----------------------------------------------------------------------------------

    def points(self, node_ids: Collection[int] | None, *, after: int | None = None, limit: int = 100) -> Page[MeteringPoint]:
        """Points of nodes (None: all) by number."""
        where = [] if node_ids is None else [tables.points.c.node_id.in_(list(node_ids))]
        with self._database.reading() as connection:
            return registry_rows.points.page(connection, *where, after=after, limit=limit)

    def find_point(self, point_id: int) -> MeteringPoint | None:
        """A point by number."""
        with self._database.reading() as connection:
            return registry_rows.points.get(connection, point_id)

    def point_named(self, node_id: int, name: str) -> MeteringPoint | None:
        """A point by node and name."""
        with self._database.reading() as connection:
            return registry_rows.points.find(connection, tables.points.c.node_id == node_id, tables.points.c.name == name)

    def add_point(self, node_id: int, name: str, medium: str = "") -> MeteringPoint:
        """A new point. Raises InputError (``access.conflict``) for a name that the node has already"""
        with self._database.transaction() as connection:
            if self.point_named(node_id, name) is not None:
                raise conflict(f"there is a point {name} in this place already")
            return registry_rows.points.add(connection, MeteringPoint(0, node_id, _name(name), medium), self._clock())

    def remove_point(self, point: MeteringPoint) -> None:
        """Take away a point that never had a device. Raises InputError (``access.conflict``)"""
        with self._database.transaction() as connection:
            if registry_rows.assignments.count(connection, tables.assignments.c.point_id == point.id):
                raise conflict(f"point {point.name} has a past, it stays")
            registry_rows.points.remove(connection, point.id)

    # -- devices ----------------------------------------------------------------------------------

    def devices(
        self,
        wanted: DeviceFilter,
        *,
        tenant_id: int | None = None,
        ids: Collection[int] | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> Page[Device]:
        """Devices by number, of one tenant or of all, only those of ``ids`` if there is such a list."""
        if wanted.node_id is not None:
            there = self.devices_in([wanted.node_id], self._clock())
            ids = there if ids is None else there & frozenset(ids)
        with self._database.reading() as connection:
            return registry_rows.devices_page(
                connection, tenant_id=tenant_id, state=wanted.state, medium=wanted.medium, text=wanted.text,
                among=None if ids is None else sorted(ids), after=after, limit=limit,
            )  # fmt: skip

    def all_devices(self, tenant_id: int | None = None) -> list[Device]:
        """Every device, of one tenant or of all."""
        where = [] if tenant_id is None else [tables.devices.c.tenant_id == tenant_id]
        with self._database.reading() as connection:
            return registry_rows.devices.all(connection, *where)

    def device_ids(self, tenant_id: int | None) -> frozenset[int]:
        """The numbers of all devices of a tenant (None: of all)."""
        where = [] if tenant_id is None else [tables.devices.c.tenant_id == tenant_id]
        with self._database.reading() as connection:
            return frozenset(int(number) for (number,) in connection.execute(select(tables.devices.c.id).where(*where)))

    def devices_in(self, node_ids: Iterable[int], at: datetime) -> frozenset[int]:
        """The devices that measure in nodes or below them at a time."""
        with self._database.reading() as connection:
            points = [point.id for point in registry_rows.points_below(connection, node_ids)]
            table = tables.assignments
            where = (table.c.point_id.in_(points), registry_rows.valid_at(table, at))
            return frozenset(one.device_id for one in registry_rows.assignments.all(connection, *where))

    def find_device(self, device_id: int) -> Device | None:
        """A device by number."""
        with self._database.reading() as connection:
            return registry_rows.devices.get(connection, device_id)

    def by_address(self, address: str) -> Device | None:
        """A device by its address."""
        with self._database.reading() as connection:
            return registry_rows.device_of_address(connection, address.strip())

    def register(self, address: str, tenant_id: int, change: DeviceChange) -> Device:
        """Make a device somebody's; one that is this tenant's already takes the change.

        Raises InputError (``address.invalid``, ``access.conflict``, ``access.unknown``)
        """
        name = canonical_address(address)
        values = self._checked(change)
        with self._lock, self._database.transaction() as connection:
            known = registry_rows.device_of_address(connection, name)
            if known is None:
                medium = Address.parse(name).medium
                known = registry_rows.devices.add(connection, Device(0, name, medium=medium), self._clock())
            elif known.tenant_id not in (None, tenant_id):
                # the same words as for any other reason: who else has a device is nobody's business
                raise conflict(f"device {name} cannot be registered here")
            state = TRANSITIONS.get((known.state, "register"), known.state)
            made = registry_rows.devices.change(connection, known.id, tenant_id=tenant_id, state=state, **values)
            return self._known(made or known)

    def change(self, device: Device, change: DeviceChange) -> Device:
        """New particulars. Raises InputError (``access.invalid``, ``address.invalid``)"""
        values = self._checked(change)
        if not values:
            return device
        with self._lock, self._database.transaction() as connection:
            return self._known(registry_rows.devices.change(connection, device.id, **values) or device)

    def step(self, device: Device, step: str, *, by_hand: bool = False) -> Device:
        """Further in the life of a device. Raises InputError (``access.invalid``, ``access.conflict``)"""
        if by_hand and step not in BY_HAND:
            raise invalid(f"there is no step {step}; steps are {', '.join(sorted(BY_HAND))}")
        with self._lock, self._database.transaction() as connection:
            now = registry_rows.devices.get(connection, device.id) or device
            state = TRANSITIONS.get((now.state, step))
            if state is None or (step == "reinstate" and now.tenant_id is None):
                raise conflict(f"device {now.address} is {now.state}, the step {step} is not possible")
            made = registry_rows.devices.change(connection, now.id, tables.devices.c.state == now.state, state=state)
            if made is None:
                raise conflict(f"device {now.address} was changed meanwhile")
            return self._known(made)

    def learned(self, devices: Mapping[int, Device], intervals: Mapping[int, float]) -> list[Device]:
        """The intervals of devices are known; returns the devices as they are now."""
        with self._lock, self._database.transaction() as connection:
            registry_rows.learned(connection, intervals)
            found = registry_rows.devices.by_numbers(connection, intervals)
            return [self._known(found[number]) for number in intervals if number in found and number in devices]

    def _checked(self, change: DeviceChange) -> dict[str, object]:
        values = change.values()
        if isinstance(values.get("adapter"), str):
            values["adapter"] = canonical_address(str(values["adapter"]))
        primary = values.get("wired_primary")
        if isinstance(primary, int) and not 0 <= primary <= 250:
            raise invalid("a primary address is between 0 and 250")
        if any(isinstance(value, str) and len(value) > _LONGEST for value in values.values()):
            raise invalid(f"a text has at most {_LONGEST} characters")
        return values

    # -- hearing ----------------------------------------------------------------------------------

    def known(self, address: str) -> Device | None:
        """A device from memory, for the way of every telegram."""
        return self._devices.get(address)

    def of_addresses(self, addresses: Iterable[str]) -> list[Device]:
        """Those of the devices that are known."""
        with self._database.reading() as connection:
            return list(registry_rows.devices_by_address(connection, addresses).values())

    def heard(self, batch: Sequence[registry_rows.HeardDevice]) -> list[Device]:
        """Note when devices were heard; unknown ones are announced."""
        with self._lock, self._database.transaction() as connection:
            return [self._known(device) for device in registry_rows.heard(connection, batch, self._clock())]

    def still_heard(self, times: Mapping[int, float]) -> None:
        """Devices that are known were heard again: number and seconds since 1970."""
        with self._database.transaction() as connection:
            registry_rows.still_heard(connection, ((number, moment(at)) for number, at in times.items()))

    def _known(self, device: Device) -> Device:
        if len(self._devices) >= _CACHE:
            self._devices.clear()
        self._devices[device.address] = device
        return device

    # -- assignments ------------------------------------------------------------------------------

    def assignments(self, *, device_id: int | None = None, point_id: int | None = None) -> tuple[Assignment, ...]:
        """Assignments of a device, of a point, or all; the oldest first."""
        table = tables.assignments
        where = [column == value for column, value in ((table.c.device_id, device_id), (table.c.point_id, point_id))
                 if value is not None]  # fmt: skip
        with self._database.reading() as connection:
            return tuple(sorted(registry_rows.assignments.all(connection, *where), key=lambda one: (one.valid_from, one.id)))

    def find_assignment(self, assignment_id: int) -> Assignment | None:
        """An assignment by number."""
        with self._database.reading() as connection:
            return registry_rows.assignments.get(connection, assignment_id)

    def assign(self, device: Device, point: MeteringPoint, valid_from: datetime, valid_to: datetime | None = None) -> Assignment:
        """A device measures a point in a time: neither has another one then.

        Raises InputError (``access.invalid``, ``access.conflict``)
        """
        _check_period(valid_from, valid_to)
        table = tables.assignments
        with self._lock, self._database.transaction() as connection:
            node = registry_rows.nodes.get(connection, point.node_id)
            if node is None or device.tenant_id != node.tenant_id:
                raise conflict("device and point belong to different tenants")
            within = registry_rows.valid_within(table, valid_from, valid_to)
            if registry_rows.assignments.find(connection, table.c.device_id == device.id, within) is not None:
                raise conflict(f"device {device.address} measures a point in that time already")
            if registry_rows.assignments.find(connection, table.c.point_id == point.id, within) is not None:
                raise conflict(f"point {point.name} is measured by another device in that time")
            made = registry_rows.assign(connection, device.id, point.id, valid_from, self._clock(), valid_to)
            self._windows.clear()
            return made

    def end_assignment(self, assignment: Assignment, valid_to: datetime) -> Assignment:
        """The device measured the point until then, which can only be earlier than what was known."""
        _check_end(assignment.valid_from, assignment.valid_to, valid_to)
        with self._lock, self._database.transaction() as connection:
            self._windows.clear()
            return registry_rows.end_assignment(connection, assignment.id, valid_to) or assignment

    # -- occupancies ------------------------------------------------------------------------------

    def occupancies(self, *, user_id: int | None = None, node_id: int | None = None) -> tuple[Occupancy, ...]:
        """Occupancies of a user, of a node, or all."""
        table = tables.occupancies
        where = [column == value for column, value in ((table.c.user_id, user_id), (table.c.node_id, node_id))
                 if value is not None]  # fmt: skip
        with self._database.reading() as connection:
            return tuple(registry_rows.occupancies.all(connection, *where))

    def find_occupancy(self, occupancy_id: int) -> Occupancy | None:
        """An occupancy by number."""
        with self._database.reading() as connection:
            return registry_rows.occupancies.get(connection, occupancy_id)

    def add_occupancy(self, user: User, node: Node, valid_from: datetime, valid_to: datetime | None = None) -> Occupancy:
        """A node is a consumer's. Raises InputError (``access.invalid``, ``access.conflict``) for overlaps of one consumer"""
        _check_period(valid_from, valid_to)
        if user.role != "consumer":
            raise invalid(f"user {user.name} is no consumer")
        table = tables.occupancies
        with self._lock, self._database.transaction() as connection:
            within = registry_rows.valid_within(table, valid_from, valid_to)
            where = (table.c.user_id == user.id, table.c.node_id == node.id, within)
            if registry_rows.occupancies.find(connection, *where) is not None:
                raise conflict(f"{user.name} has {node.name} in that time already")
            self._windows.clear()
            return registry_rows.occupancies.add(connection, Occupancy(0, user.id, node.id, valid_from, valid_to), self._clock())

    def end_occupancy(self, occupancy: Occupancy, valid_to: datetime) -> Occupancy:
        """The node was the consumer's until then."""
        _check_end(occupancy.valid_from, occupancy.valid_to, valid_to)
        with self._lock, self._database.transaction() as connection:
            self._windows.clear()
            return registry_rows.occupancies.change(connection, occupancy.id, valid_to=valid_to) or occupancy

    def nodes_of(self, user_id: int) -> frozenset[int]:
        """The nodes that are or were a consumer's, with all below."""
        return self.nodes_below(one.node_id for one in self.occupancies(user_id=user_id))

    def windows(self, user_id: int, at: datetime | None = None) -> tuple[Window, ...]:
        """When which device measured for a consumer: its assignments cut with the occupancies; ``at`` only what holds then."""
        with self._lock:
            found = self._windows.get(user_id)
            if found is None:
                found = self._windows[user_id] = tuple(self._make_windows(user_id))
        if at is None:
            return found
        return tuple(one for one in found if one.since <= at and (one.until is None or at < one.until))

    def _make_windows(self, user_id: int) -> Iterable[Window]:
        table = tables.assignments
        with self._database.reading() as connection:
            for home in registry_rows.occupancies.all(connection, tables.occupancies.c.user_id == user_id):
                points = [point.id for point in registry_rows.points_below(connection, [home.node_id])]
                within = registry_rows.valid_within(table, home.valid_from, home.valid_to)
                for one in registry_rows.assignments.all(connection, table.c.point_id.in_(points), within):
                    ends = [end for end in (home.valid_to, one.valid_to) if end is not None]
                    yield Window(one.device_id, max(home.valid_from, one.valid_from), min(ends) if ends else None)

    # -- gateways ---------------------------------------------------------------------------------

    def gateways(self) -> tuple[GatewayInfo, ...]:
        """All gateways by number."""
        with self._database.reading() as connection:
            return tuple(registry_rows.gateways.all(connection))

    def find_gateway(self, gateway_id: int) -> GatewayInfo | None:
        """A gateway by number."""
        with self._database.reading() as connection:
            return registry_rows.gateways.get(connection, gateway_id)

    def gateway_named(self, name: str) -> GatewayInfo | None:
        """A gateway by name."""
        with self._database.reading() as connection:
            return registry_rows.gateways.find(connection, tables.gateways.c.name == name)

    def gateway_seen(
        self, name: str, at: datetime, *, address: str | None = None, version: str = "", state: str = "online"
    ) -> GatewayInfo:
        """A gateway reported; an unknown one is added."""
        with self._database.transaction() as connection:
            return registry_rows.gateway_seen(connection, name, at, address=address, version=version, state=state)

    def gateway_hears(self, gateway_id: int, levels: Iterable[tuple[int, float | None, datetime]]) -> None:
        """How well it hears devices."""
        with self._database.transaction() as connection:
            registry_rows.gateway_hears(connection, gateway_id, levels, self._clock())

    def gateways_silent(self, since: datetime) -> list[GatewayInfo]:
        """Gateways that did not report since then; they are offline from now on."""
        with self._database.transaction() as connection:
            return registry_rows.gateways_silent(connection, since)

    def receivers(self, device_id: int) -> tuple[GatewayDevice, ...]:
        """Who hears a device, the best first."""
        with self._database.reading() as connection:
            return tuple(registry_rows.gateway_devices(connection, device_id=device_id))

    def hears(self, gateway_id: int) -> tuple[GatewayDevice, ...]:
        """What a gateway hears."""
        with self._database.reading() as connection:
            return tuple(registry_rows.gateway_devices(connection, gateway_id=gateway_id))


def _rank(kind: str) -> int:
    return NODE_KINDS.index(kind)


def _name(text: str) -> str:
    text = text.strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise invalid(f"a name has 1 to {_LONGEST} characters that can be printed")
    return text


def _check_period(valid_from: datetime, valid_to: datetime | None) -> None:
    if valid_from.tzinfo is None or (valid_to is not None and valid_to.tzinfo is None):
        raise invalid("a time needs its zone")
    if valid_to is not None and valid_to <= valid_from:
        raise invalid("a period ends after it begins")


def _check_end(valid_from: datetime, known: datetime | None, valid_to: datetime) -> None:
    _check_period(valid_from, valid_to)
    if known is not None and valid_to > known:
        raise conflict("the period has ended earlier already")
