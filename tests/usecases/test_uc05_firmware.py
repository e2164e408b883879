"""UC-05, firmware update: Annex M release C Tables M.16 to M.22, Figure M.2."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from openmetering.codec.apl.image_transfer import T_IT, T_TR, ImageMac, ImageMessage
from openmetering.codec.apl.security_transfer import IMMEDIATE, INVALID_TIME, target_time
from openmetering.errors import ExchangeFailed, NotRepresentable, OutOfRange, Refused
from openmetering.protocol.device.image import ImageFeature
from openmetering.protocol.device.image_machine import ImageMachine
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator import firmware
from openmetering.protocol.operator.answers import exchange
from openmetering.protocol.operator.firmware import FirmwareImage, UpdateOptions
from openmetering.protocol.operator.head_end import Order
from openmetering.protocol.operator.secured import execute
from openmetering.security import KeyRing, asp03_mac
from openmetering.security.aes import BlockCipher
from tests.protocol.operator.scripted import APPLICATION_KEY, DEVICE, ring
from tests.usecases.bench import FUNCTIONS, LINK_FAULTS, POWER_CUTS, RISKY, WAYS, Bench, Fault, PowerCut
from tests.usecases.cases import Case, one_fault, other_keys, refused, replayed, succeed

IMAGE = FirmwareImage(b"V2", bytes(number % 253 for number in range(380)))
LARGE = FirmwareImage(b"V3", bytes(number % 251 for number in range(1300)))
QUICK = UpdateOptions(poll=5.0)
#: where every frame is tried with every fault
DEEP = ("wire none", "wire B", "C A 4.3.3", "C B")


def installed(bench: Bench) -> bool:
    return bench.installations == [IMAGE.octets] and bench.memory.image.state == 12


def nothing_installed(bench: Bench) -> bool:
    return bench.installations == []


UPDATE = Case(
    "update",
    lambda h, i: firmware.update_firmware(h, DEVICE, IMAGE, options=QUICK, issue=i),
    installed,
    nothing_installed,
)
WITHOUT_ACTIVATION = Case(
    "update without activation",
    lambda h, i: firmware.update_firmware(h, DEVICE, IMAGE, options=UpdateOptions(poll=5.0, activate=False), issue=i),
    lambda b: b.memory.image.state == 9 and b.installations == [],
    nothing_installed,
)


def states(bench: Bench) -> list[int]:
    """The states of Figure M.2 that the device went through."""
    return [event.value for event in bench.happened("image") if event.value is not None]


@pytest.mark.parametrize("way", WAYS)
def test_update(way):
    result = succeed(UPDATE, way)
    assert (result.state, result.sent, result.resumed) == (12, 2, False)


@pytest.mark.parametrize("way", WAYS)
def test_states_of_an_update(way):
    bench = UPDATE.bench(way)
    bench.run(UPDATE.on(bench))
    assert states(bench) == [2, 3, 5, 7, 8, 9, 11, 12]
    assert [key for key, _ in bench.executed] == ["key 23h"] * 2  # prepare and activate


@pytest.mark.parametrize("way", WAYS)
def test_valid_but_not_activated(way):
    succeed(WITHOUT_ACTIVATION, way)
    bench = WITHOUT_ACTIVATION.bench(way)
    bench.run(WITHOUT_ACTIVATION.on(bench))
    assert bench.run(lambda h: firmware.read_image_state(b"V2")) == 9


@pytest.mark.parametrize("way", RISKY)
def test_idis(way):
    """Blocks of 200 octets, each answered, and commands without ASP10 but the first."""
    options = UpdateOptions(poll=5.0, secured=False, confirmed=True)
    image = FirmwareImage(b"V2", IMAGE.octets, 180 if WAYS[way].mode != "C" else 190)
    bench = UPDATE.bench(way)
    result = bench.run(lambda h: firmware.update_firmware(h, DEVICE, image, options=options, issue=bench.way.issue))
    assert result.state == 12
    assert installed(bench)
    assert len(bench.executed) == 1
    bench.agree()


@pytest.mark.parametrize("way", ["wire none", "C B"])
def test_the_new_program_may_start_idle(way):
    functions = {**FUNCTIONS, "firmware": {**FUNCTIONS["firmware"], "idle_after_installation": True}}
    bench = UPDATE.bench(way, functions=functions)
    assert bench.run(UPDATE.on(bench)).state == 15
    assert bench.installations == [IMAGE.octets]
    bench.agree()


@pytest.mark.parametrize("way", ["wire none", "C B", "C A 4.3.3"])
def test_activation_at_a_time(way):
    """The date and time of the image command: the device installs a minute later."""
    bench = UPDATE.bench(way)
    options = UpdateOptions(poll=10.0, after=60)
    result = bench.run(lambda h: firmware.update_firmware(h, DEVICE, IMAGE, options=options, issue=bench.way.issue))
    assert result.state == 12
    assert bench.installations == [IMAGE.octets]
    bench.agree()


@pytest.mark.parametrize("kind", LINK_FAULTS + POWER_CUTS)
@pytest.mark.parametrize("way", DEEP)
def test_one_fault_at_every_frame(way, kind):
    assert one_fault(UPDATE, way, kind) >= 10


@pytest.mark.parametrize("way", DEEP)
def test_every_third_block_is_lost(way):
    """Completion names the lost blocks, they are sent again, until none is missing."""
    bench = UPDATE.bench(way)
    seen: list[int] = []
    whole = bench._pass

    def lossy(direction: str, frame: bytes, started: float) -> tuple[bytes, ...]:
        frames = whole(direction, frame, started)
        if direction == "down" and len(frame) > 180:
            seen.append(len(frame))
            return () if len(seen) % 3 == 0 else frames
        return frames

    bench._pass = lossy
    result = bench.run(lambda h: firmware.update_firmware(h, DEVICE, LARGE, options=QUICK, issue=bench.way.issue))
    assert result.state == 12
    assert bench.installations == [LARGE.octets]
    bench.agree()


@pytest.mark.parametrize("way", ["wire none", "wire D", "C A", "C D"])
def test_two_power_cuts_of_the_operator(way):
    """He loses his power at one frame, and again at another one of the resumed update."""
    for first in (3, 8, 13):
        for second in (2, 6, 11):
            bench = UPDATE.bench(way)
            for number in (first, second):
                try:
                    bench.run(UPDATE.on(bench), Fault("after-operator", number))
                except PowerCut:
                    bench.wait(4.0)
            bench.persist(UPDATE.on(bench))
            assert bench.installations[0] == IMAGE.octets
            assert len(bench.installations) <= 2  # asked for anew after it was through, it is an update of its own
            bench.agree()


@pytest.mark.parametrize("way", RISKY)
def test_a_replay_changes_nothing(way):
    """Blocks come into a state that has no row for them, secured commands have their counters against them."""
    replayed(UPDATE, way)
    bench = UPDATE.bench(way)
    bench.run(UPDATE.on(bench))
    bench.settle()
    bench.replay_all()
    assert bench.memory.image.state == 12
    assert bench.installations == [IMAGE.octets]


# -- terminate ---------------------------------------------------------------------------------------------


def prepared(bench: Bench, blocks: tuple[int, ...] = (0, 1)) -> None:
    """An update that was stopped: the device is in state 3 or 2."""
    bench.run(lambda h: _secured(h, bench.way.issue, prepare_of(IMAGE)))
    for number in blocks:
        bench.run(lambda h, number=number: _transfer(number, IMAGE.block(number)))


def prepare_of(image: FirmwareImage, **changes: Any) -> ImageMessage:
    mac = ImageMac(4, 0x18, 0, asp03_mac(BlockCipher(APPLICATION_KEY), image.octets))
    return replace(ImageMessage(0, image.identifier, len(image.octets), image.block_size, mac), **changes)


def _secured(h: Any, issue: str, message: ImageMessage, key_id: int = 0x23, time: bytes = IMMEDIATE) -> Any:
    return execute(h, DEVICE, Order(key_id, 6, message.encode(), time), issue=issue)


def _plain(message: ImageMessage) -> Any:
    return exchange(Command("image", message.encode()))


def _transfer(number: int, data: bytes, identifier: bytes = b"V2") -> Any:
    """One block, with its answer: E5 on the wire tells nothing of an error."""
    return exchange(Command("image", ImageMessage(2, identifier, block=number, data=data).encode()))


@pytest.mark.parametrize("secured", [True, False])
@pytest.mark.parametrize("way", RISKY)
def test_terminate(way, secured):
    """T_TR empties the transfer buffer (4), T_IT resets the machine (14); both go on from the beginning."""
    bench = UPDATE.bench(way)
    issue = bench.way.issue
    prepared(bench)
    terminate = firmware.terminate_image
    assert bench.run(lambda h: terminate(h, DEVICE, b"V2", everything=False, secured=secured, issue=issue)) == 4
    assert bench.memory.image.blocks == {}
    assert bench.run(lambda h: terminate(h, DEVICE, b"V2", secured=secured, issue=issue)) == 14
    assert bench.run(UPDATE.on(bench)).state == 12
    assert installed(bench)
    bench.agree()


# -- refusals: each command in each state -------------------------------------------------------------------

STATES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#: command -> states in which it is allowed (the others: application error 10h)
ALLOWED: dict[str, tuple[int, ...]] = {
    "prepare": STATES,
    "transfer": (2, 3, 4, 6),
    "completion": (2, 3),
    "state": STATES,
    "validate": (5, 10),
    "activate": (9,),
    "terminate transfer": (2, 3, 5, 6),
    "terminate image": STATES,
}
SENT: dict[str, Any] = {
    "prepare": lambda h, i: _secured(h, i, prepare_of(IMAGE)),
    "transfer": lambda h, i: _transfer(0, IMAGE.block(0)),
    "completion": lambda h, i: _plain(ImageMessage(3, b"V2")),
    "state": lambda h, i: _plain(ImageMessage(4, b"V2")),
    "validate": lambda h, i: _plain(ImageMessage(5, b"V2")),
    "activate": lambda h, i: _secured(h, i, ImageMessage(6, b"V2", time=IMMEDIATE), time=INVALID_TIME),
    "terminate transfer": lambda h, i: _secured(h, i, ImageMessage(7, b"V2", additional=bytes((T_TR,)))),
    "terminate image": lambda h, i: _secured(h, i, ImageMessage(7, b"V2", additional=bytes((T_IT,)))),
}


def in_state(bench: Bench, state: int) -> None:
    """The image is complete and prepared, the device is in a state and stays there."""
    image = bench.memory.image
    image.state, image.identifier, image.image_size, image.block_size = state, b"V2", len(IMAGE.octets), IMAGE.block_size
    image.mac, image.key_version = asp03_mac(BlockCipher(APPLICATION_KEY), IMAGE.octets), 0
    image.blocks = {number: IMAGE.block(number) for number in IMAGE.numbers}
    image.due = bench.kernel.now + 5000.0 if state in (7, 8, 11) else None
    feature = next(one for one in bench.endpoint.application.contents.features if isinstance(one, ImageFeature))
    feature._machine = ImageMachine(image, feature._settings)


@pytest.mark.parametrize("command", SENT)
@pytest.mark.parametrize("state", STATES)
def test_every_command_in_every_state(state, command):
    """The table of Figure M.2 over the wire: what does not fit the state is application error 10h."""
    bench = Bench("wire none")
    in_state(bench, state)
    make = SENT[command]
    if state in ALLOWED[command]:
        bench.run(lambda h: make(h, "5.0.1"))
        return
    with pytest.raises(Refused) as caught:
        bench.run(lambda h: make(h, "5.0.1"))
    assert caught.value.error == 0x10
    assert bench.memory.image.state == state
    bench.agree()


@pytest.mark.parametrize("command", ["transfer", "completion", "validate", "activate", "terminate transfer"])
@pytest.mark.parametrize("way", WAYS)
def test_commands_to_an_idle_device(way, command):
    refused(Case(command, SENT[command], nothing_installed, nothing_installed), way, error=0x10)


def mac(**changes: int) -> ImageMac:
    return replace(ImageMac(4, 0x18, 0, bytes(16)), **changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"image_size": 0}, 0x15),
        ({"image_size": (1 << 20) + 1}, 0x15),
        ({"block_size": 0}, 0x15),
        ({"block_size": 201}, 0x15),
        ({"identifier": b""}, 0x15),
        ({"mac": mac(algorithm=5)}, 0x15),
        ({"mac": mac(key_id=0x19)}, 0x15),
        ({"mac": mac(key_version=7)}, 0x20),
    ],
)
@pytest.mark.parametrize("way", RISKY)
def test_what_cannot_be_prepared(way, changes, error):
    make = lambda h, i: _secured(h, i, prepare_of(IMAGE, **changes))  # noqa: E731
    bench = refused(Case("prepare", make, nothing_installed, nothing_installed), way, error=error)
    assert bench.memory.image.state == 15


@pytest.mark.parametrize("way", RISKY)
def test_blocks_that_do_not_fit(way):
    bench = UPDATE.bench(way)
    prepared(bench, (0,))
    wrong = [
        lambda h: _transfer(2, IMAGE.block(1)),  # there is no such block
        lambda h: _transfer(0, IMAGE.block(0)[:-40]),  # too short, whatever fills the last block of a cipher
        lambda h: _transfer(1, IMAGE.block(1) + b"\x00" * 3),  # too long
        lambda h: _transfer(1, IMAGE.block(1), b"V9"),  # another image
        lambda h: _plain(ImageMessage(3, b"V9")),
        lambda h: _plain(ImageMessage(4, b"V9")),
    ]
    for make in wrong:
        with pytest.raises(Refused) as caught:
            bench.run(make)
        assert caught.value.error == 0x15
    assert bench.memory.image.state == 3
    assert set(bench.memory.image.blocks) == {0}


@pytest.mark.parametrize("way", RISKY)
def test_proofs_that_are_demanded(way):
    """Prepare without ASP10, or under another key; activate where the device demands it."""
    refused(Case("plain", lambda h, i: _plain(prepare_of(IMAGE)), nothing_installed, nothing_installed), way, error=0x22)
    make = lambda h, i: _secured(h, i, prepare_of(IMAGE), key_id=0x20)  # noqa: E731
    refused(Case("key 20h", make, nothing_installed, nothing_installed), way, error=0x22)
    functions = {"firmware": {"require_asp10_for_activation": True}, "keys": {}}
    plain = lambda h, i: _plain(ImageMessage(7, b"V2", additional=b"\x02"))  # noqa: E731
    refused(Case("plain", plain, nothing_installed, nothing_installed), way, error=0x22, functions=functions)


@pytest.mark.parametrize("way", RISKY)
def test_target_times(way):
    make = lambda h, i: _secured(h, i, prepare_of(IMAGE), time=target_time(30))  # noqa: E731
    refused(Case("prepare later", make, nothing_installed, nothing_installed), way, status=0x23)
    bench = WITHOUT_ACTIVATION.bench(way)
    bench.run(WITHOUT_ACTIVATION.on(bench))
    with pytest.raises(Refused) as caught:  # a date of the calendar
        bench.run(lambda h: _secured(h, bench.way.issue, ImageMessage(6, b"V2", time=bytes(4) + b"\x01"), time=INVALID_TIME))
    assert caught.value.error == 0x15
    assert bench.memory.image.state == 9


@pytest.mark.parametrize("way", WAYS)
def test_unknown_functions_and_devices_without_the_use_case(way):
    make = lambda h, i: exchange(Command("image", bytes.fromhex("0102") + b"V2"))  # noqa: E731
    refused(Case("synchronise", make, nothing_installed, nothing_installed), way, error=0x11)
    refused(UPDATE, way, error=0x11, functions={"conformance": {}, "keys": {}})


@pytest.mark.parametrize("way", RISKY)
def test_terminate_without_flags(way):
    make = lambda h, i: _secured(h, i, ImageMessage(7, b"V2", additional=b"\x00"))  # noqa: E731
    refused(Case("terminate", make, nothing_installed, nothing_installed), way, error=0x15)


# -- images that are wrong ---------------------------------------------------------------------------------


def keys_with_a_wrong_image_key() -> KeyRing:
    wrong = KeyRing()
    for pattern, key in ring():
        wrong.add(pattern, bytes(16) if key.key_id == 0x18 else key.octets, key.key_id, key.version)
    return wrong


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_is_not_valid(way):
    """The MAC of prepare is another one: state 10, nothing is installed, and the next update works."""
    bench = UPDATE.bench(way, office_keys=keys_with_a_wrong_image_key())
    with pytest.raises(Refused, match="not valid"):
        bench.run(UPDATE.on(bench))
    assert bench.memory.image.state == 10
    assert nothing_installed(bench)
    bench.office_keys = ring()
    bench.cut_operator()
    assert bench.run(UPDATE.on(bench)).state == 12
    bench.agree()


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_cannot_be_installed(way):
    bench = UPDATE.bench(way, install=False)
    with pytest.raises(Refused, match="could not install"):
        bench.run(UPDATE.on(bench))
    assert bench.memory.image.state == 13
    assert bench.memory.image.installed == b""
    bench.agree()


@pytest.mark.parametrize("way", WAYS)
def test_wrong_keys(way):
    refused(UPDATE, way, error=0x20, office_keys=other_keys())
    refused(UPDATE, way, status=0x19, application_keys=(0x18, 0x24))


@pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.profile != "none"])
def test_a_wrong_link_key(way):
    refused(UPDATE, way, error=0x20, gateway_key=bytes(16))


def test_what_is_not_even_sent():
    bench = Bench("C B")
    for image in (FirmwareImage(b"V2", b""), FirmwareImage(b"V2", b"x", 0)):
        with pytest.raises(OutOfRange):
            bench.run(lambda h, image=image: firmware.update_firmware(h, DEVICE, image))
    with pytest.raises(NotRepresentable):
        bench.run(lambda h: firmware.update_firmware(h, DEVICE, IMAGE, issue="3.0"))
    assert bench.count == 0


def test_a_device_that_is_gone():
    """The journal keeps the transfer; when the device is back the update goes on where it was."""
    bench = UPDATE.bench("wire none")
    prepared(bench)
    with pytest.raises(PowerCut):
        bench.run(UPDATE.on(bench), Fault("after-operator", 6))
    bench.wait(4.0)
    bench.port.detach()
    with pytest.raises(ExchangeFailed):
        bench.run(UPDATE.on(bench))
    assert bench.head_end.journal(DEVICE).image is not None
    bench.bus.slaves.append(bench.port)
    assert bench.persist(UPDATE.on(bench)).state == 12
    assert bench.installations == [IMAGE.octets]
    bench.agree()
