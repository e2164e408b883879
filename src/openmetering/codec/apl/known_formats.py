"""Formats of compact frames that are known from the start (``tables/known_formats.csv``)."""

from __future__ import annotations

from functools import cache

from openmetering.codec.apl.format import FormatStore, RecordFormat
from openmetering.tables import KNOWN_FORMATS

__all__ = ["known_formats"]


@cache
def _bundled() -> tuple[tuple[RecordFormat, str], ...]:
    """The formats, read once: thousands of simulated devices have a decoder each."""
    return tuple((RecordFormat.parse(bytes.fromhex(row.headers)), row.source) for row in KNOWN_FORMATS)


def known_formats() -> FormatStore:
    """A new store with the bundled formats; it learns more from full and format frames."""
    store = FormatStore()
    for record_format, source in _bundled():
        store.add(record_format, source)
    store.changed = False
    return store
