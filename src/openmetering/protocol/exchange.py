"""Exchanges between an operator and a device, the same on the radio and on the wire.

    operator  --Submit-->  gateway or wired master  --frames-->  device
    operator  <--Answered / Failed--  gateway or wired master  <--frames--  device

    Seq_SND-UDx   command and answer        Exchange(address, command)
    Seq_SND-UD    command, ACK only         Exchange(address, command, answer=False)
    Seq_REQ-UD2   answer only               Exchange(address, None)

A command is application octets and the protocol they belong to; whoever carries it chooses the
CI field, the transport header and the transport security. Source: OMS Volume 2 Annex M release C,
Tables M.1 and M.2.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.security import KeyRing
from openmetering.telegram.model import PLAIN, SecurityReport

__all__ = ["Answered", "Command", "Exchange", "Failed", "Failure", "GiveKey", "Submit", "Withdraw"]

#: why an exchange failed
Failure = Literal[
    "no-answer",  # all repetitions are used up
    "no-access",  # the device never opened a window
    "refused-link",  # NACK
    "busy",  # the device was busy to the end
    "security",  # the answer could not be opened, or its proof or counter is wrong
    "withdrawn",  # by the operator
    "not-selected",  # wired: no slave under this secondary address
    "disturbed",  # wired: answers, but none that can be read
    "power",  # the gateway lost power meanwhile
]


class Command(msgspec.Struct, frozen=True):
    """Application octets for a device.

    ``protocol`` as in the column of ``ci.csv``: m-bus, application-reset, clock, image, sitp.
    ``payload`` the octets behind the transport header, in the clear, without padding.
    """

    protocol: str
    payload: bytes


class Exchange(msgspec.Struct, frozen=True):
    """One exchange with a device. ``address`` is that of the application device (ALA)."""

    address: Address
    command: Command | None
    answer: bool = True


class Submit(msgspec.Struct, frozen=True):
    """Into a gateway or master: carry out an exchange. ``token`` is the caller's name for it."""

    token: int
    exchange: Exchange


class Withdraw(msgspec.Struct, frozen=True):
    """Into a gateway or master: forget an exchange that is not finished."""

    token: int


class Answered(msgspec.Struct, frozen=True):
    """Out of a gateway or master: the exchange is complete.

    ``status``    status octet of the transport layer (of the ACK where no answer was asked)
    ``protocol``  of the answer, as in ``ci.csv``: m-bus, sitp, image, application-error, alarm;
                  empty where an ACK is all there is
    ``payload``   application octets in the clear, without padding of the transport layer
    ``security``  how the answer was protected and what is proven
    """

    token: int
    status: int
    protocol: str = ""
    payload: bytes = b""
    security: SecurityReport = PLAIN

    @property
    def error(self) -> bool:
        """True if the device reports an application error (status bits 10)."""
        return self.status & 3 == 2

    @property
    def busy(self) -> bool:
        """True if the device has not finished (status bits 01)."""
        return self.status & 3 == 1


class Failed(msgspec.Struct, frozen=True):
    """Out of a gateway or master: the exchange is over without an answer.

    ``delivered`` True: the command was acknowledged; False: it was never sent; None: nobody knows.
    """

    token: int
    reason: Failure
    delivered: bool | None = None


class GiveKey(msgspec.Struct, frozen=True):
    """Into a gateway or master: a communication key of a device (KeyID 00..0F), for example after its renewal.

    The key that was in use stays in use until an answer under the new one is verified. The ring holds
    one key; it keeps the octets out of representations and logs.
    """

    address: Address
    key: KeyRing
    key_id: int
    version: int
