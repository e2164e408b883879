"""Routes for readings, series, telegrams and alarms."""

from __future__ import annotations

from datetime import datetime
from math import floor
from typing import Annotated, cast

import msgspec
from litestar import Response
from litestar.params import QueryParameter

from openmetering.interfaces.web.api.common import (
    LINE,
    ApiRequest,
    Cursor,
    Id,
    Limit,
    Listing,
    Moment,
    OptionalId,
    Session,
    listing,
    maybe_utc,
    next_path,
    perform,
    read,
    whole,
)
from openmetering.services.headend.board import BoardRow
from openmetering.services.headend.model import Alarm, Device, MeteringPoint, SeriesInfo, SeriesPoint, TelegramInfo, moment
from openmetering.services.headend.problems import invalid
from openmetering.storage import ReadingRow
from openmetering.storage.model import AlarmState
from openmetering.telegram import answer_json
from openmetering.telegram.anatomy import Anatomy, anatomy

__all__ = ["ROUTES", "BoardView", "ReadingView"]

_LATEST = 4_102_444_800.0 * 10  #: a second that no receiver will name
Quantity = Annotated[
    str | None, QueryParameter(max_length=120, pattern=LINE, required=False, description="A part of the quantity: energy, volume")
]
Resolution = Annotated[
    float | None,
    QueryParameter(ge=1, le=366 * 86_400, required=False, description="Seconds: the last value of each slot of this length"),
]
Behind = Annotated[
    str | None,
    QueryParameter(
        max_length=60, pattern=r"^[0-9]+(\.[0-9]+)?:[0-9]+$", required=False, description="`cursor` of the page before"
    ),
]


class ReadingView(msgspec.Struct, frozen=True):
    """A reading with everything that says what it is. ``value`` has the exact digits; a number is mantissa times ten to the
    power of ``exponent``, which is null where it is none. ``time`` is that of the device itself."""

    address: str
    medium: str | None
    received_at: datetime
    quantity: str
    value: str | None
    unit: str
    function: str
    storage: int
    tariff: int
    subunit: int
    qualifiers: str
    obis: str
    tag: str
    mantissa: int | None
    exponent: int | None
    time: str | None
    error: str | None
    frame_id: int

    @classmethod
    def of(cls, row: ReadingRow) -> ReadingView:
        """As programs get it."""
        return cls(**{**msgspec.structs.asdict(row), "received_at": moment(row.received_at)})


class BoardView(msgspec.Struct, frozen=True):
    """A device, where it measures now, the severity and kind of its worst open alarm, and its newest readings."""

    device: Device
    point: MeteringPoint | None
    alarm: str | None
    alarm_kind: str | None
    readings: tuple[ReadingView, ...]

    @classmethod
    def of(cls, row: BoardRow) -> BoardView:
        """As programs get it."""
        return cls(row.device, row.point, row.alarm, row.alarm_kind, tuple(map(ReadingView.of, row.readings)))


# -- readings ----------------------------------------------------------------------------------------


class _Place(msgspec.Struct, frozen=True):
    """Behind which reading a page begins: time in seconds, and how many readings of exactly this time were given."""

    time: float
    given: int

    @classmethod
    def parse(cls, text: str) -> _Place:
        time, _, given = text.partition(":")
        found = cls(float(time), int(given[:9]))
        if found.time > _LATEST or found.given > 9_000:
            raise invalid("this cursor was not given by the page before")
        return found

    def behind(self, rows: tuple[ReadingRow, ...]) -> tuple[ReadingRow, ...]:
        """Leave out what was given."""
        rest = [row for row in rows if row.received_at >= self.time]
        known = sum(row.received_at == self.time for row in rest[: self.given])
        return tuple(rest[known:])


def _place_of(rows: tuple[ReadingRow, ...], before: _Place | None) -> str:
    last = rows[-1].received_at
    given = sum(row.received_at == last for row in rows)
    if before is not None and before.time == last:
        given += before.given
    return f"{last!r}:{given}"


