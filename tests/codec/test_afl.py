"""Authentication and fragmentation layer: whole messages and fragments in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.afl import (
    CI,
    AuthenticationFragmentation,
    FragmentationControl,
    KeyInformation,
    MessageControl,
    decode,
)
from openmetering.errors import DecodeError, EncodeError, NotRepresentable, OutOfRange
from openmetering.tables import AFL_ALGORITHMS
from tests.strategies import fragmentations
from tests.vector_files import assert_ours, assert_prefixes_raise, octets, own


def of_vector(vector):
    control, key = vector.get("message_control"), vector.get("key_information")
    return AuthenticationFragmentation(
        FragmentationControl.build(**vector["fragmentation"]),
        None if control is None else MessageControl.build(**control),
        None if key is None else KeyInformation.build(**key),
        vector.get("counter"),
        octets(vector["mac"]) if "mac" in vector else None,
        vector.get("message_length"),
    )


@pytest.mark.parametrize("vector", own("spec/layers.toml", "afl"))
def test_both_directions(vector):
    data, layer = octets(vector["hex"]), of_vector(vector)
    assert data[0] == CI
    assert decode(data, 1) == (layer, len(data))
    assert layer.encode() == data
    assert layer.fragmented is vector.get("fragmented", False)
    assert decode(b"\xee" + data + b"\x7a", 2) == (layer, 1 + len(data))
    assert_prefixes_raise(lambda part: decode(part, 0), data[1:], "afl")


@pytest.mark.parametrize("vector", own("malformed/layers.toml", "afl"))
def test_malformed(vector):
    data = octets(vector["hex"])
    with pytest.raises(DecodeError) as caught:
        decode(data, 0)
    assert (caught.value.code, caught.value.layer, caught.value.offset) == (vector["code"], "afl", vector["offset"])


@given(fragmentations())
def test_round_trip(layer):
    data = layer.encode()
    assert data[1] == len(data) - 2
    assert decode(data, 1) == (layer, len(data))


@given(
    st.binary(max_size=40)
    | st.tuples(st.integers(2, 30), st.integers(0, 255), st.integers(0, 0x7F), st.binary(max_size=40)).map(
        lambda parts: bytes(parts[:3]) + parts[3]
    )
)
def test_any_octets_raise_only_our_errors(data):
    try:
        layer, end = decode(data, 0)
    except DecodeError as error:
        assert_ours(error, "afl", data)
    else:
        assert layer.encode() == bytes((CI,)) + data[:end]


@pytest.mark.parametrize("size", sorted({2, 4, 8, 12, 16} | {size for size in AFL_ALGORITHMS.values() if size}))
def test_the_mac_fills_what_the_length_leaves(size):
    layer = AuthenticationFragmentation.build(message_control=MessageControl.build(authentication_type=5), mac=bytes(size))
    assert decode(layer.encode(), 1)[0].mac == bytes(size)


# bit: name, EN 13757-7 (clause to confirm)
PRESENCE = {
    9: "key_information_present",
    10: "mac_present",
    11: "counter_present",
    12: "length_present",
    13: "control_present",
    14: "more_fragments",
}


@pytest.mark.parametrize(("bit", "name"), PRESENCE.items(), ids=PRESENCE.values())
def test_bits_of_the_fragmentation_control(bit, name):
    control = FragmentationControl(1 << bit | 0x2A)
    assert control.fragment_id == 0x2A
    assert {key for key, value in control.named().items() if value} == {"fragment_id", name}


def test_build_sets_the_presence_bits():
    assert AuthenticationFragmentation.build().fragmentation == 0
    layer = AuthenticationFragmentation.build(
        fragment_id=1,
        more_fragments=True,
        message_control=MessageControl(0x65),
        key_information=KeyInformation(0x0712),
        counter=0,
        mac=b"\x00" * 8,
        message_length=0,
    )
    assert layer.fragmentation == 0x7E01
    assert layer.fragmented
    assert AuthenticationFragmentation.build(more_fragments=True).fragmented
    assert AuthenticationFragmentation.build(fragment_id=3).fragmented


def test_the_fragment_number_takes_one_octet():
    with pytest.raises(OutOfRange) as caught:
        AuthenticationFragmentation.build(fragment_id=256)
    assert caught.value.field == "fragment_id"


EMPTY = AuthenticationFragmentation.build()


@pytest.mark.parametrize(
    ("layer", "error"),
    [
        (replace(EMPTY, mac=bytes(8)), NotRepresentable),
        (replace(EMPTY, message_length=5), NotRepresentable),
        (replace(EMPTY, counter=5), NotRepresentable),
        (replace(EMPTY, fragmentation=FragmentationControl.build(mac_present=1)), NotRepresentable),
        (replace(EMPTY, fragmentation=FragmentationControl.build(length_present=1)), NotRepresentable),
        (replace(EMPTY, fragmentation=FragmentationControl.build(counter_present=1)), NotRepresentable),
        (AuthenticationFragmentation.build(mac=b""), NotRepresentable),
        (AuthenticationFragmentation.build(mac=bytes(256)), OutOfRange),
        (AuthenticationFragmentation.build(message_length=0x10000), OutOfRange),
        (AuthenticationFragmentation.build(message_length=-1), OutOfRange),
        (AuthenticationFragmentation.build(counter=1 << 32), OutOfRange),
    ],
)
def test_layers_that_cannot_be_sent(layer, error):
    with pytest.raises(EncodeError) as caught:
        layer.encode()
    assert type(caught.value) is error
    assert caught.value.field
