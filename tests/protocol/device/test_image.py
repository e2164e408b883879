"""UC-05 in a device: commands octet for octet, refusals, lost blocks, validation, activation, power cuts."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.apl import image_transfer
from openmetering.codec.apl.image_transfer import T_IT, T_TR, ImageMac, ImageMessage, terminate_flags
from openmetering.codec.apl.security_transfer import IMMEDIATE, INVALID_TIME, target_time
from openmetering.protocol.device.image import (
    ImageFeature,
    activation_delay,
    lost_blocks,
)
from openmetering.protocol.device.image_machine import ImageSettings, ImageState
from openmetering.protocol.device.interface import DeviceEvent, Feature, Instruction, Notice, Outcome
from openmetering.protocol.device.memory import DeviceMemory, ImageMemory, KeySlot
from openmetering.protocol.device.sitp import NO_AUTOMATIC_ACTION
from openmetering.security import BlockCipher, asp03_mac

KEY = bytes(range(16))
IMAGE = bytes(position % 256 for position in range(500))
MAC = asp03_mac(BlockCipher(KEY), IMAGE)
NAME = b"V1.2"
SETTINGS = ImageSettings(start_seconds=2.0, validation_seconds=30.0, installation_seconds=60.0)
NOW = 1000.0

#: as in the vectors constructed for the provisional layout: 500 octets, blocks of 200
PREPARE = "000456312E32F4010000C800041800C297583AAF92B47C048580C0A9B12AF3"
COMPLETION, STATE, VALIDATE = "030456312E32", "040456312E32", "050456312E32"
ACTIVATE, TERMINATE = "060456312E320000000030", "070456312E32"


def block(number: int, image: bytes = IMAGE, size: int = 200) -> bytes:
    data = image[number * size : (number + 1) * size]
    return ImageMessage(2, identifier=NAME, block=number, data=data).encode()


class Device:
    """The function with its memory, and what became of images. ``cut`` takes the power away."""

    def __init__(self, settings: ImageSettings = SETTINGS, works: bool = True, **image: object) -> None:
        self.memory = DeviceMemory(keys=[KeySlot(0x18, 0, KEY, active=True)], image=ImageMemory(**image))  # type: ignore[arg-type]
        self.settings = settings
        self.works = works
        self.passes = True
        self.installed: list[tuple[bytes, bytes]] = []
        self.examined: list[tuple[bytes, bytes]] = []
        self.events: list[DeviceEvent] = []
        self.now = NOW
        self.start()

    def start(self) -> None:
        self.feature = ImageFeature(self.memory, self._install, self.settings, self._examine)

    def _install(self, image: bytes, identifier: bytes) -> bool:
        self.installed.append((image, identifier))
        return self.works

    def _examine(self, image: bytes, identifier: bytes) -> bool:
        self.examined.append((image, identifier))
        return self.passes

    def cut(self) -> None:
        """A new machine around what was saved."""
        self.memory = msgspec.msgpack.decode(msgspec.msgpack.encode(self.memory), type=DeviceMemory)
        self.start()
        self.feature.power_up(self.now)

    def do(self, command: str | bytes, key_id: int | None = None, *, rehearse: bool = False, delay: float = 0.0) -> Outcome:
        payload = bytes.fromhex(command) if isinstance(command, str) else command
        instruction = Instruction("image", payload, key_id=key_id, at=self.now + delay, rehearse=rehearse)
        outcome = self.feature.execute(instruction, self.now)
        assert outcome is not None
        self.events += outcome.events
        return outcome

    def prepare(self) -> None:
        assert self.do(PREPARE, 0x23).error is None

    def transfer(self, *numbers: int) -> None:
        for number in numbers:
            assert self.do(block(number)).error is None

    def wait(self, seconds: float) -> list[Notice]:
        self.now += seconds
        notices = self.feature.timeout(self.now)
        for notice in notices:
            self.events += notice.outcome.events
        return notices

    def reach(self, state: int) -> Device:
        """The usual way to a state."""
        steps: list[tuple[int, object]] = [
            (2, self.prepare),
            (3, lambda: self.transfer(0, 1, 2)),
            (5, lambda: self.do(COMPLETION)),
            (7, lambda: self.do(VALIDATE)),
            (8, lambda: self.wait(2.0)),
            (9, lambda: self.wait(28.0)),
            (11, lambda: self.do(ACTIVATE, 0x23)),
            (12, lambda: self.wait(60.0)),
        ]
        for reached, step in steps:
            step()  # type: ignore[operator]
            assert self.feature.state == reached
            if reached == state:
                return self
        raise AssertionError(state)

    def tell_state(self) -> int:
        answer = image_transfer.decode(self.do(STATE).payload or b"")
        assert (answer.function, answer.identifier) == (0x84, NAME)
        assert answer.state is not None
        return answer.state


def hexed(outcome: Outcome) -> str:
    assert outcome.error is None
    assert outcome.payload is not None
    return outcome.payload.hex().upper()


def told(state: int) -> DeviceEvent:
    return DeviceEvent("image", {2: "transfer initiated", 3: "transfer active"}[state], state)


# -- the whole way --------------------------------------------------------------------------------


def test_an_update_octet_for_octet() -> None:
    device = Device()
    feature: Feature = device.feature
    assert feature.records(0, NOW) == ()
    assert feature.status(NOW) == 0
    assert hexed(device.do(PREPARE, 0x23)) == "800456312E32"
    assert [hexed(device.do(block(number))) for number in range(3)] == ["820456312E32"] * 3
    assert hexed(device.do(COMPLETION)) == "830456312E320000"
    assert device.feature.deadline is None
    outcome = device.do(VALIDATE)
    assert (hexed(outcome), outcome.busy) == ("850456312E3207", True)
    assert device.feature.deadline == NOW + 2.0
    assert device.wait(1.9) == []
    (start,) = device.wait(0.1)
    assert (hexed(start.outcome), start.outcome.busy) == ("850456312E3208", True)
    (valid,) = device.wait(28.0)
    assert (hexed(valid.outcome), valid.outcome.busy) == ("850456312E3209", False)
    assert device.examined == [(IMAGE, NAME)]
    outcome = device.do(ACTIVATE, 0x23)
    assert (hexed(outcome), outcome.busy) == ("860456312E32", True)
    assert device.installed == []
    (done,) = device.wait(60.0)
    assert (hexed(done.outcome), done.outcome.busy) == ("860456312E32", False)
    assert device.installed == [(IMAGE, NAME)]
    assert (device.memory.image.installed, device.memory.image.blocks) == (NAME, {})
    assert device.tell_state() == 12
    assert [event.value for event in device.events] == [2, 3, 5, 7, 8, 9, 11, 12]
    assert device.events[:2] == [told(2), told(3)]
    assert device.feature.deadline is None


def test_other_protocols_are_not_for_this_function() -> None:
    assert Device().feature.execute(Instruction("m-bus", b"\x00"), NOW) is None


def test_without_settings_and_examiner() -> None:
    memory = DeviceMemory(keys=[KeySlot(0x18, 0, KEY, active=True)])
    feature = ImageFeature(memory, lambda image, identifier: True)
    for command in (PREPARE, *(block(number).hex() for number in range(3)), COMPLETION, VALIDATE):
        key_id = 0x23 if command == PREPARE else None
        outcome = feature.execute(Instruction("image", bytes.fromhex(command), key_id=key_id, at=NOW), NOW)
        assert outcome is not None
        assert outcome.error is None
    feature.timeout(NOW + 300.0)
    feature.timeout(NOW + 300.0)
    assert feature.state is ImageState.VALIDATION_ACTIVE
    feature.timeout(NOW + 600.0)
    assert feature.state is ImageState.VALIDATION_SUCCESSFUL


# -- commands and states --------------------------------------------------------------------------

COMMANDS = {
    "prepare": (PREPARE, set(range(2, 16))),
    "transfer": (block(1).hex(), {2, 3, 4, 6}),
    "completion": (COMPLETION, {2, 3}),
    "state": (STATE, set(range(2, 16))),
    "validate": (VALIDATE, {5, 10}),
    "activate": (ACTIVATE, {9}),
    "terminate transfer": (TERMINATE + "01", {2, 3, 5, 6}),
    "terminate image": (TERMINATE + "02", set(range(2, 16))),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("state", range(2, 16))
@pytest.mark.parametrize("rehearse", [False, True])
def test_a_command_in_every_state(name: str, state: int, rehearse: bool) -> None:
    blocks = {number: bytes(200) for number in range(2)} | {2: bytes(100)}
    prepared = {"identifier": NAME, "image_size": 500, "block_size": 200, "mac": MAC, "key_version": 0, "blocks": blocks}
    device = Device(state=state, **prepared)  # type: ignore[arg-type]
    before = msgspec.msgpack.encode(device.memory)
    command, allowed = COMMANDS[name]
    outcome = device.do(command, 0x23, rehearse=rehearse)
    assert outcome.error == (None if state in allowed else 0x10)
    if rehearse or state not in allowed or name == "state":
        assert msgspec.msgpack.encode(device.memory) == before


@pytest.mark.parametrize("command", [PREPARE, TERMINATE, TERMINATE + "01", ACTIVATE])
@pytest.mark.parametrize("key_id", [0x20, 0x18, 0x00])
def test_another_key_does_not_fit(command: str, key_id: int) -> None:
    device = Device().reach(9)
    assert device.do(command, key_id) == Outcome(error=0x22)
    assert device.feature.state == 9


@pytest.mark.parametrize("issue", ["4.3.3", "5.0.1"])
def test_prepare_needs_an_application_key(issue: str) -> None:
    """Table M.17 says "shall" in both releases."""
    device = Device(replace(SETTINGS, oms_issue=issue))
    assert device.do(PREPARE) == Outcome(error=0x22)
    assert device.feature.state == 15
    assert Device(replace(SETTINGS, require_asp10_for_preparation=False)).do(PREPARE).error is None


def test_activate_and_terminate_need_one_only_where_the_device_says_so() -> None:
    strict = Device(replace(SETTINGS, require_asp10_for_activation=True)).reach(9)
    assert strict.do(ACTIVATE) == Outcome(error=0x22)
    assert strict.do(TERMINATE) == Outcome(error=0x22)
    assert strict.do(TERMINATE, 0x23).error is None
    assert Device().reach(9).do(ACTIVATE).error is None
    assert Device().reach(9).do(TERMINATE).error is None


@pytest.mark.parametrize(
    ("command", "invalid_mark"),
    [(PREPARE, False), (COMPLETION, False), (STATE, False), (VALIDATE, False), (TERMINATE, False), (ACTIVATE, True)],
)
def test_target_times_of_the_container(command: str, invalid_mark: bool) -> None:
    """Immediate everywhere; activate has a date and time of its own, so that its container may name none."""
    state = {COMPLETION: 3, VALIDATE: 5}.get(command, 9)
    device = Device().reach(state)
    assert device.do(command, 0x23, delay=60.0) == Outcome(status=0x23)
    assert device.feature.state == state
    outcome = device.do(command, 0x23, delay=NO_AUTOMATIC_ACTION)
    assert (outcome.status, outcome.payload is not None) == ((None, True) if invalid_mark else (0x23, False))
    if not invalid_mark:
        assert device.do(command, 0x23).error is None


@pytest.mark.parametrize("command", ["01", "0104", "08", "7F", "800456312E32", "840456312E320F", "FF"])
def test_functions_that_are_no_commands(command: str) -> None:
    assert Device().do(command, 0x23) == Outcome(error=0x11)


@pytest.mark.parametrize("command", [PREPARE, block(0).hex()[:16], COMPLETION, STATE, VALIDATE, ACTIVATE, TERMINATE])
def test_a_field_is_missing(command: str) -> None:
    device = Device().reach(3)
    for size in range(len(bytes.fromhex(command))):
        outcome = device.do(bytes.fromhex(command)[:size], 0x23)
        assert outcome == Outcome(error=0x15)
    assert device.feature.state == 3


# -- prepare --------------------------------------------------------------------------------------


def preparation(**changes: object) -> bytes:
    message = ImageMessage(0, identifier=NAME, image_size=500, block_size=200, mac=ImageMac(4, 0x18, 0, MAC))
    return replace(message, **changes).encode()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"identifier": b""}, 0x15),
        ({"image_size": 0}, 0x15),
        ({"image_size": (1 << 20) + 1}, 0x15),
        ({"block_size": 0}, 0x15),
        ({"block_size": 201}, 0x15),
        ({"image_size": 65537, "block_size": 1}, 0x15),
        ({"mac": ImageMac(5, 0x18, 0, MAC)}, 0x15),
        ({"mac": ImageMac(4, 0x19, 0, MAC)}, 0x15),
        ({"mac": ImageMac(4, 0x18, 1, MAC)}, 0x20),
        ({"image_size": 1 << 20}, None),
        ({"image_size": 65536, "block_size": 1}, None),
        ({"block_size": 190}, None),
        ({"mac": ImageMac(4, 0x18, 0xFF, MAC)}, None),
        ({"additional": b"words"}, None),
    ],
)
def test_what_can_be_prepared(changes: dict[str, object], error: int | None) -> None:
    device = Device().reach(3)
    before = msgspec.msgpack.encode(device.memory)
    outcome = device.do(preparation(**changes), 0x23)
    assert outcome.error == error
    if error is not None:
        assert msgspec.msgpack.encode(device.memory) == before
    else:
        assert device.feature.state == 2
        assert device.memory.image.blocks == {}


def test_a_key_that_is_not_active_proves_nothing() -> None:
    device = Device()
    device.memory.keys[0].active = False
    assert device.do(PREPARE, 0x23) == Outcome(error=0x20)
    device.memory.keys.clear()
    assert device.do(PREPARE, 0x23) == Outcome(error=0x20)


# -- identifier -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "command"),
    [
        (3, ImageMessage(2, identifier=b"V1.3", block=0, data=IMAGE[:200]).encode()),
        (3, bytes.fromhex("030456312E33")),
        (3, bytes.fromhex("040456312E33")),
        (5, bytes.fromhex("050456312E33")),
        (9, bytes.fromhex("060456312E330000000030")),
        (9, bytes.fromhex("070456312E3302")),
    ],
)
def test_another_image_is_meant(state: int, command: bytes) -> None:
    device = Device().reach(state)
    assert device.do(command, 0x23) == Outcome(error=0x15)
    assert device.feature.state == state


def test_state_and_terminate_of_an_idle_device_name_any_image() -> None:
    device = Device()
    assert hexed(device.do("0401580A")) == "8401580F"
    assert hexed(device.do("070158")) == "870158"
    assert hexed(device.do("040159")) == "8401590E"


# -- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "size"), [(0, 199), (0, 201), (0, 0), (1, 100), (2, 99), (2, 101), (2, 200), (3, 100), (3, 0), (65535, 200)]
)
def test_blocks_that_do_not_fit(number: int, size: int) -> None:
    device = Device().reach(2)
    message = ImageMessage(2, identifier=NAME, block=number, data=bytes(size))
    assert device.do(message.encode()) == Outcome(error=0x15)
    assert (device.feature.state, device.memory.image.blocks) == (2, {})


def test_lost_blocks_are_named_and_sent_again() -> None:
    device = Device().reach(2)
    device.transfer(2, 0)
    assert hexed(device.do(COMPLETION)) == "830456312E3201000100"
    assert device.feature.state == 6
    assert device.do(VALIDATE).error == 0x10
    assert device.do(COMPLETION).error == 0x10
    device.transfer(1)
    assert hexed(device.do(COMPLETION)) == "830456312E320000"
    assert device.feature.state == 5
    assert device.do(block(1)).error == 0x10


def test_an_answer_names_no_more_blocks_than_set() -> None:
    device = Device(replace(SETTINGS, lost_listed=2)).reach(2)
    assert hexed(device.do(COMPLETION)) == "830456312E32030000000100"


@given(st.integers(1, 900), st.integers(1, 200), st.data())
def test_any_pattern_of_loss_and_order_ends_with_the_image(size: int, block_size: int, data: st.DataObject) -> None:
    """Each round some of the blocks asked for come, in any order, some twice; completion names exactly the rest."""
    image = bytes((7 * position) % 251 for position in range(size))
    mac = asp03_mac(BlockCipher(KEY), image)
    device = Device(replace(SETTINGS, lost_listed=10))
    sized = {"image_size": size, "block_size": block_size, "mac": ImageMac(4, 0x18, 0, mac)}
    assert device.do(preparation(**sized), 0x23).error is None
    wanted = list(range(-(-size // block_size)))
    missing = set(wanted)
    while missing:
        coming = data.draw(st.lists(st.sampled_from(wanted), min_size=1, max_size=2 * len(wanted)), label="coming")
        for number in coming:
            assert device.do(block(number, image, block_size)).error is None
            missing.discard(number)
        answer = image_transfer.decode(device.do(COMPLETION).payload or b"")
        assert lost_blocks(device.memory.image) == sorted(missing)
        assert answer.lost_total == len(missing)
        assert answer.lost == tuple(sorted(missing)[:10])
        assert device.feature.state == (6 if missing else 5)
        wanted = list(answer.lost)
    device.do(VALIDATE)
    device.wait(2.0)
    device.wait(28.0)
    assert device.feature.state == 9
    assert device.examined == [(image, NAME)]


@given(st.lists(st.tuples(st.sampled_from(sorted(COMMANDS)), st.sampled_from([0.0, 1.0, 30.0, 70.0])), max_size=25))
def test_any_order_of_commands(steps: list[tuple[str, float]]) -> None:
    """Whatever comes: the answer is one of the annex, a refusal changes nothing, an image is installed whole."""
    device = Device().reach(2)
    device.transfer(0, 2)
    for name, seconds in steps:
        before, state = msgspec.msgpack.encode(device.memory), device.feature.state
        command, allowed = COMMANDS[name]
        outcome = device.do(command, 0x23)
        if outcome.error is not None:
            assert msgspec.msgpack.encode(device.memory) == before
            assert outcome.error == 0x10 if state not in allowed else outcome.error == 0x15
        device.wait(seconds)
        assert device.memory.image.state == device.feature.state
    assert set(device.installed) <= {(IMAGE, NAME)}


# -- terminate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("additional", "flags"),
    [("", T_IT), ("00", 0), ("01", T_TR), ("02", T_IT), ("03", T_TR | T_IT), ("FD", T_TR), ("FE00", T_IT)],
)
def test_where_the_flags_of_terminate_stand(additional: str, flags: int) -> None:
    assert terminate_flags(ImageMessage(7, identifier=NAME, additional=bytes.fromhex(additional))) == flags


def test_terminate() -> None:
    device = Device().reach(5)
    assert device.do(TERMINATE + "00") == Outcome(error=0x15)
    assert hexed(device.do(TERMINATE + "01")) == "870456312E32"
    assert (device.feature.state, device.memory.image.blocks) == (4, {})
    device.transfer(0)
    assert device.feature.state == 3
    assert device.do(TERMINATE + "03").error is None
    assert (device.feature.state, device.memory.image.identifier) == (14, b"")


def test_terminate_during_validation_and_installation() -> None:
    for state in (7, 8, 11):
        device = Device().reach(state)
        assert device.do(TERMINATE).error is None
        assert device.feature.deadline is None
        assert device.wait(1000.0) == []
        assert (device.feature.state, device.installed) == (14, [])


# -- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 200, 499])
def test_a_changed_image_is_not_valid(position: int) -> None:
    device = Device().reach(2)
    changed = bytearray(IMAGE)
    changed[position] ^= 1
    for number in range(3):
        device.do(block(number, bytes(changed)))
    device.do(COMPLETION)
    device.do(VALIDATE)
    device.wait(2.0)
    (notice,) = device.wait(28.0)
    assert (hexed(notice.outcome), notice.outcome.busy) == ("850456312E320A", False)
    assert device.examined == []
    assert device.do(ACTIVATE, 0x23).error == 0x10
    assert device.do(VALIDATE).busy
    device.wait(30.0)
    device.wait(30.0)
    assert device.tell_state() == 10


def test_a_wrong_mac_is_found() -> None:
    device = Device()
    device.do(preparation(mac=ImageMac(4, 0x18, 0, MAC[:-1] + b"\0")), 0x23)
    device.transfer(0, 1, 2)
    device.do(COMPLETION)
    device.do(VALIDATE)
    device.wait(30.0)
    device.wait(30.0)
    assert device.tell_state() == 10


def test_the_maker_may_refuse_an_image() -> None:
    device = Device()
    device.passes = False
    device.reach(8)
    device.wait(28.0)
    assert device.examined == [(IMAGE, NAME)]
    assert device.tell_state() == 10


def test_a_key_that_was_renewed_meanwhile_proves_nothing() -> None:
    device = Device().reach(8)
    device.memory.keys[0].active = False
    device.memory.keys.append(KeySlot(0x18, 1, KEY, active=True))
    device.wait(28.0)
    assert device.tell_state() == 10


def test_another_command_takes_the_place_of_the_answer() -> None:
    device = Device().reach(7)
    assert device.tell_state() == 7
    (start,) = device.wait(2.0)
    assert (start.outcome.payload, start.outcome.busy) == (None, False)
    assert [event.value for event in start.outcome.events] == [8]


def test_a_late_driver_gets_every_step() -> None:
    device = Device(replace(SETTINGS, start_seconds=0.0, validation_seconds=0.0, installation_seconds=0.0)).reach(5)
    device.do(VALIDATE)
    assert [notice.outcome.events[0].value for notice in device.wait(0.0)] == [8, 9]
    device.do(ACTIVATE, 0x23)
    assert [notice.outcome.events[0].value for notice in device.wait(0.0)] == [12]


# -- activation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "delay"),
    [
        (IMMEDIATE, 0.0),
        (target_time(0), 0.0),
        (target_time(3600), 3600.0),
        (target_time(0x7FFFFFFF), float(0x7FFFFFFF)),
        (INVALID_TIME, None),
        (bytes(5), None),
        (b"\0\0\0\0\x31", None),
        (b"", None),
    ],
)
def test_date_and_time_of_an_activation(time: bytes, delay: float | None) -> None:
    assert activation_delay(time) == delay


def test_a_time_that_is_not_understood() -> None:
    device = Device().reach(9)
    assert device.do("060456312E320000008030", 0x23) == Outcome(error=0x15)
    assert device.feature.state == 9


def test_activation_at_a_time() -> None:
    device = Device().reach(9)
    outcome = device.do("060456312E32100E000030", 0x23)
    assert (hexed(outcome), outcome.busy) == ("860456312E32", False)
    begun = device.now
    assert (device.feature.state, device.feature.deadline) == (11, begun + 3600.0)
    assert device.wait(3599.0) == []
    (start,) = device.wait(1.0)
    assert start == Notice(Outcome())
    assert device.feature.deadline == begun + 3660.0
    (done,) = device.wait(60.0)
    assert (done.outcome.payload, [event.value for event in done.outcome.events]) == (None, [12])
    assert device.installed == [(IMAGE, NAME)]


def test_an_installation_that_fails() -> None:
    device = Device(works=False).reach(11)
    device.wait(60.0)
    assert device.tell_state() == 13
    assert (device.memory.image.installed, len(device.installed)) == (b"", 1)
    assert device.do(ACTIVATE, 0x23).error == 0x10


def test_a_new_program_that_starts_idle() -> None:
    device = Device(replace(SETTINGS, idle_after_installation=True)).reach(11)
    device.wait(60.0)
    assert (device.tell_state(), device.memory.image.installed) == (15, NAME)


# -- retention ------------------------------------------------------------------------------------


def test_a_forgotten_transfer_is_given_up() -> None:
    device = Device(replace(SETTINGS, retention_seconds=86400.0)).reach(3)
    assert device.wait(86399.0) == []
    assert device.tell_state() == 3
    (notice,) = device.wait(1.0)
    assert (notice.outcome.payload, notice.outcome.events[0].value) == (None, 15)
    assert device.do(block(1)).error == 0x10


# -- rehearsal ------------------------------------------------------------------------------------


def test_a_rehearsal_follows_the_commands_of_one_message() -> None:
    device = Device().reach(5)
    before = msgspec.msgpack.encode(device.memory)
    assert device.do(VALIDATE, rehearse=True).busy
    assert device.do(VALIDATE, rehearse=True).error == 0x10
    assert device.do(VALIDATE, rehearse=True).busy, "a refusal ends the message"
    device.now += 1.0
    assert device.do(VALIDATE, rehearse=True).busy, "another message"
    assert msgspec.msgpack.encode(device.memory) == before
    assert device.feature.deadline is None
    assert device.do(VALIDATE).busy
    assert device.do(VALIDATE, rehearse=True).error == 0x10


def test_a_rehearsed_installation_installs_nothing() -> None:
    device = Device().reach(9)
    assert device.do(ACTIVATE, 0x23, rehearse=True).busy
    assert device.wait(1000.0) == []
    assert (device.feature.state, device.installed) == (9, [])


# -- issue 4.3.3 ----------------------------------------------------------------------------------


def test_completion_may_be_skipped_in_issue_4_3_3() -> None:
    device = Device(replace(SETTINGS, oms_issue="4.3.3")).reach(2)
    device.transfer(0, 1)
    assert device.do(VALIDATE) == Outcome(error=0x10)
    assert device.feature.state == 3
    device.transfer(2)
    outcome = device.do(VALIDATE)
    assert (outcome.busy, [event.value for event in outcome.events]) == (True, [5, 7])
    device.wait(2.0)
    device.wait(28.0)
    assert device.tell_state() == 9
    newer = Device().reach(3)
    assert newer.do(VALIDATE) == Outcome(error=0x10)
    assert newer.feature.state == 3


# -- power cuts -----------------------------------------------------------------------------------


def test_power_cuts_at_every_step() -> None:
    device = Device()
    device.prepare()
    device.cut()
    for number in range(3):
        device.transfer(number)
        device.cut()
        assert device.feature.state == 3
    device.do(COMPLETION)
    device.cut()
    assert device.feature.state == 5
    device.do(VALIDATE)
    device.cut()
    assert (device.feature.state, device.feature.deadline) == (7, device.now + 2.0)
    (start,) = device.wait(2.0)
    assert start.outcome.payload is None, "nobody waits for an answer"
    device.now += 20.0
    device.cut()
    assert (device.feature.state, device.feature.deadline) == (7, device.now + 2.0)
    (again,) = device.wait(2.0)
    assert [event.value for event in again.outcome.events] == [7, 8], "what happened at power-up is told late"
    device.wait(28.0)
    device.cut()
    assert device.tell_state() == 9
    assert device.examined == [(IMAGE, NAME)]
    device.do(ACTIVATE, 0x23)
    device.wait(30.0)
    device.cut()
    assert (device.feature.state, device.feature.deadline, device.installed) == (11, device.now + 60.0, [])
    device.wait(60.0)
    assert device.installed == [(IMAGE, NAME)]
    device.cut()
    assert device.wait(1000.0) == []
    assert (device.tell_state(), len(device.installed)) == (12, 1)


def test_an_installation_is_begun_once_more_and_not_for_ever() -> None:
    device = Device().reach(11)
    device.wait(30.0)
    device.cut()
    device.wait(30.0)
    device.cut()
    (failed,) = device.wait(60.0)
    assert [event.value for event in failed.outcome.events] == [13]
    assert (device.tell_state(), device.installed) == (13, [])


def test_a_power_cut_before_the_time_of_the_activation() -> None:
    device = Device().reach(9)
    device.do("060456312E32100E000030", 0x23)
    due = device.feature.deadline
    device.wait(100.0)
    device.cut()
    assert (device.feature.state, device.feature.deadline) == (11, due)
    assert device.wait(7200.0) == [Notice(Outcome())]
    device.wait(60.0)
    assert device.installed == [(IMAGE, NAME)]


def test_a_power_cut_in_rest() -> None:
    device = Device(replace(SETTINGS, retention_seconds=90000.0)).reach(9)
    due = device.feature.deadline
    device.now += 80000.0
    device.cut()
    assert (device.feature.state, device.feature.deadline) == (9, due)


@pytest.mark.parametrize(("fill", "error"), [(b"\x2f", None), (b"\x2f" * 15, None), (b"\x2f" * 16, 0x15), (b"\x2f\x00", 0x15)])
def test_the_filler_of_mode_5_behind_a_block_is_no_data(fill: bytes, error: int | None) -> None:
    device = Device().reach(2)
    assert device.do(block(0) + fill).error == error
    device.transfer(1, 2)
    answer = image_transfer.decode(device.do(COMPLETION).payload or b"")
    assert answer.lost == (() if error is None else (0,))
