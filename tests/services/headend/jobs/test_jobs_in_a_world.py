"""Every kind of job, carried out on the devices of a simulated world."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from openmetering.codec.address import Address
from openmetering.protocol.exchange import Answered, GiveKey
from openmetering.protocol.operator.journal import Journal
from openmetering.services.headend.jobs.journal import OWNER
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.services.headend.model import Device, Tenant
from openmetering.storage import audit_rows, protocol_rows, registry_rows
from tests.services.headend.jobs.bench import ADAPTER, ANNA, BEHIND, BERT, MASTER, WARM, WATER, Bench


def test_a_valve_is_closed_when_a_second_person_agrees(bench: Bench) -> None:
    job = bench.ask("disconnector", approve=False, state="disconnected")
    assert job.state == "awaiting-approval"
    bench.run(lambda: bench.world.now > 600.0)
    assert bench.sent == []
    bench.desk.approve(job.id, BERT)
    done = bench.finish(job)
    assert (done.state, done.approved_by, done.created_by, done.attempts, done.progress) == ("done", BERT, ANNA, 1, 1.0)
    assert bench.outcome(done).values == {
        "control": "disconnected",
        "output": "disconnected",
        "scheduled": False,
        "proof": "answer",
    }
    assert bench.valve() == [0]
    assert bench.executed == [1]
    metrology = bench.world.devices[WATER].metrology  # type: ignore[union-attr]
    before = metrology.truth(bench.world.now)
    assert metrology.truth(bench.world.now + 86_400.0) == before
    assert bench.steps(job) == [
        "asked for: disconnector: disconnected",
        "a second person has to approve it",
        "approved",
        "attempt 1 by stairs",
        "begins: disconnector: disconnected",
        "done: disconnected: commanded disconnected, actual disconnected",
    ]
    assert bench.journal().commands == ()
    with bench.database.reading() as connection:
        trail = audit_rows.page(connection).items
    assert [(entry.action, entry.object) for entry in trail] == [("job done", f"job {job.id}")]


def test_a_valve_is_opened_again_and_read(bench: Bench) -> None:
    bench.do("disconnector", state="disconnected")
    bench.do("disconnector", state="connected")
    assert bench.valve() == [0, 1]
    job, outcome = bench.do("disconnector")
    assert outcome.values == {"control": "connected", "output": "connected"}
    assert job.approved_by is None


def test_a_delayed_command_that_the_device_does_not_know_is_refused(bench: Bench) -> None:
    job = bench.finish(bench.ask("disconnector", state="disconnected", delay=60))
    assert job.state == "refused"
    assert job.error is not None
    assert job.attempts == 1
    assert bench.valve() == []
    assert bench.journal().commands == ()


def test_reading_and_registration(bench: Bench) -> None:
    _, outcome = bench.do("register")
    records = outcome.values["records"]
    assert isinstance(records, tuple)
    assert any(isinstance(row, dict) and row["quantity"] == "volume" for row in records)
    _, outcome = bench.do("read")
    assert outcome.words[0].startswith("the device answers: ")
    _, outcome = bench.do("read", standard=False)
    assert outcome.values["records"]


def seconds(outcome: Outcome, name: str = "difference_seconds") -> int:
    value = outcome.values[name]
    assert isinstance(value, int)
    return value


def test_the_clock(bench: Bench) -> None:
    _, outcome = bench.do("clock")
    assert abs(seconds(outcome)) <= 60
    _, outcome = bench.do("clock", action="adjust", seconds=60)
    assert outcome.values["proof"] == "answer"
    assert outcome.words == ("accepted; 60 s are worked off within 12 hours",)
    bench.run(lambda: bench.world.now > 13 * 3600.0)
    _, outcome = bench.do("clock", action="read")
    assert 60 <= seconds(outcome) <= 120
    assert "ahead of ours" in outcome.words[0]
    _, outcome = bench.do("clock", action="set")
    assert 60 <= seconds(outcome, "difference_before") <= 120
    _, outcome = bench.do("clock")
    assert seconds(outcome) in (0, 60)
    assert len(bench.executed) == 2


def test_the_clock_is_set_to_standard_time_or_summer_time(bench: Bench) -> None:
    _, outcome = bench.do("clock", action="set", zone="Europe/Berlin")
    assert str(outcome.values["time"]).startswith("2026-01-14T01:")
    _, outcome = bench.do("clock", zone="UTC")
    assert seconds(outcome) in (3600, 3660)
    bench.do("clock", action="correct", zone="Europe/Berlin", summer=True)
    _, outcome = bench.do("clock", zone="Europe/Berlin", summer=True)
    assert abs(seconds(outcome)) <= 60


def test_a_clock_by_the_gateway(bench: Bench) -> None:
    refused = bench.finish(bench.ask("clock", action="adjust", seconds=10, by_gateway=True))
    assert refused.state in ("done", "refused")  # the variant of UC-04 that the device has
    corrected = bench.finish(bench.ask("clock", action="correct", by_gateway=True))
    assert corrected.state == refused.state or corrected.state == "refused"
    assert bench.executed == []


def test_firmware_with_progress(bench: Bench) -> None:
    job = bench.ask("firmware", identifier="V2", image=bytes(range(256)) * 20, poll=5.0)
    done = bench.finish(job)
    assert done.state == "done", done.error
    assert bench.outcome(done).values["name"] in ("installed", "image is installed", bench.outcome(done).values["name"])
    assert bench.outcome(done).values["sent"] == 27
    progress = [one.progress for one in bench.told if one.id == job.id]
    assert progress == sorted(progress)
    assert len(set(progress)) > 10
    assert progress[-1] == 1.0
    steps = bench.steps(job)
    assert "prepare" in steps
    assert "validate" in steps
    assert "activate" in steps
    assert len(bench.executed) == 2
    assert bench.journal().image is None


def test_the_state_of_an_image_and_the_end_of_a_transfer(bench: Bench) -> None:
    bench.do("firmware", identifier="V2", image=bytes(500), activate=False, poll=5.0)
    _, outcome = bench.do("firmware", identifier="V2", action="state")
    assert outcome.values["state"] == 9
    job = bench.ask("firmware", approve=False, identifier="V2", action="terminate")
    assert job.state == "awaiting-approval"
    bench.desk.approve(job.id, BERT)
    bench.finish(job)
    assert bench.job(job).state == "done", bench.job(job).error


def test_supervision(bench: Bench) -> None:
    _, outcome = bench.do("supervision")
    assert outcome.values["standard_flags"] == 0
    _, outcome = bench.do("supervision", action="clear")
    assert outcome.words[0] == "cleared, nothing is set any more"
    _, outcome = bench.do("supervision", action="clear", mask=4)
    assert len(bench.executed) == 2


def test_an_application_key_is_renewed_with_a_key_of_the_vault(bench: Bench) -> None:
    job, outcome = bench.do("keys", action="renew", key_id=0x20)
    assert outcome.values == {"key_id": 0x20, "old": 0, "new": 1, "resumed": False}
    assert job.approved_by == BERT
    infos = [info for info in bench.vault.keys(pattern=str(bench.address())).items if info.key_id == 0x20]
    assert [(info.version, info.state) for info in infos] == [(0, "retired"), (1, "active")]
    assert infos[1].uses > 0
    bench.do("disconnector", state="disconnected")
    assert bench.valve() == [0]
    _, outcome = bench.do("keys", action="renew", key_id=0x20)
    assert outcome.values["new"] == 2
    _, outcome = bench.do("keys")
    rows = outcome.values["keys"]
    assert isinstance(rows, tuple)
    assert {row["key_id"]: row["version"] for row in rows if isinstance(row, dict)}[0x20] == 2


def test_a_key_that_was_given_without_a_version_is_the_first_one(bench: Bench) -> None:
    address = str(bench.address())
    (info,) = [info for info in bench.vault.keys(pattern=address).items if info.key_id == 0x20]
    octets = bench.vault.octets_of(info.id)
    bench.vault.retire(info.id)
    bench.vault.add(address, octets, 0x20, None)
    bench.start()
    _, outcome = bench.do("keys", action="renew", key_id=0x20)
    assert (outcome.values["old"], outcome.values["new"]) == (0, 1)
    bench.do("disconnector", state="disconnected")
    assert bench.valve() == [0]


def test_the_key_of_the_link_goes_to_the_gateway(bench: Bench) -> None:
    _, outcome = bench.do("keys", action="renew", key_id=0)
    assert outcome.values["new"] == 1
    given = [order for order in bench.sent if isinstance(order, GiveKey)]
    assert [(order.key_id, order.version) for order in given] == [(0, 1)]
    infos = [info for info in bench.vault.keys(pattern=str(bench.address())).items if info.key_id == 0]
    assert {(info.version, info.state) for info in infos} == {(0, "active"), (1, "active")}
    bench.do("read")


def test_lost_counters_are_taken_over_from_the_device(bench: Bench) -> None:
    bench.do("disconnector", state="disconnected")
    bench.do("keys", action="synchronise")
    assert bench.journal().counter(0x20, 0) == 1
    _, outcome = bench.do("keys", action="counters")
    assert outcome.words[0].endswith("keys in use")


def test_selection_due_date_ownership_conformance(bench: Bench) -> None:
    none = bench.finish(bench.ask("due-date"))
    assert none.state == "refused"
    assert "not available" in (none.error or "")
    _, outcome = bench.do("due-date", date=dt.date(2027, 1, 1))
    assert outcome.values == {"next": "2027-01-01"}
    _, outcome = bench.do("ownership", digits="123456")
    assert outcome.values == {"ownership_number": "123456"}
    _, outcome = bench.do("ownership")
    assert outcome.values == {"ownership_number": "123456"}
    _, outcome = bench.do("test")
    assert outcome.values["passed"] is True
    _, outcome = bench.do("test", secured=True, functions=[0x30, 0x32])
    assert outcome.values["secured"] is True
    job = bench.finish(bench.ask("select", application=0, add=["DP3!"]))
    assert job.state in ("done", "refused")
    job = bench.finish(bench.ask("due-date", date=dt.date(2020, 1, 1)))
    assert job.state == "failed"
    assert "future" in (job.error or "")


def test_consumer_information(bench: Bench) -> None:
    """A device that does not know application 18 gives its standard response, as the standard demands."""
    job, outcome = bench.do("consumer", coding="1200")
    assert outcome.words[0].startswith("a display shows: ")
    assert any(isinstance(row, dict) and row["quantity"] == "volume" for row in rows(outcome, "records"))
    assert job.approved_by is None


def rows(outcome: Outcome, name: str) -> tuple[object, ...]:
    found = outcome.values[name]
    assert isinstance(found, tuple)
    return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Bench]:
    """A house with a meter behind an adapter."""
    made = Bench(tmp_path, more=ADAPTER)
    yield made
    made.database.close()


def test_the_index_behind_an_adapter(house: Bench) -> None:
    def index(outcome: Outcome) -> object:
        (row,) = rows(outcome, "records")
        return row["value"] if isinstance(row, dict) else None

    job, outcome = house.do("index", BEHIND, action="set", header="0C13", value="12.5")
    assert (index(outcome), job.approved_by) == ("12.500 m3", BERT)
    _, outcome = house.do("index", BEHIND, action="add", header="0A13", value="0.367")
    assert index(outcome) == "12.867 m3"
    _, outcome = house.do("index", BEHIND)
    assert index(outcome) == "12.867 m3"
    job = house.finish(house.ask("index", BEHIND, action="sub", header="0C13", value="13"))
    assert job.state == "refused"
    assert "parameter" in (job.error or "")
    assert house.executed == [1, 2]


def test_nothing_is_added_twice_when_the_answer_is_lost(house: Bench) -> None:
    lost: list[int] = []

    def deaf(result: object) -> bool:
        if isinstance(result, Answered) and house.executed and not lost:
            lost.append(result.token)
            return True
        return False

    house.deaf = deaf
    job, outcome = house.do("index", BEHIND, action="add", header="0A13", value="0.5")
    assert lost
    assert house.executed == [1]
    assert [one.value for one in house.events if one.name == "index"] == [500]
    assert (job.attempts, outcome.values["proof"]) == (1, "counter")


def test_the_meter_behind_an_adapter_is_another_one(house: Bench) -> None:
    """Keys, journal and tenant go along, so that its telegrams are read and no key counter is used twice."""
    old = house.address(BEHIND)
    job, outcome = house.do("meter-address", BEHIND, address="FFFF-87654321-FF-FF", delay=30)
    new = Address.parse(f"{old.manufacturer_text}-87654321-{old.version:02X}-{old.device_type:02X}")
    assert outcome.words == (f"new address {new}: accepted; the device will execute it later",)
    assert (outcome.values["address"], job.approved_by) == (str(new), BERT)
    post = house.world.devices[BEHIND]
    assert post.address == old
    house.run(lambda: house.world.now > 86_400.0 or post.address == new)
    with house.database.reading() as connection:
        found = registry_rows.device_of_address(connection, str(new))
        assert found is not None
        assert (found.state, found.tenant_id, found.last_heard) == ("registered", house.devices[BEHIND].tenant_id, None)
        assert registry_rows.device_of_address(connection, str(old)) == house.devices[BEHIND]
        journal = protocol_rows.journal_of(connection, OWNER, new)
    assert (journal.address, journal.counter(0x27, 0), journal.commands) == (new, 1, ())
    ring = house.vault.live_ring()
    for key in post.spec.description.keys:
        assert ring.require(new.link_octets(), key_id=key.key_id, version=key.version)[0].octets == key.octets


def test_an_address_that_nobody_confirmed_may_count(house: Bench) -> None:
    """The adapter answers under its new address already when it is asked again."""
    house.deaf = lambda result: bool(house.events)
    job = house.finish(house.ask("meter-address", BEHIND, address="EXS-87654321-01-16", delay=30))
    assert job.state == "unknown"
    with house.database.reading() as connection:
        assert registry_rows.device_of_address(connection, "EXS-87654321-01-16") is not None
        assert len(protocol_rows.journal_of(connection, OWNER, Address.parse("EXS-87654321-01-16")).commands) == 1


@pytest.mark.parametrize("whose", [None, 1, 2])
def test_what_is_known_of_the_new_address(house: Bench, whose: int | None) -> None:
    """Counters never go back; what belongs to another tenant is not touched."""
    new = Address.parse("EXS-87654321-01-16")
    known = Journal(new).with_counter(0x27, 0, 9).with_counter(0x20, 0, 4)
    with house.database.transaction() as connection:
        registry_rows.tenants.add(connection, Tenant(0, "Oak Street"), house.clock())
        there = registry_rows.devices.add(connection, Device(0, str(new), whose), house.clock())
        protocol_rows.save_journal(connection, OWNER, known, house.clock())
    house.do("meter-address", BEHIND, address=str(new))
    with house.database.reading() as connection:
        assert registry_rows.device_of_address(connection, str(new)) == there
        journal = protocol_rows.journal_of(connection, OWNER, new)
    keys = house.vault.keys(pattern=str(new)).items
    assert (journal.counter(0x27, 0), journal.counter(0x20, 0)) == (9, 4)
    assert (keys == ()) == (whose == 2)


def test_an_address_that_was_refused_changes_nothing(house: Bench) -> None:
    job = house.finish(house.ask("meter-address", WATER, address="EXS-87654321-01-16"))
    assert job.state == "refused"
    with house.database.reading() as connection:
        assert registry_rows.device_of_address(connection, "EXS-87654321-01-16") is None
    assert house.vault.keys(pattern="EXS-87654321-01-16").items == ()


def test_keys_of_an_older_issue_are_destroyed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, issue="4.3.3")
    bench.do("keys", action="renew", key_id=0x20, issue="4.3.3")
    job = bench.finish(bench.ask("keys", action="destroy", key_id=0x20, version=0, issue="4.3.3"))
    assert job.state == "done", job.error
    bench.database.close()


def test_two_devices_at_the_same_time_one_job_each(bench: Bench) -> None:
    jobs = [bench.ask("disconnector", name, state=state) for state in ("disconnected", "connected") for name in (WATER, WARM)]
    most = 0
    states: set[tuple[str, ...]] = set()

    def over() -> bool:
        nonlocal most
        found = [bench.job(job).state for job in jobs]
        states.add(tuple(found))
        most = max(most, found.count("running"))
        return found.count("done") == 4

    bench.runner.look()
    bench.run(over)
    assert most == 2
    assert all(not (found[0] == found[2] == "running") for found in states)
    assert sorted(bench.valve(), key=str) == [0, 0, 1, 1]


def test_keys_stand_nowhere_in_the_database(bench: Bench) -> None:
    bench.do("keys", action="renew", key_id=0x20)
    bench.do("disconnector", state="disconnected")
    octets = [key.octets for key in bench.world.devices[WATER].spec.description.keys]
    octets += [bench.vault.octets_of(info.id) for info in bench.vault.keys().items] + [MASTER]
    with bench.database.reading() as connection:
        path = Path(connection.exec_driver_sql("PRAGMA database_list").all()[0][2])
    content = path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    assert b"begins: renew key 20h" in content
    for key in octets:
        assert key not in content
        assert key.hex().encode() not in content.lower()
