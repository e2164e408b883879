"""One logical slave of a wired device: addresses, selection, frame count memory, answers; no characters and no times.

    DESELECTED  --SelectionFits-->    SELECTED      E5, frame count memory of 253 cleared
    SELECTED    --SelectionMisses-->  DESELECTED    silent
    SELECTED    --ResetSelected-->    DESELECTED    SND-NKE to 253: E5
    both        --Reset-->            same          SND-NKE to the own address, 254, 255: E5, selection stays
    both        --Command-->          same          SND-UD: the application takes it, E5
    both        --Exchange-->         same          SND-UD2: the application takes it, RSP-UD
    both        --Request-->          same          REQ-UD2: RSP-UD, the next fragment or telegram
    both        --AlarmRequest-->     same          REQ-UD1: RSP-UD with the alarm, or E5
    both        --Rate-->             same          control frame with CI B8..BF: E5, then the other rate
    both        --Repetition-->       same          the last answer again, nothing is carried out
    both        --NotMine-->          same          silent

Ways to a slave are its primary address, 253 while it is selected, and 254; each has its own frame count memory.
255 is carried out and never answered. A frame is a repetition if FCV is 1 and it equals, octet for octet, the last
one of its kind on its way since that memory was cleared. A negative answer is silence: the wire has no NACK.
Source: EN 13757-2, EN 60870-5-2 and EN 13757-3 (selection), clauses to confirm; The M-Bus: A Documentation, Rev. 4.8;
OMS Volume 2 Annex P release C (P-11 to P-14, P-20), Annex M release C Table M.1.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Literal, cast

import msgspec

from openmetering.codec import afl
from openmetering.codec.address import Selection
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import ACK, BROADCAST, SELECTED, TEST, WiredFrame
from openmetering.errors import OutOfRange, Truncated
from openmetering.protocol.device.interface import DeviceEvent, Endpoint
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.machine import Machine
from openmetering.protocol.wired.frames import RSP_UD, SELECT
from openmetering.tables import BAUD_RATES, CONTROL_INFORMATION

_APPLICATION_ERROR = 0x70

__all__ = ["TRANSITIONS", "LogicalSlave", "RateChange", "Reply", "Selected"]

Way = Literal["primary", "selected", "test", "broadcast"]


class Selected(Enum):
    """Whether frames to 253 are for this slave."""

    DESELECTED = "deselected"
    SELECTED = "selected"


# what a frame is for this slave
class _Frame(msgspec.Struct, frozen=True):
    frame: WiredFrame
    octets: bytes
    way: Way


class SelectionFits(_Frame, frozen=True):
    """A selection whose pattern this slave matches."""


class SelectionMisses(_Frame, frozen=True):
    """A selection of another slave, or one that this slave does not support."""


class Reset(_Frame, frozen=True):
    """SND-NKE to the primary address, 254 or 255."""


class ResetSelected(_Frame, frozen=True):
    """SND-NKE to 253."""


class Command(_Frame, frozen=True):
    """SND-UD."""


class Exchange(_Frame, frozen=True):
    """SND-UD2."""


class Request(_Frame, frozen=True):
    """REQ-UD2."""


class AlarmRequest(_Frame, frozen=True):
    """REQ-UD1."""


class Rate(_Frame, frozen=True):
    """A control frame with CI B8..BF."""


class Repetition(_Frame, frozen=True):
    """The last frame of its kind once more: the answer was lost."""


class NotMine(_Frame, frozen=True):
    """A frame for another slave, or none that can be answered."""


# -- what comes out ----------------------------------------------------------------------------------


class Reply(msgspec.Struct, frozen=True):
    """What this slave would send."""

    octets: bytes


class RateChange(msgspec.Struct, frozen=True):
    """The device shall go on with another rate (bit/s) when the answer is out. ``answered`` False: sent to all."""

    baud: int
    answered: bool


class _Memory:
    """Frame count memory of one way: the last frame of SND and of REQ, and what was answered."""

    __slots__ = ("answers", "frames")

    def __init__(self) -> None:
        self.frames: dict[str, bytes] = {}
        self.answers: dict[str, bytes] = {}


class LogicalSlave(Machine[Selected]):
    """A device behind a wired transceiver, around its application.

    ``fabrication`` number (eight digits) for enhanced selection, None: not supported; ``largest`` octets behind the A
    field of an answer; ``bauds`` it can be switched to; ``exchanges`` False: SND-UD2 is not known.
    """

    __slots__ = ("_fragments", "_memories", "_moved_by", "_told_on", "bauds", "endpoint", "exchanges", "fabrication", "largest",
                 "memory")  # fmt: skip

    TRANSITIONS: ClassVar[dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]]] = {}

    def __init__(
        self,
        endpoint: Endpoint,
        memory: DeviceMemory,
        *,
        fabrication: str | None = None,
        largest: int = 253,
        bauds: tuple[int, ...] = (300, 2400),
        exchanges: bool = True,
    ) -> None:
        super().__init__(Selected.DESELECTED)
        if fabrication is not None and len(fabrication) != 8:
            raise OutOfRange("a fabrication number has eight digits", field="fabrication", value=fabrication)
        self.endpoint = endpoint
        self.memory = memory
        self.fabrication = fabrication
        self.largest = largest
        self.bauds = bauds
        self.exchanges = exchanges
        self._memories: dict[Way, _Memory] = {}
        #: fragments that are still to come, and the way on which an answer was told last
        self._fragments: list[bytes] = []
        self._told_on: Way | None = None
        #: the command that changed the primary address, until another frame comes
        self._moved_by = b""

    def power_up(self, now: float) -> None:
        """Volatile state is gone."""
        self.forget()
        self.endpoint.power_up(now)

    def forget(self) -> None:
        """The slave stops listening for a while: selection and frame count memory are gone."""
        self.state = Selected.DESELECTED
        self._memories.clear()
        self._moved_by = b""
        self._new_session()

    def hear(self, frame: WiredFrame, octets: bytes, now: float) -> list[Reply | RateChange | DeviceEvent]:
        """A frame of the master, checked. What would be answered, and what happened."""
        event = self._name(frame, octets)
        if not isinstance(event, NotMine | Repetition):
            self._moved_by = b""
        return cast("list[Reply | RateChange | DeviceEvent]", self._step(event, now))

    def needs_application(self, frame: WiredFrame, octets: bytes) -> bool | None:
        """Whether the application would be asked for a frame: None no, False to carry something out, True to answer."""
        kind = type(self._name(frame, octets))
        if kind is Repetition:
            return frame.control & 0x0F != 0x03
        return None if kind not in _GROUPS or kind is Rate else kind is not Command

    def error(self, code: int) -> bytes:
        """An answer with an application error.

        Octets   0  CI 70 (application error without header); 1  code
        Source   EN 13757-3, application errors (clause to confirm); OMS Volume 2 5.0.1 Table 40
        """
        return self._response(bytes((_APPLICATION_ERROR, code)))

    # -- what a frame is ---------------------------------------------------------------------------

    def _way(self, address: int) -> Way | None:
        if address == SELECTED:
            return "selected"
        if address == TEST:
            return "test"
        if address == BROADCAST:
            return "broadcast"
        return "primary" if address == self.memory.primary_address else None

    def _name(self, frame: WiredFrame, octets: bytes) -> _Frame:
        way = self._way(frame.address)
        if way is None:
            return (Repetition if octets == self._moved_by else NotMine)(frame, octets, "primary")
        kind = _KINDS.get(_kind_key(frame), NotMine)
        if kind is Command and frame.data[0] == SELECT:
            return self._selection(frame, octets, way)
        if way == "selected":
            kind = NotMine if self.state is Selected.DESELECTED else ResetSelected if kind is Reset else kind
        if (kind is Exchange and not self.exchanges) or (way == "broadcast" and kind in _ONLY_ANSWERS):
            kind = NotMine
        if self._repeats(kind, frame, octets, way):
            kind = Repetition
        elif kind is Command and frame.kind == "control" and frame.data[0] in BAUD_RATES:
            kind = Rate if BAUD_RATES[frame.data[0]] in self.bauds else NotMine
        return kind(frame, octets, way)

    def _selection(self, frame: WiredFrame, octets: bytes, way: Way) -> _Frame:
        """A selection is for all slaves that listen to 253, and for nobody at another address."""
        if way != "selected":
            return NotMine(frame, octets, way)
        return (SelectionFits if self._fits(frame.data[1:]) else SelectionMisses)(frame, octets, way)

    def _fits(self, data: bytes) -> bool:
        """True if a selection names this slave. What it does not know it does not match."""
        try:
            selection = Selection.decode(data)
        except Truncated:
            return False
        if selection.more or not self.endpoint.address.matches(selection.pattern):
            return False
        wanted = selection.fabrication
        if wanted is None:
            return True
        own = self.fabrication
        return own is not None and all(digit in ("F", mine) for digit, mine in zip(wanted, own, strict=True))

    def _repeats(self, kind: type[_Frame], frame: WiredFrame, octets: bytes, way: Way) -> bool:
        group = _GROUPS.get(kind)
        memory = self._memories.get(way)
        if group is None or memory is None or memory.frames.get(group) != octets:
            return False
        return bool(frame.control & 0x10) or (kind is Exchange and _access_number(frame.data) is not None)

    # -- memory --------------------------------------------------------------------------------------

    def _new_session(self) -> None:
        self._fragments, self._told_on = [], None

    def _forget_requests(self) -> None:
        """A command was carried out: a request from before it is not repeated any more, its answer is out of date.

        So masters with one frame count bit for both are understood as well: theirs is the same in every REQ-UD2 that
        stands behind a SND-UD.
        """
        for memory in self._memories.values():
            memory.frames.pop("REQ", None)

    def _keep(self, event: _Frame, answer: bytes) -> list[object]:
        """Remember frame and answer, and give the answer unless everybody was addressed."""
        group = _GROUPS[type(event)]
        memory = self._memories.setdefault(event.way, _Memory())
        memory.frames[group], memory.answers[group] = event.octets, answer
        return self._reply(event, answer)

    @staticmethod
    def _reply(event: _Frame, answer: bytes) -> list[object]:
        return [] if event.way == "broadcast" or not answer else [Reply(answer)]

    # -- actions ---------------------------------------------------------------------------------------

    def _nothing(self, event: _Frame, now: float) -> list[object]:
        return []

    def _select(self, event: _Frame, now: float) -> list[object]:
        """A session begins: a readout or message that was begun before is given up."""
        self._memories.pop("selected", None)
        self._new_session()
        self.endpoint.end_session(now)
        return [Reply(ACK)]

    def _deselect(self, event: _Frame, now: float) -> list[object]:
        self._memories.pop("selected", None)
        if self._told_on == "selected":
            self._new_session()
        return []

    def _reset_selected(self, event: _Frame, now: float) -> list[object]:
        self._memories.pop("selected", None)
        self._new_session()
        self.endpoint.end_session(now)
        return [Reply(ACK)]

    def _reset(self, event: _Frame, now: float) -> list[object]:
        if event.way == "primary":
            self._memories.pop("primary", None)
        else:
            self._memories.clear()
        self._new_session()
        self.endpoint.end_session(now)
        return self._reply(event, ACK)

    def _repeat(self, event: _Frame, now: float) -> list[object]:
        group = _GROUPS[_KINDS[_kind_key(event.frame)]]
        return self._reply(event, self._memories[event.way].answers[group])

    def _command(self, event: _Frame, now: float) -> list[object]:
        """Carry out. Where that changes the primary address, E5 may be lost and the frame come to the old one again."""
        before = self.memory.primary_address
        taken = self.endpoint.take(event.octets, now)
        events = self.applied(taken.events)
        if not taken.mine:
            return events
        self._new_session()
        self._forget_requests()
        if event.way == "primary" and before != self.memory.primary_address:
            self._moved_by = event.octets
        return [*self._keep(event, ACK), *events]

    def _exchange(self, event: _Frame, now: float) -> list[object]:
        taken = self.endpoint.take(event.octets, now)
        events = self.applied(taken.events)
        if not taken.mine:
            return events
        self._new_session()
        self._forget_requests()
        if not taken.complete:  # SND-UD2 is not for fragmented messages
            return events
        return [*self._keep(event, self._first(event, now)), *events]

    def _request(self, event: _Frame, now: float) -> list[object]:
        return self._keep(event, self._next(event, now))

    def _alarm(self, event: _Frame, now: float) -> list[object]:
        alarm = self.endpoint.alarm(now)
        return self._keep(event, ACK if alarm is None else self._response(alarm))

    def _rate(self, event: _Frame, now: float) -> list[object]:
        change = RateChange(BAUD_RATES[event.frame.data[0]], event.way != "broadcast")
        return [*self._keep(event, ACK), change]

    def applied(self, events: tuple[DeviceEvent, ...]) -> list[object]:
        """What the application did, with the primary address taken over."""
        for event in events:
            if event.name == "primary-address" and event.value is not None:
                self.memory.primary_address = event.value
        return list(events)

    # -- answers -----------------------------------------------------------------------------------------

    def _response(self, data: bytes, address: int | None = None) -> bytes:
        """RSP-UD with the own address; where that has just been changed, with the one that was asked."""
        own = self.memory.primary_address if address is None else address
        return WiredFrame("long", ControlField(RSP_UD), own, data).encode()

    def _first(self, event: _Frame, now: float) -> bytes:
        """The first fragment of the answer that the application has now; empty if it has none."""
        number = _access_number(event.frame.data)
        if number is None:
            number = self.memory.transport_access_number = (self.memory.transport_access_number + 1) & 0xFF
        first, *rest = self.endpoint.respond(number, now, self.largest) or (b"",)
        self._fragments, self._told_on = rest, event.way
        asked = event.frame.address if event.way == "primary" else None
        return self._response(first, asked) if first else b""

    def _next(self, event: _Frame, now: float) -> bytes:
        """A request that is new says that the answer before it has come: the next fragment, the next telegram."""
        if self._told_on == event.way:
            if self._fragments:
                return self._response(self._fragments.pop(0))
            self.endpoint.advance()
        return self._first(event, now)


def _access_number(data: bytes) -> int | None:
    """The access number of the transport header of a frame of the master; None without a header.

    Octets   short header: 0 CI, 1 access number; long header: 0 CI, 1..8 address, 9 access number; an AFL before it
    Source   EN 13757-7:2018, transport layer (clause to confirm)
    Raises   nothing
    """
    at = data[1] + 2 if data[:1] == bytes((afl.CI,)) and len(data) > 1 else 0
    information = CONTROL_INFORMATION[data[at]] if len(data) > at else None
    place = at + _ACCESS_NUMBER.get(information.header if information is not None else "", len(data))
    return data[place] if place < len(data) else None


_ACCESS_NUMBER = {"short": 1, "long": 9}


def _kind_key(frame: WiredFrame) -> tuple[int, bool]:
    control = int(frame.control)
    return control & ~(0x20 if control & 0x10 else 0), frame.kind in ("long", "control")


#: (C without FCB, frame with data) -> what it is; without FCV the FCB must be 0
_KINDS: dict[tuple[int, bool], type[_Frame]] = {
    (0x40, False): Reset,
    (0x53, True): Command,
    (0x43, True): Exchange,
    (0x5B, False): Request,
    (0x4B, False): Request,
    (0x5B, True): Request,
    (0x5A, False): AlarmRequest,
    (0x4A, False): AlarmRequest,
}
#: kind -> which of the two frame count memories it uses
_GROUPS: dict[type[_Frame], str] = {Command: "SND", Rate: "SND", Exchange: "SND", Request: "REQ", AlarmRequest: "REQ"}
_ONLY_ANSWERS = (Exchange, Request, AlarmRequest)
_L = LogicalSlave

#: (state, what came) -> (action, next state)
TRANSITIONS: dict[tuple[Enum, type], tuple[Callable[..., list[object]], Enum]] = {
    (Selected.DESELECTED, SelectionFits): (_L._select, Selected.SELECTED),
    (Selected.SELECTED, SelectionFits): (_L._select, Selected.SELECTED),
    (Selected.DESELECTED, SelectionMisses): (_L._nothing, Selected.DESELECTED),
    (Selected.SELECTED, SelectionMisses): (_L._deselect, Selected.DESELECTED),
    (Selected.SELECTED, ResetSelected): (_L._reset_selected, Selected.DESELECTED),
    **{
        (state, kind): (action, state)
        for state in Selected
        for kind, action in (
            (Reset, _L._reset),
            (Command, _L._command),
            (Exchange, _L._exchange),
            (Request, _L._request),
            (AlarmRequest, _L._alarm),
            (Rate, _L._rate),
            (Repetition, _L._repeat),
            (NotMine, _L._nothing),
        )
    },
}
LogicalSlave.TRANSITIONS = TRANSITIONS
