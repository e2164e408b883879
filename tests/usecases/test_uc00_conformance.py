"""UC-00, conformance test: Annex M release C Tables M.3 to M.6, in plain form and in the container of ASP10."""

from __future__ import annotations

import pytest

from openmetering.codec.apl import records
from openmetering.errors import NotRepresentable
from openmetering.protocol.operator import conformance
from tests.protocol.operator.scripted import DEVICE
from tests.usecases.bench import LINK_FAULTS, POWER_CUTS, WAYS, Bench
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, secured


def nothing_changed(bench: Bench) -> bool:
    return (bench.memory.breaker, bench.memory.clock_offset, bench.memory.error_flags) == (1, 0.0, 0x405)


PLAIN = Case("UC-00 plain", lambda h, i: conformance.conformance_test(issue=i), nothing_changed, effects={"executed": 0})
SECURED = Case("UC-00 under key 1Fh", lambda h, i: conformance.conformance_test(h, DEVICE, issue=i), nothing_changed)
#: the faults are looked for in the shortest answer and in the longest one
SHORT = Case("UC-00 short", lambda h, i: conformance.conformance_test(functions=(0x32, 0x34), issue=i), nothing_changed)
LONG = Case(
    "UC-00 long under key 1Fh", lambda h, i: conformance.conformance_test(h, DEVICE, functions=(0x33,), issue=i), nothing_changed
)


@pytest.mark.parametrize("case", [PLAIN, SECURED], ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS)
def test_all_functions(way, case):
    report = succeed(case, way)
    assert report.passed, [check.words for check in report.checks]
    assert [check.function for check in report.checks] == [0x30, 0x31, 0x32, 0x33, 0x34]


@pytest.mark.parametrize("way", WAYS)
def test_commands_that_were_carried_out_are_counted(way):
    """Function 30 is refused, and uses up no key counter."""
    bench = SECURED.bench(way)
    bench.run(SECURED.on(bench))
    assert bench.executed == [("key 1Fh", 2), ("key 1Fh", 3), ("key 1Fh", 4), ("key 1Fh", 5)]


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(LONG, SHORT))
def test_one_fault_at_every_frame(way, kind, case):
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_changes_nothing(way):
    replayed(LONG, way)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_function_30_is_a_parameter_error(way):
    refused(Case("function 30", lambda h, i: plain("02FD9F1D4030"), nothing_changed), way, error=0x15)
    refused(Case("function 30", lambda h, i: secured(h, 0x1F, "02FD9F1D4030", issue=i), nothing_changed), way, error=0x15)


@pytest.mark.parametrize("way", WAYS)
def test_the_plain_form_may_be_refused(way):
    case = Case("plain", lambda h, i: plain("02FD9F1D4032"), nothing_changed)
    functions = {"conformance": {"proof_demanded": True}, "keys": {}}
    refused(case, way, error=0x22, functions=functions)
    bench = Case("secured", SECURED.make, nothing_changed).bench(way, functions=functions)
    assert bench.run(SECURED.on(bench)).passed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("function", range(0x35, 0x40))
def test_reserved_functions(way, function):
    """What they answer is not stated: application error 11h here."""
    refused(Case("reserved", lambda h, i: plain(f"02FD9F1D40{function:02X}"), nothing_changed), way, error=0x11)


@pytest.mark.parametrize("way", WAYS)
def test_another_key_does_not_prove_the_test(way):
    refused(Case("key 20h", lambda h, i: secured(h, 0x20, "02FD9F1D4032", issue=i), nothing_changed), way, error=0x22)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_the_use_case(way):
    case = Case("absent", lambda h, i: plain("02FD9F1D4032"), nothing_changed)
    refused(case, way, error=0x11, functions={"keys": {}})


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_application_key(way):
    bench = SECURED.bench(way, office_keys=other_keys())
    report = bench.run(SECURED.on(bench))
    assert not report.passed
    assert bench.executed == []


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(Case("plain", lambda h, i: plain("02FD9F1D4032"), nothing_changed), way, error=0x20, gateway_key=bytes(16))


@pytest.mark.parametrize("way", ["wire none", "C B"])
def test_rc1_is_copied_with_its_upper_bit(way):
    bench = Bench(way)
    assert bench.run(lambda h: plain("02FD9F1DC032")).rstrip(b"\x2f") == bytes.fromhex("04FD9F1DC0324242")
    with pytest.raises(NotRepresentable):
        conformance.xct1(0x32, rc1=0x41)


@pytest.mark.parametrize("way", WAYS)
def test_the_longest_datagram_fills_a_frame(way):
    """Function 33 counts RC1, RC2 and its pattern, and there is no room for a longer one."""
    bench = Bench(way)
    answer = bench.run(lambda h: plain("02FD9F1D4033"))
    assert answer[5:8] == b"\x40\x33\x43"
    assert set(answer[7:].rstrip(b"\x2f")) == {0x43}
    assert not records.parse(answer).fault
    longest = max(len(frame) for direction, frame in bench.frames if direction == "up")
    assert longest > 0xBF
