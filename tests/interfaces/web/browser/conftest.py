"""A house, served, and a browser; both once for all browser tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.interfaces.web.browser.serving import ARGUMENTS, CHROMIUM, served
from tests.interfaces.web.house import PASSWORD, House

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

Browser, BrowserContext, Page = sync_api.Browser, sync_api.BrowserContext, sync_api.Page
Enter = Callable[..., Page]
SCREEN, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """The building with a month of history and jobs that wait."""
    made = House(days=46)
    made.ask_for_jobs()
    yield made
    made.close()


@pytest.fixture(scope="session")
def address(house: House) -> Iterator[str]:
    """Where the house is served."""
    with served(house.app()) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Its driver keeps an event loop running in this thread, so it ends with its module."""
    if not CHROMIUM.exists():
        if os.environ.get("OPENMETERING_REQUIRE_SERVICES"):
            pytest.fail(f"{CHROMIUM} is missing")
        pytest.skip(f"{CHROMIUM} is missing")
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield found
        found.close()


class Walker:
    """A page of the browser that notes what goes wrong in it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address = address
        self.context = context
        self.page: Page = context.new_page()
        self.troubles: list[str] = []
        self.page.on("console", lambda told: self.troubles.append(told.text) if told.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))

    def _failed(self, url: str, failure: str) -> None:
        # what a page still asks for when it is left, the stream of news among it
        if "ERR_ABORTED" not in failure:
            self.troubles.append(f"{url}: {failure}")

    def sign_in(self, name: str) -> None:
        """Through the form, as people do."""
        self.page.goto(f"{self.address}/login")
        self.page.fill("[name=name]", name)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("form[action='/login'] button")
        self.page.wait_for_url(f"{self.address}/")

    def go(self, path: str) -> int:
        """Open a page; returns its status."""
        answer = self.page.goto(self.address + path)
        assert answer is not None
        return int(answer.status)


@pytest.fixture
def walker(browser: Browser, address: str, house: House) -> Iterator[Callable[..., Walker]]:
    """Makes walkers: ``walker("admin", locale="de", dark=True, phone=True)``."""
    contexts = []

    def make(name: str = "", *, locale: str = "en", dark: bool = False, phone: bool = False, script: bool = True) -> Walker:
        context = browser.new_context(
            viewport=PHONE if phone else SCREEN,
            color_scheme="dark" if dark else "light",
            locale=locale,
            timezone_id="Europe/Berlin",
            java_script_enabled=script,
            reduced_motion="reduce",
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        made = Walker(context, address)
        if name:
            user = next(one for one in house.head_end.accounts.users().items if one.name == name)
            house.head_end.accounts.change(user.id, locale=locale)
            made.sign_in(name)
        return made

    yield make
    for context in contexts:
        context.close()
