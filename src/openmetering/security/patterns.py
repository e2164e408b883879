"""For which devices a key counts: address patterns with wildcards, and addresses as text.

An address here is eight octets in link-layer order: manufacturer 2, identification 4
(BCD, least significant pair first), version, device type. A pattern is an address and a
mask of the bits that count; a nibble of the number may be open. Bit 15 of the
manufacturer (soft address) never counts, so that an address typed from a display matches.
Source: OMS Volume 2 5.0.1 clause 3 (addresses); DIN 43863-5 (14-character form).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import msgspec

from openmetering.errors import InputError, OutOfRange

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AddressPattern", "address_text", "manufacturer_octets", "manufacturer_text"]

_LETTERS = re.compile(r"[A-Z]{3}")
_DIN = re.compile(r"[0-9A-F]([A-Z]{3})([0-9A-F?*]{2})([0-9A-F?*]{8})")
_RAW = re.compile(r"([0-9A-F]{16})/([0-9A-F]{16})")
_SEPARATORS = re.compile(r"[\s.:\-]+")
_OPEN = "*?"  # digits that match everything; in the number also F
_NUMBER_DIGITS = 8
_SOFT = 0x80  # bit 15 of the manufacturer, in its second octet on air

_Part = tuple[bytes, bytes]  # octets and mask, both as on air


def manufacturer_octets(letters: str) -> bytes:
    """The two octets of a FLAG code, little endian: five bits a letter, A = 1. Raises InputError."""
    if not _LETTERS.fullmatch(letters):
        raise InputError("a manufacturer code is three letters A..Z", code="address.invalid", layer="address")
    first, second, third = (ord(letter) - 64 for letter in letters)
    return (first << 10 | second << 5 | third).to_bytes(2, "little")


def manufacturer_text(octets: bytes) -> str:
    """Three letters; four hexadecimal digits (most significant first) where the code is no letters or soft."""
    value = int.from_bytes(octets, "little")
    letters = "".join(chr((value >> shift & 0x1F) + 64) for shift in (10, 5, 0))
    return letters if value < 0x8000 and _LETTERS.fullmatch(letters) else f"{value:04X}"


def address_text(address: bytes) -> str:
    """An address as text, ``ELS-12345678-33-03``: manufacturer, number, version, device type."""
    if len(address) != 8:
        return address.hex().upper()
    return f"{manufacturer_text(address[:2])}-{address[5:1:-1].hex().upper()}-{address[6]:02X}-{address[7]:02X}"


class AddressPattern(msgspec.Struct, frozen=True):
    """Eight octets in link-layer order and a mask of the bits that must agree.

    Raises OutOfRange if either has not eight octets.
    """

    octets: bytes
    mask: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 8 or len(self.mask) != 8:
            raise OutOfRange("an address pattern has 8 octets and a mask of 8", field="address")
        mask = self.mask[:1] + bytes((self.mask[1] & ~_SOFT & 0xFF,)) + self.mask[2:]
        value = int.from_bytes(self.octets, "big") & int.from_bytes(mask, "big")
        msgspec.structs.force_setattr(self, "mask", mask)
        msgspec.structs.force_setattr(self, "octets", value.to_bytes(8, "big"))

    @classmethod
    def exact(cls, address: bytes) -> AddressPattern:
        """The pattern of one address."""
        return cls(address, b"\xff" * 8)

    @classmethod
    def everything(cls) -> AddressPattern:
        """The pattern of all addresses, text ``*``."""
        return cls(bytes(8), bytes(8))

    @classmethod
    def parse(cls, text: str) -> AddressPattern:
        """Read a pattern.

        ``12345678`` a number of any manufacturer · ``ELS`` everything of one · ``ELS.12345678`` ·
        ``ELS-12345678-33-03`` with version and device type (hexadecimal) · ``7ELS3312345678``
        DIN 43863-5 (its category leaves the device type open) · ``*`` everything.
        Open digits are ``*`` and ``?``, in the number also ``F``; FFFF, FF and FF leave manufacturer,
        version and device type open; a short number with one ``*`` is stretched (``12*`` starts
        with 12), without it gets leading zeros. The manufacturer may also be four hexadecimal digits.
        ``octets/mask``, sixteen hexadecimal digits each in link-layer order, says everything.

        Raises InputError (``address.invalid``); the message never repeats the text, which
        could be a key in the wrong column.
        """
        plain = text.strip().upper()
        raw = _RAW.fullmatch(plain)
        if raw:
            return cls(bytes.fromhex(raw[1]), bytes.fromhex(raw[2]))
        parts = [part for part in _SEPARATORS.split(plain) if part]
        joined = "".join(parts)
        din = _DIN.fullmatch(joined) if len(parts) == 1 or joined[:1] in parts[:1] else None
        if din:
            parts = [din[1], din[3], din[2]]
        elif len(parts) == 1:
            parts = parts if _LETTERS.fullmatch(plain) else ["*", plain]
        if not 0 < len(parts) <= len(_READERS):
            _refuse(plain)
        parts += ["*"] * (len(_READERS) - len(parts))
        read = [reader(part) for reader, part in zip(_READERS, parts, strict=True)]
        return cls(b"".join(octets for octets, _ in read), b"".join(mask for _, mask in read))

    def matches(self, address: bytes) -> bool:
        """True if the address falls under the pattern."""
        number = int.from_bytes(address, "big") & int.from_bytes(self.mask, "big")
        return len(address) == 8 and number == int.from_bytes(self.octets, "big")

    @property
    def specificity(self) -> int:
        """Number of bits that must agree: 0 for ``*``, 63 for one address."""
        return int.from_bytes(self.mask, "big").bit_count()

    @property
    def text(self) -> str:
        """Text that ``parse`` reads back as this very pattern."""
        friendly = self._friendly()
        try:
            exact = AddressPattern.parse(friendly) == self
        except InputError:
            exact = False
        return friendly if exact else f"{self.octets.hex().upper()}/{self.mask.hex().upper()}"

    def _friendly(self) -> str:
        """The readable form; a mask within the manufacturer or within a digit is lost."""
        octets, mask = self.octets, self.mask
        number = _open_digits(octets[5:1:-1], mask[5:1:-1])
        parts = [
            manufacturer_text(octets[:2]) if any(mask[:2]) else "*",
            "*" if number == "*" * _NUMBER_DIGITS else number,
            _open_digits(octets[6:7], mask[6:7]),
            _open_digits(octets[7:], mask[7:]),
        ]
        while parts and set(parts[-1]) == {"*"}:
            parts.pop()
        if len(parts) == 2 and parts[0] == "*":
            return parts[1]
        return "-".join(parts) if parts else "*"

    def __str__(self) -> str:
        return self.text


def _open_digits(octets: bytes, mask: bytes) -> str:
    """Hexadecimal digits with ``*`` where the mask is open."""
    return "".join(digit if counts == "f" else "*" for digit, counts in zip(octets.hex().upper(), mask.hex(), strict=True))


def _refuse(text: str) -> NoReturn:
    swapped = len(text) in (16, 32) and all(digit in "0123456789ABCDEF" for digit in text)
    hint = "; it looks like a key, are the columns swapped?" if swapped else ""
    raise InputError(
        f"an address of {len(text)} characters is not understood, expected 12345678, ELS-12345678, "
        f"ELS-12345678-33-03, a DIN 43863-5 number or *{hint}",
        code="address.invalid",
        layer="address",
    )


def _digits(text: str, wild: str) -> _Part:
    """Hexadecimal digits, those in ``wild`` open, most significant first."""
    try:
        octets = bytes.fromhex("".join("0" if digit in wild else digit for digit in text))
    except ValueError:
        _refuse(text)
    return octets, bytes.fromhex("".join("0" if digit in wild else "F" for digit in text))


def _manufacturer(text: str) -> _Part:
    if text in ("*", "FFFF", "***", "???"):
        return bytes(2), bytes(2)
    if _LETTERS.fullmatch(text):
        return manufacturer_octets(text), b"\xff\xff"
    if len(text) != 4:
        _refuse(text)
    octets, mask = _digits(text, "")
    return octets[::-1], mask


def _number(text: str) -> _Part:
    if len(text) < _NUMBER_DIGITS and text.count("*") == 1:
        text = text.replace("*", "*" * (_NUMBER_DIGITS - len(text) + 1))
    elif text.isdecimal():
        text = text.zfill(_NUMBER_DIGITS)
    if len(text) != _NUMBER_DIGITS:
        _refuse(text)
    octets, mask = _digits(text, _OPEN + "F")
    return octets[::-1], mask[::-1]


def _octet(text: str) -> _Part:
    if text in ("*", "FF"):
        text = "**"
    if len(text) != 2:
        _refuse(text)
    return _digits(text, _OPEN)


_READERS: tuple[Callable[[str], _Part], ...] = (_manufacturer, _number, _octet, _octet)
