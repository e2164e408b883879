"""What is published of the meters: decided from telegrams, without a network and without a clock.

    telegram --> values by key, merged into what is known of the meter --> state (retained)
             --> new or changed entities --> discovery and metadata (retained)
             --> availability (retained): online when heard, offline when silent for too long
             --> view of wmbusmeters, the whole telegram (where wanted, not retained)

A device based discovery that leaves a component out removes it from Home Assistant. So what a meter has ever shown is
remembered (``snapshot``, ``restore``), also over a restart.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterable

import msgspec

from openmetering.errors import InputError
from openmetering.interfaces.mqtt.discovery import OFFLINE, ONLINE, DeviceCard, Topics, bridge_discovery, device_discovery
from openmetering.interfaces.mqtt.entities import Entity, Meaning, shown
from openmetering.interfaces.mqtt.wmbusmeters import view_json
from openmetering.services.headend.liveness import LivenessRules
from openmetering.tables import MANUFACTURERS
from openmetering.telegram import Telegram, answer_json

__all__ = ["Heard", "Message", "Meters", "Rules", "silence"]

SECURITY_STATES = ("plain", "decrypted", "already-plain", "key-missing", "failed")
_VERSIONS = {"metrology (firmware) version": "software", "hardware version": "hardware"}
_PATIENCE = LivenessRules()

_LAST_HEARD = Entity("last_heard", "Last heard", device_class="timestamp", category="diagnostic")
_RSSI = Entity(
    "rssi", "Reception level", device_class="signal_strength", state_class="measurement", unit="dBm", category="diagnostic"
)
_SECURITY = Entity("security", "Security", device_class="enum", category="diagnostic", options=SECURITY_STATES)

_text = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True):
    """One message for the broker. Retained ones say how things are, the others what happened."""

    topic: str
    payload: bytes
    retain: bool = True
    qos: int = 1


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is published: ``home_assistant`` discovery, the ``wmbusmeters`` view, whole ``telegrams`` as JSON.

    ``clock_zone`` is the time zone of the meters' clocks (IANA name); without it times of meters are plain text.
    """

    home_assistant: bool = True
    wmbusmeters: bool = False
    telegrams: bool = False
    clock_zone: str | None = None


class Heard(msgspec.Struct, frozen=True):
    """A telegram of a meter. ``interval`` in seconds where it is known, ``rssi`` in dBm."""

    address: str
    telegram: Telegram
    received_at: float
    label: str = ""
    area: str | None = None
    rssi: float | None = None
    source: str = ""
    interval: float | None = None


class _View(msgspec.Struct):
    """What is known of one meter."""

    card: DeviceCard
    entities: dict[str, Entity] = {}
    meanings: dict[str, Meaning] = {}
    values: dict[str, msgspec.Raw] = {}
    last_heard: float = 0.0
    interval: float | None = None
    available: bool | None = None
    awaited: bool = False


def silence(interval: float | None, rules: LivenessRules = _PATIENCE) -> float:
    """Seconds after which a meter of this interval is no longer available: when the head-end calls it silent."""
    return rules.unlearned if interval is None else max(rules.least, rules.intervals * interval)


