"""The publisher: news of the head-end to the broker, for as long as it is asked to run.

    bus (threads) --> Meters (decides) --> Outbox --> one task --> broker
    clock         --> Meters.timeout

The connection is made again whenever it breaks, with growing pauses; the last will says ``offline``, and with every
connection everything retained is said again. When Home Assistant says that it has started it is told everything, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aiomqtt
import msgspec

from openmetering.errors import InputError
from openmetering.interfaces.mqtt.discovery import OFFLINE, ONLINE, Topics
from openmetering.interfaces.mqtt.meters import Heard, Message, Meters
from openmetering.interfaces.mqtt.outbox import Outbox
from openmetering.interfaces.mqtt.settings import MqttSettings
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, ReadingsStored
from openmetering.services.headend.model import Device
from openmetering.storage.reading_rows import device_address

__all__ = ["MqttPublisher"]

_log = logging.getLogger(__name__)
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  #: seconds between attempts to connect
_TOGETHER = 32  #: messages that are under way at once
_ALIVE = frozenset(("registered", "active", "faulty"))
_SAVE = 60.0  #: seconds between two times that the memory is written, if there is something new
_TIMEOUT = 10.0
_PROTOCOLS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}


class MqttPublisher:
    """Publishes what the bus tells. ``attach`` from any thread, ``run`` in an event loop."""

    __slots__ = (
        "_area",
        "_clock",
        "_lock",
        "_loop",
        "_memory",
        "_news",
        "_saved",
        "connected",
        "connections",
        "meters",
        "outbox",
        "settings",
    )

    def __init__(
        self,
        settings: MqttSettings,
        *,
        clock: Callable[[], float] = time.time,
        area: Callable[[Device], str | None] | None = None,
    ) -> None:
        """``area`` gives the room of a device, where somebody knows it. Raises InputError (``mqtt.zone``, ``mqtt.memory``)"""
        self.settings = settings
        self.meters = Meters(settings.topics, settings.publish, _zone(settings.publish.clock_zone))
        self.outbox = Outbox(settings.buffer)
        self.connected = False
        self.connections = 0
        self._clock, self._area = clock, area
        self._lock = threading.Lock()  # of the meters: the bus tells from threads
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._saved = 0.0
        self._memory = None if settings.memory is None else Path(settings.memory)
        if self._memory is not None and self._memory.exists():
            self.meters.restore(self._memory.read_bytes())

    # -- the bus ------------------------------------------------------------------------------

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Listen to the head-end; returns what ends it."""
        ends = (
            bus.subscribe(ReadingsStored, self.stored),
            bus.subscribe(DeviceChanged, self.device_changed),
            bus.subscribe(AlarmChanged, self.alarm_changed),
        )

        def end() -> None:
            for one in ends:
                one()

        return end

    def admits(self, device: Device | None) -> bool:
        """True if readings of this device may be published."""
        return self.settings.devices == "all" or (device is not None and device.state in _ALIVE)

    def stored(self, event: ReadingsStored) -> None:
        """A telegram was stored."""
        device, telegram = event.device, event.telegram
        address = device.address if device is not None else device_address(telegram, event.source)
        if address is None or not self.admits(device):
            return
        item = Heard(
            address,
            telegram,
            event.received_at,
            label="" if device is None else device.label,
            area=None if device is None or self._area is None else self._area(device),
            rssi=event.rssi,
            source=event.source,
            interval=None if device is None else device.interval_learned,
        )
        with self._lock:
            messages = self.meters.heard(item)
        self.outbox.put(messages)

    def device_changed(self, event: DeviceChanged) -> None:
        """A device has another name, or is no longer ours."""
        device = event.device
        with self._lock:
            if self.admits(device):
                messages = self.meters.rename(device.address, device.label, None if self._area is None else self._area(device))
            else:
                messages = self.meters.forget(device.address)
        self.outbox.put(messages)

    def alarm_changed(self, event: AlarmChanged) -> None:
        """An alarm as JSON, not retained."""
        alarm = event.alarm
        self.outbox.put([Message(self.settings.topics.alarm(alarm.id), msgspec.json.encode(alarm), retain=False)])

    # -- the connection -----------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until ``stop``; what waits then is sent if the broker is there. Raises InputError for wrong settings."""
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.outbox.wake = self._wake
        password, tls = self.settings.password(), None if self.settings.tls is None else self.settings.tls.context()
        stopping = asyncio.create_task(stop.wait())
        attempt = 0
        try:
            while not stop.is_set():
                begun = self.connections
                try:
                    await self._session(self._client(password, tls), stopping)
                except (aiomqtt.MqttError, OSError) as error:
                    attempt = 0 if self.connections > begun else attempt + 1
                    pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
                    _log.warning("MQTT broker %s: %s; again in %.0f s", self.settings.host, error, pause)
                    await asyncio.wait((stopping,), timeout=pause)
                finally:
                    self.connected = False
        finally:
            self.outbox.wake = None
            stopping.cancel()
            self.save()

    def _client(self, password: str | None, tls: ssl.SSLContext | None) -> aiomqtt.Client:
        settings = self.settings
        return aiomqtt.Client(
            settings.host,
            settings.number,
            username=settings.username,
            password=password,
            identifier=settings.client,
            protocol=_PROTOCOLS[settings.protocol],
            keepalive=settings.keepalive,
            will=aiomqtt.Will(settings.topics.status, OFFLINE, qos=1, retain=True),
            tls_context=tls,
            timeout=_TIMEOUT,
        )

    async def _session(self, client: aiomqtt.Client, stopping: asyncio.Task[bool]) -> None:
        """One connection, from its beginning to the stop or the break."""
        topics = self.settings.topics
        async with client:
            self.connected = True
            self.connections += 1
            _log.info("MQTT broker %s: connected", self.settings.host)
            await client.subscribe(topics.home_assistant_status, qos=1)
            with self._lock:
                self.outbox.put(self.meters.everything())
            await client.publish(topics.status, ONLINE, qos=1, retain=True)
            births = asyncio.create_task(self._births(client, topics))
            try:
                while not stopping.done():
                    self._look(self._clock())
                    if not await self._batch(client):
                        await self._rest(stopping, births)
                    if births.done():
                        births.result()
                await self._farewell(client)
                await client.publish(topics.status, OFFLINE, qos=1, retain=True)
            finally:
                births.cancel()

    async def _births(self, client: aiomqtt.Client, topics: Topics) -> None:
        """Home Assistant has started: tell it everything."""
        async for message in client.messages:
            if str(message.topic) == topics.home_assistant_status and message.payload == ONLINE:
                with self._lock:
                    self.outbox.put(self.meters.everything())

    async def _batch(self, client: aiomqtt.Client) -> bool:
        """Send some of what waits; each message leaves the outbox with its acknowledgement. False if nothing waited."""
        batch = self.outbox.head(_TOGETHER)
        await asyncio.gather(*(self._send(client, message) for message in batch))
        return bool(batch)

    async def _farewell(self, client: aiomqtt.Client) -> None:
        """Send the rest, but not for ever: others may still put."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT):
                while await self._batch(client):
                    pass

    async def _send(self, client: aiomqtt.Client, message: Message) -> None:
        await client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain, timeout=_TIMEOUT)
        self.outbox.done(message)

    async def _rest(self, stopping: asyncio.Task[bool], births: asyncio.Task[None]) -> None:
        """Wait for news, the stop, the end of the connection or a meter that falls silent."""
        now = self._clock()
        deadline = self.meters.deadline
        patience = _SAVE if deadline is None else min(_SAVE, max(0.05, deadline - now))
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait((news, stopping, births), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        self._news.clear()

    def _look(self, now: float) -> None:
        with self._lock:
            messages = self.meters.timeout(now)
        if messages:
            self.outbox.put(messages)
        if now - self._saved >= _SAVE:
            self._saved = now
            self.save()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    # -- memory -------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the memory if there is something new; a write that fails is logged and tried again later."""
        path = self._memory
        if path is None:
            return
        with self._lock:
            if not self.meters.changed:
                return
            octets = self.meters.snapshot()
        try:
            _replace(path, octets)
        except OSError as error:
            self.meters.changed = True
            _log.error("the memory of the MQTT publisher cannot be written: %s", error)


def _replace(path: Path, octets: bytes) -> None:
    """The new file takes the place of the old one when it is on the disk."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _zone(name: str | None) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"there is no time zone {name!r}", code="mqtt.zone") from error
