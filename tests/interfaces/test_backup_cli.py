"""Backup and restore as a user does them: while the program runs, into the other kind of database, with the right key only."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openmetering.errors import InputError
from openmetering.interfaces.cli.main import app
from openmetering.services.headend.headend import HeadEnd, now_utc
from openmetering.services.headend.masterkey import read_master_key
from openmetering.services.headend.vault import Vault
from openmetering.storage.database import Database
from openmetering.transport.reception import Reception
from tests.fleet import KEY, radio, volume
from tests.storage.postgres import Server, postgres_server

__all__ = ["postgres_server"]

ADDRESS = "ELS-12345678-33-03"
HOOK = "whsec_YSBzZWNyZXQgZm9yIGEgd2ViaG9vaw=="


def run(*arguments: object) -> str:
    """What a command prints. Raises what it raises."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a head-end with a key, and a telegram that it opens."""
    folder = tmp_path / "data"
    folder.mkdir()
    with head_end(f"sqlite:///{folder / 'headend.db'}", folder / "master.key") as (made, _):
        made.vault.import_file(f"address,key\n{ADDRESS},{KEY.hex()}\n".encode(), None)
        made.keys_changed()
        made.webhooks.add("https://example.org/", ("alarm",), HOOK)
        made.ingest([Reception(radio(7, profile="A", records=volume(700)), 1_700_000_000.0, "stick", crc=True)])
    return folder


class head_end:  # noqa: N801
    """A head-end over a database."""

    def __init__(self, url: str, key: Path) -> None:
        self.database = Database.open(url)
        self.head_end = HeadEnd(
            self.database, Vault(self.database, read_master_key(f"file:{key}", create=True), now_utc), now_utc
        )

    def __enter__(self) -> tuple[HeadEnd, Database]:
        return self.head_end, self.database

    def __exit__(self, *exception: object) -> None:
        self.head_end.close()
        self.database.close()


@pytest.mark.parametrize("target", ["folder", pytest.param("postgresql", marks=pytest.mark.services)])
def test_there_and_back(data: Path, target: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    backup, key = tmp_path / "one.backup", tmp_path / "new" / "master.key"
    with head_end(f"sqlite:///{data / 'headend.db'}", data / "master.key"):  # it runs meanwhile
        assert "1 telegrams" in run("backup", data, backup)
    with zipfile.ZipFile(backup) as archive:
        octets = b"".join(archive.read(name) for name in archive.namelist())
    assert b"https://example.org/" in octets  # what is there is found
    assert KEY not in octets
    assert KEY.hex().encode() not in octets.lower()
    assert HOOK.encode() not in octets
    key.parent.mkdir()
    if target == "folder":
        finish(data, backup, key, key.parent, f"sqlite:///{key.parent / 'headend.db'}")
        return
    server: Server = request.getfixturevalue("postgres_server")
    with server.database() as url:
        config = key.parent / "headend.toml"
        config.write_text(f'[headend]\ndatabase = "{url}"\nmaster_key = "file:master.key"\n')
        finish(data, backup, key, config, url)


def finish(data: Path, backup: Path, key: Path, what: Path, url: str) -> None:
    """Restore, first with a wrong master key, then with the right one."""
    key.write_text("00" * 16 + "\n")
    key.chmod(0o600)
    with pytest.raises(InputError):
        run("restore", what, backup)
    shutil.copy(data / "master.key", key)
    assert "restored" in run("restore", what, backup)
    with head_end(url, key) as (made, _):
        assert len(made.vault.keys().items) == 1
        (hook,) = made.webhooks.all()
        assert made.vault.unseal(hook.secret) == HOOK
        made.ingest([Reception(radio(8, profile="A", access_number=2, records=volume(800)), 1_700_000_900.0, "stick", crc=True)])
        values = [row.value for row in made.store.readings()]
    assert values == ["7.00", "8.00"]
    with pytest.raises(InputError, match="not empty"):
        run("restore", what, backup)


def test_what_is_there_is_not_written_over(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "one.backup"
    run("backup", data, backup)
    with pytest.raises(InputError, match="is there already"):
        run("backup", data, backup)
