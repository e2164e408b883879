"""The spool: what was acknowledged is there, whatever happens to the end of the file; bounded space; a cursor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.errors import InputError, TransportError
from openmetering.services.gatewayd import files, spool
from openmetering.services.gatewayd.files import owned, save
from openmetering.services.gatewayd.spool import Record, Spool

NOW = 1_700_000_000.0


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def everything(opened: Spool, first: int = 1, count: int = 100) -> list[Record]:
    reader = opened.reader(first)
    found: list[Record] = []
    while part := reader.read(count):
        found += part
    return found


def contents(opened: Spool) -> list[bytes]:
    return [record.content for record in everything(opened)]


def test_records_come_back_in_order(tmp_path: Path) -> None:
    opened = Spool(tmp_path)
    assert (opened.first, opened.end, opened.waiting, opened.size) == (1, 1, 0, 0)
    assert opened.append([b"a", b"bb", b""], NOW) == 1
    assert opened.append([], NOW) == 4
    assert opened.append([b"ccc"], NOW) == 4
    assert everything(opened) == [Record(1, b"a"), Record(2, b"bb"), Record(3, b""), Record(4, b"ccc")]
    assert everything(opened, 3, 1) == [Record(3, b""), Record(4, b"ccc")]
    assert everything(opened, 9) == []
    assert opened.waiting == 4
    opened.close()


def test_the_octets_of_a_record(tmp_path: Path) -> None:
    opened = Spool(tmp_path)
    opened.append([b"123456789"], NOW)
    octets = segments(tmp_path)[0].read_bytes()
    assert octets[:8] == b"OMSSPL01"
    assert octets[8:12] == (9).to_bytes(4, "little")
    assert octets[16:24] == (1).to_bytes(8, "little")
    assert octets[24:] == b"123456789"
    assert segments(tmp_path)[0].name == "00000000000000000001.spool"


def test_a_reader_follows_what_is_appended(tmp_path: Path) -> None:
    opened = Spool(tmp_path, segment=100)
    reader = opened.reader(1)
    assert reader.read(10) == []
    for number in range(1, 20):
        opened.append([bytes((number,)) * 30], NOW)
        assert reader.read(10) == [Record(number, bytes((number,)) * 30)]
        assert reader.read(10) == []
    assert len(segments(tmp_path)) > 5


def test_what_was_appended_outlives_the_process(tmp_path: Path) -> None:
    first = Spool(tmp_path, segment=100)
    for number in range(10):
        first.append([b"%03d" % number * 10], NOW)
    first.settle(4, NOW)
    stream = first.stream
    again = Spool(tmp_path, segment=100)
    assert (again.stream, again.settled, again.end, again.waiting) == (stream, 4, 11, 6)
    assert again.append([b"next"], NOW) == 11
    assert contents(again)[-2:] == [b"009" * 10, b"next"]


@pytest.mark.parametrize("cut", range(1, 21))
def test_a_torn_end_is_cut_off(tmp_path: Path, cut: int) -> None:
    opened = Spool(tmp_path)
    opened.append([b"whole", b"torn"], NOW)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-cut])
    again = Spool(tmp_path)
    assert contents(again) == [b"whole"]
    assert again.append([b"new"], NOW) == 2
    assert everything(Spool(tmp_path)) == [Record(1, b"whole"), Record(2, b"new")]


@pytest.mark.parametrize("octets", [b"", b"OMS", b"OMSSPL01", b"OMSSPL01\x05\x00", b"something else entirely, longer"])
def test_a_segment_that_was_only_begun(tmp_path: Path, octets: bytes) -> None:
    opened = Spool(tmp_path, segment=64)
    opened.append([b"x" * 40], NOW)
    (tmp_path / "00000000000000000002.spool").write_bytes(octets)
    again = Spool(tmp_path, segment=64)
    assert again.end == 2
    again.append([b"y"], NOW)
    assert everything(Spool(tmp_path, segment=64)) == [Record(1, b"x" * 40), Record(2, b"y")]


def test_damage_within_a_segment_costs_one_record(tmp_path: Path) -> None:
    opened = Spool(tmp_path)
    opened.append([b"first", b"second", b"third"], NOW)
    path = segments(tmp_path)[0]
    octets = path.read_bytes()
    path.write_bytes(octets.replace(b"second", b"sexond"))
    again = Spool(tmp_path)
    assert everything(again) == [Record(1, b"first"), Record(3, b"third")]
    assert (again.end, again.damaged) == (4, 1)


def test_damage_that_hides_the_rest_of_a_segment(tmp_path: Path) -> None:
    opened = Spool(tmp_path, segment=120)
    opened.append([b"a" * 20, b"b" * 20], NOW)
    opened.append([b"c" * 60], NOW)
    path = segments(tmp_path)[0]
    octets = bytearray(path.read_bytes())
    octets[8 + 16 + 20] = 0xFF  # the length of the second record
    octets[8 + 16 + 23] = 0xFF
    path.write_bytes(bytes(octets))
    again = Spool(tmp_path, segment=120)
    assert everything(again) == [Record(1, b"a" * 20), Record(3, b"c" * 60)]
    assert again.damaged == 1


def test_a_last_record_that_is_damaged_in_a_closed_segment(tmp_path: Path) -> None:
    opened = Spool(tmp_path, segment=100)
    opened.append([b"a" * 60], NOW)
    opened.append([b"b" * 60], NOW)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    again = Spool(tmp_path, segment=100)
    assert everything(again) == [Record(2, b"b" * 60)]


def test_records_larger_than_a_chunk(tmp_path: Path) -> None:
    opened = Spool(tmp_path)
    large = [os.urandom(size) for size in (300_000, 10, 1_000_000, 200_000)]
    opened.append(large, NOW)
    assert contents(opened) == large


def test_the_cursor_never_goes_back(tmp_path: Path) -> None:
    opened = Spool(tmp_path)
    opened.append([b"x"] * 10, NOW)
    opened.settle(7, NOW)
    opened.settle(3, NOW)
    opened.settle(7, NOW)
    assert opened.settled == 7
    opened.settle(99, NOW)
    assert (opened.settled, opened.waiting) == (10, 0)


@pytest.mark.parametrize("cursor", [b"", b"x", b"-"])
def test_an_unreadable_cursor_repeats(tmp_path: Path, cursor: bytes) -> None:
    opened = Spool(tmp_path)
    opened.append([b"x"] * 3, NOW)
    opened.settle(2, NOW)
    (tmp_path / "cursor").write_bytes(cursor)
    assert Spool(tmp_path).settled == 0


def filled(folder: Path, **more: object) -> Spool:
    opened = Spool(folder, segment=100, **more)  # type: ignore[arg-type]
    for number in range(10):
        opened.append([bytes((number,)) * 60], NOW + number)
    return opened


def test_settled_segments_go(tmp_path: Path) -> None:
    opened = filled(tmp_path)
    assert len(segments(tmp_path)) == 10
    opened.settle(4, NOW + 20)
    assert (opened.first, len(segments(tmp_path)), opened.lost) == (5, 6, 0)
    opened.settle(10, NOW + 20)
    assert (opened.first, len(segments(tmp_path)), opened.end) == (10, 1, 11)  # the last one stays


def test_settled_segments_are_kept_for_a_time(tmp_path: Path) -> None:
    opened = filled(tmp_path, keep=100.0)
    opened.settle(10, NOW + 20)
    assert opened.first == 1
    opened.trim(NOW + 104)
    assert opened.first == 5
    opened.trim(NOW + 1_000)
    assert opened.first == 10


def test_what_is_not_settled_goes_only_when_there_is_no_room(tmp_path: Path) -> None:
    opened = filled(tmp_path, limit=400)
    assert opened.size <= 400
    assert opened.lost == 10 - 4
    assert (opened.first, opened.settled, opened.waiting) == (7, 6, 4)
    assert [record.number for record in everything(opened)] == [7, 8, 9, 10]
    again = Spool(tmp_path, segment=100, limit=400)
    assert (again.settled, again.waiting) == (6, 4)


def test_room_is_made_of_settled_segments_first(tmp_path: Path) -> None:
    opened = Spool(tmp_path, segment=100, limit=400, keep=1e9)
    for number in range(10):
        opened.append([bytes((number,)) * 60], NOW)
        opened.settle(number, NOW)
    assert (opened.lost, opened.waiting) == (0, 1)


def test_a_reader_behind_what_was_removed_goes_on(tmp_path: Path) -> None:
    opened = filled(tmp_path, limit=400)
    assert [record.number for record in everything(opened, 2)] == [7, 8, 9, 10]


class Broken:
    """A disk that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.monkeypatch = monkeypatch
        self.real = getattr(os, name)
        self.name = name

    def __enter__(self) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.monkeypatch.setattr(os, self.name, fail)

    def __exit__(self, *_: object) -> None:
        self.monkeypatch.setattr(os, self.name, self.real)


