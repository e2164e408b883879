"""Evidence out of the store: for every metering point of a tenant what its devices said, stored and were heard with.

Points come in parts, so that a city fits. Times of values are those of reception (the clock of a meter may run off);
stored values count for the end of the day that they name, in local time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Final, Protocol, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from openmetering.mdm.due_dates import due_moment
from openmetering.mdm.evidence import Evidence, Heard, Stay, Stored
from openmetering.mdm.series import Register, Sample, Series
from openmetering.services.mdm.registers import TAGS, Billed, billed, register
from openmetering.storage import evidence_rows, mdm_rows
from openmetering.storage.database import Database
from openmetering.storage.evidence_rows import HeardRow, PlacedRow, RegisterRow, SampleRow
from openmetering.storage.parts import parts
from openmetering.tables import error_flags

__all__ = ["ClosedMonths", "EvidenceLoader", "Place", "series_of", "spread", "stored_moment"]

T = TypeVar("T")

_REPLAYED: Final = "counter.replayed"
_PART: Final = 100  #: points at a time: some ten thousand telegrams each in a year
_CLOSED: Final = frozenset(("key-missing", "failed"))  #: security states of telegrams that could not be read


class Place(msgspec.Struct, frozen=True):
    """A metering point with its devices in time and what is agreed about it."""

    point_id: int
    node_id: int
    name: str
    medium: str
    stays: tuple[Stay, ...]
    interval: float | None
    data: mdm_rows.PointData


def stored_moment(text: str, zone: ZoneInfo) -> float | None:
    """When the value of a date held: the end of that day, or the time itself. None for a date that is none (wildcards)."""
    try:
        if len(text) > 10:
            return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
        return due_moment(date.fromisoformat(text), zone)
    except ValueError:
        return None


def series_of(what: Register, rows: Sequence[SampleRow]) -> Series:
    """Numbers in order of time as samples of one exponent, the least of theirs; of one moment the last one counts."""
    exponent = min(row.exponent for row in rows)
    samples = {
        row.received_at: Sample(row.received_at, row.mantissa * 10 ** (row.exponent - exponent), received_at=row.received_at)
        for row in rows
    }
    return Series(what, exponent, tuple(samples.values()))


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of them, evenly out of all."""
    return items[:: max(1, len(items) // most)][:most]


class ClosedMonths(Protocol):
    """Readings that are no longer in the database; see ``storage.archive.Archive``."""

    def samples(self, series_ids: Collection[int], since: float, until: float) -> Iterator[SampleRow]:
        """As ``evidence_rows.samples_of``."""
        ...

    def texts(self, series_ids: Collection[int], since: float, until: float) -> Iterator[tuple[int, float, str]]:
        """As ``evidence_rows.texts_of``."""
        ...


class EvidenceLoader:
    """Loads evidence, from a database and from closed months."""

    def __init__(self, database: Database, zone: str = "Europe/Berlin", archive: ClosedMonths | None = None) -> None:
        self._database = database
        self._zone_name, self._zone = zone, ZoneInfo(zone)
        self._archive = archive

    @property
    def zone(self) -> ZoneInfo:
        """The local time in which days begin."""
        return self._zone

    def places(self, tenant_id: int | None) -> list[Place]:
        """The metering points of a tenant."""
        with self._database.reading() as connection:
            rows = evidence_rows.placed(connection, tenant_id)
            data = mdm_rows.point_data(connection)
        by_point: dict[int, list[PlacedRow]] = {}
        for row in rows:
            by_point.setdefault(row.point_id, []).append(row)
        return [_place(group, data) for group in by_point.values()]

    def load(self, places: Sequence[Place], since: float, until: float, before: float = 0.0) -> Iterator[Evidence]:
        """Evidence of each place in turn, with the values of so many seconds ``before`` the time. Raises TransportError"""
        for part in parts(places, _PART):
            yield from self._part(part, since, until, before)

    def values(self, places: Sequence[Place], since: float, until: float) -> Iterator[list[Series]]:
        """The registers of each place in turn, without what was heard and stored. Raises TransportError"""
        for part in parts(places, _PART):
            names = {stay.device for place in part for stay in place.stays}
            with self._database.reading() as connection:
                found = billed(evidence_rows.registers_of(connection, names, TAGS))
                wanted = {row.series_id for item in found.values() for row in item.rows}
                samples = self.samples(connection, wanted, since, until)
            for place in part:
                registers: list[Series] = []
                for stay in place.stays:
                    if (item := found.get(stay.device)) is not None:
                        registers += _registers(item, samples, *stay.within(since, until))
                yield registers

    def buildings(self, tenant_id: int) -> dict[int, int]:
        """The building of each node of a tenant (or its root, where there is none above)."""
        with self._database.reading() as connection:
            nodes = evidence_rows.tree(connection, tenant_id)
        return {number: _building(nodes, number) for number in nodes}

    def samples(self, connection: Connection, wanted: Collection[int], since: float, until: float) -> dict[int, list[SampleRow]]:
        """Numbers of series by series and time, from the database and from closed months."""
        samples: dict[int, list[SampleRow]] = {}
        older = () if self._archive is None else self._archive.samples(wanted, since, until)
        for sample in chain(evidence_rows.samples_of(connection, wanted, since, until), older):
            samples.setdefault(sample.series_id, []).append(sample)
        for rows in samples.values():
            rows.sort(key=lambda row: row.received_at)
        return samples

    def texts(
        self, connection: Connection, wanted: Collection[int], since: float, until: float
    ) -> Iterator[tuple[int, float, str]]:
        """Values of series as they are written, from the database and from closed months: series, time of reception, text."""
        yield from evidence_rows.texts_of(connection, wanted, since, until)
        if self._archive is not None:
            yield from self._archive.texts(wanted, since, until)

    def _part(self, places: Sequence[Place], since: float, until: float, before: float) -> Iterator[Evidence]:
        names = {stay.device for place in places for stay in place.stays}
        with self._database.reading() as connection:
            found = billed(evidence_rows.registers_of(connection, names, TAGS))
            wanted = {row.series_id for item in found.values() for row in _rows(item)}
            samples = self.samples(connection, wanted, since - before, until)
            wanted = {item.clock.series_id for item in found.values() if item.clock is not None}
            clocks: dict[int, dict[float, str]] = {}
            for number, at, text in self.texts(connection, wanted, since, until):
                clocks.setdefault(number, {})[at] = text
            heard: dict[str, list[HeardRow]] = {}
            for telegram in evidence_rows.heard_of(connection, names, since, until):
                heard.setdefault(telegram.address, []).append(telegram)
        for place in places:
            yield self._evidence(place, found, samples, clocks, heard, since, until)

    def _evidence(
        self,
        place: Place,
        found: Mapping[str, Billed],
        samples: Mapping[int, list[SampleRow]],
        clocks: Mapping[int, Mapping[float, str]],
        heard: Mapping[str, list[HeardRow]],
        since: float,
        until: float,
    ) -> Evidence:
        registers: list[Series] = []
        previous: list[Series] = []
        stored: list[Stored] = []
        telegrams: list[Heard] = []
        for stay in place.stays:
            begin, end = stay.within(since, until)
            item = found.get(stay.device)
            clock = clocks.get(item.clock.series_id, {}) if item is not None and item.clock is not None else {}
            flags = {} if item is None or item.flags is None else {
                sample.received_at: sample.mantissa for sample in samples.get(item.flags.series_id, ()) if sample.mantissa
            }  # fmt: skip
            telegrams += self._heard(heard.get(stay.device, ()), clock, flags, begin, end)
            if item is None:
                continue
            registers += _registers(item, samples, begin, end)
            previous += _registers(item, samples, stay.begin, min(since, end))
            stored += self._stored(item, samples, begin, end)
        data = place.data
        return Evidence(
            str(place.point_id), since, until, tuple(registers), place.stays, tuple(telegrams), tuple(stored),
            medium=place.medium or None, unit=data.unit, size=data.size,
            maximum=None if data.maximum is None else Decimal(data.maximum),
            interval=place.interval, grid=data.grid, previous=tuple(previous), zone=self._zone_name,
        )  # fmt: skip

    def _heard(
        self, rows: Sequence[HeardRow], clock: Mapping[float, str], flags: Mapping[float, int], begin: float, end: float
    ) -> Iterator[Heard]:
        copies: Counter[tuple[int, str]] = Counter()
        for row in rows:
            if begin <= row.received_at < end:
                said, raised = clock.get(row.received_at), flags.get(row.received_at, 0)
                copies[row.frame_id, row.source] += row.repeated
                yield Heard(
                    row.received_at, row.address, row.source, row.access_number, row.error == _REPLAYED, row.status,
                    error_flags(raised) if raised else (),
                    meter_time=None if said is None else stored_moment(said, self._zone),
                    repeats=copies[row.frame_id, row.source] if row.repeated else 0, opened=_opened(row),
                )  # fmt: skip

    def _stored(self, item: Billed, samples: Mapping[int, list[SampleRow]], begin: float, end: float) -> Iterator[Stored]:
        """Each stored value once, as it was read first; one that changed later comes again."""
        seen: dict[tuple[str, float], tuple[int, int]] = {}
        for kind, row in item.stored:
            for sample in samples.get(row.series_id, ()):
                if not begin <= sample.received_at < end or sample.time is None:
                    continue
                at = stored_moment(sample.time, self._zone)
                value = (sample.mantissa, sample.exponent)
                if at is not None and seen.get((kind, at)) != value:
                    seen[kind, at] = value
                    yield Stored(kind, row.address, at, sample.mantissa, sample.exponent, sample.received_at)


def _building(nodes: Mapping[int, tuple[int | None, str]], number: int) -> int:
    parent, kind = nodes[number]
    while kind != "building" and parent is not None:
        number = parent
        parent, kind = nodes[number]
    return number


def _place(rows: Sequence[PlacedRow], data: Mapping[int, mdm_rows.PointData]) -> Place:
    first = rows[0]
    stays = tuple(Stay(row.address, row.valid_from or 0.0, row.valid_to) for row in rows if row.address is not None)
    agreed = data.get(first.point_id) or mdm_rows.PointData(0, first.point_id)
    return Place(first.point_id, first.node_id, first.name, first.medium, stays, rows[-1].interval, agreed)


def _rows(item: Billed) -> Iterator[RegisterRow]:
    yield from item.rows
    yield from (row for _, row in item.stored)
    if item.flags is not None:
        yield item.flags


def _registers(item: Billed, samples: Mapping[int, list[SampleRow]], begin: float, end: float) -> Iterator[Series]:
    """The register of a device, one series for each unit that it was sent in; of one moment one value counts."""
    by_unit: dict[str, list[tuple[RegisterRow, SampleRow]]] = {}
    for row in item.rows:
        found = (sample for sample in samples.get(row.series_id, ()) if begin <= sample.received_at < end)
        by_unit.setdefault(row.unit, []).extend((row, sample) for sample in found)
    for pairs in by_unit.values():
        if not pairs:
            continue
        pairs.sort(key=lambda pair: pair[1].received_at)
        yield series_of(register(pairs[0][0]), [sample for _, sample in pairs])


def _opened(row: HeardRow) -> bool | None:
    return None if row.security == "plain" else row.security not in _CLOSED
