"""Asking, approving, taking back and listing; parameters, kinds, states and retries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from openmetering.codec.address import Address
from openmetering.errors import DecodeError, ExchangeFailed, InputError, KeyNotFound, OutOfRange, Refused
from openmetering.protocol.operator.journal import ImageEntry, Journal, OpenCommand, RenewalEntry
from openmetering.services.headend.jobs import life
from openmetering.services.headend.jobs.desk import SETTLED, JobDesk
from openmetering.services.headend.jobs.kinds import KINDS, Plan, plan_of, read_parameters, resource
from openmetering.services.headend.jobs.life import TRANSITIONS, Retries, ending, next_state, unsettled
from openmetering.services.headend.jobs.parameters import FirmwareParameters
from openmetering.services.headend.model import JOB_STATES, Device, Job, Tenant
from openmetering.services.headend.rights import PERMISSIONS, Permission
from openmetering.storage import job_rows, registry_rows
from openmetering.storage.database import Database

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
ANNA, BERT = 1, 2
DEVICE = Address.parse("ELS-12345678-33-03")


class Office:
    """A desk with two devices of two tenants."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(str(folder / "desk.db"))
        self.now = NOW
        self.desk = JobDesk(self.database, lambda: self.now)
        with self.database.transaction() as connection:
            tenants = [registry_rows.tenants.add(connection, Tenant(0, name), NOW) for name in ("one", "two")]
            self.devices = [
                registry_rows.devices.add(connection, Device(0, f"ELS-1234567{number}-33-03", tenant.id), NOW)
                for number, tenant in enumerate(tenants)
            ]

    def ask(self, kind: str = "read", parameters: str = "{}", *, device: int = 0, draft: bool = False) -> Job:
        return self.desk.create(self.devices[device], kind, parameters, ANNA, draft=draft)

    def put(self, job: Job, state: str) -> None:
        with self.database.transaction() as connection:
            job_rows.jobs.change(connection, job.id, state=state)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.database.close()


# -- asking ----------------------------------------------------------------------------------------------

CLOSE = '{"state": "disconnected"}'


def test_what_does_no_harm_needs_nobody_else(office: Office) -> None:
    job = office.ask()
    assert (job.state, job.created_by, job.created_at, job.approved_by, job.attempts) == ("queued", ANNA, NOW, None, 0)
    assert [step.text for step in office.desk.steps(job.id)] == ["asked for: read the device"]
    with pytest.raises(InputError, match="the job is queued: it cannot be approved"):
        office.desk.approve(job.id, BERT)


def test_two_people(office: Office) -> None:
    job = office.ask("disconnector", CLOSE)
    assert job.state == "awaiting-approval"
    with pytest.raises(InputError, match="a job of your own") as caught:
        office.desk.approve(job.id, ANNA)
    assert caught.value.code == "access.denied"
    made = office.desk.approve(job.id, BERT)
    assert (made.state, made.approved_by) == ("queued", BERT)
    with pytest.raises(InputError) as caught:
        office.desk.approve(job.id, 3)
    assert caught.value.code == "access.conflict"


def test_drafts(office: Office) -> None:
    job = office.ask("disconnector", CLOSE, draft=True)
    assert job.state == "draft"
    assert office.desk.submit(job.id).state == "awaiting-approval"
    other = office.ask(draft=True)
    assert office.desk.submit(other.id).state == "queued"
    with pytest.raises(InputError, match="cannot be submitted"):
        office.desk.submit(other.id)
    assert office.desk.cancel(office.ask(draft=True).id).state == "cancelled"
    waiting = office.ask("disconnector", CLOSE)
    assert office.desk.cancel(waiting.id, BERT).state == "cancelled"


def test_a_running_job_is_not_taken_back_by_the_desk(office: Office) -> None:
    told: list[int] = []
    job = office.ask()
    office.put(job, "running")
    assert office.desk.cancel(job.id).state == "running"  # nobody carries jobs out here: the step tells
    office.desk.cancelled = told.append
    office.desk.cancel(job.id)
    assert told == [job.id]
    assert [step.text for step in office.desk.steps(job.id)][1:] == ["to be cancelled"] * 2


