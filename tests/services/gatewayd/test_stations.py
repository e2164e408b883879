"""Sources that also send: a simulated stick and a simulated bus, sessions, counters over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from openmetering.codec.address import Address
from openmetering.errors import InputError, TransportError
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit
from openmetering.protocol.gateway.events import DeviceLink, Forget, GatewayConfig, GatewayMemory, Register
from openmetering.protocol.gateway.wired_gateway import RegisterSlave, SlaveLink
from openmetering.protocol.operator.disconnector import read_disconnector, set_disconnector
from openmetering.protocol.operator.head_end import HeadEnd as Keys
from openmetering.protocol.operator.operator import Aborted, Finished, Operator, Start
from openmetering.security import KeyRing
from openmetering.services.gatewayd.config import read_config
from openmetering.services.gatewayd.daemon import GatewayDaemon
from openmetering.services.gatewayd.messages import Carry, Enrol, Result
from openmetering.services.gatewayd.sources import check_keys, open_sources
from openmetering.services.gatewayd.stations import RadioStation, StationEvent, WiredStation, memory_path, read_memory
from openmetering.services.gatewayd.uplink import DirectUplink
from openmetering.services.keyfiles import read_keys, ring
from openmetering.services.operation import DEFAULT_GATEWAY, communication_keys
from openmetering.simulation.world import World
from openmetering.telegram import Decoder
from openmetering.transport.reception import Item, Notice, Reception
from tests.interfaces.served import METER, key_ring, secured_meter, served_bus, served_stick
from tests.services.gatewayd.test_daemon import HeadEnd
from tests.simulation.wired_meters import wired_meter

pytestmark = pytest.mark.services

CONFIG = GatewayConfig(DEFAULT_GATEWAY)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


class Heard:
    """What a station gives and tells."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.events: list[StationEvent] = []

    async def emit(self, item: Item) -> None:
        self.items.append(item)

    def tell(self, source: str, event: StationEvent) -> None:
        assert source == "line"
        self.events.append(event)

    @property
    def frames(self) -> list[Reception]:
        return [item for item in self.items if isinstance(item, Reception)]

    def result(self, token: int) -> Answered | Failed | None:
        return next((one for one in self.events if isinstance(one, Answered | Failed) and one.token == token), None)


@contextlib.asynccontextmanager
async def running(station: RadioStation | WiredStation, heard: Heard) -> AsyncIterator[None]:
    task = asyncio.ensure_future(station.run(heard.emit))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def plans(text: str) -> list[object]:
    head = '[gateway]\nname = "x"\nstate = "y"\n[[source]]\nat = "mbus:/dev/x"\n[[source.poll]]\n'
    return list(read_config((head + text).encode(), Path("/")).source[0].poll[0].plans())


def wired(
    link: str, folder: Path, heard: Heard, text: str = 'address = "1"\nevery = 3600', keys: KeyRing | None = None
) -> WiredStation:
    return WiredStation("line", link, CONFIG, keys, folder, heard.tell, plans(text), time.time())  # type: ignore[arg-type]


# -- on the wire ------------------------------------------------------------------------------------------


def test_a_line_is_polled(tmp_path: Path) -> None:
    heard = Heard()

    async def go(link: str) -> None:
        station = wired(link, tmp_path, heard, 'address = "1-3"\nevery = 3600\nretries = 0')
        async with running(station, heard):
            await until(lambda: len(heard.items) >= 4)

    with served_bus([wired_meter(12345678, 1), wired_meter(12345679, 3)]) as link:
        asyncio.run(go(link))
    first, last = heard.frames
    assert (first.mode, first.crc, first.address_hint) == ("wired", True, "primary address 1")
    assert str(Decoder().examine(last.frame).address) == "ELS-12345679-33-07"
    notices = [item.message for item in heard.items if isinstance(item, Notice)]
    assert notices[0] == "the line is open"
    assert "primary address 2: no-answer" in notices


