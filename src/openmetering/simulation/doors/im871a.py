"""The host interface of a simulated iM871A stick (IMST, WM-Bus HCI), seen from the stick.

    A5  flags|endpoint  message  N  payload(N)  [timestamp 4]  [RSSI 1]  [CRC 2, little endian]

    host     01.01 ping         01.03 set configuration   01.05 get configuration   01.07 reset   01.09 factory settings
             01.0B get mode     01.0D set mode            01.0F device information
             02.01 send a frame (payload from the C field)   02.04 send data (payload from the CI field)
    stick    the message number one higher;   02.03 a frame was heard (payload from the C field, N is its L field)

    flags    80h CRC, 40h RSSI, 20h timestamp present; endpoint 1 device management, 2 radio link

Messages that are not listed here, and messages with a wrong CRC, get no answer. Source: IMST WM-Bus HCI as used by
wmbusmeters; the status octets of answers and the settings after delivery are from general knowledge, see ``_STATUS``.
"""

from __future__ import annotations

from collections.abc import Callable

from openmetering.simulation.doors.port import AirFrame, AirOrder
from openmetering.transport.sticks.base import crc16_ccitt

__all__ = ["SimulatedIm871a"]

_START = 0xA5
_CRC, _RSSI, _TIMESTAMP = 0x80, 0x40, 0x20
_DEVICE, _RADIO = 1, 2
_HEARD = 0x03
_LARGEST = 250  #: octets of one request to send
_STATUS = {True: b"\x00", False: b"\x01"}  #: status octet of an answer: done, refused
_MODULE, _FIRMWARE, _HCI = 0x33, 0x14, 0x02  #: iM871A, firmware that receives C and T, version of the interface

#: configuration: (bit, name, octets), in the order of the message; the first eight belong to information flag 1
_FIELDS = (
    (0x01, "device mode", 1),
    (0x02, "link mode", 1),
    (0x04, "C field", 1),
    (0x08, "manufacturer", 2),
    (0x10, "device id", 4),
    (0x20, "version", 1),
    (0x40, "device type", 1),
    (0x80, "channel", 1),
    (0x01, "power", 1),
    (0x02, "data rate", 1),
    (0x04, "receive window", 1),
    (0x08, "power saving", 1),
    (0x10, "rssi", 1),
    (0x20, "timestamp", 1),
    (0x40, "led", 1),
    (0x80, "rtc", 1),
)
#: link mode -> radio modes it hears; the first one is the one it sends in
_HEARS = {0: "S", 1: "S", 2: "S", 3: "T", 4: "T", 5: "R", 6: "C", 7: "C", 8: "C", 9: "C", 10: "CT"}
_LISTEN_ONLY = 10
_LINK_MODE = 1  #: position in ``_FIELDS``


