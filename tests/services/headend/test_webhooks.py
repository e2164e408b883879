"""Webhooks: who gets what, signed so that others can check it, until it arrives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from openmetering.errors import InputError, TransportError
from openmetering.services.headend.bus import AlarmChanged, Bus, DeviceChanged, Event, GatewayChanged, JobChanged, ReadingsStored
from openmetering.services.headend.model import Alarm, Device, GatewayInfo, Job, Webhook
from openmetering.services.headend.webhooks import EVENTS, PAUSES, HttpPoster, Webhooks, signature
from openmetering.storage import tables, webhook_rows
from openmetering.storage.database import Database
from openmetering.storage.reading_rows import readings_of
from openmetering.telegram import decode, examine
from tests.fleet import radio
from tests.services.headend.http_listener import Listener, listening

START = datetime(2026, 1, 14, 12, tzinfo=UTC)
SECRET = "a-secret-of-some-length"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, step: timedelta) -> None:
        self.now += step


class Scripted:
    """A poster that answers as told: statuses, or errors to raise."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.posts: list[tuple[str, dict[str, str], bytes, bool]] = []

    def post(self, url: str, headers: dict[str, str], body: bytes, *, private: bool) -> int:
        self.posts.append((url, headers, body, private))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.open(":memory:") as opened:
        with opened.transaction() as connection:
            for number in (1, 2):
                connection.execute(insert(tables.tenants).values(name=f"tenant {number}", created_at=START))
                address = f"ELS-{number:08d}-33-03"
                connection.execute(insert(tables.devices).values(address=address, tenant_id=number, created_at=START))
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


def add(database: Database, *events: str, url: str = "http://receiver/x", tenant: int | None = None, secret: str = SECRET) -> int:
    with database.transaction() as connection:
        return webhook_rows.webhooks.add(connection, Webhook(0, url, events, secret, tenant), START).id


def deliveries(database: Database, webhook: int = 1) -> list[webhook_rows.Delivery]:
    with database.reading() as connection:
        return list(webhook_rows.deliveries_page(connection, webhook).items)[::-1]


def alarm(device: int | None = 1) -> AlarmChanged:
    return AlarmChanged(Alarm(5, device, "leak", "critical", "raised", START, "water runs without a pause"))


def job(device: int = 1) -> JobChanged:
    return JobChanged(Job(9, device, "read", "{}", "done", 1, START))


def readings(tenant: int | None = 1) -> ReadingsStored:
    telegram = decode(radio(1234))
    device = None if tenant is None else Device(tenant, f"ELS-{tenant:08d}-33-03", tenant)
    return ReadingsStored(device, telegram, tuple(readings_of(telegram)), START.timestamp(), 17, "stick", -70.0)


ALL: list[Event] = [
    alarm(),
    job(),
    readings(),
    DeviceChanged(Device(1, "ELS-00000001-33-03", 1)),
    GatewayChanged(GatewayInfo(1, "roof")),
]


# -- the signature ------------------------------------------------------------------------------


def test_the_signature_of_the_published_example() -> None:
    """Source: Standard Webhooks 1.0.0, example of a signature."""
    found = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_plain_secret_is_its_own_octets() -> None:
    expected = base64.b64encode(hmac.new(SECRET.encode(), b"a.1.{}", hashlib.sha256).digest()).decode()
    assert signature(SECRET, "a", 1, b"{}") == f"v1,{expected}"


def test_a_broken_secret_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        signature("whsec_???", "a", 1, b"")
    assert caught.value.code == "webhook.secret"


# -- who gets what --------------------------------------------------------------------------------


def test_every_event_goes_to_who_asked_for_it(database: Database, clock: Clock) -> None:
    for name in EVENTS:
        add(database, name)
    hooks = Webhooks(database, clock, Scripted())
    assert [hooks.take(event) for event in ALL] == [1] * 5
    for number, name in enumerate(EVENTS, 1):
        (found,) = deliveries(database, number)
        payload = json.loads(found.payload)
        assert (found.event, payload["type"], payload["timestamp"]) == (name, name, "2026-01-14T12:00:00Z")
    assert hooks.waiting() == 5


