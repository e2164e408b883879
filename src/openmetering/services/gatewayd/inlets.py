"""Doors for messages of other gateways: a topic of a broker, and an HTTP server that takes POST.

    mqtt://HOST:PORT/TOPIC, mqtts://...   topic with + and # as in MQTT; format=, user=, password_file=, version=, ca=,
                                          certificate=, private_key=
    http-listen://[HOST]:PORT             POST to any path; format=, token_file= (bearer) or user= and password_file=
                                          (basic), certificate= and private_key= for TLS

The server answers 204 when the telegrams of a message were taken, 400 for a message without any that can be read, 401, 413.
Where it is reachable for others it needs a token or a password, and TLS.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import http.server
import os
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from openmetering.errors import InputError, TransportError
from openmetering.services.gatewayd.config import BrokerConfig
from openmetering.services.gatewayd.formats import MessageReader
from openmetering.services.gatewayd.mqtt import connected
from openmetering.services.gatewayd.uplink import is_local, read_secret
from openmetering.transport.doors import BackOff, Clock, Emit
from openmetering.transport.links import wrap
from openmetering.transport.reception import BadLine, Notice, Reception
from openmetering.transport.source_address import Options, SourceAddress, wrong

__all__ = ["HttpInlet", "MqttInlet"]

_LARGEST: Final = 16 << 20
_PATIENCE: Final = 30.0


def _place(address: SourceAddress) -> tuple[str, int | None, str]:
    """Host, port and path. Raises InputError (``input.source``)."""
    try:
        parts = urlsplit(f"//{address.target}")
        return parts.hostname or "", parts.port, parts.path.strip("/")
    except ValueError:
        raise wrong(f"{address.text!r} has no usable port (1..65535)") from None


class MqttInlet:
    """Messages of a topic; connects again after a loss."""

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        host, port, topic = _place(address)
        if not host or not topic:
            raise wrong(f"{address.text!r} names no topic; write mqtt://HOST:1883/TOPIC")
        self.name = address.name
        self._topic = topic
        self._reader = MessageReader(options.text("format", fmt), self.name)
        version = options.text("version", "5")
        if version not in ("5", "3.1.1"):
            raise wrong(f"version={version}: MQTT is 5 or 3.1.1")
        self._config = BrokerConfig(
            f"{address.scheme}://{host}" + (f":{port}" if port else ""),
            version="5" if version == "5" else "3.1.1",
            user=options.text("user"),
            password_file=options.text("password_file"),
            ca=options.text("ca"),
            certificate=options.text("certificate"),
            private_key=options.text("private_key"),
        )
        self._identifier = options.text("identifier", f"openmetering-inlet-{os.urandom(6).hex()}")
        options.done()
        self._clock = clock

    async def run(self, emit: Emit) -> None:
        """Deliver until cancelled. Raises TransportError if the first connection fails."""
        pauses = BackOff()
        reached = False
        while True:
            try:
                async with connected(self._config, self._identifier) as client:
                    await client.subscribe(self._topic, 1)
                    reached = True
                    pauses.good()
                    await emit(Notice(self.name, "connected"))
                    async for message in client.messages:
                        for item in self._reader.read(message.payload, self._clock()):
                            await emit(item)
            except TransportError as error:
                if not reached:
                    raise
                pause = pauses.pause()
                text = f"{error.message}; next attempt in {pause:g} s"
                await emit(Notice(self.name, text, "warning", "transport.lost"))
                await asyncio.sleep(pause)


class _Server(http.server.ThreadingHTTPServer):
    """One thread a request; none of them keeps the process alive."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], take: Callable[[bytes], int], allowed: Callable[[str], bool]) -> None:
        self.take = take
        self.allowed = allowed
        super().__init__(place, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    server_version = "openmetering"
    sys_version = ""
    timeout = 30

    def do_POST(self) -> None:
        """A message."""
        length = self.headers.get("Content-Length", "")
        if not self.server.allowed(self.headers.get("Authorization", "")):
            self._answer(401)
        elif not length.isdecimal():
            self._answer(411)
        elif int(length) > _LARGEST:
            self._answer(413)
        else:
            self._answer(self.server.take(self.rfile.read(int(length))))

    def _answer(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted by the health of the source."""


class HttpInlet:
    """Messages by POST. ``port`` is that of the system where it was 0, once ``run`` is under way."""

    def __init__(self, address: SourceAddress, fmt: str = "auto", *, clock: Clock = time.time) -> None:
        options = Options(address)
        host, port, _ = _place(address)
        if port is None:
            raise wrong(f"{address.text!r} needs a port, for example http-listen://127.0.0.1:8080")
        self.name = address.name
        self.host, self.port = host, port
        self._reader = MessageReader(options.text("format", fmt), self.name)
        self._secrets = _secrets(options)
        self._tls = options.text("certificate"), options.text("private_key")
        options.done()
        if not is_local(host) and not self._secrets:
            raise wrong(f"{address.text!r} can be reached by others: add token_file= or user= and password_file=")
        self._clock = clock
        self._lock = threading.Lock()

    def _allowed(self, header: str) -> bool:
        return not self._secrets or hmac.compare_digest(header.encode("utf-8", "replace"), self._secrets.encode())

    async def run(self, emit: Emit) -> None:
        """Serve until cancelled. Raises TransportError if the port cannot be used."""
        loop = asyncio.get_running_loop()

        async def give(items: list[Reception | BadLine]) -> None:
            for item in items:
                await emit(item)

        def take(message: bytes) -> int:
            with self._lock:
                items = self._reader.read(message, self._clock())
            try:
                asyncio.run_coroutine_threadsafe(give(items), loop).result(_PATIENCE)
            except (TimeoutError, RuntimeError, asyncio.CancelledError):
                return 503
            return 400 if items and all(isinstance(item, BadLine) for item in items) else 204

        try:
            server = _Server((self.host, self.port), take, self._allowed)
        except OSError as error:
            raise wrap(error, f"{self.name} cannot listen", "transport.open") from error
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="openmetering-http", daemon=True)
        try:
            self._encrypt(server)
            thread.start()
            await emit(Notice(self.name, f"listening on port {self.port}"))
            await asyncio.Event().wait()
        finally:
            if thread.is_alive():
                await asyncio.to_thread(server.shutdown)
            server.server_close()

    def _encrypt(self, server: _Server) -> None:
        certificate, private_key = self._tls
        if not certificate:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(certificate, private_key or None)
        except (OSError, ssl.SSLError) as error:
            raise TransportError(f"TLS: {error}", code="transport.open", layer="transport") from None
        # the handshake belongs to the thread of the request, not to the loop that accepts
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


def _secrets(options: Options) -> str:
    """The header that is demanded; empty for none. Raises InputError."""
    token, user, password = options.text("token_file"), options.text("user"), options.text("password_file")
    if token:
        return f"Bearer {read_secret(token, 'token')}"
    if user or password:
        if not (user and password):
            raise InputError("user= and password_file= belong together", code="input.source", layer="input")
        pair = f"{user}:{read_secret(password, 'password')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    return ""
