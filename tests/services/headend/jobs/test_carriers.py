"""Carriers in this process and behind a broker, keys of the vault, and the thread that runs jobs: over a real socket."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from openmetering.codec.address import Address
from openmetering.errors import EncodeError, InputError, NotRepresentable, SecurityError, TransportError, WrongKey
from openmetering.protocol.device.memory import DeviceMemory
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import GatewayConfig
from openmetering.protocol.gateway.wired_gateway import RegisterSlave, SlaveLink, WiredGateway
from openmetering.security import KeyRing
from openmetering.security.aes import BlockCipher
from openmetering.services.headend.bus import Bus, JobChanged
from openmetering.services.headend.jobs import worker as worker_module
from openmetering.services.headend.jobs.carriers import CarriedOrder, CarriedResult, Carriers, HandedOver
from openmetering.services.headend.jobs.desk import JobDesk
from openmetering.services.headend.jobs.keys import VaultKeys
from openmetering.services.headend.jobs.link import LinkCarrier
from openmetering.services.headend.jobs.remote import (
    KeyMessage,
    RemoteCarrier,
    SubmitMessage,
    order_of,
    read_order,
    read_result,
    result_message,
)
from openmetering.services.headend.jobs.runner import Runner, RunnerSettings
from openmetering.services.headend.jobs.worker import JobWorker, steady_clock
from openmetering.services.headend.model import Device, Job, Tenant, moment
from openmetering.services.headend.vault import Vault
from openmetering.services.operation import DEFAULT_GATEWAY, communication_keys
from openmetering.services.pump import Inbox, LinePort
from openmetering.services.wired import find_place, open_link
from openmetering.storage import registry_rows
from openmetering.storage.database import Database
from openmetering.telegram.model import SecurityReport
from tests.interfaces.served import KEYS, METER, key_ring, secured_meter, served_bus
from tests.services.headend.jobs.bench import MASTER

OTHER = Address.parse("ELS-00000001-33-07")
SECRET = bytes(range(16, 32))


def everybody(device: Address) -> bool:
    return True


# -- carriers --------------------------------------------------------------------------------------------


def test_carriers_are_found_replaced_and_removed() -> None:
    heard: list[CarriedResult] = []
    first = HandedOver("first", lambda device: device == METER, lambda order: None)
    first.deliver(Failed(1, "power"))  # nobody listens yet
    both = Carriers(first)
    both.listen(heard.append)
    second = HandedOver("second", everybody, lambda order: None)
    both.add(second)
    assert both.find(METER) is first
    assert both.find(OTHER) is second
    first.deliver(Failed(2, "power"))
    second.deliver(Failed(3, "power"))
    assert [result.token for result in heard] == [2, 3]
    newer = HandedOver("first", lambda device: False, lambda order: None)
    both.add(newer)
    assert both.find(METER) is second
    both.remove("second")
    assert both.find(METER) is None


def link_key(version: int = 1, key_id: int = 0) -> GiveKey:
    ring = KeyRing()
    ring.add(METER.link_octets(), bytes(16), key_id, version)
    return GiveKey(METER, ring, key_id, version)


@pytest.mark.parametrize(
    "order",
    [
        Submit(1 << 40, Exchange(METER, Command("sitp", b"\x01\x02"))),
        Submit(2, Exchange(METER, None)),
        Submit(3, Exchange(METER, Command("image", b""), answer=False)),
        Withdraw(4),
    ],
)
def test_orders_travel_as_messages(order: CarriedOrder) -> None:
    sent: list[bytes] = []
    carrier = RemoteCarrier("roof", everybody, sent.append, SECRET)
    carrier.send(order)
    assert order_of(read_order(sent[0]), BlockCipher(SECRET)) == order
    assert carrier.serves(METER)
    assert repr(carrier) == "<RemoteCarrier roof>"


def test_a_key_travels_wrapped() -> None:
    sent: list[bytes] = []
    carrier = RemoteCarrier("roof", everybody, sent.append, SECRET)
    carrier.send(link_key())
    assert bytes(16).hex().encode() not in sent[0]
    message = read_order(sent[0])
    assert isinstance(message, KeyMessage)
    given = order_of(message, BlockCipher(SECRET))
    assert isinstance(given, GiveKey)
    assert (given.address, given.key_id, given.version) == (METER, 0, 1)
    assert given.key.require(METER.link_octets(), version=1)[0].octets == bytes(16)
    with pytest.raises(WrongKey):
        order_of(message, BlockCipher(bytes(16)))
    for change in ({"address": str(OTHER)}, {"version": 2}, {"key_id": 0x20}):
        with pytest.raises(SecurityError):
            order_of(msgspec.structs.replace(message, **change), BlockCipher(SECRET))
    with pytest.raises(SecurityError, match="not for a gateway"):
        carrier.send(link_key(key_id=0x20))
    with pytest.raises(EncodeError):
        order_of(SubmitMessage(1, "meter 5"), BlockCipher(SECRET))


@pytest.mark.parametrize(
    "result",
    [
        Answered(1, 0x10, "sitp", b"\x01", SecurityReport("B", 5, "decrypted", "mac", 0, 1, 77)),
        Answered(2, 0),
        Failed(3, "no-answer"),
        Failed(4, "refused-link", delivered=True),
    ],
)
def test_results_travel_as_messages(result: CarriedResult) -> None:
    heard: list[CarriedResult] = []
    carrier = RemoteCarrier("roof", everybody, lambda octets: None, SECRET)
    carrier.arrived(result_message(result))  # nobody listens yet
    carrier.listen(heard.append)
    carrier.arrived(result_message(result))
    assert heard == [result]


@pytest.mark.parametrize("octets", [b"", b"{}", b'{"kind": "dance"}', b'{"kind": "withdraw"}', b"\xff"])
def test_messages_that_are_none(octets: bytes) -> None:
    for read in (read_order, read_result):
        with pytest.raises(InputError) as caught:
            read(octets)
        assert caught.value.code == "message.invalid"


# -- keys ------------------------------------------------------------------------------------------------


class Safe:
    """A vault with the keys of one meter."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(str(folder / "keys.db"))
        now = moment(time.time())
        self.vault = Vault(self.database, MASTER, lambda: now)
        with self.database.transaction() as connection:
            tenant = registry_rows.tenants.add(connection, Tenant(0, "one"), now)
            self.device = registry_rows.devices.add(connection, Device(0, str(METER), tenant.id), now)
            for key_id, octets in KEYS.items():
                self.vault.add(str(METER), octets, key_id, 0, tenant_id=tenant.id)
        self.keys = VaultKeys(self.vault, self.database)

    def states(self, key_id: int) -> list[tuple[int | None, str, int]]:
        infos = self.vault.keys(pattern=str(METER), limit=1000).items
        return [(info.version, info.state, info.uses) for info in infos if info.key_id == key_id]


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[Safe]:
    made = Safe(tmp_path)
    yield made
    made.database.close()


