"""The pages for tenants and operators: their commands exist, their files are read, and together they run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from openmetering.interfaces.cli.main import app
from tests.interfaces.mqtt.tls_files import make_certificates
from tests.services.broker import Broker, free_port, running_broker
from tests.storage.postgres import Server, postgres_server

__all__ = ["postgres_server"]

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = (ROOT / "docs" / "howto" / "operator.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("howto/*.md")), *sorted((ROOT / "docs").glob("reference/*.md"))]
OMS = [sys.executable, "-c", "from openmetering.interfaces.cli.main import main; main()"]
GATEWAY = "elm-street-3"
FRAME = "2E4493157856341233037A2A0020055923C95AAA26D1B2E7493B2A8B013EC4A6F6D3529B520EDFF0EA6DEFC99D6D69EBF3\n"

_SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_FILE = re.compile(r"```(?:toml|text)\n# (\S+)\n(.*?)```", re.DOTALL)
FILES: dict[str, str] = dict(_FILE.findall(OPERATOR))
CONFIGURATIONS = {name: FILES[f"/etc/openmetering/{name}.toml"] for name in ("headend", "gateway")}
SECRETS = {
    "headend.password": "password of headend",
    "broker.password": f"password of {GATEWAY}",
    f"{GATEWAY}.secret": "00112233445566778899AABBCCDDEEFF",
}
_HOME: dict[str, str] = dict(_FILE.findall((ROOT / "docs" / "howto" / "home-assistant.md").read_text(encoding="utf-8")))
AT_HOME = {name: _HOME[f"{name}.toml"] for name in ("headend", "gateway")}
SECRETS_AT_HOME = {"gateway.token": "0" * 64, "gateway.secret": "1" * 32, "mqtt.password": "any"}


def calls() -> Iterator[tuple[str, str]]:
    """Every call of ``oms`` in a block of shell commands, and its page."""
    for page in PAGES:
        for block in _SHELL.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                found = re.search(r"(?:^|\| )(oms [^|]*)", line)
                if found is not None:
                    yield page.name, found[1].split(" > ")[0].strip()


CALLS = sorted(set(calls()))


def named(words: list[str]) -> Any:
    """The command that words call; its name is taken away. A group is known by its members, as Typer may bring its own Click."""
    command = get_command(app)
    while (members := getattr(command, "commands", None)) and words[0] not in ("COMMAND", "--help"):
        assert words[0] in members, f"there is no command {words[0]}"
        command = members[words.pop(0)]
    return command


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{page}: {call[:50]}" for page, call in CALLS])
def test_commands_and_options_are_there(page: str, call: str) -> None:
    words = shlex.split(call, comments=True)[1:]
    command = named(words)
    options = {name: one for one in command.params if one.param_type_name == "option" for name in one.opts + one.secondary_opts}
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    values = 0
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            values += 1
        elif word != "--help":
            assert word in options, f"there is no option {word}"
            if not options[word].is_flag:
                assert words, f"{word} is given nothing"
                words.pop(0)
    if not hasattr(command, "commands") and "--help" not in call:
        assert values >= sum(one.required for one in arguments), "something is left out"
        assert values <= len(arguments) or any(one.nargs < 0 for one in arguments), "something is too much"


def written(folder: Path, files: dict[str, str], secrets: dict[str, str], places: dict[str, str]) -> None:
    """The files of a page in a folder, with other places in them; each of these must stand on the page."""
    for name, secret in secrets.items():
        (folder / name).write_text(f"{secret}\n")
    for old in places:
        assert any(old in content for content in files.values()), f"the page does not say {old!r} any more"
    for name, content in files.items():
        (folder / f"{name}.toml").write_text(reduce(lambda text, place: text.replace(*place), places.items(), content))


@pytest.mark.parametrize("command", ["headend", "gateway"])
@pytest.mark.parametrize(("files", "secrets", "broker"), [
    (CONFIGURATIONS, SECRETS, "broker.example"),
    (AT_HOME, SECRETS_AT_HOME, "homeassistant.local"),
], ids=["operator", "home"])  # fmt: skip
def test_the_configurations_of_the_pages_are_read(
    command: str, files: dict[str, str], secrets: dict[str, str], broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENMETERING_DATABASE", "postgresql://openmetering:hidden@localhost/openmetering")
    written(tmp_path, files, secrets, {})
    result = CliRunner().invoke(app, [command, str(tmp_path / f"{command}.toml"), "--check"])
    assert result.exit_code == 0, result.output or result.exception
    assert command == "gateway" or broker in result.output
    assert "hidden" not in result.output


def test_the_units_are_those_of_the_page() -> None:
    for name, content in CONFIGURATIONS.items():
        unit = (ROOT / "packaging" / "systemd" / f"openmetering-{name}.service").read_text()
        assert f"/etc/openmetering/{name}.toml" in unit
        assert f"/var/lib/openmetering-{name}" in content
        assert f"cp packaging/systemd/openmetering-{name}.service" in OPERATOR
    for place in re.findall(r"`(packaging/\S+)`", OPERATOR):
        assert (ROOT / place).exists()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker with users, rights and TLS as the page sets it up."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        if os.environ.get("OPENMETERING_REQUIRE_SERVICES") == "1":
            pytest.fail("mosquitto_passwd is not installed (apt-get install mosquitto)")
        pytest.skip("mosquitto_passwd is not installed")
    passwords, acl = tmp_path / "passwords", tmp_path / "acl"
    passwords.touch(0o600)
    acl.write_text(FILES["/etc/mosquitto/acl"])
    acl.chmod(0o600)
    for user in ("headend", GATEWAY):
        subprocess.run([program, "-b", passwords, user, f"password of {user}"], check=True, capture_output=True)
    settings = FILES["/etc/mosquitto/conf.d/openmetering.conf"]
    settings = settings.replace("/etc/mosquitto/passwords", str(passwords)).replace("/etc/mosquitto/acl", str(acl))
    kept = [line for line in settings.splitlines() if not line.startswith(("listener", "certfile", "keyfile"))]
    yield from running_broker(tmp_path / "broker", "\n".join(kept), make_certificates(tmp_path))


@contextmanager
def program(folder: Path, *arguments: str, until: str = "") -> Iterator[str]:
    """A program that runs, and what it said up to a word; it ends in order."""
    with (folder / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen([*OMS, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
        try:
            said = ""
            assert process.stdout is not None
            while until not in said:
                line = process.stdout.readline()
                assert line, said + (folder / f"{arguments[0]}.log").read_text()
                said += line
            yield said
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert process.returncode == 0, (folder / f"{arguments[0]}.log").read_text()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.mark.services
def test_what_the_page_sets_up_runs(
    tmp_path: Path, broker: Broker, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, broker with TLS, head-end and gateway as on the page; only places differ, and a file is heard for the stick."""
    (tmp_path / "telegrams.txt").write_text(FRAME)
    assert broker.tls is not None
    (tmp_path / "ca.pem").write_bytes(broker.tls[0].read_bytes())
    places = {
        "broker.example:8883": f"127.0.0.1:{broker.port}",
        "broker.example": "127.0.0.1",
        "port = 8883": f"port = {broker.port}",
        "port = 8080": "port = 0",
        "/var/lib/openmetering-headend": str(tmp_path),
        "/var/lib/openmetering-gateway": str(tmp_path / "state"),
        "serial:/dev/ttyUSB0?stick=im871a": f"file:{tmp_path / 'telegrams.txt'}",
        "sends = true": "sends = false",
        "mbus:/dev/ttyUSB1": f"mbus:{tmp_path / 'no-line'}",
    }
    written(tmp_path, CONFIGURATIONS, SECRETS, places)
    with postgres_server.database() as address:
        monkeypatch.setenv("OPENMETERING_DATABASE", address)
        with program(tmp_path, "headend", "headend.toml", "--login", "admin", until="signs ") as said:
            page = said.split("page", 1)[1].split()[0]
            with program(tmp_path, "gateway", "gateway.toml"):
                until_stored(page, tmp_path)
            assert "/login/once/" in said
    assert (tmp_path / "master.key").stat().st_mode & 0o077 == 0


