"""``oms bus``: scan, read, request and set on a real door of a simulated segment."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import typer
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from openmetering.codec.address import Address, Selection
from openmetering.errors import InputError
from openmetering.interfaces.cli import bus
from openmetering.interfaces.cli.bus_scan import ScanView, Slave
from openmetering.protocol.wired.search import SearchDone
from tests.interfaces.served import served_bus
from tests.simulation.wired_meters import HEAT, wired_meter

pytestmark = pytest.mark.services

app = typer.Typer()
bus.register(app)
app.command("other")(lambda: None)  # with one command alone Typer drops its name
runner = CliRunner()


@pytest.fixture
def link() -> Iterator[str]:
    meters = [wired_meter(12345678, 1, HEAT, device_type=4), wired_meter(12345679, 2), wired_meter(41000004)]
    with served_bus(meters) as link:
        yield link


def oms(*arguments: object, code: int = 0) -> Result:
    result = runner.invoke(app, ["bus", *(str(argument) for argument in arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_a_search_gives_a_table(link: str) -> None:
    output = oms("scan", link, "--below", "1234567F").output
    assert "ELS-12345678-33-04   heat, volume at return         1   2400" in output
    assert "ELS-12345679-33-07   water                          2   2400" in output
    assert "41000004" not in output
    assert "2 slaves found with" in output


def test_a_search_gives_json_lines(link: str) -> None:
    lines = [json.loads(line) for line in oms("scan", link, "--below", "4100000F", "-f", "jsonl").stdout.splitlines()]
    assert lines[0]["address"] == "ELS-41000004-33-07"
    assert lines[0]["primary"] == 0
    assert lines[0]["selection"] == "41000004-1593-33-07"
    assert bytes.fromhex(lines[0]["frame"])[0] == 0x68
    assert lines[-1]["found"] == 1
    assert lines[-1]["complete"] is True


def test_a_scan_of_primary_addresses(link: str) -> None:
    output = oms("scan", link, "--primary", "--addresses", "0-2").output
    assert "ELS-41000004-33-07" in output
    assert "3 slaves found with 6 requests" in output


def test_a_search_ends_at_its_limit(link: str) -> None:
    assert "0 slaves found with 6 requests; the search was not completed" in oms("scan", link, "--limit", 3).output


@pytest.mark.parametrize("option", [("--baud", "2401"), ("--baud", "x"), ("--addresses", "300"), ("--below", "zz")])
def test_options_of_a_scan_that_make_no_sense(option: tuple[str, str]) -> None:
    with pytest.raises(InputError):
        oms("scan", "mbus:/dev/none", *option)


def test_rows_that_are_no_slaves() -> None:
    view = ScanView(jsonl=False, console=Console(file=io.StringIO()))
    view.add(Slave(2400, 7, trouble="acknowledges, but has no data"))
    view.add(Slave(2400, 8, "ELS-12345678-33-04", "heat", fabrication="00000042"))
    view.end(SearchDone(9, 2, complete=True))
    text = io.StringIO()
    Console(file=text, width=120).print(view.table())
    assert "acknowledges, but has no data" in text.getvalue()
    assert "fabrication number 00000042" in text.getvalue()


def test_the_bar_moves_on_a_terminal() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    view = ScanView(jsonl=False, console=console)
    with view:
        view.begin("line at 2400 bit/s")
        view.step(0.5, "12 requests, 1 found, at 5FFFFFFF")
        view.begin("line at 300 bit/s")
    assert "line at 2400 bit/s" in text.getvalue()


def test_what_was_found_before_an_interruption_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    view = ScanView(jsonl=True, console=Console(file=io.StringIO()))
    view.add(Slave(2400, 8, "ELS-12345678-33-04"))
    view.__enter__()
    view.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["primary"] == 8
    assert lines[1] == {"requests": 0, "found": 1, "complete": False}


def test_reading_by_primary_and_secondary_address(link: str) -> None:
    output = oms("read", link, 1, 12345679).output
    assert "ELS-12345678-33-04  heat, volume at return" in output
    assert "100000.00 m3" in output
    assert "ELS-12345679-33-07  water" in output
    assert "123456.78 m3" in output


def test_reading_as_rows(link: str) -> None:
    row = json.loads(oms("read", link, "ELS-12345679-33-07", "-f", "jsonl").stdout)
    assert row["ok"] is True
    assert row["records"][0]["value"] == 123456.78


def test_who_does_not_answer_is_named(link: str) -> None:
    result = oms("read", link, 1, 9, code=6)
    assert "ELS-12345678-33-04" in result.stdout
    assert "primary address 9 does not answer" in result.stderr
    assert "is not on the bus" in oms("read", link, 99999999, code=6).stderr


def test_requests_as_they_stand(link: str) -> None:
    assert "heat, volume at return" in oms("request", link, 1, "REQ-UD2").output
    assert "heat, volume at return" in oms("request", link, 1, "SND-UD", "50").output
    assert oms("request", link, 1, "req-ud1").output == "acknowledged (E5)\n"
    assert oms("request", link, 1, "SND-NKE").output == "acknowledged (E5)\n"
    assert oms("request", link, 2, "SND-UD", "50", "--no-answer").output == "acknowledged (E5)\n"
    assert oms("request", link, 255, "SND-NKE").output == "sent, nobody answers to that\n"
    assert "does not answer" in oms("request", link, 9, "REQ-UD2", code=6).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1", "SND-UD"), "needs octets"),
        (("1", "REQ-UD2", "50"), "no octets of its own"),
        (("1", "SND-UD", "xx"), "no hexadecimal digit"),
        (("252", "REQ-UD2"), "primary addresses are"),
        (("zz", "REQ-UD2"), "secondary="),
        (("12345678", "REQ-UD2", "--enhanced", "12"), "eight digits"),
    ],
)
def test_requests_that_make_no_sense(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        oms("request", "mbus:/dev/none", *arguments)


def test_enhanced_selection_names_the_fabrication_number() -> None:
    target = bus._slave("ELS-12345678-33-07", "1234567f")
    assert target.selection == Selection(Address.parse("ELS-12345678-33-07"), "1234567F")


def test_another_primary_address(link: str) -> None:
    assert oms("set-address", link, 41000004, 7).output == "secondary address 41000004 answers at primary address 7\n"
    assert "ELS-41000004-33-07" in oms("read", link, 7).output
    with pytest.raises(InputError, match="somebody answers at primary address 1"):
        oms("set-address", link, 41000004, 1)
    oms("set-address", link, 99999999, 8, "--force", code=6)


def test_another_rate_behind_tcp_is_not_asked_for(link: str) -> None:
    assert "took 300 bit/s; set the converter" in oms("set-baud", link, 1, 300).output
    oms("set-baud", link, 9, 300, code=6)
    with pytest.raises(InputError, match="rates are"):
        oms("set-baud", link, 1, 301)


def test_another_rate_on_a_serial_line() -> None:
    pytest.importorskip("serial")
    with served_bus([wired_meter(12345678, 1, HEAT)], tcp=False) as link:
        assert "talks at 300 bit/s; write ?baud=300" in oms("set-baud", link, 1, 300).output
        assert "ELS-12345678" in oms("read", link + "&baud=300", 1).output
        assert "ELS-12345678" in oms("scan", link, "--primary", "--addresses", "1", "--baud", "300,2400").output
        assert "at the new rate" in oms("set-baud", link + "&baud=300", 1, 9600, code=6).stderr


def test_an_application_is_selected(link: str) -> None:
    assert "ELS-12345679-33-07" in oms("select", link, 2, 0).output
    assert "ELS-12345679-33-07" in oms("select", link, 2).output


@pytest.mark.parametrize("command", ["scan", "read", "request", "set-address", "set-baud", "select"])
def test_help_shows_examples(command: str) -> None:
    output = oms(command, "--help").output
    assert "Examples" in output
    assert f"oms bus {command} mbus:/dev/ttyUSB1" in output.replace('"', "") or f"oms bus {command}" in output
