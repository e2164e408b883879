"""The guarded head-end: readings, telegrams, alarms, the overview. What concerns a household is noted when it is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from openmetering.errors import InputError
from openmetering.services.headend.access import Guard, clipped, needs
from openmetering.services.headend.board import BoardRow
from openmetering.services.headend.bus import AlarmChanged, DeviceChanged, Event, GatewayChanged, JobChanged, ReadingsStored
from openmetering.services.headend.model import (
    Alarm,
    Device,
    Overview,
    Page,
    SeriesInfo,
    SeriesPoint,
    TelegramInfo,
)
from openmetering.services.headend.problems import invalid, unknown
from openmetering.services.headend.rights import Scope
from openmetering.storage import ReadingRow
from openmetering.telegram import Telegram

__all__ = ["Data"]

_LARGEST = 10_000


class Data(Guard):
    """What devices say."""

    # -- readings ---------------------------------------------------------------------------------

    @needs("read", "readings", personal=True)
    def latest_readings(self, scope: Scope, device_id: int) -> tuple[ReadingRow, ...]:
        """The newest reading of every series of a device (for a consumer: of the own time)."""
        device = self.seen_device(scope, device_id)
        self.note_look("read readings", f"device {device_id}", "latest")
        found: dict[tuple[object, ...], ReadingRow] = {}
        for since, until in self._parts(scope, device_id, None, None):
            found |= {_kind_of(row): row for row in self._head.readings.latest(device.address, since, until)}
        return tuple(found.values())

    @needs("read", "readings", personal=True)
    def readings(
        self,
        scope: Scope,
        device_id: int,
        since: datetime | None = None,
        until: datetime | None = None,
        quantity: str | None = None,
        limit: int = 1000,
    ) -> tuple[ReadingRow, ...]:
        """Readings of a device in order of time, ``until`` excluded, at most ``limit``.

        To go on behind them ask ``since`` the time of the last one and leave out what is known already.
        """
        device = self.seen_device(scope, device_id)
        self.note("read readings", f"device {device_id}", _span(since, until), personal=True)
        rows: list[ReadingRow] = []
        most = _limit(limit)
        for start, end in self._parts(scope, device_id, since, until):
            if len(rows) < most:
                rows += self._head.readings.between(device.address, start, end, quantity, most - len(rows))
        return tuple(rows)

    @needs("read", "readings", personal=True)
    def series(self, scope: Scope, device_id: int) -> tuple[SeriesInfo, ...]:
        """The kinds of values that a device sends (for a consumer: those of which there is a value of the own time)."""
        device = self.seen_device(scope, device_id)
        self.note("read series", f"device {device_id}", personal=True)
        found: dict[int, SeriesInfo] = {}
        for since, until in self._parts(scope, device_id, None, None):
            found |= {one.id: one for one in self._head.readings.series(device.address, since, until)}
        return tuple(found.values())

    @needs("read", "readings", personal=True)
    def series_values(
        self,
        scope: Scope,
        series_id: int,
        since: datetime | None = None,
        until: datetime | None = None,
        resolution: float | None = None,
        limit: int = 5000,
    ) -> tuple[SeriesPoint, ...]:
        """The values of one series in order of time.

        ``resolution`` in seconds gives the last value of each slot of that length (slots begin at 1970), otherwise all.
        """
        if resolution is not None and not 1 <= resolution <= 366 * 86_400:
            raise invalid("a resolution is between a second and a year")
        address = self._head.readings.address_of_series(series_id)
        device = None if address is None else self._head.registry.by_address(address)
        if device is None:
            raise unknown("series", series_id)
        try:
            self.seen_device(scope, device.id)
        except InputError:
            raise unknown("series", series_id) from None
        self.note("read readings", f"device {device.id}", f"series {series_id} {_span(since, until)}", personal=True)
        points: list[SeriesPoint] = []
        most = _limit(limit)
        for start, end in self._parts(scope, device.id, since, until):
            if len(points) < most:
                points += self._head.readings.values(series_id, start, end, resolution, most - len(points))
        return tuple(points)

    def _parts(
        self, scope: Scope, device_id: int, since: datetime | None, until: datetime | None
    ) -> list[tuple[datetime | None, datetime | None]]:
        """The times that may be shown."""
        windows = self.windows(scope)
        if windows is None:
            return [(since, until)]
        return [*clipped(tuple(one for one in windows if one.device_id == device_id), since, until)]

    # -- telegrams --------------------------------------------------------------------------------

    @needs("read", "telegrams", personal=True)
    def telegrams(self, scope: Scope, device_id: int, before: int | None = None, limit: int = 100) -> Page[TelegramInfo]:
        """Telegrams of a device, the newest first; ``before`` the frame where the last page ended."""
        device = self.seen_device(scope, device_id)
        self.note("read telegrams", f"device {device_id}", personal=True)
        return self._head.readings.telegrams(device.address, before, limit)

    @needs("read", "telegrams", personal=True)
    def telegram(self, scope: Scope, frame_id: int) -> Telegram:
        """One telegram, decoded again with the keys of today: for the explain view and the raw octets (``frame``)."""
        found = self._head.readings.frame(frame_id)
        device = None if found is None or found.address is None else self._head.registry.by_address(found.address)
        if found is None or not scope.covers(None if device is None else device.tenant_id):
            raise unknown("telegram", frame_id)
        self.note("read telegram", "frame" if device is None else f"device {device.id}", f"frame {frame_id}", personal=True)
        return self._head.ingestor.examine_again(found.octets, found.received_at)

    # -- alarms -----------------------------------------------------------------------------------

    @needs("read", "alarms")
    def alarms(
        self,
        scope: Scope,
        states: tuple[str, ...] = (),
        device_id: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page[Alarm]:
        """Alarms, the newest first; ``states`` empty means all; ``before`` where the last page ended."""
        if device_id is not None:
            self.seen_device(scope, device_id)
        windows = self.windows(scope)
        if windows is None:
            return self._head.alarms.page(
                states=states, device_id=device_id, tenant_id=self.tenant_filter(scope), before=before, limit=limit
            )
        return self._head.alarms.page_within(windows, states=states, device_id=device_id, before=before, limit=limit)

    @needs("write", "alarms")
    def acknowledge_alarm(self, scope: Scope, alarm_id: int) -> Alarm:
        """Somebody has seen it. Raises InputError (``access.unknown``, ``access.conflict``)"""
        alarm = self._head.alarms.find(alarm_id)
        device = None if alarm is None or alarm.device_id is None else self._head.registry.find_device(alarm.device_id)
        if alarm is None or not scope.covers(None if device is None else device.tenant_id):
            raise unknown("alarm", alarm_id)
        with self._head.writing():
            made = self._head.alarms.acknowledge(alarm, self.user.id, self._head.now())
            self.note("acknowledge alarm", f"alarm {alarm_id}", alarm.kind)
        self._head.tell_alarm(made)
        return made

    # -- news -------------------------------------------------------------------------------------

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Be told the events that the user may see, in the thread that publishes; returns what ends it.

        A disabled account or a token without the permission hears nothing. Telegrams come as they are: whoever passes
        values on to people asks ``readings`` for them, which notes the access.
        """
        return self._head.bus.subscribe_all(lambda event: callback(event) if self._hears(event) else None)

    def _hears(self, event: Event) -> bool:
        verb, resource = _PERMISSION_OF[type(event)]
        scope = self.rights.scope(verb, resource)
        if scope is None:
            return False
        if isinstance(event, GatewayChanged):
            return True
        device = self._device_of(event)
        if scope.kind == "own":
            current = self._head.registry.windows(scope.user_id, self._head.now())
            return device is not None and any(one.device_id == device.id for one in current)
        return scope.covers(None if device is None else device.tenant_id)

    def _device_of(self, event: Event) -> Device | None:
        match event:
            case ReadingsStored() | DeviceChanged():
                return event.device
            case AlarmChanged():
                number = event.alarm.device_id
            case JobChanged():
                number = event.job.device_id
            case _:
                number = None
        return None if number is None else self._head.registry.find_device(number)

    # -- everything at one glance -----------------------------------------------------------------

    @needs("read", "readings", personal=True)
    def board(self, scope: Scope) -> tuple[BoardRow, ...]:
        """Every device that the user sees with where it measures now, its worst alarm and its newest readings."""
        self.note_look("read readings", "all devices", "latest")
        windows = None if scope.kind != "own" else self._head.registry.windows(scope.user_id, self._head.now())
        return self._head.board(self.tenant_filter(scope) if windows is None else None, windows)

    @needs("read", "nodes")
    def overview(self, scope: Scope) -> Overview:
        """The tree with what is the matter in it."""
        if scope.kind == "own":
            nodes = self._head.registry.nodes_of(scope.user_id)
            devices = frozenset(one.device_id for one in self._head.registry.windows(scope.user_id, self._head.now()))
            return self._head.overview(None, nodes=nodes, devices=devices)
        return self._head.overview(self.tenant_filter(scope), gateways=self.can("read", "gateways"))


#: what one may see to hear of it
_PERMISSION_OF: Final[dict[type[Event], tuple[str, str]]] = {
    ReadingsStored: ("read", "readings"),
    AlarmChanged: ("read", "alarms"),
    JobChanged: ("read", "jobs"),
    DeviceChanged: ("read", "devices"),
    GatewayChanged: ("read", "gateways"),
}


def _limit(limit: int) -> int:
    return max(1, min(limit, _LARGEST))


def _kind_of(row: ReadingRow) -> tuple[object, ...]:
    return (row.quantity, row.unit, row.function, row.storage, row.tariff, row.subunit, row.qualifiers, row.obis, row.tag)


def _span(since: datetime | None, until: datetime | None) -> str:
    return f"{'' if since is None else since.isoformat()}..{'' if until is None else until.isoformat()}"
