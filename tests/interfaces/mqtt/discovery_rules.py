"""What Home Assistant demands of a device discovery payload, in our own words: ``faults(topic, payload)``.

Source: Home Assistant Core 2025.4
    components/mqtt/schemas      the envelope: device, components, origin, availability, shared options
    components/mqtt/sensor       options of a sensor; an enumeration has options and neither unit nor state class
    components/mqtt/discovery    the topic
    components/sensor/const      units and state classes that go with a device class
    components/binary_sensor     its device classes
    helpers/entity               entity categories; const: length of a state
"""

from __future__ import annotations

import re

__all__ = ["BINARY_CLASSES", "SENSOR_CLASSES", "faults"]

_TOPIC = re.compile(r"[^/]+/device/(?:[A-Za-z0-9_-]+/)?[A-Za-z0-9_-]+/config")
_GROWING = {"total", "total_increasing"}
_NOW = {"measurement"}
_ALL = {"measurement", "total", "total_increasing"}
_NONE: set[str] = set()
_MICROGRAMS = {"µg/m³"}

#: device class -> (units, state classes)
SENSOR_CLASSES: dict[str, tuple[set[str | None], set[str]]] = {
    "apparent_power": ({"VA"}, _NOW),
    "battery": ({"%"}, _NOW),
    "carbon_dioxide": ({"ppm"}, _NOW),
    "carbon_monoxide": ({"ppm"}, _NOW),
    "conductivity": ({"S/cm", "mS/cm", "µS/cm"}, _NOW),
    "current": ({"A", "mA"}, _NOW),
    "date": ({None}, _NONE),
    "distance": ({"mm", "cm", "m", "km"}, _ALL),
    "duration": ({"d", "h", "min", "s", "ms"}, _ALL),
    "energy": ({"J", "kJ", "MJ", "GJ", "Wh", "kWh", "MWh", "GWh", "cal", "kcal", "Mcal", "Gcal"}, _GROWING),
    "enum": ({None}, _NONE),
    "frequency": ({"Hz", "kHz", "MHz", "GHz"}, _NOW),
    "gas": ({"m³", "ft³", "CCF"}, _GROWING),
    "humidity": ({"%"}, _NOW),
    "illuminance": ({"lx"}, _NOW),
    "irradiance": ({"W/m²"}, _NOW),
    "moisture": ({"%"}, _NOW),
    "ph": ({None}, _NOW),
    "pm1": (_MICROGRAMS, _NOW),
    "pm25": (_MICROGRAMS, _NOW),
    "pm10": (_MICROGRAMS, _NOW),
    "power": ({"mW", "W", "kW", "MW", "GW"}, _NOW),
    "precipitation": ({"mm", "cm", "in"}, _ALL),
    "pressure": ({"Pa", "hPa", "kPa", "mbar", "cbar", "bar"}, _NOW),
    "reactive_power": ({"var"}, _NOW),
    "signal_strength": ({"dB", "dBm"}, _NOW),
    "sound_pressure": ({"dB", "dBA"}, _NOW),
    "temperature": ({"°C", "°F", "K"}, _NOW),
    "timestamp": ({None}, _NONE),
    "volatile_organic_compounds": (_MICROGRAMS, _NOW),
    "volatile_organic_compounds_parts": ({"ppm", "ppb"}, _NOW),
    "voltage": ({"µV", "mV", "V", "kV"}, _NOW),
    "volume": ({"m³", "L", "mL", "ft³", "CCF", "gal"}, _GROWING),
    "volume_flow_rate": ({"m³/h", "L/min", "mL/s", "ft³/min", "gal/min"}, _NOW),
    "water": ({"m³", "L", "ft³", "CCF", "gal"}, _GROWING),
    "weight": ({"µg", "mg", "g", "kg"}, _ALL),
    "wind_speed": ({"m/s", "km/h"}, _NOW),
}
BINARY_CLASSES = {
    "battery", "carbon_monoxide", "connectivity", "heat", "moisture", "opening", "problem", "smoke",
}  # fmt: skip
_NOT_NUMBERS = {"date", "enum", "timestamp"}

