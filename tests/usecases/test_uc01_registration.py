"""UC-01, registration: Annex M release C Table M.7, Annex N.7.

radio   somebody presses the button: SND-IR up to six times, CNF-IR from the gateway, SND-NKE 5 to 25 s later
wire    REQ-UD2 at a primary address, after a selection, or what a search finds
"""

from __future__ import annotations

from typing import Any

import pytest

from openmetering.codec.address import Address, Selection
from openmetering.errors import ExchangeFailed
from openmetering.protocol.events import Heard, PowerUp
from openmetering.protocol.gateway.events import Alarm, DeviceLink, Register
from openmetering.protocol.gateway.wired_gateway import RegisterSlave, SlaveLink
from openmetering.protocol.operator.registration import Found, decide, first_reading, read_for_registration
from openmetering.protocol.radio.events import ButtonPressed, InstallationEnded
from openmetering.protocol.wired.search import Found as FoundSlave
from openmetering.protocol.wired.search import SearchDone, SecondarySearch, Start
from openmetering.security import AddressPattern, KeyRing
from openmetering.simulation.post import OFF
from tests.protocol.operator.scripted import DEVICE, MASTER_KEY
from tests.usecases.bench import LINK_FAULTS, OUTAGE, WAYS, Bench, Fault
from tests.usecases.frames import message_of

RADIO = [name for name, way in WAYS.items() if not way.wired]
WIRE = [name for name, way in WAYS.items() if way.wired]
FOREIGN = Address.parse("ABC-00000001-01-07")


def link_keys() -> KeyRing:
    keys = KeyRing()
    keys.add(DEVICE.link_octets(), MASTER_KEY, 0, 0)
    return keys


# -- radio -------------------------------------------------------------------------------------------------


class Installation:
    """An installer at the device, an operator who listens to what the gateway tells."""

    def __init__(self, way: str, *, wanted: tuple[AddressPattern, ...] = (), **options: Any) -> None:
        self.bench = Bench(way, registered=False, **options)
        self.wanted = wanted
        self.decisions: list[str] = []
        self.registrations: list[Any] = []
        self.ended: list[InstallationEnded] = []
        route = self.bench.device.route
        self.bench.device.route = lambda event, now: (
            self.ended.append(event) if isinstance(event, InstallationEnded) else route(event, now)  # type: ignore[func-returns-value]
        )
        self.bench.wait(self.bench.way.interval)

    def press(self, seconds: float = 420.0, fault: Fault | None = None) -> None:
        """Press the button; the operator decides when he hears of it."""
        bench = self.bench
        bench.fault, bench.count = fault, 0
        bench.device.post(ButtonPressed())
        end = bench.kernel.now + seconds
        while bench.kernel.now < end:
            bench.wait(1.0)
            while len(self.decisions) < len(bench.installed()):
                self._decide(bench.installed()[len(self.decisions)])

    def _decide(self, installed: Any) -> None:
        bench = self.bench
        if bench.gateway.machine is OFF:
            bench.wait(2 * OUTAGE)
        known = bench.gateway.machine.links
        assert installed.telegram is not None
        found = Found(
            installed.address,
            installed.adapter,
            security=installed.telegram.security,
            records=tuple(installed.telegram.records) if installed.telegram.payload is not None else (),
        )
        decision = decide(found, wanted=self.wanted, known=[link.address for link in known], keys=bench.gateway_keys)
        self.decisions.append(decision.verdict)
        if decision.verdict == "accept":
            way = bench.way
            bench.gateway.post(Register(DeviceLink(DEVICE, way.profile, mode=way.mode, largest=255)))  # type: ignore[arg-type]
            self.registrations.append(first_reading(found))

    def names(self, name: str) -> list[float]:
        """When messages of a name went out."""
        way = self.bench.way
        return [time for _, _, frame, time, _ in self.bench.log if message_of(frame, wired=way.wired) == name]


