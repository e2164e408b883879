"""Two tenants with everything that a head-end keeps, for tests of the web application.

    own    tenant North: site, unit 1 of the consumer, point, meter 11111111 with telegrams, alarm, job, key, webhook
    other  tenant South: the same with meter 22222222

Every role has a user in North; a consumer, an MSO and an administrator live in South too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from litestar import Litestar
from litestar.testing import TestClient

from openmetering.interfaces.web.app import create_app
from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.headend.accounts import AccountRules, Accounts
from openmetering.services.headend.headend import HeadEnd
from openmetering.services.headend.model import Device, Job, MeteringPoint, Node, User
from openmetering.services.headend.registry import DeviceChange
from openmetering.services.headend.vault import Vault
from openmetering.storage import job_rows
from openmetering.storage.database import Database
from openmetering.storage.mdm_rows import NodeData, PointData, Schedule
from openmetering.transport.reception import Reception
from tests.fleet import radio

SECRET: Final = "0123456789abcdef0123456789abcdef"
PASSWORD: Final = "correct horse battery"
START: Final = datetime(2025, 1, 1, tzinfo=UTC)
NOW: Final = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
ROLES: Final = ("admin", "mso", "msp", "dso", "supplier", "consumer", "key-custodian", "auditor")
KEY: Final = "000102030405060708090A0B0C0D0E0F"
MASTER: Final = bytes(range(16))


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Side:
    """What one tenant has."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self._world = world
        head = world.head_end
        self.name = name
        self.address = f"ELS-{number}-33-03"
        self.number = number
        self.tenant = head.registry.add_tenant(name)
        self.site = head.registry.add_node(self.tenant.id, None, "site", f"{name} site")
        self.unit = head.registry.add_node(self.tenant.id, self.site.id, "unit", f"{name} unit 1")
        self.point = head.registry.add_point(self.unit.id, f"{name} kitchen", "water")
        self.device = head.registry.register(self.address, self.tenant.id, DeviceChange(label=f"{name} meter"))
        self.assignment = head.registry.assign(self.device, self.point, START)
        head.mdm.put_point_data(PointData(0, self.point.id, identifier=f"DE{number}"))
        head.mdm.put_node_data(NodeData(0, self.unit.id, identifier=f"{number:013}"))
        self.users = {role: self.user(role) for role in ROLES}
        self.occupancy = head.registry.add_occupancy(self.users["consumer"], self.unit, START)
        self.webhook = self.fresh_webhook()
        self.key = head.vault.add(self.address, KEY, 0, tenant_id=self.tenant.id)
        self.token, _ = head.accounts.add_token(self.users["msp"].id, ("read:devices",), None)
        self.frames: list[int] = []

    @property
    def consumer(self) -> User:
        """Who lives in the unit."""
        return self.users["consumer"]

    def user(self, role: str) -> User:
        """A new user of this tenant."""
        name = f"{role}-{self.name}-{next(self._world.numbers)}"
        return self._world.head_end.accounts.add(name, PASSWORD, role, self.tenant.id)

    def hear(self, value: int, at: datetime, access_number: int) -> None:
        """The meter sends a volume."""
        frame = radio(value, number=self.number, access_number=access_number)
        self._world.head_end.ingest([Reception(frame, at.timestamp(), "stick", -70.0, mode="C")], gateway="cellar")

    @property
    def series(self) -> int:
        """The series of the volume."""
        return next(one.id for one in self._world.head_end.readings.series(self.address) if one.quantity == "volume")

    @property
    def frame(self) -> int:
        """The newest telegram."""
        return self._world.head_end.readings.telegrams(self.address, None, 1).items[0].frame_id

    # -- things that a test uses up --------------------------------------------------------------

    def fresh_node(self) -> Node:
        """A node that nothing hangs on."""
        return self._world.head_end.registry.add_node(self.tenant.id, self.site.id, "room", f"room {next(self._world.numbers)}")

    def fresh_point(self) -> MeteringPoint:
        """A point that was never assigned; in the unit of the consumer."""
        return self._world.head_end.registry.add_point(self.unit.id, f"point {next(self._world.numbers)}", "water")

    def fresh_device(self) -> Device:
        """A device without assignment."""
        address = f"ELS-{30_000_000 + next(self._world.numbers)}-33-03"
        return self._world.head_end.registry.register(address, self.tenant.id, DeviceChange())

    def fresh_assignment(self) -> int:
        """An assignment without end."""
        return self._world.head_end.registry.assign(self.fresh_device(), self.fresh_point(), START).id

    def fresh_occupancy(self) -> int:
        """An occupancy without end."""
        return self._world.head_end.registry.add_occupancy(self.user("consumer"), self.fresh_node(), START).id

    def fresh_alarm(self) -> int:
        """An alarm that nobody has seen, of the meter of the consumer."""
        head = self._world.head_end
        head.alarms.clear_all(self.device.id, NOW.timestamp())
        return head.alarms.set(self.device.id, "leak", NOW.timestamp(), "10h")[0].id

    def fresh_job(self, parameters: str = '{"state": "disconnected"}') -> Job:
        """A job of somebody who is not the one that is asking; it waits for approval."""
        return self._world.head_end.jobs.create(self.device, "disconnector", parameters, self._world.author.id)

    def unknown_job(self) -> int:
        """A job of which nobody knows what became."""
        job = self.fresh_job()
        with self._world.database.transaction() as connection:
            job_rows.jobs.change(connection, job.id, state="unknown")
        return job.id

    def fresh_key(self) -> int:
        """A key in use."""
        number = next(self._world.numbers)
        return self._world.head_end.vault.add(f"ELS-{number:08d}-33-03", f"{number:032X}", 0, tenant_id=self.tenant.id).id

    def fresh_schedule(self) -> int:
        """A report that goes out by itself."""
        item = Schedule(0, self.tenant.id, None, "monthly", "csv", 1, "mail", "a@example.org", "en", NOW)
        return self._world.head_end.mdm.add_schedule(item).id

    def fresh_webhook(self) -> int:
        """A webhook."""
        url = f"https://example.org/{next(self._world.numbers)}"
        return self._world.head_end.webhooks.add(url, ("alarm",), "s" * 20, self.tenant.id).id

    def fresh_token(self, user: User) -> int:
        """A token of somebody."""
        return self._world.head_end.accounts.add_token(user.id, ("read:devices",), None)[0].id


