"""Vectors for the security tests: our own (``tests/vectors/spec``) and the shared ones.

A test that asks for the argument ``own_<kind>`` runs once per entry of
``annex_n_security.toml``; ``shared_<kind>`` runs once per fitting entry of
``$OPENMETERING_CORPUS/vectors/security.json`` and is skipped where that file is absent.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "tests" / "vectors" / "spec" / "annex_n_security.toml"
SHARED = Path(os.environ.get("OPENMETERING_CORPUS", ROOT / ".." / "shared")) / "vectors" / "security.json"


def _mode(number):
    def fits(vector):
        expected = vector["expected"]
        tpl = expected.get("tpl", {})
        encrypted = expected.get("mode", tpl.get("mode")) == number and "key" in vector
        return encrypted and "plaintext" in (expected if vector["frame_format"] == "message" else tpl)

    return fits


SELECT = {
    "shared_mode5": _mode(5),
    "shared_mode7": _mode(7),
    "shared_mode10": _mode(10),
    "shared_proposal": lambda vector: "lenc" in vector["expected"],
    "shared_ell": lambda vector: "decrypted_payload" in vector["expected"].get("ell", {}),
    "shared_kdf": lambda vector: "derived_key" in vector["expected"],
    "shared_wrap": lambda vector: "wrapped" in vector["expected"],
    "shared_named": lambda vector: vector["frame_format"] in ("sitp-mac", "sitp", "kdf"),
}


def pytest_generate_tests(metafunc):
    for name in metafunc.fixturenames:
        if name.startswith("own_"):
            entries = tomllib.loads(OWN.read_text())[name.removeprefix("own_")]
            metafunc.parametrize(name, [pytest.param(entry, id=entry["clause"].split(",")[0]) for entry in entries])
        elif name in SELECT:
            metafunc.parametrize(name, _shared(SELECT[name]))


def _shared(fits):
    if not SHARED.is_file():
        reason = "shared vectors are absent, set OPENMETERING_CORPUS"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    vectors = json.loads(SHARED.read_text())["vectors"]
    return [pytest.param(vector, id=vector["name"]) for vector in vectors if fits(vector)]
