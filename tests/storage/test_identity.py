"""Copies of one telegram share an identity, other telegrams do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.storage.identity import identity
from tests.fleet import KEY, radio, wired, with_crc

PLAIN = radio(1)
SAME = [
    (PLAIN, with_crc(PLAIN)),
    (PLAIN, with_crc(PLAIN, "B")),
    (radio(1, profile="A"), radio(1, profile="A", hop=True)),
    (radio(1), radio(1, hop=True)),
    (radio(1, ell=0x20), radio(1, ell=0x20, hop=True)),
    (radio(1, ell=0x20), with_crc(radio(1, ell=0x20, hop=True))),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_copies(first: bytes, second: bytes) -> None:
    assert identity(first)[0] == identity(second)[0]


@pytest.mark.parametrize("hop", [False, True])
@pytest.mark.parametrize("ell", [None, 0x20])
def test_repeated_copies_are_told(hop: bool, ell: int | None) -> None:
    assert identity(radio(1, hop=hop, ell=ell))[1] is hop


OTHERS = [
    radio(1),
    radio(2),
    radio(1, access_number=2),
    radio(1, number=22222222),
    radio(1, profile="A", key=KEY),
    radio(1, status=4),
    radio(1, profile="B", counter=1, key=KEY),
    radio(1, profile="B", counter=2, key=KEY),
    radio(1, ell=0x20),
    radio(1, ell=0x80),
    wired(1),
    wired(2),
    b"\xe5",
    b"",
    b"\x44",
]


def test_other_telegrams_differ() -> None:
    assert len({identity(octets)[0] for octets in OTHERS}) == len(OTHERS)


def test_mode_7_has_no_hop_bit_in_its_configuration() -> None:
    frame = radio(1, profile="B", counter=1)
    changed = bytearray(frame)
    at = frame.index(b"\x7a", 20) + 3
    changed[at] ^= 1
    assert identity(frame)[0] != identity(bytes(changed))[0]


def test_a_request_from_a_gateway_is_not_touched() -> None:
    request = bytearray(radio(1, hop=True))
    request[1] = 0x5B
    other = bytearray(radio(1))
    other[1] = 0x5B
    assert identity(bytes(request))[0] != identity(bytes(other))[0]


@pytest.mark.parametrize("crc_removed", [True, False])
def test_removed_crcs_are_not_looked_for(crc_removed: bool) -> None:
    assert identity(PLAIN, crc_removed=crc_removed) == identity(PLAIN)
    assert identity(with_crc(PLAIN), crc_removed=True)[0] == identity(PLAIN)[0]


@given(st.binary(max_size=300))
def test_whatever_the_octets(octets: bytes) -> None:
    number, _ = identity(octets)
    assert -(2**63) <= number < 2**63
