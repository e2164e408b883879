"""A procedure coupled to a device: transport security on both sides, and no link in between that could help.

    procedure --Ask--> PartnerSecurity.seal --frames--> Endpoint.take, respond --> PartnerSecurity.open --Answered--> procedure

``faults`` says what goes wrong in which exchange (counted from 0):

    request        the command is lost                        nobody knows
    ack            the acknowledgement is lost                nobody knows, the command was executed
    answer         the answer is lost                         the command was acknowledged
    replay         all is well, then the datagram comes again
    device-before  the device loses its power before the command comes
    device-after   the device loses its power when it has executed the command, before it says so
    gateway        the gateway loses its power when it has sent the command; it starts again from its last snapshot

``stop`` (exchange, executed) cuts the operator's power at an exchange, before or after the device got it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openmetering.codec.ell import CommunicationControl, ExtendedLink
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.errors import ExchangeFailed
from openmetering.protocol.device.build import DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.device.endpoint import EndpointConfig
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.exchange import Answered
from openmetering.protocol.gateway.partner_security import PartnerSecurity, application_octets, protocol_of
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Ask, Pause, Progress, Provide
from openmetering.security import KeyRing
from tests.protocol.operator.scripted import (
    APPLICATION_KEY,
    DEVICE,
    MASTER_KEY,
    OTHER,
    WRAPPER_KEY,
    Store,
    ring,
)

GATEWAY = OTHER
FAULTS = ("request", "ack", "answer", "replay", "device-before", "device-after", "gateway")
#: link -> wired, profile
LINKS = {"wired": (True, "none"), "radio A": (False, "A"), "radio B": (False, "B"), "radio D": (False, "D")}
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
START = 1000.0
_LONGEST = 900.0  #: s a busy device is asked again


class PowerCut(Exception):
    """The operator's power fails."""


