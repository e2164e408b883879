"""What all routes of the API share: types of parameters, pages of lists, and how a route is declared.

    @read("/devices", "read:devices", tag="devices")
    def list_devices(request: ApiRequest, session: Session, cursor: Cursor = None, limit: Limit = 100) -> Listing[Device]:
        \"\"\"Devices by number.\"\"\"

The first paragraph of the docstring is the summary in OpenAPI, the rest its description. The permission is written
into the description (``security``); the guard of the head-end alone decides.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter, SkipValidation

from openmetering.interfaces.web.errors import PROBLEM_JSON, Problem
from openmetering.interfaces.web.security import Caller
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.model import Page
from openmetering.services.headend.problems import invalid

__all__ = [
    "ApiRequest",
    "Cursor",
    "Id",
    "Limit",
    "Line",
    "Listing",
    "Moment",
    "Name",
    "Number",
    "OptionalId",
    "Session",
    "Time",
    "change",
    "create",
    "listing",
    "maybe_utc",
    "next_path",
    "perform",
    "read",
    "remove",
    "utc",
    "whole",
]

T = TypeVar("T")

LARGEST_ID = 2**53 - 1  #: the largest integer that every reader of JSON keeps

ApiRequest = Request[Caller, object, State]

#: the guarded head-end of whoever is asking
Session = NamedDependency[SkipValidation[Guarded]]

Id = Annotated[int, PathParameter(ge=1, le=LARGEST_ID)]
OptionalId = Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID, required=False)]
Cursor = Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID, required=False, description="`cursor` of the page before")]
Limit = Annotated[int, QueryParameter(ge=1, le=500, description="How many at most")]
Moment = Annotated[datetime | None, QueryParameter(required=False, description="Time with its zone: 2025-01-31T12:00:00Z")]

#: for bodies: numbers, and one line of text without control characters (PostgreSQL knows no NUL in a text)
Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_ID)]
#: a time with its zone, checked when it is decoded
Time = Annotated[datetime, msgspec.Meta(tz=True)]
LINE = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=LINE)]
Line = Annotated[str, msgspec.Meta(max_length=400, pattern=LINE)]


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list. ``next`` is the path of the next part and ``cursor`` what it differs by; both are null at the end."""

    items: tuple[T, ...]
    cursor: str | None = None
    next: str | None = None


def next_path(request: ApiRequest, cursor: str | int) -> str:
    """The path of the next part: the same question behind a cursor."""
    query = [(name, value) for name, value in parse_qsl(request.url.query, keep_blank_values=True) if name != "cursor"]
    return f"{request.url.path}?{urlencode([*query, ('cursor', cursor)])}"


def listing(request: ApiRequest, page: Page[T]) -> Listing[T]:
    """A page of the head-end with the path of the next one."""
    if page.after is None:
        return Listing(page.items)
    return Listing(page.items, str(page.after), next_path(request, page.after))


def whole(items: Iterable[T]) -> Listing[T]:
    """A list that comes in one part."""
    return Listing(tuple(items))


def utc(moment: datetime) -> datetime:
    """A time of a caller in UTC. Raises InputError (``access.invalid``) for one without zone or outside the calendar"""
    if moment.tzinfo is None:
        raise invalid("a time needs its zone, such as 2025-01-31T12:00:00Z")
    if not 1900 <= moment.year <= 9998:
        raise invalid("a time is between the years 1900 and 9998")
    return moment.astimezone(UTC)


def maybe_utc(moment: datetime | None) -> datetime | None:
    """The same where there may be none."""
    return None if moment is None else utc(moment)


# -- declaring routes --------------------------------------------------------------------------------

_PROBLEMS = {
    400: "The request is not understood",
    401: "Nobody is signed in",
    403: "The role or the scopes of the token do not allow it",
    404: "There is no such thing, or it belongs to others",
    409: "It contradicts what is there",
    413: "The body is too large",
    422: "A value cannot be used",
    429: "Too many requests",
    503: "A part of the head-end is not available",
}
_RESPONSES = {
    status: ResponseSpec(Problem, media_type=PROBLEM_JSON, description=text, generate_examples=False)
    for status, text in _PROBLEMS.items()
}


def _declare(
    kind: type[HTTPRouteHandler], path: str, needs: str, tag: str, more: dict[str, Any]
) -> Callable[..., HTTPRouteHandler]:
    def declare(function: Callable[..., object]) -> HTTPRouteHandler:
        head, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
        scopes = [needs] if needs else []
        return kind(
            path,
            summary=" ".join(head.split()).rstrip("."),
            description=" ".join(rest.split()) or None,
            operation_id=function.__name__,
            tags=[tag],
            security=[{"token": scopes}, {"session": scopes}],
            responses=_RESPONSES,
            raises=(),
            sync_to_thread=True,
            opt={"needs": needs},
            **more,
        )(function)

    return declare


def read(path: str, needs: str, *, tag: str, **more: Any) -> Callable[..., HTTPRouteHandler]:
    """A route that shows something; ``needs`` is the permission, empty where none is needed."""
    return _declare(get, path, needs, tag, more)


def create(path: str, needs: str, *, tag: str, **more: Any) -> Callable[..., HTTPRouteHandler]:
    """A route that makes something (201)."""
    return _declare(post, path, needs, tag, more)


def perform(path: str, needs: str, *, tag: str, **more: Any) -> Callable[..., HTTPRouteHandler]:
    """A route that does something to what is there (200)."""
    return _declare(post, path, needs, tag, {"status_code": 200, **more})


def change(path: str, needs: str, *, tag: str, **more: Any) -> Callable[..., HTTPRouteHandler]:
    """A route that changes what is named (200)."""
    return _declare(patch, path, needs, tag, more)


def remove(path: str, needs: str, *, tag: str, **more: Any) -> Callable[..., HTTPRouteHandler]:
    """A route that takes something away (204)."""
    return _declare(delete, path, needs, tag, more)
