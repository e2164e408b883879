"""Slots and tariff use cases as tables of a report, and the tariff as it stands in the configuration.

[rules.tariff]
other = "NT"                             zone before the first switch of a day
holidays = [2026-12-25, 2026-12-26]
[[rules.tariff.switch]]
days = ["mon", "tue", "wed", "thu", "fri"]
at = 06:00:00
zone = "HT"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from openmetering.mdm.consumption import Reading
from openmetering.mdm.quality import Quality
from openmetering.mdm.slots import Slot, status_text
from openmetering.mdm.slots.status import Check
from openmetering.mdm.tariff import Switch, Tariff, at_moment, monthly, time_of_use
from openmetering.services.headend.model import moment
from openmetering.services.mdm.report import Cell, Column, Note, columns, rounded
from openmetering.services.mdm.slots import PointSlots

__all__ = ["SwitchRule", "TariffRules", "slot_quality", "slot_table", "tariff_table"]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"]
_DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")

_NO_SLOTS: Final = Note("report.note.no-slots")
_NO_TARIFF: Final = Note("report.note.no-tariff")

Table: TypeAlias = tuple[tuple[Column, ...], tuple[tuple[Cell, ...], ...], tuple[Note, ...]]


class SwitchRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``at`` on, local time, ``zone`` counts on these ``days`` until the next switch of the day."""

    days: tuple[Day, ...]
    at: time
    zone: str


class TariffRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tariff zones by time of use (TAF 2); without a switch there are none.

    ``other``     zone before the first switch of a day, and on days without one
    ``holidays``  days on which the switches of ``holiday`` count
    ``media``     media that the tariff is for
    """

    switch: tuple[SwitchRule, ...] = ()
    other: str = "NT"
    holidays: tuple[date, ...] = ()
    media: tuple[str, ...] = ("electricity",)

    def tariff(self, zone: str) -> Tariff:
        """The same as the tariff use cases want it."""
        switches = tuple(Switch(frozenset(map(_DAYS.index, one.days)), one.at, one.zone) for one in self.switch)
        return Tariff(switches, self.other, frozenset(self.holidays), zone)


def slot_quality(slot: Slot) -> Quality:
    """The quality of a slot in the words of all other values."""
    if slot.value is None:
        return Quality.MISSING
    if not slot.valid:
        return Quality.INVALID
    return Quality.LATE if slot.late else Quality.MEASURED


def slot_table(found: Sequence[PointSlots], names: Mapping[int, str], points: int) -> Table:
    """TAF 7: one row for each slot. ``points`` were asked for."""
    head = columns(
        "place", "point", "device", "obis", ("at", "moment"), ("value", "number"), "unit", ("received", "moment"),
        "meter-status", "status-word", "checks", ("quality", "quality"), "source",
    )  # fmt: skip
    rows = tuple(
        (
            names.get(one.place.node_id, ""), one.place.name, one.device, one.obis, moment(slot.at), slot.value, one.unit,
            None if slot.received_at is None else moment(slot.received_at),
            "" if slot.meter_status is None else f"{slot.meter_status:02X}", status_text(slot.word), _checks(slot.checks),
            slot_quality(slot).value, "" if slot.value is None else "meter",
        )
        for one in found
        for slot in one.slots
    )  # fmt: skip
    if not rows:
        return head, (), (_NO_SLOTS,)
    valid = sum(slot.valid for one in found for slot in one.slots)
    told = {
        "registers": str(len(found)), "points": str(points), "slots": str(len(rows)),
        "share": f"{valid / len(rows):.1%}",
    }  # fmt: skip
    return head, rows, (Note("report.note.slots", told),)


def _checks(checks: int) -> str:
    return ", ".join((one.name or "").lower().replace("_", " ") for one in Check if one & checks)


def tariff_table(
    found: Iterable[PointSlots], names: Mapping[int, str], rules: TariffRules, zone: ZoneInfo, begin: float, end: float
) -> Table:
    """TAF 1, 2 and 6 of each register. ``plus-minus`` is twice the standard uncertainty."""
    head = columns(
        "place", "point", "device", "use-case", "part", ("value", "number"), "unit", ("plus-minus", "number"),
        ("quality", "quality"), "source",
    )  # fmt: skip
    tariff = rules.tariff(zone.key)
    rows = tuple(
        (
            names.get(one.place.node_id, ""), one.place.name, one.device, use_case, part, value, one.unit,
            None if value is None else rounded(2 * doubt), quality.value, _source(quality),
        )
        for one in found
        for use_case, part, value, doubt, quality in _selections(one, tariff, rules, zone, begin, end)
    )  # fmt: skip
    if not rows:
        return head, (), (_NO_SLOTS,)
    return head, rows, () if rules.switch else (_NO_TARIFF,)


def _selections(
    one: PointSlots, tariff: Tariff, rules: TariffRules, zone: ZoneInfo, begin: float, end: float
) -> Iterator[tuple[str, str, Decimal | None, Decimal, Quality]]:
    for month in monthly(one.slots, zone.key, one.capacity):
        yield "TAF 1", month.month, *_reading(month.reading)
    if rules.switch and one.place.medium in rules.media:
        for amount in time_of_use(one.slots, tariff, capacity=one.capacity):
            yield "TAF 2", amount.zone, amount.value, amount.uncertainty, amount.quality
    for at in (begin, end):
        told = moment(at).astimezone(zone)
        yield "TAF 6", f"{told:%Y-%m-%d %H:%M}", *_reading(at_moment(one.slots, int(at), one.capacity))


def _reading(found: Reading) -> tuple[Decimal | None, Decimal, Quality]:
    return found.value, found.uncertainty, found.quality


def _source(quality: Quality) -> str:
    return {Quality.MISSING: "", Quality.INTERPOLATED: "interpolation"}.get(quality, "meter")
