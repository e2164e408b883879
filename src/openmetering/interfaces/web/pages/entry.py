"""The door: signing in and out, language and colours, and pages of what went wrong."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from litestar import Response, get, post

from openmetering.errors import InputError
from openmetering.interfaces.web.errors import Problem
from openmetering.interfaces.web.i18n import LOCALES
from openmetering.interfaces.web.pages.forms import Form, Posted
from openmetering.interfaces.web.pages.inputs import Secret, Text
from openmetering.interfaces.web.pages.visit import THEMES, Guest, Html, Visit, WebRequest, keep, own_path, redirect
from openmetering.interfaces.web.security import clear_session, keep_session, session_cookie
from openmetering.interfaces.web.settings import WebSettings

if TYPE_CHECKING:
    from openmetering.services.headend.headend import HeadEnd
    from openmetering.services.headend.model import User

__all__ = ["error_page", "login", "login_form", "login_once", "logout", "preferences", "renew_session"]

log = logging.getLogger("openmetering.web")

PUBLIC = {"public": True}


def _head_end(request: WebRequest) -> HeadEnd:
    found: HeadEnd = request.app.state.head_end
    return found


def _settings(request: WebRequest) -> WebSettings:
    found: WebSettings = request.app.state.settings
    return found


@get("/login", opt=PUBLIC, sync_to_thread=True)
def login_form(guest: Guest, next: Text = "/") -> Html:
    """The form."""
    return guest.render("login.html", next=own_path(next), name="", fault="")


@post("/login", opt=PUBLIC, sync_to_thread=True)
def login(guest: Guest, data: Posted) -> Html:
    """Sign in with name and password; which of both is wrong is not told."""
    form = Form(data)
    name, onward = form.text("name", longest=200), own_path(form.text("next"))
    head_end = _head_end(guest.request)
    try:
        user = head_end.accounts.login(name, form.secret("password"))
    except InputError as error:
        head_end.audit.note(None, "login failed", "user", name)
        fault = guest.fault_text(error)
        return guest.render("login.html", next=onward, name=name, fault=fault, status=HTTPStatus.UNAUTHORIZED)
    return _let_in(guest, user, onward, "password")


@get("/login/once/{secret:str}", opt=PUBLIC, sync_to_thread=True)
def login_once(guest: Guest, secret: Secret) -> Html:
    """Sign in with a number that counts once: the link that ``oms up`` prints."""
    try:
        user = _head_end(guest.request).accounts.take_login(secret)
    except InputError:
        fault = guest.t("login.once")
        return guest.render("login.html", next="/", name="", fault=fault, status=HTTPStatus.UNAUTHORIZED)
    return _let_in(guest, user, "/", "one-time link")


def _let_in(visit: Visit, user: User, onward: str, how: str) -> Html:
    """A new session, always with a new number; the one the browser had before ends."""
    request = visit.request
    head_end, settings = _head_end(request), _settings(request)
    old = request.cookies.get(session_cookie(settings))
    if old:
        head_end.accounts.end_session(old)
    _, secret = head_end.accounts.start_session(user)
    head_end.audit.note(user.id, "login", f"user {user.id}", how)
    response = redirect(onward)
    keep_session(response, secret, settings)
    return response


@post("/logout", opt=PUBLIC, sync_to_thread=True)
def logout(guest: Guest) -> Html:
    """Sign out."""
    request = guest.request
    head_end, settings = _head_end(request), _settings(request)
    secret = request.cookies.get(session_cookie(settings))
    if secret:
        known = head_end.accounts.session_user(secret)
        head_end.accounts.end_session(secret)
        if known is not None:
            head_end.audit.note(known[0].id, "logout", f"user {known[0].id}")
    response = redirect("/login")
    clear_session(response, settings)
    return response


@post("/preferences", opt=PUBLIC, sync_to_thread=True)
def preferences(guest: Guest, data: Posted) -> Html:
    """Another language or other colours; the language of somebody signed in is kept with the account."""
    form = Form(data)
    request = guest.request
    settings = _settings(request)
    response = redirect(own_path(form.text("back")))
    locale, theme = form.text("locale"), form.text("theme")
    if locale in LOCALES:
        response.set_cookie(keep("locale", locale, secure=settings.secure))
        secret = request.cookies.get(session_cookie(settings))
        known = _head_end(request).accounts.session_user(secret) if secret else None
        if known is not None:
            _head_end(request).as_user(known[0]).set_own_locale(locale)
    if theme in THEMES:
        response.set_cookie(keep("theme", theme, secure=settings.secure))
    return response


def error_page(request: WebRequest, problem: Problem) -> Response[str]:
    """A problem as a page; who must sign in first is led to the form and comes back afterwards."""
    visit = Visit(request, None, _head_end(request).now())
    if problem.status == HTTPStatus.UNAUTHORIZED and request.method in ("GET", "HEAD"):
        if visit.is_part:
            return Response("", status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": "/login"})
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return redirect("/login" if path == "/" else f"/login?next={quote(path, safe='')}")
    key = f"problem.{problem.status}"
    title = visit.t(key) if visit.t.has(key) else problem.title
    fault = f"fault.{problem.code}"
    text = visit.t(fault) if visit.t.has(fault) else problem.detail
    return visit.render("problem.html", title=title, text=text, code=problem.code, status=problem.status)


def renew_session(visit: Visit, response: Html) -> Html:
    """A new session for somebody who is signed in, e.g. after a new password has ended all others."""
    head_end, settings = _head_end(visit.request), _settings(visit.request)
    _, secret = head_end.accounts.start_session(visit.user)
    keep_session(response, secret, settings)
    return response
