"""UC-06, supervision: error flags, the status octet, battery life, and how flags are cleared (Annex M release C M.2.7)."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import OutOfRange
from openmetering.protocol.operator import supervision
from tests.protocol.operator.scripted import DEVICE
from tests.usecases.bench import LINK_FAULTS, POWER_CUTS, WAYS, Bench
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, secured

OTHERS = {"supervision": {}, "keys": {}}  # no flags of the maker


def flags(bench: Bench) -> tuple[int, int]:
    return bench.memory.error_flags, bench.memory.device_flags


def troubled(bench: Bench) -> None:
    """Standard flags 0, 2 and 10, flags of the maker 1 and 4, and a low battery."""
    bench.memory.error_flags, bench.memory.device_flags, bench.memory.battery_days = 0x0405, 0x0012, 100


def untouched(bench: Bench) -> bool:
    return flags(bench) == (0x0405, 0x0012)


def case(name, make, after, effects=None, setup=troubled):
    return Case(name, make, lambda b: flags(b) == after, untouched, effects or {"status-cleared": 1, "executed": 1}, setup)


CLEAR_BITS = case("clear bits of MM3!", lambda h, i: supervision.clear_flags(h, DEVICE, 0x0400, issue=i), (0x0005, 0x0012))
CLEAR_MAKER = case(
    "clear bits of MM2!", lambda h, i: supervision.clear_flags(h, DEVICE, 0x0002, standard=False, issue=i), (0x0405, 0x0010)
)
CLEAR_ALL = case("clear all", lambda h, i: supervision.clear_all_flags(h, DEVICE, issue=i), (0, 0))
GET = case("get", lambda h, i: supervision.read_status(), (0x0405, 0x0012), {"status-cleared": 0, "executed": 0})
CLEAR = [CLEAR_BITS, CLEAR_MAKER, CLEAR_ALL]


@pytest.mark.parametrize("which", CLEAR, ids=lambda which: which.name)
@pytest.mark.parametrize("way", WAYS)
def test_clear(way, which):
    result = succeed(which, way)
    expected = {"clear bits of MM3!": (None, 0x0005), "clear bits of MM2!": (0x0010, None), "clear all": (0, 0)}[which.name]
    assert (result.flags, result.standard_flags) == expected


@pytest.mark.parametrize("way", WAYS)
def test_get(way):
    result = succeed(GET, way)
    assert (result.flags, result.standard_flags) == (0x0012, 0x0405)
    assert result.power_low
    assert result.temporary_error
    assert not result.permanent_error
    assert str(result.battery.value) == "100"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_permanent_stays(way):
    """The answer tells what remains, and the status octet goes on saying so."""
    bench = CLEAR_ALL.bench(way)
    bench.memory.permanent_flags = 0x0004
    result = bench.run(CLEAR_ALL.on(bench))
    assert (result.flags, result.standard_flags) == (0, 0x0004)
    after = bench.run(lambda h: supervision.read_status())
    assert after.standard_flags == 0x0004
    assert after.permanent_error
    assert not after.temporary_error
    bench.agree()


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "which"), risks(CLEAR_ALL, CLEAR_BITS, CLEAR_MAKER, GET))
def test_one_fault_at_every_frame(way, which, kind):
    assert one_fault(which, way, kind) >= 2


@pytest.mark.parametrize("which", CLEAR, ids=lambda which: which.name)
@pytest.mark.parametrize("way", WAYS)
def test_a_replay_changes_nothing(way, which):
    replayed(which, way)


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_does_not_clear_a_flag_that_came_later(way):
    bench = CLEAR_ALL.bench(way)
    bench.run(CLEAR_ALL.on(bench))
    bench.settle()
    bench.memory.error_flags = 0x0101
    bench.replay_all()
    assert bench.memory.error_flags == 0x0101
    assert len(bench.happened("status-cleared")) == 1


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apdu", ["02FD97060200", "02FD979D060004", "00FD979D07"])
@pytest.mark.parametrize("way", WAYS)
def test_the_plain_form_is_refused(way, apdu):
    refused(case("plain", lambda h, i: plain(apdu), (0, 0)), way, error=0x22)


@pytest.mark.parametrize("way", WAYS)
def test_the_key_of_another_use_case(way):
    refused(case("key", lambda h, i: secured(h, 0x20, "00FD979D07", issue=i), (0, 0)), way, error=0x22)


@pytest.mark.parametrize("way", WAYS)
def test_a_target_time_other_than_immediate(way):
    make = lambda h, i: secured(h, 0x24, "00FD979D07", issue=i, time=target_time(30))  # noqa: E731
    refused(case("later", make, (0, 0)), way, status=0x23)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_flags_of_its_maker(way):
    refused(CLEAR_MAKER, way, error=0x11, functions=OTHERS)


@pytest.mark.parametrize("way", WAYS)
def test_a_device_without_the_use_case(way):
    refused(CLEAR_ALL, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("way", WAYS)
def test_wrong_keys(way):
    refused(CLEAR_ALL, way, error=0x20, office_keys=other_keys())
    refused(CLEAR_ALL, way, status=0x19, application_keys=(0x20,))


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(CLEAR_BITS, way, error=0x20, gateway_key=bytes(16))


def test_a_mask_of_nothing_is_not_sent():
    bench = Bench("C B")
    with pytest.raises(OutOfRange):
        bench.run(lambda h: supervision.clear_flags(h, DEVICE, 0))
    assert bench.count == 0
