"""``oms up`` and ``oms headend`` as programs: they tell where they are, and end in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from openmetering.interfaces.cli.main import app
from tests.services.broker import Broker, running_broker
from tests.storage.postgres import Server, postgres_server

__all__ = ["postgres_server"]

OMS = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of its own."""
    yield from running_broker(tmp_path)


@contextmanager
def program(*arguments: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A program that runs, its page, and an address to sign in."""
    log = (folder / "errors").open("w")
    process = subprocess.Popen([*OMS, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
    said = ""
    assert process.stdout is not None
    try:
        while "signs " not in said:
            line = process.stdout.readline()
            assert line, said + (folder / "errors").read_text()
            said += line
        page = re.search(r"^page +(\S+)", said, re.M)
        login = re.search(r"^login +(\S+)", said, re.M)
        assert page
        assert login
        yield process, page[1], login[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        log.close()


def ends(process: subprocess.Popen[str], number: int, folder: Path) -> str:
    """The program ends in order; what it said last."""
    process.send_signal(number)
    rest, _ = process.communicate(timeout=30)
    errors = (folder / "errors").read_text()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert errors.endswith("stopped\n")
    return str(rest)


@pytest.mark.services
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_demonstration(tmp_path: Path, number: int) -> None:
    begun = time.monotonic()
    with program("up", "--demo", "--days", "3", "--port", "0", folder=tmp_path) as (process, page, login):
        assert time.monotonic() - begun < 60
        client = httpx.Client(follow_redirects=True)
        overview = client.get(login)
        assert overview.status_code == 200
        assert "Flat 4.2" in overview.text
        assert len(client.get(f"{page}/api/v1/devices?limit=100").json()["items"]) == 60
        assert httpx.get(login).status_code >= 400
        ends(process, number, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name != "errors"]


@pytest.mark.services
def test_preparation_is_broken_off_in_order(tmp_path: Path) -> None:
    with (tmp_path / "errors").open("w") as log:
        process = subprocess.Popen(
            [*OMS, "up", "--demo", "--days", "700", "--port", "0"], stderr=log, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
        end = time.monotonic() + 60
        while not (made := list(tmp_path.glob("openmetering-*/headend.db"))):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert not made[0].parent.exists()


@pytest.mark.services
def test_data_stay_where_they_are_wanted(tmp_path: Path) -> None:
    telegrams = tmp_path / "telegrams.txt"
    telegrams.write_text("2E4493157856341233037A2A0020055923C95AAA26D1B2E7493B2A8B013EC4A6F6D3529B520EDFF0EA6DEFC99D6D69EBF3\n")
    arguments = ("up", "--source", f"file:{telegrams}", "--data", str(tmp_path / "kept"), "--port", "0")
    with program(*arguments, folder=tmp_path) as (process, page, _):
        until_frames(page, 1)
        ends(process, signal.SIGTERM, tmp_path)
    assert {"headend.db", "master.key", "web.secret"} <= {path.name for path in (tmp_path / "kept").iterdir()}
    assert (tmp_path / "kept" / "master.key").stat().st_mode & 0o077 == 0
    with program(*arguments, folder=tmp_path) as (process, page, login):
        client = httpx.Client(follow_redirects=True)
        client.get(login)
        assert [one["address"] for one in client.get(f"{page}/api/v1/devices").json()["items"]] == ["ELS-12345678-33-03"]
        ends(process, signal.SIGTERM, tmp_path)


def until_frames(page: str, count: int) -> None:
    """Wait until so many telegrams are stored."""
    end = time.monotonic() + 20
    while True:
        text = httpx.get(f"{page}/metrics").text
        total = sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("openmetering_telegrams_total"))
        if total >= count:
            return
        assert time.monotonic() < end, text
        time.sleep(0.05)


@pytest.mark.services
def test_a_head_end_with_postgresql_and_a_broker(tmp_path: Path, postgres_server: Server, broker: Broker) -> None:
    with postgres_server.database() as address:
        (tmp_path / "cellar.secret").write_text("00112233445566778899AABBCCDDEEFF\n")
        (tmp_path / "headend.toml").write_text(f"""
[headend]
database = "{address}"
master_key = "file:master.key"
[web]
port = 0
[receive]
to = "mqtt://127.0.0.1:{broker.port}"
[[gateway]]
name = "cellar"
secret_file = "cellar.secret"
[publish]
host = "127.0.0.1"
port = {broker.port}
devices = "all"
""")
        (tmp_path / "telegrams.txt").write_text(
            "2E4493157856341233037A2A0020055923C95AAA26D1B2E7493B2A8B013EC4A6F6D3529B520EDFF0EA6DEFC99D6D69EBF3\n"
        )
        (tmp_path / "gateway.toml").write_text(f"""
[gateway]
name = "cellar"
state = "state"
[uplink]
to = "mqtt://127.0.0.1:{broker.port}"
[[source]]
at = "file:{tmp_path / "telegrams.txt"}"
""")
        with program("headend", "headend.toml", "--login", "boss", folder=tmp_path) as (process, page, login):
            done = subprocess.run(
                [*OMS, "gateway", "gateway.toml"],
                check=False,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            assert "0 of them wait" in done.stderr
            until_frames(page, 1)
            client = httpx.Client(follow_redirects=True)
            assert client.get(login).status_code == 200
            assert [one["name"] for one in client.get(f"{page}/api/v1/gateways").json()["items"]] == ["cellar"]
            assert client.get(f"{page}/health").json()["parts"]["broker"] == "connected"
            ends(process, signal.SIGTERM, tmp_path)


def said(*arguments: str) -> tuple[int, str]:
    """Exit code and text of a call that opens nothing."""
    done = subprocess.run(
        [*OMS, *arguments],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_configuration_is_checked_without_opening_anything(tmp_path: Path) -> None:
    path = tmp_path / "headend.toml"
    path.write_text('[headend]\ndatabase = "postgresql://me:secret@nowhere/x"\nmaster_key = "file:k"\n[web]\nhost = "0.0.0.0"\n')
    code, text = said("headend", str(path), "--check")
    assert code == 0
    assert "postgresql://me@nowhere/x" in text
    assert "secret" not in text
    assert "not encrypted" in text
    assert not (tmp_path / "k").exists()


def test_a_check_reads_every_secret(tmp_path: Path) -> None:
    path = tmp_path / "headend.toml"
    path.write_text(
        '[headend]\ndatabase = "x.db"\nmaster_key = "file:k"\n[[gateway]]\nname = "cellar"\nsecret_file = "cellar.secret"\n'
        '[mail]\nhost = "mail"\nsender = "a@example.org"\npassword_file = "mail.password"\n'
    )
    code, text = said("headend", str(path), "--check")
    assert code == 2
    assert "the secret of cellar cannot be read" in text
    (tmp_path / "cellar.secret").write_text("00" * 16)
    assert "the password of the mail server cannot be read" in said("headend", str(path), "--check")[1]
    (tmp_path / "mail.password").write_text("pass")
    assert said("headend", str(path), "--check")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[headend]\n", "missing"),
        ('[headend]\ndatabase = "x.db"\nmaster_key = "file:k"\nname = 1\n', "there is no field `name`"),
        ('[headend]\ndatabase = "x.db"\nmaster_key = "file:k"\n[web]\nport = 70000\n', "[web, port]"),
        ('[headend]\ndatabase = "x.db"\nmaster_key = "file:k"\n[web]\ncertificate = "c"\n', "belong together"),
        ('[headend]\ndatabase = "x.db"\nmaster_key = "file:k"\n[receive]\nto = "https://x"\n', "no broker"),
        (
            '[headend]\ndatabase = "x.db"\nmaster_key = "file:k"\n[[gateway]]\nname = "a"\n[[gateway]]\nname = "a"\n',
            "two are named",
        ),
        ("[headend", "no TOML"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "headend.toml"
    path.write_text(content)
    result = CliRunner().invoke(app, ["headend", str(path), "--check"])
    assert result.exit_code != 0
    assert "headend.toml" in str(result.exception)
    assert words in str(result.exception)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as door:
        code, text = said("up", "--demo", "--days", "0", "--port", str(door.getsockname()[1]))
    assert code == 1
    assert "another program uses it" in text
    assert "Traceback" not in text


def test_what_is_to_be_shown_must_be_said() -> None:
    code, text = said("up")
    assert code == 2
    assert "--demo" in text
