"""The link layer on a canvas: wired and wireless frames, whole ones and those with a fault."""

from __future__ import annotations

from openmetering.codec.address import Address, flag_letters
from openmetering.codec.link.control import ControlField, is_uplink, message_name
from openmetering.codec.link.wired import BROADCAST, SELECTED, TEST, WiredFrame, looks_wired
from openmetering.codec.link.wireless import HEADER, WirelessFrame
from openmetering.tables import DEVICE_TYPES, MANUFACTURERS, c_field
from openmetering.telegram.anatomy.canvas import Canvas, Gap
from openmetering.telegram.anatomy.model import FRAME, Bit
from openmetering.telegram.anatomy.words import bits_of, code
from openmetering.telegram.model import Telegram

__all__ = ["begin", "finish", "take_address"]

_BLOCK = 16
_FIRST_B = 126
_PRIMARY = {
    SELECTED: "the slave selected by secondary address",
    TEST: "test: every slave answers",
    BROADCAST: "all slaves, none answers",
}
_MASTER_BITS = frozenset(("access_demand", "data_flow_control"))
_SLAVE_BITS = frozenset(("frame_count_bit", "frame_count_valid"))


def begin(telegram: Telegram) -> Canvas:
    """A canvas of the frame; the link header is taken, ``end`` stands behind the user data."""
    link, frame = telegram.link, telegram.frame
    title = f"The frame as received: {len(frame)} octet{'' if len(frame) == 1 else 's'}"
    if isinstance(link, WirelessFrame):
        canvas = Canvas(FRAME, title, frame, _gaps(telegram, link))
        canvas.end = HEADER + len(link.data)
        _wireless_header(canvas, link)
        return canvas
    canvas = Canvas(FRAME, title, frame)
    if link is None:
        _faulty(canvas, telegram)
    elif link.kind == "single":
        canvas.section("link", "Link layer", "single character")
        canvas.take(1, "single character", code(frame[0]), "ACK: the last message was understood")
        canvas.end = 1
    else:
        canvas.end = len(frame) - len(telegram.trailer) - 2
        _wired_header(canvas, link.kind, link.message)
    return canvas


def finish(canvas: Canvas, telegram: Telegram) -> None:
    """What stands behind the user data: checksum, stop octet, octets behind the frame."""
    link = telegram.link
    canvas.end = len(canvas.octets) - len(telegram.trailer)
    if isinstance(link, WiredFrame) and link.kind != "single":
        canvas.section("link", "Link layer, end of the frame")
        checksum = canvas.peek(1)
        canvas.take(1, "checksum", code(checksum[0]) if checksum else "", "sum of the octets from C on; correct", secret="check")
        canvas.take(1, "stop", "16h", "end of the frame")
    canvas.end = len(canvas.octets)
    if canvas.left:
        canvas.section("link", "Behind the frame")
        canvas.take_rest("trailing octets", "stand behind the frame and are no part of it")


# -- wireless -------------------------------------------------------------------------------------


def _gaps(telegram: Telegram, link: WirelessFrame) -> list[Gap]:
    """Where the CRCs of a frame stand."""
    if not link.crc:
        return []
    plain, size = HEADER + len(link.data), len(telegram.frame) - len(telegram.trailer)
    if link.frame_format == "B":
        ends = [min(plain, _FIRST_B), *([plain] if plain > _FIRST_B else [])]
    else:
        ends = [HEADER, *range(HEADER + _BLOCK, plain, _BLOCK), *([plain] if plain > HEADER else [])]
    if size == plain + 2 * len(ends) - 2:
        ends = ends[1:]  # format A whose first CRC a receiver took away
    octets = telegram.frame
    places = [end + 2 * index for index, end in enumerate(ends)]
    return [Gap(at, 2, octets[at : at + 2].hex().upper(), "CRC", "CRC of the block in front of it; correct") for at in places]


def _wireless_header(canvas: Canvas, link: WirelessFrame) -> None:
    form = f"frame format {link.frame_format}" if link.frame_format else "without CRCs"
    canvas.section("link", "Link layer", f"wireless, {form}: {link.message} from {link.address}")
    length = canvas.peek(1)[0]
    counted = "its CRCs counted" if link.frame_format == "B" and link.crc else "CRCs not counted"
    canvas.take(1, "length (L)", str(length), f"octets behind it, {counted}")
    _control(canvas, wired=False)
    take_address(canvas, transport_order=False)


