"""``oms gateway``: checking a configuration, running, ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from openmetering.errors import InputError
from openmetering.interfaces.cli import gateway
from openmetering.interfaces.cli.gateway_world import WorldDoor
from openmetering.services.gatewayd.receiver import Receiver
from openmetering.services.gatewayd.spool import Spool
from openmetering.transport.reception import Reception
from openmetering.transport.source_address import parse_source
from tests.fleet import radio
from tests.interfaces.served import RADIO_WORLD
from tests.services.gatewayd.test_kill import PROGRAM
from tests.services.gatewayd.test_ways import web

app = typer.Typer()
gateway.register(app)
runner = CliRunner()


def config(folder: Path, text: str = "", source: str = "") -> Path:
    path = folder / "gateway.toml"
    log = folder / "log.txt"
    log.write_text("".join(radio(n, access_number=n, number=10_000_000 + n).hex() + "\n" for n in range(5)))
    source = source or f'[[source]]\nat = "file:{log}"\nname = "file"\n'
    extra, _, tables = text.partition("---")
    path.write_text(f'[gateway]\nname = "cellar"\nstate = "state"\n{extra}\n[merge]\nhold = 0\n{tables}\n{source}')
    return path


def oms(*arguments: object) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_check_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_text("address,key\n12345678,000102030405060708090A0B0C0D0E0F\n")
    (tmp_path / "secret").write_text("00" * 16)
    text = (
        'keys = "keys.csv"\nsecret_file = "secret"\n---\n[uplink]\nto = "http://head-end.example/report"\n'
        '[[thinning]]\nmatch = "*"\nkeep = "best"\n'
    )
    source = (
        '[[source]]\nat = "serial:/dev/nothing?mode=c"\nname = "stick"\nsends = true\n[[source]]\nat = "-"\n'
        '[[device]]\naddress = "ELS-12345678-33-07"\nsource = "stick"\n'
    )
    output = oms(config(tmp_path, text, source), "--check")
    assert "gateway cellar, state in" in output
    assert "source stick, carries commands" in output
    assert "keeps best of *" in output
    assert "devices to command: 1, keys: 1" in output
    assert "up: http://head-end.example/report" in output
    assert "not encrypted" in output
    assert not (tmp_path / "state").exists()


def test_the_help_shows_a_configuration_that_is_one(tmp_path: Path) -> None:
    output = oms("--help")
    lines = [line.strip() for line in output.partition("A configuration")[2].partition("Examples")[0].splitlines()]
    path = tmp_path / "help.toml"
    path.write_text("\n".join(line for line in lines if line))
    assert "[[source.poll]]" in lines
    (tmp_path / "link-keys.csv").write_text("address,key\n12345678,000102030405060708090A0B0C0D0E0F\n")
    (tmp_path / "password").write_text("word")
    assert "up: mqtts://broker.example:8883" in oms(path, "--check")


def test_check_without_a_way_up(tmp_path: Path) -> None:
    assert "up: nowhere, everything stays in the spool" in oms(config(tmp_path), "--check")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('keys = "none.csv"', "cannot be read"),
        ('keys = "keys.csv"', "no communication key"),
        ('secret_file = "none"', "the secret cannot be read"),
        ('secret_file = "short"', "a key is 32 hexadecimal digits"),
        ('---[uplink]\nto = "https://x"\nca = "none"', "TLS"),
        ("colour = 5", "there is no field `colour`"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "keys.csv").write_text("address,key,key_id\n12345678,000102030405060708090A0B0C0D0E0F,0x20\n")
    (tmp_path / "short").write_text("00")
    with pytest.raises(InputError, match=words):
        runner.invoke(app, [str(config(tmp_path, text)), "--check"], catch_exceptions=False)


def test_a_run_to_the_end_of_a_file(tmp_path: Path) -> None:
    output = oms(config(tmp_path))
    assert "cellar runs with 1 sources" in output
    assert "5 receptions, 5 of them wait in the spool" in output
    assert Spool(tmp_path / "state" / "spool").waiting == 5
    assert "0 receptions, 5 of them wait" in oms(config(tmp_path))


def test_a_run_with_a_head_end(tmp_path: Path) -> None:
    stored: list[Reception] = []
    with web(Receiver(lambda batch, gateway: stored.extend(batch))) as (_, url):
        output = oms(config(tmp_path, f'---[uplink]\nto = "{url}"\nlinger = 0\n'), "--verbose")
    assert "5 receptions, 0 of them wait" in output
    assert len(stored) == 5


@pytest.mark.services
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_in_order(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log.txt"
    path = config(tmp_path, source=f'[[source]]\nat = "file:{log}?follow=yes"\n')
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    end = time.monotonic() + 20
    while not list((tmp_path / "state" / "spool").glob("*.spool")):
        assert time.monotonic() < end
        time.sleep(0.05)
    second = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "in use by another gateway" in second.stderr
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "5 receptions, 5 of them wait" in said


def test_a_world_as_a_source(tmp_path: Path) -> None:
    world = tmp_path / "world.toml"
    world.write_text(RADIO_WORLD)
    stored: list[Reception] = []
    with web(Receiver(lambda batch, gateway: stored.extend(batch))) as (_, url):
        source = f'[[source]]\nat = "world:{world}?speed=200"\nname = "world"\n'
        path = config(tmp_path, f'---[uplink]\nto = "{url}"\nlinger = 0\n', source)
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 30
        while len(stored) < 5:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert {item.source for item in stored} == {"cellar/world"}
    assert all(item.crc for item in stored)


def test_worlds_that_cannot_be(tmp_path: Path) -> None:
    world = tmp_path / "world.toml"
    world.write_text(RADIO_WORLD)
    with pytest.raises(InputError, match="speed=no"):
        WorldDoor(parse_source(f"world:{world}?speed=no"))
    with pytest.raises(InputError, match="this world has stairs"):
        WorldDoor(parse_source(f"world:{world}?receiver=roof"))
