"""Proofs and wrapping of the security information transfer protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import AuthenticationFailed, DecodeError, OutOfRange, WrongKey
from openmetering.security import (
    BlockCipher,
    asp01_unwrap,
    asp01_wrap,
    asp03_mac,
    asp10_mac,
    check_asp03,
    check_asp10,
    clear_unwrap,
    clear_wrap,
    renewed_master_key,
)

CIPHER = BlockCipher(bytes.fromhex("00112233445566778899AABBCCDDEEFF"))
OTHER = BlockCipher(bytes(16))
STRUCTURE = bytes.fromhex("F0E1D2C3B4A5968778695A4B3C2D1E0F00000080300001")
CLEAR = bytes.fromhex("A65959A600000017F0E1D2C3B4A5968778695A4B3C2D1E0F0000008030000100")
COMMAND = {"key_counter": 15, "target_time": bytes.fromhex("0000000030"), "pid": 1, "apdu": bytes.fromhex("01FD1F00")}


# -- ASP01 ------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=80))
def test_wrap_round_trip(structure):
    wrapped = asp01_wrap(CIPHER, structure)
    assert len(wrapped) == 8 + -(-len(structure) // 8) * 8
    assert asp01_unwrap(CIPHER, wrapped) == structure


def test_wrapping_is_computed_as_expected():
    """The structure of Annex F, F.E.1 under a wrapper key: computed independently (RFC 5649)."""
    wrapped = asp01_wrap(CIPHER, STRUCTURE)
    assert wrapped.hex().upper() == "4D57C4E3A3C0CD78FE974D9D173C4825C9A37D13F44428DFB2D93FE3EFDE6651"


def test_shared_wrapping(shared_wrap):
    cipher, expected = BlockCipher(bytes.fromhex(shared_wrap["key"])), shared_wrap["expected"]
    structure, wrapped = bytes.fromhex(expected["plain_structure"]), bytes.fromhex(expected["wrapped"])
    assert asp01_wrap(cipher, structure) == wrapped
    assert asp01_unwrap(cipher, wrapped) == structure


@pytest.mark.parametrize("bit", range(8 * 32))
def test_every_changed_bit_of_a_wrapped_key_is_found(bit):
    wrapped = bytearray(asp01_wrap(CIPHER, STRUCTURE))
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WrongKey) as caught:
        asp01_unwrap(CIPHER, bytes(wrapped))
    assert caught.value.code == "key.mismatch.wrap"


def test_another_wrapper_key_opens_nothing():
    with pytest.raises(WrongKey) as caught:
        asp01_unwrap(OTHER, asp01_wrap(CIPHER, STRUCTURE))
    assert caught.value.code == "key.mismatch.wrap"


# -- the same layout in clear -------------------------------------------------------------------


def test_clear_layout():
    assert clear_wrap(STRUCTURE) == CLEAR
    assert clear_unwrap(CLEAR) == STRUCTURE


@given(st.binary(min_size=1, max_size=80))
def test_clear_round_trip_has_the_length_of_the_wrapped(structure):
    laid_out = clear_wrap(structure)
    assert clear_unwrap(laid_out) == structure
    assert len(laid_out) == len(asp01_wrap(CIPHER, structure))


@pytest.mark.parametrize(
    ("octets", "offset", "reason"),
    [
        (b"", 0, "constant"),
        (CLEAR[:3], 0, "constant"),
        (b"\xa6\x59\x59\xa5" + CLEAR[4:], 0, "constant"),
        (CLEAR[:4], 4, "length"),
        (CLEAR[:8], 4, "length"),
        (CLEAR[:-1], 4, "length"),
        (CLEAR + bytes(8), 4, "length"),
        (CLEAR[:4] + bytes(4), 4, "length"),
        (CLEAR[:4] + b"\xff\xff\xff\xff" + CLEAR[8:], 4, "length"),
        (CLEAR[:-1] + b"\x01", 31, "padding"),
    ],
)
def test_other_layouts_are_refused(octets, offset, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        clear_unwrap(octets)
    assert (caught.value.code, caught.value.layer, caught.value.offset) == ("sitp.layout", "sitp", offset)


def test_nothing_is_not_laid_out():
    with pytest.raises(OutOfRange):
        clear_wrap(b"")


# -- ASP03 ------------------------------------------------------------------------------------


def test_image_proof():
    image = bytes(range(256)) * 30
    mac = asp03_mac(CIPHER, image)
    assert len(mac) == 16
    check_asp03(CIPHER, mac, image)
    for wrong in (mac[:8], b"", mac[::-1]):
        with pytest.raises(AuthenticationFailed) as caught:
            check_asp03(CIPHER, wrong, image)
        assert (caught.value.code, caught.value.layer) == ("key.mismatch.mac", "sitp")
    with pytest.raises(AuthenticationFailed):
        check_asp03(CIPHER, mac, image + b"\0")
    with pytest.raises(AuthenticationFailed):
        check_asp03(OTHER, mac, image)


# -- ASP10 ------------------------------------------------------------------------------------


def test_asp10_published(own_asp10):
    cipher = BlockCipher(bytes.fromhex(own_asp10["key"]))
    time, apdu = bytes.fromhex(own_asp10["target_time"]), bytes.fromhex(own_asp10["apdu"])
    fields = own_asp10["key_counter"], time, own_asp10["pid"], apdu
    assert asp10_mac(cipher, *fields).hex().upper() == own_asp10["mac"]
    assert asp10_mac(cipher, *fields, length=16).hex().upper() == own_asp10["mac_full"]
    named = dict(zip(COMMAND, fields, strict=True))
    check_asp10(cipher, bytes.fromhex(own_asp10["mac"]), **named)
    check_asp10(cipher, bytes.fromhex(own_asp10["mac_full"]), **named)


@pytest.mark.parametrize("length", [8, 16])
def test_every_changed_bit_of_a_command_is_found(length):
    mac = asp10_mac(CIPHER, *COMMAND.values(), length=length)
    plain = (15).to_bytes(4, "little") + COMMAND["target_time"] + b"\x01" + COMMAND["apdu"]
    for bit in range(8 * len(plain)):
        changed = bytearray(plain)
        changed[bit // 8] ^= 1 << bit % 8
        counter, time, pid, apdu = int.from_bytes(changed[:4], "little"), bytes(changed[4:9]), changed[9], bytes(changed[10:])
        with pytest.raises(AuthenticationFailed) as caught:
            check_asp10(CIPHER, mac, key_counter=counter, target_time=time, pid=pid, apdu=apdu)
        assert caught.value.code == "key.mismatch.mac"
    for bit in range(8 * length):
        changed = bytearray(mac)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuthenticationFailed):
            check_asp10(CIPHER, bytes(changed), **COMMAND)


@pytest.mark.parametrize("length", [0, 4, 7, 9, 12, 17])
def test_other_mac_lengths_never_pass(length):
    with pytest.raises(AuthenticationFailed):
        check_asp10(CIPHER, bytes(length), **COMMAND)
    with pytest.raises(OutOfRange):
        asp10_mac(CIPHER, *COMMAND.values(), length=length)


@pytest.mark.parametrize(
    "change", [{"key_counter": -1}, {"key_counter": 1 << 32}, {"pid": 256}, {"pid": -1}, {"target_time": bytes(4)}]
)
def test_command_fields_out_of_range(change):
    with pytest.raises(OutOfRange):
        asp10_mac(CIPHER, *(COMMAND | change).values())


# -- renewal of the master key ----------------------------------------------------------------


def test_master_key_renewal():
    """Annex F, F.4.2: computed value."""
    z1 = bytes.fromhex("A0A1A2A3A4A5A6A7A8A9AAABACADAEAF")
    assert renewed_master_key(BlockCipher(bytes(range(16))), z1).hex().upper() == "B7BBF92B9D134861E99CD2E0F1A948CB"


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_z1_has_sixteen_octets(length):
    with pytest.raises(OutOfRange):
        renewed_master_key(CIPHER, bytes(length))


# -- the other shared entries -------------------------------------------------------------------


def test_shared_by_name(shared_named):
    name, expected = shared_named["name"], shared_named["expected"]
    octets = bytes.fromhex(shared_named["hex"])
    if name.startswith("ASP10"):
        cipher = BlockCipher(bytes.fromhex(shared_named["key"]))
        fields = int.from_bytes(octets[:4], "little"), octets[4:9], octets[9], octets[10:]
        assert asp10_mac(cipher, *fields).hex().upper() == expected["mac"]
        assert asp10_mac(cipher, *fields, length=16).hex().upper() == expected["mac_full"]
    elif "new_master_key" in expected:
        cipher = BlockCipher(bytes.fromhex(shared_named["key"]))
        assert renewed_master_key(cipher, octets).hex().upper() == expected["new_master_key"]
    elif "icv" in expected:
        structure = clear_unwrap(octets[8:])
        assert len(structure) == expected["mli"]
        assert structure[:16].hex().upper() == expected["key"]
        assert clear_wrap(structure) == octets[8:]
    else:
        assert {"derived_key", "wrapped", "status"} & set(expected), f"{name} is covered by no test"
