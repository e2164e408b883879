"""What an operator must not forget, in one file: journals, message counters, access numbers. No key stands in it.

The file is written whole, with mode 0600, and is on the disk before anything that depends on it leaves. While a
program has it open, another one that wants it is turned away: two that count with the same counters would both
use each number once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.errors import InputError
from openmetering.protocol.gateway.access import AccessMemory
from openmetering.protocol.gateway.events import GatewayMemory
from openmetering.protocol.gateway.partner_security import SecurityMemory
from openmetering.protocol.gateway.wired_gateway import WiredMemory
from openmetering.protocol.operator.journal import Journal

__all__ = ["DEFAULT_STATE", "OperatorState"]

DEFAULT_STATE = "openmetering-operator.json"
_FORMAT = 1


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int = _FORMAT
    journals: tuple[Journal, ...] = ()
    security: SecurityMemory = SecurityMemory()
    access: tuple[AccessMemory, ...] = ()
    without_snd_ud2: tuple[Address, ...] = ()


class OperatorState:
    """The file, or with ``path`` None the same in memory only."""

    __slots__ = ("_file", "_path")

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file = _File() if path is None else _read(path)

    @property
    def journals(self) -> tuple[Journal, ...]:
        """Journals of the head-end."""
        return self._file.journals

    def keep_journal(self, journal: Journal) -> None:
        """Write the journal of a device; safe when it returns. Raises InputError (``state.unwritable``)."""
        others = (entry for entry in self._file.journals if entry.address != journal.address)
        empty = journal == Journal(journal.address)
        self._write(replace(self._file, journals=(*others, *(() if empty else (journal,)))))

    def radio_memory(self) -> GatewayMemory:
        """The memory of a gateway; devices are to be registered, exchanges of earlier runs are over."""
        file = self._file
        return GatewayMemory(file.security, (), file.access, (), file.without_snd_ud2)

    def wired_memory(self) -> WiredMemory:
        """The memory of a wired gateway, like ``radio_memory``; counters are the same, whatever the link."""
        return WiredMemory(self._file.security, (), self._file.access, ())

    def keep_memory(self, memory: GatewayMemory | WiredMemory) -> None:
        """Write what a gateway must not forget, without its keys. Raises InputError (``state.unwritable``)."""
        file = replace(self._file, security=replace(memory.security, keys=()), access=memory.access)
        if isinstance(memory, GatewayMemory):
            registered = {link.address for link in memory.links}
            others = (address for address in file.without_snd_ud2 if address not in registered)
            file = replace(file, without_snd_ud2=(*others, *memory.without_snd_ud2))
        self._write(file)

    def _write(self, file: _File) -> None:
        if self._path is not None:
            _save(self._path, msgspec.json.format(msgspec.json.encode(file), indent=1))
        self._file = file

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path | None) -> Iterator[OperatorState]:
        """The state while the block runs, for this program alone. Raises InputError."""
        if path is None:
            yield cls()
            return
        with _locked(path):
            yield cls(path)


def _wrong(message: str, code: str) -> InputError:
    return InputError(message, code=code, layer="input")


def _read(path: Path) -> _File:
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return _File()
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror or error}", "state.unreadable") from None
    try:
        file = msgspec.json.decode(octets, type=_File)
    except msgspec.MsgspecError as error:
        raise _wrong(f"{path} is no state file of an operator: {error}", "state.unreadable") from None
    if file.format != _FORMAT:
        raise _wrong(f"{path} has format {file.format}, this program knows {_FORMAT}", "state.unreadable")
    return file


def _save(path: Path, octets: bytes) -> None:
    """In one step: a reader sees the old content or the new one, also after a power cut."""
    target = path.resolve()
    name = ""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600 from the start
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _wrong(f"{path} cannot be written: {error.strerror or error}", "state.unwritable") from None
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk as well, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises InputError (``state.locked``). Systems without such locks (Windows) are trusted."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:
        yield
        return
    lock = path.resolve().with_name(f".{path.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _wrong(f"{lock} cannot be made: {error.strerror or error}", "state.unwritable") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _wrong(f"{path} is in use by another oms device; wait for it to end", "state.locked") from None
        yield
        lock.unlink(missing_ok=True)
    finally:
        os.close(handle)
