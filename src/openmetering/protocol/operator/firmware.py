"""UC-05, firmware update: prepare, transfer, completion, validation, activation.

    prepare      SITP, ASP10 with key 23h; size, and the MAC of the image under key 18h (ASP03)     -> state 2
    transfer     SND-UD, the acknowledgement is the answer; REQ-UD2 only if it shows an error       -> 3
    completion   the device lists the blocks it lacks; they are sent again, until none is missing   -> 5, or 6
    validate     the device recomputes the MAC, at most 300 s                                       -> 7, 8, 9 or 10
    activate     SITP, ASP10 recommended, with its own date and time; at most 600 s                 -> 11, 12 or 15, 13
    terminate    SITP, ASP10 recommended: the transfer (T_TR, state 4) or everything (T_IT, state 14)

``update_firmware`` goes from the state the device is in to the next one, so it is the same whether it
starts anew, after a power cut of either side, or after a lost answer: then the device is asked for its
state. Source: OMS Volume 2 Annex M release C M.2.6, Tables M.16 to M.22, Figure M.2; release A M.2.7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl import image_transfer
from openmetering.codec.apl.image_transfer import FIRST_BLOCK, T_IT, T_TR, ImageMessage
from openmetering.codec.apl.security_transfer import IMMEDIATE, INVALID_TIME, target_time
from openmetering.errors import DecodeError, ExchangeFailed, OutOfRange, Refused
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import ask, error_refusal, exchange
from openmetering.protocol.operator.differences import require_use_case
from openmetering.protocol.operator.head_end import HeadEnd, Order
from openmetering.protocol.operator.journal import ImageEntry, ImageStage
from openmetering.protocol.operator.secured import execute, settle
from openmetering.protocol.operator.steps import Pause, Procedure, Progress
from openmetering.tables import IMAGE_STATES

__all__ = [
    "FirmwareImage",
    "FirmwareResult",
    "UpdateOptions",
    "read_image_state",
    "terminate_image",
    "update_firmware",
]

_FIRMWARE_KEY = 0x23
_PID = 6
_PREPARE, _TRANSFER, _COMPLETION, _STATE, _VALIDATE, _ACTIVATE, _TERMINATE = 0, 2, 3, 4, 5, 6, 7
INITIATED, ACTIVE, STOPPED, COMPLETE, INCOMPLETE = 2, 3, 4, 5, 6
VALIDATING, PROCESSING, VALID, INVALID, ACTIVATING, INSTALLED, NOT_INSTALLED, TERMINATED, IDLE = 7, 8, 9, 10, 11, 12, 13, 14, 15
_NOT_NOW = 0x10  #: application error: the command does not fit the state
_WRONG_PARAMETER = 0x15  #: application error: for example another image
_SECURITY_ERROR = 0x20  #: application error: proof or counter
VALIDATION_TIME: Final = 300.0  #: s, the longest validation (release C M.1.5, clause to confirm)
ACTIVATION_TIME: Final = 600.0  #: s, the longest activation
_FAILURES = 3  #: exchanges in a row that may fail
_LARGEST_BLOCK_NUMBER = 0xFFFF


class FirmwareImage(msgspec.Struct, frozen=True):
    """An image: ``identifier`` as the manufacturer names it, ``octets``, and ``block_size`` in octets.

    Every device accepts blocks of 190 octets, devices for IDIS 200.
    """

    identifier: bytes
    octets: bytes
    block_size: int = 190

    @property
    def digest(self) -> bytes:
        """Sixteen octets that stand for the image."""
        return hashlib.sha256(self.octets).digest()[:16]

    @property
    def block_count(self) -> int:
        """How many blocks there are."""
        return -(-len(self.octets) // self.block_size)

    @property
    def numbers(self) -> range:
        """The numbers of the blocks."""
        return range(FIRST_BLOCK, FIRST_BLOCK + self.block_count)

    def block(self, number: int) -> bytes:
        """The octets of a block. Raises OutOfRange for a number that the image does not have."""
        if number not in self.numbers:
            raise OutOfRange(f"the image has no block {number}", field="block", value=number, layer="apl")
        start = (number - FIRST_BLOCK) * self.block_size
        return self.octets[start : start + self.block_size]

    def __repr__(self) -> str:
        return f"FirmwareImage(identifier={self.identifier!r}, {len(self.octets)} octets in {self.block_count} blocks)"


class UpdateOptions(msgspec.Struct, frozen=True):
    """How an update is done.

    ``activate``   False: stop when the image is valid
    ``after``      seconds until the device activates it, 0 at once
    ``secured``    activate and terminate with ASP10; False for an IDIS gateway (Annex E.2), which cannot
    ``confirmed``  True: every block is answered (SND-UD2, IDIS) instead of acknowledged only
    ``rounds``     how often missing blocks are sent again without getting fewer
    ``poll``       seconds between questions for the state
    """

    activate: bool = True
    after: int = 0
    secured: bool = True
    confirmed: bool = False
    rounds: int = 3
    poll: float = 30.0


class FirmwareResult(msgspec.Struct, frozen=True):
    """Where the update ended: ``state`` 9 (valid, not activated), 12 or 15 (installed). ``sent`` counts blocks."""

    state: int
    sent: int
    resumed: bool

    @property
    def state_name(self) -> str:
        """Name of the state."""
        return IMAGE_STATES.get(self.state, "reserved")


class _Update:
    """What the steps of one update share."""

    __slots__ = ("device", "head_end", "image", "issue", "options", "sent")

    def __init__(self, head_end: HeadEnd, device: Address, image: FirmwareImage, options: UpdateOptions, issue: str) -> None:
        self.head_end = head_end
        self.device = device
        self.image = image
        self.options = options
        self.issue = issue
        self.sent = 0

    def note(self, stage: ImageStage) -> None:
        """Write to the journal how far it is."""
        image = self.image
        self.head_end.note_image(self.device, ImageEntry(image.identifier, image.digest, image.block_size, stage))

    @property
    def stage(self) -> ImageStage | None:
        """What the journal says of this image; None if it knows another one or none."""
        entry = self.head_end.journal(self.device).image
        image = self.image
        known = entry is not None and entry == ImageEntry(image.identifier, image.digest, image.block_size, entry.stage)
        return entry.stage if entry is not None and known else None


# -- single commands ---------------------------------------------------------------------------------


def _message(octets: bytes, identifier: bytes) -> ImageMessage:
    """An answer about this image. Raises DecodeError if it names another one."""
    message = image_transfer.decode(octets)
    if message.identifier != identifier:
        raise DecodeError("the answer names another image", layer="apl", octets=octets, code="answer.data")
    return message


def _ask(message: ImageMessage) -> Procedure[ImageMessage]:
    """One ITP command with its answer, protected by the link only."""
    octets = yield from exchange(Command("image", message.encode()))
    return _message(octets, message.identifier or b"")


def _secured(
    head_end: HeadEnd, device: Address, message: ImageMessage, meaning: str, issue: str, time: bytes = IMMEDIATE
) -> Procedure[None]:
    """One ITP command in the container of ASP10, key 23h."""
    order = Order(_FIRMWARE_KEY, _PID, message.encode(), time, meaning)
    yield from execute(head_end, device, order, issue=issue)


def read_image_state(identifier: bytes) -> Procedure[int]:
    """UC-05, state: where the transfer of an image is.

    Source   OMS Volume 2 Annex M release C, Table M.16; numbers of Figure M.2
    Raises   Refused, ExchangeFailed; DecodeError if the answer has no state
    """
    answer = yield from _ask(ImageMessage(_STATE, identifier))
    if answer.state is None:
        raise DecodeError("the answer holds no state", layer="apl", code="answer.data")
    return answer.state


def terminate_image(
    head_end: HeadEnd, device: Address, identifier: bytes, *, everything: bool = True, secured: bool = True, issue: str = "5.0.1"
) -> Procedure[int]:
    """UC-05, terminate: the whole image transfer (T_IT), or the transfer of blocks only (T_TR). Returns the state.

    Source   OMS Volume 2 Annex M release C, Table M.22
    Raises   Refused (10h where the state does not allow it), ExchangeFailed, KeyNotFound, DecodeError
    """
    require_use_case(issue, "UC-05")
    message = ImageMessage(_TERMINATE, identifier, additional=bytes((T_IT if everything else T_TR,)))
    if secured:
        yield from _secured(head_end, device, message, "terminate the image transfer", issue)
    else:
        yield from _ask(message)
    if everything:
        head_end.note_image(device, None)
    return (yield from read_image_state(identifier))


# -- steps: each leads from a state to the next -------------------------------------------------------


def _prepare(update: _Update) -> Procedure[int]:
    """Prepare, in every state; the journal knows the image from now on. Table M.17."""
    image = update.image
    mac = update.head_end.image_mac(update.device, image.octets)
    message = ImageMessage(_PREPARE, image.identifier, len(image.octets), image.block_size, mac)
    update.note("preparing")
    yield Progress(0, image.block_count, "prepare")
    yield from _secured(update.head_end, update.device, message, f"prepare image {image.identifier.hex()}", update.issue)
    update.note("transferring")
    yield from _send(update, image.numbers)
    return (yield from _complete(update))


def _missing(update: _Update) -> Procedure[int]:
    """State 2 or 3: the device tells what it lacks. Table M.19."""
    return (yield from _complete(update))


def _refill(update: _Update) -> Procedure[int]:
    """State 4 or 6: completion is not allowed here; one block leads back to state 3."""
    yield from _send(update, update.image.numbers[:1])
    return (yield from _complete(update))


def _complete(update: _Update) -> Procedure[int]:
    """Completion and lost blocks, until none is missing. Raises Refused if the same blocks stay missing."""
    best: int | None = None
    rounds = 0
    while True:
        answer = yield from _ask(ImageMessage(_COMPLETION, update.image.identifier))
        lost = answer.lost_total or 0
        if lost == 0:
            return COMPLETE
        rounds = 0 if best is None or lost < best else rounds + 1
        best = lost if best is None else min(best, lost)
        if rounds >= update.options.rounds:
            raise Refused(f"{lost} blocks stay missing after {rounds} more attempts")
        yield from _send(update, answer.lost or update.image.numbers)


def _send(update: _Update, numbers: Iterable[int]) -> Procedure[None]:
    """Transfer blocks, acknowledged one by one; a single loss is left to the completion. Table M.18.

    Raises the last failure after three in a row, and if not one block came through: completion may need one (state 6).
    """
    image, wanted = update.image, tuple(numbers)
    failures = 0
    for done, number in enumerate(wanted):
        yield Progress(done, len(wanted), f"block {number} of {image.block_count}")
        command = Command("image", ImageMessage(_TRANSFER, image.identifier, block=number, data=image.block(number)).encode())
        try:
            answered = yield from ask(command, answer=update.options.confirmed)
            if answered.error and not answered.payload:
                answered = yield from ask(None)
            if answered.protocol == "application-error":
                raise error_refusal(answered.payload)
        except (ExchangeFailed, Refused) as fault:
            if isinstance(fault, Refused) and fault.error != _SECURITY_ERROR:
                raise
            failures += 1
            if failures in (_FAILURES, len(wanted)):
                raise _unsettled(fault) from fault
            continue
        failures = 0
        update.sent += 1
        if update.options.confirmed and answered.protocol == "image":
            _message(answered.payload, image.identifier)


def _unsettled(fault: ExchangeFailed | Refused) -> ExchangeFailed:
    """Why a block did not come through. A device that lost its power behind a block finds the counter of its repetition
    used up (20h): it may have the block."""
    return fault if isinstance(fault, ExchangeFailed) else ExchangeFailed(fault.message, reason="security", delivered=None)


def _validate(update: _Update) -> Procedure[int]:
    """Validate: in state 5, and once more in state 10. Table M.20."""
    yield Progress(update.image.block_count, update.image.block_count, "validate")
    yield from _ask(ImageMessage(_VALIDATE, update.image.identifier))
    return (yield from _wait(update, (VALIDATING, PROCESSING), VALIDATION_TIME))


def _await_validation(update: _Update) -> Procedure[int]:
    """States 7 and 8."""
    return (yield from _wait(update, (VALIDATING, PROCESSING), VALIDATION_TIME))


def _wait(update: _Update, passing: Sequence[int], longest: float) -> Procedure[int]:
    """Ask for the state until it is none of the passing ones. Raises ExchangeFailed when the time is over."""
    waited, failure = 0.0, None
    while waited <= longest:
        try:
            state = yield from read_image_state(update.image.identifier)
        except ExchangeFailed as lost:
            state, failure = passing[0], lost
        else:
            failure = None
        if state not in passing:
            return state
        yield Pause(update.options.poll)
        waited += update.options.poll
    if failure is not None:
        raise failure
    raise ExchangeFailed(f"the device is not done after {longest:.0f} s", reason="busy", delivered=True)


def _activate(update: _Update) -> Procedure[int]:
    """Activate, in state 9 only. The journal knows before it is sent: state 15 means installed from then on. Table M.21."""
    image, options = update.image, update.options
    yield Progress(image.block_count, image.block_count, "activate")
    message = ImageMessage(_ACTIVATE, image.identifier, time=target_time(options.after))
    update.note("activating")
    if options.secured:
        yield from _secured(update.head_end, update.device, message, "activate the image", update.issue, INVALID_TIME)
    else:
        yield from _ask(message)
    return (yield from _await_activation(update))


def _await_activation(update: _Update) -> Procedure[int]:
    """State 11, and for a while state 9 where the activation is delayed."""
    passing = (ACTIVATING, VALID) if update.options.after else (ACTIVATING,)
    return (yield from _wait(update, passing, ACTIVATION_TIME + update.options.after))


#: state -> what to do in it. Not here: where an update ends (9 without activation, 12, 13)
_STEPS: dict[int, Callable[[_Update], Procedure[int]]] = {
    INITIATED: _missing,
    ACTIVE: _missing,
    STOPPED: _refill,
    COMPLETE: _validate,
    INCOMPLETE: _refill,
    VALIDATING: _await_validation,
    PROCESSING: _await_validation,
    VALID: _activate,
    ACTIVATING: _await_activation,
    TERMINATED: _prepare,
    IDLE: _prepare,
}
_BAD_END = {
    INVALID: "the image is not valid: its MAC or a check of the manufacturer fails",
    NOT_INSTALLED: "the device could not install the image",
}


def _present_state(update: _Update) -> Procedure[int]:
    """The state of the device; one that was not prepared for this image, or does not know it any more, is idle."""
    if update.stage in (None, "preparing"):
        return IDLE
    try:
        return (yield from read_image_state(update.image.identifier))
    except Refused as refusal:
        if refusal.error not in (_NOT_NOW, _WRONG_PARAMETER):
            raise
        return IDLE


def _resume(update: _Update) -> Procedure[int]:
    """Where to go on: an activation of which the key counter says that it was not taken did not take place."""
    if update.stage == "activating":
        settled = yield from settle(update.head_end, update.device, keep=True, issue=update.issue)
        if any(one.command.key_id == _FIRMWARE_KEY and one.taken is False for one in settled):
            update.note("transferring")
    return (yield from _present_state(update))


def _ended(update: _Update, state: int) -> bool:
    """Whether the update is over. Idle ends it only after an activation."""
    if state == VALID:
        return not update.options.activate
    return state == INSTALLED or (state == IDLE and update.stage == "activating")


def _close(update: _Update) -> None:
    """The update is over: the state tells what became of a command whose answer was lost, nothing stays open."""
    head_end, device = update.head_end, update.device
    if head_end.journal(device).command(_FIRMWARE_KEY) is not None:
        head_end.close(device, _FIRMWARE_KEY)
    head_end.note_image(device, None)


def _check(image: FirmwareImage, options: UpdateOptions) -> None:
    """Raises OutOfRange for what cannot be sent."""
    if not image.octets or image.block_size < 1 or image.block_count > _LARGEST_BLOCK_NUMBER:
        raise OutOfRange("an image has 1 to 65535 blocks", field="image", value=len(image.octets), layer="apl")
    if options.poll <= 0:
        raise OutOfRange("the time between questions is positive", field="poll", value=options.poll, layer="apl")


def update_firmware(
    head_end: HeadEnd, device: Address, image: FirmwareImage, *, options: UpdateOptions | None = None, issue: str = "5.0.1"
) -> Procedure[FirmwareResult]:
    """UC-05 as a whole. Called again with the same image after a power cut it goes on where the device is.

    Source   OMS Volume 2 Annex M release C M.2.6, Tables M.16 to M.22, Figure M.2
    Raises   OutOfRange before anything is sent; Refused (also for an image that is not valid or not installed);
             ExchangeFailed (the journal keeps the transfer, call again); KeyNotFound, DecodeError
    """
    require_use_case(issue, "UC-05")
    update = _Update(head_end, device, image, options or UpdateOptions(), issue)
    _check(image, update.options)
    resumed = update.stage is not None
    state = (yield from _resume(update)) if resumed else IDLE
    failures = 0
    while not _ended(update, state):
        if state in _BAD_END:
            _close(update)
            raise Refused(_BAD_END[state])
        try:
            state = yield from _STEPS.get(state, _prepare)(update)
        except ExchangeFailed:
            failures += 1
            if failures == _FAILURES:
                raise
            state = yield from _present_state(update)
        except Refused as refusal:
            if refusal.error != _NOT_NOW:
                raise
            before, state = state, (yield from _present_state(update))
            failures += state == before
            if failures == _FAILURES or (state == before and state != INCOMPLETE):
                raise  # a completion that was carried out twice finds its own state 6 and is refused: once more
    _close(update)
    return FirmwareResult(state, update.sent, resumed)
