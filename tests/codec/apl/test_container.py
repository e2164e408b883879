"""Containers in records, and opaque protocols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.container import Container, containers, decode
from openmetering.codec.apl.opaque import Opaque, opaque
from openmetering.codec.apl.records import parse
from openmetering.errors import NotRepresentable, OutOfRange

FRAME = bytes.fromhex("0E4493157856341233037A2A0000002F")[:15]  # L field 0Eh and fourteen octets


def test_a_wireless_frame_comes_out_as_it_went_in():
    record = Container("wireless", FRAME).record()
    assert record.octets() == b"\x0d\xfd\x3b\x0f" + FRAME
    parsed = parse(b"\x01\x13\x05" + record.octets() + b"\x2f")
    (found,) = containers(parsed.records)
    assert found == Container("wireless", FRAME)
    assert found.complete
    assert found.encode() == FRAME


def test_octets_of_a_maker_are_raw():
    (found,) = containers(parse(bytes.fromhex("0DFD7603010203")).records)
    assert found == Container("manufacturer", b"\x01\x02\x03")
    assert not found.complete
    assert found.record().octets().hex().upper() == "0DFD7603010203"


@pytest.mark.parametrize("octets", [b"", b"\x05\x44", FRAME + b"\x00"])
def test_a_frame_of_another_length_is_not_complete(octets):
    assert not decode(octets).complete
    assert decode(octets).encode() == octets


def test_other_records_are_no_containers():
    records = parse(bytes.fromhex("0413E80300000D7804414243440DFD3BE2AABB0DFD0B0141")).records
    assert len(records) == 4
    assert containers(records) == ()


def test_an_extended_vib_is_a_container_too():
    (found,) = containers(parse(bytes.fromhex("0DFDBB3B020102")).records)
    assert found == Container("wireless", b"\x01\x02")


def test_what_is_no_container_record():
    with pytest.raises(OutOfRange):
        Container("wireless", bytes(192)).record()
    with pytest.raises(NotRepresentable):
        Container("sml", b"").record()
    with pytest.raises(NotRepresentable):
        Container("wireless", b"").record(b"\x04")


@given(st.binary(max_size=191), st.sampled_from(["wireless", "manufacturer"]))
def test_containers_round_trip(octets, kind):
    record = Container(kind, octets).record()
    assert containers(parse(record.octets()).records) == (Container(kind, octets),)


@given(st.sampled_from(["dlms", "sml", "manufacturer"]), st.binary(max_size=60))
def test_opaque_protocols_stay_intact(protocol, octets):
    message = opaque(protocol)(octets)
    assert message == Opaque(protocol, octets)
    assert message.encode() == octets
