"""States of a radio device, and what happens to it: events that it makes of frames and deadlines.

The rows of its table are made of these; see ``radio_device``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import msgspec

from openmetering.protocol.device.interface import SpontaneousKind
from openmetering.protocol.events import Sent
from openmetering.protocol.radio.events import Reason

__all__ = [
    "Action",
    "Acknowledged",
    "Answerable",
    "AsynchronousDue",
    "Confirmed",
    "DemandOver",
    "FrameLost",
    "InstallationOver",
    "LinkReset",
    "RepetitionDue",
    "SentClosed",
    "SentOpen",
    "SentPermanent",
    "SessionExpired",
    "SlotDue",
    "State",
    "Stray",
    "WindowClosed",
    "Withheld",
    "Yielded",
]

#: what a row does: (machine, event, now) -> what comes out
Action = Callable[..., list[object]]


class State(Enum):
    """Where the link of a device stands; the last three belong to the frequent access cycle."""

    OFF = "off"
    IDLE = "idle"
    SENDING = "sending"
    LISTENING = "listening"
    ANSWERING = "answering"
    ATTENTIVE = "attentive"
    PAUSING = "pausing"


# -- what happened: events that the machine makes of frames and deadlines -------------------------------


class SlotDue(msgspec.Struct, frozen=True):
    """The time of a synchronous transmission."""


class AsynchronousDue(msgspec.Struct, frozen=True):
    """The time of another transmission."""

    kind: SpontaneousKind


class InstallationOver(msgspec.Struct, frozen=True):
    """The last SND-IR found no CNF-IR."""


class DemandOver(msgspec.Struct, frozen=True):
    """The last ACC-DMD found no ACK."""


class RepetitionDue(msgspec.Struct, frozen=True):
    """t_TxD is over."""


class WindowClosed(msgspec.Struct, frozen=True):
    """No frame began in the window."""


class SessionExpired(msgspec.Struct, frozen=True):
    """t_TO is over."""


class FrameLost(msgspec.Struct, frozen=True):
    """Nobody said that the own frame left."""


class SentOpen(msgspec.Struct, frozen=True):
    """The own frame left; it promised a short window."""

    sent: Sent


class SentClosed(msgspec.Struct, frozen=True):
    """The own frame left; it promised nothing."""

    sent: Sent


class SentPermanent(msgspec.Struct, frozen=True):
    """The own frame left; the receiver is on again until the next one."""

    sent: Sent


class Answerable(msgspec.Struct, frozen=True):
    """A datagram was accepted and has an answer; ``fast`` by its bit D."""

    fast: bool


class Yielded(msgspec.Struct, frozen=True):
    """A synchronous transmission is too near for the answer."""


class Withheld(msgspec.Struct, frozen=True):
    """The duty cycle does not allow the frame."""


class LinkReset(msgspec.Struct, frozen=True):
    """SND-NKE."""


class Confirmed(msgspec.Struct, frozen=True):
    """CNF-IR to the last SND-IR."""


class Acknowledged(msgspec.Struct, frozen=True):
    """ACK to the last ACC-DMD."""


class Stray(msgspec.Struct, frozen=True):
    """A frame that changes nothing."""

    reason: Reason
    frame: bytes
