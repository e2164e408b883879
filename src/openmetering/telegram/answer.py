"""The JSON answer: one object per telegram, written without an intermediate tree.

Text that is the same for all records of a header is made once per header and device type; a
record then costs one number and a join. ``Answer`` is the same shape as a type, for readers.
Numbers carry exactly the digits of the telegram.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import cache, lru_cache

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.format import Plan
from openmetering.codec.apl.header import FUNCTIONS, RecordHeader
from openmetering.codec.apl.profile import ProfilePoint
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.values import number_text
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.tpl import TransportHeader, rssi_dbm
from openmetering.errors import Fault
from openmetering.tables import data_point, obis, status_flags, vib_type
from openmetering.telegram.model import SecurityReport, Telegram
from openmetering.telegram.sheet import Sheet, compile_sheet, digits_of
from openmetering.wire.types import MeterTime

__all__ = [
    "AddressAnswer",
    "Answer",
    "KeyAnswer",
    "LinkAnswer",
    "RecordAnswer",
    "SecurityAnswer",
    "StatusAnswer",
    "TransportAnswer",
    "answer",
    "answer_json",
    "describe",
    "face_parts",
    "make_sheet",
    "record_json",
    "sheets_of",
    "status_text",
]

_text = msgspec.json.Encoder().encode


# -- the shape ------------------------------------------------------------------------------


class AddressAnswer(msgspec.Struct, frozen=True):
    """Address of the application device; ``din`` is the DIN 43863-5 number where there is one."""

    manufacturer: str
    identification: str
    version: int
    device_type: int
    medium: str
    din: str | None = None


class LinkAnswer(msgspec.Struct, frozen=True):
    """Link layer; ``address`` is the primary address (wired) or the sender as text (wireless)."""

    kind: str
    frame_format: str | None
    crc: bool
    message: str
    address: str | int | None
    control: str = "00"
    ell: str | None = None
    afl: str | None = None


class StatusAnswer(msgspec.Struct, frozen=True):
    """Status octet in hexadecimal and the names of its bits; a gateway's octet carries a reception level."""

    raw: str
    flags: tuple[str, ...] = ()
    rssi_dbm: int | None = None


class TransportAnswer(msgspec.Struct, frozen=True):
    """Transport layer; in hexadecimal ``configuration`` as a number (mode in the upper octet), ``extension`` as on the wire."""

    ci: str
    access_number: int | None
    status: StatusAnswer | None
    mode: int | None
    header: str = "none"
    configuration: str = ""
    extension: str = ""


class KeyAnswer(msgspec.Struct, frozen=True):
    """Which key opened the telegram."""

    id: int | None
    version: int | None


class SecurityAnswer(msgspec.Struct, frozen=True):
    """See ``SecurityReport``."""

    profile: str | None
    mode: int | None
    state: str
    proof: str | None
    key: KeyAnswer | None
    counter: int | None


class RecordAnswer(msgspec.Struct, frozen=True):
    """One data point; ``value`` is a JSON number, a text or null.

    ``lvar`` is the length octet of a record of variable length. ``time`` and ``derived`` stand in
    the points of expanded compact profiles only.
    """

    quantity: str
    value: msgspec.Raw
    unit: str
    function: str = "instantaneous"
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    qualifiers: tuple[str, ...] = ()
    obis: str | None = None
    tag: str | None = None
    dib: str = ""
    vib: str = ""
    raw: str = ""
    error: str | None = None
    lvar: str | None = None
    time: str | None = None
    derived: bool = False


class Answer(msgspec.Struct, frozen=True):
    """One decoded telegram as JSON; ``payload`` are the application octets in the clear."""

    ok: bool
    error: Fault | None = None
    warnings: tuple[Fault, ...] = ()
    telegram: str = ""
    link: LinkAnswer | None = None
    address: AddressAnswer | None = None
    transport: TransportAnswer | None = None
    security: SecurityAnswer | None = None
    records: tuple[RecordAnswer, ...] = ()
    manufacturer_data: str | None = None
    payload: str | None = None
    application: msgspec.Raw = msgspec.Raw(b"null")


# -- pieces that repeat -----------------------------------------------------------------------


