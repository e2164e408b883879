"""A PostgreSQL server for tests: a cluster of its own in a temporary folder, on a free port of this machine.

    from tests.storage.postgres import postgres_server, postgres_url    # fixtures; mark the tests with ``services``

    def test_it(postgres_url: str) -> None: ...                         # the URL of an empty database, dropped afterwards

Missing programs skip the tests, or fail them where OPENMETERING_REQUIRE_SERVICES is set.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pg8000 = pytest.importorskip("pg8000.dbapi")

__all__ = ["Server", "cluster", "postgres_server", "postgres_url"]

_USER = "openmetering"
_FOLDERS = (*(Path(f"/usr/lib/postgresql/{version}/bin") for version in range(18, 12, -1)), Path("/usr/bin"))
_START = 30.0


def _programs() -> Path | None:
    for folder in _FOLDERS:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    return None


def _account() -> str | None:
    """The user the server runs as: PostgreSQL refuses to be root."""
    return "postgres" if os.geteuid() == 0 else None


class Server:
    """A running cluster."""

    def __init__(self, port: int, password: str, folder: Path) -> None:
        self.port = port
        self.password = password
        self.folder = folder  #: of the sockets
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://{_USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, url: str = "") -> None:
        """A statement of the administrator, in the database of a URL if it concerns one."""
        database = url.rpartition("/")[2] or "postgres"
        connection = pg8000.connect(_USER, host="127.0.0.1", port=self.port, password=self.password, database=database)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database; it is dropped at the end, whoever still uses it."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def cluster(*, durable: bool = False, settings: tuple[str, ...] = ()) -> Iterator[Server]:
    """A new cluster while the block runs; without ``durable`` it does not wait for the disk (fast, for tests)."""
    programs = _programs()
    if programs is None:
        raise FileNotFoundError("initdb and postgres are not installed (Debian: postgresql)")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="openmetering-postgres-"))
    try:
        if account is not None:
            shutil.chown(folder, account, account)
        password = secrets.token_hex(8)
        secret = folder / "password"
        secret.write_text(password)
        if account is not None:
            shutil.chown(secret, account, account)
        data = folder / "data"
        _make(programs, data, secret, account)
        port = _free_port()
        with _running(programs, folder, port, account, durable=durable, settings=settings):
            server = Server(port, password, folder)
            _wait(server)
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(programs: Path, data: Path, secret: Path, account: str | None) -> None:
    command = [programs / "initdb", "-D", data, "-U", _USER, "-A", "scram-sha-256", "--pwfile", secret]
    command += ["--no-locale", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(command, capture_output=True, text=True, user=account, group=account, check=False, cwd="/")
    if made.returncode:
        raise RuntimeError(f"initdb: {made.stderr or made.stdout}")


@contextlib.contextmanager
def _running(
    programs: Path, folder: Path, port: int, account: str | None, *, durable: bool, settings: tuple[str, ...]
) -> Iterator[None]:
    options = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}"]
    options += ["max_connections=100", "log_min_messages=fatal", *settings]
    if not durable:
        options += ["fsync=off", "full_page_writes=off"]
    command = [str(programs / "postgres"), "-D", str(folder / "data")]
    for option in options:
        command += ["-c", option]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, user=account, group=account, cwd="/")
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)  # "fast": open connections are closed
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: Server) -> None:
    end = time.monotonic() + _START
    while True:
        try:
            server.run("SELECT 1")
        except (pg8000.Error, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One cluster for all tests of a run."""
    if _programs() is None:
        if os.environ.get("OPENMETERING_REQUIRE_SERVICES"):
            pytest.fail("PostgreSQL is not installed, and OPENMETERING_REQUIRE_SERVICES asks for it")
        pytest.skip("PostgreSQL is not installed")
    with cluster() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """An empty database."""
    with postgres_server.database() as url:
        yield url
