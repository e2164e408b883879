"""UC-03: every row of the control state machine, both types, both places, delays, refusals, power cuts."""

from __future__ import annotations

import itertools

import pytest

from openmetering.codec.apl.security_transfer import INVALID_TIME, target_time
from openmetering.errors import ProtocolError
from openmetering.protocol.device.disconnector import (
    Connect,
    Control,
    Disconnect,
    DisconnectorFeature,
    ManualAction,
    Release,
)
from openmetering.protocol.device.memory import DeviceMemory
from tests.protocol.device.partner import WAYS, Partner, device, reborn, secured

Way = tuple[str, bool]
EVENTS = (Disconnect, Connect, Release, ManualAction)
TABLE = DisconnectorFeature.TRANSITIONS
#: Figure M.1, as printed
PRINTED = [
    (False, 0, Connect, 1),
    (False, 1, Disconnect, 0),
    (True, 0, Connect, 2),
    (True, 0, Release, 2),
    (True, 2, ManualAction, 1),
    (True, 2, Disconnect, 0),
    (True, 1, Disconnect, 0),
    (True, 1, Connect, 1),
    (True, 1, Release, 1),
]


def partner(way: Way = ("B", False), **options: bool | int) -> Partner:
    return Partner(device(*way, functions={"disconnector": options}))


@pytest.mark.parametrize(("manual", "before", "event", "after"), PRINTED)
def test_printed_rows(manual: bool, before: int, event: type, after: int) -> None:
    memory = DeviceMemory(breaker=before)
    feature = DisconnectorFeature(memory, manual=manual)
    feature._change(event())
    assert (memory.breaker, memory.output) == (after, int(after == 1))


@pytest.mark.parametrize(("manual", "state", "event"), list(itertools.product((False, True), Control, EVENTS)))
def test_every_row_and_every_pair_without_one(manual: bool, state: Control, event: type) -> None:
    memory = DeviceMemory(breaker=state.value)
    feature = DisconnectorFeature(memory, manual=manual)
    row = TABLE[manual].get((state, event))
    if row is None:
        assert not manual
        with pytest.raises(ProtocolError):
            feature._change(event())
        assert feature.state is state
        return
    (told,) = feature._change(event())
    assert feature.state is row
    assert (told.name, told.value) == ("valve", row.value)


def test_rows_that_are_not_printed_change_nothing() -> None:
    printed = {(manual, Control(before), event) for manual, before, event, _ in PRINTED}
    for manual, table in TABLE.items():
        for (state, event), after in table.items():
            assert after is state or (manual, state, event) in printed


# -- get and set ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_state_stands_in_the_standard_response(way: Way) -> None:
    one = partner(way)
    assert one.octets(one.read()).endswith(bytes.fromhex("01 FD 1F 01 01 FD 1A 01"))
    one.send("application-reset", b"\x70")
    assert b"\xfd\x1f" not in one.octets(one.read())


def test_state_stands_in_send_no_reply_that_is_not_static() -> None:
    endpoint = partner(("none", True)).endpoint
    assert endpoint.spontaneous("data", 1, 0.0, ell=True).endswith(bytes.fromhex("01 FD 1F 01 01 FD 1A 01"))
    assert b"\xfd\x1f" not in endpoint.spontaneous("static", 1, 0.0, ell=True)


@pytest.mark.parametrize("way", WAYS)
def test_disconnect_and_reconnect(way: Way) -> None:
    one = partner(way)
    taken = one.secured(0x20, 1, "01 FD 1F 00")
    assert [(event.name, event.detail, event.value) for event in taken.events] == [
        ("valve", "disconnected", 0),
        ("executed", "key 20h", 1),
    ]
    assert one.apdu() == bytes.fromhex("01 FD 1F 00 01 FD 1A 00")
    one.secured(0x20, 2, "01 FD 1F 01")
    assert one.apdu() == bytes.fromhex("01 FD 1F 01 01 FD 1A 01")
    assert one.endpoint.memory.executed == 2


def test_inside_a_meter_it_is_subunit_1() -> None:
    """The computed block of the release command (release, part of a meter)."""
    one = partner(subunit=1, manual=True)
    block = bytes.fromhex("1D 00 00 20 00 32 20 00 10 00 00 00 00 00 00 00 30 01 81 40 FD 1F 02 6A 1B 31 30 76 E0 B9 4F")
    assert secured(0x20, 16, "81 40 FD 1F 02") == block
    one.endpoint.memory.breaker = 0
    one.send("sitp", block)
    assert one.apdu() == bytes.fromhex("81 40 FD 1F 02 81 40 FD 1A 00")
    one.secured(0x20, 17, "01 FD 1F 02")
    assert one.error() == 0x11


