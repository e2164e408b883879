"""The way up that a configuration names."""

from __future__ import annotations

from urllib.parse import urlsplit

from openmetering.services.gatewayd.config import Config
from openmetering.services.gatewayd.mqtt import MqttUplink
from openmetering.services.gatewayd.uplink import HttpUplink, Uplink

__all__ = ["make_uplink"]


def make_uplink(config: Config) -> Uplink | None:
    """MQTT or HTTPS; None where everything stays in the spool. Nothing is opened yet.

    Raises InputError for secrets and certificates that cannot be read, TransportError (``transport.extra``)
    """
    scheme = urlsplit(config.uplink.to).scheme
    if scheme.startswith("mqtt"):
        return MqttUplink(config.uplink, config.gateway.name)
    if scheme.startswith("http"):
        return HttpUplink(config.uplink)
    return None
