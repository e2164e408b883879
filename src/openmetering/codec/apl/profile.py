"""M-Bus compact profiles: one record that carries a series of values.

    DIB (data field D)  VIB ... profile VIFE  LVAR  SC  SV  element  element ...

    SC  7..6 increment mode   5..4 spacing unit   3..0 data field of the elements
    SV  0 no time spacing     1..250 spacing in the unit   253 half month, 254 month, quarter, half-year

VIFE 1F forward: the base is the oldest value, element i is i spacings younger.
VIFE 13 inverse: the base is the newest value, element i is i spacings older.
VIFE 1E with registers: as forward, the storage number is a register number.
Base time and base value are records of the same storage number. ``expand`` makes points,
``pack`` makes the record. Source: EN 13757-3 Annex F (clauses to confirm); OMS Volume 2
issue 5.0.1 Annex G, Tables G.4 to G.7; Annex R release A (storage 3, age of the base value).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from openmetering.codec.apl.header import DATA_LENGTH, LVAR, PROFILES, RecordHeader, encode_dib, header_of
from openmetering.codec.apl.intervals import Interval, stepped
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.values import Content, converter, encode_content, kind_of, scaled, unscaled
from openmetering.codec.apl.vib_text import join_text, split_text
from openmetering.errors import EncodeError, Fault, NotRepresentable, OutOfRange
from openmetering.wire.types import MeterTime, decode_bcd, decode_real32, encode_bcd, encode_real32

__all__ = ["ProfilePoint", "ProfileSeries", "Spacing", "expand", "is_profile", "pack", "plain_vib", "single_records"]

#: An element of unsigned increments with all bits set is invalid (type C, [K]).
ALL_ONES_IS_INVALID = True
#: An invalid element ends the series in absolute mode too, as in the other modes.
INVALID_ENDS_ABSOLUTE_SERIES = True

_LAYER = "apl"
_ABSOLUTE, _INCREMENTS, _DECREMENTS, _DIFFERENCES = range(4)
_MODES = ("absolute", "increments", "decrements", "differences")
_UNIT_SECONDS = (1, 60, 3600, 86400)
#: (spacing value, spacing unit) -> half months
_CALENDAR = {(253, 3): 1, (254, 3): 2, (254, 2): 6, (254, 1): 12}
_NAMED = {"s": 0, "min": 1, "h": 2, "d": 3}
_NAMED_CALENDAR = {"half month": (253, 3), "month": (254, 3), "quarter": (254, 2), "half-year": (254, 1), "none": (0, 0)}
_REAL = 5
_BCD_ELEMENTS = (9, 10, 11, 12, 14)
_BINARY_ELEMENTS = (1, 2, 3, 4, 6, 7)
_ELEMENTS = frozenset((*_BCD_ELEMENTS, *_BINARY_ELEMENTS, _REAL))
_CODES = {name: code for code, name in PROFILES.items()}
_MAX_OCTETS = 0xBF


class Spacing(msgspec.Struct, frozen=True):
    """Spacing control and spacing value: the two octets in front of the elements.

    ``mode`` 0 absolute, 1 increments, 2 decrements, 3 signed differences; ``unit`` 0 s, 1 min,
    2 h, 3 d or month; ``element`` is the data field of the elements, 0 in ``pack`` for "choose".
    """

    mode: int
    unit: int
    element: int
    value: int

    @classmethod
    def decode(cls, octets: bytes) -> Spacing:
        """Read SC and SV from the first two octets, which must be there."""
        control = octets[0]
        return cls(control >> 6, control >> 4 & 3, control & 0x0F, octets[1])

    @classmethod
    def of(cls, every: int, unit: str, *, mode: str = "increments", element: int = 0) -> Spacing:
        """Make a spacing of words: ``Spacing.of(15, "min")``, ``Spacing.of(1, "month", mode="absolute")``.

        Units are s, min, h, d (1 to 250 of them), half month, month, quarter, half-year (one) and none.
        Raises NotRepresentable or OutOfRange.
        """
        if mode not in _MODES:
            raise NotRepresentable(f"{mode!r} is no increment mode", field="mode", value=mode, layer=_LAYER)
        if unit in _NAMED_CALENDAR:
            if every != 1:
                raise NotRepresentable(f"{every} times {unit} has no coding", field="every", value=every, layer=_LAYER)
            value, code = _NAMED_CALENDAR[unit]
            return cls(_MODES.index(mode), code, element, value)
        if unit not in _NAMED:
            raise NotRepresentable(f"{unit!r} is no unit of spacing", field="unit", value=unit, layer=_LAYER)
        if not 1 <= every <= 250:
            raise OutOfRange(f"a spacing is 1 to 250 units, got {every}", field="every", value=every, layer=_LAYER)
        return cls(_MODES.index(mode), _NAMED[unit], element, every)

    def encode(self) -> bytes:
        """SC and SV. Raises OutOfRange."""
        if not (0 <= self.mode < 4 and 0 <= self.unit < 4 and 0 <= self.element < 16 and 0 <= self.value < 256):
            raise OutOfRange(
                "mode, unit, element or value of the spacing out of range", field="spacing", value=self.value, layer=_LAYER
            )
        return bytes((self.mode << 6 | self.unit << 4 | self.element, self.value))

    @property
    def mode_name(self) -> str:
        """absolute, increments, decrements or differences."""
        return _MODES[self.mode]

    @property
    def interval(self) -> Interval | None:
        """The distance of two elements; None without time spacing and for reserved values."""
        if 1 <= self.value <= 250:
            return Interval(seconds=self.value * _UNIT_SECONDS[self.unit])
        half_months = _CALENDAR.get((self.value, self.unit))
        return Interval(half_months=half_months) if half_months else None

    @property
    def reserved(self) -> bool:
        """True if the standard reserves this spacing value."""
        return self.value != 0 and self.interval is None


class ProfilePoint(msgspec.Struct, frozen=True):
    """One value of a series.

    ``offset`` are seconds from the reference of the series (None for calendar spacing);
    ``time`` is ISO 8601 text, None where the base time is not known. ``record`` is the
    equivalent normal record, None where there is no value or no coding for it. ``change`` is
    the element as it was sent, in the unit of the record; None in absolute mode.
    """

    storage: int
    value: Decimal | None
    time: str | None
    offset: int | None
    raw: bytes
    record: Record | None
    change: Decimal | None = None


class ProfileSeries(msgspec.Struct, frozen=True):
    """One compact profile, expanded.

    ``kind`` is forward, inverse or registers. ``reference`` says what offsets count from:
    "base" is the base time, "reception" the moment the telegram was sent (Annex R: the age of
    the base value is ``-base_offset``). ``invalid_at`` is the index of the element that ended
    the series. ``fault`` names what is wrong with the record; points before it are kept.
    """

    header: RecordHeader
    kind: str
    spacing: Spacing | None
    base: Record | None
    base_value: Decimal | None
    base_time: MeterTime | None
    base_offset: int
    reference: str
    points: tuple[ProfilePoint, ...]
    invalid_at: int | None = None
    fault: Fault | None = None

    @property
    def quantity(self) -> str:
        """What the values measure."""
        return self.header.quantity

    @property
    def unit(self) -> str:
        """Unit of the values."""
        return self.header.unit


# -- the value information block with and without the profile extension -----------------------


def _first_extension(chain: bytes) -> int:
    if chain[0] == 0xFD and chain[1] == 0xFD and len(chain) > 2:
        return 3
    return 2 if chain[0] in (0xFB, 0xFD) else 1


def _profile_place(chain: bytes) -> int:
    """Index of the profile VIFE in a VIB without text; the header has told that there is one."""
    at = _first_extension(chain)
    place = at
    while at < len(chain):
        code = chain[at] & 0x7F
        if code in PROFILES:
            place = at
        at += 2 if code == 0x7C else 1
    return place


def plain_vib(header: RecordHeader) -> bytes:
    """The VIB of a profile's header without its profile extension: the VIB of the base value."""
    chain, tail, in_front = split_text(header.vib, header.text)
    at = _profile_place(chain)
    left, right = chain[:at], chain[at + 1 :]
    if not right:
        left = left[:-1] + bytes((left[-1] & 0x7F,))
    return join_text(left + right, tail, in_front)


