"""The guarded head-end: what a consumer sees of which time, jobs and approval, news, passwords, the whole at one glance."""

from __future__ import annotations

from datetime import timedelta

import pytest

from openmetering.errors import InputError
from openmetering.services.headend import hooks, webhooks
from openmetering.services.headend.bus import AlarmChanged, DeviceChanged, Event, GatewayChanged, JobChanged, ReadingsStored
from openmetering.services.headend.guarded import Guarded
from openmetering.services.headend.hooks import Webhooks
from openmetering.services.headend.model import Device
from openmetering.services.headend.registry import DeviceChange
from tests.fleet import KEY, radio, volume
from tests.services.headend.desk import PASSWORD, START, Desk, address_of

DAY = timedelta(days=1)
SWITCH = '{"state": "disconnected"}'


def refused(code: str) -> pytest.RaisesExc[InputError]:
    """An InputError with this code."""
    return pytest.RaisesExc(InputError, check=lambda error: error.code == code)


class Flat:
    """A flat with a meter that sends once a day, and two consumers after each other."""

    def __init__(self, desk: Desk) -> None:
        self.desk, admin = desk, desk.admin
        self.tenant = desk.tenant()
        self.site = admin.add_node("site", "Elm Street", tenant_id=self.tenant)
        self.unit = admin.add_node("unit", "left", self.site.id)
        self.other = admin.add_node("unit", "right", self.site.id)
        self.point = admin.add_point(self.unit.id, "gas")
        self.meter = desk.meter(self.tenant, label="hall")
        self.assignment = admin.assign(self.meter.id, self.point.id, START)
        self.first, self.second = (desk.user("consumer", self.tenant, name) for name in ("first", "second"))
        admin.add_occupancy(self.first.id, self.unit.id, START + 2 * DAY, START + 5 * DAY)
        admin.add_occupancy(self.second.id, self.unit.id, START + 5 * DAY)
        for day in range(8):
            desk.hear(radio(100 + day, access_number=day, status=3 if day == 6 else 0))
            desk.clock.forward(days=1)
        desk.head_end.ingestor.flush()

    def session(self, name: str) -> Guarded:
        """As one of them."""
        user = self.desk.head_end.accounts.named(name)
        assert user is not None
        return self.desk.head_end.as_user(user)


@pytest.fixture
def flat(desk: Desk) -> Flat:
    return Flat(desk)


# -- the own period -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "days"), [("first", (2, 3, 4)), ("second", (5, 6, 7)), ("root", range(8))])
def test_readings_of_the_own_time_only(flat: Flat, name: str, days: range) -> None:
    session, wanted = flat.session(name), [f"1.{day:02d}" for day in days]
    assert [row.value for row in session.readings(flat.meter.id)] == wanted
    (series,) = session.series(flat.meter.id)
    assert [point.value for point in session.series_values(series.id)] == wanted
    assert (series.first_at, series.last_at) == (START + days[0] * DAY, START + days[-1] * DAY)
    assert [row.value for row in session.latest_readings(flat.meter.id)] == wanted[-1:]


def test_a_wanted_time_is_cut(flat: Flat) -> None:
    session = flat.session("first")
    found = session.readings(flat.meter.id, START + 3 * DAY, START + 20 * DAY)
    assert [row.value for row in found] == ["1.03", "1.04"]
    assert session.readings(flat.meter.id, START + 5 * DAY) == ()
    assert [row.value for row in session.readings(flat.meter.id, limit=1)] == ["1.02"]
    assert session.readings(flat.meter.id, quantity="energy") == ()


def test_values_of_slots(flat: Flat) -> None:
    (series,) = flat.desk.admin.series(flat.meter.id)
    found = flat.desk.admin.series_values(series.id, resolution=3 * 86_400)
    assert [point.value for point in found] == ["1.01", "1.04", "1.07"]
    assert len(flat.desk.admin.series_values(series.id, limit=2)) == 2
    for resolution in (0, 0.5, -1, 1e12):
        with refused("access.invalid"):
            flat.desk.admin.series_values(series.id, resolution=resolution)
    with refused("access.unknown"):
        flat.desk.admin.series_values(9999)


