"""What the functions of a device share: a base that does nothing, and the checks that many of them make.

A function looks at an instruction and returns None where it is not meant; what it refuses, it
refuses with an application error, or with a status octet where the container of the command has
one. It changes nothing while ``Instruction.rehearse`` is set: all blocks of a message are one
transaction. Source: OMS Volume 2 Annex M release C, M.1.4 and M.1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from openmetering.codec.apl.header import RecordHeader, header_of
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.values import converter
from openmetering.protocol.device.interface import Instruction, Notice, Outcome
from openmetering.protocol.device.refusals import INADEQUATE_SECURITY, STATUS_TARGET_TIME

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["STANDARD_APPLICATIONS", "Function", "Pending", "demand_key", "demand_now", "record_of", "same_place", "single"]

#: message applications that hold "standard response" tags: all data, mobile and fixed network readout, consumer information
STANDARD_APPLICATIONS: Final = frozenset((0, 16, 17, 18))


class Function:
    """Base of the functions: nothing is due, nothing is added to messages or to the status octet."""

    __slots__ = ()

    @property
    def deadline(self) -> float | None:
        """When ``timeout`` is due next; None for never."""
        return None

    def timeout(self, now: float) -> list[Notice]:
        """Time has passed."""
        return []

    def records(self, application: int, now: float) -> Sequence[Record]:
        """What the function adds to a message application."""
        return ()

    def status(self, now: float) -> int:
        """Bits 2 to 7 of the status octet."""
        return 0

    def power_up(self, now: float) -> None:
        """Nothing here is volatile: all functions keep their state in ``DeviceMemory``."""


class Pending:
    """The commands with a delay of one function: they stand in the memory and survive a power cut.

    ``mark`` is one octet that tells the functions apart.
    """

    __slots__ = ("_mark", "_memory")

    def __init__(self, memory: DeviceMemory, mark: bytes) -> None:
        self._memory = memory
        self._mark = mark

    @property
    def deadline(self) -> float | None:
        """Time of execution of the next command, None without one."""
        return min((at for at, octets in self._memory.pending if octets[:1] == self._mark), default=None)

    def put(self, at: float, data: bytes) -> None:
        """Remember a command; an older one of this function is replaced."""
        self.clear()
        self._memory.pending.append((at, self._mark + data))

    def take(self, now: float) -> bytes | None:
        """The data of the command that is due, taken out; None if none is."""
        for at, octets in self._memory.pending:
            if octets[:1] == self._mark and at <= now:
                self.clear()
                return octets[1:]
        return None

    def clear(self) -> None:
        """Forget the commands of this function."""
        self._memory.pending[:] = [entry for entry in self._memory.pending if entry[1][:1] != self._mark]


def single(instruction: Instruction) -> Record | None:
    """The record of an M-Bus command with exactly one; None otherwise.

    Source   OMS Volume 2 Annex M release C, M.1.4: one command per message is the minimum
    """
    if instruction.protocol != "m-bus" or len(instruction.records) != 1:
        return None
    return instruction.records[0]


def demand_key(instruction: Instruction, key_id: int) -> Outcome | None:
    """Application error 22h if the command is not proven with the application key of the function."""
    return None if instruction.key_id == key_id else Outcome(error=INADEQUATE_SECURITY)


def demand_now(instruction: Instruction, now: float) -> Outcome | None:
    """Status 23h for a target time other than immediate, where the function knows no delay."""
    return None if instruction.at == now else Outcome(status=STATUS_TARGET_TIME)


def same_place(header: RecordHeader, other: RecordHeader) -> bool:
    """True if function, storage number, tariff, subunit and final DIFE are the same."""
    return (header.function, header.storage, header.tariff, header.subunit, header.final_dife) == (
        other.function,
        other.storage,
        other.tariff,
        other.subunit,
        other.final_dife,
    )


def record_of(dib: bytes, vib: bytes, raw: bytes) -> Record:
    """A record of fixed length from its octets."""
    header = header_of(dib, vib)
    return Record(header, raw, converter(header)(raw))
