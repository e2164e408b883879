"""One meter: values, history, telegrams octet by octet, radio, security, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

import msgspec
from litestar import get
from markupsafe import Markup

from openmetering.interfaces.web.explain_page import explain_fragment
from openmetering.interfaces.web.pages import formats
from openmetering.interfaces.web.pages.inputs import Before, Id
from openmetering.interfaces.web.pages.lists import Part, part
from openmetering.interfaces.web.pages.looks import (
    Shown,
    alarm_detail,
    alarm_title,
    device_icon,
    device_tone,
    job_tone,
    main_readings,
    severity_tone,
    shown,
    signal_bars,
    worst,
)
from openmetering.interfaces.web.pages.tree import crumbs, find_point
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting
from openmetering.services.headend.model import Device, KeyInfo, SeriesInfo, TelegramInfo, every, moment
from openmetering.storage import ReadingRow
from openmetering.telegram.anatomy import anatomy

__all__ = [
    "MeterHead",
    "meter_events",
    "meter_head",
    "meter_radio",
    "meter_security",
    "meter_telegram",
    "meter_telegrams",
    "meter_values",
]

#: tab -> what must be permitted
_TABS: Final = (
    ("values", ("read", "readings")),
    ("history", ("read", "readings")),
    ("telegrams", ("read", "telegrams")),
    ("radio", ("read", "devices")),
    ("security", ("read", "devices")),
    ("events", ("read", "alarms")),
)
_TELEGRAM_TONES: Final = {"decoded": "good", "fragment": "work", "failed": "bad"}
_OPEN = ("raised", "acknowledged")
_PAGE: Final = 50
_LOOKED_AT: Final = 200  #: telegrams that the radio and security tabs judge by

_SeriesKey = tuple[str, str, str, int, int, int, str, str]


class MeterHead(msgspec.Struct, frozen=True, kw_only=True):
    """What stands above every tab."""

    device: Device
    name: str
    icon: str
    tone: str
    state: str
    crumbs: tuple[tuple[str, str], ...]
    tabs: tuple[str, ...]
    tab: str


class ValueRow(msgspec.Struct, frozen=True):
    """A reading."""

    name: str
    value: str
    unit: str
    detail: str
    time: str
    obis: str
    received: datetime
    raw: bool = False
    plot: str = ""


class ValuesView(msgspec.Struct, frozen=True):
    """The newest value of every series."""

    figures: tuple[Shown, ...]
    rows: tuple[ValueRow, ...]
    read_at: datetime | None
    fault: str


class TelegramRow(msgspec.Struct, frozen=True):
    """A telegram in the list."""

    info: TelegramInfo
    tone: str


class TelegramsView(msgspec.Struct, frozen=True):
    """What was received, the newest first."""

    telegrams: tuple[TelegramRow, ...]
    part: Part


class Receiver(msgspec.Struct, frozen=True):
    """A gateway that hears the meter."""

    name: str
    link: str
    rssi: float | None
    bars: int
    word: str
    last_heard: datetime


class RadioView(msgspec.Struct, frozen=True):
    """How well it is heard: ``heard`` of the telegrams that its interval lets expect since a time."""

    receivers: tuple[Receiver, ...]
    heard: int
    expected: int | None
    share: str
    since: datetime | None


class TelegramView(msgspec.Struct, frozen=True):
    """One telegram."""

    crumbs: tuple[tuple[str, str], ...]
    fragment: Markup


class SecurityView(msgspec.Struct, frozen=True):
    """How its telegrams are protected, as the last ones showed."""

    protection: str
    proof: str
    seen_at: datetime | None
    looked_at: int
    faults: tuple[tuple[str, str, int], ...]
    keys: tuple[KeyInfo, ...]
    may_see_keys: bool


class EventRow(msgspec.Struct, frozen=True):
    """Something that happened."""

    at: datetime
    icon: str
    title: str
    text: str
    tone: str
    state: str
    link: str


class EventsView(msgspec.Struct, frozen=True):
    """Alarms, jobs and places, the newest first."""

    events: tuple[EventRow, ...]


def meter_head(visit: Visit, device_id: int, tab: str) -> MeterHead:
    """What stands above a tab. Raises InputError (``access.unknown``, ``access.denied``)"""
    session, words = visit.session, visit.t
    device = session.device(device_id)
    alarms = session.alarms(states=_OPEN, device_id=device_id).items if visit.can("read", "alarms") else ()
    gravest = worst(one.severity for one in alarms)
    tone = device_tone(device, gravest)
    state = words.name("device", device.state)
    if tone in ("warn", "bad") and gravest in ("warning", "critical"):
        state = alarm_title(next(one.kind for one in alarms if one.severity == gravest), words)
    return MeterHead(
        device=device,
        name=device.label or words.term(device.medium) or device.address,
        icon=device_icon(device),
        tone=tone,
        state=state,
        crumbs=(*_place(visit, device_id), (device.label or device.address, "")),
        tabs=tuple(name for name, needed in _TABS if visit.can(*needed)),
        tab=tab,
    )


def _place(visit: Visit, device_id: int) -> tuple[tuple[str, str], ...]:
    """Site, building, unit, room of the meter now; the list of meters where it is nowhere."""
    nodes = visit.session.place(device_id).nodes if visit.can("read", "nodes") else ()
    return crumbs(nodes) or ((visit.t("nav.meters"), "/meters"),)


# -- values ---------------------------------------------------------------------------------------


@get("/meters/{device_id:int}", sync_to_thread=True)
def meter_values(visit: Visiting, device_id: Id) -> Html:
    """The newest value of every series."""
    head = meter_head(visit, device_id, "values")
    readings = visit.session.latest_readings(device_id) if visit.can("read", "readings") else ()
    plots = {} if not readings else {_series_key(one): one.id for one in visit.session.series(device_id)}
    newest = max((one.received_at for one in readings), default=None)
    view = ValuesView(
        figures=tuple(shown(one, visit.t) for one in main_readings(head.device.medium, readings)),
        rows=tuple(_value_row(visit, device_id, one, plots) for one in readings),
        read_at=None if newest is None else moment(newest),
        fault="" if readings else _why_nothing(visit, device_id),
    )
    return visit.render("meter_values_live.html" if visit.is_part else "meter_values.html", view, head=head)


def _series_key(one: ReadingRow | SeriesInfo) -> _SeriesKey:
    return one.quantity, one.unit, one.function, one.storage, one.tariff, one.subunit, one.qualifiers, one.obis


def _value_row(visit: Visit, device_id: int, reading: ReadingRow, plots: Mapping[_SeriesKey, int]) -> ValueRow:
    value = shown(reading, visit.t)
    series = plots.get(_series_key(reading)) if reading.exponent is not None else None
    return ValueRow(
        value.name,
        value.value,
        value.unit,
        value.detail,
        formats.meter_time(reading.time or "", visit.locale),
        reading.obis,
        moment(reading.received_at),
        reading.exponent is None and reading.quantity not in ("date", "date time"),
        "" if series is None else f"/meters/{device_id}/history?series={series}",
    )


def _why_nothing(visit: Visit, device_id: int) -> str:
    """Why there are no values, as the last telegrams tell."""
    if not visit.can("read", "telegrams"):
        return ""
    found = visit.session.telegrams(device_id, limit=1).items
    if not found:
        return visit.t("meter.never")
    code = found[0].error or ""
    return visit.t(f"why.{code}") if visit.t.has(f"why.{code}") else ""


# -- telegrams ------------------------------------------------------------------------------------


@get("/meters/{device_id:int}/telegrams", sync_to_thread=True)
def meter_telegrams(visit: Visiting, device_id: Id, before: Before = None) -> Html:
    """What was received of a meter."""
    head = meter_head(visit, device_id, "telegrams")
    page = visit.session.telegrams(device_id, before=before, limit=_PAGE)
    view = TelegramsView(
        tuple(TelegramRow(one, _TELEGRAM_TONES.get(one.state, "idle")) for one in page.items),
        part(f"/meters/{device_id}/telegrams", {}, before, page.after),
    )
    return visit.render("meter_telegrams.html", view, head=head)


@get("/meters/{device_id:int}/telegrams/{frame_id:int}", sync_to_thread=True)
def meter_telegram(visit: Visiting, device_id: Id, frame_id: Id) -> Html:
    """One telegram, octet by octet, opened with the keys of today."""
    head = meter_head(visit, device_id, "telegrams")
    telegram = visit.session.telegram(frame_id)
    crumbs = (*head.crumbs[:-1], (head.crumbs[-1][0], f"/meters/{device_id}/telegrams"), (visit.t("telegram.title"), ""))
    view = TelegramView(crumbs, Markup(explain_fragment(anatomy(telegram))))
    return visit.render("telegram.html", view)


# -- radio ----------------------------------------------------------------------------------------


@get("/meters/{device_id:int}/radio", sync_to_thread=True)
def meter_radio(visit: Visiting, device_id: Id) -> Html:
    """Who hears the meter, and how many of its telegrams arrive."""
    head = meter_head(visit, device_id, "radio")
    gateways = {one.id: one for one in visit.session.gateways()} if visit.can("read", "gateways") else {}
    receivers = []
    for one in visit.session.receivers(device_id):
        gateway = gateways.get(one.gateway_id)
        bars = signal_bars(one.rssi)
        receivers.append(
            Receiver(
                gateway.name if gateway else visit.t("radio.gateway", number=one.gateway_id),
                f"/gateways/{one.gateway_id}" if gateway else "",
                one.rssi,
                bars,
                visit.t("radio.unknown" if one.rssi is None else f"radio.bars{bars}"),
                one.last_heard,
            )
        )
    return visit.render("meter_radio.html", _radio_view(visit, head.device, tuple(receivers)), head=head)


def _radio_view(visit: Visit, device: Device, receivers: tuple[Receiver, ...]) -> RadioView:
    """How many telegrams arrived since the oldest of the last ones, and how many the interval lets expect."""
    found = visit.session.telegrams(device.id, limit=_LOOKED_AT).items if visit.can("read", "telegrams") else ()
    if len(found) < 2 or not device.interval_learned:
        return RadioView(receivers, len(found), None, "", None)
    oldest = found[-1].received_at
    length = max((visit.now - oldest).total_seconds(), 0.0)
    expected = max(1, round(length / device.interval_learned))
    return RadioView(receivers, len(found), expected, formats.percent(min(1.0, len(found) / expected), visit.locale), oldest)


# -- security -------------------------------------------------------------------------------------


@get("/meters/{device_id:int}/security", sync_to_thread=True)
def meter_security(visit: Visiting, device_id: Id) -> Html:
    """How the telegrams are protected, what went wrong lately, and which keys there are."""
    head = meter_head(visit, device_id, "security")
    found = visit.session.telegrams(device_id, limit=_LOOKED_AT).items if visit.can("read", "telegrams") else ()
    last = found[0] if found else None
    faults = Counter(one.error for one in found if one.error)
    view = SecurityView(
        visit.t.name("security", last.security) if last else "",
        visit.t.name("proof", last.proof) if last and last.proof else "",
        last.received_at if last else None,
        len(found),
        tuple(
            (code, visit.t(f"why.{code}") if visit.t.has(f"why.{code}") else code, count) for code, count in faults.most_common()
        ),
        tuple(_keys(visit, head.device)) if visit.can("read", "keys") else (),
        visit.can("read", "keys"),
    )
    return visit.render("meter_security.html", view, head=head)


def _keys(visit: Visit, device: Device) -> Iterator[KeyInfo]:
    """The keys whose pattern is the address of the device, or covers it."""
    keys = every(lambda after: visit.session.keys(after=after, limit=500))
    return (one for one in keys if fnmatchcase(device.address, one.address_pattern))


# -- events ---------------------------------------------------------------------------------------


@get("/meters/{device_id:int}/events", sync_to_thread=True)
def meter_events(visit: Visiting, device_id: Id) -> Html:
    """Alarms and jobs of a meter, and where it measured, the newest first."""
    head = meter_head(visit, device_id, "events")
    rows = [*_alarm_events(visit, device_id), *_job_events(visit, device_id), *_place_events(visit, device_id)]
    rows.sort(key=lambda row: row.at, reverse=True)
    return visit.render("meter_events.html", EventsView(tuple(rows)), head=head)


def _alarm_events(visit: Visit, device_id: int) -> Iterator[EventRow]:
    for one in visit.session.alarms(device_id=device_id).items:
        tone = "idle" if one.state == "cleared" else severity_tone(one.severity)
        title, detail = alarm_title(one.kind, visit.t), alarm_detail(one, visit.t)
        yield EventRow(one.raised_at, "alarm", title, detail, tone, visit.t.name("alarm", one.state), "")


def _job_events(visit: Visit, device_id: int) -> Iterator[EventRow]:
    if not visit.can("read", "jobs"):
        return
    for one in visit.session.jobs(device_id=device_id).items:
        state = visit.t.name("job", one.state)
        yield EventRow(
            one.created_at, "job", visit.t.name("job-kind", one.kind), "", job_tone(one.state), state, f"/jobs/{one.id}"
        )


def _place_events(visit: Visit, device_id: int) -> Iterator[EventRow]:
    if not visit.can("read", "nodes"):
        return
    for one in visit.session.assignments(device_id=device_id):
        where, link = find_point(visit, one.point_id).name, f"/points/{one.point_id}"
        yield EventRow(one.valid_from, "point", visit.t("event.assigned"), where, "", "", link)
        if one.valid_to is not None:
            yield EventRow(one.valid_to, "point", visit.t("event.removed"), where, "", "", link)
