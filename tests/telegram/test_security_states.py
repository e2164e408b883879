"""What a telegram says about its protection: every state, every proof, every mode, both directions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering import (
    STRICT,
    AuthenticationFailed,
    CounterLedger,
    Decoder,
    KeyNotFound,
    NotRepresentable,
    Replayed,
    SecurityReport,
    Telegram,
    UnsupportedSecurity,
    WrongKey,
    answer_json,
    decode,
    encode,
    examine,
)
from openmetering.codec.afl import AuthenticationFragmentation
from openmetering.codec.ell import CommunicationControl
from openmetering.security import fill
from openmetering.telegram.opening import encrypted_length
from tests.telegram.building import (
    ADAPTER,
    DES_KEY,
    GATEWAY,
    KEY,
    KEYS,
    METER,
    WATER,
    WRONG_KEY,
    afl_of,
    built,
    codes,
    frame,
    general,
    octets_with,
    ring,
    sealed,
    session_link,
    session_telegram,
    split_water,
    wired,
    wireless,
)

BLOCKS = fill(b"\x2f\x2f" + WATER)
COUNTER = (0x01020304).to_bytes(4, "big")

# -- states and proofs ---------------------------------------------------------------------------------

STATES = {
    "plain": (frame(), None, SecurityReport("none", 0, "plain")),
    "decrypted 2f2f": (frame(profile="A"), KEYS, SecurityReport("A", 5, "decrypted", "2f2f", 0)),
    "decrypted mac": (frame(profile="B", counter=7), KEYS, SecurityReport("B", 7, "decrypted", "mac", 0, None, 7)),
    "decrypted tag": (frame(profile="D", counter=7), KEYS, SecurityReport("D", 10, "decrypted", "tag", 0, None, 7)),
    "decrypted ell-crc": (encode(session_telegram(), KEY), KEYS, SecurityReport("ELL", None, "decrypted", "ell-crc", 0)),
    "already-plain": (sealed(5, 0x20, BLOCKS), None, SecurityReport("A", 5, "already-plain")),
    "key-missing A": (frame(profile="A"), None, SecurityReport("A", 5, "key-missing")),
    "key-missing B": (frame(profile="B", counter=7), None, SecurityReport("B", 7, "key-missing", counter=7)),
    "key-missing ELL": (encode(session_telegram(), KEY), None, SecurityReport("ELL", None, "key-missing")),
    "failed A": (frame(profile="A"), ring((METER, WRONG_KEY)), SecurityReport("A", 5, "failed")),
    "failed B": (frame(profile="B", counter=7), ring((METER, WRONG_KEY)), SecurityReport("B", 7, "failed", counter=7)),
    "failed D": (frame(profile="D", counter=7), ring((METER, WRONG_KEY)), SecurityReport("D", 10, "failed", counter=7)),
    "failed ELL": (encode(session_telegram(), KEY), ring((METER, WRONG_KEY)), SecurityReport("ELL", None, "failed")),
}
FAULTS = {"key-missing": "key.missing", "failed A": "key.mismatch.verification", "failed B": "key.mismatch.mac"}
FAULTS |= {"failed D": "key.mismatch.tag", "failed ELL": "key.mismatch.crc"}


def octets_of(made: bytes | Telegram) -> bytes:
    """Octets, or a telegram that stands on the wire as if decrypted before."""
    if isinstance(made, bytes):
        return made
    clear = msgspec.structs.replace(made, security=SecurityReport("A", 5, "already-plain"))
    return encode(clear)


@pytest.mark.parametrize("name", STATES)
def test_report(name: str) -> None:
    made, keys, report = STATES[name]
    telegram = general(octets_of(made), keys)
    assert telegram.security == report
    fault = FAULTS.get(name, FAULTS.get(name.split(maxsplit=1)[0]))
    assert (telegram.error and telegram.error.code) == fault
    if fault is None:
        assert [record.octets() for record in telegram.records] == split_water()
    else:
        assert telegram.records == ()
        assert telegram.payload is None


@pytest.mark.parametrize(
    ("proof", "authentic"), [("mac", True), ("tag", True), ("2f2f", False), ("ell-crc", False), (None, False)]
)
def test_only_mac_and_tag_authenticate(proof: str | None, authentic: bool) -> None:
    assert SecurityReport("A", 5, "decrypted", proof).authenticated is authentic


@pytest.mark.parametrize("name", STATES)
def test_a_bare_match_is_never_called_authentication(name: str) -> None:
    made, keys, _ = STATES[name]
    telegram = general(octets_of(made), keys)
    if telegram.security.mode == 5 or telegram.security.profile == "ELL":
        assert not telegram.security.authenticated
        assert b"authentic" not in answer_json(telegram)


# -- keys ------------------------------------------------------------------------------------------------


def test_iv_comes_from_the_meter_behind_an_adapter() -> None:
    """Long header: the adapter sends, the address of the meter makes the IV."""
    octets = frame(profile="A", adapter=ADAPTER, access_number=0x2A)
    telegram = decode(octets, ring((METER, KEY)))
    assert telegram.address == METER
    assert telegram.link is not None
    assert telegram.link.address == ADAPTER
    assert telegram.security.state == "decrypted"
    as_if_sent_by_the_meter = encode(msgspec.structs.replace(built(profile="A", access_number=0x2A), ell=None), KEY)
    assert telegram.payload == decode(as_if_sent_by_the_meter, KEY).payload


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_key_of_the_meter_before_that_of_the_adapter(profile: str) -> None:
    octets = frame(profile=profile, adapter=ADAPTER, counter=3)
    assert decode(octets, ring((METER, KEY), (ADAPTER, WRONG_KEY))).security.state == "decrypted"
    assert decode(octets, ring((ADAPTER, KEY))).security.state == "decrypted"
    refused = examine(octets, ring((METER, WRONG_KEY), (ADAPTER, KEY)))
    assert refused.security.state == "failed"


def test_adapter_key_encodes_where_the_meter_has_none() -> None:
    telegram = built(profile="A", adapter=ADAPTER)
    assert encode(telegram, ring((ADAPTER, KEY))) == encode(telegram, ring((METER, KEY)))


@pytest.mark.parametrize("profile", ["B", "D"])
def test_key_id_and_version_choose_the_key(profile: str) -> None:
    keys = ring((METER, WRONG_KEY, 0, None), (METER, KEY, 3, 7), (METER, WRONG_KEY, 3, 6))
    octets = frame(profile=profile, key_id=3, key_version=7, counter=9, keys=keys)
    telegram = decode(octets, keys)
    report = telegram.security
    assert (report.key_id, report.key_version, report.counter) == (3, 7, 9)
    assert report.authenticated
    unknown = examine(octets, ring((METER, KEY, 4, None)))
    assert unknown.security.state == "key-missing"
    assert unknown.error is not None
    assert unknown.error.code == "key.missing"


def test_several_candidates_are_tried_in_turn() -> None:
    keys = ring((METER, WRONG_KEY, 0, 1), (METER, KEY, 0, 2), (METER, bytes(16), 0, 3))
    for profile in ("A", "B", "D"):
        telegram = decode(frame(profile=profile, counter=1), keys)
        assert telegram.security.key_version == 2


#: opens the frame below to 2F 2F by chance, as one key in 65 536 does; the octets behind are no records
LUCKY_KEY = (6793).to_bytes(16, "big")


def test_a_lucky_wrong_key_does_not_win_over_the_right_one() -> None:
    octets = frame(profile="A")
    alone = examine(octets, ring((METER, LUCKY_KEY)))
    assert (alone.security.state, alone.security.proof) == ("decrypted", "2f2f")
    assert (alone.error and alone.error.code) == "record.truncated"
    assert not alone.security.authenticated
    both = decode(octets, ring((METER, LUCKY_KEY, 0, 2), (METER, KEY, 0, 1)))
    assert (both.security.key_version, len(both.records)) == (1, 3)
    neither = examine(octets, ring((METER, LUCKY_KEY, 0, 2), (METER, WRONG_KEY, 0, 1)))
    assert (neither.security.state, neither.security.key_version) == ("decrypted", 2)


def test_encrypted_length_by_mode() -> None:
    """The octets behind the header that a reader must not show as clear."""
    lengths = {
        (0, 0x20, b""): 0,
        (5, 0x20, b""): 32,
        (5, 0xF0, b""): 96,
        (2, 0x20, b""): 16,
        (2, 0xF0, b""): 96,
        (9, 0x41, bytes((17, 0)) + COUNTER): 17,
        (9, 0x41, b""): 0,
        (10, 0x11, b"\x10\x01"): 17,
        (10, 0xFF, b"\x10\x01"): 92,
        (13, 0xFF, b"\x10"): 0,
    }
    for (mode, low, extension), length in lengths.items():
        transport = sealed(mode, low, b"", extension=extension).transport
        assert transport is not None
        assert encrypted_length(transport, 100) == length


def test_key_of_one_telegram_wins_over_the_ring() -> None:
    decoder = Decoder(ring((METER, WRONG_KEY)))
    octets = frame(profile="A")
    assert decoder.examine(octets).security.state == "failed"
    assert decoder.examine(octets, KEY).security.state == "decrypted"
    assert decoder.examine(octets).security.state == "failed"
    assert decoder.examine(octets, DES_KEY).security.state == "key-missing"


@pytest.mark.parametrize(
    ("profile", "error"), [("A", WrongKey), ("B", AuthenticationFailed), ("D", AuthenticationFailed)], ids=["A", "B", "D"]
)
def test_wrong_key_raises_and_tells_what_was_read(profile: str, error: type[Exception]) -> None:
    octets = frame(profile=profile, counter=1)
    with pytest.raises(error) as caught:
        decode(octets, ring((METER, WRONG_KEY)))
    telegram = caught.value.telegram  # type: ignore[attr-defined]
    assert telegram.frame == octets
    assert telegram.transport.access_number == 0
    assert telegram.address == METER


def test_missing_key_names_the_meter() -> None:
    with pytest.raises(KeyNotFound) as caught:
        decode(frame(profile="A", adapter=ADAPTER))
    assert caught.value.address == str(METER)
    assert str(METER) in caught.value.message


def test_a_wired_telegram_without_long_header_names_no_device() -> None:
    """Short header on the wire: no address, so no key and no IV."""
    telegram = examine(wired("7A2A001005" + "00" * 16), KEY)
    assert (telegram.error and telegram.error.code) == "key.missing"
    assert telegram.security.state == "key-missing"


# -- every mode, both directions ---------------------------------------------------------------------------


def dutch(clear: int = 0, encrypted: int = len(WATER)) -> bytes:
    return bytes((encrypted, clear)) + COUNTER


ROUND_TRIPS = {
    "mode 2 partly": (sealed(2, 0x20, fill(b"\x2f\x2f" + WATER[:11], 8) + WATER), DES_KEY, "2f2f"),
    "mode 2 all": (sealed(2, 0xF0, fill(b"\x2f\x2f" + WATER, 8)), DES_KEY, "2f2f"),
    "mode 4 up": (sealed(4, 0x20, BLOCKS), KEY, "2f2f"),
    "mode 4 down": (sealed(4, 0x20, BLOCKS, uplink=False), KEY, "2f2f"),
    "mode 5 up": (sealed(5, 0x20, BLOCKS), KEY, "2f2f"),
    "mode 5 down": (sealed(5, 0x20, BLOCKS, uplink=False), KEY, "2f2f"),
    "mode 5 all": (sealed(5, 0xF0, BLOCKS), KEY, "2f2f"),
    "mode 5 partly": (sealed(5, 0x10, fill(b"\x2f\x2f" + WATER[:11]) + WATER), KEY, "2f2f"),
    "mode 5 with MAC": (sealed(5, 0x20, BLOCKS, afl=afl_of()), KEY, "mac"),
    "mode 7 up": (sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of()), KEY, "mac"),
    "mode 7 down": (sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of(), uplink=False), KEY, "mac"),
    "mode 7 with length": (sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of(length=True)), KEY, "mac"),
    "mode 7 key information": (sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of(key_id=0)), KEY, "mac"),
    "mode 7 padding": (sealed(7, 0x28, b"\x2f\x2f" + WATER, extension=b"\x10", afl=afl_of()), KEY, "mac"),
    "mode 9 up": (sealed(9, 0x2041, WATER, extension=dutch()), KEY, "tag"),
    "mode 9 down": (sealed(9, 0x2041, WATER, extension=dutch(), uplink=False), KEY, "tag"),
    "mode 9 partly": (sealed(9, 0x20C1, WATER, extension=dutch(len(WATER) - 6, 6)), KEY, "tag"),
    "mode 10 up": (sealed(10, 0x2000 | len(WATER), WATER, extension=b"\x10\x01" + COUNTER), KEY, "tag"),
    "mode 10 down": (sealed(10, 0x2000 | len(WATER), WATER, extension=b"\x10\x01" + COUNTER, uplink=False), KEY, "tag"),
    "mode 10 all": (sealed(10, 0x20FF, WATER, extension=b"\x10\x01" + COUNTER), KEY, "tag"),
    "mode 10 partly": (sealed(10, 0x2006, WATER, extension=b"\x10\x01" + COUNTER), KEY, "tag"),
    "mode 10 nothing": (sealed(10, 0x2000, WATER, extension=b"\x10\x01" + COUNTER), KEY, "tag"),
    "mode 10 counter in AFL": (
        sealed(10, 0x0000 | len(WATER), WATER, extension=b"\x10\x01", afl=afl_of(authentication_type=0)),
        KEY,
        "tag",
    ),
    "ELL 8D": (session_telegram(), KEY, "ell-crc"),
    "ELL 8F": (session_telegram(ell=session_link(ci=0x8F)), KEY, "ell-crc"),
    "ELL down": (session_telegram(b"\x51" + WATER, uplink=False), KEY, "ell-crc"),
}
for kind, size in ((3, 2), (4, 4), (5, 8), (6, 12), (7, 16)):
    ROUND_TRIPS[f"MAC of {size} octets"] = (
        sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of(authentication_type=kind)),
        KEY,
        "mac",
    )


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_every_mode_both_ways(name: str) -> None:
    made, key, proof = ROUND_TRIPS[name]
    made = without_unused_afl(made)
    octets = encode(made, key)
    telegram = decode(octets, key)
    assert (telegram.security.state, telegram.security.proof) == ("decrypted", proof)
    assert telegram.payload == made.payload
    assert telegram.uplink == made.uplink
    assert WATER[:6] in (telegram.payload or b"")
    assert encode(telegram, key) == octets
    if proof != "ell-crc":
        assert octets != encode(msgspec.structs.replace(made, security=SecurityReport(None, 5, "already-plain")), key)


def without_unused_afl(made: Telegram) -> Telegram:
    """An AFL with a counter alone has no MAC octets."""
    afl = made.afl
    if afl is None or afl.message_control is None or afl.message_control.authentication_type:
        return made
    bare = afl.build(message_control=afl.message_control, counter=afl.counter)
    return msgspec.structs.replace(made, afl=bare)


@pytest.mark.parametrize("profile", ["none", "A", "B", "D"])
@pytest.mark.parametrize("place", ["radio", "adapter", "wire", "extended link"])
def test_compose_every_profile_everywhere(profile: str, place: str) -> None:
    options: dict[str, object] = {
        "adapter": {"adapter": ADAPTER},
        "wire": {"primary": 5},
        "extended link": {"communication_control": CommunicationControl.build(synchronous=1, bidirectional=1)},
    }.get(place, {})  # type: ignore[assignment]
    made = built(profile=profile, counter=77, access_number=200, status=4, **options)
    octets = encode(made, KEYS)
    telegram = decode(octets, KEYS)
    assert telegram.address == METER
    assert [record.octets() for record in telegram.records] == split_water()
    assert (telegram.security.profile, telegram.security.state) == (profile, "plain" if profile == "none" else "decrypted")
    assert telegram.transport == made.transport
    assert telegram.ell == made.ell
    assert encode(telegram, KEYS) == octets


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_downlink_uses_the_keys_of_the_downlink(profile: str) -> None:
    command = built(profile=profile, adapter=GATEWAY, ci=0x5B, control=0x53, counter=5)
    octets = encode(command, KEYS)
    telegram = decode(octets, KEYS)
    assert not telegram.uplink
    assert telegram.payload == command.payload
    if profile != "A":  # derived keys differ by direction
        upward = encode(msgspec.structs.replace(command, uplink=True), KEYS)
        assert upward != octets
        assert examine(upward, KEYS).security.state == "failed"


@pytest.mark.parametrize("mode", [1, 3, 8, 13, 15])
def test_modes_that_are_recognised_and_reported(mode: int) -> None:
    extension = b"\x10" if mode in (8, 13) else b""
    octets = octets_with(mode, 0x10, extension)
    telegram = examine(octets, KEY)
    assert telegram.error is not None
    assert telegram.error.code == "security.unsupported"
    assert (telegram.security.mode, telegram.security.state) == (mode, "failed")
    assert telegram.security.profile == ("C" if mode == 13 else None)
    assert telegram.address == METER
    with pytest.raises(UnsupportedSecurity):
        decode(octets, KEY)
    with pytest.raises(NotRepresentable):
        encode(telegram, KEY)


@pytest.mark.parametrize("mode", [6, 11, 12, 14, *range(16, 32)])
def test_reserved_modes_are_read_as_clear_with_a_warning(mode: int) -> None:
    octets = octets_with(mode, 0, content=WATER)
    telegram = examine(octets)
    assert telegram.ok
    assert codes(telegram) == ["security.reserved_mode"]
    assert (telegram.security.profile, telegram.security.mode, telegram.security.state) == (None, mode, "plain")
    assert [record.octets() for record in telegram.records] == split_water()
    assert encode(telegram) == octets
    strict = examine(octets, policy=STRICT)
    assert (strict.error and strict.error.code) == "security.unsupported"


def test_encoding_profile_c_is_refused() -> None:
    made = msgspec.structs.replace(sealed(13, 0xFF, WATER, extension=b"\x00"), security=SecurityReport("C", 13))
    with pytest.raises(UnsupportedSecurity):
        encode(made, KEY)


# -- tampering ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["B", "D"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_bit_of_an_authentic_message_is_noticed(profile: str, data: st.DataObject) -> None:
    """Every bit behind the link layer: what is called authentic is what was sent.

    The MAC does not cover the reserved bits of the fragmentation control; they change nothing.
    """
    sent = decode(frame(profile=profile, counter=5), KEYS)
    octets = bytearray(sent.frame)
    at = data.draw(st.integers(10 * 8, len(octets) * 8 - 1))
    octets[at // 8] ^= 1 << at % 8
    telegram = examine(bytes(octets), KEYS)
    if telegram.security.authenticated:
        assert 12 <= at // 8 <= 13
        assert (telegram.transport, telegram.payload, telegram.records) == (sent.transport, sent.payload, sent.records)
    assert telegram.security.proof in (sent.security.proof, None)


@pytest.mark.parametrize("profile", ["B", "D"])
def test_tampered_ciphertext_mac_and_tag(profile: str) -> None:
    octets = frame(profile=profile, counter=5)
    code = "key.mismatch.mac" if profile == "B" else "key.mismatch.tag"
    for at in (17, 20, 24, len(octets) - 9, len(octets) - 1) if profile == "B" else (len(octets) - 1, len(octets) - 12):
        changed = octets[:at] + bytes((octets[at] ^ 0x80,)) + octets[at + 1 :]
        telegram = examine(changed, KEYS)
        assert telegram.error is not None
        assert telegram.error.code == code
        assert telegram.security.state == "failed"
        assert telegram.security.proof is None


def test_mac_of_an_unknown_length_is_refused() -> None:
    octets = frame(profile="B", counter=5)
    afl = general(octets).afl
    assert afl is not None
    shortened = msgspec.structs.replace(afl, mac=(afl.mac or b"")[:4])
    changed = wireless(shortened.encode() + octets[10 + len(afl.encode()) :])
    telegram = examine(changed, KEYS)
    assert (telegram.error and telegram.error.code) == "key.mismatch.mac"


# -- partial encryption, padding, clear messages ---------------------------------------------------------------


@pytest.mark.parametrize("profile", ["A", "B", "D"])
def test_clear_octets_behind_the_encrypted_ones(profile: str) -> None:
    tail = bytes.fromhex("0CFD1078563412")
    octets = frame(profile=profile, counter=5, clear=tail)
    assert octets.endswith(tail) or profile == "D"
    telegram = decode(octets, KEYS)
    assert [record.quantity for record in telegram.records][-1] == "customer location"
    assert encode(telegram, KEYS) == octets


def test_more_than_fourteen_blocks_leave_no_room_for_clear_octets() -> None:
    long = WATER * 14
    assert len(long) > 15 * 15
    for profile in ("A", "B"):
        with pytest.raises(NotRepresentable) as caught:
            built(long, profile=profile, counter=5, clear=b"\x2f")
        assert caught.value.field == "clear"
    whole = frame(WATER * 14, profile="A")
    telegram = decode(whole, KEYS)
    assert telegram.transport is not None
    assert int(telegram.transport.configuration) >> 4 & 15 == len(telegram.payload or b"") // 16


def test_tpl_padding_is_taken_off_and_put_back() -> None:
    made, key, _ = ROUND_TRIPS["mode 7 padding"]
    octets = encode(made, key)
    telegram = decode(octets, key)
    assert telegram.payload == b"\x2f\x2f" + WATER
    wrong = sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of())
    claims = msgspec.structs.replace(wrong, transport=msgspec.structs.replace(made.transport, status=0))
    assert claims.transport is not None
    without = encode(msgspec.structs.replace(claims, payload=b"\x2f\x2f" + WATER + b"\x2f\x2f"), key)
    assert decode(without, key).payload == b"\x2f\x2f" + WATER + b"\x2f\x2f"


def test_padding_that_is_not_there_is_a_fault() -> None:
    """The P bit is set, but the plaintext ends with fillers."""
    honest = sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of(authentication_type=0))
    octets = bytearray(encode(without_unused_afl(honest), KEY))
    at = octets.index(bytes((0x20, 0x07, 0x10)))
    octets[at] |= 0x08
    telegram = examine(bytes(octets), KEYS)
    assert (telegram.error and telegram.error.code) == "tpl.padding"
    assert telegram.security.state == "failed"


def test_padding_bit_of_a_message_without_encryption() -> None:
    clear = sealed(7, 0x08, WATER, extension=b"\x10", afl=afl_of())
    telegram = examine(encode(clear, KEY), KEYS)
    assert (telegram.security.proof, telegram.security.state) == ("mac", "plain")
    assert telegram.payload == WATER


@pytest.mark.parametrize("mode", [0, 5, 7])
def test_a_mac_without_message_control_proves_nothing(mode: int) -> None:
    """Nothing says how the MAC was made: it must not count as one that was verified."""
    layer = AuthenticationFragmentation.build(counter=7, mac=bytes(8))
    header = bytes((0x7A, 42, 0, 0x20 if mode else 0, mode)) + (b"\x10" if mode == 7 else b"")
    telegram = examine(wireless(layer.encode() + header + (WATER if mode == 0 else bytes(32))), KEYS)
    assert telegram.security.state == "failed"
    assert not telegram.security.authenticated
    assert (telegram.error and telegram.error.code) == "afl.field_missing"


@pytest.mark.parametrize("uplink", [True, False])
def test_mac_on_a_clear_message(uplink: bool) -> None:
    made = sealed(0, 0, WATER, afl=afl_of(), uplink=uplink)
    octets = encode(made, KEY)
    telegram = decode(octets, KEYS)
    report = telegram.security
    assert (report.profile, report.state, report.proof, report.counter) == ("none", "plain", "mac", 7)
    assert report.authenticated
    assert encode(telegram, KEY) == octets
    unchecked = examine(octets)
    assert unchecked.ok
    assert codes(unchecked) == ["key.missing"]
    assert (unchecked.security.state, unchecked.security.proof) == ("plain", None)
    forged = examine(octets, ring((METER, WRONG_KEY)))
    assert (forged.error and forged.error.code) == "key.mismatch.mac"
    assert (forged.security.state, forged.security.proof) == ("failed", None)
    assert forged.records == ()
    both = examine(octets, ring((METER, WRONG_KEY, 0, 1), (METER, KEY, 0, 2)))
    assert both.security.key_version == 2


def test_nothing_encrypted_in_a_block_mode_is_a_clear_message() -> None:
    telegram = decode(octets_with(5, 0x00, content=WATER))
    assert (telegram.security.mode, telegram.security.state) == (5, "plain")
    assert encode(telegram) == octets_with(5, 0x00, content=WATER)
    assert len(telegram.records) == 3


def test_profile_b_without_mac_says_so() -> None:
    """Counter in the AFL, no MAC: decrypted, but nothing is proven about its origin."""
    made = without_unused_afl(sealed(7, 0x20, BLOCKS, extension=b"\x10", afl=afl_of(authentication_type=0)))
    telegram = decode(encode(made, KEY), KEYS)
    assert (telegram.security.proof, telegram.security.authenticated) == ("2f2f", False)
    assert codes(telegram) == ["afl.mac_missing"]


@pytest.mark.parametrize("mode", [7, 10])
def test_derived_keys_need_a_counter(mode: int) -> None:
    extension = b"\x10" if mode == 7 else b"\x10\x01"
    telegram = examine(octets_with(mode, 0x10, extension, bytes(24)), KEY)
    assert (telegram.error and telegram.error.code) == "security.counter_missing"
    assert telegram.security.state == "failed"
    made = sealed(mode, 0x10, BLOCKS[:16], extension=extension)
    with pytest.raises(NotRepresentable) as caught:
        encode(made, KEY)
    assert caught.value.field == "counter"


@pytest.mark.parametrize(("mode", "low", "extension"), [(5, 0x20, b""), (2, 0x20, b""), (5, 0xF0, b"")])
def test_fewer_octets_than_the_configuration_announces(mode: int, low: int, extension: bytes) -> None:
    telegram = examine(octets_with(mode, low, extension, bytes(12)), DES_KEY if mode == 2 else KEY)
    assert (telegram.error and telegram.error.code) == "security.length"
    assert telegram.security.state == "failed"


def test_profile_b_announces_everything_but_there_is_no_block() -> None:
    """A MAC that fits does not make fewer octets than a block a decrypted message."""
    layer = afl_of()
    made = sealed(7, 0x00, WATER[:6], extension=b"\x10", afl=layer)
    octets = encode(made, KEY)
    assert decode(octets, KEY).security.state == "plain"
    unauthentic = wireless(AuthenticationFragmentation.build(counter=7).encode() + bytes.fromhex("7A2A00F00710") + WATER[:6])
    telegram = examine(unauthentic, KEY)
    assert (telegram.error and telegram.error.code) == "security.length"
    assert telegram.security.state == "failed"


@pytest.mark.parametrize("mode", [9, 10])
def test_fewer_octets_than_ciphertext_and_tag(mode: int) -> None:
    extension = dutch() if mode == 9 else b"\x10\x01" + COUNTER
    octets = wireless(bytes((0x7A, 42, 0, 0x41 if mode == 9 else len(WATER), 0x20 | mode)) + extension + bytes(12))
    telegram = examine(octets, KEY)
    assert (telegram.error and telegram.error.code) == "security.length"


# -- replay -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["B", "D"])
def test_replay_detection(profile: str) -> None:
    decoder = Decoder(KEYS, counters=CounterLedger())
    first, second = (frame(profile=profile, counter=counter) for counter in (10, 11))
    assert decoder.decode(first).warnings == ()
    assert codes(decoder.decode(first)) == ["counter.duplicate"]
    assert decoder.decode(second).warnings == ()
    replayed = decoder.examine(first)
    assert (replayed.error and replayed.error.code) == "counter.replayed"
    assert replayed.records == ()
    with pytest.raises(Replayed):
        decoder.decode(frame(profile=profile, counter=11, status=1))
    assert decoder.decode(frame(profile=profile, counter=12)).ok


def test_counters_are_kept_by_key_and_only_for_proven_uplink_messages() -> None:
    ledger = CounterLedger()
    decoder = Decoder(ring((METER, KEY), (METER, KEY, 3, 1)), counters=ledger)
    decoder.decode(frame(profile="B", counter=10))
    decoder.decode(frame(profile="B", counter=4, key_id=3, key_version=1, keys=decoder.keys))
    assert len(ledger) == 2
    decoder.decode(frame(profile="B", counter=2, adapter=GATEWAY, ci=0x5B, control=0x53))
    decoder.examine(frame(profile="B", counter=99, keys=ring((METER, WRONG_KEY))))
    decoder.decode(frame(profile="A"))
    assert len(ledger) == 2
    entry = ledger.entry(METER.link_octets())
    assert entry is not None
    assert entry.peer == 10


def test_clear_messages_with_mac_are_counted() -> None:
    decoder = Decoder(KEYS, counters=CounterLedger())
    octets = encode(sealed(0, 0, WATER, afl=afl_of(counter=5)), KEY)
    assert decoder.decode(octets).ok
    assert codes(decoder.decode(octets)) == ["counter.duplicate"]
    older = encode(sealed(0, 0, WATER, afl=afl_of(counter=4)), KEY)
    assert decoder.examine(older).security.state == "failed"


def test_without_a_ledger_nothing_is_refused() -> None:
    decoder = Decoder(KEYS)
    for counter in (10, 9, 9):
        assert decoder.decode(frame(profile="B", counter=counter)).warnings == ()


# -- secrecy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_keys_never_show(name: str) -> None:
    made, keys, _ = STATES[name]
    telegram = general(octets_of(made), keys)
    shown = repr(telegram) + str(telegram.cause) + repr(telegram.cause) + answer_json(telegram).decode() + repr(keys)
    decoder = Decoder(KEY)
    shown += repr(decoder) + repr(decoder.keys) + repr(list(decoder.keys))
    for key in (KEY, WRONG_KEY):
        assert key.hex() not in shown.lower()
        assert repr(key)[2:-1] not in shown
