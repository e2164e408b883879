"""A world that runs: buildings full of devices, gateways, repeaters, a channel, a clock, and faults on time.

    world = World(read_plan(Path("building.toml")))
    world.run(86_400.0)
    print(world.summary())

    plan --devices_of--> specs --attach--> stations on the channel --make_device--> machines on the kernel
    every device goes to the gateway that hears it best, which gets its communication key (never another one)

Same plan, same run, octet for octet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Protocol, TypeVar, cast

import msgspec

from openmetering.codec.address import Address, flag_value
from openmetering.errors import InputError
from openmetering.protocol.device.build import GivenKey
from openmetering.protocol.events import Heard, PowerUp, Transmit
from openmetering.protocol.exchange import Answered, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import DeviceLink
from openmetering.protocol.operator.operator import Aborted, Finished, Operator, OperatorInput, OperatorOutput, Start
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.radio.display import CONSUMER_KEY
from openmetering.protocol.radio.events import Trigger
from openmetering.security import KeyRing
from openmetering.simulation.airtime import AirInterface
from openmetering.simulation.building import DeviceSpec, communication_keys, devices_of, standing_place
from openmetering.simulation.chance import seed_of
from openmetering.simulation.display_post import DisplayPost
from openmetering.simulation.faults import inject
from openmetering.simulation.kernel import Kernel, Node
from openmetering.simulation.outlook import WorldPort
from openmetering.simulation.plan import DisplayPlan, GatewayPlan, RepeaterPlan, WorldPlan, read_plan
from openmetering.simulation.post import DevicePost, Done, GatewayPost, Post, RepeaterPost, addressee
from openmetering.simulation.profiles import Calendar, next_door_change
from openmetering.simulation.propagation import Place
from openmetering.simulation.radio import Antenna, RadioChannel, Station
from openmetering.simulation.summary import Summary, summary_of
from openmetering.simulation.wired_post import AdapterPost, Segment, SlavePost

__all__ = ["Device", "Partner", "Summary", "World"]

_GATEWAY_TYPE = 0x31
_TOKENS = 1 << 48  #: tokens of exchanges without an operator begin here
_DEVICES = "devices"  #: row of the account for all receivers of downlink frames
_LARGEST_STEP = 600.0
Device = DevicePost | AdapterPost | SlavePost
R = TypeVar("R")
T = TypeVar("T")


class Partner(Protocol):
    """Who carries exchanges to devices: a gateway, or the master of a segment."""

    def submit(self, token: int, exchange: Exchange, done: Done) -> None:
        """Carry out an exchange; ``done`` gets the result."""
        ...

    def tell(self, event: Withdraw | GiveKey) -> None:
        """Something else of an operator."""
        ...


class World:
    """Everything of a plan. ``devices`` by label, ``gateways`` and ``repeaters`` by name; ``kernel`` is the clock."""

    def __init__(self, plan: WorldPlan) -> None:
        head = plan.world
        self.plan = plan
        self.calendar = Calendar(head.start)
        self.kernel = Kernel()
        self.channel = RadioChannel(self.kernel, head.seed, head.environment, enforce_duty=head.duty_cycle)
        self.devices: dict[str, Device] = {}
        self.gateways: dict[str, GatewayPost] = {}
        self.repeaters: dict[str, RepeaterPost] = {}
        self.displays: dict[str, DisplayPost] = {}
        self.segments: dict[str, Segment] = {}
        self._by_address: dict[bytes, Device] = {}
        self._served: dict[bytes, Partner] = {}
        self._modes: dict[bytes, str] = {}
        self._token = _TOKENS
        self._operators = 0
        gateways = [(one, self._gateway_station(one, index)) for index, one in enumerate(plan.gateway)]
        for index, repeater in enumerate(plan.repeater):
            self._add_repeater(repeater, index)
        for segment in plan.segment:
            address = self._own_address("EXG", segment.name, _GATEWAY_TYPE)
            self.segments[segment.name] = Segment(segment, head, self.kernel, address)
        for spec in devices_of(plan):
            self._add_device(spec)
        self._add_gateways(gateways)
        for display, station in [(one, self._display_station(one, index)) for index, one in enumerate(plan.display)]:
            self.displays[display.name] = DisplayPost(display, self.kernel, station)
        for index, fault in enumerate(plan.fault):
            inject(self, fault, index)
        for post in self.posts():
            post.post(PowerUp())
        for one in plan.display:
            self._register(one)

    @classmethod
    def load(cls, path: Path) -> World:
        """The world of a file. Raises InputError."""
        return cls(read_plan(path))

    def posts(self) -> Iterator[Post]:
        """Everything that stands on the channel."""
        yield from self.gateways.values()
        yield from self.repeaters.values()
        yield from self.displays.values()
        for device in self.devices.values():
            if not isinstance(device, SlavePost):
                yield device

    # -- building it --------------------------------------------------------------------------

    def _own_address(self, manufacturer: str, name: str, kind: int) -> Address:
        number = seed_of(self.plan.world.seed, "own number", name) % 100_000_000
        return Address(flag_value(manufacturer), f"{number:08d}", 1, kind)

    def _gateway_station(self, plan: GatewayPlan, index: int) -> Station:
        place = standing_place(self.plan, plan, seed_of(self.plan.world.seed, "gateway place", index))
        antenna = Antenna(plan.power, plan.gain, plan.modes[-1], plan.modes, uplink=True, receiver=plan.receiver)
        return self.channel.attach(plan.name, place, antenna, "gateway")

    def _display_station(self, plan: DisplayPlan, index: int) -> Station:
        place = standing_place(self.plan, plan, seed_of(self.plan.world.seed, "display place", index))
        antenna = Antenna(mode=plan.mode, hears=(plan.mode,), uplink=True, receiver="chip")
        return self.channel.attach(plan.name, place, antenna, "display")

    def _add_repeater(self, plan: RepeaterPlan, index: int) -> None:
        place = standing_place(self.plan, plan, seed_of(self.plan.world.seed, "repeater place", index))
        antenna = Antenna(plan.power, -1.0, plan.mode, (plan.mode,), uplink=True, downlink=plan.bidirectional, receiver="chip")
        station = self.channel.attach(plan.name, place, antenna, "repeater")
        address = self._own_address(plan.manufacturer, plan.name, 0x33 if plan.bidirectional else 0x32)
        self.repeaters[plan.name] = RepeaterPost(plan, address, self.plan.world, self.kernel, station)

    def _add_device(self, spec: DeviceSpec) -> None:
        group, octets = spec.group, spec.address.link_octets()
        if group.segment is not None:
            segment = self.segments[group.segment]
            slave = segment.add(spec, self.calendar)
            self.devices[spec.label] = self._by_address[octets] = slave
            self._served[octets] = segment
            return
        hears = (group.mode,) if group.bidirectional else ()
        antenna = Antenna(
            group.power, -4.0, group.mode, hears, downlink=group.bidirectional, receiver="chip", frame_format=group.frame_format
        )
        station = self.channel.attach(spec.label, spec.place, antenna, group.medium, account_name=_DEVICES)
        kind = AdapterPost if group.adapter else DevicePost
        post = kind(spec, self.plan.world, self.calendar, self.kernel, station)
        self.devices[spec.label] = self._by_address[octets] = post
        self._modes[octets] = group.mode
        if spec.adapter is not None:
            self._modes[spec.adapter.link_octets()] = group.mode
        if isinstance(post, DevicePost) and group.medium == "contact":
            self._watch_door(post)

    def _watch_door(self, post: DevicePost) -> None:
        """A contact tells at once when its door moves (OMS Volume 2 5.0.1 Table 9)."""

        def moved(now: float) -> None:
            post.post(Trigger())
            self.kernel.call_at(next_door_change(post.metrology.seed, now), moved)

        self.kernel.call_at(next_door_change(post.metrology.seed, 0.0), moved)

    def _add_gateways(self, gateways: list[tuple[GatewayPlan, Station]]) -> None:
        served: dict[str, list[tuple[DeviceLink, list[GivenKey]]]] = {plan.name: [] for plan, _ in gateways}
        chosen: dict[bytes, str] = {}
        for post in self.devices.values():
            name = None if isinstance(post, SlavePost) else self._best(post, gateways)
            if name is not None:
                served[name].append((device_link(post.spec), communication_keys(post.spec)))
                chosen[post.spec.address.link_octets()] = name
        for plan, station in gateways:
            address = self._own_address(plan.manufacturer, plan.name, _GATEWAY_TYPE)
            gateway = GatewayPost(plan, address, self.plan.world, self.kernel, station, served[plan.name])
            self.gateways[plan.name] = gateway
            if len(plan.modes) > 1:
                station.mode_of = self._mode_for
        self._served.update((octets, self.gateways[name]) for octets, name in chosen.items())
        for segment in self.segments.values():
            segment.man()

    def _register(self, plan: DisplayPlan) -> None:
        """Tell a display its meters and their consumer keys."""
        for label in plan.meters:
            spec = self.device(label).spec
            key = next((one.octets for one in spec.description.keys if one.key_id == CONSUMER_KEY), None)
            if key is None:
                raise InputError(
                    f"display {plan.name!r}: {label!r} has no consumer information; write consumer = true in its group"
                )
            self.displays[plan.name].show(spec.address, key)

    def _best(self, post: DevicePost | AdapterPost, gateways: list[tuple[GatewayPlan, Station]]) -> str | None:
        """The gateway that hears a device best, of those that serve its building; the first one if none hears it."""
        levels = self.channel.levels(post.station)
        may = [(plan, station) for plan, station in gateways if plan.serves is None or post.spec.building in plan.serves]
        heard = [(levels[station.number], plan.name) for plan, station in may if station.number in levels]
        if heard:
            return max(heard)[1]
        return may[0][0].name if may else None

    def _mode_for(self, event: Transmit) -> str:
        """The mode of the device a frame is for."""
        target = addressee(event.frame)
        return self._modes.get(b"" if target is None else target.link_octets(), "C")

    # -- running it ---------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.kernel.now

    def run(self, until: float, progress: Callable[[float], None] | None = None) -> None:
        """Let time pass; ``progress`` is told the time every few virtual minutes."""
        while self.kernel.now < until:
            self.kernel.run(min(until, self.kernel.now + _LARGEST_STEP))
            if progress is not None:
                progress(self.kernel.now)

    # -- looking at it ------------------------------------------------------------------------

    def find(self, name: str) -> Post | SlavePost | None:
        """Something by its label, name or address."""
        tables: tuple[Mapping[str, Post | SlavePost], ...] = (self.devices, self.gateways, self.repeaters, self.displays)
        for table in tables:
            if name in table:
                return table[name]
        everything = (post for table in tables for post in table.values())
        return next((post for post in everything if str(getattr(post, "address", "")) == name), None)

    def device(self, address: Address | str) -> Device:
        """A device by address or label. Raises InputError."""
        if isinstance(address, Address):
            known = self._by_address.get(address.link_octets())
            post = known or next((one for one in self.devices.values() if one.address == address), None)
        else:
            named = self.find(address)
            post = named if isinstance(named, DevicePost | AdapterPost | SlavePost) else None
        if post is None:
            raise InputError(f"no device {address} in this world")
        return post

    def partner_of(self, address: Address) -> Partner:
        """The gateway or segment that serves a device. Raises InputError if there is none."""
        partner = self._served.get(address.link_octets()) or self._served.get(self.device(address).spec.address.link_octets())
        if partner is None:
            raise InputError(f"no gateway serves {address}")
        return partner

    def truth(self, address: Address | str, now: float | None = None) -> dict[str, Decimal]:
        """Main values of a device by tag at a time (now), as it states them."""
        post = self.device(address)
        metrology = post.meter.metrology if isinstance(post, AdapterPost) else post.metrology
        return metrology.truth(self.kernel.now if now is None else now)

    def summary(self) -> Summary:
        """What happened so far, from the account of the channel."""
        self.channel.settle()
        verdicts = {name: dict(gateway.received) for name, gateway in self.gateways.items()}
        channel = self.channel
        return summary_of(channel.account, verdicts, self.kernel.now, self.kernel.events, channel.transmissions)

    def key_file(self, *, head_end: bool = False) -> str:
        """The keys of all devices as a key file: communication keys, with ``head_end`` all of them."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("address", "key", "key_id", "version", "label"))
        for post in self.devices.values():
            for key in post.spec.description.keys:
                if head_end or key.key_id < 0x10:
                    rows.writerow((post.spec.address, key.octets.hex().upper(), f"0x{key.key_id:02X}", key.version, post.name))
        return text.getvalue()

    def head_end_keys(self) -> KeyRing:
        """Application and wrapper keys (KeyIDs from 10h on) of all devices, for a head-end; version 0 as delivered."""
        ring = KeyRing()
        for post in self.devices.values():
            for key in post.spec.description.keys:
                if key.key_id >= 0x10:
                    ring.add(post.spec.address.link_octets(), key.octets, key.key_id, key.version, post.name)
        return ring

    # -- talking to it ------------------------------------------------------------------------

    def submit(self, exchange: Exchange, done: Done) -> int:
        """Carry out an exchange with a device through its gateway; ``done`` gets the result. Returns the token.

        Raises InputError if nobody serves the device.
        """
        self._token += 1
        self.partner_of(exchange.address).submit(self._token, exchange, done)
        return self._token

    def ask(self, exchange: Exchange, patience: float = 86_400.0) -> Answered | Failed:
        """``submit`` and let time pass until the result is there. Raises InputError if it never comes."""
        results: list[Answered | Failed] = []
        self.submit(exchange, results.append)
        return self._wait(results, patience)

    def operate(self, address: Address, procedure: Procedure[object], done: Callable[[Finished | Aborted], None]) -> None:
        """Carry out a use case with a device; ``done`` gets the result or the error."""
        self._operators += 1
        partner = self.partner_of(address)

        def route(event: OperatorOutput, now: float) -> None:
            if isinstance(event, Submit):
                partner.submit(event.token, event.exchange, node.post)
            elif isinstance(event, Withdraw | GiveKey):
                partner.tell(event)
            elif isinstance(event, Finished | Aborted):
                done(event)

        node: Node[OperatorInput, OperatorOutput] = Node(self.kernel, Operator.numbered(address, self._operators), route)
        node.post(Start(procedure))

    def perform(self, address: Address, procedure: Procedure[R], patience: float = 86_400.0) -> R:
        """``operate`` and let time pass until the use case is over. Raises the error it ended with."""
        results: list[Finished | Aborted] = []
        self.operate(address, cast("Procedure[object]", procedure), results.append)
        result = self._wait(results, patience)
        if isinstance(result, Aborted):
            raise result.error
        return cast("R", result.result)

    def _wait(self, results: list[T], patience: float) -> T:
        end = self.kernel.now + patience
        while not results and self.kernel.now < end:
            due = self.kernel.next_time
            self.kernel.run(end if due is None else min(due, end))
        if not results:
            raise InputError(f"no result within {patience:.0f} s")
        return results[0]

    # -- looking in ---------------------------------------------------------------------------

    def receiver(self, name: str, beside: str = "", modes: tuple[str, ...] = ("T", "C"), kind: str = "chip") -> WorldPort:
        """A receiver for a foreign program, beside a gateway, repeater or device (none: at the origin)."""
        post = self.find(beside) if beside else None
        if beside and not isinstance(post, Post):
            raise InputError(f"nothing on the radio is named {beside!r}")
        place = post.station.place if isinstance(post, Post) else Place()
        antenna = Antenna(14.0, 0.0, modes[-1], modes, uplink=True, receiver=kind)
        station = self.channel.attach(name, msgspec.structs.replace(place, x=place.x + 1.0), antenna, "foreign")
        return WorldPort(station, self._listening)

    def _listening(self, address: Address, now: float) -> bool:
        """True if a device would take a frame that begins now; True too for devices that nobody knows."""
        post = self._by_address.get(address.link_octets())
        if not isinstance(post, Post) or post.station.listening is None:
            return True
        return post.station.listening(now)

    def on_heard(self, name: str, heard: Callable[[Heard, AirInterface], None]) -> Callable[[], None]:
        """Have every frame told that a gateway or repeater hears; returns how to stop that. Raises InputError."""
        post = self.find(name)
        if not isinstance(post, Post):
            raise InputError(f"nothing on the radio is named {name!r}")
        taps = post.station.taps
        taps.append(heard)
        return lambda: taps.remove(heard)


def device_link(spec: DeviceSpec) -> DeviceLink:
    """How a gateway reaches a device of the plan."""
    group = spec.group
    firmware = "firmware" in group.options
    return DeviceLink(
        spec.address,
        group.profile,
        spec.adapter,
        bidirectional=group.bidirectional,
        mode=group.mode,
        largest=255 if firmware else 155,
    )
