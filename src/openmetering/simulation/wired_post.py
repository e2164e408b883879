"""Devices on wires: segments with slaves, and radio adapters with a meter on a short wire of their own.

Segment      bus + slaves of the plan + what drives its master end
SlavePost    a wired device: metrology, memory, endpoint, slave machine
AdapterPost  a radio adapter (37h) and its meter: radio side on the channel, wired side on a bus for two
"""

from __future__ import annotations

from typing import cast

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.protocol.device.build import DeviceDescription, make_device
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Heard, Octets, PowerUp, Transmit
from openmetering.protocol.exchange import Answered, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import GatewayConfig
from openmetering.protocol.gateway.wired_gateway import SlaveLink, WiredGateway, WiredInput, WiredMemory, WiredOutput
from openmetering.protocol.machine import SansIO
from openmetering.protocol.radio.adapter import AdapterConfig, RadioAdapter, Side
from openmetering.protocol.radio.adapter_relay import MeterReadings
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.slave import SlaveConfig, WiredSlave
from openmetering.protocol.wired.timing import LineTiming
from openmetering.security import KeyRing
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.building import DeviceSpec, communication_keys
from openmetering.simulation.chance import Stream
from openmetering.simulation.kernel import Kernel, Node
from openmetering.simulation.plan import Head, SegmentPlan
from openmetering.simulation.post import OFF, Done, Post, follow_valve, metrology_of, radio_config
from openmetering.simulation.profiles import Calendar
from openmetering.simulation.radio import Station
from openmetering.simulation.wired_bus import SlavePort, WiredBus

__all__ = ["AdapterPost", "Segment", "SlavePost"]

_ADAPTER_BAUD = 2400


class SlavePost:
    """A wired device of the plan."""

    __slots__ = ("_dice", "endpoint", "memory", "metrology", "name", "port", "spec")

    def __init__(self, spec: DeviceSpec, head: Head, calendar: Calendar, bus: WiredBus) -> None:
        self.name, self.spec = spec.label, spec
        self.memory = DeviceMemory(primary_address=spec.primary, baud=spec.group.baud)
        self.metrology = metrology_of(spec, head.seed, calendar)
        self._dice = Stream(head.seed, "device", spec.label)
        self.endpoint: DeviceEndpoint
        self.port: SlavePort = bus.attach(self._machine(), on_event=self._follow)

    def _machine(self) -> WiredSlave:
        self.endpoint = make_device(self.spec.description, self.memory, self.metrology, self._dice)
        rates = tuple(sorted({300, 2400, self.spec.group.baud}))
        logical = LogicalSlave(self.endpoint, self.memory, fabrication=self.spec.address.identification, bauds=rates)
        return WiredSlave([logical], SlaveConfig(bauds=rates))

    def _follow(self, event: object, now: float) -> None:
        if isinstance(event, DeviceEvent):
            follow_valve(self.metrology, event, now)

    def power_off(self) -> None:
        """The device alone loses power: it hears and says nothing."""
        self.port.node.replace(cast("SansIO[PowerUp | Octets, object]", OFF))

    def power_on(self) -> None:
        """Power comes back: another machine around the same memory."""
        self.port.node.replace(cast("SansIO[PowerUp | Octets, object]", self._machine()))
        self.port.node.post(PowerUp())

    @property
    def address(self) -> Address:
        """As it is now."""
        return self.endpoint.address