def _profile_vib(header: RecordHeader, kind: str) -> bytes:
    chain, tail, in_front = split_text(header.vib, header.text)
    return join_text(chain[:-1] + bytes((chain[-1] | 0x80, _CODES[kind])), tail, in_front)


# -- bases ------------------------------------------------------------------------------------


class _Bases:
    """Base times, base values and ages of a message, by storage number; the first of each wins."""

    __slots__ = ("ages", "times", "values")

    def __init__(self, records: Sequence[Record]) -> None:
        self.times: dict[tuple[int, ...], MeterTime] = {}
        self.values: dict[tuple[object, ...], Record] = {}
        self.ages: dict[int, int] = {}
        for record in records:
            header = record.header
            if header.profile is not None or header.error is not None:
                continue
            vif = header.vib[0]
            if vif in (0x6C, 0x6D) and isinstance(record.content, MeterTime):
                self.times.setdefault((header.storage, vif, header.tariff, header.subunit), record.content)
                self.times.setdefault((header.storage, vif), record.content)
            elif 0x74 <= vif <= 0x77 and isinstance(record.content, int) and record.content >= 0:
                self.ages.setdefault(header.storage, record.content * _UNIT_SECONDS[vif & 3])
            place = (header.storage, header.tariff, header.subunit, header.function, header.vib)
            self.values.setdefault((*place, header.final_dife), record)
            self.values.setdefault(place, record)

    def time(self, header: RecordHeader) -> MeterTime | None:
        """Base time: date and time before date, the same tariff and subunit before any."""
        storage, place = header.storage, (header.tariff, header.subunit)
        keys: tuple[tuple[int, ...], ...] = ((storage, 0x6D, *place), (storage, 0x6D), (storage, 0x6C, *place), (storage, 0x6C))
        return next((self.times[key] for key in keys if key in self.times), None)

    def value(self, header: RecordHeader, vib: bytes) -> Record | None:
        """Base value: same storage, tariff, subunit, function and VIB without the profile extension."""
        place = (header.storage, header.tariff, header.subunit, header.function, vib)
        return self.values.get((*place, header.final_dife)) or self.values.get(place)

    def age(self, header: RecordHeader) -> int | None:
        """Seconds from the base value to the sending: relative base time (type M) or actuality duration."""
        time = self.time(header)
        if time is not None and time.relative is not None:
            return time.relative
        return self.ages.get(header.storage)


