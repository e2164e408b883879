"""Errors as answers: ``application/problem+json`` for programs, a page for people.

    OmsError, HTTPException, anything else  ->  Problem(type, title, status, detail, code, ...)  ->  JSON | page

Every problem carries a code of ``tables/faults.csv``. What we did wrong ourselves (status 500) is
logged in full and answered with nothing but its code. Source: RFC 9457, clause 3 (members of a problem).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from openmetering.errors import (
    DecodeError,
    EncodeError,
    ExchangeFailed,
    InputError,
    OmsError,
    ProtocolError,
    Refused,
    SecurityError,
    TransportError,
)

__all__ = [
    "API",
    "PROBLEM_JSON",
    "ErrorPage",
    "FieldFault",
    "Problem",
    "exception_handlers",
    "is_api",
    "problem_of",
    "problem_response",
]

log = logging.getLogger("openmetering.web")

API = "/api"  #: programs are served below this path
PROBLEM_JSON = "application/problem+json"

WebRequest = Request[object, object, State]


class FieldFault(msgspec.Struct, frozen=True):
    """What is wrong with one field or parameter of a request."""

    message: str
    key: str = ""
    source: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem after RFC 9457. ``code`` is stable, ``detail`` is for people, ``errors`` name single fields."""

    status: int
    title: str
    code: str
    type: str = "about:blank"
    detail: str = ""
    layer: str = ""
    offset: int | None = None
    errors: tuple[FieldFault, ...] = ()


#: makes a page of a problem for people; None where there are no pages
ErrorPage = Callable[[WebRequest, Problem], Response[str]]
AnyResponse = Response[str] | Response[Problem]
ExceptionHandler = Callable[[WebRequest, Exception], AnyResponse]

#: the answer to a fault of ours, the narrowest class first: what the caller gave, what is not there, what a peer did
_STATUS: tuple[tuple[type[OmsError], HTTPStatus], ...] = (
    (InputError, HTTPStatus.BAD_REQUEST),
    (DecodeError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (EncodeError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SecurityError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ProtocolError, HTTPStatus.CONFLICT),
    (Refused, HTTPStatus.CONFLICT),
    (ExchangeFailed, HTTPStatus.BAD_GATEWAY),
    (TransportError, HTTPStatus.SERVICE_UNAVAILABLE),
)

#: codes that say more than the class of their error
_CODES = {
    "access.denied": HTTPStatus.FORBIDDEN,
    "access.unknown": HTTPStatus.NOT_FOUND,
    "access.conflict": HTTPStatus.CONFLICT,
    "access.invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "address.invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "storage.conflict": HTTPStatus.CONFLICT,
    "login.failed": HTTPStatus.UNAUTHORIZED,
    "login.locked": HTTPStatus.TOO_MANY_REQUESTS,
}

_HTTP_CODES = {
    HTTPStatus.BAD_REQUEST: "http.request",
    HTTPStatus.UNAUTHORIZED: "http.sign_in",
    HTTPStatus.FORBIDDEN: "http.forbidden",
    HTTPStatus.NOT_FOUND: "http.not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "http.method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "http.too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "http.too_many",
}


def is_api(path: str) -> bool:
    """True for paths of programs: their errors are JSON and they are never sent to a form."""
    return path == API or path.startswith(API + "/")


def _field_faults(extra: object) -> tuple[FieldFault, ...]:
    if not isinstance(extra, list):
        return ()
    return tuple(
        FieldFault(*(str(getattr(part, "value", part)) for part in (item.get(name, "") for name in ("message", "key", "source"))))
        for item in extra
        if isinstance(item, dict)
    )


def _status_of(error: OmsError) -> HTTPStatus:
    found = _CODES.get(error.code)
    if found is not None:
        return found
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: Exception) -> Problem:
    """The problem that an exception is."""
    if isinstance(error, OmsError):
        status = _status_of(error)
        return Problem(status, status.phrase, error.code, f"{API}#{error.code}", error.message, error.layer, error.offset)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        status = HTTPStatus(error.status_code)
        code = _HTTP_CODES.get(status, "http.request")
        return Problem(status, status.phrase, code, f"{API}#{code}", error.detail, errors=_field_faults(error.extra))
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(status, status.phrase, "http.server", f"{API}#http.server", "The server failed; its log says why.")


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[Problem]:
    """A problem as an answer for programs."""
    more = {"WWW-Authenticate": 'Bearer realm="openmetering"'} if problem.status == HTTPStatus.UNAUTHORIZED else {}
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers={**(headers or {}), **more})


def exception_handlers(page: ErrorPage | None = None) -> dict[type[Exception] | int, ExceptionHandler]:
    """Handlers for everything that can be raised; ``page`` renders problems for people."""

    def handle(request: WebRequest, error: Exception) -> AnyResponse:
        path = request.url.path
        problem = problem_of(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("%s %s: %s", request.method, path, problem.code, exc_info=error)
        headers = dict(getattr(error, "headers", None) or {})
        if is_api(path) or page is None:
            return problem_response(problem, headers)
        response = page(request, problem)
        response.headers.update(headers)
        return response

    return {HTTPException: handle, OmsError: handle, Exception: handle}
