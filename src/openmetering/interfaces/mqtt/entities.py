"""One record of a telegram as what Home Assistant calls an entity, and its value as JSON.

    header + device type -> Form     once for each header: name, key, class, unit, precision and how values are written
    record               -> value    exact digits, scaled by powers of ten; null where there is no value

The key of an entity is made of what tells the record from others (quantity, unit, function, storage, tariff, subunit,
qualifiers), so it is the same in every telegram. The name is that of the OMS data point, else that of the quantity.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from decimal import Context, Decimal

import msgspec

from openmetering.codec.apl.header import FUNCTIONS, RecordHeader
from openmetering.codec.apl.records import Record, is_number
from openmetering.interfaces.mqtt.vocabulary import (
    BINARY,
    FLAG_CLASSES,
    STATUS_CLASSES,
    Quantity,
    is_measured,
    measure,
    quantity,
)
from openmetering.tables import DEVICE_TYPES, ERROR_FLAGS, data_point_rows, error_flags, status_flags
from openmetering.telegram import Telegram
from openmetering.telegram.answer import describe
from openmetering.wire.types import MeterTime

__all__ = ["LONGEST_STATE", "Entity", "Meaning", "Shown", "meter_time", "shown", "slug"]

_EXACT = Context(prec=400)
_text = msgspec.json.Encoder().encode
_NULL = b"null"
#: qualifiers that leave a register a register
_NEUTRAL = frozenset(
    (
        "standard conform", "uncorrected", "forward", "backward", "base conditions", "absolute sum", "secondary sensor",
        "phase L1", "phase L2", "phase L3", "neutral", "between L1 and L2", "between L2 and L3", "between L3 and L1",
        "quadrant Q1", "quadrant Q2", "quadrant Q3", "quadrant Q4", "HCA higher resolution register",
        "from partner to meter", "from meter to partner",
    )
)  # fmt: skip
#: qualifiers with which the unit of the table is not the unit of the value
_OTHER_UNIT = frozenset(("alternate non-metric unit system", "second alternate non-metric unit system", "relative deviation"))
_DELTA = "delta import/export"  # may fall
_DISCONNECTORS = frozenset(("DC1!", "DC2!"))
_DISCONNECTOR_STATES = {int(row.code): row.name for row in ERROR_FLAGS if row.set == "disconnector"}
_NO_ENTITY = frozenset(
    ("manufacturer", "sub device types", "device type", "wireless M-Bus container", "manufacturer protocol container")
)
_LEADING_ZEROS = frozenset(("fabrication no", "enhanced identification"))
LONGEST_STATE = 255  #: characters; Home Assistant Core 2025.4, const, MAX_LENGTH_STATE_STATE
#: categories and types of devices that water can run out of or into
_WET_CATEGORIES, _SENSOR = frozenset("5689"), 0x1F
_GAS = 0x03
_HISTORY = 1  #: storage numbers above this one are not switched on by themselves


class Entity(msgspec.Struct, frozen=True):
    """What is shown of one value.

    ``platform``   sensor or binary_sensor
    ``options``    all values of an enumeration
    ``precision``  decimals of the value, None where they vary
    ``enabled``    False: there, but switched off until somebody asks for it
    """

    key: str
    name: str
    platform: str = "sensor"
    device_class: str | None = None
    state_class: str | None = None
    unit: str | None = None
    precision: int | None = None
    category: str | None = None
    options: tuple[str, ...] = ()
    enabled: bool = True


class Meaning(msgspec.Struct, frozen=True):
    """Where a value comes from, in the words of the standards."""

    quantity: str
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: tuple[str, ...]
    tag: str | None
    obis: str | None


class Shown(msgspec.Struct, frozen=True):
    """An entity with its value as JSON; ``meaning`` None for what is no record (status octet)."""

    entity: Entity
    value: bytes
    meaning: Meaning | None = None


def slug(text: str) -> str:
    """Lower case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def meter_time(moment: MeterTime, zone: dt.tzinfo | None) -> str | None:
    """ISO 8601 text of a meter's time, with the offset of ``zone`` where that is known; None for periodic and relative times.

    A meter shows standard time, or summer time with its flag set [?]: the offset is the standard offset of the zone,
    and one hour more with the flag. Source: EN 13757-3, data types F and I (clause to confirm)
    """
    if moment.hour is None:
        day = moment.date()
        return None if day is None else day.isoformat()
    when = moment.datetime()
    if when is None:
        return None
    if zone is None:
        return when.isoformat(timespec="seconds")
    aware = when.replace(tzinfo=zone)
    offset = (aware.utcoffset() or dt.timedelta()) - (aware.dst() or dt.timedelta())
    if moment.summer_time:
        offset += dt.timedelta(hours=1)
    return when.replace(tzinfo=dt.timezone(offset)).isoformat(timespec="seconds")


# -- headers to forms ---------------------------------------------------------------------------


