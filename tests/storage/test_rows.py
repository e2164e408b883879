"""Rows of the domain, in both databases: values in, values out, pages, and changes that two cannot both make."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from openmetering.errors import InputError
from openmetering.protocol.operator.journal import Journal
from openmetering.storage import (
    account_rows,
    alarm_rows,
    audit_rows,
    job_rows,
    protocol_rows,
    registry_rows,
    tables,
    vault_rows,
    webhook_rows,
)
from openmetering.storage.database import Database
from openmetering.storage.model import (
    Alarm,
    Assignment,
    AuditEntry,
    Device,
    GatewayDevice,
    GatewayInfo,
    Job,
    KeyInfo,
    MeteringPoint,
    Node,
    Occupancy,
    Page,
    Tenant,
    Token,
    User,
    Webhook,
    WebSession,
)
from openmetering.storage.protocol_rows import SpoolPlace
from openmetering.storage.registry_rows import HeardDevice
from openmetering.storage.rows import LARGEST_PAGE, Rows
from tests.fleet import address

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
DAY = timedelta(days=1)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.transaction() as opened:
        yield opened


def device(connection: Connection, name: str = "ELS-12345678-33-03") -> Device:
    return registry_rows.heard(connection, [HeardDevice(name, NOW, NOW, "gas")], NOW)[0]


def user(connection: Connection, name: str = "anna") -> User:
    return account_rows.users.add(connection, User(0, name, "$argon2id$", "admin", None, "de"), NOW)


# -- all tables the same way ----------------------------------------------------------------------


def test_numbers_are_counted_up_and_never_used_twice(connection: Connection) -> None:
    first, second = (registry_rows.tenants.add(connection, Tenant(99, name), NOW) for name in "ab")
    assert (first.id, second.id) == (1, 2)
    assert registry_rows.tenants.remove(connection, second.id)
    assert not registry_rows.tenants.remove(connection, second.id)
    assert registry_rows.tenants.add(connection, Tenant(0, "c"), NOW).id == 3


def test_pages_forward_and_backward(connection: Connection) -> None:
    rows: Rows[Tenant] = registry_rows.tenants
    for number in range(1, 8):
        rows.add(connection, Tenant(0, str(number)), NOW)

    def walk(*, newest: bool) -> list[list[int]]:
        pages, after = [], None
        while True:
            page = rows.page(connection, after=after, limit=3, newest=newest)
            pages.append([item.id for item in page.items])
            after = page.after
            if after is None:
                return pages

    assert walk(newest=False) == [[1, 2, 3], [4, 5, 6], [7]]
    assert walk(newest=True) == [[7, 6, 5], [4, 3, 2], [1]]
    assert rows.page(connection, after=7) == Page(())
    assert len(rows.page(connection, limit=0).items) == 1
    assert len(rows.page(connection, limit=10 * LARGEST_PAGE).items) == 7
    assert rows.count(connection) == 7
    assert rows.by_numbers(connection, [2, 5, 5, 77]) == {2: Tenant(2, "2"), 5: Tenant(5, "5")}


def test_a_change_names_what_must_still_be_so(connection: Connection) -> None:
    rows = registry_rows.tenants
    made = rows.add(connection, Tenant(0, "a"), NOW)
    assert rows.change(connection, made.id, tables.tenants.c.name == "a", name="b") == Tenant(1, "b")
    assert rows.change(connection, made.id, tables.tenants.c.name == "a", name="c") is None
    assert rows.change(connection, 77, name="c") is None
    assert rows.get(connection, made.id) == Tenant(1, "b")
    assert rows.get(connection, 77) is None


@settings(max_examples=200)
@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_times_survive_to_the_microsecond(moment: datetime) -> None:
    kind, dialect = tables.Moment(), sqlite.dialect()
    assert kind.process_result_value(kind.process_bind_param(moment, dialect), dialect) == moment


def test_times_of_other_zones_come_back_as_utc_and_those_without_are_refused(connection: Connection) -> None:
    moment = datetime(2026, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    made = audit_rows.append(connection, moment, None, "a", "b")
    assert made.at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert made.at.tzinfo is UTC
    kind = tables.Moment()
    with pytest.raises(ValueError, match="zone"):
        kind.process_bind_param(datetime(2026, 3, 1), connection.dialect)
    assert kind.process_bind_param(None, connection.dialect) is None


# -- registry -------------------------------------------------------------------------------------


def test_the_tree(connection: Connection) -> None:
    tenant = registry_rows.tenants.add(connection, Tenant(0, "a"), NOW)

    def node(parent: int | None, kind: str) -> int:
        return registry_rows.nodes.add(connection, Node(0, parent, tenant.id, kind, kind), NOW).id

    site = node(None, "site")
    left, right = node(site, "building"), node(site, "building")
    unit = node(left, "unit")
    here, there = (registry_rows.points.add(connection, MeteringPoint(0, where, "cold", "water"), NOW) for where in (unit, right))
    assert registry_rows.nodes_below(connection, [site]) == {site, left, right, unit}
    assert registry_rows.nodes_below(connection, [left]) == {left, unit}
    assert registry_rows.nodes_below(connection, []) == set()
    assert registry_rows.points_below(connection, [left]) == [here]
    assert registry_rows.points_below(connection, [site]) == [here, there]
    registry_rows.nodes.change(connection, site, parent_id=unit)  # a circle ends
    assert registry_rows.nodes_below(connection, [site]) == {site, left, right, unit}


def test_devices_are_announced_once_and_their_times_move(connection: Connection) -> None:
    first = device(connection)
    assert first == Device(1, "ELS-12345678-33-03", None, "gas", first_heard=NOW, last_heard=NOW)
    early = HeardDevice(first.address, NOW - DAY, NOW - DAY / 2, "water")
    other = HeardDevice("AAA-1", NOW, NOW + DAY)
    again, new = registry_rows.heard(connection, [early, other], NOW)
    assert (again.id, again.first_heard, again.last_heard, again.medium) == (1, NOW - DAY, NOW, "gas")
    assert (new.address, new.medium) == ("AAA-1", "")
    late = registry_rows.heard(connection, [HeardDevice(other.address, NOW, NOW + 2 * DAY, "heat")], NOW)[0]
    assert (late.last_heard, late.medium) == (NOW + 2 * DAY, "heat")
    assert registry_rows.heard(connection, [], NOW) == []
    assert registry_rows.device_of_address(connection, "AAA-1") == late
    assert registry_rows.devices_by_address(connection, ["AAA-1", "none"]) == {"AAA-1": late}


def test_a_device_registered_before_it_was_heard(connection: Connection) -> None:
    made = registry_rows.devices.add(connection, Device(0, "X", medium="water", state="registered", bidirectional=True), NOW)
    assert (made.first_heard, made.bidirectional) == (None, True)
    (found,) = registry_rows.heard(connection, [HeardDevice("X", NOW, NOW, "gas")], NOW)
    assert (found.state, found.medium, found.first_heard, found.last_heard) == ("registered", "water", NOW, NOW)


def test_finding_devices(connection: Connection) -> None:
    tenant = registry_rows.tenants.add(connection, Tenant(0, "a"), NOW)
    for number in range(4):
        registry_rows.devices.add(
            connection,
            Device(
                0,
                f"ELS-0000000{number}-33-03",
                tenant.id if number else None,
                ("gas", "water")[number % 2],
                label=f"50%_{number}",
            ),
            NOW,
        )

    def found(**wanted: object) -> list[int]:
        return [item.id for item in registry_rows.devices_page(connection, **wanted).items]  # type: ignore[arg-type]

    assert found() == [1, 2, 3, 4]
    assert found(tenant_id=tenant.id) == [2, 3, 4]
    assert found(medium="water", state="announced") == [2, 4]
    assert found(text="els-00000002") == [3]
    assert found(text="50%_1") == [2]
    assert found(text="%") == [1, 2, 3, 4]
    assert found(text="0_0") == []
    assert found(among=[1, 3], limit=1) == [1]
    assert found(among=[]) == []
    assert registry_rows.devices_page(connection, limit=3).after == 3


def test_assignments_in_time(connection: Connection) -> None:
    tenant = registry_rows.tenants.add(connection, Tenant(0, "a"), NOW)
    node = registry_rows.nodes.add(connection, Node(0, None, tenant.id, "unit", "u"), NOW)
    point = registry_rows.points.add(connection, MeteringPoint(0, node.id, "cold"), NOW)
    meter = device(connection)
    first = registry_rows.assign(connection, meter.id, point.id, NOW, NOW, NOW + DAY)
    second = registry_rows.assign(connection, meter.id, point.id, NOW + 2 * DAY, NOW)
    assert first == Assignment(1, meter.id, point.id, NOW, NOW + DAY)

    def at(days: float) -> Assignment | None:
        return registry_rows.assignment_at(connection, meter.id, NOW + days * DAY)

    assert [at(days) for days in (-1, 0, 0.5, 1, 2, 9)] == [None, first, first, None, second, second]
    touching = registry_rows.valid_within(tables.assignments, NOW + DAY / 2, NOW + 3 * DAY)
    assert registry_rows.assignments.all(connection, touching) == [first, second]
    before = registry_rows.valid_within(tables.assignments, None, NOW + 2 * DAY)
    assert registry_rows.assignments.all(connection, before) == [first]
    everything = registry_rows.valid_within(tables.assignments, None, None)
    assert len(registry_rows.assignments.all(connection, everything)) == 2
    who = user(connection)
    lived = registry_rows.occupancies.add(connection, Occupancy(0, who.id, node.id, NOW, NOW + DAY), NOW)
    assert registry_rows.occupancies.all(connection, registry_rows.valid_at(tables.occupancies, NOW)) == [lived]
    assert registry_rows.occupancies.all(connection, registry_rows.valid_at(tables.occupancies, NOW + DAY)) == []


def test_gateways_and_what_they_hear(connection: Connection) -> None:
    roof = registry_rows.gateway_seen(connection, "roof", NOW, version="1")
    assert roof == GatewayInfo(1, "roof", None, "online", NOW, "1")
    again = registry_rows.gateway_seen(connection, "roof", NOW - DAY, address="OMS-1")
    assert again == GatewayInfo(1, "roof", "OMS-1", "online", NOW, "1")
    cellar = registry_rows.gateway_seen(connection, "cellar", NOW + DAY)
    one, two = device(connection, "A"), device(connection, "B")
    registry_rows.gateway_hears(connection, roof.id, [(one.id, -80.0, NOW), (two.id, None, NOW)], NOW)
    registry_rows.gateway_hears(connection, roof.id, [(one.id, None, NOW + DAY)], NOW)
    registry_rows.gateway_hears(connection, cellar.id, [(one.id, -60.0, NOW)], NOW)
    assert registry_rows.gateway_devices(connection, device_id=one.id) == [
        GatewayDevice(cellar.id, one.id, -60.0, NOW),
        GatewayDevice(roof.id, one.id, -80.0, NOW + DAY),
    ]
    assert [item.rssi for item in registry_rows.gateway_devices(connection, gateway_id=roof.id)] == [-80.0, None]
    silent = registry_rows.gateways_silent(connection, NOW + DAY / 2)
    assert [(item.name, item.state) for item in silent] == [("roof", "offline")]
    assert registry_rows.gateways_silent(connection, NOW + DAY / 2) == []


# -- vault ----------------------------------------------------------------------------------------


def test_keys_are_kept_wrapped_and_seen_without(connection: Connection) -> None:
    master = vault_rows.add_master(connection, "aa", NOW, b"check")
    assert vault_rows.add_master(connection, "aa", NOW) == master
    assert vault_rows.master_of(connection, "bb") is None
    info = KeyInfo(0, "ELS-*", 0, None, "f1", "active", 1, 0, "label")
    made = vault_rows.add_key(connection, info, b"wrapped 1", master, NOW)
    other = vault_rows.add_key(connection, KeyInfo(0, "*", None, 3, "f2", "waiting", None, 0), b"wrapped 2", master, NOW)
    assert (made.fingerprint, made.created_at, made.last_used) == ("f1", NOW, None)
    assert b"wrapped" not in repr(made).encode()
    assert vault_rows.wrapped(connection, [made.id, 77]) == {made.id: b"wrapped 1"}
    vault_rows.count_uses(connection, {made.id: 5, other.id: 0}, NOW)
    vault_rows.count_uses(connection, {made.id: 2}, NOW - DAY)
    vault_rows.count_uses(connection, {}, NOW)
    seen = vault_rows.keys.get(connection, made.id)
    assert seen is not None
    assert (seen.uses, seen.last_used) == (7, NOW)
    unused = vault_rows.keys.get(connection, other.id)
    assert unused is not None
    assert (unused.uses, unused.last_used) == (0, None)


def test_rotation_of_the_master_key(connection: Connection) -> None:
    old, new = vault_rows.add_master(connection, "old", NOW), vault_rows.add_master(connection, "new", NOW)
    info = KeyInfo(0, "*", 0, None, "f", "active", None, 0)
    numbers = [vault_rows.add_key(connection, info, b"old %d" % number, old, NOW).id for number in range(3)]
    vault_rows.add_key(connection, info, b"none", None, NOW)
    assert vault_rows.masters(connection) == {old: "old"}
    assert vault_rows.wrapped_under(connection, None) == {4: b"none"}
    vault_rows.rewrap(connection, dict.fromkeys(vault_rows.wrapped_under(connection, old), b"new"), new)
    vault_rows.rewrap(connection, {}, new)
    assert vault_rows.wrapped_under(connection, new) == dict.fromkeys(numbers, b"new")
    assert vault_rows.masters(connection) == {new: "new"}


# -- alarms ---------------------------------------------------------------------------------------


def test_an_alarm_from_raised_to_cleared(connection: Connection) -> None:
    meter = device(connection)
    wanted = Alarm(0, meter.id, "leak", "critical", "raised", NOW, "water runs")
    made, new = alarm_rows.raise_alarm(connection, wanted, NOW)
    assert new
    assert alarm_rows.raise_alarm(connection, wanted, NOW + DAY) == (made, False)
    worse = alarm_rows.update_alarm(connection, made.id, text="more", value="12", severity="critical")
    assert worse is not None
    assert worse.value == "12"
    taken = alarm_rows.acknowledge(connection, made.id, 5, NOW)
    assert taken is not None
    assert (taken.state, taken.acknowledged_by, taken.acknowledged_at) == ("acknowledged", 5, NOW)
    assert alarm_rows.acknowledge(connection, made.id, 6, NOW) is None
    assert alarm_rows.open_alarms(connection) == alarm_rows.open_alarms(connection, meter.id, "leak") == [taken]
    assert alarm_rows.open_counts(connection) == {meter.id: {"critical": 1}}
    over = alarm_rows.clear(connection, made.id, NOW + DAY)
    assert over is not None
    assert (over.state, over.cleared_at) == ("cleared", NOW + DAY)
    assert alarm_rows.clear(connection, made.id, NOW) is None
    assert alarm_rows.update_alarm(connection, made.id, text="", value="", severity="") is None
    second, new = alarm_rows.raise_alarm(connection, wanted, NOW)
    assert (second.id, new) == (2, True)
    assert [item.id for item in alarm_rows.alarms_page(connection).items] == [2, 1]
    assert [item.id for item in alarm_rows.alarms_page(connection, states=("cleared",), device_ids=[meter.id]).items] == [1]


def test_alarms_of_the_system_are_told_apart_by_their_text(connection: Connection) -> None:
    for text, wanted in (("roof is silent", True), ("cellar is silent", True), ("roof is silent", False)):
        alarm = Alarm(0, None, "gateway", "warning", "raised", NOW, text)
        assert alarm_rows.raise_alarm(connection, alarm, NOW)[1] is wanted
    assert alarm_rows.open_counts(connection) == {}


# -- jobs -----------------------------------------------------------------------------------------


def job(connection: Connection, meter: Device, **more: object) -> Job:
    values: dict[str, object] = {"kind": "read", "parameters": "{}", "state": "queued", "created_by": 1, "created_at": NOW}
    return job_rows.jobs.add(connection, Job(0, meter.id, **(values | more)), NOW)  # type: ignore[arg-type]


def test_a_job_is_claimed_once_and_one_per_device(connection: Connection) -> None:
    one, two = device(connection, "A"), device(connection, "B")
    first, second, later = job(connection, one), job(connection, one), job(connection, two, not_before=NOW + DAY)
    taken = job_rows.claim(connection, NOW)
    assert taken is not None
    assert (taken.id, taken.state, taken.attempts) == (first.id, "running", 1)
    assert job_rows.claim(connection, NOW) is None
    assert job_rows.claim(connection, NOW + DAY, kinds=("firmware",)) is None
    assert job_rows.move(connection, first.id, ("running",), "done", result='{"x":1}', progress=1.0) is not None
    assert job_rows.move(connection, first.id, ("running",), "failed") is None
    claimed = [job_rows.claim(connection, NOW + DAY, kinds=("read",)) for _ in range(3)]
    assert [item and item.id for item in claimed] == [second.id, later.id, None]


def test_two_runners_do_not_get_the_same_job(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(6):
            job(connection, device(connection, f"D{number}"))
    taken: list[int] = []

    def run() -> None:
        while True:
            with database.transaction() as connection:
                found = job_rows.claim(connection, NOW)
            if found is None:
                return
            taken.append(found.id)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [1, 2, 3, 4, 5, 6]


def test_nobody_approves_a_job_of_their_own(database: Database) -> None:
    with database.transaction() as connection:
        made = job(connection, device(connection), state="awaiting-approval")
    with pytest.raises(InputError, match="contradicts"), database.transaction() as connection:
        job_rows.move(connection, made.id, ("awaiting-approval",), "queued", approved_by=1)
    with database.transaction() as connection:
        moved = job_rows.move(connection, made.id, ("awaiting-approval",), "queued", approved_by=2)
        assert moved is not None
        assert moved.approved_by == 2


def test_steps_and_pages_of_jobs(connection: Connection) -> None:
    meter = device(connection)
    first, second = job(connection, meter), job(connection, meter, kind="clock", state="done")
    for number in range(3):
        job_rows.add_step(connection, first.id, NOW + number * DAY, f"step {number}")
    page = job_rows.steps_page(connection, first.id, limit=2)
    assert [(item.text, item.at) for item in page.items] == [("step 0", NOW), ("step 1", NOW + DAY)]
    assert [item.text for item in job_rows.steps_page(connection, first.id, after=page.after).items] == ["step 2"]
    assert [item.id for item in job_rows.jobs_page(connection).items] == [second.id, first.id]
    assert [item.id for item in job_rows.jobs_page(connection, states=("done",)).items] == [second.id]
    assert [item.id for item in job_rows.jobs_page(connection, kinds=("read",), device_ids=[meter.id]).items] == [first.id]


# -- accounts, audit, webhooks ----------------------------------------------------------------------


def test_accounts(connection: Connection) -> None:
    anna = user(connection)
    assert account_rows.user_of_name(connection, "anna") == anna
    assert account_rows.user_of_name(connection, "nobody") is None
    assert account_rows.failed_logins(connection, anna.id) == (0, None)
    assert account_rows.note_failure(connection, anna.id) == 1
    assert account_rows.note_failure(connection, anna.id, NOW) == 2
    assert account_rows.note_failure(connection, 77) == 0
    assert account_rows.failed_logins(connection, anna.id) == (2, NOW)
    account_rows.forget_failures(connection, anna.id)
    assert account_rows.failed_logins(connection, anna.id) == account_rows.failed_logins(connection, 77) == (0, None)


def test_tokens_and_sessions(connection: Connection) -> None:
    anna = user(connection)
    token = account_rows.tokens.add(connection, Token(0, anna.id, "h1", ("read:readings", "write:alarms"), NOW), NOW)
    assert account_rows.token_of_hash(connection, "h1") == token
    assert token.scopes == ("read:readings", "write:alarms")
    forever = account_rows.tokens.add(connection, Token(0, anna.id, "h2", (), None), NOW)
    session = account_rows.sessions.add(connection, WebSession(0, anna.id, "s1", NOW, NOW + DAY, NOW), NOW)
    assert account_rows.session_of_hash(connection, "s1") == session
    assert account_rows.session_of_hash(connection, "s2") is None
    assert account_rows.purge_expired(connection, NOW) == 1
    assert account_rows.tokens.all(connection) == [forever]
    assert account_rows.end_sessions(connection, anna.id) == 1
    assert account_rows.session_of_hash(connection, "s1") is None
    account_rows.users.remove(connection, anna.id)
    assert account_rows.tokens.all(connection) == []


def test_the_trail(connection: Connection) -> None:
    first = audit_rows.append(connection, NOW, 1, "read readings", "device 1", "2026", personal=True)
    second = audit_rows.append(connection, NOW + DAY, None, "start", "head-end")
    assert first == AuditEntry(1, NOW, 1, "read readings", "device 1", "2026", True)

    def found(**wanted: object) -> list[int]:
        return [item.id for item in audit_rows.page(connection, **wanted).items]  # type: ignore[arg-type]

    assert found() == [second.id, first.id]
    assert found(user_id=1) == found(personal=True) == found(until=NOW + DAY) == found(object="device 1") == [first.id]
    assert found(since=NOW + DAY) == found(action="start") == [second.id]
    assert found(limit=1) == [second.id]
    assert found(after=second.id) == [first.id]


def test_webhooks_and_their_posts(connection: Connection) -> None:
    hook = webhook_rows.webhooks.add(connection, Webhook(0, "https://example.org", ("alarm", "job"), "wrapped"), NOW)
    assert hook.events == ("alarm", "job")
    first = webhook_rows.queue(connection, hook.id, "alarm", "{}", NOW)
    second = webhook_rows.queue(connection, hook.id, "job", "{}", NOW + DAY)
    assert webhook_rows.due(connection, NOW) == [first]
    again = webhook_rows.failed(connection, first.id, "refused", NOW + 2 * DAY)
    assert again is not None
    assert (again.attempts, again.error) == (1, "refused")
    assert webhook_rows.due(connection, NOW + DAY) == [second]
    there = webhook_rows.delivered(connection, second.id, NOW + DAY)
    assert there is not None
    assert (there.attempts, there.delivered_at) == (1, NOW + DAY)
    assert [item.id for item in webhook_rows.deliveries_page(connection, hook.id).items] == [2, 1]
    assert webhook_rows.purge_delivered(connection, NOW + DAY) == 0
    assert webhook_rows.purge_delivered(connection, NOW + 2 * DAY) == 1
    webhook_rows.webhooks.remove(connection, hook.id)
    assert webhook_rows.due(connection, NOW + 9 * DAY) == []


# -- what the two ends must not forget -----------------------------------------------------------


def test_journals(connection: Connection) -> None:
    one, two = address(), address(22222222)
    journal = Journal(one).with_counter(0x20, 1, 7).with_version(0x20, 1)
    protocol_rows.save_journal(connection, "head-end", journal, NOW)
    protocol_rows.save_journal(connection, "other", journal.with_counter(0x20, 1, 9), NOW)
    assert protocol_rows.journal_of(connection, "head-end", one) == journal
    assert protocol_rows.journal_of(connection, "head-end", two) == Journal(two)
    later = journal.with_counter(0x20, 1, 8)
    protocol_rows.save_journal(connection, "head-end", later, NOW)
    protocol_rows.save_journal(connection, "head-end", Journal(two).with_version(0, 1), NOW)
    assert protocol_rows.journals(connection, "head-end") == (later, Journal(two).with_version(0, 1))
    protocol_rows.save_journal(connection, "head-end", Journal(one), NOW)
    assert len(protocol_rows.journals(connection, "head-end")) == 1
    assert len(protocol_rows.journals(connection, "other")) == 1


def test_memories(connection: Connection) -> None:
    protocol_rows.save_memory(connection, "roof", "counter", {"a": "1", "b": "2"}, NOW)
    protocol_rows.save_memory(connection, "roof", "counter", {"b": "3"}, NOW)
    protocol_rows.save_memory(connection, "roof", "access", {"a": "4"}, NOW)
    protocol_rows.save_memory(connection, "roof", "counter", {}, NOW)
    assert protocol_rows.memory(connection, "roof", "counter") == {"a": "1", "b": "3"}
    protocol_rows.forget(connection, "roof", "counter", ["a", "x"])
    assert protocol_rows.memory(connection, "roof", "counter") == {"b": "3"}
    protocol_rows.forget(connection, "roof", "counter")
    assert protocol_rows.memory(connection, "roof", "counter") == {}
    assert protocol_rows.memory(connection, "roof", "access") == {"a": "4"}


def test_the_place_of_a_spool_only_moves_forward(connection: Connection) -> None:
    assert protocol_rows.spool(connection, "roof") is None
    for place, moved in ((SpoolPlace("roof", 1, 500, 9), True), (SpoolPlace("roof", 1, 400, 8), False),
                         (SpoolPlace("roof", 1, 500, 9), False), (SpoolPlace("roof", 2, 10, 10), True)):  # fmt: skip
        assert protocol_rows.save_spool(connection, place, NOW) is moved
    assert protocol_rows.spool(connection, "roof") == SpoolPlace("roof", 2, 10, 10)
    protocol_rows.save_spool(connection, SpoolPlace("cellar", 0, 1, 1), NOW)
    assert [item.name for item in protocol_rows.spools(connection)] == ["cellar", "roof"]
