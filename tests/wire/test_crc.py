"""CRC and checksum: published values, a bitwise division, the properties that make them useful."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.wire import checksum, crc16, crc16_octets
from openmetering.wire.crc import POLYNOMIAL
from tests.vector_files import octets, own, shared


def bitwise(data: bytes) -> int:
    """The CRC as a division bit by bit: the definition the tables are held against."""
    register = 0
    for octet in data:
        for place in range(7, -1, -1):
            out = register >> 15 ^ octet >> place & 1
            register = register << 1 & 0xFFFF
            if out:
                register ^= POLYNOMIAL
    return register ^ 0xFFFF


@pytest.mark.parametrize("vector", own("spec/wire.toml", "crc"))
def test_published_crc(vector):
    data = octets(vector["hex"])
    assert crc16(data) == vector["crc"]
    assert bitwise(data) == vector["crc"]
    assert crc16_octets(data) == bytes((vector["crc"] >> 8, vector["crc"] & 0xFF))


@pytest.mark.parametrize("vector", own("spec/wire.toml", "checksum"))
def test_checksum(vector):
    assert checksum(octets(vector["hex"])) == vector["sum"]


@pytest.mark.parametrize("vector", shared("security.json", lambda row: row["frame_format"] == "crc"))
def test_shared_check_value(vector):
    assert crc16_octets(octets(vector["hex"])).hex().upper() == vector["expected"]["crc"]


@given(st.binary(max_size=70))
def test_tables_agree_with_the_division(data):
    assert crc16(data) == bitwise(data)


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 15, 16, 125, 126, 255])
def test_every_length_parity(length):
    data = bytes((3 * at + length) & 0xFF for at in range(length))
    assert crc16(data) == bitwise(data)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_bit_never_passes(data, draws):
    place = draws.draw(st.integers(0, 8 * len(data) - 1))
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    assert crc16(bytes(changed)) != crc16(data)
    assert checksum(bytes(changed)) != checksum(data)


@given(st.binary(max_size=40))
def test_two_changed_octets_never_pass(data):
    """A burst of up to sixteen bits is always found."""
    block = data + crc16_octets(data)
    for at in range(len(block) - 1):
        burst = bytearray(block)
        burst[at] ^= 0x5A
        burst[at + 1] ^= 0xC3
        assert crc16_octets(bytes(burst[:-2])) != bytes(burst[-2:])


@given(st.binary(max_size=300))
def test_checksum_is_the_sum(data):
    total = 0
    for octet in data:
        total = (total + octet) % 256
    assert checksum(data) == total