class Segment:
    """A wired bus of the plan, its slaves, and the gateway at its master end (``manned`` False: for foreign masters).

    ``gateway`` reads and commands by primary address where there is one, else by selection.
    """

    __slots__ = ("_config", "_done", "_head", "_keys", "bus", "gateway", "name", "slaves")

    def __init__(self, plan: SegmentPlan, head: Head, kernel: Kernel, address: Address) -> None:
        self.name, self._head = plan.name, head
        self.bus = WiredBus(kernel, baud=plan.baud, noise=plan.noise, dice=Stream(head.seed, "segment", plan.name))
        self.slaves: list[SlavePost] = []
        self._config = GatewayConfig(address)
        self._keys = KeyRing()
        self._done: dict[int, Done] = {}
        self.gateway: Node[WiredInput, WiredOutput] | None = None

    def add(self, spec: DeviceSpec, calendar: Calendar) -> SlavePost:
        """Put a device of the plan onto the bus."""
        slave = SlavePost(spec, self._head, calendar, self.bus)
        self.slaves.append(slave)
        return slave

    def man(self) -> None:
        """A gateway of the operator becomes the master; all slaves are registered."""
        links = []
        for slave in self.slaves:
            group, address = slave.spec.group, slave.spec.address
            for key in communication_keys(slave.spec):
                self._keys.add(address.link_octets(), key.octets, key.key_id)
            links.append(SlaveLink(address, slave.spec.primary or None, profile=group.profile, snd_ud2=True))
        dice = Stream(self._head.seed, "wired gateway", self.name)
        timing = LineTiming(baud=self.bus.master.baud)
        machine = WiredGateway(self._config, dice, self._keys, WiredMemory(links=tuple(links)), timing=timing)
        self.gateway = self.bus.master.drive(machine, self._take)

    def submit(self, token: int, exchange: Exchange, done: Done) -> None:
        """Carry out an exchange; ``done`` gets the result. Raises InputError if a foreign master drives the bus."""
        self._done[token] = done
        self._manned().post(Submit(token, exchange))

    def tell(self, event: Withdraw | GiveKey) -> None:
        """Something else of an operator for this line."""
        self._manned().post(event)

    def _manned(self) -> Node[WiredInput, WiredOutput]:
        if self.gateway is None:
            raise InputError(f"segment {self.name}: a foreign master drives this bus")
        return self.gateway

    def _take(self, event: WiredOutput, now: float) -> None:
        if isinstance(event, Answered | Failed):
            done = self._done.pop(event.token, None)
            if done is not None:
                done(event)


class AdapterPost(Post):
    """An adapter and its meter.

    ``meter`` is the wired device (no security on its own wire); the adapter reads it every interval and speaks for it
    with the keys and functions of the plan. What it says is as old as ``readings.read_at``.
    """

    __slots__ = ("_config", "_dice", "adapter", "endpoint", "memory", "meter", "readings", "spec", "wire")

    def __init__(self, spec: DeviceSpec, head: Head, calendar: Calendar, kernel: Kernel, station: Station) -> None:
        self.spec = spec
        self.wire = WiredBus(kernel, baud=_ADAPTER_BAUD)
        self.meter = SlavePost(behind_adapter(spec), head, calendar, self.wire)
        self.memory = DeviceMemory()
        self.readings = MeterReadings()
        self.endpoint: DeviceEndpoint
        self._dice = Stream(head.seed, "adapter", spec.label)
        self._config = AdapterConfig(radio_config(spec, head), poll=spec.interval)
        self.adapter: RadioAdapter
        super().__init__(spec.label, kernel, station, self._machine)
        self.wire.master.listen(self._from_wire)
        if spec.group.bidirectional:
            station.listening = self._listening

    def _machine(self) -> SansIO[object, object]:
        self.endpoint = make_device(self.spec.description, self.memory, self.readings, self._dice)
        self.adapter = RadioAdapter(self._config, self.endpoint, self.memory, self._dice, readings=self.readings)
        return cast("SansIO[object, object]", self.adapter)

    def _listening(self, now: float) -> bool:
        return self.adapter.listening(now)

    def _from_wire(self, octets: Octets, now: float) -> None:
        self.node.post(Side("wire", octets))

    def _hear(self, heard: Heard, air: AirInterface) -> None:
        self.post(heard)

    def post(self, event: object) -> None:
        """Tell the radio side something."""
        self.node.post(Side("radio", event))  # type: ignore[arg-type]

    def route(self, event: object, now: float) -> None:
        """Frames of the radio side go on air, those of the wired side onto the wire."""
        assert isinstance(event, Side)
        inner = event.event
        if event.side == "wire":
            if isinstance(inner, Transmit):
                self.wire.master.send(inner.frame, inner.not_before)
            return
        super().route(inner, now)

    @property
    def address(self) -> Address:
        """Of the meter, as the adapter names it."""
        return self.endpoint.address


def behind_adapter(spec: DeviceSpec) -> DeviceSpec:
    """The meter of an adapter: the same device on a wire, without keys and functions."""
    config = EndpointConfig(spec.address, wired=True, long_header=True, oms_issue=spec.description.config.oms_issue)
    return msgspec.structs.replace(spec, description=DeviceDescription(config, epoch=spec.description.epoch))
