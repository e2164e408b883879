"""A wired meter seen from the radio: what an RF adapter keeps of it, and how commands get to it.

    MeterReadings   the records of the last readout, for an endpoint of the adapter itself: the adapter opens, protects
                    and executes, the meter is only read
    MeterRelay      an endpoint that is the meter: its messages go up as they are on the wire, commands go down as they
                    are on the radio; security stays between meter and partner

    radio                               relay                           wire
    SND-UD (number n)                   kept; ACK, status busy          SND-UD, E5
    REQ-UD2 (transport number m)        no answer yet                   REQ-UD2 with a transport header, number m
    REQ-UD2 (m) again                   RSP-UD, number m

The wire is slower than a window of the radio. The meter copies the access number of the request, so the answer fits
the partner's request; the partner repeats its request as it does when an answer is lost.

Source: OMS Volume 2 5.0.1 clause 3.1.3 and Table 28; Annex N.2.4 (adapter), N.4 (wired fragments).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.records import Record, encode
from openmetering.codec.link.wired import unframe
from openmetering.protocol.device.interface import DeviceEvent, SpontaneousKind, Taken
from openmetering.security import KeyRing
from openmetering.telegram import Decoder

__all__ = ["MeterReadings", "MeterRelay", "RelayOrder"]

_PURE_DOWN, _PURE_UP = 0x80, 0x8B
_AFL, _MORE_FRAGMENTS = 0x90, 0x40
_ELL: Final = {0x8C: 3, 0x8E: 11}  #: CI -> octets of the extended link layer
_HEADER: Final = 10
_BUSY, _ERROR, _TEMPORARY = 0x01, 0x02, 0x10
#: CI without header, as wired meters send it -> the same with a long header, and the status that goes with it
_WITH_HEADER: Final = {0x70: (0x6F, _ERROR), 0x71: (0x75, 0)}


def _payloads(frames: Sequence[bytes]) -> tuple[bytes, ...]:
    """The octets behind the link layer of wired frames; a master gives none that cannot be taken apart."""
    return tuple(unframe(frame)[0].data for frame in frames)


class MeterReadings:
    """``Readings`` of an endpoint: the standard data of a wired meter as they were read last. ``keys`` open its telegrams."""

    __slots__ = ("_decoder", "_octets", "_records", "read_at")

    def __init__(self, keys: KeyRing | None = None) -> None:
        self._decoder = Decoder(keys)
        self._records: tuple[Record, ...] = ()
        self._octets = b""
        self.read_at: float | None = None

    def store(self, frames: Sequence[bytes], now: float) -> bool:
        """Take over a readout; False where it could not be opened, then the old one stays."""
        records: list[Record] = []
        for frame in frames:
            telegram = self._decoder.examine(frame, now=now)
            if not telegram.ok:
                return False
            records += telegram.records
        if not records:
            return False
        self._records, self._octets, self.read_at = tuple(records), encode(records), now
        return True

    def records(self, application: int, block: int, now: float) -> Sequence[Record]:
        """The records of the readout; only the standard data are there."""
        return self._records if application == 0 and block <= 1 else ()

    def octets(self, application: int, block: int, now: float) -> bytes:
        """The same as octets."""
        return self._octets if application == 0 and block <= 1 else b""


class RelayOrder(msgspec.Struct, frozen=True):
    """What is to be done on the wire; ``access_number`` of the request whose answer it brings."""

    kind: Literal["SND-UD", "REQ-UD2"]
    data: bytes
    access_number: int | None = None


class MeterRelay:
    """An ``Endpoint`` whose application is at the other end of a wire. ``orders`` wait for it.

    An answer longer than a radio frame cannot be passed on: it is sealed by the meter (``largest`` of ``respond``).
    """

    __slots__ = ("_address", "_answer", "_asked", "_busy", "_latest", "_number", "_temporary", "orders")

    def __init__(self, address: Address) -> None:
        self._address = address
        self._latest: tuple[bytes, ...] = ()
        self._clear()

    def _clear(self) -> None:
        self.orders: deque[RelayOrder] = deque()
        self._answer: tuple[int, tuple[bytes, ...]] | None = None
        self._asked: int | None = None
        self._busy = 0
        self._temporary = False

    # -- the wire ----------------------------------------------------------------------------------------

    def readout(self, frames: Sequence[bytes]) -> None:
        """What the meter said when it was polled: told by radio from now on."""
        self._latest = _payloads(frames)
        self._temporary = False

    def done(self, order: RelayOrder, frames: Sequence[bytes]) -> None:
        """An order was carried out."""
        self._temporary = False
        if order.access_number is None:
            self._busy -= 1
            return
        self._asked = None
        answers = tuple(self._headed(octets, order.access_number) for octets in _payloads(frames))
        self._answer = (order.access_number, answers) if answers else None

    def failed(self, order: RelayOrder | None) -> None:
        """An order (None: a readout) could not be carried out: status temporary error."""
        self._temporary = True
        if order is not None and order.access_number is None:
            self._busy -= 1
        self._asked = None

    def _headed(self, octets: bytes, access_number: int) -> bytes:
        ci, status = _WITH_HEADER.get(octets[0], (0, 0)) if octets else (0, 0)
        return octets if not ci else self._header(ci, access_number, self._status | status) + octets[1:]

    # -- the radio ---------------------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """ALA of the meter."""
        return self._address

    @property
    def deadline(self) -> float | None:
        """Nothing is due: what time does is done by the meter."""
        return None

    @property
    def _status(self) -> int:
        return (_BUSY if self._busy else 0) | (_TEMPORARY if self._temporary else 0)

    def timeout(self, now: float) -> list[DeviceEvent]:
        """Nothing."""
        return []

    def power_up(self, now: float) -> None:
        """What was kept for the wire is gone; the last readout stays until the next one."""
        self._clear()

    def take(self, frame: bytes, now: float) -> Taken:
        """Keep a command for the wire. Octets: everything behind the ELL goes on as it is."""
        ci = frame[_HEADER] if len(frame) > _HEADER else 0
        data = frame[_HEADER + _ELL.get(ci, 0) :]
        if not data:
            return Taken(False)
        self.orders.append(RelayOrder("SND-UD", data))
        self._busy += 1
        self._answer = None
        fragment = data[0] == _AFL and len(data) > 3 and bool(data[3] & _MORE_FRAGMENTS)
        return Taken(True, complete=not fragment, status=self._status)

    def acknowledge(self, access_number: int, now: float) -> bytes:
        """A pure transport header; busy until the meter has the command."""
        return self._header(_PURE_UP, access_number, self._status)

    def _header(self, ci: int, access_number: int, status: int) -> bytes:
        return bytes((ci,)) + self._address.transport_octets() + bytes((access_number, status, 0, 0))

    def respond(self, access_number: int, now: float, largest: int) -> tuple[bytes, ...]:
        """The meter's answer to the request with this number; empty while it is fetched, and if it is too long."""
        if self._answer is not None and self._answer[0] == access_number:
            answers = self._answer[1]
            return answers if all(len(octets) <= largest for octets in answers) else ()
        if self._asked != access_number:
            self._asked = access_number
            self.orders.append(RelayOrder("REQ-UD2", self._header(_PURE_DOWN, access_number, 0), access_number))
        return ()

    def more(self) -> bool:
        """Never: all telegrams of an answer come at once."""
        return False

    def advance(self) -> None:
        """Nothing."""

    def end_session(self, now: float) -> None:
        """The answer is not asked for again."""
        self._answer = None

    def spontaneous(self, kind: SpontaneousKind, access_number: int, now: float, *, ell: bool) -> bytes:
        """The first telegram of the last readout; a pure header before there is one, and for messages without data."""
        if kind in ("access", "demand") or not self._latest:
            return self._header(_PURE_UP, access_number, self._status)
        return self._headed(self._latest[0], access_number)

    def alarm(self, now: float, access_number: int | None = None) -> bytes | None:
        """None: alarms of the meter are not fetched."""
        return None
