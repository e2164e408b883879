"""Every kind of job, carried out on the devices of a simulated world."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from openmetering.protocol.exchange import GiveKey
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.storage import audit_rows
from tests.services.headend.jobs.bench import ANNA, BERT, MASTER, WARM, WATER, Bench


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
