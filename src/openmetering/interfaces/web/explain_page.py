"""The page of ``oms explain``: one HTML file that can be sent to somebody.

Style and script stand in the page and nothing is loaded; its content security policy names
both by their hash and forbids everything else. All text of a telegram is escaped. Without
script the links between octets and rows still work.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from openmetering import __version__
from openmetering.errors import Fault
from openmetering.telegram.anatomy import FRAME, NOTE, Anatomy, Bit, Part, Section, Segment

__all__ = ["explain_fragment", "explain_page", "explain_script", "explain_style"]

_WIDE, _NARROW = 16, 8  #: octets in a line on a wide and on a narrow screen
_LAYERS = {
    "link": "Link",
    "ell": "Extended link",
    "afl": "Authentication, fragments",
    "nwl": "Network",
    "tpl": "Transport",
    "apl": "Application",
}
_COLUMNS = "".join(
    f'<th role="columnheader" scope="col">{name}</th>' for name in ("Offset", "Octets", "Field", "Value", "Meaning")
)


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def explain_page(anatomies: Sequence[Anatomy]) -> str:
    """The page of one or several telegrams, in their order."""
    style, script = _file("explain.css"), _file("explain.js")
    title = anatomies[0].title if len(anatomies) == 1 else f"{len(anatomies)} telegrams"
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    return Template(_file("explain.html")).substitute(
        title=escape(f"{title} - anatomy of a telegram"),
        heading=escape(title),
        policy=policy,
        style=style,
        script=script,
        legend="".join(_legend(anatomies)),
        contents=_contents(anatomies),
        telegrams="\n".join(_telegram(index, item, len(anatomies)) for index, item in enumerate(anatomies, 1)),
        version=escape(__version__),
    )


def explain_fragment(item: Anatomy) -> str:
    """One telegram as a piece of another page, which brings ``explain_style`` and ``explain_script`` along."""
    legend = "".join(_legend([item]))
    return f'<div class="anatomy"><ul class="legend" aria-label="Colours">{legend}</ul>\n{_telegram(1, item, 1)}</div>'


def explain_style() -> str:
    """The style of the page for the inside of ``<div class="anatomy">`` only (nested rules)."""
    return f".anatomy {{\n{_file('explain.css')}}}\n"


def explain_script() -> str:
    """The script that links octets and rows."""
    return _file("explain.js")


# -- the frame of the page ------------------------------------------------------------------------


def _legend(anatomies: Sequence[Anatomy]) -> Iterator[str]:
    present = {segment.layer for item in anatomies for segment in item.segments}
    for layer, name in _LAYERS.items():
        if layer in present:
            yield f'<li><span class="swatch l-{layer}"></span>{escape(name)}</li>'
    if any(_sealed(segment) for item in anatomies for segment in item.segments):
        yield '<li><span class="swatch enc"></span>Encrypted</li>'
    if any(segment.fault for item in anatomies for segment in item.segments):
        yield '<li><span class="swatch bad"></span>Not decoded</li>'
    if any(segment.redacted for item in anatomies for segment in item.segments):
        yield '<li><span class="swatch red"></span>Redacted</li>'


def _contents(anatomies: Sequence[Anatomy]) -> str:
    if len(anatomies) == 1:
        return ""
    rows = (f'<li><a href="#t{index}">{escape(item.title)}</a></li>' for index, item in enumerate(anatomies, 1))
    return f'<nav aria-label="Telegrams"><ol>{"".join(rows)}</ol></nav>'


def _telegram(index: int, item: Anatomy, count: int) -> str:
    heading = f"<h2>{index}. {escape(item.title)}</h2>" if count > 1 else ""
    note = f'<p class="note">{escape(NOTE)}</p>' if item.redacted else ""
    facts = "".join(
        f"<div><dt>{escape(fact.name)}</dt><dd{_muted(fact.value)}>{escape(fact.value)}</dd></div>" for fact in item.facts
    )
    faults = "".join(_fault("Error", "bad", fault) for fault in ([item.error] if item.error is not None else []))
    faults += "".join(_fault("Warning", "warn", fault) for fault in item.warnings)
    parts = "\n".join(_part(f"{index}-{number}", part) for number, part in enumerate(item.parts, 1))
    head = f'<article id="t{index}" aria-label="{escape(item.title)}">'
    return f'{head}\n{heading}{note}<dl class="facts">{facts}</dl>\n{faults}{parts}\n</article>'


def _muted(value: str) -> str:
    return ' class="red"' if value == "redacted" else ""


def _fault(word: str, kind: str, fault: Fault) -> str:
    where = fault.layer if fault.offset is None else f"{fault.layer}, octet {fault.offset}"
    text = f"{escape(fault.message)} <code>{escape(fault.code)}</code> <span>({escape(where)})</span>"
    return f'<p class="fault {kind}"><strong>{word}</strong> {text}</p>'


# -- a part: octets and rows ----------------------------------------------------------------------


def _part(name: str, part: Part) -> str:
    segments = list(part.segments)
    names = {segment.offset: f"{name}-{number}" for number, segment in enumerate(segments, 1)}
    note = f"<p>{escape(part.note)}</p>" if part.note else ""
    octets = "".join(_octets(names[segment.offset], segment) for segment in segments)
    rows = "\n".join(_section(names, section) for section in part.sections)
    heading = f"h{name}"
    return f"""<section class="part" aria-labelledby="{heading}">
