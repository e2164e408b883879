"""The ways up: a report goes, a reply comes. In the process, or by HTTPS; MQTT is in ``mqtt``.

A way that fails raises TransportError; the daemon waits and tells the same report again. Nothing is dropped here.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from openmetering.errors import InputError, TransportError
from openmetering.services.gatewayd.config import BrokerConfig, UplinkConfig, seconds_of
from openmetering.services.gatewayd.messages import Reply, Report, read_reply, written

__all__ = ["DirectUplink", "HttpUplink", "OnReply", "Uplink", "is_local", "read_secret", "tls_context"]

OnReply = Callable[[Reply], None]
_LARGEST_REPLY: Final = 64 << 20
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Uplink(Protocol):
    """A way to the head-end; ``name`` for people."""

    name: str

    async def run(self, on_reply: OnReply) -> None:
        """Keep the way open, where it needs that; ``on_reply`` gets replies that nobody waits for. Never ends by itself."""
        ...

    async def exchange(self, report: Report) -> Reply:
        """Tell a report and wait for the reply. Raises TransportError."""
        ...

    async def state(self, octets: bytes) -> None:
        """Publish the health of the gateway, where there is a place for it. Raises TransportError."""
        ...


class DirectUplink:
    """A head-end in the same process. ``handle`` is called in a thread; what it raises as OmsError is told to the caller."""

    def __init__(self, handle: Callable[[Report], Reply], name: str = "head-end in this process") -> None:
        self.name = name
        self._handle = handle

    async def run(self, on_reply: OnReply) -> None:
        """There is nothing to keep open."""
        await asyncio.Event().wait()

    async def exchange(self, report: Report) -> Reply:
        """Call the head-end."""
        return await asyncio.to_thread(self._handle, report)

    async def state(self, octets: bytes) -> None:
        """Whoever is in the process asks the daemon."""


def read_secret(path: str, what: str) -> str:
    """The first line of a file. Raises InputError (``input.file``)."""
    try:
        text = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"the {what} cannot be read from {path}: {reason}", code="input.file", layer="input") from None
    if not text or not text[0].strip():
        raise InputError(f"the {what} in {path} is empty", code="input.file", layer="input")
    return text[0].strip()


def tls_context(config: BrokerConfig) -> ssl.SSLContext:
    """TLS 1.2 or newer with verified names. Raises InputError (``input.file``) for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=config.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.certificate:
            context.load_cert_chain(config.certificate, config.private_key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"TLS: {error.strerror or error}", code="input.file", layer="input") from None
    return context


def is_local(host: str | None) -> bool:
    """True for this machine itself."""
    return host in _LOCAL


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A report must not follow to where it was not sent."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


class HttpUplink:
    """POST of the report, the reply in the answer.

    Codes   200 with a reply; everything else is a failure, and the report is told again
    """

    def __init__(self, config: UplinkConfig) -> None:
        self.name = config.to
        self._timeout = seconds_of(config.timeout)
        parts = urlsplit(config.to)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "openmetering-gateway"}
        if config.token_file:
            self._headers["Authorization"] = f"Bearer {read_secret(config.token_file, 'token')}"
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if parts.scheme == "https":
            handlers.append(urllib.request.HTTPSHandler(context=tls_context(config)))
        self._opener = urllib.request.build_opener(*handlers)

    async def run(self, on_reply: OnReply) -> None:
        """There is nothing to keep open."""
        await asyncio.Event().wait()

    async def exchange(self, report: Report) -> Reply:
        """Send it in a thread."""
        return await asyncio.to_thread(self._post, written(report))

    async def state(self, octets: bytes) -> None:
        """Reports tell enough."""

    def _post(self, octets: bytes) -> Reply:
        request = urllib.request.Request(self.name, octets, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                body = answer.read(_LARGEST_REPLY + 1)
        except urllib.error.HTTPError as error:
            text = error.read(200).decode("utf-8", "replace").strip()
            raise _failed(f"{self.name} answers {error.code} {error.reason}: {text}".rstrip(": ")) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _failed(f"{self.name}: {reason}") from error
        if len(body) > _LARGEST_REPLY:
            raise _failed(f"{self.name} answers more than {_LARGEST_REPLY >> 20} MiB")
        try:
            return read_reply(body)
        except InputError as error:
            raise _failed(f"{self.name}: {error.message}") from None


def _failed(message: str) -> TransportError:
    return TransportError(message, code="transport.send", layer="transport")
