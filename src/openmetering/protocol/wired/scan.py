"""The scan of primary addresses: who answers at 0..250?

    READY       --Start-->         RESETTING    SND-NKE to the first address
    RESETTING   --Acknowledged-->  REQUESTING   REQ-UD2
    RESETTING   --Nothing-->       RESETTING    repeated while attempts are left, then the next address (Judged)
    REQUESTING  --Answered-->      ...          a slave (Judged)
    ...         --Disturbed-->     ...          several slaves at one address, or noise (Judged after all attempts)
    ...         --Judged-->        CHOOSING     --NextAddress--> RESETTING, or --Exhausted--> DONE

As in the wildcard search the answer time is waited out. Requests: at most two for every attempt and address.
Source: EN 13757-2, clauses to confirm; The M-Bus: A Documentation, Rev. 4.8; OMS Volume 2 Annex P release C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import ClassVar, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.link.wired import WiredFrame
from openmetering.protocol.events import Transmit
from openmetering.protocol.wired.frames import REQ_UD2, SND_NKE, address_of
from openmetering.protocol.wired.line import Answer
from openmetering.protocol.wired.search import (
    Acknowledged,
    Again,
    Answered,
    Disturbed,
    Exhausted,
    Hunt,
    Nothing,
    Progress,
    SearchDone,
    Start,
    StopSearch,
)
from openmetering.protocol.wired.timing import LineTiming

__all__ = ["TRANSITIONS", "PrimaryScan", "PrimarySeen", "ScanState"]

_FCB = 0x20


class ScanState(Enum):
    """Where the scan stands."""

    READY = "ready"
    RESETTING = "resetting"
    REQUESTING = "requesting"
    CHOOSING = "choosing"
    DONE = "done"


class PrimarySeen(msgspec.Struct, frozen=True):
    """Somebody answers at a primary address.

    ``kind`` slave: one, with its ``frame`` and the ``address`` it states; mute: E5, but no data; several: answers
    that cannot be read
    """

    primary: int
    kind: Literal["slave", "mute", "several"]
    address: Address | None = None
    frame: bytes = b""


class NextAddress(msgspec.Struct, frozen=True):
    """There is an address to ask."""


class Judged(msgspec.Struct, frozen=True):
    """What answers at the address is known; None: nobody."""

    seen: PrimarySeen | None


OutEvent = Transmit | PrimarySeen | Progress | SearchDone


class PrimaryScan(Hunt[ScanState, OutEvent]):
    """One scan at one rate; ``addresses`` to ask, ``attempts`` for each."""

    __slots__ = ("_acknowledged", "_addresses", "_attempt", "_disturbed", "_primary")

    TRANSITIONS: ClassVar[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {}

    def __init__(self, timing: LineTiming | None = None, *, attempts: int = 3, addresses: Iterable[int] = range(251)) -> None:
        super().__init__(ScanState.READY, timing, attempts)
        self._addresses: Iterator[int] = iter(addresses)
        self._primary = 0
        self._attempt = 0
        self._acknowledged = self._disturbed = False

    def _choose(self, now: float) -> list[object]:
        primary = next(self._addresses, None)
        if primary is None:
            return self._step(Exhausted(), now)
        self._primary, self._attempt, self._acknowledged, self._disturbed = primary, 0, False, False
        return self._step(NextAddress(), now)

    # -- actions ---------------------------------------------------------------------------------

    def _begin(self, event: object, now: float) -> list[object]:
        return self._choose(now)

    def _look(self, event: object, now: float) -> list[object]:
        return [Progress(self.requests, self.found, str(self._primary)), *self._reset(event, now)]

    def _reset(self, event: object, now: float) -> list[object]:
        self._attempt += 1
        return self._ask(WiredFrame.short(SND_NKE, self._primary), now)

    def _request(self, event: object, now: float) -> list[object]:
        self._acknowledged = True
        return self._ask(WiredFrame.short(REQ_UD2 | _FCB, self._primary), now)

    def _lost(self, event: object, now: float) -> list[object]:
        self._line.rest(now)
        self._disturbed |= isinstance(event, Disturbed | Answered)
        if self._attempt < self.attempts:
            return self._step(Again(), now)
        if self._disturbed:
            return self._step(Judged(PrimarySeen(self._primary, "several")), now)
        return self._step(Judged(PrimarySeen(self._primary, "mute") if self._acknowledged else None), now)

    def _answered(self, event: Answered, now: float) -> list[object]:
        answer: Answer = event.answer
        if answer.frame.address != self._primary:
            return self._lost(event, now)
        seen = PrimarySeen(self._primary, "slave", address_of(answer.frame.data), answer.octets)
        return self._step(Judged(seen), now)

    def _next(self, event: Judged, now: float) -> list[object]:
        self.found += event.seen is not None
        return [*([] if event.seen is None else [event.seen]), *self._choose(now)]

    def _finish(self, event: object, now: float) -> list[object]:
        self._line.close()
        return [SearchDone(self.requests, self.found, isinstance(event, Exhausted))]


_S, _P = ScanState, PrimaryScan

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]] = {
    (_S.READY, Start): (_P._begin, _S.CHOOSING),
    (_S.CHOOSING, NextAddress): (_P._look, _S.RESETTING),
    (_S.CHOOSING, Exhausted): (_P._finish, _S.DONE),
    (_S.RESETTING, Acknowledged): (_P._request, _S.REQUESTING),
    **{(_S.RESETTING, lost): (_P._lost, _S.RESETTING) for lost in (Nothing, Disturbed, Answered)},
    (_S.REQUESTING, Answered): (_P._answered, _S.RESETTING),
    **{(_S.REQUESTING, lost): (_P._lost, _S.RESETTING) for lost in (Nothing, Disturbed, Acknowledged)},
    (_S.RESETTING, Again): (_P._reset, _S.RESETTING),
    (_S.RESETTING, Judged): (_P._next, _S.CHOOSING),
    (_S.RESETTING, StopSearch): (_P._finish, _S.DONE),
    (_S.REQUESTING, StopSearch): (_P._finish, _S.DONE),
}
PrimaryScan.TRANSITIONS = TRANSITIONS
