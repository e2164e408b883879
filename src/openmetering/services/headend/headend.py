"""The head-end: everything together. Interfaces use ``as_user``; gateways give their receptions to ``ingest``.

    database = Database.open("sqlite:///headend.db")
    vault = Vault(database, read_master_key("file:master.key", create=True), clock)
    head_end = HeadEnd(database, vault, clock)
    head_end.ingest(batch)                        from gateways
    head_end.as_user(user).devices()              from interfaces
    head_end.tick()                               every half minute, by whoever runs it

``clock`` gives aware times in UTC; nothing here sleeps or starts a thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self

import msgspec

from openmetering.services.headend.access import Window
from openmetering.services.headend.accounts import AccountRules, Accounts
from openmetering.services.headend.alarms import Alarms
from openmetering.services.headend.audit import Audit
from openmetering.services.headend.board import Board, BoardRow
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, GatewayChanged, JobChanged
from openmetering.services.headend.csv_import import Importer
from openmetering.services.headend.flow import FlowRules
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.hooks import Webhooks
from openmetering.services.headend.ingest import Ingestor, IngestReport, Keyed
from openmetering.services.headend.jobs.desk import JobDesk
from openmetering.services.headend.liveness import LivenessRules
from openmetering.services.headend.model import Alarm, Device, GatewayInfo, Job, Overview, User
from openmetering.services.headend.readings import Readings
from openmetering.services.headend.registry import LIVING, Registry
from openmetering.services.headend.vault import Vault
from openmetering.services.mdm.management import DataManagement
from openmetering.services.mdm.slot_reports import TariffRules
from openmetering.storage import RedecodeReport
from openmetering.storage.archive import Archive
from openmetering.storage.database import Database

__all__ = ["HeadEnd", "HeadEndRules", "now_utc"]

_log = logging.getLogger(__name__)
_PURGE: Final = timedelta(hours=1)


class HeadEndRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set. ``gateway_silent`` seconds after which a gateway counts as offline.

    ``answers`` keeps the JSON answer of every telegram as well, which can be made again from the frame at any time: it takes
    a quarter of the time of storing and half of the space. ``foreign``: days after which telegrams of meters are dropped that
    nobody registered or has a key for; 0 keeps them. ``zone`` is the local time in which days, months and due dates begin.
    """

    accounts: AccountRules = AccountRules()
    liveness: LivenessRules = LivenessRules()
    flow: FlowRules = FlowRules()
    gateway_silent: float = 900.0
    merge_window: float = 2.0
    repeat_window: float = 30.0
    answers: bool = False
    foreign: Annotated[int, msgspec.Meta(ge=0)] = 30
    zone: str = "Europe/Berlin"
    tariff: TariffRules = TariffRules()


def now_utc() -> datetime:
    """The clock of daemons."""
    return datetime.now(UTC)


