"""``oms simulate``: runs, records, doors, an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from openmetering.errors import InputError, TransportError
from openmetering.interfaces.cli import main, simulate
from openmetering.protocol.wired.orders import ReadoutDone, ReadPrimary
from openmetering.services.wired import WiredLine, find_place, open_line
from openmetering.simulation.plan import parse_plan

app = typer.Typer()
simulate.register(app)
app.command("other")(lambda: None)
runner = CliRunner()


def oms(*arguments: object, code: int = 0) -> Result:
    result = runner.invoke(app, ["simulate", *(str(argument) for argument in arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def house(tmp_path: Path) -> Path:
    path = tmp_path / "house.toml"
    path.write_text(oms("--example").stdout)
    return path


def test_the_example_is_a_world_that_can_be_read() -> None:
    plan = parse_plan(oms("--example").stdout)
    assert plan.segment[0].name == "basement"
    assert plan.gateway[0].name == "stairs"


def test_a_day_and_its_summary(house: Path) -> None:
    lines = oms(house).output.splitlines()
    assert re.fullmatch(r"24\.0 h, \d+ telegrams on air, \d+ events", lines[0])
    (water,) = (line for line in lines if "cold water" in line)
    assert re.fullmatch(r"  stairs +cold water +14[34]\d received; lost: .*", water)
    assert any(line.startswith("  stairs") and "read: new" in line for line in lines)
    assert oms(house, "--days", 3).output.startswith("3 days,")
    assert oms(house, "--days", 0.0001).output.startswith("9 s,")


def test_the_same_world_is_the_same_run(house: Path) -> None:
    assert oms(house, "-d", 0.2).output == oms(house, "-d", 0.2).output


def test_the_summary_as_json_adds_up(house: Path) -> None:
    rows = [json.loads(line) for line in oms(house, "-d", 0.1, "-f", "jsonl").stdout.splitlines()]
    total = rows[-1]
    assert total["seconds"] == 8640.0
    assert sum(total["sent"].values()) == total["transmissions"]
    for medium, sent in total["sent"].items():
        (row,) = (one for one in rows[:-1] if one["medium"] == medium)
        assert row["received"] + sum(row["lost"].values()) == sent


@pytest.mark.parametrize("name", ["day.log", "day.jsonl"])
def test_a_record_can_be_decoded_with_the_keys(house: Path, tmp_path: Path, name: str) -> None:
    record, keys = tmp_path / name, tmp_path / "keys.csv"
    oms(house, "-d", 0.05, "--record", record, "--keys-out", keys)
    assert keys.stat().st_mode & 0o777 == 0o600
    kind = [] if name == "day.log" else ["--input", "jsonl"]
    result = runner.invoke(main.app, ["decode", str(record), "--keys", str(keys), "--format", "jsonl", *kind])
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) > 50
    assert sum(answer["ok"] for answer in answers) >= len(answers) - 1
    assert {answer["security"]["proof"] for answer in answers} >= {"mac", "2f2f"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--days", "1"), "which world"),
        (("nowhere.toml",), "cannot be read"),
        (("HOUSE", "--speed", "fast"), "--speed fast"),
        (("HOUSE", "--speed", "-1"), "--speed -1"),
        (("HOUSE", "--wired", "attic=pty"), "no segment 'attic'"),
        (("HOUSE", "--stick", "door"), "door"),
        (("HOUSE", "--record", "/nowhere/day.log"), "cannot be written"),
    ],
)
def test_calls_that_make_no_sense(house: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        oms(*(str(house) if argument == "HOUSE" else argument for argument in arguments))


def test_with_two_gateways_one_has_to_be_named(house: Path) -> None:
    house.write_text(house.read_text() + '[[gateway]]\nname = "attic"\nbuilding = "house"\n')
    with pytest.raises(InputError, match="which gateway"):
        oms(house, "--stick", "tcp:0")


@pytest.mark.services
def test_paced_without_doors(house: Path) -> None:
    assert oms(house, "--days", 0.01, "--speed", 100_000).output.startswith("864 s,")


@pytest.mark.services
def test_a_stick_that_nobody_uses(house: Path) -> None:
    result = oms(house, "--days", 0.002, "--speed", 2000, "--stick", "stairs=tcp:0")
    assert re.search(r"im871a beside stairs: tcp://127\.0\.0\.1:\d+", result.stderr)
    assert result.stdout.startswith("173 s,")


@pytest.mark.services
def test_a_door_that_cannot_be_opened(house: Path) -> None:
    with pytest.raises(TransportError, match="cannot listen"):
        oms(house, "--wired", "tcp:192.0.2.1:1")


# -- as a program, with doors ------------------------------------------------------------------------------


@pytest.fixture
def program(house: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """``oms simulate`` with a bus and two receivers, and where they are."""
    line = tmp_path / "bus"
    command = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()", "simulate", str(house)]
    command += ["--wired", f"pty:{line}", "--stick", "tcp:0", "--stick-kind", "rtl_wmbus", "--speed", "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        places = dict(process.stderr.readline().strip().split(": ", 1) for _ in range(2))
        yield process, places
        process.kill()


@pytest.mark.services
def test_doors_for_programs_and_an_orderly_end(program: tuple[subprocess.Popen[str], dict[str, str]], tmp_path: Path) -> None:
    pytest.importorskip("serial")
    process, places = program
    assert places["segment basement"] == str(tmp_path / "bus")
    host = places["rtl_wmbus beside stairs"].removeprefix("tcp://")
    address, port = host.rsplit(":", 1)

    async def use() -> bytes:
        reader, writer = await asyncio.open_connection(address, int(port))
        async with open_line(find_place(f"mbus:{places['segment basement']}?latency=50ms")) as line:
            assert await _read(line) == ReadoutDone(ReadPrimary(1), 1)
        heard = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        return heard

    assert re.match(rb"[TC]1;1;1;2026-01-14 \d\d:\d\d:\d\d\.\d{3};", asyncio.run(use()))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "telegrams on air" in output
    assert not (tmp_path / "bus").is_symlink()


async def _read(line: WiredLine) -> object:
    """A slave needs some seconds after power-up, and disturbances are repeated."""
    for _ in range(5):
        last = await line.order(ReadPrimary(1))
        if isinstance(last, ReadoutDone):
            return last
    return last


@pytest.mark.services
def test_an_interrupted_run_still_sums_up(house: Path) -> None:
    command = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()", "simulate", str(house)]
    record = house.with_name("heard.log")
    command += ["--days", "100000", "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        patience = time.monotonic() + 60.0
        while not (record.is_file() and record.stat().st_size) and time.monotonic() < patience:
            time.sleep(0.05)  # time passes in the world as soon as something was heard
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "telegrams on air" in output
    assert "Traceback" not in errors


# -- without numpy -----------------------------------------------------------------------------------------


_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numpy":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from openmetering.interfaces.cli.main import main
main()
"""


