"""How much a value may be trusted, and how it came about: the quality of every reading that leaves the head-end.

MEASURED                       as the meter said it, in time
LATE                           as the meter said it, but read or received outside its window
INTERPOLATED HISTORY PEERS AREA     estimated, see ``mdm.estimation``
EDITED                         entered by a person, with a reason
INVALID                        measured, but a rule failed: kept, not billed
MISSING                        nothing is known
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Quality", "better", "ranks"]


class Quality(Enum):
    """Quality of a value; the text is what stores and exports write."""

    MEASURED = "measured"
    LATE = "late"
    INTERPOLATED = "estimated-interpolation"
    HISTORY = "estimated-history"
    PEERS = "estimated-peers"
    AREA = "estimated-area"
    EDITED = "edited"
    INVALID = "invalid"
    MISSING = "missing"

    @property
    def estimated(self) -> bool:
        """True for values that no meter said and no person entered."""
        return self in _ESTIMATED

    @property
    def billable(self) -> bool:
        """True if a bill may be based on it; the share of estimates that a law allows is another question."""
        return self not in (Quality.INVALID, Quality.MISSING)


_ESTIMATED = frozenset((Quality.INTERPOLATED, Quality.HISTORY, Quality.PEERS, Quality.AREA))
#: from the best to the worst; a result made of several values has the worst quality among them
ranks: tuple[Quality, ...] = (
    Quality.MEASURED,
    Quality.LATE,
    Quality.EDITED,
    Quality.INTERPOLATED,
    Quality.HISTORY,
    Quality.PEERS,
    Quality.AREA,
    Quality.INVALID,
    Quality.MISSING,
)
_RANK = {quality: rank for rank, quality in enumerate(ranks)}


def better(one: Quality, other: Quality) -> bool:
    """True if ``one`` may be trusted more than ``other``."""
    return _RANK[one] < _RANK[other]
