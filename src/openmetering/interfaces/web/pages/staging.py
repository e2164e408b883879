"""Files between preview and import: kept on the server for a few minutes, for the user who sent them, and never shown.

Keys must not travel back into a page; so the page holds a number, and the file stays here.
"""

from __future__ import annotations

import secrets
import threading
from datetime import datetime, timedelta
from typing import Final

import msgspec
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from openmetering.services.headend.problems import invalid

__all__ = ["Staged", "Staging"]

_MINUTES: Final = timedelta(minutes=15)
_MOST: Final = 32  #: files at a time; the oldest goes first


class _File(msgspec.Struct, frozen=True):
    user_id: int
    kind: str
    octets: bytes
    until: datetime

    def __repr__(self) -> str:
        return f"<staged {self.kind} of user {self.user_id}>"


class Staging:
    """The files; one for an application. May be used from several threads."""

    __slots__ = ("_files", "_lock")

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    def put(self, user_id: int, kind: str, octets: bytes, now: datetime) -> str:
        """Keep a file; returns its number."""
        name = secrets.token_urlsafe(24)
        with self._lock:
            self._files = {key: one for key, one in self._files.items() if one.until > now}
            while len(self._files) >= _MOST:
                del self._files[next(iter(self._files))]
            self._files[name] = _File(user_id, kind, octets, now + _MINUTES)
        return name

    def take(self, name: str, user_id: int, kind: str, now: datetime) -> bytes:
        """A file, once. Raises InputError (``access.invalid``) if it is gone, or somebody else's"""
        with self._lock:
            found = self._files.get(name)
            if found is None or found.until <= now or found.user_id != user_id or found.kind != kind:
                raise invalid("the file is no longer here; please choose it again")
            del self._files[name]
        return found.octets


#: for handlers
Staged = NamedDependency[SkipValidation[Staging]]
