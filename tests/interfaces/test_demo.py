"""The demo: its recording is what the plan says, and the store holds what the building sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, closing
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import openmetering as om
from openmetering.errors import InputError
from openmetering.interfaces.cli import demo as program
from openmetering.interfaces.cli.demo import DEFAULT_STORE, choose_store
from openmetering.interfaces.cli.main import app
from openmetering.interfaces.demo.building import FILES, Sent, key_files, main, record_day, recording_files
from openmetering.interfaces.demo.plan import Building, read_building, seconds, timeline_at
from openmetering.interfaces.demo.replay import RADIO, WIRED, Replay, bundled
from openmetering.interfaces.demo.telegrams import Sender, demo_key
from openmetering.interfaces.demo.values import Scene
from openmetering.tables import FAULTS
from openmetering.transport.reception import BadLine, Item, Reception

LATE, WRONG = "flat 3, cold water", "flat 3, warm water"
LEAKING = "flat 4, cold water (leaks from 14:05 to the end of the day)"

runner = CliRunner()


@pytest.fixture(scope="module")
def building() -> Building:
    return read_building()


@pytest.fixture(scope="module")
def day(building: Building) -> list[Sent]:
    return record_day(building)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store that the demo filled, and what it said."""
    path = tmp_path_factory.mktemp("demo") / "day.db"
    result = runner.invoke(app, ["demo", "--speed", "max", "--no-live", "--store", str(path)])
    assert result.exit_code == 0, result.output
    return path, result.stdout


def midnight(building: Building) -> float:
    return dt.datetime.combine(building.day, dt.time()).timestamp()


Stored = dict[tuple[str, int], dict[tuple[str, str], list[tuple[str | None, str | None]]]]


def stored_values(path: Path, building: Building) -> Stored:
    """(address, ms of the day) -> (dib, vib) -> values with times, straight from the tables."""
    found: Stored = defaultdict(lambda: defaultdict(list))
    start = midnight(building)
    with database(path) as connection:
        rows = connection.execute(
            "SELECT a.address, r.received_at, s.dib, s.vib, r.value, r.time FROM readings r JOIN series s ON s.id = r.series_id"
            " JOIN addresses a ON a.id = s.address_id"
        ).fetchall()
    for address, at, dib, vib, value, moment in rows:
        found[address, round((at - start) * 1000)][dib, vib].append((value, moment))
    return found