# -- elements ---------------------------------------------------------------------------------


def _element(raw: bytes, spacing: Spacing) -> int | Decimal | None:
    """An element of the modes that count on; None if it is invalid."""
    if spacing.element == _REAL:
        return decode_real32(raw)
    unsigned = spacing.mode != _DIFFERENCES
    if spacing.element in _BCD_ELEMENTS:
        number = decode_bcd(raw)
        return None if number is not None and number < 0 and unsigned else number
    if unsigned:
        return None if ALL_ONES_IS_INVALID and not raw.strip(b"\xff") else int.from_bytes(raw, "little")
    value = int.from_bytes(raw, "little", signed=True)
    return None if value == -(1 << 8 * len(raw) - 1) else value


def _change(raw: bytes, spacing: Spacing, header: RecordHeader) -> Decimal | None:
    """An element of the modes that count on, in the unit of the record."""
    element = _element(raw, spacing)
    if element is None:
        return None
    value = Decimal(element).scaleb(header.exponent)
    return value / (1 << -header.scale2) if header.scale2 else value


def _direction(spacing: Spacing, kind: str) -> int:
    """+1 if an element is added to the value before it, -1 if it is subtracted."""
    return (-1 if kind == "inverse" else 1) * (-1 if spacing.mode == _DECREMENTS else 1)


_WIDER = {"bcd": (12, 14, 7), "real": (_REAL,)}


