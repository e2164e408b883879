"""Extended link layer: kinds I to IV in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.codec.ell import KINDS, CommunicationControl, ExtendedLink, SessionNumber, decode
from openmetering.errors import DecodeError, EncodeError, NotRepresentable, OutOfRange
from tests.strategies import extended_links
from tests.vector_files import assert_ours, assert_prefixes_raise, octets, own


def of_vector(vector):
    destination, number = vector.get("destination"), vector.get("session_number")
    return ExtendedLink(
        octets(vector["hex"])[0],
        CommunicationControl.build(**vector["communication_control"]),
        vector["access_number"],
        None if destination is None else Address.parse(destination),
        None if number is None else SessionNumber.build(**number),
        vector.get("payload_crc"),
    )


@pytest.mark.parametrize("vector", own("spec/layers.toml", "ell"))
def test_both_directions(vector):
    data, layer = octets(vector["hex"]), of_vector(vector)
    assert decode(data, 1, data[0]) == (layer, len(data))
    assert layer.encode() == data
    assert decode(b"\xee" + data + b"\xee", 2, data[0]) == (layer, 1 + len(data))
    assert_prefixes_raise(lambda part: decode(part, 0, data[0]), data[1:], "ell")


@pytest.mark.parametrize("vector", own("malformed/layers.toml", "ell"))
def test_malformed(vector):
    data = octets(vector["hex"])
    with pytest.raises(DecodeError) as caught:
        decode(data, 0, vector["ci"])
    assert (caught.value.code, caught.value.layer, caught.value.offset) == (vector["code"], "ell", vector["offset"])


@pytest.mark.parametrize(("ci", "size"), [(0x8C, 2), (0x8D, 8), (0x8E, 10), (0x8F, 16)])
def test_sizes(ci, size):
    assert sum(row.coding.size for row in KINDS[ci].fields_of()) == size
    layer, end = decode(bytes(size), 0, ci)
    assert (end, len(layer.encode())) == (size, 1 + size)


@given(extended_links())
def test_round_trip(layer):
    data = layer.encode()
    assert data[0] == layer.ci
    assert decode(data, 1, layer.ci) == (layer, len(data))


@given(st.sampled_from([*KINDS, 0x86, 0x90]), st.binary(max_size=20))
def test_any_octets_raise_only_our_errors(ci, data):
    try:
        layer, end = decode(data, 0, ci)
    except DecodeError as error:
        assert_ours(error, "ell", data)
    else:
        assert layer.encode() == bytes((ci,)) + data[:end]


# bit: name, EN 13757-4 (clause to confirm) and OMS Volume 2 5.0.1 Table 14
LINK_BITS = {
    7: "bidirectional",
    6: "fast_response",
    5: "synchronous",
    4: "hop",
    3: "priority",
    2: "accessibility",
    1: "repeated_access",
    0: "extended_delay",
}


@pytest.mark.parametrize(("bit", "name"), LINK_BITS.items(), ids=LINK_BITS.values())
def test_link_bits(bit, name):
    assert CommunicationControl(1 << bit).named() == {**dict.fromkeys(LINK_BITS.values(), 0), name: 1}


def test_session_number_is_little_endian():
    layer, _ = decode(octets("2091D37CAC210000"), 0, 0x8D)
    number = layer.session_number
    assert int(number) == 0x21AC7CD3
    assert (number.session, number.minutes, number.encryption) == (3, 1755085, 1)


BARE = ExtendedLink(0x8C, CommunicationControl(0x20), 1)


@pytest.mark.parametrize(
    ("layer", "error"),
    [
        (replace(BARE, ci=0x86), NotRepresentable),
        (replace(BARE, ci=0x90), NotRepresentable),
        (replace(BARE, ci=0x8D), NotRepresentable),
        (replace(BARE, ci=0x8D, session_number=SessionNumber(1)), NotRepresentable),
        (replace(BARE, ci=0x8D, payload_crc=1), NotRepresentable),
        (replace(BARE, ci=0x8F, destination=Address(0, "00000000", 0, 0)), NotRepresentable),
        (replace(BARE, ci=0x8E), OutOfRange),
        (replace(BARE, access_number=256), OutOfRange),
        (replace(BARE, ci=0x8D, session_number=SessionNumber(1), payload_crc=0x10000), OutOfRange),
    ],
)
def test_layers_that_cannot_be_sent(layer, error):
    with pytest.raises(EncodeError) as caught:
        layer.encode()
    assert type(caught.value) is error
    assert caught.value.field
