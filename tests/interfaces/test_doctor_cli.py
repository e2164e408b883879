"""``oms doctor``: the stage at which it stops, for sources of every kind."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openmetering.errors import InputError
from openmetering.interfaces.cli import doctor
from tests.fleet import KEY, radio, with_crc
from tests.interfaces.served import served_bus, served_stick
from tests.simulation.wired_meters import wired_meter

app = typer.Typer()
doctor.register(app)
runner = CliRunner()


def oms(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def log(folder: Path, *frames: bytes, text: str = "") -> Path:
    path = folder / "log.txt"
    path.write_text("".join(frame.hex() + "\n" for frame in frames) + text)
    return path


def keys(folder: Path, number: str = "12345678") -> Path:
    path = folder / "keys.csv"
    path.write_text(f"address,key\n{number},{KEY.hex()}\n")
    return path


def test_all_is_well(tmp_path: Path) -> None:
    output = oms(log(tmp_path, radio(1, profile="A")), "--keys", keys(tmp_path))
    assert output.count(" ok ") == 7
    assert "7 decoded" in output
    assert "1 telegram of ELS-12345678-33-03" in output


@pytest.mark.parametrize(
    ("frames", "text", "stage", "remedy"),
    [
        ([], "", "2 octets", "look whether the sender is running"),
        ([], "hello\n", "3 sync", "format"),
        ([with_crc(radio(1))[:-1] + b"\x00"], "", "4 CRC-good frames", "antenna"),
        ([radio(1, number=5)], "", "5 known meter", "key file"),
    ],
)
def test_where_it_stops(tmp_path: Path, frames: list[bytes], text: str, stage: str, remedy: str) -> None:
    output = oms(log(tmp_path, *frames, text=text), "--keys", keys(tmp_path), code=1)
    line = next(line for line in output.splitlines() if "STOPS HERE" in line)
    assert line.startswith(stage)
    assert "->" in output
    assert remedy in output


def test_no_key_and_a_wrong_one(tmp_path: Path) -> None:
    path = log(tmp_path, radio(1, profile="A"))
    assert "there is no key for ELS-12345678-33-03" in oms(path, code=1)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(f"address,key\n12345678,{bytes(16).hex()}\n")
    assert "the key does not open ELS-12345678-33-03" in oms(path, "--keys", wrong, code=1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    output = oms(tmp_path / "none.txt", code=1)
    assert "STOPS HERE" in output.splitlines()[1]
    assert "cannot be read" in output
    assert "look at the message" in output


def test_a_device_that_is_not_there() -> None:
    pytest.importorskip("serial")
    output = oms("serial:/dev/does-not-exist?stick=im871a", code=1)
    assert "cannot be opened" in output
    assert "plug it in" in output


@pytest.mark.services
def test_a_stick_that_hears() -> None:
    """Over TCP the doctor sees what the stick sends as octets of frames; a stick at a serial line is asked itself."""
    with served_stick() as (link, world):
        place, _, options = link.partition("?")
        host, _, port = place.removeprefix("tcp://").rpartition(":")
        with bridge(host, int(port)) as device:
            pytest.importorskip("serial")
            output = oms(f"serial:{device}?{options}", "--for", "5s", code=1)
    assert "1 device present" in output
    line = next(line for line in output.splitlines() if "STOPS HERE" in line)
    assert line.startswith("6 key")  # everything of the radio is well
    assert len(world.devices) == 1


class bridge:  # noqa: N801
    """A pseudo-terminal in front of a TCP port."""

    def __init__(self, host: str, port: int) -> None:
        import os
        import pty
        import tty

        self.connection = socket.create_connection((host, port), timeout=5)
        self.connection.settimeout(None)
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.name = os.ttyname(slave)
        self.read, self.write = os.read, os.write
        for work in (self._up, self._down):
            threading.Thread(target=work, daemon=True).start()

    def _up(self) -> None:
        try:
            while octets := self.connection.recv(4096):
                self.write(self.master, octets)
        except OSError:
            return

    def _down(self) -> None:
        try:
            while octets := self.read(self.master, 4096):
                self.connection.sendall(octets)
        except OSError:
            return

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self.connection.close()


@pytest.mark.services
def test_a_wired_line() -> None:
    with served_bus([wired_meter(12345678, 1)]) as link:
        output = oms(f"{link}&address=1")
        assert "wired 1" in output
        assert "octets" in output
        output = oms(f"{link}&address=2&attempts=1", code=1)
        line = next(line for line in output.splitlines() if "STOPS HERE" in line)
        assert line.startswith("2 octets")
        assert "primary address 2 does not answer" in line


@pytest.mark.services
def test_a_line_that_is_silent_takes_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        output = oms(f"tcp://127.0.0.1:{server.getsockname()[1]}", "--for", "300ms", code=1)
    assert time.monotonic() - started < 5
    assert next(line for line in output.splitlines() if "STOPS HERE" in line).startswith("2 octets")


def test_without_a_source_the_devices_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_PLACES", (f"{tmp_path}/by-id/*", f"{tmp_path}/ttyUSB*"))
    assert "no serial device is there" in oms(code=1)
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "ttyUSB1").touch()
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "stick").symlink_to(tmp_path / "ttyUSB1")
    assert oms().splitlines() == [f"oms doctor {tmp_path}/by-id/stick", f"oms doctor {tmp_path}/ttyUSB0"]


def test_wrong_usage(tmp_path: Path) -> None:
    for arguments, words in (
        (["-", "--input", "morse"], "no input format"),
        (["-", "--for", "soon"], "no duration"),
        (["smoke:signals"], "are unknown"),
        (["mbus:/dev/x"], "needs slaves to ask"),
    ):
        with pytest.raises(InputError, match=words):
            runner.invoke(app, arguments, catch_exceptions=False)