@pytest.mark.services
def test_a_gateway_that_reports_by_http_at_home(tmp_path: Path) -> None:
    (tmp_path / "telegrams.txt").write_text(FRAME)
    port = free_port()
    for broker in running_broker(tmp_path / "broker"):
        places = {
            'host = "homeassistant.local"': f'host = "127.0.0.1"\nport = {broker.port}',
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "serial:/dev/ttyUSB0?stick=im871a": f"file:{tmp_path / 'telegrams.txt'}",
            "sends = true": "sends = false",
            "[[gateway]]": f"[web]\nport = {port}\n[[gateway]]",
        }
        written(tmp_path, AT_HOME, SECRETS_AT_HOME, places)
        with program(tmp_path, "headend", "headend.toml", "--login", "me", until="signs ") as said:
            page = said.split("page", 1)[1].split()[0]
            done = subprocess.run(
                [*OMS, "gateway", "gateway.toml"], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            until_stored(page, tmp_path)


def until_stored(page: str, folder: Path) -> None:
    """Wait until a telegram is stored and the head-end has all its brokers."""
    until = time.monotonic() + 30
    while True:
        parts = httpx.get(f"{page}/health").json()["parts"]
        joined = [parts[name] for name in ("broker", "publisher") if name in parts]
        assert joined
        if stored(httpx.get(f"{page}/metrics").text) and set(joined) == {"connected"}:
            return
        assert time.monotonic() < until, f"{parts}\n" + "".join(path.read_text() for path in folder.glob("*.log"))
        time.sleep(0.1)


def stored(text: str) -> float:
    """Telegrams that the head-end has stored."""
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("openmetering_telegrams_total"))
