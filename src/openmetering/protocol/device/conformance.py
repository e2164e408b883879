"""UC-00, conformance test: answers of known length for the test of the lower layers.

    RC2   command                    answer
    30    -                          application error 15h
    31    -                          any (here the standard response)
    32    -                          04 FD 9F 1D RC1 32 42 42
    33    -                          0D FD 9F 1D LVAR RC1 33, then 43h up to the longest datagram
    34    78 octets behind RC2       06 FD 9F 1D RC1 34 and the last four octets of the command

RC1 is 40h or C0h and is copied. The LVAR of function 33 counts RC1, RC2 and the pattern: release A
of Annex M prints A1h where release C prints A2h for 160 octets; A2h is sent in both issues.
Source: OMS Volume 2 Annex M release C Tables M.3 to M.6; release A Table M.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from openmetering.codec.apl.records import Record
from openmetering.protocol.device.function import Function, single
from openmetering.protocol.device.interface import Instruction, Outcome
from openmetering.protocol.device.refusals import INADEQUATE_SECURITY, NO_FUNCTION, PARAMETER_ERROR

__all__ = ["CONFORMANCE_KEY", "LONGEST_PATTERN", "ConformanceFeature"]

CONFORMANCE_KEY: Final = 0x1F
LONGEST_PATTERN: Final = 189  #: octets of function 33: LVAR holds 191 binary octets, two of them are RC1 and RC2

_VIB = b"\xfd\x9f\x1d"
_RC1 = 0x40
_FUNCTION = 0x30
_SHORT = b"\x42\x42"
_LONG = b"\x43"
_LAST = 4


class ConformanceFeature(Function):
    """The conformance test. ``proof_demanded``: the plain form is refused, the application key 1Fh is asked for.

    ``pattern`` octets of function 33 in a plain answer and in one inside SITP: as many as the
    largest datagram of the device holds.
    """

    __slots__ = ("_patterns", "_proof_demanded")

    def __init__(self, *, pattern: int = 160, pattern_secured: int = 160, proof_demanded: bool = False) -> None:
        self._patterns = {False: min(pattern, LONGEST_PATTERN), True: min(pattern_secured, LONGEST_PATTERN)}
        self._proof_demanded = proof_demanded

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """XCT1!. Source: OMS Volume 2 Annex M release C Table M.4."""
        record = single(instruction)
        if record is None or record.header.vib != _VIB:
            return None
        wanted = (CONFORMANCE_KEY,) if self._proof_demanded else (None, CONFORMANCE_KEY)
        if instruction.key_id not in wanted:
            return Outcome(error=INADEQUATE_SECURITY)
        raw = record.raw
        if len(raw) < 2 or raw[0] & 0x7F != _RC1 or raw[1] & 0xF0 != _FUNCTION:
            return Outcome(error=PARAMETER_ERROR)
        answer = _ANSWERS.get(raw[1])
        if answer is None:
            return Outcome(error=NO_FUNCTION)
        return answer(record, self._patterns[instruction.key_id is not None])


def _refuse(record: Record, pattern: int) -> Outcome:
    return Outcome(error=PARAMETER_ERROR)


def _unspecific(record: Record, pattern: int) -> Outcome:
    return Outcome()


def _short(record: Record, pattern: int) -> Outcome:
    return Outcome(payload=b"\x04" + _VIB + record.raw[:2] + _SHORT)


def _long(record: Record, pattern: int) -> Outcome:
    data = record.raw[:2] + _LONG * pattern
    return Outcome(payload=b"\x0d" + _VIB + bytes((len(data),)) + data)


def _echo(record: Record, pattern: int) -> Outcome:
    if len(record.raw) < 2 + _LAST:
        return Outcome(error=PARAMETER_ERROR)
    return Outcome(payload=b"\x06" + _VIB + record.raw[:2] + record.raw[-_LAST:])


_ANSWERS: dict[int, Callable[[Record, int], Outcome]] = {
    0x30: _refuse,
    0x31: _unspecific,
    0x32: _short,
    0x33: _long,
    0x34: _echo,
}