class HeadEnd:
    """Registry, vault, readings, alarms, jobs and accounts of one database.

    May be used by any thread. ``close`` writes what was only noted; the database is the caller's to close.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        clock: Callable[[], datetime] = now_utc,
        *,
        rules: HeadEndRules | None = None,
        archive: Archive | None = None,
    ) -> None:
        """``archive``: closed months. Raises TransportError (``storage.failed``)"""
        self.rules = rules = rules or HeadEndRules()
        self.database = database
        self.vault = vault
        self.now = clock
        self.bus = Bus()
        self.audit = Audit(database, clock)
        self.accounts = Accounts(database, clock, rules.accounts)
        self.registry = Registry(database, clock)
        self.alarms = Alarms(database)
        self.readings = Readings(database, archive)
        self.mdm = DataManagement(database, clock, vault.pseudonym, archive=archive, zone=rules.zone, tariff=rules.tariff)
        self.jobs = JobDesk(database, clock)
        self.webhooks = Webhooks(database, clock, vault.seal)
        self.importer = Importer(database, self.registry, clock)
        self.store = database.store(merge_window=rules.merge_window, repeat_window=rules.repeat_window, answers=rules.answers)
        self.ingestor = Ingestor(
            database, self.store, self.registry, vault, self.alarms, self.bus, clock,
            liveness=rules.liveness, flow=rules.flow,
        )  # fmt: skip
        self._board = Board(self.registry, self.alarms, self.readings)
        self._late_keys = threading.Event()
        self._redecoding = threading.Lock()
        self._purged = clock()

    def close(self) -> None:
        """Write what was only noted and close the store. Safe to call twice."""
        self.ingestor.close()
        self.store.close()
        if self.readings.archive is not None:
            self.readings.archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def as_user(self, user: User, scopes: Collection[str] | None = None) -> Guarded:
        """The head-end as a user sees it; ``scopes`` are those of a token."""
        return Guarded(self, user, None if scopes is None else frozenset(scopes))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A change with its entry in the audit trail: both or neither."""
        try:
            with self.database.transaction():
                yield
        except BaseException:
            self.registry.forget()
            raise
        self.registry.forget_windows()

    # -- receiving --------------------------------------------------------------------------------

    def ingest(self, batch: Sequence[Keyed], *, gateway: str | None = None) -> IngestReport:
        """Store a batch and all that follows from it; see ``ingest``. Raises TransportError"""
        return self.ingestor.ingest(batch, gateway=gateway)

    def recover(self) -> IngestReport:
        """Take up what was stored raw when the process died. Raises TransportError"""
        return self.ingestor.recover()

    # -- keys that come late ----------------------------------------------------------------------

    def keys_changed(self) -> None:
        """Keys were added or retired: the next telegram is read with them, ``tick`` reads the past again."""
        self.vault.refresh()
        self._late_keys.set()

    def redecode(self, *, everything: bool = False, progress: Callable[[int, int], None] | None = None) -> RedecodeReport:
        """Read the past again with the keys of now; receiving goes on meanwhile. Raises TransportError"""
        with self._redecoding:
            self._late_keys.clear()
            try:
                report = self.ingestor.redecode(everything=everything, progress=progress)
            except BaseException:
                self._late_keys.set()
                raise
        if report.opened:
            self.audit.note(None, "decode again", "telegrams", f"{report.opened} opened, {report.readings} readings")
        return report

    # -- time -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What time brings: silent devices and gateways, the past with late keys, expired sessions. Raises TransportError"""
        now = self.now()
        self.ingestor.flush()
        self._find_silent(now)
        for gateway in self.registry.gateways_silent(now - timedelta(seconds=self.rules.gateway_silent)):
            self.bus.publish(GatewayChanged(gateway))
        if self._late_keys.is_set():
            self.redecode()
        if now - self._purged >= _PURGE:
            self._purged = now
            self.accounts.purge()

    def _find_silent(self, now: datetime) -> None:
        for device_id, last, _ in list(self.ingestor.liveness.silent(now.timestamp())):
            if self.alarms.is_open(device_id, "silent"):
                continue
            device = self.registry.find_device(device_id)
            if device is None or device.state not in LIVING:
                self.ingestor.liveness.forget(device_id)
                continue
            words = f"last heard {datetime.fromtimestamp(last, UTC).isoformat(timespec='seconds')}"
            try:
                with self.database.transaction():
                    alarms = self.alarms.set(device_id, "silent", now.timestamp(), words)
                    changed = [made for alarm in alarms if (made := self.ingestor.follow(device, alarm)) is not None]
            except BaseException:
                self.alarms.reload()
                self.registry.forget()
                raise
            for alarm in alarms:
                self.tell_alarm(alarm)
            for made in changed:
                self.bus.publish(DeviceChanged(made))

    def gateway_seen(self, name: str, *, address: str | None = None, version: str = "", state: str = "online") -> GatewayInfo:
        """A gateway reported by itself (its health, or the broker's word that it is gone)."""
        before = self.registry.gateway_named(name)
        made = self.registry.gateway_seen(name, self.now(), address=address, version=version, state=state)
        if before is None or (before.state, before.version, before.address) != (made.state, made.version, made.address):
            self.bus.publish(GatewayChanged(made))
        return made

    # -- at one glance ----------------------------------------------------------------------------

    def overview(
        self,
        tenant_id: int | None,
        *,
        nodes: frozenset[int] | None = None,
        devices: frozenset[int] | None = None,
        gateways: bool = False,
    ) -> Overview:
        """The tree with what is the matter in it."""
        return self._board.overview(tenant_id, self.now(), nodes=nodes, devices=devices, gateways=gateways)

    def board(self, tenant_id: int | None, windows: Collection[Window] | None) -> tuple[BoardRow, ...]:
        """Every device with its newest readings."""
        return self._board.rows(tenant_id, windows, self.now())

    # -- news -------------------------------------------------------------------------------------

    def tell_device(self, device: Device) -> None:
        """A device was changed by somebody. One that is retired is not waited for, and its alarms are over."""
        if device.state == "retired":
            self.ingestor.liveness.forget(device.id)
            for alarm in self.alarms.clear_all(device.id, self.now().timestamp()):
                self.tell_alarm(alarm)
        self.bus.publish(DeviceChanged(device))

    def tell_alarm(self, alarm: Alarm) -> None:
        """An alarm was changed."""
        self.bus.publish(AlarmChanged(alarm))

    def tell_job(self, job: Job) -> None:
        """A job was changed by somebody."""
        self.bus.publish(JobChanged(job))
