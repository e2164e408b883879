"""Webhooks: events of the head-end posted to addresses of others, signed, again and again until they arrive.

    bus event --> rows of the database, one for each webhook that wants it --> post --> 2xx: delivered
                                                                                |-----> else: again later, in the end given up

    POST url
    webhook-id: delivery-17                 the same for every attempt: receivers drop what they know
    webhook-timestamp: 1768392000           of this attempt
    webhook-signature: v1,BASE64            HMAC-SHA256 of "id.timestamp.body" with the secret of the webhook
    {"type":"alarm","timestamp":"2026-01-14T12:00:00Z","data":{...}}

A row is written after the event and before the post, so an event is posted at least once. While an address does not
answer, everything for it waits for the next attempt. Webhooks of a tenant see the events of the tenant's devices only,
and are not posted into private networks unless the operator allows it.
Source: Standard Webhooks 1.0.0 (headers, signature scheme v1, secrets)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import func, select, update

from openmetering.errors import InputError, OmsError, TransportError
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, Event, GatewayChanged, JobChanged, ReadingsStored
from openmetering.services.headend.model import Webhook
from openmetering.storage import tables, webhook_rows
from openmetering.storage.database import Database

__all__ = ["EVENTS", "PAUSES", "HttpPoster", "Poster", "Webhooks", "signature"]

_log = logging.getLogger(__name__)
#: names that a webhook may ask for
EVENTS: Final = {
    "reading": ReadingsStored,
    "alarm": AlarmChanged,
    "job": JobChanged,
    "device": DeviceChanged,
    "gateway": GatewayChanged,
}
_NAMES: Final = {kind: name for name, kind in EVENTS.items()}
#: after so many failures the next attempt waits so long; one more failure, and the event is given up
PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 21_600, 86_400, 86_400))
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)  #: when the next attempt of an event that was given up is
_KNOWN_FOR: Final = timedelta(seconds=10)  #: so long the list of webhooks is believed
_KEPT: Final = timedelta(days=30)
_ROUND: Final = 200
_TIMEOUT: Final = 10.0
_PREFIX: Final = "whsec_"


def signature(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``. A secret with the prefix ``whsec_`` is BASE64, any other its own octets.

    Raises InputError (``webhook.secret``)
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else secret.encode()
    except binascii.Error as error:
        raise InputError("the secret of the webhook is no BASE64 behind whsec_", code="webhook.secret") from error
    signed = f"{identity}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Poster(Protocol):
    """Who posts. ``private`` says whether addresses of private networks are allowed."""

    def post(self, url: str, headers: dict[str, str], body: bytes, *, private: bool) -> int:
        """Returns the status of the answer. Raises TransportError (``webhook.failed``), InputError (``webhook.url``)"""
        ...


class HttpPoster:
    """Posts with HTTP or HTTPS, follows no redirection, reads no answer beyond its status."""

    __slots__ = ("_context", "_timeout")

    def __init__(self, *, timeout: float = _TIMEOUT, context: ssl.SSLContext | None = None) -> None:
        self._timeout = timeout
        self._context = context or ssl.create_default_context()

    def post(self, url: str, headers: dict[str, str], body: bytes, *, private: bool) -> int:
        """See ``Poster``. The name is resolved once: the address that was judged is the one that is used."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InputError(f"{url} is no address: {error}", code="webhook.url") from error
        if parts.scheme not in ("http", "https") or not host:
            raise InputError(f"{url} is neither http nor https", code="webhook.url")
        secure = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection = self._connect(host, port or (443 if secure else 80), secure, private)
            try:
                connection.request("POST", target, body, headers)
                return connection.getresponse().status
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise TransportError(f"{host}: {str(error) or type(error).__name__}", code="webhook.failed") from error

    def _connect(self, host: str, port: int, secure: bool, private: bool) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        raw = socket.create_connection((_judged(host, port, private), port), self._timeout)
        connection.sock = self._context.wrap_socket(raw, server_hostname=host) if secure else raw
        return connection