def test_a_key_that_is_taken_out_is_counted(safe: Safe) -> None:
    ring = safe.keys.ring(METER)
    assert len(ring) == len(KEYS)
    assert safe.states(0x20) == [(0, "active", 0)]
    assert ring.require(METER.link_octets(), key_id=0x20)[0].octets == KEYS[0x20]
    ring.require(METER.link_octets(), key_id=0x20)
    assert safe.states(0x20) == [(0, "active", 2)]
    assert safe.states(0x21) == [(0, "active", 0)]
    ring.add(METER.link_octets(), bytes(16), 0x28, 9)
    ring.require(METER.link_octets(), key_id=0x28)  # the vault does not know it: nothing to count
    assert len(safe.keys.ring(OTHER)) == 0


def test_the_key_that_waits_is_used_again(safe: Safe) -> None:
    made = safe.keys.new_key(METER, 0x20)
    assert (made.version, made.key_id) == (1, 0x20)
    assert made.octets not in KEYS.values()
    assert safe.keys.new_key(METER, 0x20) == made
    assert [row[:2] for row in safe.states(0x20)] == [(0, "active"), (1, "waiting")]
    assert safe.vault.keys(pattern=str(METER), limit=1000).items[-1].tenant_id == safe.device.tenant_id
    safe.keys.in_use(METER, 0x20, 1)
    safe.keys.in_use(METER, 0x20, 1)
    assert [row[:2] for row in safe.states(0x20)] == [(0, "retired"), (1, "active")]
    assert safe.keys.new_key(METER, 0x20).version == 2
    safe.keys.in_use(METER, 0, 0)
    assert [row[:2] for row in safe.states(0)] == [(0, "active")]


