"""Messages of other gateways as receptions: Lobaro and Elvaco, and every line format of ``oms listen``.

    lobaro   {"i": DEVEUI, "n": 7, "q": "data", "d": {"batch": [{"timestamp": ..., "mode": "T", ...}]}}   MQTT, app-nrf91
             uplinks of a LoRaWAN network server (ChirpStack 3 and 4, The Things Stack) with the octets of a bridge:
             port 1       status of the bridge: no telegram
             port 11..99  part and number of parts (24: part 2 of 4), octets of the telegram
             port 101     flags, then time (5 octets) and telegram; cut anywhere
             port 102     as 101, with the level between time and telegram
    elvaco   SERIAL;METER;YYYY-MM-DD hh:mm:ss;NUMBER;HEX          raw reports 2001, 3001, 4001 of CMe gateways
             METER; MAN;VV;TT;SS; RSSI;MODE;HEX;                  lines of a CMeX50

Source   manuals of the makers, public: Lobaro, app-nrf91 MQTT uplinks and app-nrf9160 LoRaWAN communication; Elvaco, report
         templates 2001, 3001 and 4001 of the CMe3100, and user's manual of the CMeX50, hexdump mode
Open     in the MQTT batch of Lobaro the names of telegram and level: see ``_BATCH_OCTETS`` and ``_BATCH_LEVEL``; whether
         CRCs are in the octets of Lobaro (both are read); the time zone of Elvaco's times (``_ELVACO_ZONE``); raw reports
         of wireless meters (``_with_link``)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from openmetering.codec.link.wired import WiredFrame
from openmetering.errors import InputError
from openmetering.transport.lines import FORMATS, LineReader
from openmetering.transport.reception import BadLine, Reception, hex_octets

__all__ = ["MESSAGE_FORMATS", "LoraParts", "MessageReader"]

MESSAGE_FORMATS: Final = ("lobaro", "elvaco", *(name for name in FORMATS if name != "raw-serial"))

_BATCH_OCTETS: Final = ("telegram", "data", "raw", "frame", "payload")
_BATCH_LEVEL: Final = ("rssi", "rssi_dbm")
_ELVACO_ZONE: Final = UTC
_RADIO_MODES: Final = frozenset(("C", "T", "S", "N"))
_STATUS_PORT: Final = 1
_STAMPED: Final = {101: 5, 102: 6}  #: port -> octets in front of the telegram
_FIRST, _LAST = 1, 2
_LARGEST: Final = 4_096  #: octets of a telegram that is put together
_DEVICES: Final = 10_000


def _wrong(message: str, code: str = "input.line") -> InputError:
    return InputError(message, code=code, layer="input")


def _octets(text: str) -> bytes:
    """Octets of hexadecimal or base64 text; what is both is hexadecimal. Raises InputError (``input.hex``)."""
    plain = text.strip()
    return bytes.fromhex(plain) if re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", plain) else _base64(plain)


def _base64(text: str) -> bytes:
    """Octets of base64 text. Raises InputError (``input.hex``)."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("the octets are no base64", "input.hex") from None


# -- Lobaro: parts over LoRaWAN ------------------------------------------------------------------------


class _Lora(msgspec.Struct, frozen=True):
    """An uplink of a LoRaWAN device, whoever delivered it."""

    device: str
    port: int
    counter: int
    octets: bytes


class _Parts:
    __slots__ = ("counter", "octets", "port")

    def __init__(self, port: int, counter: int, octets: bytes) -> None:
        self.port = port
        self.counter = counter
        self.octets = octets


