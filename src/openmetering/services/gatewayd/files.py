"""Small files that must be whole after a power cut, and a folder that belongs to one process."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from openmetering.errors import InputError, TransportError

__all__ = ["make_folder", "owned", "save", "sync_folder"]


def save(path: Path, octets: bytes) -> None:
    """Write a file of mode 0600 in one step; it is on the disk when this returns.

    A reader sees the old content or the new one, also after a power cut. Raises TransportError (``storage.failed``)
    """
    name = ""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600 from the start
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise TransportError(f"{path} cannot be written: {reason}", code="storage.failed", layer="storage") from error
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk as well, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder that nobody else reads. Raises InputError (``state.unwritable``)."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made: {error.strerror or error}", code="state.unwritable", layer="storage"
        ) from None


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """The folder while the block runs, for this process alone; it is made where it is missing.

    The lock is the system's: it ends with the process, whatever ends that. Systems without such locks are trusted.
    Raises InputError (``state.locked``, ``state.unwritable``)
    """
    make_folder(folder)
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:
        yield
        return
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be used: {error.strerror or error}", code="state.unwritable", layer="storage"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder} is in use by another gateway", code="state.locked", layer="storage") from None
        yield
    finally:
        os.close(handle)