def database(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    return closing(sqlite3.connect(path))


def missing_facts(stored: Stored, sent: Sent) -> list[object]:
    """Facts of a telegram that the store does not hold."""
    values = stored.get((sent.device.name, sent.at), {})
    return [
        fact
        for fact in sent.facts
        if not any(
            value == fact.value and (fact.time is None or time == fact.time)
            for value, time in values.get((fact.dib, fact.vib), [])
        )
    ]


# -- the recording ------------------------------------------------------------------------------------


def test_the_bundled_files_are_what_the_plan_gives() -> None:
    made = recording_files()
    assert tuple(made) == FILES
    for name, octets in made.items():
        assert bundled(name).read_bytes() == octets, f"{name} is old: run python -m openmetering.interfaces.demo.building"
    assert sum(map(len, made.values())) < 300_000


def test_main_writes_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert "building.log" in capsys.readouterr().out


def test_another_seed_gives_other_octets(building: Building, day: list[Sent]) -> None:
    other = record_day(msgspec.structs.replace(building, seed="other"))
    assert {sent.octets for sent in other}.isdisjoint(sent.octets for sent in day if sent.device.security != "none")


def test_size_of_the_building(building: Building, day: list[Sent]) -> None:
    assert 40 <= len(building.device) <= 60
    assert 600 <= len(day) <= 1500
    assert len({device.address for device in building.device}) == len(building.device)
    assert len({device.label for device in building.device}) == len(building.device)
    assert {sent.device.label for sent in day} == {device.label for device in building.device}


def test_every_medium_and_sensor_is_there(building: Building) -> None:
    types = {device.meter.device_type for device in building.device}
    assert types >= {
        0x02,
        0x03,
        0x04,
        0x06,
        0x07,
        0x08,
        0x0A,
        0x0C,
        0x0D,
        0x15,
        0x16,
        0x18,
        0x1A,
        0x1D,
        0x1E,
        0x1F,
        0x20,
        0x21,
        0x28,
    }


def test_every_protection_and_message_is_there(day: list[Sent]) -> None:
    radio = [sent for sent in day if sent.rssi is not None]
    wired = [sent for sent in day if sent.rssi is None]
    assert {sent.device.security for sent in radio} == {"none", "A", "B", "D", "ELL"}
    assert {sent.device.security for sent in wired} >= {"none", "A", "B"}
    assert {sent.octets[1] for sent in radio} == {0x44, 0x46, 0x47, 0x08}
    assert {sent.octets[10] for sent in radio} >= {0x7A, 0x8C, 0x8D, 0x8E, 0x6A, 0x7B}
    assert {sent.octets[6] for sent in wired} >= {0x72, 0x73, 0x70, 0x90}
    assert {"data", "compact", "format", "history", "static", "install", "fragments", "access", "pages", "fixed", "busy"} == {
        sent.message for sent in day
    }
    assert any(sent.device.adapter and sent.octets[9] == 0x37 for sent in radio)


def test_maker_codes_belong_to_nobody(building: Building) -> None:
    from openmetering.tables import MANUFACTURERS

    flags = {device.meter.flag for device in building.device}
    assert all(flag.startswith("EX") for flag in flags)
    assert flags.isdisjoint(MANUFACTURERS)


def test_the_decoder_reads_every_telegram_as_stated(building: Building, day: list[Sent]) -> None:
    """Without a store: fault for fault, in the order of the day."""
    keys = om.KeyRing.from_rows(
        (address, key, "", "", label)
        for address, key, label in (line.split(",", 2) for line in key_files(building)[0].splitlines()[1:])
    )
    decoder = om.Decoder(keys, counters=om.CounterLedger())
    for sent in day:
        if sent.copy or sent.damaged:
            continue
        telegram = decoder.examine(sent.octets, now=sent.at / 1000)
        assert (telegram.error.code if telegram.error else None) == sent.fault, (sent.device.label, sent.at)


def test_a_repeater_changes_the_hop_bit_alone(day: list[Sent]) -> None:
    copies = [sent for sent in day if sent.copy]
    assert len(copies) > 50
    for copy in copies:
        origin = max(
            (one for one in day if one.device is copy.device and not one.copy and one.at < copy.at), key=lambda one: one.at
        )
        bits = int.from_bytes(origin.octets, "big") ^ int.from_bytes(copy.octets, "big")
        if not origin.damaged:
            assert bits.bit_count() == 1
        assert 5_000 <= copy.at - origin.at <= 25_000


def test_keys_are_filed_right_wrong_and_late(building: Building) -> None:
    known, complete = key_files(building)
    by_label = {device.label: device for device in building.device}
    right = {label: demo_key(building.seed, by_label[label].meter).hex().upper() for label in (LATE, WRONG)}
    assert LATE not in known
    assert WRONG in known
    assert right[WRONG] not in known
    assert all(f"{key},{label}" in complete for label, key in right.items())
    assert len(complete.splitlines()) == len(known.splitlines()) + 1
    assert len({line.split(",")[1] for line in known.splitlines()}) == len(known.splitlines())
    assert len(set(known.splitlines()) - set(complete.splitlines())) == 1


# -- values ------------------------------------------------------------------------------------------------


def test_the_main_counter_rises_and_adds_up(building: Building) -> None:
    device = next(one for one in building.device if one.label == "flat 1, cold water")
    scene = Scene(building, device, 0)
    values = [scene.main(at) for at in range(-86_400, 2 * 86_400, 600)]
    assert all(before <= after for before, after in pairwise(values))
    assert scene.main(0) == Fraction("183.207")
    assert scene.main(86_400) - scene.main(0) == Decimal("0.131").as_integer_ratio()[0] / Decimal("0.131").as_integer_ratio()[
        1
    ] or (float(scene.main(86_400) - scene.main(0)) == pytest.approx(0.131))


def test_a_leak_runs_from_its_time_on(building: Building) -> None:
    device = next(one for one in building.device if one.label == LEAKING)
    tight = msgspec.structs.replace(device, leak=None)
    at = seconds("14:05")
    assert Scene(building, device, 0).main(at) == Scene(building, tight, 0).main(at)
    assert Scene(building, device, 0).main(at + 3600) - Scene(building, tight, 0).main(at + 3600) == Fraction("0.046")


def test_moments_and_dates(building: Building) -> None:
    scene = Scene(building, building.device[0], seconds("13:37:42"))
    assert scene.moment("hour") == seconds("13:00")
    assert scene.moment("quarter") == seconds("13:30")
    assert scene.moment("now") == seconds("13:37:42")
    assert (scene.moment("midnight"), scene.moment("yesterday")) == (0, -86_400)
    assert scene.date("due") == building.due
    assert scene.clock(scene.moment("due")) == dt.datetime(2026, 1, 1)


def test_timelines() -> None:
    timeline = [("06:00", 1), ("06:00:20", 2)]
    assert [timeline_at(timeline, seconds(clock), 7) for clock in ("05:59", "06:00", "06:00:19", "06:00:20")] == [7, 1, 1, 2]


def test_access_numbers_and_counters_count_up(building: Building) -> None:
    sender = Sender(building, building.device[0])
    access, counter = sender.access, sender.counter
    sender.send("data", 100)
    sender.send("data", 200)
    assert (sender.access, sender.counter) == ((access + 2) % 256, counter + 2)
    assert 0.96 < sender.interval() / (building.device[0].every * 60) < 1.04


# -- the replay ---------------------------------------------------------------------------------------------


def collect(replay: Replay) -> list[Item]:
    items: list[Item] = []

    async def emit(item: Item) -> None:
        items.append(item)

    asyncio.run(replay.run(emit))
    return items


def test_the_replay_mixes_both_files_in_the_order_of_time(day: list[Sent]) -> None:
    items = collect(Replay())
    receptions = [item for item in items if isinstance(item, Reception)]
    bad = [item for item in items if isinstance(item, BadLine)]
    assert {item.source for item in receptions} == {RADIO, WIRED}
    assert all(before.received_at <= after.received_at for before, after in pairwise(receptions))
    assert [item.frame for item in receptions] == [sent.octets for sent in day if not sent.damaged]
    assert [item.error.code for item in bad] == ["input.crc"]
    assert 85_000 < Replay().length < 86_400


def test_the_replay_keeps_its_speed() -> None:
    line = "T1;1;1;2026-01-14 00:00:{:02d}.000;-80;;00000001;0x0F44AE0C7856341201074447780B13436587"
    files = {RADIO: "\n".join(line.format(second) for second in (0, 1, 3))}
    loop_times: list[float] = []

    async def play() -> None:
        loop = asyncio.get_running_loop()

        async def emit(item: Item) -> None:
            loop_times.append(loop.time())

        await Replay(50, files).run(emit)

    asyncio.run(play())
    assert loop_times[1] - loop_times[0] >= 0.015
    assert loop_times[2] - loop_times[0] >= 0.055


# -- the store against the truth -----------------------------------------------------------------------------


def test_every_value_that_was_sent_is_stored_exactly(demo: tuple[Path, str], building: Building, day: list[Sent]) -> None:
    stored = stored_values(demo[0], building)
    checked = 0
    for sent in day:
        if sent.copy or sent.damaged or sent.fault not in (None, "compact.unknown_format"):
            continue
        assert not missing_facts(stored, sent), (sent.device.label, sent.at)
        checked += len(sent.facts)
    assert checked > 4000


@pytest.mark.parametrize(
    ("label", "dib", "vib"),
    [
        ("house connection, electricity", "04", "03"),
        ("roof, photovoltaics", "04", "833C"),
        ("boiler, gas", "0C", "13"),
        ("workshop, gas behind a radio adapter", "0C", "13"),
        ("flat 2, heat (volume at flow)", "04", "06"),
        ("flat 2, cold water", "04", "13"),
        ("flat 3, living room, heat cost allocator", "0B", "6E"),
        ("district heating, heat", "0C", "06"),
        ("boiler, hot water", "04", "13"),
        ("workshop, electricity", "04", "03"),
        ("old boiler, heat (1994)", "0C", "06"),
        ("house drain, waste water", "04", "13"),
    ],
)
def test_counters_rise_through_the_day(demo: tuple[Path, str], building: Building, label: str, dib: str, vib: str) -> None:
    name = building.find(label).name
    stored = stored_values(demo[0], building)
    values = [
        Decimal(value)
        for (address, _), series in sorted(stored.items())
        if address == name
        for value, _ in series[dib, vib]
        if value
    ]
    assert len(values) >= 6
    assert values == sorted(values)
    assert values[-1] > values[0]


def test_a_profile_in_fragments_is_stored_with_its_times(demo: tuple[Path, str], building: Building, day: list[Sent]) -> None:
    last = next(sent for sent in day if sent.message == "fragments" and sent.facts)
    points = [fact for fact in last.facts if fact.time]
    assert len(points) == 88
    assert points[0].time == "2026-01-14T05:45"
    assert missing_facts(stored_values(demo[0], building), last) == []


def test_faults_are_stored_and_named(demo: tuple[Path, str], day: list[Sent]) -> None:
    path, said = demo
    expected = Counter(sent.fault for sent in day if sent.fault and not sent.copy and not sent.damaged)
    assert expected.pop("compact.unknown_format") == 10
    with database(path) as connection:
        errors = dict(connection.execute("SELECT error, count(*) FROM telegrams WHERE error IS NOT NULL GROUP BY 1"))
    assert errors == dict(expected)
    assert set(expected) == {
        "key.missing", "key.mismatch.verification", "key.mismatch.mac", "application.error", "afl.fragment_missing",
        "counter.replayed", "frame.checksum", "frame.truncated",
    }  # fmt: skip
    for code, count in (expected | Counter({"input.crc": 1})).items():
        assert f"{count} x {code}: " in said
        assert FAULTS[code].meaning[1:] in said
    for label in (LATE, WRONG, "cellar, water valve", "flat 1, electricity", "house connection, electricity"):
        assert label in said


def test_replayed_and_forged_telegrams_give_no_readings(demo: tuple[Path, str], building: Building, day: list[Sent]) -> None:
    stored = stored_values(demo[0], building)
    for sent in day:
        if sent.fault in ("counter.replayed", "key.mismatch.mac"):
            assert (sent.device.name, sent.at) not in stored


def test_copies_of_the_repeater_are_merged(demo: tuple[Path, str], day: list[Sent]) -> None:
    with database(demo[0]) as connection:
        frames, receptions = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("frames", "receptions")
        )
    copies = sum(sent.copy for sent in day)
    lost = sum(sent.damaged for sent in day)  # its copy is the only one that is heard
    assert receptions == len(day) - lost
    assert receptions - frames == copies - lost


