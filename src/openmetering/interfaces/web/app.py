"""The web application: REST API, its help, and the pages, put together over one head-end.

    create_app(head_end, settings)      an ASGI application
    run(app, settings)                  serve it until SIGINT or SIGTERM

    /api/openapi.json   OpenAPI 3.1     /api   help     /api/v1/...   routes of programs
    everything else     pages

Handlers are synchronous and run in threads; only this door is asynchronous. ``app.state`` holds ``head_end`` and
``settings``; a handler asks for ``session`` and gets the guarded head-end of whoever is asking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import uvicorn
from litestar import Litestar, Response, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, Reference, SecurityScheme, Tag
from litestar.status_codes import HTTP_404_NOT_FOUND
from litestar.stores.memory import MemoryStore

from openmetering import __version__
from openmetering.interfaces.web.api import billing, data, devices, people, places, work
from openmetering.interfaces.web.api.common import ApiRequest
from openmetering.interfaces.web.api.description import Description
from openmetering.interfaces.web.api.help_page import HelpPage
from openmetering.interfaces.web.errors import API, ErrorPage, Problem, exception_handlers, problem_of, problem_response
from openmetering.interfaces.web.security import (
    LIMITS,
    PUBLIC,
    csrf_config,
    forget_clients,
    middleware,
    secure_headers,
    session_cookie,
)
from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.headend.guarded import Guarded

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from openmetering.services.headend.headend import HeadEnd

__all__ = ["VERSION", "create_app", "run", "server"]

VERSION = "v1"

_INTRODUCTION = """\
Devices, readings, alarms, jobs and keys of a head-end. All paths below are served to whoever has a token: sign in at the \
web page, or POST to /api/v1/tokens, and send it as "Authorization: Bearer ...". A token has scopes, which are permissions \
such as read:readings; it reaches no further than the account that it belongs to.

Lists come in parts: follow "next" until it is null. Times are UTC with their zone, values are exact decimal digits in a text.

What belongs to another tenant is answered like what does not exist (404)."""

_TAGS = {
    "account": "The own account.",
    "alarms": "What somebody should look at.",
    "audit": "Who did what, and who read personal data.",
    "devices": "Meters and other devices, their life cycle and reception.",
    "gateways": "What receives for the head-end.",
    "import": "Files of devices and keys, with preview.",
    "jobs": "Use cases carried out on devices, with approval by a second person.",
    "keys": "The key vault; keys are shown as fingerprints only.",
    "places": "The tree of sites, buildings, units and rooms; metering points and what measures them.",
    "privacy": "Retention, erasure, and what is known of a person.",
    "readings": "Values of devices with exact digits.",
    "reports": "Due dates, monthly information, consumption and others; exports; reports that go out by themselves.",
    "telegrams": "Telegrams as they were received, decoded and explained.",
    "tenants": "Whose installations these are.",
    "tokens": "Access for programs.",
    "validation": "Rules over the values, what they found, and versions of values.",
    "users": "Accounts of people and programs.",
    "webhooks": "Where events are posted to.",
}


def _session(request: ApiRequest) -> Guarded:
    """The guarded head-end of whoever is asking."""
    caller = request.user
    head_end: HeadEnd = request.app.state.head_end
    return head_end.as_user(caller.user, caller.scopes)


def _not_found(response: Response[object]) -> Response[object] | Response[Problem]:
    """The framework has a page of its own for unknown paths beside the description; answer like everywhere else."""
    return response if response.status_code != HTTP_404_NOT_FOUND else problem_response(problem_of(NotFoundException()))


def _openapi(settings: WebSettings) -> OpenAPIConfig:
    schemes: dict[str, SecurityScheme | Reference] = {
        "token": SecurityScheme(type="http", scheme="bearer", description="A token of the API"),
        "session": SecurityScheme(
            type="apiKey",
            name=session_cookie(settings),
            security_scheme_in="cookie",
            description=f"The session of the web page; changes need the header {csrf_config(settings).header_name} too",
        ),
    }
    return OpenAPIConfig(
        title="openmetering API",
        version=f"{VERSION} ({__version__})",
        description=_INTRODUCTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        components=Components(security_schemes=schemes),
        openapi_router=Router(API, route_handlers=[], opt=PUBLIC, include_in_schema=False, after_request=_not_found),
        render_plugins=[HelpPage(description := Description()), description],
    )


def create_app(
    head_end: HeadEnd,
    settings: WebSettings,
    *,
    pages: Sequence[ControllerRouterHandler] = (),
    error_page: ErrorPage | None = None,
) -> Litestar:
    """The application. ``pages`` are routes for people, ``error_page`` renders problems for them."""
    groups = (places, devices, data, work, people, billing)
    api = Router(f"{API}/{VERSION}", route_handlers=[route for group in groups for route in group.ROUTES])
    return Litestar(
        route_handlers=[api, *pages],
        dependencies={"session": Provide(_session, sync_to_thread=False)},
        middleware=middleware(head_end, settings),
        exception_handlers=exception_handlers(error_page),
        before_send=[secure_headers(settings)],
        openapi_config=_openapi(settings),
        request_max_body_size=settings.largest_body,
        state=State({"head_end": head_end, "settings": settings}),
        stores={LIMITS: MemoryStore()},
        lifespan=[forget_clients],
        logging_config=None,
        debug=False,
    )


def server(app: Litestar, settings: WebSettings) -> uvicorn.Server:
    """A server for the application; its ``run`` returns after SIGINT or SIGTERM, when open requests are answered."""
    tls = settings.tls
    if tls is not None:
        tls.check()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def run(app: Litestar, settings: WebSettings) -> None:
    """Serve until SIGINT or SIGTERM. Raises InputError (``web.tls``)"""
    server(app, settings).run()
