"""``oms device``: every use case in a simulated world and on a simulated wire, dry runs, refusals, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from openmetering.codec.apl.security_transfer import SecurityTransfer, decode
from openmetering.errors import ExchangeFailed, InputError, TransportError
from openmetering.interfaces.cli import device, device_call
from openmetering.interfaces.cli import device_keys as device_keys_module
from openmetering.interfaces.cli.device_progress import Talk
from openmetering.protocol.exchange import Answered
from openmetering.protocol.gateway.events import Alarm
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.operator import Waiting
from openmetering.protocol.operator.steps import Ask, Pause, Progress
from openmetering.services.operator_state import DEFAULT_STATE, OperatorState
from openmetering.simulation.plan import read_plan
from openmetering.simulation.world import World
from openmetering.telegram import Decoder
from tests.interfaces.served import METER, key_file, key_ring, secured_meter, served_bus

app = typer.Typer()
device.register(app)
app.command("other")(lambda: None)
runner = CliRunner()

WORLD = """
[world]
seed = "house"
start = 2026-01-14
[[building]]
name = "house"
floors = 1
flats = 1
[[gateway]]
name = "stairs"
building = "house"
[[meters]]
medium = "cold water"
interval = 60.0
bidirectional = true
functions = ["disconnector", "clock", "supervision", "keys", "conformance", "firmware", "billing", "selection"]
[[meters]]
medium = "smoke"
interval = 900.0
"""
NEW_KEY = "00112233445566778899AABBCCDDEEFF"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The address of a meter with everything, and the link to its world."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "house.toml"
    path.write_text(WORLD)
    made = World(read_plan(path))
    return str(made.devices["cold water house/0.1"].address), f"world:{path}"


def oms(*arguments: object, code: int = 0, answer: str | None = None) -> Result:
    result = runner.invoke(app, ["device", *(str(argument) for argument in arguments)], input=answer, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


# -- use cases in a world --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("register", (), r"is here\nvolume"),
        ("status", (), r"status 00: no flags\nstandard flags \(MM3!\) 0000: none"),
        ("clear-status", (), "cleared, nothing is set any more"),
        ("clear-status", ("0x0004",), "cleared"),
        ("valve", ("state",), "commanded: open\nactual: open"),
        ("valve", ("close",), "executed\ncommanded: closed\nactual: closed"),
        ("breaker", ("connect",), "commanded: connected"),
        ("clock", ("read",), r"2026-01-14T00:0\d"),
        ("clock", ("adjust", "-30"), "accepted; -30 s"),
        ("clock", ("adjust", "30", "--by-gateway"), "sent; the device"),
        ("clock", ("adjust", "90", "--in-steps"), "adjusted by 90 s in 2 steps"),
        ("clock", ("correct",), "accepted; up to 60 s"),
        ("clock", ("correct", "2026-01-14 00:00:10", "--by-gateway"), "sent"),
        ("clock", ("set", "2026-03-29T12:00:00"), "set to 2026-03-29T12:00:00"),
        ("keys", ("list",), "key 00  version 00  communication"),
        ("keys", ("counters",), r"key 20  version 00  counter \d+  application"),
        ("keys", ("synchronise",), "key 20  version 00  counter 0"),
        ("keys", ("renew", "0x20", "1", "--new-key", NEW_KEY), r"key 20: version 01 is in use \(was 00\)"),
        ("keys", ("renew", "0x00", "1", "--new-key", NEW_KEY), r"key 00: version 01 is in use \(was 00\)"),
        ("keys", ("transfer", "0x20", "1", "--new-key", NEW_KEY), "version 01 of key 20 is in the device, not active"),
        ("test", (), r"conformance test \(plain\): passed"),
        ("test", ("--secured", "--function", "0x32"), r"conformance test \(under key 1F\): passed"),
        ("due-date", ("2027-05-01",), "next due date 2027-05-01"),
        ("ownership", ("123456",), "ownership number 123456"),
        ("select", ("0", "--add", "DP3!"), "the application holds now:"),
    ],
)
def test_use_cases_in_words(world: tuple[str, str], command: str, arguments: tuple[str, ...], words: str) -> None:
    address, via = world
    output = oms(command, address, *arguments, "--via", via, "--yes").output
    assert re.search(words, output), output


def test_a_world_leaves_no_state_behind(world: tuple[str, str], tmp_path: Path) -> None:
    address, via = world
    oms("valve", address, "close", "--via", via)
    assert [path.name for path in tmp_path.iterdir()] == ["house.toml"]
    oms("valve", address, "close", "--via", f"{via}?after=1h", "--state", "state.json")
    (journal,) = OperatorState(Path("state.json")).journals
    assert journal.counter(0x20, 0) == 1


def test_firmware_goes_into_the_device(world: tuple[str, str], tmp_path: Path) -> None:
    address, via = world
    (tmp_path / "v2.bin").write_bytes(bytes(range(256)) * 3)
    output = oms("firmware", address, "v2.bin", "--poll", "5", "--via", via, "--yes").output
    assert re.search(r"state 1[25]: .*; 5 blocks sent", output), output
    assert "state 9" in oms("firmware", address, "v2.bin", "--no-activate", "--poll", "5", "--via", via).output
    assert oms("firmware", address, "--state-only", "--identifier", "v2", "--via", via).output == "state 15: idle\n"


def test_results_as_json(world: tuple[str, str]) -> None:
    address, via = world
    row = json.loads(oms("valve", address, "close", "--via", via, "-f", "jsonl").stdout)
    assert row == {
        "device": address,
        "command": "valve close",
        "ok": True,
        "result": {"control": "disconnected", "output": "disconnected", "scheduled": False, "proof": "answer"},
    }
    row = json.loads(oms("status", address, "--via", via, "-f", "jsonl").stdout)
    assert row["result"]["status"] == 0
    assert row["result"]["standard_flag_names"] == []
    rows = json.loads(oms("keys", address, "list", "--via", via, "-f", "jsonl").stdout)["result"]["keys"]
    assert {"key_id": 0, "version": 0, "counter": None} in rows


# -- refusals and failures --------------------------------------------------------------------------------


def test_refusals_in_words(world: tuple[str, str]) -> None:
    address, via = world
    result = oms("breaker", address, "connect", "--inside-meter", "--via", via, code=5)
    assert "function not implemented" in result.stderr
    assert "(application error 11h)" in result.stderr
    row = json.loads(oms("due-date", address, "--via", via, "-f", "jsonl", code=5).stdout)
    assert row["ok"] is False
    assert row["error"]["code"] == "device.refused"
    assert row["error"]["error"] == 0x12
    delayed = oms("valve", address, "close", "--after", "60", "--via", via, code=5)
    assert "SITP status 23h" in delayed.stderr


def test_what_cannot_be_sent_is_the_callers_fault(world: tuple[str, str]) -> None:
    address, via = world
    assert "60 s at most" in oms("clock", address, "adjust", "90", "--via", via, code=2).stderr
    assert "UC-12 is not defined" in oms("due-date", address, "--via", via, "--oms-issue", "4.3.3", code=2).stderr
    assert "does not destroy keys" in oms("keys", address, "destroy", "0x20", "0", "--via", via, code=2).stderr
    assert "no device" in oms("status", "ELS-12345678-33-07", "--via", via, code=2).stderr


def test_a_device_that_only_sends_gives_no_access(world: tuple[str, str], tmp_path: Path) -> None:
    made = World(read_plan(tmp_path / "house.toml"))
    smoke = made.devices["smoke house/0.1"].address
    result = oms("status", smoke, "--via", world[1], code=6)
    assert "the device never opened a window" in result.stderr
    assert "call the same command again" not in result.stderr
    row = json.loads(oms("status", smoke, "--via", world[1], "-f", "jsonl", code=6).stdout)
    assert row["error"]["code"] == "exchange.no_access"
    assert row["error"]["delivered"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "12345678"), "no address"),
        (("clock", str(METER), "adjust"), "by how many seconds"),
        (("clock", str(METER), "set", "noon"), "no time"),
        (("keys", str(METER), "renew"), "the KeyID is an octet"),
        (("keys", str(METER), "renew", "0x20", "256"), "the KeyVersion is an octet"),
        (("keys", str(METER), "renew", "0x20", "1"), "there is no key 20 with version 01"),
        (("clear-status", str(METER), "many"), "no mask"),
        (("due-date", str(METER), "tomorrow"), "no date"),
        (("index", str(METER), "add", "VM1!", "0A13", "much"), "no number"),
        (("firmware", str(METER)), "which image"),
        (("firmware", str(METER), "none.bin"), "cannot be read"),
        (("firmware", str(METER), "--state-only"), "name it with --identifier"),
        (("firmware", str(METER), "--state-only", "--identifier", "0xZZ"), "no hexadecimal"),
        (("meter-address", str(METER), "there"), "no address"),
    ],
)
def test_arguments_that_make_no_sense(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        oms(*arguments, "--via", "mbus:/dev/none")


def test_a_link_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot be reached" in oms("status", METER, "--via", "mbus+tcp://127.0.0.1:1", code=1).stderr
    assert "no link to a device" in oms("status", METER, "--via", "file.txt", code=2).stderr


def test_an_outcome_that_is_not_known_says_what_to_do() -> None:
    lost = ExchangeFailed("nobody knows", reason="no-answer", delivered=None)
    assert "nothing is executed twice" in device_call._hint(lost)
    assert device_call._hint(ExchangeFailed("x", reason="no-access", delivered=False)) == ""
    assert device_call._hint(TransportError("x")) == ""


# -- dry runs -----------------------------------------------------------------------------------------------


def test_a_dry_run_prints_frames_and_sends_nothing(world: tuple[str, str], tmp_path: Path) -> None:
    address, via = world
    output = oms("valve", address, "close", "--via", via, "--dry-run").output
    assert "under key 20h version 0, key counter 1, at once: write remote control: 0" in output
    assert "CI C3" in output
    assert "1 command, nothing was sent" in output
    assert [path.name for path in tmp_path.iterdir()] == ["house.toml"]
    frame = bytes.fromhex(re.search(r"frame ([0-9A-F]+)", output)[1])  # type: ignore[index]
    keys = device_keys(tmp_path)
    telegram = Decoder(keys).examine(frame)
    assert telegram.error is None
    assert telegram.link is not None
    assert telegram.link.message == "SND-UD2"


def device_keys(tmp_path: Path):  # type: ignore[no-untyped-def]
    from openmetering.services.keyfiles import read_keys, ring

    return ring(read_keys(World(read_plan(tmp_path / "house.toml")).key_file().encode()).entries)


def test_a_dry_run_on_a_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = key_file(tmp_path / "keys.csv")
    arguments = ("valve", METER, "close", "--keys", keys, "-n", "-f", "jsonl")
    rows = [json.loads(line) for line in oms(*arguments, "--via", "mbus:/dev/none?address=5").stdout.splitlines()]
    (row,) = rows
    assert row["ci"] == "C3"
    frame = bytes.fromhex(row["frames"][0])
    assert frame[5] == 5
    telegram = Decoder(key_ring()).examine(frame)
    assert telegram.error is None
    assert telegram.security.profile == "B"
    assert isinstance(decode(bytes.fromhex(row["octets"])), SecurityTransfer)
    selected = json.loads(oms(*arguments, "--via", "mbus:/dev/none").stdout)
    assert bytes.fromhex(selected["frames"][0])[5] == 253
    assert not Path(DEFAULT_STATE).exists()


def test_a_dry_run_shows_what_follows_only_as_far_as_it_can(world: tuple[str, str], tmp_path: Path) -> None:
    address, via = world
    (tmp_path / "v2.bin").write_bytes(bytes(60_000))
    output = oms("firmware", address, "v2.bin", "--via", via, "--dry-run").output
    assert "image transfer: transfer block 315" in output
    assert re.search(r"\d+ commands, nothing was sent", output)
    output = oms("clock", address, "read", "--via", via, "--dry-run").output
    assert "what follows depends on the answer" in output
    assert "REQ-UD2" in oms("register", address, "--via", "mbus:/dev/none", "-n").output


def test_a_dry_run_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = oms("valve", METER, "close", "--via", "mbus:/dev/none", "-n", code=4)
    assert "no key for ELS-12345678-33-07 with KeyID 20h" in result.stderr


# -- questions ----------------------------------------------------------------------------------------------


def test_what_cannot_be_taken_back_is_asked_about(world: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    address, via = world
    monkeypatch.setattr(device_call, "_somebody", lambda: True)
    result = oms("valve", address, "close", "--via", via, code=1, answer="n\n")
    assert "Somebody may be left without supply" in result.output
    assert "executed" not in result.output
    assert "executed" in oms("valve", address, "close", "--via", via, answer="y\n").output
    assert "executed" in oms("valve", address, "close", "--via", via, "--yes").output
    assert "commanded" in oms("valve", address, "state", "--via", via).output


# -- on a wire ----------------------------------------------------------------------------------------------


@pytest.mark.services
def test_two_calls_on_a_wire_share_their_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = key_file(tmp_path / "keys.csv")
    with served_bus([secured_meter(5)]) as link:
        common = ("--via", link, "--keys", keys)
        assert "closed" in oms("valve", METER, "close", *common).output
        assert "closed" in oms("valve", METER, "state", *common).output
        assert "open" in oms("valve", METER, "open", *common).output
        assert "key counter 3" in oms("valve", METER, "close", *common, "-n").output
        assert "no key for" in oms("valve", METER, "close", "--via", link, "--profile", "none", code=4).stderr
    (journal,) = OperatorState(Path(DEFAULT_STATE)).journals
    assert journal.counter(0x20, 0) == 2


@pytest.mark.services
def test_settings_of_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = key_file(tmp_path / "keys.csv")
    with served_bus([secured_meter(5)]) as link:
        common = ("--via", f"{link}&address=5", "--keys", keys)
        assert "0.000 m3" in oms("index", METER, "read", "VM1!", "13", *common).output
        assert "0.367 m3" in oms("index", METER, "add", "VM1!", "0A13", "0.367", *common).output
        assert "0.300 m3" in oms("index", METER, "sub", "VM1!", "0A13", "0.067", *common).output
        assert "application error 15h" in oms("index", METER, "sub", "VM1!", "0A13", "9", *common, code=5).stderr
        moved = oms("meter-address", METER, "FFFF-87654321-FF-FF", "--delay", "60", *common).output
        assert moved == "accepted; it will be executed later\n"
        row = json.loads(oms("index", METER, "read", "VM1!", "13", *common, "-f", "jsonl").stdout)
        assert row["result"]["records"] == [{"quantity": "volume", "value": "0.300 m3"}]


def test_an_installation_by_hand_is_confirmed(world: tuple[str, str]) -> None:
    address, via = world
    assert f"{address} (cold water) is here" in oms("register", address, "--button", "--via", via).output
    assert "nothing would be sent" in oms("register", address, "--button", "-n", "--via", via, code=2).stderr


@pytest.mark.services
def test_nobody_presses_a_button_on_a_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with served_bus([secured_meter(5)]) as link:
        assert "on a wire nobody presses a button" in oms("register", METER, "--button", "--via", link, code=2).stderr


def test_consumer_information_and_terminating(world: tuple[str, str]) -> None:
    address, via = world
    assert "volume" in oms("consumer", address, "C3", "--via", via).output
    stopped = oms("firmware", address, "--terminate", "--identifier", "v9", "--via", via)
    assert stopped.output == "state 14: image transfer terminated\n"
    output = oms("keys", address, "activate", "0x20", "1", "--new-key", NEW_KEY, "--via", via, code=5)
    assert "the device refuses" in output.stderr


@pytest.mark.services
def test_counters_that_were_lost_come_back_from_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = key_file(tmp_path / "keys.csv")
    with served_bus([secured_meter(5)]) as link:
        common = ("--via", link, "--keys", keys)
        for _ in range(3):
            oms("valve", METER, "close", *common)
        Path(DEFAULT_STATE).unlink()
        assert "key 20  version 00  counter 3" in oms("keys", METER, "synchronise", *common).output
        assert "open" in oms("valve", METER, "open", *common).output
        Path(DEFAULT_STATE).unlink()
        assert "security error" in oms("valve", METER, "open", *common, code=5).stderr


def test_a_refusal_that_is_left_over_is_waited_out() -> None:
    ring = key_ring()
    call = device_call.Call(
        "keys", str(METER), "world:x", None, None, None, None, None, device_call.Issue.v5, None, "4h", False, False, False,
        device_call.RowFormat.text,
    )  # fmt: skip
    procedure = device_keys_module._synchronise(HeadEnd(ring), call)
    assert procedure.send(None) == Ask(None)
    assert isinstance(procedure.send(Answered(0, 2, "application-error", b"\x20")), Progress)
    assert next(procedure) == Pause(256.0)
    assert next(procedure) == Ask(None)
    listed = procedure.send(Answered(1, 0, "m-bus", b"\x2f"))
    assert isinstance(listed, Ask)
    assert listed.command is not None
    assert listed.command.protocol == "sitp"


# -- help, progress -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [name for name, _, _ in device._COMMANDS])
def test_help_shows_examples_and_the_options_of_all(command: str) -> None:
    output = oms(command, "--help").output
    assert f"oms device {command} ELS-12345678" in output
    for option in ("--via", "--keys", "--profile", "--oms-issue", "--state", "--dry-run", "--format"):
        assert option in output


def test_progress_tells_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    import io

    from rich.console import Console

    text = io.StringIO()
    with Talk(console=Console(file=text, force_terminal=True, width=100)) as talk:
        talk.tell(Progress(3, 5, "block 3 of 5"))
        talk.tell(Waiting(5.0))
        talk.tell(Alarm(METER, "replayed"))
        talk.tell("something nobody needs")
        talk.notice("iM871A")
    assert "an old message of the device came again" in text.getvalue()
    assert "iM871A" in text.getvalue()
    with Talk(quiet=True) as quiet:
        quiet.notice("not told")
        quiet.tell(Alarm(METER, "unprotected"))
        quiet.tell(Progress(1, 2, "x"))
    assert "not told" not in capsys.readouterr().err
