"""Long lists in parts: a statement takes only so many values, and memory only so many rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["PART", "parts"]

T = TypeVar("T")

#: values of one condition ``IN (...)``
PART = 500


def parts(items: Sequence[T], size: int = PART) -> Iterator[Sequence[T]]:
    """Slices of ``size`` items in order, the last one shorter; none of no items."""
    return (items[start : start + size] for start in range(0, len(items), size))