class _Form:
    """What is the same for all records of a header."""

    __slots__ = ("binary", "entity", "factor", "flags", "meaning", "write")

    def __init__(self, header: RecordHeader, device_type: int | None, averaging: bool, zone: dt.tzinfo | None) -> None:
        tag, codes = describe(header, device_type, averaging=averaging)
        self.meaning = Meaning(
            header.quantity,
            header.unit,
            FUNCTIONS[header.function],
            header.storage,
            header.tariff,
            header.subunit,
            header.qualifiers,
            tag,
            " ".join(codes) or None,
        )
        self.factor = Decimal(1)
        self.flags = header.quantity == "error flags"
        self.binary = header.quantity in BINARY
        key, name = _key(header), _name(header, tag)
        enabled = header.storage <= _HISTORY and header.known
        self.entity: Entity
        self.write: Callable[[Record], bytes]
        if header.data_type == "date":
            self.entity = _date_entity(header, key, name, enabled, zone)
            self.write = _date_writer(zone)
        elif self.binary:
            self.entity = Entity(key, name, "binary_sensor", BINARY[header.quantity], enabled=enabled)
            self.write = _write_binary
        elif tag in _DISCONNECTORS:
            states = tuple(_DISCONNECTOR_STATES.values())
            self.entity = Entity(key, name, device_class="enum", options=states, enabled=enabled)
            self.write = _write_disconnector
        elif is_number(header) or (header.kind == "variable" and is_measured(header.quantity)):
            self.entity = self._number(header, device_type, key, name, enabled)
            self.write = _write_identifier if header.quantity in _LEADING_ZEROS else self._write_number
        else:
            self.entity = Entity(key, name, category="diagnostic", enabled=enabled)
            self.write = _write_words

    def _number(self, header: RecordHeader, device_type: int | None, key: str, name: str, enabled: bool) -> Entity:
        published = measure(header.unit)
        shown_as = quantity(header.quantity, published.unit, device_type)
        if _OTHER_UNIT.intersection(header.qualifiers):
            shown_as, published = Quantity(None, frozenset(), None, shown_as.category), measure("")
        self.factor = published.factor
        if header.quantity in _LEADING_ZEROS:
            return Entity(key, name, category="diagnostic", enabled=enabled)
        return Entity(
            key,
            name,
            device_class=shown_as.device_class,
            state_class=_state_class(header, shown_as),
            unit=published.unit,
            precision=_precision(header, published.factor),
            category=shown_as.category,
            enabled=enabled,
        )

    def _write_number(self, record: Record) -> bytes:
        text = record.number_text()
        if text is None:
            return _write_text(record)
        if self.factor == 1:
            return text.encode()
        value = _EXACT.multiply(Decimal(text), self.factor)
        precision = self.entity.precision
        return (f"{value:f}" if precision is None else f"{value:.{precision}f}").encode()


def _key(header: RecordHeader) -> str:
    parts = [header.quantity, header.unit]
    parts += list(header.qualifiers)
    if header.function:
        parts.append(FUNCTIONS[header.function])
    places = (("storage", header.storage), ("tariff", header.tariff), ("subunit", header.subunit))
    parts += [f"{word} {number}" for word, number in places if number]
    if header.final_dife:
        parts.append("register")
    return "_".join(filter(None, map(slug, parts)))


def _name(header: RecordHeader, tag: str | None) -> str:
    point = None if tag is None else data_point_rows().get(tag)
    if point is not None and point.name:
        parts = [point.name]
        storage = header.storage > _HISTORY
    else:
        parts = [header.quantity, *header.qualifiers]
        if header.function:
            parts.append(FUNCTIONS[header.function])
        storage = header.storage > 0
    parts += [f"storage {header.storage}"] * storage
    parts += [f"tariff {header.tariff}"] * (header.tariff > 0)
    parts += [f"channel {header.subunit}"] * (header.subunit > 0)
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _state_class(header: RecordHeader, shown_as: Quantity) -> str | None:
    """Home Assistant: only values of now go into statistics; a register that may fall is a ``total``."""
    qualifiers = {name for name in header.qualifiers if name not in _NEUTRAL}
    if shown_as.growth is None or header.function or header.storage or header.error is not None:
        return None
    if shown_as.growth == "measurement":
        return None if qualifiers - {_DELTA, "average"} else "measurement"
    if qualifiers == {_DELTA}:
        return "total"
    return None if qualifiers else "total_increasing"


def _precision(header: RecordHeader, factor: Decimal) -> int | None:
    if header.kind == "real" or header.scale2 or header.addend is not None:
        return None
    exponent = factor.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -(header.exponent + exponent))


def _date_entity(header: RecordHeader, key: str, name: str, enabled: bool, zone: dt.tzinfo | None) -> Entity:
    """A date has a class; a time only where the zone of the meter is known, for Home Assistant asks for an offset."""
    if header.length == 2:
        return Entity(key, name, device_class="date", category="diagnostic", enabled=enabled)
    timestamp = zone is not None and header.length in (4, 6)
    return Entity(key, name, device_class="timestamp" if timestamp else None, category="diagnostic", enabled=enabled)


