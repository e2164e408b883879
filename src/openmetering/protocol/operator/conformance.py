"""UC-00, the conformance test: five functions of XCT1!, and what a device must answer.

    30  02 FD 9F 1D RC1 30                     application error 15h
    31  02 FD 9F 1D RC1 31                     any answer without an error
    32  02 FD 9F 1D RC1 32                     04 FD 9F 1D RC1 32 42 42
    33  02 FD 9F 1D RC1 33                     0D FD 9F 1D LVAR RC1 33 43 43 ...   as long as a datagram can be
    34  0D FD 9F 1D LVAR RC1 34 6E 6D .. 21    06 FD 9F 1D RC1 34 24 23 22 21

RC1 is 40h or C0h and is copied. A device with ASP10 may refuse the plain form: then the test goes under key 1Fh.
Source: OMS Volume 2 Annex M release C, Tables M.3 to M.6; release A, Tables M.3 to M.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import DecodeError, NotRepresentable, Refused
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import exchange
from openmetering.protocol.operator.differences import Differences, require_use_case
from openmetering.protocol.operator.head_end import HeadEnd, Order
from openmetering.protocol.operator.secured import execute
from openmetering.protocol.operator.steps import Procedure, Progress

__all__ = ["FUNCTIONS", "ConformanceCheck", "ConformanceReport", "conformance_test", "xct1"]

FUNCTIONS: Final = (0x30, 0x31, 0x32, 0x33, 0x34)
TEST_KEY: Final = 0x1F
_PID = 1
_REMOTE_CONTROL = bytes.fromhex("FD9F1D")
_TWO, _VARIABLE = b"\x02", b"\x0d"
_LONG = 0x34
_FIRST, _LAST = 0x6E, 0x20  #: the pattern counts down and starts anew below 21h; allowed are 20h to 7Eh
_PARAMETER_ERROR = 0x15
_LONGEST_PATTERN = 0xBF - 2
_FILLER = b"\x2f"


class ConformanceCheck(msgspec.Struct, frozen=True):
    """One function: what was sent, what came (empty where a refusal came), and whether it is right; in words if not."""

    function: int
    command: bytes
    answer: bytes
    passed: bool
    words: str = ""


class ConformanceReport(msgspec.Struct, frozen=True):
    """All functions that were tried; ``secured`` tells whether under key 1Fh."""

    checks: tuple[ConformanceCheck, ...]
    secured: bool

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(check.passed for check in self.checks)


def _pattern(length: int) -> bytes:
    """The test pattern: 6Eh, 6Dh ... 21h, and again."""
    span = _FIRST - _LAST
    return bytes(_FIRST - number % span for number in range(length))


def xct1(function: int, *, rc1: int = 0x40, pattern: int = 78) -> bytes:
    """XCT1! with a function; ``pattern`` is the number of test octets of function 34.

    Octets   DIF FD 9F 1D, for function 34 LVAR, RC1 RC2, test pattern
    Source   OMS Volume 2 Annex M release C, Table M.6
    Raises   NotRepresentable for RC1 that disables nothing, a function outside 30..3F or a pattern that does not fit
    """
    if rc1 & 0x7F != 0x40 or rc1 > 0xFF or not 0x30 <= function <= 0x3F:
        raise NotRepresentable("RC1 is 40h or C0h and a function is 30h to 3Fh", field="function", value=function, layer="apl")
    if function != _LONG:
        return _TWO + _REMOTE_CONTROL + bytes((rc1, function))
    if not 4 <= pattern <= _LONGEST_PATTERN:
        raise NotRepresentable(f"a test pattern has 4 to {_LONGEST_PATTERN} octets", field="pattern", value=pattern, layer="apl")
    return _VARIABLE + _REMOTE_CONTROL + bytes((pattern + 2, rc1, function)) + _pattern(pattern)


def _nothing(answer: bytes, command: bytes, row: Differences) -> str:
    return "the device must answer with application error 15h, it did not refuse"


def _anything(answer: bytes, command: bytes, row: Differences) -> str:
    return ""


def _exactly(dif: int, data: bytes) -> Callable[[bytes, bytes, Differences], str]:
    def check(answer: bytes, command: bytes, row: Differences) -> str:
        rc1 = command[-2] if command[:1] == _TWO else command[5]
        function = command[-1] if command[:1] == _TWO else command[6]
        expected = bytes((dif,)) + _REMOTE_CONTROL + bytes((rc1, function)) + data
        right = answer.rstrip(_FILLER) == expected.rstrip(_FILLER) and len(answer) >= len(expected)
        return "" if right else f"expected {expected.hex(' ').upper()}"

    return check


def _long(answer: bytes, command: bytes, row: Differences) -> str:
    head = _VARIABLE + _REMOTE_CONTROL
    body = answer.rstrip(_FILLER)
    if not body.startswith(head) or len(body) < len(head) + 4:
        return "expected CT1! of variable length with at least one octet 43h"
    announced, data = body[len(head)], body[len(head) + 1 :]
    if data[:2] != command[-2:] or set(data[2:]) != {0x43}:
        return "expected RC1, 33h and octets 43h"
    if len(data) - announced not in range(row.long_answer_surplus + 1):
        return f"LVAR announces {announced} octets, {len(data)} are there"
    return ""


_CHECKS: dict[int, Callable[[bytes, bytes, Differences], str]] = {
    0x30: _nothing,
    0x31: _anything,
    0x32: _exactly(0x04, b"\x42\x42"),
    0x33: _long,
}


def _check(function: int, command: bytes, answer: bytes, row: Differences) -> ConformanceCheck:
    judge = _CHECKS.get(function) or _exactly(0x06, command[-4:])
    words = judge(answer, command, row)
    return ConformanceCheck(function, command, answer, not words, words)


def conformance_test(
    head_end: HeadEnd | None = None,
    device: Address | None = None,
    *,
    functions: Iterable[int] = FUNCTIONS,
    rc1: int = 0x40,
    pattern: int = 78,
    issue: str = "5.0.1",
) -> Procedure[ConformanceReport]:
    """UC-00: try the functions one after the other and judge the answers.

    With a head-end and a device the commands are secured (ASP10, key 1Fh, PID 01, immediate), else plain.
    Source   OMS Volume 2 Annex M release C, Table M.5
    Raises   ExchangeFailed, KeyNotFound, NotRepresentable; refusals and wrong answers stand in the report
    """
    row = require_use_case(issue, "UC-00")
    wanted = tuple(functions)
    checks: list[ConformanceCheck] = []
    for number, function in enumerate(wanted):
        yield Progress(number, len(wanted), f"test function {function:02X}h")
        command = xct1(function, rc1=rc1, pattern=pattern)
        try:
            if head_end is None or device is None:
                answer = yield from exchange(Command("m-bus", command))
            else:
                order = Order(TEST_KEY, _PID, command, meaning=f"conformance test, function {function:02X}h")
                answer = (yield from execute(head_end, device, order, issue=issue)).apdu
        except Refused as refusal:
            passed = function == FUNCTIONS[0] and refusal.error == _PARAMETER_ERROR
            checks.append(ConformanceCheck(function, command, b"", passed, refusal.message))
        except DecodeError as fault:
            checks.append(ConformanceCheck(function, command, fault.octets, False, fault.message))
        else:
            checks.append(_check(function, command, answer, row))
    return ConformanceReport(tuple(checks), secured=head_end is not None and device is not None)
