"""Two drawings as inline SVG in the colours of the page: a table of transitions, and messages over time."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_FONT = "font-family='var(--font-stack)' font-size='12' fill='currentColor'"


class Arrow(NamedTuple):
    """A transition: ``label`` is the event."""

    source: str
    target: str
    label: str


class Message(NamedTuple):
    """A message between two participants; ``receiver`` None for one that was lost on the way."""

    time: str
    sender: str
    receiver: str
    label: str
    note: str = ""
    lost: bool = False


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f"<text x='{x:g}' y='{y:g}' {_FONT} {more}>{escape(words)}</text>"


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


def sequence(participants: Sequence[str], messages: Sequence[Message], title: str) -> str:
    """Participants as upright lines, messages as arrows from top to bottom, the time at the left."""
    first, gap, top, pitch = 150.0, 270.0, 40.0, 44.0
    place = {name: first + gap * column for column, name in enumerate(participants)}
    height = top + pitch * len(messages) + 24
    parts = []
    for name, x in place.items():
        parts.append(_text(x, 18, name, "text-anchor='middle' font-weight='600'"))
        parts.append(_line(x, 26, x, height - 8, "stroke-opacity='0.35' stroke-dasharray='3 4'"))
    for row, message in enumerate(messages):
        y = top + pitch * (row + 0.6)
        begin, end = place[message.sender], place[message.receiver]
        stop = (begin + end) / 2 if message.lost else end
        way = 1 if end > begin else -1
        parts.append(_text(4, y + 4, message.time, "fill-opacity='0.7'"))
        parts.append(
            _line(begin, y, stop - 6 * way, y, "stroke-width='1.6'" + (" stroke-dasharray='5 4'" if message.lost else ""))
        )
        if message.lost:
            parts.append(_text(stop + 4 * way, y + 4, "lost", "text-anchor='middle' font-style='italic'"))
        else:
            parts.append(f"<path d='M{end:g},{y:g} l{-8 * way},-4 l0,8 z' fill='currentColor'/>")
        middle = (begin + end) / 2
        parts.append(_text(middle, y - 6, message.label, "text-anchor='middle'"))
        if message.note:
            parts.append(_text(middle, y + 15, message.note, "text-anchor='middle' font-size='11' fill-opacity='0.75'"))
    return _svg(first + gap * (len(participants) - 1) + 130, height, parts, title)
