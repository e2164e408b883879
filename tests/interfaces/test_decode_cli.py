"""``oms decode``, ``oms encode`` and ``oms formats`` as a user meets them: input, output, exit codes."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openmetering.errors import InputError
from openmetering.interfaces.cli import main as program
from openmetering.interfaces.cli.main import app

KEY = "0102030405060708090A0B0C0D0E0F11"
# OMS Volume 2 Annex N release E: N.2.1 with CRCs, N.2.2 wired in the clear
GAS = "2E44931578563412330333637A2A0020255923C95AAA26D1B2E7493BC2AD013EC4A6F6D3529B520EDFF0EA6DEFC955B29D6D69EBF3EC8A"
WIRED = "6820206808FD7278563412931533032A0000000C1427048502046D32371F1502FD1700008916"
BUSY = "68040468080170088116"  # application error 08h
FULL = "780202D20402152E16022A3423"  # EN 13757-3 G.5, behind the address
COMPACT = "79313B42A6D2042E163423"


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def wireless(data: str) -> str:
    return f"{9 + len(data) // 2:02X}4493157856341233 07".replace(" ", "") + data


# -- decode ---------------------------------------------------------------------------------


def test_text_names_meter_values_and_proof() -> None:
    code, out, _ = run("decode", GAS, "--key", KEY)
    assert code == 0
    for text in ("ELS-12345678-33-03", "7ELS3312345678", "profile A", "not authenticated", "28504.27 m3", "VM1!"):
        assert text in out


def test_the_answer_has_the_digits_of_the_telegram() -> None:
    code, out, _ = run("decode", GAS, "--key", KEY, "--format", "jsonl")
    assert code == 0
    assert '"value":28504.27,' in out
    answer = json.loads(out)
    assert answer["ok"] is True
    assert answer["link"]["frame_format"] == "A"
    assert [record["tag"] for record in answer["records"]] == ["VM1!", "DT1!", "MM2!"]


def test_json_is_a_list_in_order() -> None:
    code, out, _ = run("decode", GAS, WIRED, "--key", KEY, "--format", "json")
    assert code == 0
    assert [item["link"]["kind"] for item in json.loads(out)] == ["wireless", "wired"]


def test_csv_has_a_row_per_record() -> None:
    code, out, _ = run("decode", WIRED, GAS, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 4
    assert [row["value"] for row in rows] == ["28504.27", "2008-05-31T23:50", "0", ""]
    assert rows[-1]["error"] == "key.missing"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((GAS, "--key", KEY), 0),
        ((GAS,), 4),
        ((GAS, "--key", "00" * 16), 4),
        ((BUSY,), 3),
        ((GAS, BUSY), 3),
        ((WIRED[:-6] + "008A16",), 3),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int) -> None:
    assert run("decode", *arguments)[0] == code


@pytest.mark.parametrize("fmt", ["jsonl", "auto"])
def test_one_object_per_line_whatever_happens(fmt: str) -> None:
    lines = [
        json.dumps({"telegram": GAS, "key": KEY}),
        "",
        json.dumps({"telegram": "XYZ", "key": None}),
        json.dumps({"telegram": WIRED.lower(), "key": None}),
        json.dumps({"telegram": GAS, "key": "12"}),
        json.dumps({"telegram": GAS, "key": None}),
        "{broken",
    ]
    code, out, _ = run("decode", "--input", fmt, "--format", "jsonl", "-", stdin="\n".join(lines) + "\n")
    answers = [json.loads(line) for line in out.splitlines()]
    codes = [None if answer["error"] is None else answer["error"]["code"] for answer in answers]
    assert code == 3
    assert codes == [None, "input.hex", None, "key.invalid", "key.missing", "input.line"]


@pytest.mark.parametrize("fmt", ["jsonl", "auto"])
def test_a_key_never_comes_out_again(fmt: str) -> None:
    lines = [
        json.dumps({"telegram": "12G4", "key": KEY}),
        '{"key": "' + KEY + '", "telegram"',
        json.dumps({"telegram": GAS, "key": KEY[:-1] + "x"}),
    ]
    for output in ("jsonl", "json", "text", "csv"):
        _, out, err = run("decode", "--input", fmt, "--format", output, "-", stdin="\n".join(lines))
        assert KEY[:-1] not in out + err
    _, out, _ = run("decode", "--input", fmt, "--format", "jsonl", "-", stdin="\n".join(lines))
    assert [json.loads(line)["telegram"] for line in out.splitlines()] == ["12G4", "", GAS]


def test_a_long_telegram_is_no_file_name() -> None:
    assert run("decode", "6820206808FD7278" * 60)[0] == 3


def test_the_fast_way_equals_the_general_one() -> None:
    lines = "".join(
        json.dumps({"telegram": text, "key": key}) + "\n" for text, key in ((GAS, KEY), (WIRED, None), (GAS, None)) * 3
    )
    fast = run("decode", "--input", "jsonl", "--format", "jsonl", "-", stdin=lines)
    general = run("decode", "--input", "auto", "--format", "jsonl", "-", stdin=lines)
    assert fast == general


def test_strict_refuses_octets_behind_the_frame() -> None:
    assert run("decode", WIRED + "00", "--format", "jsonl")[0] == 0
    code, out, _ = run("decode", WIRED + "00", "--strict", "--format", "jsonl")
    assert code == 3
    assert json.loads(out)["error"]["code"] == "frame.trailing"


def test_files_and_key_files(tmp_path: Path) -> None:
    telegrams, keys = tmp_path / "telegrams.txt", tmp_path / "keys.csv"
    telegrams.write_text(f"# two telegrams\n{GAS}\n{WIRED}\n")
    keys.write_text(f"address,key\nELS-12345678-33-03,{KEY}\n")
    code, out, _ = run("decode", str(telegrams), "--keys", str(keys), "--format", "jsonl")
    assert code == 0
    assert len(out.splitlines()) == 2


def test_raw_serial_streams_resynchronise(tmp_path: Path) -> None:
    stream = tmp_path / "bus.bin"
    stream.write_bytes(b"\x00\x55" + bytes.fromhex(WIRED) + b"\xff" + bytes.fromhex(WIRED))
    _, out, _ = run("decode", str(stream), "--input", "raw-serial", "--format", "jsonl")
    assert sum(json.loads(line)["ok"] for line in out.splitlines()) == 2


def test_what_is_no_telegram_says_what_to_do() -> None:
    with pytest.raises(InputError, match="neither a file nor a telegram"):
        run("decode", "telegram.txt")
    with pytest.raises(InputError, match="no input format"):
        run("decode", GAS, "--input", "morse")


# -- encode ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("telegram", "key"), [(GAS, KEY), (WIRED, None)])
def test_an_unchanged_answer_encodes_octet_for_octet(telegram: str, key: str | None) -> None:
    options = [] if key is None else ["--key", key]
    answer = run("decode", telegram, *options, "--format", "json")[1]
    code, out, _ = run("encode", "-", *options, stdin=answer)
    assert (code, out.strip()) == (0, telegram)


def test_an_edited_value_is_encoded_anew(tmp_path: Path) -> None:
    answer = json.loads(run("decode", GAS, "--key", KEY, "--format", "jsonl")[1])
    answer["records"][0]["value"] = 28504.99
    answer["records"][1]["value"] = "2024-02-29T13:45"
    file = tmp_path / "edited.json"
    file.write_text(json.dumps(answer))
    octets = run("encode", str(file), "--key", KEY, "--frame-format", "B")[1].strip()
    again = json.loads(run("decode", octets, "--key", KEY, "--format", "jsonl")[1])
    assert [record["value"] for record in again["records"]] == [28504.99, "2024-02-29T13:45", 0]
    assert again["link"]["frame_format"] == "B"


def test_fragments_come_back_as_one_message() -> None:
    answer = run("decode", GAS, "--key", KEY, "--format", "jsonl")[1]
    frames = run("encode", "-", "--key", KEY, "--fragment-size", "20", stdin=answer)[1].split()
    assert len(frames) == 2
    code, out, _ = run("decode", *frames, "--key", KEY, "--format", "jsonl")
    last = json.loads(out.splitlines()[-1])
    assert code == 0
    assert [record["value"] for record in last["records"]] == [28504.27, "2008-05-31T23:50", 0]


def test_values_that_cannot_be_sent_are_refused(tmp_path: Path) -> None:
    answer = json.loads(run("decode", GAS, "--key", KEY, "--format", "jsonl")[1])
    answer["records"][0]["value"] = 28504.275
    file = tmp_path / "fine.json"
    file.write_text(json.dumps(answer))
    with pytest.raises(Exception, match="finer than the resolution"):
        run("encode", str(file), "--key", KEY)
    with pytest.raises(InputError, match="no answer of oms decode"):
        run("encode", "-", stdin="[1, 2]")


# -- formats --------------------------------------------------------------------------------


def test_formats_are_learned_shared_and_used(tmp_path: Path) -> None:
    formats = tmp_path / "formats.json"
    assert json.loads(run("decode", wireless(COMPACT), "--format", "jsonl")[1])["error"]["code"] == "compact.unknown_format"
    code, out, _ = run("formats", "learn", wireless(FULL), "-o", str(formats))
    assert code == 0
    assert out.startswith("1 format learned")
    assert "3B31" in run("formats", "list", str(formats))[1]
    code, out, _ = run("decode", wireless(COMPACT), "--formats", str(formats), "--format", "jsonl")
    assert [record["value"] for record in json.loads(out)["records"]] == [123.4, 567.8, 901.2]


def test_bundled_formats_are_listed() -> None:
    assert "Kamstrup" in run("formats", "list")[1]


# -- the program ------------------------------------------------------------------------------


def test_errors_are_one_line_and_a_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["oms", "decode", "no such file"])
    with pytest.raises(SystemExit) as end:
        program.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("oms: 'no such file' is neither a file")


def test_help_has_examples() -> None:
    for command in ("decode", "encode"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"oms {command}" in out
