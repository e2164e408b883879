"""Rights: every guarded method with every role, on things of the own tenant and of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from openmetering.errors import InputError
from openmetering.services.headend.access import METHODS
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.model import ROLES, User
from openmetering.services.headend.registry import DeviceChange, DeviceFilter
from openmetering.services.headend.rights import PERMISSIONS, Permission, Rights, Scope, key_resource
from openmetering.services.mdm.exchange import Partners
from openmetering.storage.database import Database
from openmetering.storage.mdm_rows import NodeData, PointData
from openmetering.tables import KEY_IDS
from tests.fleet import radio
from tests.services.headend.desk import MASTER, PASSWORD, START, Desk, address_of


class Place(msgspec.Struct):
    """The numbers of the things of one tenant; every text of it carries its mark."""

    mark: str
    tenant: int
    number: int
    site: int = 0
    unit: int = 0
    room: int = 0
    point: int = 0
    spare: int = 0
    device: int = 0
    loose: int = 0
    assignment: int = 0
    consumer: int = 0
    occupancy: int = 0
    alarm: int = 0
    job: int = 0
    unknown_job: int = 0
    waiting: int = 0
    key: int = 0
    webhook: int = 0
    series: int = 0
    frame: int = 0
    token: int = 0
    gateway: int = 0
    schedule: int = 0


SPAN = (START - timedelta(days=20), START + timedelta(days=1))
PARTNERS = Partners("9900123000007", "9900456000004")
SWITCH = '{"state": "disconnected"}'


def furnish(desk: Desk, mark: str, number: int) -> Place:
    """A tenant with one of everything."""
    admin, head_end = desk.admin, desk.head_end
    place = Place(mark, desk.tenant(f"{mark} tenant"), number)
    place.site = admin.add_node("site", f"{mark} site", tenant_id=place.tenant).id
    place.unit = admin.add_node("unit", f"{mark} unit", place.site).id
    place.room = admin.add_node("room", f"{mark} room", place.unit).id
    place.point = admin.add_point(place.room, f"{mark} point").id
    place.spare = admin.add_point(place.room, f"{mark} spare").id
    place.device = desk.meter(place.tenant, number, label=f"{mark} device").id
    place.loose = desk.meter(place.tenant, number + 1, label=f"{mark} loose").id
    place.assignment = admin.assign(place.device, place.point, START - timedelta(days=30)).id
    place.consumer = desk.user("consumer", place.tenant, f"{mark} consumer").id
    place.occupancy = admin.add_occupancy(place.consumer, place.unit, START - timedelta(days=30)).id
    desk.hear(radio(number, number=number, status=3))
    head_end.ingestor.flush()
    place.alarm = admin.alarms(device_id=place.device).items[0].id
    place.key = admin.add_key(
        address_of(number), bytes([number % 251] * 16).hex(), label=f"{mark} key", tenant_id=place.tenant
    ).id
    place.webhook = admin.add_webhook(f"https://{mark}.example/", ("alarm",), f"{mark} secret of the hook", place.tenant).id
    place.series = admin.series(place.device)[0].id
    place.frame = admin.telegrams(place.device).items[0].frame_id
    place.token = head_end.accounts.add_token(place.consumer, ("*",), None, f"{mark} token")[0].id
    place.gateway = head_end.registry.gateways()[0].id
    admin.set_point_data(PointData(0, place.point, grid=3600.0, identifier=f"DE{number}"))
    admin.set_node_data(NodeData(0, place.unit, identifier=f"{number:013}"))
    place.schedule = admin.add_report_schedule("monthly", "csv", 1, "mail", f"{mark}@example.org", place.unit).id
    device = head_end.registry.find_device(place.device)
    assert device is not None
    place.waiting = head_end.jobs.create(device, "disconnector", SWITCH, desk.root.id).id
    place.job = head_end.jobs.create(device, "disconnector", SWITCH, desk.root.id).id
    place.unknown_job = head_end.jobs.create(device, "disconnector", SWITCH, desk.root.id).id
    with desk.database.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET state = 'unknown' WHERE id = {place.unknown_job}")
    return place


class World:
    """Two tenants that must not see each other."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.places = (furnish(desk, "alpha", 11), furnish(desk, "omega", 21))
        self.users: dict[tuple[str, int], User] = {}
        for which, place in enumerate(self.places):
            for role in ROLES:
                if role == "consumer":
                    found = desk.head_end.accounts.find(place.consumer)
                    assert found is not None
                    self.users[role, which] = found
                else:
                    self.users[role, which] = desk.user(role, place.tenant, f"{place.mark} {role}")

    def session(self, role: str, which: int = 0) -> Guarded:
        """The head-end as this role of this tenant sees it."""
        return self.desk.head_end.as_user(self.users[role, which])


