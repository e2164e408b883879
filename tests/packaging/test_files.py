"""What is shipped beside the package: units, image, dashboards and alerts name things that are there."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from openmetering.interfaces.assembly.config import read_config
from openmetering.interfaces.metrics import COUNTED, Metrics

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
_NAME = re.compile(r"openmetering_[a-z_]+")
_LABELS = re.compile(r"(?:by|without) \(([^)]*)\)|\{([a-z_]+)[=!]|legendFormat\": \"\{\{([a-z]+)\}\}")


def known() -> tuple[set[str], set[str]]:
    """Names of all metrics, and of all labels."""
    metrics = Metrics(lambda: 0.0)
    metrics.watch_queue("webhooks", lambda: 0)
    for name, (text, labels, _) in COUNTED.items():
        metrics.watch_counts(name, text, labels, lambda labels=labels: {labels: 1})  # type: ignore[misc]
    metrics.batch(1, 0.1)
    described = {family.name: family for family in metrics.registry.collect()}
    names: set[str] = set()
    for name, family in described.items():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}.get(family.type, ("",))
        names |= {name + end for end in ends}
    return names, {"source", "result", "queue", "event", "version", "le", "kind", "severity", "state", "medium"}


@pytest.mark.parametrize("path", sorted(PACKAGING.glob("grafana/*.json")), ids=lambda path: path.stem)
def test_dashboards_use_metrics_that_are_there(path: Path) -> None:
    text = path.read_text()
    board = json.loads(text)
    assert board["schemaVersion"] >= 36
    assert board["uid"].startswith("openmetering-")
    assert [one["name"] for one in board["templating"]["list"]] == ["datasource"]
    names, labels = known()
    used = {name for panel in board["panels"] for target in panel["targets"] for name in _NAME.findall(target["expr"])}
    assert used
    assert used <= names
    for found in _LABELS.finditer(text):
        for label in re.split(r",\s*", next(group for group in found.groups() if group)):
            assert label in labels, found[0]
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])


def test_alerts_use_metrics_that_are_there() -> None:
    used = set(_NAME.findall((PACKAGING / "prometheus" / "alerts.yml").read_text()))
    assert used
    assert used <= known()[0]


@pytest.mark.parametrize("name", ["gateway", "headend"])
def test_units_are_hardened_and_call_what_is_there(name: str) -> None:
    path = PACKAGING / "systemd" / f"openmetering-{name}.service"
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    service = unit["Service"]
    assert service["ExecStart"].split()[1] == name
    assert service["StateDirectory"] == f"openmetering-{name}"
    for setting in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert service[setting] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    program = shutil.which("systemd-analyze")
    if program is not None:
        done = subprocess.run([program, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
        wrong = [line for line in done.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]
        assert not wrong


def test_the_image_is_not_root_and_says_how_it_is() -> None:
    lines = (PACKAGING / "docker" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    assert all(":" in rest and ":latest" not in rest for word, rest in steps if word == "FROM")
    users = [rest for word, rest in steps if word == "USER"]
    assert users == ["openmetering"]
    assert any(word == "HEALTHCHECK" and "/health" in rest for word, rest in steps)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in steps:
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == one or source.startswith(f"{one}/") for one in allowed), source


def test_the_samples_of_the_compose_file_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PACKAGING / "docker"
    config = read_config((folder / "config" / "headend.toml").read_bytes(), Path("/config"))
    assert config.web is not None
    assert config.web.host == "0.0.0.0"
    assert {config.headend.archive, config.web.secret_file, config.headend.master_key} == {
        "/data/archive", "/data/web.secret", "file:/data/master.key",
    }  # fmt: skip
    monkeypatch.setenv("OPENMETERING_DATABASE", "postgresql://x")
    assert config.database_url() == "postgresql://x"
    mounts = re.findall(r"- (\./\S+?):(/\S+?)(?::ro)?$", (folder / "compose.yaml").read_text(), re.M)
    assert {there for _, there in mounts} == {"/config", "/config/ca.pem", "/mosquitto/config"}
    for here, _ in mounts:
        assert (folder / here).exists() or here.endswith("ca.pem")
    broker = (folder / "mosquitto" / "mosquitto.conf").read_text()
    assert "acl_file /mosquitto/config/acl" in broker
