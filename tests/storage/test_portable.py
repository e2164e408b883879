"""Backups: every row comes back, into either kind of database, or nothing does."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openmetering.errors import InputError
from openmetering.services.headend.csv_import import COLUMNS
from openmetering.storage import portable, tables
from openmetering.storage.database import Database
from tests.fleet import KEY, radio, volume
from tests.services.headend.desk import Desk, address_of
from tests.storage.postgres import Server

NOW = 1_800_000_000.0
COUNT = 2500  # telegrams: more than a block


def fill(database: Database) -> Desk:
    """A head-end with a bit of everything, a tree whose parent is younger than its child, and telegrams."""
    desk = Desk(database)
    tenant = desk.tenant()
    row = f"{address_of()},hall,Elm Street,left,gas,2026-01-01"
    desk.admin.apply_import(f"address,label,site,unit,point,valid_from\n{row}\n".encode(), tenant)
    assert "address" in COLUMNS
    desk.admin.import_keys(f"address,key\n{address_of()},{KEY.hex()}\n".encode(), tenant)
    desk.user("consumer", tenant, "Zoë \\N")
    batch = [
        desk.reception(
            radio(100 + number, profile="A", access_number=number % 256, records=volume(100 + number)), at=number * 60.0
        )
        for number in range(COUNT)
    ]
    desk.head_end.ingest(batch)
    desk.head_end.ingestor.flush()
    with database.transaction() as connection:
        made = connection.execute(tables.nodes.select()).mappings().first()
        assert made is not None
        parent = {**made, "id": 1000, "name": "estate", "parent_id": None}
        connection.execute(tables.nodes.insert().values(**parent))
        connection.execute(tables.nodes.update().where(tables.nodes.c.id == made["id"]).values(parent_id=1000))
    return desk


def content(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Everything, as Python sees it."""
    with database.reading() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for table in tables.metadata.sorted_tables
            if table.name != "migrations"
        }


@contextmanager
def opened(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of a kind."""
    if kind == "sqlite":
        with Database.open(str(folder / "target.db")) as database:
            yield database
        return
    server: Server = request.getfixturevalue("postgres_server")
    with server.database() as address, Database.open(address) as database:
        yield database


KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]


@pytest.mark.parametrize("target", KINDS)
def test_every_row_comes_back(url: str, target: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    told: list[tuple[str, int]] = []
    archive = tmp_path / "backup.zip"
    with Database.open(url) as database:
        desk = fill(database)
        before = content(database)
        manifest = portable.write(database, archive, now=NOW, made_by="test", progress=lambda *told_: told.append(told_))
        desk.close()
    assert ("frames", COUNT) in told
    assert manifest.tables["telegrams"].rows == COUNT
    assert manifest.rows == sum(map(len, before.values()))
    assert portable.read_manifest(archive) == manifest
    assert archive.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part"))
    with opened(target, tmp_path, request) as database:
        assert portable.restore(database, archive) == manifest
        assert content(database) == before
        # and it goes on: new rows get numbers of their own
        desk = Desk(database)
        desk.hear(radio(99999, profile="A", access_number=7, records=volume(99999)), after=10_000_000.0)
        assert len(content(database)["telegrams"]) == COUNT + 1
        with pytest.raises(InputError, match="not empty"):
            portable.restore(database, archive)
        desk.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The backup of a small database."""
    path = tmp_path / "backup.zip"
    with Database.open(":memory:") as database:
        desk = Desk(database)
        desk.hear(radio(1, records=volume(1)))
        portable.write(database, path, now=NOW, made_by="test")
        desk.close()
    return path


def test_an_archive_that_is_cut_or_changed_restores_nothing(archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    broken = tmp_path / "broken.zip"
    for name in ("tables/frames", "tables/telegrams"):
        with zipfile.ZipFile(archive) as source, zipfile.ZipFile(broken, "w") as target:
            for item in source.infolist():
                octets = source.read(item)
                target.writestr(item.filename, octets if item.filename != name else b"")
        refused(broken, "damaged")
    for octets in (whole[: len(whole) // 2], b"", b"text"):
        broken.write_bytes(octets)
        refused(broken, "damaged|no backup|read as a backup")
    with zipfile.ZipFile(archive) as source:
        place = source.getinfo("tables/frames").header_offset + 80
    broken.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
    refused(broken, "damaged")


def test_other_versions_are_refused(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(other, "w") as target:
        for item in source.infolist():
            octets = source.read(item)
            if item.filename == "manifest.json":
                octets = octets.replace(b'"schema": ', b'"schema": 9')
            target.writestr(item.filename, octets)
    refused(other, "schema 9")


def refused(path: Path, words: str) -> None:
    """An archive is refused, and leaves nothing behind."""
    with Database.open(":memory:") as database:
        with pytest.raises(InputError, match=words) as caught:
            portable.restore(database, path)
        assert caught.value.code == "storage.archive"
        assert not any(content(database).values())


def test_a_file_that_is_there_is_kept(archive: Path) -> None:
    before = archive.read_bytes()
    with Database.open(":memory:") as database, pytest.raises(InputError, match="is there already"):
        portable.write(database, archive, now=NOW, made_by="test")
    assert archive.read_bytes() == before
