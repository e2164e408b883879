"""A head-end's jobs over a simulated world, in virtual time: database, vault, desk and runner are the real ones.

Time of the head-end is that of the world: second 0 is 2026-01-14 in UTC. A result of the gateway waits in a queue until
the runner takes it, as it does behind a thread.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import event

from openmetering.codec.address import Address
from openmetering.protocol.device.interface import DeviceEvent
from openmetering.protocol.exchange import Submit
from openmetering.protocol.operator.journal import Journal
from openmetering.services.headend.bus import Bus, JobChanged
from openmetering.services.headend.jobs.carriers import CarriedOrder, CarriedResult, Carriers, HandedOver
from openmetering.services.headend.jobs.desk import JobDesk
from openmetering.services.headend.jobs.journal import OWNER
from openmetering.services.headend.jobs.keys import VaultKeys
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.services.headend.jobs.runner import Runner, RunnerSettings
from openmetering.services.headend.model import Device, Job, Tenant, moment
from openmetering.services.headend.vault import Vault
from openmetering.simulation.plan import parse_plan
from openmetering.simulation.world import World
from openmetering.storage import protocol_rows, registry_rows
from openmetering.storage.database import Database

START = datetime(2026, 1, 14, tzinfo=UTC)
MASTER = bytes(range(16))
SETTINGS = RunnerSettings(poll=600.0)  #: tests say when there is something to look for
ANNA, BERT = 1, 2  #: two people
HOUSE = """
[world]
seed = "jobs"
start = 2026-01-14
oms_issue = "{issue}"
[[building]]
name = "house"
floors = 1
flats = 1
[[gateway]]
name = "stairs"
building = "house"
[[meters]]
medium = "cold water"
interval = 60.0
bidirectional = true
[meters.functions]
disconnector = {{ subunit = 1 }}
clock = {{}}
supervision = {{}}
keys = {{}}
conformance = {{}}
firmware = {{}}
billing = {{}}
selection = {{}}
[[meters]]
medium = "warm water"
interval = 60.0
bidirectional = true
functions = {{ disconnector = {{ subunit = 1 }}, clock = {{}} }}
"""
ADAPTER = """
[[meters]]
medium = "cold water"
interval = 60.0
adapter = true
bidirectional = true
functions = { adapter = { indexes = { "VM1!" = "0C13" } }, keys = {} }
"""
WATER = "cold water house/0.1"
WARM = "warm water house/0.1"
BEHIND = "cold water house/0.1 #2"  #: a meter behind a radio adapter


class Bench:
    """A house, and a head-end that can be killed."""

    def __init__(
        self, folder: Path, issue: str = "5.0.1", settings: RunnerSettings = SETTINGS, url: str = "", more: str = ""
    ) -> None:
        self.world = World(parse_plan(HOUSE.format(issue=issue) + more))
        self.database = Database.open(url or str(folder / "head-end.db"))
        if not url:  # power is cut between statements here, never below the database
            event.listen(self.database.engine, "connect", lambda raw, record: raw.execute("PRAGMA synchronous = OFF"))
        self.settings = settings
        self.executed: list[int] = []  #: key counters of the secured commands that devices carried out
        self.events: list[DeviceEvent] = []
        self.sent: list[CarriedOrder] = []
        self.jammed: Callable[[CarriedOrder], bool] = lambda order: False  #: orders that get lost on their way
        self.deaf: Callable[[CarriedResult], bool] = lambda result: False  #: results that get lost on their way
        self.reached = True
        self.devices = self._register()
        self.vault = Vault(self.database, MASTER, self.clock)
        with self.database.transaction():
            for post in self.world.devices.values():
                for key in post.spec.description.keys:
                    self.vault.add(str(post.spec.address), key.octets, key.key_id, key.version)
        for post in self.world.devices.values():
            post.events.append(self._watch)  # type: ignore[union-attr]
        self.desk = JobDesk(self.database, self.clock)
        self.told: list[Job] = []
        self.runner = self.start()

    def _register(self) -> dict[str, Device]:
        with self.database.transaction() as connection:
            tenant = registry_rows.tenants.add(connection, Tenant(0, "Elm Street"), START)
            return {
                name: registry_rows.devices.add(connection, Device(0, str(post.spec.address), tenant.id), START)
                for name, post in self.world.devices.items()
            }

    def _watch(self, happened: object, now: float) -> None:
        if isinstance(happened, DeviceEvent):
            self.events.append(happened)
            if happened.name == "executed":
                self.executed.append(happened.value or 0)

    # -- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return START.timestamp() + self.world.now

    def clock(self) -> datetime:
        return moment(self.now)

    # -- the head-end ----------------------------------------------------------------------------

    def start(self) -> Runner:
        """A head-end that begins, or begins again behind a power cut: nothing is left of the last one but its database."""
        results: collections.deque[CarriedResult] = collections.deque()
        self.results = results
        self.carrier = HandedOver("stairs", self._serves, self._hand_over)
        bus = Bus()
        bus.subscribe(JobChanged, lambda changed: self.told.append(changed.job))
        keys = VaultKeys(Vault(self.database, MASTER, self.clock), self.database)
        self.runner = Runner(self.database, keys, Carriers(self.carrier), bus=bus, settings=self.settings)
        self.runner.carriers.listen(results.append)
        self.runner.begin(self.now)
        return self.runner

    def _serves(self, device: Address) -> bool:
        return self.reached and any(post.spec.address == device for post in self.world.devices.values())

    def _hand_over(self, order: CarriedOrder) -> None:
        self.sent.append(order)
        if self.jammed(order):
            return
        if isinstance(order, Submit):
            partner = self.world.partner_of(order.exchange.address)
            partner.submit(order.token, order.exchange, self._bring)
        else:
            address = getattr(order, "address", None) or self.address()
            self.world.partner_of(address).tell(order)

    def _bring(self, result: CarriedResult) -> None:
        if not self.deaf(result):
            self.carrier.deliver(result)

    def run(self, until: Callable[[], bool], patience: float = 200_000.0) -> None:
        """Let time pass until something holds."""
        kernel = self.world.kernel
        end = self.world.now + patience
        while not until():
            assert self.world.now < end, "it takes too long"
            if self.results:
                self.runner.receive(self.results.popleft(), self.now)
            elif self.runner.deadline <= self.now:
                self.runner.step(self.now)
            else:
                due = self.runner.deadline - START.timestamp()
                coming = kernel.next_time
                # one microsecond more: a sum of floats may fall short of the deadline
                kernel.run(due + 1e-6 if coming is None else max(kernel.now, min(coming, due + 1e-6)))

    def finish(self, job: Job, patience: float = 200_000.0) -> Job:
        """The job when it is over."""
        over = ("done", "failed", "refused", "unknown", "cancelled")
        looked_at = -1

        def is_over() -> bool:
            nonlocal looked_at
            if len(self.told) == looked_at:
                return False
            looked_at = len(self.told)
            return self.job(job).state in over

        self.runner.look()
        self.run(is_over, patience)
        return self.job(job)

    # -- jobs ------------------------------------------------------------------------------------

    def address(self, name: str = WATER) -> Address:
        return self.world.devices[name].spec.address

    def ask(self, kind: str, name: str = WATER, *, approve: bool = True, **parameters: object) -> Job:
        """A job of Anna, approved by Bert where that is needed."""
        text = msgspec.json.encode(parameters).decode()
        made = self.desk.create(self.devices[name], kind, text, ANNA)
        if approve and made.state == "awaiting-approval":
            made = self.desk.approve(made.id, BERT)
        return made

    def do(self, kind: str, name: str = WATER, **parameters: object) -> tuple[Job, Outcome]:
        """Ask, wait, and the outcome of a job that is done."""
        job = self.finish(self.ask(kind, name, **parameters))
        assert job.state == "done", (job.state, job.error)
        return job, self.outcome(job)

    def job(self, job: Job) -> Job:
        found = self.desk.find(job.id)
        assert found is not None
        return found

    def outcome(self, job: Job) -> Outcome:
        return msgspec.json.decode(job.result or "null", type=Outcome)

    def steps(self, job: Job) -> list[str]:
        return [step.text for step in self.desk.steps(job.id)]

    def journal(self, name: str = WATER) -> Journal:
        with self.database.reading() as connection:
            return protocol_rows.journal_of(connection, OWNER, self.address(name))

    def valve(self, name: str = WATER) -> list[int | None]:
        """Where the valve went."""
        return [one.value for one in self.events if one.name == "valve"]
