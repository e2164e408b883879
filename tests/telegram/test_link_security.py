"""Messages that were decrypted before they came, and the encryption of the extended link layer."""

from __future__ import annotations

import msgspec
import pytest

from openmetering import (
    STRICT,
    Decoder,
    KeyRing,
    SecurityReport,
    decode,
    encode,
    examine,
)
from openmetering.codec.apl.format import CompactFrame
from openmetering.security import Key, fill, seal_ell
from tests.telegram.building import (
    GATEWAY,
    KEY,
    KEYS,
    METER,
    WATER,
    WRONG_KEY,
    afl_of,
    built,
    codes,
    octets_with,
    ring,
    sealed,
    session_link,
    session_telegram,
    split_water,
    wireless,
)

# -- already plain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [2, 4, 5, 7])
@pytest.mark.parametrize("keys", [None, KEYS, ring((METER, WRONG_KEY))], ids=["no key", "right key", "wrong key"])
def test_decrypted_before_it_came_here(mode: int, keys: KeyRing | None) -> None:
    extension = b"\x10" if mode == 7 else b""
    octets = octets_with(mode, 0x20, extension, fill(b"\x2f\x2f" + WATER))
    telegram = examine(octets, keys)
    assert telegram.ok
    assert codes(telegram) == ["security.already_plain"]
    assert (telegram.security.state, telegram.security.proof) == ("already-plain", None)
    assert [record.octets() for record in telegram.records] == split_water()
    assert encode(telegram) == octets
    strict = examine(octets, keys, policy=STRICT)
    assert not strict.ok
    assert strict.security.state in ("key-missing", "failed")


def test_message_with_mac_that_was_decrypted_before() -> None:
    made = sealed(7, 0x20, fill(b"\x2f\x2f" + WATER), extension=b"\x10", afl=afl_of())
    stripped = msgspec.structs.replace(made, security=SecurityReport("B", 7, "already-plain"))
    octets = encode(stripped)
    telegram = examine(octets, KEYS)
    assert (telegram.ok, telegram.security.state) == (True, "already-plain")
    assert encode(telegram) == octets


@pytest.mark.parametrize("stale", [False, True], ids=["fresh CRC", "stale CRC"])
@pytest.mark.parametrize("keys", [None, KEYS], ids=["no key", "key"])
def test_ell_payload_decrypted_before(stale: bool, keys: KeyRing | None) -> None:
    made = msgspec.structs.replace(session_telegram(), security=SecurityReport("ELL", None, "already-plain"))
    octets = bytearray(encode(made))
    if stale:
        octets[17] ^= 0x55
    telegram = examine(bytes(octets), keys)
    assert telegram.ok
    assert codes(telegram) == ["security.already_plain"]
    assert telegram.security == SecurityReport("ELL", None, "already-plain", None if stale else "ell-crc")
    assert [record.octets() for record in telegram.records] == split_water()
    strict = examine(bytes(octets), keys, policy=STRICT)
    assert not strict.ok
    assert (strict.error and strict.error.code) in ("security.already_plain", "key.missing", "key.mismatch.crc")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x78", b"\x78\x0c\x14", b"\x79\x01\x02\x03\x04", b"\x7a\x01\x00\x00\x00", b"\x04\x05"],
    ids=["nothing", "no records", "broken record", "unknown format", "header", "no CI"],
)
def test_ell_payload_that_is_no_clear_message(content: bytes) -> None:
    """A stale CRC over something that does not read to its end: encrypted, or garbage."""
    layer = session_link()
    octets = wireless(layer.encode()[:-2] + b"\x12\x34" + content)
    assert (examine(octets).error or layer).code == "key.missing"  # type: ignore[union-attr]
    failed = examine(octets, KEYS)
    assert failed.error is not None
    assert failed.error.code == "key.mismatch.crc"
    assert failed.security.state == "failed"


def test_compact_frame_in_a_decrypted_ell_needs_its_format() -> None:
    decoder = Decoder()
    decoder.decode(wireless(b"\x78" + WATER))
    compact = b"\x79" + CompactFrame.of(decoder.decode(wireless(b"\x78" + WATER)).records).encode()
    octets = wireless(session_link().encode()[:-2] + b"\x12\x34" + compact)
    telegram = decoder.examine(octets)
    assert telegram.security.state == "already-plain"
    assert [record.octets() for record in telegram.records] == split_water()
    assert examine(octets).security.state == "key-missing"


