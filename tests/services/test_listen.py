"""The pipeline: doors to store, in order, durable, and down again without loss."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from openmetering.errors import TransportError
from openmetering.security import CounterLedger
from openmetering.services.listen import Heard, Listener, Resumable
from openmetering.storage import Store
from openmetering.telegram import Decoder
from openmetering.transport.doors import Door, Emit
from openmetering.transport.lines import LineReader
from openmetering.transport.reception import BadLine, Item, Notice, Reception
from openmetering.transport.source_address import parse_source
from openmetering.transport.stream_doors import FileDoor
from tests.fleet import KEY, compact, radio, ring

NOW = 1_700_000_000.0


def heard(value: int, *, source: str = "a", at: float = 0.0, **more: object) -> Reception:
    return Reception(radio(value, access_number=value % 256, **more), NOW + at, source)  # type: ignore[arg-type]


class Played:
    """A door that delivers given items, then ends, fails, or waits."""

    def __init__(self, items: Sequence[Item], name: str = "a", *, fault: BaseException | None = None, wait: bool = False) -> None:
        self.name = name
        self.items = items
        self.fault = fault
        self.waits = wait
        self.cancelled = False

    async def run(self, emit: Emit) -> None:
        for item in self.items:
            await emit(item)
        if self.fault is not None:
            raise self.fault
        if self.waits:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled = True
                raise


class Told:
    """What subscribers are told."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.notices: list[Notice] = []
        self.bad: list[BadLine] = []

    def listener(self, store: Store, doors: Sequence[Door], decoder: Decoder | None = None, **more: object) -> Listener:
        return Listener(
            store,
            decoder or Decoder(formats=store.formats()),
            doors,
            on_heard=self.heard.extend,
            on_notice=self.notices.append,
            on_bad_line=self.bad.append,
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def run(make: Callable[[], Listener], seconds: float | None = None) -> Listener:
    async def work() -> Listener:
        listener = make()
        await asyncio.wait_for(listener.run(seconds), 20)
        return listener

    return asyncio.run(work())


def test_everything_goes_its_way(path: str, told: Told) -> None:
    bad = LineReader("hex").line("zz", NOW)
    assert isinstance(bad, BadLine)
    items: list[Item] = [heard(1), Notice("a", "hello"), heard(2), bad, heard(1), heard(3, profile="A")]
    with Store.open(path) as store:
        totals = run(lambda: told.listener(store, [Played(items), Played([heard(9, source="b", at=5)], "b")])).totals
        assert [row.value for row in store.readings()] == ["0.01", "0.02", "0.09"]
        assert store.counts().pending == 0
    assert (totals.receptions, totals.frames, totals.duplicates, totals.decoded, totals.failed) == (5, 4, 1, 3, 1)
    assert (totals.readings, totals.bad_lines, totals.errors) == (3, 1, {"key.missing": 1})
    assert told.notices == [Notice("a", "hello")]
    assert told.bad == [bad]
    assert sum(item.telegram is None for item in told.heard) == 1


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_batches_keep_the_order(path: str, told: Told, batch: int) -> None:
    items = [heard(n, at=n) for n in range(50)]
    with Store.open(path) as store:
        run(lambda: told.listener(store, [Played(items)], batch=batch))
        assert [item.reception for item in told.heard] == items
        assert [item.stored.frame_id for item in told.heard] == list(range(1, 51))


def test_what_is_told_is_on_the_disk(path: str) -> None:
    seen: list[bool] = []

    def check(items: Sequence[Heard]) -> None:
        with Store.open(path) as other:
            ids = [item.stored.frame_id for item in items]
            seen.append(len(other.frames(ids)) == len(ids))

    with Store.open(path) as store:
        run(lambda: Listener(store, Decoder(), [Played([heard(n, at=n) for n in range(20)])], on_heard=check, batch=5))
    assert seen == [True] * 4


def test_frames_of_an_earlier_run_are_decoded_first(path: str, told: Told) -> None:
    with Store.open(path) as store:
        store.append([heard(n, at=n) for n in range(3)])
        totals = run(lambda: told.listener(store, [Played([])])).totals
        assert totals.caught_up == 3
        assert store.counts().readings == 3


def test_the_key_of_a_line_opens_it_and_is_not_kept(path: str, told: Told) -> None:
    frame = radio(5, profile="A")
    items = [
        Reception(frame, NOW, "a", key=KEY.hex()),
        Reception(radio(6, profile="A", access_number=2), NOW + 5, "a", key="short"),
    ]
    with Store.open(path) as store:
        totals = run(lambda: told.listener(store, [Played(items)])).totals
        assert totals.errors == {"key.missing": 1}
        assert [row.value for row in store.readings()] == ["0.05"]
    assert KEY not in Path(path).read_bytes()


def test_a_copy_that_brings_the_key_opens_the_frame(path: str, told: Told) -> None:
    frame = radio(5, profile="A")
    items = [
        Reception(frame, NOW, "a"),
        Reception(frame, NOW + 0.1, "b", key=KEY.hex()),
        Reception(frame, NOW + 0.2, "c", key="00" * 16),
    ]
    with Store.open(path) as store:
        run(lambda: told.listener(store, [Played(items)]))
        assert [row.value for row in store.readings()] == ["0.05"]
        assert store.counts().errors == {}


def test_formats_that_were_learned_are_kept(path: str, told: Told) -> None:
    records = bytes.fromhex("0C1367450000" + "0B3B230100" + "4C1311110000")
    with Store.open(path) as store:
        run(lambda: told.listener(store, [Played([Reception(radio(records=records), NOW, "a")])]))
    with Store.open(path) as store:
        totals = run(lambda: told.listener(store, [Played([Reception(compact(records=records), NOW + 60, "a")])])).totals
        assert totals.errors == {}
        assert store.counts().readings == 6


def test_replays_are_refused_when_asked_and_counters_are_kept(path: str, told: Told) -> None:
    def frame(counter: int) -> Reception:
        return Reception(radio(counter, profile="B", counter=counter), NOW + counter, "a")

    with Store.open(path) as store:
        ledger = CounterLedger.restore(store.counters())
        decoder = Decoder(ring(), counters=ledger)
        run(lambda: told.listener(store, [Played([frame(5), frame(6)])], decoder, ledger=ledger))
    with Store.open(path) as store:
        ledger = CounterLedger.restore(store.counters())
        assert len(ledger) == 1
        old = Reception(radio(4, profile="B", counter=4), NOW + 100, "a")
        totals = run(lambda: told.listener(store, [Played([old])], Decoder(ring(), counters=ledger), ledger=ledger)).totals
        assert totals.errors == {"counter.replayed": 1}


# -- doors ------------------------------------------------------------------------------------


def test_a_door_that_fails_does_not_stop_the_others(path: str, told: Told) -> None:
    fault = TransportError("pulled out", code="transport.lost")
    with Store.open(path) as store:
        totals = run(
            lambda: told.listener(store, [Played([heard(1)], fault=fault), Played([heard(2, source="b", at=9)], "b")])
        ).totals
        assert totals.frames == 2
    assert told.notices == [Notice("a", "pulled out", "error", "transport.lost")]
    assert totals.failed_doors == ["pulled out"]


def test_all_doors_failed(path: str, told: Told) -> None:
    doors = [Played([], fault=TransportError("one")), Played([], fault=TransportError("two"))]
    with Store.open(path) as store, pytest.raises(TransportError, match="one; two"):
        run(lambda: told.listener(store, doors))


def test_a_fault_of_our_own_is_not_hidden(path: str, told: Told) -> None:
    with Store.open(path) as store, pytest.raises(ZeroDivisionError):
        run(lambda: told.listener(store, [Played([heard(1)], fault=ZeroDivisionError()), Played([], wait=True)]))
    with Store.open(path) as store:
        assert store.counts().frames == 1


@pytest.mark.parametrize("how", ["seconds", "stop"])
def test_stopping_stores_what_was_delivered(path: str, told: Told, how: str) -> None:
    door = Played([heard(n, at=n) for n in range(30)], wait=True)

    async def work(store: Store) -> None:
        listener = told.listener(store, [door])
        if how == "stop":
            asyncio.get_running_loop().call_later(0.15, listener.stop)
            asyncio.get_running_loop().call_later(0.16, listener.stop)
        await asyncio.wait_for(listener.run(0.15 if how == "seconds" else None), 10)

    with Store.open(path) as store:
        asyncio.run(work(store))
        assert (store.counts().frames, store.counts().pending) == (30, 0)
    assert door.cancelled


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_in_order(path: str, told: Told, number: signal.Signals) -> None:
    async def work(store: Store) -> None:
        listener = told.listener(store, [Played([heard(1)], wait=True)])
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), number)
        await asyncio.wait_for(listener.run_until_signal(), 10)

    with Store.open(path) as store:
        asyncio.run(work(store))
        assert store.counts().readings == 1


