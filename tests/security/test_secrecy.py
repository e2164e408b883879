"""Keys show in no text, error, pickle or serialisation; every code of this floor is listed."""

import copy
import csv
import pickle
import re
import traceback
from pathlib import Path

import msgspec
import pytest

import openmetering.security
from openmetering import errors
from openmetering.errors import OmsError
from openmetering.security import (
    AddressPattern,
    BlockCipher,
    DesCipher,
    Key,
    KeyRing,
    asp01_unwrap,
    check_afl_mac,
    open_cbc,
    open_ell,
    open_mode10,
    parse_key,
    session_keys,
)

SECRET = bytes.fromhex("DEADBEEF0BADF00DCAFEBABE8BADF00D")
DES_SECRET = SECRET[:8]
METER = bytes.fromhex("9315785634123303")


def shows(text, secret=SECRET):
    """True if any four octets of the secret stand in the text, as hex, as Python bytes or as numbers."""
    for start in range(0, len(secret) - 3, 2):
        part = secret[start : start + 4]
        forms = (part.hex(), repr(part)[2:-1].lower(), ", ".join(map(str, part)))
        if any(form in text.lower() for form in forms):
            return True
    return False


def test_the_detector_detects():
    assert shows(SECRET.hex().upper())
    assert shows(repr(SECRET))
    assert shows(repr(list(SECRET)))
    assert not shows("nothing here")


def holders():
    ring = KeyRing()
    key = ring.add(METER, SECRET, 3, 7, "cellar")
    ring.add(METER, DES_SECRET)
    ring.find(METER)
    warm = BlockCipher(SECRET)
    warm.cmac(bytes(16))
    keys = session_keys(BlockCipher(SECRET), 1, METER[2:6])
    return [key, key.cipher, ring, warm, DesCipher(DES_SECRET), keys, list(ring), ring.find(METER), {"key": key}]


@pytest.mark.parametrize("holder", holders(), ids=lambda holder: type(holder).__name__)
def test_no_text_shows_a_key(holder):
    for text in (repr(holder), str(holder), f"{holder}", f"{holder!r:>20}", "%s" % (holder,), ascii(holder)):  # noqa: UP031
        assert not shows(text)
        assert text


def test_a_key_is_told_by_its_fingerprint():
    key = Key(SECRET, 3, 7, "cellar")
    assert re.fullmatch(r"<Key [0-9a-f]{8} id=03 version=07>", repr(key))
    assert re.fullmatch(r"<Key [0-9a-f]{8} id=\* version=\*>", repr(Key(SECRET, None)))
    assert key.fingerprint == Key(SECRET).fingerprint != Key(SECRET[::-1]).fingerprint
    assert repr(KeyRing.single(SECRET)) == "<KeyRing of 1 keys>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_pickled(protocol):
    ring = KeyRing.single(SECRET)
    for holder in (Key(SECRET), BlockCipher(SECRET), DesCipher(DES_SECRET), ring, session_keys(BlockCipher(SECRET), 1, bytes(4))):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(holder, protocol)


def test_nothing_is_serialised():
    for holder in (Key(SECRET), BlockCipher(SECRET), KeyRing.single(SECRET)):
        with pytest.raises(TypeError):
            msgspec.json.encode(holder)
        assert not hasattr(holder, "__dict__"), "vars() finds nothing"


def test_ciphers_are_not_copied():
    with pytest.raises(TypeError):
        copy.copy(BlockCipher(SECRET))


def attempts():
    cipher = BlockCipher(SECRET)
    text = SECRET.hex()
    return {
        "key with a digit too many": lambda: parse_key(text + "0"),
        "key with a letter": lambda: parse_key("x" + text[1:]),
        "long key": lambda: Key(SECRET + b"\0"),
        "long AES key": lambda: BlockCipher(SECRET + b"\0"),
        "long DES key": lambda: DesCipher(SECRET),
        "swapped columns": lambda: KeyRing.from_rows([(text, "12345678")]),
        "swapped columns with blanks": lambda: KeyRing.from_rows([(text[:8] + " " + text[8:], "12345678")]),
        "broken key in a row": lambda: KeyRing.from_rows([("12345678", text[:-1])]),
        "key as key number": lambda: KeyRing.from_rows([("12345678", text, text)]),
        "key as address": lambda: AddressPattern.parse(text),
        "short key as address": lambda: AddressPattern.parse(text[:16]),
        "no key": lambda: KeyRing.single(SECRET).require(METER, size=8),
        "wrong key": lambda: open_cbc(5, cipher, METER, 0, bytes(16)),
        "wrong ELL key": lambda: open_ell(cipher, METER, 0, bytes(4), bytes(16)),
        "wrong CCM key": lambda: open_mode10(cipher, METER, 0, b"", bytes(16)),
        "wrong MAC key": lambda: check_afl_mac(cipher, bytes(8), 0x25, b"x", counter=1),
        "wrong wrapper key": lambda: asp01_unwrap(cipher, bytes(32)),
    }


@pytest.mark.parametrize("name", attempts())
def test_no_error_shows_a_key(name):
    with pytest.raises(OmsError) as caught:
        attempts()[name]()
    error = caught.value
    assert not shows(str(error))
    assert not shows(repr(error))
    assert not shows(repr(error.fault))
    assert not shows("".join(traceback.format_exception(error)).split(str(error))[-1])
    assert error.__context__ is None or error.__suppress_context__, "no foreign error behind it in a traceback"


def test_codes_stand_in_the_table_with_the_right_class():
    package = Path(openmetering.security.__file__).parent
    table = package.parent / "tables" / "faults.csv"
    with table.open(encoding="utf-8", newline="") as file:
        listed = {row["code"]: row["error"] for row in csv.DictReader(file)}
    used = set()
    for source in package.glob("*.py"):
        text = source.read_text(encoding="utf-8")
        used |= set(re.findall(r'code="([a-z0-9_.]+)"', text))
        for code in re.findall(r'(\w+)\([^()]*?(?:\([^()]*\)[^()]*?)*code="([a-z0-9_.]+)"', text):
            raised, name = code
            if hasattr(errors, raised):
                assert listed.get(name) == raised, f"{name} is raised as {raised}"
    assert used
    assert used <= set(listed), f"missing in faults.csv: {sorted(used - set(listed))}"
