"""Device discovery of Home Assistant: one retained payload for each meter with everything it shows.

    homeassistant/device/<meter>/config     {device, origin, components: {key: {platform, device_class ...}}, availability}
    <base>/meters/<meter>/state             {key: value, ...}                      read by every component
    <base>/meters/<meter>/availability      online, offline                        this meter is heard
    <base>/status                           online, offline (last will)            the publisher is there
    <base>/meters/<meter>/metadata          {key: {tag, obis, quantity ...}}       attributes of the components

Source: Home Assistant Core 2025.4, component ``mqtt``: ``schemas`` (DEVICE_DISCOVERY_SCHEMA), ``sensor`` and
``binary_sensor`` (DISCOVERY_SCHEMA); user documentation of MQTT discovery, device discovery payload
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from openmetering import __version__
from openmetering.interfaces.mqtt.entities import Entity

__all__ = ["OFFLINE", "ONLINE", "DeviceCard", "Topics", "bridge_discovery", "device_discovery"]

ONLINE, OFFLINE = b"online", b"offline"
_NOT_IN_TOPICS = re.compile(r"[^A-Za-z0-9_-]+")


class Topics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things are published. ``base`` for our own topics, ``prefix`` for the discovery of Home Assistant."""

    base: str = "openmetering"
    prefix: str = "homeassistant"
    wmbusmeters: str = "wmbusmeters"

    @property
    def status(self) -> str:
        """Whether the publisher is there; the last will goes here."""
        return f"{self.base}/status"

    @property
    def home_assistant_status(self) -> str:
        """Where Home Assistant says that it has started (its birth message)."""
        return f"{self.prefix}/status"

    def of(self, address: str, what: str) -> str:
        """A topic of a meter."""
        return f"{self.base}/meters/{self.part(address)}/{what}"

    def alarm(self, number: int) -> str:
        """Where an alarm is told."""
        return f"{self.base}/alarms/{number}"

    def view(self, name: str) -> str:
        """The topic of the wmbusmeters view of a meter."""
        return f"{self.wmbusmeters}/{self.part(name)}"

    def discovery(self, address: str) -> str:
        """The discovery topic of a meter."""
        return f"{self.prefix}/device/{self.identity(address)}/config"

    def identity(self, address: str) -> str:
        """The name of a device in Home Assistant; two publishers with other bases do not meet."""
        return f"{self.part(self.base)}_{self.part(address)}"

    @staticmethod
    def part(text: str) -> str:
        """A name as a level of a topic: wildcards, slashes and blanks become underscores."""
        return _NOT_IN_TOPICS.sub("_", text).strip("_") or "_"


class DeviceCard(msgspec.Struct, frozen=True):
    """What is known about a meter as a thing: for the device page of Home Assistant."""

    address: str
    name: str
    manufacturer: str | None = None
    model: str | None = None
    serial_number: str | None = None
    software: str | None = None
    hardware: str | None = None
    area: str | None = None


class _Device(msgspec.Struct, frozen=True, omit_defaults=True):
    identifiers: tuple[str, ...]
    name: str
    manufacturer: str | None = None
    model: str | None = None
    serial_number: str | None = None
    sw_version: str | None = None
    hw_version: str | None = None
    suggested_area: str | None = None
    via_device: str | None = None


class _Origin(msgspec.Struct, frozen=True):
    name: str = "openmetering"
    sw_version: str = __version__


class _Availability(msgspec.Struct, frozen=True):
    topic: str
    payload_available: str = ONLINE.decode()
    payload_not_available: str = OFFLINE.decode()


class _Component(msgspec.Struct, frozen=True, omit_defaults=True):
    platform: str
    unique_id: str
    name: str
    value_template: str | None = None
    device_class: str | None = None
    state_class: str | None = None
    unit_of_measurement: str | None = None
    suggested_display_precision: int | None = None
    entity_category: str | None = None
    options: tuple[str, ...] = ()
    enabled_by_default: bool = True
    json_attributes_topic: str | None = None
    json_attributes_template: str | None = None
    state_topic: str | None = None
    payload_on: str | None = None
    payload_off: str | None = None


class _Discovery(msgspec.Struct, frozen=True, omit_defaults=True):
    device: _Device
    components: dict[str, _Component]
    state_topic: str
    origin: _Origin = msgspec.field(default_factory=_Origin)
    availability: tuple[_Availability, ...] = ()
    availability_mode: str | None = None
    qos: int = 0


def _component(topics: Topics, address: str, entity: Entity, described: bool) -> _Component:
    key = entity.key
    return _Component(
        entity.platform,
        f"{topics.identity(address)}_{key}",
        entity.name,
        value_template="{{ value_json['" + key + "'] }}",
        device_class=entity.device_class,
        state_class=entity.state_class,
        unit_of_measurement=entity.unit,
        suggested_display_precision=entity.precision,
        entity_category=entity.category,
        options=entity.options,
        enabled_by_default=entity.enabled,
        json_attributes_topic=topics.of(address, "metadata") if described else None,
        json_attributes_template="{{ value_json['" + key + "'] | tojson }}" if described else None,
    )


def device_discovery(topics: Topics, card: DeviceCard, entities: Iterable[Entity], described: frozenset[str]) -> bytes:
    """The discovery payload of a meter. ``described`` are the keys with an entry in the metadata of the meter."""
    device = _Device(
        (topics.identity(card.address),),
        card.name,
        card.manufacturer,
        card.model,
        card.serial_number,
        card.software,
        card.hardware,
        card.area,
        via_device=topics.identity("bridge"),
    )
    components = {entity.key: _component(topics, card.address, entity, entity.key in described) for entity in entities}
    return msgspec.json.encode(
        _Discovery(
            device,
            components,
            topics.of(card.address, "state"),
            origin=_Origin(),
            availability=(_Availability(topics.status), _Availability(topics.of(card.address, "availability"))),
            availability_mode="all",
            qos=1,
        )
    )


def bridge_discovery(topics: Topics) -> bytes:
    """The discovery payload of the publisher itself: the device the meters hang on, with its connection."""
    identity = topics.identity("bridge")
    connection = _Component(
        "binary_sensor",
        f"{identity}_connection",
        "Connection",
        device_class="connectivity",
        entity_category="diagnostic",
        payload_on=ONLINE.decode(),
        payload_off=OFFLINE.decode(),
    )
    device = _Device((identity,), "OpenMetering", model="MQTT publisher", sw_version=__version__)
    return msgspec.json.encode(_Discovery(device, {"connection": connection}, topics.status, origin=_Origin(), qos=1))