# -- a store in trouble -------------------------------------------------------------------------


def test_a_store_that_fails_for_a_while(path: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        append, record = store.append, store.record
        troubles = iter([True, True, False])

        def failing(*args: object, **more: object) -> object:
            if next(troubles, False):
                raise TransportError("disk full", code="storage.failed")
            return append(*args, **more)  # type: ignore[arg-type]

        record_troubles = iter([True, False])

        def failing_record(results: object) -> object:
            if next(record_troubles, False):
                raise TransportError("disk full", code="storage.failed")
            return record(results)  # type: ignore[arg-type]

        class Troubled(Store):
            __slots__ = ()

        troubled = Troubled(store._link, path)
        monkeypatch.setattr(Troubled, "append", lambda self, *args, **more: failing(*args, **more))
        monkeypatch.setattr(Troubled, "record", lambda self, results: failing_record(results))
        totals = run(lambda: told.listener(troubled, [Played([heard(1), heard(2, at=5)])], retry=0.01)).totals
        assert totals.frames == 2
        assert [row.value for row in store.readings()] == ["0.01", "0.02"]
    texts = [notice.message for notice in told.notices]
    assert len(texts) == 3
    assert "nothing more is stored until it works again" in texts[0]
    assert "decoded" in texts[2]


def test_a_store_that_fails_while_stopping(path: str, told: Told) -> None:
    class Broken(Store):
        __slots__ = ()

        def append(self, *args: object, **more: object) -> list[object]:  # type: ignore[override]
            raise TransportError("disk full", code="storage.failed")

    async def work(store: Store) -> None:
        listener = told.listener(Broken(store._link, path), [Played([heard(1)], wait=True)], retry=30)
        asyncio.get_running_loop().call_later(0.1, listener.stop)
        await asyncio.wait_for(listener.run(), 10)

    with Store.open(path) as store, pytest.raises(TransportError, match="disk full"):
        asyncio.run(work(store))


# -- files ------------------------------------------------------------------------------------


def test_a_file_is_read_once_over_many_runs(path: str, tmp_path: Path, told: Told) -> None:
    log = tmp_path / "log.txt"
    text = [f"{radio(n, access_number=n).hex()}\n" for n in range(1, 5)]
    log.write_text("".join(text[:2]) + "broken\n")

    def once() -> Listener:
        door = FileDoor(parse_source(str(log)), clock=lambda: NOW)
        assert isinstance(door, Resumable)
        return run(lambda: told.listener(store, [door]))

    with Store.open(path) as store:
        assert once().totals.frames == 2
        again = once()
        assert (again.totals.receptions, again.totals.bad_lines) == (0, 0)
        with log.open("a") as file:
            file.write("".join(text[2:]))
        assert once().totals.frames == 2
        assert store.counts().frames == 4
        assert "?from=start" in told.notices[0].message
        log.write_text("# another\n" + "".join(text))
        totals = once().totals
        assert (totals.receptions, totals.frames) == (4, 0)


def test_a_missing_file_is_told(path: str, tmp_path: Path, told: Told) -> None:
    with Store.open(path) as store, pytest.raises(TransportError, match="cannot be read"):
        run(lambda: told.listener(store, [FileDoor(parse_source(str(tmp_path / "none")))]))
