"""The device's side of a session on the radio: which datagrams are meant for it, and what it answers.

    datagram    access number equal to the last one of this partner    the stored answer again, nothing is executed
                another access number                                  a new datagram

    SND-UD      ACK                      SND-UD2     RSP-UD (ACK where it is not supported: not executed)
    REQ-UD2     RSP-UD                   REQ-UD1     RSP-UD with the alarm, ACK without
    unknown C   NACK                     buffer too small for a command: NACK

Fragments of an answer go one a request: a REQ-UD2 with a new access number asks for the next one, the same
number repeats the last. Each of them names its receiver (ELLA). Answers copy the access numbers of the
request, link from link and transport from transport. An answer that waits while the device sends something else
under a higher message counter is made anew (``renew``): a partner refuses counters that go back.

Source: OMS Volume 2 5.0.1 clauses 3.1.3, 5.3 and 7.2.2, Tables 15, 16 and 28; Annex N.3, N.5, N.8 to N.12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.protocol.device.interface import DeviceEvent, Endpoint, Taken
from openmetering.protocol.radio.datagram import ACK, NACK, RSP_UD, Datagram
from openmetering.protocol.radio.events import RadioConfig, Reason

__all__ = ["ANSWERED", "Reaction", "Session", "StoredAnswer"]

_ELL_LONG: Final = 11  #: octets of the extended link layer with a destination
_FRAME: Final = 9  #: octets that L counts in front of the ELL
_UPLINK: Final = frozenset(("SND-NR", "SND-IR", "ACC-NR", "ACC-DMD", "RSP-UD", "NACK"))


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer as it is repeated: everything but the link bits, which are those of the moment it is sent."""

    message: str
    c_field: int
    access_number: int
    body: bytes
    destination: bytes = b""


class Reaction(msgspec.Struct, frozen=True):
    """What a datagram leads to: an answer, or the reason why there is none."""

    answer: StoredAnswer | None
    reason: Reason = "not-mine"
    events: tuple[DeviceEvent, ...] = ()


