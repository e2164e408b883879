"""The settings of the broker are read strictly and hold no password."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from openmetering.errors import InputError
from openmetering.interfaces.mqtt.publisher import MqttPublisher
from openmetering.interfaces.mqtt.settings import MqttSettings, TlsSettings
from tests.interfaces.mqtt.tls_files import make_certificates

TEXT = """
host = "broker.example"
username = "meters"
password_file = "/run/secrets/mqtt"
protocol = "3.1.1"
devices = "all"
[tls]
ca = "ca.pem"
[topics]
base = "house"
[publish]
wmbusmeters = true
clock_zone = "Europe/Berlin"
"""


def test_from_a_file() -> None:
    found = msgspec.convert(tomllib.loads(TEXT), MqttSettings)
    assert (found.host, found.number, found.protocol, found.topics.base) == ("broker.example", 8883, "3.1.1", "house")
    assert found.publish.wmbusmeters
    assert found.publish.home_assistant
    assert MqttSettings("x").number == 1883
    assert MqttSettings("x", port=99).number == 99


@pytest.mark.parametrize(
    "text",
    [
        'hots = "x"',
        'host = "x"\npassword = "y"',
        'host = "x"\nport = 0',
        'host = "x"\nprotocol = "4"',
        'host = "x"\n[publish]\nall = true',
    ],
)
def test_mistakes_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(tomllib.loads(text), MqttSettings)


def test_password(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("secret word\n")
    assert MqttSettings("x", password_file=str(path)).password() == "secret word"
    assert MqttSettings("x").password() is None
    assert "secret" not in repr(MqttSettings("x", password_file=str(path)))
    with pytest.raises(InputError, match="cannot be read") as caught:
        MqttSettings("x", password_file=str(tmp_path / "missing")).password()
    assert caught.value.code == "mqtt.password"


def test_tls(tmp_path: Path) -> None:
    ca, certificate, key = map(str, make_certificates(tmp_path))
    assert TlsSettings(ca, certificate, key).context().check_hostname
    for wrong in (TlsSettings(str(tmp_path / "missing")), TlsSettings(key), TlsSettings(ca, certificate, ca)):
        with pytest.raises(InputError) as caught:
            wrong.context()
        assert caught.value.code == "mqtt.tls"


def test_zone_and_memory(tmp_path: Path) -> None:
    for zone in ("Europe/Atlantis", "../etc"):
        with pytest.raises(InputError) as caught:
            MqttPublisher(msgspec.convert({"host": "x", "publish": {"clock_zone": zone}}, MqttSettings))
        assert caught.value.code == "mqtt.zone"
    path = tmp_path / "memory.json"
    path.write_text("nonsense")
    with pytest.raises(InputError) as caught:
        MqttPublisher(MqttSettings("x", memory=str(path)))
    assert caught.value.code == "mqtt.memory"
