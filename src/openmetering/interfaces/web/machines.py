"""Routes for machines that nobody signs in for: health, metrics, and reports of gateways.

GET  /health                      200 or 503 and what is the matter, without anything personal
GET  /metrics                     Prometheus or OpenMetrics, by Accept; this machine only, or whoever has the token
POST /gateways/NAME/reports       a report of a gateway, its reply in the answer (see ``services.gatewayd.uplink``);
                                  "Authorization: Bearer ..." with the token of this very gateway
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from openmetering.interfaces.web.security import PUBLIC, bearer
from openmetering.services.gatewayd.messages import Reply, Report, read_report, written
from openmetering.services.headend.problems import invalid

__all__ = ["Health", "HealthOf", "machine_routes"]

AnyRequest = Request[Any, Any, Any]
_OPEN: Final = {**PUBLIC, "exclude_from_csrf": True}
_JSON: Final = "application/json"


class Health(msgspec.Struct, frozen=True):
    """How a program is. ``parts`` name what works and what does not, in a word or a sentence."""

    ok: bool
    parts: dict[str, str]


HealthOf = Callable[[], Health]
Exposition = Callable[[str], tuple[str, bytes]]


def _same(one: str | None, other: str) -> bool:
    """Compare secrets without telling by the time it takes where they differ."""
    return one is not None and hmac.compare_digest(_digest(one), _digest(other))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _from_here(request: AnyRequest) -> bool:
    """True for a program of this machine; what came through a proxy is not from here."""
    if request.client is None or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _health(health: HealthOf) -> HTTPRouteHandler:
    @get("/health", opt=_OPEN, sync_to_thread=True, include_in_schema=False)
    def show() -> Response[Health]:
        now = health()
        return Response(now, status_code=HTTP_200_OK if now.ok else HTTP_503_SERVICE_UNAVAILABLE, media_type=_JSON)

    return show


def _metrics(exposition: Exposition, token: str | None) -> HTTPRouteHandler:
    @get("/metrics", opt=_OPEN, sync_to_thread=True, include_in_schema=False)
    def show(request: AnyRequest) -> Response[bytes]:
        given = bearer(request.headers)
        allowed = _same(given, token) if token is not None and given is not None else _from_here(request)
        if not allowed:
            raise PermissionDeniedException("metrics are for programs of this machine, or with the token of the configuration")
        kind, octets = exposition(request.headers.get("accept", ""))
        return Response(octets, media_type=kind)

    return show


def _reports(handle: Callable[[Report], Reply], tokens: Mapping[str, str]) -> HTTPRouteHandler:
    @post("/gateways/{name:str}/reports", opt=_OPEN, status_code=HTTP_200_OK, sync_to_thread=True, include_in_schema=False)
    def take(request: AnyRequest, name: FromPath[str], body: RawBody) -> Response[bytes]:
        token = tokens.get(name)
        # an unknown gateway takes as long as a wrong token
        if not _same(bearer(request.headers), token or "") or token is None:
            raise NotAuthorizedException("this gateway needs its token")
        report = read_report(body)
        if report.gateway != name:
            raise invalid(f"a report of {report.gateway!r} on the path of {name!r}")
        return Response(written(handle(report)), media_type=_JSON)

    return take


def machine_routes(
    *,
    health: HealthOf,
    exposition: Exposition | None = None,
    metrics_token: str | None = None,
    handle: Callable[[Report], Reply] | None = None,
    gateway_tokens: Mapping[str, str] | None = None,
) -> list[HTTPRouteHandler]:
    """Routes for ``create_app(..., pages=...)``; metrics and reports only where somebody takes care of them."""
    routes = [_health(health)]
    if exposition is not None:
        routes.append(_metrics(exposition, metrics_token))
    if handle is not None and gateway_tokens:
        routes.append(_reports(handle, gateway_tokens))
    return routes
