"""A dry run: which commands a procedure would send, without a device.

The procedure runs with a head-end that saves nothing, and every answer is taken to be success in the form
that Annex M and N give it: records come back without their action, clock and key commands get status 00, an
image transfer loses nothing and passes its states. What only the device knows (flags, times, dates, lists of
keys) stays empty; where a procedure cannot go on without it the run ends, and says so. Pauses take no time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl import clock, image_transfer, records, security_transfer
from openmetering.codec.apl.image_transfer import RESPONSE, ImageMessage
from openmetering.codec.apl.security_transfer import SecuredData, SecurityTransfer, SitpBlock, StatusResponse
from openmetering.errors import DecodeError, OmsError
from openmetering.protocol.exchange import Answered, Command
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.steps import Ask, Procedure, Step
from openmetering.security import asp10_mac

__all__ = ["DryRun", "PlannedCommand", "dry_run", "meaning"]

#: protocol -> CI on the radio (long header), on the wire. Source: OMS Volume 2 Annex M, Table M.2
_CI: Final[dict[str, tuple[int, int]]] = {
    "m-bus": (0x5B, 0x51),
    "application-reset": (0x53, 0x50),
    "clock": (0x6C, 0x6C),
    "image": (0xC0, 0xC0),
    "sitp": (0xC3, 0xC3),
}
_COMPLETION, _STATE, _VALIDATE, _ACTIVATE = 3, 4, 5, 6
_VALID, _INSTALLED, _IDLE = 9, 12, 15
_EMPTY: Final = b"\x2f"  #: an empty answer: one idle filler
_STATUS: Final = 0x22
#: key lists (BCF 08, 09) -> structure and content of an empty list
_LISTS: Final = {0x08: (0x21, b""), 0x09: (0x23, b"")}
_LIMIT: Final = 100_000  #: steps, against a procedure that never ends


class PlannedCommand(msgspec.Struct, frozen=True):
    """One command: CI fields (None for a request without a command), octets behind the transport header, in words."""

    radio_ci: int | None
    wired_ci: int | None
    octets: bytes
    answer: bool
    meaning: str


class DryRun(msgspec.Struct, frozen=True):
    """The commands in order; ``complete`` if there are no more when all goes well, else ``stopped`` says why it ends."""

    commands: tuple[PlannedCommand, ...]
    complete: bool
    stopped: str = ""


# -- in words ------------------------------------------------------------------------------------


def _of_records(octets: bytes) -> str:
    parsed = records.parse(octets, uplink=False)
    words = [f"{record.header.action or 'write'} {record}" for record in parsed.records]
    return "; ".join(words) or "no records"


def _of_clock(octets: bytes) -> str:
    command = clock.decode(octets)
    if command.seconds is not None:
        return f"clock: {command.name} {abs(command.seconds)} s"
    return f"clock: {command.name} {command.moment.isoformat() if command.moment else command.time.hex().upper()}"


def _of_image(octets: bytes) -> str:
    message = image_transfer.decode(octets)
    block = "" if message.block is None else f" block {message.block}, {len(message.data or b'')} octets"
    return f"image transfer: {message.name}{block}"


def _of_selection(octets: bytes) -> str:
    return f"select application, sub code {octets.hex().upper()}" if octets else "application reset: standard response"


def _of_block(block: SitpBlock) -> str:
    words = f"{block.service or 'service'} (BCF {block.control:02X}h)"
    if block.header != b"\xff\xff":
        words += f" under key {block.key_id:02X}h version {block.key_version}"
    inner = block.read()
    if isinstance(inner, SecuredData):
        delay = inner.time
        when = "at once" if inner.immediate else f"after {delay.relative} s" if delay else "at its own time"
        words += f", key counter {inner.counter}, {when}: {_words(inner.protocol, inner.apdu)}"
    return words


def _of_sitp(octets: bytes) -> str:
    return "; ".join(_of_block(block) for block in security_transfer.decode(octets).blocks)


_WORDS: dict[str, Callable[[bytes], str]] = {
    "m-bus": _of_records,
    "clock": _of_clock,
    "image": _of_image,
    "application-reset": _of_selection,
    "sitp": _of_sitp,
}


def _words(protocol: str, octets: bytes) -> str:
    reader = _WORDS.get(protocol)
    try:
        return reader(octets) if reader is not None else f"{protocol or 'unknown protocol'}: {octets.hex().upper()}"
    except DecodeError as fault:
        return f"{protocol}: {octets.hex().upper()} ({fault.message})"


def meaning(command: Command | None) -> str:
    """A command in words; keys and what is wrapped do not show."""
    return "request the answer (REQ-UD2)" if command is None else _words(command.protocol, command.payload)


# -- success ---------------------------------------------------------------------------------------


def _obeyed(octets: bytes) -> bytes:
    """The records of a command as a device gives them back: the action is gone, the data are as they were sent."""
    parsed = records.parse(octets, uplink=False)
    answers = (
        record.header.dib + record.header.vib_before_action + record.octets()[len(record.header.octets) :]
        for record in parsed.records
    )
    return b"".join(answers) or _EMPTY


class _Device:
    """Answers with success, in the form that Annex M and N give it; knows how far an image transfer is."""

    __slots__ = ("_address", "_head_end", "_state")

    def __init__(self, head_end: HeadEnd, address: Address) -> None:
        self._head_end = head_end
        self._address = address
        self._state = _IDLE

    def answer(self, ask: Ask) -> Answered:
        """The answer to an exchange."""
        command = ask.command
        if not ask.answer:
            return Answered(0, 0)
        maker = None if command is None else self._ANSWERS.get(command.protocol)
        if command is None or maker is None:
            return Answered(0, 0, "m-bus", _EMPTY)
        protocol = command.protocol if command.protocol in ("image", "sitp") else "m-bus"
        return Answered(0, 0, protocol, maker(self, command.payload))

    def _m_bus(self, octets: bytes) -> bytes:
        return _obeyed(octets)

    def _image(self, octets: bytes) -> bytes:
        message = image_transfer.decode(octets)
        self._state = {_VALIDATE: _VALID, _ACTIVATE: _INSTALLED}.get(message.function, self._state)
        state = self._state if message.function in (_STATE, _VALIDATE) else None
        lost = 0 if message.function == _COMPLETION else None
        return ImageMessage(message.function | RESPONSE, message.identifier, lost_total=lost, state=state).encode()

    def _sitp(self, octets: bytes) -> bytes:
        block = security_transfer.decode(octets).blocks[0]
        inner = block.read()
        structure, content = _LISTS.get(block.control, (_STATUS, StatusResponse(0).encode()))
        if isinstance(inner, SecuredData) and inner.protocol != "clock":
            apdu = self._image(inner.apdu) if inner.protocol == "image" else _obeyed(inner.apdu)
            cipher = self._head_end.key(self._address, block.key_id, block.key_version).cipher
            mac = asp10_mac(cipher, inner.counter, inner.target_time, inner.pid, apdu)
            structure, content = block.structure, msgspec.structs.replace(inner, apdu=apdu, mac=mac).encode()
        return SecurityTransfer((block.answer(structure, content),)).encode()

    _ANSWERS: ClassVar[dict[str, Callable[[_Device, bytes], bytes]]] = {"m-bus": _m_bus, "image": _image, "sitp": _sitp}


def _planned(ask: Ask) -> PlannedCommand:
    command = ask.command
    if command is None:
        return PlannedCommand(None, None, b"", ask.answer, meaning(None))
    radio, wired = _CI.get(command.protocol, (None, None))
    return PlannedCommand(radio, wired, command.payload, ask.answer, meaning(command))


def dry_run(make: Callable[[HeadEnd], Procedure[object]], head_end: HeadEnd, device: Address) -> DryRun:
    """What a procedure would send to a device: ``make`` gets a head-end that saves nothing and makes the procedure.

    No key counter is used up: the containers are those that a real run would send next.
    Raises what the procedure raises before its first command: what cannot be sent, a key that is missing.
    """
    rehearsal = head_end.rehearsal()
    procedure = make(rehearsal)
    canned = _Device(rehearsal, device)
    commands: list[PlannedCommand] = []
    try:
        step: Step = procedure.send(None)
        for _ in range(_LIMIT):
            answer: Answered | None = None
            if isinstance(step, Ask):
                commands.append(_planned(step))
                answer = canned.answer(step)
            step = procedure.send(answer)
    except StopIteration:
        return DryRun(tuple(commands), True)
    except OmsError as error:
        if not commands:
            raise
        return DryRun(tuple(commands), False, f"what follows depends on the answer of {device}: {error.message}")
    procedure.close()
    return DryRun(tuple(commands), False, f"the first {_LIMIT} steps")