def test_commands_and_readings_share_a_line(tmp_path: Path) -> None:
    heard = Heard()

    async def go(link: str) -> None:
        station = wired(link, tmp_path, heard, 'address = "5"\nevery = 1', communication_keys(key_ring()))
        station.post(RegisterSlave(SlaveLink(METER, profile="B")))
        assert station.serves(METER)
        async with running(station, heard):
            await until(lambda: heard.frames)
            station.post(Submit(1, Exchange(METER, None)))
            await until(lambda: heard.result(1))
            count = len(heard.frames)
            await until(lambda: len(heard.frames) > count)
            station.post(Forget(METER))
            assert not station.serves(METER)
            station.post(Submit(2, Exchange(METER, None)))
            await until(lambda: heard.result(2))

    with served_bus([secured_meter(5)]) as link:
        asyncio.run(go(link))
    answered = heard.result(1)
    assert isinstance(answered, Answered)
    assert answered.security.authenticated
    assert heard.result(2) == Failed(2, "no-access", delivered=False)


def test_a_wrong_order_does_not_stop_a_station(tmp_path: Path) -> None:
    heard = Heard()

    async def go(link: str) -> None:
        station = wired(link, tmp_path, heard)
        async with running(station, heard):
            await until(lambda: heard.frames)
            station.post(Submit(1, Exchange(METER, Command("morse", b""))))
            ring = KeyRing()
            ring.add(METER.link_octets(), bytes(16), 0, 1)
            station.post(GiveKey(METER, ring, 0, 1))
            await until(lambda: heard.result(1))
            await until(lambda: any("GiveKey was refused" in getattr(item, "message", "") for item in heard.items))

    with served_bus([wired_meter(12345678, 1)]) as link:
        asyncio.run(go(link))
    assert heard.result(1) == Failed(1, "refused-link", delivered=False)