class Meters:
    """All meters that are published. One thread at a time."""

    __slots__ = ("_due", "_rules", "_topics", "_views", "_zone", "changed")

    def __init__(self, topics: Topics, rules: Rules, zone: dt.tzinfo | None = None) -> None:
        self._topics, self._rules, self._zone = topics, rules, zone
        self._views: dict[str, _View] = {}
        self._due: list[tuple[float, str]] = []
        #: True if there is something new to remember (``snapshot``)
        self.changed = False

    def __len__(self) -> int:
        return len(self._views)

    # -- telegrams ----------------------------------------------------------------------------

    def heard(self, item: Heard) -> list[Message]:
        """What is to be published for a telegram; nothing for frames to a device."""
        telegram = item.telegram
        if not telegram.uplink:
            return []
        view = self._views.get(item.address)
        known = view is not None
        if view is None:
            view = self._views[item.address] = _View(_card(item), {}, {}, {})
        fresh = item.received_at >= view.last_heard
        before = (view.card, dict(view.entities))
        view.card = _card(item, view.card)
        self._merge(view, item, fresh)
        if fresh:
            view.last_heard = item.received_at
            view.interval = item.interval or view.interval
            self._expect(item.address, view)
        messages = []
        if not known or before != (view.card, view.entities):
            self.changed = True
            messages += self._describe(view)
        messages.append(self._state(view))
        if fresh:
            messages += self._available(view, True)
        messages += self._events(view, item)
        return messages

    def _merge(self, view: _View, item: Heard, fresh: bool) -> None:
        """Newer values take the place of older ones; an old telegram only adds what was not known."""
        telegram = item.telegram
        if telegram.error is None and not telegram.fragment:
            for one in shown(telegram, self._zone):
                self._put(view, one.entity, one.value, fresh)
                if one.meaning is not None:
                    view.meanings[one.entity.key] = one.meaning
        moment = dt.datetime.fromtimestamp(item.received_at, dt.UTC).isoformat(timespec="seconds")
        self._put(view, _LAST_HEARD, _text(moment), fresh)
        self._put(view, _SECURITY, _text(telegram.security.state), fresh)
        if item.rssi is not None:
            self._put(view, _RSSI, f"{item.rssi:.0f}".encode(), fresh)

    @staticmethod
    def _put(view: _View, entity: Entity, value: bytes, fresh: bool) -> None:
        known = view.entities.get(entity.key)
        if known is not None and not fresh:
            return
        if known is not None and known.precision is not None and entity.precision is not None:
            entity = msgspec.structs.replace(entity, precision=max(known.precision, entity.precision))
        view.entities[entity.key] = entity
        view.values[entity.key] = msgspec.Raw(value)

    def _expect(self, address: str, view: _View) -> None:
        """One entry of each meter waits; it is put off when it comes due and the meter was heard since."""
        if not view.awaited:
            view.awaited = True
            heapq.heappush(self._due, (view.last_heard + silence(view.interval), address))

    # -- availability ---------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When ``timeout`` has something to look at."""
        return self._due[0][0] if self._due else None

    def timeout(self, now: float) -> list[Message]:
        """Say which meters are no longer heard."""
        messages: list[Message] = []
        while self._due and self._due[0][0] <= now:
            _, address = heapq.heappop(self._due)
            view = self._views.get(address)
            if view is None:
                continue
            view.awaited = False
            if view.last_heard + silence(view.interval) <= now:
                messages += self._available(view, False)
            else:
                self._expect(address, view)
        return messages

    def _available(self, view: _View, available: bool) -> list[Message]:
        if view.available is available:
            return []
        view.available = available
        return [Message(self._topics.of(view.card.address, "availability"), ONLINE if available else OFFLINE)]

    # -- messages -------------------------------------------------------------------------------

    def _describe(self, view: _View) -> list[Message]:
        if not self._rules.home_assistant:
            return []
        address = view.card.address
        payload = device_discovery(self._topics, view.card, view.entities.values(), frozenset(view.meanings))
        return [
            Message(self._topics.of(address, "metadata"), msgspec.json.encode(view.meanings)),
            Message(self._topics.discovery(address), payload),
        ]

    def _state(self, view: _View) -> Message:
        return Message(self._topics.of(view.card.address, "state"), msgspec.json.encode(view.values))

    def _events(self, view: _View, item: Heard) -> Iterable[Message]:
        telegram = item.telegram
        if self._rules.telegrams:
            yield Message(self._topics.of(item.address, "telegram"), answer_json(telegram), retain=False)
        if self._rules.wmbusmeters and telegram.error is None and telegram.address is not None:
            name = item.label or telegram.address.identification
            payload = view_json(telegram, name, item.received_at, source=item.source, rssi=item.rssi)
            yield Message(self._topics.view(name), payload, retain=False)

    def everything(self) -> list[Message]:
        """All that is retained, again: for a broker that lost it and a Home Assistant that has just started."""
        messages = [self.bridge()] if self._rules.home_assistant else []
        for view in self._views.values():
            messages += self._describe(view)
            messages.append(self._state(view))
            if view.available is not None:
                payload = ONLINE if view.available else OFFLINE
                messages.append(Message(self._topics.of(view.card.address, "availability"), payload))
        return messages

    def bridge(self) -> Message:
        """The discovery of the publisher itself."""
        return Message(f"{self._topics.prefix}/device/{self._topics.identity('bridge')}/config", bridge_discovery(self._topics))

    def rename(self, address: str, label: str, area: str | None = None) -> list[Message]:
        """A meter has another label or place; nothing for meters that were not heard."""
        view = self._views.get(address)
        if view is None:
            return []
        card = msgspec.structs.replace(view.card, name=label or view.card.name, area=area or view.card.area)
        if card == view.card:
            return []
        view.card, self.changed = card, True
        return self._describe(view)

    def forget(self, address: str) -> list[Message]:
        """Take a meter away: Home Assistant removes the device, the broker what it kept."""
        if self._views.pop(address, None) is None:
            return []
        self.changed = True
        topics = [self._topics.of(address, what) for what in ("state", "availability", "metadata")]
        return [Message(topic, b"") for topic in (self._topics.discovery(address), *topics)]

    # -- memory ---------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """What must not be forgotten, as JSON."""
        self.changed = False
        return msgspec.json.encode(self._views)

    def restore(self, octets: bytes) -> None:
        """Know again what an earlier run knew. Raises InputError (``mqtt.memory``)"""
        try:
            views = msgspec.json.decode(octets, type=dict[str, _View])
        except msgspec.MsgspecError as error:
            message = f"the memory of the MQTT publisher cannot be read, take the file away: {error}"
            raise InputError(message, code="mqtt.memory") from error
        for address, view in views.items():
            if address not in self._views:
                self._views[address] = view
                view.awaited = False
                self._expect(address, view)


def _card(item: Heard, known: DeviceCard | None = None) -> DeviceCard:
    """What the device page says: from the address, the label, and the versions the meter has told."""
    address = item.telegram.address
    found: dict[str, str] = {}
    for record in item.telegram.records if item.telegram.error is None else ():
        part = _VERSIONS.get(record.header.quantity)
        text = record.number_text() or record.value
        if part is not None and isinstance(text, str):
            found[part] = text
    software, hardware = (found.get("software"), found.get("hardware"))
    if known is not None:
        software, hardware = software or known.software, hardware or known.hardware
    if address is None:
        return DeviceCard(item.address, item.label or item.address, software=software, hardware=hardware, area=item.area)
    medium = address.medium[:1].upper() + address.medium[1:]
    return DeviceCard(
        item.address,
        item.label or f"{medium} {address.identification}",
        MANUFACTURERS.get(address.flag, address.flag),
        f"{medium}, version {address.version}",
        address.identification,
        software,
        hardware,
        item.area,
    )
