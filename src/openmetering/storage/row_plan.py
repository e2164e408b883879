"""The rows of all readings of a telegram by one compiled function, where a format plan read the telegram.

A row plan is to the table ``readings`` what ``Plan.read`` is to the records: compiled once for a plan and a device type,
used for every telegram that the plan reads, and equal to what ``reading_rows.readings_of`` gives record by record.
Values that are marked invalid, and whatever is not a plain number or date, go through that function's own ``cells_of``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from openmetering.codec.apl.format import Plan, PlanSource
from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.values import number_text
from openmetering.storage.reading_rows import LARGEST, TIMES, SeriesKey, cells_of, gives_time, is_averaging, series_key, time_text
from openmetering.wire.types import decode_date

__all__ = ["Line", "RowPlan", "row_plan"]

#: series, received_at, frame, position, value, mantissa, exponent, time, error
Line: TypeAlias = "tuple[int, float, int, int, str | None, int | None, int | None, str | None, str | None]"
_Lines: TypeAlias = "Callable[[bytes, tuple[int, ...], float, int], list[Line]]"

_NUMBERS = frozenset(("bcd", "signed", "unsigned"))
_WIDE = 8  #: octets of a number that may have more than 63 bits
_LIMIT = 4096
_DATE_LIMIT = 65_536
_DATES: dict[bytes, str] = {}
_plans: dict[tuple[Plan, int | None], RowPlan | None] = {}


class RowPlan:
    """``keys`` says what the readings are; ``lines(payload, series numbers, received_at, frame)`` gives their rows."""

    __slots__ = ("keys", "lines")

    def __init__(self, keys: tuple[SeriesKey, ...], lines: _Lines) -> None:
        self.keys = keys
        self.lines = lines


def row_plan(plan: Plan, device_type: int | None) -> RowPlan | None:
    """The row plan for a plan and a device type, made when it is new; None for plans with compact profiles."""
    name = (plan, device_type)
    if name not in _plans:
        if len(_plans) >= _LIMIT:
            _plans.clear()
        _plans[name] = None if plan.profiles else _compile(plan, device_type)
    return _plans[name]


def _date(raw: bytes) -> str | None:
    """The text of a date, kept; None if it is invalid."""
    time = decode_date(raw)
    if time is None:
        return None
    if len(_DATES) >= _DATE_LIMIT:
        _DATES.clear()
    text = _DATES[raw] = time_text(time)
    return text


def _one_time(*texts: str | None) -> str | None:
    """The time that all texts agree on; those of invalid dates do not count."""
    found = {text for text in texts if text is not None}
    return found.pop() if len(found) == 1 else None


class _Draft:
    """The function while it is written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.source = PlanSource(plan)
        self.source.names |= {"Record": Record, "row": _row, "number": number_text, "dates": _DATES, "date_text": _date}
        self.source.names |= {"one_time": _one_time}
        self.lines: list[str] = []

    def row(self, index: int, time: str) -> str:
        """The source of the row of one record; its value was read by ``read``."""
        header, lvar, (start, end) = self.plan.headers[index], self.plan.lvars[index], self.plan.spans[index]
        raw, name = f"octets[{start}:{end}]", f"x{index}"
        place = f"s[{index}], at, frame, {index}"
        content = name if _is_number(header, lvar) else self.source.expressions[index].format(raw=raw)
        general = f"row({place}, {time}, Record(h{index}, {raw}, {content}, {lvar}))"
        if _is_date(header, lvar):
            return f"({place}, {name}, None, None, {time}, None) if {name} is not None else {general}"
        if not _is_number(header, lvar):
            return general
        odd = f"{name} is None" if header.invalid is None else f"{name} is None or {name} == {header.invalid}"
        if end - start >= _WIDE:
            odd += f" or not {-LARGEST} <= {name} < {LARGEST}"
        return f"{general} if {odd} else ({place}, {_digits(name, header)}, {name}, {header.exponent}, {time}, None)"

    def read(self, index: int) -> None:
        """The line that reads the value of one record."""
        header, lvar, (start, end) = self.plan.headers[index], self.plan.lvars[index], self.plan.spans[index]
        raw = f"octets[{start}:{end}]"
        self.source.names[f"h{index}"] = header
        if _is_date(header, lvar):
            self.lines.append(f"    x{index} = dates.get({raw}) or date_text({raw})")
        elif _is_number(header, lvar):
            self.lines.append(f"    x{index} = {self.source.expressions[index].format(raw=raw)}")


def _is_date(header: RecordHeader, lvar: int | None) -> bool:
    return lvar is None and header.kind == "date" and header.error is None


def _is_number(header: RecordHeader, lvar: int | None) -> bool:
    """A number whose digits are those that were sent, with the point moved."""
    return lvar is None and header.kind in _NUMBERS and header.error is None and not header.scale2 and header.addend is None


def _digits(name: str, header: RecordHeader) -> str:
    """The source of the text of a scaled number."""
    exponent = header.exponent
    if exponent >= 0:
        return f"str({name} * {10**exponent})" if exponent else f"str({name})"
    scale = 10**-exponent
    text = f'f"{{{name} // {scale}}}.{{{name} % {scale}:0{-exponent}d}}"'
    return text if header.kind == "unsigned" else f"({text} if {name} >= 0 else number({name}, {exponent}))"


def _compile(plan: Plan, device_type: int | None) -> RowPlan | None:
    draft = _Draft(plan)
    averaging = is_averaging(plan.headers, device_type)
    keys = tuple(series_key(header, device_type, averaging) for header in plan.headers)
    times: dict[int, list[str]] = {}
    for index, (header, lvar) in enumerate(zip(plan.headers, plan.lvars, strict=True)):
        draft.read(index)
        if gives_time(header):
            if not _is_date(header, lvar):
                return None
            times.setdefault(header.storage, []).append(f"x{index}")
    for storage, names in times.items():
        draft.lines.append(f"    t{storage} = {names[0] if len(names) == 1 else 'one_time(' + ', '.join(names) + ')'}")
    rows = [
        draft.row(index, f"t{key.storage}" if key.storage in times and key.quantity not in TIMES else "None")
        for index, key in enumerate(keys)
    ]
    lines = ("def lines(octets, s, at, frame):", *draft.lines, f"    return [{', '.join(rows)}]")
    made: _Lines = draft.source.compile("lines", lines)  # type: ignore[assignment]
    return RowPlan(keys, made)


def _row(series: int, at: float, frame: int, position: int, time: str | None, record: Record) -> Line:
    """The row of a record the general way."""
    value, mantissa, exponent, error = cells_of(record)
    return (series, at, frame, position, value, mantissa, exponent, time, error)