class World:
    """All of it."""

    def __init__(self, url: str = ":memory:", *, settings: WebSettings | None = None) -> None:
        self.clock = Clock()
        self.numbers = count(1)
        self.database = Database.open(url)
        self.head_end = HeadEnd(self.database, Vault(self.database, MASTER, self.clock), self.clock)
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.head_end.accounts = Accounts(self.database, self.clock, AccountRules(), quick)
        self.author = self.head_end.accounts.add("author", PASSWORD, "admin")
        self.own = Side(self, "North", 11_111_111)
        self.other = Side(self, "South", 22_222_222)
        for side in (self.own, self.other):
            for step in range(3):
                side.hear(1000 + step, NOW - timedelta(hours=3 - step), step + 1)
        self.gateway = self.head_end.gateway_seen("cellar")
        levels = [(side.device.id, -70.0, NOW) for side in (self.own, self.other)]
        self.head_end.registry.gateway_hears(self.gateway.id, levels)
        self.settings = settings or WebSettings(secret=SECRET, requests_per_minute=1_000_000, logins_per_minute=1_000)

    def app(self) -> Litestar:
        """The application over it."""
        return create_app(self.head_end, self.settings)

    def bearer(self, user: User, *scopes: str) -> dict[str, str]:
        """Headers of a program of this user."""
        _, text = self.head_end.accounts.add_token(user.id, scopes or ("*",), None)
        return {"Authorization": f"Bearer {text}"}

    def client(self, user: User | None = None, *scopes: str) -> TestClient[Litestar]:
        """A program of this user; nobody without."""
        client = TestClient(self.app())
        if user is not None:
            client.headers.update(self.bearer(user, *scopes))
        return client

    def close(self) -> None:
        """The end."""
        self.head_end.close()
        self.database.close()


def make_world(folder: Path) -> Callable[[], World]:
    """Makes worlds in files of a folder."""
    numbers = count()
    return lambda: World(f"sqlite:///{folder / f'world-{next(numbers)}.db'}")
