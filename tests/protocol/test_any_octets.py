"""Whatever comes over the air or the wire, no machine raises: peers cannot bring a device or a gateway down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.link.wired import WiredFrame
from openmetering.protocol.device.build import FUNCTIONS, Options
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, Octets, PowerUp
from openmetering.protocol.gateway.events import DeviceLink, Register
from openmetering.protocol.gateway.gateway import Gateway, GatewayConfig
from openmetering.protocol.radio.datagram import datagram
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import RadioConfig
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import WiredSlave
from tests.protocol.device.partner import DEVICE, secured
from tests.protocol.device.partner import device as endpoint_of
from tests.protocol.gateway_bench import GATEWAY

#: every function, as far as functions go together in one device
FUNCTIONS_OF_ALL: dict[str, Options] = {name: {} for name in FUNCTIONS if name not in ("wired-adapter", "adapter")}
FUNCTIONS_OF_ALL["adapter"] = {"indexes": {"VM1!": "0C13"}}

COMMANDS = st.sampled_from(
    (0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x5B, 0x5A, 0x5F, 0x60, 0x64, 0x6C, 0x6D, 0x80, 0xA0, 0xC0, 0xC3, 0x90)
)
CONTROLS = st.sampled_from((0x40, 0x43, 0x45, 0x53, 0x73, 0x5A, 0x7A, 0x5B, 0x7B, 0x00, 0x06, 0x4E))
#: payloads that begin like something: records, clock, image, application select, a container with a right MAC
BEGINNINGS = st.sampled_from(
    [
        bytes.fromhex(text)
        for text in (
            "",
            "01FD1F",
            "02FD9F1D40",
            "02FD9706",
            "42EC7E00",
            "07F900",
            "00FDBC0C",
            "000456312E32",
            "020456312E320000",
            "070456312E32",
            "009E2D8D1D3209",
            "011E0000",
            "70",
        )
    ]
)
PAYLOADS = st.builds(lambda begin, rest: begin + rest, BEGINNINGS, st.binary(max_size=60))
SECURED = st.builds(
    lambda key_id, counter, pid, apdu: secured(key_id, counter, apdu, pid=pid),
    st.integers(0x18, 0x27),
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from((1, 4, 6, 9)),
    PAYLOADS,
)

MESSAGES = st.one_of(st.tuples(COMMANDS, PAYLOADS), st.tuples(st.just(0xC3), SECURED))
HEADER = DEVICE.transport_octets()


def body(ci: int, payload: bytes, access: int) -> bytes:
    return bytes((ci,)) + HEADER + bytes((access, 0, 0, 0)) + payload


@given(st.lists(st.tuples(CONTROLS, MESSAGES, st.integers(0, 255)), min_size=1, max_size=6))
def test_a_radio_device_survives_every_command(orders: list[tuple[int, tuple[int, bytes], int]]) -> None:
    memory = DeviceMemory()
    endpoint = endpoint_of("none", functions=FUNCTIONS_OF_ALL, memory=memory, applications=(0, 7, 18))
    device = RadioDevice(RadioConfig(access="permanent", plan=SlotPlan(nominal=600.0)), endpoint, memory, lambda: 0.5)
    device.receive(PowerUp(), 0.0)
    now = 1.0
    for control, (ci, payload), access in orders:
        frame = datagram(control, GATEWAY.link_octets(), body(ci, payload, access)[:230], 0x84, access)
        device.receive(Heard(frame, now - 0.02, -60.0), now)
        for _ in range(3):
            deadline = device.deadline
            if deadline is not None:
                now = max(now, deadline)
                device.timeout(now)
        now += 1.0
    assert memory.executed <= len(orders)


@given(
    st.lists(st.tuples(CONTROLS, MESSAGES, st.sampled_from((5, 253, 254, 255))), min_size=1, max_size=6), st.binary(max_size=40)
)
def test_a_wired_slave_survives_every_command(orders: list[tuple[int, tuple[int, bytes], int]], noise: bytes) -> None:
    memory = DeviceMemory(primary_address=5)
    endpoint = endpoint_of("none", wired=True, functions=FUNCTIONS_OF_ALL, memory=memory)
    slave = WiredSlave([LogicalSlave(endpoint, memory)])
    slave.receive(PowerUp(), 0.0)
    now = 10.0
    for control, (ci, payload), address in orders:
        data = body(ci, payload, 7)[:240] if ci not in (0x50, 0x51, 0x52) else bytes((ci,)) + payload[:240]
        for octets in (noise, WiredFrame.long(control, address, data).encode()):
            slave.receive(Octets(octets), now)
            for _ in range(3):
                deadline = slave.deadline
                if deadline is not None:
                    now = max(now, deadline)
                    slave.timeout(now)
            now += 1.0
    assert memory.executed <= len(orders)


@given(st.lists(st.tuples(st.integers(0, 255), PAYLOADS, st.integers(0, 255)), min_size=1, max_size=8), st.binary(max_size=80))
def test_a_gateway_survives_everything_it_hears(said: list[tuple[int, bytes, int]], noise: bytes) -> None:
    gateway = Gateway(GatewayConfig(GATEWAY), lambda: 0.5)
    gateway.receive(Register(DeviceLink(DEVICE)), 0.0)
    now = 1.0
    for control, payload, ci in said:
        answer = bytes((ci,)) + HEADER + bytes((1, 0, 0, 0)) + payload
        for frame in (datagram(control, DEVICE.link_octets(), answer[:200], 0x80, 9), noise):
            gateway.receive(Heard(frame, now - 0.02, -70.0), now)
            now += 1.0
            if gateway.deadline is not None:
                gateway.timeout(max(now, gateway.deadline))