class LoraParts:
    """Puts the parts of telegrams together, by device and frame counter: a gap drops the telegram."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, _Parts] = {}

    def take(self, device: str, port: int, counter: int, octets: bytes) -> bytes | None:
        """The whole message, when its last part came; None until then and for status messages.

        Raises InputError (``input.line``) for a part whose predecessor is missing, and for ports of other uses
        """
        if port == _STATUS_PORT:
            return None
        if port in _STAMPED:
            if not octets:
                raise _wrong(f"LoRaWAN port {port}: no octets")
            first, last = bool(octets[0] & _FIRST), bool(octets[0] & _LAST)
            return self._join(device, port, counter, octets[1:], first=first, last=last)
        part, parts = divmod(port, 10)
        if not 1 <= part <= parts:
            raise _wrong(f"LoRaWAN port {port} carries no telegram")
        return self._join(device, parts, counter, octets, first=part == 1, last=part == parts)

    def _join(self, device: str, port: int, counter: int, octets: bytes, *, first: bool, last: bool) -> bytes | None:
        before = self._open.pop(device, None)
        if not first:
            if before is None or before.port != port or before.counter + 1 != counter:
                raise _wrong(f"a part of a telegram of {device} is missing in front of frame counter {counter}")
            octets = before.octets + octets
        if len(octets) > _LARGEST:
            raise _wrong(f"a telegram of {device} has more than {_LARGEST} octets")
        if last:
            return octets
        if len(self._open) >= _DEVICES:
            self._open.pop(next(iter(self._open)))
        self._open[device] = _Parts(port, counter, octets)
        return None


class _BatchItem(msgspec.Struct):
    timestamp: float | None = None
    mode: str = ""


class _Identity(msgspec.Struct):
    devEui: str = ""  # noqa: N815
    device_id: str = ""


class _Inner(msgspec.Struct):
    batch: list[dict[str, msgspec.Raw]] | None = None


class _UplinkMessage(msgspec.Struct):
    f_port: int = 0
    f_cnt: int = 0
    frm_payload: str = ""


class _Envelope(msgspec.Struct):
    """What the messages have in common; each kind fills its own fields."""

    i: str = ""
    q: str = ""
    d: msgspec.Raw = msgspec.Raw()
    deviceInfo: _Identity | None = None  # noqa: N815
    devEUI: str = ""  # noqa: N815
    fPort: int = 0  # noqa: N815
    fCnt: int = 0  # noqa: N815
    data: str | None = None
    end_device_ids: _Identity | None = None
    uplink_message: _UplinkMessage | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_inner = msgspec.json.Decoder(_Inner).decode


def _lora(envelope: _Envelope) -> _Lora | None:
    """The LoRaWAN uplink in a message of a network server. Raises InputError."""
    message = envelope.uplink_message
    if message is not None:
        device = envelope.end_device_ids.device_id if envelope.end_device_ids else ""
        return _Lora(device, message.f_port, message.f_cnt, _base64(message.frm_payload))
    if envelope.data is None:
        return None
    device = envelope.deviceInfo.devEui if envelope.deviceInfo else envelope.devEUI
    return _Lora(device, envelope.fPort, envelope.fCnt, _base64(envelope.data))


def _text(raw: msgspec.Raw) -> str:
    return msgspec.json.decode(raw, type=str)


# -- Elvaco --------------------------------------------------------------------------------------------


def _with_link(octets: bytes) -> bytes:
    """The frame of octets that begin with the C field: a wired one gets its frame back, a wireless one its L field."""
    if octets[0] & 0x4F == 0x08:
        if not 3 <= len(octets) <= 255:
            raise _wrong(f"{len(octets)} octets are no wired frame")
        return WiredFrame.long(octets[0], octets[1], octets[2:]).encode()
    if len(octets) > 255:
        raise _wrong(f"{len(octets)} octets are no wireless frame")
    return bytes((len(octets),)) + octets


def _elvaco_report(fields: list[str], source: str, now: float, text: str) -> Reception | None:
    """``SERIAL;METER;TIME;NUMBER;HEX``; None for the line of headings."""
    if not fields[0].isdigit():
        return None
    octets = hex_octets(fields[4])
    try:
        at = datetime.strptime(fields[2], "%Y-%m-%d %H:%M:%S").replace(tzinfo=_ELVACO_ZONE).timestamp()
    except ValueError:
        raise _wrong(f"{fields[2]!r} is no time of the form YYYY-MM-DD hh:mm:ss") from None
    frame = _with_link(octets)
    wired = frame[:1] == b"\x68"
    return Reception(
        frame, at, source, mode="wired" if wired else None, crc=True if wired else None, line=text, address_hint=fields[1]
    )


def _elvaco_line(fields: list[str], source: str, now: float, text: str) -> Reception:
    """``METER; MAN;VV;TT;SS; RSSI;MODE;HEX``: the hexdump of a CMeX50 with telegram, levels in dBm."""
    level = re.fullmatch(r"-\d{1,3}", fields[5])
    mode = fields[6][:1].upper()
    return Reception(
        hex_octets(fields[7]),
        now,
        source,
        rssi_dbm=float(level[0]) if level else None,
        mode=mode if mode in _RADIO_MODES else None,
        line=text,
        address_hint=fields[0],
    )


_ELVACO: Final[dict[int, Callable[[list[str], str, float, str], Reception | None]]] = {5: _elvaco_report, 8: _elvaco_line}


# -- messages -------------------------------------------------------------------------------------------


class MessageReader:
    """Reads messages of one inlet; keeps the parts of telegrams that are not whole yet.

    Raises InputError (``input.format``) for a format that is none
    """

    __slots__ = ("_lines", "_number", "_parts", "_read", "format", "source")

    def __init__(self, fmt: str, source: str) -> None:
        if fmt not in MESSAGE_FORMATS:
            raise _wrong(f"{fmt!r} is no format of messages; choose one of {', '.join(MESSAGE_FORMATS)}", "input.format")
        self.format = fmt
        self.source = source
        self._number = 0
        self._parts = LoraParts()
        self._lines = LineReader("auto" if fmt in _MESSAGES else fmt, source)
        self._read = _MESSAGES.get(fmt, MessageReader._by_line)

    def read(self, message: bytes, now: float) -> list[Reception | BadLine]:
        """Everything in a message. Raises nothing."""
        self._number += 1
        try:
            return self._read(self, message, now)
        except InputError as error:
            return [self._bad(message.decode("utf-8", "replace"), error)]
        except msgspec.MsgspecError as error:
            return [self._bad(message.decode("utf-8", "replace"), _wrong(f"no message of this format: {error}"))]

    def _bad(self, text: str, error: InputError) -> BadLine:
        return BadLine(self._number, text[:1_000], error, self.source)

    def _by_line(self, message: bytes, now: float) -> list[Reception | BadLine]:
        return self._lines.feed(message + b"\n", now)

    def _elvaco(self, message: bytes, now: float) -> list[Reception | BadLine]:
        found: list[Reception | BadLine] = []
        for text in message.decode("utf-8", "replace").splitlines():
            fields = [field.strip() for field in text.strip().rstrip(";").split(";")]
            if fields == [""]:
                continue
            reader = _ELVACO.get(len(fields))
            try:
                if reader is None:
                    raise _wrong(f"a line of Elvaco has 5 or 8 fields between semicolons, this one has {len(fields)}")
                item = reader(fields, self.source, now, text)
            except InputError as error:
                found.append(self._bad(text, error))
            else:
                found += [] if item is None else [item]
        return found

    def _lobaro(self, message: bytes, now: float) -> list[Reception | BadLine]:
        envelope = _decode_envelope(message)
        if bytes(envelope.d):
            inner = _decode_inner(envelope.d) if envelope.q in ("", "data") else _Inner()
            return [self._batch_item(row, envelope.i, now) for row in inner.batch or ()]
        uplink = _lora(envelope)
        if uplink is None:
            raise _wrong("no message of a Lobaro gateway and no LoRaWAN uplink")
        whole = self._parts.take(uplink.device, uplink.port, uplink.counter, uplink.octets)
        return [] if whole is None else [self._stamped(whole, uplink, now)]

    def _stamped(self, whole: bytes, uplink: _Lora, now: float) -> Reception:
        """A whole message: time and level in front of the telegram, by port.

        Octets   0..4  seconds since 1970, big endian (ports 101 and 102)
                 5     level, its amount in dBm (port 102)
                 ..    the telegram, from the L field on
        Raises   InputError (``input.line``) if nothing is behind them
        """
        head = _STAMPED.get(uplink.port, 0)
        if len(whole) <= head:
            raise _wrong(f"{len(whole)} octets on LoRaWAN port {uplink.port} hold no telegram")
        at = float(int.from_bytes(whole[:5], "big")) if head else now
        level = -float(whole[5]) if head == 6 else None
        return Reception(whole[head:], at, self.source, rssi_dbm=level, address_hint=uplink.device or None)

    def _batch_item(self, row: dict[str, msgspec.Raw], device: str, now: float) -> Reception | BadLine:
        try:
            known = msgspec.convert(
                {key: msgspec.json.decode(row[key]) for key in ("timestamp", "mode") if key in row}, _BatchItem
            )
            name = next((name for name in _BATCH_OCTETS if name in row), None)
            if name is None:
                raise _wrong(f"an item of the batch has no telegram; looked for {', '.join(_BATCH_OCTETS)}")
            mode = known.mode[:1].upper()
            if mode and mode not in _RADIO_MODES:
                raise _wrong(f"mode {known.mode} is no wireless M-Bus", "input.mode")
            level = next((msgspec.json.decode(row[name], type=float) for name in _BATCH_LEVEL if name in row), None)
            octets = _octets(_text(row[name]))
        except InputError as error:
            return self._bad(str(sorted(row)), error)
        except msgspec.MsgspecError as error:
            return self._bad(str(sorted(row)), _wrong(f"an item of the batch cannot be read: {error}"))
        at = now if known.timestamp is None else known.timestamp
        return Reception(octets, at, self.source, rssi_dbm=level, mode=mode or None, address_hint=device or None)


_MESSAGES: Final[dict[str, Callable[[MessageReader, bytes, float], list[Reception | BadLine]]]] = {
    "lobaro": MessageReader._lobaro,
    "elvaco": MessageReader._elvaco,
}
