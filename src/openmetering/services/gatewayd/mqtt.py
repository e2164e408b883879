"""MQTT, both ends: the way up of a gateway, and the receiver of a head-end.

    PREFIX/GATEWAY/up      Report, QoS 1
    PREFIX/GATEWAY/down    Reply, QoS 1
    PREFIX/GATEWAY/state   health of the gateway, retained; {"online": false} is its last will

A batch is settled by the reply of the head-end, which has stored it then (``acknowledge = "head-end"``), or by the PUBACK of
the broker. Both ends keep their sessions at the broker, so that a reply or a report that was on its way is delivered
after a loss of the connection. Source: MQTT 3.1.1 and 5.0 (OASIS), QoS 1, clean session, session expiry, will.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from openmetering.errors import InputError, OmsError, TransportError
from openmetering.services.gatewayd.config import BrokerConfig, UplinkConfig, seconds_of
from openmetering.services.gatewayd.messages import Reply, Report, read_reply, read_report, written
from openmetering.services.gatewayd.uplink import OnReply, read_secret, tls_context
from openmetering.transport.doors import BackOff

if TYPE_CHECKING:
    import aiomqtt

__all__ = ["MqttReceiver", "MqttUplink", "connected"]

_EXPIRY: Final = 7 * 86_400  #: seconds that a broker keeps a session of MQTT 5
_OFFLINE: Final = b'{"online":false}'
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_log = logging.getLogger("openmetering.mqtt")


def _library() -> None:
    """Raises TransportError (``transport.extra``) where the package is missing."""
    try:
        import aiomqtt  # noqa: F401
    except ImportError:
        raise TransportError(
            "MQTT needs the package aiomqtt: pip install 'openmetering[mqtt]'", code="transport.extra", layer="transport"
        ) from None


def _failed(name: str, error: BaseException) -> TransportError:
    return TransportError(f"{name}: {error}", code="transport.lost", layer="transport")


@contextlib.asynccontextmanager
async def connected(config: BrokerConfig, identifier: str, will: str = "") -> AsyncIterator[aiomqtt.Client]:
    """A client while the block runs. ``will`` is the topic of the last will. Raises TransportError, InputError."""
    _library()
    import aiomqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    parts = urlsplit(config.to)
    newest = config.version == "5"
    properties = None
    if newest:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _EXPIRY
    try:
        async with aiomqtt.Client(
            parts.hostname or "localhost",
            parts.port or _PORTS[parts.scheme],
            username=config.user or None,
            password=read_secret(config.password_file, "password") if config.password_file else None,
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion.V5 if newest else aiomqtt.ProtocolVersion.V311,
            clean_session=None if newest else False,
            clean_start=False if newest else 3,
            properties=properties,
            will=aiomqtt.Will(will, _OFFLINE, 1, True) if will else None,
            tls_context=tls_context(config) if parts.scheme == "mqtts" else None,
            timeout=seconds_of(config.timeout),
            keepalive=30,
            logger=_log,
        ) as client:
            try:
                yield client
            finally:
                _look_at_the_end(client)
    except aiomqtt.MqttError as error:
        raise _failed(config.to, error) from error
    except (OSError, ValueError) as error:
        raise _failed(config.to, error) from error


def _look_at_the_end(client: aiomqtt.Client) -> None:
    """A lost connection leaves its error in a future that the library never asks; unasked, it would be logged as a fault."""
    ended = getattr(client, "_disconnected", None)
    if isinstance(ended, asyncio.Future) and ended.done() and not ended.cancelled():
        ended.exception()


class MqttUplink:
    """The way up over a broker. Only one report is under way at a time."""

    def __init__(self, config: UplinkConfig, gateway: str) -> None:
        _library()
        self.name = config.to
        self._config = config
        self._gateway = gateway
        self._timeout = seconds_of(config.timeout)
        self._topic = f"{config.topic}/{gateway}"
        self._client: aiomqtt.Client | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._asked = ""
        self._lost = f"{config.to}: not connected yet"

    async def run(self, on_reply: OnReply) -> None:
        """Stay connected; try again after a loss, with growing pauses."""
        pauses = BackOff(1.0, seconds_of(self._config.longest))
        while True:
            try:
                async with connected(self._config, f"openmetering-{self._gateway}", f"{self._topic}/state") as client:
                    await client.subscribe(f"{self._topic}/down", 1)
                    self._client = client
                    pauses.good()
                    async for message in client.messages:
                        self._take(message.payload, on_reply)
            except TransportError as error:
                self._lost = error.message
            finally:
                self._client = None
                self._break()
            await asyncio.sleep(pauses.pause())

    def _break(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(TransportError(self._lost, code="transport.lost", layer="transport"))

    def _take(self, payload: bytes, on_reply: OnReply) -> None:
        try:
            reply = read_reply(payload)
        except InputError as error:
            _log.warning("%s: %s", self.name, error.message)
            return
        waiting = self._reply
        if waiting is not None and not waiting.done() and reply.answers == self._asked:
            waiting.set_result(reply)
        else:
            on_reply(reply)

    def _open(self) -> aiomqtt.Client:
        if self._client is None:
            raise TransportError(self._lost, code="transport.lost", layer="transport")
        return self._client

    async def exchange(self, report: Report) -> Reply:
        """Publish; wait for the reply of the head-end, or for the PUBACK of the broker."""
        client = self._open()
        if self._config.acknowledge == "broker":
            await self._publish(client, "up", written(report))
            batch = report.batch
            stored = None if batch is None else batch.last
            told = tuple(result.id for result in report.results)
            return Reply(report.id, "" if batch is None else batch.stream, stored, told)
        self._reply, self._asked = asyncio.get_running_loop().create_future(), report.id
        try:
            await self._publish(client, "up", written(report))
            return await asyncio.wait_for(self._reply, self._timeout)
        except TimeoutError:
            raise TransportError(
                f"{self.name}: the head-end does not reply within {self._timeout:g} s", code="transport.send", layer="transport"
            ) from None
        finally:
            self._reply.cancel()
            self._reply = None

    async def state(self, octets: bytes) -> None:
        """Publish the health, retained."""
        await self._publish(self._open(), "state", octets, retain=True)

    async def _publish(self, client: aiomqtt.Client, part: str, octets: bytes, *, retain: bool = False) -> None:
        import aiomqtt

        try:
            await client.publish(f"{self._topic}/{part}", octets, 1, retain, timeout=self._timeout)
        except aiomqtt.MqttError as error:
            raise _failed(self.name, error) from error


class MqttReceiver:
    """The end of a head-end: reports of all gateways of a prefix, replies to them.

    ``handle`` is called in a thread with each report and gives the reply; what it raises as OmsError is logged, and the
    gateway tells the report again. ``on_state`` gets the health of a gateway as JSON, or that it is offline.
    """

    def __init__(
        self,
        config: BrokerConfig,
        handle: Callable[[Report], Reply],
        *,
        identifier: str = "openmetering-head-end",
        on_state: Callable[[str, bytes], None] | None = None,
    ) -> None:
        _library()
        self._config = config
        self._handle = handle
        self._identifier = identifier
        self._on_state = on_state
        self._client: aiomqtt.Client | None = None
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; connect again after a loss."""
        pauses = BackOff(1.0, seconds_of(self._config.longest))
        while True:
            try:
                await self._serve(pauses)
            except TransportError as error:
                _log.warning("%s; next attempt follows", error.message)
            finally:
                self._client = None
                self.ready.clear()
            await asyncio.sleep(pauses.pause())

    async def _serve(self, pauses: BackOff) -> None:
        prefix = self._config.topic
        async with connected(self._config, self._identifier) as client:
            await client.subscribe([(f"{prefix}/+/up", 1), (f"{prefix}/+/state", 1)])
            self._client = client
            self.ready.set()
            pauses.good()
            async for message in client.messages:
                _, gateway, part = message.topic.value.rsplit("/", 2)
                if part == "up":
                    await self._report(client, gateway, message.payload)
                elif self._on_state is not None:
                    self._on_state(gateway, message.payload)

    async def _report(self, client: aiomqtt.Client, gateway: str, payload: bytes) -> None:
        try:
            report = read_report(payload)
            if report.gateway != gateway:
                raise InputError(f"a report of {report.gateway!r} on the topic of {gateway!r}", code="input.line", layer="input")
            reply = await asyncio.to_thread(self._handle, report)
        except OmsError as error:
            _log.warning("report of %s: %s (%s)", gateway, error.message, error.code)
            return
        await client.publish(f"{self._config.topic}/{gateway}/down", written(reply), 1)

    async def send(self, gateway: str, reply: Reply) -> None:
        """Orders that do not wait for the next report. Raises TransportError."""
        import aiomqtt

        if self._client is None:
            raise TransportError(f"{self._config.to} is not connected", code="transport.lost", layer="transport")
        try:
            await self._client.publish(f"{self._config.topic}/{gateway}/down", written(reply), 1)
        except aiomqtt.MqttError as error:
            raise _failed(self._config.to, error) from error
