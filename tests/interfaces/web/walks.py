"""Every page of the house by name, for all tests that walk through them; held against the routes, so none is forgotten."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from openmetering.interfaces.web.pages import page_routes
from tests.interfaces.web.house import House

#: routes that people do not open as a page of their own: parts, files, the stream of news, the door
NO_PAGES: Final = frozenset(
    (
        "/overview",
        "/meters/{}/plot",
        "/export/devices.csv",
        "/reports/file",
        "/exports/file",
        "/live",
        "/login/once/{}",
        "/static/{}",
    )
)
#: opened before signing in
DOOR: Final = frozenset(("/login",))

#: (page, language, dark, phone) -> file of the documentation
PICTURES: Final = {
    ("login", "en", False, False): "login",
    **{
        (name, "en", False, False): name
        for name in (
            "overview", "meters", "meter", "meter-history", "meter-radio", "meter-without-key-security", "telegram", "places",
            "place", "point", "alarms", "jobs", "job", "job-new", "gateway", "keys", "import-devices", "users", "rights",
            "webhooks", "audit", "account", "report-monthly", "validation",
        )
    },
    ("overview", "en", True, False): "overview-dark",
    ("meter-history", "en", True, True): "meter-history-phone",
    ("overview", "de", False, True): "overview-phone-de",
    ("gateway", "de", True, True): "gateway-phone-de",
    ("overview-consumer", "de", False, True): "consumer-phone-de",
}  # fmt: skip


def pages(house: House) -> dict[str, str]:
    """Name -> path of every page that somebody who is signed in may open, some of them in several states."""
    meter = house.device("flat 1, cold water")
    leaking = house.device("flat 4, cold water (leaks from 14:05 to the end of the day)")
    closed, valve = house.device("flat 3, cold water"), house.device("cellar, water valve")
    frame = house.head_end.readings.telegrams(house.building.find("flat 1, cold water").address, None, 1).items[0].frame_id
    flat = house.node("Flat 4")
    point = house.head_end.registry.points([flat.id]).items[0].id
    tabs = ("history", "telegrams", "radio", "security", "events", "edit")
    return {
        "overview": "/",
        "meters": "/meters",
        "meters-none": "/meters?q=nothing-of-this-name",
        "meter-new": "/meters/new",
        "meter": f"/meters/{meter}",
        **{f"meter-{tab}": f"/meters/{meter}/{tab}" for tab in tabs},
        "meter-history-line": f"/meters/{meter}/history?span=week&form=line",
        "meter-without-key": f"/meters/{closed}",
        "meter-without-key-security": f"/meters/{closed}/security",
        "meter-leaking-events": f"/meters/{leaking}/events",
        "telegram": f"/meters/{meter}/telegrams/{frame}",
        "places": "/places",
        "place": f"/places/{flat.id}",
        "point": f"/points/{point}",
        "alarms": "/alarms",
        "alarms-cleared": "/alarms?state=cleared",
        "jobs": "/jobs",
        "job-own": "/jobs/1",
        "job": "/jobs/2",
        "job-new": "/jobs/new",
        "job-new-valve": f"/jobs/new?device={valve}&kind=disconnector",
        "job-new-firmware": f"/jobs/new?device={valve}&kind=firmware",
        "gateways": "/gateways",
        "gateway": "/gateways/1",
        "gateway-offline": "/gateways/2",
        "keys": "/keys",
        "import-keys": "/import/keys",
        "import-devices": "/import/devices",
        "users": "/users",
        "user": f"/users/{house.people['consumer'].id}",
        "rights": "/users/rights",
        "tenants": "/tenants",
        "webhooks": "/webhooks",
        "validation": "/validation",
        "reports": "/reports",
        "report-monthly": f"/reports?kind=monthly&node={flat.parent_id}&day=2025-12-31",
        "report-due-dates": f"/reports?kind=due-dates&node={flat.id}&day=2026-01-10",
        "report-radio": f"/reports?kind=radio&node={flat.id}",
        "account": "/account",
        "audit": "/audit",
    }


def routes() -> frozenset[str]:
    """What may be opened, with ``{}`` for every parameter."""
    formats = {one.path_format for router in page_routes() for one in router.routes if "GET" in one.methods}
    return frozenset(re.sub(r"\{[^}]*\}", "{}", path) for path in formats)


def route_of(path: str) -> str:
    """The route that a path belongs to."""
    return re.sub(r"\d+", "{}", urlsplit(path).path)
