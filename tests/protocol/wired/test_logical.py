"""One logical slave: addresses, selection, frame count memory, answers; every row of its table. Ids P-xx: OMS Annex P."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from openmetering.codec.address import Address, Selection
from openmetering.codec.link.wired import WiredFrame, unframe
from openmetering.errors import OutOfRange
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.wired import logical as at
from openmetering.protocol.wired.logical import LogicalSlave, RateChange, Reply, Selected
from tests.protocol.tables import assert_nothing_else, every_row
from tests.protocol.wired_bus import ELS, Application, address

E5 = b"\xe5"
RESET = bytes.fromhex("51FDFFFF07")
VALUE = b"\x01\x13\x05"


class Slave:
    """A logical slave that is spoken to in C field, address and data."""

    def __init__(self, primary: int = 5, telegrams: list[bytes] | None = None, *, fragments: int = 1, **options: Any) -> None:
        self.application = Application(address(), [VALUE] if telegrams is None else telegrams, fragments=fragments)
        self.memory = DeviceMemory(primary_address=primary)
        self.machine = LogicalSlave(self.application, self.memory, **options)
        self.events: list[Any] = []

    def say(self, control: int, to: int = 5, data: bytes | None = None) -> bytes | None:
        """The answer; None for silence."""
        frame = WiredFrame.short(control, to) if data is None else WiredFrame.long(control, to, data)
        answer = None
        for item in self.machine.hear(frame, frame.encode(), 1.0):
            if isinstance(item, Reply):
                assert answer is None
                answer = item.octets
            else:
                self.events.append(item)
        return answer

    def select(self, *, fabrication: str | None = None, more: bytes = b"", **fields: Any) -> bytes | None:
        pattern = Address(
            fields.get("manufacturer", 0xFFFF),
            fields.get("identification", "FFFFFFFF"),
            fields.get("version", 0xFF),
            fields.get("device_type", 0xFF),
        )
        return self.say(0x53, 253, b"\x52" + Selection(pattern, fabrication, more).encode())


# -- requests and answers -----------------------------------------------------------------------------


def test_a_request_is_answered_with_the_own_address() -> None:
    slave = Slave()
    answer = slave.say(0x7B)
    assert answer is not None
    frame, _ = unframe(answer)
    assert (frame.control, frame.address, frame.data[0]) == (0x08, 5, 0x72)
    assert frame.data[1:9] == address().transport_octets()


@pytest.mark.parametrize("to", [0, 6, 250, 251, 252])
def test_other_addresses_are_silent(to: int) -> None:
    slave = Slave()
    assert [slave.say(control, to) for control in (0x40, 0x7B, 0x7A)] == [None] * 3
    assert slave.say(0x73, to, RESET) is None
    assert slave.application.commands == []


def test_an_unconfigured_slave_answers_at_0() -> None:
    slave = Slave(0)
    assert slave.say(0x40, 0) == E5
    assert unframe(slave.say(0x7B, 0) or b"")[0].address == 0


def test_address_254_is_the_own_address_p_13() -> None:
    slave = Slave()
    assert slave.say(0x40, 254) == E5
    assert unframe(slave.say(0x7B, 254) or b"")[0].address == 5
    assert slave.say(0x73, 254, RESET) == E5


def test_address_255_is_carried_out_and_never_answered_p_13() -> None:
    slave = Slave()
    assert slave.say(0x73, 255, RESET) is None
    assert slave.application.commands == [RESET]
    assert slave.say(0x40, 255) is None
    assert [slave.say(control, 255) for control in (0x7B, 0x7A)] == [None, None]
    assert slave.say(0x43, 255, RESET) is None
    assert slave.application.commands == [RESET]


@pytest.mark.parametrize(("control", "data"), [(0x4B, None), (0x5B, None), (0x7B, None), (0x7B, b"\x80")])
def test_requests_with_and_without_frame_count(control: int, data: bytes | None) -> None:
    assert Slave().say(control, 5, data)


@pytest.mark.parametrize("control", [0x48, 0x49, 0x44, 0x00, 0x08, 0x60, 0x6B, 0xC0, 0x50])
def test_c_fields_that_are_not_known(control: int) -> None:
    slave = Slave()
    assert slave.say(control) is None
    assert slave.application.calls == []


def test_a_command_is_acknowledged_and_its_result_told_by_the_next_answer_p_17() -> None:
    slave = Slave()
    assert slave.say(0x73, 5, RESET) == E5
    assert slave.application.commands == [RESET]
    assert slave.say(0x7B)


def test_what_is_not_mine_is_silence() -> None:
    slave = Slave()
    slave.application.mine = False
    slave.application.events = (DeviceEvent("clock"),)
    assert slave.say(0x73, 5, RESET) is None
    assert slave.say(0x43, 5, RESET) is None
    assert slave.events == [DeviceEvent("clock")] * 2


def test_a_fragment_of_a_command_is_acknowledged() -> None:
    slave = Slave()
    slave.application.complete = False
    assert slave.say(0x73, 5, RESET) == E5
    assert slave.say(0x43, 5, RESET) is None


def test_command_and_answer_in_one() -> None:
    slave = Slave()
    answer = slave.say(0x43, 5, RESET)
    assert unframe(answer or b"")[0].data[0] == 0x72
    assert slave.application.commands == [RESET]


def test_a_slave_that_does_not_know_snd_ud2() -> None:
    slave = Slave(exchanges=False)
    assert slave.say(0x43, 5, RESET) is None
    assert slave.application.commands == []


def test_a_slave_without_answer_is_silent() -> None:
    slave = Slave(telegrams=[])
    assert [slave.say(0x7B), slave.say(0x7B), slave.say(0x5B)] == [None] * 3


def test_the_access_number_of_a_request_is_copied_else_the_own_counts() -> None:
    slave = Slave()
    long_header = address().transport_octets() + bytes((0x2A, 0, 0, 0))
    slave.say(0x43, 5, b"\x5b" + long_header)
    slave.say(0x7B)
    slave.say(0x5B)
    slave.say(0x7B, 5, b"\x80" + long_header)
    slave.say(0x43, 5, bytes((0x5A, 0x2B, 0, 0, 0)))
    slave.say(0x43, 5, b"\x90\x02\x00\x00" + b"\x5b" + long_header)
    slave.say(0x43, 5, b"\x5b\x00")
    assert slave.application.numbers == [0x2A, 1, 2, 0x2A, 0x2B, 0x2A, 3]


def test_alarms() -> None:
    slave = Slave()
    slave.application.alarms = [b"\x71\x04"]
    assert unframe(slave.say(0x7A) or b"")[0].data == b"\x71\x04"
    assert unframe(slave.say(0x7A) or b"")[0].data == b"\x71\x04"
    assert slave.say(0x5A) == E5
    assert slave.say(0x4A) == E5


# -- frame count memory ------------------------------------------------------------------------------


def test_the_same_frame_count_bit_repeats_the_answer() -> None:
    slave = Slave(telegrams=[VALUE, VALUE])
    first = slave.say(0x7B)
    assert slave.say(0x7B) == first
    second = slave.say(0x5B)
    assert second != first
    assert slave.say(0x5B) == second
    assert slave.application.calls.count("respond") == 2


def test_a_repeated_command_is_not_carried_out_again() -> None:
    slave = Slave()
    assert [slave.say(0x73, 5, RESET) for _ in range(3)] == [E5] * 3
    assert slave.application.commands == [RESET]
    assert slave.say(0x53, 5, RESET) == E5
    assert slave.application.commands == [RESET] * 2


def test_another_command_with_the_same_bit_is_no_repetition() -> None:
    """A master that never changes the bit is understood all the same."""
    slave = Slave()
    slave.say(0x53, 5, RESET)
    slave.say(0x53, 5, b"\x50")
    assert slave.application.commands == [RESET, b"\x50"]


def test_without_frame_count_every_request_is_new() -> None:
    slave = Slave(telegrams=[VALUE, VALUE])
    assert slave.say(0x4B) != slave.say(0x4B)


@pytest.mark.parametrize(("data", "executed"), [(b"\x5b" + bytes(8) + b"\x01\x00\x00\x00", 1), (RESET, 2)])
def test_snd_ud2_has_no_frame_count_its_access_number_tells_a_repetition(data: bytes, executed: int) -> None:
    slave = Slave()
    first, second = slave.say(0x43, 5, data), slave.say(0x43, 5, data)
    assert len(slave.application.commands) == executed
    assert (first == second) is (executed == 1)


def test_each_way_has_its_own_memory() -> None:
    slave = Slave(telegrams=[VALUE])
    slave.select()
    answers = [slave.say(0x7B, to) for to in (5, 253, 254)]
    assert slave.application.calls.count("respond") == 3
    assert [slave.say(0x7B, to) for to in (5, 253, 254)] == answers
    assert slave.application.calls.count("respond") == 3


@pytest.mark.parametrize(("to", "forgotten"), [(5, (True, False, False)), (254, (True, True, True)), (255, (True, True, True))])
def test_a_reset_clears_the_memory_and_keeps_the_selection(to: int, forgotten: tuple[bool, ...]) -> None:
    slave = Slave()
    slave.select()
    for way in (5, 253, 254):
        slave.say(0x7B, way)
    slave.application.calls.clear()
    slave.say(0x40, to)
    assert slave.machine.state is Selected.SELECTED
    seen = []
    for way in (5, 253, 254):
        before = slave.application.calls.count("respond")
        slave.say(0x7B, way)
        seen.append(slave.application.calls.count("respond") > before)
    assert tuple(seen) == forgotten
    assert slave.application.calls[0] == "end_session"


def test_request_memory_is_apart_from_command_memory() -> None:
    slave = Slave()
    slave.say(0x73, 5, RESET)
    slave.say(0x7B)
    slave.say(0x7B)
    assert slave.application.calls.count("respond") == 1
    slave.say(0x73, 5, RESET)
    assert slave.application.commands == [RESET]


def test_masters_with_one_frame_count_bit_for_both() -> None:
    """Theirs is the same in every REQ-UD2 behind a SND-UD: the answer belongs to the command in front of it."""
    slave = Slave()
    for number, control in enumerate((0x73, 0x73, 0x43), 1):
        slave.say(control, 5, RESET + bytes((number,)))
        before = slave.application.calls.count("respond")
        slave.say(0x5B)
        assert slave.application.calls.count("respond") == before + 1
    assert len(slave.application.commands) == 3


# -- several telegrams, fragments -----------------------------------------------------------------------


def test_several_telegrams_p_17() -> None:
    slave = Slave(telegrams=[VALUE] * 3)
    answers = [slave.say(control) or b"" for control in (0x7B, 0x5B, 0x5B, 0x7B)]
    assert [unframe(answer)[0].data[-1] == 0x1F for answer in answers] == [True, True, True, False]
    slave.say(0x5B)
    assert slave.application.place == 0  # behind the last one it begins anew


def test_a_reset_begins_the_readout_anew() -> None:
    slave = Slave(telegrams=[VALUE] * 3)
    slave.say(0x7B)
    slave.say(0x5B)
    slave.say(0x40)
    slave.say(0x7B)
    assert slave.application.place == 0


def test_annex_n_4_fragments() -> None:
    slave = Slave(telegrams=[bytes(40)], fragments=3)
    parts = [unframe(slave.say(control) or b"")[0].data for control in (0x7B, 0x5B, 0x5B, 0x7B)]
    assert [part[:4].hex() for part in parts] == ["90020140", "90020240", "90020240", "90020300"]
    assert slave.application.calls == ["respond"]
    assert unframe(slave.say(0x5B) or b"")[0].data[2] == 1
    assert slave.application.calls == ["respond", "advance", "respond"]


def test_a_command_ends_what_was_being_told() -> None:
    slave = Slave(telegrams=[bytes(40)], fragments=3)
    slave.say(0x7B)
    slave.say(0x73, 5, RESET)
    assert unframe(slave.say(0x5B) or b"")[0].data[2] == 1
    assert "advance" not in slave.application.calls


def test_a_request_on_another_way_begins_anew() -> None:
    slave = Slave(telegrams=[bytes(40)], fragments=3)
    slave.say(0x7B)
    assert unframe(slave.say(0x7B, 254) or b"")[0].data[2] == 1


def test_fragments_behind_a_command_in_one() -> None:
    slave = Slave(telegrams=[bytes(40)], fragments=2)
    parts = [slave.say(0x43, 5, RESET), slave.say(0x7B)]
    assert [unframe(part or b"")[0].data[2] for part in parts] == [1, 2]


# -- selection -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"identification": "12345678"}, True),
        ({"identification": "1FFFFFF8"}, True),
        ({"identification": "1FFFFFF7"}, False),
        ({"manufacturer": ELS}, True),
        ({"manufacturer": ELS + 1}, False),
        ({"version": 0x33}, True),
        ({"version": 0x34}, False),
        ({"device_type": 0x03}, True),
        ({"device_type": 0x04}, False),
        ({"identification": "12345678", "manufacturer": ELS, "version": 0x33, "device_type": 0x03}, True),
    ],
)
def test_selection_with_wildcards_p_19(fields: dict[str, Any], fits: bool) -> None:
    slave = Slave()
    assert slave.say(0x7B, 253) is None
    assert slave.select(**fields) == (E5 if fits else None)
    assert (slave.machine.state is Selected.SELECTED) is fits
    answer = slave.say(0x7B, 253)
    assert (answer is not None) is fits
    if answer:
        assert unframe(answer)[0].address == 5  # its own, never 253


@pytest.mark.parametrize(
    ("own", "wanted", "fits"),
    [("87654321", "87654321", True), ("87654321", "8FFFFFF1", True), ("87654321", "8FFFFFF2", False), (None, "FFFFFFFF", False)],
)
def test_enhanced_selection_p_20(own: str | None, wanted: str, fits: bool) -> None:
    slave = Slave(fabrication=own)
    slave.select()
    assert slave.select(fabrication=wanted) == (E5 if fits else None)
    assert (slave.machine.state is Selected.SELECTED) is fits


def test_records_that_are_not_known_deselect() -> None:
    slave = Slave(fabrication="87654321")
    slave.select()
    assert slave.select(fabrication="87654321", more=b"\x01\x13\x05") is None
    assert slave.machine.state is Selected.DESELECTED


def test_a_selection_cut_short_deselects() -> None:
    slave = Slave()
    slave.select()
    assert slave.say(0x53, 253, b"\x52\xff\xff") is None
    assert slave.machine.state is Selected.DESELECTED
    assert slave.say(0x53, 253, b"\x52") is None


def test_a_fabrication_number_has_eight_digits() -> None:
    with pytest.raises(OutOfRange):
        Slave(fabrication="1234")


@pytest.mark.parametrize("control", [0x53, 0x73])
def test_a_selection_is_never_a_repetition(control: int) -> None:
    slave = Slave()
    data = b"\x52" + bytes.fromhex("FFFFFFFFFFFFFFFF")
    assert [slave.say(control, 253, data) for _ in range(3)] == [E5] * 3


@pytest.mark.parametrize("to", [5, 254, 255])
def test_a_selection_at_another_address_is_nothing(to: int) -> None:
    slave = Slave()
    assert slave.say(0x53, to, b"\x52" + bytes.fromhex("FFFFFFFFFFFFFFFF")) is None
    assert slave.machine.state is Selected.DESELECTED
    assert slave.application.commands == []


def test_a_selection_clears_its_memory_and_begins_anew() -> None:
    slave = Slave(telegrams=[VALUE] * 3)
    slave.select()
    slave.say(0x7B, 253)
    slave.say(0x5B, 253)
    slave.select()
    assert slave.application.place == 0
    before = slave.application.calls.count("respond")
    slave.say(0x7B, 253)
    assert slave.application.calls.count("respond") == before + 1


def test_deselection_explicit_and_by_another_selection() -> None:
    slave = Slave()
    slave.select()
    assert slave.say(0x40, 253) == E5
    assert slave.say(0x40, 253) is None
    slave.select()
    assert slave.select(identification="99999999") is None
    assert [slave.say(0x7B, 253), slave.say(0x40, 253), slave.say(0x73, 253, RESET)] == [None] * 3


def test_power_loss_deselects_and_forgets() -> None:
    slave = Slave()
    slave.select()
    slave.say(0x7B)
    slave.machine.power_up(2.0)
    assert slave.machine.state is Selected.DESELECTED
    slave.say(0x7B)
    assert slave.application.calls.count("respond") == 2
    assert "power_up" in slave.application.calls


# -- primary address, rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [5, 253])
def test_the_primary_address_changes_by_the_application_p_11(to: int) -> None:
    slave = Slave()
    slave.select()
    slave.application.events = (DeviceEvent("primary-address", value=9), DeviceEvent("executed"))
    assert slave.say(0x73, to, bytes.fromhex("51017A09")) == E5
    assert slave.events == list(slave.application.events)
    slave.application.events = ()
    assert slave.memory.primary_address == 9
    assert slave.say(0x40) is None
    assert unframe(slave.say(0x7B, 9) or b"")[0].address == 9


def moved() -> tuple[Slave, bytes]:
    slave = Slave()
    slave.application.events = (DeviceEvent("primary-address", value=9),)
    command = bytes.fromhex("51017A09")
    assert slave.say(0x73, 5, command) == E5
    return slave, command


def test_a_new_address_whose_acknowledgement_was_lost_p_11() -> None:
    """The command comes to the old address again: it is acknowledged and not carried out."""
    slave, command = moved()
    assert slave.say(0x73, 5, command) == E5
    assert slave.say(0x53, 5, command) is None
    assert slave.say(0x7B, 5) is None
    assert slave.say(0x73, 5, command) == E5
    assert slave.say(0x7B, 9)
    assert slave.say(0x73, 5, command) is None
    assert slave.application.commands == [command]


def test_a_power_cut_ends_the_old_address() -> None:
    slave, command = moved()
    slave.machine.power_up(2.0)
    assert slave.say(0x73, 5, command) is None


def test_an_answer_that_tells_of_a_new_address_comes_from_the_old_one() -> None:
    slave = Slave()
    slave.application.events = (DeviceEvent("primary-address", value=9),)
    assert unframe(slave.say(0x43, 5, bytes.fromhex("51017A09")) or b"")[0].address == 5
    assert unframe(slave.say(0x7B, 9) or b"")[0].address == 9


def test_a_primary_address_without_value_changes_nothing() -> None:
    slave = Slave()
    slave.application.events = (DeviceEvent("primary-address"),)
    slave.say(0x73, 5, RESET)
    assert slave.memory.primary_address == 5


@pytest.mark.parametrize(("code", "baud"), [(0xB8, 300), (0xBB, 2400)])
def test_another_rate_p_10(code: int, baud: int) -> None:
    slave = Slave()
    assert slave.say(0x73, 5, bytes((code,))) == E5
    assert slave.events == [RateChange(baud, True)]
    assert slave.application.commands == []
    assert slave.say(0x73, 5, bytes((code,))) == E5
    assert len(slave.events) == 1


def test_a_rate_that_is_not_supported_is_silence() -> None:
    slave = Slave()
    assert slave.say(0x73, 5, b"\xbd") is None
    assert slave.events == []


def test_the_rate_of_all() -> None:
    slave = Slave()
    assert slave.say(0x53, 255, b"\xb8") is None
    assert slave.events == [RateChange(300, False)]


def test_a_control_frame_with_another_ci_is_a_command_p_23() -> None:
    slave = Slave()
    assert slave.say(0x73, 5, b"\x50") == E5
    assert slave.say(0x53, 5, b"\xb8\x00") == E5  # with data it is no rate
    assert slave.application.commands == [b"\x50", b"\xb8\x00"]


# -- what a frame would ask of the application --------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "data", "needs"),
    [
        (0x40, None, None),
        (0x7B, None, True),
        (0x7A, None, True),
        (0x73, RESET, False),
        (0x43, RESET, True),
        (0x73, b"\xb8", None),
        (0x49, None, None),
    ],
)
def test_whether_the_application_is_needed(control: int, data: bytes | None, needs: bool | None) -> None:
    slave = Slave()
    frame = WiredFrame.short(control, 5) if data is None else WiredFrame.long(control, 5, data)
    assert slave.machine.needs_application(frame, frame.encode()) is needs
    assert slave.application.calls == []
    slave.machine.hear(frame, frame.encode(), 1.0)
    if needs is not None:
        assert slave.machine.needs_application(frame, frame.encode()) is needs


def test_an_error_without_the_application() -> None:
    assert unframe(Slave().machine.error(9))[0] == WiredFrame.long(0x08, 5, b"\x70\x09")


# -- the table --------------------------------------------------------------------------------------------------

EVENTS = {
    kind: kind(WiredFrame.short(0x7B, 5), b"", "primary")
    for kind in (at.SelectionFits, at.SelectionMisses, at.Reset, at.ResetSelected, at.Command, at.Exchange, at.Request,
                 at.AlarmRequest, at.Rate, at.Repetition, at.NotMine)
}  # fmt: skip


def test_every_row() -> None:
    scenarios = [
        item
        for name, item in globals().items()
        if name.startswith("test_") and name != "test_every_row" and not inspect.signature(item).parameters
    ]
    with every_row(LogicalSlave):
        for scenario in scenarios:
            scenario()
        for to in (5, 253):
            test_the_primary_address_changes_by_the_application_p_11(to)
        selected = Slave()
        selected.select()
        selected.select()
        selected.say(0x43, 253, RESET)
        selected.say(0x7A, 253)
        selected.say(0x7A, 253)
        selected.say(0x73, 253, b"\xb8")
        selected.say(0x49, 253)
        selected.say(0x40, 5)


def test_what_is_not_in_the_table_is_an_error() -> None:
    assert_nothing_else(Slave().machine, Selected, EVENTS)
