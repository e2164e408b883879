"""The pages through the application: who gets in, who sees what, what forms do, and what never shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from litestar.testing import TestClient

from openmetering.interfaces.demo.building import key_files
from openmetering.interfaces.demo.plan import read_building
from openmetering.services.headend.model import ROLES
from openmetering.services.headend.registry import DeviceChange
from openmetering.storage.mdm_rows import NodeData, PointData
from tests.interfaces.web.house import PASSWORD, House
from tests.interfaces.web.visitor import Visitor
from tests.interfaces.web.walks import DOOR, NO_PAGES, pages, route_of, routes


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """The house with half a day of telegrams, and a meter of a stranger."""
    made = House(days=10)
    made.ask_for_jobs()
    registry = made.head_end.registry
    made.foreign = registry.register("ELS-99999999-33-03", made.stranger.id, DeviceChange(label="not yours"))  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.fixture(scope="module")
def visitor(house: House) -> Callable[[str], Visitor]:
    """One visitor per name."""
    known: dict[str, Visitor] = {}

    def make(name: str) -> Visitor:
        if name not in known:
            known[name] = Visitor(house, name)
        return known[name]

    return make


# -- the door ---------------------------------------------------------------------------------------


def test_nobody_gets_in_without_signing_in(house: House) -> None:
    visitor = Visitor(house)
    for path in paths(house):
        answer = visitor.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/login")
    assert visitor.client.get("/live").status_code == 303
    part = visitor.client.get("/overview", headers={"HX-Request": "true"})
    assert part.headers["hx-redirect"] == "/login"
    assert visitor.client.post("/alarms/1/acknowledge", data={}).status_code in (401, 403)


def test_wrong_password_is_told_without_saying_which(house: House) -> None:
    visitor = Visitor(house)
    for name, password in (("admin", "not the secret"), ("nobody", PASSWORD)):
        answer = visitor.send("/login", {"name": name, "password": password, "next": "/jobs"}, form="/login")
        assert answer.status_code == 401
        assert "Name or password are wrong." in answer.text
        assert 'value="/jobs"' in answer.text
        assert password not in answer.text
    audit = house.head_end.audit.page(limit=5).items
    assert [entry.action for entry in audit[:2]] == ["login failed", "login failed"]


def test_login_leads_on_but_not_away(house: House) -> None:
    visitor = Visitor(house)
    for wanted, found in (("/meters?q=1", "/meters?q=1"), ("https://evil.example", "/"), ("//evil.example/", "/")):
        answer = visitor.send("/login", {"name": "admin", "password": PASSWORD, "next": wanted}, form="/login")
        assert answer.headers["location"] == found
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie


def test_a_session_gets_a_new_number_and_ends(house: House) -> None:
    visitor = Visitor(house, "msp")
    first = visitor.client.cookies["openmetering"]
    visitor.send("/login", {"name": "msp", "password": PASSWORD, "next": "/"}, form="/login")
    assert visitor.client.cookies["openmetering"] != first
    assert house.head_end.accounts.session_user(first) is None
    assert visitor.send("/logout", {}).headers["location"] == "/login"
    assert visitor.get("/").status_code == 303


def test_one_time_link(house: House) -> None:
    secret = house.head_end.accounts.offer_login(house.admin.id)
    visitor = Visitor(house)
    assert visitor.get(f"/login/once/{secret}").headers["location"] == "/"
    assert visitor.get("/").status_code == 200
    again = Visitor(house).get(f"/login/once/{secret}")
    assert again.status_code == 401
    assert "used already" in again.text


def test_forged_forms_are_refused(house: House) -> None:
    visitor = Visitor(house, "admin")
    answer = visitor.client.post("/preferences", data={"locale": "de"})
    assert answer.status_code == 403
    assert house.head_end.accounts.find(house.admin.id).locale == "en"  # type: ignore[union-attr]


def test_preferences(house: House) -> None:
    visitor = Visitor(house)
    visitor.send("/preferences", {"locale": "de", "back": "/login"}, form="/login")
    visitor.send("/preferences", {"theme": "dark", "back": "/login"}, form="/login")
    page = visitor.get("/login").text
    assert '<html lang="de" data-theme="dark">' in page
    visitor.send("/preferences", {"theme": "pink", "locale": "xx", "back": "//x"}, form="/login")
    assert '<html lang="de" data-theme="dark">' in visitor.get("/login").text


# -- who sees what ----------------------------------------------------------------------------------

#: pattern of the path -> the permission that opens it
_NEEDS = {
    r"/": ("read", "nodes"),
    r"/overview": ("read", "nodes"),
    r"/meters": ("read", "devices"),
    r"/meters/new": ("write", "devices"),
    r"/meters/\d+": ("read", "devices"),
    r"/meters/\d+/edit": ("write", "devices"),
    r"/meters/\d+/(history|plot)": ("read", "readings"),
    r"/meters/\d+/telegrams": ("read", "telegrams"),
    r"/meters/\d+/telegrams/\d+": ("read", "telegrams"),
    r"/meters/\d+/(radio|security)": ("read", "devices"),
    r"/meters/\d+/events": ("read", "alarms"),
    r"/(places(/\d+)?|points/\d+)": ("read", "nodes"),
    r"/tenants": ("read", "tenants"),
    r"/webhooks": ("read", "webhooks"),
    r"/validation": ("read", "validation"),
    r"/reports": ("read", "reports"),
    r"/alarms": ("read", "alarms"),
    r"/jobs(/new|/\d+)?": ("read", "jobs"),
    r"/gateways(/\d+)?": ("read", "gateways"),
    r"/keys": ("read", "keys"),
    r"/import/keys": ("write", "keys"),
    r"/import/devices": ("write", "devices"),
    r"/export/devices.csv": ("read", "devices"),
    r"/users(/\d+|/rights)?": ("read", "users"),
    r"/account": ("read", "tokens"),
    r"/audit": ("read", "audit"),
}


def paths(house: House) -> list[str]:
    """A path for every page and for what is fetched; of the meters that one which the consumer may see."""
    label = "flat 4, cold water (leaks from 14:05 to the end of the day)"
    frame = house.head_end.readings.telegrams(house.building.find(label).address, None, 1).items[0].frame_id
    tabs = ("", "/history", "/plot", "/telegrams", f"/telegrams/{frame}", "/radio", "/security", "/events", "/edit")
    own = [f"/meters/{house.device(label)}{tab}" for tab in tabs]
    others = [path for path in pages(house).values() if not re.match(r"/meters/\d", path)]
    return [*own, *others, "/overview", "/export/devices.csv"]


def test_every_route_is_walked(house: House) -> None:
    assert {route_of(path) for path in pages(house).values()} | NO_PAGES | DOOR == routes()
    for path in paths(house):
        assert any(re.fullmatch(pattern, urlsplit(path).path) for pattern in _NEEDS), path


@pytest.mark.parametrize("role", ROLES)
def test_pages_open_for_those_who_may(visitor: Callable[[str], Visitor], house: House, role: str) -> None:
    guarded = house.as_user(house.people[role])
    for path in paths(house):
        needed = next(needed for pattern, needed in _NEEDS.items() if re.fullmatch(pattern, urlsplit(path).path))
        answer = visitor(role).get(path)
        if guarded.can(*needed):
            assert answer.status_code == 200, (role, path, answer.text[-300:])
        else:
            assert answer.status_code == 403, (role, path)
            assert "Your role does not allow this." in answer.text


@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("admin", "auditor")])
def test_what_belongs_to_others_is_not_there(visitor: Callable[[str], Visitor], house: House, role: str) -> None:
    foreign = house.foreign.id  # type: ignore[attr-defined]
    for tab in ("", "/radio", "/security", "/history", "/telegrams", "/events", "/edit", "/plot"):
        answer = visitor(role).get(f"/meters/{foreign}{tab}")
        assert answer.status_code in (403, 404), tab
        assert "not yours" not in answer.text.replace("or it is not yours", "")
    for path in ("/", "/meters", "/alarms", "/jobs", "/jobs/new", "/export/devices.csv", "/gateways/1"):
        assert "ELS-99999999" not in visitor(role).get(path).text
    unknown = visitor(role).get(f"/meters/{foreign + 1000}")
    assert unknown.status_code == 404
    assert unknown.text == visitor(role).get(f"/meters/{foreign}").text.replace(str(foreign), str(foreign + 1000))


@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("admin", "mso", "msp", "dso")])
def test_acting_needs_the_right(visitor: Callable[[str], Visitor], house: House, role: str) -> None:
    alarm = house.head_end.alarms.page(states=("raised",), limit=1).items[0]
    assert visitor(role).send(f"/alarms/{alarm.id}/acknowledge", {}).status_code == 403
    meter = house.device("flat 1, cold water")
    assert visitor(role).send(f"/meters/{meter}/step", {"step": "retire"}).status_code == 403
    answer = visitor(role).send(f"/meters/{meter}/edit", {"label": "mine"})
    assert answer.status_code == 403
    assert house.head_end.registry.find_device(meter).label != "mine"  # type: ignore[union-attr]


def test_consumer_sees_own_time_and_place(visitor: Callable[[str], Visitor], house: House) -> None:
    page = visitor("consumer").get("/").text
    assert "Flat 4" in page
    assert "Flat 1" not in page
    listed = visitor("consumer").get("/meters").text
    assert listed.count('href="/meters/') == len([one for one in house.building.device if one.label.startswith("flat 4")])


# -- what never shows -------------------------------------------------------------------------------


def test_keys_are_on_no_page(visitor: Callable[[str], Visitor], house: House) -> None:
    lines = key_files(read_building())[1].splitlines()[1:]
    secrets = [line.split(",")[1] for line in lines]
    assert len(secrets) > 40
    for path in [*paths(house), f"/meters/{house.device('flat 1, cold water')}/security"]:
        text = visitor("admin").get(path).text.upper()
        assert not any(secret in text for secret in secrets), path


def test_pages_load_nothing_from_elsewhere(visitor: Callable[[str], Visitor], house: House) -> None:
    for path in paths(house):
        answer = visitor("admin").get(path)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert not re.search(r"<script(?![^>]* src=\"/static/)", answer.text), path
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text), path
        assert " style=" not in answer.text, path
        assert " onclick=" not in answer.text, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for link in re.findall(r'(?:src|href)="(/static/[^"#]+)', answer.text):
            found = visitor("admin").get(link)
            assert found.status_code == 200
            assert "immutable" in found.headers["cache-control"]
    assert visitor("admin").get("/static/nothing.js").status_code == 404
    assert visitor("admin").get("/static/../app.py").status_code == 404


def test_what_people_type_is_text(visitor: Callable[[str], Visitor], house: House) -> None:
    evil = "<script>alert(1)</script>\"'>"
    meter = house.device("flat 6, cold water")
    before = house.head_end.registry.find_device(meter)
    assert before is not None
    visitor("mso").send(f"/meters/{meter}/edit", {"label": evil, "mode": "T"})
    for path in (f"/meters/{meter}", "/meters", "/jobs/new", f"/meters/{meter}/edit", f"/meters?q={evil}"):
        assert "<script>alert" not in visitor("mso").get(path).text
    visitor("mso").send(f"/meters/{meter}/edit", {"label": before.label, "mode": "T"})


# -- what forms do ----------------------------------------------------------------------------------


def test_meter_is_taken_over_and_placed(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    wrong = mso.send("/meters", {"address": "nonsense", "label": "kept"}, form="/meters/new")
    assert wrong.status_code == 400
    assert 'value="kept"' in wrong.text
    made = mso.send(
        "/meters", {"address": "ELS-55556666-33-07", "label": "New", "tenant": str(house.tenant.id)}, form="/meters/new"
    )
    path = urlsplit(made.headers["location"]).path
    meter = int(path.split("/")[2])
    node = next(one for one in house.head_end.registry.nodes() if one.name == "Flat 1")
    mso.send(f"/meters/{meter}/place", {"node": str(node.id), "point_name": "bathroom"})
    assert "Flat 1" in mso.get(f"/meters/{meter}").text
    assert mso.send(f"/meters/{meter}/place", {"node": str(node.id), "point_name": "bathroom"}).status_code == 400
    house.clock.now += timedelta(minutes=1)
    mso.send(f"/meters/{meter}/place", {"point": ""})
    assert all(one.valid_to is not None for one in house.head_end.registry.assignments(device_id=meter))
    assert "In: Example site · Lindenhof · Flat 1" in mso.get(f"/meters?node={node.id}").text
    assert mso.get("/meters?node=99999").status_code == 404
    mso.send(f"/meters/{meter}/step", {"step": "retire"})
    assert house.head_end.registry.find_device(meter).state == "retired"  # type: ignore[union-attr]
    assert mso.send(f"/meters/{meter}/step", {"step": "hear"}).status_code == 422
    assert mso.send(f"/meters/{meter}/edit", {"label": "x" * 300}).status_code == 400


def test_jobs_need_two(visitor: Callable[[str], Visitor], house: House) -> None:
    valve = house.device("cellar, water valve")
    data = {"kind": "disconnector", "device": str(valve), "state": "disconnected", "issue": "5.0.1", "delay": ""}
    made = visitor("admin").send("/jobs", data, files={})
    path = urlsplit(made.headers["location"]).path
    assert "awaits" not in visitor("admin").get(path).text
    assert visitor("admin").send(f"{path}/approve", {}).status_code == 403
    assert 'id="approve"' not in visitor("admin").get(path).text
    second = visitor("second")
    assert 'id="approve"' in second.get(path).text
    assert second.send(f"{path}/approve", {}).status_code == 303
    assert second.send(f"{path}/approve", {}).status_code in (400, 409)
    assert second.send(f"{path}/cancel", {}).status_code == 303
    assert "cancelled" in second.get(path).text
    wrong = visitor("admin").send("/jobs", {**data, "delay": "-5"}, files={})
    assert wrong.status_code == 400
    assert visitor("admin").send("/jobs", {"kind": "nothing", "device": str(valve)}, files={}).status_code == 400
    assert visitor("admin").send("/jobs", {"kind": "read", "device": ""}, files={}).status_code == 303


def test_users(visitor: Callable[[str], Visitor], house: House) -> None:
    admin = visitor("admin")
    data = {
        "name": "new-consumer",
        "password": "a long enough secret",
        "role": "consumer",
        "tenant": str(house.tenant.id),
        "locale": "de",
    }
    made = admin.send("/users", data)
    path = urlsplit(made.headers["location"]).path
    short = admin.send("/users", {**data, "name": "other", "password": "short"})
    assert short.status_code == 400
    assert "short" not in re.sub(r"too short|shorter", "", short.text.split("<main")[1])
    flat = house.node("Flat 2")
    admin.send(path, {"what": "home", "node": str(flat.id), "since": "2025-12-31T00:00"})
    page = admin.get(path).text
    assert "Flat 2" in page
    occupancy = re.search(r'name="occupancy" value="(\d+)"', page)
    assert occupancy is not None
    admin.send(path, {"what": "leave", "occupancy": occupancy[1]})
    admin.send(path, {"what": "access", "disabled": "yes"})
    assert "disabled" in admin.get(path).text
    admin.send(path, {"what": "access", "disabled": "no"})
    admin.send(path, {"what": "password", "password": "another long secret"})
    assert Visitor(house, "new-consumer", "another long secret").get("/").status_code == 200
    assert admin.send(path, {"role": "king"}).status_code == 400
    assert admin.send(path, {"role": "consumer", "locale": "en"}).status_code == 303
    assert admin.get("/users/9999").status_code == 404


def test_own_account(house: House) -> None:
    house.head_end.accounts.add("changing", PASSWORD, "msp", house.tenant.id)
    visitor = Visitor(house, "changing")
    assert visitor.send("/account/password", {"old": "wrong", "new": "a long enough secret"}).status_code == 400
    other = Visitor(house, "changing")
    assert visitor.send("/account/password", {"old": PASSWORD, "new": "a long enough secret"}).status_code == 303
    assert visitor.get("/account").status_code == 200
    assert other.get("/account").status_code == 303
    made = visitor.send("/account/tokens", {"label": "plots", "scopes": "read:devices", "days": "90"})
    token = re.search(r'class="token">([^<]+)<', made.text)
    assert token is not None
    bearer = {"Authorization": f"Bearer {token[1]}"}
    assert TestClient(house.app()).get("/api/v1/devices", headers=bearer).status_code == 200
    page = visitor.get("/account").text
    assert token[1] not in page
    number = re.search(r"/account/tokens/(\d+)/revoke", page)
    assert number is not None
    visitor.send(f"/account/tokens/{number[1]}/revoke", {})
    assert TestClient(house.app()).get("/api/v1/devices", headers=bearer).status_code == 401
    assert visitor.send("/account/tokens", {"scopes": "write:users", "days": "1"}).status_code in (400, 403)


def test_keys(visitor: Callable[[str], Visitor], house: House) -> None:
    custodian = visitor("key-custodian")
    key = "0F0E0D0C0B0A09080706050403020100"
    data = {"address_pattern": "ELS-12121212-33-03", "key": key, "key_id": "00", "version": "", "label": "spare"}
    assert custodian.send("/keys", {**data, "key_id": "zz"}).status_code == 400
    wrong = custodian.send("/keys", {**data, "key": key[:-3]})
    assert wrong.status_code == 400
    assert key[:-3] not in wrong.text
    assert 'value="spare"' in wrong.text
    assert custodian.send("/keys", data).status_code == 303
    page = custodian.get("/keys?q=ELS-12121212").text
    number = re.search(r"/keys/(\d+)/retire", page)
    assert number is not None
    assert custodian.send(f"/keys/{number[1]}/retire", {}).status_code == 303
    assert "retired" in custodian.get("/keys?q=ELS-12121212").text
    assert custodian.send("/import/keys/preview", {}, files={}).status_code == 400
    assert custodian.send("/import/keys", {"staged": "gone"}).status_code == 400


def test_import_keeps_files_apart(visitor: Callable[[str], Visitor], house: House) -> None:
    mso = visitor("mso")
    assert mso.send("/import/devices/preview", {}, files={}).status_code == 400
    assert mso.send("/import/devices/preview", {}, files={"file": b"no,such,columns\n1,2,3\n"}).status_code == 400
    data = b"address,label\nELS-31313131-33-03,first\nELS-31313131-33-03,second\n"
    shown = mso.send("/import/devices/preview", {}, files={"file": data})
    staged = re.search(r'name="staged" value="([^"]+)"', shown.text)
    assert staged is not None
    assert visitor("admin").send("/import/devices", {"staged": staged[1]}).status_code == 400
    mso.send("/import/devices", {"staged": staged[1], "partly": "yes"})
    assert house.head_end.registry.by_address("ELS-31313131-33-03") is not None
    assert mso.send("/import/devices", {"staged": staged[1]}).status_code == 400
    assert b"ELS-31313131" in mso.get("/export/devices.csv").content


# -- problems ---------------------------------------------------------------------------------------


def test_problems_are_pages(visitor: Callable[[str], Visitor], house: House) -> None:
    lost = visitor("admin").get("/nowhere")
    assert lost.status_code == 404
    assert "There is no such page" in lost.text
    for path in ("/meters/0", "/meters/99999999999999999999", "/alarms?before=x", "/meters?q=%00", "/audit?user=-1"):
        assert visitor("admin").get(path).status_code in (400, 404), path
    german = TestClient(house.app()).get("/nowhere", headers={"Accept-Language": "de"}, follow_redirects=False)
    assert german.status_code == 404
    assert "Diese Seite gibt es nicht" in german.text


def test_parts_for_the_script(visitor: Callable[[str], Visitor], house: House) -> None:
    meter = house.device("flat 1, cold water")
    for path in ("/overview", "/alarms", "/jobs", "/jobs/1", "/gateways", f"/meters/{meter}"):
        part = visitor("admin").client.get(path, headers={"HX-Request": "true"})
        assert part.status_code == 200
        assert "<html" not in part.text
        assert "data-live=" in part.text


def test_long_lists_go_on(visitor: Callable[[str], Visitor], house: House) -> None:
    readings = house.head_end.readings
    busy = next(one for one in house.building.device if readings.telegrams(one.address, None, 60).after is not None)
    page = visitor("admin").get(f"/meters/{house.device(busy.label)}/telegrams").text
    more = re.search(r'rel="next" href="([^"]+)"', page)
    assert more is not None
    assert visitor("admin").get(more[1]).status_code == 200
    for number in range(100):
        house.head_end.audit.note(None, "start", f"part {number}")
    more = re.search(r'rel="next" href="([^"]+)"', visitor("admin").get("/audit").text)
    assert more is not None
    page = visitor("admin").get(more[1].replace("&amp;", "&")).text
    assert "Back to the start" in page


def test_plot(visitor: Callable[[str], Visitor], house: House) -> None:
    meter = house.device("flat 1, cold water")
    chart = visitor("admin").get(f"/meters/{meter}/plot?span=day&form=line").json()
    assert chart["unit"] == "m³"
    assert chart["form"] == "line"
    assert chart["values"] == sorted(chart["values"])
    assert len(chart["times"]) == len(chart["values"]) > 5
    assert visitor("admin").get(f"/meters/{meter}/plot?series=999999").status_code == 404
    assert visitor("admin").get(f"/meters/{meter}/history?series=999999").status_code == 404
    silent = house.head_end.registry.by_address("ELS-31313131-33-03")
    if silent is not None:
        assert visitor("admin").get(f"/meters/{silent.id}/plot").status_code == 404
        assert "no values" in visitor("admin").get(f"/meters/{silent.id}/history").text
        assert "Nothing has been heard" in visitor("admin").get(f"/meters/{silent.id}").text


# -- files for others -------------------------------------------------------------------------------


def test_values_for_others_are_saved(visitor: Callable[[str], Visitor], house: House) -> None:
    flat, mso = house.node("Flat 4"), visitor("mso")
    assert "For other programs" in mso.get("/reports").text
    span = f"node={flat.id}&since=2026-01-01&until=2026-01-15"
    answer = mso.get(f"/exports/file?kind=values&{span}&every=value&form=csv")
    lines = answer.text.splitlines()
    assert lines[0].startswith("point,place,device,")
    assert len(lines) > 1
    assert all("Flat 4" in line for line in lines[1:])
    hidden = mso.get(f"/exports/file?kind=values&{span}&every=value&form=csv&hidden=yes").text
    assert "Flat 4" not in hidden
    assert hidden.count("\n") == answer.text.count("\n")
    market = "sender=9900123000007&recipient=9900456000004&day=2026-01-13"
    refused = mso.get(f"/exports/file?kind=mscons&node={flat.id}&{market}")
    assert refused.status_code == 422
    assert "identifier" in refused.text
    assert mso.get(f"/exports/file?kind=mscons&node={flat.id}&day=2026-01-13&sender=1&recipient=2").status_code == 422
    mdm = house.head_end.mdm
    for point in house.head_end.registry.points([flat.id]).items:
        mdm.put_point_data(PointData(0, point.id, identifier=f"DE{point.id}"))
    mdm.put_node_data(NodeData(0, flat.id, identifier="0000123450004"))
    readings = mso.get(f"/exports/file?kind=mscons&node={flat.id}&{market}")
    assert readings.text.startswith("UNA:+.? 'UNB+UNOC:3+9900123000007:500+9900456000004:500+")
    assert ".edi" in readings.headers["content-disposition"]
    results = mso.get(f"/exports/file?kind=bved&{span}&customer=0000004711")
    assert results.text.startswith("D03.100000004711")
    assert mso.get(f"/exports/file?kind=bved&{span}&customer=47").status_code == 422
    assert visitor("consumer").get(f"/exports/file?kind=values&{span}").status_code == 403
