"""Telegrams for the tests of this folder: addresses, keys, records, frames of every profile.

The keys are counting octets or made up; no deployed meter uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from openmetering import Address, Decoder, KeyRing, Meter, Record, Telegram, compose, encode, encode_fragments
from openmetering.codec.afl import AuthenticationFragmentation, KeyInformation, MessageControl
from openmetering.codec.apl.format import CompactFrame, RecordFormat, encode_format_frame
from openmetering.codec.apl.header import encode_dib, header_of
from openmetering.codec.apl.records import make
from openmetering.codec.ell import CommunicationControl, ExtendedLink, SessionNumber
from openmetering.codec.link.control import ControlField
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import CONFIGURATIONS, TransportHeader
from openmetering.telegram import SecurityReport

KEY = bytes(range(16))
WRONG_KEY = bytes(range(0x50, 0x60))
DES_KEY = bytes.fromhex("0123456789ABCDEF")
METER = Address.parse("OMG-12345678-01-07")
OTHER_MAKER = Address.parse("XYZ-12345678-01-07")
ADAPTER = Address.parse("OMG-87654321-05-37")
GATEWAY = Address.parse("XYZ-33445566-0A-31")


def record(vib: str, value: object, *, field: int = 0x0C, uplink: bool = True, **place: int) -> Record:
    """A record of a VIB in hexadecimal; ``place`` goes to the DIB."""
    header = header_of(encode_dib(field, **place), bytes.fromhex(vib), uplink=uplink)
    return make(header, value)  # type: ignore[arg-type]


def water(volume: str = "28504.27") -> list[Record]:
    """Volume, error flags and last year's volume: the usual content of the tests."""
    return [record("14", Decimal(volume)), record("FD17", 0, field=2), record("14", Decimal("1.23"), storage=1)]


WATER = b"".join(item.octets() for item in water())


def ring(*entries: tuple[Address, bytes] | tuple[Address, bytes, int, int | None]) -> KeyRing:
    """A key ring of (address, key[, key_id, version])."""
    keys = KeyRing()
    for address, key, *rest in entries:
        keys.add(address.link_octets(), key, *rest)
    return keys


KEYS = ring((METER, KEY))


def built(
    octets: Sequence[Record] | bytes = WATER, /, *, meter: Address = METER, profile: str = "none", **options: object
) -> Telegram:
    """``compose`` with the fields of ``Meter`` and its own mixed in one call."""
    names = set(Meter.__struct_fields__) - {"address", "profile"}
    shape = {name: options.pop(name) for name in names & set(options)}
    return compose(Meter(meter, profile, **shape), octets, **options)  # type: ignore[arg-type]


def frame(
    content: Sequence[Record] | bytes = WATER,
    *,
    keys: KeyRing | bytes | None = KEY,
    meter: Address = METER,
    profile: str = "none",
    **options: object,
) -> bytes:
    """Octets of a composed telegram."""
    return encode(built(content, meter=meter, profile=profile, **options), keys)


def sealed(
    mode: int,
    configuration: int,
    payload: bytes,
    *,
    extension: bytes = b"",
    uplink: bool = True,
    afl: AuthenticationFragmentation | None = None,
    adapter: Address | None = None,
    meter: Address = METER,
    access_number: int = 42,
    ell: ExtendedLink | None = None,
) -> Telegram:
    """A telegram of any security mode, also of those that ``compose`` does not make."""
    ci, control, sender = (0x7A, 0x44, meter) if uplink else (0x5B, 0x53, GATEWAY)
    kind, address = ("short", None) if uplink else ("long", meter)
    if adapter is not None:
        ci, kind, address, sender = 0x72, "long", meter, adapter
    number = configuration | mode << 8
    header = TransportHeader(ci, kind, address, access_number, 0, CONFIGURATIONS[mode](number), extension)
    link = WirelessFrame(ControlField(control), sender, b"")
    report = SecurityReport(None, mode, "decrypted")
    return Telegram(b"", link, ell, None, afl, header, report, payload, uplink)