@pytest.mark.services
def test_everything_else_works_without_numpy(house: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _WITHOUT, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert call("--help").returncode == 0
    assert call("simulate", "--example").returncode == 0
    run = call("simulate", str(house))
    assert run.returncode == 2
    assert run.stderr == "oms: simulated worlds need the package numpy: pip install numpy\n"
    command = call("device", "status", "EXS-82661355-01-16", "--via", f"world:{house}")
    assert command.returncode == 2
    assert "need the package numpy" in command.stderr


def test_other_missing_packages_are_told_as_they_are() -> None:
    with pytest.raises(ImportError, match="termios"):
        simulate.needs_numpy(ImportError("termios", name="termios"))


# -- completion --------------------------------------------------------------------------------------------


@pytest.mark.services
@pytest.mark.parametrize(
    ("words", "found"),
    [("oms dev", "device"), ("oms device va", "valve"), ("oms bus set", "set-baud"), ("oms simulate --sti", "--stick-kind")],
)
def test_the_shell_completes(words: str, found: str) -> None:
    environment = {**os.environ, "_OMS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    program = [sys.executable, "-c", "import sys; sys.argv[0] = 'oms'; from openmetering.interfaces.cli.main import main; main()"]
    result = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert found in result.stdout.split(), result.stderr
