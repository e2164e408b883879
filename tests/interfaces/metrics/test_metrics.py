"""Metrics as Prometheus reads them: names, labels, and that no meter is named."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from openmetering.errors import TransportError
from openmetering.interfaces.metrics import COUNTED, Metrics
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, GatewayChanged, JobChanged, ReadingsStored
from openmetering.services.headend.model import Alarm, Device, GatewayInfo, Job
from openmetering.storage import tables
from openmetering.storage.database import Database
from openmetering.storage.reading_rows import readings_of
from openmetering.telegram import Telegram, decode, examine
from tests.fleet import radio, volume

NOW = 1_768_392_000.0
START = datetime.fromtimestamp(NOW, UTC)

Sample = tuple[str, tuple[tuple[str, str], ...]]


def stored(telegram: Telegram, source: str = "stick", ago: float = 0.02) -> ReadingsStored:
    return ReadingsStored(None, telegram, tuple(readings_of(telegram)), NOW - ago, 1, source)


def samples(metrics: Metrics) -> dict[Sample, float]:
    """Everything in the text, read by the parser of the library."""
    content_type, text = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def key(name: str, **labels: str) -> Sample:
    return f"openmetering_{name}", tuple(sorted(labels.items()))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda: NOW)


def test_telegrams_by_source_and_result(metrics: Metrics) -> None:
    bus = Bus()
    end = metrics.attach(bus)
    for _ in range(3):
        bus.publish(stored(decode(radio(records=volume(1) + volume(2, storage=True)))))
    bus.publish(stored(examine(radio(profile="A")), "bus"))
    fragment = decode(radio())
    fragment.fragment = True
    bus.publish(stored(fragment, "bus"))
    end()
    bus.publish(stored(decode(radio())))
    found = samples(metrics)
    assert found[key("telegrams_total", source="stick", result="decoded")] == 3
    assert found[key("telegrams_total", source="bus", result="key.missing")] == 1
    assert found[key("telegrams_total", source="bus", result="fragment")] == 1
    assert found[key("readings_total", source="stick")] == 6
    assert bus.failures == 0


def test_delays(metrics: Metrics) -> None:
    metrics.stored(stored(decode(radio()), ago=0.02))
    metrics.stored(stored(decode(radio()), ago=7.0))
    metrics.stored(stored(decode(radio()), ago=-5.0))  # the clock of the receiver is ahead
    found = samples(metrics)
    assert found[key("ingest_delay_seconds_bucket", source="stick", le="0.025")] == 2
    assert found[key("ingest_delay_seconds_bucket", source="stick", le="10.0")] == 3
    assert found[key("ingest_delay_seconds_sum", source="stick")] == pytest.approx(7.02)
    metrics.batch(120, 0.03)
    found = samples(metrics)
    assert found[key("ingest_batch_frames_sum")] == 120
    assert found[key("ingest_batch_seconds_bucket", le="0.05")] == 1


def test_events(metrics: Metrics) -> None:
    bus = Bus()
    metrics.attach(bus)
    bus.publish(AlarmChanged(Alarm(1, 1, "leak", "critical", "raised", START, "")))
    bus.publish(JobChanged(Job(1, 1, "read", "{}", "done", 1, START)))
    bus.publish(DeviceChanged(Device(1, "ELS-12345678-33-03")))
    bus.publish(GatewayChanged(GatewayInfo(1, "roof")))
    bus.publish(GatewayChanged(GatewayInfo(1, "roof")))
    found = samples(metrics)
    counts = {name: found[key("events_total", event=name)] for name in ("alarm", "job", "device", "gateway")}
    assert counts == {"alarm": 1, "job": 1, "device": 1, "gateway": 2}


def test_queues_and_counts_are_asked_at_the_scrape(metrics: Metrics) -> None:
    waiting = [4]
    metrics.watch_queue("mqtt", lambda: waiting[0])
    metrics.watch_counts("alarms", "Alarms", ("kind", "state"), lambda: {("leak", "raised"): waiting[0]})
    assert samples(metrics)[key("queue_length", queue="mqtt")] == 4
    waiting[0] = 9
    found = samples(metrics)
    assert (found[key("queue_length", queue="mqtt")], found[key("alarms", kind="leak", state="raised")]) == (9, 9)


def test_a_question_that_fails_is_left_out(metrics: Metrics) -> None:
    def fails() -> int:
        raise TransportError("the database is away", code="storage.failed")

    def fails_too() -> dict[tuple[str, ...], int]:
        raise TransportError("the database is away", code="storage.failed")

    metrics.watch_queue("broken", fails)
    metrics.watch_queue("mqtt", lambda: 1)
    metrics.watch_counts("jobs", "Jobs", ("kind", "state"), fails_too)
    found = samples(metrics)
    assert found[key("queue_length", queue="mqtt")] == 1
    assert key("queue_length", queue="broken") not in found
    assert found[key("scrape_failures")] == 2


def test_counts_of_the_database(metrics: Metrics) -> None:
    with Database.open(":memory:") as database:
        with database.transaction() as connection:
            for number, medium in enumerate(("water", "water", "heat"), 1):
                address = f"ELS-{number:08d}-33-07"
                connection.execute(insert(tables.devices).values(address=address, medium=medium, created_at=START))
                alarm = {"kind": "leak", "severity": "critical", "raised_at": START, "text": "", "device_id": number}
                connection.execute(insert(tables.alarms).values(**alarm, created_at=START))
                connection.execute(insert(tables.jobs).values(device_id=number, kind="read", state="done", created_at=START))
        for name, (text, labels, counts) in COUNTED.items():
            metrics.watch_counts(name, text, labels, counts(database))
        found = samples(metrics)
    assert found[key("alarms", kind="leak", severity="critical", state="raised")] == 3
    assert found[key("jobs", kind="read", state="done")] == 3
    assert found[key("devices", medium="water", state="announced")] == 2


def test_sources_stay_few_and_no_meter_is_named(metrics: Metrics) -> None:
    for number in range(250):
        metrics.stored(stored(decode(radio(number=number)), f"tcp://host:{number}"))
    found = samples(metrics)
    assert found[key("telegrams_total", source="other", result="decoded")] == 50
    assert len([name for name, _ in found if name == "openmetering_telegrams_total"]) == 201
    text = metrics.exposition()[1]
    assert b"ELS" not in text
    assert b"00000007" not in text


def test_both_formats(metrics: Metrics) -> None:
    metrics.stored(stored(decode(radio())))
    content_type, text = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in open_metrics(text.decode())}
    assert {"openmetering_telegrams", "openmetering_ingest_delay_seconds", "openmetering_build"} <= names


def test_two_processes_in_one_do_not_meet() -> None:
    first, second = Metrics(lambda: NOW), Metrics(lambda: NOW)
    first.stored(stored(decode(radio())))
    assert key("telegrams_total", source="stick", result="decoded") not in samples(second)


@pytest.fixture
def served(metrics: Metrics) -> Iterator[str]:
    server = metrics.serve(0)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()


def test_served(metrics: Metrics, served: str) -> None:
    metrics.stored(stored(decode(radio())))
    with urllib.request.urlopen(served, timeout=5) as answer:
        text = answer.read().decode()
    assert 'openmetering_telegrams_total{result="decoded",source="stick"} 1.0' in text
    port = int(served.split(":")[2].split("/", maxsplit=1)[0])
    with pytest.raises(TransportError) as caught:
        metrics.serve(port)
    assert caught.value.code == "metrics.failed"
