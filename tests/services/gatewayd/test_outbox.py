"""From the spool to batches: the same batch until it is settled, nothing lost and nothing told twice by habit."""

from __future__ import annotations

from pathlib import Path

from openmetering.security import AddressPattern
from openmetering.services.gatewayd.entries import Entry, entry_of, read_entry, write_entry
from openmetering.services.gatewayd.merge import Merger
from openmetering.services.gatewayd.outbox import Outbox
from openmetering.services.gatewayd.spool import Spool
from openmetering.services.gatewayd.thinning import Rule, Thinner
from openmetering.transport.reception import Reception
from tests.fleet import radio
from tests.services.gatewayd.tools import NOW, entry

BEST = Rule(AddressPattern.everything(), "best")


def outbox(folder: Path, *rules: Rule, hold: float = 0.0) -> tuple[Spool, Outbox]:
    spool = Spool(folder, keep=1e9)
    return spool, Outbox(spool, Merger(hold), Thinner(rules))


def fill(spool: Spool, *entries: Entry) -> None:
    spool.append([write_entry(one) for one in entries], NOW)


def values(box: Outbox, at: float, limit: int = 100) -> list[int]:
    batch = box.batch(limit, NOW + at)
    return [] if batch is None else [item.number for item in batch.items]


def settle(spool: Spool, box: Outbox) -> None:
    batch = box.batch(100, NOW)
    assert batch is not None
    assert box.settle(batch.stream, batch.last, NOW)


def test_an_entry_keeps_all_but_the_key() -> None:
    item = Reception(radio(1), NOW, "door", -70.5, 90, "T", "A", True, "00" * 16, "a line with a key", "12345678", 77)
    stored = entry_of(item, "stick", NOW + 1, "mark")
    assert read_entry(write_entry(stored)) == stored
    assert (stored.source, stored.arrived_at, stored.position, stored.mark) == ("stick", NOW + 1, 77, "mark")
    assert b"a line" not in write_entry(stored)


def test_batches(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path)
    assert box.batch(10, NOW) is None
    assert not box.busy
    fill(spool, *(entry(n, n) for n in range(5)))
    assert (box.backlog, box.busy) == (5, True)
    first = box.batch(2, NOW + 9)
    assert first is not None
    assert [item.number for item in first.items] == [1, 2]
    assert (first.stream, first.last) == (spool.stream, 2)
    assert box.batch(100, NOW + 99) is first
    assert not box.settle("another", first.last, NOW)
    assert not box.settle(first.stream, 1, NOW)
    assert box.settle(first.stream, 2, NOW)
    assert not box.settle(first.stream, 2, NOW)
    assert spool.settled == 2
    assert values(box, 9) == [3, 4, 5]
    settle(spool, box)
    assert box.batch(10, NOW + 9) is None
    assert not box.busy


def test_items_tell_what_was_heard(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path, hold=1.0)
    fill(spool, entry(7, rssi=-90), entry(7, 0.2, source="b", rssi=-50))
    assert values(box, 0.5) == []
    assert box.deadline == NOW + 1.0
    batch = box.batch(10, NOW + 1)
    assert batch is not None
    (item,) = batch.items
    assert (item.frame, item.source, item.rssi_dbm, item.copies, item.crc) == (radio(7, access_number=7), "b", -50, 1, True)
    assert batch.last == 2


def test_what_is_held_is_not_settled(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path, BEST)
    fill(spool, entry(1, 0), entry(2, 1, number=2), entry(3, 2, status=4, number=2), entry(4, 3))
    batch = box.batch(10, NOW + 5)
    assert batch is not None  # the change of status goes; the rest waits for the end of the slot
    assert [item.number for item in batch.items] == [3]
    assert batch.last == 0
    settle(spool, box)
    assert spool.settled == 0
    assert values(box, 50) == []
    assert values(box, 100) == [4, 2]
    settle(spool, box)
    assert spool.settled == 4


def test_a_restart_tells_what_was_not_settled_and_knows_copies(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path)
    fill(spool, entry(1), entry(2, 0.1), entry(3, 0.2))
    first = box.batch(2, NOW + 1)
    assert first is not None
    box.settle(first.stream, first.last, NOW)
    fill(spool, entry(2, 0.3, source="b"), entry(4, 0.4))
    spool.close()
    again, second = outbox(tmp_path)
    assert values(second, 1) == [3, 5]
    settle(again, second)
    assert again.settled == 5


def test_a_restart_knows_states(tmp_path: Path) -> None:
    rule = Rule(AddressPattern.everything(), "status")
    spool, box = outbox(tmp_path, rule)
    fill(spool, entry(1), entry(2, 1))
    assert values(box, 1) == [1]
    settle(spool, box)
    fill(spool, entry(3, 2), entry(4, 3, status=4))
    again, second = outbox(tmp_path, rule)
    assert values(second, 9) == [4]
    assert again.settled == 2


def test_a_batch_with_nothing_to_tell_settles(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path, Rule(AddressPattern.everything(), "status"))
    fill(spool, entry(1))
    settle(spool, box)
    fill(spool, entry(2, 1), entry(3, 2))
    batch = box.batch(10, NOW + 9)
    assert batch is not None
    assert (batch.items, batch.last) == ((), 3)
    settle(spool, box)
    assert spool.waiting == 0


def test_records_of_another_program_are_counted(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path)
    spool.append([b"\xc1", write_entry(entry(1))], NOW)
    assert values(box, 9) == [2]
    assert box.unread == 1
    settle(spool, box)
    spool.append([b"no"], NOW)
    _, again = outbox(tmp_path)
    assert values(again, 9) == []
    assert again.unread == 2


def test_many_records_in_small_batches(tmp_path: Path) -> None:
    spool, box = outbox(tmp_path)
    fill(spool, *(entry(n, n) for n in range(2_500)))
    told: list[int] = []
    while batch := box.batch(700, NOW + 9_999):
        told += [item.number for item in batch.items]
        box.settle(batch.stream, batch.last, NOW)
    assert told == list(range(1, 2_501))
