"""Orders of a session and the datagrams that carry them out.

    phase     datagram                              answer
    whole     SND-UD2                               RSP-UD (ACK: not supported)
    command   SND-UD, one for each fragment         ACK
    request   REQ-UD2, one for each fragment        RSP-UD
    alarm     REQ-UD1                               RSP-UD, or ACK without an alarm

A datagram is built when a window is there, not before: its message counter must lie above all that was heard of
the device. It keeps its access numbers and its octets in every repetition, because that is how the device knows
that it is one.

Source: OMS Volume 2 5.0.1 clauses 3.1.3 (ELLA), 5 to 7; Annex M release C Table M.1; Annex N.2.4, N.3.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.errors import NotRepresentable
from openmetering.protocol.exchange import Exchange
from openmetering.protocol.gateway import frames
from openmetering.protocol.gateway.access import AccessNumbers
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig
from openmetering.protocol.gateway.partner_security import PartnerSecurity, SealedCommand

__all__ = ["ALIVE", "ANSWER_KEPT", "Datagram", "DatagramMaker", "Order", "Phase"]

Phase = Literal["whole", "command", "request", "alarm"]

#: seconds for which a device surely knows the access number of its last command: shortest t_TO of the frequent access
#: cycle (EN 13757-4, clause to confirm)
ALIVE: Final = 25.0
#: seconds after a command for which a device keeps its answer (OMS Volume 2 5.0.1 clause 8.2)
ANSWER_KEPT: Final = 255.0
#: protocols whose commands do no harm when carried out twice: selections, blocks of an image, and containers of the
#: security information transfer, which count by themselves
_REPEATABLE: Final = frozenset(("application-reset", "application-request", "image", "sitp"))
#: services of the security information transfer that change keys
_RENEWAL: Final = frozenset((0x00, 0x01, 0x03, 0x04))
_END_TO_END: Final = 0x20
_PID_AT, _PID_IMAGE = 17, 0x06  #: behind block header (8), key counter (4) and target time (5)
_VALIDATE, _ACTIVATE = 0x05, 0x06
_NOT_NOW, _SECURITY_ERROR = 0x10, 0x20
_LINK: Final = 9  #: octets that L counts in front of the ELL
_ELL, _ELL_LONG = 3, 11


class Datagram(msgspec.Struct):
    """What goes out, and goes out again.

    ``since``  when it went out first, None before; again None once the device has shown that it did not get it
    ``last``   False for a fragment that others follow; ``counter`` CGW of the message
    """

    phase: Phase
    frame: bytes
    link_access: int | None
    transport_access: int
    last: bool = True
    counter: int | None = None
    since: float | None = None


class Order:
    """An exchange on its way. ``token`` None: the gateway's own (data behind ACC-DMD)."""

    __slots__ = ("access", "acknowledged", "answered_at", "busy_since", "doubts", "exchange", "fragments", "part", "phase",
                 "revived", "sealed", "sent", "token")  # fmt: skip

    def __init__(self, token: int | None, exchange: Exchange, phase: Phase) -> None:
        self.token = token
        self.exchange = exchange
        self.phase: Phase = phase
        self.sealed: SealedCommand | None = None
        self.part = 0
        self.access = 0  #: transport access number of the command or request under way
        self.fragments = 0  #: fragments of the answer that have come
        self.sent = False
        self.acknowledged = False
        self.answered_at: float | None = None  #: when the command was acknowledged
        self.busy_since: float | None = None
        self.doubts = 0
        self.revived = False  #: the command went out again: the device may have carried out the first one, and lost its power

    @property
    def delivered(self) -> bool | None:
        """True: acknowledged; False: never sent; None: nobody knows."""
        return True if self.acknowledged else None if self.sent else False

    @property
    def renewal(self) -> bool:
        """True for a command of key renewal."""
        command = self.exchange.command
        return (
            command is not None and command.protocol == "sitp" and command.payload[3:4] != b"" and command.payload[3] in _RENEWAL
        )

    @property
    def repeatable(self) -> bool:
        """True if the device may get the command twice."""
        command = self.exchange.command
        return command is None or command.protocol in _REPEATABLE

    def ambiguous(self, error: bytes) -> bool:
        """True if an application error may mean that a command which went out twice was carried out the first time.

        A device that forgot the first one (power, time-out) finds the counters of the second used up (20h), or is busy
        with what the first one started (10h).
        """
        return error == bytes((_SECURITY_ERROR,)) or (error == bytes((_NOT_NOW,)) and not self.repeatable)

    def busy_limit(self, config: GatewayConfig) -> float:
        """Seconds that the device may be busy with this command (OMS Volume 2 Annex M, M.1.5)."""
        command = self.exchange.command
        function = None
        if command is not None and command.protocol == "image":
            function = command.payload[:1]
        elif command is not None and command.protocol == "sitp" and command.payload[3:4] == bytes((_END_TO_END,)):
            inner = command.payload[_PID_AT : _PID_AT + 2]
            function = inner[1:] if inner[:1] == bytes((_PID_IMAGE,)) else None
        limits = {bytes((_VALIDATE,)): config.validation_limit, bytes((_ACTIVATE,)): config.activation_limit}
        return limits.get(function or b"", config.busy_limit)

    def restart(self) -> None:
        """The command from its first fragment on; it is sealed anew."""
        self.sealed, self.part = None, 0

    def ask(self) -> None:
        """Go on with a new REQ-UD2."""
        self.phase, self.fragments = "request", 0


