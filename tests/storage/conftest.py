"""Fixtures of the storage tests: every test that takes ``url`` runs with SQLite and with PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openmetering.storage import Store
from tests.storage.postgres import Server, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url", "shared_database", "url"]

#: empties all tables but the list of migrations; the triggers that keep trails are told to look away
EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE item record;
BEGIN
    FOR item IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        AND relname <> 'migrations' LOOP
        EXECUTE format('DELETE FROM %I', item.relname);
    END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
END $$;
"""


@pytest.fixture(scope="session")
def shared_database(postgres_server: Server) -> Iterator[str]:
    """One database that many tests use, one after the other."""
    with postgres_server.database() as address:
        Store.open(address).close()
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of either kind without rows."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    address: str = request.getfixturevalue("shared_database")
    server: Server = request.getfixturevalue("postgres_server")
    server.run(EMPTY, address)
    return address
