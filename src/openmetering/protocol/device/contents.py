"""What a device says: the records of its metrology, and what its functions add to them.

    message application  ->  readings of the metrology  +  records of the functions
    changed list (UC-14) ->  the points of the list, each from wherever the device has it

Source: OMS Volume 2 5.0.1 clause 8.2 and Table 41; Annex M release C, M.1.4 rule 8 and M.2.11 (UC-14).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from openmetering.codec.apl.records import Record, encode
from openmetering.tables import APPLICATIONS

if TYPE_CHECKING:
    from openmetering.protocol.device.interface import Feature
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["Contents", "FixedReadings", "Readings", "content_of"]

_BLOCKS = 16  #: blocks of an application


class Readings(Protocol):
    """Metrology: what a device measures. Both methods say the same; ``octets`` is the fast one.

    ``application`` is a message application (0 all, 7 static, 8 installation, 16 and above of OMS),
    ``block`` 0 the whole of it. What does not exist is empty.
    """

    def records(self, application: int, block: int, now: float) -> Sequence[Record]:
        """The records of a message application."""
        ...

    def octets(self, application: int, block: int, now: float) -> bytes:
        """The same as octets, a manufacturer's block (DIF 0F) at the end."""
        ...


class FixedReadings:
    """Readings that never change: for tests, and for devices without metrology."""

    __slots__ = ("_octets", "_records")

    def __init__(self, applications: Mapping[int, Sequence[Record]] | None = None) -> None:
        self._records = {number: tuple(records) for number, records in (applications or {}).items()}
        self._octets = {number: encode(records) for number, records in self._records.items()}

    def records(self, application: int, block: int, now: float) -> Sequence[Record]:
        """The records of an application; each has one block."""
        return self._records.get(application, ()) if block <= 1 else ()

    def octets(self, application: int, block: int, now: float) -> bytes:
        """The same as octets."""
        return self._octets.get(application, b"") if block <= 1 else b""


class Contents:
    """The message applications of a device. ``features`` are asked in order; more may be appended."""

    __slots__ = ("_memory", "_readings", "applications", "features")

    def __init__(
        self, readings: Readings, features: list[Feature], memory: DeviceMemory, applications: Sequence[int] = (0, 7)
    ) -> None:
        self._readings = readings
        self._memory = memory
        self.features = features
        self.applications = frozenset(applications)

    def octets(self, application: int, block: int, now: float) -> bytes:
        """The octets of a message application; a block that does not exist means the first one.

        Source   EN 13757-3, application select (clause to confirm)
        """
        memory = self._memory
        if memory.lists and application * _BLOCKS + block in memory.lists:
            return encode(tuple(self.records(application, block, now)))
        octets = self._readings.octets(application, block, now)
        if block > 1 and not octets:
            return self.octets(application, 0, now)
        if block <= 1:
            for feature in self.features:
                for record in feature.records(application, now):
                    octets += record.octets()
        return octets

    def records(self, application: int, block: int, now: float) -> list[Record]:
        """The records of a message application."""
        points = self._memory.lists.get(application * _BLOCKS + block)
        if points is not None:
            known = self.catalogue(now)
            return [known[header] for header in points if header in known]
        found = list(self._readings.records(application, block, now))
        if block > 1 and not found:
            return self.records(application, 0, now)
        if block <= 1:
            for feature in self.features:
                found += feature.records(application, now)
        return found

    def catalogue(self, now: float) -> dict[bytes, Record]:
        """Every point the device has, in any application: header octets -> record."""
        known: dict[bytes, Record] = {}
        for application in sorted(self.applications):
            for record in self._readings.records(application, 0, now):
                known.setdefault(record.header.octets, record)
            for feature in self.features:
                for record in feature.records(application, now):
                    known.setdefault(record.header.octets, record)
        return known

    def keep(self, application: int, block: int, headers: Sequence[bytes]) -> None:
        """Change the list of an application for good (UC-14)."""
        self._memory.lists[application * _BLOCKS + block] = list(headers)


def content_of(application: int) -> tuple[int, int]:
    """Content class and content index of a message application, (0, 0) where it has none.

    Source   OMS Volume 2 5.0.1 Table 41
    """
    entry = APPLICATIONS.get(application)
    if entry is None or not entry.content:
        return 0, 0
    return int(entry.content, 2), int(entry.content_index, 2)
