"""What a wired master can be told to do, and what it tells.

    ReadPrimary, ReadSecondary   all telegrams of a slave        AnswerReceived ..., ReadoutDone or ReadoutFailed
    Transact                     one sequence of Annex M         TransactionDone or TransactionFailed
    SelectSecondary, Deselect    selection by itself             TransactionDone or TransactionFailed
    SetBaud                      another rate of a slave         LineRate, BaudSet or TransactionFailed
    UseBaud                      another rate of the master      LineRate
    Abort                        give up what is under way       ReadoutFailed or TransactionFailed

Source: EN 13757-2 and EN 60870-5-2, clauses to confirm; OMS Volume 2 Annex M release C Table M.1, Annex P release C.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openmetering.codec.address import Selection
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.wired.timing import LineRate

__all__ = [
    "Abort",
    "AnswerReceived",
    "BaudSet",
    "Deselect",
    "InEvent",
    "Kind",
    "Order",
    "OutEvent",
    "ReadPrimary",
    "ReadSecondary",
    "ReadoutDone",
    "ReadoutFailed",
    "Reason",
    "SelectSecondary",
    "SetBaud",
    "Target",
    "Transact",
    "TransactionDone",
    "TransactionFailed",
    "Unsolicited",
    "UseBaud",
]

Kind = Literal["SND-UD", "SND-UD2", "REQ-UD2", "REQ-UD1", "SND-NKE"]
Reason = Literal["no-answer", "disturbed", "not-selected", "endless", "rate-refused", "aborted"]


# -- events in --------------------------------------------------------------------------------


class ReadPrimary(msgspec.Struct, frozen=True):
    """Read the slave at a primary address (0..250, or 254 on a bus with one slave). As target of ``Transact``: 255 is all."""

    address: int


class ReadSecondary(msgspec.Struct, frozen=True):
    """Read the slave that a selection fits."""

    selection: Selection


Target = ReadPrimary | ReadSecondary


class Transact(msgspec.Struct, frozen=True):
    """One sequence of Annex M with a slave.

    ``data``    octets behind the A field (CI first) of SND-UD and SND-UD2; a REQ-UD2 with data is a long frame
    ``kind``    SND-UD: E5, then REQ-UD2 until the answer is complete if ``answer``. SND-UD2, REQ-UD2: the answer, and
                REQ-UD2 until it is complete. REQ-UD1: an alarm, or E5 if there is none. SND-NKE: reset of the link
    ``answer``  False: E5 is enough
    ``quick``   REQ-UD1 only: wait 33 bits instead of the longest answer time, once (poll for alarms)

    A slave that was selected stays selected for the next order with the same target.
    """

    target: Target
    data: bytes | None
    kind: Kind
    answer: bool = True
    quick: bool = False


class SelectSecondary(msgspec.Struct, frozen=True):
    """Select a slave and keep it selected.

    A selection with fabrication number goes out without it first where the rest names one device; the number is
    used when that does not separate the slaves (OMS Volume 2 Annex P, P-20).
    """

    selection: Selection


class Deselect(msgspec.Struct, frozen=True):
    """SND-NKE to 253: no slave is selected any more."""


class SetBaud(msgspec.Struct, frozen=True):
    """Set the rate of a slave (of all slaves with 255), in bit/s, and go on with it."""

    target: Target
    baud: int


class UseBaud(msgspec.Struct, frozen=True):
    """Go on with another rate, in bit/s, without telling a slave."""

    baud: int


class Abort(msgspec.Struct, frozen=True):
    """Give up what is under way."""


Order = ReadPrimary | ReadSecondary | Transact | SelectSecondary | Deselect | SetBaud

# -- events out -------------------------------------------------------------------------------


class AnswerReceived(msgspec.Struct, frozen=True):
    """One frame of a readout; ``number`` counts from 0."""

    target: Target
    frame: bytes
    number: int
    last: bool


class ReadoutDone(msgspec.Struct, frozen=True):
    """The readout ended; ``frames`` is 0 if the slave acknowledged but has no data."""

    target: Target
    frames: int


class ReadoutFailed(msgspec.Struct, frozen=True):
    """The readout ended without (all) data. ``disturbed`` tells noise or a collision from silence."""

    target: Target
    reason: Reason
    step: str
    frames: int

    @property
    def disturbed(self) -> bool:
        """True if something answered that could not be read."""
        return self.reason == "disturbed"


class TransactionDone(msgspec.Struct, frozen=True):
    """The sequence is complete. ``frames`` are the answers in order; empty where E5 was the last answer.

    SND-UD2 without frames: the slave acknowledged only; it does not know the message, or took it for SND-UD.
    ``selection`` is what selected the slave (None at a primary address). ``repeated`` True: the command went out more
    than once; a slave that forgot its frame count bit meanwhile has got it twice.
    """

    target: Target
    frames: tuple[bytes, ...] = ()
    selection: Selection | None = None
    repeated: bool = False


class TransactionFailed(msgspec.Struct, frozen=True):
    """The sequence is over without (all) answers.

    ``step`` is reset, select, send, request, alarm, rate, leave or abort. ``delivered`` True: the command was
    acknowledged; False: it was not sent (or there was none); None: nobody knows.
    """

    target: Target
    reason: Reason
    step: str
    delivered: bool | None


class BaudSet(msgspec.Struct, frozen=True):
    """The slave answers at the new rate (to all slaves: they were told)."""

    target: Target
    baud: int


class Unsolicited(msgspec.Struct, frozen=True):
    """Octets that nobody asked for."""

    octets: bytes


InEvent = Order | UseBaud | Octets | Abort
OutEvent = (
    Transmit
    | AnswerReceived
    | ReadoutDone
    | ReadoutFailed
    | TransactionDone
    | TransactionFailed
    | BaudSet
    | LineRate
    | Unsolicited
)