def test_what_is_told(database: Database, clock: Clock) -> None:
    add(database, *EVENTS)
    hooks = Webhooks(database, clock, Scripted())
    for event in (*ALL, readings(None)):
        hooks.take(event)
    alarm_row, job_row, reading_row, device_row, gateway_row, nobody = [json.loads(one.payload) for one in deliveries(database)]
    assert (alarm_row["data"]["kind"], alarm_row["data"]["raised_at"]) == ("leak", "2026-01-14T12:00:00Z")
    assert job_row["data"]["state"] == "done"
    assert device_row["data"]["address"] == "ELS-00000001-33-03"
    assert gateway_row["data"]["name"] == "roof"
    data = reading_row["data"]
    assert (data["device"], data["source"], data["rssi"], data["frame_id"], data["error"]) == (
        "ELS-00000001-33-03", "stick", -70.0, 17, None,
    )  # fmt: skip
    (reading,) = data["readings"]
    assert (reading["quantity"], reading["unit"], reading["value"], reading["tag"]) == ("volume", "m3", "12.34", "VM1!")
    assert (reading["storage"], reading["time"], reading["error"]) == (0, None, None)
    assert nobody["data"]["device"] is None


def test_a_telegram_that_cannot_be_opened_says_so(database: Database, clock: Clock) -> None:
    add(database, "reading")
    hooks = Webhooks(database, clock, Scripted())
    telegram = examine(radio(profile="A"))
    hooks.take(ReadingsStored(None, telegram, (), START.timestamp(), 1, "stick"))
    assert json.loads(deliveries(database)[0].payload)["data"]["error"] == "key.missing"


def test_tenants_see_their_own(database: Database, clock: Clock) -> None:
    add(database, *EVENTS, tenant=1)
    hooks = Webhooks(database, clock, Scripted())
    assert [hooks.take(event) for event in ALL] == [1, 1, 1, 1, 0]  # gateways belong to the operator
    others = [alarm(2), job(2), readings(2), DeviceChanged(Device(2, "ELS-00000002-33-03", 2)), alarm(None), alarm(99)]
    assert [hooks.take(event) for event in (*others, readings(None))] == [0] * 7


def test_a_new_webhook_is_known_after_a_moment(database: Database, clock: Clock) -> None:
    hooks = Webhooks(database, clock, Scripted())
    assert hooks.take(alarm()) == 0
    add(database, "alarm")
    assert hooks.take(alarm()) == 0
    clock.forward(timedelta(seconds=10))
    assert hooks.take(alarm()) == 1
    add(database, "alarm")
    hooks.refresh()
    assert hooks.take(alarm()) == 2


def test_the_bus(database: Database, clock: Clock) -> None:
    add(database, "alarm")
    bus, hooks = Bus(), Webhooks(database, clock, Scripted())
    end = hooks.attach(bus)
    bus.publish(alarm())
    assert hooks.news.is_set()
    end()
    bus.publish(alarm())
    assert hooks.waiting() == 1
    assert bus.failures == 0


# -- until it arrives -----------------------------------------------------------------------------


def test_a_post_can_be_checked_by_its_receiver(database: Database, clock: Clock) -> None:
    add(database, "alarm")
    poster = Scripted()
    hooks = Webhooks(database, clock, poster)
    hooks.take(alarm())
    assert hooks.post_due() == 1
    url, headers, body, private = poster.posts[0]
    assert (url, private) == ("http://receiver/x", True)
    assert headers["webhook-id"] == "delivery-1"
    assert headers["webhook-timestamp"] == str(int(START.timestamp()))
    assert headers["webhook-signature"] == signature(SECRET, "delivery-1", int(START.timestamp()), body)
    assert headers["Content-Type"] == "application/json"
    assert hooks.post_due() == 0
    assert (deliveries(database)[0].attempts, deliveries(database)[0].delivered_at) == (1, START)


def test_secrets_may_be_kept_sealed(database: Database, clock: Clock) -> None:
    add(database, "alarm", secret="sealed")
    poster = Scripted()
    hooks = Webhooks(database, clock, poster, reveal=lambda text: {"sealed": "opened"}[text])
    hooks.take(alarm())
    hooks.post_due()
    _, headers, body, _ = poster.posts[0]
    assert headers["webhook-signature"] == signature("opened", "delivery-1", int(START.timestamp()), body)


