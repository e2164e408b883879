"""Where the master key of the vault comes from: a file, the environment, or the keyring of the system.

    file:PATH       32 hexadecimal digits in a file that only its owner can read
    env:NAME        the same in a variable of the environment
    keyring:NAME    the same in the keyring of the system, service "openmetering" (needs the package keyring)

A rotation writes the new key beside the old one first (``PATH.new``), wraps all keys again, and puts the new file in
place last: after a power cut both are there, and the vault takes the one that fits.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from openmetering.errors import InputError

__all__ = ["KEY_OCTETS", "MasterKeySource", "new_master_key", "read_master_key"]

KEY_OCTETS: Final = 16
_SERVICE: Final = "openmetering"


class MasterKeySource(Protocol):
    """Gives master keys to try; ``replace`` puts a new one in place of the old."""

    def candidates(self) -> tuple[bytes, ...]:
        """The keys that may be the one, the likelier first. Raises InputError (``vault.master``)"""

    def prepare(self, key: bytes) -> None:
        """Keep a new key beside the old one, safely. Raises InputError (``vault.master``)"""

    def commit(self) -> None:
        """Let the new key take the place of the old one."""


def wrong(message: str) -> InputError:
    """The master key cannot be had, or is not the one."""
    return InputError(message, code="vault.master", layer="vault")


def new_master_key() -> bytes:
    """A fresh key."""
    return secrets.token_bytes(KEY_OCTETS)


def read_master_key(specification: str, *, create: bool = False, environment: Mapping[str, str] | None = None) -> MasterKeySource:
    """The source of a specification (see the head of this module); ``create`` makes a file that is not there.

    Raises InputError (``vault.master``)
    """
    kind, found, rest = specification.partition(":")
    maker = _KINDS.get(kind) if found else None
    if maker is None or not rest:
        raise wrong("a master key is named as file:PATH, env:NAME or keyring:NAME")
    return maker(rest, create, os.environ if environment is None else environment)


def _parse(text: str, place: str) -> bytes:
    digits = "".join(text.split())
    try:
        octets = bytes.fromhex(digits)
    except ValueError:
        octets = b""
    if len(octets) != KEY_OCTETS:
        raise wrong(f"{place} holds no master key: {2 * KEY_OCTETS} hexadecimal digits are needed")
    return octets


class _File:
    """``file:``; everything is readable by its owner only."""

    def __init__(self, path: Path, create: bool) -> None:
        self._path = path
        self._new = path.with_name(path.name + ".new")
        if create and not path.exists() and not self._new.exists():
            _write(path, new_master_key())

    def candidates(self) -> tuple[bytes, ...]:
        found = [_parse(_read(path), str(path)) for path in (self._path, self._new) if path.exists()]
        if not found:
            raise wrong(f"there is no master key file {self._path}")
        return tuple(found)

    def prepare(self, key: bytes) -> None:
        self._new.unlink(missing_ok=True)
        _write(self._new, key)

    def commit(self) -> None:
        self._new.replace(self._path)
        _sync_folder(self._path.parent)


def _read(path: Path) -> str:
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise wrong(f"others can read the master key file {path}; allow it to its owner only: chmod 600 {path}")
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"the master key file {path} cannot be read: {error}") from None


def _write(path: Path, key: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise wrong(f"the master key file {path} cannot be written: {error.strerror or error}") from None
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk as well, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _Environment:
    """``env:``; a rotation is for who sets the variable."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._environment = environment

    def candidates(self) -> tuple[bytes, ...]:
        text = self._environment.get(self._name)
        if text is None:
            raise wrong(f"the environment has no variable {self._name}")
        return (_parse(text, f"the variable {self._name}"),)

    def prepare(self, key: bytes) -> None:
        raise wrong("a master key of the environment cannot be changed from here: name a file or the keyring to rotate")

    def commit(self) -> None:
        """Nothing was prepared."""


class _Backend(Protocol):
    """What is used of the package keyring."""

    def get_password(self, service: str, name: str) -> str | None: ...
    def set_password(self, service: str, name: str, password: str) -> None: ...
    def delete_password(self, service: str, name: str) -> None: ...


class _Keyring:
    """``keyring:``; two entries like the two files."""

    def __init__(self, name: str, create: bool) -> None:
        try:
            self._backend = cast("_Backend", importlib.import_module("keyring"))
        except ImportError:
            raise wrong("the keyring of the system needs the package keyring: pip install keyring") from None
        self._name, self._new = name, name + ".new"
        if create and self._get(self._name) is None and self._get(self._new) is None:
            self._set(self._name, new_master_key())

    def candidates(self) -> tuple[bytes, ...]:
        texts = [(name, self._get(name)) for name in (self._name, self._new)]
        found = tuple(_parse(text, f"the keyring entry {name}") for name, text in texts if text is not None)
        if not found:
            raise wrong(f"the keyring has no entry {self._name} of {_SERVICE}")
        return found

    def prepare(self, key: bytes) -> None:
        self._set(self._new, key)

    def commit(self) -> None:
        text = self._get(self._new)
        if text is not None:
            self._ask(lambda: self._backend.set_password(_SERVICE, self._name, text))
            self._ask(lambda: self._backend.delete_password(_SERVICE, self._new))

    def _get(self, name: str) -> str | None:
        found: list[str | None] = []
        self._ask(lambda: found.append(self._backend.get_password(_SERVICE, name)))
        return found[0]

    def _set(self, name: str, key: bytes) -> None:
        self._ask(lambda: self._backend.set_password(_SERVICE, name, key.hex()))

    @staticmethod
    def _ask(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the package has many backends with errors of their own
            raise wrong(f"the keyring of the system does not work: {type(error).__name__}") from error


_KINDS: Final[dict[str, Callable[[str, bool, Mapping[str, str]], MasterKeySource]]] = {
    "file": lambda rest, create, _: _File(Path(rest), create),
    "env": lambda rest, _, environment: _Environment(rest, environment),
    "keyring": lambda rest, create, _: _Keyring(rest, create),
}
