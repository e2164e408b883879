"""Own CBC, CTR and CMAC against the library's modes; CCM, GCM, key wrap; refusals."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import AuthenticationFailed, InputError, OutOfRange, Truncated, WrongKey
from openmetering.security import BlockCipher, same

KEY = bytes(range(16))
octets16 = st.binary(min_size=16, max_size=16)
messages = st.binary(max_size=300)
whole_blocks = st.integers(0, 24).flatmap(lambda count: st.binary(min_size=16 * count, max_size=16 * count))


def library_cmac(key, data):
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()


def library(key, mode):
    return Cipher(algorithms.AES(key), mode)


# -- ECB ------------------------------------------------------------------------------------


def test_ecb_example_of_the_standard():
    """FIPS 197, Appendix C.1."""
    cipher = BlockCipher(KEY)
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    sealed = cipher.encrypt_blocks(plain)
    assert sealed.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    assert cipher.decrypt_blocks(sealed) == plain


def test_contexts_are_made_once_and_kept():
    cipher = BlockCipher(KEY)
    assert cipher.encrypt_blocks is cipher.encrypt_blocks
    assert cipher.decrypt_blocks is cipher.decrypt_blocks
    assert cipher.encrypt_blocks is not cipher.decrypt_blocks


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'key'"):
        _ = BlockCipher(KEY).key


# -- CBC ------------------------------------------------------------------------------------


@given(octets16, octets16, whole_blocks)
def test_cbc_equals_the_library(key, iv, data):
    cipher = BlockCipher(key)
    expected = library(key, modes.CBC(iv)).encryptor().update(data)
    assert cipher.cbc_encrypt(data, iv) == expected
    assert cipher.cbc_decrypt(expected, iv) == data


@pytest.mark.parametrize("count", [1, 4, 5, 6, 64])
def test_cbc_on_both_sides_of_the_switch_to_the_library(count):
    data = bytes(range(256)) * 4
    data = data[: 16 * count]
    sealed = BlockCipher(KEY).cbc_encrypt(data)
    assert sealed == library(KEY, modes.CBC(bytes(16))).encryptor().update(data)
    assert BlockCipher(KEY).cbc_decrypt(sealed) == data


def test_cbc_keeps_leading_zeros():
    cipher = BlockCipher(KEY)
    data = bytes(47) + b"\x01"
    assert cipher.cbc_decrypt(cipher.cbc_encrypt(data)) == data


@pytest.mark.parametrize("length", [1, 15, 17, 47])
def test_cbc_refuses_broken_blocks(length):
    cipher = BlockCipher(KEY)
    with pytest.raises(Truncated) as caught:
        cipher.cbc_decrypt(bytes(length))
    assert (caught.value.code, caught.value.layer, caught.value.offset) == ("security.length", "security", length // 16 * 16)
    with pytest.raises(OutOfRange) as refused:
        cipher.cbc_encrypt(bytes(length))
    assert refused.value.field == "plaintext"
    assert cipher.cbc_decrypt(cipher.cbc_encrypt(bytes(16))) == bytes(16), "nothing stays behind in the context"


@pytest.mark.parametrize("length", [0, 8, 15, 17])
def test_cbc_refuses_a_wrong_iv(length):
    cipher = BlockCipher(KEY)
    with pytest.raises(OutOfRange, match="initialisation vector"):
        cipher.cbc_decrypt(bytes(32), bytes(length))
    with pytest.raises(OutOfRange, match="initialisation vector"):
        cipher.cbc_encrypt(bytes(32), bytes(length))


# -- CTR ------------------------------------------------------------------------------------


@given(octets16, octets16, messages)
def test_ctr_equals_the_library(key, block, data):
    sealed = BlockCipher(key).ctr(data, block)
    assert sealed == library(key, modes.CTR(block)).encryptor().update(data)
    assert BlockCipher(key).ctr(sealed, block) == data


@pytest.mark.parametrize("block", ["ff" * 16, "00" * 12 + "ffffffff", "00" * 15 + "ff", "7f" + "ff" * 15])
def test_ctr_carries_over_all_octets(block):
    block = bytes.fromhex(block)
    assert BlockCipher(KEY).ctr(bytes(64), block) == library(KEY, modes.CTR(block)).encryptor().update(bytes(64))


def test_ctr_of_nothing_is_nothing():
    assert BlockCipher(KEY).ctr(b"", bytes(16)) == b""


def test_ctr_refuses_a_wrong_counter_block():
    with pytest.raises(OutOfRange, match="counter block"):
        BlockCipher(KEY).ctr(bytes(3), bytes(12))


# -- CMAC -----------------------------------------------------------------------------------

RFC_4493 = [
    (0, "bb1d6929e95937287fa37d129b756746"),
    (16, "070a16b46b4d4144f79bdd9dd04a287c"),
    (40, "dfa66747de9ae63030ca32611497c827"),
    (64, "51f0bebf7e3b9d92fc49741779363cfe"),
]
RFC_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


@pytest.mark.parametrize(("length", "expected"), RFC_4493)
def test_cmac_examples_of_rfc_4493(length, expected):
    data = RFC_MESSAGE[:length]
    fresh, warm = BlockCipher(RFC_KEY), BlockCipher(RFC_KEY)
    warm.encrypt_blocks(bytes(16))
    assert fresh.cmac(data).hex() == expected
    assert warm.cmac(data).hex() == expected


def test_subkeys_of_rfc_4493():
    first, second = BlockCipher(RFC_KEY)._subkeys
    assert f"{first:032x}" == "fbeed618357133667c85e08f7236a8de"
    assert f"{second:032x}" == "f7ddac306ae266ccf90bc11ee46d513b"


@given(octets16, messages)
def test_cmac_equals_the_library(key, data):
    cipher = BlockCipher(key)
    expected = library_cmac(key, data)
    assert cipher.cmac(data) == expected, "a fresh key"
    assert cipher._cmac_chain(data) == expected, "the own chain, for any length"
    assert cipher.cmac(data) == expected, "a key whose context exists"


@given(octets16, st.lists(octets16, max_size=5))
def test_cmac_of_many_single_blocks_is_one_call(key, blocks):
    cipher = BlockCipher(key)
    assert cipher.cmac_each(b"".join(blocks)) == b"".join(library_cmac(key, block) for block in blocks)


def test_a_key_of_one_message_makes_no_context_for_its_mac():
    cipher = BlockCipher(KEY)
    cipher.cmac(bytes(40))
    assert not cipher._has_encryptor()
    cipher.cmac(bytes(16))
    assert cipher._has_encryptor()


def test_cmac_each_refuses_broken_blocks():
    with pytest.raises(OutOfRange, match="one block"):
        BlockCipher(KEY).cmac_each(bytes(20))


# -- CCM ------------------------------------------------------------------------------------


@given(octets16, st.binary(min_size=13, max_size=13), messages, st.binary(max_size=20), st.sampled_from([4, 8, 12, 16]))
def test_ccm_round_trip(key, nonce, data, aad, tag_length):
    sealed = BlockCipher(key).ccm_seal(nonce, data, aad, tag_length)
    assert sealed == AESCCM(key, tag_length).encrypt(nonce, data, aad)
    assert BlockCipher(key).ccm_open(nonce, sealed, aad, tag_length) == data


@pytest.mark.parametrize("bit", range(8 * 20))
def test_ccm_finds_every_changed_bit(bit):
    sealed = bytearray(BlockCipher(KEY).ccm_seal(bytes(13), b"some message", b"head"))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationFailed) as caught:
        BlockCipher(KEY).ccm_open(bytes(13), bytes(sealed), b"head")
    assert caught.value.code == "key.mismatch.tag"


def test_ccm_protects_its_additional_data():
    sealed = BlockCipher(KEY).ccm_seal(bytes(13), b"some message", b"head")
    with pytest.raises(AuthenticationFailed):
        BlockCipher(KEY).ccm_open(bytes(13), sealed, b"heat")


def test_ccm_refuses_what_it_cannot_hold():
    cipher = BlockCipher(KEY)
    with pytest.raises(Truncated) as caught:
        cipher.ccm_open(bytes(13), bytes(7), b"")
    assert caught.value.code == "security.length"
    for nonce, tag_length in ((bytes(3), 8), (bytes(13), 5)):
        with pytest.raises(OutOfRange, match="CCM cannot"):
            cipher.ccm_open(nonce, bytes(20), b"", tag_length)
        with pytest.raises(OutOfRange, match="CCM cannot"):
            cipher.ccm_seal(nonce, bytes(20), b"", tag_length)
    with pytest.raises(OutOfRange, match="CCM cannot"):
        cipher.ccm_seal(bytes(13), bytes(0x10000), b"")


# -- GCM ------------------------------------------------------------------------------------


@given(octets16, st.binary(min_size=12, max_size=12), messages, st.binary(max_size=20))
def test_gcm_round_trip_with_a_short_tag(key, nonce, data, aad):
    sealed = BlockCipher(key).gcm_seal(nonce, data, aad)
    assert sealed == AESGCM(key).encrypt(nonce, data, aad)[:-4]
    assert BlockCipher(key).gcm_open(nonce, sealed, aad) == data


@pytest.mark.parametrize("bit", range(8 * 16))
def test_gcm_finds_every_changed_bit(bit):
    sealed = bytearray(BlockCipher(KEY).gcm_seal(bytes(12), b"data", b"head"))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationFailed) as caught:
        BlockCipher(KEY).gcm_open(bytes(12), bytes(sealed), b"head")
    assert caught.value.code == "key.mismatch.tag"


def test_gcm_refuses_what_it_cannot_hold():
    cipher = BlockCipher(KEY)
    with pytest.raises(Truncated):
        cipher.gcm_open(bytes(12), bytes(11), b"")
    with pytest.raises(OutOfRange, match="nonce"):
        cipher.gcm_open(bytes(13), bytes(20), b"")
    with pytest.raises(OutOfRange, match="nonce"):
        cipher.gcm_seal(bytes(11), bytes(20), b"")


# -- key wrap -------------------------------------------------------------------------------


def test_wrap_example_of_rfc_5649_layout():
    """A structure of 23 octets wraps to 32, one of 10 to 24, and opens again."""
    cipher = BlockCipher(KEY)
    for length, wrapped in ((23, 32), (10, 24), (7, 16), (8, 16), (1, 16)):
        data = bytes(range(length))
        assert len(cipher.wrap(data)) == wrapped
        assert cipher.unwrap(cipher.wrap(data)) == data


def test_wrap_refuses_nothing():
    with pytest.raises(OutOfRange, match="at least one"):
        BlockCipher(KEY).wrap(b"")


@pytest.mark.parametrize("octets", [b"", bytes(8), bytes(15), bytes(16), bytes(17), bytes(40)])
def test_unwrap_refuses_foreign_octets(octets):
    with pytest.raises(WrongKey) as caught:
        BlockCipher(KEY).unwrap(octets)
    assert caught.value.code == "key.mismatch.wrap"


# -- keys and comparison --------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 8, 15, 17, 24, 32])
def test_a_key_has_sixteen_octets(length):
    with pytest.raises(InputError) as caught:
        BlockCipher(bytes(length))
    assert caught.value.code == "key.invalid"


def test_same():
    assert same(b"abc", b"abc")
    assert not same(b"abc", b"abd")
    assert not same(b"abc", b"abcd")
