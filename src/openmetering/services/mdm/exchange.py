"""What goes to other companies: readings to market partners (MSCONS), consumption to property managers (bved).

    mscons      values of a due date, or the slots of a time       one location for each point that has an ``identifier``
    bved        consumption of a time, one record D for each       one record for each medium of a place that has an
                medium of a unit; what it costs is not known here  ``identifier`` (property 9 digits, unit 4)

Who has no identifier is left out, and counted. Energy goes out in kWh, as market partners and property managers have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from openmetering.mdm.arge import UNIT_KEYS, Line, load_layout, reading_key
from openmetering.mdm.arge import write as write_arge
from openmetering.mdm.consumption import worst
from openmetering.mdm.due_dates import due_moment
from openmetering.mdm.mscons import Interchange, Item, Location, Message, Party, Value
from openmetering.mdm.mscons import write as write_mscons
from openmetering.mdm.mscons.codes import MAXIMUM
from openmetering.mdm.quality import Quality
from openmetering.services.headend.model import moment
from openmetering.services.headend.problems import invalid
from openmetering.services.mdm.amounts import Amounts
from openmetering.services.mdm.due_list import DueList
from openmetering.services.mdm.evidence import EvidenceLoader, Place
from openmetering.services.mdm.registers import TAGS, billed
from openmetering.services.mdm.slot_reports import slot_quality
from openmetering.services.mdm.slots import Slots
from openmetering.storage import evidence_rows, mdm_rows
from openmetering.storage.database import Database

__all__ = ["Exchange", "ExchangeFile", "Partners"]

_READINGS: Final = "VL"
_READINGS_OF_ELECTRICITY: Final = "13017"
_SOURCE: Final = 256  #: characters of a source in MSCONS
_ABOVE_UNITS: Final = ("site", "building")
_THOUSANDTH: Final = Decimal("0.001")


class Partners(msgspec.Struct, frozen=True):
    """Who sends to whom: numbers of market partners, and who gave them (293 BDEW, 332 DVGW, 9 GS1)."""

    sender: str
    recipient: str
    agency: str = "293"


class ExchangeFile(msgspec.Struct, frozen=True):
    """A file, how many points are in it, and how many were left out because they have no identifier or no code."""

    octets: bytes
    points: int
    left_out: int


class Exchange:
    """Files of one database."""

    def __init__(
        self,
        database: Database,
        loader: EvidenceLoader,
        due_list: DueList,
        amounts: Amounts,
        slots: Slots,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._loader = loader
        self._due_list = due_list
        self._amounts = amounts
        self._slots = slots
        self._clock = clock

    def due_dates(
        self, tenant_id: int, day: date, partners: Partners, *, wanted: Callable[[Place], bool] = lambda _: True
    ) -> ExchangeFile:
        """MSCONS: the readings at the end of a day. Raises InputError (``access.invalid``), NotRepresentable"""
        lines = self._due_list.of(tenant_id, day, wanted=wanted)
        codes = self._codes(line.value.device for line in lines)
        at = moment(due_moment(day, self._loader.zone))
        found: list[Location] = []
        for line in lines:
            code = codes.get(line.value.device, "")
            if not line.place.data.identifier or not code:
                continue
            value, unit = line.value, line.value.unit
            source = ": ".join(filter(None, (value.source, value.reason)))[:_SOURCE]
            said = Value(at, _energy(value.value, unit), value.quality, source)
            found.append(Location(line.place.data.identifier, value.device, (Item(code, "", (said,)),)))
        check = _READINGS_OF_ELECTRICITY if all(_is_electricity(one) for one in found) else ""
        return self._mscons(found, len(lines), partners, check)

    def series(
        self,
        tenant_id: int,
        since: datetime,
        until: datetime,
        partners: Partners,
        *,
        wanted: Callable[[Place], bool] = lambda _: True,
    ) -> ExchangeFile:
        """MSCONS: the register at each slot of a time (TAF 7). Raises InputError (``access.invalid``), NotRepresentable"""
        found: dict[tuple[str, str], list[Item]] = {}
        registers = left = 0
        for one in self._slots.of(tenant_id, since.timestamp(), until.timestamp(), wanted=wanted):
            registers += 1
            code = _plain(one.obis)
            if not one.place.data.identifier or not code:
                left += 1
                continue
            values = [
                Value(
                    moment(slot.at), _energy(slot.value, one.unit), slot_quality(slot), "" if slot.value is None else "meter",
                )
                for slot in one.slots
            ]  # fmt: skip
            items = found.setdefault((one.place.data.identifier, one.device), [])
            items += (Item(code, "", tuple(values[at : at + MAXIMUM])) for at in range(0, len(values), MAXIMUM))
        places = [Location(identifier, device, tuple(items)) for (identifier, device), items in found.items()]
        made = self._mscons(places, registers, partners, "")
        return ExchangeFile(made.octets, registers - left, left)

    def results(
        self,
        tenant_id: int,
        since: datetime,
        until: datetime,
        customer: str,
        company: str = "",
        *,
        wanted: Callable[[Place], bool] = lambda _: True,
    ) -> ExchangeFile:
        """bved: the consumption of each unit in a time, as records D without costs.

        Raises InputError (``access.invalid``), NotRepresentable
        """
        found = [
            one
            for one in self._amounts.of(tenant_id, since.timestamp(), until.timestamp(), wanted=wanted)
            if one.place.data.part != "main"
        ]
        units = self._units(tenant_id)
        sums: dict[tuple[str, str, str], tuple[list[Decimal | None], list[Quality]]] = {}
        left = 0
        for one in found:
            unit = units.get(one.place.node_id)
            key = UNIT_KEYS.get("kWh" if one.amount.unit == "Wh" else one.amount.unit)
            if unit is None or key is None:
                left += 1
                continue
            values, qualities = sums.setdefault((unit.identifier, one.place.medium, key), ([], []))
            value = _energy(one.amount.value, one.amount.unit)
            factor = Decimal(one.place.data.factor or "1") if key == UNIT_KEYS["HCA units"] else Decimal(1)
            values.append(None if value is None else value * factor)
            qualities.append(one.amount.quality)
        last = (until.astimezone(self._loader.zone) - timedelta(microseconds=1)).date()
        names = {one.identifier: one.name for one in units.values()}
        lines = [
            Line(
                "D",
                {
                    "customer": customer, "company": company or None, "property_unit": identifier,
                    "own_reference": names[identifier][:20], "end": last, "consumption": _sum(values), "unit": key,
                    "reading": reading_key(worst(qualities)),
                },
            )
            for (identifier, _, key), (values, qualities) in sorted(sums.items())
        ]  # fmt: skip
        if not lines:
            raise invalid("no place has an identifier of the property manager yet; agree on one first")
        return ExchangeFile(write_arge(lines, load_layout()), len(found) - left, left)

    def _mscons(self, found: list[Location], all_: int, partners: Partners, check: str) -> ExchangeFile:
        if not found:
            raise invalid("no point has both an identifier of the market and an OBIS code; agree on an identifier first")
        now = self._clock()
        reference, now = f"OM{now:%y%m%d%H%M%S}", now.replace(second=0, microsecond=0)
        message = Message("1", f"{reference}-1", now, tuple(found), check=check)
        sender, recipient = (Party(number, partners.agency) for number in (partners.sender, partners.recipient))
        file = Interchange(sender, recipient, reference, now, (message,), application=_READINGS)
        return ExchangeFile(write_mscons(file), len(found), all_ - len(found))

    def _codes(self, devices: Iterable[str]) -> dict[str, str]:
        """The OBIS code of the billed register of each device, without the star part."""
        with self._database.reading() as connection:
            rows = evidence_rows.registers_of(connection, set(devices), TAGS)
        return {device: _plain(item.rows[0].obis) for device, item in billed(rows).items()}

    def _units(self, tenant_id: int) -> dict[int, _Unit]:
        """The unit of each node that has an identifier: itself or the nearest place above it, up to its building (excluded)."""
        with self._database.reading() as connection:
            tree, data = evidence_rows.tree(connection, tenant_id), mdm_rows.node_data(connection)
            names = evidence_rows.node_names(connection, tenant_id)
        found: dict[int, _Unit] = {}
        for node in tree:
            number: int | None = node
            while number is not None and not (number in data and data[number].identifier):
                number = tree[number][0]
            if number is not None and tree[number][1] not in _ABOVE_UNITS:
                found[node] = _Unit(data[number].identifier, names.get(number, ""))
        return found


class _Unit(msgspec.Struct, frozen=True):
    """A place as the property manager knows it."""

    identifier: str
    name: str


def _plain(obis: str) -> str:
    """The first code, without the star part: ``1-0:1.8.0``."""
    return obis.split(" ", 1)[0].partition("*")[0]


def _is_electricity(location: Location) -> bool:
    return all(item.obis.startswith("1-") for item in location.items)


def _energy(value: Decimal | None, unit: str) -> Decimal | None:
    """Energy in kWh, all others as they are."""
    return value / 1000 if value is not None and unit == "Wh" else value


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """None if one is not known."""
    known = list(values)
    return None if None in known else sum((one for one in known if one is not None), Decimal(0)).quantize(_THOUSANDTH)
