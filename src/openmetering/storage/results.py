"""Results in: telegrams and their readings, for a whole batch at a time. What was stored for the same frames gives way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from openmetering.storage.parts import parts
from openmetering.storage.reading_rows import Reading, SeriesKey, device_address, readings_of
from openmetering.storage.row_plan import Line, RowPlan, row_plan
from openmetering.telegram import Telegram, answer_json

if TYPE_CHECKING:
    from openmetering.storage.dialects import Cell, Link

__all__ = ["Decoded", "Recorder"]

_CACHE_LIMIT = 262_144
_ADDRESSES = ("address", "manufacturer", "identification", "version", "device_type", "medium")
_SERIES = (
    "address_id", "quantity", "unit", "function", "storage", "tariff", "subunit", "qualifiers", "obis", "tag", "dib", "vib",
)  # fmt: skip
_TELEGRAMS = (
    "frame_id", "address_id", "received_at", "decoded_at", "state", "error", "message", "access_number", "status", "security",
    "proof", "readings", "answer",
)  # fmt: skip
_READINGS = ("series_id", "received_at", "frame_id", "position", "value", "mantissa", "exponent", "time", "error")

_SeriesName = tuple[int, str, str, str, str, str, str]


class Decoded(msgspec.Struct, frozen=True):
    """The result of decoding a frame."""

    frame_id: int
    received_at: float
    source: str
    telegram: Telegram


class Recorder:
    """Writes results; remembers the numbers of addresses and series."""

    __slots__ = ("_addresses", "_names", "_planned", "_series")

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._series: dict[tuple[int, SeriesKey], int] = {}
        self._names: dict[_SeriesName, int] = {}
        self._planned: dict[tuple[int, RowPlan], tuple[int, ...]] = {}

    def forget(self) -> None:
        """Numbers that a rolled back transaction had made must not be used."""
        self._addresses.clear()
        self._forget_series()

    def record(self, link: Link, results: Sequence[Decoded], *, answers: bool) -> int:
        """Store results inside a transaction; returns how many readings."""
        results = list({result.frame_id: result for result in results}.values())
        _drop(link, [result.frame_id for result in results])
        named = [(result, device_address(result.telegram, result.source)) for result in results]
        self._learn_addresses(link, {name: result.telegram for result, name in named if name is not None})
        found = [_Work(result, None if name is None else self._addresses[name]) for result, name in named]
        self._learn_series(link, found)
        now = time.time()
        telegrams: list[tuple[Cell, ...]] = []
        readings: list[Line] = []
        for work in found:
            lines = self._lines(work)
            telegrams.append(_telegram(work.result, work.address, len(lines), now, answers=answers))
            readings += lines
        link.insert("readings", _READINGS, readings)
        link.insert("telegrams", _TELEGRAMS, telegrams)
        return len(readings)

    def _lines(self, work: _Work) -> list[Line]:
        """The rows of the readings of a telegram."""
        result, address, plan = work.result, work.address, work.plan
        if address is None:
            return []
        if plan is not None and result.telegram.payload is not None:
            numbers = self._planned[address, plan]
            return plan.lines(result.telegram.payload, numbers, result.received_at, result.frame_id)
        series, at, frame = self._series, result.received_at, result.frame_id
        return [
            (series[address, item.series], at, frame, position, item.value, item.mantissa, item.exponent, item.time, item.error)
            for position, item in enumerate(work.readings)
        ]

    # -- numbers --------------------------------------------------------------------------------

    def _learn_addresses(self, link: Link, telegrams: dict[str, Telegram]) -> None:
        unknown = [name for name in telegrams if name not in self._addresses]
        if not unknown:
            return
        if len(self._addresses) + len(unknown) > _CACHE_LIMIT:
            self._addresses.clear()
            unknown = list(telegrams)
        link.add_new("addresses", _ADDRESSES, [(name, *_described(telegrams[name])) for name in unknown])
        for part in parts(unknown):
            condition, values = link.among("address", part)
            self._addresses.update(link.rows(f"SELECT address, id FROM addresses WHERE {condition}", values))

    def _learn_series(self, link: Link, found: Sequence[_Work]) -> None:
        """Have the numbers of all series that the telegrams need."""
        wanted: dict[tuple[int, SeriesKey], None] = {}
        plans: dict[tuple[int, RowPlan], None] = {}
        for work in found:
            address, plan = work.address, work.plan
            if address is None:
                continue
            if plan is None:
                wanted |= {(address, item.series): None for item in work.readings}
            elif (address, plan) not in self._planned:
                plans[address, plan] = None
                wanted |= {(address, key): None for key in plan.keys}
        if not wanted:
            return
        if len(self._series) + len(wanted) > _CACHE_LIMIT:
            self._forget_series()
            self._learn_series(link, found)
            return
        self._number([item for item in wanted if item not in self._series], link)
        for address, plan in plans:
            self._planned[address, plan] = tuple(self._series[address, key] for key in plan.keys)

    def _number(self, unknown: Sequence[tuple[int, SeriesKey]], link: Link) -> None:
        missing = [item for item in unknown if _name(*item) not in self._names]
        if missing:
            link.add_new("series", _SERIES, [(address, *msgspec.structs.astuple(key)) for address, key in missing])
            for part in parts(sorted({address for address, _ in missing})):
                condition, values = link.among("address_id", part)
                rows = link.rows(
                    f"SELECT address_id, dib, vib, quantity, unit, obis, tag, id FROM series WHERE {condition}", values
                )
                self._names.update((tuple(row[:-1]), row[-1]) for row in rows)
        for item in unknown:
            self._series[item] = self._names[_name(*item)]

    def _forget_series(self) -> None:
        self._series.clear()
        self._names.clear()
        self._planned.clear()


class _Work:
    """A result on its way: by a row plan, or reading by reading."""

    __slots__ = ("address", "plan", "readings", "result")

    def __init__(self, result: Decoded, address: int | None) -> None:
        telegram = result.telegram
        self.result = result
        self.address = address
        self.plan: RowPlan | None = None
        self.readings: Sequence[Reading] = ()
        if address is None:
            return
        if telegram.plan is not None and telegram.payload is not None:
            known = telegram.address
            self.plan = row_plan(telegram.plan, None if known is None else known.device_type)
        if self.plan is None:
            self.readings = list(readings_of(telegram))


def _name(address: int, key: SeriesKey) -> _SeriesName:
    """What tells a series from others in the database: the words of a key may be better in a newer version."""
    return address, key.dib, key.vib, key.quantity, key.unit, key.obis, key.tag


def _described(telegram: Telegram) -> tuple[Cell, ...]:
    known = telegram.address
    if known is None:
        return (None,) * 5
    return known.flag, known.identification, known.version, known.device_type, known.medium


def _drop(link: Link, frame_ids: Sequence[int]) -> None:
    """Take earlier results of frames away, and the frames from those that wait."""
    for part in parts(frame_ids):
        condition, values = link.among("frame_id", part)
        known = link.rows(f"SELECT address_id, received_at, frame_id, readings FROM telegrams WHERE {condition}", values)
        for address, received_at, frame_id, readings in known:
            if readings:
                link.run(
                    "DELETE FROM readings WHERE series_id IN (SELECT id FROM series WHERE address_id = ?)"
                    " AND received_at = ? AND frame_id = ?",
                    (address, received_at, frame_id),
                )
        if known:
            link.run(f"DELETE FROM telegrams WHERE {condition}", values)
        link.run(f"DELETE FROM pending WHERE {condition}", values)


def _telegram(result: Decoded, address: int | None, readings: int, now: float, *, answers: bool) -> tuple[Cell, ...]:
    telegram = result.telegram
    transport, error, link = telegram.transport, telegram.error, telegram.link
    return (
        result.frame_id,
        address,
        result.received_at,
        now,
        "failed" if error is not None else "fragment" if telegram.fragment else "decoded",
        None if error is None else error.code,
        None if link is None else link.message,
        None if transport is None else transport.access_number,
        None if transport is None or transport.header == "none" else transport.status,
        telegram.security.state,
        telegram.security.proof,
        readings,
        answer_json(telegram).decode() if answers else None,
    )
