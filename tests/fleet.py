"""Telegrams of meters that do not exist, made with our own encoder, for tests of doors and store."""

from __future__ import annotations

from openmetering.codec.address import Address, flag_value
from openmetering.codec.apl.format import CompactFrame
from openmetering.codec.apl.records import parse
from openmetering.codec.ell import CommunicationControl
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import frame as add_crc
from openmetering.security import KeyRing
from openmetering.telegram import Meter, compose, encode, encode_fragments

KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
VOLUME = "0C14"  # eight BCD digits, 10^-2 m3
TIME = "046D3237 1F15".replace(" ", "")


def ring(key: bytes = KEY) -> KeyRing:
    """The key for every meter."""
    keys = KeyRing()
    keys.add("*", key, key_id=None)
    return keys


def address(number: int = 12345678, maker: str = "ELS", version: int = 0x33, device_type: int = 0x03) -> Address:
    """Address of a meter."""
    return Address(flag_value(maker), f"{number:08d}", version, device_type)


def volume(value: int, *, storage: bool = False) -> bytes:
    """One record: a volume of value / 100 m3."""
    return bytes.fromhex("4C14" if storage else VOLUME) + bytes.fromhex(f"{value:08d}")[::-1]


def radio(
    value: int = 1234,
    *,
    number: int = 12345678,
    access_number: int = 1,
    profile: str = "none",
    key: bytes = KEY,
    records: bytes | None = None,
    device_type: int = 0x03,
    hop: bool = False,
    ell: int | None = None,
    status: int = 0,
    counter: int | None = None,
    ci: int | None = None,
) -> bytes:
    """A wireless frame without CRCs."""
    control = None if ell is None else CommunicationControl(ell | (0x10 if hop else 0))
    meter = Meter(address(number, device_type=device_type), profile, communication_control=control)
    telegram = compose(
        meter, volume(value) if records is None else records, access_number=access_number, status=status, counter=counter, ci=ci
    )
    octets = encode(telegram, ring(key))
    if hop and control is None:  # hop bit of the configuration field, short header: CI ACC STS CF
        octets = octets[:13] + bytes((octets[13] | 1,)) + octets[14:]
    return octets


def with_crc(octets: bytes, frame_format: str = "A") -> bytes:
    """The frame as on air."""
    return add_crc(octets, frame_format)


def wired(value: int = 1234, *, primary: int = 5, number: int = 12345678, access_number: int = 1, more: bool = False) -> bytes:
    """A wired answer with a long header."""
    records = volume(value) + (b"\x1f" if more else b"")
    return encode(compose(Meter(address(number), primary=primary), records, access_number=access_number), KeyRing())


def bare_wired(value: int = 1234, primary: int = 5) -> bytes:
    """A wired answer without header (CI 78): nothing but the primary address tells who it is."""
    return WiredFrame.long(0x08, primary, b"\x78" + volume(value)).encode()


def compact(value: int = 1234, *, number: int = 12345678, access_number: int = 1, records: bytes | None = None) -> bytes:
    """A compact frame (CI 79); its format must be known from a full frame."""
    octets = volume(value) if records is None else records
    parsed = parse(octets).records
    content = CompactFrame.of(parsed)
    body = content.signature.to_bytes(2, "little") + content.full_frame_crc.to_bytes(2, "little") + content.data
    frame = bytes((0x44,)) + address(number).link_octets() + bytes((0x79,)) + body
    return bytes((len(frame),)) + frame


__all__ = ["KEY", "address", "bare_wired", "compact", "encode_fragments", "radio", "ring", "volume", "wired", "with_crc"]
