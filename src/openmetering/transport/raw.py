"""Octet streams without a protocol: wired frames and wireless frames by their L field.

The reader finds its place again after garbage: a wired frame proves itself by two L
fields, start, stop and checksum; a wireless one by its CRCs, or without CRCs by a
plausible head in front and a plausible start (or silence) behind.
"""

from __future__ import annotations

from openmetering.codec.link.wired import unframe
from openmetering.errors import DecodeError, InputError
from openmetering.tables import CONTROL_INFORMATION
from openmetering.transport.reception import BadLine, Reception, plausible_start, size_a
from openmetering.wire import crc16_octets

__all__ = ["RawReader"]

_HEADER = 10
_FIRST_B = 126
_LAST_DEVICE_TYPE = 0x3F  # OMS Volume 2 5.0.1, device types
_MORE = -1  # the frame may go on: more octets are needed
_NONE = 0  # no frame starts here


class RawReader:
    """Finds frames in a stream of octets.

    ``feed`` keeps an unfinished frame; a silence of ``gap`` seconds ends it. Octets that belong
    to no frame are given as one ``BadLine`` per run, its number the offset in the stream.
    """

    __slots__ = ("_buffer", "_heard", "_junk", "gap", "position", "source", "wired", "wireless")

    def __init__(self, source: str = "-", *, gap: float = 2.0, wired: bool = True, wireless: bool = True) -> None:
        self._buffer = b""
        self._junk = b""
        self._heard: float | None = None
        self.source = source
        self.gap = gap
        self.position = 0
        self.wired = wired
        self.wireless = wireless

    def feed(self, octets: bytes, now: float) -> list[Reception | BadLine]:
        """Octets as they come, at the time ``now``."""
        found: list[Reception | BadLine] = []
        if self._buffer and self._heard is not None and now - self._heard > self.gap:
            self._scan(now, found, final=True)
        self._heard = now
        self._buffer += octets
        self._scan(now, found, final=False)
        return found

    def close(self, now: float) -> list[Reception | BadLine]:
        """The stream ended, or is silent: what is left is a frame or garbage."""
        found: list[Reception | BadLine] = []
        self._scan(now, found, final=True)
        self._report(found)
        return found

    def _scan(self, now: float, found: list[Reception | BadLine], *, final: bool) -> None:
        buffer = self._buffer
        at = 0
        while at < len(buffer):
            size, wired = self._measure(buffer, at)
            if size == _MORE and not final:
                break
            if size <= 0 or (size == 1 and self._junk):  # E5 inside garbage is garbage
                self._junk += buffer[at : at + 1]
                at += 1
                self.position += 1
                continue
            self._report(found)
            frame = buffer[at : at + size]
            at += size
            self.position += size
            found.append(self._reception(frame, now, wired=wired))
        self._buffer = buffer[at:]

    def _reception(self, frame: bytes, now: float, *, wired: bool) -> Reception:
        if wired:
            return Reception(frame, now, self.source, mode="wired", crc=True, position=self.position)
        # only the first block was looked at: the decoder checks the CRCs of all
        return Reception(frame, now, self.source, frame_format=_checked_format(frame), position=self.position)

    def _report(self, found: list[Reception | BadLine]) -> None:
        if self._junk:
            start = self.position - len(self._junk)
            error = InputError(
                f"offset {start}: {len(self._junk)} octets belong to no frame", code="input.noise", layer="input", offset=start
            )
            found.append(BadLine(start, self._junk.hex().upper(), error, self.source, self.position))
            self._junk = b""

    def _measure(self, buffer: bytes, at: int) -> tuple[int, bool]:
        """Size of the frame at ``at`` (``_MORE``, ``_NONE``) and whether it is wired."""
        size = _wired_size(buffer, at) if self.wired else _NONE
        if size > 0:
            return size, True
        radio = _wireless_size(buffer, at) if self.wireless else _NONE
        if radio > 0 and size == _MORE and _checked_format(buffer[at : at + radio]) is None:
            return _MORE, True
        return (radio, False) if radio != _NONE else (size, True)


def _wired_size(buffer: bytes, at: int) -> int:
    start = buffer[at]
    if start == 0xE5:
        return 1
    left = len(buffer) - at
    if start == 0x10:
        size = 5
    elif start == 0x68:
        if left < 4:
            return _MORE if left < 3 or buffer[at + 1] == buffer[at + 2] else _NONE
        if buffer[at + 1] != buffer[at + 2] or buffer[at + 3] != 0x68:
            return _NONE
        size = buffer[at + 1] + 6
    else:
        return _NONE
    if left < size:
        return _MORE
    try:
        unframe(buffer[at : at + size])
    except DecodeError:
        return _NONE
    return size


def _wireless_size(buffer: bytes, at: int) -> int:
    if not plausible_start(buffer, at):
        return _NONE
    left = len(buffer) - at
    if left < _HEADER + 2:
        return left if left == buffer[at] + 1 and left >= _HEADER else _MORE
    if crc16_octets(buffer[at : at + _HEADER]) == buffer[at + _HEADER : at + _HEADER + 2]:
        size = size_a(buffer[at])
    elif _known(buffer, at):
        size = buffer[at] + 1
    else:
        return _NONE
    if left < size:
        return _MORE
    if _checked_format(buffer[at : at + size]) is not None:
        return size
    if _proven_inside(buffer, at + 1, at + size):
        return _NONE
    if left == size:
        return size
    # without CRCs only what follows tells whether this was a frame
    return size if plausible_start(buffer, at + size) or _wired_size(buffer, at + size) != _NONE else _NONE


def _proven_inside(buffer: bytes, start: int, end: int) -> bool:
    """True if a wired head or a first block with its CRC starts in between: better evidence than a plausible head."""
    for at in range(start, end):
        head = buffer[at : at + _HEADER + 2]
        if head[0] == 0x68 and len(head) > 3 and head[3] == 0x68 and head[1] == head[2] > 2:
            return True
        if len(head) == _HEADER + 2 and plausible_start(head) and crc16_octets(head[:_HEADER]) == head[_HEADER:]:
            return True
    return False


def _known(buffer: bytes, at: int) -> bool:
    """True if device type and CI are known ones: what a frame without CRCs must show in addition."""
    return buffer[at + 9] <= _LAST_DEVICE_TYPE and CONTROL_INFORMATION[buffer[at + _HEADER]] is not None


def _checked_format(frame: bytes) -> str | None:
    """A or B if the CRCs of that format are there (first block), else None."""
    if len(frame) == size_a(frame[0]) and crc16_octets(frame[:_HEADER]) == frame[_HEADER : _HEADER + 2]:
        return "A"
    end = min(len(frame) - 2, _FIRST_B)
    if len(frame) == frame[0] + 1 and len(frame) >= _HEADER + 2 and crc16_octets(frame[:end]) == frame[end : end + 2]:
        return "B"
    return None
