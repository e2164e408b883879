"""Small worlds for use cases: one operator, one gateway or wired master, one device, and everything that can go wrong.

    HeadEnd, Operator  <-- Submit, Answered -->  Gateway  <-- radio channel -->  RadioDevice, DeviceEndpoint
                                                 WiredGateway  <-- bus -->       WiredSlave, DeviceEndpoint

Frames of the conversation (all but SND-NR and ACC-NR) are numbered from 0. A ``Fault`` names one of them:

    lost        it does not arrive
    corrupt     one bit of its content is another one (on the radio behind a CRC that fits by chance)
    twice       radio: it arrives, and once more as soon as the receiver listens again
    before, after-device, after-gateway, after-operator, before-device ...
                somebody loses the power right before the frame arrives, or right after it did

Power comes back two seconds later: another machine around what was stored. An operator without power comes back as
another head-end around his journals; what he was doing he must be told anew.

Always watched: counters on the air (a number never protects two messages, and never goes back), the counters of the
device, those in the journals, and what the device says it has executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import parse
from openmetering.errors import ExchangeFailed, OmsError, Refused
from openmetering.protocol.device.build import DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import FixedReadings, Readings
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, Octets, PowerUp, Sent, Transmit
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import Alarm, DeviceLink, GatewayConfig, GatewayMemory, Installed, Persist, Received
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.gateway.wired_gateway import PersistWired, SlaveLink, WiredGateway, WiredMemory
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.operator import TOKENS, Aborted, Finished, Operator, Start
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import RadioConfig
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import WiredSlave
from openmetering.protocol.wired.timing import LineRate, LineTiming
from openmetering.security import KeyRing
from openmetering.simulation.chance import Stream
from openmetering.simulation.kernel import Kernel, Node
from openmetering.simulation.post import OFF
from openmetering.simulation.propagation import Environment, Place
from openmetering.simulation.radio import Antenna, RadioChannel
from openmetering.simulation.trace import Trace
from openmetering.simulation.wired_bus import WiredBus
from tests.protocol.operator.scripted import (
    APPLICATION_KEY,
    DEVICE,
    MASTER_KEY,
    NEW_MASTER_KEY,
    WRAPPER_KEY,
    Store,
    ring,
)
from tests.usecases.frames import counter_of, message_of, telegram_start

GATEWAY = Address.parse("CCC-33445566-0A-31")
CALM = Environment(model="free-space", sigma=0.0, fading=0.0)
OUTAGE = 2.0  #: seconds without power
SECURITY_ERROR = 0x20
PATIENCE = 40_000.0  #: seconds until a use case must have ended
FUNCTIONS: Mapping[str, Mapping[str, Any]] = {
    "conformance": {},
    "disconnector": {"delayed": True},
    "clock": {},
    "supervision": {"maker_flags": True},
    "billing": {},
    "selection": {},
    "adapter": {"indexes": {"VM1!": "0C13"}},
    "firmware": {"validation_seconds": 5.0, "installation_seconds": 10.0, "start_seconds": 1.0},
    "keys": {},
}
_QUIET = frozenset(("SND-NR", "ACC-NR"))


class Way(msgspec.Struct, frozen=True):
    """How a device is reached: the link, its security profile, the issue it follows."""

    profile: str
    wired: bool = False
    mode: str = "C"
    issue: str = "5.0.1"
    snd_ud2: bool = True
    primary: bool = False
    interval: float = 20.0
    access: str = "short"

    @property
    def protected(self) -> bool:
        """True if the link knows an old message from a new one."""
        return self.profile in ("B", "D")


WAYS: Mapping[str, Way] = {
    "wire none": Way("none", wired=True, primary=True, snd_ud2=False),
    "wire none 4.3.3": Way("none", wired=True, issue="4.3.3"),
    "wire A": Way("A", wired=True),
    "wire B": Way("B", wired=True, primary=True),
    "wire D": Way("D", wired=True, primary=True, snd_ud2=False),
    "C A": Way("A"),
    "C B": Way("B", interval=60.0),
    "C D": Way("D"),
    "C B listening": Way("B", access="permanent"),
    "C A 4.3.3": Way("A", issue="4.3.3", snd_ud2=False),
    "C B 4.3.3": Way("B", issue="4.3.3"),
    "T B 4.3.3": Way("B", mode="T", issue="4.3.3"),
    "S A 4.3.3": Way("A", mode="S", issue="4.3.3", snd_ud2=False),
}
#: where everything can go wrong: each link, each profile, each way to carry a command, both issues
RISKY = {name: WAYS[name] for name in ("wire none", "wire D", "C A", "C B", "C D", "C A 4.3.3")}
#: use cases 07, 12, 14 and 20 exist in issue 5.0.1 only
NEW_WAYS = {name: way for name, way in WAYS.items() if way.issue == "5.0.1"}


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong with frame ``number`` of the conversation."""

    kind: str
    number: int


