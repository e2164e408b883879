"""The daemon: sources to disk, disk to head-end, restarts, failures of either end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from openmetering.errors import InputError, TransportError
from openmetering.services.gatewayd import daemon as daemon_module
from openmetering.services.gatewayd.config import Config, read_config
from openmetering.services.gatewayd.daemon import GatewayDaemon, GatewayState, Sources
from openmetering.services.gatewayd.messages import Carry, Recall, Reply, Report
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.uplink import DirectUplink, Uplink
from openmetering.transport.doors import Door, Emit
from openmetering.transport.reception import BadLine, Item, Notice, Reception
from openmetering.transport.source_address import parse_source
from openmetering.transport.stream_doors import FileDoor
from tests.fleet import radio
from tests.services.gatewayd.test_desk import NAME, Post

NOW = 1_700_000_000.0


def heard(value: int, at: float | None = None, rssi: float = -70.0, **more: object) -> Reception:
    frame = radio(value, access_number=value % 256, number=10_000_000 + value, **more)  # type: ignore[arg-type]
    return Reception(frame, NOW + (value if at is None else at), "door", rssi, crc=True)


class Played:
    """A door that plays items; then it ends, fails, or waits."""

    def __init__(
        self, items: Sequence[Item], *, fail: TransportError | None = None, wait: bool = False, name: str = "played"
    ) -> None:
        self.name = name
        self.items = list(items)
        self.fail = fail
        self.wait = wait
        self.runs = 0

    async def run(self, emit: Emit) -> None:
        self.runs += 1
        for item in self.items:
            await emit(item)
        if self.fail is not None:
            fail, self.fail, self.items = self.fail, None, [heard(99)]
            raise fail
        if self.wait:
            await asyncio.Event().wait()


class HeadEnd:
    """A head-end that stores in memory, and may be away or full."""

    def __init__(self) -> None:
        self.stored: list[Reception] = []
        self.reports: list[Report] = []
        self.away = False
        self.deaf = False
        self.receiver = Receiver(lambda batch, gateway: self.stored.extend(batch), on_report=self.reports.append)

    def handle(self, report: Report) -> Reply:
        if self.away:
            raise TransportError("the head-end is away", code="transport.send", layer="transport")
        if self.deaf:
            return Reply(report.id)
        return self.receiver.handle(report)

    @property
    def frames(self) -> list[bytes]:
        return [item.frame for item in self.stored]


def configuration(folder: Path, text: str = "", sources: str = '[[source]]\nat = "-"\nname = "a"\n') -> Config:
    uplink = "[uplink]\nlinger = 0\nevery = 0.3\nlongest = 0.1\n"
    head = f'[gateway]\nname = "cellar"\nstate = "{folder}/state"\n[merge]\nhold = 0\n{uplink}'
    return read_config((head + text + sources).encode(), folder)


class Bench:
    """A daemon with played doors."""

    def __init__(
        self,
        config: Config,
        doors: Mapping[str, Door],
        uplink: Uplink | None,
        stations: Mapping[str, Post] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.notices: list[Notice] = []
        self.daemon = GatewayDaemon(
            config,
            lambda tell: Sources(doors, stations or {}),  # type: ignore[arg-type]
            uplink=uplink,
            clock=clock,
            on_notice=self.notices.append,
            retry=0.05,
            farewell=3.0,
        )

    def texts(self) -> str:
        return "\n".join(notice.message for notice in self.notices)


def run(
    folder: Path,
    doors: Mapping[str, Door],
    head: HeadEnd | None,
    *,
    text: str = "",
    until: Callable[[Bench], bool] | None = None,
    stations: Mapping[str, Post] | None = None,
    work: Callable[[Bench], Awaitable[None]] | None = None,
) -> Bench:
    """Run a daemon to the end of its sources, or until something holds."""
    names = "".join(f'[[source]]\nat = "-"\nname = "{name}"\n' for name in doors)

    async def go() -> Bench:
        bench = Bench(configuration(folder, text, names), doors, None if head is None else DirectUplink(head.handle), stations)
        running = asyncio.ensure_future(bench.daemon.run())
        if work is not None:
            await work(bench)
        if until is not None:
            end = time.monotonic() + 10
            while not until(bench) and not running.done():
                assert time.monotonic() < end, bench.texts()
                await asyncio.sleep(0.01)
        if until is not None or work is not None:
            bench.daemon.stop()
            bench.daemon.stop()
        await asyncio.wait_for(running, 15)
        return bench

    return asyncio.run(go())


def test_everything_that_sources_give_arrives(tmp_path: Path) -> None:
    head = HeadEnd()
    first = [heard(n) for n in range(700)]
    bad = BadLine(1, "x", InputError("no telegram"), "door")
    bench = run(tmp_path, {"a": Played([*first, bad]), "b": Played([heard(1_000), Notice("door", "hello")])}, head)
    assert set(head.frames) == {item.frame for item in [*first, heard(1_000)]}
    assert len(head.frames) == 701
    assert {item.source for item in head.stored} == {"cellar/a", "cellar/b"}
    assert bench.daemon.state().waiting == 0
    assert [item.received_at for item in head.stored if item.source == "cellar/b"] == [NOW + 1_000]
    assert Notice("b", "hello") in bench.notices
    assert bench.notices[-1].level != "error"


def test_copies_are_merged(tmp_path: Path) -> None:
    head = HeadEnd()
    doors = {"a": Played([heard(1, rssi=-90.0)]), "b": Played([heard(1, rssi=-50.0)])}
    bench = run(tmp_path, doors, head, text="")
    assert len(head.stored) == 1
    assert bench.daemon.state().merged == 1


def test_thinning_by_rule(tmp_path: Path) -> None:
    head = HeadEnd()
    items = [Reception(radio(n, access_number=n), NOW + n, "x", crc=True) for n in range(10)]
    bench = run(tmp_path, {"a": Played(items)}, head, text='[[thinning]]\nmatch = "*"\nkeep = "status"\n')
    assert len(head.stored) == 1
    state = bench.daemon.state()
    assert (state.left_out, state.waiting) == (9, 0)


def test_a_head_end_that_is_away_costs_nothing(tmp_path: Path) -> None:
    head = HeadEnd()
    head.away = True

    async def work(bench: Bench) -> None:
        while "head-end is away" not in bench.texts():
            await asyncio.sleep(0.01)
        assert bench.daemon.state().uplink_trouble == "the head-end is away"
        head.away = False
        while len(head.stored) < 50:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert bench.daemon.state().uplink_trouble == ""

    bench = run(tmp_path, {"a": Played([heard(n) for n in range(50)], wait=True)}, head, work=work)
    assert len(head.frames) == 50
    assert bench.texts().count("head-end is away") == 1
    assert bench.daemon.state().waiting == 0


def test_what_could_not_be_told_is_told_by_the_next_run(tmp_path: Path) -> None:
    head = HeadEnd()
    head.away = True
    bench = run(tmp_path, {"a": Played([heard(n) for n in range(5)])}, head)
    assert bench.daemon.state().waiting == 5
    head.away = False
    run(tmp_path, {"a": Played([heard(7)])}, head)
    assert head.frames == [heard(n).frame for n in (0, 1, 2, 3, 4, 7)]
    run(tmp_path, {"a": Played([])}, head)
    assert len(head.frames) == 6


def test_a_head_end_that_does_not_store(tmp_path: Path) -> None:
    head = HeadEnd()
    head.deaf = True
    bench = run(tmp_path, {"a": Played([heard(1)])}, head)
    assert "has not stored the batch" in bench.texts()
    assert bench.daemon.state().waiting == 1


def test_a_source_that_fails_is_tried_again_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick(daemon_module.BackOff):
        def __init__(self, first: float = 0.01, largest: float = 0.02) -> None:
            super().__init__(0.01, 0.02)

    monkeypatch.setattr(daemon_module, "BackOff", Quick)
    head = HeadEnd()
    broken = Played([heard(1)], fail=TransportError("unplugged", code="transport.open", layer="transport"))
    bench = run(tmp_path, {"a": broken, "b": Played([heard(2)])}, head)
    assert broken.runs == 2
    assert len(head.stored) == 3
    assert "unplugged; next attempt in 0.01 s" in bench.texts()
    states = {source.name: source for source in bench.daemon.state().sources}
    assert (states["a"].state, states["a"].counts.failures, states["b"].state) == ("ended", 1, "ended")


def test_without_a_way_up_everything_stays(tmp_path: Path) -> None:
    bench = run(tmp_path, {"a": Played([heard(n) for n in range(3)])}, None)
    state = bench.daemon.state()
    assert (state.waiting, state.uplink) == (3, "")
    assert state.spool_octets > 100
    head = HeadEnd()
    run(tmp_path, {"a": Played([])}, head)
    assert len(head.stored) == 3


def test_an_empty_report_now_and_then_fetches_orders(tmp_path: Path) -> None:
    head = HeadEnd()
    post = Post("a")
    head.receiver.order("cellar", Carry("x1", NAME))

    def done(bench: Bench) -> bool:
        if post.events and not head.reports[-1].results:
            bench.daemon.desk.hear("a", msgspec.convert({"token": 1, "reason": "busy", "delivered": True}, _failed()))
        return any(report.results for report in head.reports)

    run(tmp_path, {"a": Played([], wait=True)}, head, stations={"a": post}, until=done)
    assert len(post.events) == 1
    assert head.receiver.waiting("cellar") == ()


def _failed() -> type:
    from openmetering.protocol.exchange import Failed

    return Failed


def test_orders_in_the_process(tmp_path: Path) -> None:
    head = HeadEnd()

    async def work(bench: Bench) -> None:
        bench.daemon.order([Recall("r", "nothing")])
        while not any(report.results for report in head.reports):
            await asyncio.sleep(0.01)

    run(tmp_path, {"a": Played([], wait=True)}, head, stations={"a": Post("a")}, work=work)
    assert [result.id for report in head.reports for result in report.results][:1] == ["r"]


def test_news_are_told_again_after_a_failure(tmp_path: Path) -> None:
    head = HeadEnd()
    head.away = True

    async def work(bench: Bench) -> None:
        from openmetering.protocol.gateway.events import Demanded

        bench.daemon._hear("a", Demanded(Post("a").known.copy().pop()))
        while "away" not in bench.texts():
            await asyncio.sleep(0.01)
        head.away = False
        while not any(report.news for report in head.reports):
            await asyncio.sleep(0.01)

    run(tmp_path, {"a": Played([], wait=True)}, head, stations={"a": Post("a")}, work=work)
    assert [one.kind for report in head.reports for one in report.news] == ["demanded"]


def test_a_device_of_the_configuration(tmp_path: Path) -> None:
    post = Post("a")
    text = f'[[device]]\naddress = "{NAME}"\nprofile = "B"\n'
    run(tmp_path, {"a": Played([])}, HeadEnd(), text=text, stations={"a": post})
    (event,) = post.events
    assert event.link.profile == "B"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no single source that carries commands"):
        run(tmp_path, {"a": Played([])}, HeadEnd(), text=text)


def test_a_disk_that_fails_holds_the_sources_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = HeadEnd()
    real = daemon_module.Spool.append
    failures = [TransportError("disk full", code="storage.failed", layer="storage")] * 3

    def append(spool: object, contents: Sequence[bytes], now: float) -> int:
        if failures:
            raise failures.pop()
        return real(spool, contents, now)  # type: ignore[arg-type]

    monkeypatch.setattr(daemon_module.Spool, "append", append)
    bench = run(tmp_path, {"a": Played([heard(1)], wait=True)}, head, until=lambda _: bool(head.stored))
    assert len(head.stored) == 1
    assert bench.texts().count("disk full; nothing more is stored until it works again") == 3


def test_a_disk_that_fails_while_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def append(spool: object, contents: Sequence[bytes], now: float) -> int:
        raise TransportError("disk full", code="storage.failed", layer="storage")

    monkeypatch.setattr(daemon_module.Spool, "append", append)
    with pytest.raises(TransportError, match="disk full"):
        run(tmp_path, {"a": Played([heard(1)], wait=True)}, None, until=lambda bench: "disk full" in bench.texts())


def file_door(path: Path) -> FileDoor:
    return FileDoor(parse_source(f"file:{path}"))


def test_a_file_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(heard(n).frame.hex() + "\n" for n in range(5)))
    head = HeadEnd()
    run(tmp_path, {"a": file_door(path)}, head)
    with path.open("a") as file:
        file.write(heard(5).frame.hex() + "\n")
    bench = run(tmp_path, {"a": file_door(path)}, head)
    assert "goes on behind octet" in bench.texts()
    assert head.frames == [heard(n).frame for n in range(6)]
    (tmp_path / "state" / "places.json").unlink()  # a kill before it was written: the spool knows as well
    bench = run(tmp_path, {"a": file_door(path)}, head)
    assert len(head.frames) == 6


def test_house_keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "_HOUSEKEEPING", 0.02)
    path = tmp_path / "log.txt"
    path.write_text(heard(1).frame.hex() + "\n")
    door = FileDoor(parse_source(f"file:{path}?follow=yes"))

    def noted(bench: Bench) -> bool:
        return (tmp_path / "state" / "places.json").exists() and bench.daemon.state().waiting == 0

    bench = run(tmp_path, {"a": door}, None, until=noted)
    assert bench.daemon.state().lost == 0
    head = HeadEnd()
    states: list[bytes] = []

    class Told(DirectUplink):
        async def state(self, octets: bytes) -> None:
            states.append(octets)

    async def go() -> None:
        made = Bench(configuration(tmp_path), {"a": Played([heard(3)], wait=True)}, Told(head.handle))
        running = asyncio.ensure_future(made.daemon.run())
        await asyncio.sleep(0.2)
        made.daemon.stop()
        await running

    asyncio.run(go())
    first, last = (msgspec.json.decode(octets, type=GatewayState) for octets in (states[0], states[-1]))
    assert (first.online, first.gateway, last.online) == (True, "cellar", False)
    assert last.sources[0].counts.receptions == 1


def test_a_way_up_that_breaks_ends_the_daemon_loudly(tmp_path: Path) -> None:
    class Wrong(DirectUplink):
        async def exchange(self, report: Report) -> Reply:
            raise ValueError("a fault of the program")

    async def go() -> None:
        made = Bench(configuration(tmp_path), {"a": Played([heard(3)])}, Wrong(HeadEnd().handle))
        await made.daemon.run()

    with pytest.raises(ValueError, match="a fault of the program"):
        asyncio.run(go())


def test_a_fault_in_a_source_is_not_hidden(tmp_path: Path) -> None:
    class Wrong(Played):
        async def run(self, emit: Emit) -> None:
            raise ValueError("a fault of the program")

    with pytest.raises(ValueError, match="a fault of the program"):
        run(tmp_path, {"a": Wrong([])}, HeadEnd())
