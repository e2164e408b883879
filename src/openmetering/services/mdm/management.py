"""The data work of a head-end in one hand: what interfaces and the guard ask for. See the modules for what each part does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from openmetering.mdm.findings import Version
from openmetering.mdm.validation import Rules
from openmetering.mdm.versions import edited
from openmetering.services.mdm.amounts import Amounts
from openmetering.services.mdm.due_list import DueList
from openmetering.services.mdm.evidence import EvidenceLoader
from openmetering.services.mdm.exchange import Exchange
from openmetering.services.mdm.exports import Exports
from openmetering.services.mdm.privacy import Privacy
from openmetering.services.mdm.reports import Reports
from openmetering.services.mdm.slot_reports import TariffRules
from openmetering.services.mdm.slots import Slots
from openmetering.services.mdm.validation import Validation
from openmetering.storage import mdm_rows
from openmetering.storage.archive import Archive
from openmetering.storage.database import Database
from openmetering.storage.mdm_rows import FindingRow, NodeData, PointData, Schedule, ValidationRun
from openmetering.storage.model import Page

__all__ = ["DataManagement"]


class DataManagement:
    """Validation, due dates, amounts, reports, exports and privacy of one database."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        pseudonym: Callable[[str], str],
        *,
        archive: Archive | None = None,
        zone: str = "Europe/Berlin",
        rules: Rules | None = None,
        tariff: TariffRules | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self.loader = EvidenceLoader(database, zone, archive)
        self.validation = Validation(database, self.loader, clock, rules)
        self.due_list = DueList(database, self.loader)
        self.amounts = Amounts(database, self.loader)
        self.slots = Slots(database, self.loader)
        self.reports = Reports(database, self.loader, self.due_list, self.amounts, self.slots, tariff or TariffRules(), clock)
        self.exchange = Exchange(database, self.loader, self.due_list, self.amounts, self.slots, clock)
        self.exports = Exports(database, self.loader, pseudonym)
        folder: Path | None = None if archive is None else archive.folder
        self.privacy = Privacy(database, self.loader, self.amounts, clock, folder)

    # -- what is agreed ---------------------------------------------------------------------------

    def point_data(self, point_id: int) -> PointData:
        """What is agreed about a point."""
        with self._database.reading() as connection:
            return mdm_rows.point_data(connection, [point_id]).get(point_id) or PointData(0, point_id)

    def put_point_data(self, data: PointData) -> PointData:
        """Agree on something else."""
        with self._database.transaction() as connection:
            return mdm_rows.put_point_data(connection, data, self._clock())

    def node_data(self, node_id: int) -> NodeData:
        """What is agreed about a place."""
        with self._database.reading() as connection:
            return mdm_rows.node_data(connection).get(node_id) or NodeData(0, node_id)

    def put_node_data(self, data: NodeData) -> NodeData:
        """Agree on something else."""
        with self._database.transaction() as connection:
            return mdm_rows.put_node_data(connection, data, self._clock())

    # -- findings and versions ----------------------------------------------------------------------

    def runs(self, tenant_id: int | None, before: int | None = None, limit: int = 50) -> Page[ValidationRun]:
        """Runs of validation, the newest first."""
        where = [] if tenant_id is None else [mdm_rows.runs.table.c.tenant_id == tenant_id]
        with self._database.reading() as connection:
            return mdm_rows.runs.page(connection, *where, after=before, limit=limit, newest=True)

    def find_run(self, run_id: int) -> ValidationRun | None:
        """One run."""
        with self._database.reading() as connection:
            return mdm_rows.runs.get(connection, run_id)

    def findings(
        self, run_id: int | None, point_id: int | None, rule: str | None, before: int | None = None, limit: int = 100
    ) -> Page[FindingRow]:
        """Findings, the newest first."""
        points = None if point_id is None else [point_id]
        with self._database.reading() as connection:
            return mdm_rows.findings_page(connection, run_id=run_id, point_ids=points, rule=rule, after=before, limit=limit)

    def versions(self, point_id: int, since: datetime, until: datetime) -> list[Version]:
        """All versions of a point in a time, the older ones of a moment first."""
        with self._database.reading() as connection:
            return mdm_rows.version_chain(connection, point_id, since.timestamp(), until.timestamp())

    def edit(self, point_id: int, at: datetime, value: Decimal, unit: str, reason: str, by: str) -> Version:
        """A value that a person enters, as the newest version of its moment. Raises InputError"""
        made = edited(str(point_id), at.timestamp(), value, unit, reason, by, self._clock().timestamp())
        with self._database.transaction() as connection:
            mdm_rows.add_versions(connection, [(point_id, made)])
        return made

    # -- reports that go out by themselves ------------------------------------------------------------

    def schedules(self, tenant_id: int | None) -> list[Schedule]:
        """All of a tenant, or all."""
        where = [] if tenant_id is None else [mdm_rows.schedules.table.c.tenant_id == tenant_id]
        with self._database.reading() as connection:
            return mdm_rows.schedules.all(connection, *where)

    def find_schedule(self, schedule_id: int) -> Schedule | None:
        """One by number."""
        with self._database.reading() as connection:
            return mdm_rows.schedules.get(connection, schedule_id)

    def add_schedule(self, item: Schedule) -> Schedule:
        """A new one."""
        with self._database.transaction() as connection:
            return mdm_rows.schedules.add(connection, item, self._clock())

    def remove_schedule(self, schedule_id: int) -> None:
        """No more of it."""
        with self._database.transaction() as connection:
            mdm_rows.schedules.remove(connection, schedule_id)

    def due_schedules(self, now: datetime) -> list[Schedule]:
        """Those whose time has come."""
        with self._database.reading() as connection:
            return mdm_rows.schedules.all(connection, mdm_rows.schedules.table.c.next_at <= now)

    def settle_schedule(self, item: Schedule, next_at: datetime, error: str | None) -> None:
        """It was sent, or it was tried."""
        with self._database.transaction() as connection:
            done = {} if error is not None else {"last_at": self._clock()}
            mdm_rows.schedules.change(connection, item.id, next_at=next_at, error=error, **done)
