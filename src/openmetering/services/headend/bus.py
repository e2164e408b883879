"""News of the head-end for whoever wants them in the same process: MQTT, web pages, webhooks, metrics.

An event is told after it is stored. A subscriber that fails is logged and the others are told all the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar, cast

import msgspec

from openmetering.services.headend.model import Alarm, Device, GatewayInfo, Job
from openmetering.storage.reading_rows import Reading
from openmetering.telegram import Telegram

__all__ = ["AlarmChanged", "Bus", "DeviceChanged", "Event", "GatewayChanged", "JobChanged", "ReadingsStored"]

_log = logging.getLogger(__name__)


class ReadingsStored(msgspec.Struct, frozen=True):
    """A telegram was stored, with what it says (nothing where it could not be opened: ``telegram.error``).

    ``device`` is None for a frame that names no device; ``rssi`` in dBm, the best of the receivers of this batch.
    """

    device: Device | None
    telegram: Telegram
    readings: tuple[Reading, ...]
    received_at: float
    frame_id: int
    source: str
    rssi: float | None = None


class AlarmChanged(msgspec.Struct, frozen=True):
    """An alarm was raised, acknowledged or cleared."""

    alarm: Alarm


class JobChanged(msgspec.Struct, frozen=True):
    """A job has another state or is further on."""

    job: Job


class DeviceChanged(msgspec.Struct, frozen=True):
    """A device is new or was changed (not: heard once more)."""

    device: Device


class GatewayChanged(msgspec.Struct, frozen=True):
    """A gateway is new, came or went."""

    gateway: GatewayInfo


Event = ReadingsStored | AlarmChanged | JobChanged | DeviceChanged | GatewayChanged
E_ = TypeVar("E_", bound=Event)


class Bus:
    """Tells events to subscribers, in the thread that publishes; subscribers hand them on quickly."""

    __slots__ = ("_lock", "_subscribers", "failures")

    def __init__(self) -> None:
        self._subscribers: tuple[tuple[type, Callable[[Event], object]], ...] = ()
        self._lock = threading.Lock()
        self.failures = 0

    def subscribe(self, kind: type[E_], callback: Callable[[E_], object]) -> Callable[[], None]:
        """Be told events of a kind; returns what ends it."""
        entry = (kind, cast("Callable[[Event], object]", callback))
        with self._lock:
            self._subscribers = (*self._subscribers, entry)

        def end() -> None:
            with self._lock:
                self._subscribers = tuple(other for other in self._subscribers if other is not entry)

        return end

    def subscribe_all(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Be told everything; returns what ends it."""
        ends = [
            self.subscribe(kind, callback) for kind in (ReadingsStored, AlarmChanged, JobChanged, DeviceChanged, GatewayChanged)
        ]

        def end() -> None:
            for one in ends:
                one()

        return end

    def wanted(self, kind: type[Event]) -> bool:
        """True if somebody listens to events of this kind."""
        return any(other is kind for other, _ in self._subscribers)

    def publish(self, event: Event) -> None:
        """Tell an event. Raises nothing."""
        for kind, callback in self._subscribers:
            if kind is type(event):
                try:
                    callback(event)
                except Exception:
                    self.failures += 1
                    _log.exception("a subscriber of %s failed", kind.__name__)
