"""The guarded head-end: users, tokens, the audit trail."""

from __future__ import annotations

from datetime import datetime

from openmetering.services.headend.access import Guard, needs
from openmetering.services.headend.model import AuditEntry, Page, Token, User
from openmetering.services.headend.problems import denied, login_failed, unknown
from openmetering.services.headend.rights import PERMISSIONS, Permission, Scope

__all__ = ["People"]


class People(Guard):
    """Who works with the head-end, and what was done. Hashes of passwords never leave: ``password_hash`` is empty."""

    # -- users ------------------------------------------------------------------------------------

    @needs("read", "users")
    def users(self, _scope: Scope, after: int = 0, limit: int = 100) -> Page[User]:
        """All users by number."""
        found = self._head.accounts.users(after, limit)
        return Page(tuple(_shown(user) for user in found.items), found.after)

    @needs("write", "users")
    def add_user(
        self, _scope: Scope, name: str, password: str, role: str, tenant_id: int | None = None, locale: str = "en"
    ) -> User:
        """A new user. Raises InputError (``access.conflict``, ``access.invalid``, ``access.unknown``)"""
        if tenant_id is not None and not self._head.registry.has_tenant(tenant_id):
            raise unknown("tenant", tenant_id)
        with self._head.writing():
            made = self._head.accounts.add(name, password, role, tenant_id, locale)
            # no name: the trail cannot be changed, and a name may have to be erased
            self.note("add user", f"user {made.id}", f"as {role}")
        return _shown(made)

    @needs("write", "users")
    def change_user(
        self,
        _scope: Scope,
        user_id: int,
        role: str | None = None,
        tenant_id: int | None = None,
        locale: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Another role, tenant or language, or an end to the account; None leaves a thing as it is.

        The last administrator stays. A user who is disabled or gets another role is logged out.
        """
        if tenant_id is not None and not self._head.registry.has_tenant(tenant_id):
            raise unknown("tenant", tenant_id)
        with self._head.writing():
            made = self._head.accounts.change(user_id, role=role, tenant_id=tenant_id, locale=locale, disabled=disabled)
            changes = {"role": role, "tenant": tenant_id, "locale": locale, "disabled": disabled}
            words = ", ".join(f"{name} {value}" for name, value in changes.items() if value is not None)
            self.note("change user", f"user {user_id}", words)
        return _shown(made)

    @needs("write", "users")
    def set_password(self, _scope: Scope, user_id: int, password: str) -> None:
        """A new password for somebody; ends the sessions and opens an account that was locked."""
        with self._head.writing():
            self._head.accounts.set_password(user_id, password)
            self.note("set password", f"user {user_id}")

    def change_own_password(self, old: str, new: str) -> None:
        """A new password for oneself; needs no right, but the old password. Raises InputError (``login.failed``)"""
        if not self._head.accounts.is_password(self.user.id, old):
            self.note("denied", "change_own_password", "wrong password")
            raise login_failed()
        with self._head.writing():
            self._head.accounts.set_password(self.user.id, new)
            self.note("set password", f"user {self.user.id}")

    def set_own_locale(self, locale: str) -> User:
        """The language of the pages; needs no right."""
        with self._head.writing():
            self.user = self._head.accounts.change(self.user.id, locale=locale)
        return _shown(self.user)

    # -- tokens -----------------------------------------------------------------------------------

    @needs("read", "tokens")
    def tokens(self, scope: Scope, user_id: int | None = None) -> tuple[Token, ...]:
        """Tokens without their hashes: the own ones, or those of another user for who may see them."""
        wanted = self._whose(scope, user_id)
        return tuple(Token(one.id, one.user_id, "", one.scopes, one.expires, one.label, one.last_used)
                     for one in self._head.accounts.tokens(wanted))  # fmt: skip

    @needs("write", "tokens")
    def add_token(
        self, _scope: Scope, scopes: tuple[str, ...], expires: datetime | None = None, label: str = ""
    ) -> tuple[Token, str]:
        """A new token for oneself, and its text, which is shown this once. A token reaches no further than its user.

        Raises InputError (``access.denied``) for scopes that the user does not have, ``access.invalid`` for unknown ones
        """
        for one in scopes:
            self._may_give(one)
        with self._head.writing():
            made, text = self._head.accounts.add_token(self.user.id, scopes, expires, label)
            self.note("add token", f"token {made.id}", " ".join(scopes))
        return Token(made.id, made.user_id, "", made.scopes, made.expires, made.label), text

    @needs("write", "tokens")
    def revoke_token(self, scope: Scope, token_id: int) -> None:
        """End a token. Raises InputError (``access.unknown``)"""
        token = self._head.accounts.find_token(token_id)
        if token is None or (scope.kind != "all" and token.user_id != self.user.id):
            raise unknown("token", token_id)
        with self._head.writing():
            self._head.accounts.revoke_token(token_id)
            self.note("revoke token", f"token {token_id}", f"of user {token.user_id}")

    def _whose(self, scope: Scope, user_id: int | None) -> int:
        if user_id is None or user_id == self.user.id:
            return self.user.id
        if scope.kind != "all":
            raise unknown("user", user_id)
        return user_id

    def _may_give(self, text: str) -> None:
        if text == "*" or text.endswith(":*"):
            if self.rights.limited:
                raise denied("give", text)
            return
        verb, _, resource = text.partition(":")
        if Permission(verb, resource) not in PERMISSIONS or not self.can(verb, resource):
            raise denied("give", text)

    # -- audit ------------------------------------------------------------------------------------

    @needs("read", "audit")
    def audit(
        self, _scope: Scope, before: int | None = None, limit: int = 100, user_id: int | None = None, thing: str | None = None
    ) -> Page[AuditEntry]:
        """The audit trail, the newest first; ``thing`` as in the entries: ``device 7``, ``user 2``."""
        return self._head.audit.page(before=before, limit=limit, user_id=user_id, thing=thing)


def _shown(user: User) -> User:
    return User(user.id, user.name, "", user.role, user.tenant_id, user.locale, user.disabled)
