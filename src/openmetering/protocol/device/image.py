"""Firmware update, UC-05, in a device: image transfer commands to events of Figure M.2, and the answers.

    command         proof                        checked, in this order             answer
    00 prepare      key 23h (Table M.17)         key 18h, sizes, MAC field          80 identifier
    02 transfer     -                            state, identifier, number, size    82 identifier
    03 completion   -                            state, identifier                  83 identifier, lost blocks
    04 state        -                            identifier                         84 identifier, state
    05 validate     -                            state, identifier                  85 identifier, state; then busy
    06 activate     key 23h recommended          state, identifier, date and time   86 identifier; then busy
    07 terminate    key 23h recommended          state, identifier, flags           87 identifier

A command that came without the proof it needs, or with that of another key: application error 22h. Not
allowed in the state: 10h. A wrong or missing parameter: 15h. Key 18h not available: 20h. Unknown: 11h. A
target time of the container other than immediate (activate: or the invalid mark): status 23h.

Validation recomputes the MAC of the image (ASP03) and runs the maker's own checks; installation is the
business of a callable. Both take time: the outcome of the command is busy, a notice ends it. Everything
stands in the memory of the device: validation starts again after a power cut, an installation too,
once; the callable installs a given image at most once.
Source: OMS Volume 2 Annex M release C 1.1.1, M.2.6, Tables M.16 to M.22, Figure M.2; release A 1.0.3,
M.2.7; OMS Volume 2 5.0.1 Table 47 (ASP03); EN 13757-3 Annex I (not public: field widths).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from msgspec.structs import replace

from openmetering.codec.apl import image_transfer
from openmetering.codec.apl.image_transfer import FIRST_BLOCK, T_IT, ImageMessage, terminate_flags
from openmetering.codec.apl.security_transfer import IMMEDIATE
from openmetering.errors import AuthenticationFailed, DecodeError, ProtocolError
from openmetering.protocol.device.function import Function
from openmetering.protocol.device.image_machine import (
    Activate,
    AllBlocks,
    BlocksMissing,
    Expired,
    ImageEvent,
    ImageMachine,
    ImageSettings,
    ImageState,
    InstallationStarts,
    Installed,
    InstalledAnew,
    Invalid,
    NotInstalled,
    Prepare,
    ProcessingStarts,
    TerminateImage,
    TerminateTransfer,
    Transfer,
    Valid,
    Validate,
)
from openmetering.protocol.device.interface import DeviceEvent, Instruction, Notice, Outcome
from openmetering.protocol.device.memory import DeviceMemory, ImageMemory, KeySlot
from openmetering.protocol.device.refusals import (
    INADEQUATE_SECURITY,
    NO_FUNCTION,
    NOT_NOW,
    PARAMETER_ERROR,
    SECURITY_ERROR,
    STATUS_TARGET_TIME,
)
from openmetering.protocol.device.sitp import NO_AUTOMATIC_ACTION
from openmetering.protocol.events import PowerUp
from openmetering.security import BlockCipher, check_asp03
from openmetering.wire.types import decode_type_m

__all__ = [
    "FIRMWARE_KEY",
    "IMAGE_KEY",
    "MAC_ALGORITHM",
    "Examiner",
    "ImageFeature",
    "Installer",
    "activation_delay",
    "lost_blocks",
]

PREPARE, TRANSFER, COMPLETION, STATE, VALIDATE, ACTIVATE, TERMINATE = 0, 2, 3, 4, 5, 6, 7

IMAGE_KEY = 0x18  #: KeyID of the MAC field (ASP03)
FIRMWARE_KEY = 0x23  #: KeyID that proves commands (ASP10)
MAC_ALGORITHM = 0x04  #: of the MAC field: AES-CMAC, 16 octets
ANY_VERSION = 0xFF


_RESTARTS = 1  # installations that begin once more after a power cut
_BLOCK_NUMBERS = 0x10000
_FILLER = b"\x2f"
_LARGEST_FILL = 15

#: installs an image, given its octets and its identifier; False if that failed and the old one runs on
Installer = Callable[[bytes, bytes], bool]
#: a check of the maker on an image and its identifier, besides the MAC
Examiner = Callable[[bytes, bytes], bool]


# -- what is not public: one place each -----------------------------------------------------------


def activation_delay(time: bytes) -> float | None:
    """Seconds from an activate command to its date and time; None for what is not understood.

    Octets   0..4  type M as the target time of SITP: zero is immediate, control 30h counts seconds. Other
             formats, and the invalid mark, are refused
    Source   OMS Volume 2 Annex M Table M.21 ("date and time", mandatory); the coding is a decision of this
             project [?], EN 13757-3 Annex I is not public
    Units    seconds
    """
    if time == IMMEDIATE:
        return 0.0
    moment = decode_type_m(time)
    return None if moment is None or moment.relative is None else float(moment.relative)


def _block_count(image: ImageMemory) -> int:
    return -(-image.image_size // image.block_size) if image.block_size else 0


def lost_blocks(image: ImageMemory) -> list[int]:
    """The numbers of the blocks that have not come, in order."""
    numbers = range(FIRST_BLOCK, FIRST_BLOCK + _block_count(image))
    return [number for number in numbers if number not in image.blocks]


def _unfilled(data: bytes, size: int | None) -> bytes | None:
    """The block data, None if they have another size.

    Security mode 5 fills its last cipher block with 2Fh and has no mark for it, and the protocol has no filler
    of its own: up to fifteen such octets behind the known size belong to neither.
    """
    if size is None:
        return None
    surplus = data[size:]
    if len(data) < size or len(surplus) > _LARGEST_FILL or surplus.strip(_FILLER):
        return None
    return data[:size]


def _block_size(image: ImageMemory, block: int) -> int | None:
    """Octets that a block must have; None if the image has no such block."""
    index, count = block - FIRST_BLOCK, _block_count(image)
    if not 0 <= index < count:
        return None
    return min(image.block_size, image.image_size - index * image.block_size)


def _assembled(image: ImageMemory) -> bytes:
    return b"".join(image.blocks[number] for number in sorted(image.blocks))


# -- the function of the device -------------------------------------------------------------------

_Handler = Callable[["ImageFeature", ImageMachine, ImageMessage, float], Outcome]


class _Command(NamedTuple):
    """How a function field is treated: the events it may become (none: allowed in any state) and by whom.

    ``own_time``  the target time of its container may be the invalid mark, for it has a date and time of its own
    """

    handler: _Handler
    events: tuple[type, ...] = ()
    identified: bool = True
    own_time: bool = False


class ImageFeature(Function):
    """Image transfer of a device (``Feature``).

    ``installer`` gets the whole image and its identifier when an installation is through; ``examiner`` adds
    the maker's checks to the validation. The new states are told as ``DeviceEvent("image", name, number)``.
    """

    __slots__ = ("_examiner", "_installer", "_machine", "_memory", "_rehearsed", "_settings", "_told", "_waiting")

    def __init__(
        self,
        memory: DeviceMemory,
        installer: Installer,
        settings: ImageSettings | None = None,
        examiner: Examiner | None = None,
    ) -> None:
        self._memory = memory
        self._settings = settings or ImageSettings()
        self._installer = installer
        self._examiner = examiner
        self._machine = ImageMachine(memory.image, self._settings)
        self._waiting: ImageMessage | None = None
        self._told: list[DeviceEvent] = []
        self._rehearsed: tuple[float, ImageMachine] | None = None

    @property
    def state(self) -> ImageState:
        """Where the transfer stands."""
        return self._machine.state

    @property
    def deadline(self) -> float | None:
        """When validation, installation or retention go on."""
        return self._machine.deadline

    # -- commands ---------------------------------------------------------------------------------

    def execute(self, instruction: Instruction, now: float) -> Outcome | None:
        """Carry out an image transfer command; None for other protocols."""
        if instruction.protocol != "image":
            return None
        if instruction.rehearse:
            outcome = self._carry_out(self._rehearsal(now), instruction, now)
            if outcome.payload is None:
                self._rehearsed = None
            return outcome
        self._rehearsed, self._waiting = None, None
        return self._carry_out(self._machine, instruction, now)

    def _carry_out(self, machine: ImageMachine, instruction: Instruction, now: float) -> Outcome:
        try:
            message = image_transfer.decode(instruction.payload)
        except DecodeError:
            return Outcome(error=PARAMETER_ERROR)
        command = self._COMMANDS.get(message.function)
        if command is None:
            return Outcome(error=NO_FUNCTION)
        if instruction.at != now and not (command.own_time and instruction.at == NO_AUTOMATIC_ACTION):
            return Outcome(status=STATUS_TARGET_TIME)
        checks = (
            (self._adequate(message.function, instruction.key_id), INADEQUATE_SECURITY),
            (not command.events or any(machine.allows(event) for event in command.events), NOT_NOW),
            (not command.identified or machine.image.identifier in (b"", message.identifier), PARAMETER_ERROR),
        )
        for right, error in checks:
            if not right:
                return Outcome(error=error)
        return command.handler(self, machine, message, now)

    def _adequate(self, function: int, key_id: int | None) -> bool:
        """Is this proof enough for the function? Source: Annex M Tables M.16 to M.22; for IDIS Annex E.2."""
        demanded = {
            PREPARE: self._settings.require_asp10_for_preparation,
            ACTIVATE: self._settings.require_asp10_for_activation,
            TERMINATE: self._settings.require_asp10_for_activation,
        }
        return key_id == FIRMWARE_KEY or (key_id is None and not demanded.get(function, False))

    def _rehearsal(self, now: float) -> ImageMachine:
        """A machine over a copy of the memory, the same for all commands of one message."""
        if self._rehearsed is None or self._rehearsed[0] != now:
            image = replace(self._memory.image, blocks=dict(self._memory.image.blocks))
            self._rehearsed = (now, ImageMachine(image, self._settings))
        return self._rehearsed[1]

    @staticmethod
    def _answer(message: ImageMessage) -> ImageMessage:
        """The answer with what all answers have: the identifier."""
        function = message.function | image_transfer.RESPONSE
        return ImageMessage(function, identifier=message.identifier, layout=message.layout)

    def _done(self, machine: ImageMachine, event: ImageEvent, message: ImageMessage, now: float) -> Outcome:
        """Take the step of an event and answer with the identifier; application error 10h if there is no such step."""
        try:
            told = machine.receive(event, now)
        except ProtocolError:
            return Outcome(error=NOT_NOW)
        return Outcome(payload=self._answer(message).encode(), events=tuple(told))

    def _prepare(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        mac, size, block = message.mac, message.image_size or 0, message.block_size or 0
        if mac is None or not message.identifier:
            return Outcome(error=PARAMETER_ERROR)
        checks = (
            ((mac.algorithm, mac.key_id) == (MAC_ALGORITHM, IMAGE_KEY), PARAMETER_ERROR),
            (0 < size <= self._settings.largest_image, PARAMETER_ERROR),
            (0 < block <= self._settings.largest_block and size <= block * _BLOCK_NUMBERS, PARAMETER_ERROR),
            (self._image_key(mac.key_version) is not None, SECURITY_ERROR),
        )
        for right, error in checks:
            if not right:
                return Outcome(error=error)
        return self._done(machine, Prepare(message.identifier, size, block, mac.mac, mac.key_version), message, now)

    def _transfer(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        block, data = message.block, message.data
        if block is None or data is None:
            return Outcome(error=PARAMETER_ERROR)
        data = _unfilled(data, _block_size(machine.image, block))
        if data is None:
            return Outcome(error=PARAMETER_ERROR)
        return self._done(machine, Transfer(block, data), message, now)

    def _completion(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        lost = lost_blocks(machine.image)
        told = machine.receive(BlocksMissing() if lost else AllBlocks(), now)
        answer = replace(self._answer(message), lost_total=len(lost), lost=tuple(lost[: self._settings.lost_listed]))
        return Outcome(payload=answer.encode(), events=tuple(told))

    def _tell_state(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        return Outcome(payload=replace(self._answer(message), state=int(machine.state)).encode())

    def _validate(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        told: list[DeviceEvent] = []
        if self._settings.oms_issue == "4.3.3" and machine.allows(AllBlocks):
            if lost_blocks(machine.image):
                return Outcome(error=NOT_NOW)
            told += machine.receive(AllBlocks(), now)
        try:
            told += machine.receive(Validate(), now)
        except ProtocolError:
            return Outcome(error=NOT_NOW)
        return self._wait(machine, message, told)

    def _activate(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        delay = activation_delay(message.time or b"")
        if delay is None:
            return Outcome(error=PARAMETER_ERROR)
        told = machine.receive(Activate(delay), now)
        if delay:
            return Outcome(payload=self._answer(message).encode(), events=tuple(told))
        machine.receive(InstallationStarts(), now)
        return self._wait(machine, message, told)

    def _wait(self, machine: ImageMachine, message: ImageMessage, told: Sequence[DeviceEvent]) -> Outcome:
        """The command was accepted and goes on; only a real one is remembered for its notice."""
        if machine is self._machine:
            self._waiting = message
        return Outcome(payload=self._progress(message, machine.state), busy=True, events=tuple(told))

    def _progress(self, message: ImageMessage, state: ImageState) -> bytes:
        """The answer to validate or activate, with the state where the layout has a place for it."""
        return replace(self._answer(message), state=int(state)).encode()

    def _terminate(self, machine: ImageMachine, message: ImageMessage, now: float) -> Outcome:
        flags = terminate_flags(message)
        if not flags:
            return Outcome(error=PARAMETER_ERROR)
        return self._done(machine, TerminateImage() if flags & T_IT else TerminateTransfer(), message, now)

    # AllBlocks makes validate possible where completion may be skipped; ``_validate`` knows in which issue
    _COMMANDS: ClassVar[dict[int, _Command]] = {
        PREPARE: _Command(_prepare, identified=False),
        TRANSFER: _Command(_transfer, (Transfer,)),
        COMPLETION: _Command(_completion, (AllBlocks, BlocksMissing)),
        STATE: _Command(_tell_state),
        VALIDATE: _Command(_validate, (Validate, AllBlocks)),
        ACTIVATE: _Command(_activate, (Activate,), own_time=True),
        TERMINATE: _Command(_terminate, (TerminateTransfer, TerminateImage)),
    }

    # -- what takes time --------------------------------------------------------------------------

    def timeout(self, now: float) -> list[Notice]:
        """Validation, installation or retention go on.

        A notice with a payload is the answer to the validate or activate command that was busy, unless
        another image command came since; one without has events only and is no answer to anything.
        """
        notices: list[Notice] = []
        while self._machine.deadline is not None and self._machine.deadline <= now:
            told = [*self._told, *self._machine.receive(self._next(), now)]
            self._told = []
            notices.append(self._notice(told))
        return notices

    def _next(self) -> ImageEvent:
        """The event that the deadline stands for."""
        decide = self._DUE.get(self._machine.state)
        return Expired() if decide is None else decide(self)

    def _notice(self, told: Sequence[DeviceEvent]) -> Notice:
        state, message = self._machine.state, self._waiting
        busy = state in self._DUE and message is not None
        payload = None if message is None else self._progress(message, state)
        if not busy:
            self._waiting = None
        return Notice(Outcome(payload=payload, busy=busy, events=tuple(told)))

    def _start_processing(self) -> ImageEvent:
        return ProcessingStarts()

    def _judge(self) -> ImageEvent:
        """Validation: the MAC of the image against the one of the prepare command, then the maker's checks."""
        image = self._memory.image
        content, slot = _assembled(image), self._image_key(image.key_version)
        if slot is None:
            return Invalid()
        try:
            check_asp03(BlockCipher(slot.octets), image.mac, content)
        except AuthenticationFailed:
            return Invalid()
        examined = self._examiner is None or self._examiner(content, image.identifier)
        return Valid() if examined else Invalid()

    def _proceed(self) -> ImageEvent:
        """Activation: its time has come, or its installation is through, or it was cut off too often."""
        image = self._memory.image
        if image.installations == 0:
            return InstallationStarts()
        if image.installations > 1 + _RESTARTS or not self._installer(_assembled(image), image.identifier):
            return NotInstalled()
        return InstalledAnew() if self._settings.idle_after_installation else Installed()

    _DUE: ClassVar[dict[ImageState, Callable[[ImageFeature], ImageEvent]]] = {
        ImageState.VALIDATION_INITIATED: _start_processing,
        ImageState.VALIDATION_ACTIVE: _judge,
        ImageState.ACTIVATION_INITIATED: _proceed,
    }

    def _image_key(self, version: int) -> KeySlot | None:
        """The active key 18h if it has this version (FF: any)."""
        slot = self._memory.key(IMAGE_KEY)
        return slot if slot is not None and version in (slot.version, ANY_VERSION) else None

    def power_up(self, now: float) -> None:
        """Validation starts again; so does an installation that was running, once. Nobody waits for an answer."""
        self._waiting, self._rehearsed = None, None
        state, image = self._machine.state, self._memory.image
        running = state is not ImageState.ACTIVATION_INITIATED or image.installations > 0
        if state in self._DUE and running:
            self._told += self._machine.receive(PowerUp(), now)
