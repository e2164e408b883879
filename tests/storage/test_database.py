"""The database: transactions, savepoints, what errors mean, rules of the schema, bulk rows, both kinds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from openmetering.errors import InputError, TransportError
from openmetering.storage import Store, audit_rows, mdm_rows, tables
from openmetering.storage.database import Database
from openmetering.storage.model import Job, MeteringPoint, Node, Tenant
from openmetering.storage.postgresql import Target, connect, is_postgresql, schemas
from openmetering.storage.registry_rows import HeardDevice, assign, assignments, end_assignment, heard, nodes, points, tenants
from tests.fleet import radio
from tests.storage.postgres import Server
from tests.storage.test_store import heard as reception

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
DAY = timedelta(days=1)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


def names(database: Database) -> list[str]:
    with database.reading() as connection:
        return [one.name for one in tenants.all(connection)]


def add(database: Database, *wanted: str) -> list[Tenant]:
    with database.transaction() as connection:
        return [tenants.add(connection, Tenant(0, name), NOW) for name in wanted]


# -- transactions ---------------------------------------------------------------------------------


def test_what_was_written_is_read_by_another_connection(database: Database, url: str) -> None:
    assert add(database, "a") == [Tenant(1, "a")]
    with Database.open(url) as other:
        assert names(other) == ["a"]


def test_everything_or_nothing(database: Database) -> None:
    def broken() -> None:
        with database.transaction() as connection:
            tenants.add(connection, Tenant(0, "a"), NOW)
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert names(database) == []


def test_a_transaction_inside_another_one_is_taken_back_alone(database: Database) -> None:
    with database.transaction() as connection:
        tenants.add(connection, Tenant(0, "outer"), NOW)
        with pytest.raises(InputError, match="contradicts") as info:
            add(database, "inner", "outer")
        assert info.value.code == "storage.conflict"
        with database.reading() as same:
            assert [one.name for one in tenants.all(same)] == ["outer"]
        with database.transaction() as inner:
            tenants.add(inner, Tenant(0, "second"), NOW)
    assert names(database) == ["outer", "second"]


def test_readers_see_one_state_and_do_not_wait(database: Database) -> None:
    add(database, "a")
    with database.reading() as connection:
        assert tenants.count(connection) == 1
        thread = threading.Thread(target=add, args=(database, "b"))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        assert tenants.count(connection) == 1
    assert names(database) == ["a", "b"]


def test_threads_write_one_after_the_other(database: Database) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 5):
            add(database, f"tenant {number}")

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(database)) == 20


def test_a_question_that_cannot_be_answered(database: Database) -> None:
    with pytest.raises(TransportError) as info, database.reading() as connection:
        connection.execute(text("SELECT nonsense FROM nowhere"))
    assert info.value.code == "storage.failed"
    with pytest.raises(TransportError), database.transaction() as connection:
        connection.execute(text("SELECT nonsense FROM nowhere"))
    assert names(database) == []


def test_a_reader_of_postgresql_cannot_write(postgres_url: str) -> None:
    with Database.open(postgres_url) as opened, pytest.raises(TransportError), opened.reading() as connection:
        tenants.add(connection, Tenant(0, "a"), NOW)


def test_in_memory_is_one_database_for_all_threads_and_gone_when_closed() -> None:
    opened = Database.open(":memory:")
    folder = Path(str(opened._target)).parent
    thread = threading.Thread(target=add, args=(opened, "a"))
    thread.start()
    thread.join()
    assert names(opened) == ["a"]
    assert repr(opened) == "<Database :memory:>"
    with opened.store() as store:
        store.append([reception(radio(1))])
        assert store.counts().frames == 1
    opened.close()
    assert not folder.exists()


def test_the_store_of_a_database(database: Database, url: str) -> None:
    with database.store(merge_window=5.0) as store:
        assert (store.merge_window, store.answers, store.kind) == (5.0, False, database.dialect)
        store.append([reception(radio(1))])
    with Store.open(url) as again:
        assert again.counts().pending == 1


# -- rules of the schema --------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["UPDATE audit SET detail = 'x'", "DELETE FROM audit", "DELETE FROM job_steps"])
def test_trails_only_grow(database: Database, statement: str) -> None:
    with database.transaction() as connection:
        audit_rows.append(connection, NOW, 1, "read", "device 1", personal=True)
        from openmetering.storage.job_rows import add_step, jobs

        (device,) = heard(connection, [HeardDevice("A", NOW, NOW)], NOW)
        job = jobs.add(connection, Job(0, device.id, "read", "{}", "draft", None, NOW), NOW)
        add_step(connection, job.id, NOW, "made")
    with pytest.raises(InputError, match="only grow") as info, database.transaction() as connection:
        connection.execute(text(statement))
    assert info.value.code == "storage.conflict"


def test_trails_cannot_be_replaced_or_emptied(database: Database) -> None:
    with database.transaction() as connection:
        audit_rows.append(connection, NOW, 1, "read", "device 1")
    statement = (
        "INSERT OR REPLACE INTO audit (id, at, action, object, created_at) VALUES (1, 0, 'x', 'y', 0)"
        if database.dialect == "sqlite"
        else "TRUNCATE audit"
    )
    with pytest.raises(InputError, match="only grows"), database.transaction() as connection:
        connection.execute(text(statement))
    with database.reading() as connection:
        assert [entry.action for entry in audit_rows.page(connection).items] == ["read"]


def test_frames_stay_as_they_were_received(database: Database) -> None:
    with database.store() as store:
        store.append([reception(radio(1))])
    with pytest.raises(InputError, match="as they were received"), database.transaction() as connection:
        connection.execute(text("UPDATE frames SET received_at = 0"))


def placed(database: Database) -> tuple[int, int, int]:
    """Two devices and a point."""
    with database.transaction() as connection:
        tenant = tenants.add(connection, Tenant(0, "a"), NOW)
        node = nodes.add(connection, Node(0, None, tenant.id, "unit", "u"), NOW)
        point = points.add(connection, MeteringPoint(0, node.id, "cold", "water"), NOW)
        first, second = heard(connection, [HeardDevice("A", NOW, NOW), HeardDevice("B", NOW, NOW)], NOW)
    return first.id, second.id, point.id


@pytest.mark.parametrize(
    ("start", "end", "refused"),
    [
        (0, 10, True),
        (-5, 1, True),
        (9, None, True),
        (3, 4, True),
        (-5, None, True),
        (-5, 0, False),
        (10, None, False),
        (10, 11, False),
    ],
)
def test_periods_of_one_device_do_not_overlap(database: Database, start: int, end: int | None, refused: bool) -> None:
    device, other, point = placed(database)
    until = None if end is None else NOW + end * DAY
    with database.transaction() as connection:
        assign(connection, device, point, NOW, NOW, NOW + 10 * DAY)
        assign(connection, other, point, NOW + start * DAY, NOW, until)
    if not refused:
        with database.transaction() as connection:
            assign(connection, device, point, NOW + start * DAY, NOW, until)
        return
    with pytest.raises(InputError, match="assigned") as info, database.transaction() as connection:
        assign(connection, device, point, NOW + start * DAY, NOW, until)
    assert info.value.code == "storage.conflict"


def test_a_period_cannot_be_made_to_overlap_later(database: Database) -> None:
    device, _, point = placed(database)
    with database.transaction() as connection:
        first = assign(connection, device, point, NOW, NOW, NOW + DAY)
        assign(connection, device, point, NOW + DAY, NOW)
        assert end_assignment(connection, first.id, NOW + DAY / 2) is not None
    with pytest.raises(InputError, match="assigned"), database.transaction() as connection:
        assignments.change(connection, first.id, valid_to=None)
    with pytest.raises(InputError, match="contradicts"), database.transaction() as connection:
        end_assignment(connection, first.id, NOW)  # it would end when it begins


def test_two_writers_cannot_both_assign(postgres_url: str) -> None:
    with Database.open(postgres_url) as database:
        device, _, point = placed(database)
        begun, errors = threading.Event(), []

        def second() -> None:
            begun.wait(20)
            try:
                with database.transaction() as connection:
                    assign(connection, device, point, NOW, NOW)
            except InputError as error:
                errors.append(error.code)

        thread = threading.Thread(target=second)
        thread.start()
        with database.transaction() as connection:
            assign(connection, device, point, NOW, NOW)
            begun.set()
            thread.join(0.3)
            assert thread.is_alive()  # it waits for the first one
        thread.join(20)
        assert errors == ["storage.conflict"]


def test_a_row_that_others_need_stays(database: Database) -> None:
    placed(database)
    with pytest.raises(InputError, match="contradicts"), database.transaction() as connection:
        nodes.remove(connection, 1)


# -- bulk -----------------------------------------------------------------------------------------


def test_many_rows_at_once(database: Database) -> None:
    placed(database)
    rows = [(1, f"point\t{number}\n\\x", "water", 5.5) for number in range(3000)]
    with database.transaction() as connection:
        database.copy(connection, tables.points, ("node_id", "name", "medium", "created_at"), rows)
        database.copy(connection, tables.points, ("node_id", "name", "medium", "created_at"), [])
        assert connection.execute(select(func.count()).select_from(tables.points)).scalar_one() == 3001
        assert points.find(connection, tables.points.c.name == rows[7][1]) is not None


# -- addresses of databases -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("postgresql://u:p%40x@h:5433/d", Target("h", 5433, "u", "p@x", "d")),
        ("postgres://u@h/d", Target("h", 5432, "u", None, "d")),
        ("postgresql://u@h", Target("h", 5432, "u", None, "u")),
        ("postgresql://u@/d?host=/run/pg", Target("/run/pg", 5432, "u", None, "d", "/run/pg/.s.PGSQL.5432")),
        ("postgresql://u@h/d?sslmode=verify-full&sslrootcert=ca", Target("h", 5432, "u", None, "d", None, "verify-full", "ca")),
    ],
)
def test_urls(url: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    assert is_postgresql(url)
    assert Target.parse(url) == target


def test_what_a_url_leaves_out_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOST", "h"), ("PORT", "1234"), ("USER", "u"), ("PASSWORD", "secret"), ("DATABASE", "d")):
        monkeypatch.setenv(f"PG{name}", value)
    found = Target.parse("postgresql://")
    assert found == Target("h", 1234, "u", "secret", "d")
    assert "secret" not in f"{found!r} {found}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://h:port/d", "cannot be read"),
        ("postgresql://h/d?x=1", "not known as option"),
        ("postgresql://h/d?sslmode=maybe", "sslmode maybe"),
        ("postgresql://u:secret@127.0.0.1:1/d", "cannot be opened"),
        ("postgresql://u:secret@127.0.0.1:1/d?sslmode=require", "cannot be opened"),
        ("postgresql://u:secret@127.0.0.1:1/d?sslmode=verify-full", "cannot be opened"),
    ],
)
def test_urls_that_lead_nowhere(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as info:
        Store.open(url)
    assert info.value.code == "storage.open"
    assert "secret" not in str(info.value)


def test_a_wrong_password_is_not_repeated(postgres_server: Server) -> None:
    url = postgres_server.url("postgres").replace(postgres_server.password, "not-this-one")
    with pytest.raises(InputError) as info:
        Database.open(url)
    assert "not-this-one" not in str(info.value)


def test_a_database_of_another_program_is_left_alone(postgres_url: str, postgres_server: Server) -> None:
    postgres_server.run("CREATE TABLE mine (x integer)", postgres_url)
    with pytest.raises(InputError, match="another program"):
        Database.open(postgres_url)


def test_a_newer_schema_of_postgresql_is_not_touched(postgres_url: str, postgres_server: Server) -> None:
    Store.open(postgres_url).close()
    postgres_server.run("INSERT INTO migrations VALUES (99, 'x', 0)", postgres_url)
    with pytest.raises(InputError, match="install a newer one") as info:
        Store.open(postgres_url)
    assert info.value.code == "storage.version"


def test_a_database_of_version_2_goes_on_in_postgresql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmetering.storage.postgresql.schemas", lambda: schemas()[:1])
    connect(postgres_url).close()
    monkeypatch.undo()
    with Database.open(postgres_url) as database, database.reading() as connection:
        assert mdm_rows.point_data(connection) == {}
        rows = connection.exec_driver_sql("SELECT version, file FROM migrations ORDER BY version")
        assert [tuple(row) for row in rows] == schemas()


def test_a_failed_migration_of_postgresql_leaves_nothing(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmetering.storage.postgresql.schemas", lambda: [(2, "schema_v1.sql")])  # BLOB is no type there
    with pytest.raises(InputError, match="no store"):
        connect(postgres_url)
    monkeypatch.undo()
    with Store.open(postgres_url) as store:
        assert [tuple(row) for row in store._link.rows("SELECT version, file FROM migrations")] == schemas()


def test_several_processes_migrate_at_once(postgres_url: str) -> None:
    errors: list[Exception] = []

    def work() -> None:
        try:
            Store.open(postgres_url).close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
