"""The states of an image transfer in a device: Annex M Figure M.2.

    any          --Prepare-->            2 transfer initiated     what was prepared before is forgotten
    2 3 4 6      --Transfer-->           3 transfer active        the block is stored
    2 3          --AllBlocks-->          5 transfer successful    completion: nothing is missing
    2 3          --BlocksMissing-->      6 transfer failed        completion: blocks are missing
    2 3 5 6      --TerminateTransfer-->  4 transfer terminated    T_TR: the transfer buffer is cleared
    any          --TerminateImage-->     14 terminated            T_IT: the machine is reset
    5 10         --Validate-->           7 validation initiated
    7            --ProcessingStarts-->   8 validation active
    8            --Valid, Invalid-->     9 successful, 10 failed
    9            --Activate-->           11 activation initiated
    11           --InstallationStarts--> 11                       the date and time of the command has come
    11           --Installed-->          12 activation successful
    11           --InstalledAnew-->      15 idle                  the new program knows nothing of its transfer
    11           --NotInstalled-->       13 activation failed

Two events are not in the figure. A power cut: validation starts again (7, 8 --PowerUp--> 7), so does an
installation (11 --PowerUp--> 11). And rest: a state that no event has left for 24 hours or longer may
be given up (2-6, 9, 10, 12-14 --Expired--> 15).

The machine decides nothing about images. Whoever drives it (``ImageFeature``) names the event; a pair
that is not in the table is a ProtocolError, which a command turns into application error 10h.
Source: OMS Volume 2 Annex M release C 1.1.1, M.2.6.2 and Figure M.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, IntEnum
from typing import ClassVar, Literal

import msgspec

from openmetering.errors import OutOfRange
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import ImageMemory
from openmetering.protocol.events import PowerUp
from openmetering.protocol.machine import Machine
from openmetering.tables import IMAGE_STATES

__all__ = [
    "Activate",
    "AllBlocks",
    "BlocksMissing",
    "Expired",
    "ImageEvent",
    "ImageMachine",
    "ImageSettings",
    "ImageState",
    "InstallationStarts",
    "Installed",
    "InstalledAnew",
    "Invalid",
    "NotInstalled",
    "Prepare",
    "ProcessingStarts",
    "TerminateImage",
    "TerminateTransfer",
    "Transfer",
    "Valid",
    "Validate",
]

LONGEST_VALIDATION = 300.0  #: seconds from the command to its end (Annex M release C, M.1.5)
LONGEST_INSTALLATION = 600.0  #: seconds from the command, or its date and time, to the end (M.1.5)
SHORTEST_RETENTION = 86400.0  #: seconds a state is kept without events (M.2.6.2)
SMALLEST_BLOCK_LIMIT = 190  #: octets of a block that every device accepts (Table M.17, note a)


class ImageState(IntEnum):
    """The states of Figure M.2 with their numbers."""

    TRANSFER_INITIATED = 2
    TRANSFER_ACTIVE = 3
    TRANSFER_TERMINATED = 4
    TRANSFER_SUCCESSFUL = 5
    TRANSFER_FAILED = 6
    VALIDATION_INITIATED = 7
    VALIDATION_ACTIVE = 8
    VALIDATION_SUCCESSFUL = 9
    VALIDATION_FAILED = 10
    ACTIVATION_INITIATED = 11
    ACTIVATION_SUCCESSFUL = 12
    ACTIVATION_FAILED = 13
    IMAGE_TERMINATED = 14
    IDLE = 15


class ImageSettings(msgspec.Struct, frozen=True):
    """How a device takes images.

    ``oms_issue``             4.3.3 states no machine: there completion may be skipped before validation
    ``largest_image``         octets
    ``largest_block``         octets; at least 190 (IDIS: 200)
    ``start_seconds``         from the validate command to the start of its processing
    ``validation_seconds``    from the validate command to its result, at most 300
    ``installation_seconds``  from the start of the installation to its result, at most 600
    ``retention_seconds``     after which a state without events is given up, at least 86400; None: never
    ``lost_listed``           lost blocks that one completion answer names; it always tells how many there are
    ``idle_after_installation``         the new program starts in state 15 instead of 12
    ``require_asp10_for_preparation``   "shall" in both issues (Table M.17)
    ``require_asp10_for_activation``    of activate and terminate; "recommended" (Tables M.21, M.22)
    """

    oms_issue: Literal["4.3.3", "5.0.1"] = "5.0.1"
    largest_image: int = 1 << 20
    largest_block: int = 200
    start_seconds: float = 2.0
    validation_seconds: float = 30.0
    installation_seconds: float = 60.0
    retention_seconds: float | None = None
    lost_listed: int = 64
    idle_after_installation: bool = False
    require_asp10_for_preparation: bool = True
    require_asp10_for_activation: bool = False

    def __post_init__(self) -> None:
        kept = self.retention_seconds
        ranges: tuple[tuple[str, float, float, float], ...] = (
            ("largest_image", self.largest_image, 1, 0xFFFFFFFF),
            ("largest_block", self.largest_block, SMALLEST_BLOCK_LIMIT, 0xFFFF),
            ("start_seconds", self.start_seconds, 0.0, self.validation_seconds),
            ("validation_seconds", self.validation_seconds, 0.0, LONGEST_VALIDATION),
            ("installation_seconds", self.installation_seconds, 0.0, LONGEST_INSTALLATION),
            ("retention_seconds", SHORTEST_RETENTION if kept is None else kept, SHORTEST_RETENTION, float("inf")),
            ("lost_listed", self.lost_listed, 1, 0xFFFF),
        )
        for field, value, least, most in ranges:
            if not least <= value <= most:
                raise OutOfRange(f"{field} lies between {least} and {most}, got {value}", field=field, value=value)


# -- events ---------------------------------------------------------------------------------------


class Prepare(msgspec.Struct, frozen=True):
    """A prepare command was accepted. Sizes in octets; ``mac`` is the proof of the image under key 18h."""

    identifier: bytes
    image_size: int
    block_size: int
    mac: bytes
    key_version: int


class Transfer(msgspec.Struct, frozen=True):
    """A block came that fits what was prepared."""

    block: int
    data: bytes


class AllBlocks(msgspec.Struct, frozen=True):
    """Completion was asked for and nothing is missing."""


class BlocksMissing(msgspec.Struct, frozen=True):
    """Completion was asked for and blocks are missing."""


class TerminateTransfer(msgspec.Struct, frozen=True):
    """Terminate with T_TR = 1."""


class TerminateImage(msgspec.Struct, frozen=True):
    """Terminate with T_IT = 1."""


class Validate(msgspec.Struct, frozen=True):
    """A validate command was accepted."""


class ProcessingStarts(msgspec.Struct, frozen=True):
    """The device begins to compute."""


class Valid(msgspec.Struct, frozen=True):
    """The MAC of the image is the prepared one, and the maker's own checks passed."""


