"""Application protocols on a canvas: what stands behind the transport header.

One function per protocol of ``CONTROL_INFORMATION``; what no function knows is kept as it is.
Source: as in the modules of ``codec.apl``.
"""

from __future__ import annotations

from collections.abc import Callable

from openmetering.codec.address import Selection
from openmetering.codec.apl import alarm, application_error, big_endian, clock, fixed, image_transfer, security_transfer
from openmetering.codec.apl.format import CompactFrame, RecordFormat
from openmetering.codec.apl.security_transfer import KeyList, SecuredData, SitpBlock, StatusResponse
from openmetering.errors import DecodeError
from openmetering.tables import APPLICATIONS, BAUD_RATES, KEY_IDS, SITP_DSI, ControlInformation, sitp_status
from openmetering.telegram.anatomy.canvas import Canvas
from openmetering.telegram.anatomy.link import take_address
from openmetering.telegram.anatomy.model import Bit
from openmetering.telegram.anatomy.records import RecordWriter
from openmetering.telegram.anatomy.words import bits_of, code
from openmetering.telegram.model import Telegram

__all__ = ["explain_payload", "takes_fixed_data"]

_LAYER = "apl"
_BLOCK_MODES = frozenset((2, 4, 5, 7))
_VERIFICATION = b"\x2f\x2f"
_FIXED, _FIXED_BIG_ENDIAN = 0x73, 0x77
_FIXED_SIZE = 17  #: octets of the fixed data structure with its CI
_MBUS = 1  #: PID of M-Bus records in a secured block


def takes_fixed_data(ci: int, wired: bool, size: int) -> bool:
    """True if the fixed data structure follows this CI: 77 always, 73 on the wire by its size."""
    return ci == _FIXED_BIG_ENDIAN or (ci == _FIXED and wired and size == _FIXED_SIZE)


def explain_payload(
    canvas: Canvas, telegram: Telegram, info: ControlInformation, *, fixed: bool = False, padding: int = 0
) -> None:
    """Explain the octets from here to the end of the canvas; the last ``padding`` of them are TPL padding."""
    report = telegram.security
    if report.mode in _BLOCK_MODES and report.state in ("decrypted", "already-plain") and canvas.peek(2) == _VERIFICATION:
        canvas.section("tpl", "Decryption verification")
        canvas.take(2, "verification octets", "2F 2F", "show that the payload was decrypted with the right key")
    canvas.end -= padding
    handler = _fixed if fixed else _PROTOCOLS.get(info.protocol, _opaque)
    try:
        handler(canvas, telegram, info)
    except DecodeError as fault:
        canvas.section(_LAYER, "Not decoded")
        canvas.broken(telegram.error or fault)
    if canvas.left:
        canvas.section(_LAYER, "Behind the data" if telegram.error is None else "Not decoded")
        if telegram.error is not None:
            canvas.broken(telegram.error)
        canvas.take_rest("octets", "belong to nothing that is known")
    canvas.end += padding
    if padding:
        canvas.section("tpl", "Padding of the transport layer")
        canvas.take(padding, "padding", str(padding), "octets added to fill the last block, each with their number")


# -- records ------------------------------------------------------------------------------------


