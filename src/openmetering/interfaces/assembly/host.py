"""A running program: a head-end and its page.

    host = Host(core)
    host.start()               opens the port; ``host.address`` is where the page is
    host.stop()                page, gateways, jobs, publishers, database: in this order

Everything that was acknowledged is on the disk, however the process ends.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from openmetering.errors import TransportError
from openmetering.interfaces.assembly.background import Background
from openmetering.interfaces.assembly.head_end import Core
from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.gatewayd.uplink import read_secret
from openmetering.services.headend.model import User

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Host"]

_log = logging.getLogger(__name__)
_PATIENCE: Final = 20.0
_SERVER_GONE: Final = 10.0


class Host:
    """One process with a head-end. Use as a context manager, or call ``stop`` in the end."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.address: str | None = None
        self._background = Background("background")
        self._server: uvicorn.Server | None = None
        self._serving: threading.Thread | None = None
        self._settings: WebSettings | None = None
        self._door: socket.socket | None = None
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # -- its life -------------------------------------------------------------------------------------------

    def reserve(self) -> None:
        """Open the port of the page, before long work. Raises InputError, TransportError (``web.serve``: port in use)"""
        web = self.core.config.web
        if web is not None and self._door is None:
            self._settings = web.settings()
            self._door = _bound(self._settings.host, self._settings.port)

    def start(self) -> None:
        """Begin everything. Raises InputError, TransportError (``web.serve``: port in use)"""
        self.reserve()
        self._background.start()
        self.core.start(self._background)
        if self._door is not None and self._settings is not None:
            self._serve(self._door, self._settings)

    def _serve(self, door: socket.socket, settings: WebSettings) -> None:
        from openmetering.interfaces.web.app import create_app, server
        from openmetering.interfaces.web.machines import machine_routes
        from openmetering.interfaces.web.pages import error_page, page_routes

        core, config = self.core, self.core.config
        assert config.web is not None
        token = config.web.metrics_token_file
        machines = machine_routes(
            health=core.health,
            exposition=core.metrics.exposition,
            metrics_token=read_secret(token, "token for metrics") if token else None,
            handle=core.receiving.gateways.receiver.handle,
            gateway_tokens=config.tokens(),
        )
        app = create_app(core.head_end, settings, pages=[*page_routes(core.receiving.sources), *machines], error_page=error_page)
        made = self._server = server(app, settings)
        port = door.getsockname()[1]
        self._serving = threading.Thread(target=lambda: made.run(sockets=[door]), name="web", daemon=True)
        self._serving.start()
        until = time.monotonic() + _PATIENCE
        while not made.started and self._serving.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if not made.started:
            raise TransportError("the web page did not start; see the log", code="web.serve", layer="web")
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.address = f"{'https' if settings.tls is not None else 'http'}://{name}:{port}"

    def stop(self) -> None:
        """An ordered end. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        if self._server is not None:
            self._server.should_exit = True
        if self._serving is not None:
            self._serving.join(_SERVER_GONE)
        self.core.stop()
        self._background.stop()
        if self._door is not None:
            self._door.close()
        self.core.close()

    # -- for people -----------------------------------------------------------------------------------------

    def administrator(self, name: str) -> User:
        """The administrator of a name; made, without a password that anybody knows, if there is none. Raises InputError"""
        accounts = self.core.head_end.accounts
        known = accounts.named(name)
        return known if known is not None else accounts.add(name, secrets.token_urlsafe(24), "admin")

    def login_address(self, user: User) -> str:
        """An address that signs a user in once, within a quarter of an hour."""
        return f"{self.address}/login/once/{self.core.head_end.accounts.offer_login(user.id)}"


def _bound(host: str, port: int) -> socket.socket:
    """The port of the page. Raises TransportError (``web.serve``)"""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = "another program uses it" if error.errno in (98, 48) else error.strerror or str(error)
        raise TransportError(
            f"port {port} of {host} cannot be opened: {reason}. Choose another one, or 0 for any that is free",
            code="web.serve",
            layer="web",
        ) from error
