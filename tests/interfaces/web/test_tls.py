"""The server itself: over TLS with a certificate of our own, and behind a proxy that is trusted."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler

from openmetering.errors import InputError, TransportError
from openmetering.interfaces.web.app import create_app, server
from openmetering.interfaces.web.machines import Health, machine_routes
from openmetering.interfaces.web.settings import Tls, WebSettings
from openmetering.services.gatewayd.config import UplinkConfig
from openmetering.services.gatewayd.messages import Batch, Item, Reply, Report
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.uplink import HttpUplink
from tests.fleet import radio
from tests.interfaces.web.certificates import make_certificate
from tests.interfaces.web.world import NOW, SECRET, World

pytestmark = pytest.mark.services


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(world: World, settings: WebSettings, routes: Sequence[HTTPRouteHandler] = ()) -> Iterator[str]:
    """The server in a thread; its address."""
    settings = msgspec.structs.replace(settings, port=free_port())
    made = server(create_app(world.head_end, settings, pages=routes), settings)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not made.started and thread.is_alive() and time.monotonic() < until:
        thread.join(0.01)
    try:
        assert made.started
        yield f"{'https' if settings.tls else 'http'}://localhost:{settings.port}"
    finally:
        made.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def test_over_tls(world: World, tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(tls.certificate))
    with running(world, WebSettings(secret=SECRET, tls=tls)) as address, httpx.Client(base_url=address, verify=trust) as client:
        answer = client.get("/api/openapi.json")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "server" not in answer.headers
        assert client.get("/api/v1/devices", headers=world.bearer(world.own.users["mso"])).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(address.replace("https", "http"))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(tls.certificate)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert httpx.get(address + "/api", verify=old).status_code == 200


def test_files_that_do_not_fit_are_told_before_the_port_is_opened(world: World, tmp_path: Path) -> None:
    settings = WebSettings(secret=SECRET, tls=Tls(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(InputError) as caught:
        server(create_app(world.head_end, settings), settings)
    assert caught.value.code == "web.tls"


@pytest.mark.parametrize(("trusted", "statuses"), [(("127.0.0.1",), [200, 200, 429]), ((), [200, 429, 429])])
def test_whom_a_proxy_speaks_for(world: World, trusted: tuple[str, ...], statuses: list[int]) -> None:
    """Limits count for the client that a trusted proxy names; the word of anybody else is not taken."""
    settings = WebSettings(secret=SECRET, trusted_proxies=trusted, requests_per_minute=1)
    with running(world, settings) as address:
        found = [
            httpx.get(f"{address}/api", headers={"X-Forwarded-For": client}).status_code
            for client in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
        ]
    assert found == statuses


def test_gateways_report_over_tls_with_a_token_of_their_own(world: World, tmp_path: Path) -> None:
    """The real way up of the daemon against the real server; what is refused is told so, and nothing of it is stored."""
    tls = make_certificate(tmp_path)
    receiver = Receiver(lambda batch, gateway: world.head_end.ingest(batch, gateway=gateway))
    routes = machine_routes(
        health=lambda: Health(True, {}), handle=receiver.handle, gateway_tokens={"cellar": "token of the cellar", "roof": "other"}
    )
    settings = WebSettings(secret=SECRET, tls=tls, largest_body=20_000)
    before = world.head_end.store.counts().frames

    def report(name: str, count: int = 1) -> Report:
        items = tuple(
            Item(number, radio(number, number=70_000_000 + number), NOW.timestamp(), "stick") for number in range(count)
        )
        return Report(name, "one", Batch("stream", 1, items))

    def send(path: str, token: str, told: Report) -> Reply:
        (tmp_path / "token").write_text(token)
        config = UplinkConfig(f"{address}{path}", token_file=str(tmp_path / "token"), ca=str(tls.certificate), timeout=10)
        return asyncio.run(HttpUplink(config).exchange(told))

    with running(world, settings, routes) as address:
        assert send("/gateways/cellar/reports", "token of the cellar", report("cellar")).stored == 1
        assert world.head_end.store.counts().frames == before + 1
        for path, token, told, answer in (
            ("/gateways/cellar/reports", "other", report("cellar"), "401"),
            ("/gateways/nobody/reports", "other", report("nobody"), "401"),
            ("/gateways/roof/reports", "other", report("cellar"), "422"),
            ("/gateways/cellar/reports", "token of the cellar", report("cellar", 400), "413"),
        ):
            with pytest.raises(TransportError, match=answer):
                send(path, token, told)
        assert world.head_end.store.counts().frames == before + 1
        assert httpx.get(f"{address}/health", verify=ssl.create_default_context(cafile=str(tls.certificate))).status_code == 200