def test_a_line_that_is_not_there(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(TransportError):
        asyncio.run(wired("mbus+tcp://127.0.0.1:1", tmp_path, heard).run(heard.emit))


# -- on the radio --------------------------------------------------------------------------------------------


def world_keys(world: World, *, head_end: bool) -> KeyRing:
    return ring(read_keys(world.key_file(head_end=head_end).encode(), source="world").entries)


def radio(link: str, folder: Path, heard: Heard, keys: KeyRing | None) -> RadioStation:
    return RadioStation("line", link, CONFIG, keys, folder, heard.tell)


def test_a_session_over_a_stick_and_a_restart(tmp_path: Path) -> None:
    heard = Heard()
    counters: list[int] = []

    async def session(link: str, world: World, device: Address, token: int) -> None:
        keys = communication_keys(world_keys(world, head_end=True))
        station = radio(link, tmp_path, heard, keys)
        station.post(Register(DeviceLink(device, "B", mode="C")))
        async with running(station, heard):
            await until(lambda: heard.frames)
            station.post(Submit(token, Exchange(device, Command("application-reset", b""))))
            await until(lambda: heard.result(token), 40)
        memory = read_memory(memory_path(tmp_path, "line"), GatewayMemory)
        assert memory is not None
        assert [link.address for link in memory.links] == [device]
        counters.append(max(entry.own for entry in memory.security.counters.entries))

    with served_stick() as (link, world):
        device = next(iter(world.devices.values())).spec.address
        for token in (1, 2):
            asyncio.run(session(link, world, device, token))
    assert all(isinstance(heard.result(token), Answered) for token in (1, 2))
    assert counters[1] > counters[0]
    assert (memory_path(tmp_path, "line").stat().st_mode & 0o777) == 0o600


def test_a_use_case_through_the_daemon(tmp_path: Path) -> None:
    """A head-end with application keys closes a valve; the gateway between has the key of the link only."""
    head = HeadEnd()
    results: dict[str, Result] = {}
    head.receiver._on_result = lambda gateway, result: results.setdefault(result.id, result)

    async def go(link: str, world: World) -> None:
        device = next(iter(world.devices.values())).spec.address
        operator_keys = Keys(world_keys(world, head_end=True))
        link_keys = communication_keys(world_keys(world, head_end=True))
        config = read_config(
            f'[gateway]\nname = "stairs"\nstate = "{tmp_path}/state"\n[uplink]\nlinger = 0\nevery = 0.2\n'
            f'[[source]]\nat = "{link}"\nname = "stick"\nsends = true\n'.encode(),
            tmp_path,
        )
        daemon = GatewayDaemon(
            config,
            lambda tell: open_sources(config, link_keys, tell),
            uplink=DirectUplink(head.handle),
            clock=time.time,
            farewell=5.0,
        )
        task = asyncio.ensure_future(daemon.run())
        head.receiver.order("stairs", Enrol("e", str(device), profile="B", mode="C"))
        await until(lambda: "e" in results)
        for procedure in (set_disconnector(operator_keys, device, "disconnected"), read_disconnector()):
            await perform(device, procedure)
        daemon.stop()
        await asyncio.wait_for(task, 20)

    async def perform(device: Address, procedure: object) -> None:
        operator = Operator(device)
        base = len(results) * 1000
        out = operator.receive(Start(procedure), time.time())  # type: ignore[arg-type]
        ends: list[object] = []
        while not ends:
            for event in out:
                if isinstance(event, Submit):
                    name = f"{base}-{event.token}"
                    head.receiver.order("stairs", Carry.of(name, event.exchange))
                    await until(lambda name=name: name in results, 60)
                    answer = results[name].event(event.token)
                    assert answer is not None
                    out = operator.receive(answer, time.time())
                    break
                if isinstance(event, Finished | Aborted):
                    ends.append(event)
            else:
                if not ends:
                    await asyncio.sleep(0.05)
                    out = operator.timeout(time.time())
        assert isinstance(ends[0], Finished), ends

    with served_stick() as (link, world):
        asyncio.run(go(link, world))
        assert head.stored
        frames = {item.frame for item in head.stored}
    assert len(frames) > 1
    assert {item.source for item in head.stored} == {"stairs/stick"}


# -- putting them together -----------------------------------------------------------------------------------


def sources(text: str, folder: Path, keys: KeyRing | None = None) -> object:
    config = read_config(f'[gateway]\nname = "x"\nstate = "{folder}"\n{text}'.encode(), folder)
    return open_sources(config, keys, lambda source, event: None, {"fake": lambda address, fmt: address})  # type: ignore[dict-item,return-value]


def test_sources_of_all_kinds(tmp_path: Path) -> None:
    made = sources(
        '[[source]]\nat = "serial:/dev/x?stick=im871a&mode=c"\nname = "stick"\nsends = true\n'
        '[[source]]\nat = "mbus:/dev/y"\n[[source.poll]]\naddress = "1"\n'
        '[[source]]\nat = "-"\nformat = "hex"\n'
        '[[source]]\nat = "http-listen://127.0.0.1:0"\nformat = "elvaco"\n'
        '[[source]]\nat = "mqtt://host/topic"\nformat = "lobaro"\n'
        '[[source]]\nat = "fake:thing"\n',
        tmp_path,
    )
    assert list(made.doors) == ["stick", "mbus:/dev/y", "-", "http-listen://127.0.0.1:0", "mqtt://host/topic", "fake:thing"]  # type: ignore[attr-defined]
    assert list(made.stations) == ["stick", "mbus:/dev/y"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[source]]\nat = "tcp://host:1"\nsends = true', "needs the kind of stick"),
        ('[[source]]\nat = "serial:/dev/x?mode=ct"\nsends = true', "needs one mode"),
        ('[[source]]\nat = "smoke:signals"', "are unknown"),
        ('[[source]]\nat = "-"\nformat = "morse"', "no input format"),
        ('[[source]]\nat = "mbus:/dev/y?address=1-3"\n[[source.poll]]\naddress = "1"', "names several slaves"),
    ],
)
def test_sources_that_cannot_be(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sources(text, tmp_path)


def test_application_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no communication key") as caught:
        check_keys(key_ring())
    assert caught.value.code == "key.invalid"
    with pytest.raises(InputError, match="no communication key"):
        sources('[[source]]\nat = "serial:/dev/x?mode=c"\nsends = true', tmp_path, key_ring())
    assert check_keys(communication_keys(key_ring())) is not None
    assert check_keys(KeyRing.single(bytes(16))) is not None


def test_memories_that_are_none(tmp_path: Path) -> None:
    path = memory_path(tmp_path, "serial:/dev/ttyUSB0")
    assert path.name.startswith("machine-serial-dev-ttyUSB0-")
    assert path != memory_path(tmp_path, "serial:/dev/ttyUSB1")
    assert read_memory(path, GatewayMemory) is None
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be used"):
        read_memory(path, GatewayMemory)
    path.write_bytes(msgspec.json.encode(GatewayMemory()))
    assert read_memory(path, GatewayMemory) == GatewayMemory()