def _date_writer(zone: dt.tzinfo | None) -> Callable[[Record], bytes]:
    def write(record: Record) -> bytes:
        content = record.content
        if not isinstance(content, MeterTime):
            return _NULL
        if content.type == "J":
            return _text(content.isoformat())
        text = meter_time(content, zone)
        return _NULL if text is None else _text(text)

    return write


def _write_text(record: Record) -> bytes:
    value = record.value
    text = value.hex().upper() if isinstance(value, bytes) else value
    return _text(text) if isinstance(text, str) and len(text) <= LONGEST_STATE else _NULL


def _write_words(record: Record) -> bytes:
    """Text, or a number where the length of the record varies."""
    number = record.number_text()
    return _write_text(record) if number is None else number.encode()


def _write_identifier(record: Record) -> bytes:
    """A number whose leading zeros count."""
    content = record.content
    if isinstance(content, int) and record.error is None:
        return _text(f"{content:0{2 * len(record.raw)}d}" if record.header.kind == "bcd" else str(content))
    return _write_text(record)


def _write_binary(record: Record) -> bytes:
    content = record.content
    if not isinstance(content, int) or record.error is not None:
        return _NULL
    return b'"ON"' if content else b'"OFF"'


def _write_disconnector(record: Record) -> bytes:
    content = record.content
    name = _DISCONNECTOR_STATES.get(content) if isinstance(content, int) else None
    return _NULL if name is None else _text(name)


_FORMS: dict[tuple[RecordHeader, int | None, bool, dt.tzinfo | None], _Form] = {}
_FORM_LIMIT = 16_384


def _form(header: RecordHeader, device_type: int | None, averaging: bool, zone: dt.tzinfo | None) -> _Form:
    place = (header, device_type, averaging, zone)
    form = _FORMS.get(place)
    if form is None:
        if len(_FORMS) >= _FORM_LIMIT:
            _FORMS.clear()
        form = _FORMS[place] = _Form(header, device_type, averaging, zone)
    return form


# -- telegrams to what is shown -------------------------------------------------------------------


def shown(telegram: Telegram, zone: dt.tzinfo | None = None) -> Iterator[Shown]:
    """What a telegram shows: its records, the bits of the error flags by name, the bits of the status octet.

    Compact profiles, manufacturers' blocks and records of the manufacturer are history or unknown and not shown.
    A record that stands twice is shown twice, the second with the key ``..._2``.
    """
    address = telegram.address
    device_type = None if address is None else address.device_type
    manufacturer = "" if address is None else address.flag
    averaging = device_type == _GAS and any(record.header.quantity == "averaging duration" for record in telegram.records)
    seen: dict[str, int] = {}
    for record in telegram.records:
        header = record.header
        if header.profile is not None or header.quantity in _NO_ENTITY or header.error is not None:
            continue
        form = _form(header, device_type, averaging, zone)
        entity = form.entity
        times = seen[entity.key] = seen.get(entity.key, 0) + 1
        if times > 1:
            entity = msgspec.structs.replace(entity, key=f"{entity.key}_{times}", name=f"{entity.name} ({times})")
        yield Shown(entity, form.write(record), form.meaning)
        if form.flags and times == 1:
            yield from _flags(record, manufacturer, device_type)
    yield from _status(telegram)


def _flags(record: Record, manufacturer: str, device_type: int | None) -> Iterator[Shown]:
    """One binary sensor for every error flag that has a name."""
    content = record.content
    if not isinstance(content, int) or record.header.storage or record.header.function:
        return
    known = error_flags((1 << 64) - 1, manufacturer=manufacturer, device_type=device_type)
    on = frozenset(error_flags(content, manufacturer=manufacturer, device_type=device_type))
    wet = device_type is not None and (device_type == _SENSOR or DEVICE_TYPES[device_type].category in _WET_CATEGORIES)
    for name in known:
        if not name.startswith("bit "):
            device_class = FLAG_CLASSES.get(name, "problem")
            enabled = wet or device_class != "moisture"
            entity = Entity(f"flag_{slug(name)}", name[:1].upper() + name[1:], "binary_sensor", device_class, enabled=enabled)
            yield Shown(entity, b'"ON"' if name in on else b'"OFF"')


_STATUS = {
    name: Entity(f"status_{slug(name)}", name[:1].upper() + name[1:], "binary_sensor", device_class, category="diagnostic")
    for name, device_class in STATUS_CLASSES.items()
}


def _status(telegram: Telegram) -> Iterator[Shown]:
    transport = telegram.transport
    if transport is None or transport.header == "none" or not telegram.uplink:
        return
    on = status_flags(transport.status)
    for name, entity in _STATUS.items():
        yield Shown(entity, b'"ON"' if name in on else b'"OFF"')