class Session:
    """Remembers the partner's last access number, the answer to it and what is left of a fragmented one."""

    __slots__ = ("_config", "_endpoint", "_fragments", "_index", "_last", "_request_of", "_transport", "answer")

    def __init__(self, config: RadioConfig, endpoint: Endpoint) -> None:
        self._config = config
        self._endpoint = endpoint
        self.forget()

    def forget(self) -> None:
        """SND-NKE, time-out or power-up: the next datagram is new, whatever its number."""
        self._last: tuple[Address, int] | None = None
        self._transport = 0
        self._fragments: tuple[bytes, ...] = ()
        self._index = 0
        self._request_of: Datagram | None = None  #: what the answer is to, where it can be made anew
        self.answer: StoredAnswer | None = None

    def refusal(self, datagram: Datagram, link_address: Address) -> Reason | None:
        """Why a datagram is not for this device; None if it is.

        Downlink the long header names the meter, so a datagram with neither ELLA nor ALA is for nobody; where
        both stand there, both must be right.
        Source   OMS Volume 2 5.0.1 clause 3.1.3
        """
        if datagram.message in _UPLINK:
            return "uplink"
        if self._config.mode == "C" and not datagram.ell:
            return "no-ell"
        destination, application = datagram.destination, datagram.application
        if destination is None and application is None:
            return "address"
        if destination is not None and destination != link_address:
            return "address"
        if application is not None and application != self._endpoint.address:
            return "address"
        return None

    def react(self, frame: bytes, datagram: Datagram, now: float) -> Reaction:
        """Answer a datagram that asks for one. Executes it if it is new."""
        name = (datagram.sender, datagram.access_number or 0)
        if name == self._last:
            return Reaction(self.answer, "no-answer")
        self._request_of = None
        handler = ANSWERED.get(datagram.message, Session._unknown)
        reaction = handler(self, frame, datagram, now)
        if reaction.answer is not None:
            self._last, self.answer = name, reaction.answer
            if datagram.transport_access is not None:
                self._transport = datagram.transport_access
        return reaction

    def renew(self, now: float) -> None:
        """Make the answer anew, under the message counter of today. Alarms and fragments stay what they are."""
        if self._request_of is not None:
            self.answer = self._respond(self._request_of, now)

    # -- one function for each message that is answered -------------------------------------------

    def _command(self, frame: bytes, datagram: Datagram, now: float) -> Reaction:
        return self._take(frame, datagram, now)[0]

    def _command_with_answer(self, frame: bytes, datagram: Datagram, now: float) -> Reaction:
        """SND-UD2. An ACK tells the partner to send the command once more with SND-UD, so it is not executed then."""
        if not self._config.command_answer:
            return Reaction(self._link(datagram, "ACK", ACK, now))
        reaction, taken = self._take(frame, datagram, now)
        if taken is None or not taken.complete:
            return reaction
        return Reaction(self._respond(datagram, now), "no-answer", reaction.events)

    def _take(self, frame: bytes, datagram: Datagram, now: float) -> tuple[Reaction, Taken | None]:
        """Hand a command to the application; None where it was not taken."""
        if frame[0] > self._config.receive_limit:
            return Reaction(self._link(datagram, "NACK", NACK, now)), None
        taken = self._endpoint.take(frame, now)
        if not taken.mine:
            return Reaction(None, "not-mine", taken.events), None
        self._fragments = ()
        return Reaction(self._link(datagram, "ACK", ACK, now), events=taken.events), taken

    def _request(self, frame: bytes, datagram: Datagram, now: float) -> Reaction:
        following = datagram.transport_access in (None, self._transport)
        if following and self._index + 1 < len(self._fragments):
            self._index += 1
            return Reaction(self._fragment(datagram))
        return Reaction(self._respond(datagram, now), "no-answer")

    def _alarm(self, frame: bytes, datagram: Datagram, now: float) -> Reaction:
        body = self._endpoint.alarm(now, self._number(datagram))
        self._fragments = ()
        if body is None:
            return Reaction(self._link(datagram, "ACK", ACK, now))
        return Reaction(self._stored(datagram, "RSP-UD", RSP_UD, body))

    def _unknown(self, frame: bytes, datagram: Datagram, now: float) -> Reaction:
        return Reaction(self._link(datagram, "NACK", NACK, now))

    # -- answers ------------------------------------------------------------------------------------

    def _number(self, datagram: Datagram) -> int:
        """Access number of the transport layer: later fragments of a command have none of their own."""
        return self._transport if datagram.transport_access is None else datagram.transport_access

    def _link(self, datagram: Datagram, message: str, c_field: int, now: float) -> StoredAnswer:
        return self._stored(datagram, message, c_field, self._endpoint.acknowledge(self._number(datagram), now))

    def _respond(self, datagram: Datagram, now: float) -> StoredAnswer | None:
        largest = self._config.send_limit - _FRAME - _ELL_LONG
        self._fragments = self._endpoint.respond(self._number(datagram), now, largest)
        self._index = 0
        self._request_of = datagram if len(self._fragments) == 1 else None
        return self._fragment(datagram) if self._fragments else None

    def _fragment(self, datagram: Datagram) -> StoredAnswer:
        named = len(self._fragments) > 1
        return self._stored(datagram, "RSP-UD", RSP_UD, self._fragments[self._index], named=named)

    def _stored(self, datagram: Datagram, message: str, c_field: int, body: bytes, *, named: bool = False) -> StoredAnswer:
        destination = datagram.sender.link_octets() if named or datagram.destination is not None else b""
        return StoredAnswer(message, c_field, datagram.access_number or 0, body, destination)


#: message -> how it is answered; what is not here has an unknown C field
ANSWERED: Final[dict[str, Callable[[Session, bytes, Datagram, float], Reaction]]] = {
    "SND-UD": Session._command,
    "SND-UD2": Session._command_with_answer,
    "REQ-UD2": Session._request,
    "REQ-UD1": Session._alarm,
}
