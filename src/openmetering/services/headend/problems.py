"""The refusals of the head-end, each with the code that interfaces turn into their own (HTTP status, exit code).

access.denied     the role or the scopes of the token do not allow it
access.unknown    there is no such thing, or it belongs to others: the answer is the same on purpose
access.conflict   it contradicts what is there (overlap, name taken, wrong state)
access.invalid    a value cannot be used
login.failed      name or password, token or session are wrong
login.locked      too many attempts, wait
"""

from __future__ import annotations

from openmetering.errors import InputError

__all__ = ["conflict", "denied", "invalid", "locked", "login_failed", "unknown"]

_LAYER = "head-end"


def denied(verb: str, resource: str) -> InputError:
    """The user may not do this."""
    return InputError(f"your role does not allow to {verb} {resource}", code="access.denied", layer=_LAYER)


def unknown(what: str, identity: object) -> InputError:
    """There is no such thing for this user."""
    return InputError(f"there is no {what} {identity}", code="access.unknown", layer=_LAYER)


def conflict(message: str) -> InputError:
    """It contradicts what is there."""
    return InputError(message, code="access.conflict", layer=_LAYER)


def invalid(message: str) -> InputError:
    """A value cannot be used."""
    return InputError(message, code="access.invalid", layer=_LAYER)


def login_failed() -> InputError:
    """Name or password are wrong; which of them is not told."""
    return InputError("name or password are wrong", code="login.failed", layer=_LAYER)


def locked(seconds: float) -> InputError:
    """Too many attempts."""
    return InputError(f"too many attempts; try again in {max(1, round(seconds))} s", code="login.locked", layer=_LAYER)
