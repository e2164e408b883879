"""The state machine of the application: every row, 255 s, selections, what is refused and what is not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from openmetering.codec.apl.records import Record, encode
from openmetering.errors import ProtocolError
from openmetering.protocol.device.application import (
    ANSWER_LIFE,
    TRANSITIONS,
    Answer,
    Application,
    Done,
    Expire,
    Refuse,
    Reset,
    Select,
    State,
)
from openmetering.protocol.device.contents import Contents, FixedReadings
from openmetering.protocol.device.function import Function
from openmetering.protocol.device.interface import DeviceEvent, Feature, Instruction, Notice, Outcome
from openmetering.protocol.device.memory import DeviceMemory
from tests.protocol.device.partner import READINGS, STATIC, VOLUME, records

STANDARD = encode(VOLUME)
PLAIN = "01 FD 1F 00"


class Script(Function):
    """A function that answers what it is told to and remembers what it was asked."""

    def __init__(self, *outcomes: Outcome | None) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[Instruction] = []
        self.due: float | None = None
        self.notices: list[Notice] = []
        self.bits = 0
        self.cuts = 0

    @property
    def deadline(self) -> float | None:
        return self.due

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        self.asked.append(instruction)
        return self.outcomes.pop(0) if self.outcomes else None

    def timeout(self, now: float) -> list[Notice]:
        self.due = None
        given, self.notices = self.notices, []
        return given

    def status(self, now: float) -> int:
        return self.bits

    def power_up(self, now: float) -> None:
        self.cuts += 1


def application(*features: Feature, codings: dict[bytes, int] | None = None, more: Sequence[int] = ()) -> Application:
    memory = DeviceMemory()
    readings = FixedReadings({**READINGS, 18: VOLUME + STATIC})
    return Application(memory, Contents(readings, list(features), memory, (0, 7, *more)), codings=codings)


EVENTS = (Reset(), Select(7, 0), Done(Answer("m-bus", b"\x2f")), Refuse(0x15), Expire())


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, EVENTS)))
def test_every_row_and_every_pair_without_one(state: State, event: object) -> None:
    machine = application()
    machine.state = state
    row = TRANSITIONS.get((state, type(event)))
    if row is None:
        with pytest.raises(ProtocolError, match=f"{type(event).__name__} is not allowed in state {state.name}"):
            machine._step(event, 0.0)
        assert (state, type(event)) == (State.STANDARD, Expire)
    else:
        machine._step(event, 0.0)
        assert machine.state is row[1]


def test_the_table_is_complete() -> None:
    assert len(TRANSITIONS) == len(State) * len(EVENTS) - 1


# -- reset and select --------------------------------------------------------------------------------------


def test_standard_response() -> None:
    machine = application()
    assert machine.answer(0.0) == Answer("m-bus", STANDARD)
    assert machine.bits == 0
    assert machine.due is None


def test_select_and_reset() -> None:
    machine = application()
    assert machine.take("application-reset", b"\x70", 1.0).status == 0
    assert machine.state is State.SELECTED
    assert machine.answer(2.0) == Answer("m-bus", encode(STATIC), 0, 7, 0)
    machine.take("application-reset", b"", 3.0)
    assert machine.state is State.STANDARD
    assert machine.answer(3.0).payload == STANDARD
    assert machine.due is None


def test_an_application_that_does_not_exist_resets_and_is_no_error() -> None:
    machine = application()
    machine.take("application-reset", b"\x70", 0.0)
    assert machine.take("application-reset", b"\x30", 1.0).status == 0
    assert machine.state is State.STANDARD


def test_a_block_that_does_not_exist_is_the_first_one() -> None:
    machine = application()
    machine.take("application-reset", b"\x75", 0.0)
    assert machine.answer(0.0).payload == encode(STATIC)


def test_a_parameter_that_nobody_knows_resets() -> None:
    machine = application()
    machine.take("application-reset", b"\x12\x00", 0.0)
    assert machine.state is State.STANDARD


def test_applications_above_15_are_selected_by_the_coding_that_was_agreed() -> None:
    machine = application(codings={b"\x12\x00": 18}, more=(18,))
    machine.take("application-reset", b"\x12\x00", 0.0)
    assert machine.answer(0.0) == Answer("m-bus", encode(VOLUME + STATIC), 0, 18, 0)


# -- 255 s ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "payload", "state"),
    [
        ("application-reset", b"\x70", State.SELECTED),
        ("m-bus", bytes.fromhex(PLAIN), State.COMMAND),
        ("clock", b"", State.ERROR),
    ],
)
def test_255_seconds_after_the_last_command_all_is_forgotten(protocol: str, payload: bytes, state: State) -> None:
    machine = application(Script(Outcome(payload=b"\x01\xfd\x1f\x00")))
    if state is State.ERROR:
        machine = application()
    machine.take(protocol, payload, 10.0)
    assert machine.state is state
    assert machine.due == 10.0 + ANSWER_LIFE
    machine.timeout(10.0 + ANSWER_LIFE - 0.1)
    assert machine.state is state
    machine.timeout(10.0 + ANSWER_LIFE)
    assert machine.state is State.STANDARD
    assert machine.due is None
    assert machine.bits == 0


def test_a_command_starts_the_time_anew() -> None:
    machine = application(Script(Outcome(), Outcome()))
    machine.take("m-bus", bytes.fromhex(PLAIN), 0.0)
    machine.take("m-bus", bytes.fromhex(PLAIN), 200.0)
    machine.timeout(256.0)
    assert machine.state is State.COMMAND


# -- commands ------------------------------------------------------------------------------------------------------


def test_the_answer_of_a_command() -> None:
    event = DeviceEvent("valve", "connected", 1)
    machine = application(Script(None), Script(Outcome(payload=b"\x01\xfd\x1f\x01", events=(event,))))
    applied = machine.take("m-bus", bytes.fromhex(PLAIN), 0.0)
    assert (applied.status, applied.events) == (0, (event,))
    assert machine.answer(0.0) == Answer("m-bus", b"\x01\xfd\x1f\x01")


def test_an_unspecific_answer_is_the_standard_response_as_it_is_then() -> None:
    machine = application(Script(Outcome()))
    machine.take("clock", b"\x01\x1e\0\0", 0.0)
    assert machine.state is State.COMMAND
    assert machine.answer(0.0) == Answer("m-bus", STANDARD)


def test_the_answer_of_a_clock_command_without_octets_is_m_bus() -> None:
    machine = application(Script(Outcome(payload=b"")))
    machine.take("image", b"\x04", 0.0)
    assert machine.answer(0.0).protocol == "m-bus"


def test_functions_get_parsed_records() -> None:
    script = Script(Outcome())
    application(script).take("m-bus", bytes.fromhex(PLAIN), 5.0)
    assert script.asked == [Instruction("m-bus", bytes.fromhex(PLAIN), records(PLAIN, uplink=False), None, 5.0)]


@pytest.mark.parametrize("protocol", ["dlms", "sml", "network-management", "application-request", "select-device"])
def test_a_protocol_that_is_not_there_is_error_01(protocol: str) -> None:
    machine = application()
    assert machine.take(protocol, b"", 0.0).status == 2
    assert machine.answer(0.0) == Answer("application-error", b"\x01", 2)


@pytest.mark.parametrize("protocol", ["m-bus", "clock", "image"])
def test_a_command_that_nobody_knows_is_error_11(protocol: str) -> None:
    machine = application(Script(None))
    machine.take(protocol, bytes.fromhex(PLAIN), 0.0)
    assert machine.answer(0.0).payload == b"\x11"


def test_sitp_without_any_key_is_error_01() -> None:
    machine = application(Script(Outcome()))
    machine.take("sitp", b"\0\0", 0.0)
    assert machine.answer(0.0).payload == b"\x01"


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        ("04 13 01", 0x04),
        ("84" + "80" * 10 + "00 13 00 00 00 00", 0x05),
        ("04 93" + "80" * 10 + "00 00 00 00 00", 0x06),
        ("3F 00", 0x11),
        ("0D 78 FF", 0x11),
        ("2F 2F", 0x15),
        ("", 0x15),
    ],
)
def test_records_that_break_off(octets: str, code: int) -> None:
    machine = application(Script(Outcome()))
    assert machine.take("m-bus", bytes.fromhex(octets), 0.0).status == 2
    assert machine.answer(0.0).payload == bytes((code,))


def test_the_global_readout_is_the_standard_response() -> None:
    machine = application()
    assert machine.take("m-bus", b"\x7f", 0.0).status == 0
    assert machine.answer(0.0).payload == STANDARD


def test_errors_of_functions_stay_until_the_next_command() -> None:
    machine = application(Script(Outcome(error=0x15), Outcome(payload=b"\x2f")))
    assert machine.take("m-bus", bytes.fromhex(PLAIN), 0.0).status == 2
    assert [machine.answer(float(t)).payload for t in range(3)] == [b"\x15"] * 3
    machine.take("m-bus", bytes.fromhex(PLAIN), 3.0)
    assert machine.bits == 0


def test_a_status_has_no_place_in_a_plain_answer() -> None:
    machine = application(Script(Outcome(status=0x23), Outcome(status=0x00)))
    machine.take("clock", b"\x00", 0.0)
    assert machine.answer(0.0).payload == b"\x15"
    machine.take("clock", b"\x00", 0.0)
    assert machine.answer(0.0) == Answer("m-bus", STANDARD)


# -- what takes time -----------------------------------------------------------------------------------------------


def test_busy_until_the_function_has_finished() -> None:
    done = DeviceEvent("image", "valid", 9)
    script = Script(Outcome(busy=True))
    machine = application(script)
    assert machine.take("image", b"\x05", 0.0).status == 1
    assert machine.answer(1.0) == Answer("application-error", b"\x08", 1)
    script.due, script.notices = 30.0, [Notice(Outcome(payload=b"\x85\x09", events=(done,)))]
    assert machine.due == 30.0
    assert machine.timeout(29.0) == []
    assert machine.timeout(30.0) == [done]
    assert machine.answer(31.0) == Answer("image", b"\x85\x09", 0)


def test_busy_with_an_answer() -> None:
    script = Script(Outcome(payload=b"\x85\x07", busy=True))
    machine = application(script)
    machine.take("image", b"\x05", 0.0)
    assert machine.answer(1.0) == Answer("image", b"\x85\x07", 1)
    script.due, script.notices = 2.0, [Notice(Outcome(payload=b"\x85\x08", busy=True))]
    machine.timeout(2.0)
    assert machine.answer(3.0) == Answer("image", b"\x85\x08", 1)
    script.due, script.notices = 4.0, [Notice(Outcome(error=0x12))]
    machine.timeout(4.0)
    assert machine.answer(5.0) == Answer("application-error", b"\x12", 2)


def test_a_late_outcome_does_not_disturb_the_answer_to_another_command() -> None:
    script = Script(Outcome(busy=True), Outcome(payload=b"\x84\x07"))
    machine = application(script)
    machine.take("image", b"\x05", 0.0)
    machine.take("image", b"\x04", 1.0)
    script.due, script.notices = 2.0, [Notice(Outcome(payload=b"\x85\x09"))]
    machine.timeout(2.0)
    assert machine.answer(3.0).payload == b"\x84\x07"


def test_a_late_outcome_after_a_reset_is_nobodys_answer() -> None:
    script = Script(Outcome(busy=True))
    machine = application(script)
    machine.take("image", b"\x05", 0.0)
    machine.take("application-reset", b"", 1.0)
    script.due, script.notices = 2.0, [Notice(Outcome(payload=b"\x85\x09"))]
    machine.timeout(2.0)
    assert machine.answer(3.0).payload == STANDARD


def test_another_function_that_finishes_is_not_waited_for() -> None:
    busy, other = Script(Outcome(busy=True)), Script()
    machine = application(busy, other)
    machine.take("image", b"\x05", 0.0)
    other.due, other.notices = 2.0, [Notice(Outcome(payload=b"\x99"))]
    machine.timeout(2.0)
    assert machine.bits == 1


# -- status and power ------------------------------------------------------------------------------------------------


def test_bits_above_come_from_memory_and_functions() -> None:
    one, two = Script(), Script()
    one.bits, two.bits = 0x04, 0x10
    machine = application(one, two)
    machine._memory.status_bits = 0xE3
    assert machine.status(0.0) == 0xF4


def test_power_takes_selection_answer_and_error() -> None:
    script = Script(Outcome(error=0x15))
    machine = application(script)
    machine.take("m-bus", bytes.fromhex(PLAIN), 0.0)
    machine.power_up(1.0)
    assert machine.state is State.STANDARD
    assert machine.due is None
    assert machine.answer(1.0).payload == STANDARD
    assert script.cuts == 1


class Adds(Function):
    """A function that adds a record."""

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        return None

    def records(self, application: int, now: float) -> Sequence[Record]:
        return records("01 FD 1F 01") if application == 0 else ()


def test_functions_add_their_records_to_the_standard_response() -> None:
    assert application(Adds()).answer(0.0).payload == STANDARD + bytes.fromhex("01 FD 1F 01")
