"""Security information transfer protocol (SITP), CI C3, C6 (commands) and C4, C5 (answers).

    BL(2) BID(1) BCF(1) recipient(1) DSI(1) DSH(2) content(n)      again and again, BL = 0 ends

BL counts from BID to the end of the content, least significant octet first. This module lays
out blocks and plain structures; wrapping and MACs are the business of ``security``: wrapped
content stays as octets, ``SecuredData.mac_input`` gives what a MAC covers.
Source: OMS Volume 2 Annex F release C 1.1.1, Tables F.A.3, F.A.5, F.E.1, F.E.3; Annex N
release E 2.0.2, N.12; EN 13757-7:2018.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from openmetering.errors import DecodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.tables import SITP_BCF, SITP_DSI, SITP_PID, sitp_status
from openmetering.wire.types import MeterTime, decode_type_m

__all__ = [
    "IMMEDIATE",
    "INVALID_TIME",
    "Activation",
    "CombinedActivation",
    "KeyEntry",
    "KeyList",
    "KeyTransfer",
    "SecuredData",
    "SecurityTransfer",
    "SitpBlock",
    "StatusResponse",
    "decode",
    "target_time",
]

RESPONSE = 0x80  #: added to the block control field in answers
IMMEDIATE = b"\x00\x00\x00\x00\x30"  #: target time "now", sent least significant octet first
INVALID_TIME = b"\x00\x00\x00\x80\x30"  #: target time "no automatic action"

_LAYER = "apl"
_HEAD = 6  #: octets from BID to DSH, the smallest BL
_TIME, _KEY = 5, 16


def target_time(seconds: int) -> bytes:
    """A delay as a target time of five octets, 0 for immediate. Raises OutOfRange from 2**31 on.

    Source   OMS Volume 2 Annex M Table M.21, Annex N N.13: type M with control octet 30h; the
             invalid mark in bit 31 is inferred
    """
    if not 0 <= seconds < 1 << 31:
        raise OutOfRange(f"a delay has 31 bits, got {seconds}", field="target_time", value=seconds, layer=_LAYER)
    return seconds.to_bytes(4, "little") + IMMEDIATE[-1:]


def _octet(value: int, field: str) -> int:
    if not 0 <= value <= 0xFF:
        raise OutOfRange(f"{field} is one octet, got {value}", field=field, value=value, layer=_LAYER)
    return value


def _exactly(octets: bytes, size: int, what: str) -> None:
    if len(octets) < size:
        raise Truncated(f"{what} needs {size} octets, {len(octets)} are left", layer=_LAYER, offset=0, octets=octets)
    if len(octets) > size:
        raise DecodeError(
            f"{what} has {size} octets, got {len(octets)}", layer=_LAYER, offset=size, octets=octets, code="sitp.structure"
        )


def _sized(octets: bytes, size: int, field: str) -> bytes:
    if len(octets) != size:
        raise OutOfRange(f"{field} has {size} octets, got {len(octets)}", field=field, value=len(octets), layer=_LAYER)
    return octets


class _Timed(msgspec.Struct, frozen=True):
    """Base of the structures with a target time."""

    target_time: bytes

    @property
    def time(self) -> MeterTime | None:
        """The delay as a relative time; None where it is the invalid mark or another format."""
        return decode_type_m(self.target_time)

    @property
    def immediate(self) -> bool:
        """True if the command is to be executed at once."""
        return self.target_time == IMMEDIATE


# -- structures --------------------------------------------------------------------------------


class KeyTransfer(_Timed, frozen=True):
    """DSI 01 before wrapping: a new key. The key never shows in a repr."""

    key: bytes
    key_id: int
    key_version: int

    @classmethod
    def decode(cls, octets: bytes) -> KeyTransfer:
        """Read the unwrapped structure.

        Octets   0..15   key, most significant octet first
                 16..20  target time, type M, little endian
                 21, 22  KeyID, KeyVersion
        Source   OMS Volume 2 Annex F Table F.E.1
        Units    none
        Raises   Truncated, DecodeError (``sitp.structure``); their octets do not hold the key
        """
        size = _KEY + _TIME + 2
        if len(octets) != size:
            _exactly(bytes(len(octets)), size, "a key transfer")
        return cls(octets[16:21], octets[:16], octets[21], octets[22])

    def encode(self) -> bytes:
        """The 23 octets that are wrapped. Raises OutOfRange."""
        if len(self.key) != _KEY:
            raise OutOfRange("a key has 16 octets", field="key", value=len(self.key), layer=_LAYER)
        tail = bytes((_octet(self.key_id, "key_id"), _octet(self.key_version, "key_version")))
        return self.key + _sized(self.target_time, _TIME, "target_time") + tail

    def __repr__(self) -> str:
        return f"KeyTransfer(key_id={self.key_id:02X}h, key_version={self.key_version}, target_time={self.target_time.hex()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("", repr(self))]


class Activation(_Timed, frozen=True):
    """DSI 02 before wrapping: the key that is activated, deactivated, destroyed or generated."""

    key_id: int
    key_version: int

    @classmethod
    def decode(cls, octets: bytes) -> Activation:
        """Read the unwrapped structure.

        Octets   0..4  target time; 5 KeyID; 6 KeyVersion
        Source   OMS Volume 2 Annex F Tables F.30, F.34 (fields in wire order)
        Units    none
        Raises   Truncated, DecodeError (``sitp.structure``)
        """
        _exactly(octets, _TIME + 2, "an activation")
        return cls(octets[:5], octets[5], octets[6])

    def encode(self) -> bytes:
        """The seven octets that are wrapped. Raises OutOfRange."""
        tail = bytes((_octet(self.key_id, "key_id"), _octet(self.key_version, "key_version")))
        return _sized(self.target_time, _TIME, "target_time") + tail


class CombinedActivation(_Timed, frozen=True):
    """DSI 03 before wrapping: one key replaces another; option 1 resets its counter."""

    activated_key_id: int
    activated_version: int
    deactivated_key_id: int
    deactivated_version: int
    option: int

    @classmethod
    def decode(cls, octets: bytes) -> CombinedActivation:
        """Read the unwrapped structure.

        Octets   0..4  target time
                 5, 6  KeyID and KeyVersion to activate; 7, 8 those to deactivate; 9 option
        Source   OMS Volume 2 Annex F Tables F.25, F.E.3
        Units    none
        Raises   Truncated, DecodeError (``sitp.structure``)
        """
        _exactly(octets, _TIME + 5, "a combined activation")
        return cls(octets[:5], octets[5], octets[6], octets[7], octets[8], octets[9])

    @property
    def resets_counter(self) -> bool:
        """True if message counter (master key) or key counter start again."""
        return self.option == 1

    def encode(self) -> bytes:
        """The ten octets that are wrapped. Raises OutOfRange."""
        numbers = (self.activated_key_id, self.activated_version, self.deactivated_key_id, self.deactivated_version, self.option)
        return _sized(self.target_time, _TIME, "target_time") + bytes(_octet(number, "key") for number in numbers)


class StatusResponse(msgspec.Struct, frozen=True):
    """DSI 22: how a block was executed; octets behind the status are kept."""

    status: int
    additional: bytes = b""

    @classmethod
    def decode(cls, octets: bytes) -> StatusResponse:
        """Read the status octet.

        Octets   0  status, table ``sitp_status``
        Source   OMS Volume 2 Annex F Table F.A.7; Annex N N.12.4
        Units    none
        Raises   Truncated
        """
        if not octets:
            raise Truncated("a status response has one octet", layer=_LAYER, offset=0, octets=octets)
        return cls(octets[0], octets[1:])

    @property
    def success(self) -> bool:
        """True if the command was executed or accepted."""
        return sitp_status(self.status).status_class == "success"

    @property
    def name(self) -> str:
        """What the status says."""
        return sitp_status(self.status).name

    def encode(self) -> bytes:
        """The content of the block. Raises OutOfRange."""
        return bytes((_octet(self.status, "status"),)) + self.additional


class KeyEntry(msgspec.Struct, frozen=True):
    """One active key; ``counter`` is the stored key counter where the list has counters."""

    key_id: int
    key_version: int
    counter: int | None = None


class KeyList(msgspec.Struct, frozen=True):
    """DSI 21 (pairs) or DSI 23 (with key counters): the active keys of a device."""

    entries: tuple[KeyEntry, ...]

    @classmethod
    def _decode(cls, octets: bytes, size: int) -> KeyList:
        if len(octets) % size:
            raise Truncated(
                f"an entry of the key list has {size} octets",
                layer=_LAYER,
                offset=len(octets) - len(octets) % size,
                octets=octets,
            )
        entries = []
        for at in range(0, len(octets), size):
            counter = int.from_bytes(octets[at + 2 : at + 6], "little") if size > 2 else None
            entries.append(KeyEntry(octets[at], octets[at + 1], counter))
        return cls(tuple(entries))

    @classmethod
    def decode(cls, octets: bytes) -> KeyList:
        """Read DSI 21. The layout is taken from DSI 23 by analogy, it is not published.

        Octets   KeyID(1) KeyVersion(1), again and again
        Source   OMS Volume 2 Annex F Table F.A.5 (name only)
        Units    none
        Raises   Truncated
        """
        return cls._decode(octets, 2)

    @classmethod
    def decode_counters(cls, octets: bytes) -> KeyList:
        """Read DSI 23.

        Octets   KeyID(1) KeyVersion(1) key counter(4, little endian), again and again
        Source   OMS Volume 2 Annex F Table F.A.8
        Units    none
        Raises   Truncated
        """
        return cls._decode(octets, 6)

    def encode(self) -> bytes:
        """The content of the block. Raises OutOfRange, or NotRepresentable if only some entries have counters."""
        with_counter = [entry.counter is not None for entry in self.entries]
        if any(with_counter) and not all(with_counter):
            raise NotRepresentable("all entries have key counters or none has", field="entries", value=None, layer=_LAYER)
        parts = []
        for entry in self.entries:
            parts.append(bytes((_octet(entry.key_id, "key_id"), _octet(entry.key_version, "key_version"))))
            if entry.counter is not None:
                if not 0 <= entry.counter < 1 << 32:
                    raise OutOfRange("a key counter has four octets", field="counter", value=entry.counter, layer=_LAYER)
                parts.append(entry.counter.to_bytes(4, "little"))
        return b"".join(parts)


class SecuredData(_Timed, frozen=True):
    """DSI 32 (ASP10, MAC of 8 octets) or 33 (16 octets): an application message with a proof."""

    counter: int
    pid: int
    apdu: bytes
    mac: bytes

    @classmethod
    def _decode(cls, octets: bytes, mac_length: int) -> SecuredData:
        end = len(octets) - mac_length
        if end < _TIME + 5:
            raise Truncated(
                f"secured data need {_TIME + 5 + mac_length} octets, {len(octets)} are left",
                layer=_LAYER,
                offset=0,
                octets=octets,
            )
        return cls(octets[4:9], int.from_bytes(octets[:4], "little"), octets[9], octets[10:end], octets[end:])

    @classmethod
    def decode(cls, octets: bytes) -> SecuredData:
        """Read DSI 32 (ASP10).

        Octets   0..3   key counter, little endian
                 4..8   target time, little endian
                 9      PID: 01 M-Bus records, 04 clock, 06 image transfer
                 10..   APDU; the last eight are the MAC, most significant octet first
        Source   OMS Volume 2 Annex N N.12.2
        Units    none
        Raises   Truncated
        """
        return cls._decode(octets, 8)

    @classmethod
    def decode_long(cls, octets: bytes) -> SecuredData:
        """Read DSI 33: as DSI 32 with a MAC of sixteen octets [K]. Raises Truncated."""
        return cls._decode(octets, 16)

    @property
    def protocol(self) -> str:
        """Application protocol of the APDU, named as in ``CONTROL_INFORMATION``; empty if unknown."""
        return SITP_PID.get(self.pid, "")

    def mac_input(self) -> bytes:
        """What the MAC covers: key counter, target time, PID and APDU, nothing of the block header. Raises OutOfRange."""
        if not 0 <= self.counter < 1 << 32:
            raise OutOfRange("a key counter has four octets", field="counter", value=self.counter, layer=_LAYER)
        head = self.counter.to_bytes(4, "little") + _sized(self.target_time, _TIME, "target_time")
        return head + bytes((_octet(self.pid, "pid"),)) + self.apdu

    def encode(self) -> bytes:
        """The content of the block. Raises OutOfRange if the MAC has neither 8 nor 16 octets."""
        if len(self.mac) not in (8, 16):
            raise OutOfRange("a MAC has 8 or 16 octets", field="mac", value=len(self.mac), layer=_LAYER)
        return self.mac_input() + self.mac


Structure = StatusResponse | KeyList | SecuredData

#: structures that stand in the block as they are; all others are wrapped, encrypted or DER
_PLAIN: dict[int, Callable[[bytes], Structure]] = {
    0x21: KeyList.decode,
    0x22: StatusResponse.decode,
    0x23: KeyList.decode_counters,
    0x32: SecuredData.decode,
    0x33: SecuredData.decode_long,
}


#: structures that hold key material: wrapped key, key pair
_SECRET = frozenset((0x01, 0x11))


# -- blocks ------------------------------------------------------------------------------------


class SitpBlock(msgspec.Struct, frozen=True):
    """One block: ``control`` is the BCF, ``structure`` the DSI, ``header`` the two DSH octets."""

    block_id: int
    control: int
    structure: int
    header: bytes
    content: bytes
    recipient: int = 0

    @property
    def response(self) -> bool:
        """True for the answer of a device."""
        return bool(self.control & RESPONSE)

    @property
    def service(self) -> str:
        """Name of the service; empty if unknown."""
        entry = SITP_BCF.get(self.control & 0x7F)
        return entry.name if entry is not None else ""

    @property
    def structure_name(self) -> str:
        """Name of the data structure; empty if unknown."""
        entry = SITP_DSI.get(self.structure)
        return entry.name if entry is not None else ""

    @property
    def key_id(self) -> int:
        """DSH1: KeyID of the wrapper or application key; FFh where none is meant."""
        return self.header[0]

    @property
    def key_version(self) -> int:
        """DSH2: KeyVersion; FFh where none is meant."""
        return self.header[1]

    @property
    def wrapped(self) -> bool:
        """True if the content is key material or activation data under a wrapper key (DSH not FF FF)."""
        return self.structure in (0x01, 0x02, 0x03, 0x20, 0x30) and self.header != b"\xff\xff"

    def read(self) -> Structure | None:
        """The structure inside, where it stands plain; None where the content is opaque here.

        Raises   Truncated, DecodeError (``sitp.structure``)
        """
        reader = _PLAIN.get(self.structure)
        return reader(self.content) if reader is not None else None

    def __repr__(self) -> str:
        # keys may stand in the content: wrapped ones, and plain ones inside TLS
        content = f"<{len(self.content)} octets>" if self.structure in _SECRET else self.content.hex().upper()
        return (
            f"SitpBlock(block_id={self.block_id}, control={self.control:02X}h, recipient={self.recipient}, "
            f"structure={self.structure:02X}h, header={self.header.hex().upper()}, content={content})"
        )

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("", repr(self))]

    def answer(self, structure: int, content: bytes) -> SitpBlock:
        """The block that answers this one: BCF + 80h, the same BID, recipient and DSH."""
        return SitpBlock(self.block_id, self.control | RESPONSE, structure, self.header, content, self.recipient)

    def encode(self) -> bytes:
        """The block with its length in front. Raises OutOfRange."""
        length = _HEAD + len(self.content)
        if length > 0xFFFF:
            raise OutOfRange("a block has at most 65535 octets", field="content", value=len(self.content), layer=_LAYER)
        numbers = (self.block_id, self.control, self.recipient, self.structure)
        head = bytes(_octet(number, "block") for number in numbers) + _sized(self.header, 2, "header")
        return length.to_bytes(2, "little") + head + self.content


class SecurityTransfer(msgspec.Struct, frozen=True):
    """The blocks of a message: one transaction. ``rest`` is the end mark or the padding behind them."""

    blocks: tuple[SitpBlock, ...]
    rest: bytes = b""

    def encode(self) -> bytes:
        """The octets behind the transport header. Raises OutOfRange."""
        return b"".join(block.encode() for block in self.blocks) + self.rest


def _is_padding(rest: bytes) -> bool:
    """Octets that TPL padding (the count, repeated) or fillers 2Fh leave behind the last block."""
    return len(set(rest)) == 1 and rest[0] in (len(rest), 0x2F)


def decode(octets: bytes) -> SecurityTransfer:
    """Read the blocks of a SITP message.

    Octets   0..1  BL, little endian: octets from BID to the end of the content; 0 ends the blocks
             2..7  BID, BCF, recipient, DSI, DSH1, DSH2
             8..   content; then the next block. TPL padding that was not taken off ends them as well
    Source   EN 13757-7:2018; OMS Volume 2 Annex N release E, N.12.2 to N.12.4
    Units    none
    Raises   Truncated, DecodeError (``sitp.block``) if BL is too small for a block header
    """
    if not octets:
        raise Truncated("a SITP message has at least a block length", layer=_LAYER, offset=0, octets=octets)
    blocks: list[SitpBlock] = []
    at = 0
    while at < len(octets):
        length = int.from_bytes(octets[at : at + 2], "little")
        end = at + 2 + length
        whole = len(octets) - at >= 2
        if whole and length == 0:
            break
        if not whole or end > len(octets):
            if blocks and _is_padding(octets[at:]):
                break
            raise Truncated(f"the block needs {length} octets behind BL", layer=_LAYER, offset=at, octets=octets)
        if length < _HEAD:
            raise DecodeError(
                f"BL {length} is too small for a block header", layer=_LAYER, offset=at, octets=octets, code="sitp.block"
            )
        body = octets[at + 2 : end]
        blocks.append(SitpBlock(body[0], body[1], body[3], body[4:6], body[6:], body[2]))
        at = end
    return SecurityTransfer(tuple(blocks), octets[at:])
