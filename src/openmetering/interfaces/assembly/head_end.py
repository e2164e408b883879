"""A head-end with everything around it, from its configuration: jobs, receivers, publishers, metrics.

core = Core(config)            opens the database; nothing runs yet
core.start(background)         takes up what was left, begins
core.stop()                    receivers first, then jobs and publishers; what waits is written
core.close()                   the database last
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Final

from openmetering.errors import OmsError
from openmetering.interfaces.assembly.background import Background
from openmetering.interfaces.assembly.config import HostConfig
from openmetering.interfaces.assembly.receiving import Receiving
from openmetering.interfaces.metrics import COUNTED, Metrics
from openmetering.interfaces.mqtt.publisher import MqttPublisher
from openmetering.interfaces.reports.clerk import ReportClerk
from openmetering.interfaces.reports.delivery import Deliver, Mailer, post
from openmetering.interfaces.web.machines import Health
from openmetering.services.headend.headend import HeadEnd, now_utc
from openmetering.services.headend.influx import InfluxWriter
from openmetering.services.headend.jobs.carriers import Carrier, Carriers
from openmetering.services.headend.jobs.keys import VaultKeys
from openmetering.services.headend.jobs.runner import Runner
from openmetering.services.headend.jobs.worker import JobWorker
from openmetering.services.headend.masterkey import read_master_key
from openmetering.services.headend.vault import Vault
from openmetering.services.headend.webhooks import Webhooks
from openmetering.storage.archive import Archive
from openmetering.storage.database import Database
from openmetering.transport.reception import Reception

__all__ = ["Core"]

_log = logging.getLogger(__name__)
_LATE: Final = 4.0  #: times the tick after which the clockwork counts as standing still
Ingest = Callable[[Sequence[Reception], str], object]


class Core:
    """The head-end of a program, without its page."""

    def __init__(
        self,
        config: HostConfig,
        *,
        carriers: Sequence[Carrier] = (),
        create_key: bool = False,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        """``create_key``: make the master key if there is none. Raises InputError, TransportError"""
        self.config = config
        self.database = Database.open(config.database_url())
        try:
            self.vault = Vault(self.database, read_master_key(config.headend.master_key, create=create_key), clock)
            archive = Archive(config.headend.archive) if config.headend.archive else None
            self.head_end = HeadEnd(self.database, self.vault, clock, rules=config.rules, archive=archive)
        except BaseException:
            self.database.close()
            raise
        bus = self.head_end.bus
        self.carriers = Carriers(*carriers)
        self.metrics = Metrics(lambda: clock().timestamp())
        self.receiving = Receiving(config, self.head_end, self.carriers, self._ingest)
        self.worker = JobWorker(
            Runner(self.database, VaultKeys(self.vault, self.database), self.carriers, bus=bus), self.head_end.jobs, bus
        )
        self.webhooks = Webhooks(self.database, clock, reveal=self.vault.unseal)
        ways: dict[str, Deliver] = {"webhook": post}
        if config.mail is not None:
            ways["mail"] = Mailer(config.mail)
        self.clerk = ReportClerk(self.head_end, ways)
        self.influx = None if config.influx is None else InfluxWriter(config.influx)
        self.publisher = None if config.publish is None else MqttPublisher(config.publish)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._publishing: Future[None] | None = None
        self._publish_no_more = asyncio.Event()
        self._background: Background | None = None
        self._ticked = time.monotonic()
        self._trouble = ""
        for part in (self.metrics, self.webhooks, self.influx, self.publisher):
            if part is not None:
                part.attach(bus)
        self.metrics.watch_queue("webhooks", self.webhooks.waiting)
        for name, (text, labels, counts) in COUNTED.items():
            self.metrics.watch_counts(name, text, labels, counts(self.database))
        if self.influx is not None:
            self.metrics.watch_queue("influx", self.influx.__len__)

    # -- its life -------------------------------------------------------------------------------------------

    def start(self, background: Background) -> None:
        """Begin; first of all what an earlier program left behind. Raises TransportError"""
        self._background = background
        left = self.head_end.recover()
        if left.frames:
            _log.info("%d telegrams were stored but not read when the program ended last; they are read now", left.frames)
        self.worker.start()
        self._thread("clockwork", self._tick)
        self._thread("reports", lambda: self.clerk.run(self._stop))
        self._thread("webhooks", lambda: self.webhooks.run(self._stop))
        if self.influx is not None:
            writer = self.influx
            self._thread("influx", lambda: writer.run(self._stop))
        if self.publisher is not None:
            self._publishing = background.run("MQTT publisher", self._publish)
        self.receiving.start(background)

    def stop(self) -> None:
        """Receive nothing more, finish what is under way. Safe to call twice."""
        self.receiving.stop()
        self.worker.stop()
        self._stop.set()
        self.webhooks.news.set()
        if self.influx is not None:
            self.influx.news.set()
        for thread in self._threads:
            thread.join(10.0)
        if self._publishing is not None and self._background is not None:
            self._background.call(self._publish_no_more.set)
            _wait(self._publishing)

    def close(self) -> None:
        """Write what was only noted and close the database."""
        try:
            self.head_end.close()
        finally:
            self.database.close()

    def health(self) -> Health:
        """What works."""
        late = time.monotonic() - self._ticked > _LATE * self.config.headend.tick + 60.0
        parts = {
            "clockwork": "stands still" if late else self._trouble or "runs",
            "jobs": "run" if self.worker.alive else "stand still",
            **self.receiving.health(),
        }
        if self.publisher is not None:
            parts["publisher"] = "connected" if self.publisher.connected else "the broker is away"
        return Health(not late and not self._trouble and self.worker.alive, parts)

    # -- what runs ------------------------------------------------------------------------------------------

    def _ingest(self, batch: Sequence[Reception], gateway: str) -> object:
        begun = time.perf_counter()
        report = self.head_end.ingest(batch, gateway=gateway)
        self.metrics.batch(len(batch), time.perf_counter() - begun)
        return report

    def _thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _tick(self) -> None:
        while not self._stop.wait(self.config.headend.tick):
            try:
                self.head_end.tick()
                self._trouble = ""
            except OmsError as error:
                self._trouble = error.message
                _log.error("clockwork: %s", error.message)
            except Exception as error:
                self._trouble = f"a fault of ours ({type(error).__name__})"
                _log.exception("clockwork: a fault of ours")
            self._ticked = time.monotonic()

    async def _publish(self) -> None:
        assert self.publisher is not None
        await self.publisher.run(self._publish_no_more)


def _wait(future: Future[None], seconds: float = 5.0) -> None:
    try:
        future.result(seconds)
    except TimeoutError:
        future.cancel()
    except Exception as error:
        _log.debug("it had ended with %s", error)  # told when it happened
