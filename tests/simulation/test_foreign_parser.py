"""pymbusparser reads what the simulated meters of every medium say, on radio and on the wire, with the values they state."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from openmetering.codec.address import Address, flag_value
from openmetering.codec.apl.records import Record
from openmetering.codec.link.wired import WiredFrame
from openmetering.protocol.device.build import DeviceDescription, make_device
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import WiredSlave
from openmetering.simulation.kernel import Kernel
from openmetering.simulation.metrology import MEDIA, Metrology
from openmetering.simulation.profiles import Calendar
from openmetering.simulation.wired_bus import WiredBus
from openmetering.wire.types import MeterTime

pymbusparser = pytest.importorskip("pymbusparser")

NOW = 200 * 86_400.0
START = dt.datetime(2026, 1, 1)
#: how pymbusparser writes units; where it names none (it does not know the code) nothing is compared
UNITS = {"Wh": "W.h", "m3/h": "m3.h-1", "°C": "Cel"}


def device(medium: str, *, wired: bool, history: bool = False) -> tuple[DeviceEndpoint, Metrology, DeviceMemory]:
    address = Address(flag_value("ELS"), "12345678", 0x33, MEDIA[medium].device_type)
    metrology = Metrology("12345678", medium, 1, Calendar(START), history=history)
    memory = DeviceMemory(primary_address=5)
    description = DeviceDescription(EndpointConfig(address, wired=wired))
    return make_device(description, memory, metrology, lambda: 0.5), metrology, memory


def radio_frame(medium: str, *, history: bool = False) -> tuple[bytes, Metrology]:
    """SND-NR of a meter: C, its address, the message."""
    endpoint, metrology, _ = device(medium, wired=False, history=history)
    content = b"\x44" + endpoint.address.link_octets() + endpoint.spontaneous("data", 17, NOW, ell=False)
    return bytes((len(content),)) + content, metrology


def wired_frame(medium: str) -> tuple[bytes, Metrology, float]:
    """RSP-UD of a meter as it comes over the simulated segment, and when it was asked."""
    endpoint, metrology, memory = device(medium, wired=True)
    bus = WiredBus(Kernel(NOW - 10.0))
    bus.attach(WiredSlave([LogicalSlave(endpoint, memory)]))
    heard: list[bytes] = []
    bus.master.listen(lambda event, now: heard.append(event.octets))
    asked = bus.master.send(WiredFrame.short(0x7B, 5).encode(), NOW)
    bus.kernel.run(NOW + 10.0)
    return b"".join(heard), metrology, asked


def check(frame: bytes, metrology: Metrology, now: float) -> None:
    """Every record the meter states comes back with its value, in order; compact profiles it cannot decode."""
    found: dict[str, Any] = pymbusparser.parse(frame, include_enrichment=False)
    assert (found["decode_state"], found["diagnostics"]) == ("complete", [])
    assert found["meter"]["identity"]["id"] == "12345678"
    assert found["meter"]["identity"]["device_type_code"] == metrology.medium.device_type
    stated = metrology.records(0, 0, now)
    assert len(found["records"]) == len(stated) > 0
    compared = 0
    for record, theirs in zip(stated, found["records"], strict=True):
        compared += _same(record, theirs)
    assert compared == sum(1 for record in stated if isinstance(record.value, Decimal | MeterTime))
    truth = metrology.truth(now)
    values = [Decimal(record["value"]["value"]) for record in found["records"] if record["value"]["kind"] == "decimal"]
    assert set(truth.values()) <= set(values)


def _same(record: Record, theirs: dict[str, Any]) -> bool:
    value = theirs["value"]["value"]
    if isinstance(record.value, Decimal):
        assert Decimal(value) == record.value, record
        if theirs.get("unit") is not None:
            assert theirs["unit"] == UNITS.get(record.unit, record.unit)
        return True
    if isinstance(record.value, MeterTime):
        assert value == record.value.isoformat()
        return True
    return False


@pytest.mark.parametrize("medium", MEDIA)
def test_on_radio(medium: str) -> None:
    frame, metrology = radio_frame(medium)
    check(frame, metrology, NOW)


@pytest.mark.parametrize("medium", [name for name, medium in MEDIA.items() if medium.history])
def test_on_radio_with_a_profile_of_months(medium: str) -> None:
    frame, metrology = radio_frame(medium, history=True)
    check(frame, metrology, NOW)


@pytest.mark.parametrize("medium", MEDIA)
def test_on_the_wire(medium: str) -> None:
    frame, metrology, asked = wired_frame(medium)
    check(frame, metrology, asked)
