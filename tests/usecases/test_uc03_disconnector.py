"""UC-03, disconnection and reconnection: Annex M release C Tables M.7 to M.10, Figure M.1."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import Refused
from openmetering.protocol.operator import disconnector
from openmetering.protocol.operator.disconnector import DisconnectorState
from tests.protocol.operator.scripted import DEVICE
from tests.usecases.bench import FUNCTIONS, LINK_FAULTS, POWER_CUTS, WAYS, Bench, Fault
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, secured

MANUAL = {"disconnector": {"manual": True, "delayed": True}, "keys": {}}
INSIDE = {"disconnector": {"subunit": 1}, "keys": {}}


def states(bench: Bench) -> tuple[int | None, int | None]:
    return bench.memory.breaker, bench.memory.output


def connected(bench: Bench) -> bool:
    return states(bench) == (1, 1)


def off(bench: Bench) -> None:
    bench.memory.breaker, bench.memory.output = 0, 0


DISCONNECT = Case(
    "disconnect",
    lambda h, i: disconnector.set_disconnector(h, DEVICE, "disconnected", issue=i),
    lambda b: states(b) == (0, 0),
    connected,
    {"valve": 1, "executed": 1},
)
CONNECT = Case(
    "connect",
    lambda h, i: disconnector.set_disconnector(h, DEVICE, "connected", issue=i),
    connected,
    lambda b: states(b) == (0, 0),
    {"valve": 1, "executed": 1},
    off,
)
RELEASE = Case(
    "release",
    lambda h, i: disconnector.set_disconnector(h, DEVICE, "released", issue=i),
    lambda b: states(b) == (2, 0),
    lambda b: states(b) == (0, 0),
    {"valve": 1, "executed": 1},
    off,
    options={"functions": MANUAL},
)
LATER = Case(
    "disconnect later",
    lambda h, i: disconnector.set_disconnector(h, DEVICE, "disconnected", delay=40, issue=i),
    lambda b: states(b) == (0, 0),
    connected,
    {"valve": 1, "executed": 1},
)
GET = Case("get", lambda h, i: disconnector.read_disconnector(), connected, effects={"valve": 0, "executed": 0})
SET = [DISCONNECT, CONNECT, RELEASE]


@pytest.mark.parametrize("case", SET, ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_set(way, case):
    result = succeed(case, way)
    assert not result.scheduled
    expected = {"disconnect": (0, 0), "connect": (1, 1), "release": (2, 0)}[case.name]
    assert result.state == DisconnectorState(*expected)


@pytest.mark.parametrize("way", WAYS)
def test_get(way):
    assert succeed(GET, way) == DisconnectorState(1, 1)


@pytest.mark.parametrize("way", WAYS)
def test_inside_a_meter_it_has_subunit_1(way):
    bench = Bench(way, functions=INSIDE)
    issue = bench.way.issue
    result = bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected", part_of_meter=True, issue=issue))
    assert result.state == DisconnectorState(0, 0)
    assert states(bench) == (0, 0)
    bench.agree()
    with pytest.raises(Refused) as caught:  # subunit 0 is nobody there
        bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "connected", issue=issue))
    assert caught.value.error == 0x11
    assert states(bench) == (0, 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_delayed_command(way):
    """Status 01h at once, the valve moves when its time has come, the operator reads it then."""
    bench = LATER.bench(way)
    result = bench.run(LATER.on(bench))
    assert result.scheduled
    assert states(bench) == (1, 1)
    began = bench.kernel.now
    while not bench.happened("valve"):
        bench.wait(1.0)
        assert bench.kernel.now < began + 42.0
    bench.settle()
    assert bench.run(lambda h: disconnector.read_disconnector()) == DisconnectorState(0, 0)
    LATER.check(bench)


@pytest.mark.parametrize("way", WAYS)
def test_a_later_command_replaces_a_delayed_one(way):
    bench = Bench(way)
    issue = bench.way.issue
    bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "disconnected", delay=3600, issue=issue))
    bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, "connected", issue=issue))
    bench.wait(4000.0)
    assert states(bench) == (1, 1)
    assert bench.memory.pending == []
    bench.agree()


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(DISCONNECT, CONNECT, RELEASE, LATER, GET))
def test_one_fault_at_every_frame(way, case, kind):
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("case", SET, ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_a_replay_changes_nothing(way, case):
    replayed(case, way)


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_after_the_opposite_command(way):
    """Off, on, and then the recorded "off" again."""
    bench = DISCONNECT.bench(way)
    bench.run(DISCONNECT.on(bench))
    recorded = list(bench.frames)
    bench.run(CONNECT.on(bench))
    bench.settle()
    bench.frames[:] = recorded
    bench.replay_all()
    assert states(bench) == (1, 1)
    assert len(bench.happened("valve")) == 2
    bench.run(DISCONNECT.on(bench))
    assert states(bench) == (0, 0)
    bench.agree()


@pytest.mark.parametrize("way", WAYS)
def test_a_power_cut_while_a_command_waits(way):
    """The delayed command stands in the memory of the device."""
    bench = LATER.bench(way)
    bench.run(LATER.on(bench))
    bench.cut_device()
    bench.settle()
    LATER.check(bench)


@pytest.mark.parametrize("when", ["before-operator", "after-operator"])
@pytest.mark.parametrize("way", WAYS)
def test_an_operator_who_changes_his_mind_after_a_power_cut(way, when):
    """He wanted to disconnect, lost his power, and wants to connect now: the valve ends open, whatever was under way."""
    for number in range(20):
        bench = DISCONNECT.bench(way)
        try:
            bench.run(DISCONNECT.on(bench), Fault(when, number))
        except Exception:
            assert bench.fault_happened
        bench.wait(4.0)
        bench.persist(CONNECT.on(bench))
        bench.settle()
        assert states(bench) == (1, 1), (number, bench.story())
        bench.agree()
        if not bench.fault_happened:
            break


# -- the control state machine, Figure M.1 -----------------------------------------------------------------

FIGURE = [
    # manual, state, command, new state
    (False, 0, "connected", 1),
    (False, 1, "disconnected", 0),
    (True, 0, "connected", 2),
    (True, 0, "released", 2),
    (True, 2, "disconnected", 0),
    (True, 1, "disconnected", 0),
    (True, 1, "connected", 1),
    (True, 1, "released", 1),
]


@pytest.mark.parametrize(("manual", "before", "command", "after"), FIGURE)
@pytest.mark.parametrize("way", ["wire none", "wire none 4.3.3", "C B", "C A 4.3.3"])
def test_control_states(way, manual, before, command, after):
    bench = Bench(way, functions=MANUAL if manual else FUNCTIONS)
    bench.memory.breaker, bench.memory.output = before, int(before == 1)
    result = bench.run(lambda h: disconnector.set_disconnector(h, DEVICE, command, issue=bench.way.issue))
    assert bench.memory.breaker == after == result.state.control
    assert bench.memory.output == int(after == 1) == result.state.output
    bench.agree()


@pytest.mark.parametrize("way", ["wire none", "C B"])
def test_a_released_breaker_is_switched_on_by_hand(way):
    bench = RELEASE.bench(way)
    bench.run(RELEASE.on(bench))
    feature = bench.endpoint.application.contents.features[0]
    feature.manual_action(bench.kernel.now)
    assert bench.run(lambda h: disconnector.read_disconnector()) == DisconnectorState(1, 1)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_direct_type_cannot_be_released(way):
    make = lambda h, i: disconnector.set_disconnector(h, DEVICE, "released", issue=i)  # noqa: E731
    refused(Case("release", make, connected, connected), way, error=0x15)


@pytest.mark.parametrize("value", ["03", "FF"])
@pytest.mark.parametrize("way", WAYS)
def test_values_that_are_no_state(way, value):
    refused(Case("value", lambda h, i: secured(h, 0x20, f"01FD1F{value}", issue=i), connected, connected), way, error=0x15)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_delays(way):
    refused(LATER, way, status=0x23, functions={"disconnector": {}, "keys": {}})


@pytest.mark.parametrize("way", WAYS)
def test_a_target_time_that_is_not_understood(way):
    time = bytes.fromhex("0102030405")
    assert time != target_time(0)
    make = lambda h, i: secured(h, 0x20, "01FD1F00", issue=i, time=time)  # noqa: E731
    refused(Case("target time", make, connected, connected), way, status=0x23)


@pytest.mark.parametrize("way", WAYS)
def test_the_plain_form_is_refused(way):
    refused(Case("plain", lambda h, i: plain("01FD1F00"), connected, connected), way, error=0x22)


@pytest.mark.parametrize("way", WAYS)
def test_the_key_of_another_use_case(way):
    refused(Case("key 24h", lambda h, i: secured(h, 0x24, "01FD1F00", issue=i), connected, connected), way, error=0x22)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_the_use_case(way):
    refused(DISCONNECT, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_application_key(way):
    refused(DISCONNECT, way, error=0x20, office_keys=other_keys())


@pytest.mark.parametrize("way", WAYS)
def test_a_key_the_device_does_not_have(way):
    refused(DISCONNECT, way, status=0x19, application_keys=(0x24,))


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(DISCONNECT, way, error=0x20, gateway_key=bytes(16))
