"""The RF adapter (device type 37h): a radio device on one side, a wired master on the other.

    OFF         --PowerUp-->       READY
    READY       --PollDue-->       POLLING      the meter is read
    POLLING     --ReadoutDone-->   READY        its data are what the radio side tells
    READY       --OrderDue-->      FORWARDING   a command of the radio goes to the meter, or its answer is fetched
    FORWARDING  --TransactionDone--> READY

On the radio its frames carry two addresses: LLA is that of the adapter, ALA in the long header that of the meter.
The application of the radio side is an ``Endpoint``: the adapter's own (with ``MeterReadings`` of the meter, and the
settings of UC-20), or a ``MeterRelay``, which passes messages and commands through.

Source: OMS Volume 2 5.0.1 clause 3.1.3; Annex N.2.4, N.6.3; Annex M release C M.2.12 (settings).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, Final, Literal, cast

import msgspec

from openmetering.errors import OutOfRange
from openmetering.protocol.device.interface import Endpoint
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.events import Octets, PowerUp
from openmetering.protocol.machine import Dice, Machine
from openmetering.protocol.radio.adapter_relay import MeterReadings, MeterRelay, RelayOrder
from openmetering.protocol.radio.device import RadioDevice
from openmetering.protocol.radio.events import RadioConfig, RadioIn, RadioOut
from openmetering.protocol.radio.steps import Action
from openmetering.protocol.wired.master import WiredMaster
from openmetering.protocol.wired.orders import (
    AnswerReceived,
    OutEvent,
    ReadoutDone,
    ReadoutFailed,
    ReadPrimary,
    Target,
    Transact,
    TransactionDone,
    TransactionFailed,
)

__all__ = ["AdapterConfig", "AdapterState", "RadioAdapter", "Side"]

_NEVER: Final = float("inf")
_READY_AFTER: Final = 3.0  #: seconds that a wired device may need after power-up (OMS Volume 2 Annex P, P-06)


class Side(msgspec.Struct, frozen=True):
    """An event of one side of an adapter, into it or out of it.

    ``radio``  those of ``RadioDevice``;  ``wire``  Octets in, those of ``WiredMaster`` out
    """

    side: Literal["radio", "wire"]
    event: RadioIn | RadioOut | Octets | OutEvent


class AdapterConfig(msgspec.Struct, frozen=True):
    """An adapter.

    ``radio``   its radio side; ``link_address`` (LLA of the adapter) must be set
    ``target``  its meter on the wire: 254, where there is one meter only
    ``poll``    seconds between two readouts
    """

    radio: RadioConfig
    target: Target = ReadPrimary(254)
    poll: float = 900.0

    def __post_init__(self) -> None:
        if self.radio.link_address is None:
            raise OutOfRange("an adapter has an address of its own", field="link_address", value=None)
        if not self.poll > 0:
            raise OutOfRange("a meter is read every so many seconds", field="poll", value=self.poll)


class AdapterState(Enum):
    """What the wired side does."""

    OFF = "off"
    READY = "ready"
    POLLING = "polling"
    FORWARDING = "forwarding"


class PollDue(msgspec.Struct, frozen=True):
    """The meter is to be read."""


class OrderDue(msgspec.Struct, frozen=True):
    """The relay has something for the meter."""


#: what the wired master says when it has finished
_FINISHED: Final = (ReadoutDone, ReadoutFailed, TransactionDone, TransactionFailed)


class RadioAdapter(Machine[AdapterState]):
    """An adapter with the meter behind it. ``radio`` can be asked whether it listens.

    ``endpoint``  what the radio side speaks for; a ``MeterRelay`` gets the wire for its commands
    ``readings``  filled by the readouts, where the endpoint is the adapter's own
    ``make_master``  a master for its wire, after every power-up a new one
    """

    __slots__ = ("_frames", "_make_master", "_order", "_poll_at", "_readings", "_relay", "config", "master", "radio")

    def __init__(
        self,
        config: AdapterConfig,
        endpoint: Endpoint,
        memory: DeviceMemory,
        dice: Dice,
        *,
        readings: MeterReadings | None = None,
        make_master: Callable[[], WiredMaster] = WiredMaster,
    ) -> None:
        super().__init__(AdapterState.OFF)
        self.config = config
        self.radio = RadioDevice(config.radio, endpoint, memory, dice)
        self.master = make_master()
        self._make_master = make_master
        self._relay = endpoint if isinstance(endpoint, MeterRelay) else None
        self._readings = readings
        self._poll_at = _NEVER
        self._frames: list[bytes] = []
        self._order: RelayOrder | None = None

    # -- the interface -----------------------------------------------------------------------------------

    def receive(self, event: Side, now: float) -> list[Side]:
        """An event of one side. ``PowerUp`` of the radio side is that of the whole. Raises ProtocolError as usual."""
        inner = event.event
        if isinstance(inner, PowerUp):
            out = self._step(inner, now)
        elif isinstance(inner, Octets):
            out = self._from_wire(self.master.receive(inner, now), now)
        else:
            out = self._from_radio(self.radio.receive(cast("RadioIn", inner), now))
        return self._go_on(out, now)

    def timeout(self, now: float) -> list[Side]:
        """A deadline of one side is reached."""
        if self.deadline is None or now < self.deadline:
            return []
        out = self._from_radio(self.radio.timeout(now))
        out += self._from_wire(self.master.timeout(now), now)
        return self._go_on(out, now)

    def listening(self, when: float) -> bool:
        """As ``RadioDevice.listening``."""
        return self.radio.listening(when)

    def _go_on(self, out: list[object], now: float) -> list[Side]:
        """Begin what the wire is free for, then look at the deadlines."""
        if self.state is AdapterState.READY:
            if self._relay is not None and self._relay.orders:
                out += self._step(OrderDue(), now)
            elif self._poll_at <= now:
                out += self._step(PollDue(), now)
        times = [time for time in (self.radio.deadline, self.master.deadline) if time is not None]
        if self.state is AdapterState.READY:
            times.append(self._poll_at)
        self.deadline = min(times, default=None)
        return cast("list[Side]", out)

    # -- the sides -----------------------------------------------------------------------------------------

    @staticmethod
    def _from_radio(events: list[RadioOut]) -> list[object]:
        return [Side("radio", event) for event in events]

    def _from_wire(self, events: list[OutEvent], now: float) -> list[object]:
        out: list[object] = []
        for event in events:
            out.append(Side("wire", event))
            if isinstance(event, AnswerReceived):
                self._frames.append(event.frame)
            elif isinstance(event, _FINISHED):
                out += self._step(event, now)
        return out

    # -- actions -------------------------------------------------------------------------------------------

    def _power_up(self, event: PowerUp, now: float) -> list[object]:
        self._poll_at = now + _READY_AFTER
        self._order, self._frames = None, []
        self.master = self._make_master()
        return self._from_radio(self.radio.receive(event, now))

    def _poll(self, event: PollDue, now: float) -> list[object]:
        self._poll_at = now + self.config.poll
        self._frames = []
        return self._from_wire(self.master.receive(self.config.target, now), now)

    def _polled(self, event: ReadoutDone, now: float) -> list[object]:
        if self._readings is not None:
            self._readings.store(self._frames, now)
        if self._relay is not None:
            self._relay.readout(self._frames)
        return []

    def _poll_failed(self, event: ReadoutFailed, now: float) -> list[object]:
        if self._relay is not None:
            self._relay.failed(None)
        return []

    def _forward(self, event: OrderDue, now: float) -> list[object]:
        assert self._relay is not None
        order = self._order = self._relay.orders.popleft()
        transact = Transact(self.config.target, order.data, order.kind, order.kind == "REQ-UD2")
        return self._from_wire(self.master.receive(transact, now), now)

    def _forwarded(self, event: TransactionDone, now: float) -> list[object]:
        assert self._relay is not None
        assert self._order is not None
        self._relay.done(self._order, event.frames)
        return []

    def _forward_failed(self, event: TransactionFailed, now: float) -> list[object]:
        assert self._relay is not None
        self._relay.failed(self._order)
        return []

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[Action, Enum]]] = {
        (AdapterState.OFF, PowerUp): (_power_up, AdapterState.READY),
        (AdapterState.READY, PowerUp): (_power_up, AdapterState.READY),
        (AdapterState.POLLING, PowerUp): (_power_up, AdapterState.READY),
        (AdapterState.FORWARDING, PowerUp): (_power_up, AdapterState.READY),
        (AdapterState.READY, PollDue): (_poll, AdapterState.POLLING),
        (AdapterState.POLLING, ReadoutDone): (_polled, AdapterState.READY),
        (AdapterState.POLLING, ReadoutFailed): (_poll_failed, AdapterState.READY),
        (AdapterState.READY, OrderDue): (_forward, AdapterState.FORWARDING),
        (AdapterState.FORWARDING, TransactionDone): (_forwarded, AdapterState.READY),
        (AdapterState.FORWARDING, TransactionFailed): (_forward_failed, AdapterState.READY),
    }
