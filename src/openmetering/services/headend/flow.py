"""Water that never stops running: a leak that the meter itself does not tell of.

    register   each hour rises by at least ``least``      counts towards ``hours``
               stands still or rises by less              begins again, as after a gap

Looked at are the volume registers of water meters (storage 0, tariff 0, current value).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from openmetering.codec.apl.format import Plan
from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.telegram import Telegram

__all__ = ["FlowRules", "FlowWatch"]

_WATER: Final = frozenset((0x06, 0x07, 0x15, 0x16))  #: warm, water, hot, cold; OMS Volume 2 5.0.1 Table 2
_LIMIT: Final = 16_384


class FlowRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``least`` cubic metres an hour, ``hours`` without a pause, ``slot`` seconds that are looked at together.

    Between two readings that are more than ``apart`` seconds apart the water may have stood still: they prove nothing.
    """

    least: Decimal = Decimal("0.005")
    hours: float = 24.0
    slot: float = 3600.0
    apart: float = 14_400.0


class _Run:
    """One meter: where the present slot began, and since when the water runs."""

    __slots__ = ("at", "since", "value")

    def __init__(self, value: Decimal, at: float) -> None:
        self.value = value
        self.at = at
        self.since: float | None = None


class FlowWatch:
    """Watches the registers of water meters; three numbers for each."""

    __slots__ = ("_plans", "_runs", "rules")

    def __init__(self, rules: FlowRules | None = None) -> None:
        self.rules = rules or FlowRules()
        self._runs: dict[int, _Run] = {}
        self._plans: dict[int, tuple[Plan, int | None]] = {}

    def heard(self, device_id: int, telegram: Telegram, at: float) -> tuple[bool, str] | None:
        """Whether water runs without a pause, and since when in words; None while nothing can be said."""
        address = telegram.address
        if address is None or address.device_type not in _WATER or telegram.error is not None:
            return None
        run = self._runs.get(device_id)
        if run is not None and 0 <= at - run.at < self.rules.slot:
            return None
        record = self._register(telegram)
        value = None if record is None else record.value
        if not isinstance(value, Decimal):
            return None
        if run is None or value < run.value or at < run.at:
            self._runs[device_id] = _Run(value, at)
            return None
        return self._step(run, value, at)

    def _step(self, run: _Run, value: Decimal, at: float) -> tuple[bool, str]:
        hours = Decimal(at - run.at) / 3600
        runs = at - run.at <= self.rules.apart and value - run.value >= self.rules.least * hours
        if not runs:
            run.since = None
        elif run.since is None:
            run.since = run.at
        run.value, run.at = value, at
        since = run.since
        if since is None or at - since < self.rules.hours * 3600:
            return False, ""
        return True, f"for {(at - since) / 3600:.0f} h"

    def _register(self, telegram: Telegram) -> Record | None:
        plan = telegram.plan
        if plan is None:
            return next((record for record in telegram.records if _is_register(record.header)), None)
        known = self._plans.get(id(plan))
        if known is None or known[0] is not plan:
            if len(self._plans) >= _LIMIT:
                self._plans.clear()
            place = next((place for place, header in enumerate(plan.headers) if _is_register(header)), None)
            known = self._plans[id(plan)] = (plan, place)
        return None if known[1] is None else telegram.records[known[1]]


def _is_register(header: RecordHeader) -> bool:
    return (
        header.quantity == "volume"
        and header.unit == "m3"
        and header.function == 0
        and header.storage == 0
        and header.tariff == 0
        and header.subunit == 0
        and not header.qualifiers
        and header.error is None
    )