def _judged(host: str, port: int, private: bool) -> str:
    """The address of a host. Raises TransportError where only public addresses are allowed and it is none."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if private or ipaddress.ip_address(address.partition("%")[0]).is_global:
            return address
    raise TransportError(f"{host} is in a private network, where webhooks of a tenant may not go", code="webhook.failed")


class Webhooks:
    """Queues and posts. ``take`` in the threads of the bus, ``post_due`` in one thread of its own.

    ``reveal`` turns the secret of a row into the secret; ``private`` allows tenants addresses in private networks.
    """

    __slots__ = ("_clock", "_database", "_known", "_known_until", "_lock", "_poster", "_private", "_reveal", "given_up", "news")

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        poster: Poster | None = None,
        *,
        private: bool = False,
        reveal: Callable[[str], str] = str,
    ) -> None:
        self._database, self._clock = database, clock
        self._poster: Poster = poster or HttpPoster()
        self._private, self._reveal = private, reveal
        self._lock = threading.Lock()
        self._known: tuple[Webhook, ...] = ()
        self._known_until = datetime.min.replace(tzinfo=UTC)
        #: set when a row was written: the thread that posts may wait for it
        self.news = threading.Event()
        self.given_up = 0

    # -- events in ----------------------------------------------------------------------------

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Listen to everything; returns what ends it."""

        def told(event: Event) -> None:
            self.take(event)

        return bus.subscribe_all(told)

    def webhooks(self) -> tuple[Webhook, ...]:
        """The webhooks that there are, at most some seconds old."""
        now = self._clock()
        with self._lock:
            if now >= self._known_until:
                with self._database.reading() as connection:
                    self._known = tuple(webhook_rows.webhooks.all(connection))
                self._known_until = now + _KNOWN_FOR
            return self._known

    def refresh(self) -> None:
        """Read the list of webhooks again at its next use."""
        with self._lock:
            self._known_until = datetime.min.replace(tzinfo=UTC)

    def take(self, event: Event) -> int:
        """Write a row for each webhook that wants the event; returns how many. Raises TransportError (``storage.failed``)"""
        name = _NAMES[type(event)]
        wanting = [one for one in self.webhooks() if name in one.events]
        if not wanting:
            return 0
        tenant = self._tenant(event)
        wanting = [one for one in wanting if one.tenant_id is None or one.tenant_id == tenant]
        if not wanting:
            return 0
        now = self._clock()
        payload = msgspec.json.encode({"type": name, "timestamp": _utc(now), "data": _data(event)}).decode()
        with self._database.transaction() as connection:
            for one in wanting:
                webhook_rows.queue(connection, one.id, name, payload, now)
        self.news.set()
        return len(wanting)

    def _tenant(self, event: Event) -> int | None:
        """Whose event it is; None for nobody's: only webhooks without tenant get it."""
        if isinstance(event, ReadingsStored):
            return None if event.device is None else event.device.tenant_id
        if isinstance(event, DeviceChanged):
            return event.device.tenant_id
        if isinstance(event, GatewayChanged):
            return None
        device = event.alarm.device_id if isinstance(event, AlarmChanged) else event.job.device_id
        if device is None:
            return None
        with self._database.reading() as connection:
            found = connection.execute(select(tables.devices.c.tenant_id).where(tables.devices.c.id == device)).scalar()
        return None if found is None else int(found)

    # -- posts out ------------------------------------------------------------------------------

    def post_due(self) -> int:
        """Post what is due, the oldest first; returns how many arrived. Raises TransportError (``storage.failed``)"""
        self.news.clear()
        with self._database.reading() as connection:
            waiting = webhook_rows.due(connection, self._clock(), _ROUND)
        known = {one.id: one for one in self.webhooks()}
        silent: set[int] = set()
        arrived = 0
        for delivery in waiting:
            webhook = known.get(delivery.webhook_id)
            if webhook is None or webhook.id in silent:
                continue
            error, final = self._post(webhook, delivery)
            if error is None:
                with self._database.transaction() as connection:
                    webhook_rows.delivered(connection, delivery.id, self._clock())
                arrived += 1
                continue
            self._failed(delivery, error, final)
            if not final:
                silent.add(webhook.id)
        return arrived

    def _post(self, webhook: Webhook, delivery: webhook_rows.Delivery) -> tuple[str | None, bool]:
        """None if it arrived, else why not, and whether another attempt is of no use."""
        try:
            secret = self._reveal(webhook.secret)
        except InputError as error:  # the master key was changed since the list was read: the next attempt knows
            self.refresh()
            return error.message, False
        now = int(self._clock().timestamp())
        body, identity = delivery.payload.encode(), f"delivery-{delivery.id}"
        try:
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "openmetering",
                "webhook-id": identity,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(secret, identity, now, body),
            }
            private = self._private or webhook.tenant_id is None
            status = self._poster.post(webhook.url, headers, body, private=private)
        except InputError as error:
            return error.message, True
        except OmsError as error:
            return error.message, False
        if 200 <= status < 300:
            return None, False
        return f"answered {status}", status == http.client.GONE

    def _failed(self, delivery: webhook_rows.Delivery, error: str, final: bool) -> None:
        """Try again later, and all that waits for the same address with it."""
        now = self._clock()
        final = final or delivery.attempts >= len(PAUSES)
        again = _NEVER if final else now + PAUSES[delivery.attempts]
        table = tables.webhook_deliveries
        with self._database.transaction() as connection:
            webhook_rows.failed(connection, delivery.id, f"given up: {error}" if final else error, again)
            if not final:
                connection.execute(
                    update(table)
                    .where(table.c.webhook_id == delivery.webhook_id, table.c.delivered_at.is_(None), table.c.due < again)
                    .values(due=again)
                )
        if final:
            self.given_up += 1
            _log.warning("webhook %s: event %s is given up: %s", delivery.webhook_id, delivery.id, error)

    def waiting(self) -> int:
        """How many events have neither arrived nor been given up."""
        table = tables.webhook_deliveries
        with self._database.reading() as connection:
            counted = select(func.count()).select_from(table).where(table.c.delivered_at.is_(None), table.c.due < _NEVER)
            return int(connection.execute(counted).scalar_one())

    def purge(self) -> int:
        """Forget what arrived a month ago; returns how many."""
        with self._database.transaction() as connection:
            return webhook_rows.purge_delivered(connection, self._clock() - _KEPT)

    def run(self, stop: threading.Event, pause: float = 1.0) -> None:
        """Post until ``stop``; a database that fails is tried again. For a thread of its own."""
        while not stop.is_set():
            try:
                self.post_due()
            except TransportError as error:
                _log.error("webhooks: %s", error)
            self.news.wait(pause)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _data(event: Event) -> object:
    """What is told of an event."""
    if isinstance(event, ReadingsStored):
        return {
            "device": None if event.device is None else event.device.address,
            "received_at": _utc(datetime.fromtimestamp(event.received_at, UTC)),
            "source": event.source,
            "rssi": event.rssi,
            "frame_id": event.frame_id,
            "error": None if event.telegram.error is None else event.telegram.error.code,
            "readings": [_reading(one.series, one.value, one.time, one.error) for one in event.readings],
        }
    return msgspec.structs.astuple(event)[0]


def _reading(series: msgspec.Struct, value: str | None, time: str | None, error: str | None) -> dict[str, object]:
    described = msgspec.structs.asdict(series)
    return {**{name: described[name] for name in _TOLD}, "value": value, "time": time, "error": error}


_TOLD: Final = ("quantity", "unit", "function", "storage", "tariff", "subunit", "qualifiers", "obis", "tag")
