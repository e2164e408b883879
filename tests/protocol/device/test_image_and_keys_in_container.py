"""Firmware update and key renewal through the application of a device: containers, status bits, late answers, replays."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from openmetering.codec.apl import image_transfer, security_transfer
from openmetering.codec.apl.image_transfer import ImageMac, ImageMessage
from openmetering.codec.apl.security_transfer import (
    IMMEDIATE,
    INVALID_TIME,
    CombinedActivation,
    KeyTransfer,
    SecuredData,
    SecurityTransfer,
    SitpBlock,
    StatusResponse,
    target_time,
)
from openmetering.protocol.device.application import Application
from openmetering.protocol.device.contents import Contents, FixedReadings
from openmetering.protocol.device.image import ImageFeature
from openmetering.protocol.device.image_machine import ImageSettings
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.device.keys import KeyFeature
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.security import BlockCipher, asp01_wrap, asp03_mac, asp10_mac

FIRMWARE, IMAGE_KEY, WRAPPER = bytes([0x23]) * 16, bytes([0x18]) * 16, bytes([0x14]) * 16
IMAGE = bytes((3 * position) % 256 for position in range(450))
NAME = b"V2"
OK, BUSY, ERROR = 0, 1, 2


class Device:
    """An application with both functions. ``cut`` takes the power away between any two steps."""

    def __init__(self) -> None:
        self.memory = DeviceMemory(
            keys=[
                KeySlot(0x23, 0, FIRMWARE, active=True),
                KeySlot(0x18, 0, IMAGE_KEY, active=True),
                KeySlot(0x14, 0, WRAPPER, active=True),
            ]
        )
        self.now = 100.0
        self.counter = 0
        self.installed: list[bytes] = []
        self.events: list[DeviceEvent] = []
        self.start()

    def start(self) -> None:
        settings = ImageSettings(start_seconds=2.0, validation_seconds=30.0, installation_seconds=60.0)
        features = [ImageFeature(self.memory, self._install, settings), KeyFeature(self.memory)]
        self.application = Application(self.memory, Contents(FixedReadings(), features, self.memory))

    def _install(self, image: bytes, identifier: bytes) -> bool:
        self.installed.append(image)
        return True

    def cut(self) -> None:
        self.memory = msgspec.msgpack.decode(msgspec.msgpack.encode(self.memory), type=DeviceMemory)
        self.start()
        self.application.power_up(self.now)

    def plain(self, message: ImageMessage) -> int:
        applied = self.application.take("image", message.encode(), self.now)
        self.events += applied.events
        return applied.status

    def blocks(self, *blocks: SitpBlock) -> int:
        applied = self.application.take("sitp", SecurityTransfer(blocks).encode(), self.now)
        self.events += applied.events
        return applied.status

    def prove(
        self, message: ImageMessage, time: bytes = IMMEDIATE, *, key: bytes = FIRMWARE, version: int = 0, bid: int = 0
    ) -> SitpBlock:
        """ASP10 with key 23h and the next key counter."""
        self.counter += 1
        apdu = message.encode()
        mac = asp10_mac(BlockCipher(key), self.counter, time, 6, apdu)
        return SitpBlock(bid, 0x20, 0x32, bytes((0x23, version)), SecuredData(time, self.counter, 6, apdu, mac).encode())

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.events += self.application.timeout(self.now)

    def answer(self) -> ImageMessage:
        """The answer to an image command, plain or proven."""
        answer = self.application.answer(self.now)
        octets = answer.payload or b""
        if answer.protocol == "sitp":
            (block,) = security_transfer.decode(octets).blocks
            assert (block.control, block.structure) == (0xA0, 0x32)
            octets = SecuredData.decode(block.content).apdu
        else:
            assert answer.protocol == "image"
        return image_transfer.decode(octets)

    def status_octet(self) -> int:
        (block,) = security_transfer.decode(self.application.answer(self.now).payload or b"").blocks
        structure = block.read()
        assert isinstance(structure, StatusResponse)
        return structure.status

    def error(self) -> int:
        answer = self.application.answer(self.now)
        assert (answer.protocol, answer.bits) == ("application-error", ERROR)
        return (answer.payload or b"")[0]

    def state(self) -> int:
        assert self.plain(ImageMessage(4, NAME)) == OK
        state = self.answer().state
        assert state is not None
        return state


def preparation() -> ImageMessage:
    mac = asp03_mac(BlockCipher(IMAGE_KEY), IMAGE)
    return ImageMessage(0, NAME, len(IMAGE), 200, ImageMac(4, 0x18, 0, mac))


def transfer(number: int) -> ImageMessage:
    return ImageMessage(2, NAME, block=number, data=IMAGE[200 * number : 200 * number + 200])


def test_an_update_through_the_application() -> None:
    device = Device()
    assert device.blocks(device.prove(preparation())) == OK
    assert device.answer() == ImageMessage(0x80, NAME)
    assert [device.plain(transfer(number)) for number in (2, 0)] == [OK, OK]
    assert device.plain(ImageMessage(3, NAME)) == OK
    assert (device.answer().lost_total, device.answer().lost) == (1, (1,))
    assert device.plain(ImageMessage(5, NAME)) == ERROR
    assert device.error() == 0x10
    device.plain(transfer(1))
    assert device.plain(ImageMessage(3, NAME)) == OK
    assert device.plain(ImageMessage(5, NAME)) == BUSY
    assert (device.answer().state, device.application.bits) == (7, BUSY)
    device.wait(2.0)
    assert (device.answer().state, device.application.bits) == (8, BUSY)
    device.wait(28.0)
    assert (device.answer().state, device.application.bits) == (9, OK)
    activation = ImageMessage(6, NAME, time=IMMEDIATE)
    assert device.blocks(device.prove(activation, INVALID_TIME)) == BUSY
    assert device.answer() == ImageMessage(0x86, NAME)
    device.wait(60.0)
    assert (device.answer(), device.application.bits) == (ImageMessage(0x86, NAME), OK)
    assert (device.state(), device.installed) == (12, [IMAGE])
    states = [event.value for event in device.events if event.name == "image"]
    assert states == [2, 3, 6, 3, 5, 7, 8, 9, 11, 12]
    assert [event.value for event in device.events if event.name == "executed"] == [1, 2]


def test_refusals_through_the_container() -> None:
    device = Device()
    assert device.plain(preparation()) == ERROR
    assert device.error() == 0x22
    assert device.blocks(device.prove(preparation(), target_time(60))) == ERROR
    assert device.status_octet() == 0x23
    assert device.blocks(device.prove(ImageMessage(6, NAME, time=IMMEDIATE), INVALID_TIME)) == ERROR
    assert device.error() == 0x10
    assert device.blocks(device.prove(preparation(), key=WRAPPER)) == ERROR
    assert device.error() == 0x20
    assert device.blocks(device.prove(preparation(), version=1)) == ERROR
    assert device.status_octet() == 0x19
    assert device.state() == 15


def test_a_replayed_preparation_does_not_throw_the_blocks_away() -> None:
    device = Device()
    block = device.prove(preparation())
    device.blocks(block)
    device.plain(transfer(0))
    device.cut()
    assert device.blocks(block) == ERROR
    assert device.error() == 0x20
    assert device.state() == 3
    assert list(device.memory.image.blocks) == [0]


def test_a_message_with_a_wrong_second_block_changes_nothing() -> None:
    """T_IT and then T_TR: the second does not follow the first, though it would follow the present state."""
    device = Device()
    device.blocks(device.prove(preparation()))
    device.plain(transfer(0))
    before = msgspec.msgpack.encode(device.memory)
    first = device.prove(ImageMessage(7, NAME, additional=b"\x02"))
    second = device.prove(ImageMessage(7, NAME, additional=b"\x01"), bid=1)
    assert device.blocks(first, second) == ERROR
    assert device.error() == 0x10
    assert msgspec.msgpack.encode(device.memory) == before


def wrapped(control: int, structure: int, content: bytes) -> SitpBlock:
    return SitpBlock(0, control, structure, b"\x14\x00", asp01_wrap(BlockCipher(WRAPPER), content))


def test_a_renewed_key_proves_at_once_and_the_old_one_no_more() -> None:
    device = Device()
    new = bytes(range(16))
    recorded = device.prove(preparation())
    device.blocks(device.prove(preparation()))
    assert device.blocks(wrapped(0, 1, KeyTransfer(INVALID_TIME, new, 0x23, 1).encode())) == OK
    assert device.status_octet() == 0
    assert device.blocks(device.prove(preparation(), key=new, version=1)) == ERROR
    assert device.status_octet() == 0x19, "not active yet"
    assert device.blocks(wrapped(4, 3, CombinedActivation(IMMEDIATE, 0x23, 1, 0x23, 0, 1).encode())) == OK
    device.cut()
    assert device.blocks(recorded) == ERROR
    assert device.status_octet() == 0x19
    device.counter = 0
    assert device.blocks(device.prove(preparation(), key=new, version=1)) == OK, "the key counter starts again"
    assert device.answer() == ImageMessage(0x80, NAME)


STEPS: list[tuple[Callable[[Device], object], int]] = [
    (lambda device: device.blocks(device.prove(preparation())), 2),
    (lambda device: device.plain(transfer(0)), 3),
    (lambda device: device.plain(transfer(2)), 3),
    (lambda device: device.plain(ImageMessage(3, NAME)), 6),
    (lambda device: device.plain(transfer(1)), 3),
    (lambda device: device.plain(ImageMessage(3, NAME)), 5),
    (lambda device: device.plain(ImageMessage(5, NAME)), 7),
    (lambda device: device.wait(2.0), 8),
    (lambda device: device.wait(28.0), 9),
    (lambda device: device.blocks(device.prove(ImageMessage(6, NAME, time=target_time(100)), INVALID_TIME)), 11),
    (lambda device: device.wait(100.0), 11),
    (lambda device: device.wait(60.0), 12),
]


@pytest.mark.parametrize("cut", range(len(STEPS)))
def test_a_power_cut_after_each_step_ends_the_same(cut: int) -> None:
    device = Device()
    for number, (step, state) in enumerate(STEPS):
        step(device)
        if number == cut:
            device.cut()
        if (number, cut) == (7, 7):
            device.wait(2.0)  # the validation starts again
        assert device.state() == state
    assert (device.installed, device.memory.image.installed) == ([IMAGE], NAME)
    executed = [event.value for event in device.events if event.name == "executed"]
    assert executed == [1, 2]
