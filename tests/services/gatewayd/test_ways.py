"""Ways up and inlets over real sockets and a real Mosquitto: HTTPS, MQTT 3.1.1 and 5, TLS, losses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import http.server
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from openmetering.errors import InputError, TransportError
from openmetering.services.gatewayd.config import UplinkConfig, read_config
from openmetering.services.gatewayd.inlets import HttpInlet, MqttInlet
from openmetering.services.gatewayd.messages import Batch, Carry, Item, Reply, Report, read_report, written
from openmetering.services.gatewayd.mqtt import MqttReceiver, MqttUplink, connected
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.uplink import DirectUplink, HttpUplink, read_secret, tls_context
from openmetering.services.gatewayd.ways import make_uplink
from openmetering.transport.reception import BadLine, Notice, Reception
from openmetering.transport.source_address import parse_source
from tests.fleet import radio, wired
from tests.services.broker import Broker, running_broker
from tests.services.gatewayd.test_daemon import Bench, HeadEnd, Played, configuration, heard
from tests.services.gatewayd.test_desk import CARRY, NAME

pytestmark = pytest.mark.services

NOW = 1_700_000_000.0
T = TypeVar("T")
ITEM = Item(1, radio(1), NOW, "stick")
REPORT = Report("cellar", "one", Batch("s", 1, (ITEM,)))


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


# -- in the process ------------------------------------------------------------------------------------


def test_in_the_process() -> None:
    head = HeadEnd()
    uplink = DirectUplink(head.handle)
    reply = asyncio.run(uplink.exchange(REPORT))
    assert (reply.answers, reply.stored, head.frames) == ("one", 1, [radio(1)])


def test_the_way_that_a_configuration_names(tmp_path: Path) -> None:
    assert make_uplink(configuration(tmp_path)) is None
    for to, kind in (
        ("mqtt://h", MqttUplink),
        ("http://h/x", HttpUplink),
        ("https://h/x", HttpUplink),
        ("mqtts://h:1", MqttUplink),
    ):
        text = f'[gateway]\nname = "a"\nstate = "x"\n[uplink]\nto = "{to}"\n[[source]]\nat = "-"\n'
        made = make_uplink(read_config(text.encode(), tmp_path))
        assert isinstance(made, kind)
        assert made.name == to


def test_secrets(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(InputError, match="the token cannot be read"):
        read_secret(str(path), "token")
    path.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_secret(str(path), "token")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="no text"):
        read_secret(str(path), "token")
    path.write_text("  secret \nmore\n")
    assert read_secret(str(path), "token") == "secret"
    with pytest.raises(InputError, match="TLS"):
        tls_context(UplinkConfig("https://x", ca=str(path)))


# -- HTTPS ---------------------------------------------------------------------------------------------------


class WebHeadEnd(http.server.ThreadingHTTPServer):
    """A head-end behind HTTP. ``script`` gives code and body in place of the reply, once each."""

    def __init__(self, receiver: Receiver, tls: tuple[Path, Path] | None = None) -> None:
        self.receiver = receiver
        self.script: list[tuple[int, bytes]] = []
        self.seen: list[str] = []
        super().__init__(("127.0.0.1", 0), _Web)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)


class _Web(http.server.BaseHTTPRequestHandler):
    server: WebHeadEnd

    def do_POST(self) -> None:
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.headers.get("Authorization", ""))
        code, body = (
            self.server.script.pop(0) if self.server.script else (200, written(self.server.receiver.handle(read_report(octets))))
        )
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def web(receiver: Receiver, tls: tuple[Path, Path] | None = None) -> Iterator[tuple[WebHeadEnd, str]]:
    server = WebHeadEnd(receiver, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
        yield server, f"{scheme}://{host}:{server.server_address[1]}/report"
    finally:
        server.shutdown()
        server.server_close()


def test_a_report_by_http(tmp_path: Path) -> None:
    head = HeadEnd()
    head.receiver.order("cellar", CARRY)
    (tmp_path / "token").write_text("secret-token\n")
    with web(head.receiver) as (server, url):
        uplink = HttpUplink(UplinkConfig(url, token_file=str(tmp_path / "token")))
        reply = asyncio.run(uplink.exchange(REPORT))
        assert server.seen == ["Bearer secret-token"]
    assert reply == Reply("one", "s", 1, (), (CARRY,))
    assert head.frames == [radio(1)]


def test_a_report_by_https(tmp_path: Path) -> None:
    head = HeadEnd()
    tls = certificates(tmp_path)
    with web(head.receiver, tls) as (_, url):
        uplink = HttpUplink(UplinkConfig(url, ca=str(tls[0]), timeout=5))
        assert asyncio.run(uplink.exchange(REPORT)).stored == 1
        with pytest.raises(TransportError, match="certificate verify failed"):
            asyncio.run(HttpUplink(UplinkConfig(url, timeout=5)).exchange(REPORT))


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (500, b"out of order", "answers 500 Internal Server Error: out of order"),
        (401, b"", "answers 401 Unauthorized"),
        (302, b"", "answers 302"),
        (200, b"hello", "no reply of a head-end"),
        (200, b"", "no reply of a head-end"),
    ],
)
def test_answers_that_are_none(code: int, body: bytes, words: str) -> None:
    with web(HeadEnd().receiver) as (server, url):
        server.script.append((code, body))
        with pytest.raises(TransportError, match=words):
            asyncio.run(HttpUplink(UplinkConfig(url)).exchange(REPORT))


def test_nobody_there() -> None:
    with pytest.raises(TransportError, match="refused"):
        asyncio.run(HttpUplink(UplinkConfig("http://127.0.0.1:1/x")).exchange(REPORT))


# -- MQTT -----------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    yield from running_broker(tmp_path / "broker")


def config_of(broker: Broker, **more: object) -> UplinkConfig:
    return UplinkConfig(f"mqtt://{broker.host}:{broker.port}", timeout=5, longest=0.2, **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def background(*works: Awaitable[None]) -> Iterator[None]:  # type: ignore[misc]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_reports_and_replies_over_a_broker(broker: Broker, version: str) -> None:
    head = HeadEnd()
    states: list[tuple[str, bytes]] = []

    async def go() -> None:
        config = config_of(broker, version=version)
        receiver = MqttReceiver(config, head.handle, on_state=lambda name, octets: states.append((name, octets)))
        uplink = MqttUplink(config, "cellar")
        with pytest.raises(TransportError, match="not connected yet"):
            await uplink.exchange(REPORT)
        pushed: list[Reply] = []
        async with background(receiver.run(), uplink.run(pushed.append)):
            await receiver.ready.wait()
            await until(lambda: uplink._client)
            reply = await uplink.exchange(REPORT)
            assert (reply.answers, reply.stored) == ("one", 1)
            await receiver.send("cellar", Reply(orders=(CARRY,)))
            await until(lambda: pushed)
            assert pushed == [Reply(orders=(CARRY,))]
            await uplink.state(b'{"online":true}')
            await until(lambda: states)
        with pytest.raises(TransportError, match="not connected"):
            await receiver.send("cellar", Reply())

    asyncio.run(go())
    assert head.frames == [radio(1)]
    assert ("cellar", b'{"online":true}') in states


def test_a_reply_to_another_report_is_not_taken(broker: Broker) -> None:
    async def go() -> None:
        late: list[Reply] = []
        config = config_of(broker)
        uplink = MqttUplink(config, "cellar")
        async with background(uplink.run(late.append)), connected(config, "head-end") as client:
            await client.subscribe("openmetering/cellar/up", 1)
            await until(lambda: uplink._client)
            waiting = asyncio.ensure_future(uplink.exchange(REPORT))
            async for message in client.messages:
                assert read_report(message.payload) == REPORT
                break
            await client.publish("openmetering/cellar/down", b"no reply", 1)
            await client.publish("openmetering/cellar/down", written(Reply("another", "s", 9)), 1)
            await until(lambda: late)
            assert not waiting.done()
            await client.publish("openmetering/cellar/down", written(Reply("one", "s", 1)), 1)
            assert (await waiting).stored == 1
        assert late == [Reply("another", "s", 9)]

    asyncio.run(go())


def test_a_head_end_that_does_not_reply(broker: Broker) -> None:
    async def go() -> None:
        uplink = MqttUplink(UplinkConfig(f"mqtt://{broker.host}:{broker.port}", timeout=0.3), "cellar")
        async with background(uplink.run(lambda reply: None)):
            await until(lambda: uplink._client)
            with pytest.raises(TransportError, match=r"does not reply within 0.3 s"):
                await uplink.exchange(REPORT)

    asyncio.run(go())


def test_settled_by_the_broker(broker: Broker) -> None:
    async def go() -> None:
        config = config_of(broker, acknowledge="broker", topic="site/a")
        uplink = MqttUplink(config, "cellar")
        async with background(uplink.run(lambda reply: None)):
            await until(lambda: uplink._client)
            assert await uplink.exchange(REPORT) == Reply("one", "s", 1)
            assert await uplink.exchange(Report("cellar", "two")) == Reply("two")

    asyncio.run(go())


def test_reports_of_others_and_nonsense_are_left_alone(broker: Broker) -> None:
    head = HeadEnd()

    async def go() -> None:
        config = config_of(broker)
        receiver = MqttReceiver(config, head.handle)
        async with background(receiver.run()), connected(config, "someone") as client:
            await receiver.ready.wait()
            for payload in (b"nonsense", written(REPORT), written(Report("roof", "x", Batch("t", 1, (ITEM,))))):
                await client.publish("openmetering/roof/up", payload, 1)
            await until(lambda: head.stored)

    asyncio.run(go())
    assert [item.source for item in head.stored] == ["roof/stick"]


def test_the_last_will(broker: Broker) -> None:
    states: list[bytes] = []

    async def go() -> None:
        config = config_of(broker)
        receiver = MqttReceiver(config, lambda report: Reply(), on_state=lambda name, octets: states.append(octets))
        uplink = MqttUplink(config, "cellar")
        async with background(receiver.run()):
            await receiver.ready.wait()
            async with background(uplink.run(lambda reply: None)):
                await until(lambda: uplink._client)
                assert uplink._client is not None
                sock = uplink._client._client.socket()
                assert sock is not None
                sock.shutdown(2)  # the line is cut
                await until(lambda: states)

    asyncio.run(go())
    assert states[0] == b'{"online":false}'


def test_tls_and_passwords(tmp_path: Path) -> None:
    tls = certificates(tmp_path)
    passwords = tmp_path / "passwords"
    from subprocess import run

    run(["mosquitto_passwd", "-b", "-c", str(passwords), "cellar", "word"], check=True, capture_output=True)
    passwords.chmod(0o644)
    (tmp_path / "word").write_text("word\n")
    (tmp_path / "wrong").write_text("wrong\n")
    for broker in running_broker(tmp_path / "b", f"allow_anonymous false\npassword_file {passwords}", (tls[0], *tls)):
        to = f"mqtts://localhost:{broker.port}"

        async def reach(config: UplinkConfig) -> None:
            async with connected(config, "x") as client:
                await client.publish("a", b"b", 1)

        good = UplinkConfig(to, user="cellar", password_file=str(tmp_path / "word"), ca=str(tls[0]), timeout=5)
        asyncio.run(reach(good))
        for change in ({"password_file": str(tmp_path / "wrong")}, {"ca": ""}):
            import msgspec

            with pytest.raises(TransportError):
                asyncio.run(reach(msgspec.structs.replace(good, **change)))


@pytest.mark.parametrize("kill", [False, True])
def test_the_broker_goes_and_comes_back(tmp_path: Path, broker: Broker, kill: bool) -> None:
    """A daemon and a head-end at one broker: whatever was heard while it was away arrives once."""
    head = HeadEnd()

    async def go() -> None:
        config = config_of(broker)
        receiver = MqttReceiver(config, head.handle)
        door = Played([heard(n) for n in range(50)], wait=True)
        more: asyncio.Queue[Reception] = asyncio.Queue()

        class Fed(Played):
            async def run(self, emit: Callable[[Reception], Awaitable[None]]) -> None:  # type: ignore[override]
                while True:
                    await emit(await more.get())

        text = '[[source]]\nat = "-"\nname = "a"\n[[source]]\nat = "-"\nname = "b"\n'
        bench = Bench(configuration(tmp_path, "", text), {"a": door, "b": Fed([])}, MqttUplink(config, "cellar"))
        async with background(receiver.run()):
            running = asyncio.ensure_future(bench.daemon.run())
            await until(lambda: len(head.stored) >= 50)
            broker.stop(kill=kill)
            for n in range(50, 120):
                more.put_nowait(heard(n))
            await until(lambda: bench.daemon.state().uplink_trouble)
            await asyncio.sleep(0.3)
            assert bench.daemon.state().waiting >= 70  # a reply may have been on its way
            broker.start()
            await until(lambda: bench.daemon.state().waiting == 0, 30)
            bench.daemon.stop()
            await running

    asyncio.run(go())
    assert {item.frame for item in head.stored} == {heard(n).frame for n in range(120)}


# -- inlets -----------------------------------------------------------------------------------------------------


def post(port: int, body: bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/anything", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def served(source: str, work: Callable[[HttpInlet, list[object]], Awaitable[None]]) -> list[object]:
    items: list[object] = []

    async def emit(item: object) -> None:
        items.append(item)

    async def go() -> None:
        inlet = HttpInlet(parse_source(source), "auto", clock=lambda: NOW)
        async with background(inlet.run(emit)):  # type: ignore[arg-type]
            await until(lambda: items)
            await work(inlet, items)

    asyncio.run(go())
    return items


def test_reports_of_elvaco_by_post() -> None:
    raw = wired(5)[4:-2].hex()
    body = f"1;05047168;2023-11-14 22:00:00;0;{raw}\n2;x\n".encode()

    async def work(inlet: HttpInlet, items: list[object]) -> None:
        assert await asyncio.to_thread(post, inlet.port, body) == 204
        assert await asyncio.to_thread(post, inlet.port, b"nothing") == 400
        assert await asyncio.to_thread(post, inlet.port, b"") == 204

    items = served("http-listen://127.0.0.1:0?format=elvaco", work)
    assert isinstance(items[0], Notice)
    assert isinstance(items[1], Reception)
    assert items[1].frame == wired(5)
    assert [type(item) for item in items[2:]] == [BadLine, BadLine]


def test_who_may_post(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")

    async def work(inlet: HttpInlet, items: list[object]) -> None:
        body = radio(1).hex().encode()
        assert await asyncio.to_thread(post, inlet.port, body) == 401
        assert await asyncio.to_thread(lambda: post(inlet.port, body, Authorization="Bearer wrong")) == 401
        assert await asyncio.to_thread(lambda: post(inlet.port, body, Authorization="Bearer secret")) == 204
        assert (
            await asyncio.to_thread(
                lambda: post(inlet.port, body, Authorization="Bearer secret", **{"Content-Length": "99999999"})
            )
            == 413
        )
        assert (
            await asyncio.to_thread(lambda: post(inlet.port, body, Authorization="Bearer secret", **{"Content-Length": "-1"}))
            == 411
        )

    assert len(served(f"http-listen://:0?token_file={tmp_path}/token", work)) == 2

    async def basic(inlet: HttpInlet, items: list[object]) -> None:
        header = "Basic " + base64.b64encode(b"lobaro:secret").decode()
        assert await asyncio.to_thread(lambda: post(inlet.port, b"", Authorization=header)) == 204

    served(f"http-listen://127.0.0.1:0?user=lobaro&password_file={tmp_path}/token&format=hex", basic)


def test_post_over_tls(tmp_path: Path) -> None:
    certificate, key = certificates(tmp_path)

    async def work(inlet: HttpInlet, items: list[object]) -> None:
        def send() -> int:
            context = ssl.create_default_context(cafile=str(certificate))
            connection = http.client.HTTPSConnection("localhost", inlet.port, context=context, timeout=5)
            try:
                connection.request("POST", "/", radio(1).hex())
                return connection.getresponse().status
            finally:
                connection.close()

        assert await asyncio.to_thread(send) == 204

    served(f"http-listen://localhost:0?certificate={certificate}&private_key={key}", work)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http-listen://127.0.0.1", "needs a port"),
        ("http-listen://127.0.0.1:99999", "no usable port"),
        ("http-listen://:8080", "can be reached by others"),
        ("http-listen://127.0.0.1:0?format=morse", "no format of messages"),
        ("http-listen://127.0.0.1:0?colour=red", "no option 'colour'"),
        ("http-listen://127.0.0.1:0?user=x", "belong together"),
        ("http-listen://127.0.0.1:0?token_file=/nowhere", "cannot be read"),
    ],
)
def test_servers_that_cannot_be(source: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        HttpInlet(parse_source(source))


def test_a_port_that_is_taken_and_a_certificate_that_is_none(tmp_path: Path) -> None:
    async def nothing(item: object) -> None:
        pass

    async def work(inlet: HttpInlet, items: list[object]) -> None:
        with pytest.raises(TransportError, match="cannot listen"):
            await HttpInlet(parse_source(f"http-listen://127.0.0.1:{inlet.port}")).run(nothing)  # type: ignore[arg-type]

    served("http-listen://127.0.0.1:0", work)
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(TransportError, match="TLS"):
        asyncio.run(HttpInlet(parse_source(f"http-listen://127.0.0.1:0?certificate={tmp_path}/x.pem")).run(nothing))  # type: ignore[arg-type]


def test_messages_of_lobaro_by_mqtt(broker: Broker) -> None:
    items: list[object] = []

    async def emit(item: object) -> None:
        items.append(item)

    async def go() -> None:
        source = f"mqtt://{broker.host}:{broker.port}/LOB/+/up/data?format=lobaro"
        inlet = MqttInlet(parse_source(source), "auto", clock=lambda: NOW)
        async with background(inlet.run(emit)):  # type: ignore[arg-type]
            await until(lambda: items)
            message = {
                "i": "70b3",
                "n": 1,
                "q": "data",
                "d": {"batch": [{"timestamp": 5, "mode": "C", "telegram": radio(1).hex()}]},
            }
            async with connected(config_of(broker), "lobaro") as client:
                await client.publish("LOB/70b3/up/data", json.dumps(message), 1)
                await client.publish("LOB/70b3/up/config", b"{}", 1)
                await until(lambda: len(items) > 1)
            broker.stop()
            await until(lambda: len(items) > 2)
            broker.start()
            await until(lambda: len(items) > 3, 20)

    asyncio.run(go())
    reception, lost, again = items[1:4]
    assert isinstance(reception, Reception)
    assert (reception.frame, reception.mode, reception.received_at) == (radio(1), "C", 5.0)
    assert isinstance(lost, Notice)
    assert lost.code == "transport.lost"
    assert again == Notice(items[0].source, "connected")  # type: ignore[attr-defined]


def test_topics_that_cannot_be() -> None:
    for source, words in (
        ("mqtt://host", "names no topic"),
        ("mqtt://host:x/topic", "no usable port"),
        ("mqtt://host/topic?version=4", "5 or 3.1.1"),
        ("mqtt://host/topic?format=morse", "no format of messages"),
        ("mqtt://host/topic?colour=red", "no option"),
    ):
        with pytest.raises(InputError, match=words):
            MqttInlet(parse_source(source))
    with pytest.raises(TransportError):
        asyncio.run(MqttInlet(parse_source("mqtt://127.0.0.1:1/topic")).run(lambda item: asyncio.sleep(0)))  # type: ignore[arg-type]


def test_a_carrier_pushes_orders(broker: Broker) -> None:
    """An order reaches the gateway without waiting for its next report."""
    from openmetering.services.gatewayd.remote_gateways import RemoteGateways

    taken: list[Reply] = []

    async def go() -> None:
        config = config_of(broker)
        loop = asyncio.get_running_loop()
        pushes: list[asyncio.Future[None]] = []

        def push(gateway: str) -> None:
            loop.call_soon_threadsafe(
                lambda: pushes.append(asyncio.ensure_future(receiver.send(gateway, gateways.receiver.reply(gateway))))
            )

        gateways = RemoteGateways(lambda batch, gateway: None, on_order=push)
        receiver = MqttReceiver(config, gateways.receiver.handle)
        uplink = MqttUplink(config, "cellar")
        async with background(receiver.run(), uplink.run(taken.append)):
            await receiver.ready.wait()
            await until(lambda: uplink._client)
            gateways.receiver.order("cellar", Carry("x9", NAME))
            await until(lambda: taken)

    asyncio.run(go())
    assert taken == [Reply(orders=(Carry("x9", NAME),))]
