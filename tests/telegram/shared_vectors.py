"""The vectors beside the repository: which entries there are, which count here, what differs and why.

They are found through OPENMETERING_CORPUS (the folder that holds ``vectors``); nothing of them is copied.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vector = dict[str, Any]

FOLDER = Path(os.environ.get("OPENMETERING_CORPUS", Path(__file__).parents[2] / ".." / "shared")) / "vectors"
FILES = ("security.json", "application.json", "annex_n_extra.json")
ABSENT = "the shared vectors are absent; set OPENMETERING_CORPUS to the folder that holds vectors/"

#: kinds of application.json
TELEGRAMS = ("wmbus-format-A-with-crc", "wmbus-no-crc", "mbus-long-frame", "mbus-command", "mbus-fixed-data")
APDUS = ("apdu-records", "apdu-compact-profile", "apdu-with-ci")

#: entries that are not of link, ELL, AFL, transport, security or application layer: name (or its start) -> reason
OUT_OF_SCOPE = {
    "synchronous interval factor": "timing of the radio: belongs to protocol",
    "Q.K": "MAC layer of OMS LPWAN: belongs to radio and protocol",
    "F.F example certificate": "an X.509 certificate of the TLS handshake: carried intact, not read",
}

#: (entry, DIB and VIB or field) -> what we say instead, and why
DEVIATIONS: dict[tuple[str, str], tuple[object, str]] = {
    ("emerlin_water_battery", "426C"): (None, "0000h is no date: invalid by the corrected rule, never shown as 2000-00"),
    ("libmbus_siemens_water", "326C"): (None, "0000h is no date: invalid by the corrected rule, never shown as 2000-00"),
    ("libmbus_example_data_01", "055B"): ("41.737434", "shortest decimal of the 32-bit float; the rest are digits of a double"),
    ("libmbus_example_data_01", "055F"): ("35.46365", "shortest decimal of the 32-bit float; the rest are digits of a double"),
    ("libmbus_landis+gyr_ultraheat_t230", "9410AD6F"): (None, "VIFE 6F makes it a date (end of last); the statement ignores it"),
    ("libmbus_landis+gyr_ultraheat_t230", "9410BB6F"): (None, "VIFE 6F makes it a date (end of last); the statement ignores it"),
    ("libmbus_landis+gyr_ultraheat_t230", "9410DA6F"): ("2011-08-26T20:50", "VIFE 6F makes it a date (end of last)"),
    ("libmbus_landis+gyr_ultraheat_t230", "9410DE6F"): ("2011-08-09T11:43", "VIFE 6F makes it a date (end of last)"),
    ("libmbus_landis+gyr_ultraheat_t230", "848F0F6D"): ("*-01-01T00:00", "year 127 means every year, not 2027"),
}
#: (entry, DIB and VIB) -> the tag we give where the entry gives none or another, and why
TAG_DEVIATIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("N.13 SND-NR data points", "CD016D"): ("DT1!B", "base time of the profiles in data type M, as N.13 itself uses it"),
}
#: entries whose decoding ends with a fault although the statement names none: code and reason
EXPECTED_FAULTS = {
    "ELL-II AES-CTR Kamstrup flowIQ2200 (ELA)": ("compact.unknown_format", "nobody published the format of its compact frame"),
    "mode 5 field frame unismart": ("record.truncated", "the meter cut its last record; the plaintext is as stated"),
    "frame format B with third block (L=86h)": ("record.truncated", "synthetic octets 11h behind the header are no records"),
}
#: entries that name no key although their content is encrypted: where the key stands
KEYS_OF = {
    "N.2.1 frame re-framed in format B": "N.2.1 SND-NR",
    "N.13 frame re-framed in format B (3 blocks)": "N.13 SND-NR",
}
_MARKS = ("computed", "proposal", "provisional", "constructed")


def read(name: str) -> list[Vector]:
    """All entries of a file; none where it is absent."""
    path = FOLDER / name
    if not path.is_file():
        return []
    entries: list[Vector] = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    return entries


def layer(vector: Vector) -> str:
    """The kind of an entry under one name for all files."""
    return str(vector.get("frame_format") or vector.get("kind") or "annex")


def in_scope(vector: Vector) -> bool:
    return not any(vector["name"].startswith(start) for start in OUT_OF_SCOPE)


def title(vector: Vector) -> str:
    """Test id: the name, and what the entry says about its own standing."""
    standing = f"{vector.get('status', '')} {vector.get('origin', '')}"
    marks = [mark for mark in _MARKS if mark in standing]
    return f"{vector['name']} [{' '.join(marks)}]" if marks else str(vector["name"])


def vectors(name: str, fits: Callable[[Vector], bool]) -> list[Any]:
    """Parameters of all entries in scope that fit; one skipped parameter where the file is absent."""
    entries = read(name)
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT), id="absent")]
    found = [pytest.param(vector, id=title(vector)) for vector in entries if in_scope(vector) and fits(vector)]
    assert found, f"no entry of {name} fits"
    return found


def of_kind(*kinds: str) -> Callable[[Vector], bool]:
    return lambda vector: layer(vector) in kinds


def key_of(vector: Vector) -> bytes | None:
    """The key of an entry, its own or that of the entry it was made from."""
    source = vector
    if vector["name"] in KEYS_OF:
        source = next(item for item in read("security.json") if item["name"] == KEYS_OF[vector["name"]])
    return bytes.fromhex(source.get("key") or "") or None
