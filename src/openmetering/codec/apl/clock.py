"""Clock synchronisation, CI 62, 6C, 6D: set, shift or correct the clock of a meter.

    TC 00          set date and time     type I, 6 octets
    TC 01, 02      add, subtract         type J, 3 octets (a difference)
    TC 03          correct towards       type J, 3 octets (a time of the day)
    TC 05, 06      set                   type M, OMS 5.0.1

The full form has fourteen octets: TC, time, reserved 00 up to ten, four octets 2F. The short
form ends behind the time; inside ASP10 only the short form is sent. A receiver ignores what
stands behind the time. Every CI carries every TC (OMS Volume 2 Annex N release E, N.8.2).
"""

from __future__ import annotations

import msgspec

from openmetering.errors import NotRepresentable, OutOfRange, Truncated
from openmetering.wire.types import MeterTime, decode_date, decode_type_m, encode_date

__all__ = ["LARGEST_SHIFT", "ClockSynchronisation", "decode"]

LARGEST_SHIFT = 60  #: seconds a single adjustment may shift the clock (OMS Volume 2 Annex M, UC-04)

_LAYER = "apl"
_SET, _ADD, _SUBTRACT, _CORRECT, _SET_M, _SET_M_ALSO = 0, 1, 2, 3, 5, 6
_NAMES = {_SET: "set", _ADD: "add", _SUBTRACT: "subtract", _CORRECT: "correct", _SET_M: "set", _SET_M_ALSO: "set"}
_TIME_SIZE = {_SET: 6, _ADD: 3, _SUBTRACT: 3, _CORRECT: 3}
_TYPE_M = frozenset((_SET_M, _SET_M_ALSO))
_RESERVED_END = 10
_VERIFICATION = b"\x2f\x2f\x2f\x2f"


class ClockSynchronisation(msgspec.Struct, frozen=True):
    """One command to a clock; ``function`` is the TC field, ``trailer`` the octets behind the time."""

    function: int
    time: bytes
    trailer: bytes = b""

    @property
    def name(self) -> str:
        """set, add, subtract, correct or reserved."""
        return _NAMES.get(self.function, "reserved")

    @property
    def moment(self) -> MeterTime | None:
        """The time to set or to correct to; None for differences, invalid and unknown times."""
        if self.function in _TYPE_M:
            return decode_type_m(self.time)
        return decode_date(self.time) if self.function in (_SET, _CORRECT) else None

    @property
    def seconds(self) -> int | None:
        """The shift in seconds, negative for subtract; None for the other functions.

        Each part counts in full, so that 60 seconds may be sent as 3C 00 00.
        """
        if self.function not in (_ADD, _SUBTRACT):
            return None
        second, minute, hour = self.time
        shift = (second & 0x3F) + 60 * (minute & 0x3F) + 3600 * (hour & 0x1F)
        return shift if self.function == _ADD else -shift

    @property
    def too_large(self) -> bool:
        """True if a device must refuse the shift with application error 15h."""
        return abs(self.seconds or 0) > LARGEST_SHIFT

    @property
    def full(self) -> bool:
        """True if reserved and verification octets are sent."""
        return bool(self.trailer)

    @classmethod
    def set(cls, moment: MeterTime, *, full: bool = True) -> ClockSynchronisation:
        """Set date and time; the type of the moment is I, or M for TC 05. Raises NotRepresentable, OutOfRange."""
        if moment.type not in ("I", "M"):
            raise NotRepresentable(f"type {moment.type} does not set a clock", field="moment", value=moment.type, layer=_LAYER)
        if moment.type == "M":
            return cls(_SET_M, encode_date(moment))
        return cls._build(_SET, encode_date(moment), full)

    @classmethod
    def adjust(cls, seconds: int, *, full: bool = True) -> ClockSynchronisation:
        """Add (positive) or subtract (negative) seconds. Raises OutOfRange from a day on."""
        shift = abs(seconds)
        if shift >= 86400:
            raise OutOfRange(f"a shift is less than a day, got {seconds} s", field="seconds", value=seconds, layer=_LAYER)
        octets = bytes((shift % 60, shift // 60 % 60, shift // 3600))
        return cls._build(_ADD if seconds >= 0 else _SUBTRACT, octets, full)

    @classmethod
    def correct(cls, moment: MeterTime, *, full: bool = True) -> ClockSynchronisation:
        """Correct towards a time of the day, type J. Raises NotRepresentable."""
        if moment.type != "J":
            raise NotRepresentable(f"type {moment.type} is no time of the day", field="moment", value=moment.type, layer=_LAYER)
        return cls._build(_CORRECT, encode_date(moment), full)

    @classmethod
    def _build(cls, function: int, time: bytes, full: bool) -> ClockSynchronisation:
        return cls(function, time, bytes(_RESERVED_END - 1 - len(time)) + _VERIFICATION if full else b"")

    def encode(self) -> bytes:
        """The octets behind the transport header. Raises OutOfRange."""
        size = _TIME_SIZE.get(self.function, len(self.time))
        if not 0 <= self.function <= 0xFF or len(self.time) != size:
            raise OutOfRange(
                f"function {self.function} takes a time of {size} octets", field="time", value=len(self.time), layer=_LAYER
            )
        return bytes((self.function,)) + self.time + self.trailer


def decode(octets: bytes) -> ClockSynchronisation:
    """Read a clock synchronisation.

    Octets   0    TC field
             1..  time: type I (6) for TC 00, type J (3) for TC 01 to 03. For TC 05, 06 and unknown
                  ones everything up to trailing fillers 2Fh, since the length of type M is not stated
             ..   reserved 00 and verification 2F, optional
    Source   OMS Volume 2 Annex N release E, N.8.2; P2 Companion Standard Table 23 (TC 00)
    Units    s
    Raises   Truncated if the time is not complete
    """
    if not octets:
        raise Truncated("a clock synchronisation has at least a TC field", layer=_LAYER, offset=0, octets=octets)
    size = _TIME_SIZE.get(octets[0])
    if size is None:
        time = octets[1:].rstrip(b"\x2f")
        return ClockSynchronisation(octets[0], time, octets[1 + len(time) :])
    if len(octets) < 1 + size:
        raise Truncated(f"TC {octets[0]:02X}h needs a time of {size} octets", layer=_LAYER, offset=1, octets=octets)
    return ClockSynchronisation(octets[0], octets[1 : 1 + size], octets[1 + size :])
