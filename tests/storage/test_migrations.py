"""Database files: new, of every schema version, foreign, damaged, newer."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openmetering.errors import InputError, TransportError
from openmetering.storage import Place, Store, audit_rows, mdm_rows, registry_rows
from openmetering.storage.database import Database
from openmetering.storage.migrations import APPLICATION_ID, VERSION, connect, database_path, schemas, statements, transaction
from openmetering.telegram import Decoder
from tests.fleet import ring
from tests.storage.make_fixture import LOCKED, START, content

DATA = Path(__file__).parent / "data"


def number(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("x.db", "x.db"),
        ("/tmp/x.db", "/tmp/x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////tmp/x.db", "/tmp/x.db"),
        (":memory:", ":memory:"),
    ],
)
def test_names(url: str, path: str) -> None:
    assert database_path(url) == path


@pytest.mark.parametrize("url", ["postgresql://host/x", "sqlite://", "sqlite:///"])
def test_names_that_are_none(url: str) -> None:
    with pytest.raises(InputError) as info:
        database_path(url)
    assert info.value.code == "storage.open"


def test_a_new_file(tmp_path: Path) -> None:
    connection = connect(str(tmp_path / "new.db"))
    assert number(connection, "user_version") == VERSION
    assert number(connection, "application_id") == APPLICATION_ID
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert number(connection, "synchronous") == 2
    assert [row[:2] for row in connection.execute("SELECT version, file FROM migrations")] == schemas()
    connection.close()


def test_every_version_has_its_file_and_fixture() -> None:
    versions = [version for version, _ in schemas()]
    assert versions == list(range(1, VERSION + 1))
    assert [path.name for path in sorted(DATA.glob("store_v*.db"))] == [f"store_v{version}.db" for version in versions]


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_database_of_every_version_is_read_and_goes_on(version: int, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    shutil.copy(DATA / f"store_v{version}.db", path)
    with Store.open(str(path)) as store:
        assert number(store._link.connection, "user_version") == VERSION
        counts = store.counts()
        assert (counts.frames, counts.receptions, counts.readings) == (7, 8, 4)
        assert store.place("file:log") == Place(1000, "4:00ff")
        assert [row.value for row in store.readings()] == ["12.34", "23.45", "56.78", "67.89"]
        report = store.redecode(Decoder(ring(LOCKED)))
        assert report.opened == 1
        stored = store.append(content())
        assert not any(item.new for item in stored)
        assert store.counts().receptions == 8


@pytest.mark.parametrize("version", [2, 3])
def test_what_a_head_end_kept_is_kept(version: int, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    shutil.copy(DATA / f"store_v{version}.db", path)
    with Database.open(str(path)) as database, database.reading() as connection:
        (device,) = registry_rows.devices.all(connection)
        assert (device.address, device.medium, device.state) == ("ELS-12345678-33-03", "gas", "announced")
        now = datetime.fromtimestamp(START, UTC)
        assigned = registry_rows.assignment_at(connection, device.id, now)
        assert assigned is not None
        assert (assigned.point_id, assigned.valid_from, assigned.valid_to) == (1, now, None)
        assert [entry.action for entry in audit_rows.page(connection).items] == ["start"]
        agreed = mdm_rows.point_data(connection)
        assert [(one.size, one.identifier) for one in agreed.values()] == ([] if version == 2 else [("G4", "DE01")])


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    connect(path).close()
    connection = connect(path)
    assert connection.execute("SELECT count(*) FROM migrations").fetchone()[0] == VERSION
    connection.close()


def test_no_store_where_one_must_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no store"):
        connect(str(tmp_path / "none.db"), create=False)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(InputError, match="folder"):
        connect(str(tmp_path / "none" / "x.db"))
    with pytest.raises(InputError, match="cannot be opened"):
        connect(str(tmp_path))


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, and they are long enough to be no database header")
    with pytest.raises(InputError, match="no store"):
        connect(str(text))
    foreign = tmp_path / "foreign.db"
    other = sqlite3.connect(foreign)
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(InputError, match="another program"):
        connect(str(foreign))
    other = sqlite3.connect(foreign)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    other.close()


def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    connection = connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(InputError, match="install a newer one") as info:
        connect(path)
    assert info.value.code == "storage.version"


def test_a_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "x.db")
    monkeypatch.setattr("openmetering.storage.migrations.statements", lambda text: iter(["CREATE TABLE a (x)", "NONSENSE"]))
    with pytest.raises(InputError):
        connect(path)
    monkeypatch.undo()
    connection = connect(path)
    assert number(connection, "user_version") == VERSION
    connection.close()


def test_statements_one_by_one() -> None:
    script = "-- head; not the end\nCREATE TABLE a (x);\nINSERT INTO a\nVALUES (';');\n"
    assert len(list(statements(script))) == 2


def test_a_transaction_is_everything_or_nothing() -> None:
    connection = connect(":memory:")

    def broken() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO sources (name) VALUES ('x')")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert connection.execute("SELECT count(*) FROM sources").fetchone()[0] == 0
    connection.close()


def test_a_store_that_fails_at_work(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "x.db")) as store:
        store._link.connection.execute("DROP TABLE receptions")
        with pytest.raises(TransportError) as info:
            store.append(content())
        assert info.value.code == "storage.failed"
        assert store._sources == {}
        assert store._link.connection.execute("SELECT count(*) FROM frames").fetchone()[0] == 0
