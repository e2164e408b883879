"""Our own vectors, one file per telegram: decoded as stated and encoded back octet for octet.

``tests/vectors/spec`` restates published examples with their clause; ``devices`` holds invented meters made with
our encoder; ``regressions`` what once went wrong; ``malformed`` what must be a fault.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openmetering import Decoder, Record, Telegram, answer, encode, encode_fragments
from openmetering.tables import FAULTS
from openmetering.wire.types import MeterTime
from tests.telegram.building import KEY, WATER, frame, wireless

FOLDER = Path(__file__).parents[1] / "vectors"
_FIELDS = {"origin", "licence", "clause", "expected"}


def load() -> dict[str, dict[str, Any]]:
    """All files of one telegram; files of other shape belong to the tests of single layers."""
    found = {}
    for path in sorted(FOLDER.rglob("*.toml")):
        vector = tomllib.loads(path.read_text(encoding="utf-8"))
        if isinstance(vector.get("expected"), dict) and ("hex" in vector or "frames" in vector):
            found[str(path.relative_to(FOLDER))] = vector
    return found


VECTORS = load()
CANONICAL = [name for name, vector in VECTORS.items() if vector.get("canonical", True)]


def frames_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(text) for text in vector.get("frames", [vector.get("hex")])]


def key_of(vector: dict[str, Any]) -> bytes | None:
    return bytes.fromhex(vector.get("key", "")) or None


def read(vector: dict[str, Any]) -> list[Telegram]:
    decoder = Decoder(key_of(vector))
    return [decoder.examine(octets) for octets in frames_of(vector)]


def text_of(record: Record) -> str:
    value = record.value
    if isinstance(value, MeterTime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex().upper()
    return (record.number_text() if isinstance(value, Decimal) else value) or ""


def facts_of(telegram: Telegram) -> dict[str, Any]:
    """Everything that a vector may state, under the same names."""
    link, transport, security = telegram.link, telegram.transport, telegram.security
    return {
        "error": telegram.error and telegram.error.code,
        "warnings": [warning.code for warning in telegram.warnings],
        "message": link and link.message,
        "address": telegram.address and str(telegram.address),
        "ci": transport and f"{transport.ci:02X}",
        "access_number": transport and transport.access_number,
        "status": transport and transport.status,
        "mode": security.mode,
        "state": security.state,
        "proof": security.proof,
        "counter": security.counter,
        "payload": None if telegram.payload is None else telegram.payload.hex().upper(),
        "application": type(telegram.application).__name__ if telegram.application else None,
        "manufacturer_data": None if telegram.manufacturer_data is None else telegram.manufacturer_data.hex().upper(),
        "records": [
            [item.quantity, text_of(item), item.unit, item.function, item.storage, item.tariff, item.subunit]
            for item in telegram.records
        ],
    }


@pytest.mark.parametrize("name", VECTORS)
def test_decoded_as_stated(name: str) -> None:
    vector = VECTORS[name]
    stated = vector["expected"]
    telegram = read(vector)[-1]
    found = facts_of(telegram)
    assert {field: found[field] for field in stated} == stated
    for field in ("error", "proof", "records", "application"):
        assert field in stated or not found[field]
    typed = answer(telegram)
    assert typed.ok == ("error" not in stated)


@pytest.mark.parametrize("name", CANONICAL)
def test_encoded_back(name: str) -> None:
    vector = VECTORS[name]
    frames, telegrams, key = frames_of(vector), read(vector), key_of(vector)
    if "frames" not in vector or not any(telegram.fragment for telegram in telegrams):
        assert [encode(telegram, key) for telegram in telegrams] == frames
        return
    assert [encode(telegram, key) for telegram in telegrams[:-1]] == frames[:-1]
    parts = list(dict.fromkeys(frames))
    sizes = [size_of(Decoder().examine(octets)) for octets in parts]
    last = telegrams[-1]
    last.ell = telegrams[0].ell
    assert encode_fragments(last, key, sizes) == parts


def size_of(telegram: Telegram) -> int:
    """Message octets of a fragment."""
    assert telegram.link is not None
    assert telegram.afl is not None
    ell = b"" if telegram.ell is None else telegram.ell.encode()
    return len(telegram.link.data) - len(ell) - len(telegram.afl.encode())


@pytest.mark.parametrize("name", VECTORS)
def test_every_file_says_where_it_comes_from(name: str) -> None:
    vector = VECTORS[name]
    assert set(vector) >= _FIELDS
    assert vector["clause"] not in ("", "-")
    if name.startswith("spec"):
        assert "restated" in vector["licence"]
    else:
        assert vector["licence"] == "Apache-2.0"
        assert "own encoder" in vector["origin"] or "made for this test" in vector["origin"]
    if name.startswith("malformed"):
        assert vector["expected"]["error"] in FAULTS


def test_enough_of_every_kind() -> None:
    count = {kind: sum(name.startswith(kind) for name in VECTORS) for kind in ("spec", "devices", "regressions", "malformed")}
    assert count["spec"] >= 28
    assert count["devices"] >= 14
    assert count["regressions"] >= 17
    assert count["malformed"] >= 23
    modes = {vector["expected"].get("mode") for vector in VECTORS.values()}
    assert {None, 0, 5, 7, 10} <= modes


@pytest.mark.parametrize("name", [name for name in CANONICAL if "hex" in VECTORS[name]])
def test_octets_one_shorter_each_time(name: str) -> None:
    """A cut telegram is a fault; if anything is read, it is a beginning of what was sent."""
    octets, key = frames_of(VECTORS[name])[0], key_of(VECTORS[name])
    whole = Decoder(key).examine(octets)
    for end in range(max(len(octets) - 40, 0), len(octets)):
        telegram = Decoder(key).examine(octets[:end])
        assert telegram.error is not None
        assert telegram.records == whole.records[: len(telegram.records)]


def test_the_regression_of_the_access_number() -> None:
    """CI and access number equal the first CRC of format A; with CRCs the frame is longer, so the length tells."""
    vector = VECTORS["regressions/access_number_like_a_crc.toml"]
    octets = frames_of(vector)[0]
    assert octets[10:12] == crc_of(octets[:10])
    link = Decoder().examine(octets).link
    assert link is not None
    assert link.data == octets[10:]
    assert wireless(link.data, address=link.address) == octets  # type: ignore[arg-type]
    assert len(frame(WATER, keys=KEY)) == len(octets)


def crc_of(octets: bytes) -> bytes:
    """CRC of EN 13757-4, computed bit by bit: polynomial 3D65h, complemented."""
    crc = 0
    for octet in octets:
        crc ^= octet << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x3D65 if crc & 0x8000 else crc << 1) & 0xFFFF
    return (crc ^ 0xFFFF).to_bytes(2, "big")
