"""Sessions, tokens, forged forms, limits, headers: over the application as a browser and a program see it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus

import pytest
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.stores.memory import MemoryStore
from litestar.template.base import csrf_token
from litestar.testing import TestClient

from openmetering.interfaces.web.app import create_app
from openmetering.interfaces.web.errors import Problem, WebRequest
from openmetering.interfaces.web.security import (
    PUBLIC,
    Caller,
    _sweep,
    clear_session,
    csrf_config,
    keep_session,
    session_cookie,
)
from openmetering.interfaces.web.settings import WebSettings
from tests.interfaces.web.world import SECRET, World


@get("/form", opt=PUBLIC, sync_to_thread=False)
def show_form(request: Request[object, object, State]) -> str:
    return csrf_token({"request": request})


@post("/form", sync_to_thread=False)
def take_form(request: Request[Caller, object, State]) -> str:
    return request.user.user.name


@post("/login", opt=PUBLIC, sync_to_thread=False)
def sign_in(request: Request[object, object, State]) -> Response[str]:
    head_end = request.app.state.head_end
    user = head_end.accounts.find(int(request.query_params["user"]))
    _, secret = head_end.accounts.start_session(user)
    response = Response("in")
    keep_session(response, secret, request.app.state.settings)
    return response


@post("/logout", sync_to_thread=False)
def sign_out(request: Request[Caller, object, State]) -> Response[str]:
    request.app.state.head_end.accounts.end_session(request.user.secret)
    response = Response("out")
    clear_session(response, request.app.state.settings)
    return response


@get("/broken", opt=PUBLIC, sync_to_thread=False)
def broken() -> str:
    raise RuntimeError("the password is swordfish")


def page(_: WebRequest, problem: Problem) -> Response[str]:
    return Response(f"<p>{problem.code}</p>", status_code=problem.status, media_type="text/html")


def browser(world: World, **change: object) -> TestClient[Litestar]:
    settings = WebSettings(**{"secret": SECRET, **change})  # type: ignore[arg-type]
    app = create_app(world.head_end, settings, pages=[show_form, take_form, sign_in, sign_out, broken], error_page=page)
    return TestClient(app, base_url="https://testserver.local" if settings.secure else "http://testserver.local")


@pytest.fixture
def client(world: World) -> Iterator[TestClient[Litestar]]:
    with browser(world) as made:
        yield made


def enter(client: TestClient[Litestar], world: World, role: str = "mso") -> dict[str, str]:
    """Sign in; the header that forms need."""
    form = {"X-CSRFToken": client.get("/form").text}
    assert client.post(f"/login?user={world.own.users[role].id}", headers=form).status_code == HTTPStatus.CREATED
    return form


# -- sessions ----------------------------------------------------------------------------------------


def test_a_session_is_let_in_and_ends(client: TestClient[Litestar], world: World) -> None:
    assert client.get("/api/v1/account").status_code == HTTPStatus.UNAUTHORIZED
    form = enter(client, world)
    answer = client.get("/api/v1/account")
    assert answer.json()["user"]["name"] == world.own.users["mso"].name
    kept = client.cookies["openmetering"]
    assert client.post("/logout", headers=form).text == "out"
    assert "openmetering" not in client.cookies
    client.cookies.set("openmetering", kept)
    assert client.get("/api/v1/account").status_code == HTTPStatus.UNAUTHORIZED


def test_a_session_ends_by_itself(client: TestClient[Litestar], world: World) -> None:
    enter(client, world)
    for _ in range(10):
        world.clock.now += timedelta(hours=7)
        assert client.get("/api/v1/account").status_code == HTTPStatus.OK
    world.clock.now += timedelta(hours=9)
    assert client.get("/api/v1/account").status_code == HTTPStatus.UNAUTHORIZED


def test_a_disabled_user_is_out_at_once(client: TestClient[Litestar], world: World) -> None:
    enter(client, world)
    bearer = world.bearer(world.own.users["mso"])
    world.head_end.as_user(world.author).change_user(world.own.users["mso"].id, disabled=True)
    assert client.get("/api/v1/account").status_code == HTTPStatus.UNAUTHORIZED
    assert client.get("/api/v1/account", headers=bearer).status_code == HTTPStatus.UNAUTHORIZED


def test_the_cookie_of_a_session(client: TestClient[Litestar], world: World) -> None:
    form = {"X-CSRFToken": client.get("/form").text}
    text = client.post(f"/login?user={world.author.id}", headers=form).headers["set-cookie"].lower()
    assert text.startswith("openmetering=")
    assert "httponly" in text
    assert "samesite=lax" in text
    assert "path=/" in text
    assert "secure" not in text
    assert "domain" not in text


def test_cookies_under_tls_are_bound_to_host_and_tls(world: World) -> None:
    assert session_cookie(WebSettings(secret=SECRET, behind_tls=True)) == "__Host-openmetering"
    with browser(world, behind_tls=True) as client:
        answer = client.get("/form")
        form_cookie = answer.headers["set-cookie"].lower()
        assert form_cookie.startswith("__host-openmetering-form=")
        assert "secure" in form_cookie
        assert "samesite=strict" in form_cookie
        text = client.post(f"/login?user={world.author.id}", headers={"X-CSRFToken": answer.text}).headers["set-cookie"].lower()
        assert text.startswith("__host-openmetering=")
        assert "secure" in text
        assert "max-age=31536000" in client.get("/form").headers["strict-transport-security"]


def test_the_secret_of_a_session_shows_nowhere(client: TestClient[Litestar], world: World) -> None:
    enter(client, world)
    caller = Caller(world.author, None, client.cookies["openmetering"])
    assert client.cookies["openmetering"] not in repr(caller)
    assert repr(caller) == "<Caller 'author' session>"
    assert repr(Caller(world.author, frozenset())) == "<Caller 'author' token>"


# -- tokens ------------------------------------------------------------------------------------------


def test_a_token_is_let_in_until_it_expires_or_is_revoked(client: TestClient[Litestar], world: World) -> None:
    accounts, user = world.head_end.accounts, world.own.users["msp"]
    _, first = accounts.add_token(user.id, ("read:devices",), world.clock.now + timedelta(hours=1))
    second, text = accounts.add_token(user.id, ("read:devices",), None)

    def status(token: str) -> int:
        return client.get("/api/v1/devices", headers={"Authorization": f"bearer {token}"}).status_code

    assert (status(first), status(text)) == (200, 200)
    world.clock.now += timedelta(hours=2)
    assert (status(first), status(text)) == (401, 200)
    accounts.revoke_token(second.id)
    assert status(text) == 401


def test_the_token_counts_more_than_the_cookie(client: TestClient[Litestar], world: World) -> None:
    enter(client, world, "mso")
    msp = world.own.users["msp"]
    assert client.get("/api/v1/account", headers=world.bearer(msp)).json()["user"]["id"] == msp.id
    assert client.get("/api/v1/account", headers={"Authorization": "Bearer oms_no"}).status_code == 401


def test_a_token_may_do_what_its_scopes_say_and_no_more(client: TestClient[Litestar], world: World) -> None:
    headers = world.bearer(world.own.users["mso"], "read:devices")
    assert client.get("/api/v1/devices", headers=headers).status_code == HTTPStatus.OK
    answer = client.get(f"/api/v1/devices/{world.own.device.id}/readings", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.FORBIDDEN, "access.denied")
    assert client.get("/api/v1/account", headers=headers).json()["permissions"] == ["read:devices"]


def test_a_token_makes_no_wider_token_and_changes_no_account(client: TestClient[Litestar], world: World) -> None:
    headers = world.bearer(world.own.users["mso"], "write:tokens", "read:devices")
    for scopes, status in ((["*"], 403), (["read:readings"], 403), (["read:devices"], 201)):
        assert client.post("/api/v1/tokens", headers=headers, json={"scopes": scopes}).status_code == status
    assert client.patch("/api/v1/account", headers=headers, json={"locale": "de"}).status_code == HTTPStatus.FORBIDDEN


# -- forged forms ------------------------------------------------------------------------------------


def test_a_form_needs_its_token(client: TestClient[Litestar], world: World) -> None:
    form = enter(client, world)
    name = world.own.users["mso"].name
    assert client.post("/form", headers=form).text == name
    assert client.post("/form", data={"_csrf_token": form["X-CSRFToken"]}).text == name
    for headers in ({}, {"X-CSRFToken": "0" * 128}, {"X-CSRFToken": secrets.token_hex(64)}):
        answer = client.post("/form", headers=headers)
        assert (answer.status_code, answer.text) == (HTTPStatus.FORBIDDEN, "<p>http.forbidden</p>")


def test_the_token_of_another_browser_does_not_count(client: TestClient[Litestar], world: World) -> None:
    enter(client, world)
    with browser(world) as other:
        foreign = other.get("/form").text
    assert client.post("/form", headers={"X-CSRFToken": foreign}).status_code == HTTPStatus.FORBIDDEN


def test_a_token_signed_with_another_secret_does_not_count(client: TestClient[Litestar], world: World) -> None:
    enter(client, world)
    with browser(world, secret="f" * 32) as other:
        foreign = other.get("/form").text
    client.cookies.set("openmetering-form", foreign)
    assert client.post("/form", headers={"X-CSRFToken": foreign}).status_code == HTTPStatus.FORBIDDEN


def test_signing_in_needs_the_token_of_its_form(client: TestClient[Litestar], world: World) -> None:
    assert client.post(f"/login?user={world.author.id}").status_code == HTTPStatus.FORBIDDEN


def test_the_api_with_a_cookie_is_a_form_and_with_a_token_is_none(client: TestClient[Litestar], world: World) -> None:
    form = enter(client, world)
    body = {"kind": "site", "name": "new"}
    assert client.post("/api/v1/nodes", json=body).status_code == HTTPStatus.FORBIDDEN
    assert client.post("/api/v1/nodes", json=body, headers=form).status_code == HTTPStatus.CREATED
    client.cookies.clear()
    bearer = world.bearer(world.own.users["mso"])
    assert client.post("/api/v1/nodes", json={**body, "name": "x"}, headers=bearer).status_code == HTTPStatus.CREATED


def test_only_people_change_their_account(client: TestClient[Litestar], world: World) -> None:
    form = enter(client, world)
    assert client.patch("/api/v1/account", json={"locale": "de"}, headers=form).json()["locale"] == "de"
    wrong = client.post("/api/v1/account/password", json={"old": "not it at all", "new": "another password"}, headers=form)
    assert (wrong.status_code, wrong.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "login.failed")
    right = client.post(
        "/api/v1/account/password", json={"old": "correct horse battery", "new": "another password"}, headers=form
    )
    assert right.status_code == HTTPStatus.NO_CONTENT
    assert world.head_end.accounts.login(world.own.users["mso"].name, "another password").id == world.own.users["mso"].id
    assert client.get("/api/v1/account").status_code == HTTPStatus.UNAUTHORIZED  # all sessions ended


# -- too many ----------------------------------------------------------------------------------------


def test_requests_of_an_address_are_limited(world: World) -> None:
    with browser(world, requests_per_minute=5) as client:
        answers = [client.get("/api/openapi.json") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["ratelimit-remaining"] == "4"
    assert int(answers[-1].headers["ratelimit-reset"]) <= 60
    assert answers[-1].json()["code"] == "http.too_many"


def test_passwords_are_limited_more(world: World) -> None:
    with browser(world, logins_per_minute=3) as client:
        form = {"X-CSRFToken": client.get("/form").text}
        statuses = [client.post(f"/login?user={world.author.id}", headers=form).status_code for _ in range(4)]
        assert statuses == [201, 201, 201, 429]
        assert client.get("/form").status_code == HTTPStatus.OK
        assert client.post("/api/v1/account/password", headers=form, json={}).status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert client.post("/form", headers=form).status_code == HTTPStatus.CREATED


def test_what_was_counted_is_forgotten() -> None:
    async def go() -> list[bytes | None]:
        store = MemoryStore()
        await store.set("old", b"1", expires_in=-1)
        await store.set("new", b"2", expires_in=60)
        task = asyncio.create_task(_sweep(store, 0.001))
        await asyncio.sleep(0.05)
        task.cancel()
        return [await store.get("new"), b"".join(key.encode() for key in store._store)]

    assert asyncio.run(go()) == [b"2", b"new"]


# -- headers and errors ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/form", "/api", "/api/openapi.json", "/api/v1/devices", "/api/nothing", "/nothing", "/broken"])
def test_every_answer_has_the_headers(client: TestClient[Litestar], path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers
    assert "server" not in headers


def test_our_own_faults_are_logged_and_not_told(client: TestClient[Litestar], caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/broken")
    assert (answer.status_code, answer.text) == (HTTPStatus.INTERNAL_SERVER_ERROR, "<p>http.server</p>")
    assert "swordfish" in caplog.text


def test_people_get_pages_and_programs_get_problems(client: TestClient[Litestar]) -> None:
    assert client.get("/nothing").text == "<p>http.not_found</p>"
    assert client.post("/form").text == "<p>http.sign_in</p>"
    for path in ("/api/nothing", "/api/v1/nothing", "/api/v2/devices"):
        answer = client.get(path)
        assert answer.status_code == HTTPStatus.NOT_FOUND
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "status": 404, "title": "Not Found", "code": "http.not_found", "type": "/api#http.not_found", "detail": "Not Found",
        }  # fmt: skip


def test_who_is_not_known_is_told_how(client: TestClient[Litestar]) -> None:
    answer = client.get("/api/v1/devices")
    assert answer.headers["www-authenticate"] == 'Bearer realm="openmetering"'
    assert answer.json()["code"] == "http.sign_in"


def test_bodies_that_are_too_large_are_refused(world: World) -> None:
    with browser(world, largest_body=1000) as client:
        bearer = world.bearer(world.own.users["mso"])
        answer = client.post("/api/v1/imports/devices", headers=bearer, json={"csv": "x" * 2000})
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "http.too_large")


def test_the_name_of_the_header_of_forms() -> None:
    assert csrf_config(WebSettings(secret=SECRET)).header_name == "x-csrftoken"
