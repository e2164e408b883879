"""Devices from descriptions, and the message applications they are made of."""

from __future__ import annotations

import pytest

from openmetering.errors import NotRepresentable
from openmetering.protocol.device.application import Application
from openmetering.protocol.device.build import FUNCTIONS, DeviceDescription, GivenKey, make_device
from openmetering.protocol.device.contents import Contents, FixedReadings, content_of
from openmetering.protocol.device.endpoint import EndpointConfig
from openmetering.protocol.device.function import Function, Pending, demand_key, demand_now, record_of
from openmetering.protocol.device.image import ImageFeature
from openmetering.protocol.device.interface import Instruction
from openmetering.protocol.device.keys import KeyFeature
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.protocol.device.refusals import is_refusal
from tests.protocol.device.partner import DEVICE, KEYS, MASTER, READINGS, STATIC, VOLUME, device, records


def made(functions: dict[str, dict[str, object]], *, issue: str = "5.0.1", memory: DeviceMemory | None = None) -> list[str]:
    config = EndpointConfig(DEVICE, "B", oms_issue=issue)  # type: ignore[arg-type]
    description = DeviceDescription(config, functions, KEYS)  # type: ignore[arg-type]
    endpoint = make_device(description, memory if memory is not None else DeviceMemory(), FixedReadings(READINGS), lambda: 0.0)
    return [type(feature).__name__ for feature in endpoint.application.contents.features]


def test_every_function_can_be_made() -> None:
    names = made({name: {} for name in FUNCTIONS})
    assert len(names) == len(FUNCTIONS)
    assert {"ImageFeature", "KeyFeature", "ClockFeature", "DisconnectorFeature"} <= set(names)


def test_functions_of_5_0_1_are_left_out_in_4_3_3() -> None:
    later = {"BillingFeature", "SelectionFeature", "AdapterFeature"}
    all_of_them = {name: {} for name in FUNCTIONS}
    assert set(made(all_of_them)) - set(made(all_of_them, issue="4.3.3")) == later


@pytest.mark.parametrize("name", FUNCTIONS)
def test_unknown_options_are_named(name: str) -> None:
    with pytest.raises(NotRepresentable, match=f"no option of {name} is named colour; there are "):
        made({name: {"colour": "red"}})


def test_wrong_options_are_named() -> None:
    with pytest.raises(NotRepresentable, match=r"options of clock: Invalid enum value 'd'"):
        made({"clock": {"variant": "d"}})


def test_unknown_functions_are_named() -> None:
    with pytest.raises(NotRepresentable, match="no function is named teleport; there are conformance, "):
        made({"teleport": {}})


@pytest.mark.parametrize("header", ["zz", "84", "0F", ""])
def test_indexes_are_headers(header: str) -> None:
    with pytest.raises(NotRepresentable, match="an index is a tag and its DIB and VIB"):
        made({"adapter": {"indexes": {"VM1!": header}}})


def test_keys_are_put_into_an_empty_memory_only() -> None:
    memory = DeviceMemory()
    made({}, memory=memory)
    assert len(memory.keys) == len(KEYS)
    memory.keys = [KeySlot(0, 3, MASTER, True, 99)]
    made({}, memory=memory)
    assert [(slot.version, slot.counter) for slot in memory.keys] == [(3, 99)]


def test_options_reach_the_functions_of_firmware_and_keys() -> None:
    endpoint = device(functions={"firmware": {"largest_block": 230}, "keys": {"refuse_older": False}})
    image, keys = endpoint.application.contents.features
    assert isinstance(image, ImageFeature)
    assert isinstance(keys, KeyFeature)
    assert image._settings.largest_block == 230
    assert not keys._settings.refuse_older
    assert image._installer(b"", b"")


def test_an_installer_may_be_given() -> None:
    description = DeviceDescription(EndpointConfig(DEVICE, "B"), {"firmware": {}}, KEYS)
    installed: list[bytes] = []
    endpoint = make_device(
        description,
        DeviceMemory(),
        FixedReadings(),
        lambda: 0.0,
        installer=lambda image, name: installed.append(image) is None,
    )
    (image,) = endpoint.application.contents.features
    assert isinstance(image, ImageFeature)
    assert image._installer(b"new", b"")
    assert installed == [b"new"]


def test_given_keys_do_not_show() -> None:
    assert repr(GivenKey(0x20, MASTER, 3)) == "<GivenKey id=20 version=03>"


# -- contents -----------------------------------------------------------------------------------------------------


def test_fixed_readings() -> None:
    readings = FixedReadings(READINGS)
    assert readings.records(0, 0, 0.0) == VOLUME
    assert readings.octets(7, 1, 5.0) == bytes.fromhex("0C 78 78 56 34 12")
    assert readings.records(0, 2, 0.0) == ()
    assert readings.octets(3, 0, 0.0) == b""