@pytest.mark.parametrize("way", RADIO)
def test_a_new_device_is_registered_and_confirmed(way):
    """The first SND-IR is heard and decided on, the next one is confirmed, and no more come."""
    site = Installation(way)
    site.press()
    assert site.decisions[:2] == ["accept", "known"]
    assert site.ended == [InstallationEnded(confirmed=True)]
    assert len(site.names("SND-IR")) == len(site.decisions) < 6
    assert [link.address for link in site.bench.gateway.machine.links] == [DEVICE]
    (registration,) = site.registrations
    assert registration.fabrication == "12345678"
    first = site.names("SND-IR")[0]
    assert any(5.0 <= time - first <= 26.0 for time in site.names("SND-NKE"))


@pytest.mark.parametrize("way", RADIO)
def test_what_was_registered_can_be_commanded(way):
    site = Installation(way)
    site.press()
    answered = site.bench.run(lambda h: read_for_registration(Found(DEVICE)))
    assert answered.records
    site.bench.agree()


@pytest.mark.parametrize("way", RADIO)
def test_a_registered_device_is_confirmed_at_once(way):
    site = Installation(way)
    site.press()
    count = len(site.names("SND-IR"))
    site.ended.clear()
    site.press()
    assert site.ended == [InstallationEnded(confirmed=True)]
    assert len(site.names("SND-IR")) == count + 1
    assert site.decisions[-1] == "known"


@pytest.mark.parametrize("way", RADIO)
def test_a_foreign_device_is_not_confirmed(way):
    """Nobody wants it: six SND-IR, no CNF-IR, and it goes on as before."""
    site = Installation(way, wanted=(AddressPattern.parse(str(FOREIGN)),))
    site.press()
    assert set(site.decisions) == {"foreign"}
    assert len(site.names("SND-IR")) == 6
    assert site.names("CNF-IR") == []
    assert site.ended == [InstallationEnded(confirmed=False)]
    assert site.bench.gateway.machine.links == ()


@pytest.mark.parametrize("way", RADIO)
def test_a_device_with_another_key_is_not_taken(way):
    site = Installation(way, gateway_key=bytes(16))
    site.press()
    assert set(site.decisions) == {"unreadable"}
    assert site.ended == [InstallationEnded(confirmed=False)]
    assert site.registrations == []


@pytest.mark.parametrize("kind", LINK_FAULTS)
@pytest.mark.parametrize("way", RADIO)
def test_one_fault_at_every_frame(way, kind):
    """A lost SND-IR or CNF-IR costs one repetition; a copy is no second installation."""
    for number in range(12):
        site = Installation(way)
        site.press(fault=Fault(kind, number))
        assert site.ended == [InstallationEnded(confirmed=True)], (number, site.bench.story())
        assert len(site.registrations) == 1
        assert len(site.bench.gateway.machine.links) == 1
        if not site.bench.fault_happened:
            break


@pytest.mark.parametrize("kind", ["before-device", "after-device", "before-gateway", "after-gateway"])
@pytest.mark.parametrize("way", RADIO)
def test_a_power_cut_at_every_frame(way, kind):
    """The device forgets that somebody pressed the button: he presses again. The gateway keeps whom it knows."""
    for number in range(12):
        site = Installation(way)
        site.press(fault=Fault(kind, number))
        if not site.ended or not site.ended[-1].confirmed:
            site.press()
        assert site.ended[-1] == InstallationEnded(confirmed=True), (number, site.bench.story())
        assert len(site.registrations) == 1
        assert [link.address for link in site.bench.gateway.machine.links] == [DEVICE]
        if not site.bench.fault_happened:
            break


@pytest.mark.parametrize("way", [name for name in RADIO if WAYS[name].protected])
def test_a_replayed_installation_is_an_alarm(way):
    site = Installation(way)
    site.press()
    bench = site.bench
    frame = next(frame for direction, frame in bench.frames if direction == "up" and frame[1] == 0x46)
    told = len(bench.installed())
    confirmed = len(site.names("CNF-IR"))
    bench.wait(1000.0)
    bench.gateway.post(Heard(frame, bench.kernel.now - 0.005, -60.0))
    bench.wait(60.0)
    assert len(bench.installed()) == told
    assert len(site.names("CNF-IR")) == confirmed
    assert Alarm(DEVICE, "replayed") in bench.told