def test_taking_up(office: Office) -> None:
    job = office.ask()
    with pytest.raises(InputError, match="cannot be taken up again"):
        office.desk.resume(job.id)
    office.put(job, "unknown")
    assert office.desk.resume(job.id).state == "queued"
    office.put(job, "unknown")
    with office.database.transaction() as connection:
        job_rows.add_step(connection, job.id, NOW, f"{SETTLED}7: nothing was open")
    with pytest.raises(InputError, match="another job"):
        office.desk.resume(job.id)


def test_somebody_was_faster(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    job = office.ask("disconnector", CLOSE)
    monkeypatch.setattr(office.desk.__class__, "find", lambda desk, number: job)
    office.desk.cancel(job.id)
    with pytest.raises(InputError, match="changed meanwhile"):
        office.desk.approve(job.id, BERT)


def test_what_is_not_there(office: Office) -> None:
    assert office.desk.find(99) is None
    for act in (office.desk.submit, office.desk.cancel, office.desk.resume):
        with pytest.raises(InputError) as caught:
            act(99)
        assert caught.value.code == "access.unknown"
    retired = msgspec.structs.replace(office.devices[0], state="retired")
    with pytest.raises(InputError, match="retired"):
        office.desk.create(retired, "read")
    with pytest.raises(InputError, match="no job of the kind 'dance'"):
        office.ask("dance")


def test_pages(office: Office) -> None:
    jobs = [office.ask(device=number % 2) for number in range(5)]
    office.put(jobs[0], "done")
    numbers = [job.id for job in jobs]
    page = office.desk.page(limit=2)
    assert [job.id for job in page.items] == numbers[:-3:-1]
    assert [job.id for job in office.desk.page(before=page.after, limit=10).items] == numbers[2::-1]
    assert [job.id for job in office.desk.page(states=("done",)).items] == numbers[:1]
    assert [job.id for job in office.desk.page(device_id=office.devices[1].id).items] == [numbers[3], numbers[1]]
    assert [job.id for job in office.desk.page(tenant_id=office.devices[1].tenant_id).items] == [numbers[3], numbers[1]]
    assert office.desk.page(tenant_id=-1).items == ()


def test_many_steps(office: Office) -> None:
    job = office.ask()
    with office.database.transaction() as connection:
        for number in range(1005):
            job_rows.add_step(connection, job.id, NOW, f"step {number}")
    assert len(office.desk.steps(job.id)) == 1006


# -- kinds and parameters ----------------------------------------------------------------------------------

PLANS: list[tuple[str, str, str, bool, str]] = [
    ("register", "{}", "key:00", False, "none"),
    ("read", '{"standard": true}', "key:00", False, "none"),
    ("disconnector", "{}", "key:00", False, "none"),
    ("disconnector", '{"state": "released", "delay": 60}', "key:20", True, "journal"),
    ("clock", "{}", "key:00", False, "none"),
    ("clock", '{"action": "adjust", "seconds": -60}', "key:21", False, "journal"),
    ("clock", '{"action": "adjust", "seconds": 5, "by_gateway": true}', "key:00", False, "once"),
    ("clock", '{"action": "correct", "zone": "Europe/Berlin"}', "key:21", False, "journal"),
    ("clock", '{"action": "set", "summer": true}', "key:22", False, "journal"),
    ("firmware", '{"identifier": "0x0102", "image": "AAAA"}', "key:23", True, "journal"),
    ("firmware", '{"identifier": "V1", "action": "state"}', "key:00", False, "none"),
    ("firmware", '{"identifier": "V1", "action": "terminate"}', "key:23", True, "journal"),
    ("supervision", "{}", "key:00", False, "none"),
    ("supervision", '{"action": "clear"}', "key:24", False, "journal"),
    ("supervision", '{"action": "clear", "mask": 255, "size": 1, "maker": true}', "key:24", False, "journal"),
    ("keys", "{}", "key:10", False, "none"),
    ("keys", '{"action": "synchronise"}', "key:10", False, "none"),
    ("keys", '{"action": "renew", "key_id": 32}', "key:10", True, "journal"),
    ("keys", '{"action": "destroy", "key_id": 32, "version": 0, "issue": "4.3.3"}', "key:10", True, "journal"),
    ("select", '{"application": 0, "add": ["DP3!"], "remove": ["DT1!"]}', "key:25", False, "journal"),
    ("due-date", "{}", "key:00", False, "none"),
    ("due-date", '{"date": "2027-01-01"}', "key:26", False, "journal"),
    ("ownership", "{}", "key:00", False, "none"),
    ("ownership", '{"digits": "123456789012"}', "key:26", False, "journal"),
    ("consumer", '{"coding": "1200"}', "key:00", False, "none"),
    ("index", '{"tag": "EW1!"}', "key:00", False, "none"),
    ("index", '{"action": "add", "header": "0A13", "value": "0.367"}', "key:27", True, "journal"),
    ("meter-address", '{"address": "FFFF-87654321-FF-FF"}', "key:27", True, "journal"),
    ("test", "{}", "key:00", False, "none"),
    ("test", '{"secured": true, "functions": [48]}', "key:1F", False, "none"),
]


@pytest.mark.parametrize(("kind", "parameters", "needed", "approval", "effect"), PLANS)
def test_what_a_job_needs(kind: str, parameters: str, needed: str, approval: bool, effect: str) -> None:
    plan = plan_of(kind, parameters)
    assert (plan.approval, plan.effect) == (approval, effect)
    assert plan.meaning
    assert resource(kind, parameters) == needed
    for verb in ("execute", "approve"):
        assert Permission(verb, needed) in PERMISSIONS
        assert Permission(verb, resource(kind)) in PERMISSIONS


def test_every_kind_is_there(office: Office) -> None:
    assert {row[0] for row in PLANS} == set(KINDS) == set(office.desk.kinds())
    assert office.desk.resource("disconnector") == "key:20"
    assert office.desk.resource("disconnector", "{}") == "key:00"
    assert office.desk.needs_approval("disconnector", CLOSE)
    assert not office.desk.needs_approval("disconnector", "{}")
    # the most demanding one of a kind is one of its plans
    for name in KINDS:
        assert resource(name) in {needed for kind, _, needed, _, _ in PLANS if kind == name}


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("read", "{", "read: "),
        ("read", '{"colour": 1}', "unknown field"),
        ("read", '{"issue": "9.9.9"}', "issue"),
        ("disconnector", '{"state": "ajar"}', "state"),
        ("disconnector", '{"state": "connected", "delay": -1}', "delay"),
        ("clock", '{"action": "adjust"}', "1 to 60 seconds"),
        ("clock", '{"action": "adjust", "seconds": 61}', "<= 60"),
        ("clock", '{"action": "set", "by_gateway": true}', "may not set"),
        ("clock", '{"zone": "Mars/Olympus"}', "no time zone"),
        ("clock", '{"zone": "../etc/passwd"}', "no time zone"),
        ("firmware", '{"identifier": "V1"}', "octets, got 0"),
        ("firmware", '{"identifier": "V1", "image": "AA", "action": "state"}', "firmware: "),
        ("firmware", '{"identifier": "V1", "image": "AAAA", "action": "state"}', "only an update needs an image"),
        ("firmware", '{"identifier": "0xZZ", "action": "state"}', "hexadecimal"),
        ("firmware", '{"identifier": "", "action": "state"}', "identifier"),
        ("supervision", '{"action": "clear", "mask": 256, "size": 1}', "no mask of 1 octets"),
        ("keys", '{"action": "renew"}', "which key"),
        ("keys", '{"action": "renew", "key_id": 32, "version": 3}', "chosen by the vault"),
        ("keys", '{"action": "destroy", "key_id": 32, "version": 0}', "issue 4.3.3"),
        ("select", '{"application": 0}', "which tags"),
        ("select", '{"application": 0, "add": ["XX9!"]}', "XX9!"),
        ("select", '{"application": 16, "add": ["DP3!"]}', "application"),
        ("due-date", '{"date": "2027-13-01"}', "due-date: "),
        ("ownership", '{"digits": "123"}', "ownership: "),
        ("consumer", "{}", "coding"),
        ("consumer", '{"coding": "123"}', "coding"),
        ("index", '{"tag": "XX9!"}', "XX9!"),
        ("index", '{"value": "1"}', "takes no value"),
        ("index", '{"action": "set", "header": "0A13"}', "its header and a value"),
        ("index", '{"action": "set", "value": "1"}', "its header and a value"),
        ("index", '{"action": "set", "header": "8A13", "value": "1"}', "a DIF with data"),
        ("index", '{"action": "set", "header": "0013", "value": "1"}', "a DIF with data"),
        ("index", '{"action": "set", "header": "0A13", "value": "10"}', "index: "),
        ("index", '{"action": "sub", "header": "0A13", "value": "-1"}', "value"),
        ("meter-address", '{"address": "meter 5"}', "no address"),
        ("meter-address", '{"address": "ELS-12345678-33-07", "delay": 121}', "delay"),
        ("test", '{"functions": [1]}', "test: "),
    ],
)
def test_what_cannot_be_carried_out_is_refused_at_once(kind: str, parameters: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_parameters(kind, parameters)
    assert caught.value.code == "access.invalid"
    assert words in caught.value.message


def test_an_image_is_bounded() -> None:
    with pytest.raises(ValueError, match="65535 blocks"):
        FirmwareParameters(identifier="V1", image=bytes(16 * 65_536), block_size=16)
    assert FirmwareParameters(identifier="0x0A0B", action="state").name == b"\x0a\x0b"
    assert FirmwareParameters(identifier="V1", action="state").name == b"V1"


def test_every_kind_has_a_schema_for_the_interfaces() -> None:
    for kind in KINDS.values():
        schema = msgspec.json.schema(kind.parameters)
        assert schema["$defs"]


# -- states and retries ------------------------------------------------------------------------------------


def test_every_row_of_the_life_of_a_job() -> None:
    events = {event for _, event in TRANSITIONS}
    for state in JOB_STATES:
        for event in events:
            if (state, event) in TRANSITIONS:
                assert next_state(state, event) == TRANSITIONS[state, event]
                assert TRANSITIONS[state, event] in JOB_STATES
            else:
                with pytest.raises(InputError, match=f"the job is {state}"):
                    next_state(state, event)
    assert {state for state, _ in TRANSITIONS}.isdisjoint(set(life.OVER) - {"unknown"})


def test_pauses_grow_and_end() -> None:
    retries = Retries(4, (1.0, 5.0))
    assert [retries.delay(attempts) for attempts in range(1, 6)] == [1.0, 5.0, 5.0, None, None]


EMPTY = Journal(DEVICE)
OPEN = EMPTY.with_command(OpenCommand(0x20, 0, 1, bytes(16)))
VALVE = Plan("valve", 0x20, approval=True, effect="journal")
READ = Plan("read", 0)
ONCE = Plan("gateway", 0, effect="once")


def lost(delivered: bool | None) -> ExchangeFailed:
    return ExchangeFailed("no answer", reason="no-answer", delivered=delivered)


@pytest.mark.parametrize(
    ("error", "plan", "journal", "last", "event"),
    [
        (Refused("no"), VALVE, OPEN, False, "refused"),
        (lost(None), VALVE, OPEN, False, "retry"),
        (lost(None), VALVE, OPEN, True, "unknown"),
        (lost(False), VALVE, EMPTY, False, "retry"),
        (lost(False), VALVE, EMPTY, True, "failed"),
        (lost(None), READ, OPEN, True, "failed"),
        (lost(None), READ, EMPTY, False, "retry"),
        (lost(None), ONCE, EMPTY, False, "unknown"),
        (lost(True), ONCE, EMPTY, False, "unknown"),
        (lost(False), ONCE, EMPTY, False, "retry"),
        (DecodeError("what", layer="apl"), VALVE, OPEN, False, "retry"),
        (DecodeError("what", layer="apl"), VALVE, OPEN, True, "unknown"),
        (DecodeError("what", layer="apl"), READ, EMPTY, False, "failed"),
        (KeyNotFound("no key"), VALVE, EMPTY, False, "failed"),
        (OutOfRange("too far"), VALVE, EMPTY, False, "failed"),
    ],
)
def test_what_an_error_makes_of_a_job(
    error: Refused | ExchangeFailed, plan: Plan, journal: Journal, last: bool, event: str
) -> None:
    assert ending(error, plan, journal, last=last).event == event


def test_what_is_open_under_a_key() -> None:
    image = ImageEntry(b"V1", bytes(16), 190)
    activating = msgspec.structs.replace(image, stage="activating")
    assert not unsettled(EMPTY, 0x20)
    assert unsettled(OPEN, 0x20)
    assert not unsettled(OPEN, 0x24)
    assert unsettled(EMPTY.with_renewal(RenewalEntry(0x20, 0, 1, "transferring")), 0x10)
    assert not unsettled(EMPTY.with_renewal(RenewalEntry(0x20, 0, 1, "transferring")), 0x20)
    assert not unsettled(msgspec.structs.replace(EMPTY, image=image), 0x23)
    assert unsettled(msgspec.structs.replace(EMPTY, image=activating), 0x23)
