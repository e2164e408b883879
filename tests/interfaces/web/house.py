"""A whole building behind a head-end, for the tests of the pages: the recorded house of the demo, and a month before that day.

Meters, places and keys come in through the imports that users have; telegrams through ingest. The clock stands at
15:30 of the recorded day, when one flat leaks, one has no key and one has a wrong one.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from argon2 import PasswordHasher
from litestar import Litestar

from openmetering.interfaces.demo.building import key_files
from openmetering.interfaces.demo.plan import Building, Device, read_building
from openmetering.interfaces.demo.replay import Replay
from openmetering.interfaces.demo.telegrams import Sender
from openmetering.interfaces.web.app import create_app
from openmetering.interfaces.web.pages import error_page, page_routes
from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.gatewayd.health import Counts, SourceState
from openmetering.services.headend.accounts import AccountRules, Accounts
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.headend import HeadEnd
from openmetering.services.headend.model import Node, User
from openmetering.services.headend.vault import Vault
from openmetering.storage.database import Database
from openmetering.transport.reception import Reception

SECRET: Final = "0123456789abcdef0123456789abcdef"
PASSWORD: Final = "correct horse battery"
MASTER: Final = bytes(range(16))
NOW: Final = datetime(2026, 1, 14, 15, 30, tzinfo=UTC)
DAYS: Final = 30
_MIDNIGHT: Final = datetime(2026, 1, 14, tzinfo=UTC)
_BATCH: Final = 2000


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def device_file(building: Building) -> bytes:
    """The devices as the CSV file that users import: unit and room are the first words of the label."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("address", "label", "mode", "site", "building", "unit", "room", "point", "valid_from"))
    for device in building.device:
        parts = [part.strip() for part in device.label.split("(")[0].split(",")]
        flat = parts[0] if parts[0].startswith("flat") else ""
        unit, room = (parts[0].capitalize() if flat else ""), (parts[1].capitalize() if flat and len(parts) > 2 else "")
        point = ", ".join(parts[2:] if room else parts[1:] if flat else parts)
        mode = "wired" if device.primary is not None else device.mode
        label = ", ".join(parts).capitalize()
        writer.writerow((device.address, label, mode, "Example site", building.name, unit, room, point, "2025-12-01"))
    return text.getvalue().encode()


def history(building: Building, days: int) -> list[Reception]:
    """What some devices sent on the days before: every six hours, counters as they would have been."""
    found = []
    for device in building.device:
        if device.key != "known" or device.message != "data" or device.primary is not None or not device.per_day:
            continue
        start = device.start
        for back in range(1, days + 1):
            earlier = msgspec.structs.replace(building, day=building.day - timedelta(days=back))
            used = device.per_day * (0.7 + 0.15 * (back * 7 % 5))
            start -= used
            found += _day(
                earlier, msgspec.structs.replace(device, start=start, per_day=used, leak=None, status=[], timelines={}), back
            )
    return sorted(found, key=lambda one: one.received_at)


def _day(building: Building, device: Device, back: int) -> list[Reception]:
    start = (_MIDNIGHT - timedelta(days=back)).timestamp()
    sender = Sender(building, device)
    sender.counter = max(1, sender.counter - 100 * back)
    return [
        Reception(frame.octets, start + hour * 3600, "radio", float(device.rssi), mode=device.mode, crc=True)
        for hour in (0, 6, 12, 18)
        for frame in sender.send("data", hour * 3600)
    ]


class House:
    """The head-end with the building in it, and people of every kind."""

    def __init__(self, url: str = ":memory:", *, days: int = 0, telegrams: bool = True) -> None:
        self.clock = Clock()
        self.database = Database.open(url)
        self.head_end = HeadEnd(self.database, Vault(self.database, MASTER, self.clock), self.clock)
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.head_end.accounts = Accounts(self.database, self.clock, AccountRules(), quick)
        self.building = read_building()
        self.tenant = self.head_end.registry.add_tenant("Lindenhof")
        self.stranger = self.head_end.registry.add_tenant("Elsewhere")
        self.admin = self._user("admin", None)
        self.second = self._user("second", None, role="admin")
        self.people = {
            role: self._user(role, self.tenant.id) for role in ("mso", "msp", "dso", "supplier", "consumer", "key-custodian")
        }
        self.people["auditor"] = self._user("auditor", None)
        self.people["admin"] = self.admin
        session = self.as_user(self.admin)
        session.apply_import(device_file(self.building), self.tenant.id)
        session.import_keys(key_files(self.building)[0].encode(), self.tenant.id)
        self.gateway = self.head_end.gateway_seen("cellar", address="EXR-70000001-01-31", version="1.0")
        self.head_end.gateway_seen("attic", state="offline")
        self._move_in()
        if telegrams:
            self._fill(days)
        self.settings = WebSettings(secret=SECRET, requests_per_minute=1_000_000, logins_per_minute=1_000_000)

    def _user(self, name: str, tenant_id: int | None, role: str | None = None) -> User:
        return self.head_end.accounts.add(name, PASSWORD, role or name, tenant_id)

    def _move_in(self) -> None:
        since = datetime(2025, 12, 10, tzinfo=UTC)
        self.head_end.registry.add_occupancy(self.people["consumer"], self.node("Flat 4"), since)

    def _fill(self, days: int) -> None:
        today = [one for at, one in Replay().items if isinstance(one, Reception) and at < NOW.timestamp()]
        batch = [*history(self.building, days), *today]
        for start in range(0, len(batch), _BATCH):
            self.head_end.ingest(batch[start : start + _BATCH], gateway="cellar")
        self.head_end.ingestor.flush()

    def ask_for_jobs(self) -> None:
        """Jobs that wait: one of the first administrator, two of the second; and a webhook."""
        valve = self.device("cellar, water valve")
        first, second = self.as_user(self.admin), self.as_user(self.second)
        first.create_job(valve, "disconnector", '{"state":"disconnected"}')
        second.create_job(valve, "disconnector", '{"state":"connected"}')
        second.create_job(valve, "read")
        first.validate(NOW - timedelta(days=30), NOW, self.tenant.id)
        first.add_webhook("https://hooks.example.org/metering", ("alarm", "job"), "a secret for the signature")

    def as_user(self, user: User) -> Guarded:
        """The head-end as somebody sees it."""
        return self.head_end.as_user(user)

    def device(self, label: str) -> int:
        """The number of a device of the plan."""
        found = self.head_end.registry.by_address(self.building.find(label).address)
        assert found is not None
        return found.id

    def node(self, name: str) -> Node:
        """A place by its name."""
        return next(node for node in self.head_end.registry.nodes() if node.name == name)

    def sources(self, gateway: str) -> tuple[SourceState, ...] | None:
        """What the gateway in the cellar tells about its sources; the one in the attic tells nothing."""
        if gateway != "cellar":
            return None
        counts = Counts(receptions=1800, crc_good=1790, crc_bad=10, by_mode={"T": 1500, "C": 300})
        stick = SourceState("stick", "/dev/ttyUSB0", "open", 0.0, NOW.timestamp(), 2.0, 14.3, -78.0, "", counts)
        bus = SourceState("bus", "tcp", "failed", 0.0, None, None, 0.0, None, "connection refused", Counts(by_mode={}))
        return stick, bus

    def app(self) -> Litestar:
        """The application over it."""
        return create_app(self.head_end, self.settings, pages=page_routes(self.sources), error_page=error_page)

    def close(self) -> None:
        """The end."""
        self.head_end.close()
        self.database.close()
