"""Wildcard search and primary scan: complete, bounded, in few requests; collisions of every kind; every row of the tables."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import pytest

from openmetering.codec.address import Address, Selection, flag_value
from openmetering.codec.link.wired import WiredFrame
from openmetering.errors import ProtocolError
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Octets
from openmetering.protocol.wired import scan
from openmetering.protocol.wired import search as on
from openmetering.protocol.wired.frames import address_of
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.master import LineTiming, ReadoutDone, ReadSecondary, WiredMaster
from openmetering.protocol.wired.scan import PrimaryScan, PrimarySeen, ScanState
from openmetering.protocol.wired.search import (
    Found,
    Progress,
    SearchDone,
    SearchState,
    SecondarySearch,
    Start,
    StopSearch,
    Unresolvable,
)
from openmetering.protocol.wired.slave import SlaveConfig, WiredSlave
from openmetering.protocol.wired.tree import Node, Probe, SearchTree, Verdict
from tests.protocol.tables import assert_nothing_else, every_row
from tests.protocol.wired_bus import Application, Bus, Meters, address, application, slave

TIMING = LineTiming(2400, latency=0.0, gap=0.0)
E5 = b"\xe5"
Answers = list[tuple[float, bytes]]


def searched(bus: Bus, **options: Any) -> tuple[list[Found], list[Unresolvable], SearchDone]:
    """Run a search; its account of itself must agree with the bus."""
    machine = SecondarySearch(TIMING, **options)
    told = bus.run(machine, Start())
    found = [event for event in told if isinstance(event, Found)]
    done = told[-1]
    assert isinstance(done, SearchDone)
    assert (done.requests, done.found) == (len(bus.sent), len(found))
    assert bus.sent[-1] == bytes.fromhex("1040FD3D16")  # explicit deselection
    assert machine.state is SearchState.DONE
    assert machine.deadline is None
    return found, [event for event in told if isinstance(event, Unresolvable)], done


def numbers(found: list[Found]) -> list[str]:
    return sorted(event.address.identification for event in found if event.address is not None)


def population(*meters: tuple[int, str | None]) -> Bus:
    return Bus(meters=Meters([(address(number), fabrication) for number, fabrication in meters]))


DICE = random.Random(13757)

# -- 250 slaves, chosen against the search -------------------------------------------------------------

RANDOM = [address(number) for number in DICE.sample(range(10**8), 250)]
BATCH = [address(12345600 + number) for number in range(250)]
TENS = [address(prefix * 10 + digit) for prefix in DICE.sample(range(10**7), 25) for digit in range(10)]
SUFFIX = [address(number * 1000 + 678) for number in DICE.sample(range(10**5), 250)]
MAKERS = [f"{chr(65 + at // 26)}{chr(65 + at % 26)}X" for at in DICE.sample(range(676), 250)]
MADE = [address(12345678, maker) for maker in MAKERS]
VERSIONS = [address(12345678, version=version) for version in range(250)]
TYPES = [address(12345678, device_type=kind) for kind in range(250)]


@pytest.mark.parametrize(
    ("meters", "once", "thrice"),
    [
        (RANDOM, 1900, 3300),
        (BATCH, 750, 800),
        (TENS, 1400, 2100),
        (SUFFIX, 1950, 3500),
        (MADE, 1100, 1150),
        (VERSIONS, 900, 900),
        (TYPES, 1150, 1200),
    ],
    ids=["random", "one batch", "last digit", "same end", "manufacturer", "version", "type"],
)
def test_250_slaves_are_found_in_few_requests(meters: list[Address], once: int, thrice: int) -> None:
    makers = sorted({meter.manufacturer for meter in meters} | {flag_value(f"{letter}AA") for letter in "ABCDEFGH"})
    for attempts, most in ((1, once), (3, thrice)):
        bus = Bus(meters=Meters([(meter, None) for meter in meters]))
        found, open_ends, done = searched(bus, attempts=attempts, manufacturers=makers)
        assert {event.address for event in found} == set(meters)
        assert len(found) == 250
        assert open_ends == []
        assert done.complete
        assert done.requests <= most


@pytest.mark.parametrize(
    ("fabrications", "most"),
    [(range(250), 1800), (DICE.sample(range(10**8), 250), 4900), (range(0, 10**8, 400_000), 4300)],
    ids=["one batch", "random", "same end"],
)
def test_250_slaves_that_differ_in_their_fabrication_number_alone_p_20(fabrications: Any, most: int) -> None:
    meters = [(address(12345678), f"{number:08d}") for number in fabrications]
    bus = Bus(meters=Meters(meters))
    found, open_ends, done = searched(bus)
    assert (len(found), open_ends) == (250, [])
    assert done.requests <= most
    for event in found:
        assert event.address == address(12345678)
        assert event.selection.fabrication is not None
        fits = [own for _, own in meters if _digits_fit(event.selection.fabrication, own)]
        assert len(fits) == 1


def _digits_fit(pattern: str, number: str) -> bool:
    return all(want in ("F", digit) for want, digit in zip(pattern, number, strict=True))


def test_plain_selection_is_enough_where_numbers_differ_p_20() -> None:
    bus = Bus(meters=Meters([(meter, "00000001") for meter in RANDOM[:50]]))
    searched(bus)
    assert {len(frame) for frame in bus.sent} <= {5, 0x0B + 6}


def test_what_was_found_can_be_read() -> None:
    bus = Bus([slave(10000000 + 777 * number, number) for number in range(40)])
    found, _, _ = searched(bus)
    assert sorted(event.primary for event in found) == list(range(40))
    master = WiredMaster(TIMING)
    for event in found[:5]:
        target = ReadSecondary(event.selection)
        assert bus.run(master, target)[-1] == ReadoutDone(target, 1)


def test_an_empty_bus_takes_five_requests() -> None:
    found, open_ends, done = searched(Bus())
    assert (found, open_ends, done) == ([], [], SearchDone(5, 0, True))


def test_one_slave_takes_five_requests() -> None:
    found, _, done = searched(population((12345678, None)))
    assert [event.selection for event in found] == [Selection(address(12345678))]
    assert done.requests == 5  # deselect, select, read twice, deselect


def test_progress_is_told() -> None:
    told = population((1, None), (2, None)).run(SecondarySearch(TIMING), Start())
    steps = [event for event in told if isinstance(event, Progress)]
    assert [step.position for step in steps[:3]] == ["FFFFFFFF", "0FFFFFFF", "00FFFFFF"]
    assert [step.requests for step in steps] == sorted(step.requests for step in steps)
    assert steps[-1].found == 2


def test_a_search_below_a_selection() -> None:
    bus = Bus(meters=Meters([(meter, None) for meter in BATCH]))
    found, _, _ = searched(bus, root=Address(0xFFFF, "123457FF", 0xFF, 0xFF))
    assert numbers(found) == [f"{number:08d}" for number in range(12345700, 12345800)]


# -- collisions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize(
    "delay",
    [lambda index: 22, lambda index: 11 + 3 * index, lambda index: 11 + 11 * index, lambda index: 11 + (index * 97) % 300],
    ids=["together", "shifted by bits", "shifted by characters", "one behind the other"],
)
def test_answers_that_lie_over_each_other(delay: Callable[[int], int], flagged: bool) -> None:
    """Garbage, several E5 in a row, one E5 of all, an answer that is over before the next one begins."""
    bus = Bus(meters=Meters([(address(number), None) for number in (12345678, 12345679, 12345600, 99)], delay_bits=delay))
    bus.flagged = flagged
    found, open_ends, _ = searched(bus)
    assert numbers(found) == ["00000099", "12345600", "12345678", "12345679"]
    assert open_ends == []


@pytest.mark.parametrize("collision", ["A5", "E5"])
def test_a_device_with_several_logical_slaves_p_14(collision: Any) -> None:
    logical = [LogicalSlave(Application(address(10000000 + number)), DeviceMemory()) for number in (3, 4, 77)]
    bus = Bus([WiredSlave(logical, SlaveConfig(collision=collision)), slave(55)])
    found, open_ends, _ = searched(bus)
    assert numbers(found) == ["00000055", "10000003", "10000004", "10000077"]
    assert open_ends == []


def strongest(index: int, answers: Answers) -> Answers:
    """One slave drowns all others, always the same."""
    return answers[:1]


@pytest.mark.parametrize(("thorough", "chance"), [(False, 0.1), (True, 1.0)])
def test_an_answer_caught_out_of_a_collision_by_chance_does_not_end_the_branch(thorough: bool, chance: float) -> None:
    dice = random.Random(7)
    meters = [address(number) for number in dice.sample(range(10**8), 60)]
    bus = Bus(meters=Meters([(meter, None) for meter in meters]))
    bus.spoil = lambda index, answers: [dice.choice(answers)] if answers and dice.random() < chance else answers
    found, _, _ = searched(bus, thorough=thorough)
    assert {event.address for event in found} == set(meters)


def test_with_marks_of_a_collision_nothing_is_missed() -> None:
    """The selection shows several slaves, then one of them is caught: the branch is followed."""
    bus = population((11111111, None), (11111112, None), (22222222, None))

    def caught(index: int, answers: Answers) -> Answers:
        return (
            answers[:1]
            if answers and len(answers[0][1]) > 1
            else [(when + at * 1e-3, E5) for at, (when, _) in enumerate(answers)]
        )

    bus.spoil = caught
    found, open_ends, _ = searched(bus)
    assert numbers(found) == ["11111111", "11111112", "22222222"]
    assert open_ends == []


def test_a_slave_that_always_drowns_another_one_is_seen_through_when_thorough() -> None:
    meters = ((11111111, None), (11111112, None), (22222222, None), (33333333, "00000001"), (33333333, "00000002"))
    bus = population(*meters)
    bus.spoil = strongest
    found, _, _ = searched(bus)
    assert numbers(found) == ["11111111"]
    bus = population(*meters)
    bus.spoil = strongest
    found, _, _ = searched(bus, thorough=True)
    assert numbers(found) == ["11111111", "11111112", "22222222", "33333333"]


def test_thorough_search_of_fabrication_numbers() -> None:
    found, open_ends, _ = searched(population((1, "11111111"), (1, "11111112"), (2, None)), thorough=True)
    assert (len(found), open_ends) == (3, [])


def test_an_answer_that_is_another_one_the_second_time() -> None:
    bus = population((11111111, None), (22222222, None))
    turns = iter(range(10**6))
    bus.spoil = lambda index, answers: [answers[next(turns) % 2]] if len(answers) == 2 and len(answers[0][1]) > 1 else answers
    found, _, _ = searched(bus)
    assert numbers(found) == ["11111111", "22222222"]


@pytest.mark.parametrize("late", [b"", E5, b"\x00"])
def test_the_second_request_is_not_answered_as_the_first(late: bytes) -> None:
    bus = population((11111111, None))
    bus.spoil = lambda index, answers: [(when, late) for when, _ in answers if late] if index == 3 else answers
    found, open_ends, _ = searched(bus)
    assert numbers(found) == ["11111111"]
    assert open_ends == []


def test_something_behind_an_answer_tells_of_another_slave() -> None:
    bus = population((11111111, None), (22222222, None))
    bus.spoil = lambda index, answers: (
        [answers[0], (answers[0][0] + 0.2, b"\x00")] if len(answers) == 2 and len(answers[0][1]) > 1 else answers
    )
    found, _, _ = searched(bus)
    assert numbers(found) == ["11111111", "22222222"]


# -- bad lines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_lost_requests_and_answers_are_made_good_by_repetition(seed: int) -> None:
    dice = random.Random(seed)
    meters = [address(number) for number in dice.sample(range(10**8), 40)]
    bus = Bus(meters=Meters([(meter, None) for meter in meters]))
    bus.spoil = lambda index, answers: [] if dice.random() < 0.03 else answers
    found, _, _ = searched(bus)
    assert {event.address for event in found} == set(meters)


def test_noise_on_a_silent_branch_costs_ten_requests_and_finds_nothing() -> None:
    bus = population((11111111, None), (22222222, None))
    bus.spoil = lambda index, answers: [(bus.now + 0.2, b"\x55")] if index == 4 else answers
    found, open_ends, _ = searched(bus)
    assert numbers(found) == ["11111111", "22222222"]
    assert open_ends == []


def test_noise_at_full_depth_does_not_start_a_sweep() -> None:
    bus = Bus(meters=Meters([(address(number), None) for number in (12345670, 12345671)]))
    seen: set[bytes] = set()

    def noisy(index: int, answers: Answers) -> Answers:
        frame = bus.sent[index]
        first = b"\x71\x56\x34\x12" in frame and frame not in seen
        seen.add(frame)
        return [(when, b"\x00") for when, _ in answers] if first else answers

    bus.spoil = noisy
    found, _, done = searched(bus)
    assert numbers(found) == ["12345670", "12345671"]
    assert done.requests < 250


def test_the_search_ends_whatever_the_line_does() -> None:
    bus = Bus()
    bus.spoil = lambda index, answers: [(bus.now + 0.3, b"\x00\xff")]
    found, open_ends, done = searched(bus, slaves=4, manufacturers=(1, 2), attempts=1)
    assert found == []
    assert {event.reason for event in open_ends} >= {"noise"}
    assert done.complete
    assert done.requests <= 3 * (1 + 4 // 2 * (16 * 11 + 2 + 511)) + 2


def test_acknowledgements_of_a_line_that_says_nothing_else_end_as_well() -> None:
    bus = Bus()
    bus.spoil = lambda index, answers: [(bus.now + 0.3, E5)]
    found, open_ends, _ = searched(bus, slaves=4, attempts=1)
    assert found == []
    assert {event.reason for event in open_ends} == {"noise", "no-answer"}


def test_a_limit_of_requests() -> None:
    bus = Bus(meters=Meters([(meter, None) for meter in RANDOM]))
    _, _, done = searched(bus, limit=100)
    assert not done.complete
    assert 100 <= done.requests <= 110


# -- what cannot be told apart ---------------------------------------------------------------------------------


def test_duplicates_are_reported() -> None:
    found, open_ends, _ = searched(population((1, None), (1, None), (2, None)))
    assert numbers(found) == ["00000002"]
    assert open_ends == [Unresolvable(Selection(address(1)), "duplicates")]


def test_duplicates_with_one_fabrication_number() -> None:
    found, open_ends, _ = searched(population((1, "00000007"), (1, "00000007"), (1, "00000008")))
    assert [event.selection.fabrication for event in found] == ["00000008"]
    assert open_ends == [Unresolvable(Selection(address(1), "00000007"), "duplicates")]


def test_a_slave_that_answers_nothing() -> None:
    bus = population((1, None), (2, None))
    assert bus.meters is not None
    bus.meters.mute = {0}
    bus.meters.delay_bits = lambda index: 22 + 40 * index
    found, open_ends, _ = searched(bus)
    assert numbers(found) == ["00000002"]
    assert open_ends == [Unresolvable(Selection(Address(0xFFFF, "00000001", 0xFF, 0xFF)), "no-answer")]


def test_slaves_with_one_address_that_answer_nothing() -> None:
    bus = population((1, "00000007"), (1, "00000008"))
    assert bus.meters is not None
    bus.meters.mute = {0, 1}
    bus.meters.delay_bits = lambda index: 22 + 40 * index
    _, open_ends, _ = searched(bus)
    assert {event.reason for event in open_ends} == {"no-answer"}


def test_a_slave_whose_number_has_other_digits_is_hidden() -> None:
    odd = Address(flag_value("ELS"), "A2345678", 0x33, 0x03)
    bus = Bus(meters=Meters([(odd, None), (Address(flag_value("ELS"), "B2345678", 0x33, 0x03), None)]))
    found, open_ends, _ = searched(bus)
    assert found == []
    assert [event.reason for event in open_ends] == ["hidden"]


def test_a_manufacturer_that_is_not_known_is_passed_over() -> None:
    """The next fields separate what the list of manufacturers does not."""
    meters = [(address(1, "QQA", 1), None), (address(1, "QQB", 2), None), (address(1, "ELS", 3), None)]
    found, open_ends, _ = searched(Bus(meters=Meters(meters)), manufacturers=(flag_value("ELS"),))
    assert {event.address for event in found} == {own for own, _ in meters}
    assert len(found) == 3
    assert open_ends == []


def test_slaves_of_one_type_under_several_versions() -> None:
    meters = [(address(1, version=version, device_type=kind), None) for version in (1, 2) for kind in (3, 4)]
    found, open_ends, _ = searched(Bus(meters=Meters(meters)))
    assert {event.address for event in found} == {own for own, _ in meters}
    assert open_ends == []


class Other(Application):
    """Answers without its address, or with another one."""

    header = b"\x7a\x01\x00\x00\x00"

    def respond(self, access_number: int, now: float, largest: int) -> tuple[bytes, ...]:
        return (self.header + b"\x01\x13\x05",)


def test_a_slave_whose_answer_states_no_address() -> None:
    device = slave()
    device.slaves[0].endpoint = Other(address(12345678))
    found, open_ends, _ = searched(Bus([device]))
    (event,) = found
    assert event.address is None
    assert event.selection == Selection(Address(0xFFFF, "12345678", 0xFF, 0xFF))
    assert open_ends == []


def test_a_slave_that_answers_for_another_device() -> None:
    device = slave()
    other = Other(address(12345678))
    other.header = b"\x72" + address(87654321).transport_octets() + bytes(4)
    device.slaves[0].endpoint = other
    (event,), _, _ = searched(Bus([device]), root=Address(0xFFFF, "1234567F", 0xFF, 0xFF))
    assert event.address == address(87654321)
    assert event.selection.pattern.identification == "12345678"


def test_a_frame_where_an_acknowledgement_belongs() -> None:
    bus = population((11111111, None))
    frame = WiredFrame.long(0x08, 0, b"\x72" + bytes(12)).encode()
    bus.spoil = lambda index, answers: [(bus.now + 0.2, frame)] if index == 1 else answers
    found, _, _ = searched(bus)
    assert numbers(found) == ["11111111"]


def test_a_frame_of_a_master_is_no_answer() -> None:
    bus = population((11111111, None))
    frame = WiredFrame.long(0x53, 0, b"\x72" + bytes(12)).encode()
    bus.spoil = lambda index, answers: [(bus.now + 0.2, frame)] if index == 2 else answers
    found, _, _ = searched(bus)
    assert numbers(found) == ["11111111"]


@pytest.mark.parametrize(
    ("data", "stated"),
    [
        (b"\x72" + address(7).transport_octets() + bytes(4), address(7)),
        (b"\x70\x08", None),
        (b"\x7a" + bytes(12), None),
        (b"\x78" + bytes(12), None),
        (b"\x90\x02\x01\x40\x72" + address(7).transport_octets() + bytes(4), address(7)),
        (b"\x90\x02\x02\x40" + bytes(20), None),
        (b"\x90", None),
        (b"\x73" + bytes(16), None),
        (b"\x73" + address(7).transport_octets() + bytes(9), address(7)),
        (b"\x72" + bytes(7), None),
        (b"\x8c" + bytes(12), None),
        (b"\xa3" + bytes(12), None),
        (b"", None),
    ],
)
def test_the_address_that_an_answer_states(data: bytes, stated: Address | None) -> None:
    assert address_of(data) == stated


# -- the order of questions -------------------------------------------------------------------------------------


def test_digits_that_tell_nothing_apart_are_asked_last() -> None:
    bus = Bus(meters=Meters([(meter, None) for meter in TENS]))
    told = bus.run(SecondarySearch(TIMING), Start())
    positions = [event.position for event in told if isinstance(event, Progress)]
    gaps = [position for position in positions if "F" in position.rstrip("F")[:-1] and not position.endswith("F")]
    assert gaps  # the last digit was asked before those in front of it


def test_a_branch_names_its_fields() -> None:
    node = Node(address(1)).child("version", 7).digit(0, "9").digit(9, "8")
    assert node.pattern == address(90000001, version=7)
    assert node.fabrication == "F8FFFFFF"
    assert node.swept == ("version",)
    assert node.full


def test_the_tree_can_be_asked_without_a_line() -> None:
    tree = SearchTree((1,), slaves=250)
    walk = tree.walk()
    assert next(walk) == Probe(Node(Address(0xFFFF, "FFFFFFFF", 0xFF, 0xFF)))
    with pytest.raises(StopIteration):
        walk.send(Verdict("alone", address(5), bytes(20)))
    assert [one.address for one in tree.found] == [address(5)]


# -- stopping and wrong events -----------------------------------------------------------------------------------


@pytest.mark.parametrize("requests", [1, 2, 3, 4])
def test_a_search_can_be_stopped(requests: int) -> None:
    bus = population((1, None))
    machine = SecondarySearch(TIMING)
    bus._route(machine.receive(Start(), 0.0))
    while len(bus.sent) < requests:
        if bus._due:
            bus.now, _, octets = bus._due.pop(0)
            bus._route(machine.receive(octets, bus.now))
        else:
            bus.now = machine.deadline or 0.0
            bus._route(machine.timeout(bus.now))
    bus._due.clear()
    told = bus.run(machine, StopSearch())
    assert told == [SearchDone(requests + 1, 0, False)]
    assert bus.sent[-1] == bytes.fromhex("1040FD3D16")
    with pytest.raises(ProtocolError):
        machine.receive(Start(), bus.now)


def test_before_and_after_octets_mean_nothing() -> None:
    machine = SecondarySearch(TIMING)
    assert machine.receive(Octets(E5), 0.0) == []
    assert machine.timeout(1.0) == []
    machine.receive(Start(), 1.0)
    assert machine.timeout(1.0) == []


# -- the scan of primary addresses --------------------------------------------------------------------------------


def scanned(bus: Bus, **options: Any) -> tuple[list[PrimarySeen], SearchDone]:
    machine = PrimaryScan(TIMING, **options)
    told = bus.run(machine, Start())
    assert machine.state is ScanState.DONE
    done = told[-1]
    assert isinstance(done, SearchDone)
    assert done.requests == len(bus.sent)
    return [event for event in told if isinstance(event, PrimarySeen)], done


def test_primary_addresses() -> None:
    bus = Bus([slave(1, 3), slave(2, 250), slave(3, 251)])
    seen, done = scanned(bus)
    assert [(event.primary, event.kind, event.address) for event in seen] == [
        (3, "slave", address(1)),
        (250, "slave", address(2)),
    ]
    assert done == SearchDone(3 * 249 + 2 * 2, 2, True)


def test_several_slaves_at_one_primary_address() -> None:
    bus = Bus([slave(1, 0), slave(2, 0), slave(3, 1)])
    application(bus.slaves[1]).telegrams = [bytes(9)]
    seen, done = scanned(bus, addresses=(0, 1))
    assert [(event.primary, event.kind) for event in seen] == [(0, "several"), (1, "slave")]
    assert done.found == 2


def test_a_slave_without_data_at_a_primary_address() -> None:
    bus = Bus([slave(1, 7, telegrams=())])
    seen, _ = scanned(bus, addresses=(7,))
    assert seen == [PrimarySeen(7, "mute")]


@pytest.mark.parametrize("octets", [E5, b"\x00", WiredFrame.long(0x08, 8, b"\x72" + bytes(12)).encode()])
def test_what_is_no_answer_of_the_address(octets: bytes) -> None:
    bus = Bus([slave(1, 7)])
    bus.spoil = lambda index, answers: [(when, octets) for when, _ in answers] if index else answers
    seen, _ = scanned(bus, addresses=(7,), attempts=1)
    assert [event.kind for event in seen] == ["mute" if octets == E5 else "several"]


def test_a_frame_instead_of_an_acknowledgement() -> None:
    bus = Bus([slave(1, 7)])
    frame = WiredFrame.long(0x08, 7, b"\x72" + bytes(12)).encode()
    bus.spoil = lambda index, answers: [(when, frame) for when, _ in answers]
    seen, _ = scanned(bus, addresses=(7,), attempts=1)
    assert [event.kind for event in seen] == ["several"]


@pytest.mark.parametrize("octets", [None, E5])
def test_a_scan_can_be_stopped(octets: bytes | None) -> None:
    machine = PrimaryScan(TIMING)
    assert machine.receive(Octets(E5), 0.0) == []
    machine.receive(Start(), 0.0)
    assert machine.timeout(0.0) == []
    if octets:
        machine.receive(Octets(octets), 0.1)
        machine.timeout(machine.deadline or 0.0)
    (done,) = machine.receive(StopSearch(), 1.0)
    assert done == SearchDone(2 if octets else 1, 0, False)
    assert machine.deadline is None


# -- the tables ---------------------------------------------------------------------------------------------------


def scenarios() -> list[Callable[[], None]]:
    return [
        item
        for name, item in globals().items()
        if name.startswith("test_") and not name.startswith("test_every_row") and not inspect.signature(item).parameters
    ]


def test_every_row_of_the_search() -> None:
    with every_row(SecondarySearch):
        for scenario in scenarios():
            scenario()
        for late in (b"", E5, b"\x00"):
            test_the_second_request_is_not_answered_as_the_first(late)
        for requests in range(1, 5):
            test_a_search_can_be_stopped(requests)
        for octets in (E5, b"\x00", WiredFrame.long(0x08, 7, b"\x72" + bytes(12)).encode()):
            for first in (True, False):
                bus = Bus()
                bus.spoil = lambda index, answers, first=first, octets=octets: (  # type: ignore[misc]
                    [(bus.now + 0.2, octets)] if (index == 0) is first else answers  # noqa: B023
                )
                searched(bus, slaves=2, manufacturers=(), attempts=1)


def test_every_row_of_the_scan() -> None:
    with every_row(PrimaryScan):
        for scenario in scenarios():
            scenario()
        for stop in (None, E5):
            test_a_scan_can_be_stopped(stop)
        for octets in (E5, b"\x00", WiredFrame.long(0x08, 8, b"\x72" + bytes(12)).encode()):
            test_what_is_no_answer_of_the_address(octets)
        bus = Bus([slave(1, 7)])
        bus.spoil = lambda index, answers: [(when, b"\x00") for when, _ in answers]
        scanned(bus, addresses=(7,))


SEARCH_EVENTS: dict[type, object] = {
    **{kind: kind() for kind in (Start, StopSearch, on.Exhausted, on.Nothing, on.Acknowledged, on.Disturbed, on.Again)},
    on.NextBranch: on.NextBranch(Probe(Node(address()))),
    on.Answered: on.Answered(None),  # type: ignore[arg-type]
    on.Judged: on.Judged(Verdict("empty")),
}
SCAN_EVENTS: dict[type, object] = {
    **{kind: kind() for kind in (Start, StopSearch, on.Exhausted, on.Nothing, on.Acknowledged, on.Disturbed, on.Again)},
    scan.NextAddress: scan.NextAddress(),
    on.Answered: on.Answered(None),  # type: ignore[arg-type]
    scan.Judged: scan.Judged(None),
}


def test_what_is_not_in_the_tables_is_an_error() -> None:
    assert_nothing_else(SecondarySearch(TIMING), SearchState, SEARCH_EVENTS)
    assert_nothing_else(PrimaryScan(TIMING), ScanState, SCAN_EVENTS)