def test_blocks_that_do_not_exist_are_the_first() -> None:
    contents = Contents(FixedReadings(READINGS), [], DeviceMemory())
    assert contents.records(7, 5, 0.0) == list(STATIC)
    assert contents.octets(7, 5, 0.0) == contents.octets(7, 0, 0.0)


def test_the_catalogue_holds_what_functions_add() -> None:
    contents = device(functions={"disconnector": {}}).application.contents
    assert list(contents.catalogue(0.0)) == [
        bytes.fromhex("0C 13"),
        bytes.fromhex("01 FD 1F"),
        bytes.fromhex("01 FD 1A"),
        bytes.fromhex("0C 78"),
    ]


class Blocks:
    """Readings with two blocks."""

    def records(self, application: int, block: int, now: float) -> tuple[object, ...]:
        return records({0: "0C 13 00 00 00 00 0C 78 00 00 00 00", 2: "0C 78 00 00 00 00"}.get(block, ""))

    def octets(self, application: int, block: int, now: float) -> bytes:
        return b"".join(record.octets() for record in self.records(application, block, now))  # type: ignore[attr-defined]


def test_a_second_block_has_nothing_of_the_functions() -> None:
    given = device(functions={"disconnector": {}}).application.contents.features
    contents = Contents(Blocks(), given, DeviceMemory())  # type: ignore[arg-type]
    assert contents.octets(0, 2, 0.0) == bytes.fromhex("0C 78 00 00 00 00")
    assert len(contents.records(0, 2, 0.0)) == 1
    assert len(contents.records(0, 0, 0.0)) == 4


def test_points_of_a_list_that_have_gone_are_left_out() -> None:
    contents = Contents(FixedReadings(READINGS), [], DeviceMemory())
    contents.keep(0, 0, [VOLUME[0].header.octets, b"\x04\x06"])
    assert contents.records(0, 0, 0.0) == list(VOLUME)
    assert contents.octets(0, 0, 0.0) == VOLUME[0].octets()


@pytest.mark.parametrize(
    ("application", "expected"),
    [(0, (0, 0)), (7, (2, 0)), (16, (0, 1)), (17, (0, 2)), (18, (0, 3)), (29, (0, 7)), (47, (1, 1)), (57, (1, 11)), (99, (0, 0))],
)
def test_content_class_and_index(application: int, expected: tuple[int, int]) -> None:
    assert content_of(application) == expected


# -- what functions share -------------------------------------------------------------------------------------------


class Silent(Function):
    """Does nothing."""

    def execute(self, instruction: Instruction, now: float) -> None:
        return None


def test_the_base_of_the_functions() -> None:
    silent = Silent()
    assert silent.deadline is None
    assert silent.timeout(0.0) == []
    assert silent.records(0, 0.0) == ()
    assert silent.status(0.0) == 0
    silent.power_up(0.0)


def test_pending_commands_of_two_functions() -> None:
    memory = DeviceMemory()
    one, two = Pending(memory, b"1"), Pending(memory, b"2")
    assert one.deadline is None
    one.put(30.0, b"a")
    two.put(20.0, b"b")
    assert (one.deadline, two.deadline) == (30.0, 20.0)
    assert one.take(25.0) is None
    assert two.take(25.0) == b"b"
    assert two.take(99.0) is None
    one.put(40.0, b"c")
    assert memory.pending == [(40.0, b"1c")]
    assert one.take(40.0) == b"c"


def test_demands() -> None:
    plain, proven = Instruction("m-bus", b"", at=5.0), Instruction("m-bus", b"", (), 0x20, 6.0)
    assert demand_key(plain, 0x20).error == 0x22  # type: ignore[union-attr]
    assert demand_key(proven, 0x20) is None
    assert demand_now(plain, 5.0) is None
    assert demand_now(proven, 5.0).status == 0x23  # type: ignore[union-attr]


def test_record_of() -> None:
    record = record_of(b"\x02", b"\xfd\x17", b"\x01\x00")
    assert (record.content, record.octets()) == (1, bytes.fromhex("02 FD 17 01 00"))


@pytest.mark.parametrize(
    ("status", "refused"), [(0, False), (1, False), (9, True), (10, False), (15, False), (16, True), (0x23, True), (0x81, True)]
)
def test_status_classes(status: int, refused: bool) -> None:
    assert is_refusal(status) is refused


def test_an_application_needs_no_codings() -> None:
    memory = DeviceMemory()
    assert Application(memory, Contents(FixedReadings(), [], memory)).due is None
