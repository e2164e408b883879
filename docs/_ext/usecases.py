"""Parts of the use case pages: each scene as a drawing of its messages, and below it every frame with its octets.

The scenes are runs of the simulated house (``scenes``); they are played when the documentation is built.
"""

from __future__ import annotations

import re
from html import escape as html_escape
from typing import TYPE_CHECKING, NamedTuple

from drawing import Message as Arrow
from drawing import Remark, sequence
from pages import escape, forget, write
from scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sphinx.application import Sphinx
    from stage import Story

    from openmetering.simulation.trace import Message

_SECURED = re.compile(r"end-to-end secured application data \(BCF ..h\)(?: under key (..h)(?: version \d+)?, key counter (\d+))?")
_LONGEST, _ASIDE = 150, 70  #: characters of a note; of what nobody asked for
_SHOWN = 8  #: octets of a frame before the rest is folded away

#: octets of the commands of UC-00: RC2 tells the function
_XCT1 = re.compile(r"write remote control: ([0-9A-F]{8,}|\d+)$")
_WORDS = {
    "remote control": "DC1!",
    "digital output": "DC2!",
    "error flags": "MM3!",
    "fabrication no": "ID1!",
    "enhanced identification": "ID2!",
    "write DC1!": "XDC1!",
    "clr MM3!: -": "clrMM3!",
    "set date": "setDT2!N",
    "get date: -": "getDT2!D",
    "set customer": "setID4!",
    "add volume": "addVM1!",
    "sub volume": "subVM1!",
    "set ID2!": "setID2!",
    "set selected application": "setMM6!",
    "drl volume flow: - m3/h": "drlVF2!",
    "drl MM3!: -": "drlMM3!",
    "combined activation and deactivation": "activate and deactivate",
    "transfer security information": "transfer a key",
    "list of active keys and key counters": "list with counters",
}


class Row(NamedTuple):
    """Messages that follow each other and are the same: ``times`` of them, ``pairs`` of this one and the one before."""

    message: Message
    times: int = 1
    pairs: int = 1


def note_of(message: Message) -> str:
    """The content of a message in few words: data points by their tags, secured commands by key and counter."""
    words = _SECURED.sub(_container, message.words)
    for long, short in _WORDS.items():
        words = words.replace(long, short)
    words = words.replace(" version 0,", ",").replace(", at once", "")
    longest = _ASIDE if message.spontaneous and len(words) > _ASIDE else _LONGEST
    return words if len(words) <= longest else words[: longest - 2].rstrip(" ;") + " …"


def conformance_note(message: Message) -> str:
    """UC-00: function and length instead of numbers that mean nothing."""
    words = _SECURED.sub(_container, message.words)
    found = _XCT1.search(words)
    if found:
        octets = bytes.fromhex(found[1]) if len(found[1]) > 5 else int(found[1]).to_bytes(2, "little")
        return words[: found.start()].replace(", at once", "") + f"XCT1!, function {octets[1]:02X}h"
    plain = re.search(r"remote control: ([0-9A-F]+)$", words)
    if plain:
        octets = plain[1]
        value = bytes.fromhex(octets) if len(octets) > 15 else int(octets).to_bytes(6 if int(octets) >> 32 else 4, "little")
        told = value.hex(" ").upper() if len(value) < 8 else f"{value[:4].hex(' ').upper()} … ({len(value)} octets)"
        return words[: plain.start()] + f"CT1! {told}"
    return note_of(message)


def _container(found: re.Match[str]) -> str:
    return f"SITP, key {found[1]}, counter {found[2]}" if found[1] else "SITP"


# -- repetitions ---------------------------------------------------------------------------------------


def _alike(one: Message, other: Message) -> bool:
    return (one.sender, one.name, one.words, one.fate) == (other.sender, other.name, other.words, other.fate)