def test_the_building_asks_for_attention(demo: tuple[Path, str], building: Building) -> None:
    said = demo[1]
    asking = said[said.index("ask for attention") : said.index("Faults")]
    assert "power low" in asking
    assert "flat 4, bedroom, heat cost allocator" in asking
    assert "abnormal condition, temporary error" in asking
    assert LEAKING in asking
    flags = [
        value
        for (address, at), series in sorted(stored_values(demo[0], building).items())
        if address == building.find(LEAKING).name
        for value, _ in series["02", "FD971D"]
    ]
    assert flags[0] == "0"
    assert flags[-1] == "1024"


def test_the_summary_names_the_store_and_what_to_try(demo: tuple[Path, str], building: Building, day: list[Sent]) -> None:
    path, said = demo
    assert f"{len(day)} receptions" in said
    assert "10 compact frames came before their format was known" in said
    assert str(path) in said
    assert f"oms readings --store {path} --latest" in said
    assert f"--keys {bundled('keys-complete.csv')}" in said
    last = [sent for sent in day if sent.device.label == LEAKING and not sent.copy][-1]
    key = demo_key(building.seed, last.device.meter)
    assert f"oms explain {last.octets.hex().upper()} --key {key.hex().upper()}" in said
    assert "oms listen" in said
    assert om.decode(last.octets, key).security.state == "decrypted"


