"""The head-end of a test: on SQLite always, on PostgreSQL where a test asks for both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openmetering.storage.database import Database
from tests.services.headend.desk import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A head-end in memory."""
    with Database.open(":memory:") as database:
        made = Desk(database)
        yield made
        made.close()
