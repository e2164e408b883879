"""Radio device and gateway together: every mode, profile and kind of access, with losses and with an adapter in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from openmetering.codec.address import Address, flag_value
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Submit
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig, Installed, Received, Register
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.radio.credits import airtime
from openmetering.protocol.radio.datagram import datagram
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import ButtonPressed, Ignored, InstallationEnded, RadioConfig
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.security import KeyRing
from openmetering.simulation.kernel import Kernel, Node
from tests.protocol.device.partner import DEVICE, MASTER
from tests.protocol.device.partner import device as endpoint_of
from tests.protocol.radio_bench import dice

GATEWAY = Address(flag_value("CCC"), "33445566", 0x0A, 0x31)
ADAPTER = Address(flag_value("XYZ"), "00000037", 0x01, 0x37)
CONFORMANCE = Command("m-bus", bytes.fromhex("02FD9F1D4032"))
ANSWER = bytes.fromhex("04FD9F1D40324242")


class Ether:
    """One device, one gateway. ``lose`` decides about every frame by its number and direction."""

    def __init__(self, mode: str = "C", profile: str = "B", *, lose: Callable[[int, bool], bool] | None = None,
                 adapter: bool = False, **options: object) -> None:  # fmt: skip
        self.kernel = Kernel()
        self.mode = mode
        self.lose = lose or (lambda number, downlink: False)
        self.count = [0, 0]
        self.events: list[object] = []
        self.frames: list[bytes] = []
        self.ignored: list[Ignored] = []
        options.setdefault("access", "short")
        link_address = ADAPTER if adapter else None
        config = RadioConfig(mode=mode, plan=SlotPlan(nominal=300.0), link_address=link_address, **options)  # type: ignore[arg-type]
        memory = DeviceMemory()
        endpoint = endpoint_of(profile, functions={"conformance": {}}, memory=memory, long_header=adapter)
        self.device = RadioDevice(config, endpoint, memory, dice())
        ring = KeyRing()
        ring.add(DEVICE.link_octets(), MASTER)
        gateway = Gateway(GatewayConfig(GATEWAY, mode=config.mode), dice(), ring)
        self.meter: Node[object, object] = Node(self.kernel, self.device, self._from_device)  # type: ignore[arg-type]
        self.gateway: Node[object, object] = Node(self.kernel, gateway, self._from_gateway)  # type: ignore[arg-type]
        self.gateway.post(PowerUp())
        self.gateway.post(Register(DeviceLink(DEVICE, profile, ADAPTER if adapter else None, mode=config.mode)))
        self.meter.post(PowerUp())

    def _from_device(self, event: object, now: float) -> None:
        if isinstance(event, Transmit):
            self._transmit(self.meter, self.gateway, event)
        elif isinstance(event, Ignored):
            self.ignored.append(event)
        else:
            self.events.append(event)

    def _from_gateway(self, event: object, now: float) -> None:
        if isinstance(event, Transmit):
            self._transmit(self.gateway, self.meter, event)
        elif not isinstance(event, Received):
            self.events.append(event)

    def _transmit(self, sender: Node[object, object], receiver: Node[object, object], event: Transmit) -> None:
        start = max(self.kernel.now, event.not_before)
        end = start + airtime(self.device.config.mode, len(event.frame))
        downlink = sender is self.gateway
        self.count[downlink] += 1
        lost = self.lose(self.count[downlink], downlink)

        def arrive(now: float) -> None:
            self.frames.append(event.frame)
            sender.post(Sent(event.frame, start))
            if not lost and (not downlink or self.device.listening(start)):
                receiver.post(Heard(event.frame, start, -70.0))

        self.kernel.call_at(end, arrive)

    def ask(self, token: int = 1, command: Command | None = CONFORMANCE) -> None:
        self.gateway.post(Submit(token, Exchange(DEVICE, command)))

    def answers(self) -> list[Answered]:
        return [event for event in self.events if isinstance(event, Answered)]


@pytest.mark.parametrize("mode", ["S", "T", "C"])
@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("access", ["short", "permanent"])
def test_a_command_is_answered(mode: str, profile: str, access: str) -> None:
    ether = Ether(mode, profile, access=access)
    ether.ask()
    ether.kernel.run(400.0)
    (answered,) = ether.answers()
    assert (answered.token, answered.status, answered.protocol) == (1, 0, "m-bus")
    assert ANSWER in answered.payload
    assert ether.frames[-1][1] == 0x44 or any(frame[1] == 0x40 for frame in ether.frames)


@pytest.mark.parametrize(
    ("options", "adapter"),
    [({"fast_response": True}, False), ({"command_answer": False}, False), ({}, True), ({"window_every": 2}, False)],
)
def test_other_devices(options: dict[str, object], adapter: bool) -> None:
    ether = Ether(adapter=adapter, **options)
    ether.ask()
    ether.kernel.run(1000.0)
    (answered,) = ether.answers()
    assert ANSWER in answered.payload


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("downlink", [False, True])
@pytest.mark.parametrize("exchange", [True, False])
def test_one_lost_frame(number: int, downlink: bool, exchange: bool) -> None:
    """Whatever is lost, the answer comes and the command is executed once."""
    ether = Ether(lose=lambda count, down: count == number and down == downlink, command_answer=exchange, repetition=3)
    ether.ask()
    ether.kernel.run(2000.0)
    (answered,) = ether.answers()
    assert ANSWER in answered.payload


def test_the_session_ends_with_a_reset_and_the_grid_goes_on() -> None:
    ether = Ether()
    ether.ask()
    ether.kernel.run(600.0)
    assert [frame[1] for frame in ether.frames].count(0x40) == 1
    slots = [frame for frame in ether.frames if frame[1] == 0x44]
    assert [frame[12] for frame in slots] == list(range(129, 129 + len(slots)))


def test_installation() -> None:
    ether = Ether()
    ether.meter.post(ButtonPressed())
    ether.kernel.run(100.0)
    assert InstallationEnded(True) in ether.events
    assert any(isinstance(event, Installed) for event in ether.events)
    assert [frame[1] for frame in ether.frames if frame[1] in (0x46, 0x06)][:2] == [0x46, 0x06]


def test_frames_for_others_change_nothing() -> None:
    ether = Ether()
    ether.kernel.run(152.0)
    other = datagram(0x5B, GATEWAY.link_octets(), b"\x80" + ADAPTER.transport_octets() + bytes((1, 0, 0, 0)), 0x84, 9)
    ether.meter.post(Heard(other, ether.kernel.now - 0.002))
    assert ether.ignored
    assert not [event for event in ether.events if isinstance(event, DeviceEvent)]
