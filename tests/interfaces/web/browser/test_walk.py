"""Every page in both languages and both colour schemes, on a screen and on a phone: no trouble in the console, nothing that
axe calls serious, nothing wider than the window. With OPENMETERING_SCREENSHOTS=folder the walk takes the pictures of the docs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interfaces.web.browser.conftest import Walker
from tests.interfaces.web.house import House

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

pytestmark = pytest.mark.services

_GRAVE = ("serious", "critical")
_FOLDER = os.environ.get("OPENMETERING_SCREENSHOTS", "")
#: name, locale, dark, phone
_LOOKS = (
    ("desktop-light-en", "en", False, False),
    ("desktop-dark-de", "de", True, False),
    ("phone-light-de", "de", False, True),
    ("phone-dark-en", "en", True, True),
)
_FRAME = "{frame}"


def paths(house: House) -> dict[str, str]:
    """Every page by name."""
    meter, leaking = (
        house.device("flat 1, cold water"),
        house.device("flat 4, cold water (leaks from 14:05 to the end of the day)"),
    )
    closed, valve = house.device("flat 3, cold water"), house.device("cellar, water valve")
    address = house.building.find("flat 1, cold water").address
    frame = house.head_end.readings.telegrams(address, None, 1).items[0].frame_id
    tabs = ("history", "telegrams", "radio", "security", "events", "edit")
    return {
        "overview": "/",
        "meters": "/meters",
        "meter-new": "/meters/new",
        "meter": f"/meters/{meter}",
        **{f"meter-{tab}": f"/meters/{meter}/{tab}" for tab in tabs},
        "meter-history-line": f"/meters/{meter}/history?span=week&form=line",
        "meter-without-key": f"/meters/{closed}",
        "meter-without-key-security": f"/meters/{closed}/security",
        "meter-leaking-events": f"/meters/{leaking}/events",
        "telegram": f"/meters/{meter}/telegrams/{frame}",
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
        "account": "/account",
        "audit": "/audit",
    }


def check(walker: Walker, name: str, look: str) -> list[str]:
    """What is wrong with the page that is open."""
    page = walker.page
    page.wait_for_load_state("load")
    wrong = [f"console: {trouble}" for trouble in walker.troubles]
    walker.troubles.clear()
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        wrong.append("wider than the window")
    found = axe.Axe().run(page)
    wrong += [
        f"axe {rule['impact']} {rule['id']}: {[node['target'] for node in rule['nodes'][:3]]}"
        for rule in found.response["violations"]
        if rule["impact"] in _GRAVE
    ]
    if _FOLDER:
        Path(_FOLDER).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(_FOLDER, f"{name}-{look}.png"))
    return [f"{name} ({look}): {text}" for text in wrong]


@pytest.mark.parametrize(("look", "locale", "dark", "phone"), _LOOKS)
def test_every_page(walker: Callable[..., Walker], house: House, look: str, locale: str, dark: bool, phone: bool) -> None:
    visitor = walker(locale=locale, dark=dark, phone=phone)
    wrong: list[str] = []
    assert visitor.go("/login") == 200
    assert visitor.page.get_attribute("html", "lang") == locale
    wrong += check(visitor, "login", look)
    visitor = walker("admin", locale=locale, dark=dark, phone=phone)
    for name, path in paths(house).items():
        assert visitor.go(path) == 200, path
        assert visitor.page.get_attribute("html", "lang") == locale
        if "history" in name:
            visitor.page.wait_for_selector(".uplot canvas")
        wrong += check(visitor, name, look)
    assert not wrong, "\n".join(wrong)
    ground = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) is dark


def test_consumer_sees_the_own_flat_only(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("consumer")
    assert visitor.page.locator(".unit h3").all_inner_texts() == ["Flat 4"]
    links = visitor.page.locator("#menu .links a").all_inner_texts()
    assert [text.split("\n")[0] for text in links] == ["Overview", "Meters", "Alarms", "API help"]
    assert not check(visitor, "overview-consumer", "desktop-light-en")
    assert visitor.go(f"/meters/{house.device('flat 1, cold water')}") == 404
    assert visitor.go("/audit") == 403
