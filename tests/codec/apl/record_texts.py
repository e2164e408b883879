"""What a record says, as plain text: the form of the expectations in ``spec/apl_records.toml``."""

from __future__ import annotations

from decimal import Decimal

from openmetering.codec.apl.records import Record
from openmetering.wire.types import MeterTime


def value_text(record: Record) -> str | None:
    """Number with exactly the digits sent, ISO 8601 date, text, or octets in hexadecimal; None without value."""
    value = record.value
    if isinstance(value, MeterTime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex().upper()
    return record.number_text() if isinstance(value, Decimal) else value


def said(record: Record) -> dict[str, object]:
    """Everything a vector states about a record."""
    header = record.header
    return {
        "quantity": record.quantity,
        "unit": record.unit,
        "value": value_text(record),
        "error": record.error,
        "function": record.function,
        "storage": record.storage,
        "tariff": record.tariff,
        "subunit": record.subunit,
        "qualifiers": list(record.qualifiers),
        "final_dife": header.final_dife,
        "known": header.known,
        "action": header.action,
        "vib_before_action": header.vib_before_action.hex().upper() if header.action else None,
    }


UNSET = {
    "unit": "",
    "value": None,
    "error": None,
    "function": "instantaneous",
    "storage": 0,
    "tariff": 0,
    "subunit": 0,
    "qualifiers": [],
    "final_dife": False,
    "known": True,
    "action": None,
    "vib_before_action": None,
}


def stated(vector: dict[str, object]) -> dict[str, object]:
    """The same of a vector; ``octets`` is another name for a raw value."""
    found = {name: vector.get(name, unset) for name, unset in UNSET.items()} | {"quantity": vector["quantity"]}
    if "octets" in vector:
        found["value"] = vector["octets"]
    return found