def test_who_has_moved_out_sees_no_news_of_the_device(flat: Flat) -> None:
    session = flat.session("first")
    seen = session.device(flat.meter.id)
    assert (seen.state, seen.label, seen.tenant_id) == ("retired", "", None)
    assert seen.last_heard == START + 5 * DAY
    assert session.devices().items == (seen,)
    assert session.place(flat.meter.id).point is None
    assert session.receivers(flat.meter.id) == ()
    assert session.overview().devices == {}
    assert session.board() == ()
    assert session.export_devices().count("\n") == 1


def test_who_lives_there_sees_it_whole(flat: Flat) -> None:
    session = flat.session("second")
    assert session.device(flat.meter.id).label == "hall"
    place = session.place(flat.meter.id)
    assert [node.name for node in place.nodes] == ["left"]
    assert place.point == flat.point
    assert len(session.receivers(flat.meter.id)) == 1
    assert session.overview().devices == {"active": 1}
    (row,) = session.board()
    assert [reading.value for reading in row.readings] == ["1.07"]
    assert session.export_devices().count("\n") == 2
    assert "Elm Street" not in session.export_devices()
    assert [point.name for point in session.points().items] == ["gas"]


def test_assignments_are_cut_to_the_own_time(flat: Flat) -> None:
    (first,) = flat.session("first").assignments(device_id=flat.meter.id)
    assert (first.valid_from, first.valid_to) == (START + 2 * DAY, START + 5 * DAY)
    (second,) = flat.session("second").assignments(point_id=flat.point.id)
    assert (second.valid_from, second.valid_to) == (START + 5 * DAY, None)
    (whole,) = flat.desk.admin.assignments(device_id=flat.meter.id)
    assert (whole.valid_from, whole.valid_to) == (START, None)
    with refused("access.unknown"):
        flat.desk.admin.assignments()


def test_alarms_of_the_own_time_only(flat: Flat) -> None:
    assert flat.session("first").alarms().items == ()
    assert flat.session("first").alarms(device_id=flat.meter.id).items == ()
    (alarm,) = flat.session("second").alarms().items
    assert alarm.kind == "abnormal"
    assert flat.session("second").alarms(states=("cleared",)).items == ()


def test_who_has_no_flat_sees_nothing(flat: Flat) -> None:
    session = flat.desk.session("consumer", flat.tenant)
    assert session.devices().items == ()
    assert session.nodes() == ()
    assert session.alarms().items == ()
    assert session.occupancies() == ()
    with refused("access.unknown"):
        session.readings(flat.meter.id)


def test_a_consumer_sees_the_own_occupancies_whatever_is_asked(flat: Flat) -> None:
    session = flat.session("first")
    assert [one.user_id for one in session.occupancies(user_id=flat.second.id)] == [flat.first.id]


# -- telegrams ----------------------------------------------------------------------------------------


def test_telegrams_page_backwards(flat: Flat) -> None:
    first = flat.desk.admin.telegrams(flat.meter.id, limit=3)
    rest = flat.desk.admin.telegrams(flat.meter.id, before=first.after)
    assert [one.access_number for one in (*first.items, *rest.items)] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert rest.after is None
    newest = first.items[0]
    assert (newest.source, newest.state, newest.rssi, newest.readings, newest.status) == ("stick", "decoded", -70.0, 1, 0)
    assert flat.desk.admin.telegrams(flat.meter.id, before=999_999).items == ()


def test_a_telegram_is_decoded_anew(flat: Flat) -> None:
    frame = flat.desk.admin.telegrams(flat.meter.id).items[0].frame_id
    telegram = flat.desk.admin.telegram(frame)
    assert telegram.frame == radio(107, access_number=7)
    assert str(telegram.address) == flat.meter.address
    with refused("access.unknown"):
        flat.desk.admin.telegram(999_999)


def test_a_telegram_of_nobody_is_for_who_sees_all(flat: Flat) -> None:
    flat.desk.hear(b"nonsense")
    frame = max(event.frame_id for event in flat.desk.told(ReadingsStored))  # type: ignore[attr-defined]
    assert flat.desk.admin.telegram(frame).error is not None
    with refused("access.unknown"):
        flat.desk.session("mso", flat.tenant).telegram(frame)


# -- jobs -----------------------------------------------------------------------------------------------


