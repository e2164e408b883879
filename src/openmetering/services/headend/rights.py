"""Who may do what: one table of permissions by market role.

A permission is a verb and a resource. Its scope says on what: ``all``, the things of the own ``tenant``, or the
``own`` ones (a consumer: the points of the own units in the own period; everybody: the own tokens). One permission
for each application KeyID: to ``execute key:20`` is to disconnect and reconnect, whose commands are proven with
the key of KeyID 20h; ``key:00`` stands for what needs the communication key only, ``key:10`` for key management,
which needs the wrapper keys 10h to 16h.
Source: KeyIDs from OMS Volume 2 issue 5.0.1 Table 45; which role gets which is our decision, see docs/limits.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.services.headend.model import ROLES, User
from openmetering.services.headend.problems import denied

__all__ = ["PERMISSIONS", "Permission", "Rights", "Scope", "ScopeKind", "key_resource"]

ScopeKind = Literal["all", "tenant", "own"]

#: columns are the roles in the order of ROLES; A all, T tenant, O own, - nothing
_TABLE: Final = """
                        admin mso msp dso supplier consumer custodian auditor
read    tenants           A    T   T   T     T        -         T       A
write   tenants           A    -   -   -     -        -         -       -
read    users             A    -   -   -     -        -         -       A
write   users             A    -   -   -     -        -         -       -
read    tokens            A    O   O   O     O        O         O       O
write   tokens            A    O   O   O     O        O         O       O
read    nodes             A    T   T   T     T        O         T       A
write   nodes             A    T   -   -     -        -         -       -
read    occupancies       A    T   -   -     T        O         -       A
write   occupancies       A    T   -   -     T        -         -       -
read    devices           A    T   T   T     T        O         T       A
write   devices           A    T   -   -     -        -         -       -
read    gateways          A    A   A   -     -        -         -       A
write   gateways          A    -   -   -     -        -         -       -
read    readings          A    T   T   T     T        O         -       -
read    telegrams         A    T   T   -     -        -         -       -
read    alarms            A    T   T   T     T        O         -       A
write   alarms            A    T   T   T     -        -         -       -
read    jobs              A    T   T   T     T        -         T       A
write   jobs              A    T   T   T     T        -         T       -
read    keys              A    -   -   -     -        -         T       A
write   keys              A    -   -   -     -        -         T       -
read    audit             A    -   -   -     -        -         -       A
read    webhooks          A    T   -   -     -        -         -       A
write   webhooks          A    T   -   -     -        -         -       -
read    system            A    A   -   -     -        -         -       A
read    validation        A    T   T   -     -        -         -       A
write   validation        A    T   T   -     -        -         -       -
read    reports           A    T   T   T     T        O         -       -
read    exports           A    T   T   -     T        -         -       -
read    schedules         A    T   T   -     T        -         -       A
write   schedules         A    T   -   -     T        -         -       -
read    privacy           A    T   -   -     -        -         -       A
read    subjects          A    T   -   -     -        O         -       -
write   privacy           A    T   -   -     -        -         -       -
execute key:00            A    T   T   T     -        -         -       -
execute key:10            A    -   -   -     -        -         T       -
execute key:18            A    T   -   -     -        -         -       -
execute key:1F            A    T   -   -     -        -         -       -
execute key:20            A    T   -   T     -        -         -       -
execute key:21            A    T   T   -     -        -         -       -
execute key:22            A    T   -   -     -        -         -       -
execute key:23            A    T   -   -     -        -         -       -
execute key:24            A    T   T   T     -        -         -       -
execute key:25            A    T   T   -     -        -         -       -
execute key:26            A    T   T   -     T        -         -       -
execute key:27            A    T   -   -     -        -         -       -
approve key:00            A    T   T   T     -        -         -       -
approve key:10            A    -   -   -     -        -         T       -
approve key:18            A    T   -   -     -        -         -       -
approve key:1F            A    T   -   -     -        -         -       -
approve key:20            A    T   -   T     -        -         -       -
approve key:21            A    T   T   -     -        -         -       -
approve key:22            A    T   -   -     -        -         -       -
approve key:23            A    T   -   -     -        -         -       -
approve key:24            A    T   T   T     -        -         -       -
approve key:25            A    T   T   -     -        -         -       -
approve key:26            A    T   T   -     T        -         -       -
approve key:27            A    T   -   -     -        -         -       -
"""

_SCOPES: Final[dict[str, ScopeKind | None]] = {"A": "all", "T": "tenant", "O": "own", "-": None}


class Permission(msgspec.Struct, frozen=True, order=True):
    """A verb and what it is done to; its text is ``read:readings``, ``execute:key:20``."""

    verb: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb}:{self.resource}"


class Scope(msgspec.Struct, frozen=True):
    """On what a permission counts for a user."""

    kind: ScopeKind
    tenant_id: int | None
    user_id: int

    def covers(self, tenant_id: int | None) -> bool:
        """True if things of this tenant are within the scope (``own`` must be judged by what is owned)."""
        return self.kind == "all" or (self.kind == "tenant" and tenant_id is not None and tenant_id == self.tenant_id)


def _read(table: str) -> dict[Permission, dict[str, ScopeKind]]:
    found: dict[Permission, dict[str, ScopeKind]] = {}
    for line in table.strip().splitlines()[1:]:
        verb, resource, *cells = line.split()
        scopes = {role: _SCOPES[cell] for role, cell in zip(ROLES, cells, strict=True)}
        found[Permission(verb, resource)] = {role: scope for role, scope in scopes.items() if scope is not None}
    return found


#: permission -> role -> scope; a role that is not there may not
PERMISSIONS: Final = _read(_TABLE)


def key_resource(key_id: int) -> str:
    """The resource of a KeyID: ``key:20``; wrapper keys share ``key:10``, communication keys ``key:00``."""
    group = 0x00 if key_id < 0x10 else 0x10 if key_id < 0x18 else key_id
    return f"key:{group:02X}"


class Rights:
    """Answers for one user; ``scopes`` are those of a token and can only take away."""

    __slots__ = ("_scopes", "_user")

    def __init__(self, user: User, scopes: frozenset[str] | None = None) -> None:
        self._user = user
        self._scopes = scopes

    @property
    def limited(self) -> bool:
        """True if the scopes of a token take something away."""
        return self._scopes is not None and "*" not in self._scopes

    def scope(self, verb: str, resource: str) -> Scope | None:
        """On what the user may do it; None: not at all."""
        permission = Permission(verb, resource)
        kind = None if self._user.disabled else PERMISSIONS.get(permission, {}).get(self._user.role)
        if kind is None or not self._within_token(permission):
            return None
        return Scope(kind, self._user.tenant_id, self._user.id)

    def require(self, verb: str, resource: str) -> Scope:
        """The scope. Raises InputError (``access.denied``)"""
        found = self.scope(verb, resource)
        if found is None:
            raise denied(verb, resource)
        return found

    def permissions(self) -> tuple[Permission, ...]:
        """All that the user may do."""
        return tuple(one for one in PERMISSIONS if self.scope(one.verb, one.resource) is not None)

    def _within_token(self, permission: Permission) -> bool:
        scopes = self._scopes
        return scopes is None or bool(scopes & {"*", f"{permission.verb}:*", str(permission)})
