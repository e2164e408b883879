"""UC-08 in a device: every status, every class of keys, counters, repetitions, power cuts, published octets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl import security_transfer
from openmetering.codec.apl.security_transfer import (
    IMMEDIATE,
    INVALID_TIME,
    Activation,
    CombinedActivation,
    KeyTransfer,
    SecurityTransfer,
    SitpBlock,
    target_time,
)
from openmetering.protocol.device.interface import DeviceEvent, Feature, Instruction, Outcome
from openmetering.protocol.device.keys import WRAPPED_BY, KeyFeature, KeySettings
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.protocol.device.sitp import Carried, carry_out
from openmetering.security import BlockCipher, asp01_wrap, clear_wrap
from openmetering.tables import KEY_IDS

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("OPENMETERING_CORPUS", ROOT / ".." / "shared")) / "vectors" / "security.json"

W10, W12, W14 = (bytes([wrapper]) * 16 for wrapper in (0x10, 0x12, 0x14))
WRAPPERS = {0x10: W10, 0x12: W12, 0x14: W14}
MK0, NEW, OTHER = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
NO_HEADER = b"\xff\xff"
NOW = 500.0
OLD_ISSUE = KeySettings(oms_issue="4.3.3")


def device_memory() -> DeviceMemory:
    """MK0, the wrappers, and key 20h in version 4; counters as after some use."""
    slots = [KeySlot(wrapper, 2, octets, active=True) for wrapper, octets in WRAPPERS.items()]
    return DeviceMemory(
        keys=[KeySlot(0x20, 4, bytes(16), active=True, counter=15), KeySlot(0, 0, MK0, active=True, counter=2800), *slots]
    )


class Device:
    """The function with its memory. ``cut`` takes the power away."""

    def __init__(self, settings: KeySettings | None = None, memory: DeviceMemory | None = None) -> None:
        self.memory = memory or device_memory()
        self.settings = settings
        self.feature = KeyFeature(self.memory, settings)

    def cut(self) -> None:
        self.memory = msgspec.msgpack.decode(msgspec.msgpack.encode(self.memory), type=DeviceMemory)
        self.feature = KeyFeature(self.memory, self.settings)
        self.feature.power_up(NOW)

    def do(self, block: SitpBlock, *, rehearse: bool = False, now: float = NOW) -> Outcome:
        outcome = self.feature.execute(Instruction("sitp-block", block.encode(), rehearse=rehearse), now)
        assert outcome is not None
        assert outcome.error is None
        return outcome

    def status(self, block: SitpBlock, **options: bool) -> int:
        outcome = self.do(block, **options)
        assert outcome.payload is None
        assert outcome.status is not None
        return outcome.status

    def message(self, *blocks: SitpBlock) -> Carried:
        """Blocks through the container of the device."""

        def dispatch(instruction: Instruction) -> tuple[Feature, Outcome] | None:
            outcome = self.feature.execute(instruction, NOW)
            return None if outcome is None else (self.feature, outcome)

        return carry_out(SecurityTransfer(blocks).encode(), self.memory, NOW, dispatch)

    def answer(self, block: SitpBlock) -> str:
        return self.message(block).payload.hex().upper()

    def slot(self, key_id: int, version: int) -> KeySlot:
        slot = self.memory.key(key_id, version)
        assert slot is not None
        return slot

    def active(self) -> dict[int, int]:
        return {slot.key_id: slot.version for slot in self.memory.keys if slot.active}


def wrapped(
    control: int, structure: int, content: bytes, wrapper: int, version: int = 2, key: bytes | None = None, bid: int = 0
) -> SitpBlock:
    cipher = BlockCipher(WRAPPERS.get(wrapper, bytes(16)) if key is None else key)
    return SitpBlock(bid, control, structure, bytes((wrapper, version)), asp01_wrap(cipher, content))


def transfer(
    key_id: int, version: int, key: bytes = NEW, wrapper: int = 0x14, time: bytes = INVALID_TIME, bid: int = 0
) -> SitpBlock:
    return wrapped(0x00, 0x01, KeyTransfer(time, key, key_id, version).encode(), wrapper, bid=bid)


def activate(
    key_id: int,
    version: int,
    old: int,
    wrapper: int = 0x14,
    option: int = 1,
    time: bytes = IMMEDIATE,
    old_id: int | None = None,
    bid: int = 0,
) -> SitpBlock:
    change = CombinedActivation(time, key_id, version, key_id if old_id is None else old_id, old, option)
    return wrapped(0x04, 0x03, change.encode(), wrapper, bid=bid)


def destroy(key_id: int, version: int, wrapper: int = 0x14, time: bytes = IMMEDIATE, bid: int = 0) -> SitpBlock:
    return wrapped(0x03, 0x02, Activation(time, key_id, version).encode(), wrapper, bid=bid)


def listing(control: int = 0x08, header: bytes = NO_HEADER) -> SitpBlock:
    return SitpBlock(0, control, 0x00, header, b"")


# -- a renewal, octet for octet -------------------------------------------------------------------


def vector(name: str) -> SitpBlock:
    for entry in json.loads(SHARED.read_text())["vectors"]:
        if entry["name"].startswith(name):
            return security_transfer.decode(bytes.fromhex(entry["hex"])).blocks[0]
    raise LookupError(name)


def renewal(first: SitpBlock, second: SitpBlock) -> None:
    """The computed blocks: master key version 1 under wrapper 12h version 0."""
    wrapper = KeySlot(0x12, 0, bytes.fromhex("00112233445566778899AABBCCDDEEFF"), active=True)
    device = Device(memory=DeviceMemory(keys=[KeySlot(0, 0, MK0, active=True, counter=2802), wrapper]))
    feature: Feature = device.feature
    assert (feature.deadline, feature.timeout(NOW), feature.records(0, NOW), feature.status(NOW)) == (None, [], (), 0)
    assert device.answer(first) == "070000800022120000"
    assert device.active() == {0: 0, 0x12: 0}
    assert device.slot(0, 1).octets.hex().upper() == "F0E1D2C3B4A5968778695A4B3C2D1E0F"
    carried = device.message(second)
    assert carried.payload.hex().upper() == "070000840022120000"
    assert carried.events == (DeviceEvent("key", "key 00h version 1 activated", 0),)
    assert device.active() == {0: 1, 0x12: 0}
    assert (device.slot(0, 1).counter, device.slot(0, 0).counter) == (0, 2802), "CM starts again; MK0 keeps its own"
    assert device.answer(listing()) == "0A0000880021FFFF00011200"
    assert device.answer(listing(9)) == "120000890023FFFF000100000000120000000000"


def test_renewal_of_the_master_key() -> None:
    first = "26000000000112004D57C4E3A3C0CD78FE974D9D173C4825C9A37D13F44428DFB2D93FE3EFDE6651"
    second = "1E00000400031200992EC0F8E76D4260DC2F3A6756963650F26CD511A049D040"
    renewal(*(security_transfer.decode(bytes.fromhex(block)).blocks[0] for block in (first, second)))


@pytest.mark.corpus
@pytest.mark.skipif(not SHARED.is_file(), reason="shared vectors are absent, set OPENMETERING_CORPUS")
def test_renewal_with_the_shared_vectors() -> None:
    renewal(vector("SITP ASP01 transfer master key"), vector("SITP ASP01 combined activation"))


def test_renewal_of_an_application_key() -> None:
    device = Device()
    told = DeviceEvent("key", "key 20h version 5 transferred", 0x20)
    assert device.do(transfer(0x20, 5)) == Outcome(status=0, events=(told,))
    assert device.status(activate(0x20, 5, 4)) == 0
    assert (device.slot(0x20, 5).active, device.slot(0x20, 5).counter) == (True, 0)
    old = device.slot(0x20, 4)
    assert (old.active, old.octets, old.counter) == (False, bytes(16), 15), "stored until it is destroyed or overwritten"


def test_answers_through_the_container() -> None:
    """BID and recipient are copied, the DSH too except for lists, which have FF FF."""
    device = Device()
    assert device.answer(SitpBlock(3, 0x08, 0x00, b"\x14\x02", b"", 7)) == "10000388" + "0721FFFF" + "00001002120214022004"
    refused = device.message(SitpBlock(3, 0x05, 0x02, b"\x14\x02", b"", 7))
    assert (refused.payload.hex().upper(), refused.refused) == ("070003850722140211", True)


# -- what is not for this function ----------------------------------------------------------------


def test_other_instructions() -> None:
    feature = Device().feature
    assert feature.execute(Instruction("m-bus", listing().encode()), NOW) is None
    assert feature.execute(Instruction("sitp-block", SitpBlock(0, 0x20, 0x32, b"\x20\x04", bytes(20)).encode()), NOW) is None


@pytest.mark.parametrize("payload", ["", "00", "0000", "0500000800FFFF", "060000080000FFFF060100080000FFFF"])
def test_payloads_that_are_no_single_block(payload: str) -> None:
    outcome = Device().feature.execute(Instruction("sitp-block", bytes.fromhex(payload)), NOW)
    assert outcome == Outcome(error=0x17)


# -- status 11h: command --------------------------------------------------------------------------


@pytest.mark.parametrize("issue", ["4.3.3", "5.0.1"])
@pytest.mark.parametrize("control", sorted({*range(256)} - {0x00, 0x03, 0x04, 0x08, 0x09, 0x20}))
def test_unknown_commands(control: int, issue: str) -> None:
    device = Device(KeySettings(oms_issue=issue))
    for structure in (0x00, 0x01, 0x02, 0x03):
        assert device.status(SitpBlock(0, control, structure, b"\x14\x02", bytes(24))) == 0x11


@pytest.mark.parametrize(("control", "structure"), [(0x00, 0x01), (0x03, 0x02), (0x04, 0x03), (0x08, 0x00), (0x09, 0x00)])
def test_structures_that_do_not_belong_to_the_command(control: int, structure: int) -> None:
    device = Device(OLD_ISSUE)
    for other in {*range(0x40)} - {structure}:
        assert device.status(SitpBlock(0, control, other, b"\x14\x02", bytes(24))) == 0x11


def test_destroy_is_unknown_in_issue_5_0_1() -> None:
    device = Device()
    device.do(transfer(0x20, 5))
    assert device.status(destroy(0x20, 5)) == 0x11
    assert device.memory.key(0x20, 5) is not None


# -- status 19h: wrapper --------------------------------------------------------------------------


def with_wrapper(block: SitpBlock, header: bytes, content: bytes | None = None) -> SitpBlock:
    return msgspec.structs.replace(block, header=header, content=block.content if content is None else content)


BLOCKS = {"transfer": transfer(0x20, 5), "activate": activate(0x20, 5, 4), "destroy": destroy(0x20, 3)}


@pytest.mark.parametrize("name", BLOCKS)
def test_wrappers_that_do_not_open(name: str) -> None:
    device = Device(OLD_ISSUE)
    device.memory.keys.append(KeySlot(0x20, 3, OTHER))
    device.memory.keys.append(KeySlot(0x20, 5, OTHER))
    device.memory.keys.append(KeySlot(0x14, 3, W14))
    before = msgspec.msgpack.encode(device.memory)
    block = BLOCKS[name]
    last = block.content[:-1] + bytes((block.content[-1] ^ 1,))
    wrong = [
        with_wrapper(block, b"\x14\x01"),  # another version
        with_wrapper(block, b"\x14\x03"),  # transferred, not active
        with_wrapper(block, b"\x14\xff"),
        with_wrapper(block, b"\x12\x02"),  # another wrapper
        with_wrapper(block, b"\x11\x02"),
        with_wrapper(block, b"\x20\x04", asp01_wrap(BlockCipher(bytes(16)), bytes(23))),  # a key that is no wrapper
        with_wrapper(block, NO_HEADER, clear_wrap(bytes(23))),  # in clear, as inside TLS
        with_wrapper(block, b"\x14\x02", last),
        with_wrapper(block, b"\x14\x02", block.content[:-8]),
        with_wrapper(block, b"\x14\x02", b""),
    ]
    assert [device.status(each) for each in wrong] == [0x19] * len(wrong)
    assert msgspec.msgpack.encode(device.memory) == before


def test_a_wrapper_that_was_replaced_opens_nothing() -> None:
    device = Device()
    assert device.status(transfer(0x14, 3, NEW, wrapper=0x10)) == 0
    assert device.status(activate(0x14, 3, 2, wrapper=0x10)) == 0
    assert device.status(transfer(0x20, 5)) == 0x19
    assert device.status(wrapped(0, 1, KeyTransfer(INVALID_TIME, OTHER, 0x20, 5).encode(), 0x14, 3, NEW)) == 0


# -- status 21h: key ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_each_wrapper_wraps_its_class_and_no_other(wrapper: int) -> None:
    """Table 45, as restated in ``key_ids.csv``; the root wrapper key also wraps itself."""
    device = Device(memory=DeviceMemory(keys=[KeySlot(each, 2, octets, active=True) for each, octets in WRAPPERS.items()]))
    for key_id in range(256):
        fits = KEY_IDS[key_id].wrapper == wrapper or (key_id == wrapper == 0x10)
        assert (key_id in WRAPPED_BY[wrapper]) is fits
        assert device.status(transfer(key_id, 3, wrapper=wrapper)) == (0 if fits else 0x21), hex(key_id)
        assert device.status(activate(key_id, 3, device.active().get(key_id, 0xFF), wrapper=wrapper)) == (0 if fits else 0x21)
        if key_id == wrapper:
            device = Device(memory=DeviceMemory(keys=[KeySlot(wrapper, 2, WRAPPERS[wrapper], active=True)]))


def test_keys_of_the_maker_may_be_left_to_the_maker() -> None:
    device = Device(KeySettings(manufacturer_keys=False))
    assert [device.status(transfer(key_id, 1, wrapper=0x12)) for key_id in range(0x01, 0x08)] == [0x21] * 7
    assert device.status(transfer(0x08, 1, wrapper=0x12)) == 0
    assert Device().status(transfer(0x07, 1, wrapper=0x12)) == 0


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (transfer(0x20, 5), 0),
        (transfer(0x20, 0xFE), 0),
        (transfer(0x20, 0xFF), 0x21),  # no version
        (transfer(0x20, 4), 0x21),  # the active version
        (transfer(0x20, 4, bytes(16)), 0x21),  # the same, with the same key
        (transfer(0x20, 3), 0x21),  # older
        (transfer(0x21, 0), 0),  # no key yet
        (transfer(0x00, 0, wrapper=0x12), 0x21),
        (transfer(0x00, 1, wrapper=0x12), 0),
        (transfer(0x20, 5, time=IMMEDIATE), 0x23),
        (transfer(0x20, 5, time=target_time(60)), 0x23),
        (wrapped(0x00, 0x01, bytes(22), 0x14), 0x21),
        (wrapped(0x00, 0x01, bytes(24), 0x14), 0x21),
        (wrapped(0x00, 0x01, CombinedActivation(IMMEDIATE, 0x20, 5, 0x20, 4, 1).encode(), 0x14), 0x21),
    ],
)
def test_transfers(block: SitpBlock, status: int) -> None:
    device = Device()
    before, active = msgspec.msgpack.encode(device.memory), device.active()
    assert device.status(block) == status
    assert device.active() == active, "a transfer activates nothing"
    assert (msgspec.msgpack.encode(device.memory) == before) is (status != 0)


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (activate(0x20, 5, 4), 0),
        (activate(0x20, 5, 4, option=0), 0),
        (activate(0x20, 5, 4, option=2), 0x21),
        (activate(0x20, 6, 4), 0x21),  # not stored
        (activate(0x20, 3, 4), 0x21),  # older
        (activate(0x20, 5, 3), 0x21),  # stored, but not the active one
        (activate(0x20, 5, 0xFF), 0x21),
        (activate(0x20, 5, 5), 0x21),
        (activate(0x20, 4, 4), 0x21),
        (activate(0x20, 4, 9), 0x21),  # active, but no such key to replace
        (activate(0x20, 0xFF, 4), 0x21),
        (activate(0x20, 5, 4, old_id=0x21), 0x21),
        (activate(0x21, 0, 0xFF), 0),  # the first key of this KeyID
        (activate(0x21, 0, 4), 0x21),
        (activate(0x00, 1, 0, wrapper=0x12), 0),
        (activate(0x00, 1, 0, wrapper=0x12, option=0), 0x21),  # CM must start again
        (activate(0x20, 5, 4, time=INVALID_TIME), 0x23),
        (activate(0x20, 5, 4, time=target_time(30)), 0x23),
        (wrapped(0x04, 0x03, bytes(9), 0x14), 0x21),
        (wrapped(0x04, 0x03, bytes(11), 0x14), 0x21),
    ],
)
def test_activations(block: SitpBlock, status: int) -> None:
    device = Device()
    device.memory.keys += [KeySlot(0x20, 5, NEW), KeySlot(0x20, 3, OTHER), KeySlot(0x21, 0, NEW), KeySlot(0, 1, NEW)]
    before = msgspec.msgpack.encode(device.memory)
    assert device.status(block) == status
    assert (msgspec.msgpack.encode(device.memory) == before) is (status != 0)
    actives = [slot.key_id for slot in device.memory.keys if slot.active]
    assert len(actives) == len(set(actives)), "one active version of each key"


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (destroy(0x20, 5), 0),
        (destroy(0x20, 3), 0),
        (destroy(0x20, 4), 0x21),  # active
        (destroy(0x20, 6), 0x21),  # not stored
        (destroy(0x20, 0xFF), 0x21),
        (destroy(0x20, 5, wrapper=0x12), 0x21),
        (destroy(0x00, 0, wrapper=0x12), 0x21),  # MK0
        (destroy(0x20, 5, time=INVALID_TIME), 0x23),
        (wrapped(0x03, 0x02, bytes(8), 0x14), 0x21),
    ],
)
def test_destroying(block: SitpBlock, status: int) -> None:
    device = Device(OLD_ISSUE)
    device.memory.keys += [KeySlot(0x20, 5, NEW), KeySlot(0x20, 3, OTHER), KeySlot(0, 1, NEW, active=True)]
    device.slot(0, 0).active = False
    count = len(device.memory.keys)
    outcome = device.do(block)
    assert outcome.status == status
    assert len(device.memory.keys) == count - (status == 0)
    if status == 0:
        assert outcome.events[0].detail.endswith("destroyed")
        assert device.status(block) == 0x21, "it is not there any more"


# -- counters -------------------------------------------------------------------------------------


def test_without_option_1_the_counter_goes_on() -> None:
    device = Device()
    device.do(transfer(0x20, 5))
    device.do(activate(0x20, 5, 4, option=0))
    assert device.slot(0x20, 5).counter == 15


def test_a_key_that_comes_back_keeps_its_counter() -> None:
    device = Device(KeySettings(refuse_older=False))
    device.do(transfer(0x20, 5))
    device.do(activate(0x20, 5, 4))
    device.slot(0x20, 5).counter = 3
    assert device.status(activate(0x20, 4, 5)) == 0
    assert device.slot(0x20, 4).counter == 15
    assert device.status(activate(0x20, 5, 4)) == 0
    assert device.slot(0x20, 5).counter == 3
    assert device.status(activate(0x20, 4, 5, option=0)) == 0
    assert device.slot(0x20, 4).counter == 15


def test_mk0_is_neither_overwritten_nor_forgotten() -> None:
    device = Device(KeySettings(refuse_older=False))
    device.do(transfer(0, 1, wrapper=0x12))
    device.do(activate(0, 1, 0, wrapper=0x12))
    assert device.status(transfer(0, 0, OTHER, wrapper=0x12)) == 0x21
    assert (device.slot(0, 0).octets, device.slot(0, 0).counter) == (MK0, 2800)
    assert device.status(activate(0, 0, 1, wrapper=0x12)) == 0
    assert device.slot(0, 0).counter == 2800


def test_a_transfer_overwrites_a_key_that_is_not_active() -> None:
    device = Device(KeySettings(refuse_older=False))
    device.memory.keys.append(KeySlot(0x20, 3, OTHER, counter=99))
    assert device.status(transfer(0x20, 3, OTHER)) == 0
    assert device.slot(0x20, 3).counter == 99, "the same key keeps its counter"
    assert device.status(transfer(0x20, 3, NEW)) == 0
    assert (device.slot(0x20, 3).octets, device.slot(0x20, 3).counter) == (NEW, 0)


# -- repetitions ----------------------------------------------------------------------------------


def test_an_activation_that_was_carried_out_succeeds_again_and_does_nothing() -> None:
    device = Device()
    device.do(transfer(0x20, 5))
    device.do(activate(0x20, 5, 4))
    device.slot(0x20, 5).counter = 7
    before = msgspec.msgpack.encode(device.memory)
    assert device.do(activate(0x20, 5, 4)) == Outcome(status=0)
    assert msgspec.msgpack.encode(device.memory) == before
    assert device.status(transfer(0x20, 5)) == 0x21
    assert device.status(activate(0x20, 5, 4, time=INVALID_TIME)) == 0x23
    assert device.status(activate(0x20, 5, 4, option=9)) == 0x21


def test_recorded_blocks_never_bring_back_an_old_key() -> None:
    device = Device()
    recorded = [transfer(0x20, 5), activate(0x20, 5, 4), transfer(0x20, 6, OTHER), activate(0x20, 6, 5)]
    for block in recorded:
        assert device.status(block) == 0
    device.slot(0x20, 6).counter = 100
    before = msgspec.msgpack.encode(device.memory)
    assert [device.status(block) for block in recorded] == [0x21, 0x21, 0x21, 0x00]
    assert msgspec.msgpack.encode(device.memory) == before


@given(st.lists(st.tuples(st.sampled_from(["transfer", "activate"]), st.integers(0, 8), st.integers(0, 8)), max_size=30))
def test_any_order_of_blocks_keeps_the_rules(steps: list[tuple[str, int, int]]) -> None:
    """One active version, never an older one, no counter of a key in use goes back."""
    device = Device()
    key, highest = {4: bytes(16)}, 4
    for name, version, old in steps:
        octets = bytes([version, old]) * 8
        block = transfer(0x20, version, octets) if name == "transfer" else activate(0x20, version, old)
        status = device.status(block)
        assert status in (0, 0x21)
        actives = [slot for slot in device.memory.keys if slot.key_id == 0x20 and slot.active]
        assert len(actives) == 1
        assert actives[0].version >= highest
        if name == "transfer" and status == 0:
            assert version > highest
            key[version] = octets
        highest = actives[0].version
        assert actives[0].octets == key[highest]
        device.cut()
        device.slot(0x20, highest).counter += 1
    assert device.slot(0x20, 4).counter >= 15


# -- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "content"),
    [
        (0x08, "0000 1002 1202 1402 2004"),
        (0x09, "0000F00A0000 100200000000 120200000000 140200000000 20040F000000"),
    ],
)
def test_lists_of_active_keys(control: int, content: str) -> None:
    device = Device()
    device.do(transfer(0x20, 5))
    for header in (NO_HEADER, b"\x14\x02", b"\x99\x99"):
        assert device.do(listing(control, header)) == Outcome(payload=bytes.fromhex(content))


@pytest.mark.parametrize("control", [0x08, 0x09])
def test_lists_name_a_wrapper_in_issue_4_3_3(control: int) -> None:
    device = Device(OLD_ISSUE)
    device.memory.keys.append(KeySlot(0x14, 3, NEW))
    for header in (b"\x10\x02", b"\x12\x02", b"\x14\x02"):
        assert device.do(listing(control, header)).payload is not None
    for header in (NO_HEADER, b"\x14\x03", b"\x14\x01", b"\x20\x04", b"\x00\x00"):
        assert device.status(listing(control, header)) == 0x19


# -- one transaction ------------------------------------------------------------------------------


def test_a_rehearsal_follows_the_blocks_of_one_message_and_changes_nothing() -> None:
    device = Device(OLD_ISSUE)
    before = msgspec.msgpack.encode(device.memory)
    message = [transfer(0x20, 5, bid=0), activate(0x20, 5, 4, bid=1), destroy(0x20, 4, bid=2)]
    assert [device.status(block, rehearse=True) for block in message] == [0, 0, 0]
    assert msgspec.msgpack.encode(device.memory) == before
    carried = device.message(*message)
    assert carried.payload.hex().upper() == "070000800022140200" + "070001840022140200" + "070002830022140200"
    assert [event.detail.split()[-1] for event in carried.events] == ["transferred", "activated", "destroyed"]
    assert device.active()[0x20] == 5
    assert device.memory.key(0x20, 4) is None


def test_a_message_of_which_a_block_fails_is_found_before_anything_happens() -> None:
    device = Device()
    message = [transfer(0x20, 5, bid=0), transfer(0x20, 6, bid=1), activate(0x20, 5, 4, bid=2), activate(0x20, 6, 4, bid=3)]
    before = msgspec.msgpack.encode(device.memory)
    carried = device.message(*message)
    assert [block.content.hex() for block in security_transfer.decode(carried.payload).blocks] == ["09", "09", "09", "21"]
    assert carried.refused
    assert msgspec.msgpack.encode(device.memory) == before


def test_rehearsals_of_different_messages_do_not_mix() -> None:
    device = Device()
    second = activate(0x20, 5, 4, bid=1)
    assert device.status(transfer(0x20, 5), rehearse=True) == 0
    assert device.do(second, rehearse=True, now=NOW + 1).status == 0x21, "another time"
    assert device.status(transfer(0x20, 5), rehearse=True) == 0
    assert device.status(activate(0x20, 5, 4, bid=0), rehearse=True) == 0x21, "numbers start again"
    assert device.status(second, rehearse=True) == 0x21, "a refusal ended the message"
    assert device.status(transfer(0x20, 5), rehearse=True) == 0
    device.cut()
    assert device.status(second, rehearse=True) == 0x21, "the power was away"
    device.do(transfer(0x20, 6))
    assert device.status(activate(0x20, 6, 4), rehearse=True) == 0


def test_slots_keep_their_identity() -> None:
    """Who holds a slot to count with it still holds the right one."""
    device = Device()
    slots = list(device.memory.keys)
    device.do(transfer(0x20, 5), rehearse=True)
    device.do(transfer(0x20, 5))
    device.do(activate(0x20, 5, 4))
    assert all(kept is slot for kept, slot in zip(device.memory.keys, slots, strict=False))


# -- power cuts and secrets -----------------------------------------------------------------------


def test_power_cuts_between_all_steps() -> None:
    device = Device(OLD_ISSUE)
    device.cut()
    assert device.status(transfer(0, 1, wrapper=0x12)) == 0
    device.cut()
    assert device.active()[0] == 0
    assert device.status(activate(0, 1, 0, wrapper=0x12)) == 0
    device.cut()
    assert (device.active()[0], device.slot(0, 1).octets, device.slot(0, 1).counter) == (1, NEW, 0)
    assert device.status(activate(0, 1, 0, wrapper=0x12)) == 0
    assert device.status(destroy(0, 0, wrapper=0x12)) == 0x21
    device.cut()
    assert device.active()[0] == 1


def test_keys_show_nowhere() -> None:
    device = Device()
    outcome = device.do(transfer(0x20, 5))
    for text in (repr(device.memory), repr(outcome), repr(device.message(transfer(0x20, 6)))):
        assert repr(NEW) not in text
        assert NEW.hex() not in text.lower()
