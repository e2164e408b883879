"""Accounts: passwords, sessions of browsers, tokens of programs, one-time logins.

    password     argon2id; five wrong ones in a row lock the account for a minute, each further one twice as long, an hour
                 at most. A name that does not exist takes as long and is answered like a wrong password
    session      a random number in the browser, its SHA-256 here; ends after eight hours without use or seven days
    token        the same for programs, with scopes, ``oms_`` in front so that scanners of leaked secrets find it
    one-time     a random number that opens one session, kept in memory only

Source: RFC 9106 (argon2id, parameters of the library's low-memory profile).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from openmetering.errors import InputError
from openmetering.services.headend.model import ROLES, Page, Token, User, WebSession
from openmetering.services.headend.problems import conflict, invalid, locked, login_failed, unknown
from openmetering.storage import account_rows, tables
from openmetering.storage.database import Database

__all__ = ["AccountRules", "Accounts"]

_TOKEN_MARK: Final = "oms_"
_SECRET_OCTETS: Final = 32
_LONGEST: Final = 256
_TOUCH: Final = timedelta(minutes=1)  #: the last use of a session or token is written down this exactly
_LOCALES: Final = ("en", "de")


class AccountRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths and times, all in seconds but for ``shortest`` (characters of a password) and ``attempts``."""

    shortest: int = 10
    attempts: int = 5
    lock: float = 60.0
    longest_lock: float = 3600.0
    idle: float = 8 * 3600.0
    session: float = 7 * 86_400.0
    one_time: float = 900.0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Accounts:
    """Users and how they show who they are."""

    __slots__ = ("_clock", "_database", "_decoy", "_hasher", "_lock", "_one_time", "rules")

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        rules: AccountRules | None = None,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self.rules = rules or AccountRules()
        self._hasher = hasher or PasswordHasher()
        self._decoy = ""
        self._one_time: dict[str, tuple[int, datetime]] = {}
        self._lock = threading.Lock()

    # -- users ----------------------------------------------------------------------------------

    def find(self, user_id: int) -> User | None:
        """A user by number."""
        with self._database.reading() as connection:
            return account_rows.users.get(connection, user_id)

    def named(self, name: str) -> User | None:
        """A user by name."""
        with self._database.reading() as connection:
            return account_rows.user_of_name(connection, name)

    def users(self, after: int | None = None, limit: int = 100) -> Page[User]:
        """All users by number."""
        with self._database.reading() as connection:
            return account_rows.users.page(connection, after=after, limit=limit)

    def count(self) -> int:
        """How many users there are."""
        with self._database.reading() as connection:
            return account_rows.users.count(connection)

    def add(self, name: str, password: str, role: str, tenant_id: int | None = None, locale: str = "en") -> User:
        """A new user; everybody but administrators and auditors needs a tenant.

        Raises InputError (``access.invalid``, ``access.conflict``)
        """
        name = name.strip()
        if not name or len(name) > _LONGEST or not name.isprintable():
            raise invalid("a user needs a name that can be printed")
        _check_role(role, tenant_id)
        _check_locale(locale)
        hashed = self._hasher.hash(self._checked(password, name))
        with self._database.transaction() as connection:
            if account_rows.user_of_name(connection, name) is not None:
                raise conflict(f"there is a user {name} already")
            return account_rows.users.add(connection, User(0, name, hashed, role, tenant_id, locale), self._clock())

    def change(
        self,
        user_id: int,
        *,
        role: str | None = None,
        tenant_id: int | None = None,
        locale: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change what is not None. Raises InputError (``access.unknown``, ``access.invalid``, ``access.conflict``)"""
        with self._database.transaction() as connection:
            user = account_rows.users.get(connection, user_id)
            if user is None:
                raise unknown("user", user_id)
            values: dict[str, object] = {"role": role, "tenant_id": tenant_id, "locale": locale, "disabled": disabled}
            values = {name: value for name, value in values.items() if value is not None}
            made = msgspec.structs.replace(user, **values)
            _check_role(made.role, made.tenant_id)
            _check_locale(made.locale)
            if user.role == "admin" and not user.disabled and (made.role != "admin" or made.disabled):
                table = tables.users
                others = account_rows.users.count(
                    connection, table.c.role == "admin", table.c.disabled.is_(False), table.c.id != user_id
                )
                if not others:
                    raise conflict("the last administrator must stay one")
            if made.disabled or made.role != user.role or made.tenant_id != user.tenant_id:
                account_rows.end_sessions(connection, user_id)
            if values:
                account_rows.users.change(connection, user_id, **values)
            return made

    def set_password(self, user_id: int, password: str) -> None:
        """A new password; all sessions end, a lock is opened. Raises InputError (``access.unknown``, ``access.invalid``)"""
        user = self.find(user_id)
        if user is None:
            raise unknown("user", user_id)
        hashed = self._hasher.hash(self._checked(password, user.name))
        with self._database.transaction() as connection:
            account_rows.users.change(connection, user_id, password_hash=hashed)
            account_rows.forget_failures(connection, user_id)
            account_rows.end_sessions(connection, user_id)

    def _checked(self, password: str, name: str) -> str:
        if not self.rules.shortest <= len(password) <= _LONGEST:
            raise invalid(f"a password has at least {self.rules.shortest} characters and at most {_LONGEST}")
        if password.casefold() == name.casefold() or len(set(password)) < 4:
            raise invalid("this password is too easy to guess")
        return password

    # -- passwords ------------------------------------------------------------------------------

    def login(self, name: str, password: str) -> User:
        """Who has this name and password. Raises InputError (``login.failed``, ``login.locked``)"""
        user = self.named(name.strip())
        if user is None or user.disabled:
            self._decoy = self._decoy or self._hasher.hash(secrets.token_hex(16))
            self._verify(self._decoy, password)
            raise login_failed()
        now = self._clock()
        with self._database.reading() as connection:
            _, until = account_rows.failed_logins(connection, user.id)
        if until is not None and now < until:
            raise locked((until - now).total_seconds())
        if not self._verify(user.password_hash, password):
            self._note_failure(user.id, now)
            raise login_failed()
        with self._database.transaction() as connection:
            account_rows.forget_failures(connection, user.id)
            if self._hasher.check_needs_rehash(user.password_hash):
                account_rows.users.change(connection, user.id, password_hash=self._hasher.hash(password))
        return user

    def is_password(self, user_id: int, password: str) -> bool:
        """True if it is the user's password; wrong ones count like those of a login. Raises InputError (``login.locked``)"""
        user = self.find(user_id)
        if user is None:
            return False
        try:
            self.login(user.name, password)
        except InputError as error:
            if error.code == "login.failed":
                return False
            raise
        return True

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password[: _LONGEST + 1])
        except (VerificationError, InvalidHashError):
            return False

    def _note_failure(self, user_id: int, now: datetime) -> None:
        rules = self.rules
        with self._database.transaction() as connection:
            failures, _ = account_rows.failed_logins(connection, user_id)
            over = failures + 1 - rules.attempts
            seconds = 0.0 if over < 0 else min(rules.longest_lock, rules.lock * 2.0 ** min(over, 16))
            account_rows.note_failure(connection, user_id, now + timedelta(seconds=seconds) if seconds else None)

    # -- sessions -------------------------------------------------------------------------------

    def start_session(self, user: User) -> tuple[WebSession, str]:
        """A session and the number that the browser keeps."""
        now, secret = self._clock(), secrets.token_urlsafe(_SECRET_OCTETS)
        session = WebSession(0, user.id, _digest(secret), now, now + timedelta(seconds=self.rules.session), now)
        with self._database.transaction() as connection:
            return account_rows.sessions.add(connection, session, now), secret

    def session_user(self, secret: str) -> tuple[User, WebSession] | None:
        """Whose session a number is; None if it is nobody's or its time is over."""
        now = self._clock()
        with self._database.reading() as connection:
            session = account_rows.session_of_hash(connection, _digest(secret))
            user = None if session is None else account_rows.users.get(connection, session.user_id)
        if session is None or user is None or user.disabled or now >= session.expires:
            return None
        if now - session.last_used >= timedelta(seconds=self.rules.idle):
            return None
        if now - session.last_used >= _TOUCH:
            with self._database.transaction() as connection:
                account_rows.sessions.change(connection, session.id, last_used=now)
        return user, session

    def end_session(self, secret: str) -> None:
        """Log out."""
        with self._database.transaction() as connection:
            session = account_rows.session_of_hash(connection, _digest(secret))
            if session is not None:
                account_rows.sessions.remove(connection, session.id)

    def end_sessions(self, user_id: int) -> int:
        """Log a user out everywhere; returns how many sessions there were."""
        with self._database.transaction() as connection:
            return account_rows.end_sessions(connection, user_id)

    # -- one-time logins ------------------------------------------------------------------------

    def offer_login(self, user_id: int) -> str:
        """A number that opens one session of a user within a quarter of an hour, in this process."""
        secret = secrets.token_urlsafe(_SECRET_OCTETS)
        now = self._clock()
        with self._lock:
            self._one_time = {key: entry for key, entry in self._one_time.items() if entry[1] > now}
            self._one_time[_digest(secret)] = (user_id, now + timedelta(seconds=self.rules.one_time))
        return secret

    def take_login(self, secret: str) -> User:
        """The user of such a number, once. Raises InputError (``login.failed``)"""
        with self._lock:
            user_id, until = self._one_time.pop(_digest(secret), (None, None))
        user = None if user_id is None or until is None or self._clock() >= until else self.find(user_id)
        if user is None or user.disabled:
            raise login_failed()
        return user

    # -- tokens ---------------------------------------------------------------------------------

    def tokens(self, user_id: int) -> tuple[Token, ...]:
        """The tokens of a user."""
        with self._database.reading() as connection:
            return tuple(account_rows.tokens.all(connection, tables.tokens.c.user_id == user_id))

    def find_token(self, token_id: int) -> Token | None:
        """A token by number."""
        with self._database.reading() as connection:
            return account_rows.tokens.get(connection, token_id)

    def add_token(self, user_id: int, scopes: tuple[str, ...], expires: datetime | None, label: str = "") -> tuple[Token, str]:
        """A token and its text. Raises InputError (``access.invalid``) without scopes or with a time that is over"""
        now = self._clock()
        if not scopes:
            raise invalid("a token needs at least one scope, such as read:readings")
        if expires is not None and expires <= now:
            raise invalid("the token would have expired already")
        text = _TOKEN_MARK + secrets.token_urlsafe(_SECRET_OCTETS)
        with self._database.transaction() as connection:
            token = Token(0, user_id, _digest(text), tuple(dict.fromkeys(scopes)), expires, label)
            return account_rows.tokens.add(connection, token, now), text

    def revoke_token(self, token_id: int) -> bool:
        """End a token; False if there was none."""
        with self._database.transaction() as connection:
            return account_rows.tokens.remove(connection, token_id)

    def token_user(self, text: str) -> tuple[User, Token] | None:
        """Whose token a text is; None if it is nobody's or its time is over."""
        if not text.startswith(_TOKEN_MARK):
            return None
        now = self._clock()
        with self._database.reading() as connection:
            token = account_rows.token_of_hash(connection, _digest(text))
            user = None if token is None else account_rows.users.get(connection, token.user_id)
        if token is None or user is None or user.disabled or (token.expires is not None and now >= token.expires):
            return None
        if token.last_used is None or now - token.last_used >= _TOUCH:
            with self._database.transaction() as connection:
                account_rows.tokens.change(connection, token.id, last_used=now)
        return user, token

    def purge(self) -> int:
        """Take away what has expired; returns how much."""
        with self._database.transaction() as connection:
            return account_rows.purge_expired(connection, self._clock())


def _check_role(role: str, tenant_id: int | None) -> None:
    if role not in ROLES:
        raise invalid(f"there is no role {role}; roles are {', '.join(ROLES)}")
    if tenant_id is None and role not in ("admin", "auditor"):
        raise invalid(f"the role {role} needs a tenant")


def _check_locale(locale: str) -> None:
    if locale not in _LOCALES:
        raise invalid(f"there is no language {locale}; languages are {', '.join(_LOCALES)}")
