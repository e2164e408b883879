"""The things a head-end keeps (from the storage below) and those it shows, made from them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from openmetering.storage.model import (
    ALARM_STATES,
    DEVICE_STATES,
    JOB_STATES,
    NODE_KINDS,
    ROLES,
    Alarm,
    Assignment,
    AuditEntry,
    Device,
    GatewayDevice,
    GatewayInfo,
    Job,
    JobStep,
    KeyInfo,
    MeteringPoint,
    Node,
    Occupancy,
    Page,
    Tenant,
    Token,
    User,
    Webhook,
    WebSession,
    every,
    holds,
    moment,
)

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
    "Overview",
    "OverviewNode",
    "Page",
    "SeriesInfo",
    "SeriesPoint",
    "TelegramInfo",
    "Tenant",
    "Token",
    "User",
    "WebSession",
    "Webhook",
    "every",
    "holds",
    "moment",
]


class SeriesInfo(msgspec.Struct, frozen=True):
    """What a row of values is: one kind of value of one device."""

    id: int
    address: str
    quantity: str
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: str
    obis: str
    tag: str
    first_at: datetime | None = None
    last_at: datetime | None = None


class SeriesPoint(msgspec.Struct, frozen=True):
    """One value: exact digits, ISO 8601 time, text or hexadecimal octets; ``time`` is that of the device itself."""

    received_at: datetime
    value: str | None
    time: str | None
    error: str | None
    frame_id: int


class TelegramInfo(msgspec.Struct, frozen=True):
    """A telegram of a device; ``error`` is the code of what stopped its decoding, ``rssi`` that of the best receiver."""

    frame_id: int
    received_at: datetime
    source: str
    mode: str | None
    state: str
    error: str | None
    access_number: int | None
    status: int | None
    security: str
    proof: str | None
    readings: int
    rssi: float | None


class OverviewNode(msgspec.Struct, frozen=True):
    """A node with what is the matter in it and below: devices by state, open alarms by severity.

    ``health``: good, warning, critical or empty (no device).
    """

    node: Node
    devices: dict[str, int]
    alarms: dict[str, int]
    health: str


class Overview(msgspec.Struct, frozen=True):
    """The whole at one glance; ``nodes`` parents first, ``unplaced`` devices that measure no point now."""

    nodes: tuple[OverviewNode, ...]
    devices: dict[str, int]
    alarms: dict[str, int]
    unplaced: int
    gateways: tuple[GatewayInfo, ...]