def test_versions_begin_again_and_end(safe: Safe) -> None:
    safe.vault.add(str(METER), bytes(16), 0x20, 254)
    assert safe.keys.new_key(METER, 0x20).version == 1
    with safe.database.transaction():
        for version in range(2, 254):
            safe.vault.add(str(METER), bytes((version,)) * 16, 0x21, version)
        safe.vault.add(str(METER), bytes(16), 0x21, 254)
        safe.vault.add(str(METER), bytes(16), 0x21, 1)
    with pytest.raises(NotRepresentable, match="used up"):
        safe.keys.new_key(METER, 0x21)


def test_a_key_without_a_version_or_for_all_devices(safe: Safe) -> None:
    safe.vault.add("ELS-*-*-*", bytes(range(16)), 0x20, None)
    assert safe.keys.ring(OTHER).require(OTHER.link_octets(), key_id=0x20)[0].octets == bytes(range(16))
    assert safe.keys.new_key(OTHER, 0x20).version == 1
    # the key of this very device goes before that of all
    assert safe.keys.ring(METER).require(METER.link_octets(), key_id=0x20, version=0)[0].octets == KEYS[0x20]


# -- the thread, over a real socket ------------------------------------------------------------------------


class Running:
    """A head-end with its job thread, and a wired gateway machine in an event loop of another thread."""

    def __init__(self, folder: Path, place: str) -> None:
        self.safe = Safe(folder)
        self.database = self.safe.database
        self.clock = steady_clock()
        self.memories: list[object] = []
        gateway = WiredGateway(
            GatewayConfig(DEFAULT_GATEWAY), random.random, communication_keys(key_ring()), timing=find_place(place).timing
        )
        gateway.receive(RegisterSlave(SlaveLink(METER, None, None, "B")), self.clock())
        self.carrier: LinkCarrier[object] = LinkCarrier(
            "basement",
            gateway,
            lambda device: device == METER,
            self.memories.append,
            self.clock,  # type: ignore[arg-type]
        )
        self.bus = Bus()
        self.done = threading.Condition()
        self.bus.subscribe(JobChanged, self._changed)
        self.desk = JobDesk(self.database, lambda: moment(self.clock()))
        self.runner = Runner(
            self.database,
            self.safe.keys,
            Carriers(self.carrier),
            bus=self.bus,
            settings=RunnerSettings(poll=0.05, detour=0.1),
        )
        self.worker = JobWorker(self.runner, self.desk, self.bus, self.clock)
        self._place = place
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _changed(self, event: JobChanged) -> None:
        with self.done:
            self.done.notify_all()

    def open(self) -> None:
        self._ended = threading.Event()
        self._task = asyncio.run_coroutine_threadsafe(self._run(), self._loop)

    async def _run(self) -> None:
        place = find_place(self._place)
        port = LinePort(place.name, await open_link(place))
        try:
            await self.carrier.run(port)  # type: ignore[arg-type]
        finally:
            await port.close()
            self._ended.set()

    def shut(self) -> None:
        self._task.cancel()  # the future is cancelled at once, the task in the loop ends a little later
        assert self._ended.wait(10)

    def close(self) -> None:
        self.worker.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.database.close()

    def ask(self, kind: str, parameters: str) -> Job:
        job = self.desk.create(self.safe.device, kind, parameters, 1)
        if job.state == "awaiting-approval":
            job = self.desk.approve(job.id, 2)
        self.bus.publish(JobChanged(job))
        return job

    def finish(self, job: Job, seconds: float = 20.0) -> Job:
        end = time.monotonic() + seconds
        with self.done:
            while True:
                found = self.desk.find(job.id)
                assert found is not None
                if found.state in ("done", "failed", "refused", "unknown", "cancelled"):
                    return found
                assert time.monotonic() < end, found
                self.done.wait(0.2)