def folded(messages: Sequence[Message], borders: frozenset[int]) -> list[tuple[int, Row]]:
    """Messages with their places, repetitions folded: the same again and again, then pairs again and again.

    Nothing is folded across ``borders``, where something is told in between.
    """
    rows: list[tuple[int, Row]] = []
    for at, message in enumerate(messages):
        if rows and at not in borders and _alike(rows[-1][1].message, message):
            rows[-1] = (rows[-1][0], rows[-1][1]._replace(times=rows[-1][1].times + 1))
        else:
            rows.append((at, Row(message)))
    paired: list[tuple[int, Row]] = []
    for at, row in rows:
        paired.append((at, row))
        if len(paired) >= 4 and not borders & set(range(paired[-4][0] + 1, at + 1)):
            first, second, third, fourth = (one for _, one in paired[-4:])
            if _alike(first.message, third.message) and _alike(second.message, fourth.message):
                kept = second._replace(pairs=second.pairs + 1)
                paired[-4:] = [paired[-4], (paired[-3][0], kept)]
    return paired


# -- pages -----------------------------------------------------------------------------------------------


def time_of(seconds: float) -> str:
    """Seconds from the first message; minutes where there are many."""
    if seconds < 600:
        return f"{seconds:.3f} s"
    return f"{int(seconds // 60)} min {seconds % 60:.0f} s"


def drawing_of(number: str, story: Story) -> str:
    """The messages of a scene as a drawing."""
    start = story.messages[0].time
    note = conformance_note if number == "00" else note_of
    borders = frozenset(result.after for result in story.results)
    items: list[Arrow | Remark] = []
    told = list(story.results)
    for at, row in folded(story.messages, borders):
        while told and told[0].after <= at:
            result = told.pop(0)
            items.append(Remark(result.words, result.refused))
        message = row.message
        label = f"{message.name}, {row.times} times" if row.times > 1 else message.name
        words = note(message)
        if row.pairs > 1:
            words = f"{words} (this and the one above, {row.pairs} times)".strip()
        items.append(Arrow(time_of(message.time - start), message.sender, message.receiver, label, words, message.lost))
    items += [Remark(result.words, result.refused) for result in told]
    return sequence(story.participants, items, f"UC-{number}: {story.title}")


def _octets(frame: bytes) -> str:
    text = frame.hex(" ").upper()
    if len(frame) <= _SHOWN + 4:
        return f"<code>{text}</code>"
    head = frame[:_SHOWN].hex(" ").upper()
    return f"<details><summary><code>{head} …</code> {len(frame)}</summary><code>{text}</code></details>"


def frames_of(story: Story) -> list[str]:
    """Every frame of a scene, its octets folded."""
    start = story.messages[0].time
    lines = ["<details class='frames'>", f"<summary>All {len(story.messages)} frames</summary>", "<table class='docutils'>"]
    head = "".join(f"<th>{name}</th>" for name in ("time", "from", "to", "message", "octets"))
    lines.append(f"<thead><tr>{head}</tr></thead><tbody>")
    for message in story.messages:
        name = f"{message.name}{' (lost)' if message.lost else ''}"
        cells = (time_of(message.time - start), message.sender, message.receiver, name)
        plain = "".join(f"<td>{html_escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr>{plain}<td>{_octets(message.octets)}</td></tr>")
    return [*lines, "</tbody></table></details>"]


def part(number: str, stories: Sequence[Story]) -> list[str]:
    """The scenes of one use case, to be included by its page."""
    lines: list[str] = []
    for story in stories:
        lines += [f"### {escape(story.title)}", "", escape(story.about), "", "```{raw} html"]
        lines += [drawing_of(number, story), *frames_of(story), "```", ""]
    return lines


def generate(_app: Sphinx, _config: object) -> None:
    for number, scenes in SCENES.items():
        write(f"_usecase-{number}.md", part(number, [scene() for scene in scenes]))
    forget("_usecase-*.md", {f"_usecase-{number}.md" for number in SCENES})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