def wired(data: bytes | str, *, control: int = 0x08, address: int = 1) -> bytes:
    """A wired frame around CI and user data."""
    octets = bytes.fromhex(data) if isinstance(data, str) else data
    return WiredFrame.long(control, address, octets).encode()


def wireless(data: bytes | str, *, control: int = 0x44, address: Address = METER) -> bytes:
    """A wireless frame without CRCs around CI and data."""
    octets = bytes.fromhex(data) if isinstance(data, str) else data
    return WirelessFrame(ControlField(control), address, octets).encode()


def afl_of(
    *,
    counter: int | None = 7,
    key_id: int | None = None,
    key_version: int = 0,
    authentication_type: int = 5,
    length: bool = False,
) -> AuthenticationFragmentation:
    """An AFL whose MAC the encoder fills in."""
    information = None
    if key_id is not None:
        information = KeyInformation.build(key_id=key_id, key_derivation=1, key_version=key_version)
    control = MessageControl.build(
        authentication_type=authentication_type,
        counter=int(counter is not None),
        key_information=int(key_id is not None),
        length=int(length),
    )
    size = {3: 2, 4: 4, 5: 8, 6: 12, 7: 16}.get(authentication_type, 8)
    return AuthenticationFragmentation.build(
        message_control=control,
        key_information=information,
        counter=counter,
        mac=bytes(size),
        message_length=0 if length else None,
    )


def session_link(*, encryption: int = 1, ci: int = 0x8D, control: int = 0x20, access_number: int = 9) -> ExtendedLink:
    """An extended link layer with session number; destination for CI 8F."""
    number = SessionNumber.build(session=3, minutes=4711, encryption=encryption)
    destination = METER if ci == 0x8F else None
    return ExtendedLink(ci, CommunicationControl(control), access_number, destination, number, 0)


def session_telegram(content: bytes = b"\x78" + WATER, *, ell: ExtendedLink | None = None, uplink: bool = True) -> Telegram:
    """A telegram with encryption of the extended link layer; ``content`` starts with its CI."""
    link = WirelessFrame(ControlField(0x44 if uplink else 0x53), METER, b"")
    report = SecurityReport("ELL", None, "decrypted", "ell-crc")
    layer = session_link() if ell is None else ell
    return Telegram(b"", link, layer, None, None, TransportHeader(content[0]), report, content[1:], uplink)


def fragments(counter: int = 21, content: bytes = WATER * 3) -> list[bytes]:
    """Three frames of one message of profile B."""
    return encode_fragments(built(content, profile="B", counter=counter), KEYS, 25)[:3]


def longer(octets: bytes) -> bytes:
    """The last fragment with one octet more."""
    return bytes((octets[0] + 1,)) + octets[1:] + b"\x2f"


def general(octets: bytes, keys: KeyRing | bytes | None = None, key: bytes | None = None) -> Telegram:
    """What the general reader says: a fresh decoder knows no shortcut."""
    return Decoder(keys).examine(octets, key)


def facts(telegram: Telegram) -> dict[str, object]:
    """Everything a telegram says, for comparison: all fields, the records made."""
    names = set(Telegram.__struct_fields__) - {"plan", "read_records", "cause"}
    said: dict[str, object] = {name: getattr(telegram, name) for name in names}
    said["cause"] = type(telegram.cause)
    said["records"] = telegram.records
    return said


def codes(telegram: Telegram) -> list[str]:
    """Codes of all warnings, in order."""
    return [warning.code for warning in telegram.warnings]


FORMAT = encode_format_frame(RecordFormat.of(water()))
COMPACT = CompactFrame.of(water()).encode()
HEADER = "2A000000"  # access number 42, status 0, mode 0
LONG = "78563412A73D0107" + HEADER


def octets_with(mode: int, low: int, extension: bytes = b"", content: bytes = bytes(16)) -> bytes:
    header = bytes((0x7A, 42, 0, low, mode)) + extension
    return wireless(header + content)


def split_water() -> list[bytes]:
    return [WATER[:6], WATER[6:11], WATER[11:]]
