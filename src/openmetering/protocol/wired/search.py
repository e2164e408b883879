"""The wildcard search: finds all slaves of a segment by secondary address; and the scan of primary addresses.

    READY        --Start-->         CLEARING     SND-NKE to 253
    CLEARING     --any outcome-->   CHOOSING
    CHOOSING     --NextBranch-->    SELECTING    SND-UD to 253, CI 52 and a selection with wildcards
    CHOOSING     --Exhausted-->     LEAVING      SND-NKE to 253, explicitly
    SELECTING    --Acknowledged-->  REQUESTING   REQ-UD2 to 253
    SELECTING    --Nothing-->       SELECTING    repeated twice, then the branch is empty (Judged)
    SELECTING    --Disturbed-->     ...          several slaves: no request is needed (Judged); repeated at full depth
    REQUESTING   --Answered-->      CONFIRMING   REQ-UD2 with the other FCB, where the selection has wildcards
    CONFIRMING   --Answered-->      ...          the same slave again, alone: it is believed (Judged)
    ...          --Judged-->        CHOOSING     ``wired_tree`` says which branch comes next
    LEAVING      --any outcome-->   DONE

Two slaves seldom answer at the same time: the answer time is always waited out, so that a second one that begins
later is heard as well. Garbage, several E5, A5 of a device with several logical slaves, octets around an answer and
another answer to the second request all tell of several slaves. A slave that always covers another one in the same
way is seen through only with ``thorough``.
Requests: at most 3 for every attempt of a probe, 3 attempts; the number of probes is bounded in ``wired_tree``.
Source: EN 13757-2 and EN 13757-3 (selection), clauses to confirm; The M-Bus: A Documentation, Rev. 4.8;
OMS Volume 2 Annex P release C (P-14, P-18 to P-20 and informative part).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from enum import Enum
from typing import ClassVar, Generic, TypeVar, cast

import msgspec

from openmetering.codec.address import Address, Selection, flag_value
from openmetering.codec.link.wired import SELECTED, WiredFrame
from openmetering.protocol.events import Octets, Transmit
from openmetering.protocol.machine import Machine
from openmetering.protocol.wired.frames import REQ_UD2, SELECT, SND_NKE, SND_UD, address_of
from openmetering.protocol.wired.line import Answer, Line
from openmetering.protocol.wired.timing import LineTiming
from openmetering.protocol.wired.tree import Node, Probe, SearchTree, Trouble, Verdict
from openmetering.tables import MANUFACTURERS

__all__ = [
    "TRANSITIONS",
    "Found",
    "Progress",
    "SearchDone",
    "SearchState",
    "SecondarySearch",
    "Start",
    "StopSearch",
    "Unresolvable",
    "heard",
]

_FCB = 0x20
#: manufacturers that are tried where slaves share an identification number
KNOWN_MANUFACTURERS = tuple(flag_value(code) for code in MANUFACTURERS)


class SearchState(Enum):
    """Where the search stands."""

    READY = "ready"
    CLEARING = "clearing"
    CHOOSING = "choosing"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    CONFIRMING = "confirming"
    LEAVING = "leaving"
    DONE = "done"


class Start(msgspec.Struct, frozen=True):
    """Search."""


class StopSearch(msgspec.Struct, frozen=True):
    """End the search before its time; what was found stays found."""


# -- out ---------------------------------------------------------------------------------------------


class Found(msgspec.Struct, frozen=True):
    """A slave. ``address`` as its answer states it, None if it states none; ``selection`` selects it alone."""

    address: Address | None
    selection: Selection
    primary: int
    frame: bytes


class Unresolvable(msgspec.Struct, frozen=True):
    """Slaves under a selection that could not be told apart or read.

    ``reason`` duplicates: several with one address; no-answer: E5 to the selection, nothing to the request;
    hidden: somebody answers whose digits are none of 0..9; noise: more collisions than slaves can make.
    """

    selection: Selection
    reason: Trouble


class Progress(msgspec.Struct, frozen=True):
    """A branch is asked: requests so far, slaves found, its pattern in digits."""

    requests: int
    found: int
    position: str


class SearchDone(msgspec.Struct, frozen=True):
    """The end. ``complete`` False: stopped, or the limit of requests was reached."""

    requests: int
    found: int
    complete: bool


# -- inside ------------------------------------------------------------------------------------------


class NextBranch(msgspec.Struct, frozen=True):
    """There is a branch to ask."""

    probe: Probe


class Exhausted(msgspec.Struct, frozen=True):
    """Nothing is left to ask."""


class Nothing(msgspec.Struct, frozen=True):
    """Silence."""


class Acknowledged(msgspec.Struct, frozen=True):
    """One E5 and nothing else."""


class Answered(msgspec.Struct, frozen=True):
    """One answer and nothing else."""

    answer: Answer


class Disturbed(msgspec.Struct, frozen=True):
    """Several answers, or something that is none."""


class Again(msgspec.Struct, frozen=True):
    """The branch is asked once more."""


class Judged(msgspec.Struct, frozen=True):
    """What the branch holds is known."""

    verdict: Verdict


def heard(line: Line) -> Nothing | Acknowledged | Answered | Disturbed:
    """What came in an answer time: silence, one E5, one answer, or anything else."""
    if not line.touched:
        return Nothing()
    answers = line.final()
    if len(answers) != 1 or not answers[0].alone:
        return Disturbed()
    if answers[0].acknowledged:
        return Acknowledged()
    return Answered(answers[0]) if answers[0].frame.control & 0x4F == 0x08 else Disturbed()


S = TypeVar("S", bound=Enum)
Out = TypeVar("Out")


class Hunt(Machine[S], Generic[S, Out]):
    """What searches share: a line that is asked, and all of an answer time looked at when it is over."""

    __slots__ = ("_line", "attempts", "found", "requests")

    def __init__(self, start: S, timing: LineTiming | None, attempts: int) -> None:
        super().__init__(start)
        self.attempts = attempts
        self.requests = 0
        self.found = 0
        self._line = Line(timing or LineTiming())

    def receive(self, event: Start | StopSearch | Octets, now: float) -> list[Out]:
        """Begin, end, or octets of the line. Raises ProtocolError if the state does not allow it."""
        if isinstance(event, Octets):
            if self._line.deadline is not None:
                self._line.hear(event, now)
                self.deadline = self._line.deadline
            return []
        return cast("list[Out]", self._step(event, now))

    def timeout(self, now: float) -> list[Out]:
        """The answer time is over: what came is looked at."""
        if self.deadline is None or now < self.deadline:
            return []
        return cast("list[Out]", self._step(heard(self._line), now))

    def _step(self, event: object, now: float) -> list[object]:
        out = super()._step(event, now)
        self.deadline = self._line.deadline
        return out

    def _ask(self, frame: WiredFrame, now: float) -> list[object]:
        self.requests += 1
        return [self._line.send(frame.encode(), now, hold=True)]


OutEvent = Transmit | Found | Unresolvable | Progress | SearchDone


class SecondarySearch(Hunt[SearchState, OutEvent]):
    """One search at one rate.

    ``attempts`` of a probe; ``limit`` of requests, after which the search is given up; ``manufacturers`` codes that
    are tried where identification numbers are equal; ``slaves`` and ``thorough`` as in ``SearchTree``; ``root``
    a selection below which to search.
    """

    __slots__ = ("_attempt", "_complete", "_disturbed", "_heard", "_mute", "_probe", "_reported", "_tree", "_walk", "limit")

    TRANSITIONS: ClassVar[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {}

    def __init__(
        self,
        timing: LineTiming | None = None,
        *,
        attempts: int = 3,
        limit: int = 1_000_000,
        manufacturers: Iterable[int] = KNOWN_MANUFACTURERS,
        slaves: int = 250,
        thorough: bool = False,
        root: Address | None = None,
    ) -> None:
        super().__init__(SearchState.READY, timing, attempts)
        self.limit = limit
        self._tree = SearchTree(manufacturers, slaves=slaves, thorough=thorough)
        self._walk: Generator[Probe, Verdict, None] = self._tree.walk(None if root is None else Node(root))
        self._probe = Probe(Node(Address(0xFFFF, "FFFFFFFF", 0xFF, 0xFF)))
        self._attempt = 0
        self._mute = self._disturbed = False
        self._heard: Answer | None = None
        self._complete = True
        self._reported = 0

    # -- actions ---------------------------------------------------------------------------------

    def _clear(self, event: object, now: float) -> list[object]:
        return self._ask(WiredFrame.short(SND_NKE, SELECTED), now)

    def _begin(self, event: object, now: float) -> list[object]:
        return self._choose(next(self._walk), now)

    def _choose(self, probe: Probe | None, now: float) -> list[object]:
        if probe is not None and self.requests >= self.limit:
            probe, self._complete = None, False
        return self._step(Exhausted() if probe is None else NextBranch(probe), now)

    def _look(self, event: NextBranch, now: float) -> list[object]:
        """A new branch."""
        self._probe, self._attempt, self._mute, self._disturbed = event.probe, 0, False, False
        selection = event.probe.node.selection
        position = selection.pattern.identification + ("" if selection.fabrication is None else "/" + selection.fabrication)
        return [Progress(self.requests, self.found, position), *self._select(event, now)]

    def _select(self, event: object, now: float) -> list[object]:
        self._attempt += 1
        selection = self._probe.node.selection
        return self._ask(WiredFrame.long(SND_UD, SELECTED, bytes((SELECT,)) + selection.encode()), now)

    def _request(self, event: object, now: float) -> list[object]:
        return self._ask(WiredFrame.short(REQ_UD2 | _FCB, SELECTED), now)

    def _silent(self, event: object, now: float) -> list[object]:
        self._line.rest(now)
        return self._judge(now)

    def _collided(self, event: object, now: float) -> list[object]:
        """Several slaves. At full depth a wrong judgement costs hundreds of requests: there it must come every time."""
        self._line.rest(now)
        self._disturbed = True
        if not self._probe.node.full:
            return self._step(Judged(Verdict("several")), now)
        return self._judge(now)

    def _unanswered(self, event: object, now: float) -> list[object]:
        """E5 to the selection, and nothing to read."""
        self._mute = True
        return self._silent(event, now)

    def _judge(self, now: float) -> list[object]:
        """Ask again while attempts are left, then say what the branch holds."""
        once = self._probe.once and not self._mute and not self._disturbed
        if self._attempt < self.attempts and not once:
            return self._step(Again(), now)
        return self._step(Judged(Verdict("several" if self._disturbed else "mute" if self._mute else "empty")), now)

    def _answered(self, event: Answered, now: float) -> list[object]:
        """An answer to a selection with wildcards must come again: chance seldom covers a slave twice."""
        self._heard = event.answer
        if self._probe.node.full:
            return self._step(Judged(self._alone(event.answer)), now)
        return self._step(Again(), now)

    def _confirm(self, event: object, now: float) -> list[object]:
        return self._ask(WiredFrame.short(REQ_UD2, SELECTED), now)

    def _confirmed(self, event: Answered, now: float) -> list[object]:
        """The second answer must name the same slave. Its telegram may be the next one, and only the first is kept."""
        assert self._heard is not None
        first, second = self._alone(self._heard), self._alone(event.answer)
        same = self._heard.frame.address == event.answer.frame.address
        same &= second.address is None or first.address == second.address
        return self._step(Judged(first if same else Verdict("several")), now)

    @staticmethod
    def _alone(answer: Answer) -> Verdict:
        return Verdict("alone", address_of(answer.frame.data), answer.octets)

    def _next(self, event: Judged, now: float) -> list[object]:
        """The tree is told, and says what comes next."""
        try:
            probe: Probe | None = self._walk.send(event.verdict)
        except StopIteration:
            probe = None
        return [*self._report(), *self._choose(probe, now)]

    def _report(self) -> list[object]:
        out: list[object] = []
        for one in self._tree.found[self.found :]:
            primary = one.frame[5]
            out.append(Found(one.address, one.selection, primary, one.frame))
        self.found = len(self._tree.found)
        out += [Unresolvable(selection, reason) for selection, reason in self._tree.troubles[self._reported :]]
        self._reported = len(self._tree.troubles)
        return out

    def _stop(self, event: StopSearch, now: float) -> list[object]:
        self._complete = False
        self._line.rest(now, self._line.timing.silence)
        return self._clear(event, now)

    def _finish(self, event: object, now: float) -> list[object]:
        self._line.close()
        return [SearchDone(self.requests, self.found, self._complete)]


_S, _X = SearchState, SecondarySearch
_OUTCOMES = (Nothing, Acknowledged, Answered, Disturbed)

#: (state, event) -> (action, next state); what is not here is a ProtocolError
TRANSITIONS: dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]] = {
    (_S.READY, Start): (_X._clear, _S.CLEARING),
    # nobody answers SND-NKE to 253 unless a slave was selected: every outcome goes on
    **{(_S.CLEARING, outcome): (_X._begin, _S.CHOOSING) for outcome in _OUTCOMES},
    (_S.CHOOSING, NextBranch): (_X._look, _S.SELECTING),
    (_S.CHOOSING, Exhausted): (_X._clear, _S.LEAVING),
    (_S.SELECTING, Acknowledged): (_X._request, _S.REQUESTING),
    (_S.SELECTING, Nothing): (_X._silent, _S.SELECTING),
    (_S.SELECTING, Disturbed): (_X._collided, _S.SELECTING),
    (_S.SELECTING, Answered): (_X._collided, _S.SELECTING),
    (_S.REQUESTING, Answered): (_X._answered, _S.CONFIRMING),
    (_S.REQUESTING, Acknowledged): (_X._unanswered, _S.SELECTING),
    (_S.REQUESTING, Nothing): (_X._unanswered, _S.SELECTING),
    (_S.REQUESTING, Disturbed): (_X._collided, _S.SELECTING),
    (_S.CONFIRMING, Again): (_X._confirm, _S.CONFIRMING),
    (_S.CONFIRMING, Answered): (_X._confirmed, _S.CONFIRMING),
    (_S.CONFIRMING, Acknowledged): (_X._collided, _S.SELECTING),
    (_S.CONFIRMING, Nothing): (_X._unanswered, _S.SELECTING),
    (_S.CONFIRMING, Disturbed): (_X._collided, _S.SELECTING),
    (_S.SELECTING, Again): (_X._select, _S.SELECTING),
    (_S.SELECTING, Judged): (_X._next, _S.CHOOSING),
    (_S.CONFIRMING, Judged): (_X._next, _S.CHOOSING),
    **{(_S.LEAVING, outcome): (_X._finish, _S.DONE) for outcome in _OUTCOMES},
    **{(state, StopSearch): (_X._stop, _S.LEAVING) for state in (_S.CLEARING, _S.SELECTING, _S.REQUESTING, _S.CONFIRMING)},
}
SecondarySearch.TRANSITIONS = TRANSITIONS
