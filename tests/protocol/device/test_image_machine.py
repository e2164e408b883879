"""Figure M.2: every state with every event, what each step leaves in the memory, and the settings."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from openmetering.errors import OutOfRange, ProtocolError
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
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.memory import ImageMemory
from openmetering.protocol.events import PowerUp
from openmetering.tables import IMAGE_FUNCTIONS, IMAGE_STATES

DAY = 86400.0
SETTINGS = ImageSettings(start_seconds=2.0, validation_seconds=30.0, installation_seconds=60.0)
PREPARATION = Prepare(b"NEW", 500, 200, bytes(range(16)), 3)

EVENTS: list[ImageEvent] = [
    PREPARATION,
    Transfer(1, b"new block"),
    AllBlocks(),
    BlocksMissing(),
    TerminateTransfer(),
    TerminateImage(),
    Validate(),
    ProcessingStarts(),
    Valid(),
    Invalid(),
    Activate(5.0),
    InstallationStarts(),
    Installed(),
    InstalledAnew(),
    NotInstalled(),
    Expired(),
    PowerUp(),
]

ANY = range(2, 16)
#: the figure in numbers: states, event, next state
FIGURE: list[tuple[object, type, int]] = [
    (ANY, Prepare, 2),
    ((2, 3, 4, 6), Transfer, 3),
    ((2, 3), AllBlocks, 5),
    ((2, 3), BlocksMissing, 6),
    ((2, 3, 5, 6), TerminateTransfer, 4),
    (ANY, TerminateImage, 14),
    ((5, 10), Validate, 7),
    ((7,), ProcessingStarts, 8),
    ((8,), Valid, 9),
    ((8,), Invalid, 10),
    ((9,), Activate, 11),
    ((11,), InstallationStarts, 11),
    ((11,), Installed, 12),
    ((11,), InstalledAnew, 15),
    ((11,), NotInstalled, 13),
    ((7, 8), PowerUp, 7),
    ((11,), PowerUp, 11),
    ((2, 3, 4, 5, 6, 9, 10, 12, 13, 14), Expired, 15),
]
NEXT = {(state, event): following for states, event, following in FIGURE for state in states}  # type: ignore[attr-defined]


def memory(state: int, **fields: object) -> ImageMemory:
    """An image of three blocks, one of which is here."""
    full = ImageMemory(
        state=state,
        identifier=b"OLD",
        image_size=450,
        block_size=200,
        mac=bytes(16),
        key_version=1,
        blocks={0: bytes(200)},
        due=77.0,
        installed=b"RUNNING",
        installations=1,
        changed=50.0,
    )
    return replace(full, **fields)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", ANY)
def test_every_state_with_every_event(state: int, event: ImageEvent) -> None:
    image = memory(state)
    machine = ImageMachine(image, SETTINGS)
    following = NEXT.get((state, type(event)))
    assert machine.allows(type(event)) is (following is not None)
    if following is None:
        before = replace(image, blocks=dict(image.blocks))
        with pytest.raises(ProtocolError, match=type(event).__name__) as caught:
            machine.receive(event, 100.0)
        assert caught.value.state == ImageState(state).name
        assert (image, machine.state) == (before, state)
        return
    told = machine.receive(event, 100.0)
    assert (machine.state, image.state, image.changed) == (following, following, 100.0)
    assert told == ([] if following == state else [DeviceEvent("image", IMAGE_STATES[following], following)])


def test_every_row_of_the_table_is_in_the_figure() -> None:
    table = {(int(state.value), event): following for (state, event), (_, following) in ImageMachine.TRANSITIONS.items()}
    assert table == NEXT


def test_the_table_agrees_with_the_codes_of_the_functions() -> None:
    """``image_transfer.csv`` was taken from the same figure, by another hand."""
    for function, event in ((0, Prepare), (2, Transfer), (3, AllBlocks), (3, BlocksMissing), (5, Validate), (6, Activate)):
        allowed = IMAGE_FUNCTIONS[function].allowed or tuple(ANY)
        assert tuple(state for state in ANY if (state, event) in NEXT) == allowed
        assert {NEXT[state, event] for state in allowed} <= set(IMAGE_FUNCTIONS[function].next)


def test_states_have_the_names_of_the_figure() -> None:
    assert {int(state) for state in ImageState} == set(IMAGE_STATES)
    for state in ImageState:
        words = IMAGE_STATES[state].removeprefix("image transfer ").upper().replace(" ", "_")
        assert state.name in {words, f"IMAGE_{words}"}


# -- what stays in the memory ---------------------------------------------------------------------


def after(state: int, event: ImageEvent, **fields: object) -> ImageMemory:
    image = memory(state, **fields)
    ImageMachine(image, SETTINGS).receive(event, 100.0)
    return image


def test_prepare_forgets_what_was_prepared_before() -> None:
    assert after(11, PREPARATION) == ImageMemory(
        state=2,
        identifier=b"NEW",
        image_size=500,
        block_size=200,
        mac=bytes(range(16)),
        key_version=3,
        installed=b"RUNNING",
        changed=100.0,
    )


def test_blocks_are_stored_and_replaced() -> None:
    assert after(3, Transfer(2, b"end")).blocks == {0: bytes(200), 2: b"end"}
    assert after(3, Transfer(0, b"other")).blocks == {0: b"other"}


def test_terminating_the_transfer_keeps_the_preparation() -> None:
    image = after(6, TerminateTransfer())
    assert (image.identifier, image.image_size, image.blocks, image.due) == (b"OLD", 450, {}, None)


@pytest.mark.parametrize(("event", "state"), [(TerminateImage(), 14), (Expired(), 15)])
def test_a_reset_keeps_what_runs(event: ImageEvent, state: int) -> None:
    assert after(9, event) == ImageMemory(state=state, installed=b"RUNNING", changed=100.0)


def test_times_of_the_validation() -> None:
    image = memory(5, due=None)
    machine = ImageMachine(image, SETTINGS)
    assert machine.deadline is None
    machine.receive(Validate(), 100.0)
    assert machine.deadline == image.due == 102.0
    machine.receive(ProcessingStarts(), 102.0)
    assert machine.deadline == 130.0
    machine.receive(PowerUp(), 120.0)
    assert (machine.state, machine.deadline) == (7, 122.0)
    machine.receive(ProcessingStarts(), 122.0)
    machine.receive(Invalid(), 150.0)
    assert (machine.deadline, image.blocks) == (None, {0: bytes(200)})


def test_times_of_the_activation() -> None:
    image = memory(9, due=None, installations=0)
    machine = ImageMachine(image, SETTINGS)
    machine.receive(Activate(5.0), 100.0)
    assert (machine.deadline, image.installations) == (105.0, 0)
    machine.receive(InstallationStarts(), 105.0)
    assert (machine.deadline, image.installations) == (165.0, 1)
    machine.receive(PowerUp(), 150.0)
    assert (machine.deadline, image.installations) == (210.0, 2)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Installed(), (12, b"OLD", b"OLD")),
        (InstalledAnew(), (15, b"OLD", b"")),
        (NotInstalled(), (13, b"RUNNING", b"OLD")),
    ],
)
def test_the_end_of_an_activation(event: ImageEvent, expected: tuple[int, bytes, bytes]) -> None:
    image = after(11, event)
    assert (image.state, image.installed, image.identifier) == expected
    assert (image.blocks, image.due, image.installations) == ({}, None, 0)


# -- retention and settings -----------------------------------------------------------------------


def test_a_state_is_kept_for_the_retention_time() -> None:
    settings = replace(SETTINGS, retention_seconds=DAY)
    machine = ImageMachine(memory(3, due=None), settings)
    assert machine.deadline == 50.0 + DAY
    machine.receive(Transfer(1, b""), 1000.0)
    assert machine.deadline == 1000.0 + DAY
    machine.receive(AllBlocks(), 1001.0)
    machine.receive(Validate(), 2000.0)
    assert machine.deadline == 2002.0
    machine.receive(TerminateImage(), 2001.0)
    machine.receive(Expired(), 2001.0 + DAY)
    assert (machine.state, machine.deadline) == (15, None)


def test_without_retention_time_a_state_is_kept_for_ever() -> None:
    assert ImageMachine(memory(3, due=None), SETTINGS).deadline is None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("largest_image", (0, 1 << 32)),
        ("largest_block", (189, 65536)),
        ("start_seconds", (-0.1, 30.1)),
        ("validation_seconds", (300.1, 1.9)),
        ("installation_seconds", (-1.0, 600.1)),
        ("retention_seconds", (86399.0, float("nan"))),
        ("lost_listed", (0, 65536)),
    ],
)
def test_settings_outside_of_the_limits(field: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(OutOfRange):
            ImageSettings(**{field: value})  # type: ignore[arg-type]


def test_settings_at_the_limits() -> None:
    longest = ImageSettings(largest_block=190, start_seconds=300.0, validation_seconds=300.0, installation_seconds=600.0)
    assert longest.retention_seconds is None
    assert ImageSettings(start_seconds=0.0, validation_seconds=0.0, retention_seconds=DAY).largest_block == 200