_ENVELOPE = {"device", "components", "origin", "availability", "availability_mode", "state_topic", "qos"}
_AVAILABILITY = {"topic", "payload_available", "payload_not_available", "value_template"}
_DEVICE = {
    "identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number", "sw_version",
    "via_device", "suggested_area", "configuration_url",
}  # fmt: skip
_COMMON = {
    "platform", "unique_id", "name", "value_template", "device_class", "entity_category", "enabled_by_default",
    "json_attributes_topic", "json_attributes_template", "state_topic",
}  # fmt: skip
_OPTIONS = {
    "sensor": _COMMON | {"state_class", "unit_of_measurement", "suggested_display_precision", "options"},
    "binary_sensor": _COMMON | {"payload_on", "payload_off"},
}


def _is_topic(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text.encode()) < 65_536 and not set("+#\0") & set(text)


def _envelope(topic: str, payload: dict) -> list[str]:
    found = []
    if not _TOPIC.fullmatch(topic):
        found.append("the topic has forbidden characters")
    found += [f"{name} is missing" for name in ("device", "components", "origin") if name not in payload]
    found += [f"{name} is unknown" for name in set(payload) - _ENVELOPE]
    device = payload.get("device", {})
    if not device.get("identifiers") and not device.get("connections"):
        found.append("the device has no identifier")
    found += [f"device.{name} is unknown" for name in set(device) - _DEVICE]
    found += [
        f"device.{name} is no text" for name in set(device) - {"identifiers", "connections"} if not isinstance(device[name], str)
    ]
    if not isinstance(payload.get("origin", {}).get("name"), str):
        found.append("the origin has no name")
    if payload.get("availability_mode", "latest") not in ("all", "any", "latest"):
        found.append("the mode of availability is unknown")
    for one in payload.get("availability", ()):
        if not _is_topic(one.get("topic")) or set(one) - {
            "topic",
            "payload_available",
            "payload_not_available",
            "value_template",
        }:
            found.append(f"the availability {one} is wrong")
    if payload.get("qos", 0) not in (0, 1, 2):
        found.append("the quality of service is unknown")
    return found


def _sensor(component: dict) -> list[str]:
    device_class, growth = component.get("device_class"), component.get("state_class")
    unit, options = component.get("unit_of_measurement"), component.get("options")
    found = []
    if (options is not None) != (device_class == "enum"):
        found.append("options and the class enum go together")
    if options is not None and (not options or growth or unit):
        found.append("an enumeration has options and neither unit nor state class")
    if growth is not None and growth not in _ALL:
        found.append(f"state class {growth} is unknown")
    if device_class in _NOT_NUMBERS and "suggested_display_precision" in component:
        found.append("a text has no precision")
    if device_class is not None:
        known = SENSOR_CLASSES.get(device_class)
        if known is None:
            return [*found, f"device class {device_class} is unknown"]
        units, states = known
        if unit not in units:
            found.append(f"{device_class} does not come in {unit}")
        if growth is not None and growth not in states:
            found.append(f"{device_class} is not {growth}")
    if (
        not isinstance(component.get("suggested_display_precision", 0), int)
        or component.get("suggested_display_precision", 0) < 0
    ):
        found.append("the precision is no number of decimals")
    return found


def _component(component: dict, shared: dict) -> list[str]:
    platform = component.get("platform")
    if platform not in _OPTIONS:
        return [f"platform {platform} is unknown"]
    found = [f"{name} is unknown" for name in set(component) - _OPTIONS[platform]]
    if not component.get("unique_id"):
        found.append("there is no unique_id")
    if not _is_topic(component.get("state_topic", shared.get("state_topic"))):
        found.append("there is no state topic")
    if component.get("entity_category") not in (None, "diagnostic"):
        found.append("only diagnostic is allowed for what is read")
    if platform == "binary_sensor":
        device_class = component.get("device_class")
        return found if device_class in BINARY_CLASSES else [*found, f"device class {device_class} is unknown"]
    return found + _sensor(component)


def faults(topic: str, payload: dict) -> list[str]:
    """Everything that Home Assistant would say against a payload; empty if it takes it."""
    found = _envelope(topic, payload)
    identities = [component.get("unique_id") for component in payload.get("components", {}).values()]
    if len(set(identities)) != len(identities):
        found.append("a unique_id stands twice")
    for key, component in payload.get("components", {}).items():
        found += [f"{key}: {fault}" for fault in _component(component, payload)]
    return found
