"""The metrics themselves: fed by the bus, by whoever ingests, and by questions asked at the time of a scrape.

    openmetering_telegrams_total{source,result}         stored telegrams; result: decoded, fragment or the code of the fault
    openmetering_readings_total{source}                 readings of them
    openmetering_ingest_delay_seconds{source}           from the reception to the store
    openmetering_ingest_batch_seconds                   time for a batch, and
    openmetering_ingest_batch_frames                    how many frames it had
    openmetering_events_total{event}                    changes of alarms, jobs, devices, gateways
    openmetering_queue_length{queue}                    what waits: uplink, MQTT, webhooks ...
    openmetering_alarms{kind,severity,state}, openmetering_jobs{kind,state}, openmetering_devices{medium,state}
    openmetering_build_info{version}

No label names a meter: numbers of persons do not belong here, and the number of series stays small.
Source: Prometheus documentation, metric and label naming; exposition formats (text 0.0.4 and OpenMetrics 1.0)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from openmetering import __version__
from openmetering.errors import TransportError
from openmetering.interfaces.metrics.counts import Counts
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, Event, GatewayChanged, JobChanged, ReadingsStored

__all__ = ["Metrics"]

_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_BATCHES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
_SOURCES = 200  #: sources with a label of their own; the others are "other"
_EVENTS = {AlarmChanged: "alarm", JobChanged: "job", DeviceChanged: "device", GatewayChanged: "gateway"}


class _Asked(Collector):
    """Gauges whose numbers are asked for at the time of a scrape; one that fails is left out and counted."""

    def __init__(self) -> None:
        self.queues: dict[str, Callable[[], int]] = {}
        self.counts: dict[str, tuple[str, tuple[str, ...], Callable[[], Counts]]] = {}
        self.failures = 0

    def describe(self) -> list[Metric]:
        return []  # nothing is asked while the collector is registered

    def collect(self) -> Iterator[Metric]:
        queues = GaugeMetricFamily("openmetering_queue_length", "What waits in a queue", labels=("queue",))
        for name, length in list(self.queues.items()):
            try:
                queues.add_metric((name,), length())
            except TransportError:
                self.failures += 1
        yield queues
        for name, (text, labels, ask) in list(self.counts.items()):
            family = GaugeMetricFamily(f"openmetering_{name}", text, labels=labels)
            try:
                found = ask()
            except TransportError:
                self.failures += 1
                continue
            for values, number in found.items():
                family.add_metric(values, number)
            yield family
        yield GaugeMetricFamily("openmetering_scrape_failures", "Questions that could not be answered", self.failures)


class Metrics:
    """All metrics of a process, in a registry of their own."""

    __slots__ = ("_asked", "_batch_frames", "_batch_seconds", "_clock", "_delay", "_events", "_lock", "_readings", "_sources",
                 "_telegrams", "registry")  # fmt: skip

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since 1970, for the delays."""
        registry = self.registry = CollectorRegistry()
        self._clock = clock
        self._lock = threading.Lock()
        self._sources: set[str] = set()
        by_source = ("source",)
        self._telegrams = Counter("openmetering_telegrams", "Telegrams that were stored", ("source", "result"), registry=registry)
        self._readings = Counter("openmetering_readings", "Readings that were stored", by_source, registry=registry)
        self._delay = Histogram(
            "openmetering_ingest_delay_seconds", "From reception to store", by_source, buckets=_DELAYS, registry=registry
        )
        self._batch_seconds = Histogram(
            "openmetering_ingest_batch_seconds", "Time to store a batch", buckets=_DELAYS, registry=registry
        )
        self._batch_frames = Histogram(
            "openmetering_ingest_batch_frames", "Frames in a batch", buckets=_BATCHES, registry=registry
        )
        self._events = Counter("openmetering_events", "Changes of alarms, jobs, devices, gateways", ("event",), registry=registry)
        Info("openmetering_build", "The program", registry=registry).info({"version": __version__})
        self._asked = _Asked()
        registry.register(self._asked)

    # -- feeding --------------------------------------------------------------------------------

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Listen to the head-end; returns what ends it."""
        ends = (
            bus.subscribe(ReadingsStored, self.stored),
            bus.subscribe(AlarmChanged, self.changed),
            bus.subscribe(JobChanged, self.changed),
            bus.subscribe(DeviceChanged, self.changed),
            bus.subscribe(GatewayChanged, self.changed),
        )

        def end() -> None:
            for one in ends:
                one()

        return end

    def stored(self, event: ReadingsStored) -> None:
        """A telegram was stored."""
        telegram = event.telegram
        error = telegram.error
        result = error.code if error is not None else "fragment" if telegram.fragment else "decoded"
        source = self._source(event.source)
        self._telegrams.labels(source, result).inc()
        self._readings.labels(source).inc(len(event.readings))
        self._delay.labels(source).observe(max(0.0, self._clock() - event.received_at))

    def changed(self, event: Event) -> None:
        """Something else happened."""
        self._events.labels(_EVENTS[type(event)]).inc()

    def batch(self, frames: int, seconds: float) -> None:
        """A batch was stored."""
        self._batch_frames.observe(frames)
        self._batch_seconds.observe(seconds)

    def watch_queue(self, name: str, length: Callable[[], int]) -> None:
        """Tell the length of a queue with every scrape. ``length`` may raise TransportError."""
        self._asked.queues[name] = length

    def watch_counts(self, name: str, text: str, labels: tuple[str, ...], ask: Callable[[], Counts]) -> None:
        """Tell numbers by labels with every scrape, as ``openmetering_<name>``. ``ask`` may raise TransportError."""
        self._asked.counts[name] = (text, labels, ask)

    def _source(self, name: str) -> str:
        with self._lock:
            if name in self._sources:
                return name
            if len(self._sources) >= _SOURCES:
                return "other"
            self._sources.add(name)
            return name

    # -- reading --------------------------------------------------------------------------------

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and text for an HTTP answer, in the format that the ``Accept`` header asks for."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def serve(self, port: int, host: str = "127.0.0.1") -> WSGIServer:
        """Answer scrapes in a thread of its own, for programs without a web page. End it with ``shutdown``.

        Raises TransportError (``metrics.failed``)
        """
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            raise TransportError(f"metrics on {host}:{port}: {error}", code="metrics.failed") from error
        return server
