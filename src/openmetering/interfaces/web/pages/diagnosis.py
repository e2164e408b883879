"""Why do I receive nothing? Stages from the gateway to the values, judged in order; the first that fails says what to do.

    gateway -> sources open -> octets -> whole frames -> meters heard -> meters registered -> keys -> values

A stage is good, bad, warn (partly), or unknown (idle) where nothing can be said: nobody told, or a stage before
it failed. Pure: facts and the time are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from openmetering.services.gatewayd.health import SourceState

__all__ = ["STAGES", "Facts", "Stage", "diagnose"]

_RECENT: Final = 2 * 3600.0  #: seconds within which a meter counts as heard now


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a gateway; ``sources`` None where no gateway of this process tells about them.

    Numbers of meters: ``heard`` in the last two hours, ``registered`` of these, ``locked`` (no key, or a wrong one),
    ``read`` (opened, with values).
    """

    online: bool
    last_seen: datetime | None
    sources: tuple[SourceState, ...] | None
    heard: int
    registered: int
    locked: int
    read: int


class Stage(msgspec.Struct, frozen=True):
    """A stage: its key in the catalogue, how it is, numbers for its text. ``advice`` where something is to be done."""

    name: str
    tone: str
    values: dict[str, str | int]
    advice: str = ""


Judged = tuple[str, dict[str, str | int]]


def _gateway(facts: Facts) -> Judged:
    return ("good" if facts.online else "bad"), {}


def _sources(facts: Facts) -> Judged:
    sources = facts.sources or ()
    is_open = sum(one.state == "open" for one in sources)
    trouble = "; ".join(f"{one.name}: {one.trouble}" for one in sources if one.state == "failed" and one.trouble)
    return _share(is_open, len(sources)), {"open": is_open, "all": len(sources), "trouble": trouble}


def _octets(facts: Facts) -> Judged:
    counts = [one.counts for one in facts.sources or ()]
    total = sum(one.receptions + one.bad_lines + one.noise for one in counts)
    return ("good" if total else "bad"), {"number": total}


def _frames(facts: Facts) -> Judged:
    counts = [one.counts for one in facts.sources or ()]
    good, bad = sum(one.crc_good for one in counts), sum(one.crc_bad for one in counts)
    modes: dict[str, int] = {}
    for one in counts:
        for mode, number in one.by_mode.items():
            modes[mode] = modes.get(mode, 0) + number
    tone = "bad" if not good else "warn" if bad > good else "good"
    return tone, {"good": good, "bad": bad, "modes": ", ".join(f"{mode}: {number}" for mode, number in sorted(modes.items()))}


def _meters(facts: Facts) -> Judged:
    return ("good" if facts.heard else "bad"), {"number": facts.heard}


def _registered(facts: Facts) -> Judged:
    return _share(facts.registered, facts.heard), {"number": facts.registered, "all": facts.heard}


def _keys(facts: Facts) -> Judged:
    return _share(facts.registered - facts.locked, facts.registered), {"number": facts.locked}


def _values(facts: Facts) -> Judged:
    return _share(facts.read, facts.registered), {"number": facts.read, "all": facts.registered}


def _share(part: int, whole: int) -> str:
    return "bad" if part <= 0 else "warn" if part < whole else "good"


#: name, how it is judged, whether it needs what sources tell
STAGES: Final[tuple[tuple[str, Callable[[Facts], Judged], bool], ...]] = (
    ("gateway", _gateway, False),
    ("sources", _sources, True),
    ("octets", _octets, True),
    ("frames", _frames, True),
    ("meters", _meters, False),
    ("registered", _registered, False),
    ("keys", _keys, False),
    ("values", _values, False),
)


def diagnose(facts: Facts) -> list[Stage]:
    """All stages in order; behind one that fails nothing is judged."""
    found: list[Stage] = []
    failed = False
    for name, judge, needs_sources in STAGES:
        if failed or (needs_sources and facts.sources is None):
            found.append(Stage(name, "idle", {}))
            continue
        tone, values = judge(facts)
        found.append(Stage(name, tone, values, "" if tone == "good" else name))
        failed = tone == "bad"
    return found


def recent(moments: Sequence[datetime], now: datetime) -> int:
    """How many of some times are recent."""
    return sum((now - at).total_seconds() <= _RECENT for at in moments)
