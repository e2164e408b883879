"""The other side for the tests of devices: frames of a gateway, answers read by the general decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openmetering.codec.address import Address
from openmetering.codec.apl.clock import ClockSynchronisation
from openmetering.codec.apl.records import Record, parse
from openmetering.codec.apl.security_transfer import IMMEDIATE, SecuredData, SitpBlock, decode
from openmetering.codec.ell import CommunicationControl, ExtendedLink
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.protocol.device.build import DeviceDescription, GivenKey, Options, make_device
from openmetering.protocol.device.contents import FixedReadings, Readings
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.interface import Taken
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.security import BlockCipher, KeyRing, asp10_mac
from openmetering.telegram import Decoder, Meter, Telegram, compose, encode, encode_fragments

DEVICE = Address.parse("XYZ-12345678-55-20")
GATEWAY = Address.parse("CCC-33445566-0A-31")
MASTER = bytes(range(16))
APPLICATION = bytes.fromhex("08154711") * 4
CONSUMER = bytes(range(16, 32))
PROFILES = ("none", "A", "B", "D")
#: every medium a device can be reached on with every profile that is allowed there
WAYS = [(profile, wired) for profile in PROFILES for wired in (False, True) if wired or profile != "none"]
APPLICATION_KEYS = (0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27)
KEYS = (GivenKey(0x00, MASTER), GivenKey(0x08, CONSUMER), *(GivenKey(key_id, APPLICATION) for key_id in APPLICATION_KEYS))
CI = {
    "m-bus": 0x5B,
    "application-reset": 0x53,
    "clock": 0x6C,
    "image": 0xC0,
    "sitp": 0xC3,
}


def records(text: str, *, uplink: bool = True) -> tuple[Record, ...]:
    """Records from hexadecimal octets."""
    parsed = parse(bytes.fromhex(text), uplink=uplink)
    assert parsed.fault is None
    return tuple(parsed.records)


VOLUME = records("0C 13 78 56 34 12")
STATIC = records("0C 78 78 56 34 12")
READINGS = {0: VOLUME, 7: STATIC}


def device(
    profile: str = "B",
    wired: bool = False,
    *,
    functions: Mapping[str, Options] | None = None,
    keys: Sequence[GivenKey] = KEYS,
    memory: DeviceMemory | None = None,
    readings: Readings | None = None,
    codings: Mapping[str, int] | None = None,
    applications: tuple[int, ...] = (0, 7),
    **config: object,
) -> DeviceEndpoint:
    """A device; around the memory of another one it is the same device after a power cut."""
    settings = EndpointConfig(DEVICE, profile, wired, **config)  # type: ignore[arg-type]
    description = DeviceDescription(settings, functions or {}, tuple(keys), applications, codings or {})
    given = readings if readings is not None else FixedReadings(READINGS)
    return make_device(description, memory if memory is not None else DeviceMemory(), given, lambda: 0.5)


def secured(
    key_id: int,
    counter: int,
    apdu: str | bytes,
    *,
    pid: int = 1,
    time: bytes = IMMEDIATE,
    key: bytes = APPLICATION,
    version: int = 0,
    block_id: int = 0,
) -> bytes:
    """A SITP block with ASP10."""
    octets = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu
    mac = asp10_mac(BlockCipher(key), counter, time, pid, octets)
    content = SecuredData(time, counter, pid, octets, mac).encode()
    return SitpBlock(block_id, 0x20, 0x32, bytes((key_id, version)), content).encode()


class Partner:
    """A gateway or wired master that talks to one device."""

    def __init__(self, endpoint: DeviceEndpoint, *, key: bytes = MASTER) -> None:
        self.endpoint = endpoint
        self.key = key
        self.counter = 0
        self.access_number = 0
        self.now = 1000.0
        self.last = b""

    @property
    def config(self) -> EndpointConfig:
        return self.endpoint.config

    def _telegram(self, ci: int, payload: bytes, key_id: int, version: int | None, counter: int | None) -> Telegram:
        config = self.config
        self.access_number = self.access_number + 1 & 0xFF
        self.counter = self.counter + 1 if counter is None else counter
        meter = Meter(
            self.endpoint.address,
            config.profile,
            None if config.wired else GATEWAY,
            5 if config.wired else None,
            None if config.wired else CommunicationControl.build(bidirectional=1, accessibility=1),
            key_id,
            version,
        )
        return compose(meter, payload, access_number=self.access_number, counter=self.counter, control=0x53, ci=ci)

    def _ring(self) -> KeyRing:
        return KeyRing.single(self.key)

    def frame(
        self,
        protocol: str,
        payload: bytes | str,
        *,
        ci: int | None = None,
        key_id: int = 0,
        version: int | None = None,
        counter: int | None = None,
    ) -> bytes:
        """The frame of a command with the security of the device."""
        octets = bytes.fromhex(payload) if isinstance(payload, str) else payload
        telegram = self._telegram(CI[protocol] if ci is None else ci, octets, key_id, version, counter)
        return encode(telegram, self._ring())

    def fragments(self, protocol: str, payload: bytes, size: int) -> list[bytes]:
        """The frames of a command in fragments."""
        telegram = self._telegram(CI[protocol], payload, 0, None, None)
        if telegram.ell is not None:  # every fragment names its destination
            control, number = telegram.ell.communication_control, telegram.ell.access_number
            telegram.ell = ExtendedLink(0x8E, control, number, self.endpoint.address)
        return encode_fragments(telegram, self._ring(), size)

    def send(self, protocol: str, payload: bytes | str, **options: int) -> Taken:
        """Send a command; the device takes it."""
        self.last = self.frame(protocol, payload, **options)
        self.now += 1.0
        return self.endpoint.take(self.last, self.now)

    def read(self, largest: int | None = None) -> Telegram:
        """Ask for the answer and read it."""
        self.access_number = self.access_number + 1 & 0xFF
        items = self.endpoint.respond(self.access_number, self.now, largest or self.config.largest)
        return self.open(items)

    def open(self, items: Sequence[bytes], control: int = 0x08, key: bytes | None = None) -> Telegram:
        """Read what the device put behind the link layer, with the general decoder."""
        decoder = Decoder(KeyRing.single(key or self.key))
        found: Telegram | None = None
        for item in items:
            found = decoder.examine(self.link(item, control))
        assert found is not None
        counter = found.security.counter
        if counter is not None:
            self.counter = max(self.counter, counter)
        return found

    def link(self, item: bytes, control: int = 0x08) -> bytes:
        if self.config.wired:
            return WiredFrame.long(control, 5, item).encode()
        sender = GATEWAY if self.config.long_header else self.endpoint.address
        return WirelessFrame(ControlField(control), sender, b"\x8c\x00\x01" + item, "A", False).encode()

    # -- what is asked again and again ------------------------------------------------------------------

    def secured(self, key_id: int, counter: int, apdu: str | bytes, **options: object) -> Taken:
        """Send an end-to-end command."""
        return self.send("sitp", secured(key_id, counter, apdu, **options))  # type: ignore[arg-type]

    def clock(self, command: ClockSynchronisation) -> Taken:
        return self.send("clock", command.encode())

    def error(self) -> int | None:
        """The application error that is read, None if the answer is none."""
        telegram = self.read()
        assert telegram.transport is not None
        if telegram.transport.ci not in (0x6E, 0x6F, 0x70):
            return None
        assert telegram.payload is not None
        return telegram.payload[0]

    def blocks(self) -> tuple[SitpBlock, ...]:
        """The SITP blocks that are read."""
        telegram = self.read()
        assert telegram.error is None, telegram.error
        assert telegram.transport is not None
        assert telegram.transport.ci in (0xC4, 0xC5)
        return decode(self.octets(telegram)).blocks

    def status(self) -> int:
        """The status octet of the one block that is read."""
        (block,) = self.blocks()
        assert (block.control & 0x80, block.structure, len(block.content)) == (0x80, 0x22, 1)
        return block.content[0]

    def apdu(self) -> bytes:
        """The answer inside ASP10 that is read, proven with the key of the command."""
        (block,) = self.blocks()
        data = block.read()
        assert isinstance(data, SecuredData)
        mac = asp10_mac(BlockCipher(APPLICATION), data.counter, data.target_time, data.pid, data.apdu)
        assert data.mac == mac
        assert block.control == 0xA0
        return data.apdu

    @staticmethod
    def octets(telegram: Telegram) -> bytes:
        """Application octets without verification and fillers."""
        payload = telegram.payload or b""
        block_mode = telegram.security.mode in (5, 7)
        return (payload[2:] if block_mode else payload).rstrip(b"\x2f") if block_mode else payload


def reborn(partner: Partner, functions: Mapping[str, Options] | None = None, **config: object) -> Partner:
    """The same device after a power cut, and its partner, which remembers its counters."""
    old = partner.endpoint
    given = {"oms_issue": old.config.oms_issue, **config}
    other = Partner(
        device(old.config.profile, old.config.wired, functions=functions, memory=old.memory, **given), key=partner.key
    )  # type: ignore[arg-type]
    other.counter, other.access_number, other.now = partner.counter, partner.access_number, partner.now
    return other
