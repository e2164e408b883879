"""Where an order of the wired master stands, and the events that the master makes of orders, octets and deadlines.

The table that joins them stands in ``wired_master``.
"""

from __future__ import annotations

from enum import Enum

import msgspec

__all__ = [
    "Acknowledged",
    "Addressed",
    "AnswerEndless",
    "AnswerLast",
    "AnswerMore",
    "AttemptLost",
    "AttemptsLost",
    "Complete",
    "Elapsed",
    "ForAll",
    "NeedsDeselection",
    "NeedsReset",
    "NeedsSelection",
    "PlainFails",
    "Settled",
    "State",
    "ToAlarm",
    "ToAsk",
    "ToExchange",
    "ToLeave",
    "ToProbe",
    "ToSend",
    "ToSwitch",
]


class State(Enum):
    """Where an order stands."""

    IDLE = "idle"
    ORDERED = "ordered"
    RESETTING = "resetting"
    DESELECTING = "deselecting"
    SELECTING = "selecting"
    BROADCASTING = "broadcasting"
    REACHED = "reached"
    SENDING = "sending"
    EXCHANGING = "exchanging"
    REQUESTING = "requesting"
    ALARMING = "alarming"
    PROBING = "probing"
    SWITCHING = "switching"
    VERIFYING = "verifying"
    RESTORING = "restoring"
    ENDING = "ending"
    LEAVING = "leaving"


# events that the machine makes of orders, octets and deadlines


class NeedsReset(msgspec.Struct, frozen=True):
    """The frame count bits of the address are not known."""


class NeedsDeselection(msgspec.Struct, frozen=True):
    """Another slave is selected, or may be."""


class NeedsSelection(msgspec.Struct, frozen=True):
    """No slave is selected."""


class ForAll(msgspec.Struct, frozen=True):
    """The order is for address 255."""


class Addressed(msgspec.Struct, frozen=True):
    """The slave can be spoken to at once."""


class ToSend(msgspec.Struct, frozen=True):
    """SND-UD is next."""


class ToExchange(msgspec.Struct, frozen=True):
    """SND-UD2 is next."""


class ToAsk(msgspec.Struct, frozen=True):
    """REQ-UD2 is next."""


class ToAlarm(msgspec.Struct, frozen=True):
    """REQ-UD1 is next."""


class ToProbe(msgspec.Struct, frozen=True):
    """REQ-UD2 to see whether one slave is selected."""


class ToSwitch(msgspec.Struct, frozen=True):
    """The control frame with the rate is next."""


class Complete(msgspec.Struct, frozen=True):
    """Nothing is left to do."""


class ToLeave(msgspec.Struct, frozen=True):
    """The slave must be deselected before the result is told."""


class Settled(msgspec.Struct, frozen=True):
    """The result can be told."""


class Acknowledged(msgspec.Struct, frozen=True):
    """E5 came."""


class AnswerMore(msgspec.Struct, frozen=True):
    """A long frame came and the slave has more."""

    frame: bytes


class AnswerLast(msgspec.Struct, frozen=True):
    """A long frame came and it is the last."""

    frame: bytes


class AnswerEndless(msgspec.Struct, frozen=True):
    """A long frame came, the slave has more, and it is enough."""

    frame: bytes


class AttemptLost(msgspec.Struct, frozen=True):
    """No answer, or a disturbed one; attempts are left."""

    disturbed: bool


class AttemptsLost(msgspec.Struct, frozen=True):
    """No answer, or a disturbed one, for the last time."""

    disturbed: bool


class PlainFails(msgspec.Struct, frozen=True):
    """Several slaves answer to the plain selection and there is a fabrication number."""


class Elapsed(msgspec.Struct, frozen=True):
    """The time in which slaves carry out what was sent to all is over."""
