"""What a telegram says about its device: which alarm conditions hold, and which do not.

    status octet          abnormal condition, power low, permanent error, temporary error
    standard error flags  MM3!: water leakage, smoke (of one maker), others by name; MM2! flags of the maker
    alarm devices         status of smoke, carbon monoxide and heat alarms
    security              no key, wrong key, replay
    decoding              the telegram cannot be read

A condition that the telegram does not speak of (the status of a frame without status, flags behind a missing key)
is not judged: neither does it raise an alarm nor clear one.
Source: OMS Volume 2 issue 5.0.1, 7.2.3 Table 17 (status octet), 4.3.2.3 Table 9 (MM3!); Annex B (data points).
"""

from __future__ import annotations

from typing import Final

import msgspec

from openmetering.codec.apl.format import Plan
from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.tables import error_flags, vib_type
from openmetering.telegram import Telegram

__all__ = ["KINDS", "AlarmKind", "Finding", "judge"]


class AlarmKind(msgspec.Struct, frozen=True):
    """A kind of alarm: raised after so many telegrams in a row that say so, cleared after so many that say the contrary."""

    kind: str
    severity: str
    raise_after: int
    clear_after: int
    text: str


#: the numbers are ours: one telegram is enough where life or water is at stake, flickering states wait
KINDS: Final[dict[str, AlarmKind]] = {
    one.kind: one
    for one in (
        AlarmKind("abnormal", "warning", 1, 3, "abnormal condition or alarm"),
        AlarmKind("power-low", "warning", 2, 5, "battery near its end or supply lost"),
        AlarmKind("permanent-error", "critical", 2, 3, "permanent error of the device"),
        AlarmKind("temporary-error", "warning", 3, 3, "temporary error of the device"),
        AlarmKind("leak", "critical", 1, 3, "water leakage"),
        AlarmKind("continuous-flow", "warning", 1, 1, "water runs without a pause"),
        AlarmKind("smoke", "critical", 1, 3, "smoke"),
        AlarmKind("carbon-monoxide", "critical", 1, 3, "carbon monoxide"),
        AlarmKind("heat", "critical", 1, 3, "heat alarm"),
        AlarmKind("alarm-device", "warning", 2, 3, "state of the alarm device"),
        AlarmKind("error-flags", "warning", 2, 3, "error flags"),
        AlarmKind("manufacturer-flags", "information", 2, 3, "error flags of the manufacturer"),
        AlarmKind("key-missing", "information", 1, 1, "no key for this device"),
        AlarmKind("wrong-key", "warning", 3, 2, "the key does not open the telegrams"),
        AlarmKind("replay", "critical", 1, 20, "an old telegram was sent again"),
        AlarmKind("undecodable", "information", 5, 3, "the telegrams cannot be read"),
        AlarmKind("silent", "warning", 1, 2, "nothing is heard"),
    )
}

#: (mask, value) of the status octet -> kind
_STATUS: Final = (
    (0x03, 0x03, "abnormal"),
    (0x04, 0x04, "power-low"),
    (0x08, 0x08, "permanent-error"),
    (0x10, 0x10, "temporary-error"),
)
_STATUS_KINDS: Final = tuple(kind for _, _, kind in _STATUS)
_BY_STATUS: Final = tuple(tuple(kind for mask, value, kind in _STATUS if status & mask == value) for status in range(256))

#: names of standard error flags that have an alarm of their own
_FLAG_KINDS: Final = {"water leakage": "leak", "smoke": "smoke", "low battery": "power-low"}
#: flags that tell nothing that somebody should look at
_QUIET_FLAGS: Final = frozenset(("manual test",))

_VIB_FLAGS: Final = "MM03"
_VIB_MAKER_FLAGS: Final = "MM02"
#: bit 0 of these is the alarm itself, the others say how the device is [?]: the coding of the status is not public
_ALARM_BIT: Final = 0x01
_ALARM_DEVICES: Final = {
    "MM14": "carbon-monoxide", "MM20": "carbon-monoxide", "MM15": "smoke", "MM21": "smoke", "MM23": "heat",
}  # fmt: skip
_WATCHED: Final = frozenset((_VIB_FLAGS, _VIB_MAKER_FLAGS, *_ALARM_DEVICES))


class Finding(msgspec.Struct, frozen=True):
    """What one telegram says: conditions that hold with their value in words, and those that do not."""

    holds: dict[str, str]
    clear: tuple[str, ...]


_watched_headers: dict[RecordHeader, str] = {}
_watched_plans: dict[int, tuple[Plan, tuple[int, ...]]] = {}
_LIMIT: Final = 16_384
_SECURED: Final = frozenset(("decrypted", "already-plain"))
_SECURITY_KINDS: Final = ("key-missing", "wrong-key", "replay")


