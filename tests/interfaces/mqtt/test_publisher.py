"""The publisher with a real Mosquitto: values arrive, the last will speaks, a broker that was away loses nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from openmetering.interfaces.mqtt.discovery import Topics
from openmetering.interfaces.mqtt.meters import Rules
from openmetering.interfaces.mqtt.publisher import MqttPublisher
from openmetering.interfaces.mqtt.settings import MqttSettings, TlsSettings
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, ReadingsStored
from openmetering.services.headend.model import Alarm, Device, moment
from openmetering.simulation.metrology import MEDIA, Metrology
from openmetering.simulation.profiles import Calendar
from openmetering.storage.reading_rows import readings_of
from openmetering.telegram import Telegram, decode
from tests.interfaces.mqtt.discovery_rules import faults
from tests.interfaces.mqtt.samples import NOON, frame_of, medium_telegram, meter_address, record_telegram
from tests.interfaces.mqtt.tls_files import make_certificates
from tests.services.broker import Broker, running_broker

pytestmark = pytest.mark.services

PATIENCE = 15.0


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*arguments: object, **options: object) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **options), 4 * PATIENCE))  # type: ignore[arg-type]

    return run


class Cable:
    """A connection to the broker that can be cut."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def unplug(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._broker.host, self._broker.port)
        self._writers += [writer, far_writer]
        self._tasks += [asyncio.create_task(self._pass(reader, far_writer)), asyncio.create_task(self._pass(far_reader, writer))]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while octets := await reader.read(65_536):
                writer.write(octets)

    def cut(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    yield from running_broker(tmp_path / "broker")


class Ear:
    """A client of its own that keeps the newest message of each topic."""

    def __init__(self) -> None:
        self.newest: dict[str, bytes] = {}
        self.heard: list[tuple[str, bytes]] = []
        self._news = asyncio.Event()

    async def listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            self.newest[str(message.topic)] = payload
            self.heard.append((str(message.topic), payload))
            self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.05)


@asynccontextmanager
async def ear(broker: Broker, username: str | None = None, password: str | None = None) -> AsyncIterator[Ear]:
    found = Ear()
    options = {"username": username, "password": password, "tls_context": broker.context()}
    async with aiomqtt.Client(broker.host, broker.port, **options) as client:  # type: ignore[arg-type]
        await client.subscribe("#", qos=1)
        task = asyncio.create_task(found.listen(client))
        try:
            yield found
        finally:
            task.cancel()


