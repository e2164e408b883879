"""Discovery payloads against Home Assistant's own schemas.

Home Assistant pins all its packages, so it lives in an environment of its own: OPENMETERING_HOMEASSISTANT names the Python
of it (``python -m venv ENV; ENV/bin/pip install homeassistant paho-mqtt janus``). On Python 3.11 that is release 2024.3,
which knows the schemas of components; from 2024.12 on (Python 3.13) the schema of whole devices is checked, too.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from openmetering.interfaces.mqtt.discovery import Topics
from openmetering.interfaces.mqtt.meters import Heard, Meters, Rules
from openmetering.simulation.metrology import MEDIA
from tests.interfaces.mqtt.samples import NOON, medium_telegram

pytestmark = pytest.mark.services

PROGRAM = Path(__file__).with_name("home_assistant_program.py")


@pytest.fixture(scope="module")
def interpreter() -> str:
    found = os.environ.get("OPENMETERING_HOMEASSISTANT")
    if not found:
        if os.environ.get("OPENMETERING_REQUIRE_SERVICES") == "1":
            pytest.fail("OPENMETERING_HOMEASSISTANT names no Python that has Home Assistant")
        pytest.skip("OPENMETERING_HOMEASSISTANT names no Python that has Home Assistant")
    return found


def check(interpreter: str, payloads: list[tuple[str, dict]]) -> dict:
    done = subprocess.run(
        [interpreter, str(PROGRAM)], input=json.dumps(payloads).encode(), capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def all_payloads() -> list[tuple[str, dict]]:
    import datetime as dt

    meters = Meters(Topics(), Rules(), dt.UTC)
    messages = [meters.bridge()]
    for number, medium in enumerate(sorted(MEDIA)):
        telegram = medium_telegram(medium, number=number)
        messages += meters.heard(Heard(str(telegram.address), telegram, NOON, label=medium, rssi=-70.0))
    return [(one.topic, json.loads(one.payload)) for one in messages if one.topic.endswith("/config")]


def test_every_simulated_medium(interpreter: str) -> None:
    payloads = all_payloads()
    assert len(payloads) == len(MEDIA) + 1
    answer = check(interpreter, payloads)
    assert answer["faults"] == [], answer["version"]
    assert answer["checked"] == sum(len(payload["components"]) for _, payload in payloads)


def test_a_broken_payload_is_refused(interpreter: str) -> None:
    topic, payload = all_payloads()[1]
    key = next(key for key, one in payload["components"].items() if one["platform"] == "sensor")
    payload["components"][key]["device_class"] = "nonsense"
    faults = check(interpreter, [(topic, payload)])["faults"]
    assert len(faults) == 1
    assert key in faults[0]
