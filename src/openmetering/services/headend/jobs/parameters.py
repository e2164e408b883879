"""What a job of each kind needs: one struct per kind, read strictly from JSON.

    {"state": "disconnected"}                                 disconnector
    {"action": "update", "identifier": "V2", "image": "..."}  firmware; octets as Base64

Every kind takes ``issue``, the issue of OMS Volume 2 that the device follows. A struct checks itself: what cannot
be carried out is refused when the job is asked for, not hours later.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from openmetering.codec.address import Address
from openmetering.codec.apl.header import header_of
from openmetering.codec.apl.records import make
from openmetering.errors import EncodeError
from openmetering.protocol.operator.adapter import LONGEST_DELAY
from openmetering.protocol.operator.tags import command_header, vib_octets

__all__ = [
    "LARGEST_IMAGE",
    "ClockParameters",
    "ConsumerParameters",
    "DisconnectorParameters",
    "DueDateParameters",
    "FirmwareParameters",
    "IndexParameters",
    "KeyParameters",
    "MeterAddressParameters",
    "OwnershipParameters",
    "Parameters",
    "ReadParameters",
    "RegisterParameters",
    "SelectParameters",
    "SupervisionParameters",
    "TestParameters",
]

LARGEST_IMAGE: Final = 1 << 20  #: octets of a firmware image in a job

Octet = Annotated[int, Meta(ge=0, le=255)]
Version = Annotated[int, Meta(ge=0, le=254)]
Delay = Annotated[int, Meta(ge=0, le=31_536_000, description="seconds")]
Tags = Annotated[tuple[str, ...], Meta(max_length=32)]
Issue = Literal["5.0.1", "4.3.3"]
_HEX: Final = "([0-9A-Fa-f]{2})"


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all kinds share."""

    issue: Issue = "5.0.1"


class RegisterParameters(Parameters, frozen=True):
    """UC-01: ask a device for its data, the first reading."""


class ReadParameters(Parameters, frozen=True):
    """Read a device now. ``standard`` False: ask for whatever it has ready (REQ-UD2), which may be the answer to an
    earlier command; else it is told to give its standard response."""

    standard: bool = True


class DisconnectorParameters(Parameters, frozen=True):
    """UC-03. ``state`` None: read it. ``delay`` in seconds; ``part_of_meter``: not a device of its own, as in every device
    whose type is neither breaker nor valve."""

    state: Literal["disconnected", "connected", "released"] | None = None
    delay: Delay = 0
    part_of_meter: bool = False


class ClockParameters(Parameters, frozen=True):
    """UC-04: read, adjust by ``seconds``, correct towards or set to the time of the head-end in ``zone``.

    ``summer`` False: the device keeps standard time all year. ``by_gateway``: protected by the link only (04a); such a
    command is sent once and never repeated, as nothing tells whether it was executed.
    """

    action: Literal["read", "adjust", "correct", "set"] = "read"
    seconds: Annotated[int, Meta(ge=-60, le=60)] = 0
    zone: str = "UTC"
    summer: bool = False
    by_gateway: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        if self.action == "adjust" and not self.seconds:
            raise ValueError("a clock is adjusted by 1 to 60 seconds, forward or back")
        if self.by_gateway and self.action == "set":
            raise ValueError("a gateway may not set a clock, only adjust or correct it")
        try:
            ZoneInfo(self.zone)
        except (KeyError, OSError, ValueError):
            raise ValueError(f"there is no time zone {self.zone!r}") from None