def test_a_secret_that_was_sealed_again_meanwhile_costs_no_event(database: Database, clock: Clock) -> None:
    """The list of webhooks is some seconds old when the master key changes."""
    add(database, "alarm", secret="old")
    opened, poster = {"old": "opened"}, Scripted()

    def reveal(text: str) -> str:
        if text not in opened:
            raise InputError("a secret does not open", code="vault.damaged")
        return opened[text]

    hooks = Webhooks(database, clock, poster, reveal=reveal)
    hooks.take(alarm())
    with database.transaction() as connection:
        webhook_rows.reseal(connection, lambda text: "new")
    opened = {"new": "opened"}
    assert (hooks.post_due(), poster.posts, hooks.given_up) == (0, [], 0)
    clock.forward(PAUSES[0])
    assert hooks.post_due() == 1
    assert poster.posts[0][1]["webhook-signature"].startswith("v1,")


def test_private_networks_are_for_the_operator(database: Database, clock: Clock) -> None:
    add(database, "alarm", tenant=1)
    for allowed in (False, True):
        poster = Scripted()
        hooks = Webhooks(database, clock, poster, private=allowed)
        hooks.take(alarm())
        hooks.post_due()
        assert poster.posts[0][3] is allowed


def test_growing_pauses_and_then_it_is_given_up(database: Database, clock: Clock) -> None:
    add(database, "alarm")
    poster = Scripted(*[500] * 99)
    hooks = Webhooks(database, clock, poster)
    hooks.take(alarm())
    moments = []
    for _ in range(len(PAUSES) + 1):
        (waiting,) = deliveries(database)
        clock.now = max(clock.now, waiting.due)
        moments.append(clock.now - START)
        assert hooks.post_due() == 0
        assert hooks.post_due() == 0  # not before it is due
    assert len(poster.posts) == len(PAUSES) + 1
    assert [later - before for before, later in itertools.pairwise(moments)] == list(PAUSES)
    (given_up,) = deliveries(database)
    assert (given_up.error, given_up.attempts, given_up.due.year) == ("given up: answered 500", len(PAUSES) + 1, 9999)
    assert (hooks.given_up, hooks.waiting()) == (1, 0)
    identities = {headers["webhook-id"] for _, headers, _, _ in poster.posts}
    assert identities == {"delivery-1"}


@pytest.mark.parametrize("answer", [410, InputError("no address", code="webhook.url")])
def test_some_answers_are_final(database: Database, clock: Clock, answer: int | Exception) -> None:
    add(database, "alarm")
    hooks = Webhooks(database, clock, Scripted(answer))
    hooks.take(alarm())
    hooks.take(alarm())
    assert hooks.post_due() == 1  # the next event is tried all the same
    assert (hooks.given_up, hooks.waiting()) == (1, 0)


@pytest.mark.parametrize("answer", [301, 404, 429, 503, TransportError("no route", code="webhook.failed")])
def test_others_are_tried_again(database: Database, clock: Clock, answer: int | Exception) -> None:
    add(database, "alarm")
    hooks = Webhooks(database, clock, Scripted(answer))
    hooks.take(alarm())
    assert hooks.post_due() == 0
    assert deliveries(database)[0].error in ("no route", f"answered {answer}")
    clock.forward(PAUSES[0])
    assert hooks.post_due() == 1
    assert deliveries(database)[0].error is None


def test_a_silent_receiver_does_not_hold_up_the_others(database: Database, clock: Clock) -> None:
    add(database, "alarm", url="http://silent")
    add(database, "alarm", url="http://works")
    poster = Scripted(TransportError("no route", code="webhook.failed"))
    hooks = Webhooks(database, clock, poster)
    for _ in range(5):
        hooks.take(alarm())
    assert hooks.post_due() == 5
    assert [url for url, *_ in poster.posts] == ["http://silent"] + ["http://works"] * 5
    assert {one.due for one in deliveries(database, 1)} == {START + PAUSES[0]}  # all of them wait, one attempt counts
    assert [one.attempts for one in deliveries(database, 1)] == [1, 0, 0, 0, 0]
    clock.forward(PAUSES[0])
    assert hooks.post_due() == 5
    assert [json.loads(body)["type"] for url, _, body, _ in poster.posts if url == "http://silent"] == ["alarm"] * 6


