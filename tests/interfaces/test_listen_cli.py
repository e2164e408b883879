"""``oms listen``: sources to store, views, errors that say what to do."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from openmetering.errors import InputError, TransportError
from openmetering.interfaces.cli import listen, readings
from openmetering.interfaces.cli.listen import summary
from openmetering.interfaces.cli.live import LiveTable, TextLines, values_text
from openmetering.services.listen import Heard, Totals
from openmetering.storage import Store, Stored
from openmetering.telegram import Decoder
from openmetering.transport.lines import LineReader
from openmetering.transport.reception import BadLine, Notice, Reception
from tests.fleet import KEY, bare_wired, radio, ring, volume

NOW = 1_700_000_000.0

app = typer.Typer()
listen.register(app)
readings.register(app)
runner = CliRunner()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    frames = [radio(1234), radio(2345, number=22222222, profile="A"), radio(1)[:-2]]
    path.write_text("".join(f"{frame.hex()}\n" for frame in frames) + "no telegram\n")
    return path


def oms(*arguments: object) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_lines_of_text_and_a_summary(log: Path, tmp_path: Path) -> None:
    store = tmp_path / "x.db"
    output = oms("listen", log, "--store", store)
    assert "ELS-12345678-33-03  gas  plain  volume 12.34 m3" in output
    assert "key-missing A" in output
    assert "frame.truncated" in output
    assert "line 4: no telegram in any known format" in output
    assert f"3 telegrams stored in {store} (0 more copies merged), 1 readings" in output
    assert "1 line was no telegram" in output
    assert f"oms redecode --store {store} --keys FILE" in output


def test_json_lines_carry_reception_and_answer(log: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["listen", str(log), "-s", str(tmp_path / "x.db"), "-f", "jsonl", "-k", KEY.hex()])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["frame_id"] for row in rows] == [1, 2, 3]
    assert [row["ok"] for row in rows] == [True, True, False]
    assert rows[1]["records"][0]["value"] == 23.45
    assert rows[0]["source"] == str(log)
    assert rows[0]["rssi_dbm"] is None
    assert rows[0]["received_at"].endswith("Z")
    assert "3 telegrams stored" in result.stderr


def test_keys_of_a_file(log: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.csv"
    keys.write_text(f"address,key\n22222222,{KEY.hex()}\n")
    output = oms("listen", log, "-s", tmp_path / "x.db", "--keys", keys)
    assert "decrypted A (2f2f)" in output
    assert "volume 23.45 m3" in output
    assert "redecode" not in output


def test_the_default_store_is_in_the_folder(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    oms("listen", log)
    assert (tmp_path / "openmetering.db").is_file()


def test_a_second_run_goes_on(log: Path, tmp_path: Path) -> None:
    store = tmp_path / "x.db"
    oms("listen", log, "-s", store)
    output = oms("listen", log, "-s", store)
    assert "goes on behind octet" in output
    assert "0 telegrams stored" in output
    again = oms("listen", f"file:{log}?from=start", "-s", store)
    assert "(3 more copies merged)" in again


def test_for_a_time(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(radio(1).hex() + "\n")
    output = oms("listen", f"file:{log}?follow=yes", "-s", tmp_path / "x.db", "--for", "300ms")
    assert "1 telegrams stored" in output


def test_a_live_table_when_asked(log: Path, tmp_path: Path) -> None:
    output = oms("listen", log, "-s", tmp_path / "x.db", "--live")
    assert "1 meters" in output or "2 meters" in output


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (["nofile.txt"], TransportError, "cannot be read"),
        (["file:x?folow=1"], InputError, "no option 'folow'"),
        (["mbus:/dev/x"], InputError, "add ?address=1,2"),
        (["x", "--input", "morse"], InputError, "choose one of"),
        (["x", "--for", "long"], InputError, "no duration"),
        (["x", "--key", "12"], InputError, "32 hexadecimal digits"),
        (["x", "--store", "mysql://x"], InputError, "not known"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str], kind: type, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["listen", *arguments])
    assert isinstance(result.exception, kind)
    assert text in str(result.exception)


def test_help_shows_every_kind_of_source() -> None:
    output = oms("listen", "--help")
    for word in ("tcp-listen://", "udp://", "serial:", "mbus:", "mbus+tcp://", "rtl_wmbus", "/dev/ttyUSB0", "redecode"):
        assert word in output
    assert runner.invoke(app, ["listen"]).exit_code == 2


def test_refusing_replays(tmp_path: Path) -> None:
    log, store = tmp_path / "log.txt", tmp_path / "x.db"
    log.write_text("".join(f"{radio(n, profile='B', counter=n).hex()}\n" for n in (5, 4)))
    output = oms("listen", log, "-s", store, "-k", KEY.hex(), "--refuse-replays")
    assert "1 x counter.replayed" in output


# -- views ------------------------------------------------------------------------------------


def heard(frame: bytes, number: int = 1, *, copy: bool = False, level: float | None = -71.0, source: str = "door") -> Heard:
    telegram = None if copy else Decoder(ring()).examine(frame)
    return Heard(Reception(frame, NOW, source, rssi_dbm=level), Stored(number, not copy), telegram)


def table(width: int = 140, height: int = 40) -> tuple[LiveTable, Console]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    return LiveTable("test", console=console), console


def shown(view: LiveTable, console: Console) -> str:
    with console.capture() as capture:
        console.print(view.render())
    return capture.get()


def test_live_table_shows_meter_values_level_security_faults_and_count() -> None:
    view, console = table()
    view.heard(
        [heard(radio(1234, status=4), 1), heard(radio(1), 1, copy=True, level=-60.0), heard(radio(9, number=2, profile="A"), 2)]
    )
    view.heard([heard(bare_wired(5, 7), 3, level=None, source="bus"), heard(b"\xe5", 4)])
    text = shown(view, console)
    assert "ELS-12345678-33-03" in text
    assert "volume 12.34 m3" in text
    assert "-60 dBm" in text
    assert "power low" in text
    assert "decrypted A (2f2f)" in text
    assert "bus#7" in text
    assert "3 meters, 5 receptions stored" in text


def test_no_stale_values_after_a_telegram_that_failed() -> None:
    view, console = table()
    view.heard([heard(radio(1234), 1)])
    closed = Decoder().examine(radio(5, profile="A"))
    view.heard([Heard(Reception(b"", NOW, "a"), Stored(2, True), closed)])
    text = shown(view, console)
    assert "12.34" not in text
    assert "key.missing" in text


def test_more_meters_than_lines() -> None:
    view, console = table(height=14)
    view.heard([heard(radio(1, number=number), number) for number in range(1, 30)])
    assert "more not shown" in shown(view, console)


def test_news_under_the_table_are_few() -> None:
    view, console = table()
    bad = LineReader("hex").line("zz", NOW)
    assert isinstance(bad, BadLine)
    view.bad_line(bad)
    view.notice(Notice("door", "secret detail", "debug"))
    for number in range(8):
        view.notice(Notice("door", f"news {number}", "warning"))
    text = shown(view, console)
    assert "news 7" in text
    assert "news 3" in text
    assert "news 2" not in text
    assert "secret" not in text


def test_live_table_starts_and_stops() -> None:
    view, console = table()
    view.open()
    view.heard([heard(radio(1))])
    view.close(Totals())
    assert "ELS-12345678" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("verbose", "told"), [(False, False), (True, True)])
def test_details_only_when_asked(verbose: bool, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    TextLines(verbose).notice(Notice("door", "3 octets skipped", "debug"))
    assert ("3 octets skipped" in capsys.readouterr().err) is told


def test_the_most_telling_values_come_first() -> None:
    records = bytes.fromhex("0C7812345678" + "046D32371F15" + "0259E803" + "4C1400010000" + "1C1400020000") + volume(77)
    text = values_text(Decoder().examine(radio(records=records)))
    assert text.startswith("volume 0.77 m3, flow temperature")
    assert "fabrication" not in text


def test_summary_without_anything() -> None:
    assert summary(Totals(), "x.db") == "0 telegrams stored in x.db (0 more copies merged), 0 readings"
    assert "earlier run" in summary(Totals(caught_up=2), "x.db")


def test_the_store_holds_what_was_shown(log: Path, tmp_path: Path) -> None:
    oms("listen", log, "-s", tmp_path / "x.db")
    with Store.open(str(tmp_path / "x.db"), create=False) as store:
        assert [frame.octets for frame in store.frames([1, 2, 3])] == [
            bytes.fromhex(line) for line in log.read_text().split("\n")[:3]
        ]
