"""Our own master machines on the simulated segment: readouts, rates, the search among 250 slaves, noise, power cuts."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from openmetering.codec.address import Address, Selection
from openmetering.codec.link.wired import unframe
from openmetering.protocol.wired.master import WiredMaster
from openmetering.protocol.wired.orders import (
    AnswerReceived,
    BaudSet,
    OutEvent,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    SetBaud,
)
from openmetering.protocol.wired.search import Found, SearchDone, SecondarySearch, Start
from openmetering.protocol.wired.slave import SlaveConfig
from openmetering.protocol.wired.timing import LineTiming
from openmetering.simulation.kernel import Kernel, Node
from openmetering.simulation.wired_bus import Converter, WiredBus
from tests.simulation.wired_meters import HEAT, wired_meter

#: octets come in lumps of 50 ms
TIMING = LineTiming(latency=0.0, gap=0.06)
SIMPLE = Converter(collision=None)


class Desk:
    """A master machine and what it says."""

    def __init__(self, bus: WiredBus, master: WiredMaster | None = None) -> None:
        self.bus = bus
        self.said: list[object] = []
        self.node: Node[object, OutEvent] = bus.master.drive(  # type: ignore[assignment]
            master or WiredMaster(TIMING), lambda event, now: self.said.append(event)
        )
        bus.kernel.run(bus.kernel.now + 3.0)

    def do(self, order: object, seconds: float = 20.0) -> list[object]:
        """Give an order, wait, and return what was said."""
        self.said.clear()
        self.node.post(order)
        self.bus.kernel.run(self.bus.kernel.now + seconds)
        return list(self.said)


def number_of(event: object) -> str:
    assert isinstance(event, AnswerReceived)
    return unframe(event.frame)[0].data[1:5][::-1].hex()


def secondary(number: str) -> ReadSecondary:
    return ReadSecondary(Selection(Address(0xFFFF, number, 0xFF, 0xFF)))


def test_a_readout_by_primary_and_by_secondary_address() -> None:
    bus = WiredBus(Kernel())
    bus.attach(wired_meter(11111111, 1))
    bus.attach(wired_meter(22222222, 2, HEAT))
    desk = Desk(bus)
    answer, done = desk.do(ReadPrimary(2))
    assert number_of(answer) == "22222222"
    assert done == ReadoutDone(ReadPrimary(2), 1)
    answer, done = desk.do(secondary("11111111"))
    assert number_of(answer) == "11111111"
    (failed,) = desk.do(ReadPrimary(3))
    assert isinstance(failed, ReadoutFailed)
    assert failed.reason == "no-answer"


def test_two_slaves_at_one_address_disturb_each_other() -> None:
    bus = WiredBus(Kernel())
    bus.attach(wired_meter(11111111, 1))
    bus.attach(wired_meter(22222222, 1))
    (failed,) = Desk(bus).do(ReadPrimary(1))
    assert isinstance(failed, ReadoutFailed)
    assert failed.disturbed
    assert bus.account.collisions == 3  # every attempt


def test_the_rate_of_a_slave_is_set_and_kept_over_a_power_cut() -> None:
    bus = WiredBus(Kernel())
    port = bus.attach(wired_meter(11111111, 1, config=SlaveConfig(bauds=(300, 2400, 9600), detects=False)))
    desk = Desk(bus)
    said = desk.do(SetBaud(ReadPrimary(1), 9600))
    assert BaudSet(ReadPrimary(1), 9600) in said
    assert (bus.master.baud, port.baud) == (9600, 9600)
    bus.power_off()
    bus.kernel.run(bus.kernel.now + 1.0)
    bus.power_on()
    bus.kernel.run(bus.kernel.now + 3.0)
    assert number_of(desk.do(ReadPrimary(1))[0]) == "11111111"
    bus.master.baud = 2400  # another master, which does not know: the slave hears garbage
    (failed,) = Desk(bus).do(ReadPrimary(1))
    assert isinstance(failed, ReadoutFailed)
    assert failed.reason == "no-answer"


def test_repetitions_beat_noise() -> None:
    """A readout of about 1000 bits on a line with one wrong bit in 3000: most need no repetition, none fails."""
    bus = WiredBus(Kernel(), noise=1 / 3000, dice=random.Random(4).random)
    bus.attach(wired_meter(11111111, 1))
    desk = Desk(bus)
    for _ in range(50):
        assert isinstance(desk.do(ReadPrimary(1), 10.0)[-1], ReadoutDone)
    assert bus.account.bit_errors > 5
    assert bus.account.requests > 100


def test_slaves_are_deaf_until_they_are_ready() -> None:
    """On at 10 s, 21 V 0.125 s later, ready 2.9 s after that: three attempts at 12 s are over before."""
    bus = WiredBus(Kernel())
    bus.attach(wired_meter(11111111, 1, config=SlaveConfig(ready=2.9)))
    desk = Desk(bus)
    bus.power_off()
    bus.kernel.run(10.0)
    bus.power_on()
    bus.kernel.run(12.0)
    (failed,) = desk.do(ReadPrimary(1), 1.0)
    assert isinstance(failed, ReadoutFailed)
    assert failed.reason == "no-answer"
    bus.kernel.run(13.03)
    assert isinstance(desk.do(ReadPrimary(1))[-1], ReadoutDone)


# -- the search -------------------------------------------------------------------------------------------


def search(numbers: Iterable[int], converter: Converter, delays: Iterable[int], lump: float = 0.05) -> tuple[list[str], int]:
    """Identification numbers that the search finds, and the number of its requests."""
    bus = WiredBus(Kernel(), converter=converter, lump=lump)
    for number, delay in zip(numbers, delays, strict=True):
        bus.attach(wired_meter(number, config=SlaveConfig(delay_bits=delay), functions=()))
    said: list[object] = []
    node = bus.master.drive(SecondarySearch(TIMING), lambda event, now: said.append(event))
    bus.kernel.run(3.0)
    node.post(Start())
    while not isinstance(said[-1] if said else None, SearchDone):
        bus.kernel.run(bus.kernel.now + 600.0)
        assert bus.kernel.now < 400_000.0, "the search does not end"
    done = said[-1]
    assert isinstance(done, SearchDone)
    return sorted(event.address.identification for event in said if isinstance(event, Found) and event.address), done.requests


def test_250_numbers_that_differ_late_are_found_where_collisions_are_measured() -> None:
    numbers = [77_777_000 + number for number in range(250)]
    found, requests = search(numbers, Converter(), [22] * 250)
    assert found == [f"{number:08d}" for number in numbers]
    assert requests < 3000


def test_numbers_are_found_where_nobody_measures() -> None:
    """A simple converter: equal answers at once read as one, shifted ones as garbage, later ones as a second one."""
    dice = random.Random(9)
    numbers = sorted({dice.randrange(10**8) for _ in range(30)} | {dice.randrange(10**8 - 50, 10**8) for _ in range(10)})
    found, _ = search(numbers, SIMPLE, [dice.randrange(11, 40) for _ in numbers])
    assert found == [f"{number:08d}" for number in numbers]


def test_slaves_that_answer_in_the_very_same_moment() -> None:
    """E5 of all of them is one clean E5; only their answers tell them apart."""
    numbers = [10_000_001, 10_000_002, 20_000_001, 99_999_999]
    found, _ = search(numbers, SIMPLE, [22] * 4)
    assert found == [f"{number:08d}" for number in numbers]


@pytest.mark.parametrize("lump", [0.0, 0.02])
def test_the_way_octets_are_handed_on_does_not_matter(lump: float) -> None:
    numbers = [10_000_001, 10_000_002, 20_000_001]
    found, _ = search(numbers, Converter(), [22, 25, 300], lump)
    assert found == [f"{number:08d}" for number in numbers]
