"""From the configuration to doors and stations.

serial:, tcp:, file:, ... of ``oms listen``   as there
... with sends = true                         a stick with a gateway machine
mbus:, mbus+tcp: with [[source.poll]]         a line with a gateway machine and a plan
mqtt://, mqtts://HOST/TOPIC                   messages of other gateways (see ``inlets``)
http-listen://HOST:PORT                       the same by HTTP POST
what ``openers`` add                          by scheme
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.protocol.gateway.events import GatewayConfig
from openmetering.security import KeyRing, key_purpose
from openmetering.services.gatewayd.config import Config, SourceConfig
from openmetering.services.gatewayd.daemon import Sources
from openmetering.services.gatewayd.inlets import HttpInlet, MqttInlet
from openmetering.services.gatewayd.stations import RadioStation, Station, StationEvent, WiredStation
from openmetering.services.operation import DEFAULT_GATEWAY
from openmetering.transport.doors import Door
from openmetering.transport.source_address import SourceAddress, parse_source
from openmetering.transport.sources import open_source

__all__ = ["Openers", "check_keys", "open_sources"]

Opener = Callable[[SourceAddress, str], Door]
Openers = Mapping[str, Opener]
_INLETS: dict[str, Opener] = {"mqtt": MqttInlet, "mqtts": MqttInlet, "http-listen": HttpInlet}


def check_keys(keys: KeyRing) -> KeyRing:
    """The keys, if a gateway may hold all of them. Raises InputError (``key.invalid``)."""
    for pattern, key in keys:
        if key_purpose(key.key_id) not in ("communication", "any"):
            raise InputError(
                f"the key of {pattern} with KeyID {key.key_id:02X} is no communication key (00 to 0F): a gateway must not "
                "hold it; give it to the head-end only",
                code="key.invalid",
                layer="security",
            )
    return keys


def open_sources(
    config: Config, keys: KeyRing | None, tell: Callable[[str, StationEvent], None], openers: Openers | None = None
) -> Sources:
    """Doors and stations of a configuration; nothing is opened yet. Raises InputError."""
    own = Address.parse(config.gateway.address) if config.gateway.address else DEFAULT_GATEWAY
    machine = GatewayConfig(own)
    folder = Path(config.gateway.state)
    schemes = {**_INLETS, **(openers or {})}
    doors: dict[str, Door] = {}
    stations: dict[str, Station] = {}
    for name, source in zip(config.names(), config.source, strict=True):
        station = _station(name, source, machine, keys, folder, tell)
        if station is not None:
            stations[name] = doors[name] = station
            continue
        address = parse_source(source.at)
        opener = schemes.get(address.scheme)
        doors[name] = open_source(source.at, source.format) if opener is None else opener(address, source.format)
    return Sources(doors, stations)


def _station(
    name: str,
    source: SourceConfig,
    machine: GatewayConfig,
    keys: KeyRing | None,
    folder: Path,
    tell: Callable[[str, StationEvent], None],
) -> RadioStation | WiredStation | None:
    ring = None if keys is None else check_keys(keys)
    if source.poll:
        plans = [plan for poll in source.poll for plan in poll.plans()]
        return WiredStation(name, source.at, machine, ring, folder, tell, plans, time.time())
    if source.sends:
        return RadioStation(name, source.at, machine, ring, folder, tell)
    return None
