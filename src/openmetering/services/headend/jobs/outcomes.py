"""Results of use cases in words and as values: what a job keeps in its ``result``.

{"good": true, "words": ["the valve or breaker is disconnected"], "values": {"control": "disconnected", ...}}
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.security_transfer import KeyList
from openmetering.protocol.operator.adapter import IndexChange
from openmetering.protocol.operator.billing import DueDates
from openmetering.protocol.operator.conformance import ConformanceReport
from openmetering.protocol.operator.disconnector import STATES, DisconnectorState, SetDisconnector
from openmetering.protocol.operator.firmware import FirmwareResult
from openmetering.protocol.operator.head_end import Confirmation
from openmetering.protocol.operator.keys import Renewed
from openmetering.protocol.operator.registration import Registration
from openmetering.protocol.operator.selection import Selected
from openmetering.protocol.operator.supervision import ClearedFlags, Supervision
from openmetering.security import key_purpose
from openmetering.tables import IMAGE_STATES, error_flags, status_flags
from openmetering.wire.types import MeterTime

__all__ = [
    "Outcome",
    "Row",
    "Values",
    "cleared",
    "clock_read",
    "confirmed",
    "conformance",
    "disconnector",
    "disconnector_set",
    "due_dates",
    "firmware",
    "image_state",
    "index",
    "index_changed",
    "key_list",
    "moved",
    "plain",
    "readings",
    "registration",
    "renewed",
    "selected",
    "supervision",
]

Row = dict[str, "str | int | None"]
Values = dict[str, "str | int | bool | tuple[str | Row, ...] | None"]

_NAMES = {value: name for name, value in STATES.items()}
_NO_VERSION = 0xFF


class Outcome(msgspec.Struct, frozen=True):
    """What came of a job. ``good`` False: the device answered, and is not as it should be; the first word says why."""

    words: tuple[str, ...]
    values: Values = {}
    good: bool = True


def plain(words: str, values: Values | None = None) -> Outcome:
    """Done."""
    return Outcome((words,), values or {})


def _proof(proof: str) -> tuple[str, ...]:
    return () if proof == "answer" else ("the answer was lost; the key counter of the device tells that it took the command",)


def confirmed(found: Confirmation, words: str, values: Values | None = None) -> Outcome:
    """A secured command that was taken."""
    later = "accepted; the device will execute it later" if found.scheduled else words
    return Outcome((later, *_proof(found.proof)), {**(values or {}), "scheduled": found.scheduled, "proof": found.proof})


# -- data ----------------------------------------------------------------------------------------------


def value_text(record: Record) -> str:
    """Value and unit of a record, or why there is none."""
    if record.error is not None:
        return record.error
    number = record.number_text()
    if number is not None:
        return f"{number} {record.unit}".rstrip()
    value = record.value
    if isinstance(value, MeterTime):
        return value.isoformat()
    return "-" if value is None else value.hex().upper() if isinstance(value, bytes) else str(value)


def _rows(records: Iterable[Record]) -> tuple[Row, ...]:
    return tuple(
        {
            "quantity": one.quantity,
            "value": value_text(one),
            "function": one.function,
            "storage": one.storage,
            "tariff": one.header.tariff,
            "subunit": one.header.subunit,
        }
        for one in records
    )


def readings(records: Iterable[Record], words: str) -> Outcome:
    """Data points."""
    rows = _rows(records)
    return Outcome((f"{words}: {len(rows)} values",), {"records": rows})


def registration(found: Registration) -> Outcome:
    """A device that was registered, with its first reading."""
    number = "" if found.fabrication is None else f", fabrication number {found.fabrication}"
    told = readings(found.records, f"{found.found.address} ({found.found.address.medium}) answers{number}")
    return Outcome(told.words, {**told.values, "fabrication": found.fabrication})


def selected(found: Selected) -> Outcome:
    """The data points of an application as they are now."""
    told = readings(found.records, "the application holds now")
    return Outcome((*told.words, *_proof(found.proof)), {**told.values, "proof": found.proof})


# -- disconnector --------------------------------------------------------------------------------------


def _name(value: int | None) -> str | None:
    return None if value is None else _NAMES.get(value, str(value))


def disconnector(found: DisconnectorState) -> Outcome:
    """Control state and output state."""
    control, output = _name(found.control), _name(found.output)
    words = f"commanded {control or 'not told'}, actual {output or 'not told'}"
    return Outcome((words,), {"control": control, "output": output})


def disconnector_set(found: SetDisconnector, wanted: str) -> Outcome:
    """What became of a command. After a lost answer the state counts: the device may have taken and refused it."""
    told = disconnector(found.state)
    values: Values = {**told.values, "scheduled": found.scheduled, "proof": found.proof}
    proof = _proof(found.proof)
    if found.scheduled:
        return Outcome((f"accepted; it will be {wanted} later", *proof), values)
    control = _name(found.state.control)
    if control not in (None, wanted):
        return Outcome((f"the device took the command, yet its control state is {control}", *proof), values, good=False)
    return Outcome((f"{wanted}: {told.words[0]}", *proof), values)


# -- clock, supervision ----------------------------------------------------------------------------------


def clock_read(told: MeterTime, now: dt.datetime) -> Outcome:
    """The time of a device and how far it is ahead of ours, naive local time both."""
    ahead = difference(told, now)
    words = "as ours" if abs(ahead) < 1 else f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    words += "" if _has_seconds(told) else ", to the minute"
    return Outcome((f"{told.isoformat()}, {words}",), {"time": told.isoformat(), "difference_seconds": round(ahead)})


def _has_seconds(told: MeterTime) -> bool:
    return getattr(told, "second", None) is not None


def difference(told: MeterTime, now: dt.datetime) -> float:
    """Seconds that a device is ahead; whole minutes where it does not tell seconds (type F)."""
    shown = dt.datetime(
        told.year or now.year,
        told.month or 1,
        told.day or 1,
        told.hour or 0,
        told.minute or 0,
        getattr(told, "second", None) or 0,
    )
    return (shown - (now if _has_seconds(told) else now.replace(second=0, microsecond=0))).total_seconds()


def supervision(found: Supervision, device_type: int) -> Outcome:
    """Status octet, flags and battery."""
    names = list(status_flags(found.status))
    words = (f"status {found.status:02X}: {', '.join(names) or 'no flags'}", *_flag_words(found.standard_flags, device_type))
    battery = None if found.battery is None else value_text(found.battery)
    flags = _flag_values(found.flags, found.standard_flags, device_type)
    return Outcome(words, {"status": found.status, "status_names": tuple(names), **flags, "battery": battery})


def _flag_words(standard: int | None, device_type: int) -> tuple[str, ...]:
    if standard is None:
        return ()
    names = ", ".join(error_flags(standard, device_type=device_type))
    return (f"standard flags (MM3!) {standard:04X}: {names or 'none'}",)


def _flag_values(flags: int | None, standard: int | None, device_type: int) -> Values:
    names = [] if standard is None else list(error_flags(standard, device_type=device_type))
    return {"flags": flags, "standard_flags": standard, "standard_flag_names": tuple(names)}


def cleared(found: ClearedFlags, device_type: int) -> Outcome:
    """What is still set."""
    left = bool(found.flags or found.standard_flags)
    first = "cleared, but some are permanent or their cause is still there" if left else "cleared, nothing is set any more"
    words = (first, *(_flag_words(found.standard_flags, device_type) if left else ()), *_proof(found.proof))
    return Outcome(words, {**_flag_values(found.flags, found.standard_flags, device_type), "proof": found.proof})


# -- firmware, keys --------------------------------------------------------------------------------------


def image_state(number: int) -> Outcome:
    """Where an image transfer is."""
    name = IMAGE_STATES.get(number, "reserved")
    return Outcome((f"state {number}: {name}",), {"state": number, "name": name})


def firmware(found: FirmwareResult) -> Outcome:
    """Where an update ended."""
    words = f"state {found.state}: {found.state_name}; {found.sent} blocks sent" + (", resumed" if found.resumed else "")
    values: Values = {"state": found.state, "name": found.state_name, "sent": found.sent, "resumed": found.resumed}
    return Outcome((words,), values)


def key_list(found: KeyList) -> Outcome:
    """Keys in use."""
    rows: list[Row] = []
    for entry in found.entries:
        version = None if entry.key_version == _NO_VERSION else entry.key_version
        rows.append({"key_id": entry.key_id, "version": version, "counter": entry.counter, "purpose": key_purpose(entry.key_id)})
    return Outcome((f"{len(rows)} keys in use",), {"keys": tuple(rows)})


def renewed(found: Renewed) -> Outcome:
    """A key that was renewed."""
    words = f"key {found.key_id:02X}: version {found.new:02X} is in use (was {found.old:02X})"
    words += "; an earlier attempt was finished" if found.resumed else ""
    return Outcome((words,), {"key_id": found.key_id, "old": found.old, "new": found.new, "resumed": found.resumed})


# -- adapters ----------------------------------------------------------------------------------------------


def index(found: Record) -> Outcome:
    """The index of the meter behind an adapter."""
    return Outcome((f"index {value_text(found)}",), {"records": _rows((found,))})


def index_changed(found: IndexChange) -> Outcome:
    """The index as it is after it was changed."""
    told = index(found.index)
    return Outcome((*told.words, *_proof(found.proof)), {**told.values, "proof": found.proof})


def moved(found: Confirmation, address: Address) -> Outcome:
    """The meter behind an adapter gets another address; until the session is over the old one counts."""
    told = confirmed(found, "accepted; it counts when the session is over", {"address": str(address)})
    return Outcome((f"new address {address}: {told.words[0]}", *told.words[1:]), told.values)


# -- billing, conformance --------------------------------------------------------------------------------


def due_dates(found: DueDates) -> Outcome:
    """Last and next due date."""
    last, following = (None if date is None else date.isoformat() for date in (found.last, found.next))
    words = f"last due date {last or 'none'}, next due date {following or 'none'}"
    return Outcome((words,), {"last": last, "next": following})


def conformance(found: ConformanceReport) -> Outcome:
    """Every function that was tried."""
    rows: list[Row] = [
        {
            "function": f"{check.function:02X}",
            "result": "passed" if check.passed else "failed",
            "answer": check.answer.hex().upper(),
            "words": check.words,
        }
        for check in found.checks
    ]
    failed = [row["function"] for row in rows if row["result"] == "failed"]
    words = f"failed: function {', '.join(map(str, failed))}" if failed else "passed"
    values: Values = {"passed": found.passed, "secured": found.secured, "checks": tuple(rows)}
    return Outcome((f"conformance test {words}",), values, good=found.passed)