class _Piece:
    """The constant text around the value and the raw octets of records of one header."""

    __slots__ = ("behind", "exponent", "front", "invalid", "plain", "raw")

    def __init__(self, header: RecordHeader, device_type: int | None, averaging: bool) -> None:
        tag, codes = describe(header, device_type, averaging=averaging)
        text = "null" if tag is None else f'"{tag}"'
        code = f'"{" ".join(codes)}"' if codes else "null"
        quantity, unit = _text(header.quantity).decode(), _text(header.unit).decode()
        qualifiers = _text(header.qualifiers).decode()
        self.front = f'{{"quantity":{quantity},"value":'
        self.behind = (
            f',"unit":{unit},"function":"{FUNCTIONS[header.function]}","storage":{header.storage},"tariff":{header.tariff},'
            f'"subunit":{header.subunit},"qualifiers":{qualifiers},"obis":{code},"tag":{text},'
            f'"dib":"{header.dib.hex().upper()}","vib":"{header.vib.hex().upper()}","raw":"'
        )
        self.exponent = header.exponent
        self.invalid = header.invalid
        self.plain = header.error is None and not header.scale2 and header.addend is None


def describe(header: RecordHeader, device_type: int | None, *, averaging: bool = False) -> tuple[str | None, tuple[str, ...]]:
    """OMS data point tag and OBIS codes of a record of this header (Annex B and Annex A).

    ``averaging`` says that the telegram carries an averaging duration, which selects the OBIS codes of gas flow.
    """
    if device_type is None or header.error is not None:
        return None, ()
    kind = vib_type(header.vib_before_action)
    if kind is None:
        return None, ()
    place = {"storage": header.storage, "tariff": header.tariff, "subunit": header.subunit}
    tag = data_point(
        device_type, vib_type=kind, data_field=header.data_field, function=header.function, final_dife=header.final_dife, **place
    )
    if tag is None:
        return None, ()
    return tag, obis(device_type, tag, averaging=averaging, **place)


_PIECES: dict[tuple[RecordHeader, int | None, bool], _Piece] = {}
_PIECE_LIMIT = 32768
_GAS = 0x03


def _piece(header: RecordHeader, device_type: int | None, averaging: bool) -> _Piece:
    name = (header, device_type, averaging)
    piece = _PIECES.get(name)
    if piece is None:
        if len(_PIECES) >= _PIECE_LIMIT:
            _PIECES.clear()
        piece = _PIECES[name] = _Piece(header, device_type, averaging)
    return piece


def _averaging(headers: Iterable[RecordHeader], device_type: int | None) -> bool:
    """True if a gas meter's telegram carries an averaging duration (VIF 70..73)."""
    return device_type == _GAS and any(header.vib[0] & 0x7C == 0x70 and len(header.vib) == 1 for header in headers)


def value_json(record: Record) -> str:
    """The value of a record as JSON text."""
    value = record.value
    if value is None:
        return "null"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, MeterTime):
        return f'"{value.isoformat()}"'
    return f'"{value.hex().upper()}"' if isinstance(value, bytes) else _text(value).decode()


def record_json(record: Record, device_type: int | None = None, *, averaging: bool = False) -> str:
    """One record as JSON text, without its closing brace: callers may append keys."""
    piece = _piece(record.header, device_type, averaging)
    content = record.content
    if content.__class__ is int and piece.plain and content != piece.invalid:
        return f'{piece.front}{number_text(content, piece.exponent)}{piece.behind}{record.raw.hex().upper()}","error":null'
    error = record.error
    fault = "null" if error is None else f'"{error}"'
    if record.lvar is not None:
        fault += f',"lvar":"{record.lvar:02X}"'
    return f'{piece.front}{value_json(record)}{piece.behind}{record.raw.hex().upper()}","error":{fault}'


def _records(telegram: Telegram, device_type: int | None) -> str:
    records = telegram.records
    averaging = _averaging([record.header for record in records], device_type)
    texts = [record_json(record, device_type, averaging=averaging) + "}" for record in records]
    for series in telegram.profiles:
        for point in series.points:
            texts += _point(point, device_type)
    return ",".join(texts)


