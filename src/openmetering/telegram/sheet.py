"""Sheets: the JSON text of all records of a plan as one template, its values read straight from the octets.

A sheet is to the answer what ``Plan.read`` is to the records: compiled once for a plan, used for
every telegram that the plan reads, and equal, octet for octet, to the text that ``answer`` writes
record by record. What is not an ordinary number or date goes through that text.
"""

from __future__ import annotations

import struct
from binascii import hexlify
from collections.abc import Callable, Sequence
from functools import cache

from openmetering.codec.apl.format import Plan, PlanSource
from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.wire.types import decode_date

__all__ = ["Sheet", "compile_sheet", "digits_of"]

Sheet = Callable[[bytes, bytes], bytes | None]

_KINDS = frozenset(("bcd", "signed", "unsigned", "date"))
_DATES: dict[bytes, bytes] = {}
_DAYS: dict[int, bytes] = {}
_MINUTES: dict[int, bytes] = {}
_TIME_WORDS = {("date", 4): ("HH", "date({raw})")}
_SOME_DAY = b"\x61\x31"  # 2027-01-01 in the upper word of type F
_HUNDREDS = 0x6000  # of the year, in the lower word of type F
_DATE_LIMIT = 65536
_TABLED = 3  #: fractions of up to three digits come out of a table


def digits_of(octets: bytes) -> bytes:
    """Octets in hexadecimal, capital letters, as octets of text."""
    return hexlify(octets).upper()


def _day(word: int) -> bytes | None:
    """The text of the date in type F: its upper word, with the bits of the hundreds above it; None if invalid."""
    time = decode_date(bytes((0, word >> 16)) + (word & 0xFFFF).to_bytes(2, "little"))
    if time is None:
        return None
    if len(_DAYS) >= _DATE_LIMIT:
        _DAYS.clear()
    text = _DAYS[word] = b'"' + time.isoformat().partition("T")[0].encode()
    return text


def _minute(word: int) -> bytes | None:
    """The text of the time in type F: its lower word; None if invalid."""
    time = decode_date(word.to_bytes(2, "little") + _SOME_DAY)
    if time is None:
        return None
    text = _MINUTES[word] = b"T" + time.isoformat().partition("T")[2].encode() + b'"'
    return text


def _date(raw: bytes) -> bytes | None:
    """The text of a date, kept; None if it is invalid."""
    time = decode_date(raw)
    if time is None:
        return None
    if len(_DATES) >= _DATE_LIMIT:
        _DATES.clear()
    text = _DATES[raw] = f'"{time.isoformat()}"'.encode()
    return text


@cache
def _places(count: int) -> tuple[bytes, ...]:
    """The texts of all fractions with this number of digits, point included."""
    return tuple(b".%0*d" % (count, number) for number in range(10**count))


class _Draft:
    """A sheet while it is written: lines of source, arguments of the template, signs that a value is odd."""

    def __init__(self, plan: Plan) -> None:
        self.source = PlanSource(plan, _TIME_WORDS)
        self.source.names |= {"Record": Record, "dates": _DATES, "date_text": _date}
        self.source.names |= {"days": _DAYS, "day_text": _day, "minutes": _MINUTES, "minute_text": _minute}
        self.lines: list[str] = []
        self.arguments: list[str] = []
        self.texts: list[str] = []
        self.odd: list[str] = []
        self.late: list[str] = []

    def number(self, name: str, content: str, header: RecordHeader) -> str:
        """An integer content; returns its slots."""
        self.lines.append(f"    {name} = {content}")
        exponent = header.exponent
        self.odd.append(f"{name} == {header.invalid}" if header.invalid is not None else f"{name} is None")
        if exponent >= 0:
            self.arguments.append(f"{name} * {10**exponent}" if exponent else name)
            return "%d"
        places = -exponent
        whole, part, signed = f"{name}_whole", f"{name}_part", header.kind == "signed"
        self.late.append(f"    {whole}, {part} = divmod({f'abs({name})' if signed else name}, {10**places})")
        if places <= _TABLED:
            self.source.names[f"places{places}"] = _places(places)
            fraction = f"places{places}[{part}]"
        else:
            fraction = f"b'.%0{places}d' % {part}"
        if signed:
            self.arguments.append(f"b'-' if {name} < 0 else b'', {whole}, {fraction}")
            return "%b%d%b"
        if header.kind == "bcd":
            self.odd[-1] += f" or {name} < 0"
        self.arguments.append(f"{whole}, {fraction}")
        return "%d%b"

    def date(self, name: str, raw: str, words: Sequence[str]) -> str:
        """A date; returns its slots. Day and time of type F are written apart: days repeat, and times of day."""
        if words:
            low, high = words
            self.lines.append(f"    {name} = minutes.get({low}) or minute_text({low})")
            self.lines.append(f"    {name}_word = {high} | ({low} & {_HUNDREDS}) << 8")
            self.lines.append(f"    {name}_day = days.get({name}_word) or day_text({name}_word)")
            self.odd.append(f"{name} is None or {name}_day is None")
            self.arguments.append(f"{name}_day, {name}")
            return "%b%b"
        self.lines.append(f"    {name} = dates.get({raw}) or date_text({raw})")
        self.odd.append(f"{name} is None")
        self.arguments.append(name)
        return "%b"

    def finish(self, digits: struct.Struct, names: Sequence[str]) -> Sheet:
        """The compiled function."""
        self.source.names |= {"template": ",".join(self.texts).encode(), "cut": digits.unpack_from}
        cut = [f"    {', '.join(names)}, = cut(digits)"] if names else []
        odd = [f"    if {' or '.join(self.odd)}:", "        return None"] if self.odd else []
        closing = f"    return template % ({', '.join(self.arguments)}{',' if self.arguments else ''})"
        lines = ("def sheet(octets, digits):", *self.lines, *odd, *self.late, *cut, closing)
        made: Sheet = self.source.compile("sheet", lines)  # type: ignore[assignment]
        return made


def compile_sheet(plan: Plan, texts: Sequence[tuple[str, str] | None], other: Callable[[Record], bytes]) -> Sheet:
    """The function from octets and their hexadecimal digits to the text of all records.

    ``texts`` are the constant texts in front of and behind the value of each record, None for a
    record whose number is not simply scaled; ``other`` writes such a record. The function gives
    None if a value is marked invalid (or a BCD number negative): then the telegram goes the general way.
    """
    draft = _Draft(plan)
    codes, names, position = [], [], 0
    for index, (header, lvar, (start, end)) in enumerate(zip(plan.headers, plan.lvars, plan.spans, strict=True)):
        raw, text = f"octets[{start}:{end}]", texts[index]
        content = draft.source.expressions[index].format(raw=raw)
        if text is None or lvar is not None or header.kind not in _KINDS:
            draft.source.names |= {f"h{index}": header, f"other{index}": other}
            draft.texts.append("%b")
            draft.arguments.append(f"other{index}(Record(h{index}, {raw}, {content}, {lvar}))")
            continue
        if header.kind == "date":
            slots = draft.date(f"x{index}", raw, draft.source.parts[index])
        else:
            slots = draft.number(f"x{index}", content, header)
        front, behind = (part.replace("%", "%%") for part in text)
        draft.texts.append(f'{front}{slots}{behind}%b","error":null}}')
        draft.arguments.append(f"d{index}")
        codes.append(f"{2 * start - position}x{2 * (end - start)}s")
        names.append(f"d{index}")
        position = 2 * end
    return draft.finish(struct.Struct("".join(codes)), names)
