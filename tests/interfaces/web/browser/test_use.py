"""What people do with the pages: languages, colours, keyboard, alarms, jobs with two persons, imports, news."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from openmetering.services.headend.bus import AlarmChanged
from tests.interfaces.web.browser.conftest import Walker
from tests.interfaces.web.house import NOW, House

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

pytestmark = pytest.mark.services


def test_language_and_colours(walker: Callable[..., Walker]) -> None:
    visitor = walker("admin")
    page = visitor.page
    page.click("button[name=locale]")
    page.wait_for_selector("html[lang=de]")
    assert page.inner_text("h1") == "Übersicht"
    for wanted in ("light", "dark"):
        page.click("button[name=theme]")
        page.wait_for_selector(f"html[data-theme={wanted}]")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) is (wanted == "dark")
    page.click("button[name=theme]")
    page.wait_for_selector("html:not([data-theme])")
    page.click("button[name=locale]")
    page.wait_for_selector("html[lang=en]")
    assert not visitor.troubles


def test_keyboard(walker: Callable[..., Walker]) -> None:
    page = walker("admin").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className").startswith("tile")


def test_menu_of_a_phone(walker: Callable[..., Walker]) -> None:
    page = walker("admin", phone=True).page
    assert not page.is_visible("#menu")
    page.click(".menu-button")
    page.click("#menu >> text=Gateways")
    assert page.inner_text("h1") == "Gateways"


def test_times_in_the_zone_of_the_reader(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("admin", locale="de")
    visitor.go("/alarms")
    element = visitor.page.locator("time").first
    at = datetime.fromisoformat(element.get_attribute("datetime") or "").astimezone(ZoneInfo("Europe/Berlin"))
    assert element.inner_text() == at.strftime("%d.%m.%Y %H:%M")
    assert visitor.page.inner_text("footer") == "Zeiten gelten für Europe/Berlin"


def test_typed_times_are_those_of_the_reader(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("admin")
    visitor.go(f"/jobs/new?device={house.device('cellar, water valve')}&kind=read")
    assert "Europe/Berlin" in visitor.page.inner_text("#h-not_before")
    visitor.page.fill("[name=not_before]", "2026-02-01T12:00")
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector(".notice.good")
    made = house.head_end.jobs.find(int(visitor.page.url.rsplit("/", 1)[1].split("?")[0]))
    assert made is not None
    assert made.not_before == datetime(2026, 2, 1, 11, tzinfo=UTC)


def test_a_meter_is_exchanged(walker: Callable[..., Walker], house: House) -> None:
    spare = house.as_user(house.admin).register_device("ELS-20000002-33-03", None, house.tenant.id)
    point = house.head_end.registry.assignments(device_id=house.device("flat 6, warm water"))[0].point_id
    visitor = walker("mso")
    visitor.go(f"/points/{point}")
    assert visitor.page.locator(f"#meters option[value='{spare.address}']").count() == 1
    visitor.page.fill("#f-meter", spare.address)
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector(".notice.good")
    assert visitor.page.locator("tbody tr").count() == 2
    assert spare.address in visitor.page.inner_text("tbody tr >> nth=0")
    assert not visitor.troubles


def test_plot_tells_its_values(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("admin")
    visitor.go(f"/meters/{house.device('flat 1, cold water')}/history")
    plot = visitor.page.locator(".plot")
    visitor.page.wait_for_selector(".uplot canvas")
    assert "bars, together" in (plot.get_attribute("aria-label") or "")
    box = visitor.page.locator(".u-over").bounding_box()
    assert box is not None
    visitor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "m³" in visitor.page.inner_text(".u-legend")
    visitor.page.click("summary")
    assert visitor.page.locator("details tbody tr").count() > 25
    assert not visitor.troubles


def test_explained_octets_and_rows_belong_together(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("admin")
    visitor.go(f"/meters/{house.device('flat 1, cold water')}/telegrams")
    visitor.page.click("tbody th a >> nth=0")
    octet = visitor.page.locator(".octets a").first
    octet.click()
    assert visitor.page.evaluate("document.activeElement.closest('tr').dataset.s") == octet.get_attribute("data-s")
    assert not visitor.troubles


def test_alarm_is_acknowledged(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("mso")
    visitor.go("/alarms?state=raised")
    before = visitor.page.locator("button:has-text('Acknowledge')").count()
    visitor.page.click("button:has-text('Acknowledge') >> nth=0")
    visitor.page.wait_for_selector(".notice.good")
    assert visitor.page.locator("button:has-text('Acknowledge')").count() == before - 1
    assert "done=acknowledged" in visitor.page.url


def test_job_needs_a_second_person(walker: Callable[..., Walker], house: House) -> None:
    valve = house.device("cellar, water valve")
    first = walker("admin")
    first.go(f"/jobs/new?device={valve}")
    first.page.check("input[value=disconnector]")
    first.page.click("button.primary")
    first.page.select_option("[name=state]", "disconnected")
    first.page.click("button.primary")
    first.page.wait_for_selector(".notice.good")
    assert "second person" in first.page.inner_text(".notice.good")
    assert first.page.locator("#approve").count() == 0
    path = first.page.url.removeprefix(first.address).split("?")[0]
    second = walker("second")
    second.go(path)
    second.page.click("#approve")
    second.page.wait_for_selector(".notice.good")
    assert house.head_end.jobs.find(int(path.rsplit("/", 1)[1])).state == "queued"  # type: ignore[union-attr]
    assert first.troubles == second.troubles == []


def test_refused_parameters_are_told_and_kept(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("admin")
    visitor.go(f"/jobs/new?device={house.device('cellar, water valve')}&kind=clock")
    visitor.page.select_option("[name=action]", "adjust")
    visitor.page.fill("[name=zone]", "Europe/Berlin")
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector(".notice.bad")
    assert "1 to 60 seconds" in visitor.page.inner_text(".notice.bad")
    assert visitor.page.input_value("[name=zone]") == "Europe/Berlin"
    assert visitor.page.input_value("[name=action]") == "adjust"


def test_page_follows_the_news(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("second")
    visitor.go("/alarms?state=raised")
    visitor.page.wait_for_timeout(500)  # until the browser listens
    before = visitor.page.locator("#alarms tbody tr").count()
    moment = (NOW + timedelta(minutes=1)).timestamp()
    made = house.head_end.alarms.set(house.device("flat 2, heat (volume at flow)"), "temporary-error", moment, "status 10h")
    for alarm in made:
        house.head_end.bus.publish(AlarmChanged(alarm))
    expect(visitor.page.locator("#alarms tbody tr")).to_have_count(before + 1, timeout=10_000)
    assert not visitor.troubles


def test_devices_are_imported_after_a_look(walker: Callable[..., Walker], house: House, tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("address,label,unit,point\nELS-11112222-33-03,New meter,Flat 1,garden\nnonsense,x,,\n")
    visitor = walker("mso")
    visitor.go("/import/devices")
    visitor.page.set_input_files("[name=file]", file)
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector("text=nonsense")
    assert visitor.page.locator(".tile b").all_inner_texts() == ["1", "0", "0", "1"]
    assert house.head_end.registry.by_address("ELS-11112222-33-03") is None
    visitor.page.check("[name=partly]")
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector(".notice.good")
    assert house.head_end.registry.by_address("ELS-11112222-33-03") is not None
    assert not visitor.troubles


def test_keys_are_imported_and_never_shown(walker: Callable[..., Walker], house: House, tmp_path: Path) -> None:
    key = "00112233445566778899AABBCCDDEEFF"
    file = tmp_path / "keys.csv"
    file.write_text(f"address,key\nELS-77778888-33-03,{key}\n")
    visitor = walker("key-custodian")
    visitor.go("/import/keys")
    visitor.page.set_input_files("[name=file]", file)
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector("text=ELS-77778888-33-03")
    assert key not in visitor.page.content().upper()
    visitor.page.click("button.primary")
    visitor.page.wait_for_selector(".notice.good")
    visitor.page.fill("#q", "ELS-77778888")
    visitor.page.click("form.filter button")
    assert visitor.page.locator("tbody tr").count() == 1
    assert key not in visitor.page.content().upper()
    assert not visitor.troubles


def test_everything_works_without_script(walker: Callable[..., Walker], house: House) -> None:
    visitor = walker("admin", script=False)
    visitor.go(f"/meters/{house.device('flat 1, cold water')}/history")
    visitor.page.click("summary")
    assert "UTC" in visitor.page.locator("details time").first.inner_text()
    assert visitor.page.locator("details tbody tr").count() > 25
    visitor.go("/alarms?state=raised")
    visitor.page.click("button:has-text('Acknowledge') >> nth=0")
    visitor.page.wait_for_selector(".notice.good")


def test_signing_out(walker: Callable[..., Walker]) -> None:
    visitor = walker("auditor")
    visitor.page.click("text=Sign out")
    visitor.page.wait_for_url("**/login")
    visitor.go("/audit")
    assert "/login?next=%2Faudit" in visitor.page.url
