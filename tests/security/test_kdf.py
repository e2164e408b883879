"""Session keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import OutOfRange
from openmetering.security import (
    DOWNLINK_ENCRYPTION,
    DOWNLINK_MAC,
    UPLINK_ENCRYPTION,
    UPLINK_MAC,
    BlockCipher,
    derive,
    session_keys,
)

MASTER = BlockCipher(bytes(range(16)))
NUMBER = bytes.fromhex("78563412")
ident = st.binary(min_size=4, max_size=4)
counters = st.integers(0, 0xFFFFFFFF)


def test_published(own_kdf):
    cipher = BlockCipher(bytes.fromhex(own_kdf["key"]))
    key = derive(cipher, own_kdf["constant"], own_kdf["counter"], bytes.fromhex(own_kdf["identification"]))
    assert key.hex().upper() == own_kdf["derived"]


def test_shared(shared_kdf):
    block = bytes.fromhex(shared_kdf["hex"])
    assert block[9:] == b"\x07" * 7
    cipher = BlockCipher(bytes.fromhex(shared_kdf["key"]))
    key = derive(cipher, block[0], int.from_bytes(block[1:5], "little"), block[5:9])
    assert key.hex().upper() == shared_kdf["expected"]["derived_key"]


@given(st.integers(0, 255), counters, ident)
def test_derivation_is_the_cmac_of_one_block(constant, counter, number):
    block = bytes((constant,)) + counter.to_bytes(4, "little") + number + b"\x07" * 7
    assert derive(MASTER, constant, counter, number) == MASTER.cmac(block)


@given(counters, ident, st.booleans())
def test_session_keys_are_two_derivations(counter, number, downlink):
    constants = (DOWNLINK_ENCRYPTION, DOWNLINK_MAC) if downlink else (UPLINK_ENCRYPTION, UPLINK_MAC)
    encryption, authentication = session_keys(MASTER, counter, number, downlink=downlink)
    for cipher, constant in zip((encryption, authentication), constants, strict=True):
        probe = BlockCipher(derive(MASTER, constant, counter, number))
        assert cipher.encrypt_blocks(NUMBER * 4) == probe.encrypt_blocks(NUMBER * 4)


def test_all_four_keys_of_a_counter_differ():
    keys = {derive(MASTER, constant, 7, NUMBER) for constant in (0x00, 0x01, 0x10, 0x11)}
    assert len(keys) == 4


@pytest.mark.parametrize("counter", [-1, 1 << 32])
def test_a_counter_has_32_bits(counter):
    with pytest.raises(OutOfRange) as caught:
        session_keys(MASTER, counter, NUMBER)
    assert caught.value.value == counter


@pytest.mark.parametrize(("constant", "counter"), [(-1, 0), (256, 0), (0, -1), (0, 1 << 32)])
def test_a_derivation_has_an_octet_and_a_counter(constant, counter):
    with pytest.raises(OutOfRange, match="out of range"):
        derive(MASTER, constant, counter, NUMBER)


@pytest.mark.parametrize("length", [0, 3, 5, 8])
def test_an_identification_has_four_octets(length):
    with pytest.raises(OutOfRange, match="identification"):
        derive(MASTER, 0, 0, bytes(length))
    with pytest.raises(OutOfRange, match="identification"):
        session_keys(MASTER, 0, bytes(length))
