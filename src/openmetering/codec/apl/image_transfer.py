"""Image transfer (firmware update), CI C0, C7 (commands) and C1, C2 (answers).

The function field and the states are known, the widths of the fields behind it are not public
(EN 13757-3 Annex I). They stand in one class, ``ProvisionalLayout``, chosen by name from
``LAYOUTS``; another layout is added with ``register`` and made the one for decoding with
``use``. Every message tells the layout it was read with and whether that is provisional.
Source: OMS Volume 2 Annex M release C 1.1.1, M.2.6 and Figure M.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import msgspec
from msgspec.structs import replace

from openmetering.errors import InputError, NotRepresentable, OutOfRange, Truncated
from openmetering.tables import IMAGE_FUNCTIONS, IMAGE_STATES

__all__ = [
    "FIRST_BLOCK",
    "LAYOUTS",
    "RESPONSE",
    "T_IT",
    "T_TR",
    "ImageLayout",
    "ImageMac",
    "ImageMessage",
    "ProvisionalLayout",
    "decode",
    "register",
    "terminate_flags",
    "use",
]

RESPONSE = 0x80  #: added to the function field in answers
FIRST_BLOCK = 0  #: number of the first block; not public [?]
T_TR, T_IT = 0x01, 0x02  #: flags of a terminate command; their place is not public [?], see ``terminate_flags``
PREPARE, SYNCHRONISE, TRANSFER, COMPLETION, STATE, VALIDATE, ACTIVATE, TERMINATE = range(8)

_LAYER = "apl"


class ImageMac(msgspec.Struct, frozen=True):
    """Proof of the image (ASP03: algorithm 04h, KeyID 18h, AES-CMAC over the image)."""

    algorithm: int
    key_id: int
    key_version: int
    mac: bytes


class ImageMessage(msgspec.Struct, frozen=True):
    """One command or answer. Fields that the function does not have are None.

    ``image_size`` and ``block_size`` in octets; ``time`` is a TargetTime of five octets as
    sent; ``additional`` holds what stands behind the known fields.
    """

    function: int
    identifier: bytes | None = None
    image_size: int | None = None
    block_size: int | None = None
    mac: ImageMac | None = None
    block: int | None = None
    data: bytes | None = None
    lost_total: int | None = None
    lost: tuple[int, ...] | None = None
    state: int | None = None
    time: bytes | None = None
    additional: bytes = b""
    layout: str = "P0"
    provisional: bool = True

    @property
    def response(self) -> bool:
        """True for the answer of a device."""
        return bool(self.function & RESPONSE)

    @property
    def name(self) -> str:
        """Name of the function."""
        entry = IMAGE_FUNCTIONS.get(self.function & 0x7F)
        return entry.name if entry is not None else "reserved"

    @property
    def state_name(self) -> str:
        """Name of the state, empty where there is none."""
        return "" if self.state is None else IMAGE_STATES.get(self.state, "reserved")

    def encode(self) -> bytes:
        """The octets behind the transport header, in the layout the message names. Raises EncodeError, InputError."""
        if not 0 <= self.function <= 0xFF:
            raise OutOfRange("the function field is one octet", field="function", value=self.function, layer=_LAYER)
        return bytes((self.function,)) + _layout(self.layout).encode(self)


def terminate_flags(message: ImageMessage) -> int:
    """The flags T_TR and T_IT of a terminate command.

    Octets   0  behind the identifier: bit 0 T_TR, bit 1 T_IT. Without the octet T_IT is meant: release A
                knows no flags and terminates "the whole image transfer process"
    Source   OMS Volume 2 Annex M release C 1.1.1, Figure M.2 (names only); the place is a decision of this
             project [?], EN 13757-3 Annex I is not public
    """
    return message.additional[0] & (T_TR | T_IT) if message.additional else T_IT


class ImageLayout(Protocol):
    """What a layout of the fields behind the function field does."""

    @property
    def name(self) -> str:
        """Name in ``LAYOUTS``."""
        ...

    def decode(self, octets: bytes) -> ImageMessage:
        """Read a message; octet 0 is the function field. Raises DecodeError."""
        ...

    def encode(self, message: ImageMessage) -> bytes:
        """The octets behind the function field. Raises EncodeError."""
        ...


class _Reader:
    """Octets read forward; everything raises Truncated with the offset."""

    __slots__ = ("at", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets, self.at = octets, 1

    def take(self, size: int, what: str) -> bytes:
        part = self.octets[self.at : self.at + size]
        if len(part) < size:
            raise Truncated(f"{what} needs {size} octets, {len(part)} are left", layer=_LAYER, offset=self.at, octets=self.octets)
        self.at += size
        return part

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")

    @property
    def left(self) -> int:
        return len(self.octets) - self.at

    def rest(self) -> bytes:
        part = self.octets[self.at :]
        self.at = len(self.octets)
        return part


def _number(value: int | None, size: int, field: str) -> bytes:
    if value is None or not 0 <= value < 1 << 8 * size:
        raise OutOfRange(f"{field} takes {size} octets, got {value}", field=field, value=value, layer=_LAYER)
    return value.to_bytes(size, "little")


def _octets(value: bytes | None, size: int, field: str) -> bytes:
    if value is None or len(value) != size:
        raise OutOfRange(f"{field} takes {size} octets", field=field, value=None if value is None else len(value), layer=_LAYER)
    return value


#: fields behind the function field, in the order sent; identifier first wherever there is one
_P0_FIELDS: dict[int, tuple[str, ...]] = {
    PREPARE: ("identifier", "size", "mac"),
    TRANSFER: ("identifier", "block"),
    COMPLETION: ("identifier",),
    STATE: ("identifier",),
    VALIDATE: ("identifier",),
    ACTIVATE: ("identifier", "time"),
    TERMINATE: ("identifier",),
    PREPARE | RESPONSE: ("identifier",),
    TRANSFER | RESPONSE: ("identifier",),
    COMPLETION | RESPONSE: ("identifier", "lost"),
    STATE | RESPONSE: ("identifier", "state"),
    VALIDATE | RESPONSE: ("identifier", "state"),
    ACTIVATE | RESPONSE: ("identifier",),
    TERMINATE | RESPONSE: ("identifier",),
}


class ProvisionalLayout:
    """Layout P0 of this project, to be replaced once the field widths are known.

    Octets   identifier   length(1) octets
             size         image size(4) block size(2)
             mac          algorithm(1) KeyID(1) KeyVersion(1) MAC(16, most significant octet first)
             block        block number(2) block data
             time         TargetTime(5)
             lost         total(2) block number(2) each
             state        one octet, may be absent
             Numbers are little endian. Other functions keep everything as additional octets.
    Source   none: constructed. The fields each function has: OMS Volume 2 Annex M, M.2.6
    """

    name = "P0"

    def decode(self, octets: bytes) -> ImageMessage:
        """Read a message; octet 0 is the function field. Raises Truncated."""
        reader = _Reader(octets)
        message = ImageMessage(octets[0], layout=self.name)
        for field in _P0_FIELDS.get(octets[0], ()):
            message = self._READ[field](message, reader)
        return replace(message, additional=reader.rest())

    def encode(self, message: ImageMessage) -> bytes:
        """The octets behind the function field. Raises OutOfRange or NotRepresentable if a field is missing or too large."""
        fields = _P0_FIELDS.get(message.function, ())
        return b"".join(self._WRITE[field](message) for field in fields) + message.additional

    @staticmethod
    def _read_identifier(message: ImageMessage, reader: _Reader) -> ImageMessage:
        size = reader.number(1, "the length of the identifier")
        return replace(message, identifier=reader.take(size, "the image identifier"))

    @staticmethod
    def _read_size(message: ImageMessage, reader: _Reader) -> ImageMessage:
        return replace(message, image_size=reader.number(4, "the image size"), block_size=reader.number(2, "the block size"))

    @staticmethod
    def _read_mac(message: ImageMessage, reader: _Reader) -> ImageMessage:
        algorithm, key_id, key_version = reader.take(3, "the MAC field")
        return replace(message, mac=ImageMac(algorithm, key_id, key_version, reader.take(16, "the MAC")))

    @staticmethod
    def _read_block(message: ImageMessage, reader: _Reader) -> ImageMessage:
        return replace(message, block=reader.number(2, "the block number"), data=reader.rest())

    @staticmethod
    def _read_time(message: ImageMessage, reader: _Reader) -> ImageMessage:
        return replace(message, time=reader.take(5, "the date and time"))

    @staticmethod
    def _read_lost(message: ImageMessage, reader: _Reader) -> ImageMessage:
        total = reader.number(2, "the number of lost blocks")
        listed = min(total, reader.left // 2)
        return replace(message, lost_total=total, lost=tuple(reader.number(2, "a lost block") for _ in range(listed)))

    @staticmethod
    def _read_state(message: ImageMessage, reader: _Reader) -> ImageMessage:
        return replace(message, state=reader.number(1, "the state")) if reader.left else message

    @staticmethod
    def _write_identifier(message: ImageMessage) -> bytes:
        identifier = message.identifier
        size = -1 if identifier is None else len(identifier)
        return _number(size, 1, "identifier") + (identifier or b"")

    @staticmethod
    def _write_size(message: ImageMessage) -> bytes:
        return _number(message.image_size, 4, "image_size") + _number(message.block_size, 2, "block_size")

    @staticmethod
    def _write_mac(message: ImageMessage) -> bytes:
        mac = message.mac
        if mac is None:
            raise NotRepresentable("prepare needs a MAC field", field="mac", value=None, layer=_LAYER)
        numbers = (mac.algorithm, mac.key_id, mac.key_version)
        return b"".join(_number(number, 1, "mac") for number in numbers) + _octets(mac.mac, 16, "mac")

    @staticmethod
    def _write_block(message: ImageMessage) -> bytes:
        return _number(message.block, 2, "block") + (message.data or b"")

    @staticmethod
    def _write_time(message: ImageMessage) -> bytes:
        return _octets(message.time, 5, "time")

    @staticmethod
    def _write_lost(message: ImageMessage) -> bytes:
        return _number(message.lost_total, 2, "lost_total") + b"".join(_number(block, 2, "lost") for block in message.lost or ())

    @staticmethod
    def _write_state(message: ImageMessage) -> bytes:
        return b"" if message.state is None else _number(message.state, 1, "state")

    _READ: ClassVar[dict[str, Callable[[ImageMessage, _Reader], ImageMessage]]] = {
        "identifier": _read_identifier,
        "size": _read_size,
        "mac": _read_mac,
        "block": _read_block,
        "time": _read_time,
        "lost": _read_lost,
        "state": _read_state,
    }
    _WRITE: ClassVar[dict[str, Callable[[ImageMessage], bytes]]] = {
        "identifier": _write_identifier,
        "size": _write_size,
        "mac": _write_mac,
        "block": _write_block,
        "time": _write_time,
        "lost": _write_lost,
        "state": _write_state,
    }


#: name -> layout; ``decode`` reads with the one that ``use`` chose, P0 at first
LAYOUTS: dict[str, ImageLayout] = {"P0": ProvisionalLayout()}
_chosen = ["P0"]


def _layout(name: str) -> ImageLayout:
    layout = LAYOUTS.get(name)
    if layout is None:
        raise InputError(
            f"no image transfer layout {name!r}; there are {', '.join(sorted(LAYOUTS))}", layer=_LAYER, code="image.layout"
        )
    return layout


def register(layout: ImageLayout) -> None:
    """Make a layout known by its name."""
    LAYOUTS[layout.name] = layout


def use(name: str) -> None:
    """Read messages in the layout of this name from now on. Raises InputError (``image.layout``)."""
    _chosen[0] = _layout(name).name


def decode(octets: bytes) -> ImageMessage:
    """Read an image transfer command or answer in the chosen layout.

    Octets   0    function field: 00 prepare, 02 transfer, 03 completion, 04 state, 05 validate,
                  06 activate, 07 terminate; + 80h in the answer
             1..  as the layout says, see ``ProvisionalLayout``
    Source   OMS Volume 2 Annex M release C 1.1.1, M.2.6; EN 13757-3 Annex I (not public)
    Units    sizes in octets
    Raises   Truncated
    """
    if not octets:
        raise Truncated("an image transfer message has a function field", layer=_LAYER, offset=0, octets=octets)
    return _layout(_chosen[0]).decode(octets)
