"""Mode 2: single DES with an initialisation vector of zeros."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError, OutOfRange, Truncated
from openmetering.security import DesCipher

KEY = bytes.fromhex("133457799BBCDFF1")


def test_known_block():
    """The worked DES example of many text books: one block, so CBC with zeros equals ECB."""
    cipher = DesCipher(KEY)
    sealed = cipher.cbc_encrypt(bytes.fromhex("0123456789ABCDEF"))
    assert sealed.hex().upper() == "85E813540F0AB405"
    assert cipher.cbc_decrypt(sealed).hex().upper() == "0123456789ABCDEF"


@given(st.binary(min_size=8, max_size=8), st.integers(0, 12).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)))
def test_round_trip(key, data):
    cipher = DesCipher(key)
    assert cipher.cbc_decrypt(cipher.cbc_encrypt(data)) == data


def test_blocks_are_chained():
    cipher = DesCipher(KEY)
    sealed = cipher.cbc_encrypt(bytes(16))
    assert sealed[:8] != sealed[8:]
    assert cipher.cbc_encrypt(bytes(8), sealed[:8]) == sealed[8:]


@pytest.mark.parametrize("length", [1, 7, 9, 15])
def test_broken_blocks(length):
    with pytest.raises(Truncated) as caught:
        DesCipher(KEY).cbc_decrypt(bytes(length))
    assert (caught.value.code, caught.value.offset) == ("security.length", length // 8 * 8)
    with pytest.raises(OutOfRange, match="whole blocks"):
        DesCipher(KEY).cbc_encrypt(bytes(length))


@pytest.mark.parametrize("length", [0, 7, 16])
def test_wrong_iv(length):
    with pytest.raises(OutOfRange, match="initialisation vector"):
        DesCipher(KEY).cbc_decrypt(bytes(8), bytes(length))


@pytest.mark.parametrize("length", [0, 7, 16, 24])
def test_wrong_key_length(length):
    with pytest.raises(InputError) as caught:
        DesCipher(bytes(length))
    assert caught.value.code == "key.invalid"
