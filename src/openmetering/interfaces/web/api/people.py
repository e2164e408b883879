"""Routes for the own account, users, tokens, the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar.params import JSONBody, QueryParameter

from openmetering.interfaces.web.api.common import (
    LINE,
    ApiRequest,
    Cursor,
    Id,
    Limit,
    Line,
    Listing,
    Name,
    Number,
    OptionalId,
    Session,
    Time,
    change,
    create,
    listing,
    maybe_utc,
    perform,
    read,
    remove,
    whole,
)
from openmetering.services.headend.model import AuditEntry, Page, Token, User
from openmetering.services.headend.problems import denied
from openmetering.storage.model import Role

__all__ = [
    "ROUTES",
    "AddToken",
    "AddUser",
    "ChangeOwn",
    "ChangeUser",
    "NewToken",
    "OwnAccount",
    "OwnPassword",
    "SetPassword",
    "TokenView",
    "UserView",
]

Password = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Locale = Literal["en", "de"]


class UserView(msgspec.Struct, frozen=True):
    """A user; hashes of passwords are not shown."""

    id: int
    name: str
    role: str
    tenant_id: int | None
    locale: str
    disabled: bool

    @classmethod
    def of(cls, user: User) -> UserView:
        """What of a user is shown."""
        return cls(user.id, user.name, user.role, user.tenant_id, user.locale, user.disabled)


class OwnAccount(msgspec.Struct, frozen=True):
    """Who is asking, and what they may do: permissions such as ``read:readings``."""

    user: UserView
    permissions: tuple[str, ...]


class ChangeOwn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The language of the pages."""

    locale: Locale


class OwnPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The old and the new password."""

    old: Password
    new: Password

    def __repr__(self) -> str:
        return "<OwnPassword>"


class AddUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new user."""

    name: Name
    password: Password
    role: Role
    tenant_id: Number | None = None
    locale: Locale = "en"

    def __repr__(self) -> str:
        return f"<AddUser {self.name!r} role={self.role}>"


class ChangeUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out or null stays as it is."""

    role: Role | None = None
    tenant_id: Number | None = None
    locale: Locale | None = None
    disabled: bool | None = None


class SetPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password."""

    password: Password

    def __repr__(self) -> str:
        return "<SetPassword>"


class TokenView(msgspec.Struct, frozen=True):
    """A token without its text. ``scopes`` are permissions such as ``read:readings``, ``read:*`` or ``*``."""

    id: int
    user_id: int
    scopes: tuple[str, ...]
    expires: datetime | None
    label: str
    last_used: datetime | None

    @classmethod
    def of(cls, token: Token) -> TokenView:
        """What of a token is shown."""
        return cls(token.id, token.user_id, token.scopes, token.expires, token.label, token.last_used)


class AddToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new token of the own account; it reaches no further than the account."""

    scopes: tuple[Name, ...]
    expires: Time | None = None
    label: Line = ""


class NewToken(msgspec.Struct, frozen=True):
    """A new token; ``text`` is shown this once and goes into ``Authorization: Bearer``."""

    token: TokenView
    text: str

    def __repr__(self) -> str:
        return f"<NewToken {self.token.id}>"


def _in_person(request: ApiRequest) -> None:
    """The account itself is changed by people who signed in, not by a token that they gave away."""
    if request.user.token:
        raise denied("change", "the account with a token")


# -- the own account ---------------------------------------------------------------------------------


@read("/account", "", tag="account")
def own_account(session: Session) -> OwnAccount:
    """Who is asking, and what they may do."""
    return OwnAccount(UserView.of(session.user), tuple(map(str, session.rights.permissions())))


@change("/account", "", tag="account")
def change_own_account(request: ApiRequest, session: Session, data: JSONBody[ChangeOwn]) -> UserView:
    """Choose the language of the pages; not with a token."""
    _in_person(request)
    return UserView.of(session.set_own_locale(data.locale))


@perform("/account/password", "", tag="account", status_code=204)
def change_own_password(request: ApiRequest, session: Session, data: JSONBody[OwnPassword]) -> None:
    """Choose another password; not with a token."""
    _in_person(request)
    session.change_own_password(data.old, data.new)


# -- users -------------------------------------------------------------------------------------------


@read("/users", "read:users", tag="users")
def list_users(request: ApiRequest, session: Session, cursor: Cursor = None, limit: Limit = 100) -> Listing[UserView]:
    """All users."""
    found = session.users(cursor or 0, limit)
    return listing(request, Page(tuple(map(UserView.of, found.items)), found.after))


@create("/users", "write:users", tag="users")
def add_user(session: Session, data: JSONBody[AddUser]) -> UserView:
    """Add a user."""
    return UserView.of(session.add_user(data.name, data.password, data.role, data.tenant_id, data.locale))


@change("/users/{user_id:int}", "write:users", tag="users")
def change_user(session: Session, user_id: Id, data: JSONBody[ChangeUser]) -> UserView:
    """Change role, tenant or language of a user, or disable the account.

    The user is signed out by another role and by being disabled. The last administrator stays.
    """
    return UserView.of(session.change_user(user_id, data.role, data.tenant_id, data.locale, data.disabled))


@perform("/users/{user_id:int}/password", "write:users", tag="users", status_code=204)
def set_password(session: Session, user_id: Id, data: JSONBody[SetPassword]) -> None:
    """Set the password of a user."""
    session.set_password(user_id, data.password)


# -- tokens ------------------------------------------------------------------------------------------


@read("/tokens", "read:tokens", tag="tokens")
def list_tokens(session: Session, user_id: OptionalId = None) -> Listing[TokenView]:
    """The own tokens, or those of another user for who may see them."""
    return whole(map(TokenView.of, session.tokens(user_id)))


@create("/tokens", "write:tokens", tag="tokens")
def add_token(session: Session, data: JSONBody[AddToken]) -> NewToken:
    """Make a token for the own account."""
    token, text = session.add_token(data.scopes, maybe_utc(data.expires), data.label)
    return NewToken(TokenView.of(token), text)


@remove("/tokens/{token_id:int}", "write:tokens", tag="tokens")
def revoke_token(session: Session, token_id: Id) -> None:
    """End a token."""
    session.revoke_token(token_id)


# -- audit -------------------------------------------------------------------------------------------


@read("/audit", "read:audit", tag="audit")
def list_audit(
    request: ApiRequest,
    session: Session,
    user_id: OptionalId = None,
    thing: Annotated[
        str | None, QueryParameter(max_length=120, pattern=LINE, required=False, description="`device 7`, `user 2`")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Listing[AuditEntry]:
    """The audit trail, the newest first."""
    return listing(request, session.audit(cursor, limit, user_id, thing))


ROUTES = (
    own_account, change_own_account, change_own_password, list_users, add_user, change_user, set_password, list_tokens, add_token,
    revoke_token, list_audit,
)  # fmt: skip