def test_a_failed_write_leaves_nothing_and_may_be_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Spool(tmp_path)
    opened.append([b"before"], NOW)
    with Broken(monkeypatch, "fsync"):
        with pytest.raises(TransportError, match="No space left") as caught:
            opened.append([b"lost", b"lost too"], NOW)
        with pytest.raises(TransportError):
            opened.settle(1, NOW)
    assert caught.value.code == "storage.failed"
    assert (opened.end, opened.settled) == (2, 0)
    assert contents(Spool(tmp_path)) == [b"before"]
    assert opened.append([b"again"], NOW) == 2
    assert contents(opened) == [b"before", b"again"]


def test_a_segment_that_cannot_be_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Spool(tmp_path, segment=100)
    with Broken(monkeypatch, "fsync"), pytest.raises(TransportError):
        opened.append([b"x" * 90], NOW)
    opened.append([b"x" * 90], NOW)
    with Broken(monkeypatch, "fsync"), pytest.raises(TransportError):
        opened.append([b"y" * 90], NOW)
    assert opened.append([b"y" * 90], NOW) == 2
    assert contents(Spool(tmp_path, segment=100)) == [b"x" * 90, b"y" * 90]


def test_a_segment_that_is_gone_while_reading(tmp_path: Path) -> None:
    opened = Spool(tmp_path)
    opened.append([b"x"], NOW)
    segments(tmp_path)[0].unlink()
    with pytest.raises(TransportError, match="No such file"):
        opened.reader(1).read(1)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made") as caught:
        Spool(tmp_path / "file" / "spool")
    assert caught.value.code == "state.unwritable"


def test_a_folder_belongs_to_one(tmp_path: Path) -> None:
    with owned(tmp_path / "state"):
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
        with pytest.raises(InputError, match="in use by another gateway"), owned(tmp_path / "state"):
            pass
    with owned(tmp_path / "state"):
        pass


def test_saving_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    save(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(TransportError, match="Input/output error"):
        save(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.lists(st.binary(max_size=80), max_size=5), max_size=12), st.integers(60, 400), st.integers(1, 7), st.data())
@settings(max_examples=60, deadline=None)
def test_any_batches_any_segments_any_cut(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], size: int, count: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    opened = Spool(folder, segment=size)
    for batch in batches:
        opened.append(batch, NOW)
    flat = [content for batch in batches for content in batch]
    assert [record.content for record in everything(opened, count=count)] == flat
    found = segments(folder)
    if found:
        last = found[-1]
        octets = last.read_bytes()
        last.write_bytes(octets[: data.draw(st.integers(0, len(octets)))])
        left = contents(Spool(folder, segment=size))
        assert left == flat[: len(left)]
        assert len(left) >= int(last.stem) - 1


def test_the_module_says_what_it_exports() -> None:
    assert set(spool.__all__) == {"Record", "Spool", "SpoolReader"}