class PowerCut(Exception):
    """The operator lost his power: nobody knows how it ended."""


def readings() -> FixedReadings:
    """A volume, and a fabrication number in the static data."""
    volume = tuple(parse(bytes.fromhex("0C1378563412")).records)
    return FixedReadings({0: volume, 7: tuple(parse(bytes.fromhex("0C7878563412")).records), 16: volume, 18: volume})


class Bench:
    """One world. ``device``, ``gateway`` and ``operator`` are nodes; ``memory`` is what the device does not forget."""

    def __init__(
        self,
        way: str = "C B",
        *,
        functions: Mapping[str, Mapping[str, Any]] = FUNCTIONS,
        application_keys: tuple[int, ...] | range = range(0x18, 0x28),
        gateway_key: bytes = MASTER_KEY,
        office_keys: KeyRing | None = None,
        codings: Mapping[str, int] | None = None,
        applications: tuple[int, ...] = (0, 7),
        device_readings: Readings | None = None,
        linger: float = 0.0,
        install: bool = True,
        registered: bool = True,
        extra_keys: tuple[GivenKey, ...] = (),
        consumer_key_id: int | None = None,
    ) -> None:
        self.way = WAYS[way]
        self.kernel = Kernel(1000.0)
        self.fault: Fault | None = None
        self.weather: Callable[[int], Fault | None] | None = None  #: what goes wrong, frame by frame
        self.frames: list[tuple[str, bytes]] = []  #: the conversation: direction and octets
        self.count = 0
        self._happens = False  #: the fault is past
        self.events: list[DeviceEvent] = []
        self.told: list[object] = []  #: by the gateway: alarms, installations
        self.verdicts: dict[str, int] = {}
        self.outcome: Finished | Aborted | PowerCut | None = None
        self.installations: list[bytes] = []
        self._installs = install
        self._operators = 0
        self._seen: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._message_numbers: dict[tuple[str, int, int], dict[int, bytes]] = {}
        # -- device
        self.memory = DeviceMemory(primary_address=7 if self.way.primary else 0)
        self.memory.breaker, self.memory.output = 1, 1
        self.memory.indexes = {"VM1!": 1000}
        self.memory.error_flags = 0x0405
        keys = [GivenKey(0, MASTER_KEY), *(GivenKey(key_id, WRAPPER_KEY) for key_id in (0x10, 0x12, 0x14))]
        keys += [GivenKey(key_id, APPLICATION_KEY) for key_id in application_keys]
        config = EndpointConfig(
            DEVICE,
            profile=self.way.profile,  # type: ignore[arg-type]
            wired=self.way.wired,
            oms_issue=self.way.issue,  # type: ignore[arg-type]
            consumer_key_id=consumer_key_id or 0,
        )
        self._consumer = consumer_key_id is not None
        self.description = DeviceDescription(config, functions, (*keys, *extra_keys), applications, codings or {})
        self._readings = device_readings or readings()
        self._dice = Stream("bench", way)
        # -- operator
        self.store = Store()
        self.office_keys = office_keys or ring()
        # -- gateway
        self.gateway_keys = KeyRing()
        self.gateway_keys.add(DEVICE.link_octets(), gateway_key, 0, 0)
        self.config = GatewayConfig(GATEWAY, linger=linger)
        self.log: list[tuple[str, str, bytes, float, str]] = []
        (self._build_wire if self.way.wired else self._build_radio)(registered)
        self._office()
        if self.way.wired:
            self.wait(2.0)  # slaves are ready some time after they got their power

    # -- radio -----------------------------------------------------------------------------------

    def _build_radio(self, registered: bool) -> None:
        way = self.way
        self.channel = RadioChannel(self.kernel, 1, CALM)
        hears = ("S", "T", "C")
        antenna = Antenna(14.0, 0.0, way.mode, hears, uplink=True)
        self.gateway_station = self.channel.attach("gateway", Place(), antenna, "gateway")
        antenna = Antenna(10.0, 0.0, way.mode, (way.mode,), downlink=True)
        self.device_station = self.channel.attach("device", Place(x=10.0), antenna, "water")
        link = DeviceLink(DEVICE, way.profile, mode=way.mode, largest=255)  # type: ignore[arg-type]
        self.stored: GatewayMemory | WiredMemory = GatewayMemory(links=(link,) if registered else ())
        self.device: Node[Any, Any] = Node(self.kernel, self._device(), self._from_device)
        self.gateway: Node[Any, Any] = Node(self.kernel, self._gateway(), self._from_gateway)
        self.device_station.listening = lambda now: self._radio is not None and self._radio.listening(now)
        self.device_station.sent = lambda event: self._left("up", event)
        self.gateway_station.sent = lambda event: self._left("down", event)
        self.device_station.deliver = lambda heard, air: self._hear("down", heard)
        self.gateway_station.deliver = lambda heard, air: self._hear("up", heard)
        self._passing: tuple[bytes, ...] | None = None
        self._once_more: bytes | None = None
        self.device.post(PowerUp())

    def _left(self, direction: str, event: Sent) -> None:
        """A frame has left the antenna and is about to arrive."""
        self._passing = self._pass(direction, event.frame, event.started)
        sender = self.device if direction == "up" else self.gateway
        if sender.machine is not OFF:
            sender.post(event)
        if direction == "up" and self._once_more is not None:
            self._window_again(self._once_more)
            self._once_more = None

    def _hear(self, direction: str, heard: Heard) -> None:
        receiver = self.gateway if direction == "up" else self.device
        for frame in self._passing if self._passing is not None else (heard.frame,):
            if receiver.machine is not OFF:
                receiver.post(msgspec.structs.replace(heard, frame=frame))
        self._observe()

    def _window_again(self, frame: bytes) -> None:
        """A copy of a frame of the gateway comes in the next window of the device, in front of everything else."""
        radio = self._radio
        if radio is None or not radio.deadline:
            return
        self.replay(frame)

    def replay(self, frame: bytes) -> None:
        """An old frame comes to the device as soon as its window opens (radio), or now (wire)."""
        if self.way.wired:
            self.bus.master.send(frame)
            return
        started = self.kernel.now
        for _ in range(100_000):
            if self._radio is not None and self._radio.listening(started):
                break
            started += 0.0005
            if started > self.kernel.now + 1.1:
                return
        end = started + 0.005

        def arrive(now: float) -> None:
            if self.device.machine is not OFF:
                self.device.post(Heard(frame, started, -60.0))
            self._observe()

        self.kernel.call_at(end, arrive)

    # -- wire ------------------------------------------------------------------------------------

    def _build_wire(self, registered: bool) -> None:
        way = self.way
        self.bus = WiredBus(self.kernel)
        link = SlaveLink(DEVICE, 7 if way.primary else None, profile=way.profile, snd_ud2=way.snd_ud2)
        self.stored = WiredMemory(links=(link,) if registered else ())
        self.port = self.bus.attach(self._device())
        self.device = self.port.node
        self.device.route = self._from_device
        self.port.node = _Ear(self)  # type: ignore[assignment]
        self.gateway = Node(self.kernel, self._gateway(), self._from_gateway)
        self.bus.master.listen(self._from_wire)
        self.bus.taps.append(self._over)
        self._afterwards: list[tuple[bytes, Callable[[], None]]] = []

    def _from_wire(self, octets: Octets, now: float) -> None:
        if self.gateway.machine is not OFF:
            self.gateway.post(octets)
        self._observe()

    def hear_wire(self, event: Octets) -> None:
        """The slave hears a burst of the master."""
        frames = (event.octets,) if event.disturbed else self._pass("down", event.octets, self.kernel.now)
        for octets in frames:
            if self.device.machine is not OFF:
                self.device.post(Octets(octets, event.disturbed))
        self._observe()

    def _over(self, passage: Any) -> None:
        """A burst is over."""
        due = [entry for entry in self._afterwards if entry[0] == passage.octets]
        for entry in due if passage.port is not None else ():
            self._afterwards.remove(entry)
            self.kernel.call_at(self.kernel.now, lambda now, cut=entry[1]: cut())

    # -- machines ---------------------------------------------------------------------------------

    def _device(self) -> Any:
        self.endpoint: DeviceEndpoint = make_device(
            self.description, self.memory, self._readings, self._dice, installer=self._install
        )
        way = self.way
        if way.wired:
            self._radio: RadioDevice | None = None
            return WiredSlave([LogicalSlave(self.endpoint, self.memory, fabrication="12345678", exchanges=way.snd_ud2)])
        config = RadioConfig(
            way.mode,  # type: ignore[arg-type]
            way.access,  # type: ignore[arg-type]
            SlotPlan(way.interval, consumer=self._consumer),
            receive_limit=255,
            command_answer=way.snd_ud2,
            credits=None,
        )
        self._radio = RadioDevice(config, self.endpoint, self.memory, self._dice)
        return self._radio

    def _install(self, octets: bytes, identifier: bytes) -> bool:
        self.installations.append(octets)
        return self._installs

    def _gateway(self) -> Any:
        if self.way.wired:
            assert isinstance(self.stored, WiredMemory)
            timing = LineTiming(baud=self.bus.master.baud)
            return WiredGateway(self.config, self._dice, self.gateway_keys, self.stored, timing=timing)
        assert isinstance(self.stored, GatewayMemory)
        return Gateway(self.config, self._dice, self.gateway_keys, self.stored)

    def _office(self) -> None:
        """The operator as he starts: keys, and what the disk holds."""
        self.head_end = HeadEnd(self.office_keys, journals=self.store.load(), save=self.store.save)
        self._operators += 1
        number = self._operators
        self.operator: Node[Any, Any] = Node(
            self.kernel, Operator.numbered(DEVICE, number), lambda event, now: self._from_operator(number, event)
        )

    # -- routes ------------------------------------------------------------------------------------

    def _from_device(self, event: object, now: float) -> None:
        if isinstance(event, DeviceEvent):
            self.events.append(event)
        elif not isinstance(event, Transmit):
            if self.way.wired:
                self.port.route(event, now)
        elif self.way.wired:
            for octets in self._pass("up", event.frame, event.not_before):
                self.port.route(msgspec.structs.replace(event, frame=octets), now)
        else:
            self.device_station.transmit(event)

    def _from_gateway(self, event: object, now: float) -> None:
        if isinstance(event, Transmit):
            if self.way.wired:
                self.bus.master.send(event.frame, event.not_before)
            else:
                self.gateway_station.transmit(event)
        elif isinstance(event, LineRate):
            self.bus.master.baud = event.baud
        elif isinstance(event, Persist | PersistWired):
            self._never_lower(event.memory.security)
            self.stored = event.memory
        elif isinstance(event, Answered | Failed):
            if event.token // TOKENS == self._operators:  # what his predecessor asked for is of no use to an operator
                self.operator.post(event)
        elif isinstance(event, Received):
            self.verdicts[event.verdict] = self.verdicts.get(event.verdict, 0) + 1
        else:
            self.told.append(event)

    def _from_operator(self, number: int, event: object) -> None:
        if number != self._operators:
            return  # he lost his power while he was speaking
        if isinstance(event, Submit | Withdraw | GiveKey):
            if self.gateway.machine is not OFF:
                self.gateway.post(event)
            elif isinstance(event, Submit):  # the line to the gateway is dead: he hears of it when it is back
                self.kernel.call_at(self.kernel.now, lambda now: self.operator.post(Failed(event.token, "power", False)))
            else:
                self.kernel.call_at(self.kernel.now + 2 * OUTAGE, lambda now: self.gateway.post(event))
        elif isinstance(event, Finished | Aborted):
            self.outcome = event

    # -- what goes wrong ------------------------------------------------------------------------------

    def _pass(self, direction: str, frame: bytes, started: float) -> tuple[bytes, ...]:
        """A frame is under way: note it, let the fault happen; what of it arrives."""
        name = message_of(frame, wired=self.way.wired)
        sender, receiver = ("device", "gateway") if direction == "up" else ("gateway", "device")
        if name in _QUIET:
            self.log.append((sender, "all", frame, started, "received"))
            self._watch_number(direction, frame)
            return (frame,)
        number = self.count
        self.count += 1
        self.frames.append((direction, frame))
        self._watch_number(direction, frame)
        fault = self.fault
        if self.weather is not None:
            fault = self.weather(number)
        if fault is None or fault.number != number:
            self.log.append((sender, receiver, frame, started, "received"))
            return (frame,)
        self._happens = True
        self.log.append((sender, receiver, frame, started, "lost" if fault.kind == "lost" else "received"))
        when, _, whom = fault.kind.partition("-")
        if whom:
            return self._cut_at(when, whom, direction, frame)
        return _FAULTS[fault.kind](self, direction, frame)

    def _lose(self, direction: str, frame: bytes) -> tuple[bytes, ...]:
        return ()

    def _corrupt(self, direction: str, frame: bytes) -> tuple[bytes, ...]:
        """One bit near the end, behind all headers where there is content."""
        at = max(len(frame) - (4 if self.way.wired else 2), 0)
        return (frame[:at] + bytes((frame[at] ^ 0x10,)) + frame[at + 1 :],)

    def _twice(self, direction: str, frame: bytes) -> tuple[bytes, ...]:
        if self.way.wired:
            return (frame,)
        if direction == "up":
            return frame, frame
        self._once_more = frame
        return (frame,)

    def _cut_at(self, when: str, whom: str, direction: str, frame: bytes) -> tuple[bytes, ...]:
        cut = {"device": self.cut_device, "gateway": self.cut_gateway, "operator": self.cut_operator}[whom]
        if when == "before":
            cut()
            silent = self.way.wired and direction == "up" and whom == "device"
            return () if silent else (frame,)
        if self.way.wired and direction == "up":
            self._afterwards.append((frame, cut))
        else:
            self.kernel.call_at(self.kernel.now, lambda now: cut())
        return (frame,)

    def cut_device(self) -> None:
        """The device loses its power for two seconds."""
        if self.device.machine is OFF:
            return
        self.device.replace(OFF)
        if self.way.wired:
            self.port.lives += 1
        else:
            self.device_station.switch(False)

        def back(now: float) -> None:
            if not self.way.wired:
                self.device_station.switch(True)
            self.device.replace(self._device())
            self.device.post(PowerUp())

        self.kernel.call_at(self.kernel.now + OUTAGE, back)

    def cut_gateway(self) -> None:
        """The gateway loses its power for two seconds; what it wrote down stays."""
        if self.gateway.machine is OFF:
            return
        self.gateway.replace(OFF)
        if not self.way.wired:
            self.gateway_station.switch(False)

        def back(now: float) -> None:
            if not self.way.wired:
                self.gateway_station.switch(True)
            self.gateway.replace(self._gateway())
            self.gateway.post(PowerUp())

        self.kernel.call_at(self.kernel.now + OUTAGE, back)

    def cut_operator(self) -> None:
        """The operator loses his power; another one starts around the same disk."""
        if self.outcome is None:  # else he is done, and has told it
            self.outcome = PowerCut()
        self._operators += 1
        self._office()

    # -- what must never happen ---------------------------------------------------------------------------

    def _observe(self) -> None:
        """Counters of the device never go back; a key that is not active may be overwritten."""
        for slot in self.memory.keys:
            name = (slot.key_id, slot.version)
            octets, counter = self._seen.get(name, (slot.octets, 0))
            if octets == slot.octets:
                assert slot.counter >= counter, f"the counter of key {name} went back"
            self._seen[name] = (slot.octets, slot.counter)

    def _never_lower(self, memory: Any) -> None:
        before = {(entry.address, entry.key_id, entry.version): entry.own for entry in self.stored.security.counters.entries}
        after = {(entry.address, entry.key_id, entry.version): entry.own for entry in memory.counters.entries}
        for peer, own in before.items():
            assert after.get(peer, 0) >= own, "a message counter that was written down went back"

    def _watch_number(self, direction: str, frame: bytes) -> None:
        """A message counter protects one message; a new message has a higher one than all before under its key."""
        if not self.way.protected or len(frame) < 12:
            return
        body = frame[telegram_start(frame, self.way.wired) :]
        found = counter_of(body)
        if found is None:
            return
        key_id, counter = found
        for version in self._versions(direction):
            numbers = self._message_numbers.setdefault((direction, key_id, version), {})
            if numbers.get(counter) == body:
                return
        numbers = self._message_numbers.setdefault((direction, key_id, self._versions(direction)[-1]), {})
        assert counter not in numbers, f"counter {counter} protects two messages ({direction})"
        assert counter > max(numbers, default=0), f"counter {counter} went back ({direction})"
        numbers[counter] = body

    def _versions(self, direction: str) -> list[int]:
        if direction == "up":
            slot = self.memory.key(0)
            now = 0 if slot is None else slot.version
        else:
            partners = {one.address: one for one in self.stored.security.partners}
            partner = partners.get(DEVICE.link_octets())
            now = (partner.version or 0) if partner is not None else 0
        return sorted({0, now})

    # -- running --------------------------------------------------------------------------------------------

    @property
    def executed(self) -> list[tuple[str, int | None]]:
        """Secured commands that were carried out: key, counter."""
        return [(event.detail, event.value) for event in self.events if event.name == "executed"]

    def happened(self, name: str, detail: str | None = None) -> list[DeviceEvent]:
        """What the device told the world under a name."""
        return [event for event in self.events if event.name == name and detail in (None, event.detail)]

    def run(self, make: Callable[[HeadEnd], Any], fault: Fault | None = None, patience: float = PATIENCE) -> Any:
        """The result of a procedure; its error, or PowerCut, is raised. ``count`` tells how many frames it took."""
        self.fault, self.count, self.outcome = fault, 0, None
        self.operator.post(Start(make(self.head_end)))
        end = self.kernel.now + patience
        while self.outcome is None:
            due = self.kernel.next_time
            assert due is not None, "everything stands still"
            assert due < end, f"no result within {patience:.0f} s:\n{self.story()}"
            self.kernel.run(due)
        outcome = self.outcome
        if isinstance(outcome, PowerCut):
            raise outcome
        if isinstance(outcome, Aborted):
            raise outcome.error
        return outcome.result

    def persist(self, make: Callable[[HeadEnd], Any], fault: Fault | None = None, times: int = 3) -> Any:
        """What a caller does who was told that it failed, or who lost his power: he asks for the same again."""
        for attempt in range(times):
            try:
                return self.run(make, fault if attempt == 0 else None)
            except (ExchangeFailed, PowerCut) as failure:
                last: Exception = failure
            except OmsError as damage:  # what was changed on its way is no longer what was sent; profile A cannot tell
                refused_it = isinstance(damage, Refused) and damage.error == SECURITY_ERROR
                if fault is None or fault.kind != "corrupt" or not (refused_it or self.way.profile == "A"):
                    raise
                last = damage
            self.wait(2 * OUTAGE)
        raise AssertionError(f"{times} attempts failed, the last with {last!r}:\n{self.story()}") from last

    @property
    def trace(self) -> Trace:
        """All that was said, in words."""
        trace = Trace(self.kernel, self.gateway_keys)
        renewed = KeyRing()
        renewed.add(DEVICE.link_octets(), NEW_MASTER_KEY, 0, 1)
        trace.know(renewed)
        for sender, receiver, frame, started, fate in self.log:
            trace.note(sender, receiver, frame, started, fate)
        return trace

    def story(self, most: int = 30) -> str:
        """The end of what was said."""
        return "\n".join(str(message)[:160] for message in self.trace.messages[-most:])

    @property
    def fault_happened(self) -> bool:
        """False once the run needs fewer frames than the fault's number."""
        return self._happens

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.kernel.run(self.kernel.now + seconds)

    def settle(self) -> None:
        """Long enough for sessions to end and outages to be over."""
        self.wait(100.0)

    def replay_all(self) -> None:
        """Everything that was said in this run is said again: first to the device, then to the gateway."""
        for direction, frame in list(self.frames):
            if direction != "down":
                continue
            if self.way.wired:
                self.bus.master.send(frame)
                self.wait(2.0)
            else:
                self.wait(0.05)
                self._once_more = frame
                while self._once_more is not None:
                    self.wait(1.0)
                self.wait(1.2)
        for direction, frame in list(self.frames):
            if direction == "up" and not self.way.wired:
                self.gateway.post(Heard(frame, self.kernel.now - 0.005, -60.0))
                self.wait(0.1)
        self.settle()

    # -- after it -------------------------------------------------------------------------------------------

    def agree(self) -> None:
        """The end state of device, gateway and operator agrees, and nothing was executed twice."""
        executed: dict[str, int] = {}
        for key, counter in self.executed:
            assert counter is not None
            assert counter > executed.get(key, 0), f"executed twice or out of order: {self.executed}"
            executed[key] = counter
        office = HeadEnd(self.office_keys, journals=self.store.load())
        journal = office.journal(DEVICE)
        assert journal.commands == ()
        assert journal.renewals == ()
        assert journal.image is None
        for slot in self.memory.keys:
            if slot.active and slot.key_id >= 0x18:
                assert office.version(DEVICE, slot.key_id) == slot.version
                assert journal.counter(slot.key_id, slot.version) >= slot.counter
        last: dict[tuple[int, int], int] = {}
        for written in self.store.history:
            for entry in written.counters:
                name = (entry.key_id, entry.version)
                assert entry.last >= last.get(name, 0), "a key counter of the journal went back"
                last[name] = entry.last
        if self.way.profile != "none":
            partner = self.gateway.machine.security.partner(self.endpoint.address)
            slot = self.memory.key(0)
            assert slot is not None
            assert (partner.version or 0) == slot.version
        assert not [event for event in self.told if isinstance(event, Alarm) and event.reason == "unprotected"]

    def installed(self) -> list[Installed]:
        """What the gateway told of installations."""
        return [event for event in self.told if isinstance(event, Installed)]


class _Ear:
    """Stands in front of the slave and lets faults happen to what it hears."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @property
    def machine(self) -> object:
        return self._bench.device.machine

    def post(self, event: object) -> None:
        if isinstance(event, Octets):
            self._bench.hear_wire(event)
        else:
            self._bench.device.post(event)


_FAULTS: dict[str, Callable[[Bench, str, bytes], tuple[bytes, ...]]] = {
    "lost": Bench._lose,
    "corrupt": Bench._corrupt,
    "twice": Bench._twice,
}
LINK_FAULTS = ("lost", "corrupt", "twice")
POWER_CUTS = tuple(f"{when}-{whom}" for whom in ("device", "gateway", "operator") for when in ("before", "after"))
