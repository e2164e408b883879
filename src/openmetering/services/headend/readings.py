"""What devices said, read back: series, values, telegrams. Times of people in and out; the telemetry counts seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from openmetering.services.headend.model import Page, SeriesInfo, SeriesPoint, TelegramInfo, moment
from openmetering.storage import ReadingRow, telemetry_rows
from openmetering.storage.archive import Archive
from openmetering.storage.database import Database

__all__ = ["Readings"]

_LARGEST = 1000


class Readings:
    """Questions about one device each; who may ask is judged elsewhere. Closed months are asked as well."""

    __slots__ = ("_database", "archive")

    def __init__(self, database: Database, archive: Archive | None = None) -> None:
        self._database = database
        self.archive = archive

    def series(self, address: str, since: datetime | None = None, until: datetime | None = None) -> list[SeriesInfo]:
        """The series of a device that have a value in the time."""
        with self._database.reading() as connection:
            rows = telemetry_rows.device_series(connection, address, _seconds(since), _seconds(until))
            if self.archive is not None:
                edges = self.archive.edges(address, _seconds(since), _seconds(until))
                rows = telemetry_rows.with_edges(connection, address, rows, edges)
        return [
            SeriesInfo(
                row.id, row.address, row.quantity, row.unit, row.function, row.storage, row.tariff, row.subunit,
                row.qualifiers, row.obis, row.tag, moment(row.first_at), moment(row.last_at),
            )
            for row in rows
        ]  # fmt: skip

    def address_of_series(self, series_id: int) -> str | None:
        """The device of a series."""
        with self._database.reading() as connection:
            return telemetry_rows.address_of_series(connection, series_id)

    def values(
        self, series_id: int, since: datetime | None, until: datetime | None, resolution: float | None, limit: int
    ) -> list[SeriesPoint]:
        """The values of a series in order of time; with ``resolution`` the last one of each slot."""
        with self._database.reading() as connection:
            rows = telemetry_rows.series_values(connection, series_id, _seconds(since), _seconds(until), resolution, limit)
        if self.archive is not None:
            old = self.archive.values(series_id, _seconds(since), _seconds(until), resolution, limit)
            rows = _joined(old, rows, resolution)[:limit]
        return [SeriesPoint(moment(row.received_at), row.value, row.time, row.error, row.frame_id) for row in rows]

    def latest(self, address: str, since: datetime | None = None, until: datetime | None = None) -> list[ReadingRow]:
        """The newest reading of every series of a device in the time."""
        with self._database.reading() as connection:
            return telemetry_rows.latest_readings(connection, address, _seconds(since), _seconds(until))

    def between(
        self, address: str, since: datetime | None, until: datetime | None, quantity: str | None, limit: int
    ) -> list[ReadingRow]:
        """Readings of a device in order of time."""
        with self._database.reading() as connection:
            return telemetry_rows.device_readings(connection, address, _seconds(since), _seconds(until), quantity, limit)

    def telegrams(self, address: str, before: int | None, limit: int) -> Page[TelegramInfo]:
        """Telegrams of a device, the newest first."""
        limit = max(1, min(limit, _LARGEST))
        with self._database.reading() as connection:
            rows = telemetry_rows.device_telegrams(connection, address, before, limit + 1)
        items = tuple(
            TelegramInfo(
                row.frame_id, moment(row.received_at), row.source, row.mode, row.state, row.error, row.access_number,
                row.status, row.security, row.proof, row.readings, row.rssi,
            )
            for row in rows[:limit]
        )  # fmt: skip
        return Page(items, items[-1].frame_id if len(rows) > limit else None)

    def frame(self, frame_id: int) -> telemetry_rows.FrameRow | None:
        """The raw octets of a frame."""
        with self._database.reading() as connection:
            return telemetry_rows.frame_of(connection, frame_id)


def _joined(
    old: Sequence[telemetry_rows.ValueRow], new: Sequence[telemetry_rows.ValueRow], resolution: float | None
) -> list[telemetry_rows.ValueRow]:
    """Values of closed months and of the database in order of time; what is in both once, and of a slot the last one."""
    found = {(row.received_at, row.frame_id, row.value): row for row in (*old, *new)}
    rows = sorted(found.values(), key=lambda row: (row.received_at, row.frame_id))
    return rows if resolution is None else list({row.received_at // resolution: row for row in rows}.values())


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
