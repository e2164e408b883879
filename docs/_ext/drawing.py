"""Three drawings as inline SVG in the colours of the page: a table of transitions, messages, and values over time."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_FONT = "font-family='var(--font-stack)' fill='currentColor'"
_SIZE = "font-size='12'"
_SMALL_WIDTH = 5.9  #: pixels of a character at the small size, with some room
_LINE = 14.0  #: pixels from line to line
_WIDTH = 720.0  #: pixels of a drawing of messages: the text column of the page


class Arrow(NamedTuple):
    """A transition: ``label`` is the event."""

    source: str
    target: str
    label: str


class Message(NamedTuple):
    """A message between two participants: ``label`` its name, ``note`` its content in words."""

    time: str
    sender: str
    receiver: str
    label: str
    note: str = ""
    lost: bool = False


class Remark(NamedTuple):
    """What came of the messages above; ``alert`` for a refusal or a failure."""

    words: str
    alert: bool = False


class Curve(NamedTuple):
    """Values over time (seconds since 1970); ``thin`` for what others do."""

    label: str
    points: tuple[tuple[float, float], ...]
    thin: bool = False


class Marks(NamedTuple):
    """Single moments: ``kind`` tick, cross or ring. Without curves the second number is a lane, 0 the lowest."""

    label: str
    points: tuple[tuple[float, float], ...]
    kind: str


def _text(x: float, y: float, words: str, more: str = "") -> str:
    size = "" if "font-size" in more else f" {_SIZE}"
    return f"<text x='{x:g}' y='{y:g}' {_FONT}{size} {more}>{escape(words)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f"<line x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}' stroke='currentColor' {more}/>"


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    head = (
        f"<div style='overflow-x:auto'><svg xmlns='http://www.w3.org/2000/svg' width='{width:g}' height='{height:g}' "
        f"viewBox='0 0 {width:g} {height:g}' role='img' aria-label='{escape(title, quote=True)}'>"
    )
    return head + "".join(parts) + "</svg></div>"


def _head(x: float, y: float, down: bool) -> str:
    tip = -6 if down else 6
    return f"<path d='M{x:g},{y:g} l-4,{tip} l8,0 z' fill='currentColor'/>"


def transitions(states: Sequence[str], arrows: Sequence[Arrow], title: str) -> str:
    """States as horizontal lines, one upright arrow for each row of the table, events written above.

    A ring marks a row that stays in its state.
    """
    left = 18 + 8.4 * max(len(state) for state in states)
    top = 24 + 5.4 * max(len(arrow.label) for arrow in arrows)
    step, pitch = 26, 34
    place = {state: top + 10 + pitch * row for row, state in enumerate(states)}
    width = left + step * (len(arrows) + 1) + 4.4 * max(len(arrow.label) for arrow in arrows)
    parts = []
    for state, y in place.items():
        parts.append(_text(4, y + 4, state, "font-weight='600'"))
        parts.append(_line(left, y, left + step * (len(arrows) + 0.5), y, "stroke-opacity='0.25'"))
    for column, arrow in enumerate(arrows):
        x = left + step * (column + 0.7)
        parts.append(f"<g transform='translate({x:g},{top - 6:g}) rotate(-50)'>{_text(0, 0, arrow.label)}</g>")
        start, end = place[arrow.source], place[arrow.target]
        if start == end:
            parts.append(f"<circle cx='{x:g}' cy='{start:g}' r='5' fill='none' stroke='currentColor' stroke-width='1.6'/>")
            continue
        parts.append(f"<circle cx='{x:g}' cy='{start:g}' r='3' fill='currentColor'/>")
        parts.append(_line(x, start, x, end, "stroke-width='1.6'"))
        parts.append(_head(x, end, end > start))
    return _svg(width, top + 10 + pitch * len(states) - 12, parts, title)


def _wrapped(words: str, room: float) -> list[str]:
    """Words in lines that fit a width in pixels, at the small size."""
    return wrap(words, max(12, int(room / _SMALL_WIDTH))) if words else []


def _centred(x: float, y: float, lines: Sequence[str], more: str = "") -> list[str]:
    style = f"text-anchor='middle' {more}"
    return [_text(x, y + _LINE * number, line, style) for number, line in enumerate(lines)]


def _arrow(message: Message, place: dict[str, float], y: float) -> list[str]:
    """The line of a message with its head, or broken off where it was lost."""
    begin, end = place[message.sender], place[message.receiver]
    way = 1 if end > begin else -1
    if not message.lost:
        return [
            _line(begin, y, end - 6 * way, y, "stroke-width='1.6'"),
            f"<path d='M{end:g},{y:g} l{-8 * way},-4 l0,8 z' fill='currentColor'/>",
        ]
    stop = begin + 0.72 * (end - begin)
    cross = f"<path d='M{stop - 5:g},{y - 5:g} l10,10 m0,-10 l-10,10' stroke='currentColor' stroke-width='1.6' fill='none'/>"
    anchor = "start" if way > 0 else "end"
    lost = _text(stop + 11 * way, y + 4, "lost", f"text-anchor='{anchor}' font-style='italic'")
    return [_line(begin, y, stop - 8 * way, y, "stroke-width='1.6' stroke-dasharray='5 4'"), cross, lost]


def sequence(participants: Sequence[str], items: Sequence[Message | Remark], title: str) -> str:
    """Participants as upright lines, messages as arrows from top to bottom, the time at the left, remarks across.

    A message has its name above the arrow and its note below; a row is as high as its note.
    """
    left, right, top = 84.0, _WIDTH - 46.0, 34.0
    gap = (right - left - 40) / (len(participants) - 1)
    place = {name: left + 40 + gap * column for column, name in enumerate(participants)}
    y, parts = top, []
    for item in items:
        if isinstance(item, Remark):
            first, last = min(place.values()), max(place.values())
            lines = _wrapped(item.words, last - first - 16)
            height = _LINE * len(lines) + 10
            outline = f"stroke='currentColor' stroke-opacity='{0.9 if item.alert else 0.3}'"
            box = f"<rect x='{first:g}' y='{y:g}' width='{last - first:g}' height='{height:g}' rx='4' {outline} "
            parts.append(box + "fill='currentColor' fill-opacity='0.06'/>")
            parts += _centred((first + last) / 2, y + 16, lines, "font-size='11'")
            y += height + 10
            continue
        begin, end = place[item.sender], place[item.receiver]
        lines = _wrapped(item.note, abs(end - begin) - 16)
        y += 20
        parts.append(_text(4, y + 4, item.time, "fill-opacity='0.7' font-size='11'"))
        parts += _arrow(item, place, y)
        parts += _centred((begin + end) / 2, y - 6, [item.label], "font-weight='600'")
        parts += _centred((begin + end) / 2, y + 15, lines, "font-size='11' fill-opacity='0.8'")
        y += _LINE * len(lines) + 16
    heads = []
    for name, x in place.items():
        heads.append(_text(x, 18, name, "text-anchor='middle' font-weight='600'"))
        heads.append(_line(x, 26, x, y, "stroke-opacity='0.35' stroke-dasharray='3 4'"))
    return _svg(_WIDTH, y + 6, [*heads, *parts], title)


_CURVE, _LANE = 110.0, 26.0  #: pixels of the height of curves, of a lane


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "tick":
        return _line(x, y - 6, x, y + 6, "stroke-opacity='0.6'")
    if kind == "ring":
        return f"<circle cx='{x:g}' cy='{y:g}' r='5' fill='none' stroke='currentColor' stroke-width='1.6'/>"
    return f"<path d='M{x - 4:g},{y - 4:g} l8,8 m0,-8 l-8,8' stroke='currentColor' stroke-width='1.4' fill='none'/>"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def over_time(curves: Sequence[Curve], marks: Sequence[Marks], span: tuple[float, float], unit: str, title: str) -> str:
    """Curves and marks over time with a time that is shaded; the greatest and the least value at the left, days below."""
    left, right, top = 92.0, _WIDTH - 16.0, 18.0
    points = [point for one in (*curves, *marks) for point in one.points]
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    values = [value for _, value in points]
    low, high = min(values), max(values)
    height = _CURVE if curves else _LANE * (high - low + 1)
    bottom = top + height

    def x_of(at: float) -> float:
        return left + (right - left) * (min(max(at, first), last) - first) / (last - first)

    def y_of(value: float) -> float:
        if not curves:
            return bottom - _LANE * (value - low + 0.5)
        return bottom - 4 - (height - 8) * (value - low) / ((high - low) or 1.0)

    begin, end = x_of(span[0]), x_of(span[1])
    parts = [
        f"<rect x='{begin - 1:g}' y='{top:g}' width='{max(end - begin, 2) + 2:g}' height='{height:g}' "
        "fill='currentColor' fill-opacity='0.12'/>",
        _line(left, bottom, right, bottom, "stroke-opacity='0.5'"),
    ]
    for curve in curves:
        path = " ".join(f"{x_of(at):.1f},{y_of(value):.1f}" for at, value in curve.points)
        style = "stroke-opacity='0.4' stroke-width='1'" if curve.thin else "stroke-width='1.8'"
        parts.append(f"<polyline points='{path}' fill='none' stroke='currentColor' {style}/>")
        if curve.label and len(curves) > 1 and not curve.thin:
            at, value = curve.points[-1]
            parts.append(_text(x_of(at) - 4, max(y_of(value) - 5, top - 4), curve.label, "text-anchor='end' font-size='11'"))
    for lane in marks:
        parts += [_mark(lane.kind, x_of(at), y_of(value)) for at, value in lane.points]
        if lane.label and not curves:
            parts.append(_text(4, y_of(lane.points[0][1]) + 4, lane.label, "font-size='11'"))
        elif lane.label:
            at, value = lane.points[-1]
            parts.append(_text(x_of(at) + 9, y_of(value) + 4, lane.label, "font-size='11'"))
    if curves:
        for value, y in ((high, top + 10), (low, bottom - 2)):
            parts.append(_text(left - 6, y, f"{value:g} {unit}", "text-anchor='end' font-size='11'"))
    parts.append(_text(left, bottom + 16, _day(first), "font-size='11'"))
    parts.append(_text(right, bottom + 16, _day(last), "text-anchor='end' font-size='11'"))
    if begin > left + 90 and begin < right - 150:
        parts.append(_text(begin, bottom + 16, _day(span[0]), "font-size='11' font-weight='600'"))
    return _svg(_WIDTH, bottom + 22, parts, title)
