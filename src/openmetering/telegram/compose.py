"""Compose: records to a Telegram of a security profile, with all header fields that follow from it.

    profile  mode  header fields
    none     0     configuration 0
    A        5     number of blocks, link bits (without ELL)
    B        7     AFL with MCL 25h, counter, MAC; number of blocks, CFE with KeyID
    D        10    counter in the transport layer, number of octets, CFE

Source: OMS Volume 2 5.0.1 Table 43, clause 7.2; Annex N.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.afl import AuthenticationFragmentation, KeyInformation, MessageControl
from openmetering.codec.apl.records import Record
from openmetering.codec.ell import CommunicationControl, ExtendedLink
from openmetering.codec.link.control import ControlField, is_uplink
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.codec.tpl import ConfigurationA, ConfigurationB, ConfigurationD, Extension, ExtensionContent, TransportHeader
from openmetering.errors import NotRepresentable
from openmetering.security import fill
from openmetering.tables import CONTROL_INFORMATION
from openmetering.telegram.model import SecurityReport, Telegram

__all__ = ["Meter", "application_octets", "compose"]

_AT = 5  #: AES-CMAC, 8 octets: mandatory in OMS
_VERIFICATION = b"\x2f\x2f"
#: protocols without a filler of their own: profile B pads them in the transport layer (OMS Volume 2 5.0.1, bit P)
_WITHOUT_FILLER = frozenset(
    ("application-reset", "application-request", "application-response", "clock", "image", "sitp", "alarm")
)


class Meter(msgspec.Struct, frozen=True):
    """Who sends, and how it is protected.

    ``address`` of the meter; ``adapter`` the radio adapter in front of it (then the long header
    is used); ``primary`` the primary address of a wired meter (then the frame is wired).
    ``profile`` none, A, B or D; ``communication_control`` None leaves the ELL out.
    """

    address: Address
    profile: str = "none"
    adapter: Address | None = None
    primary: int | None = None
    communication_control: CommunicationControl | None = None
    key_id: int = 0
    key_version: int | None = None
    frame_format: str | None = None
    crc: bool = False


def application_octets(records: Sequence[Record], manufacturer_data: bytes | None = None) -> bytes:
    """Record octets in order, a manufacturer's block (DIF 0F) behind them."""
    octets = b"".join(record.octets() for record in records)
    return octets if manufacturer_data is None else octets + b"\x0f" + manufacturer_data


def compose(
    meter: Meter,
    records: Sequence[Record] | bytes,
    *,
    access_number: int = 0,
    status: int = 0,
    counter: int | None = None,
    control: int | None = None,
    ci: int | None = None,
    clear: bytes = b"",
    content: int = 0,
    content_index: int = 0,
) -> Telegram:
    """Make a telegram of a meter (or, with a CI of the downlink, to it).

    ``records`` are records or application octets; ``clear`` octets stay unencrypted behind them;
    ``counter`` is the message counter of profiles B and D; a protocol without filler is padded by
    the transport layer in profile B. ``control`` defaults to SND-NR on the
    radio and RSP-UD on the wire, ``ci`` to the M-Bus response with the header that fits.
    Raises NotRepresentable for an unknown profile or a missing counter.
    """
    builder = _PROFILES.get(meter.profile)
    if builder is None:
        raise NotRepresentable(f"profile is none, A, B or D, got {meter.profile!r}", field="profile", value=meter.profile)
    if meter.profile in ("B", "D") and counter is None:
        raise NotRepresentable(f"profile {meter.profile} needs a message counter", field="counter", value=None)
    wired = meter.primary is not None
    long = wired or meter.adapter is not None
    octets = records if isinstance(records, bytes) else application_octets(records)
    code = ci if ci is not None else (0x72 if long else 0x7A)
    function = control if control is not None else (0x08 if wired else 0x44)
    kind, uplink = _layout(code, function)
    if kind == "none" and meter.profile != "none":
        raise NotRepresentable(f"CI {code:02X}h has no header, so no profile {meter.profile}", field="ci", value=code)
    info = CONTROL_INFORMATION[code]
    padded = info is not None and info.protocol in _WITHOUT_FILLER and not clear
    shape = _Shape(meter, octets, clear, counter, content, content_index, padded)
    configuration, extension, payload, afl = builder(shape)
    header = TransportHeader(code)
    if kind != "none":
        address = meter.address if kind == "long" else None
        header = TransportHeader(code, kind, address, access_number, status, configuration, extension)
    link: WiredFrame | WirelessFrame
    if wired:
        link = WiredFrame.long(function, meter.primary or 0, b"\x00\x00")
    else:
        link = WirelessFrame(ControlField(function), meter.adapter or meter.address, b"", meter.frame_format, meter.crc)
    ell = None
    if meter.communication_control is not None and not wired:
        ell = ExtendedLink(0x8C, meter.communication_control, access_number)
    mode = header.mode
    report = SecurityReport(meter.profile, mode, "plain" if mode == 0 else "decrypted", counter=counter)
    return Telegram(b"", link, ell, None, afl, header, report, payload, uplink)