class Invalid(msgspec.Struct, frozen=True):
    """The MAC differs, or a check of the maker failed."""


class Activate(msgspec.Struct, frozen=True):
    """An activate command was accepted. ``delay`` in seconds, 0 for immediate."""

    delay: float


class InstallationStarts(msgspec.Struct, frozen=True):
    """The date and time of the activate command has come."""


class Installed(msgspec.Struct, frozen=True):
    """The image is installed."""


class InstalledAnew(msgspec.Struct, frozen=True):
    """The image is installed and starts without the state of its transfer."""


class NotInstalled(msgspec.Struct, frozen=True):
    """The image could not be installed; the old one runs on."""


class Expired(msgspec.Struct, frozen=True):
    """No event came for the retention time."""


ImageEvent = (
    Prepare
    | Transfer
    | AllBlocks
    | BlocksMissing
    | TerminateTransfer
    | TerminateImage
    | Validate
    | ProcessingStarts
    | Valid
    | Invalid
    | Activate
    | InstallationStarts
    | Installed
    | InstalledAnew
    | NotInstalled
    | Expired
    | PowerUp
)

_Action = Callable[..., list[object]]
_Row = tuple[tuple[Enum, type], tuple[_Action, Enum]]


def _rows(states: Iterable[int], event: type, action: _Action, following: ImageState) -> list[_Row]:
    return [((ImageState(state), event), (action, following)) for state in states]


# -- the machine ----------------------------------------------------------------------------------


