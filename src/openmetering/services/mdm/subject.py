"""What is known of a person, as one file (GDPR Article 15): account, places and times, values, alarms, who looked at it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from openmetering.services.headend.model import User

if TYPE_CHECKING:
    from openmetering.services.headend.headend import HeadEnd

__all__ = ["SubjectFile", "subject_file"]

_MOST: Final = 1_000_000


class SubjectFile(msgspec.Struct, frozen=True):
    """``places``: node, from, until. ``values``: device, quantity, unit, time, value. ``looks``: when somebody read what."""

    user: int
    name: str
    role: str
    locale: str
    made_at: datetime
    places: tuple[dict[str, object], ...]
    values: tuple[dict[str, object], ...]
    alarms: tuple[dict[str, object], ...]
    looks: tuple[dict[str, object], ...]

    def octets(self) -> bytes:
        """The file, JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


def subject_file(head_end: HeadEnd, user: User) -> SubjectFile:
    """Gather it. Raises TransportError"""
    registry = head_end.registry
    places: list[dict[str, object]] = []
    for one in registry.occupancies(user_id=user.id):
        node = registry.find_node(one.node_id)
        places.append({"place": "" if node is None else node.name, "from": one.valid_from, "until": one.valid_to})
    values: list[dict[str, object]] = []
    alarms: list[dict[str, object]] = []
    devices = set()
    for window in registry.windows(user.id):
        device = registry.find_device(window.device_id)
        if device is None:
            continue
        devices.add(f"device {device.id}")
        for series in head_end.readings.series(device.address, window.since, window.until):
            values += (
                {
                    "device": device.address, "quantity": series.quantity, "unit": series.unit, "storage": series.storage,
                    "received_at": point.received_at, "value": point.value, "time": point.time,
                }
                for point in head_end.readings.values(series.id, window.since, window.until, None, _MOST)
            )  # fmt: skip
        page = head_end.alarms.page_within((window,), states=(), device_id=device.id, before=None, limit=500)
        alarms += (
            {"device": device.address, "kind": one.kind, "raised_at": one.raised_at, "text": one.text} for one in page.items
        )
    looks: list[dict[str, object]] = [
        {"at": one.at, "who": one.user_id, "action": one.action, "object": one.object}
        for one in head_end.audit.about(sorted(devices | {f"user {user.id}"}))
    ]
    return SubjectFile(
        user.id, user.name, user.role, user.locale, head_end.now(), tuple(places), tuple(values), tuple(alarms), tuple(looks)
    )