def _control(canvas: Canvas, *, wired: bool) -> None:
    octet = canvas.peek(1)
    if not octet:
        return
    control = ControlField(octet[0])
    entry = c_field(control, is_uplink(control), wired=wired)
    meaning = message_name(control) + (f": {entry.meaning}" if entry is not None and entry.meaning else "")
    bits = bits_of(control, without=_MASTER_BITS if control.primary_message else _SLAVE_BITS)
    names = tuple(
        Bit(bit.place, bit.name, bit.value, message_name(control) if bit.name == "function" else bit.meaning) for bit in bits
    )
    canvas.take(1, "control (C)", code(octet[0]), meaning, bits=names)


def take_address(canvas: Canvas, *, transport_order: bool, big_endian: bool = False) -> None:
    """The eight octets of an address, which must be there: manufacturer, identification number, version, device type."""
    octets = canvas.peek(8)
    steps = (_number, _manufacturer) if transport_order else (_manufacturer, _number)
    for step in steps:
        step(canvas, big_endian)
    canvas.take(1, "version", code(octets[6]), "version (generation) of the device")
    canvas.take(1, "device type", code(octets[7]), DEVICE_TYPES[octets[7]].name)


def _manufacturer(canvas: Canvas, big_endian: bool) -> None:
    octets = canvas.peek(2)
    value = int.from_bytes(octets, "big" if big_endian else "little")
    letters = flag_letters(value)
    meaning = MANUFACTURERS.get(letters, "FLAG code of the manufacturer")
    if value == 0xFFFF:
        letters, meaning = "FFFFh", "wildcard: any manufacturer"
    elif value & 0x8000:
        meaning += "; the address is unique only in this installation"
    canvas.take(2, "manufacturer", letters, meaning)


def _number(canvas: Canvas, big_endian: bool) -> None:
    octets = canvas.peek(4)
    digits = (octets if big_endian else octets[::-1]).hex().upper()
    meaning = "BCD, least significant pair first" if not big_endian else "BCD, most significant pair first"
    if not digits.isdecimal():
        meaning = (
            "F digits match every number" if "F" in digits and not digits.strip("0123456789F") else "not all digits are decimal"
        )
    canvas.take(4, "identification number", digits, meaning, secret="identity")


# -- wired ------------------------------------------------------------------------------------------


def _wired_header(canvas: Canvas, kind: str, message: str) -> None:
    canvas.section("link", "Link layer", f"wired, {kind} frame: {message}")
    start = canvas.peek(1)
    if kind == "short":
        canvas.take(1, "start", code(start[0]), "short frame")
    else:
        canvas.take(1, "start", code(start[0]), "frame of variable length")
        for field in ("length (L)", "length, repeated"):
            canvas.take(1, field, str(canvas.peek(1)[0]), "octets from C to the end of the user data")
        canvas.take(1, "start, repeated", "68h")
    _control(canvas, wired=True)
    address = canvas.peek(1)
    if address:
        fixed = _PRIMARY.get(address[0])
        meaning = fixed or ("not configured" if not address[0] else "primary address of the slave")
        canvas.take(1, "address (A)", str(address[0]), meaning, secret="" if fixed or not address[0] else "identity")


# -- faults -------------------------------------------------------------------------------------------


def _faulty(canvas: Canvas, telegram: Telegram) -> None:
    """A frame that could not be taken apart: its first fields as far as they can be told, then the fault."""
    frame, fault = telegram.frame, telegram.error
    offset = None if fault is None else fault.offset
    if looks_wired(frame):
        kind = "short" if frame[:1] == b"\x10" else "long"
        canvas.end = min(len(frame), 3 if kind == "short" else 6)
        _wired_header(canvas, kind, "not checked")
    elif len(frame) >= HEADER and frame[0] >= HEADER - 1:
        address = Address.from_link(frame, 2)
        canvas.section("link", "Link layer, not checked", f"from {address}, if the octets are right")
        canvas.end = HEADER
        canvas.take(1, "length (L)", str(frame[0]), f"octets behind it; {len(frame) - 1} are there")
        _control(canvas, wired=False)
        take_address(canvas, transport_order=False)
    canvas.end = len(canvas.octets)
    if canvas.left:
        canvas.section("link", "Not decoded")
        canvas.broken(fault, offset=offset)
