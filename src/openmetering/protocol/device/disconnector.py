"""UC-03, disconnection and reconnection: the control state machine of breakers and valves.

    type     state           event               new state
    direct   disconnected    connect             connected
    direct   connected       disconnect          disconnected
    manual   disconnected    connect, release    released
    manual   released        manual action       connected
    manual   released        disconnect          disconnected
    manual   connected       disconnect          disconnected
    manual   connected       connect, release    connected

Octets 00 disconnected, 01 connected, 02 released. Figure M.1 has no rows for a command that finds its
state already there, nor for a button that is pressed in vain: the state stays. A direct type
cannot be released (error 15h).
Source: OMS Volume 2 Annex M release C Tables M.7 to M.10, Figure M.1; Annex N N.12.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from openmetering.codec.apl.header import RecordHeader
from openmetering.codec.apl.records import Record
from openmetering.errors import ProtocolError
from openmetering.protocol.device.function import (
    STANDARD_APPLICATIONS,
    Function,
    Pending,
    demand_key,
    record_of,
    single,
)
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Notice, Outcome
from openmetering.protocol.device.refusals import PARAMETER_ERROR, STATUS_SCHEDULED, STATUS_TARGET_TIME

if TYPE_CHECKING:
    from openmetering.protocol.device.memory import DeviceMemory

__all__ = ["DISCONNECT_KEY", "Connect", "Control", "Disconnect", "DisconnectorFeature", "ManualAction", "Release"]

DISCONNECT_KEY: Final = 0x20

_CONTROL = b"\xfd\x1f"
_OUTPUT = b"\xfd\x1a"
_ONE_OCTET = 1
_MARK = b"D"
_LATEST = float(1 << 31)  # seconds that a target time can hold


class Control(Enum):
    """Control state of a disconnector, as in DC1!."""

    DISCONNECTED = 0
    CONNECTED = 1
    RELEASED = 2


class Disconnect(msgspec.Struct, frozen=True):
    """XDC1! 00."""


class Connect(msgspec.Struct, frozen=True):
    """XDC1! 01."""


class Release(msgspec.Struct, frozen=True):
    """XDC1! 02."""


class ManualAction(msgspec.Struct, frozen=True):
    """Somebody switches on at the device."""


_COMMANDS: dict[int, type[Disconnect | Connect | Release]] = {0: Disconnect, 1: Connect, 2: Release}
_OFF, _ON, _FREE = Control.DISCONNECTED, Control.CONNECTED, Control.RELEASED

_Row = tuple[Control, type[Disconnect | Connect | Release | ManualAction]]


class DisconnectorFeature(Function):
    """A breaker or valve.

    ``manual``        it is only released by command and switched on by hand
    ``subunit``       1 inside a meter, 0 for a device of its own
    ``delayed``       a target time with a delay is accepted (optional); the command then stands in
                      the memory, and a later one replaces it
    ``output_state``  DC2! is told as well
    """

    #: manual type? -> (state, event) -> new state
    TRANSITIONS: ClassVar[dict[bool, dict[_Row, Control]]] = {
        False: {
            (_OFF, Connect): _ON,
            (_ON, Disconnect): _OFF,
            (_OFF, Disconnect): _OFF,
            (_ON, Connect): _ON,
            (_OFF, ManualAction): _OFF,
            (_ON, ManualAction): _ON,
        },
        True: {
            (_OFF, Connect): _FREE,
            (_OFF, Release): _FREE,
            (_FREE, ManualAction): _ON,
            (_FREE, Disconnect): _OFF,
            (_ON, Disconnect): _OFF,
            (_ON, Connect): _ON,
            (_ON, Release): _ON,
            (_OFF, Disconnect): _OFF,
            (_FREE, Connect): _FREE,
            (_FREE, Release): _FREE,
            (_OFF, ManualAction): _OFF,
            (_ON, ManualAction): _ON,
        },
    }

    __slots__ = ("_delayed", "_dib", "_manual", "_memory", "_output_state", "_pending", "_subunit")

    def __init__(
        self,
        memory: DeviceMemory,
        *,
        manual: bool = False,
        subunit: int = 0,
        delayed: bool = False,
        output_state: bool = True,
    ) -> None:
        self._memory = memory
        self._manual = manual
        self._subunit = subunit
        self._delayed = delayed
        self._output_state = output_state
        self._dib = b"\x81\x40" if subunit else b"\x01"
        self._pending = Pending(memory, _MARK)
        if memory.breaker is None:
            memory.breaker = Control.CONNECTED.value
        if memory.output is None:
            memory.output = int(memory.breaker == Control.CONNECTED.value)

    @property
    def state(self) -> Control:
        """The control state."""
        return Control(self._memory.breaker or 0)

    @property
    def deadline(self) -> float | None:
        """When a delayed command is due."""
        return self._pending.deadline

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """XDC1!, immediate or delayed. Source: OMS Volume 2 Annex M release C Table M.10."""
        record = single(instruction)
        if record is None or not self._meant(record.header):
            return None
        refusal = demand_key(instruction, DISCONNECT_KEY) or self._late(instruction, now)
        if refusal is not None:
            return refusal
        command = _COMMANDS.get(record.raw[0]) if record.header.data_field == _ONE_OCTET else None
        if command is None or (self.state, command) not in self.TRANSITIONS[self._manual]:
            return Outcome(error=PARAMETER_ERROR)
        if instruction.at > now:
            if not instruction.rehearse:
                self._pending.put(instruction.at, record.raw[:1])
            return Outcome(status=STATUS_SCHEDULED)
        if instruction.rehearse:
            return Outcome()
        self._pending.clear()
        events = self._change(command())
        return Outcome(payload=b"".join(record.octets() for record in self._states()), events=events)

    def _meant(self, header: RecordHeader) -> bool:
        return header.vib == _CONTROL and header.subunit == self._subunit and not (header.storage or header.tariff)

    def _late(self, instruction: Instruction, now: float) -> Outcome | None:
        """Status 23h for a target time that is not supported."""
        latest = now + _LATEST if self._delayed else now
        return Outcome(status=STATUS_TARGET_TIME) if instruction.at > latest else None

    def _change(self, event: Disconnect | Connect | Release | ManualAction) -> tuple[DeviceEvent, ...]:
        """One row of the table. Raises ProtocolError for a pair that is not there."""
        state = self.TRANSITIONS[self._manual].get((self.state, type(event)))
        if state is None:
            raise ProtocolError(self.state.name, type(event).__name__)
        self._memory.breaker = state.value
        self._memory.output = int(state is Control.CONNECTED)
        return (DeviceEvent("valve", state.name.lower(), state.value),)

    def manual_action(self, now: float) -> tuple[DeviceEvent, ...]:
        """Somebody pressed the button of the device."""
        return self._change(ManualAction())

    def timeout(self, now: float) -> list[Notice]:
        """A delayed command is carried out. Every command that was accepted is possible in every state."""
        data = self._pending.take(now)
        return [] if data is None else [Notice(Outcome(events=self._change(_COMMANDS[data[0]]())))]

    def records(self, application: int, now: float) -> list[Record]:
        """DC1! and DC2! in the standard response and in each SND-NR that is not static."""
        return self._states() if application in STANDARD_APPLICATIONS else []

    def _states(self) -> list[Record]:
        memory = self._memory
        states = [record_of(self._dib, _CONTROL, bytes((memory.breaker or 0,)))]
        if self._output_state:
            states.append(record_of(self._dib, _OUTPUT, bytes((memory.output or 0,))))
        return states
