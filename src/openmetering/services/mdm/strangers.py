"""Devices that nobody registered: which of them may stand where a device fell silent.

A meter that was exchanged without a word is silent from a day on, and another one of its medium is heard from about then on.
Foreign meters of neighbours are heard all the time, so they are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from openmetering.mdm.findings import Finding
from openmetering.mdm.validation.rules import Rule

__all__ = ["Stranger", "suspects"]

_DAY = 86_400.0
_KINDS = ("water", "heat", "electricity", "gas", "cooling")


class Stranger(msgspec.Struct, frozen=True):
    """A device without a point, and when it was heard first and last."""

    address: str
    medium: str
    first: float
    last: float


def suspects(
    rule: Rule, point: str, device: str, medium: str, last: float, until: float, strangers: Sequence[Stranger]
) -> Iterator[Finding]:
    """The strangers that began when a device of the point ended, if it ended."""
    if until - last < rule["days"] * _DAY:
        return
    for one in strangers:
        if (
            abs(one.first - last) <= rule["days"] * _DAY
            and one.last - one.first > rule["days"] * _DAY
            and _alike(one.medium, medium)
        ):
            day = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d")
            words = f"{device} is silent since {day}; {one.address} ({one.medium}), which nobody registered, is heard since then"
            yield Finding(rule.id, rule.severity, point, one.address, last, until, words)


def _alike(one: str, other: str) -> bool:
    return one == other or (
        any(kind in one and kind in other for kind in _KINDS) and not ({"warm water", "cold water"} >= {one, other})
    )
