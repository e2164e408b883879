"""Results of use cases in words and as values."""

from __future__ import annotations

from collections.abc import Iterable

from openmetering.codec.apl.records import Record
from openmetering.codec.apl.security_transfer import KeyList
from openmetering.interfaces.cli.device_call import Report, Shown
from openmetering.interfaces.cli.text import value_text
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

__all__ = [
    "cleared",
    "clock_read",
    "confirmed",
    "conformance",
    "done",
    "due_dates",
    "firmware_result",
    "image_state",
    "index",
    "index_change",
    "key_list",
    "number",
    "records",
    "registration",
    "renewed",
    "selected",
    "set_state",
    "state",
    "supervision",
]

_NAMES = {value: name for name, value in STATES.items()}
#: state -> words for a valve and for a breaker
_WORDS = {
    "valve": {0: "closed", 1: "open", 2: "released (may be opened by hand)"},
    "breaker": {0: "disconnected", 1: "connected", 2: "released (may be switched on by hand)"},
}
_NO_VERSION = 0xFF


def done(words: str) -> Report:
    """Done, nothing to show."""
    return Report((words,), {"done": words})


# -- UC-03 ------------------------------------------------------------------------------------------


def state(found: DisconnectorState, kind: str) -> Report:
    """Control state and output state of a valve or breaker."""
    words = _WORDS[kind]
    lines = [
        f"{name}: {'not told' if value is None else words.get(value, f'state {value}')}"
        for name, value in (("commanded", found.control), ("actual", found.output))
    ]
    return Report(tuple(lines), {"control": _name(found.control), "output": _name(found.output)})


def _name(value: int | None) -> str | None:
    return None if value is None else _NAMES.get(value, str(value))


def set_state(found: SetDisconnector, kind: str) -> Report:
    """What became of a command to a valve or breaker."""
    told = state(found.state, kind)
    values: Shown = {**told.values, "scheduled": found.scheduled, "proof": found.proof}
    if found.scheduled:
        return Report(("accepted; it will be executed later", *_proof(found.proof)), values)
    known = found.state.control is not None or found.state.output is not None
    return Report(("executed", *(told.lines if known else ()), *_proof(found.proof)), values)


def _proof(proof: str) -> tuple[str, ...]:
    return () if proof == "answer" else ("the answer was lost; the key counter of the device tells that it took the command",)


def confirmed(found: Confirmation, words: str) -> Report:
    """A secured command that was taken."""
    later = "accepted; it will be executed later" if found.scheduled else words
    return Report((later, *_proof(found.proof)), {"scheduled": found.scheduled, "proof": found.proof})


# -- UC-04, UC-06 -----------------------------------------------------------------------------------


def clock_read(told: str, difference: float) -> Report:
    """The time of a device, and how far it is from ours."""
    ahead = f"{abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} this computer"
    line = f"{told}, {ahead}" if abs(difference) >= 1 else f"{told}, the same as this computer"
    return Report((line,), {"time": told, "difference_seconds": round(difference)})


def supervision(found: Supervision, device_type: int) -> Report:
    """Status octet, flags and battery."""
    names = list(status_flags(found.status))
    lines = [f"status {found.status:02X}: {', '.join(names) or 'no flags'}"]
    lines += _flags(found.flags, found.standard_flags, device_type)
    if found.battery is not None:
        lines.append(f"battery: {value_text(found.battery)}")
    values = _flag_values(found.flags, found.standard_flags, device_type)
    battery = None if found.battery is None else value_text(found.battery)
    return Report(tuple(lines), {"status": found.status, "status_names": names, **values, "battery": battery})


def _flags(flags: int | None, standard: int | None, device_type: int) -> list[str]:
    lines = []
    if standard is not None:
        names = ", ".join(error_flags(standard, device_type=device_type))
        lines.append(f"standard flags (MM3!) {standard:04X}: {names or 'none'}")
    if flags is not None:
        lines.append(f"flags of the manufacturer (MM2!) {flags:04X}")
    return lines


def _flag_values(flags: int | None, standard: int | None, device_type: int) -> Shown:
    names = [] if standard is None else list(error_flags(standard, device_type=device_type))
    return {"flags": flags, "standard_flags": standard, "standard_flag_names": names}


def cleared(found: ClearedFlags, device_type: int) -> Report:
    """What is still set."""
    left = bool(found.flags or found.standard_flags)
    first = "cleared, but some are permanent or their cause is still there" if left else "cleared, nothing is set any more"
    lines = (first, *(_flags(found.flags, found.standard_flags, device_type) if left else ()), *_proof(found.proof))
    return Report(lines, {**_flag_values(found.flags, found.standard_flags, device_type), "proof": found.proof})