@lru_cache(maxsize=8192)
def _header_at(header: RecordHeader, vib: bytes, data_field: int, storage: int) -> RecordHeader:
    """The header of a point of a profile. Raises EncodeError if the storage number has no coding"""
    dib = encode_dib(
        data_field,
        function=header.function,
        storage=storage,
        tariff=header.tariff,
        subunit=header.subunit,
        final_dife=header.final_dife,
    )
    return header_of(dib, vib, header.text, uplink=header.uplink)


class _Carrier:
    """Makes the normal record of a point: the header of the profile, without the profile."""

    __slots__ = ("fields", "header", "vib")

    def __init__(self, header: RecordHeader, vib: bytes, base: Record | None) -> None:
        self.header, self.vib = header, vib
        self.fields: tuple[int, ...] = ()
        if base is not None:
            self.fields = (base.header.data_field, *_WIDER.get(kind_of(base.header), (4, 6, 7)))

    def read(self, raw: bytes, data_field: int, storage: int) -> Record | None:
        """The record of an absolute element; None if the storage number has no coding."""
        try:
            header = _header_at(self.header, self.vib, data_field, storage)
        except EncodeError:
            return None
        return Record(header, raw, converter(header)(raw))

    def make(self, content: Content, storage: int) -> Record | None:
        """The record of a computed value in the data field of the base, or in a wider one if it needs it."""
        for data_field in self.fields:
            try:
                header = _header_at(self.header, self.vib, data_field, storage)
                lvar, raw = encode_content(header, content)
            except EncodeError:
                continue
            record = Record(header, raw, content, lvar)
            if record.error is None:
                return record
        return None


class _Walk:
    """The run over the elements: value so far and the points made."""

    __slots__ = ("carrier", "content", "invalid_at", "kind", "spacing")

    def __init__(self, carrier: _Carrier, spacing: Spacing, kind: str, base: Record | None) -> None:
        self.carrier, self.spacing, self.kind = carrier, spacing, kind
        usable = base is not None and base.error is None and isinstance(base.content, int | Decimal)
        self.content: Content = base.content if base is not None and usable else None
        self.invalid_at: int | None = None

    def step(self, raw: bytes, index: int, storage: int) -> tuple[Decimal | None, Record | None]:
        """Value and record of one element; sets ``invalid_at`` if it is invalid."""
        if self.spacing.mode == _ABSOLUTE:
            return self._absolute(raw, index, storage)
        element = _element(raw, self.spacing)
        if element is None:
            self.invalid_at = index
            return None, None
        if not isinstance(self.content, int | Decimal):
            return None, None
        change = element * _direction(self.spacing, self.kind)
        if isinstance(self.content, int) and isinstance(change, int):
            self.content = self.content + change
        else:
            self.content = Decimal(self.content) + change
        return scaled(self.carrier.header, self.content), self.carrier.make(self.content, storage)

    def _absolute(self, raw: bytes, index: int, storage: int) -> tuple[Decimal | None, Record | None]:
        record = self.carrier.read(raw, self.spacing.element, storage)
        if record is None:
            return None, None
        if record.error is not None:
            if INVALID_ENDS_ABSOLUTE_SERIES:
                self.invalid_at = index
            return None, None
        value = record.value
        return (value if isinstance(value, Decimal) else None), record


# -- expansion --------------------------------------------------------------------------------


def is_profile(record: Record) -> bool:
    """True if a record is a compact profile with data."""
    return record.header.profile is not None and record.header.data_field == LVAR


def _fault(code: str, message: str) -> Fault:
    return Fault(code, _LAYER, None, message)


def _layout_fault(record: Record) -> Fault | None:
    if record.lvar is None or record.lvar > _MAX_OCTETS or len(record.raw) < 2:
        return _fault("profile.length", "a compact profile has spacing control, spacing value and up to 189 octets of elements")
    element = record.raw[0] & 0x0F
    if element not in _ELEMENTS:
        return _fault("profile.element", f"data field {element:X}h has no elements")
    return None


