"""Trying keys: every proof, every state, weak proofs among many keys, fragments."""

from __future__ import annotations

import msgspec
import pytest

from openmetering.security import BlockCipher, afl_mac, seal_cbc, seal_ell, session_keys
from openmetering.services.keycheck import Fit, KeyCheck, Verdict
from openmetering.services.keyfiles import read_keys

# frames of OMS Volume 2 Annex N release E 2.0.2 and their example keys
A_KEY = "0102030405060708090A0B0C0D0E0F11"
KEY = "000102030405060708090A0B0C0D0E0F"
PROFILE_A = "2E4493157856341233037A2A0020255923C95AAA26D1B2E7493B013EC4A6F6D3529B520EDFF0EA6DEFC99D6D69EBF3"  # N.2.1
CLEAR = "6820206808FD7278563412931533032A0000000C1427048502046D32371F1502FD1700008916"  # N.2.2
PROFILE_B = (
    "434493157856341233038C2075900F002C25B30A000021924D4F2FB66E017A75002007109058475F4BC91DF878B80A1B0F98B629024AAC727942BFC5"
    "49233C0140829B93"
)  # N.2.3
PROFILE_D = "304493157856341233038C20757A7500112A1001B30A0000C882038E223BBC1091CEB8C0A1009D388A5AF7883A5B5A7FD6"  # N.2.6
ADAPTER = "304493444433221155378C00757288776655934455080004100500DFE2A782146D1513581CD2F83F39040CFD1078563412"  # N.6.3
FRAGMENTS = (  # N.4, wired
    "682A2A68080390050170405D007278563412934410070500500528FCB763E51B4A6D4FDDF2EEA906F61ED0DA7AB21616",
    "682727680803900202409787E1B2B5E34EF3C5903E3AE42427CDA9DB2407FA8131EFB2259798E2B79BAAD13116",
    "68212168080390020300AF89B7506FEB16C22B151B3537FA272D55227562C63F6C408383EB1616",
)
#: keys that show 2F 2F in PROFILE_A by chance; found by counting up
CHANCE = (f"{47394:032X}", f"{107316:032X}")

ADDRESS = bytes.fromhex("9315785634123303")
OTHER = bytes.fromhex("2D2C112233441B16")
WRONG = "FF" * 16


def entries(text: str):
    return read_keys(text.encode()).entries


def judge(frame: str | bytes, keys: str, *, every: bool = False) -> Verdict:
    octets = frame if isinstance(frame, bytes) else bytes.fromhex(frame)
    return KeyCheck(entries(keys), every=every).check(octets)


def wireless(rest: bytes, address: bytes = ADDRESS) -> bytes:
    return bytes((9 + len(rest), 0x44)) + address + rest


def mode5(key: str, access: int = 1, address: bytes = ADDRESS, records: str = "0C1301000000") -> bytes:
    plain = (b"\x2f\x2f" + bytes.fromhex(records)).ljust(16, b"\x2f")
    sealed = seal_cbc(5, BlockCipher(bytes.fromhex(key)), address, access, plain)
    return wireless(bytes((0x7A, access, 0)) + b"\x10\x05" + sealed, address)


def ell(key: str, address: bytes = ADDRESS) -> bytes:
    session = (0x20000001).to_bytes(4, "little")
    sealed = seal_ell(BlockCipher(bytes.fromhex(key)), address, 0x20, session, bytes.fromhex("780C1301000000"))
    return wireless(b"\x8d\x20\x01" + session + sealed, address)


def clear_with_mac(key: str, key_id: int | None = None) -> bytes:
    """A clear message (mode 0) whose AFL carries a MAC of eight octets, and key information if asked for."""
    message = bytes.fromhex("7A750000000C1301000000")
    keys = session_keys(BlockCipher(bytes.fromhex(key)), 2739, ADDRESS[2:6], downlink=False)
    control, information = (0x25, b"") if key_id is None else (0x35, bytes((key_id, 2)))
    fields = (
        (0x2C00 if key_id is None else 0x2E00).to_bytes(2, "little")
        + bytes((control,))
        + information
        + (2739).to_bytes(4, "little")
    )
    asked = None if key_id is None else int.from_bytes(information, "little")
    mac = afl_mac(keys.authentication, control, message, key_information=asked, counter=2739)
    return wireless(bytes((0x90, len(fields) + len(mac))) + fields + mac + message)


# -- proofs -------------------------------------------------------------------------------

PROOFS = {
    "2f2f": (PROFILE_A, A_KEY, "2f2f", 5, "A"),
    "mac": (PROFILE_B, KEY, "mac", 7, "B"),
    "tag": (PROFILE_D, KEY, "tag", 10, "D"),
    "ell-crc": (ell(KEY), KEY, "ell-crc", None, "ELL"),
    "mac of a clear message": (clear_with_mac(KEY), KEY, "mac", 0, "none"),
}