def test_manual_switch_on() -> None:
    one = partner(manual=True)
    (feature,) = one.endpoint.application.contents.features
    assert isinstance(feature, DisconnectorFeature)
    one.secured(0x20, 1, "01 FD 1F 00")
    assert feature.manual_action(0.0)[0].value == 0
    one.secured(0x20, 2, "01 FD 1F 01")
    assert one.apdu() == bytes.fromhex("01 FD 1F 02 01 FD 1A 00")
    assert feature.manual_action(0.0)[0].value == 1
    assert one.endpoint.memory.output == 1


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("01 FD 1F 02", 0x15),
        ("01 FD 1F 03", 0x15),
        ("01 FD 1F FF", 0x15),
        ("02 FD 1F 00 00", 0x15),
        ("41 FD 1F 00", 0x11),
        ("81 10 FD 1F 00", 0x11),
        ("81 40 FD 1F 00", 0x11),
        ("01 FD 1F 00 01 FD 1F 00", 0x11),
    ],
)
def test_wrong_commands_change_nothing(way: Way, command: str, code: int) -> None:
    one = partner(way)
    assert one.secured(0x20, 1, command).status == 2
    assert one.error() == code
    assert one.endpoint.memory.breaker == 1
    assert one.endpoint.memory.executed == 0


@pytest.mark.parametrize("way", WAYS)
def test_plain_or_with_another_key(way: Way) -> None:
    one = partner(way)
    assert one.send("m-bus", "01 FD 1F 00").status == 2
    assert one.error() == 0x22
    one.secured(0x24, 1, "01 FD 1F 00")
    assert one.error() == 0x22
    assert one.endpoint.memory.breaker == 1


@pytest.mark.parametrize("time", [target_time(10), INVALID_TIME])
def test_a_delay_is_refused_where_it_is_not_supported(time: bytes) -> None:
    one = partner()
    one.secured(0x20, 1, "01 FD 1F 00", time=time)
    assert one.status() == 0x23
    assert one.endpoint.memory.breaker == 1
    assert one.endpoint.memory.keys[-1].counter == 0


# -- delayed --------------------------------------------------------------------------------------------------------


def delayed(**options: bool | int) -> Partner:
    return partner(delayed=True, **options)


def test_a_delayed_command() -> None:
    one = delayed()
    taken = one.secured(0x20, 1, "01 FD 1F 00", time=target_time(90))
    assert (taken.status, [event.name for event in taken.events]) == (0, ["executed"])
    assert one.status() == 0x01
    assert one.endpoint.memory.breaker == 1
    due = one.now + 90
    assert one.endpoint.deadline == due
    assert one.endpoint.timeout(due - 1) == []
    events = one.endpoint.timeout(due)
    assert [(event.name, event.value) for event in events] == [("valve", 0)]
    assert one.endpoint.memory.pending == []


def test_a_delayed_command_survives_a_power_cut() -> None:
    one = delayed()
    one.secured(0x20, 1, "01 FD 1F 00", time=target_time(90))
    two = reborn(one, {"disconnector": {"delayed": True}})
    assert two.endpoint.deadline == one.now + 90
    two.endpoint.timeout(one.now + 500)
    assert two.endpoint.memory.breaker == 0
    three = reborn(two, {"disconnector": {"delayed": True}})
    assert three.endpoint.deadline is None


def test_a_later_command_takes_the_place_of_a_delayed_one() -> None:
    one = delayed()
    one.secured(0x20, 1, "01 FD 1F 00", time=target_time(90))
    one.secured(0x20, 2, "01 FD 1F 01", time=target_time(50))
    assert len(one.endpoint.memory.pending) == 1
    one.secured(0x20, 3, "01 FD 1F 01")
    assert one.endpoint.memory.pending == []


@pytest.mark.parametrize("time", [INVALID_TIME])
def test_no_automatic_action_is_no_delay(time: bytes) -> None:
    one = delayed()
    one.secured(0x20, 1, "01 FD 1F 00", time=time)
    assert one.status() == 0x23


def test_delayed_commands_of_a_wrong_value_are_refused_at_once() -> None:
    one = delayed()
    one.secured(0x20, 1, "01 FD 1F 02", time=target_time(90))
    assert one.error() == 0x15
    assert one.endpoint.memory.pending == []


def test_a_position_is_persistent() -> None:
    one = partner()
    one.secured(0x20, 1, "01 FD 1F 00")
    two = reborn(one, {"disconnector": {}})
    assert two.octets(two.read()).endswith(bytes.fromhex("01 FD 1F 00 01 FD 1A 00"))
