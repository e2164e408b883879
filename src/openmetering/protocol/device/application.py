"""The application of a device: what it is asked for, what it answers.

    state       left by                          answers a request with
    standard    select, command                  the standard response
    selected    select, reset, command, 255 s    the selected application and block
    command     select, reset, command, 255 s    the answer to the last command
    error       select, reset, command, 255 s    the application error of the last command

A select of an application that the device does not have resets; a block that it does not have
means the first one: a wrong select is never an error. The 255 s count from the last command.
Source: OMS Volume 2 5.0.1 clause 8.2.5 and Table 40; EN 13757-3, application select (clause to confirm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import msgspec

from openmetering.codec.apl.application_select import ApplicationReset
from openmetering.codec.apl.records import parse
from openmetering.protocol.device import sitp
from openmetering.protocol.device.interface import Applied, DeviceEvent, Feature, Instruction, Outcome
from openmetering.protocol.device.refusals import (
    APPLICATION_BUSY,
    NO_FUNCTION,
    PARAMETER_ERROR,
    UNKNOWN_CI,
    is_refusal,
)
from openmetering.protocol.device.structure import record_fault
from openmetering.protocol.machine import Machine

if TYPE_CHECKING:
    from openmetering.protocol.device.contents import Contents
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["ANSWER_LIFE", "Answer", "Application", "Done", "Expire", "Refuse", "Reset", "Select", "State", "TRANSITIONS"]

ANSWER_LIFE: Final = 255.0  #: seconds a selection, an answer or an error lives after the last command

_DONE, _BUSY, _ERROR = 0, 1, 2  # bits 1..0 of the status octet


class State(Enum):
    """What the next answer is."""

    STANDARD = "standard"
    SELECTED = "selected"
    COMMAND = "command"
    ERROR = "error"


class Answer(msgspec.Struct, frozen=True):
    """An answer as the transport layer needs it: ``bits`` are bits 1..0 of the status octet.

    ``payload`` None stands for the message application ``application`` as it is when it is asked for.
    """

    protocol: str
    payload: bytes | None = None
    bits: int = _DONE
    application: int = 0
    block: int = 0


class Reset(msgspec.Struct, frozen=True):
    """An application reset, or a select of what does not exist."""


class Select(msgspec.Struct, frozen=True):
    """A select of an application and a block of it."""

    application: int
    block: int


class Done(msgspec.Struct, frozen=True):
    """A command was carried out, or is: its answer."""

    answer: Answer


class Refuse(msgspec.Struct, frozen=True):
    """A command was refused with an application error."""

    code: int


class Expire(msgspec.Struct, frozen=True):
    """255 s have passed since the last command."""


class _Late(NamedTuple):
    """The function that the last command waits for, how its outcome becomes an answer, and the protocol of the command."""

    feature: Feature
    render: Callable[[Outcome], sitp.Carried]
    protocol: str


_Event = Reset | Select | Done | Refuse | Expire
_STANDARD = Answer("m-bus")


class Application(Machine[State]):
    """The application of one device around its memory and its functions.

    ``codings`` maps further parameters of an application select to applications: those above 15
    have no public coding [?].
    """

    __slots__ = ("_answer", "_codings", "_contents", "_late", "_memory")

    def __init__(self, memory: DeviceMemory, contents: Contents, *, codings: Mapping[bytes, int] | None = None) -> None:
        super().__init__(State.STANDARD)
        self._memory = memory
        self._contents = contents
        self._codings = dict(codings or {})
        self._answer = _STANDARD
        self._late: _Late | None = None

    @property
    def contents(self) -> Contents:
        """The message applications of the device."""
        return self._contents

    # -- the rows ------------------------------------------------------------------------------------

    def _standard(self, event: _Event, now: float) -> list[object]:
        self._answer = _STANDARD
        self._late = None
        return []

    def _select(self, event: Select, now: float) -> list[object]:
        self._answer = Answer("m-bus", None, _DONE, event.application, event.block)
        self._late = None
        return []

    def _done(self, event: Done, now: float) -> list[object]:
        self._answer = event.answer
        return []

    def _refuse(self, event: Refuse, now: float) -> list[object]:
        self._answer = Answer("application-error", bytes((event.code,)), _ERROR)
        self._late = None
        return []

    TRANSITIONS: ClassVar = {
        **dict.fromkeys([(state, Reset) for state in State], (_standard, State.STANDARD)),
        **dict.fromkeys([(state, Select) for state in State], (_select, State.SELECTED)),
        **dict.fromkeys([(state, Done) for state in State], (_done, State.COMMAND)),
        **dict.fromkeys([(state, Refuse) for state in State], (_refuse, State.ERROR)),
        (State.SELECTED, Expire): (_standard, State.STANDARD),
        (State.COMMAND, Expire): (_standard, State.STANDARD),
        (State.ERROR, Expire): (_standard, State.STANDARD),
    }

    # -- commands ------------------------------------------------------------------------------------

    def take(self, protocol: str, payload: bytes, now: float) -> Applied:
        """A command whose transport security is proven.

        ``protocol`` as in ``ci.csv``; ``payload`` in the clear without padding. What no function
        knows is refused: 01h for a protocol, 11h for a command.
        """
        handler = _COMMANDS.get(protocol)
        if handler is None:
            return self.refuse(UNKNOWN_CI, now)
        carried = handler(self, payload, now)
        return self._finish(carried, protocol, now)

    def refuse(self, code: int, now: float) -> Applied:
        """A command that cannot be taken: an application error."""
        self.deadline = now + ANSWER_LIFE
        self._step(Refuse(code), now)
        return Applied(_ERROR)

    def _finish(self, carried: sitp.Carried | None, protocol: str, now: float) -> Applied:
        """The state after a command; None: it was a select, which has changed it already."""
        self.deadline = None if self.state is State.STANDARD and carried is None else now + ANSWER_LIFE
        if carried is None:
            return Applied(_DONE)
        if carried.error is not None:
            self._step(Refuse(carried.error), now)
            return Applied(_ERROR, carried.events)
        self._late = None if carried.late is None else _Late(*carried.late, protocol)
        answer = _rendered(carried, protocol)
        self._step(Done(answer), now)
        return Applied(answer.bits, carried.events)

    def _reset(self, payload: bytes, now: float) -> None:
        """Reset or select (CI 50, 53, 57). Source: OMS Volume 2 5.0.1 clause 8.2; Annex M Table M.38."""
        command = ApplicationReset(payload)
        application = self._codings.get(payload, command.application)
        if application is None or application not in self._contents.applications:
            self._step(Reset(), now)
            return
        coded = payload in self._codings
        self._step(Select(application, 0 if coded else command.block or 0), now)

    def _records(self, payload: bytes, now: float) -> sitp.Carried:
        parsed = parse(payload, uplink=False)
        fault = record_fault(parsed)
        if fault is not None:
            return sitp.Carried(error=fault)
        if not parsed.records:  # the selection of everything for the readout is the standard response
            return _STANDARD_RESPONSE if parsed.global_readout else sitp.Carried(error=PARAMETER_ERROR)
        return self._plainly(Instruction("m-bus", payload, tuple(parsed.records), at=now))

    def _clock(self, payload: bytes, now: float) -> sitp.Carried:
        return self._plainly(Instruction("clock", payload, at=now))

    def _image(self, payload: bytes, now: float) -> sitp.Carried:
        return self._plainly(Instruction("image", payload, at=now))

    def _sitp(self, payload: bytes, now: float) -> sitp.Carried:
        if not sitp.has_application_keys(self._memory):
            return sitp.Carried(error=UNKNOWN_CI)
        return sitp.carry_out(payload, self._memory, now, lambda instruction: self._dispatch(instruction, now))

    def _plainly(self, instruction: Instruction) -> sitp.Carried:
        """A command with no more than link security."""
        found = self._dispatch(instruction, instruction.at)
        if found is None:
            return sitp.Carried(error=NO_FUNCTION)
        feature, outcome = found
        return _plain(outcome, feature)

    def _dispatch(self, instruction: Instruction, now: float) -> tuple[Feature, Outcome] | None:
        for feature in self._contents.features:
            outcome = feature.execute(instruction, now)
            if outcome is not None:
                return feature, outcome
        return None

    # -- answers ---------------------------------------------------------------------------------------

    def answer(self, now: float) -> Answer:
        """What a request is answered with now; the payload is there."""
        answer = self._answer
        if answer.payload is not None:
            return answer
        octets = self._contents.octets(answer.application, answer.block, now)
        return msgspec.structs.replace(answer, protocol="m-bus", payload=octets)

    @property
    def bits(self) -> int:
        """Bits 1..0 of the status octet: the state of the last command."""
        return self._answer.bits

    def status(self, now: float) -> int:
        """Bits 7..2 of the status octet: power low, permanent error, temporary error, of the maker."""
        status = self._memory.status_bits
        for feature in self._contents.features:
            status |= feature.status(now)
        return status & 0xFC

    # -- time ------------------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """The earliest deadline of the application and its functions."""
        times = [feature.deadline for feature in self._contents.features]
        return min((time for time in (self.deadline, *times) if time is not None), default=None)

    def timeout(self, now: float) -> list[DeviceEvent]:
        """Time has passed: functions finish, and what was asked for is forgotten."""
        events: list[DeviceEvent] = []
        for feature in self._contents.features:
            due = feature.deadline
            if due is None or due > now:
                continue
            for notice in feature.timeout(now):
                events += notice.outcome.events
                self._later(feature, notice.outcome, now)
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._step(Expire(), now)
        return events

    def _later(self, feature: Feature, outcome: Outcome, now: float) -> None:
        """A function has finished: if the last command waits for it, its answer is known now."""
        late = self._late
        if late is None or late.feature is not feature or self.state is not State.COMMAND:
            return
        carried = late.render(outcome)
        if carried.error is not None:
            self._step(Refuse(carried.error), now)
            return
        if not carried.busy:
            self._late = None
        self._step(Done(_rendered(carried, late.protocol)), now)

    def power_up(self, now: float) -> None:
        """Volatile state is gone: selection, answer and error."""
        self.state = State.STANDARD
        self.deadline = None
        self._answer = _STANDARD
        self._late = None
        for feature in self._contents.features:
            feature.power_up(now)


TRANSITIONS = Application.TRANSITIONS

_EMPTY = b""
_STANDARD_RESPONSE = sitp.Carried()


def _plain(outcome: Outcome, feature: Feature) -> sitp.Carried:
    """The outcome of a command without a container; a status octet has no place in its answer.

    A status that refuses becomes application error 15h.
    """
    if outcome.error is not None:
        return sitp.Carried(error=outcome.error, events=outcome.events)
    if outcome.status is not None and is_refusal(outcome.status):
        return sitp.Carried(error=PARAMETER_ERROR, events=outcome.events)
    late = (feature, lambda later: _plain(later, feature)) if outcome.busy else None
    return sitp.Carried(None, outcome.payload or _EMPTY, False, outcome.busy, outcome.events, late)


def _rendered(carried: sitp.Carried, protocol: str) -> Answer:
    """The answer of a command that was accepted. Without octets it is the standard response, or error 08h while busy."""
    if carried.busy:
        if carried.payload:
            return Answer(protocol, carried.payload, _BUSY)
        return Answer("application-error", bytes((APPLICATION_BUSY,)), _BUSY)
    bits = _ERROR if carried.refused else _DONE
    return Answer(protocol, carried.payload, bits) if carried.payload else Answer("m-bus", None, bits)


_Handler = Callable[[Application, bytes, float], "sitp.Carried | None"]
_COMMANDS: dict[str, _Handler] = {
    "application-reset": Application._reset,
    "m-bus": Application._records,
    "clock": Application._clock,
    "image": Application._image,
    "sitp": Application._sitp,
}
