"""Vectors of the application protocols: our own files and, where present, the shared ones."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from openmetering.errors import OmsError

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "tests" / "vectors" / "spec"
SHARED = Path(os.environ.get("OPENMETERING_CORPUS", ROOT / ".." / "shared")) / "vectors"
ABSENT = "shared vectors are absent, set OPENMETERING_CORPUS"


def own(file, section):
    """Parameters of a section of one of our files; a section that is one table gives one parameter."""
    entries = tomllib.loads((SPEC / file).read_text(encoding="utf-8"))[section]
    entries = entries if isinstance(entries, list) else [entries]
    return [pytest.param(entry, id=entry["name"]) for entry in entries]


def shared(file, fits):
    """Parameters of all shared vectors that fit; one skipped parameter where the file is absent."""
    path = SHARED / file
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT), id="absent")]
    found = [vector for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"] if fits(vector)]
    assert found, f"no vector of {file} fits"
    return [pytest.param(vector, id=vector["name"]) for vector in found]


def of_kind(kind):
    return lambda vector: vector.get("kind") == kind


def octets_of(vector):
    return bytes.fromhex(vector["hex"])


def attempt(decode, octets):
    """What the decoder makes of the octets and the error it raises; any error that is not ours breaks the test."""
    try:
        return decode(octets), None
    except OmsError as error:
        return None, error


def assert_prefixes(decode, octets):
    """Every prefix either decodes to something that encodes back, or raises one of our errors of layer apl."""
    for end in range(len(octets)):
        value, error = attempt(decode, octets[:end])
        if error is None:
            assert value.encode() == octets[:end]
        else:
            assert error.layer == "apl"
            assert error.code != "oms.error"
            assert error.offset is None or 0 <= error.offset <= end