def test_a_second_person_approves(flat: Flat) -> None:
    anna, bert = flat.desk.session("mso", flat.tenant), flat.desk.session("dso", flat.tenant)
    job = anna.create_job(flat.meter.id, "disconnector", SWITCH)
    assert (job.state, job.created_by) == ("awaiting-approval", anna.user.id)
    with refused("access.denied"):
        anna.approve_job(job.id)
    assert "denied: approve_job" in flat.desk.actions()
    done = bert.approve_job(job.id)
    assert (done.state, done.approved_by) == ("queued", bert.user.id)
    with refused("access.conflict"):
        bert.approve_job(job.id)
    assert bert.cancel_job(job.id).state == "cancelled"
    with refused("access.conflict"):
        anna.resume_job(job.id)
    assert [one.text for one in anna.job_steps(job.id)][-1] == "cancelled"
    states = [event.job.state for event in flat.desk.told(JobChanged)]  # type: ignore[attr-defined]
    assert states == ["awaiting-approval", "queued", "cancelled"]
    trail = [action for action in flat.desk.actions() if "job" in action]
    assert trail == [
        f"create job: device {flat.meter.id}", "denied: approve_job", f"approve job: job {job.id}", f"cancel job: job {job.id}",
    ]  # fmt: skip


def test_the_permission_follows_the_key(flat: Flat) -> None:
    msp = flat.desk.session("msp", flat.tenant)
    with refused("access.denied"):
        msp.create_job(flat.meter.id, "disconnector", SWITCH)
    assert "disconnector" not in msp.job_kinds()
    assert "disconnector" in flat.desk.session("dso", flat.tenant).job_kinds()
    assert "keys" in flat.desk.session("key-custodian", flat.tenant).job_kinds()
    with refused("access.unknown"):
        flat.desk.admin.create_job(flat.meter.id, "explode")
    with refused("access.unknown"):
        flat.desk.admin.job(999)
    with refused("access.unknown"):
        flat.desk.admin.approve_job(999)


def test_a_job_that_cannot_be_leaves_no_trace(flat: Flat) -> None:
    before = flat.desk.actions()
    with refused("access.invalid"):
        flat.desk.admin.create_job(flat.meter.id, "disconnector", '{"state": "exploded"}')
    assert flat.desk.actions() == before
    assert flat.desk.admin.jobs().items == ()


# -- news -----------------------------------------------------------------------------------------------


def test_everybody_hears_what_they_may_see(flat: Flat) -> None:
    desk = flat.desk
    strange = desk.tenant("others")
    heard: dict[str, list[Event]] = {}
    sessions = {
        "admin": desk.admin,
        "mso": desk.session("mso", flat.tenant),
        "other": desk.session("mso", strange),
        "first": flat.session("first"),
        "second": flat.session("second"),
        "custodian": desk.session("key-custodian", flat.tenant),
    }
    ends = []
    for name, session in sessions.items():
        heard[name] = []
        ends.append(session.listen(heard[name].append))
    desk.hear(radio(200, access_number=50, status=4))
    desk.hear(radio(201, access_number=51, status=4), after=60)
    desk.admin.change_device(flat.meter.id, DeviceChange(label="cellar"))
    desk.admin.create_job(flat.meter.id, "disconnector", SWITCH)
    desk.head_end.gateway_seen("new one")
    kinds = {name: {type(event) for event in events} for name, events in heard.items()}
    everything = {ReadingsStored, AlarmChanged, DeviceChanged, JobChanged, GatewayChanged}
    assert kinds["admin"] == everything
    assert kinds["mso"] == everything
    assert kinds["other"] == {GatewayChanged}
    assert kinds["first"] == set()
    assert kinds["second"] == {ReadingsStored, AlarmChanged, DeviceChanged}
    assert kinds["custodian"] == {DeviceChanged, JobChanged}
    for end in ends:
        end()
    count = sum(map(len, heard.values()))
    desk.hear(radio(202, access_number=52), after=60)
    assert sum(map(len, heard.values())) == count


def test_a_subscriber_that_fails_does_not_stop_the_others(desk: Desk) -> None:
    def fails(_: Event) -> None:
        raise ValueError

    heard: list[Event] = []
    desk.head_end.bus.subscribe_all(fails)
    desk.head_end.bus.subscribe(DeviceChanged, heard.append)
    desk.hear(radio())
    assert len(heard) == 1
    assert desk.head_end.bus.failures == 2
    assert desk.head_end.bus.wanted(DeviceChanged)


# -- people ---------------------------------------------------------------------------------------------


