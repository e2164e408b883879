"""The short way for telegrams whose like was read before: one look-up, one ECB call, one comparison.

A shortcut is learned from a telegram that the general reader read without a fault: mode 0 or 5,
no AFL, no session in the ELL. It holds everything that does not change from telegram to telegram
of a meter. Applied to other octets it either proves that the general reader would do the same
(header equal but for access numbers and status, all record headers and fillers equal) or gives
None. One thing it knows better: the general reader takes a frame without CRCs for format B where
its last two octets happen to be that CRC (once in 65 536); a shortcut has seen the meter send
without. Numbers: docs/decisions/0004.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from openmetering.codec.apl.format import Plan
from openmetering.codec.ell import CommunicationControl, ExtendedLink
from openmetering.codec.link.wireless import HEADER, WirelessFrame
from openmetering.codec.tpl import Configuration, TransportHeader
from openmetering.security import Key
from openmetering.telegram.answer import face_parts, make_sheet, sheets_of, status_text
from openmetering.telegram.model import SecurityReport, Telegram
from openmetering.telegram.sheet import digits_of

__all__ = ["PREFIX", "Shortcut"]

PREFIX = HEADER + 1  #: L C M A CI: the octets a shortcut is found by
_ACCESS = tuple(bytes((number,)) * 8 for number in range(256))
_HEXADECIMAL = tuple(b"%02X" % number for number in range(256))
_DECIMAL = tuple(b"%d" % number for number in range(256))
_NO_BLOCK, _BLOCK = b'],"manufacturer_data":null,"payload":"', b'],"manufacturer_data":"'
_PAYLOAD, _CLOSING = b'","payload":"', b'","application":null}'
_from_bytes = int.from_bytes
_MAX_PLANS = 4
_SHORT_ELL = 3  # CI CC ACC
_SHARED_LIMIT = 16384
_shared: dict[tuple[type, Hashable], Hashable] = {}
_T = TypeVar("_T", bound=Hashable)


def _share(value: _T) -> _T:
    """The one object of this type and value: what is equal in many meters stays in the cache of the processor."""
    if len(_shared) >= _SHARED_LIMIT:
        _shared.clear()
    return _shared.setdefault((type(value), value), value)  # type: ignore[return-value]


class Shortcut:
    """What is constant in the telegrams of one meter with one header."""

    __slots__ = (
        "_access_at",
        "_configuration",
        "_control",
        "_decrypt",
        "_destination",
        "_ell_ci",
        "_encrypted",
        "_end",
        "_faces",
        "_header",
        "_iv",
        "_length",
        "_link_address",
        "_link_control",
        "_mask",
        "_security",
        "_sheets",
        "_template",
        "_transport",
        "plans",
    )

    def __init__(self, plain: bytes, telegram: Telegram, key: Key | None, plan: Plan) -> None:
        """``plain`` is the frame without CRCs that the telegram was read from."""
        link, transport, ell = telegram.link, telegram.transport, telegram.ell
        assert isinstance(link, WirelessFrame)
        assert transport is not None
        ell_size = 0 if ell is None else (_SHORT_ELL if ell.destination is None else _SHORT_ELL + 8)
        tpl_at = HEADER + ell_size
        self._access_at = tpl_at + 1 + (8 if transport.header == "long" else 0)
        header = self._header = self._access_at + 4
        mask = bytearray(b"\xff" * header)
        mask[self._access_at : self._access_at + 2] = b"\x00\x00"
        if ell is not None:
            mask[HEADER + 2] = 0
        self._mask = _share(_from_bytes(mask[PREFIX:], "big"))
        self._template = _share(_from_bytes(plain[PREFIX:header], "big") & self._mask)
        self._transport = _share((transport.ci, transport.header, transport.address))
        self._configuration: Configuration = _share(transport.configuration)
        self._ell_ci = 0 if ell is None else ell.ci
        self._control = _share(CommunicationControl(0) if ell is None else ell.communication_control)
        self._destination = None if ell is None else ell.destination
        self._link_control, self._link_address = _share(link.control), link.address
        self._security: SecurityReport = _share(telegram.security)
        self._decrypt: Callable[[bytes], bytes] | None = None if key is None else key.cipher.decrypt_blocks
        address = telegram.address
        self._iv = b"" if address is None else address.link_octets()
        blocks = int(transport.configuration) >> 4 & 0x0F
        rest = len(plain) - header
        self._encrypted = 0 if key is None else (rest - rest % 16 if blocks == 15 else blocks * 16)
        self._end = header + self._encrypted
        self._length = rest
        self._sheets = sheets_of(None if address is None else address.device_type)
        self._faces: dict[str | None, tuple[bytes, ...]] = {}
        self.plans: tuple[Plan, ...] = _share((plan,))

    def learn(self, plan: Plan) -> bool:
        """Another layout of the same meter, the latest stands first; False if its length differs."""
        if plan.length != self._length:
            return False
        self.plans = _share((plan, *self.plans)[:_MAX_PLANS])
        return True

    def _open(self, plain: bytes) -> tuple[Plan, bytes] | None:
        """Plan and payload, or None if the octets differ in anything that was taken as constant.

        ``plain`` must have the length and the first octets (``PREFIX``: L, C, M, A, CI) of the frame
        that was learned: the caller found the shortcut by them.
        """
        header = self._header
        if _from_bytes(plain[PREFIX:header], "big") & self._mask != self._template:
            return None
        decrypt = self._decrypt
        if decrypt is not None:
            end = self._end
            sealed = plain[header:end]
            encrypted = self._encrypted
            chained = (self._iv + _ACCESS[plain[self._access_at]] + sealed)[:encrypted]
            number = _from_bytes(decrypt(sealed), "big") ^ _from_bytes(chained, "big")
            if encrypted != self._length:
                tail = plain[end:]
                number = number << 8 * len(tail) | _from_bytes(tail, "big")
        else:
            number = _from_bytes(plain[header:], "big")
        for plan in self.plans:
            if number & plan.mask == plan.template:
                return plan, number.to_bytes(self._length, "big")
        return None

    def read(self, frame: bytes, plain: bytes, frame_format: str | None = None) -> Telegram | None:
        """The telegram of a frame, or None if it needs the general reader.

        ``plain`` is the frame without CRCs, found by its first octets; ``frame_format`` None: it came so.
        """
        opened = self._open(plain)
        if opened is None:
            return None
        plan, payload = opened
        at = self._access_at
        ci, kind, address = self._transport
        manufacturer = plan.manufacturer_at
        telegram = Telegram(
            frame,
            WirelessFrame(self._link_control, self._link_address, plain[HEADER:], frame_format, frame_format is not None),
            ExtendedLink(self._ell_ci, self._control, plain[HEADER + 2], self._destination) if self._ell_ci else None,
            None,
            None,
            TransportHeader(ci, kind, address, plain[at], plain[at + 1], self._configuration),
            self._security,
            payload,
            True,
            None,
            None,
            (),
            None,
            None if manufacturer is None else payload[manufacturer:],
            plan.more_follows,
            False,
            b"",
            plan,
        )
        if plan.profiles:  # what is wrong with a profile depends on its data
            telegram.warnings = tuple(series.fault for series in telegram.profiles if series.fault is not None)
        return telegram

    def answer(self, frame: bytes, plain: bytes, frame_format: str | None = None) -> bytes | None:
        """The JSON answer of a frame: the same octets as ``answer_json(self.read(...))``, without the objects in between."""
        opened = self._open(plain)
        if opened is None:
            return None
        plan, payload = opened
        sheet = self._sheets.get(plan)
        face = self._faces.get(frame_format)
        if sheet is None or face is None:
            known = plan in self._sheets and face is not None  # a plan without a sheet is known by None
            return None if known else self._first_answer(frame, plain, frame_format)
        digits = digits_of(payload)
        records = sheet(payload, digits)
        if records is None:
            return None
        at, manufacturer = self._access_at, plan.manufacturer_at
        start, link, transport, status, last = face
        access = _HEXADECIMAL[plain[HEADER + 2]] if self._ell_ci else b""
        block = _NO_BLOCK if manufacturer is None else b"".join((_BLOCK, digits[2 * manufacturer :], _PAYLOAD))
        # fmt: off
        return b"".join((
            start, digits_of(frame), link, access, transport, _DECIMAL[plain[at]], status, status_text(plain[at + 1]), last,
            records, block, digits, _CLOSING,
        ))
        # fmt: on

    def _first_answer(self, frame: bytes, plain: bytes, frame_format: str | None) -> bytes | None:
        """The first answer makes the templates that it and the next ones need."""
        telegram = self.read(frame, plain, frame_format)
        assert telegram is not None
        assert telegram.plan is not None
        if frame_format not in self._faces:
            start, link, transport, status, last = face_parts(telegram)
            self._faces[frame_format] = (_share(start), link, transport, _share(status), _share(last))
        if telegram.plan not in self._sheets:
            make_sheet(telegram.plan, None if telegram.address is None else telegram.address.device_type)
        return self.answer(frame, plain, frame_format)
