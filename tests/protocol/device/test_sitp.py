"""The SITP container on a device: proofs, counters, target times, transactions, answers; in every profile."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from openmetering.codec.apl.security_transfer import IMMEDIATE, INVALID_TIME, SecuredData, SitpBlock, decode, target_time
from openmetering.protocol.device import sitp
from openmetering.protocol.device.build import GivenKey
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Outcome
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.security import BlockCipher, asp10_mac
from tests.protocol.device.partner import APPLICATION, KEYS, MASTER, WAYS, Partner, device, reborn, secured
from tests.protocol.device.test_application import Script

CONNECT, DISCONNECT = "01 FD 1F 01", "01 FD 1F 00"
BREAKER = {"disconnector": {"output_state": False}, "clock": {}, "supervision": {}}
NOW = 50.0


def memory() -> DeviceMemory:
    return DeviceMemory(
        keys=[
            KeySlot(0x00, 0, MASTER, True),
            KeySlot(0x20, 0, APPLICATION, True),
            KeySlot(0x20, 1, bytes(16), False),
            KeySlot(0x21, 3, APPLICATION, True, 9),
        ]
    )


def carry(payload: bytes, script: Script, held: DeviceMemory | None = None) -> sitp.Carried:
    def dispatch(instruction: Instruction) -> tuple[Script, Outcome] | None:
        outcome = script.execute(instruction, NOW)
        return None if outcome is None else (script, outcome)

    return sitp.carry_out(payload, held if held is not None else memory(), NOW, dispatch)


def answered(carried: sitp.Carried) -> list[tuple[int, int, bytes]]:
    """BCF, DSI and content of each block of the answer."""
    assert carried.error is None
    return [(block.control, block.structure, block.content) for block in decode(carried.payload).blocks]


def twice(outcome: Outcome) -> Script:
    """The same for rehearsal and execution."""
    return Script(outcome, outcome)


# -- ASP10 ---------------------------------------------------------------------------------------------------


def test_rehearsed_then_carried_out() -> None:
    script = Script(Outcome(), Outcome(payload=bytes.fromhex(CONNECT), events=(DeviceEvent("valve"),)))
    held = memory()
    carried = carry(secured(0x20, 15, CONNECT), script, held)
    assert [one.rehearse for one in script.asked] == [True, False]
    assert [(one.protocol, one.key_id, one.at) for one in script.asked] == [("m-bus", 0x20, NOW)] * 2
    assert script.asked[0].records[0].content == 1
    assert carried.events == (DeviceEvent("valve"), DeviceEvent("executed", "key 20h", 15))
    assert held.keys[1].counter == 15
    assert held.executed == 1


def test_the_answer_has_counter_time_and_an_own_proof() -> None:
    time = target_time(7)
    script = twice(Outcome(payload=b"\x01\xfd\x1f\x00\x01\xfd\x1a\x00"))
    ((control, structure, content),) = answered(carry(secured(0x20, 15, CONNECT, time=time), script))
    assert (control, structure) == (0xA0, 0x32)
    data = SecuredData.decode(content)
    assert (data.counter, data.target_time, data.pid) == (15, time, 1)
    assert data.mac == asp10_mac(BlockCipher(APPLICATION), 15, time, 1, data.apdu)
    assert script.asked[1].at == NOW + 7


@pytest.mark.parametrize(
    ("outcome", "status", "refused"),
    [
        (Outcome(), 0x00, False),
        (Outcome(status=0x00), 0x00, False),
        (Outcome(status=0x01), 0x01, False),
        (Outcome(status=0x23), 0x23, True),
    ],
)
def test_an_outcome_without_octets_is_a_status(outcome: Outcome, status: int, refused: bool) -> None:
    carried = carry(secured(0x20, 15, CONNECT), twice(outcome))
    assert answered(carried) == [(0xA0, 0x22, bytes((status,)))]
    assert carried.refused is refused


@pytest.mark.parametrize(
    ("key_id", "version"),
    [(0x22, 0), (0x20, 1), (0x20, 2), (0x20, 0xFF), (0x21, 0), (0x00, 0), (0x10, 0), (0xFF, 0xFF)],
)
def test_a_key_that_is_unknown_not_active_or_none_of_an_application_is_status_19(key_id: int, version: int) -> None:
    script = twice(Outcome())
    carried = carry(secured(key_id, 15, CONNECT, version=version), script)
    assert answered(carried) == [(0xA0, 0x22, b"\x19")]
    assert carried.refused
    assert script.asked == []


def test_a_wrong_proof_is_error_20() -> None:
    held = memory()
    assert carry(secured(0x20, 15, CONNECT, key=MASTER), twice(Outcome()), held).error == 0x20
    assert held.keys[1].counter == 0


@pytest.mark.parametrize("counter", [0, 8, 9])
def test_a_counter_that_does_not_advance_is_error_20(counter: int) -> None:
    assert carry(secured(0x21, counter, "01 1E 00 00", pid=4, version=3), twice(Outcome())).error == 0x20


@pytest.mark.parametrize("part", range(9))
def test_every_part_of_a_command_is_proven(part: int) -> None:
    """Counter, target time, PID, APDU and MAC; BL, BID, BCF, DSI and DSH are not covered."""
    octets = bytearray(secured(0x20, 15, CONNECT))
    octets[(8, 11, 12, 15, 16, 17, 18, 21, 25)[part]] ^= 1
    assert carry(bytes(octets), twice(Outcome())).error == 0x20


@pytest.mark.parametrize(
    ("time", "at"),
    [(IMMEDIATE, NOW), (target_time(45), NOW + 45), (INVALID_TIME, sitp.NO_AUTOMATIC_ACTION)],
)
def test_target_times(time: bytes, at: float) -> None:
    script = twice(Outcome())
    carry(secured(0x20, 15, CONNECT, time=time), script)
    assert script.asked[0].at == at


@pytest.mark.parametrize("time", ["00 00 00 00 31", "05 00 00 80 30", "FF FF FF FF FF"])
def test_other_target_times_are_status_23(time: str) -> None:
    script = twice(Outcome())
    carried = carry(secured(0x20, 15, CONNECT, time=bytes.fromhex(time)), script)
    assert answered(carried) == [(0xA0, 0x22, b"\x23")]
    assert script.asked == []


@pytest.mark.parametrize(("pid", "protocol"), [(1, "m-bus"), (4, "clock"), (6, "image")])
def test_protocols(pid: int, protocol: str) -> None:
    script = twice(Outcome())
    carry(secured(0x20, 15, CONNECT, pid=pid), script)
    assert script.asked[0].protocol == protocol
    assert bool(script.asked[0].records) is (pid == 1)


def test_an_unknown_protocol_is_error_11() -> None:
    assert carry(secured(0x20, 15, CONNECT, pid=9), twice(Outcome())).error == 0x11


def test_a_command_that_nobody_knows_is_error_11() -> None:
    assert carry(secured(0x20, 15, CONNECT), Script()).error == 0x11


def test_records_that_break_off_inside_the_container() -> None:
    assert carry(secured(0x20, 15, "01 FD"), twice(Outcome())).error == 0x04


def test_a_refused_command_does_not_use_its_counter() -> None:
    held = memory()
    carried = carry(secured(0x20, 15, CONNECT), twice(Outcome(error=0x15)), held)
    assert carried.error == 0x15
    assert held.keys[1].counter == 0
    assert held.executed == 0


def test_a_function_that_refuses_only_when_it_acts() -> None:
    held = memory()
    carried = carry(secured(0x20, 15, CONNECT), Script(Outcome(), Outcome(error=0x12)), held)
    assert carried.error == 0x12
    assert held.executed == 0
    carried = carry(secured(0x20, 16, CONNECT), Script(Outcome(), Outcome(status=0x23)), held)
    assert carried.refused
    assert held.executed == 0
    assert carry(secured(0x20, 17, CONNECT), Script(Outcome(), None), held).error == 0x11


# -- structure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", ["", "05", "03 00 00 00 00", "00 00", "1C 00 00 20 00 32 20 00 01 00 00 00"])
def test_a_message_that_cannot_be_read_is_error_17(octets: str) -> None:
    assert carry(bytes.fromhex(octets), twice(Outcome())).error == 0x17


def test_secured_data_that_are_too_short_are_error_17() -> None:
    block = SitpBlock(0, 0x20, 0x32, b"\x20\x00", bytes(10)).encode()
    assert carry(block, twice(Outcome())).error == 0x17


@pytest.mark.parametrize("structure", [0x30, 0x33, 0x36, 0x01])
def test_other_protections_are_status_11(structure: int) -> None:
    block = SitpBlock(3, 0x20, structure, b"\x20\x00", bytes(40), 5)
    (answer,) = decode(carry(block.encode(), twice(Outcome())).payload).blocks
    assert answer == SitpBlock(3, 0xA0, 0x22, b"\x20\x00", b"\x11", 5)


# -- services -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "structure", "header"),
    [
        (0x08, 0x21, b"\xff\xff"),
        (0x09, 0x23, b"\xff\xff"),
        (0x07, 0x20, b"\x12\x00"),
        (0x06, 0x10, b"\x12\x00"),
        (0x05, 0x22, b"\x12\x00"),
    ],
)
def test_services_are_for_functions(service: int, structure: int, header: bytes) -> None:
    block = SitpBlock(1, service, 0x00, b"\x12\x00", b"")
    script = twice(Outcome(payload=b"\x00"))
    carried = carry(block.encode(), script)
    (answer,) = decode(carried.payload).blocks
    assert answer == SitpBlock(1, service | 0x80, structure, header, b"\x00")
    assert script.asked[0] == Instruction("sitp-block", block.encode(), (), None, NOW, True)
    assert carried.events == ()


def test_an_unknown_service_is_status_11() -> None:
    carried = carry(SitpBlock(0, 0x70, 0x00, b"\xff\xff", b"").encode(), Script())
    assert answered(carried) == [(0xF0, 0x22, b"\x11")]


# -- transactions -----------------------------------------------------------------------------------------------------


def test_all_blocks_or_none() -> None:
    payload = secured(0x20, 15, CONNECT) + secured(0x20, 16, CONNECT, block_id=1)
    held = memory()
    script = Script(Outcome(), Outcome(status=0x23))
    carried = carry(payload, script, held)
    assert answered(carried) == [(0xA0, 0x22, b"\x09"), (0xA0, 0x22, b"\x23")]
    assert carried.refused
    assert [one.rehearse for one in script.asked] == [True, True]
    assert held.keys[1].counter == 0


def test_a_wrong_header_in_one_block_stops_the_other() -> None:
    payload = secured(0x20, 15, CONNECT) + secured(0x25, 1, CONNECT, block_id=1)
    assert answered(carry(payload, twice(Outcome()))) == [(0xA0, 0x22, b"\x09"), (0xA0, 0x22, b"\x19")]


def test_an_error_in_one_block_is_the_answer_to_all() -> None:
    payload = secured(0x20, 15, CONNECT) + secured(0x20, 16, CONNECT)
    assert carry(payload, Script(Outcome(), Outcome(error=0x22))).error == 0x22


def test_two_blocks_are_carried_out_in_order() -> None:
    held = memory()
    payload = secured(0x20, 15, CONNECT) + secured(0x20, 16, DISCONNECT, block_id=1) + b"\x00\x00"
    script = Script(Outcome(), Outcome(), Outcome(payload=b"\x2f"), Outcome(status=0x01))
    carried = carry(payload, script, held)
    assert [(control, structure) for control, structure, _ in answered(carried)] == [(0xA0, 0x32), (0xA0, 0x22)]
    assert [event.value for event in carried.events] == [15, 16]
    assert held.keys[1].counter == 16


@pytest.mark.parametrize("counter", [14, 15])
def test_counters_advance_from_block_to_block(counter: int) -> None:
    payload = secured(0x20, 15, CONNECT) + secured(0x20, counter, DISCONNECT, block_id=1)
    assert carry(payload, twice(Outcome())).error == 0x20


def test_nothing_waits_for_one_of_several_blocks() -> None:
    payload = secured(0x20, 15, CONNECT) + secured(0x20, 16, CONNECT)
    carried = carry(payload, Script(Outcome(), Outcome(), Outcome(busy=True), Outcome()))
    assert carried.busy
    assert carried.late is None


def test_a_late_outcome_is_proven_like_any_other() -> None:
    carried = carry(secured(0x20, 15, CONNECT), Script(Outcome(), Outcome(busy=True)))
    assert carried.busy
    assert carried.late is not None
    render = carried.late[1]
    ((control, structure, content),) = answered(render(Outcome(payload=b"\x2f")))
    assert (control, structure) == (0xA0, 0x32)
    assert SecuredData.decode(content).apdu == b"\x2f"
    assert answered(render(Outcome(status=0x21))) == [(0xA0, 0x22, b"\x21")]
    assert render(Outcome(status=0x21)).refused
    assert render(Outcome(error=0x12)).error == 0x12


def test_any_key_for_sitp_makes_the_protocol_known() -> None:
    assert not sitp.has_application_keys(DeviceMemory(keys=[KeySlot(0, 0, MASTER, True)]))
    assert sitp.has_application_keys(DeviceMemory(keys=[KeySlot(0x12, 0, MASTER)]))


# -- through the whole device, in every profile --------------------------------------------------------------------------


def partner(way: tuple[str, bool]) -> Partner:
    return Partner(device(*way, functions=BREAKER))


Way = tuple[str, bool]


@pytest.mark.parametrize("way", WAYS)
def test_disconnect_and_the_same_block_again(way: Way) -> None:
    """A repeated block is refused, whatever the transport around it, and never executed twice."""
    one = partner(way)
    memory = one.endpoint.memory
    taken = one.secured(0x20, 15, DISCONNECT)
    assert (taken.mine, taken.complete, taken.status) == (True, True, 0)
    assert [event.name for event in taken.events] == ["valve", "executed"]
    assert one.apdu() == bytes.fromhex(DISCONNECT)
    for _ in range(2):
        taken = one.secured(0x20, 15, DISCONNECT)
        assert (taken.status, taken.events) == (2, ())
        assert one.error() == 0x20
    assert memory.executed == 1
    assert memory.key(0x20).counter == 15  # type: ignore[union-attr]


@pytest.mark.parametrize("way", WAYS)
def test_replayed_frames(way: Way) -> None:
    """A whole frame again: profiles B and D refuse its counter, in the others the key counter does."""
    one = partner(way)
    one.secured(0x20, 15, DISCONNECT)
    recorded = one.last
    one.secured(0x20, 16, CONNECT)
    for _ in range(3):
        taken = one.endpoint.take(recorded, one.now)
        assert (taken.status, taken.events) == (2, ())
    assert one.endpoint.memory.breaker == 1
    assert one.error() == 0x20


@pytest.mark.parametrize("way", WAYS)
def test_power_cuts_between_all_steps(way: Way) -> None:
    one = partner(way)
    one.secured(0x20, 15, DISCONNECT)
    recorded = one.last
    two = reborn(one, BREAKER)  # the answer is lost
    assert two.endpoint.memory.breaker == 0
    assert two.read().records  # the standard response, no memory of the command
    assert two.endpoint.take(recorded, two.now).status == 2
    three = reborn(two, BREAKER)
    three.secured(0x20, 16, CONNECT)
    assert three.apdu() == bytes.fromhex(CONNECT)
    assert three.endpoint.memory.executed == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_application_key(way: Way) -> None:
    one = partner(way)
    assert one.secured(0x20, 15, DISCONNECT, key=MASTER).status == 2
    assert one.error() == 0x20
    assert one.endpoint.memory.breaker == 1


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_application_key(way: Way) -> None:
    one = partner(way)
    assert one.secured(0x20, 15, DISCONNECT, version=7).status == 2
    assert one.status() == 0x19


@pytest.mark.parametrize("way", WAYS)
def test_several_refusals_then_success(way: Way) -> None:
    one = partner(way)
    refusals: list[Callable[[], object]] = [
        lambda: one.secured(0x20, 1, "01 FD 1F 07"),
        lambda: one.secured(0x24, 1, DISCONNECT),
        lambda: one.send("m-bus", DISCONNECT),
        lambda: one.secured(0x20, 1, "01 FD 21 00"),
        lambda: one.secured(0x20, 1, DISCONNECT, pid=5),
    ]
    codes = []
    for refuse in refusals:
        refuse()
        codes.append(one.error())
    assert codes == [0x15, 0x22, 0x22, 0x11, 0x11]
    one.secured(0x20, 1, DISCONNECT)
    assert one.apdu() == bytes.fromhex(DISCONNECT)


@pytest.mark.parametrize("way", WAYS)
def test_no_application_keys_at_all(way: Way) -> None:
    one = Partner(device(*way, functions=BREAKER, keys=(GivenKey(0, MASTER),)))
    assert one.secured(0x20, 1, DISCONNECT).status == 2
    assert one.error() == 0x01


@pytest.mark.parametrize(("way", "size"), list(itertools.product(WAYS, (20, 30))))
def test_commands_in_fragments(way: Way, size: int) -> None:
    one = partner(way)
    frames = one.fragments("sitp", secured(0x20, 15, DISCONNECT), size)
    assert len(frames) > 1
    taken = [one.endpoint.take(frame, one.now) for frame in frames]
    assert [(each.mine, each.complete) for each in taken] == [(True, False)] * (len(frames) - 1) + [(True, True)]
    assert one.apdu() == bytes.fromhex(DISCONNECT)


def test_keys_of_the_device_are_all_there() -> None:
    assert {slot.key_id for slot in device(functions=BREAKER).memory.keys} == {key.key_id for key in KEYS}
