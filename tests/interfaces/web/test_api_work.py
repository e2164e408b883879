"""Registering, importing, commanding, keys, people: from request to answer and into the head-end."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta

import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

from openmetering.interfaces.web.api.people import AddUser, NewToken, OwnPassword, SetPassword, TokenView
from openmetering.interfaces.web.api.work import AddKey, AddWebhook, JobView, KeyFile
from openmetering.services.headend.model import Job
from tests.interfaces.web.world import NOW, PASSWORD, World

NEW_KEY = "00112233445566778899AABBCCDDEEFF"


@pytest.fixture
def admin(world: World) -> Iterator[TestClient[Litestar]]:
    with world.client(world.author) as client:
        yield client


# -- places and devices ------------------------------------------------------------------------------


def test_from_an_empty_house_to_a_meter_in_a_flat(world: World) -> None:
    with world.client(world.own.users["mso"]) as client:

        def post(path: str, **body: object) -> dict[str, object]:
            answer = client.post(f"/api/v1/{path}", json=body)
            assert answer.status_code == 201, answer.text
            return dict(answer.json())

        house = post("nodes", kind="building", name="House", parent_id=world.own.site.id)
        flat = post("nodes", kind="unit", name="Flat", parent_id=house["id"])
        point = post("points", node_id=flat["id"], name="Bath", medium="water")
        device = post("devices", address="els-55555555-33-07", label="Bath", mode="C1", bidirectional=True)
        assert (device["address"], device["state"], device["tenant_id"]) == (
            "ELS-55555555-33-07",
            "registered",
            world.own.tenant.id,
        )
        assert (device["label"], device["mode"], device["bidirectional"]) == ("Bath", "C1", True)
        made = post("assignments", device_id=device["id"], point_id=point["id"], valid_from="2025-01-01T01:00:00+01:00")
        assert made["valid_from"] == "2025-01-01T00:00:00Z"
        again = client.post("/api/v1/assignments", json={**made, "id": None} | {"valid_from": "2025-01-02T00:00:00Z"})
        assert again.status_code == 400  # id is no field of this body
        overlap = {"device_id": device["id"], "point_id": point["id"], "valid_from": "2025-01-02T00:00:00Z"}
        assert client.post("/api/v1/assignments", json=overlap).json()["code"] == "access.conflict"
        place = client.get(f"/api/v1/devices/{device['id']}/place").json()
        assert [node["name"] for node in place["nodes"]] == ["North site", "House", "Flat"]
        ended = client.post(f"/api/v1/assignments/{made['id']}/end", json={"valid_to": "2025-01-20T00:00:00Z"}).json()
        assert ended["valid_to"] == "2025-01-20T00:00:00Z"
        listed = client.get("/api/v1/assignments", params={"point_id": point["id"]}).json()["items"]
        assert listed == [ended]
        assert client.delete(f"/api/v1/nodes/{flat['id']}").json()["code"] == "access.conflict"
        assert client.patch(f"/api/v1/nodes/{flat['id']}", json={"name": "Flat 1"}).json()["name"] == "Flat 1"
        assert client.get(f"/api/v1/devices/by-address/{device['address']}").json()["id"] == device["id"]
        changed = client.patch(f"/api/v1/devices/{device['id']}", json={"label": "", "wired_primary": 5}).json()
        assert (changed["label"], changed["wired_primary"], changed["mode"]) == ("", 5, "C1")
        retired = client.post(f"/api/v1/devices/{device['id']}/step", json={"step": "retire"}).json()
        assert retired["state"] == "retired"
        assert client.post(f"/api/v1/devices/{device['id']}/step", json={"step": "retire"}).status_code == 409
        assert client.post(f"/api/v1/devices/{device['id']}/step", json={"step": "hear"}).status_code == 400


def test_an_address_that_is_none(admin: TestClient[Litestar], world: World) -> None:
    answer = admin.post("/api/v1/devices", json={"address": "nonsense", "tenant_id": world.own.tenant.id})
    assert (answer.status_code, answer.json()["code"]) == (422, "address.invalid")


def test_import_with_preview_and_back(world: World) -> None:
    text = (
        "address,label,unit,point\n"
        "ELS-60000001-33-07,one,North unit 1,one\n"
        f"{world.own.address},another label,,\n"
        "nonsense,three,,\n"
    )
    with world.client(world.own.users["mso"]) as client:
        plan = client.post("/api/v1/imports/devices/preview", json={"csv": text}).json()
        assert (plan["new"], plan["changed"], plan["same"], plan["refused"]) == (1, 1, 0, 1)
        assert [row["action"] for row in plan["rows"]] == ["new", "changed", "refused"]
        assert client.get("/api/v1/devices?search=60000001").json()["items"] == []
        refused = client.post("/api/v1/imports/devices", json={"csv": text})
        assert (refused.status_code, refused.json()["code"]) == (409, "access.conflict")
        report = client.post("/api/v1/imports/devices", json={"csv": text, "partly": True}).json()
        assert {device["label"] for device in report["devices"]} == {"one", "another label"}
        export = client.get("/api/v1/exports/devices")
        assert export.headers["content-type"] == "text/csv; charset=utf-8"
        assert export.headers["content-disposition"] == 'attachment; filename="devices.csv"'
        assert "ELS-60000001-33-07,one" in export.text
        again = client.post("/api/v1/imports/devices/preview", json={"csv": export.text}).json()
        assert (again["new"], again["changed"], again["refused"]) == (0, 0, 0)


def test_occupancies_and_gateways(admin: TestClient[Litestar], world: World) -> None:
    node = world.own.fresh_node()
    tenant = world.own.user("consumer")
    body = {"user_id": tenant.id, "node_id": node.id, "valid_from": "2025-01-01T00:00:00Z"}
    made = admin.post("/api/v1/occupancies", json=body).json()
    assert admin.get("/api/v1/occupancies", params={"user_id": tenant.id}).json()["items"] == [made]
    ended = admin.post(f"/api/v1/occupancies/{made['id']}/end", json={"valid_to": "2025-01-30T00:00:00Z"}).json()
    assert ended["valid_to"] == "2025-01-30T00:00:00Z"
    assert [one["name"] for one in admin.get("/api/v1/gateways").json()["items"]] == ["cellar"]
    heard = admin.get(f"/api/v1/gateways/{world.gateway.id}/devices").json()["items"]
    assert [(one["device_id"], one["rssi"]) for one in heard] == [(world.own.device.id, -70.0), (world.other.device.id, -70.0)]
    assert admin.get("/api/v1/gateways/99/devices").status_code == 404
    assert admin.get("/api/v1/assignments").status_code == 404


# -- jobs --------------------------------------------------------------------------------------------


def test_a_job_and_its_approval_by_another_person(world: World) -> None:
    mso, second = world.own.users["mso"], world.own.user("mso")
    body = {
        "device_id": world.own.device.id, "kind": "disconnector", "parameters": {"state": "disconnected"},
        "not_before": "2025-02-01T00:00:00+01:00",
    }  # fmt: skip
    with world.client(mso) as client:
        assert "disconnector" in client.get("/api/v1/job-kinds").json()["items"]
        job = client.post("/api/v1/jobs", json=body).json()
        assert (job["state"], job["created_by"], job["parameters"]) == ("awaiting-approval", mso.id, {"state": "disconnected"})
        assert (job["not_before"], job["result"], job["progress"]) == ("2025-01-31T23:00:00Z", None, 0.0)
        own = client.post(f"/api/v1/jobs/{job['id']}/approve")
        assert (own.status_code, own.json()["code"]) == (403, "access.denied")
    with world.client(second) as client:
        approved = client.post(f"/api/v1/jobs/{job['id']}/approve").json()
        assert (approved["state"], approved["approved_by"]) == ("queued", second.id)
        assert client.post(f"/api/v1/jobs/{job['id']}/approve").status_code == 409
        steps = [step["text"] for step in client.get(f"/api/v1/jobs/{job['id']}/steps").json()["items"]]
        assert len(steps) >= 2
        assert client.get("/api/v1/jobs?state=queued").json()["items"] == [approved]
        assert client.get("/api/v1/jobs?state=done").json()["items"] == []
        cancelled = client.post(f"/api/v1/jobs/{job['id']}/cancel").json()
        assert cancelled["state"] == "cancelled"
        assert client.get(f"/api/v1/jobs/{job['id']}").json() == cancelled


@pytest.mark.parametrize(
    ("kind", "parameters", "status"),
    [
        ("dance", {}, 404),
        ("disconnector", {"state": "ajar"}, 422),
        ("disconnector", {"state": "connected", "more": 1}, 422),
        ("clock", {"seconds": 1000}, 422),
    ],
)
def test_jobs_that_cannot_be(admin: TestClient[Litestar], world: World, kind: str, parameters: object, status: int) -> None:
    answer = admin.post("/api/v1/jobs", json={"device_id": world.own.device.id, "kind": kind, "parameters": parameters})
    assert answer.status_code == status, answer.text


def test_how_a_job_is_shown() -> None:
    job = Job(1, 2, "read", '{"a": 1}', "done", 3, NOW, result='{"value": 5}')
    assert JobView.of(job).parameters == {"a": 1}
    assert JobView.of(job).result == {"value": 5}
    strange = Job(1, 2, "read", "[1]", "failed", 3, NOW, result="no JSON")
    assert (JobView.of(strange).parameters, JobView.of(strange).result) == ({}, "no JSON")


def test_an_unknown_job_is_taken_up_again(admin: TestClient[Litestar], world: World) -> None:
    assert admin.post(f"/api/v1/jobs/{world.own.unknown_job()}/resume").json()["state"] == "queued"


def test_parameters_that_are_too_large(admin: TestClient[Litestar], world: World) -> None:
    body = {"device_id": world.own.device.id, "kind": "read", "parameters": {"x": "y" * (2 * 1024 * 1024)}}
    assert admin.post("/api/v1/jobs", json=body).json()["code"] == "access.invalid"


# -- keys --------------------------------------------------------------------------------------------


def test_keys_go_in_and_never_out(world: World) -> None:
    text = "address,key\nELS-70000001-33-07,0F0E0D0C0B0A09080706050403020100\n"
    data = {"data": base64.b64encode(text.encode()).decode()}
    with world.client(world.own.users["key-custodian"]) as client:
        texts = []

        def keep(answer: Response) -> Response:
            texts.append(answer.text)
            return answer

        made = keep(client.post("/api/v1/keys", json={"address_pattern": "ELS-7*", "key": NEW_KEY, "label": "all"}))
        assert made.status_code == 201
        key = made.json()
        assert (key["address_pattern"], key["state"], key["key_id"], key["uses"]) == ("ELS-7*******", "active", 0, 0)
        assert len(key["fingerprint"]) >= 8
        plan = keep(client.post("/api/v1/imports/keys/preview", json=data)).json()
        assert [line["address_pattern"] for line in plan["added"]] == ["ELS-70000001-33-07"]
        keep(client.post("/api/v1/imports/keys", json=data))
        listed = keep(client.get("/api/v1/keys?pattern=ELS-7")).json()["items"]
        assert {one["address_pattern"] for one in listed} == {"ELS-7*******", "ELS-70000001-33-07"}
        retired = keep(client.post(f"/api/v1/keys/{key['id']}/retire")).json()
        assert retired["state"] == "retired"
        keep(client.post("/api/v1/keys", json={"address_pattern": "ELS-7*", "key": "0" * 31 + "Z"}))
        keep(client.post("/api/v1/imports/keys", json={"data": base64.b64encode(b"\xff" * 50).decode()}))
        for answer in texts:
            assert NEW_KEY.lower() not in answer.lower()
            assert "0f0e0d0c0b0a" not in answer.lower()


@pytest.mark.parametrize(
    "body",
    [
        {"address_pattern": "ELS-7*", "key": "00"},
        {"address_pattern": "ELS-7*", "key": NEW_KEY + "00"},
        {"address_pattern": "???", "key": NEW_KEY},
        {"address_pattern": "ELS-7*", "key": NEW_KEY, "key_id": 256},
    ],
)
def test_keys_that_cannot_be(world: World, body: dict[str, object]) -> None:
    with world.client(world.own.users["key-custodian"]) as client:
        answer = client.post("/api/v1/keys", json=body)
    assert answer.status_code in (400, 422), answer.text
    assert NEW_KEY not in answer.text


def test_bodies_with_secrets_show_none_of_them() -> None:
    secret = "sesame open sesame"
    token = TokenView(1, 2, (), None, "", None)
    for body in (
        AddKey("ELS*", secret), KeyFile(secret.encode()), AddWebhook("https://x.org", (), secret), AddUser("x", secret, "mso"),
        SetPassword(secret), OwnPassword(secret, secret), NewToken(token, secret),
    ):  # fmt: skip
        assert "sesame" not in repr(body)


# -- people ------------------------------------------------------------------------------------------


def test_users(admin: TestClient[Litestar], world: World) -> None:
    body = {"name": "new user", "password": PASSWORD, "role": "msp", "tenant_id": world.own.tenant.id}
    made = admin.post("/api/v1/users", json=body)
    user = made.json()
    assert set(user) == {"id", "name", "role", "tenant_id", "locale", "disabled"}
    assert admin.post("/api/v1/users", json=body).status_code == 409
    assert admin.post("/api/v1/users", json={**body, "name": "x", "password": "short"}).status_code == 422
    changed = admin.patch(f"/api/v1/users/{user['id']}", json={"role": "dso", "locale": "de"}).json()
    assert (changed["role"], changed["locale"], changed["disabled"]) == ("dso", "de", False)
    assert admin.post(f"/api/v1/users/{user['id']}/password", json={"password": "quite another one"}).status_code == 204
    assert world.head_end.accounts.login("new user", "quite another one").id == user["id"]
    assert user["id"] in [one["id"] for one in admin.get("/api/v1/users?limit=500").json()["items"]]
    last = [one for one in admin.get("/api/v1/users?limit=500").json()["items"] if one["role"] == "admin"]
    for one in last:
        admin.patch(f"/api/v1/users/{one['id']}", json={"disabled": True})
    assert admin.get("/api/v1/account").status_code in (200, 401)


def test_tokens(world: World) -> None:
    user = world.own.users["msp"]
    with world.client(user) as client:
        until = (NOW + timedelta(days=1)).isoformat()
        made = client.post("/api/v1/tokens", json={"scopes": ["read:devices"], "expires": until, "label": "sheet"}).json()
        assert made["text"].startswith("oms_")
        assert made["token"]["expires"] == "2025-02-01T12:00:00Z"
        assert set(made["token"]) == {"id", "user_id", "scopes", "expires", "label", "last_used"}
        listed = client.get("/api/v1/tokens")
        assert made["text"] not in listed.text
        assert made["token"]["id"] in [one["id"] for one in listed.json()["items"]]
        assert client.get("/api/v1/devices", headers={"Authorization": f"Bearer {made['text']}"}).status_code == 200
        assert client.delete(f"/api/v1/tokens/{made['token']['id']}").status_code == 204
        assert client.get("/api/v1/devices", headers={"Authorization": f"Bearer {made['text']}"}).status_code == 401
        assert client.post("/api/v1/tokens", json={"scopes": []}).status_code == 422
        assert client.post("/api/v1/tokens", json={"scopes": ["read:keys"]}).status_code == 403
        past = {"scopes": ["read:devices"], "expires": "2025-01-01T00:00:00Z"}
        assert client.post("/api/v1/tokens", json=past).status_code == 422
        assert client.post("/api/v1/tokens", json={**past, "expires": "2026-01-01T00:00:00"}).status_code == 400


def test_the_audit_trail(admin: TestClient[Litestar], world: World) -> None:
    with world.client(world.own.users["mso"]) as client:
        client.get(f"/api/v1/devices/{world.own.device.id}/readings")
        client.get("/api/v1/keys")
    found = admin.get("/api/v1/audit", params={"user_id": world.own.users["mso"].id}).json()["items"]
    assert [(one["action"], one["object"], one["personal"]) for one in found[:2]] == [
        ("denied", "keys", False),
        ("read readings", f"device {world.own.device.id}", True),
    ]
    things = admin.get("/api/v1/audit", params={"thing": f"device {world.own.device.id}", "limit": 1}).json()
    assert things["items"][0]["action"] == "read readings"


def test_webhooks(world: World) -> None:
    with world.client(world.own.users["mso"]) as client:
        body = {"url": "https://example.org/meters", "events": ["alarm", "job"], "secret": "0123456789abcdef"}
        made = client.post("/api/v1/webhooks", json=body)
        assert made.status_code == 201
        assert "0123456789abcdef" not in made.text
        assert set(made.json()) == {"id", "url", "events", "tenant_id"}
        assert made.json()["tenant_id"] == world.own.tenant.id
        assert made.json() in client.get("/api/v1/webhooks").json()["items"]
        assert client.delete(f"/api/v1/webhooks/{made.json()['id']}").status_code == 204
        for change in ({"url": "ftp://x.org/abc"}, {"events": ["weather"]}, {"secret": "short"}, {"url": "http://a b.org"}):
            assert client.post("/api/v1/webhooks", json={**body, **change}).status_code in (400, 422), change


def test_tenants_and_the_overview(admin: TestClient[Litestar], world: World) -> None:
    assert [one["name"] for one in admin.get("/api/v1/tenants").json()["items"]] == ["North", "South"]
    assert admin.post("/api/v1/tenants", json={"name": "East"}).json()["name"] == "East"
    assert admin.post("/api/v1/tenants", json={"name": "East"}).status_code == 409
    overview = admin.get("/api/v1/overview").json()
    assert {row["node"]["name"]: row["health"] for row in overview["nodes"]}["North unit 1"] == "good"
    world.own.fresh_alarm()
    overview = admin.get("/api/v1/overview").json()
    assert {row["node"]["name"]: row["health"] for row in overview["nodes"]}["North unit 1"] == "critical"
