"""A gateway on a bench, and devices that are written by hand: their frames, not their rules.

Times are seconds. A device of mode C opens its window 999.5 ms behind a datagram.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from openmetering import Address, KeyRing, Telegram, compose, encode, encode_fragments, examine
from openmetering import Meter as Shape
from openmetering.codec.ell import CommunicationControl, ExtendedLink
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.protocol.events import Heard, Transmit
from openmetering.protocol.exchange import Command, Exchange, Submit
from openmetering.protocol.gateway.events import DeviceLink, GatewayConfig, GatewayMemory, GatewayOutput, Register
from openmetering.protocol.gateway.gateway import Gateway
from openmetering.protocol.radio.datagram import datagram

KEY = bytes(range(16))
NEW_KEY = bytes(range(0x40, 0x50))
GATEWAY = Address.parse("XYZ-33445566-0A-31")
OTHER_GATEWAY = Address.parse("XYZ-66778899-0C-31")
METER = Address.parse("OMG-12345678-01-07")
SECOND = Address.parse("OMG-87654321-01-03")
ADAPTER = Address.parse("RAD-11223344-03-37")

SHORT, ALWAYS, NOT_NOW, NEVER = 0x80, 0x84, 0x04, 0x00  #: CC with B,A = 10, 11, 01, 00

T = TypeVar("T")


def keys(*entries: tuple[Address, bytes] | tuple[Address, bytes, int, int | None]) -> KeyRing:
    """A ring of (address, key[, KeyID, version])."""
    ring = KeyRing()
    for address, key, *rest in entries:
        ring.add(address.link_octets(), key, *rest)
    return ring


def dice(*numbers: float) -> Callable[[], float]:
    """Dice that fall as told, then always on the last number."""
    left = list(numbers) or [0.0]
    return lambda: left.pop(0) if len(left) > 1 else left[0]


class Device:
    """Frames of one device. ``counter`` is its CM; ``number`` the access number of its last synchronous datagram."""

    def __init__(
        self,
        address: Address = METER,
        profile: str = "none",
        *,
        key: bytes = KEY,
        adapter: Address | None = None,
        counter: int = 100,
        version: int | None = None,
    ) -> None:
        self.address = address
        self.profile = profile
        self.key = key
        self.adapter = adapter
        self.counter = counter
        self.version = version
        self.number = 0x20

    @property
    def sender(self) -> bytes:
        return (self.adapter or self.address).link_octets()

    def _telegram(
        self, payload: bytes, ci: int, number: int, status: int, control: int, profile: str | None, key_version: int | None
    ) -> Telegram:
        kind = self.profile if profile is None else profile
        if kind in ("B", "D"):
            self.counter += 1
        counter = self.counter if kind in ("B", "D") else None
        shape = Shape(
            self.address, kind, adapter=self.adapter, communication_control=CommunicationControl(SHORT), key_version=key_version
        )
        return compose(shape, payload, access_number=number, status=status, counter=counter, control=control, ci=ci)

    def frame(
        self,
        control: int,
        payload: bytes = b"\x04\x13\x01\x02\x03\x04",
        *,
        ci: int = 0x7A,
        cc: int = SHORT,
        number: int | None = None,
        link: int | None = None,
        status: int = 0,
        profile: str | None = None,
        to: Address | None = None,
        key_version: int | None = None,
    ) -> bytes:
        """One frame with transport layer."""
        number = self.number if number is None else number
        if self.adapter is not None:
            ci = {0x7A: 0x72, 0x8A: 0x8B, 0x6E: 0x6F, 0xC4: 0xC5, 0x74: 0x75}[ci]
        telegram = self._telegram(payload, ci, number, status, control, profile, key_version)
        telegram.ell = self._ell(cc, number if link is None else link, to)
        return encode(telegram, self.key)

    @staticmethod
    def _ell(cc: int, number: int, to: Address | None) -> ExtendedLink:
        return ExtendedLink(0x8C if to is None else 0x8E, CommunicationControl(cc), number, to)

    def spontaneous(self, *, cc: int = SHORT, control: int = 0x44, profile: str | None = None) -> bytes:
        """SND-NR (or another kind) with the next access number."""
        self.number = self.number + 1 & 0xFF
        return self.frame(control, cc=cc | 0x20, profile=profile)

    def access(self, *, cc: int = SHORT, control: int = 0x47) -> bytes:
        """ACC-NR or ACC-DMD: no application data."""
        self.number = self.number + 1 & 0xFF
        return self.frame(control, b"", ci=0x8A, cc=cc | 0x20, profile="none")

    def answer(
        self,
        request: bytes,
        payload: bytes = b"\x04\x13\x09\x00\x00\x00",
        *,
        ci: int = 0x7A,
        status: int = 0,
        cc: int = SHORT,
        profile: str | None = None,
        to: Address | None = None,
        key_version: int | None = None,
    ) -> bytes:
        """RSP-UD to a datagram of the gateway."""
        asked = opened(request, self.key)
        assert asked.ell is not None
        assert asked.transport is not None
        return self.frame(
            0x08,
            payload,
            ci=ci,
            cc=cc,
            number=asked.transport.access_number,
            link=asked.ell.access_number,
            status=status,
            profile=profile,
            to=to,
            key_version=key_version,
        )

    def acknowledge(
        self, request: bytes, *, status: int = 0, control: int = 0x00, cc: int = SHORT, to: Address | None = None
    ) -> bytes:
        """ACK (NACK with ``control`` 01h) to a datagram of the gateway; to a fragment behind the ELL alone."""
        asked = opened(request, self.key)
        assert asked.ell is not None
        if asked.transport is None:
            return datagram(control, self.sender, b"", cc, asked.ell.access_number, b"" if to is None else to.link_octets())
        number = asked.transport.access_number
        return self.frame(
            control, b"", ci=0x8A, cc=cc, number=number, link=asked.ell.access_number, status=status, profile="none", to=to
        )

    def fragments(self, request: bytes, payload: bytes, size: int, to: Address = GATEWAY) -> list[bytes]:
        """The frames of a fragmented answer; each must get the link access number of its request by ``relinked``."""
        asked = opened(request, self.key)
        assert asked.transport is not None
        telegram = self._telegram(payload, 0x7A, asked.transport.access_number or 0, 0, 0x08, None, None)
        telegram.ell = self._ell(SHORT, asked.ell.access_number if asked.ell else 0, to)
        return encode_fragments(telegram, self.key, size)


def relinked(frame: bytes, request: bytes) -> bytes:
    """A frame with the link access number of a request."""
    return frame[:12] + request[12:13] + frame[13:]


def repeated(frame: bytes) -> bytes:
    """A frame as a repeater sends it on: H = 1."""
    return frame[:11] + bytes((frame[11] | 0x10,)) + frame[12:]


def opened(frame: bytes, key: bytes | None = KEY) -> Telegram:
    """A frame of the gateway, decoded; parts of messages without error."""
    return examine(frame, key)


class Bench:
    """A gateway with a clock that the test turns."""

    def __init__(
        self,
        *links: DeviceLink,
        config: GatewayConfig | None = None,
        ring: KeyRing | None = None,
        rolls: tuple[float, ...] = (0.0,),
        memory: GatewayMemory | None = None,
    ) -> None:
        self.config = config or GatewayConfig(GATEWAY)
        self.ring = ring if ring is not None else keys((METER, KEY), (SECOND, KEY))
        self.gateway = Gateway(self.config, dice(*rolls), self.ring, memory)
        self.now = 1000.0
        self.log: list[tuple[float, GatewayOutput]] = []
        for link in links:
            self.do(Register(link))
        self.log.clear()

    def do(self, event: object, after: float = 0.0) -> list[GatewayOutput]:
        """Let time pass, then give an event; what comes out."""
        out = self.wait(after)
        mine = self.gateway.receive(event, self.now)  # type: ignore[arg-type]
        self.log += [(self.now, item) for item in mine]
        return out + mine

    def hear(self, frame: bytes, after: float = 0.0, rssi: float | None = -84.0) -> list[GatewayOutput]:
        """A frame ends ``after`` seconds from now."""
        return self.do(Heard(frame, self.now + after - 0.005, rssi), after)

    def submit(
        self, token: int, command: Command | None, *, answer: bool = True, address: Address = METER, after: float = 0.0
    ) -> list[GatewayOutput]:
        return self.do(Submit(token, Exchange(address, command, answer)), after)

    def wait(self, seconds: float) -> list[GatewayOutput]:
        """Let time pass; deadlines come up on the way."""
        end, out = self.now + seconds, []
        while self.gateway.deadline is not None and self.gateway.deadline <= end:
            self.now = max(self.now, self.gateway.deadline)
            found = self.gateway.timeout(self.now)
            self.log += [(self.now, item) for item in found]
            out += found
        self.now = end
        return out

    def log_events(self) -> list[GatewayOutput]:
        """Everything that came out."""
        return [item for _, item in self.log]

    def all(self, kind: type[T]) -> list[T]:
        """Everything of a kind since the last ``clear``."""
        return [item for _, item in self.log if isinstance(item, kind)]


def only(out: list[GatewayOutput], kind: type[T]) -> T:
    """The one event of a kind."""
    found = [item for item in out if isinstance(item, kind)]
    assert len(found) == 1, out
    return found[0]


def none(out: list[GatewayOutput], kind: type[object]) -> bool:
    """True if there is no event of a kind."""
    return not any(isinstance(item, kind) for item in out)


def sent(out: list[GatewayOutput]) -> bytes:
    """The one frame that goes out."""
    return only(out, Transmit).frame


def control(frame: bytes) -> int:
    """The C field without FCB."""
    return frame[1] & ~0x20


def link_frame(data: bytes, address: Address = METER, function: int = 0x44) -> bytes:
    """A frame around CI and data."""
    return WirelessFrame(ControlField(function), address, data).encode()