class SimulatedIm871a:
    """One stick: its configuration and what it makes of octets.

    ``number``  4 octets, what it says it is and, for data it frames itself, its identification number
    """

    def __init__(self, number: int = 0x12345678) -> None:
        self.number = number
        self._stored = self._factory()
        self._configuration = dict(self._stored)
        self._mode = 0
        self._buffer = b""
        self._messages: dict[tuple[int, int], Callable[[bytes], list[bytes | AirOrder]]] = {
            (_DEVICE, 0x01): lambda payload: [self._answer(_DEVICE, 0x02)],
            (_DEVICE, 0x03): self._set_configuration,
            (_DEVICE, 0x05): lambda payload: [self._answer(_DEVICE, 0x06, self._configured())],
            (_DEVICE, 0x07): self._restart,
            (_DEVICE, 0x09): self._restore,
            (_DEVICE, 0x0B): lambda payload: [self._answer(_DEVICE, 0x0C, bytes((self._mode,)))],
            (_DEVICE, 0x0D): self._set_mode,
            (_DEVICE, 0x0F): lambda payload: [self._answer(_DEVICE, 0x10, self._information())],
            (_RADIO, 0x01): lambda payload: self._send(0x02, payload),
            (_RADIO, 0x04): lambda payload: self._send(0x05, self._own_header() + payload),
        }

    @property
    def hears(self) -> str:
        """Letters of the radio modes it listens to."""
        return _HEARS.get(self._configuration["link mode"][0], "")

    # -- the interface of the door -----------------------------------------------------------------

    def heard(self, frame: AirFrame) -> bytes:
        """Message 02.03 of a frame; nothing if the link mode does not hear it.

        Octets   0     A5;  1  flags and endpoint;  2  03;  3  L field
                 4..   the frame from the C field on
                 then  time stamp (seconds, 4 octets little endian) and RSSI if they are switched on, CRC
        """
        if frame.mode not in self.hears:
            return b""
        flags, tail = 0, b""
        if self._configuration["timestamp"] != b"\x00":
            flags, tail = flags | _TIMESTAMP, tail + (int(frame.time) & 0xFFFFFFFF).to_bytes(4, "little")
        if self._configuration["rssi"] != b"\x00":
            flags, tail = flags | _RSSI, tail + bytes((_raw_level(frame.rssi),))
        return self._message(flags | _RADIO, _HEARD, frame.frame[1:], tail)

    def feed(self, octets: bytes) -> list[bytes | AirOrder]:
        """Octets of the host; what is no message is skipped."""
        self._buffer += octets
        out: list[bytes | AirOrder] = []
        while self._buffer:
            size = _measure(self._buffer)
            if size == 0:
                break
            if size < 0:
                self._buffer = self._buffer[1:]
                continue
            message, self._buffer = self._buffer[:size], self._buffer[size:]
            action = self._messages.get((message[1] & 0x0F, message[2]))
            if action is not None:
                out += action(message[4 : 4 + message[3]])
        return out

    def reset(self) -> None:
        """The host has gone."""
        self._buffer = b""

    # -- messages ----------------------------------------------------------------------------------

    def _message(self, flags: int, message: int, payload: bytes, tail: bytes = b"") -> bytes:
        body = bytes((flags | _CRC, message, len(payload))) + payload + tail
        return bytes((_START,)) + body + crc16_ccitt(body).to_bytes(2, "little")

    def _answer(self, endpoint: int, message: int, payload: bytes = b"") -> bytes:
        return self._message(endpoint, message, payload)

    def _information(self) -> bytes:
        """Octets   0 module type;  1 mode;  2 firmware;  3 version of the interface;  4..7 number, little endian."""
        return bytes((_MODULE, self._mode, _FIRMWARE, _HCI)) + self.number.to_bytes(4, "little")

    def _factory(self) -> dict[str, bytes]:
        found = {name: bytes(size) for _, name, size in _FIELDS}
        found["link mode"] = b"\x03"
        found["C field"] = b"\x44"
        found["manufacturer"] = (0x25B3).to_bytes(2, "little")  # IMS
        found["device id"] = self.number.to_bytes(4, "little")
        found["device type"] = b"\x31"
        return found

    def _configured(self) -> bytes:
        """All fields with their information flags, as in a message that sets them."""
        first = b"".join(self._configuration[name] for _, name, _ in _FIELDS[:8])
        second = b"".join(self._configuration[name] for _, name, _ in _FIELDS[8:])
        return b"\xff" + first + b"\xff" + second

    def _set_configuration(self, payload: bytes) -> list[bytes | AirOrder]:
        """Octets   0 store;  1 information flags 1, fields;  then information flags 2, fields. Refused as a whole if cut."""
        wanted = _read_configuration(payload)
        good = wanted is not None and wanted.get("link mode", b"\x00")[0] in _HEARS
        if wanted is not None and good:
            self._configuration.update(wanted)
            if payload[0]:
                self._stored = dict(self._configuration)
        return [self._answer(_DEVICE, 0x04, _STATUS[good])]

    def _restart(self, payload: bytes) -> list[bytes | AirOrder]:
        self._configuration = dict(self._stored)
        self._mode = 0
        return [self._answer(_DEVICE, 0x08, _STATUS[True])]

    def _restore(self, payload: bytes) -> list[bytes | AirOrder]:
        self._stored = self._factory()
        self._configuration = dict(self._stored)
        return [self._answer(_DEVICE, 0x0A, _STATUS[True])]

    def _set_mode(self, payload: bytes) -> list[bytes | AirOrder]:
        good = len(payload) == 1
        if good:
            self._mode = payload[0]
        return [self._answer(_DEVICE, 0x0E, _STATUS[good])]

    def _own_header(self) -> bytes:
        """C field and own address: manufacturer, number, version, device type."""
        names = ("C field", "manufacturer", "device id", "version", "device type")
        return b"".join(self._configuration[name] for name in names)

    def _send(self, answer: int, content: bytes) -> list[bytes | AirOrder]:
        good = 10 <= len(content) <= _LARGEST and self._configuration["link mode"][0] != _LISTEN_ONLY
        said = self._answer(_RADIO, answer, _STATUS[good])
        return [AirOrder(bytes((len(content),)) + content, self.hears[0]), said] if good else [said]


def _read_configuration(payload: bytes) -> dict[str, bytes] | None:
    """The fields that a message sets; None if it is cut or has octets too many."""
    found: dict[str, bytes] = {}
    at = 1
    for fields in (_FIELDS[:8], _FIELDS[8:]):
        if at >= len(payload):
            return None
        flags, at = payload[at], at + 1
        for bit, name, size in fields:
            if flags & bit:
                found[name], at = payload[at : at + size], at + size
    return found if at == len(payload) else None


def _measure(buffer: bytes) -> int:
    """Octets of the message at the start of the buffer: 0 if more are needed, -1 if none starts there."""
    if buffer[0] != _START:
        return -1
    if len(buffer) < 4:
        return 0 if len(buffer) < 2 or _plausible(buffer[1]) else -1
    flags = buffer[1]
    if not _plausible(flags):
        return -1
    size = 4 + buffer[3] + (4 if flags & _TIMESTAMP else 0) + (1 if flags & _RSSI else 0) + (2 if flags & _CRC else 0)
    if len(buffer) < size:
        return 0
    if flags & _CRC and crc16_ccitt(buffer[1 : size - 2]).to_bytes(2, "little") != buffer[size - 2 : size]:
        return -1
    return size


def _plausible(flags: int) -> bool:
    return not flags & 0x10 and 1 <= flags & 0x0F <= 4


def _raw_level(rssi: float | None) -> int:
    """The octet of a level in dBm: 45 + 2 (level + 100), 0..229; 0 where the level is not known."""
    return 0 if rssi is None else max(0, min(229, round(45 + 2 * (rssi + 100))))
