"""UC-20, adapter management: address and index of the meter behind an adapter (Annex M release C M.2.12). Issue 5.0.1 only."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from openmetering.codec.address import Address
from openmetering.codec.apl.security_transfer import target_time
from openmetering.errors import ExchangeFailed, NotRepresentable, OmsError, OutOfRange
from openmetering.protocol.exchange import GiveKey
from openmetering.protocol.gateway.events import DeviceLink, Register
from openmetering.protocol.gateway.wired_gateway import RegisterSlave, SlaveLink
from openmetering.protocol.operator import adapter
from openmetering.protocol.operator.operator import Operator
from openmetering.protocol.operator.registration import Found, read_for_registration
from openmetering.protocol.operator.secured import settle
from openmetering.security import KeyRing
from openmetering.simulation.kernel import Node
from tests.protocol.operator.scripted import DEVICE, MASTER_KEY, ring
from tests.usecases.bench import LINK_FAULTS, NEW_WAYS, POWER_CUTS, RISKY, WAYS, Bench, Fault, PowerCut
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, risks, succeed
from tests.usecases.raw import plain, secured

NEW = Address.parse("XYZ-11223344-55-20")
LITRES = bytes.fromhex("0C13")


def index(bench: Bench) -> int:
    return bench.memory.indexes["VM1!"]


def untouched(bench: Bench) -> bool:
    return index(bench) == 1000 and bench.memory.pending == [] and bench.memory.address == b""


def change(name: str, action: Any, value: str, after: int) -> Case:
    return Case(
        name,
        lambda h, i: adapter.change_index(h, DEVICE, "VM1!", LITRES, action, Decimal(value), issue=i),
        lambda b: index(b) == after,
        untouched,
        {"index": 1, "executed": 1},
    )


SET = change("set", "set", "7.5", 7500)
ADD = change("add", "add", "0.367", 1367)
SUB = change("subtract", "sub", "1.000", 0)
GET = Case("get", lambda h, i: adapter.read_index("VM1!", b"\x13", issue=i), untouched, effects={"executed": 0})
CHANGES = [SET, ADD, SUB]


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_index_is_changed(way, case):
    result = succeed(case, way)
    assert result.index.value == Decimal({"set": "7.5", "add": "1.367", "subtract": "0"}[case.name])


@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_index_is_read(way):
    assert succeed(GET, way).value == Decimal(1)


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize(("way", "case"), risks(ADD, SET, SUB, GET, ways=NEW_WAYS))
def test_one_fault_at_every_frame(way, case, kind):
    """Above all nothing is added twice."""
    assert one_fault(case, way, kind) >= 2


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_replay_changes_nothing(way, case):
    replayed(case, way)


# -- refusals: index ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apdu", "why"),
    [
        ("0C93020110 0000", "1001 l less than 1000 l"),
        ("0C930199999999", "more than eight digits"),
        ("0C9200 05000000", "finer than the index"),
        ("0C9300 010000F0", "negative"),
    ],
)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_values_that_do_not_fit(way, apdu, why):
    make = lambda h, i: secured(h, 0x27, apdu, issue=i)  # noqa: E731
    refused(Case(why, make, untouched, untouched), way, error=0x15)


@pytest.mark.parametrize("apdu", ["0C930067030000", "0A93016703", "0A93026703", "07F9007856341278563412"])
@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_plain_form_is_refused(way, apdu):
    refused(Case("plain", lambda h, i: plain(apdu), untouched, untouched), way, error=0x22)


@pytest.mark.parametrize("apdu", ["0A93016703", "07F900FFFF3412FFFFFFFF"])
@pytest.mark.parametrize("way", NEW_WAYS)
def test_the_key_of_another_use_case(way, apdu):
    refused(Case("key", lambda h, i: secured(h, 0x26, apdu, issue=i), untouched, untouched), way, error=0x22)


@pytest.mark.parametrize("way", NEW_WAYS)
def test_an_index_is_changed_at_once(way):
    later = lambda h, i: secured(h, 0x27, "0A93016703", issue=i, time=target_time(30))  # noqa: E731
    refused(Case("later", later, untouched, untouched), way, status=0x23)


@pytest.mark.parametrize("case", [ADD, GET], ids=lambda case: case.name)
@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_device_without_the_use_case(way, case):
    refused(Case(case.name, case.make, lambda b: True), way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("way", NEW_WAYS)
def test_another_index(way):
    """The adapter has a volume; an energy is asked for."""
    refused(Case("energy", lambda h, i: secured(h, 0x27, "04860078000000", issue=i), untouched, untouched), way, error=0x11)


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.issue == "4.3.3"])
def test_issue_433_does_not_know_it(way):
    for apdu in ("0A93016703", "07F900FFFF3412FFFFFFFF"):
        make = lambda h, i, apdu=apdu: secured(h, 0x27, apdu, issue=i)  # noqa: E731
        refused(Case("absent", make, lambda b: True), way, error=0x11)
    bench = Bench(way)
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: adapter.read_index("VM1!", b"\x13", issue="4.3.3"))
    assert bench.count == 0


@pytest.mark.parametrize("way", NEW_WAYS)
def test_wrong_keys(way):
    refused(ADD, way, error=0x20, office_keys=other_keys())
    refused(ADD, way, status=0x19, application_keys=(0x24,))


@pytest.mark.parametrize("way", [name for name, way in NEW_WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(ADD, way, error=0x20, gateway_key=bytes(16))


# -- address -----------------------------------------------------------------------------------------------


def both_addresses() -> KeyRing:
    """The keys of the meter under the address it has and the one it will have."""
    keys = ring()
    for _, key in list(ring()):
        keys.add(NEW.link_octets(), key.octets, key.key_id, key.version)
    return keys


def move(bench: Bench) -> None:
    """The operator takes the journal along and has the gateway look for the new address."""
    way = bench.way
    bench.head_end.move(DEVICE, NEW)
    key = KeyRing()
    key.add(NEW.link_octets(), MASTER_KEY, 0, 0)
    if way.wired:
        bench.gateway.post(RegisterSlave(SlaveLink(NEW, 7 if way.primary else None, profile=way.profile, snd_ud2=way.snd_ud2)))
    else:
        bench.gateway.post(Register(DeviceLink(NEW, way.profile, mode=way.mode, largest=255)))  # type: ignore[arg-type]
    bench.gateway.post(GiveKey(NEW, key, 0, 0))
    number = bench._operators = bench._operators + 1
    bench.operator = Node(bench.kernel, Operator.numbered(NEW, number), lambda event, now: bench._from_operator(number, event))


def set_address(delay: int = 60, *, to: Address = NEW, beyond: bool = False) -> Any:
    return lambda h, i: adapter.set_meter_address(h, DEVICE, to, delay=delay, beyond_limit=beyond, issue=i)


ADDRESS = Case("address", set_address(), lambda b: b.endpoint.address == NEW, untouched, {"address": 1, "executed": 1})


@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_new_address(way):
    """Status 01h at once; the session ends under the old address; then the meter is reached under the new one only."""
    bench = Bench(way, office_keys=both_addresses())
    result = bench.run(ADDRESS.on(bench))
    assert result.scheduled
    assert bench.endpoint.address == DEVICE
    bench.wait(140.0)
    assert bench.endpoint.address == NEW
    assert len(bench.happened("address")) == 1
    bench.wait(300.0)
    move(bench)
    assert bench.run(lambda h: read_for_registration(Found(NEW))).records
    changed = bench.run(lambda h: adapter.change_index(h, NEW, "VM1!", LITRES, "add", Decimal("0.001")))
    assert changed.index.value == Decimal("1.001")
    assert bench.executed == [("key 27h", 1), ("key 27h", 2)]


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize("way", [name for name in RISKY if name in NEW_WAYS])
def test_one_fault_at_every_frame_while_the_address_changes(way, kind):
    """If nobody knows whether it was taken, the key counter tells: under the old address, or under the new one."""
    for number in range(20):
        bench = Bench(way, office_keys=both_addresses())
        done = False
        try:
            bench.run(ADDRESS.on(bench), Fault(kind, number))
            done = True
        except (ExchangeFailed, PowerCut):
            pass
        except OmsError:
            if kind != "corrupt":
                raise
        bench.wait(200.0)
        if bench.endpoint.address == DEVICE:
            assert not done
            bench.persist(ADDRESS.on(bench))
            bench.wait(200.0)
        bench.wait(300.0)  # what a command left behind is forgotten
        move(bench)
        bench.persist(lambda h: read_for_registration(Found(NEW)))
        bench.run(lambda h: settle(h, NEW))
        story = (number, bench.events, bench.story())
        assert bench.endpoint.address == NEW, story
        assert len(bench.happened("address")) == 1, story
        assert len(bench.executed) == 1, story
        assert bench.head_end.journal(NEW).commands == (), story
        assert bench.head_end.journal(DEVICE).commands == ()
        if not bench.fault_happened:
            return
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("wanted", "after"),
    [
        ("78563412FFFFFFFF", "XYZ-12345678-55-20"),
        ("21436587FFFFFFFF", "XYZ-87654321-55-20"),
        ("FFFF2143FFFFFFFF", "XYZ-43215678-55-20"),
        ("FFFFFFFF3A63FFFF", "XYZ-12345678-55-20"),
        ("FFFFFFFFFFFF0A07", "XYZ-12345678-0A-07"),
    ],
)
@pytest.mark.parametrize("way", ["wire none", "C B"])
def test_wildcards_keep_the_old_part(way, wanted, after):
    bench = Bench(way)
    bench.run(lambda h: secured(h, 0x27, f"07F900{wanted}", issue="5.0.1", time=target_time(40)))
    bench.wait(200.0)
    assert str(bench.endpoint.address) == after


@pytest.mark.parametrize("way", NEW_WAYS)
def test_a_delay_that_is_too_long(way):
    case = Case("121 s", set_address(121, beyond=True), untouched, untouched)
    refused(case, way, status=0x23)
    bench = Bench(way)
    with pytest.raises(OutOfRange):
        bench.run(lambda h: adapter.set_meter_address(h, DEVICE, NEW, delay=121))
    assert bench.count == 0


@pytest.mark.parametrize("way", NEW_WAYS)
def test_an_address_that_is_none(way):
    """An identification number with a digit that is neither decimal nor F."""
    make = lambda h, i: secured(h, 0x27, "07F9007A563412FFFFFFFF", issue=i)  # noqa: E731
    refused(Case("address", make, untouched, untouched), way, error=0x15)


@pytest.mark.parametrize("way", NEW_WAYS)
def test_wrong_keys_for_the_address(way):
    case = Case("address", set_address(), untouched, untouched)
    refused(case, way, error=0x20, office_keys=other_keys())
    refused(case, way, status=0x19, application_keys=(0x24,))
    refused(case, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("way", ["wire none", "C B", "C D"])
def test_a_power_cut_while_the_address_waits(way):
    bench = Bench(way)
    bench.run(ADDRESS.on(bench))
    bench.cut_device()
    bench.wait(200.0)
    assert bench.endpoint.address == NEW
    assert len(bench.happened("address")) == 1
