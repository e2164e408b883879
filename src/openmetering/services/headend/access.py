"""The guard in front of the head-end: every method says which permission it needs; nothing else lets anybody in.

    @needs("read", "readings", personal=True)
    def readings(self, scope: Scope, device_id: int, ...) -> ...

The caller leaves ``scope`` out: the guard finds it in the table of rights and hands it in, so that the method can
keep to the tenant or to what is the user's own. What is refused is written to the audit trail, as is every
access to personal data. METHODS lists all guarded methods: the matrix of rights is tested over it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar, cast

import msgspec

from openmetering.errors import InputError
from openmetering.services.headend.model import Device, MeteringPoint, Node, User
from openmetering.services.headend.problems import unknown
from openmetering.services.headend.rights import Permission, Rights, Scope

if TYPE_CHECKING:
    from openmetering.services.headend.headend import HeadEnd

__all__ = ["METHODS", "Guard", "GuardedMethod", "Window", "clipped", "needs"]

P = ParamSpec("P")
R = TypeVar("R")
G = TypeVar("G", bound="Guard")


class GuardedMethod(msgspec.Struct, frozen=True):
    """A method of the guarded head-end: the permission it needs, and whether it shows personal data."""

    name: str
    permission: Permission
    personal: bool


#: name -> what it needs
METHODS: Final[dict[str, GuardedMethod]] = {}


class Window(msgspec.Struct, frozen=True):
    """A device and the time (``until`` excluded, None: open) in which its data belong to somebody."""

    device_id: int
    since: datetime
    until: datetime | None


def clipped(
    windows: tuple[Window, ...], since: datetime | None, until: datetime | None
) -> list[tuple[datetime, datetime | None]]:
    """The parts of a wanted time that lie within windows, in order, those that meet joined."""
    found: list[tuple[datetime, datetime | None]] = []
    for window in sorted(windows, key=lambda one: one.since):
        start = window.since if since is None else max(since, window.since)
        ends = [end for end in (until, window.until) if end is not None]
        end = min(ends) if ends else None
        if end is not None and end <= start:
            continue
        if found and (found[-1][1] is None or found[-1][1] >= start):
            last_start, last_end = found[-1]
            found[-1] = (last_start, None if last_end is None or end is None else max(last_end, end))
        else:
            found.append((start, end))
    return found


def needs(
    verb: str, resource: str, *, personal: bool = False
) -> Callable[[Callable[Concatenate[G, Scope, P], R]], Callable[Concatenate[G, P], R]]:
    """Guard a method; see the head of this module. Calls raise InputError (``access.denied``)."""
    permission = Permission(verb, resource)

    def guard(method: Callable[Concatenate[G, Scope, P], R]) -> Callable[Concatenate[G, P], R]:
        METHODS[method.__name__] = GuardedMethod(method.__name__, permission, personal)

        @wraps(method)
        def guarded(self: G, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, self.require(verb, resource, method.__name__), *args, **kwargs)

        return cast("Callable[Concatenate[G, P], R]", guarded)

    return guard


class Guard:
    """What all parts of the guarded head-end share: the user, the rights, the audit trail, and what the user sees."""

    def __init__(self, head_end: HeadEnd, user: User, scopes: frozenset[str] | None = None) -> None:
        self._head = head_end
        self.user = user
        self.rights = Rights(user, scopes)

    def can(self, verb: str, resource: str) -> bool:
        """True if the user may do it to anything at all; for menus."""
        return self.rights.scope(verb, resource) is not None

    def require(self, verb: str, resource: str, what: str) -> Scope:
        """The scope of a permission; a refusal is noted. Raises InputError (``access.denied``)"""
        try:
            return self.rights.require(verb, resource)
        except InputError:
            self.note("denied", what, f"{verb}:{resource}")
            raise

    def note(self, action: str, thing: str, detail: str = "", *, personal: bool = False) -> None:
        """Write to the audit trail."""
        self._head.audit.note(self.user.id, action, thing, detail, personal=personal)

    def note_look(self, action: str, thing: str, detail: str) -> None:
        """Write down that newest values were looked at; a page that renews itself is one look within a minute."""
        self._head.audit.look(self.user.id, action, thing, detail)

    # -- what the user sees -------------------------------------------------------------------

    def windows(self, scope: Scope) -> tuple[Window, ...] | None:
        """The devices of a consumer and their times; None where time sets no bounds (other scopes)."""
        return self._head.registry.windows(scope.user_id) if scope.kind == "own" else None

    def tenant_of(self, scope: Scope, tenant_id: int | None) -> int:
        """The tenant that a new thing shall belong to: the one named, or the user's own.

        Raises InputError (``access.unknown``) for one that the user has nothing to do with
        """
        wanted = self.user.tenant_id if tenant_id is None else tenant_id
        if wanted is None or not scope.covers(wanted) or not self._head.registry.has_tenant(wanted):
            raise unknown("tenant", "" if wanted is None else wanted)
        return wanted

    def tenant_filter(self, scope: Scope) -> int | None:
        """None for all tenants; -1, the number of nobody, for a user that should have a tenant and has none."""
        if scope.kind == "all":
            return None
        return -1 if scope.tenant_id is None else scope.tenant_id

    def seen_device(self, scope: Scope, device_id: int) -> Device:
        """A device, if the user may see it. Raises InputError (``access.unknown``)"""
        found = self._head.registry.find_device(device_id)
        if found is not None:
            windows = self.windows(scope)
            if windows is None and scope.covers(found.tenant_id):
                return found
            own = () if windows is None else tuple(one for one in windows if one.device_id == device_id)
            if own:
                return self.own_view(found, own)
        raise unknown("device", device_id)

    def own_view(self, device: Device, windows: tuple[Window, ...]) -> Device:
        """A device as its consumer sees it: what happened after the own time is not told."""
        now = self._head.now()
        if any(one.until is None or now < one.until for one in windows):
            return device
        end = max(one.until for one in windows if one.until is not None)
        last = device.last_heard if device.last_heard is None or device.last_heard < end else end
        return Device(device.id, device.address, medium=device.medium, state="retired", last_heard=last)

    def has_now(self, scope: Scope, device_id: int) -> bool:
        """False for a consumer whose time with the device is over, or has not begun."""
        if scope.kind != "own":
            return True
        return any(one.device_id == device_id for one in self._head.registry.windows(scope.user_id, self._head.now()))

    def seen_node(self, scope: Scope, node_id: int) -> Node:
        """A node, if the user may see it. Raises InputError (``access.unknown``)"""
        found = self._head.registry.find_node(node_id)
        if found is not None:
            own = self._head.registry.nodes_of(scope.user_id) if scope.kind == "own" else None
            if scope.covers(found.tenant_id) if own is None else node_id in own:
                return found
        raise unknown("node", node_id)

    def _seen_point(self, scope: Scope, point_id: int) -> MeteringPoint:
        """A metering point in a node that the user may see. Raises InputError (``access.unknown``)"""
        point = self._head.registry.find_point(point_id)
        if point is None:
            raise unknown("point", point_id)
        try:
            self.seen_node(scope, point.node_id)
        except InputError:
            raise unknown("point", point_id) from None
        return point
