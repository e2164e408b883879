"""What stands between the link of a device and its application, and between the application and its functions.

    link machine (radio device, wired slave, adapter)
        |  take, acknowledge, respond, spontaneous, alarm
    Endpoint            transport header, security, fragments, message counters
        |  Instruction / Outcome
    Application         states standard, selected, command, error; SITP container; 255 s
        |  execute, records
    Feature             clock, disconnector, image transfer, keys, supervision, ...

Each is called by the one above it and calls nothing back: what the world should know goes up as
events in the answers. Source: OMS Volume 2 5.0.1 clause 8.2; Annex M release C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record

__all__ = [
    "Applied",
    "DeviceEvent",
    "Endpoint",
    "Feature",
    "Instruction",
    "Notice",
    "Outcome",
    "SpontaneousKind",
    "Taken",
]

#: what a device says by itself: SND-NR with data, static data or consumer data (UC-07), SND-IR, ACC-NR, ACC-DMD
SpontaneousKind = Literal["data", "static", "consumer", "install", "access", "demand"]


class DeviceEvent(msgspec.Struct, frozen=True):
    """Something a device did, told to the world around it (never sent on air).

    ``name`` is one of: valve, clock, image, key, address, primary-address, status-cleared, due-date,
    ownership, selection, index, application, executed. ``detail`` is words for a log; ``value`` a number or None.
    ``executed`` comes once for every secured command that was carried out: ``value`` is its key counter.
    """

    name: str
    detail: str = ""
    value: int | None = None


class Taken(msgspec.Struct, frozen=True):
    """What became of a frame with a command.

    ``mine``      False: another device is meant, or nothing in it can be answered; the link stays silent
    ``complete``  False: a fragment that was stored, more are to come
    ``status``    status octet for the ACK (bits 1..0: 00 done, 01 busy, 10 application error)
    """

    mine: bool
    complete: bool = True
    status: int = 0
    events: tuple[DeviceEvent, ...] = ()


class Endpoint(Protocol):
    """The application of a device with its transport layer, as link machines see it. Persistent state is inside."""

    @property
    def address(self) -> Address:
        """Address of the application device (ALA); may change (UC-20a)."""
        ...

    @property
    def deadline(self) -> float | None:
        """When ``timeout`` is due next, in seconds."""
        ...

    def timeout(self, now: float) -> list[DeviceEvent]:
        """Time has passed: a delayed command, a validation, the 255 s of a command answer."""
        ...

    def power_up(self, now: float) -> None:
        """Volatile state is gone: selections, pending answers, partial messages, access numbers of partners."""
        ...

    def take(self, frame: bytes, now: float) -> Taken:
        """A link frame (wired or wireless, whole) with a command in it: SND-UD, SND-UD2.

        The link has decided that it is new (not a repetition). Security is opened, the command executed.
        """
        ...

    def acknowledge(self, access_number: int, now: float) -> bytes:
        """Octets behind the ELL for an ACK, NACK or ACC-NR: a pure transport header with the present status."""
        ...

    def respond(self, access_number: int, now: float, largest: int) -> tuple[bytes, ...]:
        """The answer to REQ-UD2 or SND-UD2: octets behind the link layer (radio: behind the ELL), one item a fragment.

        ``access_number`` of the request's transport header, to be copied (wired requests without one: the own
        number of the device); ``largest`` octets an item may have.
        """
        ...

    def more(self) -> bool:
        """True if the answer given last is one of several telegrams (wired: DIF 1Fh) and the next can be asked for."""
        ...

    def advance(self) -> None:
        """The partner has got the telegram given last; ``respond`` gives the next one from now on (wired, FCB toggled)."""
        ...

    def end_session(self, now: float) -> None:
        """SND-NKE or a time-out: the partner's access number and partial messages are forgotten."""
        ...

    def spontaneous(self, kind: SpontaneousKind, access_number: int, now: float, *, ell: bool) -> bytes:
        """Octets behind the ELL of a message nobody asked for. ``ell`` False: link bits stand in the configuration field."""
        ...

    def alarm(self, now: float, access_number: int | None = None) -> bytes | None:
        """The answer to REQ-UD1: octets behind the link layer, None without an alarm (the link sends ACK).

        ``access_number`` of the request's transport header, to be copied; None where it has none (wire).
        """
        ...


# -- between application and functions ------------------------------------------------------------


class Instruction(msgspec.Struct, frozen=True):
    """A command as a function of the device sees it, security proven and taken off.

    ``protocol``  m-bus, clock, image, sitp-block (keys; the payload is one encoded SITP block)
    ``records``   parsed records for m-bus, else empty
    ``key_id``    application key of ASP10 that proved it; None: link security only
    ``at``        time of execution (seconds); ``now`` for immediate commands
    ``rehearse``  True: check only, change nothing (blocks of one SITP message are one transaction)
    """

    protocol: str
    payload: bytes
    records: tuple[Record, ...] = ()
    key_id: int | None = None
    at: float = 0.0
    rehearse: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What a function did.

    ``error``    application error code (10h, 11h, 15h, ...), None for success
    ``status``   SITP status octet (DSI 22) where the answer is one; None otherwise
    ``payload``  answer octets in the protocol of the command (records, image answer, SITP block content),
                 None: the standard response will do
    ``busy``     accepted, but not finished: status bits 01 until ``timeout`` finishes it
    """

    error: int | None = None
    status: int | None = None
    payload: bytes | None = None
    busy: bool = False
    events: tuple[DeviceEvent, ...] = ()


class Applied(msgspec.Struct, frozen=True):
    """What the application made of a message: status bits 1..0 for the ACK and the events."""

    status: int = 0
    events: tuple[DeviceEvent, ...] = ()


class Notice(msgspec.Struct, frozen=True):
    """A function that finished later: the answer it has now, and what happened."""

    outcome: Outcome


class Feature(Protocol):
    """One function of a device: a use case of Annex M, device side."""

    @property
    def deadline(self) -> float | None:
        """When ``timeout`` is due next."""
        ...

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """Carry out a command; None: it is not for this function."""
        ...

    def timeout(self, now: float) -> list[Notice]:
        """Time has passed."""
        ...

    def records(self, application: int, now: float) -> Sequence[Record]:
        """What the function adds to a message application (0 standard, 7 static, 16.. others)."""
        ...

    def status(self, now: float) -> int:
        """Bits 2..7 of the status octet it asks for (power low, permanent and temporary error)."""
        ...

    def power_up(self, now: float) -> None:
        """Volatile state is gone."""
        ...
