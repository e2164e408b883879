"""Discovery payloads of every simulated medium, against the rules of Home Assistant and its templates."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openmetering.interfaces.mqtt.discovery import DeviceCard, Topics, bridge_discovery, device_discovery
from openmetering.interfaces.mqtt.entities import Entity
from openmetering.interfaces.mqtt.meters import Heard, Message, Meters, Rules
from openmetering.simulation.metrology import MEDIA
from tests.interfaces.mqtt.discovery_rules import faults
from tests.interfaces.mqtt.samples import NOON, medium_telegram

#: medium -> key of a component -> what Home Assistant needs for its energy page
ENERGY_PAGE = {
    "electricity": ("energy_wh", "energy", "total_increasing", "kWh"),
    "feed-in": ("energy_wh_backward", "energy", "total_increasing", "kWh"),
    "gas": ("volume_m3_uncorrected", "gas", "total_increasing", "m³"),
    "cold water": ("volume_m3", "water", "total_increasing", "m³"),
    "warm water": ("volume_m3", "water", "total_increasing", "m³"),
    "heat": ("energy_wh", "energy", "total_increasing", "kWh"),
    "cooling": ("energy_wh", "energy", "total_increasing", "kWh"),
}


def published(medium: str, zone: str | None = "Europe/Berlin") -> dict[str, Message]:
    meters = Meters(Topics(), Rules(), None if zone is None else ZoneInfo(zone))
    telegram = medium_telegram(medium)
    messages = meters.heard(Heard(str(telegram.address), telegram, NOON, label="Kitchen", area="Flat 3", rssi=-70.0))
    return {message.topic: message for message in messages}


def discovery_of(messages: dict[str, Message]) -> tuple[str, dict]:
    found = [(topic, json.loads(message.payload)) for topic, message in messages.items() if topic.endswith("/config")]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("medium", sorted(MEDIA))
def test_every_simulated_medium_validates(medium: str, zone: str | None) -> None:
    topic, payload = discovery_of(published(medium, zone))
    assert faults(topic, payload) == []


@pytest.mark.parametrize("medium", sorted(ENERGY_PAGE))
def test_registers_are_fit_for_the_energy_page(medium: str) -> None:
    _, payload = discovery_of(published(medium))
    key, device_class, state_class, unit = ENERGY_PAGE[medium]
    component = payload["components"][key]
    assert component["device_class"] == device_class
    assert component["state_class"] == state_class
    assert component["unit_of_measurement"] == unit


@pytest.mark.parametrize("medium", sorted(MEDIA))
def test_templates_find_their_values(medium: str) -> None:
    """What Home Assistant does with a state: render the template with the JSON as ``value_json``."""
    messages = published(medium)
    _, payload = discovery_of(messages)
    state = json.loads(messages[payload["state_topic"]].payload)
    environment = ImmutableSandboxedEnvironment()
    assert set(payload["components"]) == set(state)
    for key, component in payload["components"].items():
        text = environment.from_string(component["value_template"]).render(value_json=state)
        assert text == str(state[key])
        if component["platform"] == "binary_sensor":
            assert text in ("ON", "OFF")
        if component.get("unit_of_measurement") or component.get("state_class"):
            float(text)
        if "options" in component:
            assert text in component["options"]
        if "json_attributes_topic" in component:
            metadata = json.loads(messages[component["json_attributes_topic"]].payload)
            attributes = environment.from_string(component["json_attributes_template"]).render(value_json=metadata)
            assert json.loads(attributes) == metadata[key]


def test_the_page_of_a_device() -> None:
    topic, payload = discovery_of(published("cold water"))
    assert topic == "homeassistant/device/openmetering_EXS-12345678-01-16/config"
    assert payload["device"] == {
        "identifiers": ["openmetering_EXS-12345678-01-16"],
        "name": "Kitchen",
        "manufacturer": "EXS",
        "model": "Cold water, version 1",
        "serial_number": "12345678",
        "suggested_area": "Flat 3",
        "via_device": "openmetering_bridge",
    }
    assert payload["availability"] == [
        {"topic": "openmetering/status", "payload_available": "online", "payload_not_available": "offline"},
        {
            "topic": "openmetering/meters/EXS-12345678-01-16/availability",
            "payload_available": "online",
            "payload_not_available": "offline",
        },
    ]
    assert payload["availability_mode"] == "all"
    assert payload["components"]["volume_m3"] == {
        "platform": "sensor",
        "unique_id": "openmetering_EXS-12345678-01-16_volume_m3",
        "name": "Volume",
        "value_template": "{{ value_json['volume_m3'] }}",
        "device_class": "water",
        "state_class": "total_increasing",
        "unit_of_measurement": "m³",
        "suggested_display_precision": 3,
        "json_attributes_topic": "openmetering/meters/EXS-12345678-01-16/metadata",
        "json_attributes_template": "{{ value_json['volume_m3'] | tojson }}",
    }


def test_the_publisher_is_a_device_of_its_own() -> None:
    topics = Topics("house/oms")
    payload = json.loads(bridge_discovery(topics))
    assert faults(f"homeassistant/device/{topics.identity('bridge')}/config", payload) == []
    assert payload["state_topic"] == "house/oms/status"
    assert payload["components"]["connection"]["payload_off"] == "offline"


def test_the_rules_find_faults() -> None:
    """The control: broken payloads are refused, each for its reason."""
    topic, good = discovery_of(published("electricity"))

    def broken(path: str, value: object) -> list[str]:
        payload = json.loads(json.dumps(good))
        at = payload
        *front, last = path.split("/")
        for name in front:
            at = at[name]
        at[last] = value
        return faults(topic, payload)

    assert broken("components/energy_wh/device_class", "gas") == ["energy_wh: gas does not come in kWh"]
    assert broken("components/energy_wh/device_class", "nonsense") == ["energy_wh: device class nonsense is unknown"]
    assert broken("components/energy_wh/state_class", "measurement") == ["energy_wh: energy is not measurement"]
    assert broken("components/energy_wh/icon_of_mine", "x") == ["energy_wh: icon_of_mine is unknown"]
    assert broken("components/energy_wh/unique_id", good["components"]["power_w"]["unique_id"]) == ["a unique_id stands twice"]
    assert broken("components/security/options", []) == ["security: an enumeration has options and neither unit nor state class"]
    assert broken("components/status_power_low/device_class", "energy") == ["status_power_low: device class energy is unknown"]
    assert broken("components/energy_wh/entity_category", "config") == ["energy_wh: only diagnostic is allowed for what is read"]
    assert broken("device/identifiers", []) == ["the device has no identifier"]
    assert broken("availability_mode", "some") == ["the mode of availability is unknown"]
    assert "energy_wh: there is no state topic" in broken("state_topic", "a/+/b")
    assert faults("homeassistant/device/a b/config", good) == ["the topic has forbidden characters"]


def test_the_same_whatever_the_order_of_components() -> None:
    entities = [Entity("a", "A"), Entity("b", "B", options=("x",), device_class="enum")]
    payload = json.loads(device_discovery(Topics(), DeviceCard("M#1/2", "Name"), entities, frozenset("a")))
    assert payload["device"] == {"identifiers": ["openmetering_M_1_2"], "name": "Name", "via_device": "openmetering_bridge"}
    assert payload["components"]["b"]["options"] == ["x"]
    assert "json_attributes_topic" not in payload["components"]["b"]


@given(st.text(min_size=1, max_size=40))
def test_any_name_is_a_level_of_a_topic(text: str) -> None:
    part = Topics.part(text)
    assert part
    assert not set("+#/ \0") & set(part)
    assert part.isascii()


def test_topics() -> None:
    topics = Topics("oms", "ha", "wm")
    assert topics.of("ELS-12345678-33-03", "state") == "oms/meters/ELS-12345678-33-03/state"
    assert topics.of("tcp://bus#5", "state") == "oms/meters/tcp_bus_5/state"
    assert topics.view("Kitchen / cold") == "wm/Kitchen_cold"
    assert topics.discovery("ELS-12345678-33-03") == "ha/device/oms_ELS-12345678-33-03/config"
    assert (topics.status, topics.home_assistant_status, topics.alarm(7)) == ("oms/status", "ha/status", "oms/alarms/7")
