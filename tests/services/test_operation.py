"""Use cases in real time: over a wire and over a stick, with a state file that survives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from openmetering.codec.address import Address
from openmetering.errors import ExchangeFailed, InputError, KeyNotFound, Refused, TransportError
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.operator.clock import adjust_clock
from openmetering.protocol.operator.disconnector import read_disconnector, set_disconnector
from openmetering.protocol.operator.firmware import FirmwareImage, update_firmware
from openmetering.protocol.operator.keys import renew_key
from openmetering.protocol.operator.registration import Found, read_for_registration
from openmetering.protocol.operator.steps import Pause, Procedure, Progress
from openmetering.protocol.operator.supervision import read_status
from openmetering.protocol.radio.events import ButtonPressed
from openmetering.protocol.wired.orders import ReadPrimary
from openmetering.security import KeyRing
from openmetering.services.keyfiles import read_keys, ring
from openmetering.services.operation import (
    Operation,
    Setup,
    communication_keys,
    device_link,
    open_operation,
    slave_link,
)
from openmetering.services.operator_state import OperatorState
from openmetering.simulation.world import World
from tests.interfaces.served import METER, NEW_KEY, key_ring, secured_meter, served_bus, served_stick

pytestmark = pytest.mark.services

R = TypeVar("R")


def perform(
    link: str,
    procedure: Callable[[Operation], Procedure[R]],
    setup: Setup | None = None,
    path: Path | None = None,
    tell: Callable[[object], None] = lambda event: None,
) -> R:
    """One procedure, as one call of a program."""
    setup = setup or Setup(METER, key_ring())

    async def run() -> R:
        with OperatorState.open(path) as state:
            async with open_operation(link, setup, state, lambda text: None) as operation:
                return await operation.perform(setup.device, procedure(operation), tell)

    return asyncio.run(run())


def counters(path: Path) -> tuple[int, int]:
    """The counter of the link and that of the valve's key."""
    state = OperatorState(path)
    (entry,) = (one for one in state.radio_memory().security.counters.entries if one.key_id == 0)
    (journal,) = state.journals
    return entry.own, journal.counter(0x20, 0)


