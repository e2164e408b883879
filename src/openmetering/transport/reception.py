"""What a door delivers: receptions, lines that could not be read, notices."""

from __future__ import annotations

import msgspec

from openmetering.errors import InputError

__all__ = ["BadLine", "Item", "Notice", "Reception", "hex_octets", "plausible_start", "size_a"]

#: C fields that a wireless frame may carry, OMS Volume 2 5.0.1 Tables 15 and 16
_CONTROLS = frozenset(bytes.fromhex("40 43 44 45 46 47 48 53 73 5A 7A 5B 7B  00 10 20 30 01 11 21 31 06 08 18 28 38"))


class Reception(msgspec.Struct, frozen=True):
    """One frame as one receiver heard it.

    ``frame``          the octets, as the receiver gave them
    ``received_at``    seconds since 1970 (UTC), from the caller or from the line
    ``source``         name of the door
    ``rssi_dbm``       reception level; ``rssi_raw`` the number of the receiver, formulas differ
    ``mode``           radio mode (T, C, S, N, R) or ``wired``; None if the receiver does not tell
    ``frame_format``   A or B where the octets carry the CRCs of that format, else None
    ``crc``            True if the receiver checked the CRCs, None if nobody did
    ``key``            key of the line (hexadecimal); never shown and never stored
    ``line``           the text it came from; not shown, as it may hold the key
    ``address_hint``   what the receiver says about the sender
    ``position``       octets of a file up to the end of this reception
    """

    frame: bytes
    received_at: float
    source: str
    rssi_dbm: float | None = None
    rssi_raw: int | None = None
    mode: str | None = None
    frame_format: str | None = None
    crc: bool | None = None
    key: str | None = None
    line: str | None = None
    address_hint: str | None = None
    position: int | None = None

    def __repr__(self) -> str:
        return f"<Reception of {len(self.frame)} octets from {self.source} at {self.received_at:.3f}>"


class BadLine(msgspec.Struct, frozen=True):
    """Input that is no frame: the line (or the octets as hexadecimal), its number and what is wrong."""

    number: int
    line: str
    error: InputError
    source: str = ""
    position: int | None = None

    def __repr__(self) -> str:
        return f"<BadLine {self.number} of {self.source or 'input'}: {self.error.message}>"


class Notice(msgspec.Struct, frozen=True):
    """News of a door: ``level`` is info or warning."""

    source: str
    message: str
    level: str = "info"
    code: str = ""


Item = Reception | BadLine | Notice


def hex_octets(text: str) -> bytes:
    """Octets of hexadecimal text; blanks, underscores, pipes, colons and a leading 0x are allowed.

    Raises InputError (``input.hex``)
    """
    digits = text.strip().strip("|").translate(_SPACERS).removeprefix("0x").removeprefix("0X")
    if not digits:
        raise InputError("there are no hexadecimal digits", code="input.hex", layer="input")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        wrong = sorted(set(digits) - set("0123456789abcdefABCDEF"))
        reason = f"{wrong[0]!r} is no hexadecimal digit" if wrong else f"{len(digits)} hexadecimal digits are no whole octets"
        raise InputError(reason, code="input.hex", layer="input") from None


_SPACERS = str.maketrans("", "", " \t\r\n_|:")


def size_a(length: int) -> int:
    """Octets on air of a frame of format A with this L field.

    Source   EN 13757-4, frame format A: CRC behind 10 octets, then behind every 16
    """
    return length + 1 + 2 * (1 + max(0, (length - 9 + 15) // 16))


def plausible_start(octets: bytes, at: int = 0) -> bool:
    """True if a wireless frame may start at ``at``: L covers the address, C is known, the maker has letters.

    Octets that are not there yet count as plausible.
    """
    head = octets[at : at + 4]
    if head and head[0] < 9:
        return False
    if len(head) > 1 and head[1] not in _CONTROLS:
        return False
    if len(head) == 4:
        maker = (head[2] | head[3] << 8) & 0x7FFF
        return all(1 <= maker >> shift & 0x1F <= 26 for shift in (0, 5, 10))
    return True
