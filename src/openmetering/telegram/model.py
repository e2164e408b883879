"""The telegram as a value: one frame with all its layers, records and what was proven about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from openmetering.codec.apl import profile
from openmetering.codec.apl.records import Record
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.errors import Fault, OmsError

if TYPE_CHECKING:
    from openmetering.codec.address import Address
    from openmetering.codec.afl import AuthenticationFragmentation
    from openmetering.codec.apl.format import Plan
    from openmetering.codec.ell import ExtendedLink
    from openmetering.codec.link.wired import WiredFrame
    from openmetering.codec.nwl import NetworkLayer
    from openmetering.codec.tpl import TransportHeader

__all__ = ["STRICT", "TOLERANT", "PLAIN", "Policy", "SecurityReport", "Telegram"]


class Policy(msgspec.Struct, frozen=True):
    """What a decoder lets pass with a warning.

    ``already_plain``: the payload is clear although the header says encrypted (logs of tools
    that decrypt first). ``reserved_modes``: clear payload under a reserved security mode.
    ``trailing``: octets behind the frame. ``non_bcd_numbers``: identification numbers with
    hexadecimal digits.
    """

    name: str
    already_plain: bool
    reserved_modes: bool
    trailing: bool
    non_bcd_numbers: bool


TOLERANT = Policy("tolerant", already_plain=True, reserved_modes=True, trailing=True, non_bcd_numbers=True)
STRICT = Policy("strict", already_plain=False, reserved_modes=False, trailing=False, non_bcd_numbers=False)


class SecurityReport(msgspec.Struct, frozen=True):
    """How a telegram was protected and what is proven.

    ``profile``  none, A, B, C, D of OMS; ELL for the encryption of the extended link layer; None where no profile fits
    ``mode``     security mode of the transport layer; None without a transport header
    ``state``    plain, decrypted, already-plain, key-missing, failed
    ``proof``    mac, tag (both authenticate), ell-crc, 2f2f (both only show that the key fits); None without
    ``key_id``, ``key_version``  of the key that was used
    ``counter``  message counter, where the telegram carries one
    """

    profile: str | None = "none"
    mode: int | None = None
    state: str = "plain"
    proof: str | None = None
    key_id: int | None = None
    key_version: int | None = None
    counter: int | None = None

    @property
    def authenticated(self) -> bool:
        """True if a MAC or tag was verified."""
        return self.proof in ("mac", "tag")


PLAIN = SecurityReport()


class Telegram(msgspec.Struct, eq=False):
    """One frame with all its layers.

    Layers that the frame does not have are None. ``payload`` are the application octets in
    the clear (None while they cannot be read). ``fragment`` is True for a frame that carries
    a part of a message that is not complete yet. ``error`` is what stopped the decoding;
    everything read before it is there. ``opened`` are the stages between frame and payload: the
    octets behind an encrypted ELL (payload CRC first), a message that was joined from fragments.
    """

    frame: bytes
    link: WiredFrame | WirelessFrame | None = None
    ell: ExtendedLink | None = None
    nwl: NetworkLayer | None = None
    afl: AuthenticationFragmentation | None = None
    transport: TransportHeader | None = None
    security: SecurityReport = PLAIN
    payload: bytes | None = None
    uplink: bool = True
    error: Fault | None = None
    cause: OmsError | None = None
    warnings: tuple[Fault, ...] = ()
    application: msgspec.Struct | None = None
    manufacturer_data: bytes | None = None
    more_follows: bool = False
    fragment: bool = False
    trailer: bytes = b""
    plan: Plan | None = None
    read_records: tuple[Record, ...] | None = None
    opened: tuple[bytes, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """All records in order; made on first use where a format plan read the telegram."""
        records = self.read_records
        if records is None:
            records = () if self.plan is None or self.payload is None else self.plan.read(self.payload)
            self.read_records = records
        return records

    @property
    def profiles(self) -> tuple[profile.ProfileSeries, ...]:
        """The compact profiles of the telegram, expanded."""
        if any(record.header.profile for record in self.records):
            return profile.expand(self.records)
        return ()

    @property
    def address(self) -> Address | None:
        """Address of the application device: long header, else the sender of a wireless frame."""
        transport = self.transport
        if transport is not None and transport.address is not None:
            return transport.address
        return self.link.address if isinstance(self.link, WirelessFrame) else None

    @property
    def ok(self) -> bool:
        """True if nothing stopped the decoding."""
        return self.error is None
