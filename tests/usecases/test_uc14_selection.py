"""UC-14, data selection: Annex M release C Table M.38. Issue 5.0.1 only."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.records import parse
from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import NotRepresentable
from openmetering.protocol.device.contents import FixedReadings
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator import selection, supervision
from openmetering.protocol.operator.answers import exchange, read_records
from openmetering.protocol.operator.tags import find
from tests.protocol.operator.scripted import DEVICE
from tests.usecases.bench import LINK_FAULTS, NEW_WAYS, POWER_CUTS, WAYS, Bench
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, secured

STATIC = 7 * 16
ID1, MM3, DC1 = bytes.fromhex("0C78"), bytes.fromhex("02FD971D"), bytes.fromhex("01FD1F")


def points(bench: Bench) -> list[bytes] | None:
    """The changed list of application 7, None as long as it is the one of the factory."""
    return bench.memory.lists.get(STATIC)


def untouched(bench: Bench) -> bool:
    return bench.memory.lists == {}


def shorter(bench: Bench) -> None:
    bench.memory.lists[STATIC] = [ID1, MM3]


ADD = Case(
    "add",
    lambda h, i: selection.select_data(h, DEVICE, 7, add=["MM3!"], issue=i),
    lambda b: points(b) == [ID1, MM3],
    untouched,
    {"selection": 1, "executed": 1},
)
SEVERAL = Case(
    "add two, remove one",
    lambda h, i: selection.select_data(h, DEVICE, 7, add=["MM3!", "DC1!"], remove=["ID1!"], issue=i),
    lambda b: points(b) == [MM3, DC1],
    untouched,
    {"selection": 1, "executed": 1},
)
REMOVE = Case(
    "remove",
    lambda h, i: selection.select_data(h, DEVICE, 7, remove=["MM3!"], issue=i),
    lambda b: points(b) == [ID1],
    lambda b: points(b) == [ID1, MM3],
    {"selection": 1, "executed": 1},
    shorter,
)
CASES = [ADD, SEVERAL, REMOVE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_success(way, case):
    result = succeed(case, way)
    tags = {tag for tag in ("MM6!", "ID1!", "MM3!", "DC1!") if find(result.records, tag) is not None}
    assert (
        tags
        == {"add": {"MM6!", "ID1!", "MM3!"}, "add two, remove one": {"MM6!", "MM3!", "DC1!"}, "remove": {"MM6!", "ID1!"}}[
            case.name
        ]
    )


@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_list_is_for_good_and_the_selection_is_not(way):
    """The next request gets the standard response again; a select of application 7 gets the changed list."""
    bench = ADD.bench(way)
    bench.run(ADD.on(bench))
    bench.wait(300.0)
    standard = bench.run(lambda h: supervision.read_status())
    assert standard.standard_flags == 0x405
    octets = bench.run(lambda h: exchange(Command("application-reset", b"\x70")))
    assert [record.header.octets for record in read_records(octets)][:2] == [ID1, MM3]
    assert points(bench) == [ID1, MM3]


@pytest.mark.parametrize("way", NEW_WAYS)
def test_points_that_the_device_does_not_have_are_ignored(way):
    bench = Bench(way)
    result = bench.run(lambda h: selection.select_data(h, DEVICE, 7, add=["MM3!", "DP3!"], remove=["MM8!"]))
    assert find(result.records, "MM3!") is not None
    assert points(bench) == [ID1, MM3]
    bench.agree()


@pytest.mark.parametrize("way", NEW_WAYS)
def test_adding_twice_adds_once(way):
    bench = ADD.bench(way)
    bench.run(ADD.on(bench))
    bench.run(ADD.on(bench))
    assert points(bench) == [ID1, MM3]
    assert len(bench.executed) == 2
    bench.agree()


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(SEVERAL, ADD, REMOVE, ways=NEW_WAYS))
def test_one_fault_at_every_frame(way, case, kind):
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_replay_changes_nothing(way, case):
    replayed(case, way)


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_list_that_is_too_long(way):
    """Application error 03h, and the list is as it was."""
    many = tuple(
        parse(b"".join(bytes((0x84 | 0x40 * (number & 1), number // 2, 0x13)) + bytes(4) for number in range(2, 60))).records
    )
    long = FixedReadings({0: many[:10], 7: many})
    refused(ADD, way, error=0x03, device_readings=long)


@pytest.mark.parametrize("apdu", ["01FDFD80007000FD979D0C", "00FD979D0C"])
@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_plain_form_is_refused(way, apdu):
    refused(Case("plain", lambda h, i: plain(apdu), untouched, untouched), way, error=0x22)


@pytest.mark.parametrize(
    ("apdu", "error"),
    [
        ("00FD979D0C", 0x15),  # no setMM6! in front
        ("00FD979D0D", 0x15),
        ("02FDFD80007000", 0x15),  # a sub code of two octets
        ("01FDFD80007000FD979D07", 0x11),  # another action behind it
    ],
)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_commands_that_are_wrong(way, apdu, error):
    refused(Case("wrong", lambda h, i: secured(h, 0x25, apdu, issue=i), untouched, untouched), way, error=error)


@pytest.mark.parametrize("way", NEW_WAYS)
def test_key_and_target_time(way):
    apdu = "01FDFD80007000FD979D0C"
    refused(Case("key", lambda h, i: secured(h, 0x26, apdu, issue=i), untouched, untouched), way, error=0x22)
    later = lambda h, i: secured(h, 0x25, apdu, issue=i, time=target_time(30))  # noqa: E731
    refused(Case("later", later, untouched, untouched), way, status=0x23)


@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_device_without_the_use_case(way):
    refused(ADD, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.issue == "4.3.3"])
def test_issue_433_does_not_know_it(way):
    refused(Case("absent", lambda h, i: secured(h, 0x25, "01FDFD800070", issue=i), untouched, untouched), way, error=0x11)
    bench = Bench(way)
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: selection.select_data(h, DEVICE, 7, add=["MM3!"], issue="4.3.3"))
    assert bench.count == 0


@pytest.mark.parametrize("way", NEW_WAYS)
def test_wrong_keys(way):
    refused(ADD, way, error=0x20, office_keys=other_keys())
    refused(ADD, way, status=0x19, application_keys=(0x24,))


@pytest.mark.parametrize("way", [name for name, way in NEW_WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(ADD, way, error=0x20, gateway_key=bytes(16))