def _point(point: ProfilePoint, device_type: int | None) -> list[str]:
    """The records of one expanded profile point: its value, its date, and the element as it was sent.

    Source   OMS Volume 2 5.0.1 Annex G: a profile stands for single points with dates of their own
    """
    record = point.record
    if record is None:
        return []
    time = "null" if point.time is None else f'"{point.time}"'
    mark = f',"time":{time},"derived":true}}'
    texts = [record_json(record, device_type) + mark]
    header = record.header
    function = FUNCTIONS[header.function]
    place = f'"function":"{function}","storage":{header.storage},"tariff":{header.tariff},"subunit":{header.subunit}'
    behind = f'"obis":null,"tag":null,"dib":"","vib":"","raw":"{point.raw.hex().upper()}","error":null{mark}'
    if point.time is not None:
        quantity = "date time" if "T" in point.time else "date"
        texts.append(f'{{"quantity":"{quantity}","value":{time},"unit":"",{place},"qualifiers":[],{behind}')
    if point.change is not None:
        quantity, unit = _text(header.quantity).decode(), _text(header.unit).decode()
        texts.append(
            f'{{"quantity":{quantity},"value":{point.change:f},"unit":{unit},{place},'
            f'"qualifiers":["change in the interval"],{behind}'
        )
    return texts


# -- the rest of the object ------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def _address(address: Address) -> str:
    return _text(
        AddressAnswer(
            address.manufacturer_text, address.identification, address.version, address.device_type, address.medium, address.din
        )
    ).decode()


@lru_cache(maxsize=65536)
def _wireless_link(kind: int, message: str, address: Address, frame_format: str | None, crc: bool) -> str:
    written = "null" if frame_format is None else f'"{frame_format}"'
    checked = "true" if crc else "false"
    return (
        f'{{"kind":"wireless","frame_format":{written},"crc":{checked},"message":"{message}","address":"{address}",'
        f'"control":"{kind:02X}"'
    )


def _link(telegram: Telegram) -> str:
    link = telegram.link
    if link is None:
        return "null"
    if isinstance(link, WiredFrame):
        address = "null" if link.kind == "single" else str(link.address)
        text = (
            f'{{"kind":"wired","frame_format":"{link.kind}","crc":true,"message":"{link.message}","address":{address},'
            f'"control":"{link.control:02X}"'
        )
    else:
        text = _wireless_link(int(link.control), link.message, link.address, link.frame_format, link.crc)
    ell, afl = telegram.ell, telegram.afl
    lower = "null" if ell is None else f'"{ell.encode().hex().upper()}"'
    upper = "null" if afl is None else f'"{afl.encode().hex().upper()}"'
    return f'{text},"ell":{lower},"afl":{upper}}}'


@lru_cache(maxsize=512)
def _status(status: int, uplink: bool) -> str:
    if uplink:
        return _text(StatusAnswer(f"{status:02X}", status_flags(status))).decode()
    return _text(StatusAnswer(f"{status:02X}", (), rssi_dbm(status))).decode()


def _transport(transport: TransportHeader | None, uplink: bool) -> str:
    if transport is None:
        return "null"
    if transport.access_number is None:
        return (
            f'{{"ci":"{transport.ci:02X}","access_number":null,"status":null,"mode":null,"header":"none",'
            '"configuration":"","extension":""}'
        )
    mode = "null" if transport.header == "none" else str(transport.mode)
    configuration = int(transport.configuration)
    return (
        f'{{"ci":"{transport.ci:02X}","access_number":{transport.access_number},'
        f'"status":{_status(transport.status, uplink)},"mode":{mode},'
        f'"header":"{transport.header}","configuration":"{configuration:04X}",'
        f'"extension":"{transport.extension.hex().upper()}"}}'
    )


@lru_cache(maxsize=4096)
def _security(report: SecurityReport) -> str:
    key = KeyAnswer(report.key_id, report.key_version) if report.state in ("decrypted", "plain") and report.proof else None
    return _text(SecurityAnswer(report.profile, report.mode, report.state, report.proof, key, report.counter)).decode()


def _application(telegram: Telegram) -> str:
    content = telegram.application
    if content is None:
        return "null"
    plain = msgspec.to_builtins(content, builtin_types=(bytes,), enc_hook=_plain)
    plain["type"] = type(content).__name__
    return _text(_hexadecimal(plain)).decode()


def _plain(value: object) -> object:
    """What msgspec does not know: bit fields are numbers, everything else its text."""
    return int(value) if isinstance(value, int) else str(value)