def _layout(code: int, function: int) -> tuple[str, bool]:
    """Kind of the header and direction that a CI field asks for."""
    info = CONTROL_INFORMATION[code]
    if info is None:
        raise NotRepresentable(f"CI {code:02X}h is reserved", field="ci", value=code)
    both = info.direction == "both"
    return info.header, is_uplink(ControlField(function)) if both else info.direction == "up"


class _Shape(msgspec.Struct, frozen=True):
    meter: Meter
    octets: bytes
    clear: bytes
    counter: int | None
    content: int
    content_index: int
    padded: bool


_Built = tuple[ConfigurationA | ConfigurationB | ConfigurationD, bytes, bytes, AuthenticationFragmentation | None]


def _blocks(plain: bytes, clear: bytes) -> int:
    number = len(plain) // 16
    if number < 15:
        return number
    if clear:
        raise NotRepresentable(
            "more than 14 blocks and clear octets behind them cannot be announced", field="clear", value=len(clear)
        )
    return 15


def _none(shape: _Shape) -> _Built:
    return ConfigurationA.build(content=shape.content), b"", shape.octets + shape.clear, None


def _a(shape: _Shape) -> _Built:
    plain = fill(_VERIFICATION + shape.octets)
    link_bits = {} if shape.meter.communication_control is not None or shape.meter.primary is not None else {"synchronous": 1}
    configuration = ConfigurationA.build(mode=5, blocks=_blocks(plain, shape.clear), content=shape.content, **link_bits)
    return configuration, b"", plain + shape.clear, None


def _b(shape: _Shape) -> _Built:
    meter = shape.meter
    bare = _VERIFICATION + shape.octets
    plain = fill(bare)
    padding = shape.padded and len(bare) != len(plain)
    configuration = ConfigurationB.build(
        mode=7,
        blocks=_blocks(plain, shape.clear),
        content=shape.content,
        content_index=shape.content_index,
        padding=int(padding),
    )
    if padding:
        plain = bare  # the encoder adds the padding, the decoder takes it off
    extension = bytes((Extension.build(key_id=meter.key_id, key_derivation=1),))
    information = None
    if meter.key_version is not None:
        information = KeyInformation.build(key_id=meter.key_id, key_derivation=1, key_version=meter.key_version)
    control = MessageControl.build(authentication_type=_AT, counter=1, key_information=int(information is not None))
    afl = AuthenticationFragmentation.build(
        message_control=control, key_information=information, counter=shape.counter, mac=bytes(8)
    )
    return configuration, extension, plain + shape.clear, afl


def _d(shape: _Shape) -> _Built:
    meter = shape.meter
    length = len(shape.octets)
    number = 0xFF if length > 0xFE and not shape.clear else length
    configuration = ConfigurationD.build(mode=10, octets=number, counter_present=1, content=shape.content)
    version = b"" if meter.key_version is None else bytes((meter.key_version,))
    first = Extension.build(key_id=meter.key_id, key_derivation=1, version_present=len(version))
    second = ExtensionContent.build(option=1, content_index=shape.content_index)
    counter = (shape.counter or 0).to_bytes(4, "little")
    return configuration, bytes((first, second)) + version + counter, shape.octets + shape.clear, None


_PROFILES = {"none": _none, "A": _a, "B": _b, "D": _d}
