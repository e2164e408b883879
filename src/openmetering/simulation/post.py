"""Everything that stands in a world: a machine, its place on the channel, what it remembers, and power that can fail.

Post            node + station: PowerUp, Heard and Sent go in, Transmit goes on air, the rest to listeners
DevicePost      a radio device of a plan: metrology, memory, endpoint, machine
GatewayPost     a gateway: its memory as persisted, tokens of exchanges, what it received
RepeaterPost    a repeater
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from openmetering.codec.address import Address
from openmetering.errors import DecodeError
from openmetering.protocol.device.build import DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, PowerUp, Transmit
from openmetering.protocol.exchange import Answered, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import (
    DeviceLink,
    GatewayConfig,
    GatewayInput,
    GatewayMemory,
    GatewayOutput,
    Persist,
    Received,
)
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.machine import SansIO
from openmetering.protocol.radio.bidirectional_repeater import BidirectionalRepeater
from openmetering.protocol.radio.credits import CreditRule
from openmetering.protocol.radio.datagram import ACCESSIBLE, SND_NR, SYNCHRONOUS, datagram, read
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import RadioConfig
from openmetering.protocol.radio.repeater import RepeaterConfig, UnidirectionalRepeater
from openmetering.protocol.radio.schedule import SlotPlan
from openmetering.security import KeyRing
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.building import DeviceSpec, derived_key
from openmetering.simulation.chance import Stream, seed_of, uniform
from openmetering.simulation.kernel import Kernel, Node
from openmetering.simulation.metrology import Metrology
from openmetering.simulation.plan import GatewayPlan, Head, RepeaterPlan
from openmetering.simulation.profiles import Calendar, Consumption
from openmetering.simulation.radio import Station

__all__ = ["DevicePost", "GatewayPost", "Post", "RepeaterPost"]

#: tags that functions of a device bring themselves
_PROVIDED = {"supervision": "MM3!"}
Done = Callable[[Answered | Failed], None]


class _Off:
    """The machine of something without power."""

    deadline: float | None = None

    def receive(self, event: object, now: float) -> list[object]:
        """Nothing happens."""
        return []

    def timeout(self, now: float) -> list[object]:
        """Nothing happens."""
        return []


OFF = cast("SansIO[object, object]", _Off())


class Post:
    """A machine on the channel. ``events`` are told what comes out of it, apart from frames.

    ``make`` makes the machine: once at the start, and again around the same memory when power comes back.
    """

    __slots__ = ("events", "make", "name", "node", "station")

    def __init__(self, name: str, kernel: Kernel, station: Station, make: Callable[[], SansIO[object, object]]) -> None:
        self.name, self.station, self.make = name, station, make
        self.events: list[Callable[[object, float], None]] = []
        self.node: Node[object, object] = Node(kernel, make(), self.route)
        station.deliver = self._hear
        station.sent = self.post

    def route(self, event: object, now: float) -> None:
        """Frames go on air, everything else to who listens."""
        if type(event) is Transmit:
            self.station.transmit(event)
            return
        for listener in self.events:
            listener(event, now)

    def _hear(self, heard: Heard, air: AirInterface) -> None:
        self.node.post(heard)

    def post(self, event: object) -> None:
        """Tell the machine something."""
        self.node.post(event)

    def power_off(self) -> None:
        """Power fails: what was volatile is gone, nothing is heard or sent."""
        self.station.switch(False)
        self.node.replace(OFF)

    def power_on(self) -> None:
        """Power comes back: another machine around the same memory."""
        self.station.switch(True)
        self.node.replace(self.make())
        self.node.post(PowerUp())


# -- devices ------------------------------------------------------------------------------------


def metrology_of(spec: DeviceSpec, seed: str, calendar: Calendar) -> Metrology:
    """The readings of a device of the plan."""
    group = spec.group
    without = frozenset(tag for name, tag in _PROVIDED.items() if name in group.options)
    address = spec.address
    name = address.din or str(address)
    taf7 = spec.interval * (1 + group.ratio) if group.taf7 else None
    metrology = Metrology(
        name, group.medium, seed, calendar, history=group.history, taf7=taf7, reach=group.reach, without=without
    )
    if group.yearly is not None and metrology.medium.kind is not None:
        metrology.supply = Consumption(metrology.medium.kind, metrology.seed, calendar, yearly=group.yearly)
    return metrology


def follow_valve(metrology: Metrology, event: DeviceEvent, now: float) -> None:
    """A valve or breaker moved: what is behind it is measured no more, or again."""
    action = {0: metrology.close, 1: metrology.open}.get(event.value if event.value is not None else -1)
    if event.name == "valve" and action is not None:
        action(now)


class DevicePost(Post):
    """A radio device of the plan."""

    __slots__ = ("_config", "_dice", "endpoint", "memory", "metrology", "radio", "spec")

    def __init__(self, spec: DeviceSpec, head: Head, calendar: Calendar, kernel: Kernel, station: Station) -> None:
        self.spec = spec
        self.memory = DeviceMemory()
        self.metrology = metrology_of(spec, head.seed, calendar)
        self._dice = Stream(head.seed, "device", spec.label)
        self._config = radio_config(spec, head)
        self.endpoint: DeviceEndpoint
        self.radio: RadioDevice
        super().__init__(spec.label, kernel, station, self._machine)
        self.events.append(self._follow)
        if spec.group.bidirectional:
            station.listening = self._listening

    def _machine(self) -> SansIO[object, object]:
        self.endpoint = make_device(self.spec.description, self.memory, self.metrology, self._dice)
        self.radio = RadioDevice(self._config, self.endpoint, self.memory, self._dice)
        return cast("SansIO[object, object]", self.radio)

    def _listening(self, now: float) -> bool:
        return self.radio.listening(now)

    def _follow(self, event: object, now: float) -> None:
        """What the device did has consequences for what it measures."""
        if isinstance(event, DeviceEvent):
            follow_valve(self.metrology, event, now)

    @property
    def address(self) -> Address:
        """Of the application device, as it is now."""
        return self.endpoint.address

    def said(self, when: float, number: int) -> bytes:
        """The datagram it would have sent by itself at ``when``, before its world begins; ``number`` of its transmissions.

        Nothing goes on air. Its message counters go on from there, so what it sends later is newer. Telegrams must be
        asked for in the order of their times.
        """
        config = self._config
        access_number = number & 0xFF
        body = self.endpoint.spontaneous("data", access_number, when, ell=config.ell)
        sender = (config.link_address or self.address).link_octets()
        control = SYNCHRONOUS if config.access == "none" else SYNCHRONOUS | ACCESSIBLE
        return datagram(SND_NR, sender, body, control, access_number if config.ell else None)


def radio_config(spec: DeviceSpec, head: Head) -> RadioConfig:
    """The radio side of a device of the plan."""
    group = spec.group
    error = (uniform(seed_of(head.seed, "clock", spec.label), 1) - 0.5) * 2.0 * head.clock_error
    return RadioConfig(
        mode=group.mode,
        access=group.access if group.bidirectional else "none",
        plan=SlotPlan(spec.interval, group.ratio, group.static_per_day, group.consumer, error),
        link_address=spec.adapter,
        credits=CreditRule() if group.bidirectional else None,
        receive_limit=255 if "firmware" in group.options else 155,
    )


# -- the operator's side -------------------------------------------------------------------------


class GatewayPost(Post):
    """A gateway. ``received`` counts its verdicts; ``memory`` is what it wrote down last."""

    __slots__ = ("_config", "_dice", "_done", "address", "keys", "memory", "plan", "received", "telegrams")

    def __init__(
        self,
        plan: GatewayPlan,
        address: Address,
        head: Head,
        kernel: Kernel,
        station: Station,
        served: Iterable[tuple[DeviceLink, list[GivenKey]]] = (),
    ) -> None:
        self.plan, self.address = plan, address
        self.keys = KeyRing()
        links = []
        for link, keys in served:
            links.append(link)
            for key in keys:
                self.keys.add(link.address.link_octets(), key.octets, key.key_id)
        self.memory = GatewayMemory(links=tuple(links))
        self.received: dict[str, int] = {}
        self.telegrams: list[Callable[[Received, float], None]] = []
        self._done: dict[int, Done] = {}
        self._dice = Stream(head.seed, "gateway", plan.name)
        self._config = GatewayConfig(address, mode=plan.modes[-1], read=plan.read)
        super().__init__(plan.name, kernel, station, self._machine)
        self.events.append(self._take)

    def _machine(self) -> SansIO[object, object]:
        gateway: SansIO[GatewayInput, GatewayOutput] = Gateway(self._config, self._dice, self.keys, self.memory)
        return cast("SansIO[object, object]", gateway)

    @property
    def links(self) -> tuple[DeviceLink, ...]:
        """The devices it serves."""
        return self.memory.links

    def submit(self, token: int, exchange: Exchange, done: Done) -> None:
        """Carry out an exchange; ``done`` gets the result."""
        self._done[token] = done
        self.post(Submit(token, exchange))

    def tell(self, event: Withdraw | GiveKey) -> None:
        """Something else of an operator for this gateway."""
        self.post(event)

    def _take(self, event: object, now: float) -> None:
        if isinstance(event, Received):
            self.received[event.verdict] = self.received.get(event.verdict, 0) + 1
            for listener in self.telegrams:
                listener(event, now)
        elif isinstance(event, Persist):
            self.memory = event.memory
        elif isinstance(event, Answered | Failed):
            done = self._done.pop(event.token, None)
            if done is not None:
                done(event)


class RepeaterPost(Post):
    """A repeater; ``device`` tells its own data (device type 32h or 33h)."""

    __slots__ = ("_dice", "_mode", "_own", "_two_way", "address", "memory")

    def __init__(self, plan: RepeaterPlan, address: Address, head: Head, kernel: Kernel, station: Station) -> None:
        self.address, self._mode, self._two_way = address, plan.mode, plan.bidirectional
        self.memory = DeviceMemory()
        self._dice = Stream(head.seed, "repeater", plan.name)
        key = GivenKey(0, derived_key(head.seed, address, 0))
        self._own = DeviceDescription(EndpointConfig(address, profile="B"), keys=(key,), epoch=head.start)
        super().__init__(plan.name, kernel, station, self._machine)

    def _machine(self) -> SansIO[object, object]:
        config = RepeaterConfig(self._mode)
        duty = UnidirectionalRepeater.shared_duty(config)
        endpoint = make_device(self._own, self.memory, FixedReadings(), self._dice)
        own = RadioDevice(RadioConfig(self._mode, plan=SlotPlan(14_400.0)), endpoint, self.memory, self._dice, duty=duty)
        kind = BidirectionalRepeater if self._two_way else UnidirectionalRepeater
        return cast("SansIO[object, object]", kind(config, self.address, self._dice, own=own, duty=duty))


def addressee(frame: bytes) -> Address | None:
    """Whom a downlink frame is for: ELLA, else ALA; None where it names nobody."""
    try:
        heard = read(frame)
    except DecodeError:
        return None
    return heard.destination or heard.application
