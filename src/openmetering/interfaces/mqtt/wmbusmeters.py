"""A telegram as the tool wmbusmeters writes it: one flat JSON object whose field names carry quantity and unit.

    {"_":"telegram","media":"water","meter":"oms","name":"Kitchen","id":"12345678","status":"OK","total_m3":12.345,
     "target_m3":10.1,"target_date":"2025-12-31","timestamp":"2026-01-14T10:00:00Z","device":"stick","rssi_dbm":-72}

    medium      register                              at the due date (storage 1)          others
    water, gas  total_m3                              target_m3, target_date               volume_flow_m3h, flow_temperature_c
    heat        total_energy_consumption_kwh,         target_energy_kwh,                   power_kw, return_temperature_c,
                total_volume_m3                       target_volume_m3, target_date        volume_flow_m3h
    electricity total_energy_consumption_kwh,         target_energy_kwh                    current_power_consumption_kw,
                total_energy_production_kwh                                                voltage_at_phase_1_v
    heat cost   current_consumption_hca               consumption_at_set_date_hca,         flow_temperature_c,
    allocator                                         set_date                             external_temperature_c

Each driver of that tool has names of its own; these are those of its library of common fields and of the drivers named
at the tables. ``meter`` is always ``oms``: there are no drivers here. Numbers have exactly the digits of the telegram.

Source: wmbusmeters 1.17 to 2026: README, library of fields, drivers hydrus, amiplus, qcaloric (names only) [S]
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Context, Decimal

import msgspec

from openmetering.codec.apl.header import FUNCTIONS, RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.tables import DEVICE_TYPES
from openmetering.telegram import Telegram
from openmetering.wire.types import MeterTime

__all__ = ["field_name", "status_text", "view_json"]

_EXACT = Context(prec=400)
_text = msgspec.json.Encoder().encode

#: unit of the VIF tables -> suffix and factor to the unit the tool publishes
_SUFFIXES: dict[str, tuple[str, Decimal]] = {
    "Wh": ("kwh", Decimal("0.001")),
    "MWh": ("kwh", Decimal(1000)),
    "J": ("mj", Decimal("0.000001")),
    "GJ": ("gj", Decimal(1)),
    "m3": ("m3", Decimal(1)),
    "W": ("kw", Decimal("0.001")),
    "MW": ("kw", Decimal(1000)),
    "m3/h": ("m3h", Decimal(1)),
    "m3/min": ("m3h", Decimal(60)),
    "m3/s": ("m3h", Decimal(3600)),
    "°C": ("c", Decimal(1)),
    "°F": ("f", Decimal(1)),
    "K": ("c", Decimal(1)),
    "bar": ("bar", Decimal(1)),
    "V": ("v", Decimal(1)),
    "A": ("a", Decimal(1)),
    "Hz": ("hz", Decimal(1)),
    "s": ("s", Decimal(1)),
    "min": ("min", Decimal(1)),
    "h": ("h", Decimal(1)),
    "d": ("d", Decimal(1)),
    "month": ("month", Decimal(1)),
    "year": ("y", Decimal(1)),
    "kvarh": ("kvarh", Decimal(1)),
    "kVAh": ("kvah", Decimal(1)),
    "ppm": ("ppm", Decimal(1)),
    "lx": ("lux", Decimal(1)),
    "dBm": ("dbm", Decimal(1)),
}
#: quantities with a suffix of their own; a day has 24 hours, so days are told in the tool's hours
_BY_QUANTITY = {("HCA units", ""): ("hca", Decimal(1)), ("relative humidity", "%"): ("rh", Decimal(1)),
                ("on time", "d"): ("h", Decimal(24)), ("operating time", "d"): ("h", Decimal(24))}  # fmt: skip

_VOLUME_METERS = frozenset("789")  #: categories of gas, cold and warm water
_ELECTRICITY = "1"
_REGISTERS = frozenset(("energy", "volume", "HCA units"))
#: (quantity, category or "" for all others) -> name of the register, of its value at the due date
_REGISTER_NAMES: dict[tuple[str, str], tuple[str, str]] = {
    ("energy", ""): ("total_energy_consumption", "target_energy"),
    ("volume", ""): ("total_volume", "target_volume"),
    **{("volume", category): ("total", "target") for category in _VOLUME_METERS},
    ("HCA units", ""): ("current_consumption", "consumption_at_set_date"),
}
_POWER = {_ELECTRICITY: "current_power_consumption"}
_PHASES = {"phase L1": "1", "phase L2": "2", "phase L3": "3"}
_PLAIN = {
    "volume flow": "volume_flow",
    "flow temperature": "flow_temperature",
    "return temperature": "return_temperature",
    "external temperature": "external_temperature",
    "temperature difference": "flow_return_temperature_difference",
    "relative humidity": "current_relative_humidity",
    "on time": "on_time",
    "operating time": "operating_time",
    "actuality duration": "actuality_duration",
    "remaining battery": "battery",
    "pressure": "pressure",
    "voltage": "voltage",
    "current": "current",
    "frequency": "frequency",
    "CO": "co",
    "CO2": "co2",
    "illuminance": "illuminance",
    "reactive energy": "total_reactive_energy",
    "RF level": "rf_level",
}
_TEXTS = {
    "fabrication no": "fabrication_no",
    "enhanced identification": "enhanced_id",
    "customer": "customer",
    "customer location": "location",
    "metrology (firmware) version": "firmware_version",
    "other software version": "software_version",
    "hardware version": "hardware_version",
    "model/version": "model_version",
    "parameter set id": "parameter_set",
}
_DIRECTIONS = {"backward": ("production", "backward"), "forward": ("consumption", "forward")}
_ALLOCATOR = 0x08

#: words for the status octet: states of bits 1 and 0, then single bits (OMS Volume 2 issue 5.0.1, 7.2.3 Table 17)
_STATES = ("", "BUSY", "ERROR", "ALARM")
_BITS = ((0x04, "POWER_LOW"), (0x08, "PERMANENT_ERROR"), (0x10, "TEMPORARY_ERROR"))
#: media whose word in the tool differs from that of the device type table
_MEDIA = {
    0x00: "other", 0x04: "heat", 0x06: "warm water", 0x08: "heat cost allocation", 0x0A: "cooling load volume at outlet",
    0x0B: "cooling load volume at inlet", 0x0C: "heat volume at inlet", 0x0D: "heat/cooling load", 0x16: "cold water",
    0x1A: "smoke detector", 0x1B: "room sensor",
}  # fmt: skip


def status_text(status: int) -> str:
    """The status octet in the words of the tool, ``OK`` for none; bits of the manufacturer as a number."""
    words = [_STATES[status & 3]] if status & 3 else []
    words += [name for bit, name in _BITS if status & bit]
    if status & 0xE0:
        words.append(f"UNKNOWN_0x{status & 0xE0:02X}")
    return " ".join(words) or "OK"


def _register(header: RecordHeader, category: str) -> str | None:
    names = _REGISTER_NAMES.get((header.quantity, category)) or _REGISTER_NAMES[header.quantity, ""]
    name = names[header.storage == 1]
    for qualifier, (energy, volume) in _DIRECTIONS.items():
        if qualifier in header.qualifiers:
            name = name.replace("consumption", energy) if header.quantity == "energy" else f"{name}_{volume}"
    if header.tariff:
        name += f"_tariff_{header.tariff}" if category == _ELECTRICITY else f"_tariff{header.tariff}"
    if header.storage > 1:
        name += f"_at_storage_{header.storage}"
    return name


def _measured(header: RecordHeader, category: str) -> str | None:
    if header.quantity == "power":
        name = _POWER.get(category, "power")
        if "backward" in header.qualifiers:
            name = "current_power_production" if category == _ELECTRICITY else "power_backward"
    else:
        plain = _PLAIN.get(header.quantity)
        if plain is None:
            return None
        name = plain
    for qualifier, phase in _PHASES.items():
        if qualifier in header.qualifiers:
            name += f"_at_phase_{phase}"
    if header.tariff:
        name += f"_tariff_{header.tariff}"
    if header.storage:
        name += f"_at_storage_{header.storage}"
    return name


def _suffix(header: RecordHeader) -> tuple[str, Decimal] | None:
    return _BY_QUANTITY.get((header.quantity, header.unit)) or _SUFFIXES.get(header.unit)


def field_name(header: RecordHeader, device_type: int) -> str | None:
    """The field of a record that is a number, with the suffix of its unit; None where the tool has no common name."""
    suffix = _suffix(header)
    if suffix is None or header.profile is not None or header.error is not None:
        return None
    make: Callable[[RecordHeader, str], str | None] = _register if header.quantity in _REGISTERS else _measured
    name = make(header, DEVICE_TYPES[device_type].category)
    if name is None:
        return None
    prefix = {"maximum": "max_", "minimum": "min_", "error": "at_error_"}.get(FUNCTIONS[header.function], "")
    return f"{prefix}{name}{f'_counter{header.subunit}' if header.subunit else ''}_{suffix[0]}"


def _number(record: Record) -> bytes:
    header = record.header
    text = record.number_text()
    if text is None:
        return b"null"
    suffix = _suffix(header)
    factor = Decimal(1) if suffix is None else suffix[1]
    if factor == 1:
        return text.encode()
    value = _EXACT.multiply(Decimal(text), factor)
    shortened = f"{value:f}"
    if "." in shortened:
        shortened = shortened.rstrip("0").rstrip(".")
    return shortened.encode()


def _date_field(record: Record, device_type: int) -> tuple[str, bytes] | None:
    """meter_datetime, meter_date, target_date and set_date; other dates have no common name."""
    header, content = record.header, record.content
    if header.function or header.qualifiers or header.quantity not in ("date", "date time"):
        return None
    if not isinstance(content, MeterTime) or content.type == "J":
        return None
    timed = content.hour is not None
    names = {0: "meter", 1: "set" if device_type == _ALLOCATOR else "target"}
    name = names.get(header.storage)
    if name is None or header.tariff or header.subunit:
        return None
    text = content.isoformat().replace("T", " ")
    return f"{name}_{'datetime' if timed else 'date'}", _text(text)


def _field(record: Record, device_type: int) -> tuple[str, bytes] | None:
    header = record.header
    date = _date_field(record, device_type)
    if date is not None or header.data_type == "date":
        return date
    name = _TEXTS.get(header.quantity)
    if name is not None and not header.storage and not header.qualifiers and header.error is None:
        value = record.value if isinstance(record.value, str) else record.number_text()
        return None if value is None else (name, _text(value))
    name = field_name(header, device_type)
    return None if name is None else (name, _number(record))


def view_json(telegram: Telegram, name: str, received_at: float, *, source: str = "", rssi: float | None = None) -> bytes:
    """The telegram of a known device as one JSON object of that tool; the first of two fields of a name counts.

    ``name`` is the name of the meter, ``received_at`` seconds since 1970 (UTC), ``rssi`` in dBm.
    """
    address, transport = telegram.address, telegram.transport
    assert address is not None, "the caller asks for telegrams with an address"
    fields: dict[str, bytes] = {
        "_": b'"telegram"',
        "media": _text(_MEDIA.get(address.device_type, address.medium)),
        "meter": b'"oms"',
        "name": _text(name),
        "id": _text(address.identification.lower()),
    }
    if transport is not None and transport.header != "none":
        fields["status"] = _text(status_text(transport.status))
    for record in telegram.records:
        found = _field(record, address.device_type)
        if found is not None:
            fields.setdefault(*found)
    moment = dt.datetime.fromtimestamp(received_at, dt.UTC)
    fields["timestamp"] = _text(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if source:
        fields["device"] = _text(source)
    if rssi is not None:
        fields["rssi_dbm"] = f"{rssi:.0f}".encode()
    return b"{" + b",".join(_text(key) + b":" + value for key, value in fields.items()) + b"}"
