"""Test vectors: our own files under ``tests/vectors`` and, where present, the shared ones.

``own`` and ``shared`` give parameters for ``pytest.mark.parametrize``, one per entry, named after it.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from openmetering.errors import DecodeError
from openmetering.tables import FAULTS

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT / "tests" / "vectors"
SHARED = Path(os.environ.get("OPENMETERING_CORPUS") or ROOT / ".." / "shared") / "vectors"
ABSENT = "the shared vectors are absent; OPENMETERING_CORPUS names their folder"

Entry = dict[str, Any]


@cache
def read_own(file: str) -> Entry:
    """One of our files, e.g. ``spec/link_wired.toml``."""
    return tomllib.loads((VECTORS / file).read_text(encoding="utf-8"))


def own(file: str, section: str) -> list[Any]:
    """Parameters of one section of one of our files."""
    return [pytest.param(entry, id=entry["name"]) for entry in read_own(file)[section]]


@cache
def read_shared(file: str) -> Entry | None:
    """A shared file, None where it is absent."""
    path = SHARED / file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def shared(file: str, fits: Callable[[Entry], object], section: str = "vectors") -> list[Any]:
    """Parameters of the fitting shared vectors; one skipped parameter where the file is absent."""
    content = read_shared(file)
    if content is None:
        return [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT), id="absent")]
    rows = content[section]["items"] if isinstance(content[section], dict) else content[section]
    found = [row for row in rows if fits(row)]
    assert found, f"no vector of {file} fits"
    return [pytest.param(row, id=f"{_name(row)}-{number}") for number, row in enumerate(found)]


def _name(row: Entry) -> str:
    return str(row.get("name") or row.get("id") or row.get("vib_type"))


def octets(text: str) -> bytes:
    """Octets of hexadecimal text with blanks."""
    return bytes.fromhex(text)


def assert_ours(error: DecodeError, layers: str | tuple[str, ...], data: bytes, *codes: str) -> None:
    """An error of ours says which layer, where in its input, and with which stable code (one of ``codes`` if named)."""
    assert isinstance(error, DecodeError)
    assert error.layer in ((layers,) if isinstance(layers, str) else layers)
    assert error.offset is not None
    assert 0 <= error.offset <= len(data)
    assert error.code in (codes or FAULTS)
    assert error.message


def assert_prefixes_raise(decode: Callable[[bytes], object], data: bytes, layers: str | tuple[str, ...]) -> None:
    """Every shorter prefix raises one of our errors, with layer and offset."""
    for end in range(len(data)):
        with pytest.raises(DecodeError) as caught:
            decode(data[:end])
        assert_ours(caught.value, layers, data[:end])
