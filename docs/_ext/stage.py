"""A stage for use cases: the simulated house, a record of what one of its devices says and hears, and mishaps.

Stage     a fresh world from examples/worlds/house.toml, the head-end, the record; ``perform``, ``lose``, ``wait``
Story     what was said between the participants, and what the procedures returned or how they were refused
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.errors import OmsError
from openmetering.protocol.events import Transmit
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.radio.datagram import read
from openmetering.protocol.radio.display import CONSUMER_KEY
from openmetering.security import KeyRing
from openmetering.simulation.building import communication_keys
from openmetering.simulation.plan import WorldPlan, read_plan
from openmetering.simulation.post import Post
from openmetering.simulation.trace import Message, Trace
from openmetering.simulation.wired_post import SlavePost
from openmetering.simulation.world import Device, World
from openmetering.telegram import Decoder

R = TypeVar("R")
HOUSE = Path(__file__).resolve().parent.parent.parent / "examples" / "worlds" / "house.toml"
GATEWAY, BUS, DISPLAY = "gateway", "bus", "display"
_SETTLED = 300.0  #: seconds a radio world runs before anything is asked of it
_CLOSING = 30.0  #: seconds in which a session ends


class Result(NamedTuple):
    """What a procedure came to: its last message was number ``after - 1``."""

    after: int
    words: str
    refused: bool


class Story(NamedTuple):
    """A scene that was played. ``results`` stand behind the messages that led to them."""

    title: str
    about: str
    participants: tuple[str, ...]
    messages: tuple[Message, ...]
    results: tuple[Result, ...]


class Stage:
    """A house with a record of what one device says and hears."""

    def __init__(self, name: str, *, plan: WorldPlan | None = None) -> None:
        self.world = World(plan or read_plan(HOUSE))
        self.device: Device = self.world.device(f"{name} house/0.1")
        self.address = self.device.address
        self.ring = KeyRing()
        for key in communication_keys(self.device.spec):
            self.ring.add(self.address.link_octets(), key.octets, key.key_id, key.version)
        self.trace = Trace(self.world.kernel, self.ring)
        self.head_end = HeadEnd(self.world.head_end_keys())
        self.tells_versions = False  #: messages are shown with the version of the link key that protects them
        self._results: list[Result] = []
        if isinstance(self.device, SlavePost):
            self._listen_to_wire(self.device)
        else:
            self._listen_to_radio(self.device)
        self.begun = self.world.now

    def _listen_to_wire(self, slave: SlavePost) -> None:
        segment = self.world.segments[BUS]
        names = {one.port: one.name if one is not slave else "meter" for one in segment.slaves}
        primaries = {one.spec.primary: names[one.port] for one in segment.slaves if one.spec.primary}
        self.trace.follow_wire(segment.bus, names, primaries, GATEWAY)
        self.world.run(5.0)

    def _listen_to_radio(self, device: Post) -> None:
        self.trace.name(self.world.gateways[GATEWAY].address, GATEWAY)
        self.name(self.address)
        if self.device.spec.adapter is not None:
            self.name(self.device.spec.adapter)
        self.trace.follow_radio(self.world.channel)
        self.world.run(_SETTLED)

    def name(self, address: Address) -> None:
        """An address under which the device is spoken to."""
        self.trace.name(address, self.device.name)

    def knows(self, address: Address, octets: bytes, key_id: int = 0, version: int = 0) -> None:
        """The record can open what is protected by another key."""
        ring = KeyRing()
        for known in (ring, self.ring):
            known.add(address.link_octets(), octets, key_id, version)
        self.trace.know(ring)

    # -- what happens ------------------------------------------------------------------------------

    def perform(self, procedure: Procedure[R]) -> R | None:
        """A use case, and how it ends; a refusal or failure is written down."""
        try:
            result = self.world.perform(self.address, procedure)
        except OmsError as error:
            self.tell(error.message, refused=True)
            return None
        return result

    def tell(self, words: str, *, refused: bool = False) -> None:
        """Write down what came of it."""
        self._results.append(Result(len(self.trace.messages), words, refused))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(self.world.now + seconds)

    def lose(self, sender: str, name: str, numbers: Iterable[int]) -> None:
        """Take messages of a sender on their way: the first, second ... of a name from now on."""
        post = self.world.find(sender)
        assert isinstance(post, Post)
        station, forward, before = post.station, post.node.route, post.station.sent
        taken, count = frozenset(numbers), 0

        def route(event: object, now: float) -> None:
            nonlocal count
            if isinstance(event, Transmit) and read(event.frame).message == name:
                count += 1
                if count in taken:
                    self.world.kernel.call_at(event.not_before, lambda _: setattr(station, "loss", 1.0))
            forward(event, now)

        def sent(event: object) -> None:
            station.loss = 0.0
            if before is not None:
                before(event)  # type: ignore[arg-type]

        post.node.route, station.sent = route, sent

    # -- what is shown -----------------------------------------------------------------------------

    def story(
        self, title: str, about: str, *, others: tuple[str, ...] = (), called: str = "meter", everything: bool = False
    ) -> Story:
        """What the participants said since the stage was ready. ``called`` is the device; ``everything`` shows all SND-NR."""
        self.wait(_CLOSING)
        cast = (GATEWAY, called, *others)
        names = {self.device.name: called}
        shown: list[Message] = []
        results: list[Result] = []
        waiting = list(self._results)
        for message in self.trace.messages:
            while waiting and waiting[0].after <= message.number:
                results.append(waiting.pop(0)._replace(after=len(shown)))
            sender = names.get(message.sender, message.sender)
            receiver = names.get(message.receiver, message.receiver)
            if receiver == "all":
                receiver = self._meant(message, called, others)
            if message.time >= self.begun and sender in cast and receiver in cast:
                shown.append(self._renamed(message, sender, receiver))
        results += [one._replace(after=len(shown)) for one in waiting]
        messages, moved = (tuple(shown), tuple(results)) if everything else _without_idle(shown, results)
        return Story(title, about, cast, messages, moved)

    def _meant(self, message: Message, called: str, others: tuple[str, ...]) -> str:
        """Whom a message without a receiver is for: the key tells a display from a gateway."""
        if message.sender == GATEWAY:
            return called
        telegram = Decoder(self.ring).examine(message.octets)
        return others[0] if others and telegram.security.key_id == CONSUMER_KEY else GATEWAY

    def _renamed(self, message: Message, sender: str, receiver: str) -> Message:
        """With names for people. On the radio SND-NKE ends a session: nobody answers or need hear it."""
        ends = message.name == "SND-NKE" and not isinstance(self.device, SlavePost)
        version = Decoder(self.ring).examine(message.octets).security.key_version if self.tells_versions else None
        words = message.words if version is None else f"link key version {version}; {message.words}"
        return replace(message, sender=sender, receiver=receiver, words=words, fate="received" if ends else message.fate)


def _without_idle(shown: list[Message], results: list[Result]) -> tuple[tuple[Message, ...], tuple[Result, ...]]:
    """Spontaneous messages only where the gateway takes the window behind them."""
    keep = [
        not message.spontaneous or message.name != "SND-NR" or (at + 1 < len(shown) and shown[at + 1].sender == GATEWAY)
        for at, message in enumerate(shown)
    ]
    if not any(keep):
        keep = [True] * len(shown)
    moved = tuple(one._replace(after=sum(keep[: one.after])) for one in results)
    return tuple(message for message, wanted in zip(shown, keep, strict=True) if wanted), moved