def _watched(header: RecordHeader) -> str:
    """The VIB type of a header that conditions are read from; empty for others."""
    found = _watched_headers.get(header)
    if found is None:
        kind = "" if header.error is not None else vib_type(header.vib_before_action) or ""
        found = kind if kind in _WATCHED and header.function == 0 and header.storage == 0 else ""
        if len(_watched_headers) >= _LIMIT:
            _watched_headers.clear()
        _watched_headers[header] = found
    return found


def _flagged(telegram: Telegram) -> list[tuple[str, Record]]:
    """The records that conditions are read from; telegrams whose plan has none are left alone."""
    plan = telegram.plan
    if plan is None:
        return [(kind, record) for record in telegram.records if (kind := _watched(record.header))]
    return [(_watched(telegram.records[place].header), telegram.records[place]) for place in _places(plan)]


def _places(plan: Plan) -> tuple[int, ...]:
    """Where in a plan the records stand that conditions are read from."""
    known = _watched_plans.get(id(plan))
    if known is None or known[0] is not plan:
        places = tuple(place for place, header in enumerate(plan.headers) if _watched(header))
        if len(_watched_plans) >= _LIMIT:
            _watched_plans.clear()
        known = _watched_plans[id(plan)] = (plan, places)
    return known[1]


def judge(telegram: Telegram) -> Finding | None:
    """The conditions of a telegram; None if it says nothing (part of a message, a frame to a device)."""
    if telegram.fragment or not telegram.uplink:
        return None
    transport, plan = telegram.transport, telegram.plan
    if telegram.error is None and plan is not None and transport is not None and not transport.status and not _places(plan):
        return _QUIET[telegram.security.state in _SECURED, transport.header != "none"]
    holds: dict[str, str] = {}
    clear: list[str] = []
    _security(telegram, holds, clear)
    if "replay" not in holds:
        clear.append("silent")
        if "undecodable" not in holds:
            _status(telegram, holds, clear)
    if telegram.error is None:
        for kind, record in _flagged(telegram):
            _record(telegram, kind, record, holds, clear)
    return Finding(holds, tuple(kind for kind in clear if kind not in holds))


def _quiet(secured: bool, status: bool) -> Finding:
    """The finding of a telegram with nothing to look at."""
    clear = ("undecodable", *(_SECURITY_KINDS if secured else ()), "silent", *(_STATUS_KINDS if status else ()))
    return Finding({}, clear)


#: (secured, with status) -> finding: most telegrams are like that
_QUIET: Final = {(secured, status): _quiet(secured, status) for secured in (False, True) for status in (False, True)}


def _status(telegram: Telegram, holds: dict[str, str], clear: list[str]) -> None:
    transport = telegram.transport
    if transport is None or transport.header == "none":
        return
    status = transport.status
    for kind in _BY_STATUS[status & 0xFF]:
        holds[kind] = f"status {status:02X}h"
    clear += _STATUS_KINDS


def _security(telegram: Telegram, holds: dict[str, str], clear: list[str]) -> None:
    error = telegram.error
    if error is None:
        clear.append("undecodable")
        if telegram.security.state in _SECURED:
            clear += _SECURITY_KINDS
        return
    code = error.code
    if code == "key.missing":
        holds["key-missing"] = code
    elif code.startswith("key.mismatch"):
        holds["wrong-key"] = code
        clear.append("key-missing")
    elif code == "counter.replayed":
        holds["replay"] = "" if telegram.security.counter is None else f"counter {telegram.security.counter}"
    elif telegram.security.state != "failed":
        holds["undecodable"] = code


def _record(telegram: Telegram, kind: str, record: Record, holds: dict[str, str], clear: list[str]) -> None:
    value = record.content
    if not isinstance(value, int) or value < 0:
        return
    if kind == _VIB_FLAGS:
        _standard_flags(telegram, value, holds, clear)
    elif kind == _VIB_MAKER_FLAGS:
        clear.append("manufacturer-flags")
        if value:
            holds["manufacturer-flags"] = f"{value:X}h"
    else:
        name = _ALARM_DEVICES[kind]
        clear += (name, "alarm-device")
        if value & _ALARM_BIT:
            holds[name] = f"status {value:X}h"
        if value & ~_ALARM_BIT:
            holds["alarm-device"] = f"status {value:X}h"


def _standard_flags(telegram: Telegram, value: int, holds: dict[str, str], clear: list[str]) -> None:
    address = telegram.address
    maker, device_type = ("", None) if address is None else (address.flag, address.device_type)
    clear += ("leak", "smoke", "error-flags")
    others = []
    for name in error_flags(value, manufacturer=maker, device_type=device_type):
        kind = _FLAG_KINDS.get(name)
        if kind is not None:
            holds[kind] = name
        elif name not in _QUIET_FLAGS:
            others.append(name)
    if others:
        holds["error-flags"] = ", ".join(others)
