"""Lists in parts, readings with cursor and resolution, telegrams, alarms: exact answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from openmetering.interfaces.web.api.data import ReadingView, _Place
from openmetering.storage import ReadingRow
from tests.interfaces.web.world import NOW, World


@pytest.fixture(scope="module")
def mso(shared: World) -> Iterator[TestClient[Litestar]]:
    with shared.client(shared.own.users["mso"]) as client:
        yield client


def walk(client: TestClient[Litestar], path: str) -> list[list[dict[str, object]]]:
    """All parts of a list."""
    parts = []
    here: str | None = path
    while here is not None:
        answer = client.get(here)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        parts.append(body["items"])
        here = body["next"]
        assert (body["cursor"] is None) == (here is None)
        assert len(parts) < 100
    return parts


def test_a_list_in_parts(world: World) -> None:
    made = [world.own.fresh_device().id for _ in range(6)]
    with world.client(world.own.users["mso"]) as client:
        parts = walk(client, "/api/v1/devices?limit=3&search=ELS-3")
        assert [[item["id"] for item in part] for part in parts] == [made[:3], made[3:]]
        first = client.get("/api/v1/devices?limit=3&search=ELS-3").json()
        assert first["next"] == f"/api/v1/devices?limit=3&search=ELS-3&cursor={first['cursor']}"
        assert [item["id"] for part in walk(client, "/api/v1/points?limit=1") for item in part] == [world.own.point.id]


def test_what_is_searched_for(world: World) -> None:
    with world.client(world.own.users["mso"]) as client:

        def found(query: str) -> list[str]:
            return [item["address"] for item in client.get(f"/api/v1/devices?{query}").json()["items"]]

        assert found("search=North") == [world.own.address]
        assert found("state=active") == [world.own.address]
        assert found("state=retired") == []
        assert found(f"node_id={world.own.unit.id}") == [world.own.address]
        assert found("medium=steam") == []
        assert client.get("/api/v1/devices?state=asleep").status_code == 400
        assert (
            client.get(f"/api/v1/devices?node_id={world.other.unit.id}").status_code == 404
            or found(f"node_id={world.other.unit.id}") == []
        )


def test_parameters_that_cannot_be(mso: TestClient[Litestar], shared: World) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "cursor=0", "cursor=-1", "search=a%00b"):
        answer = mso.get(f"/api/v1/devices?{query}")
        assert answer.status_code == 400, query
        problem = answer.json()
        assert problem["code"] == "http.request"
        assert problem["errors"][0]["source"] == "query"
        assert problem["errors"][0]["key"] == query.partition("=")[0]
    for number in ("0", "-1", str(2**53), str(2**70)):
        assert mso.get(f"/api/v1/devices/{number}").status_code in (400, 404)


def test_bodies_that_cannot_be(mso: TestClient[Litestar]) -> None:
    for body, key in (
        ({"kind": "garden", "name": "x"}, "kind"),
        ({"kind": "site", "name": ""}, "name"),
        ({"kind": "site", "name": "a\x00b"}, "name"),
        ({"kind": "site", "name": "x" * 121}, "name"),
        ({"kind": "site", "name": "x", "parent_id": 0}, "parent_id"),
    ):
        answer = mso.post("/api/v1/nodes", json=body)
        assert answer.status_code == 400, body
        assert answer.json()["errors"][0]["key"] == key
    for octets in (b"", b"{", b"[]", b'{"kind": "site", "name": "x", "more": 1}', b'{"name": "\\ud800"}'):
        assert mso.post("/api/v1/nodes", content=octets).status_code == 400, octets


# -- readings ----------------------------------------------------------------------------------------


def test_readings_in_order(mso: TestClient[Litestar], shared: World) -> None:
    items = mso.get(f"/api/v1/devices/{shared.own.device.id}/readings").json()["items"]
    assert [(item["value"], item["mantissa"], item["exponent"], item["received_at"]) for item in items] == [
        ("10.00", 1000, -2, "2025-01-31T09:00:00Z"),
        ("10.01", 1001, -2, "2025-01-31T10:00:00Z"),
        ("10.02", 1002, -2, "2025-01-31T11:00:00Z"),
    ]
    assert {(item["quantity"], item["unit"], item["address"]) for item in items} == {("volume", "m3", shared.own.address)}


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_readings_in_parts_are_all_there_once(mso: TestClient[Litestar], shared: World, limit: int) -> None:
    path = f"/api/v1/devices/{shared.own.device.id}/readings?limit={limit}"
    values = [item["value"] for part in walk(mso, path) for item in part]
    assert values == ["10.00", "10.01", "10.02"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_parts_end_within_readings_of_one_time(world: World, limit: int) -> None:
    """One telegram has two records, and two telegrams come in the same instant: the cursor counts within it."""
    from openmetering.transport.reception import Reception
    from tests.fleet import radio, volume

    at = NOW.timestamp() + 0.123456
    frames = [
        radio(number=world.own.number, access_number=50 + step, records=volume(2000 + step) + volume(3000 + step, storage=True))
        for step in range(3)
    ]
    world.head_end.ingest([Reception(frame, at, "stick", mode="C") for frame in frames])
    path = f"/api/v1/devices/{world.own.device.id}/readings?limit={limit}&since=2025-01-31T12:00:00Z"
    with world.client(world.own.users["mso"]) as client:
        values = [item["value"] for part in walk(client, path) for item in part]
    assert values == ["20.00", "30.00", "20.01", "30.01", "20.02", "30.02"]


def test_a_span_of_time(mso: TestClient[Litestar], shared: World) -> None:
    path = f"/api/v1/devices/{shared.own.device.id}/readings"

    def values(**query: str) -> list[str]:
        return [item["value"] for item in mso.get(path, params=query).json()["items"]]

    assert values(since="2025-01-31T10:00:00Z") == ["10.01", "10.02"]
    assert values(until="2025-01-31T10:00:00Z") == ["10.00"]
    assert values(since="2025-01-31T11:00:00+01:00", until="2025-01-31T12:00:00+01:00") == ["10.01"]
    assert values(quantity="volume") == ["10.00", "10.01", "10.02"]
    assert values(quantity="energy") == []
    for wrong in ("2025-01-31T10:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0351-03-10T23:41:55-23:59"):
        answer = mso.get(path, params={"since": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "access.invalid"), wrong
    assert mso.get(path, params={"since": "yesterday"}).status_code == 400


@pytest.mark.parametrize("cursor", ["x", "1:", ":1", "1.5", "-1:2", "nan:1", "1e9:1"])
def test_cursors_of_another_make_are_refused(mso: TestClient[Litestar], shared: World, cursor: str) -> None:
    assert mso.get(f"/api/v1/devices/{shared.own.device.id}/readings", params={"cursor": cursor}).status_code == 400


@pytest.mark.parametrize("cursor", ["99999999999999999999:1", "1700000000.0:9999"])
def test_cursors_that_were_never_given_are_refused(mso: TestClient[Litestar], shared: World, cursor: str) -> None:
    answer = mso.get(f"/api/v1/devices/{shared.own.device.id}/readings", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "access.invalid")


def test_the_place_behind_a_reading() -> None:
    row = ReadingRow("A", None, 5.0, "volume", "1", "m3", "instantaneous", 0, 0, 0, "", "", "", 1, 0, None, None, 1)
    later = ReadingRow("A", None, 6.0, "volume", "1", "m3", "instantaneous", 0, 0, 0, "", "", "", 1, 0, None, None, 2)
    assert _Place.parse("5.0:1") == _Place(5.0, 1)
    assert _Place(5.0, 1).behind((row, row, later)) == (row, later)
    assert _Place(5.0, 2).behind((row, row, later)) == (later,)
    assert _Place(5.0, 3).behind((row, later)) == (later,)
    assert _Place(6.0, 0).behind((row, later)) == (later,)
    assert ReadingView.of(row).received_at.isoformat() == "1970-01-01T00:00:05+00:00"


def test_latest_and_board(mso: TestClient[Litestar], shared: World) -> None:
    latest = mso.get(f"/api/v1/devices/{shared.own.device.id}/readings/latest").json()["items"]
    assert [item["value"] for item in latest] == ["10.02"]
    board = mso.get("/api/v1/board").json()["items"]
    (row,) = [one for one in board if one["device"]["address"] == shared.own.address]
    assert row["point"]["name"] == "North kitchen"
    assert [item["value"] for item in row["readings"]] == ["10.02"]


def test_series_and_their_values(mso: TestClient[Litestar], shared: World) -> None:
    (series,) = mso.get(f"/api/v1/devices/{shared.own.device.id}/series").json()["items"]
    assert (series["quantity"], series["unit"], series["first_at"]) == ("volume", "m3", "2025-01-31T09:00:00Z")
    path = f"/api/v1/series/{series['id']}/values"

    def values(**query: object) -> list[str]:
        answer = mso.get(path, params={name: str(value) for name, value in query.items()})
        return [item["value"] for item in answer.json()["items"]]

    assert values() == ["10.00", "10.01", "10.02"]
    assert values(resolution=86_400) == ["10.02"]
    assert values(resolution=7200) == ["10.00", "10.02"]
    assert values(limit=2) == ["10.00", "10.01"]
    assert values(since="2025-01-31T10:30:00Z") == ["10.02"]
    for wrong in ("0", "-1", "1e12", "inf", "nan"):
        assert mso.get(path, params={"resolution": wrong}).status_code in (400, 422), wrong


def test_a_consumer_sees_the_own_time_only(world: World) -> None:
    with world.client(world.own.consumer) as client:
        path = f"/api/v1/devices/{world.own.device.id}/readings"
        assert len(client.get(path).json()["items"]) == 3
        boss = world.head_end.as_user(world.author)
        boss.end_occupancy(world.own.occupancy.id, NOW - timedelta(hours=1, minutes=30))
        assert [item["value"] for item in client.get(path).json()["items"]] == ["10.00", "10.01"]
        newest = world.head_end.audit.page(limit=1, user_id=world.own.consumer.id).items[0]
        assert (newest.action, newest.object, newest.personal) == ("read readings", f"device {world.own.device.id}", True)


# -- telegrams and alarms ----------------------------------------------------------------------------


def test_telegrams_the_newest_first(mso: TestClient[Litestar], shared: World) -> None:
    parts = walk(mso, f"/api/v1/devices/{shared.own.device.id}/telegrams?limit=2")
    assert [[item["access_number"] for item in part] for part in parts] == [[3, 2], [1]]
    assert parts[0][0]["rssi"] == -70.0
    frame = parts[0][0]["frame_id"]
    telegram = mso.get(f"/api/v1/telegrams/{frame}").json()
    assert telegram["ok"] is True
    assert telegram["address"]["identification"] == str(shared.own.number)
    assert telegram["records"][0]["value"] == 10.02
    anatomy = mso.get(f"/api/v1/telegrams/{frame}/anatomy").json()
    octets = "".join(
        segment["octets"]
        for section in anatomy["parts"][0]["sections"]
        for segment in sorted(section["segments"], key=lambda one: one["offset"])
    )
    assert octets == telegram["telegram"]


def test_alarms(world: World) -> None:
    alarm = world.own.fresh_alarm()
    with world.client(world.own.users["mso"]) as client:
        (item,) = client.get("/api/v1/alarms?state=raised&state=acknowledged").json()["items"]
        assert (item["id"], item["kind"], item["severity"], item["state"]) == (alarm, "leak", "critical", "raised")
        made = client.post(f"/api/v1/alarms/{alarm}/acknowledge").json()
        assert (made["state"], made["acknowledged_by"]) == ("acknowledged", world.own.users["mso"].id)
        assert client.post(f"/api/v1/alarms/{alarm}/acknowledge").status_code == 409
        assert client.get("/api/v1/alarms?state=raised").json()["items"] == []
        assert client.get(f"/api/v1/alarms?device_id={world.other.device.id}").status_code == 404