@read("/devices/{device_id:int}/readings", "read:readings", tag="readings")
def list_readings(
    request: ApiRequest,
    session: Session,
    device_id: Id,
    since: Moment = None,
    until: Moment = None,
    quantity: Quantity = None,
    cursor: Behind = None,
    limit: Limit = 100,
) -> Listing[ReadingView]:
    """Readings of a device in the order of time, `until` excluded.

    Values are exact decimal digits in a text. Reading them is noted in the audit trail.
    """
    place = None if cursor is None else _Place.parse(cursor)
    start, wanted = maybe_utc(since), limit
    if place is not None:
        start, wanted = moment(floor(place.time * 1e6) / 1e6), limit + place.given
    rows = session.readings(device_id, start, maybe_utc(until), quantity, wanted)
    shown = rows if place is None else place.behind(rows)
    views = tuple(map(ReadingView.of, shown))
    if len(rows) < wanted or not shown:
        return Listing(views)
    behind = _place_of(shown, place)
    return Listing(views, behind, next_path(request, behind))


@read("/devices/{device_id:int}/readings/latest", "read:readings", tag="readings")
def latest_readings(session: Session, device_id: Id) -> Listing[ReadingView]:
    """The newest reading of every series of a device."""
    return whole(map(ReadingView.of, session.latest_readings(device_id)))


@read("/board", "read:readings", tag="readings")
def board(session: Session) -> Listing[BoardView]:
    """Every device with where it measures now, its worst alarm and its newest readings."""
    return whole(map(BoardView.of, session.board()))


@read("/devices/{device_id:int}/series", "read:readings", tag="readings")
def list_series(session: Session, device_id: Id) -> Listing[SeriesInfo]:
    """The kinds of values that a device sends."""
    return whole(session.series(device_id))


@read("/series/{series_id:int}/values", "read:readings", tag="readings")
def series_values(
    session: Session,
    series_id: Id,
    since: Moment = None,
    until: Moment = None,
    resolution: Resolution = None,
    limit: Annotated[int, QueryParameter(ge=1, le=10_000, description="How many at most")] = 5000,
) -> Listing[SeriesPoint]:
    """The values of one series in the order of time, `until` excluded; for plots.

    With `resolution` the last value of each slot, slots begin at 1970. Ask again `since` the last time if there are as
    many values as `limit`.
    """
    return whole(session.series_values(series_id, maybe_utc(since), maybe_utc(until), resolution, limit))


# -- telegrams ---------------------------------------------------------------------------------------


@read("/devices/{device_id:int}/telegrams", "read:telegrams", tag="telegrams")
def list_telegrams(
    request: ApiRequest, session: Session, device_id: Id, cursor: Cursor = None, limit: Limit = 100
) -> Listing[TelegramInfo]:
    """Telegrams of a device, the newest first."""
    return listing(request, session.telegrams(device_id, cursor, limit))


@read("/telegrams/{frame_id:int}", "read:telegrams", tag="telegrams")
def get_telegram(session: Session, frame_id: Id) -> Response[dict[str, object]]:
    """One telegram decoded with the keys of today, as `oms decode --format json` answers it."""
    octets = answer_json(session.telegram(frame_id))
    return Response(cast("dict[str, object]", octets), media_type="application/json")  # is JSON already


@read("/telegrams/{frame_id:int}/anatomy", "read:telegrams", tag="telegrams")
def explain_telegram(session: Session, frame_id: Id) -> Anatomy:
    """One telegram explained octet by octet, as `oms explain` does."""
    return anatomy(session.telegram(frame_id))


# -- alarms ------------------------------------------------------------------------------------------


@read("/alarms", "read:alarms", tag="alarms")
def list_alarms(
    request: ApiRequest,
    session: Session,
    states: Annotated[list[AlarmState] | None, QueryParameter(name="state", required=False)] = None,
    device_id: OptionalId = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Listing[Alarm]:
    """Alarms, the newest first.

    `state` may be given several times.
    """
    return listing(request, session.alarms(tuple(states or ()), device_id, cursor, limit))


@perform("/alarms/{alarm_id:int}/acknowledge", "write:alarms", tag="alarms")
def acknowledge_alarm(session: Session, alarm_id: Id) -> Alarm:
    """Say that somebody has seen an alarm."""
    return session.acknowledge_alarm(alarm_id)


ROUTES = (
    list_readings, latest_readings, board, list_series, series_values, list_telegrams, get_telegram, explain_telegram,
    list_alarms, acknowledge_alarm,
)  # fmt: skip
