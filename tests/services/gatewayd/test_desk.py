"""Orders: once, written down, refused in words; results until they are known. Messages, receiver, carriers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from openmetering.codec.address import Address
from openmetering.errors import InputError, TransportError
from openmetering.protocol.exchange import Answered, Command, Exchange, Failed, GiveKey, Submit, Withdraw
from openmetering.protocol.gateway.events import Alarm, Demanded, Forget, Installed, Register
from openmetering.protocol.gateway.wired_gateway import RegisterSlave
from openmetering.security import KeyRing
from openmetering.security.aes import BlockCipher
from openmetering.services.gatewayd import commands
from openmetering.services.gatewayd.commands import CommandBook
from openmetering.services.gatewayd.desk import Desk, link_of
from openmetering.services.gatewayd.messages import (
    Batch,
    Carry,
    Dismiss,
    Enrol,
    Item,
    LinkKey,
    News,
    Order,
    Recall,
    Reply,
    Report,
    Result,
    read_reply,
    read_report,
    receptions_of,
    written,
)
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.remote_gateways import RemoteGateways
from openmetering.services.headend.jobs.remote import RemoteCarrier
from openmetering.telegram.model import SecurityReport
from openmetering.transport.reception import Reception
from tests.fleet import radio

NOW = 1_700_000_000.0
SECRET = bytes(range(16))
NAME = "ELS-12345678-33-07"
METER = Address.parse(NAME)


class Post:
    """A station that notes what it is given."""

    def __init__(self, name: str, known: Sequence[Address] = (METER,), tokens: Sequence[int] = ()) -> None:
        self.name = name
        self.known = set(known)
        self.tokens = frozenset(tokens)
        self.events: list[object] = []

    async def run(self, emit: object) -> None:
        raise NotImplementedError

    def post(self, event: object) -> None:
        self.events.append(event)

    def serves(self, address: Address) -> bool:
        return address in self.known

    def open_tokens(self) -> frozenset[int]:
        return self.tokens


class Bench:
    """A desk with stations."""

    def __init__(self, folder: Path, *stations: Post, secret: bytes | None = SECRET) -> None:
        self.stations = {one.name: one for one in stations or (Post("stick"),)}
        self.changes = 0
        self.now = NOW
        self.desk = Desk(CommandBook(folder / "commands.json"), self.stations, self._changed, lambda: self.now, secret)  # type: ignore[arg-type]

    def _changed(self) -> None:
        self.changes += 1

    def take(self, *orders: Order) -> list[Result]:
        self.desk.take(orders)
        return list(self.desk.results)

    @property
    def events(self) -> list[object]:
        return next(iter(self.stations.values())).events


CARRY = Carry("x1", NAME, "m-bus", b"\x01\x02")


def test_an_exchange_is_carried_out_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.take(CARRY) == []
    assert bench.take(CARRY, CARRY) == []
    assert bench.events == [Submit(1, Exchange(METER, Command("m-bus", b"\x01\x02")))]
    bench.desk.hear("stick", Answered(1, 0, "m-bus", b"\x03"))
    assert bench.desk.results == (Result("x1", "answered", 0, "m-bus", b"\x03", SecurityReport()),)
    assert bench.take(CARRY) == list(bench.desk.results)
    assert len(bench.events) == 1
    bench.desk.told(("x1", "never heard of"))
    assert bench.desk.results == ()
    assert bench.take(CARRY) == []
    assert len(bench.events) == 1


def test_it_is_written_down_before_it_is_posted_and_before_it_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(CARRY)
    again = Bench(tmp_path, Post("stick", tokens=[1]))
    again.desk.started()
    assert again.desk.results == ()
    assert again.take(CARRY) == []
    assert again.events == []
    again.desk.hear("stick", Failed(1, "power", delivered=False))
    third = Bench(tmp_path)
    assert third.desk.results == (Result("x1", "failed", reason="power", delivered=False),)
    assert third.desk.results[0].event(7) == Failed(7, "power", delivered=False)


def test_nobody_knows_what_no_machine_remembers(tmp_path: Path) -> None:
    Bench(tmp_path).take(CARRY)
    for station in (Post("stick"), Post("another")):
        again = Bench(tmp_path, station)
        again.desk.started()
        assert again.desk.results == (Result("x1", "failed", reason="power", delivered=None),)


def test_tokens_are_never_used_twice(tmp_path: Path) -> None:
    Bench(tmp_path).take(CARRY)
    again = Bench(tmp_path)
    again.take(Carry("x2", NAME))
    assert again.events == [Submit(2, Exchange(METER, None))]


def test_a_result_that_nobody_waits_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.desk.hear("stick", Failed(99, "no-answer"))
    assert bench.desk.results == ()
    bench.take(CARRY)
    bench.desk.hear("stick", Failed(1, "no-answer"))
    bench.desk.hear("stick", Answered(1, 0))
    assert [result.outcome for result in bench.desk.results] == ["failed"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Carry("a", "ELS-00000001-33-07"), "not enrolled here"),
        (Carry("a", "a meter"), "is no address"),
        (Carry("a", NAME, "smoke-signals"), "no command has protocol"),
        (Carry("a", NAME, expires=NOW - 1), "too late"),
        (Enrol("a", "a meter"), "is no address"),
        (Enrol("a", NAME, source="roof"), "no source 'roof'"),
        (LinkKey("a", NAME, 0, 1, bytes(40)), ""),
        (LinkKey("a", NAME, 0x20, 1, bytes(40)), ""),
    ],
)
def test_refusals(tmp_path: Path, order: Order, words: str) -> None:
    bench = Bench(tmp_path)
    (result,) = bench.take(order)
    assert result.outcome == "refused"
    assert words in result.text
    assert bench.events == []
    assert bench.changes
    assert Bench(tmp_path).desk.results == (result,)
    event = result.event(3)
    assert event == Failed(3, "no-access", delivered=False)


def test_times(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.take(Carry("x", NAME, expires=NOW + 1)) == []
    assert len(bench.events) == 1


def test_recall(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(CARRY)
    assert bench.take(Recall("r", "x1"), Recall("q", "unknown")) == [Result("r", "done"), Result("q", "done")]
    assert bench.events[1:] == [Withdraw(1)]
    assert Result("r", "done").event(1) is None


def test_enrolling(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    order = Enrol("e", NAME, profile="B", adapter="ELS-00000009-33-37", mode="T", largest=255, key_version=3)
    assert bench.take(order) == [Result("e", "done")]
    (event,) = bench.events
    assert isinstance(event, Register)
    link = event.link
    assert (link.address, link.profile, link.mode, link.largest, link.key_version) == (METER, "B", "T", 255, 3)
    assert (str(link.adapter), link.snd_ud2, link.bidirectional) == ("ELS-00000009-33-37", True, True)
    bench.take(Dismiss("d", NAME), Dismiss("f", "ELS-00000001-33-07"))
    assert bench.events[1:] == [Forget(METER)]


def test_a_slave() -> None:
    event = link_of(Enrol("e", NAME, primary=5, fabrication="00000042", snd_ud2=True), wired=True)
    assert isinstance(event, RegisterSlave)
    assert (event.link.primary, event.link.fabrication, event.link.snd_ud2, event.link.largest) == (5, "00000042", True, 252)


def test_with_several_stations_the_source_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Post("stick"), Post("roof", ()))
    (result,) = bench.take(Enrol("e", NAME))
    assert "no single source" in result.text
    bench.take(Enrol("f", NAME, source="roof"))
    assert len(bench.stations["roof"].events) == 1


def wrapped(key_id: int = 0, version: int = 1, secret: bytes = SECRET, key: bytes = b"k" * 16) -> LinkKey:
    orders: list[Order] = []
    gateways = RemoteGateways(lambda batch, gateway: None)
    carrier = gateways.carrier("cellar", lambda _: True, secret)
    ring = KeyRing()
    ring.add(METER.link_octets(), key, key_id, version)
    carrier.send(GiveKey(METER, ring, key_id, version))
    orders += gateways.receiver.waiting("cellar")
    (order,) = orders
    assert isinstance(order, LinkKey)
    assert key not in written(Reply(orders=(order,)))
    return order


def test_a_new_link_key(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    order = wrapped()
    assert bench.take(order) == [Result(order.id, "done")]
    (event,) = bench.events
    assert isinstance(event, GiveKey)
    assert event.key.require(METER.link_octets(), key_id=0, version=1)[0].octets == b"k" * 16
    assert b"k" * 16 not in (tmp_path / "commands.json").read_bytes()


def test_keys_that_are_refused(tmp_path: Path) -> None:
    (result,) = Bench(tmp_path, secret=None).take(wrapped())
    assert "shares no secret" in result.text
    (tmp_path / "b").mkdir()
    (result,) = Bench(tmp_path / "b").take(wrapped(secret=bytes(16)))
    assert result.outcome == "refused"
    (tmp_path / "c").mkdir()
    (result,) = Bench(tmp_path / "c", Post("stick", ())).take(wrapped())
    assert "not enrolled" in result.text
    assert BlockCipher(SECRET) is not None


def test_news(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for event in (
        Alarm(METER, "replayed"),
        Installed(METER, None, registered=True, confirmed=True),
        Installed(METER, None, registered=False, confirmed=False),
        Demanded(METER),
    ):
        bench.desk.hear("stick", event)
    assert [(one.kind, one.address, one.source) for one in bench.desk.news] == [
        ("alarm", NAME, "stick"),
        ("installed", NAME, "stick"),
        ("installed", NAME, "stick"),
        ("demanded", NAME, "stick"),
    ]
    assert bench.desk.news[1].text == "somebody installs a device (of this gateway, confirmed)"
    assert bench.changes == 4


def test_a_book_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "commands.json"
    path.write_text('{"orders": 5}')
    with pytest.raises(InputError, match="cannot be used") as caught:
        CommandBook(path)
    assert caught.value.code == "state.unreadable"
    with pytest.raises(InputError):
        CommandBook(tmp_path)


def test_the_book_forgets_what_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_KEPT", 3)
    book = CommandBook(tmp_path / "commands.json")
    for number in range(6):
        book.finish(Result(f"a{number}", "done"))
        book.told((f"a{number}",))
    assert [f"a{number}" in book for number in range(6)] == [False] * 3 + [True] * 3
    assert CommandBook(tmp_path / "commands.json").results == ()
    assert book.token("a5") is None


# -- messages -----------------------------------------------------------------------------------------------


def test_messages_survive_the_way() -> None:
    report = Report(
        "cellar",
        "id",
        Batch("s", 3, (Item(1, radio(1), NOW, "stick", -70.0, 90, "T", "A", True, "12345678", 2),)),
        (
            Result("x", "answered", 1, "m-bus", b"\x01", SecurityReport("B", 7)),
            Result("y", "failed", reason="busy", delivered=True),
        ),
        (News(NOW, "alarm", "something"),),
    )
    assert read_report(written(report)) == report
    reply = Reply("id", "s", 3, ("x",), (CARRY, Recall("r", "x"), Enrol("e", NAME), Dismiss("d", NAME), wrapped()))
    assert read_reply(written(reply)) == reply


@pytest.mark.parametrize("octets", [b"", b"[]", b"{}", b'{"gateway": 5}', b'{"gateway": "x", "batch": {"stream": "s"}}'])
def test_reports_that_are_none(octets: bytes) -> None:
    with pytest.raises(InputError, match="no report of a gateway"):
        read_report(octets)


def test_replies_that_are_none_and_other_formats() -> None:
    with pytest.raises(InputError, match="no reply of a head-end"):
        read_reply(b'{"orders": [{"type": "explode"}]}')
    with pytest.raises(InputError, match="reply of format 2"):
        read_reply(b'{"format": 2}')
    with pytest.raises(InputError, match="report of format 2"):
        read_report(b'{"gateway": "x", "format": 2}')


def test_receptions_of_a_report() -> None:
    item = Item(1, radio(1), NOW, "stick", -70.0, 90, "T", "A", None, "12345678", 2)
    (reception,) = receptions_of(Report("cellar", batch=Batch("s", 1, (item,))))
    assert reception == Reception(radio(1), NOW, "cellar/stick", -70.0, 90, "T", "A", None, address_hint="12345678")
    assert receptions_of(Report("cellar")) == []


# -- the other end -------------------------------------------------------------------------------------------


def test_a_receiver() -> None:
    stored: list[Reception] = []
    heard: list[object] = []
    receiver = Receiver(
        lambda batch, gateway: stored.extend(batch),
        on_result=lambda gateway, result: heard.append((gateway, result.id)),
        on_news=lambda gateway, news: heard.append((gateway, news.text)),
        on_order=heard.append,
    )
    receiver.order("cellar", CARRY)
    receiver.order("roof", Recall("r", "y"))
    assert receiver.reply("cellar") == Reply(orders=(CARRY,))
    report = Report("cellar", "id", Batch("s", 9, (Item(9, radio(1), NOW, "a"),)), (), (News(NOW, "notice", "hello"),))
    assert receiver.handle(report) == Reply("id", "s", 9, (), (CARRY,))
    assert receiver.handle(report).orders == (CARRY,)  # until its result came
    assert receiver.handle(Report("cellar", "b", None, (Result("x1", "done"),))) == Reply("b", "", None, ("x1",), ())
    assert receiver.waiting("cellar") == ()
    receiver.withdraw("roof", "r")
    assert receiver.waiting("roof") == ()
    assert len(stored) == 2
    assert heard == ["cellar", "roof", ("cellar", "hello"), ("cellar", "hello"), ("cellar", "x1")]


def test_what_is_not_stored_is_not_acknowledged() -> None:
    def fail(_: Sequence[Reception], gateway: str) -> None:
        raise TransportError("disk full", code="storage.failed", layer="storage")

    receiver = Receiver(fail)
    with pytest.raises(TransportError):
        receiver.handle(Report("cellar", batch=Batch("s", 1, (Item(1, radio(1), NOW, "a"),))))
    assert receiver.handle(Report("cellar", "x", Batch("s", 1))).stored == 1


def test_a_carrier_for_jobs() -> None:
    gateways = RemoteGateways(lambda batch, gateway: None)
    carrier = gateways.carrier("cellar", lambda device: device == METER, SECRET)
    assert isinstance(carrier, RemoteCarrier)
    results: list[object] = []
    carrier.listen(results.append)
    carrier.send(Submit(5, Exchange(METER, Command("sitp", b"\x01"), answer=False)))
    carrier.send(Withdraw(5))
    assert gateways.receiver.waiting("cellar") == (Carry("x5", NAME, "sitp", b"\x01", answer=False), Recall("recall-x5", "x5"))
    done = Answered(5, 0, "sitp", b"\x02", SecurityReport("B", 7, "decrypted", "mac"))
    told = (Result.of("x5", done), Result("recall-x5", "done"), Result("strange", "done"), Result("x6", "done"))
    gateways.receiver.handle(Report("cellar", "", None, told))
    gateways.receiver.handle(Report("roof", "", None, told))
    assert results == [done]
    assert gateways.receiver.waiting("cellar") == ()
