"""Key files on disk: reading any kind, the password of KEM files, writing with mode 0600."""

from __future__ import annotations

import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from openmetering.errors import InputError
from openmetering.services.keyfiles import KeyFile, needs_password, read_keys, ring

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from openmetering.security import KeyRing

__all__ = ["PASSWORD_VARIABLE", "load_keyfile", "load_keyring", "private", "read_octets", "save_private"]

PASSWORD_VARIABLE: Final = "OPENMETERING_KEM_PASSWORD"

_POSIX: Final = os.name == "posix"
_LIMIT: Final = 64 * 1024 * 1024  # octets; a million keys


def load_keyring(path: Path | str, password: str | None = None) -> KeyRing:
    """The keys of a file of any kind: own CSV or TOML, other CSV, lists, KEM, KEM2.

    The password of a KEM file comes from the caller, else from OPENMETERING_KEM_PASSWORD, else from a question.
    Raises InputError: ``keyfile.unreadable``, ``keyfile.format``, ``keyfile.password``, ``keyfile.line``
    """
    return ring(load_keyfile(path, password=password).entries)


def load_keyfile(path: Path | str, *, columns: Mapping[str, str] | None = None, password: str | None = None) -> KeyFile:
    """Entries and notes of a file of any kind. Raises InputError like ``load_keyring``."""
    path = Path(path)
    data = read_octets(path)
    if columns is None or not columns:
        try:
            locked = needs_password(data)
        except InputError as error:
            raise InputError(f"{path.name}: {error.message}", code=error.code, layer=error.layer) from None
        if locked and not password:
            password = _password(path)
    return read_keys(data, columns=columns, password=password, source=path.name)


def read_octets(path: Path) -> bytes:
    """The octets of a file. Raises InputError (``keyfile.unreadable``)."""
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise _unreadable(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > _LIMIT:
        raise _unreadable(f"{path} has more than {_LIMIT >> 20} MiB, that is no key file")
    return data


def save_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old content or the new one.

    Raises InputError (``keyfile.unreadable``)
    """
    target = path.resolve()
    name = ""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600 from the start
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unreadable(f"{path} cannot be written: {error.strerror or error}") from None
        raise


def private(path: Path) -> bool:
    """True if nobody but the owner may read the file, or where the system knows no such rights."""
    return not _POSIX or not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def _password(path: Path) -> str:
    """Raises InputError (``keyfile.password``) where nobody can be asked."""
    known = os.environ.get(PASSWORD_VARIABLE)
    if known:
        return known
    if not sys.stdin.isatty():
        raise InputError(
            f"{path.name} is encrypted; give its password with --password or in {PASSWORD_VARIABLE}",
            code="keyfile.password",
            layer="input",
        )
    answer = getpass.getpass(f"Password of {path.name}: ")
    if not answer:
        raise InputError(f"{path.name} is encrypted and no password was given", code="keyfile.password", layer="input")
    return answer


def _unreadable(message: str) -> InputError:
    return InputError(message, code="keyfile.unreadable", layer="input")