class FirmwareParameters(Parameters, frozen=True):
    """UC-05: update, tell the state of, or terminate the transfer of an image named by ``identifier``.

    ``activate`` False: stop when it is valid; ``after`` seconds until it is activated; ``secured`` False and
    ``confirmed`` True for IDIS; ``poll`` seconds between questions for the state.
    """

    identifier: Annotated[str, Meta(min_length=1, max_length=64)]
    action: Literal["update", "state", "terminate"] = "update"
    image: bytes = b""
    block_size: Annotated[int, Meta(ge=16, le=200)] = 190
    activate: bool = True
    after: Delay = 0
    secured: bool = True
    confirmed: bool = False
    poll: Annotated[float, Meta(ge=1.0, le=600.0)] = 30.0

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        if self.action == "update" and not 0 < len(self.image) <= LARGEST_IMAGE:
            raise ValueError(f"an image has 1 to {LARGEST_IMAGE} octets, got {len(self.image)}")
        if self.action == "update" and -(-len(self.image) // self.block_size) > 0xFFFF:
            raise ValueError("an image has 65535 blocks at most")
        if self.action != "update" and self.image:
            raise ValueError("only an update needs an image")
        self.name  # noqa: B018  raises where the identifier cannot be read

    @property
    def name(self) -> bytes:
        """The identifier in octets: text, or hexadecimal digits behind 0x."""
        if not self.identifier.startswith("0x"):
            return self.identifier.encode()
        try:
            return bytes.fromhex(self.identifier[2:])
        except ValueError:
            raise ValueError("behind 0x an identifier has hexadecimal digits, two for an octet") from None


class SupervisionParameters(Parameters, frozen=True):
    """UC-06: read status and error flags, or clear them: all, or the bits of ``mask`` (``size`` octets long).

    ``maker``: the mask is one of MM2! (manufacturer), not of MM3!.
    """

    action: Literal["read", "clear"] = "read"
    mask: Annotated[int, Meta(gt=0)] | None = None
    maker: bool = False
    size: Literal[1, 2, 3, 4, 6, 8] = 2

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        if self.mask is not None and self.mask >= 1 << 8 * self.size:
            raise ValueError(f"{self.mask:#x} is no mask of {self.size} octets")


class KeyParameters(Parameters, frozen=True):
    """UC-08: list keys in use, with counters; take over versions and counters (``synchronise``); renew; destroy.

    A new key is made by the vault, under the next version; ``version`` is for destroy (issue 4.3.3) only.
    """

    action: Literal["list", "counters", "synchronise", "renew", "destroy"] = "list"
    key_id: Octet | None = None
    version: Version | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        if self.action in ("renew", "destroy") and self.key_id is None:
            raise ValueError(f"which key? to {self.action} one takes its key_id")
        if self.action == "destroy" and (self.version is None or self.issue != "4.3.3"):
            raise ValueError("destroying a key takes its version, and a device of issue 4.3.3")
        if self.action != "destroy" and self.version is not None:
            raise ValueError("the version of a new key is chosen by the vault")


class SelectParameters(Parameters, frozen=True):
    """UC-14: add tags to the list of a message application, and take tags out of it."""

    application: Annotated[int, Meta(ge=0, le=15)]
    block: Annotated[int, Meta(ge=0, le=15)] = 0
    add: Tags = ()
    remove: Tags = ()

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        if not self.add and not self.remove:
            raise ValueError("which tags? name some to add or to remove")
        try:
            for tag in (*self.add, *self.remove):
                command_header(tag, "arl")
        except EncodeError as error:
            raise ValueError(error.message) from None


class DueDateParameters(Parameters, frozen=True):
    """UC-12a. ``date`` None: read."""

    date: dt.date | None = None


class OwnershipParameters(Parameters, frozen=True):
    """UC-12b. ``digits`` None: read."""

    digits: Annotated[str, Meta(pattern=r"^([0-9]{2}|[0-9]{4}|[0-9]{6}|[0-9]{8}|[0-9]{12})$")] | None = None


class ConsumerParameters(Parameters, frozen=True):
    """UC-07: what a consumer display shows. ``coding``: the octets that select message application 18, hexadecimal."""

    coding: Annotated[str, Meta(pattern=f"^{_HEX}{{1,4}}$")]

    @property
    def octets(self) -> bytes:
        """The coding in octets."""
        return bytes.fromhex(self.coding)


class IndexParameters(Parameters, frozen=True):
    """UC-20b: read the index of the meter behind an adapter, or set it, add to it, subtract from it.

    ``header``: DIB and VIB of the index, hexadecimal, e.g. ``0A13`` for litres in four digits; to read, it may be left out.
    ``value`` in the unit of the header (a volume in m3, an energy in Wh).
    """

    action: Literal["read", "set", "add", "sub"] = "read"
    tag: Annotated[str, Meta(min_length=2, max_length=16)] = "VM1!"
    header: Annotated[str, Meta(pattern=f"^{_HEX}{{2,16}}$")] | None = None
    value: Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,9})?$")] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be done."""
        try:
            vib_octets(self.tag)
            if self.action == "read":
                if self.value is not None:
                    raise ValueError("reading an index takes no value")
                return
            if self.header is None or self.value is None:
                raise ValueError(f"to {self.action} an index takes its header and a value")
            dib, vib = self.octets[:1], self.octets[1:]
            if dib[0] & 0x80 or not dib[0] & 0x0F:
                raise ValueError("a header is a DIF with data and a VIB")
            make(header_of(dib, vib), self.number)
        except EncodeError as error:
            raise ValueError(error.message) from None

    @property
    def octets(self) -> bytes:
        """DIB and VIB; empty if they were left out."""
        return bytes.fromhex(self.header or "")

    @property
    def vib(self) -> bytes:
        """The VIB, by default the one that every device with this index knows. Raises NotRepresentable."""
        return self.octets[1:] or vib_octets(self.tag)

    @property
    def number(self) -> Decimal:
        """The value."""
        return Decimal(self.value or 0)


class MeterAddressParameters(Parameters, frozen=True):
    """UC-20a: the meter behind an adapter gets another address after ``delay`` seconds.

    Digits F and the parts FFFF, FF and FF of ``address`` keep what is there, e.g. ``FFFF-87654321-FF-FF``.
    """

    address: Annotated[str, Meta(min_length=1, max_length=32)]
    delay: Annotated[int, Meta(ge=0, le=LONGEST_DELAY, description="seconds")] = 45

    def __post_init__(self) -> None:
        """Raises ValueError for what is no address."""
        try:
            self.wanted  # noqa: B018  raises where it cannot be read
        except EncodeError as error:
            raise ValueError(error.message) from None

    @property
    def wanted(self) -> Address:
        """The address with its wildcards. Raises NotRepresentable."""
        return Address.parse(self.address)


class TestParameters(Parameters, frozen=True):
    """UC-00: the conformance test; ``secured`` under key 1Fh."""

    __test__ = False  # no test case of pytest

    secured: bool = False
    functions: tuple[Annotated[int, Meta(ge=0x30, le=0x34)], ...] = (0x30, 0x31, 0x32, 0x33, 0x34)
