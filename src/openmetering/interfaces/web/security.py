"""Who is asking: sessions of browsers, tokens of programs, forged forms, too many requests, headers.

    request -> limits of the address -> Authentication -> FormGuard -> route
                      429                    401             403

``Authorization: Bearer`` wins over the cookie. Only requests without it need the token of the form
(double submit: cookie and field or header ``X-CSRFToken``), because a browser adds cookies by itself and
never this header. Routes with ``opt={"public": True}`` are open to everybody and keep the form guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from litestar.concurrency import sync_to_thread
from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection, Request
from litestar.datastructures import Cookie, Headers, MutableScopeHeaders
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.middleware.base import DefineMiddleware
from litestar.middleware.csrf import CSRFMiddleware
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.stores.memory import MemoryStore

from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.headend.model import User

if TYPE_CHECKING:
    from typing import Any

    from litestar import Litestar
    from litestar.response import Response
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from openmetering.services.headend.headend import HeadEnd

__all__ = [
    "LIMITS",
    "PUBLIC",
    "Authentication",
    "Caller",
    "FormGuard",
    "bearer",
    "clear_session",
    "csrf_config",
    "forget_clients",
    "keep_session",
    "middleware",
    "secure_headers",
    "session_cookie",
]

PUBLIC = {"public": True}  #: ``opt`` of a route that needs nobody to be signed in
_PUBLIC = "public"
_BEARER = "bearer "
#: routes that take a password, and the link that counts once
_PASSWORD_PATHS = frozenset(("/login", "/account/password", "/api/v1/account/password"))
_ONCE = "/login/once/"
LIMITS = "rate_limit"  #: the store that counts requests
_SWEEP = 60.0

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
_HSTS = "max-age=31536000"


class Caller(msgspec.Struct, frozen=True):
    """Who is asking. ``scopes`` are those of a token, None for a session; ``secret`` is what the browser holds."""

    user: User
    scopes: frozenset[str] | None = None
    secret: str = ""

    @property
    def token(self) -> bool:
        """True for a program with a token."""
        return self.scopes is not None

    def __repr__(self) -> str:
        return f"<Caller {self.user.name!r} {'token' if self.token else 'session'}>"


# -- who ---------------------------------------------------------------------------------------------


def bearer(headers: Headers) -> str | None:
    """The token of a request; None where it has none."""
    text = headers.get("authorization", "")
    return text[len(_BEARER) :].strip() if text[: len(_BEARER)].lower() == _BEARER else None


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the user of a request by token or session."""

    def __init__(self, app: ASGIApp, head_end: HeadEnd, cookie: str) -> None:
        super().__init__(app, exclude_from_auth_key=_PUBLIC, exclude_http_methods=())
        self._head_end = head_end
        self._cookie = cookie

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """The caller. Raises NotAuthorizedException"""
        caller = await sync_to_thread(self._find, bearer(connection.headers), connection.cookies.get(self._cookie))
        if caller is None:
            raise NotAuthorizedException("sign in, or give a token that is valid")
        return AuthenticationResult(user=caller, auth="token" if caller.token else "session")

    def _find(self, token: str | None, secret: str | None) -> Caller | None:
        accounts = self._head_end.accounts
        if token is not None:
            program = accounts.token_user(token)
            return None if program is None else Caller(program[0], frozenset(program[1].scopes))
        person = accounts.session_user(secret) if secret else None
        return None if person is None or secret is None else Caller(person[0], None, secret)


# -- sessions of browsers ----------------------------------------------------------------------------


def session_cookie(settings: WebSettings) -> str:
    """The name of the cookie; with TLS a name that no other host or path can set."""
    return "__Host-openmetering" if settings.secure else "openmetering"


def keep_session(response: Response[Any], secret: str, settings: WebSettings) -> None:
    """Let the browser hold a session until it is closed; how long the session counts is known to the server only."""
    response.set_cookie(
        Cookie(
            key=session_cookie(settings),
            value=secret,
            path="/",
            secure=settings.secure,
            httponly=True,
            samesite="lax",
        )
    )


def clear_session(response: Response[Any], settings: WebSettings) -> None:
    """Let the browser forget its session."""
    response.set_cookie(
        Cookie(key=session_cookie(settings), value="", path="/", max_age=0, secure=settings.secure, httponly=True, samesite="lax")
    )


# -- forged forms ------------------------------------------------------------------------------------


class FormGuard(CSRFMiddleware):
    """The form guard of the framework; requests with a token of the API need none."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or raise PermissionDeniedException."""
        if scope.get("auth") == "token":
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def csrf_config(settings: WebSettings) -> CSRFConfig:
    """The cookie of forms; readable by scripts of the page, which send it back as ``X-CSRFToken``."""
    name = "__Host-openmetering-form" if settings.secure else "openmetering-form"
    return CSRFConfig(secret=settings.secret, cookie_name=name, cookie_secure=settings.secure, cookie_samesite="strict")


# -- too many requests -------------------------------------------------------------------------------


def _client(request: Request[Any, Any, Any]) -> str:
    return request.client.host if request.client else "-"


def _limit(name: str, per_minute: int, check: Callable[[Request[Any, Any, Any]], bool] | None = None) -> DefineMiddleware:
    """At most so many requests from one address, or so many of those that ``check`` finds."""
    config = RateLimitConfig(
        ("minute", per_minute),
        identifier_for_request=lambda request: f"{name} {_client(request)}",
        check_throttle_handler=check,
        set_rate_limit_headers=check is None,
    )
    return config.middleware


def _guesses(request: Request[Any, Any, Any]) -> bool:
    """True for requests that show a password or a one-time number and so could be used for guessing."""
    path = request.url.path
    return (request.method == "POST" and path in _PASSWORD_PATHS) or path.startswith(_ONCE)


async def _sweep(store: MemoryStore, pause: float = _SWEEP) -> None:
    while True:
        await asyncio.sleep(pause)
        await store.delete_expired()


@asynccontextmanager
async def forget_clients(app: Litestar) -> AsyncIterator[None]:
    """While the application runs: drop what was counted for clients that did not come again."""
    store = app.stores.get(LIMITS)
    assert isinstance(store, MemoryStore)
    task = asyncio.create_task(_sweep(store))
    try:
        yield
    finally:
        task.cancel()


def middleware(head_end: HeadEnd, settings: WebSettings) -> list[DefineMiddleware]:
    """All of it, in order; see the head of this module."""
    return [
        _limit("any", settings.requests_per_minute),
        _limit("password", settings.logins_per_minute, _guesses),
        DefineMiddleware(Authentication, head_end=head_end, cookie=session_cookie(settings)),
        DefineMiddleware(FormGuard, config=csrf_config(settings)),
    ]


# -- headers -----------------------------------------------------------------------------------------


def secure_headers(settings: WebSettings) -> Callable[[Message, Scope], Awaitable[None]]:
    """Adds the headers that every answer needs; what a route set itself stays."""
    headers = {**_HEADERS, **({"Strict-Transport-Security": _HSTS} if settings.secure else {})}

    async def add(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            found = MutableScopeHeaders.from_message(message)
            for name, value in headers.items():
                found.setdefault(name, value)

    return add