def _series(record: Record, bases: _Bases) -> ProfileSeries:
    header = record.header
    kind = header.profile or "forward"
    vib = plain_vib(header)
    base = bases.value(header, vib)
    base_time, age = bases.time(header), bases.age(header)
    base_offset, reference = (0, "base") if age is None else (-age, "reception")
    base_value = base.value if base is not None else None
    base_number = base_value if isinstance(base_value, Decimal) else None
    fault = _layout_fault(record)
    if fault is not None:
        return ProfileSeries(header, kind, None, base, base_number, base_time, base_offset, reference, (), None, fault)
    spacing = Spacing.decode(record.raw)
    walk = _Walk(_Carrier(header, vib, base), spacing, kind, base)
    points, fault = _points(record, walk, base_time, base_offset)
    return ProfileSeries(
        header, kind, spacing, base, base_number, base_time, base_offset, reference, points, walk.invalid_at, fault
    )


def _points(
    record: Record, walk: _Walk, base_time: MeterTime | None, base_offset: int
) -> tuple[tuple[ProfilePoint, ...], Fault | None]:
    spacing, raw, storage = walk.spacing, record.raw, record.header.storage
    size = DATA_LENGTH[spacing.element] or 1
    interval = spacing.interval
    way = -1 if walk.kind == "inverse" else 1
    points: list[ProfilePoint] = []
    for index in range((len(raw) - 2) // size):
        octets = raw[2 + index * size : 2 + (index + 1) * size]
        number = index + 1
        value, single = walk.step(octets, index, storage + number)
        if walk.invalid_at is not None:
            break
        time = offset = None
        if interval is not None:
            time = stepped(base_time, interval, way * number) if base_time is not None else None
            offset = base_offset + way * number * interval.seconds if interval.seconds else None
        change = _change(octets, spacing, record.header) if spacing.mode else None
        points.append(ProfilePoint(storage + number, value, time, offset, octets, single, change))
    fault = None
    if spacing.reserved:
        fault = _fault("profile.spacing", f"spacing value {spacing.value} is reserved for spacing unit {spacing.unit}")
    elif (len(raw) - 2) % size:
        fault = _fault("profile.length", f"{(len(raw) - 2) % size} octets are left behind the last element")
    return tuple(points), fault


def expand(records: Sequence[Record]) -> tuple[ProfileSeries, ...]:
    """Expand all compact profiles of a message, in its order.

    Octets   0    spacing control (SC), 1 spacing value (SV), as in ``Spacing``
             2..  elements of the data field in SC, little endian
    Source   EN 13757-3 Annex F (clause to confirm); OMS Volume 2 issue 5.0.1 Annex G and R
    Units    values in the unit of the record, offsets in s
    Raises   nothing: what is wrong with a profile stands in its ``fault`` (codes
             profile.length, profile.element, profile.spacing). Without a base time there are no
             times but offsets; without a base value only absolute elements have values.
    """
    profiles = [record for record in records if is_profile(record)]
    if not profiles:
        return ()
    bases = _Bases(records)
    return tuple(_series(record, bases) for record in profiles)


def single_records(series: ProfileSeries) -> tuple[Record, ...]:
    """The points that have a value as normal records: storage number base + i, VIB of the base value."""
    return tuple(point.record for point in series.points if point.record is not None)


# -- packing ----------------------------------------------------------------------------------


def _contents(base: Record, values: Sequence[Decimal | int | None]) -> list[int | Decimal | None]:
    """The values before scaling. Raises NotRepresentable if a value stands behind an invalid one."""
    contents = [None if value is None else unscaled(base.header, Decimal(value)) for value in values]
    ended = False
    for content in contents:
        if ended and content is not None:
            raise NotRepresentable("an invalid element ends the series", field="values", value=None, layer=_LAYER)
        ended = content is None
    return contents


def _changes(base: Record, contents: list[int | Decimal | None], spacing: Spacing, kind: str) -> list[int | Decimal | None]:
    """The elements of the modes that count on from the base value."""
    before = base.content
    if base.error is not None or not isinstance(before, int | Decimal):
        raise NotRepresentable("the base record carries no number", field="base", value=None, layer=_LAYER)
    sign = _direction(spacing, kind)
    changes: list[int | Decimal | None] = []
    for content in contents:
        if content is None:
            changes.append(None)
            continue
        changes.append((content - before) * sign)
        before = content
    return changes


def _encode_element(content: int | Decimal | None, spacing: Spacing, header: RecordHeader, data_field: int) -> bytes:
    """One element. Raises EncodeError if it does not fit."""
    size = DATA_LENGTH[data_field] or 0
    if spacing.mode == _ABSOLUTE:
        _, raw = encode_content(header, content)
        if content is not None and Record(header, raw, converter(header)(raw)).error is not None:
            raise OutOfRange(f"{content} is the mark of an invalid value", field="values", value=content, layer=_LAYER)
        return raw
    if data_field == _REAL:
        return b"\x00\x00\xc0\x7f" if content is None else encode_real32(Decimal(content))
    signed = spacing.mode == _DIFFERENCES
    if content is None:
        return b"\x00" * (size - 1) + b"\x80" if signed and data_field in _BINARY_ELEMENTS else b"\xff" * size
    if content < 0 and not signed:
        raise OutOfRange(f"{content} is negative, {spacing.mode_name} are not", field="values", value=content, layer=_LAYER)
    number = int(content)
    if data_field in _BCD_ELEMENTS:
        return encode_bcd(number, size)
    low, high = (-(1 << 8 * size - 1) + 1, (1 << 8 * size - 1) - 1) if signed else (0, (1 << 8 * size) - 1 - ALL_ONES_IS_INVALID)
    if not low <= number <= high:
        raise OutOfRange(f"{number} does not fit an element of {size} octets", field="values", value=number, layer=_LAYER)
    return number.to_bytes(size, "little", signed=signed)


_FIELDS_OF_KIND = {"bcd": _BCD_ELEMENTS, "real": (_REAL,)}


def pack(base: Record, values: Sequence[Decimal | int | None], *, spacing: Spacing, kind: str = "forward") -> Record:
    """The compact profile record for values that follow ``base``.

    ``values`` are readings in the unit of the base, youngest last for forward and registers,
    oldest last for inverse; None marks an invalid element, which must come last. The smallest
    element that holds all of them is chosen unless ``spacing.element`` names one: BCD for a
    BCD base, real for a real base, else binary.

    Octets   DIB of the base with data field D, its VIB with 1F, 13 or 1E, LVAR, SC, SV, elements
    Source   EN 13757-3 Annex F (clause to confirm)
    Raises   OutOfRange if no element holds the values or they exceed 189 octets, NotRepresentable
    """
    if kind not in _CODES:
        raise NotRepresentable(f"{kind!r} is no kind of profile", field="kind", value=kind, layer=_LAYER)
    if spacing.reserved:
        raise NotRepresentable("the spacing value is reserved", field="spacing", value=spacing.value, layer=_LAYER)
    contents = _contents(base, values)
    if spacing.mode != _ABSOLUTE:
        contents = _changes(base, contents, spacing, kind)
    header = base.header
    fields = (spacing.element,) if spacing.element else _FIELDS_OF_KIND.get(kind_of(header), _BINARY_ELEMENTS)
    fault: EncodeError = NotRepresentable(
        f"data field {spacing.element:X}h has no elements", field="spacing", value=spacing.element, layer=_LAYER
    )
    for data_field in fields:
        if data_field not in _ELEMENTS:
            break
        element_header = header_of(bytes((header.dib[0] & 0xF0 | data_field,)) + header.dib[1:], header.vib, header.text)
        try:
            elements = b"".join(_encode_element(content, spacing, element_header, data_field) for content in contents)
        except EncodeError as error:
            fault = error
            continue
        raw = msgspec.structs.replace(spacing, element=data_field).encode() + elements
        if len(raw) > _MAX_OCTETS:
            raise OutOfRange(
                f"a profile holds 189 octets of elements, these are {len(elements)}", field="values", value=len(values)
            )
        dib = bytes((header.dib[0] & 0xF0 | LVAR,)) + header.dib[1:]
        return Record(header_of(dib, _profile_vib(header, kind), header.text, uplink=header.uplink), raw, raw, len(raw))
    raise fault
