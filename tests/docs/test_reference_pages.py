"""The reference pages: nothing that the program has is missing from them, and what they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from typer.main import get_command

from openmetering.interfaces.cli.main import app
from openmetering.interfaces.web.app import create_app
from openmetering.interfaces.web.machines import Health, machine_routes
from openmetering.interfaces.web.settings import WebSettings
from openmetering.services.gatewayd.messages import Reply
from openmetering.services.headend.headend import HeadEnd, now_utc
from openmetering.services.headend.vault import Vault
from openmetering.storage.database import Database

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.parts))]


@pytest.fixture
def application() -> Iterator[Litestar]:
    """The web application with its routes for machines, without data."""

    def refuse(*_: object) -> Reply:
        raise AssertionError("nobody reports")

    with Database.open(":memory:") as database, HeadEnd(database, Vault(database, bytes(16), now_utc)) as head_end:
        machines = machine_routes(
            health=lambda: Health(True, {}), exposition=lambda accept: (accept, b""), handle=refuse, gateway_tokens={"a": "b"}
        )
        yield create_app(head_end, WebSettings(secret="of a test that signs nothing at all"), pages=machines)


def routes(application: Litestar) -> set[tuple[str, str]]:
    """Method and path of everything that programs may call; names of parameters as OpenAPI writes them."""
    found = {
        (method, re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path))
        for route in application.routes
        for method in getattr(route, "methods", ())
        if method not in ("OPTIONS", "HEAD")
    }
    return {(method, path) for method, path in found if not path.startswith("/static")}


@pytest.mark.usefixtures("extension")
def test_every_route_is_described_with_its_scope(application: Litestar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pages
    import rest

    monkeypatch.setattr(pages, "GENERATED", tmp_path)
    rest.generate(None, None)
    text = (tmp_path / "_rest.md").read_text()
    described = set(re.findall(r"^### (\w+) `(\S+)`$", text, re.MULTILINE))
    there = {(method, path) for method, path in routes(application) if path.startswith("/api/v1/")}
    assert len(there) > 50
    assert described == there
    assert len(re.findall(r"^Scope: ", text, re.MULTILINE)) == len(described)
    schema = rest.description()
    for status in {code for item in schema["paths"].values() for one in item.values() for code in one["responses"]}:
        assert status < "400" or f"| {status} | " in text


def test_the_routes_for_machines_are_described(application: Litestar) -> None:
    text = (DOCS / "reference" / "reliability.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+) (\S+)` \|", text, re.MULTILINE))
    machines = {(method, path.replace("{name}", "NAME")) for method, path in routes(application) if not path.startswith("/api")}
    assert described == {one for one in machines if one[1] != "/"}


@pytest.mark.usefixtures("extension")
def test_every_key_of_the_configuration_has_a_meaning() -> None:
    import configuration

    there = {
        (file, section.name, key.name)
        for file, made in configuration.FILES.items()
        for section in configuration.sections(made)
        for key in section.keys
    }
    meanings = configuration.meanings()
    assert set(meanings) == there
    assert all(text.strip() for text in meanings.values())
    assert not [text for text in meanings.values() if "|" in text]  # it would end the cell


@pytest.mark.usefixtures("extension")
def test_kinds_and_defaults_are_those_of_the_code() -> None:
    import configuration

    headend, gateway = ("\n".join(configuration.page(file)) for file in ("headend", "gateway"))
    assert "| `database` | text | must be there |" in headend
    assert "| `port` | number, 0 to 65535 | `8080` |" in headend
    assert "| `tick` | number, more than 0, at most 3600 | `30.0` |" in headend
    assert "### `[publish.tls]`" in headend
    assert "### `[[gateway]]`" in headend
    assert "### `[[source.poll]]`" in gateway
    assert "| `keep` | every, best, status | must be there |" in gateway
    assert '| `limit` | number or text | `"1GiB"` |' in gateway


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    members = getattr(command, "commands", {})
    if not members:
        yield path
    for name, member in members.items():
        if not member.hidden:
            yield from leaves(member, (*path, name))


def test_every_command_has_its_exit_codes() -> None:
    text = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `oms")]
    described: set[str] = set()
    for row in rows:
        group = row[0].split()[1]
        described |= {name.removeprefix("oms ") if name.startswith("oms ") else f"{group} {name}" for name in row}
    for words in leaves(get_command(app)):
        assert {" ".join(words), words[0]} & described, f"oms {' '.join(words)} has no row"


def test_what_pages_name_in_the_repository_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for place in re.findall(r"`((?:tests|packaging|examples|benchmarks|src/openmetering)/[\w/.-]+)`", text):
            assert (ROOT / place).exists(), f"{page.name} names {place}"
        shell = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
        for target in [*re.findall(r"`make ([a-z]+)`", text), *re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)]:
            assert target in targets, f"{page.name} names make {target}"
