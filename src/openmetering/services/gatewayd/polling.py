"""When which slave of a wired line is read, and one line for readings and commands.

    due --read--> done                          the next time of the plan
                  failed --retry_after * 2^n--> read again, ``retries`` times; then the next time of the plan
    a slave that failed several whole rounds is left out for 1, 3, 7, ... rounds, at most ``longest`` seconds

Times of the plan are multiples of ``every`` since midnight UTC, or the moments ``at`` of every day (UTC), or both. A time
that passed while the gateway was down is not made up for: the slave is read when the gateway starts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from openmetering.protocol.events import Octets
from openmetering.protocol.exchange import Submit
from openmetering.protocol.gateway.wired_gateway import State, WiredGateway, WiredInput, WiredOutput
from openmetering.protocol.wired.orders import Abort, ReadoutDone, ReadoutFailed, Target

__all__ = ["PollPlan", "PolledLine", "Schedule"]

_DAY: Final = 86_400.0
_MOST_MISSED: Final = 20


class PollPlan(msgspec.Struct, frozen=True):
    """When a slave is read. Seconds; ``at`` counts from midnight UTC."""

    target: Target
    every: float | None = 900.0
    at: tuple[float, ...] = ()
    retries: int = 2
    retry_after: float = 30.0
    longest: float = _DAY

    @property
    def round(self) -> float:
        """Seconds between two times of the plan, on average."""
        return self.every if self.every is not None else _DAY / len(self.at)

    def following(self, now: float) -> float:
        """The next time of the plan after ``now``."""
        day = math.floor(now / _DAY) * _DAY
        times = [day + moment + shift for moment in self.at for shift in (0.0, _DAY) if day + moment + shift > now]
        if self.every is not None:
            times.append((math.floor(now / self.every) + 1) * self.every)
        return min(times)


class _Slave:
    __slots__ = ("due", "missed", "plan", "tried")

    def __init__(self, plan: PollPlan, due: float) -> None:
        self.plan = plan
        self.due = due
        self.tried = 0
        self.missed = 0


class Schedule:
    """Plans of one line. The slave that is due for the longest time comes first."""

    __slots__ = ("_slaves",)

    def __init__(self, plans: Sequence[PollPlan], now: float) -> None:
        self._slaves = {plan.target: _Slave(plan, now) for plan in plans}

    @property
    def deadline(self) -> float | None:
        """When the next slave is due."""
        return min((slave.due for slave in self._slaves.values()), default=None)

    def due(self, now: float) -> Target | None:
        """The slave to read now."""
        slave = min(self._slaves.values(), key=lambda one: one.due, default=None)
        return None if slave is None or slave.due > now else slave.plan.target

    def done(self, target: Target, now: float) -> None:
        """A readout succeeded."""
        slave = self._slaves[target]
        slave.tried = slave.missed = 0
        slave.due = slave.plan.following(now)

    def failed(self, target: Target, now: float) -> float:
        """A readout failed; returns when it is tried again."""
        slave = self._slaves[target]
        plan = slave.plan
        if slave.tried < plan.retries:
            slave.due = now + plan.retry_after * 2**slave.tried
            slave.tried += 1
            return slave.due
        left_out = min(plan.round * (2**slave.missed - 1), plan.longest)
        slave.tried, slave.missed = 0, min(slave.missed + 1, _MOST_MISSED)
        slave.due = plan.following(now + left_out)
        return slave.due


class PolledLine:
    """A wired gateway that also reads slaves by plan: one machine for the driver.

    The master of the gateway serves both in turns: commands first, readouts while none waits. A command that comes during
    a readout waits for its end.
    """

    __slots__ = ("_held", "_reading", "gateway", "schedule")

    def __init__(self, gateway: WiredGateway, schedule: Schedule) -> None:
        self.gateway = gateway
        self.schedule = schedule
        self._reading = False
        self._held: deque[Submit] = deque()

    @property
    def deadline(self) -> float | None:
        """The next one of gateway and plan."""
        if self._reading:
            return self.gateway.master.deadline
        if self.gateway.state is not State.IDLE:
            return self.gateway.deadline
        times = [when for when in (self.gateway.deadline, self.schedule.deadline) if when is not None]
        return min(times, default=None)

    def receive(self, event: WiredInput, now: float) -> list[WiredOutput]:
        """Something for the gateway. Raises what it raises."""
        if self._reading and isinstance(event, Octets):
            return self._read(list(self.gateway.master.receive(event, now)), now)
        if self._reading and isinstance(event, Submit):
            self._held.append(event)
            return []
        return [*self.gateway.receive(event, now), *self._go_on(now)]

    def timeout(self, now: float) -> list[WiredOutput]:
        """Time has passed."""
        if self._reading:
            return self._read(list(self.gateway.master.timeout(now)), now)
        return [*self.gateway.timeout(now), *self._go_on(now)]

    def line_lost(self, now: float) -> None:
        """The line is gone: a readout under way counts as failed. A command goes on when the line is back."""
        if self._reading:
            self._reading = False
            for event in self.gateway.master.receive(Abort(), now):
                if isinstance(event, ReadoutFailed):
                    self.schedule.failed(event.target, now)

    def _read(self, out: list[WiredOutput], now: float) -> list[WiredOutput]:
        for event in out:
            if isinstance(event, ReadoutDone):
                self._reading = False
                self.schedule.done(event.target, now)
            elif isinstance(event, ReadoutFailed):
                self._reading = False
                self.schedule.failed(event.target, now)
        return out if self._reading else [*out, *self._go_on(now)]

    def _go_on(self, now: float) -> list[WiredOutput]:
        """The next thing to do on a free line."""
        out: list[WiredOutput] = []
        while self._held and not self._reading:
            out += self.gateway.receive(self._held.popleft(), now)
        if self._reading or self.gateway.state is not State.IDLE:
            return out
        target = self.schedule.due(now)
        if target is not None:
            self._reading = True
            out += self._read(list(self.gateway.master.receive(target, now)), now)
        return out
