"""What the tests of the documentation share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_EXTENSIONS = Path(__file__).resolve().parents[2] / "docs" / "_ext"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules that make pages can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(_EXTENSIONS))
    before = set(sys.modules)
    yield
    for path in _EXTENSIONS.glob("*.py"):
        if path.stem not in before:
            sys.modules.pop(path.stem, None)
