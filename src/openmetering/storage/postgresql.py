"""Connecting to PostgreSQL and bringing its schema up to date. Needs the extra ``headend`` (pg8000).

    postgresql://user:password@host:5432/database
    postgresql:///database?host=/run/postgresql        through a socket of this machine
    ...?sslmode=verify-full&sslrootcert=ca.pem         over TLS: require does not look at the certificate, verify-full does

What the URL leaves out is taken from PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE. Passwords show in no error.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import ssl
import time
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from openmetering.errors import InputError
from openmetering.storage.dialects import postgres_reason
from openmetering.storage.migrations import VERSION, wrong

if TYPE_CHECKING:
    from pg8000.dbapi import Connection

__all__ = ["Target", "connect", "is_postgresql", "schemas"]

_NAME = re.compile(r"schema_v(\d+)_postgresql\.sql")
_SCHEMES = frozenset(("postgresql", "postgres"))
_MIGRATION_LOCK = 0x4F4D5332
_OPTIONS = frozenset(("host", "sslmode", "sslrootcert"))
_PORT = 5432


def is_postgresql(url: str) -> bool:
    """True for the URL of a PostgreSQL database."""
    return url.partition("://")[0] in _SCHEMES and "://" in url


def schemas() -> list[tuple[int, str]]:
    """Version and file name of every schema step, in order. The first step makes everything."""
    names = [item.name for item in resources.files("openmetering.storage").iterdir()]
    return sorted((int(found[1]), name) for name in names if (found := _NAME.fullmatch(name)))


class Target(msgspec.Struct, frozen=True):
    """Where a database is. The password shows in no representation."""

    host: str
    port: int
    user: str
    password: str | None
    database: str
    socket: str | None = None
    sslmode: str = "disable"
    sslrootcert: str | None = None

    def __repr__(self) -> str:
        return f"<Target {self}>"

    def __str__(self) -> str:
        place = self.socket or f"{self.host}:{self.port}"
        return f"postgresql://{self.user}@{place}/{self.database}"

    @classmethod
    def parse(cls, url: str) -> Target:
        """Read a URL. Raises InputError (``storage.open``)"""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise wrong("the URL of the database cannot be read; write postgresql://user:password@host:5432/database") from None
        options = dict(parse_qsl(parts.query))
        if unknown := sorted(set(options) - _OPTIONS):
            raise wrong(f"{', '.join(unknown)}: not known as option of a PostgreSQL URL; known are {', '.join(sorted(_OPTIONS))}")
        sslmode = options.get("sslmode", "disable")
        if sslmode not in _TLS:
            raise wrong(f"sslmode {sslmode} is not known; write one of {', '.join(_TLS)}")
        return cls._of(parts, port, options, sslmode)

    @classmethod
    def _of(cls, parts: SplitResult, port: int | None, options: dict[str, str], sslmode: str) -> Target:
        environment = os.environ
        host = options.get("host") or unquote(parts.hostname or "") or environment.get("PGHOST") or "localhost"
        number = port or int(environment.get("PGPORT") or _PORT)
        user = unquote(parts.username or "") or environment.get("PGUSER") or getpass.getuser()
        password = unquote(parts.password) if parts.password else environment.get("PGPASSWORD")
        database = unquote(parts.path.removeprefix("/")) or environment.get("PGDATABASE") or user
        socket = f"{host}/.s.PGSQL.{number}" if host.startswith("/") else None
        return cls(host, number, user, password, database, socket, sslmode, options.get("sslrootcert"))


def _unverified(_: Target) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verified(target: Target) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=target.sslrootcert)


_TLS = {"disable": lambda _: None, "require": _unverified, "verify-full": _verified}


def connect(url: str, *, migrate: bool = True) -> Connection:
    """Open a connection, and bring the schema to the newest version.

    Raises InputError (``storage.open``, ``storage.version``)
    """
    target = Target.parse(url)
    try:
        from pg8000 import dbapi
    except ImportError:
        raise wrong("PostgreSQL needs a driver: pip install 'openmetering[headend]'") from None
    try:
        connection = dbapi.connect(
            target.user,
            host=target.host,
            port=target.port,
            database=target.database,
            password=target.password,
            unix_sock=target.socket,
            sock=None if target.socket else _door(target),
            ssl_context=_TLS[target.sslmode](target),
            application_name="openmetering",
        )
    except (dbapi.Error, OSError, ssl.SSLError) as error:
        raise wrong(f"{target} cannot be opened: {postgres_reason(error)}") from None
    try:
        if migrate:
            _migrate(connection, target)
    except dbapi.Error as error:
        connection.close()
        raise wrong(f"{target} is no store of openmetering: {postgres_reason(error)}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _door(target: Target) -> socket.socket:
    """A connection that sends at once: the driver writes in parts, and the kernel would hold back each part of a COPY for
    40 ms, until the server has confirmed the one before (five statements: 0.2 s). Raises OSError"""
    door = socket.create_connection((target.host, target.port))
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return door


def _migrate(connection: Connection, target: Target) -> None:
    """Take the steps that are missing, all or none; the lock lets one process do it while others wait."""
    cursor = connection.cursor()
    try:
        cursor.execute("SET client_min_messages = warning")
        cursor.execute(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        cursor.execute("SELECT to_regclass('migrations')::text, count(*) FROM pg_tables WHERE schemaname = current_schema()")
        ours, tables = cursor.fetchone()
        version = 0
        if ours:
            cursor.execute("SELECT coalesce(max(version), 0) FROM migrations")
            (version,) = cursor.fetchone()
        elif tables:
            raise wrong(f"{target} is a database of another program; make an empty one with createdb")
        if version > VERSION:
            raise InputError(
                f"{target} has schema version {version}, this openmetering knows up to {VERSION}; install a newer one",
                code="storage.version",
                layer="storage",
            )
        for number, name in schemas():
            if number > version:
                cursor.execute((resources.files("openmetering.storage") / name).read_text("utf-8"))
                cursor.execute("INSERT INTO migrations VALUES (%s, %s, %s)", (number, name, time.time()))
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
