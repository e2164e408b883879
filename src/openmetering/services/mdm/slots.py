"""Register slots out of the store: what each register of a tenant's points showed at each quarter of an hour or hour.

    devices with profiles for TAF 7    profile, base value and age of each telegram as they were stored   -> ``unfold``
    all others                         values at the time of their reception
    both                               status octet, proof and clock of the telegram                      -> ``fill``

Everything comes from readings, so that slots of closed months are there as well; status and proof are known as long as raw
telegrams are kept. The grid is the one that was agreed for the point (``grid``, 900 or 3600 s), else a quarter for electricity
(also fed in) and an hour for all others, as Annex R has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import Connection

from openmetering.codec.apl.profile import ProfileSeries, expand
from openmetering.codec.apl.records import Record, make, read_header
from openmetering.mdm.evidence import Stay
from openmetering.mdm.series import Series
from openmetering.mdm.slots import HOUR, QUARTER, STORAGE, Slot, SlotValue, fill, unfold, window_of
from openmetering.mdm.validation.telegrams import clock_deviation
from openmetering.services.mdm.evidence import EvidenceLoader, Place, stored_moment
from openmetering.services.mdm.registers import CLOCK, capacity_of
from openmetering.storage import evidence_rows
from openmetering.storage.database import Database
from openmetering.storage.evidence_rows import Mark, SeriesHead
from openmetering.storage.parts import parts
from openmetering.storage.reading_rows import TIMES

__all__ = ["PointSlots", "Slots", "grid_of"]

_PART: Final = 50
_REACH: Final = 7200.0  #: seconds after which no telegram tells of a moment any more: eight intervals of 15 minutes
_NOMINAL: Final = {QUARTER: 225.0, HOUR: 900.0}  #: the longest interval of telegrams in Annex R, a quarter of the slot
_AGE: Final = read_header(bytes.fromhex("C4 01 74"), 0)[0]  #: actuality duration in seconds, storage 3
_RELATIVE: Final = "PT"  #: a base time of type M: seconds before the telegram, PT3S
_MINUTES: Final = len("2026-01-01T00:00")
_MINUTE: Final = 60.0
_QUARTERS: Final = ("electricity", "feed-in")
_PROFILE: Final = "compact profile"
_DURATION: Final = "actuality duration"
_AUTHENTIC: Final = ("mac", "tag")

_Marks: TypeAlias = Mapping[float, Mark]


class PointSlots(msgspec.Struct, frozen=True):
    """The grid of one register of one device at a point; ``capacity`` is where the register begins again at zero."""

    place: Place
    device: str
    unit: str
    obis: str
    length: int
    capacity: Decimal | None
    slots: tuple[Slot, ...]


class _Told(msgspec.Struct, frozen=True):
    """A profile of a telegram; ``obis`` of its values, ``clock`` the base time as the device said it."""

    at: float
    profile: ProfileSeries
    obis: str
    clock: str | None


def grid_of(place: Place) -> int:
    """Seconds of the slots of a point."""
    for length in (QUARTER, HOUR):
        if place.data.grid == length:
            return length
    return QUARTER if place.medium in _QUARTERS else HOUR


class Slots:
    """Slots of one database."""

    def __init__(self, database: Database, loader: EvidenceLoader) -> None:
        self._database = database
        self._loader = loader

    def of(
        self, tenant_id: int, begin: float, end: float, *, wanted: Callable[[Place], bool] = lambda _: True
    ) -> Iterator[PointSlots]:
        """The grids of all points that are ``wanted``, the slot at ``end`` included; registers without any value are left out.

        Raises TransportError
        """
        places = [place for place in self._loader.places(tenant_id) if wanted(place)]
        for part in parts(places, _PART):
            yield from self._part(part, begin, end)

    def _part(self, places: Sequence[Place], begin: float, end: float) -> Iterator[PointSlots]:
        names = {stay.device for place in places for stay in place.stays}
        first, last = begin - window_of(HOUR), end + _REACH
        with self._database.reading() as connection:
            marks = evidence_rows.marks_of(connection, names, first, last)
            profiles = self._profiles(connection, names, first, last)
            clocks = self._clocks(connection, names - profiles.keys(), first, last)
        registers = self._loader.values(places, first, end + window_of(HOUR))
        for place, series in zip(places, registers, strict=True):
            for stay in place.stays:
                since, until = stay.within(first, last)
                mine = marks.get(stay.device, {})
                if stay.device in profiles:
                    told = [one for one in profiles[stay.device] if since <= one.at < until]
                    yield from self._unfolded(place, stay.device, told, mine, begin, end)
                else:
                    found = [one for one in series if one.register.device == stay.device]
                    yield from self._single(place, stay, found, mine, clocks.get(stay.device, {}), begin, end)

    # -- devices with profiles ----------------------------------------------------------------------

    def _profiles(self, connection: Connection, names: Iterable[str], since: float, until: float) -> dict[str, list[_Told]]:
        """The profiles of each device that sends some, in order of reception."""
        heads = evidence_rows.heads_of(connection, names, STORAGE)
        senders = {head.address for head in heads if _PROFILE in head.qualifiers}
        told = {head.quantity for head in heads if _PROFILE in head.qualifiers} | TIMES | {_DURATION}
        known = {head.series_id: head for head in heads if head.address in senders and head.quantity in told}
        rows: dict[tuple[str, float], list[tuple[SeriesHead, str]]] = {}
        for number, at, text in self._loader.texts(connection, known, since, until):
            rows.setdefault((known[number].address, at), []).append((known[number], text))
        codes = {(head.address, head.dib + head.vib): head.obis for head in known.values()}
        found: dict[str, list[_Told]] = {name: [] for name in senders}
        for (address, at), said in sorted(rows.items(), key=lambda item: item[0]):
            clock = next((text for head, text in said if head.quantity in TIMES and not text.startswith(_RELATIVE)), None)
            for profile in expand([record for head, text in said if (record := _record(head, text)) is not None]):
                octets = (profile.header.dib + profile.header.vib).hex().upper()
                found[address].append(_Told(at, profile, codes.get((address, octets), ""), clock))
        return found

    def _unfolded(
        self, place: Place, device: str, told: Sequence[_Told], marks: _Marks, begin: float, end: float
    ) -> Iterator[PointSlots]:
        by_register: dict[tuple[str, str], list[_Told]] = {}
        for one in told:
            by_register.setdefault((one.obis, one.profile.unit), []).append(one)
        for (obis, unit), group in by_register.items():
            values: list[SlotValue] = []
            for one in group:
                mark = marks.get(one.at, evidence_rows.NO_MARK)
                clock = self._clock(one.clock, one.at + one.profile.base_offset)
                values += unfold(one.profile, one.at, status=mark.status, proven=_proven(mark), meter_time=clock)
            base = next((one.profile.base for one in group if one.profile.base is not None), None)
            capacity = None if base is None else capacity_of(base.header.dib.hex(), base.header.exponent)
            yield from _filled(place, device, unit, obis, values, capacity, begin, end)

    # -- all others ---------------------------------------------------------------------------------

    def _clocks(self, connection: Connection, names: Iterable[str], since: float, until: float) -> dict[str, dict[float, str]]:
        """What the clock of each device said, by time of reception."""
        clocks = {row.series_id: row.address for row in evidence_rows.registers_of(connection, set(names), (CLOCK,))}
        found: dict[str, dict[float, str]] = {}
        for number, at, text in self._loader.texts(connection, clocks, since, until):
            found.setdefault(clocks[number], {})[at] = text
        return found

    def _single(
        self,
        place: Place,
        stay: Stay,
        registers: Sequence[Series],
        marks: _Marks,
        clocks: Mapping[float, str],
        begin: float,
        end: float,
    ) -> Iterator[PointSlots]:
        for series in registers:
            values: list[SlotValue] = []
            for sample in series.samples:
                mark, clock = marks.get(sample.at, evidence_rows.NO_MARK), self._clock(clocks.get(sample.at), sample.at)
                values.append(SlotValue(sample.at, series.value(sample), sample.at, clock, mark.status, _proven(mark)))
            what = series.register
            capacity = None if what.capacity is None else Decimal(what.capacity).scaleb(series.exponent)
            yield from _filled(place, stay.device, what.unit, what.obis or "", values, capacity, begin, end)

    def _clock(self, text: str | None, at: float) -> float | None:
        """What a meter's clock said at a time, seconds UTC, without whole hours (standard time all year, or UTC).

        Of a minute that it said without seconds the moment that is nearest.
        """
        said = None if text is None else stored_moment(text, self._loader.zone)
        if text is None or said is None:
            return None
        first = at + clock_deviation(said - at)
        return min(max(first, at), first + _MINUTE) if len(text) <= _MINUTES else first


def _filled(
    place: Place,
    device: str,
    unit: str,
    obis: str,
    values: Sequence[SlotValue],
    capacity: Decimal | None,
    begin: float,
    end: float,
) -> Iterator[PointSlots]:
    length = grid_of(place)
    slots = fill(values, int(begin), int(end) + 1, length, obis, nominal=_NOMINAL[length], capacity=capacity)
    if any(slot.value is not None for slot in slots):
        yield PointSlots(place, device, unit, obis, length, capacity, slots)


def _record(head: SeriesHead, text: str) -> Record | None:
    """A record as it came, out of the reading that was made of it; a relative base time as the age that it says."""
    if head.quantity in TIMES:
        return make(_AGE, int(text[len(_RELATIVE) : -1])) if text.startswith(_RELATIVE) else None
    header, _ = read_header(bytes.fromhex(head.dib + head.vib), 0)
    if header.profile is None:
        return make(header, Decimal(text))
    raw = bytes.fromhex(text)
    return Record(header, raw, raw, len(raw))


def _proven(mark: Mark) -> bool | None:
    """True if a MAC or tag was verified, False if it should have been; None for telegrams that have none."""
    if mark.security == "failed":
        return False
    return True if mark.proof in _AUTHENTIC else None