def test_hashes_do_not_leave(desk: Desk) -> None:
    made = desk.admin.add_user("Anna", PASSWORD, "auditor")
    shown = (made, desk.admin.change_user(made.id, locale="de"), *desk.admin.users().items)
    assert {user.password_hash for user in shown} == {""}
    token, text = desk.admin.add_token(("read:readings",), None, "billing")
    assert token.hash == ""
    assert text.startswith("oms_")
    assert [one.hash for one in desk.admin.tokens()] == [""]
    with refused("access.unknown"):
        desk.admin.add_user("Bert", PASSWORD, "mso", 99)
    with refused("access.unknown"):
        desk.admin.change_user(made.id, tenant_id=99)


def test_the_own_password(desk: Desk) -> None:
    anna = desk.head_end.as_user(desk.user("auditor", None, "Anna"))
    with refused("login.failed"):
        anna.change_own_password("something else", "another good one")
    anna.change_own_password(PASSWORD, "another good one")
    assert desk.head_end.accounts.login("Anna", "another good one").id == anna.user.id
    assert anna.set_own_locale("de").locale == "de"
    assert desk.actions()[-2:] == ["denied: change_own_password", f"set password: user {anna.user.id}"]
    with refused("access.invalid"):
        anna.set_own_locale("xx")


def test_the_trail_pages_backwards_and_is_searched(desk: Desk) -> None:
    for number in range(5):
        desk.admin.add_tenant(f"tenant {number}")
    first = desk.admin.audit(limit=2)
    rest = desk.admin.audit(before=first.after, limit=100)
    assert [entry.detail for entry in (*first.items, *rest.items)] == [f"tenant {number}" for number in (4, 3, 2, 1, 0)]
    assert [entry.detail for entry in desk.admin.audit(thing="tenant 2").items] == ["tenant 1"]
    assert desk.admin.audit(user_id=99).items == ()
    assert desk.head_end.audit.page(action="add tenant", personal=False).items
    assert all(entry.at == desk.clock.now for entry in first.items)


def test_the_trail_only_grows(desk: Desk) -> None:
    desk.admin.add_tenant("one")
    for statement in ("DELETE FROM audit", "UPDATE audit SET action = 'nothing'"):
        with pytest.raises(InputError) as caught, desk.database.transaction() as connection:
            connection.exec_driver_sql(statement)
        assert "only grows" in caught.value.message
    assert desk.actions() == ["add tenant: tenant 1"]


def test_a_change_and_its_entry_stand_or_fall_together(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(desk.head_end.audit), "note", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        desk.admin.add_tenant("one")
    assert desk.head_end.registry.tenants() == ()


# -- keys -----------------------------------------------------------------------------------------------


def test_keys_come_as_files(flat: Flat) -> None:
    session = flat.desk.session("key-custodian", flat.tenant)
    data = f"address,key\n{address_of()},{KEY.hex()}\n".encode()
    assert session.preview_keys(data).words() == "1 new, 0 known, 0 in conflict"
    assert session.import_keys(data).words() == "1 new, 0 known, 0 in conflict"
    (info,) = session.keys().items
    assert (info.tenant_id, info.created_by) == (flat.tenant, session.user.id)
    flat.desk.hear(radio(500, profile="A", access_number=99), after=60)
    flat.desk.head_end.tick()
    assert session.keys().items[0].uses == 1
    assert session.keys(pattern="ELS").items
    assert session.keys(pattern="KAM").items == ()


# -- webhooks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "events", "secret"),
    [
        ("ftp://there/", ("alarm",), "x" * 16),
        ("https://", ("alarm",), "x" * 16),
        ("https://[::1", ("alarm",), "x" * 16),
        ("https://name:word@there/", ("alarm",), "x" * 16),
        ("https://there/" + "x" * 3000, ("alarm",), "x" * 16),
        ("https://there/", (), "x" * 16),
        ("https://there/", ("everything",), "x" * 16),
        ("https://there/", ("alarm",), "short"),
    ],
)
def test_webhooks_that_cannot_be(desk: Desk, url: str, events: tuple[str, ...], secret: str) -> None:
    with refused("access.invalid"):
        desk.admin.add_webhook(url, events, secret)


