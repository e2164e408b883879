"""A whole program with a world in it: what the page shows is true, and what is asked for there happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from openmetering.interfaces.assembly.host import Host
from openmetering.interfaces.assembly.living_world import LivingWorld
from openmetering.simulation.post import DevicePost
from tests.interfaces.assembly.small import Browser, running, until

Running = tuple[Host, LivingWorld, dict[str, str]]
GAS, COLD, WARM = "gas house/0.1", "cold water house/0.1", "warm water house/0.1"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A program whose world lives 60 times as fast, with three weeks of its past."""
    with running(tmp_path_factory.mktemp("program"), speed=60.0, days=21) as made:
        yield made


def admin(host: Host) -> Browser:
    """The administrator, by the address that counts once."""
    browser = Browser(host.address or "")
    path = host.login_address(host.administrator("admin")).removeprefix(host.address or "")
    browser.get(path)
    assert browser.client.get(path).status_code >= 400
    return browser


def number_of(host: Host, world: LivingWorld, label: str) -> int:
    """The number of a device in the registry."""
    found = host.core.head_end.registry.by_address(str(world.world.device(label).spec.address))
    assert found is not None
    return found.id


def run_job(
    program: Running, label: str, kind: str, files: dict[str, bytes] | None = None, second: str = "operator", **values: str
) -> None:
    """Ask for a job on the page, approve it as somebody else, wait for its end."""
    host, world, passwords = program
    device = number_of(host, world, label)
    answer = admin(host).post("/jobs", files, device=str(device), kind=kind, issue="5.0.1", **values)
    job_id = int(answer.url.path.rsplit("/", 1)[1])
    jobs = host.core.head_end.jobs
    job = jobs.find(job_id)
    assert job is not None
    assert job.state == "awaiting-approval"
    operator = Browser(host.address or "")
    operator.sign_in(second, passwords[second])
    operator.post(f"/jobs/{job_id}/approve")
    until(lambda: (jobs.find(job_id) or job).state in ("done", "failed", "unknown"), 60.0)
    done = jobs.find(job_id)
    assert done is not None
    assert done.state == "done", (done, jobs.steps(job_id))
    assert "state good" in operator.get(f"/jobs/{job_id}").text


def test_every_meter_appears_with_what_it_said(program: Running) -> None:
    host, world, _ = program
    head_end = host.core.head_end
    begun = head_end.now()
    session = head_end.as_user(host.administrator("admin"))
    devices = session.devices().items
    assert len(devices) == 3
    checked = 0
    for label in (GAS, COLD):
        device = head_end.registry.find_device(number_of(host, world, label))
        assert device is not None
        until(lambda: (head_end.registry.find_device(device.id) or device).last_heard > begun - timedelta(seconds=1))  # noqa: B023
        readings = session.readings(device.id, begun - timedelta(days=22), head_end.now())
        assert len({int(row.received_at // 86_400) for row in readings}) >= 20
        for row in readings:
            expected = world.truth(label, row.received_at).get(row.tag)
            if expected is not None and row.value is not None:
                assert abs(Decimal(row.value) - expected) <= Decimal("0.002"), (label, row)
                checked += 1
    assert checked > 50
    page = admin(host).get("/").text
    assert "Flat 0.1" in page


def test_the_device_without_a_key_says_so(program: Running) -> None:
    host, world, _ = program
    session = host.core.head_end.as_user(host.administrator("admin"))
    kinds = {(one.device_id, one.kind) for one in session.alarms().items if one.state != "cleared"}
    assert (number_of(host, world, WARM), "key-missing") in kinds


def test_closing_the_valve_from_the_page_closes_it(program: Running) -> None:
    _, world, _ = program
    post = world.world.device(GAS)
    assert isinstance(post, DevicePost)
    assert post.memory.breaker != 0
    run_job(program, GAS, "disconnector", state="disconnected")
    assert post.memory.breaker == 0
    assert post.memory.output == 0
    assert "closed" in post.metrology.state.causes


def test_firmware_from_the_page_to_its_end(program: Running) -> None:
    _, world, _ = program
    post = world.world.device(GAS)
    assert isinstance(post, DevicePost)
    run_job(program, GAS, "firmware", {"image": bytes(range(256)) * 3}, identifier="V2", poll="1")
    assert post.memory.image.state == "activated" or post.memory.executed > 0


def test_a_key_is_renewed_from_the_page(program: Running) -> None:
    host, world, _ = program
    post = world.world.device(GAS)
    before = {(slot.key_id, slot.version) for slot in post.memory.keys}
    run_job(program, GAS, "keys", second="custodian", action="renew", key_id="0x20")
    after = {(slot.key_id, slot.version) for slot in post.memory.keys if slot.active}
    assert after - before
    heard, session = host.core.head_end.now().timestamp(), host.core.head_end.as_user(host.administrator("admin"))
    device = number_of(host, world, GAS)
    until(lambda: any(row.received_at > heard for row in session.latest_readings(device)))


def test_health_and_metrics(program: Running) -> None:
    host, _, _ = program
    health = httpx.get(f"{host.address}/health")
    assert health.status_code == 200
    assert health.json()["parts"]["gateway hall"] == "runs"
    metrics = httpx.get(f"{host.address}/metrics").text
    assert 'openmetering_telegrams_total{result="decoded"' in metrics
    assert 'openmetering_devices{medium="gas",state="active"} 1.0' in metrics
    assert httpx.get(f"{host.address}/metrics", headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 403


def test_the_end_is_ordered_and_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with running(tmp_path, speed=60.0, days=1) as (host, _, _):
        count = host.core.head_end.store.counts().frames
        until(lambda: host.core.head_end.store.counts().frames > count)
        address = host.address or ""
    assert {thread for thread in threading.enumerate() if thread not in before and not thread.daemon} == set()
    with pytest.raises(httpx.HTTPError):
        httpx.get(address)
