"""Redaction: an anatomy without identity and key material.

Taken away: identification and fabrication numbers, addresses, customer data, access codes and
containers; content whose meaning nobody here knows; ciphertext, MACs, tags and key material;
every CRC and checksum, for they would give short numbers back; and every repetition of a taken
number, in octets and in words. Kept: manufacturer, version, device type, times and readings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import replace

from openmetering.errors import Fault
from openmetering.telegram.anatomy.model import Anatomy, Fact, Part, Section, Segment

__all__ = ["NOTE", "redact"]

NOTE = (
    "Redacted: identification numbers, addresses, customer data, ciphertext, MACs, CRCs and octets of unknown content "
    "read xx. Manufacturer, version, device type, times and readings are kept."
)
_BLANK = "xx"
_WORD = "redacted"
_COMPUTED = re.compile(r"\b[0-9A-F]{2,8}h\b")  # a CRC in a message tells 16 bits of what it covers
_SHORTEST = 4  #: characters a text needs to be searched for in other texts
_NUMBER = 4  #: octets an identity needs to be searched for in other octets


class _Traces(msgspec.Struct, frozen=True):
    """What must not appear any more: texts, and runs of octets in hexadecimal."""

    pattern: re.Pattern[str] | None
    runs: frozenset[str]


def redact(anatomy: Anatomy) -> Anatomy:
    """The same anatomy without identity and key material; nothing in it gives them back."""
    traces = _traces(anatomy)
    return Anatomy(
        _clean(anatomy.title, traces),
        tuple(_fact(fact, traces) for fact in anatomy.facts),
        tuple(_part(part, traces) for part in anatomy.parts),
        None if anatomy.error is None else _fault(anatomy.error, traces),
        tuple(_fault(warning, traces) for warning in anatomy.warnings),
        redacted=True,
    )


# -- what to look for -----------------------------------------------------------------------------


def _traces(anatomy: Anatomy) -> _Traces:
    texts: set[str] = {fact.value for fact in anatomy.facts if fact.secret}
    runs: set[str] = set()
    for segment in anatomy.segments:
        if segment.secret == "identity":
            texts |= {segment.value, segment.value.lstrip("0"), segment.octets}
            octets = bytes.fromhex(segment.octets)
            runs |= {octets.hex().upper(), octets[::-1].hex().upper()}
    texts |= {" ".join(run[at : at + 2] for at in range(0, len(run), 2)) for run in runs} | runs
    words = sorted((re.escape(text) for text in texts if len(text) >= _SHORTEST), key=len, reverse=True)
    pattern = re.compile("|".join(words), re.IGNORECASE) if words else None
    return _Traces(pattern, frozenset(run for run in runs if len(run) >= 2 * _NUMBER and run.strip("0")))


def _clean(text: str, traces: _Traces) -> str:
    if "computed" in text:
        text = _COMPUTED.sub(f"{_BLANK}h", text)
    return text if traces.pattern is None else traces.pattern.sub(_WORD, text)


# -- pieces ---------------------------------------------------------------------------------------


def _fact(fact: Fact, traces: _Traces) -> Fact:
    return replace(fact, value=_WORD if fact.secret else _clean(fact.value, traces))


def _fault(fault: Fault, traces: _Traces) -> Fault:
    return Fault(fault.code, fault.layer, fault.offset, _clean(fault.message, traces))


def _part(part: Part, traces: _Traces) -> Part:
    repeated = _repetitions(part.segments, traces)
    sections = tuple(_section(section, traces, repeated) for section in part.sections)
    return replace(part, title=_clean(part.title, traces), note=_clean(part.note, traces), sections=sections)


def _section(section: Section, traces: _Traces, repeated: frozenset[int]) -> Section:
    segments = tuple(_segment(segment, traces, segment.offset in repeated) for segment in section.segments)
    hidden = section.secret or any(new.redacted and not old.secret for new, old in zip(segments, section.segments, strict=True))
    summary = _WORD if hidden else _clean(section.summary, traces)
    return Section(section.layer, _clean(section.title, traces), summary, section.secret, segments)


def _segment(segment: Segment, traces: _Traces, repeated: bool) -> Segment:
    if segment.secret or repeated:
        fault = segment.fault
        meaning = _clean(segment.meaning, traces) if segment.secret in ("cipher", "proof", "check") or fault else ""
        field = _clean(segment.field, traces)
        return replace(
            segment, octets=_BLANK * segment.size, value=_WORD, meaning=meaning, field=field, bits=(), redacted=True,
            secret=segment.secret or "identity",
        )  # fmt: skip
    return replace(segment, value=_clean(segment.value, traces), meaning=_clean(segment.meaning, traces))


def _repetitions(segments: Iterable[Segment], traces: _Traces) -> frozenset[int]:
    """Offsets of segments that repeat an identity, alone or together; CRCs between them do not count."""
    return frozenset(_found([segment for segment in segments if segment.secret != "check"], traces))


def _found(segments: list[Segment], traces: _Traces) -> Iterator[int]:
    octets = "".join(segment.octets for segment in segments)
    for run in traces.runs:
        at = octets.find(run)
        while at >= 0:
            if at % 2 == 0:
                yield from _touched(segments, at, at + len(run))
            at = octets.find(run, at + 1)


def _touched(segments: list[Segment], start: int, stop: int) -> Iterator[int]:
    at = 0
    for segment in segments:
        end = at + len(segment.octets)
        if at < stop and end > start:
            yield segment.offset
        at = end
