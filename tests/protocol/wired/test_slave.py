"""The wired slave as transceiver: times, disturbances, rates, several logical slaves, budget; every row of its table.

Ids P-xx: OMS Volume 2 Annex P.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.codec.address import Address, Selection
from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.errors import OutOfRange
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Octets, PowerUp, Transmit
from openmetering.protocol.wired import slave as at
from openmetering.protocol.wired.logical import LogicalSlave
from openmetering.protocol.wired.master import LineTiming, ReadoutDone, ReadPrimary, ReadSecondary, WiredMaster
from openmetering.protocol.wired.slave import Budget, SlaveConfig, SlaveState, WiredSlave
from openmetering.protocol.wired.timing import LineRate
from tests.protocol.tables import assert_nothing_else, every_row
from tests.protocol.wired_bus import Application, Bus, address, application, slave

E5 = b"\xe5"
BIT = 1 / 2400
NKE = WiredFrame.short(0x40, 5).encode()
ASK = WiredFrame.short(0x7B, 5).encode()
RESET = WiredFrame.long(0x73, 5, bytes.fromhex("51FDFFFF07")).encode()
FAST = (300, 2400, 9600)


def awake(device: WiredSlave | None = None, **config: Any) -> WiredSlave:
    """A slave that has had power for long."""
    device = device or slave(primary=5, config=SlaveConfig(**config))
    device.receive(PowerUp(), -100.0)
    device.timeout(-50.0)
    assert device.state is SlaveState.LISTENING
    return device


def answers(events: list[Any]) -> list[bytes]:
    return [event.frame for event in events if isinstance(event, Transmit)]


def select_all() -> bytes:
    return WiredFrame.long(0x53, 253, b"\x52" + Selection(Address(0xFFFF, "FFFFFFFF", 0xFF, 0xFF)).encode()).encode()


# -- power and times ------------------------------------------------------------------------------


def test_nothing_is_heard_before_power_and_until_ready_p_06() -> None:
    device = slave(primary=5, config=SlaveConfig(ready=2.5))
    assert device.receive(Octets(NKE), 0.0) == []
    assert device.deadline is None
    assert device.timeout(1.0) == []
    device.receive(PowerUp(), 10.0)
    assert device.state is SlaveState.STARTING
    assert device.deadline == 12.5
    assert device.receive(Octets(NKE), 12.4) == []
    assert device.timeout(12.4) == []
    assert device.timeout(12.5) == []
    assert device.state is SlaveState.LISTENING
    assert answers(device.receive(Octets(NKE), 12.6)) == [E5]


def test_a_slave_is_ready_without_anybody_looking_at_its_deadline() -> None:
    device = slave(primary=5)
    device.receive(PowerUp(), 0.0)
    assert answers(device.receive(Octets(NKE), 2.0)) == [E5]


def test_the_answer_comes_after_11_bits_and_before_330_bits_and_50_ms_p_15() -> None:
    (sent,) = awake().receive(Octets(NKE), 10.0)
    assert sent == Transmit(E5, pytest.approx(10.0 + 22 * BIT), pytest.approx(10.0 + 330 * BIT + 0.05))
    (sent,) = awake(delay_bits=330, delay=0.05).receive(Octets(NKE), 10.0)
    assert sent.not_before == sent.not_after == pytest.approx(10.0 + 330 * BIT + 0.05)


@pytest.mark.parametrize(
    "config",
    [
        {"delay_bits": 10},
        {"delay_bits": 331},
        {"delay": 0.051},
        {"delay": -0.01},
        {"ready": 3.1},
        {"longest": 256},
        {"bauds": ()},
    ],
)
def test_times_outside_the_standard_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(OutOfRange):
        slave(config=SlaveConfig(**config))


def test_power_loss_ends_everything_volatile() -> None:
    device = awake()
    device.receive(Octets(select_all()), 0.0)
    device.receive(Octets(ASK[:2]), 1.0)
    device.receive(PowerUp(), 2.0)
    assert device.state is SlaveState.STARTING
    assert answers(device.receive(Octets(NKE), 9.0)) == [E5]
    assert answers(device.receive(Octets(WiredFrame.short(0x7B, 253).encode()), 10.0)) == []


# -- characters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_frame_in_pieces(size: int) -> None:
    device = awake()
    out: list[Any] = []
    for start in range(0, 5, size):
        piece = ASK[start : start + size]
        out += device.receive(Octets(piece), 1.0 + min(start + size, 5) * 11 * BIT)
    assert len(answers(out)) == 1


def damaged(place: int) -> bytes:
    return RESET[:place] + bytes((RESET[place] ^ 0x01,)) + RESET[place + 1 :]


@pytest.mark.parametrize(
    "octets",
    [
        ASK[:-1] + b"\x17",
        ASK[:-2] + bytes((ASK[-2] ^ 1, 0x16)),
        ASK + b"\x00",
        ASK + ASK,
        b"\x00" + ASK,
        *(damaged(place) for place in (0, 1, 2, 3, 4, 5, 6, 11, 12)),
    ],
    ids=lambda octets: octets.hex(),
)
def test_a_damaged_frame_is_not_answered_p_16(octets: bytes) -> None:
    device = awake()
    assert device.receive(Octets(octets), 1.0) == []
    assert application(device).commands == []


def test_a_mark_of_parity_errors_is_a_disturbance() -> None:
    device = awake()
    assert device.receive(Octets(ASK, disturbed=True), 1.0) == []
    assert device.state is SlaveState.DISTURBED


@pytest.mark.parametrize(("pause", "heard"), [(0, False), (21.9, False), (22, True), (33, True)])
@pytest.mark.parametrize("first", [ASK[:-1] + b"\x17", ASK[:3]])
def test_22_bits_end_a_disturbed_frame_p_16(first: bytes, pause: float, heard: bool) -> None:
    device = awake()
    device.receive(Octets(first), 1.0)
    out = device.receive(Octets(ASK), 1.0 + (pause + 55) * BIT)
    assert bool(answers(out)) is heard


@pytest.mark.parametrize(("baud", "pause"), [(300, 0.0733), (2400, 0.00917), (9600, 0.00229)])
def test_the_pause_in_seconds_p_16(baud: int, pause: float) -> None:
    for factor, heard in ((0.99, False), (1.01, True)):
        device = awake(bauds=FAST)
        device.tune(baud)
        device.receive(Octets(b"\x00"), 1.0)
        out = device.receive(Octets(ASK), 1.0 + pause * factor + 55 / baud)
        assert bool(answers(out)) is heard


def test_a_slave_that_answers_does_not_listen() -> None:
    device = awake()
    (sent,) = device.receive(Octets(NKE), 1.0)
    assert device.state is SlaveState.ANSWERING
    end = sent.not_before + 11 * BIT
    assert device.receive(Octets(ASK), end) == []  # began while E5 was on its way
    assert len(answers(device.receive(Octets(ASK), end + 0.1))) == 1


def test_frames_that_are_too_long_for_the_device() -> None:
    device = awake(longest=20)
    short, long = (WiredFrame.long(0x73, 5, b"\x51" + bytes(size)).encode() for size in (17, 18))
    assert answers(device.receive(Octets(short), 1.0)) == [E5]
    assert device.receive(Octets(long), 2.0) == []
    assert len(application(device).commands) == 1


def test_frames_of_slaves_are_ignored() -> None:
    device = awake(slave(primary=0))
    assert device.receive(Octets(E5), 1.0) == []
    assert device.receive(Octets(WiredFrame.long(0x08, 0, b"\x72" + bytes(12)).encode()), 2.0) == []


def test_the_longest_answer_fills_a_frame() -> None:
    device = awake(slave(primary=5, telegrams=[bytes(240)]))
    (frame,) = answers(device.receive(Octets(ASK), 1.0))
    assert len(frame) == 261
    assert unframe(frame)[1] == b""


# -- rates -------------------------------------------------------------------------------------------------


def test_the_rate_is_detected_p_10() -> None:
    device = awake(bauds=FAST)
    assert (device.tune(9600), device.baud) == (True, 9600)
    assert (device.tune(4800), device.baud) == (False, 9600)
    (sent,) = device.receive(Octets(NKE), 1.0)
    assert sent.not_before == pytest.approx(1.0 + 22 / 9600)
    fixed = awake(bauds=FAST, detects=False)
    assert (fixed.tune(9600), fixed.tune(2400), fixed.baud) == (False, True, 2400)


def test_the_rate_changes_behind_the_acknowledgement() -> None:
    device = awake(bauds=FAST, detects=False)
    frame = WiredFrame.long(0x73, 5, b"\xbd").encode()
    (sent,) = device.receive(Octets(frame), 1.0)
    assert (sent.frame, device.baud) == (E5, 2400)
    end = sent.not_before + 11 * BIT
    assert device.deadline == pytest.approx(end)
    assert device.timeout(end) == [LineRate(9600)]
    assert (device.baud, device.slaves[0].memory.baud) == (9600, 9600)
    assert WiredSlave(device.slaves, device.config).baud == 9600  # kept over a power cut


def test_a_power_cut_before_the_acknowledgement_is_out_keeps_the_rate() -> None:
    device = awake(bauds=FAST)
    device.receive(Octets(WiredFrame.long(0x73, 5, b"\xbd").encode()), 1.0)
    device.receive(PowerUp(), 1.001)
    device.timeout(5.0)
    assert (device.baud, device.deadline) == (2400, None)


def test_the_rate_of_all_changes_at_once() -> None:
    device = awake(bauds=FAST)
    out = device.receive(Octets(WiredFrame.long(0x53, 255, b"\xbd").encode()), 1.0)
    assert out == [LineRate(9600)]


def test_the_way_back_to_the_old_rate() -> None:
    device = awake(bauds=FAST, detects=False, fall_back=180.0)
    frame = WiredFrame.long(0x53, 255, b"\xbd").encode()
    device.receive(Octets(frame), 1.0)
    assert device.deadline == 181.0
    assert device.timeout(181.0) == [LineRate(2400)]
    assert (device.baud, device.deadline) == (2400, None)


def test_a_valid_frame_at_the_new_rate_is_enough() -> None:
    device = awake(bauds=FAST, detects=False)
    device.receive(Octets(WiredFrame.long(0x53, 255, b"\xbd").encode()), 1.0)
    device.receive(Octets(WiredFrame.short(0x7B, 77).encode()), 100.0)
    assert device.deadline is None
    assert device.baud == 9600


@pytest.mark.parametrize("what", ["disturbed", "answering", "exhausted"])
def test_the_way_back_in_every_state(what: str) -> None:
    device = awake(bauds=FAST, detects=False, budget=Budget(depot=10, refill=0.01) if what == "exhausted" else None)
    device.receive(Octets(WiredFrame.long(0x53, 255, b"\xbd").encode()), 1.0)
    device._fall_back_at = 5.0
    octets = {"disturbed": b"\x00", "answering": NKE, "exhausted": ASK}[what]
    device.receive(Octets(octets), 4.0)
    device._fall_back_at = 5.0
    assert device.state.value == what
    device._busy_until = 6.0
    assert device.receive(Octets(b"\x00"), 5.0)[:1] == [LineRate(2400)]


def test_a_rate_in_memory_that_is_not_supported() -> None:
    logical = LogicalSlave(Application(address()), DeviceMemory(baud=9600))
    assert WiredSlave([logical], SlaveConfig(bauds=(300, 2400))).baud == 300


# -- several logical slaves p_14 ------------------------------------------------------------------------


def several(count: int = 2, *, primaries: tuple[int, ...] = (5, 6, 7), collision: Any = "A5") -> WiredSlave:
    logical = [
        LogicalSlave(Application(address(10000000 + number)), DeviceMemory(primary_address=primaries[number]))
        for number in range(count)
    ]
    return awake(WiredSlave(logical, SlaveConfig(collision=collision, bauds=FAST)))


@pytest.mark.parametrize(("collision", "octets"), [("A5", b"\xa5"), ("E5", b"\xe5\xe5\xe5")])
def test_several_logical_slaves_simulate_a_collision_p_14(collision: str, octets: bytes) -> None:
    device = several(3, collision=collision)
    assert answers(device.receive(Octets(select_all()), 1.0)) == [octets]
    ask = Octets(WiredFrame.short(0x7B, 253).encode())
    assert answers(device.receive(ask, 2.0)) == [octets]
    one = Selection(address(10000001))
    device.receive(Octets(WiredFrame.long(0x53, 253, b"\x52" + one.encode()).encode()), 3.0)
    (answer,) = answers(device.receive(ask, 4.0))
    assert unframe(answer)[0].address == 6


def test_address_254_is_answered_by_one_of_them_p_14() -> None:
    device = several()
    (answer,) = answers(device.receive(Octets(WiredFrame.short(0x7B, 254).encode()), 1.0))
    assert unframe(answer)[0].address == 5


def test_address_255_is_carried_out_by_all_of_them_p_14() -> None:
    device = several()
    assert device.receive(Octets(WiredFrame.long(0x53, 255, b"\x50").encode()), 1.0) == []
    assert [application(device, number).commands for number in range(2)] == [[b"\x50"]] * 2


def test_each_of_them_has_its_own_frame_count_and_application_p_14() -> None:
    device = several()
    for primary in (5, 6):
        device.receive(Octets(WiredFrame.short(0x7B, primary).encode()), float(primary))
    device.receive(Octets(WiredFrame.short(0x7B, 6).encode()), 9.0)
    assert [application(device, number).calls.count("respond") for number in range(2)] == [1, 1]


def test_the_rate_is_that_of_the_whole_device_p_14() -> None:
    device = several()
    device.receive(Octets(WiredFrame.long(0x73, 6, b"\xbd").encode()), 1.0)
    device.timeout(2.0)
    assert [logical.memory.baud for logical in device.slaves] == [9600, 9600]


# -- applications ------------------------------------------------------------------------------------------


def test_events_of_an_application() -> None:
    device = awake()
    application(device).events = (DeviceEvent("primary-address", value=9),)
    sent, event = device.receive(Octets(RESET), 1.0)
    assert (sent.frame, event) == (E5, DeviceEvent("primary-address", value=9))


def test_time_of_an_application() -> None:
    device = awake()
    application(device).deadline = 50.0
    device.receive(Octets(NKE), 1.0)
    assert device.deadline == 50.0
    assert device.timeout(49.0) == []
    assert device.timeout(50.0) == [DeviceEvent("valve", value=1)]
    assert device.deadline is None


# -- budget of a battery device ------------------------------------------------------------------------------


def read(device: WiredSlave, now: float, control: int = 0x4B) -> list[bytes]:
    return answers(device.receive(Octets(WiredFrame.short(control, 5).encode()), now))


def test_a_battery_device_says_error_09_before_it_is_silent() -> None:
    device = awake(budget=Budget(depot=150, refill=50.0, release=120, floor=100))
    device.receive(Octets(select_all()), -1.0)
    seen = [read(device, float(second)) for second in range(8)]
    kinds = [unframe(frames[0])[0].data[0] if frames else None for frames in seen]
    assert kinds[:2] == [0x72, 0x72]
    assert kinds[kinds.index(0x70) + 1 :] == [None] * (7 - kinds.index(0x70))
    assert seen[kinds.index(0x70)] == [WiredFrame.long(0x08, 5, b"\x70\x09").encode()]
    assert device.state is SlaveState.EXHAUSTED
    assert device.slaves[0].state.value == "deselected"
    assert application(device).calls.count("respond") == 2
    assert kinds == [unframe(frames[0])[0].data[0] if frames else None for frames in seen]
    assert read(device, 20.0) == []
    assert len(read(device, 120.0)) == 1


def test_a_command_that_the_budget_does_not_cover_is_not_carried_out() -> None:
    device = awake(budget=Budget(depot=50, floor=100))
    assert device.receive(Octets(RESET), 1.0) == []
    assert application(device).commands == []
    assert device.state is SlaveState.EXHAUSTED


def test_what_needs_no_application_is_answered_without_budget() -> None:
    device = awake(budget=Budget(depot=50, floor=100))
    assert answers(device.receive(Octets(NKE), 1.0)) == [E5]
    assert answers(device.receive(Octets(select_all()), 2.0)) == [E5]
    assert read(device, 3.0, 0x7A) == [WiredFrame.long(0x08, 5, b"\x70\x09").encode()]


def test_the_depot_of_annex_p_lasts() -> None:
    device = awake(budget=Budget())
    cost = len(ASK) + len(read(device, 0.0)[0])
    device.receive(Octets(NKE), 10.0)
    assert device._fill(10.0) == pytest.approx(30_000 - cost + 10 * 50 / 60 - len(NKE) - 1)
    assert device._fill(10_000.0) == 30_000


# -- together with the master -----------------------------------------------------------------------------------


def test_forty_slaves_are_read_by_primary_and_secondary_address() -> None:
    bus = Bus([slave(10000000 + number, number + 1) for number in range(40)])
    master = WiredMaster(LineTiming(2400, 0.0, 0.0))
    for number in (0, 17, 39):
        told = bus.run(master, ReadPrimary(number + 1))
        assert told[-1] == ReadoutDone(ReadPrimary(number + 1), 1)
        target = ReadSecondary(Selection(address(10000000 + number)))
        told = bus.run(master, target)
        assert told[-1] == ReadoutDone(target, 1)
        assert unframe(told[0].frame)[0].address == number + 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=12), st.booleans(), st.floats(0.001, 0.5)), max_size=8))
def test_whatever_comes_it_listens_again(noise: list[tuple[bytes, bool, float]]) -> None:
    device = awake()
    now = 1.0
    for octets, disturbed, pause in noise:
        now += pause
        device.receive(Octets(octets, disturbed), now)
    assert answers(device.receive(Octets(NKE), now + 1.0)) == [E5]


# -- the table ----------------------------------------------------------------------------------------------------

EVENTS: dict[type, object] = {
    PowerUp: PowerUp(),
    at.FrameRead: at.FrameRead(WiredFrame.short(0x7B, 5), ASK),
    **{kind: kind() for kind in (at.Ready, at.Characters, at.Pause, at.Incomplete, at.Damaged, at.Sent, at.Refilled,
                                 at.RateDue, at.FallBack)},
    **{kind: kind(E5) for kind in (at.AnswerDue, at.Overdrawn)},
}  # fmt: skip


def test_every_row() -> None:
    scenarios = [
        item
        for name, item in globals().items()
        if name.startswith("test_") and name != "test_every_row" and not inspect.signature(item).parameters
    ]
    with every_row(WiredSlave):
        for scenario in scenarios:
            scenario()
        for what in ("disturbed", "answering", "exhausted"):
            test_the_way_back_in_every_state(what)
        for first in (ASK[:-1] + b"\x17", ASK[:3]):
            for pause in (0, 33):
                test_22_bits_end_a_disturbed_frame_p_16(first, pause, pause == 33)
        for state in SlaveState:
            device = slave()
            device.state = state
            device.receive(PowerUp(), 1.0)
            assert device.state is SlaveState.STARTING


def test_what_is_not_in_the_table_is_an_error() -> None:
    assert_nothing_else(slave(), SlaveState, EVENTS)
