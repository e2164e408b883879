"""Every route of the API with every role, on things of the own tenant and of another one.

What is expected comes from the table of rights alone: a role without the permission is refused (403), one with it for the
tenant or for its own gets its own (2xx) and finds nothing else (404), one with it for all gets everything.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from http import HTTPStatus

import msgspec
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from openmetering.interfaces.web.api import billing, data, devices, people, places, work
from openmetering.services.headend.access import METHODS
from openmetering.services.headend.model import User
from openmetering.services.headend.rights import PERMISSIONS, Permission
from tests.interfaces.web.world import KEY, PASSWORD, ROLES, START, Side, World
from tests.storage.postgres import Server, postgres_server

__all__ = ["postgres_server"]

ROUTES = {route.fn.__name__: route for group in (places, devices, data, work, people, billing) for route in group.ROUTES}
FROM = START.isoformat()


class Call(msgspec.Struct):
    """A request: path behind /api/v1, query, body."""

    path: str
    query: dict[str, object] = {}
    body: object = None


class Case(msgspec.Struct):
    """How a route is called on a side, and how its answer is judged.

    ``kind``: thing (of one tenant), list (of what is seen), all (belongs to nobody), own (of the account, not by token)
    ``more``: a permission that is needed on top
    """

    kind: str
    make: Callable[[World, Side], Call]
    more: str = ""


def thing(make: Callable[[Side], Call], more: str = "") -> Case:
    return Case("thing", lambda _, side: make(side), more)


def listed(path: str, **query: object) -> Case:
    return Case("list", lambda _world, _side: Call(path, query))


def shared_by_all(make: Callable[[World], Call], more: str = "") -> Case:
    return Case("all", lambda world, _: make(world), more)


def csv_of(side: Side) -> dict[str, object]:
    return {"csv": f"address,label\n{side.fresh_device().address},new label\n", "tenant_id": side.tenant.id}


def keys_of(world: World, side: Side) -> dict[str, object]:
    number = next(world.numbers)
    text = f"address,key\nELS-{number:08d}-33-03,{number + 7:032X}\n"
    return {"data": base64.b64encode(text.encode()).decode(), "tenant_id": side.tenant.id}


def _span() -> dict[str, object]:
    return {"since": FROM, "until": (START + timedelta(days=40)).isoformat()}


def _old_span() -> dict[str, object]:
    return {"since": "2001-01-01T00:00:00Z", "until": "2001-02-01T00:00:00Z"}


CASES: dict[str, Case] = {
    # places
    "list_tenants": listed("/tenants"),
    "add_tenant": shared_by_all(lambda world: Call("/tenants", body={"name": f"tenant {next(world.numbers)}"})),
    "overview": listed("/overview"),
    "list_nodes": listed("/nodes"),
    "add_node": Case(
        "thing",
        lambda world, side: Call("/nodes", body={"kind": "room", "name": f"r {next(world.numbers)}", "parent_id": side.unit.id}),
    ),
    "rename_node": thing(lambda side: Call(f"/nodes/{side.fresh_node().id}", body={"name": "renamed"})),
    "remove_node": thing(lambda side: Call(f"/nodes/{side.fresh_node().id}")),
    "list_points": thing(lambda side: Call("/points", {"node_id": side.unit.id})),
    "add_point": Case(
        "thing", lambda world, side: Call("/points", body={"node_id": side.unit.id, "name": f"p {next(world.numbers)}"})
    ),
    "remove_point": thing(lambda side: Call(f"/points/{side.fresh_point().id}")),
    "list_assignments": thing(lambda side: Call("/assignments", {"device_id": side.device.id})),
    "assign": thing(
        lambda side: Call(
            "/assignments",
            body={"device_id": side.fresh_device().id, "point_id": side.fresh_point().id, "valid_from": FROM},
        )
    ),
    "end_assignment": thing(
        lambda side: Call(f"/assignments/{side.fresh_assignment()}/end", body={"valid_to": "2025-01-30T00:00:00Z"})
    ),
    "list_occupancies": listed("/occupancies"),
    "add_occupancy": thing(
        lambda side: Call("/occupancies", body={"user_id": side.consumer.id, "node_id": side.fresh_node().id, "valid_from": FROM})
    ),
    "end_occupancy": thing(
        lambda side: Call(f"/occupancies/{side.fresh_occupancy()}/end", body={"valid_to": "2025-01-30T00:00:00Z"})
    ),
    "list_gateways": shared_by_all(lambda _: Call("/gateways")),
    "heard_by": Case("list", lambda world, _: Call(f"/gateways/{world.gateway.id}/devices")),
    # devices
    "list_devices": listed("/devices"),
    "register_device": Case(
        "thing",
        lambda world, side: Call(
            "/devices", body={"address": f"ELS-{40_000_000 + next(world.numbers)}-33-03", "tenant_id": side.tenant.id}
        ),
    ),
    "get_device": thing(lambda side: Call(f"/devices/{side.device.id}")),
    "get_device_by_address": thing(lambda side: Call(f"/devices/by-address/{side.address}")),
    "change_device": thing(lambda side: Call(f"/devices/{side.device.id}", body={"mode": "C1"})),
    "step_device": thing(lambda side: Call(f"/devices/{side.fresh_device().id}/step", body={"step": "retire"})),
    "receivers": thing(lambda side: Call(f"/devices/{side.device.id}/receivers")),
    "get_place": thing(lambda side: Call(f"/devices/{side.device.id}/place")),
    "preview_import": thing(lambda side: Call("/imports/devices/preview", body=csv_of(side))),
    "apply_import": thing(lambda side: Call("/imports/devices", body=csv_of(side))),
    "export_devices": listed("/exports/devices"),
    # data
    "list_readings": thing(lambda side: Call(f"/devices/{side.device.id}/readings")),
    "latest_readings": thing(lambda side: Call(f"/devices/{side.device.id}/readings/latest")),
    "board": listed("/board"),
    "list_series": thing(lambda side: Call(f"/devices/{side.device.id}/series")),
    "series_values": thing(lambda side: Call(f"/series/{side.series}/values", {"resolution": 3600})),
    "list_telegrams": thing(lambda side: Call(f"/devices/{side.device.id}/telegrams")),
    "get_telegram": thing(lambda side: Call(f"/telegrams/{side.frame}")),
    "explain_telegram": thing(lambda side: Call(f"/telegrams/{side.frame}/anatomy")),
    "list_alarms": listed("/alarms"),
    "acknowledge_alarm": thing(lambda side: Call(f"/alarms/{side.fresh_alarm()}/acknowledge")),
    # work
    "job_kinds": shared_by_all(lambda _: Call("/job-kinds")),
    "list_jobs": listed("/jobs"),
    "create_job": thing(
        lambda side: Call(
            "/jobs", body={"device_id": side.device.id, "kind": "disconnector", "parameters": {"state": "connected"}}
        ),
        "execute:key:20",
    ),
    "get_job": thing(lambda side: Call(f"/jobs/{side.fresh_job().id}")),
    "job_steps": thing(lambda side: Call(f"/jobs/{side.fresh_job().id}/steps")),
    "approve_job": thing(lambda side: Call(f"/jobs/{side.fresh_job().id}/approve"), "approve:key:20"),
    "cancel_job": thing(lambda side: Call(f"/jobs/{side.fresh_job().id}/cancel"), "execute:key:20"),
    "resume_job": thing(lambda side: Call(f"/jobs/{side.unknown_job()}/resume"), "execute:key:20"),
    "list_keys": listed("/keys"),
    "add_key": Case(
        "thing",
        lambda world, side: Call(
            "/keys",
            body={"address_pattern": f"ELS-{50_000_000 + next(world.numbers)}-33-03", "key": KEY, "tenant_id": side.tenant.id},
        ),
    ),
    "retire_key": thing(lambda side: Call(f"/keys/{side.fresh_key()}/retire")),
    "preview_keys": Case("thing", lambda world, side: Call("/imports/keys/preview", body=keys_of(world, side))),
    "import_keys": Case("thing", lambda world, side: Call("/imports/keys", body=keys_of(world, side))),
    "list_webhooks": listed("/webhooks"),
    "add_webhook": thing(
        lambda side: Call(
            "/webhooks",
            body={"url": "https://example.org/x", "events": ["alarm"], "secret": "s" * 20, "tenant_id": side.tenant.id},
        )
    ),
    "remove_webhook": thing(lambda side: Call(f"/webhooks/{side.fresh_webhook()}")),
    # billing
    "validate": thing(lambda side: Call("/validation/runs", body=_span() | {"tenant_id": side.tenant.id})),
    "list_runs": listed("/validation/runs"),
    "list_findings": thing(lambda side: Call("/validation/findings", {"point_id": side.point.id})),
    "list_versions": thing(lambda side: Call(f"/points/{side.point.id}/versions", _span())),
    "edit_value": thing(
        lambda side: Call(f"/points/{side.point.id}/versions", body={"at": FROM, "value": "1.5", "reason": "seen"})
    ),
    "get_point_data": thing(lambda side: Call(f"/points/{side.point.id}/agreed")),
    "set_point_data": thing(lambda side: Call(f"/points/{side.point.id}/agreed", body={"size": "Q3 2.5", "unit": "m3"})),
    "get_node_data": thing(lambda side: Call(f"/nodes/{side.unit.id}/agreed")),
    "set_node_data": thing(lambda side: Call(f"/nodes/{side.unit.id}/agreed", body={"area": 62.5, "usage": "flat"})),
    "get_report": thing(
        lambda side: Call("/reports", {"kind": "monthly", "node_id": side.unit.id, "day": (START + timedelta(days=40)).date()})
    ),
    "export_mscons": thing(
        lambda side: Call(
            "/exports/mscons",
            {"sender": "9900123000007", "recipient": "9900456000004", "node_id": side.unit.id, "day": "2025-01-31"},
        )
    ),
    "export_bved": thing(lambda side: Call("/exports/bved", _span() | {"customer": "0000004711", "node_id": side.unit.id})),
    "export_values": thing(lambda side: Call("/exports/values", _span() | {"tenant_id": side.tenant.id})),
    "list_schedules": listed("/report-schedules"),
    "add_schedule": thing(
        lambda side: Call(
            "/report-schedules",
            body={"report": "monthly", "format": "csv", "channel": "mail", "target": "a@example.org", "node_id": side.unit.id},
        )
    ),
    "remove_schedule": thing(lambda side: Call(f"/report-schedules/{side.fresh_schedule()}")),
    "get_retention": thing(lambda side: Call("/retention", {"tenant_id": side.tenant.id})),
    "set_retention": thing(lambda side: Call("/retention", body={"purpose": "raw", "days": 60, "tenant_id": side.tenant.id})),
    "erase": thing(lambda side: Call("/erasures", body=_old_span() | {"node_id": side.fresh_node().id})),
    "subject_access": Case("whose", lambda _, side: Call(f"/subjects/{side.consumer.id}")),
    # people
    "own_account": shared_by_all(lambda _: Call("/account")),
    "change_own_account": Case("own", lambda _world, _side: Call("/account", body={"locale": "de"})),
    "change_own_password": Case(
        "own", lambda _world, _side: Call("/account/password", body={"old": PASSWORD, "new": PASSWORD + "!"})
    ),
    "list_users": shared_by_all(lambda _: Call("/users")),
    "add_user": shared_by_all(
        lambda world: Call(
            "/users",
            body={"name": f"user {next(world.numbers)}", "password": PASSWORD, "role": "mso", "tenant_id": world.own.tenant.id},
        )
    ),
    "change_user": Case("all", lambda _, side: Call(f"/users/{side.user('msp').id}", body={"locale": "de"})),
    "set_password": Case("all", lambda _, side: Call(f"/users/{side.user('msp').id}/password", body={"password": PASSWORD})),
    "list_tokens": Case("whose", lambda _, side: Call("/tokens")),
    "add_token": shared_by_all(lambda _: Call("/tokens", body={"scopes": ["*"], "label": "test"})),
    "revoke_token": Case("whose", lambda _, side: Call("/tokens/")),
    "list_audit": shared_by_all(lambda _: Call("/audit")),
}


def method_of(name: str) -> str:
    (method,) = ROUTES[name].http_methods
    return str(getattr(method, "value", method))


def send(client: TestClient[Litestar], name: str, call: Call, headers: dict[str, str]) -> tuple[int, str]:
    answer = client.request(
        method_of(name),
        "/api/v1" + call.path,
        params={key: str(value) for key, value in call.query.items()},
        content=None if call.body is None else msgspec.json.encode(call.body),
        headers=headers,
    )
    return answer.status_code, answer.text


def scope_of(permission: str, role: str) -> str | None:
    verb, _, resource = permission.partition(":")
    return PERMISSIONS[Permission(verb, resource)].get(role) if permission else "all"


def expected(case: Case, needs: str, role: str, other: bool) -> tuple[int, ...]:
    """What must be answered: a status, or any success."""
    scope, more = scope_of(needs, role), scope_of(case.more, role)
    if case.kind == "own" or scope is None:
        return (HTTPStatus.FORBIDDEN,)
    seen = not other or scope == "all"
    if case.kind in ("thing", "whose") and not seen:
        # whoever may not do it at all may be told so before it is looked for
        return (HTTPStatus.NOT_FOUND,) if more is not None else (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN)
    if more is None:
        return (HTTPStatus.FORBIDDEN,)
    if case.kind == "thing" and other and more != "all" and case.more:
        return (HTTPStatus.NOT_FOUND,)
    return (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def shared(request: pytest.FixtureRequest) -> Iterator[World]:
    """The world of the matrix, with both kinds of database."""
    if request.param == "sqlite":
        made = World()
        yield made
        made.close()
        return
    server: Server = request.getfixturevalue("postgres_server")
    with server.database() as address:
        made = World(address)
        yield made
        made.close()


@pytest.fixture(scope="module")
def client(shared: World) -> Iterator[TestClient[Litestar]]:
    with TestClient(shared.app()) as made:
        yield made


@pytest.fixture(scope="module")
def programs(shared: World) -> dict[str, tuple[User, dict[str, str]]]:
    """A user of the own tenant for every role, with the headers of its program."""
    return {role: (user := shared.own.users[role], shared.bearer(user)) for role in ROLES}


def targets(world: World, name: str, case: Case, user: User, side: Side) -> Call:
    """The request; for things of a person the own ones are those of the user."""
    owner = user if side is world.own else side.users["msp"]
    if name == "subject_access":
        return Call(f"/subjects/{(user if user.role == 'consumer' and side is world.own else side.consumer).id}")
    if name == "list_tokens":
        return Call("/tokens", {"user_id": owner.id})
    if name == "revoke_token":
        return Call(f"/tokens/{side.fresh_token(owner)}")
    return case.make(world, side)


def test_every_route_is_in_the_matrix() -> None:
    assert set(CASES) == set(ROUTES)


def test_the_application_serves_these_routes_and_no_others(shared: World) -> None:
    served = {
        (route.path, method)
        for route in shared.app().routes
        if isinstance(route, HTTPRoute) and route.path.startswith("/api/v1")
        for method in route.methods
    }
    paths = {re.sub(r"\{(\w+):\w+\}", r"{\1}", f"/api/v1{path}") for route in ROUTES.values() for path in route.paths}
    assert {re.sub(r"\{(\w+):\w+\}", r"{\1}", path) for path, _ in served} == paths
    assert len([method for _, method in served if method != "OPTIONS"]) == len(ROUTES)


def test_every_permission_is_one_of_the_table() -> None:
    for route in ROUTES.values():
        needs = route.opt["needs"]
        assert not needs or Permission(*needs.split(":", 1)) in PERMISSIONS, route.fn.__name__


def name_of(route: HTTPRouteHandler) -> str:
    return str(route.fn.__name__)


def test_every_method_of_the_guard_has_a_route() -> None:
    """But for the rotation of the master key, which is done where the key is."""
    used = set()
    for route in ROUTES.values():
        names = set(route.fn.__code__.co_names)
        # of two that a route names, ``report`` is an attribute of the body as well
        found = names & set(METHODS) - ({"report"} if name_of(route) == "add_schedule" else set())
        for one in found:
            permission = str(METHODS[one].permission)
            assert route.opt["needs"] == permission, f"{route.fn.__name__} says {route.opt['needs']}, {one} needs {permission}"
        used |= found
    assert set(METHODS) - used == {"rotate_master", "move_device"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_route(name: str, shared: World, client: TestClient[Litestar], programs: dict[str, tuple[User, dict[str, str]]]) -> None:
    case, needs = CASES[name], ROUTES[name].opt["needs"]
    for role, (user, headers) in programs.items():
        for side in (shared.own, shared.other):
            other = side is shared.other
            call = targets(shared, name, case, user, side)
            status, text = send(client, name, call, headers)
            where = f"{role} {name} {call.path} of {side.name}: {status} {text[:200]}"
            assert status in expected(case, needs, role, other), where
            for secret in (KEY, "password_hash", "$argon2", '"hash"', "s" * 20):
                assert secret.lower() not in text.lower(), where
            if case.kind == "list" and status == HTTPStatus.OK and scope_of(needs, role) != "all":
                foreign = (shared.other.address, f"{shared.other.name} ", f'"tenant_id":{shared.other.tenant.id}')
                assert not any(word in text for word in foreign), where
                assert f'"device_id":{shared.other.device.id},' not in text, where
            if other and status >= HTTPStatus.BAD_REQUEST:
                assert shared.other.name not in text, where


@pytest.mark.parametrize("name", sorted(CASES))
def test_nobody_gets_nothing(name: str, shared: World, client: TestClient[Litestar]) -> None:
    call = targets(shared, name, CASES[name], shared.own.users["mso"], shared.own)
    for headers in ({}, {"Authorization": "Bearer oms_wrong"}, {"Authorization": "Basic YTpi"}):
        status, text = send(client, name, call, headers)
        assert status == HTTPStatus.UNAUTHORIZED, text
        assert msgspec.json.decode(text)["code"] == "http.sign_in"


@pytest.mark.parametrize("name", sorted(name for name in CASES if ROUTES[name].opt["needs"]))
def test_a_token_without_the_scope_is_refused(name: str, shared: World, client: TestClient[Litestar]) -> None:
    """An administrator may do everything; a token of an administrator for something else may not."""
    call = targets(shared, name, CASES[name], shared.author, shared.own)
    needs = ROUTES[name].opt["needs"]
    others = [str(one) for one in PERMISSIONS if str(one) != needs]
    status, text = send(client, name, call, shared.bearer(shared.author, *others))
    assert status == HTTPStatus.FORBIDDEN, text
    assert msgspec.json.decode(text)["code"] == "access.denied"


def test_refusals_are_in_the_audit_trail(shared: World, client: TestClient[Litestar]) -> None:
    consumer = shared.own.users["consumer"]
    status, _ = send(client, "list_keys", Call("/keys"), shared.bearer(consumer))
    assert status == HTTPStatus.FORBIDDEN
    newest = shared.head_end.audit.page(limit=1, user_id=consumer.id).items[0]
    assert (newest.action, newest.object, newest.detail) == ("denied", "keys", "read:keys")
