"""A head-end on a database in memory, with a clock that is set by hand and telegrams of meters that do not exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from argon2 import PasswordHasher

from openmetering.errors import InputError
from openmetering.services.headend.accounts import Accounts
from openmetering.services.headend.bus import Event
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.headend import HeadEnd, HeadEndRules
from openmetering.services.headend.model import Device, User
from openmetering.services.headend.registry import DeviceChange
from openmetering.services.headend.vault import Vault
from openmetering.storage.database import Database
from openmetering.transport.reception import Reception
from tests.fleet import radio

MASTER = bytes(range(100, 116))
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
#: as quick as the library allows: what is tested here is not how slow it is
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    """Says what it was told."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)


def hasten(head_end: HeadEnd, clock: Clock) -> None:
    """Passwords that are hashed quickly."""
    head_end.accounts = Accounts(head_end.database, clock, head_end.rules.accounts, QUICK)


class Desk:
    """A head-end with an administrator and what tests ask of it again and again."""

    def __init__(self, database: Database, *, rules: HeadEndRules | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.database = database
        self.vault = Vault(database, MASTER, self.clock)
        self.head_end = HeadEnd(database, self.vault, self.clock, rules=rules)
        hasten(self.head_end, self.clock)
        self.events: list[Event] = []
        self.head_end.bus.subscribe_all(self.events.append)
        known = self.head_end.accounts.named("root")
        self.root = known or self.head_end.accounts.add("root", PASSWORD, "admin")
        self.admin = self.head_end.as_user(self.root)

    def close(self) -> None:
        """The end of the head-end; the database stays."""
        self.head_end.close()

    def tenant(self, name: str = "Elm Street") -> int:
        """A tenant."""
        return self.admin.add_tenant(name).id

    def user(self, role: str, tenant: int | None = None, name: str | None = None) -> User:
        """An account."""
        return self.head_end.accounts.add(name or f"{role} {tenant}", PASSWORD, role, tenant)

    def session(self, role: str, tenant: int | None = None) -> Guarded:
        """The head-end as somebody of this role sees it."""
        name = f"{role} {tenant}"
        return self.head_end.as_user(self.head_end.accounts.named(name) or self.user(role, tenant, name))

    def meter(self, tenant: int, number: int = 12345678, *, device_type: int = 0x03, label: str = "") -> Device:
        """A device that belongs to a tenant."""
        change = DeviceChange(label=label or None)
        return self.head_end.registry.register(address_of(number, device_type), tenant, change)

    def hear(self, frame: bytes, *, after: float = 0.0, source: str = "stick", rssi: float | None = -70.0) -> None:
        """A frame arrives, so many seconds after the clock's time; the clock goes along."""
        self.clock.forward(seconds=after)
        self.head_end.ingest([self.reception(frame, source=source, rssi=rssi)])

    def reception(self, frame: bytes, *, source: str = "stick", rssi: float | None = -70.0, at: float = 0.0) -> Reception:
        """A frame as it comes from a door."""
        return Reception(frame, self.clock.now.timestamp() + at, source, rssi_dbm=rssi, mode="T", crc=True)

    def device(self, number: int = 12345678, device_type: int = 0x03) -> Device:
        """A device by its number."""
        found = self.head_end.registry.by_address(address_of(number, device_type))
        assert found is not None
        return found

    def told(self, kind: type[msgspec.Struct]) -> list[msgspec.Struct]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def actions(self) -> list[str]:
        """The audit trail, oldest first: action and object."""
        entries = self.head_end.audit.page(limit=1000).items
        return [f"{entry.action}: {entry.object}" for entry in reversed(entries)]


def address_of(number: int = 12345678, device_type: int = 0x03) -> str:
    """The address as text that ``tests.fleet`` gives a meter."""
    return f"ELS-{number:08d}-33-{device_type:02X}"


def code_of(error: InputError) -> str:
    """The stable code."""
    return error.code


__all__ = ["MASTER", "PASSWORD", "QUICK", "START", "Clock", "Desk", "address_of", "code_of", "hasten", "radio"]
