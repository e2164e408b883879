"""Sequences of the wired master: octets, frame count bits, repetitions, selection, rates; every row of its table."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest

from openmetering.codec.address import Address, Selection
from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.errors import NotRepresentable, OutOfRange, ProtocolError
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.wired import steps as on
from openmetering.protocol.wired.master import (
    Abort,
    AnswerReceived,
    BaudSet,
    Deselect,
    LineRate,
    LineTiming,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    ReadSecondary,
    SelectSecondary,
    SetBaud,
    State,
    Transact,
    TransactionDone,
    TransactionFailed,
    UseBaud,
    WiredMaster,
)
from openmetering.protocol.wired.slave import SlaveConfig
from tests.protocol.tables import assert_nothing_else, every_row
from tests.protocol.wired_bus import Bus, address, application, slave

TIMING = LineTiming(2400, latency=0.0, gap=0.0)
E5 = b"\xe5"
PRIMARY = ReadPrimary(5)
NUMBER = Selection(address(12345678))
SECONDARY = ReadSecondary(NUMBER)
RESET = bytes.fromhex("51FDFFFF07")
FAST = SlaveConfig(bauds=(300, 2400, 9600))


def master(**options: Any) -> WiredMaster:
    return WiredMaster(TIMING, **options)


def played(bus: Bus, *orders: object, machine: WiredMaster | None = None) -> tuple[list[Any], WiredMaster]:
    """What is told about orders in turn."""
    machine = machine or master()
    told: list[Any] = []
    for order in orders:
        told += bus.run(machine, order)
    assert machine.state is State.IDLE
    assert machine.deadline is None
    return told, machine


def controls(bus: Bus) -> str:
    """C fields of the requests."""
    return " ".join(f"{unframe(frame)[0].control:02X}" for frame in bus.sent)


def expire(machine: WiredMaster) -> list[Any]:
    assert machine.deadline is not None
    return list(machine.timeout(machine.deadline))


# -- sequences at a primary address -----------------------------------------------------------------


def test_a_command_and_its_answer() -> None:
    bus = Bus([slave(primary=5)])
    told, machine = played(bus, Transact(PRIMARY, RESET, "SND-UD"))
    assert bus.sent[:2] == [bytes.fromhex("1040054516"), WiredFrame.long(0x73, 5, RESET).encode()]
    assert bus.sent[2] == WiredFrame.short(0x7B, 5).encode()
    (done,) = told
    assert done == TransactionDone(PRIMARY, done.frames)
    assert [unframe(frame)[0].data[:1] for frame in done.frames] == [b"\x72"]
    assert application(bus.slaves[0]).commands == [RESET]
    assert (machine.fcb(5), machine.fcb(5, send=True)) == (False, False)


def test_request_and_command_have_their_own_frame_count_bit() -> None:
    bus = Bus([slave(primary=5)])
    ask, tell = Transact(PRIMARY, None, "REQ-UD2"), Transact(PRIMARY, RESET, "SND-UD", answer=False)
    told, _ = played(bus, ask, ask, tell, ask, tell, tell)
    assert controls(bus) == "40 7B 5B 73 7B 53 73"
    assert [len(done.frames) for done in told] == [1, 1, 0, 1, 0, 0]
    assert application(bus.slaves[0]).commands == [RESET] * 3


def test_a_command_with_its_answer_in_one() -> None:
    bus = Bus([slave(primary=5)])
    told, machine = played(bus, Transact(PRIMARY, RESET, "SND-UD2"), Transact(PRIMARY, None, "REQ-UD2"))
    assert controls(bus) == "40 43 7B"
    assert [len(done.frames) for done in told] == [1, 1]
    assert machine.fcb(5, send=True) is True


def test_fragments_follow_a_command_in_one() -> None:
    bus = Bus([slave(primary=5, telegrams=(bytes(40),), fragments=3)])
    told, _ = played(bus, Transact(PRIMARY, RESET, "SND-UD2"))
    assert controls(bus) == "40 43 7B 5B"
    assert [unframe(frame)[0].data[2] for frame in told[0].frames] == [1, 2, 3]


def test_annex_n_4_sequence_of_three_fragments() -> None:
    bus = Bus([slave(primary=5, telegrams=(bytes(40),), fragments=3)])
    told, _ = played(bus, Transact(PRIMARY, None, "REQ-UD2"))
    assert controls(bus) == "40 7B 5B 7B"
    assert [unframe(frame)[0].data[:4].hex() for frame in told[0].frames] == ["90020140", "90020240", "90020300"]


def test_a_slave_that_only_acknowledges_snd_ud2() -> None:
    bus = Bus([slave(primary=5)])
    bus.spoil = lambda index, answers: [(when, E5) for when, _ in answers]
    told, _ = played(bus, Transact(PRIMARY, RESET, "SND-UD2"))
    assert told == [TransactionDone(PRIMARY)]


def test_an_answer_to_snd_ud2_that_never_ends() -> None:
    bus = Bus([slave(primary=5, telegrams=[b"\x01\x13\x05"] * 4)])
    told, _ = played(bus, Transact(PRIMARY, RESET, "SND-UD2"), machine=master(limit=1))
    assert told == [TransactionFailed(PRIMARY, "endless", "request", True)]


def test_a_request_that_never_ends() -> None:
    bus = Bus([slave(primary=5, telegrams=[b"\x01\x13\x05"] * 4)])
    told, _ = played(bus, Transact(PRIMARY, None, "REQ-UD2"), machine=master(limit=2))
    assert told == [TransactionFailed(PRIMARY, "endless", "request", False)]


def test_alarms() -> None:
    device = slave(primary=5)
    application(device).alarms = [b"\x71\x04"]
    bus = Bus([device])
    poll = Transact(PRIMARY, None, "REQ-UD1")
    told, _ = played(bus, poll, poll)
    assert controls(bus) == "40 7A 5A"
    assert [unframe(frame)[0].data for frame in told[0].frames] == [b"\x71\x04"]
    assert told[1] == TransactionDone(PRIMARY)


def test_an_alarm_that_says_more_is_one_answer() -> None:
    device = slave(primary=5)
    application(device).alarms = [bytes.fromhex("900201400000")]
    told, _ = played(Bus([device]), Transact(PRIMARY, None, "REQ-UD1"))
    assert len(told[0].frames) == 1


def test_a_quick_poll_waits_33_bits_and_asks_once() -> None:
    machine = master()
    bus = Bus([slave(primary=5)])
    played(bus, Transact(PRIMARY, None, "SND-NKE"), machine=machine)
    bus.slaves.clear()
    start = bus.now
    told, _ = played(bus, Transact(PRIMARY, None, "REQ-UD1", quick=True), machine=machine)
    assert told == [TransactionFailed(PRIMARY, "no-answer", "alarm", False)]
    assert bus.now - start == pytest.approx((55 + 33 + 11) / 2400)
    assert len(bus.sent) == 2


def test_a_request_with_a_transport_header() -> None:
    bus = Bus([slave(primary=5)])
    header = b"\x80" + address().transport_octets() + bytes((0x2A, 0, 0, 0))
    told, _ = played(bus, Transact(PRIMARY, header, "REQ-UD2"))
    assert bus.sent[1] == WiredFrame.long(0x7B, 5, header).encode()
    assert application(bus.slaves[0]).numbers == [0x2A]
    assert len(told[0].frames) == 1


def test_reset_of_the_link() -> None:
    bus = Bus([slave(primary=5)])
    ask, reset = Transact(PRIMARY, None, "REQ-UD2"), Transact(PRIMARY, None, "SND-NKE")
    told, _ = played(bus, reset, ask, reset, ask)
    assert controls(bus) == "40 7B 40 7B"
    assert told[0] == told[2] == TransactionDone(PRIMARY)


def test_a_slave_without_data_acknowledges_the_request() -> None:
    bus = Bus([slave(primary=5)])
    bus.spoil = lambda index, answers: [(when, E5) for when, _ in answers]
    told, machine = played(bus, Transact(PRIMARY, None, "REQ-UD2"), ReadPrimary(5))
    assert told == [TransactionDone(PRIMARY), ReadoutDone(PRIMARY, 0)]
    assert machine.fcb(5) is False


# -- everybody -----------------------------------------------------------------------------------------


def test_everybody_is_told_and_nobody_answers_p_13() -> None:
    bus = Bus([slave(1, 1), slave(2, 2)])
    tell = Transact(ReadPrimary(255), RESET, "SND-UD")
    told, _ = played(bus, tell, tell)
    assert told == [TransactionDone(ReadPrimary(255))] * 2
    assert controls(bus) == "73 53"
    assert [application(device).commands for device in bus.slaves] == [[RESET, RESET]] * 2


def test_after_a_reset_of_all_every_address_is_new() -> None:
    bus = Bus([slave(primary=5)])
    ask = Transact(PRIMARY, None, "REQ-UD2")
    told, _ = played(bus, ask, Transact(ReadPrimary(255), None, "SND-NKE"), ask)
    assert controls(bus) == "40 7B 40 40 7B"
    assert [len(done.frames) for done in told] == [1, 0, 1]


def test_octets_after_a_frame_to_all_are_not_an_answer() -> None:
    machine = master()
    machine.receive(Transact(ReadPrimary(255), RESET, "SND-UD"), 0.0)
    assert machine.receive(Octets(E5), 0.1) == []
    assert expire(machine) == [TransactionDone(ReadPrimary(255))]


# -- selection ------------------------------------------------------------------------------------------


def test_a_selected_slave_stays_selected_for_the_next_sequence() -> None:
    bus = Bus([slave(12345678), slave(87654321)])
    ask, tell = Transact(SECONDARY, None, "REQ-UD2"), Transact(SECONDARY, RESET, "SND-UD")
    told, _ = played(bus, ask, tell, ask)
    assert controls(bus) == "40 53 7B 73 5B 7B"  # deselect, select, then one conversation
    assert {done.selection for done in told} == {NUMBER}
    assert [len(application(device).commands) for device in bus.slaves] == [1, 0]


def test_another_slave_is_selected_after_an_explicit_deselection() -> None:
    bus = Bus([slave(12345678), slave(87654321)])
    other = ReadSecondary(Selection(address(87654321)))
    told, _ = played(bus, Transact(SECONDARY, RESET, "SND-UD"), Transact(other, RESET, "SND-UD"), Deselect())
    assert controls(bus) == "40 53 73 7B 40 53 73 7B 40"
    assert [done.target for done in told[:2]] == [SECONDARY, other]
    assert [len(application(device).commands) for device in bus.slaves] == [1, 1]
    assert {device.slaves[0].state.name for device in bus.slaves} == {"DESELECTED"}


def test_deselection_by_a_sequence() -> None:
    bus = Bus([slave()])
    told, machine = played(bus, Transact(SECONDARY, None, "SND-NKE"), Transact(SECONDARY, None, "REQ-UD2"))
    assert controls(bus) == "40 40 40 40 53 7B"  # nobody was selected: silence, three times; still not sure
    assert told[0] == TransactionDone(SECONDARY)
    told, _ = played(bus, Transact(SECONDARY, None, "SND-NKE"), Transact(SECONDARY, None, "REQ-UD2"), machine=machine)
    assert controls(bus) == "40 40 40 40 53 7B 40 53 7B"


def test_nobody_takes_the_selection() -> None:
    told, _ = played(Bus([slave(1)]), Transact(SECONDARY, RESET, "SND-UD"))
    assert told == [TransactionFailed(SECONDARY, "not-selected", "select", False)]


def test_a_slave_that_was_lost_is_selected_anew() -> None:
    device = slave()
    bus = Bus([device])
    ask = Transact(SECONDARY, None, "REQ-UD2")
    _, machine = played(bus, ask)
    device.slaves[0].forget()  # lost power
    told, _ = played(bus, ask, ask, machine=machine)
    assert told[0] == TransactionFailed(SECONDARY, "no-answer", "request", False)
    assert len(told[1].frames) == 1


def test_select_and_keep() -> None:
    bus = Bus([slave()])
    told, _ = played(bus, SelectSecondary(NUMBER), SelectSecondary(NUMBER), Transact(SECONDARY, RESET, "SND-UD"))
    assert controls(bus) == "40 53 73 7B"
    assert told[0] == told[1] == TransactionDone(SECONDARY, (), NUMBER)


def enhanced(number: str) -> Selection:
    return Selection(address(12345678), number)


def test_the_fabrication_number_is_not_used_where_the_address_separates_p_20() -> None:
    bus = Bus([slave()])  # does not know enhanced selection
    told, _ = played(bus, SelectSecondary(enhanced("00000001")))
    assert controls(bus) == "40 53 7B"
    assert told[0].selection == NUMBER


@pytest.mark.parametrize("delays", [(22, 22), (22, 30), (22, 200)])
def test_the_fabrication_number_separates_where_the_address_does_not_p_20(delays: tuple[int, int]) -> None:
    configs = [SlaveConfig(delay_bits=bits) for bits in delays]
    devices = [slave(fabrication=f"0000000{at}", config=config, own=address()) for at, config in enumerate(configs)]
    application(devices[1]).telegrams = [bytes(30)]
    bus = Bus(devices)
    target = ReadSecondary(enhanced("00000001"))
    told, machine = played(bus, SelectSecondary(target.selection))
    assert told == [TransactionDone(target, (), target.selection)]
    assert bus.sent[-1] == WiredFrame.long(0x53, 253, b"\x52" + target.selection.encode()).encode()
    assert len(bus.sent[-1]) == 0x11 + 6
    told, _ = played(bus, Transact(target, RESET, "SND-UD"), machine=machine)
    assert [len(application(device).commands) for device in devices] == [0, 1]


def test_a_selection_with_wildcards_is_enhanced_at_once() -> None:
    bus = Bus([slave(fabrication="00000001"), slave(fabrication="00000002")])
    selection = Selection(changed(identification="1234FFFF"), "00000002")
    told, _ = played(bus, SelectSecondary(selection))
    assert controls(bus) == "40 53"
    assert told[0].selection == selection


def changed(**changes: Any) -> Address:
    return msgspec.structs.replace(address(), **changes)


def test_a_plain_selection_with_nothing_to_read_is_kept() -> None:
    bus = Bus([slave()])
    bus.spoil = lambda index, answers: [(when, E5) for when, _ in answers]
    told, _ = played(bus, SelectSecondary(enhanced("00000001")))
    assert told[0].selection == NUMBER


def test_a_plain_selection_of_a_slave_with_several_telegrams() -> None:
    told, _ = played(Bus([slave(telegrams=[b"\x01\x13\x05"] * 2)]), SelectSecondary(enhanced("00000001")))
    assert told[0].selection == NUMBER


def test_a_plain_selection_without_answer_to_the_request() -> None:
    device = slave()
    application(device).telegrams = []
    told, _ = played(Bus([device]), SelectSecondary(enhanced("00000001")))
    assert told == [TransactionFailed(ReadSecondary(enhanced("00000001")), "no-answer", "request", False)]


# -- rates -------------------------------------------------------------------------------------------------


def test_another_rate_p_10() -> None:
    device = slave(primary=5, config=FAST)
    bus = Bus([device])
    told, machine = played(bus, SetBaud(PRIMARY, 9600), Transact(PRIMARY, None, "REQ-UD2"))
    assert told[:2] == [LineRate(9600), BaudSet(PRIMARY, 9600)]
    assert bus.sent[1] == bytes.fromhex("680303687305BD3516")
    assert (machine.baud, device.baud, device.slaves[0].memory.baud) == (9600, 9600, 9600)
    assert len(told[2].frames) == 1
    # the next frame comes 33 bits later, at the new rate
    assert bus.times[2] - bus.times[1] > (9 + 1) * 11 / 2400 + 33 / 9600


def test_the_frame_that_sets_a_rate() -> None:
    bus = Bus([slave(config=FAST)])
    played(bus, Transact(ReadPrimary(254), RESET, "SND-UD", answer=False), SetBaud(ReadPrimary(254), 9600))
    assert bus.sent[2] == bytes.fromhex("6803036853FEBD0E16")


def test_another_rate_of_a_selected_slave() -> None:
    bus = Bus([slave(config=FAST), slave(2, config=FAST)])
    told, _ = played(bus, SetBaud(SECONDARY, 9600))
    assert told == [LineRate(9600), BaudSet(SECONDARY, 9600)]
    assert [device.slaves[0].memory.baud for device in bus.slaves] == [9600, 2400]  # the other one only detects it


def test_a_rate_that_the_slave_does_not_know() -> None:
    device = slave(primary=5)
    told, machine = played(Bus([device]), SetBaud(PRIMARY, 9600))
    assert told == [LineRate(9600), LineRate(2400), TransactionFailed(PRIMARY, "rate-refused", "rate", None)]
    assert (machine.baud, device.baud) == (2400, 2400)


@pytest.mark.parametrize("telegrams", [1, 2])
def test_the_acknowledgement_of_a_rate_is_lost(telegrams: int) -> None:
    device = slave(primary=5, config=SlaveConfig(bauds=(300, 2400, 9600), detects=False), telegrams=[b"\x01\x13\x05"] * telegrams)
    bus = Bus([device])
    bus.spoil = lambda index, answers: [] if index == 1 else answers
    told, _ = played(bus, SetBaud(PRIMARY, 9600))
    assert told == [LineRate(9600), BaudSet(PRIMARY, 9600)]


@pytest.mark.parametrize("telegrams", [1, 2])
def test_the_way_back_when_nobody_answers_at_the_new_rate(telegrams: int) -> None:
    bus = Bus([slave(primary=5, config=FAST, telegrams=[b"\x01\x13\x05"] * telegrams)])
    bus.spoil = lambda index, answers: [] if bus.baud == 9600 else answers
    told, machine = played(bus, SetBaud(PRIMARY, 9600))
    assert told == [LineRate(9600), LineRate(2400), TransactionFailed(PRIMARY, "rate-refused", "rate", True)]
    assert controls(bus) == "40 73 7B 7B 7B 7B"
    assert machine.baud == 2400


def test_a_slave_that_is_gone_after_a_rate() -> None:
    bus = Bus([slave(primary=5, config=FAST)])
    bus.spoil = lambda index, answers: [] if index > 1 else answers
    told, _ = played(bus, SetBaud(PRIMARY, 9600))
    assert told[-1] == TransactionFailed(PRIMARY, "no-answer", "rate", True)


@pytest.mark.parametrize("baud", [2400, 9600])
def test_a_slave_without_data_answers_e5_at_its_rate(baud: int) -> None:
    bus = Bus([slave(primary=5, config=FAST)])
    bus.spoil = lambda index, answers: [(when, E5) for when, _ in answers] if bus.baud == baud else answers * (index < 2)
    told, _ = played(bus, SetBaud(PRIMARY, 9600))
    assert told[-1] == (BaudSet(PRIMARY, 9600) if baud == 9600 else TransactionFailed(PRIMARY, "rate-refused", "rate", True))


def test_the_rate_of_all() -> None:
    bus = Bus([slave(1, 1, config=FAST), slave(2, 2, config=FAST)])
    told, _ = played(bus, SetBaud(ReadPrimary(255), 300))
    assert told == [LineRate(300), BaudSet(ReadPrimary(255), 300)]
    assert [device.baud for device in bus.slaves] == [300, 300]


def test_the_master_changes_its_rate_alone() -> None:
    bus = Bus([slave(primary=5)])
    told, machine = played(bus, UseBaud(300), ReadPrimary(5))
    assert told[0] == LineRate(300)
    assert isinstance(told[-1], ReadoutDone)
    assert (bus.slaves[0].baud, machine.timing.baud) == (300, 300)


# -- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "index", "step", "delivered"),
    [
        (Transact(PRIMARY, RESET, "SND-UD"), 0, "reset", False),
        (Transact(PRIMARY, RESET, "SND-UD"), 1, "send", None),
        (Transact(PRIMARY, RESET, "SND-UD"), 2, "request", True),
        (Transact(PRIMARY, RESET, "SND-UD2"), 1, "send", None),
        (Transact(PRIMARY, None, "REQ-UD2"), 1, "request", False),
        (Transact(PRIMARY, None, "REQ-UD1"), 1, "alarm", False),
        (Transact(SECONDARY, RESET, "SND-UD"), 2, "send", None),
    ],
)
def test_where_an_answer_is_missing(order: Transact, index: int, step: str, delivered: bool | None) -> None:
    bus = Bus([slave(primary=5)])
    bus.spoil = lambda at, answers: [] if at >= index else answers
    told, machine = played(bus, order)
    assert told == [TransactionFailed(order.target, "no-answer", step, delivered)]
    assert len(set(bus.sent[index:])) == 1
    assert len(bus.sent[index:]) == 3  # P-18: two repetitions, with the same FCB
    address_field = order.target.address if isinstance(order.target, ReadPrimary) else 253
    assert (machine.fcb(address_field), machine.fcb(address_field, send=True)) == (True, True)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_is_not_a_second_command(lost: int) -> None:
    bus = Bus([slave(primary=5)])
    bus.spoil = lambda at, answers: [] if at == lost else answers
    told, _ = played(bus, Transact(PRIMARY, RESET, "SND-UD"))
    assert len(told[0].frames) == 1
    assert application(bus.slaves[0]).commands == [RESET]


def test_after_a_failure_the_address_is_reset_first() -> None:
    bus = Bus([slave(primary=5)])
    ask = Transact(PRIMARY, None, "REQ-UD2")
    bus.lost = {1, 2, 3}
    told, _ = played(bus, ask, ask)
    assert controls(bus) == "40 7B 7B 7B 40 7B"
    assert isinstance(told[1], TransactionDone)


def test_a_mark_of_parity_errors_counts_as_disturbance() -> None:
    machine = master(attempts=1)
    machine.receive(Transact(PRIMARY, None, "SND-NKE"), 0.0)
    assert machine.receive(Octets(E5, disturbed=True), 0.1) == []
    assert expire(machine) == [TransactionFailed(PRIMARY, "disturbed", "reset", False)]


def test_a_mark_without_octets_counts_as_well() -> None:
    machine = master(attempts=1)
    machine.receive(Transact(PRIMARY, None, "SND-NKE"), 0.0)
    machine.receive(Octets(b"", disturbed=True), 0.1)
    (failed,) = expire(machine)
    assert failed.reason == "disturbed"


def test_33_bits_idle_after_every_failure() -> None:
    machine = master()
    machine.receive(Transact(PRIMARY, None, "SND-NKE"), 0.0)
    lost = machine.deadline
    assert lost is not None
    (again,) = expire(machine)
    assert again == Transmit(bytes.fromhex("1040054516"), pytest.approx(lost + 33 / 2400))


@pytest.mark.parametrize("size", [1, 5])
def test_a_frame_that_is_no_answer_to_a_command(size: int) -> None:
    machine = master(attempts=1)
    machine.receive(Transact(PRIMARY, RESET, "SND-UD"), 0.0)
    machine.receive(Octets(E5), 0.1)
    answer = WiredFrame.long(0x08, 5, bytes(size)).encode()
    assert machine.receive(Octets(answer), 0.2) == []
    assert expire(machine) == [TransactionFailed(PRIMARY, "disturbed", "send", None)]


@pytest.mark.parametrize(
    "order",
    [
        ReadPrimary(253),
        ReadPrimary(255),
        Transact(ReadPrimary(253), None, "REQ-UD2"),
        Transact(ReadPrimary(256), None, "REQ-UD2"),
        Transact(ReadPrimary(255), None, "REQ-UD2"),
        Transact(PRIMARY, None, "SND-UD"),
        Transact(PRIMARY, None, "SND-UD2"),
        Transact(PRIMARY, RESET, "REQ-UD1"),
        Transact(PRIMARY, RESET, "SND-NKE"),
        SetBaud(PRIMARY, 1234),
        SetBaud(ReadPrimary(-1), 2400),
        Abort(),
    ],
    ids=str,
)
def test_orders_that_make_no_sense(order: Any) -> None:
    machine = master()
    with pytest.raises(ProtocolError):
        machine.receive(order, 0.0)
    assert machine.state is State.IDLE
    assert machine.receive(ReadPrimary(5), 0.0)


def test_orders_that_fit_no_frame() -> None:
    machine = master()
    with pytest.raises(OutOfRange):
        machine.receive(Transact(PRIMARY, bytes(254), "SND-UD"), 0.0)
    with pytest.raises((NotRepresentable, OutOfRange)):
        machine.receive(SelectSecondary(Selection(changed(identification="12345"))), 0.0)
    assert machine.state is State.IDLE
    assert machine.receive(ReadPrimary(5), 0.0)


def test_one_order_at_a_time() -> None:
    machine = master()
    machine.receive(ReadPrimary(5), 0.0)
    with pytest.raises(ProtocolError):
        machine.receive(ReadPrimary(6), 0.0)


# -- giving up ------------------------------------------------------------------------------------------------

#: order, number of requests after which it is given up
WAITING = [
    (State.RESETTING, Transact(PRIMARY, RESET, "SND-UD"), 1, False),
    (State.SENDING, Transact(PRIMARY, RESET, "SND-UD"), 2, None),
    (State.REQUESTING, Transact(PRIMARY, RESET, "SND-UD"), 3, True),
    (State.EXCHANGING, Transact(PRIMARY, RESET, "SND-UD2"), 2, None),
    (State.ALARMING, Transact(PRIMARY, None, "REQ-UD1"), 2, False),
    (State.DESELECTING, Transact(SECONDARY, None, "REQ-UD2"), 1, False),
    (State.SELECTING, Transact(SECONDARY, None, "REQ-UD2"), 2, False),
    (State.PROBING, SelectSecondary(enhanced("00000001")), 3, False),
    (State.BROADCASTING, Transact(ReadPrimary(255), RESET, "SND-UD"), 1, None),
    (State.SWITCHING, SetBaud(PRIMARY, 9600), 2, None),
    (State.VERIFYING, SetBaud(PRIMARY, 9600), 3, True),
    (State.RESTORING, SetBaud(PRIMARY, 9600), 6, True),
    (State.LEAVING, Deselect(), 1, False),
]


def stopped(order: object, requests: int) -> WiredMaster:
    """A master in the middle of an order."""
    bus = Bus([slave(primary=5, config=FAST)])
    bus.spoil = lambda index, answers: [] if bus.baud == 9600 or index + 1 >= requests else answers
    machine = master()
    out = machine.receive(order, 0.0)  # type: ignore[arg-type]
    while True:
        bus._route(out)
        if len(bus.sent) == requests:
            return machine
        if bus._due:
            bus.now, _, octets = bus._due.pop(0)
            out = machine.receive(octets, bus.now)
        else:
            bus.now = machine.deadline or bus.now
            out = machine.timeout(bus.now)


def assert_given_up(state: State, order: Any, requests: int, delivered: bool | None) -> None:
    machine = stopped(order, requests)
    assert machine.state is state
    (failed,) = machine.receive(Abort(), 50.0)
    assert isinstance(failed, TransactionFailed)
    assert (failed.reason, failed.step, failed.delivered) == ("aborted", "abort", delivered)
    assert machine.state is State.IDLE
    assert machine.deadline is None


@pytest.mark.parametrize(("state", "order", "requests", "delivered"), WAITING, ids=lambda value: str(value)[:30])
def test_giving_up(state: State, order: Any, requests: int, delivered: bool | None) -> None:
    assert_given_up(state, order, requests, delivered)


def assert_all_attempts_are_used(state: State, order: Any, requests: int) -> None:
    machine = stopped(order, requests)
    out: list[Any] = []
    for _ in range(3):
        assert machine.state is state
        out = expire(machine)
    assert machine.state is State.IDLE
    assert isinstance(out[-1], TransactionFailed | TransactionDone)


LOST = [row[:3] for row in WAITING if row[0] not in (State.DESELECTING, State.BROADCASTING, State.SWITCHING, State.VERIFYING)]


@pytest.mark.parametrize(("state", "order", "requests"), LOST, ids=lambda value: str(value)[:30])
def test_all_attempts_are_used(state: State, order: Any, requests: int) -> None:
    assert_all_attempts_are_used(state, order, requests)


# -- the table --------------------------------------------------------------------------------------------------

EVENTS: dict[type, object] = {
    **{kind: kind() for kind in (on.NeedsReset, on.NeedsDeselection, on.NeedsSelection, on.ForAll, on.Addressed, on.ToSend,
                                 on.ToExchange, on.ToAsk, on.ToAlarm, on.ToProbe, on.ToSwitch, on.Complete, on.ToLeave,
                                 on.Settled, on.Acknowledged, on.PlainFails, on.Elapsed, Abort, Deselect)},
    **{kind: kind(b"") for kind in (on.AnswerMore, on.AnswerLast, on.AnswerEndless)},
    **{kind: kind(False) for kind in (on.AttemptLost, on.AttemptsLost)},
    ReadPrimary: PRIMARY,
    ReadSecondary: SECONDARY,
    Transact: Transact(PRIMARY, None, "REQ-UD2"),
    SelectSecondary: SelectSecondary(NUMBER),
    SetBaud: SetBaud(PRIMARY, 300),
    UseBaud: UseBaud(300),
}  # fmt: skip


def test_every_row() -> None:
    scenarios = [
        item
        for name, item in globals().items()
        if name.startswith("test_") and name != "test_every_row" and not inspect.signature(item).parameters
    ]
    with every_row(WiredMaster):
        for scenario in scenarios:
            scenario()
        for telegrams in (1, 2):
            test_the_acknowledgement_of_a_rate_is_lost(telegrams)
            test_the_way_back_when_nobody_answers_at_the_new_rate(telegrams)
        for baud in (2400, 9600):
            test_a_slave_without_data_answers_e5_at_its_rate(baud)
        for delays in ((22, 22), (22, 30)):
            test_the_fabrication_number_separates_where_the_address_does_not_p_20(delays)
        for state, order, requests, delivered in WAITING:
            assert_given_up(state, order, requests, delivered)
        for state, order, requests in LOST:
            assert_all_attempts_are_used(state, order, requests)
        for answer in (E5, None):
            read_secondary(answer)


def read_secondary(answer: bytes | None) -> None:
    """A readout by secondary address; something acknowledges the deselection before it, or its time is up at once."""
    machine = master(attempts=1 if answer is None else 3)
    machine.receive(SECONDARY, 0.0)
    if answer is None:
        expire(machine)
    else:
        machine.receive(Octets(answer), 0.1)
    assert machine.state is State.SELECTING


def test_what_is_not_in_the_table_is_an_error() -> None:
    assert_nothing_else(master(), State, EVENTS)


def test_a_readout_fails_as_readout() -> None:
    told, _ = played(Bus([]), ReadPrimary(5))
    assert told == [ReadoutFailed(PRIMARY, "no-answer", "reset", 0)]


def test_a_readout_tells_every_frame() -> None:
    told, _ = played(Bus([slave(telegrams=[b"\x01\x13\x05"] * 3)]), SECONDARY)
    assert [event.number for event in told if isinstance(event, AnswerReceived)] == [0, 1, 2]
    assert told[-1] == ReadoutDone(SECONDARY, 3)
