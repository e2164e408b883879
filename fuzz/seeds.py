"""Telegrams to start from: our vectors, the demo building, composed fleets and, where present, the shared vectors."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.fleet import FLEETS, LAYOUTS, devices
from openmetering import Decoder, OmsError, encode_fragments
from openmetering.interfaces.demo.building import record_day
from openmetering.interfaces.demo.plan import read_building

__all__ = ["Case", "seeds"]

ROOT = Path(__file__).resolve().parent.parent
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}\s*){2,4096}")
_KEY = 16
_DAY = 400  #: about so many telegrams of the demo's day
_METER = bytes.fromhex("9315785634123303")


class Case(NamedTuple):
    """Octets and, where one is known, the key that opens them."""

    octets: bytes
    key: bytes | None


def _octets(text: object) -> bytes | None:
    if not isinstance(text, str) or not _HEX.fullmatch(text.strip()):
        return None
    return bytes.fromhex("".join(text.split()))


def _walk(node: object, key: bytes | None) -> Iterator[Case]:
    """Every text of hexadecimal digits in a file, with the key that stands nearest above it."""
    if isinstance(node, dict):
        own = _octets(node.get("key"))
        key = own if own is not None and len(own) == _KEY else key
        for value in node.values():
            yield from _walk(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value, key)
    else:
        octets = _octets(node)
        if octets is not None:
            yield Case(octets, key)


def _files() -> Iterator[Case]:
    for path in sorted((ROOT / "tests" / "vectors").rglob("*.toml")):
        yield from _walk(tomllib.loads(path.read_text(encoding="utf-8")), None)
    shared = Path(os.environ.get("OPENMETERING_CORPUS") or ROOT / ".." / "shared") / "vectors"
    for path in sorted(shared.glob("*.json")):
        yield from _walk(json.loads(path.read_text(encoding="utf-8")), None)


def _composed() -> Iterator[Case]:
    """One full cycle of each layout under each protection, and fragmented messages."""
    for name, recipe in FLEETS.items():
        for device in devices(len(LAYOUTS), recipe):
            for number in range(2):
                yield Case(device.frame(number), device.key)
            if name == "profile B":
                telegram = device.telegram(3)
                try:
                    for frame in encode_fragments(telegram, device.key, 40):
                        yield Case(frame, device.key)
                except OmsError:
                    continue  # a layout too short for fragments of this size


def _demo() -> Iterator[Case]:
    """A part of the day of the demo building."""
    day = [sent.octets for sent in record_day(read_building())]
    for octets in day[:: max(1, len(day) // _DAY)]:
        yield Case(octets, None)


def _framed(case: Case) -> Iterator[Case]:
    """Octets that are no frame (records, application data) also inside one, behind their own CI field or 78."""
    yield case
    error = Decoder().examine(case.octets).error
    if error is not None and error.code.startswith("frame."):
        body = case.octets[:200] if case.octets[0] in range(0x50, 0x94) else b"\x78" + case.octets[:200]
        yield Case(bytes((9 + len(body), 0x44)) + _METER + body, case.key)


@cache
def seeds() -> tuple[Case, ...]:
    """All of them, each once, in the same order on every run."""
    found = dict.fromkeys((*_files(), *_demo(), *_composed()))
    return tuple(dict.fromkeys(case for first in found for case in _framed(first)))
