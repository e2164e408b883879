"""Error codes in words."""

from __future__ import annotations

import re

import pytest

from openmetering import errors
from openmetering.tables import FAULTS

CLASSES = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.OmsError)]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_the_code_of_every_class_is_explained(error: type[errors.OmsError]) -> None:
    assert FAULTS[error.code].error == error.__name__


def test_the_tree_was_found() -> None:
    assert len(CLASSES) >= 18


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_every_row_helps(code: str) -> None:
    row = FAULTS[code]
    assert row.code == code
    assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+(\.\*)?", code)
    # a fault that only warns, or marks one value, has no exception: it is a Fault
    assert row.error in {error.__name__ for error in CLASSES} | {"Fault"}
    assert row.layer
    assert row.meaning
    assert row.remedy
