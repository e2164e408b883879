"""Alarms: raised, acknowledged, cleared; with hysteresis, so that a state that flickers raises one alarm and not twenty.

    (none)       --raise-->        raised         after ``raise_after`` telegrams in a row that say so (``conditions.KINDS``)
    raised       --acknowledge-->  acknowledged   somebody has seen it
    raised       --clear-->        cleared        after ``clear_after`` telegrams in a row that say the contrary
    acknowledged --clear-->        cleared

A condition that comes back raises a new alarm. Of each kind at most one is open per device. Open alarms and the counts
of the hysteresis are kept in memory; after a restart the counts begin at zero and the open alarms are read.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, and_, false, literal, or_

from openmetering.services.headend.access import Window
from openmetering.services.headend.conditions import KINDS, Finding
from openmetering.services.headend.model import Alarm, Page, moment
from openmetering.services.headend.problems import conflict
from openmetering.storage import alarm_rows, tables
from openmetering.storage.database import Database

__all__ = ["TRANSITIONS", "Alarms", "Change"]

#: (state, step) -> state
TRANSITIONS: Final = {
    ("raised", "acknowledge"): "acknowledged",
    ("raised", "clear"): "cleared",
    ("acknowledged", "clear"): "cleared",
}


class Change(msgspec.Struct, frozen=True):
    """What a telegram does to the alarms of a device: raise, renew (another value) or clear."""

    step: str
    device_id: int
    kind: str
    at: float
    value: str = ""


class Alarms:
    """The alarms of a database."""

    __slots__ = ("_counts", "_database", "_lock", "_open")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._open: dict[int, dict[str, Alarm]] = {}
        self._counts: dict[int, dict[str, int]] = {}
        self.reload()

    def reload(self) -> None:
        """Read the open alarms again: at the start, and after a transaction that failed."""
        with self._lock:
            self._open.clear()
            self._counts.clear()
            with self._database.reading() as connection:
                for alarm in alarm_rows.open_alarms(connection):
                    if alarm.device_id is not None:
                        self._open.setdefault(alarm.device_id, {})[alarm.kind] = alarm

    # -- weighing -------------------------------------------------------------------------------

    def weigh(self, device_id: int, finding: Finding, at: float) -> list[Change]:
        """What a finding changes; counts it, writes nothing. ``at`` is the time of the telegram in seconds."""
        holds = finding.holds
        if not holds and device_id not in self._open and device_id not in self._counts:
            return []
        with self._lock:
            found = [change for kind, value in holds.items() if (change := self._holds(device_id, kind, value, at))]
            found += [change for kind in finding.clear if (change := self._clears(device_id, kind, at))]
            return found

    def _holds(self, device_id: int, kind: str, value: str, at: float) -> Change | None:
        alarm = self._open.get(device_id, {}).get(kind)
        if alarm is not None:
            self._count(device_id, kind, 0)
            # a counter in the value changes with every telegram: that is no news
            fresh = value != alarm.value and kind != "replay"
            return Change("renew", device_id, kind, at, value) if fresh else None
        count = max(0, self._counts.get(device_id, {}).get(kind, 0)) + 1
        if count < KINDS[kind].raise_after:
            self._count(device_id, kind, count)
            return None
        self._count(device_id, kind, 0)
        return Change("raise", device_id, kind, at, value)

    def _clears(self, device_id: int, kind: str, at: float) -> Change | None:
        if kind not in self._open.get(device_id, {}):
            self._count(device_id, kind, 0)
            return None
        # counts below zero are telegrams that speak for the end
        count = min(0, self._counts.get(device_id, {}).get(kind, 0)) - 1
        if -count < KINDS[kind].clear_after:
            self._count(device_id, kind, count)
            return None
        self._count(device_id, kind, 0)
        return Change("clear", device_id, kind, at)

    def _count(self, device_id: int, kind: str, count: int) -> None:
        counts = self._counts.get(device_id)
        if count:
            if counts is None:
                counts = self._counts[device_id] = {}
            counts[kind] = count
        elif counts is not None and counts.pop(kind, 0) and not counts:
            del self._counts[device_id]

    # -- writing --------------------------------------------------------------------------------

    def apply(self, changes: Iterable[Change]) -> list[Alarm]:
        """Write changes; returns the alarms as they are now. If it fails, ``reload``. Raises TransportError"""
        with self._lock, self._database.transaction() as connection:
            done = []
            for change in changes:
                kind, at = KINDS[change.kind], moment(change.at)
                known = self._open.get(change.device_id, {}).get(change.kind)
                made: Alarm | None
                if change.step == "raise":
                    fresh = Alarm(0, change.device_id, kind.kind, kind.severity, "raised", at, kind.text, change.value)
                    made, _ = alarm_rows.raise_alarm(connection, fresh, at)
                elif known is None:
                    continue
                elif change.step == "renew":
                    made = alarm_rows.update_alarm(
                        connection, known.id, text=known.text, value=change.value, severity=known.severity
                    )
                else:
                    made = alarm_rows.clear(connection, known.id, max(at, known.raised_at))
                self._keep(made, change)
                if made is not None:
                    done.append(made)
            return done

    def _keep(self, made: Alarm | None, change: Change) -> None:
        if made is not None and made.state != "cleared":
            self._open.setdefault(change.device_id, {})[change.kind] = made
            return
        opened = self._open.get(change.device_id, {})
        opened.pop(change.kind, None)
        if not opened:
            self._open.pop(change.device_id, None)

    def set(self, device_id: int, kind: str, at: float, value: str = "") -> list[Alarm]:
        """Raise an alarm at once, whatever the hysteresis (silence is found by a clock, not by telegrams)."""
        with self._lock:
            if kind in self._open.get(device_id, {}):
                return []
            self._count(device_id, kind, 0)
            return self.apply([Change("raise", device_id, kind, at, value)])

    def clear_all(self, device_id: int, at: float) -> list[Alarm]:
        """Clear everything of a device: it was retired."""
        with self._lock:
            self._counts.pop(device_id, None)
            return self.apply([Change("clear", device_id, kind, at) for kind in tuple(self._open.get(device_id, {}))])

    def acknowledge(self, alarm: Alarm, user_id: int | None, at: datetime) -> Alarm:
        """Somebody has seen it. Raises InputError (``access.conflict``) if it is not raised"""
        with self._lock, self._database.transaction() as connection:
            made = alarm_rows.acknowledge(connection, alarm.id, user_id, at)
            if made is None:
                raise conflict(f"alarm {alarm.id} is not raised")
            if made.device_id is not None:
                self._open.setdefault(made.device_id, {})[made.kind] = made
            return made

    # -- questions ------------------------------------------------------------------------------

    def is_open(self, device_id: int, kind: str) -> bool:
        """True if such an alarm is raised or acknowledged."""
        return kind in self._open.get(device_id, {})

    def open_of(self, device_id: int) -> tuple[Alarm, ...]:
        """The open alarms of a device, from memory."""
        with self._lock:
            return tuple(self._open.get(device_id, {}).values())

    def find(self, alarm_id: int) -> Alarm | None:
        """An alarm by number."""
        with self._database.reading() as connection:
            return alarm_rows.alarms.get(connection, alarm_id)

    def page(
        self,
        *,
        states: Collection[str] = (),
        device_id: int | None = None,
        tenant_id: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page[Alarm]:
        """Alarms, the newest first; of one tenant or of all."""
        table, devices = tables.alarms, tables.devices
        where = _wanted(states, device_id)
        if tenant_id is not None:
            where.append(
                table.c.device_id.in_(devices.select().with_only_columns(devices.c.id).where(devices.c.tenant_id == tenant_id))
            )
        with self._database.reading() as connection:
            return alarm_rows.alarms.page(connection, *where, after=before, limit=limit, newest=True)

    def page_within(
        self,
        windows: Collection[Window],
        *,
        states: Collection[str] = (),
        device_id: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page[Alarm]:
        """Alarms that were raised within the times of a consumer; what became of them later than that is not told."""
        table = tables.alarms
        parts = [
            and_(
                table.c.device_id == window.device_id,
                table.c.raised_at >= literal(window.since, tables.Moment),
                literal(True) if window.until is None else table.c.raised_at < literal(window.until, tables.Moment),
            )
            for window in windows
        ]
        where = [*_wanted(states, device_id), or_(false(), *parts)]
        with self._database.reading() as connection:
            return alarm_rows.alarms.page(connection, *where, after=before, limit=limit, newest=True)

    def open_counts(self) -> dict[int, dict[str, int]]:
        """How many alarms are open, by device and severity."""
        with self._database.reading() as connection:
            return alarm_rows.open_counts(connection)


def _wanted(states: Collection[str], device_id: int | None) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if states:
        where.append(tables.alarms.c.state.in_(list(states)))
    if device_id is not None:
        where.append(tables.alarms.c.device_id == device_id)
    return where
