"""A visit: who asks, in which language and colours, and how a page becomes an answer.

request -> Visit(guarded head-end, words, theme) -> handler -> template -> HTML
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import jinja2
import msgspec
from jinja2.runtime import Context
from litestar import Request, Response
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.template.base import csrf_token

from openmetering.errors import InputError
from openmetering.interfaces.web.api.common import Session
from openmetering.interfaces.web.i18n import LOCALE_NAMES, LOCALES, Words, choose_locale
from openmetering.interfaces.web.pages import formats
from openmetering.interfaces.web.pages.assets import asset_link
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.model import User

if TYPE_CHECKING:
    from openmetering.services.headend.headend import HeadEnd

__all__ = [
    "THEMES",
    "Guest",
    "Html",
    "NavigationItem",
    "Notice",
    "Visit",
    "Visiting",
    "WebRequest",
    "keep",
    "own_path",
    "provide_guest",
    "provide_visit",
    "redirect",
]

WebRequest = Request[object, object, State]
Html = Response[str]

THEMES: Final = ("auto", "light", "dark")
_YEAR = 365 * 86_400


class NavigationItem(msgspec.Struct, frozen=True):
    """A line of the menu."""

    name: str
    link: str
    icon: str
    current: bool = False
    count: int = 0
    apart: bool = False


class Notice(msgspec.Struct, frozen=True):
    """A line above the page: what was done, or why not. ``tone``: good, warn, bad."""

    tone: str
    text: str


#: name, link, icon, what must be permitted
_MENU: Final = (
    ("overview", "/", "home", ("read", "nodes")),
    ("meters", "/meters", "meter", ("read", "devices")),
    ("places", "/places", "place", ("read", "tenants")),
    ("alarms", "/alarms", "alarm", ("read", "alarms")),
    ("jobs", "/jobs", "job", ("read", "jobs")),
    ("validation", "/validation", "good", ("read", "validation")),
    ("reports", "/reports", "import", ("read", "reports")),
    ("gateways", "/gateways", "gateway", ("read", "gateways")),
    ("keys", "/keys", "key", ("read", "keys")),
    ("users", "/users", "people", ("read", "users")),
    ("tenants", "/tenants", "tenant", ("write", "tenants")),
    ("webhooks", "/webhooks", "webhook", ("read", "webhooks")),
    ("audit", "/audit", "audit", ("read", "audit")),
)
_APART: Final = frozenset(("keys", "users", "api"))  #: the first of these that is shown begins what runs the system
#: pages that belong to a line of the menu which their address does not begin with
_BELONGS: Final = {"/points": "/places", "/import/devices": "/meters", "/import/keys": "/keys"}
_NO_FORM: Final = ("access.denied", "access.unknown")
_OPEN_LIMIT = 100  #: as many open alarms are counted for the menu


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openmetering.interfaces.web", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset_link
    environment.filters |= {"iso": formats.iso, "moment": _moment, "ago": _ago, "number": _number, "duration": _duration}
    return environment


def _of(context: Context) -> Visit:
    visit = context["page"]
    assert isinstance(visit, Visit)
    return visit


@jinja2.pass_context
def _moment(context: Context, at: datetime, day: bool = False) -> str:
    return formats.moment(at, _of(context).locale, day=day)


@jinja2.pass_context
def _ago(context: Context, at: datetime) -> str:
    visit = _of(context)
    return formats.ago(at, visit.now, visit.t)


@jinja2.pass_context
def _number(context: Context, value: object) -> str:
    return formats.number(str(value), _of(context).locale)


@jinja2.pass_context
def _duration(context: Context, seconds: float) -> str:
    return formats.duration(seconds, _of(context).t)


def own_path(text: str | None, otherwise: str = "/") -> str:
    """A path of this page, for a way back; anything that could lead elsewhere becomes ``otherwise``."""
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return otherwise
    return text


def redirect(path: str, **query: str) -> Html:
    """Go on with another page (303, so that reloading it repeats nothing)."""
    text = urlencode({name: value for name, value in query.items() if value})
    joined = path if not text else f"{path}{'&' if '?' in path else '?'}{text}"
    return Response("", status_code=HTTPStatus.SEE_OTHER, headers={"Location": joined})


def keep(name: str, value: str, *, secure: bool) -> Cookie:
    """A cookie of taste: language or colours."""
    return Cookie(key=name, value=value, max_age=_YEAR, path="/", httponly=True, samesite="lax", secure=secure)


class Visit:
    """One request. ``guarded`` is the head-end as the user sees it, None before login."""

    __slots__ = ("guarded", "now", "path", "request", "t", "theme")

    def __init__(self, request: WebRequest, guarded: Guarded | None, now: datetime) -> None:
        self.request = request
        self.guarded = guarded
        self.now = now
        self.path = request.url.path
        chosen = request.cookies.get("locale", "")
        if guarded is not None and guarded.user.locale in LOCALES:
            chosen = guarded.user.locale
        self.t = Words(chosen if chosen in LOCALES else choose_locale(request.headers.get("accept-language", "")))
        theme = request.cookies.get("theme", "auto")
        self.theme = theme if theme in THEMES else "auto"

    # -- for templates ------------------------------------------------------------------------

    @property
    def locale(self) -> str:
        """The language of the page."""
        return self.t.locale

    @property
    def other_locale(self) -> str:
        """The language that the button offers."""
        return next(locale for locale in LOCALES if locale != self.t.locale)

    @property
    def other_locale_name(self) -> str:
        """Its own name for itself."""
        return LOCALE_NAMES[self.other_locale]

    @property
    def next_theme(self) -> str:
        """The colours that the button offers."""
        return THEMES[(THEMES.index(self.theme) + 1) % len(THEMES)]

    def can(self, verb: str, resource: str) -> bool:
        """True if the user may do it to anything at all."""
        return self.guarded is not None and self.guarded.can(verb, resource)

    @property
    def session(self) -> Guarded:
        """The head-end of this user. Raises LookupError before login"""
        if self.guarded is None:
            raise LookupError("nobody is signed in")
        return self.guarded

    @property
    def user(self) -> User:
        """Who it is. Raises LookupError before login"""
        return self.session.user

    def number(self, value: object) -> str:
        """A number as people write it."""
        return formats.number(str(value), self.t.locale)

    @property
    def navigation(self) -> Sequence[NavigationItem]:
        """The menu of this user."""
        first = _BELONGS.get(self.path, "/" + self.path.split("/")[1])
        first = _BELONGS.get(first, first)
        shown = [entry[:3] for entry in _MENU if self.can(*entry[3])] + [("api", "/api", "code")]
        apart = next(name for name, _, _ in shown if name in _APART)
        return [
            NavigationItem(name, link, icon, link == first, self._open() if name == "alarms" else 0, name == apart)
            for name, link, icon in shown
        ]

    def _open(self) -> int:
        return len(self.session.alarms(states=("raised",), limit=_OPEN_LIMIT).items)

    @property
    def notice(self) -> Notice | None:
        """What the last step did, as the address says (a key of the catalogue and nothing else)."""
        done = self.request.query_params.get("done", "")
        return Notice("good", self.t(f"done.{done}")) if self.t.has(f"done.{done}") else None

    # -- the answer ---------------------------------------------------------------------------

    def render(self, template: str, view: object = None, *, status: int = HTTPStatus.OK, **more: object) -> Html:
        """The page as an answer."""
        text = (
            _environment()
            .get_template(template)
            .render(page=self, t=self.t, view=view, form_token=csrf_token({"request": self.request}), **more)
        )
        return Response(text, status_code=status, media_type="text/html; charset=utf-8")

    @property
    def is_part(self) -> bool:
        """True where the script of the page asks for a part of it (htmx)."""
        return self.request.headers.get("hx-request") == "true"

    def fault_text(self, error: InputError) -> str:
        """What is wrong with what was entered, in the language of the page where the catalogue has it.

        Raises the error itself where it is no matter of what was entered: denied, or not there
        """
        if error.code in _NO_FORM:
            raise error
        key = f"fault.{error.code}"
        return self.t(key) if self.t.has(key) else error.message


#: the visit of somebody who is signed in, for handlers
Visiting = NamedDependency[SkipValidation[Visit]]
#: the visit of anybody: nothing of the head-end is reached through it
Guest = NamedDependency[SkipValidation[Visit]]


def provide_visit(request: WebRequest, session: Session) -> Visit:
    """The visit of whoever is signed in."""
    return Visit(request, session, _now(request))


def provide_guest(request: WebRequest) -> Visit:
    """A visit before signing in."""
    return Visit(request, None, _now(request))


def _now(request: WebRequest) -> datetime:
    head_end: HeadEnd = request.app.state.head_end
    return head_end.now()
