"""The world of the web tests, once per module or new for a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interfaces.web.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A new world."""
    made = World()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """A world that the tests of a module share: for those that only look, or use up what they made themselves."""
    made = World()
    yield made
    made.close()