@pytest.mark.parametrize("name", PROOFS)
def test_proofs(name):
    frame, key, proof, mode, profile = PROOFS[name]
    verdict = judge(frame, f"12345678;{WRONG}\n12345678;{key};0;3;cellar")
    assert verdict.state == "fits"
    assert (verdict.mode, verdict.profile) == (mode, profile)
    assert verdict.address == "ELS-12345678-33-03"
    assert verdict.error is None
    assert verdict.tried == 2
    (fit,) = verdict.fits
    assert fit == Fit(fit.fingerprint, "12345678", 0, 3, "cellar", proof, clean=True)
    assert fit.authenticated is (proof in ("mac", "tag"))
    assert not verdict.keyless


@pytest.mark.parametrize("name", PROOFS)
def test_wrong_keys(name):
    verdict = judge(PROOFS[name][0], f"12345678;{WRONG}\n12345678;{'AB' * 16}")
    assert (verdict.state, verdict.fits, verdict.tried) == ("no-fit", (), 2)
    assert verdict.error is not None
    assert verdict.error.code.startswith("key.mismatch")
    assert verdict.keyless


@pytest.mark.parametrize("name", PROOFS)
def test_no_verdict_shows_a_key(name):
    frame, key, *_ = PROOFS[name]
    for verdict in (judge(frame, f"*;{key}"), judge(frame, f"*;{WRONG}")):
        for text in (repr(verdict), msgspec.json.encode(verdict).decode()):
            assert key not in text.upper()
            assert WRONG not in text.upper()


# -- states -------------------------------------------------------------------------------


def unsupported_mode() -> bytes:
    return wireless(b"\x7a\x01\x00\x00\x0d" + bytes(20))


