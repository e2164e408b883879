"""The thread that runs jobs: the only place that reads a clock here. Everything else hands things to it and goes on.

worker = JobWorker(runner, desk, bus)
worker.start()      takes up what an earlier program had under way
worker.stop()       returns when nothing is written any more; what is under way goes on after the next start
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from openmetering.errors import OmsError
from openmetering.services.headend.bus import Bus, JobChanged
from openmetering.services.headend.jobs.carriers import CarriedResult
from openmetering.services.headend.jobs.desk import JobDesk
from openmetering.services.headend.jobs.journal import REPLACED
from openmetering.services.headend.jobs.runner import Runner

__all__ = ["JobWorker", "steady_clock"]

_log = logging.getLogger(__name__)
_TROUBLE = 5.0  #: seconds before the next try when the database fails


def steady_clock() -> Callable[[], float]:
    """A clock of seconds since 1970 that never goes back."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


class JobWorker:
    """Drives a runner in a thread of its own. ``alive`` False: it has stopped, or another head-end has taken over."""

    def __init__(self, runner: Runner, desk: JobDesk, bus: Bus | None = None, clock: Callable[[], float] | None = None) -> None:
        self._runner = runner
        self._clock = clock or steady_clock()
        self._inbox: queue.SimpleQueue[Callable[[float], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ends: list[Callable[[], None]] = []
        runner.carriers.listen(self.deliver)
        desk.cancelled = self.cancel
        if bus is not None:
            self._ends.append(bus.subscribe(JobChanged, self._changed))

    @property
    def alive(self) -> bool:
        """True while jobs are carried out."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin. Raises TransportError (``storage.failed``)"""
        self._runner.begin(self._clock())
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Stop behind what is being done now."""
        for end in self._ends:
            end()
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join(seconds)

    # -- from any thread -----------------------------------------------------------------------------

    def deliver(self, result: CarriedResult) -> None:
        """A carrier brings something."""
        self._inbox.put(lambda now: self._runner.receive(result, now))

    def cancel(self, job_id: int) -> None:
        """Somebody takes a job back that is under way."""
        self._inbox.put(lambda now: self._runner.cancel(job_id, now))

    def _changed(self, event: JobChanged) -> None:
        if event.job.state == "queued":
            self._inbox.put(lambda now: self._runner.look())

    # -- the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                action = self._inbox.get(timeout=max(0.0, self._runner.deadline - self._clock()))
            except queue.Empty:
                action = self._runner.step
            if action is None:
                return
            try:
                action(self._clock())
                if self._runner.deadline <= self._clock():
                    self._runner.step(self._clock())
            except OmsError as error:
                if error.code == REPLACED:
                    _log.error("jobs stop: %s", error.message)
                    return
                _log.error("jobs: %s", error.message)
                time.sleep(_TROUBLE)
            except Exception:
                _log.exception("jobs: a fault of ours")
                time.sleep(_TROUBLE)