# -- on the wire ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("primary", [False, True], ids=["selected", "primary"])
def test_a_valve_on_a_wire_under_profile_b(primary: bool, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with served_bus([secured_meter(5)]) as bus:
        link = bus + ("&address=5" if primary else "")
        done = perform(link, lambda operation: set_disconnector(operation.head_end, METER, "disconnected"), path=path)
        assert (done.state.control, done.proof) == (0, "answer")
        first = counters(path)
        found = perform(link, lambda operation: read_disconnector(), path=path)
        assert found.control == 0
        perform(link, lambda operation: set_disconnector(operation.head_end, METER, "connected"), path=path)
    second = counters(path)
    assert second[0] > first[0]
    assert (first[1], second[1]) == (1, 2)


def test_refusals_keep_their_words() -> None:
    with served_bus([secured_meter(5)]) as link:

        def twice(operation: Operation) -> Procedure[None]:
            yield from adjust_clock(operation.head_end, METER, 30)
            yield from adjust_clock(operation.head_end, METER, 30)

        with pytest.raises(Refused, match="device refuses"):
            perform(link, twice)


def test_a_new_link_key_is_used_by_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    setup = Setup(METER, key_ring(new_version=1))
    memory = DeviceMemory(primary_address=5)
    with served_bus([secured_meter(5, memory=memory)]) as link:
        done = perform(link, lambda operation: renew_key(operation.head_end, METER, 0, 1), setup, path)
        assert (done.old, done.new) == (0, 1)
        assert perform(link, lambda operation: read_status(), setup, path).status == 0
    assert NEW_KEY.hex().upper() not in path.read_text().upper()
    (journal,) = OperatorState(path).journals
    assert journal.version(0) == 1


def test_firmware_tells_how_far_it_is() -> None:
    told: list[object] = []
    image = FirmwareImage(b"V2", bytes(range(256)) * 3)
    with served_bus([secured_meter(5)]) as link, pytest.raises(ExchangeFailed, match="enough"):
        perform(link, lambda operation: _up_to("validate", update_firmware(operation.head_end, METER, image)), tell=told.append)
    steps = [event.text for event in told if isinstance(event, Progress)]
    assert steps[0] == "prepare"
    assert steps[-5:] == [f"block {number} of 5" for number in range(5)]


def _up_to(text: str, procedure: Procedure[R]) -> Procedure[R]:
    """Give a procedure up where it tells that it comes to something: it takes minutes in which this wire stands still."""
    step = procedure.send(None)
    while not (isinstance(step, Progress) and step.text == text):
        answer = yield step
        step = procedure.send(answer)
    raise ExchangeFailed("enough", reason="withdrawn")


def test_a_slave_that_is_not_there_and_a_wrong_key() -> None:
    with served_bus([secured_meter(5)]) as link:
        stranger = Address.parse("ELS-99999999-33-07")
        with pytest.raises(ExchangeFailed) as info:
            perform(link, lambda operation: read_for_registration(Found(stranger)), Setup(stranger, KeyRing(), "none"))
        assert info.value.reason == "not-selected"
        assert info.value.delivered is False
        wrong = KeyRing()
        wrong.add(METER.link_octets(), bytes(16), 0, 0)
        with pytest.raises(Refused, match="security error"):
            perform(link, lambda operation: read_status(), Setup(METER, wrong))
        with pytest.raises(KeyNotFound):
            perform(link, lambda operation: set_disconnector(operation.head_end, METER, "connected"), Setup(METER, wrong))


def test_what_is_stopped_is_withdrawn_and_stays_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    async def run(link: str) -> None:
        with OperatorState.open(path) as state:
            async with open_operation(link, Setup(METER, key_ring()), state, lambda text: None) as operation:
                procedure = set_disconnector(operation.head_end, METER, "disconnected")
                task = asyncio.ensure_future(operation.perform(METER, procedure, lambda event: None))
                await asyncio.sleep(0.3)
                task.cancel()
                await asyncio.wait((task,))
                assert task.cancelled()

    with served_bus([]) as link:
        asyncio.run(run(link))
    (journal,) = OperatorState(path).journals
    assert journal.command(0x20) is not None


def test_links_that_are_none() -> None:
    with pytest.raises(InputError, match="no link to a device"):
        perform("file.txt", lambda operation: read_status())
    with pytest.raises(TransportError):
        perform("mbus+tcp://127.0.0.1:1", lambda operation: read_status())


# -- descriptions --------------------------------------------------------------------------------------


def test_who_gets_which_keys() -> None:
    keys = key_ring()
    keys.add("*", bytes(16), None)
    ids = [key.key_id for _, key in communication_keys(keys)]
    assert ids == [0, None]


def test_descriptions_of_a_device() -> None:
    state = OperatorState()
    from openmetering.protocol.operator.head_end import HeadEnd

    keys = key_ring(new_version=1)
    head_end = HeadEnd(keys, save=state.keep_journal)
    setup = Setup(METER, keys, fabrication="00000042")
    link = device_link(setup, head_end, "t1")
    assert (link.profile, link.mode, link.largest, link.key_version) == ("B", "T", 155, 0)
    slave = slave_link(setup, head_end, ReadPrimary(7))
    assert (slave.primary, slave.fabrication, slave.key_version) == (7, "00000042", 0)
    head_end.adopt(METER, 0, 1)
    assert device_link(setup, head_end, "c").key_version == 1
    bare = KeyRing()
    assert slave_link(Setup(METER, bare), HeadEnd(bare), None).profile == "none"
    bare.add(METER.link_octets(), bytes(16), 0)
    assert slave_link(Setup(METER, bare), HeadEnd(bare), None).key_version is None


# -- through a stick -----------------------------------------------------------------------------------


def world_setup(world: World) -> Setup:
    (post,) = world.devices.values()
    return Setup(post.spec.address, ring(read_keys(world.key_file(head_end=True).encode()).entries))


def test_a_device_behind_a_simulated_stick(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    told: list[str] = []
    with served_stick() as (link, world):
        setup = world_setup(world)

        async def run() -> None:
            with OperatorState.open(path) as state:
                async with open_operation(link, setup, state, told.append) as operation:
                    done = await operation.perform(
                        setup.device, set_disconnector(operation.head_end, setup.device, "disconnected"), lambda event: None
                    )
                    assert done.state.control == 0

        asyncio.run(asyncio.wait_for(run(), 30))
        (post,) = world.devices.values()
        assert post.memory.output == 0
    assert told == ["iM871A, firmware 14h, number 12345678"]
    assert counters(path)[1] == 1


def test_an_installation_by_hand_is_heard_and_confirmed() -> None:
    with served_stick() as (link, world):
        setup = world_setup(world)
        (post,) = world.devices.values()

        async def run() -> None:
            with OperatorState.open(None) as state:
                async with open_operation(link, setup, state, lambda text: None) as operation:
                    world.kernel.call_at(world.now, lambda now: post.post(ButtonPressed()))
                    found = await operation.installation(setup.device, lambda event: None)
                    assert found.address == setup.device
                    assert found.records

        asyncio.run(asyncio.wait_for(run(), 30))


def test_an_installation_that_nobody_starts() -> None:
    with served_stick() as (link, world):
        setup = msgspec.structs.replace(world_setup(world), patience=0.3)

        async def run() -> None:
            with OperatorState.open(None) as state:
                async with open_operation(link, setup, state, lambda text: None) as operation:
                    await operation.installation(setup.device, lambda event: None)

        with pytest.raises(ExchangeFailed, match="nobody started"):
            asyncio.run(run())


def test_a_stick_that_keeps_no_windows_is_given_frames_in_time() -> None:
    with served_stick(speed=1.0) as (link, world):
        setup = world_setup(world)
        assert perform(link + "&window=host&lead=20ms", _nothing, setup) == "nothing"


def _nothing(operation: Operation) -> Procedure[str]:
    yield Pause(0.01)
    return "nothing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tcp://127.0.0.1:1", "needs the kind of stick"),
        ("tcp://127.0.0.1:1?stick=im871a&mode=ct", "needs one mode"),
        ("tcp://127.0.0.1:1?stick=im871a&window=door", "windows are kept"),
        ("tcp://127.0.0.1:1?stick=magic", "stick=magic is unknown"),
    ],
)
def test_sticks_that_are_none(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        perform(text, _nothing)


def test_a_stick_that_cannot_be_reached_or_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TransportError, match="cannot be reached"):
        perform("tcp://127.0.0.1:1?stick=im871a", _nothing)

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        writer.close()

    async def silent() -> None:
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            with OperatorState.open(None) as state:
                async with open_operation(
                    f"tcp://127.0.0.1:{port}?stick=im871a", Setup(METER, KeyRing()), state, lambda text: None
                ):
                    raise AssertionError("opened")
        finally:
            server.close()

    monkeypatch.setattr("openmetering.services.radio_port._READY", 0.2)
    with pytest.raises(TransportError, match="does not answer"):
        asyncio.run(silent())
