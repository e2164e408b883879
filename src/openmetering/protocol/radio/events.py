"""What goes into a radio device and what comes out of it, and how it is set.

Into it: ``PowerUp``, ``Heard``, ``Sent`` (events of all machines), ``ButtonPressed``, ``Demand``, ``Trigger``.
Out of it: ``Transmit`` (uplink), ``DeviceEvent``, and what it did not do: ``Ignored``, ``Omitted``;
``InstallationEnded``, ``DemandEnded``.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import OutOfRange
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.events import Heard, PowerUp, Sent, Transmit
from openmetering.protocol.radio.credits import DUTY_CYCLE, CreditRule
from openmetering.protocol.radio.datagram import Mode
from openmetering.protocol.radio.schedule import SlotPlan

__all__ = [
    "FREQUENT_ACCESS_TIMEOUT",
    "INSTALLATION_REQUESTS",
    "Access",
    "ButtonPressed",
    "Demand",
    "DemandEnded",
    "Ignored",
    "InstallationEnded",
    "Omitted",
    "RadioConfig",
    "RadioIn",
    "RadioOut",
    "Reason",
    "Trigger",
]

#: none: unidirectional; short: a window after its transmissions; permanent: listens until it sends again
Access = Literal["none", "short", "permanent"]

#: t_TO: seconds after the last valid datagram of the partner that end a session; 25 to 35 s in EN 13757-4 [K]
FREQUENT_ACCESS_TIMEOUT: Final = 30.0
INSTALLATION_REQUESTS: Final = 6  #: SND-IR after one press of the button
_REPETITIONS: Final = (2, 3, 5)
_SHORTEST: Final = 4.0  #: seconds between synchronous transmissions that leave room for a window and an answer

#: why a datagram was not accepted
Reason = Literal[
    "window",  # it started outside the window, or there was none
    "sending",  # the transmitter was on
    "unreadable",  # no headers that a device of OMS could read
    "no-ell",  # mode C without extended link layer
    "uplink",  # from another device
    "address",  # another device is meant (ELLA or ALA), or nobody is named
    "not-mine",  # the application did not take it
    "unexpected",  # an ACK or CNF-IR that nobody waited for
    "no-answer",  # there is nothing to answer with
    # repeaters and displays
    "message",  # its kind is not repeated, or not shown
    "repeated",  # it was repeated already (bits H, R)
    "no-link-bits",  # no place for bit H that could be changed
    "filtered",  # not one of those to be repeated
    "not-registered",  # no key for this meter
    "not-consumer",  # no consumer information under KeyID 08
    "security",  # it could not be opened, or is a replay
    "copy",  # the same telegram was there before
]


class ButtonPressed(msgspec.Struct, frozen=True):
    """Somebody starts the installation by hand: SND-IR within 60 s, six times in all."""


class Demand(msgspec.Struct, frozen=True):
    """An alarm: ask for access with ACC-DMD until the partner acknowledges."""


class Trigger(msgspec.Struct, frozen=True):
    """Something changed that is told at once (sensors: OMS Volume 2 5.0.1 Table 9): an asynchronous SND-NR."""

    kind: Literal["data", "static", "consumer"] = "data"


class Ignored(msgspec.Struct, frozen=True):
    """A datagram that was heard and not accepted."""

    reason: Reason
    frame: bytes


class Omitted(msgspec.Struct, frozen=True):
    """A transmission that did not take place.

    ``message`` the standard's name; ``reason`` duty-cycle, or sending (the transmitter was still on when the slot came),
    queue-full (repeaters).
    """

    message: str
    reason: Literal["duty-cycle", "sending", "queue-full"]


class InstallationEnded(msgspec.Struct, frozen=True):
    """The installation is over; ``confirmed`` by a CNF-IR."""

    confirmed: bool


class DemandEnded(msgspec.Struct, frozen=True):
    """ACC-DMD is not sent any more; ``acknowledged`` by a partner."""

    acknowledged: bool


class RadioConfig(msgspec.Struct, frozen=True):
    """The radio side of a device.

    ``mode``              S, T or C
    ``access``            none, short or permanent
    ``plan``              synchronous transmissions, of bidirectional devices 4 s apart at least
    ``link_address``      LLA; None: that of the application device (radio built into the meter)
    ``ell``               extended link layer; only unidirectional devices of security modes 0 and 5 may go without
    ``fast_response``     bit D of own datagrams: the partner answers after 100 ms instead of 1000 ms (mode C)
    ``window_every``      1: a window after every synchronous transmission, n: after every n-th
    ``repetition``        N of t_TxD = N seconds, 2, 3 or 5: the last answer is repeated so often
    ``command_answer``    SND-UD2 is supported; otherwise it is answered by ACK and not executed
    ``receive_limit``     largest L field that fits the buffer, at least 155 for bidirectional devices
    ``send_limit``        largest L field of an answer
    ``tolerance``         seconds that the receiver is on before and after the window of the standard
    ``credits``           account of a battery device; None: mains
    ``share``             duty cycle; None: that of the sub-band
    ``demand_interval``   seconds between asynchronous ACC-DMD; ``demand_limit`` how many ACC-DMD in all
    """

    mode: Mode = "C"
    access: Access = "none"
    plan: SlotPlan = SlotPlan()
    link_address: Address | None = None
    ell: bool = True
    fast_response: bool = False
    window_every: int = 1
    repetition: int = 5
    command_answer: bool = True
    receive_limit: int = 155
    send_limit: int = 255
    tolerance: float = 0.0005
    credits: CreditRule | None = CreditRule()
    share: float | None = None
    demand_interval: float = 300.0
    demand_limit: int = 10

    def __post_init__(self) -> None:
        checks: tuple[tuple[str, bool], ...] = (
            ("plan", self.access == "none" or self.plan.nominal >= _SHORTEST),
            ("ell", self.ell or self.access == "none"),
            ("window_every", self.window_every >= 1),
            ("repetition", self.repetition in _REPETITIONS),
            ("receive_limit", 155 <= self.receive_limit <= 255),
            ("send_limit", 64 <= self.send_limit <= 255),
            ("tolerance", self.tolerance >= 0),
            ("demand_limit", self.demand_limit >= 1),
        )
        for field, fits in checks:
            if not fits:
                value = getattr(self, field)
                raise OutOfRange(f"{field} of a radio device cannot be {value}", field=field, value=value)

    @property
    def duty_cycle(self) -> float:
        """The share of an hour that the device may send."""
        return DUTY_CYCLE[self.mode] if self.share is None else self.share


RadioIn = PowerUp | Heard | Sent | ButtonPressed | Demand | Trigger
RadioOut = Transmit | DeviceEvent | Ignored | Omitted | InstallationEnded | DemandEnded
