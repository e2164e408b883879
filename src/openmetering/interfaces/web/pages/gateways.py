"""Gateways and radio health: who hears whom, and why nothing is received."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from openmetering.interfaces.web.pages import diagnosis
from openmetering.interfaces.web.pages.diagnosis import Facts, Stage, diagnose
from openmetering.interfaces.web.pages.inputs import Id
from openmetering.interfaces.web.pages.looks import device_icon, signal_bars
from openmetering.interfaces.web.pages.visit import Html, Visit, Visiting
from openmetering.services.gatewayd.health import SourceState
from openmetering.services.headend.model import Device, GatewayDevice, GatewayInfo, every
from openmetering.services.headend.problems import unknown

__all__ = ["SourceHealthOf", "gateway", "gateways"]

_LOCKED: Final = ("key-missing", "wrong-key")
_TONES: Final = {"online": "good", "offline": "bad"}
_SOURCE_TONES: Final = {"open": "good", "starting": "work", "failed": "bad", "ended": "idle"}
_PART: Final = 500


class SourceHealthOf(Protocol):
    """Whoever knows the sources of gateways; a gateway that runs in this process."""

    def __call__(self, gateway: str) -> tuple[SourceState, ...] | None:
        """The sources of a gateway by its name; None if nothing is known."""
        ...


Health = NamedDependency[SkipValidation[SourceHealthOf | None]]


class Row(msgspec.Struct, frozen=True):
    """A gateway in the list."""

    info: GatewayInfo
    tone: str
    heard: int


class View(msgspec.Struct, frozen=True):
    """The list."""

    rows: tuple[Row, ...]


class Heard(msgspec.Struct, frozen=True):
    """A meter that the gateway hears."""

    device: Device
    icon: str
    reception: GatewayDevice
    bars: int


class Source(msgspec.Struct, frozen=True):
    """A source of the gateway."""

    state: SourceState
    tone: str


class GatewayView(msgspec.Struct, frozen=True):
    """One gateway."""

    info: GatewayInfo
    tone: str
    stages: tuple[Stage, ...]
    sources: tuple[Source, ...]
    heard: tuple[Heard, ...]
    levels: tuple[tuple[str, int], ...]


@get("/gateways", sync_to_thread=True)
def gateways(visit: Visiting) -> Html:
    """All gateways."""
    may_count = visit.can("read", "devices")
    rows = [
        Row(one, _TONES.get(one.state, "idle"), len(visit.session.heard_by(one.id)) if may_count else 0)
        for one in visit.session.gateways()
    ]
    return visit.render("gateways_live.html" if visit.is_part else "gateways.html", View(tuple(rows)))


@get("/gateways/{gateway_id:int}", sync_to_thread=True)
def gateway(visit: Visiting, source_health: Health, gateway_id: Id) -> Html:
    """One gateway with its diagnosis."""
    session = visit.session
    info = next((one for one in session.gateways() if one.id == gateway_id), None)
    if info is None:
        raise unknown("gateway", gateway_id)
    devices = _devices(visit) if visit.can("read", "devices") else {}
    heard = [one for one in session.heard_by(gateway_id) if one.device_id in devices] if devices else []
    sources = None if source_health is None else source_health(info.name)
    view = GatewayView(
        info,
        _TONES.get(info.state, "idle"),
        tuple(diagnose(_facts(visit, info, heard, devices, sources))),
        tuple(Source(one, _SOURCE_TONES.get(one.state, "idle")) for one in sources or ()),
        tuple(_heard(heard, devices)),
        _levels(heard),
    )
    return visit.render("gateway.html", view)


def _devices(visit: Visit) -> dict[int, Device]:
    return {one.id: one for one in every(lambda after: visit.session.devices(after=after, limit=_PART))}


def _facts(
    visit: Visit,
    info: GatewayInfo,
    heard: list[GatewayDevice],
    devices: dict[int, Device],
    sources: tuple[SourceState, ...] | None,
) -> Facts:
    now_heard = [one.device_id for one in heard if diagnosis.recent([one.last_heard], visit.now)]
    registered = {number for number in now_heard if devices[number].state not in ("announced", "retired")}
    locked = _locked(visit) & registered
    active = {number for number in registered if devices[number].state in ("active", "faulty")}
    return Facts(
        online=info.state == "online",
        last_seen=info.last_seen,
        sources=sources,
        heard=len(now_heard),
        registered=len(registered),
        locked=len(locked),
        read=len(active - locked),
    )


def _locked(visit: Visit) -> set[int]:
    """Meters with an open alarm about their key."""
    if not visit.can("read", "alarms"):
        return set()
    found: set[int] = set()
    before: int | None = None
    while True:
        page = visit.session.alarms(states=("raised", "acknowledged"), before=before, limit=_PART)
        found |= {one.device_id for one in page.items if one.kind in _LOCKED and one.device_id is not None}
        if page.after is None:
            return found
        before = page.after


def _heard(heard: list[GatewayDevice], devices: dict[int, Device]) -> Iterator[Heard]:
    for one in sorted(heard, key=lambda one: (one.rssi is None, -(one.rssi or 0.0))):
        device = devices[one.device_id]
        yield Heard(device, device_icon(device), one, signal_bars(one.rssi))


def _levels(heard: list[GatewayDevice]) -> tuple[tuple[str, int], ...]:
    """How many meters are heard how well: ``bars4`` ... ``bars0``."""
    bars = [signal_bars(one.rssi) for one in heard if one.rssi is not None]
    return tuple((f"bars{step}", bars.count(step)) for step in (4, 3, 2, 1, 0))
