"""Places, metering points, tenants, webhooks and the master key from the pages: what is made, moved, exchanged and refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from openmetering.services.headend.model import Assignment
from tests.interfaces.web.house import NOW, House
from tests.interfaces.web.visitor import Visitor

NEW = "ELS-20000001-33-03"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """The house without telegrams, and a meter more to exchange with."""
    made = House(telegrams=False)
    admin = made.as_user(made.admin)
    admin.register_device(NEW, None, made.tenant.id)
    yield made
    made.close()


@pytest.fixture(scope="module")
def visitor(house: House) -> Callable[[str], Visitor]:
    """One visitor per name."""
    known: dict[str, Visitor] = {}

    def make(name: str) -> Visitor:
        return known[name] if name in known else known.setdefault(name, Visitor(house, name))

    return make


def assigned(house: House, point_id: int) -> list[Assignment]:
    return list(house.head_end.registry.assignments(point_id=point_id))


def number_of(location: str) -> int:
    return int(urlsplit(location).path.rsplit("/", 1)[1])


def test_a_tree_is_grown_and_cut(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    made = mso.send("/places", {"kind": "site", "name": "Second site", "tenant": str(house.tenant.id)})
    site = urlsplit(made.headers["location"]).path
    made = mso.send("/places", {"kind": "unit", "name": "Shop", "parent": site.rsplit("/", 1)[1]})
    shop = urlsplit(made.headers["location"]).path
    assert 'href="/places/' in mso.get(site).text
    assert "Shop" in mso.get("/places").text
    assert mso.send(f"{shop}/rename", {"name": "Bakery"}).status_code == 303
    assert "<h1>" in mso.get(shop).text
    assert "Bakery" in mso.get(site).text
    wrong = mso.send("/places", {"kind": "building", "name": "Too large", "parent": shop.rsplit("/", 1)[1]})
    assert wrong.status_code == 400
    assert 'value="Too large"' in wrong.text
    made = mso.send(f"{shop}/points", {"point_name": "oven, gas", "medium": "gas"})
    point = urlsplit(made.headers["location"]).path
    full = mso.send(f"{shop}/remove", {})
    assert full.status_code == 400
    assert "not empty" in full.text
    assert mso.send(f"{point}/remove", {}).headers["location"].startswith(shop)
    assert mso.send(f"{shop}/remove", {}).status_code == 303
    assert mso.get(shop).status_code == 404
    assert mso.get(point).status_code == 404


def test_what_is_agreed_is_entered_and_kept(visitor: Callable[[str], Visitor], house: House) -> None:
    mso, mdm = visitor("mso"), house.head_end.mdm
    flat = house.node("Flat 4")
    point = house.head_end.registry.points([flat.id]).items[0].id
    answer = mso.send(
        f"/places/{flat.id}/agreed",
        {"area": "62,5", "usage": "flat", "kwh_per_unit": "1,25", "identifier": "0000123450003"},
    )
    assert answer.status_code == 303
    agreed = mdm.node_data(flat.id)
    assert (agreed.area, agreed.usage, agreed.kwh_per_unit, agreed.identifier) == (62.5, "flat", "1.25", "0000123450003")
    assert 'value="62.5"' in mso.get(f"/places/{flat.id}").text
    fields = {
        "size": "Q3 2.5", "maximum": "3,125", "unit": "m3", "part": "sub", "grid": "900", "factor": "", "identifier": "DE01",
    }  # fmt: skip
    assert mso.send(f"/points/{point}/agreed", fields).status_code == 303
    data = mdm.point_data(point)
    assert (data.size, data.maximum, data.unit, data.factor, data.part, data.grid, data.identifier) == (
        "Q3 2.5", "3.125", "m3", None, "sub", 900.0, "DE01",
    )  # fmt: skip
    assert 'value="3.125"' in mso.get(f"/points/{point}").text
    for wrong in ({"maximum": "much"}, {"identifier": "no spaces here"}, {"grid": "5"}, {"part": "third"}):
        refused = mso.send(f"/points/{point}/agreed", {**fields, **wrong})
        assert refused.status_code == 400, wrong
        assert mdm.point_data(point) == data
    assert mso.send(f"/places/{flat.id}/agreed", {"identifier": "12"}).status_code == 400
    assert visitor("supplier").send(f"/points/{point}/agreed", fields).status_code == 403


def test_a_meter_is_exchanged_and_the_old_one_retired(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    old = house.device("flat 2, cold water")
    before = house.head_end.registry.assignments(device_id=old)[0]
    path = f"/points/{before.point_id}"
    assert "Exchange the meter" in mso.get(path).text
    assert f'value="{NEW}"' in mso.get(path).text
    answer = mso.send(f"{path}/exchange", {"meter": NEW, "since": "2026-01-14T11:00:00.000Z", "retire": "yes"})
    assert "done=exchanged" in answer.headers["location"]
    at = datetime(2026, 1, 14, 11, tzinfo=UTC)
    first, second = assigned(house, before.point_id)
    assert (first.device_id, first.valid_to, second.valid_from, second.valid_to) == (old, at, at, None)
    assert house.head_end.registry.find_device(old).state == "retired"  # type: ignore[union-attr]
    page = mso.get(path).text
    assert "Flat 2, cold water" in page
    assert NEW in page


def test_an_exchange_that_fails_changes_nothing(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    meter = house.device("flat 5, cold water")
    address = house.building.find("flat 5, cold water").address
    point = house.head_end.registry.assignments(device_id=house.device("flat 6, cold water"))[0].point_id
    before = assigned(house, point), house.head_end.registry.assignments(device_id=meter)
    too_early = mso.send(f"/points/{point}/exchange", {"meter": address, "since": "2025-11-01T00:00"})
    assert too_early.status_code == 400
    assert f'value="{address}"' in too_early.text
    for meter_address in ("ELS-00000000-33-03", "nonsense", ""):
        refused = mso.send(f"/points/{point}/exchange", {"meter": meter_address})
        assert refused.status_code == 400
        assert "no registered meter" in refused.text
    assert (assigned(house, point), house.head_end.registry.assignments(device_id=meter)) == before


def test_moving_a_meter_displaces_no_other_one(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    meter = house.device("flat 1, warm water")
    taken = house.head_end.registry.assignments(device_id=house.device("flat 3, warm water"))[0].point_id
    before = house.head_end.registry.assignments(device_id=meter)
    assert mso.send(f"/meters/{meter}/place", {"point": str(taken)}).status_code == 400
    assert house.head_end.registry.assignments(device_id=meter) == before
    assert mso.send(f"/meters/{meter}/place", {"point": ""}).status_code == 303
    assert house.head_end.registry.assignments(device_id=meter)[0].valid_to == NOW
    assert mso.send(f"/meters/{meter}/place", {"point": str(before[0].point_id)}).status_code == 303


def test_an_assignment_ends(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    one = house.head_end.registry.assignments(device_id=house.device("flat 3, cold water"))[0]
    path = f"/points/{one.point_id}"
    assert mso.send(f"{path}/assignments/{one.id}/end", {"until": "2025-01-01T00:00"}).status_code == 400
    assert mso.send(f"{path}/assignments/{one.id}/end", {}).status_code == 303
    assert assigned(house, one.point_id)[0].valid_to == NOW
    assert "nothing measures here" in mso.get(path).text
    assert "Assign a meter" in mso.get(path).text


def test_somebody_moves_in_and_out(visitor: Callable[[str], Visitor], house: House) -> None:
    flat = house.node("Flat 6")
    consumer = house.people["consumer"]
    admin = visitor("admin")
    assert f'<option value="{consumer.id}">consumer</option>' in admin.get(f"/places/{flat.id}").text
    period = {"user": str(consumer.id), "since": "2026-01-02T00:00", "until": "2026-01-10T00:00"}
    assert admin.send(f"/places/{flat.id}/occupancies", period).status_code == 303
    assert admin.send(f"/places/{flat.id}/occupancies", period).status_code == 400
    mso = visitor("mso")
    assert "Number of the consumer" in mso.get(f"/places/{flat.id}").text
    assert mso.send(f"/places/{flat.id}/occupancies", {"user": str(consumer.id)}).status_code == 303
    homes = house.head_end.registry.occupancies(node_id=flat.id)
    assert [one.valid_from for one in homes] == [datetime(2026, 1, 2, tzinfo=UTC), NOW]
    house.clock.now = NOW + timedelta(hours=1)
    assert mso.send(f"/places/{flat.id}/occupancies/{homes[1].id}/end", {}).status_code == 303
    house.clock.now = NOW
    assert house.head_end.registry.occupancies(node_id=flat.id)[1].valid_to == NOW + timedelta(hours=1)


def test_a_consumer_sees_the_own_places_and_no_forms(visitor: Callable[[str], Visitor], house: House) -> None:
    consumer = visitor("consumer")
    page = consumer.get("/places").text
    assert "Flat 4" in page
    assert "Flat 1" not in page
    assert "<form" not in page.split("<main")[1]
    own = consumer.get(f"/places/{house.node('Flat 4').id}").text
    assert "<form" not in own.split("<main")[1]
    assert consumer.get(f"/places/{house.node('Flat 1').id}").status_code == 404


def test_tenants(visitor: Callable[[str], Visitor], house: House) -> None:
    admin = visitor("admin")
    assert admin.send("/tenants", {"name": "Third house"}).status_code == 303
    assert "Third house" in admin.get("/tenants").text
    again = admin.send("/tenants", {"name": "Third house"})
    assert again.status_code == 400
    assert 'value="Third house"' in again.text
    assert "Third house" not in visitor("mso").get("/tenants").text


def test_webhooks(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    url = "https://hooks.example.org/metering"
    made = mso.send("/webhooks", {"url": url, "event-alarm": "yes", "event-job": "yes", "secret": ""})
    secret = re.search(r"(whsec_[A-Za-z0-9+/=]+)<", made.text)
    assert made.status_code == 200
    assert secret is not None
    hook = house.head_end.webhooks.all()[0]
    assert (hook.url, hook.events, hook.tenant_id) == (url, ("alarm", "job"), house.tenant.id)
    page = mso.get("/webhooks").text
    assert url in page
    assert secret[1] not in page
    own = "a secret of the own choice"
    none = mso.send("/webhooks", {"url": url, "secret": own})
    assert none.status_code == 400
    assert own not in none.text
    given = mso.send("/webhooks", {"url": url, "event-device": "yes", "secret": own})
    assert "done=webhook-added" in given.headers["location"]
    assert visitor("auditor").send(f"/webhooks/{hook.id}/remove", {}).status_code == 403
    assert mso.send(f"/webhooks/{hook.id}/remove", {}).status_code == 303
    assert [one.events for one in house.head_end.webhooks.all()] == [("device",)]


def test_the_master_key_is_renewed_by_who_may(visitor: Callable[[str], Visitor], house: House) -> None:
    custodian = visitor("key-custodian")
    assert "Take a fresh master key" not in custodian.get("/keys").text
    assert custodian.send("/keys/rotate", {}).status_code == 403
    admin = visitor("admin")
    before = len(house.head_end.vault.live_ring())
    assert "Take a fresh master key" in admin.get("/keys").text
    assert "done=rotated" in admin.send("/keys/rotate", {}).headers["location"]
    assert len(house.head_end.vault.live_ring()) == before > 0
    assert "rotate master key" in [one.action for one in house.head_end.audit.page(limit=20).items]
