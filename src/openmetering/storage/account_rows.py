"""Rows of accounts: users, tokens of the API, sessions of browsers. Secrets come as hashes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from openmetering.storage import tables
from openmetering.storage.model import Token, User, WebSession
from openmetering.storage.rows import Rows

__all__ = [
    "end_sessions",
    "failed_logins",
    "forget_failures",
    "note_failure",
    "purge_expired",
    "session_of_hash",
    "sessions",
    "token_of_hash",
    "tokens",
    "user_of_name",
    "users",
]

users = Rows(tables.users, User)
tokens = Rows(tables.tokens, Token)
sessions = Rows(tables.sessions, WebSession)


def user_of_name(connection: Connection, name: str) -> User | None:
    """The account with this name."""
    return users.find(connection, tables.users.c.name == name)


def failed_logins(connection: Connection, user_id: int) -> tuple[int, datetime | None]:
    """Wrong passwords in a row, and until when the account is locked."""
    table = tables.users
    row = connection.execute(select(table.c.failures, table.c.locked_until).where(table.c.id == user_id)).one_or_none()
    return (0, None) if row is None else (int(row[0]), row[1])


def note_failure(connection: Connection, user_id: int, locked_until: datetime | None = None) -> int:
    """One more wrong password; returns how many in a row."""
    table = tables.users
    change = update(table).where(table.c.id == user_id).values(failures=table.c.failures + 1, locked_until=locked_until)
    return int(connection.execute(change.returning(table.c.failures)).scalar_one_or_none() or 0)


def forget_failures(connection: Connection, user_id: int) -> None:
    """The password was right."""
    table = tables.users
    connection.execute(update(table).where(table.c.id == user_id).values(failures=0, locked_until=None))


def token_of_hash(connection: Connection, value: str) -> Token | None:
    """The token whose secret has this hash."""
    return tokens.find(connection, tables.tokens.c.hash == value)


def session_of_hash(connection: Connection, value: str) -> WebSession | None:
    """The session whose number has this hash."""
    return sessions.find(connection, tables.sessions.c.hash == value)


def end_sessions(connection: Connection, user_id: int) -> int:
    """End all sessions of a user; returns how many there were."""
    return connection.execute(delete(tables.sessions).where(tables.sessions.c.user_id == user_id)).rowcount


def purge_expired(connection: Connection, now: datetime) -> int:
    """Take sessions and tokens away whose time is over; returns how many."""
    return sum(
        connection.execute(delete(table).where(table.c.expires <= now)).rowcount for table in (tables.sessions, tables.tokens)
    )