@asynccontextmanager
async def running(publisher: MqttPublisher) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(publisher.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


def publisher_of(broker: Broker, now: float = NOON, **options: object) -> MqttPublisher:
    settings = MqttSettings(broker.host, broker.port, **options)  # type: ignore[arg-type]
    return MqttPublisher(settings, clock=lambda: now)


def device_of(telegram: Telegram, **options: object) -> Device:
    return Device(1, str(telegram.address), state="active", interval_learned=900.0, **options)  # type: ignore[arg-type]


def stored(telegram: Telegram, device: Device | None, at: float = NOON) -> ReadingsStored:
    return ReadingsStored(device, telegram, tuple(readings_of(telegram)), at, 1, "stick", -70.0)


def state_topic(telegram: Telegram) -> str:
    return Topics().of(str(telegram.address), "state")


@in_a_loop
async def test_values_of_every_medium_arrive(broker: Broker) -> None:
    """From the telegram through a real broker: the discovery validates, the state holds the truth of the simulation."""
    publisher, bus = publisher_of(broker), Bus()
    end = publisher.attach(bus)
    telegrams = {medium: medium_telegram(medium, number=number) for number, medium in enumerate(sorted(MEDIA))}
    async with ear(broker) as found, running(publisher):
        for medium, telegram in telegrams.items():
            await asyncio.to_thread(bus.publish, stored(telegram, device_of(telegram, label=medium)))
        await found.until(lambda: sum(topic.endswith("/availability") for topic in found.newest) == len(MEDIA))
        await found.until(lambda: all(state_topic(telegram) in found.newest for telegram in telegrams.values()))
        for number, (medium, telegram) in enumerate(telegrams.items()):
            topic = Topics().discovery(str(telegram.address))
            payload = json.loads(found.newest[topic])
            assert faults(topic, payload) == []
            assert payload["device"]["name"] == medium
            assert found.newest[payload["availability"][0]["topic"]] == b"online"
            assert found.newest[payload["availability"][1]["topic"]] == b"online"
            state = json.loads(found.newest[payload["state_topic"]])
            assert set(state) == set(payload["components"])
            metadata = json.loads(found.newest[Topics().of(str(telegram.address), "metadata")])
            truth = Metrology(f"EXS-{number}", medium, 1, Calendar(dt.datetime(2026, 1, 14)), history=True).truth(86_400.0)
            by_tag = {one["tag"]: key for key, one in metadata.items()}
            factors = {"kWh": 1000, "MJ": 1_000_000}
            for tag, value in truth.items():
                component = payload["components"][by_tag[tag]]
                if component["platform"] == "binary_sensor":
                    assert state[by_tag[tag]] == ("ON" if value else "OFF")
                    continue
                factor = factors.get(component.get("unit_of_measurement"), 1)
                assert state[by_tag[tag]] * factor == pytest.approx(float(value)), (medium, tag)
    end()
    assert len(publisher.outbox) == 0


@in_a_loop
async def test_what_is_retained_is_there_for_who_comes_later(broker: Broker) -> None:
    telegram = medium_telegram("cold water")
    publisher = publisher_of(broker)
    publisher.stored(stored(telegram, device_of(telegram)))
    async with running(publisher), ear(broker) as first:
        await first.until(lambda: state_topic(telegram) in first.newest)
        await first.until(lambda: first.newest.get("openmetering/status") == b"online")
    async with ear(broker) as late:
        wanted = {"openmetering/status", state_topic(telegram), Topics().discovery(str(telegram.address))}
        await late.until(lambda: wanted <= set(late.newest))
        assert late.newest["openmetering/status"] == b"offline"
        assert json.loads(late.newest[state_topic(telegram)])["volume_m3"] > 0


@in_a_loop
async def test_the_last_will_when_the_connection_breaks(broker: Broker) -> None:
    """Cut without a farewell: the broker says offline, and the publisher comes back by itself."""
    cable = Cable(broker)
    await cable.plug()
    publisher = MqttPublisher(MqttSettings("127.0.0.1", cable.port), clock=lambda: NOON)
    async with ear(broker) as found, running(publisher):
        await found.until(lambda: found.newest.get("openmetering/status") == b"online")
        cable.cut()
        await found.until(lambda: found.newest.get("openmetering/status") == b"offline")
        await found.until(lambda: found.newest.get("openmetering/status") == b"online")
        assert publisher.connections == 2
    cable.unplug()


@in_a_loop
async def test_nothing_is_lost_while_the_broker_is_away(broker: Broker) -> None:
    """States: the newest arrives. Events: every one of them, in order, for a subscriber with a session of its own."""
    publisher = publisher_of(broker, publish=Rules(telegrams=True))
    telegrams = [record_telegram(f"0C 13 {number:02d} 00 00 00") for number in range(40)]
    session = {"identifier": "reader", "clean_session": False, "protocol": aiomqtt.ProtocolVersion.V311}
    async with aiomqtt.Client(broker.host, broker.port, **session) as client:  # type: ignore[arg-type]
        await client.subscribe("openmetering/meters/#", qos=1)
    async with running(publisher):
        publisher.stored(stored(telegrams[0], device_of(telegrams[0])))
        async with ear(broker) as before:
            await before.until(lambda: state_topic(telegrams[0]) in before.newest)
        await asyncio.to_thread(broker.stop)
        for number, telegram in enumerate(telegrams[1:], 1):
            publisher.stored(stored(telegram, device_of(telegram), NOON + number))
            await asyncio.sleep(0.005)
        waiting = len(publisher.outbox)
        await asyncio.to_thread(broker.start)
        async with aiomqtt.Client(broker.host, broker.port, **session) as client:  # type: ignore[arg-type]
            found = Ear()
            task = asyncio.create_task(found.listen(client))
            await found.until(lambda: b"0.039" in found.newest.get(state_topic(telegrams[0]), b""))
            await found.until(lambda: len({text for topic, text in found.heard if topic.endswith("/telegram")}) == len(telegrams))
            task.cancel()
    values = [json.loads(text)["records"][0]["value"] for topic, text in found.heard if topic.endswith("/telegram")]
    assert list(dict.fromkeys(values)) == [number / 1000 for number in range(40)]  # at least once, in order
    assert waiting >= len(telegrams) - 1
    assert publisher.connections >= 2
    assert publisher.outbox.dropped == 0


@in_a_loop
async def test_many_meters_at_once(broker: Broker) -> None:
    """Two thousand telegrams of four hundred meters from another thread: the newest state of each arrives."""
    publisher = publisher_of(broker)
    telegrams = [medium_telegram("cold water", number=number, history=False) for number in range(400)]

    def flood() -> None:
        for turn in range(5):
            for telegram in telegrams:
                publisher.stored(stored(telegram, device_of(telegram), NOON + turn))

    last = dt.datetime.fromtimestamp(NOON + 4, dt.UTC).isoformat().encode()
    async with ear(broker) as found, running(publisher):
        await asyncio.to_thread(flood)
        await found.until(lambda: all(last in found.newest.get(state_topic(one), b"") for one in telegrams))
    assert len(publisher.meters) == 400


@in_a_loop
async def test_home_assistant_is_told_everything_when_it_starts(broker: Broker) -> None:
    telegram = medium_telegram("gas")
    publisher = publisher_of(broker)
    publisher.stored(stored(telegram, device_of(telegram)))
    config = Topics().discovery(str(telegram.address))
    async with ear(broker) as found, running(publisher):
        await found.until(lambda: config in found.newest)
        await found.until(lambda: len(publisher.outbox) == 0)
        count = [topic for topic, _ in found.heard].count(config)
        async with aiomqtt.Client(broker.host, broker.port) as home_assistant:
            await home_assistant.publish("homeassistant/status", b"offline")
            await home_assistant.publish("homeassistant/status", b"online")
        await found.until(lambda: [topic for topic, _ in found.heard].count(config) == count + 1)


@in_a_loop
async def test_tls_and_a_password(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    words = tmp_path / "passwords"
    words.write_text("meters:secret word\n")
    subprocess.run(["mosquitto_passwd", "-U", str(words)], check=True)
    words.chmod(0o600)
    password = tmp_path / "password"
    password.write_text("secret word\n")
    for broker in running_broker(tmp_path / "broker", f"password_file {words}", files):
        options = {"tls": TlsSettings(ca=str(files[0])), "username": "meters", "password_file": str(password)}
        publisher = publisher_of(broker, **options)
        async with running(publisher), ear(broker, "meters", "secret word") as found:
            await found.until(lambda: found.newest.get("openmetering/status") == b"online")
        stranger = publisher_of(broker, tls=TlsSettings(ca=str(files[0])))
        stop = asyncio.Event()
        task = asyncio.create_task(stranger.run(stop))
        await asyncio.sleep(0.5)
        assert not stranger.connected
        assert stranger.connections == 0
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@in_a_loop
async def test_both_protocols(broker: Broker, protocol: str) -> None:
    publisher = publisher_of(broker, protocol=protocol)
    async with ear(broker) as found, running(publisher):
        await found.until(lambda: found.newest.get("openmetering/status") == b"online")


@in_a_loop
async def test_a_silent_meter_goes_offline_by_itself(broker: Broker) -> None:
    telegram = medium_telegram("cold water")
    now = [NOON]
    publisher = MqttPublisher(MqttSettings(broker.host, broker.port), clock=lambda: now[0])
    publisher.stored(stored(telegram, device_of(telegram)))
    topic = Topics().of(str(telegram.address), "availability")
    async with ear(broker) as found, running(publisher):
        await found.until(lambda: found.newest.get(topic) == b"online")
        now[0] += 4500.0
        publisher.outbox.put([])  # any news makes it look at the time
        await found.until(lambda: found.newest.get(topic) == b"offline")


@in_a_loop
async def test_memory_outlives_a_restart(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    full, static = medium_telegram("cold water"), decode(frame_of(meter_address(0x16), bytes.fromhex("02 FD 0E 07 00")))
    first = publisher_of(broker, memory=str(path))
    first.stored(stored(full, device_of(full)))
    async with ear(broker) as found, running(first):
        await found.until(lambda: state_topic(full) in found.newest)
    assert path.exists()
    second = publisher_of(broker, memory=str(path))
    second.stored(stored(static, device_of(full), NOON + 60))
    config = Topics().discovery(str(full.address))
    async with ear(broker) as found, running(second):
        await found.until(lambda: b"sw_version" in found.newest.get(config, b"").replace(b'"sw_version":"0.1.0"', b""))
        assert "volume_m3" in json.loads(found.newest[config])["components"]
        assert json.loads(found.newest[state_topic(full)])["volume_m3"] > 0


# -- without a broker -----------------------------------------------------------------------------


def offline_publisher(**options: object) -> MqttPublisher:
    return MqttPublisher(MqttSettings("127.0.0.1", 9, **options), clock=lambda: NOON)  # type: ignore[arg-type]


def test_neighbours_are_not_published() -> None:
    telegram = medium_telegram("heat")
    for device in (None, Device(1, str(telegram.address)), Device(1, str(telegram.address), state="retired")):
        publisher = offline_publisher()
        publisher.stored(stored(telegram, device))
        assert len(publisher.outbox) == 0
        everybody = offline_publisher(devices="all")
        everybody.stored(stored(telegram, device))
        assert len(everybody.outbox) == 4


def test_a_retired_device_is_taken_away() -> None:
    telegram = medium_telegram("heat")
    publisher, bus = offline_publisher(), Bus()
    end = publisher.attach(bus)
    device = device_of(telegram)
    bus.publish(stored(telegram, device))
    bus.publish(DeviceChanged(Device(1, device.address, state="active", label="Cellar")))
    named = [message for message in publisher.outbox.head(9) if message.topic.endswith("/config")]
    assert json.loads(named[0].payload)["device"]["name"] == "Cellar"
    bus.publish(DeviceChanged(Device(1, device.address, state="retired")))
    assert {message.payload for message in publisher.outbox.head(9)} == {b""}
    end()
    assert not bus.wanted(ReadingsStored)


def test_alarms_are_events() -> None:
    publisher = offline_publisher()
    publisher.alarm_changed(AlarmChanged(Alarm(7, 1, "leak", "critical", "raised", moment(NOON), "water runs")))
    (message,) = publisher.outbox.head(9)
    assert (message.topic, message.retain) == ("openmetering/alarms/7", False)
    assert json.loads(message.payload)["kind"] == "leak"


def test_the_room_is_asked_for() -> None:
    telegram = medium_telegram("heat")
    publisher = MqttPublisher(MqttSettings("x"), area=lambda device: f"room of {device.id}")
    publisher.stored(stored(telegram, device_of(telegram)))
    config = next(one for one in publisher.outbox.head(9) if one.topic.endswith("/config"))
    assert json.loads(config.payload)["device"]["suggested_area"] == "room of 1"


def test_frames_of_nobody_are_not_published() -> None:
    publisher = offline_publisher(devices="all")
    publisher.stored(stored(decode(bytes.fromhex("10 5B 01 5C 16")), None))
    assert len(publisher.outbox) == 0


@in_a_loop
async def test_it_tries_again_and_stops_when_told() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    publisher = MqttPublisher(MqttSettings("127.0.0.1", port))
    async with running(publisher):
        await asyncio.sleep(0.2)
    assert publisher.connections == 0


def test_a_memory_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "memory.json"
    publisher = offline_publisher(memory=str(path))
    telegram = medium_telegram("heat")
    publisher.stored(stored(telegram, device_of(telegram)))
    publisher.save()
    assert publisher.meters.changed
    path.parent.mkdir()
    publisher.save()
    assert path.exists()
    assert not publisher.meters.changed