def test_a_restart_goes_on(database: Database, clock: Clock) -> None:
    add(database, "alarm")
    Webhooks(database, clock, Scripted()).take(alarm())
    poster = Scripted()
    assert Webhooks(database, clock, poster).post_due() == 1
    assert len(poster.posts) == 1


def test_a_webhook_that_is_gone_takes_its_posts_along(database: Database, clock: Clock) -> None:
    number = add(database, "alarm")
    hooks = Webhooks(database, clock, Scripted())
    hooks.take(alarm())
    with database.transaction() as connection:
        connection.execute(tables.webhooks.delete().where(tables.webhooks.c.id == number))
    assert hooks.post_due() == 0
    assert hooks.waiting() == 0


def test_what_arrived_is_forgotten_after_a_month(database: Database, clock: Clock) -> None:
    add(database, "alarm")
    hooks = Webhooks(database, clock, Scripted())
    hooks.take(alarm())
    hooks.post_due()
    clock.forward(timedelta(days=29))
    assert hooks.purge() == 0
    clock.forward(timedelta(days=2))
    assert hooks.purge() == 1


# -- HTTP -----------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


def test_a_real_post(database: Database, clock: Clock, listener: Listener) -> None:
    add(database, "alarm", url=f"{listener.url}/hook?a=1")
    hooks = Webhooks(database, clock)
    hooks.take(alarm())
    assert hooks.post_due() == 1
    path, headers, body = listener.posts[0]
    assert path == "/hook?a=1"
    assert headers["webhook-signature"] == signature(SECRET, "delivery-1", int(START.timestamp()), body)
    assert json.loads(body)["data"]["text"] == "water runs without a pause"


def test_redirections_are_not_followed(listener: Listener) -> None:
    listener.answers = [302]
    assert HttpPoster().post(listener.url, {}, b"{}", private=True) == 302
    assert [path for path, _, _ in listener.posts] == ["/"]


def test_private_addresses_only_where_allowed(listener: Listener) -> None:
    for url in (listener.url, listener.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(TransportError, match="private network"):
            HttpPoster().post(url, {}, b"{}", private=False)
    assert listener.posts == []


@pytest.mark.parametrize("url", ["ftp://example.org", "http://", "file:///etc/passwd", "http://host:port/", "http://[::1"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputError) as caught:
        HttpPoster().post(url, {}, b"", private=True)
    assert caught.value.code == "webhook.url"


def test_nobody_answers(listener: Listener) -> None:
    listener.stop()
    with pytest.raises(TransportError) as caught:
        HttpPoster(timeout=1.0).post(listener.url, {}, b"", private=True)
    assert caught.value.code == "webhook.failed"
    listener._server = type(listener._server)(("127.0.0.1", 0), listener._handler())  # for the fixture to close
    threading.Thread(target=listener._server.serve_forever, args=(0.01,), daemon=True).start()


def test_https_checks_the_certificate(listener: Listener) -> None:
    with pytest.raises(TransportError):
        HttpPoster(timeout=1.0).post(listener.url.replace("http:", "https:"), {}, b"", private=True)


def test_the_thread_posts_at_once_and_stops(database: Database, listener: Listener) -> None:
    add(database, "alarm", url=listener.url)
    hooks = Webhooks(database, lambda: datetime.now(UTC))
    stop = threading.Event()
    thread = threading.Thread(target=hooks.run, args=(stop, 0.02))
    thread.start()
    hooks.take(alarm())
    for _ in range(200):
        if listener.posts:
            break
        time.sleep(0.01)
    stop.set()
    thread.join(5)
    assert len(listener.posts) == 1
    assert not thread.is_alive()


def test_the_thread_outlives_a_database_that_fails(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    stop, calls = threading.Event(), []

    class Failing(Webhooks):
        def post_due(self) -> int:
            calls.append(1)
            if len(calls) == 2:
                stop.set()
            raise TransportError("the disk is full", code="storage.failed")

    Failing(database, lambda: datetime.now(UTC), Scripted()).run(stop, 0.001)
    assert len(calls) == 2
    assert "the disk is full" in caplog.text