def test_jobs_over_a_real_line(tmp_path: Path) -> None:
    memory = DeviceMemory(primary_address=5)
    with served_bus([secured_meter(memory=memory, subunit=1)]) as place:
        running = Running(tmp_path, place)
        try:
            running.worker.start()
            assert running.worker.alive
            job = running.ask("disconnector", '{"state": "disconnected"}')
            time.sleep(0.2)
            assert running.desk.find(job.id).state == "queued"  # type: ignore[union-attr]  the line is not open
            with pytest.raises(TransportError):
                running.carrier.send(Withdraw(1))
            running.open()
            done = running.finish(job)
            assert done.state == "done", done.error
            assert '"output":"disconnected"' in (done.result or "")
            done = running.finish(running.ask("keys", '{"action": "renew", "key_id": 0}'))
            assert done.state == "done", done.error
            done = running.finish(running.ask("keys", '{"action": "counters"}'))
            assert done.state == "done", done.error
            assert running.memories  # what the gateway must not forget came before its frames left
            running.shut()
            assert not running.carrier.serves(METER)
        finally:
            running.close()
        assert not running.worker.alive


def test_the_thread_lives_through_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "_TROUBLE", 0.01)
    running = Running(tmp_path, "mbus+tcp://127.0.0.1:1")
    step = running.runner.step
    troubles: list[Exception] = [
        TransportError("locked", code="storage.failed", layer="storage"),
        ZeroDivisionError(),
    ]

    def troubled(now: float) -> None:
        if troubles:
            raise troubles.pop(0)
        step(now)

    monkeypatch.setattr(running.runner, "step", troubled)
    try:
        with caplog.at_level(logging.ERROR):
            running.worker.start()
            job = running.ask("read", "{}")
            end = time.monotonic() + 10
            while not any("no gateway" in one.text for one in running.desk.steps(job.id)):
                assert time.monotonic() < end
                time.sleep(0.01)
            running.worker.cancel(job.id)
            running.worker.deliver(Failed(1, "power"))
        assert running.worker.alive
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        # another head-end takes over: this one stops
        other = Runner(running.database, running.safe.keys, Carriers())
        other.begin(running.clock())
        running.runner.look()
        while running.worker.alive:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        running.close()


def test_a_loop_that_is_closed_takes_nothing() -> None:
    carrier: LinkCarrier[object] = LinkCarrier(
        "attic", WiredGateway(GatewayConfig(DEFAULT_GATEWAY), random.random), everybody, print, time.time
    )  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    loop.close()
    carrier._place = (loop, Inbox())  # type: ignore[assignment]
    with pytest.raises(TransportError, match="not open"):
        carrier.send(Withdraw(1))


def test_a_line_that_goes_is_told() -> None:
    class Gone:
        name = "gone"

        async def wait(self, seconds: float | None) -> list[object]:
            raise TransportError("unplugged", code="transport.lost", layer="transport")

        async def close(self) -> None:
            """Nothing to close."""

    async def run() -> None:
        carrier: LinkCarrier[object] = LinkCarrier(
            "attic", WiredGateway(GatewayConfig(DEFAULT_GATEWAY), random.random), everybody, print, time.time
        )  # type: ignore[arg-type]
        with pytest.raises(TransportError, match="unplugged"):
            await carrier.run(Gone())  # type: ignore[arg-type]
        assert not carrier.serves(METER)

    asyncio.run(run())
