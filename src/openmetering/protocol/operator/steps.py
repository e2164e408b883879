"""The steps of which use cases are made: a procedure yields a step and is resumed with its result.

    def read_clock(head_end, device) -> Procedure[MeterTime]:
        reset = yield Ask(Command("application-reset", b""))
        ...
        return moment

A procedure is a generator without input or output, clock or dice: whoever drives it (``Operator``)
carries the steps to a gateway or a wired master. It can be stopped anywhere and started anew after a
power cut: what it must remember stands in the head-end's journal before the step is yielded.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import msgspec

from openmetering.protocol.exchange import Answered, Command
from openmetering.security import KeyRing

__all__ = ["Ask", "Pause", "Procedure", "Progress", "Provide", "Step"]

R = TypeVar("R")


class Ask(msgspec.Struct, frozen=True):
    """An exchange with the device of the procedure. Resumed with ``Answered``; raises ExchangeFailed if there is none.

    ``command`` None: REQ-UD2 alone; ``answer`` False: the ACK is enough.
    """

    command: Command | None
    answer: bool = True


class Pause(msgspec.Struct, frozen=True):
    """Wait some seconds. Resumed with None."""

    seconds: float


class Provide(msgspec.Struct, frozen=True):
    """Give the gateway a communication key of the device. Resumed with None."""

    key: KeyRing
    key_id: int
    version: int


class Progress(msgspec.Struct, frozen=True):
    """Tell how far it is: ``done`` of ``total`` (blocks, keys, checks), in words. Resumed with None."""

    done: int
    total: int
    text: str


Step = Ask | Pause | Provide | Progress

#: a use case: yields steps, is resumed with Answered (Ask) or None, returns its result
Procedure = Generator[Step, Answered | None, R]
