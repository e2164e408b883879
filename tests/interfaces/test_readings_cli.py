"""``oms readings`` and ``oms redecode``: filters, exports with exact digits, the past opened."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openmetering.errors import InputError
from openmetering.interfaces.cli import listen, readings
from openmetering.interfaces.cli.readings import COLUMNS, moment
from openmetering.storage import Store
from openmetering.telegram import Decoder
from openmetering.transport.reception import Reception
from tests.fleet import KEY, radio, volume

START = datetime(2025, 1, 1, 12, tzinfo=UTC).timestamp()

STORED = volume(7) + bytes.fromhex("426C1F1C" + "4C14" + "00020000" + "0D78" + "03" + "2C2241")

app = typer.Typer()
listen.register(app)
readings.register(app)
runner = CliRunner()


@pytest.fixture
def store(tmp_path: Path) -> str:
    name = str(tmp_path / "x.db")
    items = [
        Reception(radio(120 + day, access_number=day), START + day * 86_400, "a") for day in range(3)
    ] + [
        Reception(radio(records=STORED, number=22222222), START, "a"),
        Reception(radio(55, number=33333333, profile="A"), START, "a"),
    ]  # fmt: skip
    with Store.open(name) as opened:
        opened.append(items)
        opened.catch_up(Decoder())
    return name


def oms(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_text(store: str) -> None:
    lines = oms("readings", "-s", store, "--device", "12345678").splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("ELS-12345678-33-03  gas  volume  1.20 m3")


def test_text_of_a_stored_value(store: str) -> None:
    output = oms("readings", "-s", store, "-d", "22222222")
    assert "volume  2.00 m3  storage 1  at 20" in output


def test_csv_has_every_digit(store: str) -> None:
    rows = list(csv.DictReader(io.StringIO(oms("readings", "-s", store, "-f", "csv"))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["value"] for row in rows if row["address"].startswith("ELS-12345678")] == ["1.20", "1.21", "1.22"]
    assert rows[0]["received_at"] == "2025-01-01T12:00:00.000Z"
    assert 'A",' in [row["value"] for row in rows]


def test_json_lines_carry_numbers_as_numbers(store: str) -> None:
    lines = oms("readings", "-s", store, "-f", "jsonl").splitlines()
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    assert rows[0]["value"] == Decimal("1.20")
    assert '"value":1.20,' in lines[0]
    kinds = {row["quantity"]: type(row["value"]) for row in rows}
    assert kinds["volume"] is Decimal
    assert kinds["date"] is str


def test_parquet(store: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    oms("readings", "-s", store, "-f", "parquet", "-o", path)
    rows = parquet.read_table(path).to_pylist()
    assert len(rows) == 7
    first = rows[0]
    assert (first["value"], first["mantissa"], first["exponent"], first["number"]) == ("1.20", 120, -2, 1.2)
    assert first["received_at"] == datetime(2025, 1, 1, 12, tzinfo=UTC)
    assert [row["number"] for row in rows if row["quantity"] == "date"] == [None]


def test_parquet_without_its_package(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "x.parquet"
    result = runner.invoke(app, ["readings", "-s", store, "-f", "parquet", "-o", str(path)])
    assert isinstance(result.exception, InputError)
    assert "pip install 'openmetering[parquet]'" in str(result.exception)
    assert list(tmp_path.glob("x.parquet*")) == []


def test_output_to_a_file(store: str, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert oms("readings", "-s", store, "-f", "csv", "-o", path) == ""
    assert len(path.read_text().splitlines()) == 8
    result = runner.invoke(app, ["readings", "-s", store, "-o", str(tmp_path / "none" / "x")])
    assert isinstance(result.exception, InputError)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--latest"], 5),
        (["--latest", "-d", "1234*"], 0),
        (["--latest", "-d", "12345678"], 1),
        (["--quantity", "volume"], 5),
        (["--since", "2025-01-02T00:00:00Z"], 2),
        (["--until", "2025-01-02T00:00:00+00:00", "-d", "12345678"], 1),
        (["--since", "10m"], 0),
    ],
)
def test_filters(store: str, arguments: list[str], count: int) -> None:
    assert len(oms("readings", "-s", store, *arguments).splitlines()) == count


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-d", "nobody"], "no device fits 'nobody'"),
        (["-q", "energy"], "no reading fits"),
    ],
)
def test_why_there_is_nothing(store: str, arguments: list[str], text: str) -> None:
    result = runner.invoke(app, ["readings", "-s", store, *arguments])
    assert result.exit_code == 0
    assert text in result.stderr


def test_a_store_where_all_is_locked(tmp_path: Path) -> None:
    name = str(tmp_path / "x.db")
    with Store.open(name) as opened:
        opened.append([Reception(radio(1, profile="A"), START, "a")])
        opened.catch_up(Decoder())
    assert "wait for their keys: oms redecode" in runner.invoke(app, ["readings", "-s", name]).stderr
    with Store.open(str(tmp_path / "empty.db")):
        pass
    assert "is empty; oms listen" in runner.invoke(app, ["readings", "-s", str(tmp_path / "empty.db")]).stderr


def test_no_store(tmp_path: Path) -> None:
    for command in ("readings", "redecode"):
        result = runner.invoke(app, [command, "-s", str(tmp_path / "none.db")])
        assert isinstance(result.exception, InputError)
        assert "oms listen makes one" in str(result.exception)


def test_redecode(store: str, tmp_path: Path) -> None:
    output = oms("redecode", "-s", store, code=4)
    assert "0 opened" in output
    assert "1 x key.missing" in output
    assert "--keys FILE" in output
    keys = tmp_path / "keys.csv"
    keys.write_text(f"address,key\n33333333,{KEY.hex()}\n")
    assert "1 telegrams looked at, 1 opened, 1 readings gained" in oms("redecode", "-s", store, "--keys", keys)
    assert "0 telegrams looked at" in oms("redecode", "-s", store, "--keys", keys)
    assert "0.55 m3" in oms("readings", "-s", store, "-d", "33333333")


def test_redecode_with_a_wrong_key_and_everything(store: str) -> None:
    output = oms("redecode", "-s", store, "--key", "00" * 16, code=4)
    assert "key.mismatch" in output
    assert "name the key file" not in output
    assert "5 telegrams looked at" in oms("redecode", "-s", store, "--all", "-k", KEY.hex())
    assert len(oms("readings", "-s", store).splitlines()) == 8


NOON = datetime(2025, 6, 15, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2025-01-31T12:00:00Z", datetime(2025, 1, 31, 12, tzinfo=UTC)),
        ("2025-01-31", datetime(2025, 1, 31).astimezone()),
        ("now", NOON),
        ("today", NOON.astimezone().replace(hour=0, minute=0)),
        ("2h", datetime(2025, 6, 15, 10, 30, tzinfo=UTC)),
        ("1d12h", datetime(2025, 6, 14, 0, 30, tzinfo=UTC)),
    ],
)
def test_moments(text: str, wanted: datetime) -> None:
    assert moment(text, NOON) == wanted.timestamp()


def test_yesterday_is_the_midnight_before() -> None:
    assert moment("today", NOON) - moment("yesterday", NOON) == 86_400


def test_no_moment() -> None:
    with pytest.raises(InputError) as info:
        moment("soon")
    assert info.value.code == "input.time"


def test_help_has_examples() -> None:
    assert "oms readings --latest" in oms("readings", "--help")
    assert "oms redecode --keys keys.csv" in oms("redecode", "--help")
