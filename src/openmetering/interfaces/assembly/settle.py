"""A simulated world moves into an empty head-end: tenant, places, devices, keys, its past, and people to try things with."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from openmetering.errors import InputError
from openmetering.interfaces.assembly.living_world import LivingWorld
from openmetering.services.headend.headend import HeadEnd
from openmetering.services.headend.model import User

__all__ = ["Person", "people", "settle"]

_STAFF = (
    ("operator", "mso", "metering operator: asks for jobs, approves those of others"),
    ("custodian", "key-custodian", "keeper of the keys: approves jobs that change keys"),
)
_LIVES_THERE = timedelta(days=200)


class Person(msgspec.Struct, frozen=True):
    """Somebody who may sign in, with what for."""

    name: str
    password: str
    what: str

    def __repr__(self) -> str:
        return f"<Person {self.name}>"


def settle(
    head_end: HeadEnd, world: LivingWorld, administrator: User, days: int, progress: Callable[[float], None] | None = None
) -> int:
    """Fill an empty head-end; returns the number of telegrams of the past. Raises InputError, TransportError"""
    session = head_end.as_user(administrator)
    tenant = session.add_tenant(world.world.plan.world.name or "World")
    report = session.apply_import(world.devices_csv(), tenant.id)
    if report.plan.refused:
        refused = next(row for row in report.plan.rows if row.action == "refused")
        raise InputError(f"the world does not fit into the registry: {refused.address}: {refused.words}", code="input.file")
    session.import_keys(world.keys_csv(), tenant.id)
    head_end.keys_changed()
    telegrams = 0
    for batch in world.history(days, progress):
        head_end.ingest(batch, gateway=world.gateways[0])
        telegrams += len(batch)
    head_end.ingestor.flush()
    return telegrams


def people(head_end: HeadEnd, administrator: User) -> tuple[Person, ...]:
    """Staff for the second signature, and somebody who lives in the first unit; passwords are made up.

    Raises InputError
    """
    session = head_end.as_user(administrator)
    tenant = session.tenants()[0]
    made: list[Person] = []
    for name, role, what in _STAFF:
        made.append(Person(name, _password(), what))
        head_end.accounts.add(name, made[-1].password, role, tenant.id)
    unit = next((node for node in session.nodes() if node.kind == "unit"), None)
    if unit is not None:
        made.append(Person("consumer", _password(), f"lives in {unit.name}: sees what belongs to it"))
        consumer = head_end.accounts.add("consumer", made[-1].password, "consumer", tenant.id)
        session.add_occupancy(consumer.id, unit.id, datetime.now(UTC) - _LIVES_THERE)
    return tuple(made)


def _password() -> str:
    return secrets.token_urlsafe(9)