def test_webhooks_show_no_secret(desk: Desk) -> None:
    made = desk.admin.add_webhook("https://there/hook", ("alarm", "alarm", "job"), "a secret of some length")
    assert (made.secret, made.events, made.tenant_id) == ("", ("alarm", "job"), None)
    assert [one.secret for one in desk.admin.webhooks()] == [""]
    hooks: Webhooks = desk.head_end.webhooks
    assert desk.vault.unseal(hooks.find(made.id).secret) == "a secret of some length"  # type: ignore[union-attr]
    assert "a secret" not in repr(hooks.all())
    desk.admin.remove_webhook(made.id)
    assert hooks.all() == ()


# -- at one glance --------------------------------------------------------------------------------------


def test_the_overview_adds_up(flat: Flat) -> None:
    desk = flat.desk
    desk.meter(flat.tenant, 2)
    desk.hear(radio(number=3))
    found = desk.admin.overview()
    assert found.devices == {"active": 1, "registered": 1, "announced": 1}
    assert found.alarms == {"warning": 1}
    assert found.unplaced == 1
    assert [gateway.name for gateway in found.gateways] == ["stick"]
    health = {one.node.name: (one.devices, one.health) for one in found.nodes}
    assert health == {
        "Elm Street": ({"active": 1}, "warning"),
        "left": ({"active": 1}, "warning"),
        "right": ({}, "empty"),
    }
    assert desk.session("supplier", flat.tenant).overview().gateways == ()


@pytest.mark.parametrize(("records", "status", "health"), [(b"", 0, "good"), (bytes.fromhex("02FD971D0004"), 0, "critical")])
def test_health_follows_the_worst(desk: Desk, records: bytes, status: int, health: str) -> None:
    Flat(desk)
    for count in range(4):
        desk.hear(radio(records=volume(1) + records, status=status, access_number=90 + count), after=60)
    assert {one.health for one in desk.admin.overview().nodes if one.node.name == "left"} == {health}


def test_a_faulty_device_without_alarm_is_a_warning(flat: Flat) -> None:
    registry = flat.desk.head_end.registry
    for alarm in flat.desk.head_end.alarms.clear_all(flat.meter.id, 0.0):
        assert alarm.state == "cleared"
    registry.step(flat.desk.device(), "fail")
    assert {one.node.name: one.health for one in flat.desk.admin.overview().nodes}["left"] == "warning"


def test_the_board_shows_the_worst_alarm(flat: Flat) -> None:
    desk = flat.desk
    desk.hear(radio(number=99))  # nobody's
    retired = desk.meter(flat.tenant, 5)
    desk.admin.step_device(retired.id, "retire")
    (row,) = desk.admin.board()
    assert isinstance(row.device, Device)
    assert (row.alarm, row.alarm_kind, row.point) == ("warning", "abnormal", flat.point)
    desk.head_end.alarms.set(flat.meter.id, "leak", desk.clock.now.timestamp())
    assert desk.admin.board()[0].alarm_kind == "leak"


# -- retiring -------------------------------------------------------------------------------------------


def test_a_retired_device_comes_back(flat: Flat) -> None:
    admin = flat.desk.admin
    assert admin.step_device(flat.meter.id, "retire").state == "retired"
    with refused("access.conflict"):
        admin.step_device(flat.meter.id, "retire")
    with refused("access.invalid"):
        admin.step_device(flat.meter.id, "hear")
    assert admin.step_device(flat.meter.id, "reinstate").state == "registered"
    flat.desk.hear(radio(300, access_number=77))
    assert flat.desk.device().state == "active"


def test_what_others_share_is_not_touched(flat: Flat) -> None:
    others = flat.desk.tenant("others")
    point = flat.desk.admin.add_point(flat.desk.admin.add_node("site", "Oak", tenant_id=others).id, "gas")
    with refused("access.conflict"):
        flat.desk.admin.assign(flat.meter.id, point.id, START + 100 * DAY)
    with refused("access.unknown"):
        flat.desk.admin.add_occupancy(999, flat.unit.id, START)
    with refused("access.unknown"):
        flat.desk.admin.end_occupancy(999, START)
    with refused("access.unknown"):
        flat.desk.admin.end_assignment(999, START)
    with refused("access.unknown"):
        flat.desk.admin.heard_by(999)
    with refused("access.unknown"):
        flat.desk.admin.device_by_address("nonsense")
    with refused("access.unknown"):
        flat.desk.admin.remove_point(999)


def test_the_events_of_webhooks_are_those_that_are_posted() -> None:
    assert set(hooks.EVENTS) == set(webhooks.EVENTS)
