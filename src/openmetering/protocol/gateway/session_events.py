"""Where a session of a gateway stands, and what it is told by its own reading of what it hears.

The table that joins them stands in ``session``.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from openmetering.protocol.exchange import Failure
from openmetering.protocol.gateway.access import Window
from openmetering.protocol.gateway.partner_security import Opened

__all__ = [
    "Accepted",
    "AcceptedBusy",
    "Cancelled",
    "Chance",
    "Confirmed",
    "Doubted",
    "Elapsed",
    "Event",
    "GivenUp",
    "PartCame",
    "PartTaken",
    "Queued",
    "Quiet",
    "Refused",
    "Repeated",
    "State",
    "Unsupported",
    "WholeCame",
]


class State(Enum):
    """Where a session stands."""

    IDLE = "idle"
    WAITING = "waiting"
    ASKED = "asked"
    PAUSING = "pausing"
    LINGERING = "lingering"
    CLOSING = "closing"


# -- what the rows are named by --------------------------------------------------------------


class Queued(msgspec.Struct, frozen=True):
    """There is an order to begin."""


class Chance(msgspec.Struct, frozen=True):
    """A window that Annex I lets us use."""

    window: Window


class GivenUp(msgspec.Struct, frozen=True):
    """The order cannot be carried out."""

    reason: Failure


class PartTaken(msgspec.Struct, frozen=True):
    """ACK for a fragment of a command that others follow."""


class Accepted(msgspec.Struct, frozen=True):
    """ACK for a command whose answer is wanted (or: no alarm, but data)."""


class AcceptedBusy(msgspec.Struct, frozen=True):
    """ACK or answer that says: not finished yet."""


class Confirmed(msgspec.Struct, frozen=True):
    """ACK, and that is all that was wanted."""

    status: int


class Unsupported(msgspec.Struct, frozen=True):
    """ACK for SND-UD2: the device does not know it."""


class Refused(msgspec.Struct, frozen=True):
    """NACK."""


class PartCame(msgspec.Struct, frozen=True):
    """A fragment of the answer; more are to come."""


class WholeCame(msgspec.Struct, frozen=True):
    """The answer, opened and proven."""

    opened: Opened
    status: int


class Doubted(msgspec.Struct, frozen=True):
    """An answer that could not be opened or is not proven."""


class Cancelled(msgspec.Struct, frozen=True):
    """The operator wants it no more."""


class Elapsed(msgspec.Struct, frozen=True):
    """The time of the state is over."""


class Repeated(msgspec.Struct, frozen=True):
    """The device still repeats its answer: it did not get SND-NKE."""


class Quiet(msgspec.Struct, frozen=True):
    """Nothing was sent: there is no session to end."""


Event = (
    Queued | Chance | GivenUp | PartTaken | Accepted | AcceptedBusy | Confirmed | Unsupported | Refused | PartCame
    | WholeCame | Doubted | Cancelled | Elapsed | Repeated | Quiet
)  # fmt: skip
