"""UC-07, consumer information: through the gateway (07a, link key 00), straight to a display (07b, link key 08).

How message application 18 is written in an application select is not public: both sides are told "12 00" here.
"""

from __future__ import annotations

from typing import Any

import pytest

from openmetering.errors import InputError, NotRepresentable
from openmetering.protocol.device.build import GivenKey
from openmetering.protocol.events import Heard, PowerUp
from openmetering.protocol.operator import consumer
from openmetering.protocol.operator.tags import find
from openmetering.protocol.radio.display import ConsumerDisplay, Register, Shown
from openmetering.protocol.radio.events import Ignored
from openmetering.security import KeyRing
from tests.protocol.operator.scripted import DEVICE, MASTER_KEY
from tests.usecases.bench import LINK_FAULTS, NEW_WAYS, POWER_CUTS, WAYS, Bench
from tests.usecases.cases import Case, one_fault, risks, succeed

CONSUMER_KEY = bytes.fromhex("C0" * 16)
SELECT = b"\x12\x00"
OPTIONS: dict[str, Any] = {"codings": {"1200": 18}, "applications": (0, 7, 18)}
PROTECTED = [name for name, way in NEW_WAYS.items() if way.protected]
BROADCAST = [name for name in PROTECTED if not WAYS[name].wired]


def unchanged(bench: Bench) -> bool:
    return bench.events == []


READ = Case("read", lambda h, i: consumer.read_consumer_information(SELECT, issue=i), unchanged, options=OPTIONS)


@pytest.mark.parametrize("way", PROTECTED)
def test_read_through_the_gateway(way):
    """07a: the tags of the display and what the functions of the device add, under link key 00."""
    records = succeed(READ, way)
    assert str(find(records, "VM1!").value) == "12345.678"
    assert find(records, "DT1!") is not None


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(READ, ways={name: WAYS[name] for name in PROTECTED}))
def test_one_fault_at_every_frame(way, case, kind):
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("way", PROTECTED)
def test_a_device_without_the_application_gives_its_standard_response(way):
    """A select of what does not exist is a reset, never an error."""
    bench = Bench(way)
    assert find(bench.run(lambda h: consumer.read_consumer_information(SELECT)), "VM1!") is not None


@pytest.mark.parametrize("way", ["wire none 4.3.3", "C B 4.3.3"])
def test_issue_433_does_not_know_it(way):
    bench = Bench(way, **OPTIONS)
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: consumer.read_consumer_information(SELECT, issue="4.3.3"))
    assert bench.count == 0


def test_without_a_coding_nothing_is_sent():
    bench = Bench("C B", **OPTIONS)
    with pytest.raises(NotRepresentable) as caught:
        bench.run(lambda h: consumer.read_consumer_information())
    assert caught.value.code == "application.coding"
    assert bench.count == 0


# -- 07b: a display beside the meter -----------------------------------------------------------------------


class Kitchen:
    """A meter that tells consumer information every second time, and a display that hears everything it says."""

    def __init__(self, way: str, key: bytes = CONSUMER_KEY) -> None:
        self.bench = Bench(way, **OPTIONS, extra_keys=(GivenKey(0x08, CONSUMER_KEY),), consumer_key_id=8)
        self.display = ConsumerDisplay()
        self.display.receive(PowerUp(), 0.0)
        ring = KeyRing()
        ring.add(DEVICE.link_octets(), key, 8, 0)
        self.display.receive(Register(DEVICE, ring), 0.0)
        self.shown: list[Shown] = []
        self.ignored: list[str] = []
        self.consumer: list[bytes] = []
        self.bench.gateway_station.taps.append(lambda heard, air: self.hear(heard))

    def hear(self, heard: Heard) -> None:
        for event in self.display.receive(heard, self.bench.kernel.now):
            if isinstance(event, Shown):
                self.shown.append(event)
                self.consumer.append(heard.frame)
            elif isinstance(event, Ignored):
                self.ignored.append(event.reason)


@pytest.mark.parametrize("way", BROADCAST)
def test_a_display_shows_what_is_for_it(way):
    kitchen = Kitchen(way)
    kitchen.bench.wait(6.5 * kitchen.bench.way.interval)
    assert len(kitchen.shown) in (3, 4)
    assert str(find(kitchen.shown[-1].records, "VM1!").value) == "12345.678"
    assert set(kitchen.ignored) == {"not-consumer"}
    # the gateway does not hold key 08: it hears them and cannot read them
    assert kitchen.bench.verdicts["unreadable"] == len(kitchen.shown)
    assert kitchen.bench.verdicts["new"] >= 3


@pytest.mark.parametrize("way", BROADCAST)
def test_each_key_has_its_counter(way):
    """Consumer information neither uses up the counter of key 00 nor stops commands in between."""
    kitchen = Kitchen(way)
    bench = kitchen.bench
    bench.wait(3 * bench.way.interval)
    bench.run(READ.on(bench))
    bench.wait(3 * bench.way.interval)
    consumer_key, master = bench.memory.key(8), bench.memory.key(0)
    assert consumer_key.counter == len(kitchen.shown) or consumer_key.counter == len(kitchen.shown) + 1
    assert master.counter > 64  # the gateway's step
    assert not [event for event in bench.told if getattr(event, "reason", "") == "replayed"]


@pytest.mark.parametrize("way", BROADCAST)
def test_a_replay_is_not_shown(way):
    kitchen = Kitchen(way)
    bench = kitchen.bench
    bench.wait(7 * bench.way.interval)
    shown = len(kitchen.shown)
    for frame in kitchen.consumer[:-1]:
        kitchen.hear(Heard(frame, bench.kernel.now - 0.005, -60.0))
    assert len(kitchen.shown) == shown
    assert kitchen.ignored[-1] in ("security", "copy")


@pytest.mark.parametrize("way", BROADCAST)
def test_a_display_with_a_wrong_key(way):
    kitchen = Kitchen(way, bytes(16))
    kitchen.bench.wait(4 * kitchen.bench.way.interval)
    assert kitchen.shown == []
    assert "security" in kitchen.ignored


def test_a_display_takes_no_other_key():
    ring = KeyRing()
    ring.add(DEVICE.link_octets(), MASTER_KEY, 0, 0)
    display = ConsumerDisplay()
    display.receive(PowerUp(), 0.0)
    with pytest.raises(InputError):
        display.receive(Register(DEVICE, ring), 0.0)


@pytest.mark.parametrize("way", ["C A", "C B 4.3.3"])
def test_where_consumer_information_does_not_exist(way):
    """No KeyID and no content index in profile A; not defined in issue 4.3.3."""
    bench = Bench(way, **OPTIONS)
    with pytest.raises(NotRepresentable):
        bench.endpoint.spontaneous("consumer", 1, bench.kernel.now, ell=True)
