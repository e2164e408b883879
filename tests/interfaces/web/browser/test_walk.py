"""Every page in both languages and both colour schemes, on a screen and on a phone: no trouble in the console, nothing that
axe calls serious, nothing wider than the window, and the keyboard reaches everything.

A page is loaded once per language and looked at in all four ways. With OPENMETERING_SCREENSHOTS=folder the same walk takes
the pictures of the documentation.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openmetering.interfaces.web.i18n import LOCALES
from tests.interfaces.web.browser.conftest import PHONE, SCREEN, Walker
from tests.interfaces.web.house import House
from tests.interfaces.web.walks import PICTURES, pages

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

pytestmark = pytest.mark.services

_GRAVE = ("serious", "critical")
_JUDGE = """options => axe.run({resultTypes: ["violations"], ...options}).then(found => found.violations.map(
    rule => [rule.impact, rule.id, rule.nodes.slice(0, 3).map(node => node.target.join(" "))]))"""
_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
#: the plot was drawn for the width that it has now
_DRAWN = """(() => {
    const plot = document.querySelector(".plot"), canvas = plot.querySelector("canvas");
    return Math.abs(canvas.width / devicePixelRatio - plot.clientWidth) < 2;
})()"""
_FOLDER = os.environ.get("OPENMETERING_SCREENSHOTS", "")


def picture(walker: Walker, name: str, locale: str, dark: bool, phone: bool) -> None:
    """Take the picture if the documentation shows it."""
    file = PICTURES.get((name, locale, dark, phone))
    if not _FOLDER or file is None:
        return
    session = walker.context.new_cdp_session(walker.page)
    answer = session.send("Page.captureScreenshot", {"format": "webp", "quality": 82})
    session.detach()
    Path(_FOLDER).mkdir(parents=True, exist_ok=True)
    Path(_FOLDER, f"{file}.webp").write_bytes(base64.b64decode(answer["data"]))


def wait_until_drawn(walker: Walker) -> None:
    """The plot follows the window a moment later (the policy of the page forbids ``wait_for_function``)."""
    for _ in range(200):
        if walker.page.evaluate(_DRAWN):
            return
        walker.page.wait_for_timeout(20)
    raise AssertionError("the plot did not follow the window")


def grave(walker: Walker, **options: object) -> list[str]:
    """What axe calls serious or worse."""
    found = walker.page.evaluate(_JUDGE, options)
    return [f"axe {impact} {rule}: {targets}" for impact, rule, targets in found if impact in _GRAVE]


def looks(walker: Walker, name: str, locale: str) -> Iterator[str]:
    """What is wrong with the page that is open: light and dark, on a screen and on a phone."""
    page = walker.page
    page.wait_for_load_state("load")
    if "history" in name:
        page.wait_for_selector(".uplot canvas")
    for dark in (False, True):
        page.emulate_media(color_scheme="dark" if dark else "light")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        if (sum(int(part) for part in ground[4:-1].split(",")) < 200) is not dark:
            yield f"the ground is {ground}"
        for size in (SCREEN, PHONE):
            phone = size is PHONE
            page.set_viewport_size(size)
            if page.evaluate(_WIDE):
                yield f"wider than the window, phone={phone}"
            if "history" in name:
                wait_until_drawn(walker)
            picture(walker, name, locale, dark, phone)
            # what does not depend on colours is judged once per size, contrast once per colour scheme
            if not dark:
                yield from grave(walker, **({"rules": {"color-contrast": {"enabled": False}}} if phone else {}))
            elif not phone:
                yield from grave(walker, runOnly=["color-contrast"])
    page.set_viewport_size(SCREEN)
    yield from (f"console: {trouble}" for trouble in walker.troubles)
    walker.troubles.clear()


@pytest.fixture
def judged(walker: Callable[..., Walker]) -> Callable[..., Walker]:
    """Makes walkers with axe in every page."""

    def make(name: str = "", *, locale: str) -> Walker:
        made = walker(name, locale=locale)
        made.context.add_init_script(script=axe.Axe().axe_script)
        return made

    return make


@pytest.mark.parametrize("locale", LOCALES)
def test_every_page(judged: Callable[..., Walker], house: House, locale: str) -> None:
    guest = judged(locale=locale)
    assert guest.go("/login") == 200
    wrong = [f"login ({locale}): {text}" for text in looks(guest, "login", locale)]
    visitor = judged("admin", locale=locale)
    for name, path in pages(house).items():
        assert visitor.go(path) == 200, path
        assert visitor.page.get_attribute("html", "lang") == locale
        wrong += [f"{name} ({locale}): {text}" for text in looks(visitor, name, locale)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("locale", LOCALES)
def test_a_consumer_sees_the_own_flat_only(judged: Callable[..., Walker], house: House, locale: str) -> None:
    visitor = judged("consumer", locale=locale)
    visitor.go("/")
    assert visitor.page.locator(".unit h3").all_inner_texts() == ["Flat 4"]
    links = visitor.page.locator("#menu .links a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links == ["/", "/meters", "/alarms", "/reports", "/api"]
    assert not list(looks(visitor, "overview-consumer", locale))
    assert visitor.go(f"/meters/{house.device('flat 1, cold water')}") == 404
    assert visitor.go("/audit") == 403


_PARTS = 8  #: a field for a time has a stop for each of its parts
_FOCUS = """() => {
    const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    const inside = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return {place: focusable.indexOf(one), words: one.outerHTML.slice(0, 80), shown: ring && inside, body: one === document.body};
}"""
_FOCUSABLE = """() => {
    globalThis.focusable = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
        .filter(one => one.type !== "hidden" && !one.disabled && one.checkVisibility());
    return focusable.length;
}"""


@pytest.mark.parametrize("name", ["meter-radio", "point", "job-new-valve", "alarms", "webhooks", "meter-history"])
def test_the_keyboard_reaches_everything_in_order(walker: Callable[..., Walker], house: House, name: str) -> None:
    visitor = walker("admin")
    page = visitor.page
    visitor.go(pages(house)[name])
    page.wait_for_load_state("load")
    number = page.evaluate(_FOCUSABLE)
    seen = []
    for _ in range(number * _PARTS):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUS)
        if focus["body"]:
            break
        assert focus["shown"], focus["words"]
        if focus["place"] >= 0:
            seen.append(focus["place"])
    assert seen == sorted(seen)
    assert set(seen) == set(range(number)), sorted(set(range(number)) - set(seen))