def test_unencrypted_ell_session() -> None:
    made = session_telegram(ell=session_link(encryption=0))
    made = msgspec.structs.replace(made, security=SecurityReport())
    octets = encode(made)
    telegram = decode(octets)
    assert (telegram.security.state, len(telegram.records)) == ("plain", 3)
    assert encode(telegram) == octets
    damaged = examine(octets[:-1] + bytes((octets[-1] ^ 1,)))
    assert (damaged.error and damaged.error.code) == "ell.crc"


def test_reserved_ell_encryption() -> None:
    octets = wireless(session_link(encryption=5).encode() + b"\x78" + WATER)
    telegram = examine(octets, KEYS)
    assert (telegram.error and telegram.error.code) == "security.unsupported"
    assert telegram.error is not None
    assert telegram.error.layer == "ell"


def test_ell_encryption_around_a_transport_header() -> None:
    """The header inside says mode 0: the encryption of the ELL stays what protects the telegram."""
    made = session_telegram(b"\x7a" + bytes.fromhex("2A000000") + WATER)
    made = msgspec.structs.replace(made, transport=built(access_number=42).transport, payload=WATER)
    telegram = decode(encode(made, KEY), KEYS)
    report = telegram.security
    assert (report.profile, report.mode, report.state, report.proof) == ("ELL", 0, "decrypted", "ell-crc")
    assert telegram.transport is not None
    assert telegram.transport.access_number == 42
    inner = msgspec.structs.replace(built(profile="A", access_number=42), ell=session_link())
    both = decode(encode(inner, KEYS), KEYS)
    assert (both.security.profile, both.security.proof) == ("A", "2f2f")


def in_session(upper: bytes) -> bytes:
    """Any octets behind an encrypted extended link layer."""
    link = session_link()
    number = int(link.session_number or 0).to_bytes(4, "little")
    return wireless(
        link.encode()[:-2] + seal_ell(Key(KEY).cipher, METER.link_octets(), int(link.communication_control), number, upper)
    )


def test_a_mac_inside_the_encrypted_extended_link_layer_is_verified() -> None:
    inner = sealed(0, 0, WATER, afl=afl_of())
    octets = encode(msgspec.structs.replace(inner, ell=session_link()), KEY)
    telegram = decode(octets, KEYS)
    assert telegram.security.proof == "mac"
    assert encode(telegram, KEYS) == octets
    assert inner.afl is not None
    assert inner.transport is not None
    forged = in_session(inner.afl.encode() + inner.transport.encode() + WATER)
    telegram = examine(forged, KEYS)
    assert (telegram.error and telegram.error.code) == "key.mismatch.mac"
    assert telegram.security.state == "failed"


@pytest.mark.parametrize("mode", [1, 8, 13])
def test_other_encryption_inside_the_extended_link_layer_is_not_read_as_clear(mode: int) -> None:
    telegram = examine(in_session(bytes((0x7A, 1, 0, 0xFF, mode)) + b"\x10" * (mode > 1) + WATER), KEYS)
    assert (telegram.error and telegram.error.code) == "security.unsupported"
    assert telegram.records == ()


def test_ell_answer_of_a_meter_to_a_gateway() -> None:
    """ELL-IV: the counter block may be made of the address of either side."""
    link = session_link(ci=0x8F)
    made = session_telegram(ell=link)
    octets = encode(made, KEY)
    assert decode(octets, KEYS).ell is not None
    sender = GATEWAY
    number = int(link.session_number or 0).to_bytes(4, "little")
    body = seal_ell(Key(KEY).cipher, METER.link_octets(), int(link.communication_control), number, b"\x51" + WATER)
    command = wireless(link.encode()[:-2] + body, control=0x53, address=sender)
    telegram = decode(command, ring((sender, KEY)))
    assert (telegram.security.proof, telegram.uplink, len(telegram.records)) == ("ell-crc", False, 3)
