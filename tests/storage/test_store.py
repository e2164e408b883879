"""The store: raw before decoded, copies merged, exact values, the past opened by late keys."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering.codec.apl.format import RecordFormat
from openmetering.codec.apl.profile import Spacing, pack
from openmetering.codec.apl.records import parse
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.security import CounterLedger, KeyRing, PeerCounter
from openmetering.storage import Decoded, ReadingFilter, ReadingRow, Store
from openmetering.storage.queries import device_glob, glob
from openmetering.storage.reading_rows import device_address, readings_of
from openmetering.telegram import Answer, Decoder, Meter, compose, encode_fragments
from openmetering.transport.reception import Reception
from tests.fleet import KEY, address, bare_wired, compact, radio, ring, volume, wired, with_crc

NOW = 1_700_000_000.0
OTHER_KEY = bytes(range(16, 32))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


def heard(frame: bytes, at: float = 0.0, source: str = "a", **more: object) -> Reception:
    return Reception(frame, NOW + at, source, **more)  # type: ignore[arg-type]


def feed(store: Store, *items: Reception, keys: KeyRing | None = None) -> list[int]:
    """Append and decode."""
    stored = store.append(items)
    store.catch_up(Decoder(keys, formats=store.formats()))
    return [item.frame_id for item in stored]


def rows(store: Store, table: str, columns: str = "*") -> list[tuple[object, ...]]:
    return list(store._link.rows(f"SELECT {columns} FROM {table}"))


def values(store: Store, **wanted: object) -> list[str | None]:
    return [row.value for row in store.readings(ReadingFilter(**wanted))]  # type: ignore[arg-type]


# -- frames and receptions ----------------------------------------------------------------------


def test_raw_octets_are_there_before_anything_is_decoded(store: Store) -> None:
    store.append([heard(b"\x01\x02\x03", rssi_dbm=-70.5, rssi_raw=12, mode="T", address_hint="x")])
    assert rows(store, "frames", "octets, received_at, mode") == [(b"\x01\x02\x03", NOW, "T")]
    assert rows(store, "receptions", "rssi_dbm, rssi_raw, mode, address_hint, octets") == [(-70.5, 12, "T", "x", None)]
    assert rows(store, "pending") == [(1,)]
    assert rows(store, "telegrams") == []


@pytest.mark.parametrize(("apart", "frames"), [(0.0, 1), (1.9, 1), (2.0, 1), (2.1, 2), (-1.5, 1), (-3.0, 2)])
def test_two_receivers_within_the_window_are_one_telegram(store: Store, apart: float, frames: int) -> None:
    first, second = store.append([heard(radio(1)), heard(radio(1), apart, "b")])
    assert (first.new, second.new) == (True, frames == 2)
    assert (first.frame_id == second.frame_id) is (frames == 1)
    assert len(rows(store, "receptions")) == 2


def test_the_window_can_be_set(url: str) -> None:
    with Store.open(url, merge_window=10.0) as wide:
        assert [item.new for item in wide.append([heard(radio(1)), heard(radio(1), 9.0)])] == [True, False]


def test_copies_with_and_without_crcs_are_merged_and_both_kept(store: Store) -> None:
    store.append([heard(radio(1)), heard(with_crc(radio(1)), 0.1, "b", frame_format="A")])
    assert rows(store, "frames", "octets") == [(radio(1),)]
    assert sorted(rows(store, "receptions", "source_id, octets")) == [(1, None), (2, with_crc(radio(1)))]


@pytest.mark.parametrize(("late", "merged"), [(5.0, True), (25.0, True), (40.0, False)])
def test_the_copy_of_a_repeater_comes_late(store: Store, late: float, merged: bool) -> None:
    stored = store.append([heard(radio(1, profile="A")), heard(radio(1, profile="A", hop=True), late)])
    assert stored[1].new is not merged


def test_the_same_number_of_two_makers_is_kept_apart(store: Store) -> None:
    other = bytearray(radio(1))
    other[2:4] = b"\x2d\x2c"  # KAM
    feed(store, heard(radio(1)), heard(bytes(other)))
    assert [row.address for row in store.devices()] == ["ELS-12345678-33-03", "KAM-12345678-33-03"]


def test_the_same_reception_twice_is_stored_once(store: Store) -> None:
    items = [heard(radio(n), n) for n in range(5)]
    store.append(items)
    again = store.append(items)
    assert not any(item.new for item in again)
    assert store.counts().receptions == 5


def test_another_access_number_is_another_telegram(store: Store) -> None:
    assert all(item.new for item in store.append([heard(radio(1, access_number=n)) for n in range(3)]))


def test_appended_frames_survive_without_closing(url: str) -> None:
    first = Store.open(url)
    first.append([heard(radio(1))])
    with Store.open(url) as second:
        assert second.counts().frames == 1
        assert second.append([heard(radio(1), 0.5, "b")])[0].new is False
    first.close()


# -- readings -------------------------------------------------------------------------------------


def test_a_reading_carries_the_digits_of_the_telegram(store: Store) -> None:
    feed(store, heard(radio(120)))
    (row,) = store.readings()
    assert row == ReadingRow(
        "ELS-12345678-33-03",
        "gas",
        NOW,
        "volume",
        "1.20",
        "m3",
        "instantaneous",
        0,
        0,
        0,
        "",
        row.obis,
        row.tag,
        120,
        -2,
        None,
        None,
        1,
    )
    assert row.obis
    assert row.tag


RECORDS = [
    ("0414D2040000", "12.34", 1234, -2),
    ("0C7899999999", "99999999", 99_999_999, 0),
    ("0C1402000080", None, None, None),  # not a decimal digit: no number
    ("0C13010000F0", "-0.001", -1, -3),
    ("0214FFFF", "-0.01", -1, -2),
    ("053B0000803F", "0.001", None, None),
    ("07" + "06" + "FFFFFFFFFFFFFF7F", None, None, None),
    ("0D78" + "03" + "434241", "ABC", None, None),
    ("046D32371F15", None, None, None),
    ("426C1F15", None, None, None),
]


@pytest.mark.parametrize(("octets", "value", "mantissa", "exponent"), RECORDS)
def test_values_as_text_and_as_integers(
    store: Store, octets: str, value: str | None, mantissa: int | None, exponent: int | None
) -> None:
    feed(store, heard(radio(records=bytes.fromhex(octets))))
    (row,) = store.readings()
    (record,) = parse(bytes.fromhex(octets)).records
    if value is not None:
        assert row.value == value
    if mantissa is not None:
        assert (row.mantissa, row.exponent) == (mantissa, exponent)
    assert row.error == record.error
    if isinstance(record.value, Decimal):
        assert row.value is not None
        assert Decimal(row.value) == record.value
        assert row.exponent is not None
        if row.mantissa is not None:
            assert Decimal(row.mantissa).scaleb(row.exponent) == record.value
    else:
        assert row.exponent is None


def test_a_number_beyond_64_bits_keeps_its_digits() -> None:
    telegram = Decoder().examine(radio(records=bytes.fromhex("0D78" + "C9" + "99" * 9)))
    (reading,) = readings_of(telegram)
    if reading.exponent is not None:
        assert reading.value == "9" * 18


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 7))
def test_every_64_bit_integer_fits(number: int, exponent: int) -> None:
    octets = bytes((0x07, exponent)) + number.to_bytes(8, "little", signed=True)
    (reading,) = readings_of(Decoder().examine(radio(records=octets)))
    if reading.error is None:
        assert reading.value is not None
        assert Decimal(reading.value) == Decimal(number).scaleb(exponent - 3)
        assert reading.mantissa == number


def test_stored_values_get_the_time_of_their_storage(store: Store) -> None:
    records = (
        bytes.fromhex("046D32371F15" + "426C1F1C")
        + volume(500)
        + volume(400, storage=True)
        + bytes.fromhex("8C0114" + "78563412")
    )
    feed(store, heard(radio(records=records)))
    times = {(row.quantity, row.storage): row.time for row in store.readings() if row.quantity == "volume"}
    dates = {row.storage: row.value for row in store.readings() if row.quantity.startswith("date")}
    assert times == {("volume", 0): dates[0], ("volume", 1): dates[1], ("volume", 2): None}


def test_the_points_of_a_compact_profile_become_readings_with_their_times(store: Store) -> None:
    base = bytes.fromhex("426C1F1C") + volume(400, storage=True)
    record = pack(parse(base).records[-1], [Decimal("4.10"), Decimal("4.25")], spacing=Spacing.of(1, "month"), kind="forward")
    feed(store, heard(radio(records=base + record.octets())))
    points = [
        (row.storage, row.value, row.time) for row in store.readings() if row.quantity == "volume" and row.exponent is not None
    ]
    assert points[0][:2] == (1, "4.00")
    assert [point[1] for point in points[1:]] == ["4.10", "4.25"]
    assert all(point[2] for point in points)
    assert len({point[2] for point in points}) == 3


def test_values_that_are_no_finite_numbers(store: Store) -> None:
    feed(store, heard(radio(records=bytes.fromhex("053B0000C07F" + "053B0000807F"))))
    assert [(row.value, row.mantissa, row.exponent) for row in store.readings()] == [(None, None, None)] * 2


def test_two_different_times_of_one_storage_are_no_time(store: Store) -> None:
    records = bytes.fromhex("426C1F1C" + "426C1E1C") + volume(400, storage=True)
    feed(store, heard(radio(records=records)))
    assert [row.time for row in store.readings() if row.quantity == "volume"] == [None]


def test_a_wired_frame_without_address_is_named_by_its_bus(store: Store) -> None:
    feed(store, heard(bare_wired(1, 5), source="mbus:/dev/a"), heard(bare_wired(2, 5), 1, source="mbus:/dev/b"))
    assert [(row.address, row.medium) for row in store.devices()] == [("mbus:/dev/a#5", None), ("mbus:/dev/b#5", None)]


@pytest.mark.parametrize("frame", [b"\xe5", bytes.fromhex("105B056016"), b"\x01", b""])
def test_frames_that_name_no_device(store: Store, frame: bytes) -> None:
    feed(store, heard(frame))
    assert store.devices() == []
    assert len(rows(store, "telegrams")) == 1


def test_what_is_sent_to_a_device_is_not_its_word(store: Store) -> None:
    request = bytearray(radio(1))
    request[1], request[10] = 0x53, 0x5A
    telegram = Decoder().examine(bytes(request))
    assert isinstance(telegram.link, WirelessFrame)
    assert device_address(telegram, "a") is None


def test_the_answer_is_kept_or_left_out(tmp_path: Path, store: Store) -> None:
    feed(store, heard(radio(1)))
    ((text,),) = rows(store, "telegrams", "answer")
    answer = msgspec.json.decode(str(text), type=Answer)
    assert answer.telegram == radio(1).hex().upper()
    with Store.open(str(tmp_path / "short.db"), answers=False) as short:
        feed(short, heard(radio(1)))
        assert rows(short, "telegrams", "answer, readings") == [(None, 1)]


def test_telegram_rows(store: Store) -> None:
    feed(
        store, heard(radio(1, status=4, access_number=9)), heard(b"\x07\x44"), heard(radio(2, profile="A", number=2)), keys=ring()
    )
    found = rows(store, "telegrams", "state, error, message, access_number, status, security, proof, readings")
    assert found == [
        ("decoded", None, "SND-NR", 9, 4, "plain", None, 1),
        ("failed", "frame.truncated", None, None, None, "plain", None, 0),
        ("decoded", None, "SND-NR", 1, 0, "decrypted", "2f2f", 1),
    ]


# -- pending, record, redecode ----------------------------------------------------------------


def test_catching_up_after_a_crash(store: Store) -> None:
    store.append([heard(radio(n, access_number=n), n) for n in range(7)])
    assert [frame.octets for frame in store.pending(3)] == [radio(n, access_number=n) for n in range(3)]
    assert store.catch_up(Decoder()) == 7
    assert store.catch_up(Decoder()) == 0
    assert store.counts().readings == 7


def test_a_second_result_takes_the_place_of_the_first(store: Store) -> None:
    (frame_id,) = feed(store, heard(radio(1)))
    frame = store.frames([frame_id])[0]
    telegram = Decoder().examine(radio(records=volume(5) + volume(6, storage=True)))
    for _ in range(3):
        assert store.record([Decoded(frame_id, frame.received_at, frame.source, telegram)] * 2) == 2
    assert values(store) == ["0.05", "0.06"]
    assert store.counts().telegrams == {"decoded": 1}


def test_a_late_key_makes_the_past_readable(store: Store) -> None:
    items = [heard(radio(n, profile="A", access_number=n), n * 60) for n in range(1, 4)]
    feed(store, *items, heard(radio(9, number=99999999, profile="A", key=OTHER_KEY), 500))
    assert store.counts().errors == {"key.missing": 4}
    progress: list[tuple[int, int]] = []
    report = store.redecode(Decoder(ring()), progress=lambda done, total: progress.append((done, total)))
    assert (report.frames, report.opened, report.closed, report.readings) == (4, 3, 1, 3)
    assert progress[-1] == (4, 4)
    assert values(store) == ["0.01", "0.02", "0.03"]
    assert store.counts().errors == {"key.mismatch.verification": 1}
    again = store.redecode(Decoder(ring()))
    assert (again.frames, again.opened, again.closed, again.readings) == (1, 0, 1, 0)
    keys = KeyRing()
    keys.add("99999999", OTHER_KEY)
    assert store.redecode(Decoder(keys)).opened == 1
    assert store.redecode(Decoder(keys)).frames == 0
    assert values(store)[-1] == "0.09"


def test_redecode_starts_with_what_is_pending(store: Store) -> None:
    store.append([heard(radio(1))])
    store.redecode(Decoder())
    assert values(store) == ["0.01"]


RECORDS_OF_A_FORMAT = bytes.fromhex("0C1367450000" + "0B3B230100" + "4C1311110000")


def test_a_full_frame_later_opens_the_compact_frames_before_it(store: Store) -> None:
    feed(store, heard(compact(records=RECORDS_OF_A_FORMAT)))
    assert store.counts().errors == {"compact.unknown_format": 1}
    full = radio(number=87654321, profile="A", records=RECORDS_OF_A_FORMAT)
    feed(store, heard(full, 60))
    # the key of the full frame comes now: the first pass opens it, the second the compact frame
    report = store.redecode(Decoder(ring()))
    assert (report.opened, report.closed) == (2, 0)
    assert len(rows(store, "formats")) >= 1
    assert values(store, device="12345678") == values(store, device="87654321") == ["4.567", "0.123", "1.111"]


def test_learned_formats_stay(store: Store, url: str) -> None:
    feed(store, heard(radio(records=RECORDS_OF_A_FORMAT)))
    decoder = Decoder(formats=store.formats())
    decoder.examine(radio(records=RECORDS_OF_A_FORMAT))
    assert decoder.formats.changed
    assert store.learn(decoder.formats) == 1
    assert store.learn(decoder.formats) == 0
    with Store.open(url) as again:
        wanted = RecordFormat.of(parse(RECORDS_OF_A_FORMAT).records)
        assert wanted in list(again.formats())
        feed(again, heard(compact(records=RECORDS_OF_A_FORMAT), 99))
        assert again.counts().errors == {}


def test_a_damaged_format_row_is_passed_over(store: Store) -> None:
    store._link.run("INSERT INTO formats VALUES ('zz', '0000', '', 0), ('8C', '0001', '', 0)")
    assert len(store.formats()) > 0


def test_fragments_of_a_message_with_a_late_key(store: Store) -> None:
    meter = Meter(address(), "B", primary=5)
    telegram = compose(meter, volume(42) + bytes.fromhex("0D78" + "60" + "41" * 96), access_number=3, counter=7)
    frames = encode_fragments(telegram, ring(), 60)
    assert len(frames) >= 2
    feed(store, *(heard(frame, n * 0.5) for n, frame in enumerate(frames)))
    counts = store.counts()
    assert counts.telegrams == {"fragment": len(frames) - 1, "failed": 1}
    report = store.redecode(Decoder(ring()))
    assert (report.opened, report.closed) == (1, 0)
    assert values(store)[0] == "0.42"


def test_everything_again(store: Store) -> None:
    feed(store, heard(radio(1)), heard(radio(2, number=2)))
    store._link.run("UPDATE telegrams SET message = 'old'")
    report = store.redecode(Decoder(), everything=True)
    assert report.frames == 2
    assert rows(store, "telegrams", "message") == [("SND-NR",), ("SND-NR",)]
    assert store.counts().readings == 2


# -- counters -------------------------------------------------------------------------------------


def test_counters_survive(store: Store, url: str) -> None:
    ledger = CounterLedger.restore(store.counters())
    peer = address().link_octets()
    ledger.accept(peer, 0, None, 7, b"d" * 16)
    ledger.accept(peer, 1, 3, 9, b"e" * 16)
    store.save_counters(ledger.snapshot())
    written = rows(store, "counters", "address, key_id, own, updated_at")
    store.save_counters(ledger.snapshot())
    assert rows(store, "counters", "address, key_id, own, updated_at") == written
    ledger.accept(peer, 1, 3, 11, b"f" * 16)
    store.save_counters(ledger.snapshot())
    with Store.open(url) as again:
        known = again.counters()
    assert set(known.entries) == {PeerCounter(peer, 0, None, 7, 7, b"d" * 16), PeerCounter(peer, 1, 3, 11, 11, b"f" * 16)}


# -- questions --------------------------------------------------------------------------------


@pytest.fixture
def filled(store: Store) -> Store:
    for day in range(3):
        feed(
            store,
            heard(radio(100 + day, access_number=day), day * 86_400),
            heard(radio(200 + day, number=22222222, access_number=day, device_type=0x07), day * 86_400 + 10),
            heard(wired(300 + day, number=33333333, access_number=day), day * 86_400 + 20, "bus"),
        )
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["1.00", "2.00", "3.00", "1.01", "2.01", "3.01", "1.02", "2.02", "3.02"]),
        ({"device": "12345678"}, ["1.00", "1.01", "1.02"]),
        ({"device": "els-2222"}, ["2.00", "2.01", "2.02"]),
        ({"device": "*-3333333?-*"}, ["3.00", "3.01", "3.02"]),
        ({"device": "7ELS3312345678"}, ["1.00", "1.01", "1.02"]),
        ({"device": "nobody"}, []),
        ({"quantity": "VOL"}, ["1.00", "2.00", "3.00", "1.01", "2.01", "3.01", "1.02", "2.02", "3.02"]),
        ({"quantity": "energy"}, []),
        ({"since": NOW + 86_400, "until": NOW + 86_415}, ["1.01", "2.01"]),
        ({"latest": True}, ["1.02", "2.02", "3.02"]),
        ({"latest": True, "until": NOW + 86_400 + 5}, ["1.01", "2.00", "3.00"]),
        ({"latest": True, "device": "22222222", "since": NOW}, ["2.02"]),
    ],
)
def test_filters(filled: Store, wanted: dict[str, object], found: list[str]) -> None:
    assert values(filled, **wanted) == found


def test_devices(filled: Store) -> None:
    (row,) = filled.devices("22222222")
    assert (row.address, row.telegrams, row.failed) == ("ELS-22222222-33-07", 3, 0)
    assert (row.first_heard, row.last_heard) == (NOW + 10, NOW + 2 * 86_400 + 10)
    assert len(filled.devices()) == 3


def test_counts(filled: Store) -> None:
    counts = filled.counts()
    assert (counts.frames, counts.receptions, counts.pending, counts.readings, counts.devices) == (9, 9, 0, 9, 3)
    assert counts.telegrams == {"decoded": 9}


@pytest.mark.parametrize(("text", "pattern"), [("a", "*a*"), ("a*", "a*"), ("[x]", "*[[]x]*"), (" a ", "*a*")])
def test_glob(text: str, pattern: str) -> None:
    assert glob(text) == pattern


def test_device_glob_of_a_din_number() -> None:
    assert device_glob("7els3312345678") == "ELS-12345678-33-*"


def test_the_views_are_for_people(filled: Store) -> None:
    assert len(rows(filled, "meter_readings")) == 9
    assert len(rows(filled, "devices")) == 3


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with Store.open(str(path)) as opened:
        feed(opened, Reception(radio(1, profile="A"), NOW, "a", key=KEY.hex(), line=KEY.hex()), keys=ring())
        assert values(opened) == ["0.01"]
    content = path.read_bytes()
    assert KEY not in content
    assert KEY.hex().encode() not in content.lower()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.sampled_from("abc")), max_size=30))
def test_merging_keeps_every_reception(heard_at: list[tuple[int, int, str]]) -> None:
    with Store.open(":memory:") as opened:
        items = [heard(radio(number, access_number=number), float(at), source) for number, at, source in heard_at]
        stored = opened.append(items)
        counts = opened.counts()
        assert counts.frames == sum(item.new for item in stored)
        assert counts.receptions == len({(number, at, source) for number, at, source in heard_at})
        for item, place in zip(items, stored, strict=True):
            ((octets, at),) = opened._link.rows("SELECT octets, received_at FROM frames WHERE id = ?", (place.frame_id,))
            assert octets == item.frame
            assert abs(at - item.received_at) <= opened.merge_window


def test_the_same_reception_stays_with_its_frame(url: str) -> None:
    with Store.open(url) as opened:
        first, near, later = (heard(radio(1), at, "a") for at in (5.0, 7.0, 8.0))
        assert [item.new for item in opened.append([first, near, later])] == [True, False, True]
        again = opened.append([near])
        assert opened.counts().receptions == 3
        assert again[0].frame_id == opened.append([first])[0].frame_id
        assert opened.counts().receptions == 3
