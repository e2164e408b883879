"""Alarm protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.alarm import Alarm, decode
from openmetering.errors import OutOfRange, Truncated


@pytest.mark.parametrize(
    ("octets", "bits"),
    [("00", ()), ("01", (0,)), ("80", (7,)), ("A5", (0, 2, 5, 7)), ("FF", tuple(range(8)))],
)
def test_flags(octets, bits):
    alarm = decode(bytes.fromhex(octets))
    assert alarm.bits == bits
    assert alarm.encode() == bytes.fromhex(octets)


def test_more_octets_are_kept():
    assert decode(b"\x04\x2f\x2f") == Alarm(4, b"\x2f\x2f")


def test_no_octet_is_no_alarm():
    with pytest.raises(Truncated) as fault:
        decode(b"")
    assert (fault.value.layer, fault.value.offset) == ("apl", 0)


@pytest.mark.parametrize("flags", [-1, 256])
def test_flags_are_one_octet(flags):
    with pytest.raises(OutOfRange) as fault:
        Alarm(flags).encode()
    assert fault.value.field == "flags"


@given(st.binary(min_size=1, max_size=20))
def test_octets_survive(octets):
    assert decode(octets).encode() == octets