@pytest.mark.parametrize("way", RADIO)
def test_a_late_confirmation_is_ignored(way):
    """CNF-IR with the access number of another SND-IR, long after it."""
    site = Installation(way)
    site.press()
    bench = site.bench
    frame = next(frame for direction, frame in bench.frames if direction == "down" and frame[1] & 0x4F == 0x06)
    site.ended.clear()
    bench.gateway.replace(OFF)
    before = len(site.names("SND-IR"))
    bench.device.post(ButtonPressed())
    while len(site.names("SND-IR")) < before + 2:
        bench.wait(0.01)
    bench.replay(frame)
    bench.wait(2.0)
    assert site.ended == []


# -- wire --------------------------------------------------------------------------------------------------


def slave_link(way: str, primary: int | None = None) -> SlaveLink:
    return SlaveLink(DEVICE, primary, profile=WAYS[way].profile, snd_ud2=WAYS[way].snd_ud2)


@pytest.mark.parametrize("primary", [True, False])
@pytest.mark.parametrize("way", WIRE)
def test_a_slave_at_its_address_is_read(way, primary):
    bench = Bench(way, registered=False)
    bench.memory.primary_address = 7
    bench.gateway.post(RegisterSlave(slave_link(way, 7 if primary else None)))
    registration = bench.run(lambda h: read_for_registration(Found(DEVICE, primary=7 if primary else None)))
    assert registration.records
    assert registration.found.address == DEVICE
    bench.agree()


@pytest.mark.parametrize("kind", [*LINK_FAULTS, "before-device", "after-device", "before-gateway", "after-gateway"])
@pytest.mark.parametrize("way", WIRE)
def test_one_fault_at_every_frame_on_the_wire(way, kind):
    for number in range(20):
        bench = Bench(way)
        registration = bench.persist(lambda h: read_for_registration(Found(DEVICE)), Fault(kind, number))
        bench.settle()
        assert registration.records
        assert bench.events == []
        bench.agree()
        if not bench.fault_happened:
            break


@pytest.mark.parametrize("way", WIRE)
def test_a_slave_that_is_not_there(way):
    bench = Bench(way, registered=False)
    bench.gateway.post(RegisterSlave(SlaveLink(DEVICE, 99 if WAYS[way].primary else None, profile=WAYS[way].profile)))
    if not WAYS[way].primary:
        bench.port.detach()
    with pytest.raises(ExchangeFailed) as caught:
        bench.run(lambda h: read_for_registration(Found(DEVICE)))
    assert caught.value.reason == ("no-answer" if WAYS[way].primary else "not-selected")


@pytest.mark.parametrize("way", [name for name in WIRE if WAYS[name].profile != "none"])
def test_a_slave_with_another_key(way):
    """It is not believed: after three answers that cannot be proven the exchange ends."""
    bench = Bench(way, gateway_key=bytes(16))
    with pytest.raises(ExchangeFailed) as caught:
        bench.run(lambda h: read_for_registration(Found(DEVICE)))
    assert caught.value.reason == "security"


@pytest.mark.parametrize("way", WIRE)
def test_a_search_finds_it(way):
    """What answers the wildcard search is decided on and registered under its secondary address."""
    bench = Bench(way, registered=False)
    found: list[Any] = []
    search = bench.bus.master.drive(SecondarySearch(), lambda event, now: found.append(event))
    search.post(Start())
    bench.wait(600.0)
    assert isinstance(found[-1], SearchDone)
    (slave,) = [event for event in found if isinstance(event, FoundSlave)]
    assert isinstance(slave.selection, Selection)
    assert decide(Found(DEVICE), keys=link_keys()).verdict == "accept"
    bench.bus.master._node = None
    bench.gateway.post(PowerUp())
    bench.gateway.post(RegisterSlave(slave_link(way)))
    assert bench.run(lambda h: read_for_registration(Found(DEVICE))).records
