"""The JSON answer back into a Telegram: what ``oms encode`` reads.

Layers come from their own fields. The application octets are rebuilt from the records; where
the records still say what ``payload`` says, ``payload`` is taken as it is (fillers and order
included), so that an unchanged answer encodes octet for octet.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from openmetering.codec import afl as afl_layer
from openmetering.codec import ell as ell_layer
from openmetering.codec.address import Address
from openmetering.codec.apl.format import RecordFormat
from openmetering.codec.apl.header import LVAR, RecordHeader
from openmetering.codec.apl.records import Record, make, parse
from openmetering.codec.apl.values import converter, lvar_content
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import CONFIGURATIONS, TransportHeader
from openmetering.errors import EncodeError, InputError, NotRepresentable
from openmetering.security import VERIFICATION, fill
from openmetering.tables import CONTROL_INFORMATION
from openmetering.telegram.answer import Answer, LinkAnswer, RecordAnswer, SecurityAnswer, TransportAnswer, value_json
from openmetering.telegram.model import SecurityReport, Telegram
from openmetering.telegram.opening import encrypted_length
from openmetering.wire.types import MeterTime, decode_date, encode_date

__all__ = ["telegram_of"]

#: C field of a message name where the answer names no control
_CONTROLS = {
    "SND-NKE": 0x40, "SND-UD2": 0x43, "SND-NR": 0x44, "SND-IR": 0x46, "ACC-NR": 0x47, "ACC-DMD": 0x48, "SND-UD": 0x53,
    "REQ-UD1": 0x5A, "REQ-UD2": 0x5B, "ACK": 0x00, "NACK": 0x01, "CNF-IR": 0x06, "RSP-UD": 0x08,
}  # fmt: skip


def _octets(text: str, field: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"{field} is not hexadecimal: {text!r}", code="input.hex") from None


def _control(link: LinkAnswer) -> ControlField:
    if link.control != "00" or link.message == "ACK":
        return ControlField(_octets(link.control, "link.control")[0])
    code = _CONTROLS.get(link.message)
    if code is None:
        raise InputError(f"link.message {link.message!r} is unknown; give link.control in hexadecimal")
    return ControlField(code)


def _link(link: LinkAnswer | None) -> WiredFrame | WirelessFrame:
    if link is None:
        raise InputError("the telegram has no link layer: give link.kind, link.message and link.address")
    control = _control(link)
    if link.kind == "wired":
        if link.address is None:
            return WiredFrame("single")
        kind = link.frame_format or "long"
        return WiredFrame(kind, control, int(link.address), b"" if kind == "short" else b"\x00\x00")
    if not isinstance(link.address, str):
        raise InputError("a wireless telegram needs link.address, e.g. ELS-12345678-33-03")
    return WirelessFrame(control, Address.parse(link.address), b"", link.frame_format, link.crc)


def _transport(transport: TransportAnswer | None, answer: Answer) -> TransportHeader | None:
    if transport is None:
        return None
    code = _octets(transport.ci, "transport.ci")[0]
    if transport.header == "none" and transport.mode is None:
        return TransportHeader(code)
    info = CONTROL_INFORMATION[code]
    header = transport.header if transport.header != "none" or info is None else info.header
    if header == "none" or transport.access_number is None:
        return TransportHeader(code)
    number = int(transport.configuration, 16) if transport.configuration else (transport.mode or 0) << 8
    mode = number >> 8 & 0x1F
    if transport.mode is not None and transport.mode != mode:
        raise InputError(f"transport.mode {transport.mode} contradicts transport.configuration {transport.configuration}")
    status = 0 if transport.status is None else _octets(transport.status.raw, "transport.status")[0]
    address = None
    if header == "long":
        stated = answer.address
        if stated is None:
            raise InputError("a long header needs the address of the meter")
        address = Address.parse(f"{stated.manufacturer}-{stated.identification}-{stated.version:02X}-{stated.device_type:02X}")
    extension = _octets(transport.extension, "transport.extension")
    return TransportHeader(code, header, address, transport.access_number, status, CONFIGURATIONS[mode](number), extension)


# -- records -----------------------------------------------------------------------------------


def _header(record: RecordAnswer, uplink: bool) -> RecordHeader:
    octets = _octets(record.dib, "dib") + _octets(record.vib, "vib")
    if not octets:
        raise InputError(f"the record {record.quantity!r} needs dib and vib in hexadecimal")
    return RecordFormat.parse(octets, uplink=uplink).headers[0]


def _raw_record(header: RecordHeader, record: RecordAnswer) -> Record | None:
    """The record of the raw octets, if there are any."""
    raw = _octets(record.raw, "raw")
    lvar = None if record.lvar is None else _octets(record.lvar, "lvar")[0]
    if header.data_field == LVAR:
        return None if lvar is None else Record(header, raw, lvar_content(header, lvar, raw), lvar)
    return Record(header, raw, converter(header)(raw)) if len(raw) == header.length else None


def _value(header: RecordHeader, record: RecordAnswer) -> Decimal | MeterTime | str | bytes | None:
    """The stated value as the type its record takes."""
    text = bytes(record.value).decode()
    if text == "null":
        return None
    if not text.startswith('"'):
        try:
            return Decimal(text)
        except InvalidOperation:
            raise InputError(f"value {text} is no number") from None
    value: str = msgspec.json.decode(text)
    if header.kind == "date":
        return _time(header, value)
    if header.kind == "variable" and (header.profile is not None or header.data_type in ("raw", "D")):
        return _octets(value, "value")
    return value


_DATE_TYPES = {2: "G", 3: "J", 4: "F", 6: "I"}


def _time(header: RecordHeader, text: str) -> MeterTime:
    """ISO 8601 text, with * for "every", as the data type of the record."""
    date, _, time = text.partition("T")
    kind = _DATE_TYPES[header.length or 0]
    if kind == "J":
        date, time = "*-*-*", text
    try:
        year, month, day = (-1 if part == "*" else int(part) for part in date.split("-"))
        clock = [-1 if part == "*" else int(part) for part in time.split(":")] if time else []
    except ValueError:
        raise InputError(f"{text!r} is no date; write 2024-02-29 or 2024-02-29T13:45") from None
    hour, minute, second = (*clock, None, None, None)[:3]
    made = MeterTime(kind, year, month, day, hour, minute, second)
    return made if decode_date(encode_date(made)) is not None else _refuse(text)


def _refuse(text: str) -> MeterTime:
    raise NotRepresentable(f"{text!r} is no date that a meter can send", field="value", value=text)


def _record(record: RecordAnswer, uplink: bool) -> Record:
    """The raw octets where they still say the stated value, else the value encoded anew."""
    header = _header(record, uplink)
    kept = _raw_record(header, record)
    value = _value(header, record)
    if kept is not None and (value is None or kept.value == value or value_json(kept).encode() == bytes(record.value)):
        return kept
    return make(header, value)


def _payload(answer: Answer, transport: TransportHeader | None, uplink: bool) -> bytes:
    records = [_record(record, uplink) for record in answer.records if not record.derived]
    stated = None if answer.payload is None else _octets(answer.payload, "payload")
    if stated is not None and (
        not records or [item.octets() for item in parse(stated, uplink=uplink).records] == [item.octets() for item in records]
    ):
        return stated
    if stated is not None and bytes(answer.application) != b"null":
        return stated
    block = None if answer.manufacturer_data is None else b"\x0f" + _octets(answer.manufacturer_data, "manufacturer_data")
    return _laid_out(records, block or b"", transport)


def _laid_out(records: Sequence[Record], block: bytes, transport: TransportHeader | None) -> bytes:
    """Records behind the verification octets, filled up to the announced blocks; what does not fit stays clear."""
    octets = b"".join(record.octets() for record in records) + block
    if transport is None or transport.mode not in (4, 5, 7):
        return octets
    length = encrypted_length(transport, 1 << 16)
    inside = VERIFICATION
    parts = [*(record.octets() for record in records), *([block] if block else [])]
    while parts and len(inside) + len(parts[0]) <= length:
        inside += parts.pop(0)
    return fill(inside) + b"".join(parts) if length >= 1 << 15 else inside.ljust(length, b"\x2f") + b"".join(parts)


def _report(security: SecurityAnswer | None) -> SecurityReport:
    if security is None:
        return SecurityReport()
    key = security.key
    return SecurityReport(
        security.profile,
        security.mode,
        security.state,
        security.proof,
        None if key is None else key.id,
        None if key is None else key.version,
        security.counter,
    )


def _require_content(answer: Answer) -> None:
    """Refuse answers that do not hold what the telegram carried: it must not go out as if it were empty."""
    unread = answer.security is not None and answer.security.state in ("key-missing", "failed") and answer.payload is None
    kept_raw = any(warning.code in ("nwl.unsupported", "afl.incomplete") for warning in answer.warnings)
    alone = answer.error is not None and answer.error.code == "afl.fragment_missing"
    if (unread or kept_raw or alone) and not answer.records:
        raise NotRepresentable("the answer does not hold the content of the telegram", field="payload", value=None)


def telegram_of(answer: Answer) -> Telegram:
    """A Telegram that ``encode`` writes.

    A value that was changed in the answer wins over the raw octets of its record.
    Raises InputError for what cannot be read, EncodeError for values that cannot be sent
    """
    _require_content(answer)
    link = _link(answer.link)
    parts = answer.link
    assert parts is not None
    ell = None
    if parts.ell:
        octets = _octets(parts.ell, "link.ell")
        ell, _ = ell_layer.decode(octets, 1, octets[0])
    afl = None
    if parts.afl:
        afl, _ = afl_layer.decode(_octets(parts.afl, "link.afl"), 1)
    transport = _transport(answer.transport, answer)
    info = None if transport is None else CONTROL_INFORMATION[transport.ci]
    uplink = info is None or info.direction != "down"
    if transport is None and parts.kind == "wired" and not isinstance(link, WirelessFrame) and link.kind in ("long", "control"):
        raise EncodeError("a long frame needs a transport layer", field="transport")
    telegram = Telegram(b"", link, ell, None, afl, transport, _report(answer.security), b"", uplink)
    telegram.payload = _payload(answer, transport, uplink)
    return telegram