def test_a_key_that_comes_later_opens_the_past(
    demo: tuple[Path, str], building: Building, day: list[Sent], tmp_path: Path
) -> None:
    path = tmp_path / "copy.db"
    path.write_bytes(demo[0].read_bytes())
    waiting = [sent for sent in day if sent.device.label in (LATE, WRONG)]
    assert len(waiting) > 30
    before = stored_values(path, building)
    assert not any((sent.device.name, sent.at) in before for sent in waiting)
    result = runner.invoke(app, ["redecode", "--store", str(path), "--keys", str(bundled("keys-complete.csv"))])
    assert f"{len(waiting)} opened" in result.output
    after = stored_values(path, building)
    assert all(not missing_facts(after, sent) for sent in waiting)
    with database(path) as connection:
        left = {row[0] for row in connection.execute("SELECT error FROM telegrams WHERE error LIKE 'key.%'")}
    assert left == {"key.mismatch.mac"}  # the forged telegram stays closed


# -- the command -----------------------------------------------------------------------------------------------


def test_plain_progress_counts_the_day(demo: tuple[Path, str], building: Building) -> None:
    lines = [line for line in demo[1].splitlines() if " telegrams of " in line and line.strip()[2] == ":"]
    assert [line.split()[0] for line in lines] == [f"{hour % 24:02d}:00" for hour in range(2, 26, 2)]
    counts = [int(line.split()[1]) for line in lines]
    assert counts == sorted(counts)
    assert demo[1].splitlines()[0] == f"{building.name}, {building.day}: {len(building.device)} devices"


