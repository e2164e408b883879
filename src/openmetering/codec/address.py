"""Addresses: FLAG manufacturer code, identification number, version, device type.

The same eight octets stand on the wire in two orders, so there is one type and two
serialisers: link-layer order (DLL, ELL) and transport order (long header, selection).
Source: OMS Volume 2 5.0.1 clause 3; DIN 43863-5 for the 14-character form.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from openmetering.errors import NotRepresentable, OutOfRange, Truncated
from openmetering.tables import DEVICE_TYPES, device_type_of_category

__all__ = ["WILDCARD", "Address", "Selection", "flag_letters", "flag_value"]

SOFT_ADDRESS = 0x8000  #: bit 15 of the manufacturer field: unique only in the installation
WILDCARD = b"\xff"


def flag_letters(value: int) -> str:
    """The three FLAG letters of a manufacturer field; bit 15 (soft address) is masked.

    Octets 0..1 of the field hold 5 bits a letter, A = 1. A code that is no letter gives ``?``.
    """
    letters = ((value >> shift & 0x1F) + 64 for shift in (10, 5, 0))
    return "".join(chr(code) if 65 <= code <= 90 else "?" for code in letters)


def flag_value(letters: str) -> int:
    """The manufacturer field of three FLAG letters. Raises NotRepresentable."""
    if len(letters) != 3 or not all("A" <= letter <= "Z" for letter in letters):
        raise NotRepresentable(f"a FLAG code is three letters A..Z, got {letters!r}", field="manufacturer", value=letters)
    first, second, third = (ord(letter) - 64 for letter in letters)
    return first << 10 | second << 5 | third


class Address(msgspec.Struct, frozen=True, order=True):
    """Address of a device: four fields, eight octets.

    ``manufacturer`` is the 16-bit field with bit 15 as received, ``identification`` the
    number as eight hexadecimal digits (decimal but for wildcards and old devices),
    ``version`` and ``device_type`` one octet each.
    """

    manufacturer: int
    identification: str
    version: int
    device_type: int

    # -- octets ---------------------------------------------------------------------------

    @classmethod
    def from_link(cls, octets: bytes, offset: int = 0) -> Address:
        """Read link-layer order.

        Octets   0..1  manufacturer, little endian
                 2..5  identification number, BCD, least significant pair first
                 6     version
                 7     device type
        Source   OMS Volume 2 5.0.1, 3.1.3 (M and A field)
        Raises   Truncated
        """
        part = octets[offset : offset + 8]
        if len(part) < 8:
            raise Truncated("an address needs 8 octets", layer="address", offset=offset, octets=octets)
        return _from_link(part)

    @classmethod
    def from_transport(cls, octets: bytes, offset: int = 0) -> Address:
        """Read transport order (long header, secondary selection).

        Octets   0..3  identification number, BCD, least significant pair first
                 4..5  manufacturer, little endian
                 6     version
                 7     device type
        Source   OMS Volume 2 5.0.1, 3.1.3 (application layer address)
        Raises   Truncated
        """
        part = octets[offset : offset + 8]
        if len(part) < 8:
            raise Truncated("an address needs 8 octets", layer="address", offset=offset, octets=octets)
        return _from_link(part[4:6] + part[:4] + part[6:])

    def link_octets(self) -> bytes:
        """Eight octets in link-layer order. Raises OutOfRange, NotRepresentable."""
        number = self._identification_octets()
        try:
            return self.manufacturer.to_bytes(2, "little") + number + bytes((self.version, self.device_type))
        except (OverflowError, ValueError):
            raise OutOfRange(f"address {self} does not fit its fields", field="address", value=str(self)) from None

    def transport_octets(self) -> bytes:
        """Eight octets in transport order. Raises OutOfRange, NotRepresentable."""
        octets = self.link_octets()
        return octets[2:6] + octets[:2] + octets[6:]

    def _identification_octets(self) -> bytes:
        try:
            number = bytes.fromhex(self.identification)[::-1]
        except ValueError:
            number = b""
        if len(number) != 4:
            raise NotRepresentable(
                f"an identification number has eight digits, got {self.identification!r}",
                field="identification",
                value=self.identification,
            )
        return number

    # -- meaning --------------------------------------------------------------------------

    @property
    def flag(self) -> str:
        """The manufacturer's FLAG letters."""
        return flag_letters(self.manufacturer)

    @property
    def soft(self) -> bool:
        """True if the address is unique only in the installation (bit 15 of the manufacturer)."""
        return bool(self.manufacturer & SOFT_ADDRESS)

    @property
    def medium(self) -> str:
        """Name of the device type."""
        return DEVICE_TYPES[self.device_type].name

    @property
    def din(self) -> str | None:
        """The 14-character form of DIN 43863-5, or None where the address has none.

        Characters 1 OBIS category, 2..4 FLAG letters, 5..6 version (fabrication block,
        hexadecimal), 7..14 identification number.
        """
        category = DEVICE_TYPES[self.device_type].category
        if not category or "?" in self.flag or not self.identification.isdecimal():
            return None
        return f"{category}{self.flag}{self.version:02X}{self.identification}"

    @classmethod
    def from_din(cls, text: str, device_type: int | None = None) -> Address:
        """Make an address of a DIN 43863-5 number; the category gives the device type unless it is named.

        Raises NotRepresentable if the text is no such number or the category has no device type.
        """
        text = text.strip().upper()
        if len(text) != 14 or not text.isascii() or not text[6:].isdecimal() or not text[4:6].isalnum():
            raise NotRepresentable(f"{text!r} is no DIN 43863-5 number (14 characters)", field="din", value=text)
        kind = device_type_of_category(text[0]) if device_type is None else device_type
        if kind is None:
            raise NotRepresentable(f"OBIS category {text[0]} has no default device type", field="din", value=text)
        try:
            version = int(text[4:6], 16)
        except ValueError:
            raise NotRepresentable(f"{text[4:6]!r} is no fabrication block", field="din", value=text) from None
        return cls(flag_value(text[1:4]), text[6:], version, kind)

    def matches(self, pattern: Address) -> bool:
        """True if this address falls under a pattern with wildcards.

        F digits in the number, FFFFh, FFh and FFh in the other fields match everything
        (OMS Volume 2 Annex P, secondary selection).
        """
        if pattern.manufacturer not in (0xFFFF, self.manufacturer) or pattern.version not in (0xFF, self.version):
            return False
        if pattern.device_type not in (0xFF, self.device_type):
            return False
        pairs = zip(pattern.identification.upper(), self.identification.upper(), strict=True)
        return all(want in ("F", digit) for want, digit in pairs)

    @property
    def manufacturer_text(self) -> str:
        """FLAG letters, or four hexadecimal digits where the field is no plain FLAG code (soft address, old devices)."""
        letters = self.flag
        return f"{self.manufacturer:04X}" if self.soft or "?" in letters else letters

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read the text form ``ELS-12345678-33-03``. Raises NotRepresentable."""
        parts = text.strip().upper().split("-")
        try:
            letters, number, version, kind = parts
            manufacturer = int(letters, 16) if len(letters) == 4 else flag_value(letters)
            address = cls(manufacturer, number, int(version, 16), int(kind, 16))
            address.link_octets()
        except (ValueError, OutOfRange):
            raise NotRepresentable(
                f"{text!r} is no address; write it as ELS-12345678-33-03", field="address", value=text
            ) from None
        return address

    def __str__(self) -> str:
        return f"{self.manufacturer_text}-{self.identification}-{self.version:02X}-{self.device_type:02X}"


@lru_cache(maxsize=65536)
def _from_link(part: bytes) -> Address:
    return Address(part[0] | part[1] << 8, part[5:1:-1].hex().upper(), part[6], part[7])


class Selection(msgspec.Struct, frozen=True):
    """Secondary selection of a wired slave, plain or enhanced.

    Octets   0..7   address pattern in transport order, wildcards F per digit, FFFFh, FFh, FFh
             8..13  optional: 0Ch 78h and the fabrication number, 8 BCD digits, F as wildcard
    Source   EN 13757-3 (selection), OMS Volume 2 Annex P P.2.3.1
    """

    pattern: Address
    fabrication: str | None = None
    more: bytes = b""

    @classmethod
    def decode(cls, octets: bytes) -> Selection:
        """Read a selection. Records behind the fabrication number are kept raw. Raises Truncated."""
        pattern = Address.from_transport(octets)
        rest = octets[8:]
        if rest[:2] == b"\x0c\x78" and len(rest) >= 6:
            return cls(pattern, rest[5:1:-1].hex().upper(), rest[6:])
        return cls(pattern, None, rest)

    def encode(self) -> bytes:
        """The octets of the selection. Raises NotRepresentable."""
        octets = self.pattern.transport_octets()
        if self.fabrication is not None:
            digits = msgspec.structs.replace(self.pattern, identification=self.fabrication)
            octets += b"\x0c\x78" + digits.transport_octets()[:4]
        return octets + self.more