class World:
    """A device, a gateway, an operator's disk."""

    def __init__(
        self,
        link: str = "radio B",
        *,
        functions: Mapping[str, Mapping[str, Any]] = FUNCTIONS,
        issue: str = "5.0.1",
        application_keys: range | tuple[int, ...] = range(0x18, 0x28),
        codings: Mapping[str, int] | None = None,
        gateway_key: bytes = MASTER_KEY,
    ) -> None:
        self.wired, self.profile = LINKS[link]
        self.now = START
        self.memory = DeviceMemory()
        self.memory.breaker, self.memory.output = 1, 1
        self.memory.indexes = {"VM1!": 1000}
        self.memory.error_flags = 0x0405
        keys = [GivenKey(0, MASTER_KEY), *(GivenKey(key_id, WRAPPER_KEY) for key_id in (0x10, 0x12, 0x14))]
        keys += [GivenKey(key_id, APPLICATION_KEY) for key_id in application_keys]
        config = EndpointConfig(DEVICE, profile=self.profile, wired=self.wired, oms_issue=issue)
        self.installations: list[bytes] = []
        self.description = DeviceDescription(config, functions, tuple(keys), codings=codings or {})
        self.endpoint = self._device()
        self.events: list[tuple[str, str, int | None]] = []
        self.counters: dict[tuple[int, int], int] = {}
        keys_of_gateway = KeyRing()
        keys_of_gateway.add(DEVICE.link_octets(), gateway_key, 0, 0)
        self._gateway_keys = keys_of_gateway
        self.security = PartnerSecurity(keys_of_gateway)
        self.security.enrol(DEVICE, self.profile)
        self.snapshot = self.security.snapshot()
        self.store = Store()
        self.exchanges = 0
        self.access_number = 0

    def _device(self):
        return make_device(self.description, self.memory, FixedReadings(), lambda: 0.5, installer=self._install)

    def _install(self, octets: bytes, identifier: bytes) -> bool:
        self.installations.append(octets)
        return True

    @property
    def executed(self) -> list[tuple[str, int | None]]:
        """Secured commands that were carried out: key, counter."""
        return [(detail, value) for name, detail, value in self.events if name == "executed"]

    def office(self, keys: KeyRing | None = None) -> HeadEnd:
        """The operator as he starts: keys, and what the disk holds."""
        return HeadEnd(keys or ring(), journals=self.store.load(), save=self.store.save)

    # -- time and power ----------------------------------------------------------------------------

    def _note(self, events) -> None:
        self.events += [(event.name, event.detail, event.value) for event in events]

    def wait(self, seconds: float) -> None:
        """Time passes for the device."""
        until = self.now + seconds
        while (due := self.endpoint.deadline) is not None and due <= until:
            self.now = max(self.now, due)
            self._note(self.endpoint.timeout(self.now))
        self.now = until

    def cut_device(self) -> None:
        """Another device around the same memory."""
        self.endpoint = self._device()
        self.endpoint.power_up(self.now)

    def cut_gateway(self) -> None:
        """Another gateway from the last snapshot that was stored."""
        self.security = PartnerSecurity.restore(self.snapshot, self._gateway_keys)

    def _counters_never_go_back(self) -> None:
        for slot in self.memory.keys:
            name = (slot.key_id, slot.version)
            assert slot.counter >= self.counters.get(name, 0), f"the counter of key {name} went back"
            self.counters[name] = slot.counter

    # -- one exchange ------------------------------------------------------------------------------

    def exchange(self, ask: Ask, fault: str | None) -> Answered | ExchangeFailed:
        """Command, acknowledgement, request, answer."""
        self.wait(1.0)
        self.access_number = (self.access_number + 1) % 256
        frames: list[bytes] = []
        status = 0
        if fault == "device-before":
            self.cut_device()
        if ask.command is not None:
            parts = self.security.seal(DEVICE, ask.command, self.access_number, wired=self.wired)
            if self.security.unsaved:
                self.snapshot, self.security.unsaved = self.security.snapshot(), False
            frames = [self._downlink(part) for part in parts]
            if fault == "request":
                return _lost(None)
            for frame in frames:
                taken = self.endpoint.take(frame, self.now)
                self._note(taken.events)
            assert taken.mine
            status = taken.status
            self._counters_never_go_back()
            if fault == "device-after":
                self.cut_device()
                return _lost(None)
            if fault == "gateway":
                self.cut_gateway()
                return _lost(None, "power")
            if fault == "ack":
                return _lost(None)
            if not ask.answer:
                self._replay(frames, fault)
                return Answered(0, status)
        answered = self._request()
        if fault == "answer":
            return _lost(True if ask.command is not None else None)
        self._replay(frames, fault)
        return answered

    def _request(self) -> Answered | ExchangeFailed:
        """REQ-UD2 until the device is not busy."""
        begun = self.now
        while True:
            answered = self._answer()
            if not isinstance(answered, Answered) or not answered.busy:
                return answered
            if self.now - begun > _LONGEST:
                return _lost(True, "busy")
            self.wait(5.0)

    def _answer(self) -> Answered | ExchangeFailed:
        items = self.endpoint.respond(self.access_number, self.now, 235)
        self._counters_never_go_back()
        for item in items:
            opened = self.security.open(self._uplink(item), self.now)
        if self.security.unsaved:
            self.snapshot, self.security.unsaved = self.security.snapshot(), False
        telegram = opened.telegram
        if opened.verdict not in ("new", "duplicate") or not opened.protected or telegram.transport is None:
            return _lost(True, "security")
        return Answered(0, telegram.transport.status or 0, protocol_of(telegram), application_octets(telegram), telegram.security)

    def _replay(self, frames: list[bytes], fault: str | None) -> None:
        if fault == "replay":
            before = len(self.executed)
            for frame in frames:
                self._note(self.endpoint.take(frame, self.now).events)
            assert len(self.executed) == before, "a replayed datagram was executed"
            self._counters_never_go_back()

    def _downlink(self, part: bytes) -> bytes:
        if self.wired:
            return WiredFrame.long(0x53, 0xFD, part).encode()
        ell = ExtendedLink(0x8C, CommunicationControl(0x84), self.access_number).encode()
        return WirelessFrame(ControlField(0x53), GATEWAY, ell + part).encode()

    def _uplink(self, item: bytes) -> bytes:
        if self.wired:
            return WiredFrame.long(0x08, 1, item).encode()
        ell = ExtendedLink(0x8C, CommunicationControl(0x84), self.access_number).encode()
        return WirelessFrame(ControlField(0x08), DEVICE, ell + item).encode()

    # -- a procedure --------------------------------------------------------------------------------

    def run(
        self,
        make: Callable[[HeadEnd], Any],
        *,
        faults: Mapping[int, str] | None = None,
        stop: tuple[int, bool] | None = None,
        keys: KeyRing | None = None,
    ) -> Any:
        """The result of a procedure; its error, or PowerCut, is raised. ``exchanges`` tells how many there were."""
        procedure = make(self.office(keys))
        self.exchanges = 0
        answer: Answered | None = None
        failure: ExchangeFailed | None = None
        while True:
            try:
                step = procedure.send(answer) if failure is None else procedure.throw(failure)
            except StopIteration as end:
                return end.value
            answer = failure = None
            if isinstance(step, Pause):
                self.wait(step.seconds)
            elif isinstance(step, Provide):
                self.security.give_key(DEVICE, step.key, step.key_id, step.version)
                self.snapshot, self.security.unsaved = self.security.snapshot(), False
            elif isinstance(step, Ask):
                number = self.exchanges
                self.exchanges += 1
                if stop is not None and number == stop[0]:
                    if stop[1]:
                        self.exchange(step, None)
                    procedure.close()
                    raise PowerCut
                reply = self.exchange(step, (faults or {}).get(number))
                if isinstance(reply, Answered):
                    answer = reply
                else:
                    failure = reply
            else:
                assert isinstance(step, Progress)

    # -- after it -------------------------------------------------------------------------------------

    def agree(self) -> None:
        """The end state of device and operator agrees, and nothing was executed twice."""
        assert len(self.executed) == len(set(self.executed)), f"executed twice: {self.executed}"
        journal = self.office().journal(DEVICE)
        assert journal.commands == ()
        assert journal.renewals == ()
        assert journal.image is None
        for slot in self.memory.keys:
            if slot.active and slot.key_id >= 0x18:
                assert self.office().version(DEVICE, slot.key_id) == slot.version
                assert journal.counter(slot.key_id, slot.version) >= slot.counter


def _lost(delivered: bool | None, reason: str = "no-answer") -> ExchangeFailed:
    return ExchangeFailed("lost", reason=reason, delivered=delivered)