class ImageMachine(Machine[ImageState]):
    """Figure M.2 over the memory of a device: every step is in the memory before ``receive`` returns."""

    __slots__ = ("_settings", "image")

    def __init__(self, image: ImageMemory, settings: ImageSettings) -> None:
        super().__init__(ImageState(image.state))
        self.image = image
        self._settings = settings
        self._look()

    def allows(self, event: type) -> bool:
        """True if there is a row for this event in the present state."""
        return (self.state, event) in self.TRANSITIONS

    def receive(self, event: ImageEvent, now: float) -> list[DeviceEvent]:
        """One row of the table. Raises ProtocolError if there is none."""
        before = self.state
        self._step(event, now)
        self.image.state, self.image.changed = int(self.state), now
        self._look()
        if self.state is before:
            return []
        return [DeviceEvent("image", IMAGE_STATES[self.state], int(self.state))]

    def _look(self) -> None:
        """When the driver is to name the next event."""
        kept = self._settings.retention_seconds
        self.deadline = self.image.due
        if self.deadline is None and kept is not None and self.state is not ImageState.IDLE:
            self.deadline = self.image.changed + kept

    # -- actions ----------------------------------------------------------------------------------

    def _keep(self, event: ImageEvent, now: float) -> list[object]:
        """Only the state changes; what was due is done."""
        self.image.due = None
        return []

    def _prepare(self, event: Prepare, now: float) -> list[object]:
        image = self.image
        image.identifier, image.image_size, image.block_size = event.identifier, event.image_size, event.block_size
        image.mac, image.key_version = event.mac, event.key_version
        return self._clear(event, now)

    def _store(self, event: Transfer, now: float) -> list[object]:
        self.image.blocks[event.block] = event.data
        return []

    def _clear(self, event: ImageEvent, now: float) -> list[object]:
        """The transfer buffer is empty; the preparation stays."""
        self.image.blocks = {}
        self.image.due, self.image.installations = None, 0
        return []

    def _reset(self, event: ImageEvent, now: float) -> list[object]:
        """Nothing is prepared."""
        image = self.image
        image.identifier, image.mac, image.image_size, image.block_size, image.key_version = b"", b"", 0, 0, 0xFF
        return self._clear(event, now)

    def _begin_validation(self, event: ImageEvent, now: float) -> list[object]:
        self.image.due = now + self._settings.start_seconds
        return []

    def _validate(self, event: ImageEvent, now: float) -> list[object]:
        self.image.due = now + self._settings.validation_seconds - self._settings.start_seconds
        return []

    def _schedule(self, event: Activate, now: float) -> list[object]:
        self.image.due = now + event.delay
        return []

    def _install(self, event: ImageEvent, now: float) -> list[object]:
        """Begin the installation, for the first time or once more."""
        self.image.installations += 1
        self.image.due = now + self._settings.installation_seconds
        return []

    def _installed(self, event: ImageEvent, now: float) -> list[object]:
        self.image.installed = self.image.identifier
        return self._clear(event, now)

    def _installed_anew(self, event: ImageEvent, now: float) -> list[object]:
        self.image.installed = self.image.identifier
        return self._reset(event, now)

    TRANSITIONS: ClassVar[Mapping[tuple[Enum, type], tuple[_Action, Enum]]] = dict(
        [
            *_rows(ImageState, Prepare, _prepare, ImageState.TRANSFER_INITIATED),
            *_rows((2, 3, 4, 6), Transfer, _store, ImageState.TRANSFER_ACTIVE),
            *_rows((2, 3), AllBlocks, _keep, ImageState.TRANSFER_SUCCESSFUL),
            *_rows((2, 3), BlocksMissing, _keep, ImageState.TRANSFER_FAILED),
            *_rows((2, 3, 5, 6), TerminateTransfer, _clear, ImageState.TRANSFER_TERMINATED),
            *_rows(ImageState, TerminateImage, _reset, ImageState.IMAGE_TERMINATED),
            *_rows((5, 10), Validate, _begin_validation, ImageState.VALIDATION_INITIATED),
            *_rows((7,), ProcessingStarts, _validate, ImageState.VALIDATION_ACTIVE),
            *_rows((8,), Valid, _keep, ImageState.VALIDATION_SUCCESSFUL),
            *_rows((8,), Invalid, _keep, ImageState.VALIDATION_FAILED),
            *_rows((9,), Activate, _schedule, ImageState.ACTIVATION_INITIATED),
            *_rows((11,), InstallationStarts, _install, ImageState.ACTIVATION_INITIATED),
            *_rows((11,), Installed, _installed, ImageState.ACTIVATION_SUCCESSFUL),
            *_rows((11,), InstalledAnew, _installed_anew, ImageState.IDLE),
            *_rows((11,), NotInstalled, _clear, ImageState.ACTIVATION_FAILED),
            *_rows((7, 8), PowerUp, _begin_validation, ImageState.VALIDATION_INITIATED),
            *_rows((11,), PowerUp, _install, ImageState.ACTIVATION_INITIATED),
            *_rows((2, 3, 4, 5, 6, 9, 10, 12, 13, 14), Expired, _reset, ImageState.IDLE),
        ]
    )
