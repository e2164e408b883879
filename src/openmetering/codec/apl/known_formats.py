"""Formats of compact frames that are known from the start (``tables/known_formats.csv``)."""

from __future__ import annotations

from openmetering.codec.apl.format import FormatStore, StoredFormat
from openmetering.tables import KNOWN_FORMATS

__all__ = ["known_formats"]


def known_formats() -> FormatStore:
    """A new store with the bundled formats; it learns more from full and format frames."""
    return FormatStore([StoredFormat(row.signature, row.headers, row.source) for row in KNOWN_FORMATS])
