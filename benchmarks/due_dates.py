"""The due-date list of 50 000 meters, from SQLite with Parquet history and from PostgreSQL; a year of hours of one of them.

    due_dates.py                    both, some minutes (most of them to fill the databases)
    due_dates.py --meters 2000      smaller
    due_dates.py --demand 30        fail above so many seconds for the list (and above 300 ms for the year)

Meters send once a day: register, value of the due date and its date. What is filled in is what the ingest would have stored
(the way there is measured by ``store.py``): 21 days around the due date for each meter, and a year of hourly values of the
first. The month of the due date is closed (in Parquet) for SQLite, and in the database for PostgreSQL.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from openmetering.mdm.quality import Quality  # noqa: E402
from openmetering.services.headend.readings import Readings  # noqa: E402
from openmetering.services.mdm.due_list import Completeness, DueList  # noqa: E402
from openmetering.services.mdm.evidence import EvidenceLoader  # noqa: E402
from openmetering.storage import tables  # noqa: E402
from openmetering.storage.archive import Archive, close_month  # noqa: E402
from openmetering.storage.database import Database  # noqa: E402

__all__ = ["Measured", "fill", "main", "measure"]

DUE = date(2025, 12, 31)
BEGIN = datetime(2025, 12, 22, tzinfo=UTC)
DAYS = 21
DAY = 86_400.0
YEAR = datetime(2025, 1, 1, tzinfo=UTC)
_PART = 100_000


class Measured(NamedTuple):
    """Seconds of the list, what is in it, seconds of the year and its values."""

    list_seconds: float
    complete: Completeness
    year_seconds: float
    values: int


def fill(database: Database, meters: int) -> None:
    """Tenant, points, devices, series and readings."""
    numbers = range(1, meters + 1)
    at = BEGIN
    _put(database, tables.tenants, [{"id": 1, "name": "Bench", "created_at": at}])
    _put(database, tables.nodes, [{"id": 1, "tenant_id": 1, "kind": "building", "name": "one", "created_at": at}])
    _put(database, tables.sources, [{"id": 1, "name": "east"}])
    place = {"node_id": 1, "medium": "cold water", "created_at": at}
    _put(database, tables.points, [{"id": one, "name": f"point {one}", **place} for one in numbers])
    known = {"tenant_id": 1, "medium": "cold water", "created_at": at}
    _put(database, tables.devices, [{"id": one, "address": _name(one), **known} for one in numbers])
    since = datetime(2020, 1, 1, tzinfo=UTC)
    stay = {"valid_from": since, "created_at": at}
    _put(database, tables.assignments, [{"id": one, "device_id": one, "point_id": one, **stay} for one in numbers])
    _put(database, tables.addresses, [{"id": one, "address": _name(one), "medium": "cold water"} for one in numbers])
    common = {
        "quantity": "volume", "unit": "m3", "function": "instantaneous", "tariff": 0, "subunit": 0, "qualifiers": "", "vib": "13",
    }  # fmt: skip
    kinds = ({"storage": 0, "tag": "VM1!", "dib": "0C"}, {"storage": 1, "tag": "VM1!D", "dib": "4C"})
    rows = [
        {"id": 2 * one - 1 + number, "address_id": one, **kind, **common} for one in numbers for number, kind in enumerate(kinds)
    ]
    _put(database, tables.series, rows)
    for part in _telegrams(meters):
        _put(database, tables.frames, [
            {"id": frame, "identity": frame, "received_at": when, "source_id": 1, "octets": b"."} for frame, when, _, _ in part
        ])  # fmt: skip
        _put(database, tables.readings, [row for telegram in part for row in _readings(*telegram)])


def _name(number: int) -> str:
    return f"ELS-{10_000_000 + number}-33-16"


def _put(database: Database, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _PART):
        with database.transaction() as connection:
            connection.execute(insert(table), rows[start : start + _PART])


def _telegrams(meters: int) -> Iterator[list[tuple[int, float, int, int]]]:
    """Frame, time, meter and litres: a day at a time; then the hours of the first meter."""
    frame = 0
    for day in range(DAYS):
        rows = []
        for number in range(1, meters + 1):
            frame += 1
            rows.append((frame, BEGIN.timestamp() + day * DAY + number % 1440 * 60.0, number, 100_000 + number + 250 * day))
        yield rows
    hours = int((BEGIN - YEAR).total_seconds() // 3600)
    yield [(frame + hour + 1, YEAR.timestamp() + hour * 3600.0, 1, hour * 11) for hour in range(hours)]


def _readings(frame: int, when: float, number: int, litres: int) -> Iterator[dict[str, Any]]:
    base = {"received_at": when, "frame_id": frame, "exponent": -3, "error": None}
    yield {"series_id": 2 * number - 1, "position": 0, "value": f"{litres / 1000:.3f}", "mantissa": litres, "time": None, **base}
    stored = 100_000 + number + 2500 - 250 * (when < datetime(2025, 12, 31, 23, tzinfo=UTC).timestamp()) * 1000
    due = "2025-12-31" if stored > 0 else "2024-12-31"
    value = max(stored, 0)
    yield {"series_id": 2 * number, "position": 1, "value": f"{value / 1000:.3f}", "mantissa": value, "time": due, **base}


def measure(database: Database, archive: Archive | None) -> Measured:
    """The list, and the year of the first meter."""
    loader = EvidenceLoader(database, archive=archive)
    begun = time.perf_counter()
    lines = DueList(database, loader).of(1, DUE)
    listed = time.perf_counter() - begun
    readings = Readings(database, archive)
    readings.values(3, YEAR, None, None, 10)  # files and caches are open in a head-end that runs
    begun = time.perf_counter()
    values = readings.values(1, YEAR, datetime(2026, 1, 1, tzinfo=UTC), 3600.0, 10_000)
    return Measured(listed, Completeness.of(lines), time.perf_counter() - begun, len(values))


def _report(name: str, found: Measured) -> None:
    qualities = ", ".join(f"{count} {quality.value}" for quality, count in sorted(found.complete.by_quality.items(), key=str))
    print(f"{name}: due-date list of {found.complete.points} meters in {found.list_seconds:.1f} s ({qualities})")
    print(f"    a year of hourly values of one meter ({found.values}) in {found.year_seconds * 1000:.0f} ms", flush=True)


def main() -> int:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meters", type=int, default=50_000)
    parser.add_argument("--demand", type=float, default=0.0)
    options = parser.parse_args()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        with Database.open(str(Path(folder, "due.db"))) as database:
            fill(database, options.meters)
            for month in range(1, 13):
                close_month(database, Path(folder, "archive"), 2025, month)
            archive = Archive(Path(folder, "archive"))
            found.append(measure(database, archive))
            archive.close()
        _report("SQLite with closed months in Parquet", found[-1])
    try:
        from tests.storage.postgres import cluster

        with cluster(durable=True) as server, server.database() as url, Database.open(url) as database:
            fill(database, options.meters)
            found.append(measure(database, None))
        _report("PostgreSQL", found[-1])
    except (ImportError, FileNotFoundError) as error:
        print(f"PostgreSQL is left out: {error}")
    missing = any(one.complete.by_quality.get(Quality.MISSING) for one in found)
    slow = options.demand and any(one.list_seconds > options.demand or one.year_seconds > 0.3 for one in found)
    return 1 if missing or slow else 0


if __name__ == "__main__":
    sys.exit(main())
