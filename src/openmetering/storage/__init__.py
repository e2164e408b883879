"""The store: frames raw before they are decoded, then what was read from them. SQLite, schema versioned."""

from openmetering.storage.queries import Counts, DeviceRow, OpenFrame, ReadingFilter, ReadingRow
from openmetering.storage.repository import Decoded, Observation, Place, RedecodeReport, Store, Stored

__all__ = [
    "Counts",
    "Decoded",
    "DeviceRow",
    "Observation",
    "Place",
    "OpenFrame",
    "ReadingFilter",
    "ReadingRow",
    "RedecodeReport",
    "Store",
    "Stored",
]