class _Back(Exception):
    """Takes everything back."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Database.open(":memory:") as database:
        made = World(Desk(database))
        yield made
        made.desk.close()


def tried(world: World, session: Guarded, call: Callable[[], object]) -> tuple[str, str]:
    """What a call gives: the code of its refusal or "ok", and everything it shows. It leaves nothing behind."""
    head_end, code, shown = world.desk.head_end, "ok", ""
    try:
        with head_end.database.transaction():
            try:
                shown = repr(call())
            except InputError as error:
                code, shown = error.code, error.message
            raise _Back
    except _Back:
        head_end.registry.forget()
        head_end.alarms.reload()
        head_end.vault.refresh()
    return code, shown


FILE = "address,label\n{address},{mark} imported\n"
KEYS = "address,key\n{address},000102030405060708090A0B0C0D0E0F\n"

#: method -> the call on things of a place. Calls of LISTS name nothing: they must show nothing of others
CALLS: dict[str, Callable[[Guarded, Place], object]] = {
    "add_node": lambda s, p: s.add_node("building", "new", p.site),
    "rename_node": lambda s, p: s.rename_node(p.room, "new"),
    "remove_node": lambda s, p: s.remove_node(s._head.registry.add_node(p.tenant, None, "site", "empty").id),
    "add_point": lambda s, p: s.add_point(p.room, "new"),
    "remove_point": lambda s, p: s.remove_point(p.spare),
    "device": lambda s, p: s.device(p.device),
    "device_by_address": lambda s, p: s.device_by_address(address_of(p.number)),
    "register_device": lambda s, p: s.register_device(address_of(p.number + 5), DeviceChange(), p.tenant),
    "change_device": lambda s, p: s.change_device(p.device, DeviceChange(label="new")),
    "step_device": lambda s, p: s.step_device(p.loose, "retire"),
    "place": lambda s, p: s.place(p.device),
    "assignments": lambda s, p: s.assignments(device_id=p.device),
    "assign": lambda s, p: s.assign(p.loose, p.spare, START),
    "move_device": lambda s, p: s.move_device(p.loose, p.spare, START),
    "end_assignment": lambda s, p: s.end_assignment(p.assignment, START + timedelta(days=1)),
    "add_occupancy": lambda s, p: s.add_occupancy(p.consumer, p.site, START),
    "end_occupancy": lambda s, p: s.end_occupancy(p.occupancy, START + timedelta(days=1)),
    "receivers": lambda s, p: s.receivers(p.device),
    "preview_import": lambda s, p: s.preview_import(FILE.format(address=address_of(p.number), mark=p.mark).encode(), p.tenant),
    "apply_import": lambda s, p: s.apply_import(FILE.format(address=address_of(p.number), mark=p.mark).encode(), p.tenant),
    "latest_readings": lambda s, p: s.latest_readings(p.device),
    "readings": lambda s, p: s.readings(p.device),
    "series": lambda s, p: s.series(p.device),
    "series_values": lambda s, p: s.series_values(p.series, resolution=3600),
    "telegrams": lambda s, p: s.telegrams(p.device),
    "telegram": lambda s, p: s.telegram(p.frame),
    "acknowledge_alarm": lambda s, p: s.acknowledge_alarm(p.alarm),
    "job": lambda s, p: s.job(p.job),
    "job_steps": lambda s, p: s.job_steps(p.job),
    "create_job": lambda s, p: s.create_job(p.device, "disconnector", SWITCH),
    "approve_job": lambda s, p: s.approve_job(p.waiting),
    "cancel_job": lambda s, p: s.cancel_job(p.job),
    "resume_job": lambda s, p: s.resume_job(p.unknown_job),
    "add_key": lambda s, p: s.add_key(address_of(p.number + 5), "00" * 15 + "01", tenant_id=p.tenant),
    "preview_keys": lambda s, p: s.preview_keys(KEYS.format(address=address_of(p.number + 5)).encode(), p.tenant),
    "import_keys": lambda s, p: s.import_keys(KEYS.format(address=address_of(p.number + 5)).encode(), p.tenant),
    "retire_key": lambda s, p: s.retire_key(p.key),
    "add_webhook": lambda s, p: s.add_webhook("https://new.example/", ("job",), "x" * 16, p.tenant),
    "remove_webhook": lambda s, p: s.remove_webhook(p.webhook),
    "validate": lambda s, p: s.validate(*SPAN, p.tenant),
    "findings": lambda s, p: s.findings(point_id=p.point),
    "versions": lambda s, p: s.versions(p.point, *SPAN),
    "edit_value": lambda s, p: s.edit_value(p.point, START, Decimal("1.5"), "seen"),
    "point_data": lambda s, p: s.point_data(p.point),
    "set_point_data": lambda s, p: s.set_point_data(PointData(0, p.point, "Q3 2.5", "3.125", "m3")),
    "node_data": lambda s, p: s.node_data(p.unit),
    "set_node_data": lambda s, p: s.set_node_data(NodeData(0, p.unit, 62.5)),
    "report": lambda s, p: s.report("monthly", p.unit, START.date()),
    "export_values": lambda s, p: list(s.export_values(*SPAN, tenant_id=p.tenant)),
    "export_due_dates": lambda s, p: s.export_due_dates(START.date(), PARTNERS, p.unit),
    "export_slots": lambda s, p: s.export_slots(*SPAN, PARTNERS, p.unit),
    "export_results": lambda s, p: s.export_results(*SPAN, "0000004711", node_id=p.unit),
    "add_report_schedule": lambda s, p: s.add_report_schedule("monthly", "pdf", 3, "mail", "a@example.org", p.unit),
    "remove_report_schedule": lambda s, p: s.remove_report_schedule(p.schedule),
    "retention": lambda s, p: s.retention(p.tenant),
    "set_retention": lambda s, p: s.set_retention("raw", 60, p.tenant),
    "subject_access": lambda s, p: s.subject_access(p.consumer),
}
LISTS: dict[str, Callable[[Guarded, Place], object]] = {
    "tenants": lambda s, _: s.tenants(),
    "nodes": lambda s, _: s.nodes(),
    "points": lambda s, _: s.points(),
    "devices": lambda s, _: s.devices(DeviceFilter()),
    "occupancies": lambda s, _: s.occupancies(),
    "export_devices": lambda s, _: s.export_devices(),
    "alarms": lambda s, _: s.alarms(),
    "overview": lambda s, _: s.overview(),
    "board": lambda s, _: s.board(),
    "jobs": lambda s, _: s.jobs(),
    "keys": lambda s, _: s.keys(),
    "webhooks": lambda s, _: s.webhooks(),
    "heard_by": lambda s, p: s.heard_by(p.gateway),
    "report_schedules": lambda s, _: s.report_schedules(),
}
#: methods without things of a tenant: who may, may
PLAIN: dict[str, Callable[[Guarded, Place], object]] = {
    "add_tenant": lambda s, _: s.add_tenant("new"),
    "gateways": lambda s, _: s.gateways(),
    "users": lambda s, _: s.users(),
    "add_user": lambda s, _: s.add_user("new", PASSWORD, "auditor"),
    "change_user": lambda s, p: s.change_user(p.consumer, locale="de"),
    "set_password": lambda s, p: s.set_password(p.consumer, PASSWORD + " new"),
    "tokens": lambda s, _: s.tokens(),
    "add_token": lambda s, _: s.add_token(("read:tokens",)),
    "audit": lambda s, _: s.audit(),
    "job_kinds": lambda s, _: s.job_kinds(),
    "validation_runs": lambda s, _: s.validation_runs(),
}
#: tested on its own, below
APART = {"revoke_token", "rotate_master", "erase"}
#: what is needed on top
MORE = {
    "create_job": Permission("execute", "key:20"),
    "cancel_job": Permission("execute", "key:20"),
    "resume_job": Permission("execute", "key:20"),
    "approve_job": Permission("approve", "key:20"),
    "heard_by": Permission("read", "devices"),
}


def scope_of(role: str, name: str) -> str | None:
    """On what the table lets a role call a method; the narrower one where two permissions are needed."""
    found = [PERMISSIONS[METHODS[name].permission].get(role)]
    if name in MORE:
        found.append(PERMISSIONS[MORE[name]].get(role))
    return None if None in found else min((kind for kind in found if kind), key=("own", "tenant", "all").index)


def test_every_method_is_in_the_matrix() -> None:
    assert set(METHODS) == set(CALLS) | set(LISTS) | set(PLAIN) | APART


def test_every_method_that_is_public_is_guarded() -> None:
    free = {"can", "require", "note", "note_look", "windows", "tenant_of", "tenant_filter", "seen_device", "seen_node",
            "own_view", "has_now", "change_own_password", "set_own_locale", "rights", "user",
            "listen", "zone", "point_names"}  # fmt: skip
    public = {name for name in dir(Guarded) if not name.startswith("_")}
    assert public - free == set(METHODS)


def test_the_permission_of_every_method_is_in_the_table() -> None:
    assert {method.permission for method in METHODS.values()} <= set(PERMISSIONS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(CALLS))
def test_on_things_of_the_own_tenant(world: World, role: str, name: str) -> None:
    session = world.session(role)
    code, _ = tried(world, session, lambda: CALLS[name](session, world.places[0]))
    assert code == ("access.denied" if scope_of(role, name) is None else "ok")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(CALLS))
def test_on_things_of_another_tenant(world: World, role: str, name: str) -> None:
    session = world.session(role)
    code, shown = tried(world, session, lambda: CALLS[name](session, world.places[1]))
    wanted = {None: "access.denied", "all": "ok", "tenant": "access.unknown", "own": "access.unknown"}[scope_of(role, name)]
    # who may see jobs, but not ask for such a one, learns no more than that there is none
    assert code == wanted or (code == "access.unknown" and name in MORE and role in PERMISSIONS[METHODS[name].permission])
    if code != "ok":
        assert "omega" not in shown


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(LISTS))
def test_lists_show_nothing_of_others(world: World, role: str, name: str) -> None:
    session = world.session(role)
    code, shown = tried(world, session, lambda: LISTS[name](session, world.places[0]))
    scope = scope_of(role, name)
    assert code == ("access.denied" if scope is None else "ok")
    strange = ("omega", address_of(21), f"device_id={world.places[1].device},", f"tenant_id={world.places[1].tenant},")
    if scope == "all":
        other = world.places[1]
        marks = ("omega", f"device_id={other.device},", f"user_id={other.consumer},", f"node_id={other.unit},")
        assert any(mark in shown for mark in marks)
    else:
        assert not [text for text in strange if text in shown]
    if scope is not None and name not in ("heard_by", "jobs", "occupancies", "alarms"):
        assert "alpha" in shown


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(PLAIN))
def test_methods_without_a_tenant(world: World, role: str, name: str) -> None:
    session = world.session(role)
    code, _ = tried(world, session, lambda: PLAIN[name](session, world.places[0]))
    assert code == ("access.denied" if scope_of(role, name) is None else "ok")


@pytest.mark.parametrize("role", ROLES)
def test_the_master_key_is_changed_by_who_may_do_it_for_all(world: World, role: str) -> None:
    session = world.session(role)
    if role == "admin":
        assert session.rotate_master(MASTER[::-1]).keys >= 2
        return
    code, _ = tried(world, session, lambda: session.rotate_master(bytes(16)))
    assert code == "access.denied"


@pytest.mark.parametrize("role", ROLES)
def test_what_is_erased_is_the_own_tenants(world: World, role: str) -> None:
    """Not taken back: another time than that of the other tests."""
    session, begin = world.session(role), START - timedelta(days=900)
    scope = PERMISSIONS[METHODS["erase"].permission].get(role)
    for which, place in enumerate(world.places):
        try:
            session.erase(place.unit, begin, begin + timedelta(days=1))
            code = "ok"
        except InputError as error:
            code = error.code
        seen = scope == "all" or (scope == "tenant" and which == 0)
        assert code == ("access.denied" if scope is None else "ok" if seen else "access.unknown")


@pytest.mark.parametrize("role", ROLES)
def test_tokens_of_others(world: World, role: str) -> None:
    session = world.session(role)
    other = world.places[1].token
    wanted = "ok" if role == "admin" else "access.unknown"
    assert tried(world, session, lambda: session.revoke_token(other))[0] == wanted
    assert tried(world, session, lambda: session.tokens(world.places[1].consumer))[0] == wanted
    own, _ = session.add_token(("read:tokens",))
    assert tried(world, session, lambda: session.revoke_token(own.id))[0] == "ok"
    session.revoke_token(own.id)


@pytest.mark.parametrize("role", ROLES)
def test_what_does_not_exist_is_answered_like_what_is_others(world: World, role: str) -> None:
    session = world.session(role)
    missing = Place("none", 9999, 77777777, *[9999] * (len(Place.__struct_fields__) - 3))
    for name in sorted(set(CALLS) - {"remove_node"}):
        code, _ = tried(world, session, lambda name=name: CALLS[name](session, missing))  # type: ignore[misc]
        if scope_of(role, name) is not None:
            assert code == "access.unknown", name


def test_no_answer_holds_a_secret(world: World) -> None:
    session = world.session("admin")
    shown = "".join(
        tried(world, session, lambda call=call: call(session, world.places[0]))[1]  # type: ignore[misc]
        for call in (*CALLS.values(), *LISTS.values(), *PLAIN.values())
    )
    for secret in ("$argon2", "secret of the hook", bytes([11] * 16).hex(), MASTER.hex(), "hash='"):
        assert secret not in shown.lower().replace("password_hash=''", "").replace("hash=''", "")


# -- personal data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.personal))
def test_every_access_to_personal_data_is_noted(world: World, name: str) -> None:
    head_end = world.desk.head_end
    session = world.session("admin")
    call = CALLS.get(name) or LISTS[name]
    world.desk.clock.forward(minutes=2)
    last = head_end.audit.page(limit=1).items[0].id
    notes = []
    try:
        with head_end.database.transaction():
            call(session, world.places[0])
            notes = [entry for entry in head_end.audit.page(limit=10).items if entry.id > last and entry.personal]
            raise _Back
    except _Back:
        head_end.registry.forget()
    assert notes
    assert {entry.user_id for entry in notes} == {session.user.id}


@pytest.mark.parametrize("name", sorted(name for name in METHODS if name not in LISTS and name not in APART))
def test_every_change_is_noted(world: World, name: str) -> None:
    head_end, session = world.desk.head_end, world.session("admin")
    call = CALLS.get(name) or PLAIN[name]
    changes = METHODS[name].permission.verb == "write" or name in ("create_job", "approve_job")
    if not changes or name.startswith("preview"):
        return
    last = head_end.audit.page(limit=1).items[0].id
    try:
        with head_end.database.transaction():
            call(session, world.places[0])
            (entry,) = [one for one in head_end.audit.page(limit=10).items if one.id > last]
            assert entry.user_id == session.user.id
            assert entry.action.split()[0] in name.replace("step", "retire").replace("apply", "import").split("_")
            raise _Back
    except _Back:
        head_end.registry.forget()
        head_end.alarms.reload()
        head_end.vault.refresh()


def test_methods_that_show_a_household_are_marked() -> None:
    personal = {name for name, method in METHODS.items() if method.personal}
    assert personal == {
        "latest_readings", "readings", "series", "series_values", "telegrams", "telegram", "board",
        "occupancies", "add_occupancy", "end_occupancy", "findings", "versions", "report", "export_values", "export_due_dates",
        "export_slots", "export_results", "subject_access",
    }  # fmt: skip


def test_a_refusal_is_noted(world: World) -> None:
    session = world.session("consumer")
    with pytest.raises(InputError):
        session.keys()
    entry = world.desk.head_end.audit.page(limit=1).items[0]
    assert (entry.user_id, entry.action, entry.object, entry.detail) == (session.user.id, "denied", "keys", "read:keys")


def test_a_page_that_renews_itself_is_one_look(world: World) -> None:
    session, audit = world.session("mso"), world.desk.head_end.audit
    world.desk.clock.forward(hours=1)
    session.board()
    last = audit.page(limit=1).items[0].id
    for _ in range(5):
        world.desk.clock.forward(seconds=10)
        session.board()
        session.latest_readings(world.places[0].device)
    assert audit.page(limit=1).items[0].id == last + 1  # the meter is another look
    world.desk.clock.forward(seconds=11)
    session.board()
    assert audit.page(limit=1).items[0].id == last + 2


# -- the table ----------------------------------------------------------------------------------------


def test_there_is_a_permission_for_every_application_key() -> None:
    for key in KEY_IDS:
        if key.group == "application" and "reserved" not in key.name:
            for verb in ("execute", "approve"):
                assert Permission(verb, f"key:{key.code:02X}") in PERMISSIONS


@pytest.mark.parametrize(
    ("key_id", "resource"),
    [(0, "key:00"), (8, "key:00"), (0x10, "key:10"), (0x14, "key:10"), (0x17, "key:10"), (0x18, "key:18"), (0x23, "key:23")],
)
def test_key_identifiers_are_resources(key_id: int, resource: str) -> None:
    assert key_resource(key_id) == resource


def test_who_may_approve_may_execute() -> None:
    for permission, roles in PERMISSIONS.items():
        if permission.verb == "approve":
            assert roles == PERMISSIONS[Permission("execute", permission.resource)]


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (
            "consumer",
            {"read:readings", "read:devices"},
            {"read:telegrams", "execute:key:20", "read:keys", "write:devices", "read:audit"},
        ),
        ("auditor", {"read:audit", "read:keys", "read:users"}, {"read:readings", "write:users", "execute:key:00"}),
        ("key-custodian", {"write:keys", "execute:key:10"}, {"read:readings", "execute:key:20", "write:devices"}),
        ("supplier", {"read:readings", "execute:key:26"}, {"execute:key:20", "read:telegrams", "write:nodes"}),
        ("dso", {"execute:key:20", "approve:key:20"}, {"execute:key:23", "write:devices"}),
        ("msp", {"read:telegrams", "execute:key:25"}, {"execute:key:20", "execute:key:10"}),
        (
            "mso",
            {"execute:key:20", "execute:key:23", "write:devices"},
            {"write:keys", "execute:key:10", "write:users", "read:audit"},
        ),
    ],
)
def test_what_a_role_is_for(world: World, role: str, may: set[str], may_not: set[str]) -> None:
    found = {str(permission) for permission in Rights(world.users[role, 0]).permissions()}
    assert may <= found
    assert not may_not & found


def test_a_disabled_user_may_nothing(world: World) -> None:
    gone = msgspec.structs.replace(world.users["admin", 0], disabled=True)
    assert Rights(gone).permissions() == ()


def test_an_unknown_role_or_permission_is_nothing(world: World) -> None:
    strange = msgspec.structs.replace(world.users["admin", 0], role="king")
    assert Rights(strange).permissions() == ()
    assert Rights(world.users["admin", 0]).scope("fly", "readings") is None


# -- tokens -------------------------------------------------------------------------------------------


def test_a_token_only_takes_away(world: World) -> None:
    user = world.users["mso", 0]
    assert Rights(user, frozenset(("read:readings",))).permissions() == (Permission("read", "readings"),)
    assert all(one.verb == "read" for one in Rights(user, frozenset(("read:*",))).permissions())
    assert Rights(user, frozenset(("*",))).permissions() == Rights(user).permissions()
    assert Rights(user, frozenset()).permissions() == ()
    assert Rights(user, frozenset(("write:keys",))).permissions() == ()


def test_a_token_cannot_make_a_stronger_one(world: World) -> None:
    narrow = world.desk.head_end.as_user(world.users["mso", 0], ("write:tokens", "read:readings"))
    assert narrow.add_token(("read:readings",))[0].scopes == ("read:readings",)
    for scope in ("*", "read:*", "read:devices", "execute:key:20", "nonsense", ""):
        assert tried(world, narrow, lambda scope=scope: narrow.add_token((scope,)))[0] == "access.denied"  # type: ignore[misc]
    wide = world.session("mso")
    for scope in ("*", "read:*", "execute:key:20"):
        assert tried(world, wide, lambda scope=scope: wide.add_token((scope,)))[0] == "ok"  # type: ignore[misc]
    assert tried(world, wide, lambda: wide.add_token(("read:audit",)))[0] == "access.denied"


def test_scopes_cover_tenants() -> None:
    assert Scope("all", None, 1).covers(None)
    assert Scope("tenant", 3, 1).covers(3)
    assert not Scope("tenant", 3, 1).covers(4)
    assert not Scope("tenant", None, 1).covers(None)
    assert not Scope("own", 3, 1).covers(3)


def test_a_user_without_tenant_sees_no_tenant(world: World) -> None:
    lost = msgspec.structs.replace(world.users["mso", 0], tenant_id=None)
    session = world.desk.head_end.as_user(lost)
    assert session.devices().items == ()
    assert session.nodes() == ()
    assert session.tenants() == ()
    assert tried(world, session, lambda: session.device(world.places[0].device))[0] == "access.unknown"
    assert tried(world, session, lambda: session.add_node("site", "x"))[0] == "access.unknown"
