"""Gateways against real devices, radio and wire: nothing is carried out twice, counters never go back, keys are renewed.

The radio is an ether without noise: frames are lost where a test says so. The power of the gateway goes where a test
says so; a new one goes on around the memory that was stored last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from openmetering import Address, KeyRing
from openmetering.codec.apl.security_transfer import CombinedActivation, KeyTransfer, SitpBlock
from openmetering.protocol.device.build import GivenKey, Options
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit
from openmetering.protocol.gateway.events import Alarm, DeviceLink, GatewayConfig, Persist, Received, Register
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.gateway.wired_gateway import PersistWired, RegisterSlave, SlaveLink, WiredGateway
from openmetering.protocol.radio.bidirectional_repeater import BidirectionalRepeater
from openmetering.protocol.radio.credits import airtime
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import RadioConfig
from openmetering.protocol.radio.repeater import RepeaterConfig
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import WiredSlave
from openmetering.security import BlockCipher, asp01_wrap
from openmetering.simulation.kernel import Kernel, Node
from tests.protocol.device.partner import DEVICE, KEYS, MASTER, device, records
from tests.protocol.gateway_bench import dice
from tests.protocol.wired_bus import Bus

GATEWAY = Address.parse("CCC-33445566-0A-31")
REPEATER = Address.parse("CCC-11112222-01-33")
RIVAL = Address.parse("CCC-66778899-0A-31")
WRAPPER = bytes(range(0x20, 0x30))
RENEWED = bytes(range(0x60, 0x70))
ADD_30 = Command("clock", bytes.fromhex("011E000000000000000000002F2F2F2F"))
PATTERN = Command("m-bus", bytes.fromhex("02FD9F1D4032"))
BOTH: Mapping[str, Options] = {"conformance": {}, "clock": {"variant": "a"}}
LONG = FixedReadings({0: records("0C 13 78 56 34 12"), 7: records("0C 13 78 56 34 12" * 60)})
SELECT_7 = Command("application-reset", b"\x70")
NOTHING: Callable[[int, bytes], bool] = lambda number, frame: False  # noqa: E731


class World:
    """One radio device and one or two gateways. ``lose`` says which frames are lost, by their number and octets."""

    def __init__(
        self,
        profile: str = "B",
        *,
        lose: Callable[[int, bytes], bool] = NOTHING,
        gateways: tuple[Address, ...] = (GATEWAY,),
        functions: Mapping[str, Options] | None = None,
        keys: tuple[GivenKey, ...] = KEYS,
        interval: float = 60.0,
        key_version: int | None = None,
        readings: FixedReadings | None = None,
        **radio: object,
    ) -> None:
        self.kernel = Kernel()
        self.lose = lose
        self.number = 0
        self.memory = DeviceMemory()
        endpoint = device(profile, functions=functions or BOTH, keys=keys, memory=self.memory, readings=readings)
        config = RadioConfig(mode="C", plan=SlotPlan(nominal=interval), **{"access": "short", **radio})  # type: ignore[arg-type]
        self.meter: Node[object, object] = Node(self.kernel, RadioDevice(config, endpoint, self.memory, dice(0.5)), self._up)  # type: ignore[arg-type]
        self.frames: list[bytes] = []
        self.told: list[object] = []
        self.happened: list[DeviceEvent] = []
        self.received: list[Received] = []
        self.stored: dict[Address, Persist] = {}
        self.ring = KeyRing()
        self.ring.add(DEVICE.link_octets(), MASTER, 0, key_version)
        self.gateways: dict[Address, Node[object, object]] = {}
        for address in gateways:
            gateway = Gateway(GatewayConfig(address), dice(0.3, 0.8, 0.1), self.ring)
            self.gateways[address] = Node(self.kernel, gateway, self._down(address))  # type: ignore[arg-type]
            self.post(Register(DeviceLink(DEVICE, profile)), address)
        self.meter.post(PowerUp())

    def post(self, event: object, address: Address = GATEWAY) -> None:
        self.gateways[address].post(event)

    def ask(self, token: int, command: Command | None, address: Address = GATEWAY) -> None:
        self.post(Submit(token, Exchange(DEVICE, command)), address)

    def cut_power(self, address: Address = GATEWAY) -> None:
        """A new gateway around what was stored."""
        gateway = Gateway(GatewayConfig(address), dice(0.7), self.ring, self.stored[address].memory)
        self.gateways[address].replace(gateway)  # type: ignore[arg-type]
        self.post(PowerUp(), address)

    def run(self, seconds: float) -> None:
        self.kernel.run(self.kernel.now + seconds)

    def results(self, kind: type = Answered) -> list[object]:
        return [event for event in self.told if isinstance(event, kind)]

    def _up(self, event: object, now: float) -> None:
        if isinstance(event, Transmit):
            self._send(event, self.meter, list(self.gateways.values()))
        elif isinstance(event, DeviceEvent):
            self.happened.append(event)

    def _down(self, address: Address) -> Callable[[object, float], None]:
        def route(event: object, now: float) -> None:
            if isinstance(event, Transmit):
                self._send(event, self.gateways[address], [self.meter])
            elif isinstance(event, Persist):
                self.stored[address] = event
            elif isinstance(event, Received):
                self.received.append(event)
            else:
                self.told.append(event)

        return route

    def _send(self, event: Transmit, sender: Node[object, object], receivers: list[Node[object, object]]) -> None:
        start = max(self.kernel.now, event.not_before)
        self.number += 1
        lost = self.lose(self.number, event.frame)

        def arrive(now: float) -> None:
            self.frames.append(event.frame)
            sender.post(Sent(event.frame, start))
            for receiver in receivers:
                if not lost:
                    receiver.post(Heard(event.frame, start, -70.0))

        self.kernel.call_at(start + airtime("C", len(event.frame)), arrive)


def is_answer(frame: bytes) -> bool:
    return frame[1] & 0x4F in (0x00, 0x08)


def is_command(frame: bytes) -> bool:
    return frame[1] & ~0x20 in (0x43, 0x53)


# -- radio -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_a_long_answer_comes_in_fragments(profile: str) -> None:
    world = World(profile, readings=LONG)
    world.ask(1, SELECT_7)
    world.run(300.0)
    (answered,) = world.results()
    assert isinstance(answered, Answered)
    assert answered.payload.startswith(bytes.fromhex("0C1378563412") * 60)
    assert answered.security.profile == profile
    assert len({frame[12] for frame in world.frames if is_answer(frame)}) > 1


@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("which", ["request", "answer"])
@pytest.mark.parametrize("count", [1, 2])
def test_lost_frames_lead_to_one_execution(profile: str, which: str, count: int) -> None:
    """The first requests or answers are lost; the clock is put forward once."""
    left = [count]

    def lose(number: int, frame: bytes) -> bool:
        hit = (is_command if which == "request" else is_answer)(frame) and left[0] > 0
        left[0] -= hit
        return hit

    world = World(profile, lose=lose, interval=20.0)
    world.ask(1, ADD_30)
    world.run(400.0)
    done = [event for event in world.happened if event.name == "clock"]
    if which == "answer":
        assert [type(event) for event in world.results()] == [Answered]
        assert len(done) == 1
    else:  # lost twice under profile A the gateway cannot know, and says so
        outcome = world.results() or world.results(Failed)
        assert len(outcome) == 1
        assert len(done) == (1 if isinstance(outcome[0], Answered) else 0)
        assert isinstance(outcome[0], Answered) or outcome[0] == Failed(1, "no-answer", delivered=None)


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_an_answer_that_is_lost_for_the_whole_cycle_is_not_asked_for_by_executing_again(profile: str) -> None:
    """All repetitions of the answer are lost. The gateway does not know what happened, and does nothing twice."""
    world = World(profile, lose=lambda number, frame: is_answer(frame), interval=60.0)
    world.ask(1, ADD_30)
    world.run(2000.0)
    assert world.results(Failed) == [Failed(1, "no-answer", delivered=None)]
    assert len([event for event in world.happened if event.name == "clock"]) == 1


def test_a_device_that_is_always_there() -> None:
    world = World("B", access="permanent")
    world.run(100.0)
    world.ask(1, PATTERN)
    world.run(10.0)  # without waiting for its next transmission
    assert len(world.results()) == 1


def test_two_gateways_get_their_answers_from_one_device() -> None:
    world = World("B", gateways=(GATEWAY, RIVAL), interval=16.0)
    world.ask(1, PATTERN, GATEWAY)
    world.run(60.0)
    world.ask(2, PATTERN, RIVAL)
    world.run(300.0)
    assert {event.token for event in world.results() if isinstance(event, Answered)} == {1, 2}
    assert world.results(Failed) == []


@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("moment", range(0, 70, 1))
def test_the_power_of_the_gateway_goes_at_any_moment(profile: str, moment: int) -> None:
    """The command is either answered or reported as lost; a second one afterwards works; counters never go back."""
    world = World(profile, interval=60.0)
    world.ask(1, ADD_30)
    world.run(28.0 + moment * 0.15)
    answered = bool(world.results())
    executed = len([event for event in world.happened if event.name == "clock"])
    counter = world.memory.keys[0].counter
    world.cut_power()
    world.run(1.0)
    lost = world.results(Failed)
    assert lost in ([], [Failed(1, "power", delivered=None)], [Failed(1, "power", delivered=False)])
    assert bool(lost) != answered
    if executed:
        assert Failed(1, "power", delivered=False) not in lost
    world.ask(2, PATTERN)
    world.run(200.0)
    assert [event.token for event in world.results() if isinstance(event, Answered)] == ([1, 2] if answered else [2])
    assert len([event for event in world.happened if event.name == "clock"]) <= 1
    assert world.memory.keys[0].counter >= counter
    assert not [event for event in world.told if isinstance(event, Alarm)]


def test_replayed_frames_of_the_device_change_nothing() -> None:
    world = World("B", interval=20.0)
    world.run(100.0)
    old = [frame for frame in world.frames if frame[1] == 0x44]
    world.ask(1, PATTERN)
    world.run(400.0)  # longer than copies are remembered
    before = len(world.frames)
    world.ask(2, PATTERN)
    for frame in old:
        world.gateways[GATEWAY].post(Heard(frame, world.kernel.now - 0.005, -50.0))
    assert [event.verdict for event in world.received[-len(old) :]] == ["replayed"] * len(old)
    assert len([event for event in world.told if isinstance(event, Alarm)]) == len(old)
    assert len(world.frames) == before
    world.run(60.0)
    assert len(world.results()) == 2


# -- key renewal -----------------------------------------------------------------------------

RENEWABLE = (GivenKey(0x00, MASTER, 0), GivenKey(0x12, WRAPPER, 0))


def key_block(control: int, structure: int, content: bytes) -> Command:
    block = SitpBlock(0, control, structure, bytes((0x12, 0)), asp01_wrap(BlockCipher(WRAPPER), content))
    return Command("sitp", block.encode())


TRANSFER = key_block(0x00, 0x01, KeyTransfer(bytes.fromhex("0000008030"), RENEWED, 0, 1).encode())
ACTIVATE = key_block(0x04, 0x03, CombinedActivation(bytes.fromhex("0000000030"), 0, 1, 0, 0, 1).encode())


def new_ring() -> KeyRing:
    ring = KeyRing()
    ring.add(DEVICE.link_octets(), RENEWED, 0, 1)
    return ring


def renewing(profile: str, lose: Callable[[int, bytes], bool] = NOTHING) -> World:
    """A world in which the new master key was transferred and given to the gateway."""
    world = World(profile, functions={"conformance": {}, "keys": {}}, keys=RENEWABLE, key_version=0, interval=20.0)
    world.ask(1, TRANSFER)
    world.run(60.0)
    (answered,) = world.results()
    assert isinstance(answered, Answered)
    assert answered.payload.hex().upper().startswith("070000800022120000")
    world.post(GiveKey(DEVICE, new_ring(), 0, 1))
    world.lose = lose
    return world


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_renewal_of_the_master_key(profile: str) -> None:
    """Annex M Appendix M.A: activation under the old key, answer under the new one, counters start again."""
    world = renewing(profile)
    before = world.memory.keys[0].counter
    world.ask(2, ACTIVATE)
    world.run(60.0)
    answered = world.results()[-1]
    assert isinstance(answered, Answered)
    assert (answered.token, answered.security.key_version) == (2, 1)
    assert answered.payload.hex().upper().startswith("070000840022120000")
    assert world.results(Alarm) == [Alarm(DEVICE, "key")]
    world.ask(3, PATTERN)
    world.run(60.0)
    assert [event.token for event in world.results() if isinstance(event, Answered)] == [1, 2, 3]
    slot = world.memory.key(0, 1)
    assert slot is not None
    assert slot.active
    if profile != "A":
        assert 0 < slot.counter < before + 200


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_renewal_whose_last_answer_is_lost(profile: str) -> None:
    """The next SND-NR under the new key tells the gateway that the device has switched."""
    world = renewing(profile, lambda number, frame: is_answer(frame))
    world.ask(2, ACTIVATE)
    world.run(60.0)
    world.lose = NOTHING
    world.run(200.0)
    assert world.results(Alarm) == [Alarm(DEVICE, "key")]
    world.told.clear()
    world.ask(3, PATTERN)
    world.run(100.0)
    (answered,) = world.results()
    assert isinstance(answered, Answered)
    assert answered.security.key_version == 1


@pytest.mark.parametrize("profile", ["B", "D"])
def test_renewal_that_never_reaches_the_device(profile: str) -> None:
    """Three attempts; then everything goes on under the old key."""
    world = renewing(profile, lambda number, frame: is_command(frame))
    world.ask(2, ACTIVATE)
    world.run(400.0)
    assert world.results(Failed) == [Failed(2, "no-answer", delivered=None)]
    sent = [frame for frame in world.frames if is_command(frame)]
    world.lose = NOTHING
    world.ask(3, PATTERN)
    world.run(100.0)
    answered = world.results()[-1]
    assert isinstance(answered, Answered)
    assert answered.security.key_version == 0
    assert len(set(sent[1:])) == 1
    assert len(sent[1:]) == 3


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_renewal_with_a_power_cut_of_the_gateway_behind_the_activation(profile: str) -> None:
    world = renewing(profile, lambda number, frame: is_answer(frame))
    world.ask(2, ACTIVATE)
    world.run(25.0)
    world.cut_power()
    world.lose = NOTHING
    world.run(200.0)
    assert Alarm(DEVICE, "key") in world.told
    world.told.clear()
    world.ask(3, PATTERN)
    world.run(100.0)
    assert [type(event) for event in world.results()] == [Answered]


# -- wire ------------------------------------------------------------------------------------


def wired_world(
    profile: str,
    *,
    primary: bool,
    keys: tuple[GivenKey, ...] = KEYS,
    functions: Mapping[str, Options] = BOTH,
    readings: FixedReadings | None = None,
    **link: object,
) -> tuple[Bus, WiredGateway, DeviceMemory]:
    memory = DeviceMemory(primary_address=7)
    endpoint = device(profile, True, functions=functions, keys=keys, memory=memory, readings=readings)
    bus = Bus([WiredSlave([LogicalSlave(endpoint, memory)])])
    ring = KeyRing()
    ring.add(DEVICE.link_octets(), MASTER, 0, 0)
    gateway = WiredGateway(GatewayConfig(GATEWAY), dice(0.2), ring)
    bus.run(gateway, RegisterSlave(SlaveLink(DEVICE, 7 if primary else None, profile=profile, **link)))  # type: ignore[arg-type]
    return bus, gateway, memory


def told(bus: Bus, kind: type) -> list[object]:
    return [event for event in bus.told if isinstance(event, kind)]


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("primary", [True, False])
@pytest.mark.parametrize("snd_ud2", [True, False])
def test_a_command_over_the_wire(profile: str, primary: bool, snd_ud2: bool) -> None:
    bus, gateway, _ = wired_world(profile, primary=primary, snd_ud2=snd_ud2)
    bus.run(gateway, Submit(1, Exchange(DEVICE, PATTERN)))
    (answered,) = told(bus, Answered)
    assert isinstance(answered, Answered)
    assert bytes.fromhex("04FD9F1D4032") in answered.payload
    assert answered.security.profile == profile
    assert (0x43 in [frame[4] for frame in bus.sent if len(frame) > 5]) == snd_ud2


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("index", range(6))
def test_one_lost_request_on_the_wire_leads_to_one_execution(profile: str, index: int) -> None:
    bus, gateway, _ = wired_world(profile, primary=False)
    bus.lost = {index}
    bus.run(gateway, Submit(1, Exchange(DEVICE, ADD_30)))
    assert len(told(bus, Answered)) == 1
    assert len([event for event in bus.device_events if getattr(event, "name", "") == "clock"]) == 1


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("index", range(6))
def test_one_lost_answer_on_the_wire_leads_to_one_execution(profile: str, index: int) -> None:
    bus, gateway, _ = wired_world(profile, primary=False)
    bus.spoil = lambda number, answers: [] if number == index else answers
    bus.run(gateway, Submit(1, Exchange(DEVICE, ADD_30)))
    assert len(told(bus, Answered)) == 1
    assert len([event for event in bus.device_events if getattr(event, "name", "") == "clock"]) == 1


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
def test_a_long_answer_over_the_wire(profile: str) -> None:
    bus, gateway, _ = wired_world(profile, primary=True, readings=LONG)
    bus.run(gateway, Submit(1, Exchange(DEVICE, SELECT_7)))
    (answered,) = told(bus, Answered)
    assert isinstance(answered, Answered)
    assert answered.payload.startswith(bytes.fromhex("0C1378563412") * 60)
    assert len([frame for frame in bus.sent if frame[1] & ~0x20 == 0x5B]) > 1


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_renewal_of_the_master_key_over_the_wire(profile: str) -> None:
    bus, gateway, memory = wired_world(
        profile, primary=True, keys=RENEWABLE, functions={"conformance": {}, "keys": {}}, key_version=0
    )
    bus.run(gateway, Submit(1, Exchange(DEVICE, TRANSFER)))
    bus.run(gateway, GiveKey(DEVICE, new_ring(), 0, 1))
    bus.run(gateway, Submit(2, Exchange(DEVICE, ACTIVATE)))
    bus.run(gateway, Submit(3, Exchange(DEVICE, PATTERN)))
    answers = told(bus, Answered)
    versions = [event.security.key_version for event in answers if isinstance(event, Answered)]
    assert versions == [0, 1, 1]
    assert told(bus, Alarm) == [Alarm(DEVICE, "key")]
    slot = memory.key(0, 1)
    assert slot is not None
    assert slot.active


@pytest.mark.parametrize("profile", ["A", "B", "D"])
@pytest.mark.parametrize("events", range(1, 12))
def test_a_power_cut_of_the_wired_gateway(profile: str, events: int) -> None:
    """The power goes behind the n-th request; a second command afterwards works."""
    bus, gateway, memory = wired_world(profile, primary=False)
    bus.run(gateway, Submit(1, Exchange(DEVICE, ADD_30)), until=bus.now + events * 0.1)
    stored = [event for event in bus.told if isinstance(event, PersistWired)][-1].memory
    counter = memory.keys[0].counter
    answered = bool(told(bus, Answered))
    ring = KeyRing()
    ring.add(DEVICE.link_octets(), MASTER, 0, 0)
    after = WiredGateway(GatewayConfig(GATEWAY), dice(0.9), ring, stored)
    bus._due.clear()
    bus.now += 5.0
    bus.run(after, PowerUp())
    assert bool(told(bus, Failed)) != answered
    bus.run(after, Submit(2, Exchange(DEVICE, PATTERN)))
    assert told(bus, Answered)[-1].token == 2  # type: ignore[attr-defined]
    assert len([event for event in bus.device_events if getattr(event, "name", "") == "clock"]) <= 1
    assert memory.keys[0].counter >= counter


# -- a bidirectional repeater ----------------------------------------------------------------


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_a_command_through_a_bidirectional_repeater(profile: str) -> None:
    """Gateway and device do not hear each other; the repeater carries commands down and answers up."""
    world = World(profile, interval=60.0)
    repeater = BidirectionalRepeater(RepeaterConfig(), REPEATER, dice(0.2))
    node: Node[object, object]

    def route(event: object, now: float) -> None:
        if isinstance(event, Transmit):
            frame = event.frame
            to = world.meter if event.downlink else world.gateways[GATEWAY]
            deliver(frame, max(now, event.not_before), node, to)

    def deliver(frame: bytes, start: float, sender: Node[object, object], receiver: Node[object, object]) -> None:
        def arrive(now: float) -> None:
            sender.post(Sent(frame, start))
            receiver.post(Heard(frame, start, -70.0))

        world.kernel.call_at(start + airtime("C", len(frame)), arrive)

    def relay(event: Transmit, sender: Node[object, object], receivers: list[Node[object, object]]) -> None:
        world.frames.append(event.frame)
        deliver(event.frame, max(world.kernel.now, event.not_before), sender, node)

    node = Node(world.kernel, repeater, route)  # type: ignore[arg-type]
    world._send = relay  # type: ignore[method-assign]
    node.post(PowerUp())
    world.post(Register(DeviceLink(DEVICE, profile, repeated=True)))
    world.ask(1, ADD_30)
    world.run(600.0)
    assert [type(event) for event in world.results()] == [Answered]
    assert len([event for event in world.happened if event.name == "clock"]) == 1