class DatagramMaker:
    """Builds the datagrams of a session; keeps the FCB."""

    __slots__ = ("_config", "_gateway", "_numbers", "_security", "fcb", "link")

    def __init__(self, link: DeviceLink, config: GatewayConfig, security: PartnerSecurity, numbers: AccessNumbers) -> None:
        self.link = link
        self.fcb = True
        self._config = config
        self._gateway = config.address.link_octets()
        self._security = security
        self._numbers = numbers

    def first_phase(self, exchange: Exchange, *, snd_ud2: bool) -> Phase:
        """How an exchange starts."""
        if exchange.command is None:
            return "request"
        return "whole" if exchange.answer and snd_ud2 else "command"

    def build(self, order: Order, now: float, status: int) -> Datagram | None:
        """The datagram of the order's phase; None while no access number is free.

        ``status`` is the status octet (reception level of what was heard last).
        Raises SecurityError (no key, counter used up), EncodeError (fragments without an ELL)
        """
        number = self._numbers.take(self._device, now)
        if number is None:
            return None
        if order.phase in ("whole", "command"):
            return self._command(order, number, status)
        return self._request(order, number, status)

    def reset(self, now: float, status: int) -> bytes | None:
        """SND-NKE, which ends the session; the next FCB is 1. None while no access number is free."""
        number = self._numbers.take(self._device, now)
        if number is None:
            return None
        self.fcb = True
        return self._pure(frames.SND_NKE, number, number, status)

    @property
    def _device(self) -> bytes:
        return self.link.address.link_octets()

    def destination(self, *, fragmented: bool = False) -> bytes:
        """The ELLA, or nothing: OMS Volume 2 5.0.1, 3.1.3.3; Annex E, E.2.3 for IDIS."""
        adapter = self.link.adapter
        if not self.link.ell or (self._config.idis and adapter is not None):
            return b""
        wanted = adapter is not None or self._config.service_tool or fragmented
        return self.link.sender.link_octets() if wanted else b""

    def _frame_count(self, control: int) -> int:
        bit = frames.FCB if self.fcb else 0
        self.fcb = not self.fcb
        return control | bit

    def _link_number(self, number: int) -> int | None:
        return number if self.link.ell else None

    def _pure(self, control: int, number: int, transport: int, status: int) -> bytes:
        return frames.pure(
            control, self._gateway, self._device, self._link_number(number), transport, status, destination=self.destination()
        )

    def _command(self, order: Order, number: int, status: int) -> Datagram:
        command = order.exchange.command
        assert command is not None
        sealed = order.sealed
        if sealed is None:
            order.access = number
            room = self.link.largest - _LINK
            ell = 0 if not self.link.ell else _ELL_LONG if self.destination() else _ELL
            sealed = order.sealed = self._security.seal_command(
                self.link.address, command, number, status=status, largest=room - ell, largest_part=room - _ELL_LONG
            )
        fragmented = len(sealed.parts) > 1
        if fragmented:
            order.phase = "command"  # SND-UD2 is not for fragmented messages
            if not self.link.ell:
                raise NotRepresentable("fragments need the extended link layer", field="ell", value=False)
        control = frames.SND_UD2 if order.phase == "whole" else self._frame_count(frames.SND_UD)
        frame = frames.with_link(
            control,
            self._gateway,
            self._link_number(number),
            sealed.parts[order.part],
            destination=self.destination(fragmented=fragmented),
        )
        last = order.part == len(sealed.parts) - 1
        return Datagram(order.phase, frame, self._link_number(number), order.access, last, sealed.counter)

    def _request(self, order: Order, number: int, status: int) -> Datagram:
        control = self._frame_count(frames.REQ_UD1 if order.phase == "alarm" else frames.REQ_UD2)
        if order.fragments == 0:
            order.access = number
            frame = self._pure(control, number, number, status)
        elif self.destination(fragmented=True):  # the next fragment: nothing behind the ELL (Annex N.3.4)
            frame = frames.with_link(control, self._gateway, number, b"", destination=self.destination(fragmented=True))
        else:
            frame = self._pure(control, number, order.access, status)
        return Datagram(order.phase, frame, self._link_number(number), order.access)