def _records(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    octets = canvas.rest
    if info.code == big_endian.CI and telegram.payload is not None:
        octets = telegram.payload
    RecordWriter(canvas, telegram).message(octets)


def _compact(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    """Compact frame: SIG(2) FFCRC(2), then the data of the records without their headers."""
    frame = CompactFrame.decode(canvas.rest)
    canvas.section(_LAYER, "Compact frame", f"format {frame.signature:04X}h")
    canvas.take(2, "format signature", f"{frame.signature:04X}h", "names the format: the record headers that are left out here")
    records = telegram.records
    size = sum(len(record.octets()) - len(record.header.octets) for record in records)
    expanded = telegram.read_records is not None and not frame.data[size:].strip(_VERIFICATION)
    meaning = "CRC of the records with their headers" + ("; correct" if expanded else "")
    fault = _fault_of(telegram, "compact.crc")
    canvas.take(2, "full-frame CRC", f"{frame.full_frame_crc:04X}h", meaning, secret="check", fault=fault)
    if expanded:
        RecordWriter(canvas, telegram).values(records)


def _format(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    """Format frame: LEN(1) SIG(2), then record headers without data."""
    octets = canvas.rest
    if len(octets) < 3 or len(octets) < 1 + octets[0]:
        canvas.section(_LAYER, "Format frame")
        canvas.broken(telegram.error)
        return
    end = canvas.at + 1 + octets[0]
    canvas.section(_LAYER, "Format frame", "the record headers of compact frames to come")
    canvas.take(1, "length", str(octets[0]), "octets of signature and headers")
    signature, fault = int.from_bytes(octets[1:3], "little"), _fault_of(telegram, "compact.signature")
    canvas.take(2, "format signature", f"{signature:04X}h", "CRC of the headers, names the format", fault=fault)
    headers = RecordFormat.parse(canvas.octets[canvas.at : end]).headers
    RecordWriter(canvas, telegram).headers(headers)


def _fault_of(telegram: Telegram, code_: str) -> str | None:
    """The code, if it is what stopped the decoding."""
    return code_ if telegram.error is not None and telegram.error.code == code_ else None


# -- small protocols ------------------------------------------------------------------------------


def _application_error(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    answer = application_error.decode(canvas.rest)
    canvas.section(_LAYER, "Application error", answer.name)
    if answer.empty:
        return
    canvas.take(1, "error code", code(answer.code), "; ".join(filter(None, (answer.name, answer.meaning))))
    if answer.records:
        RecordWriter(canvas, telegram).message(canvas.rest)
    canvas.take_rest("additional data", "specific to the code")


def _alarm(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    flags = alarm.decode(canvas.rest)
    canvas.section(_LAYER, "Alarm")
    bits = tuple(Bit(str(bit), f"alarm {bit}", 1, "meaning known to the manufacturer") for bit in flags.bits)
    canvas.take(1, "alarm flags", code(flags.flags), "no alarm" if not flags.flags else f"{len(bits)} set", bits=bits)
    canvas.take_rest("additional data", "not defined")


_CLOCK = {
    "set": "set the clock",
    "add": "put the clock forward",
    "subtract": "put the clock back",
    "correct": "correct the clock towards this time",
}


def _clock(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    command = clock.decode(canvas.rest)
    canvas.section(_LAYER, "Clock synchronisation", command.name)
    canvas.take(1, "function (TC)", code(command.function), _CLOCK.get(command.name, "reserved"))
    moment, shift = command.moment, command.seconds
    value = moment.isoformat() if moment is not None else f"{shift} s" if shift is not None else ""
    canvas.take(len(command.time), "time", value, "" if moment is None else f"type {moment.type}")
    reserved = len(command.trailer.rstrip(b"\x2f"))
    canvas.take(reserved, "reserved", "", "no meaning")
    canvas.take_rest("verification", "2F marks the end of the command", secret="")


def _sub_code(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    octets = canvas.rest
    canvas.section(_LAYER, "Application select" if octets else "Application reset", info.name)
    if len(octets) != 1:
        canvas.take_rest("parameter", "coding not public", secret="")
        return
    number, block = octets[0] >> 4, octets[0] & 0x0F
    entry = APPLICATIONS.get(number)
    bits = (
        Bit("7..4", "application", number, entry.name if entry is not None else ""),
        Bit("3..0", "block", block, "" if block else "all or the first"),
    )
    canvas.take(1, "sub code", code(octets[0]), f"application {number}, block {block}", bits=bits)


def _select(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    selection = Selection.decode(canvas.rest)
    canvas.section(_LAYER, "Selection of a device", "only the device whose address fits answers from now on")
    take_address(canvas, transport_order=True)
    if selection.fabrication is not None:
        canvas.section(_LAYER, "Enhanced selection", secret=True)
        canvas.take(1, "DIF", "0Ch", "8-digit BCD")
        canvas.take(1, "VIF", "78h", "fabrication number")
        canvas.take(4, "fabrication number", selection.fabrication, "F digits match every number", secret="identity")
    canvas.take_rest("more", "further conditions")


def _fixed(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    """The fixed data structure of meters before 1997."""
    if canvas.left != _FIXED_SIZE - 1:
        canvas.section(_LAYER, "Fixed data structure")
        canvas.broken(telegram.error)
        return
    data = fixed.decode(canvas.rest, big_endian=info.code == _FIXED_BIG_ENDIAN)
    order = ", most significant octet first" if data.big_endian else ""
    canvas.section(_LAYER, "Fixed data structure", data.medium_name + order)
    canvas.take(4, "identification number", data.identification, "BCD", secret="identity")
    canvas.take(1, "access number", str(data.access_number), "counts the answers of the meter")
    canvas.take(1, "status", code(int(data.status)), "", bits=bits_of(data.status))
    units = canvas.peek(2)
    words = f"medium {data.medium}: {data.medium_name}; " + ", ".join(
        f"counter {n}: {c.quantity} {c.unit}".rstrip() for n, c in enumerate(data.counters, 1)
    )
    canvas.take(2, "medium and units", " ".join(code(unit) for unit in units), words)
    for number, counter in enumerate(data.counters, 1):
        value = "invalid" if counter.value is None else f"{counter.value} times 10^{counter.exponent} {counter.unit}".rstrip()
        canvas.take(4, f"counter {number}", value, counter.quantity + (", historic" if counter.historic else ""))


# -- image transfer -------------------------------------------------------------------------------


def _image(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    """Image transfer in the provisional layout of the codec."""
    message = image_transfer.decode(canvas.rest)
    canvas.section(_LAYER, "Image transfer", message.name + (", answer" if message.response else ""))
    canvas.take(1, "function", code(message.function), message.name + (", answer" if message.response else ", command"))
    if message.layout == "P0":
        for field in _image_fields(message):
            canvas.take(*field)
    canvas.take_rest("additional data", "the layout of these fields is not public", secret="")


def _image_fields(message: image_transfer.ImageMessage) -> list[tuple[int, str, str, str]]:
    """Size, field, value and meaning of what the message carries, in the order sent."""
    fields: list[tuple[int, str, str, str]] = []
    note = "provisional layout"
    if message.identifier is not None:
        fields.append((1, "identifier length", str(len(message.identifier)), note))
        fields.append((len(message.identifier), "image identifier", message.identifier.hex().upper(), note))
    if message.image_size is not None:
        fields += [
            (4, "image size", f"{message.image_size} octets", note),
            (2, "block size", f"{message.block_size} octets", note),
        ]
    if message.mac is not None:
        fields.append((1, "MAC algorithm", code(message.mac.algorithm), note))
        fields.append((1, "KeyID", code(message.mac.key_id), KEY_IDS[message.mac.key_id].name))
        fields.append((1, "KeyVersion", str(message.mac.key_version), note))
        fields.append((16, "MAC of the image", "16 octets", "most significant octet first"))
    if message.block is not None:
        fields += [
            (2, "block number", str(message.block), note),
            (len(message.data or b""), "block data", f"{len(message.data or b'')} octets", note),
        ]
    if message.time is not None:
        fields.append((5, "target time", message.time.hex().upper(), note))
    if message.lost_total is not None:
        fields.append((2, "lost blocks", str(message.lost_total), note))
        fields += [(2, "lost block", str(block), note) for block in message.lost or ()]
    if message.state is not None:
        fields.append((1, "state", str(message.state), message.state_name))
    return fields


# -- security information transfer ------------------------------------------------------------------


def _sitp(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    transfer = security_transfer.decode(canvas.rest)
    for number, block in enumerate(transfer.blocks, 1):
        _block(canvas, telegram, number, block)
    if transfer.rest:
        canvas.section(_LAYER, "End of the blocks")
        end = transfer.rest[:2] == b"\x00\x00"
        canvas.take(2 if end else 0, "block length (BL)", "0", "no more blocks")
        canvas.take_rest("fillers", "behind the last block", secret="")


def _block(canvas: Canvas, telegram: Telegram, number: int, block: SitpBlock) -> None:
    kind = "answer" if block.response else "command"
    canvas.section(_LAYER, f"Security information, block {number}", f"{block.service or 'unknown service'}, {kind}")
    canvas.take(2, "block length (BL)", str(6 + len(block.content)), "octets from BID to the end of the content")
    canvas.take(1, "block number (BID)", str(block.block_id), "the answer carries the same number")
    canvas.take(1, "block control (BCF)", code(block.control), f"{block.service or 'unknown'}, {kind}")
    canvas.take(1, "recipient", str(block.recipient), "")
    canvas.take(1, "structure (DSI)", code(block.structure), block.structure_name or "unknown")
    entry = SITP_DSI.get(block.structure)
    for field, octet in (("DSH1", block.header[0]), ("DSH2", block.header[1])):
        meaning = KEY_IDS[octet].name if field == "DSH1" else "version of the key" if octet != 0xFF else "unused"
        canvas.take(1, field, code(octet), meaning)
    outer, canvas.end = canvas.end, canvas.at + len(block.content)
    try:
        structure = block.read()
        writer = _STRUCTURES.get(type(structure))
        if writer is not None:
            writer(canvas, telegram, structure)
        secret = "key" if entry is None or block.wrapped or block.structure in (0x01, 0x11) else "content"
        canvas.take_rest("content", "wrapped or encrypted" if block.wrapped else "kept as it is", secret=secret)
    except DecodeError as fault:
        canvas.broken(fault)
    canvas.end = outer


def _status_response(canvas: Canvas, telegram: Telegram, structure: object) -> None:
    assert isinstance(structure, StatusResponse)
    status = sitp_status(structure.status)
    canvas.take(1, "status", code(structure.status), f"{status.status_class}: {status.name}")


def _key_list(canvas: Canvas, telegram: Telegram, structure: object) -> None:
    assert isinstance(structure, KeyList)
    for entry in structure.entries:
        canvas.take(1, "KeyID", code(entry.key_id), KEY_IDS[entry.key_id].name)
        canvas.take(1, "KeyVersion", str(entry.key_version), "version of the key")
        if entry.counter is not None:
            canvas.take(4, "key counter", str(entry.counter), "least significant octet first")


def _secured_data(canvas: Canvas, telegram: Telegram, structure: object) -> None:
    assert isinstance(structure, SecuredData)
    canvas.take(4, "key counter", str(structure.counter), "least significant octet first")
    time = structure.time
    value = "at once" if structure.immediate else structure.target_time.hex().upper() if time is None else time.isoformat()
    canvas.take(5, "target time", value, "when the command is executed, type M")
    canvas.take(1, "protocol (PID)", code(structure.pid), structure.protocol or "unknown")
    outer, canvas.end = canvas.end, canvas.at + len(structure.apdu)
    if structure.pid == _MBUS:
        RecordWriter(canvas, telegram).message(canvas.rest)
    canvas.take_rest("application data", structure.protocol or "unknown protocol")
    canvas.end = outer
    canvas.section(_LAYER, "Security information, proof of the block")
    canvas.take(
        len(structure.mac), "MAC", f"{len(structure.mac)} octets", "over key counter, target time, PID and data", secret="proof"
    )


_STRUCTURES: dict[type[object], Callable[[Canvas, Telegram, object], None]] = {
    StatusResponse: _status_response,
    KeyList: _key_list,
    SecuredData: _secured_data,
}


# -- what is carried and not read -------------------------------------------------------------------

_OPAQUE = {
    "manufacturer": "the protocol belongs to the manufacturer",
    "dlms": "DLMS, carried as it is",
    "dlms-segment": "a segment of DLMS, carried as it is",
    "sml": "SML, carried as it is",
    "security-management": "TLS records, carried as they are",
    "network-management": "network management, carried as it is",
    "mbal": "M-Bus adaptation layer, carried as it is",
}


def _opaque(canvas: Canvas, telegram: Telegram, info: ControlInformation) -> None:
    rate = BAUD_RATES.get(info.code)
    summary = f"{rate} baud from now on" if rate is not None else _OPAQUE.get(info.protocol, "carried as it is")
    canvas.section(_LAYER, info.name[:1].upper() + info.name[1:], summary)
    canvas.take_rest("octets", _OPAQUE.get(info.protocol, "not read here"))


_PROTOCOLS: dict[str, Callable[[Canvas, Telegram, ControlInformation], None]] = {
    "m-bus": _records,
    "application-response": _records,
    "big-endian": _records,
    "compact": _compact,
    "format": _format,
    "application-error": _application_error,
    "alarm": _alarm,
    "clock": _clock,
    "application-reset": _sub_code,
    "application-request": _sub_code,
    "select-device": _select,
    "image": _image,
    "sitp": _sitp,
}
