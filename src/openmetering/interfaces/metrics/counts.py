"""What is counted in the database when somebody looks: alarms, jobs and devices by their state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Column, func, select

from openmetering.storage import tables
from openmetering.storage.database import Database

__all__ = ["COUNTED", "Counts", "alarm_counts", "device_counts", "job_counts"]

#: values of the labels -> how many
Counts = dict[tuple[str, ...], int]


def _grouped(database: Database, *columns: Column[str]) -> Counts:
    with database.reading() as connection:
        rows = connection.execute(select(*columns, func.count()).group_by(*columns)).all()
    return {tuple(str(cell) for cell in row[:-1]): int(row[-1]) for row in rows}


def alarm_counts(database: Database) -> Callable[[], Counts]:
    """(kind, severity, state) of all alarms that are kept."""
    columns = tables.alarms.c
    return lambda: _grouped(database, columns.kind, columns.severity, columns.state)


def job_counts(database: Database) -> Callable[[], Counts]:
    """(kind, state) of all jobs that are kept."""
    return lambda: _grouped(database, tables.jobs.c.kind, tables.jobs.c.state)


def device_counts(database: Database) -> Callable[[], Counts]:
    """(medium, state) of all devices of the registry."""
    return lambda: _grouped(database, tables.devices.c.medium, tables.devices.c.state)


#: name of a metric -> what it counts, its labels, who counts
COUNTED: Final = {
    "alarms": ("Alarms by state", ("kind", "severity", "state"), alarm_counts),
    "jobs": ("Jobs by state", ("kind", "state"), job_counts),
    "devices": ("Devices by state", ("medium", "state"), device_counts),
}