def test_an_old_store_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_STORE).write_bytes(b"old")
    result = runner.invoke(app, ["demo", "--speed", "max", "--live"])
    assert result.exit_code == 0, result.output
    assert f"{DEFAULT_STORE} of an earlier run is kept" in result.stdout
    assert (tmp_path / DEFAULT_STORE).read_bytes() == b"old"
    assert (tmp_path / "openmetering-demo-2.db").stat().st_size > 100_000
    assert "EXG-20000001-11-03" in result.stdout  # the live table
    assert choose_store(None, force=False)[0] == Path("openmetering-demo-3.db")


def test_a_named_store_is_not_overwritten_unless_forced(tmp_path: Path, demo: tuple[Path, str]) -> None:
    with pytest.raises(InputError, match="--force") as kept:
        choose_store(str(demo[0]), force=False)
    assert kept.value.code == "storage.open"
    foreign = tmp_path / "thesis.db"
    foreign.write_bytes(b"forty pages" * 20)
    with pytest.raises(InputError, match="no store of openmetering"):
        choose_store(str(foreign), force=True)
    assert foreign.read_bytes() == b"forty pages" * 20
    with pytest.raises(InputError, match="cannot be replaced"):
        choose_store(str(tmp_path), force=True)
    own = tmp_path / "own.db"
    own.write_bytes(demo[0].read_bytes())
    own.with_name("own.db-wal").write_bytes(b"")
    assert choose_store(f"sqlite:///{own}", force=True) == (own, None)
    assert not own.exists()
    assert not own.with_name("own.db-wal").exists()
    assert choose_store(str(own), force=True) == (own, None)


def test_the_store_goes_elsewhere_where_the_directory_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmetering.interfaces.cli.demo.os.access", lambda path, mode: False)
    monkeypatch.setattr("openmetering.interfaces.cli.demo.tempfile.gettempdir", lambda: str(tmp_path))
    assert choose_store(None, force=False) == (tmp_path / DEFAULT_STORE, None)


@pytest.mark.parametrize(
    "options",
    [["--speed", "0"], ["--speed", "fast"], ["--seconds", "0"], ["--seconds", "-3"], ["--speed", "2", "--seconds", "2"]],
)
def test_wrong_speeds_are_refused(options: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, ["demo", *options, "--store", str(tmp_path / "x.db")])
    assert isinstance(result.exception, InputError)
    assert result.exception.code == "input.time"
    assert not (tmp_path / "x.db").exists()


def test_the_day_takes_the_seconds_that_are_asked_for(tmp_path: Path) -> None:
    result = runner.invoke(app, ["demo", "--seconds", "2", "--no-live", "--store", str(tmp_path / "two.db")])
    assert result.exit_code == 0, result.output
    assert "A day of Lindenhof in " in result.stdout


@pytest.mark.services
@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_ctrl_c_ends_in_order(tmp_path: Path) -> None:
    program = "from openmetering.interfaces.cli.main import main; main()"
    command = [sys.executable, "-c", program, "demo", "--seconds", "60", "--live", "--store", "day.db"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(200):
            time.sleep(0.1)
            if (tmp_path / "day.db").exists() and (tmp_path / "day.db-wal").exists():
                break
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stopped before the end of the day" in said
    with database(tmp_path / "day.db") as connection:
        assert 0 < connection.execute("SELECT count(*) FROM frames").fetchone()[0] < 1000
        assert connection.execute("SELECT count(*) FROM pending").fetchone()[0] == 0


def test_the_help_tells_the_number_of_devices(building: Building) -> None:
    assert f"{len(building.device)} made-up devices" in runner.invoke(app, ["demo", "--help"]).stdout


def test_the_summary_calls_the_program_where_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "oms")])
    assert program._offer("live", "rtl_wmbus | oms listen -")[1] == "  rtl_wmbus | .venv/bin/oms listen -"
    assert program._offer("values", "oms readings")[1] == "  .venv/bin/oms readings"
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert program._offer("values", "oms readings")[1] == "  oms readings"
