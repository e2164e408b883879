"""Every page with every role and another tenant's things as the target; nobody is led to the door."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from openmetering.interfaces.web.app import create_app
from openmetering.interfaces.web.pages import error_page, page_routes
from openmetering.interfaces.web.security import csrf_config, session_cookie
from openmetering.services.headend.model import User
from tests.interfaces.web.world import ROLES, SECRET, Side, World

EVERYBODY = frozenset(("/login", "/login/once/{secret}", "/logout", "/preferences", "/static/{name}"))
STREAMS = frozenset(("/live",))  # never ends; it names what changed and says nothing of it
OF_THE_SYSTEM = frozenset(("/gateways/{gateway_id}",))  # gateways belong to no tenant
WIDE = frozenset(("admin", "auditor"))
REFUSED = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def make_app(world: World) -> Litestar:
    return create_app(world.head_end, world.settings, pages=page_routes(), error_page=error_page)


def routes() -> list[tuple[str, str]]:
    world = World()
    try:
        found = [
            (method, re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path))
            for route in make_app(world).routes
            if isinstance(route, HTTPRoute) and not route.path.startswith("/api")
            for method in route.methods
            if method != "OPTIONS"
        ]
    finally:
        world.close()
    return sorted(found)


ROUTES = routes()
GUARDED = [one for one in ROUTES if one[1] not in EVERYBODY]


def named(part: str) -> str:
    """A parameter in the name of a test."""
    return part.replace("/", " ").strip() or "start"


@pytest.fixture(scope="module")
def client(shared: World) -> Iterator[TestClient[Litestar]]:
    with TestClient(make_app(shared)) as made:
        made.follow_redirects = False
        yield made


@pytest.fixture(scope="module")
def cookies(shared: World) -> dict[str, str]:
    """A session for every role of the own tenant."""
    return {role: shared.head_end.accounts.start_session(shared.own.users[role])[1] for role in ROLES}


def numbers(world: World, side: Side) -> dict[str, object]:
    return {
        "device_id": side.device.id,
        "frame_id": side.frame,
        "alarm_id": alarm.id
        if (alarm := next(iter(world.head_end.alarms.open_of(side.device.id)), None))
        else side.fresh_alarm(),
        "job_id": side.fresh_job().id,
        "gateway_id": world.gateway.id,
        "key_id": side.key.id,
        "node_id": side.unit.id,
        "point_id": side.point.id,
        "assignment_id": side.assignment.id,
        "occupancy_id": side.occupancy.id,
        "webhook_id": side.webhook,
        "user_id": side.users["msp"].id,
        "token_id": side.token.id,
        "schedule_id": side.fresh_schedule(),
    }


def state_of(world: World, side: Side) -> list[object]:
    """What a stranger could have changed."""
    head = world.head_end
    head.registry.forget()
    return [
        head.registry.find_device(side.device.id),
        head.registry.assignments(device_id=side.device.id),
        head.registry.nodes(side.tenant.id),
        head.registry.points([node.id for node in head.registry.nodes(side.tenant.id)]).items,
        head.registry.occupancies(node_id=side.unit.id),
        [one.id for one in head.webhooks.all(side.tenant.id)],
        head.registry.device_ids(side.tenant.id),
        head.alarms.open_of(side.device.id),
        [(one.id, one.state) for one in head.jobs.page(device_id=side.device.id, limit=500).items],
        [(one.id, one.state) for one in head.vault.keys(tenant_id=side.tenant.id).items],
        [head.accounts.find(user.id) for user in side.users.values()],
        head.accounts.find_token(side.token.id),
    ]


def visit(client: TestClient[Litestar], method: str, path: str, cookie: str | None, world: World) -> tuple[int, str, str]:
    client.cookies.clear()
    if cookie is not None:
        client.cookies.set(session_cookie(world.settings), cookie)
    data = {}
    if method == "POST":
        client.get("/login")
        data = {"_csrf_token": client.cookies[csrf_config(world.settings).cookie_name], "step": "retire", "name": "changed"}
    answer = client.request(method, path, data=data or None)
    return answer.status_code, answer.text, answer.headers.get("location", "")


@pytest.mark.parametrize(("method", "path"), GUARDED, ids=named)
def test_nobody_is_led_to_the_door(client: TestClient[Litestar], shared: World, method: str, path: str) -> None:
    where = path.format(**numbers(shared, shared.own))
    status, text, location = visit(client, method, where, None, shared)
    if method == "GET":
        assert (status, location.partition("?")[0]) == (HTTPStatus.SEE_OTHER, "/login")
    else:
        assert status == HTTPStatus.UNAUTHORIZED
    assert shared.own.name not in text


@pytest.mark.parametrize(("method", "path"), [one for one in GUARDED if one[1] not in STREAMS], ids=named)
def test_what_belongs_to_another_tenant_is_neither_shown_nor_changed(
    client: TestClient[Litestar], shared: World, cookies: dict[str, str], method: str, path: str
) -> None:
    foreign = shared.other
    where = path.format(**numbers(shared, foreign))
    before = state_of(shared, foreign)
    for role in ROLES:
        if role in WIDE:
            continue
        status, text, location = visit(client, method, where, cookies[role], shared)
        what = f"{role} {method} {where}: {status} {location}"
        assert status < HTTPStatus.INTERNAL_SERVER_ERROR, what
        if "{" in path and path not in OF_THE_SYSTEM:
            assert status in (*REFUSED, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY), what
        for word in (foreign.address, str(foreign.number), f"{foreign.name} "):
            assert word not in text, what
    assert state_of(shared, foreign) == before


@pytest.mark.parametrize(("method", "path"), [one for one in GUARDED if one[0] == "GET" and one[1] not in STREAMS], ids=named)
def test_the_own_things_are_shown_to_who_may_see_them(
    client: TestClient[Litestar], shared: World, cookies: dict[str, str], method: str, path: str
) -> None:
    where = path.format(**numbers(shared, shared.own))
    seen = {role: visit(client, method, where, cookies[role], shared)[0] for role in ROLES}
    assert set(seen.values()) <= {HTTPStatus.OK, HTTPStatus.SEE_OTHER, *REFUSED}, seen
    assert HTTPStatus.OK in seen.values() or HTTPStatus.SEE_OTHER in seen.values(), seen


@pytest.mark.parametrize(("method", "path"), [one for one in GUARDED if one[0] == "POST"], ids=named)
def test_a_form_without_its_token_does_nothing(
    client: TestClient[Litestar], shared: World, cookies: dict[str, str], method: str, path: str
) -> None:
    before = state_of(shared, shared.own)
    where = path.format(**{**numbers(shared, shared.own), "job_id": 1})
    client.cookies.clear()
    client.cookies.set(session_cookie(shared.settings), cookies["admin"])
    before = state_of(shared, shared.own)
    assert client.request(method, where, data={"name": "changed"}).status_code == HTTPStatus.FORBIDDEN
    assert state_of(shared, shared.own) == before


def test_the_secret_of_the_pages_shows_nowhere(client: TestClient[Litestar], shared: World, cookies: dict[str, str]) -> None:
    user: User = shared.own.users["mso"]
    for path in ("/", "/login", "/account"):
        _, text, _ = visit(client, "GET", path, cookies["mso"], shared)
        assert SECRET not in text
        assert cookies["mso"] not in text
        assert user.password_hash not in text
