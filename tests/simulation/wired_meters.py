"""Wired meters for tests: real slaves around real devices, with readings that never change."""

from __future__ import annotations

from collections.abc import Sequence

from openmetering.codec.address import Address, flag_value
from openmetering.codec.apl.records import parse
from openmetering.protocol.device.build import DeviceDescription, make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import EndpointConfig
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import SlaveConfig, WiredSlave

HEAT = "04 06 D2040000  04 14 80969800  05 5B 0000A842  05 5F 00000C42"  # 1234 kWh, 100000.00 m3, 84.0 and 35.0 degrees
WATER = "0C 14 78563412  42 6C 1F 1C"  # 123456.78 m3, a date


def address(number: int, maker: str = "ELS", version: int = 0x33, device_type: int = 0x07) -> Address:
    return Address(flag_value(maker), f"{number:08d}", version, device_type)


def wired_meter(
    number: int,
    primary: int = 0,
    records: str = WATER,
    *,
    device_type: int = 0x07,
    config: SlaveConfig | None = None,
    functions: Sequence[str] = ("primary-address", "conformance"),
) -> WiredSlave:
    """A meter on the wire, without security."""
    memory = DeviceMemory(primary_address=primary)
    description = DeviceDescription(
        EndpointConfig(address(number, device_type=device_type), wired=True),
        functions={name: {} for name in functions},
    )
    readings = FixedReadings({0: parse(bytes.fromhex(records)).records})
    endpoint = make_device(description, memory, readings, lambda: 0.5)
    return WiredSlave([LogicalSlave(endpoint, memory)], config)