def _hexadecimal(value: object) -> object:
    """Octets as hexadecimal text, at any depth."""
    if isinstance(value, dict):
        return {name: _hexadecimal(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hexadecimal(item) for item in value]
    return value.hex().upper() if isinstance(value, bytes) else value


def _octets(octets: bytes | None) -> str:
    return "null" if octets is None else f'"{octets.hex().upper()}"'


def _front(telegram: Telegram) -> str:
    """The answer up to its records."""
    error, address, warnings = telegram.error, telegram.address, telegram.warnings
    return (
        f'{{"ok":{"true" if error is None else "false"},"error":{"null" if error is None else _text(error).decode()},'
        f'"warnings":{_text(warnings).decode() if warnings else "[]"},"telegram":"{telegram.frame.hex().upper()}",'
        f'"link":{_link(telegram)},"address":{"null" if address is None else _address(address)},'
        f'"transport":{_transport(telegram.transport, telegram.uplink)},"security":{_security(telegram.security)},"records":['
    )


def answer_json(telegram: Telegram) -> bytes:
    """The answer for a telegram: one JSON object, no line end."""
    device_type = None if telegram.address is None else telegram.address.device_type
    records = _from_sheet(telegram, device_type)
    if records is None:
        records = _records(telegram, device_type).encode()
    behind = (
        f'],"manufacturer_data":{_octets(telegram.manufacturer_data)},"payload":{_octets(telegram.payload)},'
        f'"application":{_application(telegram)}}}'
    )
    return b"".join((_front(telegram).encode(), records, behind.encode()))


# -- templates for telegrams that a plan has read ---------------------------------------------------

_SHEET_LIMIT = 4096
_sheets: dict[int | None, dict[Plan, Sheet | None]] = {}


def sheets_of(device_type: int | None) -> dict[Plan, Sheet | None]:
    """The kept sheets for a device type."""
    return _sheets.setdefault(device_type, {})


def make_sheet(plan: Plan, device_type: int | None) -> Sheet | None:
    """Compile and keep the sheet of a plan for a device type; None for plans with compact profiles."""
    if sum(map(len, _sheets.values())) >= _SHEET_LIMIT:
        for kept in _sheets.values():
            kept.clear()
    sheet = None
    if not plan.profiles:
        averaging = _averaging(plan.headers, device_type)
        pieces = [_piece(header, device_type, averaging) for header in plan.headers]
        texts = [(piece.front, piece.behind) if piece.plain else None for piece in pieces]
        sheet = compile_sheet(plan, texts, lambda record: f"{record_json(record, device_type, averaging=averaging)}}}".encode())
    sheets_of(device_type)[plan] = sheet
    return sheet


def _from_sheet(telegram: Telegram, device_type: int | None) -> bytes | None:
    """The text of all records by the sheet of the plan, None without plan or where a value is odd."""
    plan, payload = telegram.plan, telegram.payload
    if plan is None or payload is None or telegram.read_records is not None:
        return None
    kept = sheets_of(device_type)
    sheet = kept[plan] if plan in kept else make_sheet(plan, device_type)
    return None if sheet is None else sheet(payload, digits_of(payload))


def face_parts(telegram: Telegram) -> tuple[bytes, ...]:
    """Everything in front of the records, cut where telegrams of the same meter differ from this one.

    Between the parts stand the frame in hexadecimal, the access number of the ELL in hexadecimal
    (an empty text without ELL), the access number of the transport layer and ``status_text``.
    """
    text, transport, ell = _front(telegram), telegram.transport, telegram.ell
    assert transport is not None
    before, _, text = text.partition(f'"{telegram.frame.hex().upper()}"')
    parts = [before + '"']
    link, access = '"', ""
    if ell is not None:
        sent = ell.encode().hex().upper()
        front, _, text = text.partition(f'"ell":"{sent}"')
        link, access = f'"{front}"ell":"{sent[:4]}', f'{sent[6:]}"'
    written = _status(transport.status, telegram.uplink)
    front, _, text = text.partition(f'"access_number":{transport.access_number},"status":{written}')
    parts += [link, f'{access}{front}"access_number":', ',"status":', text]
    return tuple(part.encode() for part in parts)


@cache
def status_text(status: int) -> bytes:
    """The text of the status octet of a meter."""
    return _status(status, True).encode()


_decode = msgspec.json.Decoder(Answer).decode


def answer(telegram: Telegram) -> Answer:
    """The answer as a typed object."""
    return _decode(answer_json(telegram))
