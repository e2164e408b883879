"""Where the master key comes from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from openmetering.errors import InputError
from openmetering.services.headend.masterkey import KEY_OCTETS, new_master_key, read_master_key

KEY = bytes(range(16))


def refused(specification: str, **options: object) -> str:
    """The message of a specification that gives no key."""
    with pytest.raises(InputError) as caught:
        read_master_key(specification, **options).candidates()  # type: ignore[arg-type]
    assert caught.value.code == "vault.master"
    return caught.value.message


@pytest.mark.parametrize("text", ["", "file:", "nothing", "ftp:there", "env:", "keyring:"])
def test_specifications_that_are_none(text: str) -> None:
    assert "file:PATH" in refused(text)


def test_fresh_keys_differ() -> None:
    keys = {new_master_key() for _ in range(4)}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {KEY_OCTETS}


def test_a_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    assert "there is no master key file" in refused(f"file:{path}")
    (key,) = read_master_key(f"file:{path}", create=True).candidates()
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_master_key(f"file:{path}", create=True).candidates() == (key,)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_text(KEY.hex())
    path.chmod(0o644)
    assert "chmod 600" in refused(f"file:{path}")


@pytest.mark.parametrize("text", ["", "7f:6e", "zz" * 16, "00" * 17, "ü" * 32])
def test_a_file_without_a_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    message = refused(f"file:{path}")
    assert text not in message or not text


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    assert "cannot be written" in refused(f"file:{tmp_path / 'no' / 'master.key'}", create=True)


def test_a_new_key_stands_beside_the_old_one_until_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    source = read_master_key(f"file:{path}", create=True)
    (old,) = source.candidates()
    source.prepare(KEY)
    assert source.candidates() == (old, KEY)
    source.prepare(KEY[::-1])
    assert source.candidates() == (old, KEY[::-1])
    source.commit()
    assert source.candidates() == (KEY[::-1],)


def test_the_environment(tmp_path: Path) -> None:
    source = read_master_key("env:MASTER", environment={"MASTER": KEY.hex() + "\n"})
    assert source.candidates() == (KEY,)
    source.commit()
    with pytest.raises(InputError):
        source.prepare(KEY)
    assert "no variable MASTER" in refused("env:MASTER", environment={})
    assert "0123" not in refused("env:MASTER", environment={"MASTER": "0123"})


class Safe(ModuleType):
    """A keyring of the system that keeps its entries in memory."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.entries: dict[tuple[str, str], str] = {}
        self.broken = False

    def get_password(self, service: str, name: str) -> str | None:
        """An entry."""
        if self.broken:
            raise RuntimeError("no D-Bus")
        return self.entries.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        """Keep an entry."""
        self.entries[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        """Forget an entry."""
        del self.entries[service, name]


@pytest.fixture
def safe(monkeypatch: pytest.MonkeyPatch) -> Safe:
    made = Safe()
    monkeypatch.setitem(sys.modules, "keyring", made)
    return made


def test_the_keyring_of_the_system(safe: Safe) -> None:
    assert "has no entry vault" in refused("keyring:vault")
    source = read_master_key("keyring:vault", create=True)
    (old,) = source.candidates()
    assert read_master_key("keyring:vault", create=True).candidates() == (old,)
    source.prepare(KEY)
    assert source.candidates() == (old, KEY)
    source.commit()
    assert source.candidates() == (KEY,)
    source.commit()
    assert safe.entries == {("openmetering", "vault"): KEY.hex()}


def test_a_keyring_that_does_not_work(safe: Safe) -> None:
    safe.broken = True
    assert "does not work: RuntimeError" in refused("keyring:vault")


def test_without_the_package_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "pip install keyring" in refused("keyring:vault")
