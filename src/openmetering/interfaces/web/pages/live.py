"""News for open pages: server-sent events that name what changed, and nothing of what it says.

    bus (any thread) -> the names this user may know of -> loop of the server -> at most one event a second
    event: changed
    data: readings device-7 alarms

The page fetches the parts that show it again, and so every right is checked as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from litestar import get
from litestar.response import ServerSentEvent, ServerSentEventMessage

from openmetering.errors import InputError
from openmetering.interfaces.web.pages.visit import Visiting
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, Event, GatewayChanged, JobChanged, ReadingsStored
from openmetering.services.headend.guarded import Guarded

__all__ = ["Gathering", "live", "names_of"]

_PAUSE: Final = 1.0  #: seconds between two events, so that a burst of telegrams is one
_ALIVE: Final = 20.0  #: seconds until something is sent all the same, to notice browsers that left


def names_of(event: Event) -> tuple[str, ...]:
    """What parts of pages an event changes."""
    maker = _NAMES.get(type(event))
    return () if maker is None else maker(event)


def _readings(event: Event) -> tuple[str, ...]:
    assert isinstance(event, ReadingsStored)
    return ("readings",) if event.device is None else ("readings", f"device-{event.device.id}")


def _alarm(event: Event) -> tuple[str, ...]:
    assert isinstance(event, AlarmChanged)
    return ("alarms",) if event.alarm.device_id is None else ("alarms", f"device-{event.alarm.device_id}")


def _job(event: Event) -> tuple[str, ...]:
    assert isinstance(event, JobChanged)
    return ("jobs", f"job-{event.job.id}")


def _device(event: Event) -> tuple[str, ...]:
    assert isinstance(event, DeviceChanged)
    return ("devices", f"device-{event.device.id}")


def _gateway(_event: Event) -> tuple[str, ...]:
    return ("gateways",)


_NAMES: Final[dict[type, Callable[[Event], tuple[str, ...]]]] = {
    ReadingsStored: _readings,
    AlarmChanged: _alarm,
    JobChanged: _job,
    DeviceChanged: _device,
    GatewayChanged: _gateway,
}


class Gathering:
    """Names that came since they were taken last, of what ``session`` may see. ``add`` may be called from any thread."""

    __slots__ = ("_loop", "_names", "_seen", "_session", "_wake")

    def __init__(self, loop: asyncio.AbstractEventLoop, session: Guarded) -> None:
        self._loop = loop
        self._session = session
        self._seen: dict[int, bool] = {}
        self._names: dict[str, None] = {}
        self._wake = asyncio.Event()

    def add(self, event: Event) -> None:
        """Note an event."""
        names = names_of(event)
        if names and not self._loop.is_closed() and self._may_know(event):
            self._loop.call_soon_threadsafe(self._note, names)

    def _may_know(self, event: Event) -> bool:
        device_id = _device_of(event)
        if device_id is None:
            return self._session.can("read", "gateways")
        if isinstance(event, DeviceChanged):
            self._seen.pop(device_id, None)
        if device_id not in self._seen:
            try:
                self._session.device(device_id)
                self._seen[device_id] = True
            except InputError:
                self._seen[device_id] = False
        return self._seen[device_id]

    def _note(self, names: tuple[str, ...]) -> None:
        self._names.update(dict.fromkeys(names))
        self._wake.set()

    async def take(self, patience: float) -> tuple[str, ...]:
        """The names that came, in order; waits for some, but no longer than ``patience`` seconds."""
        try:
            await asyncio.wait_for(self._wake.wait(), patience)
        except TimeoutError:
            return ()
        found = tuple(self._names)
        self._names.clear()
        self._wake.clear()
        return found


def _device_of(event: Event) -> int | None:
    """The device that an event is about; None for those of the system."""
    if isinstance(event, AlarmChanged):
        return event.alarm.device_id
    if isinstance(event, JobChanged):
        return event.job.device_id
    if isinstance(event, ReadingsStored | DeviceChanged):
        return None if event.device is None else event.device.id
    return None


@get("/live", media_type="text/event-stream", include_in_schema=False)
async def live(visit: Visiting) -> ServerSentEvent:
    """The news, as long as the browser listens."""
    gathering = Gathering(asyncio.get_running_loop(), visit.session)
    bus: Bus = visit.request.app.state.head_end.bus

    async def stream() -> AsyncIterator[ServerSentEventMessage]:
        end = bus.subscribe_all(gathering.add)
        try:
            yield ServerSentEventMessage(comment="here", retry=5000)
            while True:
                names = await gathering.take(_ALIVE)
                if names:
                    yield ServerSentEventMessage(event="changed", data=" ".join(names))
                    await asyncio.sleep(_PAUSE)
                else:
                    yield ServerSentEventMessage(comment="still here")
        finally:
            end()

    return ServerSentEvent(stream())