STATES = {
    "plain": (CLEAR, "plain"),
    "single character": (b"\xe5", "plain"),
    "decrypted before": (
        wireless(bytes.fromhex("7A01001005") + b"\x2f\x2f\x0c\x13\x01\0\0\0".ljust(16, b"\x2f")),
        "already-plain",
    ),
    "part of a message": (FRAGMENTS[0], "fragment"),
    "mode 13": (unsupported_mode(), "unsupported"),
    "cut": (bytes.fromhex(PROFILE_A)[:20], "undecodable"),
    "noise": (b"\x00\x01\x02", "undecodable"),
    "nothing": (b"", "undecodable"),
    "error of the meter": (wireless(bytes.fromhex("6E0100000001")), "plain"),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("keys", [f"*;{KEY}", f"99999999;{KEY}", ""])
def test_states_that_no_key_changes(name, keys):
    frame, state = STATES[name]
    verdict = judge(frame, keys)
    assert (verdict.state, verdict.fits, verdict.tried) == (state, (), 0)
    assert (verdict.error is not None) is (state in ("undecodable", "unsupported"))
    assert verdict.keyless is (state == "unsupported")


def test_announced_blocks_that_are_missing_are_no_matter_of_keys():
    frame = wireless(bytes.fromhex("7A01004005") + bytes(range(16)))
    verdict = judge(frame, f"*;{KEY}\n*;{WRONG}")
    assert (verdict.state, verdict.tried) == ("undecodable", 2)
    assert verdict.error is not None
    assert verdict.error.code == "security.length"


# -- addresses ----------------------------------------------------------------------------


def test_keys_of_other_addresses_count_only_when_asked():
    keys = f"87654321;{A_KEY}\n"
    assert judge(PROFILE_A, keys).state == "no-candidate"
    assert judge(PROFILE_A, keys).keyless
    verdict = judge(PROFILE_A, keys, every=True)
    assert verdict.state == "fits"
    assert verdict.fits[0].address == "87654321"


def test_no_keys_at_all():
    assert judge(PROFILE_A, "").state == "no-candidate"
    assert judge(PROFILE_A, "", every=True).state == "no-candidate"


@pytest.mark.parametrize("address", ["55667788", "11223344"])
def test_keys_may_be_filed_under_meter_or_adapter(address):
    verdict = judge(ADAPTER, f"{address};{KEY}")
    assert verdict.state == "fits"
    assert verdict.address == "QDS-55667788-55-08"


def test_each_key_is_tried_once():
    assert judge(PROFILE_A, f"*;{WRONG}\n12345678;{WRONG}\nELS;{WRONG};1").tried == 1


def test_telegram_without_address_takes_all_keys():
    """A wired answer with the short header names nobody; its key cannot be told, but all are tried."""
    body = bytes.fromhex("0801" + "7A01001005") + bytes(range(16))
    frame = b"\x68" + bytes((len(body), len(body))) + b"\x68" + body + bytes((sum(body) & 0xFF, 0x16))
    verdict = judge(frame, f"99999999;{KEY}")
    assert (verdict.state, verdict.address, verdict.tried) == ("no-fit", None, 1)


# -- what the telegram asks for -----------------------------------------------------------


def test_key_id_asked_for():
    verdict = judge(PROFILE_D, f"12345678;{KEY};0x05")
    assert verdict.key_id == 0
    assert verdict.fits[0].key_id == 5
    assert judge(CLEAR, "").key_id is None
    verdict = judge(clear_with_mac(KEY, 3), f"12345678;{KEY}")
    assert (verdict.key_id, verdict.version, verdict.state) == (3, 2, "fits")


# -- weak proofs --------------------------------------------------------------------------


@pytest.mark.parametrize("key", CHANCE)
def test_a_chance_fit_alone_is_shown_as_it_is(key):
    verdict = judge(PROFILE_A, f"*;{key}")
    assert verdict.state == "fits"
    assert (verdict.fits[0].proof, verdict.fits[0].authenticated) == ("2f2f", False)


def test_the_key_that_reads_without_fault_wins():
    verdict = judge(PROFILE_A, "\n".join(f"*;{key};0;;{name}" for name, key in zip("abc", (*CHANCE, A_KEY), strict=True)))
    assert verdict.tried == 3
    assert [fit.label for fit in verdict.fits if fit.clean] == ["c"]
    assert [fit.label for fit in verdict.fits] == ["c"]


def test_a_key_that_fitted_is_tried_first_and_alone():
    keys = "".join(f"*;{n:032X}\n" for n in range(50)) + f"*;{A_KEY}\n*;{WRONG}\n"
    check = KeyCheck(entries(keys))
    assert check.check(mode5(A_KEY, 1)).tried == 52
    assert check.check(mode5(A_KEY, 2)).tried == 1
    assert check.check(mode5(A_KEY, 3, OTHER)).tried == 52


def test_a_changed_key_is_found():
    check = KeyCheck(entries(f"*;{A_KEY};0;;old\n*;{KEY};0;;new"))
    labels = [check.check(mode5(key, access)).fits[0].label for access, key in enumerate((A_KEY, A_KEY, KEY, KEY, A_KEY))]
    assert labels == ["old", "old", "new", "new", "old"]


def test_the_search_ends_with_a_strong_proof():
    verdict = judge(PROFILE_B, f"*;{KEY}\n" + "".join(f"*;{n:032X}\n" for n in range(20)))
    assert (verdict.tried, verdict.fits[0].proof) == (1, "mac")


# -- fragments ----------------------------------------------------------------------------


def run(frames, keys: str) -> list[Verdict]:
    check = KeyCheck(entries(keys))
    return [check.check(bytes.fromhex(frame)) for frame in frames]


def test_fragments_are_judged_with_the_last_one():
    verdicts = run(FRAGMENTS, f"78563412;{WRONG}\n12345678;{WRONG}\n12345678;{KEY}")
    assert [verdict.state for verdict in verdicts] == ["fragment", "fragment", "fits"]
    assert verdicts[2].fits[0].proof == "2f2f"
    assert verdicts[2].address == "QDS-12345678-10-07"


def test_fragments_twice_and_repeated():
    states = [v.state for v in run([*FRAGMENTS, FRAGMENTS[0], FRAGMENTS[0], *FRAGMENTS[1:]], f"*;{KEY}")]
    assert states == ["fragment", "fragment", "fits", "fragment", "fragment", "fragment", "fits"]


def test_fragments_with_a_wrong_key():
    assert run(FRAGMENTS, f"*;{WRONG}")[2].state == "no-fit"


def test_a_missing_fragment():
    verdict = run([FRAGMENTS[0], FRAGMENTS[2]], f"*;{KEY}")[1]
    assert verdict.state == "undecodable"
    assert verdict.error is not None
    assert verdict.error.code == "afl.fragment_missing"


def test_partial_messages_are_bounded(monkeypatch):
    monkeypatch.setattr("openmetering.services.keycheck._PEERS", 2)
    check = KeyCheck(entries(f"*;{KEY}"))
    first = bytes.fromhex(FRAGMENTS[0])
    for address in range(10):
        body = first[4:5] + bytes((address,)) + first[6:-2]
        frame = first[:4] + body + bytes((sum(body) & 0xFF, 0x16))
        assert check.check(frame).state == "fragment"
    assert len(check._parts) <= 2
