"""The things a head-end keeps, as values (the rows of ``tables``). Identities are integers, times are aware and UTC.

    Tenant -- Node (site, building, unit, room) -- MeteringPoint -- Assignment (from, to) -- Device
                |                                                                             |
             Occupancy (from, to) -- User                               alarms, jobs, keys, readings

A metering point is a place in the building that is measured; the device there may change. A consumer is a user
with occupancies: the nodes (units) that are theirs, and for how long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

import msgspec

__all__ = [
    "ALARM_STATES",
    "DEVICE_STATES",
    "JOB_STATES",
    "NODE_KINDS",
    "ROLES",
    "Alarm",
    "Assignment",
    "AuditEntry",
    "Device",
    "GatewayDevice",
    "GatewayInfo",
    "Job",
    "JobStep",
    "KeyInfo",
    "MeteringPoint",
    "Node",
    "Occupancy",
    "Page",
    "Tenant",
    "Token",
    "User",
    "WebSession",
    "Webhook",
    "AlarmState",
    "DeviceState",
    "JobState",
    "KeyState",
    "NodeKind",
    "Role",
    "Severity",
    "every",
    "holds",
    "moment",
]

NodeKind = Literal["site", "building", "unit", "room"]
DeviceState = Literal["announced", "registered", "active", "faulty", "retired"]
AlarmState = Literal["raised", "acknowledged", "cleared"]
Severity = Literal["information", "warning", "critical"]
KeyState = Literal["active", "waiting", "retired"]
JobState = Literal["draft", "awaiting-approval", "queued", "running", "done", "failed", "refused", "unknown", "cancelled"]
Role = Literal["admin", "mso", "msp", "dso", "supplier", "consumer", "key-custodian", "auditor"]

NODE_KINDS: tuple[NodeKind, ...] = ("site", "building", "unit", "room")
DEVICE_STATES: tuple[DeviceState, ...] = ("announced", "registered", "active", "faulty", "retired")
ALARM_STATES: tuple[AlarmState, ...] = ("raised", "acknowledged", "cleared")
JOB_STATES: tuple[JobState, ...] = (
    "draft", "awaiting-approval", "queued", "running", "done", "failed", "refused", "unknown", "cancelled",
)  # fmt: skip
#: the market roles, and those who run the system
ROLES: tuple[Role, ...] = ("admin", "mso", "msp", "dso", "supplier", "consumer", "key-custodian", "auditor")

T = TypeVar("T")


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a time of people."""
    return datetime.fromtimestamp(seconds, UTC)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list; ``after`` is where the next part begins, None at the end."""

    items: tuple[T, ...]
    after: int | None = None


def every(ask: Callable[[int], Page[T]]) -> Iterator[T]:
    """All items of a list: ``ask`` gives the part behind a number."""
    after: int | None = 0
    while after is not None:
        page = ask(after)
        yield from page.items
        after = page.after


class Tenant(msgspec.Struct, frozen=True):
    """Whose installations these are; nobody sees those of another tenant."""

    id: int
    name: str


class Node(msgspec.Struct, frozen=True):
    """A site, building, unit or room; ``parent_id`` None for a root."""

    id: int
    parent_id: int | None
    tenant_id: int
    kind: str
    name: str


class MeteringPoint(msgspec.Struct, frozen=True):
    """A place that is measured."""

    id: int
    node_id: int
    name: str
    medium: str = ""


class Device(msgspec.Struct, frozen=True):
    """A meter or other device. ``address`` as ``ELS-12345678-33-03``; ``tenant_id`` None: heard, but nobody's.

    ``interval_learned`` in seconds; ``adapter`` the address of the radio adapter in front of it, if there is one;
    ``profile`` its security profile, ``mode`` its radio mode or ``wired``, ``wired_primary`` its primary address.
    """

    id: int
    address: str
    tenant_id: int | None = None
    medium: str = ""
    state: str = "announced"
    adapter: str | None = None
    profile: str | None = None
    mode: str | None = None
    bidirectional: bool = False
    wired_primary: int | None = None
    label: str = ""
    first_heard: datetime | None = None
    last_heard: datetime | None = None
    interval_learned: float | None = None


class Assignment(msgspec.Struct, frozen=True):
    """Which device measured a point, from when until (excluded) when; ``valid_to`` None: until further notice."""

    id: int
    device_id: int
    point_id: int
    valid_from: datetime
    valid_to: datetime | None = None


class Occupancy(msgspec.Struct, frozen=True):
    """Which consumer a node (and all below it) belongs to, from when until (excluded) when."""

    id: int
    user_id: int
    node_id: int
    valid_from: datetime
    valid_to: datetime | None = None


def holds(period: Assignment | Occupancy, at: datetime) -> bool:
    """True if a time lies in the period."""
    return period.valid_from <= at and (period.valid_to is None or at < period.valid_to)


class GatewayInfo(msgspec.Struct, frozen=True):
    """A gateway and when it was last heard of; ``state`` is online, offline or unknown."""

    id: int
    name: str
    address: str | None = None
    state: str = "unknown"
    last_seen: datetime | None = None
    version: str = ""


class GatewayDevice(msgspec.Struct, frozen=True):
    """How well a gateway hears a device."""

    gateway_id: int
    device_id: int
    rssi: float | None
    last_heard: datetime


class KeyInfo(msgspec.Struct, frozen=True):
    """A key of the vault without its octets. ``key_id`` None counts for every KeyID, ``version`` None for every version."""

    id: int
    address_pattern: str
    key_id: int | None
    version: int | None
    fingerprint: str
    state: str
    created_by: int | None
    uses: int
    label: str = ""
    tenant_id: int | None = None
    created_at: datetime | None = None
    last_used: datetime | None = None


class Alarm(msgspec.Struct, frozen=True):
    """Something that somebody should look at. ``kind`` as in ``alarms.KINDS``; ``value`` what it was measured by."""

    id: int
    device_id: int | None
    kind: str
    severity: str
    state: str
    raised_at: datetime
    text: str
    value: str = ""
    acknowledged_by: int | None = None
    acknowledged_at: datetime | None = None
    cleared_at: datetime | None = None


class Job(msgspec.Struct, frozen=True):
    """A use case to be carried out on a device. ``parameters`` and ``result`` are JSON, ``progress`` 0 to 1."""

    id: int
    device_id: int
    kind: str
    parameters: str
    state: str
    created_by: int | None
    created_at: datetime
    approved_by: int | None = None
    not_before: datetime | None = None
    attempts: int = 0
    progress: float = 0.0
    result: str | None = None
    error: str | None = None


class JobStep(msgspec.Struct, frozen=True):
    """A line of what happened to a job."""

    id: int
    job_id: int
    at: datetime
    text: str


class User(msgspec.Struct, frozen=True):
    """A person or program with an account; the hash of the password shows in no representation."""

    id: int
    name: str
    password_hash: str
    role: str
    tenant_id: int | None = None
    locale: str = "en"
    disabled: bool = False

    def __repr__(self) -> str:
        return f"<User {self.id} {self.name!r} role={self.role} tenant={self.tenant_id}>"


class Token(msgspec.Struct, frozen=True):
    """An access token of the API, known by its hash. ``scopes`` are permissions such as ``read:readings``."""

    id: int
    user_id: int
    hash: str
    scopes: tuple[str, ...]
    expires: datetime | None
    label: str = ""
    last_used: datetime | None = None

    def __repr__(self) -> str:
        return f"<Token {self.id} of user {self.user_id} scopes={' '.join(self.scopes)}>"


class WebSession(msgspec.Struct, frozen=True):
    """A session of a browser, kept on the server; the browser holds the number whose hash this is."""

    id: int
    user_id: int
    hash: str
    created_at: datetime
    expires: datetime
    last_used: datetime

    def __repr__(self) -> str:
        return f"<WebSession {self.id} of user {self.user_id}>"


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what when. ``personal`` marks access to personal data; ``user_id`` None is the system itself."""

    id: int
    at: datetime
    user_id: int | None
    action: str
    object: str
    detail: str = ""
    personal: bool = False


class Webhook(msgspec.Struct, frozen=True):
    """Where events are posted to; ``secret`` signs them and shows in no representation."""

    id: int
    url: str
    events: tuple[str, ...]
    secret: str
    tenant_id: int | None = None

    def __repr__(self) -> str:
        return f"<Webhook {self.id} {self.url}>"
