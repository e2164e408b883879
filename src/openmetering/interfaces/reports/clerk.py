"""What is to be done with values on its own: reports that are due go out, and what was kept long enough ends, once a day."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from openmetering.errors import InputError, OmsError
from openmetering.interfaces.reports.delivery import Deliver, content
from openmetering.interfaces.web.i18n import Words
from openmetering.services.headend.guarded_billing import next_due
from openmetering.services.headend.headend import HeadEnd
from openmetering.services.mdm.report import Report
from openmetering.services.mdm.reports import REPORTS, Scope
from openmetering.storage.mdm_rows import Schedule

__all__ = ["ReportClerk"]

_log = logging.getLogger(__name__)
_ROUND: Final = 60.0  #: seconds between two looks
_AGAIN: Final = timedelta(hours=1)  #: after a delivery that failed
_DAILY: Final = timedelta(days=1)


class ReportClerk:
    """``ways``: who delivers by which channel (``mail``, ``webhook``)."""

    def __init__(self, head_end: HeadEnd, ways: Mapping[str, Deliver]) -> None:
        self._head = head_end
        self._ways = ways
        self._swept: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; a fault of one round does not end it."""
        while not stop.wait(_ROUND):
            try:
                self.send_due()
                self.sweep()
            except Exception:
                _log.exception("reports: a fault of ours")

    def send_due(self) -> int:
        """Send what is due; returns how many went out. What fails is tried again an hour later."""
        now = self._head.now()
        sent = 0
        for item in self._head.mdm.due_schedules(now):
            try:
                self._send(item, now)
            except OmsError as error:
                _log.warning("report %s of schedule %d: %s", item.report, item.id, error.message)
                self._head.mdm.settle_schedule(item, now + _AGAIN, error.message)
                continue
            self._head.mdm.settle_schedule(item, next_due(now, item.day), None)
            self._head.audit.note(None, "send report", f"schedule {item.id}", f"{item.report} by {item.channel}", personal=True)
            sent += 1
        return sent

    def sweep(self) -> None:
        """Close months, end retention and drop what foreign meters said, once a day."""
        now = self._head.now()
        if self._swept is not None and now - self._swept < _DAILY:
            return
        self._swept = now
        for tenant in self._head.registry.tenants():
            try:
                found = self._head.mdm.privacy.enforce(tenant.id)
            except OmsError as error:
                _log.warning("retention of tenant %d: %s", tenant.id, error.message)
                continue
            if found.closed or found.frames or found.archived:
                words = f"{len(found.closed)} months closed, {found.frames} telegrams and {found.archived} values ended"
                self._head.audit.note(None, "end retention", f"tenant {tenant.id}", words)
        days = self._head.rules.foreign
        if days and (dropped := self._head.mdm.privacy.drop_foreign(now - timedelta(days=days))):
            self._head.audit.note(None, "drop foreign", "telegrams", f"{dropped} of meters that nobody registered")

    def _send(self, item: Schedule, now: datetime) -> None:
        deliver = self._ways.get(item.channel)
        if deliver is None:
            raise InputError(f"nobody delivers by {item.channel}; set [mail] in the configuration", code="input.option")
        report = self._made(item, now)
        words = Words(item.locale)
        deliver(item.target, report, content(report, item.format, words), item.format, words)

    def _made(self, item: Schedule, now: datetime) -> Report:
        """The report about the month before."""
        registry, reports = self._head.registry, self._head.mdm.reports
        if item.node_id is None:
            name = next((one.name for one in registry.tenants() if one.id == item.tenant_id), "")
            scope = Scope(item.tenant_id, name)
        else:
            node = registry.find_node(item.node_id)
            if node is None:
                raise InputError(f"the place {item.node_id} of the report is gone", code="input.option")
            scope = Scope(item.tenant_id, node.name, registry.nodes_below([item.node_id]))
        zone = self._head.mdm.loader.zone
        first = now.astimezone(zone).date().replace(day=1)
        last = first - timedelta(days=1)
        if REPORTS[item.report] != "span":
            return reports.of_day(item.report, scope, last)
        since, until = (datetime(day.year, day.month, 1, tzinfo=zone) for day in (last, first))
        return reports.of_span(item.report, scope, since, until)
