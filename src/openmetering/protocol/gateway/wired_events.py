"""What a gateway of a wired line is told and what it tells, its slaves, its memory, and the events of its table."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from openmetering.codec.address import Address, Selection
from openmetering.protocol.events import Octets, PowerUp
from openmetering.protocol.exchange import Answered, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.access import AccessMemory
from openmetering.protocol.gateway.events import Alarm, Forget, OpenOrder
from openmetering.protocol.gateway.partner_security import SecurityMemory
from openmetering.protocol.wired.orders import OutEvent, ReadPrimary, ReadSecondary

__all__ = [
    "Acknowledged",
    "BusyCame",
    "Doubted",
    "Elapsed",
    "Finished",
    "PartTaken",
    "PersistWired",
    "Queued",
    "RegisterSlave",
    "SlaveLink",
    "State",
    "WiredInput",
    "WiredMemory",
    "WiredOutput",
]

_LARGEST: Final = 252  #: octets behind the A field of a long frame


class SlaveLink(msgspec.Struct, frozen=True):
    """How a slave is reached and protected.

    ``primary``      its primary address (0..250); None: it is selected by ``address`` (and ``fabrication``)
    ``profile``      none, A, B or D; ``key_id`` 00..0F; ``key_version`` None: the version of the key in the ring
    ``snd_ud2``      the slave knows SND-UD2 (demanded by IDIS, allowed by Annex M)
    ``largest``      octets behind the A field that the slave can receive
    """

    address: Address
    primary: int | None = None
    fabrication: str | None = None
    profile: str = "none"
    snd_ud2: bool = False
    largest: int = _LARGEST
    key_id: int = 0
    key_version: int | None = None

    @property
    def target(self) -> ReadPrimary | ReadSecondary:
        """As the master names it."""
        if self.primary is not None:
            return ReadPrimary(self.primary)
        return ReadSecondary(Selection(self.address, self.fabrication))


class WiredMemory(msgspec.Struct, frozen=True):
    """What must survive a power cut. It holds keys."""

    security: SecurityMemory = SecurityMemory()
    links: tuple[SlaveLink, ...] = ()
    access: tuple[AccessMemory, ...] = ()
    orders: tuple[OpenOrder, ...] = ()


class RegisterSlave(msgspec.Struct, frozen=True):
    """In: a slave belongs to this line (from now on, or with another description)."""

    link: SlaveLink


class PersistWired(msgspec.Struct, frozen=True):
    """Out: store the memory before anything that follows in the same list is carried out."""

    memory: WiredMemory


WiredInput = PowerUp | Octets | Submit | Withdraw | GiveKey | RegisterSlave | Forget
WiredOutput = OutEvent | Answered | Failed | Alarm | PersistWired


class State(Enum):
    """Where the order under way stands."""

    IDLE = "idle"
    TRANSACTING = "transacting"
    PAUSING = "pausing"


class Queued(msgspec.Struct, frozen=True):
    """There is an order to begin."""


class PartTaken(msgspec.Struct, frozen=True):
    """E5 for a fragment of a command that others follow."""


class Acknowledged(msgspec.Struct, frozen=True):
    """E5 for SND-UD2."""


class BusyCame(msgspec.Struct, frozen=True):
    """The answer says: not finished yet."""


class Doubted(msgspec.Struct, frozen=True):
    """An answer that could not be opened or is not proven."""


class Finished(msgspec.Struct, frozen=True):
    """The order is over; ``result`` makes what the operator is told."""

    result: Answered | Failed


class Elapsed(msgspec.Struct, frozen=True):
    """The pause is over."""
