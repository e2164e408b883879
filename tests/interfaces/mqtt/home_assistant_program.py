"""Runs inside a Python that has the package ``homeassistant``: discovery payloads against its own schemas.

Standard input: a JSON list of [topic, payload]. Standard output: a JSON object {version, checked, faults}.

With Home Assistant 2024.12 and newer the whole payload goes through DEVICE_DISCOVERY_SCHEMA; with an older one only its
components do, with device, origin and availability put into each, as that version wants them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile

import voluptuous as vol
from homeassistant import const, core
from homeassistant.components.mqtt import binary_sensor, sensor
from homeassistant.components.sensor import DEVICE_CLASS_STATE_CLASSES, DEVICE_CLASS_UNITS
from homeassistant.helpers import frame

try:
    from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA
except ImportError:
    DEVICE_DISCOVERY_SCHEMA = None

SCHEMAS = {"sensor": sensor.DISCOVERY_SCHEMA, "binary_sensor": binary_sensor.DISCOVERY_SCHEMA}
SHARED = ("device", "origin", "availability", "availability_mode", "state_topic", "qos")
LATER = frozenset(("options",)) if DEVICE_DISCOVERY_SCHEMA is None else frozenset()


def component_faults(payload: dict, key: str) -> list[str]:
    """What the schema of the platform, and the tables of units and state classes, say against a component."""
    component = dict(payload["components"][key])
    platform = component.pop("platform")
    for option in SHARED:
        if option in payload and option not in component:
            component[option] = payload[option]
    try:
        checked = SCHEMAS[platform](component)
    except vol.Invalid as error:
        return [f"{key}: {error}"]
    lost = set(component) - set(checked) - LATER
    faults = [f"{key}: unknown options {sorted(lost)}"] if lost else []
    device_class = checked.get("device_class")
    if platform == "sensor" and device_class is not None:
        units = DEVICE_CLASS_UNITS.get(device_class)
        if units is not None and checked.get("unit_of_measurement") not in units:
            faults.append(f"{key}: unit {checked.get('unit_of_measurement')!r} does not fit {device_class}")
        growth = checked.get("state_class")
        if growth is not None and growth not in DEVICE_CLASS_STATE_CLASSES[device_class]:
            faults.append(f"{key}: state class {growth} does not fit {device_class}")
    return faults


async def main() -> None:
    hass = core.HomeAssistant(tempfile.mkdtemp())  # templates are compiled for one
    if hasattr(frame, "async_setup"):
        frame.async_setup(hass)
    warnings: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warnings.append(record.getMessage())

    logging.getLogger("homeassistant").addHandler(Collector(logging.WARNING))
    faults, checked = [], 0
    for topic, payload in json.load(sys.stdin):
        if DEVICE_DISCOVERY_SCHEMA is not None:
            try:
                DEVICE_DISCOVERY_SCHEMA(json.loads(json.dumps(payload)))
            except vol.Invalid as error:
                faults.append(f"{topic}: {error}")
        for key in payload["components"]:
            faults += [f"{topic}: {fault}" for fault in component_faults(payload, key)]
            checked += 1
    version = f"{const.MAJOR_VERSION}.{const.MINOR_VERSION}.{const.PATCH_VERSION}"
    json.dump({"version": version, "checked": checked, "faults": faults + warnings}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