# -- UC-05 ------------------------------------------------------------------------------------------


def image_state(number: int) -> Report:
    """Where an image transfer is."""
    name = IMAGE_STATES.get(number, "reserved")
    return Report((f"state {number}: {name}",), {"state": number, "name": name})


def firmware_result(found: FirmwareResult) -> Report:
    """Where an update ended."""
    line = f"state {found.state}: {found.state_name}; {found.sent} blocks sent" + (", resumed" if found.resumed else "")
    values: Shown = {"state": found.state, "name": found.state_name, "sent": found.sent, "resumed": found.resumed}
    return Report((line,), values)


# -- UC-08 ------------------------------------------------------------------------------------------


def key_list(found: KeyList) -> Report:
    """Keys in use."""
    lines, rows = [], []
    for entry in found.entries:
        version = None if entry.key_version == _NO_VERSION else entry.key_version
        words = f"key {entry.key_id:02X}  version {'-' if version is None else f'{version:02X}'}"
        words += "" if entry.counter is None else f"  counter {entry.counter}"
        lines.append(f"{words}  {key_purpose(entry.key_id)}")
        row: dict[str, str | int | None] = {"key_id": entry.key_id, "version": version, "counter": entry.counter}
        rows.append(row)
    return Report(tuple(lines) or ("no keys",), {"keys": rows})


def renewed(found: Renewed) -> Report:
    """A key that was renewed."""
    line = f"key {found.key_id:02X}: version {found.new:02X} is in use (was {found.old:02X})"
    line += "; an earlier attempt was finished" if found.resumed else ""
    values: Shown = {"key_id": found.key_id, "old": found.old, "new": found.new, "resumed": found.resumed}
    return Report((line,), values)


# -- UC-00, UC-01, UC-07, UC-12, UC-14, UC-20 ---------------------------------------------------------


def conformance(found: ConformanceReport) -> Report:
    """Every function that was tried."""
    lines, rows = [], []
    for check in found.checks:
        lines.append(f"function {check.function:02X}  {'passed' if check.passed else 'FAILED'}  {check.words}".rstrip())
        row: dict[str, str | int | None] = {
            "function": f"{check.function:02X}",
            "result": "passed" if check.passed else "failed",
            "answer": check.answer.hex().upper(),
            "words": check.words,
        }
        rows.append(row)
    way = "under key 1F" if found.secured else "plain"
    lines.append(f"conformance test ({way}): {'passed' if found.passed else 'FAILED'}")
    return Report(tuple(lines), {"passed": found.passed, "secured": found.secured, "checks": rows}, found.passed)


def records(found: Iterable[Record], first: str = "") -> Report:
    """Records, one a line."""
    rows = [(record.quantity, value_text(record)) for record in found]
    width = max((len(name) for name, _ in rows), default=0)
    lines = ((first,) if first else ()) + tuple(f"{name.ljust(width)}   {value}" for name, value in rows)
    values: list[dict[str, str | int | None]] = [{"quantity": name, "value": value} for name, value in rows]
    return Report(lines or ("no data",), {"records": values})


def registration(found: Registration) -> Report:
    """A device that was registered, with its first reading."""
    number = "" if found.fabrication is None else f", fabrication number {found.fabrication}"
    told = records(found.records, f"{found.found.address} ({found.found.address.medium}) is here{number}")
    return Report(told.lines, {**told.values, "fabrication": found.fabrication})


def due_dates(found: DueDates) -> Report:
    """Last and next due date."""
    last, following = (None if date is None else date.isoformat() for date in (found.last, found.next))
    return Report((f"last due date {last or 'none'}", f"next due date {following or 'none'}"), {"last": last, "next": following})


def number(digits: str) -> Report:
    """The ownership number."""
    return Report((f"ownership number {digits}",), {"ownership_number": digits})


def selected(found: Selected) -> Report:
    """The data points of an application as they are now."""
    told = records(found.records, "the application holds now:")
    return Report((*told.lines, *_proof(found.proof)), {**told.values, "proof": found.proof})


def index(found: Record) -> Report:
    """An index of the meter behind an adapter."""
    return records((found,))


def index_change(found: IndexChange) -> Report:
    """An index that was changed."""
    told = index(found.index)
    return Report((*told.lines, *_proof(found.proof)), {**told.values, "proof": found.proof})
