"""What the two databases do not share: COPY, patterns, connections that break; and results written in the background."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openmetering.errors import TransportError
from openmetering.storage import Decoded, ReadingFilter, Store
from openmetering.storage.background import BackgroundRecorder
from openmetering.storage.dialects import PostgresLink, copy_plain, copy_text
from openmetering.storage.postgresql import connect
from openmetering.telegram import Decoder
from tests.fleet import radio, volume
from tests.storage.postgres import Server
from tests.storage.test_store import heard

_SIGNS = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "N": "N"}


def test_the_text_of_copy() -> None:
    rows = [(1, -2.5, "a\tb\nc\r\\d", b"\x00\xff", None, ""), (10**18, 1e300, "1.20", b"", None, "x\0y")]
    assert b"".join(copy_text(rows)) == (
        "1\t-2.5\ta\\tb\\nc\\r\\\\d\t\\\\x00ff\tNone\t\n1000000000000000000\t1e+300\t1.20\t\\\\x\tNone\tx\u2400y\n".encode()
    )


def test_copy_goes_in_portions() -> None:
    portions = list(copy_text([(number,) for number in range(10_000)]))
    assert len(portions) == 3
    assert b"".join(portions).split() == [b"%d" % number for number in range(10_000)]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))),
            st.one_of(st.none(), st.binary()),
            st.floats(allow_nan=False),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=5,
    )
)
@example([("None", None, 0.0, 0), (None, b"", 0.0, 0), ("xNone", b"", 0.0, 0)])
def test_every_row_of_copy_can_be_read_back(rows: list[tuple[str | None, bytes | None, float, int]]) -> None:
    """The rules of the text format, read by a reader of its own."""
    found = []
    for line in b"".join(copy_text(rows)).decode().split("\n")[:-1]:
        text, octets, real, number = line.split("\t")
        plain = text != "None"
        text = text.replace("\\x4e", "N")
        text = re.sub(r"\\(.)", lambda found: _SIGNS[found[1]], text)
        found.append((
            text if plain else None,
            None if octets == "None" else bytes.fromhex(octets.removeprefix("\\\\x")),
            float(real),
            int(number),
        ))  # fmt: skip
    assert found == rows


@given(st.lists(st.tuples(st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)))), st.none() | st.integers())))
@example([("None", 1), ("a\tb", None)])
@example([("1.5", 1), (None, None)])
def test_rows_without_octets_are_written_the_same_way(rows: list[tuple[str | None, int | None]]) -> None:
    if rows:
        assert b"".join(copy_plain(rows)) == b"".join(copy_text(rows))


def test_copied_text_comes_back_from_the_server(postgres_url: str) -> None:
    link = PostgresLink(lambda: connect(postgres_url))
    texts = ["None", "Nonesuch", "\\N", "\\", "a\\tb", "\t\n\r", "", "ü€\u2400", "\\.", "'\"%?"]
    link.run("CREATE TABLE words (id BIGINT, word TEXT, octets BYTEA)")
    link.insert("words", ("id", "word", "octets"), [(number, word, word.encode()) for number, word in enumerate(texts)])
    link.insert("words", ("id", "word", "octets"), [])
    assert [row[0] for row in link.rows("SELECT word FROM words ORDER BY id")] == texts
    assert [bytes(row[0]).decode() for row in link.rows("SELECT octets FROM words ORDER BY id")] == texts
    assert link.rows("SELECT count(*) FROM words WHERE word = ?", ("'\"%?",))[0][0] == 1
    link.run("INSERT INTO words VALUES (99, ?, NULL)", ("a\0b",))
    assert link.rows("SELECT word, octets FROM words WHERE id = 99") == [("a\u2400b", None)]
    link.close()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("*volume*", 2), ("vol?me", 2), ("vol_me", 0), ("%", 0), ("v*e", 2), ("[v]olume", 0), ("vol\\ume", 0)],
)
def test_patterns_mean_the_same_in_both(url: str, wanted: str, found: int) -> None:
    with Store.open(url) as store:
        store.append([heard(radio(records=volume(5) + volume(6, storage=True)))])
        store.catch_up(Decoder())
        assert len(list(store.readings(ReadingFilter(quantity=wanted)))) == found


def test_long_answers_come_in_portions_while_the_store_goes_on(url: str) -> None:
    with Store.open(url) as store:
        store.append([heard(radio(number, access_number=number % 256), number * 60) for number in range(5000)])
        assert store.catch_up(Decoder()) == 5000
        rows = store.readings()
        first = next(rows)
        other = store.readings()
        assert next(other) == first
        store.append([heard(radio(6000), 5000 * 60)])
        assert sum(1 for _ in rows) == 4999
        other.close()
        assert store.counts().pending == 1


def test_deleted_frames_take_everything_of_theirs_along(url: str) -> None:
    with Store.open(url) as store:
        places = store.append([heard(radio(number, access_number=number), number * 60) for number in range(4)])
        store.catch_up(Decoder())
        store.append([heard(radio(9), 9999)])
        gone = [places[0].frame_id, places[2].frame_id, places[3].frame_id + 1]
        for number in gone:
            store._link.run("DELETE FROM frames WHERE id = ?", (number,))
        counts = store.counts()
        assert (counts.frames, counts.receptions, counts.pending, counts.readings) == (2, 2, 0, 2)
        assert counts.telegrams == {"decoded": 2}


# -- connections that break -------------------------------------------------------------------------


def kill_others(server: Server, url: str) -> None:
    server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
        url,
    )


def test_a_connection_that_broke_is_made_anew(postgres_url: str, postgres_server: Server) -> None:
    with Store.open(postgres_url) as store:
        store.append([heard(radio(1))])
        kill_others(postgres_server, postgres_url)
        with pytest.raises(TransportError) as info:
            store.append([heard(radio(2), 100)])
        assert info.value.code == "storage.failed"
        assert [item.new for item in store.append([heard(radio(1)), heard(radio(2), 100)])] == [False, True]
        kill_others(postgres_server, postgres_url)
        with pytest.raises(TransportError):
            store.counts()
        assert store.counts().frames == 2
        kill_others(postgres_server, postgres_url)
    store.close()


def test_a_server_that_is_gone_for_a_while(postgres_url: str, postgres_server: Server) -> None:
    with Store.open(postgres_url) as store:
        store.append([heard(radio(1))])
        link = store._link
        assert isinstance(link, PostgresLink)
        makes, link._connect = link._connect, lambda: connect("postgresql://nobody@127.0.0.1:1/none")
        kill_others(postgres_server, postgres_url)
        for _ in range(3):
            with pytest.raises(TransportError):
                store.append([heard(radio(2), 100)])
        link._connect = makes
        assert store.append([heard(radio(2), 100)])[0].new


def test_a_refused_statement_keeps_the_connection(postgres_url: str) -> None:
    with Store.open(postgres_url) as store:
        connection = store._link.connection  # type: ignore[attr-defined]
        store._link.run("ALTER TABLE frames RENAME TO hidden")
        with pytest.raises(TransportError, match="frames"):
            store.append([heard(radio(1))])
        store._link.run("ALTER TABLE hidden RENAME TO frames")
        assert store.append([heard(radio(1))])[0].new
        assert store._link.connection is connection  # type: ignore[attr-defined]


def test_two_stores_merge_what_both_hear(url: str) -> None:
    new: list[bool] = []

    def work(source: str) -> None:
        with Store.open(url) as store:
            for number in range(20):
                (place,) = store.append([heard(radio(number, access_number=number), number * 60, source)])
                new.append(place.new)

    Store.open(url).close()
    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(url) as store:
        counts = store.counts()
    assert (counts.frames, counts.receptions, new.count(True)) == (20, 40, 20)


# -- results in the background ----------------------------------------------------------------------


def results(store: Store, first: int, count: int = 10) -> list[Decoded]:
    decoder = Decoder()
    items = [heard(radio(number, access_number=number % 256), number * 60) for number in range(first, first + count)]
    return [
        Decoded(place.frame_id, item.received_at, item.source, decoder.examine(item.frame))
        for item, place in zip(items, store.append(items), strict=True)
    ]


def test_results_are_written_while_frames_come_in(url: str) -> None:
    with Store.open(url) as frames, Store.open(url) as second, BackgroundRecorder(second, depth=1) as recorder:
        for number in range(5):
            recorder.record(results(frames, 10 * number))
        assert recorder.wait() == 50
        assert (frames.counts().readings, frames.counts().pending) == (50, 0)
        recorder.record(results(frames, 100))
    with Store.open(url) as again:
        assert again.counts().readings == 60


def test_an_error_in_the_background_is_told_and_the_frames_wait(postgres_url: str, postgres_server: Server) -> None:
    with Store.open(postgres_url) as frames, Store.open(postgres_url) as second:
        recorder = BackgroundRecorder(second)
        lost = results(frames, 0)
        frames._link.run("ALTER TABLE telegrams RENAME TO hidden")
        recorder.record(lost)
        with pytest.raises(TransportError):
            recorder.wait()
        frames._link.run("ALTER TABLE hidden RENAME TO telegrams")
        recorder.record(results(frames, 10))
        recorder.close()
        assert frames.counts().pending == 10
        assert frames.catch_up(Decoder()) == 10
        assert frames.counts().readings == 20


def test_numbers_of_a_transaction_that_failed_are_forgotten(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        lost = results(store, 0, 2)
        store._link.run("ALTER TABLE telegrams RENAME TO hidden")
        with pytest.raises(TransportError):
            store.record(lost)
        store._link.run("ALTER TABLE hidden RENAME TO telegrams")
        assert store.record(lost) == 2
        assert {row.address for row in store.readings()} == {"ELS-12345678-33-03"}