<h3 id="{heading}">{escape(part.title)}</h3>{note}
<div class="panes">
<div class="dump" role="group" aria-label="Octets in hexadecimal; every field is a link to its row">
<a class="skip" href="#rows{name}">Skip the octets</a>
{_gutter("wide", part.size, _WIDE)}{_gutter("narrow", part.size, _NARROW)}<div class="octets">{octets}</div>
</div>
<table id="rows{name}" role="table">
<caption>{escape(part.title)}, field by field</caption>
<thead role="rowgroup"><tr role="row">{_COLUMNS}</tr></thead>
{rows}
</table>
</div>
</section>"""


def _gutter(kind: str, size: int, step: int) -> str:
    lines = "".join(f"<span>{at}</span>" for at in range(0, size, step))
    return f'<div class="gutter {kind}" aria-hidden="true">{lines}</div>'


def _sealed(segment: Segment) -> bool:
    """True for octets that stand there encrypted; what was opened is drawn like any clear field."""
    return segment.encrypted and segment.where == FRAME


def _classes(segment: Segment) -> str:
    marks = [("enc", _sealed(segment)), ("bad", segment.fault is not None), ("red", segment.redacted)]
    return " ".join([f"l-{segment.layer}", *(name for name, true in marks if true)])


def _octets(name: str, segment: Segment) -> str:
    """The octets of a field in the dump: one link to its row."""
    pairs = "".join(f"<i>{segment.octets[at : at + 2]}</i>" for at in range(0, len(segment.octets), 2))
    count = "1 octet" if segment.size == 1 else f"{segment.size} octets"
    label = f"Offset {segment.offset}, {count}, {segment.field}: {segment.value}".rstrip(": ")
    return f'<a id="o{name}" class="{_classes(segment)}" href="#r{name}" data-s="{name}" aria-label="{escape(label)}">{pairs}</a>'


def _section(names: dict[int, str], section: Section) -> str:
    layer = _LAYERS.get(section.layer, section.layer)
    summary = f' <span class="sum">{escape(section.summary)}</span>' if section.summary else ""
    title = f"<small>{escape(layer)}</small> {escape(section.title)}{summary}"
    cell = f'<th role="rowheader" scope="rowgroup" colspan="5">{title}</th>'
    head = f'<tr role="row" class="head l-{section.layer}">{cell}</tr>'
    rows = "\n".join(_row(names[segment.offset], segment) for segment in section.segments)
    return f'<tbody role="rowgroup">\n{head}\n{rows}\n</tbody>'


def _row(name: str, segment: Segment) -> str:
    octets = " ".join(segment.octets[at : at + 2] for at in range(0, len(segment.octets), 2))
    marks = "".join(
        f'<b class="mark {kind}">{escape(word)}</b> '
        for kind, word in (("enc", "encrypted" if _sealed(segment) else ""), ("bad", segment.fault or ""))
        if word
    )
    label = f"Offset {segment.offset}, show in the octets"
    bits = f'<ul class="bits">{"".join(_bit(bit) for bit in segment.bits)}</ul>' if segment.bits else ""
    return (
        f'<tr role="row" id="r{name}" class="{_classes(segment)}" data-s="{name}" tabindex="-1">'
        f'<td role="cell" class="off"><a href="#o{name}" aria-label="{label}">{segment.offset}</a></td>'
        f'<td role="cell" class="hex">{octets}</td><th role="rowheader" scope="row">{escape(segment.field)}</th>'
        f'<td role="cell" class="val">{escape(segment.value)}</td>'
        f'<td role="cell" class="mean">{marks}{escape(segment.meaning)}{bits}</td></tr>'
    )


def _bit(bit: Bit) -> str:
    word = "bit" if bit.place.isdecimal() else "bits"
    meaning = f" <span>{escape(bit.meaning)}</span>" if bit.meaning else ""
    zero = ' class="zero"' if not bit.value else ""
    return f"<li{zero}><small>{word} {escape(bit.place)}</small><div>{escape(bit.name)} <b>{bit.value}</b>{meaning}</div></li>"
